/* The software processor's own state. Private to processor/: the hypervisor sees vmx.h and emulate.h only. */
#ifndef BRINGUP_CPU_H
#define BRINGUP_CPU_H

#include "../emulate.h"
#include "../vmx.h"
#include "bits.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct op;
struct trace;
struct vmx; /* vmx_state.h */

enum gpr { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
enum segment_register { ES, CS, SS, DS, FS, GS, LDTR, TR };

/* Everything a guest can see or feel, without a pointer: what a snapshot copies and what two runs compare.
 * `registers` comes first: decoded operations address the general registers by their offset from here. */
#define MCA_BANKS 4 /* of the machine-check architecture (SDM vol. 3, 16.3); no error is ever reported */

struct vcpu_state {
    struct registers registers;
    uint64_t zero; /* stands in for an absent base or index register */
    uint64_t rip;  /* while a trace runs: of its first instruction */
    /* Arithmetic flags as LAHF and SETO leave them in AX: SF 15, ZF 14, AF 12, PF 10, CF 8, OF 0. */
    uint16_t flags;
    uint8_t cpl;
    uint8_t activity;          /* enum activity, SDM vol. 3, 25.4.2 */
    uint32_t interruptibility; /* SDM vol. 3, table 25-3: STI 0, MOV SS 1, SMI 2, NMI 3 */
    uint64_t system_flags;     /* the rest of RFLAGS: TF IF DF IOPL NT RF VM AC VIF VIP ID */
    struct vcpu_segment seg[8];
    uint64_t gdt_base, idt_base;
    uint32_t gdt_limit, idt_limit;
    uint64_t cr0, cr3, cr4, cr8, efer;
    uint64_t pdpte[4]; /* PAE paging: loaded with CR3 */
    uint64_t a20m;     /* the address bit that A20M# masks: bit 20 or 0; never in VMX operation (25.3) */
    uint64_t dr7;
    uint64_t pending_debug; /* DR6 bits of a debug trap due at the next boundary; SDM vol. 3, table 25-4 */
    uint64_t count;         /* instructions retired; exact outside a run */
    uint64_t tsc_base;      /* IA32_TIME_STAMP_COUNTER = tsc_base + count */
    /* MSRs (SDM vol. 4) */
    uint64_t star, lstar, cstar, fmask, kernel_gs_base, tsc_aux;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, apic_base, misc_enable, feature_control, spec_ctrl, debugctl, tsc_adjust, tsc_deadline, xss;
    uint64_t mc_ctl[MCA_BANKS], mc_addr[MCA_BANKS], mc_misc[MCA_BANKS];
    uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];
    uint64_t random; /* RDRAND, RDSEED: splitmix64 */
};

enum activity { ACTIVE = 0, HLT = 1, SHUTDOWN = 2, WAIT_FOR_SIPI = 3 };

/* interruptibility */
#define BLOCKING_BY_STI 1u
#define BLOCKING_BY_MOV_SS 2u
#define BLOCKING_BY_NMI 8u

/* ---- translation caches ---- */

#define TLB_SIZE 1024
#define FETCH_TLB_SIZE 256
#define TLB_BANKS 8

/* Tags are page-aligned linear addresses, TLB_INVALID where the access must take the slow path (not mapped, no
 * permission, MMIO), with TLB_CODE where a store must look first whether it meets decoded code. Host address = linear +
 * addend. */
struct tlb_entry {
    uint64_t read, write;
    uint64_t addend;
    uint64_t pa; /* of the page; bit 0: global */
};
struct fetch_entry {
    uint64_t tag, pa; /* pa bit 0: global */
};
#define TLB_INVALID 16ull /* not 1 to 15: a misaligned 16-byte operand compares with its low four bits (simd.c) */
#define TLB_CODE 32ull

/* One entry array per privilege: supervisor, user, supervisor with SMAP suspended by EFLAGS.AC. */
enum tlb_class { TLB_SUPERVISOR, TLB_USER, TLB_SUPERVISOR_AC, TLB_CLASSES };

/* Paging-structure cache (SDM vol. 3, 4.10.3): the page table of a 2-MiB region and what the levels above it allow. */
#define WALK_CACHE_SIZE 64
struct walk_entry {
    uint64_t region, stamp, table;
    uint32_t rights;
};

/* Guest-physical mappings of an EPT pointer (SDM vol. 3, 29.4): page frame numbers; `hpa` holds EPT bits 2:0 below. */
#define EPT_TLB_SIZE 2048
struct ept_entry {
    uint64_t gpa, eptp, stamp, hpa;
};

/* Pages of which code was fetched since the generation began: a bit each, by hash (a Bloom filter). */
#define FETCHED_BITS 1024
struct fetched {
    uint64_t bits[FETCHED_BITS / 64];
};

/* One bank for each address space that was seen lately. */
struct tlb_bank {
    uint64_t key[4];     /* PCID and PKRU, paging-mode bits, EPTP, VPID */
    /* Generations are never used twice: they stamp jump-cache entries of user code, and of supervisor code once some of
     * that was fetched from a page that is not global; till then (0) processor.global_generation stamps these. */
    uint64_t generation, supervisor_generation;
    struct fetched fetched[2]; /* for supervisor_generation, generation */
    uint64_t used;       /* for replacement; 0: free */
    uint64_t walk_stamp; /* never used twice: of the walk entries that hold */
    uint64_t filled[TLB_CLASSES]; /* one bit for each group of TLB_SIZE / 64 entries */
    uint64_t large, huge; /* regions of 2 MiB, of 1 GiB (modulo 64) that hold entries of large pages */
    struct walk_entry walk[WALK_CACHE_SIZE];
    struct tlb_entry entry[TLB_CLASSES][TLB_SIZE];
    struct fetch_entry fetch[FETCH_TLB_SIZE]; /* supervisor and user fetches: tag bit 1 is user */
};

/* From RIP (or the linear address, by its tag) to a trace without asking the page tables: valid while `tag` (generation
 * and mode) is the current. */
#define JUMP_SIZE 4096
#define JUMP_NEVER (~0ull)
struct jump_entry {
    uint64_t rip, tag;
    struct trace *trace;
};

/* ---- why a run ended (run.c) ---- */

enum leave {
    LEAVE_NONE,
    LEAVE_BUDGET,   /* the wanted count is reached */
    LEAVE_VM_EXIT,  /* the VMCS holds the exit information */
    LEAVE_HALT,     /* bare: HLT retired */
    LEAVE_MWAIT,    /* bare: MWAIT retired */
    LEAVE_PAUSE,    /* bare: PAUSE at RIP, if wanted; not retired */
    LEAVE_MONITOR,  /* bare: MONITOR at RIP, if wanted; not retired */
    LEAVE_SHUTDOWN, /* bare: triple fault */
    LEAVE_BUS,      /* bare: the instruction at RIP wants a device (port or memory); not retired */
    LEAVE_MSR,      /* bare: RDMSR or WRMSR at RIP of an MSR that the board has; not retired */
    LEAVE_KICK,     /* bare: processor_kick */
    LEAVE_REFUSED,  /* emulator: the instruction has an exit of its own */
    LEAVE_FERR,          /* bare: the instruction at RIP waits for an x87 error that CR0.NE leaves to FERR#; not retired */
    LEAVE_INTERRUPTIBLE, /* bare: an interrupt window that was asked for is open */
    LEAVE_EXCEPTION /* internal to run.c: `fault` holds what to deliver */
};

/* Interruption type, SDM vol. 3, table 25-17. */
enum event_type {
    EVENT_EXTERNAL = 0,
    EVENT_NMI = 2,
    EVENT_EXCEPTION = 3,
    EVENT_SOFTWARE_INTERRUPT = 4,
    EVENT_PRIVILEGED_SOFTWARE = 5, /* ICEBP */
    EVENT_SOFTWARE_EXCEPTION = 6   /* INT3, INTO */
};

struct event {
    uint8_t vector, type;
    bool has_error;
    uint32_t error;
    uint32_t length;    /* of the instruction, for software interrupts and exceptions */
    uint64_t dr6;       /* #DB: the bits to set */
    uint64_t cr2;       /* #PF: the linear address */
};

struct processor {
    struct vcpu_state s;

    /* Instructions that this slice may still retire. The count is `horizon - left`, and while operation i of a trace
     * of n runs, `horizon - left - n + i`. */
    int64_t left;
    uint64_t horizon;

    struct tlb_entry *tlb; /* current bank and class */
    struct tlb_bank *bank;
    uint32_t mode;         /* enum mode_bits: part of a trace's key */
    /* generation << 16 | mode. In legacy code that is not flat RIP alone does not tell the linear address: there
     * jump_tag is JUMP_NEVER, and the jump cache is asked by linear address with linear_tag, which is JUMP_NEVER
     * elsewhere. */
    uint64_t jump_tag, linear_tag;
    uint32_t shadow; /* interruptibility bits of the one instruction that runs in their shadow (run.c) */
    bool resuming;   /* RFLAGS.RF was set for it */
    bool alone;      /* the next instruction meets a data breakpoint: the trap follows it at once (run.c) */
    bool gathered; /* this gather has loaded an element */
    uint8_t breakpoints; /* a bit for each kind that DR7 enables (breakpoint.h) */

    /* An operand that is not one piece of plain RAM is assembled here (memory.h). */
    _Alignas(64) uint8_t bounce[64];
    struct {
        uint64_t pa[2];
        uint32_t size[2];
    } pieces;

    const struct emulate_bus *bus; /* set: accesses that are not RAM go here; else they leave the run */
    bool emulating;                /* an emulator: nothing is RAM, nothing is cached */
    bool want_interrupt_window;    /* bare */
    bool want_pause, want_monitor; /* bare: PAUSE and MONITOR leave the run */
    uint64_t monitored;            /* the physical address that the last MONITOR named */
    bool ignne;                    /* bare: the pin IGNNE# */
    volatile uint32_t kicked;

    uint64_t delivered_at; /* the count at the last delivery, and how many there were at it (run.c) */
    uint32_t deliveries;

    struct event fault;     /* being raised */
    struct event delivering; /* being delivered, while delivering_valid: for double faults and IDT-vectoring */
    bool delivering_valid;
    enum leave leave;
    void *unwind[5]; /* __builtin_setjmp */

    uint8_t fpu_live; /* enum fpu_live (fpu.h): what of the guest's x87 and MXCSR is in the host's registers */
    uint32_t host_mxcsr;
    uint16_t host_fcw;

    uint64_t features[2]; /* enum feature, from the CPU model */
    uint16_t cpu_generation; /* enum */
    bool amd;             /* the vendor, where it decides (docs/vendors.md) */
    uint32_t rflags_optional; /* of AC and ID, those that can be set */
    uint8_t physical_bits;
    const struct machine_config *model;
    struct machine_config config;
    unsigned index; /* among the machine's: the initial APIC id */

    struct arena *arena;
    struct vmx *vmx;
    struct processor *next; /* on the same arena */
    struct trace *limited;  /* trace_limited */
    struct tlb_bank *banks; /* TLB_BANKS */
    uint64_t generation;    /* last one given */
    uint64_t global_generation, global_key[3]; /* of supervisor code in global pages: the same in all banks of a key */
    struct fetched global_fetched;
    uint64_t ept_stamp;     /* of the EPT entries that hold */
    struct ept_entry ept[EPT_TLB_SIZE];
    struct jump_entry jump[JUMP_SIZE];
};

/* ---- features ---- */

/* What the CPU model advertises; an instruction outside raises #UD. X(name, leaf, subleaf, register, bit). */
#define FEATURES(X)                                                                                                    \
    X(FPU, 1, 0, 3, 0) X(VME, 1, 0, 3, 1) X(DE, 1, 0, 3, 2) X(PSE, 1, 0, 3, 3) X(TSC, 1, 0, 3, 4)                      \
    X(MSR, 1, 0, 3, 5) X(PAE, 1, 0, 3, 6) X(CX8, 1, 0, 3, 8) X(SEP, 1, 0, 3, 11) X(MTRR, 1, 0, 3, 12)                  \
    X(PGE, 1, 0, 3, 13) X(MCA, 1, 0, 3, 14) X(CMOV, 1, 0, 3, 15) X(PAT, 1, 0, 3, 16) X(CLFSH, 1, 0, 3, 19)             \
    X(MMX, 1, 0, 3, 23)                                                                                               \
    X(FXSR, 1, 0, 3, 24) X(SSE, 1, 0, 3, 25) X(SSE2, 1, 0, 3, 26)                                                      \
    X(SSE3, 1, 0, 2, 0) X(PCLMULQDQ, 1, 0, 2, 1) X(MONITOR, 1, 0, 2, 3) X(VMX, 1, 0, 2, 5) X(SSSE3, 1, 0, 2, 9)        \
    X(FMA, 1, 0, 2, 12) X(CX16, 1, 0, 2, 13) X(AES, 1, 0, 2, 25) X(AVX, 1, 0, 2, 28) X(F16C, 1, 0, 2, 29)              \
    X(PCID, 1, 0, 2, 17) X(SSE41, 1, 0, 2, 19) X(SSE42, 1, 0, 2, 20) X(MOVBE, 1, 0, 2, 22) X(POPCNT, 1, 0, 2, 23)      \
    X(TSC_DEADLINE, 1, 0, 2, 24) X(XSAVE, 1, 0, 2, 26) X(RDRAND, 1, 0, 2, 30)                                          \
    X(FSGSBASE, 7, 0, 1, 0) X(BMI1, 7, 0, 1, 3) X(SMEP, 7, 0, 1, 7) X(BMI2, 7, 0, 1, 8) X(ERMS, 7, 0, 1, 9)            \
    X(INVPCID, 7, 0, 1, 10) X(RDSEED, 7, 0, 1, 18) X(ADX, 7, 0, 1, 19) X(SMAP, 7, 0, 1, 20)                            \
    X(CLFLUSHOPT, 7, 0, 1, 23) X(CLWB, 7, 0, 1, 24) X(SHA, 7, 0, 1, 29) X(AVX2, 7, 0, 1, 5) X(LA57, 7, 0, 2, 16)       \
    X(UMIP, 7, 0, 2, 2) X(PKU, 7, 0, 2, 3) X(RDPID, 7, 0, 2, 22) X(SPEC_CTRL, 7, 0, 3, 26) X(ARCH_CAPABILITIES, 7, 0, 3, 29)              \
    X(XSAVEOPT, 13, 1, 0, 0) X(XSAVEC, 13, 1, 0, 1) X(XGETBV1, 13, 1, 0, 2) X(XSAVES, 13, 1, 0, 3)                     \
    X(XSAVEERPTR, 0x80000008, 0, 1, 2)                                                                                 \
    X(LAHF64, 0x80000001, 0, 2, 0) X(LZCNT, 0x80000001, 0, 2, 5) X(PREFETCHW, 0x80000001, 0, 2, 8)                     \
    X(SYSCALL, 0x80000001, 0, 3, 11) X(NX, 0x80000001, 0, 3, 20) X(PAGE1GB, 0x80000001, 0, 3, 26)                      \
    X(RDTSCP, 0x80000001, 0, 3, 27) X(LM, 0x80000001, 0, 3, 29) X(INVARIANT_TSC, 0x80000007, 0, 3, 8)

enum feature {
#define X(name, leaf, subleaf, reg, bit) FEATURE_##name,
    FEATURES(X)
#undef X
        FEATURE_COUNT
};

static inline bool has_feature(const struct processor *cpu, enum feature f)
{
    return cpu->features[f / 64] >> (f % 64) & 1;
}

/* A generation that real mode is all of: PUSH SP and the upper bits of FLAGS are different. */
static inline bool before_286(const struct processor *cpu)
{
    return unlikely(cpu->cpu_generation < CPU_286);
}

/* ---- modes ---- */

/* What decoding depends on besides the bytes. */
enum mode_bits {
    MODE_CODE16 = 0,
    MODE_CODE32 = 1,
    MODE_CODE64 = 2,
    MODE_CODE = 3,
    MODE_STACK32 = 4,     /* SS.B; not in 64-bit code */
    MODE_USER = 8,        /* CPL 3 */
    MODE_FLAT = 16,       /* not in 64-bit code: ES, CS, SS and DS are flat 4 GiB, usable */
    MODE_NO_X87 = 32,     /* CR0.EM or CR0.TS */
    MODE_NO_SSE = 64,     /* CR0.EM, CR0.TS or not CR4.OSFXSR */
    MODE_FPU_CHECKED = 128, /* an unmasked x87 exception is possible or pending */
    MODE_SSE_CHECKED = 256, /* an unmasked SIMD exception is possible */
    MODE_UNPROTECTED = 512, /* real or virtual-8086 mode */
    MODE_UNPRIVILEGED = 1024, /* CPL is not 0 */
    MODE_NO_AVX = 2048 /* CR0.TS, not CR4.OSXSAVE, or XCR0 without SSE or AVX */
};

static inline bool protected_mode(const struct processor *cpu)
{
    return cpu->s.cr0 & CR0_PE;
}
static inline bool v86_mode(const struct processor *cpu)
{
    return cpu->s.system_flags & RFLAGS_VM;
}
static inline bool long_mode(const struct processor *cpu)
{
    return cpu->s.efer & EFER_LMA;
}
static inline bool code64(const struct processor *cpu)
{
    return (cpu->mode & MODE_CODE) == MODE_CODE64;
}

static inline uint64_t rflags_read(const struct processor *cpu)
{
    uint32_t f = cpu->s.flags;
    return cpu->s.system_flags | RFLAGS_FIXED | (f >> 8 & 0xd5) | (f & 1) << 11;
}
/* Sets every bit as given: the caller has masked what may change. Call cpu_update after TF, IF, VM or AC changed. */
static inline void rflags_write(struct processor *cpu, uint64_t value)
{
    cpu->s.flags = (value & 0xd5) << 8 | (value >> 11 & 1);
    cpu->s.system_flags = value & ~(uint64_t)(RFLAGS_ARITHMETIC | RFLAGS_FIXED);
}

/* After a change of CR0, CR3, CR4, EFER, CPL, RFLAGS.VM/AC, CS, SS, DS, ES, FCW or MXCSR masks: chooses mode bits, TLB
 * bank and class. Cheap (mmu.c). */
void cpu_update(struct processor *cpu);

/* RESET# (SDM vol. 3, table 10-1). */
void cpu_reset(struct processor *cpu);

/* Loads features[] from the model's CPUID rows. */
void cpu_set_model(struct processor *cpu, const struct machine_config *config);

/* ---- run.c ---- */

/* Runs until `count` instructions have retired or something else ends it; state is exact at return. */
enum leave cpu_run(struct processor *cpu, uint64_t count);

/* Instructions retired before the one at `op` (or outside a trace: in all). */
uint64_t cpu_count_at(const struct processor *cpu, const struct op *op);
static inline uint64_t cpu_tsc_at(const struct processor *cpu, const struct op *op)
{
    return cpu->s.tsc_base + cpu_count_at(cpu, op);
}

/* Ends the running instruction with nothing retired; `op` is the running operation, NULL outside a trace (event
 * delivery). RIP and count are those before the instruction. */
_Noreturn void leave_run(struct processor *cpu, const struct op *op, enum leave why);
/* Faults (interruption type 3). */
#define NO_ERROR_CODE (-1ll)
_Noreturn void raise_fault(struct processor *cpu, const struct op *op, unsigned vector, int64_t error);
_Noreturn void raise_page_fault(struct processor *cpu, const struct op *op, uint64_t linear, uint32_t error);
static inline _Noreturn void raise_ud(struct processor *cpu, const struct op *op)
{
    raise_fault(cpu, op, VECTOR_UD, NO_ERROR_CODE);
}
static inline _Noreturn void raise_gp(struct processor *cpu, const struct op *op, uint32_t error)
{
    raise_fault(cpu, op, VECTOR_GP, error);
}

/* ---- events.c ---- */

/* Through the IDT (real mode: IVT); faults meanwhile unwind to cpu_run, which makes a double fault of them. */
void deliver_event(struct processor *cpu, const struct event *event);

#endif
