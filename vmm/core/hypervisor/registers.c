/* Control registers by guest/host masks (SDM vol. 3, 25.6.6), and the register file for boot protocols. */
#include <string.h>

#include "guest.h"

#define CR0_DEFINED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)
/* VMX operation fixes NE, and VM entry does not load CD and NW (27.3.2.1): the guest's own stand in the read shadow. */
#define CR0_MASK (CR0_NE | CR0_NW | CR0_CD)
#define CR4_MASK CR4_VMXE

#define INVVPID_SINGLE_CONTEXT 1

uint64_t guest_cr0(const struct guest *guest)
{
    return (vmcs_read(guest, GUEST_CR0) & ~CR0_MASK) | (vmcs_read(guest, CR0_READ_SHADOW) & CR0_MASK);
}

uint64_t guest_cr4(const struct guest *guest)
{
    return (vmcs_read(guest, GUEST_CR4) & ~CR4_MASK) | (vmcs_read(guest, CR4_READ_SHADOW) & CR4_MASK);
}

void set_guest_cr0(struct guest *guest, uint64_t value)
{
    vmcs_write(guest, GUEST_CR0, (value & ~(CR0_NW | CR0_CD)) | guest->cr0_fixed);
    vmcs_write(guest, CR0_READ_SHADOW, value);
    vmcs_write(guest, CR0_GUEST_HOST_MASK, CR0_MASK | guest->cr0_fixed);
    vmcs_write(guest, EXCEPTION_BITMAP, 1u << VECTOR_DF | (value & CR0_NE ? 0 : 1u << VECTOR_MF));
}

void set_guest_cr4(struct guest *guest, uint64_t value)
{
    vmcs_write(guest, GUEST_CR4, value | CR4_VMXE);
    vmcs_write(guest, CR4_READ_SHADOW, value);
    vmcs_write(guest, CR4_GUEST_HOST_MASK, CR4_MASK);
}

/* EFER, and the VM-entry control that must agree with its LMA. */
void set_guest_efer(struct guest *guest, uint64_t value)
{
    uint32_t controls = vmcs_read(guest, ENTRY_CONTROLS);
    vmcs_write(guest, GUEST_EFER, value);
    vmcs_write(guest, ENTRY_CONTROLS,
               value & EFER_LMA ? controls | ENTRY_IA32E_MODE_GUEST : controls & ~ENTRY_IA32E_MODE_GUEST);
}

void flush_translations(struct guest *guest)
{
    if (vmx_invvpid(guest->vcpu.processor, INVVPID_SINGLE_CONTEXT, guest->vpid, 0) != VMX_SUCCEED)
        vcpu_end(&guest->vcpu, MACHINE_INTERNAL, "INVVPID: VM-instruction error %u",
                 (unsigned)vmcs_read(guest, VM_INSTRUCTION_ERROR));
}

/* SDM vol. 3, 4.4.1 */
bool load_pdptes(struct guest *guest, uint64_t cr3)
{
    struct cpuid_leaf sizes;
    uint64_t pdpte[4];
    const uint8_t *at = guest_memory(guest, (uint32_t)cr3 & ~31u, sizeof pdpte, MEMORY_ROM);
    if (!at)
        return false; /* ones: reserved bits */
    memcpy(pdpte, at, sizeof pdpte);
    processor_cpuid(guest->vcpu.processor, 0x80000008, 0, &sizes);
    uint64_t reserved = ~0ull << (sizes.eax & 0xff) | 0x1e6;
    for (unsigned i = 0; i < 4; i++)
        if (pdpte[i] & 1 && pdpte[i] & reserved)
            return false;
    for (unsigned i = 0; i < 4; i++)
        vmcs_write(guest, GUEST_PDPTE + 2 * i, pdpte[i]);
    return true;
}

/* SDM vol. 2, MOV to control registers */
bool mov_to_cr0(struct guest *guest, uint64_t value)
{
    uint64_t old = guest_cr0(guest), cr4 = guest_cr4(guest), efer = vmcs_read(guest, GUEST_EFER);
    if (value >> 32 || (value & CR0_PG && !(value & CR0_PE)) || (value & CR0_NW && !(value & CR0_CD)))
        return false;
    if (!(value & CR0_PG) && cr4 & CR4_PCIDE)
        return false;
    value = (value & CR0_DEFINED) | CR0_ET;
    uint64_t changed = old ^ value;
    if (changed & CR0_PG && efer & EFER_LME) {
        if (read_segment(guest, CS).access & AR_L)
            return false;
        if (value & CR0_PG) {
            if (!(cr4 & CR4_PAE) || !(read_segment(guest, TR).access & 8)) /* a 16-bit TSS */
                return false;
        }
        efer ^= EFER_LMA;
    }
    if (value & CR0_PG && cr4 & CR4_PAE && !(efer & EFER_LME) && changed & (CR0_PG | CR0_CD | CR0_NW) &&
        !load_pdptes(guest, vmcs_read(guest, GUEST_CR3)))
        return false;
    set_guest_cr0(guest, value);
    set_guest_efer(guest, efer);
    if (changed & (CR0_PE | CR0_PG | CR0_WP))
        flush_translations(guest);
    return true;
}

struct vcpu_segment read_segment(const struct guest *guest, enum segment_register segment)
{
    return (struct vcpu_segment){.base = vmcs_read(guest, GUEST_BASE + 2 * segment),
                                 .limit = vmcs_read(guest, GUEST_LIMIT + 2 * segment),
                                 .access = vmcs_read(guest, GUEST_ACCESS_RIGHTS + 2 * segment),
                                 .selector = vmcs_read(guest, GUEST_SELECTOR + 2 * segment)};
}

void write_segment(struct guest *guest, enum segment_register segment, const struct vcpu_segment *value)
{
    vmcs_write(guest, GUEST_BASE + 2 * segment, value->base);
    vmcs_write(guest, GUEST_LIMIT + 2 * segment, value->limit);
    vmcs_write(guest, GUEST_ACCESS_RIGHTS + 2 * segment, value->access);
    vmcs_write(guest, GUEST_SELECTOR + 2 * segment, value->selector);
}

void guest_get_registers(const struct vcpu *vcpu, struct vcpu_registers *registers)
{
    const struct guest *guest = guest_of_const(vcpu);
    const struct registers *own = guest->registers;
    *registers = (struct vcpu_registers){
        .rip = vmcs_read(guest, GUEST_RIP),
        .rflags = vmcs_read(guest, GUEST_RFLAGS),
        .cr0 = guest_cr0(guest),
        .cr2 = own->cr2,
        .cr3 = vmcs_read(guest, GUEST_CR3),
        .cr4 = guest_cr4(guest),
        .cr8 = board_cr8(vcpu->board, vcpu->index),
        .efer = vmcs_read(guest, GUEST_EFER),
        .dr = {own->dr[0], own->dr[1], own->dr[2], own->dr[3], 0, 0, own->dr6, vmcs_read(guest, GUEST_DR7)},
        .gdt_base = vmcs_read(guest, GUEST_GDTR_BASE),
        .idt_base = vmcs_read(guest, GUEST_IDTR_BASE),
        .gdt_limit = vmcs_read(guest, GUEST_GDTR_LIMIT),
        .idt_limit = vmcs_read(guest, GUEST_IDTR_LIMIT),
    };
    memcpy(registers->gpr, own->gpr, sizeof own->gpr);
    registers->gpr[RSP] = vmcs_read(guest, GUEST_RSP);
    for (unsigned i = 0; i < SEGMENTS; i++)
        registers->segment[i] = read_segment(guest, i);
}

void guest_set_registers(struct vcpu *vcpu, const struct vcpu_registers *registers)
{
    struct guest *guest = guest_of(vcpu);
    struct registers *own = guest->registers;
    memcpy(own->gpr, registers->gpr, sizeof own->gpr);
    own->cr2 = registers->cr2;
    memcpy(own->dr, registers->dr, sizeof own->dr);
    own->dr6 = registers->dr[6];
    vmcs_write(guest, GUEST_RSP, registers->gpr[RSP]);
    vmcs_write(guest, GUEST_RIP, registers->rip);
    vmcs_write(guest, GUEST_RFLAGS, registers->rflags | RFLAGS_FIXED);
    set_guest_cr0(guest, registers->cr0 | CR0_ET);
    vmcs_write(guest, GUEST_CR3, registers->cr3);
    set_guest_cr4(guest, registers->cr4);
    board_set_cr8(vcpu->board, vcpu->index, registers->cr8);
    set_guest_efer(guest, registers->efer);
    vmcs_write(guest, GUEST_DR7, registers->dr[7]);
    vmcs_write(guest, GUEST_GDTR_BASE, registers->gdt_base);
    vmcs_write(guest, GUEST_IDTR_BASE, registers->idt_base);
    vmcs_write(guest, GUEST_GDTR_LIMIT, registers->gdt_limit);
    vmcs_write(guest, GUEST_IDTR_LIMIT, registers->idt_limit);
    for (unsigned i = 0; i < SEGMENTS; i++)
        write_segment(guest, i, &registers->segment[i]);
    if (registers->cr0 & CR0_PG && registers->cr4 & CR4_PAE && !(registers->efer & EFER_LME) &&
        !load_pdptes(guest, registers->cr3))
        vcpu_end(vcpu, MACHINE_INTERNAL, "registers: PAE paging, and CR3 %#llx does not hold valid PDPTEs",
                 (unsigned long long)registers->cr3);
    vmcs_write(guest, GUEST_INTERRUPTIBILITY_STATE, 0);
    vmcs_write(guest, GUEST_PENDING_DEBUG_EXCEPTIONS, 0);
    vmcs_write(guest, ENTRY_INTERRUPTION_INFORMATION, 0);
    vcpu->injecting = false;
    guest->delivering_over_bus = false;
    flush_translations(guest);
}

/* SDM vol. 3, table 10-1 */
void guest_reset_registers(struct guest *guest)
{
    struct vcpu_registers registers = initial_registers(&guest->vcpu, CR0_CD | CR0_NW);
    guest_set_registers(&guest->vcpu, &registers);

    struct fxsave *fpu = &guest->registers->fpu;
    uint32_t mxcsr_mask = fpu->mxcsr_mask;
    *fpu = (struct fxsave){.fcw = 0x40, .ftw = 0xff, .mxcsr = 0x1f80, .mxcsr_mask = mxcsr_mask};
    guest->registers->xcr0 = 1;
    guest->registers->pkru = 0;
    memset(guest->registers->ymm_high, 0, sizeof guest->registers->ymm_high);
}
