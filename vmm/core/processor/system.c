/* System instructions: control and debug registers, descriptor-table registers, flags, time stamps, MSRs, caches
 * (SDM vol. 2; VM exits: vol. 3, 26.1). */
#include "mmu.h"
#include "msr.h"
#include "segment.h"
#include "virtual_interrupts.h"
#include "vmx_state.h"

#include <string.h>

/* The end of a handler that ends its trace without touching mode, privilege or pending events. */
static inline __attribute__((always_inline)) const struct op *past(struct processor *cpu, const struct op *op)
{
    rip_past(cpu, op);
    return trace_jump(cpu);
}

static unsigned iopl(const struct processor *cpu)
{
    return cpu->s.system_flags >> 12 & 3;
}

HANDLER(op_ud)
{
    raise_ud(cpu, op);
}

HANDLER(op_pause)
{
    if (unlikely(vmx_exits_pause(cpu)))
        vmx_exit(cpu, op, REASON_PAUSE, 0);
    if (unlikely(cpu->want_pause))
        leave_run(cpu, op, LEAVE_PAUSE);
    NEXT;
}

/* ---- descriptor-table registers ---- */

static void check_umip(struct processor *cpu, const struct op *op)
{
    if (unlikely(cpu->s.cr4 & CR4_UMIP && cpu->s.cpl > 0))
        raise_gp(cpu, op, 0);
}

enum table { STORE_GDT, STORE_IDT, LOAD_GDT, LOAD_IDT }; /* as in table 28-10, bits 29:28 */

static void exit_table(struct processor *cpu, const struct op *op, enum table which)
{
    if (unlikely(vmx_exits_descriptor_table(cpu)))
        vmx_exit_operand(cpu, op, REASON_GDTR_IDTR_ACCESS, which << 28 | (uint32_t)(op->size != 2) << 11);
}

HELPER void load_table(struct processor *cpu, const struct op *op, enum table which)
{
    exit_table(cpu, op, which);
    unsigned size = code64(cpu) ? 10 : 6;
    uint64_t base = 0;
    const uint8_t *at = mem_read(cpu, op, ea_any(cpu, op, size, false), size, op->seg);
    uint16_t limit = *(const u16u *)at;
    memcpy(&base, at + 2, size - 2);
    if (size == 6 && op->size == 2)
        base &= 0xffffff;
    if (size == 10 && !canonical_in_model(cpu, base))
        raise_gp(cpu, op, 0);
    *(which == LOAD_GDT ? &cpu->s.gdt_base : &cpu->s.idt_base) = base;
    *(which == LOAD_GDT ? &cpu->s.gdt_limit : &cpu->s.idt_limit) = limit;
}

HELPER void store_table(struct processor *cpu, const struct op *op, enum table which)
{
    check_umip(cpu, op);
    exit_table(cpu, op, which);
    unsigned size = code64(cpu) ? 10 : 6;
    uint8_t data[10];
    uint64_t base = which == STORE_GDT ? cpu->s.gdt_base : cpu->s.idt_base;
    uint16_t limit = which == STORE_GDT ? cpu->s.gdt_limit : cpu->s.idt_limit;
    memcpy(data, &limit, 2);
    memcpy(data + 2, &base, 8);
    mmu_write(cpu, op, ea_any(cpu, op, size, true), data, size, op->seg);
}

HANDLER(op_lgdt)
{
    load_table(cpu, op, LOAD_GDT);
    return past(cpu, op);
}

HANDLER(op_lidt)
{
    load_table(cpu, op, LOAD_IDT);
    return past(cpu, op);
}

HANDLER(op_sgdt)
{
    store_table(cpu, op, STORE_GDT);
    NEXT;
}

HANDLER(op_sidt)
{
    store_table(cpu, op, STORE_IDT);
    NEXT;
}

enum system_segment { STORE_LDT, STORE_TR, LOAD_LDT, LOAD_TR }; /* as in table 28-11, bits 29:28 */

static void exit_segment(struct processor *cpu, const struct op *op, enum system_segment which)
{
    if (unlikely(vmx_exits_descriptor_table(cpu)))
        vmx_exit_operand(cpu, op, REASON_LDTR_TR_ACCESS, which << 28);
}

/* To the register or the 16 bits of memory that ModRM.rm names. */
static void write_word(struct processor *cpu, const struct op *op, uint64_t value)
{
    if (op->form & FORM_MEMORY)
        store16(cpu, op, ea_any(cpu, op, 2, true), value, op->seg);
    else
        write_register(cpu, op->src, op->size, value);
}

static uint16_t read_word(struct processor *cpu, const struct op *op)
{
    return op->form & FORM_MEMORY ? load16(cpu, op, ea_any(cpu, op, 2, false), op->seg) : REG16(cpu, op->src);
}

HANDLER(op_sldt)
{
    check_umip(cpu, op);
    exit_segment(cpu, op, STORE_LDT);
    write_word(cpu, op, cpu->s.seg[LDTR].selector);
    NEXT;
}

HANDLER(op_str)
{
    check_umip(cpu, op);
    exit_segment(cpu, op, STORE_TR);
    write_word(cpu, op, cpu->s.seg[TR].selector);
    NEXT;
}

/* The descriptor of an LDT or of a TSS that is not busy. */
static struct vcpu_segment system_segment(struct processor *cpu, const struct op *op, uint16_t selector, bool tss,
                                          struct descriptor *d)
{
    if (selector & 4)
        raise_selector(cpu, op, VECTOR_GP, selector);
    descriptor_read(cpu, op, selector, VECTOR_GP, d);
    uint32_t access = descriptor_access(d->low);
    unsigned type = access_type(access);
    if (access & AR_S ||
        !(tss ? type == TYPE_TSS32 || (type == TYPE_TSS16 && !long_mode(cpu)) : type == TYPE_LDT))
        raise_selector(cpu, op, VECTOR_GP, selector);
    if (!(access & AR_P))
        raise_selector(cpu, op, VECTOR_NP, selector);
    if (long_mode(cpu))
        descriptor_read_high(cpu, op, selector, VECTOR_GP, d);
    struct vcpu_segment segment = descriptor_segment(selector, d);
    if (!canonical_in_model(cpu, segment.base))
        raise_selector(cpu, op, VECTOR_GP, selector);
    return segment;
}

HELPER void load_ldt(struct processor *cpu, const struct op *op)
{
    exit_segment(cpu, op, LOAD_LDT);
    struct descriptor d;
    uint16_t selector = read_word(cpu, op);
    struct vcpu_segment ldt = {.access = AR_UNUSABLE, .selector = selector};
    if (!is_null(selector))
        ldt = system_segment(cpu, op, selector, false, &d);
    cpu->s.seg[LDTR] = ldt;
}

HELPER void load_tr(struct processor *cpu, const struct op *op)
{
    exit_segment(cpu, op, LOAD_TR);
    struct descriptor d;
    uint16_t selector = read_word(cpu, op);
    if (is_null(selector))
        raise_zero(cpu, op, VECTOR_GP);
    struct vcpu_segment tr = system_segment(cpu, op, selector, true, &d);
    descriptor_set_busy(cpu, op, &d, true);
    tr.access |= 2;
    cpu->s.seg[TR] = tr;
}

HANDLER(op_lldt)
{
    load_ldt(cpu, op);
    return past(cpu, op);
}

HANDLER(op_ltr)
{
    load_tr(cpu, op);
    return past(cpu, op);
}

/* ---- control registers ---- */

#define CR0_DEFINED                                                                                                    \
    (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

#define CR0_386 (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_PG)

HELPER void write_cr0(struct processor *cpu, const struct op *op, uint64_t value)
{
    uint64_t efer = cpu->s.efer;
    if (value >> 32)
        raise_gp(cpu, op, 0);
    if (cpu->cpu_generation < CPU_486)
        value &= CR0_386 | (vmx_non_root(cpu) ? CR0_NE | CR0_NW | CR0_CD : 0); /* what VMX operation fixes */
    value = (value & CR0_DEFINED) | CR0_ET;
    uint64_t changed = cpu->s.cr0 ^ value;
    if ((value & CR0_PG && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD)) || !vmx_cr0_allowed(cpu, value))
        raise_gp(cpu, op, 0);
    if (changed & CR0_PG) {
        if (value & CR0_PG && efer & EFER_LME) {
            if (!(cpu->s.cr4 & CR4_PAE) || cpu->s.seg[CS].access & AR_L)
                raise_gp(cpu, op, 0);
            efer |= EFER_LMA;
        } else if (!(value & CR0_PG)) {
            if (cpu->s.cr4 & CR4_PCIDE || code64(cpu))
                raise_gp(cpu, op, 0);
            efer &= ~EFER_LMA;
        }
    }
    if (value & CR0_PG && cpu->s.cr4 & CR4_PAE && !(efer & EFER_LMA) && changed & (CR0_CD | CR0_NW | CR0_PG))
        mmu_load_pdpte(cpu, op, cpu->s.cr3);
    cpu->s.cr0 = value;
    cpu->s.efer = efer;
    if (changed & CR0_PG)
        mmu_flush(cpu, true);
    cpu_update(cpu);
}

static void write_cr3(struct processor *cpu, const struct op *op, uint64_t value)
{
    bool keep = cpu->s.cr4 & CR4_PCIDE && value >> 63;
    value &= ~((uint64_t)keep << 63);
    if (long_mode(cpu) && value >> cpu->physical_bits)
        raise_gp(cpu, op, 0);
    if (cpu->s.cr0 & CR0_PG && cpu->s.cr4 & CR4_PAE && !long_mode(cpu))
        mmu_load_pdpte(cpu, op, value);
    cpu->s.cr3 = value;
    if (!keep)
        mmu_flush(cpu, false);
    cpu_update(cpu);
}

/* Bits of CR4 that the CPU model has. */
static uint64_t cr4_defined(const struct processor *cpu)
{
    static const struct {
        uint8_t feature;
        uint64_t bits;
    } table[] = {
        {FEATURE_VME, CR4_VME | CR4_PVI}, {FEATURE_TSC, CR4_TSD},       {FEATURE_DE, CR4_DE},
        {FEATURE_PSE, CR4_PSE},           {FEATURE_PAE, CR4_PAE},       {FEATURE_PGE, CR4_PGE},
        {FEATURE_FXSR, CR4_OSFXSR},       {FEATURE_SSE, CR4_OSXMMEXCPT}, {FEATURE_UMIP, CR4_UMIP},
        {FEATURE_VMX, CR4_VMXE},          {FEATURE_FSGSBASE, CR4_FSGSBASE}, {FEATURE_PCID, CR4_PCIDE},
        {FEATURE_XSAVE, CR4_OSXSAVE},     {FEATURE_SMEP, CR4_SMEP},     {FEATURE_SMAP, CR4_SMAP},
        {FEATURE_PKU, CR4_PKE},           {FEATURE_LA57, CR4_LA57},
    };
    uint64_t bits = CR4_MCE | CR4_PCE;
    for (unsigned i = 0; i < sizeof table / sizeof *table; i++)
        if (has_feature(cpu, table[i].feature))
            bits |= table[i].bits;
    if (vmx_non_root(cpu)) /* kept there by the guest/host mask */
        bits |= CR4_VMXE;
    if (cpu->emulating) /* a guest has no VMX */
        bits &= ~CR4_VMXE;
    return bits;
}

static void write_cr4(struct processor *cpu, const struct op *op, uint64_t value)
{
    uint64_t changed = cpu->s.cr4 ^ value;
    if (value & ~cr4_defined(cpu) || !vmx_cr4_allowed(cpu, value))
        raise_gp(cpu, op, 0);
    if (long_mode(cpu) && (!(value & CR4_PAE) || changed & CR4_LA57))
        raise_gp(cpu, op, 0);
    if (changed & value & CR4_PCIDE && (!long_mode(cpu) || cpu->s.cr3 & 0xfff))
        raise_gp(cpu, op, 0);
    if (cpu->s.cr0 & CR0_PG && value & CR4_PAE && !long_mode(cpu) &&
        changed & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_SMEP))
        mmu_load_pdpte(cpu, op, cpu->s.cr3);
    if (changed & (CR4_PAE | CR4_PSE | CR4_PGE | CR4_PCIDE))
        mmu_flush(cpu, true);
    cpu->s.cr4 = value;
    cpu_update(cpu);
}

static void write_cr8(struct processor *cpu, const struct op *op, uint64_t value)
{
    if (unlikely(vmx_exits_cr8_load(cpu)))
        vmx_exit_cr(cpu, op, 8, 0, op->src >> 3);
    if (value >> 4)
        raise_gp(cpu, op, 0);
    cpu->s.cr8 = value;
    if (!vmx_non_root(cpu)) /* the board's local APIC may have an interrupt for the new priority */
        cpu->leave = LEAVE_KICK;
}

/* Late 486s have it, with VME. */
static bool has_cr4(const struct processor *cpu)
{
    return cpu->cpu_generation >= CPU_586 || has_feature(cpu, FEATURE_VME);
}

bool set_up_control_register(struct decode *d)
{
    return d->reg <= 8 && 0x11d >> d->reg & 1 && (d->reg != 4 || has_cr4(d->cpu));
}

static unsigned control_register(struct processor *cpu, const struct op *op)
{
    unsigned cr = op->dst >> 3;
    if (cr == 8) /* the board has it */
        refuse_when_emulating(cpu, op);
    return cr;
}

HANDLER(op_mov_to_cr)
{
    unsigned cr = control_register(cpu, op), gpr = op->src >> 3;
    uint64_t value = code64(cpu) ? REG64(cpu, op->src) : REG32(cpu, op->src);
    switch (cr) {
    case 0: write_cr0(cpu, op, vmx_mov_to_cr0(cpu, op, gpr, value)); break;
    case 2: cpu->s.registers.cr2 = value; break;
    case 3:
        vmx_mov_to_cr3(cpu, op, gpr, value);
        write_cr3(cpu, op, value);
        break;
    case 4: write_cr4(cpu, op, vmx_mov_to_cr4(cpu, op, gpr, value)); break;
    default:
        write_cr8(cpu, op, value);
        rip_past(cpu, op);
        LEAVE_TRACE;
    }
    return past(cpu, op);
}

HANDLER(op_mov_from_cr)
{
    unsigned cr = control_register(cpu, op), gpr = op->src >> 3;
    uint64_t value;
    switch (cr) {
    case 0: value = vmx_visible_cr0(cpu); break;
    case 2: value = cpu->s.registers.cr2; break;
    case 3:
        if (unlikely(vmx_exits_cr3_store(cpu)))
            vmx_exit_cr(cpu, op, 3, 1, gpr);
        value = cpu->s.cr3;
        break;
    case 4: value = vmx_visible_cr4(cpu); break;
    default:
        if (unlikely(vmx_exits_cr8_store(cpu)))
            vmx_exit_cr(cpu, op, 8, 1, gpr);
        value = cpu->s.cr8;
    }
    write_register(cpu, op->src, code64(cpu) ? 8 : 4, value);
    return past(cpu, op);
}

HANDLER(op_smsw)
{
    check_umip(cpu, op);
    write_word(cpu, op, vmx_visible_cr0(cpu));
    NEXT;
}

HANDLER(op_lmsw)
{
    bool memory = op->form & FORM_MEMORY;
    uint64_t linear = memory ? ea_any(cpu, op, 2, false) : 0;
    uint16_t source = memory ? load16(cpu, op, linear, op->seg) : REG16(cpu, op->src);
    write_cr0(cpu, op, vmx_lmsw(cpu, op, source, memory, linear));
    return past(cpu, op);
}

HANDLER(op_clts)
{
    cpu->s.cr0 = vmx_clts(cpu, op);
    cpu_update(cpu);
    return past(cpu, op);
}

/* ---- debug registers (vol. 3, 18.2) ---- */

bool set_up_debug_register(struct decode *d)
{
    return d->reg < 8;
}

static unsigned debug_register(struct processor *cpu, const struct op *op, bool from)
{
    unsigned dr = op->dst >> 3;
    refuse_when_emulating(cpu, op);
    if (unlikely(vmx_exits_mov_dr(cpu)))
        vmx_exit_dr(cpu, op, dr, from, op->src >> 3);
    if (dr == 4 || dr == 5) {
        if (cpu->s.cr4 & CR4_DE)
            raise_ud(cpu, op);
        dr += 2;
    }
    if (cpu->s.dr7 & DR7_GD) {
        cpu->fault = (struct event){.vector = VECTOR_DB, .type = EVENT_EXCEPTION, .dr6 = DR6_BD};
        leave_run(cpu, op, LEAVE_EXCEPTION);
    }
    return dr;
}

HANDLER(op_mov_from_dr)
{
    unsigned dr = debug_register(cpu, op, true);
    uint64_t value = dr == 7 ? cpu->s.dr7 : dr == 6 ? cpu->s.registers.dr6 : cpu->s.registers.dr[dr];
    write_register(cpu, op->src, code64(cpu) ? 8 : 4, value);
    return past(cpu, op);
}

HANDLER(op_mov_to_dr)
{
    unsigned dr = debug_register(cpu, op, false);
    uint64_t value = code64(cpu) ? REG64(cpu, op->src) : REG32(cpu, op->src);
    if (dr >= 6 && value >> 32)
        raise_gp(cpu, op, 0);
    if (dr == 7)
        cpu->s.dr7 = (value & 0xffff23ff) | 0x400;
    else if (dr == 6)
        cpu->s.registers.dr6 = (value & 0xe00f) | 0xffff0ff0;
    else
        cpu->s.registers.dr[dr] = value;
    rip_past(cpu, op);
    cpu_update(cpu);
    LEAVE_TRACE; /* breakpoints may have come or gone */
}

/* ---- flags ---- */

/* CLI and STI where IOPL forbids them: #GP(0), or VIF. */
HELPER void set_virtual_interrupt_flag(struct processor *cpu, const struct op *op, bool set)
{
    if (!has_virtual_interrupts(cpu) || (set && cpu->s.system_flags & RFLAGS_VIP))
        raise_gp(cpu, op, 0);
    cpu->s.system_flags = (cpu->s.system_flags & ~(uint64_t)RFLAGS_VIF) | (set ? RFLAGS_VIF : 0);
}

HANDLER(op_cli)
{
    if (unlikely(cpu->s.cpl > iopl(cpu)))
        set_virtual_interrupt_flag(cpu, op, false);
    else
        cpu->s.system_flags &= ~(uint64_t)RFLAGS_IF;
    NEXT;
}

HANDLER(op_sti)
{
    if (unlikely(cpu->s.cpl > iopl(cpu))) {
        set_virtual_interrupt_flag(cpu, op, true);
        return past(cpu, op);
    }
    if (cpu->s.system_flags & RFLAGS_IF)
        return past(cpu, op);
    cpu->s.system_flags |= RFLAGS_IF;
    cpu->s.interruptibility |= BLOCKING_BY_STI;
    rip_past(cpu, op);
    LEAVE_TRACE;
}

HANDLER(op_pushf)
{
    bool virtual = unlikely(v86_mode(cpu)) && v86_flags_are_virtual(cpu, op, op->size);
    uint64_t sp = cpu->s.registers.gpr[RSP] - op->size, linear = stack_linear(cpu, op, sp, op->size, true);
    uint64_t value = virtual ? v86_flags_stored(cpu) : rflags_read(cpu) & ~(uint64_t)(RFLAGS_VM | RFLAGS_RF);
    if (before_286(cpu))
        value |= FLAGS_8086;
    if (op->size == 8)
        store64(cpu, op, linear, value, SS);
    else if (op->size == 4)
        store32(cpu, op, linear, value, SS);
    else
        store16(cpu, op, linear, value, SS);
    stack_set(cpu, sp);
    NEXT;
}

HANDLER(op_popf)
{
    bool virtual = unlikely(v86_mode(cpu)) && v86_flags_are_virtual(cpu, op, op->size);
    uint64_t sp = cpu->s.registers.gpr[RSP], linear = stack_linear(cpu, op, sp, op->size, false), value;
    uint64_t old = cpu->s.system_flags, mask = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;
    value = op->size == 8   ? load64(cpu, op, linear, SS)
            : op->size == 4 ? load32(cpu, op, linear, SS)
                            : load16(cpu, op, linear, SS);
    if (op->size != 2)
        mask |= cpu->rflags_optional;
    if (cpu->s.cpl <= iopl(cpu))
        mask |= RFLAGS_IF;
    if (cpu->s.cpl == 0)
        mask |= RFLAGS_IOPL;
    rflags_write(cpu, virtual ? v86_flags_loaded(cpu, op, value)
                              : ((rflags_read(cpu) & ~mask) | (value & mask)) & ~(uint64_t)RFLAGS_RF);
    stack_set(cpu, sp + op->size);
    rip_past(cpu, op);
    uint64_t changed = old ^ cpu->s.system_flags;
    if (unlikely(changed & RFLAGS_AC))
        cpu_update(cpu);
    if (changed & cpu->s.system_flags & (RFLAGS_IF | RFLAGS_TF))
        LEAVE_TRACE;
    return trace_jump(cpu);
}

HANDLER(op_clac)
{
    cpu->s.system_flags &= ~(uint64_t)RFLAGS_AC;
    cpu_update(cpu);
    return past(cpu, op);
}

HANDLER(op_stac)
{
    cpu->s.system_flags |= RFLAGS_AC;
    cpu_update(cpu);
    return past(cpu, op);
}

/* ---- protection keys (vol. 3, 4.6.2) ---- */

static void check_pkru(struct processor *cpu, const struct op *op, uint64_t zeros)
{
    if (!(cpu->s.cr4 & CR4_PKE))
        raise_ud(cpu, op);
    if ((uint32_t)zeros)
        raise_gp(cpu, op, 0);
}

HANDLER(op_rdpkru)
{
    uint64_t *gpr = cpu->s.registers.gpr;
    check_pkru(cpu, op, gpr[RCX]);
    gpr[RAX] = cpu->s.registers.pkru;
    gpr[RDX] = 0;
    NEXT;
}

HANDLER(op_wrpkru)
{
    const uint64_t *gpr = cpu->s.registers.gpr;
    check_pkru(cpu, op, gpr[RCX] | gpr[RDX]);
    cpu->s.registers.pkru = (uint32_t)gpr[RAX];
    cpu_update(cpu);
    return past(cpu, op);
}

/* ---- segment bases ---- */

HANDLER(op_swapgs)
{
    refuse_when_emulating(cpu, op);
    uint64_t base = cpu->s.seg[GS].base;
    cpu->s.seg[GS].base = cpu->s.kernel_gs_base;
    cpu->s.kernel_gs_base = base;
    return past(cpu, op);
}

static void check_fsgsbase(struct processor *cpu, const struct op *op)
{
    if (unlikely(!(cpu->s.cr4 & CR4_FSGSBASE)))
        raise_ud(cpu, op);
}

static void write_base(struct processor *cpu, const struct op *op, unsigned seg)
{
    uint64_t base = op->size == 8 ? REG64(cpu, op->src) : REG32(cpu, op->src);
    check_fsgsbase(cpu, op);
    if (unlikely(!canonical_in_model(cpu, base)))
        raise_gp(cpu, op, 0);
    cpu->s.seg[seg].base = base;
}

HANDLER(op_rdfsbase)
{
    check_fsgsbase(cpu, op);
    write_register(cpu, op->src, op->size, cpu->s.seg[FS].base);
    NEXT;
}

HANDLER(op_rdgsbase)
{
    check_fsgsbase(cpu, op);
    write_register(cpu, op->src, op->size, cpu->s.seg[GS].base);
    NEXT;
}

HANDLER(op_wrfsbase)
{
    write_base(cpu, op, FS);
    NEXT;
}

HANDLER(op_wrgsbase)
{
    write_base(cpu, op, GS);
    NEXT;
}

/* ---- time stamps and random numbers ---- */

static void read_tsc(struct processor *cpu, const struct op *op, uint32_t reason)
{
    if (unlikely(cpu->s.cr4 & CR4_TSD && cpu->s.cpl > 0))
        raise_gp(cpu, op, 0);
    if (unlikely(vmx_exits_rdtsc(cpu)))
        vmx_exit(cpu, op, reason, 0);
    uint64_t tsc = cpu_tsc_at(cpu, op) + vmx_tsc_offset(cpu);
    cpu->s.registers.gpr[RAX] = (uint32_t)tsc;
    cpu->s.registers.gpr[RDX] = tsc >> 32;
}

HANDLER(op_rdtsc)
{
    read_tsc(cpu, op, REASON_RDTSC);
    NEXT;
}

HANDLER(op_rdtscp)
{
    if (unlikely(vmx_forbids_rdtscp(cpu)))
        raise_ud(cpu, op);
    read_tsc(cpu, op, REASON_RDTSCP);
    cpu->s.registers.gpr[RCX] = (uint32_t)cpu->s.tsc_aux;
    NEXT;
}

HANDLER(op_rdpid)
{
    if (unlikely(vmx_forbids_rdtscp(cpu)))
        raise_ud(cpu, op);
    REG64(cpu, op->src) = (uint32_t)cpu->s.tsc_aux;
    NEXT;
}

/* The only counter is fixed counter 0 (instructions retired), by index 40000000h. */
/* Fixed counter 0, instructions retired, is the only one. */
static __attribute__((noinline)) uint64_t read_counter(struct processor *cpu, const struct op *op)
{
    uint64_t value = 0;
    if ((uint32_t)cpu->s.registers.gpr[RCX] != 0x40000000 || !msr_get(cpu, op, MSR_FIXED_CTR0, &value))
        raise_gp(cpu, op, 0);
    return value;
}

HANDLER(op_rdpmc)
{
    if (!(cpu->s.cr4 & CR4_PCE) && cpu->s.cpl > 0)
        raise_gp(cpu, op, 0);
    refuse_when_emulating(cpu, op);
    if (unlikely(vmx_exits_rdpmc(cpu)))
        vmx_exit(cpu, op, REASON_RDPMC, 0);
    uint64_t value = read_counter(cpu, op);
    cpu->s.registers.gpr[RAX] = (uint32_t)value;
    cpu->s.registers.gpr[RDX] = value >> 32;
    return past(cpu, op);
}

/* splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014). */
static void read_random(struct processor *cpu, const struct op *op)
{
    uint64_t z = cpu->s.random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    write_register(cpu, op->src, op->size, z ^ z >> 31);
    cpu->s.flags = FLAG_CF;
}

HANDLER(op_rdrand)
{
    if (unlikely(vmx_exits_rdrand(cpu)))
        vmx_exit_random(cpu, op, REASON_RDRAND, op->src >> 3, op->size);
    read_random(cpu, op);
    NEXT;
}

HANDLER(op_rdseed)
{
    if (unlikely(vmx_exits_rdseed(cpu)))
        vmx_exit_random(cpu, op, REASON_RDSEED, op->src >> 3, op->size);
    read_random(cpu, op);
    NEXT;
}

/* ---- MSRs and CPUID ---- */

static void begin_msr(struct processor *cpu, const struct op *op, bool write)
{
    uint32_t index = cpu->s.registers.gpr[RCX];
    refuse_when_emulating(cpu, op);
    if (vmx_msr_exits(cpu, index, write))
        vmx_exit(cpu, op, write ? REASON_WRMSR : REASON_RDMSR, 0);
    if (cpu->config.accel == ACCEL_BARE && !vmx_non_root(cpu) && msr_of_board(index))
        leave_run(cpu, op, LEAVE_MSR);
}

HELPER void read_msr(struct processor *cpu, const struct op *op)
{
    uint64_t value = 0;
    begin_msr(cpu, op, false);
    if (!msr_get(cpu, op, cpu->s.registers.gpr[RCX], &value))
        raise_gp(cpu, op, 0);
    cpu->s.registers.gpr[RAX] = (uint32_t)value;
    cpu->s.registers.gpr[RDX] = value >> 32;
}

HANDLER(op_rdmsr)
{
    read_msr(cpu, op);
    return past(cpu, op);
}

HANDLER(op_wrmsr)
{
    uint64_t value = cpu->s.registers.gpr[RDX] << 32 | (uint32_t)cpu->s.registers.gpr[RAX];
    begin_msr(cpu, op, true);
    if (!msr_set(cpu, op, cpu->s.registers.gpr[RCX], value))
        raise_gp(cpu, op, 0);
    return past(cpu, op);
}

HELPER void cpuid(struct processor *cpu)
{
    struct cpuid_leaf leaf;
    uint64_t *gpr = cpu->s.registers.gpr;
    processor_cpuid(cpu, gpr[RAX], gpr[RCX], &leaf);
    gpr[RAX] = leaf.eax;
    gpr[RBX] = leaf.ebx;
    gpr[RCX] = leaf.ecx;
    gpr[RDX] = leaf.edx;
}

HANDLER(op_cpuid)
{
    refuse_when_emulating(cpu, op);
    if (vmx_non_root(cpu))
        vmx_exit(cpu, op, REASON_CPUID, 0);
    cpuid(cpu);
    return past(cpu, op);
}

/* ---- halting ---- */

static const struct op *halt(struct processor *cpu, const struct op *op, enum leave why)
{
    rip_past(cpu, op);
    cpu->s.activity = HLT;
    cpu->leave = why;
    LEAVE_TRACE;
}

HANDLER(op_hlt)
{
    refuse_when_emulating(cpu, op);
    if (vmx_exits_hlt(cpu))
        vmx_exit(cpu, op, REASON_HLT, 0);
    return halt(cpu, op, LEAVE_HALT);
}

HANDLER(op_monitor)
{
    if (vmx_exits_monitor(cpu))
        vmx_exit(cpu, op, REASON_MONITOR, 0);
    if (unlikely(cpu->want_monitor))
        leave_run(cpu, op, LEAVE_MONITOR);
    if ((uint32_t)cpu->s.registers.gpr[RCX])
        raise_gp(cpu, op, 0);
    uint64_t offset = cpu->s.registers.gpr[RAX];
    if (op->form & (FORM_ADDRESS16 | FORM_ADDRESS32))
        offset = op->form & FORM_ADDRESS16 ? (uint16_t)offset : (uint32_t)offset;
    cpu->monitored = mmu_monitor(cpu, op, linear_address(cpu, op, op->seg, offset, 1, false), op->seg);
    return past(cpu, op);
}

/* Whoever runs the processor knows what ends it: interrupts, and stores of other processors to what is monitored. */
HANDLER(op_mwait)
{
    refuse_when_emulating(cpu, op);
    if (vmx_exits_mwait(cpu))
        vmx_exit(cpu, op, REASON_MWAIT, 1);
    if ((uint32_t)cpu->s.registers.gpr[RCX])
        raise_gp(cpu, op, 0);
    return halt(cpu, op, LEAVE_MWAIT);
}

/* ---- caches and TLB ---- */

HANDLER(op_invd)
{
    refuse_when_emulating(cpu, op);
    if (vmx_non_root(cpu))
        vmx_exit(cpu, op, REASON_INVD, 0);
    return past(cpu, op);
}

HANDLER(op_wbinvd)
{
    refuse_when_emulating(cpu, op);
    if (vmx_exits_wbinvd(cpu))
        vmx_exit(cpu, op, REASON_WBINVD, 0);
    return past(cpu, op);
}

HANDLER(op_invlpg)
{
    refuse_when_emulating(cpu, op);
    uint64_t linear = effective_offset(cpu, op);
    if (!code64(cpu))
        linear = (uint32_t)(cpu->s.seg[op->seg].base + linear);
    else if (op->seg >= FS)
        linear += cpu->s.seg[op->seg].base;
    if (vmx_exits_invlpg(cpu))
        vmx_exit(cpu, op, REASON_INVLPG, linear);
    if (likely(canonical_in_model(cpu, linear)))
        mmu_invalidate_page(cpu, linear);
    return past(cpu, op);
}

HELPER void invalidate_pcid(struct processor *cpu, const struct op *op)
{
    uint64_t type = code64(cpu) ? REG64(cpu, op->dst) : REG32(cpu, op->dst), descriptor[2];
    if (v86_mode(cpu))
        raise_gp(cpu, op, 0);
    if (vmx_forbids_invpcid(cpu))
        raise_ud(cpu, op);
    refuse_when_emulating(cpu, op);
    if (vmx_exits_invlpg(cpu))
        vmx_exit_operand(cpu, op, REASON_INVPCID, (uint32_t)(op->dst >> 3) << 28);
    if (type > 3)
        raise_gp(cpu, op, 0);
    memcpy(descriptor, mem_read(cpu, op, ea_any(cpu, op, 16, false), 16, op->seg), 16);
    uint64_t pcid = descriptor[0], linear = descriptor[1];
    if (pcid >> 12 || (type < 2 && pcid && !(cpu->s.cr4 & CR4_PCIDE)))
        raise_gp(cpu, op, 0);
    switch (type) {
    case 0:
        if (!canonical_in_model(cpu, linear))
            raise_gp(cpu, op, 0);
        mmu_invalidate_page(cpu, linear);
        break;
    case 1: mmu_flush_bank(cpu, pcid, false); break;
    case 2: mmu_flush_bank(cpu, ~0ull, true); break;
    default: mmu_flush_bank(cpu, ~0ull, false);
    }
}

HANDLER(op_invpcid)
{
    invalidate_pcid(cpu, op);
    return past(cpu, op);
}

/* ---- VMX instructions: VM exits in non-root operation; guests' own VMX is not there yet ---- */

HANDLER(op_vmx_instruction)
{
    refuse_when_emulating(cpu, op);
    if (!vmx_non_root(cpu))
        raise_ud(cpu, op);
    unsigned rm = op->src >> 3 & 7, reg = op->dst >> 3 & 7;
    if (!(op->form & FORM_MEMORY) && rm == 1)
        vmx_exit(cpu, op, REASON_VMCALL, 0);
    if (cpu->mode & MODE_UNPROTECTED || (long_mode(cpu) && !code64(cpu)))
        raise_ud(cpu, op);
    if (!(op->form & FORM_MEMORY))
        vmx_exit(cpu, op, rm == 2 ? REASON_VMLAUNCH : rm == 3 ? REASON_VMRESUME : REASON_VMXOFF, 0);
    vmx_exit_operand(cpu, op, reg == 7 ? REASON_VMPTRST : op->form & FORM_REP ? REASON_VMXON
                              : op->form & FORM_OPERAND16 ? REASON_VMCLEAR : REASON_VMPTRLD, 0);
}
