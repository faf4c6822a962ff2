/* The VMX instructions (SDM vol. 3, chapter 31).
 *
 * Their checks of CPL, mode, CR4.VMXE and IA32_FEATURE_CONTROL belong to the instructions as a guest executes them;
 * here the caller is root-mode code. #UD outside VMX operation is VMX_FAIL_INVALID here. */
#include "vmx_private.h"

#include <stdlib.h>


/* VM-instruction error numbers (31.4). */
enum vmx_error {
    ERROR_VMCLEAR_ADDRESS = 2,
    ERROR_VMCLEAR_VMXON_POINTER = 3,
    ERROR_VMLAUNCH_NOT_CLEAR = 4,
    ERROR_VMRESUME_NOT_LAUNCHED = 5,
    ERROR_ENTRY_CONTROLS = 7,
    ERROR_ENTRY_HOST_STATE = 8,
    ERROR_VMPTRLD_ADDRESS = 9,
    ERROR_VMPTRLD_VMXON_POINTER = 10,
    ERROR_VMPTRLD_REVISION = 11,
    ERROR_UNSUPPORTED_COMPONENT = 12,
    ERROR_READ_ONLY_COMPONENT = 13,
    ERROR_VMXON_IN_ROOT = 15,
    ERROR_INVEPT_INVVPID_OPERAND = 28
};

struct vmx *vmx_create(void)
{
    struct vmx *vmx = calloc(1, sizeof *vmx);
    if (vmx) {
        vmx->current = NO_VMCS;
        vmx->unblocked_at = MACHINE_NEVER;
    }
    return vmx;
}

void vmx_destroy(struct vmx *vmx)
{
    free(vmx);
}

static enum vmx_result fail(struct processor *cpu, enum vmx_error error)
{
    if (cpu->vmx->current == NO_VMCS)
        return VMX_FAIL_INVALID;
    cpu->vmx->vmcs.vm_instruction_error = error;
    return VMX_FAIL_VALID;
}

/* The region's bytes, or NULL when there is no RAM there. */
static struct vmcs *region_at(struct processor *cpu, uint64_t address)
{
    return (struct vmcs *)arena_at(cpu->arena, address, VMCS_REGION_SIZE);
}

/* The current VMCS goes back to its region. */
static void put_away(struct processor *cpu)
{
    struct vmx *vmx = cpu->vmx;
    if (vmx->current == NO_VMCS)
        return;
    struct vmcs *region = region_at(cpu, vmx->current);
    if (region)
        *region = vmx->vmcs;
    vmx->current = NO_VMCS;
    vmx->resident = false;
}

enum vmx_result vmx_on(struct processor *cpu, uint64_t address)
{
    struct vmx *vmx = cpu->vmx;
    if (vmx->operation)
        return fail(cpu, ERROR_VMXON_IN_ROOT);
    const struct vmcs *region = region_at(cpu, address);
    if (!physical_address(cpu, address, VMCS_REGION_SIZE) || !region || region->revision != VMCS_REVISION)
        return VMX_FAIL_INVALID;
    vmx->operation = true;
    vmx->region = address;
    vmx->root = (struct vmx_root){
        .fs_base = cpu->s.seg[FS].base,
        .gs_base = cpu->s.seg[GS].base,
        .sysenter_cs = cpu->s.sysenter_cs,
        .sysenter_esp = cpu->s.sysenter_esp,
        .sysenter_eip = cpu->s.sysenter_eip,
        .efer = cpu->s.efer | EFER_LME | EFER_LMA, /* the code in root operation runs in 64-bit mode */
        .pat = cpu->s.pat,
        .debugctl = cpu->s.debugctl,
        .dr7 = DR7_INITIAL,
    };
    cpu->s.cr0 &= ~(CR0_CD | CR0_NW); /* root runs cached; VM entry and exit leave these two bits alone */
    return VMX_SUCCEED;
}

enum vmx_result vmx_off(struct processor *cpu)
{
    struct vmx *vmx = cpu->vmx;
    if (!vmx->operation)
        return VMX_FAIL_INVALID;
    put_away(cpu);
    vmx->operation = false;
    return VMX_SUCCEED;
}

enum vmx_result vmx_clear(struct processor *cpu, uint64_t address)
{
    struct vmx *vmx = cpu->vmx;
    if (!vmx->operation)
        return VMX_FAIL_INVALID;
    if (!physical_address(cpu, address, VMCS_REGION_SIZE))
        return fail(cpu, ERROR_VMCLEAR_ADDRESS);
    if (address == vmx->region)
        return fail(cpu, ERROR_VMCLEAR_VMXON_POINTER);
    if (address == vmx->current)
        put_away(cpu);
    struct vmcs *region = region_at(cpu, address);
    if (region)
        region->launch_state = VMCS_CLEAR;
    return VMX_SUCCEED;
}

enum vmx_result vmx_ptrld(struct processor *cpu, uint64_t address)
{
    struct vmx *vmx = cpu->vmx;
    if (!vmx->operation)
        return VMX_FAIL_INVALID;
    if (!physical_address(cpu, address, VMCS_REGION_SIZE))
        return fail(cpu, ERROR_VMPTRLD_ADDRESS);
    if (address == vmx->region)
        return fail(cpu, ERROR_VMPTRLD_VMXON_POINTER);
    const struct vmcs *region = region_at(cpu, address);
    if (!region || region->revision != VMCS_REVISION) /* absent memory reads as ones */
        return fail(cpu, ERROR_VMPTRLD_REVISION);
    if (address == vmx->current)
        return VMX_SUCCEED;
    put_away(cpu);
    vmx->vmcs = *region;
    vmx->current = address;
    vmx->dirty = VMCS_ALL;
    return VMX_SUCCEED;
}

uint64_t vmx_ptrst(struct processor *cpu)
{
    return cpu->vmx->current;
}

/* The component that `encoding` names, its upper half when `*high`. */
static inline __attribute__((always_inline)) const struct vmcs_field *component(uint32_t encoding, bool *high)
{
    const struct vmcs_field *field = vmcs_field(encoding & ~1u);
    *high = encoding & 1;
    return field && *high && (encoding >> 13 & 3) != 1 ? NULL : field; /* only 64-bit fields have a high access */
}

enum vmx_result vmx_read(struct processor *cpu, uint32_t encoding, uint64_t *value)
{
    struct vmx *vmx = cpu->vmx;
    if (unlikely(vmx->current == NO_VMCS))
        return VMX_FAIL_INVALID;
    bool high;
    const struct vmcs_field *field = component(encoding, &high);
    if (unlikely(!field))
        return fail(cpu, ERROR_UNSUPPORTED_COMPONENT);
    *value = vmcs_get(&vmx->vmcs, field) >> (high ? 32 : 0);
    return VMX_SUCCEED;
}

enum vmx_result vmx_write(struct processor *cpu, uint32_t encoding, uint64_t value)
{
    struct vmx *vmx = cpu->vmx;
    if (unlikely(vmx->current == NO_VMCS))
        return VMX_FAIL_INVALID;
    bool high;
    const struct vmcs_field *field = component(encoding, &high);
    if (unlikely(!field))
        return fail(cpu, ERROR_UNSUPPORTED_COMPONENT);
    if (unlikely(field->group == VMCS_READ_ONLY))
        return fail(cpu, ERROR_READ_ONLY_COMPONENT);
    if (high)
        value = (uint32_t)vmcs_get(&vmx->vmcs, field) | value << 32;
    vmcs_set(&vmx->vmcs, field, value);
    vmx->dirty |= field->group;
    return VMX_SUCCEED;
}

static enum vmx_result enter(struct processor *cpu, bool launch)
{
    struct vmx *vmx = cpu->vmx;
    struct vmcs *vmcs = &vmx->vmcs;
    if (vmx->current == NO_VMCS)
        return VMX_FAIL_INVALID;
    if (launch != (vmcs->launch_state != VMCS_LAUNCHED))
        return fail(cpu, launch ? ERROR_VMLAUNCH_NOT_CLEAR : ERROR_VMRESUME_NOT_LAUNCHED);
    if (vmx->dirty & VMCS_CONTROLS && !vmx_check_controls(cpu))
        return fail(cpu, ERROR_ENTRY_CONTROLS);
    if (vmcs->entry_interruption_information & INTERRUPTION_VALID && !vmx_check_event(cpu))
        return fail(cpu, ERROR_ENTRY_CONTROLS);
    if (vmx->dirty & (VMCS_HOST | VMCS_CONTROLS) && !vmx_check_host(cpu))
        return fail(cpu, ERROR_ENTRY_HOST_STATE);
    if (likely(vmx_enter(cpu)))
        return VMX_SUCCEED;
    vmx_off(cpu); /* VMX abort (28.7): the region holds the indicator, and this processor takes no part any more */
    return VMX_FAIL_INVALID;
}

enum vmx_result vmx_launch(struct processor *cpu)
{
    return enter(cpu, true);
}

enum vmx_result vmx_resume(struct processor *cpu)
{
    return enter(cpu, false);
}

enum vmx_result vmx_invept(struct processor *cpu, uint32_t type, uint64_t eptp)
{
    if (!cpu->vmx->operation)
        return VMX_FAIL_INVALID;
    if (type != 1 && type != 2)
        return fail(cpu, ERROR_INVEPT_INVVPID_OPERAND);
    if (type == 1 && !vmx_eptp_valid(cpu, eptp))
        return fail(cpu, ERROR_INVEPT_INVVPID_OPERAND);
    mmu_flush_all(cpu); /* more than the single context of type 1: allowed */
    return VMX_SUCCEED;
}

enum vmx_result vmx_invvpid(struct processor *cpu, uint32_t type, uint16_t vpid, uint64_t linear)
{
    if (!cpu->vmx->operation)
        return VMX_FAIL_INVALID;
    enum { INDIVIDUAL_ADDRESS, SINGLE_CONTEXT, ALL_CONTEXTS, SINGLE_CONTEXT_RETAINING_GLOBALS };
    if (type > SINGLE_CONTEXT_RETAINING_GLOBALS || (type != ALL_CONTEXTS && !vpid) ||
        (type == INDIVIDUAL_ADDRESS && !canonical_in_model(cpu, linear)))
        return fail(cpu, ERROR_INVEPT_INVVPID_OPERAND);
    /* Other VPIDs' translations may go too. */
    if (type == INDIVIDUAL_ADDRESS) {
        mmu_invalidate_page(cpu, linear);
    } else if (type == ALL_CONTEXTS) {
        mmu_flush_all(cpu);
    } else {
        cpu->vmx->active.vpid = vpid; /* mmu_flush_bank is for the current one */
        mmu_flush_bank(cpu, ~0ull, type == SINGLE_CONTEXT);
        cpu->vmx->active.vpid = 0;
    }
    return VMX_SUCCEED;
}
