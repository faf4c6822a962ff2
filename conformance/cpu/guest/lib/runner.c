/* From the command line to result lines.
 *
 *     run=NAME[,NAME...]   these only: behaviours, or all of a theme (`run=paging`)
 *     from=NAME            from this one on
 *     list                 tells all, runs none
 *     exit=debug           ends by isa-debug-exit (port F4h, value 0), not by ACPI's power-off
 *
 * What goes to COM1 is described in conformance/cpu/results.py. */
#include "behaviour.h"
#include "acpi.h"
#include "console.h"
#include "segment.h"
#include "state.h"

enum { COMMAND_LINE = 1024, MULTIBOOT_CMDLINE = 1 << 2, DEBUG_EXIT = 0xf4 };

struct multiboot_information {
    uint32_t flags, mem_lower, mem_upper, boot_device, cmdline;
};

extern const struct behaviour *const __start_behaviours[], *const __stop_behaviours[];
void start_program(const struct multiboot_information *information) __attribute__((noreturn));

static char command_line[COMMAND_LINE];
static const struct behaviour *current;
static void *runner[5];

/* ---- results ---- */

/* Back to the runner, from any CPL, stack and stack segment. */
static void leave_behaviour(void) __attribute__((noreturn));
static void leave_behaviour(void)
{
    if (get_cs() & 3)
        leave_user();
    set_ss(KERNEL_DS);
    set_ds(KERNEL_DS);
    set_es(KERNEL_DS);
    __builtin_longjmp(runner, 1);
}

static void result(const char *verdict, const char *format, va_list arguments)
{
    print("%s %s: ", verdict, current ? current->name : "*");
    vprint(format, arguments);
    print("\n");
    leave_behaviour();
}

void fail(const char *format, ...)
{
    if (get_cs() & 3)
        leave_user(); /* its ports are not the user's */
    va_list arguments;
    va_start(arguments, format);
    result("FAIL", format, arguments);
    __builtin_unreachable();
}

void skip(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    result("SKIP", format, arguments);
    __builtin_unreachable();
}

void need(struct feature feature)
{
    if (!has(feature))
        skip("CPUID shows no %s", feature.name);
}

/* ---- expectations ---- */

static const char *const vector_names[20] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "vector 9",
                                             "#TS", "#NP", "#SS", "#GP", "#PF", "vector 15", "#MF", "#AC", "#MC", "#XM"};

static const char *vector_name(unsigned vector)
{
    static char text[] = "vector 00h";
    if (vector < 20)
        return vector_names[vector];
    if (vector == NONE)
        return "no exception";
    text[7] = "0123456789abcdef"[vector >> 4 & 15];
    text[8] = "0123456789abcdef"[vector & 15];
    return text;
}

void fail_unexpected(const struct trap *trap)
{
    fail("unexpected %s, error code %lxh, at %x:%lxh, CR2 %lxh", vector_name(trap->vector), (unsigned long)trap->error,
         (unsigned)trap->cs, (unsigned long)trap->ip, (unsigned long)trap->cr2);
}

void expect_equal(const char *what, uint64_t seen, uint64_t expected)
{
    expect(seen == expected, "%s is %llxh, expected %llxh", what, (unsigned long long)seen,
           (unsigned long long)expected);
}

static void expect_vector(const struct trap *trap, unsigned vector)
{
    if (trap->vector == vector)
        return;
    if (trap->vector == NONE)
        fail("no exception, expected %s", vector_name(vector));
    print("FAIL %s: %s (error code %lxh, at %lxh), expected ", current->name, vector_name(trap->vector),
          (unsigned long)trap->error, (unsigned long)trap->ip);
    print("%s\n", vector_name(vector));
    leave_behaviour();
}

void expect_fault(struct trap trap, unsigned vector, word error)
{
    expect_vector(&trap, vector);
    expect(trap.error == error, "%s has error code %lxh, expected %lxh", vector_name(vector),
           (unsigned long)trap.error, (unsigned long)error);
    if (marked)
        expect(trap.ip == marked, "%s is reported at %lxh, expected %lxh", vector_name(vector), (unsigned long)trap.ip,
               (unsigned long)marked);
}

void expect_trap(struct trap trap, unsigned vector)
{
    expect_fault(trap, vector, 0);
}

void expect_none(struct trap trap)
{
    expect(trap.vector == NONE, "%s (error code %lxh, at %lxh), expected no exception", vector_name(trap.vector),
           (unsigned long)trap.error, (unsigned long)trap.ip);
}

void expect_page_fault(struct trap trap, word error, word cr2)
{
    expect_fault(trap, PF, error);
    expect(trap.cr2 == cr2, "CR2 is %lxh, expected %lxh", (unsigned long)trap.cr2, (unsigned long)cr2);
}

/* ---- the command line ---- */

static bool begins(const char *text, const char *with, const char **rest)
{
    while (*with) {
        if (*text++ != *with++)
            return false;
    }
    *rest = text;
    return true;
}

/* Does `name` end where the word `item` does (at a space, a comma or the end), or, for a theme, at a dot? */
static bool named(const char *name, const char *item, bool theme)
{
    while (*item && *item != ' ' && *item != ',') {
        if (*name++ != *item++)
            return false;
    }
    return !*name || (theme && *name == '.');
}

struct request {
    const char *run, *from;
    bool list, debug_exit;
};

/* Words that are not known here are left alone: the first is the image's file name with most loaders. */
static struct request parse(void)
{
    struct request request = {0};
    for (const char *at = command_line; *at;) {
        const char *rest;
        if (begins(at, "run=", &rest))
            request.run = rest;
        else if (begins(at, "from=", &rest))
            request.from = rest;
        else if (begins(at, "exit=debug", &rest))
            request.debug_exit = true;
        else if (begins(at, "list", &rest) && (!*rest || *rest == ' '))
            request.list = true;
        while (*at && *at != ' ')
            at++;
        while (*at == ' ')
            at++;
    }
    return request;
}

static bool wanted(const struct behaviour *behaviour, const struct request *request, bool *reached)
{
    if (request->run) {
        for (const char *item = request->run;; item++) {
            if (named(behaviour->name, item, !behaviour->ending))
                return true;
            while (*item && *item != ' ' && *item != ',')
                item++;
            if (*item != ',')
                return false;
        }
    }
    if (request->from && named(behaviour->name, request->from, false))
        *reached = true;
    return *reached && (!behaviour->ending || request->list);
}

/* ---- the run ---- */

static void run(const struct behaviour *behaviour)
{
    print("BEGIN %s\n", behaviour->name);
    current = behaviour;
    if (!__builtin_setjmp(runner)) {
        state_reset();
        if (behaviour->ending)
            print("ENDING %s: %s\n", behaviour->name, behaviour->ending);
        behaviour->run();
        if (behaviour->ending)
            fail("the machine goes on, expected %s", behaviour->ending);
        print("PASS %s\n", behaviour->name);
    }
    current = NULL;
}

static void end_machine(bool debug_exit)
{
    print("END\n");
    if (debug_exit)
        outb(DEBUG_EXIT, 0);
    acpi_power_off();
    for (;;)
        asm volatile("cli; hlt");
}

void start_program(const struct multiboot_information *information)
{
    if (information->flags & MULTIBOOT_CMDLINE) {
        const char *text = (const char *)(word)information->cmdline;
        for (unsigned i = 0; i < COMMAND_LINE - 1 && text[i]; i++)
            command_line[i] = text[i];
    }
    console_reset();
    struct request request = parse();
    unsigned count = 0;
    bool reached = !request.from;
    for (const struct behaviour *const *at = __start_behaviours; at < __stop_behaviours; at++)
        count += wanted(*at, &request, &reached);
    print("\nbringup-cpu 1 %u\n", count);
    if (!count)
        print("ERROR no behaviour has this name\n");
    reached = !request.from;
    for (const struct behaviour *const *at = __start_behaviours; at < __stop_behaviours; at++) {
        if (!wanted(*at, &request, &reached))
            continue;
        if (request.list)
            print("%s %s: %s\n", (*at)->ending ? "FINAL" : "BEHAVIOUR", (*at)->name, (*at)->what);
        else
            run(*at);
    }
    end_machine(request.debug_exit);
    __builtin_unreachable();
}
