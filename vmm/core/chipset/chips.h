/* Every chip of the board in one structure: all of the board that the guest can see. A copy of it is a snapshot;
 * inspection, comparison and hashing walk it by `chips_fields`. */
#ifndef BRINGUP_CHIPS_H
#define BRINGUP_CHIPS_H

#include "../machine.h"
#include "acpi_pm.h"
#include "bus_master.h"
#include "debug_port.h"
#include "dma.h"
#include "fdc.h"
#include "ferr.h"
#include "fields.h"
#include "fw_cfg.h"
#include "hpet.h"
#include "i8042.h"
#include "ide.h"
#include "ioapic.h"
#include "lapic.h"
#include "ne2000.h"
#include "parallel.h"
#include "pci.h"
#include "pic.h"
#include "pit.h"
#include "rtc.h"
#include "system_control.h"
#include "testdev.h"
#include "uart.h"
#include "vga.h"

#define BOARD_IDE_CHANNELS 2

#define CHIPS_STATE(VALUE, PART, owner)                                                                                \
    PART(owner, pic, pic, )                                                                                            \
    PART(owner, pit, pit, )                                                                                            \
    PART(owner, lapic, lapic, [MACHINE_MAX_CPUS])                                                                      \
    PART(owner, ioapic, ioapic, )                                                                                      \
    PART(owner, uart, uart, [MACHINE_UARTS])                                                                           \
    PART(owner, rtc, rtc, )                                                                                            \
    PART(owner, acpi_pm, acpi_pm, )                                                                                    \
    PART(owner, i8042, i8042, )                                                                                        \
    PART(owner, dma, dma, )                                                                                            \
    PART(owner, fdc, fdc, )                                                                                            \
    PART(owner, hpet, hpet, )                                                                                          \
    PART(owner, parallel, parallel, )                                                                                  \
    PART(owner, ide, ide, [BOARD_IDE_CHANNELS])                                                                        \
    PART(owner, bus_master, bus_master, [BOARD_IDE_CHANNELS])                                                          \
    PART(owner, vga, vga, )                                                                                            \
    PART(owner, ne2000, ne2000, )                                                                                      \
    PART(owner, pci, pci, )                                                                                            \
    PART(owner, system_control, system_control, )                                                                      \
    PART(owner, debug_port, debug_port, )                                                                              \
    PART(owner, ferr, ferr, )                                                                                          \
    PART(owner, fw_cfg, fw_cfg, )                                                                                      \
    PART(owner, testdev, testdev, )                                                                                    \
    VALUE(owner, uint16_t, irqs, )     /* levels of ISA IRQ 15:0 by the chips that drive them */                            \
    VALUE(owner, uint16_t, pci_irqs, ) /* by PCI functions, as the ISA bridge routes them */
STATE_STRUCT(chips, CHIPS_STATE);

struct board;
const struct chips *board_chips(const struct board *board);

#endif
