/* A PS/2 mouse with two or three buttons (IBM PS/2 Hardware Interface Technical Reference, "Auxiliary device"), which
 * becomes one with a wheel when the sample rates 200, 100, 80 are set one after the other (Microsoft, "IntelliMouse").
 *
 * Movement is given in counts; the resolution is kept for the status only. */
#ifndef BRINGUP_PS2_MOUSE_H
#define BRINGUP_PS2_MOUSE_H

#include "fields.h"

#define PS2_MOUSE_REPLIES 8

enum {
    PS2_MOUSE_SCALING_1 = 0xe6,
    PS2_MOUSE_SCALING_2 = 0xe7,
    PS2_MOUSE_RESOLUTION = 0xe8,
    PS2_MOUSE_STATUS = 0xe9,
    PS2_MOUSE_STREAM = 0xea,
    PS2_MOUSE_READ = 0xeb,
    PS2_MOUSE_WRAP_OFF = 0xec,
    PS2_MOUSE_WRAP = 0xee,
    PS2_MOUSE_REMOTE = 0xf0,
    PS2_MOUSE_IDENTIFY = 0xf2,
    PS2_MOUSE_RATE = 0xf3,
    PS2_MOUSE_ENABLE = 0xf4,
    PS2_MOUSE_DISABLE = 0xf5,
    PS2_MOUSE_DEFAULT = 0xf6,
    PS2_MOUSE_RESEND = 0xfe,
    PS2_MOUSE_RESET = 0xff,
};
enum { PS2_MOUSE_ERROR = 0xfc /* a second byte in a row that is none that the mouse takes */ };
enum { PS2_MOUSE_ID = 0x00, PS2_MOUSE_ID_WHEEL = 0x03 };
/* Byte 0 of the status. */
enum {
    PS2_MOUSE_STATUS_RIGHT = 1 << 0,
    PS2_MOUSE_STATUS_MIDDLE = 1 << 1,
    PS2_MOUSE_STATUS_LEFT = 1 << 2,
    PS2_MOUSE_STATUS_SCALING_2 = 1 << 4,
    PS2_MOUSE_STATUS_ENABLED = 1 << 5,
    PS2_MOUSE_STATUS_REMOTE = 1 << 6,
};
/* Byte 0 of a report, and what `buttons` holds. */
enum {
    PS2_MOUSE_LEFT = 1 << 0,
    PS2_MOUSE_RIGHT = 1 << 1,
    PS2_MOUSE_MIDDLE = 1 << 2,
    PS2_MOUSE_ALWAYS = 1 << 3,
    PS2_MOUSE_X_SIGN = 1 << 4,
    PS2_MOUSE_Y_SIGN = 1 << 5,
    PS2_MOUSE_X_OVERFLOW = 1 << 6,
    PS2_MOUSE_Y_OVERFLOW = 1 << 7,
};

#define PS2_MOUSE_STATE(VALUE, PART, owner)                                                                            \
    VALUE(owner, uint8_t, id, )                                                                                        \
    VALUE(owner, bool, enabled, )                                                                                      \
    VALUE(owner, bool, remote, )                                                                                       \
    VALUE(owner, bool, wrap, )                                                                                         \
    VALUE(owner, bool, scaling_2, )                                                                                    \
    VALUE(owner, uint8_t, resolution, )                                                                                \
    VALUE(owner, uint8_t, rate, )           /* reports a second */                                                     \
    VALUE(owner, uint8_t, knocks, )         /* how many of 200, 100, 80 have come in a row */                          \
    VALUE(owner, uint8_t, command, )        /* which waits for its option byte, or 0 */                                \
    VALUE(owner, bool, in_error, )          /* the last byte was wrong */                                              \
    VALUE(owner, uint8_t, buttons, )                                                                                   \
    VALUE(owner, int32_t, dx, )             /* movement since the last report: right, up, wheel towards the user */    \
    VALUE(owner, int32_t, dy, )                                                                                        \
    VALUE(owner, int32_t, dz, )                                                                                        \
    VALUE(owner, bool, moved, )             /* something is to be reported */                                          \
    VALUE(owner, uint8_t, replies, [PS2_MOUSE_REPLIES]) /* answers and reports */                                      \
    VALUE(owner, uint8_t, replies_used, )                                                                              \
    VALUE(owner, uint8_t, sent, [4])        /* the last answer or report, for a resend */                              \
    VALUE(owner, uint8_t, sent_used, )                                                                                 \
    VALUE(owner, uint64_t, bat_at, )        /* times, or MACHINE_NEVER */                                              \
    VALUE(owner, uint64_t, report_at, )     /* not before then */
STATE_STRUCT(ps2_mouse, PS2_MOUSE_STATE);

/* Power, some time ago: its test has passed and nobody has listened. */
void ps2_mouse_reset(struct ps2_mouse *mouse);
/* A byte from the controller. */
void ps2_mouse_receive(struct ps2_mouse *mouse, uint8_t value, uint64_t now);
bool ps2_mouse_has_byte(const struct ps2_mouse *mouse);
uint8_t ps2_mouse_take(struct ps2_mouse *mouse, uint64_t now);
/* It is moved (right, up, wheel towards the user) and its buttons are these now. */
void ps2_mouse_move(struct ps2_mouse *mouse, int32_t dx, int32_t dy, int32_t dz, uint8_t buttons, uint64_t now);

void ps2_mouse_advance(struct ps2_mouse *mouse, uint64_t now);
uint64_t ps2_mouse_deadline(const struct ps2_mouse *mouse);

#endif
