/* Interrupts and exceptions (SDM vol. 3, chapter 6) as the rest of processor/ sees them. */
#ifndef BRINGUP_EVENTS_H
#define BRINGUP_EVENTS_H

#include "op.h"

/* For cpu_run after it unwound with LEAVE_EXCEPTION, and for debug traps: delivers cpu->fault, with its effects on CR2,
 * DR6 and DR7. When it arose while cpu->delivering was being delivered, the two may make a double fault (table 6-5).
 * In non-root operation it may be a VM exit. False: triple fault, shutdown. */
bool deliver_fault(struct processor *cpu);

/* Is RF set in the image of RFLAGS that the event's handler returns with (18.3.1.1)? */
bool event_sets_rf(const struct event *event);

/* INT n, INT3, INTO and INT1 as the last operation of their trace: delivers and counts the instruction. */
void deliver_software_event(struct processor *cpu, const struct op *op, unsigned vector, enum event_type type);

/* Bit 12 of vcpu_state.pending_debug: a data or I/O breakpoint that DR7 enables was met (SDM vol. 3, table 25-4). */
#define PENDING_BREAKPOINT (1ull << 12)
/* DR6 */
#define DR6_BD (1ull << 13)
#define DR6_BS (1ull << 14)
#define DR6_BT (1ull << 15)
/* DR7: L0 to G3; general detect */
#define DR7_ENABLES 0xffull
#define DR7_GD (1ull << 13)

/* EXT of an error code (6.13): does the fault arise while an event from outside the program is delivered? */
static inline uint32_t external_event(const struct processor *cpu)
{
    return unlikely(cpu->delivering_valid) && cpu->delivering.type != EVENT_SOFTWARE_INTERRUPT &&
           cpu->delivering.type != EVENT_SOFTWARE_EXCEPTION;
}

#endif
