/* From bytes to operations. opcodes.c describes each instruction once; decode.c reads prefixes, opcode, ModRM, SIB,
 * displacement and immediate by that description, and the row's set-up chooses the handler. */
#ifndef BRINGUP_DECODE_H
#define BRINGUP_DECODE_H

#include "memory.h"

enum immediate {
    IMM_NONE,
    IMM_8,    /* sign-extended */
    IMM_Z,    /* 16 or 32 bits by operand size, sign-extended */
    IMM_V,    /* 16, 32 or 64 bits by operand size (MOV r, imm) */
    IMM_16,   /* zero-extended (RET) */
    IMM_16_8, /* ENTER: size | level << 16 */
    IMM_FAR,  /* offset in bits 31:0, selector in bits 47:32 */
    IMM_OFFSET, /* MOV moffs: as wide as the address */
    IMM_REL8,
    IMM_REL_Z
};

/* Row attributes. */
enum attribute {
    A_MODRM = 1 << 0,
    A_BYTE = 1 << 1,      /* operands are bytes */
    A_LOCK = 1 << 2,      /* LOCK allowed with a memory destination */
    A_NO64 = 1 << 3,      /* #UD in 64-bit code */
    A_ONLY64 = 1 << 4,
    A_DEFAULT64 = 1 << 5, /* operand size 64 in 64-bit code unless 66h */
    A_FORCE64 = 1 << 6,   /* operand size 64 in 64-bit code always (near branches) */
    A_ENDS = 1 << 7,      /* the last operation of its trace */
    A_CPL0 = 1 << 8,      /* #GP(0) unless CPL is 0 (after #UD checks, before memory operands) */
    A_PROTECTED = 1 << 9, /* #UD in real and virtual-8086 mode */
    A_MEMORY = 1 << 10,   /* #UD with a register operand */
    A_REGISTER = 1 << 11, /* #UD with a memory operand */
    A_GROUP = 1 << 12,    /* `group` has eight rows, chosen by ModRM.reg */
    A_MODRM_REGISTER = 1 << 13 /* ModRM.mod is ignored: always registers (MOV CR, DR) */
};

struct decode;

struct opcode {
    const char *name;              /* mnemonic; NULL: no such instruction, #UD */
    bool (*set_up)(struct decode *d); /* chooses the handler and its operands; false: #UD. NULL: `fn` as it is */
    handler fn;
    const struct opcode *group;
    uint32_t attributes;
    uint16_t arg;                  /* for set_up */
    uint8_t immediate;             /* enum immediate */
    uint8_t feature;               /* enum feature + 1; 0: always there */
    uint16_t flags_read, flags_written; /* RFLAGS bits */
};

enum opcode_map { MAP_ONE, MAP_0F, MAP_0F38, MAP_0F3A };
extern const struct opcode opcode_table[4][256];

struct decode {
    struct processor *cpu; /* for its features only */
    uint32_t mode;
    const uint8_t *bytes;
    unsigned limit; /* bytes that may be read: to the end of the page, or 15 */
    unsigned at;
    bool truncated; /* ran into `limit`: the instruction crosses the page, or is too long at 15 */
    bool lock, rep, repne, operand16, has_segment, has_modrm, vex;
    uint8_t rex, segment, map, opcode;
    uint8_t modrm, mod, reg, rm; /* reg and rm with REX.R and REX.B; vvvv and vex_l of a VEX prefix */
    uint8_t vvvv, vex_l, vex_w;
    uint8_t sib;
    uint8_t operand_size, address_size; /* bytes */
    const struct opcode *row;
    struct op *op;
    bool ends;
};

/* What a set-up finds done: op->dst is the register of ModRM.reg, op->src that of ModRM.rm when it is a register (both
 * for operands of op->size bytes: byte registers by REX), FORM_MEMORY and the address fields when it is memory,
 * op->imm, op->size, op->form, op->length. d->ends comes from A_ENDS and may be set. */

/* The byte offset of general register n as an operand of `size` bytes. */
static inline uint8_t register_offset(const struct decode *d, unsigned n, unsigned size)
{
    return size == 1 && !d->rex && n >= 4 && n < 8 ? GPR_OFFSET(n - 4) + 1 : GPR_OFFSET(n);
}

/* How the memory operand is addressed (memory.h); any for a register form. */
#define D_KIND(d) ((d)->op->form & FORM_GENERAL ? 2 : (d)->op->index == SLOT_ZERO ? 0 : 1)

/* In 32-bit code all of whose segments are flat. */
static inline bool all_flat(const struct decode *d)
{
    return (d->mode & (MODE_CODE | MODE_FLAT | MODE_STACK32)) ==
           (MODE_CODE32 | MODE_FLAT | MODE_STACK32);
}
/* The same as D_KIND for what has handlers for EA_FLAT, too. */
static inline unsigned kind_or_flat(const struct decode *d)
{
    const struct op *op = d->op;
    bool flat = all_flat(d) && op->form & FORM_ADDRESS32 && op->seg <= DS && op->seg != CS;
    return flat ? EA_FLAT : D_KIND(d);
}

/* Decodes one instruction into *op: false when it is not all within `limit` bytes. An instruction that does not exist
 * becomes an operation that raises #UD. */
bool decode_instruction(struct processor *cpu, uint32_t mode, const uint8_t *bytes, unsigned limit, struct op *op,
                        bool *ends);

/* ---- set-ups and handlers that live in other files ---- */

bool set_up_x87(struct decode *d);  /* x87.c: D8h to DFh */
bool set_up_avx(struct decode *d);  /* avx.c: VEX */
bool set_up_simd(struct decode *d); /* simd.c: MMX and SSE rows of the 0F, 0F38 and 0F3A maps */
/* system.c: whether ModRM.reg names one that exists. */
bool set_up_control_register(struct decode *d);
bool set_up_debug_register(struct decode *d);

#define HANDLERS(X)                                                                                                    \
    /* fpu.c; FXRSTOR, LDMXCSR, XRSTOR and XSETBV end their traces */                                                  \
    X(fxsave) X(fxrstor) X(ldmxcsr) X(stmxcsr) X(vldmxcsr) X(vstmxcsr) X(xsave) X(xrstor) X(xsaveopt) X(xsavec) X(xsaves) X(xrstors) X(xgetbv) X(xsetbv) X(emms)    \
    X(fwait)                                                                                                           \
    /* system.c */                                                                                                     \
    X(lgdt) X(sgdt) X(lidt) X(sidt) X(lldt) X(sldt) X(ltr) X(str) X(lmsw) X(smsw) X(invlpg) X(swapgs) X(rdtsc)         \
    X(rdtscp) X(rdpmc) X(rdmsr) X(wrmsr) X(cpuid) X(hlt) X(monitor) X(mwait) X(mov_from_cr) X(mov_to_cr)               \
    X(mov_from_dr) X(mov_to_dr) X(clts) X(invd) X(wbinvd) X(cli) X(sti) X(pushf) X(popf) X(clac) X(stac) X(rdfsbase)   \
    X(rdgsbase) X(wrfsbase) X(wrgsbase) X(invpcid) X(vmx_instruction) X(rdpid) X(rdpkru) X(wrpkru) X(rdrand) X(rdseed) X(ud) X(pause)      \
    /* io.c */                                                                                                         \
    X(in_imm) X(in_dx) X(out_imm) X(out_dx) X(ins) X(outs)                                                             \
    /* transfer.c: beyond the segment */                                                                               \
    X(syscall) X(sysret) X(sysenter) X(sysexit) X(int) X(int3) X(into) X(int1) X(iret) X(far_jmp) X(far_call)          \
    X(far_jmp_memory) X(far_call_memory) X(far_ret)                                                                    \
    /* segment.c */                                                                                                    \
    X(mov_to_seg) X(mov_from_seg) X(push_seg) X(pop_seg) X(load_far) X(lar) X(lsl) X(verr) X(verw) X(arpl)

#define X(name) HANDLER(op_##name);
HANDLERS(X)
#undef X

#endif
