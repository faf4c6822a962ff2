/* Task-state segments and task switches (SDM vol. 3, chapter 8). */
#include "task.h"

#include "events.h"
#include "mmu.h"
#include "segment.h"
#include "vmx_state.h"

/* Byte offsets in a TSS (figures 8-2 and 8-10). General registers from `gpr` in the order of enum gpr, segment
 * registers from `seg` in the order of enum segment_register, LDTR behind the last. */
struct tss_layout {
    uint8_t width, stacks, ip, flags, gpr, seg, segs, last;
};
static const struct tss_layout tss16 = {2, 2, 14, 16, 18, 34, 4, 43};
static const struct tss_layout tss32 = {4, 4, 32, 36, 40, 72, 6, 103};
#define TSS32_CR3 28
#define TSS32_TRAP 100

static const struct tss_layout *layout(uint32_t access)
{
    return access & 8 ? &tss32 : &tss16;
}

uint32_t inner_stack(struct processor *cpu, const struct op *op, unsigned cpl, struct vcpu_segment *ss, uint32_t *esp)
{
    const struct vcpu_segment *tr = &cpu->s.seg[TR];
    const struct tss_layout *tss = layout(tr->access);
    unsigned at = tss->stacks + 2 * tss->width * cpl;
    if (at + tss->width + 1 > tr->limit)
        raise_selector(cpu, op, VECTOR_TS, tr->selector);
    *esp = mmu_system_read(cpu, op, tr->base + at, tss->width);
    *ss = stack_segment(cpu, op, mmu_system_read(cpu, op, tr->base + at + tss->width, 2), cpl, VECTOR_TS);
    return ss->selector & 0xfffc;
}

uint64_t inner_stack64(struct processor *cpu, const struct op *op, unsigned cpl, unsigned ist)
{
    const struct vcpu_segment *tr = &cpu->s.seg[TR];
    unsigned at = ist ? 36 + 8 * (ist - 1) : 4 + 8 * cpl; /* figure 8-11 */
    if (unlikely(at + 7 > tr->limit))
        raise_selector(cpu, op, VECTOR_TS, tr->selector);
    uint64_t rsp = mmu_system_read(cpu, op, tr->base + at, 8);
    if (unlikely(!canonical(cpu, rsp)))
        raise_zero(cpu, op, VECTOR_SS);
    return rsp;
}

/* What a TSS holds of a task. */
struct task {
    uint32_t cr3, ip, flags, gpr[8];
    uint16_t selector[6], ldt;
    bool trap;
};

static struct task read_task(struct processor *cpu, const struct op *op, uint64_t base, const struct tss_layout *tss)
{
    struct task task = {0};
    unsigned width = tss->width;
    task.ip = mmu_system_read(cpu, op, base + tss->ip, width);
    task.flags = mmu_system_read(cpu, op, base + tss->flags, width);
    for (unsigned i = 0; i < 8; i++)
        task.gpr[i] = mmu_system_read(cpu, op, base + tss->gpr + i * width, width);
    for (unsigned i = 0; i < tss->segs; i++)
        task.selector[i] = mmu_system_read(cpu, op, base + tss->seg + i * width, 2);
    task.ldt = mmu_system_read(cpu, op, base + tss->seg + tss->segs * width, 2);
    if (tss == &tss32) {
        task.cr3 = mmu_system_read(cpu, op, base + TSS32_CR3, 4);
        task.trap = mmu_system_read(cpu, op, base + TSS32_TRAP, 2) & 1;
    } else {
        for (unsigned i = 0; i < 8; i++)
            task.gpr[i] |= 0xffff0000;
    }
    return task;
}

static void save_task(struct processor *cpu, const struct op *op, uint64_t next_rip, uint64_t rflags)
{
    const struct vcpu_segment *tr = &cpu->s.seg[TR];
    const struct tss_layout *tss = layout(tr->access);
    unsigned width = tss->width;
    mmu_system_write(cpu, op, tr->base + tss->ip, next_rip, width);
    mmu_system_write(cpu, op, tr->base + tss->flags, rflags, width);
    for (unsigned i = 0; i < 8; i++)
        mmu_system_write(cpu, op, tr->base + tss->gpr + i * width, cpu->s.registers.gpr[i], width);
    for (unsigned i = 0; i < tss->segs; i++)
        mmu_system_write(cpu, op, tr->base + tss->seg + i * width, cpu->s.seg[i].selector, 2);
}

/* Raises what reading and writing the whole TSS would raise. */
static void probe_tss(struct processor *cpu, const struct op *op, uint64_t base, unsigned last)
{
    uint8_t byte = mmu_system_read(cpu, op, base, 1);
    mmu_system_write(cpu, op, base, byte, 1);
    byte = mmu_system_read(cpu, op, base + last, 1);
    mmu_system_write(cpu, op, base + last, byte, 1);
}

/* Finds the TSS descriptor of the new task (table 8-1: checks 1 to 6). */
static void find_tss(struct processor *cpu, const struct op *op, uint16_t selector, enum task_source source,
                     struct descriptor *d)
{
    unsigned vector = source == TASK_IRET ? VECTOR_TS : VECTOR_GP;
    if (is_null(selector) || selector & 4)
        raise_selector(cpu, op, vector, selector);
    descriptor_read(cpu, op, selector, vector, d);
    uint32_t access = descriptor_access(d->low);
    unsigned busy = source == TASK_IRET ? 2 : 0;
    if (access & AR_S || (access_type(access) != (TYPE_TSS16 | busy) && access_type(access) != (TYPE_TSS32 | busy)))
        raise_selector(cpu, op, vector, selector);
    if (!(access & AR_P))
        raise_selector(cpu, op, VECTOR_NP, selector);
}

/* ---- loading the new task: faults are its own from here on (op NULL) ---- */

static void load_ldt(struct processor *cpu, uint16_t selector)
{
    struct descriptor d;
    cpu->s.seg[LDTR] = (struct vcpu_segment){.access = AR_UNUSABLE, .selector = selector};
    if (is_null(selector))
        return;
    if (selector & 4)
        raise_selector(cpu, NULL, VECTOR_TS, selector);
    descriptor_read(cpu, NULL, selector, VECTOR_TS, &d);
    uint32_t access = descriptor_access(d.low);
    if (access & AR_S || access_type(access) != TYPE_LDT || !(access & AR_P))
        raise_selector(cpu, NULL, VECTOR_TS, selector);
    cpu->s.seg[LDTR] = descriptor_segment(selector, &d);
}

static void load_code(struct processor *cpu, uint16_t selector)
{
    struct descriptor d;
    if (is_null(selector))
        raise_selector(cpu, NULL, VECTOR_TS, selector);
    descriptor_read(cpu, NULL, selector, VECTOR_TS, &d);
    uint32_t access = descriptor_access(d.low);
    unsigned dpl = access_dpl(access), rpl = selector & 3;
    if (!is_code(access) || (is_conforming(access) ? dpl > rpl : dpl != rpl))
        raise_selector(cpu, NULL, VECTOR_TS, selector);
    if (!(access & AR_P))
        raise_selector(cpu, NULL, VECTOR_NP, selector);
    descriptor_set_accessed(cpu, NULL, &d);
    cpu->s.seg[CS] = descriptor_segment(selector, &d);
}

static void load_data(struct processor *cpu, unsigned seg, uint16_t selector)
{
    struct descriptor d;
    if (is_null(selector))
        return;
    descriptor_read(cpu, NULL, selector, VECTOR_TS, &d);
    uint32_t access = descriptor_access(d.low);
    unsigned dpl = access_dpl(access);
    if (!is_readable(access) || (!is_conforming(access) && (dpl < cpu->s.cpl || dpl < (selector & 3u))))
        raise_selector(cpu, NULL, VECTOR_TS, selector);
    if (!(access & AR_P))
        raise_selector(cpu, NULL, VECTOR_NP, selector);
    descriptor_set_accessed(cpu, NULL, &d);
    cpu->s.seg[seg] = descriptor_segment(selector, &d);
}

static void load_segments(struct processor *cpu, const struct task *task)
{
    static const uint8_t data[] = {DS, ES, FS, GS};
    if (v86_mode(cpu)) {
        for (unsigned i = 0; i < 6; i++)
            load_segment_real(cpu, i, task->selector[i]);
        load_ldt(cpu, task->ldt);
        return;
    }
    load_ldt(cpu, task->ldt);
    load_code(cpu, task->selector[CS]);
    cpu->s.seg[SS] = stack_segment(cpu, NULL, task->selector[SS], cpu->s.cpl, VECTOR_TS);
    for (unsigned i = 0; i < sizeof data; i++)
        load_data(cpu, data[i], task->selector[data[i]]);
}

static void push_error(struct processor *cpu, uint32_t error, unsigned size)
{
    const struct vcpu_segment *ss = &cpu->s.seg[SS];
    uint64_t sp = cpu->s.registers.gpr[RSP] - size, mask = segment_stack_mask(ss);
    mmu_stack_write(cpu, NULL, stack_address(cpu, NULL, ss, sp, size, false, 0), error, size, cpu->s.cpl == 3);
    cpu->s.registers.gpr[RSP] = (uint32_t)((cpu->s.registers.gpr[RSP] & ~mask) | (sp & mask));
}

void task_switch(struct processor *cpu, const struct op *op, uint16_t selector, enum task_source source,
                 uint64_t next_rip, bool has_error, uint32_t error)
{
    struct descriptor d, old;
    struct vcpu_segment *tr = &cpu->s.seg[TR];
    find_tss(cpu, op, selector, source, &d);
    if (vmx_non_root(cpu))
        vmx_exit_task_switch(cpu, op, selector, source);
    struct vcpu_segment new = descriptor_segment(selector, &d);
    const struct tss_layout *tss = layout(new.access);
    if (new.limit < tss->last)
        raise_selector(cpu, op, VECTOR_TS, selector);
    probe_tss(cpu, op, tr->base, layout(tr->access)->last);
    probe_tss(cpu, op, new.base, tss->last);
    struct task task = read_task(cpu, op, new.base, tss);
    uint64_t rflags = rflags_read(cpu);
    if (cpu->delivering_valid && event_sets_rf(&cpu->delivering))
        rflags |= RFLAGS_RF;

    if (source == TASK_JMP || source == TASK_IRET) {
        descriptor_read(cpu, op, tr->selector, VECTOR_TS, &old);
        descriptor_set_busy(cpu, op, &old, false);
    }
    save_task(cpu, op, next_rip, source == TASK_IRET ? rflags & ~(uint64_t)RFLAGS_NT : rflags);
    if (source == TASK_CALL || source == TASK_GATE) {
        mmu_system_write(cpu, op, new.base, tr->selector, 2);
        task.flags |= RFLAGS_NT;
    }
    if (source != TASK_IRET)
        descriptor_set_busy(cpu, op, &d, true);

    *tr = new;
    tr->access |= 2; /* busy */
    cpu->s.cr0 |= CR0_TS;
    cpu->s.dr7 &= ~0x155ull; /* L0 to L3 and LE */
    cpu->s.rip = task.ip;
    const uint32_t settable = tss == &tss32 ? 0x3f7fd5 : 0x7fd5;
    rflags_write(cpu, task.flags & settable);
    for (unsigned i = 0; i < 8; i++)
        cpu->s.registers.gpr[i] = task.gpr[i];
    for (unsigned i = ES; i <= GS; i++)
        cpu->s.seg[i] = (struct vcpu_segment){.access = AR_UNUSABLE, .selector = task.selector[i]};
    cpu->s.cpl = v86_mode(cpu) ? 3 : task.selector[CS] & 3;
    cpu->s.seg[SS].access |= (uint32_t)cpu->s.cpl << AR_DPL_SHIFT;
    if (!v86_mode(cpu)) { /* VM entry wants a CS to inject a fault of the new task into */
        cpu->s.seg[CS].access = AR_P | AR_S | AR_CODE | AR_WRITABLE | AR_ACCESSED | cpu->s.cpl << AR_DPL_SHIFT;
        cpu->s.seg[CS].limit = 0xffff;
    }
    if (tss == &tss32 && cpu->s.cr0 & CR0_PG) {
        if (cpu->s.cr4 & CR4_PAE)
            mmu_load_pdpte(cpu, NULL, task.cr3);
        cpu->s.cr3 = task.cr3;
        mmu_flush(cpu, false);
    }
    cpu_update(cpu);
    load_segments(cpu, &task);
    cpu_update(cpu);
    if (has_error)
        push_error(cpu, error, tss->width);
    if (task.ip > cpu->s.seg[CS].limit)
        raise_zero(cpu, NULL, VECTOR_GP);
    if (task.trap)
        cpu->s.pending_debug |= DR6_BT;
}
