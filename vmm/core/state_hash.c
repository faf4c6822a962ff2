/* The hash of all guest-visible state. */
#include <string.h>

#include "machine_state.h"

/* Four lanes of multiply and rotate, so that the multiplications overlap; `size` is a multiple of 8. */
static uint64_t hash_words(uint64_t hash, const void *data, uint64_t size)
{
    enum { LANES = 4 };
    const uint64_t prime = 0x9e3779b97f4a7c15;
    uint64_t lane[LANES] = {hash, hash ^ 1, hash ^ 2, hash ^ 3}, word;
    for (uint64_t at = 0; at < size; at += sizeof word) {
        uint64_t *l = &lane[at / sizeof word % LANES];
        memcpy(&word, (const uint8_t *)data + at, sizeof word);
        *l = (*l ^ word) * prime;
        *l ^= *l >> 29;
    }
    hash = size;
    for (unsigned i = 0; i < LANES; i++) {
        hash = (hash ^ lane[i]) * prime;
        hash ^= hash >> 32;
    }
    return hash;
}

static uint64_t hash_ram(const struct machine *machine, uint64_t hash, uint64_t gpa, uint64_t end)
{
    uint64_t bytes = end > gpa ? end - gpa : 0;
    return bytes ? hash_words(hash, arena_at(machine->arena, gpa, bytes), bytes) : hash;
}

/* All MSRs that hold guest state which no other part of the hash covers. */
static uint64_t hash_msrs(const struct vcpu *vcpu, uint64_t hash)
{
    static const struct {
        uint32_t first, last;
    } ranges[] = {
        {0x10, 0x10},     {0x3b, 0x3b},   {0x48, 0x48},   {0x174, 0x176}, {0x1a0, 0x1a0}, {0x1d9, 0x1d9}, {0x400, 0x40f},
        {0x200, 0x20f},   {0x250, 0x250}, {0x258, 0x259}, {0x268, 0x26f}, {0x277, 0x277},
        {0x2ff, 0x2ff},   {0xc0000081, 0xc0000084},       {0xc0000102, 0xc0000103},
    };
    for (unsigned i = 0; i < sizeof ranges / sizeof *ranges; i++)
        for (uint32_t index = ranges[i].first; index <= ranges[i].last; index++) {
            uint64_t entry[2] = {index, 0};
            if (vcpu->accel->read_msr(vcpu, index, &entry[1]))
                hash = hash_words(hash, entry, sizeof entry);
        }
    return hash;
}

static uint64_t hash_vcpu(const struct vcpu *vcpu, uint64_t hash)
{
    const struct registers *own = processor_registers(vcpu->processor);
    struct vcpu_registers registers;
    vcpu->accel->get_registers(vcpu, &registers);
    hash = hash_words(hash, registers.gpr, offsetof(struct vcpu_registers, segment));
    for (unsigned i = 0; i < 8; i++) {
        const struct vcpu_segment *segment = &registers.segment[i];
        uint64_t words[] = {segment->base, (uint64_t)segment->access << 32 | segment->limit, segment->selector};
        hash = hash_words(hash, words, sizeof words);
    }
    uint64_t words[] = {registers.gdt_base,
                        registers.idt_base,
                        (uint64_t)registers.gdt_limit << 16 | registers.idt_limit,
                        own->xcr0,
                        own->pkru,
                        vcpu->accel->interruptibility(vcpu),
                        vcpu->halted | vcpu->nmi_pending << 1,
                        vcpu->count};
    hash = hash_words(hash, words, sizeof words);
    hash = hash_words(hash, &own->fpu, sizeof own->fpu);
    hash = hash_words(hash, own->ymm_high, sizeof own->ymm_high);
    return hash_msrs(vcpu, hash);
}

uint64_t machine_state_hash(const struct machine *machine)
{
    uint64_t words[] = {machine_count(machine), machine_time(machine), board_hash(machine->board)};
    uint64_t hash = hash_words(0, words, sizeof words), end = memory_end(machine->config.memory_bytes, false);
    for (unsigned i = 0; i < machine->config.cpus; i++)
        hash = hash_vcpu(machine->vcpu[i], hash);
    hash = hash_ram(machine, hash, 0, VGA_HOLE);
    hash = hash_ram(machine, hash, machine->hidden ? WINDOW : VGA_HOLE_END, min64(end, PCI_HOLE));
    if (machine->hidden)
        hash = hash_words(hash, machine->hidden, WINDOW_BYTES);
    return hash_ram(machine, hash, PCI_HOLE_END, end);
}
