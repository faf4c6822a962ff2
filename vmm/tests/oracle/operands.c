#include "operands.h"

#include <string.h>

uint64_t operand_value(uint64_t *random)
{
    uint64_t value = random_next(random);
    switch (random_below(random, 6)) {
    case 0: return (int64_t)(value % 41) - 20;
    case 1: return (1ull << value % 64) + (value >> 32) % 3 - 1;
    case 2: return (0x80ull << 8 * (value % 8)) - (value >> 32) % 2;
    case 3: return value >> value % 64;
    default: return value;
    }
}

/* Mostly all exceptions masked. */
uint32_t operand_mxcsr(uint64_t *random)
{
    uint32_t value = random_next(random) & 0xffff;
    switch (random_below(random, 8)) {
    case 0: return value;
    case 1: return value | 0x1f80;
    case 2: return (value & 0xffc0) ; /* some unmasked, no flag yet */
    default: return 0x1f80 | (value & 0x6000) | (value & 1 ? 0 : value & 0x8040);
    }
}

static uint32_t single(uint64_t *random)
{
    static const uint32_t special[] = {
        0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0xffc12345,
        0x00000001, 0x80000001, 0x007fffff, 0x00800000, 0x7f7fffff, 0x4b000000, 0x4f000000, 0xcf000000, 0x5f000000,
    };
    uint64_t value = random_next(random);
    uint32_t fraction = value & 0x807fffff, exponent = value >> 32;
    switch (value >> 62) {
    case 0: return special[exponent % (sizeof special / sizeof *special)];
    case 1: return value;
    case 2: return fraction | (0x70 + exponent % 0x20) << 23;
    default: return fraction | (exponent & 1 ? exponent >> 1 & 7 : 0xf8 + (exponent >> 1) % 7) << 23;
    }
}

static uint64_t double_number(uint64_t *random)
{
    static const uint64_t special[] = {
        0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x7ff0000000000000,
        0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, 0x0000000000000001, 0x000fffffffffffff,
        0x0010000000000000, 0x7fefffffffffffff, 0x41dfffffffc00000, 0xc1e0000000000000, 0x43e0000000000000,
        0x3810000000000000, 0x36a0000000000000,
    };
    uint64_t value = random_next(random), more = random_next(random), fraction = value & 0x800fffffffffffff;
    switch (more & 3) {
    case 0: return special[(more >> 2) % (sizeof special / sizeof *special)];
    case 1: return value;
    case 2: return fraction | (0x3f0 + (more >> 2) % 0x20) << 52;
    default: return fraction | (more & 4 ? more >> 3 & 7 : 0x360 + (more >> 3) % 0x30) << 52;
    }
}

static void vector(uint8_t *to, uint64_t *random)
{
    uint64_t kind = random_next(random);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t value;
        switch (kind & 3) {
        case 0: value = single(random) | (uint64_t)single(random) << 32; break;
        case 1: value = double_number(random); break;
        case 2: value = random_next(random); break;
        default: value = random_next(random) & 0x0101010101010101 * (kind >> 8 & 0xff); break;
        }
        memcpy(to + 8 * i, &value, 8);
    }
}

void operand_memory(uint8_t *to, unsigned size, uint64_t *random)
{
    for (unsigned at = 0; at < size; at += 16)
        vector(to + at, random);
}

static void extended(uint8_t *to, uint64_t *random)
{
    static const struct {
        uint16_t exponent;
        uint64_t significand;
    } special[] = {
        {0, 0}, {0, 1ull << 63}, {0x3fff, 1ull << 63}, {0x7fff, 1ull << 63}, {0x7fff, 3ull << 62},
        {0x7fff, 5ull << 61}, {0x7fff, 0}, {0, 1}, {1, 1ull << 62}, {0x3fff, 1}, {0x7ffe, ~0ull},
        {0x401d, 1ull << 63}, {0x403e, 1ull << 63}, {0x3fbf, ~0ull},
    };
    uint64_t value = random_next(random), more = random_next(random);
    uint16_t exponent = more >> 16 & 0x7fff, sign = more >> 32 & 0x8000;
    switch (more & 3) {
    case 0:
        exponent = special[exponent % (sizeof special / sizeof *special)].exponent;
        value = special[(more >> 16 & 0x7fff) % (sizeof special / sizeof *special)].significand;
        break;
    case 1: break;
    case 2: exponent = 0x3fff - 40 + exponent % 110, value |= 1ull << 63; break;
    default: exponent = 0x3fff + exponent % 20, value = (value & 0x1fff) << 50 | 1ull << 63; break;
    }
    exponent |= sign;
    memcpy(to, &value, 8);
    memcpy(to + 8, &exponent, 2);
    memset(to + 10, 0, 6);
}

void operand_float_state(uint8_t *fx, uint8_t (*ymm)[16], uint64_t *random)
{
    uint64_t value = random_next(random);
    uint16_t fcw = 0x40 | (value & 0xf00) | (value >> 12 & 3 ? 0x3f : value >> 16 & 0x3f);
    uint16_t fsw = (value >> 24 & 0x7f00) & 0x7f00;
    uint32_t mxcsr = operand_mxcsr(random);
    if ((value >> 40 & 3) == 0)
        fsw |= value >> 42 & 0x7f;
    fsw |= fsw & ~fcw & 0x3f ? 0x8080 : 0;
    memset(fx, 0, 512);
    memcpy(fx, &fcw, 2);
    memcpy(fx + 2, &fsw, 2);
    fx[4] = value >> 52 & 1 ? value >> 56 : 0xff;
    memcpy(fx + 24, &mxcsr, 4);
    fx[28] = fx[29] = 0xff;
    for (unsigned i = 0; i < 8; i++)
        extended(fx + 32 + 16 * i, random);
    operand_memory(fx + 160, 256, random);
    operand_memory(ymm[0], 256, random);
}
