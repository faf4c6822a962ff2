#include "virtual_interrupts.h"

static bool is_free(const struct processor *cpu)
{
    return (cpu->s.system_flags & RFLAGS_IOPL) == RFLAGS_IOPL;
}

bool v86_flags_are_virtual(struct processor *cpu, const struct op *op, unsigned size)
{
    if (is_free(cpu))
        return false;
    if (!(cpu->s.cr4 & CR4_VME) || size != 2)
        raise_gp(cpu, op, 0);
    return true;
}

uint16_t v86_flags_stored(const struct processor *cpu)
{
    uint64_t flags = rflags_read(cpu) & ~(uint64_t)RFLAGS_IF;
    return flags | RFLAGS_IOPL | (flags & RFLAGS_VIF ? RFLAGS_IF : 0);
}

uint64_t v86_flags_loaded(struct processor *cpu, const struct op *op, uint16_t value)
{
    const uint64_t kept = ~0xffffull | RFLAGS_IOPL | RFLAGS_IF;
    uint64_t flags = rflags_read(cpu);
    if (value & RFLAGS_TF || (value & RFLAGS_IF && flags & RFLAGS_VIP))
        raise_gp(cpu, op, 0);
    flags = (flags & kept & ~(uint64_t)RFLAGS_VIF) | (value & ~kept);
    return flags | (value & RFLAGS_IF ? RFLAGS_VIF : 0);
}

/* The interrupt redirection bitmap: the 32 bytes below the I/O permission bitmap. */
static bool is_redirected(struct processor *cpu, const struct op *op, uint8_t vector)
{
    const struct vcpu_segment *tr = &cpu->s.seg[TR];
    if (!(tr->access & 8) || tr->access & AR_UNUSABLE || tr->limit < 103)
        raise_gp(cpu, op, 0);
    uint32_t at = mmu_system_read(cpu, op, tr->base + 102, 2) - 32 + vector / 8;
    if (at > tr->limit)
        raise_gp(cpu, op, 0);
    return !(mmu_system_read(cpu, op, tr->base + at, 1) >> (vector & 7) & 1);
}

/* As in real mode (vol. 3, 21.3.3.5). */
static void deliver_8086(struct processor *cpu, const struct op *op, uint8_t vector)
{
    bool virtual = !is_free(cpu);
    uint16_t flags = virtual ? v86_flags_stored(cpu) : rflags_read(cpu);
    uint16_t frame[3] = {flags, cpu->s.seg[CS].selector, next_rip(cpu, op)};
    uint64_t sp = cpu->s.registers.gpr[RSP], linear[3];
    uint32_t entry = load32(cpu, op, vector * 4, DS);
    for (unsigned i = 0; i < 3; i++) {
        linear[i] = stack_linear(cpu, op, sp - 2 * (i + 1), 2, true);
        mmu_probe(cpu, op, linear[i], 2, SS, true);
    }
    for (unsigned i = 0; i < 3; i++)
        store16(cpu, op, linear[i], frame[i], SS);
    stack_set(cpu, sp - 6);
    load_segment_real(cpu, CS, entry >> 16);
    cpu->s.rip = entry & 0xffff;
    cpu->s.system_flags &= ~(uint64_t)(RFLAGS_TF | RFLAGS_RF | (virtual ? RFLAGS_VIF : RFLAGS_IF));
    cpu_update(cpu);
}

bool v86_interrupt(struct processor *cpu, const struct op *op, uint8_t vector)
{
    if (cpu->s.cr4 & CR4_VME && is_redirected(cpu, op, vector)) {
        deliver_8086(cpu, op, vector);
        return true;
    }
    if (!is_free(cpu))
        raise_gp(cpu, op, 0);
    return false;
}
