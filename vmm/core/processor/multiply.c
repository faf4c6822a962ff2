/* MUL IMUL DIV IDIV and the BCD adjustments. */
#include "integer.h"
#include "operands.h"

/* CF and OF say that the product does not fit into its low half. SF, ZF and PF, which the SDM leaves undefined, are
 * those of the low half and AF is clear, on every host. */
#define PRODUCT_FLAGS(bits, ...)                                                                                       \
    static inline void product_flags##bits(struct processor *cpu, uint##bits##_t low, bool overflow)                   \
    {                                                                                                                  \
        uint32_t flags;                                                                                                \
        __asm__("test %1, %1\n\tlahf" : "=&a"(flags) : "r"(low) : "cc");                                               \
        cpu->s.flags = (flags & (FLAG_SF | FLAG_ZF | FLAG_PF)) | (overflow ? FLAG_CF | FLAG_OF : 0);                   \
    }
SIZES(PRODUCT_FLAGS)

/* ---- MUL and IMUL into double width ---- */

#define LOW(bits, cpu) REG##bits(cpu, GPR_OFFSET(RAX))
#define HIGH(bits, cpu) REG##bits(cpu, GPR_OFFSET(RDX))

#define WIDE(bits, name, half, whole)                                                                                  \
    static inline void name##bits(struct processor *cpu, uint##bits##_t b)                                             \
    {                                                                                                                  \
        whole product = (whole)(half)LOW(bits, cpu) * (half)b;                                                         \
        SET##bits(cpu, GPR_OFFSET(RAX), (uint##bits##_t)product);                                                      \
        SET##bits(cpu, GPR_OFFSET(RDX), (uint##bits##_t)(product >> bits));                                            \
        product_flags##bits(cpu, product, product != (half)product);                                                   \
    }
#define WIDE8(name, half, whole)                                                                                       \
    static inline void name##8(struct processor *cpu, uint8_t b)                                                       \
    {                                                                                                                  \
        whole product = (half)LOW(8, cpu) * (half)b;                                                                   \
        SET16(cpu, GPR_OFFSET(RAX), product);                                                                          \
        product_flags8(cpu, product, product != (half)product);                                                        \
    }
WIDE8(mul, uint8_t, uint16_t) WIDE(16, mul, uint16_t, uint32_t) WIDE(32, mul, uint32_t, uint64_t)
WIDE(64, mul, uint64_t, unsigned __int128)
WIDE8(imul, int8_t, int16_t) WIDE(16, imul, int16_t, int32_t) WIDE(32, imul, int32_t, int64_t)
WIDE(64, imul, int64_t, __int128)

/* ---- DIV and IDIV: false for #DE. Flags (undefined) stay as they are. The 8086's #DE returns behind the instruction,
 * and its quotients have no -80h and -8000h (SDM volume 3, 23.1.1). ---- */

static _Noreturn void raise_de(struct processor *cpu, const struct op *op)
{
    if (before_286(cpu))
        cpu->s.rip += op->length;
    raise_fault(cpu, op, VECTOR_DE, NO_ERROR_CODE);
}

static inline bool div8(struct processor *cpu, uint8_t b)
{
    uint16_t a = REG16(cpu, GPR_OFFSET(RAX));
    if (!b || a / b > UINT8_MAX)
        return false;
    SET16(cpu, GPR_OFFSET(RAX), (a % b) << 8 | a / b);
    return true;
}
static inline bool idiv8(struct processor *cpu, uint8_t b)
{
    int32_t a = (int16_t)REG16(cpu, GPR_OFFSET(RAX)), divisor = (int8_t)b;
    if (!divisor || a / divisor != (int8_t)(a / divisor) || (a / divisor == INT8_MIN && before_286(cpu)))
        return false;
    SET16(cpu, GPR_OFFSET(RAX), (uint8_t)(a % divisor) << 8 | (uint8_t)(a / divisor));
    return true;
}
#define DIVIDE(bits, wide)                                                                                             \
    static inline bool div##bits(struct processor *cpu, uint##bits##_t b)                                              \
    {                                                                                                                  \
        wide a = (wide)HIGH(bits, cpu) << bits | LOW(bits, cpu);                                                       \
        if (HIGH(bits, cpu) >= b)                                                                                      \
            return false;                                                                                              \
        SET##bits(cpu, GPR_OFFSET(RAX), a / b);                                                                        \
        SET##bits(cpu, GPR_OFFSET(RDX), a % b);                                                                        \
        return true;                                                                                                   \
    }                                                                                                                  \
    static inline bool idiv##bits(struct processor *cpu, uint##bits##_t b)                                             \
    {                                                                                                                  \
        wide a = (wide)HIGH(bits, cpu) << bits | LOW(bits, cpu), quotient, limit;                                      \
        bool negative = a >> (2 * bits - 1), opposite = negative != (b >> (bits - 1));                                 \
        uint##bits##_t divisor = b >> (bits - 1) ? -b : b, remainder;                                                  \
        a = negative ? -a : a;                                                                                         \
        if (!divisor || a >> bits >= divisor)                                                                          \
            return false;                                                                                              \
        quotient = a / divisor;                                                                                        \
        remainder = a % divisor;                                                                                       \
        limit = ((wide)1 << (bits - 1)) - (!opposite || before_286(cpu));                                              \
        if (quotient > limit)                                                                                          \
            return false;                                                                                              \
        SET##bits(cpu, GPR_OFFSET(RAX), opposite ? -quotient : quotient);                                              \
        SET##bits(cpu, GPR_OFFSET(RDX), negative ? -remainder : remainder);                                            \
        return true;                                                                                                   \
    }
DIVIDE(16, uint32_t) DIVIDE(32, uint64_t)

/* The host divides 128 by 64 bits in one instruction, once it is known not to trap. */
static inline bool div64(struct processor *cpu, uint64_t b)
{
    uint64_t low = LOW(64, cpu), high = HIGH(64, cpu);
    if (high >= b)
        return false;
    __asm__("divq %2" : "+a"(low), "+d"(high) : "r"(b) : "cc");
    LOW(64, cpu) = low;
    HIGH(64, cpu) = high;
    return true;
}
static inline bool idiv64(struct processor *cpu, uint64_t b)
{
    unsigned __int128 a = (unsigned __int128)HIGH(64, cpu) << 64 | LOW(64, cpu);
    bool negative = HIGH(64, cpu) >> 63, opposite = negative != (b >> 63);
    uint64_t divisor = b >> 63 ? -b : b, low, high;
    a = negative ? -a : a;
    low = a;
    high = a >> 64;
    if (high >= divisor)
        return false;
    __asm__("divq %2" : "+a"(low), "+d"(high) : "r"(divisor) : "cc");
    if (low > (1ull << 63) - !opposite)
        return false;
    LOW(64, cpu) = opposite ? -low : low;
    HIGH(64, cpu) = negative ? -high : high;
    return true;
}

#define MULTIPLY_FORMS(bits, name)                                                                                     \
    static HANDLER(name##_r_##bits)                                                                                    \
    {                                                                                                                  \
        name##bits(cpu, REG##bits(cpu, op->src));                                                                      \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_m_##bits)                                                                                    \
    {                                                                                                                  \
        name##bits(cpu, load##bits(cpu, op, ea_any(cpu, op, bits / 8, false), op->seg));                               \
        NEXT;                                                                                                          \
    }
#define DIVIDE_FORMS(bits, name)                                                                                       \
    static HANDLER(name##_r_##bits)                                                                                    \
    {                                                                                                                  \
        if (unlikely(!name##bits(cpu, REG##bits(cpu, op->src))))                                                       \
            raise_de(cpu, op);                                                                                         \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_m_##bits)                                                                                    \
    {                                                                                                                  \
        if (unlikely(!name##bits(cpu, load##bits(cpu, op, ea_any(cpu, op, bits / 8, false), op->seg))))                \
            raise_de(cpu, op);                                                                                         \
        NEXT;                                                                                                          \
    }
SIZES(MULTIPLY_FORMS, mul) SIZES(MULTIPLY_FORMS, imul) SIZES(DIVIDE_FORMS, div) SIZES(DIVIDE_FORMS, idiv)

bool set_up_multiply(struct decode *d)
{
#define BY_SIZE(name, form) {name##_##form##_8, name##_##form##_16, name##_##form##_32, name##_##form##_64}
    static const handler table[4][2][4] = {
        {BY_SIZE(mul, r), BY_SIZE(mul, m)},
        {BY_SIZE(imul, r), BY_SIZE(imul, m)},
        {BY_SIZE(div, r), BY_SIZE(div, m)},
        {BY_SIZE(idiv, r), BY_SIZE(idiv, m)},
    };
    d->op->fn = table[d->row->arg][d->op->form & FORM_MEMORY ? 1 : 0][size_index(d->op->size)];
    return true;
}

/* ---- IMUL r, r/m[, imm] ---- */

#define IMUL(bits)                                                                                                     \
    static inline __attribute__((always_inline)) uint##bits##_t imul2_##bits(struct processor *cpu, uint##bits##_t a,  \
                                                                            uint##bits##_t b)                         \
    {                                                                                                                  \
        uint8_t overflow;                                                                                              \
        uint32_t flags;                                                                                                \
        __asm__("imul %[b], %[a]\n\tseto %[overflow]\n\ttest %[a], %[a]\n\tlahf"                                       \
                : [a] "+r"(a), [overflow] "=&r"(overflow), "=&a"(flags)                                                \
                : [b] "r"(b)                                                                                           \
                : "cc");                                                                                               \
        cpu->s.flags = (flags & (FLAG_SF | FLAG_ZF | FLAG_PF)) | overflow * (FLAG_CF | FLAG_OF);                       \
        return a;                                                                                                      \
    }                                                                                                                  \
    static HANDLER(imul_rr_##bits)                                                                                     \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, imul2_##bits(cpu, REG##bits(cpu, op->dst), REG##bits(cpu, op->src)));                  \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(imul_rm_##bits)                                                                                     \
    {                                                                                                                  \
        uint##bits##_t b = load##bits(cpu, op, ea_any(cpu, op, bits / 8, false), op->seg);                             \
        SET##bits(cpu, op->dst, imul2_##bits(cpu, REG##bits(cpu, op->dst), b));                                        \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(imul_rri_##bits)                                                                                    \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, imul2_##bits(cpu, REG##bits(cpu, op->src), op->imm));                                  \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(imul_rmi_##bits)                                                                                    \
    {                                                                                                                  \
        uint##bits##_t a = load##bits(cpu, op, ea_any(cpu, op, bits / 8, false), op->seg);                             \
        SET##bits(cpu, op->dst, imul2_##bits(cpu, a, op->imm));                                                        \
        NEXT;                                                                                                          \
    }
IMUL(16) IMUL(32) IMUL(64)

bool set_up_imul(struct decode *d)
{
    static const handler table[2][2][4] = {
        {{0, imul_rr_16, imul_rr_32, imul_rr_64}, {0, imul_rm_16, imul_rm_32, imul_rm_64}},
        {{0, imul_rri_16, imul_rri_32, imul_rri_64}, {0, imul_rmi_16, imul_rmi_32, imul_rmi_64}},
    };
    d->op->fn = table[d->row->arg][d->op->form & FORM_MEMORY ? 1 : 0][size_index(d->op->size)];
    return true;
}

/* ---- BCD (SDM vol. 2) ---- */

/* SF, ZF and PF of AL with the given CF and AF; OF is undefined and cleared. */
static void bcd_flags(struct processor *cpu, bool carry, bool adjust)
{
    uint8_t al = REG8(cpu, GPR_OFFSET(RAX));
    uint32_t flags;
    __asm__("test %1, %1" HOST_FLAGS : "=&a"(flags) : "q"(al) : "cc");
    cpu->s.flags = (flags & (FLAG_SF | FLAG_ZF | FLAG_PF)) | (carry ? FLAG_CF : 0) | (adjust ? FLAG_AF : 0);
}

static void decimal_adjust(struct processor *cpu, int sign)
{
    uint8_t old = REG8(cpu, GPR_OFFSET(RAX)), al = old;
    bool old_cf = cpu->s.flags & FLAG_CF, cf = false, af = (old & 15) > 9 || cpu->s.flags & FLAG_AF;
    if (af) {
        cf = old_cf || (sign > 0 ? al > 0xff - 6 : al < 6);
        al += sign * 6;
    }
    if (old > 0x99 || old_cf) {
        al += sign * 0x60;
        cf = true;
    }
    REG8(cpu, GPR_OFFSET(RAX)) = al;
    bcd_flags(cpu, cf, af);
}

HANDLER(op_daa)
{
    decimal_adjust(cpu, 1);
    NEXT;
}

HANDLER(op_das)
{
    decimal_adjust(cpu, -1);
    NEXT;
}

static void ascii_adjust(struct processor *cpu, int sign)
{
    bool adjust = (REG8(cpu, GPR_OFFSET(RAX)) & 15) > 9 || cpu->s.flags & FLAG_AF;
    if (adjust)
        REG16(cpu, GPR_OFFSET(RAX)) += sign * 0x106;
    REG8(cpu, GPR_OFFSET(RAX)) &= 15;
    bcd_flags(cpu, adjust, adjust);
}

HANDLER(op_aaa)
{
    ascii_adjust(cpu, 1);
    NEXT;
}

HANDLER(op_aas)
{
    ascii_adjust(cpu, -1);
    NEXT;
}

HANDLER(op_aam)
{
    uint8_t base = op->imm, al = REG8(cpu, GPR_OFFSET(RAX));
    if (!base)
        raise_de(cpu, op);
    uint8_t quotient = likely(base == 10) ? al / 10 : al / base; /* by the usual constant without a division */
    SET16(cpu, GPR_OFFSET(RAX), quotient << 8 | (uint8_t)(al - quotient * base));
    bcd_flags(cpu, false, false);
    NEXT;
}

HANDLER(op_aad)
{
    uint16_t ax = REG16(cpu, GPR_OFFSET(RAX));
    SET16(cpu, GPR_OFFSET(RAX), (uint8_t)(ax + (ax >> 8) * (uint8_t)op->imm));
    bcd_flags(cpu, false, false);
    NEXT;
}
