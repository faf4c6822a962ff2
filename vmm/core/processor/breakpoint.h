/* The breakpoints that DR0 to DR3 hold (SDM vol. 3, 18.2.4 and 18.2.5). */
#ifndef BRINGUP_BREAKPOINT_H
#define BRINGUP_BREAKPOINT_H

#include "cpu.h"

/* R/W fields of DR7. I/O breakpoints want CR4.DE. */
enum breakpoint { BREAK_FETCH, BREAK_WRITE, BREAK_IO, BREAK_ACCESS };

/* A bit for each kind that DR7 enables: for cpu->breakpoints. */
uint8_t breakpoint_kinds(const struct processor *cpu);

static inline bool breakpoints_armed(const struct processor *cpu, enum breakpoint kind)
{
    return unlikely(cpu->breakpoints >> kind & 1);
}

/* DR6's B bits for the breakpoints of `kind` that `size` bytes (or ports) from `from` on meet. */
uint64_t breakpoints_met(const struct processor *cpu, enum breakpoint kind, uint64_t from, uint64_t size);

#endif
