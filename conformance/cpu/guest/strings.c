/* String instructions: across pages, interrupted, restarted (SDM vol. 1 7.3.9; vol. 2 REP, MOVS, ...). */
#include "behaviour.h"
#include "paging.h"
#include "timers.h"

static uint8_t *first;

/* One page at WINDOW, nothing around it. */
static void window(void)
{
    paging_on(PAGE_W | PAGE_U);
    first = new_page();
    map(WINDOW, (word)first, PAGE_P | PAGE_W | PAGE_U);
    map(WINDOW + PAGE, 0, 0);
    *entry_of(WINDOW - 1, 1) = 0; /* the flat map ends below, too */
    flush_all();
}

BEHAVIOUR(movs_into_absent_page, "SDM vol. 2 REP: a fault in the middle leaves ESI, EDI and ECX at the element that faulted")
{
    static uint8_t from[16];
    window();
    for (unsigned i = 0; i < 16; i++)
        from[i] = (uint8_t)(i + 1);
    struct trap trap = CATCH(asm volatile(MARK "1: rep movsb" : : "S"(from), "D"(WINDOW + PAGE - 6), "c"(16) : "memory"));
    expect_page_fault(trap, PF_W, WINDOW + PAGE);
    expect_equal("ECX", trap.frame.cx, 10);
    expect_equal("ESI", trap.frame.si, (word)from + 6);
    expect_equal("EDI", trap.frame.di, WINDOW + PAGE);
    expect_equal("the last byte written", first[PAGE - 1], 6);
}

BEHAVIOUR(movs_split_element, "SDM vol. 2 REP: of a dword that lies across the page's end nothing is written")
{
    static uint32_t from[4] = {0x11111111, 0x22222222, 0x33333333, 0x44444444};
    window();
    struct trap trap = CATCH(asm volatile(MARK "1: rep movsl" : : "S"(from), "D"(WINDOW + PAGE - 6), "c"(4) : "memory"));
    expect_page_fault(trap, PF_W, WINDOW + PAGE);
    expect_equal("ECX", trap.frame.cx, 3);
    expect_equal("EDI", trap.frame.di, WINDOW + PAGE - 2);
    expect_equal("the byte behind", first[PAGE - 2], 0);
}

BEHAVIOUR(backward, "SDM vol. 2 REP: with DF set addresses go down, and a fault below the page is reported at that address")
{
    window();
    struct trap trap = CATCH(asm volatile("std; " MARK "1: rep stosb" : : "D"(WINDOW + 3), "c"(10), "a"(0x77) : "memory"));
    expect_page_fault(trap, PF_W, WINDOW - 1);
    expect_equal("ECX", trap.frame.cx, 6);
    expect_equal("EDI", trap.frame.di, WINDOW - 1);
    expect_equal("DF", trap.flags & FLAG_DF, FLAG_DF);
    expect_equal("the first byte", first[0], 0x77);
}

BEHAVIOUR(overlap, "SDM vol. 2 MOVS: elements are moved one after the other: an overlap repeats the first")
{
    static uint8_t buffer[32];
    for (unsigned i = 0; i < 32; i++)
        buffer[i] = (uint8_t)i;
    word from = (word)buffer, to = (word)buffer + 1, count = 20;
    asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    for (unsigned i = 0; i <= 20; i++)
        expect(buffer[i] == 0, "byte %u is %u, expected 0", i, buffer[i]);
    expect_equal("the byte behind", buffer[21], 21);
    from = (word)buffer + 20, to = (word)buffer + 24, count = 3;
    asm volatile("std; rep movsl; cld" : "+S"(from), "+D"(to), "+c"(count) : : "memory");
    expect_equal("ECX", count, 0);
    expect_equal("EDI", to, (word)buffer + 12);
}

BEHAVIOUR(compare_scan, "SDM vol. 2 REPE, REPNE: CMPS and SCAS end at the first difference or match, behind it, with its flags")
{
    static const char one[] = "abcdefg", two[] = "abcdXfg";
    word si = (word)one, di = (word)two, cx = 7;
    bool zero;
    asm volatile("repe cmpsb; setz %3" : "+S"(si), "+D"(di), "+c"(cx), "=q"(zero) : : "memory", "cc");
    expect_equal("ECX after CMPS", cx, 2);
    expect_equal("ESI after CMPS", si, (word)one + 5);
    expect(!zero, "ZF is set after a difference");
    di = (word)one, cx = 7;
    asm volatile("repne scasb; setz %2" : "+D"(di), "+c"(cx), "=q"(zero) : "a"('c') : "memory", "cc");
    expect_equal("ECX after SCAS", cx, 4);
    expect(zero, "ZF is clear after a match");
    cx = 0;
    asm volatile("cmp %2, %2; repne scasb; setz %1" : "+c"(cx), "=q"(zero) : "r"(1), "D"(one), "a"(0) : "memory", "cc");
    expect(zero, "SCAS with ECX 0 changes the flags");
}

BEHAVIOUR(count_zero, "SDM vol. 2 REP: with ECX 0 memory is not touched")
{
    window();
    expect_none(CATCH(asm volatile("rep stosl" : : "D"(WINDOW + PAGE), "c"(0), "a"(0) : "memory")));
    expect_none(CATCH(asm volatile("rep movsb" : : "S"(WINDOW + PAGE), "D"(WINDOW + PAGE), "c"(0) : "memory")));
}

BEHAVIOUR(address_size, "SDM vol. 2 REP: with an address size of 16 bits SI, DI and CX count, and wrap at 64 KiB")
{
    volatile uint8_t *low = NULL;
    asm("" : "+r"(low)); /* the compiler must not know that these are the first 64 KiB */
    uint8_t saved[4];
    for (unsigned i = 0; i < 4; i++)
        saved[i] = low[0x8ffe + i];
    word di = 0x12348ffe, cx = 0x56780004;
    asm volatile("addr16 rep stosb" : "+D"(di), "+c"(cx) : "a"(0x3c) : "memory");
    unsigned sum = low[0x8ffe] + low[0x8fff] + low[0x9000] + low[0x9001];
    for (unsigned i = 0; i < 4; i++)
        low[0x8ffe + i] = saved[i];
    expect_equal("the sum of what was stored", sum, 4 * 0x3c);
    expect_equal("EDI", di, 0x12349002);
    expect_equal("ECX", cx, 0x56780000);
    word si = 0xffff;
    cx = 2;
    asm volatile("addr16 rep lodsb" : "+S"(si), "+c"(cx) : : "eax", "memory");
    expect_equal("ESI after a wrap", si, 1);
}

BEHAVIOUR(segment_override, "SDM vol. 2 MOVS: an override is for the source; the destination is always ES")
{
    static uint8_t from = 0x42, to;
    to = 0;
    asm volatile("mov %2, %%fs; fs; movsb" : : "S"(&from), "D"(&to), "r"((word)0x10) : "memory");
    expect_equal("the byte moved through FS", to, 0x42);
    asm volatile("push $0; pop %%fs" : : : "memory");
    expect_fault(CATCH(asm volatile(MARK "1: fs; movsb" : : "S"(&from), "D"(&to) : "memory")), GP, 0);
    expect_none(CATCH(asm volatile("fs; stosb" : : "D"(&to), "a"(0) : "memory")));
}

BEHAVIOUR(ports, "SDM vol. 2 INS, OUTS: REP INS stores what the port gives; a fault on memory comes before the port is read")
{
    static uint8_t buffer[4];
    outb(0x70, 0x0f); /* CMOS: the shutdown status */
    uint8_t value = inb(0x71);
    word di = (word)buffer, cx = 3;
    asm volatile("rep insb" : "+D"(di), "+c"(cx) : "d"(0x71) : "memory");
    expect_equal("ECX", cx, 0);
    expect_equal("EDI", di, (word)buffer + 3);
    expect_equal("the last byte", buffer[2], value);
    window();
    struct trap trap = CATCH(asm volatile(MARK "1: rep insb" : : "D"(WINDOW + PAGE - 1), "c"(3), "d"(0x71) : "memory"));
    expect_page_fault(trap, PF_W, WINDOW + PAGE);
    expect_equal("ECX at the fault", trap.frame.cx, 2);
}

static volatile word interrupted_cx, interrupted_ip;

static void note(struct frame *frame)
{
    interrupted_cx = frame->cx;
    interrupted_ip = frame->ip;
    pic_mask(IRQ_PIT);
    pic_eoi(IRQ_PIT);
}

BEHAVIOUR(interrupted, "SDM vol. 2 REP: an interrupt comes between two iterations, at the instruction itself, which then goes on")
{
    enum { SIZE = 0x40000, TRIES = 64 };
    static uint8_t buffer[SIZE];
    handle(PIC_VECTOR + IRQ_PIT, note);
    for (unsigned tries = 0; tries < TRIES; tries++) {
        interrupted_ip = 0;
        pit_start(0, 60); /* 50 us */
        pic_unmask(IRQ_PIT);
        word di = (word)buffer, cx = SIZE;
        asm volatile(MARK "sti; nop; 1: rep stosb; cli" : "+D"(di), "+c"(cx) : "a"(tries + 1) : "memory");
        pic_mask(IRQ_PIT);
        expect_equal("ECX behind", cx, 0);
        for (unsigned i = 0; i < SIZE; i += 4093)
            expect(buffer[i] == tries + 1, "byte %u is %u, expected %u", i, buffer[i], tries + 1);
        if (interrupted_ip == marked && interrupted_cx < SIZE) {
            expect(interrupted_cx, "ECX is 0 in the handler, which comes back to REP STOS");
            return;
        }
    }
    skip("no interrupt came in the middle of REP STOS, %u times", TRIES);
}
