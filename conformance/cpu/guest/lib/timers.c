#include "timers.h"

#include "trap.h"

/* ---- 8259 ---- */

volatile unsigned irq_count[16], irq_total;
volatile uint8_t irq_order[16];

void pic_reset(void)
{
    outb(PIC_MASTER, 0x11); /* ICW1: edges, cascade, ICW4 follows */
    outb(PIC_SLAVE, 0x11);
    outb(PIC_MASTER + 1, PIC_VECTOR);
    outb(PIC_SLAVE + 1, PIC_VECTOR + 8);
    outb(PIC_MASTER + 1, 1 << IRQ_CASCADE);
    outb(PIC_SLAVE + 1, IRQ_CASCADE);
    outb(PIC_MASTER + 1, 1); /* ICW4: 8086, EOI by the program */
    outb(PIC_SLAVE + 1, 1);
    outb(PIC_MASTER + 1, 0xff);
    outb(PIC_SLAVE + 1, 0xff);
    for (unsigned irq = 0; irq < 16; irq++)
        irq_count[irq] = 0;
    irq_total = 0;
}

static uint16_t pic_data(unsigned irq)
{
    return irq < 8 ? PIC_MASTER + 1 : PIC_SLAVE + 1;
}

void pic_unmask(unsigned irq)
{
    outb(pic_data(irq), inb(pic_data(irq)) & ~(1 << irq % 8));
    if (irq >= 8)
        pic_unmask(IRQ_CASCADE);
}

void pic_mask(unsigned irq)
{
    outb(pic_data(irq), inb(pic_data(irq)) | 1 << irq % 8);
}

void pic_eoi(unsigned irq)
{
    if (irq >= 8)
        outb(PIC_SLAVE, 0x20);
    outb(PIC_MASTER, 0x20);
}

static uint16_t pic_register(uint8_t ocw3)
{
    outb(PIC_MASTER, ocw3);
    outb(PIC_SLAVE, ocw3);
    return (uint16_t)(inb(PIC_MASTER) | inb(PIC_SLAVE) << 8);
}

uint16_t pic_irr(void)
{
    return pic_register(0x0a);
}

uint16_t pic_isr(void)
{
    return pic_register(0x0b);
}

static void counted(struct frame *frame)
{
    unsigned irq = (unsigned)frame->vector - PIC_VECTOR;
    irq_order[irq_total++ & 15] = (uint8_t)irq;
    irq_count[irq]++;
    if (irq == IRQ_COM1)
        uart_irq(false);
    if (irq == IRQ_RTC)
        rtc_read(RTC_C);
    pic_eoi(irq);
}

void count_irq(unsigned irq)
{
    handle(PIC_VECTOR + irq, counted);
    pic_unmask(irq);
}

void uart_irq(bool on)
{
    enum { IER = 0x3f9, IIR = 0x3fa, MCR = 0x3fc, THRE = 2, OUT2 = 8 };
    if (on)
        outb(MCR, inb(MCR) | OUT2); /* without it a PC's interrupt line floats */
    outb(IER, on ? THRE : 0);
    if (!on)
        inb(IIR);
}

/* ---- 8254 ---- */

void pit_start(unsigned mode, unsigned count)
{
    outb(0x43, (uint8_t)(0x30 | mode << 1)); /* counter 0, low byte and high byte */
    outb(0x40, (uint8_t)count);
    outb(0x40, (uint8_t)(count >> 8));
}

unsigned pit_count(void)
{
    outb(0x43, 0);
    unsigned low = inb(0x40);
    return low | (unsigned)inb(0x40) << 8;
}

unsigned pit_status(void)
{
    outb(0x43, 0xe2); /* status of counter 0 */
    return inb(0x40);
}

void pit_wait(unsigned ticks)
{
    unsigned before = irq_count[IRQ_PIT];
    pit_start(0, ticks);
    count_irq(IRQ_PIT);
    while (irq_count[IRQ_PIT] == before) {
        sti_hlt();
        cli();
    }
    pic_mask(IRQ_PIT);
}

/* ---- MC146818 ---- */

uint8_t rtc_read(uint8_t index)
{
    outb(0x70, index);
    return inb(0x71);
}

void rtc_write(uint8_t index, uint8_t value)
{
    outb(0x70, index);
    outb(0x71, value);
}

void timers_reset(void)
{
    pit_start(3, 0);
    rtc_write(RTC_A, 0x26); /* 32768 Hz divided, periodic interrupts at 1024 Hz */
    rtc_write(RTC_B, RTC_24H);
    rtc_read(RTC_C);
    outb(0x61, inb(0x61) & 0x0c); /* counter 2's gate and the speaker off */
    uart_irq(false);
}
