/* The 82077 under any program, twice: one is told the time in one step, the other at every deadline and in between.
 * Both are the same at every access; requests lie within the medium; nothing waits in the past.
 *
 * Input: accesses of two bytes: what (and which register), value. */
#include <string.h>

#include "chips.h"
#include "chipset/fdc.h"

static const uint64_t media[] = {160 << 10, 360 << 10, 1200 << 10, 1440 << 10, 2880 << 10};

/* The board's part: the medium and the DMA channel answer as their number of calls says. */
static void serve(struct fdc *fdc, uint64_t *calls, uint8_t mood)
{
    unsigned turn = (unsigned)(*calls)++;
    bool odd = (mood >> turn % 8) & 1;
    DEMAND(fdc->request_bytes <= sizeof fdc->buffer, "%u bytes", fdc->request_bytes);
    if (fdc->request == FDC_MEDIUM_READ || fdc->request == FDC_MEDIUM_WRITE) {
        const struct floppy_drive *drive = &fdc->drive[fdc->request_drive % FDC_DRIVES];
        uint64_t bytes = (uint64_t)drive->cylinders * drive->heads * drive->sectors * FLOPPY_SECTOR;
        DEMAND(fdc->request_drive < FDC_DRIVES && drive->medium, "drive %u", fdc->request_drive);
        DEMAND(fdc->request_offset + FLOPPY_SECTOR <= bytes, "offset %llu", (unsigned long long)fdc->request_offset);
        DEMAND(fdc->request == FDC_MEDIUM_READ || !drive->write_protected, "a protected medium is written");
        if (fdc->request == FDC_MEDIUM_READ)
            memset(fdc->buffer, (int)turn, sizeof fdc->buffer);
        fdc_medium_done(fdc, !odd || mood < 128);
    } else {
        uint32_t moved = odd ? fdc->request_bytes / 2 : fdc->request_bytes;
        if (fdc->request == FDC_DMA_READ)
            memset(fdc->buffer, (int)turn, moved);
        fdc_dma_done(fdc, moved, odd && mood & 64);
    }
}

static void pass_until(struct fdc *fdc, uint64_t now, uint64_t *calls, uint8_t mood)
{
    fdc_advance(fdc, now);
    for (unsigned i = 0; fdc->request; i++) {
        DEMAND(i < 100000, "requests without end");
        serve(fdc, calls, mood);
        fdc_advance(fdc, now);
    }
    DEMAND(fdc_deadline(fdc) > now, "a deadline in the past");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    struct fdc coarse, fine;
    uint64_t now = 0, calls[2] = {0, 0};
    uint8_t mood = next_byte(&input);
    fdc_reset(&coarse);
    floppy_drive_connect(&coarse.drive[0], FLOPPY_DRIVE_1440K);
    floppy_drive_insert(&coarse.drive[0], 1440 << 10, mood & 1);
    fine = coarse;
    while (input.left) {
        unsigned what = next_byte(&input), value = next_byte(&input), reg = what & 7;
        uint64_t pause = 0;
        switch (what >> 3 & 7) {
        case 0 ... 2:
            fdc_write(&coarse, reg, (uint8_t)value, now);
            fdc_write(&fine, reg, (uint8_t)value, now);
            break;
        case 3:
            DEMAND(fdc_read(&coarse, reg, now) == fdc_read(&fine, reg, now), "register %u", reg);
            break;
        case 4:
            pause = value * 100u;
            break;
        case 5:
            pause = value * 50000u;
            break;
        case 6:
            if (fdc_deadline(&coarse) != UINT64_MAX && fdc_deadline(&coarse) > now)
                pause = fdc_deadline(&coarse) - now;
            break;
        default:
            if (reg & 1) {
                floppy_drive_connect(&coarse.drive[value & 1], value >> 1 & 7);
                floppy_drive_insert(&coarse.drive[value & 1], media[value % 5], reg & 2);
                fdc_medium_changed(&coarse, now);
            } else {
                floppy_drive_eject(&coarse.drive[value & 1]);
            }
            fine = coarse;
            calls[1] = calls[0];
        }
        uint64_t until = now + pause, due;
        while ((due = fdc_deadline(&fine)) < until) {
            now = due > now ? due : now;
            pass_until(&fine, now, &calls[1], mood);
            now += (until - now) / 2 ? 1 : 0;
            pass_until(&fine, now, &calls[1], mood);
        }
        now = until;
        pass_until(&fine, now, &calls[1], mood);
        pass_until(&coarse, now, &calls[0], mood);
        DEMAND(fields_hash(fdc_fields, &coarse, 1) == fields_hash(fdc_fields, &fine, 1), "at %llu",
               (unsigned long long)now);
    }
    return 0;
}
