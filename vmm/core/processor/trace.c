#include "trace.h"

#include "breakpoint.h"
#include "integer.h"
#include "memory.h"
#include "mmu.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CACHE_BYTES (32u << 20) /* address space; pages are touched as the cache fills */
#define BUCKETS (1u << 15)
#define TRACE_BYTES(ops) (sizeof(struct trace) + (ops) * sizeof(struct op))
#define CONDITIONALS 3 /* a trace goes on behind so many conditional branches: the fall-through is the likely way */

struct trace_cache {
    uint8_t *memory;
    size_t used;
    struct trace *bucket[BUCKETS];
};

struct trace_cache *trace_cache_create(void)
{
    struct trace_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return NULL;
    cache->memory = mmap(NULL, CACHE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (cache->memory == MAP_FAILED) {
        free(cache);
        return NULL;
    }
    return cache;
}

void trace_cache_destroy(struct trace_cache *cache)
{
    if (!cache)
        return;
    munmap(cache->memory, CACHE_BYTES);
    free(cache);
}

struct trace *trace_limited_create(void)
{
    struct trace *trace = aligned_alloc(_Alignof(struct trace), TRACE_BYTES(TRACE_OPS + 1));
    if (trace)
        memset(trace, 0, TRACE_BYTES(TRACE_OPS + 1));
    return trace;
}

void trace_flush(struct arena *arena)
{
    struct trace_cache *cache = arena->traces;
    memset(cache->bucket, 0, sizeof cache->bucket);
    cache->used = 0;
    for (struct processor *cpu = arena->processors; cpu; cpu = cpu->next)
        memset(cpu->jump, 0, sizeof cpu->jump);
    for (uint64_t i = 0; i < arena->size >> PAGE_BITS; i++) {
        if (!arena->pages[i].code)
            continue; /* not written: most of them never were */
        arena->pages[i].traces = NULL;
        arena->pages[i].code = 0;
    }
}

static struct trace *limited_of(const struct processor *cpu)
{
    return cpu->limited;
}

bool trace_is_limited(const struct processor *cpu, const struct op *op)
{
    return trace_of(op) == limited_of(cpu);
}

bool trace_is_alone(const struct processor *cpu, const struct op *op)
{
    return trace_is_limited(cpu, op) && limited_of(cpu)->count == 1;
}

unsigned cpu_last_length(const struct processor *cpu)
{
    return limited_of(cpu)->op[0].length;
}

/* ---- decoding ---- */

uint64_t trace_linear_rip(const struct processor *cpu)
{
    return code64(cpu) ? cpu->s.rip : (uint32_t)(cpu->s.seg[CS].base + cpu->s.rip);
}

/* Bytes from RIP to the end of CS; raises #GP(0) beyond it. */
static uint64_t bytes_to_limit(struct processor *cpu)
{
    if (cpu->mode & (MODE_CODE64 | MODE_FLAT))
        return ~0ull;
    if (cpu->s.rip > cpu->s.seg[CS].limit)
        raise_gp(cpu, NULL, 0);
    return (uint64_t)cpu->s.seg[CS].limit - cpu->s.rip + 1;
}

/* Appends the operation that leads on to what follows. */
static void finish(struct trace *trace, unsigned count, unsigned bytes)
{
    trace->count = count;
    trace->ops = count + 1;
    trace->bytes = bytes;
    handler end = trace->mode & (MODE_CODE64 | MODE_FLAT) ? op_trace_end : op_trace_end_legacy;
    trace->op[count] = (struct op){.fn = end, .disp = bytes, .offset = bytes, .number = count, .seg = SEG_LINK};
    trace->links = 1ull << count;
    for (unsigned i = 0; i < count; i++) {
        if (trace->op[i].seg != SEG_LINK)
            continue;
        trace->op[i].dst = count - 1 - i;
        trace->links |= (uint64_t)!trace->op[i].imm << i; /* a branch over 2 GiB has its distance there */
    }
}

/* Decodes what lies wholly within `size` bytes; false when not even the first instruction does. */
static bool decode_run(struct processor *cpu, struct trace *trace, const uint8_t *bytes, uint64_t size, unsigned most)
{
    unsigned at = 0, count = 0, conditionals = 0;
    bool ends = false;
    while (count < most && !ends && at < size) {
        struct op *op = &trace->op[count];
        *op = (struct op){.offset = at, .number = count};
        unsigned limit = size - at < 15 ? size - at : 15;
        if (!decode_instruction(cpu, cpu->mode, bytes + at, limit, op, &ends))
            break;
        at += op->length;
        count++;
        if (op->seg == SEG_LINK && ++conditionals == CONDITIONALS)
            break;
    }
    finish(trace, count, at);
    return count;
}

/* The bytes of one instruction that is not all in one page of RAM, or not in RAM. Fetching what follows the instruction
 * must not fault, so the second page is asked for only when the first does not suffice. */
static void decode_across(struct processor *cpu, struct trace *trace, uint64_t linear, uint64_t pa, uint64_t to_limit)
{
    uint8_t bytes[15];
    unsigned first = 0x1000 - (pa & 0xfff) < 15 ? 0x1000 - (pa & 0xfff) : 15;
    if (to_limit < first)
        first = to_limit;
    physical_read(cpu, NULL, pa, bytes, first);
    if (decode_run(cpu, trace, bytes, first, 1))
        return;
    if (to_limit <= first)
        raise_gp(cpu, NULL, 0);
    unsigned rest = to_limit < 15 ? to_limit - first : 15 - first;
    uint64_t next = linear + first;
    trace->pa2 = mmu_fetch(cpu, code64(cpu) ? next : (uint32_t)next);
    physical_read(cpu, NULL, trace->pa2, bytes + first, rest);
    if (!decode_run(cpu, trace, bytes, first + rest, 1))
        raise_gp(cpu, NULL, 0); /* runs over the limit */
}

struct trace *trace_limited(struct processor *cpu, unsigned instructions)
{
    struct trace *trace = limited_of(cpu);
    uint64_t to_limit = bytes_to_limit(cpu), linear = trace_linear_rip(cpu), pa = mmu_fetch(cpu, linear);
    uint64_t size = 0x1000 - (pa & 0xfff) < to_limit ? 0x1000 - (pa & 0xfff) : to_limit;
    trace->pa = pa;
    trace->pa2 = NO_PAGE;
    trace->mode = cpu->mode;
    if (cpu->emulating || !arena_page(cpu->arena, pa) ||
        !decode_run(cpu, trace, cpu->arena->memory + pa, size, instructions < TRACE_OPS ? instructions : TRACE_OPS))
        decode_across(cpu, trace, linear, pa, to_limit);
    return trace;
}

/* ---- finding ---- */

static unsigned bucket_of(uint64_t pa, uint32_t mode)
{
    return (pa ^ pa >> 15 ^ mode * 0x9e5) & (BUCKETS - 1);
}

static bool same_second_page(struct processor *cpu, const struct trace *trace, uint64_t linear)
{
    if (trace->pa2 == NO_PAGE)
        return true;
    uint64_t next = (linear | 0xfff) + 1;
    return mmu_fetch(cpu, code64(cpu) ? next : (uint32_t)next) == trace->pa2;
}

static struct trace *look_up(struct processor *cpu, uint64_t pa, uint64_t linear)
{
    for (struct trace **link = &cpu->arena->traces->bucket[bucket_of(pa, cpu->mode)]; *link;) {
        struct trace *trace = *link;
        if (trace->op[0].fn == op_stale) {
            *link = trace->hash_next;
            continue;
        }
        if (trace->pa == pa && trace->mode == cpu->mode && same_second_page(cpu, trace, linear))
            return trace;
        link = &trace->hash_next;
    }
    return NULL;
}

/* Does all of the trace lie within CS's limit? */
bool trace_within_limit(const struct processor *cpu, const struct trace *trace)
{
    return cpu->mode & (MODE_CODE64 | MODE_FLAT) || cpu->s.rip + trace->bytes - 1 <= cpu->s.seg[CS].limit;
}

/* The jump cache's entry for RIP, and in `key` what its `rip` is then. */
static struct jump_entry *jump_entry(struct processor *cpu, uint64_t *key, uint64_t *tag)
{
    bool by_rip = cpu->linear_tag == JUMP_NEVER;
    *key = by_rip ? cpu->s.rip : trace_linear_rip(cpu);
    *tag = by_rip ? cpu->jump_tag : cpu->linear_tag;
    return &cpu->jump[jump_hash(*key)];
}

/* The trace at RIP by the jump cache, or NULL. */
static struct trace *look_up_jump(struct processor *cpu)
{
    uint64_t key, tag;
    const struct jump_entry *jump = jump_entry(cpu, &key, &tag);
    if (jump->rip != key || jump->tag != tag || jump->trace->op[0].fn == op_stale ||
        !trace_within_limit(cpu, jump->trace))
        return NULL;
    return jump->trace;
}

static void note_jump(struct processor *cpu, struct trace *trace)
{
    uint64_t key, tag;
    struct jump_entry *jump = jump_entry(cpu, &key, &tag);
    if (tag != JUMP_NEVER)
        *jump = (struct jump_entry){key, tag, trace};
}

static void enter_page(struct processor *cpu, struct trace *trace, uint64_t pa, unsigned size, unsigned which)
{
    struct page *page = arena_page(cpu->arena, pa);
    if (!page->code)
        memset(&cpu->arena->code[(pa & ~0xfffull) >> 6], 0, 0x1000 / 8);
    page->code |= code_lines(pa, size);
    arena_note_code(cpu->arena, pa, size);
    trace->page_next[which] = page->traces;
    page->traces = trace;
    if (page->write_mapped)
        arena_forbid_writes(cpu->arena, pa);
}

static void enter(struct processor *cpu, struct trace *trace)
{
    struct trace **bucket = &cpu->arena->traces->bucket[bucket_of(trace->pa, trace->mode)];
    trace->hash_next = *bucket;
    *bucket = trace;
    cpu->arena->traces->used += TRACE_BYTES(trace->ops);
    if (trace->pa2 == NO_PAGE) {
        enter_page(cpu, trace, trace->pa, trace->bytes, 0);
    } else {
        unsigned first = 0x1000 - (trace->pa & 0xfff);
        enter_page(cpu, trace, trace->pa, first, 0);
        enter_page(cpu, trace, trace->pa2, trace->bytes - first, 1);
    }
}

/* The same by the page tables. */
static struct trace *find(struct processor *cpu)
{
    struct trace_cache *cache = cpu->arena->traces;
    uint64_t to_limit = bytes_to_limit(cpu), linear = trace_linear_rip(cpu), pa = mmu_fetch(cpu, linear);
    if (unlikely(!arena_page(cpu->arena, pa)))
        return trace_limited(cpu, 1);
    struct trace *trace = look_up(cpu, pa, linear);
    if (likely(trace))
        return unlikely(trace->bytes > to_limit) ? trace_limited(cpu, 1) : trace;
    if (unlikely(cache->used + TRACE_BYTES(TRACE_OPS + 1) > CACHE_BYTES))
        return NULL;
    trace = (struct trace *)(cache->memory + cache->used);
    *trace = (struct trace){.pa = pa, .pa2 = NO_PAGE, .mode = cpu->mode};
    uint64_t size = 0x1000 - (pa & 0xfff);
    if (!decode_run(cpu, trace, cpu->arena->memory + pa, size < to_limit ? size : to_limit, TRACE_OPS)) {
        decode_across(cpu, trace, linear, pa, to_limit);
        if (trace->pa2 == NO_PAGE || !arena_page(cpu->arena, trace->pa2) || trace->pa2 >> PAGE_BITS == pa >> PAGE_BITS)
            return trace_limited(cpu, 1);
    }
    enter(cpu, trace);
    return trace;
}

struct trace *trace_find(struct processor *cpu)
{
    struct trace *trace = look_up_jump(cpu);
    if (trace)
        return trace;
    trace = find(cpu);
    if (trace && trace != limited_of(cpu))
        note_jump(cpu, trace);
    return trace;
}

bool trace_near_breakpoint(const struct processor *cpu)
{
    return breakpoints_met(cpu, BREAK_FETCH, trace_linear_rip(cpu) & ~0xfffull, 0x1000);
}

const struct op *trace_jump_slow(struct processor *cpu)
{
    if (cpu->left <= 0) /* what comes next may not even be fetched yet */
        LEAVE_TRACE;
    if (breakpoints_armed(cpu, BREAK_FETCH) && trace_near_breakpoint(cpu))
        LEAVE_TRACE;
    struct trace *trace = trace_find(cpu);
    if (!trace)
        LEAVE_TRACE;
    return trace_start(cpu, trace);
}
