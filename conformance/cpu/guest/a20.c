/* The A20 gate: with it closed address bit 20 is 0 (SDM vol. 3 8.7.13.4, "A20M#"; PIIX3 data sheet, port 92h). The
 * program lies between 2 and 3 MiB, where the bit is 0 anyway. */
#include "behaviour.h"
#include "paging.h"

enum { SYSTEM_CONTROL = 0x92, GATE = 1 << 1 };
enum { KBD_DATA = 0x60, KBD_COMMAND = 0x64, KBD_INPUT_FULL = 1 << 1, KBD_WRITE_OUTPUT_PORT = 0xd1, KBD_NULL = 0xff };

static word low_address = 0x600, high_address = 0x100600;

static volatile uint32_t *at(word *address)
{
    asm("" : "+r"(*address)); /* the compiler must not reason about such pointers */
    return (volatile uint32_t *)*address;
}

static bool closed(void)
{
    uint32_t low = *at(&low_address), high = *at(&high_address);
    *at(&low_address) = 0x10c0ffee;
    *at(&high_address) = 0x20c0ffee;
    bool same = *at(&low_address) == 0x20c0ffee;
    *at(&high_address) = high;
    *at(&low_address) = low;
    return same;
}

BEHAVIOUR(port_92, "SDM vol. 3 8.7.13.4: closed by port 92h, 1 MiB is the same memory as 0, and open again it is not")
{
    expect(!closed(), "A20 is closed at first");
    outb(SYSTEM_CONTROL, inb(SYSTEM_CONTROL) & ~(GATE | 1));
    bool shut = closed();
    outb(SYSTEM_CONTROL, (inb(SYSTEM_CONTROL) & ~1) | GATE);
    expect(shut, "1 MiB and 0 are different memory though port 92h closed A20");
    expect(!closed(), "A20 stays closed");
}

static void keyboard(uint16_t port, uint8_t value)
{
    for (unsigned tries = 0; inb(KBD_COMMAND) & KBD_INPUT_FULL; tries++)
        expect(tries < 1000000, "the keyboard controller takes no input");
    outb(port, value);
}

static void keyboard_gate(uint8_t output_port)
{
    keyboard(KBD_COMMAND, KBD_WRITE_OUTPUT_PORT);
    keyboard(KBD_DATA, output_port);
    keyboard(KBD_COMMAND, KBD_NULL);
    for (unsigned tries = 0; inb(KBD_COMMAND) & KBD_INPUT_FULL; tries++)
        expect(tries < 1000000, "the keyboard controller takes no input");
}

BEHAVIOUR(keyboard_controller, "8042: bit 1 of the output port (command D1h) is the A20 gate")
{
    outb(SYSTEM_CONTROL, inb(SYSTEM_CONTROL) & ~(GATE | 1));
    keyboard_gate(0xdd);
    bool shut = closed();
    keyboard_gate(0xdf);
    bool open = !closed();
    outb(SYSTEM_CONTROL, (inb(SYSTEM_CONTROL) & ~1) | GATE);
    expect(shut, "1 MiB and 0 are different memory though the controller closed A20");
    expect(open, "A20 stays closed");
}

BEHAVIOUR(with_paging, "SDM vol. 3 8.7.13.4: the gate masks the physical address that paging gives, not the linear one")
{
    paging_on(PAGE_W | PAGE_U);
    uint32_t low = *at(&low_address), high = *at(&high_address);
    word offset = low_address & (PAGE - 1), odd = WINDOW + 0x100000;
    *at(&low_address) = 0x11111111;
    *at(&high_address) = 0x22222222;
    map(WINDOW, high_address - offset, PAGE_P | PAGE_W);
    map(odd, low_address - offset, PAGE_P | PAGE_W);
    outb(SYSTEM_CONTROL, inb(SYSTEM_CONTROL) & ~(GATE | 1));
    flush_all();
    uint32_t physical = *(volatile uint32_t *)(WINDOW + offset), linear = *(volatile uint32_t *)(odd + offset);
    outb(SYSTEM_CONTROL, (inb(SYSTEM_CONTROL) & ~1) | GATE);
    flush_all();
    uint32_t open = *(volatile uint32_t *)(WINDOW + offset);
    *at(&low_address) = low;
    *at(&high_address) = high;
    expect_equal("a page at an odd megabyte with the gate closed", physical, 0x11111111);
    expect_equal("a page of an odd linear megabyte", linear, 0x11111111);
    expect_equal("the page with the gate open", open, 0x22222222);
}
