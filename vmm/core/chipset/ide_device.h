/* Between ide.c, ata.c and atapi.c: how a command is executed. */
#ifndef BRINGUP_IDE_DEVICE_H
#define BRINGUP_IDE_DEVICE_H

#include "ide.h"

/* Guest nanoseconds: from one data block to the next of the same request, of a command without the medium, and of a
 * request, whatever its size. Short, because a guest that polls runs an instruction in each. */
enum { IDE_BLOCK_TIME = 200, IDE_COMMAND_TIME = 1000, IDE_ACCESS_TIME = 2000 };

#define IDE_DEFAULT_DMA_MODE 0x22 /* multiword 2, the fastest of a PIIX3 */

/* The device whose command is executed. */
struct ide_device *ide_commanded(struct ide *ide);
unsigned ide_sector_bytes(const struct ide_device *device);

enum { IDE_READY = IDE_STATUS_DRDY | IDE_STATUS_DSC };

/* ---- ide.c ---- */

void ide_update_irq(struct ide *ide);
void ide_schedule(struct ide *ide, unsigned step, uint64_t due);

/* ---- ide_transfer.c ---- */

/* Leaves the request for the next sectors. */
void ide_ask(struct ide *ide);
/* The next DRQ data block can go over the bus. */
void ide_begin_block(struct ide *ide, bool interrupt);
/* The host has moved the whole DRQ data block. */
void ide_block_moved(struct ide *ide, uint64_t now);
/* The command is over: what the registers then say. */
void ide_settle(struct ide *ide);

/* What a command does after its check, once: ends with this error register (0: none), ... */
void ide_end(struct ide *ide, uint8_t error, uint64_t now);
/* ... hands out the first `bytes` of the buffer in blocks of `block` or by DMA, ... */
void ide_send(struct ide *ide, uint32_t bytes, uint32_t block, bool dma, uint64_t now);
/* ... or moves sectors of the medium. */
void ide_move_sectors(struct ide *ide, unsigned way, uint64_t sector, uint32_t sectors, uint32_t block, uint64_t now);
/* Takes the 12 bytes of a packet. */
void ide_take_packet(struct ide *ide);
/* ---- what both kinds of devices have in common: ide_device.c ---- */

/* The signature (9.12). */
void ide_sign(struct ide_device *device);
/* IDENTIFY (PACKET) DEVICE, in the buffer: words that both kinds have, the first step. */
void ide_identify(struct ide *ide, const char *model);
void ide_put_word(uint8_t *data, unsigned word, unsigned value);
/* Its checksum, the last step. */
void ide_seal_identity(uint8_t *data);
/* SET FEATURES 03h; false: no such mode. */
bool ide_set_transfer_mode(struct ide_device *device, uint8_t mode);
/* False: not a command of the power management feature set. */
bool ide_power_command(struct ide_device *device, uint8_t command);

/* ---- the two kinds: ata.c, atapi.c ---- */

void ata_reset(struct ide_device *device);
void ata_command(struct ide *ide, uint8_t command, uint64_t now);
/* Error register for a request that failed at `transfer.sector`, with the address in the registers. */
uint8_t ata_error(struct ide *ide, unsigned error);
/* All sectors have been moved. */
void ata_moved(struct ide *ide);

void atapi_reset(struct ide_device *device);
void atapi_command(struct ide *ide, uint8_t command, uint64_t now);
void atapi_packet(struct ide *ide, uint64_t now); /* mmc.c */
uint8_t atapi_error(struct ide *ide, unsigned error);

#endif
