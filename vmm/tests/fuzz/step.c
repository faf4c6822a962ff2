/* The processor on any code and registers, in every mode: it stops when it is told, keeps its count, touches nothing
 * outside of its memory.
 *
 * Input: a mode (1 byte), flags of the state (1 byte), 16 general registers of 2 bytes each, then code. */
#include <string.h>

#include "fuzz.h"
#include "processor/arena.h"
#include "processor/mmu.h"
#include "processor/run.h"
#include "processor/segment.h"
#include "processor/trace.h"

#define MEMORY (2u << 20)
#define GDT 0x1000
#define IDT 0x2000
#define TSS 0x3000
#define TABLES 0x10000 /* three pages of page tables */
#define HALTS 0x6000 /* what every vector leads to */
#define CODE 0x8000
#define STACK 0xb000
#define INSTRUCTIONS 200

enum mode { REAL, PROTECTED16, PROTECTED32, PAGED32, V86, LONG64, COMPATIBILITY, USER64, MODES };
enum state { STEPPING = 1, WATCHED = 2, X87_UNMASKED = 4, SSE_UNMASKED = 8, ALIGNED = 16, NO_FPU = 32, KEYS = 64 };

static struct arena *arena;
static struct processor *cpu;
static uint8_t *image; /* of the memory before each input */

static void put(uint64_t at, uint64_t value, unsigned size)
{
    memcpy(image + at, &value, size);
}

static uint64_t segment_descriptor(uint32_t access)
{
    return 0xffffull | (uint64_t)(access & 0xff) << 40 | 0xfull << 48 | (uint64_t)(access >> 12 & 0xf) << 52;
}

static void make_image(void)
{
    static const uint32_t access[] = {0, 0xc09b, 0xc093, 0xa09b, 0xc0f3, 0xa0fb, 0x009b, 0x0093};
    for (unsigned i = 0; i < sizeof access / sizeof *access; i++)
        put(GDT + 8 * i, i ? segment_descriptor(access[i]) : 0, 8);
    for (unsigned i = 0; i < 256; i++) {
        put(4 * i, HALTS + 16 * i, 4); /* real mode */
        put(IDT + 16 * i, (HALTS + 16 * i) | 0x18ull << 16 | 0x8eull << 40, 8);
        image[HALTS + 16 * i] = 0xf4;
    }
    put(TSS + 4, STACK, 8);
    put(TABLES, (TABLES + 0x1000) | 7, 8);
    put(TABLES + 0x1000, (TABLES + 0x2000) | 7, 8);
    put(TABLES + 0x2000, 0x87, 8); /* 2 MiB */
    put(TABLES + 0x3000, 0x87, 4); /* 4 MiB, 32-bit paging */
}

/* ---- devices: answer anything ---- */

static void bus_read(void *context, uint64_t gpa, void *data, unsigned size)
{
    (void)context;
    memset(data, (int)gpa, size);
}
static void bus_write(void *context, uint64_t gpa, const void *data, unsigned size)
{
    (void)context, (void)gpa, (void)data, (void)size;
}
static uint32_t bus_in(void *context, uint16_t port, unsigned size)
{
    (void)context, (void)size;
    return port * 0x01010101u;
}
static void bus_out(void *context, uint16_t port, uint32_t value, unsigned size)
{
    (void)context, (void)port, (void)value, (void)size;
}
static const struct emulate_bus bus = {NULL, bus_read, bus_write, bus_in, bus_out};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    struct machine_config config = read_configuration();
    config.accel = ACCEL_BARE;
    config.memory_bytes = MEMORY;
    arena = arena_create(MEMORY);
    cpu = processor_create(arena, &config, 0);
    image = calloc(1, MEMORY);
    DEMAND(arena && cpu && image, "memory");
    make_image();
    return 0;
}

/* ---- the state before ---- */

static void set_segment(unsigned n, uint16_t selector, uint32_t base, uint32_t limit, uint32_t access)
{
    cpu->s.seg[n] = (struct vcpu_segment){.base = base, .limit = limit, .access = access, .selector = selector};
}

static void set_segments(enum mode mode)
{
    bool user = mode == USER64 || mode == V86, wide = mode == LONG64 || mode == USER64;
    uint32_t flat = 0xffffffff;
    for (unsigned n = ES; n <= GS; n++) {
        if (mode == REAL)
            set_segment(n, 0, 0, 0xffff, 0x93);
        else if (mode == V86)
            set_segment(n, 0, 0, 0xffff, 0xf3);
        else if (mode == PROTECTED16)
            set_segment(n, 0x38, 0, 0xffff, 0x93);
        else
            set_segment(n, user ? 0x23 : 0x10, 0, flat, user ? 0xc0f3 : 0xc093);
    }
    if (wide)
        set_segment(CS, user ? 0x2b : 0x18, 0, flat, user ? 0xa0fb : 0xa09b);
    else if (mode == PROTECTED16)
        set_segment(CS, 0x30, 0, 0xffff, 0x9b);
    else if (mode != REAL && mode != V86)
        set_segment(CS, 0x08, 0, flat, 0xc09b);
    set_segment(TR, 0x20, TSS, 0x67, 0x8b);
    cpu->s.cpl = user ? 3 : 0;
}

static void set_state(enum mode mode, unsigned flags, const uint8_t *registers)
{
    struct vcpu_state *s = &cpu->s;
    bool wide = mode >= LONG64, paged = wide || mode == PAGED32;
    for (unsigned i = 0; i < 16; i++) {
        uint16_t value;
        memcpy(&value, registers + 2 * i, 2);
        s->registers.gpr[i] = value & 1 ? (uint64_t)(int64_t)(int16_t)value : value; /* far away, or in memory */
    }
    s->registers.gpr[RSP] = STACK;
    s->rip = CODE;
    s->gdt_base = GDT, s->gdt_limit = 0x3f;
    s->idt_base = mode == REAL ? 0 : IDT, s->idt_limit = mode == REAL ? 0x3ff : 0xfff;
    s->cr0 = CR0_ET | CR0_NE | (mode == REAL ? 0 : CR0_PE) | (paged ? CR0_PG | CR0_WP : 0);
    s->cr0 |= (flags & ALIGNED ? CR0_AM : 0) | (flags & NO_FPU ? CR0_TS : 0);
    s->cr3 = mode == PAGED32 ? TABLES + 0x3000 : TABLES;
    s->cr4 = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_DE | CR4_VME | (wide ? CR4_PAE : CR4_PSE);
    s->cr4 |= flags & KEYS && wide ? CR4_PKE | CR4_PCIDE | CR4_FSGSBASE : 0;
    s->efer = EFER_SCE | (wide ? EFER_LME | EFER_LMA : 0);
    s->registers.xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    s->registers.fpu.fcw = flags & X87_UNMASKED ? 0x340 : 0x37f;
    s->registers.fpu.ftw = 0;
    s->registers.fpu.mxcsr = flags & SSE_UNMASKED ? 0 : 0x1f80;
    if (flags & WATCHED) {
        s->registers.dr[0] = CODE + 3, s->registers.dr[1] = STACK - 8;
        s->dr7 = 0x400 | 1 | 4 | 3 << 20 | 2 << 22;
    }
    set_segments(mode);
    rflags_write(cpu, 2 | (mode == V86 ? RFLAGS_VM : 0) | (flags & STEPPING ? RFLAGS_TF : 0) |
                          (flags & ALIGNED ? RFLAGS_AC : 0));
    cpu_update(cpu);
}

/* ---- running ---- */

static void run(void)
{
    uint64_t target = cpu->s.count + INSTRUCTIONS;
    for (unsigned turns = 0; turns < 4 * INSTRUCTIONS && cpu->s.count < target; turns++) {
        uint64_t before = cpu->s.count;
        enum leave why = cpu_run(cpu, target);
        DEMAND(cpu->s.count >= before && cpu->s.count <= target, "from %llu to %llu", (unsigned long long)before,
               (unsigned long long)cpu->s.count);
        DEMAND(why != LEAVE_BUDGET || cpu->s.count == target, "a budget that is not spent");
        DEMAND(why != LEAVE_NONE && why != LEAVE_EXCEPTION && why != LEAVE_VM_EXIT && why != LEAVE_REFUSED, "%d", why);
        if (why == LEAVE_BUS && !cpu->delivering_valid) {
            cpu->bus = &bus;
            before = cpu->s.count;
            why = cpu_run_one(cpu);
            cpu->bus = NULL;
            DEMAND(cpu->s.count == before + (why == LEAVE_BUDGET || why == LEAVE_HALT), "a device access counts once");
            if (why == LEAVE_EXCEPTION) {
                struct event event = cpu->fault;
                cpu_deliver_first(cpu, &event);
            }
        } else if (why != LEAVE_KICK) {
            return;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 35 || size > 34 + 512)
        return -1;
    uint64_t count = cpu->s.count;
    cpu_reset(cpu);
    cpu->s.count = count;
    trace_flush(cpu->arena);
    memcpy(arena_at(arena, 0, MEMORY), image, MEMORY);
    memcpy(arena_at(arena, CODE, size - 34), data + 34, size - 34);
    cpu->leave = LEAVE_NONE;
    set_state(data[0] % MODES, data[1], data + 2);
    mmu_flush_all(cpu);
    run();
    return 0;
}
