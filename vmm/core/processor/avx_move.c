/* The VEX vector instructions that only move: the forms of avx_rows.h that need no stub. */
#include "avx.h"

/* ---- moves ---- */

static __attribute__((noinline)) void move(struct processor *cpu, const struct op *op)
{
    const struct avx_row *row = IMM_ROW(op);
    unsigned wide = IMM_WIDE(op), size = row->size[wide], at;
    bool memory = op->form & FORM_MEMORY;
    struct vector v = {{{0}, {0}}}, first;
    uint64_t value = 0;
    switch ((enum avx_form)row->form) {
    case LOAD:
        first = source(cpu, op, row, size);
        memcpy(&v, &first, size);
        break;
    case LOAD_SCALAR: case STORE_SCALAR:
        if (memory && row->form == STORE_SCALAR) {
            store(cpu, op, row, &XMM(cpu, op->src), size);
            return;
        }
        if (memory) {
            load(cpu, op, row, &v, size);
        } else {
            v = get(cpu, IMM_V(op));
            memcpy(&v, &XMM(cpu, op->src), size);
        }
        break;
    case LOAD_GENERAL:
        value = general(cpu, op, row, size);
        memcpy(&v, &value, size);
        break;
    case STORE:
        v = get(cpu, op->src);
        if (memory) {
            store(cpu, op, row, (uint8_t *)&v + (row->attributes & HIGH_QUARTER ? 8 : 0), size);
            return;
        }
        memset((uint8_t *)&v + size, 0, sizeof v - size);
        break;
    case STORE_GENERAL: case EXTRACT: case EXTRACT_WORD:
        at = row->form == STORE_GENERAL ? 0 : (IMM_BYTE(op) & (16 / size - 1)) * size;
        memcpy(&value, (uint8_t *)&XMM(cpu, op->src) + at, size);
        if (memory)
            store(cpu, op, row, &value, size);
        else
            REG64(cpu, op->dst) = value;
        return;
    case MOVE_LOW: case MOVE_HIGH:
        at = row->form == MOVE_LOW ? 0 : 8;
        first = memory ? source(cpu, op, row, size) : get(cpu, op->src);
        v = get(cpu, IMM_V(op));
        memcpy((uint8_t *)&v + at, (uint8_t *)&first + (memory ? 0 : 8 - at), 8);
        break;
    case INSERT:
        value = general(cpu, op, row, size);
        v = get(cpu, IMM_V(op));
        memcpy((uint8_t *)&v + (IMM_BYTE(op) & (16 / size - 1)) * size, &value, size);
        break;
    case INSERT_HALF:
        first = source(cpu, op, row, size);
        v = get(cpu, IMM_V(op));
        v.half[IMM_BYTE(op) & 1] = first.half[0];
        break;
    case EXTRACT_HALF:
        first = get(cpu, op->src);
        v.half[0] = first.half[IMM_BYTE(op) & 1];
        if (memory) {
            store(cpu, op, row, &v, size);
            return;
        }
        wide = 0;
        break;
    case BROADCAST:
        first = source(cpu, op, row, size);
        for (at = 0; at < sizeof v; at += size)
            memcpy((uint8_t *)&v + at, &first, size);
        break;
    default: /* ZERO */
        for (unsigned n = 0; n < (code64(cpu) ? 16u : 8u); n++) {
            YMM_HIGH(cpu, XMM_OFFSET(n)) = (v16){0};
            if (wide)
                XMM(cpu, XMM_OFFSET(n)) = (v16){0};
        }
        return;
    }
    set(cpu, op->dst, &v, wide);
}

HANDLER(vex_move)
{
    move(cpu, op);
    NEXT;
}

/* ---- element by element ---- */

/* The address of element `at` bytes behind the operand's, plus `more`. */
static uint64_t element_address(struct processor *cpu, const struct op *op, int64_t more, unsigned size, bool write)
{
    uint64_t offset = effective_offset(cpu, op) + more;
    if (op->form & FORM_ADDRESS32)
        offset = (uint32_t)offset;
    else if (op->form & FORM_ADDRESS16)
        offset = (uint16_t)offset;
    return linear_address(cpu, op, op->seg, offset, size, write);
}

static bool selected(struct processor *cpu, unsigned mask, unsigned i, unsigned size)
{
    return *element(cpu, mask, (i + 1) * size - 1) >> 7;
}

/* None of these raises #AC: an element that is not aligned goes byte by byte. */
static unsigned element_piece(uint64_t linear, unsigned size)
{
    return linear & (size - 1) ? 1 : size;
}

static void load_element(struct processor *cpu, const struct op *op, uint64_t linear, uint8_t *to, unsigned size)
{
    unsigned piece = element_piece(linear, size);
    uint8_t loaded[8]; /* a later piece may fault */
    for (unsigned at = 0; at < size; at += piece)
        memcpy(loaded + at, mem_read(cpu, op, linear + at, piece, op->seg), piece);
    memcpy(to, loaded, size);
}

static void probe_element(struct processor *cpu, const struct op *op, uint64_t linear, unsigned size)
{
    unsigned piece = element_piece(linear, size);
    for (unsigned at = 0; at < size; at += piece)
        mmu_probe(cpu, op, linear + at, piece, op->seg, true);
}

static void store_element(struct processor *cpu, const struct op *op, uint64_t linear, const uint8_t *from, unsigned size)
{
    unsigned piece = element_piece(linear, size);
    for (unsigned at = 0; at < size; at += piece)
        store_at(cpu, op, linear + at, from + at, piece);
}

/* VMASKMOVPS and its like: only what the mask selects is accessed. */
static __attribute__((noinline)) void move_masked(struct processor *cpu, const struct op *op)
{
    const struct avx_row *row = IMM_ROW(op);
    unsigned wide = IMM_WIDE(op), size = row->size[wide], count = (wide ? 32 : 16) / size;
    bool write = row->form == MASKED_STORE;
    struct vector v = {{{0}, {0}}};
    for (unsigned i = 0; i < count; i++) {
        if (!selected(cpu, IMM_V(op), i, size))
            continue;
        uint64_t linear = element_address(cpu, op, i * size, size, write);
        if (write)
            probe_element(cpu, op, linear, size);
        else
            load_element(cpu, op, linear, (uint8_t *)&v + i * size, size);
    }
    for (unsigned i = 0; write && i < count; i++)
        if (selected(cpu, IMM_V(op), i, size))
            store_element(cpu, op, element_address(cpu, op, i * size, size, true), element(cpu, op->src, i * size), size);
    if (!write)
        set(cpu, op->dst, &v, wide);
}

HANDLER(vex_masked)
{
    move_masked(cpu, op);
    NEXT;
}

/* Gathers: each element that was loaded clears its mask, so that one that faults goes on where it was. */
static __attribute__((noinline)) void gather(struct processor *cpu, const struct op *op)
{
    const struct avx_row *row = IMM_ROW(op);
    unsigned wide = IMM_WIDE(op), size = row->size[0], mask = IMM_V(op);
    unsigned index_size = row->form == GATHER_D ? 4 : 8, larger = size > index_size ? size : index_size;
    unsigned count = (wide ? 32 : 16) / larger;
    for (unsigned i = 0; i < count; i++) {
        if (selected(cpu, mask, i, size)) {
            const uint8_t *at = element(cpu, op->src, i * index_size);
            int64_t index = index_size == 4 ? *(const s32u *)at : *(const int64_t *)at;
            uint64_t linear = element_address(cpu, op, (uint64_t)index << op->scale, size, false);
            uint8_t value[8]; /* one that faults in its middle leaves its register alone */
            load_element(cpu, op, linear, value, size);
            memcpy(element(cpu, op->dst, i * size), value, size);
            cpu->gathered = true;
        }
        memset(element(cpu, mask, i * size), 0, size);
    }
    cpu->gathered = false;
    for (unsigned at = count * size; at < 32; at++)
        *element(cpu, op->dst, at) = *element(cpu, mask, at) = 0;
}

HANDLER(vex_gather)
{
    gather(cpu, op);
    NEXT;
}

HANDLER(vex_store_bytes)
{
    simd_store_masked(cpu, op);
    NEXT;
}
