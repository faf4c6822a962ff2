/* A vCPU under VT-x. The hypervisor reaches the processor by vmx.h and emulate.h alone: this is the code that would run
 * in VMX root operation of a hardware processor. Private to hypervisor/. */
#ifndef BRINGUP_GUEST_H
#define BRINGUP_GUEST_H

#include "../accel.h"
#include "../processor/bits.h"
#include "sdm.h"

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
enum segment_register { ES, CS, SS, DS, FS, GS, LDTR, TR, SEGMENTS };

/* Where the hypervisor's structures lie: pages of the arena behind guest RAM. Each vCPU has the first three, all share
 * the rest. */
struct layout {
    uint64_t vmxon, vmcs, msr_bitmap;
    uint64_t ones; /* a page of ones, and behind it the EPT tables that map nothing but it */
    uint64_t ept;          /* in which RAM and ROM are mapped, and nothing else */
    uint64_t delivery_ept; /* in which all else reads as ones */
    uint64_t end;
};

#define POWER_ON_MSRS 96

struct guest {
    struct vcpu vcpu; /* first: the run loop's view */
    struct emulator *emulator;
    struct registers *registers; /* what VM exits leave in the processor */
    struct layout layout;
    uint32_t primary_controls; /* without the windows */
    uint32_t windows;          /* as the VMCS has them */
    bool launched;
    bool clock_written;        /* count and time moved: the processor's counters do not know yet */
    bool delivering_over_bus;  /* the next entry is to deliver an event through memory that is not RAM */
    uint64_t rf_lent_at; /* the count at which inject_exception set RFLAGS.RF; MACHINE_NEVER: it was set */
    uint64_t tsc_offset, tsc_adjust;
    uint64_t feature_control;         /* the guest's IA32_FEATURE_CONTROL */
    uint64_t power_on[POWER_ON_MSRS]; /* what RESET# leaves in the MSRs of msrs.c's lists */
    uint64_t cr0_fixed;        /* CR0 bits that VMX operation wants set, besides PE and PG */
    uint16_t vpid;
    uint64_t ept_pointer;      /* to layout.ept */
    uint64_t delivery_pointer; /* to layout.delivery_ept, for delivering_over_bus */
    uint64_t a20m;             /* the address bit that the A20 gate masks: A20 or 0 */
    uint64_t stored_at; /* the guest-physical address of the last store by emulation */
    uint32_t failed_component; /* a VMREAD or VMWRITE that failed: the encoding + 1, or 0 */

    struct {
        uint32_t reason; /* basic, but for bit 31 */
        uint64_t qualification, rip;
    } exit;
};

static inline struct guest *guest_of(struct vcpu *vcpu)
{
    return (struct guest *)vcpu;
}
static inline const struct guest *guest_of_const(const struct vcpu *vcpu)
{
    return (const struct guest *)vcpu;
}

/* VMREAD and VMWRITE. One that fails is our own mistake: it ends the machine at the next entry. */
static inline uint64_t vmcs_read(const struct guest *guest, uint32_t component)
{
    uint64_t value = 0;
    if (__builtin_expect(vmx_read(guest->vcpu.processor, component, &value) != VMX_SUCCEED, 0))
        ((struct guest *)guest)->failed_component = component + 1;
    return value;
}
static inline void vmcs_write(struct guest *guest, uint32_t component, uint64_t value)
{
    if (__builtin_expect(vmx_write(guest->vcpu.processor, component, value) != VMX_SUCCEED, 0))
        guest->failed_component = component + 1;
}

/* ---- exits.c ---- */

/* Records guest->exit and runs its handler. */
void guest_exit(struct guest *guest);

/* ---- events.c ---- */

/* Delivers an exception instead of completing the instruction at RIP. */
#define NO_ERROR_CODE (-1)
void inject_exception(struct guest *guest, unsigned vector, int64_t error);
/* The same for an exception met while an event was being delivered, which `vectoring` describes. */
void inject_second_exception(struct guest *guest, uint32_t vectoring, unsigned vector, int64_t error);
/* The same for a double fault. */
void inject_double_fault(struct guest *guest);
/* The same for a #DB trap, with bits of DR6: one that the pending debug exceptions (table 25-4) do not know. */
void inject_debug_trap(struct guest *guest, uint64_t dr6);
/* A fault that was injected has not been delivered: RFLAGS.RF is again as it was. */
void take_back_rf(struct guest *guest);
/* Sets RFLAGS.RF for the handler of a fault at this instruction, or says that the exit did: a double fault takes it back. */
void lend_rf(struct guest *guest);
/* The event whose delivery this exit interrupted is delivered again by the next entry. */
void reinject(struct guest *guest);
/* The instruction at RIP is done: counted, RIP behind it, its shadows over, its single step pending. */
void complete_instruction(struct guest *guest);
/* Instructions that retire without the processor. */
static inline void guest_retire(struct guest *guest, uint64_t instructions)
{
    guest->vcpu.count += instructions;
    guest->vcpu.time += instructions;
    guest->clock_written = true;
}

void guest_inject_nmi(struct vcpu *vcpu);
void guest_inject_interrupt(struct vcpu *vcpu, uint8_t vector);
bool guest_interrupts_enabled(const struct vcpu *vcpu);
uint32_t guest_interruptibility(const struct vcpu *vcpu);
bool guest_trap_pending(const struct vcpu *vcpu);

/* ---- registers.c: control registers and the whole register file ---- */

/* CR0 and CR4 as the guest sees them: its own bits, and the read shadow where the mask says so. */
uint64_t guest_cr0(const struct guest *guest);
uint64_t guest_cr4(const struct guest *guest);
void set_guest_cr0(struct guest *guest, uint64_t value);
void set_guest_cr4(struct guest *guest, uint64_t value);
void set_guest_efer(struct guest *guest, uint64_t value);
/* MOV to CR0 with its checks and side effects; false: #GP(0). */
bool mov_to_cr0(struct guest *guest, uint64_t value);
/* Loads the PDPTE components from memory; false: a reserved bit. */
bool load_pdptes(struct guest *guest, uint64_t cr3);
struct vcpu_segment read_segment(const struct guest *guest, enum segment_register segment);
void write_segment(struct guest *guest, enum segment_register segment, const struct vcpu_segment *value);
/* Linear addresses translate differently now. */
void flush_translations(struct guest *guest);
void guest_get_registers(const struct vcpu *vcpu, struct vcpu_registers *registers);
void guest_set_registers(struct vcpu *vcpu, const struct vcpu_registers *registers);
void guest_reset_registers(struct guest *guest);

/* ---- msrs.c ---- */

void fill_msr_bitmap(uint8_t bitmap[4096]);
bool guest_rdmsr(struct guest *guest, uint32_t index, uint64_t *value);
bool guest_wrmsr(struct guest *guest, uint32_t index, uint64_t value);
bool guest_read_msr(const struct vcpu *vcpu, uint32_t index, uint64_t *value);
/* Notes what a processor fresh from power-on has; then machine_reset can give it to the guest again. */
void guest_save_power_on_msrs(struct guest *guest);
void guest_reset_msrs(struct guest *guest);

/* ---- memory.c: guest-physical memory ---- */

struct layout layout_of(const struct machine_config *config, unsigned vcpu);
/* The EPT pointer to tables that lie at `hpa`. */
uint64_t ept_pointer_to(uint64_t hpa);
/* Builds both sets of EPT tables, for all vCPUs. */
void build_ept(struct guest *guest);
void guest_set_a20(struct vcpu *vcpu, bool open);
void guest_set_map(struct vcpu *vcpu);
/* Makes `ones` a page of ones again. */
void fill_ones(struct guest *guest);
/* The host address of [gpa, gpa + size), or NULL when any of it does not allow that. */
uint8_t *guest_memory(const struct guest *guest, uint64_t gpa, uint64_t size, enum memory_access access);

/* ---- emulation.c: instructions on devices, and others that the processor does not finish by itself ---- */

/* By the emulator, with RAM and the board behind it; a REP goes on until the run loop must look. */
void emulate_instruction_at_rip(struct guest *guest);
/* The same for REP INS from a port, which is faster where the board reads ahead. */
void emulate_input_at_rip(struct guest *guest, uint16_t port, unsigned size);
void emulate_task_exit(struct guest *guest, uint16_t selector, unsigned source, uint32_t vectoring);

#endif
