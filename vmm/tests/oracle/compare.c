/* What may differ: flags and registers that the manual leaves undefined, what changes by itself, what vendors do
 * differently. Everything else must be equal. */
#include <string.h>

#include "processor/decode.h"

#include "encode.h"

enum field { VECTOR, ERROR, CR2, RIP, FLAGS, GPR, SELECTORS, BASES, X87, SSE, MEMORY, STRAYS };
_Static_assert(STRAYS + 1 == ORACLE_FIELDS, "oracle.h");

#define CF 0x001u
#define PF 0x004u
#define AF 0x010u
#define ZF 0x040u
#define SF 0x080u
#define TF 0x100u
#define OF 0x800u
#define RF 0x10000u
#define ALL (CF | PF | AF | ZF | SF | OF)

static uint32_t shift_flags(const struct oracle_case *test, const struct oracle_form *form, const struct op *op)
{
    unsigned bits = 8 * op->size;
    unsigned count = form->opcode >= 0xd2 ? test->state.gpr[1] : form->opcode >= 0xd0 ? 1 : op->imm;
    if (form->opcode < 0xd0)
        count = test->code[test->length - 1];
    count &= bits == 64 ? 63 : 31;
    if (!count)
        return 0;
    uint32_t flags = count > 1 ? OF : 0;
    if (form->reg >= 4)
        flags |= AF | (count >= bits && form->reg != 7 ? CF : 0);
    return flags;
}

static uint32_t double_shift_flags(const struct oracle_case *test, const struct oracle_form *form, const struct op *op)
{
    unsigned bits = 8 * op->size, count = form->opcode & 1 ? test->state.gpr[1] : test->code[test->length - 1];
    count &= bits == 64 ? 63 : 31;
    return !count ? 0 : count > bits ? ALL : AF | (count > 1 ? OF : 0);
}

static uint32_t undefined_one(const struct oracle_case *test, const struct oracle_form *form, const struct op *op)
{
    unsigned opcode = form->opcode, alu = opcode < 0x40 ? opcode >> 3 : opcode <= 0x83 && opcode >= 0x80 ? form->reg : 0;
    if ((opcode < 0x40 && (opcode & 7) < 6) || (opcode >= 0x80 && opcode <= 0x83))
        return alu == 1 || alu == 4 || alu == 6 ? AF : 0;
    switch (opcode) {
    case 0x27: case 0x2f: return OF;
    case 0x37: case 0x3f: return OF | SF | ZF | PF;
    case 0x69: case 0x6b: return SF | ZF | AF | PF;
    case 0x84: case 0x85: case 0xa8: case 0xa9: return AF;
    case 0xc0: case 0xc1: case 0xd0: case 0xd1: case 0xd2: case 0xd3: return shift_flags(test, form, op);
    case 0xd4: case 0xd5: return OF | AF | CF;
    case 0xf6: case 0xf7:
        return form->reg < 2 ? AF : form->reg < 4 ? 0 : form->reg < 6 ? SF | ZF | AF | PF : ALL;
    default: return 0;
    }
}

static uint32_t undefined_0f(const struct oracle_case *test, const struct oracle_form *form, const struct op *op)
{
    switch (form->opcode) {
    case 0xa3: case 0xab: case 0xb3: case 0xbb: case 0xba: return OF | SF | AF | PF;
    case 0xa4: case 0xa5: case 0xac: case 0xad: return double_shift_flags(test, form, op);
    case 0xaf: return SF | ZF | AF | PF;
    case 0xbc: case 0xbd: return (op->form & FORM_REP ? 0 : CF) | OF | SF | AF | PF;
    default: return 0;
    }
}

/* SDM volume 2, "Flags Affected" of each instruction. */
static uint32_t undefined_flags(const struct oracle_case *test, const struct oracle_form *form, const struct op *op)
{
    switch (form->map) {
    case MAP_ONE: return undefined_one(test, form, op);
    case MAP_0F: return undefined_0f(test, form, op);
    case MAP_VEX + 1:
        switch (form->opcode) {
        case 0xf2: case 0xf3: return AF | PF;
        case 0xf5: return form->prefix ? 0 : AF | PF;
        case 0xf7: return form->prefix ? 0 : AF | SF | PF;
        default: return 0;
        }
    default: return 0;
    }
}

/* Results that nobody can foresee: time, random numbers, the processor's own description. */
static bool is_unforeseen(const struct oracle_form *form)
{
    if (form->map != MAP_0F)
        return false;
    switch (form->opcode) {
    case 0x31: case 0xa2: return true;                             /* RDTSC, CPUID */
    case 0x01: return form->operand == 1 && (form->reg == 2 || form->reg == 7); /* XGETBV, RDTSCP */
    case 0xc7: return form->operand == 1;                          /* RDRAND, RDSEED, RDPID */
    default: return false;
    }
}

/* Instructions with a far pointer in memory. */
static bool is_far_pointer(const struct oracle_form *form)
{
    unsigned o = form->opcode;
    return form->map == MAP_ONE ? o == 0xff && (form->reg == 3 || form->reg == 5)
                                : form->map == MAP_0F && (o == 0xb2 || o == 0xb4 || o == 0xb5);
}

/* Also of an instruction that is too long to be decoded. */
static bool has_operand_prefix(const struct oracle_case *test)
{
    static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
    for (unsigned i = 0; i < 15 && memchr(prefixes, test->code[i], sizeof prefixes); i++)
        if (test->code[i] == 0x66)
            return true;
    return false;
}

static bool is_far_call(const struct oracle_form *form)
{
    return form->map == MAP_ONE && form->opcode == 0xff && form->reg == 3;
}

static bool is_canonical(uint64_t address)
{
    return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* Of a memory operand in 64-bit code that does not count from RIP. */
static uint64_t effective_offset_of(const struct oracle_case *test, const struct op *op)
{
    uint64_t base = op->base < 16 ? test->state.gpr[op->base] : 0;
    uint64_t index = op->index < 16 ? test->state.gpr[op->index] << op->scale : 0;
    uint64_t offset = base + index + (int64_t)op->disp;
    return op->form & FORM_ADDRESS32 ? (uint32_t)offset : offset;
}

static bool is_push_segment(const struct oracle_form *form)
{
    unsigned o = form->opcode;
    return form->map == MAP_ONE ? o == 0x06 || o == 0x0e || o == 0x16 || o == 0x1e
                                : form->map == MAP_0F && (o == 0xa0 || o == 0xa8);
}

static bool is_moffs(const struct oracle_form *form)
{
    return form->map == MAP_ONE && form->opcode >= 0xa0 && form->opcode <= 0xa3;
}

static bool is_string_source(const struct oracle_form *form)
{
    unsigned o = form->opcode;
    return form->map == MAP_ONE && (o == 0x6e || o == 0x6f || (o >= 0xa4 && o <= 0xa7) || o == 0xac || o == 0xad);
}

static uint64_t moffs(const struct oracle_case *test)
{
    uint64_t offset = 0;
    if (test->length > sizeof offset)
        memcpy(&offset, test->code + test->length - sizeof offset, sizeof offset);
    return offset;
}

static bool is_near_branch(const struct oracle_form *form)
{
    unsigned o = form->opcode;
    if (form->map == MAP_0F)
        return o >= 0x80 && o <= 0x8f;
    return form->map == MAP_ONE && ((o >= 0x70 && o <= 0x7f) || (o >= 0xe0 && o <= 0xe3) || (o >= 0xe8 && o <= 0xeb) ||
                                    o == 0xc2 || o == 0xc3 || (o == 0xff && (form->reg == 2 || form->reg == 4)));
}

/* Behaviour that AMD's manual and Intel's describe differently, or only one of them: not compared on a host of the
 * other vendor. */
static bool vendors_differ(const struct oracle_case *test, const struct oracle_form *form, const struct op *op)
{
    if (form->map == MAP_0F && form->opcode == 0x07 && test->mode != ORACLE_64)
        return true; /* AMD has SYSRET (and so #GP at CPL 3) in legacy modes (APM volume 3, SYSRET) */
    if (form->map == MAP_0F && form->opcode == 0x00 && op->fn == op_ud)
        return true; /* AMD: LOCK VERR and VERW are no #UD */
    if (form->map == MAP_ONE && (form->opcode == 0xe0 || form->opcode == 0xe1) && op->form & (FORM_REP | FORM_REPNE))
        return true; /* AMD: F2h and F3h choose the condition of LOOPcc; not in the manuals */
    if (form->map == MAP_ONE && form->opcode >= 0x6c && form->opcode <= 0x6f && op->form & (FORM_REP | FORM_REPNE))
        return true; /* with rCX zero: AMD checks the permission all the same */
    if (form->map == MAP_0F && (form->opcode == 0x20 || form->opcode == 0x22) && op->fn == op_ud)
        return true; /* AMD: LOCK MOV CR0 is MOV CR8 */
    if (form->map == MAP_VEX + 2 && (form->opcode == 0x16 || form->opcode == 0x22) && form->w && test->mode != ORACLE_64)
        return true; /* VPEXTRD, VPINSRD with W outside 64-bit code: Intel ignores it, AMD raises #UD */
    if (is_far_call(form) && test->mode == ORACLE_64 && test->state.gpr[RSP] >> 32)
        return true; /* AMD pushes by ESP when the target is legacy code */
    if (op->seg >= FS && op->form & FORM_MEMORY && test->mode == ORACLE_64 &&
        !(is_canonical(effective_offset_of(test, op)) && is_canonical(effective_offset_of(test, op) + 63)))
        return true; /* AMD: the offset must be canonical, not only the linear address (APM volume 1, 2.2.1) */
    if (op->seg >= FS && is_moffs(form) && test->mode == ORACLE_64 && !(is_canonical(moffs(test)) && is_canonical(moffs(test) + 7)))
        return true; /* the same of MOV's own offset */
    if (op->seg >= FS && is_string_source(form) && test->mode == ORACLE_64 &&
        !(is_canonical(test->state.gpr[RSI]) && is_canonical(test->state.gpr[RSI] + 7)))
        return true; /* and of the source of MOVS, LODS, CMPS and OUTS */
    if (is_near_branch(form) && test->mode == ORACLE_64 && has_operand_prefix(test))
        return true; /* AMD: 66h makes near branches 16 bits wide (APM volume 3, JMP near) */
    if (is_far_pointer(form) && op->size == 8)
        return true; /* AMD: offsets of far pointers have at most 32 bits (APM volume 3, LSS, JMP far) */
    if (is_push_segment(form) && op->size == 4)
        return true; /* Intel writes the selector's two bytes only (SDM volume 2, PUSH) */
    return false;
}

static bool differs(const void *a, const void *b, size_t size)
{
    return memcmp(a, b, size) != 0;
}

/* FOP, FIP and FDP are the processor's own business; of a register 80 bits count. */
static bool x87_differs(const uint8_t *a, const uint8_t *b)
{
    bool different = differs(a, b, 5);
    for (unsigned i = 0; i < 8; i++)
        different = different || differs(a + 32 + 16 * i, b + 32 + 16 * i, 10);
    return different;
}

static bool sse_differs(const struct oracle_state *a, const struct oracle_state *b)
{
    return differs(a->fx + 24, b->fx + 24, 4) || differs(a->fx + 160, b->fx + 160, 256) ||
           (with_avx && differs(a->ymm, b->ymm, sizeof a->ymm));
}

/* Where an image of the x87 state in memory holds its pointers. */
struct span {
    unsigned from, to;
};
static struct span pointers(const struct oracle_form *form)
{
    if (form->map == MAP_0F && (form->opcode == 0xae || form->opcode == 0xc7) && form->operand == 2)
        return (struct span){5, 32};
    return (struct span){0, 0};
}

static bool is_environment(const struct oracle_form *form) /* FNSTENV, FNSAVE */
{
    return form->map == MAP_ONE && form->operand == 2 && form->reg == 6 && (form->opcode == 0xd9 || form->opcode == 0xdd);
}

static bool memory_differs(const struct oracle_case *test, const struct oracle_form *form, const struct op *op,
                           const uint8_t *a, const uint8_t *b)
{
    if (!memcmp(a, b, ORACLE_WINDOW))
        return false;
    struct span span = pointers(form);
    if (is_environment(form))
        span = op->size == 2 ? (struct span){6, 14} : (struct span){12, 28};
    if (!span.to)
        return true;
    /* Wherever the image begins: bytes outside a stretch of that length may not differ. */
    unsigned first = 0, last = ORACLE_WINDOW - 1;
    while (first < ORACLE_WINDOW && a[first] == b[first])
        first++;
    while (last > first && a[last] == b[last])
        last--;
    (void)test;
    return last - first >= span.to - span.from;
}

static bool gpr_differs(const struct oracle_case *test, const struct oracle_state *after, const uint64_t *a,
                        const uint64_t *b)
{
    if (test->mode == ORACLE_64 && after->selector[CS] == USER_CS)
        return differs(a, b, 16 * sizeof *a);
    /* AMD: a far RET that releases parameters carries into the upper half of ESP with a 16-bit stack. */
    const struct oracle_form *form = &forms[test->form];
    bool carries = form->map == MAP_ONE && form->opcode == 0xca;
    for (unsigned i = 0; i < 8; i++)
        if (i == RSP && carries ? (uint16_t)a[i] != (uint16_t)b[i] : (uint32_t)a[i] != (uint32_t)b[i])
            return true;
    return false;
}

static bool selectors_differ(const uint16_t *a, const uint16_t *b)
{
    for (unsigned i = 0; i < 6; i++)
        if (a[i] != b[i] && (a[i] > 3 || b[i] > 3)) /* Linux's IRET to the handler clears the RPL of a null selector */
            return true;
    return false;
}

static bool is_pop_segment(const struct oracle_form *form)
{
    unsigned o = form->opcode;
    return form->map == MAP_ONE ? o == 0x07 || o == 0x17 || o == 0x1f : form->map == MAP_0F && (o == 0xa1 || o == 0xa9);
}

/* FLDENV, FNSTENV, FRSTOR, FNSAVE, FLD, FSTP, FBLD and FBSTP of 10 bytes: more than one access. */
static bool is_state(const struct oracle_form *form)
{
    return form->operand == 2 && (form->opcode == 0xdb || (form->opcode == 0xdf && (form->reg == 4 || form->reg == 6)) ||
                                  (form->opcode == 0xd9 && (form->reg == 4 || form->reg == 6)) ||
                                  (form->opcode == 0xdd && (form->reg == 4 || form->reg == 6)));
}

/* VMASKMOVPS and VMASKMOVPD, VPMASKMOVD and VPMASKMOVQ. */
static bool is_masked(const struct oracle_form *form)
{
    return form->map == MAP_VEX + 1 && ((form->opcode >= 0x2c && form->opcode <= 0x2f) || form->opcode == 0x8c || form->opcode == 0x8e);
}

/* BOUND, far pointers, FXSAVE's and XSAVE's areas: an operand that is read or written in several accesses. */
static bool in_parts(const struct oracle_form *form)
{
    unsigned o = form->opcode;
    return form->map == MAP_ONE ? o == 0x62 : form->map == MAP_0F && (o == 0xae || o == 0xb2 || o == 0xb4 || o == 0xb5);
}

static bool of_operand(unsigned vector)
{
    return vector == VECTOR_AC || vector == VECTOR_PF || vector == VECTOR_GP || vector == VECTOR_SS;
}

/* The order of faults within one instruction that makes several accesses is each processor's own. */
static bool order_differs(const struct oracle_form *form, unsigned ours, unsigned host, bool wraps)
{
    unsigned o = form->opcode;
    if (ours == host)
        return false;
    if (is_pop_segment(form))
        return true; /* of a slot of 4 or 8 bytes some read only the selector */
    if ((form->map == MAP_0F || form->map == MAP_VEX) && o == 0xae && ours == VECTOR_GP && host == ORACLE_DONE)
        return true; /* AMD: MXCSR has a bit 17 (APM volume 2, misaligned exception mask) */
    if (host == VECTOR_AC && form->map != MAP_ONE)
        return true; /* SSE operands of 16 bytes: on AMD #AC, on Intel none (SDM volume 2, table 2-20) */
    if ((ours == VECTOR_AC || host == VECTOR_AC) && ours != ORACLE_DONE)
        return of_operand(ours) && of_operand(host);
    if (form->map == MAP_0F && o == 0xae && form->reg == 5 && ours == ORACLE_DONE)
        return true; /* XRSTOR: components that are in their initial state need not be there */
    if ((form->map == MAP_0F38 && o >= 0xc8 && o <= 0xcd) || (form->map == MAP_0F3A && o == 0xcc))
        return ours == VECTOR_GP; /* SHA: AMD demands no alignment */
    if (ours == ORACLE_DONE && host == VECTOR_AC)
        return form->map == MAP_ONE && (o == 0x07 || o == 0x17 || o == 0x1f); /* POP of a segment register: its width */
    if (ours == VECTOR_SS && host == VECTOR_GP && form->map != MAP_ONE)
        return true; /* beyond SS's limit and misaligned */
    if (wraps && ours == VECTOR_PF && (host == VECTOR_GP || host == VECTOR_SS))
        return true; /* at the end of the 4 GiB of a flat segment */
    if ((form->map == MAP_0F || form->map == MAP_VEX) && o == 0xf7)
        return ours == ORACLE_DONE || host == VECTOR_PF; /* MASKMOVDQU, MASKMOVQ without a byte to store: faults are the processor's choice */
    if (is_masked(form) && ours == VECTOR_PF && host == VECTOR_GP)
        return true; /* over the end of the canonical addresses: of the whole operand, or of the selected elements alone */
    if (in_parts(form) && (ours == VECTOR_GP || ours == VECTOR_SS) && host == VECTOR_PF)
        return true; /* the limit of the whole operand first, or one part after the other */
    return form->map == MAP_ONE && (o == 0x63 || o == 0xa6 || o == 0xa7 || o == 0xca || o == 0xcb || o == 0xcf ||
                                    o == 0x9a || o == 0xe8 || o == 0xff || o == 0xc4 || o == 0xc5 ||
                                    is_state(form));
}

/* May the fault's address be another part of the operand's (images of state, frames), or another operand's? */
static bool cr2_differs(const struct oracle_form *form, uint64_t ours, uint64_t host, bool same_vendor)
{
    unsigned o = form->opcode;
    if (ours == host)
        return false;
    if (same_vendor)
        return true;
    if (form->map == MAP_ONE && (o == 0xa6 || o == 0xa7))
        return false;
    bool parts = form->map == MAP_ONE ? o == 0xca || o == 0xcb || o == 0xcf || o == 0xd9 || o == 0xdd || o == 0xff
                                      : form->map == MAP_0F && (o == 0xae || o == 0xc7);
    int distance = (int16_t)(ours - host); /* a frame may wrap at 64 KiB or 4 GiB */
    return !parts || distance < -1024 || distance > 1024;
}

#define LINUX_END 0x7ffffffff000 /* of what a process may have */

static bool error_differs(const struct oracle_result *ours, const struct oracle_result *host)
{
    uint32_t ignored = 0;
    if (host->vector == VECTOR_PF && host->cr2 >= LINUX_END)
        ignored = PF_PRESENT; /* Linux does not tell what is mapped in its half */
    return ours->vector != ORACLE_DONE && ((ours->error ^ host->error) & ~ignored);
}

/* Cases run under TF, whose trap comes in lieu of the fault of a gather that has loaded an element. */
static bool is_gather(const struct oracle_form *form)
{
    return form->map == MAP_VEX + 1 && form->opcode >= 0x90 && form->opcode <= 0x93;
}

bool strays_count(const struct oracle_case *test, bool same_vendor)
{
    const struct oracle_form *form = &forms[test->form];
    struct op op = {0};
    bool ends;
    decode_instruction(guest_processor(), guest_decode_mode(test->mode), test->code, 15, &op, &ends);
    bool result_undefined = undefined_flags(test, form, &op) == ALL && form->opcode >= 0xa4 && form->opcode <= 0xad;
    return !pointers(form).to && !is_environment(form) && !is_unforeseen(form) &&
           (same_vendor || !(vendors_differ(test, form, &op) || result_undefined || test->state.rflags & RFLAGS_AC ||
                             (form->map == MAP_ONE && form->opcode == 0x60)));
}

uint32_t compare(const struct oracle_case *test, const struct oracle_result *ours, const struct oracle_result *host,
                 bool same_vendor)
{
    const struct oracle_form *form = &forms[test->form];
    const struct oracle_state *a = &ours->state, *b = &host->state;
    struct op op = {0};
    bool ends;
    uint32_t fields = 0, flags = ~(TF | RF);
    decode_instruction(guest_processor(), guest_decode_mode(test->mode), test->code, 15, &op, &ends);
    if (!same_vendor && vendors_differ(test, form, &op))
        return 0;
    /* #AC of an SSE operand, which only AMD has: some hypervisors make a single step of it. */
    if (!same_vendor && form->map != MAP_ONE && test->state.rflags & RFLAGS_AC && host->vector == ORACLE_DONE &&
        b->rip == test->state.rip && a->rip != b->rip)
        return 0;
    bool trapped = is_gather(form) && ours->vector == VECTOR_DB && host->vector == ORACLE_DONE && a->rip == b->rip;
    if (ours->vector != host->vector && !trapped)
        return !same_vendor && order_differs(form, ours->vector, host->vector,
                                             test->mode != ORACLE_64 && ours->cr2 + 64 > 0xffffffff) ? 0 : 1u << VECTOR;
    uint32_t undefined = same_vendor || ours->vector != ORACLE_DONE ? 0 : undefined_flags(test, form, &op);
    bool nothing = undefined == ALL && form->opcode >= 0xa4 && form->opcode <= 0xad; /* SHLD, SHRD: result undefined */
    /* A return checks its selectors and RIP in an order of its own. */
    bool returns = form->map == MAP_ONE && (form->opcode == 0xca || form->opcode == 0xcb || form->opcode == 0xcf);
    fields |= (error_differs(ours, host) && (same_vendor || !returns) && !trapped) << ERROR;
    fields |= (ours->vector == VECTOR_PF && !trapped && cr2_differs(form, ours->cr2, host->cr2, same_vendor)) << CR2;
    fields |= (test->mode == ORACLE_64 ? a->rip != b->rip : (uint32_t)a->rip != (uint32_t)b->rip) << RIP;
    fields |= selectors_differ(a->selector, b->selector) << SELECTORS;
    /* AMD enters MMX state before the memory access of MASKMOVQ. */
    bool entered = !same_vendor && form->map == MAP_0F && form->opcode == 0xf7 && ours->vector != ORACLE_DONE;
    fields |= (!entered && x87_differs(a->fx, b->fx)) << X87;
    fields |= sse_differs(a, b) << SSE;
    if (is_unforeseen(form) || nothing)
        return fields;
    fields |= (((a->rflags ^ b->rflags) & flags & ~undefined) != 0) << FLAGS;
    /* AMD: POPA leaves what it has popped before a fault, PUSHA what it has pushed. */
    bool popped = !same_vendor && form->map == MAP_ONE && form->opcode == 0x61 && ours->vector != ORACLE_DONE;
    fields |= (!popped && gpr_differs(test, a, a->gpr, b->gpr)) << GPR;
    if (test->mode == ORACLE_64)
        fields |= (a->fs_base != b->fs_base || a->gs_base != b->gs_base) << BASES;
    bool pushed = !same_vendor && form->map == MAP_ONE && form->opcode == 0x60 && ours->vector != ORACLE_DONE;
    fields |= (!pushed && memory_differs(test, form, &op, a->window, b->window)) << MEMORY;
    return fields;
}
