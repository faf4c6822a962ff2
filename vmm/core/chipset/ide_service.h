/* What an IDE channel cannot do itself: serves its requests from the medium, and carries its DMA to and from memory by
 * its bus master. The only part of IDE that calls out of it. */
#ifndef BRINGUP_IDE_SERVICE_H
#define BRINGUP_IDE_SERVICE_H

#include "bus_master.h"
#include "ide.h"

struct ide_host {
    void *context;
    storage_transfer *transfer;
    /* The host address of guest RAM [address, address + size), or NULL when any of it is not RAM. */
    uint8_t *(*memory)(void *context, uint64_t address, uint64_t size, bool write);
};

/* After any access to either chip: on return neither waits for the other. */
void ide_service(struct ide *ide, struct bus_master *master, const struct ide_host *host, uint64_t now);
/* Time passes. */
void ide_service_advance(struct ide *ide, struct bus_master *master, const struct ide_host *host, uint64_t now);

#endif
