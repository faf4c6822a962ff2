/* The commands of a disk (T13 1410D, clause 8). */
#include <string.h>

#include "ide_device.h"

enum {
    ATA_RECALIBRATE = 0x10, /* and every code to 1Fh */
    ATA_READ_SECTORS = 0x20,
    ATA_READ_SECTORS_WITHOUT_RETRY = 0x21,
    ATA_READ_SECTORS_EXT = 0x24,
    ATA_READ_DMA_EXT = 0x25,
    ATA_READ_NATIVE_MAX_ADDRESS_EXT = 0x27,
    ATA_READ_MULTIPLE_EXT = 0x29,
    ATA_WRITE_SECTORS = 0x30,
    ATA_WRITE_SECTORS_WITHOUT_RETRY = 0x31,
    ATA_WRITE_SECTORS_EXT = 0x34,
    ATA_WRITE_DMA_EXT = 0x35,
    ATA_WRITE_MULTIPLE_EXT = 0x39,
    ATA_READ_VERIFY_SECTORS = 0x40,
    ATA_READ_VERIFY_SECTORS_WITHOUT_RETRY = 0x41,
    ATA_READ_VERIFY_SECTORS_EXT = 0x42,
    ATA_SEEK = 0x70, /* and every code to 7Fh */
    ATA_INITIALIZE_DEVICE_PARAMETERS = 0x91,
    ATA_READ_MULTIPLE = 0xc4,
    ATA_WRITE_MULTIPLE = 0xc5,
    ATA_SET_MULTIPLE_MODE = 0xc6,
    ATA_READ_DMA = 0xc8,
    ATA_READ_DMA_WITHOUT_RETRY = 0xc9,
    ATA_WRITE_DMA = 0xca,
    ATA_WRITE_DMA_WITHOUT_RETRY = 0xcb,
    ATA_FLUSH_CACHE = 0xe7,
    ATA_FLUSH_CACHE_EXT = 0xea,
    ATA_IDENTIFY_DEVICE = 0xec,
    ATA_SET_FEATURES = 0xef,
    ATA_READ_NATIVE_MAX_ADDRESS = 0xf8,
};

enum {
    FEATURE_WRITE_CACHE_ON = 0x02,
    FEATURE_TRANSFER_MODE = 0x03,
    FEATURE_LOOK_AHEAD_OFF = 0x55,
    FEATURE_KEEP_DEFAULTS = 0x66, /* over a software reset, as ours are in any case */
    FEATURE_WRITE_CACHE_OFF = 0x82,
    FEATURE_LOOK_AHEAD_ON = 0xaa,
    FEATURE_REVERT_DEFAULTS = 0xcc,
};

#define MULTIPLE_MOST 16 /* sectors of a block; a power of two */
#define DEFAULT_HEADS 16
#define DEFAULT_TRACK 63
#define CYLINDERS_MOST 16383
#define LBA28_SECTORS 0x0fffffffu

static unsigned cylinders_of(uint64_t sectors, unsigned heads, unsigned track)
{
    uint64_t cylinders = sectors / (heads * track);

    return cylinders < CYLINDERS_MOST ? (unsigned)cylinders : CYLINDERS_MOST;
}

/* What a software reset brings back too; the caches and the transfer mode stay as SET FEATURES left them. */
void ata_reset(struct ide_device *device)
{
    device->heads = DEFAULT_HEADS;
    device->track = DEFAULT_TRACK;
    device->cylinders = (uint16_t)cylinders_of(device->sectors, DEFAULT_HEADS, DEFAULT_TRACK);
    device->multiple = MULTIPLE_MOST;
}

/* ---- addresses ---- */

/* Sectors in CHS order; more than there are for an address that the translation does not have. */
static uint64_t chs_sector(const struct ide_device *device)
{
    unsigned cylinder = (device->lba_high & 0xffu) << 8 | (device->lba_mid & 0xffu);
    unsigned head = device->device & IDE_DEVICE_HEAD, sector = device->lba_low & 0xff;

    if (cylinder >= device->cylinders || head >= device->heads || sector < 1 || sector > device->track)
        return UINT64_MAX;
    return ((uint64_t)cylinder * device->heads + head) * device->track + sector - 1;
}

static uint64_t addressed_sector(const struct ide_device *device, bool extended)
{
    if (!(device->device & IDE_DEVICE_LBA) && !extended)
        return chs_sector(device);
    uint64_t lba = (device->lba_low & 0xffu) | (device->lba_mid & 0xffu) << 8 | (device->lba_high & 0xffu) << 16;
    if (!extended)
        return lba | (uint64_t)(device->device & IDE_DEVICE_HEAD) << 24;
    return lba | (uint64_t)(device->lba_low >> 8) << 24 | (uint64_t)(device->lba_mid >> 8) << 32 |
           (uint64_t)(device->lba_high >> 8) << 40;
}

static uint32_t addressed_count(const struct ide_device *device, bool extended)
{
    if (extended)
        return device->count ? device->count : 65536;
    return device->count & 0xff ? device->count & 0xff : 256;
}

/* Puts a sector's address into the registers, in the form in which the command gave one. */
static void put_address(struct ide_device *device, uint64_t sector, bool extended)
{
    if (extended) {
        device->lba_low = (uint16_t)(sector >> 24 << 8 | (sector & 0xff));
        device->lba_mid = (uint16_t)((sector >> 32 & 0xff) << 8 | (sector >> 8 & 0xff));
        device->lba_high = (uint16_t)((sector >> 40 & 0xff) << 8 | (sector >> 16 & 0xff));
        return;
    }
    unsigned head = sector >> 24 & 15;
    if (!(device->device & IDE_DEVICE_LBA)) {
        uint64_t track = sector / device->track, cylinder = track / device->heads;
        head = (unsigned)(track % device->heads);
        sector = cylinder << 8 | (sector % device->track + 1);
    }
    device->lba_low = sector & 0xff;
    device->lba_mid = sector >> 8 & 0xff;
    device->lba_high = sector >> 16 & 0xff;
    device->device = (uint8_t)((device->device & ~IDE_DEVICE_HEAD) | head);
}

uint8_t ata_error(struct ide *ide, unsigned error)
{
    struct ide_device *device = ide_commanded(ide);

    put_address(device, ide->transfer.sector, ide->transfer.extended);
    switch (error) {
    case STORAGE_OUTSIDE:
        return IDE_ERROR_IDNF;
    case STORAGE_PROTECTED:
        return IDE_ERROR_ABRT;
    case STORAGE_FULL:
        device->status |= IDE_STATUS_DF;
        return IDE_ERROR_ABRT;
    default:
        return IDE_ERROR_UNC;
    }
}

void ata_moved(struct ide *ide)
{
    struct ide_device *device = ide_commanded(ide);

    put_address(device, ide->transfer.sector - 1, ide->transfer.extended);
    device->count = 0;
}

/* ---- commands ---- */

static void move(struct ide *ide, unsigned way, bool multiple, bool extended, uint64_t now)
{
    struct ide_device *device = ide_commanded(ide);
    uint64_t sector = addressed_sector(device, extended);
    uint32_t sectors = addressed_count(device, extended);

    ide->transfer.extended = extended;
    if (multiple && !device->multiple) {
        ide_end(ide, IDE_ERROR_ABRT, now);
    } else if (sector >= device->sectors || sectors > device->sectors - sector) {
        ide_end(ide, IDE_ERROR_IDNF, now);
    } else if (device->read_only && (way == IDE_PIO_OUT || way == IDE_DMA_OUT)) {
        ide_end(ide, IDE_ERROR_ABRT, now);
    } else {
        device->power = IDE_ACTIVE;
        ide_move_sectors(ide, way, sector, sectors, IDE_ATA_SECTOR * (multiple ? device->multiple : 1), now);
    }
}

static void identify(struct ide *ide, uint64_t now)
{
    const struct ide_device *device = ide_commanded(ide);
    uint64_t sectors = device->sectors, chs = (uint64_t)device->cylinders * device->heads * device->track;
    uint64_t lba28 = sectors < LBA28_SECTORS ? sectors : LBA28_SECTORS;
    uint8_t *data = ide->buffer;

    ide_identify(ide, "BRINGUP DISK");
    ide_put_word(data, 0, 0x0040); /* fixed */
    ide_put_word(data, 1, cylinders_of(sectors, DEFAULT_HEADS, DEFAULT_TRACK));
    ide_put_word(data, 3, DEFAULT_HEADS);
    ide_put_word(data, 6, DEFAULT_TRACK);
    ide_put_word(data, 47, 0x8000 | MULTIPLE_MOST);
    ide_put_word(data, 50, 0x4000);
    ide_put_word(data, 54, device->cylinders);
    ide_put_word(data, 55, device->heads);
    ide_put_word(data, 56, device->track);
    for (unsigned i = 0; i < 2; i++) {
        ide_put_word(data, 57 + i, chs >> 16 * i & 0xffff);
        ide_put_word(data, 60 + i, lba28 >> 16 * i & 0xffff);
    }
    ide_put_word(data, 59, device->multiple ? 0x100u | device->multiple : 0);
    /* power management, write cache, look-ahead; LBA48, FLUSH CACHE and its EXT; nothing of the third word */
    ide_put_word(data, 82, 0x0068);
    ide_put_word(data, 83, 0x7400);
    ide_put_word(data, 84, 0x4000);
    ide_put_word(data, 85, 0x0008 | device->write_cache << 5 | device->look_ahead << 6);
    ide_put_word(data, 86, 0x3400);
    ide_put_word(data, 87, 0x4000);
    for (unsigned i = 0; i < 4; i++)
        ide_put_word(data, 100 + i, sectors >> 16 * i & 0xffff);
    ide_seal_identity(data);
    ide_send(ide, IDE_ATA_SECTOR, IDE_ATA_SECTOR, false, now);
}

static uint8_t initialize_device_parameters(struct ide_device *device)
{
    unsigned heads = (device->device & IDE_DEVICE_HEAD) + 1, track = device->count & 0xff;

    if (!track)
        return IDE_ERROR_ABRT;
    unsigned cylinders = cylinders_of(device->sectors, heads, track);
    device->heads = (uint8_t)heads;
    device->track = (uint8_t)track;
    device->cylinders = (uint16_t)cylinders;
    return 0;
}

static uint8_t set_multiple_mode(struct ide_device *device)
{
    unsigned sectors = device->count & 0xff;

    if (sectors > MULTIPLE_MOST || sectors & (sectors - 1))
        return IDE_ERROR_ABRT;
    device->multiple = (uint8_t)sectors;
    return 0;
}

static uint8_t set_features(struct ide_device *device)
{
    switch (device->features) {
    case FEATURE_TRANSFER_MODE:
        return ide_set_transfer_mode(device, device->count & 0xff) ? 0 : IDE_ERROR_ABRT;
    case FEATURE_WRITE_CACHE_ON:
    case FEATURE_WRITE_CACHE_OFF:
        device->write_cache = device->features == FEATURE_WRITE_CACHE_ON;
        return 0;
    case FEATURE_LOOK_AHEAD_ON:
    case FEATURE_LOOK_AHEAD_OFF:
        device->look_ahead = device->features == FEATURE_LOOK_AHEAD_ON;
        return 0;
    case FEATURE_KEEP_DEFAULTS:
    case FEATURE_REVERT_DEFAULTS:
        return 0;
    }
    return IDE_ERROR_ABRT;
}

static uint8_t read_native_max_address(struct ide *ide, bool extended)
{
    struct ide_device *device = ide_commanded(ide);
    uint64_t last = device->sectors ? device->sectors - 1 : 0;

    if (!extended && last >= LBA28_SECTORS)
        last = LBA28_SECTORS - 1;
    put_address(device, last, extended);
    return 0;
}

static uint8_t seek(const struct ide_device *device)
{
    return addressed_sector(device, false) < device->sectors ? 0 : IDE_ERROR_IDNF;
}

/* A command that moves no data; returns the error register. */
static uint8_t control(struct ide *ide, uint8_t command)
{
    struct ide_device *device = ide_commanded(ide);

    switch (command) {
    case ATA_RECALIBRATE ... ATA_RECALIBRATE + 15:
        device->lba_mid = device->lba_high = 0;
        return 0;
    case ATA_SEEK ... ATA_SEEK + 15:
        return seek(device);
    case ATA_INITIALIZE_DEVICE_PARAMETERS:
        return initialize_device_parameters(device);
    case ATA_SET_MULTIPLE_MODE:
        return set_multiple_mode(device);
    case ATA_SET_FEATURES:
        return set_features(device);
    case ATA_READ_NATIVE_MAX_ADDRESS:
    case ATA_READ_NATIVE_MAX_ADDRESS_EXT:
        return read_native_max_address(ide, command == ATA_READ_NATIVE_MAX_ADDRESS_EXT);
    case ATA_FLUSH_CACHE: /* what was written is in the host's hands already */
    case ATA_FLUSH_CACHE_EXT:
        return 0;
    }
    return IDE_ERROR_ABRT;
}

void ata_command(struct ide *ide, uint8_t command, uint64_t now)
{
    static const struct {
        uint8_t command, way;
        bool multiple, extended;
    } moves[] = {
        {ATA_READ_SECTORS, IDE_PIO_IN, false, false},
        {ATA_READ_SECTORS_WITHOUT_RETRY, IDE_PIO_IN, false, false},
        {ATA_READ_SECTORS_EXT, IDE_PIO_IN, false, true},
        {ATA_READ_MULTIPLE, IDE_PIO_IN, true, false},
        {ATA_READ_MULTIPLE_EXT, IDE_PIO_IN, true, true},
        {ATA_WRITE_SECTORS, IDE_PIO_OUT, false, false},
        {ATA_WRITE_SECTORS_WITHOUT_RETRY, IDE_PIO_OUT, false, false},
        {ATA_WRITE_SECTORS_EXT, IDE_PIO_OUT, false, true},
        {ATA_WRITE_MULTIPLE, IDE_PIO_OUT, true, false},
        {ATA_WRITE_MULTIPLE_EXT, IDE_PIO_OUT, true, true},
        {ATA_READ_DMA, IDE_DMA_IN, false, false},
        {ATA_READ_DMA_WITHOUT_RETRY, IDE_DMA_IN, false, false},
        {ATA_READ_DMA_EXT, IDE_DMA_IN, false, true},
        {ATA_WRITE_DMA, IDE_DMA_OUT, false, false},
        {ATA_WRITE_DMA_WITHOUT_RETRY, IDE_DMA_OUT, false, false},
        {ATA_WRITE_DMA_EXT, IDE_DMA_OUT, false, true},
        {ATA_READ_VERIFY_SECTORS, IDE_VERIFY, false, false},
        {ATA_READ_VERIFY_SECTORS_WITHOUT_RETRY, IDE_VERIFY, false, false},
        {ATA_READ_VERIFY_SECTORS_EXT, IDE_VERIFY, false, true},
    };

    struct ide_device *device = ide_commanded(ide);

    if (command == ATA_IDENTIFY_DEVICE) {
        identify(ide, now);
        return;
    }
    for (unsigned i = 0; i < sizeof moves / sizeof *moves; i++) {
        if (moves[i].command == command) {
            move(ide, moves[i].way, moves[i].multiple, moves[i].extended, now);
            return;
        }
    }
    ide_end(ide, ide_power_command(device, command) ? 0 : control(ide, command), now);
}
