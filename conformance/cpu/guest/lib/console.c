#include "console.h"

#include "cpu.h"

/* The 16550's registers. */
enum { COM1 = 0x3f8, DATA = COM1, IER = COM1 + 1, FCR = COM1 + 2, LCR = COM1 + 3, MCR = COM1 + 4, LSR = COM1 + 5 };
enum { LCR_8N1 = 0x03, LCR_DLAB = 0x80, FCR_ENABLE = 0x01, MCR_DTR_RTS = 0x03, LSR_THRE = 0x20 };

void console_reset(void)
{
    outb(IER, 0);
    outb(LCR, LCR_DLAB);
    outb(DATA, 1); /* 115200 / 1 */
    outb(IER, 0);
    outb(LCR, LCR_8N1);
    outb(FCR, FCR_ENABLE);
    outb(MCR, MCR_DTR_RTS);
}

static void put(char c)
{
    while (!(inb(LSR) & LSR_THRE))
        ;
    outb(DATA, (uint8_t)c);
}

static void put_number(unsigned long long value, unsigned base)
{
    char digits[20];
    unsigned count = 0;
    /* A long long is divided 16 bits at a time: there is no library here. */
    do {
        unsigned long long quotient = 0;
        unsigned remainder = 0;
        for (int shift = 48; shift >= 0; shift -= 16) {
            unsigned part = remainder << 16 | (unsigned)(value >> shift & 0xffff);
            quotient = quotient << 16 | part / base;
            remainder = part % base;
        }
        digits[count++] = "0123456789abcdef"[remainder];
        value = quotient;
    } while (value);
    while (count)
        put(digits[--count]);
}

void vprint(const char *format, va_list arguments)
{
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        unsigned longs = 0;
        while (*++format == 'l')
            longs++;
        if (*format == 's') {
            for (const char *text = va_arg(arguments, const char *); *text; text++)
                put(*text);
        } else if (*format == 'c') {
            put((char)va_arg(arguments, int));
        } else if (*format == 'd') {
            long long value = longs > 1 ? va_arg(arguments, long long)
                              : longs   ? va_arg(arguments, long)
                                        : va_arg(arguments, int);
            if (value < 0)
                put('-');
            put_number((unsigned long long)(value < 0 ? -value : value), 10);
        } else if (*format == 'u' || *format == 'x') {
            unsigned long long value = longs > 1 ? va_arg(arguments, unsigned long long)
                                       : longs   ? va_arg(arguments, unsigned long)
                                                 : va_arg(arguments, unsigned);
            put_number(value, *format == 'x' ? 16 : 10);
        } else {
            put(*format);
        }
    }
}

void print(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprint(format, arguments);
    va_end(arguments);
}
