/* Debug registers, breakpoints and single step (SDM vol. 3 chapter 17). */
#include "behaviour.h"
#include "segment.h"

enum { DR6_B0 = 1 << 0, DR6_B1 = 1 << 1, DR6_BD = 1 << 13, DR6_BS = 1 << 14, DR6_BT = 1 << 15 };
enum { DR7_FIXED = 0x400, DR7_GD = 1 << 13 };
enum { EXECUTE = 0, WRITE = 1, IO = 2, READ_WRITE = 3 };
#define DR7_L(n) (1u << 2 * (n))
#define DR7_G(n) (2u << 2 * (n))
/* What breakpoint n meets, and its length in bytes. */
#define DR7_TYPE(n, type, bytes) (((type) | ((bytes)-1) << 2) << (16 + 4 * (n)))
#define CONDITIONS (DR6_BD | DR6_BS | DR6_BT | 15)

static volatile uint32_t word0;
static volatile unsigned steps;
static volatile word step_ip[16], step_dr6;

static void step(struct frame *frame)
{
    step_ip[steps++ & 15] = frame->ip;
    step_dr6 = get_dr6();
    set_dr6(0);
    if (steps == 40)
        frame->flags &= ~(word)FLAG_TF;
}

static void single_step(void)
{
    steps = 0;
    handle(DB, step);
}

#define SET_TF "pushf; orl $0x100, (%%esp); popf\n\t"
#define CLEAR_TF "pushf; andl $~0x100, (%%esp); popf\n\t"

BEHAVIOUR(single_step, "SDM vol. 3 17.3.1.4: with TF each instruction is followed by #DB with DR6.BS, from the one behind POPF on")
{
    single_step();
    asm volatile(MARK SET_TF "nop; 1: nop; nop; " CLEAR_TF : : : "memory");
    expect_equal("the number of traps", steps, 6); /* NOP three times, PUSHF, AND, POPF */
    expect_equal("EIP of the first", step_ip[0], marked);
    expect_equal("EIP of the second", step_ip[1], marked + 1);
    expect_equal("DR6's conditions", step_dr6 & CONDITIONS, DR6_BS);
}

BEHAVIOUR(single_step_string, "SDM vol. 3 17.3.1.4: a repeated string instruction traps after each iteration, at itself until the last")
{
    static uint8_t from[4], to[4];
    single_step();
    asm volatile("mov $3, %%ecx; mov %0, %%esi; mov %1, %%edi; " MARK SET_TF "1: rep movsb; " CLEAR_TF
                 :
                 : "i"(from), "i"(to)
                 : "ecx", "esi", "edi", "memory");
    expect_equal("the number of traps", steps, 6);
    expect_equal("EIP of the first", step_ip[0], marked);
    expect_equal("EIP of the second", step_ip[1], marked);
    expect_equal("EIP of the third", step_ip[2], marked + 2);
}

static volatile word flags_inside;

static void inside(struct frame *frame)
{
    (void)frame;
    flags_inside = get_flags();
}

BEHAVIOUR(single_step_interrupt, "SDM vol. 3 17.3.1.4: INT n runs its handler with TF clear; the trap comes after the instruction behind INT n")
{
    single_step();
    handle(0x41, inside);
    asm volatile(MARK SET_TF "int $0x41; nop; 1: nop; " CLEAR_TF : : : "memory");
    expect_equal("TF in the handler", flags_inside & FLAG_TF, 0);
    expect_equal("EIP of the first trap", step_ip[0], marked);
    expect_equal("the number of traps", steps, 5);
}

BEHAVIOUR(mov_ss_shadow, "SDM vol. 3 6.8.3: no single step between MOV SS and the instruction behind it")
{
    single_step();
    asm volatile("mov %%ss, %%eax; " MARK SET_TF "mov %%eax, %%ss; nop; 1: nop; " CLEAR_TF : : : "eax", "memory");
    expect_equal("EIP of the first trap", step_ip[0], marked);
    expect_equal("the number of traps", steps, 5);
}

CODE("break_here: incl break_ran\n\tret");
volatile uint32_t break_ran;

BEHAVIOUR(instruction_breakpoint, "SDM vol. 3 17.3.1.1: an instruction breakpoint is a fault before it, with DR6.B0; RF lets it run")
{
    extern char break_here[];
    set_dr0((word)break_here);
    set_dr7(DR7_FIXED | DR7_L(0));
    set_dr6(0);
    break_ran = 0;
    struct trap trap = CATCH(asm volatile("call break_here" : : : "memory"));
    expect_fault(trap, DB, 0);
    expect_equal("EIP", trap.ip, (word)break_here);
    expect_equal("what ran", break_ran, 0);
    expect_equal("DR6's conditions", trap.dr6 & CONDITIONS, DR6_B0);
    expect_equal("RF in the EFLAGS pushed", trap.flags & FLAG_RF, 0); /* unlike other faults: vol. 3 17.3.1.1 */
    expect_none(CATCH(asm volatile("push $1f; pushf; orl $0x10000, (%%esp); push %%cs; push $break_here; iret; 1:"
                                   :
                                   :
                                   : "memory")));
    expect_equal("what ran with RF set", break_ran, 1);
}

BEHAVIOUR(data_breakpoint, "SDM vol. 3 17.3.1.2: a write breakpoint traps behind a write that touches one of its bytes, not behind a read")
{
    set_dr1((word)&word0);
    set_dr7(DR7_FIXED | DR7_G(1) | DR7_TYPE(1, WRITE, 4));
    set_dr6(0);
    struct trap trap = CATCH(asm volatile(MARK "movb $5, %0; 1:" : "=m"(*((volatile uint8_t *)&word0 + 3))));
    expect_trap(trap, DB);
    expect_equal("DR6's conditions", trap.dr6 & CONDITIONS, DR6_B1);
    expect_equal("what was written", word0 >> 24, 5);
    expect_none(CATCH(asm volatile("movl %0, %%eax" : : "m"(word0) : "eax")));
    trap = CATCH(asm volatile(MARK "movl $0, %0; 1:" : "=m"(*(volatile uint32_t *)((word)&word0 - 3))));
    expect_trap(trap, DB);
}

BEHAVIOUR(read_write_breakpoint, "SDM vol. 3 17.2.4, 17.2.5: a read/write breakpoint of one byte meets reads of it, not those beside it")
{
    set_dr0((word)&word0 + 1);
    set_dr7(DR7_FIXED | DR7_L(0) | DR7_TYPE(0, READ_WRITE, 1));
    expect_trap(CATCH(asm volatile(MARK "movl %0, %%eax; 1:" : : "m"(word0) : "eax")), DB);
    expect_none(CATCH(asm volatile("movb %0, %%al" : : "m"(word0) : "eax")));
    expect_none(CATCH(asm volatile("movw %0, %%ax" : : "m"(*((volatile uint8_t *)&word0 + 2)) : "eax")));
    expect_trap(CATCH(asm volatile(MARK "push %0; 1: pop %%eax" : : "m"(word0) : "eax")), DB);
}

BEHAVIOUR(two_breakpoints, "SDM vol. 3 17.2.3: one access that meets two breakpoints sets both bits; DR6 is never cleared by the processor")
{
    set_dr0((word)&word0);
    set_dr1((word)&word0 + 2);
    set_dr7(DR7_FIXED | DR7_L(0) | DR7_L(1) | DR7_TYPE(0, WRITE, 1) | DR7_TYPE(1, WRITE, 2));
    set_dr6(DR6_BT);
    struct trap trap = CATCH(asm volatile("movl $0, %0" : "=m"(word0)));
    expect_trap(trap, DB);
    expect_equal("DR6's conditions", trap.dr6 & CONDITIONS, DR6_B0 | DR6_B1 | DR6_BT);
}

BEHAVIOUR(string_breakpoint, "SDM vol. 3 17.3.1.2: in a repeated string instruction a data breakpoint traps behind the iteration that met it")
{
    static uint8_t to[8];
    set_dr0((word)to + 2);
    set_dr7(DR7_FIXED | DR7_L(0) | DR7_TYPE(0, WRITE, 1));
    struct trap trap = CATCH(asm volatile(MARK "1: rep stosb" : : "c"(8), "D"(to), "a"(0) : "memory"));
    expect_trap(trap, DB);
    expect_equal("ECX", trap.frame.cx, 5);
    expect_equal("EDI", trap.frame.di, (word)to + 3);
}

BEHAVIOUR(io_breakpoint, "SDM vol. 3 17.2.4: with CR4.DE a breakpoint on a port traps behind IN and OUT")
{
    need(FEATURE_DE);
    set_cr4(get_cr4() | CR4_DE);
    set_dr0(0x80);
    set_dr7(DR7_FIXED | DR7_L(0) | DR7_TYPE(0, IO, 1));
    set_dr6(0);
    struct trap trap = CATCH(asm volatile(MARK "inb $0x80, %%al; 1:" : : : "eax"));
    expect_trap(trap, DB);
    expect_equal("DR6's conditions", trap.dr6 & CONDITIONS, DR6_B0);
    expect_trap(CATCH(asm volatile(MARK "outb %%al, $0x80; 1:" : : "a"(0))), DB);
    expect_none(CATCH(asm volatile("inb $0x84, %%al" : : : "eax")));
}

BEHAVIOUR(general_detect, "SDM vol. 3 17.2.4: with DR7.GD a MOV to or from a debug register is #DB with DR6.BD, before it; GD goes clear")
{
    set_dr6(0);
    set_dr7(DR7_FIXED | DR7_GD);
    struct trap trap = CATCH(asm volatile(MARK "1: mov %%dr0, %%eax" : : : "eax"));
    expect_fault(trap, DB, 0);
    expect_equal("DR6's conditions", trap.dr6 & CONDITIONS, DR6_BD);
    expect_equal("DR7", get_dr7(), DR7_FIXED);
}

BEHAVIOUR(dr4_dr5, "SDM vol. 3 17.2.2: DR4 and DR5 are DR6 and DR7, with CR4.DE they are #UD")
{
    need(FEATURE_DE);
    word value = 0;
    set_dr7(DR7_FIXED | DR7_TYPE(3, WRITE, 2));
    expect_none(CATCH(asm volatile("mov %%dr5, %0" : "=r"(value))));
    expect_equal("DR5", value, get_dr7());
    set_cr4(get_cr4() | CR4_DE);
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0x0f, 0x21, 0xe0" : : : "eax")), UD, 0); /* MOV EAX, DR4 */
}

BEHAVIOUR(icebp, "SDM vol. 2 INT1, vol. 3 17.3.1: INT1 is #DB behind itself, whatever the gate's DPL, and sets no bit of DR6")
{
    set_dr6(0);
    struct trap trap = CATCH_USER(asm volatile(MARK ".byte 0xf1; 1:"));
    expect_trap(trap, DB);
    expect_equal("DR6's conditions", trap.dr6 & CONDITIONS, 0);
}

BEHAVIOUR(fixed_bits, "SDM vol. 3 17.2.3, 17.2.4: DR6 reads FFFF0FF0h and DR7 400h in their fixed bits")
{
    set_dr6(0);
    expect_equal("DR6", get_dr6() & ~(word)(1 << 16 | 1 << 11), 0xfffe07f0); /* RTM and BLD depend on the model */
    set_dr7(0);
    expect_equal("DR7", get_dr7(), DR7_FIXED);
}

BEHAVIOUR(disabled_breakpoint, "SDM vol. 3 17.2.4: a breakpoint with neither L nor G set raises nothing")
{
    set_dr0((word)&word0);
    set_dr7(DR7_FIXED | DR7_TYPE(0, READ_WRITE, 4));
    expect_none(CATCH(word0 = 1));
}
