#include "fields.h"

#define FNV_PRIME 0x100000001b3ULL

uint64_t fields_hash(const struct field *fields, const void *state, uint64_t hash)
{
    for (const struct field *field = fields; field->name; field++) {
        const uint8_t *bytes = (const uint8_t *)state + field->offset;
        if (field->fields) {
            for (uint32_t i = 0; i < field->count; i++)
                hash = fields_hash(field->fields, bytes + (size_t)i * field->size, hash);
        } else {
            for (size_t i = 0; i < (size_t)field->size * field->count; i++)
                hash = (hash ^ bytes[i]) * FNV_PRIME;
        }
    }
    return hash;
}
