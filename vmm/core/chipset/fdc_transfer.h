/* The 82077's commands that move data or read IDs, between fdc.c and fdc_transfer.c. */
#ifndef BRINGUP_FDC_TRANSFER_H
#define BRINGUP_FDC_TRANSFER_H

#include "fdc.h"

/* The command is whole. */
void fdc_transfer_begin(struct fdc *fdc, uint64_t now);
/* The phase that ends at `event_at` has ended. */
void fdc_transfer_event(struct fdc *fdc, uint64_t at);
/* Does it move data from the host to the medium? */
bool fdc_transfer_writes(const struct fdc *fdc);
/* Bytes of the execution phase in non-DMA mode. */
uint8_t fdc_transfer_read(struct fdc *fdc, uint64_t now);
void fdc_transfer_write(struct fdc *fdc, uint8_t value, uint64_t now);
/* The host is asked for its next bytes. */
void fdc_transfer_ask(struct fdc *fdc);

/* Real nanoseconds, as programmed for a data rate of 1 Mbps, at the present one. */
uint64_t fdc_scaled(const struct fdc *fdc, uint64_t nanoseconds);
/* The time of so many steps. */
uint64_t fdc_steps_take(const struct fdc *fdc, unsigned steps);
/* A drive's heads begin to move; PCN is where they will be. */
void fdc_start_seek(struct fdc *fdc, unsigned unit, int steps, uint8_t pcn, uint64_t now);
/* What is on the cable at this number, or NULL. */
struct floppy_drive *fdc_drive(struct fdc *fdc, unsigned unit);
/* Results for the host, with an interrupt. */
void fdc_give_results(struct fdc *fdc, unsigned size);

#endif
