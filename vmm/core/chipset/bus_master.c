#include "bus_master.h"

#include <string.h>

STATE_TABLE(bus_master, BUS_MASTER_STATE);

void bus_master_reset(struct bus_master *master)
{
    memset(master, 0, sizeof *master);
}

uint8_t bus_master_read(const struct bus_master *master, unsigned reg)
{
    switch (reg) {
    case BUS_MASTER_COMMAND:
        return master->command;
    case BUS_MASTER_STATUS:
        return master->status;
    case BUS_MASTER_PRD_TABLE ... BUS_MASTER_PRD_TABLE + 3:
        return (uint8_t)(master->table >> 8 * (reg - BUS_MASTER_PRD_TABLE));
    default:
        return 0;
    }
}

/* START from 0 to 1 begins with the table's first descriptor; back to 0 gives up, and nothing can be resumed. */
static void write_command(struct bus_master *master, uint8_t value)
{
    bool started = master->command & BUS_MASTER_COMMAND_START, start = value & BUS_MASTER_COMMAND_START;

    master->command = value & (BUS_MASTER_COMMAND_START | BUS_MASTER_COMMAND_RWCON);
    if (start && !started) {
        master->status |= BUS_MASTER_STATUS_ACTIVE;
        master->entry = master->bytes = 0;
        master->last = false;
    } else if (!start) {
        master->status &= (uint8_t)~BUS_MASTER_STATUS_ACTIVE;
    }
}

void bus_master_write(struct bus_master *master, unsigned reg, uint8_t value)
{
    const uint8_t clears = BUS_MASTER_STATUS_ERROR | BUS_MASTER_STATUS_INTERRUPT;

    switch (reg) {
    case BUS_MASTER_COMMAND:
        write_command(master, value);
        break;
    case BUS_MASTER_STATUS:
        master->status = (master->status & ~(value & clears) & ~BUS_MASTER_STATUS_CAPABLE) |
                         (value & BUS_MASTER_STATUS_CAPABLE);
        break;
    case BUS_MASTER_PRD_TABLE ... BUS_MASTER_PRD_TABLE + 3: {
        unsigned shift = 8 * (reg - BUS_MASTER_PRD_TABLE);
        master->table = ((master->table & ~(0xffu << shift)) | (uint32_t)value << shift) & ~3u;
        break;
    }
    }
}

void bus_master_set_irq(struct bus_master *master, bool level)
{
    if (level && !master->irq)
        master->status |= BUS_MASTER_STATUS_INTERRUPT;
    master->irq = level;
}

bool bus_master_active(const struct bus_master *master)
{
    return master->status & BUS_MASTER_STATUS_ACTIVE;
}

bool bus_master_needs_entry(const struct bus_master *master, uint32_t *address)
{
    *address = master->table + master->entry * BUS_MASTER_PRD_SIZE;
    return bus_master_active(master) && !master->bytes;
}

void bus_master_load_entry(struct bus_master *master, const uint8_t descriptor[BUS_MASTER_PRD_SIZE])
{
    uint32_t address, bytes;

    if (++master->entry > BUS_MASTER_PRD_TABLE_MOST) {
        bus_master_fail(master);
        return;
    }
    memcpy(&address, descriptor, sizeof address);
    memcpy(&bytes, descriptor + 4, sizeof bytes);
    master->address = address & ~1u;
    master->bytes = bytes & 0xfffe ? bytes & 0xfffe : 0x10000;
    master->last = bytes >> 16 & BUS_MASTER_PRD_END;
}

uint32_t bus_master_span(const struct bus_master *master, uint32_t *address)
{
    *address = master->address;
    return bus_master_active(master) ? master->bytes : 0;
}

void bus_master_moved(struct bus_master *master, uint32_t bytes)
{
    master->address += bytes;
    master->bytes -= bytes;
    if (!master->bytes && master->last)
        master->status &= (uint8_t)~BUS_MASTER_STATUS_ACTIVE;
}

void bus_master_fail(struct bus_master *master)
{
    master->status &= (uint8_t)~BUS_MASTER_STATUS_ACTIVE;
    master->status |= BUS_MASTER_STATUS_ERROR;
}
