/* The virtual-machine control structure: its fields (SDM vol. 3, chapter 25 and appendix B), and the bits of its
 * controls by their SDM names. */
#ifndef BRINGUP_VMCS_H
#define BRINGUP_VMCS_H

#include "cpu.h"

/* ---- what VM entry looks at, by groups: a VMWRITE marks its group, an unchanged one is not checked again ---- */

enum vmcs_group {
    VMCS_FREE = 0,            /* used as it is: no check, no copy */
    VMCS_CONTROLS = 1,
    VMCS_HOST = 2,
    VMCS_GUEST = 4,           /* guest state that seldom changes by VMWRITE */
    VMCS_ALWAYS = 8,          /* looked at by every entry (RIP, RFLAGS, event injection, ...) */
    VMCS_READ_ONLY = 16,      /* VM-exit information */
    VMCS_ALL = 31
};

/* X(encoding, bits, member, group). The segment registers follow below; `natural` fields have 64 bits. */
#define VMCS_FIELDS(X)                                                                                                 \
    X(0x0000, 16, virtual_processor_id, VMCS_CONTROLS)                                                                 \
    X(0x0c00, 16, host_es_selector, VMCS_HOST)                                                                         \
    X(0x0c02, 16, host_cs_selector, VMCS_HOST)                                                                         \
    X(0x0c04, 16, host_ss_selector, VMCS_HOST)                                                                         \
    X(0x0c06, 16, host_ds_selector, VMCS_HOST)                                                                         \
    X(0x0c08, 16, host_fs_selector, VMCS_HOST)                                                                         \
    X(0x0c0a, 16, host_gs_selector, VMCS_HOST)                                                                         \
    X(0x0c0c, 16, host_tr_selector, VMCS_HOST)                                                                         \
    X(0x2000, 64, io_bitmap_a_address, VMCS_CONTROLS)                                                                  \
    X(0x2002, 64, io_bitmap_b_address, VMCS_CONTROLS)                                                                  \
    X(0x2004, 64, msr_bitmap_address, VMCS_CONTROLS)                                                                   \
    X(0x2006, 64, exit_msr_store_address, VMCS_CONTROLS)                                                               \
    X(0x2008, 64, exit_msr_load_address, VMCS_CONTROLS)                                                                \
    X(0x200a, 64, entry_msr_load_address, VMCS_CONTROLS)                                                               \
    X(0x200c, 64, executive_vmcs_pointer, VMCS_FREE)                                                                   \
    X(0x2010, 64, tsc_offset, VMCS_FREE)                                                                               \
    X(0x201a, 64, ept_pointer, VMCS_CONTROLS)                                                                          \
    X(0x202c, 64, xss_exiting_bitmap, VMCS_FREE)                                                                       \
    X(0x2400, 64, guest_physical_address, VMCS_READ_ONLY)                                                              \
    X(0x2800, 64, vmcs_link_pointer, VMCS_GUEST)                                                                       \
    X(0x2802, 64, guest_debugctl, VMCS_GUEST)                                                                          \
    X(0x2804, 64, guest_pat, VMCS_GUEST)                                                                               \
    X(0x2806, 64, guest_efer, VMCS_GUEST)                                                                              \
    X(0x280a, 64, guest_pdpte[0], VMCS_GUEST)                                                                          \
    X(0x280c, 64, guest_pdpte[1], VMCS_GUEST)                                                                          \
    X(0x280e, 64, guest_pdpte[2], VMCS_GUEST)                                                                          \
    X(0x2810, 64, guest_pdpte[3], VMCS_GUEST)                                                                          \
    X(0x2c00, 64, host_pat, VMCS_HOST)                                                                                 \
    X(0x2c02, 64, host_efer, VMCS_HOST)                                                                                \
    X(0x4000, 32, pin_based_controls, VMCS_CONTROLS)                                                                   \
    X(0x4002, 32, primary_controls, VMCS_CONTROLS)                                                                     \
    X(0x4004, 32, exception_bitmap, VMCS_FREE)                                                                         \
    X(0x4006, 32, page_fault_error_mask, VMCS_FREE)                                                                    \
    X(0x4008, 32, page_fault_error_match, VMCS_FREE)                                                                   \
    X(0x400a, 32, cr3_target_count, VMCS_CONTROLS)                                                                     \
    X(0x400c, 32, exit_controls, VMCS_CONTROLS)                                                                        \
    X(0x400e, 32, exit_msr_store_count, VMCS_CONTROLS)                                                                 \
    X(0x4010, 32, exit_msr_load_count, VMCS_CONTROLS)                                                                  \
    X(0x4012, 32, entry_controls, VMCS_CONTROLS)                                                                       \
    X(0x4014, 32, entry_msr_load_count, VMCS_CONTROLS)                                                                 \
    X(0x4016, 32, entry_interruption_information, VMCS_ALWAYS)                                                         \
    X(0x4018, 32, entry_exception_error_code, VMCS_ALWAYS)                                                             \
    X(0x401a, 32, entry_instruction_length, VMCS_ALWAYS)                                                               \
    X(0x401e, 32, secondary_controls, VMCS_CONTROLS)                                                                   \
    X(0x4400, 32, vm_instruction_error, VMCS_READ_ONLY)                                                                \
    X(0x4402, 32, exit_reason, VMCS_READ_ONLY)                                                                         \
    X(0x4404, 32, exit_interruption_information, VMCS_READ_ONLY)                                                       \
    X(0x4406, 32, exit_interruption_error_code, VMCS_READ_ONLY)                                                        \
    X(0x4408, 32, idt_vectoring_information, VMCS_READ_ONLY)                                                           \
    X(0x440a, 32, idt_vectoring_error_code, VMCS_READ_ONLY)                                                            \
    X(0x440c, 32, exit_instruction_length, VMCS_READ_ONLY)                                                             \
    X(0x440e, 32, exit_instruction_information, VMCS_READ_ONLY)                                                        \
    X(0x4810, 32, guest_gdtr_limit, VMCS_GUEST)                                                                        \
    X(0x4812, 32, guest_idtr_limit, VMCS_GUEST)                                                                        \
    X(0x4824, 32, guest_interruptibility_state, VMCS_ALWAYS)                                                           \
    X(0x4826, 32, guest_activity_state, VMCS_ALWAYS)                                                                   \
    X(0x4828, 32, guest_smbase, VMCS_FREE)                                                                             \
    X(0x482a, 32, guest_sysenter_cs, VMCS_GUEST)                                                                       \
    X(0x482e, 32, preemption_timer_value, VMCS_ALWAYS)                                                                 \
    X(0x4c00, 32, host_sysenter_cs, VMCS_HOST)                                                                         \
    X(0x6000, 64, cr0_guest_host_mask, VMCS_FREE)                                                                      \
    X(0x6002, 64, cr4_guest_host_mask, VMCS_FREE)                                                                      \
    X(0x6004, 64, cr0_read_shadow, VMCS_FREE)                                                                          \
    X(0x6006, 64, cr4_read_shadow, VMCS_FREE)                                                                          \
    X(0x6008, 64, cr3_target_value[0], VMCS_FREE)                                                                      \
    X(0x600a, 64, cr3_target_value[1], VMCS_FREE)                                                                      \
    X(0x600c, 64, cr3_target_value[2], VMCS_FREE)                                                                      \
    X(0x600e, 64, cr3_target_value[3], VMCS_FREE)                                                                      \
    X(0x6400, 64, exit_qualification, VMCS_READ_ONLY)                                                                  \
    X(0x6402, 64, io_rcx, VMCS_READ_ONLY)                                                                              \
    X(0x6404, 64, io_rsi, VMCS_READ_ONLY)                                                                              \
    X(0x6406, 64, io_rdi, VMCS_READ_ONLY)                                                                              \
    X(0x6408, 64, io_rip, VMCS_READ_ONLY)                                                                              \
    X(0x640a, 64, guest_linear_address, VMCS_READ_ONLY)                                                                \
    X(0x6800, 64, guest_cr0, VMCS_GUEST)                                                                               \
    X(0x6802, 64, guest_cr3, VMCS_GUEST)                                                                               \
    X(0x6804, 64, guest_cr4, VMCS_GUEST)                                                                               \
    X(0x6816, 64, guest_gdtr_base, VMCS_GUEST)                                                                         \
    X(0x6818, 64, guest_idtr_base, VMCS_GUEST)                                                                         \
    X(0x681a, 64, guest_dr7, VMCS_GUEST)                                                                               \
    X(0x681c, 64, guest_rsp, VMCS_ALWAYS)                                                                              \
    X(0x681e, 64, guest_rip, VMCS_ALWAYS)                                                                              \
    X(0x6820, 64, guest_rflags, VMCS_ALWAYS)                                                                           \
    X(0x6822, 64, guest_pending_debug_exceptions, VMCS_ALWAYS)                                                         \
    X(0x6824, 64, guest_sysenter_esp, VMCS_GUEST)                                                                      \
    X(0x6826, 64, guest_sysenter_eip, VMCS_GUEST)                                                                      \
    X(0x6c00, 64, host_cr0, VMCS_HOST)                                                                                 \
    X(0x6c02, 64, host_cr3, VMCS_HOST)                                                                                 \
    X(0x6c04, 64, host_cr4, VMCS_HOST)                                                                                 \
    X(0x6c06, 64, host_fs_base, VMCS_HOST)                                                                             \
    X(0x6c08, 64, host_gs_base, VMCS_HOST)                                                                             \
    X(0x6c0a, 64, host_tr_base, VMCS_HOST)                                                                             \
    X(0x6c0c, 64, host_gdtr_base, VMCS_HOST)                                                                           \
    X(0x6c0e, 64, host_idtr_base, VMCS_HOST)                                                                           \
    X(0x6c10, 64, host_sysenter_esp, VMCS_HOST)                                                                        \
    X(0x6c12, 64, host_sysenter_eip, VMCS_HOST)                                                                        \
    X(0x6c14, 64, host_rsp, VMCS_HOST)                                                                                 \
    X(0x6c16, 64, host_rip, VMCS_HOST)

/* X(register, name): index n of enum segment_register is at encodings 0800h + 2n (selector), 4800h + 2n (limit),
 * 4814h + 2n (access rights) and 6806h + 2n (base). */
#define VMCS_SEGMENTS(X) X(ES, es) X(CS, cs) X(SS, ss) X(DS, ds) X(FS, fs) X(GS, gs) X(LDTR, ldtr) X(TR, tr)

enum launch_state { VMCS_CLEAR = 0, VMCS_LAUNCHED = 1 };

/* The VMCS region: its first 8 bytes are architectural (SDM vol. 3, 25.2), the rest is ours. A processor works on a
 * copy while the VMCS is current and writes it back when it ceases to be. */
struct vmcs {
    uint32_t revision; /* bit 31: a shadow VMCS */
    uint32_t abort;    /* VMX-abort indicator */
    uint32_t launch_state;
    struct vcpu_segment guest_segment[8];

    uint16_t virtual_processor_id;
    uint16_t host_es_selector, host_cs_selector, host_ss_selector, host_ds_selector, host_fs_selector,
        host_gs_selector, host_tr_selector;

    uint32_t pin_based_controls, primary_controls, secondary_controls, exit_controls, entry_controls;
    uint32_t exception_bitmap, page_fault_error_mask, page_fault_error_match, cr3_target_count;
    uint32_t exit_msr_store_count, exit_msr_load_count, entry_msr_load_count;
    uint32_t entry_interruption_information, entry_exception_error_code, entry_instruction_length;
    uint32_t vm_instruction_error, exit_reason, exit_interruption_information, exit_interruption_error_code;
    uint32_t idt_vectoring_information, idt_vectoring_error_code, exit_instruction_length,
        exit_instruction_information;
    uint32_t guest_gdtr_limit, guest_idtr_limit, guest_interruptibility_state, guest_activity_state, guest_smbase;
    uint32_t guest_sysenter_cs, preemption_timer_value, host_sysenter_cs;

    uint64_t io_bitmap_a_address, io_bitmap_b_address, msr_bitmap_address;
    uint64_t exit_msr_store_address, exit_msr_load_address, entry_msr_load_address;
    uint64_t executive_vmcs_pointer, tsc_offset, ept_pointer, xss_exiting_bitmap;
    uint64_t cr0_guest_host_mask, cr4_guest_host_mask, cr0_read_shadow, cr4_read_shadow, cr3_target_value[4];
    uint64_t guest_physical_address, exit_qualification, io_rcx, io_rsi, io_rdi, io_rip, guest_linear_address;
    uint64_t vmcs_link_pointer, guest_debugctl, guest_pat, guest_efer, guest_pdpte[4];
    uint64_t guest_cr0, guest_cr3, guest_cr4, guest_gdtr_base, guest_idtr_base, guest_dr7;
    uint64_t guest_rsp, guest_rip, guest_rflags, guest_pending_debug_exceptions;
    uint64_t guest_sysenter_esp, guest_sysenter_eip;
    uint64_t host_pat, host_efer, host_cr0, host_cr3, host_cr4, host_fs_base, host_gs_base, host_tr_base;
    uint64_t host_gdtr_base, host_idtr_base, host_sysenter_esp, host_sysenter_eip, host_rsp, host_rip;
};

#define VMCS_REVISION 1u /* this layout */
#define VMCS_REGION_SIZE 4096u
_Static_assert(sizeof(struct vmcs) <= VMCS_REGION_SIZE, "a VMCS fits its region");

/* One component. */
struct vmcs_field {
    uint32_t encoding;
    uint16_t offset; /* into struct vmcs */
    uint8_t bytes;
    uint8_t group;   /* enum vmcs_group */
    const char *name;
};

extern const struct vmcs_field vmcs_fields[];

/* Every encoding that exists has its width (14:13), type (11:10) and index (9:1) within ten bits; `vmcs_slots` holds one
 * more than the index into vmcs_fields. */
#define VMCS_SLOT(encoding) (((encoding) >> 13 & 3) << 8 | ((encoding) >> 10 & 3) << 6 | ((encoding) >> 1 & 63))
#define VMCS_SLOTS 1024
#define VMCS_ENCODING_RESERVED 0xffff9381u /* and index bits 9:7, access type */
extern const uint8_t vmcs_slots[VMCS_SLOTS];

/* NULL: no such component. The encoding's access type (bit 0) must be 0. Inline: a VM exit makes a dozen accesses. */
static inline const struct vmcs_field *vmcs_field(uint32_t encoding)
{
    unsigned n = encoding & VMCS_ENCODING_RESERVED ? 0 : vmcs_slots[VMCS_SLOT(encoding)];
    return n ? &vmcs_fields[n - 1] : NULL;
}
/* The highest index (bits 9:1) of any encoding, for IA32_VMX_VMCS_ENUM. */
unsigned vmcs_highest_index(void);
/* The whole component, zero-extended; writes cut the value to the component's width. */
static inline uint64_t vmcs_get(const struct vmcs *vmcs, const struct vmcs_field *field)
{
    const char *at = (const char *)vmcs + field->offset;
    switch (field->bytes) {
    case 2:
        return *(const uint16_t *)at;
    case 4:
        return *(const uint32_t *)at;
    default:
        return *(const uint64_t *)at;
    }
}

static inline void vmcs_set(struct vmcs *vmcs, const struct vmcs_field *field, uint64_t value)
{
    char *at = (char *)vmcs + field->offset;
    switch (field->bytes) {
    case 2:
        *(uint16_t *)at = value;
        break;
    case 4:
        *(uint32_t *)at = value;
        break;
    default:
        *(uint64_t *)at = value;
    }
}

/* ---- controls (SDM vol. 3, 25.6 to 25.8) ---- */

#define PIN_EXTERNAL_INTERRUPT_EXITING (1u << 0)
#define PIN_NMI_EXITING (1u << 3)
#define PIN_VIRTUAL_NMIS (1u << 5)
#define PIN_PREEMPTION_TIMER (1u << 6)

#define PRIMARY_INTERRUPT_WINDOW_EXITING (1u << 2)
#define PRIMARY_TSC_OFFSETTING (1u << 3)
#define PRIMARY_HLT_EXITING (1u << 7)
#define PRIMARY_INVLPG_EXITING (1u << 9)
#define PRIMARY_MWAIT_EXITING (1u << 10)
#define PRIMARY_RDPMC_EXITING (1u << 11)
#define PRIMARY_RDTSC_EXITING (1u << 12)
#define PRIMARY_CR3_LOAD_EXITING (1u << 15)
#define PRIMARY_CR3_STORE_EXITING (1u << 16)
#define PRIMARY_CR8_LOAD_EXITING (1u << 19)
#define PRIMARY_CR8_STORE_EXITING (1u << 20)
#define PRIMARY_NMI_WINDOW_EXITING (1u << 22)
#define PRIMARY_MOV_DR_EXITING (1u << 23)
#define PRIMARY_UNCONDITIONAL_IO_EXITING (1u << 24)
#define PRIMARY_USE_IO_BITMAPS (1u << 25)
#define PRIMARY_MONITOR_TRAP_FLAG (1u << 27)
#define PRIMARY_USE_MSR_BITMAPS (1u << 28)
#define PRIMARY_MONITOR_EXITING (1u << 29)
#define PRIMARY_PAUSE_EXITING (1u << 30)
#define PRIMARY_SECONDARY_CONTROLS (1u << 31)

#define SECONDARY_ENABLE_EPT (1u << 1)
#define SECONDARY_DESCRIPTOR_TABLE_EXITING (1u << 2)
#define SECONDARY_ENABLE_RDTSCP (1u << 3)
#define SECONDARY_ENABLE_VPID (1u << 5)
#define SECONDARY_WBINVD_EXITING (1u << 6)
#define SECONDARY_UNRESTRICTED_GUEST (1u << 7)
#define SECONDARY_RDRAND_EXITING (1u << 11)
#define SECONDARY_ENABLE_INVPCID (1u << 12)
#define SECONDARY_RDSEED_EXITING (1u << 16)
#define SECONDARY_ENABLE_XSAVES (1u << 20) /* and XRSTORS */

#define EXIT_SAVE_DEBUG_CONTROLS (1u << 2)
#define EXIT_HOST_ADDRESS_SPACE_SIZE (1u << 9)
#define EXIT_SAVE_PAT (1u << 18)
#define EXIT_LOAD_PAT (1u << 19)
#define EXIT_SAVE_EFER (1u << 20)
#define EXIT_LOAD_EFER (1u << 21)
#define EXIT_SAVE_PREEMPTION_TIMER (1u << 22)

#define ENTRY_LOAD_DEBUG_CONTROLS (1u << 2)
#define ENTRY_IA32E_MODE_GUEST (1u << 9)
#define ENTRY_LOAD_PAT (1u << 14)
#define ENTRY_LOAD_EFER (1u << 15)

/* Interruption information, all three fields (tables 25-17, 25-18, 25-20). */
#define INTERRUPTION_VECTOR 0xffu
#define INTERRUPTION_TYPE_SHIFT 8
#define INTERRUPTION_TYPE (7u << 8)
#define INTERRUPTION_ERROR_CODE (1u << 11)
#define INTERRUPTION_NMI_UNBLOCKED (1u << 12)
#define INTERRUPTION_RESERVED 0x7ffff000u /* of the VM-entry field */
#define INTERRUPTION_VALID (1u << 31)

/* Pending debug exceptions (table 25-4). */
#define PENDING_DEBUG_BS (1ull << 14)
#define PENDING_DEBUG_ENABLED_BREAKPOINT (1ull << 12)

/* ---- basic exit reasons (appendix C) ---- */

enum vmx_reason {
    REASON_EXCEPTION_OR_NMI = 0,
    REASON_EXTERNAL_INTERRUPT = 1,
    REASON_TRIPLE_FAULT = 2,
    REASON_INTERRUPT_WINDOW = 7,
    REASON_NMI_WINDOW = 8,
    REASON_TASK_SWITCH = 9,
    REASON_CPUID = 10,
    REASON_GETSEC = 11,
    REASON_HLT = 12,
    REASON_INVD = 13,
    REASON_INVLPG = 14,
    REASON_RDPMC = 15,
    REASON_RDTSC = 16,
    REASON_VMCALL = 18,
    REASON_VMCLEAR = 19,
    REASON_VMLAUNCH = 20,
    REASON_VMPTRLD = 21,
    REASON_VMPTRST = 22,
    REASON_VMREAD = 23,
    REASON_VMRESUME = 24,
    REASON_VMWRITE = 25,
    REASON_VMXOFF = 26,
    REASON_VMXON = 27,
    REASON_CR_ACCESS = 28,
    REASON_MOV_DR = 29,
    REASON_IO_INSTRUCTION = 30,
    REASON_RDMSR = 31,
    REASON_WRMSR = 32,
    REASON_ENTRY_GUEST_STATE = 33,
    REASON_ENTRY_MSR_LOADING = 34,
    REASON_MWAIT = 36,
    REASON_MONITOR_TRAP_FLAG = 37,
    REASON_MONITOR = 39,
    REASON_PAUSE = 40,
    REASON_GDTR_IDTR_ACCESS = 46,
    REASON_LDTR_TR_ACCESS = 47,
    REASON_EPT_VIOLATION = 48,
    REASON_EPT_MISCONFIGURATION = 49,
    REASON_INVEPT = 50,
    REASON_RDTSCP = 51,
    REASON_PREEMPTION_TIMER = 52,
    REASON_INVVPID = 53,
    REASON_WBINVD = 54,
    REASON_XSETBV = 55,
    REASON_RDRAND = 57,
    REASON_INVPCID = 58,
    REASON_RDSEED = 61,
    REASON_XSAVES = 63,
    REASON_XRSTORS = 64
};
#define REASON_ENTRY_FAILURE (1u << 31)

#endif
