/* Operand values: what is special as often as what is ordinary. */
#ifndef BRINGUP_ORACLE_OPERANDS_H
#define BRINGUP_ORACLE_OPERANDS_H

#include "layout.h"

uint64_t operand_value(uint64_t *random);
uint32_t operand_mxcsr(uint64_t *random);
void operand_memory(uint8_t *to, unsigned size, uint64_t *random); /* a multiple of 16 bytes */
void operand_float_state(uint8_t *fx, uint8_t (*ymm)[16], uint64_t *random);

#endif
