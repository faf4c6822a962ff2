/* The debug port (E9h, as on Bochs and QEMU): a byte written is a byte said. A line that begins with "panic" or
 * "Kernel panic" is how a guest without a driver for anything else says that it has panicked. */
#ifndef BRINGUP_DEBUG_PORT_H
#define BRINGUP_DEBUG_PORT_H

#include "fields.h"

#define DEBUG_PORT_LINE 12 /* as many bytes of a line as can matter */

#define DEBUG_PORT_STATE(VALUE, PART, owner)                                                                           \
    VALUE(owner, uint8_t, line, [DEBUG_PORT_LINE]) /* how the line that is being written begins */                     \
    VALUE(owner, uint8_t, length, )
STATE_STRUCT(debug_port, DEBUG_PORT_STATE);

void debug_port_reset(struct debug_port *port);
/* What a guest reads to tell that the port is there. */
uint8_t debug_port_read(const struct debug_port *port);
/* True: this byte makes the line one that says "panic". */
bool debug_port_write(struct debug_port *port, uint8_t value);

#endif
