/* Clocks against each other. The ACPI PM timer (3.579545 MHz, ACPI 6.5 4.8.3.3) is the measure. A host that is busy may
 * stop a machine between two readings, so each comparison has some tries. */
#include "behaviour.h"
#include "acpi.h"
#include "apic.h"
#include "timers.h"

enum { PM_HZ = 3579545, PM_MASK = 0xffffff, TRIES = 10, PERCENT = 3 };

static unsigned pm_port;

static uint32_t pm_timer(void)
{
    return inl((uint16_t)pm_port) & PM_MASK;
}

static void need_pm_timer(void)
{
    pm_port = acpi_pm_timer();
    if (!pm_port)
        skip("no ACPI table tells of a PM timer");
}

/* Lets so many PM ticks pass; how many did. */
static uint32_t pass(uint32_t ticks)
{
    uint32_t start = pm_timer(), passed;
    for (unsigned polls = 0; (passed = (pm_timer() - start) & PM_MASK) < ticks; polls++)
        expect(polls < 100000000, "the PM timer stands still");
    return passed;
}

static bool near(uint64_t seen, uint64_t expected)
{
    return seen * 100 >= expected * (100 - PERCENT) && seen * 100 <= expected * (100 + PERCENT);
}

BEHAVIOUR(tsc_monotonic, "SDM vol. 3 17.17: the TSC never goes backwards")
{
    need(FEATURE_TSC);
    uint64_t last = rdtsc();
    for (unsigned i = 0; i < 100000; i++) {
        uint64_t now = rdtsc();
        expect(now >= last, "the TSC went from %llxh to %llxh", (unsigned long long)last, (unsigned long long)now);
        last = now;
    }
}

BEHAVIOUR(tsc_constant, "SDM vol. 3 17.17: the TSC has the same rate in each of two equal spans of time")
{
    need(FEATURE_TSC);
    need_pm_timer();
    for (unsigned tries = 0;; tries++) {
        uint64_t begin = rdtsc();
        uint32_t ticks = pass(PM_HZ / 100);
        uint64_t middle = rdtsc();
        uint32_t more = pass(PM_HZ / 100);
        uint64_t first = middle - begin, second = rdtsc() - middle;
        if (near(second * ticks, first * more)) /* in proportion, without a division of 64 bits */
            return;
        expect(tries < TRIES, "%llu TSC ticks in %u PM ticks, then %llu in %u", (unsigned long long)first, (unsigned)ticks,
               (unsigned long long)second, (unsigned)more);
    }
}

BEHAVIOUR(pit_against_pm_timer, "8254, ACPI 4.8.3.3: three PM ticks pass for each of the PIT's")
{
    need_pm_timer();
    unsigned pit = 0;
    uint32_t pm = 0;
    for (unsigned tries = 0; tries < TRIES; tries++) {
        pit_start(2, 0xffff);
        unsigned from = pit_count();
        uint32_t start = pm_timer();
        pass(PM_HZ / 50);
        pit = (from - pit_count()) & 0xffff;
        pm = (pm_timer() - start) & PM_MASK;
        if (near(pm, 3 * pit))
            return;
    }
    fail("%u PM ticks are %u of the PIT's", (unsigned)pm, pit);
}

BEHAVIOUR(rtc_against_pm_timer, "MC146818A: at rate 6 the periodic flag is set 1024 times a second")
{
    need_pm_timer();
    /* A period that a busy host misses makes a try longer, so tries are short, and one that was not disturbed is enough. */
    enum { PERIODS = 8, SHORT_TRIES = 60 };
    uint32_t pm = 0;
    rtc_write(RTC_A, (rtc_read(RTC_A) & 0xf0) | 6);
    rtc_write(RTC_B, RTC_24H | RTC_PIE); /* its interrupt is masked; without PIE some chips set no flag */
    for (unsigned tries = 0; tries < SHORT_TRIES; tries++) {
        rtc_read(RTC_C);
        uint32_t start = 0;
        for (unsigned period = 0; period <= PERIODS; period++) {
            for (unsigned polls = 0; !(rtc_read(RTC_C) & 0x40); polls++)
                expect(polls < 10000000, "the periodic flag is never set");
            if (period == 0)
                start = pm_timer();
        }
        pm = (pm_timer() - start) & PM_MASK;
        if (near(pm, (uint64_t)PM_HZ * PERIODS / 1024))
            return;
    }
    fail("%u periods take %u PM ticks, expected %u", (unsigned)PERIODS, (unsigned)pm, PM_HZ / 1024 * PERIODS);
}

BEHAVIOUR(apic_timer_constant, "SDM vol. 3 10.5.4: the local APIC's timer counts down at one rate, half of it at twice the divisor")
{
    need_apic();
    need_pm_timer();
    for (unsigned tries = 0;; tries++) {
        uint32_t counted[2], ticks[2];
        for (unsigned round = 0; round < 2; round++) {
            apic_write(APIC_TIMER_DIVIDE, round ? 0x0 : 0xb); /* by 2, by 1 */
            apic_write(APIC_TIMER_INITIAL, 0xffffffff);
            uint32_t begin = apic_read(APIC_TIMER_CURRENT);
            ticks[round] = pass(PM_HZ / 100);
            counted[round] = begin - apic_read(APIC_TIMER_CURRENT);
            expect(counted[round], "the timer stands still");
        }
        apic_write(APIC_TIMER_INITIAL, 0);
        if (near((uint64_t)counted[0] * ticks[1], 2ull * counted[1] * ticks[0]))
            return;
        expect(tries < TRIES, "%u in %u PM ticks at divisor 1, %u in %u at 2", (unsigned)counted[0], (unsigned)ticks[0],
               (unsigned)counted[1], (unsigned)ticks[1]);
    }
}

BEHAVIOUR(pit_wakes_in_time, "8254 mode 0, SDM vol. 2 HLT: HLT ends when the count does, not before")
{
    need_pm_timer();
    uint32_t start = pm_timer();
    pit_wait(PIT_HZ / 50);
    uint32_t passed = (pm_timer() - start) & PM_MASK;
    expect(passed * 100ull >= PM_HZ / 50 * (100ull - PERCENT), "HLT ended after %u PM ticks, expected %u",
           (unsigned)passed, PM_HZ / 50);
}

BEHAVIOUR(tsc_disabled, "SDM vol. 2 RDTSC, RDTSCP: with CR4.TSD they are #GP(0) at CPL 3, and work at CPL 0")
{
    need(FEATURE_TSC);
    expect_none(CATCH_USER(asm volatile("rdtsc" : : : "eax", "edx")));
    set_cr4(get_cr4() | CR4_TSD);
    expect_fault(CATCH_USER(asm volatile(MARK "1: rdtsc" : : : "eax", "edx")), GP, 0);
    expect_none(CATCH(rdtsc()));
    if (has(FEATURE_RDTSCP))
        expect_fault(CATCH_USER(asm volatile(MARK "1: rdtscp" : : : "eax", "ecx", "edx")), GP, 0);
}

/* Counter 2 through port 61h: bit 0 is its gate, bit 5 its OUT. */
BEHAVIOUR(pit_counter_2, "8254 data sheet, mode 0 and GATE: without its gate counter 2 stands still")
{
    outb(0x61, inb(0x61) & 0xfc);
    outb(0x43, 0xb0);
    outb(0x42, 0xff);
    outb(0x42, 0xff);
    pit_wait(3000);
    outb(0x43, 0x80);
    unsigned low = inb(0x42), closed = low | (unsigned)inb(0x42) << 8;
    outb(0x61, (inb(0x61) & 0xfc) | 1);
    pit_wait(3000);
    outb(0x43, 0x80);
    low = inb(0x42);
    unsigned open = low | (unsigned)inb(0x42) << 8;
    outb(0x61, inb(0x61) & 0xfc);
    expect_equal("the counter with its gate closed", closed, 0xffff);
    expect(open != 0xffff, "the counter stands still with its gate open");
}
