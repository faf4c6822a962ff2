/* A parallel port with no printer (IBM PC AT technical reference, "Parallel port"; PS/2: the direction bit). The
 * inputs are pulled up, so the printer that is not there is busy, and no acknowledge ever interrupts. */
#ifndef BRINGUP_PARALLEL_H
#define BRINGUP_PARALLEL_H

#include "fields.h"

/* Registers, counted from the first (378h). */
enum { PARALLEL_DATA = 0, PARALLEL_STATUS = 1, PARALLEL_CONTROL = 2 };
enum {
    PARALLEL_STATUS_ERROR = 1 << 3,  /* active low */
    PARALLEL_STATUS_SELECT = 1 << 4,
    PARALLEL_STATUS_PAPER = 1 << 5,  /* out of it */
    PARALLEL_STATUS_ACK = 1 << 6,    /* active low */
    PARALLEL_STATUS_BUSY = 1 << 7,   /* inverted */
};
enum {
    PARALLEL_CONTROL_STROBE = 1 << 0,
    PARALLEL_CONTROL_AUTO_FEED = 1 << 1,
    PARALLEL_CONTROL_INITIALIZE = 1 << 2, /* active low */
    PARALLEL_CONTROL_SELECT = 1 << 3,
    PARALLEL_CONTROL_INTERRUPT = 1 << 4, /* enabled */
    PARALLEL_CONTROL_LATCH = 31 << 0,    /* all of these */
    PARALLEL_CONTROL_INPUT = 1 << 5,     /* the data are read from the lines; not readable */
};

#define PARALLEL_STATE(VALUE, PART, owner)                                                                             \
    VALUE(owner, uint8_t, data, )                                                                                      \
    VALUE(owner, uint8_t, control, )
STATE_STRUCT(parallel, PARALLEL_STATE);

void parallel_reset(struct parallel *parallel);
uint8_t parallel_read(const struct parallel *parallel, unsigned reg);
void parallel_write(struct parallel *parallel, unsigned reg, uint8_t value);

#endif
