/* Between the run loop (machine.c) and the two ways to run a vCPU: `vtx` (hypervisor/) and `bare` (bare.c).
 *
 * All that decides when something happens (time, deadlines, limits, interrupt delivery, idling) is the run loop's and
 * shared; an accelerator runs guest instructions up to a time and completes those that touch the board. So both give
 * equal counts. */
#ifndef BRINGUP_ACCEL_H
#define BRINGUP_ACCEL_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "chipset/board.h"
#include "emulate.h"
#include "memory_map.h"
#include "chipset/snapshot.h"
#include "processor/bits.h"

/* ---- one vCPU ---- */

#define EXIT_REASONS 70
#define EXIT_RING 256

/* What accel->run is to return for, besides what it always returns for. WINDOW_PAUSE: a PAUSE has retired. */
enum window { WINDOW_INTERRUPT = 1, WINDOW_NMI = 2, WINDOW_PAUSE = 4 };

/* Interruptibility state, SDM vol. 3, table 25-3. */
#define BLOCKED_BY_STI 1u
#define BLOCKED_BY_MOV_SS 2u
#define BLOCKED_BY_NMI 8u

#define MONITOR_LINE 64 /* CPUID leaf 5 */

/* What MONITOR watches. Only other vCPUs could write there while this one waits, so the run loop compares; a store of
 * what was there before needs no one to wake. */
struct monitor {
    const uint8_t *line; /* NULL: nothing */
    uint8_t before[MONITOR_LINE];
};

/* The part that the run loop knows; an accelerator's own structure begins with it. */
struct vcpu {
    const struct accel *accel;
    struct machine *machine; /* for `attention` */
    const struct machine_config *config;
    const struct memory_map *map;
    struct arena *arena;
    struct processor *processor;
    struct board *board;
    unsigned index;

    uint64_t count;     /* instructions retired: before the one that accesses a device */
    uint64_t elsewhere; /* those of the machine's other vCPUs, while this one runs */
    uint64_t time;      /* guest time, likewise before; behind the machine's while another one runs */
    uint64_t until;     /* guest time at which accel->run returns at the latest */

    bool halted;    /* by HLT or MWAIT, until an event wakes it */
    bool yields;    /* by PAUSE: another vCPU's turn */
    bool injecting; /* the next run delivers an event already */
    bool nmi_pending;
    struct monitor monitor;

    /* Asked between the iterations of a REP on a device: has the run loop to look before the next one? */
    bool (*attention)(struct vcpu *vcpu);

    enum machine_exit_kind end; /* MACHINE_AIR: goes on */
    uint32_t detail;
    char reason[160];

    uint64_t exits[EXIT_REASONS];
    uint64_t exit_total;
    struct machine_exit_record ring[EXIT_RING]; /* exit n is in n % EXIT_RING */
};

/* The machine's instructions so far, by the vCPU that runs. */
static inline uint64_t vcpu_machine_count(const struct vcpu *vcpu)
{
    return vcpu->count + vcpu->elsewhere;
}

/* MONITOR retired. What is not RAM cannot be watched. */
static inline void vcpu_monitor(struct vcpu *vcpu, uint64_t gpa)
{
    gpa &= ~(uint64_t)(MONITOR_LINE - 1);
    bool ram = memory_allows(vcpu->map, gpa, MONITOR_LINE, MEMORY_ROM);
    vcpu->monitor.line = ram ? arena_at(vcpu->arena, gpa, MONITOR_LINE) : NULL;
    if (ram)
        memcpy(vcpu->monitor.before, vcpu->monitor.line, MONITOR_LINE);
}

static inline bool vcpu_monitor_written(const struct vcpu *vcpu)
{
    return vcpu->monitor.line && memcmp(vcpu->monitor.line, vcpu->monitor.before, MONITOR_LINE);
}

/* MWAIT retired: as HLT when there is no other vCPU that could write to memory meanwhile. */
static inline bool vcpu_mwait_halts(const struct vcpu *vcpu)
{
    return vcpu->config->cpus == 1 || (vcpu->monitor.line && !vcpu_monitor_written(vcpu));
}

/* RESET# and INIT: SDM vol. 3, table 10-1. `cr0` as it was keeps CD and NW over an INIT. */
static inline struct vcpu_registers initial_registers(const struct vcpu *vcpu, uint64_t cr0)
{
    enum { CS = 1, LDTR = 6, TR = 7, DATA = 0x93, LDT = 0x82, BUSY_TSS = 0x8b, RDX = 2 };
    struct vcpu_registers registers = {
        .rip = 0xfff0,
        .rflags = RFLAGS_FIXED,
        .cr0 = (cr0 & (CR0_CD | CR0_NW)) | CR0_ET,
        .dr = {[6] = 0xffff0ff0, [7] = 0x400},
        .gdt_limit = 0xffff,
        .idt_limit = 0xffff,
    };
    struct cpuid_leaf version;
    processor_cpuid(vcpu->processor, 1, 0, &version);
    registers.gpr[RDX] = version.eax;
    for (unsigned i = 0; i < sizeof registers.segment / sizeof *registers.segment; i++)
        registers.segment[i] = (struct vcpu_segment){
            .limit = 0xffff, .access = i == LDTR ? LDT : i == TR ? BUSY_TSS : DATA};
    registers.segment[CS].selector = 0xf000;
    registers.segment[CS].base = 0xffff0000;
    return registers;
}

/* Ends the machine. The first reason stands: what follows it may be its consequence. */
static inline __attribute__((format(printf, 3, 4))) void vcpu_end(struct vcpu *vcpu, enum machine_exit_kind kind,
                                                                  const char *format, ...)
{
    if (vcpu->end != MACHINE_AIR)
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(vcpu->reason, sizeof vcpu->reason, format, arguments);
    va_end(arguments);
    vcpu->end = kind;
}

struct accel {
    /* Bytes of arena behind RAM that it needs for structures of its own. */
    uint64_t (*structures)(const struct machine_config *config);
    /* A vCPU that begins with a copy of `common`, in the state after power-on; NULL with a sentence in `error`. */
    struct vcpu *(*create)(const struct vcpu *common, char *error, size_t error_size);
    void (*destroy)(struct vcpu *vcpu);
    /* Power-on state; count and time stay. */
    void (*reset)(struct vcpu *vcpu);

    /* Runs until guest time `until`, until one of `windows` is open, or until something happened at which the run loop
     * must look: a device access, HLT, a kick, the end. At least one instruction retires unless it faults. */
    void (*run)(struct vcpu *vcpu, uint64_t until, unsigned windows);
    /* Idle time passes. */
    void (*set_time)(struct vcpu *vcpu, uint64_t time);
    /* The A20 gate: closed, physical addresses have bit 20 clear. Open after reset. */
    void (*set_a20)(struct vcpu *vcpu, bool open);
    /* vcpu->map has changed; called for each vCPU, the first one first. */
    void (*set_map)(struct vcpu *vcpu);

    /* What it keeps of the vCPU besides the processor (snapshot.h). */
    void (*snapshot)(struct vcpu *vcpu, struct snapshot *snapshot);

    /* RFLAGS.IF, and the interruptibility state. */
    bool (*interrupts_enabled)(const struct vcpu *vcpu);
    uint32_t (*interruptibility)(const struct vcpu *vcpu);
    /* A debug trap of the last instruction, which comes before NMIs and interrupts (SDM vol. 3, table 6-2). */
    bool (*trap_pending)(const struct vcpu *vcpu);
    /* Delivers an NMI or an external interrupt that the guest can take now. */
    void (*inject_nmi)(struct vcpu *vcpu);
    void (*inject_interrupt)(struct vcpu *vcpu, uint8_t vector);

    void (*get_registers)(const struct vcpu *vcpu, struct vcpu_registers *registers);
    void (*set_registers)(struct vcpu *vcpu, const struct vcpu_registers *registers);
    /* RDMSR in the guest; false: #GP. */
    bool (*read_msr)(const struct vcpu *vcpu, uint32_t index, uint64_t *value);
};

extern const struct accel accel_vtx, accel_bare;

/* VM exits by their names in SDM vol. 3, appendix C; NULL: no such reason. */
extern const char *const exit_names[EXIT_REASONS];

#endif
