/* The AT's pair of 8237A DMA controllers (Intel 231466), the first one's HRQ on channel 4 of the second, and the page
 * registers beside them (IBM PC AT technical reference, "Direct memory access"; PIIX3, Intel 290550, 2.5.1).
 * Channels 0 to 3 move bytes within 64 KiB, 5 to 7 words within 128 KiB.
 *
 * A transfer takes no time, so priorities, compressed timing and the difference of single, block and demand mode are
 * not seen, nor is a device's request: it moves all it has. Memory-to-memory transfers are left out as in the PIIX3. A request by software
 * is noted and shown, but no device answers it. */
#ifndef BRINGUP_DMA_H
#define BRINGUP_DMA_H

#include "fields.h"

#define DMA_UNITS 2
#define DMA_CHANNELS 8
#define DMA_CASCADE 4 /* the channel that the first controller asks through */
#define DMA_PAGES 16

/* Registers of a controller; below DMA_COMMAND_STATUS address and count of its four channels by turns. On the AT they
 * are one port apart on the first controller and two on the second. */
enum {
    DMA_COMMAND_STATUS = 8,
    DMA_REQUEST = 9,
    DMA_MASK = 10,
    DMA_MODE = 11,
    DMA_CLEAR_FLIP_FLOP = 12,
    DMA_MASTER_CLEAR = 13, /* read: the temporary register */
    DMA_CLEAR_MASK = 14,
    DMA_ALL_MASK = 15,
    DMA_REGISTERS = 16,
};
/* Of the command register only DISABLE is seen. */
enum {
    DMA_COMMAND_MEMORY_TO_MEMORY = 1 << 0,
    DMA_COMMAND_HOLD_ADDRESS = 1 << 1,
    DMA_COMMAND_DISABLE = 1 << 2,
    DMA_COMMAND_COMPRESSED = 1 << 3,
    DMA_COMMAND_ROTATING = 1 << 4,
    DMA_COMMAND_EXTENDED_WRITE = 1 << 5,
    DMA_COMMAND_DREQ_LOW = 1 << 6,
    DMA_COMMAND_DACK_HIGH = 1 << 7,
};
enum { DMA_STATUS_TERMINAL_COUNT = 15 << 0, DMA_STATUS_REQUEST = 15 << 4 };
/* The request and mask registers: a channel and what its bit becomes. */
enum { DMA_SELECT = 3 << 0, DMA_SELECT_SET = 1 << 2 };
enum {
    DMA_MODE_TRANSFER = 3 << 2,
    DMA_MODE_AUTOINITIALIZE = 1 << 4,
    DMA_MODE_DECREMENT = 1 << 5,
    DMA_MODE_KIND = 3 << 6,
};
/* DMA_MODE_TRANSFER, as seen from memory. */
enum dma_transfer { DMA_VERIFY = 0, DMA_WRITE = 1, DMA_READ = 2, DMA_ILLEGAL = 3 };
enum { DMA_MODE_DEMAND = 0, DMA_MODE_SINGLE = 1, DMA_MODE_BLOCK = 2, DMA_MODE_CASCADE = 3 };

#define DMA_CHANNEL_STATE(VALUE, PART, owner)                                                                          \
    VALUE(owner, uint8_t, mode, )          /* bits 7:2 of the mode register */                                         \
    VALUE(owner, uint16_t, base_address, )                                                                             \
    VALUE(owner, uint16_t, base_count, )                                                                               \
    VALUE(owner, uint16_t, address, )      /* bytes, or words on channels 5 to 7 */                                    \
    VALUE(owner, uint16_t, count, )        /* less one */
STATE_STRUCT(dma_channel, DMA_CHANNEL_STATE);

#define DMA_UNIT_STATE(VALUE, PART, owner)                                                                             \
    PART(owner, dma_channel, channel, [4])                                                                             \
    VALUE(owner, uint8_t, command, )                                                                                   \
    VALUE(owner, uint8_t, mask, )          /* bits 3:0 */                                                              \
    VALUE(owner, uint8_t, requests, )      /* by software, bits 3:0 */                                                 \
    VALUE(owner, uint8_t, terminal_count, ) /* since the status was read, bits 3:0 */                                  \
    VALUE(owner, bool, high_byte, )        /* the byte pointer flip-flop */
STATE_STRUCT(dma_unit, DMA_UNIT_STATE);

#define DMA_STATE(VALUE, PART, owner)                                                                                  \
    PART(owner, dma_unit, unit, [DMA_UNITS])                                                                           \
    VALUE(owner, uint8_t, page, [DMA_PAGES])
STATE_STRUCT(dma, DMA_STATE);

void dma_reset(struct dma *dma);
uint8_t dma_read(struct dma *dma, unsigned unit, unsigned reg);
void dma_write(struct dma *dma, unsigned unit, unsigned reg, uint8_t value);
/* Ports 80h to 8Fh; those that belong to no channel only keep what is written. */
uint8_t dma_read_page(const struct dma *dma, unsigned reg);
void dma_write_page(struct dma *dma, unsigned reg, uint8_t value);

/* What a channel moves next, when its device asks: `bytes` at guest-physical `gpa`, in ascending order. */
struct dma_piece {
    uint64_t gpa;
    uint32_t bytes;
    uint32_t transfer; /* enum dma_transfer; DMA_VERIFY touches no memory */
};
/* False: the channel does not answer (masked, disabled, not programmed for transfers, or not connected through the
 * cascade). A channel that counts down gives one byte or word at a time. */
bool dma_next(const struct dma *dma, unsigned channel, struct dma_piece *piece);
/* The device moved `bytes`, all or the first part of the piece, whole words on channels 5 to 7. True: pin EOP, the
 * terminal count. */
bool dma_moved(struct dma *dma, unsigned channel, uint32_t bytes);

#endif
