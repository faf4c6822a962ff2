#include "ide.h"

#include <string.h>

#include "ide_device.h"
#include "ticks.h"

STATE_TABLE(ide_device, IDE_DEVICE_STATE);
STATE_TABLE(ide_transfer, IDE_TRANSFER_STATE);
STATE_TABLE(ide_request, IDE_REQUEST_STATE);
STATE_TABLE(ide, IDE_STATE);

enum { COMMAND_DEVICE_RESET = 0x08, COMMAND_EXECUTE_DEVICE_DIAGNOSTIC = 0x90 };

static bool is_there(const struct ide_device *device)
{
    return device->kind != STORAGE_NONE;
}

void ide_update_irq(struct ide *ide)
{
    ide->irq = ide->device[ide->selected].intrq && !(ide->control & IDE_CONTROL_NIEN);
}

void ide_schedule(struct ide *ide, unsigned step, uint64_t due)
{
    ide->transfer.step = (uint8_t)step;
    ide->transfer.due = due;
}

/* ---- resets ---- */

static void stop(struct ide *ide)
{
    memset(&ide->transfer, 0, sizeof ide->transfer);
    memset(&ide->request, 0, sizeof ide->request);
    ide->transfer.due = MACHINE_NEVER;
}

static void reset_device(struct ide_device *device)
{
    ide_sign(device);
    device->intrq = false;
    device->power = IDE_ACTIVE;
    if (device->kind == STORAGE_CDROM)
        atapi_reset(device);
    else
        ata_reset(device);
}

/* What a device says once it has been reset: one for packets is ready after its first command. */
static uint8_t status_after_reset(const struct ide_device *device)
{
    return device->kind == STORAGE_CDROM ? 0 : IDE_READY;
}

void ide_reset(struct ide *ide)
{
    memset(ide, 0, sizeof *ide);
    stop(ide);
}

static void insert(struct ide_device *device, const struct storage *storage)
{
    device->present = storage->present;
    device->read_only = storage->read_only;
    device->sectors = storage->present ? storage->bytes / ide_sector_bytes(device) : 0;
}

void ide_attach(struct ide *ide, unsigned unit, const struct storage *storage, unsigned number)
{
    struct ide_device *device = &ide->device[unit % IDE_DEVICES];

    memset(device, 0, sizeof *device);
    if (storage->kind != STORAGE_DISK && storage->kind != STORAGE_CDROM)
        return;
    device->kind = (uint8_t)storage->kind;
    device->number = (uint8_t)number;
    ide_set_transfer_mode(device, IDE_DEFAULT_DMA_MODE);
    device->write_cache = device->look_ahead = true;
    insert(device, storage);
    reset_device(device);
    device->status = status_after_reset(device);
}

void ide_change_medium(struct ide *ide, unsigned unit, const struct storage *storage)
{
    struct ide_device *device = &ide->device[unit % IDE_DEVICES];

    if (device->kind != STORAGE_CDROM)
        return;
    insert(device, storage);
    device->attention = true;
    device->open = false;
    device->media_event = storage->present ? IDE_MEDIA_NEW : IDE_MEDIA_REMOVED;
}

static void soft_reset(struct ide *ide, bool asserted, uint64_t now)
{
    stop(ide);
    for (unsigned i = 0; i < IDE_DEVICES; i++) {
        struct ide_device *device = &ide->device[i];
        if (!is_there(device))
            continue;
        device->status = IDE_STATUS_BSY;
        device->intrq = false;
        if (!asserted)
            reset_device(device);
    }
    ide->selected = 0;
    if (!asserted)
        ide_schedule(ide, IDE_STEP_READY, now + IDE_COMMAND_TIME);
}

static void device_reset(struct ide *ide)
{
    struct ide_device *device = &ide->device[ide->selected];

    if (ide->transfer.unit == ide->selected)
        stop(ide);
    reset_device(device);
    device->status = status_after_reset(device);
}

static void execute_diagnostic(struct ide *ide, uint64_t now)
{
    stop(ide);
    ide->transfer.command = COMMAND_EXECUTE_DEVICE_DIAGNOSTIC;
    ide->transfer.unit = !is_there(&ide->device[0]);
    for (unsigned i = 0; i < IDE_DEVICES; i++) {
        struct ide_device *device = &ide->device[i];
        if (!is_there(device))
            continue;
        ide_sign(device);
        device->status = IDE_STATUS_BSY;
        device->intrq = false;
    }
    ide->selected = 0;
    ide_schedule(ide, IDE_STEP_READY, now + IDE_COMMAND_TIME);
}

/* ---- time ---- */

uint64_t ide_deadline(const struct ide *ide)
{
    return ide->transfer.due;
}

static void end_reset(struct ide *ide)
{
    for (unsigned i = 0; i < IDE_DEVICES; i++)
        if (is_there(&ide->device[i]))
            ide->device[i].status = status_after_reset(&ide->device[i]);
    if (ide->transfer.command == COMMAND_EXECUTE_DEVICE_DIAGNOSTIC)
        ide_commanded(ide)->intrq = true;
}

void ide_advance(struct ide *ide, uint64_t now)
{
    struct ide_transfer *transfer = &ide->transfer;
    unsigned step = transfer->step;

    if (now < transfer->due)
        return;
    ide_schedule(ide, IDE_STEP_NONE, MACHINE_NEVER);
    switch (step) {
    case IDE_STEP_READY:
        end_reset(ide);
        break;
    case IDE_STEP_END:
        ide_settle(ide);
        ide_commanded(ide)->intrq = true;
        break;
    case IDE_STEP_MEDIUM:
        ide_ask(ide);
        break;
    case IDE_STEP_BLOCK:
        ide_begin_block(ide, true);
        break;
    case IDE_STEP_DMA:
        transfer->dmarq = true;
        if (transfer->way == IDE_DMA_IN && transfer->sectors)
            ide_ask(ide);
        break;
    }
    ide_update_irq(ide);
}

/* ---- registers ---- */

/* On a cable without devices nobody drives the lines, and the host's resistor pulls DD7 down (ATA-3, 4.3). A device that is
 * alone answers zeros for the other one. */
static uint8_t nobody(const struct ide *ide)
{
    return is_there(&ide->device[0]) || is_there(&ide->device[1]) ? 0 : 0x7f;
}

uint8_t ide_read_alternate_status(const struct ide *ide)
{
    if (!is_there(&ide->device[ide->selected]))
        return nobody(ide);
    return ide->device[ide->selected].status;
}

uint8_t ide_read(struct ide *ide, unsigned reg)
{
    bool there = is_there(&ide->device[ide->selected]);
    struct ide_device *device = &ide->device[there ? ide->selected : 0];
    unsigned shift = ide->control & IDE_CONTROL_HOB ? 8 : 0;

    if (!is_there(device) || (!there && reg == IDE_STATUS_COMMAND))
        return nobody(ide);
    switch (reg) {
    case IDE_ERROR_FEATURES:
        return device->error;
    case IDE_SECTOR_COUNT:
        return (uint8_t)(device->count >> shift);
    case IDE_LBA_LOW:
        return (uint8_t)(device->lba_low >> shift);
    case IDE_LBA_MID:
        return (uint8_t)(device->lba_mid >> shift);
    case IDE_LBA_HIGH:
        return (uint8_t)(device->lba_high >> shift);
    case IDE_DEVICE:
        return device->device | IDE_DEVICE_OBSOLETE | (ide->selected ? IDE_DEVICE_DEV : 0);
    case IDE_STATUS_COMMAND:
        device->intrq = false;
        ide_update_irq(ide);
        return device->status;
    default:
        return 0;
    }
}

static void push(uint16_t *reg, uint8_t value)
{
    *reg = (uint16_t)(*reg << 8 | value);
}

static void write_parameter(struct ide_device *device, unsigned reg, uint8_t value)
{
    switch (reg) {
    case IDE_ERROR_FEATURES:
        device->features = value;
        break;
    case IDE_SECTOR_COUNT:
        push(&device->count, value);
        break;
    case IDE_LBA_LOW:
        push(&device->lba_low, value);
        break;
    case IDE_LBA_MID:
        push(&device->lba_mid, value);
        break;
    case IDE_LBA_HIGH:
        push(&device->lba_high, value);
        break;
    case IDE_DEVICE:
        device->device = value & (IDE_DEVICE_LBA | IDE_DEVICE_HEAD);
        break;
    }
}

/* A host that turns to one device while the other is at a command has given that one up. */
static void give_up_other(struct ide *ide)
{
    struct ide_device *other = &ide->device[!ide->selected];

    if (is_there(other) && other->status & (IDE_STATUS_BSY | IDE_STATUS_DRQ)) {
        other->status = IDE_READY | IDE_STATUS_ERR;
        other->error = IDE_ERROR_ABRT;
    }
}

static void write_command(struct ide *ide, uint8_t command, uint64_t now)
{
    struct ide_device *device = &ide->device[ide->selected];

    if (ide->transfer.step == IDE_STEP_READY || ide->control & IDE_CONTROL_SRST ||
        (!is_there(&ide->device[0]) && !is_there(&ide->device[1])))
        return;
    if (command == COMMAND_EXECUTE_DEVICE_DIAGNOSTIC && !(device->status & (IDE_STATUS_BSY | IDE_STATUS_DRQ))) {
        execute_diagnostic(ide, now); /* whoever is selected */
        return;
    }
    if (!is_there(device))
        return;
    if (command == COMMAND_DEVICE_RESET && device->kind == STORAGE_CDROM) {
        device_reset(ide);
        return;
    }
    if (device->status & (IDE_STATUS_BSY | IDE_STATUS_DRQ) || device->power == IDE_ASLEEP)
        return;
    give_up_other(ide);
    stop(ide);
    ide->transfer.unit = ide->selected;
    ide->transfer.command = command;
    device->status = IDE_READY | IDE_STATUS_BSY;
    device->error = 0;
    device->intrq = false;
    if (device->kind == STORAGE_CDROM)
        atapi_command(ide, command, now);
    else
        ata_command(ide, command, now);
}

void ide_write(struct ide *ide, unsigned reg, uint8_t value, uint64_t now)
{
    ide->control &= (uint8_t)~IDE_CONTROL_HOB;
    if (reg == IDE_STATUS_COMMAND) {
        write_command(ide, value, now);
    } else {
        if (reg == IDE_DEVICE)
            ide->selected = !!(value & IDE_DEVICE_DEV);
        for (unsigned i = 0; i < IDE_DEVICES; i++) /* both devices listen */
            if (is_there(&ide->device[i]) && !(ide->device[i].status & IDE_STATUS_BSY))
                write_parameter(&ide->device[i], reg, value);
    }
    ide_update_irq(ide);
}

void ide_write_control(struct ide *ide, uint8_t value, uint64_t now)
{
    bool before = ide->control & IDE_CONTROL_SRST, after = value & IDE_CONTROL_SRST;

    ide->control = value & (IDE_CONTROL_NIEN | IDE_CONTROL_SRST | IDE_CONTROL_HOB);
    if (before != after)
        soft_reset(ide, after, now);
    ide_update_irq(ide);
}

/* Does the selected device wait for the host to move a data block? */
static bool moves_data(const struct ide *ide, bool in)
{
    return ide->transfer.unit == ide->selected && ide->device[ide->selected].status & IDE_STATUS_DRQ &&
           (ide->transfer.way == IDE_PIO_IN) == in;
}

uint16_t ide_read_data(struct ide *ide, uint64_t now)
{
    struct ide_transfer *transfer = &ide->transfer;
    uint16_t value = 0;

    if (!moves_data(ide, true))
        return 0;
    for (unsigned i = 0; i < 2 && transfer->position < transfer->end; i++)
        value |= (uint16_t)(ide->buffer[transfer->position++] << 8 * i);
    if (transfer->position == transfer->end)
        ide_block_moved(ide, now);
    ide_update_irq(ide);
    return value;
}

unsigned ide_read_ahead(struct ide *ide, uint8_t *data, unsigned unit, unsigned count)
{
    struct ide_transfer *transfer = &ide->transfer;

    if (!moves_data(ide, true) || transfer->position >= transfer->end)
        return 0;
    unsigned there = (transfer->end - transfer->position - 1) / unit;
    if (count > there)
        count = there;
    memcpy(data, ide->buffer + transfer->position, (size_t)count * unit);
    transfer->position += count * unit;
    return count;
}

void ide_write_data(struct ide *ide, uint16_t value, uint64_t now)
{
    struct ide_transfer *transfer = &ide->transfer;

    if (!moves_data(ide, false))
        return;
    uint8_t *to = transfer->way == IDE_PACKET_OUT ? transfer->packet : ide->buffer;
    for (unsigned i = 0; i < 2 && transfer->position < transfer->end; i++)
        to[transfer->position++] = (uint8_t)(value >> 8 * i);
    if (transfer->position == transfer->end)
        ide_block_moved(ide, now);
    ide_update_irq(ide);
}
