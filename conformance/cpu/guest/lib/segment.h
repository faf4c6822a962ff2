/* The GDT, the LDT and the TSS. */
#ifndef SEGMENT_H
#define SEGMENT_H

#include "cpu.h"
#include "trap.h"

enum {
    KERNEL_CS = 0x08,
    KERNEL_DS = 0x10,
#ifdef __x86_64__
    USER_CS32 = 0x1b,
    USER_DS = 0x23,
    USER_CS = 0x2b,
    TSS_SELECTOR = 0x30,
#else
    USER_CS = 0x1b,
    USER_DS = 0x23,
    TSS_SELECTOR = 0x28,
#endif
    SPARE = 0x40, /* free for a behaviour, to GDT_LIMIT */
    GDT_ENTRIES = 32,
    GDT_LIMIT = GDT_ENTRIES * 8 - 1,
};

/* Access bytes: SDM vol. 3 figure 5-1 and tables 3-1 and 3-2. */
enum {
    ACCESSED = 1,
    DATA_READ_ONLY = 0x90,
    DATA_WRITABLE = 0x92,
    DATA_EXPAND_DOWN = 0x96,
    CODE_EXECUTE_ONLY = 0x98,
    CODE_READABLE = 0x9a,
    CODE_CONFORMING = 0x9e,
    SYSTEM_LDT = 0x82,
    SYSTEM_TSS = 0x89,
    SYSTEM_TSS_BUSY = 0x8b,
    SYSTEM_CALL_GATE = 0x8c,
    SYSTEM_TASK_GATE = 0x85,
    DPL3 = 0x60,
    PRESENT = 0x80,
};
/* The upper nibble of byte 6. */
enum { GRANULAR = 8, BIG = 4, LONG = 2 };

extern uint64_t gdt[GDT_ENTRIES], ldt[4];

#ifdef __x86_64__
struct tss {
    uint32_t reserved0;
    uint64_t rsp[3], reserved1, ist[7], reserved2;
    uint16_t reserved3, io_map;
    uint8_t io_bitmap[33];
} __attribute__((packed));
#else
struct tss {
    uint16_t link, r0;
    uint32_t esp0;
    uint16_t ss0, r1;
    uint32_t esp1;
    uint16_t ss1, r2;
    uint32_t esp2;
    uint16_t ss2, r3;
    uint32_t cr3, eip, eflags, eax, ecx, edx, ebx, esp, ebp, esi, edi;
    uint16_t es, r4, cs, r5, ss, r6, ds, r7, fs, r8, gs, r9, ldt, r10;
    uint16_t trap, io_map;
    uint8_t io_bitmap[33]; /* ports 0 to FFh, and the byte behind */
};
#endif
extern struct tss tss;

/* `limit` in units of the granularity. */
uint64_t descriptor(uint32_t base, uint32_t limit, uint8_t access, uint8_t flags);
/* Puts it into the GDT; its selector at RPL 0 is `selector` again. */
uint16_t set_descriptor(uint16_t selector, uint32_t base, uint32_t limit, uint8_t access, uint8_t flags);
uint64_t call_gate(uint16_t selector, word offset, uint8_t access, uint8_t parameters);
void load_gdt(uint16_t limit);
void load_ldt(uint16_t selector);
void load_tr(uint16_t selector);
void segment_reset(void);

#define SEGMENT(name)                                                                                                  \
    static inline uint16_t get_##name(void)                                                                            \
    {                                                                                                                  \
        uint16_t selector;                                                                                             \
        asm volatile("mov %%" #name ", %0" : "=r"(selector));                                                          \
        return selector;                                                                                               \
    }                                                                                                                  \
    static inline void set_##name(uint16_t selector)                                                                   \
    {                                                                                                                  \
        asm volatile(MARK "1: mov %0, %%" #name : : "r"((word)selector) : "memory");                                   \
    }
SEGMENT(ds)
SEGMENT(es)
SEGMENT(fs)
SEGMENT(gs)
SEGMENT(ss)
#undef SEGMENT
static inline uint16_t get_cs(void)
{
    uint16_t selector;
    asm volatile("mov %%cs, %0" : "=r"(selector));
    return selector;
}

#endif
