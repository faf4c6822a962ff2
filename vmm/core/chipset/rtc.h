/* MC146818 real-time clock and CMOS memory (Motorola data sheet, 1984), 128 bytes, 32.768 kHz crystal.
 *
 * The time is the calendar of `base` plus guest time; it is only kept as bytes while it stands still (SET, or the
 * divider in reset). The chip leaves the century to software; here CMOS byte 32h follows the calendar too. */
#ifndef BRINGUP_RTC_H
#define BRINGUP_RTC_H

#include "fields.h"

#define RTC_CMOS 128

enum {
    RTC_SECONDS = 0,
    RTC_SECONDS_ALARM = 1,
    RTC_MINUTES = 2,
    RTC_MINUTES_ALARM = 3,
    RTC_HOURS = 4,
    RTC_HOURS_ALARM = 5,
    RTC_WEEKDAY = 6, /* 1 is Sunday */
    RTC_DAY = 7,
    RTC_MONTH = 8,
    RTC_YEAR = 9,
    RTC_A = 10,
    RTC_B = 11,
    RTC_C = 12,
    RTC_D = 13,
};
enum { RTC_A_RS = 15 << 0, RTC_A_DV = 7 << 4, RTC_A_DV_RESET = 6 << 4, RTC_A_UIP = 1 << 7 };
enum {
    RTC_B_DSE = 1 << 0,
    RTC_B_24H = 1 << 1,
    RTC_B_DM_BINARY = 1 << 2,
    RTC_B_SQWE = 1 << 3,
    RTC_B_UIE = 1 << 4, /* enables and flags share their places in B and C */
    RTC_B_AIE = 1 << 5,
    RTC_B_PIE = 1 << 6,
    RTC_B_SET = 1 << 7,
};
enum { RTC_C_UF = 1 << 4, RTC_C_AF = 1 << 5, RTC_C_PF = 1 << 6, RTC_C_IRQF = 1 << 7 };
enum { RTC_D_VRT = 1 << 7 };

#define RTC_STATE(VALUE, PART, owner)                                                                                  \
    VALUE(owner, uint8_t, index, )                                                                                     \
    VALUE(owner, bool, nmi_masked, )      /* bit 7 of port 70h */                                                      \
    VALUE(owner, uint8_t, cmos, [RTC_CMOS])                                                                            \
    VALUE(owner, int64_t, base, )         /* seconds since 1970 when guest time + phase is 0 */                        \
    VALUE(owner, uint64_t, phase, )       /* ns that the divider chain is ahead of guest time, below 1e9 */            \
    VALUE(owner, uint64_t, since, )       /* events after this time are not in `flags` yet */                          \
    VALUE(owner, uint8_t, flags, )        /* register C without IRQF */                                                \
    VALUE(owner, bool, irq, )
STATE_STRUCT(rtc, RTC_STATE);

/* As the battery left it: a running clock, no alarm. `seconds` since 1970 UTC at guest time 0. */
void rtc_power_on(struct rtc *rtc, int64_t seconds);
/* The RESET pin: interrupts off, time and memory stay. */
void rtc_reset(struct rtc *rtc);
void rtc_set_cmos(struct rtc *rtc, unsigned index, uint8_t value);

void rtc_write_index(struct rtc *rtc, uint8_t value);
uint8_t rtc_read(struct rtc *rtc, uint64_t now);
void rtc_write(struct rtc *rtc, uint8_t value, uint64_t now);

void rtc_advance(struct rtc *rtc, uint64_t now);
uint64_t rtc_deadline(const struct rtc *rtc);

#endif
