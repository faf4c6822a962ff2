/* Virtual-8086 mode (SDM vol. 3 chapter 20). */
#include "behaviour.h"
#include "segment.h"

/* Real-mode code lies at 1000:0, its stack at 2000:0 and its data at 3000:0. */
enum { CODE = 0x1000, STACK = 0x2000, DATA = 0x3000, SP = 0x100 };

static uint8_t *real(unsigned segment, unsigned offset)
{
    word address = segment * 16 + offset;
    asm("" : "+r"(address));
    return (uint8_t *)address;
}

/* Runs `code` in virtual-8086 mode until something traps; ends code that does not by INT FFh. */
static struct trap run(const char *code, unsigned length, uint32_t flags)
{
    uint8_t *at = real(CODE, 0);
    for (unsigned i = 0; i < length; i++)
        at[i] = (uint8_t)code[i];
    at[length] = 0xcd; /* INT FFh: with IOPL 3 through the IDT, else #GP */
    at[length + 1] = 0xff;
    set_gate(0xff, idt[0xff].type | GATE_DPL3, KERNEL_CS, idt[0xff].offset_low | (word)idt[0xff].offset_high << 16);
    return CATCH(asm volatile("push %1; push %1; push %1; push %1; push %2; push %3; push %0; push %4; push $0; iret"
                              :
                              : "r"(flags | FLAG_RESERVED | FLAG_VM), "i"(DATA), "i"(STACK), "i"(SP), "i"(CODE)
                              : "memory"));
}
#define RUN(code, flags) run(code, sizeof code - 1, flags)

BEHAVIOUR(enter_leave, "SDM vol. 3 20.2.1, 20.3: IRET with VM enters; an interrupt leaves, pushes the segments and makes them null")
{
    struct trap trap = RUN("", FLAG_IOPL);
    expect_trap(trap, 0xff);
    expect_equal("VM in the EFLAGS pushed", trap.flags & FLAG_VM, FLAG_VM);
    expect_equal("CS", trap.cs, CODE);
    expect_equal("EIP", trap.ip, 2);
    expect_equal("SS", trap.frame.ss & 0xffff, STACK);
    expect_equal("ESP", trap.frame.sp, SP);
    expect_equal("DS pushed", trap.frame.v86_ds & 0xffff, DATA);
    expect_equal("GS pushed", trap.frame.v86_gs & 0xffff, DATA);
    expect_equal("DS in the handler", trap.frame.ds & 0xffff, 0);
    expect_equal("GS in the handler", trap.frame.gs & 0xffff, 0);
}

BEHAVIOUR(addresses, "SDM vol. 3 20.1.1: an address is the segment times 16 plus the offset")
{
    *real(DATA, 0x20) = 0x5a;
    *real(DATA + 3, 0x20) = 0xa5;
    struct trap trap = RUN("\xa0\x20\x00"         /* MOV AL, [20h] */
                           "\xb9\x03\x30\x8e\xd9" /* MOV CX, 3003h; MOV DS, CX */
                           "\x8a\x26\x20\x00",    /* MOV AH, [20h] */
                           FLAG_IOPL);
    expect_trap(trap, 0xff);
    expect_equal("AX", trap.frame.ax & 0xffff, 0xa55a);
}

BEHAVIOUR(limits, "SDM vol. 3 20.1.1, 20.3.3: a word at FFFFh is #GP(0), on the stack #SS(0)")
{
    expect_fault(RUN("\xa1\xff\xff", FLAG_IOPL), GP, 0);               /* MOV AX, [FFFFh] */
    expect_fault(RUN("\xbd\xff\xff\x8b\x46\x00", FLAG_IOPL), SS, 0);   /* MOV BP, -1; MOV AX, [BP] */
    expect_trap(RUN("\xa0\xff\xff", FLAG_IOPL), 0xff);                 /* MOV AL, [FFFFh] */
}

BEHAVIOUR(iopl_sensitive, "SDM vol. 3 20.2.7: with IOPL below 3 CLI, STI, PUSHF, POPF, INT n and IRET are #GP(0)")
{
    static const char *const codes[] = {"\xfa", "\xfb", "\x9c", "\x9d", "\xcf"};
    for (unsigned i = 0; i < 5; i++) {
        struct trap trap = run(codes[i], 1, 0);
        expect_fault(trap, GP, 0);
        expect_equal("EIP", trap.ip, 0);
    }
    expect_fault(RUN("\xcd\x21", 0), GP, 0);
    expect_fault(RUN("\xcc", 0), GP, BP * 8 + 2); /* INT3 is not one of them, but its gate's DPL counts */
}

BEHAVIOUR(iopl_3, "SDM vol. 3 20.2.7: with IOPL 3 CLI, STI, PUSHF and POPF work; IOPL itself does not change")
{
    struct trap trap = RUN("\xfb\x9c\x58"         /* STI; PUSHF; POP AX */
                           "\xfa\x9c\x5b"         /* CLI; PUSHF; POP BX */
                           "\x31\xc9\x51\x9d",    /* XOR CX, CX; PUSH CX; POPF */
                           FLAG_IOPL);
    expect_trap(trap, 0xff);
    expect_equal("IF after STI", trap.frame.ax & FLAG_IF, FLAG_IF);
    expect_equal("IF after CLI", trap.frame.bx & FLAG_IF, 0);
    expect_equal("IOPL after POPF", trap.flags & FLAG_IOPL, FLAG_IOPL);
}

BEHAVIOUR(ports, "SDM vol. 3 20.2.8: ports go by the TSS's bitmap, whatever IOPL is")
{
    expect_fault(RUN("\xe4\x80", FLAG_IOPL), GP, 0); /* IN AL, 80h */
    tss.io_map = offsetof(struct tss, io_bitmap);
    for (unsigned i = 0; i < sizeof tss.io_bitmap; i++)
        tss.io_bitmap[i] = 0xff;
    tss.io_bitmap[0x80 / 8] = 0xfe;
    expect_trap(RUN("\xe4\x80", FLAG_IOPL), 0xff);
    expect_fault(RUN("\xe4\x81", FLAG_IOPL), GP, 0);
}

BEHAVIOUR(privileged, "SDM vol. 3 20.1.3, vol. 2: HLT and MOV to CR0 are #GP(0), LLDT, STR, ARPL and LAR #UD")
{
    expect_fault(RUN("\xf4", FLAG_IOPL), GP, 0);
    expect_fault(RUN("\x0f\x22\xc0", FLAG_IOPL), GP, 0);
    expect_fault(RUN("\x0f\x00\xd0", FLAG_IOPL), UD, 0);
    expect_fault(RUN("\x0f\x00\xc8", FLAG_IOPL), UD, 0);
    expect_fault(RUN("\x63\xc0", FLAG_IOPL), UD, 0);
    expect_fault(RUN("\x0f\x02\xc0", FLAG_IOPL), UD, 0);
}

BEHAVIOUR(exception, "SDM vol. 3 20.3.1: an exception in virtual-8086 mode goes through the protected-mode IDT to CPL 0")
{
    struct trap trap = RUN("\x31\xc9\xf7\xf1", FLAG_IOPL); /* XOR CX, CX; DIV CX */
    expect_fault(trap, DE, 0);
    expect_equal("EIP", trap.ip, 2);
    expect_equal("VM", trap.flags & FLAG_VM, FLAG_VM);
    set_descriptor(SPARE, 0, 0xfffff, CODE_READABLE | DPL3, GRANULAR | BIG);
    set_gate(0x41, GATE_PRESENT | GATE_DPL3 | GATE_INTERRUPT, SPARE, 0);
    expect_fault(RUN("\xcd\x41", FLAG_IOPL), GP, SPARE); /* the handler's CPL must be 0 */
}

BEHAVIOUR(big_operands, "SDM vol. 3 20.1.1: operands and addresses of 32 bits work by prefix; an offset above FFFFh is #GP(0)")
{
    *(uint32_t *)real(DATA, 0x40) = 0x12345678;
    struct trap trap = RUN("\x66\xbb\x40\x00\x00\x00" /* MOV EBX, 40h */
                           "\x66\x67\x8b\x03",        /* MOV EAX, [EBX] */
                           FLAG_IOPL);
    expect_trap(trap, 0xff);
    expect_equal("EAX", trap.frame.ax, 0x12345678);
    expect_fault(RUN("\x66\xbb\x00\x00\x01\x00\x66\x67\x8b\x03", FLAG_IOPL), GP, 0);
}

/* ---- CR4.VME ---- */

BEHAVIOUR(vme_flags, "SDM vol. 3 20.3.3.1: with CR4.VME and IOPL below 3 CLI, STI and PUSHF work on VIF, and PUSHF shows IOPL 3")
{
    need(FEATURE_VME);
    set_cr4(get_cr4() | CR4_VME);
    struct trap trap = RUN("\xfb\x9c\x58"  /* STI; PUSHF; POP AX */
                           "\xfa\x9c\x5b" /* CLI; PUSHF; POP BX */
                           "\xf4",        /* HLT */
                           0);
    expect_fault(trap, GP, 0);
    expect_equal("IF in PUSHF after STI", trap.frame.ax & FLAG_IF, FLAG_IF);
    expect_equal("IOPL in PUSHF", trap.frame.ax & FLAG_IOPL, FLAG_IOPL);
    expect_equal("IF in PUSHF after CLI", trap.frame.bx & FLAG_IF, 0);
    expect_equal("VIF at last", trap.flags & FLAG_VIF, 0);
    trap = RUN("\xfb\xf4", 0); /* STI; HLT */
    expect_fault(trap, GP, 0);
    expect_equal("VIF after STI", trap.flags & FLAG_VIF, FLAG_VIF);
    expect_equal("IF after STI", trap.flags & FLAG_IF, 0);
    trap = RUN("\xfb", FLAG_VIP); /* an interrupt waits */
    expect_fault(trap, GP, 0);
}

BEHAVIOUR(vme_redirection, "SDM vol. 3 20.3.3, table 20-2: INT n with its bit clear in the redirection map goes to the 8086 program's handler")
{
    need(FEATURE_VME);
    set_cr4(get_cr4() | CR4_VME);
    /* The redirection map is the 32 bytes below the I/O map. */
    static struct {
        struct tss tss;
        uint8_t redirection[32], ports[33];
    } wide;
    wide.tss = tss;
    wide.tss.io_map = (uint16_t)((uint8_t *)wide.ports - (uint8_t *)&wide);
    for (unsigned i = 0; i < 33; i++)
        wide.ports[i] = 0xff;
    for (unsigned i = 0; i < 32; i++)
        wide.redirection[i] = 0xff;
    wide.redirection[0x21 / 8] &= (uint8_t) ~(1 << 0x21 % 8);
    load_tr(set_descriptor(SPARE, (uint32_t)(word)&wide, sizeof wide - 1, SYSTEM_TSS, 0));
    uint32_t *vector = (uint32_t *)real(0, 4 * 0x21), saved = *vector;
    *vector = CODE << 16 | 0x80;
    *real(CODE, 0x80) = 0xb0; /* MOV AL, 77h; IRET */
    *real(CODE, 0x81) = 0x77;
    *real(CODE, 0x82) = 0xcf;
    struct trap trap = RUN("\xb0\x11\xcd\x21\xf4", 0); /* MOV AL, 11h; INT 21h; HLT */
    *vector = saved;
    expect_fault(trap, GP, 0);
    expect_equal("EIP of the HLT", trap.ip, 4);
    expect_equal("AL", trap.frame.ax & 0xff, 0x77);
    expect_equal("SP", trap.frame.sp & 0xffff, SP);
    expect_fault(RUN("\xcd\x22", 0), GP, 0);
}
