/* What the targets of chips share: an input is a program of accesses, read byte by byte. */
#ifndef BRINGUP_FUZZ_CHIPS_H
#define BRINGUP_FUZZ_CHIPS_H

#include <stddef.h>
#include <stdint.h>

#include "demand.h"

struct input {
    const uint8_t *data;
    size_t left;
};

/* The next byte; 0 after the last. */
static inline uint8_t next_byte(struct input *input)
{
    if (!input->left)
        return 0;
    input->left--;
    return *input->data++;
}

#endif
