/* PCI configuration mechanism 1 (PCI Local Bus 2.2, 3.2.2.3.2) and the configuration space of bus 0: the functions of the
 * 440FX (Intel 290549) and, on a board with firmware of its own, of PIIX3 and PIIX4 (290550, 290562). What a function does
 * beyond its configuration registers is another chip. */
#ifndef BRINGUP_PCI_H
#define BRINGUP_PCI_H

#include "fields.h"

#define PCI_ADDRESS_ENABLE 0x80000000u

/* Registers of the header (PCI 2.2, chapter 6). */
enum {
    PCI_VENDOR = 0x00,
    PCI_DEVICE = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_INTERFACE = 0x09,
    PCI_SUBCLASS = 0x0a,
    PCI_CLASS = 0x0b,
    PCI_CACHE_LINE = 0x0c,
    PCI_LATENCY = 0x0d,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR = 0x10, /* six of 4 bytes */
    PCI_ROM = 0x30,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};
enum { PCI_COMMAND_IO = 1 << 0, PCI_COMMAND_MEMORY = 1 << 1, PCI_COMMAND_MASTER = 1 << 2 };

/* Registers of single functions. */
enum {
    PCI_440FX_PAM0 = 0x59, /* to 5Fh: which accesses to C0000h to FFFFFh go to RAM */
    PCI_440FX_PAM6 = 0x5f,
    PCI_440FX_SMRAM = 0x72,
    PCI_PIIX_XBCS = 0x4e,
    PCI_PIIX_PIRQ = 0x60, /* to 63h: where the interrupts A to D go */
    PCI_PIIX_IDETIM = 0x40, /* two bytes a channel */
    PCI_PIIX_PMBASE = 0x40,
    PCI_PIIX_DEVACTB = 0x58,
    PCI_PIIX_PMREGMISC = 0x80,
    PCI_PIIX_SMBBA = 0x90,
    PCI_PIIX_SMBHSTCFG = 0xd2,
};
enum { PCI_PIIX_BUS_MASTER_BAR = 4 };
enum { PCI_PAM_READ = 1 << 0, PCI_PAM_WRITE = 1 << 1 };
enum { PCI_PIRQ_NONE = 1 << 7 };
enum { PCI_PMREGMISC_PMIOSE = 1 << 0 };
#define PCI_DEVACTB_APMC_EN 0x2000000 /* bit 25, to firmware: SMM is set up already */

/* The functions of bus 0, by their place in pci.config. */
enum pci_function { PCI_HOST_BRIDGE, PCI_ISA_BRIDGE, PCI_IDE, PCI_PM, PCI_VGA, PCI_NETWORK, PCI_FUNCTIONS };

#define PCI_STATE(VALUE, PART, owner)                                                                                  \
    VALUE(owner, uint32_t, address, )   /* CONFIG_ADDRESS */                                                           \
    VALUE(owner, uint32_t, present, )   /* a bit for each function */                                                  \
    VALUE(owner, uint32_t, interrupts, ) /* a bit for each function: its pin */                                        \
    VALUE(owner, uint8_t, config, [PCI_FUNCTIONS][256])
STATE_STRUCT(pci, PCI_STATE);

/* `present`: a bit for each function that there is. */
void pci_reset(struct pci *pci, uint32_t present);
uint32_t pci_read_address(const struct pci *pci);
void pci_write_address(struct pci *pci, uint32_t value);
/* Byte 0 to 3 of the register that CONFIG_ADDRESS points to. */
uint8_t pci_read_data(const struct pci *pci, unsigned byte);
void pci_write_data(struct pci *pci, unsigned byte, uint8_t value);

/* PCI_PAM_READ and PCI_PAM_WRITE of an address from C0000h to FFFFFh. */
unsigned pci_pam(const struct pci *pci, uint32_t address);
/* What firmware does to a function with an I/O BAR 0: puts it at a port, switches it on, and routes its interrupt. */
void pci_place(struct pci *pci, enum pci_function function, uint16_t port, unsigned irq);
/* Where a function's I/O or memory BAR is, or 0: not decoded. */
uint32_t pci_bar(const struct pci *pci, enum pci_function function, unsigned bar);
/* The first port of the power management block, or 0. */
uint16_t pci_pm_base(const struct pci *pci);
/* The ISA interrupt that a function's pin is routed to, or PCI_PIRQ_NONE. */
unsigned pci_route(const struct pci *pci, enum pci_function function);
/* The ISA interrupts (a bit each) that the functions' pins are driving now. */
uint16_t pci_irqs(const struct pci *pci);

#endif
