/* Segment descriptors: what is checked when a selector is loaded and when a segment is used (SDM vol. 3 chapters 3, 5). */
#include "behaviour.h"
#include "segment.h"

static uint8_t bytes[32];

static word base_of(const volatile void *object)
{
    return (word)object;
}

BEHAVIOUR(null_selector, "SDM vol. 3 3.4.2: DS to GS may be null, whatever its RPL; using it is #GP(0)")
{
    expect_none(CATCH(set_fs(0); set_fs(3)));
    expect_fault(CATCH(set_fs(3); asm volatile(MARK "1: movb %%fs:(%0), %%al" : : "r"(bytes) : "eax")), GP, 0);
}

BEHAVIOUR(null_stack, "SDM vol. 3 5.4.1: a null selector in SS is #GP(0)")
{
    expect_fault(CATCH(set_ss(0)), GP, 0);
}

BEHAVIOUR(beyond_gdt, "SDM vol. 3 6.15 #GP: a selector beyond the GDT's limit is #GP(selector), RPL left out")
{
    expect_fault(CATCH(set_fs(0xfff8)), GP, 0xfff8);
    load_gdt(SPARE + 6); /* one byte too short */
    set_descriptor(SPARE, 0, 0xfffff, DATA_WRITABLE, GRANULAR);
    expect_fault(CATCH(set_fs(SPARE)), GP, SPARE);
    load_gdt(SPARE + 7);
    expect_none(CATCH(set_fs(SPARE)));
}

BEHAVIOUR(beyond_ldt, "SDM vol. 3 6.15 #GP: a selector into an LDT that is null or too short is #GP(selector | 4)")
{
    expect_fault(CATCH(set_fs(4)), GP, 4);
    ldt[1] = descriptor(0, 0xfffff, DATA_WRITABLE, GRANULAR);
    set_descriptor(SPARE, base_of(ldt), 15, SYSTEM_LDT, 0);
    load_ldt(SPARE);
    expect_none(CATCH(set_fs(8 | 4)));
    expect_fault(CATCH(set_fs(16 | 4)), GP, 16 | 4);
}

BEHAVIOUR(not_present, "SDM vol. 3 6.15 #NP, #SS: a segment that is not present is #NP(selector), in SS #SS(selector)")
{
    set_descriptor(SPARE, 0, 0xfffff, DATA_WRITABLE & ~PRESENT, GRANULAR | BIG);
    expect_fault(CATCH(set_fs(SPARE)), NP, SPARE);
    expect_fault(CATCH(set_ss(SPARE)), SS, SPARE);
}

BEHAVIOUR(wrong_type, "SDM vol. 3 5.5, 6.15 #GP: execute-only code in FS, what cannot be written in SS and a system segment are #GP(selector)")
{
    set_descriptor(SPARE, 0, 0xfffff, CODE_EXECUTE_ONLY, GRANULAR | BIG);
    expect_fault(CATCH(set_fs(SPARE)), GP, SPARE);
    set_descriptor(SPARE, 0, 0xfffff, CODE_READABLE, GRANULAR | BIG);
    expect_none(CATCH(set_fs(SPARE)));
    expect_fault(CATCH(set_ss(SPARE)), GP, SPARE);
    set_descriptor(SPARE, 0, 0xfffff, DATA_READ_ONLY, GRANULAR | BIG);
    expect_fault(CATCH(set_ss(SPARE)), GP, SPARE);
    expect_fault(CATCH(set_fs(TSS_SELECTOR)), GP, TSS_SELECTOR);
}

BEHAVIOUR(privilege, "SDM vol. 3 5.6: DS needs max(CPL, RPL) <= DPL, but conforming code none; SS needs both equal to DPL")
{
    expect_fault(CATCH_USER(set_fs(KERNEL_DS)), GP, KERNEL_DS);
    expect_fault(CATCH(set_fs(KERNEL_DS | 1)), GP, KERNEL_DS);
    set_descriptor(SPARE, 0, 0xfffff, CODE_CONFORMING, GRANULAR | BIG);
    expect_none(CATCH_USER(set_fs(SPARE | 3)));
    expect_fault(CATCH(set_ss(USER_DS)), GP, USER_DS & ~3);
    expect_fault(CATCH(set_ss(KERNEL_DS | 3)), GP, KERNEL_DS);
}

BEHAVIOUR(accessed, "SDM vol. 3 3.4.5.1: loading a segment sets the descriptor's accessed bit; a load that fails does not")
{
    set_descriptor(SPARE, 0, 0xfffff, DATA_WRITABLE, GRANULAR | BIG);
    set_fs(SPARE);
    expect_equal("the access byte", gdt[SPARE / 8] >> 40 & 0xff, DATA_WRITABLE | ACCESSED);
    set_descriptor(SPARE, 0, 0xfffff, DATA_READ_ONLY, GRANULAR | BIG);
    expect_fault(CATCH(set_ss(SPARE)), GP, SPARE);
    expect_equal("the access byte", gdt[SPARE / 8] >> 40 & 0xff, DATA_READ_ONLY);
}

BEHAVIOUR(limit, "SDM vol. 3 5.3: the last byte of an access must lie within the limit, in bytes or in pages")
{
    set_fs(set_descriptor(SPARE, base_of(bytes), 7, DATA_WRITABLE, BIG));
    expect_none(CATCH(asm volatile("movl %%fs:4, %%eax; movb %%fs:7, %%al" : : : "eax")));
    expect_fault(CATCH(asm volatile(MARK "1: movl %%fs:5, %%eax" : : : "eax")), GP, 0);
    expect_fault(CATCH(asm volatile(MARK "1: movb $1, %%fs:8" : : : "memory")), GP, 0);
    expect_fault(CATCH(asm volatile(MARK "1: movl %%fs:0xfffffffe, %%eax" : : : "eax")), GP, 0);
    set_fs(set_descriptor(SPARE, 0, 0x200, DATA_WRITABLE, GRANULAR | BIG));
    expect_none(CATCH(asm volatile("movl %%fs:0x200ffc, %%eax" : : : "eax")));
    expect_fault(CATCH(asm volatile(MARK "1: movl %%fs:0x200ffd, %%eax" : : : "eax")), GP, 0);
}

BEHAVIOUR(expand_down, "SDM vol. 3 5.3: an expand-down segment holds the offsets above its limit, to FFFFh or with B to FFFFFFFFh")
{
    set_fs(set_descriptor(SPARE, 0, 0x1ff, DATA_EXPAND_DOWN, GRANULAR | BIG));
    expect_none(CATCH(asm volatile("movl %%fs:0x200000, %%eax" : : : "eax")));
    expect_fault(CATCH(asm volatile(MARK "1: movl %%fs:0x1fffff, %%eax" : : : "eax")), GP, 0);
    expect_fault(CATCH(asm volatile(MARK "1: movb %%fs:0, %%al" : : : "eax")), GP, 0);
    set_fs(set_descriptor(SPARE, 0, 0xff, DATA_EXPAND_DOWN, 0));
    expect_none(CATCH(asm volatile("movb %%fs:0xffff, %%al; movb %%fs:0x100, %%al" : : : "eax")));
    expect_fault(CATCH(asm volatile(MARK "1: movw %%fs:0xffff, %%ax" : : : "eax")), GP, 0);
    expect_fault(CATCH(asm volatile(MARK "1: movb %%fs:0x10000, %%al" : : : "eax")), GP, 0);
}

BEHAVIOUR(base, "SDM vol. 3 3.4: a linear address is base plus offset, modulo 2^32")
{
    bytes[3] = 0x5a;
    uint8_t seen;
    set_fs(set_descriptor(SPARE, base_of(bytes), 0xfffff, DATA_WRITABLE, GRANULAR | BIG));
    asm volatile("movb %%fs:3, %0" : "=q"(seen) : : "memory");
    expect_equal("the byte at base + 3", seen, 0x5a);
    set_fs(set_descriptor(SPARE, base_of(bytes) + 0x10000, 0xfffff, DATA_WRITABLE, GRANULAR | BIG));
    asm volatile("movb %%fs:0xffff0003, %0" : "=q"(seen) : : "memory");
    expect_equal("the byte at base + FFFF0003h", seen, 0x5a);
}

BEHAVIOUR(read_only, "SDM vol. 3 5.5: a write to read-only data or through CS, and a read of execute-only code, are #GP(0)")
{
    set_fs(set_descriptor(SPARE, 0, 0xfffff, DATA_READ_ONLY, GRANULAR | BIG));
    expect_none(CATCH(asm volatile("movb %%fs:(%0), %%al" : : "r"(bytes) : "eax")));
    expect_fault(CATCH(asm volatile(MARK "1: movb $0, %%fs:(%0)" : : "r"(bytes) : "memory")), GP, 0);
    expect_fault(CATCH(asm volatile(MARK "1: lock; incb %%fs:(%0)" : : "r"(bytes) : "memory")), GP, 0);
    expect_fault(CATCH(asm volatile(MARK "1: movb $0, %%cs:(%0)" : : "r"(bytes) : "memory")), GP, 0);
    set_descriptor(SPARE, 0, 0xfffff, CODE_EXECUTE_ONLY, GRANULAR | BIG);
    expect_fault(CATCH(asm volatile("ljmp %1, $2f; 2: " MARK "1: movb %%cs:(%0), %%al" : : "r"(bytes), "i"(SPARE) : "eax")),
                 GP, 0);
}

extern char end_of_code[];
CODE("end_of_code: movl $0x12345678, %eax; int3");

BEHAVIOUR(code_limit, "SDM vol. 3 5.3: fetching beyond the limit of CS is #GP(0), at the instruction that does it")
{
    set_descriptor(SPARE, base_of(end_of_code) - 16, 16 + 3, CODE_READABLE, BIG); /* the last byte is missing */
    struct trap trap = CATCH(asm volatile("ljmp %0, $16" : : "i"(SPARE) : "eax"));
    expect_fault(trap, GP, 0);
    expect_equal("EIP", trap.ip, 16);
    expect_equal("CS", trap.cs, SPARE);
}

BEHAVIOUR(lar_lsl, "SDM vol. 2 LAR, LSL: rights and limit in bytes with ZF; what may not be seen clears ZF and changes nothing")
{
    uint32_t value = 0x1234;
    bool found;
    set_descriptor(SPARE, 0, 0x12345, DATA_WRITABLE, GRANULAR | BIG);
    asm volatile("lsl %2, %0; setz %1" : "=r"(value), "=q"(found) : "r"(SPARE));
    expect(found, "LSL does not see a data segment");
    expect_equal("LSL", value, 0x12345fff);
    asm volatile("lar %2, %0; setz %1" : "=r"(value), "=q"(found) : "r"(SPARE));
    expect(found, "LAR does not see a data segment");
    expect_equal("LAR", value & 0xf0ff00, 0xc00000 | DATA_WRITABLE << 8);
    value = 0x1234;
    asm volatile("lar %2, %0; setz %1" : "+r"(value), "=q"(found) : "r"(0xfff8));
    expect(!found && value == 0x1234, "LAR sees beyond the GDT");
    gdt[SPARE / 8] = call_gate(KERNEL_CS, 0, SYSTEM_CALL_GATE, 0);
    asm volatile("lsl %2, %0; setz %1" : "+r"(value), "=q"(found) : "r"(SPARE));
    expect(!found && value == 0x1234, "LSL sees a limit of a call gate");
    asm volatile("lar %2, %0; setz %1" : "+r"(value), "=q"(found) : "r"(SPARE));
    expect(found, "LAR does not see a call gate");
    volatile bool user_found = true;
    expect_none(CATCH_USER(asm volatile("lar %1, %%eax; setz %0" : "=m"(user_found) : "r"(KERNEL_DS) : "eax")));
    expect(!user_found, "LAR at CPL 3 sees a segment of DPL 0");
}

BEHAVIOUR(verr_verw, "SDM vol. 2 VERR, VERW: ZF tells whether a segment may be read and written at the CPL and RPL")
{
#define VERIFY(what, selector)                                                                                         \
    ({                                                                                                                 \
        bool may;                                                                                                      \
        asm volatile(what " %w1; setz %0" : "=q"(may) : "r"(selector));                                                \
        may;                                                                                                           \
    })
    expect(VERIFY("verr", KERNEL_DS) && VERIFY("verw", KERNEL_DS), "data of DPL 0 is refused at CPL 0");
    expect(!VERIFY("verr", KERNEL_DS | 3) && !VERIFY("verw", KERNEL_DS | 3), "data of DPL 0 is allowed with RPL 3");
    expect(VERIFY("verr", KERNEL_CS) && !VERIFY("verw", KERNEL_CS), "readable code may be read, not written");
    expect(!VERIFY("verr", 0) && !VERIFY("verr", TSS_SELECTOR), "null and a TSS are no segments to read");
    set_descriptor(SPARE, 0, 0xfffff, CODE_EXECUTE_ONLY, GRANULAR | BIG);
    expect(!VERIFY("verr", SPARE), "execute-only code may be read");
}

BEHAVIOUR(arpl, "SDM vol. 2 ARPL: raises the RPL of the destination to the source's and says so by ZF")
{
    uint16_t selector = 0x48;
    bool raised;
    asm volatile("arpl %w2, %w0; setz %1" : "+r"(selector), "=q"(raised) : "r"(3));
    expect(raised && selector == 0x4b, "48h with RPL 3 gives %xh, ZF %u; expected 4bh, ZF 1", selector, raised);
    asm volatile("arpl %w2, %w0; setz %1" : "+r"(selector), "=q"(raised) : "r"(1));
    expect(!raised && selector == 0x4b, "4bh with RPL 1 gives %xh, ZF %u; expected 4bh, ZF 0", selector, raised);
}

BEHAVIOUR(load_ldtr, "SDM vol. 2 LLDT: anything but an LDT is #GP(selector), one not present #NP(selector), null is taken")
{
    expect_none(CATCH(load_ldt(0)));
    expect_fault(CATCH(load_ldt(KERNEL_DS)), GP, KERNEL_DS);
    expect_fault(CATCH(load_ldt(4)), GP, 4);
    set_descriptor(SPARE, 0, 7, SYSTEM_LDT & ~PRESENT, 0);
    expect_fault(CATCH(load_ldt(SPARE)), NP, SPARE);
}

BEHAVIOUR(load_tr, "SDM vol. 2 LTR: marks the TSS busy; a busy TSS and null are #GP, one not present is #NP(selector)")
{
    expect_equal("the type of the TSS", gdt[TSS_SELECTOR / 8] >> 40 & 0xff, SYSTEM_TSS_BUSY);
    expect_fault(CATCH(load_tr(TSS_SELECTOR)), GP, TSS_SELECTOR);
    expect_fault(CATCH(load_tr(0)), GP, 0);
    expect_fault(CATCH(load_tr(KERNEL_DS)), GP, KERNEL_DS);
    set_descriptor(SPARE, base_of(&tss), sizeof tss - 1, SYSTEM_TSS & ~PRESENT, 0);
    expect_fault(CATCH(load_tr(SPARE)), NP, SPARE);
}

BEHAVIOUR(table_registers, "SDM vol. 2 SGDT, SIDT, SLDT, STR: give what LGDT, LIDT, LLDT and LTR loaded")
{
    struct table_register table;
    asm volatile("sgdt %0" : "=m"(table));
    expect_equal("the GDT's limit", table.limit, GDT_LIMIT);
    expect_equal("the GDT's base", table.base, base_of(gdt));
    asm volatile("sidt %0" : "=m"(table));
    expect_equal("the IDT's limit", table.limit, sizeof idt - 1);
    expect_equal("the IDT's base", table.base, base_of(idt));
    uint16_t selector;
    asm volatile("str %0" : "=r"(selector));
    expect_equal("TR", selector, TSS_SELECTOR);
    load_ldt(set_descriptor(SPARE, base_of(ldt), 15, SYSTEM_LDT, 0));
    asm volatile("sldt %0" : "=r"(selector));
    expect_equal("LDTR", selector, SPARE);
}

BEHAVIOUR(segment_cache, "SDM vol. 3 3.4.3: a loaded segment stays as it is until it is loaded again, whatever becomes of its descriptor")
{
    bytes[0] = 0x77;
    set_fs(set_descriptor(SPARE, base_of(bytes), 15, DATA_WRITABLE, BIG));
    gdt[SPARE / 8] = 0;
    uint8_t seen = 0;
    expect_none(CATCH(asm volatile("movb %%fs:0, %0" : "=q"(seen) : : "memory")));
    expect_equal("the byte through the old descriptor", seen, 0x77);
    expect_fault(CATCH(set_fs(SPARE)), GP, SPARE);
}
