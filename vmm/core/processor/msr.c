/* Model-specific registers (SDM vol. 4, table 2-2). */
#include "msr.h"

#include "mmu.h"
#include "vmx_state.h"

#define IA32_P5_MC_ADDR 0x0
#define IA32_P5_MC_TYPE 0x1
#define IA32_PLATFORM_ID 0x17
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
#define IA32_PAT 0x277
#define IA32_MTRR_DEF_TYPE 0x2ff
#define IA32_MC0_CTL 0x400
#define IA32_XSS 0xda0
#define IA32_VMX_BASIC 0x480
#define IA32_VMX_VMFUNC 0x491
#define IA32_STAR 0xc0000081
#define IA32_LSTAR 0xc0000082
#define IA32_CSTAR 0xc0000083
#define IA32_FMASK 0xc0000084
#define IA32_FS_BASE 0xc0000100
#define IA32_GS_BASE 0xc0000101
#define IA32_KERNEL_GS_BASE 0xc0000102
#define IA32_TSC_AUX 0xc0000103

#define FEATURE_CONTROL_LOCK 1ull
#define FEATURE_CONTROL_DEFINED 7ull /* lock, VMX in SMX, VMX outside SMX */
/* Fast strings, thermal control, EIST and xTPR messages have nothing to switch here. */
#define MISC_ENABLE_DEFINED                                                                                            \
    ((1ull << 0) | (1ull << 3) | (1ull << 16) | (1ull << 23) | MISC_ENABLE_MONITOR | MISC_ENABLE_LIMIT_CPUID)
#define MISC_ENABLE_READ_ONLY ((1ull << 7) | (1ull << 11) | (1ull << 12)) /* no performance monitor, BTS, PEBS */
#define MTRR_VARIABLE 8
#define MTRRCAP_FIXED (1ull << 8)
#define MTRRCAP_WC (1ull << 10)
#define SPEC_CTRL_DEFINED 7ull /* IBRS, STIBP, SSBD */

/* ---- TSC and the count ---- */

/* The one performance counter (instructions retired): root's clock; a guest has it when CPUID.0AH says so. */
static bool has_counter(const struct processor *cpu)
{
    struct cpuid_leaf leaf;
    processor_cpuid((struct processor *)cpu, 0xa, 0, &leaf);
    return (leaf.eax & 0xff) >= 2 && (leaf.edx & 0x1f) >= 1;
}

static bool has_tsc_adjust(struct processor *cpu)
{
    struct cpuid_leaf leaf;
    processor_cpuid(cpu, 7, 0, &leaf);
    return leaf.ebx >> 1 & 1;
}

/* ---- memory types ---- */

static bool is_memory_type(unsigned type, bool pat)
{
    return type == 0 || type == 1 || (type >= 4 && type <= 6) || (pat && type == 7);
}

static bool are_memory_types(uint64_t value, bool pat)
{
    for (unsigned i = 0; i < 64; i += 8)
        if (!is_memory_type(value >> i & 0xff, pat))
            return false;
    return true;
}

/* The register of a fixed-range MTRR (vol. 3, table 12-9), or NULL. */
static uint64_t *fixed_mtrr(struct processor *cpu, uint32_t index)
{
    switch (index) {
    case 0x250: return &cpu->s.mtrr_fixed[0];
    case 0x258: case 0x259: return &cpu->s.mtrr_fixed[index - 0x258 + 1];
    case 0x268 ... 0x26f: return &cpu->s.mtrr_fixed[index - 0x268 + 3];
    default: return NULL;
    }
}

static uint64_t *variable_mtrr(struct processor *cpu, uint32_t index)
{
    uint32_t n = index - IA32_MTRR_PHYSBASE0;
    if (n >= 2 * MTRR_VARIABLE)
        return NULL;
    return n & 1 ? &cpu->s.mtrr_mask[n / 2] : &cpu->s.mtrr_base[n / 2];
}

static bool set_mtrr(struct processor *cpu, uint32_t index, uint64_t value)
{
    uint64_t *fixed = fixed_mtrr(cpu, index), *variable = variable_mtrr(cpu, index);
    if (fixed && are_memory_types(value, false)) {
        *fixed = value;
        return true;
    }
    if (variable) {
        bool mask = index & 1;
        bool reserved = mask ? value & 0x7ff : value & 0xf00 || !is_memory_type(value & 0xff, false);
        if (reserved || value >> cpu->physical_bits)
            return false;
        *variable = value;
        return true;
    }
    if (index == IA32_MTRR_DEF_TYPE && !(value & ~0xcffull) && is_memory_type(value & 0xff, false)) {
        cpu->s.mtrr_def_type = value;
        return true;
    }
    return false;
}

static bool get_mtrr(struct processor *cpu, uint32_t index, uint64_t *value)
{
    uint64_t *fixed = fixed_mtrr(cpu, index), *variable = variable_mtrr(cpu, index);
    if (!fixed && !variable && index != IA32_MTRR_DEF_TYPE)
        return false;
    *value = fixed ? *fixed : variable ? *variable : cpu->s.mtrr_def_type;
    return true;
}

/* ---- machine check ---- */

/* The registers of a bank (vol. 3, 16.3.2), in the order of their numbers. */
enum mc_register { MC_CTL, MC_STATUS, MC_ADDR, MC_MISC, MC_REGISTERS };

static bool is_bank_register(const struct processor *cpu, uint32_t index)
{
    return has_feature(cpu, FEATURE_MCA) && index - IA32_MC0_CTL < MCA_BANKS * MC_REGISTERS;
}

/* Where one is kept; NULL: MC_STATUS, which is 0 as there are no errors. */
static uint64_t *bank_register(struct processor *cpu, uint32_t index)
{
    unsigned bank = (index - IA32_MC0_CTL) / MC_REGISTERS;
    switch ((enum mc_register)((index - IA32_MC0_CTL) % MC_REGISTERS)) {
    case MC_CTL: return &cpu->s.mc_ctl[bank];
    case MC_ADDR: return &cpu->s.mc_addr[bank];
    case MC_MISC: return &cpu->s.mc_misc[bank];
    default: return NULL;
    }
}

static bool set_bank_register(struct processor *cpu, uint32_t index, uint64_t value)
{
    uint64_t *kept = bank_register(cpu, index);
    if (!kept)
        return !value; /* software only clears it */
    if ((index - IA32_MC0_CTL) % MC_REGISTERS == MC_CTL && value && ~value)
        return false; /* all reports on or off */
    *kept = value;
    return true;
}

/* ---- registers that are plain storage with a rule ---- */

/* Where the register is kept, or NULL. */
static uint64_t *storage(struct processor *cpu, uint32_t index)
{
    struct vcpu_state *s = &cpu->s;
    switch (index) {
    case MSR_APIC_BASE: return &s->apic_base;
    case MSR_TSC_DEADLINE: return has_feature(cpu, FEATURE_TSC_DEADLINE) ? &s->tsc_deadline : NULL;
    case IA32_FEATURE_CONTROL: return &s->feature_control;
    case IA32_TSC_ADJUST: return has_tsc_adjust(cpu) ? &s->tsc_adjust : NULL;
    case IA32_SPEC_CTRL: return has_feature(cpu, FEATURE_SPEC_CTRL) ? &s->spec_ctrl : NULL;
    case IA32_SYSENTER_CS: return &s->sysenter_cs;
    case IA32_SYSENTER_ESP: return &s->sysenter_esp;
    case IA32_SYSENTER_EIP: return &s->sysenter_eip;
    case IA32_MISC_ENABLE: return &s->misc_enable;
    case IA32_DEBUGCTL: return &s->debugctl;
    case IA32_PAT: return has_feature(cpu, FEATURE_PAT) ? &s->pat : NULL;
    case IA32_STAR: return has_feature(cpu, FEATURE_SYSCALL) ? &s->star : NULL;
    case IA32_LSTAR: return has_feature(cpu, FEATURE_LM) ? &s->lstar : NULL;
    case IA32_CSTAR: return has_feature(cpu, FEATURE_LM) ? &s->cstar : NULL;
    case IA32_FMASK: return has_feature(cpu, FEATURE_LM) ? &s->fmask : NULL;
    case IA32_FS_BASE: return has_feature(cpu, FEATURE_LM) ? &s->seg[FS].base : NULL;
    case IA32_GS_BASE: return has_feature(cpu, FEATURE_LM) ? &s->seg[GS].base : NULL;
    case IA32_KERNEL_GS_BASE: return has_feature(cpu, FEATURE_LM) ? &s->kernel_gs_base : NULL;
    case IA32_XSS: return has_feature(cpu, FEATURE_XSAVES) ? &s->xss : NULL;
    case IA32_TSC_AUX:
        return has_feature(cpu, FEATURE_RDTSCP) || has_feature(cpu, FEATURE_RDPID) ? &s->tsc_aux : NULL;
    case MSR_EFER: return has_feature(cpu, FEATURE_LM) || has_feature(cpu, FEATURE_NX) ? &s->efer : NULL;
    default: return NULL;
    }
}

static uint64_t efer_defined(const struct processor *cpu)
{
    return (has_feature(cpu, FEATURE_SYSCALL) ? EFER_SCE : 0) |
           (has_feature(cpu, FEATURE_LM) ? EFER_LME | EFER_LMA : 0) | (has_feature(cpu, FEATURE_NX) && !(cpu->s.misc_enable & MISC_ENABLE_XD_DISABLE) ? EFER_NXE : 0);
}

/* May the register hold this? `*value` becomes what it will hold. `old` is what it holds. */
static bool settle(const struct processor *cpu, uint32_t index, uint64_t *value, uint64_t old)
{
    switch (index) {
    case MSR_APIC_BASE: return !(*value & ~0x900ull & 0xfff) && !(*value >> cpu->physical_bits);
    case IA32_FEATURE_CONTROL: return !(old & FEATURE_CONTROL_LOCK) && !(*value & ~FEATURE_CONTROL_DEFINED);
    case IA32_SPEC_CTRL: return !(*value & ~SPEC_CTRL_DEFINED);
    case IA32_SYSENTER_CS: *value = (uint32_t)*value; return true;
    case IA32_MISC_ENABLE: {
        uint64_t defined = MISC_ENABLE_DEFINED | (has_feature(cpu, FEATURE_NX) ? MISC_ENABLE_XD_DISABLE : 0);
        if (*value & ~(defined | MISC_ENABLE_READ_ONLY))
            return false;
        *value = (*value & defined) | (old & MISC_ENABLE_READ_ONLY);
        return true;
    }
    case IA32_DEBUGCTL: return !*value; /* neither LBR nor BTF */
    case IA32_XSS: return !*value; /* no supervisor state components */
    case IA32_PAT: return are_memory_types(*value, true);
    case IA32_FMASK: case IA32_TSC_AUX: return !(*value >> 32);
    case IA32_SYSENTER_ESP: case IA32_SYSENTER_EIP: case IA32_LSTAR: case IA32_CSTAR: case IA32_FS_BASE:
    case IA32_GS_BASE: case IA32_KERNEL_GS_BASE:
        return canonical_in_model(cpu, *value);
    case MSR_EFER:
        if (*value & ~efer_defined(cpu))
            return false;
        *value = (*value & ~EFER_LMA) | (old & EFER_LMA); /* read-only */
        return true;
    default: return true;
    }
}

/* ---- all of them ---- */

/* Leaf 16H states the base frequency in MHz; the ratio counts 100 MHz. */
static uint64_t platform_info(struct processor *cpu)
{
    struct cpuid_leaf leaf0, leaf16;
    processor_cpuid(cpu, 0, 0, &leaf0);
    processor_cpuid(cpu, 0x16, 0, &leaf16);
    return (leaf0.eax >= 0x16 && leaf16.eax >= 100 ? (leaf16.eax & 0xffff) / 100 : 10) << 8;
}

bool msr_get(struct processor *cpu, const struct op *op, uint32_t index, uint64_t *value)
{
    const uint64_t *kept = storage(cpu, index);
    if (kept) {
        *value = *kept;
        return true;
    }
    if (is_bank_register(cpu, index)) {
        kept = bank_register(cpu, index);
        *value = kept ? *kept : 0;
        return true;
    }
    switch (index) {
    case MSR_TSC: *value = cpu_tsc_at(cpu, op) + vmx_tsc_offset(cpu); return true;
    case MSR_FIXED_CTR0:
        *value = cpu_count_at(cpu, op);
        return has_counter(cpu);
    case IA32_P5_MC_ADDR: case IA32_P5_MC_TYPE: case IA32_PLATFORM_ID: case IA32_MCG_STATUS:
        *value = 0; /* no error */
        return true;
    case IA32_MCG_CAP: *value = has_feature(cpu, FEATURE_MCA) ? MCA_BANKS : 0; return true;
    case IA32_BIOS_SIGN_ID: *value = 1ull << 32; return true; /* a microcode revision */
    case MSR_PLATFORM_INFO: *value = platform_info(cpu); return true;
    case IA32_MTRRCAP:
        *value = MTRR_VARIABLE | MTRRCAP_FIXED | MTRRCAP_WC;
        return has_feature(cpu, FEATURE_MTRR);
    case IA32_ARCH_CAPABILITIES:
        *value = cpu->config.arch_capabilities;
        return has_feature(cpu, FEATURE_ARCH_CAPABILITIES);
    case IA32_VMX_BASIC ... IA32_VMX_VMFUNC:
        return (!op || has_feature(cpu, FEATURE_VMX)) && vmx_msr_read(cpu, index, value);
    default: return has_feature(cpu, FEATURE_MTRR) && get_mtrr(cpu, index, value);
    }
}

bool msr_set(struct processor *cpu, const struct op *op, uint32_t index, uint64_t value)
{
    uint64_t *kept = storage(cpu, index);
    if (kept) {
        uint64_t old = *kept;
        if (!settle(cpu, index, &value, old))
            return false;
        if (index == MSR_EFER && (old ^ value) & EFER_LME && cpu->s.cr0 & CR0_PG)
            return false;
        if (index == IA32_TSC_ADJUST)
            cpu->s.tsc_base += value - old;
        *kept = value;
        if (index == MSR_EFER)
            cpu_update(cpu);
        return true;
    }
    if (is_bank_register(cpu, index))
        return set_bank_register(cpu, index, value);
    switch (index) {
    case MSR_TSC: {
        uint64_t base = value - cpu_count_at(cpu, op);
        cpu->s.tsc_adjust += base - cpu->s.tsc_base;
        cpu->s.tsc_base = base;
        return true;
    }
    case MSR_FIXED_CTR0: return false;
    case IA32_PRED_CMD: return has_feature(cpu, FEATURE_SPEC_CTRL) && !(value & ~1ull);
    case IA32_BIOS_UPDT_TRIG: case IA32_BIOS_SIGN_ID: return true;
    case IA32_P5_MC_ADDR: case IA32_P5_MC_TYPE: case IA32_MCG_STATUS: return !value;
    default: return has_feature(cpu, FEATURE_MTRR) && set_mtrr(cpu, index, value);
    }
}

/* ---- root ---- */

/* No run is under way. The clock's two come first: a hypervisor that keeps time by them asks at each exit. */

bool msr_read(struct processor *cpu, uint32_t index, uint64_t *value)
{
    if (likely(index == MSR_FIXED_CTR0)) {
        *value = cpu->s.count;
        return true;
    }
    if (likely(index == MSR_TSC)) {
        *value = cpu->s.tsc_base + cpu->s.count + vmx_tsc_offset(cpu);
        return true;
    }
    const uint64_t *root = vmx_root_msr(cpu, index);
    if (root) {
        *value = *root;
        return true;
    }
    return msr_get(cpu, NULL, index, value);
}

bool msr_write(struct processor *cpu, uint32_t index, uint64_t value)
{
    if (likely(index == MSR_FIXED_CTR0)) { /* the TSC stays */
        cpu->s.tsc_base += cpu->s.count - value;
        cpu->s.count = value;
        return true;
    }
    if (likely(index == MSR_TSC)) { /* root code that moves time on adjusts no guest's clock */
        cpu->s.tsc_base = value - cpu->s.count;
        return true;
    }
    uint64_t *root = vmx_root_msr(cpu, index);
    if (!root)
        return msr_set(cpu, NULL, index, value);
    if (!settle(cpu, index, &value, *root))
        return false;
    *root = value;
    return true;
}
