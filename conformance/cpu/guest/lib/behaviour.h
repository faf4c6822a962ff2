/* A behaviour: one function that fails, skips or returns, which is a pass.
 *
 *     BEHAVIOUR(undefined, "SDM vol. 3 6.15 #UD: UD2 faults, without an error code, at its own address")
 *     {
 *         expect_fault(CATCH(asm volatile(MARK "1: ud2")), UD, 0);
 *     }
 *
 * Its name is that of its file and its own, `exceptions.undefined`. Each starts in the state that state.c makes: flat
 * segments at CPL 0, interrupts off, timers and interrupt controllers quiet; in 32 bits paging is off. */
#ifndef BEHAVIOUR_H
#define BEHAVIOUR_H

#include "cpu.h"
#include "trap.h"

struct behaviour {
    const char *name, *what;
    void (*run)(void);
    const char *ending; /* of one that ends the machine: how; else NULL */
};

#define DECLARE_BEHAVIOUR(name, what, ending)                                                                          \
    static void run_##name(void);                                                                                      \
    static const struct behaviour behaviour_##name = {THEME "." #name, what, run_##name, ending};                      \
    static const struct behaviour *const entry_##name __attribute__((used, section("behaviours"))) = &behaviour_##name; \
    static void run_##name(void)
#define BEHAVIOUR(name, what) DECLARE_BEHAVIOUR(name, what, NULL)
/* One that ends the machine when all is right: run only by `run=NAME`. `ending`: power-off, reset, triple-fault, idle. */
#define FINAL(name, ending, what) DECLARE_BEHAVIOUR(name, what, ending)

/* Code and data in assembly, outside of functions. */
#define CODE(text) asm(".pushsection .text\n" text "\n.popsection")

/* Both end the behaviour. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void skip(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void fail_unexpected(const struct trap *trap) __attribute__((noreturn));

#define expect(condition, ...)                                                                                         \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fail(__VA_ARGS__);                                                                                         \
    } while (0)
/* Both are unsigned; the message has them in hexadecimal digits. */
void expect_equal(const char *what, uint64_t seen, uint64_t expected);
/* A fault with this error code, at the label of MARK when there was one; a fault leaves IP at its instruction. */
void expect_fault(struct trap trap, unsigned vector, word error);
/* The same for a trap and an interrupt: the label stands behind the instruction. */
void expect_trap(struct trap trap, unsigned vector);
void expect_none(struct trap trap);
void expect_page_fault(struct trap trap, word error, word cr2);
/* Skips without the feature. */
void need(struct feature feature);

#endif
