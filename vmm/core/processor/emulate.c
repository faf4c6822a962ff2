/* emulate.h: the interpreter on given registers. The processor behind it has no memory and no translations of its own:
 * every access, those to page tables too, goes over the caller's bus. */
#include <stdlib.h>
#include <string.h>

#include "run.h"
#include "task.h"
#include "trace.h"
#include "vmx_state.h"

struct emulator {
    struct processor cpu;
};

struct emulator *emulator_create(const struct machine_config *config)
{
    struct emulator *emulator = aligned_alloc(_Alignof(struct emulator), sizeof *emulator);
    if (!emulator)
        return NULL;
    struct processor *cpu = &emulator->cpu;
    memset(cpu, 0, sizeof *cpu);
    cpu->emulating = true;
    cpu->vmx = vmx_create();
    cpu->limited = trace_limited_create();
    if (!cpu->vmx || !cpu->limited) {
        emulator_destroy(emulator);
        return NULL;
    }
    cpu_set_model(cpu, config);
    cpu_reset(cpu);
    return emulator;
}

void emulator_destroy(struct emulator *emulator)
{
    if (!emulator)
        return;
    free(emulator->cpu.limited);
    vmx_destroy(emulator->cpu.vmx);
    free(emulator);
}

static void load(struct processor *cpu, const struct registers *registers, const struct emulate_state *state,
                 const struct emulate_bus *bus)
{
    struct vcpu_state *s = &cpu->s;
    s->registers = *registers;
    s->registers.gpr[RSP] = state->rsp;
    s->rip = state->rip;
    rflags_write(cpu, state->rflags);
    s->cr0 = state->cr0;
    s->cr3 = state->cr3;
    s->cr4 = state->cr4;
    s->efer = state->efer;
    memcpy(s->pdpte, state->pdpte, sizeof s->pdpte);
    memcpy(s->seg, state->segment, sizeof s->seg);
    s->cpl = s->system_flags & RFLAGS_VM ? 3 : (s->seg[SS].access & AR_DPL) >> AR_DPL_SHIFT;
    s->gdt_base = state->gdt_base;
    s->gdt_limit = state->gdt_limit;
    s->idt_base = state->idt_base;
    s->idt_limit = state->idt_limit;
    s->interruptibility = state->interruptibility;
    s->activity = ACTIVE;
    s->dr7 = state->dr7;
    s->pending_debug = state->pending_debug;
    s->tsc_base = state->tsc - s->count;
    cpu->bus = bus;
    cpu->leave = LEAVE_NONE;
    cpu->delivering_valid = false;
    cpu_update(cpu);
}

static void store(const struct processor *cpu, struct registers *registers, struct emulate_state *state)
{
    const struct vcpu_state *s = &cpu->s;
    *registers = s->registers;
    state->rsp = s->registers.gpr[RSP];
    state->rip = s->rip;
    state->rflags = rflags_read(cpu);
    state->cr0 = s->cr0;
    state->cr3 = s->cr3;
    state->cr4 = s->cr4;
    state->efer = s->efer;
    memcpy(state->pdpte, s->pdpte, sizeof state->pdpte);
    memcpy(state->segment, s->seg, sizeof state->segment);
    state->gdt_base = s->gdt_base;
    state->gdt_limit = s->gdt_limit;
    state->idt_base = s->idt_base;
    state->idt_limit = s->idt_limit;
    state->interruptibility = s->interruptibility;
    state->dr7 = s->dr7;
    state->pending_debug = s->pending_debug;
}

static enum emulate_result exception(const struct event *fault, struct registers *registers,
                                     struct emulate_outcome *outcome)
{
    outcome->vector = fault->vector;
    outcome->has_error = fault->has_error;
    outcome->error = fault->has_error ? fault->error : 0;
    if (fault->vector == VECTOR_PF)
        registers->cr2 = fault->cr2;
    return EMULATE_EXCEPTION;
}

enum emulate_result emulate_instruction(struct emulator *emulator, struct registers *registers,
                                        struct emulate_state *state, const struct emulate_bus *bus, uint64_t budget,
                                        struct emulate_outcome *outcome)
{
    struct processor *cpu = &emulator->cpu;
    *outcome = (struct emulate_outcome){0};
    load(cpu, registers, state, bus);
    uint64_t done = 0;
    cpu->monitored = MACHINE_NEVER;
    enum leave why = cpu_run_iterations(cpu, budget ? budget : 1, &done);
    cpu->bus = NULL;
    outcome->length = cpu_last_length(cpu);
    outcome->iterations = done;
    outcome->monitored = cpu->monitored;
    if (why == LEAVE_BUDGET || done) { /* the fault of a later iteration comes again when that is the first */
        store(cpu, registers, state);
        return EMULATE_DONE;
    }
    if (why == LEAVE_EXCEPTION) {
        registers->fpu.mxcsr = cpu->s.registers.fpu.mxcsr; /* #XM leaves the flags that it is raised for */
        return exception(&cpu->fault, registers, outcome);
    }
    return EMULATE_REFUSED;
}

struct task_arguments {
    uint16_t selector;
    unsigned source;
    bool has_error;
    uint32_t error;
};

static void switch_task(struct processor *cpu, void *argument)
{
    const struct task_arguments *task = argument;
    task_switch(cpu, NULL, task->selector, task->source, cpu->s.rip, task->has_error, task->error);
}

enum emulate_result emulate_task_switch(struct emulator *emulator, struct registers *registers,
                                        struct emulate_state *state, const struct emulate_bus *bus, uint16_t selector,
                                        unsigned source, bool has_error, uint32_t error,
                                        struct emulate_outcome *outcome)
{
    struct processor *cpu = &emulator->cpu;
    struct task_arguments task = {selector, source, has_error, error};
    *outcome = (struct emulate_outcome){0};
    load(cpu, registers, state, bus);
    enum leave why = cpu_protect(cpu, switch_task, &task);
    cpu->bus = NULL;
    cpu->leave = LEAVE_NONE;
    if (why != LEAVE_NONE && why != LEAVE_EXCEPTION)
        return EMULATE_REFUSED;
    if (why == LEAVE_NONE || cpu->s.seg[TR].selector != state->segment[TR].selector) /* the new task may have faulted */
        store(cpu, registers, state);
    return why == LEAVE_NONE ? EMULATE_DONE : exception(&cpu->fault, registers, outcome);
}
