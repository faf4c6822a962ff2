#include "paging.h"

#include "behaviour.h"

enum { POOL_PAGES = 48 };
static uint8_t pool[POOL_PAGES][PAGE] __attribute__((aligned(PAGE)));
static unsigned used;
entry *root;

void *new_page(void)
{
    if (used == POOL_PAGES)
        fail("the program is out of pages");
    uint32_t *page = (uint32_t *)pool[used++];
    for (unsigned i = 0; i < PAGE / 4; i++)
        page[i] = 0;
    return page;
}

static unsigned index_at(word address, unsigned level)
{
    return address >> (12 + INDEX_BITS * (level - 1)) & ((1 << INDEX_BITS) - 1);
}

volatile entry *entry_of(word address, unsigned level)
{
    entry *table = root;
    for (unsigned at = LEVELS; at > level; at--) {
        entry *next = &table[index_at(address, at)];
        if (!(*next & PAGE_P) || (*next & PAGE_PS))
            *next = (word)new_page() | PAGE_P | PAGE_W | PAGE_U;
        table = (entry *)(word)(*next & ENTRY_ADDRESS);
    }
    return &table[index_at(address, level)];
}

void map(word address, word physical, entry flags)
{
    *entry_of(address, 1) = physical | flags;
    invlpg(address);
}

void flush_all(void)
{
    set_cr3(get_cr3());
}

void paging_on(entry flags)
{
    const uint64_t large = 1ull << (12 + INDEX_BITS);
    used = 0;
    root = new_page();
    for (uint64_t address = 0; address < 1ull << 32; address += large)
        *entry_of((word)address, 2) = (entry)address | flags | PAGE_P | PAGE_PS;
#ifdef __x86_64__
    set_cr3((word)root);
#else
    set_cr4(get_cr4() | CR4_PSE);
    set_cr3((word)root);
    set_cr0(get_cr0() | CR0_PG);
#endif
}

void paging_reset(void)
{
#ifdef __x86_64__
    set_cr4(CR4_PAE);
    paging_on(PAGE_W | PAGE_U);
#else
    set_cr0(CR0_PE | CR0_ET | CR0_NE);
    set_cr4(0);
    set_cr3(0);
    used = 0;
#endif
}
