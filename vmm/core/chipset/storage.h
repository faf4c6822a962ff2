/* A drive and its medium, as the host gives them to the board. The board's glue tells a drive's chip what is in it,
 * serves the requests that the chip leaves in its state by `storage_transfer`, and tells the chip how that went; no
 * chip sees the callback. cffi reads this file too: plain declarations only. */
#ifndef BRINGUP_STORAGE_H
#define BRINGUP_STORAGE_H

#include <stdbool.h>
#include <stdint.h>

#define STORAGE_DRIVES 6

/* Numbers of the drives. */
enum storage_drive {
    STORAGE_PRIMARY_MASTER = 0,
    STORAGE_PRIMARY_SLAVE = 1,
    STORAGE_SECONDARY_MASTER = 2,
    STORAGE_SECONDARY_SLAVE = 3,
    STORAGE_FLOPPY_A = 4,
    STORAGE_FLOPPY_B = 5
};

enum storage_kind {
    STORAGE_NONE = 0, /* no drive is there */
    STORAGE_DISK = 1,
    STORAGE_CDROM = 2,
    STORAGE_FLOPPY = 3
};

struct storage {
    uint32_t kind;         /* enum storage_kind */
    uint32_t sector_bytes; /* 512, of a CD 2048 */
    uint64_t bytes;        /* of the medium, a multiple of sector_bytes; 0 without one */
    bool present;          /* a medium is in the drive */
    bool read_only;        /* the guest sees a write-protected medium */
};

/* What a transfer ends with, besides 0. */
enum storage_error {
    STORAGE_OUTSIDE = 1,    /* not within the medium */
    STORAGE_PROTECTED = 2,  /* written to a read-only medium */
    STORAGE_UNREADABLE = 3, /* the host's file cannot be read, or is damaged there */
    STORAGE_FULL = 4        /* the host cannot take the write: the overlay is at its bound, or its disk is full */
};

/* Moves `bytes` bytes, a multiple of the sector, between `data` and the medium at byte `offset`; `write` is 0 or 1.
 * Returns 0 or an enum storage_error; after an error the bytes at `data` are undefined. */
typedef int storage_transfer(void *context, unsigned drive, uint64_t offset, void *data, uint32_t bytes,
                             uint32_t write);

#endif
