/* Instructions on devices, and task switches: by the processor's own semantics as a library (emulate.h), on the guest's
 * registers, with RAM and the board behind it. */
#include <string.h>

#include "guest.h"

#define NO_PORT (-1)

/* ---- the bus ---- */

static void bus_read(void *context, uint64_t gpa, void *data, unsigned size)
{
    struct vcpu *vcpu = context;
    gpa &= ~guest_of(vcpu)->a20m;
    const uint8_t *memory = guest_memory(guest_of(vcpu), gpa, size, MEMORY_ROM);
    if (memory)
        memcpy(data, memory, size);
    else
        board_memory_read(vcpu->board, vcpu->index, gpa, data, size, vcpu->time);
}

static void bus_write(void *context, uint64_t gpa, const void *data, unsigned size)
{
    struct vcpu *vcpu = context;
    gpa &= ~guest_of(vcpu)->a20m;
    guest_of(vcpu)->stored_at = gpa;
    uint8_t *ram = guest_memory(guest_of(vcpu), gpa, size, MEMORY_RAM);
    if (ram) {
        memcpy(ram, data, size);
        arena_written(vcpu->arena, gpa, size);
    } else {
        board_memory_write(vcpu->board, vcpu->index, gpa, data, size, vcpu->time);
    }
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

/* ---- the guest's registers ---- */

/* X(member of struct emulate_state, VMCS component): what is copied as it is. */
#define STATE_COMPONENTS(X)                                                                                            \
    X(rip, GUEST_RIP)                                                                                                  \
    X(rsp, GUEST_RSP)                                                                                                  \
    X(rflags, GUEST_RFLAGS)                                                                                            \
    X(cr3, GUEST_CR3)                                                                                                  \
    X(pdpte[0], GUEST_PDPTE)                                                                                           \
    X(pdpte[1], GUEST_PDPTE + 2)                                                                                       \
    X(pdpte[2], GUEST_PDPTE + 4)                                                                                       \
    X(pdpte[3], GUEST_PDPTE + 6)                                                                                       \
    X(gdt_base, GUEST_GDTR_BASE)                                                                                       \
    X(idt_base, GUEST_IDTR_BASE)                                                                                       \
    X(gdt_limit, GUEST_GDTR_LIMIT)                                                                                     \
    X(idt_limit, GUEST_IDTR_LIMIT)                                                                                     \
    X(interruptibility, GUEST_INTERRUPTIBILITY_STATE)                                                                  \
    X(dr7, GUEST_DR7)                                                                                                  \
    X(pending_debug, GUEST_PENDING_DEBUG_EXCEPTIONS)

static void load_state(const struct guest *guest, struct emulate_state *state)
{
    *state = (struct emulate_state){
        .cr0 = guest_cr0(guest),
        .cr4 = guest_cr4(guest),
        .efer = vmcs_read(guest, GUEST_EFER),
#define X(member, component) .member = vmcs_read(guest, component),
        STATE_COMPONENTS(X)
#undef X
    };
    for (unsigned i = 0; i < SEGMENTS; i++)
        state->segment[i] = read_segment(guest, i);
}

/* Writes what differs from `before`: most instructions change RIP and little else. */
static void store_state(struct guest *guest, const struct emulate_state *before, const struct emulate_state *state)
{
#define X(member, component)                                                                                           \
    if (state->member != before->member)                                                                               \
        vmcs_write(guest, component, state->member);
    STATE_COMPONENTS(X)
#undef X
    for (unsigned i = 0; i < SEGMENTS; i++) {
        const struct vcpu_segment *new = &state->segment[i], *old = &before->segment[i];
        if (new->base != old->base || new->limit != old->limit || new->access != old->access ||
            new->selector != old->selector)
            write_segment(guest, i, new);
    }
    if (state->cr0 != before->cr0)
        set_guest_cr0(guest, state->cr0);
    if (state->cr4 != before->cr4)
        set_guest_cr4(guest, state->cr4);
    if (state->efer != before->efer)
        set_guest_efer(guest, state->efer);
    if (state->cr0 != before->cr0 || state->cr3 != before->cr3 || state->cr4 != before->cr4)
        flush_translations(guest);
}

static void single_step(struct guest *guest)
{
    vmcs_write(guest, GUEST_PENDING_DEBUG_EXCEPTIONS,
               vmcs_read(guest, GUEST_PENDING_DEBUG_EXCEPTIONS) | PENDING_DEBUG_BS);
}

static void emulated_exception(struct guest *guest, const struct emulate_outcome *outcome)
{
    inject_exception(guest, outcome->vector, outcome->has_error ? (int64_t)outcome->error : NO_ERROR_CODE);
}

/* ---- REP INS ---- */

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Bytes from this offset of a page on that cannot be the instruction's own, whose offsets in a page are known. */
static uint64_t before_code(const struct emulate_state *state, uint64_t offset)
{
    enum { LONGEST = 15 };
    uint64_t code = (state->segment[CS].base + state->rip) % MEMORY_PAGE;

    if (offset < code)
        return offset + MEMORY_PAGE < code + LONGEST ? 0 : code - offset;
    return offset < code + LONGEST ? 0 : MEMORY_PAGE - offset;
}

/* How many iterations after the one that has just stored at `stored_at` differ from it in nothing but the data: they
 * store behind it in the same page, no counter wraps (of 16 bits, if it should be one), and nothing is due before they
 * end. The last iteration, which moves RIP, is never one of them. */
static uint64_t alike(const struct guest *guest, const struct emulate_state *state, unsigned size)
{
    const struct vcpu *vcpu = &guest->vcpu;
    const struct vcpu_segment *es = &state->segment[ES];
    const uint64_t *gpr = guest->registers->gpr;
    bool flat = state->segment[CS].access & AR_L && state->efer & EFER_LMA;
    uint64_t count = gpr[RCX] & 0xffff, page = (guest->stored_at + size) % MEMORY_PAGE;
    uint64_t due = least(vcpu->until, board_deadline(vcpu->board));

    if (page != ((flat ? 0 : es->base) + gpr[RDI]) % MEMORY_PAGE) /* in pieces, or downwards */
        return 0;
    if (!page || count < 2 || (gpr[RDI] & 0xffff) < size || state->dr7 & DR7_ENABLES || due <= vcpu->time + 1)
        return 0;
    count = least(count - 1, before_code(state, page) / size);
    count = least(count, (0xffff - (gpr[RDI] & 0xffff)) / size);
    count = least(count, due - vcpu->time - 1);
    if (!flat && (es->access & AR_EXPAND_DOWN || (uint32_t)gpr[RDI] + count * size > es->limit))
        return 0;
    return count;
}

/* Does as many of them as the board has data for, in one go; false: none. */
static bool input_ahead(struct guest *guest, const struct emulate_state *state, uint16_t port, unsigned size)
{
    struct vcpu *vcpu = &guest->vcpu;
    uint64_t count = alike(guest, state, size), at = guest->stored_at + size;
    uint8_t *ram = count ? guest_memory(guest, at, count * size, MEMORY_RAM) : NULL;

    count = ram ? board_io_read_ahead(vcpu->board, port, size, ram, (unsigned)count) : 0;
    if (!count)
        return false;
    arena_written(vcpu->arena, at, count * size);
    guest->registers->gpr[RCX] -= count;
    guest->registers->gpr[RDI] += count * size;
    guest_retire(guest, count);
    return true;
}

/* The instruction at RIP; `input_port` is where a REP INS reads, else NO_PORT. */
static void emulate(struct guest *guest, int input_port, unsigned size)
{
    struct vcpu *vcpu = &guest->vcpu;
    const struct emulate_bus bus = {vcpu, bus_read, bus_write, bus_in, bus_out};
    struct emulate_state before, state;
    struct emulate_outcome outcome;
    enum emulate_result result;
    uint64_t rip;
    load_state(guest, &before);
    state = before;
    bool again;
    do { /* one iteration at a time: each is a boundary at which the guest can be interrupted */
        rip = state.rip;
        state.tsc = vcpu->time + guest->tsc_offset;
        result = emulate_instruction(guest->emulator, guest->registers, &state, &bus, 1, &outcome);
        if (result == EMULATE_DONE)
            guest_retire(guest, outcome.iterations);
        again = result == EMULATE_DONE && state.rip == rip && !(before.rflags & RFLAGS_TF) && !state.pending_debug &&
                !vcpu->attention(vcpu);
        if (again && input_port != NO_PORT)
            again = !input_ahead(guest, &state, (uint16_t)input_port, size) || !vcpu->attention(vcpu);
    } while (again);
    store_state(guest, &before, &state);
    if (result == EMULATE_EXCEPTION)
        emulated_exception(guest, &outcome);
    else if (result == EMULATE_REFUSED)
        vcpu_end(vcpu, MACHINE_INTERNAL, "an instruction that exits was fetched from a device: RIP %#llx",
                 (unsigned long long)state.rip);
    else if (before.rflags & RFLAGS_TF)
        single_step(guest);
    if (outcome.monitored != MACHINE_NEVER)
        vcpu_monitor(vcpu, outcome.monitored & ~guest->a20m);
}

void emulate_instruction_at_rip(struct guest *guest)
{
    emulate(guest, NO_PORT, 0);
}

void emulate_input_at_rip(struct guest *guest, uint16_t port, unsigned size)
{
    emulate(guest, port, size);
}

/* SDM vol. 3, 8.3. An instruction, or the delivery of an event by a task gate, which `vectoring` describes. */
void emulate_task_exit(struct guest *guest, uint16_t selector, unsigned source, uint32_t vectoring)
{
    enum { IRET = 1, IDT_GATE = 3 };
    struct vcpu *vcpu = &guest->vcpu;
    const struct emulate_bus bus = {vcpu, bus_read, bus_write, bus_in, bus_out};
    struct emulate_state before, state;
    struct emulate_outcome outcome;
    uint32_t type = vectoring & EVENT_TYPE;
    bool event = source == IDT_GATE && vectoring & EVENT_VALID;
    bool instruction = !event || type >= EVENT_SOFTWARE_INTERRUPT;
    bool has_error = event && vectoring & EVENT_ERROR_CODE;
    uint32_t error = has_error ? vmcs_read(guest, IDT_VECTORING_ERROR_CODE) : 0;

    load_state(guest, &before);
    state = before;
    state.tsc = vcpu->time + guest->tsc_offset;
    if (instruction)
        state.rip += vmcs_read(guest, EXIT_INSTRUCTION_LENGTH);
    if (event && type == EVENT_NMI)
        state.interruptibility |= BLOCKED_BY_NMI;
    else if (source == IRET)
        state.interruptibility &= ~BLOCKED_BY_NMI;
    enum emulate_result result = emulate_task_switch(guest->emulator, guest->registers, &state, &bus, selector, source,
                                                     has_error, error, &outcome);
    if (result == EMULATE_DONE && source != IDT_GATE && before.rflags & RFLAGS_TF)
        state.pending_debug |= PENDING_DEBUG_BS;
    uint64_t traps = state.pending_debug;
    state.pending_debug = traps & DR6_BT ? 0 : traps;
    bool switched = result == EMULATE_DONE || state.segment[TR].selector != before.segment[TR].selector;
    if (switched) {
        state.interruptibility &= ~(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
        store_state(guest, &before, &state);
    }
    if (switched && (source != IDT_GATE || (instruction && result == EMULATE_DONE)))
        guest_retire(guest, 1);
    if (result == EMULATE_REFUSED)
        vcpu_end(vcpu, MACHINE_INTERNAL, "task switch to %#x refused", selector);
    else if (result == EMULATE_EXCEPTION && event) {
        if (!switched && type == EVENT_HARDWARE_EXCEPTION && before.rflags & RFLAGS_RF)
            lend_rf(guest); /* the exit set it for the first exception */
        inject_second_exception(guest, vectoring, outcome.vector,
                                outcome.has_error ? (int64_t)outcome.error : NO_ERROR_CODE);
    } else if (result == EMULATE_EXCEPTION)
        emulated_exception(guest, &outcome);
    else if (traps & DR6_BT)
        inject_debug_trap(guest, traps & ~PENDING_DEBUG_BREAKPOINT);
}
