/* LOCK and the read-modify-write instructions (SDM vol. 3 8.1; vol. 2 LOCK, CMPXCHG, XADD). */
#include "behaviour.h"
#include "paging.h"
#include "timers.h"

BEHAVIOUR(lock_undefined, "SDM vol. 2 LOCK: on an instruction that does not take it, or a register destination, it is #UD")
{
    static uint32_t memory;
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0xf0; movl %%eax, %0" : "+m"(memory))), UD, 0);
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0xf0; addl %0, %%eax" : : "m"(memory) : "eax")), UD, 0);
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0xf0; incl %%ecx" : : : "ecx")), UD, 0); /* FF /0 or 41 */
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0xf0; cmpl $1, %0" : : "m"(memory))), UD, 0);
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0xf0; nop")), UD, 0);
    expect_none(CATCH(asm volatile("lock; incl %0; lock; btsl $3, %0; lock; notl %0" : "+m"(memory))));
}

BEHAVIOUR(cmpxchg, "SDM vol. 2 CMPXCHG: equal stores the source and sets ZF, different loads the accumulator and clears it")
{
    uint32_t memory = 5, eax = 5;
    bool zero;
    asm volatile("lock; cmpxchgl %3, %0; setz %2" : "+m"(memory), "+a"(eax), "=q"(zero) : "r"(9) : "cc");
    expect(zero && memory == 9 && eax == 5, "equal: ZF %u, memory %u, EAX %u; expected 1, 9, 5", zero, memory, eax);
    asm volatile("lock; cmpxchgl %3, %0; setz %2" : "+m"(memory), "+a"(eax), "=q"(zero) : "r"(7) : "cc");
    expect(!zero && memory == 9 && eax == 9, "different: ZF %u, memory %u, EAX %u; expected 0, 9, 9", zero, memory, eax);
}

BEHAVIOUR(cmpxchg_writes, "SDM vol. 2 CMPXCHG: the destination is written in either case: a read-only page faults, D is set")
{
    paging_on(PAGE_W | PAGE_U);
    uint32_t *data = new_page();
    *data = 1;
    map(WINDOW, (word)data, PAGE_P);
    set_cr0(get_cr0() | CR0_WP);
    struct trap trap = CATCH(asm volatile(MARK "1: cmpxchgl %%ecx, (%0)" : : "r"(WINDOW), "a"(2), "c"(3) : "memory"));
    expect_page_fault(trap, PF_P | PF_W, WINDOW);
    expect_equal("EAX", trap.frame.ax, 2);
    map(WINDOW, (word)data, PAGE_P | PAGE_W);
    asm volatile("cmpxchgl %%ecx, (%0)" : : "r"(WINDOW), "a"(2), "c"(3) : "memory");
    expect_equal("D of the PTE", *entry_of(WINDOW, 1) & PAGE_D, PAGE_D);
}

BEHAVIOUR(cmpxchg8b, "SDM vol. 2 CMPXCHG8B: compares EDX:EAX, stores ECX:EBX or loads EDX:EAX; a register operand is #UD")
{
    need(FEATURE_CX8);
    uint64_t memory = 0x1122334455667788;
    uint32_t eax = 0x55667788, edx = 0x11223344;
    bool zero;
    asm volatile("lock; cmpxchg8b %0; setz %b1" : "+m"(memory), "+a"(eax), "+d"(edx) : "b"(1), "c"(2) : "cc");
    expect_equal("memory", memory, 0x0000000200000001);
    eax = 7, edx = 8;
    asm volatile("cmpxchg8b %0; setz %3" : "+m"(memory), "+a"(eax), "+d"(edx), "=c"(zero) : "b"(1), "c"(2) : "cc");
    expect(!zero && eax == 1 && edx == 2, "ZF %u, EDX:EAX %x:%x; expected 0, 2:1", zero, edx, eax);
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0x0f, 0xc7, 0xc9" : : : "eax", "edx")), UD, 0);
}

BEHAVIOUR(xadd_xchg, "SDM vol. 2 XADD, XCHG: the old value comes back; XADD sets flags as ADD, XCHG none")
{
    uint32_t memory = 0xffffffff, value = 1;
    bool carry, zero;
    asm volatile("lock; xaddl %1, %0; setc %2; setz %3" : "+m"(memory), "+r"(value), "=q"(carry), "=q"(zero) : : "cc");
    expect(memory == 0 && value == 0xffffffff && carry && zero, "memory %x, register %x, CF %u, ZF %u; expected 0, ffffffff, 1, 1",
           memory, value, carry, zero);
    asm volatile("stc; xchgl %1, %0; setc %2" : "+m"(memory), "+r"(value), "=q"(carry) : : "cc");
    expect(memory == 0xffffffff && value == 0 && carry, "memory %x, register %x, CF %u; expected ffffffff, 0, 1", memory,
           value, carry);
}

BEHAVIOUR(split_lock, "SDM vol. 3 8.1.2.2: LOCK works on operands of any alignment, across cache lines and pages")
{
    paging_on(PAGE_W | PAGE_U);
    uint8_t *one = new_page(), *two = new_page();
    map(WINDOW, (word)two, PAGE_P | PAGE_W); /* not in the order of their physical addresses */
    map(WINDOW + PAGE, (word)one, PAGE_P | PAGE_W);
    two[PAGE - 1] = 0xff;
    asm volatile("lock; addl $1, (%0)" : : "r"(WINDOW + PAGE - 1) : "memory");
    expect_equal("the bytes on both sides", two[PAGE - 1] << 8 | one[0], 0x0001);
    uint32_t value = 0x55667788;
    asm volatile("xchgl %0, (%1)" : "+r"(value) : "r"(WINDOW + PAGE - 1) : "memory");
    expect_equal("the old value", value, 0x100);
    expect_equal("the bytes behind", one[0] | one[1] << 8 | one[2] << 16, 0x556677);
    value = 0;
    asm volatile("lock; xaddl %0, (%1)" : "+r"(value) : "r"(WINDOW + 61) : "memory");
    expect_equal("the old value across two cache lines", value, 0);
}

static volatile uint32_t counter, ticks;

static void tick(struct frame *frame)
{
    (void)frame;
    asm volatile("lock; incl %0" : "+m"(counter));
    ticks++;
    pic_eoi(IRQ_PIT);
}

BEHAVIOUR(interrupt_between, "SDM vol. 3 6.6: an interrupt never comes in the middle of INC on memory: none is lost")
{
    enum { TICKS = 10, MOST = 400000000 }; /* in the host's time a tick may be long in coming */
    uint32_t turns = 0;
    counter = ticks = 0;
    handle(PIC_VECTOR + IRQ_PIT, tick);
    pit_start(2, 60); /* every 50 us */
    pic_unmask(IRQ_PIT);
    sti();
    for (; ticks < TICKS && turns < MOST; turns++)
        asm volatile("incl %0" : "+m"(counter));
    cli();
    pic_mask(IRQ_PIT);
    expect(ticks > 0, "no interrupt came");
    expect_equal("the sum", counter, turns + ticks);
}
