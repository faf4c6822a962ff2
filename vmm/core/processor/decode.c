#include "decode.h"

#include "memory.h"

#include <string.h>

/* ---- bytes ---- */

static uint64_t take(struct decode *d, unsigned size)
{
    uint64_t value = 0;
    if (d->at + size > d->limit) {
        d->truncated = true;
        d->at = d->limit;
        return 0;
    }
    memcpy(&value, d->bytes + d->at, size);
    d->at += size;
    return value;
}

static int64_t take_signed(struct decode *d, unsigned size)
{
    unsigned shift = 64 - size * 8;
    return (int64_t)(take(d, size) << shift) >> shift;
}

/* ---- prefixes and opcode ---- */

/* Before the 386 64h to 67h are no prefixes; F1h is LOCK. */
static uint8_t old_prefix(const struct processor *cpu, uint8_t byte)
{
    if (byte >= 0x64 && byte <= 0x67)
        return 0x90;
    return byte == 0xf1 && before_286(cpu) ? 0xf0 : byte;
}

/* The 8086 decodes no more of an opcode than it needs. */
static uint8_t alias_8086(uint8_t opcode)
{
    if ((opcode & 0xf0) == 0x60)
        return opcode + 0x10; /* Jcc */
    if (opcode == 0xc0 || opcode == 0xc1 || opcode == 0xc8 || opcode == 0xc9)
        return opcode + 2; /* RET */
    return opcode;
}

static void read_prefixes(struct decode *d)
{
    bool code64 = (d->mode & MODE_CODE) == MODE_CODE64;
    bool address_override = false, old = d->cpu->cpu_generation < CPU_386;
    for (;;) {
        uint8_t byte = take(d, 1);
        switch (d->truncated ? 0x90 : unlikely(old) ? old_prefix(d->cpu, byte) : byte) {
        case 0x26: case 0x2e: case 0x36: case 0x3e: /* ES CS SS DS: without effect in 64-bit code */
            if (!code64) {
                d->segment = byte >> 3 & 3;
                d->has_segment = true;
            }
            break;
        case 0x64: case 0x65:
            d->segment = byte - 0x64 + FS;
            d->has_segment = true;
            break;
        case 0x66: d->operand16 = true; break;
        case 0x67: address_override = true; break;
        case 0xf0: d->lock = true; break;
        case 0xf2: d->repne = true; d->rep = false; break;
        case 0xf3: d->rep = true; d->repne = false; break;
        default:
            if (!code64 || (byte & 0xf0) != 0x40 || d->truncated) {
                d->opcode = byte;
                goto done;
            }
            d->rex = byte;
            continue;
        }
        d->rex = 0; /* counts only right before the opcode */
    }
done:
    if (unlikely(d->cpu->cpu_generation < CPU_186)) {
        d->opcode = alias_8086(d->opcode);
        d->address_size = 2;
        return; /* 0Fh is POP CS */
    }
    if (code64)
        d->address_size = address_override ? 4 : 8;
    else
        d->address_size = ((d->mode & MODE_CODE) == MODE_CODE32) != address_override ? 4 : 2;
    if (d->opcode == 0x0f) {
        d->map = MAP_0F;
        d->opcode = take(d, 1);
        if (d->opcode == 0x38 || d->opcode == 0x3a) {
            d->map = d->opcode == 0x38 ? MAP_0F38 : MAP_0F3A;
            d->opcode = take(d, 1);
        }
    }
}

/* C4h and C5h: VEX in 64-bit code, and in protected mode when the next byte could not be LES's or LDS's ModRM. */
static bool read_vex(struct decode *d)
{
    if (d->map != MAP_ONE || (d->opcode != 0xc4 && d->opcode != 0xc5) || d->truncated)
        return false;
    if ((d->mode & MODE_CODE) != MODE_CODE64) {
        if (d->at >= d->limit) {
            d->truncated = true;
            return false;
        }
        if (d->bytes[d->at] < 0xc0)
            return false;
    }
    d->vex = true;
    bool prefixed = d->lock || d->rep || d->repne || d->operand16 || d->rex || d->mode & MODE_UNPROTECTED;
    uint8_t byte = take(d, 1), rest = byte, map = 1, rex = ~byte >> 5 & 4;
    if (d->opcode == 0xc4) {
        rest = take(d, 1);
        map = byte & 0x1f;
        rex = (~byte >> 5 & 7) | (rest >> 4 & 8);
        d->vex_w = rest >> 7;
    }
    d->vvvv = ~rest >> 3 & 15;
    d->vex_l = rest >> 2 & 1;
    d->rex = rex | 0x40;
    if ((d->mode & MODE_CODE) != MODE_CODE64) {
        d->rex = 0x40;
        d->vvvv &= 7;
    }
    d->operand16 = (rest & 3) == 1;
    d->rep = (rest & 3) == 2;
    d->repne = (rest & 3) == 3;
    d->opcode = take(d, 1);
    d->map = map == 2 ? MAP_0F38 : map == 3 ? MAP_0F3A : MAP_0F;
    return map >= 1 && map <= 3 && !prefixed;
}

/* ---- ModRM ---- */

static void address16(struct decode *d)
{
    static const uint8_t bases[8] = {RBX, RBX, RBP, RBP, RSI, RDI, RBP, RBX};
    static const uint8_t indexes[8] = {RSI, RDI, RSI, RDI};
    struct op *op = d->op;
    unsigned rm = d->modrm & 7;
    op->form |= FORM_ADDRESS16;
    op->index = rm < 4 ? indexes[rm] : SLOT_ZERO;
    if (d->mod == 0 && rm == 6) {
        op->base = SLOT_ZERO;
        op->disp = (int16_t)take(d, 2);
        return;
    }
    op->base = bases[rm];
    op->disp = d->mod == 1 ? take_signed(d, 1) : d->mod == 2 ? take_signed(d, 2) : 0;
}

static void address32(struct decode *d)
{
    struct op *op = d->op;
    unsigned rm = d->modrm & 7;
    bool no_base = false;
    if (d->address_size == 4)
        op->form |= FORM_ADDRESS32;
    if (rm == 4) {
        uint8_t sib = d->sib = take(d, 1);
        unsigned index = (sib >> 3 & 7) | (d->rex & 2) << 2;
        op->base = (sib & 7) | (d->rex & 1) << 3;
        op->index = index == RSP ? SLOT_ZERO : index;
        op->scale = index == RSP ? 0 : sib >> 6;
        no_base = (sib & 7) == 5 && d->mod == 0;
    } else {
        op->base = rm | (d->rex & 1) << 3;
        no_base = rm == 5 && d->mod == 0;
    }
    if (no_base)
        op->base = rm == 5 && (d->mode & MODE_CODE) == MODE_CODE64 ? SLOT_RIP : SLOT_ZERO;
    op->disp = d->mod == 1 ? take_signed(d, 1) : d->mod == 2 || no_base ? take_signed(d, 4) : 0;
}

/* Nor more of ModRM.reg: there are two bits for a segment register, and one form of POP, MOV and PUSH. */
static uint8_t modrm_8086(uint8_t opcode, uint8_t modrm)
{
    switch (opcode) {
    case 0x8c: case 0x8e: return modrm & ~0x20;
    case 0x8f: case 0xc6: case 0xc7: return modrm & ~0x38;
    case 0xff: return (modrm & 0x38) == 0x38 ? modrm & ~0x08 : modrm;
    default: return modrm;
    }
}

static void read_modrm(struct decode *d)
{
    d->has_modrm = true;
    d->modrm = take(d, 1);
    if (unlikely(d->cpu->cpu_generation < CPU_186))
        d->modrm = modrm_8086(d->opcode, d->modrm);
    d->mod = d->modrm >> 6;
    d->reg = (d->modrm >> 3 & 7) | (d->rex & 4) << 1;
    d->rm = (d->modrm & 7) | (d->rex & 1) << 3;
}

static void read_address(struct decode *d)
{
    struct op *op = d->op;
    if (d->mod == 3)
        return;
    op->form |= FORM_MEMORY;
    if (d->address_size == 2)
        address16(d);
    else
        address32(d);
    op->seg = d->has_segment ? d->segment : op->base == RSP || op->base == RBP ? SS : DS;
    if ((d->mode & MODE_CODE) != MODE_CODE64 || d->address_size != 8 || op->seg >= FS)
        op->form |= FORM_GENERAL;
}

/* In plain form a RIP-relative operand counts from the trace's first byte, which is what the RIP slot holds. */
static void settle_rip_relative(struct op *op)
{
    int32_t disp;
    if (op->base != SLOT_RIP || op->form & FORM_GENERAL)
        return;
    if (__builtin_add_overflow(op->disp, op->offset + op->length, &disp))
        op->form |= FORM_GENERAL;
    else
        op->disp = disp;
}

/* ---- immediates ---- */

static void read_immediate(struct decode *d)
{
    struct op *op = d->op;
    unsigned size = d->operand_size;
    switch ((enum immediate)d->row->immediate) {
    case IMM_NONE: break;
    case IMM_8: case IMM_REL8: op->imm = take_signed(d, 1); break;
    case IMM_Z: case IMM_REL_Z: op->imm = take_signed(d, size == 2 ? 2 : 4); break;
    case IMM_V: op->imm = take_signed(d, size); break;
    case IMM_16: op->imm = take(d, 2); break;
    case IMM_16_8:
        op->imm = take(d, 2);
        op->imm |= take(d, 1) << 16;
        break;
    case IMM_FAR:
        op->imm = take(d, size == 2 ? 2 : 4);
        op->imm |= take(d, 2) << 32;
        break;
    case IMM_OFFSET: op->imm = take(d, d->address_size); break;
    }
}

/* ---- rows ---- */

static const struct opcode *find_row(struct decode *d)
{
    const struct opcode *row = &opcode_table[d->map][d->opcode];
    if (row->attributes & (A_MODRM | A_GROUP))
        read_modrm(d);
    if (row->attributes & A_MODRM_REGISTER)
        d->mod = 3;
    while (row->attributes & A_GROUP)
        row = &row->group[d->modrm >> 3 & 7];
    return row;
}

static unsigned operand_size(const struct decode *d, uint32_t attributes)
{
    if ((d->mode & MODE_CODE) == MODE_CODE64) {
        if (attributes & A_FORCE64)
            return d->cpu->amd && d->operand16 && !(d->rex & 8) ? 2 : 8; /* Intel's ignore 66h */
        if (d->rex & 8)
            return 8;
        if (d->operand16)
            return 2;
        return attributes & A_DEFAULT64 ? 8 : 4;
    }
    return ((d->mode & MODE_CODE) == MODE_CODE32) != d->operand16 ? 4 : 2;
}

/* Opcodes that CPUID does not name and that not every processor has: the generation that began them. */
static const struct {
    uint8_t map, first, last;
    uint16_t generation;
} generations[] = {
    {MAP_ONE, 0x60, 0x62, CPU_186}, /* PUSHA, POPA, BOUND */
    {MAP_ONE, 0x63, 0x63, CPU_286}, /* ARPL */
    {MAP_ONE, 0x68, 0x6f, CPU_186}, /* PUSH and IMUL of immediates, INS, OUTS */
    {MAP_ONE, 0xc0, 0xc1, CPU_186}, /* shifts by immediates */
    {MAP_ONE, 0xc8, 0xc9, CPU_186}, /* ENTER, LEAVE */
    {MAP_ONE, 0xf1, 0xf1, CPU_386}, /* ICEBP */
    {MAP_0F, 0x00, 0x07, CPU_286},
    {MAP_0F, 0x08, 0x09, CPU_486}, /* INVD, WBINVD */
    {MAP_0F, 0x0d, 0x0d, CPU_686},
    {MAP_0F, 0x18, 0x1f, CPU_686}, /* hints */
    {MAP_0F, 0x20, 0x23, CPU_386}, /* MOV CR, DR */
    {MAP_0F, 0x33, 0x33, CPU_686}, /* RDPMC */
    {MAP_0F, 0x80, 0xa1, CPU_386},
    {MAP_0F, 0xa2, 0xa2, CPU_486}, /* CPUID */
    {MAP_0F, 0xa3, 0xa9, CPU_386},
    {MAP_0F, 0xaa, 0xaa, CPU_486}, /* RSM */
    {MAP_0F, 0xab, 0xaf, CPU_386},
    {MAP_0F, 0xb0, 0xb1, CPU_486}, /* CMPXCHG */
    {MAP_0F, 0xb2, 0xbf, CPU_386},
    {MAP_0F, 0xc0, 0xc1, CPU_486}, /* XADD */
    {MAP_0F, 0xc8, 0xcf, CPU_486}, /* BSWAP */
};

static bool is_of_generation(const struct decode *d)
{
    bool moves_segment = d->map == MAP_ONE && (d->opcode == 0x8c || d->opcode == 0x8e);
    if (moves_segment && (d->modrm >> 3 & 7) > DS && d->cpu->cpu_generation < CPU_386)
        return false;
    for (unsigned i = 0; i < sizeof generations / sizeof *generations; i++)
        if (d->map == generations[i].map && d->opcode >= generations[i].first && d->opcode <= generations[i].last)
            return d->cpu->cpu_generation >= generations[i].generation;
    return true;
}

static bool exists(const struct decode *d)
{
    const struct opcode *row = d->row;
    uint32_t a = row->attributes;
    bool code64 = (d->mode & MODE_CODE) == MODE_CODE64, memory = d->op->form & FORM_MEMORY;
    return row->name && !(code64 ? a & A_NO64 : a & A_ONLY64) &&
           !(row->feature && !has_feature(d->cpu, row->feature - 1)) &&
           (likely(d->cpu->cpu_generation >= CPU_686) || is_of_generation(d)) &&
           !(a & A_PROTECTED && d->mode & MODE_UNPROTECTED) && !(a & A_MEMORY && !memory) &&
           !(a & A_REGISTER && memory) && !(d->lock && !(a & A_LOCK && memory));
}

/* More than 15 bytes; on the 80286 more than 10 (SDM volume 3, 23.1.3). */
#define LONGEST_286 10
static HANDLER(op_too_long)
{
    raise_gp(cpu, op, 0);
}

static HANDLER(op_privileged)
{
    raise_gp(cpu, op, 0);
}

/* BMI1 and BMI2, the only VEX instructions on general registers (bit.c). */
bool set_up_bmi(struct decode *d);

static bool vex_has_immediate(const struct decode *d)
{
    return d->map == MAP_0F3A ||
           (d->map == MAP_0F && ((d->opcode >= 0x70 && d->opcode <= 0x73) || d->opcode == 0xc2 ||
                                 (d->opcode >= 0xc4 && d->opcode <= 0xc6)));
}

static void set_up_operation(struct decode *d)
{
    struct op *op = d->op;
    bool good;
    if (d->vex) {
        op->size = d->rex & 8 && (d->mode & MODE_CODE) == MODE_CODE64 ? 8 : 4;
        op->dst = GPR_OFFSET(d->reg);
        op->src = GPR_OFFSET(d->rm);
        good = set_up_bmi(d) || set_up_avx(d);
    } else {
        const struct opcode *row = d->row;
        good = exists(d);
        op->size = row->attributes & A_BYTE ? 1 : d->operand_size;
        op->form |= (d->lock ? FORM_LOCK : 0) | (d->rep ? FORM_REP : 0) | (d->repne ? FORM_REPNE : 0) |
                    (d->operand16 ? FORM_OPERAND16 : 0);
        if (d->has_modrm) {
            op->dst = register_offset(d, d->reg, op->size);
            op->src = register_offset(d, d->rm, op->size);
        }
        d->ends = row->attributes & A_ENDS;
        op->fn = row->fn;
        if (good && row->set_up)
            good = row->set_up(d);
        if (good && row->attributes & A_CPL0 && d->mode & MODE_UNPRIVILEGED) {
            op->fn = op_privileged;
            d->ends = true;
        }
    }
    if (!good) {
        op->fn = op_ud;
        d->ends = true;
    }
}

bool decode_instruction(struct processor *cpu, uint32_t mode, const uint8_t *bytes, unsigned limit, struct op *op,
                        bool *ends)
{
    static const struct opcode nothing = {0};
    struct decode d = {.cpu = cpu, .mode = mode, .bytes = bytes, .limit = limit, .op = op, .row = &nothing};
    uint16_t offset = op->offset;
    uint8_t number = op->number;
    *op = (struct op){.offset = offset, .number = number, .base = SLOT_ZERO, .index = SLOT_ZERO, .seg = DS};

    read_prefixes(&d);
    bool vex_exists = read_vex(&d);
    if (d.vex) {
        if (vex_exists && !(d.map == MAP_0F && d.opcode == 0x77)) { /* all but VZEROUPPER */
            read_modrm(&d);
            read_address(&d);
            if (vex_has_immediate(&d))
                op->imm = take(&d, 1);
        }
    } else {
        d.row = find_row(&d);
        if (d.has_modrm)
            read_address(&d);
        d.operand_size = operand_size(&d, d.row->attributes);
        read_immediate(&d);
    }
    if (d.truncated) {
        if (limit < 15)
            return false;
        op->fn = op_too_long;
        op->length = 15;
        *ends = true;
        return true;
    }
    op->length = d.at;
    if (d.has_segment && !(op->form & FORM_MEMORY))
        op->seg = d.segment; /* string instructions and MOV moffs */
    if (d.address_size == 2)
        op->form |= FORM_ADDRESS16;
    else if (d.address_size == 4)
        op->form |= FORM_ADDRESS32;
    settle_rip_relative(op);
    if (d.vex && !vex_exists) {
        op->fn = op_ud;
        d.ends = true;
    } else {
        set_up_operation(&d);
    }
    if (unlikely(cpu->cpu_generation == CPU_286 && d.at > LONGEST_286)) {
        op->fn = op_too_long;
        d.ends = true;
    }
    *ends = d.ends;
    return true;
}
