#include "lapic.h"

#include <string.h>

#include "map.h"
#include "ticks.h"

STATE_TABLE(lapic, LAPIC_STATE);

#define NO_VECTOR (-1)
#define DIVIDE_WRITABLE 0x0b

static const uint32_t lvt_writable[LAPIC_LVTS] = {
    [LAPIC_LVT_TIMER] = LAPIC_VECTOR | LAPIC_LVT_MASK | LAPIC_LVT_TIMER_MODE,
    [LAPIC_LVT_THERMAL] = LAPIC_VECTOR | LAPIC_DELIVERY | LAPIC_LVT_MASK,
    [LAPIC_LVT_PERFORMANCE] = LAPIC_VECTOR | LAPIC_DELIVERY | LAPIC_LVT_MASK,
    [LAPIC_LVT_LINT0] = LAPIC_VECTOR | LAPIC_DELIVERY | LAPIC_LVT_POLARITY | LAPIC_LVT_LEVEL | LAPIC_LVT_MASK,
    [LAPIC_LVT_LINT1] = LAPIC_VECTOR | LAPIC_DELIVERY | LAPIC_LVT_POLARITY | LAPIC_LVT_LEVEL | LAPIC_LVT_MASK,
    [LAPIC_LVT_ERROR] = LAPIC_VECTOR | LAPIC_LVT_MASK,
};

static bool hardware_enabled(const struct lapic *l)
{
    return l->base & LAPIC_BASE_ENABLE;
}

static bool software_enabled(const struct lapic *l)
{
    return l->svr & LAPIC_SVR_ENABLE;
}

static unsigned delivery_of(uint32_t entry)
{
    return (entry & LAPIC_DELIVERY) >> 8;
}

bool lapic_in_x2apic_mode(const struct lapic *l)
{
    return l->base & LAPIC_BASE_X2APIC;
}

uint32_t lapic_x2apic_ldr(const struct lapic *l)
{
    return l->initial_id >> 4 << 16 | UINT32_C(1) << (l->initial_id & 15);
}

/* ---- 256 vectors ---- */

static bool test_vector(const uint32_t *set, unsigned vector)
{
    return set[vector / 32] >> vector % 32 & 1;
}

static void set_vector(uint32_t *set, unsigned vector)
{
    set[vector / 32] |= UINT32_C(1) << vector % 32;
}

static void clear_vector(uint32_t *set, unsigned vector)
{
    set[vector / 32] &= ~(UINT32_C(1) << vector % 32);
}

static int highest_vector(const uint32_t *set)
{
    for (int i = 7; i >= 0; i--)
        if (set[i])
            return i * 32 + 31 - __builtin_clz(set[i]);
    return NO_VECTOR;
}

/* ---- interrupts in ---- */

static void accept(struct lapic *l, unsigned vector, bool level);
static void forget(struct lapic *l);

static void report_error(struct lapic *l, uint32_t error)
{
    bool new = !(l->errors & error);

    l->errors |= error;
    if (new && !(l->lvt[LAPIC_LVT_ERROR] & LAPIC_LVT_MASK))
        accept(l, l->lvt[LAPIC_LVT_ERROR] & LAPIC_VECTOR, false);
}

static void accept(struct lapic *l, unsigned vector, bool level)
{
    if (vector < 16) {
        report_error(l, LAPIC_ESR_RECEIVE_ILLEGAL_VECTOR);
        return;
    }
    if (level)
        set_vector(l->tmr, vector);
    else
        clear_vector(l->tmr, vector);
    set_vector(l->irr, vector);
}

bool lapic_addressed(const struct lapic *l, const struct apic_message *message)
{
    uint32_t destination = message->destination, ldr = lapic_x2apic_ldr(l);

    if (!hardware_enabled(l))
        return false;
    if (destination == APIC_BROADCAST)
        return true;
    if (lapic_in_x2apic_mode(l))
        return message->logical ? destination >> 16 == ldr >> 16 && destination & ldr & 0xffff
                                : destination == l->initial_id;
    if (!message->logical)
        return destination == l->id;
    if (destination > 0xff)
        return false;
    if (l->dfr == 0xf) /* flat */
        return l->ldr & destination;
    return l->ldr >> 4 == destination >> 4 && l->ldr & destination & 15; /* cluster */
}

void lapic_receive(struct lapic *l, const struct apic_message *message)
{
    if (!hardware_enabled(l))
        return;
    switch (message->delivery) {
    case APIC_NMI:
        l->nmi = true;
        return;
    case APIC_INIT:
        forget(l);
        l->init = l->wait_for_sipi = true;
        l->startup = false;
        return;
    case APIC_STARTUP: /* is for those who wait, and lost on others */
        if (l->wait_for_sipi) {
            l->wait_for_sipi = false;
            l->startup = true;
            l->startup_vector = message->vector;
        }
        return;
    }
    if (!software_enabled(l))
        return;
    if (message->delivery == APIC_FIXED || message->delivery == APIC_LOWEST_PRIORITY)
        accept(l, message->vector, message->level);
    else if (message->delivery == APIC_EXTINT)
        l->extint = true;
}

/* A LINT pin is level triggered when its entry says so; NMI and ExtINT have fixed trigger modes of their own. */
static bool lint_is_level(uint32_t entry)
{
    return delivery_of(entry) == APIC_FIXED && entry & LAPIC_LVT_LEVEL;
}

static void sample_level(struct lapic *l, unsigned pin)
{
    uint32_t *entry = &l->lvt[LAPIC_LVT_LINT0 + pin];

    if (!l->lint[pin] || !lint_is_level(*entry) || *entry & (LAPIC_LVT_MASK | LAPIC_LVT_REMOTE_IRR))
        return;
    *entry |= LAPIC_LVT_REMOTE_IRR;
    accept(l, *entry & LAPIC_VECTOR, true);
}

void lapic_set_lint(struct lapic *l, unsigned pin, bool level)
{
    bool rose = level && !l->lint[pin];
    uint32_t entry = l->lvt[LAPIC_LVT_LINT0 + pin];

    l->lint[pin] = level;
    if (!hardware_enabled(l)) { /* the pins are the processor's INTR and NMI */
        if (rose && pin == LAPIC_LINT1)
            l->nmi = true;
        return;
    }
    if (entry & LAPIC_LVT_MASK)
        return;
    if (lint_is_level(entry))
        sample_level(l, pin);
    else if (rose && delivery_of(entry) == APIC_FIXED)
        accept(l, entry & LAPIC_VECTOR, false);
    else if (rose && delivery_of(entry) == APIC_NMI)
        l->nmi = true;
}

/* ---- interrupts out ---- */

uint8_t lapic_ppr(const struct lapic *l)
{
    int service = highest_vector(l->isr);
    unsigned service_class = service == NO_VECTOR ? 0 : service & 0xf0;

    return (uint8_t)((l->tpr & 0xf0u) >= service_class ? l->tpr : service_class);
}

bool lapic_pending(const struct lapic *l)
{
    int request = highest_vector(l->irr);

    return request != NO_VECTOR && request >> 4 > lapic_ppr(l) >> 4;
}

bool lapic_extint_pending(const struct lapic *l)
{
    uint32_t entry = l->lvt[LAPIC_LVT_LINT0];

    if (!hardware_enabled(l))
        return l->lint[LAPIC_LINT0];
    return l->extint ||
           (l->lint[LAPIC_LINT0] && !(entry & LAPIC_LVT_MASK) && delivery_of(entry) == APIC_EXTINT);
}

bool lapic_take_extint(struct lapic *l)
{
    bool pending = lapic_extint_pending(l);

    l->extint = false;
    return pending;
}

uint8_t lapic_acknowledge(struct lapic *l)
{
    if (!lapic_pending(l))
        return (uint8_t)(l->svr & LAPIC_VECTOR);
    int vector = highest_vector(l->irr);
    clear_vector(l->irr, (unsigned)vector);
    set_vector(l->isr, (unsigned)vector);
    return (uint8_t)vector;
}

bool lapic_take_nmi(struct lapic *l)
{
    bool nmi = l->nmi;

    l->nmi = false;
    return nmi;
}

bool lapic_take_init(struct lapic *l)
{
    bool init = l->init;

    l->init = false;
    return init;
}

bool lapic_take_startup(struct lapic *l, uint8_t *vector)
{
    bool startup = l->startup;

    l->startup = false;
    *vector = l->startup_vector;
    return startup;
}

/* True: the I/O APICs have to hear of it. */
static bool end_of_interrupt(struct lapic *l, struct apic_message *message)
{
    int vector = highest_vector(l->isr);

    if (vector == NO_VECTOR)
        return false;
    clear_vector(l->isr, (unsigned)vector);
    if (!test_vector(l->tmr, (unsigned)vector))
        return false;
    for (unsigned pin = LAPIC_LINT0; pin <= LAPIC_LINT1; pin++) {
        uint32_t *entry = &l->lvt[LAPIC_LVT_LINT0 + pin];
        if (lint_is_level(*entry) && (*entry & LAPIC_VECTOR) == (uint32_t)vector) {
            *entry &= ~(uint32_t)LAPIC_LVT_REMOTE_IRR;
            sample_level(l, pin);
        }
    }
    *message = (struct apic_message){.vector = (uint8_t)vector, .delivery = APIC_EOI};
    return true;
}

/* ---- the timer ---- */

static unsigned timer_mode(const struct lapic *l)
{
    return (l->lvt[LAPIC_LVT_TIMER] & LAPIC_LVT_TIMER_MODE) >> 17;
}

/* log2 of the divisor: bits 3, 1 and 0 are its power of two, less one. */
static unsigned divide_shift(const struct lapic *l)
{
    return (((l->divide & 8) >> 1 | (l->divide & 3)) + 1) & 7;
}

static void disarm(struct lapic *l)
{
    l->expiry = MACHINE_NEVER;
    l->tsc_deadline = 0;
}

static uint32_t current_count(const struct lapic *l, uint64_t now)
{
    unsigned shift = divide_shift(l);

    if (timer_mode(l) == LAPIC_TIMER_TSC_DEADLINE || l->expiry == MACHINE_NEVER || now >= l->expiry)
        return 0;
    return (uint32_t)((l->expiry - now + (1u << shift) - 1) >> shift);
}

static void start_count(struct lapic *l, uint32_t count, uint64_t now)
{
    l->expiry = count ? now + ((uint64_t)count << divide_shift(l)) : MACHINE_NEVER;
}

static void write_divide(struct lapic *l, uint32_t value, uint64_t now)
{
    uint32_t left = current_count(l, now);

    l->divide = value & DIVIDE_WRITABLE;
    if (left)
        start_count(l, left, now);
}

void lapic_advance(struct lapic *l, uint64_t now)
{
    uint32_t entry = l->lvt[LAPIC_LVT_TIMER];
    uint64_t period = (uint64_t)l->initial_count << divide_shift(l);

    if (now < l->expiry)
        return;
    if (timer_mode(l) == LAPIC_TIMER_PERIODIC && period)
        l->expiry += ((now - l->expiry) / period + 1) * period;
    else
        disarm(l);
    if (!(entry & LAPIC_LVT_MASK))
        accept(l, entry & LAPIC_VECTOR, false);
}

uint64_t lapic_deadline(const struct lapic *l)
{
    return l->expiry;
}

/* ---- registers ---- */

static void mask_all(struct lapic *l)
{
    for (unsigned i = 0; i < LAPIC_LVTS; i++)
        l->lvt[i] |= LAPIC_LVT_MASK;
}

/* The registers after INIT, and when the LAPIC is disabled: what it is and what stands at its pins is left. */
static void forget(struct lapic *l)
{
    struct lapic old = *l;

    *l = (struct lapic){
        .base = old.base,
        .id = old.id,
        .initial_id = old.initial_id,
        .dfr = 0xf,
        .svr = 0xff,
        .lint = {old.lint[LAPIC_LINT0], old.lint[LAPIC_LINT1]},
        .init = old.init,
        .wait_for_sipi = old.wait_for_sipi,
        .startup = old.startup,
        .startup_vector = old.startup_vector,
    };
    mask_all(l);
    disarm(l);
}

void lapic_reset(struct lapic *l, uint8_t id)
{
    l->base = MAP_LAPIC | LAPIC_BASE_ENABLE | (id == 0 ? LAPIC_BASE_BSP : 0);
    l->id = id;
    l->initial_id = id;
    l->init = l->startup = false;
    l->wait_for_sipi = id != 0;
    l->startup_vector = 0;
    forget(l);
}

static bool is_lvt(unsigned offset)
{
    return offset >= LAPIC_LVT && offset < LAPIC_LVT + 16 * LAPIC_LVTS;
}

uint32_t lapic_read(struct lapic *l, unsigned offset, uint64_t now)
{
    if (offset >= LAPIC_ISR && offset < LAPIC_ESR) { /* ISR, TMR, IRR: eight registers each */
        const uint32_t *set = offset < LAPIC_TMR ? l->isr : offset < LAPIC_IRR ? l->tmr : l->irr;
        return set[offset >> 4 & 7];
    }
    if (is_lvt(offset))
        return l->lvt[(offset - LAPIC_LVT) >> 4];
    switch (offset) {
    case LAPIC_ID:
        return (uint32_t)l->id << 24;
    case LAPIC_VERSION:
        return LAPIC_VERSION_VALUE;
    case LAPIC_TPR:
        return l->tpr;
    case LAPIC_PPR:
        return lapic_ppr(l);
    case LAPIC_LDR:
        return (uint32_t)l->ldr << 24;
    case LAPIC_DFR:
        return (uint32_t)l->dfr << 28 | 0x0fffffff;
    case LAPIC_SVR:
        return l->svr;
    case LAPIC_ESR:
        return l->esr;
    case LAPIC_ICR_LOW:
        return l->icr_low;
    case LAPIC_ICR_HIGH:
        return l->icr_high;
    case LAPIC_INITIAL_COUNT:
        return l->initial_count;
    case LAPIC_CURRENT_COUNT:
        return current_count(l, now);
    case LAPIC_DIVIDE:
        return l->divide;
    case LAPIC_APR:
    case LAPIC_EOI:
    case LAPIC_RRD:
        return 0;
    }
    report_error(l, LAPIC_ESR_ILLEGAL_REGISTER);
    return 0;
}

static void write_lvt(struct lapic *l, unsigned index, uint32_t value)
{
    uint32_t old = l->lvt[index];
    bool was_deadline = timer_mode(l) == LAPIC_TIMER_TSC_DEADLINE;

    value &= lvt_writable[index];
    if (!software_enabled(l))
        value |= LAPIC_LVT_MASK;
    if (lint_is_level(value) && (index == LAPIC_LVT_LINT0 || index == LAPIC_LVT_LINT1))
        value |= old & LAPIC_LVT_REMOTE_IRR;
    l->lvt[index] = value;
    if (index == LAPIC_LVT_TIMER && was_deadline != (timer_mode(l) == LAPIC_TIMER_TSC_DEADLINE))
        disarm(l);
    if (index == LAPIC_LVT_LINT0 || index == LAPIC_LVT_LINT1)
        sample_level(l, index - LAPIC_LVT_LINT0);
}

bool lapic_write_icr(struct lapic *l, uint32_t value, uint32_t high, struct apic_message *message)
{
    unsigned delivery = delivery_of(value);

    l->icr_high = high;
    l->icr_low = value & (LAPIC_VECTOR | LAPIC_DELIVERY | LAPIC_ICR_LOGICAL | LAPIC_ICR_ASSERT | LAPIC_ICR_LEVEL |
                          LAPIC_ICR_SHORTHAND);
    if ((delivery == APIC_FIXED || delivery == APIC_LOWEST_PRIORITY) && (value & LAPIC_VECTOR) < 16) {
        report_error(l, LAPIC_ESR_SEND_ILLEGAL_VECTOR);
        return false;
    }
    if (delivery == APIC_INIT && value & LAPIC_ICR_LEVEL && !(value & LAPIC_ICR_ASSERT))
        return false; /* INIT level de-assert: sets arbitration ids only */
    *message = (struct apic_message){
        .vector = (uint8_t)(value & LAPIC_VECTOR),
        .delivery = (uint8_t)delivery,
        .shorthand = (uint8_t)((value & LAPIC_ICR_SHORTHAND) >> 18),
        .destination = lapic_in_x2apic_mode(l) ? high : APIC_DESTINATION(high >> 24),
        .logical = value & LAPIC_ICR_LOGICAL,
        .level = false, /* IPIs are edge triggered: the bit only matters to INIT */
    };
    return true;
}

bool lapic_write(struct lapic *l, unsigned offset, uint32_t value, uint64_t now, struct apic_message *message)
{
    if (is_lvt(offset)) {
        write_lvt(l, (offset - LAPIC_LVT) >> 4, value);
        return false;
    }
    switch (offset) {
    case LAPIC_ID:
        l->id = (uint8_t)(value >> 24);
        break;
    case LAPIC_TPR:
        l->tpr = (uint8_t)value;
        break;
    case LAPIC_EOI:
        return end_of_interrupt(l, message);
    case LAPIC_LDR:
        l->ldr = (uint8_t)(value >> 24);
        break;
    case LAPIC_DFR:
        l->dfr = (uint8_t)(value >> 28);
        break;
    case LAPIC_SVR:
        l->svr = value & (LAPIC_VECTOR | LAPIC_SVR_ENABLE | LAPIC_SVR_FOCUS);
        if (!software_enabled(l))
            mask_all(l);
        break;
    case LAPIC_ESR:
        l->esr = l->errors;
        l->errors = 0;
        break;
    case LAPIC_ICR_LOW:
        return lapic_write_icr(l, value, l->icr_high, message);
    case LAPIC_ICR_HIGH:
        l->icr_high = value & 0xff000000;
        break;
    case LAPIC_INITIAL_COUNT:
        if (timer_mode(l) == LAPIC_TIMER_TSC_DEADLINE)
            break;
        l->initial_count = value;
        start_count(l, value, now);
        break;
    case LAPIC_DIVIDE:
        write_divide(l, value, now);
        break;
    case LAPIC_VERSION: /* read only */
    case LAPIC_APR:
    case LAPIC_PPR:
    case LAPIC_RRD:
    case LAPIC_CURRENT_COUNT:
        break;
    default:
        if (offset < LAPIC_ISR || offset >= LAPIC_ESR)
            report_error(l, LAPIC_ESR_ILLEGAL_REGISTER);
    }
    return false;
}

bool lapic_read_msr(const struct lapic *l, uint32_t index, uint64_t *value)
{
    switch (index) {
    case LAPIC_MSR_BASE:
        *value = l->base;
        return true;
    case LAPIC_MSR_TSC_DEADLINE:
        *value = l->tsc_deadline;
        return true;
    }
    return false;
}

/* From xAPIC to x2APIC mode, and from there to disabled (11.12.5): no other way leads in or out. */
static bool may_become(uint64_t old, uint64_t new)
{
    enum { MODE = LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC };
    unsigned from = old & MODE, to = new & MODE;

    if (to == LAPIC_BASE_X2APIC || (to == MODE && !from))
        return false;
    return from != MODE || to != LAPIC_BASE_ENABLE;
}

static bool write_base(struct lapic *l, uint64_t value, unsigned address_bits, bool x2apic)
{
    uint64_t address = ((UINT64_C(1) << address_bits) - 1) & ~UINT64_C(0xfff);
    uint64_t known = address | LAPIC_BASE_BSP | LAPIC_BASE_ENABLE | (x2apic ? LAPIC_BASE_X2APIC : 0);

    if (value & ~known || !may_become(l->base, value))
        return false;
    if (!(value & LAPIC_BASE_ENABLE) && hardware_enabled(l)) {
        forget(l); /* as power-up does, the id too */
        l->id = (uint8_t)l->initial_id;
    }
    l->base = value;
    return true;
}

bool lapic_write_msr(struct lapic *l, uint32_t index, uint64_t value, uint64_t now, uint64_t tsc,
                     unsigned address_bits, bool x2apic)
{
    switch (index) {
    case LAPIC_MSR_BASE:
        return write_base(l, value, address_bits, x2apic);
    case LAPIC_MSR_TSC_DEADLINE:
        if (timer_mode(l) != LAPIC_TIMER_TSC_DEADLINE)
            return true; /* ignored in the other modes */
        disarm(l);
        if (value) {
            uint64_t left = value > tsc ? value - tsc : 0;
            l->tsc_deadline = value;
            l->expiry = left < MACHINE_NEVER - now ? now + left : MACHINE_NEVER;
        }
        return true;
    }
    return false;
}
