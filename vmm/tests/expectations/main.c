/* expectations: reads a machine_config and an order, answers with forms or failures (expect.h). */
#include <stdio.h>
#include <stdlib.h>

#include "machine.h"

#include "check.h"

#define MAX_FAILURES 4096
#define A_FORM 3 /* failures that are kept of one form */

bool with_avx;
uint64_t randomness;
static struct expect_report report;
static struct expect_failure failures[MAX_FAILURES];
static unsigned of_this_form;

static void take(void *to, size_t size)
{
    if (fread(to, size, 1, stdin) != 1) {
        fprintf(stderr, "expectations: standard input is too short\n");
        exit(2);
    }
}

static void give(const void *from, size_t size)
{
    if (size && fwrite(from, size, 1, stdout) != 1) {
        perror("expectations: standard output");
        exit(3);
    }
}

/* ---- for the checks ---- */

void run(struct instance *i)
{
    report.runs++;
    guest_run(&i->test, &i->result);
}

void complain(const struct instance *i, const char *text, ...)
{
    if (++of_this_form > A_FORM || report.failures == MAX_FAILURES)
        return;
    struct expect_failure *failure = &failures[report.failures++];
    va_list arguments;
    failure->form = i->e->form;
    failure->length = i->test.length;
    memcpy(failure->code, i->test.code, sizeof failure->code);
    va_start(arguments, text);
    vsnprintf(failure->text, sizeof failure->text, text, arguments);
    va_end(arguments);
}

bool ended(const struct instance *i, unsigned vector, const char *what)
{
    const struct oracle_result *r = &i->result;
    if (r->vector != vector) {
        complain(i, "%s: vector %u, not %u", what, r->vector, vector);
        return false;
    }
    if (vector == ORACLE_DONE)
        return true;
    const char *wrong = touched(i, 0);
    if (wrong)
        complain(i, "%s: exception %u, and yet %s", what, vector, wrong);
    bool coded = vector == VECTOR_GP || vector == VECTOR_SS || vector == VECTOR_AC;
    if (coded && r->error)
        complain(i, "%s: exception %u with error code %#x", what, vector, r->error);
    return !wrong;
}

/* ---- orders ---- */

static void list(void)
{
    static const char *const names[] = {
#define X(name, leaf, subleaf, reg, bit) #name,
        FEATURES(X)
#undef X
    };
    uint32_t count = FEATURE_COUNT;
    give(&form_count, sizeof form_count);
    give(forms, form_count * sizeof *forms);
    give(&count, sizeof count);
    for (unsigned n = 0; n < FEATURE_COUNT; n++) {
        struct expect_feature feature = {.present = has_feature(guest_processor(), n)};
        snprintf(feature.name, sizeof feature.name, "%s", names[n]);
        give(&feature, sizeof feature);
    }
}

static void check(const struct expectation *e)
{
    of_this_form = 0;
    randomness = e->form;
    check_operation(e);
    if (of_this_form) /* all else would follow from it */
        return;
    check_immediates(e);
    check_memory(e);
    check_demands(e);
    check_encoding(e);
    check_simd_exceptions(e);
    check_x87_exceptions(e);
    check_stack(e);
}

int main(void)
{
    static struct machine_config config;
    struct expect_order order;
    char why[200];
    take(&config, sizeof config);
    take(&order, sizeof order);
    if (!guest_start(&config, why, sizeof why) || !forms_start()) {
        fprintf(stderr, "expectations: no processor\n");
        return 4;
    }
    guest_processor()->s.cr0 &= ~(uint64_t)CR0_TS;
    if (order.list) {
        list();
        return 0;
    }
    for (uint32_t n = 0; n < order.expectations; n++) {
        struct expectation e;
        take(&e, sizeof e);
        if (e.form >= form_count || !e.feature || e.feature > FEATURE_COUNT) {
            fprintf(stderr, "expectations: there is no form %u\n", e.form);
            return 2;
        }
        check(&e);
    }
    give(&report, sizeof report);
    give(failures, report.failures * sizeof *failures);
    return 0;
}
