/* The 8259 pair, the 8254, the MC146818 and the PM timer. */
#ifndef TIMERS_H
#define TIMERS_H

#include "cpu.h"

/* ---- 8259 ---- */

enum { PIC_MASTER = 0x20, PIC_SLAVE = 0xa0, PIC_VECTOR = 0x20 /* of IRQ 0 to 15 */ };
enum { IRQ_PIT = 0, IRQ_CASCADE = 2, IRQ_COM1 = 4, IRQ_SPURIOUS = 7, IRQ_RTC = 8 };
void pic_reset(void); /* fixed priorities, all masked */
void pic_unmask(unsigned irq);
void pic_mask(unsigned irq);
void pic_eoi(unsigned irq); /* non-specific, to the slave too */
uint16_t pic_irr(void);
uint16_t pic_isr(void);
/* Counts interrupts in `irq_count` and their order in `irq_order`, with EOI. */
void count_irq(unsigned irq);
extern volatile unsigned irq_count[16], irq_total;
extern volatile uint8_t irq_order[16];

/* COM1's transmitter, empty all the time, raises IRQ 4 while this is on. */
void uart_irq(bool on);

/* ---- 8254 ---- */

enum { PIT_HZ = 1193182 };
void pit_start(unsigned mode, unsigned count); /* counter 0 */
unsigned pit_count(void);                      /* latched */
unsigned pit_status(void);                     /* read-back: SDM has none; 8254 data sheet */
/* Waits in HLT for so many ticks, at most 65535, by IRQ 0; it has no handler then. */
void pit_wait(unsigned ticks);

/* ---- MC146818 ---- */

enum { RTC_A = 0x0a, RTC_B = 0x0b, RTC_C = 0x0c, RTC_D = 0x0d };
enum { RTC_UIP = 0x80, RTC_B_SET = 0x80, RTC_PIE = 0x40, RTC_AIE = 0x20, RTC_UIE = 0x10, RTC_24H = 0x02 };
uint8_t rtc_read(uint8_t index);
void rtc_write(uint8_t index, uint8_t value);

void timers_reset(void);

#endif
