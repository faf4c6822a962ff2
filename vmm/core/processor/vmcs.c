/* The table of VMCS components. */
#include "vmcs.h"

#include <string.h>

#define OFFSET(member) offsetof(struct vmcs, member)
#define SEGMENT(n, member) (offsetof(struct vmcs, guest_segment) + (n) * sizeof(struct vcpu_segment) + \
                            offsetof(struct vcpu_segment, member))

const struct vmcs_field vmcs_fields[] = {
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
#define FIELDS (sizeof vmcs_fields / sizeof vmcs_fields[0])

/* The segments repeat VMCS_SEGMENTS in the order of the table above. */
enum {
#define X(encoding, bits, member, group) NUMBER_##encoding,
    VMCS_FIELDS(X)
#undef X
#define X(n, name) NUMBER_SELECTOR_##n, NUMBER_LIMIT_##n, NUMBER_ACCESS_##n, NUMBER_BASE_##n,
    VMCS_SEGMENTS(X)
#undef X
};
const uint8_t vmcs_slots[VMCS_SLOTS] = {
#define X(encoding, bits, member, group) [VMCS_SLOT(encoding)] = NUMBER_##encoding + 1,
    VMCS_FIELDS(X)
#undef X
#define X(n, name)                                                                                                     \
    [VMCS_SLOT(0x0800 + 2 * n)] = NUMBER_SELECTOR_##n + 1, [VMCS_SLOT(0x4800 + 2 * n)] = NUMBER_LIMIT_##n + 1,                   \
    [VMCS_SLOT(0x4814 + 2 * n)] = NUMBER_ACCESS_##n + 1, [VMCS_SLOT(0x6806 + 2 * n)] = NUMBER_BASE_##n + 1,
    VMCS_SEGMENTS(X)
#undef X
};
_Static_assert(FIELDS < 255, "a slot is a byte");

unsigned vmcs_highest_index(void)
{
    unsigned highest = 0;
    for (unsigned i = 0; i < FIELDS; i++)
        if ((vmcs_fields[i].encoding >> 1 & 0x1ff) > highest)
            highest = vmcs_fields[i].encoding >> 1 & 0x1ff;
    return highest;
}

const char *vmcs_field_name(uint32_t encoding)
{
    const struct vmcs_field *field = vmcs_field(encoding);
    return field ? field->name : NULL;
}

uint32_t vmcs_field_encoding(unsigned n)
{
    return n < FIELDS ? vmcs_fields[n].encoding : VMCS_NO_FIELD;
}
