/* A floppy drive and the medium in it, behind the 82077's pins (SA-450 and PS/2 style interface; formats of IBM PC DOS).
 *
 * What turns and steps does it FLOPPY_HASTE times as fast as a real drive: a guest that polls through the 200 ms of a
 * revolution would run 200 million instructions for it. The motor is up to speed at once. A medium is as FORMAT leaves
 * it: sectors of 512 bytes in order from the index hole, at equal distances; deleted-data marks are not kept. A
 * double-density medium in a 5.25-inch drive turns at 300 or 360 rpm, as the data rate asks. */
#ifndef BRINGUP_FLOPPY_DRIVE_H
#define BRINGUP_FLOPPY_DRIVE_H

#include "fields.h"

#define FLOPPY_HASTE 1000
#define FLOPPY_SECTOR 512
#define FLOPPY_SECTOR_N 2 /* the same as the N of an ID: 128 << N bytes */

/* The numbers that CMOS byte 10h and INT 13h function 08h have for them. */
enum floppy_drive_kind {
    FLOPPY_NO_DRIVE = 0,
    FLOPPY_DRIVE_360K = 1,
    FLOPPY_DRIVE_1200K = 2,
    FLOPPY_DRIVE_720K = 3,
    FLOPPY_DRIVE_1440K = 4,
    FLOPPY_DRIVE_2880K = 5,
};
enum floppy_density { FLOPPY_DOUBLE, FLOPPY_HIGH, FLOPPY_EXTRA };
/* The data rate select bits of DSR and CCR. */
enum floppy_rate { FLOPPY_500K = 0, FLOPPY_300K = 1, FLOPPY_250K = 2, FLOPPY_1M = 3 };

#define FLOPPY_DRIVE_STATE(VALUE, PART, owner)                                                                         \
    VALUE(owner, uint8_t, kind, )                                                                                      \
    VALUE(owner, uint8_t, cylinder, )      /* that the heads are on */                                                 \
    VALUE(owner, bool, changed, )          /* pin DSKCHG: the medium came or went since the last step */               \
    VALUE(owner, bool, medium, )           /* is one in it? */                                                         \
    VALUE(owner, bool, write_protected, )                                                                              \
    VALUE(owner, uint8_t, cylinders, )     /* of the medium */                                                         \
    VALUE(owner, uint8_t, heads, )                                                                                     \
    VALUE(owner, uint8_t, sectors, )       /* of a track */                                                            \
    VALUE(owner, uint8_t, density, )
STATE_STRUCT(floppy_drive, FLOPPY_DRIVE_STATE);

/* The drive in which a medium of so many bytes belongs; FLOPPY_NO_DRIVE: no format has that size. */
enum floppy_drive_kind floppy_drive_for(uint64_t bytes);
/* A drive without a medium, or none. */
void floppy_drive_connect(struct floppy_drive *drive, enum floppy_drive_kind kind);
/* False: no format has that size, and nothing changes. */
bool floppy_drive_insert(struct floppy_drive *drive, uint64_t bytes, bool write_protected);
void floppy_drive_eject(struct floppy_drive *drive);

/* The heads go `steps` cylinders in (towards the spindle, positive) or out, as far as the drive lets them. */
void floppy_drive_step(struct floppy_drive *drive, int steps);
bool floppy_drive_track0(const struct floppy_drive *drive);
/* Are there IDs to be read on this side of the cylinder at this data rate? */
bool floppy_drive_readable(const struct floppy_drive *drive, unsigned head, unsigned rate);
/* Where a sector (from 0) lies on the medium, in bytes. */
uint64_t floppy_drive_offset(const struct floppy_drive *drive, unsigned head, unsigned sector);

/* Guest nanoseconds: of a mechanical time in real ones; when the n-th index pulse from `now` on comes (n at least 1);
 * when the next sector begins, and which; when sector `sector` of `sectors` has gone by whole. */
uint64_t floppy_drive_hastened(uint64_t nanoseconds);
uint64_t floppy_drive_index(const struct floppy_drive *drive, unsigned rate, uint64_t now, unsigned n);
unsigned floppy_drive_next_sector(const struct floppy_drive *drive, unsigned rate, uint64_t now);
uint64_t floppy_drive_passed(const struct floppy_drive *drive, unsigned rate, uint64_t now, unsigned sector,
                             unsigned sectors);

#endif
