/* What the integer handlers share: register writes by size, the host's flags, conditions, handler tables. */
#ifndef BRINGUP_OPERANDS_H
#define BRINGUP_OPERANDS_H

#include "memory.h"

#define SET8(cpu, offset, value) (REG8(cpu, offset) = (uint8_t)(value))
#define SET16(cpu, offset, value) (REG16(cpu, offset) = (uint16_t)(value))
#define SET32(cpu, offset, value) (REG64(cpu, offset) = (uint32_t)(value))
#define SET64(cpu, offset, value) (REG64(cpu, offset) = (value))

/* Leave the host's arithmetic flags in EAX as vcpu_state.flags has them. */
#define HOST_FLAGS "\n\tlahf\n\tseto %%al"
/* Load CF from vcpu_state.flags (an operand named `flags`). */
#define GUEST_CF "btw $8, %[flags]\n\t"

#define SIZES(X, ...) X(8, __VA_ARGS__) X(16, __VA_ARGS__) X(32, __VA_ARGS__) X(64, __VA_ARGS__)

/* 0 to 3 for 1, 2, 4 and 8 bytes. */
static inline unsigned size_index(unsigned bytes)
{
    return __builtin_ctz(bytes);
}

/* Condition n (SDM vol. 1, appendix B) of the guest's flags. */
static inline __attribute__((always_inline)) bool condition(const struct processor *cpu, unsigned n)
{
    uint32_t f = cpu->s.flags;
    bool result;
    switch (n >> 1) {
    case 0: result = f & FLAG_OF; break;
    case 1: result = f & FLAG_CF; break;
    case 2: result = f & FLAG_ZF; break;
    case 3: result = f & (FLAG_CF | FLAG_ZF); break;
    case 4: result = f & FLAG_SF; break;
    case 5: result = f & FLAG_PF; break;
    case 6: result = (f >> 15 ^ f) & 1; break;
    default: result = ((f >> 15 ^ f) & 1) | (f & FLAG_ZF); break;
    }
    return result != (n & 1);
}

#define CONDITIONS(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

#endif
