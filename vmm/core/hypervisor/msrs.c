/* MSRs (SDM vol. 4): what the guest accesses without an exit, what the board has, and what the hypervisor decides. */
#include <string.h>

#include "guest.h"

#define IA32_P5_MC_ADDR 0x0
#define IA32_P5_MC_TYPE 0x1
#define IA32_TSC 0x10
#define IA32_PLATFORM_ID 0x17
#define IA32_APIC_BASE 0x1b
#define IA32_FEATURE_CONTROL 0x3a
#define IA32_TSC_ADJUST 0x3b
#define IA32_SPEC_CTRL 0x48
#define IA32_PRED_CMD 0x49
#define IA32_BIOS_UPDT_TRIG 0x79
#define IA32_BIOS_SIGN_ID 0x8b
#define MSR_PLATFORM_INFO 0xce
#define IA32_MTRRCAP 0xfe
#define IA32_ARCH_CAPABILITIES 0x10a
#define IA32_SYSENTER_CS 0x174
#define IA32_SYSENTER_ESP 0x175
#define IA32_SYSENTER_EIP 0x176
#define IA32_MCG_CAP 0x179
#define IA32_MCG_STATUS 0x17a
#define IA32_MISC_ENABLE 0x1a0
#define IA32_DEBUGCTL 0x1d9
#define IA32_MTRR_PHYSBASE0 0x200
#define IA32_MTRR_PHYSMASK7 0x20f
#define IA32_MTRR_FIX64K_00000 0x250
#define IA32_MTRR_FIX16K_80000 0x258
#define IA32_MTRR_FIX16K_A0000 0x259
#define IA32_MTRR_FIX4K_C0000 0x268
#define IA32_MTRR_FIX4K_F8000 0x26f
#define IA32_PAT 0x277
#define IA32_MTRR_DEF_TYPE 0x2ff
#define IA32_TSC_DEADLINE 0x6e0
#define IA32_MC0_CTL 0x400
#define IA32_MC7_MISC 0x41f
#define IA32_XSS 0xda0
#define CPUID_7_EBX_TSC_ADJUST (1u << 1)
#define X2APIC_FIRST 0x800
#define X2APIC_LAST 0x8ff
#define IA32_EFER 0xc0000080
#define IA32_STAR 0xc0000081
#define IA32_LSTAR 0xc0000082
#define IA32_CSTAR 0xc0000083
#define IA32_FMASK 0xc0000084
#define IA32_FS_BASE 0xc0000100
#define IA32_GS_BASE 0xc0000101
#define IA32_KERNEL_GS_BASE 0xc0000102
#define IA32_TSC_AUX 0xc0000103

#define FEATURE_CONTROL_LOCK 1ull
#define FEATURE_CONTROL_DEFINED 7ull

#define COUNT(list) (sizeof(list) / sizeof *(list))

enum access { READ = 1, WRITE = 2, BOTH = 3 };

struct msr_range {
    uint32_t first, last;
    enum access access;
};

/* VM entry and exit switch these, or the hypervisor does not use them: they are the guest's own. */
static const struct msr_range passed_through[] = {
    {IA32_TSC, IA32_TSC, READ}, /* with TSC offsetting */
    {IA32_SPEC_CTRL, IA32_PRED_CMD, BOTH},
    {IA32_SYSENTER_CS, IA32_SYSENTER_EIP, BOTH},
    {IA32_DEBUGCTL, IA32_DEBUGCTL, BOTH},
    {IA32_PAT, IA32_PAT, BOTH},
    {IA32_EFER, IA32_FMASK, BOTH},
    {IA32_FS_BASE, IA32_TSC_AUX, BOTH},
};

/* Rare enough to exit, and without effect on the hypervisor: the processor's own behaviour is the guest's. */
static const struct msr_range forwarded[] = {
    {IA32_P5_MC_ADDR, IA32_P5_MC_TYPE, BOTH},
    {IA32_PLATFORM_ID, IA32_PLATFORM_ID, READ},
    {IA32_BIOS_UPDT_TRIG, IA32_BIOS_UPDT_TRIG, WRITE},
    {IA32_BIOS_SIGN_ID, IA32_BIOS_SIGN_ID, BOTH},
    {MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, READ},
    {IA32_MTRRCAP, IA32_MTRRCAP, READ},
    {IA32_ARCH_CAPABILITIES, IA32_ARCH_CAPABILITIES, READ},
    {IA32_MCG_CAP, IA32_MCG_CAP, READ},
    {IA32_MCG_STATUS, IA32_MCG_STATUS, BOTH},
    {IA32_MISC_ENABLE, IA32_MISC_ENABLE, BOTH},
    {IA32_MC0_CTL, IA32_MC7_MISC, BOTH},
    {IA32_MTRR_PHYSBASE0, IA32_MTRR_PHYSMASK7, BOTH},
    {IA32_MTRR_FIX64K_00000, IA32_MTRR_FIX64K_00000, BOTH},
    {IA32_MTRR_FIX16K_80000, IA32_MTRR_FIX16K_A0000, BOTH},
    {IA32_MTRR_FIX4K_C0000, IA32_MTRR_FIX4K_F8000, BOTH},
    {IA32_MTRR_DEF_TYPE, IA32_MTRR_DEF_TYPE, BOTH},
    {IA32_XSS, IA32_XSS, BOTH},
};

/* SDM vol. 3, 25.6.9: four KiB of which a clear bit lets an access pass: reads of low and high MSRs, then writes. */
void fill_msr_bitmap(uint8_t bitmap[4096])
{
    memset(bitmap, 0xff, 4096);
    for (unsigned i = 0; i < COUNT(passed_through); i++)
        for (uint32_t index = passed_through[i].first; index <= passed_through[i].last; index++) {
            uint32_t bit = (index >> 31 ? 1024 * 8 : 0) + (index & 0x1fff);
            if (passed_through[i].access & READ)
                bitmap[bit / 8] &= ~(1u << bit % 8);
            bit += 2048 * 8;
            if (passed_through[i].access & WRITE)
                bitmap[bit / 8] &= ~(1u << bit % 8);
        }
}

static bool is_board_msr(uint32_t index)
{
    return index == IA32_APIC_BASE || index == IA32_TSC_DEADLINE || (index >= X2APIC_FIRST && index <= X2APIC_LAST);
}

static bool is_forwarded(uint32_t index, enum access access)
{
    for (unsigned i = 0; i < COUNT(forwarded); i++)
        if (index >= forwarded[i].first && index <= forwarded[i].last)
            return forwarded[i].access & access;
    return false;
}

static bool has_tsc_adjust(const struct guest *guest)
{
    struct cpuid_leaf leaf;
    processor_cpuid(guest->vcpu.processor, 7, 0, &leaf);
    return leaf.ebx & CPUID_7_EBX_TSC_ADJUST;
}

/* A write to the TSC or to its adjustment moves both (SDM vol. 3, 18.17.3). */
static void adjust_tsc(struct guest *guest, uint64_t difference)
{
    guest->tsc_offset += difference;
    guest->tsc_adjust += difference;
    vmcs_write(guest, TSC_OFFSET, guest->tsc_offset);
}

bool guest_rdmsr(struct guest *guest, uint32_t index, uint64_t *value)
{
    struct vcpu *vcpu = &guest->vcpu;
    if (is_board_msr(index))
        return board_msr_read(vcpu->board, vcpu->index, index, value, vcpu->time, vcpu->time + guest->tsc_offset);
    if (index == IA32_FEATURE_CONTROL) {
        *value = guest->feature_control;
        return true;
    }
    if (index == IA32_TSC_ADJUST && has_tsc_adjust(guest)) {
        *value = guest->tsc_adjust;
        return true;
    }
    return is_forwarded(index, READ) && msr_read(vcpu->processor, index, value);
}

bool guest_wrmsr(struct guest *guest, uint32_t index, uint64_t value)
{
    struct vcpu *vcpu = &guest->vcpu;
    if (is_board_msr(index))
        return board_msr_write(vcpu->board, vcpu->index, index, value, vcpu->time, vcpu->time + guest->tsc_offset);
    if (index == IA32_TSC) {
        adjust_tsc(guest, value - vcpu->time - guest->tsc_offset);
        return true;
    }
    if (index == IA32_TSC_ADJUST && has_tsc_adjust(guest)) {
        adjust_tsc(guest, value - guest->tsc_adjust);
        return true;
    }
    if (index == IA32_FEATURE_CONTROL) {
        if (guest->feature_control & FEATURE_CONTROL_LOCK || value & ~FEATURE_CONTROL_DEFINED)
            return false;
        guest->feature_control = value;
        return true;
    }
    return is_forwarded(index, WRITE) && msr_write(vcpu->processor, index, value);
}

bool guest_read_msr(const struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
    static const struct {
        uint32_t index, component;
    } in_vmcs[] = {
        {IA32_SYSENTER_CS, GUEST_SYSENTER_CS},   {IA32_SYSENTER_ESP, GUEST_SYSENTER_ESP},
        {IA32_SYSENTER_EIP, GUEST_SYSENTER_EIP}, {IA32_DEBUGCTL, GUEST_DEBUGCTL},
        {IA32_EFER, GUEST_EFER},                 {IA32_FS_BASE, GUEST_BASE + 2 * FS},
        {IA32_GS_BASE, GUEST_BASE + 2 * GS},
    };
    const struct guest *guest = guest_of_const(vcpu);
    for (unsigned i = 0; i < COUNT(in_vmcs); i++)
        if (in_vmcs[i].index == index) {
            *value = vmcs_read(guest, in_vmcs[i].component);
            return true;
        }
    if (index == IA32_TSC) {
        *value = vcpu->time + guest->tsc_offset;
        return true;
    }
    for (unsigned i = 0; i < COUNT(passed_through); i++)
        if (index >= passed_through[i].first && index <= passed_through[i].last)
            return msr_read(vcpu->processor, index, value);
    return guest_rdmsr((struct guest *)guest, index, value);
}

/* Calls `visit` with each MSR of both lists that can be read and written, and with its place. */
static void each_power_on_msr(struct guest *guest, void (*visit)(struct processor *, uint32_t, uint64_t *))
{
    unsigned place = 0;
    for (unsigned i = 0; i < COUNT(passed_through) + COUNT(forwarded); i++) {
        struct msr_range range = i < COUNT(forwarded) ? forwarded[i] : passed_through[i - COUNT(forwarded)];
        for (uint32_t index = range.first; index <= range.last && range.access == BOTH; index++, place++)
            if (place < POWER_ON_MSRS)
                visit(guest->vcpu.processor, index, &guest->power_on[place]);
            else
                vcpu_end(&guest->vcpu, MACHINE_INTERNAL, "more than %d MSRs to reset", POWER_ON_MSRS);
    }
}

static void note(struct processor *processor, uint32_t index, uint64_t *place)
{
    if (!msr_read(processor, index, place))
        *place = 0; /* and writing it will do nothing */
}

static void restore(struct processor *processor, uint32_t index, uint64_t *place)
{
    msr_write(processor, index, *place);
}

void guest_save_power_on_msrs(struct guest *guest)
{
    each_power_on_msr(guest, note);
}

void guest_reset_msrs(struct guest *guest)
{
    each_power_on_msr(guest, restore);
    guest->feature_control = 0;
    guest->tsc_adjust = 0;
    guest->tsc_offset = 0 - guest->vcpu.time; /* RESET# clears the TSC */
    vmcs_write(guest, TSC_OFFSET, guest->tsc_offset);
    vmcs_write(guest, GUEST_DEBUGCTL, 0);
    vmcs_write(guest, GUEST_SYSENTER_CS, 0);
    vmcs_write(guest, GUEST_SYSENTER_ESP, 0);
    vmcs_write(guest, GUEST_SYSENTER_EIP, 0);
}
