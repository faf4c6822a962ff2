/* The local APIC of one processor (SDM vol. 3, chapter 11 "Advanced Programmable Interrupt Controller"),
 * its registers as xAPIC mode has them; x2apic.h has the other way in. Its timer counts guest nanoseconds: a 1 GHz core crystal, as CPUID leaf 15h of the CPU models says. */
#ifndef BRINGUP_LAPIC_H
#define BRINGUP_LAPIC_H

#include "apic.h"
#include "fields.h"

/* Register offsets (SDM vol. 3, table 11-1). */
enum {
    LAPIC_ID = 0x020,
    LAPIC_VERSION = 0x030,
    LAPIC_TPR = 0x080,
    LAPIC_APR = 0x090,
    LAPIC_PPR = 0x0a0,
    LAPIC_EOI = 0x0b0,
    LAPIC_RRD = 0x0c0,
    LAPIC_LDR = 0x0d0,
    LAPIC_DFR = 0x0e0,
    LAPIC_SVR = 0x0f0,
    LAPIC_ISR = 0x100,
    LAPIC_TMR = 0x180,
    LAPIC_IRR = 0x200,
    LAPIC_ESR = 0x280,
    LAPIC_ICR_LOW = 0x300,
    LAPIC_ICR_HIGH = 0x310,
    LAPIC_LVT = 0x320, /* timer; then thermal, performance, LINT0, LINT1, error */
    LAPIC_INITIAL_COUNT = 0x380,
    LAPIC_CURRENT_COUNT = 0x390,
    LAPIC_DIVIDE = 0x3e0,
};
enum lapic_lvt {
    LAPIC_LVT_TIMER,
    LAPIC_LVT_THERMAL,
    LAPIC_LVT_PERFORMANCE,
    LAPIC_LVT_LINT0,
    LAPIC_LVT_LINT1,
    LAPIC_LVT_ERROR,
    LAPIC_LVTS
};
/* Integrated APIC, 6 LVT entries, EOI broadcast cannot be suppressed. */
#define LAPIC_VERSION_VALUE (0x14 | (LAPIC_LVTS - 1) << 16)

/* LVT entries; the ICR has vector, delivery, level trigger (15) at the same places. */
enum {
    LAPIC_VECTOR = 0xff,
    LAPIC_DELIVERY = 7 << 8,
    LAPIC_LVT_POLARITY = 1 << 13, /* kept, without effect: lines are asserted or not */
    LAPIC_LVT_REMOTE_IRR = 1 << 14,
    LAPIC_LVT_LEVEL = 1 << 15,
    LAPIC_LVT_MASK = 1 << 16,
    LAPIC_LVT_TIMER_MODE = 3 << 17,
};
enum { LAPIC_TIMER_ONE_SHOT = 0, LAPIC_TIMER_PERIODIC = 1, LAPIC_TIMER_TSC_DEADLINE = 2 };
enum {
    LAPIC_ICR_LOGICAL = 1 << 11,
    LAPIC_ICR_ASSERT = 1 << 14,
    LAPIC_ICR_LEVEL = 1 << 15,
    LAPIC_ICR_SHORTHAND = 3 << 18,
};
enum { LAPIC_SVR_ENABLE = 1 << 8, LAPIC_SVR_FOCUS = 1 << 9 };
enum {
    LAPIC_ESR_SEND_ILLEGAL_VECTOR = 1 << 5,
    LAPIC_ESR_RECEIVE_ILLEGAL_VECTOR = 1 << 6,
    LAPIC_ESR_ILLEGAL_REGISTER = 1 << 7,
};

/* IA32_APIC_BASE; the rest is the page's address. */
#define LAPIC_MSR_BASE 0x1b
#define LAPIC_MSR_TSC_DEADLINE 0x6e0
enum { LAPIC_BASE_BSP = 1 << 8, LAPIC_BASE_X2APIC = 1 << 10, LAPIC_BASE_ENABLE = 1 << 11 };

enum { LAPIC_LINT0 = 0, LAPIC_LINT1 = 1 };

#define LAPIC_STATE(VALUE, PART, owner)                                                                                \
    VALUE(owner, uint64_t, base, )          /* IA32_APIC_BASE */                                                       \
    VALUE(owner, uint8_t, id, )             /* in xAPIC mode */                                                        \
    VALUE(owner, uint32_t, initial_id, )    /* and in x2APIC mode for good */                                          \
    VALUE(owner, uint8_t, tpr, )                                                                                       \
    VALUE(owner, uint8_t, ldr, )            /* bits 31:24 */                                                           \
    VALUE(owner, uint8_t, dfr, )            /* bits 31:28; the others are ones */                                      \
    VALUE(owner, uint32_t, svr, )                                                                                      \
    VALUE(owner, uint32_t, esr, )                                                                                      \
    VALUE(owner, uint32_t, errors, )        /* since the last write to ESR */                                          \
    VALUE(owner, uint32_t, icr_low, )                                                                                  \
    VALUE(owner, uint32_t, icr_high, )                                                                                 \
    VALUE(owner, uint32_t, lvt, [LAPIC_LVTS])                                                                          \
    VALUE(owner, uint32_t, isr, [8])                                                                                   \
    VALUE(owner, uint32_t, tmr, [8])                                                                                   \
    VALUE(owner, uint32_t, irr, [8])                                                                                   \
    VALUE(owner, uint32_t, initial_count, )                                                                            \
    VALUE(owner, uint32_t, divide, )                                                                                   \
    VALUE(owner, uint64_t, expiry, )        /* when the timer fires, or MACHINE_NEVER */                               \
    VALUE(owner, uint64_t, tsc_deadline, )  /* IA32_TSC_DEADLINE */                                                    \
    VALUE(owner, bool, lint, [2])           /* levels at the pins */                                                   \
    VALUE(owner, bool, extint, )            /* an ExtINT message waits for its INTA cycle */                           \
    VALUE(owner, bool, nmi, )                                                                                          \
    VALUE(owner, bool, init, )              /* arrived, not yet taken */                                               \
    VALUE(owner, bool, wait_for_sipi, )                                                                                \
    VALUE(owner, bool, startup, )           /* a SIPI arrived, not yet taken */                                        \
    VALUE(owner, uint8_t, startup_vector, )
STATE_STRUCT(lapic, LAPIC_STATE);

/* Power-on: the processor with id 0 boots, the others wait for a SIPI. */
void lapic_reset(struct lapic *lapic, uint8_t id);

bool lapic_in_x2apic_mode(const struct lapic *lapic);
/* LDR in x2APIC mode, which follows from the id (11.12.10.2): cluster 31:16, a bit for the member 15:0. */
uint32_t lapic_x2apic_ldr(const struct lapic *lapic);

/* The 32-bit register at `offset` (a multiple of 16). */
uint32_t lapic_read(struct lapic *lapic, unsigned offset, uint64_t now);
/* True: `message` has to be sent (an IPI, an EOI). */
bool lapic_write(struct lapic *lapic, unsigned offset, uint32_t value, uint64_t now, struct apic_message *message);
/* False: #GP. `tsc` is the guest's TSC at `now`, one tick a nanosecond: it turns IA32_TSC_DEADLINE into a time, which a
 * later change of the TSC does not move. `address_bits` is MAXPHYADDR; without `x2apic` there is no such mode. */
bool lapic_read_msr(const struct lapic *lapic, uint32_t index, uint64_t *value);
bool lapic_write_msr(struct lapic *lapic, uint32_t index, uint64_t value, uint64_t now, uint64_t tsc,
                     unsigned address_bits, bool x2apic);

/* ICR as a whole; true: the IPI in `message` has to be sent. */
bool lapic_write_icr(struct lapic *lapic, uint32_t low, uint32_t high, struct apic_message *message);

/* Is this processor meant (shorthands aside)? */
bool lapic_addressed(const struct lapic *lapic, const struct apic_message *message);
void lapic_receive(struct lapic *lapic, const struct apic_message *message);
void lapic_set_lint(struct lapic *lapic, unsigned pin, bool level);

uint8_t lapic_ppr(const struct lapic *lapic);
/* A vector of its own above the processor's priority? */
bool lapic_pending(const struct lapic *lapic);
/* Does the processor's INTR stand for the 8259 pair? */
bool lapic_extint_pending(const struct lapic *lapic);
/* The INTA cycle goes to the pair (true), or else to the LAPIC's own lapic_acknowledge. */
bool lapic_take_extint(struct lapic *lapic);
uint8_t lapic_acknowledge(struct lapic *lapic);
bool lapic_take_nmi(struct lapic *lapic);
/* INIT comes before the SIPI that may follow it. */
bool lapic_take_init(struct lapic *lapic);
bool lapic_take_startup(struct lapic *lapic, uint8_t *vector);

void lapic_advance(struct lapic *lapic, uint64_t now);
uint64_t lapic_deadline(const struct lapic *lapic);

#endif
