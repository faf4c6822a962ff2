/* VMX operation as the rest of the processor sees it: what exits, and how.
 *
 * The control words in `active` are zero outside VMX non-root operation, so each predicate is one test there. What an
 * exit needs is written to the current VMCS by the vmx_exit_* functions, which unwind with LEAVE_VM_EXIT; nothing of
 * the instruction may have happened before. Exits come after #UD and privilege checks (CPL, IOPL, TSS bitmap) and
 * before all other faults of the instruction (SDM vol. 3, 26.1.1), unless a comment says otherwise. */
#ifndef BRINGUP_VMX_STATE_H
#define BRINGUP_VMX_STATE_H

#include "op.h"
#include "vmcs.h"

#define NO_VMCS (~0ull)

/* What VM exits load and VM entries leave behind, as the code in VMX root operation (which is C) sees it by RDMSR. The
 * guest's own values stay in vcpu_state across an exit. */
struct vmx_root {
    uint64_t fs_base, gs_base, sysenter_cs, sysenter_esp, sysenter_eip, efer, pat, debugctl, dr7;
};

struct vmx {
    bool operation; /* between VMXON and VMXOFF */
    bool non_root;
    bool resident;  /* vcpu_state holds the current VMCS's guest state as the last exit saved it */
    uint8_t dirty;  /* enum vmcs_group bits: written since the last entry that passed the checks */
    struct {
        uint32_t pin, primary, secondary;
        uint64_t eptp;       /* 0: no EPT */
        uint16_t vpid;       /* 0: no VPID */
        uint64_t tsc_offset; /* what RDTSC, RDTSCP and RDMSR of the TSC add */
    } active;
    const uint8_t *io_bitmap[2], *msr_bitmap; /* NULL: not within the arena; then all bits read as 1 */
    uint64_t entry_count;  /* the count at VM entry */
    uint64_t timer_end;    /* the count at which the preemption timer expires */
    uint64_t unblocked_at; /* the count at which an IRET last ended blocking by NMI; NEVER */
    bool injecting;        /* the event that VM entry injects is not intercepted */
    bool delivered;        /* an event since VM entry */
    bool saves_rf;         /* the exit that is recorded saves RFLAGS.RF as 1 */
    uint64_t region;       /* of VMXON */
    uint64_t current;      /* the address of the current VMCS, or NO_VMCS */
    struct vmx_root root;
    struct vmcs vmcs;      /* the current VMCS */
};

struct vmx *vmx_create(void);
void vmx_destroy(struct vmx *vmx);

static inline bool vmx_non_root(const struct processor *cpu)
{
    return cpu->vmx->non_root;
}

/* ---- exits by control ---- */

/* X(name, control word, bit): `vmx_exits_name(cpu)`. */
#define VMX_EXITS(X)                                                                                                   \
    X(hlt, primary, PRIMARY_HLT_EXITING)                                                                               \
    X(invlpg, primary, PRIMARY_INVLPG_EXITING) /* INVPCID too */                                                       \
    X(mwait, primary, PRIMARY_MWAIT_EXITING)                                                                           \
    X(monitor, primary, PRIMARY_MONITOR_EXITING)                                                                       \
    X(rdpmc, primary, PRIMARY_RDPMC_EXITING)                                                                           \
    X(rdtsc, primary, PRIMARY_RDTSC_EXITING) /* RDTSCP too, with REASON_RDTSCP */                                      \
    X(cr3_store, primary, PRIMARY_CR3_STORE_EXITING)                                                                   \
    X(cr8_load, primary, PRIMARY_CR8_LOAD_EXITING)                                                                     \
    X(cr8_store, primary, PRIMARY_CR8_STORE_EXITING)                                                                   \
    X(mov_dr, primary, PRIMARY_MOV_DR_EXITING) /* before #UD by CR4.DE and #DB by DR7.GD */                            \
    X(pause, primary, PRIMARY_PAUSE_EXITING)                                                                           \
    X(descriptor_table, secondary, SECONDARY_DESCRIPTOR_TABLE_EXITING) /* LGDT SGDT LIDT SIDT LLDT SLDT LTR STR */     \
    X(wbinvd, secondary, SECONDARY_WBINVD_EXITING)                                                                     \
    X(rdrand, secondary, SECONDARY_RDRAND_EXITING)                                                                     \
    X(rdseed, secondary, SECONDARY_RDSEED_EXITING)

#define X(name, word, bit)                                                                                             \
    static inline bool vmx_exits_##name(const struct processor *cpu)                                                   \
    {                                                                                                                  \
        return cpu->vmx->active.word & (bit);                                                                          \
    }
VMX_EXITS(X)
#undef X
/* These exit always: CPUID, GETSEC, INVD, XSETBV, the VMX instructions (task switches: vmx_exit_task_switch). Use
 * vmx_non_root and vmx_exit. */

/* #UD in non-root operation: RDTSCP and RDPID, INVPCID, XSAVES and XRSTORS. */
static inline bool vmx_forbids_rdtscp(const struct processor *cpu)
{
    return vmx_non_root(cpu) && !(cpu->vmx->active.secondary & SECONDARY_ENABLE_RDTSCP);
}
static inline bool vmx_forbids_invpcid(const struct processor *cpu)
{
    return vmx_non_root(cpu) && !(cpu->vmx->active.secondary & SECONDARY_ENABLE_INVPCID);
}

static inline bool vmx_forbids_xsaves(const struct processor *cpu)
{
    return vmx_non_root(cpu) && !(cpu->vmx->active.secondary & SECONDARY_ENABLE_XSAVES);
}

/* ---- leaving ---- */

/* `op` is the instruction that exits, NULL for what happens between instructions and while an event is delivered. */
_Noreturn void vmx_exit(struct processor *cpu, const struct op *op, uint32_t reason, uint64_t qualification);

/* With the memory or register operand in the instruction-information field and the displacement as qualification:
 * LGDT... (reason 46, 47), INVPCID, the VMX instructions. `extra` holds the bits that the operand does not tell:
 * instruction identity (29:28), operand size (bit 11) or Reg2 (31:28) of tables 28-9 to 28-14. */
_Noreturn void vmx_exit_operand(struct processor *cpu, const struct op *op, uint32_t reason, uint32_t extra);
/* INVLPG: the qualification is the linear address of its operand. */
static inline _Noreturn void vmx_exit_linear(struct processor *cpu, const struct op *op, uint32_t reason,
                                             uint64_t linear)
{
    vmx_exit(cpu, op, reason, linear);
}
/* RDRAND, RDSEED: `gpr` is the destination, `size` its bytes. */
_Noreturn void vmx_exit_random(struct processor *cpu, const struct op *op, uint32_t reason, unsigned gpr,
                               unsigned size);

/* ---- I/O ---- */

bool vmx_io_bitmap_exits(const struct processor *cpu, uint16_t port, unsigned size);
static inline bool vmx_io_exits(const struct processor *cpu, uint16_t port, unsigned size)
{
    return unlikely(cpu->vmx->active.primary & (PRIMARY_UNCONDITIONAL_IO_EXITING | PRIMARY_USE_IO_BITMAPS)) &&
           vmx_io_bitmap_exits(cpu, port, size);
}
/* Bits of the exit qualification, for `kind`. */
#define IO_IN 8u
#define IO_STRING 16u
#define IO_REP 32u
#define IO_IMMEDIATE 64u
/* `linear`: of INS's and OUTS's memory operand. */
_Noreturn void vmx_exit_io(struct processor *cpu, const struct op *op, uint16_t port, unsigned size, unsigned kind,
                           uint64_t linear);

/* ---- MSRs ---- */

bool vmx_msr_bitmap_exits(const struct processor *cpu, uint32_t index, bool write);
static inline bool vmx_msr_exits(const struct processor *cpu, uint32_t index, bool write)
{
    return unlikely(vmx_non_root(cpu)) && vmx_msr_bitmap_exits(cpu, index, write);
}
/* What RDTSC, RDTSCP and RDMSR of IA32_TIME_STAMP_COUNTER add. */
static inline uint64_t vmx_tsc_offset(const struct processor *cpu)
{
    return cpu->vmx->active.tsc_offset;
}
/* IA32_VMX_BASIC .. IA32_VMX_TRUE_ENTRY_CTLS (480h-490h); false: no such MSR. */
bool vmx_msr_read(struct processor *cpu, uint32_t index, uint64_t *value);
/* Where msr_read and msr_write find EFER, PAT, DEBUGCTL, FS_BASE, GS_BASE and SYSENTER_* when code in VMX root
 * operation asks: a VM exit loads them while vcpu_state keeps the guest's. NULL: in vcpu_state as ever. */
uint64_t *vmx_root_msr(struct processor *cpu, uint32_t index);

/* ---- control registers ---- */

/* MOV to CR0 and CR4: exits by guest/host mask and read shadow; returns what is to be loaded (and then checked). */
uint64_t vmx_mov_to_cr0(struct processor *cpu, const struct op *op, unsigned gpr, uint64_t value);
uint64_t vmx_mov_to_cr4(struct processor *cpu, const struct op *op, unsigned gpr, uint64_t value);
/* LMSW: returns CR0 as it is to be; `linear` of a memory operand. */
uint64_t vmx_lmsw(struct processor *cpu, const struct op *op, uint16_t source, bool memory, uint64_t linear);
/* CLTS: returns CR0 as it is to be. */
uint64_t vmx_clts(struct processor *cpu, const struct op *op);
void vmx_mov_to_cr3(struct processor *cpu, const struct op *op, unsigned gpr, uint64_t value);
/* The exits of MOV from CR3, MOV to and from CR8: access type 0 to, 1 from. */
_Noreturn void vmx_exit_cr(struct processor *cpu, const struct op *op, unsigned cr, unsigned type, unsigned gpr);
_Noreturn void vmx_exit_dr(struct processor *cpu, const struct op *op, unsigned dr, bool from, unsigned gpr);

/* As MOV from CR0 (SMSW) and CR4 read them. */
static inline uint64_t vmx_visible_cr0(const struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    return unlikely(vmx_non_root(cpu)) ? (cpu->s.cr0 & ~vmcs->cr0_guest_host_mask) |
                                             (vmcs->cr0_read_shadow & vmcs->cr0_guest_host_mask)
                                       : cpu->s.cr0;
}
static inline uint64_t vmx_visible_cr4(const struct processor *cpu)
{
    const struct vmcs *vmcs = &cpu->vmx->vmcs;
    return unlikely(vmx_non_root(cpu)) ? (cpu->s.cr4 & ~vmcs->cr4_guest_host_mask) |
                                             (vmcs->cr4_read_shadow & vmcs->cr4_guest_host_mask)
                                       : cpu->s.cr4;
}

/* May CR0, CR4 have this value in VMX operation (IA32_VMX_CR0_FIXED0 ...)? True outside. For writes by instructions:
 * #GP(0) if not, besides the ordinary checks. */
bool vmx_cr0_allowed(const struct processor *cpu, uint64_t cr0);
bool vmx_cr4_allowed(const struct processor *cpu, uint64_t cr4);

/* ---- memory ---- */

/* The qualification of an EPT violation (table 28-7), but for bit 12. */
#define EPT_READ 1u
#define EPT_WRITE 2u
#define EPT_FETCH 4u
#define EPT_READABLE 8u
#define EPT_WRITABLE 16u
#define EPT_EXECUTABLE 32u
#define EPT_LINEAR_VALID 128u
#define EPT_TRANSLATED 256u /* the access to the translation of the linear address, not to a paging structure */
_Noreturn void vmx_exit_ept_violation(struct processor *cpu, const struct op *op, uint64_t qualification, uint64_t gpa,
                                      uint64_t linear);
_Noreturn void vmx_exit_ept_misconfiguration(struct processor *cpu, const struct op *op, uint64_t gpa);
/* IA32_VMX_EPT_VPID_CAP bit 0. There are no accessed and dirty flags (bit 21). */
#define VMX_EPT_EXECUTE_ONLY 1

/* ---- events ---- */

/* deliver_event asks this of every event that is not being injected, before anything else of the delivery; run.c of an
 * exception met while another event was being delivered, before it makes a double fault of the two, and then of the
 * double fault. Exits (does not return) when the exception bitmap says so. */
void vmx_event_exit(struct processor *cpu, const struct event *event);
static inline void vmx_intercept(struct processor *cpu, const struct event *event)
{
    if (unlikely(vmx_non_root(cpu)))
        vmx_event_exit(cpu, event);
}
/* In place of shutdown. */
_Noreturn void vmx_exit_triple_fault(struct processor *cpu);
/* `source`: 0 CALL, 1 IRET, 2 JMP (op given), 3 task gate in the IDT (op NULL). */
_Noreturn void vmx_exit_task_switch(struct processor *cpu, const struct op *op, uint16_t selector, unsigned source);

/* IRET calls this first: ends blocking by (virtual) NMI as the controls say. */
static inline void vmx_iret(struct processor *cpu, const struct op *op)
{
    if (likely(!(cpu->s.interruptibility & BLOCKING_BY_NMI)))
        return;
    if ((cpu->vmx->active.pin & (PIN_NMI_EXITING | PIN_VIRTUAL_NMIS)) == PIN_NMI_EXITING)
        return;
    cpu->s.interruptibility &= ~BLOCKING_BY_NMI;
    cpu->vmx->unblocked_at = cpu_count_at(cpu, op);
}

/* cpu_run asks at each instruction boundary that it comes by, after debug traps were delivered: is anything to be
 * looked at there? A kick, the interrupt window, the NMI window, the monitor trap flag. */
static inline bool vmx_armed(const struct processor *cpu)
{
    return cpu->vmx->non_root &&
           (cpu->kicked || cpu->vmx->active.primary & (PRIMARY_INTERRUPT_WINDOW_EXITING | PRIMARY_NMI_WINDOW_EXITING |
                                                       PRIMARY_MONITOR_TRAP_FLAG));
}
/* Exits (does not return) if one of them is due. Nothing can be due before an instruction sets RFLAGS.IF, ends a shadow
 * or NMI blocking: those end their trace. */
void vmx_boundary(struct processor *cpu);

#endif
