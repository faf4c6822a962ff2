#include "rtc.h"

#include <string.h>

#include "map.h"
#include "ticks.h"

STATE_TABLE(rtc, RTC_STATE);

#define CRYSTAL_HZ 32768
#define DAY_SECONDS 86400
/* UIP rises 244 us before an update cycle of 1984 us (data sheet, "Update cycle"). */
#define UPDATE_NS ((244 + 1984) * 1000ULL)
/* The years 0 to 9999, which two bytes of BCD can show. */
#define FIRST_SECOND (-62167219200LL)
#define LAST_SECOND 253402300799LL

#define FLAGS (RTC_C_UF | RTC_C_AF | RTC_C_PF)

/* ---- calendar ---- */

struct calendar {
    unsigned second, minute, hour, weekday, day, month; /* weekday 0 is Sunday; day and month from 1 */
    int64_t year;
};

static int64_t floor_divide(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days from 1970-01-01 to the first of March of `year`, from which leap days fall at the end of a year. */
static int64_t days_to_march(int64_t year)
{
    return year * 365 + floor_divide(year, 4) - floor_divide(year, 100) + floor_divide(year, 400) - 719468;
}

/* Days in a year before month m, with March 0: months alternate 31 and 30 in groups of five with 153 days. */
static unsigned days_to_month(unsigned m)
{
    return (153 * m + 2) / 5;
}

static struct calendar calendar_of(int64_t seconds)
{
    int64_t days = floor_divide(seconds, DAY_SECONDS);
    unsigned rest = (unsigned)(seconds - days * DAY_SECONDS);
    int64_t year = floor_divide((days + 719468) * 400, 146097);
    unsigned m, day;

    while (days_to_march(year) > days)
        year--;
    while (days_to_march(year + 1) <= days)
        year++;
    day = (unsigned)(days - days_to_march(year));
    m = (5 * day + 2) / 153;
    return (struct calendar){
        .second = rest % 60,
        .minute = rest / 60 % 60,
        .hour = rest / 3600,
        .weekday = (unsigned)(days + 4 - floor_divide(days + 4, 7) * 7), /* 1970 began on a Thursday */
        .day = day - days_to_month(m) + 1,
        .month = m < 10 ? m + 3 : m - 9,
        .year = m < 10 ? year : year + 1,
    };
}

static int64_t seconds_of(const struct calendar *c)
{
    unsigned m = (c->month + 9) % 12; /* March is 0 */
    int64_t days = days_to_march(m < 10 ? c->year : c->year - 1) + days_to_month(m) + c->day - 1;

    return days * DAY_SECONDS + c->hour * 3600 + c->minute * 60 + c->second;
}

static int64_t clamp_seconds(int64_t seconds)
{
    return seconds < FIRST_SECOND ? FIRST_SECOND : seconds > LAST_SECOND ? LAST_SECOND : seconds;
}

/* ---- bytes of the time ---- */

static uint8_t encode(const struct rtc *r, unsigned value)
{
    return (uint8_t)(r->cmos[RTC_B] & RTC_B_DM_BINARY ? value : value / 10 << 4 | value % 10);
}

static unsigned decode(const struct rtc *r, uint8_t byte)
{
    return r->cmos[RTC_B] & RTC_B_DM_BINARY ? byte : (byte >> 4) * 10u + (byte & 15);
}

static uint8_t encode_hour(const struct rtc *r, unsigned hour)
{
    if (r->cmos[RTC_B] & RTC_B_24H)
        return encode(r, hour);
    return encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? 0x80 : 0);
}

static unsigned decode_hour(const struct rtc *r, uint8_t byte)
{
    if (r->cmos[RTC_B] & RTC_B_24H)
        return decode(r, byte);
    return decode(r, byte & 0x7f) % 12 + (byte & 0x80 ? 12 : 0);
}

static bool is_alarm(unsigned index)
{
    return index == RTC_SECONDS_ALARM || index == RTC_MINUTES_ALARM || index == RTC_HOURS_ALARM;
}

static bool is_time(unsigned index)
{
    return (index <= RTC_YEAR && !is_alarm(index)) || index == CMOS_CENTURY;
}

static bool in_divider_reset(const struct rtc *r)
{
    return (r->cmos[RTC_A] & RTC_A_DV_RESET) == RTC_A_DV_RESET;
}

static bool stopped(const struct rtc *r)
{
    return r->cmos[RTC_B] & RTC_B_SET || in_divider_reset(r);
}

static int64_t seconds_at(const struct rtc *r, uint64_t now)
{
    return clamp_seconds(r->base + (int64_t)((now + r->phase) / NS_PER_SECOND));
}

static void time_to_bytes(struct rtc *r, uint64_t now)
{
    struct calendar c = calendar_of(seconds_at(r, now));

    r->cmos[RTC_SECONDS] = encode(r, c.second);
    r->cmos[RTC_MINUTES] = encode(r, c.minute);
    r->cmos[RTC_HOURS] = encode_hour(r, c.hour);
    r->cmos[RTC_WEEKDAY] = encode(r, c.weekday + 1);
    r->cmos[RTC_DAY] = encode(r, c.day);
    r->cmos[RTC_MONTH] = encode(r, c.month);
    r->cmos[RTC_YEAR] = encode(r, (unsigned)(c.year % 100));
    r->cmos[CMOS_CENTURY] = encode(r, (unsigned)(c.year / 100));
}

static void bytes_to_time(struct rtc *r, uint64_t now)
{
    unsigned month = decode(r, r->cmos[RTC_MONTH]);
    struct calendar c = {
        .second = decode(r, r->cmos[RTC_SECONDS]),
        .minute = decode(r, r->cmos[RTC_MINUTES]),
        .hour = decode_hour(r, r->cmos[RTC_HOURS]),
        .day = decode(r, r->cmos[RTC_DAY]),
        .month = month < 1 ? 1 : month > 12 ? 12 : month,
        .year = decode(r, r->cmos[CMOS_CENTURY]) * 100 + decode(r, r->cmos[RTC_YEAR]),
    };

    r->base = clamp_seconds(seconds_of(&c)) - (int64_t)((now + r->phase) / NS_PER_SECOND);
}

/* ---- events after `since` ---- */

static uint64_t next_update(const struct rtc *r)
{
    if (stopped(r))
        return MACHINE_NEVER;
    return ((r->since + r->phase) / NS_PER_SECOND + 1) * NS_PER_SECOND - r->phase;
}

static uint64_t next_periodic(const struct rtc *r)
{
    unsigned rate = r->cmos[RTC_A] & RTC_A_RS;

    if (rate == 0 || in_divider_reset(r))
        return MACHINE_NEVER;
    if (rate < 3)
        rate += 7;
    uint64_t period = UINT64_C(1) << (rate - 1);
    uint64_t tick = ticks_at(r->since + r->phase, CRYSTAL_HZ);
    return time_of_tick((tick / period + 1) * period, CRYSTAL_HZ) - r->phase;
}

/* A byte with both top bits set matches every time. */
static bool alarm_any(uint8_t byte)
{
    return byte >= 0xc0;
}

static uint64_t next_alarm(const struct rtc *r)
{
    const uint8_t *cmos = r->cmos;
    unsigned second = decode(r, cmos[RTC_SECONDS_ALARM]), minute = decode(r, cmos[RTC_MINUTES_ALARM]);
    unsigned hour = decode_hour(r, cmos[RTC_HOURS_ALARM]);
    bool any_second = alarm_any(cmos[RTC_SECONDS_ALARM]), any_minute = alarm_any(cmos[RTC_MINUTES_ALARM]);
    bool any_hour = alarm_any(cmos[RTC_HOURS_ALARM]);
    int64_t start = seconds_at(r, r->since);
    unsigned step = 1;

    if (stopped(r) || (!any_second && second > 59) || (!any_minute && minute > 59) || (!any_hour && hour > 23))
        return MACHINE_NEVER;
    while (step <= DAY_SECONDS) {
        struct calendar c = calendar_of(start + step);
        if (!any_hour && c.hour != hour)
            step += 3600 - c.minute * 60 - c.second;
        else if (!any_minute && c.minute != minute)
            step += 60 - c.second;
        else if (!any_second && c.second != second)
            step++;
        else
            return next_update(r) + (step - 1) * NS_PER_SECOND;
    }
    return MACHINE_NEVER;
}

static void update_irq(struct rtc *r)
{
    r->irq = r->flags & r->cmos[RTC_B] & FLAGS;
}

/* The flags that events up to `now` set, out of `wanted`. */
static uint8_t events(const struct rtc *r, uint8_t wanted, uint64_t now)
{
    uint8_t flags = 0;

    if (wanted & RTC_C_UF && next_update(r) <= now)
        flags |= RTC_C_UF;
    if (wanted & RTC_C_PF && next_periodic(r) <= now)
        flags |= RTC_C_PF;
    if (wanted & RTC_C_AF && next_alarm(r) <= now)
        flags |= RTC_C_AF;
    return flags;
}

/* Flags without an enabled interrupt are worked out when somebody looks, or before what they depend on changes. */
static void sync_flags(struct rtc *r, uint64_t now)
{
    r->flags |= events(r, FLAGS, now);
    r->since = now;
}

void rtc_advance(struct rtc *r, uint64_t now)
{
    r->flags |= events(r, r->cmos[RTC_B], now);
    update_irq(r);
}

uint64_t rtc_deadline(const struct rtc *r)
{
    uint8_t wanted = r->cmos[RTC_B] & (uint8_t)~r->flags;
    uint64_t due = MACHINE_NEVER;

    if (wanted & RTC_C_UF)
        due = sooner(due, next_update(r));
    if (wanted & RTC_C_PF)
        due = sooner(due, next_periodic(r));
    if (wanted & RTC_C_AF)
        due = sooner(due, next_alarm(r));
    return due;
}

/* ---- registers ---- */

void rtc_power_on(struct rtc *r, int64_t seconds)
{
    memset(r, 0, sizeof *r);
    r->base = clamp_seconds(seconds);
    r->cmos[RTC_A] = 2 << 4 | 6; /* 32.768 kHz, 1024 Hz */
    r->cmos[RTC_B] = RTC_B_24H;
    r->cmos[RTC_D] = RTC_D_VRT;
}

void rtc_reset(struct rtc *r)
{
    r->cmos[RTC_B] &= (uint8_t)~(RTC_B_PIE | RTC_B_AIE | RTC_B_UIE | RTC_B_SQWE);
    r->index = 0;
    r->nmi_masked = false;
    r->flags = 0;
    r->irq = false;
}

void rtc_set_cmos(struct rtc *r, unsigned index, uint8_t value)
{
    r->cmos[index % RTC_CMOS] = value;
}

void rtc_write_index(struct rtc *r, uint8_t value)
{
    r->index = value % RTC_CMOS;
    r->nmi_masked = value & 0x80;
}

static bool update_in_progress(const struct rtc *r, uint64_t now)
{
    return !stopped(r) && NS_PER_SECOND - (now + r->phase) % NS_PER_SECOND <= UPDATE_NS;
}

uint8_t rtc_read(struct rtc *r, uint64_t now)
{
    uint8_t value;

    if (is_time(r->index) && !stopped(r))
        time_to_bytes(r, now);
    switch (r->index) {
    case RTC_A:
        return r->cmos[RTC_A] | (update_in_progress(r, now) ? RTC_A_UIP : 0);
    case RTC_C:
        sync_flags(r, now);
        update_irq(r);
        value = r->flags | (r->irq ? RTC_C_IRQF : 0);
        r->flags = 0;
        r->irq = false;
        return value;
    default:
        return r->cmos[r->index];
    }
}

/* Registers A and B: the clock may stop or start by it. */
static void write_control(struct rtc *r, unsigned index, uint8_t value, uint64_t now)
{
    bool was_stopped = stopped(r), was_reset = in_divider_reset(r);

    sync_flags(r, now);
    if (!was_stopped)
        time_to_bytes(r, now);
    r->cmos[index] = value;
    if (r->cmos[RTC_B] & RTC_B_SET)
        r->cmos[RTC_B] &= (uint8_t)~RTC_B_UIE;
    if (was_reset && !in_divider_reset(r)) /* the first update comes half a second later */
        r->phase = (NS_PER_SECOND + NS_PER_SECOND / 2 - now % NS_PER_SECOND) % NS_PER_SECOND;
    if (was_stopped && !stopped(r))
        bytes_to_time(r, now);
}

void rtc_write(struct rtc *r, uint8_t value, uint64_t now)
{
    switch (r->index) {
    case RTC_A:
        write_control(r, RTC_A, value & (RTC_A_DV | RTC_A_RS), now);
        break;
    case RTC_B:
        write_control(r, RTC_B, value, now);
        break;
    case RTC_C: /* read only */
    case RTC_D:
        break;
    default:
        if (is_alarm(r->index))
            sync_flags(r, now);
        if (is_time(r->index) && !stopped(r)) { /* unwise, but the chip lets it happen */
            sync_flags(r, now);
            time_to_bytes(r, now);
            r->cmos[r->index] = value;
            bytes_to_time(r, now);
        } else {
            r->cmos[r->index] = value;
        }
    }
    update_irq(r);
}
