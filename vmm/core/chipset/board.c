#include "board.h"

#include <stdlib.h>
#include <string.h>

#include "chips.h"
#include "map.h"
#include "output.h"
#include "ticks.h"
#include "x2apic.h"

#define PORTS 0x2018 /* no chip answers above */
#define PVPANIC_PANICKED 1
#define ISA_IRQS 16
#define BOOT_PROCESSOR 0
#define FNV_OFFSET 0xcbf29ce484222325ULL

STATE_TABLE(chips, CHIPS_STATE);

/* The chips that time changes. */
enum timer {
    TIMER_PIT,
    TIMER_RTC,
    TIMER_ACPI_PM,
    TIMER_UART,
    TIMER_LAPIC = TIMER_UART + MACHINE_UARTS,
    TIMERS = TIMER_LAPIC + MACHINE_MAX_CPUS
};

struct board {
    struct chips chips;

    /* What follows from the chips, kept because it is asked for all the time. */
    uint64_t deadline;
    uint64_t due[TIMERS];
    bool interrupt_pending[MACHINE_MAX_CPUS];

    uint64_t memory_bytes;
    unsigned cpus;
    bool debug_exit; /* isa-debug-exit, and testdev */
    bool tsc_deadline, x2apic;
    unsigned address_bits;

    enum board_event event;
    uint32_t event_detail;

    size_t unread;
    struct output serial[MACHINE_UARTS];
    struct output debug;

    uint8_t port_range[PORTS]; /* index into port_map plus one; 0: no chip */
};

struct moment {
    uint64_t now, count;
};

/* ---- interrupt wiring ---- */

static void raise_event(struct board *board, enum board_event event, uint32_t detail)
{
    if (board->event != BOARD_NONE)
        return; /* the first one ended the machine */
    board->event = event;
    board->event_detail = detail;
}

static void reset_if(struct board *board, bool reset)
{
    if (reset)
        raise_event(board, BOARD_RESET, 0);
}

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

static void deliver(struct board *board, int sender, const struct apic_message *message)
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
static void settle_interrupts(struct board *board)
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
static void drive_irq(struct board *board, unsigned irq)
{
    struct chips *chips = &board->chips;
    bool level = (chips->irqs | chips->testdev.irqs) >> irq & 1;

    pic_set_irq(&chips->pic, irq, level);
    ioapic_set_pin(&chips->ioapic, irq == IRQ_PIT ? IOAPIC_PIN_PIT : irq, level);
    settle_interrupts(board);
}

static void set_irq(struct board *board, unsigned irq, bool level)
{
    if ((board->chips.irqs >> irq & 1) == level)
        return;
    board->chips.irqs ^= (uint16_t)(1 << irq);
    drive_irq(board, irq);
}

/* ---- time ---- */

static void rearm(struct board *board, unsigned timer, uint64_t due)
{
    if (board->due[timer] == due)
        return;
    board->due[timer] = due;
    uint64_t deadline = MACHINE_NEVER;
    for (unsigned i = 0; i < TIMER_LAPIC + board->cpus; i++)
        deadline = sooner(deadline, board->due[i]);
    board->deadline = deadline;
}

/* Each chip's pins and timer, after anything happened to it. */

static void pit_changed(struct board *board)
{
    set_irq(board, IRQ_PIT, board->chips.pit.irq);
    rearm(board, TIMER_PIT, pit_deadline(&board->chips.pit));
}

static void rtc_changed(struct board *board)
{
    set_irq(board, IRQ_RTC, board->chips.rtc.irq);
    rearm(board, TIMER_RTC, rtc_deadline(&board->chips.rtc));
}

static void acpi_pm_changed(struct board *board)
{
    set_irq(board, IRQ_SCI, board->chips.acpi_pm.sci);
    rearm(board, TIMER_ACPI_PM, acpi_pm_deadline(&board->chips.acpi_pm));
}

/* COM1 and COM3 share an interrupt, COM2 and COM4 the other. */
static void uart_changed(struct board *board, unsigned unit)
{
    const struct uart *uart = board->chips.uart;

    set_irq(board, unit & 1 ? IRQ_COM2 : IRQ_COM1, uart[unit].irq || uart[unit ^ 2].irq);
    rearm(board, TIMER_UART + unit, uart_deadline(&uart[unit]));
}

static void i8042_changed(struct board *board)
{
    set_irq(board, IRQ_KEYBOARD, board->chips.i8042.keyboard_irq);
    set_irq(board, IRQ_MOUSE, board->chips.i8042.aux_irq);
}

static void ferr_changed(struct board *board)
{
    set_irq(board, IRQ_COPROCESSOR, board->chips.ferr.irq13);
}

static void lapic_changed(struct board *board, unsigned vcpu)
{
    settle_interrupts(board);
    rearm(board, TIMER_LAPIC + vcpu, lapic_deadline(&board->chips.lapic[vcpu]));
}

void board_advance(struct board *board, uint64_t now)
{
    struct chips *chips = &board->chips;

    if (now < board->deadline || board->deadline == MACHINE_NEVER)
        return;
    if (board->due[TIMER_PIT] <= now) {
        if (pit_advance(&chips->pit, now)) { /* a pulse that came and went is an edge too */
            set_irq(board, IRQ_PIT, false);
            set_irq(board, IRQ_PIT, true);
        }
        pit_changed(board);
    }
    if (board->due[TIMER_RTC] <= now) {
        rtc_advance(&chips->rtc, now);
        rtc_changed(board);
    }
    if (board->due[TIMER_ACPI_PM] <= now) {
        acpi_pm_advance(&chips->acpi_pm, now);
        acpi_pm_changed(board);
    }
    for (unsigned i = 0; i < MACHINE_UARTS; i++) {
        if (board->due[TIMER_UART + i] <= now) {
            uart_advance(&chips->uart[i], now);
            uart_changed(board, i);
        }
    }
    for (unsigned i = 0; i < board->cpus; i++) {
        if (board->due[TIMER_LAPIC + i] <= now) {
            lapic_advance(&chips->lapic[i], now);
            lapic_changed(board, i);
        }
    }
}

uint64_t board_deadline(const struct board *board)
{
    return board->deadline;
}

/* ---- ports ---- */

/* A chip at a range of ports: `unit` of its kind, `reg` from the first port. Most are 8 bits wide; an access wider than
 * the range's `width` becomes one access a byte, as the ISA bus does it. */
typedef uint32_t port_reader(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now);
typedef void port_writer(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                         struct moment at);

static uint32_t read_pic(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)size, (void)now;
    uint8_t value = pic_read(&board->chips.pic, unit, reg);
    settle_interrupts(board); /* a poll acknowledges */
    return value;
}

static void write_pic(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                      struct moment at)
{
    (void)size, (void)at;
    pic_write(&board->chips.pic, unit, reg, (uint8_t)value);
    settle_interrupts(board);
}

static uint32_t read_elcr(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)size, (void)now;
    return pic_read_elcr(&board->chips.pic, reg);
}

static void write_elcr(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                       struct moment at)
{
    (void)unit, (void)size, (void)at;
    pic_write_elcr(&board->chips.pic, reg, (uint8_t)value);
    settle_interrupts(board);
}

static uint32_t read_pit(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)size;
    return pit_read(&board->chips.pit, reg, now);
}

static void write_pit(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                      struct moment at)
{
    (void)unit, (void)size;
    pit_write(&board->chips.pit, reg, (uint8_t)value, at.now);
    pit_changed(board);
}

static void push_output(struct board *board, struct output *output, uint8_t value, struct moment at)
{
    uint32_t before = output->used;

    output_push(output, value, at.count, at.now);
    board->unread += output->used - before;
}

static uint32_t read_uart(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)size;
    uint8_t value = uart_read(&board->chips.uart[unit], reg, now);
    uart_changed(board, unit);
    return value;
}

static void write_uart(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                       struct moment at)
{
    (void)size;
    if (uart_write(&board->chips.uart[unit], reg, (uint8_t)value, at.now))
        push_output(board, &board->serial[unit], (uint8_t)value, at);
    uart_changed(board, unit);
}

static uint32_t read_rtc(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)size;
    if (reg == 0)
        return 0xff; /* the index cannot be read */
    uint8_t value = rtc_read(&board->chips.rtc, now);
    rtc_changed(board);
    return value;
}

static void write_rtc(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                      struct moment at)
{
    (void)unit, (void)size;
    if (reg == 0)
        rtc_write_index(&board->chips.rtc, (uint8_t)value);
    else
        rtc_write(&board->chips.rtc, (uint8_t)value, at.now);
    rtc_changed(board);
}

static uint32_t read_pm_event(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)size;
    uint8_t value = acpi_pm_read_event(&board->chips.acpi_pm, reg, now);
    acpi_pm_changed(board);
    return value;
}

static void write_pm_event(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                           struct moment at)
{
    (void)unit, (void)size;
    acpi_pm_write_event(&board->chips.acpi_pm, reg, (uint8_t)value, at.now);
    acpi_pm_changed(board);
}

static uint32_t read_pm_control(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)size, (void)now;
    return acpi_pm_read_control(&board->chips.acpi_pm, reg);
}

static void write_pm_control(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                             struct moment at)
{
    (void)unit, (void)size, (void)at;
    if (acpi_pm_write_control(&board->chips.acpi_pm, reg, (uint8_t)value))
        raise_event(board, BOARD_POWER_OFF, 0);
    acpi_pm_changed(board);
}

static uint32_t read_pm_timer(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)board, (void)unit, (void)size;
    return acpi_pm_timer(now) >> 8 * reg;
}

enum { I8042_DATA, I8042_COMMAND };

static uint32_t read_i8042(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)reg, (void)size;
    if (unit == I8042_COMMAND)
        return i8042_read_status(&board->chips.i8042);
    uint8_t value = i8042_read_data(&board->chips.i8042, now);
    i8042_changed(board);
    return value;
}

/* Port 92h and the keyboard controller's output port share one gate, as in chipsets that have both inside: the last one
 * written to decides, and both read what it is. */
static void gate_a20(struct board *board, bool open)
{
    struct i8042 *kbc = &board->chips.i8042;
    struct system_control *control = &board->chips.system_control;

    kbc->output_port = (uint8_t)((kbc->output_port & ~I8042_OUTPUT_A20) | (open ? I8042_OUTPUT_A20 : 0));
    control->port_a = (uint8_t)((control->port_a & ~PORT_A_A20) | (open ? PORT_A_A20 : 0));
}

bool board_a20(const struct board *board)
{
    return board->chips.system_control.port_a & PORT_A_A20;
}

static void write_i8042(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                        struct moment at)
{
    struct i8042 *kbc = &board->chips.i8042;

    (void)reg, (void)size;
    reset_if(board, unit == I8042_COMMAND ? i8042_write_command(kbc, (uint8_t)value, at.now)
                                          : i8042_write_data(kbc, (uint8_t)value, at.now));
    gate_a20(board, kbc->output_port & I8042_OUTPUT_A20);
    i8042_changed(board);
}

enum { CONTROL_A, CONTROL_B, CONTROL_RESET, CONTROL_POST };

static uint32_t read_control(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    struct system_control *control = &board->chips.system_control;

    (void)reg, (void)size;
    switch (unit) {
    case CONTROL_A:
        return system_control_read_a(control);
    case CONTROL_B:
        return system_control_read_b(control, pit_out(&board->chips.pit, 2, now), now);
    case CONTROL_RESET:
        return control->reset_control;
    default:
        return control->post_code;
    }
}

static void write_control(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                          struct moment at)
{
    struct system_control *control = &board->chips.system_control;

    (void)reg, (void)size;
    switch (unit) {
    case CONTROL_A:
        reset_if(board, system_control_write_a(control, (uint8_t)value));
        gate_a20(board, control->port_a & PORT_A_A20);
        break;
    case CONTROL_B:
        pit_set_gate(&board->chips.pit, 2, system_control_write_b(control, (uint8_t)value), at.now);
        break;
    case CONTROL_RESET:
        reset_if(board, system_control_write_reset(control, (uint8_t)value));
        break;
    default:
        control->post_code = (uint8_t)value;
    }
}

static uint32_t read_pci_address(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)reg, (void)now;
    return size == 4 ? pci_read_address(&board->chips.pci) : UINT32_MAX;
}

static void write_pci_address(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                              struct moment at)
{
    (void)unit, (void)reg, (void)at;
    if (size == 4) /* narrower accesses are not configuration cycles */
        pci_write_address(&board->chips.pci, value);
}

static uint32_t read_pci_data(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)size, (void)now;
    return pci_read_data(&board->chips.pci, reg);
}

static void write_pci_data(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                           struct moment at)
{
    (void)unit, (void)size, (void)at;
    pci_write_data(&board->chips.pci, reg, (uint8_t)value);
}

static void write_coprocessor(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                              struct moment at)
{
    (void)unit, (void)reg, (void)value, (void)size, (void)at;
    ferr_write(&board->chips.ferr);
    ferr_changed(board);
}

static uint32_t read_debug(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)reg, (void)size, (void)now;
    return debug_port_read(&board->chips.debug_port);
}

static void write_debug(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                        struct moment at)
{
    (void)unit, (void)reg, (void)size;
    push_output(board, &board->debug, (uint8_t)value, at);
    if (debug_port_write(&board->chips.debug_port, (uint8_t)value))
        raise_event(board, BOARD_PANIC, 0);
}

static void write_debug_exit(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                             struct moment at)
{
    (void)unit, (void)reg, (void)size, (void)at;
    if (board->debug_exit)
        raise_event(board, BOARD_DEBUG_EXIT, value);
}

static void write_fw_cfg_selector(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                                  struct moment at)
{
    (void)unit, (void)reg, (void)at;
    if (size == 2)
        fw_cfg_select(&board->chips.fw_cfg, (uint16_t)value);
}

static uint32_t read_fw_cfg_data(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)reg, (void)size, (void)now;
    return fw_cfg_read(&board->chips.fw_cfg);
}

static uint32_t read_testdev_latch(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)now;
    return board->debug_exit ? testdev_read_latch(&board->chips.testdev, reg, size) : UINT32_MAX;
}

static void write_testdev_latch(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                                struct moment at)
{
    (void)unit, (void)at;
    testdev_write_latch(&board->chips.testdev, reg, value, size);
}

/* A line is an ISA interrupt, or a pin of the I/O APIC that ISA does not reach. */
static void write_testdev_irq(struct board *board, unsigned unit, unsigned line, uint32_t value, unsigned size,
                              struct moment at)
{
    struct testdev *testdev = &board->chips.testdev;

    (void)unit, (void)size, (void)at;
    if (!board->debug_exit)
        return;
    testdev_write_irq(testdev, line, value);
    if (line < ISA_IRQS) {
        drive_irq(board, line);
    } else {
        ioapic_set_pin(&board->chips.ioapic, line, testdev->irqs >> line & 1);
        settle_interrupts(board);
    }
}

static uint32_t read_pvpanic(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)board, (void)unit, (void)reg, (void)size, (void)now;
    return PVPANIC_PANICKED; /* the events it knows */
}

static void write_pvpanic(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                          struct moment at)
{
    (void)unit, (void)reg, (void)size, (void)at;
    if (value & PVPANIC_PANICKED)
        raise_event(board, BOARD_PANIC, value);
}

struct port_range {
    uint16_t first, size;
    uint8_t unit;
    uint8_t width;       /* bytes of the widest single access */
    port_reader *read;   /* NULL: reads as ones */
    port_writer *write;  /* NULL: ignored */
};

static const struct port_range port_map[] = {
    {PORT_PIC_MASTER, 2, PIC_MASTER, 1, read_pic, write_pic},
    {PORT_PIC_SLAVE, 2, PIC_SLAVE, 1, read_pic, write_pic},
    {PORT_ELCR, 2, 0, 1, read_elcr, write_elcr},
    {PORT_PIT, 4, 0, 1, read_pit, write_pit},
    {PORT_I8042_DATA, 1, I8042_DATA, 1, read_i8042, write_i8042},
    {PORT_I8042_COMMAND, 1, I8042_COMMAND, 1, read_i8042, write_i8042},
    {PORT_SYSTEM_CONTROL_A, 1, CONTROL_A, 1, read_control, write_control},
    {PORT_SYSTEM_CONTROL_B, 1, CONTROL_B, 1, read_control, write_control},
    {PORT_RESET, 1, CONTROL_RESET, 1, read_control, write_control},
    {PORT_POST, 1, CONTROL_POST, 1, read_control, write_control},
    {PORT_RTC, 2, 0, 1, read_rtc, write_rtc},
    {PORT_COM1, PORT_COM_SIZE, 0, 1, read_uart, write_uart},
    {PORT_COM2, PORT_COM_SIZE, 1, 1, read_uart, write_uart},
    {PORT_COM3, PORT_COM_SIZE, 2, 1, read_uart, write_uart},
    {PORT_COM4, PORT_COM_SIZE, 3, 1, read_uart, write_uart},
    {PORT_PM1A_EVT, PORT_PM1A_EVT_SIZE, 0, 1, read_pm_event, write_pm_event},
    {PORT_PM1A_CNT, PORT_PM1A_CNT_SIZE, 0, 1, read_pm_control, write_pm_control},
    {PORT_PM_TMR, PORT_PM_TMR_SIZE, 0, 1, read_pm_timer, NULL},
    {PORT_PCI_ADDRESS, 1, 0, 4, read_pci_address, write_pci_address},
    {PORT_PCI_DATA, 4, 0, 1, read_pci_data, write_pci_data},
    {PORT_COPROCESSOR, 2, 0, 1, NULL, write_coprocessor},
    {PORT_DEBUG, 1, 0, 1, read_debug, write_debug},
    {PORT_DEBUG_EXIT, 1, 0, 4, NULL, write_debug_exit},
    {PORT_PVPANIC, 1, 0, 1, read_pvpanic, write_pvpanic},
    {PORT_FW_CFG + FW_CFG_SELECTOR, 1, 0, 2, NULL, write_fw_cfg_selector},
    {PORT_FW_CFG + FW_CFG_DATA, 1, 0, 1, read_fw_cfg_data, NULL},
    {PORT_TESTDEV_LATCH, TESTDEV_LATCH_SIZE, 0, 4, read_testdev_latch, write_testdev_latch},
    {PORT_TESTDEV_IRQ, TESTDEV_IRQS, 0, 4, NULL, write_testdev_irq},
};

static const struct port_range *range_at(const struct board *board, uint16_t port)
{
    unsigned index = port < PORTS ? board->port_range[port] : 0;

    return index ? &port_map[index - 1] : NULL;
}

static void map_ports(struct board *board)
{
    for (unsigned i = 0; i < sizeof port_map / sizeof *port_map; i++)
        memset(board->port_range + port_map[i].first, (int)i + 1, port_map[i].size);
}

/* Events that are due are fired before a chip is touched, and those that the touch made due after it. */
static void catch_up(struct board *board, uint64_t now)
{
    if (now >= board->deadline)
        board_advance(board, now);
}

static uint32_t port_read(struct board *board, uint16_t port, unsigned size, uint64_t now)
{
    const struct port_range *range = range_at(board, port);

    if (size > 1 && (!range || size > range->width)) {
        uint32_t value = 0;
        for (unsigned i = 0; i < size; i++)
            value |= (port_read(board, (uint16_t)(port + i), 1, now) & 0xff) << 8 * i;
        return value;
    }
    if (!range || !range->read)
        return UINT32_MAX >> (32 - 8 * size);
    return range->read(board, range->unit, port - range->first, size, now) & UINT32_MAX >> (32 - 8 * size);
}

static void port_write(struct board *board, uint16_t port, uint32_t value, unsigned size, struct moment at)
{
    const struct port_range *range = range_at(board, port);

    if (size > 1 && (!range || size > range->width)) {
        for (unsigned i = 0; i < size; i++)
            port_write(board, (uint16_t)(port + i), value >> 8 * i & 0xff, 1, at);
    } else if (range && range->write) {
        range->write(board, range->unit, port - range->first, value & UINT32_MAX >> (32 - 8 * size), size, at);
    }
}

uint32_t board_io_read(struct board *board, uint16_t port, unsigned size, uint64_t now)
{
    catch_up(board, now);
    return port_read(board, port, size, now);
}

void board_io_write(struct board *board, uint16_t port, uint32_t value, unsigned size, uint64_t now, uint64_t count)
{
    catch_up(board, now);
    port_write(board, port, value, size, (struct moment){now, count});
    catch_up(board, now);
}

/* ---- memory ---- */

/* Both APICs have 32-bit registers, one each 16 bytes. */

static bool in_lapic(const struct board *board, unsigned vcpu, uint64_t gpa)
{
    uint64_t base = board->chips.lapic[vcpu].base;

    return (base & (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)) == LAPIC_BASE_ENABLE && gpa >> 12 == base >> 12;
}

static uint32_t memory_read(struct board *board, unsigned vcpu, uint64_t gpa, uint64_t now)
{
    uint32_t value;

    if (in_lapic(board, vcpu, gpa)) {
        if (gpa & 15)
            return 0;
        value = lapic_read(&board->chips.lapic[vcpu], gpa % MAP_LAPIC_SIZE, now);
        lapic_changed(board, vcpu); /* a reserved register is an error, which may interrupt */
        return value;
    }
    if (gpa - MAP_IOAPIC < MAP_IOAPIC_SIZE)
        return gpa & 15 ? 0 : ioapic_read(&board->chips.ioapic, (unsigned)(gpa % MAP_IOAPIC_SIZE));
    return UINT32_MAX;
}

static void memory_write(struct board *board, unsigned vcpu, uint64_t gpa, uint32_t value, uint64_t now)
{
    struct apic_message message;

    if (gpa & 15)
        return;
    if (in_lapic(board, vcpu, gpa)) {
        if (lapic_write(&board->chips.lapic[vcpu], gpa % MAP_LAPIC_SIZE, value, now, &message))
            deliver(board, (int)vcpu, &message);
        lapic_changed(board, vcpu);
    } else if (gpa - MAP_IOAPIC < MAP_IOAPIC_SIZE) {
        ioapic_write(&board->chips.ioapic, (unsigned)(gpa % MAP_IOAPIC_SIZE), value);
        settle_interrupts(board);
    }
}

static bool in_testdev(const struct board *board, uint64_t gpa)
{
    return board->debug_exit && gpa - MAP_TESTDEV < TESTDEV_MEMORY_SIZE;
}

void board_memory_read(struct board *board, unsigned vcpu, uint64_t gpa, void *data, unsigned size, uint64_t now)
{
    uint8_t *bytes = data;

    catch_up(board, now);
    if (in_testdev(board, gpa)) {
        testdev_read_memory(&board->chips.testdev, gpa - MAP_TESTDEV, data, size);
        return;
    }
    while (size) {
        unsigned skip = gpa & 3, piece = size < 4 - skip ? size : 4 - skip;
        uint32_t value = memory_read(board, vcpu, gpa - skip, now) >> 8 * skip;
        memcpy(bytes, &value, piece);
        bytes += piece, gpa += piece, size -= piece;
    }
}

/* The APICs' registers take whole 32-bit writes; a narrower one counts as zero-extended, a misaligned one is lost. */
void board_memory_write(struct board *board, unsigned vcpu, uint64_t gpa, const void *data, unsigned size,
                        uint64_t now)
{
    const uint8_t *bytes = data;

    catch_up(board, now);
    if (in_testdev(board, gpa)) {
        testdev_write_memory(&board->chips.testdev, gpa - MAP_TESTDEV, data, size);
        return;
    }
    while (size) {
        unsigned skip = gpa & 3, piece = size < 4 - skip ? size : 4 - skip;
        uint32_t value = 0;
        memcpy(&value, bytes, piece);
        if (!skip)
            memory_write(board, vcpu, gpa, value, now);
        bytes += piece, gpa += piece, size -= piece;
    }
    catch_up(board, now);
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

static bool pin_open(const struct board *board, unsigned pin)
{
    return !(board->chips.ioapic.low[pin] & IOAPIC_MASK);
}

/* Does the 8259 pair's INTR reach a processor? */
static bool intr_open(const struct board *board)
{
    for (unsigned i = 0; i < board->cpus; i++) {
        const struct lapic *lapic = &board->chips.lapic[i];
        if (!(lapic->base & LAPIC_BASE_ENABLE) || !(lapic->lvt[LAPIC_LVT_LINT0] & LAPIC_LVT_MASK))
            return true;
    }
    return pin_open(board, IOAPIC_PIN_EXTINT);
}

/* Is there a way, through either interrupt controller, from an ISA interrupt to a processor? */
static bool irq_open(const struct board *board, unsigned irq)
{
    const struct pic_unit *master = &board->chips.pic.unit[PIC_MASTER], *slave = &board->chips.pic.unit[PIC_SLAVE];
    bool masked = irq < 8 ? master->imr & 1 << irq
                          : slave->imr & 1 << (irq & 7) || master->imr & 1 << PIC_CASCADE;

    return (!masked && intr_open(board)) || pin_open(board, irq == IRQ_PIT ? IOAPIC_PIN_PIT : irq);
}

bool board_can_wake(const struct board *board, unsigned vcpu)
{
    static const uint8_t irq_of[TIMER_LAPIC] = {
        [TIMER_PIT] = IRQ_PIT,      [TIMER_RTC] = IRQ_RTC,      [TIMER_ACPI_PM] = IRQ_SCI,  [TIMER_UART] = IRQ_COM1,
        [TIMER_UART + 1] = IRQ_COM2, [TIMER_UART + 2] = IRQ_COM1, [TIMER_UART + 3] = IRQ_COM2,
    };

    for (unsigned i = 0; i < TIMER_LAPIC; i++)
        if (board->due[i] != MACHINE_NEVER && irq_open(board, irq_of[i]))
            return true;
    return board->due[TIMER_LAPIC + vcpu] != MACHINE_NEVER &&
           !(board->chips.lapic[vcpu].lvt[LAPIC_LVT_TIMER] & LAPIC_LVT_MASK);
}

/* ---- the outside ---- */

enum board_event board_take_event(struct board *board, uint32_t *detail)
{
    enum board_event event = board->event;

    *detail = board->event_detail;
    board->event = BOARD_NONE;
    board->event_detail = 0;
    return event;
}

size_t board_serial_input(struct board *board, unsigned uart, const uint8_t *data, size_t size, uint64_t now)
{
    if (uart >= MACHINE_UARTS)
        return 0;
    catch_up(board, now);
    size_t taken = uart_input(&board->chips.uart[uart], data, size, now);
    uart_changed(board, uart);
    return taken;
}

static size_t take_output(struct board *board, struct output *output, uint8_t *data, uint64_t *counts, size_t size)
{
    size_t taken = output_take(output, data, counts, size);

    board->unread -= taken;
    return taken;
}

size_t board_serial_output(struct board *board, unsigned uart, uint8_t *data, uint64_t *counts, size_t size)
{
    return uart < MACHINE_UARTS ? take_output(board, &board->serial[uart], data, counts, size) : 0;
}

size_t board_debug_output(struct board *board, uint8_t *data, uint64_t *counts, size_t size)
{
    return take_output(board, &board->debug, data, counts, size);
}

size_t board_output_pending(const struct board *board, uint64_t *oldest)
{
    *oldest = MACHINE_NEVER;
    if (board->unread) {
        *oldest = output_oldest(&board->debug);
        for (unsigned i = 0; i < MACHINE_UARTS; i++)
            *oldest = sooner(*oldest, output_oldest(&board->serial[i]));
    }
    return board->unread;
}

void board_power_button(struct board *board, uint64_t now)
{
    catch_up(board, now);
    acpi_pm_press_power_button(&board->chips.acpi_pm);
    acpi_pm_changed(board);
}

const struct chips *board_chips(const struct board *board)
{
    return &board->chips;
}

uint64_t board_hash(const struct board *board)
{
    return fields_hash(chips_fields, &board->chips, FNV_OFFSET);
}

/* ---- making it ---- */

/* CMOS bytes in which a PC's firmware notes the memory size. */
enum {
    CMOS_BASE_MEMORY = 0x15,     /* KiB below 640 KiB */
    CMOS_EXTENDED_MEMORY = 0x17, /* KiB above 1 MiB, twice */
    CMOS_EXTENDED_MEMORY_2 = 0x30,
    CMOS_MEMORY_16M = 0x34,      /* 64 KiB units from 16 MiB to the end of low RAM */
    CMOS_MEMORY_4G = 0x5b,       /* 64 KiB units above 4 GiB, three bytes */
    CMOS_CPUS = 0x5f,            /* less one */
};

static void set_cmos(struct board *board, unsigned index, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        rtc_set_cmos(&board->chips.rtc, index + i, (uint8_t)(value >> 8 * i));
}

static uint64_t units(uint64_t size, uint64_t from, uint64_t unit, uint64_t most)
{
    return size < from ? 0 : sooner((size - from) / unit, most);
}

static void note_memory(struct board *board, uint64_t size)
{
    uint64_t low = sooner(size, MAP_RAM_LOW_END);

    set_cmos(board, CMOS_BASE_MEMORY, 2, 640);
    set_cmos(board, CMOS_EXTENDED_MEMORY, 2, units(low, 1 << 20, 1 << 10, 0xffff));
    set_cmos(board, CMOS_EXTENDED_MEMORY_2, 2, units(low, 1 << 20, 1 << 10, 0xffff));
    set_cmos(board, CMOS_MEMORY_16M, 2, units(low, 16 << 20, 1 << 16, 0xffff));
    set_cmos(board, CMOS_MEMORY_4G, 3, units(size, MAP_RAM_LOW_END, 1 << 16, 0xffffff));
    set_cmos(board, CMOS_CPUS, 1, board->cpus - 1);
}

static void read_cpuid(struct board *board, const struct machine_config *config)
{
    board->address_bits = 36; /* without leaf 80000008h */
    for (uint32_t i = 0; i < config->cpuid_count && i < MACHINE_MAX_CPUID; i++) {
        const struct cpuid_leaf *leaf = &config->cpuid[i];
        if (leaf->leaf == 1) {
            board->x2apic = leaf->ecx >> 21 & 1;
            board->tsc_deadline = leaf->ecx >> 24 & 1;
        } else if (leaf->leaf == 0x80000008 && (leaf->eax & 0xff) >= 32 && (leaf->eax & 0xff) <= 52) {
            board->address_bits = leaf->eax & 0xff;
        }
    }
}

/* The state in which firmware hands over: 8259s at the BIOS's vectors, all masked, and wired through to the boot
 * processor (MultiProcessor Specification 1.4, 3.6.2.2 "Virtual Wire Mode"); UARTs at 115200 8N1. */
static void leave_firmware(struct board *board)
{
    struct pic *pic = &board->chips.pic;
    struct lapic *lapic = &board->chips.lapic[0];
    struct apic_message none;

    for (unsigned unit = PIC_MASTER; unit <= PIC_SLAVE; unit++) {
        pic_write(pic, unit, 0, PIC_ICW1 | PIC_ICW1_IC4);
        pic_write(pic, unit, 1, unit == PIC_MASTER ? 0x08 : 0x70);
        pic_write(pic, unit, 1, unit == PIC_MASTER ? 1 << PIC_CASCADE : PIC_CASCADE);
        pic_write(pic, unit, 1, PIC_ICW4_8086);
        pic_write(pic, unit, 1, 0xff);
    }
    lapic_write(lapic, LAPIC_SVR, LAPIC_SVR_ENABLE | 0xff, 0, &none);
    lapic_write(lapic, LAPIC_LVT + 16 * LAPIC_LVT_LINT0, APIC_EXTINT << 8, 0, &none);
    lapic_write(lapic, LAPIC_LVT + 16 * LAPIC_LVT_LINT1, APIC_NMI << 8, 0, &none);
    for (unsigned i = 0; i < MACHINE_UARTS; i++)
        uart_write(&board->chips.uart[i], UART_LCR, UART_LCR_WLS, 0);
}

void board_reset(struct board *board)
{
    struct chips *chips = &board->chips;
    struct rtc rtc = chips->rtc; /* on a battery */

    memset(chips, 0, sizeof *chips);
    chips->rtc = rtc;
    rtc_reset(&chips->rtc);
    pic_reset(&chips->pic);
    pit_reset(&chips->pit);
    for (unsigned i = 0; i < MACHINE_MAX_CPUS; i++)
        lapic_reset(&chips->lapic[i], (uint8_t)i);
    ioapic_reset(&chips->ioapic, IOAPIC_ID);
    for (unsigned i = 0; i < MACHINE_UARTS; i++)
        uart_reset(&chips->uart[i]);
    acpi_pm_reset(&chips->acpi_pm);
    i8042_reset(&chips->i8042, false, false);
    pci_reset(&chips->pci);
    system_control_reset(&chips->system_control);
    ferr_reset(&chips->ferr);
    debug_port_reset(&chips->debug_port);
    fw_cfg_reset(&chips->fw_cfg, board->memory_bytes, board->cpus);
    testdev_reset(&chips->testdev);
    board->event = BOARD_NONE;
    board->event_detail = 0;

    pit_changed(board);
    rtc_changed(board);
    acpi_pm_changed(board);
    i8042_changed(board);
    leave_firmware(board);
    for (unsigned i = 0; i < MACHINE_UARTS; i++)
        uart_changed(board, i);
    for (unsigned i = 0; i < board->cpus; i++)
        lapic_changed(board, i);
}

struct board *board_create(const struct machine_config *config)
{
    struct board *board = calloc(1, sizeof *board);

    if (!board)
        return NULL;
    board->cpus = config->cpus < 1 ? 1 : config->cpus > MACHINE_MAX_CPUS ? MACHINE_MAX_CPUS : config->cpus;
    board->memory_bytes = config->memory_bytes;
    board->debug_exit = config->debug_exit;
    board->deadline = MACHINE_NEVER;
    for (unsigned i = 0; i < TIMERS; i++)
        board->due[i] = MACHINE_NEVER;
    read_cpuid(board, config);
    map_ports(board);
    rtc_power_on(&board->chips.rtc, config->rtc_seconds);
    note_memory(board, config->memory_bytes);
    board_reset(board);
    return board;
}

void board_destroy(struct board *board)
{
    free(board);
}
