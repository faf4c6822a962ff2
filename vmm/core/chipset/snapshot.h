/* A machine's state on its way into a block of memory, or out of one. Each part of the machine names its state once, by
 * one function for both directions; pointers are never part of it. */
#ifndef BRINGUP_SNAPSHOT_H
#define BRINGUP_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct snapshot {
    uint8_t *data;
    size_t size, capacity; /* saving: bytes so far, bytes of memory */
    size_t at;             /* loading: the next byte */
    bool loading;
    bool failed; /* no memory for it, or it is too short: nothing more is done */
};

void snapshot_bytes(struct snapshot *snapshot, void *value, size_t size);
/* Whole pages, of which most are zero. */
void snapshot_pages(struct snapshot *snapshot, uint8_t *memory, uint64_t size);

#define SNAPSHOT(snapshot, lvalue) snapshot_bytes(snapshot, &(lvalue), sizeof(lvalue))

#endif
