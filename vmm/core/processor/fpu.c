/* The x87, MMX and SSE state: in and out of the host's registers, FXSAVE and XSAVE, MXCSR. */
#include "fpu.h"

#include "decode.h"
#include "vmx_state.h"

#include <string.h>

_Static_assert(offsetof(struct vcpu_state, registers.fpu) % 16 == 0, "FXSAVE64 and MOVAPS want alignment");
_Static_assert(sizeof(struct fxsave) == 512, "SDM vol. 1, table 10-2");

/* ---- in and out of the host's registers ---- */

static uint32_t host_mxcsr(void)
{
    uint32_t value;
    __asm__ volatile("stmxcsr %0" : "=m"(value));
    return value;
}

static void set_host_mxcsr(uint32_t value)
{
    __asm__ volatile("ldmxcsr %0" ::"m"(value));
}

static void load_mxcsr(struct processor *cpu)
{
    cpu->host_mxcsr = host_mxcsr();
    set_host_mxcsr((FPU(cpu).mxcsr & MXCSR_VALID) | MXCSR_MASKS); /* root code may have written any bits */
    cpu->fpu_live |= FPU_MXCSR;
}

static __attribute__((noinline)) void load_x87(struct processor *cpu)
{
    _Alignas(16) struct fxsave image = FPU(cpu);
    __asm__ volatile("fnstcw %0" : "=m"(cpu->host_fcw));
    image.fcw |= FCW_MASKS;
    image.fsw &= ~(FSW_ES | FSW_B);
    image.mxcsr = host_mxcsr();
    __asm__ volatile("fxrstor64 %0" ::"m"(image) : XMM_CLOBBERS);
    cpu->fpu_live = (cpu->fpu_live & ~FPU_MMX) | FPU_X87;
}

static __attribute__((noinline)) void save_x87(struct processor *cpu)
{
    _Alignas(16) struct fxsave image;
    __asm__ volatile("fxsave64 %0\n\tfninit" : "=m"(image));
    if (unlikely(cpu->host_fcw != FCW_INIT))
        __asm__ volatile("fldcw %0" ::"m"(cpu->host_fcw));
    FPU(cpu).fsw = image.fsw;
    FPU(cpu).ftw = image.ftw;
    memcpy(FPU(cpu).st, image.st, sizeof(image.st));
}

HANDLER(fpu_load_mxcsr)
{
    load_mxcsr(cpu);
    RUN(op);
}

HANDLER(fpu_load_x87)
{
    load_x87(cpu);
    RUN(op);
}

void fpu_leave_x87(struct processor *cpu)
{
    if (cpu->fpu_live & FPU_X87)
        save_x87(cpu);
    else if (cpu->fpu_live & FPU_MMX)
        __asm__ volatile("emms");
    cpu->fpu_live &= FPU_MXCSR;
}

void fpu_leave(struct processor *cpu)
{
    fpu_leave_x87(cpu);
    if (cpu->fpu_live & FPU_MXCSR) {
        FPU(cpu).mxcsr |= host_mxcsr() & MXCSR_FLAGS;
        set_host_mxcsr(cpu->host_mxcsr);
    }
    cpu->fpu_live = 0;
}

static HANDLER(stop)
{
    (void)cpu, (void)op;
    return NULL;
}

__attribute__((noinline)) void fpu_run_alone(struct processor *cpu, const struct op *op)
{
    struct op alone[2] = {*op, {.fn = stop}};
    for (op = alone; op;)
        op = op->fn(cpu, op);
}

/* ---- the image ---- */

void fpu_settle_fsw(struct fxsave *f)
{
    bool error = f->fsw & ~f->fcw & FSW_EXCEPTIONS;
    f->fsw = (f->fsw & ~(FSW_ES | FSW_B)) | (error ? FSW_ES | FSW_B : 0);
}

void fpu_set_top(struct fxsave *f, unsigned top)
{
    uint8_t st[8][16];
    unsigned shift = top - FSW_TOP(f->fsw);
    memcpy(st, f->st, sizeof(st));
    for (unsigned i = 0; i < 8; i++)
        memcpy(f->st[i], st[(i + shift) & 7], sizeof(st[0]));
    f->fsw = (f->fsw & ~(7u << 11)) | (top & 7) << 11;
}

void fpu_init(struct fxsave *f)
{
    fpu_set_top(f, 0);
    f->fcw = FCW_INIT;
    f->fsw = f->fop = 0;
    f->ftw = 0;
    f->fip = f->fdp = 0;
}

/* ---- modes ---- */

bool fpu_masks_changed(struct processor *cpu)
{
    uint32_t mode = ((FPU(cpu).fcw & FCW_MASKS) != FCW_MASKS ? MODE_FPU_CHECKED : 0) |
                    ((FPU(cpu).mxcsr & MXCSR_MASKS) != MXCSR_MASKS ? MODE_SSE_CHECKED : 0);
    if (likely((cpu->mode & (MODE_FPU_CHECKED | MODE_SSE_CHECKED)) == mode))
        return false;
    cpu_update(cpu);
    return true;
}

/* The end of an instruction that ends its trace. */
static const struct op *finish(struct processor *cpu, const struct op *op, bool mode_changed)
{
    rip_past(cpu, op);
    if (unlikely(mode_changed))
        LEAVE_TRACE;
    return trace_jump(cpu);
}

HANDLER(fpu_leave_trace)
{
    cpu->left += trace_of(op)->count - op->number - 1;
    rip_past(cpu, op);
    LEAVE_TRACE;
}

void fpu_raise_pending(struct processor *cpu, const struct op *op)
{
    if (FPU(cpu).fsw & FSW_ES && cpu->s.cr0 & CR0_NE)
        raise_fault(cpu, op, VECTOR_MF, NO_ERROR_CODE);
}

void fpu_demand_sse(struct processor *cpu, const struct op *op)
{
    if (!(cpu->s.cr4 & CR4_OSFXSR))
        raise_ud(cpu, op);
    fpu_demand_mmx(cpu, op);
}

void fpu_demand_mmx(struct processor *cpu, const struct op *op)
{
    if (cpu->s.cr0 & CR0_EM)
        raise_ud(cpu, op);
    if (cpu->s.cr0 & CR0_TS)
        raise_fault(cpu, op, VECTOR_NM, NO_ERROR_CODE);
}

/* ---- MXCSR ---- */

/* While live, the flags in memory are stale ones: those in the host's register count. */
static void set_mxcsr(struct processor *cpu, uint32_t value)
{
    FPU(cpu).mxcsr = value;
    if (cpu->fpu_live & FPU_MXCSR)
        set_host_mxcsr(value | MXCSR_MASKS);
}

HANDLER(op_ldmxcsr)
{
    if (unlikely(cpu->mode & MODE_NO_SSE))
        fpu_demand_sse(cpu, op);
    uint32_t value = load32(cpu, op, ea_any(cpu, op, 4, false), op->seg);
    if (unlikely(value & ~MXCSR_VALID))
        raise_gp(cpu, op, 0);
    set_mxcsr(cpu, value);
    return finish(cpu, op, fpu_masks_changed(cpu));
}

HANDLER(op_stmxcsr)
{
    if (unlikely(cpu->mode & MODE_NO_SSE))
        fpu_demand_sse(cpu, op);
    uint32_t value = FPU(cpu).mxcsr;
    if (cpu->fpu_live & FPU_MXCSR)
        value |= host_mxcsr() & MXCSR_FLAGS;
    store32(cpu, op, ea_any(cpu, op, 4, true), value, op->seg);
    NEXT;
}

/* ---- EMMS, FWAIT ---- */

static __attribute__((noinline)) void emms(struct processor *cpu)
{
    fpu_leave_x87(cpu);
    fpu_set_top(&FPU(cpu), 0);
    FPU(cpu).ftw = 0;
}

HANDLER(op_emms)
{
    if (unlikely(op->form & (FORM_OPERAND16 | FORM_REP | FORM_REPNE)))
        raise_ud(cpu, op);
    if (unlikely(cpu->mode & MODE_NO_X87))
        fpu_demand_mmx(cpu, op);
    fpu_wait(cpu, op);
    emms(cpu);
    NEXT;
}

HANDLER(op_fwait)
{
    if (unlikely((cpu->s.cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS)))
        raise_fault(cpu, op, VECTOR_NM, NO_ERROR_CODE);
    fpu_wait(cpu, op);
    NEXT;
}

/* ---- memory areas ---- */

static void read_area(struct processor *cpu, const struct op *op, uint64_t linear, void *data, unsigned size)
{
    const struct tlb_entry *entry = tlb_entry(cpu, linear);
    if (likely(((linear + size - 1) & ~0xfffull) == entry->read)) {
        memcpy(data, (const void *)(linear + entry->addend), size);
        return;
    }
    for (unsigned at = 0, piece; at < size; at += piece) {
        piece = size - at < 64 ? size - at : 64;
        memcpy((uint8_t *)data + at, mmu_read(cpu, op, linear + at, piece, op->seg), piece);
    }
}

/* After a probe of the whole. */
static void write_area(struct processor *cpu, const struct op *op, uint64_t linear, const void *data, unsigned size)
{
    const struct tlb_entry *entry = tlb_entry(cpu, linear);
    if (likely(((linear + size - 1) & ~0xfffull) == entry->write)) {
        memcpy((void *)(linear + entry->addend), data, size);
        return;
    }
    for (unsigned at = 0, piece; at < size; at += piece) {
        piece = size - at < 64 ? size - at : 64;
        mmu_write(cpu, op, linear + at, (const uint8_t *)data + at, piece, op->seg);
    }
}

#define MXCSR_BEGIN 24u /* behind FCW ... FDP */
#define ST_BEGIN 32u
#define XMM_BEGIN 160u
#define FXSAVE_END 416u /* what lies behind is left alone */
#define XSAVE_HEADER 512u
#define XSAVE_SIZE 576u

static unsigned xmm_bytes(const struct processor *cpu)
{
    return code64(cpu) ? 256 : 128;
}

/* With REX.W FIP and FDP have 64 bits, else 32 and a selector, which is deprecated. */
static void compose_x87(const struct processor *cpu, const struct op *op, struct fxsave *image)
{
    *image = FPU(cpu);
    image->mxcsr_mask = MXCSR_VALID;
    image->reserved0 = 0;
    if (op->size != 8) {
        image->fip = (uint32_t)image->fip;
        image->fdp = (uint32_t)image->fdp;
    }
}

static void restore_x87(struct processor *cpu, const struct op *op, const struct fxsave *image)
{
    struct fxsave *f = &FPU(cpu);
    f->fcw = fcw_settled(image->fcw);
    f->fsw = image->fsw;
    f->ftw = image->ftw;
    f->fop = image->fop & 0x7ff;
    f->fip = op->size == 8 ? image->fip : (uint32_t)image->fip;
    f->fdp = op->size == 8 ? image->fdp : (uint32_t)image->fdp;
    for (unsigned i = 0; i < 8; i++) {
        memcpy(f->st[i], image->st[i], 10);
        memset(f->st[i] + 10, 0, 6);
    }
    fpu_settle_fsw(f);
}

static uint64_t area(struct processor *cpu, const struct op *op, unsigned size, unsigned alignment, bool write)
{
    uint64_t linear = ea_any(cpu, op, size, write);
    if (linear & (alignment - 1))
        raise_gp(cpu, op, 0);
    return linear;
}

static __attribute__((noinline)) void fxsave(struct processor *cpu, const struct op *op)
{
    struct fxsave image;
    uint64_t linear = area(cpu, op, 512, 16, true);
    mmu_probe(cpu, op, linear, 512, op->seg, true);
    fpu_leave(cpu);
    compose_x87(cpu, op, &image);
    write_area(cpu, op, linear, &image, XMM_BEGIN + xmm_bytes(cpu));
}

static __attribute__((noinline)) bool fxrstor(struct processor *cpu, const struct op *op)
{
    struct fxsave image;
    uint64_t linear = area(cpu, op, 512, 16, false);
    mmu_probe(cpu, op, linear, 512, op->seg, false);
    read_area(cpu, op, linear, &image, FXSAVE_END);
    if (image.mxcsr & ~MXCSR_VALID)
        raise_gp(cpu, op, 0);
    fpu_leave(cpu);
    restore_x87(cpu, op, &image);
    FPU(cpu).mxcsr = image.mxcsr;
    memcpy(FPU(cpu).xmm, image.xmm, xmm_bytes(cpu));
    return fpu_masks_changed(cpu);
}

static void demand_x87(struct processor *cpu, const struct op *op)
{
    if (unlikely(cpu->mode & MODE_NO_X87))
        raise_fault(cpu, op, VECTOR_NM, NO_ERROR_CODE);
}

HANDLER(op_fxsave)
{
    demand_x87(cpu, op);
    fxsave(cpu, op);
    NEXT;
}

HANDLER(op_fxrstor)
{
    demand_x87(cpu, op);
    return finish(cpu, op, fxrstor(cpu, op));
}

/* ---- XSAVE (SDM vol. 1, chapter 13): state components 0 and 1 ---- */

#define COMPONENT_X87 1u
#define COMPONENT_SSE 2u
#define XCR0_VALID (COMPONENT_X87 | COMPONENT_SSE)
#define XCOMP_COMPACTED (1ull << 63)

struct xsave_area {
    struct fxsave legacy;
    uint64_t xstate_bv, xcomp_bv, reserved[6];
};
_Static_assert(sizeof(struct xsave_area) == XSAVE_SIZE, "SDM vol. 1, 13.4");

static void demand_xsave(struct processor *cpu, const struct op *op)
{
    if (!(cpu->s.cr4 & CR4_OSXSAVE))
        raise_ud(cpu, op);
    if (cpu->s.cr0 & CR0_TS)
        raise_fault(cpu, op, VECTOR_NM, NO_ERROR_CODE);
}

/* XCR0 AND EDX:EAX. XCR0 has no bits above. */
static uint32_t requested(const struct processor *cpu)
{
    return cpu->s.registers.xcr0 & cpu->s.registers.gpr[RAX] & XCR0_VALID;
}

/* XINUSE: which components are not in their initial configuration. */
static uint32_t in_use(const struct processor *cpu)
{
    static const uint8_t zeros[256];
    const struct fxsave *f = &FPU(cpu);
    bool x87 = f->fcw != FCW_INIT || f->fsw || f->ftw || f->fop || f->fip || f->fdp ||
               memcmp(f->st, zeros, sizeof(f->st));
    return (x87 ? COMPONENT_X87 : 0) | (memcmp(f->xmm, zeros, xmm_bytes(cpu)) ? COMPONENT_SSE : 0);
}

enum xsave_kind { XSAVE, XSAVEOPT, XSAVEC };

static __attribute__((noinline)) void xsave(struct processor *cpu, const struct op *op, enum xsave_kind kind)
{
    struct fxsave image;
    uint64_t header[2], linear = area(cpu, op, XSAVE_SIZE, 64, true);
    uint32_t rfbm = requested(cpu), used, written;
    mmu_probe(cpu, op, linear, XSAVE_SIZE, op->seg, true);
    if (kind != XSAVEC)
        read_area(cpu, op, linear + XSAVE_HEADER, header, 8);
    fpu_leave(cpu);
    compose_x87(cpu, op, &image);
    used = in_use(cpu);
    if (kind == XSAVEC && image.mxcsr != MXCSR_INIT)
        used |= COMPONENT_SSE;
    written = kind == XSAVE ? rfbm : rfbm & used;
    if (written & COMPONENT_X87) {
        write_area(cpu, op, linear, &image, MXCSR_BEGIN);
        write_area(cpu, op, linear + ST_BEGIN, image.st, XMM_BEGIN - ST_BEGIN);
    }
    if (kind == XSAVEC ? written & COMPONENT_SSE : rfbm & COMPONENT_SSE)
        write_area(cpu, op, linear + MXCSR_BEGIN, &image.mxcsr, ST_BEGIN - MXCSR_BEGIN);
    if (written & COMPONENT_SSE)
        write_area(cpu, op, linear + XMM_BEGIN, image.xmm, xmm_bytes(cpu));
    if (kind == XSAVEC) {
        header[0] = rfbm & used;
        header[1] = rfbm | XCOMP_COMPACTED;
        write_area(cpu, op, linear + XSAVE_HEADER, header, 16);
    } else {
        header[0] = (header[0] & ~(uint64_t)rfbm) | (rfbm & used);
        write_area(cpu, op, linear + XSAVE_HEADER, header, 8);
    }
}

static bool header_valid(const struct processor *cpu, const struct xsave_area *from)
{
    uint64_t xcr0 = cpu->s.registers.xcr0, other = 0;
    unsigned first = 0;
    if (has_feature(cpu, FEATURE_XSAVEC) && from->xcomp_bv & XCOMP_COMPACTED) {
        uint64_t present = from->xcomp_bv & ~XCOMP_COMPACTED;
        if (present & ~xcr0 || from->xstate_bv & ~present)
            return false;
    } else {
        if (from->xstate_bv & ~xcr0 || from->xcomp_bv)
            return false;
    }
    /* The standard form wants only bytes 23:8 of the header to be zero. */
    for (; first < (from->xcomp_bv ? 6 : 1); first++)
        other |= from->reserved[first];
    return !other;
}

static __attribute__((noinline)) bool xrstor(struct processor *cpu, const struct op *op)
{
    struct xsave_area from;
    uint64_t linear = area(cpu, op, XSAVE_SIZE, 64, false);
    uint32_t rfbm = requested(cpu), present;
    mmu_probe(cpu, op, linear, XSAVE_SIZE, op->seg, false);
    read_area(cpu, op, linear, &from, XSAVE_SIZE);
    if (!header_valid(cpu, &from))
        raise_gp(cpu, op, 0);
    present = rfbm & from.xstate_bv;
    if (rfbm & COMPONENT_SSE) { /* the compacted form has MXCSR in the SSE component */
        if (from.xcomp_bv && !(present & COMPONENT_SSE))
            from.legacy.mxcsr = MXCSR_INIT;
        if (from.legacy.mxcsr & ~MXCSR_VALID)
            raise_gp(cpu, op, 0);
    }
    fpu_leave(cpu);
    if (present & COMPONENT_X87) {
        restore_x87(cpu, op, &from.legacy);
    } else if (rfbm & COMPONENT_X87) {
        fpu_init(&FPU(cpu));
        memset(FPU(cpu).st, 0, sizeof(FPU(cpu).st));
    }
    if (rfbm & COMPONENT_SSE) {
        FPU(cpu).mxcsr = from.legacy.mxcsr;
        if (present & COMPONENT_SSE)
            memcpy(FPU(cpu).xmm, from.legacy.xmm, xmm_bytes(cpu));
        else
            memset(FPU(cpu).xmm, 0, xmm_bytes(cpu));
    }
    return fpu_masks_changed(cpu);
}

HANDLER(op_xsave)
{
    demand_xsave(cpu, op);
    xsave(cpu, op, XSAVE);
    NEXT;
}

HANDLER(op_xsaveopt)
{
    demand_xsave(cpu, op);
    xsave(cpu, op, XSAVEOPT);
    NEXT;
}

HANDLER(op_xsavec)
{
    demand_xsave(cpu, op);
    xsave(cpu, op, XSAVEC);
    NEXT;
}

HANDLER(op_xrstor)
{
    demand_xsave(cpu, op);
    return finish(cpu, op, xrstor(cpu, op));
}

static __attribute__((noinline)) uint32_t xinuse(struct processor *cpu)
{
    fpu_leave(cpu);
    return in_use(cpu);
}

HANDLER(op_xgetbv)
{
    uint64_t *gpr = cpu->s.registers.gpr, value = cpu->s.registers.xcr0;
    if (!(cpu->s.cr4 & CR4_OSXSAVE))
        raise_ud(cpu, op);
    if ((uint32_t)gpr[RCX] > has_feature(cpu, FEATURE_XGETBV1))
        raise_gp(cpu, op, 0);
    if ((uint32_t)gpr[RCX] == 1)
        value &= xinuse(cpu);
    gpr[RAX] = (uint32_t)value;
    gpr[RDX] = value >> 32;
    NEXT;
}

HANDLER(op_xsetbv)
{
    const uint64_t *gpr = cpu->s.registers.gpr;
    uint64_t value = gpr[RDX] << 32 | (uint32_t)gpr[RAX];
    if (!(cpu->s.cr4 & CR4_OSXSAVE))
        raise_ud(cpu, op);
    if (cpu->s.cpl != 0)
        raise_gp(cpu, op, 0);
    if (cpu->emulating)
        leave_run(cpu, op, LEAVE_REFUSED);
    if (vmx_non_root(cpu))
        vmx_exit(cpu, op, REASON_XSETBV, 0);
    if ((uint32_t)gpr[RCX] != 0 || !(value & COMPONENT_X87) || value & ~(uint64_t)XCR0_VALID)
        raise_gp(cpu, op, 0);
    cpu->s.registers.xcr0 = value;
    return finish(cpu, op, false);
}
