/* The inline functions of ticks.h, where a test can call them. */
#include "ticks.h"

uint64_t test_ticks_at(uint64_t now, uint64_t hertz);
uint64_t test_time_of_tick(uint64_t tick, uint64_t hertz);

uint64_t test_ticks_at(uint64_t now, uint64_t hertz)
{
    return ticks_at(now, hertz);
}

uint64_t test_time_of_tick(uint64_t tick, uint64_t hertz)
{
    return time_of_tick(tick, hertz);
}
