/* An instance of a form: its bytes, and registers and memory that it can run with. */
#include "../oracle/encode.h"
#include "check.h"

#define ALL_VALID 0x7f /* ST(0) to ST(6); ST(7) is free, for what pushes */

static unsigned pick(uint64_t *random, const struct oracle_form *form, uint32_t taken)
{
    unsigned limit = form->mode == ORACLE_64 ? 16 : 8, n;
    do
        n = random_below(random, limit);
    while (taken >> n & 1);
    return n;
}

/* General registers that are bases of operands, or implied: RAX, RCX (by PCMPESTRI), RBX, RSP, RDI, R11. */
#define TAKEN (1u << RAX | 1u << RCX | 1u << RBX | 1u << RSP | 1u << RDI | 1u << 11)

/* All of them different; but an MMX or x87 register may have the number of a general one. */
static void choose_registers(struct instance *i, uint64_t *random)
{
    const struct oracle_form *form = i->form;
    const struct expectation *e = i->e;
    uint32_t taken = 1; /* XMM0 is implied by some */
    if (e->gathers)
        taken |= 1u << INDEX_LOW | 1u << (INDEX_LOW + 8);
    i->reg = form->reg == 0xff ? pick(random, form, taken | (e->general_reg ? TAKEN : 0)) : form->reg;
    taken |= 1u << i->reg | 1u << (i->reg ^ 8); /* MMX registers have no bit 3 */
    i->rm = form->rm == 0xff ? pick(random, form, taken | (e->general_rm ? TAKEN : 0)) : form->rm;
    taken |= 1u << i->rm;
    i->v = pick(random, form, taken | (e->general_v ? TAKEN : 0));
    i->fourth = pick(random, form, taken | 1u << i->v);
    bool high = form->mode == ORACLE_64 && random_below(random, 2);
    i->base = high ? 11 : RBX;
    i->index = INDEX_LOW + (form->mode == ORACLE_64 && random_below(random, 2) ? 8 : 0);
    i->short_vex = random_below(random, 2);
}

static bool wide_address(const struct instance *i)
{
    return i->form->mode != ORACLE_16 || i->e->gathers;
}

void instance_encode(struct instance *i, unsigned v_raw)
{
    const struct oracle_form *form = i->form;
    const struct expectation *e = i->e;
    uint8_t *to = i->test.code;
    unsigned n = 0;
    memset(to, 0x90, sizeof i->test.code);
    memcpy(to, i->prefix, i->prefixes);
    n = i->prefixes;
    if (e->gathers && form->mode == ORACLE_16)
        to[n++] = 0x67;
    if (form->map < MAP_VEX && form->prefix)
        to[n++] = prefix_byte(form);
    bool memory = form->operand == 2 && e->modrm;
    uint8_t rxb = form->reg == 0xff && e->modrm ? i->reg >> 3 << 2 : 0;
    if (memory)
        rxb |= (i->addressing == BY_BASE ? i->base >> 3 : 0) | (e->gathers ? i->index >> 3 << 1 : 0);
    else if (e->modrm && form->rm == 0xff)
        rxb |= i->rm >> 3;
    unsigned v = v_raw < 16 ? v_raw : e->v_used ? i->v : 0;
    n += encode_opcode(form, to + n, rxb != 0, rxb, v, i->short_vex);
    if (e->modrm) {
        uint8_t rm = !memory ? i->rm & 7 : i->addressing == BY_RIP ? 5 : e->gathers ? 4 : wide_address(i) ? 3 : 7;
        to[n++] = (memory ? 0 : 0xc0) | (i->reg & 7) << 3 | rm;
        if (memory && e->gathers)
            to[n++] = (i->index & 7) << 3 | RBX;
        if (memory && i->addressing == BY_RIP)
            n += 4;
    }
    if (e->immediates)
        to[n++] = i->fourth << 4 | (i->test.reserved[0] & 15);
    i->test.length = n;
    if (memory && i->addressing == BY_RIP) {
        uint32_t disp = i->test.state.gpr[i->base] - (i->test.state.rip + n);
        put32(to + n - 4 - e->immediates, disp);
    }
}

static void fill(uint8_t *to, unsigned size, uint64_t *random)
{
    for (unsigned at = 0; at < size; at++)
        to[at] = random_next(random) | 0x80; /* all that a mask chooses */
}

static void make_x87(uint8_t *fx, uint64_t *random)
{
    unsigned top = random_below(random, 8);
    put16(fx + FX_FCW, 0x37f);
    put16(fx + FX_FSW, top << 11);
    for (unsigned n = 0; n < 8; n++) {
        fx[FX_FTW] |= (ALL_VALID >> n & 1) << ((top + n) & 7);
        fill(fx + FX_ST(n), 8, random);
        put16(fx + FX_ST(n) + 8, (0x3ff0 + random_below(random, 32)) | random_below(random, 2) << 15);
    }
}

static void make_segments(struct instance *i)
{
    struct oracle_state *state = &i->test.state;
    static const uint16_t code[3] = {LDT(LDT_CODE16), USER32_CS, USER_CS};
    for (unsigned n = 0; n < 6; n++)
        state->selector[n] = i->form->mode == ORACLE_16   ? LDT((unsigned)LDT_DATA16 + i->test.terrain)
                             : i->form->mode == ORACLE_32 ? USER_DS
                                                          : 0;
    state->selector[CS] = code[i->form->mode];
    if (i->form->mode == ORACLE_64)
        state->selector[SS] = USER_DS;
    state->rip = 0x400 + (i->form->mode == ORACLE_16 ? 0 : CODE_LINEAR);
}

static void make_pointers(struct instance *i, unsigned at)
{
    uint64_t *gpr = i->test.state.gpr, linear = instance_linear(i, at);
    static const uint8_t pointers[] = {RBX, 11, RDI};
    for (unsigned n = 0; n < 3; n++)
        if (i->form->mode != ORACLE_16)
            gpr[pointers[n]] = linear;
        else if (i->e->gathers)
            gpr[pointers[n]] = WINDOW_OFFSET + at;
        else
            gpr[pointers[n]] = (gpr[pointers[n]] & ~UINT64_C(0xffff)) | (WINDOW_OFFSET + at);
}

uint64_t instance_linear(const struct instance *i, unsigned at)
{
    return WINDOW_LINEAR(i->test.terrain) + at;
}

unsigned instance_register(const struct instance *i, const struct expected_write *written)
{
    unsigned numbers[4] = {i->reg, i->rm, i->v, written->number};
    return numbers[written->place];
}

void instance_make(struct instance *i, const struct expectation *e, uint64_t *random, enum oracle_terrain terrain,
                   unsigned at)
{
    struct oracle_state *state = &i->test.state;
    memset(i, 0, sizeof *i);
    i->e = e;
    i->form = &forms[e->form];
    i->test.mode = i->form->mode;
    i->test.terrain = terrain;
    i->test.form = e->form;
    choose_registers(i, random);
    for (unsigned n = 0; n < 16; n++)
        state->gpr[n] = random_next(random) | UINT64_C(1) << 63 | UINT64_C(1) << 31;
    make_segments(i);
    make_pointers(i, at);
    make_x87(state->fx, random);
    put32(state->fx + FX_MXCSR, 0x1f80);
    fill(state->fx + FX_XMM(0), 256, random);
    fill(state->ymm[0], sizeof state->ymm, random);
    if (e->gathers) {
        memset(state->fx + FX_XMM(i->index), 0, 16);
        memset(state->ymm[i->index], 0, 16);
    }
    fill(state->window, sizeof state->window, random);
    if (e->zero)
        memset(state->window, 0, sizeof state->window);
    i->test.reserved[0] = random_next(random); /* the immediate's low half */
    instance_encode(i, 16);
}
