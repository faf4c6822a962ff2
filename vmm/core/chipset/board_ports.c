/* The board's ports: which chip answers where, and the glue before each. */
#include <string.h>

#include "board_state.h"

#define PVPANIC_PANICKED 1
#define ISA_IRQS 16

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
    pci_changed(board);
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
    (void)reg, (void)size, (void)now;
    if (unit && !board->firmware)
        return UINT32_MAX;
    return debug_port_read(&board->chips.debug_port);
}

static void write_debug(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                        struct moment at)
{
    (void)reg, (void)size;
    if (unit && !board->firmware)
        return;
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
    return fw_cfg_read(&board->chips.fw_cfg, &board->items);
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

static uint32_t read_parallel(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)size, (void)now;
    return parallel_read(&board->chips.parallel, reg);
}

static void write_parallel(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                           struct moment at)
{
    (void)unit, (void)size, (void)at;
    parallel_write(&board->chips.parallel, reg, (uint8_t)value);
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
    {PORT_VGA, PORT_VGA_SIZE, PORT_VGA - VGA_PORT_FIRST, 1, read_vga, write_vga},
    {PORT_VGA_COLOUR, PORT_VGA_COLOUR_SIZE, PORT_VGA_COLOUR - VGA_PORT_FIRST, 1, read_vga, write_vga},
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
    {PORT_FIRMWARE_DEBUG, 1, 1, 1, read_debug, write_debug},
    {PORT_DEBUG_EXIT, 1, 0, 4, NULL, write_debug_exit},
    {PORT_PVPANIC, 1, 0, 1, read_pvpanic, write_pvpanic},
    {PORT_FW_CFG + FW_CFG_SELECTOR, 1, 0, 2, NULL, write_fw_cfg_selector},
    {PORT_FW_CFG + FW_CFG_DATA, 1, 0, 1, read_fw_cfg_data, NULL},
    {PORT_TESTDEV_LATCH, TESTDEV_LATCH_SIZE, 0, 4, read_testdev_latch, write_testdev_latch},
    {PORT_TESTDEV_IRQ, TESTDEV_IRQS, 0, 4, NULL, write_testdev_irq},
    {PORT_IDE_1 + IDE_DATA, 1, 0, 4, read_ide_data, write_ide_data},
    {PORT_IDE_1 + IDE_ERROR_FEATURES, 7, 0, 1, read_ide, write_ide},
    {PORT_IDE_1_CONTROL, 1, 0, 1, read_ide_control, write_ide_control},
    {PORT_IDE_2 + IDE_DATA, 1, 1, 4, read_ide_data, write_ide_data},
    {PORT_IDE_2 + IDE_ERROR_FEATURES, 7, 1, 1, read_ide, write_ide},
    {PORT_IDE_2_CONTROL, 1, 1, 1, read_ide_control, write_ide_control},
    {PLACE_BUS_MASTER, BUS_MASTER_SIZE, 0, 1, read_bus_master, write_bus_master},
    {PLACE_BUS_MASTER + BUS_MASTER_SIZE, BUS_MASTER_SIZE, 1, 1, read_bus_master, write_bus_master},
    {PLACE_NETWORK, NE2000_DATA, 0, 1, read_network, write_network},
    {PLACE_NETWORK + NE2000_DATA, NE2000_RESET - NE2000_DATA, NE2000_DATA, 4, read_network, write_network},
    {PLACE_NETWORK + NE2000_RESET, NE2000_PORTS - NE2000_RESET, NE2000_RESET, 1, read_network, write_network},
};

/* Only on a board with firmware of its own. */
static const struct port_range classic_port_map[] = {
    {PORT_DMA_1, PORT_DMA_1_SIZE, 0, 1, read_dma, write_dma},
    {PORT_DMA_2, PORT_DMA_2_SIZE, 1, 1, read_dma, write_dma},
    {PORT_DMA_PAGE, PORT_DMA_PAGE_SIZE, 0, 1, read_dma_page, write_dma_page},
    {PORT_FDC, PORT_FDC_SIZE, 0, 1, read_fdc, write_fdc},
    {PORT_FDC_DIR, 1, FDC_DIR_CCR, 1, read_fdc, write_fdc},
    {PORT_LPT1, PORT_LPT1_SIZE, 0, 1, read_parallel, write_parallel},
};

#define PORT_RANGES (sizeof port_map / sizeof *port_map)
#define CLASSIC_PORT_RANGES (sizeof classic_port_map / sizeof *classic_port_map)
_Static_assert(PORT_RANGES + CLASSIC_PORT_RANGES < 256, "board->port_range holds bytes");

/* The port's place in the maps. Firmware of the guest's own puts the power management block where it
 * likes, and what a BAR moves has no port of its own. */
static uint16_t place(const struct board *board, uint16_t port)
{
    uint16_t base = pci_pm_base(&board->chips.pci);
    uint16_t bus_master = (uint16_t)(port - board->bus_master_base);

    if (board->bus_master_base && bus_master < BOARD_IDE_CHANNELS * BUS_MASTER_SIZE)
        return PLACE_BUS_MASTER + bus_master;
    if (board->network_base && (uint16_t)(port - board->network_base) < NE2000_PORTS)
        return (uint16_t)(PLACE_NETWORK + (port - board->network_base));
    if (port >= PLACES_MOVED)
        return PORTS;
    if (!board->firmware)
        return port;
    if (base && (uint16_t)(port - base) < PORT_PM_SIZE)
        return (uint16_t)(PORT_PM1A_EVT + (port - base));
    return (uint16_t)(port - PORT_PM1A_EVT) < PORT_PM_SIZE ? PORTS : port;
}

static const struct port_range *range_at(const struct board *board, uint16_t port)
{
    unsigned index = port < PORTS ? board->port_range[port] : 0;

    if (index > PORT_RANGES)
        return &classic_port_map[index - PORT_RANGES - 1];
    return index ? &port_map[index - 1] : NULL;
}

void map_ports(struct board *board)
{
    for (unsigned i = 0; i < PORT_RANGES; i++)
        memset(board->port_range + port_map[i].first, (int)i + 1, port_map[i].size);
    for (unsigned i = 0; board->firmware && i < CLASSIC_PORT_RANGES; i++)
        memset(board->port_range + classic_port_map[i].first, (int)(PORT_RANGES + i) + 1, classic_port_map[i].size);
}

/* Events that are due are fired before a chip is touched, and those that the touch made due after it. */static uint32_t port_read(struct board *board, uint16_t port, unsigned size, uint64_t now)
{
    uint16_t where = place(board, port);
    const struct port_range *range = range_at(board, where);

    if (size > 1 && (!range || size > range->width)) {
        uint32_t value = 0;
        for (unsigned i = 0; i < size; i++)
            value |= (port_read(board, (uint16_t)(port + i), 1, now) & 0xff) << 8 * i;
        return value;
    }
    if (!range || !range->read)
        return UINT32_MAX >> (32 - 8 * size);
    return range->read(board, range->unit, where - range->first, size, now) & UINT32_MAX >> (32 - 8 * size);
}

static void port_write(struct board *board, uint16_t port, uint32_t value, unsigned size, struct moment at)
{
    uint16_t where = place(board, port);
    const struct port_range *range = range_at(board, where);

    if (size > 1 && (!range || size > range->width)) {
        for (unsigned i = 0; i < size; i++)
            port_write(board, (uint16_t)(port + i), value >> 8 * i & 0xff, 1, at);
    } else if (range && range->write) {
        range->write(board, range->unit, where - range->first, value & UINT32_MAX >> (32 - 8 * size), size, at);
    }
}

/* A board with firmware has slow buses, on which an access takes a microsecond: loops that wait by reading a port would
 * else need as many instructions as they wait nanoseconds. Not so where data flows: UARTs, debug ports, fw_cfg, the data ports of IDE and network card. */
#define ISA_ACCESS 1000 /* ns */

static void take_time(struct board *board, uint16_t port)
{
    if (!board->firmware)
        return;
    bool uart = (port & ~0x117) == 0x2e8; /* 2E8h, 2F8h, 3E8h, 3F8h and the seven ports after each */
    bool data = port == PORT_IDE_1 || port == PORT_IDE_2 || port == PORT_DEBUG;
    uint16_t where = place(board, port);
    bool network = where >= PLACE_NETWORK && where < PORTS && where - PLACE_NETWORK < NE2000_DATA;

    if ((port < PORT_ISA_END && !uart && !data) || where == PORT_PM_TMR || network)
        board->wait += ISA_ACCESS;
}

uint64_t board_take_wait(struct board *board)
{
    uint64_t wait = board->wait;

    board->wait = 0;
    return wait;
}

bool board_waits(const struct board *board)
{
    return board->wait;
}

uint32_t board_io_read(struct board *board, uint16_t port, unsigned size, uint64_t now)
{
    catch_up(board, now);
    take_time(board, port);
    return port_read(board, port, size, now);
}

void board_io_write(struct board *board, uint16_t port, uint32_t value, unsigned size, uint64_t now, uint64_t count)
{
    catch_up(board, now);
    take_time(board, port);
    port_write(board, port, value, size, (struct moment){now, count});
    catch_up(board, now);
}
