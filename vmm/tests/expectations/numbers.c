/* Arithmetic exceptions: which can come, and what becomes of an instruction whose exception is unmasked. The operands
 * are what is special among numbers, in every width at once. */
#include "check.h"

#define CASES 900
#define MXCSR_MASKS 0x1f80u
#define I_AND_Z 5u /* raised before anything is computed (SDM volume 1, 8.5) */
#define IDZ 7u

/* What a stack fault, an invalid or denormal operand and rounding need is always to be had; overflow and underflow are
 * out of reach for some widths (FIADD), though the manual lists them. */
#define IN_REACH(exceptions) ((exceptions) & ~(uint32_t)0x18)

static const uint16_t halves[] = {0x0000, 0x3c00, 0x7c00, 0x7e00, 0x7d01, 0x0001, 0x7bff, 0xbc01};
static const uint32_t singles[] = {
    0x00000000, 0x3f800000, 0xbf800000, 0x7f800000, 0x7fc00000, 0x7f800001, 0x00000001, 0x00c00000, 0x00800000,
    0x80800000, 0x7f7fffff, 0x3f800001, 0x4f000000, 0x42280000, 0x3eaaaaab, 0x3dcccccd, 0x00800001, 0x33800001,
    0x32000000, 0x49800001, 0xff7fffff,
};
static const uint64_t doubles[] = {
    0x0000000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x7ff0000000000000, 0x7ff8000000000000,
    0x7ff0000000000001, 0x0000000000000001, 0x0018000000000000, 0x0010000000000000, 0x8010000000000000,
    0x7fefffffffffffff, 0x3ff0000000000001, 0x43e0000000000000, 0x4024000000000000, 0x3fd5555555555555,
    0x3810000000000001, 0x3690000000000000, 0x47f0000000000000, 0x3800000000000000, 0x001fffffffffffff,
    0x41e0000000100000, 0xffefffffffffffff,
};
static const struct {
    uint64_t significand;
    uint16_t exponent;
} extendeds[] = {
    {0, 0}, {1ull << 63, 0x3fff}, {1ull << 63, 0xbfff}, {1ull << 63, 0x7fff}, {3ull << 62, 0x7fff},
    {5ull << 61, 0x7fff}, {1, 0}, {1ull << 63, 1}, {3ull << 62, 1}, {~0ull, 0x7ffe}, {0xaaaaaaaaaaaaaaab, 0x3ffd},
    {1ull << 63 | 1, 0x3fff}, {1ull << 63, 0x403f}, {1, 0x3fff}, {0xc90fdaa22168c235, 0x3ffe}, {1ull << 63, 0x3f6b},
    {~0ull, 0x3c00}, {3ull << 62, 0x3fbe}, {~0ull, 0x1f00}, {1ull << 63 | 1, 0x3c01}, {~0ull, 0x407e},
    {3ull << 62, 0x3ff0}, {1ull << 63, 0xc00e}, {~0ull, 0x8001}, {~0ull, 0x3f80},
    {~0ull, 0xfffe},
};
#define PICK(list) ((list)[random_below(&randomness, sizeof(list) / sizeof *(list))])

static void make_vector(uint8_t *to, unsigned size)
{
    unsigned kind = random_below(&randomness, 3);
    bool same = random_below(&randomness, 2); /* one number in all elements: not all of them raise something */
    bool huge = random_below(&randomness, 4) == 0;
    for (unsigned at = 0; at < size; at += 8) {
        uint64_t value = huge ? 0x7fefffffffffffff | random_next(&randomness) << 63 : PICK(doubles);
        if (kind == 1)
            value = PICK(singles) | (uint64_t)PICK(singles) << 32;
        else if (kind == 2)
            value = PICK(halves) | PICK(halves) << 16 | (uint64_t)PICK(halves) << 32 | (uint64_t)PICK(halves) << 48;
        memcpy(to + at, same && at ? to : (uint8_t *)&value, 8);
    }
}

static void make_extended(uint8_t *to)
{
    unsigned n = random_below(&randomness, sizeof extendeds / sizeof *extendeds);
    memcpy(to, &extendeds[n].significand, 8);
    put16(to + 8, extendeds[n].exponent);
}

/* All operands anew. */
static void make_numbers(struct instance *i)
{
    uint8_t *fx = i->test.state.fx;
    unsigned at = i->e->bytes > 64 ? 0 : 64;
    for (unsigned n = 0; n < 16; n++) {
        make_vector(fx + FX_XMM(n), 16);
        make_vector(i->test.state.ymm[n], 16);
    }
    for (unsigned n = 0; n < 8; n++) {
        make_extended(fx + FX_ST(n));
        if (i->e->mm_rm)
            make_vector(fx + FX_ST(n), 8);
    }
    if (i->form->operand != 2 || i->e->zero)
        return;
    if (i->e->bytes == 10)
        make_extended(i->test.state.window + at);
    else
        make_vector(i->test.state.window + at, 64);
}

static void make(struct instance *i, const struct expectation *e)
{
    instance_make(i, e, &randomness, TERRAIN_PLAIN, e->bytes > 64 ? 0 : 64);
    make_numbers(i);
}

/* ---- SSE and AVX ---- */

static uint32_t mxcsr_flags(const struct instance *i)
{
    return get32(i->result.state.fx + FX_MXCSR) & 0x3f;
}

/* The same case with some exceptions unmasked: those that it raises are #XM. */
static uint32_t unmask(struct instance *i, uint32_t unmasked)
{
    struct vcpu_state *s = &guest_processor()->s;
    put32(i->test.state.fx + FX_MXCSR, MXCSR_MASKS & ~(unmasked << 7));
    run(i);
    uint32_t flags = mxcsr_flags(i);
    unsigned vector = flags & unmasked ? VECTOR_XM : ORACLE_DONE;
    if (i->result.vector != vector)
        complain(i, "exceptions %x unmasked: MXCSR says %x, vector %u", unmasked, flags, i->result.vector);
    bool enters = i->e->demands & DEMAND_MMX_STATE; /* which it does before it faults (SDM volume 3, 13.2) */
    const char *wrong = vector == VECTOR_XM && !enters ? touched(i, 0x3f) : NULL;
    if (wrong)
        complain(i, "#XM, and yet %s", wrong);
    if (vector == VECTOR_XM) {
        uint64_t cr4 = s->cr4;
        s->cr4 &= ~(uint64_t)CR4_OSXMMEXCPT;
        run(i);
        s->cr4 = cr4;
        if (i->result.vector != VECTOR_UD)
            complain(i, "without CR4.OSXMMEXCPT: vector %u, not #UD", i->result.vector);
    }
    return flags;
}

void check_simd_exceptions(const struct expectation *e)
{
    struct instance i;
    uint32_t raised = 0;
    if (!(e->demands & (DEMAND_OSFXSR | DEMAND_AVX)) || e->others & OTHER_MXCSR || e->gathers ||
        forms[e->form].mode != ORACLE_64) /* all modes share the handlers */
        return;
    unsigned cases = e->mxcsr ? CASES : 2;
    for (unsigned n = 0; n < cases && (raised != e->mxcsr || n < 8); n++) {
        uint32_t seen, flags;
        make(&i, e);
        run(&i);
        flags = mxcsr_flags(&i);
        const char *wrong = ended(&i, ORACLE_DONE, "with all exceptions masked") ? unexpected(&i, &seen) : NULL;
        if (wrong) {
            complain(&i, "%s", wrong);
            return;
        }
        raised |= flags;
        if (flags)
            raised |= unmask(&i, flags & -flags) | unmask(&i, 0x3f);
        raised |= unmask(&i, 16); /* a tiny result, be it exact, only when underflow is unmasked */
        if (raised & ~(uint32_t)e->mxcsr) {
            complain(&i, "it raised the exceptions %x, of which %x can come", raised, e->mxcsr);
            return;
        }
    }
    if (raised != e->mxcsr)
        complain(&i, "it raised only the exceptions %x, not %x", raised, e->mxcsr);
}

/* ---- x87 ---- */

/* All but the flags of FCOMI, which some processors set whatever the exception (docs/vendors.md). */
static bool x87_registers_kept(const struct instance *i)
{
    const uint8_t *before = i->test.state.fx, *after = i->result.state.fx;
    for (unsigned n = 0; n < 8; n++)
        if (memcmp(before + FX_ST(n), after + FX_ST(n), 10))
            return false;
    return before[FX_FTW] == after[FX_FTW] && !((get16(before + FX_FSW) ^ get16(after + FX_FSW)) & 7 << 11) &&
           !memcmp(i->test.state.window, i->result.state.window, ORACLE_WINDOW) &&
           !((i->test.state.rflags ^ i->result.state.rflags) & 0xcd5 & ~(uint64_t)i->e->flags);
}

static uint32_t run_with_control(struct instance *i, uint16_t fcw)
{
    put16(i->test.state.fx + FX_FCW, fcw);
    run(i);
    ended(i, ORACLE_DONE, "with x87 exceptions, which come at the next instruction that waits");
    return get16(i->result.state.fx + FX_FSW) & 0x7f;
}

static void check_unmasked(struct instance *i)
{
    uint32_t flags = run_with_control(i, 0x340);
    if (!!(flags & 0x3f) != !!(get16(i->result.state.fx + FX_FSW) & 0x80))
        complain(i, "all exceptions unmasked: FSW is %04x", get16(i->result.state.fx + FX_FSW));
    uint32_t before = i->e->pushes ? I_AND_Z : IDZ; /* FLD of a denormal number: docs/vendors.md */
    if (flags & before && !x87_registers_kept(i))
        complain(i, "exceptions %x unmasked, and yet its operands changed", flags);
}

void check_x87_exceptions(const struct expectation *e)
{
    struct instance i;
    uint32_t raised = 0;
    const struct oracle_form *form = &forms[e->form];
    if (!e->notes || form->mode != ORACLE_64 || form->prefix || form->w)
        return;
    bool same = form->operand == 1 && form->rm == 0; /* ST(0) with itself: not everything can come */
    for (unsigned n = 0; n < CASES && (raised != e->x87 || n < 16); n++) {
        make(&i, e);
        if (!e->pushes)
            i.test.state.fx[FX_FTW] = 0xff;
        if (n % 8 == 0)
            i.test.state.fx[FX_FTW] = e->pushes ? 0xff : 0;
        raised |= run_with_control(&i, 0x37f);
        check_unmasked(&i);
        raised |= run_with_control(&i, 0x36f); /* underflow unmasked: a tiny result may be exact */
        if (raised & ~(uint32_t)e->x87) {
            complain(&i, "it raised the exceptions %x, of which %x can come", raised, e->x87);
            return;
        }
    }
    if (IN_REACH(raised ^ e->x87) && !same)
        complain(&i, "it raised only the exceptions %x, not %x", raised, e->x87);
}

/* ---- the stack ---- */

/* A stack fault that is unmasked leaves the stack alone; C1 tells an overflow from an underflow. */
void check_stack(const struct expectation *e)
{
    struct instance i;
    if (!(e->x87 & 64))
        return;
    make(&i, e);
    instance_make(&i, e, &randomness, TERRAIN_PLAIN, e->bytes > 64 ? 0 : 64);
    bool over = e->pushes && (i.form->operand == 2 || i.form->reg == 5); /* FLD, FILD, FBLD, FLD1 to FLDZ */
    i.test.state.fx[FX_FTW] = over ? 0xff : 0;
    put16(i.test.state.fx + FX_FCW, 0x37e);
    run(&i);
    uint16_t fsw = get16(i.result.state.fx + FX_FSW);
    if ((fsw & 0xff) != 0xc1 || !!(fsw & 0x200) != over)
        complain(&i, "with a stack fault FSW is %04x", fsw);
    else if (!x87_registers_kept(&i))
        complain(&i, "with an unmasked stack fault its operands changed");
}
