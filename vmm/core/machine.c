/* The machine and its run loop: time, deadlines, limits, interrupts and idling, the same for both accelerators. */
#include "machine_state.h"
#include "chipset/floppy_drive.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Guest instructions between two looks at the host's clock; an exit costs about as much host time as EXIT_WORK. */
#define AIR 1000000
#define AIR_HOST_CLOCK 100000 /* there it is also how late a timer can be */
#define EXIT_WORK 200

static uint64_t host_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
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
    return machine_count(machine) >= machine->limits->count || machine_time(machine) >= machine->limits->time;
}

/* Fills in `exit` when the run is over at this instruction boundary. What the guest did comes before limits. */
static bool ended(struct machine *machine, struct machine_exit *exit)
{
    static const enum machine_exit_kind kinds[] = {[BOARD_POWER_OFF] = MACHINE_POWER_OFF,
                                                   [BOARD_RESET] = MACHINE_RESET,
                                                   [BOARD_PANIC] = MACHINE_PANIC,
                                                   [BOARD_DEBUG_EXIT] = MACHINE_DEBUG_EXIT};
    const struct vcpu *vcpu = machine->current;
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

static bool takes_interrupt(const struct vcpu *vcpu)
{
    return !vcpu->injecting && !vcpu->accel->trap_pending(vcpu) && vcpu->accel->interrupts_enabled(vcpu) &&
           !(vcpu->accel->interruptibility(vcpu) & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
}

/* Delivers what the guest takes now; returns the windows that what it does not take waits for. */
static unsigned deliver(struct machine *machine, struct vcpu *vcpu)
{
    unsigned windows = 0;
    if (vcpu->nmi_pending) {
        if (takes_nmi(vcpu)) {
            vcpu->nmi_pending = false;
            machine->accel->inject_nmi(vcpu);
        } else {
            windows |= WINDOW_NMI;
        }
    }
    if (board_interrupt_pending(machine->board, vcpu->index)) {
        if (takes_interrupt(vcpu))
            machine->accel->inject_interrupt(vcpu,
                                             board_interrupt_acknowledge(machine->board, vcpu->index, vcpu->time));
        else
            windows |= WINDOW_INTERRUPT;
    }
    return windows;
}

/* ---- time ---- */

/* CLOCK_HOST: guest time is the host's, but never goes back. */
static void follow_host_clock(struct machine *machine)
{
    struct vcpu *vcpu = machine->current;
    uint64_t host = host_clock();
    if (!machine->host_epoch_known) {
        machine->host_epoch = host - vcpu->time;
        machine->host_epoch_known = true;
    }
    if (host - machine->host_epoch > vcpu->time)
        machine->accel->set_time(vcpu, host - machine->host_epoch);
}

/* The time that the vCPU's access to a port took; the host's clock knows that already. */
static void pass_wait(struct machine *machine, struct vcpu *vcpu)
{
    uint64_t wait = board_take_wait(machine->board);
    if (wait && machine->config.clock == CLOCK_VIRTUAL)
        machine->accel->set_time(vcpu, vcpu->time + wait);
}

static void advance_board(struct machine *machine)
{
    if (machine_time(machine) >= board_deadline(machine->board))
        board_advance(machine->board, machine_time(machine));
}

static void follow_a20(struct machine *machine)
{
    bool open = board_a20(machine->board);
    if (open != machine->a20_closed)
        return;
    machine->a20_closed = !open;
    for (unsigned i = 0; i < machine->config.cpus; i++)
        machine->accel->set_a20(machine->vcpu[i], open);
}

/* Can an interrupt from within the machine, or from outside in host time, end the vCPU's halt; or an NMI, which asks for
 * no RFLAGS.IF? */
static bool can_wake(const struct machine *machine, const struct vcpu *vcpu)
{
    /* In host time someone may sit at the terminal: input is an interrupt too. */
    bool source = machine->config.clock == CLOCK_HOST || board_can_wake(machine->board, vcpu->index);
    if (board_waits_for_startup(machine->board, vcpu->index))
        return false;
    if (source && machine->accel->interrupts_enabled(vcpu))
        return true;
    return board_can_nmi(machine->board) && !(machine->accel->interruptibility(vcpu) & BLOCKED_BY_NMI);
}

/* All vCPUs wait. Time jumps to what comes next, or the run is over. */
static bool idle(struct machine *machine, struct machine_exit *exit)
{
    struct vcpu *vcpu = machine->current;
    uint64_t deadline = board_deadline(machine->board), oldest;
    bool hope = false;
    for (unsigned i = 0; i < machine->config.cpus && !hope; i++)
        hope = can_wake(machine, machine->vcpu[i]);
    if (!hope) {
        exit->kind = MACHINE_IDLE_FOREVER;
        return true;
    }
    exit->deadline = deadline;
    if (machine->config.clock == CLOCK_HOST ||
        (machine->limits->stop_when_idle && board_output_pending(machine->board, &oldest))) {
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
    const struct vcpu *vcpu = machine->current;
    uint64_t until = min64(board_deadline(machine->board), output_deadline(machine)), count = machine_count(machine);
    until = min64(until, machine->limits->time);
    until = min64(until, add_saturated(vcpu->time, machine->limits->count - count));
    if (machine->limits->screen_step)
        until = min64(until, vcpu->time + (machine->watch.at - count));
    until = min64(until, vcpu->time + (machine->config.clock == CLOCK_HOST ? AIR_HOST_CLOCK : AIR));
    if (machine->config.cpus > 1)
        until = min64(until, vcpu->time + (machine->slice_end - count));
    return until > vcpu->time ? until : vcpu->time + 1;
}

/* vcpu.attention */
static bool attention(struct vcpu *vcpu)
{
    struct machine *machine = vcpu->machine;
    take_nmi(vcpu);
    return vcpu->nmi_pending || board_waits(machine->board) || vcpu->time >= vcpu->until || vcpu->time >= board_deadline(machine->board) || event_pending(machine) ||
           output_full(machine) || vcpu->time >= output_deadline(machine) ||
           board_interrupt_pending(machine->board, vcpu->index) || board_signal_pending(machine->board, vcpu->index);
}

/* ---- the run loop ---- */

static void run_until_exit(struct machine *machine, const struct machine_limits *limits, struct machine_exit *exit)
{
    uint64_t air = limits->air_us ? host_clock() + limits->air_us * 1000ull : NEVER;
    machine->limits = limits;
    for (;;) {
        if (machine->config.clock == CLOCK_HOST)
            follow_host_clock(machine);
        advance_board(machine);
        if (ended(machine, exit))
            return;
        if (limits->screen_step && screen_moves_on(machine)) {
            exit->kind = MACHINE_SCREEN;
            return;
        }
        if (__atomic_load_n(&machine->kicked, __ATOMIC_RELAXED)) {
            __atomic_store_n(&machine->kicked, 0, __ATOMIC_RELAXED);
            return;
        }
        if (machine->work <= 0) {
            machine->work = AIR;
            if (host_clock() >= air)
                return;
        }
        machine->work -= EXIT_WORK;
        struct vcpu *vcpu = schedule(machine);
        if (!vcpu) {
            if (idle(machine, exit))
                return;
            continue;
        }
        follow_a20(machine);
        memory_window_follow(machine);
        uint64_t before = vcpu->count;
        unsigned windows = deliver(machine, vcpu);
        if (machine->config.cpus > 1 && schedule_others_wait(machine))
            windows |= WINDOW_PAUSE;
        vcpu->until = horizon(machine);
        machine->accel->run(vcpu, vcpu->until, windows);
        pass_wait(machine, vcpu);
        machine->work -= vcpu->count - before;
    }
}

int machine_run(struct machine *machine, const struct machine_limits *limits, struct machine_exit *exit)
{
    *exit = (struct machine_exit){.kind = MACHINE_AIR, .deadline = NEVER};
    run_until_exit(machine, limits, exit);
    machine->limits = NULL;
    exit->count = machine_count(machine);
    exit->time = machine_time(machine);
    return exit->kind;
}

void machine_kick(struct machine *machine)
{
    __atomic_store_n(&machine->kicked, 1, __ATOMIC_RELEASE);
    processor_kick(__atomic_load_n(&machine->current, __ATOMIC_RELAXED)->processor);
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

/* The first floppy of no known format, from 1; 0: there is none. */
static unsigned wrong_floppy(const struct machine_config *config)
{
    for (unsigned i = STORAGE_FLOPPY_A; i <= STORAGE_FLOPPY_B; i++) {
        const struct storage *drive = &config->drives[i];
        if (drive->kind == STORAGE_FLOPPY && drive->present && !floppy_drive_for(drive->bytes))
            return i - STORAGE_FLOPPY_A + 1;
    }
    return 0;
}

static bool check_config(const struct machine_config *config, char *error, size_t error_size)
{
    if (config->memory_bytes % MIB(1) || config->memory_bytes < MIB(2) || config->memory_bytes > GIB(256))
        snprintf(error, error_size, "%llu bytes of memory: it must be a multiple of 1 MiB, 2 MiB to 256 GiB",
                 (unsigned long long)config->memory_bytes);
    else if (config->cpus < 1 || config->cpus > MACHINE_MAX_CPUS)
        snprintf(error, error_size, "%u vCPUs: there can be 1 to %d", config->cpus, MACHINE_MAX_CPUS);
    else if (config->slice < 1)
        snprintf(error, error_size, "a slice of 0 instructions");
    else if (config->accel != ACCEL_VTX && config->accel != ACCEL_BARE)
        snprintf(error, error_size, "unknown accelerator %u", config->accel);
    else if (config->clock != CLOCK_VIRTUAL && config->clock != CLOCK_HOST)
        snprintf(error, error_size, "unknown clock %u", config->clock);
    else if (config->firmware_bytes % MEMORY_PAGE || config->firmware_bytes > MACHINE_MAX_FIRMWARE)
        snprintf(error, error_size, "%u bytes of firmware: it must be a multiple of 4 KiB, at most 16 MiB",
                 config->firmware_bytes);
    else if (config->cpuid_count > MACHINE_MAX_CPUID)
        snprintf(error, error_size, "%u CPUID rows: there can be up to %d", config->cpuid_count, MACHINE_MAX_CPUID);
    else if (wrong_floppy(config))
        snprintf(error, error_size, "floppy %c: no format has %llu bytes", 'A' + (int)wrong_floppy(config) - 1,
                 (unsigned long long)config->drives[STORAGE_FLOPPY_A + wrong_floppy(config) - 1].bytes);
    else if (missing_on_host())
        snprintf(error, error_size, "the host's processor lacks %s: an x86-64-v2 one is needed", missing_on_host());
    else
        return true;
    return false;
}

static struct vcpu *create_vcpu(struct machine *machine, unsigned index, char *error, size_t error_size)
{
    struct vcpu common = {.accel = machine->accel,
                          .machine = machine,
                          .config = &machine->config,
                          .map = &machine->map,
                          .arena = machine->arena,
                          .processor = processor_create(machine->arena, &machine->config, index),
                          .board = machine->board,
                          .index = index,
                          .attention = attention};
    if (!common.processor) {
        snprintf(error, error_size, "no memory for %u vCPUs", machine->config.cpus);
        return NULL;
    }
    struct vcpu *vcpu = machine->accel->create(&common, error, error_size);
    if (!vcpu)
        processor_destroy(common.processor);
    return vcpu;
}

static bool create_vcpus(struct machine *machine, char *error, size_t error_size)
{
    for (unsigned i = 0; i < machine->config.cpus; i++) {
        machine->vcpu[i] = create_vcpu(machine, i, error, error_size);
        if (!machine->vcpu[i])
            return false;
    }
    machine->current = machine->vcpu[0];
    schedule_reset(machine);
    return true;
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
    uint64_t end = memory_end(config->memory_bytes, config->firmware_bytes);
    machine->arena = arena_create(end + machine->accel->structures(config));
    machine->board = board_create(&machine->config);
    if (!machine->arena || !machine->board) {
        snprintf(error, error_size, "no memory for a machine with %llu MiB of RAM",
                 (unsigned long long)(config->memory_bytes >> 20));
    } else {
        board_attach(machine->board, &(struct board_memory){machine, memory_at, memory_hidden});
        if (!memory_window_create(machine))
            snprintf(error, error_size, "out of memory");
        else if (create_vcpus(machine, error, error_size))
            return machine;
    }
    machine_destroy(machine);
    return NULL;
}

void machine_destroy(struct machine *machine)
{
    for (unsigned i = 0; i < MACHINE_MAX_CPUS && machine->vcpu[i]; i++) {
        struct processor *processor = machine->vcpu[i]->processor;
        machine->accel->destroy(machine->vcpu[i]);
        processor_destroy(processor);
    }
    if (machine->board)
        board_destroy(machine->board);
    if (machine->arena)
        arena_destroy(machine->arena);
    free(machine->hidden);
    free(machine);
}

void machine_reset(struct machine *machine)
{
    board_reset(machine->board);
    board_advance(machine->board, machine_time(machine));
    schedule_reset(machine);
    for (unsigned i = 0; i < machine->config.cpus; i++) {
        struct vcpu *vcpu = machine->vcpu[i];
        machine->accel->reset(vcpu);
        vcpu->halted = vcpu->nmi_pending = vcpu->injecting = false;
        vcpu->monitor.line = NULL;
        vcpu->end = MACHINE_AIR;
        vcpu->detail = 0;
    }
    machine->event = BOARD_NONE;
    memory_window_follow(machine);
}

/* ---- memory, registers, devices ---- */

uint8_t *machine_ram(struct machine *machine, uint64_t gpa, uint64_t size)
{
    return memory_at(machine, gpa, size, true); /* written before the next run, by the caller */
}

uint64_t machine_count(const struct machine *machine)
{
    return vcpu_machine_count(machine->current);
}

uint64_t machine_vcpu_count(const struct machine *machine, unsigned vcpu)
{
    return vcpu < machine->config.cpus ? machine->vcpu[vcpu]->count : 0;
}

uint64_t machine_time(const struct machine *machine)
{
    return machine->current->time;
}

void machine_get_registers(const struct machine *machine, unsigned vcpu, struct vcpu_registers *registers)
{
    *registers = (struct vcpu_registers){0};
    if (vcpu < machine->config.cpus)
        machine->accel->get_registers(machine->vcpu[vcpu], registers);
}

void machine_set_registers(struct machine *machine, unsigned vcpu, const struct vcpu_registers *registers)
{
    if (vcpu >= machine->config.cpus)
        return;
    machine->accel->set_registers(machine->vcpu[vcpu], registers);
    machine->vcpu[vcpu]->halted = false;
}

size_t machine_serial_input(struct machine *machine, unsigned uart, const uint8_t *data, size_t size)
{
    return uart < MACHINE_UARTS ? board_serial_input(machine->board, uart, data, size, machine_time(machine)) : 0;
}

size_t machine_serial_output(struct machine *machine, unsigned uart, uint8_t *data, uint64_t *counts, size_t size)
{
    return uart < MACHINE_UARTS ? board_serial_output(machine->board, uart, data, counts, size) : 0;
}

size_t machine_debug_output(struct machine *machine, uint8_t *data, uint64_t *counts, size_t size)
{
    return board_debug_output(machine->board, data, counts, size);
}

int machine_screen(const struct machine *machine, struct machine_screen *screen)
{
    return board_screen(machine->board, screen);
}

int machine_font(const struct machine *machine, unsigned set, uint8_t *glyphs)
{
    return board_font(machine->board, set, glyphs);
}

size_t machine_keys(struct machine *machine, const uint32_t *events, size_t count)
{
    return board_keys(machine->board, events, count, machine_time(machine));
}

void machine_mouse(struct machine *machine, int32_t dx, int32_t dy, int32_t dz, uint8_t buttons)
{
    board_mouse(machine->board, dx, dy, dz, buttons, machine_time(machine));
}

void machine_network_arrive(struct machine *machine, const uint8_t *frame, uint32_t size)
{
    board_network_arrive(machine->board, frame, size, machine_time(machine));
}

void machine_power_button(struct machine *machine)
{
    board_power_button(machine->board, machine_time(machine));
}

/* ---- inspection ---- */

uint64_t machine_exits(const struct machine *machine, unsigned vcpu, unsigned reason)
{
    return vcpu < machine->config.cpus && reason < EXIT_REASONS ? machine->vcpu[vcpu]->exits[reason] : 0;
}

const char *machine_exit_name(unsigned reason)
{
    return reason < EXIT_REASONS ? exit_names[reason] : NULL;
}

size_t machine_exit_ring(const struct machine *machine, unsigned vcpu, struct machine_exit_record *records,
                         size_t size)
{
    if (vcpu >= machine->config.cpus)
        return 0;
    const struct vcpu *of = machine->vcpu[vcpu];
    size_t count = min64(min64(of->exit_total, EXIT_RING), size);
    for (size_t i = 0; i < count; i++)
        records[i] = of->ring[(of->exit_total - count + i) % EXIT_RING];
    return count;
}
