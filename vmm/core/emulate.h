/* One instruction as a library: the interpreter's own semantics on given registers over a given physical bus.
 *
 * A hypervisor calls this when an EPT violation turns out to be MMIO: it hands over the guest's registers (from the
 * VMCS and processor_registers) and a bus that knows guest-physical addresses. No processor stands behind it; the
 * guest's page tables are walked through the same bus. Every instruction that the processor knows works. */
#ifndef BRINGUP_EMULATE_H
#define BRINGUP_EMULATE_H

#include "vmx.h"

/* Accesses are naturally sized pieces (1, 2, 4, 8 bytes) that do not cross a page; an access without a device
 * reads as ones. */
struct emulate_bus {
    void *context;
    void (*read)(void *context, uint64_t gpa, void *data, unsigned size);
    void (*write)(void *context, uint64_t gpa, const void *data, unsigned size);
    uint32_t (*in)(void *context, uint16_t port, unsigned size); /* for INS and OUTS (and IN, OUT) */
    void (*out)(void *context, uint16_t port, uint32_t value, unsigned size);
};

/* The registers that live in the VMCS while a guest runs; in and out. */
struct emulate_state {
    uint64_t rip, rsp, rflags;
    uint64_t cr0, cr3, cr4, efer;
    uint64_t pdpte[4];              /* PAE paging only */
    struct vcpu_segment segment[8]; /* ES CS SS DS FS GS LDTR TR */
    uint64_t gdt_base, idt_base;
    uint32_t gdt_limit, idt_limit;
    uint32_t interruptibility;      /* SDM vol. 3, table 25-3 */
    uint64_t dr7;
    uint64_t pending_debug;         /* debug traps due at the next boundary; SDM vol. 3, table 25-4 */
    uint64_t tsc;                   /* for RDTSC */
};

enum emulate_result {
    EMULATE_DONE = 0,      /* RIP is past the instruction; one iteration of a REP leaves RIP on it until it ends */
    EMULATE_EXCEPTION = 1, /* nothing done but CR2 and MXCSR's flags; `vector`, `error` to inject */
    EMULATE_REFUSED = 2    /* an instruction with an exit of its own (HLT, CPUID, ...) */
};

struct emulate_outcome {
    uint32_t vector, error;
    bool has_error;
    uint32_t length;     /* bytes of the instruction */
    uint64_t iterations; /* retired instructions: REP counts one an iteration, all else 1 */
    uint64_t monitored;  /* the guest-physical address that a MONITOR named, else MACHINE_NEVER */
};

struct emulator;
struct emulator *emulator_create(const struct machine_config *config);
void emulator_destroy(struct emulator *emulator);

/* At most `budget` iterations of a REP. General registers, CR2 and FPU are read and written in `registers`. */
enum emulate_result emulate_instruction(struct emulator *emulator, struct registers *registers,
                                        struct emulate_state *state, const struct emulate_bus *bus, uint64_t budget,
                                        struct emulate_outcome *outcome);

/* A task switch (SDM vol. 3, 8.3): `source` as in the exit qualification: 0 CALL, 1 IRET, 2 JMP, 3 task gate in the
 * IDT. On entry state->rip is what the old TSS must save. EMULATE_EXCEPTION: raised in the new task when TR in `state`
 * is the new task's (which is then loaded as far as it could be), else in the old one with nothing done. */
enum emulate_result emulate_task_switch(struct emulator *emulator, struct registers *registers,
                                        struct emulate_state *state, const struct emulate_bus *bus, uint16_t selector,
                                        unsigned source, bool has_error, uint32_t error,
                                        struct emulate_outcome *outcome);

#endif
