/* Opcodes whose meaning depends on ModRM.mod, a prefix or more; and the few handlers that have no better home. */
#include "integer.h"
#include "operands.h"

#include <string.h>

static bool choose(struct decode *d, handler fn, bool ends)
{
    d->op->fn = fn;
    d->ends = ends;
    return true;
}

/* #GP(0) unless CPL is 0, for rows that only partly need it. */
static HANDLER(op_not_allowed)
{
    raise_gp(cpu, op, 0);
}

static bool choose_privileged(struct decode *d, handler fn)
{
    return choose(d, d->mode & MODE_UNPRIVILEGED ? op_not_allowed : fn, true);
}

/* ---- 0F 01 ---- */

bool set_up_0f01(struct decode *d)
{
    bool unprivileged = d->mode & MODE_UNPRIVILEGED, plain = !d->rep && !d->repne && !d->operand16;
    if (d->mod != 3) {
        switch (d->row->arg) {
        case 0: return choose(d, op_sgdt, false);
        case 1: return choose(d, op_sidt, false);
        case 2: return choose_privileged(d, op_lgdt);
        case 3: return choose_privileged(d, op_lidt);
        default: return choose_privileged(d, op_invlpg);
        }
    }
    switch (d->modrm) {
    case 0xc1: case 0xc2: case 0xc3: case 0xc4: return choose(d, op_vmx_instruction, true);
    /* These raise #UD, not #GP, unless CPL is 0. */
    case 0xc8: return has_feature(d->cpu, FEATURE_MONITOR) && !unprivileged && choose(d, op_monitor, true);
    case 0xc9: return has_feature(d->cpu, FEATURE_MONITOR) && !unprivileged && choose(d, op_mwait, true);
    case 0xca: return has_feature(d->cpu, FEATURE_SMAP) && !unprivileged && choose(d, op_clac, true);
    case 0xcb: return has_feature(d->cpu, FEATURE_SMAP) && !unprivileged && choose(d, op_stac, true);
    case 0xd0: return plain && has_feature(d->cpu, FEATURE_XSAVE) && choose(d, op_xgetbv, false);
    case 0xd1: return plain && has_feature(d->cpu, FEATURE_XSAVE) && choose(d, op_xsetbv, true);
    case 0xee: return has_feature(d->cpu, FEATURE_PKU) && choose(d, op_rdpkru, false);
    case 0xef: return has_feature(d->cpu, FEATURE_PKU) && choose(d, op_wrpkru, true);
    case 0xf8: return (d->mode & MODE_CODE) == MODE_CODE64 && choose_privileged(d, op_swapgs);
    case 0xf9: return has_feature(d->cpu, FEATURE_RDTSCP) && choose(d, op_rdtscp, false);
    default: return false;
    }
}

/* ---- 0F AE ---- */

static HANDLER(op_clflush)
{
    mmu_probe(cpu, op, ea_any(cpu, op, 1, false), 1, op->seg, false); /* faults as a load of one byte */
    NEXT;
}

bool set_up_0fae(struct decode *d)
{
    static const handler base[4] = {op_rdfsbase, op_rdgsbase, op_wrfsbase, op_wrgsbase};
    unsigned which = d->row->arg;
    struct processor *cpu = d->cpu;
    if (d->mod == 3) {
        if (which >= 5) /* LFENCE, MFENCE, SFENCE: this processor is in order */
            return !d->rep && !d->repne && !d->operand16 && has_feature(cpu, which == 7 ? FEATURE_SSE : FEATURE_SSE2) &&
                   choose(d, op_nop, false);
        if (d->op->size == 2) /* 66h means nothing here */
            d->op->size = 4;
        return which < 4 && d->rep && (d->mode & MODE_CODE) == MODE_CODE64 && has_feature(cpu, FEATURE_FSGSBASE) &&
               choose(d, base[which], false);
    }
    if (d->rep || d->repne)
        return false;
    if (d->operand16)
        return (which == 7   ? has_feature(cpu, FEATURE_CLFLUSHOPT)
                : which == 6 ? has_feature(cpu, FEATURE_CLWB)
                             : false) &&
               choose(d, op_clflush, false);
    switch (which) {
    case 0: return has_feature(cpu, FEATURE_FXSR) && choose(d, op_fxsave, false);
    case 1: return has_feature(cpu, FEATURE_FXSR) && choose(d, op_fxrstor, true);
    case 2: return has_feature(cpu, FEATURE_SSE) && choose(d, op_ldmxcsr, true);
    case 3: return has_feature(cpu, FEATURE_SSE) && choose(d, op_stmxcsr, false);
    case 4: return has_feature(cpu, FEATURE_XSAVE) && choose(d, op_xsave, false);
    case 5: return has_feature(cpu, FEATURE_XSAVE) && choose(d, op_xrstor, true);
    case 6: return has_feature(cpu, FEATURE_XSAVEOPT) && choose(d, op_xsaveopt, false);
    default: return has_feature(cpu, FEATURE_CLFSH) && choose(d, op_clflush, false);
    }
}

/* ---- 0F C7 ---- */

static HANDLER(op_cmpxchg8b)
{
    u32u *at = mem_modify(cpu, op, ea_any(cpu, op, 8, true), 8, op->seg);
    uint64_t *gpr = cpu->s.registers.gpr;
    uint64_t old = at[0] | (uint64_t)at[1] << 32, expected = (uint32_t)gpr[RAX] | gpr[RDX] << 32;
    uint64_t value = old == expected ? (uint32_t)gpr[RBX] | gpr[RCX] << 32 : old;
    at[0] = value;
    at[1] = value >> 32;
    mem_modify_end(cpu, op, at);
    cpu->s.flags = old == expected ? cpu->s.flags | FLAG_ZF : cpu->s.flags & ~FLAG_ZF;
    if (old != expected) {
        gpr[RAX] = (uint32_t)old;
        gpr[RDX] = old >> 32;
    }
    NEXT;
}

static HANDLER(op_cmpxchg16b)
{
    uint64_t linear = ea_any(cpu, op, 16, true), *gpr = cpu->s.registers.gpr;
    if (linear & 15)
        raise_gp(cpu, op, 0);
    u64u *at = mem_modify(cpu, op, linear, 16, op->seg);
    uint64_t low = at[0], high = at[1];
    bool equal = low == gpr[RAX] && high == gpr[RDX];
    at[0] = equal ? gpr[RBX] : low;
    at[1] = equal ? gpr[RCX] : high;
    mem_modify_end(cpu, op, at);
    cpu->s.flags = equal ? cpu->s.flags | FLAG_ZF : cpu->s.flags & ~FLAG_ZF;
    if (!equal) {
        gpr[RAX] = low;
        gpr[RDX] = high;
    }
    NEXT;
}

bool set_up_0fc7(struct decode *d)
{
    unsigned which = d->row->arg;
    struct processor *cpu = d->cpu;
    if (d->mod != 3) {
        if (which >= 6) /* VMPTRLD, VMCLEAR, VMXON, VMPTRST */
            return choose(d, op_vmx_instruction, true);
        if (which >= 3 && which <= 5 && (d->rep || d->repne || d->operand16))
            return false;
        switch (which) {
        case 3: return has_feature(cpu, FEATURE_XSAVES) && choose(d, op_xrstors, true);
        case 4: return has_feature(cpu, FEATURE_XSAVEC) && choose(d, op_xsavec, false);
        case 5: return has_feature(cpu, FEATURE_XSAVES) && choose(d, op_xsaves, false);
        default: break;
        }
        return d->op->size == 8 ? has_feature(cpu, FEATURE_CX16) && choose(d, op_cmpxchg16b, false)
                                : has_feature(cpu, FEATURE_CX8) && choose(d, op_cmpxchg8b, false);
    }
    if (which == 7 && d->rep)
        return has_feature(cpu, FEATURE_RDPID) && choose(d, op_rdpid, false);
    if (d->rep || d->repne)
        return false;
    return which == 6   ? has_feature(cpu, FEATURE_RDRAND) && choose(d, op_rdrand, false)
           : which == 7 ? has_feature(cpu, FEATURE_RDSEED) && choose(d, op_rdseed, false)
                        : false;
}

/* ---- I/O: operands of at most 4 bytes ---- */

bool set_up_ins(struct decode *d)
{
    if (d->op->size == 8)
        d->op->size = 4;
    return choose(d, d->row->arg ? op_outs : op_ins, true);
}

bool set_up_in(struct decode *d)
{
    static const handler table[4] = {op_in_imm, op_out_imm, op_in_dx, op_out_dx};
    if (d->op->size == 8)
        d->op->size = 4;
    return choose(d, table[d->row->arg], true);
}

bool set_up_invpcid(struct decode *d)
{
    return d->operand16 && !d->rep && !d->repne && choose(d, op_invpcid, true);
}

bool set_up_emms(struct decode *d)
{
    return !d->operand16 && !d->rep && !d->repne && choose(d, op_emms, false);
}
