/* What SSE (simd.c) and MMX (mmx.c) share. */
#ifndef BRINGUP_SIMD_H
#define BRINGUP_SIMD_H

#include "decode.h"
#include "fpu.h"

typedef uint8_t __attribute__((vector_size(16), may_alias)) v16;
typedef uint8_t __attribute__((vector_size(16), may_alias, aligned(1))) v16u;

/* SSE operands are byte offsets into fpu.xmm, MMX operands offsets into fpu.st. */
#define XMM(cpu, offset) (*(v16 *)((uint8_t *)FPU(cpu).xmm + (offset)))
#define XMM_OFFSET(n) ((n) * 16)
#define XMM64(cpu, offset, half) (*(u64u *)((uint8_t *)FPU(cpu).xmm + (offset) + 8 * (half)))

static inline v16 low_half(uint64_t value)
{
    return (v16)(uint64_t __attribute__((vector_size(16)))){value};
}
static inline v16 low_quarter(uint32_t value)
{
    return (v16)(uint32_t __attribute__((vector_size(16)))){value};
}

/* The mandatory prefix: the last of F2h and F3h goes before 66h. Then those with REX.W, and CRC32 with 66h besides. */
enum simd_prefix { NP, P66, PF3, PF2, NP_W, P66_W, PF3_W, PF2_W, PF2_16, SIMD_PREFIXES };

static inline enum simd_prefix simd_prefix(const struct decode *d)
{
    return d->repne ? PF2 : d->rep ? PF3 : d->operand16 ? P66 : NP;
}

/* The rows that are not in the table of SSE instructions. */
bool set_up_mmx(struct decode *d);

/* Arithmetic while a SIMD exception may be unmasked. Runs `one`, a copy of the instruction `op` that works on registers
 * only, with the `size` bytes at `source` (unless NULL) in place of its source register; raises #XM with nothing but
 * MXCSR's flags changed when an unmasked exception comes up. */
void simd_supervise(struct processor *cpu, const struct op *op, const struct op *one, const void *source,
                    unsigned size, bool general);

/* The same for a computation that touches its context alone. */
void simd_judge(struct processor *cpu, const struct op *op, void (*compute)(void *context), void *context);

/* The length of a string of PCMPESTRI and its like, from RAX or RDX. */
uint32_t simd_string_length(uint64_t value, bool wide);
/* MASKMOVDQU */
void simd_store_masked(struct processor *cpu, const struct op *op);

/* A source operand; #GP(0) when it is not aligned to 16 bytes and should be. */
const void *simd_read(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, bool aligned);
/* Runs `fn`, a form of `op` on registers, with the operand in memory as its source, and goes on behind it. */
const struct op *simd_operand(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, bool aligned,
                              handler fn);

/* A handler for mode bits that forbid SSE: #UD or #NM. */
HANDLER(simd_unavailable);
#endif
