/* The interpreter's side: a processor with the host's segments, page tables that map what the host's process maps, and
 * one call of cpu_run_one for each case. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "processor/run.h"
#include "processor/decode.h"
#include "processor/segment.h"

#include "layout.h"

#define ARENA_BYTES (2u << 20)
#define FILE_PHYSICAL GUEST_CODE_PHYSICAL
#define TABLES_PHYSICAL 0x10000u
#define SYSTEM_PHYSICAL 0x4000u
#define SYSTEM_LINEAR 0xffff800000000000 /* supervisor pages: */
#define GDT_OFFSET 0x0000u
#define LDT_OFFSET 0x0800u
#define IDT_OFFSET 0x1000u
#define TSS_OFFSET 0x2000u
#define STACK_TOP_OFFSET 0x3000u
#define SYSTEM_PAGES 3u
#define ENTRY_POINTS 0x30000000u /* entry point of vector n: ENTRY_POINTS + 16 n; nothing is there */
#define KERNEL_CS 0x10u
#define TSS_SELECTOR 0x40u
#define LDT_SELECTOR 0x50u
#define GDT_BYTES 0x80u
#define CPUID_AVX (1u << 28)
#define CPUID_LA57 (1u << 16)

#define ENTERED_FLAGS 0x40dd5u /* as in host.c */

const struct ldt_row ldt_rows[LDT_ROWS] = {
    [LDT_CODE16] = {CODE_LINEAR, 0xffff, .contents = 2},
    [LDT_CODE32] = {CODE_LINEAR, 0xffff, .wide = 1, .contents = 2},
#define TERRAIN_ROWS(n)                                                                                                \
    [LDT_DATA16 + n] = {TERRAIN_LINEAR(n), 0xffff}, [LDT_DATA32 + n] = {TERRAIN_LINEAR(n), 0x80ff, .wide = 1}
    TERRAIN_ROWS(0), TERRAIN_ROWS(1), TERRAIN_ROWS(2),
    [LDT_DOWN16] = {TERRAIN_LINEAR(0), 0x7dff, .contents = 1},
    [LDT_DOWN32] = {TERRAIN_LINEAR(0), 0x7eff, .wide = 1, .contents = 1},
    [LDT_READ_ONLY] = {TERRAIN_LINEAR(0), 0xffff, .wide = 1, .read_only = 1},
    [LDT_EXECUTE_ONLY] = {CODE_LINEAR, 0xffff, .wide = 1, .contents = 2, .read_only = 1},
    [LDT_ABSENT] = {TERRAIN_LINEAR(0), 0xffff, .wide = 1, .absent = 1},
};

static struct processor *cpu;
static struct arena *arena;
static uint8_t *physical;
static uint32_t tables_end = TABLES_PHYSICAL;
static unsigned linear_bits = 48; /* as the host's */

uint8_t *guest_memory(void)
{
    return physical + FILE_PHYSICAL;
}

struct processor *guest_processor(void)
{
    return cpu;
}

void guest_clear(void)
{
    memset(guest_memory(), 0, FILE_BYTES);
    memset(guest_memory(), 0xcc, CODE_PAGES * PAGE);
}

/* ---- set-up ---- */

static uint64_t *entry_of(uint64_t linear)
{
    uint32_t table = TABLES_PHYSICAL;
    for (unsigned shift = linear_bits - 9; shift > 12; shift -= 9) {
        uint64_t *entry = (uint64_t *)(physical + table) + (linear >> shift & 511);
        if (!*entry) {
            *entry = tables_end | 0x67;
            tables_end += PAGE;
        }
        table = *entry & ~0xfffu;
    }
    return (uint64_t *)(physical + table) + (linear >> 12 & 511);
}

static void map(uint64_t linear, uint64_t pa, bool user, bool write, bool execute)
{
    *entry_of(linear) = pa | 0x61 | (user ? 4 : 0) | (write ? 2 : 0) | (execute ? 0 : 1ull << 63);
}

static void map_all(void)
{
    tables_end += PAGE;
    for (unsigned i = 0; i < CODE_PAGES; i++)
        map(CODE_LINEAR + i * PAGE, FILE_PHYSICAL + i * PAGE, true, false, true);
    for (unsigned n = 0; n < ORACLE_TERRAINS; n++) {
        uint64_t linear = TERRAIN_LINEAR(n) + TERRAIN_PAGE, pa = FILE_PHYSICAL + TERRAIN_FILE(n);
        map(linear, pa, true, true, false);
        if (n != TERRAIN_ABSENT)
            map(linear + PAGE, pa + PAGE, true, n != TERRAIN_READ_ONLY, false);
    }
    for (unsigned i = 0; i < SYSTEM_PAGES; i++)
        map(SYSTEM_LINEAR + i * PAGE, SYSTEM_PHYSICAL + i * PAGE, false, true, false);
}

static uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t access)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)(access & 0xff) << 40 |
           (uint64_t)(limit >> 16) << 48 | (uint64_t)(access >> 12 & 15) << 52 | (uint64_t)(base >> 24) << 56;
}

/* The type as modify_ldt makes it. */
static uint64_t ldt_descriptor(const struct ldt_row *row)
{
    uint32_t access = 0x71 | (row->read_only ? 0 : 2) | row->contents << 2 | (row->absent ? 0 : AR_P) | AR_AVL |
                      (row->wide ? AR_DB : 0) | (row->pages ? AR_G : 0);
    return descriptor(row->base, row->limit, access);
}

static void make_tables(void)
{
    static const uint64_t gdt[7] = {0, 0x00cf9b000000ffff, 0x00af9b000000ffff, 0x00cf93000000ffff,
                                    0x00cffb000000ffff, 0x00cff3000000ffff, 0x00affb000000ffff};
    uint8_t *system = physical + SYSTEM_PHYSICAL;
    uint64_t *table = (uint64_t *)(system + GDT_OFFSET);
    memcpy(table, gdt, sizeof gdt);
    table[TSS_SELECTOR / 8] = descriptor(0, 0x67, 0x8b); /* nobody loads these two */
    table[LDT_SELECTOR / 8] = descriptor(0, LDT_ROWS * 8 - 1, 0x82);
    table = (uint64_t *)(system + LDT_OFFSET);
    for (unsigned i = 0; i < LDT_ROWS; i++)
        table[i] = ldt_descriptor(&ldt_rows[i]);
    table = (uint64_t *)(system + IDT_OFFSET);
    for (unsigned i = 0; i < 256; i++) {
        uint64_t at = ENTRY_POINTS + 16 * i;
        bool open = i == 3 || i == 4 || i == 0x80; /* as Linux has it */
        table[2 * i] = (at & 0xffff) | KERNEL_CS << 16 | (open ? 0xeeull : 0x8eull) << 40 | (at & 0xffff0000) << 32;
    }
    uint64_t stack = SYSTEM_LINEAR + STACK_TOP_OFFSET;
    memcpy(system + TSS_OFFSET + 4, &stack, sizeof stack);
    system[TSS_OFFSET + 102] = 0x68; /* no I/O permission bitmap */
}

bool guest_start(const struct machine_config *config, char *why, size_t size)
{
    arena = arena_create(ARENA_BYTES);
    cpu = arena ? processor_create(arena, config, 0) : NULL;
    if (!cpu) {
        snprintf(why, size, "no processor");
        return false;
    }
    physical = arena_at(arena, 0, ARENA_BYTES);
    for (unsigned i = 0; i < config->cpuid_count; i++)
        if (config->cpuid[i].leaf == 1)
            with_avx = config->cpuid[i].ecx & CPUID_AVX;
        else if (config->cpuid[i].leaf == 7 && config->cpuid[i].ecx & CPUID_LA57)
            linear_bits = 57;
    map_all();
    make_tables();
    guest_clear();

    struct vcpu_state *s = &cpu->s;
    s->cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_PG;
    s->cr3 = TABLES_PHYSICAL;
    s->cr4 = CR4_PAE | CR4_DE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE;
    s->cr4 |= linear_bits == 57 ? CR4_LA57 : 0;
    s->efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
    s->registers.xcr0 = with_avx ? 7 : 3;
    s->gdt_base = SYSTEM_LINEAR + GDT_OFFSET;
    s->gdt_limit = GDT_BYTES - 1;
    s->idt_base = SYSTEM_LINEAR + IDT_OFFSET;
    s->idt_limit = 0xfff;
    s->seg[LDTR] = (struct vcpu_segment){SYSTEM_LINEAR + LDT_OFFSET, LDT_ROWS * 8 - 1, 0x82, LDT_SELECTOR};
    s->seg[TR] = (struct vcpu_segment){SYSTEM_LINEAR + TSS_OFFSET, 0x67, 0x8b, TSS_SELECTOR};
    return true;
}

uint32_t guest_decode_mode(unsigned mode)
{
    static const uint32_t bits[3] = {MODE_CODE16, MODE_CODE32 | MODE_STACK32 | MODE_FLAT, MODE_CODE64};
    return bits[mode] | MODE_USER | MODE_UNPRIVILEGED;
}

/* ---- a case ---- */

static void set_segment(unsigned n, uint16_t selector)
{
    struct descriptor d = {0};
    const uint8_t *table = physical + SYSTEM_PHYSICAL + (selector & 4 ? LDT_OFFSET : GDT_OFFSET);
    if (selector <= 3) {
        cpu->s.seg[n] = (struct vcpu_segment){.access = AR_UNUSABLE, .selector = selector};
        return;
    }
    memcpy(&d.low, table + (selector & ~7u), 8);
    cpu->s.seg[n] = descriptor_segment(selector, &d);
}

void guest_load(const struct oracle_case *test)
{
    const struct oracle_state *from = &test->state;
    struct vcpu_state *s = &cpu->s;
    memcpy(guest_memory() + (from->rip & 0xffff), test->code, sizeof test->code);
    memcpy(guest_memory() + TERRAIN_FILE(test->terrain) + WINDOW_OFFSET - TERRAIN_PAGE, from->window, ORACLE_WINDOW);
    memcpy(s->registers.gpr, from->gpr, sizeof s->registers.gpr);
    memcpy(&s->registers.fpu, from->fx, 416);
    memcpy(s->registers.ymm_high, from->ymm, sizeof s->registers.ymm_high);
    s->rip = from->rip;
    rflags_write(cpu, (from->rflags & ENTERED_FLAGS) | RFLAGS_TF | RFLAGS_IF | RFLAGS_FIXED);
    for (unsigned i = ES; i <= GS; i++)
        set_segment(i, from->selector[i]);
    if (test->mode == ORACLE_64) {
        s->seg[FS].base = from->fs_base;
        s->seg[GS].base = from->gs_base;
    }
    s->cpl = 3;
    s->activity = ACTIVE;
    s->interruptibility = 0;
    s->pending_debug = 0;
    cpu->leave = LEAVE_NONE;
    cpu->delivering_valid = false;
    cpu_update(cpu);
}

static void store(const struct oracle_case *test, struct oracle_result *result)
{
    struct oracle_state *to = &result->state;
    struct vcpu_state *s = &cpu->s;
    memcpy(to->gpr, s->registers.gpr, sizeof to->gpr);
    to->rip = s->rip;
    to->rflags = rflags_read(cpu);
    for (unsigned i = ES; i <= GS; i++)
        to->selector[i] = s->seg[i].selector;
    to->fs_base = s->seg[FS].base;
    to->gs_base = s->seg[GS].base;
    memcpy(to->fx, &s->registers.fpu, sizeof to->fx);
    memcpy(to->ymm, s->registers.ymm_high, sizeof to->ymm);
    memcpy(to->window, guest_memory() + TERRAIN_FILE(test->terrain) + WINDOW_OFFSET - TERRAIN_PAGE, ORACLE_WINDOW);
    memset(guest_memory() + (test->state.rip & 0xffff), 0xcc, sizeof test->code);
}

/* INT3, INTO, INT1 and INT went through the IDT: back to the interrupted code, with the vector as the exception. */
static void come_back(struct oracle_result *result)
{
    struct vcpu_state *s = &cpu->s;
    const uint64_t *frame = (const uint64_t *)(physical + SYSTEM_PHYSICAL + STACK_TOP_OFFSET) - 5;
    result->vector = (s->rip - ENTRY_POINTS) / 16;
    s->rip = frame[0];
    s->seg[CS].selector = frame[1];
    rflags_write(cpu, frame[2]);
    s->registers.gpr[RSP] = frame[3];
    s->seg[SS].selector = frame[4];
    if (result->vector == VECTOR_DB)
        result->vector = ORACLE_DONE; /* the host cannot tell it from the single step */
}

void guest_go(const struct oracle_case *test, struct oracle_result *result)
{
    enum leave why = cpu_run_one(cpu);
    if (why == LEAVE_BUDGET && cpu->s.interruptibility & BLOCKING_BY_MOV_SS)
        why = cpu_run_one(cpu); /* the single step comes after the next instruction */
    result->error = 0;
    result->cr2 = 0;
    if (why == LEAVE_BUDGET) {
        result->vector = ORACLE_DONE;
        if (cpu->s.cpl != 3)
            come_back(result);
    } else if (why == LEAVE_EXCEPTION) {
        result->vector = cpu->fault.vector;
        result->error = cpu->fault.has_error ? cpu->fault.error : 0;
        result->cr2 = cpu->fault.cr2;
    } else {
        result->vector = ORACLE_LEFT;
        result->error = why;
    }
    store(test, result);
}

void guest_run(const struct oracle_case *test, struct oracle_result *result)
{
    guest_load(test);
    guest_go(test, result);
}
