#include "ps2_keyboard.h"

#include <string.h>

#include "ps2_codes.h"
#include "ticks.h"

STATE_TABLE(ps2_keyboard, PS2_KEYBOARD_STATE);

#define NS_PER_MS 1000000ULL
#define ID_FIRST 0xab
#define ID_SECOND 0x83
#define TYPEMATIC_DEFAULT 0x2b /* 10.9 characters a second after half a second */
#define LONGEST_SEQUENCE 8     /* bytes that one event makes: Pause, or a cursor key between shifts that are not there */

static bool is_down(const struct ps2_keyboard *keyboard, uint8_t key)
{
    return keyboard->down[key >> 3] >> (key & 7) & 1;
}

/* ---- bytes for the controller ---- */

static void reply(struct ps2_keyboard *keyboard, uint8_t value)
{
    if (keyboard->replies_used < PS2_KEYBOARD_REPLIES)
        keyboard->replies[keyboard->replies_used++] = value;
}

static void clear_buffer(struct ps2_keyboard *keyboard)
{
    keyboard->fifo_used = 0;
    keyboard->repeated = 0;
    keyboard->repeat_at = MACHINE_NEVER;
}

static unsigned room(const struct ps2_keyboard *keyboard)
{
    return PS2_KEYBOARD_FIFO - keyboard->fifo_used;
}

/* Codes of one event, which enter the buffer together. */
struct sequence {
    uint8_t bytes[LONGEST_SEQUENCE];
    unsigned used;
};

static void add(struct sequence *sequence, uint8_t value)
{
    if (sequence->used < LONGEST_SEQUENCE)
        sequence->bytes[sequence->used++] = value;
}

/* A key's code without E0h, in set 1 or 2. */
static void add_code(struct sequence *sequence, unsigned set, uint8_t key, bool down)
{
    if (set == 1) {
        add(sequence, (uint8_t)((key & 0x7f) | (down ? 0 : 0x80)));
        return;
    }
    if (!down)
        add(sequence, PS2_BREAK);
    add(sequence, ps2_set_2_of(key));
}

static void add_key(struct sequence *sequence, unsigned set, uint8_t key, bool down)
{
    if (key & 0x80)
        add(sequence, PS2_EXTENDED);
    add_code(sequence, set, key, down);
}

static void add_extended(struct sequence *sequence, unsigned set, uint8_t key, bool down)
{
    add(sequence, PS2_EXTENDED);
    add_code(sequence, set, key, down);
}

/* What does not fit is lost, and the buffer's last byte says so. */
static void send(struct ps2_keyboard *keyboard, const struct sequence *sequence)
{
    for (unsigned i = 0; i < sequence->used; i++) {
        if (!room(keyboard)) {
            unsigned last = (keyboard->fifo_first + PS2_KEYBOARD_FIFO - 1) % PS2_KEYBOARD_FIFO;
            keyboard->fifo[last] = keyboard->scan_set == 1 ? 0xff : 0x00;
            return;
        }
        keyboard->fifo[(keyboard->fifo_first + keyboard->fifo_used++) % PS2_KEYBOARD_FIFO] = sequence->bytes[i];
    }
}

/* ---- keys ---- */

static bool has_shift(const struct ps2_keyboard *keyboard)
{
    return is_down(keyboard, PS2_KEY_LEFT_SHIFT) || is_down(keyboard, PS2_KEY_RIGHT_SHIFT);
}

static bool has_ctrl(const struct ps2_keyboard *keyboard)
{
    return is_down(keyboard, PS2_KEY_LEFT_CTRL) || is_down(keyboard, PS2_KEY_RIGHT_CTRL);
}

static bool has_alt(const struct ps2_keyboard *keyboard)
{
    return is_down(keyboard, PS2_KEY_LEFT_ALT) || is_down(keyboard, PS2_KEY_RIGHT_ALT);
}

/* The keys that the 84-key keyboard had on its keypad only: shifts are sent around them so that they mean the same with
 * Shift and Num Lock. */
static void add_cursor_key(struct ps2_keyboard *keyboard, struct sequence *sequence, uint8_t key, bool down)
{
    static const uint8_t shifts[] = {PS2_KEY_LEFT_SHIFT, PS2_KEY_RIGHT_SHIFT};
    unsigned set = keyboard->scan_set;
    bool lifts = has_shift(keyboard) && (!(keyboard->leds & PS2_LED_NUM) || key == PS2_KEY_PAD_SLASH);
    bool presses = !has_shift(keyboard) && keyboard->leds & PS2_LED_NUM && key != PS2_KEY_PAD_SLASH;

    if (!down)
        add_key(sequence, set, key, false);
    for (unsigned i = 0; i < 2; i++) {
        if (lifts && is_down(keyboard, shifts[i]))
            add_extended(sequence, set, shifts[i], !down);
        else if (presses && shifts[i] == PS2_KEY_LEFT_SHIFT)
            add_extended(sequence, set, shifts[i], down);
    }
    if (down)
        add_key(sequence, set, key, true);
}

static void add_print_screen(struct ps2_keyboard *keyboard, struct sequence *sequence, bool down)
{
    unsigned set = keyboard->scan_set;

    if (has_alt(keyboard)) {
        add_key(sequence, set, PS2_KEY_SYS_RQ, down);
    } else if (has_ctrl(keyboard) || has_shift(keyboard)) {
        add_key(sequence, set, PS2_KEY_PRINT_SCREEN, down);
    } else if (down) {
        add_extended(sequence, set, PS2_KEY_LEFT_SHIFT, true);
        add_key(sequence, set, PS2_KEY_PRINT_SCREEN, true);
    } else {
        add_key(sequence, set, PS2_KEY_PRINT_SCREEN, false);
        add_extended(sequence, set, PS2_KEY_LEFT_SHIFT, false);
    }
}

/* Make and break at once. */
static void add_pause(struct ps2_keyboard *keyboard, struct sequence *sequence)
{
    unsigned set = keyboard->scan_set;

    for (unsigned down = 2; down-- > 0;) {
        if (has_ctrl(keyboard)) { /* Break */
            add_key(sequence, set, PS2_KEY_PAUSE, down);
        } else {
            add(sequence, PS2_EXTENDED_1);
            add_code(sequence, set, PS2_KEY_LEFT_CTRL, down);
            add_code(sequence, set, PS2_KEY_NUM_LOCK, down);
        }
    }
}

static void make_sequence(struct ps2_keyboard *keyboard, struct sequence *sequence, uint8_t key, bool down)
{
    if (keyboard->scan_set == 3) {
        uint8_t code = ps2_set_3_of(key);
        if (!code || (!down && !(keyboard->modes[code] & PS2_KEY_BREAKS)))
            return;
        if (!down)
            add(sequence, PS2_BREAK);
        add(sequence, code);
    } else if (key == PS2_KEY_PAUSE) {
        if (down)
            add_pause(keyboard, sequence);
    } else if (key == PS2_KEY_PRINT_SCREEN) {
        add_print_screen(keyboard, sequence, down);
    } else if ((key >= PS2_KEY_HOME && key <= PS2_KEY_DELETE) || key == PS2_KEY_PAD_SLASH) {
        add_cursor_key(keyboard, sequence, key, down);
    } else if (ps2_set_2_of(key)) {
        add_key(sequence, keyboard->scan_set, key, down);
    }
}

static uint64_t repeat_delay(const struct ps2_keyboard *keyboard)
{
    return ((keyboard->typematic >> 5 & 3) + 1) * 250 * NS_PER_MS;
}

/* (8 + A) * 2^B * 4.17 ms, A being bits 2:0 and B bits 4:3. */
static uint64_t repeat_period(const struct ps2_keyboard *keyboard)
{
    return ((uint64_t)(8 + (keyboard->typematic & 7)) << (keyboard->typematic >> 3 & 3)) * 4170000;
}

static bool repeats(const struct ps2_keyboard *keyboard, uint8_t key)
{
    if (keyboard->scan_set == 3)
        return keyboard->modes[ps2_set_3_of(key)] & PS2_KEY_REPEATS;
    return key != PS2_KEY_PAUSE;
}

static bool can_type(const struct ps2_keyboard *keyboard)
{
    return keyboard->queue_used && keyboard->scanning && room(keyboard) >= LONGEST_SEQUENCE;
}

static bool can_repeat(const struct ps2_keyboard *keyboard)
{
    return keyboard->repeated && keyboard->scanning && room(keyboard);
}

/* What could not happen while it was due, and now can, happens now; of repeats those are lost that came to a full
 * buffer. */
static void resume(struct ps2_keyboard *keyboard, uint64_t now)
{
    uint64_t period = repeat_period(keyboard);

    if (can_type(keyboard) && keyboard->typed_at < now)
        keyboard->typed_at = now;
    if (can_repeat(keyboard) && keyboard->repeat_at < now)
        keyboard->repeat_at += (now - keyboard->repeat_at + period - 1) / period * period;
}

static void press(struct ps2_keyboard *keyboard, uint8_t key, bool down, uint64_t now)
{
    struct sequence sequence = {.used = 0};

    if (is_down(keyboard, key) == down)
        return; /* no key goes down twice */
    make_sequence(keyboard, &sequence, key, down);
    keyboard->down[key >> 3] ^= (uint8_t)(1 << (key & 7));
    if (down && repeats(keyboard, key)) {
        keyboard->repeated = key;
        keyboard->repeat_at = now + repeat_delay(keyboard);
    } else if (!down && key == keyboard->repeated) {
        keyboard->repeated = 0;
        keyboard->repeat_at = MACHINE_NEVER;
    }
    send(keyboard, &sequence);
}

/* ---- commands ---- */

static uint8_t default_mode(uint8_t key)
{
    switch (key) {
    case PS2_KEY_LEFT_SHIFT:
    case PS2_KEY_RIGHT_SHIFT:
    case PS2_KEY_LEFT_CTRL:
    case PS2_KEY_LEFT_ALT:
    case PS2_KEY_CAPS_LOCK:
        return PS2_KEY_BREAKS;
    case 0x02 ... 0x1c: /* the typewriter's keys; Esc, function keys and keypad only make */
    case 0x1e ... 0x29:
    case 0x2b ... 0x35:
    case 0x39:
    case 0x56:
    case 0xc8: /* the arrows and Delete */
    case 0xcb:
    case 0xcd:
    case 0xd0:
    case PS2_KEY_DELETE:
        return PS2_KEY_REPEATS;
    }
    return 0;
}

static void set_defaults(struct ps2_keyboard *keyboard)
{
    keyboard->scan_set = 2;
    keyboard->typematic = TYPEMATIC_DEFAULT;
    memset(keyboard->modes, 0, sizeof keyboard->modes);
    for (unsigned key = 1; key < 256; key++)
        keyboard->modes[ps2_set_3_of((uint8_t)key)] |= default_mode((uint8_t)key);
    clear_buffer(keyboard);
}

static void test(struct ps2_keyboard *keyboard, uint64_t now)
{
    set_defaults(keyboard);
    keyboard->leds = 0;
    keyboard->scanning = false;
    keyboard->command = 0;
    keyboard->bat_at = now + PS2_BAT_NS;
}

void ps2_keyboard_reset(struct ps2_keyboard *keyboard)
{
    memset(keyboard, 0, sizeof *keyboard);
    set_defaults(keyboard);
    keyboard->scanning = true;
    keyboard->bat_at = keyboard->typed_at = MACHINE_NEVER;
}

/* False: it is none that the command takes. */
static bool take_option(struct ps2_keyboard *keyboard, uint8_t command, uint8_t value)
{
    switch (command) {
    case PS2_KEYBOARD_LEDS:
        keyboard->leds = value & (PS2_LED_SCROLL | PS2_LED_NUM | PS2_LED_CAPS);
        break;
    case PS2_KEYBOARD_SCAN_SET:
        if (value > 3)
            return false;
        reply(keyboard, PS2_ACKNOWLEDGE);
        if (value == 0) {
            reply(keyboard, keyboard->scan_set);
        } else {
            keyboard->scan_set = value;
            clear_buffer(keyboard);
        }
        return true;
    case PS2_KEYBOARD_TYPEMATIC:
        keyboard->typematic = value & 0x7f;
        break;
    case PS2_KEYBOARD_KEY_TYPEMATIC ... PS2_KEYBOARD_KEY_MAKE:
        keyboard->modes[value] = command == PS2_KEYBOARD_KEY_TYPEMATIC    ? PS2_KEY_REPEATS
                                 : command == PS2_KEYBOARD_KEY_MAKE_BREAK ? PS2_KEY_BREAKS
                                                                          : 0;
        keyboard->command = command; /* until a byte that is a command */
        break;
    }
    reply(keyboard, PS2_ACKNOWLEDGE);
    return true;
}

static void obey(struct ps2_keyboard *keyboard, uint8_t command, uint64_t now)
{
    static const uint8_t modes[] = {PS2_KEY_REPEATS, PS2_KEY_BREAKS, 0, PS2_KEY_REPEATS | PS2_KEY_BREAKS};

    if (command == PS2_KEYBOARD_ECHO) {
        reply(keyboard, PS2_KEYBOARD_ECHO);
        return;
    }
    if (command == PS2_KEYBOARD_RESEND) {
        reply(keyboard, keyboard->last);
        return;
    }
    if (command < PS2_KEYBOARD_LEDS || command == 0xef || command == 0xf1) {
        reply(keyboard, PS2_RESEND);
        return;
    }
    reply(keyboard, PS2_ACKNOWLEDGE);
    switch (command) {
    case PS2_KEYBOARD_LEDS:
    case PS2_KEYBOARD_SCAN_SET:
    case PS2_KEYBOARD_TYPEMATIC:
        keyboard->command = command;
        break;
    case PS2_KEYBOARD_KEY_TYPEMATIC ... PS2_KEYBOARD_KEY_MAKE:
        clear_buffer(keyboard);
        keyboard->command = command;
        break;
    case PS2_KEYBOARD_IDENTIFY:
        reply(keyboard, ID_FIRST);
        reply(keyboard, ID_SECOND);
        break;
    case PS2_KEYBOARD_ENABLE:
        clear_buffer(keyboard);
        keyboard->scanning = true;
        break;
    case PS2_KEYBOARD_DEFAULT_DISABLE:
        set_defaults(keyboard);
        keyboard->scanning = false;
        break;
    case PS2_KEYBOARD_DEFAULT:
        set_defaults(keyboard);
        break;
    case PS2_KEYBOARD_ALL_TYPEMATIC ... PS2_KEYBOARD_ALL_TYPEMATIC_MAKE_BREAK:
        clear_buffer(keyboard);
        memset(keyboard->modes, modes[command - PS2_KEYBOARD_ALL_TYPEMATIC], sizeof keyboard->modes);
        break;
    case PS2_KEYBOARD_RESET:
        test(keyboard, now);
        break;
    }
}

void ps2_keyboard_receive(struct ps2_keyboard *keyboard, uint8_t value, uint64_t now)
{
    uint8_t command = keyboard->command;

    keyboard->command = 0;
    keyboard->replies_used = 0; /* whoever speaks again has not waited for them */
    if (keyboard->bat_at != MACHINE_NEVER && value != PS2_KEYBOARD_RESET)
        return; /* it is busy with itself */
    if (!command || value >= PS2_KEYBOARD_LEDS)
        obey(keyboard, value, now);
    else if (!take_option(keyboard, command, value))
        reply(keyboard, PS2_RESEND);
    resume(keyboard, now);
}

/* ---- the controller's side ---- */

bool ps2_keyboard_has_byte(const struct ps2_keyboard *keyboard)
{
    return keyboard->replies_used || keyboard->fifo_used;
}

uint8_t ps2_keyboard_take(struct ps2_keyboard *keyboard, uint64_t now)
{
    uint8_t value = 0;

    if (keyboard->replies_used) {
        value = keyboard->replies[0];
        keyboard->replies_used--;
        memmove(keyboard->replies, keyboard->replies + 1, keyboard->replies_used);
    } else if (keyboard->fifo_used) {
        value = keyboard->fifo[keyboard->fifo_first];
        keyboard->fifo_first = (keyboard->fifo_first + 1) % PS2_KEYBOARD_FIFO;
        keyboard->fifo_used--;
        resume(keyboard, now);
    }
    keyboard->last = value;
    return value;
}

/* ---- the typist ---- */

static uint32_t first_event(const struct ps2_keyboard *keyboard)
{
    return keyboard->queue[keyboard->queue_first];
}

static uint64_t delay_of(uint32_t event)
{
    return (event >> PS2_EVENT_DELAY_SHIFT) * NS_PER_MS;
}

size_t ps2_keyboard_type(struct ps2_keyboard *keyboard, const uint32_t *events, size_t count, uint64_t now)
{
    size_t taken = 0;

    while (taken < count && keyboard->queue_used < PS2_KEYBOARD_QUEUE) {
        unsigned last = (keyboard->queue_first + keyboard->queue_used++) % PS2_KEYBOARD_QUEUE;
        keyboard->queue[last] = events[taken++];
    }
    if (taken && keyboard->typed_at == MACHINE_NEVER)
        keyboard->typed_at = now + delay_of(first_event(keyboard));
    return taken;
}

static void type_one(struct ps2_keyboard *keyboard, uint64_t now)
{
    uint32_t event = first_event(keyboard);

    keyboard->queue_first = (keyboard->queue_first + 1) % PS2_KEYBOARD_QUEUE;
    keyboard->queue_used--;
    keyboard->typed_at = keyboard->queue_used ? now + delay_of(first_event(keyboard)) : MACHINE_NEVER;
    press(keyboard, event & PS2_EVENT_KEY, event & PS2_EVENT_DOWN, now);
}

/* ---- time ---- */

static void repeat(struct ps2_keyboard *keyboard)
{
    struct sequence sequence = {.used = 0};

    make_sequence(keyboard, &sequence, keyboard->repeated, true);
    send(keyboard, &sequence);
    keyboard->repeat_at += repeat_period(keyboard);
}

uint64_t ps2_keyboard_deadline(const struct ps2_keyboard *keyboard)
{
    uint64_t deadline = keyboard->bat_at;

    if (can_type(keyboard))
        deadline = sooner(deadline, keyboard->typed_at);
    if (can_repeat(keyboard))
        deadline = sooner(deadline, keyboard->repeat_at);
    return deadline;
}

void ps2_keyboard_advance(struct ps2_keyboard *keyboard, uint64_t now)
{
    uint64_t at;

    while ((at = ps2_keyboard_deadline(keyboard)) <= now && at != MACHINE_NEVER) {
        if (keyboard->bat_at == at) {
            keyboard->bat_at = MACHINE_NEVER;
            keyboard->scanning = true;
            reply(keyboard, PS2_BAT_PASSED);
            resume(keyboard, at);
        } else if (can_type(keyboard) && keyboard->typed_at == at) {
            type_one(keyboard, at);
        } else {
            repeat(keyboard);
        }
    }
}
