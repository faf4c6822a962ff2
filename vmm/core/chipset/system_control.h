/* What is left of the AT's glue logic: system control ports A (92h) and B (61h) (IBM PS/2 technical reference), the
 * reset control register (CF9h, PIIX3, Intel 290550) and the POST code port (80h). */
#ifndef BRINGUP_SYSTEM_CONTROL_H
#define BRINGUP_SYSTEM_CONTROL_H

#include "fields.h"

enum {
    PORT_A_FAST_RESET = 1 << 0,
    PORT_A_A20 = 1 << 1, /* the A20 gate, open after reset: the board's firmware has run */
    PORT_A_SECURITY_LOCK = 1 << 3,
    PORT_A_WATCHDOG = 1 << 4, /* has run out: there is none */
    PORT_A_ACTIVITY = 3 << 6, /* lights */
};
enum {
    PORT_B_GATE2 = 1 << 0,
    PORT_B_SPEAKER = 1 << 1,
    PORT_B_PARITY_OFF = 1 << 2, /* SERR# makes no NMI */
    PORT_B_CHANNEL_OFF = 1 << 3, /* nor does IOCHK# */
    PORT_B_WRITABLE = 15 << 0,
    PORT_B_REFRESH = 1 << 4, /* toggles with each memory refresh */
    PORT_B_OUT2 = 1 << 5,
    PORT_B_CHANNEL_CHECK = 1 << 6, /* IOCHK#, which nothing here asserts */
    PORT_B_PARITY_CHECK = 1 << 7,  /* SERR#, likewise */
};
/* SRST: a hard reset; both are one here. RCPU: its edge resets. */
enum { RESET_CONTROL_SRST = 1 << 1, RESET_CONTROL_RCPU = 1 << 2 };

#define SYSTEM_CONTROL_STATE(VALUE, PART, owner)                                                                       \
    VALUE(owner, uint8_t, port_a, )                                                                                    \
    VALUE(owner, uint8_t, port_b, )                                                                                    \
    VALUE(owner, uint8_t, reset_control, )                                                                             \
    VALUE(owner, uint8_t, post_code, )
STATE_STRUCT(system_control, SYSTEM_CONTROL_STATE);

void system_control_reset(struct system_control *control);
uint8_t system_control_read_a(const struct system_control *control);
/* True: the write resets the machine. */
bool system_control_write_a(struct system_control *control, uint8_t value);
bool system_control_write_reset(struct system_control *control, uint8_t value);
uint8_t system_control_read_b(const struct system_control *control, bool out2, uint64_t now);
/* The level that GATE 2 of the PIT gets. */
bool system_control_write_b(struct system_control *control, uint8_t value);

#endif
