/* The decoder on any bytes in any mode: it reads no further than its limit, and what it makes has a handler and a
 * length.
 *
 * Input: mode bits (2 bytes), the limit (1 byte: 1 to 15), the bytes, which lie at the end of a heap block. */
#include <string.h>

#include "fuzz.h"
#include "processor/decode.h"

static struct processor cpu;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    const struct machine_config config = read_configuration();
    cpu_set_model(&cpu, &config);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 4)
        return -1;
    static const uint8_t widths[4] = {MODE_CODE16, MODE_CODE32, MODE_CODE64, MODE_CODE16};
    uint32_t mode = ((uint32_t)data[0] << 2 | (uint32_t)data[1] << 10) & (MODE_NO_AVX * 2 - 1) & ~MODE_CODE;
    mode |= widths[data[0] & 3];
    if ((mode & MODE_CODE) == MODE_CODE64)
        mode &= ~(MODE_STACK32 | MODE_FLAT | MODE_UNPROTECTED);
    unsigned limit = data[2] % 15 + 1;
    if (limit > size - 3)
        limit = size - 3;
    uint8_t *bytes = malloc(limit);
    memcpy(bytes, data + 3, limit);
    struct op op = {.offset = 0};
    bool ends = false;
    if (decode_instruction(&cpu, mode, bytes, limit, &op, &ends)) {
        DEMAND(op.length >= 1 && op.length <= 15, "length %u", op.length);
        DEMAND(op.length <= limit || limit == 15, "length %u of %u bytes", op.length, limit);
        DEMAND(op.fn, "no handler for %02x", bytes[0]);
    } else {
        DEMAND(limit < 15, "15 bytes are enough to tell");
    }
    free(bytes);
    return 0;
}
