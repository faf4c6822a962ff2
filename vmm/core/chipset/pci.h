/* PCI configuration mechanism 1 (PCI Local Bus 2.2, 3.2.2.3.2) before a bus with one device: the 440FX host bridge
 * (Intel 290549) at 00:00.0. */
#ifndef BRINGUP_PCI_H
#define BRINGUP_PCI_H

#include "fields.h"

#define PCI_ADDRESS_ENABLE 0x80000000u

/* Configuration registers of the host bridge. */
enum {
    PCI_VENDOR = 0x00,
    PCI_DEVICE = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION = 0x08,
    PCI_CLASS = 0x0b,
    PCI_LATENCY = 0x0d,
    PCI_440FX_PAM0 = 0x59, /* to 5Fh: shadow RAM of C0000h to FFFFFh; kept, all of it is RAM anyway */
    PCI_440FX_PAM6 = 0x5f,
    PCI_440FX_SMRAM = 0x72,
};

#define PCI_STATE(VALUE, PART, owner)                                                                                  \
    VALUE(owner, uint32_t, address, )          /* CONFIG_ADDRESS */                                                    \
    VALUE(owner, uint8_t, host_bridge, [256])
STATE_STRUCT(pci, PCI_STATE);

void pci_reset(struct pci *pci);
uint32_t pci_read_address(const struct pci *pci);
void pci_write_address(struct pci *pci, uint32_t value);
/* Byte 0 to 3 of the register that CONFIG_ADDRESS points to. */
uint8_t pci_read_data(const struct pci *pci, unsigned byte);
void pci_write_data(struct pci *pci, unsigned byte, uint8_t value);

#endif
