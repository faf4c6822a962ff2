/* Control transfers between segments and privilege levels (SDM vol. 3 5.8; vol. 2 CALL, JMP, RET, IRET). */
#include "behaviour.h"
#include "segment.h"

volatile word seen_cs, seen_arguments[2], seen_ss;

/* Where a call gate with two parameters leads. */
extern char gate_target[];
CODE("gate_target: mov %cs, %eax; mov %eax, seen_cs; mov %ss, %eax; mov %eax, seen_ss\n"
    "mov 8(%esp), %eax; mov %eax, seen_arguments; mov 12(%esp), %eax; mov %eax, seen_arguments + 4; lret $8");
extern char far_return[];
CODE("far_return: mov %cs, %eax; mov %eax, seen_cs; lret");

BEHAVIOUR(call_gate_inward, "SDM vol. 3 5.8.4, 5.8.5: a call gate leads to CPL 0 on the TSS's stack with its parameters copied; RET n goes back")
{
    gdt[SPARE / 8] = call_gate(KERNEL_CS, (word)gate_target, SYSTEM_CALL_GATE | DPL3, 2);
    volatile word before = 0, after = 0;
    struct trap trap =
        CATCH_USER(asm volatile("mov %%esp, %0; push $0x2222; push $0x1111; lcall %2, $0; mov %%esp, %1"
                                : "=m"(before), "=m"(after)
                                : "i"(SPARE | 3)
                                : "eax", "memory"));
    expect_none(trap);
    expect_equal("CS behind the gate", seen_cs, KERNEL_CS);
    expect_equal("SS behind the gate", seen_ss, KERNEL_DS);
    expect_equal("the first parameter", seen_arguments[0], 0x1111);
    expect_equal("the second parameter", seen_arguments[1], 0x2222);
    expect_equal("ESP after RET 8", after, before);
}

BEHAVIOUR(call_gate_checks, "SDM vol. 3 5.8.4: DPL below CPL or RPL is #GP(gate), not present #NP(gate), no code #GP(target)")
{
    gdt[SPARE / 8] = call_gate(KERNEL_CS, (word)far_return, SYSTEM_CALL_GATE, 0);
#define CALL_SPARE asm volatile(MARK "1: lcall %0, $0" : : "i"(SPARE) : "eax", "memory")
    expect_none(CATCH(CALL_SPARE));
    expect_fault(CATCH_USER(CALL_SPARE), GP, SPARE);
    expect_fault(CATCH(asm volatile(MARK "1: lcall %0, $0" : : "i"(SPARE | 1) : "eax", "memory")), GP, SPARE);
    gdt[SPARE / 8] = call_gate(KERNEL_CS, (word)far_return, SYSTEM_CALL_GATE & ~PRESENT, 0);
    expect_fault(CATCH(CALL_SPARE), NP, SPARE);
    gdt[SPARE / 8] = call_gate(KERNEL_DS, (word)far_return, SYSTEM_CALL_GATE, 0);
    expect_fault(CATCH(CALL_SPARE), GP, KERNEL_DS);
    gdt[SPARE / 8] = call_gate(0, (word)far_return, SYSTEM_CALL_GATE, 0);
    expect_fault(CATCH(CALL_SPARE), GP, 0);
}

BEHAVIOUR(call_gate_jump, "SDM vol. 3 5.8.4: JMP through a call gate cannot change CPL: #GP(target)")
{
    gdt[SPARE / 8] = call_gate(KERNEL_CS, (word)far_return, SYSTEM_CALL_GATE | DPL3, 0);
    expect_fault(CATCH_USER(asm volatile(MARK "1: ljmp %0, $0" : : "i"(SPARE | 3))), GP, KERNEL_CS);
}

BEHAVIOUR(call_gate_stack, "SDM vol. 2 CALL: a bad stack in the TSS is #TS(its selector)")
{
    gdt[SPARE / 8] = call_gate(KERNEL_CS, (word)far_return, SYSTEM_CALL_GATE | DPL3, 0);
    /* The exception's own way to CPL 0 needs that stack too, so the gate leads to CPL 1. */
    uint16_t code1 = set_descriptor(SPARE + 8, 0, 0xfffff, CODE_READABLE | 0x20, GRANULAR | BIG);
    gdt[SPARE / 8] = call_gate(code1, (word)far_return, SYSTEM_CALL_GATE | DPL3, 0);
    tss.ss1 = KERNEL_DS | 1; /* its DPL is 0 */
    tss.esp1 = (word)trap_stack_top;
    expect_fault(CATCH_USER(asm volatile(MARK "1: lcall %0, $0" : : "i"(SPARE | 3))), TS, KERNEL_DS);
    tss.ss1 = 0;
    expect_fault(CATCH_USER(asm volatile(MARK "1: lcall %0, $0" : : "i"(SPARE | 3))), TS, 0);
}

BEHAVIOUR(far_jump_checks, "SDM vol. 2 JMP: a null CS is #GP(0), data or a wrong DPL #GP(selector), not present #NP(selector)")
{
#define JUMP(selector) CATCH(asm volatile(MARK "1: ljmp %0, $0" : : "i"(selector)))
    expect_fault(JUMP(0), GP, 0);
    expect_fault(JUMP(KERNEL_DS), GP, KERNEL_DS);
    expect_fault(JUMP(USER_CS), GP, USER_CS & ~3);
    expect_fault(JUMP(KERNEL_CS | 3), GP, KERNEL_CS);
    set_descriptor(SPARE, 0, 0xfffff, CODE_READABLE & ~PRESENT, GRANULAR | BIG);
    expect_fault(JUMP(SPARE), NP, SPARE);
}

BEHAVIOUR(conforming, "SDM vol. 3 5.8.1.2: conforming code of a lower DPL runs at the caller's CPL")
{
    set_descriptor(SPARE, 0, 0xfffff, CODE_CONFORMING, GRANULAR | BIG);
    set_descriptor(SPARE + 8, 0, 0xfffff, CODE_CONFORMING | DPL3, GRANULAR | BIG);
    expect_none(CATCH_USER(asm volatile("lcall %0, $far_return" : : "i"(SPARE) : "eax", "memory")));
    expect_equal("CS in conforming code", seen_cs, SPARE | 3);
    expect_fault(CATCH(asm volatile(MARK "1: lcall %0, $far_return" : : "i"(SPARE + 8) : "eax", "memory")), GP, SPARE + 8);
}

BEHAVIOUR(iret_checks, "SDM vol. 2 IRET: a null CS is #GP(0), CS of a lower RPL #GP(selector), a stack that does not fit #GP(selector)")
{
#define IRET(cs) asm volatile("pushf; push %0; push $2f; " MARK "1: iret; 2:" : : "i"(cs) : "memory")
    expect_none(CATCH(IRET(KERNEL_CS)));
    expect_fault(CATCH(IRET(0)), GP, 0);
    expect_fault(CATCH(IRET(KERNEL_DS)), GP, KERNEL_DS);
    expect_fault(CATCH_USER(IRET(KERNEL_CS)), GP, KERNEL_CS);
    expect_fault(CATCH(asm volatile("push %0; push $0; pushf; push %1; push $0; " MARK "1: iret"
                                    :
                                    : "i"(KERNEL_DS), "i"(USER_CS)
                                    : "memory")),
                 GP, KERNEL_DS);
}

BEHAVIOUR(outward_return, "SDM vol. 2 RET: going outward, DS to GS that the new CPL may not use become null")
{
    word ds = 1, es = 1, fs = 1;
    set_fs(USER_DS);
    asm volatile("mov %%esp, %%eax; push %3; push %%eax; push %4; push $2f; lret\n\t"
                 "2: mov %%ds, %%eax; mov %%es, %%edx; mov %%fs, %%ecx; int %5"
                 : "=a"(ds), "=d"(es), "=c"(fs)
                 : "i"(USER_DS), "i"(USER_CS), "i"(USER_EXIT)
                 : "memory");
    expect_equal("DS", ds, 0);
    expect_equal("ES", es, 0);
    expect_equal("FS", fs, USER_DS);
}

CODE("code16: .code16; movw $-1, %ax; movl $-1, %ecx; lretl; .code32");

BEHAVIOUR(code_16_bits, "SDM vol. 3 3.4.5: D of a code segment is the size of operands and addresses; a prefix turns it over")
{
    set_descriptor(SPARE, 0, 0xfffff, CODE_READABLE, GRANULAR);
    uint32_t eax = 0, ecx = 0;
    asm volatile("lcall %2, $code16" : "+a"(eax), "+c"(ecx) : "i"(SPARE) : "memory");
    expect_equal("EAX after MOV AX, -1", eax, 0xffff);
    expect_equal("ECX after MOV ECX, -1", ecx, 0xffffffff);
}

BEHAVIOUR(stack_16_bits, "SDM vol. 3 3.4.5: B of the stack segment says whether SP or ESP counts; with SP the upper half stays")
{
    static uint16_t stack[8];
    uint32_t esp;
    set_descriptor(SPARE, (uint32_t)(word)stack, 0xffff, DATA_WRITABLE, 0);
    asm volatile("mov %%esp, %%edx; mov %1, %%ss; mov $0x12340004, %%esp; pushw $0x5678; mov %%esp, %0\n\t"
                 "mov %2, %%ss; mov %%edx, %%esp"
                 : "=&r"(esp)
                 : "r"(SPARE), "r"(KERNEL_DS)
                 : "memory", "edx");
    expect_equal("ESP after a push", esp, 0x12340002);
    expect_equal("what was pushed", stack[1], 0x5678);
}
