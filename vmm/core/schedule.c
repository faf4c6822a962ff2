/* The turns of a machine's vCPUs: a round robin on one host thread, in virtual time.
 *
 * One vCPU runs at a time, and the machine's clock is the sum of what all of them retire (and of the time in which all
 * wait): each finds the clock where the one before it left it, so no guest can see it go back. A turn ends after
 * `slice` instructions, at a PAUSE, and when the vCPU halts. Nothing here depends on the host. */
#include "machine_state.h"

/* ---- INIT and SIPI (SDM vol. 3, 9.4 and table 10-1) ---- */

static void take_init(struct machine *machine, struct vcpu *vcpu)
{
    struct vcpu_registers registers;
    machine->accel->get_registers(vcpu, &registers);
    registers = initial_registers(vcpu, registers.cr0);
    machine->accel->set_registers(vcpu, &registers);
    vcpu->halted = vcpu->yields = vcpu->nmi_pending = vcpu->injecting = false;
    vcpu->monitor.line = NULL;
}

static void take_startup(struct machine *machine, struct vcpu *vcpu, uint8_t vector)
{
    enum { CS = 1 };
    struct vcpu_registers registers;
    machine->accel->get_registers(vcpu, &registers);
    registers.segment[CS].selector = (uint16_t)(vector << 8);
    registers.segment[CS].base = (uint64_t)vector << 12;
    registers.rip = 0;
    machine->accel->set_registers(vcpu, &registers);
}

static void take_signals(struct machine *machine, struct vcpu *vcpu)
{
    uint8_t vector;
    for (;;)
        switch (board_take_signal(machine->board, vcpu->index, &vector)) {
        case BOARD_INIT:
            take_init(machine, vcpu);
            break;
        case BOARD_STARTUP:
            take_startup(machine, vcpu, vector);
            break;
        default:
            return;
        }
}

/* ---- whose turn it is ---- */

/* Does something end the halt? */
static bool wakes(const struct machine *machine, const struct vcpu *vcpu)
{
    if (vcpu->nmi_pending && takes_nmi(vcpu))
        return true;
    if (board_interrupt_pending(machine->board, vcpu->index) && machine->accel->interrupts_enabled(vcpu))
        return true;
    return vcpu_monitor_written(vcpu);
}

static bool can_run(struct machine *machine, struct vcpu *vcpu)
{
    if (board_signal_pending(machine->board, vcpu->index))
        take_signals(machine, vcpu);
    if (board_waits_for_startup(machine->board, vcpu->index))
        return false;
    take_nmi(vcpu);
    return !vcpu->halted || wakes(machine, vcpu);
}

static void begin_turn(struct machine *machine, struct vcpu *vcpu)
{
    const struct vcpu *last = machine->current;
    uint64_t count = vcpu_machine_count(last);
    vcpu->elsewhere = count - vcpu->count;
    if (vcpu->time != last->time)
        machine->accel->set_time(vcpu, last->time);
    vcpu->yields = false;
    machine->slice_end = count + machine->config.slice;
    __atomic_store_n(&machine->current, vcpu, __ATOMIC_RELAXED); /* machine_kick looks */
}

static struct vcpu *awake(struct vcpu *vcpu)
{
    if (vcpu->halted) {
        vcpu->halted = false;
        vcpu->monitor.line = NULL;
    }
    return vcpu;
}

struct vcpu *schedule(struct machine *machine)
{
    struct vcpu *current = machine->current;
    unsigned cpus = machine->config.cpus;
    if (!current->yields && vcpu_machine_count(current) < machine->slice_end && can_run(machine, current))
        return awake(current);
    for (unsigned i = 1; i <= cpus; i++) {
        struct vcpu *next = machine->vcpu[(current->index + i) % cpus];
        if (can_run(machine, next)) {
            begin_turn(machine, next);
            return awake(next);
        }
    }
    return NULL;
}

bool schedule_others_wait(struct machine *machine)
{
    for (unsigned i = 0; i < machine->config.cpus; i++)
        if (machine->vcpu[i] != machine->current && can_run(machine, machine->vcpu[i]))
            return true;
    return false;
}

void schedule_reset(struct machine *machine)
{
    for (unsigned i = machine->config.cpus; i--;) /* the first one last: it is to run */
        begin_turn(machine, machine->vcpu[i]);
}
