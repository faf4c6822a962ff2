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

void lend_rf(struct guest *guest)
{
    guest->rf_lent_at = guest->vcpu.count;
    vmcs_write(guest, GUEST_RFLAGS, vmcs_read(guest, GUEST_RFLAGS) | RFLAGS_RF);
}

/* A fault pushes RFLAGS with RF set, an injected one as it is (SDM vol. 3, 18.3.1.1 and 27.6.1.1). */
void inject_exception(struct guest *guest, unsigned vector, int64_t error)
{
    uint64_t flags = vmcs_read(guest, GUEST_RFLAGS);
    if (!(flags & RFLAGS_RF))
        lend_rf(guest);
    else if (guest->rf_lent_at != guest->vcpu.count)
        guest->rf_lent_at = MACHINE_NEVER;
    inject_hardware_exception(guest, vector, error);
}

void inject_debug_trap(struct guest *guest, uint64_t dr6)
{
    guest->registers->dr6 = (guest->registers->dr6 & ~0xfull) | dr6;
    vmcs_write(guest, GUEST_DR7, vmcs_read(guest, GUEST_DR7) & ~DR7_GD);
    inject_hardware_exception(guest, VECTOR_DB, NO_ERROR_CODE);
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

static bool is_contributory(unsigned vector)
{
    return (1u << VECTOR_DE | 1u << VECTOR_TS | 1u << VECTOR_NP | 1u << VECTOR_SS | 1u << VECTOR_GP) >> vector & 1;
}

/* SDM vol. 3, table 6-5 */
void inject_second_exception(struct guest *guest, uint32_t vectoring, unsigned vector, int64_t error)
{
    unsigned first = vectoring & EVENT_VECTOR;
    bool exception = (vectoring & EVENT_TYPE) == EVENT_HARDWARE_EXCEPTION;
    if (exception && first == VECTOR_DF && (is_contributory(vector) || vector == VECTOR_PF))
        vcpu_end(&guest->vcpu, MACHINE_TRIPLE_FAULT, "triple fault at RIP %#llx", (unsigned long long)guest->exit.rip);
    else if (exception && ((is_contributory(vector) && (is_contributory(first) || first == VECTOR_PF)) ||
                           (vector == VECTOR_PF && first == VECTOR_PF)))
        inject_double_fault(guest);
    else
        inject_exception(guest, vector, error);
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

bool guest_trap_pending(const struct vcpu *vcpu)
{
    return vmcs_read(guest_of_const(vcpu), GUEST_PENDING_DEBUG_EXCEPTIONS);
}

void complete_instruction(struct guest *guest)
{
    uint64_t rip = guest->exit.rip, next = rip + vmcs_read(guest, EXIT_INSTRUCTION_LENGTH);
    if ((rip ^ next) >> 32) { /* EIP wraps at its width; IP goes on to a #GP, or beyond in a larger segment */
        if (!(read_segment(guest, CS).access & AR_L && vmcs_read(guest, GUEST_EFER) & EFER_LMA))
            next = (uint32_t)next;
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
