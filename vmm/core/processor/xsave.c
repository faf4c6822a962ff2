/* XSAVE and its like, XCR0 (SDM vol. 1, chapter 13). */
#include "decode.h"
#include "fpu.h"
#include "vmx_state.h"

#include <string.h>

#define HEADER 512u
#define EXTENDED 576u /* where the components behind the header begin */
#define LEGACY (XCR0_X87 | XCR0_SSE)
#define COMPACTED (1ull << 63) /* XCOMP_BV */

struct xsave_header {
    uint64_t xstate_bv, xcomp_bv, reserved[6];
};
_Static_assert(sizeof(struct xsave_header) == EXTENDED - HEADER, "SDM vol. 1, 13.4.2");

/* The components behind the header, by bit number. The offset is that of the standard form (CPUID.0DH, EBX). */
struct component {
    uint8_t bit;
    uint16_t offset, size, place; /* in struct registers */
};
static const struct component components[] = {
    {2, EXTENDED, 256, offsetof(struct registers, ymm_high)},
    {9, 2688, 8, offsetof(struct registers, pkru)},
};
#define COMPONENTS (sizeof components / sizeof *components)

static uint64_t bit_of(const struct component *c)
{
    return 1ull << c->bit;
}

static uint8_t *place_of(struct processor *cpu, const struct component *c)
{
    return (uint8_t *)&cpu->s.registers + c->place;
}

/* Eight YMM registers outside 64-bit code. */
static unsigned bytes_of(const struct processor *cpu, const struct component *c)
{
    return c->bit == 2 ? fpu_xmm_bytes(cpu) : c->size;
}

/* Where the component lies in an area of the form that `xcomp_bv` tells. */
static unsigned offset_in(const struct component *wanted, uint64_t xcomp_bv)
{
    unsigned offset = EXTENDED;
    if (!(xcomp_bv & COMPACTED))
        return wanted->offset;
    for (const struct component *c = components; c < wanted; c++)
        offset += xcomp_bv & bit_of(c) ? c->size : 0;
    return offset;
}

static unsigned area_size(uint64_t features, uint64_t xcomp_bv)
{
    unsigned end = EXTENDED;
    for (const struct component *c = components; c < components + COMPONENTS; c++)
        if (features & bit_of(c) && offset_in(c, xcomp_bv) + c->size > end)
            end = offset_in(c, xcomp_bv) + c->size;
    return end;
}

static uint64_t supported(const struct processor *cpu)
{
    return LEGACY | (has_feature(cpu, FEATURE_AVX) ? XCR0_AVX : 0) | (has_feature(cpu, FEATURE_PKU) ? XCR0_PKRU : 0);
}

static uint64_t requested(const struct processor *cpu, uint64_t enabled)
{
    const uint64_t *gpr = cpu->s.registers.gpr;
    return enabled & ((uint32_t)gpr[RAX] | gpr[RDX] << 32);
}

static bool all_zero(const void *data, unsigned size)
{
    static const uint8_t zeros[256];
    return !memcmp(data, zeros, size);
}

/* XINUSE: which components are not in their initial configuration (13.6). */
static uint64_t in_use(struct processor *cpu)
{
    const struct fxsave *f = &FPU(cpu);
    bool x87 = f->fcw != FCW_INIT || f->fsw || f->ftw || f->fop || f->fip || f->fdp || !all_zero(f->st, sizeof f->st);
    uint64_t used = (x87 ? XCR0_X87 : 0) | (all_zero(f->xmm, fpu_xmm_bytes(cpu)) ? 0 : XCR0_SSE);
    for (const struct component *c = components; c < components + COMPONENTS; c++)
        used |= all_zero(place_of(cpu, c), bytes_of(cpu, c)) ? 0 : bit_of(c);
    return used;
}

static void demand_xsave(struct processor *cpu, const struct op *op)
{
    if (!(cpu->s.cr4 & CR4_OSXSAVE))
        raise_ud(cpu, op);
    if (cpu->s.cr0 & CR0_TS)
        raise_fault(cpu, op, VECTOR_NM, NO_ERROR_CODE);
}

/* XSAVES and XRSTORS; returns what XCR0 and IA32_XSS enable. */
static uint64_t demand_supervisor(struct processor *cpu, const struct op *op, uint32_t reason)
{
    uint64_t enabled = cpu->s.registers.xcr0 | cpu->s.xss;
    if (vmx_forbids_xsaves(cpu) || !(cpu->s.cr4 & CR4_OSXSAVE))
        raise_ud(cpu, op);
    if (cpu->s.cpl)
        raise_gp(cpu, op, 0);
    if (cpu->s.cr0 & CR0_TS)
        raise_fault(cpu, op, VECTOR_NM, NO_ERROR_CODE);
    if (vmx_non_root(cpu) && requested(cpu, enabled) & cpu->vmx->vmcs.xss_exiting_bitmap)
        vmx_exit_operand(cpu, op, reason, 0);
    return enabled;
}

/* ---- saving ---- */

enum kind {
    XSAVE,
    XSAVEOPT, /* leaves out what is in its initial configuration */
    XSAVEC    /* and compacts: XSAVES too */
};

static void write_legacy(struct processor *cpu, const struct op *op, uint64_t linear, uint64_t written, bool mxcsr)
{
    struct fxsave image;
    fpu_compose(cpu, op, &image);
    if (written & XCR0_X87) {
        fpu_write_control(cpu, op, linear, &image);
        fpu_write_area(cpu, op, linear + FXSAVE_ST, image.st, FXSAVE_XMM - FXSAVE_ST);
    }
    if (mxcsr)
        fpu_write_area(cpu, op, linear + FXSAVE_MXCSR, &image.mxcsr, FXSAVE_ST - FXSAVE_MXCSR);
    if (written & XCR0_SSE)
        fpu_write_area(cpu, op, linear + FXSAVE_XMM, image.xmm, fpu_xmm_bytes(cpu));
}

static __attribute__((noinline)) void save(struct processor *cpu, const struct op *op, enum kind kind, uint64_t enabled)
{
    uint64_t rfbm = requested(cpu, enabled), used, written;
    struct xsave_header header = {.xcomp_bv = kind == XSAVEC ? rfbm | COMPACTED : 0};
    unsigned size = area_size(rfbm, header.xcomp_bv);
    uint64_t linear = fpu_area(cpu, op, size, 64, true);
    mmu_probe(cpu, op, linear, size, op->seg, true);
    if (kind != XSAVEC)
        fpu_read_area(cpu, op, linear + HEADER, &header.xstate_bv, sizeof header.xstate_bv);
    fpu_leave(cpu);
    used = in_use(cpu);
    if (kind == XSAVEC && FPU(cpu).mxcsr != MXCSR_INIT)
        used |= XCR0_SSE;
    written = kind == XSAVE ? rfbm : rfbm & used;
    write_legacy(cpu, op, linear, written, kind == XSAVEC ? written & XCR0_SSE : rfbm & (XCR0_SSE | XCR0_AVX));
    for (const struct component *c = components; c < components + COMPONENTS; c++)
        if (written & bit_of(c))
            fpu_write_area(cpu, op, linear + offset_in(c, header.xcomp_bv), place_of(cpu, c), bytes_of(cpu, c));
    header.xstate_bv = (kind == XSAVEC ? 0 : header.xstate_bv & ~rfbm) | (rfbm & used);
    fpu_write_area(cpu, op, linear + HEADER, &header, kind == XSAVEC ? 16 : 8);
}

HANDLER(op_xsave)
{
    demand_xsave(cpu, op);
    save(cpu, op, XSAVE, cpu->s.registers.xcr0);
    NEXT;
}

HANDLER(op_xsaveopt)
{
    demand_xsave(cpu, op);
    save(cpu, op, XSAVEOPT, cpu->s.registers.xcr0);
    NEXT;
}

HANDLER(op_xsavec)
{
    demand_xsave(cpu, op);
    save(cpu, op, XSAVEC, cpu->s.registers.xcr0);
    NEXT;
}

HANDLER(op_xsaves)
{
    save(cpu, op, XSAVEC, demand_supervisor(cpu, op, REASON_XSAVES));
    NEXT;
}

/* ---- restoring ---- */

static bool header_valid(const struct processor *cpu, const struct xsave_header *h, uint64_t enabled, bool supervisor)
{
    bool compacted = h->xcomp_bv & COMPACTED;
    if (compacted && has_feature(cpu, FEATURE_XSAVEC)) {
        uint64_t present = h->xcomp_bv & ~COMPACTED;
        return !(present & ~enabled) && !(h->xstate_bv & ~present) && all_zero(h->reserved, sizeof h->reserved);
    }
    /* The standard form wants only bytes 23:8 of the header to be zero. */
    return !supervisor && !(h->xstate_bv & ~enabled) && !h->xcomp_bv && !h->reserved[0];
}

static void restore_legacy(struct processor *cpu, const struct op *op, const struct fxsave *from, uint64_t rfbm,
                           uint64_t present)
{
    struct fxsave *f = &FPU(cpu);
    if (present & XCR0_X87) {
        fpu_restore_x87(cpu, op, from);
    } else if (rfbm & XCR0_X87) {
        fpu_init(f);
        memset(f->st, 0, sizeof f->st);
    }
    if (present & XCR0_SSE)
        memcpy(f->xmm, from->xmm, fpu_xmm_bytes(cpu));
    else if (rfbm & XCR0_SSE)
        memset(f->xmm, 0, fpu_xmm_bytes(cpu));
}

static __attribute__((noinline)) void restore(struct processor *cpu, const struct op *op, uint64_t enabled,
                                              bool supervisor)
{
    struct fxsave legacy;
    struct xsave_header header;
    uint8_t extended[COMPONENTS][256];
    uint64_t rfbm = requested(cpu, enabled), linear = fpu_area(cpu, op, EXTENDED, 64, false), present;
    fpu_read_area(cpu, op, linear, &legacy, sizeof legacy);
    fpu_read_area(cpu, op, linear + HEADER, &header, sizeof header);
    if (!header_valid(cpu, &header, enabled, supervisor))
        raise_gp(cpu, op, 0);
    present = rfbm & header.xstate_bv;
    bool mxcsr = rfbm & (header.xcomp_bv ? XCR0_SSE : XCR0_SSE | XCR0_AVX);
    if (header.xcomp_bv && !(present & XCR0_SSE)) /* the compacted form has MXCSR in the SSE component */
        legacy.mxcsr = MXCSR_INIT;
    if (mxcsr && legacy.mxcsr & ~MXCSR_VALID)
        raise_gp(cpu, op, 0);
    linear = fpu_area(cpu, op, area_size(present, header.xcomp_bv), 64, false);
    for (unsigned i = 0; i < COMPONENTS; i++)
        if (present & bit_of(&components[i]))
            fpu_read_area(cpu, op, linear + offset_in(&components[i], header.xcomp_bv), extended[i],
                          bytes_of(cpu, &components[i]));
    fpu_leave(cpu);
    restore_legacy(cpu, op, &legacy, rfbm, present);
    if (mxcsr)
        FPU(cpu).mxcsr = legacy.mxcsr;
    for (unsigned i = 0; i < COMPONENTS; i++) {
        const struct component *c = &components[i];
        if (present & bit_of(c))
            memcpy(place_of(cpu, c), extended[i], bytes_of(cpu, c));
        else if (rfbm & bit_of(c))
            memset(place_of(cpu, c), 0, bytes_of(cpu, c));
    }
    cpu->s.registers.pkru = (uint32_t)cpu->s.registers.pkru;
}

static const struct op *restored(struct processor *cpu, const struct op *op)
{
    bool changed = fpu_masks_changed(cpu);
    if (unlikely(cpu->s.cr4 & CR4_PKE))
        cpu_update(cpu);
    return fpu_finish(cpu, op, changed);
}

HANDLER(op_xrstor)
{
    demand_xsave(cpu, op);
    restore(cpu, op, cpu->s.registers.xcr0, false);
    return restored(cpu, op);
}

HANDLER(op_xrstors)
{
    restore(cpu, op, demand_supervisor(cpu, op, REASON_XRSTORS), true);
    return restored(cpu, op);
}

/* ---- XCR0 ---- */

static __attribute__((noinline)) uint64_t xinuse(struct processor *cpu)
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
    if ((uint32_t)gpr[RCX] != 0 || !(value & XCR0_X87) || value & ~supported(cpu) ||
        (value & XCR0_AVX && !(value & XCR0_SSE)))
        raise_gp(cpu, op, 0);
    cpu->s.registers.xcr0 = value;
    cpu_update(cpu);
    return fpu_finish(cpu, op, true);
}

/* ---- CPUID ---- */

uint32_t xsave_size(const struct processor *cpu, bool compacted)
{
    uint64_t xcr0 = cpu->s.registers.xcr0;
    return compacted ? area_size(xcr0 | cpu->s.xss, COMPACTED | xcr0 | cpu->s.xss) : area_size(xcr0, 0);
}
