/* The whole board under any guest and any people, twice: the other one is thrown away now and then, and goes on in a new
 * board from its snapshot. Both answer the same, want the same time and hold the same state; no deadline lies in the past,
 * no output grows without bound.
 *
 * Input: what there is (bits 1:0: firmware, drives), then accesses: what (bits 3:0, and the size in 5:4), place (2 bytes:
 * a port or address near a chip's), value (1 byte; its place in the value is bits 7:6 of `what`). */
#include <string.h>

#include "chips.h"
#include "chipset/board.h"
#include "chipset/chips.h"
#include "chipset/map.h"
#include "chipset/snapshot.h"
#include "memory_map.h"

#define CPUS 2
#define LATEST (UINT64_C(1) << 60)
#define MOST_UNREAD ((MACHINE_UARTS + 1) * (size_t)65536)

enum { WRITE_1, WRITE_2, WRITE_3, READ_1, READ_2, STORE_1, STORE_2, LOAD, PAUSE, TO_DEADLINE, RESTORE, PEOPLE, PROCESSOR,
       MSR, AGAIN, RESET };

/* A board and what it reaches: memory below 1 MiB as a machine keeps it, media and a network that depend on nothing. */
struct bench {
    struct board *board;
    uint8_t memory[WINDOW_END], hidden[WINDOW_BYTES];
    struct board_page page[WINDOW_PAGES];
    uint64_t now;
};

static int transfer(void *context, unsigned drive, uint64_t offset, void *data, uint32_t bytes, uint32_t write)
{
    (void)context;
    DEMAND(drive < STORAGE_DRIVES && bytes, "drive %u, %u bytes", drive, bytes);
    if (!write)
        memset(data, (int)(offset / 512 + drive), bytes);
    return offset / 512 % 32 == 31 ? STORAGE_UNREADABLE : 0;
}

static void transmit(void *context, const void *frame, uint32_t size)
{
    struct bench *bench = context;
    DEMAND(size && size <= NE2000_FRAME_MAXIMUM, "a frame of %u", size);
    board_network_arrive(bench->board, frame, size, bench->now);
}

static uint8_t *memory_at(void *context, uint64_t gpa, uint64_t size, bool write)
{
    struct bench *bench = context;
    if (gpa >= WINDOW_END || size > WINDOW_END - gpa)
        return NULL;
    for (uint64_t at = gpa < WINDOW ? WINDOW : gpa - gpa % MEMORY_PAGE; at < gpa + size; at += MEMORY_PAGE)
        if (bench->page[(at - WINDOW) / MEMORY_PAGE].access < (write ? MEMORY_RAM : MEMORY_ROM))
            return NULL;
    return bench->memory + gpa;
}

static uint8_t *memory_hidden(void *context, uint64_t gpa)
{
    struct bench *bench = context;
    return bench->hidden + (gpa - WINDOW);
}

/* The machine sees what has become of the window. */
static void follow(struct bench *bench)
{
    for (unsigned i = 0; i < WINDOW_PAGES; i++) {
        struct board_page page = board_window_page(bench->board, WINDOW + i * MEMORY_PAGE);
        for (unsigned at = i * MEMORY_PAGE; page.reads_ram != bench->page[i].reads_ram && at < (i + 1) * MEMORY_PAGE; at++) {
            uint8_t held = bench->memory[WINDOW + at];
            bench->memory[WINDOW + at] = bench->hidden[at];
            bench->hidden[at] = held;
        }
        bench->page[i] = page;
    }
}

static void make_board(struct bench *bench, unsigned setup)
{
    static uint8_t rom[0x10000];
    struct machine_config config = {.memory_bytes = 2 << 20, .cpus = CPUS, .debug_exit = 1, .cpuid_count = 1,
                                    .transfer = transfer, .network = transmit, .network_context = bench};
    config.cpuid[0] = (struct cpuid_leaf){.leaf = 1, .ecx = 1 << 24 | 1 << 21}; /* TSC deadline, x2APIC */
    if (setup & 1) {
        config.firmware = rom;
        config.firmware_bytes = sizeof rom;
        config.drives[STORAGE_FLOPPY_A] = (struct storage){STORAGE_FLOPPY, 512, 1474560, true, false};
    }
    if (setup & 2) {
        config.drives[STORAGE_PRIMARY_MASTER] = (struct storage){STORAGE_DISK, 512, 1 << 20, true, false};
        config.drives[STORAGE_SECONDARY_MASTER] = (struct storage){STORAGE_CDROM, 2048, 1 << 20, true, true};
    }
    bench->board = board_create(&config);
    DEMAND(bench->board, "memory");
    board_attach(bench->board, &(struct board_memory){bench, memory_at, memory_hidden});
}

/* `to` becomes what `from` is, on a new board. */
static void restore(struct bench *to, struct bench *from, unsigned setup)
{
    struct snapshot snapshot = {0};

    board_snapshot(from->board, &snapshot);
    board_destroy(to->board);
    make_board(to, setup);
    snapshot.loading = true;
    board_snapshot(to->board, &snapshot);
    DEMAND(!snapshot.failed && snapshot.at == snapshot.size, "%zu of %zu bytes", snapshot.at, snapshot.size);
    free(snapshot.data);
    memcpy(to->memory, from->memory, sizeof to->memory);
    memcpy(to->hidden, from->hidden, sizeof to->hidden);
    memcpy(to->page, from->page, sizeof to->page);
}

static uint16_t port(unsigned place)
{
    static const uint16_t first[] = {
        PORT_PIC_MASTER, PORT_PIC_SLAVE, PORT_ELCR, PORT_PIT, PORT_I8042_DATA, PORT_I8042_COMMAND, PORT_SYSTEM_CONTROL_A,
        PORT_RTC, PORT_COM1, PORT_COM4, PORT_PM1A_EVT, PORT_PM1A_CNT, PORT_PM_TMR, PORT_PCI_ADDRESS, PORT_PCI_DATA,
        PORT_DEBUG, PORT_DEBUG_EXIT, PORT_PVPANIC, PORT_POST, PORT_FW_CFG, PORT_TESTDEV_LATCH, PORT_TESTDEV_IRQ,
        PORT_DMA_1, PORT_DMA_PAGE, PORT_DMA_2, PORT_FDC, PORT_LPT1, PORT_IDE_1, PORT_IDE_1_CONTROL, PORT_IDE_2,
        PORT_IDE_2_CONTROL, PORT_VGA, PORT_VGA_COLOUR, 0xc000, 0xc100, 0xcf9, 0xf0,
    };
    return (uint16_t)(first[(place & 0xff) % (sizeof first / sizeof *first)] + (place >> 8 & 31));
}

static uint64_t address(unsigned place)
{
    static const uint64_t pages[] = {MAP_LAPIC, MAP_IOAPIC, MAP_HPET, VGA_HOLE, 0xb8000, 0xc0000, MAP_TESTDEV, 0xe0000000};
    return pages[place % 8] + (place >> 3 & 0x3ff) * (place & 0x8000 ? 1 : 4);
}

static uint64_t processor(struct bench *bench, unsigned place, unsigned value)
{
    unsigned vcpu = place & 1;
    uint8_t vector = 0;
    uint32_t detail;

    switch (place >> 1 & 7) {
    case 0 ... 1:
        return board_interrupt_pending(bench->board, vcpu) ? board_interrupt_acknowledge(bench->board, vcpu, bench->now) : 0;
    case 2:
        return board_take_nmi(bench->board, vcpu);
    case 3:
        return board_take_signal(bench->board, vcpu, &vector) | vector << 8;
    case 4:
        board_set_cr8(bench->board, vcpu, value & 15);
        return board_can_wake(bench->board, vcpu) | board_can_nmi(bench->board) << 1;
    case 5:
        board_set_ferr(bench->board, vcpu, value & 1);
        return board_ferr(bench->board, vcpu) | board_ignne(bench->board, vcpu) << 1 | board_a20(bench->board) << 2;
    case 6:
        board_nmi(bench->board);
        return board_cr8(bench->board, vcpu);
    default:
        return board_take_event(bench->board, &detail) | (uint64_t)detail << 32;
    }
}

static uint64_t people(struct bench *bench, unsigned place, unsigned value)
{
    static struct machine_screen screen;
    uint8_t text[64];
    uint32_t keys[] = {value | 1 << 8, value};

    memset(text, (int)value, sizeof text);
    switch (place & 7) {
    case 0:
        return board_keys(bench->board, keys, 2, bench->now);
    case 1:
        board_mouse(bench->board, (int8_t)value, (int8_t)(place >> 8), 0, value & 7, bench->now);
        return 0;
    case 2:
        board_power_button(bench->board, bench->now);
        return 0;
    case 3:
        board_network_arrive(bench->board, text, sizeof text, bench->now);
        return 0;
    case 4:
        return board_screen(bench->board, &screen) ? screen.columns << 8 | screen.rows : 0;
    case 5:
        return board_serial_output(bench->board, 0, text, NULL, sizeof text);
    default:
        return board_serial_input(bench->board, place >> 8 & 3, text, sizeof text, bench->now);
    }
}

static uint64_t access_once(struct bench *bench, unsigned what, unsigned place, uint64_t value)
{
    static const uint32_t msrs[] = {LAPIC_MSR_BASE, LAPIC_MSR_TSC_DEADLINE};
    unsigned size = 1u << (what >> 4 & 3) % 3;
    uint64_t result = 0;

    switch (what & 15) {
    case WRITE_1 ... WRITE_3:
        board_io_write(bench->board, port(place), (uint32_t)value, size, bench->now, bench->now);
        break;
    case READ_1 ... READ_2:
        result = board_io_read(bench->board, port(place), size, bench->now);
        break;
    case STORE_1 ... STORE_2:
        board_memory_write(bench->board, place >> 14 & 1, address(place), &value, size, bench->now);
        break;
    case LOAD:
        board_memory_read(bench->board, place >> 14 & 1, address(place), &result, size, bench->now);
        break;
    case PEOPLE:
        return people(bench, place, (unsigned)value);
    case PROCESSOR:
        return processor(bench, place, (unsigned)value);
    case MSR: {
        uint32_t index = place & 0x80 ? 0x800 + (place >> 8) : msrs[place & 1];
        if (index == LAPIC_MSR_BASE)
            value = MAP_LAPIC | (value & 3) << 10;
        if (place & 2)
            result = board_msr_write(bench->board, place >> 2 & 1, index, value, bench->now, bench->now);
        else if (!board_msr_read(bench->board, place >> 2 & 1, index, &result, bench->now, bench->now))
            result = 0xbad;
        break;
    }
    case AGAIN: /* a string instruction */
        for (unsigned i = 0; i <= (value & 0xff); i++)
            result = result * 31 + board_io_read(bench->board, port(place), size, bench->now);
        break;
    case RESET:
        if (value == 0xff)
            board_reset(bench->board);
    }
    return result + board_take_wait(bench->board);
}

static void check(struct bench *bench)
{
    uint64_t oldest;
    size_t unread = board_output_pending(bench->board, &oldest);

    follow(bench);
    board_advance(bench->board, bench->now);
    follow(bench);
    DEMAND(board_deadline(bench->board) > bench->now, "a deadline in the past");
    DEMAND(unread <= MOST_UNREAD, "%zu bytes of output", unread);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct bench plain, other;
    struct input input = {data, size};
    unsigned setup = next_byte(&input);

    memset(&plain, 0, sizeof plain);
    memset(&other, 0, sizeof other);
    make_board(&plain, setup);
    make_board(&other, setup);
    follow(&plain);
    follow(&other);
    while (input.left) {
        unsigned what = next_byte(&input), place = next_byte(&input);
        place |= (unsigned)next_byte(&input) << 8;
        uint64_t value = (uint64_t)next_byte(&input) << (what >> 6) * 8, due = board_deadline(plain.board);

        if ((what & 15) == PAUSE)
            plain.now += value << (place & 15);
        else if ((what & 15) == TO_DEADLINE && due != MACHINE_NEVER)
            plain.now = due;
        else if ((what & 15) == RESTORE)
            restore(&other, &plain, setup);
        plain.now = other.now = plain.now > LATEST ? other.now : plain.now;
        uint64_t one = access_once(&plain, what, place, value), two = access_once(&other, what, place, value);
        DEMAND(one == two, "%llx, and %llx", (unsigned long long)one, (unsigned long long)two);
        check(&plain);
        check(&other);
        DEMAND(board_deadline(plain.board) == board_deadline(other.board), "deadlines");
        for (unsigned i = 0; i < CPUS; i++)
            DEMAND(board_interrupt_pending(plain.board, i) == board_interrupt_pending(other.board, i), "vCPU %u", i);
    }
    DEMAND(board_hash(plain.board) == board_hash(other.board), "states at %llu", (unsigned long long)plain.now);
    DEMAND(!memcmp(plain.memory, other.memory, sizeof plain.memory), "memories");
    board_destroy(plain.board);
    board_destroy(other.board);
    return 0;
}
