/* The keyboard controller with both devices under any program and any person, twice: one is told the time in one step,
 * the other at every deadline and in between. Both are the same at every access; nothing waits in the past.
 *
 * Input: accesses of two bytes: what, value. */
#include "chips.h"
#include "chipset/i8042.h"

static void person(struct i8042 *kbc, unsigned what, unsigned value, uint64_t now)
{
    uint32_t events[] = {value | PS2_EVENT_DOWN, value | 1 << PS2_EVENT_DELAY_SHIFT};
    int8_t movement = (int8_t)value;

    if (what & 1) {
        DEMAND(i8042_type(kbc, events, 2, now) <= 2, "more keys than there were");
    } else {
        i8042_move(kbc, movement * 50, -movement, value >> 6, (uint8_t)value, now);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct i8042 coarse, fine;
    uint64_t now = 0;
    unsigned plugged = next_byte(&input);

    i8042_reset(&coarse, !(plugged & 1), !(plugged & 2));
    fine = coarse;
    while (input.left) {
        unsigned what = next_byte(&input), value = next_byte(&input);
        uint64_t pause = 0;
        switch (what & 7) {
        case 0:
            DEMAND(i8042_write_data(&coarse, (uint8_t)value, now) == i8042_write_data(&fine, (uint8_t)value, now),
                   "reset by %02x", value);
            break;
        case 1:
            DEMAND(i8042_write_command(&coarse, (uint8_t)value, now) == i8042_write_command(&fine, (uint8_t)value, now),
                   "reset by command %02x", value);
            break;
        case 2:
            DEMAND(i8042_read_data(&coarse, now) == i8042_read_data(&fine, now), "data");
            break;
        case 3:
            DEMAND(i8042_read_status(&coarse) == i8042_read_status(&fine), "status");
            break;
        case 4:
            person(&coarse, what >> 3, value, now);
            person(&fine, what >> 3, value, now);
            break;
        case 5:
            pause = value * 10000u;
            break;
        case 6:
            pause = value * 20000000ull;
            break;
        default:
            if (i8042_deadline(&coarse) != UINT64_MAX && i8042_deadline(&coarse) > now)
                pause = i8042_deadline(&coarse) - now;
        }
        uint64_t until = now + pause, due;
        while ((due = i8042_deadline(&fine)) < until) {
            now = due > now ? due : now;
            i8042_advance(&fine, now);
            now += (until - now) / 2 ? 1 : 0;
            i8042_advance(&fine, now);
        }
        now = until;
        i8042_advance(&fine, now);
        i8042_advance(&coarse, now);
        DEMAND(i8042_deadline(&coarse) > now, "a deadline in the past");
        DEMAND(coarse.keyboard.fifo_used <= PS2_KEYBOARD_FIFO && coarse.keyboard.queue_used <= PS2_KEYBOARD_QUEUE,
               "a buffer of %u", coarse.keyboard.fifo_used);
        DEMAND(!(coarse.keyboard_irq && coarse.aux_irq), "both interrupts at once");
        DEMAND(fields_hash(i8042_fields, &coarse, 1) == fields_hash(i8042_fields, &fine, 1), "at %llu",
               (unsigned long long)now);
    }
    return 0;
}
