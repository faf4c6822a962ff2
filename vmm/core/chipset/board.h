/* The PC board: its chips, port and memory dispatch, interrupt lines and deadlines. No processor in it.
 *
 * Pure like its chips: it is told the time (guest nanoseconds) and says when it next wants to be told. The run loop
 * of either accelerator calls it: board_advance at each deadline, then asks for an interrupt. */
#ifndef BRINGUP_BOARD_H
#define BRINGUP_BOARD_H

#include <stdbool.h>

#include "../machine.h"
#include "../memory_access.h"

enum board_event { BOARD_NONE = 0, BOARD_POWER_OFF, BOARD_RESET, BOARD_PANIC, BOARD_DEBUG_EXIT };

struct board;

/* Guest-physical memory, as bus masters and the chipset reach it: NULL where it is not RAM (nor, for reading, ROM), and
 * the RAM behind a page of the window that reads do not find. */
struct board_memory {
    void *context;
    uint8_t *(*at)(void *context, uint64_t gpa, uint64_t size, bool write);
    uint8_t *(*hidden)(void *context, uint64_t gpa);
};

struct board *board_create(const struct machine_config *config);
void board_destroy(struct board *board);
void board_reset(struct board *board);

/* Port I/O, size 1, 2 or 4; a port without a chip reads as ones. `count` stamps output bytes. */
uint32_t board_io_read(struct board *board, uint16_t port, unsigned size, uint64_t now);
void board_io_write(struct board *board, uint16_t port, uint32_t value, unsigned size, uint64_t now, uint64_t count);
/* The same as so many reads of the port, `size` bytes each, as far as they are sure to do nothing else. Returns how many
 * were done; 0 is an answer for any port. Only while board_deadline lies behind all of them. */
unsigned board_io_read_ahead(struct board *board, uint16_t port, unsigned size, uint8_t *data, unsigned count);
/* Guest time that accesses to ports have taken since it was last asked: the run loop lets it pass. */
uint64_t board_take_wait(struct board *board);
bool board_waits(const struct board *board);
/* Memory-mapped chips (LAPIC of the accessing vCPU, IOAPIC, ...), size 1, 2, 4 or 8, within a page. */
void board_memory_read(struct board *board, unsigned vcpu, uint64_t gpa, void *data, unsigned size, uint64_t now);
void board_memory_write(struct board *board, unsigned vcpu, uint64_t gpa, const void *data, unsigned size,
                        uint64_t now);

void board_attach(struct board *board, const struct board_memory *memory);

/* The page of the window from A0000h to FFFFFh at this address; the version changes whenever any of them may have. */
struct board_page {
    enum memory_access access;
    bool reads_ram;
};
struct board_page board_window_page(const struct board *board, uint32_t gpa);
uint32_t board_window_version(const struct board *board);

/* Time passes: fires every timer due at or before `now`. */
void board_advance(struct board *board, uint64_t now);
/* The next time at which board_advance would change anything, or MACHINE_NEVER. */
uint64_t board_deadline(const struct board *board);
/* Can an interrupt still come from within: does a timer run whose way to this processor is not masked? One that halts
 * without it (and without a pending interrupt, or another processor that runs) sleeps for ever, even when board_deadline
 * names a time. */
bool board_can_wake(const struct board *board, unsigned vcpu);
/* Does a timer run whose way leads to some processor as an NMI: by LINT0 behind the 8259 pair, by the I/O APIC? */
bool board_can_nmi(const struct board *board);

/* Is an interrupt asked of this vCPU (LAPIC above its priority, or PIC through LINT0/virtual wire)? */
bool board_interrupt_pending(const struct board *board, unsigned vcpu);
/* The INTA cycle: the vector (0-255), acknowledged. */
uint8_t board_interrupt_acknowledge(struct board *board, unsigned vcpu, uint64_t now);
/* Takes a pending NMI (false: none). */
bool board_take_nmi(struct board *board, unsigned vcpu);
/* INIT and SIPI, in the order in which they take effect. INIT of the first processor, which has no firmware to start
 * again, is BOARD_RESET instead. */
enum board_signal { BOARD_NO_SIGNAL = 0, BOARD_INIT, BOARD_STARTUP };
enum board_signal board_take_signal(struct board *board, unsigned vcpu, uint8_t *vector);
bool board_signal_pending(const struct board *board, unsigned vcpu);
/* Does the processor wait for a SIPI, so that no other event reaches it? */
bool board_waits_for_startup(const struct board *board, unsigned vcpu);
/* The NMI button (LINT1), which port 70h bit 7 masks. */
void board_nmi(struct board *board);

/* FERR#, wired of the first processor alone: an x87 error while CR0.NE is clear, which asks for IRQ 13. IGNNE#: the handler has seen
 * it, and the processor goes on. */
void board_set_ferr(struct board *board, unsigned vcpu, bool level);
bool board_ferr(const struct board *board, unsigned vcpu);
bool board_ignne(const struct board *board, unsigned vcpu);

/* The A20 gate: may address line 20 be high? */
bool board_a20(const struct board *board);

/* The LAPIC's MSRs: IA32_APIC_BASE (1Bh), IA32_TSC_DEADLINE (6E0h), x2APIC 800h-8FFh. `tsc` is guest TSC now, and
 * TSC ticks are nanoseconds. False: #GP. */
bool board_msr_read(struct board *board, unsigned vcpu, uint32_t index, uint64_t *value, uint64_t now, uint64_t tsc);
bool board_msr_write(struct board *board, unsigned vcpu, uint32_t index, uint64_t value, uint64_t now, uint64_t tsc);
/* CR8 is the LAPIC's task priority, bits 7:4. */
uint64_t board_cr8(const struct board *board, unsigned vcpu);
void board_set_cr8(struct board *board, unsigned vcpu, uint64_t value);

/* The first that the guest asked of the machine since the last call (power-off, reset, ...). */
enum board_event board_take_event(struct board *board, uint32_t *detail);

/* Bytes for a UART's receiver; the queue in front of it holds 4096 and takes no more. An output queue holds 65536
 * bytes; when it is full the oldest is lost. `counts` may be NULL. */
size_t board_serial_input(struct board *board, unsigned uart, const uint8_t *data, size_t size, uint64_t now);
size_t board_serial_output(struct board *board, unsigned uart, uint8_t *data, uint64_t *counts, size_t size);
size_t board_debug_output(struct board *board, uint8_t *data, uint64_t *counts, size_t size);
/* Unread output bytes over all channels, and the guest time of the oldest of them (MACHINE_NEVER: none). */
size_t board_output_pending(const struct board *board, uint64_t *oldest);
/* As machine.h's; false and 0: the board has no screen. */
bool board_screen(const struct board *board, struct machine_screen *screen);
/* Another value when text has changed that lies in RAM, quick to have; 0: it does not. */
uint64_t board_text_hash(const struct board *board);
bool board_font(const struct board *board, unsigned set, uint8_t *glyphs);
size_t board_keys(struct board *board, const uint32_t *events, size_t count, uint64_t now);
void board_mouse(struct board *board, int32_t dx, int32_t dy, int32_t dz, uint8_t buttons, uint64_t now);
/* A frame for the network card, without its CRC; from within `network_transmit` too. */
void board_network_arrive(struct board *board, const uint8_t *frame, unsigned size, uint64_t now);
void board_power_button(struct board *board, uint64_t now);
/* What it holds, output that nobody has taken included. */
struct snapshot;
void board_snapshot(struct board *board, struct snapshot *snapshot);
uint64_t board_hash(const struct board *board);

#endif
