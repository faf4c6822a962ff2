/* Model-specific registers (SDM vol. 4). */
#ifndef BRINGUP_MSR_H
#define BRINGUP_MSR_H

#include "op.h"

#define MSR_TSC 0x10
#define MSR_APIC_BASE 0x1b
#define MSR_FIXED_CTR0 0x309
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_EFER 0xc0000080

/* IA32_MISC_ENABLE, what CPUID follows */
#define MISC_ENABLE_MONITOR (1ull << 18)
#define MISC_ENABLE_LIMIT_CPUID (1ull << 22)
#define MISC_ENABLE_XD_DISABLE (1ull << 34)

/* RDMSR and WRMSR by the instruction `op`, or NULL: by VM entry and exit, and by root code, outside of a run. False:
 * #GP. The board's MSRs are plain registers here. */
bool msr_get(struct processor *cpu, const struct op *op, uint32_t index, uint64_t *value);
bool msr_set(struct processor *cpu, const struct op *op, uint32_t index, uint64_t value);

/* Is it one that the board has (APIC base, TSC deadline, x2APIC)? */
static inline bool msr_of_board(uint32_t index)
{
    return index == MSR_APIC_BASE || index == MSR_TSC_DEADLINE || (index >= 0x800 && index < 0x900);
}

#endif
