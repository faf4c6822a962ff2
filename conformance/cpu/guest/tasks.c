/* Task switches (SDM vol. 3 chapter 7). */
#include "behaviour.h"
#include "paging.h"
#include "segment.h"

enum { OTHER = SPARE, GATE = SPARE + 8 };

static struct tss other;
static uint8_t stack[2048] __attribute__((aligned(16)));

/* A task that runs `code` at CPL 0, flat. */
static void prepare(void (*code)(void))
{
    other = (struct tss){
        .esp0 = (word)(stack + sizeof stack),
        .ss0 = KERNEL_DS,
        .cr3 = (uint32_t)get_cr3(),
        .eip = (word)code,
        .eflags = FLAG_RESERVED,
        .esp = (word)(stack + sizeof stack / 2),
        .cs = KERNEL_CS,
        .ss = KERNEL_DS,
        .ds = KERNEL_DS,
        .es = KERNEL_DS,
        .fs = KERNEL_DS,
        .gs = 0,
        .io_map = sizeof other,
    };
    tss.cr3 = other.cr3; /* a switch does not save it */
    set_descriptor(OTHER, (uint32_t)(word)&other, sizeof other - 1, SYSTEM_TSS, 0);
}

static uint8_t access_of(uint16_t selector)
{
    return (uint8_t)(gdt[selector / 8] >> 40);
}

volatile word seen_flags, seen_cr0, seen_tr, seen_eax, seen_error;
#define SEE                                                                                                            \
    "pushf; popl seen_flags; mov %eax, seen_eax; str %eax; mov %eax, seen_tr; mov %cr0, %eax; mov %eax, seen_cr0; "

extern void jump_back(void), call_back(void);
CODE("jump_back: " SEE "ljmp $0x28, $0\n"
    "call_back: " SEE "iret");

BEHAVIOUR(jump, "SDM vol. 3 7.3: JMP to a TSS saves this task and loads that one; busy moves over, NT stays clear, CR0.TS is set")
{
    prepare(jump_back);
    other.eax = 0xcafe;
    other.eflags |= FLAG_CF;
    expect_none(CATCH(asm volatile("ljmp %0, $0" : : "i"(OTHER) : "memory")));
    expect_equal("EAX in the new task", seen_eax, 0xcafe);
    expect_equal("CF and NT in the new task", seen_flags & (FLAG_CF | FLAG_NT), FLAG_CF);
    expect_equal("TR in the new task", seen_tr, OTHER);
    expect_equal("CR0.TS in the new task", seen_cr0 & CR0_TS, CR0_TS);
    expect_equal("the other TSS's type", access_of(OTHER), SYSTEM_TSS);
    expect_equal("this TSS's type", access_of(TSS_SELECTOR), SYSTEM_TSS_BUSY);
    expect_equal("CS saved", tss.cs, KERNEL_CS);
    expect_equal("the other's EIP saved behind its jump", other.eip > (word)jump_back && other.eip <= (word)call_back, 1);
}

BEHAVIOUR(call, "SDM vol. 3 7.4: CALL to a TSS sets NT and the back link and leaves both busy; IRET comes back")
{
    prepare(call_back);
    uint32_t esp_before, esp_after;
    asm volatile("mov %%esp, %0; lcall %2, $0; mov %%esp, %1"
                 : "=&r"(esp_before), "=&r"(esp_after)
                 : "i"(OTHER)
                 : "memory", "eax");
    expect_equal("NT in the new task", seen_flags & FLAG_NT, FLAG_NT);
    expect_equal("the back link", other.link, TSS_SELECTOR);
    expect_equal("ESP behind", esp_after, esp_before);
    expect_equal("the other TSS's type", access_of(OTHER), SYSTEM_TSS);
    expect_equal("this TSS's type", access_of(TSS_SELECTOR), SYSTEM_TSS_BUSY);
    expect_equal("NT saved in the other", other.eflags & FLAG_NT, 0);
    expect_equal("NT here", get_flags() & FLAG_NT, 0);
}

BEHAVIOUR(call_gate_to_task, "SDM vol. 3 7.2.5: a task gate in the GDT leads to its TSS, whatever the TSS's own DPL")
{
    prepare(call_back);
    gdt[GATE / 8] = call_gate(OTHER, 0, SYSTEM_TASK_GATE | PRESENT | DPL3, 0);
    seen_tr = 0;
    expect_none(CATCH_USER(asm volatile("lcall %0, $0" : : "i"(GATE | 3) : "memory", "eax")));
    expect_equal("TR in the new task", seen_tr, OTHER);
    expect_fault(CATCH_USER(asm volatile(MARK "1: lcall %0, $0" : : "i"(OTHER | 3))), GP, OTHER);
    gdt[GATE / 8] = call_gate(OTHER, 0, SYSTEM_TASK_GATE & ~PRESENT, 0);
    expect_fault(CATCH(asm volatile(MARK "1: lcall %0, $0" : : "i"(GATE))), NP, GATE);
}

volatile word saved_esp, resume_at;
extern void resume(void);
CODE("resume: popl seen_error; " SEE "mov resume_at, %eax; mov %eax, tss + 32; iret"); /* EIP */

BEHAVIOUR(double_fault_task, "SDM vol. 3 7.3, 6.15 #DF: through a task gate an exception gets a stack of its own, with the error code on it")
{
    paging_on(PAGE_W | PAGE_U);
    map(WINDOW, 0, 0);
    prepare(resume);
    set_gate(DF, GATE_PRESENT | GATE_TASK, OTHER, 0);
    seen_error = 0x5555;
    seen_tr = 0;
    /* PUSH is #PF, and so is the delivery of that, on the same stack. */
    asm volatile("mov %%esp, saved_esp; movl $2f, resume_at; mov %0, %%esp; push %%eax; 2: mov saved_esp, %%esp"
                 :
                 : "r"(WINDOW + PAGE)
                 : "memory", "eax");
    expect_equal("TR in the handler", seen_tr, OTHER);
    expect_equal("the error code", seen_error, 0);
    expect_equal("NT in the handler", seen_flags & FLAG_NT, FLAG_NT);
    expect_equal("the back link", other.link, TSS_SELECTOR);
    expect_equal("ESP saved", tss.esp, WINDOW + PAGE);
}

BEHAVIOUR(busy, "SDM vol. 3 7.3: a switch to a busy TSS is #GP(selector), to one not present #NP(selector), to a short one #TS(selector)")
{
    prepare(jump_back);
    expect_fault(CATCH(asm volatile(MARK "1: ljmp %0, $0" : : "i"(TSS_SELECTOR))), GP, TSS_SELECTOR);
    set_descriptor(OTHER, (uint32_t)(word)&other, sizeof other - 1, SYSTEM_TSS_BUSY, 0);
    expect_fault(CATCH(asm volatile(MARK "1: lcall %0, $0" : : "i"(OTHER))), GP, OTHER);
    set_descriptor(OTHER, (uint32_t)(word)&other, sizeof other - 1, SYSTEM_TSS & ~PRESENT, 0);
    expect_fault(CATCH(asm volatile(MARK "1: ljmp %0, $0" : : "i"(OTHER))), NP, OTHER);
    set_descriptor(OTHER, (uint32_t)(word)&other, 102, SYSTEM_TSS, 0);
    expect_fault(CATCH(asm volatile(MARK "1: ljmp %0, $0" : : "i"(OTHER))), TS, OTHER);
}

extern void error_jump(void);
CODE("error_jump: popl seen_error; " SEE "ljmp $0x28, $0");

BEHAVIOUR(invalid_tss, "SDM vol. 3 6.15 #TS, tables 6-6, 7-1: a bad LDT, CS, SS or ES in the new TSS is #TS(selector), in the new task")
{
    static struct tss handler;
    enum { HANDLER = GATE };
    for (unsigned which = 0; which < 4; which++) {
        prepare(error_jump);
        handler = other;
        handler.esp = (word)(stack + sizeof stack);
        set_descriptor(HANDLER, (uint32_t)(word)&handler, sizeof handler - 1, SYSTEM_TSS, 0);
        set_gate(TS, GATE_PRESENT | GATE_TASK, HANDLER, 0);
        uint16_t *const fields[] = {&other.ldt, &other.cs, &other.ss, &other.es};
        static const char *const names[] = {"the error code for LDT", "the error code for CS", "the error code for SS",
                                            "the error code for ES"};
        *fields[which] = TSS_SELECTOR;
        seen_error = 0;
        seen_tr = 0;
        asm volatile("ljmp %0, $0" : : "i"(OTHER) : "memory", "eax");
        expect_equal("TR in the handler", seen_tr, HANDLER);
        expect_equal(names[which], seen_error, TSS_SELECTOR);
        expect_equal("the task that had the exception", handler.link, OTHER);
    }
}

BEHAVIOUR(iret_back_link, "SDM vol. 3 6.15 #TS: IRET with NT to a TSS that is not busy is #TS(link)")
{
    prepare(jump_back);
    tss.link = OTHER; /* available, so nobody called from there */
    struct trap trap = CATCH(set_flags(FLAG_NT); asm volatile(MARK "1: iret" : : : "memory"));
    expect_fault(trap, TS, OTHER);
}

extern void read_window(void);
CODE("read_window: movb 0x80000000, %al; mov %eax, seen_eax; iret"); /* WINDOW */

BEHAVIOUR(address_space, "SDM vol. 3 7.5: a task switch loads CR3 from the TSS")
{
    paging_on(PAGE_W | PAGE_U);
    word first = get_cr3();
    uint8_t *here = new_page(), *there = new_page();
    here[0] = 1, there[0] = 2;
    map(WINDOW, (word)here, PAGE_P | PAGE_W);
    prepare(call_back);
    entry *second = new_page();
    for (unsigned i = 0; i < 1024; i++)
        second[i] = root[i];
    entry *table = new_page();
    table[0] = (word)there | PAGE_P | PAGE_W;
    second[WINDOW >> 22] = (word)table | PAGE_P | PAGE_W;
    other.cr3 = (uint32_t)(word)second;
    other.eip = (word)read_window;
    asm volatile("lcall %0, $0" : : "i"(OTHER) : "memory", "eax");
    expect_equal("the byte in the other address space", seen_eax & 0xff, 2);
    expect_equal("CR3 behind", get_cr3(), first);
    expect_equal("the byte here", *(volatile uint8_t *)WINDOW, 1);
}

BEHAVIOUR(debug_trap, "SDM vol. 3 7.2.1, 17.3.1.5: the T bit of a TSS is #DB with DR6.BT before the new task's first instruction")
{
    prepare(jump_back);
    other.trap = 1;
    set_dr6(0);
    struct trap trap = CATCH(asm volatile("ljmp %0, $0" : : "i"(OTHER) : "memory"));
    expect_fault(trap, DB, 0);
    expect_equal("EIP", trap.ip, (word)jump_back);
    expect_equal("DR6.BT", trap.dr6 & 1 << 15, 1 << 15);
}

BEHAVIOUR(local_breakpoints, "SDM vol. 3 17.2.4: a task switch clears the local enables of DR7, not the global ones")
{
    prepare(call_back);
    set_dr0((word)stack);
    set_dr1((word)stack + 4);
    set_dr7(0x400 | 1 | 8); /* L0, G1 */
    asm volatile("lcall %0, $0" : : "i"(OTHER) : "memory", "eax");
    expect_equal("DR7's enables", get_dr7() & 0xff, 8);
}
