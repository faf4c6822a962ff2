/* Exact conversion between guest nanoseconds and the ticks of a chip's crystal.
 *
 * Tick n happens at the first nanosecond t with floor(t * hertz / 1e9) >= n. Whole seconds are split off first, so
 * nothing overflows or drifts in the 584 years that 64 bits of nanoseconds last (hertz below 2^33). */
#ifndef BRINGUP_TICKS_H
#define BRINGUP_TICKS_H

#include <stdint.h>

#include "../machine.h"

#define NS_PER_SECOND 1000000000ULL

static inline uint64_t ticks_at(uint64_t now, uint64_t hertz)
{
    return now / NS_PER_SECOND * hertz + now % NS_PER_SECOND * hertz / NS_PER_SECOND;
}

/* MACHINE_NEVER for ticks beyond the end of time. */
static inline uint64_t time_of_tick(uint64_t tick, uint64_t hertz)
{
    uint64_t seconds = tick / hertz, rest = tick % hertz;

    if (seconds >= UINT64_MAX / NS_PER_SECOND)
        return MACHINE_NEVER;
    return seconds * NS_PER_SECOND + (rest * NS_PER_SECOND + hertz - 1) / hertz;
}

static inline uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

#endif
