/* Between the run loop (machine.c) and the two ways to run a vCPU: `vtx` (hypervisor/) and `bare` (bare.c).
 *
 * All that decides when something happens (time, deadlines, limits, interrupt delivery, idling) is the run loop's and
 * shared; an accelerator runs guest instructions up to a time and completes those that touch the board. So both give
 * equal counts. */
#ifndef BRINGUP_ACCEL_H
#define BRINGUP_ACCEL_H

#include <stdarg.h>
#include <stdio.h>

#include "chipset/board.h"
#include "chipset/map.h"
#include "emulate.h"

/* ---- the PC's physical memory: guest-physical addresses of RAM are offsets into the arena ---- */

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define VGA_HOLE 0xa0000u /* video memory: not RAM */
#define VGA_HOLE_END 0xc0000u
#define PCI_HOLE ((uint64_t)MAP_RAM_LOW_END)
#define PCI_HOLE_END GIB(4)
#define A20 MIB(1) /* the address line that a gate may hold low */

/* The first address behind all RAM; `bytes` is machine_config.memory_bytes. */
static inline uint64_t ram_end(uint64_t bytes)
{
    return bytes <= PCI_HOLE ? bytes : bytes - PCI_HOLE + PCI_HOLE_END;
}

/* Is all of [gpa, gpa + size) RAM? */
static inline bool ram_contains(uint64_t bytes, uint64_t gpa, uint64_t size)
{
    uint64_t end = gpa + size;
    return end >= gpa && end <= ram_end(bytes) && (end <= VGA_HOLE || gpa >= VGA_HOLE_END) &&
           (end <= PCI_HOLE || gpa >= PCI_HOLE_END);
}

/* ---- one vCPU ---- */

#define EXIT_REASONS 70
#define EXIT_RING 256

enum window { WINDOW_INTERRUPT = 1, WINDOW_NMI = 2 };

/* Interruptibility state, SDM vol. 3, table 25-3. */
#define BLOCKED_BY_STI 1u
#define BLOCKED_BY_MOV_SS 2u
#define BLOCKED_BY_NMI 8u

/* The part that the run loop knows; an accelerator's own structure begins with it. */
struct vcpu {
    const struct accel *accel;
    struct machine *machine; /* for `attention` */
    const struct machine_config *config;
    struct arena *arena;
    struct processor *processor;
    struct board *board;
    unsigned index;

    uint64_t count; /* instructions retired: before the one that accesses a device */
    uint64_t time;  /* guest time likewise */
    uint64_t until; /* guest time at which accel->run returns at the latest */

    bool halted;    /* by HLT or MWAIT, until an event wakes it */
    bool injecting; /* the next run delivers an event already */
    bool nmi_pending;

    /* Asked between the iterations of a REP on a device: has the run loop to look before the next one? */
    bool (*attention)(struct vcpu *vcpu);

    enum machine_exit_kind end; /* MACHINE_AIR: goes on */
    uint32_t detail;
    char reason[160];

    uint64_t exits[EXIT_REASONS];
    uint64_t exit_total;
    struct machine_exit_record ring[EXIT_RING]; /* exit n is in n % EXIT_RING */
};

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
