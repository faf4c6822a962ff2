#include "parallel.h"

#include <string.h>

STATE_TABLE(parallel, PARALLEL_STATE);

#define OPEN_LINES 0xff
#define STATUS_UNUSED 7  /* bits 2:0 */
#define CONTROL_UNUSED 0xe0

void parallel_reset(struct parallel *parallel)
{
    memset(parallel, 0, sizeof *parallel);
}

uint8_t parallel_read(const struct parallel *parallel, unsigned reg)
{
    switch (reg) {
    case PARALLEL_DATA:
        return parallel->control & PARALLEL_CONTROL_INPUT ? OPEN_LINES : parallel->data;
    case PARALLEL_STATUS: /* BUSY is high too, and inverted */
        return PARALLEL_STATUS_ERROR | PARALLEL_STATUS_SELECT | PARALLEL_STATUS_PAPER | PARALLEL_STATUS_ACK |
               STATUS_UNUSED;
    case PARALLEL_CONTROL:
        return (uint8_t)((parallel->control & PARALLEL_CONTROL_LATCH) | CONTROL_UNUSED);
    default:
        return OPEN_LINES;
    }
}

void parallel_write(struct parallel *parallel, unsigned reg, uint8_t value)
{
    if (reg == PARALLEL_DATA)
        parallel->data = value;
    else if (reg == PARALLEL_CONTROL)
        parallel->control = value & (PARALLEL_CONTROL_LATCH | PARALLEL_CONTROL_INPUT);
}
