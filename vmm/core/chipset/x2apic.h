/* x2APIC mode: the local APIC's registers as MSRs 800h to 8FFh (SDM vol. 3, 11.12). */
#ifndef BRINGUP_X2APIC_H
#define BRINGUP_X2APIC_H

#include "lapic.h"

#define X2APIC_MSR_FIRST 0x800
#define X2APIC_MSR_LAST 0x8ff

/* The MSRs of registers that xAPIC mode has otherwise or not at all. */
enum {
    X2APIC_ID = 0x802,
    X2APIC_LDR = 0x80d,
    X2APIC_ICR = 0x830,
    X2APIC_SELF_IPI = 0x83f,
};

/* False: #GP, as for all of them outside x2APIC mode. */
bool x2apic_read(struct lapic *lapic, uint32_t index, uint64_t *value, uint64_t now);
/* `*sent`: `message` has to be sent. */
bool x2apic_write(struct lapic *lapic, uint32_t index, uint64_t value, uint64_t now, struct apic_message *message,
                  bool *sent);

#endif
