#include "dma.h"

#include <string.h>

STATE_TABLE(dma_channel, DMA_CHANNEL_STATE);
STATE_TABLE(dma_unit, DMA_UNIT_STATE);
STATE_TABLE(dma, DMA_STATE);

#define ALL_CHANNELS 15

/* The page register of each channel; channel 4 has that of the refresh. */
static const uint8_t page_of[DMA_CHANNELS] = {0x7, 0x3, 0x1, 0x2, 0xf, 0xb, 0x9, 0xa};

/* The data sheet's "master clear", which is also what the reset pin does. Addresses and counts stay. */
static void master_clear(struct dma_unit *unit)
{
    unit->command = unit->requests = unit->terminal_count = 0;
    unit->mask = ALL_CHANNELS;
    unit->high_byte = false;
}

void dma_reset(struct dma *dma)
{
    memset(dma, 0, sizeof *dma);
    for (unsigned i = 0; i < DMA_UNITS; i++)
        master_clear(&dma->unit[i]);
}

/* ---- registers ---- */

static bool next_is_high(struct dma_unit *unit)
{
    bool high = unit->high_byte;

    unit->high_byte = !high;
    return high;
}

uint8_t dma_read(struct dma *dma, unsigned unit_number, unsigned reg)
{
    struct dma_unit *unit = &dma->unit[unit_number % DMA_UNITS];
    const struct dma_channel *channel = &unit->channel[reg / 2 % 4];
    uint8_t value;

    if (reg < DMA_COMMAND_STATUS)
        return (uint8_t)((reg & 1 ? channel->count : channel->address) >> (next_is_high(unit) ? 8 : 0));
    switch (reg) {
    case DMA_COMMAND_STATUS:
        value = (uint8_t)(unit->terminal_count | unit->requests << 4);
        unit->terminal_count = 0;
        return value;
    case DMA_MASTER_CLEAR: /* nothing ever comes into the temporary register */
        return 0;
    case DMA_ALL_MASK: /* as on the PIIX3; the 8237A does not show it */
        return unit->mask;
    default:
        return 0xff;
    }
}

static void write_word(struct dma_unit *unit, uint16_t *base, uint16_t *current, uint8_t value)
{
    *base = next_is_high(unit) ? (uint16_t)(value << 8 | (*base & 0xff)) : (uint16_t)((*base & 0xff00) | value);
    *current = *base;
}

static uint8_t with_bit(uint8_t bits, uint8_t value)
{
    uint8_t bit = (uint8_t)(1 << (value & DMA_SELECT));

    return value & DMA_SELECT_SET ? bits | bit : bits & (uint8_t)~bit;
}

void dma_write(struct dma *dma, unsigned unit_number, unsigned reg, uint8_t value)
{
    struct dma_unit *unit = &dma->unit[unit_number % DMA_UNITS];
    struct dma_channel *channel = &unit->channel[reg / 2 % 4];

    if (reg < DMA_COMMAND_STATUS) {
        if (reg & 1)
            write_word(unit, &channel->base_count, &channel->count, value);
        else
            write_word(unit, &channel->base_address, &channel->address, value);
        return;
    }
    switch (reg) {
    case DMA_COMMAND_STATUS:
        unit->command = value;
        break;
    case DMA_REQUEST:
        unit->requests = with_bit(unit->requests, value);
        break;
    case DMA_MASK:
        unit->mask = with_bit(unit->mask, value);
        break;
    case DMA_MODE:
        unit->channel[value & DMA_SELECT].mode = value & (uint8_t)~DMA_SELECT;
        break;
    case DMA_CLEAR_FLIP_FLOP:
        unit->high_byte = false;
        break;
    case DMA_MASTER_CLEAR:
        master_clear(unit);
        break;
    case DMA_CLEAR_MASK:
        unit->mask = 0;
        break;
    case DMA_ALL_MASK:
        unit->mask = value & ALL_CHANNELS;
        break;
    }
}

uint8_t dma_read_page(const struct dma *dma, unsigned reg)
{
    return dma->page[reg % DMA_PAGES];
}

void dma_write_page(struct dma *dma, unsigned reg, uint8_t value)
{
    dma->page[reg % DMA_PAGES] = value;
}

/* ---- transfers ---- */

static unsigned kind_of(const struct dma_channel *channel)
{
    return (channel->mode & DMA_MODE_KIND) >> 6;
}

static bool answers(const struct dma *dma, unsigned channel)
{
    const struct dma_unit *unit = &dma->unit[channel / 4];

    return !(unit->command & DMA_COMMAND_DISABLE) && !(unit->mask >> channel % 4 & 1);
}

static bool cascaded(const struct dma *dma)
{
    return answers(dma, DMA_CASCADE) && kind_of(&dma->unit[1].channel[0]) == DMA_MODE_CASCADE;
}

/* Bytes of one transfer. */
static unsigned width_of(unsigned channel)
{
    return channel < DMA_CASCADE ? 1 : 2;
}

bool dma_next(const struct dma *dma, unsigned number, struct dma_piece *piece)
{
    const struct dma_channel *channel = &dma->unit[number / 4 % DMA_UNITS].channel[number % 4];
    unsigned transfer = (channel->mode & DMA_MODE_TRANSFER) >> 2;
    uint32_t units, page;

    if (number >= DMA_CHANNELS || number == DMA_CASCADE || !answers(dma, number) ||
        (number < DMA_CASCADE && !cascaded(dma)) || kind_of(channel) == DMA_MODE_CASCADE || transfer == DMA_ILLEGAL)
        return false;
    units = 0x10000u - channel->address; /* the page register takes no carry */
    if (units > channel->count + 1u)
        units = channel->count + 1u;
    if (channel->mode & DMA_MODE_DECREMENT)
        units = 1;
    page = dma->page[page_of[number]];
    if (width_of(number) == 1)
        piece->gpa = page << 16 | channel->address;
    else /* address line 16 comes from the address, not from the page */
        piece->gpa = (page & 0xfe) << 16 | (uint32_t)channel->address << 1;
    piece->bytes = units * width_of(number);
    piece->transfer = transfer;
    return true;
}

bool dma_moved(struct dma *dma, unsigned number, uint32_t bytes)
{
    struct dma_unit *unit = &dma->unit[number / 4 % DMA_UNITS];
    struct dma_channel *channel = &unit->channel[number % 4];
    uint8_t bit = (uint8_t)(1 << number % 4);
    uint32_t units = bytes / width_of(number);

    if (!units)
        return false;
    if (units > channel->count + 1u)
        units = channel->count + 1u;
    bool done = units == channel->count + 1u;
    channel->address = (uint16_t)(channel->mode & DMA_MODE_DECREMENT ? channel->address - units
                                                                     : channel->address + units);
    channel->count = (uint16_t)(channel->count - units);
    if (!done)
        return false;
    unit->terminal_count |= bit;
    unit->requests &= (uint8_t)~bit;
    if (channel->mode & DMA_MODE_AUTOINITIALIZE) {
        channel->address = channel->base_address;
        channel->count = channel->base_count;
    } else {
        unit->mask |= bit;
    }
    return true;
}
