/* The 8237s and the 82077 on the board: their ports, and what the 82077 asks for, sectors of the host's media and
 * memory by DMA. */
#include <string.h>

#include "board_state.h"

/* ---- memory by DMA ---- */

#define BLOCK 0x1000 /* memory is RAM or not by pages */

/* What the device sends to memory that is not there is lost, and what it fetches from there is ones. */
static void move_block(struct board *board, uint64_t gpa, uint8_t *data, uint32_t bytes, bool to_memory)
{
    uint8_t *memory = board->memory.at ? board->memory.at(board->memory.context, gpa, bytes, to_memory) : NULL;

    if (memory)
        memcpy(to_memory ? memory : data, to_memory ? data : memory, bytes);
    else if (!to_memory)
        memset(data, 0xff, bytes);
}

static void move_piece(struct board *board, const struct dma_piece *piece, uint8_t *data, uint32_t bytes)
{
    uint64_t gpa = piece->gpa;

    for (uint32_t size; bytes; gpa += size, data += size, bytes -= size) {
        size = BLOCK - (uint32_t)(gpa % BLOCK);
        size = size < bytes ? size : bytes;
        move_block(board, gpa, data, size, piece->transfer == DMA_WRITE);
    }
}

/* A device moves up to `bytes` through its channel; how many it did. A channel that is programmed for the other
 * direction does not answer. */
static uint32_t move(struct board *board, unsigned channel, uint8_t *data, uint32_t bytes, enum dma_transfer direction,
                     bool *terminal_count)
{
    struct dma *dma = &board->chips.dma;
    struct dma_piece piece;
    uint32_t moved = 0;

    *terminal_count = false;
    while (moved < bytes && !*terminal_count && dma_next(dma, channel, &piece)) {
        uint32_t size = piece.bytes < bytes - moved ? piece.bytes : bytes - moved;
        if (piece.transfer == direction)
            move_piece(board, &piece, data + moved, size);
        else if (piece.transfer != DMA_VERIFY)
            break;
        *terminal_count = dma_moved(dma, channel, size);
        moved += size;
    }
    return moved;
}

/* ---- the floppy controller ---- */

static void serve(struct board *board)
{
    struct fdc *fdc = &board->chips.fdc;
    bool write = fdc->request == FDC_MEDIUM_WRITE, terminal_count;
    uint32_t moved;

    switch (fdc->request) {
    case FDC_MEDIUM_READ:
    case FDC_MEDIUM_WRITE:
        fdc_medium_done(fdc, board->transfer &&
                                 !board->transfer(board->transfer_context, STORAGE_FLOPPY_A + fdc->request_drive,
                                                  fdc->request_offset, fdc->buffer, fdc->request_bytes, write));
        break;
    case FDC_DMA_WRITE:
    case FDC_DMA_READ:
        moved = move(board, DMA_CHANNEL_FDC, fdc->buffer, fdc->request_bytes,
                     fdc->request == FDC_DMA_WRITE ? DMA_WRITE : DMA_READ, &terminal_count);
        fdc_dma_done(fdc, moved, terminal_count);
        break;
    }
}

static void fdc_changed(struct board *board)
{
    set_irq(board, IRQ_FDC, board->chips.fdc.irq);
    rearm(board, TIMER_FDC, fdc_deadline(&board->chips.fdc));
}

void advance_fdc(struct board *board, uint64_t now)
{
    struct fdc *fdc = &board->chips.fdc;

    fdc_advance(fdc, now);
    while (fdc->request != FDC_NO_REQUEST) {
        serve(board);
        fdc_advance(fdc, now);
    }
    fdc_changed(board);
}

void reset_fdc(struct board *board)
{
    struct fdc *fdc = &board->chips.fdc;

    fdc_reset(fdc);
    for (unsigned i = 0; board->firmware && i < FDC_DRIVES; i++) {
        const struct storage *storage = &board->drives[STORAGE_FLOPPY_A + i];
        floppy_drive_connect(&fdc->drive[i], board_floppy_kind(storage));
        if (storage->present)
            floppy_drive_insert(&fdc->drive[i], storage->bytes, storage->read_only);
    }
    fdc_changed(board);
}

enum floppy_drive_kind board_floppy_kind(const struct storage *storage)
{
    if (storage->kind != STORAGE_FLOPPY)
        return FLOPPY_NO_DRIVE;
    return storage->present ? floppy_drive_for(storage->bytes) : FLOPPY_DRIVE_1440K;
}

/* ---- ports ---- */

uint32_t read_dma(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)size, (void)now;
    return dma_read(&board->chips.dma, unit, unit ? reg / 2 : reg);
}

void write_dma(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size, struct moment at)
{
    (void)size, (void)at;
    dma_write(&board->chips.dma, unit, unit ? reg / 2 : reg, (uint8_t)value);
}

uint32_t read_dma_page(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)unit, (void)size, (void)now;
    return dma_read_page(&board->chips.dma, reg + 1);
}

void write_dma_page(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size, struct moment at)
{
    (void)unit, (void)size, (void)at;
    dma_write_page(&board->chips.dma, reg + 1, (uint8_t)value);
}

uint32_t read_fdc(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)size;
    uint8_t value = fdc_read(&board->chips.fdc, unit + reg, now);
    fdc_changed(board);
    return value;
}

void write_fdc(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size, struct moment at)
{
    (void)size;
    fdc_write(&board->chips.fdc, unit + reg, (uint8_t)value, at.now);
    fdc_changed(board);
}
