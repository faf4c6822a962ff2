/* A chip declares its state once, as a list; the structure and the table that inspection, snapshot, comparison and
 * hashing read are both made from it.
 *
 *     #define PIT_STATE(VALUE, PART, owner)         \
 *         PART(owner, pit_channel, channel, [3])    \
 *         VALUE(owner, uint64_t, edge, )
 *     STATE_STRUCT(pit, PIT_STATE);                 in the header: struct pit, pit_fields[]
 *     STATE_TABLE(pit, PIT_STATE);                  in the source: pit_fields[]
 *
 * VALUE is an integer or bool, PART a structure declared the same way; both take a dimension, empty for a single one.
 * State holds no pointer, so that copying it is a snapshot. */
#ifndef BRINGUP_FIELDS_H
#define BRINGUP_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct field {
    const char *name;           /* NULL ends the table */
    uint32_t offset;            /* bytes from the start of the structure */
    uint32_t size, count;       /* bytes of one element; elements */
    const struct field *fields; /* of an element that is a structure, else NULL */
};

/* Folds every value of `state` into `hash`, padding left out. */
uint64_t fields_hash(const struct field *fields, const void *state, uint64_t hash);

#define STATE_MEMBER(owner, type, name, dimension) type name dimension;
#define STATE_MEMBER_PART(owner, part, name, dimension) struct part name dimension;
#define STATE_STRUCT(owner, LIST)                                                                                      \
    struct owner {                                                                                                     \
        LIST(STATE_MEMBER, STATE_MEMBER_PART, owner)                                                                   \
    };                                                                                                                 \
    extern const struct field owner##_fields[]

#define STATE_ROW_OF(owner, type, name, inner)                                                                         \
    {#name, offsetof(struct owner, name), sizeof(type), sizeof(((struct owner *)0)->name) / sizeof(type), inner},
#define STATE_ROW(owner, type, name, dimension) STATE_ROW_OF(owner, type, name, NULL)
#define STATE_ROW_PART(owner, part, name, dimension) STATE_ROW_OF(owner, struct part, name, part##_fields)
#define STATE_TABLE(owner, LIST)                                                                                       \
    const struct field owner##_fields[] = {LIST(STATE_ROW, STATE_ROW_PART, owner){NULL, 0, 0, 0, NULL}}

#endif
