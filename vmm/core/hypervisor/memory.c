/* Guest-physical memory: RAM lies where it would without a hypervisor, and EPT (SDM vol. 3, 29.3) maps nothing else.
 * VMX operation blocks A20M# (25.3), so a closed A20 gate is an EPT too: each odd MiB is the even one below it. */
#include <string.h>

#include "guest.h"

#define PAGE 4096ull
#define ENTRIES 512

#define EPT_READ_EXECUTE 5ull
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
    uint64_t end = memory_end(config->memory_bytes, config->firmware_bytes), own = end + vcpu * PAGES_EACH * PAGE;
    /* One PML4 and PDPT, a PD for each GiB, and PTs where RAM fills only a part of 2 MiB: around video memory, where low
     * and high RAM end, and for ROM. */
    uint64_t tables = 2 + (end + GIB(1) - 1) / GIB(1) + 4;
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

uint8_t *guest_memory(const struct guest *guest, uint64_t gpa, uint64_t size, enum memory_access access)
{
    gpa &= ~guest->a20m;
    return memory_allows(guest->vcpu.map, gpa, size, access) ? arena_at(guest->vcpu.arena, gpa, size) : NULL;
}

static uint64_t *table_at(struct guest *guest, uint64_t hpa)
{
    return (uint64_t *)arena_at(guest->vcpu.arena, hpa, PAGE);
}

/* A table for the addresses from `gpa`, taken from `*next`; `absent` is by level what stands for what is not RAM. An
 * event whose delivery stores to ROM is delivered over `absent` too (delivery_ept). */
static uint64_t build_table(struct guest *guest, uint64_t gpa, enum level level, const uint64_t *absent,
                            uint64_t *next)
{
    static const uint64_t permissions[] = {[MEMORY_ROM] = EPT_READ_EXECUTE, [MEMORY_RAM] = EPT_READ_WRITE_EXECUTE};
    uint64_t hpa = *next, span = PAGE << 9 * (level - 1);
    uint64_t *table = table_at(guest, hpa);
    *next += PAGE;
    for (unsigned i = 0; i < ENTRIES; i++, gpa += span) {
        uint64_t address = gpa & ~guest->a20m;
        struct memory_range range = memory_range(guest->vcpu.map, level == PT ? address : gpa, span);
        if (range.most == MEMORY_BUS || (absent[PT] && range.most == MEMORY_ROM))
            table[i] = absent[level];
        else if (level <= (guest->a20m ? PT : PD) && range.least == range.most)
            table[i] = address | permissions[range.most] | EPT_WRITE_BACK | (level == PD ? EPT_LARGE : 0);
        else
            table[i] = build_table(guest, gpa, level - 1, absent, next) | EPT_READ_WRITE_EXECUTE;
    }
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

static void rebuild_ept(struct vcpu *vcpu)
{
    struct guest *guest = guest_of(vcpu);
    if (vcpu->index == 0)
        build_ept(guest);
    vmcs_write(guest, EPT_POINTER, guest->ept_pointer);
    if (vmx_invept(vcpu->processor, INVEPT_ALL_CONTEXTS, 0) != VMX_SUCCEED)
        vcpu_end(vcpu, MACHINE_INTERNAL, "INVEPT: VM-instruction error %u",
                 (unsigned)vmcs_read(guest, VM_INSTRUCTION_ERROR));
}

void guest_set_a20(struct vcpu *vcpu, bool open)
{
    guest_of(vcpu)->a20m = open ? 0 : A20;
    rebuild_ept(vcpu);
}

void guest_set_map(struct vcpu *vcpu)
{
    rebuild_ept(vcpu);
}
