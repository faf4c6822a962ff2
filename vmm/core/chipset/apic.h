/* What travels between APICs: interrupt messages, and the EOI messages that answer level-triggered ones
 * (SDM vol. 3, chapter 11 "Advanced Programmable Interrupt Controller"; 82093AA data sheet). */
#ifndef BRINGUP_APIC_H
#define BRINGUP_APIC_H

#include <stdbool.h>
#include <stdint.h>

/* Delivery modes as in ICR, LVT and redirection entries, bits 10:8; the EOI message has no such number. */
enum apic_delivery {
    APIC_FIXED = 0,
    APIC_LOWEST_PRIORITY = 1,
    APIC_SMI = 2,
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_STARTUP = 6,
    APIC_EXTINT = 7,
    APIC_EOI = 8,
};

/* ICR bits 19:18 */
enum apic_shorthand { APIC_TO_DESTINATION = 0, APIC_TO_SELF = 1, APIC_TO_ALL = 2, APIC_TO_OTHERS = 3 };

#define APIC_BROADCAST 0xffffffffu
/* The destination that a field of 8 bits states, as xAPICs and I/O APICs have it. */
#define APIC_DESTINATION(field) ((field) == 0xff ? APIC_BROADCAST : (field))

struct apic_message {
    uint8_t vector;
    uint8_t delivery;    /* enum apic_delivery */
    uint8_t shorthand;   /* enum apic_shorthand */
    bool logical;
    bool level; /* trigger mode */
    uint32_t destination; /* APIC id, or logical destination; APIC_BROADCAST */
};

#endif
