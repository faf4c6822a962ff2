/* COM1, 115200 8n1, polled. */
#ifndef CONSOLE_H
#define CONSOLE_H

#include <stdarg.h>

void console_reset(void);
/* %c, %s, %d, %u, %x, with l and ll; `\n` goes out as it is. */
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));
void vprint(const char *format, va_list arguments);

#endif
