/* Instead of libFuzzer: the inputs that it is given, and so many that a seeded generator makes of them.
 *
 *     NAME RUNS FILE... */
#include <string.h>

#include "demand.h"

#include <stdint.h>

#define MOST 546 /* bytes of an input */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t state = 1;

static unsigned below(unsigned limit) /* splitmix64 */
{
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (unsigned)((z ^ z >> 31) % limit);
}

static size_t read_input(const char *name, uint8_t *data)
{
    FILE *file = fopen(name, "rb");
    DEMAND(file, "%s", name);
    size_t size = fread(data, 1, MOST, file);
    fclose(file);
    return size;
}

/* Appends, overwrites, flips, removes or repeats some of it. */
static size_t mutate(uint8_t *data, size_t size)
{
    static const uint8_t edges[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};
    size_t at = size ? below((unsigned)size) : 0, piece = 1 + below(8);

    switch (below(6)) {
    case 0:
    case 1:
        for (; piece && size < MOST; piece--)
            data[size++] = (uint8_t)below(256);
        return size;
    case 2:
        for (; piece && at < size; piece--)
            data[at++] = (uint8_t)below(256);
        return size;
    case 3:
        if (size)
            data[at] = below(2) ? edges[below(sizeof edges)] : (uint8_t)(data[at] ^ 1 << below(8));
        return size;
    case 4:
        piece = piece < size - at ? piece : size - at;
        memmove(data + at, data + at + piece, size - at - piece);
        return size - piece;
    default:
        piece = size - at < MOST - size ? size - at : MOST - size;
        memmove(data + size, data + at, piece);
        return size + piece;
    }
}

int main(int argc, char **argv)
{
    unsigned runs = argc > 1 ? (unsigned)atoi(argv[1]) : 0;
    uint8_t data[MOST];

    for (int i = 2; i < argc; i++)
        LLVMFuzzerTestOneInput(data, read_input(argv[i], data));
    for (unsigned run = 0; run < runs; run++) {
        size_t size = argc > 2 ? read_input(argv[2 + below((unsigned)argc - 2)], data) : 0;
        for (unsigned i = 1 + below(16); i; i--)
            size = mutate(data, size);
        uint8_t *block = malloc(size ? size : 1); /* what goes beyond it is found */
        DEMAND(block, "memory");
        memcpy(block, data, size);
        LLVMFuzzerTestOneInput(block, size);
        free(block);
    }
    return 0;
}
