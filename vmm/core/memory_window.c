/* The window of guest-physical memory from A0000h to FFFFFh, where the chipset puts RAM, ROM or a bus while the machine
 * runs: the arena holds what reads find there, `hidden` the RAM that they do not. */
#include <stdlib.h>
#include <string.h>

#include "machine_state.h"

#define ROM_ALIAS_BYTES (WINDOW_END - ROM_ALIAS)
#define ROM_ALIAS 0xe0000u /* the end of the firmware's ROM is seen here too */

static uint8_t *at(const struct machine *machine, unsigned page)
{
    return arena_at(machine->arena, WINDOW + page * MEMORY_PAGE, MEMORY_PAGE);
}

/* Reads of the page find RAM now, or no longer do. */
static void exchange(struct machine *machine, unsigned page)
{
    uint8_t *seen = at(machine, page), *hidden = machine->hidden + page * MEMORY_PAGE, held[MEMORY_PAGE];
    memcpy(held, seen, MEMORY_PAGE);
    memcpy(seen, hidden, MEMORY_PAGE);
    memcpy(hidden, held, MEMORY_PAGE);
    arena_written(machine->arena, WINDOW + page * MEMORY_PAGE, MEMORY_PAGE);
}

bool memory_window_create(struct machine *machine)
{
    const struct machine_config *config = &machine->config;
    struct memory_map *map = &machine->map;
    map->ram_bytes = config->memory_bytes;
    map->rom = PCI_HOLE_END - config->firmware_bytes;
    for (unsigned i = 0; i < WINDOW_PAGES; i++) {
        struct board_page page = board_window_page(machine->board, WINDOW + i * MEMORY_PAGE);
        map->window[i] = page.access;
        machine->reads_ram[i] = page.reads_ram;
    }
    machine->window_version = board_window_version(machine->board);
    if (!config->firmware_bytes)
        return true;
    machine->hidden = calloc(WINDOW_PAGES, MEMORY_PAGE);
    if (!machine->hidden)
        return false;
    memcpy(arena_at(machine->arena, map->rom, config->firmware_bytes), config->firmware, config->firmware_bytes);
    uint64_t alias = config->firmware_bytes < ROM_ALIAS_BYTES ? config->firmware_bytes : ROM_ALIAS_BYTES;
    memcpy(arena_at(machine->arena, WINDOW_END - alias, alias), config->firmware + config->firmware_bytes - alias, alias);
    return true;
}

void memory_window_follow(struct machine *machine)
{
    uint32_t version = board_window_version(machine->board);
    if (version == machine->window_version)
        return;
    machine->window_version = version;
    bool changed = false;
    for (unsigned i = 0; i < WINDOW_PAGES; i++) {
        struct board_page page = board_window_page(machine->board, WINDOW + i * MEMORY_PAGE);
        if (page.reads_ram != machine->reads_ram[i])
            exchange(machine, i);
        machine->reads_ram[i] = page.reads_ram;
        changed |= page.access != machine->map.window[i];
        machine->map.window[i] = page.access;
    }
    for (unsigned i = 0; changed && i < machine->config.cpus; i++)
        machine->accel->set_map(machine->vcpu[i]);
}

/* ---- for the board (struct board_memory) ---- */

uint8_t *memory_at(void *context, uint64_t gpa, uint64_t size, bool write)
{
    struct machine *machine = context;
    if (!memory_allows(&machine->map, gpa, size, write ? MEMORY_RAM : MEMORY_ROM))
        return NULL;
    if (write)
        arena_written(machine->arena, gpa, size);
    return arena_at(machine->arena, gpa, size);
}

uint8_t *memory_hidden(void *context, uint64_t gpa)
{
    struct machine *machine = context;
    return machine->hidden ? machine->hidden + (gpa - WINDOW) : NULL;
}
