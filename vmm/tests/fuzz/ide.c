/* An IDE channel with its bus master under any accesses: no access outside of its buffer or of memory, no deadline in the
 * past, no command that never gives the bus back for another.
 *
 * Input: the drives (1 byte: two bits each: none, disk, read-only disk, CD-ROM), then accesses of 3 bytes: what (low 4
 * bits: enum access; high 4 bits: register), value, more of it. */
#include <string.h>

#include "chipset/ide_service.h"
#include "fuzz.h"

#define MEMORY 0x4000u
#define SECTORS 1000 /* of 512 bytes, or a quarter as many of 2048 */

enum access { READ, WRITE, TAKE, PUT, CONTROL, ALTERNATE, MASTER_READ, MASTER_WRITE, POKE, WAIT, WAIT_ALL, CHANGE, AHEAD };

struct bench {
    struct ide ide;
    struct bus_master master;
    uint8_t *memory; /* a heap block: what goes beyond it is found */
    uint64_t now;
};

/* The medium: every 64th sector cannot be read, and no write reaches beyond the half of it. */
static int transfer(void *context, unsigned drive, uint64_t offset, void *data, uint32_t bytes, uint32_t write)
{
    (void)context;
    DEMAND(drive < 2 && bytes && bytes <= IDE_BUFFER && bytes % 512 == 0 && offset % 512 == 0, "%u bytes", bytes);
    if (offset > SECTORS * 512 || bytes > SECTORS * 512 - offset)
        return STORAGE_OUTSIDE;
    for (uint64_t sector = offset / 512; sector < (offset + bytes) / 512; sector++)
        if (sector % 64 == 63 && !write)
            return STORAGE_UNREADABLE;
    if (write)
        return offset >= SECTORS * 256 ? STORAGE_FULL : 0;
    memset(data, (int)(offset / 512), bytes);
    return 0;
}

static uint8_t *memory(void *context, uint64_t address, uint64_t size, bool write)
{
    struct bench *bench = context;
    (void)write;
    return address <= MEMORY && size <= MEMORY - address ? bench->memory + address : NULL;
}

static struct storage medium(unsigned kind)
{
    bool cd = kind == 3;
    return (struct storage){.kind = cd ? STORAGE_CDROM : kind ? STORAGE_DISK : STORAGE_NONE,
                            .sector_bytes = cd ? IDE_CD_SECTOR : IDE_ATA_SECTOR,
                            .bytes = SECTORS * 512,
                            .present = kind,
                            .read_only = kind >= 2};
}

static void access_once(struct bench *bench, const struct ide_host *host, const uint8_t *bytes)
{
    struct ide *ide = &bench->ide;
    unsigned reg = bytes[0] >> 4, value = bytes[1], more = bytes[2];
    uint64_t due = ide_deadline(ide);

    switch (bytes[0] & 15) {
    case READ:
        ide_read(ide, reg & 7);
        break;
    case WRITE:
        ide_write(ide, reg & 7, (uint8_t)value, bench->now);
        break;
    case TAKE:
        for (unsigned i = 0; i <= value; i++)
            ide_read_data(ide, bench->now);
        break;
    case PUT:
        for (unsigned i = 0; i <= reg; i++)
            ide_write_data(ide, (uint16_t)(value | more << 8), bench->now);
        break;
    case CONTROL:
        ide_write_control(ide, (uint8_t)value, bench->now);
        break;
    case ALTERNATE:
        ide_read_alternate_status(ide);
        break;
    case MASTER_READ:
        bus_master_read(&bench->master, reg & 7);
        break;
    case MASTER_WRITE:
        bus_master_write(&bench->master, reg & 7, (uint8_t)value);
        break;
    case POKE:
        bench->memory[(more << 4 | reg) % MEMORY] = (uint8_t)value;
        break;
    case WAIT:
        bench->now += value << (reg & 7);
        break;
    case WAIT_ALL:
        for (unsigned i = 0; i < 64 && (due = ide_deadline(ide)) != MACHINE_NEVER; i++) {
            bench->now = due > bench->now ? due : bench->now;
            ide_service_advance(ide, &bench->master, host, bench->now);
        }
        break;
    case AHEAD: {
        unsigned unit = reg & 1 ? 4 : 2;
        uint8_t *block = malloc(unit * value + 1);
        DEMAND(block && ide_read_ahead(ide, block, unit, value) <= value, "more than asked");
        free(block);
        break;
    }
    case CHANGE: {
        struct storage storage = medium(reg & 1 ? 0 : 3);
        ide_change_medium(ide, value & 1, &storage);
        break;
    }
    }
    ide_service(ide, &bench->master, host, bench->now);
    ide_service_advance(ide, &bench->master, host, bench->now);
}

static void check(const struct bench *bench)
{
    const struct ide *ide = &bench->ide;
    const struct ide_transfer *data = &ide->transfer;
    const unsigned moving = IDE_STATUS_BSY | IDE_STATUS_DRQ;
    uint32_t address;

    DEMAND(!ide->request.pending, "a request is left");
    DEMAND(data->position <= data->filled && data->filled <= IDE_BUFFER, "%u of %u", data->position, data->filled);
    DEMAND(ide_deadline(ide) > bench->now, "a deadline in the past");
    DEMAND(!ide->irq || ide->device[ide->selected].kind, "an interrupt of nobody");
    DEMAND(bus_master_span(&bench->master, &address) <= 0x10000, "a region of more than 64 KiB");
    for (unsigned i = 0; i < IDE_DEVICES; i++) {
        bool busy = ide->device[i].status & moving;
        DEMAND(ide->device[i].kind || !ide->device[i].status, "a status of nobody");
        DEMAND(!busy || data->step || data->dmarq || ide->control & IDE_CONTROL_SRST ||
                   ide->device[i].status & IDE_STATUS_DRQ,
               "device %u is busy for ever", i);
        DEMAND(!(ide->device[i].status & IDE_STATUS_DRQ) || (data->unit == i && data->position < data->end),
               "device %u wants no data", i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return -1;
    struct bench *bench = calloc(1, sizeof *bench);
    DEMAND(bench && (bench->memory = calloc(1, MEMORY)), "memory");
    const struct ide_host host = {bench, transfer, memory};
    ide_reset(&bench->ide);
    bus_master_reset(&bench->master);
    for (unsigned i = 0; i < IDE_DEVICES; i++) {
        struct storage storage = medium(data[0] >> 2 * i & 3);
        ide_attach(&bench->ide, i, &storage, i);
    }
    for (size_t at = 1; at + 3 <= size; at += 3) {
        access_once(bench, &host, data + at);
        check(bench);
    }
    free(bench->memory);
    free(bench);
    return 0;
}
