/* Page tables: a flat map of the first 4 GiB in large pages, and a window for pages of 4 KiB. */
#ifndef PAGING_H
#define PAGING_H

#include "cpu.h"

#ifdef __x86_64__
typedef uint64_t entry;
#define LEVELS 4
#define INDEX_BITS 9
#define WINDOW 0x4000000000 /* nothing is mapped there at first */
#define ENTRY_ADDRESS 0x000ffffffffff000
#else
typedef uint32_t entry;
#define LEVELS 2
#define INDEX_BITS 10
#define WINDOW 0x80000000 /* in place of the flat map, from the first use on */
#define ENTRY_ADDRESS 0xfffff000
#endif
#define PAGE 4096

enum {
    PAGE_P = 1 << 0,
    PAGE_W = 1 << 1,
    PAGE_U = 1 << 2,
    PAGE_A = 1 << 5,
    PAGE_D = 1 << 6,
    PAGE_PS = 1 << 7,
    PAGE_G = 1 << 8,
};
#define PAGE_NX (1ull << 63)
/* Of a page fault's error code: SDM vol. 3 figure 4-12. */
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16, PF_PK = 32 };

extern entry *root;
/* A cleared page for a table or for data, until the next behaviour. */
void *new_page(void);
/* Builds the flat map, with `flags` (PAGE_W, PAGE_U) on each page, and loads CR3; in 32 bits it switches paging on. */
void paging_on(entry flags);
/* The entry that maps this address on a level: 1 a PTE, 2 a PDE. Tables down to it are made; they allow everything. */
volatile entry *entry_of(word address, unsigned level);
/* Maps a page of 4 KiB in the window and flushes it. */
void map(word address, word physical, entry flags);
void paging_reset(void);
void flush_all(void);

#endif
