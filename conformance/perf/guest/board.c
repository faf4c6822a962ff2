/* The guest program of `bringup perf` on the bare PC: what its board does, without an operating system between. It lies
 * on a disk behind boot_sector.S, which starts it. What it is asked to run and what it prints is in markers.h. */
#include "markers.h"

static inline void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

static inline void outl(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint32_t inl(uint16_t port)
{
    uint32_t value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

/* ---- Interrupts: a halted processor wakes, nothing else happens ---- */

enum { PIC_MASTER = 0x20, PIC_SLAVE = 0xa0, PIC_VECTOR = 0x20, IRQ_PIT = 0, IRQ_CASCADE = 2, IRQ_IDE = 14 };

struct gate {
    uint16_t offset_low, selector, type, offset_high;
};

static struct gate idt[PIC_VECTOR + 16];

void interrupted(void);
__asm__("interrupted:\n"
        "    push %eax\n"
        "    mov $0x20, %al\n" /* OCW2: non-specific EOI */
        "    out %al, $0xa0\n"
        "    out %al, $0x20\n"
        "    pop %eax\n"
        "    iret\n");

static void interrupts_prepare(void)
{
    enum { CODE_SEGMENT = 0x08, PRESENT_INTERRUPT_GATE = 0x8e00 };
    static struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) table;
    uint32_t offset = (uint32_t)interrupted;

    for (size_t i = PIC_VECTOR; i < SIZE(idt); i++)
        idt[i] = (struct gate){(uint16_t)offset, CODE_SEGMENT, PRESENT_INTERRUPT_GATE, (uint16_t)(offset >> 16)};
    table.limit = sizeof(idt) - 1;
    table.base = (uint32_t)idt;
    __asm__ volatile("lidt %0" : : "m"(table));

    outb(PIC_MASTER, 0x11); /* ICW1: edges, cascade, ICW4 follows */
    outb(PIC_SLAVE, 0x11);
    outb(PIC_MASTER + 1, PIC_VECTOR);
    outb(PIC_SLAVE + 1, PIC_VECTOR + 8);
    outb(PIC_MASTER + 1, 1 << IRQ_CASCADE);
    outb(PIC_SLAVE + 1, IRQ_CASCADE);
    outb(PIC_MASTER + 1, 1); /* ICW4: 8086, EOI by the program */
    outb(PIC_SLAVE + 1, 1);
}

/* Of these interrupts alone, bit by number. */
static void unmask(unsigned irqs)
{
    outb(PIC_MASTER + 1, (uint8_t)~(irqs | 1 << IRQ_CASCADE));
    outb(PIC_SLAVE + 1, (uint8_t)~(irqs >> 8));
}

static inline void halt(void)
{
    __asm__ volatile("sti\n\thlt\n\tcli" : : : "memory");
}

/* ---- Console ---- */

/* 50 ms in HLT: the driver has that long to look at the VMM, and a machine that runs in turns ends its turn here. */
static void idle(void)
{
    enum { COUNTER_0 = 0x40, CONTROL = 0x43, MODE_0 = 0x30, LATCH_STATUS = 0xe2, OUT = 0x80, TICKS = 59659 };

    unmask(1 << IRQ_PIT);
    outb(CONTROL, MODE_0);
    outb(COUNTER_0, (uint8_t)TICKS);
    outb(COUNTER_0, TICKS >> 8);
    do { /* an interrupt from before may come first */
        halt();
        outb(CONTROL, LATCH_STATUS);
    } while (!(inb(COUNTER_0) & OUT));
    unmask(0);
}

static void print(struct line *line)
{
    enum { COM1 = 0x3f8, COM1_LSR = COM1 + 5, TEMT = 0x40 };

    line->used -= line->used == sizeof(line->text);
    put_string(line, "\n");
    for (size_t i = 0; i < line->used; i++) {
        outb(COM1, (uint8_t)line->text[i]);
        while (!(inb(COM1_LSR) & TEMT))
            ;
    }
    line->used = 0;
    idle();
}

__attribute__((noreturn)) static void stop(void)
{
    for (;;)
        halt();
}

/* It is no workload: says so, for ever. */
__attribute__((noreturn)) static void complain(const char *text)
{
    struct line line = {.used = 0};

    put_string(&line, "@perf error ");
    put_string(&line, text);
    print(&line);
    stop();
}

/* ---- dma, pio: the disk's first sectors into memory, a command for 256 of them (ATA/ATAPI-6, LBA28) ---- */

enum { DISK_SIZE = 64 << 20, SECTOR = 512, COMMAND_SECTORS = 256, COMMAND_SIZE = COMMAND_SECTORS * SECTOR };
enum { IDE = 0x1f0, IDE_COUNT = 0x1f2, IDE_LBA = 0x1f3, IDE_DEVICE = 0x1f6, IDE_COMMAND = 0x1f7, IDE_CONTROL = 0x3f6 };
enum { IDE_STATUS = IDE_COMMAND, IDE_ALTERNATE_STATUS = IDE_CONTROL };
enum { ERR = 1 << 0, DRQ = 1 << 3, DF = 1 << 5, BSY = 1 << 7 };
enum { NIEN = 1 << 1, LBA = 1 << 6 };
enum { READ_SECTORS = 0x20, READ_DMA = 0xc8 };

static uint8_t *const disk = (uint8_t *)(16 << 20); /* what was read of it */

static void command(uint32_t sector, uint8_t number)
{
    outb(IDE_DEVICE, (uint8_t)(LBA | sector >> 24));
    outb(IDE_COUNT, (uint8_t)COMMAND_SECTORS); /* 0 stands for 256 */
    outb(IDE_LBA, (uint8_t)sector);
    outb(IDE_LBA + 1, (uint8_t)(sector >> 8));
    outb(IDE_LBA + 2, (uint8_t)(sector >> 16));
    outb(IDE_COMMAND, number);
}

/* Eight bytes of each page, another eight of each: enough to tell that all came, and where to. */
static uint64_t disk_sum(void)
{
    uint64_t sum = 0;

    for (uint32_t page = 0; page < DISK_SIZE / 4096; page++)
        sum = mix(sum, *(const uint64_t *)(disk + page * 4096 + page % 512 * 8));
    return sum;
}

/* The bus master's registers of the IDE controller (SFF-8038i), which is found by its class. */
static uint16_t bus_master;
enum { BM_COMMAND = 0, BM_STATUS = 2, BM_TABLE = 4 };
enum { BM_START = 1, BM_TO_MEMORY = 8, BM_ERROR = 2, BM_INTERRUPT = 4 };

static uint32_t pci_address(unsigned function, uint8_t offset)
{
    return 0x80000000u | function << 8 | offset;
}

static uint32_t pci_read(unsigned function, uint8_t offset)
{
    outl(0xcf8, pci_address(function, offset));
    return inl(0xcfc);
}

static void dma_prepare(void)
{
    enum { COMMAND = 0x04, CLASS = 0x08, BAR4 = 0x20, MASS_STORAGE_IDE = 0x0101, IO_SPACE = 1, BUS_MASTER = 4 };

    interrupts_prepare();
    for (unsigned function = 0; function < 256; function++) {
        if (pci_read(function, CLASS) >> 16 != MASS_STORAGE_IDE)
            continue;
        bus_master = (uint16_t)(pci_read(function, BAR4) & ~3u);
        uint32_t enabled = (pci_read(function, COMMAND) & 0xffff) | IO_SPACE | BUS_MASTER;
        outl(0xcf8, pci_address(function, COMMAND));
        outl(0xcfc, enabled);
    }
    if (!bus_master)
        complain("there is no IDE controller with a bus master");
    outb(IDE_CONTROL, 0);
}

static uint64_t dma(uint64_t units)
{
    enum { AREA = 64 << 10, LAST = 0x80000000u };
    static uint32_t table[COMMAND_SIZE / AREA][2] __attribute__((aligned(COMMAND_SIZE / AREA * 8)));

    while (units--) {
        for (uint32_t at = 0; at < DISK_SIZE; at += COMMAND_SIZE) {
            for (size_t i = 0; i < SIZE(table); i++) {
                table[i][0] = (uint32_t)(disk + at + i * AREA);
                table[i][1] = i + 1 < SIZE(table) ? 0 : LAST; /* a count of 0: 64 KiB */
            }
            outl(bus_master + BM_TABLE, (uint32_t)table);
            outb(bus_master + BM_COMMAND, BM_TO_MEMORY);
            outb(bus_master + BM_STATUS, BM_ERROR | BM_INTERRUPT);
            unmask(1 << IRQ_IDE);
            command(at / SECTOR, READ_DMA);
            outb(bus_master + BM_COMMAND, BM_TO_MEMORY | BM_START);
            while (!(inb(bus_master + BM_STATUS) & BM_INTERRUPT))
                halt();
            uint8_t status = inb(bus_master + BM_STATUS);
            outb(bus_master + BM_COMMAND, 0);
            if (status & BM_ERROR || inb(IDE_STATUS) & (ERR | DF | BSY))
                complain("reading by DMA failed");
        }
    }
    return disk_sum();
}

static void pio_prepare(void)
{
    outb(IDE_CONTROL, NIEN);
}

static uint64_t pio(uint64_t units)
{
    while (units--) {
        uint8_t *to = disk;

        for (uint32_t sector = 0; sector < DISK_SIZE / SECTOR; sector++) {
            uint8_t status;

            if (sector % COMMAND_SECTORS == 0)
                command(sector, READ_SECTORS);
            while ((status = inb(IDE_ALTERNATE_STATUS)) & BSY)
                ;
            if ((status & (ERR | DF | DRQ)) != DRQ)
                complain("reading by PIO failed");
            inb(IDE_STATUS);
            uint32_t words = SECTOR / 2;
            __asm__ volatile("rep insw" : "+D"(to), "+c"(words) : "d"(IDE) : "memory");
        }
    }
    return disk_sum();
}

/* Other memory than what the disk is to bring. */
static void forget(void)
{
    for (uint32_t *at = (uint32_t *)disk; at < (uint32_t *)(disk + DISK_SIZE); at++)
        *at = 0x5a5a5a5a;
}

static void forget_and_prepare_dma(void)
{
    forget();
    dma_prepare();
}

static void forget_and_prepare_pio(void)
{
    forget();
    pio_prepare();
}

/* ---- scroll: a line of text after the other at the bottom of the VGA's 80 columns and 25 rows ---- */

enum { COLUMNS = 80, ROWS = 25, GREY = 0x0700 };

static volatile uint16_t *const screen = (volatile uint16_t *)0xb8000;

static void scroll_prepare(void)
{
    for (unsigned i = 0; i < COLUMNS * ROWS; i++)
        screen[i] = GREY | ' ';
    if (screen[0] != (GREY | ' '))
        complain("there is no text memory");
}

static uint64_t scroll(uint64_t units)
{
    uint64_t sum = 0;

    for (uint32_t line = 0; line < units; line++) {
        volatile void *from = screen + COLUMNS, *to = screen;
        uint32_t dwords = COLUMNS * (ROWS - 1) / 2;

        __asm__ volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(dwords) : : "memory");
        for (uint32_t column = 0; column < COLUMNS; column++)
            screen[COLUMNS * (ROWS - 1) + column] = (uint16_t)(GREY | (' ' + (line + column) % 95));
    }
    for (unsigned i = 0; i < COLUMNS * ROWS; i++)
        sum = mix(sum, screen[i]);
    return sum;
}

/* ---- The program ---- */

static const struct workload workloads[] = {
    {"dma", forget_and_prepare_dma, dma},
    {"pio", forget_and_prepare_pio, pio},
    {"scroll", scroll_prepare, scroll},
};

extern const char arguments[]; /* in the boot sector */

__attribute__((noreturn)) void program(void)
{
    struct line line = {.used = 0};

    interrupts_prepare();
    put_string(&line, "@perf ready");
    print(&line);
    for (const char *at = arguments; *at;) {
        if (*at == ' ') {
            at++;
            continue;
        }
        if (!run_argument(at, workloads, SIZE(workloads), &line))
            stop();
        while (*at && *at != ' ')
            at++;
    }
    put_string(&line, "@perf done");
    print(&line);
    stop();
}
