/* PUSH, POP, PUSHA, POPA, ENTER, LEAVE. */
#include "integer.h"
#include "operands.h"

#define STACK_POINTER(cpu) ((cpu)->s.registers.gpr[RSP])

/* In 64-bit code the stack is flat and RSP whole; elsewhere SS and its size count. */
#define PUSH(bits)                                                                                                     \
    static inline __attribute__((always_inline)) void push##bits(struct processor *cpu, const struct op *op,           \
                                                                 uint##bits##_t value)                                \
    {                                                                                                                  \
        uint64_t sp = STACK_POINTER(cpu) - bits / 8;                                                                   \
        if (cpu->mode & MODE_CODE64) {                                                                                 \
            store##bits(cpu, op, sp, value, SS);                                                                       \
            STACK_POINTER(cpu) = sp;                                                                                   \
        } else {                                                                                                       \
            store##bits(cpu, op, stack_linear(cpu, op, sp, bits / 8, true), value, SS);                                \
            stack_set(cpu, sp);                                                                                        \
        }                                                                                                              \
    }                                                                                                                  \
    static inline __attribute__((always_inline)) uint##bits##_t top##bits(struct processor *cpu, const struct op *op)  \
    {                                                                                                                  \
        uint64_t sp = STACK_POINTER(cpu);                                                                              \
        if (!(cpu->mode & MODE_CODE64))                                                                                \
            sp = stack_linear(cpu, op, sp, bits / 8, false);                                                           \
        return load##bits(cpu, op, sp, SS);                                                                            \
    }                                                                                                                  \
    static inline __attribute__((always_inline)) void drop##bits(struct processor *cpu)                                \
    {                                                                                                                  \
        if (cpu->mode & MODE_CODE64)                                                                                   \
            STACK_POINTER(cpu) += bits / 8;                                                                            \
        else                                                                                                           \
            stack_set(cpu, STACK_POINTER(cpu) + bits / 8);                                                             \
    }                                                                                                                  \
    static HANDLER(push_r_##bits)                                                                                      \
    {                                                                                                                  \
        push##bits(cpu, op, REG##bits(cpu, op->src));                                                                  \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(push_i_##bits)                                                                                      \
    {                                                                                                                  \
        push##bits(cpu, op, op->imm);                                                                                  \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(push_m_##bits)                                                                                      \
    {                                                                                                                  \
        push##bits(cpu, op, load##bits(cpu, op, ea_any(cpu, op, bits / 8, false), op->seg));                           \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(pop_r_##bits)                                                                                       \
    {                                                                                                                  \
        uint##bits##_t value = top##bits(cpu, op);                                                                     \
        drop##bits(cpu);                                                                                               \
        SET##bits(cpu, op->src, value); /* last: POP rSP */                                                            \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    /* An address by rSP is computed after the pop. */                                                                 \
    static HANDLER(pop_m_##bits)                                                                                       \
    {                                                                                                                  \
        uint##bits##_t value = top##bits(cpu, op);                                                                     \
        uint64_t offset = effective_offset(cpu, op) + (op->base == RSP ? bits / 8 : 0);                                \
        if (op->form & FORM_ADDRESS32)                                                                                 \
            offset = (uint32_t)offset;                                                                                 \
        store##bits(cpu, op, linear_address(cpu, op, op->seg, offset, bits / 8, true), value, op->seg);                \
        drop##bits(cpu);                                                                                               \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(leave_##bits)                                                                                       \
    {                                                                                                                  \
        uint64_t frame = REG64(cpu, GPR_OFFSET(RBP)) & stack_mask(cpu);                                                \
        uint##bits##_t value = load##bits(cpu, op, stack_linear(cpu, op, frame, bits / 8, false), SS);                 \
        stack_set(cpu, frame + bits / 8);                                                                              \
        SET##bits(cpu, GPR_OFFSET(RBP), value);                                                                        \
        NEXT;                                                                                                          \
    }
PUSH(16) PUSH(32) PUSH(64)

/* In 32-bit code all of whose segments are flat. */
static inline __attribute__((always_inline)) void push_flat(struct processor *cpu, const struct op *op, uint32_t value)
{
    uint64_t sp = (uint32_t)(STACK_POINTER(cpu) - 4);
    store32(cpu, op, sp, value, SS);
    STACK_POINTER(cpu) = sp;
}
static HANDLER(push_r_flat)
{
    push_flat(cpu, op, REG32(cpu, op->src));
    NEXT;
}
static HANDLER(push_i_flat)
{
    push_flat(cpu, op, op->imm);
    NEXT;
}
static HANDLER(pop_r_flat)
{
    uint64_t sp = (uint32_t)STACK_POINTER(cpu);
    uint32_t value = load32(cpu, op, sp, SS);
    STACK_POINTER(cpu) = (uint32_t)(sp + 4);
    SET32(cpu, op->src, value); /* last: POP ESP */
    NEXT;
}

#define BY_WORD(name) {0, name##_16, name##_32, name##_64}

static bool stack_operation(struct decode *d, const handler table[4])
{
    d->op->fn = table[size_index(d->op->size)];
    return true;
}

static bool stack_operation_or_flat(struct decode *d, const handler table[4], handler flat)
{
    if (d->op->size != 4 || !all_flat(d))
        return stack_operation(d, table);
    d->op->fn = flat;
    return true;
}

/* What SP becomes, not what it was. */
static HANDLER(push_sp_8086)
{
    push16(cpu, op, (uint16_t)cpu->s.registers.gpr[RSP] - 2);
    NEXT;
}

bool set_up_push(struct decode *d)
{
    static const handler table[4] = BY_WORD(push_r);
    d->op->src = GPR_OFFSET((d->opcode & 7) | (d->rex & 1) << 3);
    if (before_286(d->cpu) && d->op->src == GPR_OFFSET(RSP)) {
        d->op->fn = push_sp_8086;
        return true;
    }
    return stack_operation_or_flat(d, table, push_r_flat);
}

bool set_up_push_rm(struct decode *d)
{
    static const handler reg[4] = BY_WORD(push_r), memory[4] = BY_WORD(push_m);
    if (before_286(d->cpu) && d->mod == 3 && d->op->src == GPR_OFFSET(RSP)) {
        d->op->fn = push_sp_8086;
        return true;
    }
    return stack_operation(d, d->op->form & FORM_MEMORY ? memory : reg);
}

bool set_up_push_immediate(struct decode *d)
{
    static const handler table[4] = BY_WORD(push_i);
    return stack_operation_or_flat(d, table, push_i_flat);
}

bool set_up_pop(struct decode *d)
{
    static const handler table[4] = BY_WORD(pop_r);
    d->op->src = GPR_OFFSET((d->opcode & 7) | (d->rex & 1) << 3);
    return stack_operation_or_flat(d, table, pop_r_flat);
}

bool set_up_pop_rm(struct decode *d)
{
    static const handler reg[4] = BY_WORD(pop_r), memory[4] = BY_WORD(pop_m);
    return stack_operation(d, d->op->form & FORM_MEMORY ? memory : reg);
}

bool set_up_leave(struct decode *d)
{
    static const handler table[4] = BY_WORD(leave);
    return stack_operation(d, table);
}

/* ---- PUSHA, POPA, ENTER: by elements of 2, 4 or 8 bytes ---- */

static __attribute__((noinline)) void store_element(struct processor *cpu, const struct op *op, uint64_t sp,
                                                    uint64_t value)
{
    uint64_t linear = stack_linear(cpu, op, sp, op->size, true);
    if (op->size == 2)
        store16(cpu, op, linear, value, SS);
    else if (op->size == 4)
        store32(cpu, op, linear, value, SS);
    else
        store64(cpu, op, linear, value, SS);
}

static __attribute__((noinline)) uint64_t load_element(struct processor *cpu, const struct op *op, uint64_t linear)
{
    return op->size == 2 ? load16(cpu, op, linear, SS) : op->size == 4 ? load32(cpu, op, linear, SS)
                                                                       : load64(cpu, op, linear, SS);
}

static void set_element(struct processor *cpu, unsigned reg, unsigned size, uint64_t value)
{
    if (size == 2)
        SET16(cpu, GPR_OFFSET(reg), value);
    else if (size == 4)
        SET32(cpu, GPR_OFFSET(reg), value);
    else
        SET64(cpu, GPR_OFFSET(reg), value);
}

static __attribute__((noinline)) void pusha(struct processor *cpu, const struct op *op)
{
    uint64_t sp = STACK_POINTER(cpu);
    for (unsigned i = 0; i < 8; i++) /* nothing is written unless all can be */
        mmu_probe(cpu, op, stack_linear(cpu, op, sp - (i + 1) * op->size, op->size, true), op->size, SS, true);
    for (unsigned i = 0; i < 8; i++)
        store_element(cpu, op, sp - (i + 1) * op->size, cpu->s.registers.gpr[i]);
    stack_set(cpu, sp - 8 * op->size);
}

HANDLER(op_pusha)
{
    pusha(cpu, op);
    NEXT;
}

static __attribute__((noinline)) void popa(struct processor *cpu, const struct op *op)
{
    uint64_t sp = STACK_POINTER(cpu), value[8];
    for (unsigned i = 0; i < 8; i++)
        value[i] = load_element(cpu, op, stack_linear(cpu, op, sp + i * op->size, op->size, false));
    for (unsigned i = 0; i < 8; i++)
        if (i != 7 - RSP)
            set_element(cpu, 7 - i, op->size, value[i]);
    stack_set(cpu, sp + 8 * op->size);
}

HANDLER(op_popa)
{
    popa(cpu, op);
    NEXT;
}

/* ENTER (SDM vol. 2): frame size in imm[15:0], nesting level in imm[20:16]. What it has pushed when one of its accesses
 * faults stays in memory, as on silicon; the registers are those before. */
static __attribute__((noinline)) void enter(struct processor *cpu, const struct op *op)
{
    unsigned size = op->size, level = op->imm >> 16 & 31;
    uint64_t frame = REG64(cpu, GPR_OFFSET(RSP)) - size, sp = frame, bp = REG64(cpu, GPR_OFFSET(RBP));
    store_element(cpu, op, frame, bp);
    for (unsigned i = 1; i < level; i++) {
        uint64_t link = load_element(cpu, op, stack_linear(cpu, op, bp - i * size, size, false));
        store_element(cpu, op, sp -= size, link);
    }
    if (level)
        store_element(cpu, op, sp -= size, frame);
    sp -= op->imm & 0xffff;
    mmu_probe(cpu, op, stack_linear(cpu, op, sp, size, true), size, SS, true);
    stack_set(cpu, sp);
    set_element(cpu, RBP, size, frame);
}

HANDLER(op_enter)
{
    enter(cpu, op);
    NEXT;
}
