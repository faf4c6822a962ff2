/* Control transfers beyond the segment: far JMP, CALL and RET, IRET, SYSCALL and SYSENTER, software interrupts
 * (SDM vol. 3, 5.8 and 6.12; vol. 2). */
#include "mmu.h"
#include "segment.h"
#include "task.h"
#include "virtual_interrupts.h"
#include "vmx_state.h"

#include <string.h>

/* ---- helpers ---- */

static uint64_t *rsp_of(struct processor *cpu)
{
    return &cpu->s.registers.gpr[RSP];
}

/* The value `distance` bytes above the top of the stack. */
static uint64_t peek(struct processor *cpu, const struct op *op, unsigned distance, unsigned size)
{
    uint64_t value = 0, linear = stack_linear(cpu, op, *rsp_of(cpu) + distance, size, false);
    memcpy(&value, mem_read(cpu, op, linear, size, SS), size);
    return value;
}

/* Pushes on the current stack below `*sp`, which is not yet RSP. */
static void push(struct processor *cpu, const struct op *op, uint64_t *sp, uint64_t value, unsigned size)
{
    *sp -= size;
    mmu_stack_write(cpu, op, stack_linear(cpu, op, *sp, size, true), value, size, cpu->s.cpl == 3);
}

static void check_rip(struct processor *cpu, const struct op *op, const struct vcpu_segment *cs, uint64_t rip)
{
    if (long_mode(cpu) && cs->access & AR_L ? !canonical(cpu, rip) : rip > cs->limit)
        raise_zero(cpu, op, VECTOR_GP);
}

/* RIP, CS and CPL as a transfer leaves them; the stack has been seen to. */
static void enter(struct processor *cpu, const struct vcpu_segment *cs, uint64_t rip)
{
    cpu->s.seg[CS] = *cs;
    cpu->s.cpl = cs->selector & 3;
    cpu->s.rip = rip;
    cpu_update(cpu);
}

/* On to the next trace, by way of cpu_run when an event may have become due. */
static const struct op *resume(struct processor *cpu, uint64_t old_flags)
{
    if (cpu->s.system_flags & ~old_flags & (RFLAGS_IF | RFLAGS_TF))
        LEAVE_TRACE;
    return trace_jump(cpu);
}

/* In IA-32e mode a code segment is 64-bit or 32/16-bit, never both. */
static bool mixed_code(const struct processor *cpu, uint32_t access)
{
    return long_mode(cpu) && (access & (AR_L | AR_DB)) == (AR_L | AR_DB);
}

/* ---- far JMP and CALL ---- */

static void far_real(struct processor *cpu, const struct op *op, uint16_t selector, uint32_t offset, bool call)
{
    uint64_t sp = *rsp_of(cpu);
    check_rip(cpu, op, &cpu->s.seg[CS], offset);
    if (call) {
        push(cpu, op, &sp, cpu->s.seg[CS].selector, op->size);
        push(cpu, op, &sp, next_rip(cpu, op), op->size);
        stack_set(cpu, sp);
    }
    load_segment_real(cpu, CS, selector);
    cpu->s.rip = offset;
    if (segment_may_change_mode(cpu, CS))
        cpu_update(cpu);
}

static void far_code(struct processor *cpu, const struct op *op, uint16_t selector, struct descriptor *d,
                     uint64_t offset, bool call)
{
    uint32_t access = descriptor_access(d->low);
    unsigned dpl = access_dpl(access), cpl = cpu->s.cpl;
    if (is_conforming(access) ? dpl > cpl : dpl != cpl || (selector & 3u) > cpl)
        raise_selector(cpu, op, VECTOR_GP, selector);
    if (mixed_code(cpu, access))
        raise_selector(cpu, op, VECTOR_GP, selector);
    if (!(access & AR_P))
        raise_selector(cpu, op, VECTOR_NP, selector);
    struct vcpu_segment cs = descriptor_segment((selector & 0xfffc) | cpl, d);
    cs.access |= AR_ACCESSED;
    uint64_t sp = *rsp_of(cpu);
    if (call) {
        push(cpu, op, &sp, cpu->s.seg[CS].selector, op->size);
        push(cpu, op, &sp, next_rip(cpu, op), op->size);
    }
    check_rip(cpu, op, &cs, offset); /* #SS goes before */
    descriptor_set_accessed(cpu, op, d);
    if (call)
        stack_set(cpu, sp);
    enter(cpu, &cs, offset);
}

/* The stack of a gate's more privileged code: SS:RSP of the caller, parameters, CS:RIP (figure 5-13 and 5.8.5.1). */
static void call_inner(struct processor *cpu, const struct op *op, const struct descriptor *gate,
                       struct descriptor *code, const struct vcpu_segment *cs, uint64_t rip, unsigned size)
{
    unsigned cpl = cs->selector & 3, parameters = size == 8 ? 0 : gate->low >> 32 & 31;
    uint64_t frame[2 + 31 + 2], sp;
    unsigned count = 0;
    uint32_t error = 0;
    struct vcpu_segment ss;
    if (size == 8) {
        ss = (struct vcpu_segment){.access = AR_UNUSABLE | cpl << AR_DPL_SHIFT, .selector = cpl};
        sp = inner_stack64(cpu, op, cpl, 0);
    } else {
        uint32_t esp;
        error = inner_stack(cpu, op, cpl, &ss, &esp);
        sp = esp;
    }
    frame[count++] = cpu->s.seg[SS].selector;
    frame[count++] = *rsp_of(cpu);
    while (parameters--)
        frame[count++] = peek(cpu, op, parameters * size, size);
    frame[count++] = cpu->s.seg[CS].selector;
    frame[count++] = next_rip(cpu, op);
    for (unsigned i = 0; i < count; i++) {
        sp -= size;
        mmu_stack_write(cpu, op, stack_address(cpu, op, &ss, sp, size, size == 8, error), frame[i], size, false);
    }
    check_rip(cpu, op, cs, rip);
    descriptor_set_accessed(cpu, op, code);
    uint64_t mask = size == 8 ? ~0ull : segment_stack_mask(&ss);
    cpu->s.seg[SS] = ss;
    *rsp_of(cpu) = mask == 0xffff ? (uint32_t)((*rsp_of(cpu) & ~mask) | (sp & mask)) : sp & mask;
    enter(cpu, cs, rip);
}

static void far_gate(struct processor *cpu, const struct op *op, uint16_t selector, struct descriptor *gate, bool call)
{
    uint32_t access = descriptor_access(gate->low);
    bool wide = long_mode(cpu);
    unsigned size = wide ? 8 : access_type(access) == TYPE_CALL_GATE32 ? 4 : 2, cpl = cpu->s.cpl;
    if (!(access & AR_P))
        raise_selector(cpu, op, VECTOR_NP, selector);
    if (wide)
        descriptor_read_high(cpu, op, selector, VECTOR_GP, gate);
    uint16_t target = gate->low >> 16;
    uint64_t rip = (gate->low & 0xffff) | (size > 2 ? gate->low >> 32 & 0xffff0000 : 0) | gate->high << 32;
    struct descriptor d;
    if (is_null(target))
        raise_zero(cpu, op, VECTOR_GP);
    descriptor_read(cpu, op, target, VECTOR_GP, &d);
    uint32_t code = descriptor_access(d.low);
    unsigned dpl = access_dpl(code);
    if (!is_code(code) || dpl > cpl || (!call && !is_conforming(code) && dpl != cpl) ||
        (wide && (code & (AR_L | AR_DB)) != AR_L))
        raise_selector(cpu, op, VECTOR_GP, target);
    if (!(code & AR_P))
        raise_selector(cpu, op, VECTOR_NP, target);
    bool inner = call && !is_conforming(code) && dpl < cpl;
    struct vcpu_segment cs = descriptor_segment((target & 0xfffc) | (inner ? dpl : cpl), &d);
    cs.access |= AR_ACCESSED;
    if (inner) {
        call_inner(cpu, op, gate, &d, &cs, rip, size);
        return;
    }
    uint64_t sp = *rsp_of(cpu);
    if (call) {
        push(cpu, op, &sp, cpu->s.seg[CS].selector, size);
        push(cpu, op, &sp, next_rip(cpu, op), size);
    }
    check_rip(cpu, op, &cs, rip);
    descriptor_set_accessed(cpu, op, &d);
    if (call)
        stack_set(cpu, sp);
    enter(cpu, &cs, rip);
}

static void far_transfer(struct processor *cpu, const struct op *op, uint16_t selector, uint64_t offset, bool call)
{
    if (cpu->mode & MODE_UNPROTECTED) {
        far_real(cpu, op, selector, offset, call);
        return;
    }
    struct descriptor d;
    if (is_null(selector))
        raise_zero(cpu, op, VECTOR_GP);
    descriptor_read(cpu, op, selector, VECTOR_GP, &d);
    uint32_t access = descriptor_access(d.low);
    unsigned type = access_type(access), dpl = access_dpl(access);
    if (access & AR_S) {
        if (!is_code(access))
            raise_selector(cpu, op, VECTOR_GP, selector);
        far_code(cpu, op, selector, &d, offset, call);
        return;
    }
    if (dpl < cpu->s.cpl || dpl < (selector & 3u))
        raise_selector(cpu, op, VECTOR_GP, selector);
    enum task_source source = call ? TASK_CALL : TASK_JMP;
    if (type == TYPE_CALL_GATE32 || (type == TYPE_CALL_GATE16 && !long_mode(cpu))) {
        far_gate(cpu, op, selector, &d, call);
    } else if (type == TYPE_TASK_GATE && !long_mode(cpu)) {
        if (!(access & AR_P))
            raise_selector(cpu, op, VECTOR_NP, selector);
        task_switch(cpu, op, d.low >> 16, source, next_rip(cpu, op), false, 0);
    } else if ((type == TYPE_TSS16 || type == TYPE_TSS32) && !long_mode(cpu)) {
        task_switch(cpu, op, selector, source, next_rip(cpu, op), false, 0);
    } else {
        raise_selector(cpu, op, VECTOR_GP, selector);
    }
}

HELPER void far_transfer_immediate(struct processor *cpu, const struct op *op, bool call)
{
    far_transfer(cpu, op, op->imm >> 32, (uint32_t)op->imm, call);
}

HELPER void far_transfer_memory(struct processor *cpu, const struct op *op, bool call)
{
    uint16_t selector;
    uint64_t offset = read_far_pointer(cpu, op, &selector);
    far_transfer(cpu, op, selector, offset, call);
}

HANDLER(op_far_jmp)
{
    far_transfer_immediate(cpu, op, false);
    LEAVE_TRACE;
}

HANDLER(op_far_call)
{
    far_transfer_immediate(cpu, op, true);
    LEAVE_TRACE;
}

HANDLER(op_far_jmp_memory)
{
    far_transfer_memory(cpu, op, false);
    LEAVE_TRACE;
}

HANDLER(op_far_call_memory)
{
    far_transfer_memory(cpu, op, true);
    LEAVE_TRACE;
}

/* ---- far RET and IRET ---- */

/* CS of a return, with its checks (vol. 2, IRET and RET). */
static struct vcpu_segment return_code(struct processor *cpu, const struct op *op, uint16_t selector,
                                       struct descriptor *d)
{
    if (unlikely(is_null(selector)))
        raise_zero(cpu, op, VECTOR_GP);
    descriptor_read(cpu, op, selector, VECTOR_GP, d);
    uint32_t access = descriptor_access(d->low);
    unsigned dpl = access_dpl(access), rpl = selector & 3;
    if (unlikely(!is_code(access) || rpl < cpu->s.cpl || (is_conforming(access) ? dpl > rpl : dpl != rpl) ||
                 mixed_code(cpu, access)))
        raise_selector(cpu, op, VECTOR_GP, selector);
    if (unlikely(!(access & AR_P)))
        raise_selector(cpu, op, VECTOR_NP, selector);
    struct vcpu_segment cs = descriptor_segment(selector, d);
    cs.access |= AR_ACCESSED; /* in its descriptor when nothing can fault any more */
    return cs;
}

/* SS of a return: null is good for 64-bit code that is not at privilege 3. */
static struct vcpu_segment return_stack(struct processor *cpu, const struct op *op, uint16_t selector,
                                        const struct vcpu_segment *cs)
{
    unsigned cpl = cs->selector & 3;
    if (is_null(selector) && long_mode(cpu) && cs->access & AR_L && cpl != 3)
        return (struct vcpu_segment){.access = AR_UNUSABLE | cpl << AR_DPL_SHIFT, .selector = selector};
    return stack_segment(cpu, op, selector, cpl, VECTOR_GP);
}

/* Goes to CS:RIP with a popped SS:RSP. */
static void return_to(struct processor *cpu, const struct vcpu_segment *cs, uint64_t rip,
                      const struct vcpu_segment *ss, uint64_t rsp)
{
    bool outer = (cs->selector & 3) != cpu->s.cpl, wide = long_mode(cpu) && cs->access & AR_L;
    uint64_t mask = wide ? ~0ull : segment_stack_mask(ss);
    cpu->s.seg[SS] = *ss;
    *rsp_of(cpu) = mask == 0xffff ? (*rsp_of(cpu) & ~mask) | (rsp & mask) : rsp & mask;
    enter(cpu, cs, rip);
    if (outer) {
        drop_segments(cpu);
        cpu_update(cpu); /* they may have been flat */
    }
}

static void far_return(struct processor *cpu, const struct op *op)
{
    unsigned size = op->size, released = op->imm;
    uint64_t rip = peek(cpu, op, 0, size);
    uint16_t selector = peek(cpu, op, size, size);
    if (cpu->mode & MODE_UNPROTECTED) {
        check_rip(cpu, op, &cpu->s.seg[CS], rip);
        stack_set(cpu, *rsp_of(cpu) + 2 * size + released);
        load_segment_real(cpu, CS, selector);
        cpu->s.rip = rip;
        cpu_update(cpu);
        return;
    }
    struct descriptor d;
    struct vcpu_segment cs = return_code(cpu, op, selector, &d);
    if ((selector & 3) == cpu->s.cpl) {
        check_rip(cpu, op, &cs, rip);
        descriptor_set_accessed(cpu, op, &d);
        stack_set(cpu, *rsp_of(cpu) + 2 * size + released);
        enter(cpu, &cs, rip);
        return;
    }
    uint64_t rsp = peek(cpu, op, 2 * size + released, size);
    struct vcpu_segment ss = return_stack(cpu, op, peek(cpu, op, 3 * size + released, size), &cs);
    check_rip(cpu, op, &cs, rip);
    descriptor_set_accessed(cpu, op, &d);
    return_to(cpu, &cs, rip, &ss, rsp + released);
}

HELPER void far_ret(struct processor *cpu, const struct op *op)
{
    far_return(cpu, op);
}

HANDLER(op_far_ret)
{
    far_ret(cpu, op);
    LEAVE_TRACE;
}

/* RFLAGS bits that IRET with the current privilege takes from the stack. */
static uint64_t iret_flags(const struct processor *cpu, unsigned size)
{
    unsigned iopl = cpu->s.system_flags >> 12 & 3;
    uint64_t mask = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
    if (size > 2)
        mask |= RFLAGS_RF | cpu->rflags_optional;
    if (cpu->s.cpl <= iopl)
        mask |= RFLAGS_IF;
    if (cpu->s.cpl == 0) {
        mask |= RFLAGS_IOPL;
        if (size > 2)
            mask |= RFLAGS_VIF | RFLAGS_VIP;
    }
    return mask;
}

static void merge_flags(struct processor *cpu, uint64_t value, uint64_t mask)
{
    rflags_write(cpu, (rflags_read(cpu) & ~mask) | (value & mask));
}

/* Real and virtual-8086 mode. */
static void iret_real(struct processor *cpu, const struct op *op)
{
    unsigned size = op->size;
    bool virtual = v86_mode(cpu) && v86_flags_are_virtual(cpu, op, size);
    uint64_t rip = peek(cpu, op, 0, size), flags = peek(cpu, op, 2 * size, size);
    uint16_t selector = peek(cpu, op, size, size);
    uint64_t mask = iret_flags(cpu, size) & ~(uint64_t)(RFLAGS_VIF | RFLAGS_VIP);
    check_rip(cpu, op, &cpu->s.seg[CS], rip);
    if (unlikely(virtual))
        rflags_write(cpu, v86_flags_loaded(cpu, op, flags));
    else
        merge_flags(cpu, flags, mask);
    stack_set(cpu, *rsp_of(cpu) + 3 * size);
    load_segment_real(cpu, CS, selector);
    cpu->s.rip = rip;
    cpu_update(cpu);
}

static void iret_to_v86(struct processor *cpu, const struct op *op, uint32_t rip, uint32_t flags)
{
    static const uint8_t order[] = {SS, ES, DS, FS, GS};
    uint32_t cs = peek(cpu, op, 4, 4), esp = peek(cpu, op, 12, 4), selector[5];
    for (unsigned i = 0; i < 5; i++)
        selector[i] = peek(cpu, op, 16 + 4 * i, 4);
    if (rip > 0xffff)
        raise_gp(cpu, op, 0);
    merge_flags(cpu, flags, iret_flags(cpu, 4) | RFLAGS_VM);
    cpu->s.cpl = 3;
    load_segment_real(cpu, CS, cs);
    for (unsigned i = 0; i < 5; i++)
        load_segment_real(cpu, order[i], selector[i]);
    *rsp_of(cpu) = esp;
    cpu->s.rip = rip;
    cpu_update(cpu);
}

static void iret_protected(struct processor *cpu, const struct op *op)
{
    unsigned size = op->size;
    if (unlikely(cpu->s.system_flags & RFLAGS_NT)) {
        if (long_mode(cpu))
            raise_gp(cpu, op, 0);
        uint16_t link = mmu_system_read(cpu, op, cpu->s.seg[TR].base, 2);
        task_switch(cpu, op, link, TASK_IRET, next_rip(cpu, op), false, 0);
        return;
    }
    uint64_t frame[5];
    if (likely(code64(cpu) && size == 8)) {
        memcpy(frame, mem_read(cpu, op, *rsp_of(cpu), sizeof frame, SS), sizeof frame);
        mmu_demand_alignment(cpu, op, *rsp_of(cpu), 8);
    } else {
        for (unsigned i = 0; i < 3; i++)
            frame[i] = peek(cpu, op, i * size, size);
        if (size == 4 && frame[2] & RFLAGS_VM && cpu->s.cpl == 0 && !long_mode(cpu)) {
            iret_to_v86(cpu, op, frame[0], frame[2]);
            return;
        }
    }
    uint16_t selector = frame[1];
    struct descriptor d;
    struct vcpu_segment cs = return_code(cpu, op, selector, &d);
    uint64_t mask = iret_flags(cpu, size);
    if (!code64(cpu) && (selector & 3) == cpu->s.cpl) {
        check_rip(cpu, op, &cs, frame[0]);
        descriptor_set_accessed(cpu, op, &d);
        stack_set(cpu, *rsp_of(cpu) + 3 * size);
        merge_flags(cpu, frame[2], mask);
        enter(cpu, &cs, frame[0]);
        return;
    }
    if (!code64(cpu) || size != 8) {
        frame[3] = peek(cpu, op, 3 * size, size);
        frame[4] = peek(cpu, op, 4 * size, size);
    }
    struct vcpu_segment ss = return_stack(cpu, op, frame[4], &cs);
    check_rip(cpu, op, &cs, frame[0]);
    descriptor_set_accessed(cpu, op, &d);
    merge_flags(cpu, frame[2], mask);
    return_to(cpu, &cs, frame[0], &ss, frame[3]);
}

HELPER void iret(struct processor *cpu, const struct op *op)
{
    if (cpu->mode & MODE_UNPROTECTED)
        iret_real(cpu, op);
    else
        iret_protected(cpu, op);
}

HANDLER(op_iret)
{
    vmx_iret(cpu, op);
    iret(cpu, op);
    LEAVE_TRACE;
}

/* ---- SYSCALL, SYSENTER ---- */

#define FLAT_CODE64 0xa09bu
#define FLAT_CODE32 0xc09bu
#define FLAT_DATA32 0xc093u

static struct vcpu_segment flat(uint16_t selector, uint32_t access, unsigned dpl)
{
    return (struct vcpu_segment){0, 0xffffffff, access | dpl << AR_DPL_SHIFT, (selector & 0xfffc) | dpl};
}

/* Intel's processors have SYSCALL and SYSRET in 64-bit code only, AMD's in protected mode. */
static bool has_syscall(const struct processor *cpu)
{
    return cpu->s.efer & EFER_SCE && (code64(cpu) || (cpu->amd && !(cpu->mode & MODE_UNPROTECTED)));
}

HANDLER(op_syscall)
{
    if (unlikely(!has_syscall(cpu)))
        raise_ud(cpu, op);
    refuse_when_emulating(cpu, op);
    bool wide = long_mode(cpu);
    uint64_t old_flags = cpu->s.system_flags, rflags = rflags_read(cpu), target = cpu->s.lstar;
    uint16_t selector = cpu->s.star >> 32;
    cpu->s.registers.gpr[RCX] = next_rip(cpu, op);
    if (likely(wide)) {
        cpu->s.registers.gpr[R11] = rflags & ~(uint64_t)RFLAGS_RF;
        rflags_write(cpu, rflags & ~cpu->s.fmask & ~(uint64_t)RFLAGS_RF);
        if (unlikely(!code64(cpu)))
            target = cpu->s.cstar;
    } else {
        rflags_write(cpu, rflags & ~(uint64_t)(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF));
        target = (uint32_t)cpu->s.star;
    }
    cpu->s.seg[CS] = flat(selector & 0xfffc, wide ? FLAT_CODE64 : FLAT_CODE32, 0);
    cpu->s.seg[SS] = flat((selector & 0xfffc) + 8, FLAT_DATA32, 0);
    cpu->s.cpl = 0;
    cpu->s.rip = target;
    cpu_update(cpu);
    return resume(cpu, old_flags);
}

HANDLER(op_sysret)
{
    if (unlikely(!has_syscall(cpu)))
        raise_ud(cpu, op);
    uint64_t rcx = cpu->s.registers.gpr[RCX];
    /* On AMD's an address that is not canonical faults when it is fetched from, at CPL 3. */
    if (unlikely(cpu->s.cpl != 0 || (op->size == 8 && !canonical(cpu, rcx) && !cpu->amd)))
        raise_gp(cpu, op, 0);
    refuse_when_emulating(cpu, op);
    uint64_t old_flags = cpu->s.system_flags;
    uint16_t selector = cpu->s.star >> 48;
    if (likely(long_mode(cpu)))
        rflags_write(cpu, cpu->s.registers.gpr[R11] & 0x3c7fd7);
    else
        cpu->s.system_flags |= RFLAGS_IF;
    cpu->s.seg[CS] = op->size == 8 ? flat(selector + 16, FLAT_CODE64, 3) : flat(selector, FLAT_CODE32, 3);
    cpu->s.seg[SS] = flat(selector + 8, FLAT_DATA32, 3);
    cpu->s.cpl = 3;
    cpu->s.rip = op->size == 8 ? rcx : (uint32_t)rcx;
    cpu_update(cpu);
    return resume(cpu, old_flags);
}

/* Not in AMD's long mode. */
static void demand_sysenter(struct processor *cpu, const struct op *op)
{
    if (cpu->amd && long_mode(cpu))
        raise_ud(cpu, op);
}

HANDLER(op_sysenter)
{
    demand_sysenter(cpu, op);
    if (!protected_mode(cpu) || is_null(cpu->s.sysenter_cs))
        raise_gp(cpu, op, 0);
    refuse_when_emulating(cpu, op);
    bool wide = long_mode(cpu);
    uint64_t old_flags = cpu->s.system_flags;
    uint16_t selector = cpu->s.sysenter_cs & 0xfffc;
    cpu->s.system_flags &= ~(uint64_t)(RFLAGS_VM | RFLAGS_IF | RFLAGS_RF);
    cpu->s.seg[CS] = flat(selector, wide ? FLAT_CODE64 : FLAT_CODE32, 0);
    cpu->s.seg[SS] = flat(selector + 8, FLAT_DATA32, 0);
    cpu->s.cpl = 0;
    *rsp_of(cpu) = wide ? cpu->s.sysenter_esp : (uint32_t)cpu->s.sysenter_esp;
    cpu->s.rip = wide ? cpu->s.sysenter_eip : (uint32_t)cpu->s.sysenter_eip;
    cpu_update(cpu);
    return resume(cpu, old_flags);
}

HANDLER(op_sysexit)
{
    uint64_t rip = cpu->s.registers.gpr[RDX], rsp = cpu->s.registers.gpr[RCX];
    bool wide = op->size == 8;
    demand_sysenter(cpu, op);
    if (!protected_mode(cpu) || is_null(cpu->s.sysenter_cs) || cpu->s.cpl != 0)
        raise_gp(cpu, op, 0);
    if (wide && (!canonical(cpu, rip) || !canonical(cpu, rsp)))
        raise_gp(cpu, op, 0);
    refuse_when_emulating(cpu, op);
    uint16_t selector = (cpu->s.sysenter_cs & 0xfffc) + (wide ? 32 : 16);
    cpu->s.seg[CS] = flat(selector, wide ? FLAT_CODE64 : FLAT_CODE32, 3);
    cpu->s.seg[SS] = flat(selector + 8, FLAT_DATA32, 3);
    cpu->s.cpl = 3;
    *rsp_of(cpu) = wide ? rsp : (uint32_t)rsp;
    cpu->s.rip = wide ? rip : (uint32_t)rip;
    cpu_update(cpu);
    return trace_jump(cpu);
}

/* ---- software interrupts ---- */

HANDLER(op_int)
{
    if (v86_mode(cpu) && v86_interrupt(cpu, op, op->imm))
        LEAVE_TRACE;
    deliver_software_event(cpu, op, (uint8_t)op->imm, EVENT_SOFTWARE_INTERRUPT);
    LEAVE_TRACE;
}

HANDLER(op_int3)
{
    deliver_software_event(cpu, op, VECTOR_BP, EVENT_SOFTWARE_EXCEPTION);
    LEAVE_TRACE;
}

HANDLER(op_int1)
{
    deliver_software_event(cpu, op, VECTOR_DB, EVENT_PRIVILEGED_SOFTWARE);
    /* A trap that MOV SS held off came with it: one exception tells of both. */
    if (cpu->s.pending_debug) {
        cpu->s.registers.dr6 = (cpu->s.registers.dr6 & ~0xfull) | (cpu->s.pending_debug & ~PENDING_BREAKPOINT);
        cpu->s.pending_debug = 0;
    }
    LEAVE_TRACE;
}

HANDLER(op_into)
{
    if (cpu->s.flags & FLAG_OF) {
        deliver_software_event(cpu, op, VECTOR_OF, EVENT_SOFTWARE_EXCEPTION);
        LEAVE_TRACE;
    }
    rip_past(cpu, op);
    return trace_jump(cpu);
}
