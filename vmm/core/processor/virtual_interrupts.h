/* Virtual interrupts: VME in virtual-8086 mode, PVI at CPL 3 of protected mode (SDM vol. 3, 21.3.3, 21.4). */
#ifndef BRINGUP_VIRTUAL_INTERRUPTS_H
#define BRINGUP_VIRTUAL_INTERRUPTS_H

#include "segment.h"

/* Does code that IOPL does not let at IF have VIF in its place? */
static inline bool has_virtual_interrupts(const struct processor *cpu)
{
    return cpu->s.cpl == 3 && cpu->s.cr4 & (v86_mode(cpu) ? CR4_VME : CR4_PVI);
}

/* PUSHF, POPF and IRET with operands of `size` bytes in virtual-8086 mode: false, IOPL is 3 and they are what they are
 * elsewhere; true, their IF is VIF; else #GP(0). */
bool v86_flags_are_virtual(struct processor *cpu, const struct op *op, unsigned size);
/* FLAGS as such a PUSHF and an INT n store them: IOPL 3 and VIF for IF. */
uint16_t v86_flags_stored(const struct processor *cpu);
/* RFLAGS after such a POPF or IRET loaded `value`, but for IOPL and IF; #GP(0) when it sets TF, or IF with VIP set. */
uint64_t v86_flags_loaded(struct processor *cpu, const struct op *op, uint16_t value);

/* INT n in virtual-8086 mode: true, the interrupt redirection bitmap keeps it there, and it has gone through the table
 * at address 0; false: to the protected-mode handler; #GP(0) when IOPL forbids that. */
bool v86_interrupt(struct processor *cpu, const struct op *op, uint8_t vector);

#endif
