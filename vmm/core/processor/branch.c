/* Near branches, calls and returns, and the ends of traces.
 *
 * Each direct branch exists three times: in 64-bit code, in flat 32-bit code, and in legacy code where CS has a base and
 * a limit. All cache their target's trace in the operation; the last one looks each time whether the limit allows it. */
#include "integer.h"
#include "mmu.h"
#include "operands.h"
#include "trace.h"

/* op->disp counts from the trace's first byte (whose RIP is s.rip) to the target; op->imm is the link. */

/* No link yet: finds the target, and links when it lies in the same page. RIP is set. */
static __attribute__((noinline)) const struct op *branch_unlinked(struct processor *cpu, const struct op *op)
{
    uint64_t in_page = (trace_of(op)->pa & 0xfff) + (int64_t)op->disp;
    bool cached = cpu->jump_tag != JUMP_NEVER || cpu->linear_tag != JUMP_NEVER;
    if (cpu->left <= 0)
        LEAVE_TRACE;
    if (in_page < 0x1000 && cached && !trace_is_limited(cpu, op)) {
        struct trace *target = trace_find(cpu);
        if (!target)
            LEAVE_TRACE;
        if (target->pa2 == NO_PAGE && !trace_is_limited(cpu, target->op))
            ((struct op *)op)->imm = (uintptr_t)target;
        return trace_start(cpu, target);
    }
    return trace_jump(cpu);
}

static inline __attribute__((always_inline)) const struct op *branch_linked(struct processor *cpu, const struct op *op)
{
    struct trace *target = (struct trace *)(uintptr_t)op->imm;
    if (likely(target))
        return trace_start(cpu, target);
    return branch_unlinked(cpu, op);
}

static inline __attribute__((always_inline)) const struct op *branch_wide(struct processor *cpu, const struct op *op)
{
    cpu->left += op->dst;
    cpu->s.rip += (int64_t)op->disp;
    return branch_linked(cpu, op);
}

static inline __attribute__((always_inline)) const struct op *branch_flat(struct processor *cpu, const struct op *op)
{
    cpu->left += op->dst;
    cpu->s.rip = (uint32_t)(cpu->s.rip + op->disp);
    return branch_linked(cpu, op);
}

static uint64_t cut_to_operand(const struct op *op, uint64_t rip)
{
    return op->size == 2 ? (uint16_t)rip : op->size == 4 ? (uint32_t)rip : rip;
}

/* Raises #GP(0) for a target outside of CS, or not canonical. */
static inline void check_target(struct processor *cpu, const struct op *op, uint64_t target)
{
    if (cpu->mode & MODE_CODE64) {
        if (unlikely(!canonical(cpu, target)))
            raise_gp(cpu, op, 0);
    } else if (!(cpu->mode & MODE_FLAT) && unlikely(target > cpu->s.seg[CS].limit)) {
        raise_gp(cpu, op, 0);
    }
}

static __attribute__((noinline)) const struct op *branch_legacy(struct processor *cpu, const struct op *op)
{
    uint64_t distant = cpu->s.rip + (int64_t)op->disp, target = cut_to_operand(op, distant);
    struct trace *linked = (struct trace *)(uintptr_t)op->imm;
    check_target(cpu, op, target);
    cpu->left += op->dst;
    cpu->s.rip = target;
    if (unlikely(target != distant)) /* it wraps: not where the link leads */
        return trace_jump(cpu);
    if (likely(linked && trace_within_limit(cpu, linked)))
        return trace_start(cpu, linked);
    return branch_unlinked(cpu, op);
}

/* In 64-bit code, when the distance from the trace's first byte does not fit into 32 bits: it is in op->imm. */
static __attribute__((noinline)) const struct op *branch_far(struct processor *cpu, const struct op *op)
{
    uint64_t target = cpu->s.rip + op->imm;
    check_target(cpu, op, target);
    cpu->left += op->dst;
    cpu->s.rip = target;
    return trace_jump(cpu);
}

/* The distance to the target, and which handler applies: wide, flat, legacy, far. */
static unsigned set_up_branch(struct decode *d)
{
    struct op *op = d->op;
    op->seg = SEG_LINK;
    op->imm += op->offset + op->length;
    op->disp = (int32_t)op->imm; /* legacy addresses wrap at 4 GiB */
    op->dst = 0;
    if ((d->mode & MODE_CODE) == MODE_CODE64 && (int64_t)op->imm != op->disp)
        return 3;
    op->imm = 0;
    if ((d->mode & MODE_CODE) == MODE_CODE64)
        return op->size == 8 ? 0 : 2;
    return (d->mode & (MODE_CODE | MODE_FLAT)) == (MODE_CODE32 | MODE_FLAT) && op->size == 4 ? 1 : 2;
}

/* ---- Jcc ---- */

#define JCC(n)                                                                                                         \
    static HANDLER(jcc_wide_##n)                                                                                       \
    {                                                                                                                  \
        if (condition(cpu, n))                                                                                         \
            return branch_wide(cpu, op);                                                                               \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(jcc_flat_##n)                                                                                       \
    {                                                                                                                  \
        if (condition(cpu, n))                                                                                         \
            return branch_flat(cpu, op);                                                                               \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(jcc_legacy_##n)                                                                                     \
    {                                                                                                                  \
        if (condition(cpu, n))                                                                                         \
            return branch_legacy(cpu, op);                                                                             \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(jcc_far_##n)                                                                                        \
    {                                                                                                                  \
        if (condition(cpu, n))                                                                                         \
            return branch_far(cpu, op);                                                                                \
        NEXT;                                                                                                          \
    }
CONDITIONS(JCC)

bool set_up_jcc(struct decode *d)
{
#define ENTRY(n) {jcc_wide_##n, jcc_flat_##n, jcc_legacy_##n, jcc_far_##n},
    static const handler table[16][4] = {CONDITIONS(ENTRY)};
#undef ENTRY
    d->op->fn = table[d->row->arg][set_up_branch(d)];
    return true;
}

/* ---- JMP, CALL, RET ---- */

static HANDLER(jmp_wide)
{
    return branch_wide(cpu, op);
}
static HANDLER(jmp_flat)
{
    return branch_flat(cpu, op);
}
static HANDLER(jmp_legacy)
{
    return branch_legacy(cpu, op);
}

bool set_up_jmp(struct decode *d)
{
    static const handler table[4] = {jmp_wide, jmp_flat, jmp_legacy, branch_far};
    d->op->fn = table[set_up_branch(d)];
    return true;
}

static inline uint64_t return_address(const struct processor *cpu, const struct op *op)
{
    return cpu->s.rip + op->offset + op->length;
}

static inline __attribute__((always_inline)) void push_wide(struct processor *cpu, const struct op *op)
{
    uint64_t sp = cpu->s.registers.gpr[RSP] - 8;
    store64(cpu, op, sp, return_address(cpu, op), SS);
    cpu->s.registers.gpr[RSP] = sp;
}

static __attribute__((noinline)) void push_legacy(struct processor *cpu, const struct op *op)
{
    uint64_t sp = cpu->s.registers.gpr[RSP] - op->size;
    uint64_t linear = stack_linear(cpu, op, sp, op->size, true);
    if (op->size == 2)
        store16(cpu, op, linear, return_address(cpu, op), SS);
    else
        store32(cpu, op, linear, return_address(cpu, op), SS);
    stack_set(cpu, sp);
}

static HANDLER(call_wide)
{
    push_wide(cpu, op);
    return branch_wide(cpu, op);
}
static HANDLER(call_flat)
{
    if (likely(cpu->mode & MODE_STACK32)) {
        uint64_t sp = (uint32_t)(cpu->s.registers.gpr[RSP] - 4);
        store32(cpu, op, sp, return_address(cpu, op), SS);
        cpu->s.registers.gpr[RSP] = sp;
    } else {
        push_legacy(cpu, op);
    }
    return branch_flat(cpu, op);
}
static HANDLER(call_legacy)
{
    check_target(cpu, op, cut_to_operand(op, cpu->s.rip + (int64_t)op->disp));
    push_legacy(cpu, op);
    return branch_legacy(cpu, op);
}

static HANDLER(call_far)
{
    check_target(cpu, op, cpu->s.rip + op->imm);
    push_wide(cpu, op);
    return branch_far(cpu, op);
}

bool set_up_call(struct decode *d)
{
    static const handler table[4] = {call_wide, call_flat, call_legacy, call_far};
    d->op->fn = table[set_up_branch(d)];
    return true;
}

static inline __attribute__((always_inline)) uint64_t indirect_target(struct processor *cpu, const struct op *op)
{
    if (!(op->form & FORM_MEMORY))
        return cut_to_operand(op, REG64(cpu, op->src));
    uint64_t linear = ea_any(cpu, op, op->size, false);
    return op->size == 8   ? load64(cpu, op, linear, op->seg)
           : op->size == 4 ? load32(cpu, op, linear, op->seg)
                           : load16(cpu, op, linear, op->seg);
}

static HANDLER(jmp_indirect)
{
    uint64_t target = indirect_target(cpu, op);
    check_target(cpu, op, target);
    cpu->s.rip = target;
    return trace_jump(cpu);
}

static HANDLER(call_indirect)
{
    uint64_t target = indirect_target(cpu, op);
    check_target(cpu, op, target);
    if (op->size == 8)
        push_wide(cpu, op);
    else
        push_legacy(cpu, op);
    cpu->s.rip = target;
    return trace_jump(cpu);
}

bool set_up_jmp_indirect(struct decode *d)
{
    d->op->fn = jmp_indirect;
    return true;
}

bool set_up_call_indirect(struct decode *d)
{
    d->op->fn = call_indirect;
    return true;
}

static HANDLER(ret_wide)
{
    uint64_t target = load64(cpu, op, cpu->s.registers.gpr[RSP], SS);
    check_target(cpu, op, target);
    cpu->s.registers.gpr[RSP] += 8 + op->imm;
    cpu->s.rip = target;
    return trace_jump(cpu);
}

static HANDLER(ret_legacy)
{
    uint64_t sp = cpu->s.registers.gpr[RSP], linear = stack_linear(cpu, op, sp, op->size, false);
    uint64_t target = op->size == 2 ? load16(cpu, op, linear, SS) : load32(cpu, op, linear, SS);
    check_target(cpu, op, target);
    stack_set(cpu, sp + op->size + op->imm);
    cpu->s.rip = target;
    return trace_jump(cpu);
}

static HANDLER(ret_flat)
{
    uint64_t sp = (uint32_t)cpu->s.registers.gpr[RSP];
    uint64_t target = load32(cpu, op, sp, SS);
    cpu->s.registers.gpr[RSP] = (uint32_t)(sp + 4 + op->imm);
    cpu->s.rip = target;
    return trace_jump(cpu);
}

bool set_up_ret(struct decode *d)
{
    d->op->fn = d->op->size == 8 ? ret_wide : d->op->size == 4 && all_flat(d) ? ret_flat : ret_legacy;
    return true;
}

/* ---- LOOPcc, JrCXZ: rCX by address size ---- */

/* Does LOOP jump to itself, as in delays? Not when a 16-bit operand cuts RIP. */
static bool is_own_target(const struct processor *cpu, const struct op *op)
{
    uint64_t rip = cpu->s.rip + op->offset;
    return op->disp == op->offset && cut_to_operand(op, rip) == rip;
}

/* As many iterations of such a LOOP as it and the budget have but for the last one, all at once. Returns the new rCX. */
static uint64_t loop_on_itself(struct processor *cpu, const struct op *op, uint64_t count)
{
    int64_t budget = cpu->left + op->dst;
    uint64_t iterations = budget <= 0 ? 0 : count - 1 < (uint64_t)budget ? count - 1 : (uint64_t)budget;
    cpu->left -= iterations;
    return count - iterations;
}

static inline __attribute__((always_inline)) const struct op *loop(struct processor *cpu, const struct op *op,
                                                                   enum loop kind)
{
    uint64_t mask = op->form & FORM_ADDRESS16 ? 0xffff : op->form & FORM_ADDRESS32 ? 0xffffffff : ~0ull;
    uint64_t *rcx = &cpu->s.registers.gpr[RCX], count = *rcx & mask;
    bool taken;
    if (kind == LOOP_CXZ) {
        taken = !count;
    } else {
        count = (count - 1) & mask;
        taken = count && (kind == LOOP_ALWAYS || !!(cpu->s.flags & FLAG_ZF) == (kind == LOOP_E));
        if (taken && (cpu->mode & MODE_CODE) != MODE_CODE64)
            check_target(cpu, op, cut_to_operand(op, cpu->s.rip + (int64_t)op->disp));
        if (taken && is_own_target(cpu, op))
            count = loop_on_itself(cpu, op, count);
        *rcx = mask == 0xffff ? (*rcx & ~mask) | count : count;
    }
    if (!taken)
        NEXT;
    if (op->size == 8)
        return branch_wide(cpu, op);
    return op->size == 4 && (cpu->mode & (MODE_CODE | MODE_FLAT)) == (MODE_CODE32 | MODE_FLAT) ? branch_flat(cpu, op)
                                                                                              : branch_legacy(cpu, op);
}

static HANDLER(loop_ne)
{
    return loop(cpu, op, LOOP_NE);
}
static HANDLER(loop_e)
{
    return loop(cpu, op, LOOP_E);
}
static HANDLER(loop_always)
{
    return loop(cpu, op, LOOP_ALWAYS);
}
static HANDLER(loop_cxz)
{
    return loop(cpu, op, LOOP_CXZ);
}

bool set_up_loop(struct decode *d)
{
    static const handler table[4] = {loop_ne, loop_e, loop_always, loop_cxz};
    d->op->fn = table[d->row->arg];
    set_up_branch(d);
    return true;
}

/* ---- BOUND ---- */

HANDLER(op_bound)
{
    uint64_t linear = ea_any(cpu, op, 2 * op->size, false);
    int64_t index, low, high;
    if (op->size == 2) {
        index = (int16_t)REG16(cpu, op->dst);
        low = (int16_t)load16(cpu, op, linear, op->seg);
        high = (int16_t)load16(cpu, op, (uint32_t)(linear + 2), op->seg);
    } else {
        index = (int32_t)REG32(cpu, op->dst);
        low = (int32_t)load32(cpu, op, linear, op->seg);
        high = (int32_t)load32(cpu, op, (uint32_t)(linear + 4), op->seg);
    }
    if (index < low || index > high)
        raise_fault(cpu, op, VECTOR_BR, NO_ERROR_CODE);
    NEXT;
}

/* ---- ends of traces ---- */

/* After the last instruction of a trace that does not branch away; no instruction itself. */
HANDLER(op_trace_end)
{
    cpu->s.rip += op->disp;
    if (!(cpu->mode & MODE_CODE64))
        cpu->s.rip = (uint32_t)cpu->s.rip;
    return branch_linked(cpu, op);
}

/* The same where CS has a limit. */
HANDLER(op_trace_end_legacy)
{
    struct trace *linked = (struct trace *)(uintptr_t)op->imm;
    cpu->s.rip = (uint32_t)(cpu->s.rip + op->disp);
    if (likely(linked && trace_within_limit(cpu, linked)))
        return trace_start(cpu, linked);
    return branch_unlinked(cpu, op);
}

/* Every operation of a trace whose bytes were overwritten: what comes next is decoded anew. */
HANDLER(op_stale)
{
    cpu->left += trace_of(op)->count - op->number;
    cpu->s.rip += op->offset;
    if (!(cpu->mode & MODE_CODE64))
        cpu->s.rip = (uint32_t)cpu->s.rip;
    return trace_jump_slow(cpu);
}
