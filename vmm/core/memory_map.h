/* What lies where in guest-physical memory. RAM and ROM lie in the arena at their guest-physical addresses; everything
 * else is the board's. Only the window from A0000h to FFFFFh changes while the machine runs (memory_window.c). */
#ifndef BRINGUP_MEMORY_MAP_H
#define BRINGUP_MEMORY_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "chipset/map.h"
#include "memory_access.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

#define VGA_HOLE 0xa0000u /* video memory: not RAM */
#define VGA_HOLE_END 0xc0000u
#define PCI_HOLE ((uint64_t)MAP_RAM_LOW_END)
#define PCI_HOLE_END GIB(4)
#define A20 MIB(1) /* the address line that a gate may hold low */

#define MEMORY_PAGE 0x1000u
#define WINDOW VGA_HOLE
#define WINDOW_END 0x100000u
#define WINDOW_BYTES (WINDOW_END - WINDOW)
#define WINDOW_PAGES (WINDOW_BYTES / MEMORY_PAGE)

struct memory_map {
    uint64_t ram_bytes;
    uint64_t rom; /* the first address of the firmware's, which ends at 4 GiB; PCI_HOLE_END: there is none */
    uint8_t window[WINDOW_PAGES]; /* enum memory_access of each page */
};

/* The first address behind all RAM and ROM. */
static inline uint64_t memory_end(uint64_t ram_bytes, bool rom)
{
    uint64_t end = ram_bytes <= PCI_HOLE ? ram_bytes : ram_bytes - PCI_HOLE + PCI_HOLE_END;
    return rom && end < PCI_HOLE_END ? PCI_HOLE_END : end;
}

static inline bool memory_meets(uint64_t gpa, uint64_t end, uint64_t from, uint64_t to)
{
    return gpa < to && end > from;
}

/* The least and the most that any page of [gpa, gpa + size) allows; `size` is not 0. */
struct memory_range {
    enum memory_access least, most;
};

static inline struct memory_range memory_range(const struct memory_map *map, uint64_t gpa, uint64_t size)
{
    uint64_t end = gpa + size, ram = map->ram_bytes < PCI_HOLE ? map->ram_bytes : PCI_HOLE;
    uint64_t high = map->ram_bytes > PCI_HOLE ? map->ram_bytes - PCI_HOLE + PCI_HOLE_END : PCI_HOLE_END;
    struct memory_range range = {MEMORY_RAM, MEMORY_BUS};

    if (end < gpa)
        return (struct memory_range){MEMORY_BUS, MEMORY_BUS};
    if (memory_meets(gpa, end, 0, WINDOW) || memory_meets(gpa, end, WINDOW_END, ram) ||
        memory_meets(gpa, end, PCI_HOLE_END, high))
        range.most = MEMORY_RAM;
    if (memory_meets(gpa, end, map->rom, PCI_HOLE_END)) {
        range.least = MEMORY_ROM;
        range.most = range.most == MEMORY_RAM ? MEMORY_RAM : MEMORY_ROM;
    }
    if (memory_meets(gpa, end, ram, map->rom) || end > high)
        range.least = MEMORY_BUS;
    if (memory_meets(gpa, end, WINDOW, WINDOW_END)) {
        uint64_t first = gpa > WINDOW ? (gpa - WINDOW) / MEMORY_PAGE : 0;
        uint64_t last = end < WINDOW_END ? (end - 1 - WINDOW) / MEMORY_PAGE : WINDOW_PAGES - 1;
        for (uint64_t i = first; i <= last; i++) {
            enum memory_access access = map->window[i];
            range.least = access < range.least ? access : range.least;
            range.most = access > range.most ? access : range.most;
        }
    }
    return range;
}

/* Does all of [gpa, gpa + size) allow it? */
static inline bool memory_allows(const struct memory_map *map, uint64_t gpa, uint64_t size, enum memory_access access)
{
    return memory_range(map, gpa, size).least >= access;
}

#endif
