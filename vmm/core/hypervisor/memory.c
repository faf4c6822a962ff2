/* Guest-physical memory: RAM lies where it would without a hypervisor, and EPT (SDM vol. 3, 29.3) maps nothing else.
 * VMX operation blocks A20M# (25.3), so a closed A20 gate is an EPT too: each odd MiB is the even one below it. */
#include <string.h>

#include "guest.h"

#define PAGE 4096ull
#define ENTRIES 512

#define EPT_READ_WRITE_EXECUTE 7ull
#define EPT_WRITE_BACK (6ull << 3)
#define EPT_LARGE (1ull << 7)
#define EPTP_WRITE_BACK 6ull
#define EPTP_WALK_LENGTH_4 (3ull << 3)
#define INVEPT_ALL_CONTEXTS 2

enum level { PT = 1, PD, PDPT, PML4 };

struct layout layout_of(const struct machine_config *config, unsigned vcpu)
{
    enum { PAGES_EACH = 3 };
    uint64_t end = ram_end(config->memory_bytes), own = end + vcpu * PAGES_EACH * PAGE;
    /* One PML4 and PDPT, a PD for each GiB, and PTs where RAM fills only a part of 2 MiB: around video memory, and
     * where low and high RAM end. */
    uint64_t tables = 2 + (end + GIB(1) - 1) / GIB(1) + 3;
    tables += (end + MIB(2) - 1) / MIB(2); /* a closed A20 gate leaves no large page */
    struct layout layout = {.vmxon = own, .vmcs = own + PAGE, .msr_bitmap = own + 2 * PAGE};
    layout.ones = end + config->cpus * PAGES_EACH * PAGE;
    layout.ept = layout.ones + PML4 * PAGE;
    layout.delivery_ept = layout.ept + tables * PAGE;
    layout.end = layout.delivery_ept + tables * PAGE;
    return layout;
}

uint64_t ept_pointer_to(uint64_t hpa)
{
    return hpa | EPTP_WALK_LENGTH_4 | EPTP_WRITE_BACK;
}

uint8_t *guest_ram(const struct guest *guest, uint64_t gpa, uint64_t size)
{
    gpa &= ~guest->a20m;
    return ram_contains(guest->vcpu.config->memory_bytes, gpa, size) ? arena_at(guest->vcpu.arena, gpa, size) : NULL;
}

static uint64_t *table_at(struct guest *guest, uint64_t hpa)
{
    return (uint64_t *)arena_at(guest->vcpu.arena, hpa, PAGE);
}

static bool ram_overlaps(uint64_t memory_bytes, uint64_t gpa, uint64_t size)
{
    return gpa < ram_end(memory_bytes) && !(gpa >= VGA_HOLE && gpa + size <= VGA_HOLE_END) &&
           !(gpa >= PCI_HOLE && gpa + size <= PCI_HOLE_END);
}

/* A table for the addresses from `gpa`, taken from `*next`; `absent` is by level what stands for no RAM. */
static uint64_t build_table(struct guest *guest, uint64_t gpa, enum level level, const uint64_t *absent,
                            uint64_t *next)
{
    uint64_t memory = guest->vcpu.config->memory_bytes, hpa = *next, span = PAGE << 9 * (level - 1);
    uint64_t *table = table_at(guest, hpa);
    *next += PAGE;
    for (unsigned i = 0; i < ENTRIES; i++, gpa += span)
        if (level <= (guest->a20m ? PT : PD) && ram_contains(memory, gpa & ~guest->a20m, span))
            table[i] = (gpa & ~guest->a20m) | EPT_READ_WRITE_EXECUTE | EPT_WRITE_BACK | (level == PD ? EPT_LARGE : 0);
        else if (level > PT && ram_overlaps(memory, gpa, span))
            table[i] = build_table(guest, gpa, level - 1, absent, next) | EPT_READ_WRITE_EXECUTE;
        else
            table[i] = absent[level];
    return hpa;
}

void fill_ones(struct guest *guest)
{
    memset(arena_at(guest->vcpu.arena, guest->layout.ones, PAGE), 0xff, PAGE);
    arena_written(guest->vcpu.arena, guest->layout.ones, PAGE);
}

void build_ept(struct guest *guest)
{
    const uint64_t nothing[PML4 + 1] = {0};
    uint64_t ones[PML4 + 1] = {[PT] = guest->layout.ones | EPT_READ_WRITE_EXECUTE | EPT_WRITE_BACK};
    for (enum level level = PT; level < PML4; level++) {
        uint64_t hpa = guest->layout.ones + level * PAGE, *table = table_at(guest, hpa);
        for (unsigned i = 0; i < ENTRIES; i++)
            table[i] = ones[level];
        ones[level + 1] = hpa | EPT_READ_WRITE_EXECUTE;
    }
    fill_ones(guest);
    uint64_t next = guest->layout.ept;
    build_table(guest, 0, PML4, nothing, &next);
    next = guest->layout.delivery_ept;
    build_table(guest, 0, PML4, ones, &next);
}

void guest_set_a20(struct vcpu *vcpu, bool open)
{
    struct guest *guest = guest_of(vcpu);
    guest->a20m = open ? 0 : A20;
    if (vcpu->index == 0)
        build_ept(guest);
    vmcs_write(guest, EPT_POINTER, guest->ept_pointer);
    if (vmx_invept(vcpu->processor, INVEPT_ALL_CONTEXTS, 0) != VMX_SUCCEED)
        vcpu_end(vcpu, MACHINE_INTERNAL, "INVEPT: VM-instruction error %u",
                 (unsigned)vmcs_read(guest, VM_INSTRUCTION_ERROR));
}
