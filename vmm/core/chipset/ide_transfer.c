/* The protocols of a command's data (T13 1410D, clause 9): DRQ data blocks, DMA, and requests for the medium. */
#include "ide.h"

#include <string.h>

#include "ide_device.h"
#include "ticks.h"

enum { COMMAND_PACKET = 0xa0 };

static bool is_packet(const struct ide_transfer *transfer)
{
    return transfer->command == COMMAND_PACKET;
}

static void set_busy(struct ide *ide, unsigned step, uint64_t due)
{
    struct ide_device *device = ide_commanded(ide);

    device->status = (device->status & IDE_STATUS_DF) | IDE_READY | IDE_STATUS_BSY;
    ide_schedule(ide, step, due);
}

void ide_end(struct ide *ide, uint8_t error, uint64_t now)
{
    ide_commanded(ide)->error = error;
    ide->transfer.way = IDE_NO_DATA;
    ide->transfer.dmarq = false;
    set_busy(ide, IDE_STEP_END, now + IDE_COMMAND_TIME);
}

void ide_settle(struct ide *ide)
{
    struct ide_device *device = ide_commanded(ide);

    device->status = (device->status & IDE_STATUS_DF) | IDE_READY | (device->error ? IDE_STATUS_ERR : 0);
    if (is_packet(&ide->transfer))
        device->count = IDE_REASON_IO | IDE_REASON_COD;
    else if (!device->error && ide->transfer.sector) /* some were moved, the last one before this */
        ata_moved(ide);
    ide_schedule(ide, IDE_STEP_NONE, MACHINE_NEVER);
}

void ide_begin_block(struct ide *ide, bool interrupt)
{
    struct ide_transfer *transfer = &ide->transfer;
    struct ide_device *device = ide_commanded(ide);
    uint32_t bytes = transfer->filled - transfer->position;

    if (bytes > transfer->block)
        bytes = transfer->block;
    transfer->end = transfer->position + bytes;
    if (is_packet(transfer)) {
        device->count = transfer->way == IDE_PIO_IN ? IDE_REASON_IO : IDE_REASON_COD;
        device->lba_mid = bytes & 0xff;
        device->lba_high = (uint16_t)(bytes >> 8);
    }
    device->status = IDE_READY | IDE_STATUS_DRQ;
    if (interrupt)
        device->intrq = true;
    ide_schedule(ide, IDE_STEP_NONE, MACHINE_NEVER);
}

/* Makes room for the sectors of the next request. */
static void fill(struct ide *ide, uint32_t bytes)
{
    ide->transfer.filled = bytes;
    ide->transfer.position = 0;
}

static uint32_t bytes_of_round(const struct ide *ide, unsigned sector_bytes)
{
    uint64_t bytes = (uint64_t)ide->transfer.sectors * sector_bytes;

    return bytes < IDE_BUFFER ? (uint32_t)bytes : IDE_BUFFER;
}

static bool to_medium(const struct ide_transfer *transfer)
{
    return transfer->way == IDE_PIO_OUT || transfer->way == IDE_DMA_OUT;
}

void ide_ask(struct ide *ide)
{
    const struct ide_transfer *transfer = &ide->transfer;
    const struct ide_device *device = ide_commanded(ide);
    unsigned sector = ide_sector_bytes(device);

    ide->request = (struct ide_request){
        .pending = true,
        .write = to_medium(transfer),
        .number = device->number,
        .offset = transfer->sector * sector,
        .bytes = to_medium(transfer) ? transfer->filled
                 : transfer->singly  ? sector
                                     : bytes_of_round(ide, sector),
    };
}

void ide_send(struct ide *ide, uint32_t bytes, uint32_t block, bool dma, uint64_t now)
{
    if (!bytes) {
        ide_end(ide, 0, now);
        return;
    }
    ide->transfer.way = dma ? IDE_DMA_IN : IDE_PIO_IN;
    ide->transfer.block = block;
    ide->transfer.sectors = 0;
    fill(ide, bytes);
    set_busy(ide, dma ? IDE_STEP_DMA : IDE_STEP_BLOCK, now + IDE_COMMAND_TIME);
}

void ide_move_sectors(struct ide *ide, unsigned way, uint64_t sector, uint32_t sectors, uint32_t block, uint64_t now)
{
    struct ide_transfer *transfer = &ide->transfer;
    unsigned size = ide_sector_bytes(ide_commanded(ide));

    transfer->way = (uint8_t)way;
    transfer->sector = sector;
    transfer->sectors = sectors;
    transfer->block = block;
    fill(ide, 0);
    if (to_medium(transfer))
        fill(ide, bytes_of_round(ide, size));
    if (way == IDE_PIO_OUT)
        ide_begin_block(ide, false); /* the first block comes without an interrupt */
    else
        set_busy(ide, way == IDE_PIO_IN || way == IDE_VERIFY ? IDE_STEP_MEDIUM : IDE_STEP_DMA,
                 now + IDE_ACCESS_TIME);
}

void ide_take_packet(struct ide *ide)
{
    struct ide_device *device = ide_commanded(ide);

    ide->transfer.way = IDE_PACKET_OUT;
    ide->transfer.position = 0;
    ide->transfer.end = ide->transfer.filled = IDE_PACKET;
    device->count = IDE_REASON_COD;
    device->status = IDE_READY | IDE_STATUS_DRQ; /* "accelerated DRQ": without an interrupt */
}

void ide_block_moved(struct ide *ide, uint64_t now)
{
    struct ide_transfer *transfer = &ide->transfer;

    if (transfer->way == IDE_PACKET_OUT) {
        set_busy(ide, IDE_STEP_NONE, MACHINE_NEVER);
        atapi_packet(ide, now);
    } else if (transfer->position < transfer->filled) {
        set_busy(ide, IDE_STEP_BLOCK, now + IDE_BLOCK_TIME);
    } else if (transfer->way == IDE_PIO_OUT || transfer->sectors) {
        set_busy(ide, IDE_STEP_MEDIUM, now + IDE_ACCESS_TIME);
    } else if (is_packet(transfer)) {
        ide_end(ide, 0, now);
    } else { /* PIO data-in ends without an interrupt */
        transfer->way = IDE_NO_DATA;
        ide_settle(ide);
    }
}

uint32_t ide_dma_bytes(const struct ide *ide)
{
    const struct ide_transfer *transfer = &ide->transfer;

    return transfer->dmarq && !ide->request.pending ? transfer->filled - transfer->position : 0;
}

bool ide_dma_to_memory(const struct ide *ide)
{
    return ide->transfer.way == IDE_DMA_IN;
}

void ide_dma_move(struct ide *ide, uint8_t *memory, uint32_t bytes, uint64_t now)
{
    struct ide_transfer *transfer = &ide->transfer;
    bool in = ide_dma_to_memory(ide);

    if (bytes > ide_dma_bytes(ide))
        bytes = ide_dma_bytes(ide);
    if (in)
        memcpy(memory, ide->buffer + transfer->position, bytes);
    else
        memcpy(ide->buffer + transfer->position, memory, bytes);
    transfer->position += bytes;
    if (!bytes || transfer->position < transfer->filled)
        return;
    if (!in || transfer->sectors)
        ide_ask(ide);
    else
        ide_end(ide, 0, now);
    ide_update_irq(ide);
}

static uint8_t error_of(struct ide *ide, unsigned error)
{
    return ide_commanded(ide)->kind == STORAGE_CDROM ? atapi_error(ide, error) : ata_error(ide, error);
}

void ide_served(struct ide *ide, unsigned error, uint64_t now)
{
    struct ide_transfer *transfer = &ide->transfer;
    const uint32_t bytes = ide->request.bytes;
    const unsigned sector = ide_sector_bytes(ide_commanded(ide));

    if (!ide->request.pending)
        return;
    memset(&ide->request, 0, sizeof ide->request);
    if (error && !to_medium(transfer) && bytes > sector) {
        transfer->singly = true;
        ide_ask(ide);
        return;
    }
    if (error) {
        ide_end(ide, error_of(ide, error), now);
        return;
    }
    transfer->sector += bytes / sector;
    transfer->sectors -= bytes / sector;
    fill(ide, to_medium(transfer) ? bytes_of_round(ide, sector) : bytes);
    if (to_medium(transfer) && !transfer->sectors)
        ide_end(ide, 0, now);
    else if (transfer->way == IDE_PIO_IN || transfer->way == IDE_PIO_OUT)
        ide_begin_block(ide, true);
    else if (transfer->way == IDE_VERIFY && transfer->sectors)
        ide_ask(ide);
    else if (transfer->way == IDE_VERIFY)
        ide_end(ide, 0, now);
    ide_update_irq(ide);
}
