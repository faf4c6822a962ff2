/* AVX, AVX2, FMA, F16C and the VEX forms of SSE, AES and PCLMULQDQ: by the host's own instructions.
 *
 * avx_rows.h lists the instructions by form. What computes is assembled once for each instruction, VEX.L and immediate
 * as `op xmm0 [, xmm1], xmm2 [, imm or xmm3]; ret`: a *stub*, which runs on copies of the operands. What only moves is
 * C (avx_move.c). The low halves of the registers are fpu.xmm, where legacy SSE finds them; the high halves are
 * registers.ymm_high, which it leaves alone and every VEX.128 clears. Exceptions by class: SDM vol. 2, 2.4 to 2.8. */
#include "avx.h"
#include "avx_rows.h"

/* ---- the stubs ---- */

#define STUB_BYTES 8

#define VALUE_0F "1"
#define VALUE_0F38 "2"
#define VALUE_0F3A "3"
#define VALUE_NP "0"
#define VALUE_P66 "1"
#define VALUE_PF3 "2"
#define VALUE_PF2 "3"
#define VALUE_W0 "0"
#define VALUE_W1 "0x80"
#define VALUE_WIG "0"
#define VVVV_1 "0x70"
#define VVVV_NONE "0x78"

#define STUB(label, count, map, prefix, opcode, w, vvvv, modrm, immediate)                                             \
    extern const uint8_t vex_##label[] __attribute__((visibility("hidden")));                                          \
    __asm__(".pushsection .text.vex_stubs, \"ax\", @progbits\n"                                                        \
            "\t.balign 8\n"                                                                                            \
            "vex_" #label ":\n"                                                                                        \
            "\t.irp l, 0, 4\n"                                                                                         \
            "\t.set .Limmediate, 0\n"                                                                                  \
            "\t.rept " #count "\n"                                                                                     \
            "\t.byte 0xc4, 0xe0 | " VALUE_##map ", " VALUE_##w " | " VVVV_##vvvv " | \\l | " VALUE_##prefix            \
            ", " #opcode ", " #modrm immediate "\n"                                                                    \
            "\tret\n"                                                                                                  \
            "\t.balign 8\n"                                                                                            \
            "\t.set .Limmediate, .Limmediate + 1\n"                                                                    \
            "\t.endr\n"                                                                                                \
            "\t.endr\n"                                                                                                \
            "\t.popsection\n");
#define NO_IMMEDIATE
#define EVERY_IMMEDIATE ", .Limmediate"
#define XMM3_IMMEDIATE ", 0x30"

/* ModRM: c2h is (xmm0 or eax, xmm2), c0h (xmm0, eax), d0h (xmm2, xmm0). */
#define STUB_RVM(n, m, p, o, w) STUB(n, 1, m, p, o, w, 1, 0xc2, NO_IMMEDIATE)
#define STUB_RVMI(n, m, p, o, w) STUB(n, 256, m, p, o, w, 1, 0xc2, EVERY_IMMEDIATE)
#define STUB_RVMR(n, m, p, o, w) STUB(n, 1, m, p, o, w, 1, 0xc2, XMM3_IMMEDIATE)
#define STUB_RM(n, m, p, o, w) STUB(n, 1, m, p, o, w, NONE, 0xc2, NO_IMMEDIATE)
#define STUB_RMI(n, m, p, o, w) STUB(n, 256, m, p, o, w, NONE, 0xc2, EVERY_IMMEDIATE)
#define STUB_MRI(n, m, p, o, w) STUB(n, 256, m, p, o, w, NONE, 0xd0, EVERY_IMMEDIATE)
#define STUB_COMPARE(n, m, p, o, w) STUB_RM(n, m, p, o, w)
#define STUB_TO_GENERAL(n, m, p, o, w) STUB_RM(n, m, p, o, w)
#define STUB_FROM_GENERAL(n, m, p, o, w) STUB(n, 1, m, p, o, w, 1, 0xc0, NO_IMMEDIATE)
#define STUB_STRING_MASK(n, m, p, o, w) STUB_RMI(n, m, p, o, w)
#define STUB_STRING_INDEX(n, m, p, o, w) STUB_RMI(n, m, p, o, w)

#define X(form, map, prefix, opcode, w, name, m0, m1, f0, f1, a) STUB_##form(name, map, prefix, opcode, w)
AVX_STUB_ROWS(X)
#undef X
/* The destination is in vvvv. */
#define X(opcode, reg, name) STUB(name##_immediate, 256, 0F, P66, opcode, WIG, NONE, 0xc2 | reg << 3, EVERY_IMMEDIATE)
AVX_SHIFT_ROWS(X)
#undef X

/* ---- rows ---- */

#define FEATURE_NONE 0xff

enum row_number {
    ROW_ABSENT,
#define X(form, map, prefix, opcode, w, name, m0, m1, f0, f1, a) ROW_##name,
    AVX_ROWS(X)
#undef X
#define X(opcode, reg, name) ROW_##name##_immediate,
        AVX_SHIFT_ROWS(X)
#undef X
};

const struct avx_row avx_rows[] = {
#define X(form, map, prefix, opcode, w, name, m0, m1, f0, f1, a)                                                       \
    [ROW_##name] = {vex_##name, form, a, {m0, m1}, {FEATURE_##f0, FEATURE_##f1}},
    AVX_STUB_ROWS(X)
#undef X
#define X(form, map, prefix, opcode, w, name, m0, m1, f0, f1, a)                                                       \
    [ROW_##name] = {NULL, form, a, {m0, m1}, {FEATURE_##f0, FEATURE_##f1}},
    AVX_MOVE_ROWS(X)
#undef X
#define X(opcode, reg, name)                                                                                           \
    [ROW_##name##_immediate] = {vex_##name##_immediate, VMI, REGISTER_ONLY, {0, 0}, {FEATURE_AVX, FEATURE_AVX2}},
    AVX_SHIFT_ROWS(X)
#undef X
};

#define NUMBER_W0(map, prefix, opcode, name) [0][MAP_##map - MAP_0F][prefix][opcode] = ROW_##name,
#define NUMBER_W1(map, prefix, opcode, name) [1][MAP_##map - MAP_0F][prefix][opcode] = ROW_##name,
#define NUMBER_WIG(map, prefix, opcode, name)                                                                          \
    NUMBER_W0(map, prefix, opcode, name) NUMBER_W1(map, prefix, opcode, name)
static const uint16_t row_number[2][3][4][256] = {
#define X(form, map, prefix, opcode, w, name, m0, m1, f0, f1, a) NUMBER_##w(map, prefix, opcode, name)
    AVX_ROWS(X)
#undef X
};
static const uint16_t shift_number[3][8] = {
#define X(opcode, reg, name) [(opcode) - 0x71][reg] = ROW_##name##_immediate,
    AVX_SHIFT_ROWS(X)
#undef X
};

/* ---- computation ---- */

/* xmm0 to xmm3 (or ymm), rax and rdx before; xmm0, rax, rcx and the flags after. */
struct computation {
    struct vector in[4], out;
    uint64_t general, rdx; /* rax */
    uint64_t rax, rcx;
    uint32_t flags;
    bool wide;
    const uint8_t *stub;
};
_Static_assert(offsetof(struct computation, out) == 128, "as the assembly has it");

#define COMPUTE(r, z)                                                                                                  \
    __asm__ volatile("vmovdqu (%[c]), %%" #r "mm0\n\t"                                                                 \
                     "vmovdqu 32(%[c]), %%" #r "mm1\n\t"                                                               \
                     "vmovdqu 64(%[c]), %%" #r "mm2\n\t"                                                               \
                     "vmovdqu 96(%[c]), %%" #r "mm3\n\t"                                                               \
                     "call *%[stub]\n\t"                                                                               \
                     "vmovdqu %%" #r "mm0, 128(%[c])\n\t" z "mov %%rax, %[result]\n\t"                                 \
                     "lahf\n\t"                                                                                        \
                     "seto %%al"                                                                                       \
                     : "+a"(rax), "=&c"(rcx), [result] "=&r"(result)                                                   \
                     : "d"(c->rdx), [c] "r"(c), [stub] "r"(c->stub)                                                    \
                     : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3")

static void compute(void *context)
{
    struct computation *c = context;
    uint64_t rax = c->general, rcx, result;
    if (c->wide)
        COMPUTE(y, "vzeroupper\n\t");
    else
        COMPUTE(x, "");
    c->rax = result;
    c->rcx = rcx;
    c->flags = rax;
}

/* By form: what goes in. */
static void gather_operands(struct processor *cpu, const struct op *op, const struct avx_row *row, unsigned size,
                            struct computation *c)
{
    bool string = row->form == STRING_MASK || row->form == STRING_INDEX;
    if (row->form == FROM_GENERAL) {
        c->general = general(cpu, op, row, size);
    } else if (row->form == MRI) {
        c->in[2] = get(cpu, op->src);
    } else {
        c->in[2] = source(cpu, op, row, size);
        if (row->form != TO_GENERAL)
            c->in[0] = get(cpu, op->dst);
    }
    c->in[1] = get(cpu, IMM_V(op));
    c->in[3] = get(cpu, IMM_FOURTH(op));
    if (string) {
        c->general = simd_string_length(cpu->s.registers.gpr[RAX], op->size == 8);
        c->rdx = simd_string_length(cpu->s.registers.gpr[RDX], op->size == 8);
    }
}

/* And what comes out of it. */
static void put_results(struct processor *cpu, const struct op *op, const struct avx_row *row, unsigned size,
                        const struct computation *c)
{
    uint64_t *gpr = cpu->s.registers.gpr;
    switch ((enum avx_form)row->form) {
    case TO_GENERAL: REG64(cpu, op->dst) = c->rax; break;
    case COMPARE: cpu->s.flags = c->flags; break;
    case STRING_INDEX:
        gpr[RCX] = (uint32_t)c->rcx;
        cpu->s.flags = c->flags;
        break;
    case STRING_MASK:
        set(cpu, 0, &c->out, false);
        cpu->s.flags = c->flags;
        break;
    case MRI:
        if (op->form & FORM_MEMORY)
            store(cpu, op, row, &c->out, size);
        else
            set(cpu, op->dst, &c->out, false); /* 128 bits at most, and zeros */
        break;
    default: set(cpu, op->dst, &c->out, c->wide);
    }
}

static __attribute__((noinline)) void operate(struct processor *cpu, const struct op *op, bool checked)
{
    const struct avx_row *row = IMM_ROW(op);
    unsigned wide = IMM_WIDE(op), size = row->size[wide];
    bool by_immediate = row->form == RVMI || row->form == RMI || row->form == VMI || row->form == MRI ||
                        row->form == STRING_MASK || row->form == STRING_INDEX;
    struct computation c = {.wide = wide};
    c.stub = row->stubs + STUB_BYTES * (by_immediate ? wide << 8 | IMM_BYTE(op) : wide);
    gather_operands(cpu, op, row, size, &c);
    if (row->form == MRI && op->form & FORM_MEMORY) /* no flag in MXCSR when the store faults */
        mmu_probe(cpu, op, ea_any(cpu, op, size, true), size, op->seg, true);
    if (!checked) {
        compute(&c);
    } else {
        fpu_leave(cpu);
        simd_judge(cpu, op, compute, &c);
    }
    put_results(cpu, op, row, size, &c);
}

static HANDLER(vex_quiet)
{
    operate(cpu, op, false);
    NEXT;
}

static HANDLER(vex_arithmetic)
{
    if (unlikely(!(cpu->fpu_live & FPU_MXCSR)))
        return fpu_load_mxcsr(cpu, op);
    operate(cpu, op, false);
    NEXT;
}

static HANDLER(vex_checked)
{
    operate(cpu, op, true);
    NEXT;
}

/* ---- MXCSR ---- */

static HANDLER(vex_unavailable)
{
    fpu_demand_avx(cpu, op);
    __builtin_unreachable(); /* the mode bits say that it raises */
}

/* 0F AE */
static bool set_up_mxcsr(struct decode *d)
{
    unsigned reg = d->modrm >> 3 & 7;
    if (d->mod == 3 || d->vex_l || d->vvvv || simd_prefix(d) != NP || (reg != 2 && reg != 3) ||
        !has_feature(d->cpu, FEATURE_AVX))
        return false;
    d->op->fn = d->mode & MODE_NO_AVX ? vex_unavailable : reg == 2 ? op_vldmxcsr : op_vstmxcsr;
    d->ends = reg == 2;
    return true;
}

/* ---- decoding ---- */

static bool has_v(const struct avx_row *row, bool memory)
{
    switch ((enum avx_form)row->form) {
    case RVM: case RVMI: case RVMR: case VMI: case FROM_GENERAL: case MOVE_LOW: case MOVE_HIGH: case INSERT:
    case INSERT_HALF: case MASKED_LOAD: case MASKED_STORE: case GATHER_D: case GATHER_Q:
        return true;
    case LOAD_SCALAR: case STORE_SCALAR: return !memory;
    default: return false;
    }
}

static void set_registers(const struct decode *d, const struct avx_row *row)
{
    struct op *op = d->op;
    op->dst = XMM_OFFSET(d->reg);
    op->src = XMM_OFFSET(d->rm);
    switch ((enum avx_form)row->form) {
    case VMI: op->dst = XMM_OFFSET(d->vvvv); break;
    case TO_GENERAL: case EXTRACT_WORD: op->dst = GPR_OFFSET(d->reg); break;
    case FROM_GENERAL: case INSERT: case LOAD_GENERAL: op->src = GPR_OFFSET(d->rm); break;
    case STORE: case STORE_SCALAR: case EXTRACT_HALF: case MRI: case MASKED_STORE:
        op->dst = XMM_OFFSET(d->rm), op->src = XMM_OFFSET(d->reg);
        break;
    case STORE_GENERAL: case EXTRACT: op->dst = GPR_OFFSET(d->rm), op->src = XMM_OFFSET(d->reg); break;
    default: break;
    }
}

/* VSIB (SDM vol. 2, 2.3.12): the index is a vector register, which op->src holds. */
static bool set_up_gather(struct decode *d)
{
    struct op *op = d->op;
    unsigned index = (d->sib >> 3 & 7) | (d->rex & 2) << 2;
    if ((d->modrm & 7) != 4 || d->address_size == 2 || index == d->reg || index == d->vvvv || d->reg == d->vvvv)
        return false;
    op->src = XMM_OFFSET(index);
    op->index = SLOT_ZERO;
    op->scale = d->sib >> 6;
    op->fn = vex_gather;
    return true;
}

static bool set_up_row(struct decode *d, const struct avx_row *row)
{
    struct op *op = d->op;
    switch ((enum avx_form)row->form) {
    case RVM: case RVMI: case RVMR: case RM: case RMI: case MRI: case VMI: case COMPARE: case TO_GENERAL:
    case FROM_GENERAL: case STRING_MASK: case STRING_INDEX:
        op->fn = !(row->attributes & ARITHMETIC) ? vex_quiet
                 : d->mode & MODE_SSE_CHECKED    ? vex_checked
                                                 : vex_arithmetic;
        return true;
    case MASKED_LOAD: case MASKED_STORE: op->fn = vex_masked; return true;
    case GATHER_D: case GATHER_Q: return set_up_gather(d);
    case STORE_BYTES:
        op->base = RDI;
        op->seg = d->has_segment ? d->segment : DS;
        op->fn = vex_store_bytes;
        return true;
    default: op->fn = vex_move; return true;
    }
}

static unsigned find(const struct decode *d)
{
    enum simd_prefix prefix = simd_prefix(d);
    if (d->map == MAP_0F && d->opcode >= 0x71 && d->opcode <= 0x73)
        return prefix == P66 ? shift_number[d->opcode - 0x71][d->modrm >> 3 & 7] : ROW_ABSENT;
    unsigned number = row_number[d->vex_w][d->map - MAP_0F][prefix][d->opcode];
    enum avx_form form = avx_rows[number].form;
    /* Outside 64-bit code VEX.W does not widen a general register. */
    if (d->vex_w && (d->mode & MODE_CODE) != MODE_CODE64 &&
        (form == TO_GENERAL || form == FROM_GENERAL || form == LOAD_GENERAL || form == STORE_GENERAL ||
         form == INSERT || form == EXTRACT))
        number = row_number[0][d->map - MAP_0F][prefix][d->opcode];
    return number;
}

bool set_up_avx(struct decode *d)
{
    struct op *op = d->op;
    if (d->map == MAP_0F && d->opcode == 0xae)
        return set_up_mxcsr(d);
    unsigned number = find(d);
    const struct avx_row *row = &avx_rows[number];
    bool memory = op->form & FORM_MEMORY;
    if (!number || (memory ? row->attributes & REGISTER_ONLY : row->attributes & MEMORY_ONLY))
        return false;
    unsigned wide = row->attributes & LIG ? 0 : d->vex_l, feature = row->feature[wide];
    if (feature == FEATURE_NONE || !has_feature(d->cpu, FEATURE_AVX) || !has_feature(d->cpu, feature) ||
        (!memory && row->attributes & REGISTER_AVX2 && !has_feature(d->cpu, FEATURE_AVX2)) ||
        (!has_v(row, memory) && d->vvvv))
        return false;
    uint64_t byte = (uint8_t)op->imm & (memory && row->attributes & ONE_LANE ? 0x3f : 0xff);
    unsigned fourth = (uint8_t)op->imm >> 4 & ((d->mode & MODE_CODE) == MODE_CODE64 ? 15 : 7);
    op->imm = number | wide << 16 | byte << 24 | (uint64_t)d->vvvv << 32 | (uint64_t)fourth << 36;
    set_registers(d, row);
    if (!set_up_row(d, row))
        return false;
    if (d->mode & MODE_NO_AVX)
        op->fn = vex_unavailable;
    return true;
}
