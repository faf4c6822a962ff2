/* x87: D8h to DFh, by the host's own instruction of the same bytes on the guest's registers (fpu.h). */
#include "decode.h"
#include "fpu.h"

#include <string.h>

/* The operation's `imm` is its FOP: opcode bits 2:0 and ModRM. It also finds the row of a memory form again. */

static inline void note(struct processor *cpu, const struct op *op)
{
    FPU(cpu).fip = cpu->s.rip + op->offset;
    FPU(cpu).fop = op->imm;
}

static inline void note_operand(struct processor *cpu, const struct op *op, uint64_t linear)
{
    FPU(cpu).fdp = op->form & FORM_GENERAL ? effective_offset(cpu, op) : linear;
}

#define GO_LIVE                                                                                                        \
    if (unlikely(!(cpu->fpu_live & FPU_X87)))                                                                          \
    return fpu_load_x87(cpu, op)

/* ---- register forms ---- */

#define LOW(X, o, h) X(o, h##0) X(o, h##1) X(o, h##2) X(o, h##3) X(o, h##4) X(o, h##5) X(o, h##6) X(o, h##7)
#define HIGH(X, o, h) X(o, h##8) X(o, h##9) X(o, h##A) X(o, h##B) X(o, h##C) X(o, h##D) X(o, h##E) X(o, h##F)
#define BOTH(X, o, h) LOW(X, o, h) HIGH(X, o, h)

/* What exists (SDM vol. 2, tables, with the aliases that every processor has): PLAIN, FCMOVcc, which reads
 * flags, and FCOMI and its like, which write them. Control instructions follow below. */
#define REGISTER_FORMS(PLAIN, READS_FLAGS, WRITES_FLAGS)                                                               \
    BOTH(PLAIN, D8, C) BOTH(PLAIN, D8, D) BOTH(PLAIN, D8, E) BOTH(PLAIN, D8, F)                                        \
    BOTH(PLAIN, D9, C) PLAIN(D9, D0) HIGH(PLAIN, D9, D)                                                                \
    PLAIN(D9, E0) PLAIN(D9, E1) PLAIN(D9, E4) PLAIN(D9, E5)                                                            \
    PLAIN(D9, E8) PLAIN(D9, E9) PLAIN(D9, EA) PLAIN(D9, EB) PLAIN(D9, EC) PLAIN(D9, ED) PLAIN(D9, EE)                  \
    BOTH(PLAIN, D9, F)                                                                                                 \
    BOTH(READS_FLAGS, DA, C) BOTH(READS_FLAGS, DA, D) PLAIN(DA, E9)                                                    \
    BOTH(READS_FLAGS, DB, C) BOTH(READS_FLAGS, DB, D) HIGH(WRITES_FLAGS, DB, E) LOW(WRITES_FLAGS, DB, F)               \
    BOTH(PLAIN, DC, C) BOTH(PLAIN, DC, D) BOTH(PLAIN, DC, E) BOTH(PLAIN, DC, F)                                        \
    BOTH(PLAIN, DD, C) BOTH(PLAIN, DD, D) BOTH(PLAIN, DD, E)                                                           \
    BOTH(PLAIN, DE, C) LOW(PLAIN, DE, D) PLAIN(DE, D9) BOTH(PLAIN, DE, E) BOTH(PLAIN, DE, F)                           \
    BOTH(PLAIN, DF, C) BOTH(PLAIN, DF, D) HIGH(WRITES_FLAGS, DF, E) LOW(WRITES_FLAGS, DF, F)

#define PLAIN(o, m)                                                                                                    \
    static HANDLER(x87_##o##_##m)                                                                                      \
    {                                                                                                                  \
        GO_LIVE;                                                                                                       \
        __asm__ volatile(".byte 0x" #o ", 0x" #m);                                                                     \
        note(cpu, op);                                                                                                 \
        NEXT;                                                                                                          \
    }
#define READS_FLAGS(o, m)                                                                                              \
    static HANDLER(x87_##o##_##m)                                                                                      \
    {                                                                                                                  \
        GO_LIVE;                                                                                                       \
        __asm__ volatile("sahf\n\t.byte 0x" #o ", 0x" #m::"a"((uint32_t)cpu->s.flags) : "cc");                         \
        note(cpu, op);                                                                                                 \
        NEXT;                                                                                                          \
    }
/* An unmasked exception leaves the flags alone: hence they go in, OF by an addition. */
#define WRITES_FLAGS(o, m)                                                                                             \
    static HANDLER(x87_##o##_##m)                                                                                      \
    {                                                                                                                  \
        uint32_t flags = cpu->s.flags;                                                                                 \
        GO_LIVE;                                                                                                       \
        __asm__ volatile("addb $0x7f, %%al\n\tsahf\n\t.byte 0x" #o ", 0x" #m "\n\tlahf\n\tseto %%al"                   \
                         : "+a"(flags)                                                                                 \
                         :                                                                                             \
                         : "cc");                                                                                      \
        cpu->s.flags = flags;                                                                                          \
        note(cpu, op);                                                                                                 \
        NEXT;                                                                                                          \
    }
REGISTER_FORMS(PLAIN, READS_FLAGS, WRITES_FLAGS)

#define ENTRY(o, m) [0x##o & 7][0x##m & 63] = x87_##o##_##m,
static const handler register_form[8][64] = {REGISTER_FORMS(ENTRY, ENTRY, ENTRY)};
#undef PLAIN
#undef READS_FLAGS
#undef WRITES_FLAGS
#undef ENTRY

/* ---- memory forms ---- */

#define EIGHT_LOADS(LOAD, o, size)                                                                                     \
    LOAD(o, 0, size) LOAD(o, 1, size) LOAD(o, 2, size) LOAD(o, 3, size)                                                \
    LOAD(o, 4, size) LOAD(o, 5, size) LOAD(o, 6, size) LOAD(o, 7, size)
/* Opcode, ModRM.reg, bytes of the operand */
#define MEMORY_FORMS(LOAD, STORE)                                                                                      \
    EIGHT_LOADS(LOAD, D8, 4)                                                                                           \
    LOAD(D9, 0, 4) STORE(D9, 2, 4) STORE(D9, 3, 4)                                                                     \
    EIGHT_LOADS(LOAD, DA, 4)                                                                                           \
    LOAD(DB, 0, 4) STORE(DB, 1, 4) STORE(DB, 2, 4) STORE(DB, 3, 4) LOAD(DB, 5, 10) STORE(DB, 7, 10)                    \
    EIGHT_LOADS(LOAD, DC, 8)                                                                                           \
    LOAD(DD, 0, 8) STORE(DD, 1, 8) STORE(DD, 2, 8) STORE(DD, 3, 8)                                                     \
    EIGHT_LOADS(LOAD, DE, 2)                                                                                           \
    LOAD(DF, 0, 2) STORE(DF, 1, 2) STORE(DF, 2, 2) STORE(DF, 3, 2)                                                     \
    LOAD(DF, 4, 10) LOAD(DF, 5, 8) STORE(DF, 6, 10) STORE(DF, 7, 8)

/* The instruction on (%rsi) */
#define EXECUTE(o, r)                                                                                                  \
    static inline __attribute__((always_inline)) void execute_##o##_##r(void *operand)                                 \
    {                                                                                                                  \
        __asm__ volatile(".byte 0x" #o ", " #r " << 3 | 6" ::"S"(operand) : "memory");                                 \
    }                                                                                                                  \
    static void run_##o##_##r(void *operand)                                                                           \
    {                                                                                                                  \
        execute_##o##_##r(operand);                                                                                    \
    }

#define HANDLER_OF(o, r, size, tag, slow, kind)                                                                        \
    static HANDLER(x87_##o##_##r##_##kind)                                                                             \
    {                                                                                                                  \
        GO_LIVE;                                                                                                       \
        bool general = kind == EA_GENERAL, write = slow == store_slow;                                                 \
        uint64_t offset = general ? effective_offset(cpu, op) : ea(cpu, op, kind, size, write);                        \
        uint64_t linear = general ? linear_address(cpu, op, op->seg, offset, size, write) : offset;                    \
        const struct tlb_entry *entry = tlb_entry(cpu, linear);                                                        \
        if (unlikely(((linear + size - 1) & ~0xfffull) != entry->tag))                                                 \
            return slow(cpu, op, linear);                                                                              \
        execute_##o##_##r((void *)(linear + entry->addend));                                                           \
        note(cpu, op);                                                                                                 \
        FPU(cpu).fdp = offset;                                                                                         \
        NEXT;                                                                                                          \
    }
#define LOAD(o, r, size)                                                                                               \
    EXECUTE(o, r)                                                                                                      \
    HANDLER_OF(o, r, size, read, load_slow, EA_BASE)                                                                   \
    HANDLER_OF(o, r, size, read, load_slow, EA_INDEX)                                                                  \
    HANDLER_OF(o, r, size, read, load_slow, EA_GENERAL)
#define STORE(o, r, size)                                                                                              \
    EXECUTE(o, r)                                                                                                      \
    HANDLER_OF(o, r, size, write, store_slow, EA_BASE)                                                                 \
    HANDLER_OF(o, r, size, write, store_slow, EA_INDEX)                                                                \
    HANDLER_OF(o, r, size, write, store_slow, EA_GENERAL)

static const struct op *load_slow(struct processor *cpu, const struct op *op, uint64_t linear);
static const struct op *store_slow(struct processor *cpu, const struct op *op, uint64_t linear);
MEMORY_FORMS(LOAD, STORE)
#undef LOAD
#undef STORE

struct memory_form {
    handler fn[3]; /* by enum ea_kind */
    void (*run)(void *operand);
    uint8_t size;
    bool store;
};
#define ROW(o, r, bytes, stores)                                                                                       \
    [0x##o & 7][r] = {{x87_##o##_##r##_EA_BASE, x87_##o##_##r##_EA_INDEX, x87_##o##_##r##_EA_GENERAL},                 \
                      run_##o##_##r,                                                                                   \
                      bytes,                                                                                           \
                      stores},
#define LOAD(o, r, size) ROW(o, r, size, false)
#define STORE(o, r, size) ROW(o, r, size, true)
static const struct memory_form memory_form[8][8] = {MEMORY_FORMS(LOAD, STORE)};
#undef LOAD
#undef STORE
#undef ROW

static const struct memory_form *form_of(const struct op *op)
{
    return &memory_form[op->imm >> 8][op->imm >> 3 & 7];
}

static __attribute__((noinline)) const struct op *load_slow(struct processor *cpu, const struct op *op,
                                                            uint64_t linear)
{
    const struct memory_form *form = form_of(op);
    form->run((void *)mmu_read(cpu, op, linear, form->size, op->seg));
    note(cpu, op);
    note_operand(cpu, op, linear);
    NEXT;
}

static __attribute__((noinline)) void store_through(struct processor *cpu, const struct op *op, uint64_t linear)
{
    const struct memory_form *form = form_of(op);
    uint8_t data[16];
    mmu_probe(cpu, op, linear, form->size, op->seg, true);
    form->run(data);
    mmu_write(cpu, op, linear, data, form->size, op->seg);
}

static __attribute__((noinline)) const struct op *store_slow(struct processor *cpu, const struct op *op,
                                                             uint64_t linear)
{
    store_through(cpu, op, linear);
    note(cpu, op);
    note_operand(cpu, op, linear);
    NEXT;
}

/* ---- under supervision: an exception may be unmasked ---- */

/* The guest's real state in the host's registers. Nothing traps: an unmasked exception stays pending until the next
 * instruction that waits, and FXSAVE and FNINIT do not. */
static __attribute__((noinline)) void supervise(const struct processor *cpu)
{
    _Alignas(16) struct fxsave image = FPU(cpu);
    if (image.fsw & FSW_ES) /* ignored, CR0.NE being clear */
        image.fsw &= ~(FSW_ES | FSW_B | FSW_EXCEPTIONS);
    __asm__ volatile("stmxcsr %0" : "=m"(image.mxcsr));
    __asm__ volatile("fxrstor64 %0" ::"m"(image) : XMM_CLOBBERS);
}

static __attribute__((noinline)) void unsupervise(struct processor *cpu)
{
    _Alignas(16) struct fxsave image;
    struct fxsave *f = &FPU(cpu);
    uint16_t ignored = f->fsw & FSW_ES ? f->fsw & (FSW_ES | FSW_B | FSW_EXCEPTIONS) : 0;
    __asm__ volatile("fxsave64 %0\n\tfninit" : "=m"(image));
    f->fsw = image.fsw | ignored;
    f->ftw = image.ftw;
    memcpy(f->st, image.st, sizeof(f->st));
}

static __attribute__((noinline)) void checked_register(struct processor *cpu, const struct op *op)
{
    struct op one = *op;
    one.fn = register_form[op->imm >> 8][op->imm & 63];
    supervise(cpu);
    cpu->fpu_live |= FPU_X87;
    fpu_run_alone(cpu, &one);
    cpu->fpu_live &= ~FPU_X87;
    unsupervise(cpu);
}

static __attribute__((noinline)) void checked_memory(struct processor *cpu, const struct op *op)
{
    const struct memory_form *form = form_of(op);
    uint64_t linear = ea_any(cpu, op, form->size, form->store);
    uint8_t data[2][16];
    if (form->store) {
        /* Whether it stored at all shows in what two different backgrounds have in common. */
        memset(data[0], 0, sizeof(data[0]));
        memset(data[1], 0xff, sizeof(data[1]));
        mmu_probe(cpu, op, linear, form->size, op->seg, true);
        supervise(cpu);
        form->run(data[1]);
        __asm__ volatile("fninit");
    } else {
        memcpy(data[0], mmu_read(cpu, op, linear, form->size, op->seg), form->size);
    }
    supervise(cpu);
    form->run(data[0]);
    unsupervise(cpu);
    if (form->store && !memcmp(data[0], data[1], form->size))
        mmu_write(cpu, op, linear, data[0], form->size, op->seg);
    note(cpu, op);
    note_operand(cpu, op, linear);
}

static HANDLER(x87_checked)
{
    fpu_wait(cpu, op);
    if (unlikely(cpu->fpu_live))
        fpu_leave(cpu);
    if (op->form & FORM_MEMORY)
        checked_memory(cpu, op);
    else
        checked_register(cpu, op);
    NEXT;
}

static HANDLER(x87_unavailable)
{
    raise_fault(cpu, op, VECTOR_NM, NO_ERROR_CODE);
}

/* ---- control instructions: FIP, FDP and FOP stay ---- */

static __attribute__((noinline)) bool set_control(struct processor *cpu, uint16_t value)
{
    fpu_leave(cpu);
    FPU(cpu).fcw = fcw_settled(value);
    fpu_settle_fsw(&FPU(cpu));
    return fpu_masks_changed(cpu);
}

static HANDLER(x87_fldcw)
{
    fpu_wait(cpu, op);
    uint16_t value = load16(cpu, op, ea_any(cpu, op, 2, false), op->seg);
    if (likely((value & FCW_MASKS) == FCW_MASKS && cpu->fpu_live & FPU_X87)) {
        FPU(cpu).fcw = fcw_settled(value);
        __asm__ volatile("fldcw %0" ::"m"(FPU(cpu).fcw));
        NEXT;
    }
    if (unlikely(set_control(cpu, value)))
        return fpu_leave_trace(cpu, op);
    NEXT;
}

static HANDLER(x87_fnstcw)
{
    store16(cpu, op, ea_any(cpu, op, 2, true), FPU(cpu).fcw, op->seg);
    NEXT;
}

static inline uint16_t status(const struct processor *cpu)
{
    uint16_t value = FPU(cpu).fsw;
    if (cpu->fpu_live & FPU_X87)
        __asm__ volatile("fnstsw %0" : "=a"(value));
    return value;
}

static HANDLER(x87_fnstsw)
{
    store16(cpu, op, ea_any(cpu, op, 2, true), status(cpu), op->seg);
    NEXT;
}

static HANDLER(x87_fnstsw_ax)
{
    REG16(cpu, GPR_OFFSET(RAX)) = status(cpu);
    NEXT;
}

static HANDLER(x87_fnclex)
{
    if (cpu->fpu_live & FPU_X87)
        __asm__ volatile("fnclex");
    FPU(cpu).fsw &= ~(FSW_B | 0xff);
    NEXT;
}

static __attribute__((noinline)) bool init(struct processor *cpu)
{
    fpu_leave(cpu);
    fpu_init(&FPU(cpu));
    return fpu_masks_changed(cpu);
}

static HANDLER(x87_fninit)
{
    if (unlikely(init(cpu)))
        return fpu_leave_trace(cpu, op);
    NEXT;
}

/* FENI, FDISI and FSETPM of the coprocessors: nothing. */
static HANDLER(x87_nothing)
{
    NEXT;
}

/* ---- the environment (SDM vol. 1, figures 8-9 to 8-12) ---- */

static uint16_t full_tag_word(const struct fxsave *f)
{
    uint16_t tags = 0;
    for (unsigned i = 0; i < 8; i++) {
        const uint8_t *st = f->st[(i - FSW_TOP(f->fsw)) & 7];
        uint64_t significand;
        uint16_t exponent;
        unsigned tag;
        memcpy(&significand, st, 8);
        memcpy(&exponent, st + 8, 2);
        exponent &= 0x7fff;
        if (!(f->ftw >> i & 1))
            tag = 3; /* empty */
        else if (exponent == 0 && significand == 0)
            tag = 1; /* zero */
        else if (exponent == 0 || exponent == 0x7fff || !(significand >> 63))
            tag = 2; /* special */
        else
            tag = 0; /* valid */
        tags |= tag << 2 * i;
    }
    return tags;
}

static uint8_t abridged_tag_word(uint16_t tags)
{
    uint8_t ftw = 0;
    for (unsigned i = 0; i < 8; i++)
        ftw |= ((tags >> 2 * i & 3) != 3) << i;
    return ftw;
}

static bool protected_format(const struct processor *cpu)
{
    return protected_mode(cpu) && !v86_mode(cpu);
}

/* FIP, FOP, FDP as the last four of the environment's seven words. */
static void compose_environment(const struct processor *cpu, const struct op *op, uint8_t *to)
{
    const struct fxsave *f = &FPU(cpu);
    uint32_t ip = f->fip, dp = f->fdp;
    uint32_t word[7] = {f->fcw | 0xffff0000, f->fsw | 0xffff0000, full_tag_word(f) | 0xffff0000};
    if (protected_format(cpu)) {
        word[3] = ip;
        word[4] = op->size == 2 ? 0 : (uint32_t)f->fop << 16;
        word[5] = dp;
        word[6] = 0xffff0000;
    } else {
        word[3] = (ip & 0xffff) | 0xffff0000;
        word[4] = (ip >> 16 << 12) | f->fop;
        word[5] = (dp & 0xffff) | 0xffff0000;
        word[6] = dp >> 16 << 12;
    }
    for (unsigned i = 0; i < 7; i++)
        memcpy(to + i * (op->size == 2 ? 2 : 4), &word[i], op->size == 2 ? 2 : 4);
}

static void load_environment(struct processor *cpu, const struct op *op, const uint8_t *from)
{
    struct fxsave *f = &FPU(cpu);
    uint32_t word[7] = {0};
    for (unsigned i = 0; i < 7; i++)
        memcpy(&word[i], from + i * (op->size == 2 ? 2 : 4), op->size == 2 ? 2 : 4);
    fpu_set_top(f, FSW_TOP(word[1]));
    f->fcw = fcw_settled(word[0]);
    f->fsw = word[1];
    f->ftw = abridged_tag_word(word[2]);
    if (protected_format(cpu)) {
        f->fip = word[3];
        f->fop = op->size == 2 ? 0 : word[4] >> 16 & 0x7ff;
        f->fdp = word[5];
    } else {
        f->fip = (word[3] & 0xffff) | (word[4] >> 12 & 0xffff) << 16;
        f->fop = word[4] & 0x7ff;
        f->fdp = (word[5] & 0xffff) | (word[6] >> 12 & 0xffff) << 16;
    }
    fpu_settle_fsw(f);
}

static unsigned environment_size(const struct op *op)
{
    return op->size == 2 ? 14 : 28;
}

#define STATE_MAX 108u /* 28 + 8 * 10 */

static void read_state(struct processor *cpu, const struct op *op, uint64_t linear, uint8_t *data, unsigned size)
{
    unsigned first = size < 64 ? size : 64;
    mmu_probe(cpu, op, linear, size, op->seg, false);
    memcpy(data, mmu_read(cpu, op, linear, first, op->seg), first);
    if (size > first)
        memcpy(data + first, mmu_read(cpu, op, linear + first, size - first, op->seg), size - first);
}

static void write_state(struct processor *cpu, const struct op *op, uint64_t linear, const uint8_t *data,
                        unsigned size)
{
    unsigned first = size < 64 ? size : 64;
    mmu_write(cpu, op, linear, data, first, op->seg);
    if (size > first)
        mmu_write(cpu, op, linear + first, data + first, size - first, op->seg);
}

static __attribute__((noinline)) bool store_environment(struct processor *cpu, const struct op *op, bool registers)
{
    uint8_t data[STATE_MAX];
    unsigned size = environment_size(op);
    uint64_t linear = ea_any(cpu, op, size + (registers ? 80 : 0), true);
    mmu_probe(cpu, op, linear, size + (registers ? 80 : 0), op->seg, true);
    mmu_demand_alignment(cpu, op, linear, size == 14 ? 2 : 4);
    fpu_leave(cpu);
    compose_environment(cpu, op, data);
    for (unsigned i = 0; registers && i < 8; i++, size += 10)
        memcpy(data + size, FPU(cpu).st[i], 10);
    write_state(cpu, op, linear, data, size);
    if (registers) {
        fpu_init(&FPU(cpu));
    } else {
        FPU(cpu).fcw |= FCW_MASKS;
        fpu_settle_fsw(&FPU(cpu));
    }
    return fpu_masks_changed(cpu);
}

static __attribute__((noinline)) bool restore_environment(struct processor *cpu, const struct op *op, bool registers)
{
    uint8_t data[STATE_MAX];
    unsigned size = environment_size(op);
    uint64_t linear = ea_any(cpu, op, size + (registers ? 80 : 0), false);
    read_state(cpu, op, linear, data, size + (registers ? 80 : 0));
    mmu_demand_alignment(cpu, op, linear, size == 14 ? 2 : 4);
    fpu_leave(cpu);
    load_environment(cpu, op, data);
    for (unsigned i = 0; registers && i < 8; i++)
        memcpy(FPU(cpu).st[i], data + size + 10 * i, 10);
    return fpu_masks_changed(cpu);
}

static HANDLER(x87_fnstenv)
{
    if (unlikely(store_environment(cpu, op, false)))
        return fpu_leave_trace(cpu, op);
    NEXT;
}

static HANDLER(x87_fnsave)
{
    if (unlikely(store_environment(cpu, op, true)))
        return fpu_leave_trace(cpu, op);
    NEXT;
}

static HANDLER(x87_fldenv)
{
    fpu_wait(cpu, op);
    if (unlikely(restore_environment(cpu, op, false)))
        return fpu_leave_trace(cpu, op);
    NEXT;
}

static HANDLER(x87_frstor)
{
    fpu_wait(cpu, op);
    if (unlikely(restore_environment(cpu, op, true)))
        return fpu_leave_trace(cpu, op);
    NEXT;
}

/* ESC without an 8087 or 80287: the operand's word is read for a coprocessor that does not take it. */
static HANDLER(x87_absent)
{
    if (op->form & FORM_MEMORY)
        load16(cpu, op, ea_any(cpu, op, 2, false), op->seg);
    NEXT;
}

/* ---- decoding ---- */

static handler control_form(const struct decode *d)
{
    unsigned reg = d->modrm >> 3 & 7;
    if (d->mod != 3) {
        switch (d->opcode << 4 | reg) {
        case 0xd94: return x87_fldenv;
        case 0xd95: return x87_fldcw;
        case 0xd96: return x87_fnstenv;
        case 0xd97: return x87_fnstcw;
        case 0xdd4: return x87_frstor;
        case 0xdd6: return x87_fnsave;
        case 0xdd7: return x87_fnstsw;
        default: return NULL;
        }
    }
    switch (d->opcode << 8 | d->modrm) {
    case 0xdbe0: case 0xdbe1: case 0xdbe4: return x87_nothing;
    case 0xdbe2: return x87_fnclex;
    case 0xdbe3: return x87_fninit;
    case 0xdfe0: return x87_fnstsw_ax;
    default: return NULL;
    }
}

/* FCMOVcc, FCOMI and its like came with the P6's CMOV, FISTTP with SSE3. */
static bool is_there(const struct decode *d)
{
    unsigned reg = d->modrm >> 3 & 7;
    if (d->mod != 3) {
        bool fisttp = reg == 1 && (d->opcode == 0xdb || d->opcode == 0xdd || d->opcode == 0xdf);
        return !fisttp || has_feature(d->cpu, FEATURE_SSE3);
    }
    bool by_flags = (d->opcode == 0xda && reg < 4) || (d->opcode == 0xdb && (reg < 4 || reg == 5 || reg == 6)) ||
                    (d->opcode == 0xdf && (reg == 5 || reg == 6));
    return !by_flags || has_feature(d->cpu, FEATURE_CMOV);
}

bool set_up_x87(struct decode *d)
{
    struct op *op = d->op;
    unsigned row = d->opcode & 7;
    bool checked = d->mode & MODE_FPU_CHECKED;
    if (unlikely(d->cpu->cpu_generation < CPU_386 && !has_feature(d->cpu, FEATURE_FPU))) {
        op->fn = d->mode & MODE_NO_X87 ? x87_unavailable : x87_absent;
        return true;
    }
    if (!is_there(d))
        return false;
    op->imm = row << 8 | d->modrm;
    op->fn = control_form(d);
    if (!op->fn && d->mod == 3) {
        if (!register_form[row][d->modrm & 63])
            return false;
        op->fn = checked ? x87_checked : register_form[row][d->modrm & 63];
    } else if (!op->fn) {
        const struct memory_form *form = &memory_form[row][d->modrm >> 3 & 7];
        if (!form->run)
            return false;
        op->size = form->size;
        op->fn = checked ? x87_checked : form->fn[D_KIND(d)];
    }
    if (d->mode & MODE_NO_X87)
        op->fn = x87_unavailable;
    return true;
}
