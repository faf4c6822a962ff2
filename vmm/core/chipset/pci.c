#include "pci.h"

#include <string.h>

STATE_TABLE(pci, PCI_STATE);

#define ADDRESS_WRITABLE 0x80fffffcu
#define BUS_DEVICE_FUNCTION 0x00ffff00u

void pci_reset(struct pci *pci)
{
    memset(pci, 0, sizeof *pci);
    static const struct {
        uint8_t reg, value;
    } initial[] = {
        {PCI_VENDOR, 0x86}, {PCI_VENDOR + 1, 0x80}, {PCI_DEVICE, 0x37}, {PCI_DEVICE + 1, 0x12},
        {PCI_COMMAND, 0x06}, {PCI_STATUS, 0x80}, {PCI_STATUS + 1, 0x02}, {PCI_REVISION, 0x02},
        {PCI_CLASS, 0x06}, {PCI_440FX_SMRAM, 0x02},
    };
    for (size_t i = 0; i < sizeof initial / sizeof *initial; i++)
        pci->host_bridge[initial[i].reg] = initial[i].value;
}

/* The configuration register, or -1 when no device answers. */
static int selected(const struct pci *pci, unsigned byte)
{
    if (!(pci->address & PCI_ADDRESS_ENABLE) || pci->address & BUS_DEVICE_FUNCTION)
        return -1;
    return (int)((pci->address & 0xfc) | (byte & 3));
}

uint32_t pci_read_address(const struct pci *pci)
{
    return pci->address;
}

void pci_write_address(struct pci *pci, uint32_t value)
{
    pci->address = value & ADDRESS_WRITABLE;
}

uint8_t pci_read_data(const struct pci *pci, unsigned byte)
{
    int reg = selected(pci, byte);

    return reg < 0 ? 0xff : pci->host_bridge[reg];
}

void pci_write_data(struct pci *pci, unsigned byte, uint8_t value)
{
    int reg = selected(pci, byte);

    if (reg == PCI_COMMAND + 1) /* SERRE; the low byte is hard-wired: memory space and bus master on */
        pci->host_bridge[reg] = value & 0x01;
    else if (reg == PCI_LATENCY)
        pci->host_bridge[reg] = value & 0xf8;
    else if (reg == PCI_440FX_SMRAM || (reg >= PCI_440FX_PAM0 && reg <= PCI_440FX_PAM6))
        pci->host_bridge[reg] = value;
}
