/* A 101/102-key PS/2 keyboard (IBM PS/2 Hardware Interface Technical Reference, "Keyboards (101- and 102-Key)").
 *
 * In front of it sits a typist: a bounded queue of key events, each with the guest time that it comes after the one
 * before. The typist waits while the keyboard does not scan and while its buffer is nearly full, so that what is typed
 * is not lost; what a guest itself makes of it is the guest's.
 *
 * The basic assurance test takes 5 ms, not 300 to 500 as IBM's: guests poll for its end. */
#ifndef BRINGUP_PS2_KEYBOARD_H
#define BRINGUP_PS2_KEYBOARD_H

#include "fields.h"

#define PS2_BAT_NS 5000000
#define PS2_KEYBOARD_FIFO 16
#define PS2_KEYBOARD_REPLIES 4
#define PS2_KEYBOARD_QUEUE 1024

/* Commands. */
enum {
    PS2_KEYBOARD_LEDS = 0xed,
    PS2_KEYBOARD_ECHO = 0xee,
    PS2_KEYBOARD_SCAN_SET = 0xf0,
    PS2_KEYBOARD_IDENTIFY = 0xf2,
    PS2_KEYBOARD_TYPEMATIC = 0xf3,
    PS2_KEYBOARD_ENABLE = 0xf4,
    PS2_KEYBOARD_DEFAULT_DISABLE = 0xf5,
    PS2_KEYBOARD_DEFAULT = 0xf6,
    PS2_KEYBOARD_ALL_TYPEMATIC = 0xf7, /* F7h to FAh: all keys; FBh to FDh: the keys whose set 3 codes follow */
    PS2_KEYBOARD_ALL_MAKE_BREAK = 0xf8,
    PS2_KEYBOARD_ALL_MAKE = 0xf9,
    PS2_KEYBOARD_ALL_TYPEMATIC_MAKE_BREAK = 0xfa,
    PS2_KEYBOARD_KEY_TYPEMATIC = 0xfb,
    PS2_KEYBOARD_KEY_MAKE_BREAK = 0xfc,
    PS2_KEYBOARD_KEY_MAKE = 0xfd,
    PS2_KEYBOARD_RESEND = 0xfe,
    PS2_KEYBOARD_RESET = 0xff,
};
/* Answers. */
enum { PS2_ACKNOWLEDGE = 0xfa, PS2_RESEND = 0xfe, PS2_BAT_PASSED = 0xaa };
enum { PS2_LED_SCROLL = 1 << 0, PS2_LED_NUM = 1 << 1, PS2_LED_CAPS = 1 << 2 };
/* What a key does in set 3. */
enum { PS2_KEY_BREAKS = 1 << 0, PS2_KEY_REPEATS = 1 << 1 };

/* A key event: the key's number (ps2_codes.h) in bits 7:0; going down, else up; milliseconds to wait before it. */
enum { PS2_EVENT_KEY = 0xff, PS2_EVENT_DOWN = 1 << 8 };
#define PS2_EVENT_DELAY_SHIFT 16

#define PS2_KEYBOARD_STATE(VALUE, PART, owner)                                                                         \
    VALUE(owner, uint8_t, scan_set, )                                                                                  \
    VALUE(owner, bool, scanning, )                                                                                     \
    VALUE(owner, uint8_t, leds, )                                                                                      \
    VALUE(owner, uint8_t, typematic, )      /* delay 6:5, rate 4:0 */                                                  \
    VALUE(owner, uint8_t, command, )        /* which waits for its option byte, or 0 */                                \
    VALUE(owner, uint8_t, last, )           /* byte sent, for a resend */                                              \
    VALUE(owner, uint8_t, modes, [256])     /* by set 3 code */                                                        \
    VALUE(owner, uint8_t, down, [32])       /* a bit for each key */                                                   \
    VALUE(owner, uint8_t, fifo, [PS2_KEYBOARD_FIFO])                                                                   \
    VALUE(owner, uint8_t, fifo_first, )                                                                                \
    VALUE(owner, uint8_t, fifo_used, )                                                                                 \
    VALUE(owner, uint8_t, replies, [PS2_KEYBOARD_REPLIES]) /* to a command; they go before the buffer */               \
    VALUE(owner, uint8_t, replies_used, )                                                                              \
    VALUE(owner, uint64_t, bat_at, )        /* times, or MACHINE_NEVER */                                              \
    VALUE(owner, uint8_t, repeated, )       /* the key that repeats */                                                 \
    VALUE(owner, uint64_t, repeat_at, )                                                                                \
    VALUE(owner, uint32_t, queue, [PS2_KEYBOARD_QUEUE]) /* the typist's */                                             \
    VALUE(owner, uint32_t, queue_first, )                                                                              \
    VALUE(owner, uint32_t, queue_used, )                                                                               \
    VALUE(owner, uint64_t, typed_at, )      /* when the first of the queue is typed, as soon as that can be */
STATE_STRUCT(ps2_keyboard, PS2_KEYBOARD_STATE);

/* Power, some time ago: its test has passed and nobody has listened. */
void ps2_keyboard_reset(struct ps2_keyboard *keyboard);
/* A byte from the controller. */
void ps2_keyboard_receive(struct ps2_keyboard *keyboard, uint8_t value, uint64_t now);
/* Is there a byte for the controller, and which. */
bool ps2_keyboard_has_byte(const struct ps2_keyboard *keyboard);
uint8_t ps2_keyboard_take(struct ps2_keyboard *keyboard, uint64_t now);
/* Events for the typist; returns how many his queue took. */
size_t ps2_keyboard_type(struct ps2_keyboard *keyboard, const uint32_t *events, size_t count, uint64_t now);

void ps2_keyboard_advance(struct ps2_keyboard *keyboard, uint64_t now);
uint64_t ps2_keyboard_deadline(const struct ps2_keyboard *keyboard);

#endif
