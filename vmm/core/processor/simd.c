/* SSE to SSE4.2 by the host's own instructions on the guest's registers in memory.
 *
 * simd_rows.h lists the instructions by form; a form makes the handlers of its instructions: on a register, and on
 * memory for each kind of address. An access that the fast path cannot do ends in simd_operand, operand_general or
 * store_slow. Instructions with an immediate call one of 256 stubs, `op $imm, %xmm1, %xmm0; ret`. */
#include "simd.h"

#include "host_trap.h"

#include <string.h>

/* ---- operands ---- */

typedef uint8_t t1 __attribute__((may_alias));
typedef u16u t2;
typedef u32u t4;
typedef u64u t8;
typedef v16u t16;

/* Alignment is checked by the same compare that looks for the page: TLB tags have no low bits. */
#define MISSES_ANY(linear, size, tag) ((((linear) + (size) - 1) & ~0xfffull) != (tag))
#define MISSES_ALIGNED(linear, size, tag) (((linear) & ~0xff0ull) != (tag))
#define DEMAND_ANY false
#define DEMAND_ALIGNED true

/* Runs `fn`, a register form of `op`, with these bytes as its source: in a register that it does not name. */
static __attribute__((noinline)) void run_on(struct processor *cpu, const struct op *op, const void *source,
                                             unsigned size, bool general, handler fn)
{
    struct op one = *op;
    unsigned n;
    one.fn = fn;
    if (general) {
        n = op->dst == GPR_OFFSET(R15) ? R14 : R15;
        uint64_t kept = cpu->s.registers.gpr[n], value = 0;
        memcpy(&value, source, size);
        cpu->s.registers.gpr[n] = value;
        one.src = GPR_OFFSET(n);
        fpu_run_alone(cpu, &one);
        cpu->s.registers.gpr[n] = kept;
    } else {
        n = op->dst == XMM_OFFSET(15) ? 14 : 15;
        v16 kept = XMM(cpu, XMM_OFFSET(n)), value = {0};
        memcpy(&value, source, size);
        XMM(cpu, XMM_OFFSET(n)) = value;
        one.src = XMM_OFFSET(n);
        fpu_run_alone(cpu, &one);
        XMM(cpu, XMM_OFFSET(n)) = kept;
    }
}

const void *simd_read(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size, bool aligned)
{
    if (aligned && linear & 15)
        raise_gp(cpu, op, 0);
    return mmu_read(cpu, op, linear, size, op->seg);
}

__attribute__((noinline)) const struct op *simd_operand(struct processor *cpu, const struct op *op, uint64_t linear,
                                                        unsigned size, bool aligned, handler fn)
{
    run_on(cpu, op, simd_read(cpu, op, linear, size, aligned), size, false, fn);
    NEXT;
}

static __attribute__((noinline)) const struct op *operand_general(struct processor *cpu, const struct op *op,
                                                                  uint64_t linear, unsigned size, bool aligned,
                                                                  handler fn)
{
    run_on(cpu, op, simd_read(cpu, op, linear, size, aligned), size, true, fn);
    NEXT;
}

static __attribute__((noinline)) const struct op *store_slow(struct processor *cpu, const struct op *op,
                                                             uint64_t linear, unsigned size, bool aligned,
                                                             const void *source)
{
    if (aligned && linear & 15)
        raise_gp(cpu, op, 0);
    mmu_write(cpu, op, linear, source, size, op->seg);
    NEXT;
}

/* ---- handlers ---- */

#define INLINE static inline __attribute__((always_inline))
#define BODY(name) INLINE void name##_body(struct processor *cpu, const struct op *op, const void *source)

/* Arithmetic needs the guest's MXCSR in the host's. */
#define QUIET
#define MXCSR                                                                                                          \
    if (unlikely(!(cpu->fpu_live & FPU_MXCSR)))                                                                        \
        return fpu_load_mxcsr(cpu, op);

#define REGISTER_HANDLER(name, live, source)                                                                           \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        live name##_body(cpu, op, &source(cpu, op->src));                                                              \
        NEXT;                                                                                                          \
    }
#define LOAD_HANDLER(name, live, size, align, slow, fn, kind)                                                          \
    static HANDLER(name##_##kind)                                                                                      \
    {                                                                                                                  \
        live uint64_t linear = ea(cpu, op, kind, size, false);                                                         \
        const struct tlb_entry *entry = tlb_entry(cpu, linear);                                                        \
        if (unlikely(MISSES_##align(linear, size, entry->read)))                                                       \
            return slow(cpu, op, linear, size, DEMAND_##align, fn);                                                    \
        name##_body(cpu, op, (const void *)(linear + entry->addend));                                                  \
        NEXT;                                                                                                          \
    }
/* `fn`: the handler that does the same with its operand in a register, zero-extended. */
#define LOAD_HANDLERS(name, live, size, align, slow, fn)                                                               \
    LOAD_HANDLER(name, live, size, align, slow, fn, EA_BASE)                                                           \
    LOAD_HANDLER(name, live, size, align, slow, fn, EA_INDEX)                                                          \
    LOAD_HANDLER(name, live, size, align, slow, fn, EA_GENERAL)
#define XMM_HANDLERS(name, live, size, align)                                                                          \
    REGISTER_HANDLER(name, live, XMM)                                                                                  \
    LOAD_HANDLERS(name, live, size, align, simd_operand, name##_reg)
#define GENERAL_HANDLERS(name, live, size)                                                                             \
    REGISTER_HANDLER(name, live, REG64)                                                                                \
    LOAD_HANDLERS(name, live, size, ANY, operand_general, name##_reg)

#define STORE_HANDLER(name, size, align, source, kind)                                                                 \
    static HANDLER(name##_##kind)                                                                                      \
    {                                                                                                                  \
        uint64_t linear = ea(cpu, op, kind, size, true);                                                               \
        const struct tlb_entry *entry = tlb_entry(cpu, linear);                                                        \
        if (unlikely(MISSES_##align(linear, size, entry->write)))                                                      \
            return store_slow(cpu, op, linear, size, DEMAND_##align, source);                                          \
        *(t##size *)(linear + entry->addend) = *(const t##size *)(source);                                             \
        NEXT;                                                                                                          \
    }
#define STORE_HANDLERS(name, size, align, source)                                                                      \
    STORE_HANDLER(name, size, align, source, EA_BASE)                                                                  \
    STORE_HANDLER(name, size, align, source, EA_INDEX)                                                                 \
    STORE_HANDLER(name, size, align, source, EA_GENERAL)

/* ---- forms: computation ---- */

/* dst = op(dst, source) */
#define UPDATE(name, volatility, type)                                                                                 \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        v16 x = XMM(cpu, op->dst);                                                                                     \
        __asm__ volatility(#name " %1, %0" : "+x"(x) : "m"(*(const type *)source));                                    \
        XMM(cpu, op->dst) = x;                                                                                         \
    }
/* dst = op(source) */
#define REPLACE(name, volatility, type)                                                                                \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        v16 x;                                                                                                         \
        __asm__ volatility(#name " %1, %0" : "=x"(x) : "m"(*(const type *)source));                                    \
        XMM(cpu, op->dst) = x;                                                                                         \
    }

#define DEFINE_UPDATE16(name) UPDATE(name, , v16) XMM_HANDLERS(name, QUIET, 16, ALIGNED)
#define DEFINE_UPDATE4(name) UPDATE(name, , t4) XMM_HANDLERS(name, QUIET, 4, ANY)
#define DEFINE_REPLACE16(name) REPLACE(name, , v16) XMM_HANDLERS(name, QUIET, 16, ALIGNED)
#define DEFINE_REPLACE8(name) REPLACE(name, , t8) XMM_HANDLERS(name, QUIET, 8, ANY)
#define DEFINE_REPLACE4(name) REPLACE(name, , t4) XMM_HANDLERS(name, QUIET, 4, ANY)
#define DEFINE_REPLACE2(name) REPLACE(name, , t2) XMM_HANDLERS(name, QUIET, 2, ANY)
/* By MXCSR */
#define DEFINE_FLOAT16(name) UPDATE(name, volatile, v16) XMM_HANDLERS(name, MXCSR, 16, ALIGNED)
#define DEFINE_FLOAT8(name) UPDATE(name, volatile, t8) XMM_HANDLERS(name, MXCSR, 8, ANY)
#define DEFINE_FLOAT4(name) UPDATE(name, volatile, t4) XMM_HANDLERS(name, MXCSR, 4, ANY)
#define DEFINE_CONVERT16(name) REPLACE(name, volatile, v16) XMM_HANDLERS(name, MXCSR, 16, ALIGNED)
#define DEFINE_CONVERT8(name) REPLACE(name, volatile, t8) XMM_HANDLERS(name, MXCSR, 8, ANY)

/* CVTSI2SS, CVTSI2SD */
#define DEFINE_FROM_INTEGER4(name) UPDATE(name, volatile, t4) GENERAL_HANDLERS(name, MXCSR, 4)
#define DEFINE_FROM_INTEGER8(name) UPDATE(name, volatile, t8) GENERAL_HANDLERS(name, MXCSR, 8)
/* CVTSS2SI and its like: `type` of the integer, size of the scalar */
#define TO_INTEGER(name, type, size)                                                                                   \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        type value;                                                                                                    \
        __asm__ volatile(#name " %1, %0" : "=r"(value) : "m"(*(const t##size *)source));                               \
        REG64(cpu, op->dst) = value;                                                                                   \
    }                                                                                                                  \
    XMM_HANDLERS(name, MXCSR, size, ANY)
#define DEFINE_INTEGER4_OF4(name) TO_INTEGER(name, uint32_t, 4)
#define DEFINE_INTEGER4_OF8(name) TO_INTEGER(name, uint32_t, 8)
#define DEFINE_INTEGER8_OF4(name) TO_INTEGER(name, uint64_t, 4)
#define DEFINE_INTEGER8_OF8(name) TO_INTEGER(name, uint64_t, 8)

#define FLAGS_OF(name, volatility, type)                                                                               \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        uint32_t flags;                                                                                                \
        __asm__ volatility(#name " %2, %1\n\tlahf\n\tseto %%al"                                                        \
                           : "=&a"(flags)                                                                              \
                           : "x"(XMM(cpu, op->dst)), "m"(*(const type *)source)                                        \
                           : "cc");                                                                                    \
        cpu->s.flags = flags;                                                                                          \
    }
#define DEFINE_COMPARE4(name) FLAGS_OF(name, volatile, t4) XMM_HANDLERS(name, MXCSR, 4, ANY)
#define DEFINE_COMPARE8(name) FLAGS_OF(name, volatile, t8) XMM_HANDLERS(name, MXCSR, 8, ANY)
#define DEFINE_TEST16(name) FLAGS_OF(name, , v16) XMM_HANDLERS(name, QUIET, 16, ALIGNED)

/* PBLENDVB and its like: the mask is XMM0. */
#define DEFINE_BLENDV(name)                                                                                            \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        v16 x = XMM(cpu, op->dst);                                                                                     \
        __asm__(#name " %%xmm0, %1, %0" : "+x"(x) : "m"(*(const v16 *)source), "Yz"(XMM(cpu, 0)));                     \
        XMM(cpu, op->dst) = x;                                                                                         \
    }                                                                                                                  \
    XMM_HANDLERS(name, QUIET, 16, ALIGNED)

/* MOVMSKPS and its like */
#define DEFINE_MASK(name)                                                                                              \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        uint32_t mask;                                                                                                 \
        __asm__(#name " %1, %0" : "=r"(mask) : "x"(XMM(cpu, op->src)));                                                \
        REG64(cpu, op->dst) = mask;                                                                                    \
        NEXT;                                                                                                          \
    }

/* CRC32 */
#define DEFINE_CRC(name, type, size)                                                                                   \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        type crc = REG64(cpu, op->dst);                                                                                \
        __asm__(#name " %1, %0" : "+r"(crc) : "m"(*(const t##size *)source) : "cc");                                   \
        REG64(cpu, op->dst) = (uint32_t)crc;                                                                           \
    }                                                                                                                  \
    static HANDLER(name##_reg) /* a byte register may be AH */                                                         \
    {                                                                                                                  \
        name##_body(cpu, op, &REG8(cpu, op->src));                                                                     \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    LOAD_HANDLERS(name, QUIET, size, ANY, operand_general, name##_reg)
#define DEFINE_CRC1(name) DEFINE_CRC(name, uint32_t, 1)
#define DEFINE_CRC2(name) DEFINE_CRC(name, uint32_t, 2)
#define DEFINE_CRC4(name) DEFINE_CRC(name, uint32_t, 4)
#define DEFINE_CRC8(name) DEFINE_CRC(name, uint64_t, 8)

/* ---- forms: by immediate ---- */

#define STUB_BYTES 8
#define STUBS(name, operands)                                                                                          \
    extern const uint8_t stubs_##name[256 * STUB_BYTES] __attribute__((visibility("hidden")));                         \
    __asm__(".pushsection .text.simd_stubs, \"ax\", @progbits\n"                                                       \
            "\t.balign 8\n"                                                                                            \
            "stubs_" #name ":\n"                                                                                       \
            "\t.set .Limmediate, 0\n"                                                                                  \
            "\t.rept 256\n"                                                                                            \
            "\t" #name " $.Limmediate, " operands "\n"                                                                 \
            "\tret\n"                                                                                                  \
            "\t.balign 8\n"                                                                                            \
            "\t.set .Limmediate, .Limmediate + 1\n"                                                                    \
            "\t.endr\n"                                                                                                \
            "\t.popsection\n");

/* The core is compiled without a red zone, into which the return address would fall. */
INLINE v16 call_stub(uint64_t stub, v16 x, v16 source)
{
    register v16 xmm0 __asm__("xmm0") = x;
    register v16 xmm1 __asm__("xmm1") = source;
    __asm__ volatile("call *%2" : "+x"(xmm0) : "x"(xmm1), "r"(stub));
    return xmm0;
}

#define SOURCE16 (*(const v16 *)source)
#define SOURCE8 low_half(*(const t8 *)source)
#define SOURCE4 low_quarter(*(const t4 *)source)
#define BY_STUB(name, live, size, align)                                                                               \
    STUBS(name, "%xmm1, %xmm0")                                                                                        \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = call_stub(op->imm, XMM(cpu, op->dst), SOURCE##size);                                       \
    }                                                                                                                  \
    XMM_HANDLERS(name, live, size, align)
#define DEFINE_STUB16(name) BY_STUB(name, QUIET, 16, ALIGNED)
/* INSERTPS: of a register it takes any lane, of memory there is but one. */
#define DEFINE_STUB_LANE(name)                                                                                         \
    STUBS(name, "%xmm1, %xmm0")                                                                                        \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = call_stub(op->imm, XMM(cpu, op->dst), XMM(cpu, op->src));                                  \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = call_stub(op->imm, XMM(cpu, op->dst), low_quarter(*(const t4 *)source));                   \
    }                                                                                                                  \
    LOAD_HANDLERS(name, QUIET, 4, ANY, simd_operand, name##_reg)
#define DEFINE_FLOAT_STUB16(name) BY_STUB(name, MXCSR, 16, ALIGNED)
#define DEFINE_FLOAT_STUB8(name) BY_STUB(name, MXCSR, 8, ANY)
#define DEFINE_FLOAT_STUB4(name) BY_STUB(name, MXCSR, 4, ANY)

/* PSRLDQ, PSLLDQ */
#define DEFINE_SHIFT_STUB(name)                                                                                        \
    STUBS(name, "%xmm0")                                                                                               \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = call_stub(op->imm, XMM(cpu, op->dst), XMM(cpu, op->dst));                                  \
        NEXT;                                                                                                          \
    }

/* PCMPESTRI and its like. A length counts up to 16, whatever its sign: as 32 bits it says the same. */
uint32_t simd_string_length(uint64_t value, bool wide)
{
    int64_t length = wide ? (int64_t)value : (int32_t)value;
    return length > 16 ? 16 : length < -16 ? -16 : length;
}

#define STRING(name, result)                                                                                           \
    STUBS(name, "%xmm1, %xmm0")                                                                                        \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        register v16 xmm0 __asm__("xmm0") = XMM(cpu, op->dst);                                                         \
        register v16 xmm1 __asm__("xmm1") = *(const v16u *)source;                                                     \
        uint64_t *gpr = cpu->s.registers.gpr;                                                                          \
        uint32_t flags = simd_string_length(gpr[RAX], op->size == 8), index;                                                \
        __asm__ volatile("call *%4\n\tlahf\n\tseto %%al"                                                               \
                         : "+a"(flags), "=c"(index), "+x"(xmm0)                                                        \
                         : "d"(simd_string_length(gpr[RDX], op->size == 8)), "r"(op->imm), "x"(xmm1)                        \
                         : "cc");                                                                                      \
        cpu->s.flags = flags;                                                                                          \
        result;                                                                                                        \
    }                                                                                                                  \
    XMM_HANDLERS(name, QUIET, 16, ANY)
#define DEFINE_STRING_INDEX(name) STRING(name, gpr[RCX] = index)
#define DEFINE_STRING_MASK(name) STRING(name, XMM(cpu, 0) = xmm0)

/* PINSRB and its like: `imm` is the byte offset of the lane. */
#define LANE(cpu, op, offset) ((uint8_t *)&XMM(cpu, offset) + (op)->imm)
#define INSERT(name, size)                                                                                             \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        *(t##size *)LANE(cpu, op, op->dst) = *(const t##size *)source;                                                 \
    }                                                                                                                  \
    GENERAL_HANDLERS(name, QUIET, size)
#define DEFINE_INSERT1(name) INSERT(name, 1)
#define DEFINE_INSERT2(name) INSERT(name, 2)
#define DEFINE_INSERT4(name) INSERT(name, 4)
#define DEFINE_INSERT8(name) INSERT(name, 8)

#define EXTRACT(name, size)                                                                                            \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        REG64(cpu, op->dst) = *(const t##size *)LANE(cpu, op, op->src);                                                \
        NEXT;                                                                                                          \
    }
#define STORED_EXTRACT(name, size)                                                                                     \
    EXTRACT(name, size)                                                                                                \
    STORE_HANDLERS(name, size, ANY, LANE(cpu, op, op->src))
#define DEFINE_EXTRACT1(name) STORED_EXTRACT(name, 1)
#define DEFINE_EXTRACT2(name) STORED_EXTRACT(name, 2)
#define DEFINE_EXTRACT4(name) STORED_EXTRACT(name, 4)
#define DEFINE_EXTRACT8(name) STORED_EXTRACT(name, 8)
#define DEFINE_EXTRACT_WORD(name) EXTRACT(name, 2)

/* ---- forms: moves ---- */

#define DEFINE_LOAD_ALIGNED(name)                                                                                      \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = *(const v16 *)source;                                                                      \
    }                                                                                                                  \
    XMM_HANDLERS(name, QUIET, 16, ALIGNED)
#define DEFINE_LOAD_ANY(name)                                                                                          \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = *(const v16u *)source;                                                                     \
    }                                                                                                                  \
    XMM_HANDLERS(name, QUIET, 16, ANY)
/* LDDQU, MOVNTDQA: from memory only */
#define LOAD_MEMORY(name, align)                                                                                       \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = *(const v16u *)source;                                                                     \
    }                                                                                                                  \
    LOAD_HANDLERS(name, QUIET, 16, align, simd_operand, movaps_reg)
#define DEFINE_LOAD_ANY_MEMORY(name) LOAD_MEMORY(name, ANY)
#define DEFINE_LOAD_STREAM(name) LOAD_MEMORY(name, ALIGNED)
/* From memory or register, zero-extended */
#define DEFINE_LOAD8(name)                                                                                             \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = low_half(*(const t8 *)source);                                                             \
    }                                                                                                                  \
    XMM_HANDLERS(name, QUIET, 8, ANY)
/* MOVD, MOVQ from a general register */
#define DEFINE_LOAD4_GENERAL(name)                                                                                     \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = low_quarter(*(const t4 *)source);                                                          \
    }                                                                                                                  \
    GENERAL_HANDLERS(name, QUIET, 4)
#define DEFINE_LOAD8_GENERAL(name)                                                                                     \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = low_half(*(const t8 *)source);                                                             \
    }                                                                                                                  \
    GENERAL_HANDLERS(name, QUIET, 8)
/* MOVSS, MOVSD: from memory zero-extended, from a register merged */
#define LOAD_SCALAR(name, size, extended)                                                                              \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        *(t##size *)&XMM(cpu, op->dst) = *(const t##size *)&XMM(cpu, op->src);                                         \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    static HANDLER(name##_extended)                                                                                    \
    {                                                                                                                  \
        XMM(cpu, op->dst) = XMM(cpu, op->src);                                                                         \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = extended(*(const t##size *)source);                                                        \
    }                                                                                                                  \
    LOAD_HANDLERS(name, QUIET, size, ANY, simd_operand, name##_extended)
#define DEFINE_LOAD_SCALAR4(name) LOAD_SCALAR(name, 4, low_quarter)
#define DEFINE_LOAD_SCALAR8(name) LOAD_SCALAR(name, 8, low_half)
/* MOVLPS, MOVHPS: one half from memory; of a register the other half (MOVHLPS, MOVLHPS) */
#define LOAD_HALF(name, half)                                                                                          \
    static HANDLER(name##_half)                                                                                        \
    {                                                                                                                  \
        XMM64(cpu, op->dst, half) = XMM64(cpu, op->src, 0);                                                            \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    BODY(name)                                                                                                         \
    {                                                                                                                  \
        XMM64(cpu, op->dst, half) = *(const t8 *)source;                                                               \
    }                                                                                                                  \
    LOAD_HANDLERS(name, QUIET, 8, ANY, simd_operand, name##_half)
#define MOVE_HALF(name, half)                                                                                          \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        XMM64(cpu, op->dst, half) = XMM64(cpu, op->src, !(half));                                                      \
        NEXT;                                                                                                          \
    }
#define DEFINE_LOAD_LOW(name) LOAD_HALF(name, 0) MOVE_HALF(name, 0)
#define DEFINE_LOAD_HIGH(name) LOAD_HALF(name, 1) MOVE_HALF(name, 1)
#define DEFINE_LOAD_LOW_MEMORY(name) LOAD_HALF(name, 0)
#define DEFINE_LOAD_HIGH_MEMORY(name) LOAD_HALF(name, 1)

#define COPY(name, extended)                                                                                           \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        XMM(cpu, op->dst) = extended;                                                                                  \
        NEXT;                                                                                                          \
    }
#define DEFINE_STORE_ALIGNED(name)                                                                                     \
    COPY(name, XMM(cpu, op->src)) STORE_HANDLERS(name, 16, ALIGNED, &XMM(cpu, op->src))
#define DEFINE_STORE_ANY(name) COPY(name, XMM(cpu, op->src)) STORE_HANDLERS(name, 16, ANY, &XMM(cpu, op->src))
#define DEFINE_STORE_STREAM(name) STORE_HANDLERS(name, 16, ALIGNED, &XMM(cpu, op->src))
#define DEFINE_STORE8(name)                                                                                            \
    COPY(name, low_half(XMM64(cpu, op->src, 0))) STORE_HANDLERS(name, 8, ANY, &XMM(cpu, op->src))
#define STORE_SCALAR(name, size)                                                                                       \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        *(t##size *)&XMM(cpu, op->dst) = *(const t##size *)&XMM(cpu, op->src);                                         \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    STORE_HANDLERS(name, size, ANY, &XMM(cpu, op->src))
#define DEFINE_STORE_SCALAR4(name) STORE_SCALAR(name, 4)
#define DEFINE_STORE_SCALAR8(name) STORE_SCALAR(name, 8)
#define DEFINE_STORE_LOW(name) STORE_HANDLERS(name, 8, ANY, &XMM64(cpu, op->src, 0))
#define DEFINE_STORE_HIGH(name) STORE_HANDLERS(name, 8, ANY, &XMM64(cpu, op->src, 1))
/* MOVD, MOVQ to a general register or memory */
#define STORE_GENERAL(name, size)                                                                                      \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        REG64(cpu, op->dst) = *(const t##size *)&XMM(cpu, op->src);                                                    \
        NEXT;                                                                                                          \
    }                                                                                                                  \
    STORE_HANDLERS(name, size, ANY, &XMM(cpu, op->src))
#define DEFINE_STORE4_GENERAL(name) STORE_GENERAL(name, 4)
#define DEFINE_STORE8_GENERAL(name) STORE_GENERAL(name, 8)
/* MOVNTI */
#define DEFINE_STORE4_INTEGER(name) STORE_HANDLERS(name, 4, ANY, &REG64(cpu, op->src))
#define DEFINE_STORE8_INTEGER(name) STORE_HANDLERS(name, 8, ANY, &REG64(cpu, op->src))

/* MASKMOVDQU: the bytes of dst whose byte in src has bit 7 set go to DS:rDI. */
__attribute__((noinline)) void simd_store_masked(struct processor *cpu, const struct op *op)
{
    const uint8_t *data = (const uint8_t *)&XMM(cpu, op->dst), *mask = (const uint8_t *)&XMM(cpu, op->src);
    unsigned selected = 0;
    for (unsigned i = 0; i < 16; i++)
        selected |= mask[i] >> 7 << i;
    if (!selected)
        return;
    uint64_t linear = linear_address(cpu, op, op->seg, effective_offset(cpu, op), 16, true);
    mmu_probe(cpu, op, linear, 16, op->seg, true);
    for (unsigned i = 0; i < 16; i++)
        if (selected >> i & 1)
            mmu_write8(cpu, op, linear + i, data[i], op->seg);
}
#define DEFINE_STORE_MASKED(name)                                                                                      \
    static HANDLER(name##_reg)                                                                                         \
    {                                                                                                                  \
        simd_store_masked(cpu, op);                                                                                         \
        NEXT;                                                                                                          \
    }

/* ---- the instructions ---- */

#include "simd_rows.h"

#define X(form, map, prefix, opcode, name, feature) DEFINE_##form(name)
SIMD_ROWS(X)
#undef X

/* PSLLW and its like by an immediate: by a count that is not in a register. */
#define X(opcode, reg, name)                                                                                           \
    static HANDLER(name##_immediate)                                                                                   \
    {                                                                                                                  \
        v16 x = XMM(cpu, op->dst);                                                                                     \
        __asm__(#name " %1, %0" : "+x"(x) : "x"(low_half(op->imm)));                                                   \
        XMM(cpu, op->dst) = x;                                                                                         \
        NEXT;                                                                                                          \
    }
SHIFT_ROWS(X)
#undef X
DEFINE_SHIFT_STUB(psrldq)
DEFINE_SHIFT_STUB(pslldq)

/* ---- rows ---- */

enum operands { /* ModRM.reg and ModRM.rm */
    XMM_XMM,
    XMM_GENERAL,
    GENERAL_XMM,
    GENERAL_GENERAL,
    STORE_XMM,          /* rm is the destination */
    STORE_XMM_GENERAL,  /* an XMM register to a general one or memory */
    STORE_GENERAL_MEMORY
};

enum row_attribute {
    ARITHMETIC = 1,
    ALIGNED = 2,
    LANE = 4,   /* the immediate is a lane's number */
    INTEGER = 8 /* needs no SSE state: whatever CR0 and CR4 say */
};

struct row {
    handler reg, mem[3]; /* mem by enum ea_kind */
    const uint8_t *stubs;
    uint8_t feature, operands, size, attributes;
};

#define REG(name) .reg = name##_reg
#define MEM(name, bytes) .mem = {name##_EA_BASE, name##_EA_INDEX, name##_EA_GENERAL}, .size = bytes
#define BOTH(name, bytes) REG(name), MEM(name, bytes)
#define WITH(a) .attributes = (a)
#define ON(o) .operands = (o)
#define STUBBED(name) .stubs = stubs_##name

#define ROW_UPDATE16(n) BOTH(n, 16), WITH(ALIGNED)
#define ROW_UPDATE4(n) BOTH(n, 4)
#define ROW_REPLACE16(n) BOTH(n, 16), WITH(ALIGNED)
#define ROW_REPLACE8(n) BOTH(n, 8)
#define ROW_REPLACE4(n) BOTH(n, 4)
#define ROW_REPLACE2(n) BOTH(n, 2)
#define ROW_FLOAT16(n) BOTH(n, 16), WITH(ARITHMETIC | ALIGNED)
#define ROW_FLOAT8(n) BOTH(n, 8), WITH(ARITHMETIC)
#define ROW_FLOAT4(n) BOTH(n, 4), WITH(ARITHMETIC)
#define ROW_CONVERT16(n) BOTH(n, 16), WITH(ARITHMETIC | ALIGNED)
#define ROW_CONVERT8(n) BOTH(n, 8), WITH(ARITHMETIC)
#define ROW_FROM_INTEGER4(n) BOTH(n, 4), WITH(ARITHMETIC), ON(XMM_GENERAL)
#define ROW_FROM_INTEGER8(n) BOTH(n, 8), WITH(ARITHMETIC), ON(XMM_GENERAL)
#define ROW_INTEGER4_OF4(n) BOTH(n, 4), WITH(ARITHMETIC), ON(GENERAL_XMM)
#define ROW_INTEGER8_OF4(n) BOTH(n, 4), WITH(ARITHMETIC), ON(GENERAL_XMM)
#define ROW_INTEGER4_OF8(n) BOTH(n, 8), WITH(ARITHMETIC), ON(GENERAL_XMM)
#define ROW_INTEGER8_OF8(n) BOTH(n, 8), WITH(ARITHMETIC), ON(GENERAL_XMM)
#define ROW_COMPARE4(n) BOTH(n, 4), WITH(ARITHMETIC)
#define ROW_COMPARE8(n) BOTH(n, 8), WITH(ARITHMETIC)
#define ROW_TEST16(n) BOTH(n, 16), WITH(ALIGNED)
#define ROW_BLENDV(n) BOTH(n, 16), WITH(ALIGNED)
#define ROW_MASK(n) REG(n), ON(GENERAL_XMM)
#define ROW_CRC1(n) BOTH(n, 1), ON(GENERAL_GENERAL), WITH(INTEGER)
#define ROW_CRC2(n) BOTH(n, 2), ON(GENERAL_GENERAL), WITH(INTEGER)
#define ROW_CRC4(n) BOTH(n, 4), ON(GENERAL_GENERAL), WITH(INTEGER)
#define ROW_CRC8(n) BOTH(n, 8), ON(GENERAL_GENERAL), WITH(INTEGER)
#define ROW_STUB16(n) BOTH(n, 16), STUBBED(n), WITH(ALIGNED)
#define ROW_STUB_LANE(n) BOTH(n, 4), STUBBED(n)
#define ROW_FLOAT_STUB16(n) BOTH(n, 16), STUBBED(n), WITH(ARITHMETIC | ALIGNED)
#define ROW_FLOAT_STUB8(n) BOTH(n, 8), STUBBED(n), WITH(ARITHMETIC)
#define ROW_FLOAT_STUB4(n) BOTH(n, 4), STUBBED(n), WITH(ARITHMETIC)
#define ROW_STRING_INDEX(n) BOTH(n, 16), STUBBED(n)
#define ROW_STRING_MASK(n) BOTH(n, 16), STUBBED(n)
#define ROW_INSERT1(n) BOTH(n, 1), ON(XMM_GENERAL), WITH(LANE)
#define ROW_INSERT2(n) BOTH(n, 2), ON(XMM_GENERAL), WITH(LANE)
#define ROW_INSERT4(n) BOTH(n, 4), ON(XMM_GENERAL), WITH(LANE)
#define ROW_INSERT8(n) BOTH(n, 8), ON(XMM_GENERAL), WITH(LANE)
#define ROW_EXTRACT1(n) BOTH(n, 1), ON(STORE_XMM_GENERAL), WITH(LANE)
#define ROW_EXTRACT2(n) BOTH(n, 2), ON(STORE_XMM_GENERAL), WITH(LANE)
#define ROW_EXTRACT4(n) BOTH(n, 4), ON(STORE_XMM_GENERAL), WITH(LANE)
#define ROW_EXTRACT8(n) BOTH(n, 8), ON(STORE_XMM_GENERAL), WITH(LANE)
#define ROW_EXTRACT_WORD(n) REG(n), .size = 2, ON(GENERAL_XMM), WITH(LANE)
#define ROW_LOAD_ALIGNED(n) BOTH(n, 16)
#define ROW_LOAD_ANY(n) BOTH(n, 16)
#define ROW_LOAD_ANY_MEMORY(n) MEM(n, 16)
#define ROW_LOAD_STREAM(n) MEM(n, 16)
#define ROW_LOAD8(n) BOTH(n, 8)
#define ROW_LOAD4_GENERAL(n) BOTH(n, 4), ON(XMM_GENERAL)
#define ROW_LOAD8_GENERAL(n) BOTH(n, 8), ON(XMM_GENERAL)
#define ROW_LOAD_SCALAR4(n) BOTH(n, 4)
#define ROW_LOAD_SCALAR8(n) BOTH(n, 8)
#define ROW_LOAD_LOW(n) BOTH(n, 8)
#define ROW_LOAD_HIGH(n) BOTH(n, 8)
#define ROW_LOAD_LOW_MEMORY(n) MEM(n, 8)
#define ROW_LOAD_HIGH_MEMORY(n) MEM(n, 8)
#define ROW_STORE_ALIGNED(n) BOTH(n, 16), ON(STORE_XMM)
#define ROW_STORE_ANY(n) BOTH(n, 16), ON(STORE_XMM)
#define ROW_STORE_STREAM(n) MEM(n, 16), ON(STORE_XMM)
#define ROW_STORE8(n) BOTH(n, 8), ON(STORE_XMM)
#define ROW_STORE_SCALAR4(n) BOTH(n, 4), ON(STORE_XMM)
#define ROW_STORE_SCALAR8(n) BOTH(n, 8), ON(STORE_XMM)
#define ROW_STORE_LOW(n) MEM(n, 8), ON(STORE_XMM)
#define ROW_STORE_HIGH(n) MEM(n, 8), ON(STORE_XMM)
#define ROW_STORE4_GENERAL(n) BOTH(n, 4), ON(STORE_XMM_GENERAL)
#define ROW_STORE8_GENERAL(n) BOTH(n, 8), ON(STORE_XMM_GENERAL)
#define ROW_STORE4_INTEGER(n) MEM(n, 4), ON(STORE_GENERAL_MEMORY), WITH(INTEGER)
#define ROW_STORE8_INTEGER(n) MEM(n, 8), ON(STORE_GENERAL_MEMORY), WITH(INTEGER)
#define ROW_STORE_MASKED(n) REG(n)

enum row_number {
    ROW_NONE,
#define X(form, map, prefix, opcode, name, feature) ROW_##name,
    SIMD_ROWS(X)
#undef X
};

static const struct row rows[] = {
#define X(form, map, prefix, opcode, name, needs) [ROW_##name] = {ROW_##form(name), .feature = FEATURE_##needs},
    SIMD_ROWS(X)
#undef X
};

static const uint16_t row_number[3][SIMD_PREFIXES][256] = {
#define X(form, map, prefix, opcode, name, feature) [MAP_##map - MAP_0F][prefix][opcode] = ROW_##name,
    SIMD_ROWS(X)
#undef X
};

/* ---- under supervision: an exception may be unmasked ---- */

static _Noreturn void raise_simd(struct processor *cpu, const struct op *op)
{
    raise_fault(cpu, op, cpu->s.cr4 & CR4_OSXMMEXCPT ? VECTOR_XM : VECTOR_UD, NO_ERROR_CODE);
}

void simd_judge(struct processor *cpu, const struct op *op, void (*compute)(void *context), void *context)
{
    bool trapped;
    FPU(cpu).mxcsr |= host_trap_simd(FPU(cpu).mxcsr & MXCSR_VALID, compute, context, &trapped);
    if (trapped)
        raise_simd(cpu, op);
}

/* An instruction on registers, as a computation. */
struct supervised {
    struct processor *cpu;
    const struct op *one;
    const void *source;
    unsigned size;
    bool general;
};

static void run_supervised(void *context)
{
    const struct supervised *s = context;
    struct processor *cpu = s->cpu;
    cpu->fpu_live |= FPU_MXCSR; /* as far as `one` must know */
    if (s->source)
        run_on(cpu, s->one, s->source, s->size, s->general, s->one->fn);
    else
        fpu_run_alone(cpu, s->one);
    cpu->fpu_live &= ~FPU_MXCSR;
}

void simd_supervise(struct processor *cpu, const struct op *op, const struct op *one, const void *source,
                    unsigned size, bool general)
{
    fpu_leave(cpu);
    const struct registers before = cpu->s.registers;
    struct supervised supervised = {cpu, one, source, size, general};
    bool trapped;
    uint32_t raised = host_trap_simd(before.fpu.mxcsr & MXCSR_VALID, run_supervised, &supervised, &trapped);
    if (trapped) {
        cpu->s.registers = before;
        cpu->fpu_live = 0;
    }
    FPU(cpu).mxcsr |= raised;
    if (trapped)
        raise_simd(cpu, op);
}

/* `imm` holds the row's number and the immediate. */
static __attribute__((noinline)) void checked(struct processor *cpu, const struct op *op)
{
    const struct row *row = &rows[op->imm >> 8];
    bool memory = op->form & FORM_MEMORY, aligned = row->attributes & ALIGNED;
    struct op one = *op;
    uint8_t source[16];
    one.fn = row->reg;
    one.imm = row->stubs ? (uintptr_t)(row->stubs + STUB_BYTES * (op->imm & 0xff)) : 0;
    if (memory) {
        uint64_t linear = ea_any(cpu, op, row->size, false);
        memcpy(source, simd_read(cpu, op, linear, row->size, aligned), row->size);
    }
    simd_supervise(cpu, op, &one, memory ? source : NULL, row->size, row->operands == XMM_GENERAL);
}

static HANDLER(arithmetic_checked)
{
    checked(cpu, op);
    NEXT;
}

HANDLER(simd_unavailable)
{
    fpu_demand_sse(cpu, op);
    __builtin_unreachable(); /* the mode bits say that it raises */
}

/* ---- decoding ---- */

static void set_operands(const struct decode *d, const struct row *row)
{
    struct op *op = d->op;
    switch ((enum operands)row->operands) {
    case XMM_XMM: op->dst = XMM_OFFSET(d->reg), op->src = XMM_OFFSET(d->rm); break;
    case XMM_GENERAL: op->dst = XMM_OFFSET(d->reg), op->src = GPR_OFFSET(d->rm); break;
    case GENERAL_XMM: op->dst = GPR_OFFSET(d->reg), op->src = XMM_OFFSET(d->rm); break;
    case GENERAL_GENERAL: op->dst = GPR_OFFSET(d->reg), op->src = register_offset(d, d->rm, row->size); break;
    case STORE_XMM: op->dst = XMM_OFFSET(d->rm), op->src = XMM_OFFSET(d->reg); break;
    case STORE_XMM_GENERAL: op->dst = GPR_OFFSET(d->rm), op->src = XMM_OFFSET(d->reg); break;
    case STORE_GENERAL_MEMORY: op->src = GPR_OFFSET(d->reg); break;
    }
}

/* 66 0F 71 to 73 */
static bool set_up_shift_immediate(struct decode *d)
{
    struct op *op = d->op;
    uint8_t count = op->imm;
    if (d->mod != 3 || simd_prefix(d) != P66 || !has_feature(d->cpu, FEATURE_SSE2))
        return false;
    op->dst = XMM_OFFSET(d->rm);
    op->imm = count;
    switch (d->opcode << 4 | (d->modrm >> 3 & 7)) {
#define X(opcode, reg, name)                                                                                           \
    case (opcode) << 4 | (reg): op->fn = name##_immediate; break;
    SHIFT_ROWS(X)
#undef X
    case 0x733: op->fn = psrldq_reg, op->imm = (uintptr_t)(stubs_psrldq + STUB_BYTES * count); break;
    case 0x737: op->fn = pslldq_reg, op->imm = (uintptr_t)(stubs_pslldq + STUB_BYTES * count); break;
    default: return false;
    }
    if (d->mode & MODE_NO_SSE)
        op->fn = simd_unavailable;
    return true;
}

static unsigned find(const struct decode *d)
{
    enum simd_prefix prefix = simd_prefix(d);
    const uint16_t(*numbers)[256] = row_number[d->map - MAP_0F];
    unsigned number = 0;
    if (d->operand_size == 8)
        number = numbers[prefix + NP_W][d->opcode];
    else if (prefix == PF2 && d->operand_size == 2)
        number = numbers[PF2_16][d->opcode];
    return number ? number : numbers[prefix][d->opcode];
}

bool set_up_simd(struct decode *d)
{
    struct op *op = d->op;
    bool memory = op->form & FORM_MEMORY;
    if (d->map == MAP_0F && d->opcode >= 0x71 && d->opcode <= 0x73 && d->operand16)
        return set_up_shift_immediate(d);
    unsigned number = find(d);
    const struct row *row = &rows[number];
    if (!number)
        return set_up_mmx(d);
    if (!has_feature(d->cpu, row->feature) || !(memory ? row->mem[0] : row->reg))
        return false;

    uint8_t immediate = op->imm;
    if (number == ROW_insertps && memory)
        immediate &= 0x3f; /* there is no source lane to choose */
    set_operands(d, row);
    if (number == ROW_maskmovdqu) {
        op->base = RDI;
        op->seg = d->has_segment ? d->segment : DS;
    }
    if (d->mode & MODE_NO_SSE && !(row->attributes & INTEGER)) {
        op->fn = simd_unavailable;
    } else if (d->mode & MODE_SSE_CHECKED && row->attributes & ARITHMETIC) {
        op->fn = arithmetic_checked;
        op->imm = number << 8 | immediate;
    } else {
        op->fn = memory ? row->mem[D_KIND(d)] : row->reg;
        if (row->stubs)
            op->imm = (uintptr_t)(row->stubs + STUB_BYTES * immediate);
        else if (row->attributes & LANE)
            op->imm = (immediate & (16 / row->size - 1)) * row->size;
    }
    return true;
}
