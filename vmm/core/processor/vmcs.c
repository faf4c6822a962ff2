/* The table of VMCS components. */
#include "vmcs.h"

#include <string.h>

#define OFFSET(member) offsetof(struct vmcs, member)
#define SEGMENT(n, member) (offsetof(struct vmcs, guest_segment) + (n) * sizeof(struct vcpu_segment) + \
                            offsetof(struct vcpu_segment, member))

static const struct vmcs_field fields[] = {
#define X(encoding, bits, member, group) {encoding, OFFSET(member), (bits) / 8, group, #member},
    VMCS_FIELDS(X)
#undef X
#define X(n, name)                                                                                                     \
    {0x0800 + 2 * n, SEGMENT(n, selector), 2, VMCS_GUEST, "guest_" #name "_selector"},                                 \
    {0x4800 + 2 * n, SEGMENT(n, limit), 4, VMCS_GUEST, "guest_" #name "_limit"},                                       \
    {0x4814 + 2 * n, SEGMENT(n, access), 4, VMCS_GUEST, "guest_" #name "_access_rights"},                              \
    {0x6806 + 2 * n, SEGMENT(n, base), 8, VMCS_GUEST, "guest_" #name "_base"},
        VMCS_SEGMENTS(X)
#undef X
};
#define FIELDS (sizeof fields / sizeof fields[0])

/* Every encoding that exists has its width (14:13), type (11:10) and index (9:1) within these ten bits. */
#define SLOT(encoding) (((encoding) >> 13 & 3) << 8 | ((encoding) >> 10 & 3) << 6 | ((encoding) >> 1 & 63))
#define SLOTS 1024
#define ENCODING_RESERVED 0xffff9381u /* and index bits 9:7, access type */

/* One more than the index of the field. The segments repeat VMCS_SEGMENTS in the order of the table above. */
enum {
#define X(encoding, bits, member, group) NUMBER_##encoding,
    VMCS_FIELDS(X)
#undef X
#define X(n, name) NUMBER_SELECTOR_##n, NUMBER_LIMIT_##n, NUMBER_ACCESS_##n, NUMBER_BASE_##n,
    VMCS_SEGMENTS(X)
#undef X
};
static const uint8_t slots[SLOTS] = {
#define X(encoding, bits, member, group) [SLOT(encoding)] = NUMBER_##encoding + 1,
    VMCS_FIELDS(X)
#undef X
#define X(n, name)                                                                                                     \
    [SLOT(0x0800 + 2 * n)] = NUMBER_SELECTOR_##n + 1, [SLOT(0x4800 + 2 * n)] = NUMBER_LIMIT_##n + 1,                   \
    [SLOT(0x4814 + 2 * n)] = NUMBER_ACCESS_##n + 1, [SLOT(0x6806 + 2 * n)] = NUMBER_BASE_##n + 1,
    VMCS_SEGMENTS(X)
#undef X
};
_Static_assert(FIELDS < 255, "a slot is a byte");

const struct vmcs_field *vmcs_field(uint32_t encoding)
{
    if (encoding & ENCODING_RESERVED)
        return NULL;
    unsigned n = slots[SLOT(encoding)];
    return n ? &fields[n - 1] : NULL;
}

unsigned vmcs_highest_index(void)
{
    unsigned highest = 0;
    for (unsigned i = 0; i < FIELDS; i++)
        if ((fields[i].encoding >> 1 & 0x1ff) > highest)
            highest = fields[i].encoding >> 1 & 0x1ff;
    return highest;
}

uint64_t vmcs_get(const struct vmcs *vmcs, const struct vmcs_field *field)
{
    const char *at = (const char *)vmcs + field->offset;
    switch (field->bytes) {
    case 2:
        return *(const uint16_t *)at;
    case 4:
        return *(const uint32_t *)at;
    default:
        return *(const uint64_t *)at;
    }
}

void vmcs_set(struct vmcs *vmcs, const struct vmcs_field *field, uint64_t value)
{
    char *at = (char *)vmcs + field->offset;
    switch (field->bytes) {
    case 2:
        *(uint16_t *)at = value;
        break;
    case 4:
        *(uint32_t *)at = value;
        break;
    default:
        *(uint64_t *)at = value;
    }
}

const char *vmcs_field_name(uint32_t encoding)
{
    const struct vmcs_field *field = vmcs_field(encoding);
    return field ? field->name : NULL;
}

uint32_t vmcs_field_encoding(unsigned n)
{
    return n < FIELDS ? fields[n].encoding : VMCS_NO_FIELD;
}
