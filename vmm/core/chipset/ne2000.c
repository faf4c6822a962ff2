#include "ne2000.h"

#include <string.h>

#include "ticks.h"

STATE_TABLE(ne2000_frame, NE2000_FRAME_STATE);
STATE_TABLE(ne2000, NE2000_STATE);

#define NS_PER_BYTE 800 /* at 10 Mbit/s */
#define OVERHEAD 24     /* bytes of preamble, CRC and gap */
#define HEADER_BYTES 4  /* before a frame in the ring: status, next page, count with the CRC */
#define CRC_BYTES 4
#define PROM_BYTES 32
#define PROM_MARK 0x57 /* an NE2000 of 16 bits */

static bool stopped(const struct ne2000 *ne)
{
    return ne->cr & NE2000_CR_STP;
}

static void stop(struct ne2000 *ne)
{
    ne->cr = NE2000_CR_STP | NE2000_CR_RD_ABORT;
    ne->isr |= NE2000_ISR_RST;
    ne->sent_at = MACHINE_NEVER;
}

void ne2000_reset(struct ne2000 *ne, const uint8_t mac[6])
{
    uint8_t own[6];

    memcpy(own, mac, sizeof own);
    memset(ne, 0, sizeof *ne);
    memcpy(ne->mac, own, sizeof own);
    stop(ne);
}

/* ---- buffer memory ---- */

/* The PROM holds each byte twice, as a 16-bit bus wants it. */
static uint8_t prom(const struct ne2000 *ne, unsigned address)
{
    unsigned i = address / 2;

    return i < sizeof ne->mac ? ne->mac[i] : i >= 14 ? PROM_MARK : 0;
}

static uint8_t load(const struct ne2000 *ne, uint16_t address)
{
    if (address < PROM_BYTES)
        return prom(ne, address);
    unsigned offset = address - NE2000_MEMORY_FIRST;
    return offset < NE2000_MEMORY_BYTES ? ne->memory[offset] : 0xff;
}

static void store(struct ne2000 *ne, uint16_t address, uint8_t value)
{
    unsigned offset = address - NE2000_MEMORY_FIRST;

    if (offset < NE2000_MEMORY_BYTES)
        ne->memory[offset] = value;
}

/* The address after a byte: a ring's end goes on at its start. */
static uint16_t next(const struct ne2000 *ne, uint16_t address)
{
    address++;
    return address == ne->pstop * NE2000_PAGE_BYTES ? (uint16_t)(ne->pstart * NE2000_PAGE_BYTES) : address;
}

/* ---- the data port ---- */

static bool moves(const struct ne2000 *ne, bool write)
{
    unsigned command = ne->cr & NE2000_CR_RD;

    return ne->rbcr && (write ? command == NE2000_CR_RD_WRITE
                              : command == NE2000_CR_RD_READ || command == NE2000_CR_RD_SEND);
}

static void moved(struct ne2000 *ne)
{
    ne->rsar = next(ne, ne->rsar);
    if (--ne->rbcr == 0)
        ne->isr |= NE2000_ISR_RDC;
}

/* An access of one byte in a transfer by words moves a word all the same, of which the bus takes the low byte. */
static unsigned bytes_of(const struct ne2000 *ne, unsigned size)
{
    return size == 1 && ne->dcr & NE2000_DCR_WTS ? 2 : size;
}

static uint32_t read_data(struct ne2000 *ne, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < bytes_of(ne, size); i++) {
        bool there = moves(ne, false);
        value |= (uint32_t)(there ? load(ne, ne->rsar) : 0xff) << 8 * i;
        if (there)
            moved(ne);
    }
    return size < 4 ? value & ((1u << 8 * size) - 1) : value;
}

static void write_data(struct ne2000 *ne, uint32_t value, unsigned size)
{
    for (unsigned i = 0; i < bytes_of(ne, size) && moves(ne, true); i++) {
        store(ne, ne->rsar, (uint8_t)(value >> 8 * i));
        moved(ne);
    }
}

/* ---- registers ---- */

static uint8_t read_page_0(struct ne2000 *ne, unsigned reg)
{
    switch (reg) {
    case NE2000_CLDA0: return 0;
    case NE2000_CLDA1: return ne->curr;
    case NE2000_BNRY: return ne->bnry;
    case NE2000_TSR: return ne->tsr;
    case NE2000_ISR: return ne->isr;
    case NE2000_CRDA0: return (uint8_t)ne->rsar;
    case NE2000_CRDA1: return (uint8_t)(ne->rsar >> 8);
    case NE2000_8029ID0: return 'P';
    case NE2000_8029ID1: return 'C';
    case NE2000_RSR: return ne->rsr;
    default: return 0; /* NCR, FIFO, tallies */
    }
}

static uint8_t read_page_1(const struct ne2000 *ne, unsigned reg)
{
    return reg == NE2000_CURR ? ne->curr : reg >= NE2000_MAR0 ? ne->mar[reg - NE2000_MAR0] : ne->par[reg - NE2000_PAR0];
}

/* What page 0 takes can be read here. */
static uint8_t read_page_2(const struct ne2000 *ne, unsigned reg)
{
    switch (reg) {
    case NE2000_PSTART: return ne->pstart;
    case NE2000_PSTOP: return ne->pstop;
    case NE2000_TPSR: return ne->tpsr;
    case NE2000_RCR: return ne->rcr | 0xc0;
    case NE2000_TCR: return ne->tcr | 0xe0;
    case NE2000_DCR: return ne->dcr | 0x80;
    case NE2000_IMR: return ne->imr | 0x80;
    default: return 0;
    }
}

static uint8_t read_register(struct ne2000 *ne, unsigned reg)
{
    if (reg == NE2000_CR)
        return ne->cr;
    switch (ne->cr >> 6) {
    case 0: return read_page_0(ne, reg);
    case 1: return read_page_1(ne, reg);
    case 2: return read_page_2(ne, reg);
    default: return 0; /* the RTL8029's configuration: nothing special */
    }
}

static void set_low(uint16_t *value, uint8_t byte)
{
    *value = (uint16_t)((*value & 0xff00) | byte);
}

static void set_high(uint16_t *value, uint8_t byte)
{
    *value = (uint16_t)((*value & 0xff) | byte << 8);
}

static void write_page_0(struct ne2000 *ne, unsigned reg, uint8_t value)
{
    switch (reg) {
    case NE2000_PSTART: ne->pstart = value; break;
    case NE2000_PSTOP: ne->pstop = value; break;
    case NE2000_BNRY: ne->bnry = value; break;
    case NE2000_TPSR: ne->tpsr = value; break;
    case NE2000_TBCR0: set_low(&ne->tbcr, value); break;
    case NE2000_TBCR1: set_high(&ne->tbcr, value); break;
    case NE2000_ISR: ne->isr &= (uint8_t)~(value & ~NE2000_ISR_RST); break;
    case NE2000_RSAR0: set_low(&ne->rsar, value); break;
    case NE2000_RSAR1: set_high(&ne->rsar, value); break;
    case NE2000_RBCR0: set_low(&ne->rbcr, value); break;
    case NE2000_RBCR1: set_high(&ne->rbcr, value); break;
    case NE2000_RCR: ne->rcr = value & 0x3f; break;
    case NE2000_TCR: ne->tcr = value & 0x1f; break;
    case NE2000_DCR: ne->dcr = value & 0x7f; break;
    case NE2000_IMR: ne->imr = value & 0x7f; break;
    }
}

static void write_page_1(struct ne2000 *ne, unsigned reg, uint8_t value)
{
    if (reg == NE2000_CURR)
        ne->curr = value;
    else if (reg >= NE2000_MAR0)
        ne->mar[reg - NE2000_MAR0] = value;
    else
        ne->par[reg - NE2000_PAR0] = value;
}

/* Starts, stops, sends, and sets remote DMA going; the command stays readable. */
static void command(struct ne2000 *ne, uint8_t value, uint64_t now)
{
    bool sending = ne->cr & NE2000_CR_TXP;

    if (value & NE2000_CR_STP) {
        ne->isr |= NE2000_ISR_RST;
        sending = false;
        ne->sent_at = MACHINE_NEVER;
    } else if (value & NE2000_CR_STA) {
        ne->isr &= (uint8_t)~NE2000_ISR_RST;
    }
    ne->cr = (uint8_t)((value & ~NE2000_CR_TXP) | (sending ? NE2000_CR_TXP : 0));
    if ((value & NE2000_CR_RD) == NE2000_CR_RD_SEND) {
        uint16_t header = (uint16_t)(ne->bnry * NE2000_PAGE_BYTES);
        ne->rsar = header;
        ne->rbcr = (uint16_t)(load(ne, (uint16_t)(header + 2)) | load(ne, (uint16_t)(header + 3)) << 8);
    }
    if ((ne->cr & NE2000_CR_RD) && !(ne->cr & NE2000_CR_RD_ABORT) && !ne->rbcr)
        ne->isr |= NE2000_ISR_RDC;
    if (value & NE2000_CR_TXP && value & NE2000_CR_STA && !stopped(ne) && !sending) {
        ne->cr |= NE2000_CR_TXP;
        ne->sent_at = now + (uint64_t)(ne->tbcr + OVERHEAD) * NS_PER_BYTE;
    }
}

uint32_t ne2000_read(struct ne2000 *ne, unsigned reg, unsigned size)
{
    if (reg < NE2000_DATA)
        return read_register(ne, reg);
    if (reg < NE2000_RESET)
        return read_data(ne, size);
    stop(ne); /* the reset port: memory and the other registers stay */
    return 0;
}

void ne2000_write(struct ne2000 *ne, unsigned reg, uint32_t value, unsigned size, uint64_t now)
{
    if (reg == NE2000_CR)
        command(ne, (uint8_t)value, now);
    else if (reg < NE2000_DATA && ne->cr >> 6 == 0)
        write_page_0(ne, reg, (uint8_t)value);
    else if (reg < NE2000_DATA && ne->cr >> 6 == 1)
        write_page_1(ne, reg, (uint8_t)value);
    else if (reg >= NE2000_DATA && reg < NE2000_RESET)
        write_data(ne, value, size);
}

/* ---- frames ---- */

static bool accepts(const struct ne2000 *ne, const uint8_t *frame)
{
    static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

    if (ne->rcr & NE2000_RCR_PRO)
        return true;
    if (!memcmp(frame, broadcast, sizeof broadcast))
        return ne->rcr & NE2000_RCR_AB;
    if (frame[0] & 1)
        return ne->rcr & NE2000_RCR_AM;
    return !memcmp(frame, ne->par, sizeof ne->par);
}

/* Into the ring, behind a header; without room for it the frame is lost and OVW says so (DP8390D, "Buffer ring overflow"). */
static void receive(struct ne2000 *ne, const struct ne2000_frame *frame)
{
    unsigned size = frame->size < NE2000_FRAME_MINIMUM ? NE2000_FRAME_MINIMUM : frame->size;
    unsigned count = size + HEADER_BYTES + CRC_BYTES, pages = (count + NE2000_PAGE_BYTES - 1) / NE2000_PAGE_BYTES;
    int ring = ne->pstop - ne->pstart, room = ne->bnry - ne->curr;

    if (stopped(ne) || ring <= 0 || ne->rcr & NE2000_RCR_MON || !accepts(ne, frame->bytes))
        return;
    if (ne->curr < ne->pstart || ne->curr >= ne->pstop)
        return; /* a page outside the ring */
    if (room <= 0)
        room += ring;
    if ((int)pages >= room) {
        ne->isr |= NE2000_ISR_OVW;
        ne->rsr |= NE2000_RSR_DIS;
        return;
    }
    unsigned after = ne->curr + pages;
    if (after >= ne->pstop)
        after -= (unsigned)ring;
    ne->rsr = NE2000_RSR_PRX | (frame->bytes[0] & 1 ? NE2000_RSR_PHY : 0);
    unsigned told = size + CRC_BYTES;
    const uint8_t header[HEADER_BYTES] = {ne->rsr, (uint8_t)after, (uint8_t)told, (uint8_t)(told >> 8)};
    uint16_t address = (uint16_t)(ne->curr * NE2000_PAGE_BYTES);
    for (unsigned i = 0; i < count; i++, address = next(ne, address)) {
        unsigned at = i - HEADER_BYTES;
        store(ne, address, i < HEADER_BYTES ? header[i] : at < frame->size ? frame->bytes[at] : 0);
    }
    ne->curr = (uint8_t)after;
    ne->isr |= NE2000_ISR_PRX;
}

void ne2000_arrive(struct ne2000 *ne, const uint8_t *frame, unsigned size, uint64_t time)
{
    if (ne->waiting == NE2000_INCOMING || size > NE2000_FRAME_MAXIMUM || size < 14)
        return;
    struct ne2000_frame *last = &ne->incoming[(ne->first + ne->waiting++) % NE2000_INCOMING];
    last->time = time;
    last->size = (uint16_t)size;
    memcpy(last->bytes, frame, size);
}

static unsigned send(struct ne2000 *ne, uint8_t *frame)
{
    unsigned size = ne->tbcr < NE2000_FRAME_MAXIMUM ? ne->tbcr : NE2000_FRAME_MAXIMUM;

    for (unsigned i = 0; i < size; i++)
        frame[i] = load(ne, (uint16_t)(ne->tpsr * NE2000_PAGE_BYTES + i));
    ne->sent_at = MACHINE_NEVER;
    ne->cr &= (uint8_t)~NE2000_CR_TXP;
    ne->tsr = NE2000_TSR_PTX;
    ne->isr |= NE2000_ISR_PTX;
    return ne->tcr & NE2000_TCR_LB ? 0 : size;
}

unsigned ne2000_advance(struct ne2000 *ne, uint64_t now, uint8_t *frame)
{
    while (ne->waiting && ne->incoming[ne->first].time <= now) {
        receive(ne, &ne->incoming[ne->first]);
        ne->first = (ne->first + 1) % NE2000_INCOMING;
        ne->waiting--;
    }
    return ne->sent_at <= now ? send(ne, frame) : 0;
}

uint64_t ne2000_deadline(const struct ne2000 *ne)
{
    return ne->waiting ? sooner(ne->sent_at, ne->incoming[ne->first].time) : ne->sent_at;
}

bool ne2000_interrupt(const struct ne2000 *ne)
{
    return ne->isr & ne->imr;
}
