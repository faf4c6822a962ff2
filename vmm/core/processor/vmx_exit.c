/* VM exits (SDM vol. 3, chapter 28): what causes them, what they record, save and load. */
#include "vmx_private.h"

#include "events.h"

#include <string.h>

/* ---- information (28.2) ---- */

/* In real mode no error code would be delivered. */
static bool has_error(const struct processor *cpu, const struct event *event)
{
    return event->has_error && protected_mode(cpu);
}

static uint32_t interruption(const struct processor *cpu, const struct event *event)
{
    return event->vector | event->type << INTERRUPTION_TYPE_SHIFT |
           (has_error(cpu, event) ? INTERRUPTION_ERROR_CODE : 0) | INTERRUPTION_VALID;
}

/* Did the instruction that is being left end blocking by NMI (it is an IRET)? */
static bool nmi_unblocked(const struct processor *cpu, const struct op *op)
{
    return unlikely(cpu->vmx->unblocked_at != MACHINE_NEVER) && cpu->vmx->unblocked_at == cpu_count_at(cpu, op);
}

void vmx_record(struct processor *cpu, const struct op *op, uint32_t reason, uint64_t qualification)
{
    struct vmcs *vmcs = &cpu->vmx->vmcs;
    cpu->vmx->saves_rf = false;
    vmcs->exit_reason = reason;
    vmcs->exit_qualification = qualification;
    vmcs->guest_linear_address = 0;
    vmcs->guest_physical_address = 0;
    vmcs->exit_interruption_information = 0;
    vmcs->exit_interruption_error_code = 0;
    vmcs->exit_instruction_information = 0;
    vmcs->exit_instruction_length = op ? op->length : 0;
    vmcs->idt_vectoring_information = 0;
    vmcs->idt_vectoring_error_code = 0;
    if (unlikely(cpu->delivering_valid) && reason != REASON_TRIPLE_FAULT) {
        const struct event *event = &cpu->delivering;
        vmcs->idt_vectoring_information = interruption(cpu, event);
        vmcs->idt_vectoring_error_code = has_error(cpu, event) ? event->error : 0;
        if (event->type >= EVENT_SOFTWARE_INTERRUPT)
            vmcs->exit_instruction_length = event->length;
    }
}

void vmx_exit(struct processor *cpu, const struct op *op, uint32_t reason, uint64_t qualification)
{
    vmx_record(cpu, op, reason, qualification);
    leave_run(cpu, op, LEAVE_VM_EXIT);
}

/* What the instruction-information fields of tables 28-8 to 28-14 have in common. */
#define INFORMATION_REGISTER (1u << 10)
#define INFORMATION_NO_INDEX (1u << 22)
#define INFORMATION_NO_BASE (1u << 27)

static uint32_t address_size(const struct op *op)
{
    return (op->form & FORM_ADDRESS16 ? 0u : op->form & FORM_ADDRESS32 ? 1u : 2u) << 7;
}

static uint32_t operand_information(const struct op *op)
{
    if (!(op->form & FORM_MEMORY))
        return INFORMATION_REGISTER | (uint32_t)(op->src / 8) << 3;
    uint32_t information = op->scale | address_size(op) | (uint32_t)op->seg << 15;
    information |= op->index < 16 ? (uint32_t)op->index << 18 : INFORMATION_NO_INDEX;
    information |= op->base < 16 ? (uint32_t)op->base << 23 : INFORMATION_NO_BASE;
    return information;
}

void vmx_exit_operand(struct processor *cpu, const struct op *op, uint32_t reason, uint32_t extra)
{
    uint64_t displacement = 0;
    if (op->form & FORM_MEMORY) {
        displacement = (int64_t)op->disp;
        if (op->base == SLOT_RIP) /* then with the address of the next instruction */
            displacement += cpu->s.rip + (op->form & FORM_GENERAL ? op->offset + op->length : 0);
    }
    vmx_record(cpu, op, reason, displacement);
    cpu->vmx->vmcs.exit_instruction_information = operand_information(op) | extra;
    leave_run(cpu, op, LEAVE_VM_EXIT);
}

void vmx_exit_random(struct processor *cpu, const struct op *op, uint32_t reason, unsigned gpr, unsigned size)
{
    vmx_record(cpu, op, reason, 0);
    cpu->vmx->vmcs.exit_instruction_information = gpr << 3 | (size / 4) << 11;
    leave_run(cpu, op, LEAVE_VM_EXIT);
}

/* ---- I/O (26.1.3, table 28-5) ---- */

bool vmx_io_bitmap_exits(const struct processor *cpu, uint16_t port, unsigned size)
{
    const struct vmx *vmx = cpu->vmx;
    if (!(vmx->active.primary & PRIMARY_USE_IO_BITMAPS))
        return true;
    for (unsigned at = port; at < port + size; at++) {
        if (at > 0xffff) /* wraps around */
            return true;
        const uint8_t *bitmap = vmx->io_bitmap[at >> 15];
        if (!bitmap || bitmap[at >> 3 & 0xfff] >> (at & 7) & 1)
            return true;
    }
    return false;
}

void vmx_exit_io(struct processor *cpu, const struct op *op, uint16_t port, unsigned size, unsigned kind,
                 uint64_t linear)
{
    vmx_record(cpu, op, REASON_IO_INSTRUCTION, (size - 1) | kind | (uint32_t)port << 16);
    if (kind & IO_STRING) {
        struct vmcs *vmcs = &cpu->vmx->vmcs;
        vmcs->guest_linear_address = linear;
        vmcs->exit_instruction_information = address_size(op) | (kind & IO_IN ? ES : op->seg) << 15;
        vmcs->io_rcx = cpu->s.registers.gpr[RCX];
        vmcs->io_rsi = cpu->s.registers.gpr[RSI];
        vmcs->io_rdi = cpu->s.registers.gpr[RDI];
        vmcs->io_rip = cpu->s.rip + op->offset;
    }
    leave_run(cpu, op, LEAVE_VM_EXIT);
}

/* ---- MSRs (25.6.9) ---- */

bool vmx_msr_bitmap_exits(const struct processor *cpu, uint32_t index, bool write)
{
    const uint8_t *bitmap = cpu->vmx->msr_bitmap;
    unsigned n = index & 0x1fff;
    if (!(cpu->vmx->active.primary & PRIMARY_USE_MSR_BITMAPS) || !bitmap || (index & 0x3fffffff) != n ||
        (index >> 30 != 0 && index >> 30 != 3))
        return true;
    bitmap += (index >> 31 ? 0x400 : 0) + (write ? 0x800 : 0);
    return bitmap[n >> 3] >> (n & 7) & 1;
}

uint64_t *vmx_root_msr(struct processor *cpu, uint32_t index)
{
    struct vmx *vmx = cpu->vmx;
    if (!vmx->operation || vmx->non_root)
        return NULL;
    switch (index) {
    case 0x174:
        return &vmx->root.sysenter_cs;
    case 0x175:
        return &vmx->root.sysenter_esp;
    case 0x176:
        return &vmx->root.sysenter_eip;
    case 0x1d9:
        return &vmx->root.debugctl;
    case 0x277:
        return &vmx->root.pat;
    case 0xc0000080:
        return &vmx->root.efer;
    case 0xc0000100:
        return &vmx->root.fs_base;
    case 0xc0000101:
        return &vmx->root.gs_base;
    default:
        return NULL;
    }
}

/* ---- control and debug registers (26.1.3, 26.3, tables 28-3 and 28-4) ---- */

enum cr_access { CR_TO, CR_FROM, CR_CLTS, CR_LMSW };

void vmx_exit_cr(struct processor *cpu, const struct op *op, unsigned cr, unsigned type, unsigned gpr)
{
    vmx_exit(cpu, op, REASON_CR_ACCESS, cr | type << 4 | gpr << 8);
}

void vmx_exit_dr(struct processor *cpu, const struct op *op, unsigned dr, bool from, unsigned gpr)
{
    vmx_exit(cpu, op, REASON_MOV_DR, dr | (uint32_t)from << 4 | gpr << 8);
}

uint64_t vmx_mov_to_cr0(struct processor *cpu, const struct op *op, unsigned gpr, uint64_t value)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    if (!vmx_non_root(cpu))
        return value;
    uint64_t mask = vmcs->cr0_guest_host_mask;
    if ((value ^ vmcs->cr0_read_shadow) & mask)
        vmx_exit_cr(cpu, op, 0, CR_TO, gpr);
    return (value & ~mask) | (cpu->s.cr0 & mask);
}

uint64_t vmx_mov_to_cr4(struct processor *cpu, const struct op *op, unsigned gpr, uint64_t value)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    if (!vmx_non_root(cpu))
        return value;
    uint64_t mask = vmcs->cr4_guest_host_mask;
    if ((value ^ vmcs->cr4_read_shadow) & mask)
        vmx_exit_cr(cpu, op, 4, CR_TO, gpr);
    return (value & ~mask) | (cpu->s.cr4 & mask);
}

void vmx_mov_to_cr3(struct processor *cpu, const struct op *op, unsigned gpr, uint64_t value)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    if (likely(!(cpu->vmx->active.primary & PRIMARY_CR3_LOAD_EXITING)))
        return;
    for (unsigned i = 0; i < vmcs->cr3_target_count; i++)
        if (value == vmcs->cr3_target_value[i])
            return;
    vmx_exit_cr(cpu, op, 3, CR_TO, gpr);
}

uint64_t vmx_clts(struct processor *cpu, const struct op *op)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    uint64_t mask = vmx_non_root(cpu) ? vmcs->cr0_guest_host_mask & CR0_TS : 0;
    if (mask & vmcs->cr0_read_shadow)
        vmx_exit_cr(cpu, op, 0, CR_CLTS, 0);
    return cpu->s.cr0 & ~(CR0_TS & ~mask);
}

uint64_t vmx_lmsw(struct processor *cpu, const struct op *op, uint16_t source, bool memory, uint64_t linear)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    const uint64_t bits = CR0_PE | CR0_MP | CR0_EM | CR0_TS;
    uint64_t mask = vmx_non_root(cpu) ? vmcs->cr0_guest_host_mask & bits : 0;
    uint64_t differs = (source ^ vmcs->cr0_read_shadow) & mask;
    if (!(source & CR0_PE))
        differs &= ~CR0_PE; /* LMSW does not clear it */
    if (differs) {
        vmx_record(cpu, op, REASON_CR_ACCESS, CR_LMSW << 4 | (uint32_t)memory << 6 | (uint32_t)source << 16);
        cpu->vmx->vmcs.guest_linear_address = memory ? linear : 0;
        leave_run(cpu, op, LEAVE_VM_EXIT);
    }
    uint64_t loaded = bits & ~mask;
    return (cpu->s.cr0 & ~(loaded & ~CR0_PE)) | (source & loaded);
}

/* An event whose delivery the exit ends, or comes before, leaves RF as its handler would find it in the image of RFLAGS
 * that it returns with: on the stack, or in the old TSS (28.3.3). */
static void save_rf_of(struct processor *cpu, const struct event *event)
{
    cpu->vmx->saves_rf = event_sets_rf(event);
}

/* ---- memory (28.2.1, 29.3.3) ---- */

#define EPT_NMI_UNBLOCKED (1u << 12)

void vmx_exit_ept_violation(struct processor *cpu, const struct op *op, uint64_t qualification, uint64_t gpa,
                            uint64_t linear)
{
    struct vmcs *vmcs = &cpu->vmx->vmcs;
    vmx_record(cpu, op, REASON_EPT_VIOLATION, qualification | (nmi_unblocked(cpu, op) ? EPT_NMI_UNBLOCKED : 0));
    vmcs->guest_physical_address = gpa;
    vmcs->guest_linear_address = qualification & EPT_LINEAR_VALID ? linear : 0;
    if (cpu->delivering_valid)
        save_rf_of(cpu, &cpu->delivering);
    leave_run(cpu, op, LEAVE_VM_EXIT);
}

void vmx_exit_ept_misconfiguration(struct processor *cpu, const struct op *op, uint64_t gpa)
{
    vmx_record(cpu, op, REASON_EPT_MISCONFIGURATION, 0);
    cpu->vmx->vmcs.guest_physical_address = gpa;
    leave_run(cpu, op, LEAVE_VM_EXIT);
}

/* ---- events (26.2) ---- */

static bool intercepted(const struct vmcs *vmcs, const struct event *event)
{
    if (event->type == EVENT_EXTERNAL || event->type == EVENT_NMI || event->type == EVENT_SOFTWARE_INTERRUPT)
        return false;
    bool bit = vmcs->exception_bitmap >> (event->vector & 31) & 1;
    if (event->vector == VECTOR_PF)
        return (event->error & vmcs->page_fault_error_mask) == vmcs->page_fault_error_match ? bit : !bit;
    return bit;
}

void vmx_event_exit(struct processor *cpu, const struct event *event)
{
    struct vmx *vmx = cpu->vmx;
    struct vmcs *vmcs = &vmx->vmcs;
    if (vmx->injecting || !intercepted(vmcs, event)) {
        vmx->injecting = false;
        vmx->delivered = true;
        vmx->unblocked_at = MACHINE_NEVER;
        return;
    }
    bool double_fault = event->vector == VECTOR_DF;
    vmx_record(cpu, NULL, REASON_EXCEPTION_OR_NMI,
               event->vector == VECTOR_PF ? event->cr2 : event->vector == VECTOR_DB ? event->dr6 : 0);
    vmcs->exit_interruption_information = interruption(cpu, event);
    vmcs->exit_interruption_error_code = has_error(cpu, event) ? event->error : 0;
    if (double_fault) /* not said to have arisen while the first of the two was delivered (28.2.4) */
        vmcs->idt_vectoring_information = vmcs->idt_vectoring_error_code = 0;
    else if (nmi_unblocked(cpu, NULL) && !cpu->delivering_valid)
        vmcs->exit_interruption_information |= INTERRUPTION_NMI_UNBLOCKED;
    if (event->type >= EVENT_PRIVILEGED_SOFTWARE)
        vmcs->exit_instruction_length = event->length;
    save_rf_of(cpu, event);
    leave_run(cpu, NULL, LEAVE_VM_EXIT);
}

void vmx_exit_triple_fault(struct processor *cpu)
{
    vmx_exit(cpu, NULL, REASON_TRIPLE_FAULT, 0);
}

void vmx_exit_task_switch(struct processor *cpu, const struct op *op, uint16_t selector, unsigned source)
{
    vmx_record(cpu, op, REASON_TASK_SWITCH, selector | (uint64_t)source << 30);
    if (cpu->delivering_valid)
        save_rf_of(cpu, &cpu->delivering);
    leave_run(cpu, op, LEAVE_VM_EXIT);
}

/* By priority (SDM vol. 3, 26.2, 26.5.1 and table 7-2). */
uint32_t vmx_due(struct processor *cpu)
{
    const struct vmx *vmx = cpu->vmx;
    uint32_t blocking = cpu->s.interruptibility;
    uint64_t count = cpu_count_at(cpu, NULL);
    if (unlikely(vmx->active.primary & PRIMARY_MONITOR_TRAP_FLAG) && (vmx->delivered || count != vmx->entry_count))
        return REASON_MONITOR_TRAP_FLAG;
    if (vmx->active.pin & PIN_PREEMPTION_TIMER && count >= vmx->timer_end)
        return REASON_PREEMPTION_TIMER;
    if (vmx->active.primary & PRIMARY_NMI_WINDOW_EXITING &&
        !(blocking & (BLOCKING_BY_NMI | BLOCKING_BY_MOV_SS | BLOCKING_BY_STI)))
        return REASON_NMI_WINDOW;
    if (vmx->active.primary & PRIMARY_INTERRUPT_WINDOW_EXITING && cpu->s.system_flags & RFLAGS_IF &&
        !(blocking & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)))
        return REASON_INTERRUPT_WINDOW;
    if (unlikely(cpu->kicked) && __atomic_exchange_n(&cpu->kicked, 0, __ATOMIC_ACQ_REL))
        return REASON_EXTERNAL_INTERRUPT;
    return NOTHING_DUE;
}

void vmx_boundary(struct processor *cpu)
{
    uint32_t reason = vmx_due(cpu);
    if (reason != NOTHING_DUE)
        vmx_exit(cpu, NULL, reason, 0);
}

/* ---- MSR areas (25.7.2, 27.4, 28.4, 28.6) ---- */

struct msr_entry {
    uint32_t index, reserved;
    uint64_t value;
};

static struct msr_entry *msr_entry(struct processor *cpu, uint64_t address, uint32_t n)
{
    return (struct msr_entry *)arena_at(cpu->arena, address + (uint64_t)n * sizeof(struct msr_entry),
                                        sizeof(struct msr_entry));
}

uint32_t vmx_load_msrs(struct processor *cpu, uint64_t address, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        const struct msr_entry *entry = msr_entry(cpu, address, n);
        /* FS.base, GS.base, x2APIC and SMM registers are not loaded this way. */
        if (!entry || entry->reserved || entry->index == 0xc0000100 || entry->index == 0xc0000101 ||
            entry->index >> 8 == 8 || entry->index == 0x9b || !msr_write(cpu, entry->index, entry->value))
            return n + 1;
    }
    return 0;
}

static bool store_msrs(struct processor *cpu, uint64_t address, uint32_t count)
{
    for (uint32_t n = 0; n < count; n++) {
        struct msr_entry *entry = msr_entry(cpu, address, n);
        if (!entry || entry->reserved || entry->index >> 8 == 8 || entry->index == 0x9e ||
            !msr_read(cpu, entry->index, &entry->value))
            return false;
        arena_written(cpu->arena, address + (uint64_t)n * sizeof *entry, sizeof *entry);
    }
    return true;
}

/* ---- out of the guest (28.3 to 28.6) ---- */

static void save_guest(struct processor *cpu)
{
    const struct vcpu_state *s = &cpu->s;
    struct vmx *vmx = cpu->vmx;
    struct vmcs *vmcs = &vmx->vmcs;
    uint32_t exit = vmcs->exit_controls;

    vmcs->guest_cr0 = s->cr0;
    vmcs->guest_cr3 = s->cr3;
    vmcs->guest_cr4 = s->cr4;
    vmcs->guest_sysenter_cs = s->sysenter_cs;
    vmcs->guest_sysenter_esp = s->sysenter_esp;
    vmcs->guest_sysenter_eip = s->sysenter_eip;
    if (exit & EXIT_SAVE_DEBUG_CONTROLS) {
        vmcs->guest_dr7 = s->dr7;
        vmcs->guest_debugctl = s->debugctl;
    }
    if (exit & EXIT_SAVE_PAT)
        vmcs->guest_pat = s->pat;
    if (exit & EXIT_SAVE_EFER)
        vmcs->guest_efer = s->efer;
    if (vmx->active.secondary & SECONDARY_UNRESTRICTED_GUEST)
        vmcs->entry_controls = (vmcs->entry_controls & ~ENTRY_IA32E_MODE_GUEST) |
                               (s->efer & EFER_LMA ? ENTRY_IA32E_MODE_GUEST : 0);
    else if (!(s->efer & EFER_LMA) != !(vmcs->entry_controls & ENTRY_IA32E_MODE_GUEST))
        vmx->dirty |= VMCS_GUEST; /* an entry with this state fails */
    memcpy(vmcs->guest_segment, s->seg, sizeof vmcs->guest_segment);
    vmcs->guest_gdtr_base = s->gdt_base;
    vmcs->guest_gdtr_limit = s->gdt_limit;
    vmcs->guest_idtr_base = s->idt_base;
    vmcs->guest_idtr_limit = s->idt_limit;
    vmcs->guest_rip = s->rip;
    vmcs->guest_rsp = s->registers.gpr[RSP];
    vmcs->guest_rflags = rflags_read(cpu) | (vmx->saves_rf ? RFLAGS_RF : 0);
    vmcs->guest_activity_state = s->activity;
    vmcs->guest_interruptibility_state = s->interruptibility;
    vmcs->guest_pending_debug_exceptions = s->pending_debug;
    if (unlikely(s->interruptibility & BLOCKING_BY_MOV_SS && s->system_flags & RFLAGS_TF))
        vmcs->guest_pending_debug_exceptions |= PENDING_DEBUG_BS; /* as entry checks it (27.3.1.5) */
    if (vmx->active.eptp && vmx_pae_guest(vmcs))
        memcpy(vmcs->guest_pdpte, s->pdpte, sizeof vmcs->guest_pdpte);
    if (exit & EXIT_SAVE_PREEMPTION_TIMER)
        vmcs->preemption_timer_value = vmx->timer_end > s->count ? vmx->timer_end - s->count : 0;
    vmcs->entry_interruption_information &= ~INTERRUPTION_VALID;
}

static void leave_non_root(struct processor *cpu)
{
    struct vmx *vmx = cpu->vmx;
    vmx->non_root = vmx->injecting = false;
    memset(&vmx->active, 0, sizeof vmx->active);
    vmx->unblocked_at = MACHINE_NEVER;
    cpu->delivering_valid = false;
    cpu->bus = NULL;
}

/* Root's registers: what is not loaded stays as the guest had it. */
static bool load_host(struct processor *cpu)
{
    struct vmx *vmx = cpu->vmx;
    struct vmcs *vmcs = &vmx->vmcs;
    vmx->root = (struct vmx_root){
        .fs_base = vmcs->host_fs_base,
        .gs_base = vmcs->host_gs_base,
        .sysenter_cs = vmcs->host_sysenter_cs,
        .sysenter_esp = vmcs->host_sysenter_esp,
        .sysenter_eip = vmcs->host_sysenter_eip,
        .efer = vmcs->exit_controls & EXIT_LOAD_EFER ? vmcs->host_efer : cpu->s.efer | EFER_LMA | EFER_LME,
        .pat = vmcs->exit_controls & EXIT_LOAD_PAT ? vmcs->host_pat : cpu->s.pat,
        .dr7 = DR7_INITIAL,
    };
    return !vmx_load_msrs(cpu, vmcs->exit_msr_load_address, vmcs->exit_msr_load_count);
}

/* VMX-abort indicators (28.7). */
#define ABORT_SAVING_MSRS 1
#define ABORT_LOADING_MSRS 4

bool vmx_leave_guest(struct processor *cpu)
{
    struct vmx *vmx = cpu->vmx;
    save_guest(cpu);
    bool stored = store_msrs(cpu, vmx->vmcs.exit_msr_store_address, vmx->vmcs.exit_msr_store_count);
    leave_non_root(cpu);
    vmx->resident = true;
    if (load_host(cpu) && stored)
        return true;
    vmx->vmcs.abort = stored ? ABORT_LOADING_MSRS : ABORT_SAVING_MSRS;
    return false;
}

bool vmx_fail_entry(struct processor *cpu, uint32_t reason, uint64_t qualification)
{
    struct vmx *vmx = cpu->vmx;
    vmx->vmcs.exit_reason = reason | REASON_ENTRY_FAILURE;
    vmx->vmcs.exit_qualification = qualification;
    leave_non_root(cpu);
    vmx->resident = false;
    vmx->dirty |= VMCS_GUEST;
    if (load_host(cpu))
        return true;
    vmx->vmcs.abort = ABORT_LOADING_MSRS;
    return false;
}
