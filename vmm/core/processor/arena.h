/* Host-physical memory and what the processor knows of each of its pages. */
#ifndef BRINGUP_ARENA_H
#define BRINGUP_ARENA_H

#include "op.h"

#define PAGE_BITS 12
#define CODE_LINE_BITS 7 /* decoded code is remembered by lines of 128 bytes: 32 in a page, one bit each */

struct page {
    uint32_t code;        /* lines from which operations were decoded */
    uint8_t access;       /* enum arena_access */
    bool write_mapped;    /* some TLB entry may store here without asking */
    uint16_t misses;      /* stores beside the code since the last drop */
    struct trace *traces; /* decoded from here */
};

struct arena {
    uint8_t *memory;
    uint64_t size; /* bytes, a multiple of the page size */
    uint64_t gap, gap_end; /* a hole besides those of single pages */
    struct page *pages;
    uint64_t *code; /* a bit for each byte of memory that was decoded; holds for pages with `code` */
    struct trace_cache *traces;   /* of all processors: what is decoded depends on memory and mode alone */
    struct processor *processors; /* on this memory, by `next` */
};

/* The page of a physical address, or NULL when that is neither RAM nor ROM. */
static inline struct page *arena_page(const struct arena *arena, uint64_t pa)
{
    if (unlikely(pa >= arena->size || pa - arena->gap < arena->gap_end - arena->gap))
        return NULL;
    struct page *page = &arena->pages[pa >> PAGE_BITS];
    return unlikely(page->access == ARENA_BUS) ? NULL : page;
}

static inline uint32_t code_lines(uint64_t pa, uint64_t size)
{
    unsigned first = (pa & 0xfff) >> CODE_LINE_BITS, last = ((pa & 0xfff) + size - 1) >> CODE_LINE_BITS;
    return (uint32_t)((2ull << last) - (1ull << first));
}

/* The page now holds decoded code: no processor's TLB stores to it without asking. */
void arena_forbid_writes(struct arena *arena, uint64_t pa);

/* The bits of [pa, pa + size), within one page. */
void arena_note_code(struct arena *arena, uint64_t pa, uint64_t size);
bool arena_is_code(const struct arena *arena, uint64_t pa, uint64_t size);

void page_drop_traces(struct arena *arena, struct page *page, uint64_t pa, uint64_t size);

/* A page whose data is written often although code was once decoded from it (freed and used again) loses all its traces,
 * so that stores become fast again. Not too soon: what still runs there is decoded anew then. */
#define MOST_MISSES 4096

/* Within one page: drops the traces that overlap a write which is about to happen or has happened. */
static inline void page_written(struct arena *arena, struct page *page, uint64_t pa, uint64_t size)
{
    if (likely(!page->code))
        return;
    if (page->code & code_lines(pa, size) && arena_is_code(arena, pa, size))
        page_drop_traces(arena, page, pa, size);
    else if (++page->misses >= MOST_MISSES)
        page_drop_traces(arena, page, pa & ~0xfffull, 0x1000);
}

#endif
