/* The HPET on the board: its registers in memory, and the pins of its timers. */
#include <string.h>

#include "board_state.h"

#define FIRST_ROUTE 20 /* of HPET_ROUTES */
#define ROUTES 4
#define LEGACY_TIMERS 2 /* timer 0 for the PIT, timer 1 for the RTC */

/* The levels at the timers' pins; `low` of them are held low. */
static void drive(struct board *board, unsigned low)
{
    struct hpet *hpet = &board->chips.hpet;
    unsigned pins = 0;

    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        bool level = hpet_pin(hpet, i) && !(low >> i & 1);
        if (hpet_legacy(hpet) && i < LEGACY_TIMERS)
            set_irq(board, i ? IRQ_RTC : IRQ_PIT, level);
        else if (level)
            pins |= 1u << hpet_route(hpet, i);
    }
    for (unsigned pin = FIRST_ROUTE; pin < FIRST_ROUTE + ROUTES; pin++)
        ioapic_set_pin(&board->chips.ioapic, pin, pins >> pin & 1);
    settle_interrupts(board);
}

static void hpet_changed(struct board *board)
{
    drive(board, 0);
    rearm(board, TIMER_HPET, hpet_deadline(&board->chips.hpet));
}

void advance_hpet(struct board *board, uint64_t now)
{
    unsigned edges = hpet_advance(&board->chips.hpet, now);

    if (edges)
        drive(board, edges);
    hpet_changed(board);
}

void reset_hpet(struct board *board)
{
    hpet_reset(&board->chips.hpet);
    hpet_changed(board);
}

bool hpet_open(const struct board *board, enum reach reach)
{
    const struct hpet *hpet = &board->chips.hpet;

    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        bool legacy = hpet_legacy(hpet) && i < LEGACY_TIMERS;
        if (hpet->timer[i].configuration & HPET_INT_ENB_CNF &&
            (legacy ? irq_open(board, i ? IRQ_RTC : IRQ_PIT, reach) : pin_open(board, hpet_route(hpet, i), reach)))
            return true;
    }
    return false;
}

/* Registers are read and written by 32 or 64 bits; nothing else is defined (2.3.1). */
static bool defined(uint64_t offset, unsigned size)
{
    return (size == 4 || size == 8) && offset % size == 0;
}

bool board_hpet_read(struct board *board, uint64_t gpa, void *data, unsigned size, uint64_t now)
{
    uint64_t offset = gpa - MAP_HPET;

    if (!board->firmware || offset >= MAP_HPET_SIZE)
        return false;
    memset(data, 0xff, size);
    for (unsigned half = 0; defined(offset, size) && half < size; half += 4) {
        uint32_t value = hpet_read(&board->chips.hpet, (unsigned)offset + half, now);
        memcpy((uint8_t *)data + half, &value, 4);
    }
    return true;
}

bool board_hpet_write(struct board *board, uint64_t gpa, const void *data, unsigned size, uint64_t now)
{
    uint64_t offset = gpa - MAP_HPET, value = 0;

    if (!board->firmware || offset >= MAP_HPET_SIZE)
        return false;
    if (!defined(offset, size))
        return true;
    memcpy(&value, data, size);
    hpet_write(&board->chips.hpet, (unsigned)offset, value, size, now);
    pit_changed(board); /* which may be in their own place again, or no longer */
    rtc_changed(board);
    hpet_changed(board);
    return true;
}
