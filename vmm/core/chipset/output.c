#include "output.h"

#include "snapshot.h"

#include "../machine.h"

void output_push(struct output *output, uint8_t value, uint64_t count, uint64_t time)
{
    if (output->used == OUTPUT_QUEUE) {
        output->first = (output->first + 1) % OUTPUT_QUEUE;
        output->used--;
    }
    output->bytes[(output->first + output->used++) % OUTPUT_QUEUE] = (struct output_byte){count, time, value};
}

size_t output_take(struct output *output, uint8_t *data, uint64_t *counts, size_t size)
{
    size_t taken = 0;

    for (; taken < size && output->used; taken++) {
        const struct output_byte *byte = &output->bytes[output->first];
        data[taken] = byte->value;
        if (counts)
            counts[taken] = byte->count;
        output->first = (output->first + 1) % OUTPUT_QUEUE;
        output->used--;
    }
    if (!output->used)
        output->first = 0; /* a queue that is read in time stays in a few cache lines */
    return taken;
}

uint64_t output_oldest(const struct output *output)
{
    return output->used ? output->bytes[output->first].time : MACHINE_NEVER;
}

void output_snapshot(struct output *output, struct snapshot *snapshot)
{
    SNAPSHOT(snapshot, output->first);
    SNAPSHOT(snapshot, output->used);
    if (output->first >= OUTPUT_QUEUE || output->used > OUTPUT_QUEUE) {
        output->first = output->used = 0;
        snapshot->failed = true;
    }
    for (uint32_t i = 0; i < output->used; i++)
        SNAPSHOT(snapshot, output->bytes[(output->first + i) % OUTPUT_QUEUE]);
}
