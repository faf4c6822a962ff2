#include "hpet.h"

#include <string.h>

#include "ticks.h"

STATE_TABLE(hpet_timer, HPET_TIMER_STATE);
STATE_TABLE(hpet, HPET_STATE);

#define WRITABLE (HPET_INT_TYPE_CNF | HPET_INT_ENB_CNF | HPET_TYPE_CNF | HPET_VAL_SET_CNF | HPET_32MODE_CNF)
#define ROUTE_SHIFT 9

static bool running(const struct hpet *hpet)
{
    return hpet->configuration & HPET_ENABLE_CNF;
}

static uint64_t counter_at(const struct hpet *hpet, uint64_t tick)
{
    return running(hpet) ? hpet->counter + (tick - hpet->start) : hpet->counter;
}

/* ---- a timer ---- */

static uint64_t width_mask(const struct hpet_timer *timer)
{
    return timer->configuration & HPET_32MODE_CNF ? UINT32_MAX : UINT64_MAX;
}

/* Ticks from one match to the next; 0: there is no other. */
static uint64_t interval(const struct hpet_timer *timer)
{
    if (timer->configuration & HPET_TYPE_CNF)
        return timer->period & width_mask(timer);
    return timer->configuration & HPET_32MODE_CNF ? UINT64_C(1) << 32 : 0;
}

/* Matches that have come to pass. */
static uint64_t matches(const struct hpet_timer *timer, uint64_t tick)
{
    if (timer->match > tick)
        return 0;
    return interval(timer) ? (tick - timer->match) / interval(timer) + 1 : 1;
}

/* The comparator after them: in periodic mode it has gone on. */
static uint64_t comparator_after(const struct hpet_timer *timer, uint64_t passed)
{
    if (!(timer->configuration & HPET_TYPE_CNF))
        return timer->comparator;
    return (timer->comparator + passed * timer->period) & width_mask(timer);
}

/* Brings the timer up to `tick`: its next match lies after that. True: it has matched. */
static bool catch_up(struct hpet_timer *timer, uint64_t tick)
{
    uint64_t passed = matches(timer, tick), step = interval(timer);

    if (!passed)
        return false;
    timer->comparator = comparator_after(timer, passed);
    if (!step || timer->match + passed * step < timer->match)
        timer->match = MACHINE_NEVER;
    else
        timer->match += passed * step;
    return true;
}

/* When counter and comparator are equal next. That a one-shot is equal at this very tick is a match that has been. */
static void arm(const struct hpet *hpet, struct hpet_timer *timer, uint64_t tick)
{
    uint64_t wait = (timer->comparator - counter_at(hpet, tick)) & width_mask(timer);

    if (!wait && !(timer->configuration & HPET_TYPE_CNF))
        wait = width_mask(timer) == UINT64_MAX ? UINT64_MAX : width_mask(timer) + 1;
    timer->match = running(hpet) && wait < MACHINE_NEVER - tick ? tick + wait : MACHINE_NEVER;
}

/* ---- registers ---- */

void hpet_reset(struct hpet *hpet)
{
    memset(hpet, 0, sizeof *hpet);
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        hpet->timer[i].comparator = UINT64_MAX;
        hpet->timer[i].match = MACHINE_NEVER;
    }
}

static uint64_t read_timer(const struct hpet_timer *timer, unsigned reg, uint64_t tick)
{
    switch (reg) {
    case HPET_TIMER:
        return (uint64_t)HPET_ROUTES << 32 | HPET_SIZE_CAP | HPET_PER_INT_CAP | timer->configuration;
    case HPET_COMPARATOR:
        return comparator_after(timer, matches(timer, tick));
    default:
        return 0;
    }
}

static uint64_t read_register(const struct hpet *hpet, unsigned reg, uint64_t tick)
{
    switch (reg) {
    case HPET_CAPABILITIES:
        return (uint64_t)HPET_PERIOD << 32 | HPET_VENDOR << 16 | HPET_LEG_RT_CAP | HPET_COUNT_SIZE_CAP |
               (HPET_TIMERS - 1) << 8 | HPET_REV_ID;
    case HPET_CONFIGURATION:
        return hpet->configuration;
    case HPET_STATUS:
        return hpet->status;
    case HPET_COUNTER:
        return counter_at(hpet, tick);
    }
    if (reg >= HPET_TIMER && reg < HPET_TIMER + HPET_TIMERS * HPET_TIMER_STRIDE)
        return read_timer(&hpet->timer[(reg - HPET_TIMER) / HPET_TIMER_STRIDE],
                          HPET_TIMER + reg % HPET_TIMER_STRIDE, tick);
    return 0;
}

uint32_t hpet_read(const struct hpet *hpet, unsigned offset, uint64_t now)
{
    return (uint32_t)(read_register(hpet, offset & ~7u, ticks_at(now, HPET_HZ)) >> (offset & 4 ? 32 : 0));
}

static void write_configuration(struct hpet *hpet, uint64_t value, uint64_t tick)
{
    hpet->counter = counter_at(hpet, tick);
    hpet->start = tick;
    hpet->configuration = value & (HPET_ENABLE_CNF | HPET_LEG_RT_CNF);
    if (!running(hpet))
        hpet->high = 0;
    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        catch_up(&hpet->timer[i], tick);
        arm(hpet, &hpet->timer[i], tick);
    }
}

static void write_timer(struct hpet_timer *timer, unsigned reg, uint64_t value)
{
    unsigned route = (value & HPET_INT_ROUTE_CNF) >> ROUTE_SHIFT, kept = WRITABLE;

    if (reg == HPET_TIMER) {
        if (HPET_ROUTES >> route & 1) /* software sees by reading that another was not taken */
            kept |= HPET_INT_ROUTE_CNF;
        timer->configuration = (uint16_t)((timer->configuration & ~kept) | (value & kept));
        timer->comparator &= width_mask(timer);
    } else if (reg == HPET_COMPARATOR) {
        if (!(timer->configuration & HPET_TYPE_CNF) || timer->configuration & HPET_VAL_SET_CNF)
            timer->comparator = value & width_mask(timer);
        timer->period = value & width_mask(timer);
        timer->configuration &= (uint16_t)~HPET_VAL_SET_CNF;
    }
}

/* What a write of one half leaves in the register: the other half stays. In periodic mode without VAL_SET a comparator
 * is written through to the period. */
static uint64_t merged(const struct hpet *hpet, unsigned offset, uint64_t value, uint64_t tick)
{
    unsigned reg = offset & ~7u;
    uint64_t whole = read_register(hpet, reg, tick);

    if (reg >= HPET_COMPARATOR && reg % HPET_TIMER_STRIDE == HPET_COMPARATOR % HPET_TIMER_STRIDE) {
        const struct hpet_timer *timer = &hpet->timer[(reg - HPET_TIMER) / HPET_TIMER_STRIDE % HPET_TIMERS];
        if (timer->configuration & HPET_TYPE_CNF && !(timer->configuration & HPET_VAL_SET_CNF))
            whole = timer->period;
    }
    return offset & 4 ? (whole & UINT32_MAX) | value << 32 : (whole & ~(uint64_t)UINT32_MAX) | (uint32_t)value;
}

void hpet_write(struct hpet *hpet, unsigned offset, uint64_t value, unsigned size, uint64_t now)
{
    uint64_t tick = ticks_at(now, HPET_HZ);
    unsigned reg = offset & ~7u;

    if (reg == HPET_STATUS) { /* ones clear */
        hpet->status &= (uint8_t) ~(offset & 4 ? 0 : value);
        return;
    }
    if (size < 8)
        value = merged(hpet, offset, value, tick);
    if (reg == HPET_CONFIGURATION) {
        write_configuration(hpet, value, tick);
    } else if (reg == HPET_COUNTER && !running(hpet)) { /* only while it is halted */
        hpet->counter = value;
    } else if (reg >= HPET_TIMER && reg < HPET_TIMER + HPET_TIMERS * HPET_TIMER_STRIDE) {
        struct hpet_timer *timer = &hpet->timer[(reg - HPET_TIMER) / HPET_TIMER_STRIDE];
        catch_up(timer, tick);
        write_timer(timer, HPET_TIMER + reg % HPET_TIMER_STRIDE, value);
        arm(hpet, timer, tick);
        if (!(timer->configuration & HPET_INT_ENB_CNF))
            hpet->high &= (uint8_t) ~(1 << (timer - hpet->timer));
    }
}

/* ---- interrupts ---- */

bool hpet_legacy(const struct hpet *hpet)
{
    return hpet->configuration & HPET_LEG_RT_CNF;
}

unsigned hpet_route(const struct hpet *hpet, unsigned timer)
{
    return (hpet->timer[timer].configuration & HPET_INT_ROUTE_CNF) >> ROUTE_SHIFT;
}

static bool interrupts(const struct hpet *hpet, unsigned timer)
{
    return running(hpet) && hpet->timer[timer].configuration & HPET_INT_ENB_CNF;
}

bool hpet_pin(const struct hpet *hpet, unsigned timer)
{
    bool level = hpet->timer[timer].configuration & HPET_INT_TYPE_CNF;

    return interrupts(hpet, timer) && (level ? hpet->status : hpet->high) >> timer & 1;
}

unsigned hpet_advance(struct hpet *hpet, uint64_t now)
{
    uint64_t tick = ticks_at(now, HPET_HZ);
    unsigned edges = 0;

    for (unsigned i = 0; i < HPET_TIMERS; i++) {
        if (!interrupts(hpet, i) || !catch_up(&hpet->timer[i], tick))
            continue;
        if (hpet->timer[i].configuration & HPET_INT_TYPE_CNF)
            hpet->status |= (uint8_t)(1 << i);
        else
            edges |= 1u << i;
    }
    hpet->high |= (uint8_t)edges;
    return edges;
}

uint64_t hpet_deadline(const struct hpet *hpet)
{
    uint64_t due = MACHINE_NEVER;

    for (unsigned i = 0; i < HPET_TIMERS; i++)
        if (interrupts(hpet, i))
            due = sooner(due, time_of_tick(hpet->timer[i].match, HPET_HZ));
    return due;
}
