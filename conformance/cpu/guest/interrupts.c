/* External interrupts: masking, priorities, spurious ones, HLT (SDM vol. 3 chapter 6; 8259A data sheet). */
#include "behaviour.h"
#include "segment.h"
#include "timers.h"

/* Lets what is pending come: IF is set for a moment. */
#define LET_COME asm volatile("sti; nop; nop; cli" : : : "memory")

/* Waits until the 8259s have the request, without taking it. */
static void wait_request(unsigned irq)
{
    for (unsigned i = 0; !(pic_irr() & 1 << irq); i++)
        expect(i < 10000000, "IRQ %u is never requested", irq);
}

static void request_pit(void)
{
    pit_start(0, 2);
    wait_request(IRQ_PIT);
}

static void request_rtc(void)
{
    rtc_read(RTC_C);
    rtc_write(RTC_B, RTC_24H | RTC_PIE);
    wait_request(IRQ_RTC);
}

BEHAVIOUR(flag, "SDM vol. 3 6.8.1: with IF clear an interrupt waits; STI lets it come")
{
    count_irq(IRQ_COM1);
    uart_irq(true);
    for (volatile unsigned i = 0; i < 1000; i++)
        ;
    expect_equal("interrupts with IF clear", irq_total, 0);
    LET_COME;
    expect_equal("interrupts with IF set", irq_count[IRQ_COM1], 1);
}

static volatile word interrupted_at;

static void note(struct frame *frame)
{
    interrupted_at = frame->ip;
    uart_irq(false);
    pic_eoi(IRQ_COM1);
}

BEHAVIOUR(sti_shadow, "SDM vol. 2 STI: the instruction behind STI is run before an interrupt comes; STI; CLI lets none come")
{
    handle(PIC_VECTOR + IRQ_COM1, note);
    pic_unmask(IRQ_COM1);
    uart_irq(true);
    wait_request(IRQ_COM1);
    interrupted_at = 0;
    asm volatile("sti; cli; nop; nop" : : : "memory");
    expect_equal("EIP in a handler after STI; CLI", interrupted_at, 0);
    asm volatile(MARK "sti; nop; 1: nop; cli" : : : "memory");
    expect_equal("EIP in the handler", interrupted_at, marked);
}

BEHAVIOUR(mov_ss_shadow, "SDM vol. 3 6.8.3: no interrupt comes between MOV SS or POP SS and the next instruction")
{
    handle(PIC_VECTOR + IRQ_COM1, note);
    pic_unmask(IRQ_COM1);
    uart_irq(true);
    wait_request(IRQ_COM1);
    interrupted_at = 0;
    /* STI's own shadow covers MOV SS, whose shadow covers CLI. */
    asm volatile("mov %%ss, %%eax; sti; mov %%eax, %%ss; cli; nop" : : : "eax", "memory");
    expect_equal("EIP in a handler behind MOV SS", interrupted_at, 0);
    asm volatile("mov %%ss, %%eax; push %%eax; sti; pop %%ss; cli; nop" : : : "eax", "memory");
    expect_equal("EIP in a handler behind POP SS", interrupted_at, 0);
    asm volatile("mov %%ss, %%eax; " MARK "sti; mov %%eax, %%ss; nop; 1: cli" : : : "eax", "memory");
    expect_equal("EIP in the handler at last", interrupted_at, marked);
}

BEHAVIOUR(gate_clears_if, "SDM vol. 3 6.12.1.2: a handler runs with IF clear, and IRET brings IF back")
{
    count_irq(IRQ_PIT);
    count_irq(IRQ_COM1);
    uart_irq(true);
    request_pit();
    sti();
    asm volatile("nop; nop");
    bool enabled = get_flags() & FLAG_IF;
    cli();
    expect(enabled, "IF is clear behind the handlers");
    expect_equal("interrupts", irq_total, 2);
}

BEHAVIOUR(priority, "8259A data sheet, fully nested mode: of several requests the lowest number is first; the slave's are those of IRQ 2")
{
    count_irq(IRQ_PIT);
    count_irq(IRQ_COM1);
    count_irq(IRQ_RTC);
    uart_irq(true);
    request_rtc();
    request_pit();
    wait_request(IRQ_COM1);
    LET_COME;
    LET_COME;
    LET_COME;
    rtc_write(RTC_B, RTC_24H);
    expect(irq_total == 3, "%u interrupts came, expected 3", irq_total);
    expect(irq_order[0] == IRQ_PIT && irq_order[1] == IRQ_RTC && irq_order[2] == IRQ_COM1,
           "they came as IRQ %u, %u, %u; expected 0, 8, 4", irq_order[0], irq_order[1], irq_order[2]);
}

static volatile unsigned nested;
static volatile uint16_t isr_in_handler;

static void slow_handler(struct frame *frame)
{
    (void)frame;
    isr_in_handler = pic_isr();
    uart_irq(false);
    /* A higher and a lower one are requested here, before the EOI. */
    request_pit();
    rtc_write(RTC_B, RTC_24H);
    LET_COME;
    nested = irq_count[IRQ_PIT];
    pic_eoi(IRQ_COM1);
}

BEHAVIOUR(nesting, "8259A data sheet, fully nested mode: before its EOI a request in service lets only higher ones come; ISR shows it")
{
    handle(PIC_VECTOR + IRQ_COM1, slow_handler);
    pic_unmask(IRQ_COM1);
    count_irq(IRQ_PIT);
    uart_irq(true);
    LET_COME;
    expect_equal("ISR in the handler", isr_in_handler, 1 << IRQ_COM1);
    expect_equal("higher interrupts in the handler", nested, 1);
    expect_equal("ISR behind", pic_isr(), 0);
}

static void without_eoi(struct frame *frame)
{
    irq_count[frame->vector - PIC_VECTOR]++;
    irq_total++;
}

BEHAVIOUR(eoi, "8259A data sheet, EOI: without one neither the same nor a lower request comes; a specific EOI ends its own")
{
    handle(PIC_VECTOR + IRQ_PIT, without_eoi);
    pic_unmask(IRQ_PIT);
    count_irq(IRQ_COM1);
    request_pit();
    LET_COME;
    expect_equal("interrupts", irq_count[IRQ_PIT], 1);
    uart_irq(true);
    request_pit();
    LET_COME;
    expect_equal("interrupts before EOI", irq_total, 1);
    outb(PIC_MASTER, 0x60 | IRQ_PIT); /* specific EOI */
    LET_COME;
    expect_equal("interrupts of the PIT after EOI", irq_count[IRQ_PIT], 2);
    outb(PIC_MASTER, 0x60 | IRQ_PIT);
    LET_COME;
    expect_equal("interrupts of COM1 after EOI", irq_count[IRQ_COM1], 1);
}

BEHAVIOUR(automatic_eoi, "8259A data sheet, AEOI mode: the in-service bit goes clear at the acknowledge")
{
    handle(PIC_VECTOR + IRQ_PIT, without_eoi);
    outb(PIC_MASTER, 0x11);
    outb(PIC_MASTER + 1, PIC_VECTOR);
    outb(PIC_MASTER + 1, 1 << IRQ_CASCADE);
    outb(PIC_MASTER + 1, 3); /* 8086, AEOI */
    outb(PIC_MASTER + 1, (uint8_t) ~(1 << IRQ_PIT));
    request_pit();
    LET_COME;
    expect_equal("ISR", pic_isr() & 0xff, 0);
    request_pit();
    LET_COME;
    expect_equal("interrupts", irq_count[IRQ_PIT], 2);
}

BEHAVIOUR(rotation, "8259A data sheet, set priority: the request behind the given one is the highest")
{
    count_irq(IRQ_PIT);
    count_irq(IRQ_COM1);
    outb(PIC_MASTER, 0xc0 | 3); /* IRQ 3 lowest: IRQ 4 is highest */
    uart_irq(true);
    request_pit();
    wait_request(IRQ_COM1);
    LET_COME;
    LET_COME;
    expect(irq_total == 2 && irq_order[0] == IRQ_COM1, "%u interrupts, first IRQ %u; expected 2, first 4", irq_total,
           irq_order[0]);
}

BEHAVIOUR(poll, "8259A data sheet, poll command: a read tells the highest request and acknowledges it")
{
    pic_unmask(IRQ_COM1);
    uart_irq(true);
    wait_request(IRQ_COM1);
    outb(PIC_MASTER, 0x0c);
    uint8_t polled = inb(PIC_MASTER);
    uint16_t isr = pic_isr();
    uart_irq(false);
    pic_eoi(IRQ_COM1);
    outb(PIC_MASTER, 0x0c);
    uint8_t nothing = inb(PIC_MASTER);
    expect_equal("the poll word", polled & 0x87, 0x80 | IRQ_COM1);
    expect_equal("ISR", isr, 1 << IRQ_COM1);
    expect_equal("the poll word's bit 7 with no request", nothing & 0x80, 0);
}

static volatile unsigned spurious;
static volatile uint16_t spurious_isr;

static void spurious_handler(struct frame *frame)
{
    (void)frame;
    spurious++;
    spurious_isr = pic_isr();
}

BEHAVIOUR(spurious, "8259A data sheet, interrupt sequence: a request that goes before it is acknowledged comes as IRQ 7, without ISR bit")
{
    spurious = 0;
    handle(PIC_VECTOR + IRQ_SPURIOUS, spurious_handler);
    count_irq(IRQ_COM1);
    uart_irq(true);
    wait_request(IRQ_COM1);
    uart_irq(false); /* the line falls; INTR was seen */
    expect_equal("IRR after the line fell", pic_irr() & 1 << IRQ_COM1, 0);
    LET_COME;
    expect_equal("interrupts of COM1", irq_count[IRQ_COM1], 0);
    expect_equal("ISR in a spurious handler", spurious ? spurious_isr : 0, 0);
}

BEHAVIOUR(rtc_needs_register_c, "MC146818A data sheet, register C: IRQF holds the line until register C is read; PF and IRQF are in it")
{
    handle(PIC_VECTOR + IRQ_RTC, without_eoi);
    pic_unmask(IRQ_RTC);
    request_rtc();
    LET_COME;
    pic_eoi(IRQ_RTC);
    expect_equal("interrupts", irq_count[IRQ_RTC], 1);
    pit_wait(5000); /* four periods */
    LET_COME;
    expect_equal("interrupts before register C is read", irq_count[IRQ_RTC], 1);
    uint8_t c = rtc_read(RTC_C);
    expect_equal("register C's IRQF and PF", c & 0xc0, 0xc0);
    request_rtc();
    LET_COME;
    rtc_write(RTC_B, RTC_24H);
    rtc_read(RTC_C);
    expect_equal("interrupts after", irq_count[IRQ_RTC], 2);
}

BEHAVIOUR(halt, "SDM vol. 2 HLT: an interrupt ends it, and the saved EIP is behind it")
{
    handle(PIC_VECTOR + IRQ_COM1, note);
    count_irq(IRQ_PIT);
    interrupted_at = 0;
    pit_start(0, 1000);
    asm volatile(MARK "sti; hlt; 1: cli" : : : "memory");
    expect_equal("interrupts that ended HLT", irq_count[IRQ_PIT], 1);
    pic_unmask(IRQ_COM1);
    uart_irq(true);
    wait_request(IRQ_COM1);
    asm volatile(MARK "sti; hlt; 1: cli" : : : "memory"); /* pending already: HLT is run first, and ends at once */
    expect_equal("EIP in the handler", interrupted_at, marked);
}

BEHAVIOUR(from_user, "SDM vol. 3 6.12.1: an interrupt at CPL 3 is handled at CPL 0 on the TSS's stack; IRET brings CPL 3 back")
{
    count_irq(IRQ_COM1);
    uart_irq(true);
    wait_request(IRQ_COM1);
    volatile uint16_t cs = 0;
    expect_none(CATCH(enter_user(FLAG_IF | FLAG_IOPL); asm volatile("nop; nop"); cs = get_cs(); asm volatile("cli");
                      leave_user()));
    expect_equal("interrupts", irq_count[IRQ_COM1], 1);
    expect_equal("CS behind", cs, USER_CS);
}
