/* The 8237As under any program: a piece lies within its channel's window, and only a channel that may move is asked.
 *
 * Input: accesses of three bytes: what (read, write, page, a device that moves), register, value. */
#include "chips.h"
#include "chipset/dma.h"

static void check_channel(const struct dma *dma, unsigned channel)
{
    struct dma_piece piece;
    if (!dma_next(dma, channel, &piece))
        return;
    unsigned window = channel < DMA_CASCADE ? 16 : 17;
    DEMAND(piece.bytes >= 1 && piece.bytes <= 1u << window, "%u bytes", piece.bytes);
    DEMAND(piece.gpa >> window == (piece.gpa + piece.bytes - 1) >> window, "channel %u leaves its page", channel);
    DEMAND(piece.gpa + piece.bytes <= 1u << 24, "beyond 24 address lines");
    DEMAND(piece.transfer < DMA_ILLEGAL, "transfer %u", piece.transfer);
    DEMAND(!(dma->unit[channel / 4].mask >> channel % 4 & 1), "channel %u is masked", channel);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct dma dma;
    struct dma_piece piece;
    dma_reset(&dma);
    while (input.left) {
        unsigned what = next_byte(&input), reg = next_byte(&input), value = next_byte(&input);
        switch (what % 8) {
        case 0:
            dma_read(&dma, what >> 7, reg);
            break;
        case 1 ... 4:
            dma_write(&dma, what >> 7, reg, (uint8_t)value);
            break;
        case 5:
            dma_write_page(&dma, reg, (uint8_t)value);
            DEMAND(dma_read_page(&dma, reg) == value, "page register %u", reg);
            break;
        default:
            if (dma_next(&dma, reg % DMA_CHANNELS, &piece))
                dma_moved(&dma, reg % DMA_CHANNELS, value % 2 ? piece.bytes : piece.bytes * value / 256);
        }
        for (unsigned channel = 0; channel < DMA_CHANNELS; channel++)
            check_channel(&dma, channel);
    }
    return 0;
}
