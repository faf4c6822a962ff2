/* MOVS, CMPS, STOS, LODS, SCAS, alone and repeated.
 *
 * A repeated instruction retires once for each iteration and can stop after any of them: registers, RIP and count are
 * then as silicon leaves them at an interrupt. Whole runs within a page go by the host's memmove and memset. */
#include "integer.h"
#include "operands.h"

#include <string.h>

static inline uint64_t address_mask(const struct op *op)
{
    return op->form & FORM_ADDRESS16 ? 0xffff : op->form & FORM_ADDRESS32 ? 0xffffffff : ~0ull;
}

static inline uint64_t index_read(const struct processor *cpu, const struct op *op, unsigned reg)
{
    return cpu->s.registers.gpr[reg] & address_mask(op);
}

static inline void index_write(struct processor *cpu, const struct op *op, unsigned reg, uint64_t value)
{
    uint64_t mask = address_mask(op), *r = &cpu->s.registers.gpr[reg];
    *r = mask == 0xffff ? (*r & ~mask) | (value & mask) : value & mask;
}

static inline int64_t step(const struct processor *cpu, unsigned size)
{
    return cpu->s.system_flags & RFLAGS_DF ? -(int64_t)size : size;
}

static inline uint64_t source(struct processor *cpu, const struct op *op, unsigned size)
{
    return linear_address(cpu, op, op->seg, index_read(cpu, op, RSI), size, false);
}

static inline uint64_t destination(struct processor *cpu, const struct op *op, unsigned size, bool write)
{
    return linear_address(cpu, op, ES, index_read(cpu, op, RDI), size, write);
}

static inline void advance(struct processor *cpu, const struct op *op, unsigned reg, int64_t by)
{
    index_write(cpu, op, reg, cpu->s.registers.gpr[reg] + by);
}

/* ---- one element ---- */

#define ELEMENT(bits, ...)                                                                                             \
    static inline void compare##bits(struct processor *cpu, uint##bits##_t a, uint##bits##_t b)                        \
    {                                                                                                                  \
        uint32_t flags;                                                                                                \
        __asm__("cmp %2, %1" HOST_FLAGS : "=&a"(flags) : "r"(a), "r"(b) : "cc");                                       \
        cpu->s.flags = flags;                                                                                          \
    }                                                                                                                  \
    static void movs##bits(struct processor *cpu, const struct op *op)                                                 \
    {                                                                                                                  \
        uint##bits##_t value = load##bits(cpu, op, source(cpu, op, bits / 8), op->seg);                                \
        store##bits(cpu, op, destination(cpu, op, bits / 8, true), value, ES);                                         \
        advance(cpu, op, RSI, step(cpu, bits / 8));                                                                    \
        advance(cpu, op, RDI, step(cpu, bits / 8));                                                                    \
    }                                                                                                                  \
    static void cmps##bits(struct processor *cpu, const struct op *op)                                                 \
    {                                                                                                                  \
        uint##bits##_t a = load##bits(cpu, op, source(cpu, op, bits / 8), op->seg);                                    \
        compare##bits(cpu, a, load##bits(cpu, op, destination(cpu, op, bits / 8, false), ES));                         \
        advance(cpu, op, RSI, step(cpu, bits / 8));                                                                    \
        advance(cpu, op, RDI, step(cpu, bits / 8));                                                                    \
    }                                                                                                                  \
    static void stos##bits(struct processor *cpu, const struct op *op)                                                 \
    {                                                                                                                  \
        store##bits(cpu, op, destination(cpu, op, bits / 8, true), REG##bits(cpu, GPR_OFFSET(RAX)), ES);               \
        advance(cpu, op, RDI, step(cpu, bits / 8));                                                                    \
    }                                                                                                                  \
    static void lods##bits(struct processor *cpu, const struct op *op)                                                 \
    {                                                                                                                  \
        uint##bits##_t value = load##bits(cpu, op, source(cpu, op, bits / 8), op->seg);                                \
        SET##bits(cpu, GPR_OFFSET(RAX), value);                                                                        \
        advance(cpu, op, RSI, step(cpu, bits / 8));                                                                    \
    }                                                                                                                  \
    static void scas##bits(struct processor *cpu, const struct op *op)                                                 \
    {                                                                                                                  \
        uint##bits##_t b = load##bits(cpu, op, destination(cpu, op, bits / 8, false), ES);                             \
        compare##bits(cpu, REG##bits(cpu, GPR_OFFSET(RAX)), b);                                                        \
        advance(cpu, op, RDI, step(cpu, bits / 8));                                                                    \
    }
SIZES(ELEMENT)

/* ---- runs ---- */

/* In flat memory, forwards: a run within one page can be done at once. */
static bool can_run(const struct processor *cpu, const struct op *op)
{
    return !(cpu->s.system_flags & RFLAGS_DF) &&
           (cpu->mode & MODE_CODE64 ? !(op->form & FORM_ADDRESS32) && op->seg < FS
                                    : cpu->mode & MODE_FLAT && !(op->form & FORM_ADDRESS16) && op->seg < FS);
}

/* Elements of one run of MOVS, at most `count`; 0: do one element instead. */
static uint64_t movs_run(struct processor *cpu, const struct op *op, unsigned size, uint64_t count)
{
    uint64_t *rsi = &cpu->s.registers.gpr[RSI], *rdi = &cpu->s.registers.gpr[RDI], bytes = count * size;
    const uint8_t *from = mmu_run(cpu, op, *rsi & address_mask(op), &bytes, op->seg, false);
    uint8_t *to = from ? mmu_run(cpu, op, *rdi & address_mask(op), &bytes, ES, true) : NULL;
    if (!to)
        return 0;
    if (to > from && (uint64_t)(to - from) < bytes) /* each byte stored is read again: element by element */
        return 0;
    bytes -= bytes % size;
    memmove(to, from, bytes);
    *rsi += bytes;
    *rdi += bytes;
    return bytes / size;
}

static uint64_t stos_run(struct processor *cpu, const struct op *op, unsigned size, uint64_t count)
{
    uint64_t *rdi = &cpu->s.registers.gpr[RDI], bytes = count * size, rax = cpu->s.registers.gpr[RAX];
    uint8_t *to = mmu_run(cpu, op, *rdi & address_mask(op), &bytes, ES, true);
    if (!to)
        return 0;
    count = bytes / size;
    if (size == 1)
        memset(to, rax, count);
    else if (size == 2)
        for (uint64_t i = 0; i < count; i++)
            ((u16u *)to)[i] = rax;
    else if (size == 4)
        for (uint64_t i = 0; i < count; i++)
            ((u32u *)to)[i] = rax;
    else
        for (uint64_t i = 0; i < count; i++)
            ((u64u *)to)[i] = rax;
    *rdi += count * size;
    return count;
}

/* ---- REP ---- */

typedef void (*element)(struct processor *cpu, const struct op *op);
typedef uint64_t (*run)(struct processor *cpu, const struct op *op, unsigned size, uint64_t count);

/* Do `size` bytes from ES:RDI hold some of the instruction? It is fetched again after an iteration that overwrites it, as
 * it would be if the run ended there. */
static bool meets_itself(const struct processor *cpu, const struct op *op, uint64_t to, uint64_t size)
{
    uint64_t at = cpu->s.rip + op->offset;
    if (!code64(cpu))
        at = (uint32_t)(at + cpu->s.seg[CS].base);
    return unlikely(to < at + op->length && at < to + size);
}

static uint64_t store_address(const struct processor *cpu, const struct op *op)
{
    uint64_t to = cpu->s.registers.gpr[RDI] & address_mask(op);
    return code64(cpu) ? to : (uint32_t)(to + cpu->s.seg[ES].base);
}

/* op->src is the enum string; true when the instruction is finished. The trace has paid for one instruction. */
static __attribute__((noinline)) bool repeat(struct processor *cpu, const struct op *op)
{
    static const element elements[5][4] = {
        [STRING_MOVS] = {movs8, movs16, movs32, movs64}, [STRING_CMPS] = {cmps8, cmps16, cmps32, cmps64},
        [STRING_STOS] = {stos8, stos16, stos32, stos64}, [STRING_LODS] = {lods8, lods16, lods32, lods64},
        [STRING_SCAS] = {scas8, scas16, scas32, scas64},
    };
    static const run runs[5] = {[STRING_MOVS] = movs_run, [STRING_STOS] = stos_run};
    enum string what = op->src;
    element one = elements[what][size_index(op->size)];
    run many = can_run(cpu, op) ? runs[what] : NULL;
    bool stores = what == STRING_MOVS || what == STRING_STOS;
    bool compares = what == STRING_CMPS || what == STRING_SCAS, while_equal = op->form & FORM_REP;
    uint64_t count = index_read(cpu, op, RCX);
    if (!count)
        return true;
    for (;;) {
        uint64_t done = 0, to = stores ? store_address(cpu, op) : 0;
        if (many && !meets_itself(cpu, op, to, 0x1000 - (to & 0xfff))) {
            uint64_t most = (uint64_t)cpu->left + 1;
            done = many(cpu, op, op->size, count < most ? count : most);
        }
        if (!done) {
            one(cpu, op);
            done = 1;
        }
        count -= done;
        index_write(cpu, op, RCX, count);
        cpu->left -= done;
        if (!count || (compares && !!(cpu->s.flags & FLAG_ZF) != while_equal)) {
            cpu->left++;
            return true;
        }
        if (cpu->left < 0 || cpu->s.pending_debug || (stores && meets_itself(cpu, op, to, op->size))) {
            cpu->left++;
            return false;
        }
    }
}

HANDLER(op_rep_string)
{
    if (!repeat(cpu, op)) {
        rip_at_repeat(cpu, op);
        LEAVE_TRACE;
    }
    rip_past(cpu, op);
    if (unlikely(cpu->resuming))
        LEAVE_TRACE;
    return trace_jump(cpu);
}

#define ALONE(bits, name)                                                                                              \
    static HANDLER(name##_##bits)                                                                                      \
    {                                                                                                                  \
        name##bits(cpu, op);                                                                                           \
        NEXT;                                                                                                          \
    }
SIZES(ALONE, movs) SIZES(ALONE, cmps) SIZES(ALONE, stos) SIZES(ALONE, lods) SIZES(ALONE, scas)

bool set_up_string(struct decode *d)
{
#define BY_SIZE(name) {name##_8, name##_16, name##_32, name##_64}
    static const handler table[5][4] = {BY_SIZE(movs), BY_SIZE(cmps), BY_SIZE(stos), BY_SIZE(lods), BY_SIZE(scas)};
    struct op *op = d->op;
    if (d->rep || d->repne) {
        op->src = d->row->arg;
        op->fn = op_rep_string;
        d->ends = true;
    } else {
        op->fn = table[d->row->arg][size_index(op->size)];
    }
    return true;
}
