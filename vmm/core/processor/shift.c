/* Rotates and shifts, SHLD and SHRD.
 *
 * A masked count of zero changes nothing, flags included. Where the SDM leaves flags undefined, silicon differs from
 * vendor to vendor; here they are the same on every host: AF is clear after a shift, and OF follows for any count the
 * rule that defines it for a count of one. */
#include "integer.h"
#include "operands.h"

/* OF after a shift or rotate to the left: the top bit is not what CF is. */
#define OF_LEFT(bits, result, flags) ((uint32_t)((result) >> (bits - 1)) ^ (flags) >> 8)
/* To the right: the two top bits differ. */
#define OF_RIGHT(bits, result, flags) ((uint32_t)((result) >> (bits - 1) ^ (result) >> (bits - 2)))
/* SAR keeps the sign. */
#define OF_NEVER(bits, result, flags) 0u

/* The guest's flags go in first: rotates keep SF ZF AF PF, RCL and RCR read CF. */
#define SHIFT(bits, name, insn, keeps, of)                                                                             \
    static inline __attribute__((always_inline)) uint##bits##_t name##bits(struct processor *cpu, uint##bits##_t a,    \
                                                                          uint8_t count)                              \
    {                                                                                                                  \
        count &= bits == 64 ? 63 : 31;                                                                                 \
        if (count) {                                                                                                   \
            uint32_t flags = cpu->s.flags;                                                                             \
            __asm__("sahf\n\t" insn " %%cl, %[a]\n\tlahf" : [a] "+r"(a), "+a"(flags) : "c"(count) : "cc");            \
            cpu->s.flags = (flags & (keeps)) | (of(bits, a, flags) & FLAG_OF);                                         \
        }                                                                                                              \
        return a;                                                                                                      \
    }
#define KEEPS_SHIFT (FLAG_SF | FLAG_ZF | FLAG_PF | FLAG_CF)
#define KEEPS_ROTATE (KEEPS_SHIFT | FLAG_AF)
#define ALL_SHIFTS(bits, ...)                                                                                          \
    SHIFT(bits, rol, "rol", KEEPS_ROTATE, OF_LEFT) SHIFT(bits, ror, "ror", KEEPS_ROTATE, OF_RIGHT)                     \
    SHIFT(bits, rcl, "rcl", KEEPS_ROTATE, OF_LEFT) SHIFT(bits, rcr, "rcr", KEEPS_ROTATE, OF_RIGHT)                     \
    SHIFT(bits, shl, "shl", KEEPS_SHIFT, OF_LEFT) SHIFT(bits, shr, "shr", KEEPS_SHIFT, OF_RIGHT)                       \
    SHIFT(bits, sar, "sar", KEEPS_SHIFT, OF_NEVER)
SIZES(ALL_SHIFTS)

#define FORMS(bits, name)                                                                                              \
    static HANDLER(name##_ri_##bits)                                                                                   \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, name##bits(cpu, REG##bits(cpu, op->dst), op->imm));                                    \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_rc_##bits)                                                                                   \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, name##bits(cpu, REG##bits(cpu, op->dst), REG8(cpu, GPR_OFFSET(RCX))));                 \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_mi_##bits)                                                                                   \
    {                                                                                                                  \
        u##bits##u *at = mem_modify(cpu, op, ea_any(cpu, op, bits / 8, true), bits / 8, op->seg);                      \
        *at = name##bits(cpu, *at, op->imm);                                                                           \
        mem_modify_end(cpu, op, at);                                                                                   \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_mc_##bits)                                                                                   \
    {                                                                                                                  \
        u##bits##u *at = mem_modify(cpu, op, ea_any(cpu, op, bits / 8, true), bits / 8, op->seg);                      \
        *at = name##bits(cpu, *at, REG8(cpu, GPR_OFFSET(RCX)));                                                        \
        mem_modify_end(cpu, op, at);                                                                                   \
        NEXT;                                                                                                          \
    }
SIZES(FORMS, rol) SIZES(FORMS, ror) SIZES(FORMS, rcl) SIZES(FORMS, rcr) SIZES(FORMS, shl) SIZES(FORMS, shr)
SIZES(FORMS, sar)

#define BY_SIZE(name, form) {name##_##form##_8, name##_##form##_16, name##_##form##_32, name##_##form##_64}
#define ALL_FORMS(name) {BY_SIZE(name, ri), BY_SIZE(name, rc), BY_SIZE(name, mi), BY_SIZE(name, mc)}
static const handler shift_forms[8][4][4] = {
    [SHIFT_ROL] = ALL_FORMS(rol), [SHIFT_ROR] = ALL_FORMS(ror), [SHIFT_RCL] = ALL_FORMS(rcl), [SHIFT_RCR] = ALL_FORMS(rcr),
    [SHIFT_SHL] = ALL_FORMS(shl), [SHIFT_SHR] = ALL_FORMS(shr), [SHIFT_SAR] = ALL_FORMS(sar),
};

bool set_up_shift(struct decode *d)
{
    struct op *op = d->op;
    op->dst = op->src;
    if (d->row->arg & SHIFT_BY_ONE)
        op->imm = 1;
    unsigned form = (op->form & FORM_MEMORY ? 2 : 0) + (d->row->arg & SHIFT_BY_CL ? 1 : 0);
    op->fn = shift_forms[d->row->arg & 7][form][size_index(op->size)];
    return true;
}

/* With 16-bit operands and a count above 16, where the SDM leaves all undefined, the destination's bits follow the
 * source's, as on Intel's processors. */
static inline uint16_t double_left16(uint16_t a, uint16_t b, unsigned count, bool *carry)
{
    uint64_t chain = (uint64_t)a << 32 | (uint64_t)b << 16 | a;
    *carry = chain >> (48 - count) & 1;
    return chain << count >> 32;
}
static inline uint16_t double_right16(uint16_t a, uint16_t b, unsigned count, bool *carry)
{
    uint64_t chain = (uint64_t)a << 32 | (uint64_t)b << 16 | a;
    *carry = chain >> (count - 1) & 1;
    return chain >> count;
}

static inline uint32_t result_flags16(uint16_t result, bool carry)
{
    uint32_t flags;
    __asm__("test %w1, %w1\n\tlahf" : "=a"(flags) : "r"(result) : "cc");
    return (flags & (FLAG_SF | FLAG_ZF | FLAG_PF)) | (carry ? FLAG_CF : 0);
}

#define DOUBLE_SHIFT16(name, chain, of)                                                                                \
    static inline uint16_t name##16(struct processor *cpu, uint16_t a, uint16_t b, uint8_t count)                      \
    {                                                                                                                  \
        bool carry;                                                                                                    \
        count &= 31;                                                                                                   \
        if (count) {                                                                                                   \
            a = chain(a, b, count, &carry);                                                                            \
            uint32_t flags = result_flags16(a, carry);                                                                 \
            cpu->s.flags = flags | (of(16, a, flags) & FLAG_OF);                                                       \
        }                                                                                                              \
        return a;                                                                                                      \
    }
#define DOUBLE_SHIFT(bits, name, insn, of)                                                                             \
    static inline __attribute__((always_inline)) uint##bits##_t name##bits(struct processor *cpu, uint##bits##_t a,    \
                                                                          uint##bits##_t b, uint8_t count)            \
    {                                                                                                                  \
        count &= bits == 64 ? 63 : 31;                                                                                 \
        if (count) {                                                                                                   \
            uint32_t flags;                                                                                            \
            __asm__(insn " %%cl, %[b], %[a]\n\tlahf" : [a] "+r"(a), "=&a"(flags) : [b] "r"(b), "c"(count) : "cc");     \
            cpu->s.flags = (flags & KEEPS_SHIFT) | (of(bits, a, flags) & FLAG_OF);                                     \
        }                                                                                                              \
        return a;                                                                                                      \
    }
DOUBLE_SHIFT16(shld, double_left16, OF_LEFT) DOUBLE_SHIFT(32, shld, "shld", OF_LEFT)
DOUBLE_SHIFT(64, shld, "shld", OF_LEFT)
DOUBLE_SHIFT16(shrd, double_right16, OF_RIGHT) DOUBLE_SHIFT(32, shrd, "shrd", OF_RIGHT)
DOUBLE_SHIFT(64, shrd, "shrd", OF_RIGHT)

#define DOUBLE_FORMS(bits, name)                                                                                       \
    static HANDLER(name##_##bits)                                                                                      \
    {                                                                                                                  \
        uint8_t count = op->imm & 0x100 ? REG8(cpu, GPR_OFFSET(RCX)) : op->imm;                                        \
        SET##bits(cpu, op->dst, name##bits(cpu, REG##bits(cpu, op->dst), REG##bits(cpu, op->src), count));             \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_m_##bits)                                                                                    \
    {                                                                                                                  \
        uint8_t count = op->imm & 0x100 ? REG8(cpu, GPR_OFFSET(RCX)) : op->imm;                                        \
        u##bits##u *at = mem_modify(cpu, op, ea_any(cpu, op, bits / 8, true), bits / 8, op->seg);                      \
        *at = name##bits(cpu, *at, REG##bits(cpu, op->src), count);                                                    \
        mem_modify_end(cpu, op, at);                                                                                   \
        NEXT;                                                                                                          \
    }
DOUBLE_FORMS(16, shld) DOUBLE_FORMS(32, shld) DOUBLE_FORMS(64, shld)
DOUBLE_FORMS(16, shrd) DOUBLE_FORMS(32, shrd) DOUBLE_FORMS(64, shrd)

bool set_up_double_shift(struct decode *d)
{
    static const handler table[2][2][4] = {
        {{0, shld_16, shld_32, shld_64}, {0, shld_m_16, shld_m_32, shld_m_64}},
        {{0, shrd_16, shrd_32, shrd_64}, {0, shrd_m_16, shrd_m_32, shrd_m_64}},
    };
    struct op *op = d->op;
    bool memory = op->form & FORM_MEMORY;
    uint8_t r = op->dst;
    op->dst = op->src;
    op->src = r;
    op->imm = d->row->arg & 1 ? 0x100 : (uint8_t)op->imm; /* bit 8: by CL */
    op->fn = table[d->row->arg >> 1][memory][size_index(op->size)];
    return true;
}
