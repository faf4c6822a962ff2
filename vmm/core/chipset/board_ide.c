/* The board's IDE: the two channels of the PIIX3 with their bus masters, on the ports and interrupts of the AT. */
#include "board_state.h"
#include "ide_service.h"

#define DECODE_ENABLE 0x80 /* IDETIM bit 15 of each channel */
#define FIRMWARE_BUS_MASTER 0xc000 /* where firmware puts the bus masters; it enables the function, too */

/* ---- the host's side ---- */

static uint8_t *memory(void *context, uint64_t address, uint64_t size, bool write)
{
    struct board *board = context;
    const uint8_t *config = board->chips.pci.config[PCI_IDE];

    if (!board->memory.at || !(config[PCI_COMMAND] & PCI_COMMAND_MASTER))
        return NULL;
    return board->memory.at(board->memory.context, address, size, write);
}

static int transfer(void *context, unsigned drive, uint64_t offset, void *data, uint32_t bytes, uint32_t write)
{
    const struct board *board = context;

    return board->transfer ? board->transfer(board->transfer_context, drive, offset, data, bytes, write)
                           : STORAGE_UNREADABLE;
}

/* ---- pins and time ---- */

static void ide_changed(struct board *board, unsigned channel, uint64_t now)
{
    struct ide *ide = &board->chips.ide[channel];
    const struct ide_host host = {board, transfer, memory};

    ide_service(ide, &board->chips.bus_master[channel], &host, now);
    set_irq(board, channel ? IRQ_IDE_2 : IRQ_IDE_1, ide->irq);
    rearm(board, TIMER_IDE + channel, ide_deadline(ide));
}

void advance_ide(struct board *board, unsigned channel, uint64_t now)
{
    struct ide *ide = &board->chips.ide[channel];
    const struct ide_host host = {board, transfer, memory};

    ide_service_advance(ide, &board->chips.bus_master[channel], &host, now);
    ide_changed(board, channel, now);
}

bool board_has_ide(const struct board *board)
{
    for (unsigned i = STORAGE_PRIMARY_MASTER; i <= STORAGE_SECONDARY_SLAVE; i++)
        if (board->drives[i].kind)
            return true;
    return board->firmware;
}

void reset_ide(struct board *board)
{
    for (unsigned channel = 0; channel < BOARD_IDE_CHANNELS; channel++) {
        ide_reset(&board->chips.ide[channel]);
        bus_master_reset(&board->chips.bus_master[channel]);
        for (unsigned unit = 0; unit < IDE_DEVICES; unit++) {
            unsigned number = channel * IDE_DEVICES + unit;
            ide_attach(&board->chips.ide[channel], unit, &board->drives[number], number);
        }
        ide_changed(board, channel, 0);
    }
}

void leave_ide(struct board *board)
{
    uint8_t *config = board->chips.pci.config[PCI_IDE];

    if (!board_has_ide(board))
        return;
    config[PCI_COMMAND] = PCI_COMMAND_IO | PCI_COMMAND_MASTER;
    config[PCI_BAR + 4 * PCI_PIIX_BUS_MASTER_BAR + 1] = FIRMWARE_BUS_MASTER >> 8;
    for (unsigned channel = 0; channel < BOARD_IDE_CHANNELS; channel++)
        config[PCI_PIIX_IDETIM + 2 * channel + 1] = DECODE_ENABLE;
    pci_changed(board);
}

/* ---- ports ---- */

static bool decodes(const struct board *board, unsigned channel)
{
    const struct pci *pci = &board->chips.pci;
    const uint8_t *config = pci->config[PCI_IDE];

    return pci->present >> PCI_IDE & 1 && config[PCI_COMMAND] & PCI_COMMAND_IO &&
           config[PCI_PIIX_IDETIM + 2 * channel + 1] & DECODE_ENABLE;
}

uint32_t read_ide(struct board *board, unsigned channel, unsigned reg, unsigned size, uint64_t now)
{
    (void)size;
    if (!decodes(board, channel))
        return UINT32_MAX;
    uint8_t value = ide_read(&board->chips.ide[channel], reg + 1);
    ide_changed(board, channel, now);
    return value;
}

void write_ide(struct board *board, unsigned channel, unsigned reg, uint32_t value, unsigned size, struct moment at)
{
    (void)size;
    if (!decodes(board, channel))
        return;
    ide_write(&board->chips.ide[channel], reg + 1, (uint8_t)value, at.now);
    ide_changed(board, channel, at.now);
}

/* The Data register: a double word goes over the cable as two words. */
uint32_t read_ide_data(struct board *board, unsigned channel, unsigned reg, unsigned size, uint64_t now)
{
    struct ide *ide = &board->chips.ide[channel];

    (void)reg;
    if (!decodes(board, channel))
        return UINT32_MAX;
    uint32_t value = ide_read_data(ide, now);
    if (size == 4)
        value |= (uint32_t)ide_read_data(ide, now) << 16;
    ide_changed(board, channel, now);
    return value;
}

unsigned board_io_read_ahead(struct board *board, uint16_t port, unsigned size, uint8_t *data, unsigned count)
{
    unsigned channel = port == PORT_IDE_2;

    if ((port != PORT_IDE_1 && port != PORT_IDE_2) || size < 2 || !decodes(board, channel))
        return 0;
    return ide_read_ahead(&board->chips.ide[channel], data, size, count);
}

void write_ide_data(struct board *board, unsigned channel, unsigned reg, uint32_t value, unsigned size,
                    struct moment at)
{
    struct ide *ide = &board->chips.ide[channel];

    (void)reg;
    if (!decodes(board, channel))
        return;
    ide_write_data(ide, (uint16_t)value, at.now);
    if (size == 4)
        ide_write_data(ide, (uint16_t)(value >> 16), at.now);
    ide_changed(board, channel, at.now);
}

uint32_t read_ide_control(struct board *board, unsigned channel, unsigned reg, unsigned size, uint64_t now)
{
    (void)reg, (void)size, (void)now;
    return decodes(board, channel) ? ide_read_alternate_status(&board->chips.ide[channel]) : UINT32_MAX;
}

void write_ide_control(struct board *board, unsigned channel, unsigned reg, uint32_t value, unsigned size,
                       struct moment at)
{
    (void)reg, (void)size;
    if (!decodes(board, channel))
        return;
    ide_write_control(&board->chips.ide[channel], (uint8_t)value, at.now);
    ide_changed(board, channel, at.now);
}

uint32_t read_bus_master(struct board *board, unsigned channel, unsigned reg, unsigned size, uint64_t now)
{
    (void)size, (void)now;
    return bus_master_read(&board->chips.bus_master[channel], reg);
}

void write_bus_master(struct board *board, unsigned channel, unsigned reg, uint32_t value, unsigned size,
                      struct moment at)
{
    (void)size;
    bus_master_write(&board->chips.bus_master[channel], reg, (uint8_t)value);
    ide_changed(board, channel, at.now);
}
