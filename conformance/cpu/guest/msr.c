/* Model-specific registers: what faults and what stays (SDM vol. 3 chapter 2 of vol. 4; vol. 2 RDMSR, WRMSR). */
#include "behaviour.h"
#include "segment.h"

static struct trap read_msr(uint32_t msr)
{
    return CATCH(asm volatile(MARK "1: rdmsr" : : "c"(msr) : "eax", "edx"));
}

static struct trap write_msr(uint32_t msr, uint64_t value)
{
    return CATCH(asm volatile(MARK "1: wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))));
}

BEHAVIOUR(unknown, "SDM vol. 2 RDMSR, WRMSR: an MSR that does not exist is #GP(0), to read and to write")
{
    need(FEATURE_MSR);
    expect_fault(read_msr(0x12345678), GP, 0);
    expect_fault(write_msr(0x12345678, 0), GP, 0);
    expect_fault(read_msr(0xc0001fff), GP, 0);
}

BEHAVIOUR(efer_reserved, "SDM vol. 3 2.2.1: reserved bits of IA32_EFER are #GP(0), and so is a feature that CPUID does not show")
{
    need(FEATURE_NX);
    expect_fault(write_msr(MSR_EFER, 1 << 1), GP, 0);
    expect_fault(write_msr(MSR_EFER, 1ull << 40), GP, 0);
    expect_none(write_msr(MSR_EFER, EFER_NXE));
    expect_equal("IA32_EFER", rdmsr(MSR_EFER), EFER_NXE);
}

BEHAVIOUR(pat, "SDM vol. 3 11.12.4: IA32_PAT takes types 0, 1, 4 to 7 in its bytes; 2, 3 and others are #GP(0)")
{
    need(FEATURE_PAT);
    uint64_t pat = rdmsr(MSR_PAT);
    struct trap good = write_msr(MSR_PAT, 0x0706050401000406);
    uint64_t seen = rdmsr(MSR_PAT);
    struct trap two = write_msr(MSR_PAT, 0x02), eight = write_msr(MSR_PAT, 0x0800000000000000);
    wrmsr(MSR_PAT, pat);
    marked = 0;
    expect_none(good);
    expect_equal("IA32_PAT", seen, 0x0706050401000406);
    expect_fault(two, GP, 0);
    expect_fault(eight, GP, 0);
}

BEHAVIOUR(mtrr, "SDM vol. 3 11.11.2.1: IA32_MTRR_DEF_TYPE takes types 0, 1, 4, 5, 6; others and reserved bits are #GP(0); MTRRCAP is read-only")
{
    need(FEATURE_MTRR);
    uint64_t old = rdmsr(MSR_MTRR_DEF_TYPE);
    struct trap type = write_msr(MSR_MTRR_DEF_TYPE, 2), reserved = write_msr(MSR_MTRR_DEF_TYPE, 1 << 8);
    struct trap capabilities = write_msr(MSR_MTRRCAP, 0);
    wrmsr(MSR_MTRR_DEF_TYPE, old);
    marked = 0;
    expect_fault(type, GP, 0);
    expect_fault(reserved, GP, 0);
    expect_fault(capabilities, GP, 0);
}

BEHAVIOUR(apic_base_reserved, "SDM vol. 3 10.4.4: reserved bits of IA32_APIC_BASE are #GP(0); BSP is set on the first processor")
{
    need(FEATURE_APIC);
    uint64_t base = rdmsr(MSR_APIC_BASE);
    expect(base & 1 << 8, "BSP is clear");
    expect_fault(write_msr(MSR_APIC_BASE, base | 1 << 9), GP, 0);
    expect_fault(write_msr(MSR_APIC_BASE, base | 1ull << 52), GP, 0);
}

BEHAVIOUR(sysenter, "SDM vol. 2 SYSENTER, SYSEXIT: to CPL 0 by the MSRs, IF clear, and back to CPL 3 by ECX and EDX; CS 0 is #GP(0)")
{
    need(FEATURE_SEP);
    wrmsr(MSR_SYSENTER_CS, 0);
    expect_fault(CATCH_USER(asm volatile(MARK "1: sysenter")), GP, 0);
    expect_fault(CATCH(asm volatile(MARK "1: sysexit")), GP, 0);
    extern char sysenter_target[];
    wrmsr(MSR_SYSENTER_CS, KERNEL_CS); /* SS is 10h, then user CS 18h, user SS 20h: as this GDT has them */
    wrmsr(MSR_SYSENTER_EIP, (word)sysenter_target);
    wrmsr(MSR_SYSENTER_ESP, (word)trap_stack_top);
    uint32_t kernel, user;
    asm volatile("push $0; call enter_user; add $4, %%esp; mov %%esp, %%ecx; mov $2f, %%edx; sysenter\n\t"
                 "2: mov %%cs, %%ebx; call leave_user"
                 : "=a"(kernel), "=b"(user)
                 :
                 : "ecx", "edx", "memory");
    expect_equal("CS and SS after SYSENTER", kernel, KERNEL_CS << 16 | KERNEL_DS);
    expect_equal("CS after SYSEXIT", user, USER_CS);
    wrmsr(MSR_SYSENTER_CS, 0);
}
CODE("sysenter_target: mov %cs, %eax; shl $16, %eax; mov %ss, %ax; sysexit");

BEHAVIOUR(tsc_write, "SDM vol. 3 17.17.3: IA32_TSC is what RDTSC reads, and is written in all 64 bits")
{
    need(FEATURE_TSC);
    need(FEATURE_MSR);
    uint64_t before = rdtsc();
    wrmsr(MSR_TSC, 0x1234567800000000);
    uint64_t after = rdtsc(), by_msr = rdmsr(MSR_TSC);
    wrmsr(MSR_TSC, before);
    expect(after - 0x1234567800000000 < 1ull << 40, "RDTSC gives %llxh after a write of 1234567800000000h",
           (unsigned long long)after);
    expect(by_msr >= after && by_msr - after < 1ull << 40, "RDMSR gives %llxh, after RDTSC gave %llxh",
           (unsigned long long)by_msr, (unsigned long long)after);
}

BEHAVIOUR(tsc_aux, "SDM vol. 2 RDTSCP: ECX is IA32_TSC_AUX, whose upper half is reserved")
{
    need(FEATURE_RDTSCP);
    uint32_t ecx;
    wrmsr(MSR_TSC_AUX, 0x12345678);
    asm volatile("rdtscp" : "=c"(ecx) : : "eax", "edx");
    wrmsr(MSR_TSC_AUX, 0);
    expect_equal("ECX", ecx, 0x12345678);
    expect_fault(write_msr(MSR_TSC_AUX, 1ull << 32), GP, 0);
}
