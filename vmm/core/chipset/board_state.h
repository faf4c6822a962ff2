/* The board from within: private to the files board*.c. */
#ifndef BRINGUP_BOARD_STATE_H
#define BRINGUP_BOARD_STATE_H

#include "board.h"
#include "chips.h"
#include "map.h"
#include "output.h"
#include "ticks.h"

/* Places of ports: those below PLACES_MOVED are the ports themselves, then come chips that a BAR puts anywhere. */
#define PLACES_MOVED 0x2018
#define PLACE_BUS_MASTER PLACES_MOVED
#define PLACE_NETWORK (PLACE_BUS_MASTER + BOARD_IDE_CHANNELS * BUS_MASTER_SIZE)
#define PORTS (PLACE_NETWORK + NE2000_PORTS)

/* The chips that time changes. */
enum timer {
    TIMER_PIT,
    TIMER_RTC,
    TIMER_ACPI_PM,
    TIMER_FDC,
    TIMER_HPET,
    TIMER_I8042,
    TIMER_NETWORK,
    TIMER_IDE,
    TIMER_UART = TIMER_IDE + BOARD_IDE_CHANNELS,
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
    bool firmware; /* the guest's own: a PC as it is after power-on, not as firmware leaves it */

    struct storage drives[STORAGE_DRIVES];
    storage_transfer *transfer; /* NULL: every transfer fails */
    void *transfer_context;

    struct fw_cfg_items items;
    struct board_memory memory;
    uint32_t window_version;
    uint16_t bus_master_base; /* port of the IDE bus masters, 0: none */
    uint16_t network_base;    /* port of the network card, 0: none */

    network_transmit *network; /* NULL: there is no card */
    void *network_context;
    uint64_t network_now; /* the time that the card was last told */
    uint8_t mac[6];

    enum board_event event;
    uint32_t event_detail;

    uint64_t wait; /* ns that the accesses of now take */
    size_t unread;
    struct output serial[MACHINE_UARTS];
    struct output debug;

    uint8_t port_range[PORTS]; /* which range of board_ports.c, from 1; 0: no chip */
};

struct moment {
    uint64_t now, count;
};

/* ---- board.c ---- */

void raise_event(struct board *board, enum board_event event, uint32_t detail);
void reset_if(struct board *board, bool reset);
/* Events that are due are fired before a chip is touched, and those that the touch made due after it. */
void catch_up(struct board *board, uint64_t now);
/* The chip next wants to be told the time then. */
void rearm(struct board *board, unsigned timer, uint64_t due);
/* Each chip's pins and timer, after anything happened to it. */
void pit_changed(struct board *board);
void rtc_changed(struct board *board);
void acpi_pm_changed(struct board *board);
void uart_changed(struct board *board, unsigned unit);
void i8042_changed(struct board *board);
void ferr_changed(struct board *board);
void pci_changed(struct board *board);
void pci_interrupt(struct board *board, enum pci_function function, bool level);
void lapic_changed(struct board *board, unsigned vcpu);

/* ---- board_interrupts.c ---- */

/* A message between APICs; `sender` is a vCPU, or the I/O APIC (-1), which uses no shorthands. */
void deliver(struct board *board, int sender, const struct apic_message *message);
/* After any change in an interrupt controller: lets signals run to where they end. */
void settle_interrupts(struct board *board);
/* The wire of an ISA interrupt: high when its chip or testdev says so. */
void drive_irq(struct board *board, unsigned irq);
void set_irq(struct board *board, unsigned irq, bool level);

/* Is there a way, through either interrupt controller, from an ISA interrupt to a processor, or from a pin of the
 * I/O APIC? By whatever, or as an NMI, which needs no RFLAGS.IF. */
enum reach { BY_ANY, BY_NMI };
bool irq_open(const struct board *board, unsigned irq, enum reach reach);
bool pin_open(const struct board *board, unsigned pin, enum reach reach);

/* ---- board_screen.c ---- */

bool in_vga(const struct board *board, uint64_t gpa);
bool vga_page_is_ram(const struct board *board, uint32_t gpa);
uint32_t read_vga(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now);
void write_vga(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size, struct moment at);

/* ---- board_ports.c ---- */

/* A chip at a range of ports: `unit` of its kind, `reg` from the first port. Most are 8 bits wide; an access wider than
 * the range's `width` becomes one access a byte, as the ISA bus does it. */
typedef uint32_t port_reader(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now);
typedef void port_writer(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size,
                         struct moment at);

void map_ports(struct board *board);

/* ---- board_floppy.c ---- */

port_reader read_dma, read_dma_page, read_fdc; /* unit of the 82077: its first register there */
port_writer write_dma, write_dma_page, write_fdc;
void reset_fdc(struct board *board);
void advance_fdc(struct board *board, uint64_t now);
/* The drive that a board needs for this one. */
enum floppy_drive_kind board_floppy_kind(const struct storage *storage);

/* ---- board_ide.c ---- */

port_reader read_ide, read_ide_data, read_ide_control, read_bus_master;
port_writer write_ide, write_ide_data, write_ide_control, write_bus_master;
/* Has the board an IDE controller? */
bool board_has_ide(const struct board *board);
void reset_ide(struct board *board);
/* As firmware leaves it. */
void leave_ide(struct board *board);
void advance_ide(struct board *board, unsigned channel, uint64_t now);

/* ---- board_network.c ---- */

port_reader read_network; /* unit: the first register there */
port_writer write_network;
void reset_network(struct board *board);
void advance_network(struct board *board, uint64_t now);

/* ---- board_hpet.c ---- */

void reset_hpet(struct board *board);
void advance_hpet(struct board *board, uint64_t now);
/* Does the way of any of its interrupts lead to a processor? */
bool hpet_open(const struct board *board, enum reach reach);
/* False: it is not at this address. */
bool board_hpet_read(struct board *board, uint64_t gpa, void *data, unsigned size, uint64_t now);
bool board_hpet_write(struct board *board, uint64_t gpa, const void *data, unsigned size, uint64_t now);

#endif
