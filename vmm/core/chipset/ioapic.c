#include "ioapic.h"

#include <string.h>

STATE_TABLE(ioapic, IOAPIC_STATE);

#define LOW_WRITABLE                                                                                                   \
    (IOAPIC_VECTOR | IOAPIC_DELIVERY | IOAPIC_LOGICAL | IOAPIC_POLARITY | IOAPIC_LEVEL | IOAPIC_MASK)

static bool is_level(uint32_t entry)
{
    unsigned delivery = (entry & IOAPIC_DELIVERY) >> 8;

    /* the other delivery modes are edge triggered whatever the bit says */
    return entry & IOAPIC_LEVEL && (delivery == APIC_FIXED || delivery == APIC_LOWEST_PRIORITY);
}

void ioapic_reset(struct ioapic *ioapic, uint8_t id)
{
    uint32_t lines = ioapic->lines;

    memset(ioapic, 0, sizeof *ioapic);
    ioapic->id = id;
    ioapic->lines = lines;
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        ioapic->low[pin] = IOAPIC_MASK;
}

static uint32_t read_register(const struct ioapic *ioapic)
{
    unsigned entry = ioapic->select - IOAPIC_REG_REDTBL;

    switch (ioapic->select) {
    case IOAPIC_REG_ID:
    case IOAPIC_REG_ARB:
        return (uint32_t)ioapic->id << 24;
    case IOAPIC_REG_VER:
        return (IOAPIC_PINS - 1) << 16 | IOAPIC_VERSION;
    }
    if (entry >= 2 * IOAPIC_PINS)
        return 0;
    return entry & 1 ? ioapic->high[entry / 2] : ioapic->low[entry / 2];
}

static void write_register(struct ioapic *ioapic, uint32_t value)
{
    unsigned entry = ioapic->select - IOAPIC_REG_REDTBL, pin = entry / 2;

    if (ioapic->select == IOAPIC_REG_ID) {
        ioapic->id = value >> 24 & 15;
    } else if (entry < 2 * IOAPIC_PINS && entry & 1) {
        ioapic->high[pin] = value & 0xff000000;
    } else if (entry < 2 * IOAPIC_PINS) {
        uint32_t remote_irr = ioapic->low[pin] & IOAPIC_REMOTE_IRR;
        ioapic->low[pin] = value & LOW_WRITABLE;
        if (is_level(value))
            ioapic->low[pin] |= remote_irr; /* edge mode clears it */
    }
}

uint32_t ioapic_read(const struct ioapic *ioapic, unsigned offset)
{
    switch (offset) {
    case IOAPIC_IOREGSEL:
        return ioapic->select;
    case IOAPIC_IOWIN:
        return read_register(ioapic);
    }
    return 0;
}

void ioapic_write(struct ioapic *ioapic, unsigned offset, uint32_t value)
{
    switch (offset) {
    case IOAPIC_IOREGSEL:
        ioapic->select = (uint8_t)value;
        break;
    case IOAPIC_IOWIN:
        write_register(ioapic, value);
        break;
    case IOAPIC_EOIR:
        ioapic_end(ioapic, (uint8_t)value);
        break;
    }
}

void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool level)
{
    uint32_t bit = UINT32_C(1) << pin;

    if (!level) {
        ioapic->lines &= ~bit;
        return;
    }
    /* a masked pin loses its edges */
    if (!(ioapic->lines & bit) && !is_level(ioapic->low[pin]) && !(ioapic->low[pin] & IOAPIC_MASK))
        ioapic->edges |= bit;
    ioapic->lines |= bit;
}

void ioapic_end(struct ioapic *ioapic, uint8_t vector)
{
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        if (is_level(ioapic->low[pin]) && (ioapic->low[pin] & IOAPIC_VECTOR) == vector)
            ioapic->low[pin] &= ~(uint32_t)IOAPIC_REMOTE_IRR;
}

bool ioapic_take(struct ioapic *ioapic, struct apic_message *message)
{
    for (uint32_t waiting = ioapic->lines | ioapic->edges; waiting; waiting &= waiting - 1) {
        unsigned pin = (unsigned)__builtin_ctz(waiting);
        uint32_t *entry = &ioapic->low[pin], bit = UINT32_C(1) << pin;
        bool level = is_level(*entry);

        if (level ? *entry & (IOAPIC_MASK | IOAPIC_REMOTE_IRR) || !(ioapic->lines & bit) : !(ioapic->edges & bit))
            continue;
        if (level)
            *entry |= IOAPIC_REMOTE_IRR;
        ioapic->edges &= ~bit;
        *message = (struct apic_message){
            .vector = (uint8_t)(*entry & IOAPIC_VECTOR),
            .delivery = (uint8_t)((*entry & IOAPIC_DELIVERY) >> 8),
            .destination = APIC_DESTINATION(ioapic->high[pin] >> 24),
            .logical = *entry & IOAPIC_LOGICAL,
            .level = level,
        };
        return true;
    }
    return false;
}
