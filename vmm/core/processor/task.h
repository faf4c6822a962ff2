/* Task switches (SDM vol. 3, 8.3). */
#ifndef BRINGUP_TASK_H
#define BRINGUP_TASK_H

#include "cpu.h"

/* As the exit qualification of a task switch has it (SDM vol. 3, table 28-2). */
enum task_source { TASK_CALL = 0, TASK_IRET = 1, TASK_JMP = 2, TASK_GATE = 3 };

/* Switches to the TSS of `selector`; `next_rip` is what the old TSS saves. RIP is that of the instruction (or of the
 * interrupted one), which may be its own `op` or NULL. Checks come first and raise in the old task; in non-root
 * operation the VM exit follows them; faults while the new task is loaded raise in the new task (op NULL). */
void task_switch(struct processor *cpu, const struct op *op, uint16_t selector, enum task_source source,
                 uint64_t next_rip, bool has_error, uint32_t error);

/* SS and ESP for privilege `cpl` from the current 16- or 32-bit TSS, with all checks (#TS); returns SS's selector as an
 * error code for faults of the pushes. */
uint32_t inner_stack(struct processor *cpu, const struct op *op, unsigned cpl, struct vcpu_segment *ss, uint32_t *esp);
/* From the 64-bit TSS: RSP of a privilege, or of entry `ist` of the interrupt-stack table when that is not 0. */
uint64_t inner_stack64(struct processor *cpu, const struct op *op, unsigned cpl, unsigned ist);

#endif
