/* ACPI fixed hardware (ACPI specification 6.5, 4.8.3): PM1a event and control blocks and the PM timer, always in ACPI
 * mode (there is no SMI command port). */
#ifndef BRINGUP_ACPI_PM_H
#define BRINGUP_ACPI_PM_H

#include "fields.h"

#define ACPI_PM_TIMER_HZ 3579545
#define ACPI_PM_TIMER_BITS 24

/* PM1 status and enable registers */
enum {
    ACPI_PM1_TMR = 1 << 0,
    ACPI_PM1_BM = 1 << 4,
    ACPI_PM1_GBL = 1 << 5,
    ACPI_PM1_PWRBTN = 1 << 8,
    ACPI_PM1_SLPBTN = 1 << 9,
    ACPI_PM1_RTC = 1 << 10,
    ACPI_PM1_WAK = 1 << 15,
};
enum {
    ACPI_PM1_CNT_SCI_EN = 1 << 0,
    ACPI_PM1_CNT_BM_RLD = 1 << 1,
    ACPI_PM1_CNT_GBL_RLS = 1 << 2,
    ACPI_PM1_CNT_SLP_TYP = 7 << 10,
    ACPI_PM1_CNT_SLP_EN = 1 << 13,
};

#define ACPI_PM_STATE(VALUE, PART, owner)                                                                              \
    VALUE(owner, uint16_t, status, )                                                                                   \
    VALUE(owner, uint16_t, enable, )                                                                                   \
    VALUE(owner, uint16_t, control, )                                                                                  \
    VALUE(owner, uint64_t, since, )    /* carries of the timer after this time are not in TMR_STS yet */               \
    VALUE(owner, bool, sci, )
STATE_STRUCT(acpi_pm, ACPI_PM_STATE);

void acpi_pm_reset(struct acpi_pm *pm);
/* Bytes of the blocks, counted from the block's first port. */
uint8_t acpi_pm_read_event(struct acpi_pm *pm, unsigned byte, uint64_t now);
void acpi_pm_write_event(struct acpi_pm *pm, unsigned byte, uint8_t value, uint64_t now);
uint8_t acpi_pm_read_control(const struct acpi_pm *pm, unsigned byte);
/* True: the write entered S5, soft off. */
bool acpi_pm_write_control(struct acpi_pm *pm, unsigned byte, uint8_t value);
uint32_t acpi_pm_timer(uint64_t now);
void acpi_pm_press_power_button(struct acpi_pm *pm);

void acpi_pm_advance(struct acpi_pm *pm, uint64_t now);
uint64_t acpi_pm_deadline(const struct acpi_pm *pm);

#endif
