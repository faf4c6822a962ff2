/* VM entry after its checks (SDM vol. 3, 27.3.2 to 27.7), and the guest's run until a VM exit. */
#include <string.h>
#include <time.h>

#include "events.h"
#include "vmx_private.h"

/* ---- loading the guest's state (27.3.2) ---- */

#define CR0_LOADED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_WP | CR0_AM | CR0_PG)
#define CR0_KEPT (CR0_NW | CR0_CD)
#define DR7_LOADED 0xffff2fffull
#define ACCESS_DEFINED 0x1f0ffu

void vmx_read_pdptes(const struct processor *cpu, uint64_t cr3, uint64_t pdpte[4])
{
    const uint8_t *at = arena_at(cpu->arena, cr3 & 0xffffffe0, 32);
    if (at)
        memcpy(pdpte, at, 32);
    else
        memset(pdpte, 0xff, 32);
}

static void load_guest(struct processor *cpu)
{
    struct vcpu_state *s = &cpu->s;
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    s->cr0 = (vmcs->guest_cr0 & CR0_LOADED) | CR0_ET | (s->cr0 & CR0_KEPT);
    s->cr3 = vmcs->guest_cr3;
    s->cr4 = vmcs->guest_cr4;
    s->sysenter_cs = vmcs->guest_sysenter_cs;
    s->sysenter_esp = vmcs->guest_sysenter_esp;
    s->sysenter_eip = vmcs->guest_sysenter_eip;
    memcpy(s->seg, vmcs->guest_segment, sizeof s->seg);
    for (unsigned n = ES; n <= TR; n++)
        s->seg[n].access &= n == CS || n == TR ? ACCESS_DEFINED & ~AR_UNUSABLE : ACCESS_DEFINED;
    s->cpl = (s->seg[SS].access & AR_DPL) >> AR_DPL_SHIFT;
    s->gdt_base = vmcs->guest_gdtr_base;
    s->gdt_limit = vmcs->guest_gdtr_limit;
    s->idt_base = vmcs->guest_idtr_base;
    s->idt_limit = vmcs->guest_idtr_limit;
    if (!vmx_pae_guest(vmcs))
        return;
    if (vmx_secondary(vmcs) & SECONDARY_ENABLE_EPT)
        memcpy(s->pdpte, vmcs->guest_pdpte, sizeof s->pdpte);
    else
        vmx_read_pdptes(cpu, vmcs->guest_cr3, s->pdpte);
}

/* What may differ from what the last exit left although nobody wrote to a field of VMCS_GUEST. */
static void load_always(struct processor *cpu)
{
    struct vcpu_state *s = &cpu->s;
    const struct vmx_root *root = &cpu->vmx->root;
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    uint32_t entry = vmcs->entry_controls;
    if (likely(entry & ENTRY_LOAD_DEBUG_CONTROLS)) {
        s->dr7 = (vmcs->guest_dr7 & DR7_LOADED) | DR7_INITIAL;
        s->debugctl = vmcs->guest_debugctl;
    } else {
        s->dr7 = root->dr7;
        s->debugctl = root->debugctl;
    }
    s->pat = entry & ENTRY_LOAD_PAT ? vmcs->guest_pat : root->pat;
    if (entry & ENTRY_LOAD_EFER) {
        s->efer = vmcs->guest_efer;
    } else {
        /* LMA follows the control, and LME too when the guest pages. */
        uint64_t bits = vmcs->guest_cr0 & CR0_PG ? EFER_LMA | EFER_LME : EFER_LMA;
        s->efer = (root->efer & ~bits) | (entry & ENTRY_IA32E_MODE_GUEST ? bits : 0);
    }
    s->rip = vmcs->guest_rip;
    s->registers.gpr[RSP] = vmcs->guest_rsp;
    rflags_write(cpu, vmcs->guest_rflags);
    s->activity = vmcs->guest_activity_state;
    s->interruptibility = vmcs->guest_interruptibility_state;
    s->pending_debug = vmcs->guest_pending_debug_exceptions;
    if (unlikely(s->interruptibility & BLOCKING_BY_MOV_SS && s->system_flags & RFLAGS_TF))
        s->pending_debug &= ~PENDING_DEBUG_BS; /* it comes of the next instruction */
}

static void open_read(void *context, uint64_t gpa, void *data, unsigned size)
{
    (void)context, (void)gpa;
    memset(data, 0xff, size);
}
static void open_write(void *context, uint64_t gpa, const void *data, unsigned size)
{
    (void)context, (void)gpa, (void)data, (void)size;
}
static uint32_t open_in(void *context, uint16_t port, unsigned size)
{
    (void)context, (void)port, (void)size;
    return ~0u;
}
static void open_out(void *context, uint16_t port, uint32_t value, unsigned size)
{
    (void)context, (void)port, (void)value, (void)size;
}
/* Nothing but the arena is attached to a processor that runs a guest: devices are the hypervisor's. */
static const struct emulate_bus open_bus = {NULL, open_read, open_write, open_in, open_out};

static void activate_controls(struct processor *cpu)
{
    struct vmx *vmx = cpu->vmx;
    const struct vmcs *vmcs = &vmx->vmcs;
    uint32_t secondary = vmx_secondary(vmcs);
    vmx->non_root = true;
    cpu->bus = &open_bus;
    vmx->active.pin = vmcs->pin_based_controls;
    vmx->active.primary = vmcs->primary_controls;
    vmx->active.secondary = secondary;
    vmx->active.eptp = secondary & SECONDARY_ENABLE_EPT ? vmcs->ept_pointer : 0;
    vmx->active.vpid = secondary & SECONDARY_ENABLE_VPID ? vmcs->virtual_processor_id : 0;
    vmx->active.tsc_offset = vmcs->primary_controls & PRIMARY_TSC_OFFSETTING ? vmcs->tsc_offset : 0;
    vmx->entry_count = cpu->s.count;
    vmx->timer_end = cpu->s.count + vmcs->preemption_timer_value;
    vmx->delivered = false;
    if (!(vmx->dirty & VMCS_CONTROLS))
        return;
    vmx->io_bitmap[0] = arena_at(cpu->arena, vmcs->io_bitmap_a_address, 4096);
    vmx->io_bitmap[1] = arena_at(cpu->arena, vmcs->io_bitmap_b_address, 4096);
    vmx->msr_bitmap = arena_at(cpu->arena, vmcs->msr_bitmap_address, 4096);
}

/* ---- event injection (27.6) ---- */

static void deliver(struct processor *cpu, void *event)
{
    deliver_event(cpu, event);
}

/* A triple fault is a VM exit here, like all that deliver_fault does not survive. */
static void deliver_again(struct processor *cpu, void *unused)
{
    (void)unused;
    deliver_fault(cpu);
}

/* Delivers the fault in cpu->fault, if that is `why`, and what comes of it. False: a VM exit is recorded. */
static bool deliver_faults(struct processor *cpu, enum leave why)
{
    while (why == LEAVE_EXCEPTION)
        why = cpu_protect(cpu, deliver_again, NULL);
    return why != LEAVE_VM_EXIT;
}

static bool inject(struct processor *cpu)
{
    struct vmx *vmx = cpu->vmx;
    const struct vmcs *vmcs = &vmx->vmcs;
    uint32_t information = vmcs->entry_interruption_information;
    struct event event = {
        .vector = information & INTERRUPTION_VECTOR,
        .type = (information & INTERRUPTION_TYPE) >> INTERRUPTION_TYPE_SHIFT,
        .has_error = information & INTERRUPTION_ERROR_CODE,
        .error = information & INTERRUPTION_ERROR_CODE ? vmcs->entry_exception_error_code : 0,
        .length = vmcs->entry_instruction_length,
    };
    if (event.type == EVENT_OTHER) {
        vmx_record(cpu, NULL, REASON_MONITOR_TRAP_FLAG, 0);
        return false;
    }
    if (event.type < EVENT_SOFTWARE_INTERRUPT)
        cpu->s.pending_debug = 0; /* lost (27.7.3) */
    vmx->injecting = true;
    enum leave why = cpu_protect(cpu, deliver, &event);
    vmx->injecting = false;
    return deliver_faults(cpu, why);
}

/* ---- the run ---- */

/* HLT without exiting: until a kick or the timer. The TSC goes on meanwhile, and what it counts to costs nothing. */
static uint32_t halt(struct processor *cpu)
{
    struct vmx *vmx = cpu->vmx;
    for (;;) {
        uint32_t due = vmx_due(cpu);
        if (due != NOTHING_DUE)
            return due;
        if (vmx->active.pin & PIN_PREEMPTION_TIMER) {
            cpu->s.tsc_base += vmx->timer_end - cpu->s.count;
            vmx->timer_end = cpu->s.count;
        } else {
            nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
        }
    }
}

/* Where cpu_run is to stop at the latest. */
static uint64_t target(const struct processor *cpu)
{
    const struct vmx *vmx = cpu->vmx;
    uint64_t end = vmx->active.pin & PIN_PREEMPTION_TIMER ? vmx->timer_end : cpu->s.count + (1ull << 62);
    if (unlikely(vmx->active.primary & PRIMARY_MONITOR_TRAP_FLAG) && cpu->s.count < end)
        end = cpu->s.count + 1; /* vmx_boundary exits there (26.5.2) */
    return end;
}

/* Runs the guest until a VM exit is recorded. */
static void run_guest(struct processor *cpu)
{
    struct vmx *vmx = cpu->vmx;
    for (;;) {
        if (unlikely(cpu->s.activity == HLT)) {
            vmx_record(cpu, NULL, halt(cpu), 0);
            return;
        }
        switch (cpu_run(cpu, target(cpu))) {
        case LEAVE_VM_EXIT:
            return;
        case LEAVE_BUDGET:
            if (!(vmx->active.pin & PIN_PREEMPTION_TIMER) || cpu->s.count < vmx->timer_end)
                break;
            vmx_record(cpu, NULL, REASON_PREEMPTION_TIMER, 0);
            return;
        case LEAVE_MSR: /* there is no local APIC */
            cpu->fault = (struct event){.vector = VECTOR_GP, .type = EVENT_EXCEPTION, .has_error = true};
            if (!deliver_faults(cpu, LEAVE_EXCEPTION))
                return;
            break;
        case LEAVE_SHUTDOWN:
            vmx_record(cpu, NULL, REASON_TRIPLE_FAULT, 0);
            return;
        default: /* HLT: the activity state says so */
            break;
        }
    }
}

bool vmx_enter(struct processor *cpu)
{
    struct vmx *vmx = cpu->vmx;
    struct vmcs *vmcs = &vmx->vmcs;
    uint64_t qualification = 0;
    cpu->horizon = cpu->s.count; /* root may have written IA32_FIXED_CTR0 */
    cpu->left = 0;
    bool whole = !vmx->resident || vmx->dirty & (VMCS_GUEST | VMCS_CONTROLS) ||
                 (vmcs->guest_rflags ^ cpu->s.system_flags) & RFLAGS_VM; /* other rules for the segments */
    if ((whole && !vmx_check_guest(cpu, &qualification)) || !vmx_check_guest_always(cpu, &qualification))
        return vmx_fail_entry(cpu, REASON_ENTRY_GUEST_STATE, qualification);
    if (whole)
        load_guest(cpu);
    load_always(cpu);
    activate_controls(cpu);
    cpu_update(cpu);
    if (unlikely(!vmx->active.vpid))
        mmu_flush(cpu, true);
    if (unlikely(vmcs->entry_msr_load_count)) {
        uint32_t failed = vmx_load_msrs(cpu, vmcs->entry_msr_load_address, vmcs->entry_msr_load_count);
        if (failed)
            return vmx_fail_entry(cpu, REASON_ENTRY_MSR_LOADING, failed);
        cpu_update(cpu);
    }
    vmx->dirty = 0;
    vmcs->launch_state = VMCS_LAUNCHED;

    if (likely(!(vmcs->entry_interruption_information & INTERRUPTION_VALID)) || inject(cpu))
        run_guest(cpu);
    return vmx_leave_guest(cpu);
}
