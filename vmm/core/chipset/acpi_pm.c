#include "acpi_pm.h"

#include <string.h>

#include "map.h"
#include "ticks.h"

STATE_TABLE(acpi_pm, ACPI_PM_STATE);

#define ENABLES (ACPI_PM1_TMR | ACPI_PM1_GBL | ACPI_PM1_PWRBTN | ACPI_PM1_SLPBTN | ACPI_PM1_RTC)
#define STATUSES (ENABLES | ACPI_PM1_BM | ACPI_PM1_WAK)
/* TMR_STS is set whenever the timer's top bit changes. */
#define CARRY_BIT (ACPI_PM_TIMER_BITS - 1)

static void update_sci(struct acpi_pm *pm)
{
    pm->sci = pm->control & ACPI_PM1_CNT_SCI_EN && pm->status & pm->enable;
}

static uint64_t next_carry(const struct acpi_pm *pm)
{
    uint64_t tick = ticks_at(pm->since, ACPI_PM_TIMER_HZ);

    return time_of_tick(((tick >> CARRY_BIT) + 1) << CARRY_BIT, ACPI_PM_TIMER_HZ);
}

static void sync_timer(struct acpi_pm *pm, uint64_t now)
{
    if (next_carry(pm) <= now)
        pm->status |= ACPI_PM1_TMR;
    pm->since = now;
}

void acpi_pm_reset(struct acpi_pm *pm)
{
    memset(pm, 0, sizeof *pm);
    pm->control = ACPI_PM1_CNT_SCI_EN;
}

uint8_t acpi_pm_read_event(struct acpi_pm *pm, unsigned byte, uint64_t now)
{
    if (byte < 2)
        sync_timer(pm, now);
    return (uint8_t)((byte < 2 ? pm->status : pm->enable) >> 8 * (byte & 1));
}

void acpi_pm_write_event(struct acpi_pm *pm, unsigned byte, uint8_t value, uint64_t now)
{
    unsigned shift = 8 * (byte & 1);

    sync_timer(pm, now);
    if (byte < 2) /* ones clear */
        pm->status &= (uint16_t)~(value << shift & STATUSES);
    else
        pm->enable = (uint16_t)((pm->enable & 0xff00 >> shift) | (value << shift & ENABLES));
    update_sci(pm);
}

uint8_t acpi_pm_read_control(const struct acpi_pm *pm, unsigned byte)
{
    return (uint8_t)(pm->control >> 8 * (byte & 1));
}

bool acpi_pm_write_control(struct acpi_pm *pm, unsigned byte, uint8_t value)
{
    unsigned shift = 8 * (byte & 1), written = (unsigned)value << shift;

    /* SLP_EN and GBL_RLS are write only, SCI_EN is firmware's */
    pm->control = (uint16_t)((pm->control & (0xff00 >> shift | ACPI_PM1_CNT_SCI_EN)) |
                             (written & (ACPI_PM1_CNT_BM_RLD | ACPI_PM1_CNT_SLP_TYP)));
    return written & ACPI_PM1_CNT_SLP_EN && (pm->control & ACPI_PM1_CNT_SLP_TYP) >> 10 == ACPI_SLP_TYP_S5;
}

uint32_t acpi_pm_timer(uint64_t now)
{
    return (uint32_t)(ticks_at(now, ACPI_PM_TIMER_HZ) & ((1u << ACPI_PM_TIMER_BITS) - 1));
}

void acpi_pm_press_power_button(struct acpi_pm *pm)
{
    pm->status |= ACPI_PM1_PWRBTN;
    update_sci(pm);
}

void acpi_pm_advance(struct acpi_pm *pm, uint64_t now)
{
    if (pm->enable & ACPI_PM1_TMR && next_carry(pm) <= now)
        pm->status |= ACPI_PM1_TMR;
    update_sci(pm);
}

uint64_t acpi_pm_deadline(const struct acpi_pm *pm)
{
    return pm->enable & ACPI_PM1_TMR && !(pm->status & ACPI_PM1_TMR) ? next_carry(pm) : MACHINE_NEVER;
}
