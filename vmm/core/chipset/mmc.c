/* The command packets of a CD-ROM (MMC-3). One track of data in mode 1; audio, raw sectors and MODE SELECT are left
 * out. */
#include "atapi.h"

#include <string.h>

#define LEAD_OUT 0xaa
#define TRACK_DATA 0x14          /* ADR 1; control: data, uninterrupted */
#define MSF_OFFSET 150           /* frames before the first sector */
#define FRAMES_PER_SECOND 75
#define CD_SECTORS 360000        /* 80 minutes; a medium with more is a DVD */
#define SPEED 2822               /* kB/s: 16 times */

/* ---- numbers in packets ---- */

static uint32_t take_big(const uint8_t *bytes, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value = value << 8 | bytes[i];
    return value;
}

static void put_big(uint8_t *bytes, unsigned size, uint64_t value)
{
    for (unsigned i = size; i--; value >>= 8)
        bytes[i] = (uint8_t)value;
}

static uint32_t allocation(const uint8_t *packet)
{
    return take_big(packet + 7, 2);
}

static void put_msf(uint8_t *bytes, uint64_t sector)
{
    uint64_t frame = sector + MSF_OFFSET, second = frame / FRAMES_PER_SECOND, minute = second / 60;

    bytes[0] = (uint8_t)(minute < 255 ? minute : 255);
    bytes[1] = (uint8_t)(second % 60);
    bytes[2] = (uint8_t)(frame % FRAMES_PER_SECOND);
}

/* Four bytes of an address, by sector or by minute, second and frame. */
static void put_address(uint8_t *bytes, uint64_t sector, bool msf)
{
    if (msf)
        put_msf(bytes + 1, sector);
    else
        put_big(bytes, 4, sector);
}

/* An empty answer to write into. */
static uint8_t *blank(struct ide *ide, uint32_t bytes)
{
    return memset(ide->buffer, 0, bytes);
}

/* ---- command packets: what the drive is ---- */

static void test_unit_ready(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    (void)packet;
    ide_end(ide, 0, now);
}

static void request_sense(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    struct ide_device *device = ide_commanded(ide);
    uint8_t *data = blank(ide, 18);

    if (device->sense_key == ATAPI_KEY_NONE && device->attention) {
        device->attention = false;
        atapi_set_sense(device, ATAPI_KEY_UNIT_ATTENTION, ATAPI_SENSE_MEDIUM_MAY_HAVE_CHANGED);
    }
    data[0] = 0x70; /* current error, fixed format */
    data[2] = device->sense_key;
    data[7] = 10;
    data[12] = device->sense_code;
    data[13] = device->sense_qualifier;
    atapi_set_sense(device, ATAPI_KEY_NONE, 0);
    atapi_answer(ide, 18, packet[4], now);
}

static void inquiry(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    static const char names[] = "BRINGUP CD-ROM          1.0 "; /* vendor 8, product 16, revision 4 */

    if (packet[1] & 1 || packet[2]) { /* vital product data */
        atapi_refuse(ide, ATAPI_SENSE_INVALID_FIELD, now);
        return;
    }
    uint8_t *data = blank(ide, 36);
    data[0] = 0x05; /* CD-ROM */
    data[1] = 0x80; /* removable */
    data[3] = 0x21; /* ATAPI version 2, response format 1 */
    data[4] = 31;
    memcpy(data + 8, names, sizeof names - 1);
    atapi_answer(ide, 36, packet[4], now);
}

/* One page of MODE SENSE at `data`; its bytes, 0 when there is no such page. Nothing in a page can be changed. */
static uint32_t put_mode_page(const struct ide_device *device, unsigned page, bool changeable, uint8_t *data)
{
    static const uint8_t lengths[0x40] = {[0x01] = 6, [0x0d] = 6, [0x0e] = 14, [0x2a] = 18};

    if (!lengths[page])
        return 0;
    memset(data, 0, 2u + lengths[page]);
    data[0] = (uint8_t)page;
    data[1] = lengths[page];
    if (changeable)
        return 2u + lengths[page];
    switch (page) {
    case 0x01: /* error recovery */
        data[3] = 5;
        break;
    case 0x0d: /* CD-ROM: seconds a minute, frames a second */
        data[5] = 60;
        data[7] = FRAMES_PER_SECOND;
        break;
    case 0x0e: /* audio control */
        data[2] = 0x04;
        break;
    case 0x2a: /* capabilities */
        data[2] = 0x3b; /* reads CD-R, CD-RW, DVD-ROM, DVD-R */
        data[4] = 0x70; /* multisession, mode 2 */
        data[6] = 0x29 | device->locked << 1; /* tray, can eject and lock */
        put_big(data + 8, 2, SPEED);
        put_big(data + 12, 2, IDE_BUFFER / 1024);
        put_big(data + 14, 2, SPEED);
        break;
    }
    return 2u + lengths[page];
}

static void mode_sense(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    enum { CHANGEABLE = 1, SAVED = 3, ALL_PAGES = 0x3f, HEADER = 8 };
    const struct ide_device *device = ide_commanded(ide);
    unsigned wanted = packet[2] & 0x3f, control = packet[2] >> 6;
    uint8_t *data = blank(ide, HEADER);
    uint32_t bytes = HEADER;

    if (control == SAVED) {
        atapi_refuse(ide, ATAPI_SENSE_SAVING_NOT_SUPPORTED, now);
        return;
    }
    for (unsigned page = 0; page < ALL_PAGES; page++)
        if (wanted == page || wanted == ALL_PAGES)
            bytes += put_mode_page(device, page, control == CHANGEABLE, data + bytes);
    if (bytes == HEADER) {
        atapi_refuse(ide, ATAPI_SENSE_INVALID_FIELD, now);
        return;
    }
    put_big(data, 2, bytes - 2);
    data[2] = device->open ? 0x71 : device->present ? 0x01 : 0x70; /* medium type */
    atapi_answer(ide, bytes, allocation(packet), now);
}

enum { PROFILE_CD_ROM = 0x0008, PROFILE_DVD_ROM = 0x0010 };

static bool has_medium(const struct ide_device *device)
{
    return device->present && !device->open;
}

static unsigned profile(const struct ide_device *device)
{
    return !has_medium(device) ? 0 : device->sectors > CD_SECTORS ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

static void get_configuration(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    enum { ALL = 0, CURRENT = 1, ONE = 2, HEADER = 8 };
    enum { PERSISTENT = 1 << 1 };
    const struct ide_device *device = ide_commanded(ide);
    const unsigned current = profile(device);
    const bool cd = current == PROFILE_CD_ROM, dvd = current == PROFILE_DVD_ROM;
    const struct {
        uint16_t code;
        uint8_t flags; /* persistent, current */
        uint8_t bytes, data[8];
    } features[] = {
        {0x0000, PERSISTENT | 1, 8, {0, PROFILE_DVD_ROM, dvd, 0, 0, PROFILE_CD_ROM, cd, 0}},
        {0x0001, PERSISTENT | 1, 4, {0, 0, 0, 2}},            /* core: ATAPI */
        {0x0003, PERSISTENT | 1, 4, {0x29, 0, 0, 0}},         /* removable: tray, can eject and lock */
        {0x0010, cd || dvd, 8, {0, 0, 8, 0, 0, 16, 0, 0}},    /* random readable: 2048 bytes, 16 a block */
        {0x001e, cd, 4, {0, 0, 0, 0}},                        /* CD read */
        {0x001f, dvd, 0, {0}},                                /* DVD read */
        {0x0100, PERSISTENT | 1, 0, {0}},                     /* power management */
        {0x0105, PERSISTENT | 1, 0, {0}},                     /* timeout */
    };
    unsigned which = packet[1] & 3, first = take_big(packet + 2, 2);
    uint8_t *data = blank(ide, 256);
    uint32_t bytes = HEADER;

    if (which > ONE) {
        atapi_refuse(ide, ATAPI_SENSE_INVALID_FIELD, now);
        return;
    }
    for (unsigned i = 0; i < sizeof features / sizeof *features; i++) {
        if (which == ONE ? features[i].code != first : features[i].code < first)
            continue;
        if (which == CURRENT && !(features[i].flags & 1))
            continue;
        put_big(data + bytes, 2, features[i].code);
        data[bytes + 2] = features[i].flags;
        data[bytes + 3] = features[i].bytes;
        memcpy(data + bytes + 4, features[i].data, features[i].bytes);
        bytes += 4u + features[i].bytes;
    }
    put_big(data, 4, bytes - 4);
    put_big(data + 6, 2, current);
    atapi_answer(ide, bytes, allocation(packet), now);
}

/* ---- command packets: tray and medium ---- */

static void start_stop_unit(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    enum { START = 1 << 0, LOAD_EJECT = 1 << 1 };
    struct ide_device *device = ide_commanded(ide);
    bool open = !(packet[4] & START);

    if (packet[4] & LOAD_EJECT && open != device->open) {
        if (open && device->locked) {
            atapi_refuse(ide, ATAPI_SENSE_REMOVAL_PREVENTED, now);
            return;
        }
        device->open = open;
        if (device->present) {
            device->media_event = open ? IDE_MEDIA_REMOVED : IDE_MEDIA_NEW;
            device->attention = !open;
        }
    }
    ide_end(ide, 0, now);
}

static void prevent_allow_medium_removal(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    ide_commanded(ide)->locked = packet[4] & 1;
    ide_end(ide, 0, now);
}

static void mechanism_status(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    uint8_t *data = blank(ide, 8);

    data[1] = ide_commanded(ide)->open ? 0x10 : 0;
    data[5] = 1; /* slot; no table of slots follows */
    atapi_answer(ide, 8, take_big(packet + 8, 2), now);
}

static void get_event_status_notification(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    enum { POLLED = 1 << 0, CLASS_MEDIA = 4, NO_CLASS = 0x80 };
    struct ide_device *device = ide_commanded(ide);
    uint8_t *data = blank(ide, 8);

    if (!(packet[1] & POLLED)) {
        atapi_refuse(ide, ATAPI_SENSE_INVALID_FIELD, now);
        return;
    }
    bool media = packet[4] & 1 << CLASS_MEDIA;
    put_big(data, 2, media ? 6 : 2);
    data[2] = media ? CLASS_MEDIA : NO_CLASS;
    data[3] = 1 << CLASS_MEDIA; /* the classes that there are */
    if (media && allocation(packet) > 4) {
        data[4] = device->media_event;
        data[5] = (uint8_t)(device->open | has_medium(device) << 1);
        device->media_event = IDE_MEDIA_NO_EVENT;
    }
    atapi_answer(ide, media ? 8 : 4, allocation(packet), now);
}

static void read_capacity(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    uint8_t *data = blank(ide, 8);

    (void)packet;
    put_big(data, 4, ide_commanded(ide)->sectors - 1);
    put_big(data + 4, 4, IDE_CD_SECTOR);
    atapi_answer(ide, 8, 8, now);
}

static uint32_t put_track(uint8_t *data, unsigned track, uint64_t sector, bool msf)
{
    data[1] = TRACK_DATA;
    data[2] = (uint8_t)track;
    put_address(data + 4, sector, msf);
    return 8;
}

/* A line of the raw table of contents. */
static uint32_t put_point(uint8_t *data, unsigned point, unsigned first, uint64_t sector)
{
    data[0] = 1; /* session */
    data[1] = TRACK_DATA;
    data[3] = (uint8_t)point;
    if (first)
        data[8] = (uint8_t)first;
    else
        put_msf(data + 8, sector);
    return 11;
}

static void read_toc(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    enum { TOC = 0, SESSIONS = 1, RAW = 2 };
    uint64_t sectors = ide_commanded(ide)->sectors;
    bool msf = packet[1] & 2;
    unsigned format = packet[2] & 15 ? packet[2] & 15 : packet[9] >> 6, first = packet[6];
    uint8_t *data = blank(ide, 64);
    uint32_t bytes = 4;

    data[2] = data[3] = 1;
    if (format == TOC && (first <= 1 || first == LEAD_OUT)) {
        if (first <= 1)
            bytes += put_track(data + bytes, 1, 0, msf);
        bytes += put_track(data + bytes, LEAD_OUT, sectors, msf);
    } else if (format == SESSIONS) {
        bytes += put_track(data + bytes, 1, 0, msf);
    } else if (format == RAW && first <= 1) {
        bytes += put_point(data + bytes, 0xa0, 1, 0);
        bytes += put_point(data + bytes, 0xa1, 1, 0);
        bytes += put_point(data + bytes, 0xa2, 0, sectors);
        bytes += put_point(data + bytes, 1, 0, 0);
    } else {
        atapi_refuse(ide, ATAPI_SENSE_INVALID_FIELD, now);
        return;
    }
    put_big(data, 2, bytes - 2);
    atapi_answer(ide, bytes, allocation(packet), now);
}

static void read_subchannel(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    enum { HEADER = 4, POSITION = 1, CATALOG_NUMBER = 2, RECORDING_CODE = 3 };
    static const uint8_t lengths[] = {[POSITION] = 12, [CATALOG_NUMBER] = 20, [RECORDING_CODE] = 20};
    bool msf = packet[1] & 2, wants_data = packet[2] & 0x40;
    unsigned format = packet[3];
    uint8_t *data = blank(ide, HEADER + 20);

    if (wants_data && (format < POSITION || format > RECORDING_CODE)) {
        atapi_refuse(ide, ATAPI_SENSE_INVALID_FIELD, now);
        return;
    }
    unsigned bytes = wants_data ? lengths[format] : 0;
    data[1] = 0x15; /* no audio status */
    put_big(data + 2, 2, bytes);
    data[HEADER] = (uint8_t)format;
    if (bytes && format == POSITION) {
        data[HEADER + 1] = TRACK_DATA;
        data[HEADER + 2] = data[HEADER + 3] = 1; /* track, index */
        put_address(data + HEADER + 4, 0, msf);
        put_address(data + HEADER + 8, 0, msf);
    }
    atapi_answer(ide, HEADER + bytes, allocation(packet), now);
}

static void read_disc_information(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    uint8_t *data = blank(ide, 34);

    put_big(data, 2, 32);
    data[2] = 0x0e;                              /* disc and last session are complete */
    data[3] = data[4] = data[5] = data[6] = 1;   /* one session of one track */
    data[7] = 0x20;                              /* unrestricted use */
    memset(data + 16, 0xff, 8);                  /* nothing can be recorded */
    atapi_answer(ide, 34, allocation(packet), now);
}

/* ---- command packets: sectors ---- */

static void read(struct ide *ide, uint32_t sector, uint32_t sectors, uint64_t now)
{
    struct ide_device *device = ide_commanded(ide);

    if (sector > device->sectors || sectors > device->sectors - sector) {
        atapi_refuse(ide, ATAPI_SENSE_ADDRESS_OUT_OF_RANGE, now);
    } else if (!sectors) {
        ide_end(ide, 0, now);
    } else {
        uint32_t block = atapi_byte_count(device, UINT32_MAX, IDE_CD_SECTOR);
        unsigned way = device->features & ATAPI_FEATURE_DMA ? IDE_DMA_IN : IDE_PIO_IN;
        ide_move_sectors(ide, way, sector, sectors, block, now);
    }
}

static void read_10(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    read(ide, take_big(packet + 2, 4), take_big(packet + 7, 2), now);
}

static void read_12(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    read(ide, take_big(packet + 2, 4), take_big(packet + 6, 4), now);
}

static void read_cd(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    enum { FIELDS = 0xf8, USER_DATA = 0x10 };
    unsigned fields = packet[9] & FIELDS;

    if ((fields && fields != USER_DATA) || packet[10] & 7)
        atapi_refuse(ide, ATAPI_SENSE_INVALID_FIELD, now);
    else
        read(ide, take_big(packet + 2, 4), fields ? take_big(packet + 6, 3) : 0, now);
}

static void seek(struct ide *ide, const uint8_t *packet, uint64_t now)
{
    read(ide, take_big(packet + 2, 4), 0, now);
}

void atapi_packet(struct ide *ide, uint64_t now)
{
    enum { NEEDS_MEDIUM = 1 << 0, DESPITE_ATTENTION = 1 << 1 };
    static const struct {
        uint8_t code, flags;
        void (*execute)(struct ide *ide, const uint8_t *packet, uint64_t now);
    } commands[] = {
        {0x00, NEEDS_MEDIUM, test_unit_ready},
        {0x03, DESPITE_ATTENTION, request_sense},
        {0x12, DESPITE_ATTENTION, inquiry},
        {0x1b, 0, start_stop_unit},
        {0x1e, 0, prevent_allow_medium_removal},
        {0x25, NEEDS_MEDIUM, read_capacity},
        {0x28, NEEDS_MEDIUM, read_10},
        {0x2b, NEEDS_MEDIUM, seek},
        {0x42, NEEDS_MEDIUM, read_subchannel},
        {0x43, NEEDS_MEDIUM, read_toc},
        {0x46, DESPITE_ATTENTION, get_configuration},
        {0x4a, DESPITE_ATTENTION, get_event_status_notification},
        {0x51, NEEDS_MEDIUM, read_disc_information},
        {0x5a, 0, mode_sense},
        {0xa8, NEEDS_MEDIUM, read_12},
        {0xbb, 0, test_unit_ready}, /* SET CD SPEED: every speed is the same */
        {0xbd, DESPITE_ATTENTION, mechanism_status},
        {0xbe, NEEDS_MEDIUM, read_cd},
    };
    struct ide_device *device = ide_commanded(ide);
    const uint8_t *packet = ide->transfer.packet;
    unsigned i = 0;

    while (i < sizeof commands / sizeof *commands && commands[i].code != packet[0])
        i++;
    if (i == sizeof commands / sizeof *commands) {
        atapi_refuse(ide, ATAPI_SENSE_INVALID_COMMAND, now);
        return;
    }
    if (!(commands[i].flags & DESPITE_ATTENTION)) {
        atapi_set_sense(device, ATAPI_KEY_NONE, 0);
        if (device->attention) {
            device->attention = false;
            ide_end(ide, atapi_failed(device, ATAPI_KEY_UNIT_ATTENTION, ATAPI_SENSE_MEDIUM_MAY_HAVE_CHANGED), now);
            return;
        }
    }
    if (commands[i].flags & NEEDS_MEDIUM && !has_medium(device)) {
        ide_end(ide, atapi_failed(device, ATAPI_KEY_NOT_READY,
                            device->open ? ATAPI_SENSE_NO_MEDIUM_TRAY_OPEN : ATAPI_SENSE_NO_MEDIUM_TRAY_CLOSED), now);
        return;
    }
    device->power = IDE_ACTIVE;
    commands[i].execute(ide, packet, now);
}
