/* The checks of VM entry, in the order of the SDM (vol. 3, 27.2 and 27.3.1). */
#include "vmx_private.h"

/* ---- 27.2.1: controls ---- */

bool vmx_eptp_valid(const struct processor *cpu, uint64_t eptp)
{
    unsigned type = eptp & 7, levels = (eptp >> 3 & 7) + 1;
    return (type == 0 || type == 6) && levels == 4 && !(eptp & 0xfc0) && physical_address(cpu, eptp & ~0xfffull, 1);
}

static bool execution_controls_valid(struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    uint32_t pin = vmcs->pin_based_controls, primary = vmcs->primary_controls, secondary = vmx_secondary(vmcs);
    if (!vmx_controls_allowed(cpu, MSR_VMX_TRUE_PINBASED_CTLS, pin) ||
        !vmx_controls_allowed(cpu, MSR_VMX_TRUE_PROCBASED_CTLS, primary) ||
        !vmx_controls_allowed(cpu, MSR_VMX_PROCBASED_CTLS2, secondary))
        return false;
    if (vmcs->cr3_target_count > VMX_CR3_TARGETS)
        return false;
    if (primary & PRIMARY_USE_IO_BITMAPS && (!physical_address(cpu, vmcs->io_bitmap_a_address, 4096) ||
                                             !physical_address(cpu, vmcs->io_bitmap_b_address, 4096)))
        return false;
    if (primary & PRIMARY_USE_MSR_BITMAPS && !physical_address(cpu, vmcs->msr_bitmap_address, 4096))
        return false;
    if (pin & PIN_VIRTUAL_NMIS ? !(pin & PIN_NMI_EXITING) : primary & PRIMARY_NMI_WINDOW_EXITING)
        return false;
    if (secondary & SECONDARY_ENABLE_VPID && !vmcs->virtual_processor_id)
        return false;
    if (secondary & SECONDARY_ENABLE_EPT)
        return vmx_eptp_valid(cpu, vmcs->ept_pointer);
    return !(secondary & SECONDARY_UNRESTRICTED_GUEST);
}

static bool msr_area_valid(const struct processor *cpu, uint64_t address, uint32_t count)
{
    return !count ||
           (physical_address(cpu, address, 16) && physical_address(cpu, address + (uint64_t)count * 16 - 1, 1));
}

static bool exit_controls_valid(struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    if (!vmx_controls_allowed(cpu, MSR_VMX_TRUE_EXIT_CTLS, vmcs->exit_controls))
        return false;
    if (vmcs->exit_controls & EXIT_SAVE_PREEMPTION_TIMER && !(vmcs->pin_based_controls & PIN_PREEMPTION_TIMER))
        return false;
    return msr_area_valid(cpu, vmcs->exit_msr_store_address, vmcs->exit_msr_store_count) &&
           msr_area_valid(cpu, vmcs->exit_msr_load_address, vmcs->exit_msr_load_count);
}

bool vmx_check_controls(struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    return execution_controls_valid(cpu) && exit_controls_valid(cpu) &&
           vmx_controls_allowed(cpu, MSR_VMX_TRUE_ENTRY_CTLS, vmcs->entry_controls) &&
           msr_area_valid(cpu, vmcs->entry_msr_load_address, vmcs->entry_msr_load_count);
}

/* Exceptions that have an error code. */
static bool has_error_code(unsigned vector)
{
    return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) || vector == VECTOR_AC;
}

/* 27.2.1.3, of a field with its valid bit set. */
bool vmx_check_event(const struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    uint32_t information = vmcs->entry_interruption_information;
    unsigned vector = information & INTERRUPTION_VECTOR;
    unsigned type = (information & INTERRUPTION_TYPE) >> INTERRUPTION_TYPE_SHIFT;
    bool protected = !vmx_unrestricted(vmcs) || vmcs->guest_cr0 & CR0_PE;
    bool has_error = protected && type == EVENT_EXCEPTION && has_error_code(vector);
    if (information & INTERRUPTION_RESERVED || !!(information & INTERRUPTION_ERROR_CODE) != has_error ||
        (has_error && vmcs->entry_exception_error_code >> 16))
        return false;
    switch (type) {
    case EVENT_EXTERNAL:
        return true;
    case EVENT_NMI:
        return vector == VECTOR_NMI;
    case EVENT_EXCEPTION:
        return vector < 32;
    case EVENT_SOFTWARE_INTERRUPT:
    case EVENT_PRIVILEGED_SOFTWARE:
    case EVENT_SOFTWARE_EXCEPTION:
        return vmcs->entry_instruction_length <= 15;
    case EVENT_OTHER:
        return vector == 0; /* pending monitor trap flag exit */
    default:
        return false;
    }
}

/* ---- 27.2.2 to 27.2.4: host state ---- */

static bool host_selector_valid(uint16_t selector)
{
    return !(selector & 7);
}

bool vmx_check_host(const struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    if (!vmx_cr0_fixed(vmcs->host_cr0, false) || !vmx_cr4_fixed(cpu, vmcs->host_cr4) ||
        !physical_address(cpu, vmcs->host_cr3, 1))
        return false;
    if (!canonical_in_model(cpu, vmcs->host_sysenter_esp) || !canonical_in_model(cpu, vmcs->host_sysenter_eip))
        return false;
    if (vmcs->exit_controls & EXIT_LOAD_PAT && !vmx_pat_valid(vmcs->host_pat))
        return false;
    const uint64_t long_bits = EFER_LMA | EFER_LME;
    if (vmcs->exit_controls & EXIT_LOAD_EFER &&
        (!vmx_efer_valid(cpu, vmcs->host_efer) || (vmcs->host_efer & long_bits) != long_bits))
        return false;
    if (!host_selector_valid(vmcs->host_es_selector) || !host_selector_valid(vmcs->host_cs_selector) ||
        !host_selector_valid(vmcs->host_ss_selector) || !host_selector_valid(vmcs->host_ds_selector) ||
        !host_selector_valid(vmcs->host_fs_selector) || !host_selector_valid(vmcs->host_gs_selector) ||
        !host_selector_valid(vmcs->host_tr_selector) || !vmcs->host_cs_selector || !vmcs->host_tr_selector)
        return false;
    if (!canonical_in_model(cpu, vmcs->host_fs_base) || !canonical_in_model(cpu, vmcs->host_gs_base) ||
        !canonical_in_model(cpu, vmcs->host_gdtr_base) || !canonical_in_model(cpu, vmcs->host_idtr_base) ||
        !canonical_in_model(cpu, vmcs->host_tr_base))
        return false;
    /* Root operation is in IA-32e mode, and stays there. */
    return vmcs->exit_controls & EXIT_HOST_ADDRESS_SPACE_SIZE && vmcs->host_cr4 & CR4_PAE &&
           canonical_in_model(cpu, vmcs->host_rip);
}

/* ---- 27.3.1: guest state ---- */

static bool ia32e_guest(const struct vmcs *vmcs)
{
    return vmcs->entry_controls & ENTRY_IA32E_MODE_GUEST;
}

/* 27.3.1.1 */
static bool control_registers_valid(const struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    bool ia32e = ia32e_guest(vmcs), paging = vmcs->guest_cr0 & CR0_PG;
    if (!vmx_cr0_fixed(vmcs->guest_cr0, vmx_unrestricted(vmcs)) || (paging && !(vmcs->guest_cr0 & CR0_PE)) ||
        !vmx_cr4_fixed(cpu, vmcs->guest_cr4) || !physical_address(cpu, vmcs->guest_cr3, 1))
        return false;
    if (ia32e ? !paging || !(vmcs->guest_cr4 & CR4_PAE) : !!(vmcs->guest_cr4 & CR4_PCIDE))
        return false;
    if (vmcs->entry_controls & ENTRY_LOAD_DEBUG_CONTROLS &&
        (vmcs->guest_dr7 >> 32 || vmcs->guest_debugctl)) /* there is neither LBR nor BTF */
        return false;
    if (!canonical_in_model(cpu, vmcs->guest_sysenter_esp) || !canonical_in_model(cpu, vmcs->guest_sysenter_eip))
        return false;
    if (vmcs->entry_controls & ENTRY_LOAD_PAT && !vmx_pat_valid(vmcs->guest_pat))
        return false;
    if (vmcs->entry_controls & ENTRY_LOAD_EFER) {
        uint64_t efer = vmcs->guest_efer;
        if (!vmx_efer_valid(cpu, efer) || !!(efer & EFER_LMA) != ia32e || (paging && !!(efer & EFER_LME) != ia32e))
            return false;
    }
    return true;
}

static unsigned dpl(const struct vcpu_segment *segment)
{
    return (segment->access & AR_DPL) >> AR_DPL_SHIFT;
}

/* What all usable segments share. */
static bool usable_segment_valid(const struct vcpu_segment *segment, bool system)
{
    uint32_t access = segment->access;
    if (!!(access & AR_S) == system || !(access & AR_P) || access & 0xfffe0f00)
        return false;
    if ((segment->limit & 0xfff) != 0xfff && access & AR_G)
        return false;
    return !(segment->limit >> 20) || access & AR_G;
}

static bool code_segment_valid(const struct vmcs *vmcs)
{
    const struct vcpu_segment *cs = &vmcs->guest_segment[CS], *ss = &vmcs->guest_segment[SS];
    unsigned type = cs->access & AR_TYPE;
    if (cs->base >> 32 || !usable_segment_valid(cs, false))
        return false;
    if (ia32e_guest(vmcs) && cs->access & AR_L && cs->access & AR_DB)
        return false;
    if (type == 3)
        return vmx_unrestricted(vmcs) && dpl(cs) == 0;
    if ((type & (AR_CODE | AR_ACCESSED)) != (AR_CODE | AR_ACCESSED))
        return false;
    return type & AR_EXPAND_DOWN ? dpl(cs) <= dpl(ss) : dpl(cs) == dpl(ss); /* conforming or not */
}

static bool stack_segment_valid(const struct vmcs *vmcs)
{
    const struct vcpu_segment *cs = &vmcs->guest_segment[CS], *ss = &vmcs->guest_segment[SS];
    if (!vmx_unrestricted(vmcs) && ((ss->selector ^ cs->selector) & 3 || dpl(ss) != (ss->selector & 3u)))
        return false;
    if (((cs->access & AR_TYPE) == 3 || !(vmcs->guest_cr0 & CR0_PE)) && dpl(ss))
        return false;
    if (ss->access & AR_UNUSABLE)
        return true;
    return !(ss->base >> 32) && usable_segment_valid(ss, false) && (ss->access & (AR_TYPE & ~AR_EXPAND_DOWN)) == 3;
}

static bool data_segment_valid(const struct processor *cpu, unsigned n)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    const struct vcpu_segment *segment = &vmcs->guest_segment[n];
    unsigned type = segment->access & AR_TYPE;
    if (n >= FS && !canonical_in_model(cpu, segment->base))
        return false;
    if (segment->access & AR_UNUSABLE)
        return true;
    if ((n < FS && segment->base >> 32) || !usable_segment_valid(segment, false) || !(type & AR_ACCESSED) ||
        (type & AR_CODE && !(type & AR_WRITABLE)))
        return false;
    return vmx_unrestricted(vmcs) || type > 11 || dpl(segment) >= (segment->selector & 3u);
}

static bool v86_segment_valid(const struct vcpu_segment *segment)
{
    return segment->base == (uint64_t)segment->selector << 4 && segment->limit == 0xffff && segment->access == 0xf3;
}

/* 27.3.1.2 */
static bool segments_valid(const struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    const struct vcpu_segment *tr = &vmcs->guest_segment[TR], *ldtr = &vmcs->guest_segment[LDTR];
    if (vmcs->guest_rflags & RFLAGS_VM) {
        for (unsigned n = ES; n <= GS; n++)
            if (!v86_segment_valid(&vmcs->guest_segment[n]))
                return false;
    } else if (!code_segment_valid(vmcs) || !stack_segment_valid(vmcs) || !data_segment_valid(cpu, ES) ||
               !data_segment_valid(cpu, DS) || !data_segment_valid(cpu, FS) || !data_segment_valid(cpu, GS)) {
        return false;
    }
    unsigned type = tr->access & AR_TYPE;
    if (tr->selector & 4 || !canonical_in_model(cpu, tr->base) || tr->access & AR_UNUSABLE ||
        !usable_segment_valid(tr, true) || (type != 11 && (type != 3 || ia32e_guest(vmcs))))
        return false;
    return ldtr->access & AR_UNUSABLE || (!(ldtr->selector & 4) && canonical_in_model(cpu, ldtr->base) &&
                                          usable_segment_valid(ldtr, true) && (ldtr->access & AR_TYPE) == 2);
}

/* 27.3.1.3 */
static bool descriptor_tables_valid(const struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    return canonical_in_model(cpu, vmcs->guest_gdtr_base) && canonical_in_model(cpu, vmcs->guest_idtr_base) &&
           !(vmcs->guest_gdtr_limit >> 16) && !(vmcs->guest_idtr_limit >> 16);
}

/* 27.3.1.5: of the field that is not all ones. */
static bool link_pointer_valid(const struct processor *cpu)
{
    uint64_t pointer = cpu->vmx->vmcs.vmcs_link_pointer;
    const uint32_t *revision = (const uint32_t *)arena_at(cpu->arena, pointer, VMCS_REGION_SIZE);
    return physical_address(cpu, pointer, 4096) && revision && *revision == VMCS_REVISION;
}

bool vmx_pdptes_valid(const struct processor *cpu, const uint64_t pdpte[4])
{
    uint64_t reserved = reserved_address_bits(cpu) | 0xfffull << 52 | 0x1e6;
    for (unsigned i = 0; i < 4; i++)
        if (pdpte[i] & 1 && pdpte[i] & reserved)
            return false;
    return true;
}

/* Qualifications of a failed entry (27.8). */
#define QUALIFICATION_PDPTE 2
#define QUALIFICATION_LINK_POINTER 4

bool vmx_check_guest(const struct processor *cpu, uint64_t *qualification)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    *qualification = 0;
    if (!control_registers_valid(cpu) || !segments_valid(cpu) || !descriptor_tables_valid(cpu))
        return false;
    if (vmcs->vmcs_link_pointer != NO_VMCS && !link_pointer_valid(cpu)) {
        *qualification = QUALIFICATION_LINK_POINTER;
        return false;
    }
    if (!vmx_pae_guest(vmcs))
        return true;
    *qualification = QUALIFICATION_PDPTE;
    if (vmx_secondary(vmcs) & SECONDARY_ENABLE_EPT)
        return vmx_pdptes_valid(cpu, vmcs->guest_pdpte);
    uint64_t pdpte[4];
    vmx_read_pdptes(cpu, vmcs->guest_cr3, pdpte);
    return vmx_pdptes_valid(cpu, pdpte);
}

/* ---- 27.3.1.4 and 27.3.1.5: what every entry looks at ---- */

static bool rip_and_rflags_valid(const struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    uint64_t rflags = vmcs->guest_rflags;
    bool ia32e = ia32e_guest(vmcs);
    if (ia32e && vmcs->guest_segment[CS].access & AR_L) {
        unsigned width = has_feature(cpu, FEATURE_LA57) ? 57 : 48; /* its highest bit may be otherwise: not canonical */
        uint64_t high = vmcs->guest_rip >> width;
        if (high && high != ~0ull >> width)
            return false;
    } else if (vmcs->guest_rip >> 32) {
        return false;
    }
    const uint64_t reserved = ~0x3fffffull | 1u << 15 | 1u << 5 | 1u << 3;
    if (rflags & reserved || !(rflags & RFLAGS_FIXED))
        return false;
    return !(rflags & RFLAGS_VM) || (!ia32e && vmcs->guest_cr0 & CR0_PE);
}

/* May this event be injected in the guest's activity and interruptibility state? */
static bool injection_valid(const struct vmcs *vmcs)
{
    uint32_t information = vmcs->entry_interruption_information, blocking = vmcs->guest_interruptibility_state;
    unsigned vector = information & INTERRUPTION_VECTOR;
    unsigned type = (information & INTERRUPTION_TYPE) >> INTERRUPTION_TYPE_SHIFT;
    if (type == EVENT_EXTERNAL &&
        (!(vmcs->guest_rflags & RFLAGS_IF) || blocking & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS)))
        return false;
    if (type == EVENT_NMI && (blocking & BLOCKING_BY_MOV_SS ||
                              (vmcs->pin_based_controls & PIN_VIRTUAL_NMIS && blocking & BLOCKING_BY_NMI)))
        return false;
    return vmcs->guest_activity_state != HLT || type == EVENT_EXTERNAL || type == EVENT_NMI || type == EVENT_OTHER ||
           (type == EVENT_EXCEPTION && (vector == VECTOR_DB || vector == VECTOR_MC));
}

bool vmx_check_guest_always(const struct processor *cpu, uint64_t *qualification)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    uint32_t blocking = vmcs->guest_interruptibility_state, activity = vmcs->guest_activity_state;
    uint32_t shadow = blocking & (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    uint64_t rflags = vmcs->guest_rflags, pending = vmcs->guest_pending_debug_exceptions;
    *qualification = 0;
    if (!rip_and_rflags_valid(cpu))
        return false;
    if (unlikely(activity != ACTIVE) &&
        (activity != HLT || shadow || dpl(&vmcs->guest_segment[SS])))
        return false;
    if (blocking & ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS | BLOCKING_BY_NMI) ||
        shadow == (BLOCKING_BY_STI | BLOCKING_BY_MOV_SS) || (shadow & BLOCKING_BY_STI && !(rflags & RFLAGS_IF)))
        return false;
    if (unlikely(vmcs->entry_interruption_information & INTERRUPTION_VALID) && !injection_valid(vmcs))
        return false;
    if (pending & ~(0xfull | PENDING_DEBUG_ENABLED_BREAKPOINT | PENDING_DEBUG_BS))
        return false;
    return !(shadow || activity == HLT) || !(pending & PENDING_DEBUG_BS) == !(rflags & RFLAGS_TF);
}
