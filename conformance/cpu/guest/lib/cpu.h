/* Registers and instructions, by their names in the SDM. */
#ifndef CPU_H
#define CPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A register's width; W is the suffix of instructions of that width. */
typedef uintptr_t word;
#ifdef __x86_64__
#define W "q"
#else
#define W "l"
#endif

enum {
    CR0_PE = 1 << 0,
    CR0_MP = 1 << 1,
    CR0_EM = 1 << 2,
    CR0_TS = 1 << 3,
    CR0_ET = 1 << 4,
    CR0_NE = 1 << 5,
    CR0_WP = 1 << 16,
    CR0_AM = 1 << 18,
    CR0_NW = 1 << 29,
    CR0_CD = 1 << 30,
};
#define CR0_PG 0x80000000u
enum {
    CR4_VME = 1 << 0,
    CR4_PVI = 1 << 1,
    CR4_TSD = 1 << 2,
    CR4_DE = 1 << 3,
    CR4_PSE = 1 << 4,
    CR4_PAE = 1 << 5,
    CR4_PGE = 1 << 7,
    CR4_OSFXSR = 1 << 9,
    CR4_OSXMMEXCPT = 1 << 10,
    CR4_UMIP = 1 << 11,
    CR4_LA57 = 1 << 12,
    CR4_FSGSBASE = 1 << 16,
    CR4_PCIDE = 1 << 17,
    CR4_OSXSAVE = 1 << 18,
    CR4_SMEP = 1 << 20,
    CR4_SMAP = 1 << 21,
    CR4_PKE = 1 << 22,
};
enum {
    FLAG_CF = 1 << 0,
    FLAG_RESERVED = 1 << 1, /* always set */
    FLAG_ZF = 1 << 6,
    FLAG_TF = 1 << 8,
    FLAG_IF = 1 << 9,
    FLAG_DF = 1 << 10,
    FLAG_OF = 1 << 11,
    FLAG_IOPL = 3 << 12,
    FLAG_NT = 1 << 14,
    FLAG_RF = 1 << 16,
    FLAG_VM = 1 << 17,
    FLAG_AC = 1 << 18,
    FLAG_VIF = 1 << 19,
    FLAG_VIP = 1 << 20,
    FLAG_ID = 1 << 21,
};
enum vector { DE, DB, NMI, BP, OF, BR, UD, NM, DF, TS = 10, NP, SS, GP, PF, MF = 16, AC, MC, XM };

enum {
    MSR_TSC = 0x10,
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_ADJUST = 0x3b,
    MSR_MTRRCAP = 0xfe,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP = 0x175,
    MSR_SYSENTER_EIP = 0x176,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
};
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_FMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u
enum { EFER_SCE = 1 << 0, EFER_LME = 1 << 8, EFER_LMA = 1 << 10, EFER_NXE = 1 << 11 };

#define REGISTER(name)                                                                                                 \
    static inline word get_##name(void)                                                                                \
    {                                                                                                                  \
        word value;                                                                                                    \
        asm volatile("mov %%" #name ", %0" : "=r"(value));                                                             \
        return value;                                                                                                  \
    }                                                                                                                  \
    static inline void set_##name(word value)                                                                          \
    {                                                                                                                  \
        asm volatile("mov %0, %%" #name : : "r"(value) : "memory");                                                    \
    }
REGISTER(cr0)
REGISTER(cr2)
REGISTER(cr3)
REGISTER(cr4)
REGISTER(dr0)
REGISTER(dr1)
REGISTER(dr2)
REGISTER(dr3)
REGISTER(dr6)
REGISTER(dr7)
#ifdef __x86_64__
REGISTER(cr8)
#endif
#undef REGISTER

#define PORT(suffix, type)                                                                                             \
    static inline type in##suffix(uint16_t port)                                                                       \
    {                                                                                                                  \
        type value;                                                                                                    \
        asm volatile("in" #suffix " %1, %0" : "=a"(value) : "Nd"(port) : "memory");                                    \
        return value;                                                                                                  \
    }                                                                                                                  \
    static inline void out##suffix(uint16_t port, type value)                                                          \
    {                                                                                                                  \
        asm volatile("out" #suffix " %0, %1" : : "a"(value), "Nd"(port) : "memory");                                   \
    }
PORT(b, uint8_t)
PORT(w, uint16_t)
PORT(l, uint32_t)
#undef PORT

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t low, high;
    asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
    return low | (uint64_t)high << 32;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    asm volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr) : "memory");
}

static inline uint64_t rdtsc(void)
{
    uint32_t low, high;
    asm volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return low | (uint64_t)high << 32;
}

static inline word get_flags(void)
{
    word flags;
    asm volatile("pushf; pop %0" : "=r"(flags) : : "memory");
    return flags;
}

static inline void set_flags(word flags)
{
    asm volatile("push %0; popf" : : "r"(flags) : "memory", "cc");
}

static inline void sti(void)
{
    asm volatile("sti" : : : "memory");
}

static inline void cli(void)
{
    asm volatile("cli" : : : "memory");
}

/* No interrupt comes between the two. */
static inline void sti_hlt(void)
{
    asm volatile("sti; hlt" : : : "memory");
}

static inline void invlpg(word address)
{
    asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r;
    asm volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

/* A feature is a bit of a register of a leaf; `has` looks whether the leaf is there. */
struct feature {
    uint32_t leaf;
    uint8_t subleaf, reg, bit; /* reg: EAX, EBX, ECX, EDX are 0 to 3 */
    const char *name;
};
bool has(struct feature feature);
#define FEATURE(leaf, subleaf, reg, bit, name) ((struct feature){leaf, subleaf, reg, bit, #name})
#define FEATURE_FPU FEATURE(1, 0, 3, 0, FPU)
#define FEATURE_VME FEATURE(1, 0, 3, 1, VME)
#define FEATURE_DE FEATURE(1, 0, 3, 2, DE)
#define FEATURE_PSE FEATURE(1, 0, 3, 3, PSE)
#define FEATURE_TSC FEATURE(1, 0, 3, 4, TSC)
#define FEATURE_MSR FEATURE(1, 0, 3, 5, MSR)
#define FEATURE_PAE FEATURE(1, 0, 3, 6, PAE)
#define FEATURE_CX8 FEATURE(1, 0, 3, 8, CX8)
#define FEATURE_APIC FEATURE(1, 0, 3, 9, APIC)
#define FEATURE_SEP FEATURE(1, 0, 3, 11, SEP)
#define FEATURE_MTRR FEATURE(1, 0, 3, 12, MTRR)
#define FEATURE_PGE FEATURE(1, 0, 3, 13, PGE)
#define FEATURE_CMOV FEATURE(1, 0, 3, 15, CMOV)
#define FEATURE_PAT FEATURE(1, 0, 3, 16, PAT)
#define FEATURE_CLFSH FEATURE(1, 0, 3, 19, CLFSH)
#define FEATURE_MMX FEATURE(1, 0, 3, 23, MMX)
#define FEATURE_FXSR FEATURE(1, 0, 3, 24, FXSR)
#define FEATURE_SSE FEATURE(1, 0, 3, 25, SSE)
#define FEATURE_SSE2 FEATURE(1, 0, 3, 26, SSE2)
#define FEATURE_SSE3 FEATURE(1, 0, 2, 0, SSE3)
#define FEATURE_SSSE3 FEATURE(1, 0, 2, 9, SSSE3)
#define FEATURE_CX16 FEATURE(1, 0, 2, 13, CX16)
#define FEATURE_PCID FEATURE(1, 0, 2, 17, PCID)
#define FEATURE_SSE4_1 FEATURE(1, 0, 2, 19, SSE4_1)
#define FEATURE_SSE4_2 FEATURE(1, 0, 2, 20, SSE4_2)
#define FEATURE_TSC_DEADLINE FEATURE(1, 0, 2, 24, TSC_DEADLINE)
#define FEATURE_XSAVE FEATURE(1, 0, 2, 26, XSAVE)
#define FEATURE_OSXSAVE FEATURE(1, 0, 2, 27, OSXSAVE)
#define FEATURE_AVX FEATURE(1, 0, 2, 28, AVX)
#define FEATURE_FSGSBASE FEATURE(7, 0, 1, 0, FSGSBASE)
#define FEATURE_TSC_ADJUST FEATURE(7, 0, 1, 1, TSC_ADJUST)
#define FEATURE_AVX2 FEATURE(7, 0, 1, 5, AVX2)
#define FEATURE_SMEP FEATURE(7, 0, 1, 7, SMEP)
#define FEATURE_SMAP FEATURE(7, 0, 1, 20, SMAP)
#define FEATURE_UMIP FEATURE(7, 0, 2, 2, UMIP)
#define FEATURE_PKU FEATURE(7, 0, 2, 3, PKU)
#define FEATURE_LA57 FEATURE(7, 0, 2, 16, LA57)
#define FEATURE_SYSCALL FEATURE(0x80000001, 0, 3, 11, SYSCALL)
#define FEATURE_NX FEATURE(0x80000001, 0, 3, 20, NX)
#define FEATURE_PDPE1GB FEATURE(0x80000001, 0, 3, 26, PDPE1GB)
#define FEATURE_RDTSCP FEATURE(0x80000001, 0, 3, 27, RDTSCP)
#define FEATURE_LM FEATURE(0x80000001, 0, 3, 29, LM)

#endif
