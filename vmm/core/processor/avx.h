/* What the two halves of the VEX vector instructions share: avx.c computes and decodes, avx_move.c moves. */
#ifndef BRINGUP_AVX_H
#define BRINGUP_AVX_H

#include "simd.h"

#include <string.h>

/* Operands as the SDM's encoding tables name them: R ModRM.reg, V VEX.vvvv, M ModRM.rm, I an immediate. */
enum avx_form {
    RVM, RVMI,
    RVMR, /* the immediate names a register */
    RM, RMI,
    MRI,  /* VCVTPS2PH */
    VMI,  /* shifts */
    COMPARE,      /* R and M, to the flags */
    TO_GENERAL,   /* M to a general register */
    FROM_GENERAL, /* V and a general register or memory */
    STRING_MASK, STRING_INDEX,
    LOAD,
    LOAD_SCALAR, STORE_SCALAR, /* of a register: with the rest of V */
    LOAD_GENERAL,
    STORE, STORE_GENERAL,
    STORE_BYTES, /* VMASKMOVDQU */
    MOVE_LOW, MOVE_HIGH, /* V with one half from memory; of a register the other half (VMOVHLPS, VMOVLHPS) */
    INSERT, EXTRACT, EXTRACT_WORD, /* by lane */
    INSERT_HALF, EXTRACT_HALF,
    BROADCAST,
    MASKED_LOAD, MASKED_STORE,
    GATHER_D, GATHER_Q, /* by 32-, by 64-bit indexes */
    ZERO         /* VZEROUPPER, VZEROALL */
};

enum avx_attribute {
    ARITHMETIC = 1,   /* by MXCSR */
    ALIGNED = 2,
    LIG = 4,          /* VEX.L is ignored */
    MEMORY_ONLY = 8,
    REGISTER_ONLY = 16,
    REGISTER_AVX2 = 32,
    HIGH_QUARTER = 64, /* bits 127:64 are stored */
    ONE_LANE = 128    /* VINSERTPS of memory: there is no source lane to choose */
};

struct avx_row {
    const uint8_t *stubs;
    uint8_t form, attributes;
    uint8_t size[2], feature[2]; /* by VEX.L */
};

extern const struct avx_row avx_rows[];

/* What the operation's `imm` holds. */
#define IMM_ROW(op) (&avx_rows[(uint16_t)(op)->imm])
#define IMM_WIDE(op) ((op)->imm >> 16 & 1)
#define IMM_BYTE(op) ((op)->imm >> 24 & 0xff)
#define IMM_V(op) XMM_OFFSET((op)->imm >> 32 & 15)
#define IMM_FOURTH(op) XMM_OFFSET((op)->imm >> 36 & 15)

/* ---- registers ---- */

struct vector {
    v16 half[2];
};

#define YMM_HIGH(cpu, offset) (*(v16 *)((uint8_t *)(cpu)->s.registers.ymm_high + (offset)))

static inline struct vector get(struct processor *cpu, unsigned offset)
{
    return (struct vector){{XMM(cpu, offset), YMM_HIGH(cpu, offset)}};
}

static inline void set(struct processor *cpu, unsigned offset, const struct vector *value, bool wide)
{
    XMM(cpu, offset) = value->half[0];
    YMM_HIGH(cpu, offset) = wide ? value->half[1] : (v16){0};
}

/* The place of byte `at`. */
static inline uint8_t *element(struct processor *cpu, unsigned offset, unsigned at)
{
    return at < 16 ? (uint8_t *)&XMM(cpu, offset) + at : (uint8_t *)&YMM_HIGH(cpu, offset) + at - 16;
}

/* ---- memory operands ---- */

static inline void check_alignment(struct processor *cpu, const struct op *op, const struct avx_row *row,
                                   uint64_t linear, unsigned size)
{
    if (row->attributes & ALIGNED && linear & (size - 1))
        raise_gp(cpu, op, 0);
}

static inline void load(struct processor *cpu, const struct op *op, const struct avx_row *row, void *to, unsigned size)
{
    uint64_t linear = ea_any(cpu, op, size, false);
    check_alignment(cpu, op, row, linear, size);
    memcpy(to, mem_read(cpu, op, linear, size, op->seg), size);
}

static inline void store_at(struct processor *cpu, const struct op *op, uint64_t linear, const void *from,
                            unsigned size)
{
    const struct tlb_entry *entry = tlb_entry(cpu, linear);
    if (likely(((linear + size - 1) & ~0xfffull) == entry->write))
        memcpy((void *)(linear + entry->addend), from, size);
    else
        mmu_write(cpu, op, linear, from, size, op->seg);
}

static inline void store(struct processor *cpu, const struct op *op, const struct avx_row *row, const void *from,
                         unsigned size)
{
    uint64_t linear = ea_any(cpu, op, size, true);
    check_alignment(cpu, op, row, linear, size);
    store_at(cpu, op, linear, from, size);
}

/* ModRM.rm as a vector, zero-extended from memory. */
static inline struct vector source(struct processor *cpu, const struct op *op, const struct avx_row *row, unsigned size)
{
    struct vector value = {{{0}, {0}}};
    if (!(op->form & FORM_MEMORY))
        return get(cpu, op->src);
    load(cpu, op, row, &value, size);
    return value;
}

/* ModRM.rm of `size` bytes as an integer: a general register or memory. */
static inline uint64_t general(struct processor *cpu, const struct op *op, const struct avx_row *row, unsigned size)
{
    uint64_t value = 0;
    if (!(op->form & FORM_MEMORY))
        return size == 8 ? REG64(cpu, op->src) : REG32(cpu, op->src);
    load(cpu, op, row, &value, size);
    return value;
}

/* ---- handlers of avx_move.c ---- */

HANDLER(vex_move);
HANDLER(vex_masked);
HANDLER(vex_gather);
HANDLER(vex_store_bytes);

#endif
