/* Segmentation (SDM vol. 3, chapters 3 and 5) as the rest of processor/ sees it. */
#ifndef BRINGUP_SEGMENT_H
#define BRINGUP_SEGMENT_H

#include "decode.h"
#include "events.h"
#include "memory.h"

/* For what handlers must not inline: a local variable whose address escapes would forbid their tail calls. */
#define HELPER static __attribute__((noinline))

/* RIP to the instruction `op`, the last one of its trace, which is given back as not retired: for what goes on with op
 * NULL and then takes 1 from cpu->left. */
static inline void rip_at(struct processor *cpu, const struct op *op)
{
    cpu->s.rip += op->offset;
    if (!code64(cpu))
        cpu->s.rip = (uint32_t)cpu->s.rip;
    cpu->left++;
}

/* The instruction after `op`, wherever that lies in its trace. */
static inline uint64_t next_rip(const struct processor *cpu, const struct op *op)
{
    uint64_t rip = cpu->s.rip + op->offset + op->length;
    return code64(cpu) ? rip : (uint32_t)rip;
}

/* A register as an instruction with operands of 2, 4 or 8 bytes writes it. */
static inline void write_register(struct processor *cpu, unsigned offset, unsigned size, uint64_t value)
{
    if (size == 2)
        REG16(cpu, offset) = value;
    else
        REG64(cpu, offset) = size == 4 ? (uint32_t)value : value;
}

/* An emulator has no part in what has a VM exit of its own or needs registers that it is not given. */
static inline void refuse_when_emulating(struct processor *cpu, const struct op *op)
{
    if (unlikely(cpu->emulating))
        leave_run(cpu, op, LEAVE_REFUSED);
}

/* For opcodes.c, which alone knows the opcode: these leave the segment register's number in op->imm. */
bool set_up_push_seg(struct decode *d); /* 06h 0Eh 16h 1Eh 0F A0h 0F A8h */
bool set_up_pop_seg(struct decode *d);  /* 07h 17h 1Fh 0F A1h 0F A9h */
bool set_up_load_far(struct decode *d); /* C4h C5h 0F B2h 0F B4h 0F B5h */

/* The m16:16, m16:32 or m16:64 operand of `op`: its offset. */
uint64_t read_far_pointer(struct processor *cpu, const struct op *op, uint16_t *selector);

/* Types of system descriptors (table 3-2); bit 1 of a TSS: busy. */
enum system_type {
    TYPE_TSS16 = 1, TYPE_LDT = 2, TYPE_TSS16_BUSY = 3, TYPE_CALL_GATE16 = 4, TYPE_TASK_GATE = 5,
    TYPE_INTERRUPT_GATE16 = 6, TYPE_TRAP_GATE16 = 7, TYPE_TSS32 = 9, TYPE_TSS32_BUSY = 11, TYPE_CALL_GATE32 = 12,
    TYPE_INTERRUPT_GATE32 = 14, TYPE_TRAP_GATE32 = 15
};

/* A segment or gate descriptor; `high` is the second half of the 16-byte ones (0 of others). */
struct descriptor {
    uint64_t at; /* linear address */
    uint64_t low, high;
};

/* Access rights of a descriptor as struct vcpu_segment has them. */
static inline uint32_t descriptor_access(uint64_t low)
{
    return low >> 40 & 0xf0ff;
}
static inline unsigned access_dpl(uint32_t access)
{
    return access >> AR_DPL_SHIFT & 3;
}
static inline unsigned access_type(uint32_t access)
{
    return access & AR_TYPE;
}
static inline bool is_code(uint32_t access)
{
    return (access & (AR_S | AR_CODE)) == (AR_S | AR_CODE);
}
static inline bool is_conforming(uint32_t access)
{
    return (access & (AR_S | AR_CODE | AR_EXPAND_DOWN)) == (AR_S | AR_CODE | AR_EXPAND_DOWN);
}
static inline bool is_writable_data(uint32_t access)
{
    return (access & (AR_S | AR_CODE | AR_WRITABLE)) == (AR_S | AR_WRITABLE);
}
static inline bool is_readable(uint32_t access)
{
    return access & AR_S && (!(access & AR_CODE) || access & AR_WRITABLE);
}
/* A null selector is 0 to 3. */
static inline bool is_null(uint16_t selector)
{
    return !(selector & 0xfffc);
}

/* The register that a code, data or system descriptor makes (base high half from `high`). */
struct vcpu_segment descriptor_segment(uint16_t selector, const struct descriptor *d);

/* Raises `vector` with the selector's index, TI and EXT as the error code. */
_Noreturn void raise_selector(struct processor *cpu, const struct op *op, unsigned vector, uint16_t selector);
/* The same with an error code of 0 or EXT. */
_Noreturn void raise_zero(struct processor *cpu, const struct op *op, unsigned vector);

/* Reads the 8 bytes of a selector that is not null; false: outside of its table. */
bool descriptor_find(struct processor *cpu, const struct op *op, uint16_t selector, struct descriptor *d);
/* The same; outside: `vector`(selector). */
void descriptor_read(struct processor *cpu, const struct op *op, uint16_t selector, unsigned vector,
                     struct descriptor *d);
/* The second half of a 16-byte system descriptor; beyond the table or of a type that is not 0: `vector`(selector). */
void descriptor_read_high(struct processor *cpu, const struct op *op, uint16_t selector, unsigned vector,
                          struct descriptor *d);
void descriptor_set_accessed(struct processor *cpu, const struct op *op, struct descriptor *d);
void descriptor_set_busy(struct processor *cpu, const struct op *op, struct descriptor *d, bool busy);

/* A stack segment for `cpl`: SS of a far transfer or of a TSS. Faults are `vector`(selector), a segment that is not
 * present #SS(selector). Sets its accessed bit. */
struct vcpu_segment stack_segment(struct processor *cpu, const struct op *op, uint16_t selector, unsigned cpl,
                                  unsigned vector);

/* What MOV to a segment register does but for the shadow of SS; not CS. Raises before any change. */
void load_segment(struct processor *cpu, const struct op *op, unsigned seg, uint16_t selector);
/* In real and virtual-8086 mode. */
void load_segment_real(struct processor *cpu, unsigned seg, uint16_t selector);
/* Did a load of ES, SS or DS, or of any register in real mode, change the mode? Only what was flat or is now can, and SS,
 * whose B bit is a part of it. */
static inline bool segment_may_change_mode(const struct processor *cpu, unsigned seg)
{
    return seg == SS || cpu->mode & MODE_FLAT || cpu->s.seg[seg].limit == 0xffffffff;
}
/* After a return to an outer privilege: data segments that it may not use become null (SDM vol. 2, RET). */
void drop_segments(struct processor *cpu);

/* Virtual-8086 mode's access rights: present, DPL 3, read/write, accessed. */
#define ACCESS_V86 0xf3u
#define ACCESS_REAL_DATA 0x93u

/* Stack references by an explicit stack segment, for far transfers: `sp` is masked by its B bit, #SS(error) outside of
 * its limits. In long mode: no segmentation, `sp` as it is. */
uint64_t stack_address(struct processor *cpu, const struct op *op, const struct vcpu_segment *ss, uint64_t sp,
                       unsigned size, bool code64_stack, uint32_t error);
static inline uint64_t segment_stack_mask(const struct vcpu_segment *ss)
{
    return ss->access & AR_DB ? 0xffffffffu : 0xffffu;
}

#endif
