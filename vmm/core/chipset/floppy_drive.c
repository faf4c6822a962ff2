#include "floppy_drive.h"

#include <string.h>

#include "ticks.h"

STATE_TABLE(floppy_drive, FLOPPY_DRIVE_STATE);

/* Heads move a little beyond the last cylinder that a format uses. */
#define SPARE_CYLINDERS 4

struct format {
    uint8_t cylinders, heads, sectors;
    uint8_t density, drive;
};

static const struct format formats[] = {
    {40, 1, 8, FLOPPY_DOUBLE, FLOPPY_DRIVE_360K},   /* 160 kB */
    {40, 1, 9, FLOPPY_DOUBLE, FLOPPY_DRIVE_360K},   /* 180 kB */
    {40, 2, 8, FLOPPY_DOUBLE, FLOPPY_DRIVE_360K},   /* 320 kB */
    {40, 2, 9, FLOPPY_DOUBLE, FLOPPY_DRIVE_360K},   /* 360 kB */
    {80, 2, 8, FLOPPY_DOUBLE, FLOPPY_DRIVE_1440K},  /* 640 kB */
    {80, 2, 9, FLOPPY_DOUBLE, FLOPPY_DRIVE_1440K},  /* 720 kB */
    {80, 2, 10, FLOPPY_DOUBLE, FLOPPY_DRIVE_1440K}, /* 800 kB */
    {80, 2, 15, FLOPPY_HIGH, FLOPPY_DRIVE_1200K},   /* 1.2 MB */
    {80, 2, 18, FLOPPY_HIGH, FLOPPY_DRIVE_1440K},   /* 1.44 MB */
    {80, 2, 20, FLOPPY_HIGH, FLOPPY_DRIVE_1440K},   /* 1.6 MB */
    {80, 2, 21, FLOPPY_HIGH, FLOPPY_DRIVE_1440K},   /* 1.68 MB, DMF */
    {82, 2, 21, FLOPPY_HIGH, FLOPPY_DRIVE_1440K},   /* 1.72 MB */
    {80, 2, 36, FLOPPY_EXTRA, FLOPPY_DRIVE_2880K},  /* 2.88 MB */
};

static const struct format *format_of(uint64_t bytes)
{
    for (unsigned i = 0; i < sizeof formats / sizeof *formats; i++) {
        const struct format *format = &formats[i];
        if (bytes == (uint64_t)format->cylinders * format->heads * format->sectors * FLOPPY_SECTOR)
            return format;
    }
    return NULL;
}

enum floppy_drive_kind floppy_drive_for(uint64_t bytes)
{
    const struct format *format = format_of(bytes);

    return format ? format->drive : FLOPPY_NO_DRIVE;
}

void floppy_drive_connect(struct floppy_drive *drive, enum floppy_drive_kind kind)
{
    memset(drive, 0, sizeof *drive);
    drive->kind = (uint8_t)kind;
    drive->changed = kind != FLOPPY_NO_DRIVE;
}

bool floppy_drive_insert(struct floppy_drive *drive, uint64_t bytes, bool write_protected)
{
    const struct format *format = format_of(bytes);

    if (!format || drive->kind == FLOPPY_NO_DRIVE)
        return false;
    drive->medium = drive->changed = true;
    drive->write_protected = write_protected;
    drive->cylinders = format->cylinders;
    drive->heads = format->heads;
    drive->sectors = format->sectors;
    drive->density = format->density;
    return true;
}

void floppy_drive_eject(struct floppy_drive *drive)
{
    drive->changed = drive->kind != FLOPPY_NO_DRIVE;
    drive->medium = drive->write_protected = false;
    drive->cylinders = drive->heads = drive->sectors = drive->density = 0;
}

void floppy_drive_step(struct floppy_drive *drive, int steps)
{
    int last = (drive->kind == FLOPPY_DRIVE_360K ? 40 : 80) + SPARE_CYLINDERS - 1, to = drive->cylinder + steps;

    if (drive->kind == FLOPPY_NO_DRIVE || !steps)
        return;
    drive->cylinder = (uint8_t)(to < 0 ? 0 : to > last ? last : to);
    if (drive->medium)
        drive->changed = false;
}

bool floppy_drive_track0(const struct floppy_drive *drive)
{
    return drive->kind != FLOPPY_NO_DRIVE && drive->cylinder == 0;
}

static bool is_5_inch(const struct floppy_drive *drive)
{
    return drive->kind == FLOPPY_DRIVE_360K || drive->kind == FLOPPY_DRIVE_1200K;
}

static bool rate_fits(const struct floppy_drive *drive, unsigned rate)
{
    switch (drive->density) {
    case FLOPPY_EXTRA:
        return rate == FLOPPY_1M;
    case FLOPPY_HIGH:
        return rate == FLOPPY_500K;
    default:
        return rate == FLOPPY_250K || (rate == FLOPPY_300K && is_5_inch(drive));
    }
}

bool floppy_drive_readable(const struct floppy_drive *drive, unsigned head, unsigned rate)
{
    return drive->medium && rate_fits(drive, rate) && head < drive->heads && drive->cylinder < drive->cylinders;
}

uint64_t floppy_drive_offset(const struct floppy_drive *drive, unsigned head, unsigned sector)
{
    return (((uint64_t)drive->cylinder * drive->heads + head) * drive->sectors + sector) * FLOPPY_SECTOR;
}

/* ---- time ---- */

uint64_t floppy_drive_hastened(uint64_t nanoseconds)
{
    return nanoseconds / FLOPPY_HASTE;
}

/* 300 rpm; 5.25-inch drives turn at 360 but for the 250 kbps of their older media. */
static uint64_t revolution(const struct floppy_drive *drive, unsigned rate)
{
    unsigned rpm = is_5_inch(drive) && rate != FLOPPY_250K ? 360 : 300;

    return floppy_drive_hastened(60 * NS_PER_SECOND / rpm);
}

/* When a sector begins after the index pulse; that of `sectors` is when the track ends. */
static uint64_t begins(uint64_t turn, unsigned sector, unsigned sectors)
{
    return turn * sector / sectors;
}

uint64_t floppy_drive_index(const struct floppy_drive *drive, unsigned rate, uint64_t now, unsigned n)
{
    uint64_t turn = revolution(drive, rate);

    return ((now + turn - 1) / turn + n - 1) * turn;
}

unsigned floppy_drive_next_sector(const struct floppy_drive *drive, unsigned rate, uint64_t now)
{
    uint64_t turn = revolution(drive, rate), angle = now % turn;

    for (unsigned sector = 0; sector < drive->sectors; sector++)
        if (begins(turn, sector, drive->sectors) >= angle)
            return sector;
    return 0;
}

uint64_t floppy_drive_passed(const struct floppy_drive *drive, unsigned rate, uint64_t now, unsigned sector,
                             unsigned sectors)
{
    uint64_t turn = revolution(drive, rate), track = now - now % turn;

    if (track + begins(turn, sector, sectors) < now)
        track += turn;
    return track + begins(turn, sector + 1, sectors);
}
