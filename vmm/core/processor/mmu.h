/* Address translation within processor/: paging (SDM vol. 3, chapter 4), EPT (29.3), physical memory and devices. */
#ifndef BRINGUP_MMU_H
#define BRINGUP_MMU_H

#include "memory.h"

/* Chooses the TLB bank of the current address space (CR0, CR3, CR4, EFER, EPTP, VPID) and the class of the current
 * privilege, and with them cpu->tlb and cpu->jump_tag. Part of cpu_update. */
void mmu_select(struct processor *cpu);

/* Banks and caches of a new processor: every entry invalid. */
void mmu_init(struct processor *cpu);

/* Memory by host-physical address, within a page: RAM, else the bus. */
void physical_read(struct processor *cpu, const struct op *op, uint64_t pa, void *data, unsigned size);
void physical_write(struct processor *cpu, const struct op *op, uint64_t pa, const void *data, unsigned size);

/* What answers where there is no RAM, and ports: cpu->bus. In `bare` without it the run is left (LEAVE_BUS); NULL:
 * nothing answers, reads are ones and writes are lost. */
const struct emulate_bus *find_bus(struct processor *cpu, const struct op *op);

/* Stores of event delivery and far transfers to the stack of a new privilege: as the supervisor when that is not 3,
 * whatever CPL still is. */
void mmu_stack_write(struct processor *cpu, const struct op *op, uint64_t linear, uint64_t value, unsigned size,
                     bool user);

/* Canonical addresses (SDM vol. 1, 3.3.7.1): the bits above the linear-address width repeat its highest one. */
static inline bool sign_extended(uint64_t linear, unsigned bits)
{
    return (uint64_t)((int64_t)(linear << (64 - bits)) >> (64 - bits)) == linear;
}
/* Where memory is accessed and code runs: as wide as the paging mode translates. */
static inline bool canonical(const struct processor *cpu, uint64_t linear)
{
    return likely(sign_extended(linear, 48)) || (cpu->s.cr4 & CR4_LA57 && sign_extended(linear, 57));
}
/* What a base register, an MSR or a VMCS field may hold and what can be invalidated: as wide as the processor's
 * addresses are, whatever the paging mode. */
static inline bool canonical_in_model(const struct processor *cpu, uint64_t linear)
{
    return likely(sign_extended(linear, 48)) || (has_feature(cpu, FEATURE_LA57) && sign_extended(linear, 57));
}

/* Bits of a physical address that the processor does not have, up to bit 51. */
static inline uint64_t reserved_address_bits(const struct processor *cpu)
{
    return (1ull << 52) - (1ull << cpu->physical_bits);
}

#endif
