/* The decoded operation: what the decoder makes, the interpreter runs and a translator will consume. */
#ifndef BRINGUP_OP_H
#define BRINGUP_OP_H

#include "cpu.h"

/* A handler performs one operation and goes on to the next one: by a tail call in an optimised build, so that a trace
 * is a chain of jumps, else by returning it to the loop in cpu_run. NULL: back to cpu_run. */
typedef const struct op *(*handler)(struct processor *cpu, const struct op *op);
#define HANDLER(name) const struct op *name(struct processor *cpu, const struct op *op)

struct op {
    handler fn;
    uint64_t imm;      /* immediate (sign-extended to 64 bits), branch distance, or what the handler's file says */
    int32_t disp;      /* of the memory operand */
    uint8_t dst, src;  /* register operands as byte offsets into vcpu_state (AH is 1) */
    uint8_t base, index; /* of the memory operand, as 8-byte slots of vcpu_state; SLOT_ZERO when absent */
    uint16_t offset;   /* of the instruction from the trace's first byte */
    uint8_t scale;     /* of the index: 0 to 3 */
    uint8_t seg;       /* of the memory operand: enum segment_register; SEG_LINK: a branch, see below */
    uint8_t length;    /* of the instruction */
    uint8_t number;    /* of the operation in its trace */
    uint8_t size;      /* of the operands in bytes */
    uint8_t form;      /* enum op_form bits */
};
_Static_assert(sizeof(struct op) == 32, "an operation is half a cache line");

enum op_form {
    FORM_MEMORY = 1,  /* ModRM names memory */
    FORM_ADDRESS16 = 2,
    FORM_ADDRESS32 = 4,
    FORM_GENERAL = 8, /* the effective address needs `linear_address`, not base + index + disp alone */
    FORM_LOCK = 16,
    FORM_REP = 32,    /* F3 */
    FORM_REPNE = 64,  /* F2 */
    FORM_OPERAND16 = 128 /* 66h was present */
};

/* A direct near branch to the same page: `imm` caches the target's trace, `disp` is the distance from the trace's first
 * byte to the target, `dst` the number of instructions of the trace that do not run when the branch is taken. */
#define SEG_LINK 0x80

#define SLOT_ZERO (offsetof(struct vcpu_state, zero) / 8)
#define SLOT_RIP (offsetof(struct vcpu_state, rip) / 8)
#define GPR_OFFSET(n) ((n) * 8)

#define SLOT(cpu, n) (((uint64_t *)&(cpu)->s)[n])

typedef uint16_t __attribute__((may_alias, aligned(1))) u16u;
typedef uint32_t __attribute__((may_alias, aligned(1))) u32u;
typedef uint64_t __attribute__((may_alias, aligned(1))) u64u;
typedef int8_t __attribute__((may_alias)) s8u;
typedef int16_t __attribute__((may_alias, aligned(1))) s16u;
typedef int32_t __attribute__((may_alias, aligned(1))) s32u;

#define REG8(cpu, offset) (*((uint8_t *)&(cpu)->s + (offset)))
#define REG16(cpu, offset) (*(u16u *)((uint8_t *)&(cpu)->s + (offset)))
#define REG32(cpu, offset) (*(u32u *)((uint8_t *)&(cpu)->s + (offset))) /* to read; writes zero-extend: REG64 */
#define REG64(cpu, offset) (*(u64u *)((uint8_t *)&(cpu)->s + (offset)))

/* ---- traces (trace.c) ---- */

#define TRACE_OPS 32

/* Operations of one page in the order in which they lie, left by taken branches, or one instruction that crosses into a
 * second page. Found by physical address and mode, run at any linear address. The last operation either ends the trace
 * by itself or is `trace_end`, which is no instruction. */
struct trace {
    uint64_t pa, pa2;           /* of the first byte; of the second page (NO_PAGE: none) */
    struct trace *hash_next;
    struct trace *page_next[2]; /* the lists of the pages' traces */
    uint32_t mode;
    uint16_t bytes;
    uint8_t count; /* instructions */
    uint8_t ops;   /* with trace_end */
    uint64_t links; /* a bit for each operation whose `imm` is a link, or none yet */
    _Alignas(32) struct op op[];
};
_Static_assert(TRACE_OPS < 64, "links is 64 bits");
#define NO_PAGE (~0ull)

static inline struct trace *trace_of(const struct op *op)
{
    return (struct trace *)((char *)(op - op->number) - offsetof(struct trace, op));
}

#ifdef BRINGUP_LOOP_DISPATCH
#define RUN(next) return (next)
#else
#define RUN(next) return (next)->fn(cpu, (next))
#endif
/* To the next operation of the trace. */
#define NEXT RUN(op + 1)

/* The ends of a trace. */

/* RIP is set: on to its trace, by way of the jump cache. For instructions that leave mode, privilege, mapping and
 * pending events as they were. */
const struct op *trace_jump_slow(struct processor *cpu);
static inline __attribute__((always_inline)) const struct op *trace_start(struct processor *cpu, struct trace *trace)
{
    if (unlikely((cpu->left -= trace->count) < 0)) {
        cpu->left += trace->count;
        return NULL;
    }
    RUN(trace->op);
}
static inline unsigned jump_hash(uint64_t rip)
{
    return (rip ^ rip >> 12) & (JUMP_SIZE - 1);
}
static inline __attribute__((always_inline)) const struct op *trace_jump(struct processor *cpu)
{
    struct jump_entry *jump = &cpu->jump[jump_hash(cpu->s.rip)];
    if (likely(jump->rip == cpu->s.rip && jump->tag == cpu->jump_tag))
        return trace_start(cpu, jump->trace);
    return trace_jump_slow(cpu);
}

/* Sets RIP past the (last) instruction `op` of a trace. */
static inline void rip_past(struct processor *cpu, const struct op *op)
{
    cpu->s.rip += op->offset + op->length;
    if ((cpu->mode & MODE_CODE) != MODE_CODE64)
        cpu->s.rip = (uint32_t)cpu->s.rip;
}
/* Leaves RIP on a repeated instruction that is to go on after an iteration, with RF for what is pushed or saved meanwhile:
 * its breakpoint does not trap again (SDM vol. 3, 18.3.1.1). */
static inline void rip_at_repeat(struct processor *cpu, const struct op *op)
{
    cpu->s.rip += op->offset;
    if ((cpu->mode & MODE_CODE) != MODE_CODE64)
        cpu->s.rip = (uint32_t)cpu->s.rip;
    cpu->s.system_flags |= RFLAGS_RF;
}
/* The instruction is done and RIP is set; events, mode or mapping may have changed: back to cpu_run, which looks. */
#define LEAVE_TRACE return NULL

#endif
