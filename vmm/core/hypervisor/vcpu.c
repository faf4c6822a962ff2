/* `vtx`: a vCPU in VMX non-root operation. The VMCS, VM entry and VM exit. */
#include <stdlib.h>

#include "guest.h"

#define IA32_TIME_STAMP_COUNTER 0x10
#define IA32_FIXED_CTR0 0x309 /* instructions retired */

/* The controls `needed`, those of `welcome` that this processor has, and those that it demands (SDM vol. 3, A.3 to
 * A.5). */
static uint32_t controls(struct guest *guest, uint32_t msr, uint32_t needed, uint32_t welcome)
{
    uint64_t capability = 0;
    msr_read(guest->vcpu.processor, msr, &capability);
    uint32_t demanded = capability, allowed = capability >> 32;
    if (needed & ~allowed)
        vcpu_end(&guest->vcpu, MACHINE_INTERNAL, "the processor lacks VMX controls %#x (MSR %#x)", needed & ~allowed,
                 msr);
    return needed | (welcome & allowed) | demanded;
}

static void write_controls(struct guest *guest)
{
    guest->primary_controls =
        controls(guest, IA32_VMX_TRUE_PROCBASED_CTLS,
                 PRIMARY_TSC_OFFSETTING | PRIMARY_HLT_EXITING | PRIMARY_MWAIT_EXITING | PRIMARY_RDPMC_EXITING |
                     PRIMARY_CR8_LOAD_EXITING | PRIMARY_CR8_STORE_EXITING | PRIMARY_UNCONDITIONAL_IO_EXITING |
                     PRIMARY_USE_MSR_BITMAPS | PRIMARY_ACTIVATE_SECONDARY_CONTROLS |
                     (guest->vcpu.config->cpus > 1 ? PRIMARY_MONITOR_EXITING : 0),
                 0);
    vmcs_write(guest, PIN_BASED_CONTROLS,
               controls(guest, IA32_VMX_TRUE_PINBASED_CTLS,
                        PIN_EXTERNAL_INTERRUPT_EXITING | PIN_NMI_EXITING | PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER,
                        0));
    vmcs_write(guest, PRIMARY_CONTROLS, guest->primary_controls);
    vmcs_write(guest, SECONDARY_CONTROLS,
               controls(guest, IA32_VMX_PROCBASED_CTLS2,
                        SECONDARY_ENABLE_EPT | SECONDARY_ENABLE_VPID | SECONDARY_UNRESTRICTED_GUEST,
                        SECONDARY_ENABLE_RDTSCP | SECONDARY_ENABLE_INVPCID | SECONDARY_ENABLE_XSAVES)); /* where the CPU model has them */
    vmcs_write(guest, EXIT_CONTROLS,
               controls(guest, IA32_VMX_TRUE_EXIT_CTLS,
                        EXIT_SAVE_DEBUG_CONTROLS | EXIT_HOST_ADDRESS_SPACE_SIZE | EXIT_SAVE_EFER, 0));
    vmcs_write(guest, ENTRY_CONTROLS,
               controls(guest, IA32_VMX_TRUE_ENTRY_CTLS, ENTRY_LOAD_DEBUG_CONTROLS | ENTRY_LOAD_EFER, 0));
    vmcs_write(guest, VIRTUAL_PROCESSOR_ID, guest->vpid);
    vmcs_write(guest, EPT_POINTER, guest->ept_pointer);
    vmcs_write(guest, MSR_BITMAP_ADDRESS, guest->layout.msr_bitmap);
    vmcs_write(guest, VMCS_LINK_POINTER, ~0ull);
    vmcs_write(guest, GUEST_ACTIVITY_STATE, 0); /* halting is the run loop's */
}

/* VM exits return to C here, whatever RIP says; VM entry checks these all the same (SDM vol. 3, 27.2.2). */
static void write_host_state(struct guest *guest)
{
    uint64_t cr0 = 0, cr4 = 0;
    msr_read(guest->vcpu.processor, IA32_VMX_CR0_FIXED0, &cr0);
    msr_read(guest->vcpu.processor, IA32_VMX_CR4_FIXED0, &cr4);
    guest->cr0_fixed = cr0 & ~(CR0_PE | CR0_PG); /* unrestricted guest */
    vmcs_write(guest, HOST_CR0, cr0 | CR0_PE | CR0_PG);
    vmcs_write(guest, HOST_CR4, cr4 | CR4_PAE);
    vmcs_write(guest, HOST_CR3, 0);
    vmcs_write(guest, HOST_CS_SELECTOR, 1 << 3);
    vmcs_write(guest, HOST_TR_SELECTOR, 2 << 3);
    vmcs_write(guest, HOST_RSP, 0);
    vmcs_write(guest, HOST_RIP, 0);
}

/* VMXON, VMCLEAR and VMPTRLD (SDM vol. 3, 32.5 and 32.6). */
static bool enter_vmx_operation(struct guest *guest)
{
    struct processor *processor = guest->vcpu.processor;
    uint64_t basic = 0;
    msr_read(processor, IA32_VMX_BASIC, &basic);
    uint32_t revision = basic & 0x7fffffff;
    *(uint32_t *)arena_at(guest->vcpu.arena, guest->layout.vmxon, 4) = revision;
    *(uint32_t *)arena_at(guest->vcpu.arena, guest->layout.vmcs, 4) = revision;
    return vmx_on(processor, guest->layout.vmxon) == VMX_SUCCEED &&
           vmx_clear(processor, guest->layout.vmcs) == VMX_SUCCEED &&
           vmx_ptrld(processor, guest->layout.vmcs) == VMX_SUCCEED;
}

static void check_components(struct guest *guest)
{
    if (guest->failed_component)
        vcpu_end(&guest->vcpu, MACHINE_INTERNAL, "the processor refuses VMCS component %#06x",
                 guest->failed_component - 1);
}

static void read_clock(struct guest *guest)
{
    struct vcpu *vcpu = &guest->vcpu;
    if (!msr_read(vcpu->processor, IA32_FIXED_CTR0, &vcpu->count) ||
        !msr_read(vcpu->processor, IA32_TIME_STAMP_COUNTER, &vcpu->time))
        vcpu_end(vcpu, MACHINE_INTERNAL, "the processor has no instruction counter");
}

static void write_clock(struct guest *guest)
{
    struct vcpu *vcpu = &guest->vcpu;
    if (!msr_write(vcpu->processor, IA32_FIXED_CTR0, vcpu->count) ||
        !msr_write(vcpu->processor, IA32_TIME_STAMP_COUNTER, vcpu->time))
        vcpu_end(vcpu, MACHINE_INTERNAL, "the processor's counters cannot be written");
    guest->clock_written = false;
}

/* ---- struct accel ---- */

static uint64_t guest_structures(const struct machine_config *config)
{
    return layout_of(config, 0).end - memory_end(config->memory_bytes, config->firmware_bytes);
}

static void guest_destroy(struct vcpu *vcpu)
{
    struct guest *guest = guest_of(vcpu);
    if (guest->emulator)
        emulator_destroy(guest->emulator);
    vmx_off(vcpu->processor);
    free(guest);
}

static void guest_reset(struct vcpu *vcpu)
{
    struct guest *guest = guest_of(vcpu);
    guest_reset_msrs(guest);
    guest_reset_registers(guest);
}

static struct vcpu *guest_create(const struct vcpu *common, char *error, size_t error_size)
{
    struct guest *guest = calloc(1, sizeof *guest);
    if (!guest) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    struct vcpu *vcpu = &guest->vcpu;
    *vcpu = *common;
    guest->registers = processor_registers(vcpu->processor);
    guest->layout = layout_of(vcpu->config, vcpu->index);
    guest->vpid = vcpu->index + 1;
    guest->ept_pointer = ept_pointer_to(guest->layout.ept);
    guest->delivery_pointer = ept_pointer_to(guest->layout.delivery_ept);
    guest->emulator = emulator_create(vcpu->config);
    if (!guest->emulator)
        vcpu_end(vcpu, MACHINE_INTERNAL, "out of memory");
    else if (!enter_vmx_operation(guest))
        vcpu_end(vcpu, MACHINE_INTERNAL, "the processor cannot enter VMX operation");
    if (vcpu->end == MACHINE_AIR) {
        if (vcpu->index == 0)
            build_ept(guest);
        fill_msr_bitmap(arena_at(vcpu->arena, guest->layout.msr_bitmap, 4096));
        write_controls(guest);
        write_host_state(guest);
        write_clock(guest);
        guest_save_power_on_msrs(guest);
        guest_reset(vcpu);
        check_components(guest);
    }
    if (vcpu->end != MACHINE_AIR) {
        snprintf(error, error_size, "%s", vcpu->reason);
        guest_destroy(vcpu);
        return NULL;
    }
    return vcpu;
}

static void write_windows(struct guest *guest, unsigned windows)
{
    uint32_t exiting = (windows & WINDOW_INTERRUPT ? PRIMARY_INTERRUPT_WINDOW_EXITING : 0) |
                       (windows & WINDOW_NMI ? PRIMARY_NMI_WINDOW_EXITING : 0) |
                       (windows & WINDOW_PAUSE ? PRIMARY_PAUSE_EXITING : 0);
    if (windows != guest->windows)
        vmcs_write(guest, PRIMARY_CONTROLS, guest->primary_controls | exiting);
    guest->windows = windows;
}

static void guest_run(struct vcpu *vcpu, uint64_t until, unsigned windows)
{
    struct guest *guest = guest_of(vcpu);
    uint64_t ticks = until - vcpu->time;
    write_windows(guest, windows);
    if (guest->delivering_over_bus) {
        vmcs_write(guest, EPT_POINTER, guest->delivery_pointer);
        ticks = 0; /* an exit after the delivery, before its handler's first instruction */
    }
    vmcs_write(guest, PREEMPTION_TIMER_VALUE, ticks < UINT32_MAX ? ticks : UINT32_MAX);
    if (guest->clock_written)
        write_clock(guest);
    check_components(guest);
    if (vcpu->end != MACHINE_AIR)
        return;

    vcpu->injecting = false;
    enum vmx_result result = guest->launched ? vmx_resume(vcpu->processor) : vmx_launch(vcpu->processor);
    if (result != VMX_SUCCEED) {
        vcpu_end(vcpu, MACHINE_INTERNAL, "VM entry: VM-instruction error %u",
                 result == VMX_FAIL_VALID ? (unsigned)vmcs_read(guest, VM_INSTRUCTION_ERROR) : 0);
        return;
    }
    read_clock(guest);
    guest->exit.reason = vmcs_read(guest, EXIT_REASON);
    guest->exit.qualification = vmcs_read(guest, EXIT_QUALIFICATION);
    guest->exit.rip = vmcs_read(guest, GUEST_RIP);
    if (!(guest->exit.reason & REASON_ENTRY_FAILURE))
        guest->launched = true;
    if (guest->delivering_over_bus) {
        guest->delivering_over_bus = false;
        vmcs_write(guest, EPT_POINTER, guest->ept_pointer);
        fill_ones(guest);
    }
    guest_exit(guest);
}

static void guest_set_time(struct vcpu *vcpu, uint64_t time)
{
    vcpu->time = time;
    guest_of(vcpu)->clock_written = true;
}

/* The rest follows from the configuration, or is the processor's. */
static void guest_snapshot(struct vcpu *vcpu, struct snapshot *snapshot)
{
    struct guest *guest = guest_of(vcpu);
    SNAPSHOT(snapshot, guest->windows);
    SNAPSHOT(snapshot, guest->launched);
    SNAPSHOT(snapshot, guest->clock_written);
    SNAPSHOT(snapshot, guest->delivering_over_bus);
    SNAPSHOT(snapshot, guest->rf_lent_at);
    SNAPSHOT(snapshot, guest->tsc_offset);
    SNAPSHOT(snapshot, guest->tsc_adjust);
    SNAPSHOT(snapshot, guest->feature_control);
    SNAPSHOT(snapshot, guest->a20m);
    SNAPSHOT(snapshot, guest->exit);
}

const struct accel accel_vtx = {
    .structures = guest_structures,
    .create = guest_create,
    .destroy = guest_destroy,
    .reset = guest_reset,
    .run = guest_run,
    .set_time = guest_set_time,
    .set_a20 = guest_set_a20,
    .set_map = guest_set_map,
    .snapshot = guest_snapshot,
    .interrupts_enabled = guest_interrupts_enabled,
    .interruptibility = guest_interruptibility,
    .trap_pending = guest_trap_pending,
    .inject_nmi = guest_inject_nmi,
    .inject_interrupt = guest_inject_interrupt,
    .get_registers = guest_get_registers,
    .set_registers = guest_set_registers,
    .read_msr = guest_read_msr,
};
