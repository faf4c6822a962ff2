#include "../chipset/snapshot.h"
#include "arena.h"

#include "integer.h"
#include "memory.h"
#include "trace.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CODE_BYTES(arena) (((arena)->size ? (arena)->size : 0x1000) / 8)

struct arena *arena_create(uint64_t bytes)
{
    struct arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        return NULL;
    arena->size = (bytes + 0xfff) & ~0xfffull;
    arena->pages = calloc((arena->size >> PAGE_BITS) + 1, sizeof *arena->pages);
    arena->memory = mmap(NULL, arena->size ? arena->size : 0x1000, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    arena->code = mmap(NULL, CODE_BYTES(arena), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    arena->traces = trace_cache_create();
    if (arena->memory == MAP_FAILED || arena->code == MAP_FAILED || !arena->pages || !arena->traces) {
        arena_destroy(arena);
        return NULL;
    }
    return arena;
}

void arena_destroy(struct arena *arena)
{
    if (!arena)
        return;
    if (arena->memory != MAP_FAILED)
        munmap(arena->memory, arena->size ? arena->size : 0x1000);
    if (arena->code != MAP_FAILED)
        munmap(arena->code, CODE_BYTES(arena));
    trace_cache_destroy(arena->traces);
    free(arena->pages);
    free(arena);
}

uint8_t *arena_at(struct arena *arena, uint64_t hpa, uint64_t size)
{
    return hpa <= arena->size && size <= arena->size - hpa ? arena->memory + hpa : NULL;
}

void arena_written(struct arena *arena, uint64_t hpa, uint64_t size)
{
    if (!size || !arena_at(arena, hpa, size))
        return;
    for (uint64_t end = hpa + size, next; hpa < end; hpa = next) {
        next = (hpa | 0xfff) + 1 < end ? (hpa | 0xfff) + 1 : end;
        page_written(arena, &arena->pages[hpa >> PAGE_BITS], hpa, next - hpa);
    }
}

void arena_set_access(struct arena *arena, uint64_t hpa, uint64_t size, enum arena_access access)
{
    for (uint64_t pa = hpa; pa < hpa + size && pa < arena->size; pa += 0x1000) {
        struct page *page = &arena->pages[pa >> PAGE_BITS];
        if (page->access == access)
            continue;
        page_drop_traces(arena, page, pa, 0x1000);
        page->write_mapped = false;
        page->access = access;
    }
}

void arena_set_gap(struct arena *arena, uint64_t hpa, uint64_t size)
{
    arena->gap = hpa;
    arena->gap_end = hpa + size;
}

void arena_snapshot(struct arena *arena, struct snapshot *snapshot, uint64_t gap, uint64_t gap_end)
{
    snapshot_pages(snapshot, arena->memory, gap);
    snapshot_pages(snapshot, arena->memory + gap_end, arena->size - gap_end);
    if (snapshot->loading)
        trace_flush(arena);
}

/* ---- decoded code that is overwritten ---- */

void arena_forbid_writes(struct arena *arena, uint64_t pa)
{
    struct page *page = arena_page(arena, pa);
    if (!page || !page->write_mapped)
        return;
    page->write_mapped = false;
    for (struct processor *cpu = arena->processors; cpu; cpu = cpu->next)
        mmu_forbid_writes(cpu, pa);
}

static bool is_stale(const struct trace *trace)
{
    return trace->op[0].fn == op_stale;
}

static bool overlaps(const struct trace *trace, uint64_t pa, uint64_t size)
{
    uint64_t first = trace->bytes;
    if (trace->pa2 != NO_PAGE) { /* the rest lies at the start of the second page */
        first = 0x1000 - (trace->pa & 0xfff);
        if (pa < trace->pa2 + trace->bytes - first && trace->pa2 < pa + size)
            return true;
    }
    return pa < trace->pa + first && trace->pa < pa + size;
}

static struct trace **next_in_page(struct trace *trace, uint64_t pa)
{
    return &trace->page_next[trace->pa >> PAGE_BITS != pa >> PAGE_BITS];
}

static void make_stale(struct trace *trace)
{
    for (unsigned i = 0; i < trace->ops; i++)
        trace->op[i].fn = op_stale;
}

static void forget_links_to_stale(struct trace *trace)
{
    for (uint64_t links = trace->links; links; links &= links - 1) {
        struct op *op = &trace->op[__builtin_ctzll(links)];
        if (op->imm && is_stale((const struct trace *)(uintptr_t)op->imm))
            op->imm = 0;
    }
}

/* Notes the part of this page that the trace was decoded from. */
static void note_trace(struct arena *arena, struct page *page, const struct trace *trace, uint64_t pa)
{
    uint64_t from = trace->pa, size = trace->bytes;
    if (trace->pa2 != NO_PAGE) {
        uint64_t first = 0x1000 - (trace->pa & 0xfff);
        bool second = trace->pa >> PAGE_BITS != pa >> PAGE_BITS;
        from = second ? trace->pa2 : trace->pa;
        size = second ? trace->bytes - first : first;
    }
    page->code |= code_lines(from, size);
    arena_note_code(arena, from, size);
}

void arena_note_code(struct arena *arena, uint64_t pa, uint64_t size)
{
    for (uint64_t end = pa + size; pa < end; pa = (pa | 63) + 1) {
        uint64_t bits = end - pa < 64 ? (1ull << (end - pa)) - 1 : ~0ull;
        arena->code[pa >> 6] |= bits << (pa & 63);
    }
}

bool arena_is_code(const struct arena *arena, uint64_t pa, uint64_t size)
{
    for (uint64_t end = pa + size; pa < end; pa = (pa | 63) + 1) {
        uint64_t bits = end - pa < 64 ? (1ull << (end - pa)) - 1 : ~0ull;
        if (arena->code[pa >> 6] & bits << (pa & 63))
            return true;
    }
    return false;
}

void page_drop_traces(struct arena *arena, struct page *page, uint64_t pa, uint64_t size)
{
    for (struct trace *trace = page->traces; trace; trace = *next_in_page(trace, pa))
        if (!is_stale(trace) && overlaps(trace, pa, size))
            make_stale(trace);
    page->code = 0;
    memset(&arena->code[(pa & ~0xfffull) >> 6], 0, 0x1000 / 8);
    for (struct trace **link = &page->traces; *link;) {
        struct trace *trace = *link;
        if (is_stale(trace)) { /* dropped now, or before by way of its other page */
            *link = *next_in_page(trace, pa);
            continue;
        }
        forget_links_to_stale(trace);
        note_trace(arena, page, trace, pa);
        link = next_in_page(trace, pa);
    }
    page->misses = 0;
}
