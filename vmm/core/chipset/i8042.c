#include "i8042.h"

#include <string.h>

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

void i8042_reset(struct i8042 *kbc)
{
    memset(kbc, 0, sizeof *kbc);
    kbc->status = I8042_STATUS_SYSTEM | I8042_STATUS_UNLOCKED;
    kbc->memory[0] = I8042_CB_SYSTEM | I8042_CB_TRANSLATE | I8042_CB_KEYBOARD_DISABLED | I8042_CB_AUX_DISABLED;
    kbc->output_port = I8042_OUTPUT_RESET | I8042_OUTPUT_A20;
}

uint8_t i8042_read_data(struct i8042 *kbc)
{
    kbc->status &= (uint8_t)~(I8042_STATUS_OBF | I8042_STATUS_AUX | I8042_STATUS_TIMEOUT);
    update_irq(kbc);
    return kbc->output;
}

uint8_t i8042_read_status(const struct i8042 *kbc)
{
    return kbc->status;
}

bool i8042_write_data(struct i8042 *kbc, uint8_t value)
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
    } else {
        answer(kbc, RESEND, I8042_STATUS_TIMEOUT | (command == WRITE_AUX ? I8042_STATUS_AUX : 0));
    }
    update_irq(kbc);
    return reset;
}

bool i8042_write_command(struct i8042 *kbc, uint8_t value)
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
    return reset;
}
