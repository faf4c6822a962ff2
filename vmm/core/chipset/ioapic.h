/* 82093AA I/O APIC (Intel 290566) with 24 pins, and the EOI register of later ones (ICH9 data sheet, 13.5). */
#ifndef BRINGUP_IOAPIC_H
#define BRINGUP_IOAPIC_H

#include "apic.h"
#include "fields.h"

#define IOAPIC_PINS 24
#define IOAPIC_VERSION 0x20

/* Offsets in its page. */
enum { IOAPIC_IOREGSEL = 0x00, IOAPIC_IOWIN = 0x10, IOAPIC_EOIR = 0x40 };
/* Registers behind IOREGSEL. */
enum { IOAPIC_REG_ID = 0, IOAPIC_REG_VER = 1, IOAPIC_REG_ARB = 2, IOAPIC_REG_REDTBL = 0x10 };
/* Low half of a redirection entry; the high half holds the destination in bits 31:24. */
enum {
    IOAPIC_VECTOR = 0xff,
    IOAPIC_DELIVERY = 7 << 8,
    IOAPIC_LOGICAL = 1 << 11,
    IOAPIC_POLARITY = 1 << 13, /* kept, without effect: the board's lines are asserted or not, they have no voltage */
    IOAPIC_REMOTE_IRR = 1 << 14,
    IOAPIC_LEVEL = 1 << 15,
    IOAPIC_MASK = 1 << 16,
};

#define IOAPIC_STATE(VALUE, PART, owner)                                                                               \
    VALUE(owner, uint8_t, select, )                                                                                    \
    VALUE(owner, uint8_t, id, )                                                                                        \
    VALUE(owner, uint32_t, low, [IOAPIC_PINS])                                                                         \
    VALUE(owner, uint32_t, high, [IOAPIC_PINS])                                                                        \
    VALUE(owner, uint32_t, lines, )    /* levels at the pins */                                                        \
    VALUE(owner, uint32_t, edges, )    /* edges not sent yet */
STATE_STRUCT(ioapic, IOAPIC_STATE);

void ioapic_reset(struct ioapic *ioapic, uint8_t id);
uint32_t ioapic_read(const struct ioapic *ioapic, unsigned offset);
void ioapic_write(struct ioapic *ioapic, unsigned offset, uint32_t value);

void ioapic_set_pin(struct ioapic *ioapic, unsigned pin, bool level);
/* The EOI message for a level-triggered vector. */
void ioapic_end(struct ioapic *ioapic, uint8_t vector);
/* The next interrupt message to send, after any of the calls above; false: none. */
bool ioapic_take(struct ioapic *ioapic, struct apic_message *message);

#endif
