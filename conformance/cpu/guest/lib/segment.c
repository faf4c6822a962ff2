#include "segment.h"

#include "trap.h"

uint64_t gdt[GDT_ENTRIES] __attribute__((aligned(16))), ldt[4];
struct tss tss __attribute__((aligned(128)));

uint64_t descriptor(uint32_t base, uint32_t limit, uint8_t access, uint8_t flags)
{
    return (limit & 0xffff) | (uint64_t)(base & 0xffffff) << 16 | (uint64_t)access << 40 |
           (uint64_t)(limit >> 16 & 15) << 48 | (uint64_t)flags << 52 | (uint64_t)(base >> 24) << 56;
}

uint16_t set_descriptor(uint16_t selector, uint32_t base, uint32_t limit, uint8_t access, uint8_t flags)
{
    gdt[selector / 8] = descriptor(base, limit, access, flags);
    return selector;
}

uint64_t call_gate(uint16_t selector, word offset, uint8_t access, uint8_t parameters)
{
    return (offset & 0xffff) | (uint64_t)selector << 16 | (uint64_t)parameters << 32 | (uint64_t)access << 40 |
           (uint64_t)(offset >> 16 & 0xffff) << 48;
}

void load_gdt(uint16_t limit)
{
    struct table_register table = {limit, (word)gdt};
    asm volatile("lgdt %0" : : "m"(table));
}

void load_ldt(uint16_t selector)
{
    asm volatile(MARK "1: lldt %0" : : "r"(selector) : "memory");
}

void load_tr(uint16_t selector)
{
    asm volatile(MARK "1: ltr %0" : : "r"(selector) : "memory");
}

void segment_reset(void)
{
    for (unsigned i = 0; i < GDT_ENTRIES; i++)
        gdt[i] = 0;
#ifdef __x86_64__
    set_descriptor(KERNEL_CS, 0, 0xfffff, CODE_READABLE, GRANULAR | LONG);
    set_descriptor(USER_CS32 & ~3, 0, 0xfffff, CODE_READABLE | DPL3, GRANULAR | BIG);
    set_descriptor(USER_CS & ~3, 0, 0xfffff, CODE_READABLE | DPL3, GRANULAR | LONG);
#else
    set_descriptor(KERNEL_CS, 0, 0xfffff, CODE_READABLE, GRANULAR | BIG);
    set_descriptor(USER_CS & ~3, 0, 0xfffff, CODE_READABLE | DPL3, GRANULAR | BIG);
#endif
    set_descriptor(KERNEL_DS, 0, 0xfffff, DATA_WRITABLE, GRANULAR | BIG);
    set_descriptor(USER_DS & ~3, 0, 0xfffff, DATA_WRITABLE | DPL3, GRANULAR | BIG);
    set_descriptor(TSS_SELECTOR, (uint32_t)(word)&tss, sizeof tss - 1, SYSTEM_TSS, 0);
    tss = (struct tss){.io_map = sizeof tss}; /* no port is allowed */
#ifdef __x86_64__
    tss.rsp[0] = (word)trap_stack_top;
#else
    tss.esp0 = (word)trap_stack_top;
    tss.ss0 = KERNEL_DS;
#endif
    load_gdt(GDT_LIMIT);
#ifdef __x86_64__
    asm volatile("push $8; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:" : : : "rax", "memory");
#else
    asm volatile("ljmp $8, $1f; 1:" : : : "memory");
#endif
    set_ds(KERNEL_DS);
    set_es(KERNEL_DS);
    set_ss(KERNEL_DS);
    set_fs(0);
    set_gs(0);
    load_ldt(0);
    load_tr(TSS_SELECTOR);
}
