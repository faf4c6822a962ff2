/* Bytes on their way from the guest to whoever reads them, each with the instruction count and the guest time at which
 * it left. Not guest-visible, so not state.
 *
 * The queue holds OUTPUT_QUEUE bytes. When nobody reads, the newest stay and the oldest are lost: what a guest printed
 * last is what tells why it stopped. */
#ifndef BRINGUP_OUTPUT_H
#define BRINGUP_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

#define OUTPUT_QUEUE 65536

struct output_byte {
    uint64_t count, time;
    uint8_t value;
};

struct output {
    uint32_t first, used;
    struct output_byte bytes[OUTPUT_QUEUE];
};

void output_push(struct output *output, uint8_t value, uint64_t count, uint64_t time);
/* Takes up to `size` bytes, the oldest first; `counts` may be NULL. */
size_t output_take(struct output *output, uint8_t *data, uint64_t *counts, size_t size);
struct snapshot;
void output_snapshot(struct output *output, struct snapshot *snapshot);
/* Guest time of the oldest byte, or MACHINE_NEVER. */
uint64_t output_oldest(const struct output *output);

#endif
