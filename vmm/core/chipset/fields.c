#include "fields.h"

#include <string.h>

#define FNV_PRIME 0x100000001b3ULL

/* Long arrays (display memory) go by words; the rotation brings a word's high bits back to where they spread. */
static uint64_t hash_bytes(const uint8_t *bytes, size_t size, uint64_t hash)
{
    for (; size >= sizeof(uint64_t); bytes += sizeof(uint64_t), size -= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        hash = (hash ^ word) * FNV_PRIME;
        hash = hash << 27 | hash >> 37;
    }
    for (; size; bytes++, size--)
        hash = (hash ^ *bytes) * FNV_PRIME;
    return hash;
}

uint64_t fields_hash(const struct field *fields, const void *state, uint64_t hash)
{
    for (const struct field *field = fields; field->name; field++) {
        const uint8_t *bytes = (const uint8_t *)state + field->offset;
        if (field->fields) {
            for (uint32_t i = 0; i < field->count; i++)
                hash = fields_hash(field->fields, bytes + (size_t)i * field->size, hash);
        } else {
            hash = hash_bytes(bytes, (size_t)field->size * field->count, hash);
        }
    }
    return hash;
}
