/* An IDE channel with up to two devices (T13 1410D, ATA/ATAPI-6): registers and resets in ide.c, the protocols of the
 * data in ide_transfer.c, a disk's commands in ata.c, a CD-ROM's in atapi.c and mmc.c.
 *
 * A command that needs its medium leaves a `request` when its time has come; who wires the channel serves it from and
 * to `buffer` and calls ide_served. A DMA command then has bytes to move (ide_dma_bytes), which a bus master takes.
 *
 * Of the standard it leaves out: overlap and queueing, security, SMART, media locks of a disk, CFA. Choices where it
 * leaves one: an access to a medium takes 2 us of guest time, whatever its size; a command to one device ends what the
 * other is at (without overlap a host must not give one); a byte access to the Data register moves a word, as a strobe
 * does; no unit attention after power-on;
 * where no device is, all registers read as 7Fh; for a device 1 that is not there device 0 answers (9.16.1): a status of
 * 0, its own registers otherwise. */
#ifndef BRINGUP_IDE_H
#define BRINGUP_IDE_H

#include "fields.h"
#include "storage.h"

#define IDE_DEVICES 2
#define IDE_BUFFER 65536 /* what one request moves at most; a multiple of every block and sector */
#define IDE_PACKET 12
#define IDE_ATA_SECTOR 512
#define IDE_CD_SECTOR 2048

/* Command block registers. In those of 8 bits that LBA48 uses the last but one value is kept too ("HOB"). */
enum {
    IDE_DATA = 0,
    IDE_ERROR_FEATURES = 1,
    IDE_SECTOR_COUNT = 2, /* ATAPI: interrupt reason */
    IDE_LBA_LOW = 3,
    IDE_LBA_MID = 4,  /* ATAPI: byte count, low */
    IDE_LBA_HIGH = 5, /* ATAPI: byte count, high */
    IDE_DEVICE = 6,
    IDE_STATUS_COMMAND = 7,
};
enum {
    IDE_STATUS_ERR = 1 << 0, /* ATAPI: CHK */
    IDE_STATUS_DRQ = 1 << 3,
    IDE_STATUS_DSC = 1 << 4,
    IDE_STATUS_DF = 1 << 5,
    IDE_STATUS_DRDY = 1 << 6,
    IDE_STATUS_BSY = 1 << 7,
};
enum { IDE_ERROR_ABRT = 1 << 2, IDE_ERROR_IDNF = 1 << 4, IDE_ERROR_UNC = 1 << 6 };
enum { IDE_DIAGNOSTIC_PASSED = 0x01 };
enum { IDE_DEVICE_HEAD = 15 << 0, IDE_DEVICE_DEV = 1 << 4, IDE_DEVICE_LBA = 1 << 6, IDE_DEVICE_OBSOLETE = 0xa0 };
enum { IDE_CONTROL_NIEN = 1 << 1, IDE_CONTROL_SRST = 1 << 2, IDE_CONTROL_HOB = 1 << 7 };
enum { IDE_REASON_COD = 1 << 0, IDE_REASON_IO = 1 << 1 };

/* Where a device is in its power management (6.9); sleep ends by a reset only. */
enum { IDE_ACTIVE, IDE_ASLEEP, IDE_STANDBY, IDE_IDLE };

/* Media events of GET EVENT STATUS NOTIFICATION (MMC-3, table 78), told once. */
enum { IDE_MEDIA_NO_EVENT = 0, IDE_MEDIA_EJECT_REQUEST = 1, IDE_MEDIA_NEW = 2, IDE_MEDIA_REMOVED = 3 };

#define IDE_DEVICE_STATE(VALUE, PART, owner)                                                                           \
    VALUE(owner, uint8_t, kind, )     /* enum storage_kind; STORAGE_NONE: no device */                                 \
    VALUE(owner, uint8_t, number, )   /* of the drive, for its serial number */                                        \
    VALUE(owner, bool, read_only, )                                                                                    \
    VALUE(owner, bool, present, )     /* a medium is in */                                                             \
    VALUE(owner, uint64_t, sectors, ) /* of the medium, each of its own size */                                        \
    VALUE(owner, uint8_t, status, )                                                                                    \
    VALUE(owner, uint8_t, error, )                                                                                     \
    VALUE(owner, uint8_t, features, )                                                                                  \
    VALUE(owner, uint16_t, count, )   /* bits 15:8 what was there before */                                            \
    VALUE(owner, uint16_t, lba_low, )                                                                                  \
    VALUE(owner, uint16_t, lba_mid, )                                                                                  \
    VALUE(owner, uint16_t, lba_high, )                                                                                 \
    VALUE(owner, uint8_t, device, )   /* LBA and head; DEV is the channel's */                                         \
    VALUE(owner, bool, intrq, )       /* an interrupt is pending */                                                    \
    VALUE(owner, uint8_t, power, )                                                                                     \
    VALUE(owner, uint8_t, dma_mode, ) /* as SET FEATURES takes it: 20h multiword, 40h ultra, with the mode's number */ \
    /* a disk's */                                                                                                     \
    VALUE(owner, uint16_t, cylinders, ) /* the current translation */                                                  \
    VALUE(owner, uint8_t, heads, )                                                                                     \
    VALUE(owner, uint8_t, track, )      /* sectors */                                                                  \
    VALUE(owner, uint8_t, multiple, )   /* sectors of a block, 0: READ and WRITE MULTIPLE are off */                   \
    VALUE(owner, bool, write_cache, )                                                                                  \
    VALUE(owner, bool, look_ahead, )                                                                                   \
    /* a CD-ROM's */                                                                                                   \
    VALUE(owner, uint8_t, sense_key, )                                                                                 \
    VALUE(owner, uint8_t, sense_code, ) /* ASC */                                                                      \
    VALUE(owner, uint8_t, sense_qualifier, )                                                                           \
    VALUE(owner, bool, attention, )     /* the medium may have changed: the next command is told */                    \
    VALUE(owner, bool, open, )          /* the tray */                                                                 \
    VALUE(owner, bool, locked, )                                                                                       \
    VALUE(owner, uint8_t, media_event, )
STATE_STRUCT(ide_device, IDE_DEVICE_STATE);

/* What happens at `due`. */
enum {
    IDE_STEP_NONE,
    IDE_STEP_READY,  /* the end of a reset */
    IDE_STEP_END,    /* of the command */
    IDE_STEP_MEDIUM, /* the request */
    IDE_STEP_BLOCK,  /* the next DRQ data block can go over the bus */
    IDE_STEP_DMA,    /* DMARQ */
};
/* How the command's data go. */
enum { IDE_NO_DATA, IDE_PIO_IN, IDE_PIO_OUT, IDE_DMA_IN, IDE_DMA_OUT, IDE_VERIFY, IDE_PACKET_OUT };

/* The command that is executed. */
#define IDE_TRANSFER_STATE(VALUE, PART, owner)                                                                         \
    VALUE(owner, uint8_t, unit, )                                                                                      \
    VALUE(owner, uint8_t, command, )                                                                                   \
    VALUE(owner, uint8_t, step, )                                                                                      \
    VALUE(owner, uint64_t, due, )      /* or MACHINE_NEVER */                                                          \
    VALUE(owner, uint8_t, way, )                                                                                       \
    VALUE(owner, bool, dmarq, )                                                                                        \
    VALUE(owner, bool, extended, )     /* the address has 48 bits */                                                   \
    VALUE(owner, bool, singly, )       /* a request failed: sector by sector, up to the one that cannot be read */     \
    VALUE(owner, uint32_t, block, )    /* bytes of a DRQ data block */                                                 \
    VALUE(owner, uint64_t, sector, )   /* the next of the medium */                                                    \
    VALUE(owner, uint32_t, sectors, )  /* still to be asked of it */                                                   \
    VALUE(owner, uint32_t, filled, )   /* bytes of the buffer that are used */                                         \
    VALUE(owner, uint32_t, position, ) /* of the next byte in it */                                                    \
    VALUE(owner, uint32_t, end, )      /* of the DRQ data block in it */                                               \
    VALUE(owner, uint8_t, packet, [IDE_PACKET])
STATE_STRUCT(ide_transfer, IDE_TRANSFER_STATE);

/* Only between a function of the channel and ide_served; its data are the buffer's first bytes. */
#define IDE_REQUEST_STATE(VALUE, PART, owner)                                                                          \
    VALUE(owner, bool, pending, )                                                                                      \
    VALUE(owner, bool, write, )                                                                                        \
    VALUE(owner, uint8_t, number, )  /* of the drive */                                                                \
    VALUE(owner, uint64_t, offset, ) /* bytes */                                                                       \
    VALUE(owner, uint32_t, bytes, )
STATE_STRUCT(ide_request, IDE_REQUEST_STATE);

#define IDE_STATE(VALUE, PART, owner)                                                                                  \
    PART(owner, ide_device, device, [IDE_DEVICES])                                                                     \
    VALUE(owner, uint8_t, selected, ) /* DEV */                                                                        \
    VALUE(owner, uint8_t, control, )                                                                                   \
    VALUE(owner, bool, irq, )         /* the pin */                                                                    \
    PART(owner, ide_transfer, transfer, )                                                                              \
    PART(owner, ide_request, request, )                                                                                \
    VALUE(owner, uint8_t, buffer, [IDE_BUFFER])
STATE_STRUCT(ide, IDE_STATE);

/* A channel without devices, as after power-on. */
void ide_reset(struct ide *ide);
/* Plugs a drive in, a disk or a CD-ROM; `number` is its storage_drive. */
void ide_attach(struct ide *ide, unsigned unit, const struct storage *storage, unsigned number);
/* Another medium in a CD-ROM drive, or none. */
void ide_change_medium(struct ide *ide, unsigned unit, const struct storage *storage);

/* Command block registers 1 to 7, and Data. */
uint8_t ide_read(struct ide *ide, unsigned reg);
void ide_write(struct ide *ide, unsigned reg, uint8_t value, uint64_t now);
uint16_t ide_read_data(struct ide *ide, uint64_t now);
void ide_write_data(struct ide *ide, uint16_t value, uint64_t now);
/* The same as so many reads of the Data register, `unit` bytes (2 or 4) each, as far as they end within the data block:
 * the last of it makes things happen, and is left. Returns how many were read. */
unsigned ide_read_ahead(struct ide *ide, uint8_t *data, unsigned unit, unsigned count);
/* The control block register: Alternate Status, Device Control. */
uint8_t ide_read_alternate_status(const struct ide *ide);
void ide_write_control(struct ide *ide, uint8_t value, uint64_t now);

/* Fires what is due at `now`, which must not be later than the deadline when there is one; then a request may wait. */
void ide_advance(struct ide *ide, uint64_t now);
uint64_t ide_deadline(const struct ide *ide);

/* The request has been served; `error` is 0 or a storage_error. Another one may wait. */
void ide_served(struct ide *ide, unsigned error, uint64_t now);
/* Bytes that the device's DMA wants to move now, 0 for none, and where they go. */
uint32_t ide_dma_bytes(const struct ide *ide);
bool ide_dma_to_memory(const struct ide *ide);
/* Moves some of them, at most ide_dma_bytes. */
void ide_dma_move(struct ide *ide, uint8_t *memory, uint32_t bytes, uint64_t now);

#endif
