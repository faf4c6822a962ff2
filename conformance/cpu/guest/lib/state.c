#include "state.h"

#include "apic.h"
#include "paging.h"
#include "segment.h"
#include "timers.h"
#include "trap.h"

/* NMIs are blocked until the next IRET; there is always one. */
static void unblock_nmi(void)
{
#ifdef __x86_64__
    asm volatile("mov %%ss, %%eax; mov %%rsp, %%rdx; push %%rax; push %%rdx; pushf; mov %%cs, %%eax; push %%rax\n\t"
                 "lea 1f(%%rip), %%rax; push %%rax; iretq; 1:"
                 :
                 :
                 : "rax", "rdx", "memory");
#else
    asm volatile("pushf; push %%cs; push $1f; iret; 1:" : : : "memory");
#endif
}

void state_reset(void)
{
    set_flags(FLAG_RESERVED);
    segment_reset();
    trap_reset();
    paging_reset();
    if (has(FEATURE_MSR) && (has(FEATURE_NX) || has(FEATURE_SYSCALL)))
        wrmsr(MSR_EFER, sizeof(word) == 8 ? EFER_LME | EFER_LMA : 0);
#ifdef __x86_64__
    set_cr0(CR0_PE | CR0_ET | CR0_NE | CR0_PG);
    set_cr8(0);
#endif
    set_dr7(0x400);
    set_dr0(0);
    set_dr1(0);
    set_dr2(0);
    set_dr3(0);
    set_dr6(0xffff0ff0);
    asm volatile("fninit");
    unblock_nmi();
    outb(0x92, (inb(0x92) & ~1) | 2); /* A20 open */
    timers_reset();
    pic_reset();
    apic_reset();
}
