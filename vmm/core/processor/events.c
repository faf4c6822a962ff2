/* Delivery of interrupts and exceptions (SDM vol. 3, chapter 6). */
#include "events.h"

#include "mmu.h"
#include "segment.h"
#include "task.h"
#include "vmx_state.h"

/* What delivery pushes: RFLAGS and RIP as the handler's IRET is to find them. */
struct interrupted {
    uint64_t rip, rflags;
};

static bool is_software(const struct event *event)
{
    return event->type >= EVENT_SOFTWARE_INTERRUPT;
}

/* Only INT n, INT3 and INTO are subject to the gate's DPL. */
static bool is_checked(const struct event *event)
{
    return event->type == EVENT_SOFTWARE_INTERRUPT || event->type == EVENT_SOFTWARE_EXCEPTION;
}

/* A fault's handler returns with RF set, so that the instruction's breakpoint does not trap again (18.3.1.1); a general
 * detect is the one #DB of that kind. */
bool event_sets_rf(const struct event *event)
{
    if (event->vector == VECTOR_DB && event->dr6 & DR6_BD)
        return true;
    const uint32_t others = 1u << VECTOR_DB | 1u << VECTOR_BP | 1u << VECTOR_OF | 1u << VECTOR_DF | 1u << VECTOR_MC;
    return event->type == EVENT_EXCEPTION && !(others >> event->vector & 1);
}

static _Noreturn void raise_gate(struct processor *cpu, unsigned vector, const struct event *event)
{
    raise_fault(cpu, NULL, vector, event->vector << 3 | 2 | external_event(cpu));
}

static void enter_handler(struct processor *cpu, bool mask_interrupts)
{
    cpu->s.system_flags &= ~(uint64_t)(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM |
                                       (mask_interrupts ? RFLAGS_IF : 0));
    cpu_update(cpu);
}

/* ---- real mode (vol. 3, 21.1.4) ---- */

static void deliver_real(struct processor *cpu, const struct event *event, const struct interrupted *from)
{
    if (event->vector * 4u + 3 > cpu->s.idt_limit)
        raise_gate(cpu, VECTOR_GP, event);
    uint32_t entry = mmu_system_read(cpu, NULL, cpu->s.idt_base + event->vector * 4, 4);
    uint16_t frame[3] = {from->rflags | (before_286(cpu) ? FLAGS_8086 : 0), cpu->s.seg[CS].selector, from->rip};
    uint64_t sp = cpu->s.registers.gpr[RSP];
    if ((entry & 0xffff) > cpu->s.seg[CS].limit)
        raise_zero(cpu, NULL, VECTOR_GP);
    for (unsigned i = 0; i < 3; i++) {
        sp -= 2;
        store16(cpu, NULL, stack_linear(cpu, NULL, sp, 2, true), frame[i], SS);
    }
    stack_set(cpu, sp);
    load_segment_real(cpu, CS, entry >> 16);
    cpu->s.rip = entry & 0xffff;
    cpu->s.system_flags &= ~(uint64_t)RFLAGS_AC;
    enter_handler(cpu, true);
}

/* ---- protected mode ---- */

struct gate {
    uint16_t selector;
    uint8_t type, ist;
    uint64_t offset;
};

static struct gate read_gate(struct processor *cpu, const struct event *event)
{
    bool wide = long_mode(cpu);
    unsigned size = wide ? 16 : 8;
    if (unlikely(event->vector * size + size - 1 > cpu->s.idt_limit))
        raise_gate(cpu, VECTOR_GP, event);
    uint64_t at = cpu->s.idt_base + event->vector * size, low = mmu_system_read(cpu, NULL, at, 8);
    uint32_t access = descriptor_access(low);
    unsigned type = access_type(access);
    /* Interrupt and trap gates, and outside IA-32e mode 16-bit and task gates. */
    const uint32_t types = wide ? 0xc000 : 0xc0e0;
    if (unlikely(access & AR_S || !(types >> type & 1)))
        raise_gate(cpu, VECTOR_GP, event);
    if (unlikely(is_checked(event) && access_dpl(access) < cpu->s.cpl))
        raise_gate(cpu, VECTOR_GP, event);
    if (unlikely(!(access & AR_P)))
        raise_gate(cpu, VECTOR_NP, event);
    struct gate gate = {low >> 16, type, low >> 32 & 7, (low & 0xffff) | (low >> 32 & 0xffff0000)};
    if (wide)
        gate.offset |= mmu_system_read(cpu, NULL, at + 8, 8) << 32;
    else if (type < TYPE_TSS32)
        gate.offset &= 0xffff;
    return gate;
}

/* The code segment that the gate names; returns the handler's privilege. */
static unsigned read_target(struct processor *cpu, const struct gate *gate, struct descriptor *cs)
{
    if (unlikely(is_null(gate->selector)))
        raise_zero(cpu, NULL, VECTOR_GP);
    descriptor_read(cpu, NULL, gate->selector, VECTOR_GP, cs);
    uint32_t access = descriptor_access(cs->low);
    unsigned dpl = access_dpl(access), cpl = is_conforming(access) ? cpu->s.cpl : dpl;
    if (unlikely(!is_code(access) || dpl > cpu->s.cpl || (v86_mode(cpu) && cpl != 0)))
        raise_selector(cpu, NULL, VECTOR_GP, gate->selector);
    if (unlikely(long_mode(cpu) && (access & (AR_L | AR_DB)) != AR_L))
        raise_selector(cpu, NULL, VECTOR_GP, gate->selector);
    if (unlikely(!(access & AR_P)))
        raise_selector(cpu, NULL, VECTOR_NP, gate->selector);
    return cpl;
}

static void load_target(struct processor *cpu, const struct gate *gate, struct descriptor *cs, unsigned cpl)
{
    cpu->s.seg[CS] = descriptor_segment((gate->selector & 0xfffc) | cpl, cs);
    cpu->s.cpl = cpl;
    cpu->s.rip = gate->offset;
}

/* IA-32e mode (6.14). */
static void deliver_long(struct processor *cpu, const struct event *event, const struct interrupted *from)
{
    struct gate gate = read_gate(cpu, event);
    struct descriptor cs;
    unsigned cpl = read_target(cpu, &gate, &cs), old_cpl = cpu->s.cpl;
    bool inner = cpl < old_cpl;
    uint64_t *rsp = &cpu->s.registers.gpr[RSP], sp = inner || gate.ist ? inner_stack64(cpu, NULL, cpl, gate.ist) : *rsp;
    if (unlikely(!canonical(cpu, gate.offset)))
        raise_zero(cpu, NULL, VECTOR_GP);

    sp &= ~15ull;
    uint64_t frame[6] = {cpu->s.seg[SS].selector, *rsp, from->rflags, cpu->s.seg[CS].selector, from->rip, event->error};
    for (unsigned i = 0; i < 5u + event->has_error; i++) {
        sp -= 8;
        mmu_stack_write(cpu, NULL, sp, frame[i], 8, cpl == 3);
    }
    descriptor_set_accessed(cpu, NULL, &cs);
    load_target(cpu, &gate, &cs, cpl);
    *rsp = sp;
    if (inner)
        cpu->s.seg[SS] = (struct vcpu_segment){.access = AR_UNUSABLE | cpl << AR_DPL_SHIFT, .selector = cpl};
    enter_handler(cpu, !(gate.type & 1));
}

static void push(struct processor *cpu, const struct vcpu_segment *ss, uint64_t *sp, unsigned size, uint32_t value,
                 unsigned cpl, uint32_t error)
{
    *sp -= size;
    mmu_stack_write(cpu, NULL, stack_address(cpu, NULL, ss, *sp, size, false, error), value, size, cpl == 3);
}

/* Through 16- and 32-bit gates (6.12), also from virtual-8086 mode (21.3). */
static void deliver_legacy(struct processor *cpu, const struct event *event, const struct interrupted *from)
{
    struct gate gate = read_gate(cpu, event);
    if (gate.type == TYPE_TASK_GATE) {
        task_switch(cpu, NULL, gate.selector, TASK_GATE, from->rip, event->has_error, event->error);
        return;
    }
    struct descriptor cs;
    struct vcpu_segment ss = cpu->s.seg[SS];
    const struct vcpu_segment *seg = cpu->s.seg;
    unsigned cpl = read_target(cpu, &gate, &cs), size = gate.type & 8 ? 4 : 2;
    uint64_t sp = cpu->s.registers.gpr[RSP];
    uint32_t error = 0;
    bool inner = cpl < cpu->s.cpl, v86 = v86_mode(cpu);
    if (inner) {
        uint32_t esp;
        error = inner_stack(cpu, NULL, cpl, &ss, &esp);
        sp = esp;
    }
    if (unlikely(gate.offset > descriptor_segment(0, &cs).limit))
        raise_zero(cpu, NULL, VECTOR_GP);
    if (v86) {
        static const uint8_t saved[] = {GS, FS, DS, ES};
        for (unsigned i = 0; i < sizeof saved; i++)
            push(cpu, &ss, &sp, size, seg[saved[i]].selector, cpl, error);
    }
    if (inner) {
        push(cpu, &ss, &sp, size, seg[SS].selector, cpl, error);
        push(cpu, &ss, &sp, size, cpu->s.registers.gpr[RSP], cpl, error);
    }
    push(cpu, &ss, &sp, size, from->rflags, cpl, error);
    push(cpu, &ss, &sp, size, seg[CS].selector, cpl, error);
    push(cpu, &ss, &sp, size, from->rip, cpl, error);
    if (event->has_error)
        push(cpu, &ss, &sp, size, event->error, cpl, error);

    descriptor_set_accessed(cpu, NULL, &cs);
    load_target(cpu, &gate, &cs, cpl);
    cpu->s.seg[SS] = ss;
    uint64_t mask = segment_stack_mask(&ss), *rsp = &cpu->s.registers.gpr[RSP];
    *rsp = mask == 0xffff ? (uint32_t)((inner ? sp : *rsp) & ~mask) | (sp & mask) : sp & mask;
    if (v86) {
        static const uint8_t dropped[] = {ES, DS, FS, GS};
        for (unsigned i = 0; i < sizeof dropped; i++)
            cpu->s.seg[dropped[i]] = (struct vcpu_segment){.access = AR_UNUSABLE};
    }
    enter_handler(cpu, !(gate.type & 1));
}

void deliver_event(struct processor *cpu, const struct event *event)
{
    vmx_intercept(cpu, event);
    cpu->delivering = *event;
    cpu->delivering_valid = true;
    if (event->type == EVENT_NMI)
        cpu->s.interruptibility |= BLOCKING_BY_NMI;
    event = &cpu->delivering;
    struct interrupted from = {cpu->s.rip, rflags_read(cpu)};
    if (is_software(event)) {
        from.rip += event->length;
        if (!code64(cpu))
            from.rip = (uint32_t)from.rip;
    }
    if (event_sets_rf(event))
        from.rflags |= RFLAGS_RF;
    if (!protected_mode(cpu))
        deliver_real(cpu, event, &from);
    else if (long_mode(cpu))
        deliver_long(cpu, event, &from);
    else
        deliver_legacy(cpu, event, &from);
    cpu->delivering_valid = false;
    cpu->s.activity = ACTIVE;
    cpu->s.interruptibility &= ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
}

void deliver_software_event(struct processor *cpu, const struct op *op, unsigned vector, enum event_type type)
{
    struct event event = {.vector = vector, .type = type, .length = op->length};
    rip_at(cpu, op);
    deliver_event(cpu, &event);
    if (type == EVENT_PRIVILEGED_SOFTWARE)
        cpu->s.dr7 &= ~DR7_GD;
    cpu->left--;
}

/* ---- double and triple faults (table 6-5) ---- */

static bool is_contributory(const struct event *event)
{
    const uint32_t vectors = 1u << VECTOR_DE | 1u << VECTOR_TS | 1u << VECTOR_NP | 1u << VECTOR_SS | 1u << VECTOR_GP;
    return event->type == EVENT_EXCEPTION && event->vector < 32 && vectors >> event->vector & 1;
}

static bool is_exception(const struct event *event, unsigned vector)
{
    return event->type == EVENT_EXCEPTION && event->vector == vector;
}

static bool is_double_fault(const struct event *first, const struct event *second)
{
    return (is_contributory(second) && (is_contributory(first) || is_exception(first, VECTOR_PF))) ||
           (is_exception(second, VECTOR_PF) && is_exception(first, VECTOR_PF));
}

bool deliver_fault(struct processor *cpu)
{
    struct event event = cpu->fault;
    vmx_intercept(cpu, &event);
    if (is_exception(&event, VECTOR_PF))
        cpu->s.registers.cr2 = event.cr2;
    if (is_exception(&event, VECTOR_DB)) {
        cpu->s.registers.dr6 = (cpu->s.registers.dr6 & ~0xfull) | event.dr6;
        cpu->s.dr7 &= ~DR7_GD;
    }
    if (cpu->delivering_valid) {
        if (is_exception(&cpu->delivering, VECTOR_DF) &&
            (is_contributory(&event) || is_exception(&event, VECTOR_PF))) {
            if (vmx_non_root(cpu))
                vmx_exit_triple_fault(cpu);
            cpu->delivering_valid = false;
            return false;
        }
        if (is_double_fault(&cpu->delivering, &event))
            event = (struct event){.vector = VECTOR_DF, .type = EVENT_EXCEPTION, .has_error = true};
    }
    deliver_event(cpu, &event);
    return true;
}
