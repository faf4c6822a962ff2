#include "pit.h"

#include <string.h>

#include "ticks.h"

STATE_TABLE(pit_channel, PIT_CHANNEL_STATE);
STATE_TABLE(pit, PIT_STATE);

static unsigned field_rw(unsigned control)
{
    return (control & PIT_CW_RW) >> 4;
}

static bool is_periodic(const struct pit_channel *c)
{
    return c->mode == 2 || c->mode == 3;
}

/* GATE's rising edge starts these; its low level stops the others. */
static bool is_triggered(const struct pit_channel *c)
{
    return c->mode == 1 || c->mode == 5;
}

static uint32_t modulus(const struct pit_channel *c)
{
    return c->control & PIT_CW_BCD ? 10000 : 65536;
}

static uint32_t from_register(const struct pit_channel *c, unsigned value)
{
    if (c->control & PIT_CW_BCD)
        value = (value >> 12) * 1000 + (value >> 8 & 15) * 100 + (value >> 4 & 15) * 10 + (value & 15);
    value %= modulus(c);
    return value ? value : modulus(c);
}

static uint16_t to_register(const struct pit_channel *c, uint32_t count)
{
    count %= modulus(c);
    if (c->control & PIT_CW_BCD)
        count = count / 1000 << 12 | count / 100 % 10 << 8 | count / 10 % 10 << 4 | count % 10;
    return (uint16_t)count;
}

/* ---- the counting element at a tick ---- */

/* One cycle of mode 2, or one half cycle of mode 3. */
struct cycle {
    uint64_t start;
    uint32_t count;
    bool high;
};

static uint32_t cycle_length(const struct pit_channel *c, const struct cycle *cycle)
{
    if (c->mode == 2)
        return cycle->count;
    return cycle->high ? (cycle->count + 1) / 2 : cycle->count / 2;
}

/* The cycle that holds `tick`, which is not before `start`. The count register takes over at the end of the first. */
static struct cycle cycle_at(const struct pit_channel *c, uint64_t tick)
{
    struct cycle cycle = {c->start, c->count, c->high};
    uint32_t length = cycle_length(c, &cycle);

    if (tick - cycle.start < length)
        return cycle;
    cycle = (struct cycle){cycle.start + length, c->reload, !cycle.high};
    cycle.start += (tick - cycle.start) / cycle.count * cycle.count;
    length = cycle_length(c, &cycle);
    if (tick - cycle.start >= length) {
        cycle.start += length;
        cycle.high = !cycle.high;
    }
    return cycle;
}

/* What a read shows. On a PC a port access outlasts a CLK pulse, so programs count on seeing a new count at once
 * (Linux's quick TSC calibration does); here accesses take no time, so it shows before it is loaded. */
static uint32_t channel_count(const struct pit_channel *c, uint64_t tick)
{
    if (!c->counting)
        return c->held;
    if (tick < c->start)
        tick = c->start;
    if (!is_periodic(c))
        return (uint32_t)((c->count + modulus(c) - (tick - c->start) % modulus(c)) % modulus(c));

    struct cycle cycle = cycle_at(c, tick);
    uint32_t elapsed = (uint32_t)(tick - cycle.start);
    return c->mode == 2 ? cycle.count - elapsed : (cycle.count & ~1u) - 2 * elapsed;
}

static bool channel_out(const struct pit_channel *c, uint64_t tick)
{
    if (!c->counting || tick < c->start)
        return c->held_out;
    if (is_periodic(c)) {
        struct cycle cycle = cycle_at(c, tick);
        return c->mode == 2 ? tick - cycle.start != cycle.count - 1 : cycle.high;
    }
    uint64_t elapsed = tick - c->start;
    return c->mode < 2 ? elapsed >= c->count : elapsed != c->count;
}

/* The first tick after `tick` at which OUT changes, if nothing is written. */
static uint64_t channel_edge(const struct pit_channel *c, uint64_t tick)
{
    if (!c->counting)
        return MACHINE_NEVER;
    if (tick < c->start) {
        if (channel_out(c, c->start) != c->held_out)
            return c->start;
        tick = c->start;
    }
    if (is_periodic(c)) {
        struct cycle cycle = cycle_at(c, tick);
        uint64_t end = cycle.start + cycle_length(c, &cycle);
        return c->mode == 2 && tick < end - 1 ? end - 1 : end;
    }
    uint64_t terminal = c->start + c->count;
    if (tick < terminal)
        return terminal;
    return c->mode >= 4 && tick == terminal ? terminal + 1 : MACHINE_NEVER;
}

/* ---- what starts and stops it ---- */

static void channel_hold(struct pit_channel *c, uint64_t tick)
{
    c->held = channel_count(c, tick);
    c->held_out = channel_out(c, tick);
    c->counting = false;
}

/* The next CLK pulse moves the count register into the element. */
static void channel_begin(struct pit_channel *c, uint64_t tick)
{
    channel_hold(c, tick);
    c->count = c->reload;
    c->start = c->load = tick + 1;
    c->high = true;
    c->counting = true;
    c->paused = false;
}

/* Modes 0 and 4: counting stops, what was counted is kept. */
static void channel_pause(struct pit_channel *c, uint64_t tick)
{
    if (tick < c->start) { /* the load does not wait for GATE */
        c->held = c->count;
        c->held_out = channel_out(c, c->start);
        c->elapsed = 0;
        c->counting = false;
    } else {
        c->elapsed = tick - c->start;
        channel_hold(c, tick);
    }
    c->paused = true;
}

static void channel_load(struct pit_channel *c, unsigned value, uint64_t tick)
{
    uint32_t reload = from_register(c, value);

    if (is_periodic(c) && reload < 2)
        reload = 2; /* a count of one is illegal there */
    if (is_periodic(c) && c->counting && tick >= c->start) {
        struct cycle cycle = cycle_at(c, tick);
        c->start = cycle.start;
        c->count = cycle.count;
        c->high = cycle.high;
        c->load = cycle.start + cycle_length(c, &cycle);
    }
    c->reload = reload;

    if (is_triggered(c)) {
        c->load = MACHINE_NEVER;
    } else if (!is_periodic(c)) {
        if (c->mode == 0) {
            channel_hold(c, tick);
            c->held_out = false;
        }
        channel_begin(c, tick);
        if (!c->gate)
            channel_pause(c, tick);
    } else if (!c->counting || tick < c->start) {
        c->load = MACHINE_NEVER;
        if (c->gate)
            channel_begin(c, tick);
    }
}

static void channel_control(struct pit_channel *c, uint8_t value, uint64_t tick)
{
    unsigned mode = (value & PIT_CW_MODE) >> 1;

    channel_hold(c, tick);
    c->control = value & (PIT_CW_RW | PIT_CW_MODE | PIT_CW_BCD);
    c->mode = (uint8_t)(mode > 5 ? mode - 4 : mode);
    c->held_out = c->mode != 0;
    c->reload = 0;
    c->load = MACHINE_NEVER;
    c->paused = false;
    c->write_high = c->read_high = false;
    c->count_latched = c->status_latched = false;
}

static void channel_write(struct pit_channel *c, uint8_t value, uint64_t tick)
{
    switch (field_rw(c->control)) {
    case PIT_RW_LSB:
        channel_load(c, value, tick);
        break;
    case PIT_RW_MSB:
        channel_load(c, (unsigned)value << 8, tick);
        break;
    case PIT_RW_WORD:
        if (c->write_high) {
            channel_load(c, (unsigned)value << 8 | c->written_low, tick);
        } else {
            c->written_low = value;
            if (c->mode == 0) { /* the first byte stops mode 0 */
                channel_hold(c, tick);
                c->held_out = false;
                c->paused = false;
            }
        }
        c->write_high = !c->write_high;
        break;
    }
}

static uint8_t channel_read(struct pit_channel *c, uint64_t tick)
{
    if (c->status_latched) {
        c->status_latched = false;
        return c->status_latch;
    }
    uint16_t count = c->count_latched ? c->count_latch : to_register(c, channel_count(c, tick));
    unsigned rw = field_rw(c->control);
    bool high = rw == PIT_RW_MSB || (rw == PIT_RW_WORD && c->read_high);

    if (rw == PIT_RW_WORD)
        c->read_high = !c->read_high;
    if (rw != PIT_RW_WORD || high)
        c->count_latched = false;
    return (uint8_t)(high ? count >> 8 : count);
}

static void channel_latch_count(struct pit_channel *c, uint64_t tick)
{
    if (c->count_latched)
        return;
    c->count_latch = to_register(c, channel_count(c, tick));
    c->count_latched = true;
}

static void channel_latch_status(struct pit_channel *c, uint64_t tick)
{
    if (c->status_latched)
        return;
    c->status_latch = c->control;
    if (channel_out(c, tick))
        c->status_latch |= PIT_STATUS_OUT;
    if (tick < c->load)
        c->status_latch |= PIT_STATUS_NULL_COUNT;
    c->status_latched = true;
}

static void channel_set_gate(struct pit_channel *c, bool level, uint64_t tick)
{
    if (c->gate == level)
        return;
    c->gate = level;
    if (level) {
        if (c->paused) {
            c->start = tick - c->elapsed;
            c->counting = true;
            c->paused = false;
        } else if (c->reload && (is_triggered(c) || is_periodic(c))) {
            channel_begin(c, tick);
        }
    } else if (c->counting && is_periodic(c)) {
        channel_hold(c, tick);
        c->held_out = true;
        if (tick < c->load)
            c->load = MACHINE_NEVER;
    } else if (c->counting && !is_triggered(c)) {
        channel_pause(c, tick);
    }
}

/* ---- the chip ---- */

static void track_out0(struct pit *pit, uint64_t tick)
{
    pit->irq = channel_out(&pit->channel[0], tick);
    pit->edge = channel_edge(&pit->channel[0], tick);
}

void pit_reset(struct pit *pit)
{
    memset(pit, 0, sizeof *pit);
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        /* The data sheet leaves this open: mode 3 without a count, OUT high. GATE 2 hangs on port 61h. */
        channel_control(&pit->channel[i], PIT_RW_WORD << 4 | 3 << 1, 0);
        pit->channel[i].gate = i != 2;
    }
    track_out0(pit, 0);
}

uint8_t pit_read(struct pit *pit, unsigned reg, uint64_t now)
{
    if (reg >= PIT_CHANNELS)
        return 0xff; /* the control register cannot be read */
    return channel_read(&pit->channel[reg], ticks_at(now, PIT_HZ));
}

static void pit_read_back(struct pit *pit, uint8_t value, uint64_t tick)
{
    for (unsigned i = 0; i < PIT_CHANNELS; i++) {
        if (!(value & 2 << i))
            continue;
        if (!(value & PIT_READ_BACK_NO_COUNT))
            channel_latch_count(&pit->channel[i], tick);
        if (!(value & PIT_READ_BACK_NO_STATUS))
            channel_latch_status(&pit->channel[i], tick);
    }
}

void pit_write(struct pit *pit, unsigned reg, uint8_t value, uint64_t now)
{
    uint64_t tick = ticks_at(now, PIT_HZ);
    unsigned select = value >> 6;

    if (reg < PIT_CHANNELS)
        channel_write(&pit->channel[reg], value, tick);
    else if (select == PIT_CHANNELS)
        pit_read_back(pit, value, tick);
    else if (field_rw(value) == PIT_RW_LATCH)
        channel_latch_count(&pit->channel[select], tick);
    else
        channel_control(&pit->channel[select], value, tick);
    track_out0(pit, tick);
}

void pit_set_gate(struct pit *pit, unsigned channel, bool level, uint64_t now)
{
    uint64_t tick = ticks_at(now, PIT_HZ);

    channel_set_gate(&pit->channel[channel], level, tick);
    track_out0(pit, tick);
}

bool pit_out(const struct pit *pit, unsigned channel, uint64_t now)
{
    return channel_out(&pit->channel[channel], ticks_at(now, PIT_HZ));
}

bool pit_advance(struct pit *pit, uint64_t now)
{
    uint64_t tick = ticks_at(now, PIT_HZ);

    if (tick < pit->edge)
        return false;
    bool rose = !pit->irq || channel_edge(&pit->channel[0], pit->edge) <= tick;
    track_out0(pit, tick);
    return rose;
}

uint64_t pit_deadline(const struct pit *pit)
{
    return pit->edge == MACHINE_NEVER ? MACHINE_NEVER : time_of_tick(pit->edge, PIT_HZ);
}
