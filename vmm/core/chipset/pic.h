/* The PC's pair of 8259A interrupt controllers (Intel 231468), the slave's INT on the master's IR2, with the ELCR of
 * the PIIX4 beside them (Intel 290562). Inputs are IRQ 0 to 15; IRQ 2 is the cascade. */
#ifndef BRINGUP_PIC_H
#define BRINGUP_PIC_H

#include "fields.h"

enum { PIC_MASTER = 0, PIC_SLAVE = 1 };
#define PIC_CASCADE 2

enum {
    PIC_ICW1_IC4 = 1 << 0,
    PIC_ICW1_SNGL = 1 << 1,
    PIC_ICW1_LTIM = 1 << 3,
    PIC_ICW1 = 1 << 4,
    PIC_ICW4_8086 = 1 << 0,
    PIC_ICW4_AEOI = 1 << 1,
    PIC_ICW4_SFNM = 1 << 4,
    PIC_OCW3 = 1 << 3,
    PIC_OCW3_RIS = 1 << 0,
    PIC_OCW3_RR = 1 << 1,
    PIC_OCW3_P = 1 << 2,
    PIC_OCW3_SMM = 1 << 5,
    PIC_OCW3_ESMM = 1 << 6,
};
/* OCW2 bits 7:5, R SL EOI */
enum {
    PIC_OCW2_CLEAR_ROTATE_AEOI = 0,
    PIC_OCW2_EOI = 1,
    PIC_OCW2_SPECIFIC_EOI = 3,
    PIC_OCW2_SET_ROTATE_AEOI = 4,
    PIC_OCW2_ROTATE_EOI = 5,
    PIC_OCW2_SET_PRIORITY = 6,
    PIC_OCW2_ROTATE_SPECIFIC_EOI = 7,
};
#define PIC_POLL_INTERRUPT 0x80

#define PIC_UNIT_STATE(VALUE, PART, owner)                                                                             \
    VALUE(owner, uint8_t, lines, )        /* levels at IR7:0 */                                                        \
    VALUE(owner, uint8_t, irr, )                                                                                       \
    VALUE(owner, uint8_t, isr, )                                                                                       \
    VALUE(owner, uint8_t, imr, )                                                                                       \
    VALUE(owner, uint8_t, elcr, )         /* 1: level triggered */                                                     \
    VALUE(owner, uint8_t, icw1, )                                                                                      \
    VALUE(owner, uint8_t, icw2, )         /* vector base */                                                            \
    VALUE(owner, uint8_t, icw3, )                                                                                      \
    VALUE(owner, uint8_t, icw4, )                                                                                      \
    VALUE(owner, uint8_t, expect, )       /* the ICW that comes next at A0 = 1: 2, 3, 4; 0: OCW1 */                    \
    VALUE(owner, uint8_t, lowest, )       /* the input of lowest priority */                                           \
    VALUE(owner, bool, read_isr, )                                                                                     \
    VALUE(owner, bool, poll, )                                                                                         \
    VALUE(owner, bool, special_mask, )                                                                                 \
    VALUE(owner, bool, rotate_aeoi, )
STATE_STRUCT(pic_unit, PIC_UNIT_STATE);

#define PIC_STATE(VALUE, PART, owner)                                                                                  \
    PART(owner, pic_unit, unit, [2])                                                                                   \
    VALUE(owner, bool, intr, )            /* pin INT of the master */
STATE_STRUCT(pic, PIC_STATE);

void pic_reset(struct pic *pic);
uint8_t pic_read(struct pic *pic, unsigned unit, unsigned a0);
void pic_write(struct pic *pic, unsigned unit, unsigned a0, uint8_t value);
uint8_t pic_read_elcr(const struct pic *pic, unsigned unit);
void pic_write_elcr(struct pic *pic, unsigned unit, uint8_t value);

void pic_set_irq(struct pic *pic, unsigned irq, bool level);
/* The INTA cycle: the vector; IR7's when the request has gone. */
uint8_t pic_acknowledge(struct pic *pic);

#endif
