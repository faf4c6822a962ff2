/* The x87, MMX and SSE state: in and out of the host's registers, FXSAVE and XSAVE, MXCSR. */
#include "fpu.h"

#include "decode.h"
#include "mmu.h"

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
const struct op *fpu_finish(struct processor *cpu, const struct op *op, bool mode_changed)
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
    if (!(FPU(cpu).fsw & FSW_ES))
        return;
    if (cpu->s.cr0 & CR0_NE)
        raise_fault(cpu, op, VECTOR_MF, NO_ERROR_CODE);
    if (!cpu->ignne && !cpu->emulating) /* whose hypervisor asserts IGNNE# */
        leave_run(cpu, op, LEAVE_FERR);
}

void fpu_demand_sse(struct processor *cpu, const struct op *op)
{
    if (!(cpu->s.cr4 & CR4_OSFXSR))
        raise_ud(cpu, op);
    fpu_demand_mmx(cpu, op);
}

void fpu_demand_avx(struct processor *cpu, const struct op *op)
{
    if (!(cpu->s.cr4 & CR4_OSXSAVE) || ~cpu->s.registers.xcr0 & (XCR0_SSE | XCR0_AVX))
        raise_ud(cpu, op);
    if (cpu->s.cr0 & CR0_TS)
        raise_fault(cpu, op, VECTOR_NM, NO_ERROR_CODE);
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

HANDLER(op_vldmxcsr)
{
    uint32_t value = load32(cpu, op, ea_any(cpu, op, 4, false), op->seg);
    if (unlikely(value & ~MXCSR_VALID))
        raise_gp(cpu, op, 0);
    set_mxcsr(cpu, value);
    return fpu_finish(cpu, op, fpu_masks_changed(cpu));
}

HANDLER(op_vstmxcsr)
{
    uint32_t value = FPU(cpu).mxcsr;
    if (cpu->fpu_live & FPU_MXCSR)
        value |= host_mxcsr() & MXCSR_FLAGS;
    store32(cpu, op, ea_any(cpu, op, 4, true), value, op->seg);
    NEXT;
}

HANDLER(op_ldmxcsr)
{
    if (unlikely(cpu->mode & MODE_NO_SSE))
        fpu_demand_sse(cpu, op);
    return op_vldmxcsr(cpu, op);
}

HANDLER(op_stmxcsr)
{
    if (unlikely(cpu->mode & MODE_NO_SSE))
        fpu_demand_sse(cpu, op);
    return op_vstmxcsr(cpu, op);
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

void fpu_read_area(struct processor *cpu, const struct op *op, uint64_t linear, void *data, unsigned size)
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
void fpu_write_area(struct processor *cpu, const struct op *op, uint64_t linear, const void *data, unsigned size)
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

#define FXSAVE_END 416u /* what lies behind is left alone */

unsigned fpu_xmm_bytes(const struct processor *cpu)
{
    return code64(cpu) ? 256 : 128;
}

/* With REX.W FIP and FDP have 64 bits, else 32 and a selector, which is deprecated. */
bool fpu_has_pointers(const struct processor *cpu, uint16_t fsw)
{
    return !cpu->amd || has_feature(cpu, FEATURE_XSAVEERPTR) || fsw & FSW_ES;
}

void fpu_write_control(struct processor *cpu, const struct op *op, uint64_t linear, const struct fxsave *image)
{
    fpu_write_area(cpu, op, linear, image, fpu_has_pointers(cpu, image->fsw) ? FXSAVE_MXCSR : FXSAVE_FOP);
}

void fpu_compose(const struct processor *cpu, const struct op *op, struct fxsave *image)
{
    *image = FPU(cpu);
    image->mxcsr_mask = MXCSR_VALID;
    image->reserved0 = 0;
    if (op->size != 8) {
        image->fip = (uint32_t)image->fip;
        image->fdp = (uint32_t)image->fdp;
    }
}

void fpu_restore_x87(struct processor *cpu, const struct op *op, const struct fxsave *image)
{
    struct fxsave *f = &FPU(cpu);
    f->fcw = fcw_settled(image->fcw);
    f->fsw = image->fsw;
    f->ftw = image->ftw;
    if (fpu_has_pointers(cpu, image->fsw)) {
        f->fop = image->fop & 0x7ff;
        f->fip = op->size == 8 ? image->fip : (uint32_t)image->fip;
        f->fdp = op->size == 8 ? image->fdp : (uint32_t)image->fdp;
    }
    for (unsigned i = 0; i < 8; i++) {
        memcpy(f->st[i], image->st[i], 10);
        memset(f->st[i] + 10, 0, 6);
    }
    fpu_settle_fsw(f);
}

uint64_t fpu_area(struct processor *cpu, const struct op *op, unsigned size, unsigned alignment, bool write)
{
    uint64_t linear = ea_any(cpu, op, size, write);
    if (unlikely(linear & (alignment - 1))) {
        bool stack = op->seg == SS && code64(cpu) && !canonical(cpu, linear); /* comes first */
        raise_fault(cpu, op, stack ? VECTOR_SS : VECTOR_GP, 0);
    }
    return linear;
}

static __attribute__((noinline)) void fxsave(struct processor *cpu, const struct op *op)
{
    struct fxsave image;
    uint64_t linear = fpu_area(cpu, op, 512, 16, true);
    mmu_probe(cpu, op, linear, 512, op->seg, true);
    fpu_leave(cpu);
    fpu_compose(cpu, op, &image);
    fpu_write_control(cpu, op, linear, &image);
    fpu_write_area(cpu, op, linear + FXSAVE_MXCSR, &image.mxcsr, FXSAVE_XMM - FXSAVE_MXCSR + fpu_xmm_bytes(cpu));
}

static __attribute__((noinline)) bool fxrstor(struct processor *cpu, const struct op *op)
{
    struct fxsave image;
    uint64_t linear = fpu_area(cpu, op, 512, 16, false);
    mmu_probe(cpu, op, linear, 512, op->seg, false);
    fpu_read_area(cpu, op, linear, &image, FXSAVE_END);
    if (image.mxcsr & ~MXCSR_VALID)
        raise_gp(cpu, op, 0);
    fpu_leave(cpu);
    fpu_restore_x87(cpu, op, &image);
    FPU(cpu).mxcsr = image.mxcsr;
    memcpy(FPU(cpu).xmm, image.xmm, fpu_xmm_bytes(cpu));
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
    return fpu_finish(cpu, op, fxrstor(cpu, op));
}
