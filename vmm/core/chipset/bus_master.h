/* One channel of the bus master IDE controller in a PIIX3 (Intel 290550, "Bus Master IDE I/O registers"; Programming
 * Interface for Bus Master IDE Controller, revision 1.0).
 *
 * It has no bus: bus_master_needs_entry and bus_master_span say what it wants of memory, and who wires it does that.
 * The direction is the device's; RWCON is kept, but a mismatch, on which the data sheet is silent, does no harm. */
#ifndef BRINGUP_BUS_MASTER_H
#define BRINGUP_BUS_MASTER_H

#include "fields.h"

/* Registers, counted from the channel's first port. */
enum { BUS_MASTER_COMMAND = 0, BUS_MASTER_STATUS = 2, BUS_MASTER_PRD_TABLE = 4, BUS_MASTER_SIZE = 8 };
enum { BUS_MASTER_COMMAND_START = 1 << 0, BUS_MASTER_COMMAND_RWCON = 1 << 3 /* to memory */ };
enum {
    BUS_MASTER_STATUS_ACTIVE = 1 << 0,
    BUS_MASTER_STATUS_ERROR = 1 << 1,     /* written as 1: cleared */
    BUS_MASTER_STATUS_INTERRUPT = 1 << 2, /* written as 1: cleared */
    BUS_MASTER_STATUS_CAPABLE = 3 << 5,   /* a device is set up for DMA: software's notes */
};

/* A physical region descriptor: u32 address, u16 bytes (0: 64 KiB), u16 flags; bit 0 of address and bytes is 0. */
enum { BUS_MASTER_PRD_SIZE = 8, BUS_MASTER_PRD_END = 1 << 15 };
#define BUS_MASTER_PRD_TABLE_MOST 8192 /* descriptors: a table lies within 64 KiB; walking on is an error */

#define BUS_MASTER_STATE(VALUE, PART, owner)                                                                           \
    VALUE(owner, uint8_t, command, )                                                                                   \
    VALUE(owner, uint8_t, status, )                                                                                    \
    VALUE(owner, uint32_t, table, )                                                                                    \
    VALUE(owner, bool, irq, )      /* the device's, as it was last */                                                  \
    VALUE(owner, uint32_t, entry, ) /* of the table, that is read next */                                              \
    VALUE(owner, bool, last, )     /* the region is the table's last */                                                \
    VALUE(owner, uint32_t, address, )                                                                                  \
    VALUE(owner, uint32_t, bytes, ) /* left of the region */
STATE_STRUCT(bus_master, BUS_MASTER_STATE);

void bus_master_reset(struct bus_master *master);
/* `reg` 0 to 7, bytes. */
uint8_t bus_master_read(const struct bus_master *master, unsigned reg);
void bus_master_write(struct bus_master *master, unsigned reg, uint8_t value);
/* The device's interrupt pin. */
void bus_master_set_irq(struct bus_master *master, bool level);

bool bus_master_active(const struct bus_master *master);
/* Wants the descriptor at this address of memory. */
bool bus_master_needs_entry(const struct bus_master *master, uint32_t *address);
void bus_master_load_entry(struct bus_master *master, const uint8_t descriptor[BUS_MASTER_PRD_SIZE]);
/* Bytes that can be moved at `address`; 0 when it needs an entry first or is not active. */
uint32_t bus_master_span(const struct bus_master *master, uint32_t *address);
void bus_master_moved(struct bus_master *master, uint32_t bytes);
/* Memory did not answer. */
void bus_master_fail(struct bus_master *master);

#endif
