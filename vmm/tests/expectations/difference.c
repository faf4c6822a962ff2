/* What an instruction changed: of everything, only what its expectation names may differ. */
#include <stdio.h>

#include "check.h"

#define FSW_CONDITIONS 0x4700u
#define FSW_STATUS 0x80c0u /* ES, B; SF comes with `x87` */
#define FLAGS_KEPT_ALIKE (~0x10100u)

static char text[120];

static const char *say(const char *what, unsigned number)
{
    snprintf(text, sizeof text, what, number);
    return text;
}

/* ---- what is allowed ---- */

struct allowed {
    uint16_t gpr, xmm, high, st, mm; /* bits by number; st: physical */
};

static unsigned top_of(const uint8_t *fx)
{
    return get16(fx + FX_FSW) >> 11 & 7;
}

static void allow(const struct instance *i, const struct expected_write *w, struct allowed *a)
{
    unsigned n = instance_register(i, w), top = top_of(i->test.state.fx);
    switch ((enum expected_kind)w->kind) {
    case KIND_GPR16: case KIND_GPR32: case KIND_GPR64: a->gpr |= 1u << n; break;
    case KIND_XMM: a->xmm |= 1u << n; break;
    case KIND_XMM_ZERO: case KIND_YMM: a->xmm |= 1u << n; a->high |= 1u << n; break;
    case KIND_MM: a->mm |= 1u << (n & 7); break;
    case KIND_ST: a->st |= 1u << ((top + n) & 7); break;
    }
}

static struct allowed allowances(const struct instance *i)
{
    const struct expectation *e = i->e;
    struct allowed a = {0};
    for (unsigned n = 0; n < EXPECT_WRITES && e->written[n].kind; n++)
        allow(i, &e->written[n], &a);
    for (unsigned n = 0; n < e->pushes; n++)
        a.st |= 1u << ((top_of(i->test.state.fx) - 1 - n) & 7);
    unsigned vectors = i->form->mode == ORACLE_64 ? 0xffff : 0xff;
    a.xmm |= e->others & OTHER_LOW ? vectors : 0;
    a.high |= e->others & OTHER_HIGH ? vectors : 0;
    return a;
}

/* ---- registers ---- */

static const char *integer_registers(const struct instance *i, const struct allowed *a)
{
    const struct oracle_state *before = &i->test.state, *after = &i->result.state;
    uint64_t mask = i->form->mode == ORACLE_64 ? ~UINT64_C(0) : 0xffffffff;
    for (unsigned n = 0; n < 16; n++)
        if (!(a->gpr >> n & 1) && (before->gpr[n] ^ after->gpr[n]) & mask)
            return say("general register %u changed", n);
    return NULL;
}

static const char *vectors(const struct instance *i, const struct allowed *a)
{
    const struct oracle_state *before = &i->test.state, *after = &i->result.state;
    for (unsigned n = 0; n < 16; n++) {
        if (!(a->xmm >> n & 1) && memcmp(before->fx + FX_XMM(n), after->fx + FX_XMM(n), 16))
            return say("XMM%u changed", n);
        if (!(a->high >> n & 1) && memcmp(before->ymm[n], after->ymm[n], 16))
            return say("bits 255:128 of YMM%u changed", n);
    }
    return NULL;
}

/* ST(n) where it was: by physical number. */
static const uint8_t *physical(const uint8_t *fx, unsigned n)
{
    return fx + FX_ST((n - top_of(fx)) & 7);
}

static unsigned expected_tags(const struct instance *i, const struct allowed *a)
{
    const struct expectation *e = i->e;
    const uint8_t *fx = i->test.state.fx;
    unsigned top = top_of(fx), tags = fx[FX_FTW] | a->st;
    for (unsigned n = 0; n < e->pops; n++)
        tags &= ~(1u << ((top + n) & 7));
    return tags;
}

static const char *x87(const struct instance *i, const struct allowed *a)
{
    const struct expectation *e = i->e;
    const uint8_t *before = i->test.state.fx, *after = i->result.state.fx;
    bool enters = e->demands & DEMAND_MMX_STATE;
    for (unsigned n = 0; n < 8; n++) {
        unsigned allowed = a->st | a->mm;
        if (!(allowed >> n & 1) && memcmp(physical(before, n), physical(after, n), 10))
            return say("x87 register %u changed", n);
        if (a->mm >> n & 1 && get16(physical(after, n) + 8) != 0xffff)
            return say("MM%u: sign and exponent are not all ones", n);
    }
    unsigned top = enters ? 0 : (top_of(before) + e->pops - e->pushes + e->turns) & 7;
    if (top_of(after) != top)
        return say("TOP is %u", top_of(after));
    uint16_t status = FSW_CONDITIONS * !!(e->notes | e->turns) | (e->x87 ? FSW_STATUS | e->x87 : 0) | 7u << 11;
    if ((get16(before + FX_FSW) ^ get16(after + FX_FSW)) & ~status)
        return say("FSW is %04x", get16(after + FX_FSW));
    unsigned tags = enters ? 0xff : expected_tags(i, a);
    if (!(e->others & OTHER_TAGS) && after[FX_FTW] != tags)
        return say("the tags are %02x", after[FX_FTW]);
    if (!(e->others & OTHER_FCW) && get16(before + FX_FCW) != get16(after + FX_FCW))
        return say("FCW is %04x", get16(after + FX_FCW));
    return NULL;
}

/* FIP, FOP and FDP: of the last instruction that was not a control instruction. */
static const char *pointers(const struct instance *i)
{
    const struct oracle_state *before = &i->test.state;
    const uint8_t *was = before->fx, *is = i->result.state.fx;
    if (!i->e->notes)
        return memcmp(was + FX_FOP, is + FX_FOP, FX_MXCSR - FX_FOP) ? say("FOP, FIP or FDP changed", 0) : NULL;
    const uint8_t *code = i->test.code;
    while ((*code & 0xf8) != 0xd8)
        code++;
    if (get16(is + FX_FOP) != ((code[0] & 7) << 8 | code[1]))
        return say("FOP is %03x", get16(is + FX_FOP));
    if (get32(is + FX_FIP) != (uint32_t)before->rip)
        return say("FIP is %x", get32(is + FX_FIP));
    uint32_t fdp = before->gpr[i->base];
    if (i->form->mode == ORACLE_16)
        fdp &= 0xffff;
    if (i->e->bytes && get32(is + FX_FDP) != fdp)
        return say("FDP is %x", get32(is + FX_FDP));
    return NULL;
}

/* ---- flags, memory ---- */

static const char *flags(const struct instance *i)
{
    uint64_t before = i->test.state.rflags, after = i->result.state.rflags;
    if ((before ^ after) & 0xcd5 & ~(uint64_t)i->e->flags)
        return say("RFLAGS is %x", after);
    return after & i->e->cleared ? say("RFLAGS is %x: not cleared", after) : NULL;
}

static const char *memory(const struct instance *i)
{
    const struct expectation *e = i->e;
    const uint8_t *before = i->test.state.window, *after = i->result.state.window;
    uint64_t base = i->test.state.gpr[e->by_rdi ? RDI : i->base];
    unsigned at = i->form->mode == ORACLE_16 ? (uint16_t)base - WINDOW_OFFSET : base - instance_linear(i, 0);
    for (unsigned n = 0; n < ORACLE_WINDOW; n++)
        if (before[n] != after[n] && !(e->writes && n - at < e->bytes))
            return say("byte %d of memory, counted from the operand, changed", n - at);
    return NULL;
}

/* ---- was it written at all? ---- */

static bool write_seen(const struct instance *i, const struct expected_write *w)
{
    const struct oracle_state *before = &i->test.state, *after = &i->result.state;
    unsigned n = instance_register(i, w);
    switch ((enum expected_kind)w->kind) {
    case KIND_GPR16: case KIND_GPR32: case KIND_GPR64: return before->gpr[n] != after->gpr[n];
    case KIND_YMM:
        if (!memcmp(before->ymm[n], after->ymm[n], 16))
            return false; /* fall through */
    case KIND_XMM: case KIND_XMM_ZERO: return memcmp(before->fx + FX_XMM(n), after->fx + FX_XMM(n), 16);
    case KIND_MM: return memcmp(physical(before->fx, n & 7), physical(after->fx, n & 7), 8);
    case KIND_ST:
        if (i->form->operand == 1 && i->form->rm == 0)
            return true; /* ST(0) to itself */
        n = (n + top_of(before->fx)) & 7;
        return memcmp(physical(before->fx, n), physical(after->fx, n), 10);
    }
    return false;
}

static const char *width(const struct instance *i, const struct expected_write *w)
{
    static const uint8_t zeros[16];
    const struct oracle_state *before = &i->test.state, *after = &i->result.state;
    unsigned n = instance_register(i, w);
    if (w->kind == KIND_XMM_ZERO && memcmp(after->ymm[n], zeros, 16))
        return say("bits 255:128 of YMM%u are not zero", n);
    if (w->kind == KIND_GPR32 && i->form->mode == ORACLE_64 && after->gpr[n] >> 32)
        return say("bits 63:32 of general register %u are not zero", n);
    uint64_t rest = i->form->mode == ORACLE_64 ? ~UINT64_C(0xffff) : 0xffff0000;
    if (w->kind == KIND_GPR16 && (before->gpr[n] ^ after->gpr[n]) & rest)
        return say("more than 16 bits of general register %u changed", n);
    return NULL;
}

/* ---- the whole ---- */

const char *unexpected(const struct instance *i, uint32_t *seen)
{
    const struct expectation *e = i->e;
    const struct oracle_state *before = &i->test.state, *after = &i->result.state;
    struct allowed a = allowances(i);
    const char *wrong = integer_registers(i, &a);
    wrong = wrong ? wrong : vectors(i, &a);
    wrong = wrong || e->others & OTHER_X87 ? wrong : x87(i, &a);
    wrong = wrong || e->others & OTHER_X87 ? wrong : pointers(i);
    wrong = wrong ? wrong : flags(i);
    wrong = wrong ? wrong : memory(i);
    uint32_t mxcsr = get32(before->fx + FX_MXCSR) ^ get32(after->fx + FX_MXCSR);
    if (!wrong && !(e->others & OTHER_MXCSR) && mxcsr & ~(uint32_t)e->mxcsr)
        wrong = say("MXCSR is %x", get32(after->fx + FX_MXCSR));
    unsigned length = after->rip - before->rip;
    if (!wrong && length != i->test.length)
        wrong = say("it is taken to be %u bytes long", length);
    for (unsigned n = 0; n < EXPECT_WRITES && e->written[n].kind; n++) {
        wrong = wrong ? wrong : width(i, &e->written[n]);
        *seen |= write_seen(i, &e->written[n]) << n;
    }
    if (e->writes && memcmp(before->window, after->window, ORACLE_WINDOW))
        *seen |= 1u << EXPECT_WRITES;
    return wrong;
}

const char *touched(const struct instance *i, uint32_t mxcsr)
{
    const struct oracle_state *before = &i->test.state, *after = &i->result.state;
    if (memcmp(before->gpr, after->gpr, sizeof before->gpr))
        return "a general register changed";
    if (before->rip != after->rip)
        return "RIP changed";
    if ((before->rflags ^ after->rflags) & 0xcd5)
        return "RFLAGS changed";
    if (memcmp(before->fx + FX_XMM(0), after->fx + FX_XMM(0), 256) ||
        memcmp(before->ymm, after->ymm, sizeof before->ymm))
        return "a vector register changed";
    if (memcmp(before->fx, after->fx, FX_MXCSR) || memcmp(before->fx + FX_ST(0), after->fx + FX_ST(0), 128))
        return "x87 state changed";
    if ((get32(before->fx + FX_MXCSR) ^ get32(after->fx + FX_MXCSR)) & ~mxcsr)
        return say("MXCSR is %x", get32(after->fx + FX_MXCSR));
    return memcmp(before->window, after->window, ORACLE_WINDOW) ? "memory changed" : NULL;
}
