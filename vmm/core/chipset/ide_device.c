/* What disks and CD-ROMs have in common (T13 1410D): signature, identity, transfer modes, power management. */
#include "ide_device.h"

#include <string.h>

/* Modes of DMA: multiword 0 to 2, ultra 0 to 5, as SET FEATURES has them. */
enum { MULTIWORD_DMA = 0x20, ULTRA_DMA = 0x40, MULTIWORD_MODES = 3, ULTRA_MODES = 6 };

/* The older codes of the same commands are 94h to 99h. */
enum {
    STANDBY_IMMEDIATE = 0xe0,
    IDLE_IMMEDIATE = 0xe1,
    STANDBY = 0xe2,
    IDLE = 0xe3,
    CHECK_POWER_MODE = 0xe5,
    SLEEP = 0xe6,
};

struct ide_device *ide_commanded(struct ide *ide)
{
    return &ide->device[ide->transfer.unit];
}

unsigned ide_sector_bytes(const struct ide_device *device)
{
    return device->kind == STORAGE_CDROM ? IDE_CD_SECTOR : IDE_ATA_SECTOR;
}

void ide_sign(struct ide_device *device)
{
    bool packet = device->kind == STORAGE_CDROM;

    device->error = IDE_DIAGNOSTIC_PASSED;
    device->count = device->lba_low = 1;
    device->lba_mid = packet ? 0x14 : 0x00;
    device->lba_high = packet ? 0xeb : 0x00;
    device->device = 0;
}

void ide_put_word(uint8_t *data, unsigned word, unsigned value)
{
    data[2 * word] = (uint8_t)value;
    data[2 * word + 1] = (uint8_t)(value >> 8);
}

/* ASCII with the bytes of each word swapped. */
static void put_string(uint8_t *data, unsigned word, unsigned words, const char *text)
{
    for (unsigned i = 0; i < 2 * words; i++)
        data[2 * word + (i ^ 1)] = *text ? (uint8_t)*text++ : ' ';
}

bool ide_set_transfer_mode(struct ide_device *device, uint8_t mode)
{
    unsigned number = mode & 7, kind = mode & ~7u;

    if (kind == 0x00)
        return number <= 1; /* PIO default, without and with IORDY off */
    if (kind == 0x08)
        return number <= 4;
    if (!(kind == MULTIWORD_DMA && number < MULTIWORD_MODES) &&
        !(kind == ULTRA_DMA && number < ULTRA_MODES))
        return false;
    device->dma_mode = mode;
    return true;
}

/* Supported modes, and the selected one in the high byte. */
static unsigned modes(const struct ide_device *device, unsigned kind, unsigned count)
{
    return ((1u << count) - 1) | ((device->dma_mode & ~7u) == kind ? 0x100u << (device->dma_mode & 7) : 0);
}

void ide_identify(struct ide *ide, const char *model)
{
    const struct ide_device *device = ide_commanded(ide);
    uint8_t *data = ide->buffer;
    char serial[] = "BRINGUP0000?";

    memset(data, 0, IDE_ATA_SECTOR);
    serial[sizeof serial - 2] = (char)('0' + device->number % 10);
    put_string(data, 10, 10, serial);
    put_string(data, 23, 4, "1.0");
    put_string(data, 27, 20, model);
    ide_put_word(data, 49, 0x0f00); /* IORDY, can be turned off; LBA; DMA */
    ide_put_word(data, 53, 0x0007); /* words 54-58, 64-70 and 88 are valid */
    ide_put_word(data, 63, modes(device, MULTIWORD_DMA, MULTIWORD_MODES));
    ide_put_word(data, 64, 0x0003); /* PIO modes 3 and 4 */
    for (unsigned word = 65; word <= 68; word++)
        ide_put_word(data, word, 120); /* ns a cycle */
    ide_put_word(data, 80, 0x0078);    /* ATA/ATAPI-3 to -6 */
    ide_put_word(data, 88, modes(device, ULTRA_DMA, ULTRA_MODES));
    ide_put_word(data, 93, ide->transfer.unit ? 0x6b00 : 0x600b); /* by jumper, diagnostics passed, 80 conductors */
}

void ide_seal_identity(uint8_t *data)
{
    uint8_t sum = 0xa5;

    for (unsigned i = 0; i < IDE_ATA_SECTOR - 2; i++)
        sum = (uint8_t)(sum + data[i]);
    ide_put_word(data, 255, 0xa5 | (uint8_t)-sum << 8);
}

/* A command code of today for one of 94h to 99h. */
static uint8_t without_age(uint8_t command)
{
    static const uint8_t codes[] = {STANDBY_IMMEDIATE, IDLE_IMMEDIATE, STANDBY, IDLE, CHECK_POWER_MODE, SLEEP};
    unsigned index = command - 0x94u;

    return index < sizeof codes ? codes[index] : command;
}

bool ide_power_command(struct ide_device *device, uint8_t command)
{
    switch (without_age(command)) {
    case STANDBY_IMMEDIATE:
    case STANDBY:
        device->power = IDE_STANDBY;
        return true;
    case IDLE_IMMEDIATE:
    case IDLE:
        device->power = IDE_IDLE;
        return true;
    case SLEEP:
        device->power = IDE_ASLEEP;
        return true;
    case CHECK_POWER_MODE:
        device->count = device->power == IDE_STANDBY ? 0x00 : device->power == IDE_IDLE ? 0x80 : 0xff;
        return true;
    }
    return false;
}
