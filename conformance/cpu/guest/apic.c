/* The local APIC in xAPIC mode (SDM vol. 3 chapter 10). The last behaviour switches it off, from which some processors
 * do not come back. */
#include "apic.h"
#include "behaviour.h"

#define LET_COME asm volatile("sti; nop; nop; cli" : : : "memory")

enum { LOW = 0x41, HIGH = 0x81, SELF = 0x61 };

BEHAVIOUR(version, "SDM vol. 3 10.4.8: an integrated APIC has version 10h to 15h and at least four LVT entries")
{
    need_apic();
    uint32_t version = apic_read(APIC_VERSION);
    expect((version & 0xf0) == 0x10, "the version is %xh", (unsigned)version & 0xff);
    expect((version >> 16 & 0xff) >= 3, "there are %u LVT entries", (unsigned)(version >> 16 & 0xff) + 1);
}

BEHAVIOUR(self_ipi, "SDM vol. 3 10.6.1, 10.8.4: an IPI to oneself is requested, then in service, then gone by EOI")
{
    need_apic();
    count_vector(SELF);
    apic_self(SELF);
    expect(apic_bit(APIC_IRR, SELF), "IRR does not have it");
    expect_equal("interrupts with IF clear", vector_total, 0);
    LET_COME;
    expect_equal("interrupts with IF set", vector_count[SELF], 1);
    expect(!apic_bit(APIC_IRR, SELF), "IRR still has it");
    expect(!apic_bit(APIC_ISR, SELF), "ISR still has it");
}

BEHAVIOUR(priority, "SDM vol. 3 10.8.3.1: of two that wait the higher class comes first")
{
    need_apic();
    count_vector(LOW);
    count_vector(HIGH);
    apic_self(LOW);
    apic_self(HIGH);
    LET_COME;
    LET_COME;
    expect_equal("interrupts", vector_total, 2);
    expect_equal("the first", apic_order[0], HIGH);
    expect_equal("the second", apic_order[1], LOW);
}

BEHAVIOUR(task_priority, "SDM vol. 3 10.8.3.1: TPR holds off its own class and those below, PPR shows it")
{
    need_apic();
    count_vector(LOW);
    count_vector(HIGH);
    apic_write(APIC_TPR, 0x40);
    expect_equal("PPR", apic_read(APIC_PPR), 0x40);
    apic_self(LOW);
    apic_self(HIGH);
    LET_COME;
    expect_equal("interrupts above TPR", vector_count[HIGH], 1);
    expect_equal("interrupts below TPR", vector_count[LOW], 0);
    apic_write(APIC_TPR, 0);
    LET_COME;
    expect_equal("interrupts after TPR is 0", vector_count[LOW], 1);
}

static volatile unsigned nested, depth, low_count;
static volatile bool held;

static void high_within(struct frame *frame)
{
    (void)frame;
    nested += depth;
    apic_write(APIC_EOI, 0);
}

static void low_with_sti(struct frame *frame)
{
    (void)frame;
    if (++low_count == 1) {
        depth = 1;
        apic_self(HIGH);
        apic_self(LOW);
        LET_COME;
        held = low_count == 1 && apic_bit(APIC_IRR, LOW);
        depth = 0;
    }
    apic_write(APIC_EOI, 0);
}

BEHAVIOUR(nesting, "SDM vol. 3 10.8.4: in service, a vector holds off its own class, and a higher one comes within it")
{
    need_apic();
    handle(HIGH, high_within);
    handle(LOW, low_with_sti);
    nested = low_count = 0;
    held = false;
    apic_self(LOW);
    LET_COME;
    LET_COME;
    expect_equal("higher ones within the handler", nested, 1);
    expect(held, "its own class came within the handler");
    expect_equal("its own class in all", low_count, 2);
}

BEHAVIOUR(nmi_ipi, "SDM vol. 3 10.6.1: an NMI to oneself comes with IF clear")
{
    need_apic();
    struct trap trap = CATCH(apic_send(ICR_SELF | DELIVER_FIXED | LOW); apic_write(APIC_ICR_HIGH, apic_read(APIC_ID) & 0xff000000);
                             apic_write(APIC_ICR_LOW, DELIVER_NMI); for (volatile unsigned i = 0; i < 1000; i++));
    expect_equal("the vector", trap.vector, 2);
}

BEHAVIOUR(timer_one_shot, "SDM vol. 3 10.5.4: a one-shot timer wakes HLT once and stands at 0")
{
    need_apic();
    count_vector(SELF);
    apic_write(APIC_LVT_TIMER, SELF);
    apic_write(APIC_TIMER_INITIAL, 100000);
    while (!vector_count[SELF]) {
        sti_hlt();
        cli();
    }
    expect_equal("the current count", apic_read(APIC_TIMER_CURRENT), 0);
    for (volatile unsigned i = 0; i < 100000; i++)
        ;
    LET_COME;
    expect_equal("interrupts", vector_count[SELF], 1);
}

BEHAVIOUR(timer_periodic, "SDM vol. 3 10.5.4: a periodic timer goes on, and 0 as initial count stops it")
{
    need_apic();
    count_vector(SELF);
    apic_write(APIC_LVT_TIMER, SELF | TIMER_PERIODIC);
    apic_write(APIC_TIMER_INITIAL, 200000);
    while (vector_count[SELF] < 3) {
        sti_hlt();
        cli();
    }
    apic_write(APIC_TIMER_INITIAL, 0);
    LET_COME;
    unsigned before = vector_count[SELF];
    for (volatile unsigned i = 0; i < 1000000; i++)
        ;
    LET_COME;
    expect_equal("interrupts after it stopped", vector_count[SELF] - before, 0);
}

BEHAVIOUR(masked_timer, "SDM vol. 3 10.5.1: a masked LVT entry counts and delivers nothing")
{
    need_apic();
    count_vector(SELF);
    apic_write(APIC_LVT_TIMER, SELF | LVT_MASKED);
    apic_write(APIC_TIMER_INITIAL, 1000);
    for (unsigned polls = 0; apic_read(APIC_TIMER_CURRENT); polls++)
        expect(polls < 100000000, "the timer does not count");
    LET_COME;
    expect_equal("interrupts", vector_total, 0);
}

BEHAVIOUR(software_disable, "SDM vol. 3 10.4.7.2: SVR bit 8 clear masks all LVT entries, and they cannot be unmasked")
{
    need_apic();
    apic_write(APIC_LVT_ERROR, SELF);
    apic_write(APIC_SVR, APIC_SPURIOUS);
    expect(apic_read(APIC_LVT_ERROR) & LVT_MASKED, "LVT error is not masked");
    apic_write(APIC_LVT_ERROR, SELF);
    expect(apic_read(APIC_LVT_ERROR) & LVT_MASKED, "LVT error could be unmasked");
}

BEHAVIOUR(spurious, "SDM vol. 3 10.9: an interrupt that TPR holds off at its acknowledge gives the spurious vector, without ISR, or none")
{
    need_apic();
    count_vector(LOW);
    handle(APIC_SPURIOUS, NULL);
    apic_write(APIC_TPR, 0xf0);
    apic_self(LOW);
    struct trap trap = CATCH(LET_COME);
    expect(trap.vector == NONE || trap.vector == APIC_SPURIOUS, "vector %xh came", trap.vector);
    expect(!apic_bit(APIC_ISR, APIC_SPURIOUS), "the spurious vector is in ISR");
    expect(apic_bit(APIC_IRR, LOW), "IRR lost what waits");
    apic_write(APIC_TPR, 0);
    LET_COME;
    expect_equal("interrupts at last", vector_count[LOW], 1);
}

static void drop(struct frame *frame)
{
    (void)frame;
    apic_write(APIC_EOI, 0);
}

BEHAVIOUR(illegal_vector, "SDM vol. 3 10.5.3: sending vector 0 to 15 sets ESR bit 5, and nothing comes")
{
    need_apic();
    enum { ILLEGAL = 15 };
    handle(ILLEGAL, drop);
    apic_write(APIC_ESR, 0);
    apic_write(APIC_ICR_LOW, ICR_SELF | ILLEGAL);
    LET_COME;
    apic_write(APIC_ESR, 0);
    expect(apic_read(APIC_ESR) & 1 << 5, "ESR is %xh", (unsigned)apic_read(APIC_ESR));
}

BEHAVIOUR(identification, "SDM vol. 3 10.4.6: CPUID.1:EBX[31:24] is the initial APIC ID")
{
    need_apic();
    expect_equal("CPUID's APIC ID", cpuid(1, 0).ebx >> 24, apic_read(APIC_ID) >> 24);
}

BEHAVIOUR(timer_deadline, "SDM vol. 3 10.5.4.1: with IA32_TSC_DEADLINE the timer interrupts when the TSC is there; the MSR is 0 then")
{
    enum { DEADLINE_VECTOR = 0x41 };
    need_apic();
    need(FEATURE_TSC_DEADLINE);
    count_vector(DEADLINE_VECTOR);
    apic_write(APIC_LVT_TIMER, TIMER_DEADLINE | DEADLINE_VECTOR);
    asm volatile("mfence");
    uint64_t deadline = rdtsc() + 2000000;
    wrmsr(MSR_TSC_DEADLINE, deadline);
    uint64_t armed = rdmsr(MSR_TSC_DEADLINE);
    while (!vector_count[DEADLINE_VECTOR]) {
        sti_hlt();
        cli();
    }
    uint64_t now = rdtsc();
    expect(armed == deadline || armed == 0, "the MSR is %llxh, expected %llxh", (unsigned long long)armed,
           (unsigned long long)deadline);
    expect(now >= deadline, "the interrupt came %llu ticks early", (unsigned long long)(deadline - now));
    expect_equal("IA32_TSC_DEADLINE behind", rdmsr(MSR_TSC_DEADLINE), 0);
}

BEHAVIOUR(global_disable, "SDM vol. 3 10.4.3: IA32_APIC_BASE bit 11 clear takes the APIC out of CPUID")
{
    need_apic();
    uint64_t base = rdmsr(MSR_APIC_BASE);
    wrmsr(MSR_APIC_BASE, base & ~(uint64_t)APIC_GLOBAL_ENABLE);
    bool shown = cpuid(1, 0).edx >> 9 & 1;
    wrmsr(MSR_APIC_BASE, base);
    expect(!shown, "CPUID still shows it");
    expect(cpuid(1, 0).edx >> 9 & 1, "CPUID does not show it again");
}
