#include "x2apic.h"

/* The register in the xAPIC page that an MSR stands for. */
static unsigned offset_of(uint32_t index)
{
    return (index - X2APIC_MSR_FIRST) << 4;
}

static bool is_lvt(unsigned offset)
{
    return offset >= LAPIC_LVT && offset < LAPIC_LVT + 16 * LAPIC_LVTS;
}

/* What can be read, of what xAPIC mode has too (table 11-6). */
static bool is_readable(unsigned offset)
{
    switch (offset) {
    case LAPIC_VERSION:
    case LAPIC_TPR:
    case LAPIC_PPR:
    case LAPIC_SVR:
    case LAPIC_ESR:
    case LAPIC_INITIAL_COUNT:
    case LAPIC_CURRENT_COUNT:
    case LAPIC_DIVIDE:
        return true;
    }
    return is_lvt(offset) || (offset >= LAPIC_ISR && offset < LAPIC_ESR);
}

/* The bits that may be set in a write; 0 to nothing but zero, or to a register that is read only. */
static uint32_t settable(unsigned offset)
{
    enum { DELIVERY_STATUS = 1 << 12, LVT_ANY = LAPIC_VECTOR | LAPIC_DELIVERY | DELIVERY_STATUS | LAPIC_LVT_POLARITY |
                                               LAPIC_LVT_REMOTE_IRR | LAPIC_LVT_LEVEL | LAPIC_LVT_MASK };
    if (is_lvt(offset))
        return offset == LAPIC_LVT ? LVT_ANY | LAPIC_LVT_TIMER_MODE : LVT_ANY;
    switch (offset) {
    case LAPIC_TPR:
        return 0xff;
    case LAPIC_SVR:
        return LAPIC_VECTOR | LAPIC_SVR_ENABLE | LAPIC_SVR_FOCUS;
    case LAPIC_INITIAL_COUNT:
        return 0xffffffff;
    case LAPIC_DIVIDE:
        return 0x0b;
    }
    return 0;
}

static bool is_writable(unsigned offset)
{
    return settable(offset) || offset == LAPIC_EOI || offset == LAPIC_ESR;
}

bool x2apic_read(struct lapic *l, uint32_t index, uint64_t *value, uint64_t now)
{
    if (!lapic_in_x2apic_mode(l))
        return false;
    switch (index) {
    case X2APIC_ID:
        *value = l->initial_id;
        return true;
    case X2APIC_LDR:
        *value = lapic_x2apic_ldr(l);
        return true;
    case X2APIC_ICR:
        *value = (uint64_t)l->icr_high << 32 | l->icr_low;
        return true;
    }
    if (!is_readable(offset_of(index)))
        return false;
    *value = lapic_read(l, offset_of(index), now);
    return true;
}

bool x2apic_write(struct lapic *l, uint32_t index, uint64_t value, uint64_t now, struct apic_message *message,
                  bool *sent)
{
    enum { ICR_SETTABLE = LAPIC_VECTOR | LAPIC_DELIVERY | LAPIC_ICR_LOGICAL | LAPIC_ICR_ASSERT | LAPIC_ICR_LEVEL |
                          LAPIC_ICR_SHORTHAND };
    unsigned offset = offset_of(index);

    *sent = false;
    if (!lapic_in_x2apic_mode(l))
        return false;
    switch (index) {
    case X2APIC_ICR:
        if ((uint32_t)value & ~(uint32_t)ICR_SETTABLE)
            return false;
        *sent = lapic_write_icr(l, (uint32_t)value, value >> 32, message);
        return true;
    case X2APIC_SELF_IPI: {
        if (value & ~(uint64_t)LAPIC_VECTOR)
            return false;
        uint32_t low = l->icr_low, high = l->icr_high; /* which it does not show in */
        *sent = lapic_write_icr(l, (uint32_t)value | APIC_TO_SELF << 18, 0, message);
        l->icr_low = low;
        l->icr_high = high;
        return true;
    }
    }
    if (!is_writable(offset) || value & ~(uint64_t)settable(offset))
        return false;
    *sent = lapic_write(l, offset, (uint32_t)value, now, message);
    return true;
}
