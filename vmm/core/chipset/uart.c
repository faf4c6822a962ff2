#include "uart.h"

#include <string.h>

#include "ticks.h"

STATE_TABLE(uart, UART_STATE);

#define TIMEOUT_CHARACTERS 4

static bool fifos_enabled(const struct uart *u)
{
    return u->fcr & UART_FCR_ENABLE;
}

static unsigned fifo_size(const struct uart *u)
{
    return fifos_enabled(u) ? UART_FIFO : 1;
}

/* One character on the line, in nanoseconds: start bit, data, parity and stop bits of 16 / baud clock each. */
static uint64_t character_time(const struct uart *u)
{
    unsigned data = 5 + (u->lcr & UART_LCR_WLS);
    unsigned half_bits = 2 * (1 + data) + (u->lcr & UART_LCR_PEN ? 2 : 0);
    unsigned divisor = u->divisor ? u->divisor : 1;

    half_bits += !(u->lcr & UART_LCR_STB) ? 2 : data == 5 ? 3 : 4;
    return NS_PER_SECOND * 8 * half_bits * divisor / UART_CRYSTAL_HZ;
}

/* ---- interrupts ---- */

static bool data_available(const struct uart *u)
{
    static const uint8_t trigger[4] = {1, 4, 8, 14};

    return u->fifo_used >= (fifos_enabled(u) ? trigger[u->fcr >> 6] : 1);
}

static uint8_t identify(const struct uart *u)
{
    if (u->ier & UART_IER_ELSI && u->overrun)
        return UART_IIR_LINE_STATUS;
    if (u->ier & UART_IER_ERBFI && data_available(u))
        return UART_IIR_DATA;
    if (u->ier & UART_IER_ERBFI && u->timeout)
        return UART_IIR_TIMEOUT;
    if (u->ier & UART_IER_ETBEI && u->thre)
        return UART_IIR_THRE;
    if (u->ier & UART_IER_EDSSI && u->msr_delta)
        return UART_IIR_MODEM_STATUS;
    return UART_IIR_NONE;
}

static void update_irq(struct uart *u)
{
    /* loopback drives the OUT2 pin inactive */
    u->irq = (u->mcr & (UART_MCR_OUT2 | UART_MCR_LOOP)) == UART_MCR_OUT2 && identify(u) != UART_IIR_NONE;
}

/* ---- the receiver ---- */

static void restart_timeout(struct uart *u, uint64_t now)
{
    u->timeout = false;
    u->timeout_at = fifos_enabled(u) && u->fifo_used ? now + TIMEOUT_CHARACTERS * character_time(u) : MACHINE_NEVER;
}

/* A character has come in whole. */
static void receive(struct uart *u, uint8_t value, uint64_t now)
{
    if (u->fifo_used == fifo_size(u)) {
        u->overrun = true;
        if (!fifos_enabled(u)) /* the holding register is overwritten, a full FIFO is not */
            u->fifo[u->fifo_first] = value;
        return;
    }
    u->fifo[(u->fifo_first + u->fifo_used++) % UART_FIFO] = value;
    restart_timeout(u, now);
}

/* The other end starts its next character when there is room for it. */
static void pull_queue(struct uart *u, uint64_t now)
{
    if (u->mcr & UART_MCR_LOOP)
        u->receive_at = MACHINE_NEVER;
    else if (u->receive_at == MACHINE_NEVER && u->queue_used && u->fifo_used < fifo_size(u))
        u->receive_at = now + character_time(u);
}

static void clear_receiver(struct uart *u, uint64_t now)
{
    u->fifo_first = u->fifo_used = 0;
    restart_timeout(u, now);
}

static uint8_t read_data(struct uart *u, uint64_t now)
{
    uint8_t value = u->fifo[u->fifo_first];

    if (u->fifo_used) {
        u->fifo_used--;
        if (fifos_enabled(u))
            u->fifo_first = (u->fifo_first + 1) % UART_FIFO;
    }
    restart_timeout(u, now);
    return value;
}

size_t uart_input(struct uart *u, const uint8_t *data, size_t size, uint64_t now)
{
    size_t taken = 0;

    while (taken < size && u->queue_used < UART_QUEUE)
        u->queue[(u->queue_first + u->queue_used++) % UART_QUEUE] = data[taken++];
    pull_queue(u, now);
    return taken;
}

/* ---- the modem lines ---- */

/* MSR bits 7:4. A terminal hangs on the line: carrier, ready, clear to send. */
static uint8_t modem_lines(uint8_t mcr)
{
    if (!(mcr & UART_MCR_LOOP))
        return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
    return (uint8_t)((mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) | (mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
                     (mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) | (mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0));
}

static void write_mcr(struct uart *u, uint8_t value)
{
    uint8_t before = modem_lines(u->mcr), after, changed;

    u->mcr = value & 0x1f;
    after = modem_lines(u->mcr);
    changed = before ^ after;
    u->msr_delta |= changed >> 4 & (UART_MSR_DCTS | UART_MSR_DDSR | UART_MSR_DDCD);
    if (changed & before & UART_MSR_RI) /* TERI: only the trailing edge */
        u->msr_delta |= UART_MSR_TERI;
}

/* ---- registers ---- */

void uart_reset(struct uart *u)
{
    memset(u, 0, sizeof *u);
    u->divisor = 1; /* the data sheet leaves it open */
    u->thre_at = u->receive_at = u->timeout_at = MACHINE_NEVER;
}

static uint8_t read_register(struct uart *u, unsigned reg, uint64_t now)
{
    uint8_t value;

    switch (reg) {
    case UART_RBR_THR:
        return u->lcr & UART_LCR_DLAB ? (uint8_t)u->divisor : read_data(u, now);
    case UART_IER:
        return u->lcr & UART_LCR_DLAB ? (uint8_t)(u->divisor >> 8) : u->ier;
    case UART_IIR_FCR:
        value = identify(u);
        if (value == UART_IIR_THRE)
            u->thre = false;
        return fifos_enabled(u) ? value | UART_IIR_FIFOS : value;
    case UART_LCR:
        return u->lcr;
    case UART_MCR:
        return u->mcr;
    case UART_LSR:
        value = UART_LSR_THRE | UART_LSR_TEMT | (u->overrun ? UART_LSR_OE : 0) | (u->fifo_used ? UART_LSR_DR : 0);
        u->overrun = false;
        return value;
    case UART_MSR:
        value = modem_lines(u->mcr) | u->msr_delta;
        u->msr_delta = 0;
        return value;
    default:
        return u->scr;
    }
}

uint8_t uart_read(struct uart *u, unsigned reg, uint64_t now)
{
    uint8_t value = read_register(u, reg & 7, now);

    pull_queue(u, now);
    update_irq(u);
    return value;
}

static bool write_data(struct uart *u, uint8_t value, uint64_t now)
{
    /* Writing takes the interrupt back; THR is empty again at once, which is a new edge on the line. */
    u->thre = false;
    u->thre_at = u->ier & UART_IER_ETBEI ? now : MACHINE_NEVER;
    if (!(u->mcr & UART_MCR_LOOP))
        return true;
    receive(u, value, now);
    return false;
}

static void write_ier(struct uart *u, uint8_t value)
{
    if (value & UART_IER_ETBEI && !(u->ier & UART_IER_ETBEI))
        u->thre = true; /* enabled while THR is empty */
    u->ier = value & 0x0f;
}

static void write_fcr(struct uart *u, uint8_t value, uint64_t now)
{
    bool changed = (u->fcr ^ value) & UART_FCR_ENABLE;

    u->fcr = value & UART_FCR_ENABLE ? value & (UART_FCR_ENABLE | UART_FCR_DMA | UART_FCR_TRIGGER) : 0;
    if (changed || (value & UART_FCR_ENABLE && value & UART_FCR_CLEAR_RECEIVE))
        clear_receiver(u, now);
}

bool uart_write(struct uart *u, unsigned reg, uint8_t value, uint64_t now)
{
    bool sent = false;

    switch (reg & 7) {
    case UART_RBR_THR:
        if (u->lcr & UART_LCR_DLAB)
            u->divisor = (u->divisor & 0xff00) | value;
        else
            sent = write_data(u, value, now);
        break;
    case UART_IER:
        if (u->lcr & UART_LCR_DLAB)
            u->divisor = (uint16_t)(value << 8 | (u->divisor & 0xff));
        else
            write_ier(u, value);
        break;
    case UART_IIR_FCR:
        write_fcr(u, value, now);
        break;
    case UART_LCR:
        u->lcr = value;
        break;
    case UART_MCR:
        write_mcr(u, value);
        break;
    case UART_SCR:
        u->scr = value;
        break;
    }
    pull_queue(u, now);
    update_irq(u);
    return sent;
}

uint64_t uart_deadline(const struct uart *u)
{
    return sooner(u->thre_at, sooner(u->receive_at, u->timeout_at));
}

void uart_advance(struct uart *u, uint64_t now)
{
    for (uint64_t due; (due = uart_deadline(u)) <= now;) {
        if (u->thre_at == due) {
            u->thre = true;
            u->thre_at = MACHINE_NEVER;
        } else if (u->timeout_at == due) {
            u->timeout = true;
            u->timeout_at = MACHINE_NEVER;
        } else {
            uint8_t value = u->queue[u->queue_first];
            u->queue_first = (u->queue_first + 1) % UART_QUEUE;
            u->queue_used--;
            u->receive_at = MACHINE_NEVER;
            receive(u, value, due);
            pull_queue(u, due);
        }
    }
    update_irq(u);
}
