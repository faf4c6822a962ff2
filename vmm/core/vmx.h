/* The only door between the hypervisor and the processor: VT-x as the Intel SDM (vol. 3C) defines it.
 *
 * The processor is a VT-x processor in software. What real hardware offers to code in VMX root operation is
 * offered here as C functions named after the instructions; nothing else passes. In particular
 *  - after a VM exit the general registers, CR2, DR0-DR3, DR6, XCR0 and the x87/SSE registers still hold the
 *    guest's values (SDM vol. 3, 28.3 and 28.5): `processor_registers` is the view that root-mode code has;
 *  - time is the TSC: one tick for each retired guest instruction. A hypervisor that completes an instruction for
 *    the guest counts it as one, by writing IA32_FIXED_CTR0 (instructions retired) and IA32_TIME_STAMP_COUNTER, and
 *    it skips idle time by writing the latter;
 *  - the VMX-preemption timer counts TSC ticks one by one (IA32_VMX_MISC[4:0] = 0), so it is also an exact
 *    instruction budget.
 * cffi reads this file too: plain declarations only. */
#ifndef BRINGUP_VMX_H
#define BRINGUP_VMX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine.h"

/* ---- physical memory ---- */

struct arena; /* host-physical memory: RAM, VMCS, EPT tables */

struct arena *arena_create(uint64_t bytes);
void arena_destroy(struct arena *arena);
/* The host address of [hpa, hpa + size), or NULL when any of it lies outside. */
uint8_t *arena_at(struct arena *arena, uint64_t hpa, uint64_t size);
/* Memory was written by other than the processor (a device, a loader): drop what was decoded from it. */
void arena_written(struct arena *arena, uint64_t hpa, uint64_t size);
/* Whole pages of it answer as RAM, as ROM (stores go to the bus) or as a bus. What processors have cached of it is theirs
 * to flush. */
enum arena_access { ARENA_RAM = 0, ARENA_ROM, ARENA_BUS };
void arena_set_access(struct arena *arena, uint64_t hpa, uint64_t size, enum arena_access access);
/* One hole of any size besides (the PC's below 4 GiB): a bus. */
void arena_set_gap(struct arena *arena, uint64_t hpa, uint64_t size);

/* ---- the processor ---- */

struct processor;

/* `index` is its initial APIC id: processors with the same arena are the logical processors of one package. */
struct processor *processor_create(struct arena *arena, const struct machine_config *config, unsigned index);
void processor_destroy(struct processor *processor);

/* 512 bytes as FXSAVE64 lays them out (SDM vol. 1, table 10-2). */
struct fxsave {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved0;
    uint16_t fop;
    uint64_t fip, fdp;
    uint32_t mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t xmm[16][16];
    uint8_t reserved[96];
};

/* What VM entry and VM exit leave alone. */
struct registers {
    uint64_t gpr[16]; /* RAX RCX RDX RBX RSP RBP RSI RDI R8..R15; RSP is the VMCS's while a guest runs */
    uint64_t cr2;
    uint64_t dr[4];
    uint64_t dr6;
    uint64_t xcr0;
    uint64_t pkru;
    struct fxsave fpu;
    uint8_t ymm_high[16][16]; /* bits 255:128 of the YMM registers */
};

struct registers *processor_registers(struct processor *processor);

/* RDMSR, WRMSR and CPUID in root operation; false: #GP. */
bool msr_read(struct processor *processor, uint32_t index, uint64_t *value);
bool msr_write(struct processor *processor, uint32_t index, uint64_t value);
void processor_cpuid(struct processor *processor, uint32_t leaf, uint32_t subleaf, struct cpuid_leaf *out);

/* Of a processor in software alone: everything in it, between two VM entries. */
struct snapshot;
void processor_snapshot(struct processor *processor, struct snapshot *snapshot);
/* All of it but [gap, gap_end), which holds nothing. */
void arena_snapshot(struct arena *arena, struct snapshot *snapshot, uint64_t gap, uint64_t gap_end);

/* From any thread: an external interrupt arrives (exit reason 1 when external-interrupt exiting is on). */
void processor_kick(struct processor *processor);

/* ---- VMX instructions (SDM vol. 3, chapter 31) ---- */

enum vmx_result { VMX_SUCCEED = 0, VMX_FAIL_INVALID = 1, VMX_FAIL_VALID = 2 };

enum vmx_result vmx_on(struct processor *processor, uint64_t region);
enum vmx_result vmx_off(struct processor *processor);
enum vmx_result vmx_clear(struct processor *processor, uint64_t vmcs);
enum vmx_result vmx_ptrld(struct processor *processor, uint64_t vmcs);
uint64_t vmx_ptrst(struct processor *processor);
enum vmx_result vmx_read(struct processor *processor, uint32_t field, uint64_t *value);
enum vmx_result vmx_write(struct processor *processor, uint32_t field, uint64_t value);
/* VMLAUNCH and VMRESUME: return VMX_SUCCEED at the VM exit (a failed entry is an exit with bit 31 of the reason).
 * VMX_FAIL_INVALID besides its own causes: a VMX abort (28.7), which ends VMX operation; the VMCS region says why. */
enum vmx_result vmx_launch(struct processor *processor);
enum vmx_result vmx_resume(struct processor *processor);
enum vmx_result vmx_invept(struct processor *processor, uint32_t type, uint64_t eptp);
enum vmx_result vmx_invvpid(struct processor *processor, uint32_t type, uint16_t vpid, uint64_t linear);

/* For people: the VMCS's components by name. `vmcs_field_encoding(0), (1), ...` goes through them all and ends with
 * VMCS_NO_FIELD; the name of what does not exist is NULL. */
#define VMCS_NO_FIELD 0xffffffff
uint32_t vmcs_field_encoding(unsigned n);
const char *vmcs_field_name(uint32_t encoding);

#endif
