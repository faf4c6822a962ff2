/* What the integer files give to the opcode table: set-ups with the meanings of their row arguments, and handlers. */
#ifndef BRINGUP_INTEGER_H
#define BRINGUP_INTEGER_H

#include "decode.h"

/* alu.c */
enum alu { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP };
enum unary { UNARY_INC, UNARY_DEC, UNARY_NOT, UNARY_NEG };
bool set_up_alu_store(struct decode *d);       /* r/m, r */
bool set_up_alu_load(struct decode *d);        /* r, r/m */
bool set_up_alu_accumulator(struct decode *d); /* AL or rAX, imm */
bool set_up_alu_immediate(struct decode *d);   /* r/m, imm */
bool set_up_adx(struct decode *d); /* ADCX, ADOX */
bool set_up_test(struct decode *d);
bool set_up_test_accumulator(struct decode *d);
bool set_up_test_immediate(struct decode *d);
bool set_up_unary(struct decode *d);
bool set_up_unary_short(struct decode *d); /* 40h-4Fh */

/* shift.c */
enum shift {
    SHIFT_ROL, SHIFT_ROR, SHIFT_RCL, SHIFT_RCR, SHIFT_SHL, SHIFT_SHR, SHIFT_SAR = 7,
    SHIFT_BY_IMMEDIATE = 0x00, SHIFT_BY_ONE = 0x10, SHIFT_BY_CL = 0x20
};
bool set_up_shift(struct decode *d);
bool set_up_double_shift(struct decode *d); /* bit 0: by CL; bit 1: right */

/* multiply.c */
enum multiply { MULTIPLY_MUL, MULTIPLY_IMUL, MULTIPLY_DIV, MULTIPLY_IDIV };
bool set_up_multiply(struct decode *d);
bool set_up_imul(struct decode *d); /* 1: with an immediate */
HANDLER(op_daa);
HANDLER(op_das);
HANDLER(op_aaa);
HANDLER(op_aas);
HANDLER(op_aam);
HANDLER(op_aad);

/* bit.c */
enum bit { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT, BIT_BY_REGISTER = 4 };
bool set_up_bit(struct decode *d);
bool set_up_bit_scan(struct decode *d); /* 0 BSF/TZCNT, 1 BSR/LZCNT, 2 POPCNT */
bool set_up_bmi(struct decode *d);

/* move.c */
enum extend { EXTEND_ZERO = 0, EXTEND_SIGN = 8 }; /* | source size */
bool set_up_mov_store(struct decode *d);
bool set_up_mov_load(struct decode *d);
bool set_up_mov_immediate(struct decode *d);
bool set_up_mov_short(struct decode *d);  /* B0h-BFh */
bool set_up_mov_offset(struct decode *d); /* 1: store */
bool set_up_extend(struct decode *d);
bool set_up_63(struct decode *d); /* MOVSXD or ARPL */
bool set_up_lea(struct decode *d);
bool set_up_xchg(struct decode *d);
bool set_up_xchg_accumulator(struct decode *d); /* and NOP, PAUSE */
bool set_up_cmpxchg(struct decode *d);
bool set_up_xadd(struct decode *d);
bool set_up_bswap(struct decode *d);
bool set_up_movbe(struct decode *d); /* and CRC32 */
bool set_up_cmov(struct decode *d);
bool set_up_setcc(struct decode *d);
bool set_up_convert(struct decode *d);
bool set_up_lahf(struct decode *d);
bool set_up_plain(struct decode *d);
HANDLER(op_nop);
HANDLER(op_xlat);
HANDLER(op_salc);
HANDLER(op_cmc);
HANDLER(op_clc);
HANDLER(op_stc);
HANDLER(op_cld);
HANDLER(op_std);

/* stack.c */
bool set_up_push(struct decode *d);
bool set_up_push_rm(struct decode *d);
bool set_up_push_immediate(struct decode *d);
bool set_up_pop(struct decode *d);
bool set_up_pop_rm(struct decode *d);
bool set_up_leave(struct decode *d);
HANDLER(op_pusha);
HANDLER(op_popa);
HANDLER(op_enter);

/* branch.c */
enum loop { LOOP_NE, LOOP_E, LOOP_ALWAYS, LOOP_CXZ };
bool set_up_jcc(struct decode *d);
bool set_up_jmp(struct decode *d);
bool set_up_call(struct decode *d);
bool set_up_jmp_indirect(struct decode *d);
bool set_up_call_indirect(struct decode *d);
bool set_up_ret(struct decode *d);
bool set_up_loop(struct decode *d);
HANDLER(op_bound);
HANDLER(op_trace_end);
HANDLER(op_trace_end_legacy);
HANDLER(op_stale);

/* string.c */
enum string { STRING_MOVS, STRING_CMPS, STRING_STOS, STRING_LODS, STRING_SCAS };
bool set_up_string(struct decode *d);
HANDLER(op_rep_string);

/* choose.c: opcodes whose meaning depends on more than the opcode bits */
bool set_up_0f01(struct decode *d);
bool set_up_0fae(struct decode *d);
bool set_up_0fc7(struct decode *d);
bool set_up_ins(struct decode *d); /* 0 INS, 1 OUTS: operands of at most 4 bytes */
bool set_up_in(struct decode *d);  /* IN, OUT by immediate; 2, 3 by DX */
bool set_up_invpcid(struct decode *d);
bool set_up_emms(struct decode *d);

#endif
