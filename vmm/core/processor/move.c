/* Data movement between registers and memory, and the one-flag instructions. */
#include "integer.h"
#include "operands.h"

/* ---- MOV ---- */

#define MOV_REGISTER(bits, ...)                                                                                        \
    static HANDLER(mov_rr_##bits)                                                                                      \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, REG##bits(cpu, op->src));                                                              \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(mov_ri_##bits)                                                                                      \
    {                                                                                                                  \
        SET##bits(cpu, op->dst, op->imm);                                                                              \
        NEXT;                                                                                                          \
    }
#define MOV_MEMORY(bits, kind)                                                                                         \
    static HANDLER(mov_rm_##bits##_##kind)                                                                             \
    {                                                                                                                  \
        uint##bits##_t value = load##bits(cpu, op, ea(cpu, op, kind, bits / 8, false), op->seg);                       \
        SET##bits(cpu, op->dst, value);                                                                                \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(mov_mr_##bits##_##kind)                                                                             \
    {                                                                                                                  \
        store##bits(cpu, op, ea(cpu, op, kind, bits / 8, true), REG##bits(cpu, op->src), op->seg);                     \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(mov_mi_##bits##_##kind)                                                                             \
    {                                                                                                                  \
        store##bits(cpu, op, ea(cpu, op, kind, bits / 8, true), op->imm, op->seg);                                     \
        NEXT;                                                                                                          \
    }
#define MOV_OFFSET(bits, ...)                                                                                          \
    static HANDLER(mov_load_offset_##bits)                                                                             \
    {                                                                                                                  \
        uint64_t linear = linear_address(cpu, op, op->seg, op->imm, bits / 8, false);                                  \
        uint##bits##_t value = load##bits(cpu, op, linear, op->seg);                                                   \
        SET##bits(cpu, GPR_OFFSET(RAX), value);                                                                        \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(mov_store_offset_##bits)                                                                            \
    {                                                                                                                  \
        uint64_t linear = linear_address(cpu, op, op->seg, op->imm, bits / 8, true);                                   \
        store##bits(cpu, op, linear, REG##bits(cpu, GPR_OFFSET(RAX)), op->seg);                                        \
        NEXT;                                                                                                          \
    }
SIZES(MOV_REGISTER)
SIZES(MOV_MEMORY, EA_BASE) SIZES(MOV_MEMORY, EA_INDEX) SIZES(MOV_MEMORY, EA_GENERAL) SIZES(MOV_MEMORY, EA_FLAT)
SIZES(MOV_OFFSET)

#define BY_SIZE(name) {name##_8, name##_16, name##_32, name##_64}
#define BY_KIND(name)                                                                                                  \
    {                                                                                                                  \
        {name##_8_EA_BASE, name##_16_EA_BASE, name##_32_EA_BASE, name##_64_EA_BASE},                                   \
            {name##_8_EA_INDEX, name##_16_EA_INDEX, name##_32_EA_INDEX, name##_64_EA_INDEX},                           \
            {name##_8_EA_GENERAL, name##_16_EA_GENERAL, name##_32_EA_GENERAL, name##_64_EA_GENERAL},                   \
            {name##_8_EA_FLAT, name##_16_EA_FLAT, name##_32_EA_FLAT, name##_64_EA_FLAT},                               \
    }
static const handler mov_rr[4] = BY_SIZE(mov_rr), mov_ri[4] = BY_SIZE(mov_ri);
static const handler mov_rm[EA_KINDS][4] = BY_KIND(mov_rm), mov_mr[EA_KINDS][4] = BY_KIND(mov_mr);
static const handler mov_mi[EA_KINDS][4] = BY_KIND(mov_mi);

bool set_up_mov_store(struct decode *d)
{
    struct op *op = d->op;
    uint8_t r = op->dst;
    op->dst = op->src;
    op->src = r;
    op->fn = op->form & FORM_MEMORY ? mov_mr[kind_or_flat(d)][size_index(op->size)] : mov_rr[size_index(op->size)];
    return true;
}

bool set_up_mov_load(struct decode *d)
{
    struct op *op = d->op;
    op->fn = op->form & FORM_MEMORY ? mov_rm[kind_or_flat(d)][size_index(op->size)] : mov_rr[size_index(op->size)];
    return true;
}

bool set_up_mov_immediate(struct decode *d)
{
    struct op *op = d->op;
    op->dst = op->src;
    op->fn = op->form & FORM_MEMORY ? mov_mi[kind_or_flat(d)][size_index(op->size)] : mov_ri[size_index(op->size)];
    return true;
}

bool set_up_mov_short(struct decode *d)
{
    struct op *op = d->op;
    op->dst = register_offset(d, (d->opcode & 7) | (d->rex & 1) << 3, op->size);
    op->fn = mov_ri[size_index(op->size)];
    return true;
}

bool set_up_mov_offset(struct decode *d)
{
    static const handler load[4] = BY_SIZE(mov_load_offset), store[4] = BY_SIZE(mov_store_offset);
    d->op->fn = (d->row->arg ? store : load)[size_index(d->op->size)];
    return true;
}

/* ---- MOVZX, MOVSX, MOVSXD ---- */

#define EXTEND(from, to, name, type)                                                                                   \
    static HANDLER(name##_r_##from##_##to)                                                                             \
    {                                                                                                                  \
        SET##to(cpu, op->dst, (type##to##_t)(type##from##_t)REG##from(cpu, op->src));                                  \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_m_##from##_##to)                                                                             \
    {                                                                                                                  \
        uint64_t linear = ea(cpu, op, op->form & FORM_GENERAL ? EA_GENERAL : EA_INDEX, from / 8, false);               \
        type##from##_t value = load##from(cpu, op, linear, op->seg);                                                   \
        SET##to(cpu, op->dst, (type##to##_t)value);                                                                    \
        NEXT;                                                                                                          \
    }
EXTEND(8, 16, movzx, uint) EXTEND(8, 32, movzx, uint) EXTEND(8, 64, movzx, uint)
EXTEND(16, 16, movzx, uint) EXTEND(16, 32, movzx, uint) EXTEND(16, 64, movzx, uint)
EXTEND(8, 16, movsx, int) EXTEND(8, 32, movsx, int) EXTEND(8, 64, movsx, int)
EXTEND(16, 16, movsx, int) EXTEND(16, 32, movsx, int) EXTEND(16, 64, movsx, int)
EXTEND(32, 16, movsxd, int) EXTEND(32, 32, movsxd, int) EXTEND(32, 64, movsxd, int)

#define EXTENSIONS(name, form, from) {0, name##_##form##_##from##_16, name##_##form##_##from##_32, name##_##form##_##from##_64}

bool set_up_extend(struct decode *d)
{
    static const handler table[2][2][2][4] = {
        {{EXTENSIONS(movzx, r, 8), EXTENSIONS(movzx, m, 8)}, {EXTENSIONS(movzx, r, 16), EXTENSIONS(movzx, m, 16)}},
        {{EXTENSIONS(movsx, r, 8), EXTENSIONS(movsx, m, 8)}, {EXTENSIONS(movsx, r, 16), EXTENSIONS(movsx, m, 16)}},
    };
    struct op *op = d->op;
    unsigned from = d->row->arg & 3;
    op->src = register_offset(d, d->rm, from);
    op->fn = table[d->row->arg & EXTEND_SIGN ? 1 : 0][from - 1][op->form & FORM_MEMORY ? 1 : 0][size_index(op->size)];
    return true;
}

bool set_up_63(struct decode *d)
{
    static const handler table[2][4] = {EXTENSIONS(movsxd, r, 32), EXTENSIONS(movsxd, m, 32)};
    if ((d->mode & MODE_CODE) != MODE_CODE64) {
        d->op->fn = op_arpl;
        return !(d->mode & MODE_UNPROTECTED);
    }
    d->op->fn = table[d->op->form & FORM_MEMORY ? 1 : 0][size_index(d->op->size)];
    return true;
}

/* ---- LEA ---- */

static inline __attribute__((always_inline)) uint64_t lea_offset(const struct processor *cpu, const struct op *op)
{
    return op->form & FORM_GENERAL
               ? effective_offset(cpu, op)
               : SLOT(cpu, op->base) + (SLOT(cpu, op->index) << op->scale) + (int64_t)op->disp;
}
static HANDLER(lea_16)
{
    SET16(cpu, op->dst, lea_offset(cpu, op));
    NEXT;
}
static HANDLER(lea_32)
{
    SET32(cpu, op->dst, lea_offset(cpu, op));
    NEXT;
}
static HANDLER(lea_64)
{
    SET64(cpu, op->dst, lea_offset(cpu, op));
    NEXT;
}
static HANDLER(lea_64_base)
{
    SET64(cpu, op->dst, SLOT(cpu, op->base) + (int64_t)op->disp);
    NEXT;
}

bool set_up_lea(struct decode *d)
{
    static const handler table[4] = {0, lea_16, lea_32, lea_64};
    d->op->fn = table[size_index(d->op->size)];
    if (d->op->size == 8 && D_KIND(d) == EA_BASE)
        d->op->fn = lea_64_base;
    return true;
}

/* ---- XCHG, CMPXCHG, XADD ---- */

#define EXCHANGE(bits, ...)                                                                                            \
    static HANDLER(xchg_rr_##bits)                                                                                     \
    {                                                                                                                  \
        uint##bits##_t value = REG##bits(cpu, op->src);                                                                \
        SET##bits(cpu, op->src, REG##bits(cpu, op->dst));                                                              \
        SET##bits(cpu, op->dst, value);                                                                                \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(xchg_mr_##bits)                                                                                     \
    {                                                                                                                  \
        u##bits##u *at = mem_modify(cpu, op, ea_any(cpu, op, bits / 8, true), bits / 8, op->seg);                      \
        uint##bits##_t value = *at;                                                                                    \
        *at = REG##bits(cpu, op->dst);                                                                                 \
        mem_modify_end(cpu, op, at);                                                                                   \
        SET##bits(cpu, op->dst, value);                                                                                \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static inline void compare_##bits(struct processor *cpu, uint##bits##_t a, uint##bits##_t b)                       \
    {                                                                                                                  \
        uint32_t flags;                                                                                                \
        __asm__("cmp %2, %1" HOST_FLAGS : "=&a"(flags) : "r"(a), "r"(b) : "cc");                                       \
        cpu->s.flags = flags;                                                                                          \
    }                                                                                                                  \
    static HANDLER(cmpxchg_rr_##bits)                                                                                  \
    {                                                                                                                  \
        uint##bits##_t old = REG##bits(cpu, op->src), rax = REG##bits(cpu, GPR_OFFSET(RAX));                           \
        compare_##bits(cpu, rax, old);                                                                                 \
        if (rax == old)                                                                                                \
            SET##bits(cpu, op->src, REG##bits(cpu, op->dst));                                                          \
        else                                                                                                           \
            SET##bits(cpu, GPR_OFFSET(RAX), old);                                                                      \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(cmpxchg_mr_##bits)                                                                                  \
    {                                                                                                                  \
        u##bits##u *at = mem_modify(cpu, op, ea_any(cpu, op, bits / 8, true), bits / 8, op->seg);                      \
        uint##bits##_t old = *at, rax = REG##bits(cpu, GPR_OFFSET(RAX));                                               \
        *at = rax == old ? REG##bits(cpu, op->dst) : old; /* it writes in any case */                                  \
        mem_modify_end(cpu, op, at);                                                                                   \
        compare_##bits(cpu, rax, old);                                                                                 \
        if (rax != old)                                                                                                \
            SET##bits(cpu, GPR_OFFSET(RAX), old);                                                                      \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static inline __attribute__((always_inline)) uint##bits##_t sum_##bits(struct processor *cpu, uint##bits##_t a,    \
                                                                          uint##bits##_t b)                           \
    {                                                                                                                  \
        uint32_t flags;                                                                                                \
        __asm__("add %[b], %[a]" HOST_FLAGS : [a] "+r"(a), "=&a"(flags) : [b] "r"(b) : "cc");                          \
        cpu->s.flags = flags;                                                                                          \
        return a;                                                                                                      \
    }                                                                                                                  \
    static HANDLER(xadd_rr_##bits)                                                                                     \
    {                                                                                                                  \
        uint##bits##_t old = REG##bits(cpu, op->src), sum = sum_##bits(cpu, old, REG##bits(cpu, op->dst));             \
        SET##bits(cpu, op->dst, old);                                                                                  \
        SET##bits(cpu, op->src, sum);                                                                                  \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(xadd_mr_##bits)                                                                                     \
    {                                                                                                                  \
        u##bits##u *at = mem_modify(cpu, op, ea_any(cpu, op, bits / 8, true), bits / 8, op->seg);                      \
        uint##bits##_t old = *at;                                                                                      \
        *at = sum_##bits(cpu, old, REG##bits(cpu, op->dst));                                                           \
        mem_modify_end(cpu, op, at);                                                                                   \
        SET##bits(cpu, op->dst, old);                                                                                  \
        NEXT;                                                                                                          \
    }
SIZES(EXCHANGE)

static bool exchange(struct decode *d, const handler table[2][4])
{
    d->op->fn = table[d->op->form & FORM_MEMORY ? 1 : 0][size_index(d->op->size)];
    return true;
}

bool set_up_xchg(struct decode *d)
{
    static const handler table[2][4] = {BY_SIZE(xchg_rr), BY_SIZE(xchg_mr)};
    return exchange(d, table);
}

bool set_up_cmpxchg(struct decode *d)
{
    static const handler table[2][4] = {BY_SIZE(cmpxchg_rr), BY_SIZE(cmpxchg_mr)};
    return exchange(d, table);
}

bool set_up_xadd(struct decode *d)
{
    static const handler table[2][4] = {BY_SIZE(xadd_rr), BY_SIZE(xadd_mr)};
    return exchange(d, table);
}

bool set_up_xchg_accumulator(struct decode *d)
{
    static const handler table[4] = BY_SIZE(xchg_rr);
    unsigned n = (d->opcode & 7) | (d->rex & 1) << 3;
    struct op *op = d->op;
    op->dst = GPR_OFFSET(RAX);
    op->src = GPR_OFFSET(n);
    op->fn = table[size_index(op->size)];
    if (n == RAX) {
        op->fn = d->rep ? op_pause : op_nop;
        d->ends = d->rep;
    }
    return true;
}

/* ---- BSWAP, MOVBE ---- */

static HANDLER(bswap_16)
{
    SET16(cpu, op->dst, 0); /* undefined in the SDM; zero on all silicon */
    NEXT;
}
static HANDLER(bswap_32)
{
    SET32(cpu, op->dst, __builtin_bswap32(REG32(cpu, op->dst)));
    NEXT;
}
static HANDLER(bswap_64)
{
    SET64(cpu, op->dst, __builtin_bswap64(REG64(cpu, op->dst)));
    NEXT;
}

bool set_up_bswap(struct decode *d)
{
    static const handler table[4] = {0, bswap_16, bswap_32, bswap_64};
    d->op->dst = GPR_OFFSET((d->opcode & 7) | (d->rex & 1) << 3);
    d->op->fn = table[size_index(d->op->size)];
    return true;
}

#define MOVBE(bits)                                                                                                    \
    static HANDLER(movbe_rm_##bits)                                                                                    \
    {                                                                                                                  \
        uint##bits##_t value = load##bits(cpu, op, ea_any(cpu, op, bits / 8, false), op->seg);                         \
        SET##bits(cpu, op->dst, __builtin_bswap##bits(value));                                                         \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(movbe_mr_##bits)                                                                                    \
    {                                                                                                                  \
        uint##bits##_t value = __builtin_bswap##bits(REG##bits(cpu, op->dst));                                         \
        store##bits(cpu, op, ea_any(cpu, op, bits / 8, true), value, op->seg);                                         \
        NEXT;                                                                                                          \
    }
MOVBE(16) MOVBE(32) MOVBE(64)

bool set_up_movbe(struct decode *d)
{
    static const handler table[2][4] = {{0, movbe_rm_16, movbe_rm_32, movbe_rm_64},
                                        {0, movbe_mr_16, movbe_mr_32, movbe_mr_64}};
    if (d->repne) /* CRC32 */
        return set_up_simd(d);
    if (!(d->op->form & FORM_MEMORY) || d->rep || !has_feature(d->cpu, FEATURE_MOVBE))
        return false;
    d->op->fn = table[d->row->arg][size_index(d->op->size)];
    return true;
}

/* ---- CMOVcc, SETcc ---- */

/* The source is read, and a 32-bit destination cleared above, whatever the condition. */
#define CMOV(n)                                                                                                        \
    static HANDLER(cmov_16_##n)                                                                                        \
    {                                                                                                                  \
        uint16_t value = op->form & FORM_MEMORY ? load16(cpu, op, ea_any(cpu, op, 2, false), op->seg)                  \
                                                : REG16(cpu, op->src);                                                 \
        if (condition(cpu, n))                                                                                         \
            REG16(cpu, op->dst) = value;                                                                               \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(cmov_rr_32_##n)                                                                                     \
    {                                                                                                                  \
        SET32(cpu, op->dst, condition(cpu, n) ? REG32(cpu, op->src) : REG32(cpu, op->dst));                            \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(cmov_rr_64_##n)                                                                                     \
    {                                                                                                                  \
        SET64(cpu, op->dst, condition(cpu, n) ? REG64(cpu, op->src) : REG64(cpu, op->dst));                            \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(cmov_rm_32_##n)                                                                                     \
    {                                                                                                                  \
        uint32_t value = load32(cpu, op, ea_any(cpu, op, 4, false), op->seg);                                          \
        SET32(cpu, op->dst, condition(cpu, n) ? value : REG32(cpu, op->dst));                                          \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(cmov_rm_64_##n)                                                                                     \
    {                                                                                                                  \
        uint64_t value = load64(cpu, op, ea_any(cpu, op, 8, false), op->seg);                                          \
        SET64(cpu, op->dst, condition(cpu, n) ? value : REG64(cpu, op->dst));                                          \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(setcc_r_##n)                                                                                        \
    {                                                                                                                  \
        REG8(cpu, op->src) = condition(cpu, n);                                                                        \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(setcc_m_##n)                                                                                        \
    {                                                                                                                  \
        store8(cpu, op, ea_any(cpu, op, 1, true), condition(cpu, n), op->seg);                                         \
        NEXT;                                                                                                          \
    }
CONDITIONS(CMOV)

bool set_up_cmov(struct decode *d)
{
#define ENTRY(n) {cmov_16_##n, cmov_rr_32_##n, cmov_rr_64_##n, cmov_16_##n, cmov_rm_32_##n, cmov_rm_64_##n},
    static const handler table[16][6] = {CONDITIONS(ENTRY)};
#undef ENTRY
    d->op->fn = table[d->row->arg][(d->op->form & FORM_MEMORY ? 3 : 0) + size_index(d->op->size) - 1];
    return true;
}

bool set_up_setcc(struct decode *d)
{
#define ENTRY(n) {setcc_r_##n, setcc_m_##n},
    static const handler table[16][2] = {CONDITIONS(ENTRY)};
#undef ENTRY
    d->op->fn = table[d->row->arg][d->op->form & FORM_MEMORY ? 1 : 0];
    return true;
}

/* ---- CBW CWDE CDQE, CWD CDQ CQO ---- */

#define AX(bits) REG##bits(cpu, GPR_OFFSET(RAX))
static HANDLER(cbw)
{
    SET16(cpu, GPR_OFFSET(RAX), (int8_t)AX(8));
    NEXT;
}
static HANDLER(cwde)
{
    SET32(cpu, GPR_OFFSET(RAX), (int16_t)AX(16));
    NEXT;
}
static HANDLER(cdqe)
{
    SET64(cpu, GPR_OFFSET(RAX), (int64_t)(int32_t)AX(32));
    NEXT;
}
static HANDLER(cwd)
{
    SET16(cpu, GPR_OFFSET(RDX), (int16_t)AX(16) >> 15);
    NEXT;
}
static HANDLER(cdq)
{
    SET32(cpu, GPR_OFFSET(RDX), (int32_t)AX(32) >> 31);
    NEXT;
}
static HANDLER(cqo)
{
    SET64(cpu, GPR_OFFSET(RDX), (int64_t)AX(64) >> 63);
    NEXT;
}

bool set_up_convert(struct decode *d)
{
    static const handler table[2][4] = {{0, cbw, cwde, cdqe}, {0, cwd, cdq, cqo}};
    d->op->fn = table[d->row->arg][size_index(d->op->size)];
    return true;
}

/* ---- flags, XLAT and the rest ---- */

static HANDLER(lahf)
{
    REG8(cpu, GPR_OFFSET(RAX) + 1) = (cpu->s.flags >> 8 & 0xd5) | RFLAGS_FIXED;
    NEXT;
}
static HANDLER(sahf)
{
    cpu->s.flags = (cpu->s.flags & FLAG_OF) | (REG8(cpu, GPR_OFFSET(RAX) + 1) & 0xd5) << 8;
    NEXT;
}

bool set_up_lahf(struct decode *d)
{
    d->op->fn = d->row->arg ? sahf : lahf;
    return (d->mode & MODE_CODE) != MODE_CODE64 || has_feature(d->cpu, FEATURE_LAHF64);
}

bool set_up_plain(struct decode *d)
{
    d->op->fn = d->row->fn;
    return true;
}

HANDLER(op_nop)
{
    NEXT;
}

HANDLER(op_xlat)
{
    uint64_t offset = REG64(cpu, GPR_OFFSET(RBX)) + AX(8);
    if (op->form & (FORM_ADDRESS16 | FORM_ADDRESS32))
        offset = op->form & FORM_ADDRESS16 ? (uint16_t)offset : (uint32_t)offset;
    AX(8) = load8(cpu, op, linear_address(cpu, op, op->seg, offset, 1, false), op->seg);
    NEXT;
}

HANDLER(op_salc)
{
    AX(8) = cpu->s.flags & FLAG_CF ? 0xff : 0;
    NEXT;
}

HANDLER(op_cmc)
{
    cpu->s.flags ^= FLAG_CF;
    NEXT;
}

HANDLER(op_clc)
{
    cpu->s.flags &= ~FLAG_CF;
    NEXT;
}

HANDLER(op_stc)
{
    cpu->s.flags |= FLAG_CF;
    NEXT;
}

HANDLER(op_cld)
{
    cpu->s.system_flags &= ~(uint64_t)RFLAGS_DF;
    NEXT;
}

HANDLER(op_std)
{
    cpu->s.system_flags |= RFLAGS_DF;
    NEXT;
}
