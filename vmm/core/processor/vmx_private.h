/* What the VMX files share among themselves. */
#ifndef BRINGUP_VMX_PRIVATE_H
#define BRINGUP_VMX_PRIVATE_H

#include "arena.h"
#include "mmu.h"
#include "run.h"
#include "vmx_state.h"

#define DR7_INITIAL 0x400ull

/* A physical address that does not exceed the processor's width, with `align` - 1 clear. */
static inline bool physical_address(const struct processor *cpu, uint64_t pa, uint64_t align)
{
    return !(pa >> cpu->physical_bits) && !(pa & (align - 1));
}

/* ---- vmx_capability.c ---- */

/* The allowed settings of a control word by its "true" capability MSR: bits 31:0 must be 1, bits 63:32 may be 1. */
#define MSR_VMX_BASIC 0x480u
#define MSR_VMX_MISC 0x485u
#define MSR_VMX_EPT_VPID_CAP 0x48cu
#define MSR_VMX_PROCBASED_CTLS2 0x48bu
#define MSR_VMX_TRUE_PINBASED_CTLS 0x48du
#define MSR_VMX_TRUE_PROCBASED_CTLS 0x48eu
#define MSR_VMX_TRUE_EXIT_CTLS 0x48fu
#define MSR_VMX_TRUE_ENTRY_CTLS 0x490u
bool vmx_controls_allowed(struct processor *cpu, uint32_t msr, uint32_t controls);

#define VMX_CR3_TARGETS 4
#define VMX_MSR_LIST_MAXIMUM 512
bool vmx_pat_valid(uint64_t pat);
bool vmx_efer_valid(const struct processor *cpu, uint64_t efer);
/* CR0 and CR4 against the FIXED0 and FIXED1 MSRs; `unrestricted`: CR0.PE and CR0.PG are free. */
bool vmx_cr0_fixed(uint64_t cr0, bool unrestricted);
bool vmx_cr4_fixed(const struct processor *cpu, uint64_t cr4);

/* ---- vmx_check.c: VM-entry checks (SDM vol. 3, 27.2 and 27.3.1) ---- */

bool vmx_check_controls(struct processor *cpu);
bool vmx_eptp_valid(const struct processor *cpu, uint64_t eptp);
bool vmx_check_event(const struct processor *cpu);
bool vmx_check_host(const struct processor *cpu);
/* On failure `*qualification` is that of the VM-entry failure (27.8). */
bool vmx_check_guest(const struct processor *cpu, uint64_t *qualification);
/* The part of it that every entry looks at. */
bool vmx_check_guest_always(const struct processor *cpu, uint64_t *qualification);

bool vmx_pdptes_valid(const struct processor *cpu, const uint64_t pdpte[4]);
/* From a CR3 that is host-physical (no EPT). */
void vmx_read_pdptes(const struct processor *cpu, uint64_t cr3, uint64_t pdpte[4]);

#define EVENT_OTHER 7 /* interruption type of VM entry: a monitor trap flag exit */

/* ---- vmx_entry.c ---- */

/* VM entry, the guest's run and the VM exit, once VMLAUNCH and VMRESUME themselves have succeeded. False: VMX abort. */
bool vmx_enter(struct processor *cpu);

/* ---- vmx_exit.c ---- */

/* The exit information of `reason`, all of it defined (zero where there is none). */
void vmx_record(struct processor *cpu, const struct op *op, uint32_t reason, uint64_t qualification);
/* What is due at this boundary: the exit reason of the timer, a window or a kick; NOTHING_DUE. */
#define NOTHING_DUE (~0u)
uint32_t vmx_due(struct processor *cpu);
/* After the run has been left by a VM exit: the guest's state saved, root's loaded. False: VMX abort. */
bool vmx_leave_guest(struct processor *cpu);
/* The same for an entry that failed (27.8): no guest state is saved. */
bool vmx_fail_entry(struct processor *cpu, uint32_t reason, uint64_t qualification);
/* Loads an area of `count` MSR entries as WRMSR would: 0, or the number (from 1) of the entry that failed. */
uint32_t vmx_load_msrs(struct processor *cpu, uint64_t address, uint32_t count);

static inline bool vmx_unrestricted(const struct vmcs *vmcs)
{
    return vmcs->primary_controls & PRIMARY_SECONDARY_CONTROLS &&
           vmcs->secondary_controls & SECONDARY_UNRESTRICTED_GUEST;
}
/* The secondary controls as they act: all 0 when the primary ones do not activate them. */
static inline uint32_t vmx_secondary(const struct vmcs *vmcs)
{
    return vmcs->primary_controls & PRIMARY_SECONDARY_CONTROLS ? vmcs->secondary_controls : 0;
}

/* PAE paging, whose PDPTEs are part of the guest's state. */
static inline bool vmx_pae_guest(const struct vmcs *vmcs)
{
    return vmcs->guest_cr0 & CR0_PG && vmcs->guest_cr4 & CR4_PAE && !(vmcs->entry_controls & ENTRY_IA32E_MODE_GUEST);
}

#endif
