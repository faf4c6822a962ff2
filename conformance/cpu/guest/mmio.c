/* Accesses to a device's registers by every kind of instruction, and across the ends of its page. The device is the
 * local APIC: its task priority register (offset 80h) keeps what is written to its low eight bits. */
#include "apic.h"
#include "behaviour.h"
#include "paging.h"

#define TPR ((volatile uint32_t *)(APIC_BASE + APIC_TPR))
enum { DEVICE_PAGE = WINDOW + PAGE, AFTER = WINDOW + 2 * PAGE };

static uint32_t *ram_before, *ram_after;

/* RAM, the device, RAM, page by page. */
static void neighbours(void)
{
    paging_on(PAGE_W);
    ram_before = new_page();
    ram_after = new_page();
    map(WINDOW, (word)ram_before, PAGE_P | PAGE_W);
    map(DEVICE_PAGE, APIC_BASE, PAGE_P | PAGE_W);
    map(AFTER, (word)ram_after, PAGE_P | PAGE_W);
}

BEHAVIOUR(read_modify_write, "SDM vol. 2: ADD, OR, AND, XOR, INC, NEG and NOT on a device read it once and write it once")
{
    need_apic();
    *TPR = 0x10;
    asm volatile("addl $0x20, %0" : "+m"(*TPR));
    expect_equal("after ADD", *TPR, 0x30);
    asm volatile("orl $0x41, %0" : "+m"(*TPR));
    expect_equal("after OR", *TPR, 0x71);
    asm volatile("andl $0xf0, %0" : "+m"(*TPR));
    expect_equal("after AND", *TPR, 0x70);
    asm volatile("xorl $0xff, %0" : "+m"(*TPR));
    expect_equal("after XOR", *TPR, 0x8f);
    asm volatile("incl %0" : "+m"(*TPR));
    expect_equal("after INC", *TPR, 0x90);
    asm volatile("negl %0" : "+m"(*TPR));
    expect_equal("after NEG", *TPR, 0x70);
    asm volatile("notl %0" : "+m"(*TPR));
    expect_equal("after NOT", *TPR, 0x8f);
}

BEHAVIOUR(flags, "SDM vol. 2: CMP and TEST on a device set the flags of what they read")
{
    need_apic();
    *TPR = 0x50;
    bool equal, above, zero;
    asm volatile("cmpl $0x50, %1; sete %0" : "=q"(equal) : "m"(*TPR));
    asm volatile("cmpl $0x4f, %1; seta %0" : "=q"(above) : "m"(*TPR));
    asm volatile("testl $0x0f, %1; setz %0" : "=q"(zero) : "m"(*TPR));
    expect(equal && above && zero, "ZF of CMP is %u, above is %u, ZF of TEST is %u", equal, above, zero);
}

BEHAVIOUR(exchange, "SDM vol. 2: XCHG, XADD and CMPXCHG work on a device")
{
    need_apic();
    *TPR = 0x30;
    uint32_t value = 0x60;
    asm volatile("xchgl %0, %1" : "+r"(value), "+m"(*TPR));
    expect_equal("what XCHG read", value, 0x30);
    expect_equal("after XCHG", *TPR, 0x60);
    value = 0x10;
    asm volatile("xaddl %0, %1" : "+r"(value), "+m"(*TPR));
    expect_equal("what XADD read", value, 0x60);
    expect_equal("after XADD", *TPR, 0x70);
    uint32_t old = 0x70;
    asm volatile("cmpxchgl %2, %1" : "+a"(old), "+m"(*TPR) : "r"(0x20));
    expect_equal("after CMPXCHG", *TPR, 0x20);
}

BEHAVIOUR(stack, "SDM vol. 2: PUSH reads a device and POP writes it")
{
    need_apic();
    *TPR = 0x40;
    uint32_t value;
    asm volatile("pushl %1; popl %0" : "=r"(value) : "m"(*TPR));
    expect_equal("what PUSH read", value, 0x40);
    asm volatile("pushl $0x60; popl %0" : "=m"(*TPR));
    expect_equal("after POP", *TPR, 0x60);
}

BEHAVIOUR(strings, "SDM vol. 2: MOVS, STOS, LODS and SCAS work on a device")
{
    need_apic();
    uint32_t buffer[2] = {0x20, 0}, value;
    const void *from = buffer;
    void *to = (void *)TPR;
    asm volatile("movsl" : "+S"(from), "+D"(to) : : "memory");
    expect_equal("after MOVS to it", *TPR, 0x20);
    from = (const void *)TPR;
    to = &buffer[1];
    asm volatile("movsl" : "+S"(from), "+D"(to) : : "memory");
    expect_equal("what MOVS from it read", buffer[1], 0x20);
    to = (void *)TPR;
    asm volatile("stosl" : "+D"(to) : "a"(0x50) : "memory");
    expect_equal("after STOS", *TPR, 0x50);
    from = (const void *)TPR;
    asm volatile("lodsl" : "=a"(value), "+S"(from) : : "memory");
    expect_equal("what LODS read", value, 0x50);
    to = (void *)TPR;
    bool same;
    asm volatile("scasl; sete %b0" : "=a"(value), "+D"(to) : "0"(0x50) : "memory", "cc");
    same = value & 1;
    expect(same, "SCAS found something else");
}

BEHAVIOUR(unaligned, "SDM vol. 3 10.4.1: what an unaligned access to the APIC gives is not defined, but the instruction completes")
{
    need_apic();
    static volatile uint32_t value;
    expect_none(CATCH(value = *(volatile uint32_t *)(APIC_BASE + APIC_VERSION + 2)));
    expect_none(CATCH(value = *(volatile uint16_t *)(APIC_BASE + APIC_VERSION + 15)));
}

BEHAVIOUR(write_into_the_page, "SDM vol. 3 8.1.1: of a write across two pages the half in RAM arrives, whatever the other half meets")
{
    need_apic();
    neighbours();
    expect_none(CATCH(*(volatile uint32_t *)(DEVICE_PAGE - 2) = 0x00001234));
    expect_equal("RAM before the device", ram_before[PAGE / 4 - 1], 0x12340000);
    expect_none(CATCH(*(volatile uint32_t *)(AFTER - 2) = 0x56780000));
    expect_equal("RAM behind the device", ram_after[0], 0x5678);
}

BEHAVIOUR(read_out_of_the_page, "SDM vol. 3 8.1.1: of a read across two pages the half in RAM is what lies there")
{
    need_apic();
    neighbours();
    static volatile uint32_t value;
    ram_before[PAGE / 4 - 1] = 0xabcd0000;
    expect_none(CATCH(value = *(volatile uint32_t *)(DEVICE_PAGE - 2)));
    expect_equal("the half from RAM before the device", value & 0xffff, 0xabcd);
    ram_after[0] = 0x4321;
    expect_none(CATCH(value = *(volatile uint32_t *)(AFTER - 2)));
    expect_equal("the half from RAM behind the device", value >> 16, 0x4321);
}

BEHAVIOUR(fault_behind_the_device, "SDM vol. 3 6.5: a write whose second page is absent faults and changes nothing of the first")
{
    need_apic();
    neighbours();
    map(AFTER, 0, 0);
    map(DEVICE_PAGE, (word)ram_before, PAGE_P | PAGE_W);
    ram_before[PAGE / 4 - 1] = 0x11111111;
    expect_page_fault(CATCH(*(volatile uint32_t *)(AFTER - 2) = 0x22222222), PF_W, AFTER);
    expect_equal("the first page", ram_before[PAGE / 4 - 1], 0x11111111);
}
