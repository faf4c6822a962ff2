/* `bare`: the processor alone. What a hypervisor does at a VM exit is done here where cpu_run leaves. */
#include <stdlib.h>
#include <string.h>

#include "accel.h"
#include "processor/decode.h"
#include "processor/fpu.h"
#include "processor/memory.h"
#include "processor/msr.h"
#include "processor/run.h"
#include "processor/trace.h"

#define DR6_BS (1ull << 14)

/* A vCPU; `idle` is the guest time that did not retire instructions. */
struct bare {
    struct vcpu vcpu;
    uint64_t idle;
    uint64_t cr8; /* as the processor has it; the board may know better */
};

static struct bare *bare_of(struct vcpu *vcpu)
{
    return (struct bare *)vcpu;
}

static void read_clock(struct vcpu *vcpu)
{
    vcpu->count = vcpu->processor->s.count;
    vcpu->time = vcpu->count + bare_of(vcpu)->idle;
}

/* ---- devices ---- */

static void bus_read(void *context, uint64_t gpa, void *data, unsigned size)
{
    struct vcpu *vcpu = context;
    board_memory_read(vcpu->board, vcpu->index, gpa, data, size, vcpu->time);
}

static void bus_write(void *context, uint64_t gpa, const void *data, unsigned size)
{
    struct vcpu *vcpu = context;
    board_memory_write(vcpu->board, vcpu->index, gpa, data, size, vcpu->time);
}

static uint32_t bus_in(void *context, uint16_t port, unsigned size)
{
    struct vcpu *vcpu = context;
    return board_io_read(vcpu->board, port, size, vcpu->time);
}

static void bus_out(void *context, uint16_t port, uint32_t value, unsigned size)
{
    struct vcpu *vcpu = context;
    board_io_write(vcpu->board, port, value, size, vcpu->time, vcpu_machine_count(vcpu));
}

static void nothing_read(void *context, uint64_t gpa, void *data, unsigned size)
{
    (void)context, (void)gpa;
    memset(data, 0xff, size);
}

static void nothing_write(void *context, uint64_t gpa, const void *data, unsigned size)
{
    (void)context, (void)gpa, (void)data, (void)size;
}

/* An event that the next cpu_run delivers first. */
static void deliver_next(struct vcpu *vcpu, const struct event *event)
{
    cpu_deliver_first(vcpu->processor, event);
    vcpu->injecting = true;
}

/* The instruction at RIP with the board within reach: one iteration of a REP. */
static enum leave access_device(struct vcpu *vcpu)
{
    struct processor *cpu = vcpu->processor;
    const struct emulate_bus bus = {vcpu, bus_read, bus_write, bus_in, bus_out};
    bool step = cpu->s.system_flags & RFLAGS_TF;
    cpu->bus = &bus;
    enum leave why = cpu_run_one(cpu);
    cpu->bus = NULL;
    if (why == LEAVE_BUDGET && step)
        cpu->s.pending_debug |= DR6_BS;
    return why;
}

/* An event whose delivery met memory that is not RAM: once more, with ones there, and stops before its handler. */
static enum leave deliver_over_nothing(struct vcpu *vcpu)
{
    struct processor *cpu = vcpu->processor;
    const struct emulate_bus nothing = {.read = nothing_read, .write = nothing_write};
    struct event event = cpu->delivering;
    cpu->delivering_valid = false;
    cpu->bus = &nothing;
    cpu_deliver_first(cpu, &event);
    enum leave why = cpu_run(cpu, cpu->s.count);
    cpu->bus = NULL;
    return why;
}

static void decode_next(struct processor *cpu, void *argument)
{
    *(const struct op **)argument = trace_limited(cpu, 1)->op;
}

/* The instruction that `op` decodes is done. */
static void complete(struct processor *cpu, const struct op *op)
{
    rip_past(cpu, op);
    cpu->s.count++;
    cpu->s.interruptibility &= ~(BLOCKING_BY_STI | BLOCKING_BY_MOV_SS);
    cpu->s.system_flags &= ~(uint64_t)RFLAGS_RF;
    if (cpu->s.system_flags & RFLAGS_TF)
        cpu->s.pending_debug |= DR6_BS;
}

static void pause(struct vcpu *vcpu)
{
    const struct op *op;
    cpu_protect(vcpu->processor, decode_next, &op); /* it was fetched before: no fault */
    complete(vcpu->processor, op);
    vcpu->yields = true;
}

static enum leave monitor(struct vcpu *vcpu)
{
    struct processor *cpu = vcpu->processor;
    cpu->want_monitor = false;
    enum leave why = access_device(vcpu);
    cpu->want_monitor = true;
    if (why == LEAVE_BUDGET)
        vcpu_monitor(vcpu, cpu->monitored);
    return why;
}

/* RDMSR or WRMSR of an MSR that the board has. */
static void access_msr(struct vcpu *vcpu)
{
    struct processor *cpu = vcpu->processor;
    const struct op *op;
    cpu_protect(cpu, decode_next, &op); /* it was fetched before: no fault */
    uint64_t *gpr = cpu->s.registers.gpr, tsc = cpu->s.tsc_base + cpu->s.count, value;
    bool allowed;
    if (op->fn == op_wrmsr) {
        value = gpr[RDX] << 32 | (uint32_t)gpr[RAX];
        allowed = board_msr_write(vcpu->board, vcpu->index, gpr[RCX], value, vcpu->time, tsc);
        if (allowed && (uint32_t)gpr[RCX] == MSR_APIC_BASE)
            cpu->s.apic_base = value; /* CPUID follows it */
    } else if ((allowed = board_msr_read(vcpu->board, vcpu->index, gpr[RCX], &value, vcpu->time, tsc))) {
        gpr[RAX] = (uint32_t)value;
        gpr[RDX] = value >> 32;
    }
    if (!allowed) {
        deliver_next(vcpu, &(struct event){.vector = VECTOR_GP, .type = EVENT_EXCEPTION, .has_error = true});
        return;
    }
    complete(cpu, op);
}

/* ---- the memory map ---- */

static void map_window(struct vcpu *vcpu)
{
    static const enum arena_access access[] = {
        [MEMORY_BUS] = ARENA_BUS, [MEMORY_ROM] = ARENA_ROM, [MEMORY_RAM] = ARENA_RAM};
    for (unsigned i = 0; i < WINDOW_PAGES; i++)
        arena_set_access(vcpu->arena, WINDOW + i * MEMORY_PAGE, MEMORY_PAGE, access[vcpu->map->window[i]]);
}

static void map_arena(struct vcpu *vcpu)
{
    const struct memory_map *map = vcpu->map;
    uint64_t hole = map->ram_bytes < PCI_HOLE ? map->ram_bytes : PCI_HOLE;
    if (memory_end(map->ram_bytes, map->rom < PCI_HOLE_END) > hole)
        arena_set_gap(vcpu->arena, hole, map->rom - hole);
    arena_set_access(vcpu->arena, map->rom, PCI_HOLE_END - map->rom, ARENA_ROM);
    map_window(vcpu);
}

/* ---- struct accel ---- */

static uint64_t bare_structures(const struct machine_config *config)
{
    (void)config;
    return 0;
}

static void bare_destroy(struct vcpu *vcpu)
{
    free(bare_of(vcpu));
}

static void bare_reset(struct vcpu *vcpu)
{
    struct vcpu_state *s = &vcpu->processor->s;
    uint64_t count = s->count, random = s->random;
    cpu_reset(vcpu->processor);
    s->count = count;
    s->tsc_base = 0 - count; /* RESET# clears the TSC */
    s->random = random;
}

static struct vcpu *bare_create(const struct vcpu *common, char *error, size_t error_size)
{
    struct bare *bare = calloc(1, sizeof *bare);
    if (!bare) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    bare->vcpu = *common;
    if (common->index == 0)
        map_arena(&bare->vcpu);
    common->processor->want_monitor = common->config->cpus > 1;
    bare_reset(&bare->vcpu);
    read_clock(&bare->vcpu);
    return &bare->vcpu;
}

static void bare_run(struct vcpu *vcpu, uint64_t until, unsigned windows)
{
    struct processor *cpu = vcpu->processor;
    uint64_t ticks = windows & WINDOW_NMI ? 1 : until - vcpu->time; /* an NMI looks for its window at each boundary */
    cpu->want_interrupt_window = windows & WINDOW_INTERRUPT;
    cpu->want_pause = windows & WINDOW_PAUSE;
    cpu->ignne = board_ignne(vcpu->board, vcpu->index);
    cpu->s.cr8 = bare_of(vcpu)->cr8 = board_cr8(vcpu->board, vcpu->index);
    vcpu->injecting = false;
    enum leave why = cpu_run(cpu, cpu->s.count + ticks);
    read_clock(vcpu);
    if (why == LEAVE_BUS)
        why = cpu->delivering_valid ? deliver_over_nothing(vcpu) : access_device(vcpu);
    else if (why == LEAVE_MONITOR)
        why = monitor(vcpu);
    switch (why) {
    case LEAVE_BUDGET:
    case LEAVE_KICK:
    case LEAVE_INTERRUPTIBLE:
        break;
    case LEAVE_EXCEPTION: { /* of a device access */
        struct event event = cpu->fault;
        deliver_next(vcpu, &event);
        break;
    }
    case LEAVE_MSR:
        access_msr(vcpu);
        break;
    case LEAVE_PAUSE:
        pause(vcpu);
        break;
    case LEAVE_HALT:
        cpu->s.activity = ACTIVE; /* halting is the run loop's */
        vcpu->monitor.line = NULL;
        vcpu->halted = !cpu->s.pending_debug; /* a single step's trap follows */
        break;
    case LEAVE_MWAIT:
        cpu->s.activity = ACTIVE;
        vcpu->halted = !cpu->s.pending_debug && vcpu_mwait_halts(vcpu);
        break;
    case LEAVE_FERR: /* frozen before the instruction until an interrupt comes (SDM vol. 1, 8.7.2) */
        board_set_ferr(vcpu->board, vcpu->index, true);
        cpu->s.interruptibility &= ~BLOCKING_BY_STI;
        vcpu->halted = true;
        break;
    case LEAVE_SHUTDOWN:
        vcpu_end(vcpu, MACHINE_TRIPLE_FAULT, "triple fault at RIP %#llx", (unsigned long long)cpu->s.rip);
        break;
    default:
        vcpu_end(vcpu, MACHINE_INTERNAL, "the processor stopped for reason %d at RIP %#llx", why,
                 (unsigned long long)cpu->s.rip);
    }
    read_clock(vcpu);
    if (board_ferr(vcpu->board, vcpu->index) && !(cpu->s.registers.fpu.fsw & FSW_ES))
        board_set_ferr(vcpu->board, vcpu->index, false);
    if (cpu->s.cr8 != bare_of(vcpu)->cr8)
        board_set_cr8(vcpu->board, vcpu->index, cpu->s.cr8);
}

static void bare_set_time(struct vcpu *vcpu, uint64_t time)
{
    bare_of(vcpu)->idle += time - vcpu->time;
    vcpu->processor->s.tsc_base += time - vcpu->time;
    vcpu->time = time;
}

static void bare_set_a20(struct vcpu *vcpu, bool open)
{
    vcpu->processor->s.a20m = open ? 0 : A20;
    mmu_flush_all(vcpu->processor);
}

static void bare_set_map(struct vcpu *vcpu)
{
    if (vcpu->index == 0)
        map_window(vcpu);
    mmu_flush_all(vcpu->processor);
}

static void bare_snapshot(struct vcpu *vcpu, struct snapshot *snapshot)
{
    struct bare *bare = bare_of(vcpu);
    SNAPSHOT(snapshot, bare->idle);
    SNAPSHOT(snapshot, bare->cr8);
}

static bool bare_interrupts_enabled(const struct vcpu *vcpu)
{
    return vcpu->processor->s.system_flags & RFLAGS_IF;
}

static uint32_t bare_interruptibility(const struct vcpu *vcpu)
{
    return vcpu->processor->s.interruptibility;
}

static bool bare_trap_pending(const struct vcpu *vcpu)
{
    return vcpu->processor->s.pending_debug;
}

static void bare_inject_nmi(struct vcpu *vcpu)
{
    deliver_next(vcpu, &(struct event){.vector = VECTOR_NMI, .type = EVENT_NMI});
}

static void bare_inject_interrupt(struct vcpu *vcpu, uint8_t vector)
{
    deliver_next(vcpu, &(struct event){.vector = vector, .type = EVENT_EXTERNAL});
}

static void bare_get_registers(const struct vcpu *vcpu, struct vcpu_registers *registers)
{
    const struct processor *cpu = vcpu->processor;
    const struct vcpu_state *s = &cpu->s;
    *registers = (struct vcpu_registers){
        .rip = s->rip,
        .rflags = rflags_read(cpu),
        .cr0 = s->cr0,
        .cr2 = s->registers.cr2,
        .cr3 = s->cr3,
        .cr4 = s->cr4,
        .cr8 = board_cr8(vcpu->board, vcpu->index),
        .efer = s->efer,
        .dr = {s->registers.dr[0], s->registers.dr[1], s->registers.dr[2], s->registers.dr[3], 0, 0,
               s->registers.dr6, s->dr7},
        .gdt_base = s->gdt_base,
        .idt_base = s->idt_base,
        .gdt_limit = s->gdt_limit,
        .idt_limit = s->idt_limit,
    };
    memcpy(registers->gpr, s->registers.gpr, sizeof registers->gpr);
    memcpy(registers->segment, s->seg, sizeof registers->segment);
}

static void load_pdptes(struct processor *cpu, void *argument)
{
    (void)argument;
    mmu_load_pdpte(cpu, NULL, cpu->s.cr3);
}

static void bare_set_registers(struct vcpu *vcpu, const struct vcpu_registers *registers)
{
    struct processor *cpu = vcpu->processor;
    struct vcpu_state *s = &cpu->s;
    memcpy(s->registers.gpr, registers->gpr, sizeof registers->gpr);
    memcpy(s->registers.dr, registers->dr, sizeof s->registers.dr);
    memcpy(s->seg, registers->segment, sizeof s->seg);
    s->rip = registers->rip;
    rflags_write(cpu, registers->rflags);
    s->cr0 = registers->cr0 | CR0_ET;
    s->registers.cr2 = registers->cr2;
    s->cr3 = registers->cr3;
    s->cr4 = registers->cr4;
    board_set_cr8(vcpu->board, vcpu->index, registers->cr8);
    s->efer = registers->efer;
    s->registers.dr6 = registers->dr[6];
    s->dr7 = registers->dr[7];
    s->gdt_base = registers->gdt_base;
    s->idt_base = registers->idt_base;
    s->gdt_limit = registers->gdt_limit;
    s->idt_limit = registers->idt_limit;
    s->cpl = s->seg[SS].access >> AR_DPL_SHIFT & 3;
    s->activity = ACTIVE;
    s->interruptibility = 0;
    s->pending_debug = 0;
    vcpu->injecting = false;
    cpu->leave = LEAVE_NONE;
    cpu_update(cpu);
    mmu_flush(cpu, true);
    if (s->cr0 & CR0_PG && s->cr4 & CR4_PAE && !long_mode(cpu)) {
        cpu_protect(cpu, load_pdptes, NULL); /* malformed ones stay as they were, and fault when they are used */
        cpu->leave = LEAVE_NONE;
    }
}

static bool bare_read_msr(const struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
    return msr_read(vcpu->processor, index, value);
}

const struct accel accel_bare = {
    .structures = bare_structures,
    .create = bare_create,
    .destroy = bare_destroy,
    .reset = bare_reset,
    .run = bare_run,
    .set_time = bare_set_time,
    .set_a20 = bare_set_a20,
    .set_map = bare_set_map,
    .snapshot = bare_snapshot,
    .interrupts_enabled = bare_interrupts_enabled,
    .interruptibility = bare_interruptibility,
    .trap_pending = bare_trap_pending,
    .inject_nmi = bare_inject_nmi,
    .inject_interrupt = bare_inject_interrupt,
    .get_registers = bare_get_registers,
    .set_registers = bare_set_registers,
    .read_msr = bare_read_msr,
};
