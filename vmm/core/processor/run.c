/* The run loop: events between instructions, budgets, traces, and the unwinding of what an instruction cannot finish. */
#include "run.h"

#include "breakpoint.h"
#include "events.h"
#include "fpu.h"
#include "integer.h"
#include "trace.h"
#include "vmx_state.h"

#include <string.h>

/* Instructions between looks at a kick from another thread: about a millisecond. */
#define SLICE (1 << 18)

#define SHADOWS (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)

uint64_t cpu_count_at(const struct processor *cpu, const struct op *op)
{
    uint64_t count = cpu->horizon - cpu->left;
    return op ? count - trace_of(op)->count + op->number : count;
}

/* ---- the state that one instruction uses up: interrupt shadows and RFLAGS.RF (SDM vol. 3, 18.3.1.1) ---- */

static void enter_shadow(struct processor *cpu)
{
    cpu->shadow = cpu->s.interruptibility & SHADOWS;
    cpu->resuming = cpu->s.system_flags & RFLAGS_RF;
    cpu->s.interruptibility &= ~SHADOWS;
    cpu->s.system_flags &= ~(uint64_t)RFLAGS_RF;
}

/* The instruction did not retire. */
static void leave_shadow(struct processor *cpu)
{
    cpu->s.interruptibility |= cpu->shadow;
    if (cpu->resuming)
        cpu->s.system_flags |= RFLAGS_RF;
    cpu->shadow = 0;
    cpu->resuming = false;
}

static void forget_shadow(struct processor *cpu)
{
    cpu->shadow = 0;
    cpu->resuming = false;
}

/* ---- unwinding ---- */

_Noreturn void leave_run(struct processor *cpu, const struct op *op, enum leave why)
{
    if (op) {
        cpu->left += trace_of(op)->count - op->number;
        cpu->s.rip += op->offset;
        if (!(cpu->mode & MODE_CODE64))
            cpu->s.rip = (uint32_t)cpu->s.rip;
    }
    leave_shadow(cpu);
    cpu->leave = why;
    __builtin_longjmp(cpu->unwind, 1);
}

/* A gather that has loaded an element before one faults: under TF, the trap comes in lieu of the fault, with RF set (SDM
 * vol. 2, VGATHERDPS). */
static void prefer_trap(struct processor *cpu)
{
    if (likely(!cpu->gathered))
        return;
    cpu->gathered = false;
    if (!(cpu->s.system_flags & RFLAGS_TF))
        return;
    cpu->s.system_flags |= RFLAGS_RF;
    cpu->fault = (struct event){.vector = VECTOR_DB, .type = EVENT_EXCEPTION, .dr6 = DR6_BS};
}

_Noreturn void raise_fault(struct processor *cpu, const struct op *op, unsigned vector, int64_t error)
{
    cpu->fault = (struct event){
        .vector = vector, .type = EVENT_EXCEPTION, .has_error = error != NO_ERROR_CODE, .error = (uint32_t)error};
    prefer_trap(cpu);
    leave_run(cpu, op, LEAVE_EXCEPTION);
}

_Noreturn void raise_page_fault(struct processor *cpu, const struct op *op, uint64_t linear, uint32_t error)
{
    cpu->fault = (struct event){
        .vector = VECTOR_PF, .type = EVENT_EXCEPTION, .has_error = true, .error = error, .cr2 = linear};
    prefer_trap(cpu);
    leave_run(cpu, op, LEAVE_EXCEPTION);
}

/* Calls `work`, then returns; an unwinding within ends it early. In a function of its own, because every register is lost
 * on the way back. */
static __attribute__((noinline)) void protect(struct processor *cpu, void (*work)(struct processor *, void *),
                                              void *argument)
{
    if (!__builtin_setjmp(cpu->unwind))
        work(cpu, argument);
}

/* The same within whatever is already protected. */
static void protect_nested(struct processor *cpu, void (*work)(struct processor *, void *), void *argument)
{
    void *outer[5];
    memcpy(outer, cpu->unwind, sizeof outer);
    protect(cpu, work, argument);
    memcpy(cpu->unwind, outer, sizeof outer);
}

enum leave cpu_protect(struct processor *cpu, void (*work)(struct processor *cpu, void *argument), void *argument)
{
    cpu->leave = LEAVE_NONE;
    protect_nested(cpu, work, argument);
    return cpu->leave;
}

/* ---- running traces ---- */

static void execute(struct processor *cpu, struct trace *trace)
{
    cpu->left -= trace->count;
    const struct op *op = trace->op;
    do
        op = op->fn(cpu, op);
    while (op);
}

/* Allows `instructions` from here on. */
static void allow(struct processor *cpu, uint64_t instructions)
{
    cpu->horizon = cpu->horizon - cpu->left + instructions;
    cpu->left = instructions;
}

/* Does the instruction leave RFLAGS.TF cleared without a trap of its own (SDM vol. 3, 18.3.1.4)? */
static bool swallows_single_step(const struct op *op)
{
    return op->fn == op_int || op->fn == op_int3 || op->fn == op_int1 || op->fn == op_into ||
           op->fn == op_syscall || op->fn == op_sysenter;
}

/* One instruction: in the shadow of STI or MOV SS, with RFLAGS.RF, single-stepped, or where there are breakpoints. A REP
 * that has RF because it goes on may do so for `remaining` iterations. */
static void run_alone(struct processor *cpu, uint64_t remaining)
{
    bool step = cpu->s.system_flags & RFLAGS_TF;
    bool single = step || cpu->alone || cpu->s.interruptibility & SHADOWS;
    allow(cpu, 1);
    struct trace *trace = trace_limited(cpu, 1);
    if (!single && trace->op->fn == op_rep_string)
        allow(cpu, remaining < SLICE ? remaining : SLICE);
    step = step && !swallows_single_step(trace->op);
    cpu->alone = false;
    enter_shadow(cpu);
    execute(cpu, trace);
    forget_shadow(cpu);
    if (step && !(cpu->s.interruptibility & BLOCKING_BY_MOV_SS))
        cpu->s.pending_debug |= DR6_BS;
}

static void run_slice(struct processor *cpu, uint64_t remaining)
{
    allow(cpu, remaining < SLICE ? remaining : SLICE);
    struct trace *trace = trace_find(cpu);
    if (unlikely(!trace)) {
        trace_flush(cpu->arena);
        return;
    }
    if (trace->count > cpu->left) /* one by one, as no store finds the limited trace to be stale */
        trace = trace_limited(cpu, 1);
    execute(cpu, trace);
}

/* ---- between instructions ---- */

/* Exceptions without an instruction retired between them are looked at as after an interrupt of the host's timer: a
 * guest whose handler faults at its first instruction goes on like that for ever. */
#define DELIVERIES 256

static void count_delivery(struct processor *cpu)
{
    uint64_t count = cpu->horizon - cpu->left;
    cpu->deliveries = count == cpu->delivered_at ? cpu->deliveries + 1 : 0;
    cpu->delivered_at = count;
    if (unlikely(cpu->deliveries >= DELIVERIES)) {
        cpu->deliveries = 0;
        processor_kick(cpu);
    }
}

static void deliver(struct processor *cpu)
{
    count_delivery(cpu);
    cpu->leave = LEAVE_NONE;
    if (!deliver_fault(cpu)) {
        cpu->s.activity = SHUTDOWN;
        cpu->leave = LEAVE_SHUTDOWN;
    }
}

/* What stands between two instructions in the SDM's order of priority (vol. 3, table 6-2); true: the run ends. */
static bool boundary(struct processor *cpu)
{
    if (unlikely(cpu->s.pending_debug && !(cpu->s.interruptibility & BLOCKING_BY_MOV_SS))) {
        cpu->fault = (struct event){.vector = VECTOR_DB, .type = EVENT_EXCEPTION, .dr6 = cpu->s.pending_debug & ~PENDING_BREAKPOINT};
        cpu->s.pending_debug = 0;
        deliver(cpu);
    }
    if (unlikely(vmx_armed(cpu)))
        vmx_boundary(cpu);
    if (vmx_non_root(cpu))
        return false;
    if (unlikely(cpu->kicked)) {
        cpu->kicked = 0;
        cpu->leave = LEAVE_KICK;
    } else if (cpu->want_interrupt_window && cpu->s.system_flags & RFLAGS_IF &&
               !(cpu->s.interruptibility & SHADOWS)) {
        cpu->leave = LEAVE_INTERRUPTIBLE;
    }
    return cpu->leave;
}

/* An instruction breakpoint faults before its instruction; not with RF, nor right after MOV SS (18.3.1.1). */
static bool meets_breakpoint(struct processor *cpu)
{
    if (cpu->s.system_flags & RFLAGS_RF || cpu->s.interruptibility & BLOCKING_BY_MOV_SS)
        return false;
    uint64_t met = breakpoints_met(cpu, BREAK_FETCH, trace_linear_rip(cpu), 1);
    if (!met)
        return false;
    cpu->fault = (struct event){.vector = VECTOR_DB, .type = EVENT_EXCEPTION, .dr6 = met};
    cpu->leave = LEAVE_EXCEPTION;
    return true;
}

static bool wants_alone(const struct processor *cpu)
{
    return cpu->s.interruptibility & SHADOWS || cpu->s.system_flags & (RFLAGS_TF | RFLAGS_RF) || cpu->alone;
}

static void run_until(struct processor *cpu, void *argument)
{
    uint64_t target = *(const uint64_t *)argument;
    for (;;) {
        if (cpu->leave == LEAVE_EXCEPTION)
            deliver(cpu);
        if (cpu->leave || boundary(cpu))
            return;
        uint64_t count = cpu->horizon - cpu->left;
        if (count >= target) {
            cpu->leave = LEAVE_BUDGET;
            return;
        }
        bool alone = wants_alone(cpu);
        if (breakpoints_armed(cpu, BREAK_FETCH) && trace_near_breakpoint(cpu)) {
            if (meets_breakpoint(cpu))
                continue;
            alone = true;
        }
        if (unlikely(alone))
            run_alone(cpu, target - count);
        else
            run_slice(cpu, target - count);
    }
}

static void begin(struct processor *cpu)
{
    cpu->horizon = cpu->s.count;
    cpu->left = 0;
}

static enum leave end(struct processor *cpu)
{
    cpu->s.count = cpu->horizon - cpu->left;
    begin(cpu);
    fpu_leave(cpu);
    enum leave why = cpu->leave;
    cpu->leave = LEAVE_NONE;
    return why;
}

void cpu_deliver_first(struct processor *cpu, const struct event *event)
{
    cpu->fault = *event;
    cpu->leave = LEAVE_EXCEPTION;
}

enum leave cpu_run(struct processor *cpu, uint64_t count)
{
    begin(cpu);
    if (cpu->leave != LEAVE_EXCEPTION)
        cpu->leave = LEAVE_NONE;
    do
        protect_nested(cpu, run_until, &count);
    while (cpu->leave == LEAVE_EXCEPTION || !cpu->leave);
    return end(cpu);
}

/* ---- one instruction ---- */

/* The instruction again as long as it is not finished: a REP by single iterations. */
static void run_iterations(struct processor *cpu, void *argument)
{
    uint64_t rip = cpu->s.rip, iterations = *(const uint64_t *)argument;
    struct trace *trace = trace_limited(cpu, 1);
    do {
        allow(cpu, 1);
        execute(cpu, trace);
    } while (--iterations && cpu->s.rip == rip && !cpu->leave && trace->op[0].form & (FORM_REP | FORM_REPNE));
}

enum leave cpu_run_iterations(struct processor *cpu, uint64_t iterations, uint64_t *done)
{
    uint64_t before = cpu->s.count;
    begin(cpu);
    enter_shadow(cpu);
    enum leave why = cpu_protect(cpu, run_iterations, &iterations);
    forget_shadow(cpu);
    end(cpu);
    *done = cpu->s.count - before;
    return why ? why : LEAVE_BUDGET;
}

enum leave cpu_run_one(struct processor *cpu)
{
    uint64_t done;
    return cpu_run_iterations(cpu, 1, &done);
}
