/* 8042 keyboard controller of the PS/2 (IBM PS/2 technical reference, "Keyboard and auxiliary device controller") with
 * nothing plugged into either port: a byte sent to a device comes back as a time-out. */
#ifndef BRINGUP_I8042_H
#define BRINGUP_I8042_H

#include "fields.h"

enum {
    I8042_STATUS_OBF = 1 << 0,
    I8042_STATUS_SYSTEM = 1 << 2,
    I8042_STATUS_COMMAND = 1 << 3, /* the last write went to the command port */
    I8042_STATUS_UNLOCKED = 1 << 4,
    I8042_STATUS_AUX = 1 << 5,
    I8042_STATUS_TIMEOUT = 1 << 6,
};
/* The command byte, byte 0 of the controller's memory. */
enum {
    I8042_CB_KEYBOARD_INTERRUPT = 1 << 0,
    I8042_CB_AUX_INTERRUPT = 1 << 1,
    I8042_CB_SYSTEM = 1 << 2,
    I8042_CB_KEYBOARD_DISABLED = 1 << 4,
    I8042_CB_AUX_DISABLED = 1 << 5,
    I8042_CB_TRANSLATE = 1 << 6,
};
enum { I8042_OUTPUT_RESET = 1 << 0 /* active low */, I8042_OUTPUT_A20 = 1 << 1 };

#define I8042_STATE(VALUE, PART, owner)                                                                                \
    VALUE(owner, uint8_t, status, )                                                                                    \
    VALUE(owner, uint8_t, output, )        /* the output buffer */                                                     \
    VALUE(owner, uint8_t, memory, [32])                                                                                \
    VALUE(owner, uint8_t, output_port, )                                                                               \
    VALUE(owner, uint8_t, command, )       /* which waits for its byte at port 60h, or 0 */                            \
    VALUE(owner, bool, keyboard_irq, )                                                                                 \
    VALUE(owner, bool, aux_irq, )
STATE_STRUCT(i8042, I8042_STATE);

void i8042_reset(struct i8042 *kbc);
uint8_t i8042_read_data(struct i8042 *kbc);
uint8_t i8042_read_status(const struct i8042 *kbc);
/* True: the write pulled the processor's reset line. */
bool i8042_write_data(struct i8042 *kbc, uint8_t value);
bool i8042_write_command(struct i8042 *kbc, uint8_t value);

#endif
