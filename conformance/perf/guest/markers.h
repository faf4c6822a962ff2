/* What the guest programs of `bringup perf` say on their console, and how they are told what to run.
 *
 * Arguments are `workload:units`, run in the order given. Around each workload a program prints marker lines that the
 * driver stamps with the VMM's CPU time as they arrive:
 *
 *     @perf ready
 *     @perf start crc units=3000
 *     @perf end crc units=3000 sum=00000000deadbeef ticks=00000000000098765432
 *     @perf done
 *
 * `sum` is a checksum of everything computed, equal on every processor that is right. `ticks` is the TSC's advance over
 * the workload: on a machine in virtual time, retired instructions and what time was skipped in HLT. No libc: the
 * programs have to be the same everywhere, and nothing but the workload may run between two markers. */
#ifndef PERF_MARKERS_H
#define PERF_MARKERS_H

#include <stddef.h>
#include <stdint.h>

#define SIZE(array) (sizeof(array) / sizeof((array)[0]))

static inline uint64_t rdtsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static inline uint64_t mix(uint64_t sum, uint64_t value)
{
    sum = (sum ^ value) * 0x9e3779b97f4a7c15;
    return sum ^ sum >> 29;
}

struct line {
    char text[160];
    size_t used;
};

static void put_string(struct line *line, const char *string)
{
    while (*string && line->used < sizeof(line->text))
        line->text[line->used++] = *string++;
}

/* Divides, and gives the remainder. 32-bit programs have no library that could divide 64 bits. */
static inline unsigned divide(uint64_t *value, unsigned by)
{
#ifdef __x86_64__
    unsigned rest = *value % by;

    *value /= by;
#else
    uint32_t high = (uint32_t)(*value >> 32), low = (uint32_t)*value, rest = high % by;

    __asm__("divl %2" : "+a"(low), "+d"(rest) : "r"(by));
    *value = (uint64_t)(high / by) << 32 | low;
#endif
    return rest;
}

static void put_number(struct line *line, uint64_t value, unsigned base, unsigned digits)
{
    char text[20];
    unsigned used = 0;

    do {
        text[used++] = "0123456789abcdef"[divide(&value, base)];
    } while (value || used < digits);
    while (used && line->used < sizeof(line->text))
        line->text[line->used++] = text[--used];
}

struct workload {
    const char *name;
    void (*prepare)(void);
    uint64_t (*run)(uint64_t units);
};

/* Each program's own: writes the line and its end, waits until it is sent, and gives the driver time to look. */
static void print(struct line *line);

static void put_workload(struct line *line, const char *marker, const struct workload *workload, uint64_t units)
{
    put_string(line, marker);
    put_string(line, workload->name);
    put_string(line, " units=");
    put_number(line, units, 10, 1);
}

static void measure(const struct workload *workload, uint64_t units, struct line *line)
{
    uint64_t begin, ticks, sum;

    workload->prepare();
    put_workload(line, "@perf start ", workload, units);
    print(line);

    begin = rdtsc();
    sum = workload->run(units);
    ticks = rdtsc() - begin;

    put_workload(line, "@perf end ", workload, units);
    put_string(line, " sum=");
    put_number(line, sum, 16, 16);
    put_string(line, " ticks="); /* of fixed width: no instruction more on a slower machine */
    put_number(line, ticks, 10, 20);
    print(line);
}

/* Runs what one argument asks of `count` workloads; 0, and a complaint, when it asks for none of them. The argument ends
 * with a 0 or a space. */
static int run_argument(const char *argument, const struct workload *workloads, size_t count, struct line *line)
{
    for (const struct workload *workload = workloads; workload < workloads + count; workload++) {
        const char *at = argument, *name = workload->name;
        uint64_t units = 0;

        while (*name && *at == *name)
            at++, name++;
        if (*name || *at++ != ':' || *at < '0' || *at > '9')
            continue;
        for (; *at >= '0' && *at <= '9' && units < UINT64_MAX / 16; at++)
            units = units * 10 + (uint64_t)(*at - '0');
        if (*at && *at != ' ')
            continue;
        measure(workload, units, line);
        return 1;
    }
    put_string(line, "@perf error not a workload: ");
    for (const char *at = argument; *at && *at != ' ' && line->used < sizeof(line->text); at++)
        line->text[line->used++] = *at;
    print(line);
    return 0;
}

#endif
