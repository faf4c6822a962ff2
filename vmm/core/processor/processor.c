/* The processor as root code sees it from outside: made, looked at, kicked. */
#include "mmu.h"
#include "trace.h"
#include "vmx_state.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BANK_BYTES (TLB_BANKS * sizeof(struct tlb_bank))

struct processor *processor_create(struct arena *arena, const struct machine_config *config)
{
    struct processor *cpu = aligned_alloc(_Alignof(struct processor), sizeof *cpu);
    if (!cpu)
        return NULL;
    memset(cpu, 0, sizeof *cpu);
    cpu->arena = arena;
    cpu->banks = mmap(NULL, BANK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cpu->traces = trace_cache_create();
    cpu->vmx = vmx_create();
    if (cpu->banks == MAP_FAILED || !cpu->traces || !cpu->vmx) {
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
    if (cpu->banks && cpu->banks != MAP_FAILED)
        munmap(cpu->banks, BANK_BYTES);
    trace_cache_destroy(cpu->traces);
    vmx_destroy(cpu->vmx);
    free(cpu);
}

struct registers *processor_registers(struct processor *cpu)
{
    return &cpu->s.registers;
}

void processor_kick(struct processor *cpu)
{
    __atomic_store_n(&cpu->kicked, 1, __ATOMIC_RELEASE);
}
