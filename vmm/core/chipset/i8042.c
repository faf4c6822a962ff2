#include "i8042.h"

#include <string.h>

#include "ps2_codes.h"
#include "ticks.h"

STATE_TABLE(i8042, I8042_STATE);

enum {
    READ_MEMORY = 0x20, /* to 3Fh */
    WRITE_MEMORY = 0x60, /* to 7Fh */
    DISABLE_AUX = 0xa7,
    ENABLE_AUX = 0xa8,
    TEST_AUX = 0xa9,
    SELF_TEST = 0xaa,
    TEST_KEYBOARD = 0xab,
    DISABLE_KEYBOARD = 0xad,
    ENABLE_KEYBOARD = 0xae,
    READ_INPUT_PORT = 0xc0,
    READ_OUTPUT_PORT = 0xd0,
    WRITE_OUTPUT_PORT = 0xd1,
    WRITE_KEYBOARD_OUTPUT = 0xd2,
    WRITE_AUX_OUTPUT = 0xd3,
    WRITE_AUX = 0xd4,
    DISABLE_A20 = 0xdd,
    ENABLE_A20 = 0xdf,
    PULSE_OUTPUT = 0xf0, /* to FFh: bits 3:0 at 0 pulse those lines low */
};

#define SELF_TEST_PASSED 0x55
#define INTERFACE_TEST_PASSED 0x00
#define RESEND 0xfe
#define INPUT_PORT 0xb0 /* not locked, manufacturing jumper open */

static void update_irq(struct i8042 *kbc)
{
    bool full = kbc->status & I8042_STATUS_OBF, aux = kbc->status & I8042_STATUS_AUX;

    kbc->keyboard_irq = full && !aux && kbc->memory[0] & I8042_CB_KEYBOARD_INTERRUPT;
    kbc->aux_irq = full && aux && kbc->memory[0] & I8042_CB_AUX_INTERRUPT;
}

static void answer(struct i8042 *kbc, uint8_t value, unsigned flags)
{
    kbc->output = value;
    kbc->status &= (uint8_t)~(I8042_STATUS_AUX | I8042_STATUS_TIMEOUT);
    kbc->status |= (uint8_t)(I8042_STATUS_OBF | flags);
}

/* False when the reset line goes low with it. */
static bool drive_output_port(struct i8042 *kbc, uint8_t value)
{
    kbc->output_port = value;
    return value & I8042_OUTPUT_RESET;
}

/* ---- the wires to the devices ---- */

static bool keyboard_sends(const struct i8042 *kbc)
{
    return kbc->keyboard_plugged && !(kbc->memory[0] & I8042_CB_KEYBOARD_DISABLED) &&
           ps2_keyboard_has_byte(&kbc->keyboard);
}

static bool mouse_sends(const struct i8042 *kbc)
{
    return kbc->mouse_plugged && !(kbc->memory[0] & I8042_CB_AUX_DISABLED) && ps2_mouse_has_byte(&kbc->mouse);
}

/* After anything that may let a byte set out, or hold it back. */
static void update_wires(struct i8042 *kbc, uint64_t now)
{
    bool sends = !(kbc->status & I8042_STATUS_OBF) && (keyboard_sends(kbc) || mouse_sends(kbc));

    if (!sends)
        kbc->arrives_at = MACHINE_NEVER;
    else if (kbc->arrives_at == MACHINE_NEVER)
        kbc->arrives_at = now + I8042_BYTE_NS;
}

/* A byte from the keyboard: a break prefix in set 2 becomes bit 7 of the byte that follows. */
static void keyboard_says(struct i8042 *kbc, uint8_t value)
{
    if (kbc->memory[0] & I8042_CB_TRANSLATE) {
        if (value == PS2_BREAK) {
            kbc->translated_break = true;
            return;
        }
        value = ps2_set_1_of(value) | (kbc->translated_break ? 0x80 : 0);
    }
    kbc->translated_break = false;
    answer(kbc, value, 0);
}

static void arrive(struct i8042 *kbc, uint64_t now)
{
    kbc->arrives_at = MACHINE_NEVER;
    if (keyboard_sends(kbc))
        keyboard_says(kbc, ps2_keyboard_take(&kbc->keyboard, now));
    else if (mouse_sends(kbc))
        answer(kbc, ps2_mouse_take(&kbc->mouse, now), I8042_STATUS_AUX);
    update_irq(kbc);
}

static uint64_t next_event(const struct i8042 *kbc)
{
    uint64_t keyboard = kbc->keyboard_plugged ? ps2_keyboard_deadline(&kbc->keyboard) : MACHINE_NEVER;
    uint64_t mouse = kbc->mouse_plugged ? ps2_mouse_deadline(&kbc->mouse) : MACHINE_NEVER;

    return sooner(kbc->arrives_at, sooner(keyboard, mouse));
}

uint64_t i8042_deadline(const struct i8042 *kbc)
{
    return next_event(kbc);
}

void i8042_advance(struct i8042 *kbc, uint64_t now)
{
    uint64_t at;

    while ((at = next_event(kbc)) <= now && at != MACHINE_NEVER) {
        if (kbc->keyboard_plugged)
            ps2_keyboard_advance(&kbc->keyboard, at);
        if (kbc->mouse_plugged)
            ps2_mouse_advance(&kbc->mouse, at);
        if (kbc->arrives_at == at)
            arrive(kbc, at);
        update_wires(kbc, at);
    }
}

size_t i8042_type(struct i8042 *kbc, const uint32_t *events, size_t count, uint64_t now)
{
    return kbc->keyboard_plugged ? ps2_keyboard_type(&kbc->keyboard, events, count, now) : count;
}

void i8042_move(struct i8042 *kbc, int32_t dx, int32_t dy, int32_t dz, uint8_t buttons, uint64_t now)
{
    if (kbc->mouse_plugged)
        ps2_mouse_move(&kbc->mouse, dx, dy, dz, buttons, now);
}

/* ---- the processor's side ---- */

void i8042_reset(struct i8042 *kbc, bool keyboard, bool mouse)
{
    memset(kbc, 0, sizeof *kbc);
    kbc->keyboard_plugged = keyboard;
    kbc->mouse_plugged = mouse;
    kbc->arrives_at = MACHINE_NEVER;
    ps2_keyboard_reset(&kbc->keyboard);
    ps2_mouse_reset(&kbc->mouse);
    kbc->status = I8042_STATUS_SYSTEM | I8042_STATUS_UNLOCKED;
    kbc->memory[0] = I8042_CB_SYSTEM | I8042_CB_TRANSLATE | I8042_CB_KEYBOARD_DISABLED | I8042_CB_AUX_DISABLED;
    kbc->output_port = I8042_OUTPUT_RESET | I8042_OUTPUT_A20;
}

uint8_t i8042_read_data(struct i8042 *kbc, uint64_t now)
{
    kbc->status &= (uint8_t)~(I8042_STATUS_OBF | I8042_STATUS_AUX | I8042_STATUS_TIMEOUT);
    update_irq(kbc);
    update_wires(kbc, now);
    return kbc->output;
}

uint8_t i8042_read_status(const struct i8042 *kbc)
{
    return kbc->status;
}

/* A byte for the keyboard opens its port; one for nobody comes back. */
static void send_to_keyboard(struct i8042 *kbc, uint8_t value, uint64_t now)
{
    if (!kbc->keyboard_plugged) {
        answer(kbc, RESEND, I8042_STATUS_TIMEOUT);
        return;
    }
    kbc->memory[0] &= (uint8_t)~I8042_CB_KEYBOARD_DISABLED;
    ps2_keyboard_receive(&kbc->keyboard, value, now);
}

static void send_to_mouse(struct i8042 *kbc, uint8_t value, uint64_t now)
{
    if (!kbc->mouse_plugged) {
        answer(kbc, RESEND, I8042_STATUS_TIMEOUT | I8042_STATUS_AUX);
        return;
    }
    kbc->memory[0] &= (uint8_t)~I8042_CB_AUX_DISABLED;
    ps2_mouse_receive(&kbc->mouse, value, now);
}

bool i8042_write_data(struct i8042 *kbc, uint8_t value, uint64_t now)
{
    uint8_t command = kbc->command;
    bool reset = false;

    kbc->command = 0;
    kbc->status &= (uint8_t)~I8042_STATUS_COMMAND;
    if (command >= WRITE_MEMORY && command < WRITE_MEMORY + sizeof kbc->memory) {
        kbc->memory[command - WRITE_MEMORY] = value;
        if (command == WRITE_MEMORY)
            kbc->status = (kbc->status & (uint8_t)~I8042_STATUS_SYSTEM) | (value & I8042_CB_SYSTEM);
    } else if (command == WRITE_OUTPUT_PORT) {
        reset = !drive_output_port(kbc, value);
    } else if (command == WRITE_KEYBOARD_OUTPUT) {
        answer(kbc, value, 0);
    } else if (command == WRITE_AUX_OUTPUT) {
        answer(kbc, value, I8042_STATUS_AUX);
    } else if (command == WRITE_AUX) {
        send_to_mouse(kbc, value, now);
    } else {
        send_to_keyboard(kbc, value, now);
    }
    update_irq(kbc);
    update_wires(kbc, now);
    return reset;
}

bool i8042_write_command(struct i8042 *kbc, uint8_t value, uint64_t now)
{
    bool reset = false;

    kbc->command = 0;
    kbc->status |= I8042_STATUS_COMMAND;
    switch (value) {
    case READ_MEMORY ... READ_MEMORY + sizeof kbc->memory - 1:
        answer(kbc, kbc->memory[value - READ_MEMORY], 0);
        break;
    case WRITE_MEMORY ... WRITE_MEMORY + sizeof kbc->memory - 1:
    case WRITE_OUTPUT_PORT:
    case WRITE_KEYBOARD_OUTPUT:
    case WRITE_AUX_OUTPUT:
    case WRITE_AUX:
        kbc->command = value;
        break;
    case DISABLE_AUX:
        kbc->memory[0] |= I8042_CB_AUX_DISABLED;
        break;
    case ENABLE_AUX:
        kbc->memory[0] &= (uint8_t)~I8042_CB_AUX_DISABLED;
        break;
    case DISABLE_KEYBOARD:
        kbc->memory[0] |= I8042_CB_KEYBOARD_DISABLED;
        break;
    case ENABLE_KEYBOARD:
        kbc->memory[0] &= (uint8_t)~I8042_CB_KEYBOARD_DISABLED;
        break;
    case SELF_TEST:
        kbc->status |= I8042_STATUS_SYSTEM;
        answer(kbc, SELF_TEST_PASSED, 0);
        break;
    case TEST_AUX:
    case TEST_KEYBOARD:
        answer(kbc, INTERFACE_TEST_PASSED, 0);
        break;
    case READ_INPUT_PORT:
        answer(kbc, INPUT_PORT, 0);
        break;
    case READ_OUTPUT_PORT:
        answer(kbc, kbc->output_port, 0);
        break;
    case DISABLE_A20:
        kbc->output_port &= (uint8_t)~I8042_OUTPUT_A20;
        break;
    case ENABLE_A20:
        kbc->output_port |= I8042_OUTPUT_A20;
        break;
    case PULSE_OUTPUT ... 0xff:
        reset = !(value & I8042_OUTPUT_RESET);
        break;
    }
    update_irq(kbc);
    update_wires(kbc, now);
    return reset;
}
