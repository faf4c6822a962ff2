/* Single instructions of real-mode code with all of memory as RAM: reads a struct machine_config, then cases, answers
 * with the state after each. Numbers are little-endian and 32 bits wide.
 *
 *     case: flags (1: addresses wrap at 1 MiB, 2: repeat until IP moves), 14 registers, count, count pairs (address, byte),
 *           count of addresses asked for, addresses
 *     answer: 14 registers, vector (FFh: none), the bytes asked for, one a word */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "processor/arena.h"
#include "processor/events.h"
#include "processor/run.h"

#define MEMORY (16u << 20)
#define MEGABYTE (1u << 20)
#define WRAPPED 0x10000u /* beyond 1 MiB, what FFFFh:FFFFh can reach */
#define WRAPS 1u
#define REPEATS 2u
#define LONGEST 0x20000 /* iterations */
#define NO_VECTOR 0xffu

/* In the data sets' order: AX BX CX DX CS SS DS ES SP BP SI DI IP FLAGS. */
enum { R_CS = 4, R_SS, R_DS, R_ES, R_IP = 12, R_FLAGS, R_COUNT };
static const uint8_t gpr_of[12] = {RAX, RBX, RCX, RDX, 0, 0, 0, 0, RSP, RBP, RSI, RDI};
static const uint8_t segment_of[4] = {CS, SS, DS, ES};

static struct arena *arena;
static struct processor *cpu;
static bool wrapping;

static bool take(void *to, size_t size)
{
    return fread(to, size, 1, stdin) == 1;
}

static uint32_t take32(void)
{
    uint32_t value;
    if (!take(&value, sizeof value)) {
        fprintf(stderr, "realmode: standard input is too short\n");
        exit(2);
    }
    return value;
}

static void give32(uint32_t value)
{
    if (fwrite(&value, sizeof value, 1, stdout) != 1)
        exit(3);
}

static void *must_map(void *at, size_t size, int file)
{
    void *got = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0);
    if (got == MAP_FAILED) {
        perror("realmode: mmap");
        exit(3);
    }
    return got;
}

/* The first 64 KiB once more behind 1 MiB, as a processor with 20 address lines has them. */
static void set_wrapping(bool wrap)
{
    static int file = -1;
    if (wrap == wrapping)
        return;
    if (file < 0 && ((file = memfd_create("realmode", MFD_CLOEXEC)) < 0 || ftruncate(file, MEMORY) != 0))
        exit(3);
    must_map(arena->memory, MEMORY, file);
    if (wrap)
        must_map(arena->memory + MEGABYTE, WRAPPED, file);
    wrapping = wrap;
}

static void load(void)
{
    struct vcpu_state *s = &cpu->s;
    for (unsigned i = 0; i < R_COUNT; i++) {
        uint16_t value = take32();
        if (i >= R_CS && i <= R_ES)
            s->seg[segment_of[i - R_CS]] = (struct vcpu_segment){
                .selector = value, .base = (uint32_t)value << 4, .limit = 0xffff, .access = i == R_CS ? 0x9b : 0x93};
        else if (i == R_IP)
            s->rip = value;
        else if (i == R_FLAGS)
            rflags_write(cpu, (value & 0xed5) | RFLAGS_FIXED); /* neither TF nor the upper four */
        else
            s->registers.gpr[gpr_of[i]] = value;
    }
    s->activity = ACTIVE;
    s->interruptibility = 0;
    s->pending_debug = 0;
    cpu->leave = LEAVE_NONE;
    cpu->delivering_valid = false;
}

/* The vector of the exception that it raised, which is delivered. */
static uint32_t step(uint32_t flags)
{
    uint64_t rip = cpu->s.rip;
    uint16_t cs = cpu->s.seg[CS].selector;
    for (unsigned n = 0; n < LONGEST; n++) {
        enum leave why = cpu_run_one(cpu);
        if (why == LEAVE_EXCEPTION) {
            struct event fault = cpu->fault;
            cpu_deliver_first(cpu, &fault);
            cpu_run(cpu, cpu->s.count);
            return fault.vector;
        }
        if (why != LEAVE_BUDGET || !(flags & REPEATS) || cpu->s.rip != rip || cpu->s.seg[CS].selector != cs)
            break;
    }
    return NO_VECTOR;
}

static void store(uint32_t vector)
{
    const struct vcpu_state *s = &cpu->s;
    for (unsigned i = 0; i < R_COUNT; i++)
        give32(i >= R_CS && i <= R_ES ? s->seg[segment_of[i - R_CS]].selector
               : i == R_IP            ? s->rip & 0xffff
               : i == R_FLAGS         ? rflags_read(cpu) & 0xffff
                                      : s->registers.gpr[gpr_of[i]] & 0xffff);
    give32(vector);
}

/* Ports answer as nothing does. */
static uint32_t port_in(void *context, uint16_t port, unsigned size)
{
    (void)context, (void)port, (void)size;
    return 0xffffffff;
}
static void port_out(void *context, uint16_t port, uint32_t value, unsigned size)
{
    (void)context, (void)port, (void)value, (void)size;
}

int main(void)
{
    static struct machine_config config;
    static uint32_t addresses[1 << 16];
    static const struct emulate_bus bus = {.in = port_in, .out = port_out};
    uint32_t flags;
    if (!take(&config, sizeof config) || !(arena = arena_create(MEMORY)) || !(cpu = processor_create(arena, &config, 0)))
        return 3;
    cpu->s.idt_limit = 0x3ff;
    cpu->s.cr0 = CR0_ET;
    cpu->bus = &bus;
    cpu_update(cpu);
    while (take(&flags, sizeof flags)) {
        set_wrapping(flags & WRAPS);
        load();
        unsigned count = take32(), asked;
        for (unsigned i = 0; i < count; i++) {
            uint32_t address = take32(), byte = take32();
            *arena_at(arena, address & (MEMORY - 1), 1) = byte;
        }
        asked = take32();
        if (asked > sizeof addresses / sizeof *addresses)
            return 2;
        for (unsigned i = 0; i < asked; i++)
            addresses[i] = take32();
        cpu_update(cpu);
        store(step(flags));
        for (unsigned i = 0; i < asked; i++)
            give32(*arena_at(arena, addresses[i] & (MEMORY - 1), 1));
    }
    fflush(stdout);
    return 0;
}
