/* The run loop and what shares it. */
#ifndef BRINGUP_RUN_H
#define BRINGUP_RUN_H

#include "op.h"

/* Runs the one instruction at RIP (one iteration of a REP), with cpu->bus in place of absent memory when that is set.
 * LEAVE_BUDGET: it retired; LEAVE_EXCEPTION: cpu->fault says what it raised, nothing else changed (CR2 is not yet
 * set); else why it did not retire. Events are neither looked for nor delivered. */
enum leave cpu_run_one(struct processor *cpu);
/* The same for at most `iterations` of a REP; `done` are those that retired. */
enum leave cpu_run_iterations(struct processor *cpu, uint64_t iterations, uint64_t *done);

/* An event (an interrupt, one that VM entry injects) for the next cpu_run to deliver before it does anything else. */
void cpu_deliver_first(struct processor *cpu, const struct event *event);

/* The length of the instruction that cpu_run_one last decoded. */
unsigned cpu_last_length(const struct processor *cpu);

/* Calls `work` so that raise_fault and leave_run within it unwind to here (with op NULL): LEAVE_NONE when it returned. */
enum leave cpu_protect(struct processor *cpu, void (*work)(struct processor *cpu, void *argument), void *argument);

#endif
