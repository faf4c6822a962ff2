#include "snapshot.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u
#define NO_PAGE UINT64_MAX

static bool grow(struct snapshot *snapshot, size_t size)
{
    size_t wanted = snapshot->size + size, capacity = snapshot->capacity ? snapshot->capacity : 1 << 20;
    if (wanted <= snapshot->capacity)
        return true;
    while (capacity < wanted)
        capacity *= 2;
    uint8_t *data = realloc(snapshot->data, capacity);
    if (!data)
        return false;
    snapshot->data = data;
    snapshot->capacity = capacity;
    return true;
}

void snapshot_bytes(struct snapshot *snapshot, void *value, size_t size)
{
    if (snapshot->failed)
        return;
    if (snapshot->loading) {
        snapshot->failed = snapshot->size - snapshot->at < size;
        if (snapshot->failed)
            return;
        memcpy(value, snapshot->data + snapshot->at, size);
        snapshot->at += size;
        return;
    }
    snapshot->failed = !grow(snapshot, size);
    if (snapshot->failed)
        return;
    memcpy(snapshot->data + snapshot->size, value, size);
    snapshot->size += size;
}

static bool is_zero(const uint8_t *page)
{
    static const uint8_t zero[PAGE];
    return !memcmp(page, zero, PAGE);
}

static void load_pages(struct snapshot *snapshot, uint8_t *memory, uint64_t size)
{
    uint64_t page = 0;
    madvise(memory, size, MADV_DONTNEED); /* private and anonymous: zeros */
    for (;;) {
        SNAPSHOT(snapshot, page);
        if (snapshot->failed || page == NO_PAGE)
            return;
        if (page >= size / PAGE) {
            snapshot->failed = true;
            return;
        }
        snapshot_bytes(snapshot, memory + page * PAGE, PAGE);
    }
}

void snapshot_pages(struct snapshot *snapshot, uint8_t *memory, uint64_t size)
{
    if (snapshot->loading) {
        load_pages(snapshot, memory, size);
        return;
    }
    uint64_t end = NO_PAGE;
    for (uint64_t page = 0; page < size / PAGE; page++) {
        if (is_zero(memory + page * PAGE))
            continue;
        SNAPSHOT(snapshot, page);
        snapshot_bytes(snapshot, memory + page * PAGE, PAGE);
    }
    SNAPSHOT(snapshot, end);
}
