/* ACPI 6.5, chapter 5: from the RSDP to the FADT, and \_S5 in the DSDT by its bytes. */
#include "acpi.h"

#include "cpu.h"

struct fadt {
    char signature[4];
    uint32_t length;
    uint8_t other[28], firmware[4];
    uint32_t dsdt;
    uint8_t model[12];
    uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer;
} __attribute__((packed));

static bool equal(const char *memory, const char *text, unsigned length)
{
    for (unsigned i = 0; i < length; i++) {
        if (memory[i] != text[i])
            return false;
    }
    return true;
}

static const char *find(word from, word to, const char *text, unsigned length, unsigned step)
{
    for (const char *at = (const char *)from; at + length <= (const char *)to; at += step) {
        if (equal(at, text, length))
            return at;
    }
    return NULL;
}

static const struct fadt *find_fadt(void)
{
    word bios_data = 0x40e; /* where the EBDA is */
    asm("" : "+r"(bios_data)); /* the compiler takes small constants for null pointers */
    word ebda = (word)*(const uint16_t *)bios_data << 4;
    const char *rsdp = NULL;
    if (ebda >= 0x80000 && ebda < 0xa0000)
        rsdp = find(ebda, ebda + 1024, "RSD PTR ", 8, 16);
    if (!rsdp)
        rsdp = find(0xe0000, 0x100000, "RSD PTR ", 8, 16);
    if (!rsdp)
        return NULL;
    const char *rsdt = (const char *)(word) * (const uint32_t *)(rsdp + 16);
    uint32_t length = *(const uint32_t *)(rsdt + 4);
    for (uint32_t at = 36; at + 4 <= length && at < 36 + 4 * 64; at += 4) {
        const char *table = (const char *)(word) * (const uint32_t *)(rsdt + at);
        if (equal(table, "FACP", 4))
            return (const struct fadt *)table;
    }
    return NULL;
}

unsigned acpi_pm_timer(void)
{
    const struct fadt *fadt = find_fadt();
    return fadt ? fadt->pm_timer : 0;
}

void acpi_power_off(void)
{
    enum { SLP_EN = 1 << 13, PACKAGE = 0x12, BYTE = 0x0a };
    const struct fadt *fadt = find_fadt();
    if (!fadt)
        return;
    word dsdt = fadt->dsdt;
    const uint8_t *s5 = (const uint8_t *)find(dsdt + 36, dsdt + ((const struct fadt *)dsdt)->length, "_S5_", 4, 1);
    if (!s5 || s5[4] != PACKAGE)
        return;
    s5 += 5;
    s5 += (*s5 >> 6) + 2; /* PkgLength, NumElements */
    if (*s5 == BYTE)
        s5++;
    uint8_t type = *s5; /* ZeroOp and OneOp have the bytes 0 and 1 */
    outw((uint16_t)fadt->pm1a_control, (uint16_t)((type & 7) << 10 | SLP_EN));
}
