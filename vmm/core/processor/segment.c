/* Segment limits and types, descriptors, loads of segment registers (SDM vol. 3, 5.2 to 5.7; vol. 2). */
#include "segment.h"

#include <string.h>

#include "mmu.h"

_Noreturn void raise_selector(struct processor *cpu, const struct op *op, unsigned vector, uint16_t selector)
{
    raise_fault(cpu, op, vector, (selector & 0xfffc) | external_event(cpu));
}

_Noreturn void raise_zero(struct processor *cpu, const struct op *op, unsigned vector)
{
    raise_fault(cpu, op, vector, external_event(cpu));
}

/* ---- limits ---- */

/* Real and virtual-8086 mode know no types: every segment expands up. */
static bool within_limit(const struct vcpu_segment *s, uint32_t offset, unsigned size, bool typed)
{
    uint64_t last = (uint64_t)offset + size - 1;
    if (typed && (s->access & (AR_S | AR_CODE | AR_EXPAND_DOWN)) == (AR_S | AR_EXPAND_DOWN))
        return offset > s->limit && last <= (s->access & AR_DB ? 0xffffffffu : 0xffffu);
    return last <= s->limit || s->limit == 0xffffffffu; /* a 4-GiB segment wraps */
}

uint64_t segment_checked(struct processor *cpu, const struct op *op, uint64_t offset, uint64_t access, unsigned seg)
{
    const struct vcpu_segment *s = &cpu->s.seg[seg];
    unsigned size = (uint16_t)access;
    bool write = access & SEGMENT_WRITE;
    bool typed = !(cpu->mode & MODE_UNPROTECTED);
    if (unlikely(typed && (s->access & AR_UNUSABLE || !(write ? is_writable_data(s->access) : is_readable(s->access)))))
        raise_zero(cpu, op, seg == SS ? VECTOR_SS : VECTOR_GP);
    if (unlikely(!within_limit(s, offset, size, typed)))
        raise_zero(cpu, op, seg == SS ? VECTOR_SS : VECTOR_GP);
    return (uint32_t)(s->base + offset);
}

uint64_t stack_address(struct processor *cpu, const struct op *op, const struct vcpu_segment *ss, uint64_t sp,
                       unsigned size, bool code64_stack, uint32_t error)
{
    if (code64_stack)
        return sp;
    sp &= segment_stack_mask(ss);
    if (unlikely(!within_limit(ss, sp, size, !(cpu->mode & MODE_UNPROTECTED))))
        raise_fault(cpu, op, VECTOR_SS, error | external_event(cpu));
    return (uint32_t)(ss->base + sp);
}

/* ---- descriptors ---- */

struct vcpu_segment descriptor_segment(uint16_t selector, const struct descriptor *d)
{
    uint32_t access = descriptor_access(d->low), limit = (d->low & 0xffff) | (d->low >> 32 & 0xf0000);
    return (struct vcpu_segment){
        .base = (d->low >> 16 & 0xffffff) | (d->low >> 32 & 0xff000000) | d->high << 32,
        .limit = access & AR_G ? limit << 12 | 0xfff : limit,
        .access = access,
        .selector = selector,
    };
}

static bool in_table(const struct processor *cpu, uint16_t selector, unsigned size, uint64_t *at)
{
    const struct vcpu_segment *ldt = &cpu->s.seg[LDTR];
    bool local = selector & 4;
    if (local && ldt->access & AR_UNUSABLE)
        return false;
    *at = (local ? ldt->base : cpu->s.gdt_base) + (selector & 0xfff8);
    return (selector & 0xfff8u) + size - 1 <= (local ? ldt->limit : cpu->s.gdt_limit);
}

bool descriptor_find(struct processor *cpu, const struct op *op, uint16_t selector, struct descriptor *d)
{
    if (!in_table(cpu, selector, 8, &d->at))
        return false;
    d->low = mmu_system_read(cpu, op, d->at, 8);
    d->high = 0;
    return true;
}

void descriptor_read(struct processor *cpu, const struct op *op, uint16_t selector, unsigned vector,
                     struct descriptor *d)
{
    if (unlikely(!descriptor_find(cpu, op, selector, d)))
        raise_selector(cpu, op, vector, selector);
}

/* The second half of a 16-byte descriptor; false: outside of its table, or its type is not 0. */
static bool descriptor_find_high(struct processor *cpu, const struct op *op, uint16_t selector, struct descriptor *d)
{
    uint64_t at;
    if (!in_table(cpu, selector, 16, &at))
        return false;
    d->high = mmu_system_read(cpu, op, at + 8, 8);
    return !(d->high >> 40 & 0x1f);
}

void descriptor_read_high(struct processor *cpu, const struct op *op, uint16_t selector, unsigned vector,
                          struct descriptor *d)
{
    if (!descriptor_find_high(cpu, op, selector, d))
        raise_selector(cpu, op, vector, selector);
}

void descriptor_set_accessed(struct processor *cpu, const struct op *op, struct descriptor *d)
{
    if (likely(d->low >> 40 & AR_ACCESSED))
        return;
    d->low |= 1ull << 40;
    mmu_system_write(cpu, op, d->at + 5, d->low >> 40, 1);
}

void descriptor_set_busy(struct processor *cpu, const struct op *op, struct descriptor *d, bool busy)
{
    d->low = (d->low & ~(1ull << 41)) | (uint64_t)busy << 41;
    mmu_system_write(cpu, op, d->at + 5, d->low >> 40, 1);
}

/* ---- loads ---- */

/* AMD's processors keep base and limit. */
static void set_null(const struct processor *cpu, struct vcpu_segment *s, uint16_t selector)
{
    *s = (struct vcpu_segment){.access = AR_UNUSABLE, .selector = selector, .base = cpu->amd ? s->base : 0,
                               .limit = cpu->amd ? s->limit : 0};
}

void load_segment_real(struct processor *cpu, unsigned seg, uint16_t selector)
{
    struct vcpu_segment *s = &cpu->s.seg[seg];
    s->selector = selector;
    s->base = (uint32_t)selector << 4;
    if (v86_mode(cpu) || s->access & AR_UNUSABLE) { /* else limit and attributes stay: "unreal" mode */
        s->limit = 0xffff;
        s->access = v86_mode(cpu) ? ACCESS_V86 : ACCESS_REAL_DATA;
    }
}

struct vcpu_segment stack_segment(struct processor *cpu, const struct op *op, uint16_t selector, unsigned cpl,
                                  unsigned vector)
{
    struct descriptor d;
    if (is_null(selector))
        raise_selector(cpu, op, vector, 0);
    descriptor_read(cpu, op, selector, vector, &d);
    uint32_t access = descriptor_access(d.low);
    if ((selector & 3u) != cpl || access_dpl(access) != cpl || !is_writable_data(access))
        raise_selector(cpu, op, vector, selector);
    if (!(access & AR_P))
        raise_selector(cpu, op, VECTOR_SS, selector);
    descriptor_set_accessed(cpu, op, &d);
    return descriptor_segment(selector, &d);
}

static void load_stack_segment(struct processor *cpu, const struct op *op, uint16_t selector)
{
    if (is_null(selector)) {
        if (!code64(cpu) || cpu->s.cpl == 3 || (selector & 3) != cpu->s.cpl)
            raise_zero(cpu, op, VECTOR_GP);
        set_null(cpu, &cpu->s.seg[SS], selector);
        cpu->s.seg[SS].access |= (uint32_t)cpu->s.cpl << AR_DPL_SHIFT; /* SS.DPL is CPL (SDM vol. 3, 25.4.1) */
        return;
    }
    cpu->s.seg[SS] = stack_segment(cpu, op, selector, cpu->s.cpl, VECTOR_GP);
}

void load_segment(struct processor *cpu, const struct op *op, unsigned seg, uint16_t selector)
{
    if (cpu->mode & MODE_UNPROTECTED) {
        load_segment_real(cpu, seg, selector);
        return;
    }
    if (seg == SS) {
        load_stack_segment(cpu, op, selector);
        return;
    }
    if (is_null(selector)) {
        set_null(cpu, &cpu->s.seg[seg], selector);
        return;
    }
    struct descriptor d;
    descriptor_read(cpu, op, selector, VECTOR_GP, &d);
    uint32_t access = descriptor_access(d.low);
    if (!is_readable(access))
        raise_selector(cpu, op, VECTOR_GP, selector);
    if (!is_conforming(access) && (access_dpl(access) < (selector & 3u) || access_dpl(access) < cpu->s.cpl))
        raise_selector(cpu, op, VECTOR_GP, selector);
    if (!(access & AR_P))
        raise_selector(cpu, op, VECTOR_NP, selector);
    descriptor_set_accessed(cpu, op, &d);
    cpu->s.seg[seg] = descriptor_segment(selector, &d);
}

void drop_segments(struct processor *cpu)
{
    static const uint8_t data[] = {ES, DS, FS, GS};
    for (unsigned i = 0; i < sizeof data; i++) {
        struct vcpu_segment *s = &cpu->s.seg[data[i]];
        if (!(s->access & AR_UNUSABLE) && !is_conforming(s->access) && access_dpl(s->access) < cpu->s.cpl) {
            s->selector = 0; /* the base stays */
            s->access = AR_UNUSABLE;
        }
    }
}

/* ---- instructions ---- */

/* Sixteen bits of the operand that ModRM.rm names. */
static uint16_t read_selector(struct processor *cpu, const struct op *op)
{
    return op->form & FORM_MEMORY ? load16(cpu, op, ea_any(cpu, op, 2, false), op->seg) : REG16(cpu, op->src);
}

/* After a load of `seg`: in 64-bit code neither mode nor trace depends on it. */
static const struct op *segment_loaded(struct processor *cpu, const struct op *op, unsigned seg)
{
    rip_past(cpu, op);
    if (!code64(cpu) && seg <= DS && segment_may_change_mode(cpu, seg))
        cpu_update(cpu);
    return trace_jump(cpu);
}

/* MOV and POP to SS hold off debug traps and interrupts for one instruction (SDM vol. 3, 6.8.3). */
static const struct op *stack_segment_loaded(struct processor *cpu, const struct op *op)
{
    rip_past(cpu, op);
    cpu->s.interruptibility |= BLOCKING_BY_MOV_SS;
    if (!code64(cpu))
        cpu_update(cpu);
    LEAVE_TRACE;
}

HANDLER(op_mov_to_seg)
{
    unsigned seg = op->dst >> 3 & 7;
    if (seg == CS || seg > GS)
        raise_ud(cpu, op);
    load_segment(cpu, op, seg, read_selector(cpu, op));
    return seg == SS ? stack_segment_loaded(cpu, op) : segment_loaded(cpu, op, seg);
}

HANDLER(op_mov_from_seg)
{
    unsigned seg = op->dst >> 3 & 7;
    if (seg > GS)
        raise_ud(cpu, op);
    uint16_t selector = cpu->s.seg[seg].selector;
    if (op->form & FORM_MEMORY)
        store16(cpu, op, ea_any(cpu, op, 2, true), selector, op->seg);
    else if (op->size == 2)
        REG16(cpu, op->src) = selector;
    else
        REG64(cpu, op->src) = selector;
    NEXT;
}

static bool segment_operand(struct decode *d, handler fn, unsigned seg)
{
    d->op->fn = fn;
    d->op->imm = seg;
    return true;
}

bool set_up_push_seg(struct decode *d)
{
    return segment_operand(d, op_push_seg, d->opcode >> 3 & 7);
}

bool set_up_pop_seg(struct decode *d)
{
    return segment_operand(d, op_pop_seg, d->opcode >> 3 & 7);
}

bool set_up_load_far(struct decode *d)
{
    return segment_operand(d, op_load_far, d->map == MAP_0F ? d->opcode & 7 : d->opcode == 0xc4 ? ES : DS);
}

/* With a 32-bit operand only the low half of the stack slot is accessed. */
HANDLER(op_push_seg)
{
    uint64_t sp = cpu->s.registers.gpr[RSP] - op->size, selector = cpu->s.seg[op->imm & 7].selector;
    uint64_t linear = stack_linear(cpu, op, sp, op->size == 8 ? 8 : 2, true);
    if (op->size == 8)
        store64(cpu, op, linear, selector, SS);
    else
        store16(cpu, op, linear, selector, SS);
    stack_set(cpu, sp);
    NEXT;
}

HANDLER(op_pop_seg)
{
    uint64_t sp = cpu->s.registers.gpr[RSP];
    uint16_t selector = load16(cpu, op, stack_linear(cpu, op, sp, 2, false), SS);
    load_segment(cpu, op, op->imm, selector);
    stack_set(cpu, sp + op->size);
    return op->imm == SS ? stack_segment_loaded(cpu, op) : segment_loaded(cpu, op, op->imm);
}

/* Offset and selector are two operands, each with an alignment of its own. */
uint64_t read_far_pointer(struct processor *cpu, const struct op *op, uint16_t *selector)
{
    uint64_t linear = ea_any(cpu, op, op->size + 2, false), offset = 0;
    memcpy(&offset, mem_read(cpu, op, linear, op->size, op->seg), op->size);
    *selector = load16(cpu, op, linear + op->size, op->seg);
    return offset;
}

HELPER void load_far(struct processor *cpu, const struct op *op)
{
    uint16_t selector;
    uint64_t value = read_far_pointer(cpu, op, &selector);
    load_segment(cpu, op, op->imm, selector);
    write_register(cpu, op->dst, op->size, value);
}

HANDLER(op_load_far)
{
    load_far(cpu, op);
    return segment_loaded(cpu, op, op->imm);
}

static void set_zf(struct processor *cpu, bool zf)
{
    cpu->s.flags = (cpu->s.flags & ~FLAG_ZF) | (zf ? FLAG_ZF : 0);
}

/* Does the selector name a descriptor that the current privilege may see? */
static bool visible_descriptor(struct processor *cpu, const struct op *op, uint16_t selector, struct descriptor *d)
{
    if (is_null(selector) || !descriptor_find(cpu, op, selector, d))
        return false;
    uint32_t access = descriptor_access(d->low);
    return is_conforming(access) || (access_dpl(access) >= cpu->s.cpl && access_dpl(access) >= (selector & 3u));
}

/* Types of system descriptors that LAR and LSL know, one bit each, in legacy and in IA-32e mode. */
#define LAR_TYPES 0x1a3eu
#define LAR_TYPES_LONG 0x1a04u
#define LSL_TYPES 0x0a0eu
#define LSL_TYPES_LONG 0x0a04u

static bool known_to(struct processor *cpu, const struct op *op, uint16_t selector, struct descriptor *d, bool limit)
{
    unsigned type = access_type(descriptor_access(d->low));
    if (descriptor_access(d->low) & AR_S)
        return true;
    if (!long_mode(cpu))
        return (limit ? LSL_TYPES : LAR_TYPES) >> type & 1;
    bool wide = code64(cpu) || type == TYPE_CALL_GATE32;
    return (limit ? LSL_TYPES_LONG : LAR_TYPES_LONG) >> type & 1 &&
           (!wide || descriptor_find_high(cpu, op, selector, d));
}

HELPER void load_rights_or_limit(struct processor *cpu, const struct op *op, bool limit)
{
    struct descriptor d;
    uint16_t selector = read_selector(cpu, op);
    bool good = visible_descriptor(cpu, op, selector, &d) && known_to(cpu, op, selector, &d, limit);
    set_zf(cpu, good);
    if (good)
        write_register(cpu, op->dst, op->size,
                       limit ? descriptor_segment(selector, &d).limit : d.low >> 32 & 0x00ffff00);
}

HANDLER(op_lar)
{
    load_rights_or_limit(cpu, op, false);
    NEXT;
}

HANDLER(op_lsl)
{
    load_rights_or_limit(cpu, op, true);
    NEXT;
}

HELPER void verify(struct processor *cpu, const struct op *op, bool write)
{
    struct descriptor d;
    bool good = visible_descriptor(cpu, op, read_selector(cpu, op), &d);
    set_zf(cpu, good && (write ? is_writable_data(descriptor_access(d.low)) : is_readable(descriptor_access(d.low))));
}

HANDLER(op_verr)
{
    verify(cpu, op, false);
    NEXT;
}

HANDLER(op_verw)
{
    verify(cpu, op, true);
    NEXT;
}

HANDLER(op_arpl)
{
    bool memory = op->form & FORM_MEMORY;
    uint64_t linear = memory ? ea_any(cpu, op, 2, true) : 0;
    uint16_t selector = memory ? load16(cpu, op, linear, op->seg) : REG16(cpu, op->src);
    unsigned rpl = REG16(cpu, op->dst) & 3;
    bool lower = (selector & 3u) < rpl;
    if (lower && memory)
        store16(cpu, op, linear, (selector & ~3u) | rpl, op->seg);
    else if (lower)
        REG16(cpu, op->src) = (selector & ~3u) | rpl;
    set_zf(cpu, lower);
    NEXT;
}
