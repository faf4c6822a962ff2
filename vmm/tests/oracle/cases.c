/* Random instances of a form: bytes, and a state in which they mostly do something. Operands that point to memory are
 * led into the window, by what the decoder made of the bytes; some are left to chance, which finds the faults. */
#include <string.h>

#include "processor/decode.h"

#include "encode.h"
#include "operands.h"

#define DATA_SELECTORS 6

struct making {
    const struct oracle_form *form;
    struct oracle_case *test;
    uint64_t *random;
    uint8_t bytes[48];
    unsigned length;
    unsigned modrm_at, disp_at, disp_size; /* 0: none */
    bool address_override;
    struct op op;
};

static unsigned below(struct making *m, unsigned limit)
{
    return random_below(m->random, limit);
}
static bool one_in(struct making *m, unsigned n)
{
    return random_below(m->random, n) == 0;
}
static bool is_one(const struct making *m, unsigned first, unsigned last)
{
    return m->form->map == MAP_ONE && m->form->opcode >= first && m->form->opcode <= last;
}
static bool is_0f(const struct making *m, unsigned first, unsigned last)
{
    return m->form->map == MAP_0F && m->form->opcode >= first && m->form->opcode <= last;
}
static bool is_string(const struct making *m)
{
    return is_one(m, 0xa4, 0xa7) || is_one(m, 0xaa, 0xaf);
}

/* ---- bytes ---- */

static void append(struct making *m, uint64_t value, unsigned size)
{
    memcpy(m->bytes + m->length, &value, size);
    m->length += size;
}

static void append_prefixes(struct making *m)
{
    static const uint8_t segments[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    const struct oracle_form *form = m->form;
    bool vex = form->map >= MAP_VEX, memory = form->operand == 2 || is_string(m) || is_one(m, 0xa0, 0xa3);
    uint8_t chosen = vex ? 0 : prefix_byte(form);
    if (one_in(m, memory ? 6 : 64))
        append(m, segments[below(m, sizeof segments)], 1);
    if (one_in(m, memory || is_one(m, 0xe0, 0xe3) ? 8 : 64)) {
        append(m, 0x67, 1);
        m->address_override = true;
    }
    if (chosen && chosen != 0x66 && one_in(m, 16))
        append(m, 0x66, 1);
    if (chosen)
        append(m, chosen, 1);
    if (one_in(m, form->operand == 2 ? 16 : 128))
        append(m, 0xf0, 1);
    if (vex && one_in(m, 256))
        append(m, "\x66\xf2\xf3\x48"[below(m, 4)], 1);
    while (one_in(m, 512) && m->length < 14)
        append(m, segments[below(m, sizeof segments)], 1);
    if (one_in(m, 2048))
        while (m->length < 14)
            append(m, 0x2e, 1);
}

static void append_modrm(struct making *m)
{
    const struct oracle_form *form = m->form;
    unsigned reg = form->reg == 0xff ? below(m, 8) : form->reg;
    unsigned rm = form->rm == 0xff || form->operand == 2 ? below(m, 8) : form->rm, mod = below(m, 3);
    bool wide = (form->mode == ORACLE_16) == m->address_override;
    m->modrm_at = m->length;
    if (form->operand == 1) {
        append(m, 0xc0 | reg << 3 | rm, 1);
        return;
    }
    append(m, mod << 6 | reg << 3 | rm, 1);
    unsigned base = rm;
    if (wide && rm == 4) {
        uint8_t sib = random_next(m->random);
        append(m, sib, 1);
        base = sib & 7;
    }
    m->disp_size = mod == 1 ? 1 : mod == 2 || base == (wide ? 5 : 6) ? (wide ? 4 : 2) : 0;
    if (!wide && mod == 0 && rm != 6)
        m->disp_size = 0;
    m->disp_at = m->length;
    append(m, one_in(m, 2) ? random_next(m->random) & 0xff : random_next(m->random), m->disp_size);
}

static bool is_low_count(const struct making *m)
{
    return is_one(m, 0xc8, 0xc8);
}

static void append_immediates(struct making *m)
{
    if (is_low_count(m)) { /* ENTER */
        append(m, one_in(m, 4) ? random_next(m->random) : below(m, 0x80), 2);
        append(m, one_in(m, 4) ? random_next(m->random) : below(m, 4), 1);
    }
    for (unsigned i = 0; i < 2; i++)
        append(m, operand_value(m->random), 8);
}

static void decode(struct making *m)
{
    struct op op = {0};
    bool ends;
    decode_instruction(guest_processor(), guest_decode_mode(m->form->mode), m->bytes, 15, &op, &ends);
    m->op = op;
}

static void make_bytes(struct making *m)
{
    const struct oracle_form *form = m->form;
    append_prefixes(m);
    bool rex = form->mode == ORACLE_64 && !one_in(m, 3);
    uint8_t rxb = form->mode == ORACLE_64 && (rex || form->w || form->map >= MAP_VEX) ? below(m, 8) : 0;
    unsigned vvvv = one_in(m, 3) ? 0 : below(m, form->mode == ORACLE_64 ? 16 : 8);
    m->length += encode_opcode(form, m->bytes + m->length, rex, rxb, vvvv, one_in(m, 2));
    if (form->operand)
        append_modrm(m);
    append_immediates(m);
    decode(m);
    if (is_one(m, 0xcd, 0xcd) && m->bytes[m->op.length - 1] == 0x80)
        m->bytes[m->op.length - 1] = 0x81; /* the host's system call */
}

/* ---- segments ---- */

static uint16_t data_selector(struct making *m, bool stack)
{
    unsigned terrain = m->test->terrain;
    switch (below(m, 32)) {
    case 0: return LDT(LDT_DOWN16);
    case 1: return LDT(LDT_DOWN32);
    case 2: return stack ? USER_DS : LDT(LDT_READ_ONLY);
    case 3: return stack ? USER_DS : 0;
    default: break;
    }
    bool flat = m->form->mode == ORACLE_32 ? !m->address_override && !one_in(m, 3) : one_in(m, 16);
    if (flat)
        return USER_DS;
    return one_in(m, 4) == (m->form->mode == ORACLE_16) ? LDT(LDT_DATA32 + terrain) : LDT(LDT_DATA16 + terrain);
}

/* What may be loaded: null, privileged, absent, beyond the table, system segments, and good ones. */
static uint16_t any_selector(struct making *m)
{
    static const uint16_t odd[] = {0, 1, 2, 3, 0x08, 0x10, 0x18, 0x1b, 0x20, 0x28, 0x40, 0x50, 0x60, 0x80, 0xffff, LDT(LDT_ROWS)};
    switch (below(m, 4)) {
    case 0: return odd[below(m, sizeof odd / sizeof *odd)];
    case 1: return 0x20 | below(m, 0x18);
    default: return LDT(below(m, LDT_ROWS)) - below(m, one_in(m, 8) ? 4 : 1);
    }
}

static uint64_t base_of(const struct making *m, unsigned segment)
{
    const struct oracle_state *state = &m->test->state;
    uint16_t selector = state->selector[segment];
    if (m->form->mode == ORACLE_64)
        return segment == FS ? state->fs_base : segment == GS ? state->gs_base : 0;
    return selector & 4 && selector >> 3 < LDT_ROWS ? ldt_rows[selector >> 3].base : 0;
}

static void make_segments(struct making *m)
{
    struct oracle_state *state = &m->test->state;
    uint16_t *selector = state->selector;
    unsigned mode = m->form->mode;
    state->rip = one_in(m, 64) ? PAGE - 1 - below(m, 12) : 0x400 + below(m, 0x400);
    if (mode == ORACLE_64) {
        for (unsigned i = 0; i < 6; i++)
            selector[i] = one_in(m, 4) ? USER_DS : 0;
        selector[CS] = USER_CS;
        selector[SS] = USER_DS;
        /* So small that the offset is canonical too, which AMD demands. */
        state->fs_base = (int64_t)random_next(m->random) >> (one_in(m, 2) ? 24 : 40);
        state->gs_base = (int64_t)random_next(m->random) >> 28;
        state->rip += CODE_LINEAR;
        return;
    }
    for (unsigned i = 0; i < 6; i++)
        selector[i] = data_selector(m, i == SS);
    selector[CS] = mode == ORACLE_16 ? LDT(LDT_CODE16) : one_in(m, 3) ? LDT(LDT_CODE32) : USER32_CS;
    if (selector[CS] == USER32_CS)
        state->rip += CODE_LINEAR;
}

/* ---- registers ---- */

/* A linear address in the window, as aligned as things happen to be. */
static uint64_t target(struct making *m)
{
    unsigned at = below(m, ORACLE_WINDOW - 64);
    switch (below(m, 8)) {
    case 0: case 1: at &= ~63u; break;
    case 2: case 3: case 4: at &= ~15u; break;
    case 5: at = ORACLE_WINDOW / 2 - below(m, 32); break; /* over the page boundary */
    case 6: at &= ~7u; break;
    default: break;
    }
    if (is_0f(m, 0xae, 0xae) || is_0f(m, 0xc7, 0xc7)) { /* the big areas */
        at = below(m, 3) * 64;
        if (one_in(m, 8))
            at += below(m, 64);
    }
    return WINDOW_LINEAR(m->test->terrain) + at;
}

static uint8_t *window_at(struct making *m, uint64_t linear, unsigned size)
{
    uint64_t at = linear - WINDOW_LINEAR(m->test->terrain);
    return at <= ORACLE_WINDOW - size ? m->test->state.window + at : NULL;
}

/* An offset of the segment, in the low `bytes` of a register. */
static void point(struct making *m, unsigned gpr, uint64_t linear, unsigned segment, unsigned bytes)
{
    uint64_t mask = bytes == 2 ? 0xffff : bytes == 4 ? 0xffffffff : ~0ull, *to = &m->test->state.gpr[gpr];
    *to = (*to & ~mask) | ((linear - base_of(m, segment)) & mask);
}

static unsigned address_bytes(const struct making *m)
{
    return m->op.form & FORM_ADDRESS16 ? 2 : m->op.form & FORM_ADDRESS32 ? 4 : 8;
}

static void lead_operand(struct making *m)
{
    struct op *op = &m->op;
    uint64_t *gpr = m->test->state.gpr, linear = target(m);
    uint64_t offset = linear - base_of(m, op->seg);
    if (op->base < 16 && op->index < 16 && op->base == op->index)
        return;
    uint64_t index = op->index < 16 ? gpr[op->index] << op->scale : 0;
    int64_t disp = op->disp;
    if (op->base < 16) {
        point(m, op->base, linear - index - disp, op->seg, address_bytes(m));
    } else if (m->disp_size) {
        offset -= op->base == SLOT_RIP ? m->test->state.rip + op->length : index;
        memcpy(m->bytes + m->disp_at, &offset, m->disp_size);
    }
}

/* CPL 3 code of 16 bits may come with a 32-bit stack, and the other way round. */
static unsigned stack_bytes(const struct making *m)
{
    uint16_t ss = m->test->state.selector[SS];
    return m->form->mode == ORACLE_64 ? 8 : ss == USER_DS || ldt_rows[ss >> 3].wide ? 4 : 2;
}

static void make_registers(struct making *m)
{
    struct oracle_state *state = &m->test->state;
    unsigned bytes = stack_bytes(m);
    for (unsigned i = 0; i < 16; i++)
        state->gpr[i] = operand_value(m->random);
    state->rflags = random_next(m->random) & 0x8d5;
    state->rflags |= one_in(m, 4) ? 0x400 : 0;
    state->rflags |= one_in(m, 24) ? 0x40000 : 0;
    uint64_t stack = WINDOW_LINEAR(m->test->terrain) + 64 + (below(m, ORACLE_WINDOW - 256) & (one_in(m, 8) ? ~0u : ~7u));
    if (!one_in(m, 32))
        point(m, RSP, stack, SS, bytes);
    if (is_one(m, 0xc8, 0xc9) || one_in(m, 4))
        point(m, RBP, stack + below(m, 64), SS, bytes);
    if (is_string(m) && !one_in(m, 16)) {
        point(m, RSI, target(m), m->op.seg, address_bytes(m));
        point(m, RDI, target(m), ES, address_bytes(m));
        if (one_in(m, 2))
            state->gpr[RCX] &= ~0xffffull, state->gpr[RCX] |= below(m, 4);
    }
    if (is_0f(m, 0xf7, 0xf7))
        point(m, RDI, target(m), m->op.seg, address_bytes(m));
    if (is_one(m, 0xd7, 0xd7))
        point(m, RBX, target(m) - (state->gpr[RAX] & 0xff), m->op.seg, address_bytes(m));
    if (is_0f(m, 0xa3, 0xbb) && one_in(m, 4) == 0 && m->op.dst < 128 && m->form->operand == 2)
        state->gpr[m->op.dst / 8] = below(m, 512) - 256; /* BT by a register: a bit near the operand */
    if (is_0f(m, 0x01, 0x01)) /* XGETBV; the model may lack XGETBV1 */
        state->gpr[RCX] = one_in(m, 2) ? 0 : state->gpr[RCX] | 2;
    if (is_one(m, 0xe0, 0xe3) && one_in(m, 2))
        state->gpr[RCX] = below(m, 3) | (one_in(m, 2) ? 0x10000 : 0);
}

/* A dividend whose quotient fits more often than by chance. */
static void make_dividend(struct making *m)
{
    uint64_t *gpr = m->test->state.gpr;
    if (!is_one(m, 0xf6, 0xf7) || m->form->reg < 6 || one_in(m, 4))
        return;
    unsigned bits = 8 * m->op.size;
    if (bits == 8) {
        gpr[RAX] = (gpr[RAX] & ~0xffffull) | (one_in(m, 2) ? below(m, 0x80) : 0xffff & -below(m, 0x80));
        return;
    }
    uint64_t high = one_in(m, 2) ? -(gpr[RAX] >> (bits - 1) & 1) : below(m, 3);
    gpr[RDX] = high;
}

/* ---- memory that means something ---- */

static void plant(struct making *m, uint64_t linear, uint64_t value, unsigned size)
{
    uint8_t *to = window_at(m, linear, size);
    if (to)
        memcpy(to, &value, size);
}

static uint64_t stack_linear_of(const struct making *m)
{
    unsigned bytes = stack_bytes(m);
    uint64_t mask = bytes == 2 ? 0xffff : bytes == 4 ? 0xffffffff : ~0ull;
    uint64_t linear = base_of(m, SS) + (m->test->state.gpr[RSP] & mask);
    return m->form->mode == ORACLE_64 ? linear : (uint32_t)linear;
}

static uint64_t operand_linear(const struct making *m)
{
    const struct op *op = &m->op;
    const uint64_t *gpr = m->test->state.gpr;
    unsigned bytes = address_bytes(m);
    uint64_t ea = (op->base < 16 ? gpr[op->base] : 0) + (op->index < 16 ? gpr[op->index] << op->scale : 0);
    if (op->base == SLOT_RIP)
        ea = m->test->state.rip + op->length;
    int32_t disp = 0;
    memcpy(&disp, m->bytes + m->disp_at, m->disp_size);
    disp = m->disp_size == 1 ? (int8_t)disp : m->disp_size == 2 ? (int16_t)disp : disp;
    ea += (int64_t)disp;
    ea = bytes == 2 ? ea & 0xffff : bytes == 4 ? (uint32_t)ea : ea;
    ea += base_of(m, op->seg);
    return m->form->mode == ORACLE_64 ? ea : (uint32_t)ea;
}

/* AMD pushes for a call between 64-bit and legacy code as the new mode does, whatever SS says: some virtual hosts hang on
 * that, or lose it. */
static uint16_t code_selector(struct making *m)
{
    static const uint16_t good[] = {USER_CS, USER32_CS, LDT(LDT_CODE16), LDT(LDT_CODE32)};
    uint16_t selector = one_in(m, 3) ? any_selector(m) : good[below(m, 4)];
    bool call = is_one(m, 0x9a, 0x9a) || (is_one(m, 0xff, 0xff) && m->form->reg == 3);
    if (call && m->form->mode != ORACLE_64 && (selector | 3) == USER_CS)
        return LDT(LDT_CODE32);
    if (call && m->test->terrain == TERRAIN_HIGH && selector > 3)
        return USER_CS;
    return selector;
}

/* Are these the bytes behind the opcode? An instruction that is too long ends before them. */
static bool has_last(const struct making *m, unsigned bytes)
{
    return m->op.length > bytes && m->bytes[m->op.length - bytes - 1] == m->form->opcode;
}

/* Far pointers, selectors, frames of returns. */
static void plant_selectors(struct making *m)
{
    const struct oracle_form *form = m->form;
    uint64_t stack = stack_linear_of(m), operand = form->operand == 2 ? operand_linear(m) : 0;
    unsigned size = m->op.size;
    bool far = is_one(m, 0xff, 0xff) && (form->reg == 3 || form->reg == 5);
    if (far || is_one(m, 0xc4, 0xc5) || is_0f(m, 0xb2, 0xb5)) {
        plant(m, operand, one_in(m, 2) ? 0x400 : random_next(m->random), size);
        plant(m, operand + size, far ? code_selector(m) : any_selector(m), 2);
    } else if ((is_one(m, 0x9a, 0x9a) || is_one(m, 0xea, 0xea)) && has_last(m, size + 2)) {
        uint16_t selector = code_selector(m);
        memcpy(m->bytes + m->op.length - 2, &selector, 2);
    } else if (is_one(m, 0xca, 0xcb) || is_one(m, 0xcf, 0xcf)) {
        unsigned more = is_one(m, 0xcf, 0xcf);
        plant(m, stack, one_in(m, 2) ? 0x400 : random_next(m->random), size);
        plant(m, stack + size, code_selector(m), size);
        if (more) {
            plant(m, stack + 2 * size, (random_next(m->random) & 0x4dd5) | 0x302, size);
            plant(m, stack + 3 * size, operand_value(m->random), size);
            plant(m, stack + 4 * size, one_in(m, 3) ? any_selector(m) : USER_DS, size);
        }
    } else if (is_one(m, 0x8e, 0x8e) || is_0f(m, 0x00, 0x00) || is_0f(m, 0x02, 0x03)) {
        uint16_t selector = any_selector(m);
        if (form->operand == 2)
            plant(m, operand, selector, 2);
        else if (m->op.src < 128)
            memcpy((uint8_t *)m->test->state.gpr + m->op.src, &selector, 2);
    } else if (is_one(m, 0x07, 0x1f) || is_0f(m, 0xa1, 0xa9)) {
        plant(m, stack, any_selector(m), 2);
    }
}

static void plant_areas(struct making *m)
{
    const struct oracle_form *form = m->form;
    uint64_t *gpr = m->test->state.gpr, linear = form->operand == 2 ? operand_linear(m) : 0;
    uint64_t mask = with_avx ? 7 : 3;
    if (form->map == MAP_VEX && form->opcode == 0xae && form->reg == 2)
        plant(m, linear, operand_mxcsr(m->random), 4);
    if (is_0f(m, 0xae, 0xae)) {
        if (form->reg >= 4) {
            gpr[RAX] &= one_in(m, 2) ? mask : mask | 8; /* a component that neither side has in XCR0 */
            gpr[RDX] = 0;
        }
        if (form->reg != 5 && one_in(m, 12))
            return;
        if (form->reg == 1 || form->reg == 5)
            plant(m, linear + 24, operand_mxcsr(m->random), 4);
        if (form->reg == 2)
            plant(m, linear, operand_mxcsr(m->random), 4);
        if (form->reg == 5) {
            /* A component that neither side has: 3 and 4 were MPX's. */
            uint64_t present = random_next(m->random) & (one_in(m, 12) ? mask | 0x18 : mask);
            plant(m, linear + 512, present, 8);
            bool compacted = has_feature(guest_processor(), FEATURE_XSAVEC) && one_in(m, 3);
            plant(m, linear + 520, compacted ? present | (random_next(m->random) & mask) | 1ull << 63 : 0, 8);
            for (unsigned at = 16; at < 64; at += 8)
                plant(m, linear + 512 + at, one_in(m, 64), 8);
        }
    } else if (is_0f(m, 0xc7, 0xc7) && form->operand == 2) {
        if (form->reg == 4 || form->reg == 3 || form->reg == 5) {
            gpr[RAX] &= mask;
            gpr[RDX] = 0;
        } else if (one_in(m, 2)) { /* CMPXCHG8B, CMPXCHG16B: equal */
            unsigned size = m->op.size == 8 ? 8 : 4;
            uint8_t *at = window_at(m, linear, 2 * size);
            if (at) {
                memcpy(&gpr[RAX], at, size);
                memcpy(&gpr[RDX], at + size, size);
            }
        }
    } else if (is_0f(m, 0xb0, 0xb1) && one_in(m, 2)) {
        uint8_t *at = form->operand == 2 ? window_at(m, linear, m->op.size) : (uint8_t *)gpr + m->op.src;
        if (at)
            memcpy(&gpr[RAX], at, m->op.size);
    }
}

/* ---- all of it ---- */

void case_make(uint32_t form, struct oracle_case *test, uint64_t *random)
{
    struct making m = {.form = &forms[form], .test = test, .random = random};
    static const uint8_t terrains[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 0};
    test->mode = m.form->mode;
    test->form = form;
    test->terrain = terrains[below(&m, 16)];
    if (test->terrain == TERRAIN_HIGH && test->mode != ORACLE_64)
        test->terrain = TERRAIN_PLAIN;
    operand_float_state(test->state.fx, test->state.ymm, random);
    operand_memory(test->state.window, ORACLE_WINDOW, random);
    make_bytes(&m);
    make_segments(&m);
    make_registers(&m);
    make_dividend(&m);
    if (m.op.form & FORM_MEMORY && !one_in(&m, 24))
        lead_operand(&m);
    if (is_one(&m, 0xa0, 0xa3) && has_last(&m, address_bytes(&m)) && !one_in(&m, 16)) {
        uint64_t offset = target(&m) - base_of(&m, m.op.seg);
        unsigned size = address_bytes(&m);
        memcpy(m.bytes + m.op.length - size, &offset, size);
    }
    plant_selectors(&m);
    plant_areas(&m);
    test->length = m.op.length;
    memset(test->code, 0x90, sizeof test->code);
    memcpy(test->code, m.bytes, test->length < 15 ? test->length : 15);
}
