/* VM exits: one named handler a reason (SDM vol. 3, chapter 28 and appendix C). */
#include "guest.h"

#define FSW_ES 0x80u /* an error that FCW does not mask */
#define IA32_APIC_BASE 0x1b
#define APIC_BASE_ENABLE (1u << 11)
#define CPUID_1_ECX_VMX (1u << 5)
#define CPUID_1_ECX_OSXSAVE (1u << 27)
#define CPUID_1_EDX_APIC (1u << 9)
#define CPUID_7_ECX_OSPKE (1u << 4)

static void exit_unexpected(struct guest *guest);

/* ---- events ---- */

/* An x87 error while the guest has CR0.NE clear, which VMX operation does not know: FERR#, and the processor freezes
 * before the instruction until an interrupt comes (SDM vol. 1, 8.7.2); with IGNNE# asserted it goes on. The emulator has
 * the guest's CR0. */
static void x87_error(struct guest *guest)
{
    struct vcpu *vcpu = &guest->vcpu;
    uint64_t flags = vmcs_read(guest, GUEST_RFLAGS);
    vmcs_write(guest, GUEST_RFLAGS, flags & ~(uint64_t)RFLAGS_RF); /* which the exit set for #MF's handler */
    if (board_ignne(vcpu->board, vcpu->index)) {
        emulate_instruction_at_rip(guest);
        return;
    }
    board_set_ferr(vcpu->board, vcpu->index, true);
    vmcs_write(guest, GUEST_INTERRUPTIBILITY_STATE,
               vmcs_read(guest, GUEST_INTERRUPTIBILITY_STATE) & ~(uint64_t)BLOCKED_BY_STI);
    vcpu->halted = true;
}

/* The exception bitmap holds #DF, an abort, which pushes RF as it was before the fault that we injected, and #MF while
 * the guest has CR0.NE clear. */
static void exit_exception_nmi(struct guest *guest)
{
    uint32_t information = vmcs_read(guest, EXIT_INTERRUPTION_INFORMATION);
    if ((information & EVENT_TYPE) == EVENT_NMI)
        return; /* the host's, and there it ends */
    if ((information & EVENT_VECTOR) == VECTOR_MF)
        x87_error(guest);
    else if ((information & EVENT_VECTOR) == VECTOR_DF)
        inject_double_fault(guest);
    else
        exit_unexpected(guest);
}

/* The kick: the run loop knows why. */
static void exit_external_interrupt(struct guest *guest)
{
    (void)guest;
}

static void exit_triple_fault(struct guest *guest)
{
    take_back_rf(guest);
    vcpu_end(&guest->vcpu, MACHINE_TRIPLE_FAULT, "triple fault at RIP %#llx", (unsigned long long)guest->exit.rip);
}

/* The run loop asked to be told; it injects. */
static void exit_interrupt_window(struct guest *guest)
{
    (void)guest;
}

static void exit_nmi_window(struct guest *guest)
{
    (void)guest;
}

/* `until` is reached. */
static void exit_preemption_timer(struct guest *guest)
{
    (void)guest;
}

/* Exit qualification: table 28-2. */
static void exit_task_switch(struct guest *guest)
{
    uint64_t qualification = guest->exit.qualification;
    emulate_task_exit(guest, qualification & 0xffff, qualification >> 30 & 3,
                      vmcs_read(guest, IDT_VECTORING_INFORMATION));
}

/* ---- instructions ---- */

static void set_gpr32(struct guest *guest, unsigned gpr, uint32_t value)
{
    guest->registers->gpr[gpr] = value;
}

static bool apic_enabled(const struct guest *guest)
{
    const struct vcpu *vcpu = &guest->vcpu;
    uint64_t base;
    return board_msr_read(vcpu->board, vcpu->index, IA32_APIC_BASE, &base, vcpu->time, 0) && base & APIC_BASE_ENABLE;
}

static void exit_cpuid(struct guest *guest)
{
    uint32_t leaf = guest->registers->gpr[RAX], subleaf = guest->registers->gpr[RCX];
    struct cpuid_leaf out;
    processor_cpuid(guest->vcpu.processor, leaf, subleaf, &out);
    if (leaf == 1) {
        if (!apic_enabled(guest))
            out.edx &= ~CPUID_1_EDX_APIC;
        out.ecx &= ~(CPUID_1_ECX_VMX | CPUID_1_ECX_OSXSAVE);
        if (guest_cr4(guest) & CR4_OSXSAVE)
            out.ecx |= CPUID_1_ECX_OSXSAVE;
    } else if (leaf == 7 && subleaf == 0) {
        out.ecx &= ~CPUID_7_ECX_OSPKE;
        if (guest_cr4(guest) & CR4_PKE)
            out.ecx |= CPUID_7_ECX_OSPKE;
    }
    set_gpr32(guest, RAX, out.eax);
    set_gpr32(guest, RBX, out.ebx);
    set_gpr32(guest, RCX, out.ecx);
    set_gpr32(guest, RDX, out.edx);
    complete_instruction(guest);
}

/* Asked for when another vCPU could run (WINDOW_PAUSE). */
static void exit_pause(struct guest *guest)
{
    complete_instruction(guest);
    guest->vcpu.yields = true;
}

/* Asked for when there are other vCPUs. */
static void exit_monitor(struct guest *guest)
{
    emulate_instruction_at_rip(guest);
}

static void exit_hlt(struct guest *guest)
{
    complete_instruction(guest);
    guest->vcpu.monitor.line = NULL;
    guest->vcpu.halted = !vmcs_read(guest, GUEST_PENDING_DEBUG_EXCEPTIONS); /* a single step's trap follows */
}

/* CPUID leaf 5 has no extensions to state in ECX. */
static void exit_mwait(struct guest *guest)
{
    struct vcpu *vcpu = &guest->vcpu;
    if ((uint32_t)guest->registers->gpr[RCX]) {
        inject_exception(guest, VECTOR_GP, 0);
        return;
    }
    complete_instruction(guest);
    vcpu->halted = !vmcs_read(guest, GUEST_PENDING_DEBUG_EXCEPTIONS) && vcpu_mwait_halts(vcpu);
}

/* No cache is modelled. */
static void exit_invd(struct guest *guest)
{
    complete_instruction(guest);
}

/* No counter is modelled. */
static void exit_rdpmc(struct guest *guest)
{
    inject_exception(guest, VECTOR_GP, 0);
}

static void exit_vmx_instruction(struct guest *guest)
{
    inject_exception(guest, VECTOR_UD, NO_ERROR_CODE);
}

static void exit_rdmsr(struct guest *guest)
{
    uint64_t value;
    if (!guest_rdmsr(guest, guest->registers->gpr[RCX], &value)) {
        inject_exception(guest, VECTOR_GP, 0);
        return;
    }
    set_gpr32(guest, RAX, value);
    set_gpr32(guest, RDX, value >> 32);
    complete_instruction(guest);
}

static void exit_wrmsr(struct guest *guest)
{
    const uint64_t *gpr = guest->registers->gpr;
    if (guest_wrmsr(guest, gpr[RCX], gpr[RDX] << 32 | (uint32_t)gpr[RAX]))
        complete_instruction(guest);
    else
        inject_exception(guest, VECTOR_GP, 0);
}

/* SDM vol. 1, 13.3 and vol. 2, XSETBV */
static void exit_xsetbv(struct guest *guest)
{
    enum { X87 = 1, SSE = 2, AVX = 4 };
    const uint64_t *gpr = guest->registers->gpr;
    uint64_t value = gpr[RDX] << 32 | (uint32_t)gpr[RAX];
    struct cpuid_leaf supported;
    processor_cpuid(guest->vcpu.processor, 0xd, 0, &supported);
    if ((uint32_t)gpr[RCX] || !(value & X87) || value & ~((uint64_t)supported.edx << 32 | supported.eax) ||
        (value & AVX && !(value & SSE))) {
        inject_exception(guest, VECTOR_GP, 0);
        return;
    }
    guest->registers->xcr0 = value;
    complete_instruction(guest);
}

static uint64_t read_gpr(const struct guest *guest, unsigned gpr)
{
    return gpr == RSP ? vmcs_read(guest, GUEST_RSP) : guest->registers->gpr[gpr];
}

static void write_gpr(struct guest *guest, unsigned gpr, uint64_t value)
{
    if (gpr == RSP)
        vmcs_write(guest, GUEST_RSP, value);
    else
        guest->registers->gpr[gpr] = value;
}

/* Exit qualification: table 28-3. The masks let through all but writes that change CR0.NE, NW or CD, or CR4.VMXE, and
 * CR8. */
static void exit_cr_access(struct guest *guest)
{
    enum { MOV_TO, MOV_FROM, CLTS, LMSW };
    uint64_t qualification = guest->exit.qualification, value;
    unsigned cr = qualification & 15, access = qualification >> 4 & 3, gpr = qualification >> 8 & 15;
    struct vcpu *vcpu = &guest->vcpu;
    bool allowed;
    switch (access) {
    case MOV_TO:
        value = read_gpr(guest, gpr);
        if (!(read_segment(guest, CS).access & AR_L && vmcs_read(guest, GUEST_EFER) & EFER_LMA))
            value = (uint32_t)value;
        if (cr == 0) {
            allowed = mov_to_cr0(guest, value);
        } else { /* not CR4: its VMXE is a reserved bit, as of a processor without VMX */
            allowed = cr == 8 && value <= 15;
            if (allowed)
                board_set_cr8(vcpu->board, vcpu->index, value);
        }
        break;
    case MOV_FROM: /* CR8 */
        write_gpr(guest, gpr, board_cr8(vcpu->board, vcpu->index));
        allowed = true;
        break;
    case CLTS:
        allowed = mov_to_cr0(guest, guest_cr0(guest) & ~CR0_TS);
        break;
    default: /* PE to TS; PE can be set only */
        value = guest_cr0(guest);
        allowed = mov_to_cr0(guest, (value & ~(uint64_t)(CR0_MP | CR0_EM | CR0_TS)) | (qualification >> 16 & 15));
        break;
    }
    if (allowed)
        complete_instruction(guest);
    else
        inject_exception(guest, VECTOR_GP, 0);
}

/* What the processor would have noted of an instruction that did not exit (SDM vol. 3, 18.2.4): a trap for each I/O
 * breakpoint of DR7 that the ports meet. */
static void note_io_breakpoints(struct guest *guest, unsigned port, unsigned size)
{
    enum { IO = 2 };
    static const uint8_t lengths[4] = {1, 2, 8, 4};
    uint64_t dr7 = vmcs_read(guest, GUEST_DR7), met = 0;
    if (!(dr7 & DR7_ENABLES) || !(guest_cr4(guest) & CR4_DE))
        return;
    for (unsigned n = 0; n < 4; n++) {
        unsigned length = lengths[dr7 >> (18 + 4 * n) & 3];
        uint64_t at = guest->registers->dr[n] & ~(uint64_t)(length - 1);
        if (dr7 >> 2 * n & 3 && (dr7 >> (16 + 4 * n) & 3) == IO && port < at + length && at < port + size)
            met |= 1ull << n | PENDING_DEBUG_BREAKPOINT;
    }
    if (met)
        vmcs_write(guest, GUEST_PENDING_DEBUG_EXCEPTIONS, vmcs_read(guest, GUEST_PENDING_DEBUG_EXCEPTIONS) | met);
}

/* Exit qualification: table 28-5. */
static void exit_io(struct guest *guest)
{
    uint64_t qualification = guest->exit.qualification, *rax = &guest->registers->gpr[RAX];
    unsigned size = (qualification & 7) + 1, port = qualification >> 16 & 0xffff;
    bool in = qualification & 8, string = qualification & 16;
    struct vcpu *vcpu = &guest->vcpu;
    if (string) {
        if (in && qualification & 32) /* REP */
            emulate_input_at_rip(guest, (uint16_t)port, size);
        else
            emulate_instruction_at_rip(guest);
        return;
    }
    uint32_t mask = 0xffffffffu >> (32 - 8 * size);
    if (in) {
        uint32_t value = board_io_read(vcpu->board, port, size, vcpu->time) & mask;
        *rax = size == 4 ? value : (*rax & ~(uint64_t)mask) | value;
    } else {
        board_io_write(vcpu->board, port, (uint32_t)*rax & mask, size, vcpu->time, vcpu_machine_count(vcpu));
    }
    complete_instruction(guest);
    note_io_breakpoints(guest, port, size);
}

/* ---- memory ---- */

/* Exit qualification: table 28-7. A device, or a store to ROM. */
static void exit_ept_violation(struct guest *guest)
{
    enum { NMI_UNBLOCKED_BY_IRET = 1 << 12 };
    uint64_t gpa = vmcs_read(guest, GUEST_PHYSICAL_ADDRESS);
    if (guest_memory(guest, gpa, 1, MEMORY_RAM)) {
        vcpu_end(&guest->vcpu, MACHINE_INTERNAL, "EPT violation in RAM: address %#llx, qualification %#llx",
                 (unsigned long long)gpa, (unsigned long long)guest->exit.qualification);
    } else if (vmcs_read(guest, IDT_VECTORING_INFORMATION) & EVENT_VALID) {
        /* No instruction to emulate: the event is delivered again, with tables in which such memory reads as ones. */
        reinject(guest);
        guest->delivering_over_bus = true;
    } else {
        if (guest->exit.qualification & NMI_UNBLOCKED_BY_IRET) /* which has not happened yet */
            vmcs_write(guest, GUEST_INTERRUPTIBILITY_STATE,
                       vmcs_read(guest, GUEST_INTERRUPTIBILITY_STATE) | BLOCKED_BY_NMI);
        emulate_instruction_at_rip(guest);
    }
}

static void exit_ept_misconfiguration(struct guest *guest)
{
    vcpu_end(&guest->vcpu, MACHINE_INTERNAL, "EPT misconfiguration at guest-physical address %#llx",
             (unsigned long long)vmcs_read(guest, GUEST_PHYSICAL_ADDRESS));
}

/* ---- what ends the machine ---- */

static void exit_failed_entry(struct guest *guest)
{
    vcpu_end(&guest->vcpu, MACHINE_INTERNAL, "VM entry failed: %s, qualification %llu, RIP %#llx",
             exit_names[guest->exit.reason & REASON_BASIC], (unsigned long long)guest->exit.qualification,
             (unsigned long long)guest->exit.rip);
}

/* No control asks for it. */
static void exit_unexpected(struct guest *guest)
{
    unsigned basic = guest->exit.reason & REASON_BASIC;
    const char *name = basic < EXIT_REASONS ? exit_names[basic] : NULL;
    vcpu_end(&guest->vcpu, MACHINE_INTERNAL, "VM exit %u (%s) was not asked for: qualification %#llx, RIP %#llx", basic,
             name ? name : "unknown", (unsigned long long)guest->exit.qualification,
             (unsigned long long)guest->exit.rip);
}

static void (*const exit_handlers[EXIT_REASONS])(struct guest *) = {
#define X(number, handler, name) [number] = handler,
    EXIT_HANDLERS(X)
#undef X
};

const char *const exit_names[EXIT_REASONS] = {
#define X(number, handler, name) [number] = name,
    EXIT_HANDLERS(X)
#undef X
};

void guest_exit(struct guest *guest)
{
    struct vcpu *vcpu = &guest->vcpu;
    unsigned basic = guest->exit.reason & REASON_BASIC;
    struct machine_exit_record *record = &vcpu->ring[vcpu->exit_total++ % EXIT_RING];
    *record = (struct machine_exit_record){.count = vcpu_machine_count(vcpu), .rip = guest->exit.rip,
                                           .qualification = guest->exit.qualification, .reason = guest->exit.reason};
    if (basic >= EXIT_REASONS || !exit_handlers[basic]) {
        exit_unexpected(guest);
        return;
    }
    vcpu->exits[basic]++;
    exit_handlers[basic](guest);
    if (board_ferr(vcpu->board, vcpu->index) && !(guest->registers->fpu.fsw & FSW_ES))
        board_set_ferr(vcpu->board, vcpu->index, false);
}
