/* How interrupts get from chips to processors, and what processors ask of the board. */
#include "board_state.h"
#include "x2apic.h"

#define BOOT_PROCESSOR 0

/* ---- wiring ---- */

/* Is the message for this processor? `sender` is a vCPU, or the I/O APIC (-1), which uses no shorthands. */
static bool is_for(const struct board *board, int vcpu, int sender, const struct apic_message *message)
{
    switch (message->shorthand) {
    case APIC_TO_SELF:
        return vcpu == sender;
    case APIC_TO_OTHERS:
        return vcpu != sender;
    case APIC_TO_ALL:
        return true;
    }
    return lapic_addressed(&board->chips.lapic[vcpu], message);
}

/* The addressed processor with the lowest priority; of equals, the first. One whose LAPIC is off by software takes none. */
static struct lapic *arbitrate(struct board *board, int sender, const struct apic_message *message)
{
    struct lapic *lowest = NULL;

    for (int i = 0; i < (int)board->cpus; i++) {
        struct lapic *lapic = &board->chips.lapic[i];
        if (is_for(board, i, sender, message) && lapic->svr & LAPIC_SVR_ENABLE &&
            (!lowest || lapic_ppr(lapic) < lapic_ppr(lowest)))
            lowest = lapic;
    }
    return lowest;
}

void deliver(struct board *board, int sender, const struct apic_message *message)
{
    if (message->delivery == APIC_EOI) {
        ioapic_end(&board->chips.ioapic, message->vector);
        return;
    }
    if (message->delivery == APIC_LOWEST_PRIORITY) {
        struct lapic *lapic = arbitrate(board, sender, message);
        if (lapic)
            lapic_receive(lapic, message);
        return;
    }
    for (int i = 0; i < (int)board->cpus; i++) {
        if (!is_for(board, i, sender, message))
            continue;
        if (message->delivery == APIC_INIT && i == BOOT_PROCESSOR)
            raise_event(board, BOARD_RESET, 0);
        else
            lapic_receive(&board->chips.lapic[i], message);
    }
}

/* After any change in an interrupt controller: lets signals run to where they end. */
void settle_interrupts(struct board *board)
{
    struct chips *chips = &board->chips;
    struct apic_message message;

    ioapic_set_pin(&chips->ioapic, IOAPIC_PIN_EXTINT, chips->pic.intr);
    while (ioapic_take(&chips->ioapic, &message))
        deliver(board, -1, &message);
    for (unsigned i = 0; i < board->cpus; i++) {
        struct lapic *lapic = &chips->lapic[i];
        lapic_set_lint(lapic, LAPIC_LINT0, chips->pic.intr);
        board->interrupt_pending[i] = lapic_extint_pending(lapic) || lapic_pending(lapic);
    }
}

/* The wire of an ISA interrupt: high when its chip or testdev says so. */
void drive_irq(struct board *board, unsigned irq)
{
    struct chips *chips = &board->chips;
    bool level = (chips->irqs | chips->pci_irqs | chips->testdev.irqs) >> irq & 1;

    pic_set_irq(&chips->pic, irq, level);
    ioapic_set_pin(&chips->ioapic, irq == IRQ_PIT ? IOAPIC_PIN_PIT : irq, level);
    settle_interrupts(board);
}

void set_irq(struct board *board, unsigned irq, bool level)
{
    if ((board->chips.irqs >> irq & 1) == level)
        return;
    board->chips.irqs ^= (uint16_t)(1 << irq);
    drive_irq(board, irq);
}
/* ---- the processor's side ---- */

bool board_interrupt_pending(const struct board *board, unsigned vcpu)
{
    return board->interrupt_pending[vcpu];
}

uint8_t board_interrupt_acknowledge(struct board *board, unsigned vcpu, uint64_t now)
{
    struct lapic *lapic = &board->chips.lapic[vcpu];
    uint8_t vector;

    catch_up(board, now);
    vector = lapic_take_extint(lapic) ? pic_acknowledge(&board->chips.pic) : lapic_acknowledge(lapic);
    settle_interrupts(board);
    return vector;
}

bool board_take_nmi(struct board *board, unsigned vcpu)
{
    return lapic_take_nmi(&board->chips.lapic[vcpu]);
}

enum board_signal board_take_signal(struct board *board, unsigned vcpu, uint8_t *vector)
{
    struct lapic *lapic = &board->chips.lapic[vcpu];

    return lapic_take_init(lapic)              ? BOARD_INIT
           : lapic_take_startup(lapic, vector) ? BOARD_STARTUP
                                               : BOARD_NO_SIGNAL;
}

bool board_signal_pending(const struct board *board, unsigned vcpu)
{
    return board->chips.lapic[vcpu].init || board->chips.lapic[vcpu].startup;
}

bool board_waits_for_startup(const struct board *board, unsigned vcpu)
{
    return board->chips.lapic[vcpu].wait_for_sipi;
}

void board_set_ferr(struct board *board, unsigned vcpu, bool level)
{
    if (vcpu != 0)
        return;
    ferr_set_pin(&board->chips.ferr, level);
    ferr_changed(board);
}

bool board_ferr(const struct board *board, unsigned vcpu)
{
    return vcpu == 0 && board->chips.ferr.ferr;
}

bool board_ignne(const struct board *board, unsigned vcpu)
{
    return vcpu == 0 && board->chips.ferr.ignne;
}

void board_nmi(struct board *board)
{
    if (board->chips.rtc.nmi_masked)
        return;
    for (unsigned i = 0; i < board->cpus; i++) {
        lapic_set_lint(&board->chips.lapic[i], LAPIC_LINT1, true);
        lapic_set_lint(&board->chips.lapic[i], LAPIC_LINT1, false);
    }
    settle_interrupts(board);
}

static bool is_x2apic_msr(uint32_t index)
{
    return index >= X2APIC_MSR_FIRST && index <= X2APIC_MSR_LAST;
}

static bool has_msr(const struct board *board, uint32_t index)
{
    return index == LAPIC_MSR_BASE || (index == LAPIC_MSR_TSC_DEADLINE && board->tsc_deadline);
}

bool board_msr_read(struct board *board, unsigned vcpu, uint32_t index, uint64_t *value, uint64_t now, uint64_t tsc)
{
    (void)tsc;
    catch_up(board, now);
    if (is_x2apic_msr(index))
        return x2apic_read(&board->chips.lapic[vcpu], index, value, now);
    return has_msr(board, index) && lapic_read_msr(&board->chips.lapic[vcpu], index, value);
}

bool board_msr_write(struct board *board, unsigned vcpu, uint32_t index, uint64_t value, uint64_t now, uint64_t tsc)
{
    struct lapic *lapic = &board->chips.lapic[vcpu];
    struct apic_message message;
    bool sent = false;

    catch_up(board, now);
    if (is_x2apic_msr(index) ? !x2apic_write(lapic, index, value, now, &message, &sent)
                             : !has_msr(board, index) || !lapic_write_msr(lapic, index, value, now, tsc,
                                                                          board->address_bits, board->x2apic))
        return false;
    if (sent)
        deliver(board, (int)vcpu, &message);
    lapic_changed(board, vcpu);
    catch_up(board, now);
    return true;
}

uint64_t board_cr8(const struct board *board, unsigned vcpu)
{
    return board->chips.lapic[vcpu].tpr >> 4;
}

void board_set_cr8(struct board *board, unsigned vcpu, uint64_t value)
{
    board->chips.lapic[vcpu].tpr = (uint8_t)(value << 4);
    settle_interrupts(board);
}

/* By an entry of the I/O APIC or of a local vector table, which have mask and delivery mode at the same places. */
static bool entry_open(uint32_t entry, enum reach reach)
{
    return !(entry & IOAPIC_MASK) && (reach == BY_ANY || (entry & IOAPIC_DELIVERY) >> 8 == APIC_NMI);
}

bool pin_open(const struct board *board, unsigned pin, enum reach reach)
{
    return entry_open(board->chips.ioapic.low[pin], reach);
}

/* Does the 8259 pair's INTR reach a processor? */
static bool intr_open(const struct board *board, enum reach reach)
{
    for (unsigned i = 0; i < board->cpus; i++) {
        const struct lapic *lapic = &board->chips.lapic[i];
        if (lapic->base & LAPIC_BASE_ENABLE ? entry_open(lapic->lvt[LAPIC_LVT_LINT0], reach) : reach == BY_ANY)
            return true;
    }
    return pin_open(board, IOAPIC_PIN_EXTINT, reach);
}

bool irq_open(const struct board *board, unsigned irq, enum reach reach)
{
    const struct pic_unit *master = &board->chips.pic.unit[PIC_MASTER], *slave = &board->chips.pic.unit[PIC_SLAVE];
    bool masked = irq < 8 ? master->imr & 1 << irq
                          : slave->imr & 1 << (irq & 7) || master->imr & 1 << PIC_CASCADE;

    return (!masked && intr_open(board, reach)) || pin_open(board, irq == IRQ_PIT ? IOAPIC_PIN_PIT : irq, reach);
}

/* Does the way of the network card's interrupt lead to a processor? */
static bool network_open(const struct board *board, enum reach reach)
{
    unsigned route = pci_route(&board->chips.pci, PCI_NETWORK);

    return route != PCI_PIRQ_NONE && irq_open(board, route, reach);
}

/* Does a timer run that can reach a processor? */
static bool timer_open(const struct board *board, enum reach reach)
{
    static const uint8_t irq_of[TIMER_LAPIC] = {
        [TIMER_PIT] = IRQ_PIT,      [TIMER_RTC] = IRQ_RTC,      [TIMER_ACPI_PM] = IRQ_SCI,  [TIMER_UART] = IRQ_COM1,
        [TIMER_FDC] = IRQ_FDC,      [TIMER_IDE] = IRQ_IDE_1,    [TIMER_IDE + 1] = IRQ_IDE_2,
        [TIMER_UART + 1] = IRQ_COM2, [TIMER_UART + 2] = IRQ_COM1, [TIMER_UART + 3] = IRQ_COM2,
        [TIMER_I8042] = IRQ_KEYBOARD,
    };

    for (unsigned i = 0; i < TIMER_LAPIC; i++)
        if (board->due[i] != MACHINE_NEVER &&
            (i == TIMER_HPET      ? hpet_open(board, reach)
             : i == TIMER_NETWORK ? network_open(board, reach)
                                  : irq_open(board, irq_of[i], reach)))
            return true;
    return board->due[TIMER_I8042] != MACHINE_NEVER && irq_open(board, IRQ_MOUSE, reach);
}

bool board_can_wake(const struct board *board, unsigned vcpu)
{
    if (timer_open(board, BY_ANY))
        return true;
    return board->due[TIMER_LAPIC + vcpu] != MACHINE_NEVER &&
           !(board->chips.lapic[vcpu].lvt[LAPIC_LVT_TIMER] & LAPIC_LVT_MASK);
}

bool board_can_nmi(const struct board *board)
{
    return timer_open(board, BY_NMI);
}
