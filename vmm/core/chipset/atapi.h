/* Between atapi.c and mmc.c: sense data, errors and answers of command packets. */
#ifndef BRINGUP_ATAPI_H
#define BRINGUP_ATAPI_H

#include "ide_device.h"

/* Features register of PACKET. */
enum { ATAPI_FEATURE_DMA = 1 << 0, ATAPI_FEATURE_OVERLAP = 1 << 1 };

enum {
    ATAPI_KEY_NONE = 0,
    ATAPI_KEY_NOT_READY = 2,
    ATAPI_KEY_MEDIUM_ERROR = 3,
    ATAPI_KEY_ILLEGAL_REQUEST = 5,
    ATAPI_KEY_UNIT_ATTENTION = 6,
};
/* Additional sense code and qualifier. */
enum {
    ATAPI_SENSE_UNRECOVERED_READ_ERROR = 0x1100,
    ATAPI_SENSE_INVALID_COMMAND = 0x2000,
    ATAPI_SENSE_ADDRESS_OUT_OF_RANGE = 0x2100,
    ATAPI_SENSE_INVALID_FIELD = 0x2400,
    ATAPI_SENSE_MEDIUM_MAY_HAVE_CHANGED = 0x2800,
    ATAPI_SENSE_SAVING_NOT_SUPPORTED = 0x3900,
    ATAPI_SENSE_NO_MEDIUM_TRAY_CLOSED = 0x3a01,
    ATAPI_SENSE_NO_MEDIUM_TRAY_OPEN = 0x3a02,
    ATAPI_SENSE_REMOVAL_PREVENTED = 0x5302,
};

void atapi_set_sense(struct ide_device *device, unsigned key, unsigned sense);
/* The error register of a packet that fails: the sense key, and ABRT when the packet was wrong. */
uint8_t atapi_failed(struct ide_device *device, unsigned key, unsigned sense);
/* Ends the command: ILLEGAL REQUEST. */
void atapi_refuse(struct ide *ide, unsigned sense, uint64_t now);
/* Bytes of a block when so many are to come (SFF-8020i, 5.3): within the host's limit, and even unless it is the last;
 * whole units when one is within the limit. */
uint32_t atapi_byte_count(const struct ide_device *device, uint32_t bytes, uint32_t unit);
/* Ends the command with the buffer's first bytes, of which the host takes no more than it has allocated. */
void atapi_answer(struct ide *ide, uint32_t bytes, uint32_t allocated, uint64_t now);

#endif
