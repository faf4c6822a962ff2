#include "ide_service.h"

#include "../machine.h"

static bool load_entry(struct bus_master *master, const struct ide_host *host, uint32_t address)
{
    const uint8_t *descriptor = host->memory(host->context, address, BUS_MASTER_PRD_SIZE, false);

    if (descriptor)
        bus_master_load_entry(master, descriptor);
    else
        bus_master_fail(master);
    return descriptor;
}

/* Moves what fits into one region; false: there is nothing to move, or no way. */
static bool move(struct ide *ide, struct bus_master *master, const struct ide_host *host, uint64_t now)
{
    uint32_t wanted = ide_dma_bytes(ide), address, bytes;

    if (!wanted || !bus_master_active(master))
        return false;
    if (bus_master_needs_entry(master, &address))
        return load_entry(master, host, address);
    bytes = bus_master_span(master, &address);
    if (bytes > wanted)
        bytes = wanted;
    uint8_t *memory = host->memory(host->context, address, bytes, ide_dma_to_memory(ide));
    if (!memory) {
        bus_master_fail(master);
        return false;
    }
    ide_dma_move(ide, memory, bytes, now);
    bus_master_moved(master, bytes);
    return true;
}

void ide_service(struct ide *ide, struct bus_master *master, const struct ide_host *host, uint64_t now)
{
    do {
        while (ide->request.pending) {
            const struct ide_request *request = &ide->request;
            int error = host->transfer(host->context, request->number, request->offset, ide->buffer, request->bytes,
                                       request->write);
            ide_served(ide, (unsigned)error, now);
        }
    } while (move(ide, master, host, now));
    bus_master_set_irq(master, ide->irq);
}

void ide_service_advance(struct ide *ide, struct bus_master *master, const struct ide_host *host, uint64_t now)
{
    for (uint64_t due; (due = ide_deadline(ide)) <= now && due != MACHINE_NEVER;) {
        ide_advance(ide, due);
        ide_service(ide, master, host, due);
    }
}
