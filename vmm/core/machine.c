/* The machine and its run loop: time, deadlines, limits, interrupts and idling, the same for both accelerators. */
#include "machine.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "accel.h"

#define NEVER MACHINE_NEVER

/* Guest instructions between two looks at the host's clock; an exit costs about as much host time as EXIT_WORK. */
#define SLICE 1000000
#define SLICE_HOST_CLOCK 100000 /* there a slice is also how late a timer can be */
#define EXIT_WORK 200

struct machine {
    struct machine_config config;
    const struct accel *accel;
    struct arena *arena;
    struct board *board;
    struct processor *processor;
    struct vcpu *vcpu;
    const struct machine_limits *limits; /* of the machine_run under way */
    enum board_event event;              /* taken from the board, not yet reported */
    uint32_t event_detail;
    int64_t work;           /* left until the next look at the host's clock */
    uint64_t host_epoch;    /* CLOCK_HOST: the host's clock at guest time 0 */
    bool host_epoch_known;
    bool a20_closed;        /* as the accelerator has it */
    uint32_t kicked;        /* atomic */
};

static uint64_t host_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t add_saturated(uint64_t a, uint64_t b)
{
    return a + b < a ? NEVER : a + b;
}

/* ---- what ends machine_run ---- */

static bool event_pending(struct machine *machine)
{
    if (machine->event == BOARD_NONE)
        machine->event = board_take_event(machine->board, &machine->event_detail);
    return machine->event != BOARD_NONE;
}

/* The guest time at which unread output gets too old. */
static uint64_t output_deadline(const struct machine *machine)
{
    uint64_t oldest;
    if (!machine->limits->output_age || !board_output_pending(machine->board, &oldest))
        return NEVER;
    return add_saturated(oldest, machine->limits->output_age);
}

static bool output_full(const struct machine *machine)
{
    uint64_t oldest;
    return machine->limits->output_bytes &&
           board_output_pending(machine->board, &oldest) >= machine->limits->output_bytes;
}

static bool limit_reached(const struct machine *machine)
{
    return machine->vcpu->count >= machine->limits->count || machine->vcpu->time >= machine->limits->time;
}

/* Fills in `exit` when the run is over at this instruction boundary. What the guest did comes before limits. */
static bool ended(struct machine *machine, struct machine_exit *exit)
{
    static const enum machine_exit_kind kinds[] = {[BOARD_POWER_OFF] = MACHINE_POWER_OFF,
                                                   [BOARD_RESET] = MACHINE_RESET,
                                                   [BOARD_PANIC] = MACHINE_PANIC,
                                                   [BOARD_DEBUG_EXIT] = MACHINE_DEBUG_EXIT};
    const struct vcpu *vcpu = machine->vcpu;
    if (event_pending(machine)) {
        exit->kind = kinds[machine->event];
        exit->detail = machine->event_detail;
        machine->event = BOARD_NONE;
    } else if (vcpu->end != MACHINE_AIR) {
        exit->kind = vcpu->end;
        exit->detail = vcpu->detail;
        memcpy(exit->reason, vcpu->reason, sizeof exit->reason);
    } else if (output_full(machine) || vcpu->time >= output_deadline(machine)) {
        exit->kind = MACHINE_OUTPUT;
    } else if (limit_reached(machine)) {
        exit->kind = MACHINE_LIMIT;
    } else {
        return false;
    }
    return true;
}

/* ---- interrupts ---- */

static bool takes_interrupt(const struct machine *machine)
{
    const struct vcpu *vcpu = machine->vcpu;
    return !vcpu->injecting && !machine->accel->trap_pending(vcpu) && machine->accel->interrupts_enabled(vcpu) &&
           !(machine->accel->interruptibility(vcpu) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
}

static bool takes_nmi(const struct machine *machine)
{
    const struct vcpu *vcpu = machine->vcpu;
    return !vcpu->injecting && !machine->accel->trap_pending(vcpu) &&
           !(machine->accel->interruptibility(vcpu) & (BLOCKED_BY_MOV_SS | BLOCKED_BY_NMI));
}

/* Delivers what the guest takes now; returns the windows that what it does not take waits for. */
static unsigned deliver(struct machine *machine)
{
    struct vcpu *vcpu = machine->vcpu;
    unsigned windows = 0;
    if (vcpu->nmi_pending) {
        if (takes_nmi(machine)) {
            vcpu->nmi_pending = false;
            machine->accel->inject_nmi(vcpu);
        } else {
            windows |= WINDOW_NMI;
        }
    }
    if (board_interrupt_pending(machine->board, vcpu->index)) {
        if (takes_interrupt(machine))
            machine->accel->inject_interrupt(vcpu,
                                             board_interrupt_acknowledge(machine->board, vcpu->index, vcpu->time));
        else
            windows |= WINDOW_INTERRUPT;
    }
    return windows;
}

/* Does something end the halt? */
static bool wakes(const struct machine *machine)
{
    const struct vcpu *vcpu = machine->vcpu;
    if (vcpu->nmi_pending && takes_nmi(machine))
        return true;
    return board_interrupt_pending(machine->board, vcpu->index) &&
           machine->accel->interrupts_enabled(vcpu);
}

/* However many come while one waits, they are one (SDM vol. 3, 6.7.1). */
static void take_nmi(struct machine *machine)
{
    struct vcpu *vcpu = machine->vcpu;
    if (board_take_nmi(machine->board, vcpu->index))
        vcpu->nmi_pending = true;
}

/* ---- time ---- */

/* CLOCK_HOST: guest time is the host's, but never goes back. */
static void follow_host_clock(struct machine *machine)
{
    struct vcpu *vcpu = machine->vcpu;
    uint64_t host = host_clock();
    if (!machine->host_epoch_known) {
        machine->host_epoch = host - vcpu->time;
        machine->host_epoch_known = true;
    }
    if (host - machine->host_epoch > vcpu->time)
        machine->accel->set_time(vcpu, host - machine->host_epoch);
}

static void advance_board(struct machine *machine)
{
    struct vcpu *vcpu = machine->vcpu;
    if (vcpu->time >= board_deadline(machine->board))
        board_advance(machine->board, vcpu->time);
    take_nmi(machine);
}

static void follow_a20(struct machine *machine)
{
    bool open = board_a20(machine->board);
    if (open != machine->a20_closed)
        return;
    machine->a20_closed = !open;
    machine->accel->set_a20(machine->vcpu, open);
}

/* The guest halted. Time jumps to what comes next, or the run is over. */
static bool idle(struct machine *machine, struct machine_exit *exit)
{
    struct vcpu *vcpu = machine->vcpu;
    uint64_t deadline = board_deadline(machine->board), oldest;
    bool host = machine->config.clock == CLOCK_HOST;
    /* In host time someone may sit at the terminal: input is an interrupt too. */
    if (!machine->accel->interrupts_enabled(vcpu) || (!board_can_wake(machine->board) && !host)) {
        exit->kind = MACHINE_IDLE_FOREVER;
        return true;
    }
    exit->deadline = deadline;
    if (host || (machine->limits->stop_when_idle && board_output_pending(machine->board, &oldest))) {
        exit->kind = MACHINE_IDLE;
        return true;
    }
    uint64_t until = min64(deadline, min64(machine->limits->time, output_deadline(machine)));
    machine->accel->set_time(vcpu, until > vcpu->time ? until : vcpu->time + 1);
    return false;
}

/* The guest time at which the run loop must have control again. */
static uint64_t horizon(const struct machine *machine)
{
    const struct vcpu *vcpu = machine->vcpu;
    uint64_t until = min64(board_deadline(machine->board), output_deadline(machine));
    until = min64(until, machine->limits->time);
    until = min64(until, add_saturated(vcpu->time, machine->limits->count - vcpu->count));
    until = min64(until, vcpu->time + (machine->config.clock == CLOCK_HOST ? SLICE_HOST_CLOCK : SLICE));
    return until > vcpu->time ? until : vcpu->time + 1;
}

/* vcpu.attention */
static bool attention(struct vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    take_nmi(machine);
    return vcpu->nmi_pending || vcpu->time >= vcpu->until || vcpu->time >= board_deadline(machine->board) || event_pending(machine) ||
           output_full(machine) || vcpu->time >= output_deadline(machine) ||
           board_interrupt_pending(machine->board, vcpu->index);
}

/* ---- the run loop ---- */

static void run_until_exit(struct machine *machine, const struct machine_limits *limits, struct machine_exit *exit)
{
    struct vcpu *vcpu = machine->vcpu;
    uint64_t air = limits->air_us ? host_clock() + limits->air_us * 1000ull : NEVER;
    machine->limits = limits;
    for (;;) {
        if (machine->config.clock == CLOCK_HOST)
            follow_host_clock(machine);
        advance_board(machine);
        if (ended(machine, exit))
            return;
        if (__atomic_load_n(&machine->kicked, __ATOMIC_RELAXED)) {
            __atomic_store_n(&machine->kicked, 0, __ATOMIC_RELAXED);
            return;
        }
        if (machine->work <= 0) {
            machine->work = SLICE;
            if (host_clock() >= air)
                return;
        }
        uint64_t before = vcpu->count;
        machine->work -= EXIT_WORK;
        if (vcpu->halted) {
            if (!wakes(machine)) {
                if (idle(machine, exit))
                    return;
                continue;
            }
            vcpu->halted = false;
        }
        follow_a20(machine);
        unsigned windows = deliver(machine);
        vcpu->until = horizon(machine);
        machine->accel->run(vcpu, vcpu->until, windows);
        machine->work -= vcpu->count - before;
    }
}

int machine_run(struct machine *machine, const struct machine_limits *limits, struct machine_exit *exit)
{
    *exit = (struct machine_exit){.kind = MACHINE_AIR, .deadline = NEVER};
    run_until_exit(machine, limits, exit);
    machine->limits = NULL;
    exit->count = machine->vcpu->count;
    exit->time = machine->vcpu->time;
    return exit->kind;
}

void machine_kick(struct machine *machine)
{
    __atomic_store_n(&machine->kicked, 1, __ATOMIC_RELEASE);
    processor_kick(machine->processor);
}

/* ---- making and resetting ---- */

/* Guests' SSE instructions are executed by the host's own: the first one that is missing, or NULL. */
static const char *missing_on_host(void)
{
    __builtin_cpu_init();
    return !__builtin_cpu_supports("sse3")     ? "SSE3"
           : !__builtin_cpu_supports("ssse3")  ? "SSSE3"
           : !__builtin_cpu_supports("sse4.1") ? "SSE4.1"
           : !__builtin_cpu_supports("sse4.2") ? "SSE4.2"
           : !__builtin_cpu_supports("popcnt") ? "POPCNT"
                                               : NULL;
}

static bool check_config(const struct machine_config *config, char *error, size_t error_size)
{
    if (config->memory_bytes % MIB(1) || config->memory_bytes < MIB(2) || config->memory_bytes > GIB(256))
        snprintf(error, error_size, "%llu bytes of memory: it must be a multiple of 1 MiB, 2 MiB to 256 GiB",
                 (unsigned long long)config->memory_bytes);
    else if (config->cpus < 1 || config->cpus > MACHINE_MAX_CPUS)
        snprintf(error, error_size, "%u vCPUs: there can be 1 to %d", config->cpus, MACHINE_MAX_CPUS);
    else if (config->accel != ACCEL_VTX && config->accel != ACCEL_BARE)
        snprintf(error, error_size, "unknown accelerator %u", config->accel);
    else if (config->clock != CLOCK_VIRTUAL && config->clock != CLOCK_HOST)
        snprintf(error, error_size, "unknown clock %u", config->clock);
    else if (config->cpuid_count > MACHINE_MAX_CPUID)
        snprintf(error, error_size, "%u CPUID rows: there can be up to %d", config->cpuid_count, MACHINE_MAX_CPUID);
    else if (missing_on_host())
        snprintf(error, error_size, "the host's processor lacks %s: an x86-64-v2 one is needed", missing_on_host());
    else
        return true;
    return false;
}

struct machine *machine_create(const struct machine_config *config, char *error, size_t error_size)
{
    if (!check_config(config, error, error_size))
        return NULL;
    struct machine *machine = calloc(1, sizeof *machine);
    if (!machine) {
        snprintf(error, error_size, "out of memory");
        return NULL;
    }
    machine->config = *config;
    machine->accel = config->accel == ACCEL_BARE ? &accel_bare : &accel_vtx;
    uint64_t end = ram_end(config->memory_bytes);
    machine->arena = arena_create(end + machine->accel->structures(config));
    machine->board = board_create(&machine->config);
    if (machine->arena)
        machine->processor = processor_create(machine->arena, &machine->config);
    if (!machine->arena || !machine->board || !machine->processor) {
        snprintf(error, error_size, "no memory for a machine with %llu MiB of RAM",
                 (unsigned long long)(config->memory_bytes >> 20));
    } else {
        arena_hole(machine->arena, VGA_HOLE, VGA_HOLE_END - VGA_HOLE);
        if (end > PCI_HOLE)
            arena_hole(machine->arena, PCI_HOLE, PCI_HOLE_END - PCI_HOLE);
        struct vcpu common = {.accel = machine->accel,
                              .machine = machine,
                              .config = &machine->config,
                              .arena = machine->arena,
                              .processor = machine->processor,
                              .board = machine->board,
                              .attention = attention};
        machine->vcpu = machine->accel->create(&common, error, error_size);
    }
    if (machine->vcpu)
        return machine;
    machine_destroy(machine);
    return NULL;
}

void machine_destroy(struct machine *machine)
{
    if (machine->vcpu)
        machine->accel->destroy(machine->vcpu);
    if (machine->processor)
        processor_destroy(machine->processor);
    if (machine->board)
        board_destroy(machine->board);
    if (machine->arena)
        arena_destroy(machine->arena);
    free(machine);
}

void machine_reset(struct machine *machine)
{
    struct vcpu *vcpu = machine->vcpu;
    board_reset(machine->board);
    board_advance(machine->board, vcpu->time);
    machine->accel->reset(vcpu);
    vcpu->halted = vcpu->nmi_pending = vcpu->injecting = false;
    vcpu->end = MACHINE_AIR;
    vcpu->detail = 0;
    machine->event = BOARD_NONE;
}

/* ---- memory, registers, devices ---- */

uint8_t *machine_ram(struct machine *machine, uint64_t gpa, uint64_t size)
{
    if (!ram_contains(machine->config.memory_bytes, gpa, size))
        return NULL;
    arena_written(machine->arena, gpa, size); /* before the next run, by the caller */
    return arena_at(machine->arena, gpa, size);
}

uint64_t machine_count(const struct machine *machine)
{
    return machine->vcpu->count;
}

uint64_t machine_time(const struct machine *machine)
{
    return machine->vcpu->time;
}

void machine_get_registers(const struct machine *machine, unsigned vcpu, struct vcpu_registers *registers)
{
    *registers = (struct vcpu_registers){0};
    if (vcpu < machine->config.cpus)
        machine->accel->get_registers(machine->vcpu, registers);
}

void machine_set_registers(struct machine *machine, unsigned vcpu, const struct vcpu_registers *registers)
{
    if (vcpu >= machine->config.cpus)
        return;
    machine->accel->set_registers(machine->vcpu, registers);
    machine->vcpu->halted = false;
}

size_t machine_serial_input(struct machine *machine, unsigned uart, const uint8_t *data, size_t size)
{
    return uart < MACHINE_UARTS ? board_serial_input(machine->board, uart, data, size, machine->vcpu->time) : 0;
}

size_t machine_serial_output(struct machine *machine, unsigned uart, uint8_t *data, uint64_t *counts, size_t size)
{
    return uart < MACHINE_UARTS ? board_serial_output(machine->board, uart, data, counts, size) : 0;
}

size_t machine_debug_output(struct machine *machine, uint8_t *data, uint64_t *counts, size_t size)
{
    return board_debug_output(machine->board, data, counts, size);
}

void machine_power_button(struct machine *machine)
{
    board_power_button(machine->board, machine->vcpu->time);
}

/* ---- inspection ---- */

uint64_t machine_exits(const struct machine *machine, unsigned reason)
{
    return reason < EXIT_REASONS ? machine->vcpu->exits[reason] : 0;
}

const char *machine_exit_name(unsigned reason)
{
    return reason < EXIT_REASONS ? exit_names[reason] : NULL;
}

size_t machine_exit_ring(const struct machine *machine, struct machine_exit_record *records, size_t size)
{
    const struct vcpu *vcpu = machine->vcpu;
    size_t count = min64(min64(vcpu->exit_total, EXIT_RING), size);
    for (size_t i = 0; i < count; i++)
        records[i] = vcpu->ring[(vcpu->exit_total - count + i) % EXIT_RING];
    return count;
}

/* Four lanes of multiply and rotate, so that the multiplications overlap; `size` is a multiple of 8. */
static uint64_t hash_words(uint64_t hash, const void *data, uint64_t size)
{
    enum { LANES = 4 };
    const uint64_t prime = 0x9e3779b97f4a7c15;
    uint64_t lane[LANES] = {hash, hash ^ 1, hash ^ 2, hash ^ 3}, word;
    for (uint64_t at = 0; at < size; at += sizeof word) {
        uint64_t *l = &lane[at / sizeof word % LANES];
        memcpy(&word, (const uint8_t *)data + at, sizeof word);
        *l = (*l ^ word) * prime;
        *l ^= *l >> 29;
    }
    hash = size;
    for (unsigned i = 0; i < LANES; i++) {
        hash = (hash ^ lane[i]) * prime;
        hash ^= hash >> 32;
    }
    return hash;
}

static uint64_t hash_ram(const struct machine *machine, uint64_t hash, uint64_t gpa, uint64_t end)
{
    uint64_t bytes = end > gpa ? end - gpa : 0;
    return bytes ? hash_words(hash, arena_at(machine->arena, gpa, bytes), bytes) : hash;
}

/* All MSRs that hold guest state which no other part of the hash covers. */
static uint64_t hash_msrs(const struct machine *machine, uint64_t hash)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x10, 0x10},     {0x3b, 0x3b},   {0x48, 0x48},   {0x400, 0x40f},
          {0x174, 0x176}, {0x1a0, 0x1a0}, {0x1d9, 0x1d9},
        {0x200, 0x20f},   {0x250, 0x250}, {0x258, 0x259}, {0x268, 0x26f}, {0x277, 0x277},
        {0x2ff, 0x2ff},   {0xc0000081, 0xc0000084},       {0xc0000102, 0xc0000103},
    };
    for (unsigned i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (uint32_t index = ranges[i].first; index <= ranges[i].last; index++) {
            uint64_t entry[2] = {index, 0};
            if (machine->accel->read_msr(machine->vcpu, index, &entry[1]))
                hash = hash_words(hash, entry, sizeof entry);
        }
    return hash;
}

uint64_t machine_state_hash(const struct machine *machine)
{
    const struct vcpu *vcpu = machine->vcpu;
    const struct registers *own = processor_registers(machine->processor);
    struct vcpu_registers registers;
    machine->accel->get_registers(vcpu, &registers);
    uint64_t hash = hash_words(0, registers.gpr, offsetof(struct vcpu_registers, segment));
    for (unsigned i = 0; i < 8; i++) {
        const struct vcpu_segment *segment = &registers.segment[i];
        uint64_t words[] = {segment->base, (uint64_t)segment->access << 32 | segment->limit, segment->selector};
        hash = hash_words(hash, words, sizeof words);
    }
    uint64_t words[] = {registers.gdt_base,
                        registers.idt_base,
                        (uint64_t)registers.gdt_limit << 16 | registers.idt_limit,
                        own->xcr0,
                        own->pkru,
                        machine->accel->interruptibility(vcpu),
                        vcpu->halted | vcpu->nmi_pending << 1,
                        vcpu->count,
                        vcpu->time,
                        board_hash(machine->board)};
    hash = hash_words(hash, words, sizeof words);
    hash = hash_words(hash, &own->fpu, sizeof own->fpu);
    hash = hash_words(hash, own->ymm_high, sizeof own->ymm_high);
    hash = hash_msrs(machine, hash);
    uint64_t end = ram_end(machine->config.memory_bytes);
    hash = hash_ram(machine, hash, 0, VGA_HOLE);
    hash = hash_ram(machine, hash, VGA_HOLE_END, min64(end, PCI_HOLE));
    return hash_ram(machine, hash, PCI_HOLE_END, end);
}
