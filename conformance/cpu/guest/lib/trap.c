#include "trap.h"

#include "behaviour.h"
#include "segment.h"

struct gate idt[256] __attribute__((aligned(16)));
struct trap caught;
volatile word marked;

extern char vectors[], leave_user_to[];
extern volatile int catch_armed;
void catch_resume(void) __attribute__((noreturn));
void dispatch(struct frame *frame);

static handler *handlers[256];

void catch_end(void)
{
    catch_armed = 0;
}

void handle(unsigned vector, handler *handler)
{
    handlers[vector] = handler;
}

void set_gate(unsigned vector, uint8_t type, uint16_t selector, word offset)
{
    struct gate *gate = &idt[vector];
    *gate = (struct gate){.offset_low = (uint16_t)offset, .selector = selector, .type = type};
#ifdef __x86_64__
    gate->offset_middle = (uint16_t)(offset >> 16);
    gate->offset_high = (uint32_t)(offset >> 32);
#else
    gate->offset_high = (uint16_t)(offset >> 16);
#endif
}

void load_idt(uint16_t limit)
{
    struct table_register table = {limit, (word)idt};
    asm volatile("lidt %0" : : "m"(table));
}

void trap_reset(void)
{
    catch_armed = 0;
    for (unsigned vector = 0; vector < 256; vector++) {
        handlers[vector] = NULL;
        set_gate(vector, GATE_PRESENT | GATE_INTERRUPT, KERNEL_CS, (word)(vectors + 16 * vector));
    }
    idt[USER_EXIT].type |= GATE_DPL3;
    load_idt(sizeof idt - 1);
}

/* Goes on behind leave_user's INT at CPL 0, on the user's stack. */
static void to_kernel(struct frame *frame)
{
    frame->cs = KERNEL_CS;
    frame->flags = FLAG_RESERVED;
#ifdef __x86_64__
    frame->ss = KERNEL_DS;
#else
    extern word leave_esp, leave_eip;
    leave_esp = frame->sp;
    leave_eip = frame->ip;
    frame->ip = (word)leave_user_to;
    frame->ds = frame->es = KERNEL_DS;
#endif
}

/* Called by vectors.S. */
void dispatch(struct frame *frame)
{
    unsigned vector = (unsigned)frame->vector;
    if (handlers[vector]) {
        handlers[vector](frame);
        return;
    }
    if (vector == USER_EXIT && (frame->cs & 3)) {
        to_kernel(frame);
        return;
    }
    caught = (struct trap){vector,      frame->error, frame->ip, frame->cs & 0xffff,
                           frame->flags, get_cr2(),    get_dr6(), *frame};
    if (catch_armed) {
        catch_armed = 0;
        catch_resume();
    }
    fail_unexpected(&caught);
}
