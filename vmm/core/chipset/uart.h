/* PC16550D UART with FIFOs (National Semiconductor data sheet, June 1995), 1.8432 MHz crystal.
 *
 * The transmitter takes no guest time: THR and shift register are empty again at once. The receiver takes one
 * character time a byte from a bounded queue that stands for the other end of the line, which waits while the FIFO is
 * full: nothing is overrun. The line carries whole bytes, so parity, framing and break errors do not happen. */
#ifndef BRINGUP_UART_H
#define BRINGUP_UART_H

#include "fields.h"

#define UART_CRYSTAL_HZ 1843200
#define UART_FIFO 16
#define UART_QUEUE 4096

/* Registers; 0 and 1 are the divisor's while LCR.DLAB is set. */
enum {
    UART_RBR_THR = 0,
    UART_IER = 1,
    UART_IIR_FCR = 2,
    UART_LCR = 3,
    UART_MCR = 4,
    UART_LSR = 5,
    UART_MSR = 6,
    UART_SCR = 7,
};
enum { UART_IER_ERBFI = 1 << 0, UART_IER_ETBEI = 1 << 1, UART_IER_ELSI = 1 << 2, UART_IER_EDSSI = 1 << 3 };
enum {
    UART_IIR_NONE = 0x1,
    UART_IIR_MODEM_STATUS = 0x0,
    UART_IIR_THRE = 0x2,
    UART_IIR_DATA = 0x4,
    UART_IIR_LINE_STATUS = 0x6,
    UART_IIR_TIMEOUT = 0xc,
    UART_IIR_FIFOS = 0xc0,
};
enum {
    UART_FCR_ENABLE = 1 << 0,
    UART_FCR_CLEAR_RECEIVE = 1 << 1,
    UART_FCR_CLEAR_TRANSMIT = 1 << 2,
    UART_FCR_DMA = 1 << 3,
    UART_FCR_TRIGGER = 3 << 6,
};
enum {
    UART_LCR_WLS = 3 << 0,
    UART_LCR_STB = 1 << 2,
    UART_LCR_PEN = 1 << 3,
    UART_LCR_EPS = 1 << 4,
    UART_LCR_STICK = 1 << 5,
    UART_LCR_BREAK = 1 << 6,
    UART_LCR_DLAB = 1 << 7,
};
enum {
    UART_MCR_DTR = 1 << 0,
    UART_MCR_RTS = 1 << 1,
    UART_MCR_OUT1 = 1 << 2,
    UART_MCR_OUT2 = 1 << 3, /* on a PC it gates the interrupt line */
    UART_MCR_LOOP = 1 << 4,
};
/* No line errs: PE, FE, BI and the FIFO's error stay clear. */
enum {
    UART_LSR_DR = 1 << 0,
    UART_LSR_OE = 1 << 1,
    UART_LSR_PE = 1 << 2,
    UART_LSR_FE = 1 << 3,
    UART_LSR_BI = 1 << 4,
    UART_LSR_THRE = 1 << 5,
    UART_LSR_TEMT = 1 << 6,
    UART_LSR_FIFO_ERROR = 1 << 7,
};
enum {
    UART_MSR_DCTS = 1 << 0,
    UART_MSR_DDSR = 1 << 1,
    UART_MSR_TERI = 1 << 2,
    UART_MSR_DDCD = 1 << 3,
    UART_MSR_CTS = 1 << 4,
    UART_MSR_DSR = 1 << 5,
    UART_MSR_RI = 1 << 6,
    UART_MSR_DCD = 1 << 7,
};

#define UART_STATE(VALUE, PART, owner)                                                                                 \
    VALUE(owner, uint8_t, ier, )                                                                                       \
    VALUE(owner, uint8_t, fcr, )                                                                                       \
    VALUE(owner, uint8_t, lcr, )                                                                                       \
    VALUE(owner, uint8_t, mcr, )                                                                                       \
    VALUE(owner, uint8_t, msr_delta, )     /* MSR bits 3:0 */                                                          \
    VALUE(owner, uint8_t, scr, )                                                                                       \
    VALUE(owner, uint16_t, divisor, )                                                                                  \
    VALUE(owner, bool, overrun, )                                                                                      \
    VALUE(owner, bool, thre, )             /* the THR-empty interrupt waits */                                         \
    VALUE(owner, bool, timeout, )          /* the character timeout interrupt waits */                                 \
    VALUE(owner, uint8_t, fifo, [UART_FIFO])                                                                           \
    VALUE(owner, uint8_t, fifo_first, )                                                                                \
    VALUE(owner, uint8_t, fifo_used, )                                                                                 \
    VALUE(owner, uint64_t, thre_at, )      /* times, or MACHINE_NEVER */                                               \
    VALUE(owner, uint64_t, receive_at, )                                                                               \
    VALUE(owner, uint64_t, timeout_at, )                                                                               \
    VALUE(owner, uint8_t, queue, [UART_QUEUE])                                                                         \
    VALUE(owner, uint32_t, queue_first, )                                                                              \
    VALUE(owner, uint32_t, queue_used, )                                                                               \
    VALUE(owner, bool, irq, )              /* pin INTR behind the OUT2 gate */
STATE_STRUCT(uart, UART_STATE);

void uart_reset(struct uart *uart);
uint8_t uart_read(struct uart *uart, unsigned reg, uint64_t now);
/* True: `value` left through the transmitter. */
bool uart_write(struct uart *uart, unsigned reg, uint8_t value, uint64_t now);
/* Bytes sent by the other end; returns how many its queue took. */
size_t uart_input(struct uart *uart, const uint8_t *data, size_t size, uint64_t now);

void uart_advance(struct uart *uart, uint64_t now);
uint64_t uart_deadline(const struct uart *uart);

#endif
