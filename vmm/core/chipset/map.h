/* Where the board's chips answer: ports, memory, interrupt lines. The ACPI tables state the same numbers, so cffi reads
 * this file too: `#define NAME number` and comments only. */
#ifndef BRINGUP_MAP_H
#define BRINGUP_MAP_H

/* ---- memory ---- */

#define MAP_RAM_LOW_END 0xC0000000 /* RAM beyond this continues at 4 GiB */
#define MAP_IOAPIC 0xFEC00000
#define MAP_IOAPIC_SIZE 0x1000
#define MAP_HPET 0xFED00000
#define MAP_HPET_SIZE 0x400
#define MAP_LAPIC 0xFEE00000 /* IA32_APIC_BASE at reset */
#define MAP_LAPIC_SIZE 0x1000
#define MAP_TESTDEV 0xFF000000

/* ---- ports ---- */

#define PORT_DMA_1 0x00
#define PORT_DMA_1_SIZE 0x10
#define PORT_PIC_MASTER 0x20
#define PORT_PIT 0x40
#define PORT_I8042_DATA 0x60
#define PORT_SYSTEM_CONTROL_B 0x61
#define PORT_I8042_COMMAND 0x64
#define PORT_RTC 0x70
#define PORT_POST 0x80
#define PORT_DMA_PAGE 0x81 /* the first one, 80h, is the POST code's */
#define PORT_DMA_PAGE_SIZE 0x0F
#define PORT_SYSTEM_CONTROL_A 0x92
#define PORT_PIC_SLAVE 0xA0
#define PORT_DMA_2 0xC0 /* a register each second port */
#define PORT_DMA_2_SIZE 0x20
#define PORT_TESTDEV_LATCH 0xE0
#define PORT_DEBUG 0xE9
#define PORT_COPROCESSOR 0xF0
#define PORT_DEBUG_EXIT 0xF4
#define PORT_LPT1 0x378
#define PORT_LPT1_SIZE 3
#define PORT_FDC 0x3F0
#define PORT_FDC_SIZE 6 /* the seventh is the IDE channel's */
#define PORT_FDC_DIR 0x3F7
#define PORT_IDE_1 0x1F0
#define PORT_IDE_1_CONTROL 0x3F6
#define PORT_IDE_2 0x170
#define PORT_IDE_2_CONTROL 0x376
#define PORT_VGA 0x3B0
#define PORT_VGA_SIZE 0xC
#define PORT_VGA_COLOUR 0x3C0
#define PORT_VGA_COLOUR_SIZE 0x20
#define PORT_COM1 0x3F8
#define PORT_COM2 0x2F8
#define PORT_COM3 0x3E8
#define PORT_COM4 0x2E8
#define PORT_COM_SIZE 8
#define PORT_FIRMWARE_DEBUG 0x402 /* SeaBIOS's log; a debug port too */
#define PORT_ELCR 0x4D0
#define PORT_PVPANIC 0x505
#define PORT_ISA_END 0x400
#define PORT_FW_CFG 0x510
#define PORT_PM1A_EVT 0x600
#define PORT_PM_SIZE 0x40
#define PORT_PM1A_EVT_SIZE 4
#define PORT_PM1A_CNT 0x604
#define PORT_PM1A_CNT_SIZE 2
#define PORT_PM_TMR 0x608
#define PORT_PM_TMR_SIZE 4
#define PORT_PCI_ADDRESS 0xCF8
#define PORT_RESET 0xCF9
#define PORT_PCI_DATA 0xCFC
#define PORT_TESTDEV_IRQ 0x2000

/* ---- values that belong to an address ---- */

#define RESET_VALUE 0x06     /* to PORT_RESET: a hard reset */
#define ACPI_SLP_TYP_S5 5    /* PM1a_CNT.SLP_TYP of \_S5 */
#define CMOS_CENTURY 0x32    /* the RTC's century byte */

/* ---- interrupts: ISA IRQ n is IOAPIC pin n, but IRQ 0 is pin 2 and the 8259 pair's INTR is pin 0 ---- */

#define IRQ_PIT 0
#define IRQ_KEYBOARD 1
#define IRQ_COM2 3
#define IRQ_COM1 4
#define IRQ_FDC 6
#define IRQ_RTC 8
#define IRQ_SCI 9
#define IRQ_MOUSE 12
#define IRQ_COPROCESSOR 13
#define IRQ_IDE_1 14
#define IRQ_IDE_2 15
#define IOAPIC_PIN_EXTINT 0
#define IOAPIC_PIN_PIT 2
#define IOAPIC_ID 0

/* ---- DMA channels ---- */

#define DMA_CHANNEL_FDC 2

#endif
