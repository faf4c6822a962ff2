/* What a hypervisor's code names of VT-x, by the SDM's numbers (vol. 3, appendices B and C, chapters 25 and 28). */
#ifndef BRINGUP_SDM_H
#define BRINGUP_SDM_H

/* ---- VMCS component encodings (appendix B) ---- */

enum vmcs_component {
    VIRTUAL_PROCESSOR_ID = 0x0000,

    GUEST_SELECTOR = 0x0800, /* + 2 * segment: ES CS SS DS FS GS LDTR TR */

    HOST_CS_SELECTOR = 0x0c02,
    HOST_TR_SELECTOR = 0x0c0c,

    MSR_BITMAP_ADDRESS = 0x2004,
    TSC_OFFSET = 0x2010,
    EPT_POINTER = 0x201a,

    GUEST_PHYSICAL_ADDRESS = 0x2400,

    VMCS_LINK_POINTER = 0x2800,
    GUEST_DEBUGCTL = 0x2802,
    GUEST_EFER = 0x2806,
    GUEST_PDPTE = 0x280a, /* + 2 * n */

    PIN_BASED_CONTROLS = 0x4000,
    PRIMARY_CONTROLS = 0x4002,
    EXCEPTION_BITMAP = 0x4004,
    EXIT_CONTROLS = 0x400c,
    ENTRY_CONTROLS = 0x4012,
    ENTRY_INTERRUPTION_INFORMATION = 0x4016,
    ENTRY_EXCEPTION_ERROR_CODE = 0x4018,
    ENTRY_INSTRUCTION_LENGTH = 0x401a,
    SECONDARY_CONTROLS = 0x401e,

    VM_INSTRUCTION_ERROR = 0x4400,
    EXIT_REASON = 0x4402,
    EXIT_INTERRUPTION_INFORMATION = 0x4404,
    IDT_VECTORING_INFORMATION = 0x4408,
    IDT_VECTORING_ERROR_CODE = 0x440a,
    EXIT_INSTRUCTION_LENGTH = 0x440c,

    GUEST_LIMIT = 0x4800, /* + 2 * segment */
    GUEST_GDTR_LIMIT = 0x4810,
    GUEST_IDTR_LIMIT = 0x4812,
    GUEST_ACCESS_RIGHTS = 0x4814, /* + 2 * segment */
    GUEST_INTERRUPTIBILITY_STATE = 0x4824,
    GUEST_ACTIVITY_STATE = 0x4826,
    GUEST_SYSENTER_CS = 0x482a,
    PREEMPTION_TIMER_VALUE = 0x482e,

    CR0_GUEST_HOST_MASK = 0x6000,
    CR4_GUEST_HOST_MASK = 0x6002,
    CR0_READ_SHADOW = 0x6004,
    CR4_READ_SHADOW = 0x6006,

    EXIT_QUALIFICATION = 0x6400,

    GUEST_CR0 = 0x6800,
    GUEST_CR3 = 0x6802,
    GUEST_CR4 = 0x6804,
    GUEST_BASE = 0x6806, /* + 2 * segment */
    GUEST_GDTR_BASE = 0x6816,
    GUEST_IDTR_BASE = 0x6818,
    GUEST_DR7 = 0x681a,
    GUEST_RSP = 0x681c,
    GUEST_RIP = 0x681e,
    GUEST_RFLAGS = 0x6820,
    GUEST_PENDING_DEBUG_EXCEPTIONS = 0x6822,
    GUEST_SYSENTER_ESP = 0x6824,
    GUEST_SYSENTER_EIP = 0x6826,

    HOST_CR0 = 0x6c00,
    HOST_CR3 = 0x6c02,
    HOST_CR4 = 0x6c04,
    HOST_RSP = 0x6c14,
    HOST_RIP = 0x6c16
};

/* ---- controls (25.6 to 25.8) ---- */

#define PIN_EXTERNAL_INTERRUPT_EXITING (1u << 0)
#define PIN_NMI_EXITING (1u << 3)
#define PIN_VIRTUAL_NMIS (1u << 5)
#define PIN_PREEMPTION_TIMER (1u << 6)

#define PRIMARY_INTERRUPT_WINDOW_EXITING (1u << 2)
#define PRIMARY_TSC_OFFSETTING (1u << 3)
#define PRIMARY_HLT_EXITING (1u << 7)
#define PRIMARY_MWAIT_EXITING (1u << 10)
#define PRIMARY_RDPMC_EXITING (1u << 11)
#define PRIMARY_CR8_LOAD_EXITING (1u << 19)
#define PRIMARY_CR8_STORE_EXITING (1u << 20)
#define PRIMARY_NMI_WINDOW_EXITING (1u << 22)
#define PRIMARY_UNCONDITIONAL_IO_EXITING (1u << 24)
#define PRIMARY_USE_MSR_BITMAPS (1u << 28)
#define PRIMARY_MONITOR_EXITING (1u << 29)
#define PRIMARY_PAUSE_EXITING (1u << 30)
#define PRIMARY_ACTIVATE_SECONDARY_CONTROLS (1u << 31)

#define SECONDARY_ENABLE_EPT (1u << 1)
#define SECONDARY_ENABLE_RDTSCP (1u << 3)
#define SECONDARY_ENABLE_VPID (1u << 5)
#define SECONDARY_UNRESTRICTED_GUEST (1u << 7)
#define SECONDARY_ENABLE_INVPCID (1u << 12)
#define SECONDARY_ENABLE_XSAVES (1u << 20)

#define EXIT_SAVE_DEBUG_CONTROLS (1u << 2)
#define EXIT_HOST_ADDRESS_SPACE_SIZE (1u << 9)
#define EXIT_SAVE_EFER (1u << 20)

#define ENTRY_LOAD_DEBUG_CONTROLS (1u << 2)
#define ENTRY_IA32E_MODE_GUEST (1u << 9)
#define ENTRY_LOAD_EFER (1u << 15)

/* Interruption information: VM entry, VM exit and IDT vectoring (tables 25-17, 25-18, 25-20). */
#define EVENT_VECTOR 0xffu
#define EVENT_TYPE (7u << 8)
#define EVENT_EXTERNAL_INTERRUPT (0u << 8)
#define EVENT_NMI (2u << 8)
#define EVENT_HARDWARE_EXCEPTION (3u << 8)
#define EVENT_SOFTWARE_INTERRUPT (4u << 8) /* and beyond: exceptions by INT1, INT3 and INTO */
#define EVENT_ERROR_CODE (1u << 11)
#define EVENT_VALID (1u << 31)

#define PENDING_DEBUG_BS (1ull << 14) /* single step */
#define PENDING_DEBUG_BREAKPOINT (1u << 12) /* and one that is enabled */
#define DR6_BT (1u << 15)
#define DR7_ENABLES 0xffull /* L0 to G3 */
#define DR7_GD (1ull << 13)

/* ---- capability MSRs (appendix A) ---- */

#define IA32_VMX_BASIC 0x480
#define IA32_VMX_CR0_FIXED0 0x486
#define IA32_VMX_CR4_FIXED0 0x488
#define IA32_VMX_PROCBASED_CTLS2 0x48b
#define IA32_VMX_TRUE_PINBASED_CTLS 0x48d
#define IA32_VMX_TRUE_PROCBASED_CTLS 0x48e
#define IA32_VMX_TRUE_EXIT_CTLS 0x48f
#define IA32_VMX_TRUE_ENTRY_CTLS 0x490

/* ---- basic exit reasons (appendix C): X(number, handler, name) ---- */

#define REASON_ENTRY_FAILURE (1u << 31)
#define REASON_BASIC 0xffffu

#define EXIT_HANDLERS(X)                                                                                               \
    X(0, exit_exception_nmi, "EXCEPTION_NMI")                                                                          \
    X(1, exit_external_interrupt, "EXTERNAL_INTERRUPT")                                                                \
    X(2, exit_triple_fault, "TRIPLE_FAULT")                                                                            \
    X(3, exit_unexpected, "INIT")                                                                                      \
    X(4, exit_unexpected, "SIPI")                                                                                      \
    X(5, exit_unexpected, "IO_SMI")                                                                                    \
    X(6, exit_unexpected, "OTHER_SMI")                                                                                 \
    X(7, exit_interrupt_window, "INTERRUPT_WINDOW")                                                                    \
    X(8, exit_nmi_window, "NMI_WINDOW")                                                                                \
    X(9, exit_task_switch, "TASK_SWITCH")                                                                              \
    X(10, exit_cpuid, "CPUID")                                                                                         \
    X(11, exit_vmx_instruction, "GETSEC")                                                                              \
    X(12, exit_hlt, "HLT")                                                                                             \
    X(13, exit_invd, "INVD")                                                                                           \
    X(14, exit_unexpected, "INVLPG")                                                                                   \
    X(15, exit_rdpmc, "RDPMC")                                                                                         \
    X(16, exit_unexpected, "RDTSC")                                                                                    \
    X(17, exit_vmx_instruction, "RSM")                                                                                 \
    X(18, exit_vmx_instruction, "VMCALL")                                                                              \
    X(19, exit_vmx_instruction, "VMCLEAR")                                                                             \
    X(20, exit_vmx_instruction, "VMLAUNCH")                                                                            \
    X(21, exit_vmx_instruction, "VMPTRLD")                                                                             \
    X(22, exit_vmx_instruction, "VMPTRST")                                                                             \
    X(23, exit_vmx_instruction, "VMREAD")                                                                              \
    X(24, exit_vmx_instruction, "VMRESUME")                                                                            \
    X(25, exit_vmx_instruction, "VMWRITE")                                                                             \
    X(26, exit_vmx_instruction, "VMXOFF")                                                                              \
    X(27, exit_vmx_instruction, "VMXON")                                                                               \
    X(28, exit_cr_access, "CR_ACCESS")                                                                                 \
    X(29, exit_unexpected, "DR_ACCESS")                                                                                \
    X(30, exit_io, "IO_INSTRUCTION")                                                                                   \
    X(31, exit_rdmsr, "RDMSR")                                                                                         \
    X(32, exit_wrmsr, "WRMSR")                                                                                         \
    X(33, exit_failed_entry, "ENTRY_FAILURE_GUEST_STATE")                                                              \
    X(34, exit_failed_entry, "ENTRY_FAILURE_MSR_LOADING")                                                              \
    X(36, exit_mwait, "MWAIT")                                                                                         \
    X(37, exit_unexpected, "MONITOR_TRAP_FLAG")                                                                        \
    X(39, exit_monitor, "MONITOR")                                                                                     \
    X(40, exit_pause, "PAUSE")                                                                                         \
    X(41, exit_failed_entry, "ENTRY_FAILURE_MACHINE_CHECK")                                                            \
    X(43, exit_unexpected, "TPR_BELOW_THRESHOLD")                                                                      \
    X(44, exit_unexpected, "APIC_ACCESS")                                                                              \
    X(45, exit_unexpected, "VIRTUALIZED_EOI")                                                                          \
    X(46, exit_unexpected, "GDTR_IDTR_ACCESS")                                                                         \
    X(47, exit_unexpected, "LDTR_TR_ACCESS")                                                                           \
    X(48, exit_ept_violation, "EPT_VIOLATION")                                                                         \
    X(49, exit_ept_misconfiguration, "EPT_MISCONFIGURATION")                                                           \
    X(50, exit_vmx_instruction, "INVEPT")                                                                              \
    X(51, exit_unexpected, "RDTSCP")                                                                                   \
    X(52, exit_preemption_timer, "PREEMPTION_TIMER")                                                                   \
    X(53, exit_vmx_instruction, "INVVPID")                                                                             \
    X(54, exit_unexpected, "WBINVD")                                                                                   \
    X(55, exit_xsetbv, "XSETBV")                                                                                       \
    X(56, exit_unexpected, "APIC_WRITE")                                                                               \
    X(57, exit_unexpected, "RDRAND")                                                                                   \
    X(58, exit_unexpected, "INVPCID")                                                                                  \
    X(59, exit_vmx_instruction, "VMFUNC")                                                                              \
    X(60, exit_unexpected, "ENCLS")                                                                                    \
    X(61, exit_unexpected, "RDSEED")                                                                                   \
    X(62, exit_unexpected, "PAGE_MODIFICATION_LOG_FULL")                                                               \
    X(63, exit_unexpected, "XSAVES")                                                                                   \
    X(64, exit_unexpected, "XRSTORS")                                                                                  \
    X(66, exit_unexpected, "SPP_EVENT")                                                                                \
    X(67, exit_unexpected, "UMWAIT")                                                                                   \
    X(68, exit_unexpected, "TPAUSE")                                                                                   \
    X(69, exit_unexpected, "LOADIWKEY")

#endif
