/* 8254 programmable interval timer (Intel 231164): three 16-bit counters at 1.193182 MHz, six modes each. */
#ifndef BRINGUP_PIT_H
#define BRINGUP_PIT_H

#include "fields.h"

#define PIT_HZ 1193182
#define PIT_CHANNELS 3
#define PIT_CONTROL 3 /* register 3; 0 to 2 are the counters */

/* Control word (data sheet, figure 7). */
enum {
    PIT_CW_BCD = 1 << 0,
    PIT_CW_MODE = 7 << 1,
    PIT_CW_RW = 3 << 4, /* 0 counter latch command, 1 LSB, 2 MSB, 3 LSB then MSB */
    PIT_CW_SC = 3 << 6, /* counter; 3 read-back command */
};
enum { PIT_RW_LATCH = 0, PIT_RW_LSB = 1, PIT_RW_MSB = 2, PIT_RW_WORD = 3 };
/* Read-back command (figure 10): counters in bits 3:1; the other two are active low. */
enum { PIT_READ_BACK_NO_STATUS = 1 << 4, PIT_READ_BACK_NO_COUNT = 1 << 5 };
/* Status byte (figure 11); bits 5:0 are those of the control word. */
enum { PIT_STATUS_NULL_COUNT = 1 << 6, PIT_STATUS_OUT = 1 << 7 };

/* The counting element is never stepped: it is `count` at tick `start` and follows from the time, as the mode says.
 * While nothing counts it shows `held`; OUT is `held_out` then, and until `start`. Ticks are absolute PIT ticks. */
#define PIT_CHANNEL_STATE(VALUE, PART, owner)                                                                          \
    VALUE(owner, uint8_t, control, )       /* bits 5:0 of the control word */                                          \
    VALUE(owner, uint8_t, mode, )          /* 0 to 5 */                                                                \
    VALUE(owner, uint8_t, written_low, )   /* first byte of a word */                                                  \
    VALUE(owner, bool, write_high, )       /* the next byte written is the second of a word */                         \
    VALUE(owner, bool, read_high, )                                                                                    \
    VALUE(owner, bool, count_latched, )                                                                                \
    VALUE(owner, bool, status_latched, )                                                                               \
    VALUE(owner, uint16_t, count_latch, )                                                                              \
    VALUE(owner, uint8_t, status_latch, )                                                                              \
    VALUE(owner, bool, gate, )                                                                                         \
    VALUE(owner, uint32_t, reload, )       /* the count register, 1 to 65536; 0: none since the control word */        \
    VALUE(owner, uint32_t, count, )                                                                                    \
    VALUE(owner, bool, counting, )                                                                                     \
    VALUE(owner, bool, paused, )           /* modes 0 and 4: `elapsed` ticks counted when GATE fell */                 \
    VALUE(owner, bool, high, )             /* mode 3: which half cycle began at `start` */                             \
    VALUE(owner, uint64_t, start, )                                                                                    \
    VALUE(owner, uint64_t, elapsed, )                                                                                  \
    VALUE(owner, uint64_t, load, )         /* tick at which the count register reached the element (NULL COUNT) */     \
    VALUE(owner, uint32_t, held, )                                                                                     \
    VALUE(owner, bool, held_out, )
STATE_STRUCT(pit_channel, PIT_CHANNEL_STATE);

#define PIT_STATE(VALUE, PART, owner)                                                                                  \
    PART(owner, pit_channel, channel, [PIT_CHANNELS])                                                                  \
    VALUE(owner, bool, irq, )              /* pin OUT 0, up to date with pit_advance */                                \
    VALUE(owner, uint64_t, edge, )         /* tick at which OUT 0 changes next */
STATE_STRUCT(pit, PIT_STATE);

void pit_reset(struct pit *pit);
uint8_t pit_read(struct pit *pit, unsigned reg, uint64_t now);
void pit_write(struct pit *pit, unsigned reg, uint8_t value, uint64_t now);
void pit_set_gate(struct pit *pit, unsigned channel, bool level, uint64_t now);
bool pit_out(const struct pit *pit, unsigned channel, uint64_t now);

/* Brings OUT 0 up to `now`; true: it rose on the way, whatever its level is now. */
bool pit_advance(struct pit *pit, uint64_t now);
uint64_t pit_deadline(const struct pit *pit);

#endif
