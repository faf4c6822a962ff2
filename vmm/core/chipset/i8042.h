/* 8042 keyboard controller of the PS/2 (IBM PS/2 technical reference, "Keyboard and auxiliary device controller") and
 * what is plugged into its two ports. A byte sent to a port with nothing plugged in comes back as a time-out.
 *
 * A byte of a device takes I8042_BYTE_NS on the wire (11 bits at 16.7 kHz), and sets out when the output buffer is empty
 * and its port enabled. A byte for a device takes no time, nor does a command, so the input buffer is never full. */
#ifndef BRINGUP_I8042_H
#define BRINGUP_I8042_H

#include "fields.h"
#include "ps2_keyboard.h"
#include "ps2_mouse.h"

#define I8042_BYTE_NS 660000

enum {
    I8042_STATUS_OBF = 1 << 0,
    I8042_STATUS_IBF = 1 << 1, /* never */
    I8042_STATUS_SYSTEM = 1 << 2,
    I8042_STATUS_COMMAND = 1 << 3, /* the last write went to the command port */
    I8042_STATUS_UNLOCKED = 1 << 4,
    I8042_STATUS_AUX = 1 << 5,
    I8042_STATUS_TIMEOUT = 1 << 6,
    I8042_STATUS_PARITY = 1 << 7, /* never */
};
/* The command byte, byte 0 of the controller's memory. */
enum {
    I8042_CB_KEYBOARD_INTERRUPT = 1 << 0,
    I8042_CB_AUX_INTERRUPT = 1 << 1,
    I8042_CB_SYSTEM = 1 << 2,
    I8042_CB_OVERRIDE = 1 << 3, /* the AT's keyboard lock; nothing is locked */
    I8042_CB_KEYBOARD_DISABLED = 1 << 4,
    I8042_CB_AUX_DISABLED = 1 << 5,
    I8042_CB_TRANSLATE = 1 << 6,
};
/* The output port; beyond the first two it is as it was written, and drives nothing. */
enum {
    I8042_OUTPUT_RESET = 1 << 0, /* active low */
    I8042_OUTPUT_A20 = 1 << 1,
    I8042_OUTPUT_AUX_DATA = 1 << 2,
    I8042_OUTPUT_AUX_CLOCK = 1 << 3,
    I8042_OUTPUT_IRQ1 = 1 << 4,
    I8042_OUTPUT_IRQ12 = 1 << 5,
    I8042_OUTPUT_KEYBOARD_CLOCK = 1 << 6,
    I8042_OUTPUT_KEYBOARD_DATA = 1 << 7,
};

#define I8042_STATE(VALUE, PART, owner)                                                                                \
    VALUE(owner, uint8_t, status, )                                                                                    \
    VALUE(owner, uint8_t, output, )        /* the output buffer */                                                     \
    VALUE(owner, uint8_t, memory, [32])                                                                                \
    VALUE(owner, uint8_t, output_port, )                                                                               \
    VALUE(owner, uint8_t, command, )       /* which waits for its byte at port 60h, or 0 */                            \
    VALUE(owner, bool, keyboard_irq, )                                                                                 \
    VALUE(owner, bool, aux_irq, )                                                                                      \
    VALUE(owner, bool, keyboard_plugged, )                                                                             \
    VALUE(owner, bool, mouse_plugged, )                                                                                \
    VALUE(owner, uint64_t, arrives_at, )   /* when the byte on the wire is here, or MACHINE_NEVER */                   \
    VALUE(owner, bool, translated_break, ) /* F0h was the keyboard's last byte: the next one gets bit 7 */             \
    PART(owner, ps2_keyboard, keyboard, )                                                                              \
    PART(owner, ps2_mouse, mouse, )
STATE_STRUCT(i8042, I8042_STATE);

/* Power, with these devices. */
void i8042_reset(struct i8042 *kbc, bool keyboard, bool mouse);
uint8_t i8042_read_data(struct i8042 *kbc, uint64_t now);
uint8_t i8042_read_status(const struct i8042 *kbc);
/* True: the write pulled the processor's reset line. */
bool i8042_write_data(struct i8042 *kbc, uint8_t value, uint64_t now);
bool i8042_write_command(struct i8042 *kbc, uint8_t value, uint64_t now);

/* Somebody types (events: ps2_keyboard.h; returns how many are taken) and moves the mouse. Without the device nothing
 * happens, and all events are taken. */
size_t i8042_type(struct i8042 *kbc, const uint32_t *events, size_t count, uint64_t now);
void i8042_move(struct i8042 *kbc, int32_t dx, int32_t dy, int32_t dz, uint8_t buttons, uint64_t now);

void i8042_advance(struct i8042 *kbc, uint64_t now);
uint64_t i8042_deadline(const struct i8042 *kbc);

#endif
