/* The I/O APIC (82093AA data sheet). */
#include "apic.h"
#include "behaviour.h"
#include "timers.h"

#define LET_COME asm volatile("sti; nop; nop; nop; cli" : : : "memory")

enum { VECTOR = 0x61 };

static void need_ioapic(void)
{
    need_apic();
    uint32_t version = ioapic_read(1);
    if (version == 0 || version == 0xffffffff)
        skip("there is no I/O APIC at FEC00000h");
}

/* IRQ 4 is pin 4 on a PC; COM1's line, high while its transmitter wants service. */
BEHAVIOUR(edge, "82093AA data sheet 3.2.4: an unmasked pin sends its vector at a rising edge, to the destination given")
{
    need_ioapic();
    count_vector(VECTOR);
    ioapic_write(0x11 + 2 * IRQ_COM1, apic_read(APIC_ID));
    ioapic_write(0x10 + 2 * IRQ_COM1, VECTOR);
    uart_irq(true);
    LET_COME;
    LET_COME;
    expect_equal("interrupts of the first edge", vector_count[VECTOR], 1);
    uart_irq(false);
    uart_irq(true);
    LET_COME;
    uart_irq(false);
    expect_equal("interrupts of the second edge", vector_count[VECTOR], 2);
}

static volatile unsigned level_count;

static void level(struct frame *frame)
{
    (void)frame;
    if (++level_count == 3)
        uart_irq(false);
    apic_write(APIC_EOI, 0);
}

BEHAVIOUR(level_triggered, "82093AA data sheet 3.2.4: a level-triggered pin sends again after EOI while its line is high; Remote IRR is set between")
{
    need_ioapic();
    enum { TRIGGER_LEVEL = 1 << 15, REMOTE_IRR = 1 << 14 };
    level_count = 0;
    handle(VECTOR, level);
    ioapic_write(0x11 + 2 * IRQ_COM1, apic_read(APIC_ID));
    ioapic_write(0x10 + 2 * IRQ_COM1, TRIGGER_LEVEL | VECTOR);
    uart_irq(true);
    bool pending = ioapic_read(0x10 + 2 * IRQ_COM1) & REMOTE_IRR;
    bool trigger = apic_bit(APIC_IRR, VECTOR) && apic_bit(APIC_TMR, VECTOR);
    for (unsigned i = 0; i < 10; i++)
        LET_COME;
    uart_irq(false);
    expect(pending, "Remote IRR is clear with the interrupt pending");
    expect(trigger, "TMR's bit is clear for a level-triggered interrupt");
    expect_equal("interrupts", level_count, 3);
    expect_equal("Remote IRR behind", ioapic_read(0x10 + 2 * IRQ_COM1) & REMOTE_IRR, 0);
}

BEHAVIOUR(masked, "82093AA data sheet 3.2.4: a masked pin sends nothing")
{
    need_ioapic();
    count_vector(VECTOR);
    ioapic_write(0x11 + 2 * IRQ_COM1, apic_read(APIC_ID));
    ioapic_write(0x10 + 2 * IRQ_COM1, LVT_MASKED | VECTOR);
    uart_irq(true);
    LET_COME;
    uart_irq(false);
    expect_equal("interrupts", vector_count[VECTOR], 0);
}
