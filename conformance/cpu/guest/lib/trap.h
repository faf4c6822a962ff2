/* Interrupts and exceptions: the IDT, handlers, and CATCH, which runs statements and tells what stopped them. */
#ifndef TRAP_H
#define TRAP_H

#include "cpu.h"

/* What vectors.S leaves on the stack. */
#ifdef __x86_64__
struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, di, si, bp, bx, dx, cx, ax;
    uint64_t vector, error, ip, cs, flags, sp, ss;
};
#else
struct frame {
    uint32_t gs, fs, es, ds, di, si, bp, sp_of_pusha, bx, dx, cx, ax;
    uint32_t vector, error, ip, cs, flags;
    uint32_t sp, ss;                         /* when CPL changed */
    uint32_t v86_es, v86_ds, v86_fs, v86_gs; /* out of virtual-8086 mode */
};
#endif

struct trap {
    unsigned vector; /* or NONE */
    word error, ip, cs, flags, cr2, dr6;
    struct frame frame;
};
enum { NONE = 0x100, USER_EXIT = 0x30 /* what leave_user() raises */ };

/* Runs the statements until an exception or interrupt for which there is no handler; its value is a struct trap.
 * Segments, CPL and stack are then those of before; interrupts are off. Variables that the statements change have to be
 * volatile. */
#define CATCH(...)                                                                                                     \
    ({                                                                                                                 \
        caught = (struct trap){.vector = NONE};                                                                        \
        marked = 0;                                                                                                    \
        if (!catch_begin()) {                                                                                          \
            __VA_ARGS__;                                                                                               \
        }                                                                                                              \
        catch_end();                                                                                                   \
        caught;                                                                                                        \
    })
/* The same at CPL 3. */
#define CATCH_USER(...) CATCH(enter_user(0); __VA_ARGS__; leave_user())

/* Begins an instruction sequence in assembly: IP is expected to be at its label 1. */
#define MARK "mov" W " $1f, marked\n\t"

extern struct trap caught;
extern volatile word marked;
int catch_begin(void) __attribute__((returns_twice));
void catch_end(void);

/* Goes on at CPL 3, on the same stack, with these flags besides the reserved one. */
void enter_user(word flags);
void leave_user(void);

/* Called for a vector, in place of what is done otherwise; IRET follows when it returns. NULL takes it back. */
typedef void handler(struct frame *frame);
void handle(unsigned vector, handler *handler);

/* The IDT. A gate's type: SDM vol. 3 table 3-2. */
enum { GATE_TASK = 5, GATE_INTERRUPT = 14, GATE_TRAP = 15, GATE_PRESENT = 0x80, GATE_DPL3 = 0x60 };
#ifdef __x86_64__
struct gate {
    uint16_t offset_low, selector;
    uint8_t ist, type;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};
#else
struct gate {
    uint16_t offset_low, selector;
    uint8_t reserved, type;
    uint16_t offset_high;
};
#endif
extern struct gate idt[256];
struct table_register {
    uint16_t limit;
    word base;
} __attribute__((packed));
void trap_reset(void);
void load_idt(uint16_t limit);
void set_gate(unsigned vector, uint8_t type, uint16_t selector, word offset);
extern char trap_stack_top[]; /* of traps from CPL 3 and from virtual-8086 mode */

#endif
