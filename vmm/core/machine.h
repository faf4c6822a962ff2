/* One machine: a board, its memory and one way to run its vCPUs (`vtx` or `bare`).
 *
 * This is the face of the core to Python (cffi reads this file, so it holds plain declarations only).
 * Times are guest nanoseconds since the machine was made; counts are retired guest instructions. */
#ifndef BRINGUP_MACHINE_H
#define BRINGUP_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#include "chipset/network.h"
#include "chipset/storage.h"

#define MACHINE_UARTS 4
#define MACHINE_MAX_CPUS 254 /* what the I/O APIC and xAPIC mode can address: 8 bits, of which FFh is all */
#define MACHINE_MAX_CPUID 96
#define MACHINE_MAX_FIRMWARE 0x1000000 /* bytes */
#define MACHINE_SCREEN_CELLS 16384 /* all that a text mode can show */
#define MACHINE_FONT_BYTES 8192
#define MACHINE_NEVER 0xffffffffffffffffULL

enum machine_accel { ACCEL_VTX = 0, ACCEL_BARE = 1 };
enum machine_clock { CLOCK_VIRTUAL = 0, CLOCK_HOST = 1 };

/* What instructions and bits a processor has besides those that CPUID names: 86 for the 8086 to 686 for the P6 and all
 * later ones. */
enum cpu_generation { CPU_8086 = 86, CPU_186 = 186, CPU_286 = 286, CPU_386 = 386, CPU_486 = 486, CPU_586 = 586,
                      CPU_686 = 686 };

/* One row of CPUID as a CPU model's data file states it. The bits that follow the processor's state
 * (OSXSAVE, APIC id, XSAVE size in use) are filled in when the leaf is read. */
struct cpuid_leaf {
    uint32_t leaf, subleaf;
    uint32_t eax, ebx, ecx, edx;
};

/* An item of the firmware configuration device (chipset/fw_cfg.h). */
struct machine_item {
    uint16_t key;
    uint32_t size;
    const uint8_t *data;
};

struct machine_config {
    uint64_t memory_bytes;  /* guest RAM; a multiple of 1 MiB, at least 2 MiB */
    uint32_t accel;         /* enum machine_accel */
    uint32_t clock;         /* enum machine_clock */
    uint32_t cpus;          /* 1 to MACHINE_MAX_CPUS */
    uint32_t slice;         /* instructions that a vCPU runs before the next one's turn; at least 1 */
    uint32_t debug_exit;    /* 1: isa-debug-exit at port 0xF4, and testdev */
    uint64_t seed;          /* of RDRAND and RDSEED */
    int64_t rtc_seconds;    /* the RTC at guest time 0, seconds since 1970 UTC */
    uint32_t cpuid_count;
    struct cpuid_leaf cpuid[MACHINE_MAX_CPUID];
    uint32_t generation;    /* enum cpu_generation; 0: the last */
    const uint8_t *firmware; /* ROM that ends at 4 GiB; copied */
    uint32_t firmware_bytes; /* a multiple of 4 KiB; 0: none, and the board is as firmware would leave it */
    const struct machine_item *items; /* copied */
    uint32_t item_count;
    struct storage drives[STORAGE_DRIVES]; /* by enum storage_drive; only a board with firmware has them */
    storage_transfer *transfer; /* NULL: every transfer fails */
    void *transfer_context;
    network_transmit *network; /* NULL: there is no network card */
    void *network_context;
    uint8_t mac[6]; /* of the card */
    uint64_t arch_capabilities; /* IA32_ARCH_CAPABILITIES, when CPUID.7.EDX[29] */
};

/* A segment register with its hidden part; `access` as VT-x has it (SDM vol. 3, 25.4.1):
 * type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, D/B 14, G 15, unusable 16. */
struct vcpu_segment {
    uint64_t base;
    uint32_t limit, access;
    uint16_t selector;
};

/* The registers of a vCPU, for boot protocols and for inspection. */
struct vcpu_registers {
    uint64_t gpr[16]; /* RAX RCX RDX RBX RSP RBP RSI RDI R8..R15 */
    uint64_t rip, rflags;
    uint64_t cr0, cr2, cr3, cr4, cr8, efer;
    uint64_t dr[8];
    struct vcpu_segment segment[8]; /* ES CS SS DS FS GS LDTR TR */
    uint64_t gdt_base, idt_base;
    uint16_t gdt_limit, idt_limit;
};

enum machine_exit_kind {
    MACHINE_AIR = 0,          /* host time slice spent; call again */
    MACHINE_LIMIT = 1,        /* a limit of this call reached */
    MACHINE_IDLE = 2,         /* halted until `deadline`; virtual time: only with unread output and stop_when_idle */
    MACHINE_IDLE_FOREVER = 3, /* halted and nothing inside the machine can wake it */
    MACHINE_OUTPUT = 4,       /* unread output reached its bound */
    MACHINE_POWER_OFF = 5,
    MACHINE_RESET = 6,        /* the guest asked for a reset */
    MACHINE_TRIPLE_FAULT = 7,
    MACHINE_PANIC = 8,        /* pvpanic: the guest says it panicked */
    MACHINE_DEBUG_EXIT = 9,   /* isa-debug-exit; `detail` is the written value */
    MACHINE_INTERNAL = 10,    /* the VMM cannot go on; `reason` says why */
    MACHINE_SCREEN = 11       /* half of the text has scrolled since machine_screen_seen: see it before it is gone */
};

struct machine_limits {
    uint64_t count;          /* stop when so many instructions have retired since the machine was made */
    uint64_t time;           /* stop at this guest time */
    uint64_t output_bytes;   /* MACHINE_OUTPUT at so many unread bytes (0: never) */
    uint64_t output_age;     /* MACHINE_OUTPUT when the oldest unread byte is so old (0: never) */
    uint32_t stop_when_idle; /* 1: MACHINE_IDLE when the guest halts with unread output */
    uint32_t air_us;         /* MACHINE_AIR after so many host microseconds (0: never) */
    uint32_t screen_step;    /* look for MACHINE_SCREEN every so many instructions (0: never) */
};

struct machine_exit {
    uint32_t kind;   /* enum machine_exit_kind */
    uint32_t detail;
    uint64_t count, time, deadline;
    char reason[160];
};

struct machine;

/* NULL with a sentence in `error` when the machine cannot be made. */
struct machine *machine_create(const struct machine_config *config, char *error, size_t error_size);
void machine_destroy(struct machine *machine);

/* Power-on state of every chip and vCPU; RAM, clock and count stay. */
void machine_reset(struct machine *machine);

/* The host address of guest RAM [gpa, gpa + size), or NULL when any of it is not RAM. It may be written until the next
 * machine_run: what was decoded from it is forgotten. */
uint8_t *machine_ram(struct machine *machine, uint64_t gpa, uint64_t size);

int machine_run(struct machine *machine, const struct machine_limits *limits, struct machine_exit *exit);

uint64_t machine_count(const struct machine *machine); /* of all vCPUs */
uint64_t machine_vcpu_count(const struct machine *machine, unsigned vcpu);
uint64_t machine_time(const struct machine *machine);

void machine_get_registers(const struct machine *machine, unsigned vcpu, struct vcpu_registers *registers);
void machine_set_registers(struct machine *machine, unsigned vcpu, const struct vcpu_registers *registers);

/* Bytes for a UART's receiver; returns how many were taken (the queue in front of the FIFO is bounded). */
size_t machine_serial_input(struct machine *machine, unsigned uart, const uint8_t *data, size_t size);
/* Takes up to `size` bytes of one UART's output, `counts[i]` being the instruction count at byte i. */
size_t machine_serial_output(struct machine *machine, unsigned uart, uint8_t *data, uint64_t *counts, size_t size);
/* The same for the debug port 0xE9. */
size_t machine_debug_output(struct machine *machine, uint8_t *data, uint64_t *counts, size_t size);

/* What the screen shows. */
enum machine_screen_mode { SCREEN_OFF = 0, SCREEN_TEXT = 1, SCREEN_GRAPHICS = 2 };
struct machine_screen {
    uint8_t mode;          /* without text only `blank` counts of what follows */
    uint8_t blank;         /* the guest has turned the picture off; the cells are there nevertheless */
    uint8_t blink;         /* attribute bit 7 blinks, else it is the background's bright bit */
    uint8_t line_graphics; /* characters C0h-DFh repeat their eighth column as the ninth */
    uint8_t cursor;        /* it is on, and on the screen */
    uint8_t cursor_first, cursor_last; /* its scan lines within a cell */
    uint8_t width, height; /* dots of a cell: 8 or 9, 1 to 32 */
    uint16_t cursor_row, cursor_column;
    uint16_t columns, rows;
    uint8_t colours[48];   /* red, green, blue of the 16 colours of attributes */
    uint16_t cells[MACHINE_SCREEN_CELLS]; /* row after row: character, and attribute in the high byte */
};
/* 0: the machine has no screen. */
int machine_screen(const struct machine *machine, struct machine_screen *screen);
/* What it shows now has been seen: what scrolls counts from here. */
void machine_screen_seen(struct machine *machine);
/* The font of characters whose attribute bit 3 is clear (0) or set (1): 256 glyphs of 32 bytes, a byte a scan line. */
int machine_font(const struct machine *machine, unsigned set, uint8_t *glyphs);
/* Key events for the keyboard (chipset/ps2_keyboard.h) and movement of the mouse: right, up, wheel towards the user;
 * buttons left, right, middle from bit 0. Without the device they are lost. Returns how many events were taken. */
size_t machine_keys(struct machine *machine, const uint32_t *events, size_t count);
void machine_mouse(struct machine *machine, int32_t dx, int32_t dy, int32_t dz, uint8_t buttons);

/* A frame for the network card, without its CRC; from within `network_transmit` too. */
void machine_network_arrive(struct machine *machine, const uint8_t *frame, uint32_t size);

/* ACPI power button (fixed event), for system_powerdown. */
void machine_power_button(struct machine *machine);
/* From any thread: the running machine_run returns MACHINE_AIR soon. */
void machine_kick(struct machine *machine);

/* Statistics: a vCPU's exits by VT-x reason (0 to 69; zero in `bare`), and what the SDM calls it (NULL: none has the
 * number). */
uint64_t machine_exits(const struct machine *machine, unsigned vcpu, unsigned reason);
const char *machine_exit_name(unsigned reason);

/* One VM exit, as it was taken. */
struct machine_exit_record {
    uint64_t count; /* the machine's */
    uint64_t rip, qualification;
    uint32_t reason; /* SDM vol. 3, table 25-19 */
};
/* Up to `size` of a vCPU's last exits (256 are kept), oldest first; returns how many. */
size_t machine_exit_ring(const struct machine *machine, unsigned vcpu, struct machine_exit_record *records,
                         size_t size);

/* All of the machine between two runs, but what lies on drives: `*size` bytes, which machine_save_free frees; NULL: no
 * memory. They fit a machine of the same configuration and build. */
uint8_t *machine_save(struct machine *machine, size_t *size);
void machine_save_free(uint8_t *data);
/* SNAPSHOT_OTHER: it is of another configuration or build, and nothing has changed. SNAPSHOT_DAMAGED: the machine is
 * not fit to run. */
enum snapshot_result { SNAPSHOT_LOADED = 0, SNAPSHOT_OTHER = 1, SNAPSHOT_DAMAGED = 2 };
int machine_load(struct machine *machine, const uint8_t *data, size_t size);

/* A hash of all guest-visible state (registers, chips, RAM), for comparing runs. */
uint64_t machine_state_hash(const struct machine *machine);

#endif
