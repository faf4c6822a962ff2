/* The VMX capability MSRs (SDM vol. 3, appendix A): what this processor's VT-x can do, and nothing else. */
#include "vmx_private.h"

/* Controls that must be 1 (default1 class), and of these the ones that the "true" MSRs make free. External interrupts
 * carry no vector of their own (processor_kick), so they always exit. */
#define PIN_DEFAULT1 0x00000016u
#define PRIMARY_DEFAULT1 0x0401e172u
#define EXIT_DEFAULT1 0x00036dffu
#define ENTRY_DEFAULT1 0x000011ffu

#define PIN_FREE (PIN_NMI_EXITING | PIN_VIRTUAL_NMIS | PIN_PREEMPTION_TIMER)
#define PRIMARY_FREE                                                                                                   \
    (PRIMARY_INTERRUPT_WINDOW_EXITING | PRIMARY_TSC_OFFSETTING | PRIMARY_HLT_EXITING | PRIMARY_INVLPG_EXITING |        \
     PRIMARY_MWAIT_EXITING | PRIMARY_RDPMC_EXITING | PRIMARY_RDTSC_EXITING | PRIMARY_CR8_LOAD_EXITING |                \
     PRIMARY_CR8_STORE_EXITING | PRIMARY_NMI_WINDOW_EXITING | PRIMARY_MOV_DR_EXITING |                                 \
     PRIMARY_UNCONDITIONAL_IO_EXITING | PRIMARY_USE_IO_BITMAPS | PRIMARY_MONITOR_TRAP_FLAG |                           \
     PRIMARY_USE_MSR_BITMAPS | PRIMARY_MONITOR_EXITING | PRIMARY_PAUSE_EXITING | PRIMARY_SECONDARY_CONTROLS)
#define PRIMARY_TRUE_FREE (PRIMARY_CR3_LOAD_EXITING | PRIMARY_CR3_STORE_EXITING)
#define EXIT_FREE                                                                                                      \
    (EXIT_HOST_ADDRESS_SPACE_SIZE | EXIT_SAVE_PAT | EXIT_LOAD_PAT | EXIT_SAVE_EFER | EXIT_LOAD_EFER |                  \
     EXIT_SAVE_PREEMPTION_TIMER)
#define EXIT_TRUE_FREE EXIT_SAVE_DEBUG_CONTROLS
#define ENTRY_FREE (ENTRY_IA32E_MODE_GUEST | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER)
#define ENTRY_TRUE_FREE ENTRY_LOAD_DEBUG_CONTROLS

static uint64_t allowed(uint32_t ones, uint32_t free)
{
    return (uint64_t)(ones | free) << 32 | ones;
}

static uint64_t secondary_allowed(const struct processor *cpu)
{
    uint32_t free = SECONDARY_ENABLE_EPT | SECONDARY_DESCRIPTOR_TABLE_EXITING | SECONDARY_ENABLE_VPID |
                    SECONDARY_WBINVD_EXITING | SECONDARY_UNRESTRICTED_GUEST;
    if (has_feature(cpu, FEATURE_RDTSCP) || has_feature(cpu, FEATURE_RDPID))
        free |= SECONDARY_ENABLE_RDTSCP;
    if (has_feature(cpu, FEATURE_RDRAND))
        free |= SECONDARY_RDRAND_EXITING;
    if (has_feature(cpu, FEATURE_INVPCID))
        free |= SECONDARY_ENABLE_INVPCID;
    if (has_feature(cpu, FEATURE_RDSEED))
        free |= SECONDARY_RDSEED_EXITING;
    if (has_feature(cpu, FEATURE_XSAVES))
        free |= SECONDARY_ENABLE_XSAVES;
    return allowed(0, free);
}

/* Basic information (A.1): VMCS region of 4096 bytes, write-back, INS/OUTS information, "true" MSRs. */
static uint64_t basic(void)
{
    return VMCS_REVISION | (uint64_t)VMCS_REGION_SIZE << 32 | 6ull << 50 | 1ull << 54 | 1ull << 55;
}

/* Miscellaneous data (A.6): the preemption timer counts every TSC tick; EFER.LMA is stored into "IA-32e mode guest";
 * HLT activity state; CR3 targets; MSR lists of 512; injection with instruction length 0. */
static uint64_t misc(void)
{
    return 1u << 5 | 1u << 6 | VMX_CR3_TARGETS << 16 | (VMX_MSR_LIST_MAXIMUM / 512 - 1) << 25 | 1u << 30;
}

/* EPT and VPID capabilities (A.10): page-walk length 4, UC and WB structures, 2 MiB and 1 GiB pages, INVEPT and INVVPID
 * of all types. */
static uint64_t ept_vpid(void)
{
    return VMX_EPT_EXECUTE_ONLY | 1u << 6 | 1u << 8 | 1u << 14 | 1u << 16 | 1u << 17 | 1u << 20 | 3u << 25 |
           1ull << 32 | 15ull << 40;
}

/* The bits of CR4 whose features the model has. */
static uint64_t cr4_supported(const struct processor *cpu)
{
    static const struct {
        enum feature feature;
        uint64_t bits;
    } table[] = {
        {FEATURE_VME, CR4_VME | CR4_PVI}, {FEATURE_TSC, CR4_TSD},
        {FEATURE_DE, CR4_DE},             {FEATURE_PSE, CR4_PSE},
        {FEATURE_PAE, CR4_PAE},           {FEATURE_PGE, CR4_PGE},
        {FEATURE_FXSR, CR4_OSFXSR},       {FEATURE_SSE, CR4_OSXMMEXCPT},
        {FEATURE_UMIP, CR4_UMIP},         {FEATURE_FSGSBASE, CR4_FSGSBASE},
        {FEATURE_PCID, CR4_PCIDE},        {FEATURE_XSAVE, CR4_OSXSAVE},
        {FEATURE_SMEP, CR4_SMEP},         {FEATURE_SMAP, CR4_SMAP},
        {FEATURE_PKU, CR4_PKE},           {FEATURE_LA57, CR4_LA57},
    };
    uint64_t bits = CR4_MCE | CR4_PCE | CR4_PAE; /* of root's 64-bit code, whatever the model */
    for (unsigned i = 0; i < sizeof table / sizeof table[0]; i++)
        if (has_feature(cpu, table[i].feature))
            bits |= table[i].bits;
    return bits;
}

#define CR0_FIXED0 (CR0_PE | CR0_NE | CR0_PG)
#define CR4_FIXED0 CR4_VMXE

bool vmx_msr_read(struct processor *cpu, uint32_t index, uint64_t *value)
{
    switch (index) {
    case MSR_VMX_BASIC:
        *value = basic();
        return true;
    case 0x481:
    case MSR_VMX_TRUE_PINBASED_CTLS:
        *value = allowed(PIN_DEFAULT1 | PIN_EXTERNAL_INTERRUPT_EXITING, PIN_FREE);
        return true;
    case 0x482:
        *value = allowed(PRIMARY_DEFAULT1, PRIMARY_FREE);
        return true;
    case 0x483:
        *value = allowed(EXIT_DEFAULT1, EXIT_FREE);
        return true;
    case 0x484:
        *value = allowed(ENTRY_DEFAULT1, ENTRY_FREE);
        return true;
    case MSR_VMX_MISC:
        *value = misc();
        return true;
    case 0x486:
        *value = CR0_FIXED0;
        return true;
    case 0x487:
        *value = 0xffffffff;
        return true;
    case 0x488:
        *value = CR4_FIXED0;
        return true;
    case 0x489:
        *value = cr4_supported(cpu) | CR4_VMXE;
        return true;
    case 0x48a:
        *value = (uint64_t)vmcs_highest_index() << 1;
        return true;
    case MSR_VMX_PROCBASED_CTLS2:
        *value = secondary_allowed(cpu);
        return true;
    case MSR_VMX_EPT_VPID_CAP:
        *value = ept_vpid();
        return true;
    case MSR_VMX_TRUE_PROCBASED_CTLS:
        *value = allowed(PRIMARY_DEFAULT1 & ~PRIMARY_TRUE_FREE, PRIMARY_FREE | PRIMARY_TRUE_FREE);
        return true;
    case MSR_VMX_TRUE_EXIT_CTLS:
        *value = allowed(EXIT_DEFAULT1 & ~EXIT_TRUE_FREE, EXIT_FREE | EXIT_TRUE_FREE);
        return true;
    case MSR_VMX_TRUE_ENTRY_CTLS:
        *value = allowed(ENTRY_DEFAULT1 & ~ENTRY_TRUE_FREE, ENTRY_FREE | ENTRY_TRUE_FREE);
        return true;
    default:
        return false;
    }
}

bool vmx_controls_allowed(struct processor *cpu, uint32_t msr, uint32_t controls)
{
    uint64_t setting = 0;
    vmx_msr_read(cpu, msr, &setting);
    return !((uint32_t)setting & ~controls) && !(controls & ~(uint32_t)(setting >> 32));
}

bool vmx_cr0_fixed(uint64_t cr0, bool unrestricted)
{
    uint64_t ones = unrestricted ? CR0_NE : CR0_FIXED0;
    return (cr0 & ones) == ones && !(cr0 >> 32);
}

bool vmx_cr4_fixed(const struct processor *cpu, uint64_t cr4)
{
    return cr4 & CR4_VMXE && !(cr4 & ~(cr4_supported(cpu) | CR4_VMXE));
}

bool vmx_cr0_allowed(const struct processor *cpu, uint64_t cr0)
{
    return !vmx_non_root(cpu) || vmx_cr0_fixed(cr0, vmx_unrestricted(&cpu->vmx->vmcs));
}

bool vmx_cr4_allowed(const struct processor *cpu, uint64_t cr4)
{
    return !vmx_non_root(cpu) || vmx_cr4_fixed(cpu, cr4);
}

bool vmx_pat_valid(uint64_t pat)
{
    for (unsigned i = 0; i < 8; i++, pat >>= 8)
        if ((pat & 0xff) > 7 || (pat & 0xff) == 2 || (pat & 0xff) == 3)
            return false;
    return true;
}

bool vmx_efer_valid(const struct processor *cpu, uint64_t efer)
{
    uint64_t bits = EFER_LME | EFER_LMA | EFER_SCE;
    if (has_feature(cpu, FEATURE_NX))
        bits |= EFER_NXE;
    return !(efer & ~bits);
}
