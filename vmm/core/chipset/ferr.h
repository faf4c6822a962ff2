/* The AT's coprocessor-error logic between FERR#, IRQ 13 and IGNNE# (SDM vol. 1, appendix D; Intel 290549): an x87 error
 * interrupts, and the handler's write to port F0h takes the interrupt back and has the processor ignore the error for as
 * long as it lasts. */
#ifndef BRINGUP_FERR_H
#define BRINGUP_FERR_H

#include "fields.h"

#define FERR_STATE(VALUE, PART, owner)                                                                                 \
    VALUE(owner, bool, ferr, )  /* the pin of the first processor */                                                   \
    VALUE(owner, bool, irq13, ) /* latched by its rising edge */                                                       \
    VALUE(owner, bool, ignne, )
STATE_STRUCT(ferr, FERR_STATE);

void ferr_reset(struct ferr *ferr);
void ferr_set_pin(struct ferr *ferr, bool level);
/* Port F0h or F1h, any value */
void ferr_write(struct ferr *ferr);

#endif
