#include "../chipset/snapshot.h"
#include "arena.h"

#include "integer.h"
#include "memory.h"
#include "trace.h"

#include <stdlib.h>
#include <sys/mman.h>

struct arena *arena_create(uint64_t bytes)
{
    struct arena *arena = calloc(1, sizeof *arena);
    if (!arena)
        return NULL;
    arena->size = (bytes + 0xfff) & ~0xfffull;
    arena->pages = calloc((arena->size >> PAGE_BITS) + 1, sizeof *arena->pages);
    arena->memory = mmap(NULL, arena->size ? arena->size : 0x1000, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    arena->traces = trace_cache_create();
    if (arena->memory == MAP_FAILED || !arena->pages || !arena->traces) {
        if (arena->memory != MAP_FAILED)
            munmap(arena->memory, arena->size);
        trace_cache_destroy(arena->traces);
        free(arena->pages);
        free(arena);
        return NULL;
    }
    return arena;
}

void arena_destroy(struct arena *arena)
{
    if (!arena)
        return;
    munmap(arena->memory, arena->size ? arena->size : 0x1000);
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
        page_written(&arena->pages[hpa >> PAGE_BITS], hpa, next - hpa);
    }
}

void arena_set_access(struct arena *arena, uint64_t hpa, uint64_t size, enum arena_access access)
{
    for (uint64_t pa = hpa; pa < hpa + size && pa < arena->size; pa += 0x1000) {
        struct page *page = &arena->pages[pa >> PAGE_BITS];
        if (page->access == access)
            continue;
        page_drop_traces(page, pa, 0x1000);
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
    for (unsigned i = 0; i < trace->ops; i++) {
        struct op *op = &trace->op[i];
        if (op->seg == SEG_LINK && op->imm && is_stale((const struct trace *)(uintptr_t)op->imm))
            op->imm = 0;
    }
}

/* The lines of this page that the trace was decoded from. */
static uint32_t lines_in_page(const struct trace *trace, uint64_t pa)
{
    if (trace->pa2 == NO_PAGE)
        return code_lines(trace->pa, trace->bytes);
    uint64_t first = 0x1000 - (trace->pa & 0xfff);
    return trace->pa >> PAGE_BITS == pa >> PAGE_BITS ? code_lines(trace->pa, first)
                                                     : code_lines(trace->pa2, trace->bytes - first);
}

void page_drop_traces(struct page *page, uint64_t pa, uint64_t size)
{
    for (struct trace *trace = page->traces; trace; trace = *next_in_page(trace, pa))
        if (!is_stale(trace) && overlaps(trace, pa, size))
            make_stale(trace);
    page->code = 0;
    for (struct trace **link = &page->traces; *link;) {
        struct trace *trace = *link;
        if (is_stale(trace)) { /* dropped now, or before by way of its other page */
            *link = *next_in_page(trace, pa);
            continue;
        }
        forget_links_to_stale(trace);
        page->code |= lines_in_page(trace, pa);
        link = next_in_page(trace, pa);
    }
    page->misses = 0;
}
