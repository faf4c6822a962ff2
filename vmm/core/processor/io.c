/* Port I/O (SDM vol. 1, chapter 19; VM exits: vol. 3, 26.1.3). */
#include "breakpoint.h"
#include "mmu.h"
#include "segment.h"
#include "vmx_state.h"

#include <string.h>

/* The I/O permission bitmap of the TSS (vol. 1, 19.5.2). */
HELPER void check_bitmap(struct processor *cpu, const struct op *op, uint16_t port, unsigned size)
{
    const struct vcpu_segment *tr = &cpu->s.seg[TR];
    if (!(tr->access & 8) || tr->access & AR_UNUSABLE || tr->limit < 103) /* a 16-bit TSS has none */
        raise_gp(cpu, op, 0);
    uint32_t at = mmu_system_read(cpu, op, tr->base + 102, 2) + port / 8;
    if (at + 1 > tr->limit)
        raise_gp(cpu, op, 0);
    uint32_t bits = mmu_system_read(cpu, op, tr->base + at, 2) >> (port & 7);
    if (bits & ((1u << size) - 1))
        raise_gp(cpu, op, 0);
}

static void check_port(struct processor *cpu, const struct op *op, uint16_t port, unsigned size)
{
    bool free = !v86_mode(cpu) && cpu->s.cpl <= (cpu->s.system_flags >> 12 & 3);
    if (unlikely(!free) && protected_mode(cpu))
        check_bitmap(cpu, op, port, size);
}

/* An I/O breakpoint traps after the instruction (vol. 3, 18.2.4). */
static void check_breakpoints(struct processor *cpu, uint16_t port, unsigned size)
{
    if (!breakpoints_armed(cpu, BREAK_IO))
        return;
    uint64_t met = breakpoints_met(cpu, BREAK_IO, port, size);
    if (met)
        cpu->s.pending_debug |= met | PENDING_BREAKPOINT;
}

static uint32_t port_in(struct processor *cpu, const struct op *op, uint16_t port, unsigned size)
{
    const struct emulate_bus *bus = find_bus(cpu, op);
    uint32_t value = bus ? bus->in(bus->context, port, size) : ~0u;
    check_breakpoints(cpu, port, size);
    return value;
}

static void port_out(struct processor *cpu, const struct op *op, uint16_t port, uint32_t value, unsigned size)
{
    const struct emulate_bus *bus = find_bus(cpu, op);
    if (bus)
        bus->out(bus->context, port, size == 4 ? value : value & ((1u << size * 8) - 1), size);
    check_breakpoints(cpu, port, size);
}

static void input(struct processor *cpu, const struct op *op, uint16_t port, unsigned kind)
{
    check_port(cpu, op, port, op->size);
    if (unlikely(vmx_io_exits(cpu, port, op->size)))
        vmx_exit_io(cpu, op, port, op->size, kind | IO_IN, 0);
    uint32_t value = port_in(cpu, op, port, op->size);
    if (op->size == 1)
        REG8(cpu, GPR_OFFSET(RAX)) = value;
    else if (op->size == 2)
        REG16(cpu, GPR_OFFSET(RAX)) = value;
    else
        REG64(cpu, GPR_OFFSET(RAX)) = value;
}

static void output(struct processor *cpu, const struct op *op, uint16_t port, unsigned kind)
{
    check_port(cpu, op, port, op->size);
    if (unlikely(vmx_io_exits(cpu, port, op->size)))
        vmx_exit_io(cpu, op, port, op->size, kind, 0);
    port_out(cpu, op, port, cpu->s.registers.gpr[RAX], op->size);
}

HANDLER(op_in_imm)
{
    input(cpu, op, (uint8_t)op->imm, IO_IMMEDIATE);
    rip_past(cpu, op);
    LEAVE_TRACE;
}

HANDLER(op_in_dx)
{
    input(cpu, op, cpu->s.registers.gpr[RDX], 0);
    rip_past(cpu, op);
    LEAVE_TRACE;
}

HANDLER(op_out_imm)
{
    output(cpu, op, (uint8_t)op->imm, IO_IMMEDIATE);
    rip_past(cpu, op);
    LEAVE_TRACE;
}

HANDLER(op_out_dx)
{
    output(cpu, op, cpu->s.registers.gpr[RDX], 0);
    rip_past(cpu, op);
    LEAVE_TRACE;
}

/* ---- INS, OUTS ---- */

static uint64_t address_mask(const struct op *op)
{
    return op->form & FORM_ADDRESS16 ? 0xffff : op->form & FORM_ADDRESS32 ? 0xffffffff : ~0ull;
}

/* Adds to a register as wide as the address. */
static void advance(struct processor *cpu, unsigned gpr, int64_t step, uint64_t mask)
{
    uint64_t *r = &cpu->s.registers.gpr[gpr];
    *r = mask == 0xffff ? (*r & ~mask) | ((*r + step) & mask) : (*r + step) & mask;
}

/* One element. */
static void transfer(struct processor *cpu, const struct op *op, uint16_t port, bool in, uint64_t mask)
{
    unsigned gpr = in ? RDI : RSI, seg = in ? ES : op->seg;
    uint64_t linear = linear_address(cpu, op, seg, cpu->s.registers.gpr[gpr] & mask, op->size, in);
    uint32_t value = 0;
    find_bus(cpu, op);
    if (in) {
        mmu_probe(cpu, op, linear, op->size, seg, true);
        value = port_in(cpu, op, port, op->size);
        mmu_write(cpu, op, linear, &value, op->size, seg);
    } else {
        memcpy(&value, mem_read(cpu, op, linear, op->size, seg), op->size);
        port_out(cpu, op, port, value, op->size);
    }
    advance(cpu, gpr, cpu->s.system_flags & RFLAGS_DF ? -(int64_t)op->size : op->size, mask);
}

HELPER void string_io(struct processor *cpu, const struct op *op, bool in)
{
    bool rep = op->form & (FORM_REP | FORM_REPNE);
    uint16_t port = cpu->s.registers.gpr[RDX];
    uint64_t mask = address_mask(op);
    if (rep && !(cpu->s.registers.gpr[RCX] & mask)) {
        rip_past(cpu, op);
        return;
    }
    check_port(cpu, op, port, op->size);
    if (unlikely(vmx_io_exits(cpu, port, op->size))) {
        unsigned seg = in ? ES : op->seg;
        uint64_t offset = cpu->s.registers.gpr[in ? RDI : RSI] & mask;
        uint64_t linear = code64(cpu) ? offset + (seg >= FS ? cpu->s.seg[seg].base : 0)
                                      : (uint32_t)(offset + cpu->s.seg[seg].base);
        vmx_exit_io(cpu, op, port, op->size, IO_STRING | (in ? IO_IN : 0) | (rep ? IO_REP : 0), linear);
    }
    for (;;) {
        transfer(cpu, op, port, in, mask);
        if (!rep)
            break;
        advance(cpu, RCX, -1, mask);
        if (!(cpu->s.registers.gpr[RCX] & mask))
            break;
        if (cpu->left <= 0 || cpu->s.pending_debug) { /* the budget, or a breakpoint's trap */
            rip_at_repeat(cpu, op);
            return;
        }
        cpu->left--;
    }
    rip_past(cpu, op);
}

HANDLER(op_ins)
{
    string_io(cpu, op, true);
    LEAVE_TRACE;
}

HANDLER(op_outs)
{
    string_io(cpu, op, false);
    LEAVE_TRACE;
}
