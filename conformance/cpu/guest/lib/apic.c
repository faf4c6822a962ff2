#include "apic.h"

#include "behaviour.h"

volatile unsigned vector_count[256], vector_total;
volatile uint8_t apic_order[16];

uint32_t ioapic_read(uint8_t reg)
{
    *(volatile uint32_t *)(word)IOAPIC_BASE = reg;
    return *(volatile uint32_t *)(word)(IOAPIC_BASE + 0x10);
}

void ioapic_write(uint8_t reg, uint32_t value)
{
    *(volatile uint32_t *)(word)IOAPIC_BASE = reg;
    *(volatile uint32_t *)(word)(IOAPIC_BASE + 0x10) = value;
}

bool apic_bit(unsigned reg, unsigned vector)
{
    return apic_read(reg + vector / 32 * 16) >> vector % 32 & 1;
}

void apic_send(uint32_t icr_low)
{
    apic_write(APIC_ICR_HIGH, apic_read(APIC_ID) & 0xff000000);
    apic_write(APIC_ICR_LOW, icr_low);
    for (unsigned tries = 0; apic_read(APIC_ICR_LOW) & ICR_PENDING; tries++)
        expect(tries < 1000000, "ICR's delivery status stays pending");
}

void apic_self(unsigned vector)
{
    apic_send(ICR_SELF | vector);
}

void need_apic(void)
{
    need(FEATURE_APIC);
    need(FEATURE_MSR);
}

static void counted(struct frame *frame)
{
    unsigned vector = (unsigned)frame->vector;
    apic_order[vector_total++ & 15] = (uint8_t)vector;
    vector_count[vector]++;
    apic_write(APIC_EOI, 0);
}

void count_vector(unsigned vector)
{
    handle(vector, counted);
}

static bool anything(unsigned reg)
{
    for (unsigned i = 0; i < 8; i++) {
        if (apic_read(reg + 16 * i))
            return true;
    }
    return false;
}

static void drain(struct frame *frame)
{
    (void)frame;
    apic_write(APIC_EOI, 0);
}

void apic_reset(void)
{
    for (unsigned vector = 0; vector < 256; vector++)
        vector_count[vector] = 0;
    vector_total = 0;
    if (!has(FEATURE_MSR))
        return;
    if (!has(FEATURE_APIC)) {
        /* Perhaps a behaviour that switched it off came to a bad end. */
        uint64_t base;
        struct trap trap = CATCH(base = rdmsr(MSR_APIC_BASE); wrmsr(MSR_APIC_BASE, base | APIC_GLOBAL_ENABLE));
        if (trap.vector != NONE || !has(FEATURE_APIC))
            return;
    }
    wrmsr(MSR_APIC_BASE, APIC_BASE | APIC_GLOBAL_ENABLE | (rdmsr(MSR_APIC_BASE) & 1 << 8));
    apic_write(APIC_SVR, SVR_ENABLE | APIC_SPURIOUS);
    for (unsigned reg = APIC_LVT_TIMER; reg <= APIC_LVT_ERROR; reg += 0x10) {
        if (reg != APIC_LVT_THERMAL && reg != APIC_LVT_COUNTER)
            apic_write(reg, LVT_MASKED | APIC_SPURIOUS);
    }
    apic_write(APIC_TIMER_INITIAL, 0);
    apic_write(APIC_TIMER_DIVIDE, 0xb);
    apic_write(APIC_TPR, 0);
    for (unsigned pin = 0, pins = (ioapic_read(1) >> 16 & 0xff) + 1; pin < pins && pin < 24; pin++)
        ioapic_write((uint8_t)(0x10 + 2 * pin), LVT_MASKED);
    for (unsigned i = 0; anything(APIC_ISR) && i < 256; i++)
        apic_write(APIC_EOI, 0);
    if (anything(APIC_IRR)) {
        for (unsigned vector = 0; vector < 256; vector++)
            handle(vector, drain); /* the first 32 too: not every APIC refuses to send them */
        sti();
        for (volatile unsigned i = 0; i < 1000; i++)
            ;
        cli();
        for (unsigned vector = 0; vector < 256; vector++)
            handle(vector, NULL);
    }
    apic_write(APIC_ESR, 0);
    apic_write(APIC_LVT_LINT0, DELIVER_EXTINT);
    apic_write(APIC_LVT_LINT1, DELIVER_NMI);
}
