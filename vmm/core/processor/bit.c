/* BT BTS BTR BTC, bit scans and counts, BMI1 and BMI2. */
#include "integer.h"
#include "operands.h"

/* ---- BT and its kin: CF is the old bit, the other flags stay ---- */

static inline __attribute__((always_inline)) uint64_t bit_operation(struct processor *cpu, uint64_t value, unsigned n,
                                                                    enum bit what)
{
    uint64_t mask = 1ull << n;
    cpu->s.flags = (cpu->s.flags & ~FLAG_CF) | (value & mask ? FLAG_CF : 0);
    return what == BIT_SET ? value | mask : what == BIT_RESET ? value & ~mask : what == BIT_COMPLEMENT ? value ^ mask : value;
}

/* A register bit offset reaches beyond the operand: it is a signed bit string index. */
#define BIT_ADDRESS(bits)                                                                                              \
    static inline uint64_t bit_address_##bits(struct processor *cpu, const struct op *op, bool write)                  \
    {                                                                                                                  \
        int64_t index = (int##bits##_t)REG##bits(cpu, op->src);                                                        \
        uint64_t offset = effective_offset(cpu, op);                                                                   \
        offset += (uint64_t)(index >> __builtin_ctz(bits)) * (bits / 8);                                               \
        if (op->form & (FORM_ADDRESS16 | FORM_ADDRESS32))                                                              \
            offset = op->form & FORM_ADDRESS16 ? (uint16_t)offset : (uint32_t)offset;                                  \
        return linear_address(cpu, op, op->seg, offset, bits / 8, write);                                              \
    }
BIT_ADDRESS(16) BIT_ADDRESS(32) BIT_ADDRESS(64)

#define BIT_FORMS(bits, name, what)                                                                                    \
    static HANDLER(name##_rr_##bits)                                                                                   \
    {                                                                                                                  \
        SET##bits(cpu, op->dst,                                                                                        \
                  bit_operation(cpu, REG##bits(cpu, op->dst), REG##bits(cpu, op->src) & (bits - 1), what));            \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_ri_##bits)                                                                                   \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, bit_operation(cpu, REG##bits(cpu, op->dst), op->imm & (bits - 1), what));              \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_mr_##bits)                                                                                   \
    {                                                                                                                  \
        u##bits##u *at = mem_modify(cpu, op, bit_address_##bits(cpu, op, true), bits / 8, op->seg);                    \
        *at = bit_operation(cpu, *at, REG##bits(cpu, op->src) & (bits - 1), what);                                     \
        mem_modify_end(cpu, op, at);                                                                                   \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_mi_##bits)                                                                                   \
    {                                                                                                                  \
        u##bits##u *at = mem_modify(cpu, op, ea_any(cpu, op, bits / 8, true), bits / 8, op->seg);                      \
        *at = bit_operation(cpu, *at, op->imm & (bits - 1), what);                                                     \
        mem_modify_end(cpu, op, at);                                                                                   \
        NEXT;                                                                                                          \
    }
#define BIT_TEST_FORMS(bits, name, what)                                                                               \
    static HANDLER(name##_rr_##bits)                                                                                   \
    {                                                                                                                  \
        bit_operation(cpu, REG##bits(cpu, op->dst), REG##bits(cpu, op->src) & (bits - 1), what);                       \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_ri_##bits)                                                                                   \
    {                                                                                                                  \
        bit_operation(cpu, REG##bits(cpu, op->dst), op->imm & (bits - 1), what);                                       \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_mr_##bits)                                                                                   \
    {                                                                                                                  \
        uint##bits##_t value = load##bits(cpu, op, bit_address_##bits(cpu, op, false), op->seg);                       \
        bit_operation(cpu, value, REG##bits(cpu, op->src) & (bits - 1), what);                                         \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_mi_##bits)                                                                                   \
    {                                                                                                                  \
        uint##bits##_t value = load##bits(cpu, op, ea_any(cpu, op, bits / 8, false), op->seg);                         \
        bit_operation(cpu, value, op->imm & (bits - 1), what);                                                         \
        NEXT;                                                                                                          \
    }
#define WORDS(X, ...) X(16, __VA_ARGS__) X(32, __VA_ARGS__) X(64, __VA_ARGS__)
WORDS(BIT_TEST_FORMS, bt, BIT_TEST)
WORDS(BIT_FORMS, bts, BIT_SET) WORDS(BIT_FORMS, btr, BIT_RESET) WORDS(BIT_FORMS, btc, BIT_COMPLEMENT)

bool set_up_bit(struct decode *d)
{
#define BY_WORD(name, form) {0, name##_##form##_16, name##_##form##_32, name##_##form##_64}
#define ALL_FORMS(name) {BY_WORD(name, ri), BY_WORD(name, rr), BY_WORD(name, mi), BY_WORD(name, mr)}
    static const handler table[4][4][4] = {ALL_FORMS(bt), ALL_FORMS(bts), ALL_FORMS(btr), ALL_FORMS(btc)};
    struct op *op = d->op;
    uint8_t r = op->dst;
    op->dst = op->src;
    op->src = r;
    unsigned form = (op->form & FORM_MEMORY ? 2 : 0) + (d->row->arg & BIT_BY_REGISTER ? 1 : 0);
    op->fn = table[d->row->arg & 3][form][size_index(op->size)];
    return true;
}

/* ---- scans and counts ---- */

/* BSF and BSR of zero leave the destination as it was, as all silicon does. The flags besides ZF, undefined in the SDM,
 * are clear on every host. */
#define SCAN(bits, name, expression)                                                                                   \
    static inline __attribute__((always_inline)) void name##_##bits(struct processor *cpu, const struct op *op,        \
                                                                    uint##bits##_t source)                            \
    {                                                                                                                  \
        cpu->s.flags = source ? 0 : FLAG_ZF;                                                                           \
        if (source) /* else not even the upper half of a 64-bit register is cleared */                                 \
            SET##bits(cpu, op->dst, expression);                                                                       \
    }                                                                                                                  \
    SCAN_FORMS(bits, name)
#define SCAN_FORMS(bits, name)                                                                                         \
    static HANDLER(name##_r_##bits)                                                                                    \
    {                                                                                                                  \
        name##_##bits(cpu, op, REG##bits(cpu, op->src));                                                               \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_m_##bits)                                                                                    \
    {                                                                                                                  \
        name##_##bits(cpu, op, load##bits(cpu, op, ea_any(cpu, op, bits / 8, false), op->seg));                        \
        NEXT;                                                                                                          \
    }
WORDS(SCAN, bsf, (unsigned)__builtin_ctzll(source))
WORDS(SCAN, bsr, 63 - (unsigned)__builtin_clzll(source))

/* All flags but ZF are cleared (SDM). */
#define POPCNT(bits, ...)                                                                                              \
    static inline void popcnt_##bits(struct processor *cpu, const struct op *op, uint##bits##_t source)                \
    {                                                                                                                  \
        cpu->s.flags = source ? 0 : FLAG_ZF;                                                                           \
        uint64_t ones = source;                                                                                        \
        __asm__("popcnt %0, %0" : "+r"(ones) : : "cc");                                                                \
        SET##bits(cpu, op->dst, ones);                                                                                 \
    }                                                                                                                  \
    SCAN_FORMS(bits, popcnt)
WORDS(POPCNT, )

/* CF is set for zero input, ZF for zero output; the rest is undefined and cleared. */
#define COUNT(bits, name, expression)                                                                                  \
    static inline __attribute__((always_inline)) void name##_##bits(struct processor *cpu, const struct op *op,        \
                                                                    uint##bits##_t source)                            \
    {                                                                                                                  \
        uint##bits##_t result = source ? (expression) : bits;                                                          \
        cpu->s.flags = (source ? 0 : FLAG_CF) | (result ? 0 : FLAG_ZF);                                                \
        SET##bits(cpu, op->dst, result);                                                                               \
    }                                                                                                                  \
    SCAN_FORMS(bits, name)
WORDS(COUNT, tzcnt, (unsigned)__builtin_ctzll(source))
WORDS(COUNT, lzcnt, (unsigned)__builtin_clzll(source) - (64 - (unsigned)(8 * sizeof source)))

bool set_up_bit_scan(struct decode *d)
{
#define BOTH_FORMS(name) {BY_WORD(name, r), BY_WORD(name, m)}
    static const handler table[5][2][4] = {BOTH_FORMS(bsf), BOTH_FORMS(bsr), BOTH_FORMS(popcnt), BOTH_FORMS(tzcnt),
                                           BOTH_FORMS(lzcnt)};
    unsigned which = d->row->arg;
    if (which == 2 && !d->rep)
        return false;
    if (which < 2 && d->rep && has_feature(d->cpu, which ? FEATURE_LZCNT : FEATURE_BMI1))
        which += 3;
    d->op->fn = table[which][d->op->form & FORM_MEMORY ? 1 : 0][size_index(d->op->size)];
    return true;
}

/* ---- BMI1 and BMI2 ---- */

/* VEX.vvvv, as a register offset, is in op->size: the handler itself knows the operand size. */
#define VVVV(bits, cpu, op) REG##bits(cpu, (op)->size)

#define SOURCE(bits) (op->form & FORM_MEMORY ? load##bits(cpu, op, ea_any(cpu, op, bits / 8, false), op->seg) : REG##bits(cpu, op->src))

/* SF and ZF of a result with the given CF; OF is clear, AF and PF are undefined and cleared. */
static inline void logic_flags(struct processor *cpu, uint64_t result, unsigned bits, bool carry)
{
    cpu->s.flags = (result >> (bits - 1) & 1 ? FLAG_SF : 0) | (result ? 0 : FLAG_ZF) | (carry ? FLAG_CF : 0);
}

static inline uint64_t deposit(uint64_t source, uint64_t mask)
{
    uint64_t result = 0;
    for (; mask; mask &= mask - 1, source >>= 1)
        if (source & 1)
            result |= mask & -mask;
    return result;
}

static inline uint64_t extract(uint64_t source, uint64_t mask)
{
    uint64_t result = 0;
    for (unsigned n = 0; mask; mask &= mask - 1, n++)
        if (source & mask & -mask)
            result |= 1ull << n;
    return result;
}

#define BMI(bits)                                                                                                      \
    static HANDLER(andn_##bits)                                                                                        \
    {                                                                                                                  \
        uint##bits##_t r = ~VVVV(bits, cpu, op) & SOURCE(bits);                                                        \
        SET##bits(cpu, op->dst, r);                                                                                    \
        logic_flags(cpu, r, bits, false);                                                                              \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(blsr_##bits)                                                                                        \
    {                                                                                                                  \
        uint##bits##_t a = SOURCE(bits), r = a & (a - 1);                                                              \
        SET##bits(cpu, op->size, r);                                                                                   \
        logic_flags(cpu, r, bits, !a);                                                                                 \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(blsmsk_##bits)                                                                                      \
    {                                                                                                                  \
        uint##bits##_t a = SOURCE(bits), r = a ^ (a - 1);                                                              \
        SET##bits(cpu, op->size, r);                                                                                   \
        logic_flags(cpu, r, bits, !a);                                                                                 \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(blsi_##bits)                                                                                        \
    {                                                                                                                  \
        uint##bits##_t a = SOURCE(bits), r = a & -a;                                                                   \
        SET##bits(cpu, op->size, r);                                                                                   \
        logic_flags(cpu, r, bits, a);                                                                                  \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(bzhi_##bits)                                                                                        \
    {                                                                                                                  \
        uint##bits##_t a = SOURCE(bits);                                                                               \
        unsigned n = (uint8_t)VVVV(bits, cpu, op);                                                                     \
        uint##bits##_t r = n < bits ? a & (((uint##bits##_t)1 << n) - 1) : a;                                          \
        SET##bits(cpu, op->dst, r);                                                                                    \
        logic_flags(cpu, r, bits, n >= bits);                                                                          \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(bextr_##bits)                                                                                       \
    {                                                                                                                  \
        uint##bits##_t a = SOURCE(bits), r = 0;                                                                        \
        unsigned start = (uint8_t)VVVV(bits, cpu, op), length = (uint8_t)(VVVV(bits, cpu, op) >> 8);                   \
        if (start < bits)                                                                                              \
            r = length < bits ? a >> start & (((uint##bits##_t)1 << length) - 1) : a >> start;                         \
        SET##bits(cpu, op->dst, r);                                                                                    \
        cpu->s.flags = r ? 0 : FLAG_ZF;                                                                                \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(pdep_##bits)                                                                                        \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, deposit(VVVV(bits, cpu, op), SOURCE(bits)));                                           \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(pext_##bits)                                                                                        \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, extract(VVVV(bits, cpu, op), SOURCE(bits)));                                           \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(mulx_##bits)                                                                                        \
    {                                                                                                                  \
        unsigned __int128 product = (unsigned __int128)REG##bits(cpu, GPR_OFFSET(RDX)) * SOURCE(bits);                 \
        SET##bits(cpu, op->size, (uint##bits##_t)product);                                                             \
        SET##bits(cpu, op->dst, (uint##bits##_t)(product >> bits)); /* the high half when both name one register */    \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(shlx_##bits)                                                                                        \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, SOURCE(bits) << (VVVV(bits, cpu, op) & (bits - 1)));                                   \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(shrx_##bits)                                                                                        \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, SOURCE(bits) >> (VVVV(bits, cpu, op) & (bits - 1)));                                   \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(sarx_##bits)                                                                                        \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, (uint##bits##_t)((int##bits##_t)SOURCE(bits) >> (VVVV(bits, cpu, op) & (bits - 1))));  \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(rorx_##bits)                                                                                        \
    {                                                                                                                  \
        uint##bits##_t a = SOURCE(bits);                                                                               \
        unsigned n = op->imm & (bits - 1);                                                                             \
        SET##bits(cpu, op->dst, n ? a >> n | a << (bits - n) : a);                                                     \
        NEXT;                                                                                                          \
    }
BMI(32) BMI(64)

/* By map, opcode, mandatory prefix (SDM vol. 2). */
bool set_up_bmi(struct decode *d)
{
#define PAIR(name) {name##_32, name##_64}
    static const handler andn[2] = PAIR(andn), blsr[2] = PAIR(blsr), blsmsk[2] = PAIR(blsmsk), blsi[2] = PAIR(blsi),
                         bzhi[2] = PAIR(bzhi), bextr[2] = PAIR(bextr), pdep[2] = PAIR(pdep), pext[2] = PAIR(pext),
                         mulx[2] = PAIR(mulx), shlx[2] = PAIR(shlx), shrx[2] = PAIR(shrx), sarx[2] = PAIR(sarx),
                         rorx[2] = PAIR(rorx);
    unsigned prefix = d->operand16 ? 1 : d->rep ? 2 : d->repne ? 3 : 0;
    const handler *found = NULL;
    enum feature feature = FEATURE_BMI2;
    if (d->vex_l)
        return false;
    if (d->map == MAP_0F3A && d->opcode == 0xf0 && prefix == 3 && d->vvvv == 0) {
        found = rorx;
    } else if (d->map == MAP_0F38 && d->opcode == 0xf2 && prefix == 0) {
        found = andn;
        feature = FEATURE_BMI1;
    } else if (d->map == MAP_0F38 && d->opcode == 0xf3 && prefix == 0) {
        static const handler *const group[8] = {NULL, blsr, blsmsk, blsi};
        found = group[d->modrm >> 3 & 7];
        feature = FEATURE_BMI1;
    } else if (d->map == MAP_0F38 && d->opcode == 0xf5) {
        static const handler *const by_prefix[4] = {bzhi, NULL, pext, pdep};
        found = by_prefix[prefix];
    } else if (d->map == MAP_0F38 && d->opcode == 0xf6 && prefix == 3) {
        found = mulx;
    } else if (d->map == MAP_0F38 && d->opcode == 0xf7) {
        static const handler *const by_prefix[4] = {bextr, shlx, sarx, shrx};
        found = by_prefix[prefix];
        feature = prefix ? FEATURE_BMI2 : FEATURE_BMI1;
    }
    if (!found || !has_feature(d->cpu, feature))
        return false;
    d->op->fn = found[d->op->size == 8];
    d->op->size = GPR_OFFSET(d->vvvv);
    return true;
}
