/* MMX by the host's own instructions, on operands in memory: the registers are the significands of vcpu_state's x87
 * image with TOP 0, where register n is st[n]. Rare by now, hence simple rather than fast. */
#include "simd.h"

#include <string.h>

/* ---- registers ---- */

#define MM_OFFSET(n) (((n) & 7) * 16)
#define MM(cpu, offset) (*(u64u *)((uint8_t *)FPU(cpu).st + (offset)))

/* TOP becomes 0 and all tags valid, also when the instruction then raises #XM (SDM vol. 3, 12.2). */
static __attribute__((noinline)) void enter(struct processor *cpu)
{
    fpu_leave_x87(cpu);
    fpu_set_top(&FPU(cpu), 0);
    FPU(cpu).ftw = 0xff;
}

static inline void mmx(struct processor *cpu)
{
    if (unlikely(cpu->fpu_live & FPU_X87 || FSW_TOP(FPU(cpu).fsw) || FPU(cpu).ftw != 0xff))
        enter(cpu);
}

static inline void set_mm(struct processor *cpu, unsigned offset, uint64_t value)
{
    MM(cpu, offset) = value;
    *(u16u *)((uint8_t *)FPU(cpu).st + offset + 8) = 0xffff; /* sign and exponent */
}

/* ---- dst = op(dst, src) ---- */

typedef uint64_t (*computation)(uint64_t x, uint64_t y);

/* X(map, opcode, mnemonic, feature, bytes of a memory operand) */
#define COMPUTATIONS(X)                                                                                                \
    X(0F, 0x60, punpcklbw, MMX, 4) X(0F, 0x61, punpcklwd, MMX, 4) X(0F, 0x62, punpckldq, MMX, 4)                       \
    X(0F, 0x63, packsswb, MMX, 8) X(0F, 0x64, pcmpgtb, MMX, 8) X(0F, 0x65, pcmpgtw, MMX, 8)                            \
    X(0F, 0x66, pcmpgtd, MMX, 8) X(0F, 0x67, packuswb, MMX, 8) X(0F, 0x68, punpckhbw, MMX, 8)                          \
    X(0F, 0x69, punpckhwd, MMX, 8) X(0F, 0x6a, punpckhdq, MMX, 8) X(0F, 0x6b, packssdw, MMX, 8)                        \
    X(0F, 0x74, pcmpeqb, MMX, 8) X(0F, 0x75, pcmpeqw, MMX, 8) X(0F, 0x76, pcmpeqd, MMX, 8)                             \
    X(0F, 0xd1, psrlw, MMX, 8) X(0F, 0xd2, psrld, MMX, 8) X(0F, 0xd3, psrlq, MMX, 8) X(0F, 0xd4, paddq, SSE2, 8)       \
    X(0F, 0xd5, pmullw, MMX, 8) X(0F, 0xd8, psubusb, MMX, 8) X(0F, 0xd9, psubusw, MMX, 8)                              \
    X(0F, 0xda, pminub, SSE, 8) X(0F, 0xdb, pand, MMX, 8) X(0F, 0xdc, paddusb, MMX, 8)                                 \
    X(0F, 0xdd, paddusw, MMX, 8) X(0F, 0xde, pmaxub, SSE, 8) X(0F, 0xdf, pandn, MMX, 8)                                \
    X(0F, 0xe0, pavgb, SSE, 8) X(0F, 0xe1, psraw, MMX, 8) X(0F, 0xe2, psrad, MMX, 8) X(0F, 0xe3, pavgw, SSE, 8)        \
    X(0F, 0xe4, pmulhuw, SSE, 8) X(0F, 0xe5, pmulhw, MMX, 8) X(0F, 0xe8, psubsb, MMX, 8)                               \
    X(0F, 0xe9, psubsw, MMX, 8) X(0F, 0xea, pminsw, SSE, 8) X(0F, 0xeb, por, MMX, 8) X(0F, 0xec, paddsb, MMX, 8)       \
    X(0F, 0xed, paddsw, MMX, 8) X(0F, 0xee, pmaxsw, SSE, 8) X(0F, 0xef, pxor, MMX, 8) X(0F, 0xf1, psllw, MMX, 8)       \
    X(0F, 0xf2, pslld, MMX, 8) X(0F, 0xf3, psllq, MMX, 8) X(0F, 0xf4, pmuludq, SSE2, 8)                                \
    X(0F, 0xf5, pmaddwd, MMX, 8) X(0F, 0xf6, psadbw, SSE, 8) X(0F, 0xf8, psubb, MMX, 8) X(0F, 0xf9, psubw, MMX, 8)     \
    X(0F, 0xfa, psubd, MMX, 8) X(0F, 0xfb, psubq, SSE2, 8) X(0F, 0xfc, paddb, MMX, 8) X(0F, 0xfd, paddw, MMX, 8)       \
    X(0F, 0xfe, paddd, MMX, 8)                                                                                         \
    X(0F38, 0x00, pshufb, SSSE3, 8) X(0F38, 0x01, phaddw, SSSE3, 8) X(0F38, 0x02, phaddd, SSSE3, 8)                    \
    X(0F38, 0x03, phaddsw, SSSE3, 8) X(0F38, 0x04, pmaddubsw, SSSE3, 8) X(0F38, 0x05, phsubw, SSSE3, 8)                \
    X(0F38, 0x06, phsubd, SSSE3, 8) X(0F38, 0x07, phsubsw, SSSE3, 8) X(0F38, 0x08, psignb, SSSE3, 8)                   \
    X(0F38, 0x09, psignw, SSSE3, 8) X(0F38, 0x0a, psignd, SSSE3, 8) X(0F38, 0x0b, pmulhrsw, SSSE3, 8)                  \
    X(0F38, 0x1c, pabsb, SSSE3, 8) X(0F38, 0x1d, pabsw, SSSE3, 8) X(0F38, 0x1e, pabsd, SSSE3, 8)

#define X(map, opcode, name, feature, bytes)                                                                           \
    static uint64_t compute_##name(uint64_t x, uint64_t y)                                                             \
    {                                                                                                                  \
        __asm__ volatile("movq %0, %%mm0\n\tmovq %1, %%mm1\n\t" #name " %%mm1, %%mm0\n\tmovq %%mm0, %0"                \
                         : "+r"(x)                                                                                     \
                         : "r"(y)                                                                                      \
                         : "mm0", "mm1");                                                                              \
        return x;                                                                                                      \
    }
COMPUTATIONS(X)
#undef X

static const struct row {
    computation compute;
    uint8_t feature, size;
} rows[2][256] = {
#define X(map, opcode, name, needs, bytes) [MAP_##map - MAP_0F][opcode] = {compute_##name, FEATURE_##needs, bytes},
    COMPUTATIONS(X)
#undef X
};

static inline void apply(struct processor *cpu, const struct op *op, computation compute, uint64_t source)
{
    mmx(cpu);
    cpu->fpu_live |= FPU_MMX;
    set_mm(cpu, op->dst, compute(MM(cpu, op->dst), source));
}

static HANDLER(compute_register)
{
    fpu_wait(cpu, op);
    mmx(cpu);
    apply(cpu, op, (computation)op->imm, MM(cpu, op->src));
    NEXT;
}

static HANDLER(compute_memory8)
{
    fpu_wait(cpu, op);
    apply(cpu, op, (computation)op->imm, load64(cpu, op, ea_any(cpu, op, 8, false), op->seg));
    NEXT;
}

static HANDLER(compute_memory4)
{
    fpu_wait(cpu, op);
    apply(cpu, op, (computation)op->imm, load32(cpu, op, ea_any(cpu, op, 4, false), op->seg));
    NEXT;
}

/* 0F 71 to 73: the count is `imm`. */
#define SHIFTS(X)                                                                                                      \
    X(0x71, 2, psrlw) X(0x71, 4, psraw) X(0x71, 6, psllw)                                                              \
    X(0x72, 2, psrld) X(0x72, 4, psrad) X(0x72, 6, pslld)                                                              \
    X(0x73, 2, psrlq) X(0x73, 6, psllq)
#define X(opcode, reg, name)                                                                                           \
    static HANDLER(name##_immediate)                                                                                   \
    {                                                                                                                  \
        fpu_wait(cpu, op);                                                                                             \
        apply(cpu, op, compute_##name, op->imm);                                                                       \
        NEXT;                                                                                                          \
    }
SHIFTS(X)
#undef X

/* ---- with an immediate ---- */

/* A source in memory or in an MMX register, whose instruction may now no longer fault. */
static inline uint64_t source64(struct processor *cpu, const struct op *op)
{
    uint64_t value = 0;
    if (op->form & FORM_MEMORY)
        value = load64(cpu, op, ea_any(cpu, op, 8, false), op->seg);
    mmx(cpu);
    return op->form & FORM_MEMORY ? value : MM(cpu, op->src);
}

static HANDLER(pshufw)
{
    fpu_wait(cpu, op);
    uint64_t source = source64(cpu, op), result = 0;
    for (unsigned i = 0; i < 4; i++)
        result |= (source >> 16 * (op->imm >> 2 * i & 3) & 0xffff) << 16 * i;
    set_mm(cpu, op->dst, result);
    NEXT;
}

static HANDLER(palignr)
{
    fpu_wait(cpu, op);
    uint64_t source = source64(cpu, op);
    unsigned __int128 both = (unsigned __int128)MM(cpu, op->dst) << 64 | source;
    set_mm(cpu, op->dst, op->imm < 16 ? (uint64_t)(both >> 8 * op->imm) : 0);
    NEXT;
}

static HANDLER(pinsrw)
{
    fpu_wait(cpu, op);
    unsigned shift = (op->imm & 3) * 16;
    uint64_t word = op->form & FORM_MEMORY ? load16(cpu, op, ea_any(cpu, op, 2, false), op->seg)
                                           : REG16(cpu, op->src);
    mmx(cpu);
    set_mm(cpu, op->dst, (MM(cpu, op->dst) & ~(0xffffull << shift)) | word << shift);
    NEXT;
}

static HANDLER(pextrw)
{
    fpu_wait(cpu, op);
    mmx(cpu);
    REG64(cpu, op->dst) = (uint16_t)(MM(cpu, op->src) >> (op->imm & 3) * 16);
    NEXT;
}

static HANDLER(pmovmskb)
{
    fpu_wait(cpu, op);
    mmx(cpu);
    uint64_t source = MM(cpu, op->src), mask = 0;
    for (unsigned i = 0; i < 8; i++)
        mask |= (source >> (8 * i + 7) & 1) << i;
    REG64(cpu, op->dst) = mask;
    NEXT;
}

/* ---- moves ---- */

static HANDLER(movq_load)
{
    fpu_wait(cpu, op);
    set_mm(cpu, op->dst, source64(cpu, op));
    NEXT;
}

/* MOVD, MOVQ from a general register or memory */
static HANDLER(movd_load)
{
    fpu_wait(cpu, op);
    uint64_t value;
    if (op->form & FORM_MEMORY) {
        uint64_t linear = ea_any(cpu, op, op->size, false);
        value = op->size == 8 ? load64(cpu, op, linear, op->seg) : load32(cpu, op, linear, op->seg);
    } else {
        value = op->size == 8 ? REG64(cpu, op->src) : REG32(cpu, op->src);
    }
    mmx(cpu);
    set_mm(cpu, op->dst, value);
    NEXT;
}

/* The transition comes only after the operand is known to be good. */
static __attribute__((noinline)) void store(struct processor *cpu, const struct op *op, unsigned size)
{
    uint64_t linear = ea_any(cpu, op, size, true);
    mmu_probe(cpu, op, linear, size, op->seg, true);
    mmx(cpu);
    mmu_write(cpu, op, linear, &MM(cpu, op->src), size, op->seg);
}

/* MOVQ, MOVNTQ */
static HANDLER(movq_store)
{
    fpu_wait(cpu, op);
    if (op->form & FORM_MEMORY) {
        store(cpu, op, 8);
    } else {
        mmx(cpu);
        set_mm(cpu, op->dst, MM(cpu, op->src));
    }
    NEXT;
}

/* MOVD, MOVQ to a general register or memory */
static HANDLER(movd_store)
{
    fpu_wait(cpu, op);
    if (op->form & FORM_MEMORY) {
        store(cpu, op, op->size);
    } else {
        mmx(cpu);
        REG64(cpu, op->dst) = op->size == 8 ? MM(cpu, op->src) : (uint32_t)MM(cpu, op->src);
    }
    NEXT;
}

static HANDLER(movq2dq)
{
    fpu_wait(cpu, op);
    mmx(cpu);
    XMM(cpu, op->dst) = low_half(MM(cpu, op->src));
    NEXT;
}

static HANDLER(movdq2q)
{
    fpu_wait(cpu, op);
    mmx(cpu);
    set_mm(cpu, op->dst, XMM64(cpu, op->src, 0));
    NEXT;
}

/* MASKMOVQ: the bytes of dst whose byte in src has bit 7 set go to DS:rDI. */
static __attribute__((noinline)) void store_masked(struct processor *cpu, const struct op *op)
{
    uint64_t linear = linear_address(cpu, op, op->seg, effective_offset(cpu, op), 8, true);
    fpu_leave_x87(cpu);
    unsigned top = FSW_TOP(FPU(cpu).fsw); /* registers are where they were until nothing can fault */
    uint64_t mask = MM(cpu, MM_OFFSET(op->src / 16 - top));
    if (mask & 0x8080808080808080)
        mmu_probe(cpu, op, linear, 8, op->seg, true);
    mmx(cpu);
    for (unsigned i = 0; i < 8; i++)
        if (mask >> (8 * i + 7) & 1)
            mmu_write8(cpu, op, linear + i, MM(cpu, op->dst) >> 8 * i, op->seg);
}

static HANDLER(maskmovq)
{
    fpu_wait(cpu, op);
    store_masked(cpu, op);
    NEXT;
}

/* ---- conversions between MMX and XMM registers ---- */

#define MXCSR                                                                                                          \
    if (unlikely(!(cpu->fpu_live & FPU_MXCSR)))                                                                        \
        return fpu_load_mxcsr(cpu, op);

/* The source is `imm`. */
static HANDLER(cvtpi2ps_value)
{
    MXCSR;
    v16 x = XMM(cpu, op->dst);
    cpu->fpu_live |= FPU_MMX;
    __asm__ volatile("movq %1, %%mm0\n\tcvtpi2ps %%mm0, %0" : "+x"(x) : "r"(op->imm) : "mm0");
    XMM(cpu, op->dst) = x;
    NEXT;
}

/* A source in memory is none of MMX's business. */
static __attribute__((noinline)) uint64_t integers(struct processor *cpu, const struct op *op)
{
    if (op->form & FORM_MEMORY)
        return load64(cpu, op, ea_any(cpu, op, 8, false), op->seg);
    fpu_wait(cpu, op);
    mmx(cpu);
    return MM(cpu, op->src);
}

static __attribute__((noinline)) void run_cvtpi2ps(struct processor *cpu, const struct op *op)
{
    struct op one = *op;
    one.fn = cvtpi2ps_value;
    one.imm = integers(cpu, op);
    if (cpu->mode & MODE_SSE_CHECKED)
        simd_supervise(cpu, op, &one, NULL, 0, false);
    else
        fpu_run_alone(cpu, &one);
}

static HANDLER(cvtpi2ps)
{
    run_cvtpi2ps(cpu, op);
    NEXT;
}

/* Exact: without MXCSR */
static HANDLER(cvtpi2pd)
{
    v16 x;
    __asm__("cvtdq2pd %1, %0" : "=x"(x) : "x"(low_half(integers(cpu, op))));
    XMM(cpu, op->dst) = x;
    NEXT;
}

#define TO_MMX(name, bytes)                                                                                            \
    static HANDLER(name##_register)                                                                                    \
    {                                                                                                                  \
        uint64_t value;                                                                                                \
        MXCSR;                                                                                                         \
        mmx(cpu);                                                                                                      \
        cpu->fpu_live |= FPU_MMX;                                                                                      \
        __asm__ volatile(#name " %1, %%mm0\n\tmovq %%mm0, %0" : "=r"(value) : "x"(XMM(cpu, op->src)) : "mm0");         \
        set_mm(cpu, op->dst, value);                                                                                   \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name)                                                                                               \
    {                                                                                                                  \
        fpu_wait(cpu, op);                                                                                             \
        if (unlikely(cpu->mode & MODE_SSE_CHECKED)) {                                                                  \
            supervise_to_mmx(cpu, op, bytes, name##_register);                                                         \
            NEXT;                                                                                                      \
        }                                                                                                              \
        if (op->form & FORM_MEMORY)                                                                                    \
            return simd_operand(cpu, op, ea_any(cpu, op, bytes, false), bytes, (bytes) == 16, name##_register);        \
        return name##_register(cpu, op);                                                                               \
    }

static __attribute__((noinline)) void supervise_to_mmx(struct processor *cpu, const struct op *op, unsigned size,
                                                       handler fn)
{
    struct op one = *op;
    uint8_t source[16];
    bool memory = op->form & FORM_MEMORY;
    one.fn = fn;
    if (memory)
        memcpy(source, simd_read(cpu, op, ea_any(cpu, op, size, false), size, size == 16), size);
    mmx(cpu);
    simd_supervise(cpu, op, &one, memory ? source : NULL, size, false);
}

TO_MMX(cvtps2pi, 8)
TO_MMX(cvttps2pi, 8)
TO_MMX(cvtpd2pi, 16)
TO_MMX(cvttpd2pi, 16)

/* ---- decoding ---- */

static HANDLER(mmx_unavailable)
{
    fpu_demand_mmx(cpu, op);
    __builtin_unreachable(); /* the mode bits say that it raises */
}

enum operands { MM_MM, MM_GENERAL, GENERAL_MM, MM_XMM, XMM_MM, STORE_MM, STORE_GENERAL };

static handler shift(const struct decode *d)
{
    switch (d->opcode << 4 | (d->modrm >> 3 & 7)) {
#define X(opcode, reg, name)                                                                                           \
    case (opcode) << 4 | (reg): return name##_immediate;
        SHIFTS(X)
#undef X
    default: return NULL;
    }
}

/* An instruction that is more than one computation. Its `imm` is the immediate. */
static handler special(const struct decode *d, enum simd_prefix prefix, enum operands *operands,
                       enum feature *feature)
{
    bool memory = d->mod != 3;
    *operands = MM_MM;
    *feature = FEATURE_MMX;
    if (d->map == MAP_0F3A) {
        *feature = FEATURE_SSSE3;
        return d->opcode == 0x0f && prefix == NP ? palignr : NULL;
    }
    switch (d->map == MAP_0F ? prefix << 8 | d->opcode : ~0u) {
    case NP << 8 | 0x6e: *operands = MM_GENERAL; return movd_load;
    case NP << 8 | 0x6f: return movq_load;
    case NP << 8 | 0x7e: *operands = STORE_GENERAL; return movd_store;
    case NP << 8 | 0x7f: *operands = STORE_MM; return movq_store;
    case NP << 8 | 0x71: case NP << 8 | 0x72: case NP << 8 | 0x73:
        *operands = STORE_MM;
        return memory ? NULL : shift(d);
    default: break;
    }
    *feature = FEATURE_SSE;
    switch (d->map == MAP_0F ? prefix << 8 | d->opcode : ~0u) {
    case NP << 8 | 0x70: return pshufw;
    case NP << 8 | 0xc4: *operands = MM_GENERAL; return pinsrw;
    case NP << 8 | 0xc5: *operands = GENERAL_MM; return memory ? NULL : pextrw;
    case NP << 8 | 0xd7: *operands = GENERAL_MM; return memory ? NULL : pmovmskb;
    case NP << 8 | 0xe7: *operands = STORE_MM; return memory ? movq_store : NULL;
    case NP << 8 | 0xf7: return memory ? NULL : maskmovq;
    case NP << 8 | 0x2a: *operands = XMM_MM; return cvtpi2ps;
    case NP << 8 | 0x2c: *operands = MM_XMM; return cvttps2pi;
    case NP << 8 | 0x2d: *operands = MM_XMM; return cvtps2pi;
    default: break;
    }
    *feature = FEATURE_SSE2;
    switch (d->map == MAP_0F ? prefix << 8 | d->opcode : ~0u) {
    case P66 << 8 | 0x2a: *operands = XMM_MM; return cvtpi2pd;
    case P66 << 8 | 0x2c: *operands = MM_XMM; return cvttpd2pi;
    case P66 << 8 | 0x2d: *operands = MM_XMM; return cvtpd2pi;
    case PF3 << 8 | 0xd6: *operands = XMM_MM; return memory ? NULL : movq2dq;
    case PF2 << 8 | 0xd6: *operands = MM_XMM; return memory ? NULL : movdq2q;
    default: return NULL;
    }
}

static void set_operands(const struct decode *d, enum operands operands)
{
    struct op *op = d->op;
    switch (operands) {
    case MM_MM: op->dst = MM_OFFSET(d->reg), op->src = MM_OFFSET(d->rm); break;
    case MM_GENERAL: op->dst = MM_OFFSET(d->reg), op->src = GPR_OFFSET(d->rm); break;
    case GENERAL_MM: op->dst = GPR_OFFSET(d->reg), op->src = MM_OFFSET(d->rm); break;
    case MM_XMM: op->dst = MM_OFFSET(d->reg), op->src = XMM_OFFSET(d->rm); break;
    case XMM_MM: op->dst = XMM_OFFSET(d->reg), op->src = MM_OFFSET(d->rm); break;
    case STORE_MM: op->dst = MM_OFFSET(d->rm), op->src = MM_OFFSET(d->reg); break;
    case STORE_GENERAL: op->dst = GPR_OFFSET(d->rm), op->src = MM_OFFSET(d->reg); break;
    }
}

bool set_up_mmx(struct decode *d)
{
    struct op *op = d->op;
    enum simd_prefix prefix = simd_prefix(d);
    enum operands operands;
    enum feature feature;
    const struct row *row = d->map == MAP_0F3A || prefix != NP ? NULL : &rows[d->map - MAP_0F][d->opcode];
    bool memory = op->form & FORM_MEMORY;
    uint8_t immediate = op->imm;
    if (row && row->compute) {
        feature = row->feature;
        operands = MM_MM;
        op->fn = !memory ? compute_register : row->size == 8 ? compute_memory8 : compute_memory4;
        op->imm = (uintptr_t)row->compute;
    } else {
        op->fn = special(d, prefix, &operands, &feature);
        op->imm = immediate;
    }
    if (!op->fn || !has_feature(d->cpu, FEATURE_MMX) || !has_feature(d->cpu, feature))
        return false;
    op->size = d->operand_size == 8 ? 8 : 4;
    set_operands(d, operands);
    if (op->fn == maskmovq) {
        op->base = RDI;
        op->seg = d->has_segment ? d->segment : DS;
    }
    if ((operands == MM_XMM || operands == XMM_MM) && d->mode & MODE_NO_SSE)
        op->fn = simd_unavailable;
    else if (d->mode & MODE_NO_X87)
        op->fn = mmx_unavailable;
    return true;
}
