/* The commands of a CD-ROM that are not packets (T13 1410D, clause 8), and how a packet's answer or error goes to the
 * host (SFF-8020i). */
#include "atapi.h"

enum {
    ATA_READ_SECTORS = 0x20,
    ATA_PACKET = 0xa0,
    ATA_IDENTIFY_PACKET_DEVICE = 0xa1,
    ATA_IDENTIFY_DEVICE = 0xec,
    ATA_SET_FEATURES = 0xef,
};
enum { FEATURE_TRANSFER_MODE = 0x03 };

#define BYTE_COUNT_MOST 0xfffe

void atapi_reset(struct ide_device *device)
{
    device->sense_key = device->sense_code = device->sense_qualifier = 0;
    device->locked = false;
}

void atapi_set_sense(struct ide_device *device, unsigned key, unsigned sense)
{
    device->sense_key = (uint8_t)key;
    device->sense_code = (uint8_t)(sense >> 8);
    device->sense_qualifier = (uint8_t)sense;
}

uint8_t atapi_failed(struct ide_device *device, unsigned key, unsigned sense)
{
    atapi_set_sense(device, key, sense);
    return (uint8_t)(key << 4 | (key == ATAPI_KEY_ILLEGAL_REQUEST ? IDE_ERROR_ABRT : 0));
}

void atapi_refuse(struct ide *ide, unsigned sense, uint64_t now)
{
    ide_end(ide, atapi_failed(ide_commanded(ide), ATAPI_KEY_ILLEGAL_REQUEST, sense), now);
}

uint8_t atapi_error(struct ide *ide, unsigned error)
{
    if (error == STORAGE_OUTSIDE)
        return atapi_failed(ide_commanded(ide), ATAPI_KEY_ILLEGAL_REQUEST, ATAPI_SENSE_ADDRESS_OUT_OF_RANGE);
    return atapi_failed(ide_commanded(ide), ATAPI_KEY_MEDIUM_ERROR, ATAPI_SENSE_UNRECOVERED_READ_ERROR);
}

uint32_t atapi_byte_count(const struct ide_device *device, uint32_t bytes, uint32_t unit)
{
    uint32_t limit = (device->lba_mid & 0xffu) | (device->lba_high & 0xffu) << 8;

    if (limit < 2 || limit > BYTE_COUNT_MOST)
        limit = BYTE_COUNT_MOST;
    if (limit >= bytes)
        return bytes;
    return limit < unit ? limit & ~1u : limit - limit % unit;
}

void atapi_answer(struct ide *ide, uint32_t bytes, uint32_t allocated, uint64_t now)
{
    const struct ide_device *device = ide_commanded(ide);

    if (bytes > allocated)
        bytes = allocated;
    ide_send(ide, bytes, atapi_byte_count(device, bytes, 2), device->features & ATAPI_FEATURE_DMA, now);
}

/* ---- the interface ---- */

static void identify_packet_device(struct ide *ide, uint64_t now)
{
    uint8_t *data = ide->buffer;

    ide_identify(ide, "BRINGUP CD-ROM");
    ide_put_word(data, 0, 0x85c0); /* ATAPI, CD-ROM, removable, accelerated DRQ, packets of 12 bytes */
    ide_put_word(data, 82, 0x0218); /* power management, PACKET, DEVICE RESET */
    ide_put_word(data, 83, 0x4000);
    ide_put_word(data, 84, 0x4000);
    ide_put_word(data, 85, 0x0218);
    ide_put_word(data, 87, 0x4000);
    ide_seal_identity(data);
    ide_send(ide, IDE_ATA_SECTOR, IDE_ATA_SECTOR, false, now);
}

void atapi_command(struct ide *ide, uint8_t command, uint64_t now)
{
    struct ide_device *device = ide_commanded(ide);

    switch (command) {
    case ATA_PACKET:
        if (device->features & ATAPI_FEATURE_OVERLAP)
            ide_end(ide, IDE_ERROR_ABRT, now);
        else
            ide_take_packet(ide);
        return;
    case ATA_IDENTIFY_PACKET_DEVICE:
        identify_packet_device(ide, now);
        return;
    case ATA_IDENTIFY_DEVICE: /* how a host learns that it is none */
    case ATA_READ_SECTORS:
        ide_sign(device);
        ide_end(ide, IDE_ERROR_ABRT, now);
        return;
    case ATA_SET_FEATURES:
        ide_end(ide, device->features == FEATURE_TRANSFER_MODE && ide_set_transfer_mode(device, device->count & 0xff)
                         ? 0 : IDE_ERROR_ABRT, now);
        return;
    }
    ide_end(ide, ide_power_command(device, command) ? 0 : IDE_ERROR_ABRT, now);
}
