/* What a form demands of its operand, of its prefixes and of the processor's state. */
#include "processor/decode.h"

#include "../oracle/encode.h"
#include "check.h"

#define PF_WRITE 2u
#define PF_USER_ACCESS 4u
#define PF_PROTECTED 1u

static bool has_memory(const struct expectation *e)
{
    return e->bytes != 0;
}

/* An offset in the window that is aligned as it must be, and for sizes of a power of two by size. */
static unsigned inside(const struct expectation *e)
{
    return e->bytes > 64 ? 0 : 64;
}

static void make(struct instance *i, const struct expectation *e)
{
    instance_make(i, e, &randomness, TERRAIN_PLAIN, inside(e));
}

/* ---- an instruction that completes ---- */

#define ROUNDS 6
#define MANY_ROUNDS 60 /* until each destination has changed: 1 + tiny is 1 */

void check_operation(const struct expectation *e)
{
    struct instance i;
    uint32_t seen = 0, wanted = e->writes ? 1u << EXPECT_WRITES : 0;
    bool failed = false;
    for (unsigned n = 0; n < EXPECT_WRITES && e->written[n].kind; n++)
        wanted |= 1u << n;
    for (unsigned n = 0; !failed && (n < ROUNDS || (wanted & ~seen && n < MANY_ROUNDS)); n++) {
        make(&i, e);
        i.test.state.rflags = n & 1 ? 0xcd5 & ~RFLAGS_DF : 0;
        if (e->pushes == 0 && e->pops == 0 && n > 3) { /* MMX registers: TOP is 0, and all of them are valid */
            put16(i.test.state.fx + FX_FSW, 0);
            i.test.state.fx[FX_FTW] = 0xff;
        }
        run(&i);
        failed = !ended(&i, ORACLE_DONE, "in a plain state");
        const char *wrong = failed ? NULL : unexpected(&i, &seen);
        if (wrong)
            complain(&i, "%s", wrong), failed = true;
    }
    if (!failed && wanted & ~seen)
        complain(&i, "destinations %x of %x were never written", seen, wanted);
}

/* Each immediate: some have a stub of their own. In one mode, for all share them. */
void check_immediates(const struct expectation *e)
{
    struct instance i;
    if (!e->immediates || forms[e->form].mode != ORACLE_64)
        return;
    for (unsigned immediate = 0; immediate < 256; immediate++) {
        uint32_t seen = 0;
        make(&i, e);
        i.fourth = immediate >> 4;
        i.test.reserved[0] = immediate;
        instance_encode(&i, 16);
        run(&i);
        const char *wrong = ended(&i, ORACLE_DONE, "with some immediate") ? unexpected(&i, &seen) : NULL;
        if (wrong)
            complain(&i, "%s", wrong);
    }
}

/* ---- the operand in memory ---- */

static void expect_page_fault(struct instance *i, unsigned at, unsigned error, const char *what)
{
    run(i);
    if (!ended(i, VECTOR_PF, what))
        return;
    if (i->result.cr2 != instance_linear(i, at))
        complain(i, "%s: CR2 is %#lx, not %#lx", what, i->result.cr2, instance_linear(i, at));
    if (i->result.error != error)
        complain(i, "%s: #PF(%#x), not (%#x)", what, i->result.error, error);
}

static void check_pages(const struct expectation *e)
{
    struct instance i;
    unsigned access = PF_USER_ACCESS | (e->writes ? PF_WRITE : 0), last = BOUNDARY - e->bytes;
    instance_make(&i, e, &randomness, TERRAIN_ABSENT, last);
    run(&i);
    ended(&i, ORACLE_DONE, "with an operand that ends where its page does");
    if (e->bytes > e->alignment) {
        instance_make(&i, e, &randomness, TERRAIN_ABSENT, last + e->alignment);
        expect_page_fault(&i, BOUNDARY, access, "with an operand whose end is on an absent page");
    }
    if (e->bytes <= BOUNDARY) {
        instance_make(&i, e, &randomness, TERRAIN_ABSENT, BOUNDARY);
        expect_page_fault(&i, BOUNDARY, access, "with an operand on an absent page");
        instance_make(&i, e, &randomness, TERRAIN_READ_ONLY, BOUNDARY);
        if (e->writes) {
            expect_page_fault(&i, BOUNDARY, access | PF_PROTECTED, "with an operand that is read-only");
        } else {
            run(&i);
            ended(&i, ORACLE_DONE, "with an operand that is read-only");
        }
    }
}

static void check_alignment(const struct expectation *e)
{
    struct instance i;
    bool aligned = e->alignment > 1;
    for (unsigned step = 1; step < (aligned ? e->alignment : 2u); step *= 2) {
        instance_make(&i, e, &randomness, TERRAIN_PLAIN, inside(e) + step);
        run(&i);
        ended(&i, aligned ? VECTOR_GP : ORACLE_DONE, "with an operand that is not aligned");
    }
    if (aligned) {
        instance_make(&i, e, &randomness, TERRAIN_ABSENT, BOUNDARY + 1);
        run(&i);
        ended(&i, VECTOR_GP, "with an operand that is neither aligned nor there");
    }
    instance_make(&i, e, &randomness, TERRAIN_PLAIN, inside(e) + 1);
    i.test.state.rflags |= RFLAGS_AC;
    if (e->check_ac) {
        run(&i);
        ended(&i, VECTOR_AC, "with alignment checked");
    }
}

static void run_with_limit(struct instance *i, unsigned segment, uint32_t limit)
{
    struct processor *cpu = guest_processor();
    guest_load(&i->test);
    cpu->s.seg[segment].limit = limit;
    cpu_update(cpu);
    guest_go(&i->test, &i->result);
}

static void check_limit(const struct expectation *e)
{
    struct instance i;
    instance_make(&i, e, &randomness, TERRAIN_PLAIN, inside(e));
    if (i.form->mode == ORACLE_64) { /* there are no limits, but what is canonical */
        i.test.state.gpr[i.base] = i.test.state.gpr[RDI] = UINT64_C(1) << 47;
        run(&i);
        ended(&i, VECTOR_GP, "with an operand that is not canonical");
        i.prefix[i.prefixes++] = 0x67; /* 32-bit addresses */
        i.test.state.gpr[i.base] = i.test.state.gpr[RDI] = (0xdeadull << 32) | instance_linear(&i, inside(e));
        instance_encode(&i, 16);
        run(&i);
        ended(&i, ORACLE_DONE, "by an address of 32 bits");
        return;
    }
    uint64_t base = i.test.state.gpr[e->by_rdi ? RDI : RBX];
    uint32_t last = (i.form->mode == ORACLE_16 ? (uint16_t)base : (uint32_t)base) + e->bytes - 1;
    run_with_limit(&i, DS, last);
    ended(&i, ORACLE_DONE, "with an operand that ends where the segment does");
    run_with_limit(&i, DS, last - 1);
    ended(&i, VECTOR_GP, "with an operand whose last byte is beyond the segment");
    i.prefix[i.prefixes++] = 0x36;
    instance_encode(&i, 16);
    run_with_limit(&i, SS, last - 1);
    ended(&i, VECTOR_SS, "with an operand whose last byte is beyond the stack segment");
}

/* VMASKMOVPS and its like: what the mask does not choose is neither read nor written, and raises nothing. */
static void check_mask(const struct expectation *e)
{
    struct instance i;
    for (unsigned chosen = 0; chosen < e->bytes; chosen += e->masked) {
        unsigned at = BOUNDARY - chosen;
        instance_make(&i, e, &randomness, TERRAIN_ABSENT, at);
        uint8_t mask[32] = {0};
        for (unsigned n = 0; n < chosen; n += e->masked)
            mask[n + e->masked - 1] = 0x80;
        memcpy(i.test.state.fx + FX_XMM(i.v), mask, 16);
        memcpy(i.test.state.ymm[i.v], mask + 16, 16);
        run(&i);
        ended(&i, ORACLE_DONE, "with nothing chosen on an absent page");
        mask[chosen + e->masked - 1] = 0x80;
        memcpy(i.test.state.fx + FX_XMM(i.v), mask, 16);
        memcpy(i.test.state.ymm[i.v], mask + 16, 16);
        expect_page_fault(&i, BOUNDARY, PF_USER_ACCESS | (e->writes ? PF_WRITE : 0),
                          "with an element chosen on an absent page");
    }
}

void check_memory(const struct expectation *e)
{
    struct instance i;
    if (!has_memory(e))
        return;
    check_pages(e);
    if (e->bytes > 1)
        check_alignment(e);
    check_limit(e);
    if (e->masked)
        check_mask(e);
    make(&i, e);
    if (i.form->mode == ORACLE_64 && i.form->operand == 2 && !e->gathers) {
        uint32_t seen;
        i.addressing = BY_RIP;
        instance_encode(&i, 16);
        run(&i);
        const char *wrong = ended(&i, ORACLE_DONE, "relative to RIP") && !e->notes ? unexpected(&i, &seen) : NULL;
        if (wrong)
            complain(&i, "relative to RIP: %s", wrong);
    }
}

/* ---- control registers ---- */

struct controls {
    uint64_t cr0_set, cr0_clear, cr4_clear, xcr0;
};

static void run_under(struct instance *i, struct controls c)
{
    struct vcpu_state *s = &guest_processor()->s;
    uint64_t cr0 = s->cr0, cr4 = s->cr4, xcr0 = s->registers.xcr0;
    s->cr0 = (cr0 | c.cr0_set) & ~c.cr0_clear;
    s->cr4 = cr4 & ~c.cr4_clear;
    if (c.xcr0)
        s->registers.xcr0 = c.xcr0;
    run(i);
    s->cr0 = cr0;
    s->cr4 = cr4;
    s->registers.xcr0 = xcr0;
}

/* With its operand on an absent page, so that what is raised is known to come first. */
static void expect_under(const struct expectation *e, struct controls c, unsigned vector, const char *what)
{
    struct instance i;
    bool raises = vector != ORACLE_DONE && has_memory(e) && e->bytes <= BOUNDARY;
    instance_make(&i, e, &randomness, raises ? TERRAIN_ABSENT : TERRAIN_PLAIN, raises ? BOUNDARY : inside(e));
    run_under(&i, c);
    ended(&i, vector, what);
}

static void check_pending(const struct expectation *e)
{
    struct instance i;
    bool raises = e->demands & DEMAND_WAIT && has_memory(e) && e->bytes <= BOUNDARY;
    instance_make(&i, e, &randomness, raises ? TERRAIN_ABSENT : TERRAIN_PLAIN, raises ? BOUNDARY : inside(e));
    uint8_t *fx = i.test.state.fx;
    put16(fx + FX_FCW, 0x37e);
    put16(fx + FX_FSW, get16(fx + FX_FSW) | 0x8081);
    run(&i);
    if (e->demands & DEMAND_WAIT)
        ended(&i, VECTOR_MF, "with an x87 exception pending");
    else if (e->demands & DEMAND_NO_WAIT)
        ended(&i, ORACLE_DONE, "with an x87 exception pending");
}

static void check_real_mode(const struct expectation *e)
{
    struct instance i;
    struct processor *cpu = guest_processor();
    struct vcpu_state *s = &cpu->s;
    make(&i, e);
    guest_load(&i.test);
    uint64_t cr0 = s->cr0, efer = s->efer;
    s->cr0 = CR0_ET | CR0_NE;
    s->efer = 0;
    s->cpl = 0;
    s->seg[CS] = (struct vcpu_segment){GUEST_CODE_PHYSICAL, 0xffff, 0x9b, 0xf000};
    s->rip &= 0xffff;
    cpu_update(cpu);
    guest_go(&i.test, &i.result);
    s->cr0 = cr0;
    s->efer = efer;
    if (i.result.vector != VECTOR_UD)
        complain(&i, "in real mode: vector %u, not #UD", i.result.vector);
}

void check_demands(const struct expectation *e)
{
    unsigned d = e->demands;
    expect_under(e, (struct controls){.cr0_set = CR0_EM},
                 d & DEMAND_EM_UD ? VECTOR_UD : d & DEMAND_EM_NM ? VECTOR_NM : ORACLE_DONE, "with CR0.EM");
    expect_under(e, (struct controls){.cr0_set = CR0_TS | CR0_MP},
                 d & (DEMAND_TS | DEMAND_TS_MP) ? VECTOR_NM : ORACLE_DONE, "with CR0.TS and MP");
    expect_under(e, (struct controls){.cr0_set = CR0_TS, .cr0_clear = CR0_MP}, d & DEMAND_TS ? VECTOR_NM : ORACLE_DONE,
                 "with CR0.TS");
    if (d & (DEMAND_EM_UD | DEMAND_EM_NM))
        expect_under(e, (struct controls){.cr0_set = CR0_EM | CR0_TS}, d & DEMAND_EM_UD ? VECTOR_UD : VECTOR_NM,
                     "with CR0.EM and TS");
    expect_under(e, (struct controls){.cr4_clear = CR4_OSFXSR}, d & DEMAND_OSFXSR ? VECTOR_UD : ORACLE_DONE,
                 "without CR4.OSFXSR");
    unsigned without = d & DEMAND_AVX ? VECTOR_UD : ORACLE_DONE;
    expect_under(e, (struct controls){.cr4_clear = CR4_OSXSAVE}, without, "without CR4.OSXSAVE");
    expect_under(e, (struct controls){.xcr0 = 1}, without, "with XCR0 = 1");
    expect_under(e, (struct controls){.xcr0 = 3}, without, "with XCR0 = 3");
    if (d & DEMAND_AVX)
        expect_under(e, (struct controls){.cr0_set = CR0_TS, .xcr0 = 3}, VECTOR_UD, "with CR0.TS and XCR0 = 3");
    check_pending(e);
    if (d & DEMAND_PROTECTED && forms[e->form].mode != ORACLE_64) /* whose VEX may look like LES and LDS of memory */
        check_real_mode(e);
}

/* ---- prefixes, VEX fields, CPUID ---- */

static void expect_undefined(struct instance *i, const char *what)
{
    run(i);
    ended(i, VECTOR_UD, what);
}

static void check_prefix(const struct expectation *e, uint8_t prefix, const char *what)
{
    struct instance i;
    make(&i, e);
    i.prefix[0] = prefix;
    i.prefixes = 1;
    instance_encode(&i, 16);
    expect_undefined(&i, what);
}

static void check_vex(const struct expectation *e)
{
    struct instance i;
    const struct oracle_form *form = &forms[e->form];
    check_prefix(e, 0x66, "with 66h before VEX");
    check_prefix(e, 0xf2, "with F2h before VEX");
    check_prefix(e, 0xf3, "with F3h before VEX");
    if (form->mode == ORACLE_64)
        check_prefix(e, 0x40, "with REX before VEX");
    for (unsigned v = 1; !e->v_used && v < (form->mode == ORACLE_64 ? 16u : 8u); v++) {
        make(&i, e);
        instance_encode(&i, v);
        expect_undefined(&i, "with VEX.vvvv that names nothing");
    }
    if (e->gathers)
        for (unsigned n = 0; n < 3; n++) { /* destination, index and mask must be three */
            make(&i, e);
            i.reg = n == 0 ? i.v : n == 1 ? i.index : i.reg;
            i.v = n == 2 ? i.index : i.v;
            instance_encode(&i, 16);
            expect_undefined(&i, "with a register named twice");
        }
}

static void check_feature(const struct expectation *e, unsigned number)
{
    struct instance i;
    struct processor *cpu = guest_processor();
    uint64_t *word = &cpu->features[number / 64], bit = UINT64_C(1) << number % 64;
    struct op op = {0};
    bool ends, there = *word & bit;
    make(&i, e);
    *word &= ~bit;
    decode_instruction(cpu, guest_decode_mode(i.form->mode), i.test.code, 15, &op, &ends);
    *word |= there ? bit : 0;
    if (op.fn != op_ud)
        complain(&i, "without its CPUID feature it does not raise #UD");
}

void check_encoding(const struct expectation *e)
{
    check_prefix(e, 0xf0, "with LOCK");
    if (forms[e->form].map >= MAP_VEX)
        check_vex(e);
    if (e->feature - 1 != FEATURE_FPU) /* without one the coprocessor may still be there */
        check_feature(e, e->feature - 1);
    if (e->demands & DEMAND_AVX)
        check_feature(e, FEATURE_AVX);
}
