#include "pic.h"

#include <string.h>

STATE_TABLE(pic_unit, PIC_UNIT_STATE);
STATE_TABLE(pic, PIC_STATE);

#define NO_INPUT 8

/* IRQs 0, 1, 2, 8 and 13 are edge triggered for ever. */
static const uint8_t elcr_writable[2] = {0xf8, 0xde};

/* How many steps below the highest priority an input stands (0 to 7). */
static unsigned rank_of(const struct pic_unit *u, unsigned input)
{
    return (input - u->lowest - 1) & 7;
}

static unsigned highest_of(const struct pic_unit *u, uint8_t inputs)
{
    for (unsigned rank = 0; inputs && rank < 8; rank++) {
        unsigned input = (u->lowest + 1 + rank) & 7;
        if (inputs & 1 << input)
            return input;
    }
    return NO_INPUT;
}

static uint8_t level_triggered(const struct pic_unit *u)
{
    return u->icw1 & PIC_ICW1_LTIM ? 0xff : u->elcr;
}

/* The input that INT stands for, or NO_INPUT. */
static unsigned unit_request(const struct pic *pic, unsigned unit)
{
    const struct pic_unit *u = &pic->unit[unit];
    uint8_t blocking = u->isr;

    if (u->special_mask)
        blocking &= (uint8_t)~u->imr;
    if (unit == PIC_MASTER && u->icw4 & PIC_ICW4_SFNM)
        blocking &= (uint8_t)~(1 << PIC_CASCADE); /* the slave may interrupt its own service */

    unsigned request = highest_of(u, u->irr & (uint8_t)~u->imr);
    unsigned service = highest_of(u, blocking);
    if (request == NO_INPUT || (service != NO_INPUT && rank_of(u, service) <= rank_of(u, request)))
        return NO_INPUT;
    return request;
}

/* A request must stay until it is acknowledged: a falling line withdraws it. */
static void unit_set_line(struct pic_unit *u, unsigned input, bool level)
{
    uint8_t bit = (uint8_t)(1 << input);

    if (!level) {
        u->lines &= (uint8_t)~bit;
        u->irr &= (uint8_t)~bit;
    } else {
        if (!(u->lines & bit) || level_triggered(u) & bit)
            u->irr |= bit;
        u->lines |= bit;
    }
}

static void update(struct pic *pic)
{
    unit_set_line(&pic->unit[PIC_MASTER], PIC_CASCADE, unit_request(pic, PIC_SLAVE) != NO_INPUT);
    pic->intr = unit_request(pic, PIC_MASTER) != NO_INPUT;
}

static void end_of_interrupt(struct pic_unit *u, unsigned input, bool rotate)
{
    if (input == NO_INPUT)
        return;
    u->isr &= (uint8_t)~(1 << input);
    if (rotate)
        u->lowest = (uint8_t)input;
}

/* The in-service input that a non-specific EOI means; in special mask mode not one that is masked. */
static unsigned in_service(const struct pic_unit *u)
{
    return highest_of(u, u->special_mask ? u->isr & (uint8_t)~u->imr : u->isr);
}

/* Moves the request into service; the input, or NO_INPUT. */
static unsigned unit_acknowledge(struct pic *pic, unsigned unit)
{
    struct pic_unit *u = &pic->unit[unit];
    unsigned input = unit_request(pic, unit);

    if (input == NO_INPUT)
        return NO_INPUT;
    u->isr |= (uint8_t)(1 << input);
    if (!(level_triggered(u) & 1 << input))
        u->irr &= (uint8_t)~(1 << input);
    if (u->icw4 & PIC_ICW4_AEOI)
        end_of_interrupt(u, input, u->rotate_aeoi);
    if (unit == PIC_SLAVE) /* INT falls during INTA, and rises again if there is more */
        unit_set_line(&pic->unit[PIC_MASTER], PIC_CASCADE, false);
    return input;
}

static void initialize(struct pic_unit *u, uint8_t icw1)
{
    u->icw1 = icw1;
    u->irr = u->isr = u->imr = 0;
    u->lowest = 7;
    u->special_mask = u->read_isr = u->poll = false;
    u->expect = 2;
    if (!(icw1 & PIC_ICW1_IC4)) {
        u->icw4 = 0;
        u->rotate_aeoi = false;
    }
    u->irr = u->lines & level_triggered(u); /* edges before this are forgotten */
}

static void operate(struct pic_unit *u, uint8_t ocw2)
{
    unsigned level = ocw2 & 7;

    switch (ocw2 >> 5) {
    case PIC_OCW2_CLEAR_ROTATE_AEOI:
        u->rotate_aeoi = false;
        break;
    case PIC_OCW2_SET_ROTATE_AEOI:
        u->rotate_aeoi = true;
        break;
    case PIC_OCW2_EOI:
        end_of_interrupt(u, in_service(u), false);
        break;
    case PIC_OCW2_ROTATE_EOI:
        end_of_interrupt(u, in_service(u), true);
        break;
    case PIC_OCW2_SPECIFIC_EOI:
        end_of_interrupt(u, level, false);
        break;
    case PIC_OCW2_ROTATE_SPECIFIC_EOI:
        end_of_interrupt(u, level, true);
        break;
    case PIC_OCW2_SET_PRIORITY:
        u->lowest = (uint8_t)level;
        break;
    }
}

static void select_read(struct pic_unit *u, uint8_t ocw3)
{
    if (ocw3 & PIC_OCW3_ESMM)
        u->special_mask = ocw3 & PIC_OCW3_SMM;
    if (ocw3 & PIC_OCW3_P)
        u->poll = true;
    else if (ocw3 & PIC_OCW3_RR)
        u->read_isr = ocw3 & PIC_OCW3_RIS;
}

static void write_mask_or_icw(struct pic_unit *u, uint8_t value)
{
    switch (u->expect) {
    case 2:
        u->icw2 = value & 0xf8;
        u->expect = !(u->icw1 & PIC_ICW1_SNGL) ? 3 : u->icw1 & PIC_ICW1_IC4 ? 4 : 0;
        break;
    case 3:
        u->icw3 = value;
        u->expect = u->icw1 & PIC_ICW1_IC4 ? 4 : 0;
        break;
    case 4:
        u->icw4 = value;
        u->expect = 0;
        break;
    default:
        u->imr = value;
    }
}

void pic_reset(struct pic *pic)
{
    memset(pic, 0, sizeof *pic);
    pic->unit[PIC_MASTER].lowest = pic->unit[PIC_SLAVE].lowest = 7;
}

uint8_t pic_read(struct pic *pic, unsigned unit, unsigned a0)
{
    struct pic_unit *u = &pic->unit[unit];

    if (u->poll) { /* the read is the INTA cycle */
        unsigned input = unit_acknowledge(pic, unit);
        u->poll = false;
        update(pic);
        return input == NO_INPUT ? 0 : (uint8_t)(PIC_POLL_INTERRUPT | input);
    }
    if (a0)
        return u->imr;
    return u->read_isr ? u->isr : u->irr;
}

void pic_write(struct pic *pic, unsigned unit, unsigned a0, uint8_t value)
{
    struct pic_unit *u = &pic->unit[unit];

    if (a0)
        write_mask_or_icw(u, value);
    else if (value & PIC_ICW1)
        initialize(u, value);
    else if (value & PIC_OCW3)
        select_read(u, value);
    else
        operate(u, value);
    update(pic);
}

uint8_t pic_read_elcr(const struct pic *pic, unsigned unit)
{
    return pic->unit[unit].elcr;
}

void pic_write_elcr(struct pic *pic, unsigned unit, uint8_t value)
{
    struct pic_unit *u = &pic->unit[unit];

    u->elcr = value & elcr_writable[unit];
    u->irr |= u->lines & u->elcr;
    update(pic);
}

void pic_set_irq(struct pic *pic, unsigned irq, bool level)
{
    unit_set_line(&pic->unit[irq >> 3], irq & 7, level);
    update(pic);
}

uint8_t pic_acknowledge(struct pic *pic)
{
    struct pic_unit *master = &pic->unit[PIC_MASTER], *slave = &pic->unit[PIC_SLAVE];
    unsigned input = unit_acknowledge(pic, PIC_MASTER);
    uint8_t vector = master->icw2 | (input == NO_INPUT ? 7 : input);

    if (input == PIC_CASCADE) {
        input = unit_acknowledge(pic, PIC_SLAVE);
        vector = slave->icw2 | (input == NO_INPUT ? 7 : input);
    }
    update(pic);
    return vector;
}
