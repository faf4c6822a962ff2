/* A guest that means harm: random accesses of every kind, at every register, with time that creeps and leaps. Built
 * with AddressSanitizer and UndefinedBehaviorSanitizer; the checks here are what holds whatever the guest does.
 *
 *     hostile SEED ACCESSES */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../memory_map.h"
#include "board.h"
#include "chips.h"
#include "map.h"

#define CPUS 3

static uint64_t state;

static uint64_t random64(void) /* splitmix64 */
{
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static unsigned below(unsigned limit)
{
    return (unsigned)(random64() % limit);
}

/* Small and round numbers more often than others. */
static uint64_t value(void)
{
    switch (below(5)) {
    case 0:
        return below(8);
    case 1:
        return UINT64_C(1) << below(64);
    case 2:
        return UINT64_MAX >> below(64);
    default:
        return random64();
    }
}

static uint16_t port(void)
{
    static const uint16_t chips[] = {
        PORT_PIC_MASTER, PORT_PIC_SLAVE, PORT_ELCR, PORT_PIT, PORT_PIT, PORT_I8042_DATA, PORT_I8042_COMMAND,
        PORT_SYSTEM_CONTROL_A, PORT_RTC, PORT_RTC, PORT_COM1, PORT_COM1, PORT_COM2, PORT_COM3, PORT_COM4,
        PORT_PM1A_EVT, PORT_PM1A_CNT, PORT_PM_TMR, PORT_PCI_ADDRESS, PORT_PCI_DATA, PORT_DEBUG, PORT_DEBUG_EXIT,
        PORT_PVPANIC, PORT_POST, PORT_FW_CFG, PORT_TESTDEV_LATCH, PORT_TESTDEV_IRQ, PORT_TESTDEV_IRQ + 16, 0xfffc,
        PORT_DMA_1, PORT_DMA_1 + 8, PORT_DMA_PAGE, PORT_DMA_2, PORT_FDC, PORT_FDC, PORT_FDC, PORT_LPT1,
        PORT_IDE_1, PORT_IDE_1, PORT_IDE_1_CONTROL, PORT_IDE_2, PORT_IDE_2_CONTROL, 0xc000, 0xc008,
        PORT_VGA, PORT_VGA_COLOUR, PORT_VGA_COLOUR, PORT_VGA_COLOUR + 8, PORT_VGA_COLOUR + 20,
    };
    if (below(20) == 0)
        return (uint16_t)random64();
    return (uint16_t)(chips[below(sizeof chips / sizeof *chips)] + below(9) - (below(8) == 0));
}

static uint64_t address(void)
{
    uint64_t page = below(2)   ? MAP_LAPIC
                    : below(4) ? MAP_IOAPIC
                    : below(3) == 0 ? MAP_HPET
                    : below(2) ? VGA_HOLE + below(0x60) * 0x1000
                    : below(2) ? MAP_TESTDEV + below(18) * 0x1000 - 0x1000
                               : random64() & ~UINT64_C(0xfff);
    return page + (below(2) ? below(0x400 / 16) * 16 : below(0x1000 - 8));
}

/* The host's side: media that fail at times, and memory from 0 on. */

static int transfer(void *context, unsigned drive, uint64_t offset, void *data, uint32_t bytes, uint32_t write)
{
    (void)context, (void)drive, (void)offset;
    if (!write)
        memset(data, (int)random64(), bytes);
    return below(8) == 0;
}

/* The memory below 1 MiB as a machine keeps it: what is seen of the window from A0000h, what is hidden there, and when
 * that follows the board. */
static uint8_t memory[WINDOW_END], hidden[WINDOW_BYTES];
static struct board_page pages[WINDOW_PAGES];

static uint8_t *memory_at(void *context, uint64_t gpa, uint64_t size, bool write)
{
    (void)context;
    if (gpa >= WINDOW_END || size > WINDOW_END - gpa)
        return NULL;
    for (uint64_t at = gpa < WINDOW ? WINDOW : gpa - gpa % MEMORY_PAGE; at < gpa + size; at += MEMORY_PAGE)
        if (pages[(at - WINDOW) / MEMORY_PAGE].access < (write ? MEMORY_RAM : MEMORY_ROM))
            return NULL;
    return memory + gpa;
}

static uint8_t *memory_hidden(void *context, uint64_t gpa)
{
    (void)context;
    return hidden + (gpa - WINDOW);
}

static void follow(const struct board *board)
{
    for (unsigned i = 0; i < WINDOW_PAGES; i++) {
        struct board_page page = board_window_page(board, WINDOW + i * MEMORY_PAGE);
        for (unsigned at = i * MEMORY_PAGE; page.reads_ram != pages[i].reads_ram && at < (i + 1) * MEMORY_PAGE; at++) {
            uint8_t held = memory[WINDOW + at];
            memory[WINDOW + at] = hidden[at];
            hidden[at] = held;
        }
        pages[i] = page;
    }
}

static void require(bool holds, const char *what, uint64_t step)
{
    if (holds)
        return;
    fprintf(stderr, "step %llu: %s\n", (unsigned long long)step, what);
    exit(1);
}

static void use_screen_and_keyboard(struct board *board, uint64_t now, uint64_t step)
{
    static struct machine_screen screen;
    static uint8_t glyphs[MACHINE_FONT_BYTES];
    uint32_t events[8];

    for (unsigned i = 0; i < 8; i++)
        events[i] = (uint32_t)random64();
    require(board_keys(board, events, below(9), now) <= 8, "more keys are taken than there are", step);
    board_mouse(board, (int32_t)value(), (int32_t)value(), (int32_t)value(), (uint8_t)random64(), now);
    if (board_screen(board, &screen))
        require((uint64_t)screen.columns * screen.rows <= MACHINE_SCREEN_CELLS, "the screen has too many cells", step);
    board_font(board, below(2), glyphs);
}

static void access_once(struct board *board, uint64_t now, uint64_t step)
{
    unsigned size = 1u << below(3);
    uint8_t bytes[512];
    uint64_t counts[512], wide;
    uint32_t detail;

    switch (below(12)) {
    case 0 ... 2:
        wide = board_io_read(board, port(), size, now);
        require(size == 4 || wide >> 8 * size == 0, "a read is wider than its size", step);
        break;
    case 3 ... 5:
        board_io_write(board, port(), (uint32_t)value(), size, now, step);
        break;
    case 6:
        size = 1u << below(4);
        board_memory_read(board, below(CPUS), address(), bytes, size, now);
        break;
    case 7 ... 8:
        size = 1u << below(4);
        wide = value();
        board_memory_write(board, below(CPUS), address(), &wide, size, now);
        break;
    case 9:
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (uint8_t)random64();
        board_serial_input(board, below(5), bytes, below(sizeof bytes), now);
        board_serial_output(board, below(5), bytes, counts, below(sizeof bytes));
        board_debug_output(board, bytes, NULL, below(sizeof bytes));
        break;
    case 10: {
        static const uint32_t msrs[] = {LAPIC_MSR_BASE, LAPIC_MSR_TSC_DEADLINE, 0x800, 0x800};
        uint32_t index = msrs[below(4)];
        index += index == 0x800 ? below(0x40) : 0; /* x2APIC mode */
        uint64_t base = MAP_LAPIC | LAPIC_BASE_ENABLE | (below(2) ? LAPIC_BASE_X2APIC : 0);
        if (below(2))
            board_msr_write(board, below(CPUS), index, below(8) ? value() : base, now, now + value());
        else
            board_msr_read(board, below(CPUS), index, &wide, now, now);
        board_set_cr8(board, below(CPUS), below(16));
        break;
    }
    default:
        board_take_event(board, &detail);
        board_take_signal(board, below(CPUS), bytes);
        board_waits_for_startup(board, below(CPUS));
        board_take_nmi(board, below(CPUS));
        if (below(16) == 0)
            board_nmi(board);
        if (below(16) == 0)
            board_power_button(board, now);
        if (below(1000) == 0)
            board_reset(board);
        if (below(16) == 0)
            use_screen_and_keyboard(board, now, step);
    }
}

int main(int argc, char **argv)
{
    struct machine_config config = {.memory_bytes = 1 << 20, .cpus = CPUS, .debug_exit = 1, .cpuid_count = 1};
    uint64_t accesses = argc > 2 ? strtoull(argv[2], NULL, 0) : 100000, now = 0;

    state = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    config.rtc_seconds = (int64_t)value();
    config.memory_bytes = value();
    config.transfer = transfer;
    if (state & 2) {
        config.drives[STORAGE_PRIMARY_MASTER] = (struct storage){STORAGE_DISK, 512, 1 << 20, true, false};
        config.drives[STORAGE_PRIMARY_SLAVE] = (struct storage){STORAGE_DISK, 512, 1 << 20, true, true};
        config.drives[STORAGE_SECONDARY_MASTER] = (struct storage){STORAGE_CDROM, 2048, 1 << 20, true, true};
    }
    if (state & 1) { /* the classic PC */
        config.firmware = memory;
        config.firmware_bytes = 1 << 12;
        config.drives[STORAGE_FLOPPY_A] = (struct storage){STORAGE_FLOPPY, 512, 1474560, true, false};
        config.drives[STORAGE_FLOPPY_B] = (struct storage){STORAGE_FLOPPY, 512, 368640, true, true};
    }
    config.cpuid[0] = (struct cpuid_leaf){.leaf = 1, .ecx = 1 << 24 | 1 << 21};
    struct board *board = board_create(&config);
    if (!board)
        return 2;
    board_attach(board, &(struct board_memory){NULL, memory_at, memory_hidden});
    follow(board);
    for (uint64_t step = 0; step < accesses; step++) {
        access_once(board, now, step);
        if (below(16) == 0)
            follow(board);
        now += below(4) ? below(2000) : below(50) ? below(10000000) : value() >> 12;
        if (below(2)) {
            board_advance(board, now);
            require(board_deadline(board) > now, "a deadline lies in the past", step);
        }
        if (board_interrupt_pending(board, below(CPUS)) && below(3))
            board_interrupt_acknowledge(board, below(CPUS), now);
        uint64_t oldest;
        size_t unread = board_output_pending(board, &oldest);
        require(unread <= 5 * 65536, "output grows without bound", step);
        require((unread != 0) == (oldest != MACHINE_NEVER), "unread output has an age", step);
    }
    printf("%016llx\n", (unsigned long long)board_hash(board));
    board_destroy(board);
    return 0;
}
