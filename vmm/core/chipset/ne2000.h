/* RTL8029AS: an NE2000 on PCI (Realtek RTL8029AS data sheet), which is a DP8390D network controller (National
 * Semiconductor DP8390D/NS32490D) with 16 KiB of buffer memory behind a data port.
 *
 * A frame that the guest sends waits in the buffer memory until it would have left at 10 Mbit/s; the board then takes it.
 * Frames that arrive wait on the wire (`incoming`), each with its time. Left out: the multicast filter (all multicast
 * frames pass it), collisions, loopback to the receiver (a frame sent in loopback mode is lost), tally counters that
 * count, the second EEPROM interface of page 3. */
#ifndef BRINGUP_NE2000_H
#define BRINGUP_NE2000_H

#include "fields.h"

#define NE2000_PORTS 32
#define NE2000_FRAME_MINIMUM 60 /* bytes without the CRC */
#define NE2000_FRAME_MAXIMUM 1514
#define NE2000_MEMORY_FIRST 0x4000 /* of the controller's address space */
#define NE2000_MEMORY_BYTES 0x4000
#define NE2000_PAGE_BYTES 256
#define NE2000_INCOMING 16

/* Ports, counted from the first. 0 to Fh are the controller's registers, of the page that NE2000_CR selects. */
enum { NE2000_CR = 0x00, NE2000_DATA = 0x10, NE2000_RESET = 0x18 };
/* Page 0, as written. */
enum {
    NE2000_PSTART = 0x01,
    NE2000_PSTOP = 0x02,
    NE2000_BNRY = 0x03,
    NE2000_TPSR = 0x04,
    NE2000_TBCR0 = 0x05,
    NE2000_TBCR1 = 0x06,
    NE2000_ISR = 0x07,
    NE2000_RSAR0 = 0x08,
    NE2000_RSAR1 = 0x09,
    NE2000_RBCR0 = 0x0a,
    NE2000_RBCR1 = 0x0b,
    NE2000_RCR = 0x0c,
    NE2000_TCR = 0x0d,
    NE2000_DCR = 0x0e,
    NE2000_IMR = 0x0f,
};
/* Page 0, as read, where that differs. */
enum {
    NE2000_CLDA0 = 0x01,
    NE2000_CLDA1 = 0x02,
    NE2000_TSR = 0x04,
    NE2000_NCR = 0x05,
    NE2000_FIFO = 0x06,
    NE2000_CRDA0 = 0x08,
    NE2000_CRDA1 = 0x09,
    NE2000_8029ID0 = 0x0a, /* "P" */
    NE2000_8029ID1 = 0x0b, /* "C" */
    NE2000_RSR = 0x0c,
    NE2000_CNTR0 = 0x0d, /* to 2 */
};
/* Page 1. */
enum { NE2000_PAR0 = 0x01, NE2000_CURR = 0x07, NE2000_MAR0 = 0x08 };
/* Page 3, the RTL8029's. */
enum { NE2000_CONFIG0 = 0x03, NE2000_CONFIG2 = 0x05, NE2000_CONFIG3 = 0x06 };

enum {
    NE2000_CR_STP = 1 << 0,
    NE2000_CR_STA = 1 << 1,
    NE2000_CR_TXP = 1 << 2,
    NE2000_CR_RD = 7 << 3,
    NE2000_CR_RD_READ = 1 << 3,
    NE2000_CR_RD_WRITE = 2 << 3,
    NE2000_CR_RD_SEND = 3 << 3, /* read, of the packet at BNRY */
    NE2000_CR_RD_ABORT = 4 << 3,
    NE2000_CR_PS = 3 << 6,
};
enum {
    NE2000_ISR_PRX = 1 << 0,
    NE2000_ISR_PTX = 1 << 1,
    NE2000_ISR_RXE = 1 << 2,
    NE2000_ISR_TXE = 1 << 3,
    NE2000_ISR_OVW = 1 << 4,
    NE2000_ISR_CNT = 1 << 5,
    NE2000_ISR_RDC = 1 << 6,
    NE2000_ISR_RST = 1 << 7, /* no interrupt of its own */
};
enum { NE2000_RCR_SEP = 1 << 0, NE2000_RCR_AR = 1 << 1, NE2000_RCR_AB = 1 << 2, NE2000_RCR_AM = 1 << 3,
       NE2000_RCR_PRO = 1 << 4, NE2000_RCR_MON = 1 << 5 };
enum { NE2000_TCR_LB = 3 << 1 };
enum { NE2000_DCR_WTS = 1 << 0 };
enum { NE2000_TSR_PTX = 1 << 0 };
enum { NE2000_RSR_PRX = 1 << 0, NE2000_RSR_PHY = 1 << 5, NE2000_RSR_DIS = 1 << 6 };

#define NE2000_FRAME_STATE(VALUE, PART, owner)                                                                         \
    VALUE(owner, uint64_t, time, )                                                                                     \
    VALUE(owner, uint16_t, size, )                                                                                     \
    VALUE(owner, uint8_t, bytes, [NE2000_FRAME_MAXIMUM])
STATE_STRUCT(ne2000_frame, NE2000_FRAME_STATE);

#define NE2000_STATE(VALUE, PART, owner)                                                                               \
    VALUE(owner, uint8_t, cr, )                                                                                        \
    VALUE(owner, uint8_t, isr, )                                                                                       \
    VALUE(owner, uint8_t, imr, )                                                                                       \
    VALUE(owner, uint8_t, dcr, )                                                                                       \
    VALUE(owner, uint8_t, tcr, )                                                                                       \
    VALUE(owner, uint8_t, rcr, )                                                                                       \
    VALUE(owner, uint8_t, tsr, )                                                                                       \
    VALUE(owner, uint8_t, rsr, )                                                                                       \
    VALUE(owner, uint8_t, pstart, )                                                                                    \
    VALUE(owner, uint8_t, pstop, )                                                                                     \
    VALUE(owner, uint8_t, bnry, )                                                                                      \
    VALUE(owner, uint8_t, curr, )                                                                                      \
    VALUE(owner, uint8_t, tpsr, )                                                                                      \
    VALUE(owner, uint16_t, tbcr, )                                                                                     \
    VALUE(owner, uint16_t, rsar, )  /* of the remote DMA, that behind the data port */                                  \
    VALUE(owner, uint16_t, rbcr, )                                                                                     \
    VALUE(owner, uint8_t, par, [6]) /* the address that the driver has set */                                          \
    VALUE(owner, uint8_t, mar, [8])                                                                                    \
    VALUE(owner, uint8_t, mac, [6]) /* the one in the PROM */                                                          \
    VALUE(owner, uint64_t, sent_at, ) /* a frame leaves then; MACHINE_NEVER: none is being sent */                      \
    VALUE(owner, uint8_t, first, )  /* of `incoming` */                                                                \
    VALUE(owner, uint8_t, waiting, )                                                                                   \
    PART(owner, ne2000_frame, incoming, [NE2000_INCOMING])                                                             \
    VALUE(owner, uint8_t, memory, [NE2000_MEMORY_BYTES])
STATE_STRUCT(ne2000, NE2000_STATE);

void ne2000_reset(struct ne2000 *ne, const uint8_t mac[6]);
/* Size 1, at the data port also 2 and 4. */
uint32_t ne2000_read(struct ne2000 *ne, unsigned reg, unsigned size);
void ne2000_write(struct ne2000 *ne, unsigned reg, uint32_t value, unsigned size, uint64_t now);
/* A frame from the network at `time`; what does not fit into NE2000_INCOMING or is too long is lost. */
void ne2000_arrive(struct ne2000 *ne, const uint8_t *frame, unsigned size, uint64_t time);
/* The size of a frame that left by `now`, copied to `frame` (NE2000_FRAME_MAXIMUM bytes), or 0. */
unsigned ne2000_advance(struct ne2000 *ne, uint64_t now, uint8_t *frame);
uint64_t ne2000_deadline(const struct ne2000 *ne);
bool ne2000_interrupt(const struct ne2000 *ne); /* INTA# */

#endif
