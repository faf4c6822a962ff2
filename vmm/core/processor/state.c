/* What a processor starts with, and what follows from its state. */
#include "breakpoint.h"
#include "fpu.h"
#include "mmu.h"
#include "msr.h"

#include <string.h>

/* ---- the CPU model ---- */

static uint32_t row_register(const struct processor *cpu, uint32_t leaf, uint32_t subleaf, unsigned which)
{
    for (uint32_t i = 0; i < cpu->config.cpuid_count; i++) {
        const struct cpuid_leaf *row = &cpu->config.cpuid[i];
        if (row->leaf == leaf && row->subleaf == subleaf)
            return which == 0 ? row->eax : which == 1 ? row->ebx : which == 2 ? row->ecx : row->edx;
    }
    return 0;
}

#define VENDOR_AMD_EBX 0x68747541 /* "Auth" of AuthenticAMD */

void cpu_set_model(struct processor *cpu, const struct machine_config *config)
{
    static const struct {
        uint32_t leaf;
        uint8_t subleaf, which, bit;
    } table[FEATURE_COUNT] = {
#define X(name, leaf, subleaf, reg, bit) {leaf, subleaf, reg, bit},
        FEATURES(X)
#undef X
    };
    cpu->config = *config;
    cpu->model = &cpu->config;
    if (cpu->config.cpuid_count > MACHINE_MAX_CPUID)
        cpu->config.cpuid_count = MACHINE_MAX_CPUID;
    memset(cpu->features, 0, sizeof cpu->features);
    for (unsigned i = 0; i < FEATURE_COUNT; i++) {
        uint64_t bit = row_register(cpu, table[i].leaf, table[i].subleaf, table[i].which) >> table[i].bit & 1;
        cpu->features[i / 64] |= bit << i % 64;
    }
    cpu->cpu_generation = cpu->config.generation ? cpu->config.generation : CPU_686;
    cpu->amd = row_register(cpu, 0, 0, 1) == VENDOR_AMD_EBX;
    cpu->rflags_optional = cpu->cpu_generation >= CPU_486 ? RFLAGS_AC | RFLAGS_ID : 0;
    unsigned bits = row_register(cpu, 0x80000008, 0, 0) & 0xff;
    cpu->physical_bits = bits >= 32 && bits <= 52 ? bits : 36;
}

/* ---- RESET# (SDM vol. 3, table 10-1) ---- */

void cpu_reset(struct processor *cpu)
{
    struct vcpu_state *s = &cpu->s;
    memset(s, 0, sizeof *s);
    s->rip = 0xfff0;
    s->registers.gpr[RDX] = row_register(cpu, 1, 0, 0); /* family, model, stepping */
    s->registers.dr6 = 0xffff0ff0;
    s->registers.xcr0 = 1;
    s->registers.fpu.fcw = 0x40;
    s->registers.fpu.ftw = 0xff; /* eight times +0.0, valid */
    s->registers.fpu.mxcsr = MXCSR_INIT;
    s->registers.fpu.mxcsr_mask = MXCSR_VALID;
    s->dr7 = 0x400;
    s->cr0 = CR0_CD | CR0_NW | CR0_ET;
    for (unsigned i = ES; i <= TR; i++)
        s->seg[i] = (struct vcpu_segment){.limit = 0xffff, .access = i == LDTR ? 0x82 : i == TR ? 0x8b : 0x93};
    s->seg[CS].selector = 0xf000;
    s->seg[CS].base = 0xffff0000;
    s->gdt_limit = s->idt_limit = 0xffff;
    s->pat = 0x0007040600070406;
    s->apic_base = 0xfee00800 | (cpu->index ? 0 : 0x100); /* enabled; the first is the bootstrap processor */
    s->misc_enable = 1 | 1 << 11 | 1 << 12 | (has_feature(cpu, FEATURE_MONITOR) ? MISC_ENABLE_MONITOR : 0);
    s->random = cpu->config.seed + cpu->index * 0xd1342543de82ef95; /* each its own sequence */
    cpu->delivering_valid = false;
    cpu->leave = LEAVE_NONE;
    cpu->shadow = 0;
    cpu_update(cpu);
    mmu_flush_all(cpu);
}

/* ---- modes ---- */

static bool is_flat(const struct vcpu_segment *s)
{
    return s->base == 0 && s->limit == 0xffffffff && !(s->access & AR_UNUSABLE);
}

/* A flat data segment: read and written anywhere without a check. */
static bool is_flat_data(const struct vcpu_segment *s)
{
    return is_flat(s) && (s->access & (AR_S | AR_CODE | AR_EXPAND_DOWN | AR_WRITABLE)) == (AR_S | AR_WRITABLE);
}

static uint32_t legacy_mode(const struct vcpu_state *s)
{
    uint32_t mode = s->seg[CS].access & AR_DB ? MODE_CODE32 : MODE_CODE16;
    if (s->seg[SS].access & AR_DB)
        mode |= MODE_STACK32;
    if (is_flat(&s->seg[CS]) && is_flat_data(&s->seg[ES]) && is_flat_data(&s->seg[SS]) && is_flat_data(&s->seg[DS]))
        mode |= MODE_FLAT;
    if (!(s->cr0 & CR0_PE) || s->system_flags & RFLAGS_VM)
        mode |= MODE_UNPROTECTED;
    return mode;
}

void cpu_update(struct processor *cpu)
{
    const struct vcpu_state *s = &cpu->s;
    uint32_t mode = s->efer & EFER_LMA && s->seg[CS].access & AR_L ? MODE_CODE64 : legacy_mode(s);
    if (s->cpl)
        mode |= s->cpl == 3 ? MODE_USER | MODE_UNPRIVILEGED : MODE_UNPRIVILEGED;
    if (s->cr0 & (CR0_EM | CR0_TS))
        mode |= MODE_NO_X87 | MODE_NO_SSE;
    if (!(s->cr4 & CR4_OSFXSR))
        mode |= MODE_NO_SSE;
    if (s->cr0 & CR0_TS || !(s->cr4 & CR4_OSXSAVE) || ~s->registers.xcr0 & (XCR0_SSE | XCR0_AVX))
        mode |= MODE_NO_AVX;
    if ((s->registers.fpu.fcw & FCW_MASKS) != FCW_MASKS)
        mode |= MODE_FPU_CHECKED;
    if ((s->registers.fpu.mxcsr & MXCSR_MASKS) != MXCSR_MASKS)
        mode |= MODE_SSE_CHECKED;
    cpu->mode = mode;
    cpu->breakpoints = breakpoint_kinds(cpu);
    mmu_select(cpu);
}
