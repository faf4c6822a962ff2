#define _GNU_SOURCE
#include "host_trap.h"

#include <signal.h>
#include <ucontext.h>

#define MXCSR_FLAGS 0x3fu

struct attempt {
    void *unwind[5]; /* __builtin_setjmp */
    volatile uint32_t flags;
    volatile bool trapped;
};

static _Thread_local struct attempt *volatile current;
static struct sigaction chained;

static void on_fpe(int number, siginfo_t *info, void *context)
{
    struct attempt *attempt = current;
    if (attempt) {
        current = NULL;
        attempt->flags = ((ucontext_t *)context)->uc_mcontext.fpregs->mxcsr & MXCSR_FLAGS;
        attempt->trapped = true;
        __builtin_longjmp(attempt->unwind, 1);
    }
    if (chained.sa_flags & SA_SIGINFO)
        chained.sa_sigaction(number, info, context);
    else if (chained.sa_handler != SIG_DFL && chained.sa_handler != SIG_IGN)
        chained.sa_handler(number);
    else
        signal(number, SIG_DFL); /* back to the instruction, which now ends the process */
}

/* Looked at each time: others (Python's faulthandler) install theirs when they like. */
static void install(void)
{
    struct sigaction now;
    const struct sigaction ours = {.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGFPE, NULL, &now);
    if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_fpe)
        return;
    chained = now;
    sigaction(SIGFPE, &ours, NULL);
}

static __attribute__((noinline)) void attempt_it(struct attempt *attempt, uint32_t mxcsr, void (*work)(void *),
                                                 void *argument)
{
    if (__builtin_setjmp(attempt->unwind))
        return;
    current = attempt;
    __asm__ volatile("ldmxcsr %0" ::"m"(mxcsr) : "memory");
    work(argument);
    __asm__ volatile("stmxcsr %0" : "=m"(mxcsr)::"memory");
    current = NULL;
    attempt->flags = mxcsr & MXCSR_FLAGS;
}

uint32_t host_trap_simd(uint32_t mxcsr, void (*work)(void *argument), void *argument, bool *trapped)
{
    struct attempt attempt = {.trapped = false};
    uint32_t before;
    install();
    __asm__ volatile("stmxcsr %0" : "=m"(before));
    attempt_it(&attempt, mxcsr & ~MXCSR_FLAGS, work, argument);
    __asm__ volatile("ldmxcsr %0" ::"m"(before));
    *trapped = attempt.trapped;
    return attempt.flags;
}
