/* The local APIC (SDM vol. 3 chapter 10) in xAPIC mode, and the I/O APIC. */
#ifndef APIC_H
#define APIC_H

#include "cpu.h"

enum {
    APIC_ID = 0x20,
    APIC_VERSION = 0x30,
    APIC_TPR = 0x80,
    APIC_PPR = 0xa0,
    APIC_EOI = 0xb0,
    APIC_LDR = 0xd0,
    APIC_DFR = 0xe0,
    APIC_SVR = 0xf0,
    APIC_ISR = 0x100,
    APIC_TMR = 0x180,
    APIC_IRR = 0x200,
    APIC_ESR = 0x280,
    APIC_ICR_LOW = 0x300,
    APIC_ICR_HIGH = 0x310,
    APIC_LVT_TIMER = 0x320,
    APIC_LVT_THERMAL = 0x330,
    APIC_LVT_COUNTER = 0x340,
    APIC_LVT_LINT0 = 0x350,
    APIC_LVT_LINT1 = 0x360,
    APIC_LVT_ERROR = 0x370,
    APIC_TIMER_INITIAL = 0x380,
    APIC_TIMER_CURRENT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
};
enum { SVR_ENABLE = 1 << 8, LVT_MASKED = 1 << 16, TIMER_PERIODIC = 1 << 17, TIMER_DEADLINE = 2 << 17 };
enum { DELIVER_FIXED = 0, DELIVER_NMI = 4 << 8, DELIVER_EXTINT = 7 << 8, ICR_PENDING = 1 << 12, ICR_SELF = 1 << 18 };
enum { APIC_GLOBAL_ENABLE = 1 << 11, APIC_SPURIOUS = 0xff };
#define APIC_BASE 0xfee00000u
#define IOAPIC_BASE 0xfec00000u

static inline uint32_t apic_read(unsigned reg)
{
    return *(volatile uint32_t *)(word)(APIC_BASE + reg);
}

static inline void apic_write(unsigned reg, uint32_t value)
{
    *(volatile uint32_t *)(word)(APIC_BASE + reg) = value;
}

uint32_t ioapic_read(uint8_t reg);
void ioapic_write(uint8_t reg, uint32_t value);
/* Is the bit of this vector set in APIC_ISR, APIC_TMR or APIC_IRR? */
bool apic_bit(unsigned reg, unsigned vector);
/* Sends a fixed interrupt to this processor and waits until it left. */
void apic_self(unsigned vector);
void apic_send(uint32_t icr_low);
void need_apic(void);

/* Counts interrupts of a vector, with EOI; `apic_order` has the vectors of the first 16. */
void count_vector(unsigned vector);
extern volatile unsigned vector_count[256], vector_total;
extern volatile uint8_t apic_order[16];

/* Enabled, with the 8259s through LINT0 and NMI through LINT1, nothing in service or requested; the I/O APIC masked. */
void apic_reset(void);

#endif
