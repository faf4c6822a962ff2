#include "system_control.h"

#include <string.h>

#include "pit.h"
#include "ticks.h"

STATE_TABLE(system_control, SYSTEM_CONTROL_STATE);

/* One refresh is 18 PIT ticks, about 15 us. */
#define REFRESH_TICKS 18

void system_control_reset(struct system_control *control)
{
    memset(control, 0, sizeof *control);
    control->port_a = PORT_A_A20;
}

uint8_t system_control_read_a(const struct system_control *control)
{
    return control->port_a;
}

bool system_control_write_a(struct system_control *control, uint8_t value)
{
    bool reset = value & ~control->port_a & PORT_A_FAST_RESET;

    control->port_a = value & (PORT_A_FAST_RESET | PORT_A_A20);
    return reset;
}

bool system_control_write_reset(struct system_control *control, uint8_t value)
{
    bool reset = value & ~control->reset_control & RESET_CONTROL_RCPU;

    control->reset_control = value & (RESET_CONTROL_SRST | RESET_CONTROL_RCPU);
    return reset;
}

uint8_t system_control_read_b(const struct system_control *control, bool out2, uint64_t now)
{
    bool refresh = ticks_at(now, PIT_HZ) / REFRESH_TICKS & 1;

    return control->port_b | (refresh ? PORT_B_REFRESH : 0) | (out2 ? PORT_B_OUT2 : 0);
}

bool system_control_write_b(struct system_control *control, uint8_t value)
{
    control->port_b = value & PORT_B_WRITABLE;
    return value & PORT_B_GATE2;
}
