#ifndef ACPI_H
#define ACPI_H

/* Powers off by PM1a_CNT and the DSDT's \_S5; returns when the tables lead nowhere. */
void acpi_power_off(void);
/* The I/O port of the PM timer, or 0. */
unsigned acpi_pm_timer(void);

#endif
