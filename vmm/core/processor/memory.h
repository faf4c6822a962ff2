/* Guest memory as operations see it: effective and linear addresses, loads, stores, read-modify-write.
 *
 * The fast path is one look into the software TLB, inline here; all else is mmu.c: page walks, faults, operands split
 * over two pages, pages that hold decoded code, devices. */
#ifndef BRINGUP_MEMORY_H
#define BRINGUP_MEMORY_H

#include "op.h"

/* ---- the slow path (mmu.c) ----
 * Each raises the fault or leaves the run (VM exit, device access) before anything is changed. `seg` tells #SS from
 * #GP for an address that is not canonical. Sizes 1 to 64 bytes. */

/* Where the operand can be read: RAM, or cpu->bounce. */
const void *mmu_read(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, unsigned seg);
void mmu_write(struct processor *cpu, const struct op *op, uint64_t linear, const void *data, unsigned size,
               unsigned seg);
/* Where the operand can be read and written; when that is cpu->bounce, mmu_modify_end must follow. */
void *mmu_modify(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, unsigned seg);
void mmu_modify_end(struct processor *cpu, const struct op *op);
/* Raises what an access of up to 4096 bytes would raise; leaves the run where a device wants a bus. */
void mmu_probe(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, unsigned seg, bool write);
/* #AC for an operand that is not one of 2, 4, 8 or 10 bytes, which the access itself looks at. */
void mmu_demand_alignment(struct processor *cpu, const struct op *op, uint64_t linear, unsigned alignment);
/* The physical address of a byte that is to be monitored; raises what reading it would raise. */
uint64_t mmu_monitor(struct processor *cpu, const struct op *op, uint64_t linear, unsigned seg);
/* Implicit supervisor accesses (descriptor tables, TSS), whatever the CPL. */
uint64_t mmu_system_read(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size);
void mmu_system_write(struct processor *cpu, const struct op *op, uint64_t linear, uint64_t value, unsigned size);
/* The physical address to fetch from, by the current privilege; raises #PF, leaves by EPT violation. */
uint64_t mmu_fetch(struct processor *cpu, uint64_t linear);

/* The host address of the whole remaining run of RAM that starts at `linear` within its page, up to `*size` bytes,
 * which is cut to what is available; NULL when the page needs care (device, code page when writing): then go element
 * by element. Raises faults like mmu_read or mmu_write of the first byte. For REP bulk paths. */
void *mmu_run(struct processor *cpu, const struct op *op, uint64_t linear, uint64_t *size, unsigned seg, bool write);

/* Cache control. */
void mmu_invalidate_page(struct processor *cpu, uint64_t linear);             /* INVLPG */
void mmu_flush(struct processor *cpu, bool global_too);                       /* MOV to CR3, CR4 changes */
void mmu_flush_bank(struct processor *cpu, uint64_t pcid_or_any, bool global_too); /* INVPCID, INVVPID; ~0: all */
void mmu_flush_all(struct processor *cpu);                                    /* every bank: INVEPT, reset */
void mmu_forbid_writes(struct processor *cpu, uint64_t pa); /* no fast stores to this page (arena_forbid_writes) */
void mmu_load_pdpte(struct processor *cpu, const struct op *op, uint64_t cr3); /* PAE; raises #GP on reserved bits */

/* ---- calls of slow paths ---- */

/* A handler that calls an ordinary function needs a stack frame and saved registers on its fast path too. So the slow
 * paths are called in a way that preserves every register (slow.c), where handlers are chained by tail calls. */
#ifdef BRINGUP_LOOP_DISPATCH
#define SLOW_CALL(function, cpu, op, linear, fourth, seg) function(cpu, op, linear, fourth, seg)
#define SLOW_END(cpu, op) mmu_modify_end(cpu, op)
#else
#define SLOW_CALL(function, cpu, op, linear, fourth, seg)                                                              \
    ({                                                                                                                 \
        register uint64_t result __asm__("rax");                                                                       \
        register uint64_t fifth __asm__("r8") = (seg);                                                                 \
        __asm__ volatile("call " #function "_preserving"                                                               \
                         : "=r"(result)                                                                                \
                         : "D"(cpu), "S"(op), "d"(linear), "c"((uint64_t)(fourth)), "r"(fifth)                         \
                         : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",     \
                           "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");                              \
        (void *)result;                                                                                                \
    })
#define SLOW_END(cpu, op) (void)SLOW_CALL(mmu_modify_end, cpu, op, 0, 0, 0)
#endif

/* ---- addresses ---- */

/* base + index * scale + disp, cut to the address size, without the segment. */
static inline uint64_t effective_offset(const struct processor *cpu, const struct op *op)
{
    uint64_t offset = SLOT(cpu, op->base) + (SLOT(cpu, op->index) << op->scale) + (int64_t)op->disp;
    if (op->base == SLOT_RIP && op->form & FORM_GENERAL) /* then disp is the instruction's own */
        offset += op->offset + op->length;
    if (op->form & (FORM_ADDRESS16 | FORM_ADDRESS32))
        offset = op->form & FORM_ADDRESS16 ? (uint16_t)offset : (uint32_t)offset;
    return offset;
}

/* Limit and type checks of legacy segmentation (segment.c); raises #GP(0) or #SS(0). `access`: the size, and
 * SEGMENT_WRITE. */
#define SEGMENT_WRITE 0x10000u
uint64_t segment_checked(struct processor *cpu, const struct op *op, uint64_t offset, uint64_t access, unsigned seg);

/* A segment that can be read and written up to its limit: real and virtual-8086 mode know no others. */
static inline bool is_plain_segment(const struct processor *cpu, const struct vcpu_segment *s)
{
    return cpu->mode & MODE_UNPROTECTED ||
           (s->access & (AR_UNUSABLE | AR_S | AR_CODE | AR_EXPAND_DOWN | AR_WRITABLE)) == (AR_S | AR_WRITABLE);
}

static inline uint64_t linear_address(struct processor *cpu, const struct op *op, unsigned seg, uint64_t offset,
                                      unsigned size, bool write)
{
    const struct vcpu_segment *s = &cpu->s.seg[seg];
    if (cpu->mode & MODE_CODE64)
        return seg >= FS ? offset + s->base : offset;
    if (cpu->mode & MODE_FLAT && seg <= DS && seg != CS && likely((uint32_t)offset <= 0u - size))
        return (uint32_t)offset;
    if (likely(is_plain_segment(cpu, s) && (uint64_t)(uint32_t)offset + (size - 1) <= s->limit))
        return (uint32_t)(s->base + offset);
    return (uint64_t)SLOW_CALL(segment_checked, cpu, op, offset, size | (write ? SEGMENT_WRITE : 0), seg);
}

/* How a handler's memory operand is addressed: most handlers exist once for each kind. EA_FLAT: by a 32-bit address in a
 * flat segment, where nothing can be wrong with it. */
enum ea_kind { EA_BASE, EA_INDEX, EA_GENERAL, EA_FLAT, EA_KINDS };

static inline __attribute__((always_inline)) uint64_t ea(struct processor *cpu, const struct op *op, enum ea_kind kind,
                                                         unsigned size, bool write)
{
    switch (kind) {
    case EA_BASE:
        return SLOT(cpu, op->base) + (int64_t)op->disp;
    case EA_INDEX:
        return SLOT(cpu, op->base) + (SLOT(cpu, op->index) << op->scale) + (int64_t)op->disp;
    case EA_FLAT:
        return (uint32_t)(SLOT(cpu, op->base) + (SLOT(cpu, op->index) << op->scale) + (int64_t)op->disp);
    default:
        return linear_address(cpu, op, op->seg, effective_offset(cpu, op), size, write);
    }
}

/* The same for a handler that exists once. */
static inline uint64_t ea_any(struct processor *cpu, const struct op *op, unsigned size, bool write)
{
    return ea(cpu, op, op->form & FORM_GENERAL ? EA_GENERAL : EA_INDEX, size, write);
}

/* ---- loads and stores ---- */

static inline struct tlb_entry *tlb_entry(const struct processor *cpu, uint64_t linear)
{
    return &cpu->tlb[linear >> 12 & (TLB_SIZE - 1)];
}

static inline __attribute__((always_inline)) const void *mem_read(struct processor *cpu, const struct op *op,
                                                                  uint64_t linear, unsigned size, unsigned seg)
{
    const struct tlb_entry *entry = tlb_entry(cpu, linear);
    if (likely(((linear + size - 1) & ~0xfffull) == entry->read))
        return (const void *)(linear + entry->addend);
    return SLOW_CALL(mmu_read, cpu, op, linear, size, seg);
}

static inline __attribute__((always_inline)) void *mem_modify(struct processor *cpu, const struct op *op,
                                                              uint64_t linear, unsigned size, unsigned seg)
{
    const struct tlb_entry *entry = tlb_entry(cpu, linear);
    if (likely(((linear + size - 1) & ~0xfffull) == entry->write))
        return (void *)(linear + entry->addend);
    return SLOW_CALL(mmu_modify, cpu, op, linear, size, seg);
}
/* Ends what mem_modify began, after the new value was stored through its pointer. */
static inline __attribute__((always_inline)) void mem_modify_end(struct processor *cpu, const struct op *op, void *at)
{
    if (unlikely(at == cpu->bounce))
        SLOW_END(cpu, op);
}

#define LOADS_AND_STORES(bits, type)                                                                                   \
    static inline __attribute__((always_inline)) uint##bits##_t load##bits(struct processor *cpu, const struct op *op, \
                                                                           uint64_t linear, unsigned seg)              \
    {                                                                                                                  \
        return *(const type *)mem_read(cpu, op, linear, bits / 8, seg);                                                \
    }                                                                                                                  \
    static inline __attribute__((always_inline)) void store##bits(struct processor *cpu, const struct op *op,          \
                                                                  uint64_t linear, uint##bits##_t value, unsigned seg) \
    {                                                                                                                  \
        const struct tlb_entry *entry = tlb_entry(cpu, linear);                                                        \
        if (likely(((linear + bits / 8 - 1) & ~0xfffull) == entry->write))                                             \
            *(type *)(linear + entry->addend) = value;                                                                 \
        else                                                                                                           \
            (void)SLOW_CALL(mmu_write##bits, cpu, op, linear, value, seg);                                                              \
    }
/* By value, so that a handler's operand never lives in memory (which would forbid the tail call). */
void mmu_write8(struct processor *cpu, const struct op *op, uint64_t linear, uint8_t value, unsigned seg);
void mmu_write16(struct processor *cpu, const struct op *op, uint64_t linear, uint16_t value, unsigned seg);
void mmu_write32(struct processor *cpu, const struct op *op, uint64_t linear, uint32_t value, unsigned seg);
void mmu_write64(struct processor *cpu, const struct op *op, uint64_t linear, uint64_t value, unsigned seg);
typedef uint8_t __attribute__((may_alias)) u8u;
LOADS_AND_STORES(8, u8u)
LOADS_AND_STORES(16, u16u)
LOADS_AND_STORES(32, u32u)
LOADS_AND_STORES(64, u64u)
#undef LOADS_AND_STORES

/* ---- the stack ---- */

/* SP as wide as the stack: 64 bits in 64-bit code, else by SS.B. */
static inline uint64_t stack_mask(const struct processor *cpu)
{
    return cpu->mode & MODE_CODE64 ? ~0ull : cpu->mode & MODE_STACK32 ? 0xffffffffu : 0xffffu;
}
static inline uint64_t stack_linear(struct processor *cpu, const struct op *op, uint64_t sp, unsigned size, bool write)
{
    return linear_address(cpu, op, SS, sp & stack_mask(cpu), size, write);
}
static inline void stack_set(struct processor *cpu, uint64_t sp)
{
    uint64_t mask = stack_mask(cpu), *rsp = &cpu->s.registers.gpr[RSP];
    *rsp = mask == 0xffff ? (*rsp & ~mask) | (sp & mask) : sp & mask;
}

#endif
