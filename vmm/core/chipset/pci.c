#include "pci.h"

#include <string.h>

STATE_TABLE(pci, PCI_STATE);

/* What software can write of a function's registers. */
struct writable {
    uint8_t reg, bytes;
    uint32_t mask;
};

struct description {
    uint8_t slot, function;
    uint16_t vendor, device;
    uint8_t class, subclass, interface, revision, header_type;
    uint8_t pin; /* 1: INTA# */
    uint16_t command, status;
    struct writable writable[12];
};

static const struct description functions[PCI_FUNCTIONS] = {
    [PCI_HOST_BRIDGE] =
        {
            .slot = 0, .function = 0, .vendor = 0x8086, .device = 0x1237, .class = 0x06, .revision = 0x02,
            .command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, .status = 0x0280,
            .writable = {{PCI_COMMAND + 1, 1, 0x01}, /* SERRE; the low byte is hard-wired */
                         {PCI_LATENCY, 1, 0xf8},
                         {PCI_440FX_PAM0, 4, 0xffffffff},
                         {PCI_440FX_PAM0 + 4, 3, 0xffffff},
                         {PCI_440FX_SMRAM, 1, 0xff}},
        },
    [PCI_ISA_BRIDGE] =
        {
            .slot = 1, .function = 0, .vendor = 0x8086, .device = 0x7000, .class = 0x06, .subclass = 0x01,
            .header_type = 0x80, .command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, .status = 0x0200,
            .writable = {{PCI_PIIX_XBCS, 2, 0xffff}, {PCI_PIIX_PIRQ, 4, 0x8f8f8f8f}},
        },
    [PCI_IDE] =
        {
            .slot = 1, .function = 1, .vendor = 0x8086, .device = 0x7010, .class = 0x01, .subclass = 0x01,
            .interface = 0x80, .status = 0x0280,
            .writable = {{PCI_COMMAND, 1, PCI_COMMAND_IO | PCI_COMMAND_MASTER},
                         {PCI_LATENCY, 1, 0xf0},
                         {PCI_BAR + 4 * PCI_PIIX_BUS_MASTER_BAR, 4, 0xfffffff0}, /* 290550 has 16 bits, which SeaBIOS cannot size */
                         {PCI_PIIX_IDETIM, 4, 0xffffffff}},
        },
    [PCI_PM] =
        {
            .slot = 1, .function = 3, .vendor = 0x8086, .device = 0x7113, .class = 0x06, .subclass = 0x80, .revision = 3,
            .pin = 1, .status = 0x0280,
            .writable = {{PCI_COMMAND, 1, PCI_COMMAND_IO},
                         {PCI_INTERRUPT_LINE, 1, 0xff},
                         {PCI_PIIX_PMBASE, 4, 0xffc0},
                         {PCI_PIIX_DEVACTB, 4, 0xffffffff},
                         {PCI_PIIX_PMREGMISC, 1, PCI_PMREGMISC_PMIOSE},
                         {PCI_PIIX_SMBBA, 4, 0xfff0},
                         {PCI_PIIX_SMBHSTCFG, 1, 0x0f}},
        },
    [PCI_VGA] =
        {
            .slot = 2, .function = 0, .vendor = 0x1234, .device = 0x1111, .class = 0x03, .status = 0x0200,
            .writable = {{PCI_COMMAND, 1, PCI_COMMAND_IO | PCI_COMMAND_MEMORY}, {PCI_INTERRUPT_LINE, 1, 0xff}},
        },
    [PCI_NETWORK] =
        {
            .slot = 3, .vendor = 0x10ec, .device = 0x8029, .class = 0x02, .pin = 1, .status = 0x0200,
            .writable = {{PCI_COMMAND, 1, PCI_COMMAND_IO},
                         {PCI_BAR, 4, 0xffffffe0},
                         {PCI_INTERRUPT_LINE, 1, 0xff}},
        },
};

static void set(uint8_t *config, unsigned reg, uint32_t value, unsigned bytes)
{
    memcpy(config + reg, &value, bytes);
}

static uint32_t get(const uint8_t *config, unsigned reg, unsigned bytes)
{
    uint32_t value = 0;
    memcpy(&value, config + reg, bytes);
    return value;
}

void pci_reset(struct pci *pci, uint32_t present)
{
    memset(pci, 0, sizeof *pci);
    pci->present = present;
    for (unsigned i = 0; i < PCI_FUNCTIONS; i++) {
        const struct description *f = &functions[i];
        uint8_t *config = pci->config[i];
        if (!(present >> i & 1))
            continue;
        set(config, PCI_VENDOR, f->vendor, 2);
        set(config, PCI_DEVICE, f->device, 2);
        set(config, PCI_COMMAND, f->command, 2);
        set(config, PCI_STATUS, f->status, 2);
        config[PCI_REVISION] = f->revision;
        config[PCI_INTERFACE] = f->interface;
        config[PCI_SUBCLASS] = f->subclass;
        config[PCI_CLASS] = f->class;
        config[PCI_HEADER_TYPE] = f->header_type;
        config[PCI_INTERRUPT_PIN] = f->pin;
    }
    pci->config[PCI_HOST_BRIDGE][PCI_440FX_SMRAM] = 0x02;
    set(pci->config[PCI_ISA_BRIDGE], PCI_PIIX_PIRQ, 0x80808080, 4);
    pci->config[PCI_IDE][PCI_BAR + 4 * PCI_PIIX_BUS_MASTER_BAR] = 1; /* I/O space */
    pci->config[PCI_NETWORK][PCI_BAR] = 1;
    set(pci->config[PCI_PM], PCI_PIIX_PMBASE, 1, 4);
    set(pci->config[PCI_PM], PCI_PIIX_SMBBA, 1, 4);
    set(pci->config[PCI_PM], PCI_PIIX_DEVACTB, PCI_DEVACTB_APMC_EN, 4);
}

/* The function that CONFIG_ADDRESS points to, or PCI_FUNCTIONS. */
static unsigned selected(const struct pci *pci)
{
    unsigned bus = pci->address >> 16 & 0xff, slot = pci->address >> 11 & 0x1f, function = pci->address >> 8 & 7;

    for (unsigned i = 0; pci->address & PCI_ADDRESS_ENABLE && bus == 0 && i < PCI_FUNCTIONS; i++)
        if (pci->present >> i & 1 && functions[i].slot == slot && functions[i].function == function)
            return i;
    return PCI_FUNCTIONS;
}

static uint8_t mask_of(unsigned function, unsigned reg)
{
    for (const struct writable *w = functions[function].writable; w->bytes; w++)
        if (reg - w->reg < w->bytes)
            return (uint8_t)(w->mask >> 8 * (reg - w->reg));
    return 0;
}

uint32_t pci_read_address(const struct pci *pci)
{
    return pci->address;
}

void pci_write_address(struct pci *pci, uint32_t value)
{
    pci->address = value & (PCI_ADDRESS_ENABLE | 0x00fffffc);
}

uint8_t pci_read_data(const struct pci *pci, unsigned byte)
{
    unsigned function = selected(pci);

    return function == PCI_FUNCTIONS ? 0xff : pci->config[function][(pci->address & 0xfc) + byte];
}

void pci_write_data(struct pci *pci, unsigned byte, uint8_t value)
{
    unsigned function = selected(pci), reg = (pci->address & 0xfc) + byte;

    if (function == PCI_FUNCTIONS)
        return;
    uint8_t mask = mask_of(function, reg), *to = &pci->config[function][reg];
    *to = (uint8_t)((*to & ~mask) | (value & mask));
}

unsigned pci_pam(const struct pci *pci, uint32_t address)
{
    const uint8_t *config = pci->config[PCI_HOST_BRIDGE];

    if (address >= 0xf0000)
        return config[PCI_440FX_PAM0] >> 4 & 3;
    unsigned segment = (address - 0xc0000) >> 14 & 15; /* of 16 KiB */
    return config[PCI_440FX_PAM0 + 1 + segment / 2] >> 4 * (segment & 1) & 3;
}

uint32_t pci_bar(const struct pci *pci, enum pci_function function, unsigned bar)
{
    uint32_t value = get(pci->config[function], PCI_BAR + 4 * bar, 4);
    bool io = value & 1;

    if (!(pci->present >> function & 1) ||
        !(pci->config[function][PCI_COMMAND] & (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
        return 0;
    return value & (io ? ~3u : ~15u);
}

uint16_t pci_pm_base(const struct pci *pci)
{
    const uint8_t *config = pci->config[PCI_PM];

    return config[PCI_PIIX_PMREGMISC] & PCI_PMREGMISC_PMIOSE ? get(config, PCI_PIIX_PMBASE, 2) & 0xffc0 : 0;
}

/* The PIRQ that a function's interrupt is: slots are wired in turn. */
static unsigned pirq_of(unsigned function)
{
    return (functions[function].slot + functions[function].pin - 2u) & 3;
}

void pci_place(struct pci *pci, enum pci_function function, uint16_t port, unsigned irq)
{
    uint8_t *config = pci->config[function];

    set(config, PCI_BAR, port | 1u, 4);
    config[PCI_COMMAND] |= PCI_COMMAND_IO;
    config[PCI_INTERRUPT_LINE] = (uint8_t)irq;
    pci->config[PCI_ISA_BRIDGE][PCI_PIIX_PIRQ + pirq_of(function)] = (uint8_t)irq;
}

unsigned pci_route(const struct pci *pci, enum pci_function function)
{
    uint8_t route = pci->config[PCI_ISA_BRIDGE][PCI_PIIX_PIRQ + pirq_of(function)];

    return route & PCI_PIRQ_NONE ? PCI_PIRQ_NONE : route & 15;
}

uint16_t pci_irqs(const struct pci *pci)
{
    uint16_t irqs = 0;

    for (unsigned i = 0; i < PCI_FUNCTIONS; i++) {
        if (!(pci->interrupts >> i & 1))
            continue;
        unsigned route = pci_route(pci, i);
        if (route != PCI_PIRQ_NONE)
            irqs |= (uint16_t)(1 << route);
    }
    return irqs;
}
