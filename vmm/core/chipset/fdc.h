/* 82077AA floppy disk controller (Intel 290166) in AT mode, with two drives on its cable.
 *
 * The medium is the host's, and memory is reached by DMA: the controller leaves a request in its state, the board serves
 * it at once and tells how it went. A sector moves when it has passed the head by whole. The medium waits for a host that
 * takes its time in non-DMA mode, so nothing is overrun there; in DMA mode a channel that does not answer is an overrun.
 * MSR is ready between the bytes of a command without delay. The interrupt that follows a reset falls with the next
 * command, also when that is not SENSE INTERRUPT STATUS: the data sheet leaves it open (7.4), and drivers of the 8272A
 * that never sense a reset (multitasking MS-DOS 4) wait for the next one's edge. Left out: the registers of PS/2 mode
 * (SRA, SRB), precompensation, power down, FM (its marks are not found), SCAN, which this controller no longer has.
 * What the drives do is in floppy_drive.h. */
#ifndef BRINGUP_FDC_H
#define BRINGUP_FDC_H

#include "fields.h"
#include "floppy_drive.h"

#define FDC_DRIVES 2 /* on the cable; the controller has pins for four */
#define FDC_UNITS 4
#define FDC_VERSION 0x90

/* Registers, counted from the first (3F0h); 6 is the IDE channel's. */
enum { FDC_SRA = 0, FDC_SRB = 1, FDC_DOR = 2, FDC_TDR = 3, FDC_MSR_DSR = 4, FDC_FIFO = 5, FDC_DIR_CCR = 7 };
enum {
    FDC_DOR_SELECT = 3 << 0,
    FDC_DOR_RESET = 1 << 2,   /* active low */
    FDC_DOR_DMAGATE = 1 << 3, /* 0: INT and DRQ are not driven */
    FDC_DOR_MOTOR = 1 << 4,   /* of drive 0; the others follow */
};
enum { FDC_TDR_TAPE = 3 << 0 };
enum { FDC_DSR_RATE = 3 << 0, FDC_DSR_PRECOMP = 7 << 2, FDC_DSR_POWER_DOWN = 1 << 6, FDC_DSR_RESET = 1 << 7 };
enum {
    FDC_MSR_DRIVE_BUSY = 15 << 0,
    FDC_MSR_CMD_BUSY = 1 << 4,
    FDC_MSR_NON_DMA = 1 << 5,
    FDC_MSR_DIO = 1 << 6, /* the host reads */
    FDC_MSR_RQM = 1 << 7,
};
enum { FDC_DIR_DSKCHG = 1 << 7 };

/* First bytes of commands (table 5-1), without the bits of enum fdc_command_bit. */
enum fdc_command {
    FDC_READ_TRACK = 0x02,
    FDC_SPECIFY = 0x03,
    FDC_SENSE_DRIVE_STATUS = 0x04,
    FDC_WRITE_DATA = 0x05,
    FDC_READ_DATA = 0x06,
    FDC_RECALIBRATE = 0x07,
    FDC_SENSE_INTERRUPT_STATUS = 0x08,
    FDC_WRITE_DELETED_DATA = 0x09,
    FDC_READ_ID = 0x0a,
    FDC_READ_DELETED_DATA = 0x0c,
    FDC_FORMAT_TRACK = 0x0d,
    FDC_DUMPREG = 0x0e,
    FDC_SEEK = 0x0f,
    FDC_VERSION_COMMAND = 0x10,
    FDC_PERPENDICULAR_MODE = 0x12,
    FDC_CONFIGURE = 0x13,
    FDC_LOCK = 0x14,
    FDC_VERIFY = 0x16,
    FDC_RELATIVE_SEEK = 0x8f,
};
enum fdc_command_bit { FDC_SK = 1 << 5, FDC_MFM = 1 << 6, FDC_MT = 1 << 7, FDC_DIRECTION = 1 << 6, FDC_LOCK_BIT = 1 << 7 };

/* The status registers of results (chapter 6). */
enum {
    FDC_ST0_DRIVE = 3 << 0,
    FDC_ST0_HEAD = 1 << 2,
    FDC_ST0_EC = 1 << 4, /* equipment check */
    FDC_ST0_SE = 1 << 5, /* seek end */
    FDC_ST0_ABNORMAL = 1 << 6,
    FDC_ST0_INVALID = 2 << 6,
    FDC_ST0_POLLING = 3 << 6,
};
enum {
    FDC_ST1_MA = 1 << 0, /* missing address mark */
    FDC_ST1_NW = 1 << 1, /* not writable */
    FDC_ST1_ND = 1 << 2, /* no data: the sector is not found */
    FDC_ST1_OR = 1 << 4, /* overrun or underrun */
    FDC_ST1_DE = 1 << 5, /* data error: a CRC is wrong */
    FDC_ST1_EN = 1 << 7, /* end of cylinder: beyond the last sector */
};
enum {
    FDC_ST2_MD = 1 << 0, /* missing data address mark: a medium's are there */
    FDC_ST2_BC = 1 << 1, /* bad cylinder, marked by FFh: none is */
    FDC_ST2_WC = 1 << 4, /* wrong cylinder */
    FDC_ST2_DD = 1 << 5, /* data error in the data field */
    FDC_ST2_CM = 1 << 6, /* control mark: of the other kind, deleted or not, than asked for */
};
enum { FDC_ST3_HEAD = 1 << 2, FDC_ST3_ALWAYS = 1 << 3 | 1 << 5, FDC_ST3_T0 = 1 << 4, FDC_ST3_WP = 1 << 6 };
/* Second parameter of CONFIGURE. */
enum { FDC_FIFOTHR = 15 << 0, FDC_POLL = 1 << 4 /* 1: off */, FDC_EFIFO = 1 << 5 /* 1: off */, FDC_EIS = 1 << 6 };
enum { FDC_PERPENDICULAR_GAP_WGATE = 3 << 0, FDC_PERPENDICULAR_DRIVES = 15 << 2, FDC_PERPENDICULAR_OW = 1 << 7 };

enum fdc_phase {
    FDC_IDLE,     /* waits for the first byte of a command */
    FDC_COMMAND,  /* for the others */
    FDC_POSITION, /* the head moves or is loaded; without an index pulse for ever */
    FDC_SECTOR,   /* a sector comes by, or the index pulse after which no more is waited for */
    FDC_HOST,     /* non-DMA mode: the host moves a sector's bytes */
    FDC_CRC,      /* the end of a sector that the host has read */
    FDC_RESULT,
};
enum fdc_request {
    FDC_NO_REQUEST,
    FDC_MEDIUM_READ,  /* fill `buffer` with the sector at `request_offset` of drive `request_drive` */
    FDC_MEDIUM_WRITE, /* write it there */
    FDC_DMA_WRITE,    /* DRQ: move `request_bytes` from `buffer` to memory */
    FDC_DMA_READ,     /* DRQ: move as many from memory to `buffer` */
};

#define FDC_UNIT_STATE(VALUE, PART, owner)                                                                             \
    VALUE(owner, uint8_t, pcn, )           /* present cylinder number */                                               \
    VALUE(owner, uint8_t, st0, )           /* that the end of its seek gives */                                        \
    VALUE(owner, int16_t, steps, )         /* of the seek under way; in is positive */                                 \
    VALUE(owner, uint64_t, seek_at, )      /* when it ends, or MACHINE_NEVER */                                        \
    VALUE(owner, bool, implied, )          /* part of a command that transfers: its end is not told */                 \
    VALUE(owner, bool, busy, )             /* from the command until SENSE INTERRUPT STATUS */                         \
    VALUE(owner, bool, interrupt, )
STATE_STRUCT(fdc_unit, FDC_UNIT_STATE);

#define FDC_STATE(VALUE, PART, owner)                                                                                  \
    PART(owner, floppy_drive, drive, [FDC_DRIVES])                                                                     \
    PART(owner, fdc_unit, unit, [FDC_UNITS])                                                                           \
    VALUE(owner, uint8_t, dor, )                                                                                       \
    VALUE(owner, uint8_t, tdr, )                                                                                       \
    VALUE(owner, uint8_t, rate, )          /* enum floppy_rate: DSR or CCR, the last one written */                    \
    VALUE(owner, uint8_t, step_rate, )     /* SRT */                                                                   \
    VALUE(owner, uint8_t, unload_time, )   /* HUT */                                                                   \
    VALUE(owner, uint8_t, load_time, )     /* HLT */                                                                   \
    VALUE(owner, bool, non_dma, )          /* ND */                                                                    \
    VALUE(owner, uint8_t, configuration, )                                                                             \
    VALUE(owner, uint8_t, precompensation_track, )                                                                     \
    VALUE(owner, uint8_t, perpendicular, )                                                                             \
    VALUE(owner, bool, lock, )                                                                                         \
    VALUE(owner, uint8_t, last_sector, )   /* SC or EOT of the last command, for DUMPREG */                            \
    VALUE(owner, uint8_t, phase, )                                                                                     \
    VALUE(owner, uint8_t, command, [9])                                                                                \
    VALUE(owner, uint8_t, command_used, )                                                                              \
    VALUE(owner, uint8_t, command_size, )                                                                              \
    VALUE(owner, uint8_t, result, [10])                                                                                \
    VALUE(owner, uint8_t, result_first, )                                                                              \
    VALUE(owner, uint8_t, result_size, )                                                                               \
    VALUE(owner, bool, result_interrupt, )                                                                             \
    VALUE(owner, uint8_t, reset_senses, )  /* drives whose state after a reset is still to be sensed */                \
    VALUE(owner, bool, reset_interrupt, )                                                                              \
    VALUE(owner, uint64_t, reset_at, )     /* times, or MACHINE_NEVER: the polling after a reset has gone round */     \
    VALUE(owner, uint64_t, event_at, )     /* a transfer's phase ends */                                               \
    VALUE(owner, uint64_t, host_at, )      /* the host is asked for bytes again */                                     \
    VALUE(owner, uint64_t, unload_at, )    /* until then the head stays loaded */                                      \
    VALUE(owner, uint8_t, head, )          /* of the transfer: side, ID, status */                                     \
    VALUE(owner, uint8_t, id, [4])         /* C, H, R, N */                                                            \
    VALUE(owner, uint8_t, st0, )                                                                                       \
    VALUE(owner, uint8_t, st1, )                                                                                       \
    VALUE(owner, uint8_t, st2, )                                                                                       \
    VALUE(owner, uint8_t, sector, )        /* of the track, from 0: the one that is waited for */                      \
    VALUE(owner, bool, found, )            /* and it comes */                                                          \
    VALUE(owner, bool, terminal_count, )                                                                               \
    VALUE(owner, uint16_t, passed, )       /* sectors so far */                                                        \
    VALUE(owner, bool, host_ready, )       /* RQM in the execution phase */                                            \
    VALUE(owner, uint8_t, host_left, )     /* bytes until it falls */                                                  \
    VALUE(owner, uint16_t, buffer_used, )  /* bytes that the host has moved */                                         \
    VALUE(owner, uint8_t, buffer, [FLOPPY_SECTOR])                                                                     \
    VALUE(owner, uint8_t, request, )       /* enum fdc_request, while the board serves it */                           \
    VALUE(owner, uint8_t, request_drive, )                                                                             \
    VALUE(owner, uint16_t, request_bytes, )                                                                            \
    VALUE(owner, uint64_t, request_offset, )                                                                           \
    VALUE(owner, uint64_t, request_at, )                                                                               \
    VALUE(owner, bool, irq, )              /* pin INT */
STATE_STRUCT(fdc, FDC_STATE);

/* Power on, with nothing on the cable. */
void fdc_reset(struct fdc *fdc);
/* A medium came or went: a command that waits for an index pulse goes on. Call it after floppy_drive_insert. */
void fdc_medium_changed(struct fdc *fdc, uint64_t now);

uint8_t fdc_read(struct fdc *fdc, unsigned reg, uint64_t now);
void fdc_write(struct fdc *fdc, unsigned reg, uint8_t value, uint64_t now);

/* Answers to a request; another one may follow. `moved` is less than `request_bytes` when the channel stopped before,
 * with the terminal count or without. */
void fdc_medium_done(struct fdc *fdc, bool good);
void fdc_dma_done(struct fdc *fdc, uint32_t moved, bool terminal_count);

/* Stops early when there is a request: serve it, and call again until there is none. */
void fdc_advance(struct fdc *fdc, uint64_t now);
uint64_t fdc_deadline(const struct fdc *fdc);

#endif
