/* The processor as root code sees it from outside: made, looked at, kicked. */
#include "../chipset/snapshot.h"
#include "arena.h"
#include "mmu.h"
#include "trace.h"
#include "vmx_state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BANK_BYTES (TLB_BANKS * sizeof(struct tlb_bank))

struct processor *processor_create(struct arena *arena, const struct machine_config *config, unsigned index)
{
    struct processor *cpu = aligned_alloc(_Alignof(struct processor), sizeof *cpu);
    if (!cpu)
        return NULL;
    memset(cpu, 0, sizeof *cpu);
    cpu->arena = arena;
    cpu->index = index;
    cpu->next = arena->processors;
    arena->processors = cpu;
    cpu->banks = mmap(NULL, BANK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cpu->limited = trace_limited_create();
    cpu->vmx = vmx_create();
    if (cpu->banks == MAP_FAILED || !cpu->limited || !cpu->vmx) {
        processor_destroy(cpu);
        return NULL;
    }
    mmu_init(cpu);
    cpu_set_model(cpu, config);
    cpu_reset(cpu);
    return cpu;
}

void processor_destroy(struct processor *cpu)
{
    if (!cpu)
        return;
    for (struct processor **link = &cpu->arena->processors; *link; link = &(*link)->next)
        if (*link == cpu) {
            *link = cpu->next;
            break;
        }
    if (cpu->banks && cpu->banks != MAP_FAILED)
        munmap(cpu->banks, BANK_BYTES);
    free(cpu->limited);
    vmx_destroy(cpu->vmx);
    free(cpu);
}

void processor_snapshot(struct processor *cpu, struct snapshot *snapshot)
{
    struct vmx *vmx = cpu->vmx;
    SNAPSHOT(snapshot, cpu->s);
    SNAPSHOT(snapshot, cpu->delivered_at);
    SNAPSHOT(snapshot, cpu->deliveries);
    SNAPSHOT(snapshot, cpu->fault);
    SNAPSHOT(snapshot, cpu->leave);
    SNAPSHOT(snapshot, cpu->monitored);
    SNAPSHOT(snapshot, vmx->operation);
    SNAPSHOT(snapshot, vmx->resident);
    SNAPSHOT(snapshot, vmx->dirty);
    SNAPSHOT(snapshot, vmx->unblocked_at);
    SNAPSHOT(snapshot, vmx->injecting);
    SNAPSHOT(snapshot, vmx->region);
    SNAPSHOT(snapshot, vmx->current);
    SNAPSHOT(snapshot, vmx->root);
    SNAPSHOT(snapshot, vmx->vmcs);
    if (!snapshot->loading)
        return;
    vmx->dirty |= VMCS_CONTROLS; /* what is derived from them is not saved */
    cpu_update(cpu);
    mmu_flush_all(cpu);
}

struct registers *processor_registers(struct processor *cpu)
{
    return &cpu->s.registers;
}

void processor_kick(struct processor *cpu)
{
    __atomic_store_n(&cpu->kicked, 1, __ATOMIC_RELEASE);
}
