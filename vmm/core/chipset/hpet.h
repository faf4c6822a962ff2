/* High precision event timers (IA-PC HPET specification 1.0a): a 64-bit counter at 100 MHz and three timers, all of them
 * periodic on request, with the legacy replacement route. FSB delivery is left out, as the capabilities say. */
#ifndef BRINGUP_HPET_H
#define BRINGUP_HPET_H

#include "fields.h"

#define HPET_HZ 100000000
#define HPET_PERIOD 10000000 /* femtoseconds of a tick */
#define HPET_TIMERS 3
#define HPET_VENDOR 0x8086u
#define HPET_ROUTES 0x00f00000 /* I/O APIC pins that a timer may have without the legacy route: 20 to 23 */

/* Registers, 64 bits each; timer n's are HPET_TIMER_STRIDE * n further on. */
enum {
    HPET_CAPABILITIES = 0x000,
    HPET_CONFIGURATION = 0x010,
    HPET_STATUS = 0x020,
    HPET_COUNTER = 0x0f0,
    HPET_TIMER = 0x100,
    HPET_COMPARATOR = 0x108,
    HPET_TIMER_STRIDE = 0x20,
};
enum { HPET_LEG_RT_CAP = 1 << 15, HPET_COUNT_SIZE_CAP = 1 << 13, HPET_NUM_TIM_CAP = 31 << 8, HPET_REV_ID = 0x01 };
enum { HPET_ENABLE_CNF = 1 << 0, HPET_LEG_RT_CNF = 1 << 1 };
enum {
    HPET_INT_TYPE_CNF = 1 << 1, /* 1: level */
    HPET_INT_ENB_CNF = 1 << 2,
    HPET_TYPE_CNF = 1 << 3, /* 1: periodic */
    HPET_PER_INT_CAP = 1 << 4,
    HPET_SIZE_CAP = 1 << 5, /* 64 bits */
    HPET_VAL_SET_CNF = 1 << 6,
    HPET_32MODE_CNF = 1 << 8,
    HPET_INT_ROUTE_CNF = 31 << 9,
    HPET_FSB_EN_CNF = 1 << 14,
    HPET_FSB_INT_DEL_CAP = 1 << 15,
};

/* A comparator is never stepped: it is `comparator` until the match at tick `match`, and follows from the time after. */
#define HPET_TIMER_STATE(VALUE, PART, owner)                                                                           \
    VALUE(owner, uint16_t, configuration, )                                                                            \
    VALUE(owner, uint64_t, comparator, )                                                                               \
    VALUE(owner, uint64_t, period, )       /* the last value written in periodic mode */                               \
    VALUE(owner, uint64_t, match, )        /* tick, or MACHINE_NEVER */
STATE_STRUCT(hpet_timer, HPET_TIMER_STATE);

#define HPET_STATE(VALUE, PART, owner)                                                                                 \
    PART(owner, hpet_timer, timer, [HPET_TIMERS])                                                                      \
    VALUE(owner, uint8_t, configuration, )                                                                             \
    VALUE(owner, uint8_t, status, )        /* of timers with level interrupts */                                       \
    VALUE(owner, uint8_t, high, )          /* of those with edges: the pins, after the first one */                    \
    VALUE(owner, uint64_t, counter, )      /* at tick `start`; while halted the value */                               \
    VALUE(owner, uint64_t, start, )
STATE_STRUCT(hpet, HPET_STATE);

void hpet_reset(struct hpet *hpet);
/* The 32 bits at a multiple of 4. */
uint32_t hpet_read(const struct hpet *hpet, unsigned offset, uint64_t now);
/* `size` 4, or 8 at a multiple of 8. */
void hpet_write(struct hpet *hpet, unsigned offset, uint64_t value, unsigned size, uint64_t now);

/* Is timer 0 in the PIT's place, and timer 1 in the RTC's? */
bool hpet_legacy(const struct hpet *hpet);
/* The I/O APIC pin of a timer when it is not; 0: none has been chosen. */
unsigned hpet_route(const struct hpet *hpet, unsigned timer);
/* The level of a timer's pin. That of one with edges stays high until it falls for the next. */
bool hpet_pin(const struct hpet *hpet, unsigned timer);

/* A bit for each timer that gives an edge. */
unsigned hpet_advance(struct hpet *hpet, uint64_t now);
uint64_t hpet_deadline(const struct hpet *hpet);

#endif
