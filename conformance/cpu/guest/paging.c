/* Paging in 32 bits: permissions, error codes, accessed and dirty bits, the TLB (SDM vol. 3 chapter 4). */
#include "behaviour.h"
#include "paging.h"
#include "segment.h"

#define READ(address) asm volatile(MARK "1: movb (%0), %%al" : : "r"(address) : "eax", "memory")
#define WRITE(address) asm volatile(MARK "1: movb $1, (%0)" : : "r"(address) : "memory")

static uint8_t *data;

/* A page of data, mapped at WINDOW. */
static void window(entry flags)
{
    paging_on(PAGE_W | PAGE_U);
    data = new_page();
    map(WINDOW, (word)data, flags);
}

BEHAVIOUR(not_present, "SDM vol. 3 4.7: an absent page is #PF with P clear, W/R and U/S for the access; CR2 has its address")
{
    window(0);
    expect_page_fault(CATCH(READ(WINDOW + 0x123)), 0, WINDOW + 0x123);
    expect_page_fault(CATCH(WRITE(WINDOW + 0x124)), PF_W, WINDOW + 0x124);
    expect_page_fault(CATCH_USER(READ(WINDOW)), PF_U, WINDOW);
    expect_page_fault(CATCH_USER(WRITE(WINDOW)), PF_U | PF_W, WINDOW);
    *entry_of(WINDOW, 2) = 0;
    flush_all();
    expect_page_fault(CATCH(READ(WINDOW + 0xfff)), 0, WINDOW + 0xfff);
}

BEHAVIOUR(user_permissions, "SDM vol. 3 4.6: at CPL 3 a page needs U/S, and R/W to be written; the error code has P set")
{
    window(PAGE_P | PAGE_W);
    expect_page_fault(CATCH_USER(READ(WINDOW)), PF_P | PF_U, WINDOW);
    expect_page_fault(CATCH_USER(WRITE(WINDOW)), PF_P | PF_U | PF_W, WINDOW);
    map(WINDOW, (word)data, PAGE_P | PAGE_U);
    expect_none(CATCH_USER(READ(WINDOW)));
    expect_page_fault(CATCH_USER(WRITE(WINDOW)), PF_P | PF_U | PF_W, WINDOW);
    map(WINDOW, (word)data, PAGE_P | PAGE_U | PAGE_W);
    expect_none(CATCH_USER(WRITE(WINDOW)));
}

BEHAVIOUR(write_protect, "SDM vol. 3 4.6: CPL 0 writes to read-only pages unless CR0.WP is set, then #PF 3")
{
    window(PAGE_P);
    expect_none(CATCH(WRITE(WINDOW)));
    expect_equal("what was written", data[0], 1);
    set_cr0(get_cr0() | CR0_WP);
    expect_page_fault(CATCH(WRITE(WINDOW)), PF_P | PF_W, WINDOW);
    expect_none(CATCH(READ(WINDOW)));
    map(WINDOW, (word)data, PAGE_P | PAGE_U);
    expect_page_fault(CATCH(WRITE(WINDOW)), PF_P | PF_W, WINDOW);
}

BEHAVIOUR(combined_rights, "SDM vol. 3 4.6: R/W and U/S count only where PDE and PTE both grant them")
{
    window(PAGE_P | PAGE_W | PAGE_U);
    *entry_of(WINDOW, 2) &= ~(entry)PAGE_W;
    flush_all();
    expect_none(CATCH_USER(READ(WINDOW)));
    expect_page_fault(CATCH_USER(WRITE(WINDOW)), PF_P | PF_U | PF_W, WINDOW);
    *entry_of(WINDOW, 2) = (*entry_of(WINDOW, 2) & ~(entry)PAGE_U) | PAGE_W;
    flush_all();
    expect_page_fault(CATCH_USER(READ(WINDOW)), PF_P | PF_U, WINDOW);
}

BEHAVIOUR(descriptor_table_access, "SDM vol. 3 4.6: what the processor itself reads of the GDT is a supervisor's access, at CPL 3 too")
{
    window(PAGE_P | PAGE_W);
    for (unsigned i = 0; i < GDT_ENTRIES; i++)
        ((uint64_t *)data)[i] = gdt[i];
    struct table_register table = {GDT_LIMIT, WINDOW};
    asm volatile("lgdt %0" : : "m"(table));
    expect_page_fault(CATCH_USER(READ(WINDOW)), PF_P | PF_U, WINDOW);
    expect_none(CATCH_USER(set_fs(USER_DS)));
}

BEHAVIOUR(accessed_dirty, "SDM vol. 3 4.8: a read sets A in PDE and PTE, a write sets D in the PTE; a fault sets no D")
{
    window(PAGE_P);
    *entry_of(WINDOW, 2) &= ~(entry)PAGE_A;
    flush_all();
    READ(WINDOW);
    expect_equal("A and D of the PTE after a read", *entry_of(WINDOW, 1) & (PAGE_A | PAGE_D), PAGE_A);
    expect_equal("A of the PDE after a read", *entry_of(WINDOW, 2) & PAGE_A, PAGE_A);
    set_cr0(get_cr0() | CR0_WP);
    expect_page_fault(CATCH(WRITE(WINDOW)), PF_P | PF_W, WINDOW);
    expect_equal("D of the PTE after a fault", *entry_of(WINDOW, 1) & PAGE_D, 0);
    map(WINDOW, (word)data, PAGE_P | PAGE_W);
    READ(WINDOW); /* the translation is cached now, without D */
    WRITE(WINDOW);
    expect_equal("A and D of the PTE after a write", *entry_of(WINDOW, 1) & (PAGE_A | PAGE_D), PAGE_A | PAGE_D);
}

BEHAVIOUR(large_page, "SDM vol. 3 4.3: a PDE with PS maps 4 MiB and has its own A and D; without CR4.PSE PS is ignored")
{
    window(PAGE_P | PAGE_W);
    static uint32_t value;
    value = 0x600df00d;
    word address = WINDOW + 0x400000;
    *entry_of(address, 2) = ((word)&value & 0xffc00000) | PAGE_P | PAGE_W | PAGE_PS;
    flush_all();
    uint32_t seen = *(volatile uint32_t *)(address + ((word)&value & 0x3fffff));
    expect_equal("the word through a large page", seen, value);
    expect_equal("A and D of the PDE after a read", *entry_of(address, 2) & (PAGE_A | PAGE_D), PAGE_A);
    WRITE(address + ((word)&value & 0x3fffff));
    expect_equal("A and D of the PDE after a write", *entry_of(address, 2) & (PAGE_A | PAGE_D), PAGE_A | PAGE_D);
}

BEHAVIOUR(large_page_reserved, "SDM vol. 3 4.3: a reserved bit in a 4 MiB PDE (bit 21) is #PF with P and RSVD")
{
    window(PAGE_P | PAGE_W);
    word address = WINDOW + 0x400000;
    *entry_of(address, 2) = PAGE_P | PAGE_W | PAGE_PS | 1 << 21;
    flush_all();
    expect_page_fault(CATCH(READ(address)), PF_P | PF_RSVD, address);
    expect_page_fault(CATCH_USER(WRITE(address)), PF_P | PF_RSVD | PF_U | PF_W, address);
}

BEHAVIOUR(split_access, "SDM vol. 3 4.7: of an access across two pages the page that faults is reported, and nothing is written")
{
    window(PAGE_P | PAGE_W);
    map(WINDOW + PAGE, 0, 0);
    data[PAGE - 1] = data[PAGE - 2] = 0x11;
    struct trap trap = CATCH(asm volatile(MARK "1: movl $-1, (%0)" : : "r"(WINDOW + PAGE - 2) : "memory"));
    expect_page_fault(trap, PF_W, WINDOW + PAGE);
    expect_equal("the bytes before", data[PAGE - 2] << 8 | data[PAGE - 1], 0x1111);
    uint8_t *second = new_page();
    map(WINDOW + PAGE, (word)second, PAGE_P | PAGE_W);
    expect_none(CATCH(asm volatile("movl $0x44332211, (%0)" : : "r"(WINDOW + PAGE - 2) : "memory")));
    expect_equal("the halves", (uint32_t)(data[PAGE - 2] | data[PAGE - 1] << 8 | second[0] << 16 | second[1] << 24),
                 0x44332211);
    map(WINDOW, 0, 0);
    trap = CATCH(asm volatile(MARK "1: movl (%0), %%eax" : : "r"(WINDOW + PAGE - 2) : "eax", "memory"));
    expect_page_fault(trap, 0, WINDOW + PAGE - 2);
}

BEHAVIOUR(invalidate_page, "SDM vol. 3 4.10.4: a changed entry is used after INVLPG of its page, and after a load of CR3")
{
    window(PAGE_P | PAGE_W);
    uint8_t *other = new_page();
    data[0] = 1, other[0] = 2;
    volatile uint8_t *at = (volatile uint8_t *)WINDOW;
    expect_equal("the first page", *at, 1);
    *entry_of(WINDOW, 1) = (word)other | PAGE_P | PAGE_W;
    invlpg(WINDOW + 0x800);
    expect_equal("the byte after INVLPG", *at, 2);
    *entry_of(WINDOW, 1) = (word)data | PAGE_P | PAGE_W;
    flush_all();
    expect_equal("the byte after a load of CR3", *at, 1);
    *entry_of(WINDOW, 1) = 0;
    invlpg(WINDOW);
    expect_page_fault(CATCH(READ(WINDOW)), 0, WINDOW);
    map(WINDOW, (word)data, PAGE_P);
    expect_none(CATCH(READ(WINDOW)));
}

BEHAVIOUR(more_rights_at_once, "SDM vol. 3 4.10.2.3: what is not present is never cached: a page that becomes present needs no INVLPG")
{
    window(0);
    expect_page_fault(CATCH(READ(WINDOW)), 0, WINDOW);
    *entry_of(WINDOW, 1) = (word)data | PAGE_P | PAGE_W;
    expect_none(CATCH(READ(WINDOW)));
}

BEHAVIOUR(global_page, "SDM vol. 3 4.10.2.4: a global page may outlive a load of CR3 and ends with INVLPG, or a change of CR4.PGE")
{
    need(FEATURE_PGE);
    window(PAGE_P | PAGE_W | PAGE_G);
    set_cr4(get_cr4() | CR4_PGE);
    uint8_t *other = new_page();
    data[0] = 1, other[0] = 2;
    volatile uint8_t *at = (volatile uint8_t *)WINDOW;
    expect_equal("the first page", *at, 1);
    *entry_of(WINDOW, 1) = (word)other | PAGE_P | PAGE_W | PAGE_G;
    set_cr4(get_cr4() & ~CR4_PGE);
    expect_equal("the byte after a change of CR4.PGE", *at, 2);
    set_cr4(get_cr4() | CR4_PGE);
    expect_equal("the byte before", *at, 2);
    *entry_of(WINDOW, 1) = (word)data | PAGE_P | PAGE_W | PAGE_G;
    invlpg(WINDOW);
    expect_equal("the byte after INVLPG", *at, 1);
}

BEHAVIOUR(fetch, "SDM vol. 3 4.7: a fetch from an absent page is #PF at the page's first byte when the instruction crosses into it")
{
    window(PAGE_P | PAGE_W);
    map(WINDOW + PAGE, 0, 0);
    data[PAGE - 2] = 0xb8; /* MOV EAX, imm32 */
    struct trap trap = CATCH(asm volatile("jmp *%0" : : "r"(WINDOW + PAGE - 2) : "eax"));
    expect_page_fault(trap, 0, WINDOW + PAGE);
    expect_equal("EIP", trap.ip, WINDOW + PAGE - 2);
    data[PAGE - 1] = 0x90;
    data[PAGE - 2] = 0x90;
    trap = CATCH(asm volatile("jmp *%0" : : "r"(WINDOW + PAGE - 2) : "eax"));
    expect_page_fault(trap, 0, WINDOW + PAGE);
    expect_equal("EIP", trap.ip, WINDOW + PAGE);
}

static void make_present(struct frame *frame)
{
    map(get_cr2() & ~(word)(PAGE - 1), (word)data, PAGE_P | PAGE_W);
    (void)frame;
}

BEHAVIOUR(restart, "SDM vol. 3 6.15 #PF: the instruction begins anew after IRET; what it changed before is taken back")
{
    window(PAGE_P | PAGE_W);
    map(WINDOW + PAGE, 0, 0);
    struct trap trap = CATCH(asm volatile(MARK "1: xchg %%eax, (%0)" : : "r"(WINDOW + PAGE), "a"(0x1234) : "memory"));
    expect_page_fault(trap, PF_W, WINDOW + PAGE);
    expect_equal("EAX of XCHG", trap.frame.ax, 0x1234);
    trap = CATCH(asm volatile(MARK "1: cmpxchg %%ecx, (%0)" : : "r"(WINDOW + PAGE), "a"(0x1234), "c"(5) : "memory"));
    expect_page_fault(trap, PF_W, WINDOW + PAGE);
    expect_equal("EAX of CMPXCHG", trap.frame.ax, 0x1234);
    handle(PF, make_present);
    word before, after;
    asm volatile("mov %%esp, %0; push $0x55; popl (%2); mov %%esp, %1"
                 : "=&r"(before), "=&r"(after)
                 : "r"(WINDOW + PAGE)
                 : "memory");
    expect_equal("ESP after POP to a page that came late", after, before);
    expect_equal("what was popped", data[0], 0x55);
}

/* ---- PAE ---- */

static uint64_t pdpt[4] __attribute__((aligned(32)));
static uint64_t *pae_table;

/* The first GiB in pages of 2 MiB, and a table for WINDOW_PAE. */
#define WINDOW_PAE 0x40000000
static void pae_on(void)
{
    need(FEATURE_PAE);
    set_cr0(get_cr0() & ~CR0_PG); /* the pool's pages are below the first GiB */
    paging_on(PAGE_W | PAGE_U);
    uint64_t *flat = new_page(), *directory = new_page();
    pae_table = new_page();
    data = new_page();
    for (unsigned i = 0; i < 512; i++)
        flat[i] = (uint64_t)i << 21 | PAGE_P | PAGE_W | PAGE_U | PAGE_PS;
    directory[0] = (word)pae_table | PAGE_P | PAGE_W | PAGE_U;
    pae_table[0] = (word)data | PAGE_P | PAGE_W | PAGE_U;
    pdpt[0] = (word)flat | PAGE_P;
    pdpt[1] = (word)directory | PAGE_P;
    pdpt[2] = pdpt[3] = 0;
    set_cr0(get_cr0() & ~CR0_PG);
    set_cr4(get_cr4() | CR4_PAE);
    set_cr3((word)pdpt);
    set_cr0(get_cr0() | CR0_PG);
}

BEHAVIOUR(pae, "SDM vol. 3 4.4: with CR4.PAE three levels of 64-bit entries translate")
{
    pae_on();
    data[5] = 0x42;
    expect_equal("the byte", *(volatile uint8_t *)(WINDOW_PAE + 5), 0x42);
    expect_page_fault(CATCH(READ(WINDOW_PAE + PAGE)), 0, WINDOW_PAE + PAGE);
    expect_page_fault(CATCH(READ(0x80000000)), 0, 0x80000000);
}

BEHAVIOUR(pae_reserved, "SDM vol. 3 4.4.2: reserved bits of a PTE are #PF with RSVD")
{
    pae_on();
    pae_table[0] |= 1ull << 62;
    flush_all();
    expect_page_fault(CATCH(READ(WINDOW_PAE)), PF_P | PF_RSVD, WINDOW_PAE);
    pae_table[0] &= ~(1ull << 62);
    if (has(FEATURE_NX)) {
        pae_table[0] |= PAGE_NX; /* reserved while EFER.NXE is clear */
        flush_all();
        expect_page_fault(CATCH(READ(WINDOW_PAE)), PF_P | PF_RSVD, WINDOW_PAE);
    }
}

BEHAVIOUR(pae_pdpte_reserved, "SDM vol. 3 4.4.1: a load of CR3 with a reserved bit in a PDPTE that is present is #GP(0)")
{
    pae_on();
    pdpt[2] = 1 << 5; /* not present: nothing is reserved */
    expect_none(CATCH(flush_all()));
    pdpt[1] |= 1 << 5;
    struct trap trap = CATCH(flush_all());
    pdpt[1] &= ~(1ull << 5);
    expect_fault(trap, GP, 0);
}

BEHAVIOUR(pae_pdpte_registers, "SDM vol. 3 4.4.1: PDPTEs are loaded with CR3: a change in memory has no effect before")
{
    pae_on();
    READ(WINDOW_PAE);
    uint64_t old = pdpt[1];
    pdpt[1] = 0;
    invlpg(WINDOW_PAE);
    expect_none(CATCH(READ(WINDOW_PAE)));
    flush_all();
    struct trap trap = CATCH(READ(WINDOW_PAE));
    pdpt[1] = old;
    expect_page_fault(trap, 0, WINDOW_PAE);
}

BEHAVIOUR(execute_disable, "SDM vol. 3 4.6, 4.7: with EFER.NXE a fetch from a page with XD is #PF with I/D; data are not concerned")
{
    need(FEATURE_NX);
    pae_on();
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    data[0] = 0xc3; /* RET */
    expect_none(CATCH(asm volatile("call *%0" : : "r"(WINDOW_PAE) : "memory")));
    pae_table[0] |= PAGE_NX;
    flush_all();
    expect_none(CATCH(READ(WINDOW_PAE)));
    expect_page_fault(CATCH(asm volatile("call *%0" : : "r"(WINDOW_PAE) : "memory")), PF_P | PF_I, WINDOW_PAE);
    expect_page_fault(CATCH_USER(asm volatile("call *%0" : : "r"(WINDOW_PAE) : "memory")), PF_P | PF_I | PF_U, WINDOW_PAE);
    pae_table[0] = 0;
    flush_all();
    expect_page_fault(CATCH(asm volatile("call *%0" : : "r"(WINDOW_PAE) : "memory")), PF_I, WINDOW_PAE);
}

BEHAVIOUR(cr0_checks, "SDM vol. 3 2.5, 6.15 #GP: CR0 with PG but not PE, or NW but not CD, is #GP(0)")
{
    expect_fault(CATCH(asm volatile(MARK "1: mov %0, %%cr0" : : "r"((get_cr0() & ~CR0_PE) | CR0_PG))), GP, 0);
    expect_fault(CATCH(asm volatile(MARK "1: mov %0, %%cr0" : : "r"(get_cr0() | CR0_NW))), GP, 0);
}
