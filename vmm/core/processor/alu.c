/* ADD OR ADC SBB AND SUB XOR CMP TEST, INC DEC NOT NEG. Results and flags are the host's own. */
#include "integer.h"
#include "operands.h"

/* ---- the arithmetic ---- */

#define ARITHMETIC(bits, name, insn)                                                                                   \
    static inline __attribute__((always_inline)) uint##bits##_t name##bits(struct processor *cpu, uint##bits##_t a,    \
                                                                          uint##bits##_t b)                           \
    {                                                                                                                  \
        uint32_t flags;                                                                                                \
        __asm__(insn " %[b], %[a]" HOST_FLAGS : [a] "+r"(a), "=&a"(flags) : [b] "r"(b) : "cc");                        \
        cpu->s.flags = flags;                                                                                          \
        return a;                                                                                                      \
    }
#define ARITHMETIC_CARRY(bits, name, insn)                                                                             \
    static inline __attribute__((always_inline)) uint##bits##_t name##bits(struct processor *cpu, uint##bits##_t a,    \
                                                                          uint##bits##_t b)                           \
    {                                                                                                                  \
        uint32_t flags;                                                                                                \
        __asm__(GUEST_CF insn " %[b], %[a]" HOST_FLAGS                                                                 \
                : [a] "+r"(a), "=&a"(flags)                                                                            \
                : [b] "r"(b), [flags] "m"(cpu->s.flags)                                                                \
                : "cc");                                                                                               \
        cpu->s.flags = flags;                                                                                          \
        return a;                                                                                                      \
    }
#define ARITHMETIC_UNARY(bits, name, insn)                                                                             \
    static inline __attribute__((always_inline)) uint##bits##_t name##bits(struct processor *cpu, uint##bits##_t a)    \
    {                                                                                                                  \
        uint32_t flags;                                                                                                \
        __asm__(GUEST_CF insn " %[a]" HOST_FLAGS                                                                       \
                : [a] "+r"(a), "=&a"(flags)                                                                            \
                : [flags] "m"(cpu->s.flags)                                                                            \
                : "cc");                                                                                               \
        cpu->s.flags = flags;                                                                                          \
        return a;                                                                                                      \
    }
#define NOT(bits, ...)                                                                                                 \
    static inline __attribute__((always_inline)) uint##bits##_t not##bits(struct processor *cpu, uint##bits##_t a)     \
    {                                                                                                                  \
        (void)cpu;                                                                                                     \
        return ~a;                                                                                                     \
    }
SIZES(ARITHMETIC, add, "add")
SIZES(ARITHMETIC, or, "or")
SIZES(ARITHMETIC_CARRY, adc, "adc")
SIZES(ARITHMETIC_CARRY, sbb, "sbb")
SIZES(ARITHMETIC, and, "and")
SIZES(ARITHMETIC, sub, "sub")
SIZES(ARITHMETIC, xor, "xor")
SIZES(ARITHMETIC, cmp, "cmp")
SIZES(ARITHMETIC, test, "test")
SIZES(ARITHMETIC_UNARY, inc, "inc")
SIZES(ARITHMETIC_UNARY, dec, "dec")
SIZES(ARITHMETIC_UNARY, neg, "neg")
SIZES(NOT)

/* ---- handlers ---- */

#define REGISTER_FORMS(bits, name)                                                                                     \
    static HANDLER(name##_rr_##bits)                                                                                   \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, name##bits(cpu, REG##bits(cpu, op->dst), REG##bits(cpu, op->src)));                    \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_ri_##bits)                                                                                   \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, name##bits(cpu, REG##bits(cpu, op->dst), op->imm));                                    \
        NEXT;                                                                                                          \
    }
#define MEMORY_FORMS(bits, name, kind)                                                                                 \
    static HANDLER(name##_rm_##bits##_##kind)                                                                          \
    {                                                                                                                  \
        uint##bits##_t b = load##bits(cpu, op, ea(cpu, op, kind, bits / 8, false), op->seg);                           \
        SET##bits(cpu, op->dst, name##bits(cpu, REG##bits(cpu, op->dst), b));                                          \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_mr_##bits##_##kind)                                                                          \
    {                                                                                                                  \
        u##bits##u *at = mem_modify(cpu, op, ea(cpu, op, kind, bits / 8, true), bits / 8, op->seg);                    \
        *at = name##bits(cpu, *at, REG##bits(cpu, op->src));                                                           \
        mem_modify_end(cpu, op, at);                                                                                   \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_mi_##bits##_##kind)                                                                          \
    {                                                                                                                  \
        u##bits##u *at = mem_modify(cpu, op, ea(cpu, op, kind, bits / 8, true), bits / 8, op->seg);                    \
        *at = name##bits(cpu, *at, op->imm);                                                                           \
        mem_modify_end(cpu, op, at);                                                                                   \
        NEXT;                                                                                                          \
    }
/* CMP and TEST write nothing but flags. */
#define COMPARE_REGISTER_FORMS(bits, name)                                                                             \
    static HANDLER(name##_rr_##bits)                                                                                   \
    {                                                                                                                  \
        name##bits(cpu, REG##bits(cpu, op->dst), REG##bits(cpu, op->src));                                             \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_ri_##bits)                                                                                   \
    {                                                                                                                  \
        name##bits(cpu, REG##bits(cpu, op->dst), op->imm);                                                             \
        NEXT;                                                                                                          \
    }
#define COMPARE_MEMORY_FORMS(bits, name, kind)                                                                         \
    static HANDLER(name##_rm_##bits##_##kind)                                                                          \
    {                                                                                                                  \
        uint##bits##_t b = load##bits(cpu, op, ea(cpu, op, kind, bits / 8, false), op->seg);                           \
        name##bits(cpu, REG##bits(cpu, op->dst), b);                                                                   \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_mr_##bits##_##kind)                                                                          \
    {                                                                                                                  \
        uint##bits##_t a = load##bits(cpu, op, ea(cpu, op, kind, bits / 8, false), op->seg);                           \
        name##bits(cpu, a, REG##bits(cpu, op->src));                                                                   \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_mi_##bits##_##kind)                                                                          \
    {                                                                                                                  \
        uint##bits##_t a = load##bits(cpu, op, ea(cpu, op, kind, bits / 8, false), op->seg);                           \
        name##bits(cpu, a, op->imm);                                                                                   \
        NEXT;                                                                                                          \
    }
#define UNARY_FORMS(bits, name)                                                                                        \
    static HANDLER(name##_r_##bits)                                                                                    \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, name##bits(cpu, REG##bits(cpu, op->dst)));                                             \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_m_##bits)                                                                                    \
    {                                                                                                                  \
        u##bits##u *at = mem_modify(cpu, op, ea_any(cpu, op, bits / 8, true), bits / 8, op->seg);                      \
        *at = name##bits(cpu, *at);                                                                                    \
        mem_modify_end(cpu, op, at);                                                                                   \
        NEXT;                                                                                                          \
    }

#define FORMS(name)                                                                                                    \
    SIZES(REGISTER_FORMS, name)                                                                                        \
    SIZES(MEMORY_FORMS, name, EA_BASE) SIZES(MEMORY_FORMS, name, EA_INDEX) SIZES(MEMORY_FORMS, name, EA_GENERAL)       \
    SIZES(MEMORY_FORMS, name, EA_FLAT)
#define COMPARE_FORMS(name)                                                                                            \
    SIZES(COMPARE_REGISTER_FORMS, name)                                                                                \
    SIZES(COMPARE_MEMORY_FORMS, name, EA_BASE) SIZES(COMPARE_MEMORY_FORMS, name, EA_INDEX)                             \
    SIZES(COMPARE_MEMORY_FORMS, name, EA_GENERAL) SIZES(COMPARE_MEMORY_FORMS, name, EA_FLAT)
FORMS(add) FORMS(or) FORMS(adc) FORMS(sbb) FORMS(and) FORMS(sub) FORMS(xor)
COMPARE_FORMS(cmp) COMPARE_FORMS(test)
SIZES(UNARY_FORMS, inc) SIZES(UNARY_FORMS, dec) SIZES(UNARY_FORMS, not) SIZES(UNARY_FORMS, neg)

/* XOR r, r and SUB r, r of a register with itself: zero. */
static HANDLER(zero_32)
{
    REG64(cpu, op->dst) = 0;
    cpu->s.flags = FLAG_ZF | FLAG_PF | RFLAGS_FIXED << 8;
    NEXT;
}

/* ---- choice ---- */

struct forms {
    handler rr[4], ri[4], rm[EA_KINDS][4], mr[EA_KINDS][4], mi[EA_KINDS][4]; /* by address kind and size */
};
#define BY_SIZE(name, form) {name##_##form##_8, name##_##form##_16, name##_##form##_32, name##_##form##_64}
#define BY_KIND(name, form)                                                                                            \
    {                                                                                                                  \
        {name##_##form##_8_EA_BASE, name##_##form##_16_EA_BASE, name##_##form##_32_EA_BASE,                            \
         name##_##form##_64_EA_BASE},                                                                                  \
            {name##_##form##_8_EA_INDEX, name##_##form##_16_EA_INDEX, name##_##form##_32_EA_INDEX,                     \
             name##_##form##_64_EA_INDEX},                                                                             \
            {name##_##form##_8_EA_GENERAL, name##_##form##_16_EA_GENERAL, name##_##form##_32_EA_GENERAL,               \
             name##_##form##_64_EA_GENERAL},                                                                           \
            {name##_##form##_8_EA_FLAT, name##_##form##_16_EA_FLAT, name##_##form##_32_EA_FLAT,                        \
             name##_##form##_64_EA_FLAT},                                                                              \
    }
#define ALL_FORMS(name)                                                                                                \
    {                                                                                                                  \
        BY_SIZE(name, rr), BY_SIZE(name, ri), BY_KIND(name, rm), BY_KIND(name, mr), BY_KIND(name, mi)                  \
    }
static const struct forms alu_forms[8] = {
    [ALU_ADD] = ALL_FORMS(add), [ALU_OR] = ALL_FORMS(or),   [ALU_ADC] = ALL_FORMS(adc), [ALU_SBB] = ALL_FORMS(sbb),
    [ALU_AND] = ALL_FORMS(and), [ALU_SUB] = ALL_FORMS(sub), [ALU_XOR] = ALL_FORMS(xor), [ALU_CMP] = ALL_FORMS(cmp),
};
static const struct forms test_forms = ALL_FORMS(test);
static const handler unary_register[4][4] = {BY_SIZE(inc, r), BY_SIZE(dec, r), BY_SIZE(not, r), BY_SIZE(neg, r)};
static const handler unary_memory[4][4] = {BY_SIZE(inc, m), BY_SIZE(dec, m), BY_SIZE(not, m), BY_SIZE(neg, m)};

static bool store_form(struct decode *d, const struct forms *forms)
{
    struct op *op = d->op;
    unsigned size = size_index(op->size);
    uint8_t r = op->dst;
    if (op->form & FORM_MEMORY) {
        op->src = r;
        op->fn = forms->mr[kind_or_flat(d)][size];
        return true;
    }
    op->dst = op->src;
    op->src = r;
    op->fn = forms->rr[size];
    if (op->dst == r && op->size == 4 && (forms == &alu_forms[ALU_XOR] || forms == &alu_forms[ALU_SUB]))
        op->fn = zero_32;
    return true;
}

static bool immediate_form(struct decode *d, const struct forms *forms)
{
    struct op *op = d->op;
    unsigned size = size_index(op->size);
    op->dst = op->src;
    op->fn = op->form & FORM_MEMORY ? forms->mi[kind_or_flat(d)][size] : forms->ri[size];
    return true;
}

static bool accumulator_form(struct decode *d, const struct forms *forms)
{
    d->op->dst = GPR_OFFSET(RAX);
    d->op->fn = forms->ri[size_index(d->op->size)];
    return true;
}

bool set_up_alu_store(struct decode *d)
{
    return store_form(d, &alu_forms[d->row->arg]);
}

bool set_up_alu_load(struct decode *d)
{
    struct op *op = d->op;
    const struct forms *forms = &alu_forms[d->row->arg];
    unsigned size = size_index(op->size);
    op->fn = op->form & FORM_MEMORY ? forms->rm[kind_or_flat(d)][size] : forms->rr[size];
    return true;
}

bool set_up_alu_accumulator(struct decode *d)
{
    return accumulator_form(d, &alu_forms[d->row->arg]);
}

bool set_up_alu_immediate(struct decode *d)
{
    return immediate_form(d, &alu_forms[d->row->arg]);
}

/* ---- ADCX, ADOX: additions with one flag as carry, in and out ---- */

#define ADD_WITH(bits, name, FLAG)                                                                                     \
    static HANDLER(name##_##bits)                                                                                      \
    {                                                                                                                  \
        bool memory = op->form & FORM_MEMORY;                                                                          \
        uint##bits##_t a = REG##bits(cpu, op->dst), sum, with;                                                         \
        uint##bits##_t b = memory ? load##bits(cpu, op, ea_any(cpu, op, bits / 8, false), op->seg)                     \
                                  : REG##bits(cpu, op->src);                                                           \
        bool out = __builtin_add_overflow(a, b, &sum) | __builtin_add_overflow(sum, !!(cpu->s.flags & FLAG), &with);   \
        cpu->s.flags = out ? cpu->s.flags | FLAG : cpu->s.flags & ~FLAG;                                               \
        SET##bits(cpu, op->dst, with);                                                                                 \
        NEXT;                                                                                                          \
    }
ADD_WITH(32, adcx, FLAG_CF) ADD_WITH(64, adcx, FLAG_CF)
ADD_WITH(32, adox, FLAG_OF) ADD_WITH(64, adox, FLAG_OF)

bool set_up_adx(struct decode *d)
{
    bool wide = d->rex & 8;
    if (d->repne || (d->rep == d->operand16 && !d->rep))
        return false;
    d->op->size = wide ? 8 : 4; /* 66h is part of the opcode */
    d->op->fn = d->rep ? (wide ? adox_64 : adox_32) : (wide ? adcx_64 : adcx_32);
    return true;
}

bool set_up_test(struct decode *d)
{
    return store_form(d, &test_forms);
}

bool set_up_test_accumulator(struct decode *d)
{
    return accumulator_form(d, &test_forms);
}

bool set_up_test_immediate(struct decode *d)
{
    return immediate_form(d, &test_forms);
}

bool set_up_unary(struct decode *d)
{
    struct op *op = d->op;
    op->dst = op->src;
    op->fn = (op->form & FORM_MEMORY ? unary_memory : unary_register)[d->row->arg][size_index(op->size)];
    return true;
}

bool set_up_unary_short(struct decode *d)
{
    d->op->dst = GPR_OFFSET(d->opcode & 7);
    d->op->fn = unary_register[d->row->arg][size_index(d->op->size)];
    return true;
}
