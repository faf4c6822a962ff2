/* The instruction table: each instruction once. Rows by map and opcode byte (SDM vol. 2, appendix A). */
#include "decode.h"

#include "integer.h"
#include "segment.h"

#define OF RFLAGS_OF
#define CF RFLAGS_CF
#define ALL RFLAGS_ARITHMETIC
#define NOT_CF (RFLAGS_ARITHMETIC & ~RFLAGS_CF)
#define M A_MODRM
#define B A_BYTE

/* Flags that condition n reads (SDM vol. 1, appendix B). */
#define CONDITION_FLAGS(n)                                                                                             \
    ((n) / 2 == 0   ? OF                                                                                               \
     : (n) / 2 == 1 ? CF                                                                                               \
     : (n) / 2 == 2 ? RFLAGS_ZF                                                                                        \
     : (n) / 2 == 3 ? CF | RFLAGS_ZF                                                                                   \
     : (n) / 2 == 4 ? RFLAGS_SF                                                                                        \
     : (n) / 2 == 5 ? RFLAGS_PF                                                                                        \
     : (n) / 2 == 6 ? RFLAGS_SF | OF                                                                                   \
                    : RFLAGS_SF | OF | RFLAGS_ZF)

/* name, set-up, attributes, immediate, argument */
#define ROW(n, a, s, imm, x) .name = (n), .attributes = (a), .set_up = (s), .immediate = (imm), .arg = (x)
/* name, handler, attributes, immediate */
#define DO(n, a, f, imm) .name = (n), .attributes = (a), .fn = (f), .immediate = (imm)
#define GROUP(rows) .attributes = A_GROUP, .group = (rows)
#define NEEDS(f) .feature = FEATURE_##f + 1
#define FLAGS(r, w) .flags_read = (r), .flags_written = (w)

#define EIGHT(first, ...)                                                                                              \
    [(first)] = {__VA_ARGS__}, [(first) + 1] = {__VA_ARGS__}, [(first) + 2] = {__VA_ARGS__},                           \
    [(first) + 3] = {__VA_ARGS__}, [(first) + 4] = {__VA_ARGS__}, [(first) + 5] = {__VA_ARGS__},                       \
    [(first) + 6] = {__VA_ARGS__}, [(first) + 7] = {__VA_ARGS__}

/* ---- groups ---- */

#define ALU_READS(x) ((x) == ALU_ADC || (x) == ALU_SBB ? CF : 0)
#define GROUP_1(size, imm, more)                                                                                       \
    {                                                                                                                  \
        {ROW("add", M | (size) | A_LOCK | (more), set_up_alu_immediate, imm, ALU_ADD), FLAGS(0, ALL)},                 \
        {ROW("or", M | (size) | A_LOCK | (more), set_up_alu_immediate, imm, ALU_OR), FLAGS(0, ALL)},                   \
        {ROW("adc", M | (size) | A_LOCK | (more), set_up_alu_immediate, imm, ALU_ADC), FLAGS(CF, ALL)},                \
        {ROW("sbb", M | (size) | A_LOCK | (more), set_up_alu_immediate, imm, ALU_SBB), FLAGS(CF, ALL)},                \
        {ROW("and", M | (size) | A_LOCK | (more), set_up_alu_immediate, imm, ALU_AND), FLAGS(0, ALL)},                 \
        {ROW("sub", M | (size) | A_LOCK | (more), set_up_alu_immediate, imm, ALU_SUB), FLAGS(0, ALL)},                 \
        {ROW("xor", M | (size) | A_LOCK | (more), set_up_alu_immediate, imm, ALU_XOR), FLAGS(0, ALL)},                 \
        {ROW("cmp", M | (size) | (more), set_up_alu_immediate, imm, ALU_CMP), FLAGS(0, ALL)},                          \
    }
static const struct opcode group_80[8] = GROUP_1(B, IMM_8, 0);
static const struct opcode group_81[8] = GROUP_1(0, IMM_Z, 0);
static const struct opcode group_82[8] = GROUP_1(B, IMM_8, A_NO64);
static const struct opcode group_83[8] = GROUP_1(0, IMM_8, 0);

static const struct opcode group_8f[8] = {{ROW("pop", M | A_DEFAULT64, set_up_pop_rm, IMM_NONE, 0)}};

#define GROUP_2(size, imm, count)                                                                                      \
    {                                                                                                                  \
        {ROW("rol", M | (size), set_up_shift, imm, SHIFT_ROL | (count)), FLAGS(0, CF | OF)},                           \
        {ROW("ror", M | (size), set_up_shift, imm, SHIFT_ROR | (count)), FLAGS(0, CF | OF)},                           \
        {ROW("rcl", M | (size), set_up_shift, imm, SHIFT_RCL | (count)), FLAGS(CF, CF | OF)},                          \
        {ROW("rcr", M | (size), set_up_shift, imm, SHIFT_RCR | (count)), FLAGS(CF, CF | OF)},                          \
        {ROW("shl", M | (size), set_up_shift, imm, SHIFT_SHL | (count)), FLAGS(0, ALL)},                               \
        {ROW("shr", M | (size), set_up_shift, imm, SHIFT_SHR | (count)), FLAGS(0, ALL)},                               \
        {ROW("shl", M | (size), set_up_shift, imm, SHIFT_SHL | (count)), FLAGS(0, ALL)},                               \
        {ROW("sar", M | (size), set_up_shift, imm, SHIFT_SAR | (count)), FLAGS(0, ALL)},                               \
    }
static const struct opcode group_c0[8] = GROUP_2(B, IMM_8, SHIFT_BY_IMMEDIATE);
static const struct opcode group_c1[8] = GROUP_2(0, IMM_8, SHIFT_BY_IMMEDIATE);
static const struct opcode group_d0[8] = GROUP_2(B, IMM_NONE, SHIFT_BY_ONE);
static const struct opcode group_d1[8] = GROUP_2(0, IMM_NONE, SHIFT_BY_ONE);
static const struct opcode group_d2[8] = GROUP_2(B, IMM_NONE, SHIFT_BY_CL);
static const struct opcode group_d3[8] = GROUP_2(0, IMM_NONE, SHIFT_BY_CL);

#define GROUP_3(size, imm)                                                                                             \
    {                                                                                                                  \
        {ROW("test", M | (size), set_up_test_immediate, imm, 0), FLAGS(0, ALL)},                                       \
        {ROW("test", M | (size), set_up_test_immediate, imm, 0), FLAGS(0, ALL)},                                       \
        {ROW("not", M | (size) | A_LOCK, set_up_unary, IMM_NONE, UNARY_NOT)},                                          \
        {ROW("neg", M | (size) | A_LOCK, set_up_unary, IMM_NONE, UNARY_NEG), FLAGS(0, ALL)},                           \
        {ROW("mul", M | (size), set_up_multiply, IMM_NONE, MULTIPLY_MUL), FLAGS(0, ALL)},                              \
        {ROW("imul", M | (size), set_up_multiply, IMM_NONE, MULTIPLY_IMUL), FLAGS(0, ALL)},                            \
        {ROW("div", M | (size), set_up_multiply, IMM_NONE, MULTIPLY_DIV), FLAGS(0, ALL)},                              \
        {ROW("idiv", M | (size), set_up_multiply, IMM_NONE, MULTIPLY_IDIV), FLAGS(0, ALL)},                            \
    }
static const struct opcode group_f6[8] = GROUP_3(B, IMM_8);
static const struct opcode group_f7[8] = GROUP_3(0, IMM_Z);

static const struct opcode group_fe[8] = {
    {ROW("inc", M | B | A_LOCK, set_up_unary, IMM_NONE, UNARY_INC), FLAGS(0, NOT_CF)},
    {ROW("dec", M | B | A_LOCK, set_up_unary, IMM_NONE, UNARY_DEC), FLAGS(0, NOT_CF)},
};
static const struct opcode group_ff[8] = {
    {ROW("inc", M | A_LOCK, set_up_unary, IMM_NONE, UNARY_INC), FLAGS(0, NOT_CF)},
    {ROW("dec", M | A_LOCK, set_up_unary, IMM_NONE, UNARY_DEC), FLAGS(0, NOT_CF)},
    {ROW("call", M | A_FORCE64 | A_ENDS, set_up_call_indirect, IMM_NONE, 0)},
    {DO("call far", M | A_MEMORY | A_ENDS, op_far_call_memory, IMM_NONE)},
    {ROW("jmp", M | A_FORCE64 | A_ENDS, set_up_jmp_indirect, IMM_NONE, 0)},
    {DO("jmp far", M | A_MEMORY | A_ENDS, op_far_jmp_memory, IMM_NONE)},
    {ROW("push", M | A_DEFAULT64, set_up_push_rm, IMM_NONE, 0)},
};
static const struct opcode group_c6[8] = {{ROW("mov", M | B, set_up_mov_immediate, IMM_8, 0)}};
static const struct opcode group_c7[8] = {{ROW("mov", M, set_up_mov_immediate, IMM_Z, 0)}};

static const struct opcode group_0f00[8] = {
    {DO("sldt", M | A_PROTECTED, op_sldt, IMM_NONE)},
    {DO("str", M | A_PROTECTED, op_str, IMM_NONE)},
    {DO("lldt", M | A_PROTECTED | A_CPL0 | A_ENDS, op_lldt, IMM_NONE)},
    {DO("ltr", M | A_PROTECTED | A_CPL0 | A_ENDS, op_ltr, IMM_NONE)},
    {DO("verr", M | A_PROTECTED, op_verr, IMM_NONE), FLAGS(0, RFLAGS_ZF)},
    {DO("verw", M | A_PROTECTED, op_verw, IMM_NONE), FLAGS(0, RFLAGS_ZF)},
};
/* 0F 01: the register forms are chosen by set_up_0f01. */
static const struct opcode group_0f01[8] = {
    {ROW("sgdt", M | A_DEFAULT64, set_up_0f01, IMM_NONE, 0)},   {ROW("sidt", M | A_DEFAULT64, set_up_0f01, IMM_NONE, 1)},
    {ROW("lgdt", M | A_DEFAULT64, set_up_0f01, IMM_NONE, 2)},   {ROW("lidt", M | A_DEFAULT64, set_up_0f01, IMM_NONE, 3)},
    {DO("smsw", M, op_smsw, IMM_NONE)},           {ROW("rdpkru/wrpkru", M | A_REGISTER, set_up_0f01, IMM_NONE, 5)},
    {DO("lmsw", M | A_CPL0 | A_ENDS, op_lmsw, IMM_NONE)}, {ROW("invlpg", M, set_up_0f01, IMM_NONE, 7)},
};
static const struct opcode group_0f0d[8] = {EIGHT(0, DO("prefetchw", M | A_MEMORY, op_nop, IMM_NONE))};
static const struct opcode group_0f18[8] = {EIGHT(0, DO("prefetch", M, op_nop, IMM_NONE))};
/* 0F AE: register forms are fences and FS/GS base access. */
static const struct opcode group_0fae[8] = {
    {ROW("fxsave", M, set_up_0fae, IMM_NONE, 0)},   {ROW("fxrstor", M, set_up_0fae, IMM_NONE, 1)},
    {ROW("ldmxcsr", M, set_up_0fae, IMM_NONE, 2)},  {ROW("stmxcsr", M, set_up_0fae, IMM_NONE, 3)},
    {ROW("xsave", M, set_up_0fae, IMM_NONE, 4)},    {ROW("xrstor", M, set_up_0fae, IMM_NONE, 5)},
    {ROW("xsaveopt", M, set_up_0fae, IMM_NONE, 6)}, {ROW("clflush", M, set_up_0fae, IMM_NONE, 7)},
};
static const struct opcode group_0fba[8] = {
    [4] = {ROW("bt", M, set_up_bit, IMM_8, BIT_TEST), FLAGS(0, CF)},
    [5] = {ROW("bts", M | A_LOCK, set_up_bit, IMM_8, BIT_SET), FLAGS(0, CF)},
    [6] = {ROW("btr", M | A_LOCK, set_up_bit, IMM_8, BIT_RESET), FLAGS(0, CF)},
    [7] = {ROW("btc", M | A_LOCK, set_up_bit, IMM_8, BIT_COMPLEMENT), FLAGS(0, CF)},
};
static const struct opcode group_0fc7[8] = {
    [1] = {ROW("cmpxchg8b", M | A_LOCK, set_up_0fc7, IMM_NONE, 1), FLAGS(0, RFLAGS_ZF)},
    [3] = {ROW("xrstors", M | A_MEMORY, set_up_0fc7, IMM_NONE, 3)},
    [4] = {ROW("xsavec", M | A_MEMORY, set_up_0fc7, IMM_NONE, 4)},
    [5] = {ROW("xsaves", M | A_MEMORY, set_up_0fc7, IMM_NONE, 5)},
    [6] = {ROW("rdrand", M, set_up_0fc7, IMM_NONE, 6), FLAGS(0, ALL)},
    [7] = {ROW("rdseed", M, set_up_0fc7, IMM_NONE, 7), FLAGS(0, ALL)},
};

/* ---- repeated shapes ---- */

#define ALU_SIX(base, n, x, lock)                                                                                      \
    [(base)] = {ROW(n, M | B | (lock), set_up_alu_store, IMM_NONE, x), FLAGS(ALU_READS(x), ALL)},                      \
    [(base) + 1] = {ROW(n, M | (lock), set_up_alu_store, IMM_NONE, x), FLAGS(ALU_READS(x), ALL)},                      \
    [(base) + 2] = {ROW(n, M | B, set_up_alu_load, IMM_NONE, x), FLAGS(ALU_READS(x), ALL)},                            \
    [(base) + 3] = {ROW(n, M, set_up_alu_load, IMM_NONE, x), FLAGS(ALU_READS(x), ALL)},                                \
    [(base) + 4] = {ROW(n, B, set_up_alu_accumulator, IMM_8, x), FLAGS(ALU_READS(x), ALL)},                            \
    [(base) + 5] = {ROW(n, 0, set_up_alu_accumulator, IMM_Z, x), FLAGS(ALU_READS(x), ALL)}

#define SIXTEEN(F, first)                                                                                              \
    F(first, 0), F(first, 1), F(first, 2), F(first, 3), F(first, 4), F(first, 5), F(first, 6), F(first, 7),            \
        F(first, 8), F(first, 9), F(first, 10), F(first, 11), F(first, 12), F(first, 13), F(first, 14), F(first, 15)
#define JCC_8(first, n) [(first) + (n)] = {ROW("jcc", A_FORCE64, set_up_jcc, IMM_REL8, n), FLAGS(CONDITION_FLAGS(n), 0)}
#define JCC_Z(first, n) [(first) + (n)] = {ROW("jcc", A_FORCE64, set_up_jcc, IMM_REL_Z, n), FLAGS(CONDITION_FLAGS(n), 0)}
#define CMOV(first, n)                                                                                                 \
    [(first) + (n)] = {ROW("cmovcc", M, set_up_cmov, IMM_NONE, n), NEEDS(CMOV), FLAGS(CONDITION_FLAGS(n), 0)}
#define SETCC(first, n)                                                                                                \
    [(first) + (n)] = {ROW("setcc", M | B, set_up_setcc, IMM_NONE, n), FLAGS(CONDITION_FLAGS(n), 0)}

#define SIMD(imm) {ROW("simd", M, set_up_simd, imm, 0)}
#define SIMD4(first) [(first)] = SIMD(IMM_NONE), [(first) + 1] = SIMD(IMM_NONE), [(first) + 2] = SIMD(IMM_NONE), \
    [(first) + 3] = SIMD(IMM_NONE)
#define SIMD16(first) SIMD4(first), SIMD4((first) + 4), SIMD4((first) + 8), SIMD4((first) + 12)
#define SIMD_8 SIMD(IMM_8)

const struct opcode opcode_table[4][256] = {
    [MAP_ONE] = {
        ALU_SIX(0x00, "add", ALU_ADD, A_LOCK),
        [0x06] = {ROW("push", A_NO64, set_up_push_seg, IMM_NONE, 0)}, [0x07] = {ROW("pop", A_NO64 | A_ENDS, set_up_pop_seg, IMM_NONE, 0)},
        ALU_SIX(0x08, "or", ALU_OR, A_LOCK),
        [0x0e] = {ROW("push", A_NO64, set_up_push_seg, IMM_NONE, 0)},
        [0x0f] = {ROW("pop", A_NO64 | A_ENDS, set_up_pop_seg, IMM_NONE, 0)}, /* of the 8086 */
        ALU_SIX(0x10, "adc", ALU_ADC, A_LOCK),
        [0x16] = {ROW("push", A_NO64, set_up_push_seg, IMM_NONE, 0)}, [0x17] = {ROW("pop", A_NO64 | A_ENDS, set_up_pop_seg, IMM_NONE, 0)},
        ALU_SIX(0x18, "sbb", ALU_SBB, A_LOCK),
        [0x1e] = {ROW("push", A_NO64, set_up_push_seg, IMM_NONE, 0)}, [0x1f] = {ROW("pop", A_NO64 | A_ENDS, set_up_pop_seg, IMM_NONE, 0)},
        ALU_SIX(0x20, "and", ALU_AND, A_LOCK),
        [0x27] = {DO("daa", A_NO64, op_daa, IMM_NONE), FLAGS(CF | RFLAGS_AF, ALL)},
        ALU_SIX(0x28, "sub", ALU_SUB, A_LOCK),
        [0x2f] = {DO("das", A_NO64, op_das, IMM_NONE), FLAGS(CF | RFLAGS_AF, ALL)},
        ALU_SIX(0x30, "xor", ALU_XOR, A_LOCK),
        [0x37] = {DO("aaa", A_NO64, op_aaa, IMM_NONE), FLAGS(RFLAGS_AF, ALL)},
        ALU_SIX(0x38, "cmp", ALU_CMP, 0),
        [0x3f] = {DO("aas", A_NO64, op_aas, IMM_NONE), FLAGS(RFLAGS_AF, ALL)},
        EIGHT(0x40, ROW("inc", A_NO64, set_up_unary_short, IMM_NONE, UNARY_INC), FLAGS(0, NOT_CF)),
        EIGHT(0x48, ROW("dec", A_NO64, set_up_unary_short, IMM_NONE, UNARY_DEC), FLAGS(0, NOT_CF)),
        EIGHT(0x50, ROW("push", A_DEFAULT64, set_up_push, IMM_NONE, 0)),
        EIGHT(0x58, ROW("pop", A_DEFAULT64, set_up_pop, IMM_NONE, 0)),
        [0x60] = {DO("pusha", A_NO64, op_pusha, IMM_NONE)}, [0x61] = {DO("popa", A_NO64, op_popa, IMM_NONE)},
        [0x62] = {DO("bound", M | A_NO64 | A_MEMORY, op_bound, IMM_NONE)},
        [0x63] = {ROW("movsxd/arpl", M, set_up_63, IMM_NONE, 0)},
        [0x68] = {ROW("push", A_DEFAULT64, set_up_push_immediate, IMM_Z, 0)},
        [0x69] = {ROW("imul", M, set_up_imul, IMM_Z, 1), FLAGS(0, ALL)},
        [0x6a] = {ROW("push", A_DEFAULT64, set_up_push_immediate, IMM_8, 0)},
        [0x6b] = {ROW("imul", M, set_up_imul, IMM_8, 1), FLAGS(0, ALL)},
        [0x6c] = {DO("ins", B | A_ENDS, op_ins, IMM_NONE)}, [0x6d] = {ROW("ins", A_ENDS, set_up_ins, IMM_NONE, 0)},
        [0x6e] = {DO("outs", B | A_ENDS, op_outs, IMM_NONE)}, [0x6f] = {ROW("outs", A_ENDS, set_up_ins, IMM_NONE, 1)},
        SIXTEEN(JCC_8, 0x70),
        [0x80] = {GROUP(group_80)}, [0x81] = {GROUP(group_81)}, [0x82] = {GROUP(group_82)}, [0x83] = {GROUP(group_83)},
        [0x84] = {ROW("test", M | B, set_up_test, IMM_NONE, 0), FLAGS(0, ALL)},
        [0x85] = {ROW("test", M, set_up_test, IMM_NONE, 0), FLAGS(0, ALL)},
        [0x86] = {ROW("xchg", M | B | A_LOCK, set_up_xchg, IMM_NONE, 0)},
        [0x87] = {ROW("xchg", M | A_LOCK, set_up_xchg, IMM_NONE, 0)},
        [0x88] = {ROW("mov", M | B, set_up_mov_store, IMM_NONE, 0)}, [0x89] = {ROW("mov", M, set_up_mov_store, IMM_NONE, 0)},
        [0x8a] = {ROW("mov", M | B, set_up_mov_load, IMM_NONE, 0)}, [0x8b] = {ROW("mov", M, set_up_mov_load, IMM_NONE, 0)},
        [0x8c] = {DO("mov", M, op_mov_from_seg, IMM_NONE)},
        [0x8d] = {ROW("lea", M | A_MEMORY, set_up_lea, IMM_NONE, 0)},
        [0x8e] = {DO("mov", M | A_ENDS, op_mov_to_seg, IMM_NONE)},
        [0x8f] = {GROUP(group_8f)},
        EIGHT(0x90, ROW("xchg", 0, set_up_xchg_accumulator, IMM_NONE, 0)),
        [0x98] = {ROW("cbw", 0, set_up_convert, IMM_NONE, 0)}, [0x99] = {ROW("cwd", 0, set_up_convert, IMM_NONE, 1)},
        [0x9a] = {DO("call far", A_NO64 | A_ENDS, op_far_call, IMM_FAR)},
        [0x9b] = {DO("fwait", 0, op_fwait, IMM_NONE)},
        [0x9c] = {ROW("pushf", A_DEFAULT64, set_up_plain, IMM_NONE, 0), .fn = op_pushf, FLAGS(ALL, 0)},
        [0x9d] = {DO("popf", A_DEFAULT64 | A_ENDS, op_popf, IMM_NONE), FLAGS(0, ALL)},
        [0x9e] = {ROW("sahf", 0, set_up_lahf, IMM_NONE, 1), FLAGS(0, ALL & ~OF)},
        [0x9f] = {ROW("lahf", 0, set_up_lahf, IMM_NONE, 0), FLAGS(ALL & ~OF, 0)},
        [0xa0] = {ROW("mov", B, set_up_mov_offset, IMM_OFFSET, 0)}, [0xa1] = {ROW("mov", 0, set_up_mov_offset, IMM_OFFSET, 0)},
        [0xa2] = {ROW("mov", B, set_up_mov_offset, IMM_OFFSET, 1)}, [0xa3] = {ROW("mov", 0, set_up_mov_offset, IMM_OFFSET, 1)},
        [0xa4] = {ROW("movs", B, set_up_string, IMM_NONE, STRING_MOVS)}, [0xa5] = {ROW("movs", 0, set_up_string, IMM_NONE, STRING_MOVS)},
        [0xa6] = {ROW("cmps", B, set_up_string, IMM_NONE, STRING_CMPS), FLAGS(0, ALL)},
        [0xa7] = {ROW("cmps", 0, set_up_string, IMM_NONE, STRING_CMPS), FLAGS(0, ALL)},
        [0xa8] = {ROW("test", B, set_up_test_accumulator, IMM_8, 0), FLAGS(0, ALL)},
        [0xa9] = {ROW("test", 0, set_up_test_accumulator, IMM_Z, 0), FLAGS(0, ALL)},
        [0xaa] = {ROW("stos", B, set_up_string, IMM_NONE, STRING_STOS)}, [0xab] = {ROW("stos", 0, set_up_string, IMM_NONE, STRING_STOS)},
        [0xac] = {ROW("lods", B, set_up_string, IMM_NONE, STRING_LODS)}, [0xad] = {ROW("lods", 0, set_up_string, IMM_NONE, STRING_LODS)},
        [0xae] = {ROW("scas", B, set_up_string, IMM_NONE, STRING_SCAS), FLAGS(0, ALL)},
        [0xaf] = {ROW("scas", 0, set_up_string, IMM_NONE, STRING_SCAS), FLAGS(0, ALL)},
        EIGHT(0xb0, ROW("mov", B, set_up_mov_short, IMM_8, 0)),
        EIGHT(0xb8, ROW("mov", 0, set_up_mov_short, IMM_V, 0)),
        [0xc0] = {GROUP(group_c0)}, [0xc1] = {GROUP(group_c1)},
        [0xc2] = {ROW("ret", A_FORCE64 | A_ENDS, set_up_ret, IMM_16, 0)}, [0xc3] = {ROW("ret", A_FORCE64 | A_ENDS, set_up_ret, IMM_NONE, 0)},
        [0xc4] = {ROW("les", M | A_NO64 | A_MEMORY | A_ENDS, set_up_load_far, IMM_NONE, 0)},
        [0xc5] = {ROW("lds", M | A_NO64 | A_MEMORY | A_ENDS, set_up_load_far, IMM_NONE, 0)},
        [0xc6] = {GROUP(group_c6)}, [0xc7] = {GROUP(group_c7)},
        [0xc8] = {DO("enter", A_DEFAULT64, op_enter, IMM_16_8)}, [0xc9] = {ROW("leave", A_DEFAULT64, set_up_leave, IMM_NONE, 0)},
        [0xca] = {DO("ret far", A_ENDS, op_far_ret, IMM_16)}, [0xcb] = {DO("ret far", A_ENDS, op_far_ret, IMM_NONE)},
        [0xcc] = {DO("int3", A_ENDS, op_int3, IMM_NONE)}, [0xcd] = {DO("int", A_ENDS, op_int, IMM_8)},
        [0xce] = {DO("into", A_NO64 | A_ENDS, op_into, IMM_NONE), FLAGS(OF, 0)},
        [0xcf] = {DO("iret", A_ENDS, op_iret, IMM_NONE), FLAGS(0, ALL)},
        [0xd0] = {GROUP(group_d0)}, [0xd1] = {GROUP(group_d1)}, [0xd2] = {GROUP(group_d2)}, [0xd3] = {GROUP(group_d3)},
        [0xd4] = {DO("aam", A_NO64, op_aam, IMM_8), FLAGS(0, ALL)}, [0xd5] = {DO("aad", A_NO64, op_aad, IMM_8), FLAGS(0, ALL)},
        [0xd6] = {DO("salc", A_NO64, op_salc, IMM_NONE), FLAGS(CF, 0)},
        [0xd7] = {DO("xlat", 0, op_xlat, IMM_NONE)},
        EIGHT(0xd8, ROW("x87", M, set_up_x87, IMM_NONE, 0)),
        [0xe0] = {ROW("loopne", A_FORCE64 | A_ENDS, set_up_loop, IMM_REL8, LOOP_NE), FLAGS(RFLAGS_ZF, 0)},
        [0xe1] = {ROW("loope", A_FORCE64 | A_ENDS, set_up_loop, IMM_REL8, LOOP_E), FLAGS(RFLAGS_ZF, 0)},
        [0xe2] = {ROW("loop", A_FORCE64 | A_ENDS, set_up_loop, IMM_REL8, LOOP_ALWAYS)},
        [0xe3] = {ROW("jrcxz", A_FORCE64 | A_ENDS, set_up_loop, IMM_REL8, LOOP_CXZ)},
        [0xe4] = {DO("in", B | A_ENDS, op_in_imm, IMM_8)}, [0xe5] = {ROW("in", A_ENDS, set_up_in, IMM_8, 0)},
        [0xe6] = {DO("out", B | A_ENDS, op_out_imm, IMM_8)}, [0xe7] = {ROW("out", A_ENDS, set_up_in, IMM_8, 1)},
        [0xe8] = {ROW("call", A_FORCE64 | A_ENDS, set_up_call, IMM_REL_Z, 0)},
        [0xe9] = {ROW("jmp", A_FORCE64 | A_ENDS, set_up_jmp, IMM_REL_Z, 0)},
        [0xea] = {DO("jmp far", A_NO64 | A_ENDS, op_far_jmp, IMM_FAR)},
        [0xeb] = {ROW("jmp", A_FORCE64 | A_ENDS, set_up_jmp, IMM_REL8, 0)},
        [0xec] = {DO("in", B | A_ENDS, op_in_dx, IMM_NONE)}, [0xed] = {ROW("in", A_ENDS, set_up_in, IMM_NONE, 2)},
        [0xee] = {DO("out", B | A_ENDS, op_out_dx, IMM_NONE)}, [0xef] = {ROW("out", A_ENDS, set_up_in, IMM_NONE, 3)},
        [0xf1] = {DO("int1", A_ENDS, op_int1, IMM_NONE)},
        [0xf4] = {DO("hlt", A_CPL0 | A_ENDS, op_hlt, IMM_NONE)}, [0xf5] = {DO("cmc", 0, op_cmc, IMM_NONE), FLAGS(CF, CF)},
        [0xf6] = {GROUP(group_f6)}, [0xf7] = {GROUP(group_f7)},
        [0xf8] = {DO("clc", 0, op_clc, IMM_NONE), FLAGS(0, CF)}, [0xf9] = {DO("stc", 0, op_stc, IMM_NONE), FLAGS(0, CF)},
        [0xfa] = {DO("cli", 0, op_cli, IMM_NONE)}, [0xfb] = {DO("sti", A_ENDS, op_sti, IMM_NONE)},
        [0xfc] = {DO("cld", 0, op_cld, IMM_NONE)}, [0xfd] = {DO("std", 0, op_std, IMM_NONE)},
        [0xfe] = {GROUP(group_fe)}, [0xff] = {GROUP(group_ff)},
    },
    [MAP_0F] = {
        [0x00] = {GROUP(group_0f00)}, [0x01] = {GROUP(group_0f01)},
        [0x02] = {DO("lar", M | A_PROTECTED, op_lar, IMM_NONE), FLAGS(0, RFLAGS_ZF)},
        [0x03] = {DO("lsl", M | A_PROTECTED, op_lsl, IMM_NONE), FLAGS(0, RFLAGS_ZF)},
        [0x05] = {DO("syscall", A_ENDS, op_syscall, IMM_NONE), NEEDS(SYSCALL)},
        [0x06] = {DO("clts", A_CPL0 | A_ENDS, op_clts, IMM_NONE)},
        [0x07] = {DO("sysret", A_ENDS, op_sysret, IMM_NONE), NEEDS(SYSCALL)},
        [0x08] = {DO("invd", A_CPL0 | A_ENDS, op_invd, IMM_NONE)}, [0x09] = {DO("wbinvd", A_CPL0 | A_ENDS, op_wbinvd, IMM_NONE)},
        [0x0b] = {DO("ud2", A_ENDS, op_ud, IMM_NONE)},
        [0x0d] = {GROUP(group_0f0d)},
        SIMD4(0x10), SIMD4(0x14), [0x18] = {GROUP(group_0f18)},
        [0x19] = {DO("nop", M, op_nop, IMM_NONE)}, [0x1a] = {DO("nop", M, op_nop, IMM_NONE)}, [0x1b] = {DO("nop", M, op_nop, IMM_NONE)},
        [0x1c] = {DO("nop", M, op_nop, IMM_NONE)}, [0x1d] = {DO("nop", M, op_nop, IMM_NONE)}, [0x1e] = {DO("nop", M, op_nop, IMM_NONE)},
        [0x1f] = {DO("nop", M, op_nop, IMM_NONE)},
        [0x20] = {ROW("mov", M | A_MODRM_REGISTER | A_CPL0 | A_ENDS, set_up_control_register, IMM_NONE, 0), .fn = op_mov_from_cr},
        [0x21] = {ROW("mov", M | A_MODRM_REGISTER | A_CPL0 | A_ENDS, set_up_debug_register, IMM_NONE, 0), .fn = op_mov_from_dr},
        [0x22] = {ROW("mov", M | A_MODRM_REGISTER | A_CPL0 | A_ENDS, set_up_control_register, IMM_NONE, 0), .fn = op_mov_to_cr},
        [0x23] = {ROW("mov", M | A_MODRM_REGISTER | A_CPL0 | A_ENDS, set_up_debug_register, IMM_NONE, 0), .fn = op_mov_to_dr},
        SIMD4(0x28), SIMD4(0x2c),
        [0x30] = {DO("wrmsr", A_CPL0 | A_ENDS, op_wrmsr, IMM_NONE), NEEDS(MSR)},
        [0x31] = {DO("rdtsc", 0, op_rdtsc, IMM_NONE), NEEDS(TSC)},
        [0x32] = {DO("rdmsr", A_CPL0 | A_ENDS, op_rdmsr, IMM_NONE), NEEDS(MSR)},
        [0x33] = {DO("rdpmc", A_ENDS, op_rdpmc, IMM_NONE)},
        [0x34] = {DO("sysenter", A_ENDS, op_sysenter, IMM_NONE), NEEDS(SEP)},
        [0x35] = {DO("sysexit", A_ENDS, op_sysexit, IMM_NONE), NEEDS(SEP)},
        SIXTEEN(CMOV, 0x40),
        SIMD16(0x50), SIMD16(0x60),
        [0x70] = SIMD_8, [0x71] = SIMD_8, [0x72] = SIMD_8, [0x73] = SIMD_8,
        [0x74] = SIMD(IMM_NONE), [0x75] = SIMD(IMM_NONE), [0x76] = SIMD(IMM_NONE),
        [0x77] = {ROW("emms", 0, set_up_emms, IMM_NONE, 0), NEEDS(MMX)},
        SIMD4(0x7c),
        SIXTEEN(JCC_Z, 0x80), SIXTEEN(SETCC, 0x90),
        [0xa0] = {ROW("push", A_DEFAULT64, set_up_push_seg, IMM_NONE, 0)}, [0xa1] = {ROW("pop", A_DEFAULT64 | A_ENDS, set_up_pop_seg, IMM_NONE, 0)},
        [0xa2] = {DO("cpuid", A_ENDS, op_cpuid, IMM_NONE)},
        [0xa3] = {ROW("bt", M, set_up_bit, IMM_NONE, BIT_TEST | BIT_BY_REGISTER), FLAGS(0, CF)},
        [0xa4] = {ROW("shld", M, set_up_double_shift, IMM_8, 0), FLAGS(0, ALL)}, [0xa5] = {ROW("shld", M, set_up_double_shift, IMM_NONE, 1), FLAGS(0, ALL)},
        [0xa8] = {ROW("push", A_DEFAULT64, set_up_push_seg, IMM_NONE, 0)}, [0xa9] = {ROW("pop", A_DEFAULT64 | A_ENDS, set_up_pop_seg, IMM_NONE, 0)},
        [0xaa] = {DO("rsm", A_ENDS, op_ud, IMM_NONE)},
        [0xab] = {ROW("bts", M | A_LOCK, set_up_bit, IMM_NONE, BIT_SET | BIT_BY_REGISTER), FLAGS(0, CF)},
        [0xac] = {ROW("shrd", M, set_up_double_shift, IMM_8, 2), FLAGS(0, ALL)}, [0xad] = {ROW("shrd", M, set_up_double_shift, IMM_NONE, 3), FLAGS(0, ALL)},
        [0xae] = {GROUP(group_0fae)},
        [0xaf] = {ROW("imul", M, set_up_imul, IMM_NONE, 0), FLAGS(0, ALL)},
        [0xb0] = {ROW("cmpxchg", M | B | A_LOCK, set_up_cmpxchg, IMM_NONE, 0), FLAGS(0, ALL)},
        [0xb1] = {ROW("cmpxchg", M | A_LOCK, set_up_cmpxchg, IMM_NONE, 0), FLAGS(0, ALL)},
        [0xb2] = {ROW("lss", M | A_MEMORY | A_ENDS, set_up_load_far, IMM_NONE, 0)},
        [0xb3] = {ROW("btr", M | A_LOCK, set_up_bit, IMM_NONE, BIT_RESET | BIT_BY_REGISTER), FLAGS(0, CF)},
        [0xb4] = {ROW("lfs", M | A_MEMORY | A_ENDS, set_up_load_far, IMM_NONE, 0)}, [0xb5] = {ROW("lgs", M | A_MEMORY | A_ENDS, set_up_load_far, IMM_NONE, 0)},
        [0xb6] = {ROW("movzx", M, set_up_extend, IMM_NONE, EXTEND_ZERO | 1)}, [0xb7] = {ROW("movzx", M, set_up_extend, IMM_NONE, EXTEND_ZERO | 2)},
        [0xb8] = {ROW("popcnt", M, set_up_bit_scan, IMM_NONE, 2), NEEDS(POPCNT), FLAGS(0, ALL)},
        [0xb9] = {DO("ud1", M | A_ENDS, op_ud, IMM_NONE)},
        [0xba] = {GROUP(group_0fba)},
        [0xbb] = {ROW("btc", M | A_LOCK, set_up_bit, IMM_NONE, BIT_COMPLEMENT | BIT_BY_REGISTER), FLAGS(0, CF)},
        [0xbc] = {ROW("bsf", M, set_up_bit_scan, IMM_NONE, 0), FLAGS(0, ALL)}, [0xbd] = {ROW("bsr", M, set_up_bit_scan, IMM_NONE, 1), FLAGS(0, ALL)},
        [0xbe] = {ROW("movsx", M, set_up_extend, IMM_NONE, EXTEND_SIGN | 1)}, [0xbf] = {ROW("movsx", M, set_up_extend, IMM_NONE, EXTEND_SIGN | 2)},
        [0xc0] = {ROW("xadd", M | B | A_LOCK, set_up_xadd, IMM_NONE, 0), FLAGS(0, ALL)}, [0xc1] = {ROW("xadd", M | A_LOCK, set_up_xadd, IMM_NONE, 0), FLAGS(0, ALL)},
        [0xc2] = SIMD_8, [0xc3] = SIMD(IMM_NONE), [0xc4] = SIMD_8, [0xc5] = SIMD_8, [0xc6] = SIMD_8,
        [0xc7] = {GROUP(group_0fc7)},
        EIGHT(0xc8, ROW("bswap", 0, set_up_bswap, IMM_NONE, 0)),
        SIMD16(0xd0), SIMD16(0xe0),
        SIMD4(0xf0), SIMD4(0xf4), SIMD4(0xf8), [0xfc] = SIMD(IMM_NONE), [0xfd] = SIMD(IMM_NONE), [0xfe] = SIMD(IMM_NONE),
        [0xff] = {DO("ud0", M | A_ENDS, op_ud, IMM_NONE)},
    },
    [MAP_0F38] = {
        SIMD16(0x00), SIMD16(0x10), SIMD16(0x20), SIMD16(0x30), SIMD4(0x40),
        SIMD4(0xc8), [0xcc] = SIMD(IMM_NONE), [0xcd] = SIMD(IMM_NONE), [0xdb] = SIMD(IMM_NONE), SIMD4(0xdc),
        [0x82] = {ROW("invpcid", M | A_MEMORY | A_CPL0 | A_ENDS, set_up_invpcid, IMM_NONE, 0), NEEDS(INVPCID)},
        [0xf6] = {ROW("adcx/adox", M, set_up_adx, IMM_NONE, 0), NEEDS(ADX), FLAGS(CF | OF, CF | OF)},
        [0xf0] = {ROW("movbe", M, set_up_movbe, IMM_NONE, 0)}, [0xf1] = {ROW("movbe", M, set_up_movbe, IMM_NONE, 1)},
    },
    [MAP_0F3A] = {
        [0x08] = SIMD_8, [0x09] = SIMD_8, [0x0a] = SIMD_8, [0x0b] = SIMD_8, [0x0c] = SIMD_8, [0x0d] = SIMD_8,
        [0x0e] = SIMD_8, [0x0f] = SIMD_8, [0x14] = SIMD_8, [0x15] = SIMD_8, [0x16] = SIMD_8, [0x17] = SIMD_8,
        [0x20] = SIMD_8, [0x21] = SIMD_8, [0x22] = SIMD_8, [0x40] = SIMD_8, [0x41] = SIMD_8, [0x42] = SIMD_8,
        [0x44] = SIMD_8, [0xcc] = SIMD_8, [0xdf] = SIMD_8,
        [0x60] = SIMD_8, [0x61] = SIMD_8, [0x62] = SIMD_8, [0x63] = SIMD_8,
    },
};
