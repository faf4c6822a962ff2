/* Rotates and shifts, SHLD and SHRD. A masked count of zero changes nothing, flags included; other flags that the SDM
 * leaves undefined are the host's. */
#include "integer.h"
#include "operands.h"

/* The guest's flags go in first: rotates keep SF ZF AF PF, RCL and RCR read CF. SAHF does not load OF, which every
 * shift writes. */
#define SHIFT(bits, name, insn)                                                                                        \
    static inline __attribute__((always_inline)) uint##bits##_t name##bits(struct processor *cpu, uint##bits##_t a,    \
                                                                          uint8_t count)                              \
    {                                                                                                                  \
        count &= bits == 64 ? 63 : 31;                                                                                 \
        if (count) {                                                                                                   \
            uint32_t flags = cpu->s.flags;                                                                             \
            __asm__("sahf\n\t" insn " %%cl, %[a]" HOST_FLAGS : [a] "+r"(a), "+a"(flags) : "c"(count) : "cc");          \
            cpu->s.flags = flags;                                                                                      \
        }                                                                                                              \
        return a;                                                                                                      \
    }
#define ALL_SHIFTS(bits, ...)                                                                                          \
    SHIFT(bits, rol, "rol") SHIFT(bits, ror, "ror") SHIFT(bits, shl, "shl") SHIFT(bits, shr, "shr") SHIFT(bits, sar, "sar") \
    SHIFT(bits, rcl, "rcl") SHIFT(bits, rcr, "rcr")
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

/* 16-bit counts above 16 are undefined in the SDM: the host decides. */
#define DOUBLE_SHIFT(bits, name, insn)                                                                                 \
    static inline __attribute__((always_inline)) uint##bits##_t name##bits(struct processor *cpu, uint##bits##_t a,    \
                                                                          uint##bits##_t b, uint8_t count)            \
    {                                                                                                                  \
        count &= bits == 64 ? 63 : 31;                                                                                 \
        if (count) {                                                                                                   \
            uint32_t flags = cpu->s.flags;                                                                             \
            __asm__("sahf\n\t" insn " %%cl, %[b], %[a]" HOST_FLAGS                                                     \
                    : [a] "+r"(a), "+a"(flags)                                                                         \
                    : [b] "r"(b), "c"(count)                                                                           \
                    : "cc");                                                                                           \
            cpu->s.flags = flags;                                                                                      \
        }                                                                                                              \
        return a;                                                                                                      \
    }                                                                                                                  \
    static HANDLER(name##_##bits)                                                                                      \
    {                                                                                                                  \
        uint8_t count = op->imm & 0x100 ? REG8(cpu, GPR_OFFSET(RCX)) : op->imm;                                         \
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
DOUBLE_SHIFT(16, shld, "shld") DOUBLE_SHIFT(32, shld, "shld") DOUBLE_SHIFT(64, shld, "shld")
DOUBLE_SHIFT(16, shrd, "shrd") DOUBLE_SHIFT(32, shrd, "shrd") DOUBLE_SHIFT(64, shrd, "shrd")

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
