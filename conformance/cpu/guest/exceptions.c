/* Exceptions, their error codes and where they are reported (SDM vol. 3 chapter 6). */
#include "behaviour.h"
#include "paging.h"
#include "segment.h"

BEHAVIOUR(divide_by_zero, "SDM vol. 3 6.15 #DE: DIV by zero faults at the instruction and changes no register")
{
    volatile uint32_t eax = 0, edx = 0;
    struct trap trap = CATCH(asm volatile(MARK "1: divl %2" : : "a"(7), "d"(9), "r"(0)));
    eax = trap.frame.ax;
    edx = trap.frame.dx;
    expect_fault(trap, DE, 0);
    expect_equal("EAX", eax, 7);
    expect_equal("EDX", edx, 9);
}

BEHAVIOUR(divide_overflow, "SDM vol. 2 DIV, IDIV: a quotient that does not fit is #DE; -2^31 / -1 is one")
{
    expect_fault(CATCH(asm volatile(MARK "1: divl %2" : : "a"(0), "d"(2), "r"(2))), DE, 0);
    expect_fault(CATCH(asm volatile(MARK "1: idivl %2" : : "a"(0x80000000), "d"(-1), "r"(-1))), DE, 0);
    expect_fault(CATCH(asm volatile(MARK "1: idivb %b1" : : "a"(0x0100), "q"(2))), DE, 0);
    expect_fault(CATCH(asm volatile(MARK "1: aam $0" : : "a"(5))), DE, 0);
}

BEHAVIOUR(breakpoint, "SDM vol. 3 6.15 #BP: INT3 traps, the saved EIP is behind it")
{
    expect_trap(CATCH(asm volatile(MARK "int3; 1:")), BP);
    expect_trap(CATCH(asm volatile(MARK ".byte 0xcd, 3; 1:")), BP);
}

BEHAVIOUR(overflow, "SDM vol. 3 6.15 #OF: INTO traps with OF set and does nothing with OF clear")
{
    expect_trap(CATCH(asm volatile(MARK "push %0; popf; into; 1:" : : "r"(FLAG_RESERVED | FLAG_OF) : "cc")), OF);
    expect_none(CATCH(asm volatile("push %0; popf; into" : : "r"(FLAG_RESERVED) : "cc")));
}

BEHAVIOUR(bound_range, "SDM vol. 3 6.15 #BR: BOUND faults outside its bounds only")
{
    static const int32_t bounds[2] = {-5, 10};
    expect_none(CATCH(asm volatile("bound %0, %1" : : "r"(-5), "m"(bounds))));
    expect_none(CATCH(asm volatile("bound %0, %1" : : "r"(10), "m"(bounds))));
    expect_fault(CATCH(asm volatile(MARK "1: bound %0, %1" : : "r"(-6), "m"(bounds))), BR, 0);
    expect_fault(CATCH(asm volatile(MARK "1: bound %0, %1" : : "r"(11), "m"(bounds))), BR, 0);
}

BEHAVIOUR(undefined, "SDM vol. 3 6.15 #UD: UD2, a reserved opcode and LEA of a register fault at the instruction")
{
    expect_fault(CATCH(asm volatile(MARK "1: ud2")), UD, 0);
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0x0f, 0xff, 0xc0")), UD, 0);   /* UD0 */
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0x8d, 0xc0")), UD, 0);         /* LEA EAX, EAX */
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0x0f, 0x22, 0xc8")), UD, 0);   /* MOV CR1, EAX */
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0x8e, 0xc8")), UD, 0);         /* MOV CS, EAX */
    expect_fault(CATCH(asm volatile(MARK "1: .byte 0x8e, 0xf0")), UD, 0);         /* MOV segment 6, EAX */
}

BEHAVIOUR(instruction_length, "SDM vol. 3 6.15 #GP: an instruction of more than 15 bytes faults with code 0; 15 are taken")
{
    expect_none(CATCH(asm volatile(".fill 14, 1, 0x66; nop")));
    expect_fault(CATCH(asm volatile(MARK "1: .fill 15, 1, 0x66; nop")), GP, 0);
}

BEHAVIOUR(no_coprocessor, "SDM vol. 3 6.15 #NM: x87 with CR0.TS or EM, WAIT with TS and MP only")
{
    set_cr0(get_cr0() | CR0_TS);
    expect_fault(CATCH(asm volatile(MARK "1: fninit")), NM, 0);
    expect_none(CATCH(asm volatile("fwait")));
    set_cr0(get_cr0() | CR0_MP);
    expect_fault(CATCH(asm volatile(MARK "1: fwait")), NM, 0);
    set_cr0((get_cr0() & ~(CR0_TS | CR0_MP)) | CR0_EM);
    expect_fault(CATCH(asm volatile(MARK "1: fninit")), NM, 0);
    expect_none(CATCH(asm volatile("fwait")));
}

BEHAVIOUR(sse_unavailable, "SDM vol. 3 13.1, table 13-1: SSE is #UD with CR0.EM or without CR4.OSFXSR, #NM with CR0.TS")
{
    need(FEATURE_SSE);
    expect_fault(CATCH(asm volatile(MARK "1: xorps %xmm0, %xmm0")), UD, 0);
    set_cr4(get_cr4() | CR4_OSFXSR);
    expect_none(CATCH(asm volatile("xorps %xmm0, %xmm0")));
    set_cr0(get_cr0() | CR0_TS);
    expect_fault(CATCH(asm volatile(MARK "1: xorps %xmm0, %xmm0")), NM, 0);
    set_cr0((get_cr0() & ~CR0_TS) | CR0_EM);
    expect_fault(CATCH(asm volatile(MARK "1: xorps %xmm0, %xmm0")), UD, 0);
}

BEHAVIOUR(x87_error, "SDM vol. 3 6.15 #MF: an unmasked x87 error faults at the next waiting instruction when CR0.NE is set")
{
    static const uint16_t unmask_divide = 0x037b;
    expect_none(CATCH(asm volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fnstsw %%ax" : : "m"(unmask_divide) : "ax")));
    expect_fault(CATCH(asm volatile(MARK "1: fld1")), MF, 0);
    expect_fault(CATCH(asm volatile(MARK "1: fwait")), MF, 0);
    expect_none(CATCH(asm volatile("fnclex; fwait; fninit")));
}

BEHAVIOUR(sse_error, "SDM vol. 3 6.15 #XM: an unmasked SSE error faults at once; without CR4.OSXMMEXCPT it is #UD")
{
    need(FEATURE_SSE);
    static const uint32_t unmask_divide = 0x1d80, masked = 0x1f80;
    set_cr4(get_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT);
    static const float one = 1;
#define DIVIDE "movss %0, %%xmm1; xorps %%xmm0, %%xmm0; " MARK "1: divss %%xmm0, %%xmm1"
    asm volatile("ldmxcsr %0" : : "m"(unmask_divide));
    struct trap trap = CATCH(asm volatile(DIVIDE : : "m"(one)));
    word at = marked;
    asm volatile("ldmxcsr %0" : : "m"(unmask_divide));
    set_cr4(get_cr4() & ~CR4_OSXMMEXCPT);
    struct trap without = CATCH(asm volatile(DIVIDE : : "m"(one)));
    asm volatile("ldmxcsr %0" : : "m"(masked));
    expect_fault(without, UD, 0);
    marked = at;
    expect_fault(trap, XM, 0);
    expect_none(CATCH(asm volatile(DIVIDE : : "m"(one))));
}

BEHAVIOUR(alignment_check, "SDM vol. 3 6.15 #AC: with CR0.AM and EFLAGS.AC, an unaligned access at CPL 3 faults, code 0")
{
    static uint32_t words[4];
    uint8_t *odd = (uint8_t *)words + 1;
    set_cr0(get_cr0() | CR0_AM);
    expect_none(CATCH(set_flags(FLAG_AC); asm volatile("movl (%0), %%eax" : : "r"(odd) : "eax", "memory")));
    expect_none(CATCH_USER(asm volatile("movl (%0), %%eax" : : "r"(odd) : "eax", "memory")));
    struct trap trap = CATCH(enter_user(FLAG_AC);
                             asm volatile(MARK "1: movl (%0), %%eax" : : "r"(odd) : "eax", "memory"); leave_user());
    expect_fault(trap, AC, 0);
    set_cr0(get_cr0() & ~CR0_AM);
    expect_none(CATCH(enter_user(FLAG_AC); asm volatile("movl (%0), %%eax" : : "r"(odd) : "eax", "memory");
                      leave_user()));
}

BEHAVIOUR(privileged, "SDM vol. 3 5.9: privileged instructions at CPL 3 are #GP(0)")
{
#define PRIVILEGED(text) expect_fault(CATCH_USER(asm volatile(MARK "1: " text : : : "memory", "eax")), GP, 0)
    PRIVILEGED("hlt");
    PRIVILEGED("cli");
    PRIVILEGED("sti");
    PRIVILEGED("clts");
    PRIVILEGED("invd");
    PRIVILEGED("wbinvd");
    PRIVILEGED("mov %%cr0, %%eax");
    PRIVILEGED("mov %%eax, %%cr3");
    PRIVILEGED("mov %%dr7, %%eax");
    PRIVILEGED("lgdt idt");
    PRIVILEGED("lidt idt");
    PRIVILEGED("lldt %%ax");
    PRIVILEGED("ltr %%ax");
    PRIVILEGED("lmsw %%ax");
    PRIVILEGED("invlpg idt");
    PRIVILEGED("rdmsr");
    PRIVILEGED("wrmsr");
    PRIVILEGED("inb $0x80, %%al");
#undef PRIVILEGED
}

BEHAVIOUR(iopl, "SDM vol. 1 18.5.1: CLI, STI and ports at CPL 3 are allowed with IOPL 3; POPF changes IOPL at CPL 0 only")
{
    expect_none(CATCH(enter_user(FLAG_IOPL); asm volatile("cli; inb $0x80, %%al; sti; cli" : : : "eax"); leave_user()));
    volatile word flags = 0;
    expect_none(CATCH_USER(set_flags(FLAG_IOPL | FLAG_IF); flags = get_flags()));
    expect_equal("EFLAGS.IOPL and IF", flags & (FLAG_IOPL | FLAG_IF), 0);
}

BEHAVIOUR(io_permission, "SDM vol. 1 18.5.2: the TSS's bitmap allows ports at CPL 3; each byte of a wide access has its bit")
{
    tss.io_map = offsetof(struct tss, io_bitmap);
    for (unsigned i = 0; i < sizeof tss.io_bitmap; i++)
        tss.io_bitmap[i] = 0xff;
    tss.io_bitmap[0x80 / 8] = 0xfc; /* ports 80h and 81h */
    expect_none(CATCH_USER(asm volatile("inb $0x80, %%al; inw $0x80, %%ax" : : : "eax")));
    expect_fault(CATCH_USER(asm volatile(MARK "1: inw $0x81, %%ax" : : : "eax")), GP, 0);
    expect_fault(CATCH_USER(asm volatile(MARK "1: inl $0x80, %%eax" : : : "eax")), GP, 0);
    expect_fault(CATCH_USER(asm volatile(MARK "1: inb %%dx, %%al" : : "d"(0x3f8) : "eax")), GP, 0);
}

BEHAVIOUR(gate_privilege, "SDM vol. 3 6.12.1.1: INT n through a gate of DPL 0 at CPL 3 is #GP(n * 8 + 2)")
{
    expect_fault(CATCH_USER(asm volatile(MARK "1: int $0x41")), GP, 0x41 * 8 + 2);
    set_gate(0x41, GATE_PRESENT | GATE_DPL3 | GATE_INTERRUPT, KERNEL_CS, idt[0x41].offset_low | (word)idt[0x41].offset_high << 16);
    expect_trap(CATCH_USER(asm volatile(MARK "int $0x41; 1:")), 0x41);
}

BEHAVIOUR(gate_absent, "SDM vol. 3 6.15 #NP: a gate that is not present is #NP(n * 8 + 2) to INT n, with EXT to an exception")
{
    idt[0x41].type &= (uint8_t)~GATE_PRESENT;
    expect_fault(CATCH(asm volatile(MARK "1: int $0x41")), NP, 0x41 * 8 + 2);
    idt[UD].type &= (uint8_t)~GATE_PRESENT;
    expect_fault(CATCH(asm volatile(MARK "1: ud2")), NP, UD * 8 + 3);
}

BEHAVIOUR(idt_limit, "SDM vol. 3 6.15 #GP: a vector beyond the IDT's limit is #GP(n * 8 + 2)")
{
    load_idt(0x60 * 8 - 1);
    expect_none(CATCH(asm volatile("nop")));
    expect_trap(CATCH(asm volatile(MARK "int $0x5f; 1:")), 0x5f);
    expect_fault(CATCH(asm volatile(MARK "1: int $0x60")), GP, 0x60 * 8 + 2);
}

BEHAVIOUR(gate_type, "SDM vol. 3 6.15 #GP: an IDT entry that is no gate is #GP(n * 8 + 2), a null selector in a gate #GP(0)")
{
    idt[0x41].type = GATE_PRESENT | 0x0c; /* a call gate */
    expect_fault(CATCH(asm volatile(MARK "1: int $0x41")), GP, 0x41 * 8 + 2);
    set_gate(0x41, GATE_PRESENT | GATE_INTERRUPT, 0, 0);
    expect_fault(CATCH(asm volatile(MARK "1: int $0x41")), GP, 0);
    set_gate(0x41, GATE_PRESENT | GATE_INTERRUPT, KERNEL_DS, 0);
    expect_fault(CATCH(asm volatile(MARK "1: int $0x41")), GP, KERNEL_DS);
}

volatile word flags_in_handler;
extern char store_flags[];
CODE("store_flags: pushf; popl flags_in_handler; iret");

BEHAVIOUR(gate_kinds, "SDM vol. 3 6.12.1.2: an interrupt gate clears IF, a trap gate leaves it; TF, NT, RF and VM go clear")
{
    set_gate(0x41, GATE_PRESENT | GATE_INTERRUPT, KERNEL_CS, (word)store_flags);
    set_gate(0x42, GATE_PRESENT | GATE_TRAP, KERNEL_CS, (word)store_flags);
    set_flags(FLAG_IF | FLAG_NT);
    asm volatile("int $0x41" : : : "memory");
    word by_interrupt = flags_in_handler;
    asm volatile("int $0x42" : : : "memory");
    word by_trap = flags_in_handler;
    set_flags(FLAG_RESERVED);
    expect_equal("IF and NT behind an interrupt gate", by_interrupt & (FLAG_IF | FLAG_NT), 0);
    expect_equal("IF and NT behind a trap gate", by_trap & (FLAG_IF | FLAG_NT), FLAG_IF);
}

BEHAVIOUR(resume_flag, "SDM vol. 3 17.3.1.1: a fault pushes EFLAGS with RF set, a trap with RF clear")
{
    expect_equal("RF of #UD", CATCH(asm volatile("ud2")).flags & FLAG_RF, FLAG_RF);
    expect_equal("RF of #GP", CATCH(set_ds(0xfff8)).flags & FLAG_RF, FLAG_RF);
    expect_equal("RF of #BP", CATCH(asm volatile("int3")).flags & FLAG_RF, 0);
    expect_equal("RF of INT n", CATCH(asm volatile("int $0x41")).flags & FLAG_RF, 0);
}

BEHAVIOUR(double_fault, "SDM vol. 3 6.15 #DF, table 6-5: a contributory exception during another is #DF, error code 0")
{
    idt[GP].type &= (uint8_t)~GATE_PRESENT;
    idt[NP].type &= (uint8_t)~GATE_PRESENT;
    marked = 0;
    struct trap trap = CATCH(set_ds(0xfff8));
    marked = 0; /* what is saved of an abort is undefined */
    expect_fault(trap, DF, 0);
}

BEHAVIOUR(double_fault_page, "SDM vol. 3 table 6-5: a contributory exception during a page fault is #DF; a benign one is not")
{
    paging_on(PAGE_W | PAGE_U);
    map(WINDOW, 0, 0);
    idt[PF].type &= (uint8_t)~GATE_PRESENT;
    struct trap trap = CATCH(asm volatile("movb $0, (%0)" : : "r"(WINDOW) : "memory"));
    expect_fault(trap, DF, 0);
}

BEHAVIOUR(stack_fault, "SDM vol. 3 6.15 #SS: an access beyond the stack segment's limit is #SS(0); a push leaves ESP as it was")
{
    set_descriptor(SPARE, 0, 0x1ff, DATA_WRITABLE | DPL3, GRANULAR | BIG); /* to 1FFFFFh: below the stack */
    static word before; /* not on the stack, which cannot be reached */
    struct trap trap = CATCH_USER(set_ss(SPARE | 3); asm volatile("mov %%esp, %0\n\t" MARK "1: push %%eax" : "=m"(before)));
    expect_fault(trap, SS, 0);
    expect_equal("ESP", trap.frame.sp, before);
    expect_fault(CATCH_USER(set_ss(SPARE | 3); asm volatile(MARK "1: movl (%%esp), %%eax" : : : "eax")), SS, 0);
    expect_none(CATCH_USER(set_ss(SPARE | 3); asm volatile("movl %%ds:(%%esp), %%eax" : : : "eax"); set_ss(USER_DS)));
}
