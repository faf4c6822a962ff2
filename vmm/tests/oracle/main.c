/* oracle: reads a machine_config and an order, answers with a report (oracle.h), on standard input and output. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

#include "layout.h"

static struct oracle_order order;
static struct oracle_report report;
static struct oracle_tally *tallies;
static struct oracle_failure failures[ORACLE_MAX_FAILURES];

static struct oracle_case cases[ORACLE_BATCH];
static struct oracle_result ours[ORACLE_BATCH], hosts[ORACLE_BATCH];

static void take(void *to, size_t size)
{
    if (fread(to, size, 1, stdin) != 1) {
        fprintf(stderr, "oracle: standard input is too short\n");
        exit(2);
    }
}

static void give(const void *from, size_t size)
{
    if (size && fwrite(from, size, 1, stdout) != 1) {
        perror("oracle: standard output");
        exit(3);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

#define VECTOR_UD 6
#define VECTOR_GP 13
#define VECTOR_PF 14
#define PATIENCE 120.0 /* seconds for what must be done whatever the order says */

static void clear_memories(void)
{
    guest_clear();
    host_clear();
}

static uint64_t count_strays(void)
{
    const uint8_t *mine = guest_memory(), *host = host_memory();
    uint64_t count = 0;
    if (memcmp(mine, host, FILE_BYTES) == 0)
        return 0;
    for (unsigned i = 0; i < FILE_BYTES; i++)
        count += mine[i] != host[i];
    return count;
}

static void keep(struct oracle_tally *tally, uint32_t fields, const struct oracle_case *test,
                 const struct oracle_result *mine, const struct oracle_result *host)
{
    if (tally->failures++ < 3 && report.failures < ORACLE_MAX_FAILURES)
        failures[report.failures++] = (struct oracle_failure){fields, 0, *test, *mine, *host};
}

static uint32_t differing(const struct oracle_case *test, const struct oracle_result *mine,
                          const struct oracle_result *host)
{
    return host->vector == ORACLE_DIED ? 1 : compare(test, mine, host, order.same_vendor);
}

static void run_guest(const struct oracle_case *test, struct oracle_result *mine)
{
    guest_run(test, mine);
    if (order.spoil && forms[test->form].map == 0 && forms[test->form].opcode <= 0x05)
        mine->state.gpr[0] ^= 1;
}

static void judge(const struct oracle_case *test, const struct oracle_result *mine, const struct oracle_result *host)
{
    struct oracle_tally *tally = &tallies[test->form];
    tally->runs++;
    report.cases++;
    uint32_t fields = differing(test, mine, host);
    if (fields) {
        /* Once more, on equal memory: an earlier case may have left something else beside its window, where it may, and a
         * hypervisor that loses an event or makes one up does not do so twice. */
        static struct oracle_result mine_again, host_again;
        host_copy(guest_memory());
        host_run(test, &host_again, 1);
        run_guest(test, &mine_again);
        mine = &mine_again;
        host = &host_again;
        fields = differing(test, mine, host);
        if (!fields) {
            report.unsteady++;
            return;
        }
        if (mine->vector == VECTOR_PF && host_has(mine->cr2)) {
            report.astray++;
            host_restart(); /* it may have written there */
            return;
        }
    }
    if (host->vector == ORACLE_DIED) {
        tally->died++;
    } else if (!forms[test->form].known && mine->vector == VECTOR_UD && host->vector != VECTOR_UD) {
        tally->host_only += host->vector != VECTOR_GP; /* which is for more than 15 bytes, operands included */
        return;
    }
    if (fields) {
        keep(tally, fields, test, mine, host);
        return;
    }
    tally->done += mine->vector == ORACLE_DONE;
    tally->undefined += mine->vector == VECTOR_UD;
}

static uint32_t run_one(const struct oracle_case *test, struct oracle_result *mine, struct oracle_result *host)
{
    clear_memories();
    host_run(test, host, 1);
    run_guest(test, mine);
    mine->strays = count_strays();
    uint32_t fields = differing(test, mine, host);
    if (!fields && mine->strays && strays_count(test, order.same_vendor))
        fields = 1u << (ORACLE_FIELDS - 1);
    return fields;
}

/* Some case of the batch has left something else beside its window than on the host: which, and may it? */
static void find_strays(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (run_one(&cases[i], &ours[i], &hosts[i]) == 1u << (ORACLE_FIELDS - 1))
            keep(&tallies[cases[i].form], 1u << (ORACLE_FIELDS - 1), &cases[i], &ours[i], &hosts[i]);
    clear_memories();
}

static void run_batch(unsigned count)
{
    double before = now();
    host_run(cases, hosts, count);
    report.host_seconds += now() - before;
    for (unsigned i = 0; i < count; i++) {
        run_guest(&cases[i], &ours[i]);
        judge(&cases[i], &ours[i], &hosts[i]);
    }
    if (count_strays())
        find_strays(count);
}

static void shuffle(uint32_t *list, unsigned count, uint64_t *random)
{
    for (unsigned i = count; i > 1; i--) {
        unsigned j = random_below(random, i);
        uint32_t other = list[j];
        list[j] = list[i - 1];
        list[i - 1] = other;
    }
}

static void run_list(const uint32_t *list, unsigned count, uint64_t *random, double until)
{
    for (unsigned at = 0; at < count && now() < until; at += ORACLE_BATCH) {
        unsigned batch = count - at < ORACLE_BATCH ? count - at : ORACLE_BATCH;
        for (unsigned i = 0; i < batch; i++)
            case_make(list[at + i], &cases[i], random);
        run_batch(batch);
    }
}

/* Every form once a round, those that do not exist in every eighth; the first round is run whole. */
static void run_rounds(uint32_t *list, uint64_t *random)
{
    double start = now();
    double until = start + (order.rounds ? PATIENCE : order.seconds);
    while (order.rounds ? report.rounds < order.rounds && now() < until : !report.rounds || now() < until) {
        unsigned count = 0;
        for (uint32_t i = 0; i < form_count; i++)
            if (!forms[i].away && (forms[i].known || (i + report.rounds) % 8 == 0))
                list[count++] = i;
        shuffle(list, count, random);
        run_list(list, count, random, report.rounds ? until : start + PATIENCE);
        report.rounds++;
    }
    report.seconds = now() - start;
}

/* What has only faulted till now, some times more. */
static void run_unreached(uint32_t *list, uint64_t *random)
{
    double until = now() + PATIENCE;
    bool *reached = calloc(form_count, sizeof *reached);
    if (!reached)
        exit(3);
    for (unsigned n = 0; n < order.attempts; n++) {
        unsigned count = 0;
        for (uint32_t i = 0; i < form_count; i++)
            if (tallies[i].done)
                reached[forms[i].entry] = true;
        for (uint32_t i = 0; i < form_count; i++)
            if (forms[i].known && !forms[i].away && !forms[i].privileged && !reached[forms[i].entry] &&
                tallies[i].undefined < tallies[i].runs)
                list[count++] = i;
        run_list(list, count, random, until);
    }
    free(reached);
}

static void run_all(void)
{
    uint64_t random = order.seed * 0x9e3779b97f4a7c15 + order.worker;
    uint32_t *list = malloc(form_count * sizeof *list);
    if (!list)
        exit(3);
    run_rounds(list, &random);
    run_unreached(list, &random);
    free(list);
}

static void run_alone(void)
{
    static struct oracle_failure answer;
    for (uint64_t i = 0; i < order.cases; i++) {
        take(&answer.test, sizeof answer.test);
        answer.fields = run_one(&answer.test, &answer.ours, &answer.host);
        give(&answer, sizeof answer);
        fflush(stdout);
    }
}

int main(void)
{
    static struct machine_config config;
    char why[200];
    take(&config, sizeof config);
    take(&order, sizeof order);
    if (!guest_start(&config, why, sizeof why) || !host_start(why, sizeof why)) {
        fprintf(stderr, "oracle: %s\n", why);
        return 4;
    }
    if (!forms_start() || !(tallies = calloc(form_count, sizeof *tallies)))
        return 3;
    for (uint32_t i = 0; i < form_count; i++)
        tallies[i].form = i;
    report.forms = form_count;
    if (order.seconds > 0 || order.rounds) {
        run_all();
        give(&report, sizeof report);
        give(forms, form_count * sizeof *forms);
        give(tallies, form_count * sizeof *tallies);
        give(failures, report.failures * sizeof *failures);
    } else {
        run_alone();
    }
    fflush(stdout);
    host_stop();
    return 0;
}
