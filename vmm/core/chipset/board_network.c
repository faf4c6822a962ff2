/* The network card on the board: where its BAR puts it, its interrupt, and the frames that come and go. */
#include "board_state.h"

#define LATENCY 100000 /* ns that an answer takes on the wire */

/* On a board without firmware, where that would have put it. */
#define FIRMWARE_NETWORK 0xc100
#define FIRMWARE_IRQ 11

static void network_changed(struct board *board)
{
    struct ne2000 *ne = &board->chips.ne2000;

    pci_interrupt(board, PCI_NETWORK, ne2000_interrupt(ne));
    rearm(board, TIMER_NETWORK, ne2000_deadline(ne));
}

void advance_network(struct board *board, uint64_t now)
{
    uint8_t frame[NE2000_FRAME_MAXIMUM];
    unsigned size = ne2000_advance(&board->chips.ne2000, now, frame);

    board->network_now = now;
    if (size)
        board->network(board->network_context, frame, size);
    network_changed(board);
}

void board_network_arrive(struct board *board, const uint8_t *frame, unsigned size, uint64_t now)
{
    if (!board->network)
        return;
    ne2000_arrive(&board->chips.ne2000, frame, size, (now > board->network_now ? now : board->network_now) + LATENCY);
    network_changed(board);
}

void reset_network(struct board *board)
{
    struct pci *pci = &board->chips.pci;

    ne2000_reset(&board->chips.ne2000, board->mac);
    if (!board->network)
        return;
    if (!board->firmware) {
        pci_place(pci, PCI_NETWORK, FIRMWARE_NETWORK, FIRMWARE_IRQ);
        pic_write_elcr(&board->chips.pic, FIRMWARE_IRQ / 8, 1 << FIRMWARE_IRQ % 8);
        pci_changed(board);
    }
    network_changed(board);
}

uint32_t read_network(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)now;
    uint32_t value = ne2000_read(&board->chips.ne2000, unit + reg, size);
    network_changed(board);
    return value;
}

void write_network(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size, struct moment at)
{
    ne2000_write(&board->chips.ne2000, unit + reg, value, size, at.now);
    network_changed(board);
}
