/* Event injection: what the next VM entry delivers (SDM vol. 3, 25.8.3 and 27.6), and the end of an instruction that
 * the hypervisor completed. */
#include "guest.h"

static void inject(struct guest *guest, uint32_t information)
{
    vmcs_write(guest, ENTRY_INTERRUPTION_INFORMATION, information | EVENT_VALID);
    guest->vcpu.injecting = true;
}

static void inject_hardware_exception(struct guest *guest, unsigned vector, int64_t error)
{
    uint32_t information = EVENT_HARDWARE_EXCEPTION | vector;
    if (error != NO_ERROR_CODE && guest_cr0(guest) & CR0_PE) { /* real mode pushes none */
        information |= EVENT_ERROR_CODE;
        vmcs_write(guest, ENTRY_EXCEPTION_ERROR_CODE, error);
    }
    inject(guest, information);
}

/* A fault pushes RFLAGS with RF set, an injected one as it is (SDM vol. 3, 18.3.1.1 and 27.6.1.1). */
void inject_exception(struct guest *guest, unsigned vector, int64_t error)
{
    uint64_t flags = vmcs_read(guest, GUEST_RFLAGS);
    guest->rf_lent_at = flags & RFLAGS_RF ? MACHINE_NEVER : guest->vcpu.count;
    vmcs_write(guest, GUEST_RFLAGS, flags | RFLAGS_RF);
    inject_hardware_exception(guest, vector, error);
}

void take_back_rf(struct guest *guest)
{
    if (guest->rf_lent_at == guest->vcpu.count)
        vmcs_write(guest, GUEST_RFLAGS, vmcs_read(guest, GUEST_RFLAGS) & ~(uint64_t)RFLAGS_RF);
}

void inject_double_fault(struct guest *guest)
{
    take_back_rf(guest);
    inject_hardware_exception(guest, VECTOR_DF, 0);
}

void reinject(struct guest *guest)
{
    uint32_t information = vmcs_read(guest, IDT_VECTORING_INFORMATION), type = information & EVENT_TYPE;
    if (!(information & EVENT_VALID))
        return;
    if (information & EVENT_ERROR_CODE)
        vmcs_write(guest, ENTRY_EXCEPTION_ERROR_CODE, vmcs_read(guest, IDT_VECTORING_ERROR_CODE));
    if (type >= EVENT_SOFTWARE_INTERRUPT)
        vmcs_write(guest, ENTRY_INSTRUCTION_LENGTH, vmcs_read(guest, EXIT_INSTRUCTION_LENGTH));
    if (type == EVENT_NMI) /* its delivery is to block NMIs, not what was before */
        vmcs_write(guest, GUEST_INTERRUPTIBILITY_STATE,
                   vmcs_read(guest, GUEST_INTERRUPTIBILITY_STATE) & ~(uint64_t)BLOCKED_BY_NMI);
    inject(guest, information & (EVENT_ERROR_CODE | EVENT_TYPE | EVENT_VECTOR));
}

void guest_inject_nmi(struct vcpu *vcpu)
{
    inject(guest_of(vcpu), EVENT_NMI | VECTOR_NMI);
}

void guest_inject_interrupt(struct vcpu *vcpu, uint8_t vector)
{
    inject(guest_of(vcpu), EVENT_EXTERNAL_INTERRUPT | vector);
}

bool guest_interrupts_enabled(const struct vcpu *vcpu)
{
    return vmcs_read(guest_of_const(vcpu), GUEST_RFLAGS) & RFLAGS_IF;
}

uint32_t guest_interruptibility(const struct vcpu *vcpu)
{
    return vmcs_read(guest_of_const(vcpu), GUEST_INTERRUPTIBILITY_STATE);
}

void complete_instruction(struct guest *guest)
{
    uint64_t rip = guest->exit.rip, next = rip + vmcs_read(guest, EXIT_INSTRUCTION_LENGTH);
    if ((rip ^ next) >> 16) { /* IP and EIP wrap at their width */
        uint32_t cs = read_segment(guest, CS).access;
        if (!(cs & AR_L && vmcs_read(guest, GUEST_EFER) & EFER_LMA))
            next = cs & AR_DB ? (uint32_t)next : (uint16_t)next;
    }
    vmcs_write(guest, GUEST_RIP, next);
    uint64_t blocked = vmcs_read(guest, GUEST_INTERRUPTIBILITY_STATE);
    if (blocked & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS))
        vmcs_write(guest, GUEST_INTERRUPTIBILITY_STATE, blocked & ~(uint64_t)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
    uint64_t flags = vmcs_read(guest, GUEST_RFLAGS);
    if (flags & RFLAGS_RF)
        vmcs_write(guest, GUEST_RFLAGS, flags & ~(uint64_t)RFLAGS_RF);
    if (flags & RFLAGS_TF)
        vmcs_write(guest, GUEST_PENDING_DEBUG_EXCEPTIONS,
                   vmcs_read(guest, GUEST_PENDING_DEBUG_EXCEPTIONS) | PENDING_DEBUG_BS);
    guest_retire(guest, 1);
}
