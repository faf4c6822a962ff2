/* Saving and loading a machine between two runs of it. */
#include <stdlib.h>
#include <string.h>

#include "chipset/snapshot.h"
#include "machine_state.h"

#define NOWHERE UINT64_MAX
#define MAGIC 0x70616e7362757231ull

/* A snapshot fits a machine that was made alike, by the same build. */
struct header {
    uint64_t magic, state_bytes, memory_bytes, accel, clock, cpus, slice, seed, firmware_bytes, cpuid;
};

static uint64_t cpuid_hash(const struct machine_config *config)
{
    uint64_t hash = config->generation;
    for (uint32_t i = 0; i < config->cpuid_count; i++) {
        const uint32_t *word = (const uint32_t *)&config->cpuid[i];
        for (unsigned j = 0; j < sizeof config->cpuid[i] / sizeof *word; j++)
            hash = (hash ^ word[j]) * 0x9e3779b97f4a7c15;
    }
    return hash;
}

static struct header header_of(const struct machine *machine)
{
    const struct machine_config *config = &machine->config;
    return (struct header){MAGIC, sizeof(struct machine), config->memory_bytes, config->accel, config->clock, config->cpus,
                           config->slice, config->seed, config->firmware_bytes, cpuid_hash(config)};
}

static void vcpu_snapshot(struct vcpu *vcpu, struct snapshot *snapshot)
{
    uint64_t line = vcpu->monitor.line ? (uint64_t)(vcpu->monitor.line - arena_at(vcpu->arena, 0, 0)) : NOWHERE;
    SNAPSHOT(snapshot, vcpu->count);
    SNAPSHOT(snapshot, vcpu->elsewhere);
    SNAPSHOT(snapshot, vcpu->time);
    SNAPSHOT(snapshot, vcpu->until);
    SNAPSHOT(snapshot, vcpu->halted);
    SNAPSHOT(snapshot, vcpu->yields);
    SNAPSHOT(snapshot, vcpu->injecting);
    SNAPSHOT(snapshot, vcpu->nmi_pending);
    SNAPSHOT(snapshot, vcpu->monitor.before);
    SNAPSHOT(snapshot, line);
    vcpu->monitor.line = line == NOWHERE ? NULL : arena_at(vcpu->arena, line, MONITOR_LINE);
    SNAPSHOT(snapshot, vcpu->end);
    SNAPSHOT(snapshot, vcpu->detail);
    SNAPSHOT(snapshot, vcpu->reason);
    SNAPSHOT(snapshot, vcpu->exits);
    SNAPSHOT(snapshot, vcpu->exit_total);
    SNAPSHOT(snapshot, vcpu->ring);
    processor_snapshot(vcpu->processor, snapshot);
    vcpu->accel->snapshot(vcpu, snapshot);
}

static void all_of(struct machine *machine, struct snapshot *snapshot)
{
    uint32_t current = machine->current->index;
    uint64_t low = min64(machine->map.ram_bytes, PCI_HOLE);
    bool high = memory_end(machine->map.ram_bytes, machine->config.firmware_bytes) > low;
    arena_snapshot(machine->arena, snapshot, low, high ? machine->map.rom : low);
    board_snapshot(machine->board, snapshot);
    SNAPSHOT(snapshot, machine->map.window);
    SNAPSHOT(snapshot, machine->reads_ram);
    SNAPSHOT(snapshot, machine->window_version);
    if (machine->hidden)
        snapshot_bytes(snapshot, machine->hidden, WINDOW_BYTES);
    SNAPSHOT(snapshot, machine->slice_end);
    SNAPSHOT(snapshot, machine->event);
    SNAPSHOT(snapshot, machine->event_detail);
    SNAPSHOT(snapshot, machine->a20_closed);
    SNAPSHOT(snapshot, current);
    if (current < machine->config.cpus)
        machine->current = machine->vcpu[current];
    for (unsigned i = 0; i < machine->config.cpus; i++)
        vcpu_snapshot(machine->vcpu[i], snapshot);
}

uint8_t *machine_save(struct machine *machine, size_t *size)
{
    struct snapshot snapshot = {0};
    struct header header = header_of(machine);
    SNAPSHOT(&snapshot, header);
    all_of(machine, &snapshot);
    if (snapshot.failed) {
        free(snapshot.data);
        return NULL;
    }
    *size = snapshot.size;
    return snapshot.data;
}

void machine_save_free(uint8_t *data)
{
    free(data);
}

int machine_load(struct machine *machine, const uint8_t *data, size_t size)
{
    struct snapshot snapshot = {.data = (uint8_t *)data, .size = size, .loading = true};
    struct header header, own = header_of(machine);
    SNAPSHOT(&snapshot, header);
    if (snapshot.failed || memcmp(&header, &own, sizeof own))
        return SNAPSHOT_OTHER;
    all_of(machine, &snapshot);
    for (unsigned i = 0; i < machine->config.cpus; i++)
        machine->accel->set_map(machine->vcpu[i]);
    machine->host_epoch_known = false;
    return snapshot.failed || snapshot.at != size ? SNAPSHOT_DAMAGED : SNAPSHOT_LOADED;
}
