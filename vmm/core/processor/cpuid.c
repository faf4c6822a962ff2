/* CPUID (SDM vol. 2) from the CPU model's rows, with the bits that follow the processor's state. */
#include "fpu.h"
#include "msr.h"

#define APIC_BASE_ENABLE (1ull << 11)
#define LIMITED_LEAF 2 /* what leaf 0 says with MISC_ENABLE_LIMIT_CPUID (vol. 4, table 2-2) */

static const struct cpuid_leaf *find_row(const struct processor *cpu, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < cpu->config.cpuid_count; i++) {
        const struct cpuid_leaf *row = &cpu->config.cpuid[i];
        if (row->leaf == leaf && row->subleaf == subleaf)
            return row;
    }
    return NULL;
}

/* Does ECX choose among sub-leaves? Leaves that have none ignore it. */
static bool has_subleaves(uint32_t leaf)
{
    switch (leaf) {
    case 0x4: case 0x7: case 0xb: case 0xd: case 0xf: case 0x10: case 0x12: case 0x14: case 0x17: case 0x18: case 0x1f:
        return true;
    default: return false;
    }
}

/* Leaves beyond the last one of their range read as the highest basic leaf; AMD's as zeros. */
static uint32_t clamp(const struct processor *cpu, uint32_t leaf)
{
    const struct cpuid_leaf *basic = find_row(cpu, 0, 0), *range = find_row(cpu, leaf & 0xffff0000, 0);
    uint32_t last = basic ? basic->eax : 0;
    if (cpu->amd || leaf <= last || (leaf >> 16 && range && leaf <= range->eax))
        return leaf;
    return last;
}

/* ---- topology: all processors of a machine are the cores of one package, with a thread each ---- */

/* log2, rounded up */
static unsigned bits_for(unsigned processors)
{
    return processors > 1 ? 32 - (unsigned)__builtin_clz(processors - 1) : 0;
}

#define HTT (1u << 28)
#define CORE_LEVEL 1 /* the subleaf of leaf 0BH whose level type is 2 */

static void state_topology(const struct processor *cpu, struct cpuid_leaf *out)
{
    unsigned processors = cpu->config.cpus, ids = 1u << bits_for(processors);
    bool amd_package = cpu->amd && processors > 1;
    switch (out->leaf) {
    case 0x1: /* initial APIC id, APIC ids in the package */
        out->ebx = (out->ebx & 0x00ffffff) | cpu->index << 24;
        if (processors > 1) {
            out->ebx = (out->ebx & 0xff00ffff) | (processors < 0xff ? processors : 0xff) << 16;
            out->edx |= HTT;
        }
        break;
    case 0x4: /* core ids in the package, a field of six bits; no core shares a cache */
        if (out->eax & 0x1f)
            out->eax |= (ids < 64 ? ids - 1 : 63) << 26;
        break;
    case 0xb:
        if (out->subleaf == CORE_LEVEL && processors > 1) {
            out->eax = bits_for(processors);
            out->ebx = processors;
        }
        if (find_row(cpu, 0xb, 0))
            out->edx = cpu->index;
        break;
    case 0x80000001: /* CmpLegacy: HTT means cores */
        out->ecx |= amd_package ? 1u << 1 : 0;
        break;
    case 0x80000008: /* ApicIdSize, NC */
        out->ecx |= amd_package ? bits_for(processors) << 12 | (processors - 1) : 0;
        break;
    }
}

void processor_cpuid(struct processor *cpu, uint32_t leaf, uint32_t subleaf, struct cpuid_leaf *out)
{
    leaf = clamp(cpu, leaf);
    const struct cpuid_leaf *row = find_row(cpu, leaf, has_subleaves(leaf) ? subleaf : 0);
    *out = row ? *row : (struct cpuid_leaf){.leaf = leaf, .subleaf = subleaf};
    state_topology(cpu, out);
    switch (leaf) {
    case 0x0:
        if (cpu->s.misc_enable & MISC_ENABLE_LIMIT_CPUID && out->eax > LIMITED_LEAF)
            out->eax = LIMITED_LEAF;
        break;
    case 0x1:
        if (!(cpu->s.misc_enable & MISC_ENABLE_MONITOR))
            out->ecx &= ~(1u << 3);
        out->ecx = (out->ecx & ~(1u << 27)) | (uint32_t)!!(cpu->s.cr4 & CR4_OSXSAVE) << 27;
        if (!(cpu->s.apic_base & APIC_BASE_ENABLE))
            out->edx &= ~(1u << 9);
        break;
    case 0x7:
        if (subleaf == 0)
            out->ecx = (out->ecx & ~(1u << 4)) | (uint32_t)!!(cpu->s.cr4 & CR4_PKE) << 4; /* OSPKE */
        break;
    case 0xb:
        if (!row)
            out->ecx = subleaf & 0xff;
        break;
    case 0xd:
        if (subleaf <= 1 && row)
            out->ebx = xsave_size(cpu, subleaf);
        break;
    case 0x80000001:
        if (cpu->s.misc_enable & MISC_ENABLE_XD_DISABLE)
            out->edx &= ~(1u << 20);
        break;
    }
}
