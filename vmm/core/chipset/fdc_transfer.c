#include "fdc_transfer.h"

#include <string.h>

#include "ticks.h"

#define FIFO_BYTES 16
#define ID_BYTES 4
#define CRC_BYTES 2
#define COMMAND_CODE 31
/* Of the command that runs; fdc.h has the others. */
#define CYLINDER 0
#define HEAD 1
#define RECORD 2
#define SIZE 3
#define VERIFY_EC (1 << 7) /* of the second byte: as many sectors as DTL says */

static unsigned code(const struct fdc *fdc)
{
    return fdc->command[0] & COMMAND_CODE;
}

static unsigned number(const struct fdc *fdc)
{
    return fdc->command[1] & FDC_DOR_SELECT;
}

static bool has_id(const struct fdc *fdc)
{
    return code(fdc) != FDC_FORMAT_TRACK && code(fdc) != FDC_READ_ID;
}

bool fdc_transfer_writes(const struct fdc *fdc)
{
    return code(fdc) == FDC_WRITE_DATA || code(fdc) == FDC_WRITE_DELETED_DATA || code(fdc) == FDC_FORMAT_TRACK;
}

/* The last sector of the side, as the command has it; of FORMAT TRACK how many. */
static unsigned end_of_track(const struct fdc *fdc)
{
    return fdc->command[code(fdc) == FDC_FORMAT_TRACK ? 3 : 6];
}

/* Bytes that the host moves for each sector. */
static unsigned host_bytes(const struct fdc *fdc)
{
    return code(fdc) == FDC_FORMAT_TRACK ? ID_BYTES : FLOPPY_SECTOR;
}

/* ---- its end ---- */

/* ST0 to ST2 and the ID (table 5-6). */
static void finish(struct fdc *fdc, uint64_t at)
{
    uint8_t *result = fdc->result;

    result[0] = (uint8_t)(fdc->st0 | (fdc->head ? FDC_ST0_HEAD : 0) | number(fdc));
    result[1] = fdc->st1;
    result[2] = fdc->st2;
    memcpy(result + 3, fdc->id, sizeof fdc->id);
    fdc->host_ready = false;
    fdc->unload_at = at + fdc_scaled(fdc, (fdc->unload_time ? fdc->unload_time : 16) * 8 * (NS_PER_SECOND / 1000));
    fdc_give_results(fdc, 7);
}

static void fail(struct fdc *fdc, uint8_t st1, uint8_t st2, uint64_t at)
{
    fdc->st0 |= FDC_ST0_ABNORMAL;
    fdc->st1 |= st1;
    fdc->st2 |= st2;
    finish(fdc, at);
}

/* ---- the next sector ---- */

/* Is it a sector of this track that the command asks for? */
static bool id_matches(const struct fdc *fdc, const struct floppy_drive *drive)
{
    return fdc->id[CYLINDER] == drive->cylinder && fdc->id[HEAD] == fdc->head && fdc->id[SIZE] == FLOPPY_SECTOR_N &&
           fdc->id[RECORD] >= 1 && fdc->id[RECORD] <= drive->sectors;
}

/* Which sector of the track, from 0, the command waits for; false: the search ends with the second index pulse. */
static bool choose(struct fdc *fdc, const struct floppy_drive *drive, uint64_t at)
{
    switch (code(fdc)) {
    case FDC_FORMAT_TRACK:
        fdc->sector = (uint8_t)fdc->passed;
        return true;
    case FDC_READ_TRACK:
        fdc->sector = (uint8_t)(fdc->passed % (drive->sectors ? drive->sectors : 1));
        break;
    case FDC_READ_ID:
        fdc->sector = (uint8_t)floppy_drive_next_sector(drive, fdc->rate, at);
        break;
    default:
        fdc->sector = (uint8_t)(fdc->id[RECORD] - 1);
    }
    if (!(fdc->command[0] & FDC_MFM) || !floppy_drive_readable(drive, fdc->head, fdc->rate)) {
        fdc->st1 |= FDC_ST1_MA;
        return false;
    }
    if (code(fdc) == FDC_READ_TRACK || code(fdc) == FDC_READ_ID || id_matches(fdc, drive))
        return true;
    fdc->st1 |= FDC_ST1_ND;
    if (fdc->id[CYLINDER] != drive->cylinder)
        fdc->st2 |= FDC_ST2_WC;
    return false;
}

/* Does a medium turn, that may be written if it is to be? Else the command has ended, or waits for an index pulse. */
static bool medium_ready(struct fdc *fdc, uint64_t at)
{
    const struct floppy_drive *drive = fdc_drive(fdc, number(fdc));

    if (!drive || !drive->medium || !(fdc->dor & FDC_DOR_MOTOR << number(fdc))) {
        fdc->phase = FDC_POSITION;
        fdc->event_at = MACHINE_NEVER;
        return false;
    }
    if (fdc_transfer_writes(fdc) && drive->write_protected) {
        fail(fdc, FDC_ST1_NW, 0, at);
        return false;
    }
    return true;
}

static void search(struct fdc *fdc, uint64_t at)
{
    const struct floppy_drive *drive = fdc_drive(fdc, number(fdc));
    unsigned sectors;

    if (!medium_ready(fdc, at))
        return;
    fdc->phase = FDC_SECTOR;
    fdc->found = choose(fdc, drive, at);
    sectors = code(fdc) == FDC_FORMAT_TRACK ? end_of_track(fdc) : drive->sectors;
    fdc->event_at = fdc->found ? floppy_drive_passed(drive, fdc->rate, at, fdc->sector, sectors ? sectors : 1)
                               : floppy_drive_index(drive, fdc->rate, at + 1, 2);
}

/* ---- non-DMA mode ---- */

static uint64_t bytes_take(const struct fdc *fdc, unsigned bytes)
{
    return fdc_scaled(fdc, bytes * 8 * (NS_PER_SECOND / 1000000)); /* 1 Mbps: 1 us a bit */
}

/* Bytes that the host may move each time it is asked: one, or what the FIFO's threshold leaves (4.2). */
static unsigned burst(const struct fdc *fdc)
{
    unsigned threshold = (fdc->configuration & FDC_FIFOTHR) + 1u;

    return fdc->configuration & FDC_EFIFO || threshold == FIFO_BYTES ? 1 : FIFO_BYTES - threshold;
}

void fdc_transfer_ask(struct fdc *fdc)
{
    fdc->host_ready = true;
    fdc->host_left = (uint8_t)burst(fdc);
}

static void begin_host(struct fdc *fdc)
{
    fdc->phase = FDC_HOST;
    fdc->buffer_used = 0;
    fdc_transfer_ask(fdc);
}

/* The host has moved a byte; true: the last one. */
static bool host_moved(struct fdc *fdc, uint64_t now)
{
    bool last = ++fdc->buffer_used == host_bytes(fdc);

    if (last) {
        fdc->host_ready = false;
    } else if (!--fdc->host_left) {
        fdc->host_ready = false;
        fdc->host_at = now + bytes_take(fdc, burst(fdc));
    }
    return last;
}

uint8_t fdc_transfer_read(struct fdc *fdc, uint64_t now)
{
    uint8_t value = fdc->buffer[fdc->buffer_used % FLOPPY_SECTOR];

    if (host_moved(fdc, now)) {
        fdc->phase = FDC_CRC;
        fdc->event_at = now + bytes_take(fdc, CRC_BYTES);
    }
    return value;
}

void fdc_transfer_write(struct fdc *fdc, uint8_t value, uint64_t now)
{
    fdc->buffer[fdc->buffer_used % FLOPPY_SECTOR] = value;
    if (host_moved(fdc, now))
        search(fdc, now);
}

/* To the next sector: in non-DMA mode its data come first. */
static void next_sector(struct fdc *fdc, uint64_t at)
{
    if (!fdc->non_dma || !fdc_transfer_writes(fdc))
        search(fdc, at);
    else if (medium_ready(fdc, at))
        begin_host(fdc);
}

/* ---- a sector has passed ---- */

static void request(struct fdc *fdc, enum fdc_request request, unsigned bytes, uint64_t at)
{
    fdc->request = (uint8_t)request;
    fdc->request_bytes = (uint16_t)bytes;
    fdc->request_at = at;
}

static void request_medium(struct fdc *fdc, bool write, uint64_t at)
{
    const struct floppy_drive *drive = fdc_drive(fdc, number(fdc));

    fdc->request_drive = (uint8_t)number(fdc);
    fdc->request_offset = floppy_drive_offset(drive, fdc->head, fdc->sector);
    request(fdc, write ? FDC_MEDIUM_WRITE : FDC_MEDIUM_READ, FLOPPY_SECTOR, at);
}

/* The ID after this sector's: R, then the other side, then the next cylinder (table 5-6). True: it is on this cylinder. */
static bool next_id(struct fdc *fdc)
{
    bool two_sides = fdc->command[0] & FDC_MT;

    if (fdc->id[RECORD] != end_of_track(fdc)) {
        fdc->id[RECORD]++;
        return true;
    }
    fdc->id[RECORD] = 1;
    if (two_sides)
        fdc->id[HEAD] ^= 1;
    if (two_sides && !fdc->head)
        return true;
    fdc->id[CYLINDER]++;
    return false;
}

/* Sectors of a command that takes no notice of R. */
static void track_sector_done(struct fdc *fdc, uint64_t at)
{
    if (code(fdc) == FDC_READ_TRACK)
        fdc->id[RECORD]++;
    if (!fdc->terminal_count && fdc->passed < end_of_track(fdc))
        next_sector(fdc, at);
    else if (fdc->st1)
        fail(fdc, 0, 0, at);
    else
        finish(fdc, at);
}

/* A sector has been dealt with. */
static void sector_done(struct fdc *fdc, uint64_t at)
{
    bool verify = code(fdc) == FDC_VERIFY, counted = verify && fdc->command[1] & VERIFY_EC, goes_on;

    fdc->passed++;
    if (code(fdc) == FDC_FORMAT_TRACK || code(fdc) == FDC_READ_TRACK) {
        track_sector_done(fdc, at);
        return;
    }
    if (fdc->st2 & FDC_ST2_CM) { /* the ID stays */
        finish(fdc, at);
        return;
    }
    goes_on = next_id(fdc);
    if (fdc->terminal_count || (counted && (fdc->passed & 0xff) == fdc->command[8]) ||
        (verify && !counted && !goes_on)) {
        finish(fdc, at);
    } else if (!goes_on) {
        fail(fdc, FDC_ST1_EN, 0, at);
    } else {
        if (fdc->id[RECORD] == 1)
            fdc->head = fdc->id[HEAD] & 1;
        next_sector(fdc, at);
    }
}

/* FORMAT TRACK's data field. An ID that no sector of the image has is lost, and the field with it. */
static void format_sector(struct fdc *fdc, uint64_t at)
{
    const struct floppy_drive *drive = fdc_drive(fdc, number(fdc));

    memcpy(fdc->id, fdc->buffer, sizeof fdc->id);
    if (!floppy_drive_readable(drive, fdc->head, fdc->rate) || !id_matches(fdc, drive)) {
        sector_done(fdc, at);
        return;
    }
    memset(fdc->buffer, fdc->command[5], sizeof fdc->buffer);
    fdc->sector = (uint8_t)(fdc->id[RECORD] - 1);
    request_medium(fdc, true, at);
}

/* The data are in the buffer: to the medium with them. */
static void store(struct fdc *fdc, uint64_t at)
{
    if (code(fdc) == FDC_FORMAT_TRACK)
        format_sector(fdc, at);
    else
        request_medium(fdc, true, at);
}

/* DRQ, if it gets out. */
static void request_dma(struct fdc *fdc, enum fdc_request direction, uint64_t at)
{
    if (fdc->dor & FDC_DOR_DMAGATE)
        request(fdc, direction, host_bytes(fdc), at);
    else
        fail(fdc, FDC_ST1_OR, 0, at);
}

static void sector_passed(struct fdc *fdc, uint64_t at)
{
    const struct floppy_drive *drive = fdc_drive(fdc, number(fdc));

    switch (code(fdc)) {
    case FDC_READ_ID:
        fdc->id[CYLINDER] = drive->cylinder;
        fdc->id[HEAD] = fdc->head;
        fdc->id[RECORD] = (uint8_t)(fdc->sector + 1);
        fdc->id[SIZE] = FLOPPY_SECTOR_N;
        finish(fdc, at);
        break;
    case FDC_READ_TRACK:
        if (!id_matches(fdc, drive) || fdc->id[RECORD] != fdc->sector + 1)
            fdc->st1 |= FDC_ST1_ND;
        request_medium(fdc, false, at);
        break;
    case FDC_READ_DELETED_DATA:
        if (fdc->command[0] & FDC_SK) {
            sector_done(fdc, at);
            break;
        }
        fdc->st2 |= FDC_ST2_CM;
        request_medium(fdc, false, at);
        break;
    case FDC_READ_DATA:
    case FDC_VERIFY:
        request_medium(fdc, false, at);
        break;
    default:
        if (fdc->non_dma)
            store(fdc, at);
        else
            request_dma(fdc, FDC_DMA_READ, at);
    }
}

/* ---- what the board answers ---- */

void fdc_medium_done(struct fdc *fdc, bool good)
{
    uint64_t at = fdc->request_at;
    bool read = fdc->request == FDC_MEDIUM_READ;

    fdc->request = FDC_NO_REQUEST;
    if (!good && read) {
        fail(fdc, FDC_ST1_DE, FDC_ST2_DD, at);
    } else if (!good) {
        fdc->st0 |= FDC_ST0_EC; /* what a drive says of a fault */
        fail(fdc, 0, 0, at);
    } else if (!read) {
        sector_done(fdc, at);
    } else if (code(fdc) == FDC_VERIFY) {
        sector_done(fdc, at);
    } else if (fdc->non_dma) {
        begin_host(fdc);
    } else {
        request_dma(fdc, FDC_DMA_WRITE, at);
    }
}

void fdc_dma_done(struct fdc *fdc, uint32_t moved, bool terminal_count)
{
    uint64_t at = fdc->request_at;
    bool read = fdc->request == FDC_DMA_WRITE;

    fdc->request = FDC_NO_REQUEST;
    if (moved > fdc->request_bytes)
        moved = fdc->request_bytes;
    fdc->terminal_count = terminal_count;
    if (moved < fdc->request_bytes && !terminal_count) {
        fail(fdc, FDC_ST1_OR, 0, at);
    } else if (read) {
        sector_done(fdc, at);
    } else {
        memset(fdc->buffer + moved, 0, sizeof fdc->buffer - moved); /* the rest of the sector is zeros */
        store(fdc, at);
    }
}

/* ---- the phases ---- */

/* The heads to the command's cylinder, if that is to be done without a SEEK. */
static void seek_implied(struct fdc *fdc, uint64_t now)
{
    struct fdc_unit *unit = &fdc->unit[number(fdc)];

    if (!(fdc->configuration & FDC_EIS) || !has_id(fdc) || unit->pcn == fdc->id[CYLINDER] ||
        unit->seek_at != MACHINE_NEVER)
        return;
    fdc_start_seek(fdc, number(fdc), fdc->id[CYLINDER] - unit->pcn, fdc->id[CYLINDER], now);
    unit->implied = true;
    unit->busy = false;
    fdc->st0 = FDC_ST0_SE;
}

void fdc_transfer_begin(struct fdc *fdc, uint64_t now)
{
    const struct fdc_unit *unit = &fdc->unit[number(fdc)];
    unsigned load = now < fdc->unload_at ? 0 : fdc->load_time ? fdc->load_time : 128;

    fdc->head = fdc->command[1] & FDC_ST0_HEAD ? 1 : 0;
    fdc->st0 = fdc->st1 = fdc->st2 = 0;
    fdc->passed = 0;
    fdc->terminal_count = fdc->host_ready = false;
    if (has_id(fdc))
        memcpy(fdc->id, fdc->command + 2, sizeof fdc->id);
    if (code(fdc) != FDC_READ_ID)
        fdc->last_sector = (uint8_t)end_of_track(fdc);
    seek_implied(fdc, now);
    fdc->phase = FDC_POSITION;
    fdc->event_at = now + fdc_scaled(fdc, load * (NS_PER_SECOND / 1000));
    if (unit->seek_at != MACHINE_NEVER && unit->seek_at > fdc->event_at)
        fdc->event_at = unit->seek_at;
}

/* Meanwhile the medium may have been taken out, or the data rate changed. */
static bool still_there(struct fdc *fdc)
{
    const struct floppy_drive *drive = fdc_drive(fdc, number(fdc));

    return drive && drive->medium && !(fdc_transfer_writes(fdc) && drive->write_protected) &&
           (code(fdc) == FDC_FORMAT_TRACK ||
            (floppy_drive_readable(drive, fdc->head, fdc->rate) && fdc->sector < drive->sectors));
}

void fdc_transfer_event(struct fdc *fdc, uint64_t at)
{
    switch (fdc->phase) {
    case FDC_POSITION:
        if (medium_ready(fdc, at))
            next_sector(fdc, at);
        break;
    case FDC_SECTOR:
        if (!fdc->found)
            fail(fdc, 0, 0, at);
        else if (still_there(fdc))
            sector_passed(fdc, at);
        else
            search(fdc, at);
        break;
    case FDC_CRC:
        sector_done(fdc, at);
        break;
    }
}
