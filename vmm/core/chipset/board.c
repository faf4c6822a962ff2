#include <stdlib.h>
#include <string.h>

#include "board_state.h"
#include "snapshot.h"

#define FNV_OFFSET 0xcbf29ce484222325ULL

STATE_TABLE(chips, CHIPS_STATE);

/* ---- events ---- */

void raise_event(struct board *board, enum board_event event, uint32_t detail)
{
    if (board->event != BOARD_NONE)
        return; /* the first one ended the machine */
    board->event = event;
    board->event_detail = detail;
}

void reset_if(struct board *board, bool reset)
{
    if (reset)
        raise_event(board, BOARD_RESET, 0);
}

/* ---- time ---- */

void rearm(struct board *board, unsigned timer, uint64_t due)
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

void pit_changed(struct board *board)
{
    if (!hpet_legacy(&board->chips.hpet))
        set_irq(board, IRQ_PIT, board->chips.pit.irq);
    rearm(board, TIMER_PIT, pit_deadline(&board->chips.pit));
}

void rtc_changed(struct board *board)
{
    if (!hpet_legacy(&board->chips.hpet))
        set_irq(board, IRQ_RTC, board->chips.rtc.irq);
    rearm(board, TIMER_RTC, rtc_deadline(&board->chips.rtc));
}

void acpi_pm_changed(struct board *board)
{
    set_irq(board, IRQ_SCI, board->chips.acpi_pm.sci);
    rearm(board, TIMER_ACPI_PM, acpi_pm_deadline(&board->chips.acpi_pm));
}

/* COM1 and COM3 share an interrupt, COM2 and COM4 the other. */
void uart_changed(struct board *board, unsigned unit)
{
    const struct uart *uart = board->chips.uart;

    set_irq(board, unit & 1 ? IRQ_COM2 : IRQ_COM1, uart[unit].irq || uart[unit ^ 2].irq);
    rearm(board, TIMER_UART + unit, uart_deadline(&uart[unit]));
}

void i8042_changed(struct board *board)
{
    set_irq(board, IRQ_KEYBOARD, board->chips.i8042.keyboard_irq);
    set_irq(board, IRQ_MOUSE, board->chips.i8042.aux_irq);
    rearm(board, TIMER_I8042, i8042_deadline(&board->chips.i8042));
}

void ferr_changed(struct board *board)
{
    set_irq(board, IRQ_COPROCESSOR, board->chips.ferr.irq13);
}

static void route_pci_interrupts(struct board *board)
{
    uint16_t irqs = pci_irqs(&board->chips.pci), changed = irqs ^ board->chips.pci_irqs;

    board->chips.pci_irqs = irqs;
    for (unsigned irq = 0; changed; irq++, changed >>= 1)
        if (changed & 1)
            drive_irq(board, irq);
}

/* Its memory window, where BARs put its functions, and the interrupts that it routes may be others now. */
void pci_changed(struct board *board)
{
    uint32_t bus_master = pci_bar(&board->chips.pci, PCI_IDE, PCI_PIIX_BUS_MASTER_BAR);
    uint32_t network = pci_bar(&board->chips.pci, PCI_NETWORK, 0);

    board->bus_master_base = bus_master <= UINT16_MAX ? (uint16_t)bus_master : 0;
    board->network_base = network <= UINT16_MAX ? (uint16_t)network : 0;
    board->window_version++;
    route_pci_interrupts(board);
}

void pci_interrupt(struct board *board, enum pci_function function, bool level)
{
    uint32_t *interrupts = &board->chips.pci.interrupts;

    if ((*interrupts >> function & 1) == level)
        return;
    *interrupts ^= 1u << function;
    route_pci_interrupts(board);
}

void lapic_changed(struct board *board, unsigned vcpu)
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
        if (pit_advance(&chips->pit, now) && !hpet_legacy(&chips->hpet)) { /* a pulse that came and went is an edge too */
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
    if (board->due[TIMER_FDC] <= now)
        advance_fdc(board, now);
    if (board->due[TIMER_NETWORK] <= now)
        advance_network(board, now);
    if (board->due[TIMER_HPET] <= now)
        advance_hpet(board, now);
    for (unsigned i = 0; i < BOARD_IDE_CHANNELS; i++)
        if (board->due[TIMER_IDE + i] <= now)
            advance_ide(board, i, now);
    if (board->due[TIMER_I8042] <= now) {
        i8042_advance(&chips->i8042, now);
        i8042_changed(board);
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
void catch_up(struct board *board, uint64_t now)
{
    if (now >= board->deadline)
        board_advance(board, now);
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

void board_snapshot(struct board *board, struct snapshot *snapshot)
{
    SNAPSHOT(snapshot, board->chips);
    SNAPSHOT(snapshot, board->deadline);
    SNAPSHOT(snapshot, board->due);
    SNAPSHOT(snapshot, board->interrupt_pending);
    SNAPSHOT(snapshot, board->window_version);
    SNAPSHOT(snapshot, board->bus_master_base);
    SNAPSHOT(snapshot, board->network_base);
    SNAPSHOT(snapshot, board->network_now);
    SNAPSHOT(snapshot, board->event);
    SNAPSHOT(snapshot, board->event_detail);
    SNAPSHOT(snapshot, board->unread);
    for (unsigned i = 0; i < MACHINE_UARTS; i++)
        output_snapshot(&board->serial[i], snapshot);
    output_snapshot(&board->debug, snapshot);
}

uint64_t board_hash(const struct board *board)
{
    return fields_hash(chips_fields, &board->chips, FNV_OFFSET);
}
/* ---- making it ---- */

/* The functions on the board's PCI bus. Without firmware there is what drives need, or nothing. */
static uint32_t functions(const struct board *board)
{
    uint32_t functions = 1 << PCI_HOST_BRIDGE;

    if (board->firmware)
        functions |= 1 << PCI_PM | 1 << PCI_VGA;
    if (board_has_ide(board))
        functions |= 1 << PCI_ISA_BRIDGE | 1 << PCI_IDE;
    if (board->network)
        functions |= 1 << PCI_ISA_BRIDGE | 1 << PCI_NETWORK;
    return functions;
}

/* CMOS bytes in which a PC's firmware notes what there is. */
enum {
    CMOS_FLOPPIES = 0x10,        /* the kinds of drives A (high) and B */
    CMOS_DISKS = 0x12,           /* the types of disks C (high) and D; FFh: extended, in 19h and 1Ah */
    CMOS_EQUIPMENT = 0x14,
    CMOS_BASE_MEMORY = 0x15,     /* KiB below 640 KiB */
    CMOS_EXTENDED_MEMORY = 0x17, /* KiB above 1 MiB, twice */
    CMOS_DISK_TYPE = 0x19,       /* of C; then D's */
    CMOS_DISK_GEOMETRY = 0x1b,   /* of C, 9 bytes; then D's */
    CMOS_EXTENDED_MEMORY_2 = 0x30,
    CMOS_MEMORY_16M = 0x34,      /* 64 KiB units from 16 MiB to the end of low RAM */
    CMOS_MEMORY_4G = 0x5b,       /* 64 KiB units above 4 GiB, three bytes */
    CMOS_TRANSLATION = 0x39,     /* two bits for each place on IDE: 0 none, 1 LBA */
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

/* A disk that the AT's table of types does not know: type 47, with its geometry. */
static void note_disk(struct board *board, unsigned disk, const struct ide_device *device)
{
    enum { TYPE_EXTENDED = 0xf, TYPE = 47, MANY_HEADS = 1 << 3, NO_PRECOMPENSATION = 0xffff };
    unsigned at = CMOS_DISK_GEOMETRY + 9 * disk, types = board->chips.rtc.cmos[CMOS_DISKS];

    set_cmos(board, CMOS_DISKS, 1, types | TYPE_EXTENDED << (disk ? 0 : 4));
    set_cmos(board, CMOS_DISK_TYPE + disk, 1, TYPE);
    set_cmos(board, at, 2, device->cylinders);
    set_cmos(board, at + 2, 1, device->heads);
    set_cmos(board, at + 3, 2, NO_PRECOMPENSATION);
    set_cmos(board, at + 5, 1, device->heads > 8 ? MANY_HEADS : 0);
    set_cmos(board, at + 6, 2, device->cylinders);
    set_cmos(board, at + 8, 1, device->track);
}

/* What the BIOS's services make of a disk's geometry, whose cylinders they count with 10 bits. */
static unsigned translation(const struct ide_device *device)
{
    return device->kind == STORAGE_DISK && device->cylinders > 1024;
}

static void note_ide(struct board *board)
{
    unsigned translations = 0;

    for (unsigned i = STORAGE_PRIMARY_MASTER; i <= STORAGE_SECONDARY_SLAVE; i++) {
        const struct ide_device *device = &board->chips.ide[i / IDE_DEVICES].device[i % IDE_DEVICES];
        translations |= translation(device) << 2 * i;
        if (device->kind == STORAGE_DISK && i <= STORAGE_PRIMARY_SLAVE)
            note_disk(board, i, device);
    }
    set_cmos(board, CMOS_TRANSLATION, 1, translations);
}

static void note_floppies(struct board *board)
{
    enum { FLOPPY = 1 << 0, COPROCESSOR = 1 << 1, MOUSE = 1 << 2, SECOND_FLOPPY = 1 << 6 };
    unsigned first = board_floppy_kind(&board->drives[STORAGE_FLOPPY_A]);
    unsigned second = board_floppy_kind(&board->drives[STORAGE_FLOPPY_B]);

    set_cmos(board, CMOS_FLOPPIES, 1, first << 4 | second);
    set_cmos(board, CMOS_EQUIPMENT, 1,
             COPROCESSOR | MOUSE | (first || second ? FLOPPY : 0) | (first && second ? SECOND_FLOPPY : 0));
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
    leave_ide(board);
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
    i8042_reset(&chips->i8042, board->firmware, board->firmware);
    vga_reset(&chips->vga);
    pci_reset(&chips->pci, functions(board));
    system_control_reset(&chips->system_control);
    ferr_reset(&chips->ferr);
    debug_port_reset(&chips->debug_port);
    fw_cfg_reset(&chips->fw_cfg, board->memory_bytes, board->cpus);
    testdev_reset(&chips->testdev);
    dma_reset(&chips->dma);
    parallel_reset(&chips->parallel);
    board->event = BOARD_NONE;
    board->event_detail = 0;

    pit_changed(board);
    rtc_changed(board);
    acpi_pm_changed(board);
    i8042_changed(board);
    pci_changed(board);
    reset_fdc(board);
    reset_hpet(board);
    reset_network(board);
    reset_ide(board);
    if (!board->firmware)
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
    board->firmware = config->firmware_bytes;
    memcpy(board->drives, config->drives, sizeof board->drives);
    board->transfer = config->transfer;
    board->transfer_context = config->transfer_context;
    board->network = config->network;
    board->network_context = config->network_context;
    memcpy(board->mac, config->mac, sizeof board->mac);
    if (!fw_cfg_items_copy(&board->items, config->items, config->item_count)) {
        board_destroy(board);
        return NULL;
    }
    board->deadline = MACHINE_NEVER;
    for (unsigned i = 0; i < TIMERS; i++)
        board->due[i] = MACHINE_NEVER;
    read_cpuid(board, config);
    map_ports(board);
    rtc_power_on(&board->chips.rtc, config->rtc_seconds);
    note_memory(board, config->memory_bytes);
    board_reset(board);
    if (board->firmware) {
        note_floppies(board);
        note_ide(board);
    }
    return board;
}

void board_attach(struct board *board, const struct board_memory *memory)
{
    board->memory = *memory;
}

void board_destroy(struct board *board)
{
    fw_cfg_items_free(&board->items);
    free(board);
}
