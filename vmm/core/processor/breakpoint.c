#include "breakpoint.h"

#include "events.h"

static bool enabled(const struct processor *cpu, unsigned n)
{
    return cpu->s.dr7 >> n * 2 & 3; /* L or G */
}

static enum breakpoint kind_of(const struct processor *cpu, unsigned n)
{
    return cpu->s.dr7 >> (16 + n * 4) & 3;
}

/* An instruction's breakpoint is on its first byte, whatever LEN says. */
static uint64_t length_of(const struct processor *cpu, unsigned n)
{
    static const uint8_t lengths[4] = {1, 2, 8, 4};
    return kind_of(cpu, n) == BREAK_FETCH ? 1 : lengths[cpu->s.dr7 >> (18 + n * 4) & 3];
}

uint8_t breakpoint_kinds(const struct processor *cpu)
{
    unsigned kinds = 0;
    if (likely(!(cpu->s.dr7 & DR7_ENABLES)))
        return 0;
    for (unsigned n = 0; n < 4; n++)
        if (enabled(cpu, n))
            kinds |= 1u << kind_of(cpu, n);
    return cpu->s.cr4 & CR4_DE ? kinds : kinds & ~(1u << BREAK_IO);
}

uint64_t breakpoints_met(const struct processor *cpu, enum breakpoint kind, uint64_t from, uint64_t size)
{
    uint64_t met = 0;
    for (unsigned n = 0; n < 4; n++) {
        uint64_t length = length_of(cpu, n), at = cpu->s.registers.dr[n] & ~(length - 1);
        if (enabled(cpu, n) && kind_of(cpu, n) == kind && from < at + length && at < from + size)
            met |= 1ull << n;
    }
    return met;
}
