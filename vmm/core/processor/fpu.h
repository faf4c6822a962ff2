/* x87, MMX and SSE state.
 *
 * The XMM registers, FCW and the mask and control bits of MXCSR always are in vcpu_state. The x87 registers with FSW
 * and FTW, and the exception flags of MXCSR, move into the host's own registers when an instruction first needs them
 * and come back by fpu_leave: at the end of a run, and before anything looks at them in memory.
 *
 * In the host's registers all exceptions are masked, so that nothing here ever traps. While the guest has one unmasked
 * (MODE_FPU_CHECKED, MODE_SSE_CHECKED) its instructions run one by one under supervision instead. The C compiler must
 * not use x87 or MMX; it may use XMM registers, whose values do not outlive a handler.
 *
 * FCS and FDS are deprecated as on every recent processor: they read as zero (CPUID.7.0:EBX[13]). With CR0.NE clear an
 * instruction that waits for an error leaves the run for the board's FERR#, unless IGNNE# is asserted. */
#ifndef BRINGUP_FPU_H
#define BRINGUP_FPU_H

#include "memory.h"

enum fpu_live {
    FPU_MXCSR = 1, /* the host's MXCSR is the guest's, exceptions masked */
    FPU_X87 = 2,   /* the host's x87 registers are the guest's, exceptions masked */
    FPU_MMX = 4    /* an MMX instruction has dirtied the host's x87 tags */
};

#define FCW_MASKS 0x3fu
#define FCW_INIT 0x37fu
#define FSW_ES 0x80u
#define FSW_B 0x8000u
#define FSW_EXCEPTIONS 0x3fu
#define FSW_TOP(fsw) ((fsw) >> 11 & 7)
#define MXCSR_FLAGS 0x3fu
#define MXCSR_MASKS 0x1f80u
#define MXCSR_INIT 0x1f80u
#define MXCSR_VALID 0xffffu /* what MXCSR_MASK says */

#define FPU(cpu) ((cpu)->s.registers.fpu)

/* Everything to vcpu_state, the host's registers as C wants them. */
void fpu_leave(struct processor *cpu);
/* The x87 registers only. */
void fpu_leave_x87(struct processor *cpu);

/* Make the guest's MXCSR, x87 registers live, then run `op` (again). For handlers: `return fpu_load_mxcsr(cpu, op);` */
HANDLER(fpu_load_mxcsr);
HANDLER(fpu_load_x87);

/* Runs a copy of `op` and nothing behind it. For operations on registers, which cannot fault. */
void fpu_run_alone(struct processor *cpu, const struct op *op);

/* FCW as the register holds what is written: reserved bits are fixed. */
static inline uint16_t fcw_settled(uint16_t value)
{
    return (value & 0x1f3f) | 0x40;
}
/* Recomputes ES and B from flags and masks. */
void fpu_settle_fsw(struct fxsave *f);
/* The registers stay where they are while TOP changes: st[] counts from TOP. */
void fpu_set_top(struct fxsave *f, unsigned top);
/* FNINIT */
void fpu_init(struct fxsave *f);

/* Exception masks may have changed: true when that changes the mode, and then the handler must
 * `return fpu_leave_trace(cpu, op)`, for the rest of the trace was decoded for the old one. */
bool fpu_masks_changed(struct processor *cpu);
HANDLER(fpu_leave_trace);

/* The instruction is one that waits for pending x87 exceptions: #MF, or FERR# with CR0.NE clear. */
void fpu_raise_pending(struct processor *cpu, const struct op *op);
static inline void fpu_wait(struct processor *cpu, const struct op *op)
{
    if (unlikely(cpu->mode & MODE_FPU_CHECKED))
        fpu_raise_pending(cpu, op);
}

/* #UD or #NM by CR0 and CR4, if they forbid SSE instructions. */
void fpu_demand_sse(struct processor *cpu, const struct op *op);
/* The same for AVX, by XCR0 too. */
void fpu_demand_avx(struct processor *cpu, const struct op *op);
/* The same for MMX. */
void fpu_demand_mmx(struct processor *cpu, const struct op *op);

/* ---- memory areas: FXSAVE (fpu.c), XSAVE (xsave.c) ---- */

#define FXSAVE_FOP 6u
#define FXSAVE_MXCSR 24u /* behind FCW ... FDP */
#define FXSAVE_ST 32u
#define FXSAVE_XMM 160u

/* The area's linear address; #GP(0) when it is not aligned. */
uint64_t fpu_area(struct processor *cpu, const struct op *op, unsigned size, unsigned alignment, bool write);
void fpu_read_area(struct processor *cpu, const struct op *op, uint64_t linear, void *data, unsigned size);
/* After a probe of the whole. */
void fpu_write_area(struct processor *cpu, const struct op *op, uint64_t linear, const void *data, unsigned size);
/* Of the XMM registers and the high halves of the YMM registers in this mode. */
unsigned fpu_xmm_bytes(const struct processor *cpu);
/* What FXSAVE would store, in op's form; what FXRSTOR would load of x87. */
void fpu_compose(const struct processor *cpu, const struct op *op, struct fxsave *image);
void fpu_restore_x87(struct processor *cpu, const struct op *op, const struct fxsave *image);
/* Bytes of an area with all that is enabled, for CPUID: standard or compacted. */
uint32_t xsave_size(const struct processor *cpu, bool compacted);
/* Do FXSAVE and XSAVE store FOP, FIP and FDP, and FXRSTOR and XRSTOR load them, with this FSW? AMD's processors without
 * XSaveErPtr do with an unmasked error only. */
bool fpu_has_pointers(const struct processor *cpu, uint16_t fsw);
/* The first 24 bytes, as far as they are stored. */
void fpu_write_control(struct processor *cpu, const struct op *op, uint64_t linear, const struct fxsave *image);
/* The end of an instruction that ends its trace. */
const struct op *fpu_finish(struct processor *cpu, const struct op *op, bool mode_changed);

#define XMM_CLOBBERS                                                                                                   \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",         \
        "xmm13", "xmm14", "xmm15"

#endif
