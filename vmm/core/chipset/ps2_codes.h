/* Scan codes of the 101/102-key keyboard in its three sets (IBM PS/2 Hardware Interface Technical Reference,
 * "Keyboards (101- and 102-Key)") and the 8042's translation of set 2 into set 1 (same, "Keyboard and Auxiliary Device
 * Controller").
 *
 * A key's number here is its make code in set 1, with bit 7 set where E0h comes before it. */
#ifndef BRINGUP_PS2_CODES_H
#define BRINGUP_PS2_CODES_H

#include <stdint.h>

enum {
    PS2_KEY_LEFT_CTRL = 0x1d,
    PS2_KEY_LEFT_SHIFT = 0x2a,
    PS2_KEY_RIGHT_SHIFT = 0x36,
    PS2_KEY_LEFT_ALT = 0x38,
    PS2_KEY_CAPS_LOCK = 0x3a,
    PS2_KEY_NUM_LOCK = 0x45,
    PS2_KEY_SYS_RQ = 0x54,
    PS2_KEY_RIGHT_CTRL = 0x9d,
    PS2_KEY_PAD_SLASH = 0xb5,
    PS2_KEY_PRINT_SCREEN = 0xb7,
    PS2_KEY_RIGHT_ALT = 0xb8,
    PS2_KEY_PAUSE = 0xc6,
    PS2_KEY_HOME = 0xc7,
    PS2_KEY_DELETE = 0xd3,
};
enum { PS2_BREAK = 0xf0, PS2_EXTENDED = 0xe0, PS2_EXTENDED_1 = 0xe1 };

/* What the 8042 makes of a byte in set 2; the break prefix is its caller's. */
uint8_t ps2_set_1_of(uint8_t set_2);
/* A key's make code, without E0h; 0: there is no such key in the set. */
uint8_t ps2_set_2_of(uint8_t key);
uint8_t ps2_set_3_of(uint8_t key);

#endif
