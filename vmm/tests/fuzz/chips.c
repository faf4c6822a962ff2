/* The chips that need no bench of their own, one row each in CHIPS; FUZZ_CHIP names the one. Any program runs on it twice:
 * one is told the time when its deadline has come, as on a board, the other at every deadline and in between, and is saved
 * and restored now and then. Both answer the same at every access and hold the same state; no deadline lies in the past;
 * the row's invariant holds.
 *
 * Input: one byte for the reset, then accesses: what (bits 2:0; the value's form in 7:3), register, value. */
#include <string.h>

#include "chips.h"
#include "chipset/chips.h"
#include "chipset/ticks.h"
#include "chipset/x2apic.h"

enum { WRITE_A, WRITE_B, READ, MORE, PAUSE, LONG_PAUSE, TO_DEADLINE, RESTORE };

#define LATEST (UINT64_C(1) << 60) /* ns: a few decades of a guest */
#define STEPS 32                   /* deadlines that are met one by one in a pause */
#define ALL(index, count, condition)                                                                                   \
    ({                                                                                                                 \
        bool all = true;                                                                                               \
        for (unsigned index = 0; index < (count); index++)                                                             \
            all = all && (condition);                                                                                  \
        all;                                                                                                           \
    })

/* ---- what does not fit into a row ---- */

static uint64_t told(const struct apic_message *message)
{
    return message->vector | message->delivery << 8 | message->level << 12 | message->logical << 13 |
           message->shorthand << 14 | (uint64_t)message->destination << 32;
}

static uint64_t write_lapic(struct lapic *lapic, unsigned reg, uint64_t value, uint64_t now)
{
    struct apic_message message;
    return lapic_write(lapic, reg << 4, (uint32_t)value, now, &message) ? told(&message) : 0;
}

static uint64_t write_x2apic(struct lapic *lapic, unsigned reg, uint64_t value, uint64_t now)
{
    struct apic_message message;
    bool sent = false, done = x2apic_write(lapic, X2APIC_MSR_FIRST + reg, value, now, &message, &sent);
    return sent ? told(&message) : done;
}

/* The processor's side and the other APICs'. */
static uint64_t drive_lapic(struct lapic *lapic, unsigned reg, uint64_t value, uint64_t now)
{
    struct apic_message message = {.vector = (uint8_t)value,
                                   .delivery = value >> 8 & 7,
                                   .level = value >> 12 & 1,
                                   .logical = value >> 13 & 1,
                                   .destination = (uint32_t)(value >> 32)};
    uint64_t result = 0;
    uint8_t vector = 0;

    switch (reg & 15) {
    case 0 ... 3:
        result = lapic_addressed(lapic, &message);
        lapic_receive(lapic, &message);
        return result;
    case 4:
        lapic_set_lint(lapic, value & 1, value & 2);
        return lapic_extint_pending(lapic);
    case 5 ... 6:
        return lapic_pending(lapic) ? lapic_acknowledge(lapic) : 0;
    case 7:
        return lapic_take_extint(lapic);
    case 8:
        return lapic_take_nmi(lapic);
    case 9:
        return lapic_take_init(lapic);
    case 10:
        return lapic_take_startup(lapic, &vector) ? vector : 0x100;
    case 11 ... 12:
        return lapic_write_msr(lapic, LAPIC_MSR_TSC_DEADLINE, value, now, now + reg, 36, true);
    case 13:
        return lapic_write_msr(lapic, LAPIC_MSR_BASE, value & 3 ? (lapic->base & ~0xc00ull) | (value & 3) << 10 : value,
                               now, now, 36, true);
    case 14:
        return lapic_read_msr(lapic, LAPIC_MSR_BASE, &result) ? result : 0;
    default:
        return lapic_ppr(lapic);
    }
}

static bool sound_lapic(const struct lapic *lapic)
{
    const uint32_t lvt = LAPIC_VECTOR | LAPIC_DELIVERY | LAPIC_LVT_POLARITY | LAPIC_LVT_REMOTE_IRR | LAPIC_LVT_LEVEL |
                         LAPIC_LVT_MASK | LAPIC_LVT_TIMER_MODE;
    return !((lapic->isr[0] | lapic->irr[0]) & 0xffff) && !(lapic->divide & ~0xbu) &&
           !(lapic->svr & ~(uint32_t)(LAPIC_VECTOR | LAPIC_SVR_ENABLE | LAPIC_SVR_FOCUS)) &&
           ALL(i, LAPIC_LVTS, !(lapic->lvt[i] & ~lvt)) && lapic->base < UINT64_C(1) << 36 &&
           (lapic->base & LAPIC_BASE_ENABLE || !(lapic->base & LAPIC_BASE_X2APIC));
}

/* All messages that wait; their number is bounded, whatever the entries say. */
static void drain_ioapic(struct ioapic *ioapic)
{
    struct apic_message message;
    for (unsigned i = 0; ioapic_take(ioapic, &message); i++)
        DEMAND(i < 2 * IOAPIC_PINS, "messages without end: pins %x", ioapic->lines);
}

static bool sound_pci(const struct pci *pci)
{
    static const uint32_t ids[] = {0x12378086, 0x70008086, 0x70108086, 0x71138086};
    uint32_t id;
    return ALL(i, sizeof ids / sizeof *ids, /* read only, like the most of it */
               (memcpy(&id, pci->config[i], sizeof id), id == (pci->present >> i & 1 ? ids[i] : 0)));
}

static uint64_t ask_pci(struct pci *pci, unsigned reg, uint64_t value)
{
    switch (reg & 7) {
    case 0:
        return pci_pam(pci, 0xc0000 + (value & 0x3ffff));
    case 1:
        return pci_bar(pci, reg / 8 % PCI_FUNCTIONS, value % 6);
    case 2:
        return pci_pm_base(pci);
    case 3:
        return pci_route(pci, reg / 8 % PCI_FUNCTIONS);
    case 4:
        pci->interrupts = value & ((1 << PCI_FUNCTIONS) - 1);
        return pci_irqs(pci);
    default: /* a register that is there: function, register */
        pci_write_address(pci, PCI_ADDRESS_ENABLE | (reg & 8 ? 1u << 11 | (reg >> 4 & 3) << 8 : 0) | (value & 0xfc));
        return pci_read_data(pci, value & 3);
    }
}

static void serve_bus_master(struct bus_master *master, unsigned reg, uint64_t value)
{
    uint8_t descriptor[BUS_MASTER_PRD_SIZE];
    uint32_t address, span = bus_master_span(master, &address);

    memcpy(descriptor, &value, sizeof descriptor);
    DEMAND(span <= 0x10000, "a region of %u", span);
    if (reg & 8)
        bus_master_set_irq(master, reg & 1);
    else if (reg & 16)
        bus_master_fail(master);
    else if (bus_master_needs_entry(master, &address))
        bus_master_load_entry(master, descriptor);
    else if (span)
        bus_master_moved(master, reg & 1 ? span : (uint32_t)value % span + 1);
}

static void arrive_ne2000(struct ne2000 *ne, unsigned reg, uint64_t value, uint64_t now)
{
    uint8_t frame[NE2000_FRAME_MAXIMUM + 64];

    memset(frame, reg & 1 ? 0xff : reg, sizeof frame);
    ne2000_arrive(ne, frame, value % sizeof frame, now + (value >> 16 & 0xffff));
}

static void advance_ne2000(struct ne2000 *ne, uint64_t now)
{
    uint8_t frame[NE2000_FRAME_MAXIMUM];
    unsigned size = ne2000_advance(ne, now, frame);
    DEMAND(size <= sizeof frame, "a frame of %u", size);
}

static uint64_t read_fw_cfg(struct fw_cfg *fw_cfg)
{
    static uint8_t text[] = "an item";
    static struct machine_item item[] = {{FW_CFG_FILE_DIR, sizeof text, text}, {FW_CFG_FILE_FIRST, 0, text}};
    static const struct fw_cfg_items items = {2, item};
    return fw_cfg_read(fw_cfg, &items);
}

static uint64_t access_testdev(struct testdev *testdev, unsigned reg, uint64_t value)
{
    uint64_t offset = value >> 32 ? value : value % (TESTDEV_MEMORY_SIZE + 16), data = value;
    if (reg & 1)
        testdev_write_memory(testdev, offset, &data, 1u << (reg >> 1 & 3));
    testdev_read_memory(testdev, offset, &data, 1u << (reg >> 1 & 3));
    return data;
}

static uint64_t type_uart(struct uart *uart, unsigned reg, uint64_t value, uint64_t now)
{
    uint8_t text[256];
    memset(text, (int)value, sizeof text);
    return uart_input(uart, text, reg, now);
}

#define PM_STATUS                                                                                                      \
    (ACPI_PM1_TMR | ACPI_PM1_BM | ACPI_PM1_GBL | ACPI_PM1_PWRBTN | ACPI_PM1_SLPBTN | ACPI_PM1_RTC | ACPI_PM1_WAK)

/* ---- the chips ---- */

/* Name, structure; reset; reading, writing, what else happens to it (each may set `result`); time passes, deadline; what
 * holds at all times. There are `chip`, `setup` (reset), `reg` (0 to FFh), `value` (64 bits), `now`. */
#define CHIPS(CHIP)                                                                                                    \
    CHIP(acpi_pm, acpi_pm, acpi_pm_reset(chip),                                                                        \
         result = reg & 4 ? acpi_pm_read_control(chip, reg & 1) : acpi_pm_read_event(chip, reg & 3, now),              \
         if (reg & 4) result = acpi_pm_write_control(chip, reg & 1, value);                                            \
         else acpi_pm_write_event(chip, reg & 3, value, now),                                                          \
         acpi_pm_press_power_button(chip), acpi_pm_advance(chip, now), acpi_pm_deadline(chip),                         \
         !((chip->status | chip->enable) & ~PM_STATUS) && chip->control & ACPI_PM1_CNT_SCI_EN &&                       \
             chip->sci == ((chip->status & chip->enable) != 0))                                                        \
    CHIP(bus_master, bus_master, bus_master_reset(chip), result = bus_master_read(chip, reg & 7),                      \
         bus_master_write(chip, reg & 7, value), serve_bus_master(chip, reg, value), , MACHINE_NEVER,                  \
         !(chip->command & ~9) && !(chip->status & ~0x67) && !(chip->table & 3) &&                                     \
             chip->entry <= BUS_MASTER_PRD_TABLE_MOST)                                                                 \
    CHIP(debug_port, debug_port, debug_port_reset(chip), result = debug_port_read(chip),                               \
         result = debug_port_write(chip, value), , , MACHINE_NEVER, chip->length <= DEBUG_PORT_LINE)                   \
    CHIP(ferr, ferr, ferr_reset(chip), , ferr_write(chip), ferr_set_pin(chip, value & 1), , MACHINE_NEVER,             \
         !chip->ignne || chip->ferr)                                                                                   \
    CHIP(fw_cfg, fw_cfg, fw_cfg_reset(chip, (uint64_t)setup << 20, setup), result = read_fw_cfg(chip),                 \
         fw_cfg_select(chip, value), , , MACHINE_NEVER, true)                                                          \
    CHIP(hpet, hpet, hpet_reset(chip), result = hpet_read(chip, reg << 2, now),                                        \
         hpet_write(chip, reg & 1 ? reg >> 1 << 3 : reg << 2, value, reg & 1 ? 8 : 4, now),                            \
         result = hpet_pin(chip, reg % HPET_TIMERS) << 8 | hpet_route(chip, reg % HPET_TIMERS) | hpet_legacy(chip) << 9, \
         hpet_advance(chip, now), hpet_deadline(chip),                                                                 \
         chip->configuration <= 3 && chip->status < 1 << HPET_TIMERS && chip->high < 1 << HPET_TIMERS)                 \
    CHIP(ioapic, ioapic, ioapic_reset(chip, setup & 15), result = ioapic_read(chip, reg & 0xf0),                       \
         ioapic_write(chip, reg & 0xf0, value); drain_ioapic(chip),                                                    \
         ioapic_set_pin(chip, reg % IOAPIC_PINS, value & 1); drain_ioapic(chip), , MACHINE_NEVER,                      \
         !((chip->lines | chip->edges) >> IOAPIC_PINS) && chip->id <= 15 &&                                            \
             ALL(i, IOAPIC_PINS, !(chip->low[i] & ~0x1efffu) && !(chip->high[i] & 0xffffff)))                          \
    CHIP(lapic, lapic, lapic_reset(chip, setup & 3), result = lapic_read(chip, reg << 4, now),                         \
         result = write_lapic(chip, reg, value, now), result = drive_lapic(chip, reg, value, now),                     \
         lapic_advance(chip, now), lapic_deadline(chip), sound_lapic(chip))                                            \
    CHIP(ne2000, ne2000, ne2000_reset(chip, (const uint8_t *)"\x52\x54\0\0\0\1"),                                      \
         result = ne2000_read(chip, reg & 31, reg & 16 ? 1u << (reg >> 5) % 3 : 1),                                    \
         ne2000_write(chip, reg & 31, value, reg & 16 ? 1u << (reg >> 5) % 3 : 1, now),                                \
         arrive_ne2000(chip, reg, value, now), advance_ne2000(chip, now), ne2000_deadline(chip),                       \
         chip->waiting <= NE2000_INCOMING && chip->first < NE2000_INCOMING &&                                          \
             (chip->sent_at == MACHINE_NEVER) == !(chip->cr & NE2000_CR_TXP))                                          \
    CHIP(parallel, parallel, parallel_reset(chip), result = parallel_read(chip, reg % 3),                              \
         parallel_write(chip, reg % 3, value), , , MACHINE_NEVER, chip->control < 1 << 6)                              \
    CHIP(pci, pci, pci_reset(chip, setup % (1 << PCI_FUNCTIONS)),                                                      \
         result = reg & 4 ? pci_read_address(chip) : pci_read_data(chip, reg & 3),                                     \
         if (reg & 4) pci_write_address(chip, value); else pci_write_data(chip, reg & 3, value),                       \
         result = ask_pci(chip, reg, value), , MACHINE_NEVER, sound_pci(chip))                                         \
    CHIP(pic, pic, pic_reset(chip),                                                                                    \
         result = reg & 4 ? pic_read_elcr(chip, reg & 1) : pic_read(chip, reg & 1, reg >> 1 & 1),                      \
         if (reg & 4) pic_write_elcr(chip, reg & 1, value); else pic_write(chip, reg & 1, reg >> 1 & 1, value),        \
         if (reg & 16) result = pic_acknowledge(chip); else pic_set_irq(chip, reg & 15, value & 1), , MACHINE_NEVER,   \
         ALL(i, 2, chip->unit[i].lowest < 8 && chip->unit[i].expect <= 4) && !(chip->unit[PIC_MASTER].elcr & 7) &&     \
             !(chip->unit[PIC_SLAVE].elcr & 0x21))                                                                     \
    CHIP(pit, pit, pit_reset(chip), result = pit_read(chip, reg & 3, now), pit_write(chip, reg & 3, value, now),       \
         if (reg & 4) pit_set_gate(chip, reg % PIT_CHANNELS, value & 1, now);                                          \
         else result = pit_out(chip, reg % PIT_CHANNELS, now),                                                         \
         pit_advance(chip, now), pit_deadline(chip),                                                                   \
         ALL(i, PIT_CHANNELS, chip->channel[i].mode <= 5 && chip->channel[i].reload <= 0x10000 &&                      \
                                  chip->channel[i].count <= 0x10000))                                                  \
    CHIP(rtc, rtc, rtc_power_on(chip, (int64_t)setup << 25),                                                           \
         result = rtc_read(chip, now), if (reg & 1) rtc_write_index(chip, value); else rtc_write(chip, value, now),    \
         rtc_reset(chip), rtc_advance(chip, now), rtc_deadline(chip),                                                  \
         chip->index < RTC_CMOS && chip->phase < NS_PER_SECOND && !(chip->flags & ~0x70))                              \
    CHIP(system_control, system_control, system_control_reset(chip),                                                   \
         result = reg & 1 ? system_control_read_a(chip) : system_control_read_b(chip, reg & 2, now),                   \
         result = reg % 3 == 0   ? system_control_write_a(chip, value)                                                 \
                  : reg % 3 == 1 ? system_control_write_b(chip, value)                                                 \
                                 : system_control_write_reset(chip, value),                                            \
         , , MACHINE_NEVER, chip->port_b <= PORT_B_WRITABLE)                                                           \
    CHIP(testdev, testdev, testdev_reset(chip), result = testdev_read_latch(chip, reg & 7, 1u << (reg >> 3) % 3),      \
         if (reg & 64) testdev_write_irq(chip, reg % TESTDEV_IRQS, value);                                             \
         else testdev_write_latch(chip, reg & 7, value, 1u << (reg >> 3) % 3),                                         \
         result = access_testdev(chip, reg, value), , MACHINE_NEVER, !(chip->irqs >> TESTDEV_IRQS))                    \
    CHIP(uart, uart, uart_reset(chip), result = uart_read(chip, reg & 7, now),                                         \
         result = uart_write(chip, reg & 7, value, now), result = type_uart(chip, reg, value, now),                    \
         uart_advance(chip, now), uart_deadline(chip),                                                                 \
         chip->fifo_used <= UART_FIFO && chip->fifo_first < UART_FIFO && chip->queue_used <= UART_QUEUE &&             \
             chip->queue_first < UART_QUEUE && chip->ier <= 15 && chip->mcr <= 31 && chip->msr_delta <= 15)            \
    CHIP(x2apic, lapic,                                                                                                \
         lapic_reset(chip, setup & 3); lapic_write_msr(chip, LAPIC_MSR_BASE, chip->base | LAPIC_BASE_X2APIC, 0, 0, 36, true), \
         if (!x2apic_read(chip, X2APIC_MSR_FIRST + reg, &result, now)) result = 0xbad,                                 \
         result = write_x2apic(chip, reg, value, now), result = drive_lapic(chip, reg, value, now),                    \
         lapic_advance(chip, now), lapic_deadline(chip), sound_lapic(chip))

/* ---- a row as functions ---- */

struct row {
    const char *name;
    const struct field *fields;
    size_t size;
    void (*reset)(void *state, uint8_t setup);
    uint64_t (*access)(void *state, unsigned what, unsigned reg, uint64_t value, uint64_t now);
    void (*advance)(void *state, uint64_t now);
    uint64_t (*deadline)(const void *state);
    void (*check)(const void *state);
};

#define FUNCTIONS(NAME, STATE, RESET, READING, WRITING, OTHER, ADVANCE, DEADLINE, SOUND)                               \
    static void row_reset_##NAME(void *state, uint8_t setup)                                                               \
    {                                                                                                                  \
        struct STATE *chip = state;                                                                                    \
        (void)setup;                                                                                                   \
        RESET;                                                                                                         \
    }                                                                                                                  \
    static uint64_t row_access_##NAME(void *state, unsigned what, unsigned reg, uint64_t value, uint64_t now)              \
    {                                                                                                                  \
        struct STATE *chip = state;                                                                                    \
        uint64_t result = 0;                                                                                           \
        (void)chip, (void)reg, (void)value, (void)now;                                                                 \
        if (what == READ) {                                                                                            \
            READING;                                                                                                   \
        } else if (what == MORE) {                                                                                     \
            OTHER;                                                                                                     \
        } else {                                                                                                       \
            WRITING;                                                                                                   \
        }                                                                                                              \
        return result;                                                                                                 \
    }                                                                                                                  \
    static void row_advance_##NAME(void *state, uint64_t now)                                                          \
    {                                                                                                                  \
        struct STATE *chip = state;                                                                                    \
        (void)chip, (void)now;                                                                                         \
        ADVANCE;                                                                                                       \
    }                                                                                                                  \
    static uint64_t row_deadline_##NAME(const void *state)                                                                 \
    {                                                                                                                  \
        const struct STATE *chip = state;                                                                              \
        (void)chip;                                                                                                    \
        return DEADLINE;                                                                                               \
    }                                                                                                                  \
    static void row_check_##NAME(const void *state)                                                                        \
    {                                                                                                                  \
        const struct STATE *chip = state;                                                                              \
        (void)chip;                                                                                                    \
        DEMAND(SOUND, "the state of %s", #NAME);                                                                       \
    }
CHIPS(FUNCTIONS)

#define ROW(NAME, STATE, ...)                                                                                          \
    {#NAME,                                                                                                            \
     STATE##_fields,                                                                                                   \
     sizeof(struct STATE),                                                                                             \
     row_reset_##NAME,                                                                                                 \
     row_access_##NAME,                                                                                                \
     row_advance_##NAME,                                                                                               \
     row_deadline_##NAME,                                                                                              \
     row_check_##NAME},
static const struct row rows[] = {CHIPS(ROW)};

#define ROW_STATE(NAME, STATE, ...) struct STATE NAME;
union state {
    CHIPS(ROW_STATE)
};

static const struct row *the_row(void)
{
    const char *name = getenv("FUZZ_CHIP");
    for (size_t i = 0; name && i < sizeof rows / sizeof *rows; i++)
        if (!strcmp(rows[i].name, name))
            return &rows[i];
    fprintf(stderr, "FUZZ_CHIP names no chip\n");
    exit(2);
}

/* ---- two of it ---- */

/* The first value in which they differ, or NULL. */
static const char *difference(const struct field *fields, const uint8_t *one, const uint8_t *other)
{
    for (const struct field *field = fields; field->name; field++) {
        const uint8_t *a = one + field->offset, *b = other + field->offset;
        if (!field->fields && memcmp(a, b, (size_t)field->size * field->count))
            return field->name;
        for (uint32_t i = 0; field->fields && i < field->count; i++)
            if (difference(field->fields, a + i * field->size, b + i * field->size))
                return field->name;
    }
    return NULL;
}

/* All that its list names, into a structure that was something else before. */
static void restore(const struct field *fields, uint8_t *to, const uint8_t *from)
{
    for (const struct field *field = fields; field->name; field++) {
        if (!field->fields)
            memcpy(to + field->offset, from + field->offset, (size_t)field->size * field->count);
        for (uint32_t i = 0; field->fields && i < field->count; i++)
            restore(field->fields, to + field->offset + i * field->size, from + field->offset + i * field->size);
    }
}

static void pass_finely(const struct row *row, void *state, uint64_t now, uint64_t until)
{
    for (unsigned i = 0; i < STEPS && row->deadline(state) < until; i++) {
        uint64_t due = row->deadline(state);
        DEMAND(i == 0 || due > now, "%s: no progress at %llu", row->name, (unsigned long long)now);
        now = due > now ? due : now;
        row->advance(state, now);
        now += (until - now) / 2 ? 1 : 0;
        row->advance(state, now);
    }
    row->advance(state, until);
}

static uint64_t next_value(struct input *input, unsigned form)
{
    uint64_t value = next_byte(input);
    if ((form & 3) == 1) /* one byte, at any place */
        return value << (form >> 2) * 8;
    for (unsigned i = 1; i < ((form & 3) == 2 ? 4u : (form & 3) == 3 ? 8u : 1u); i++)
        value |= (uint64_t)next_byte(input) << 8 * i;
    return value;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static union state coarse, fine;
    static const struct row *row;
    struct input input = {data, size};
    uint8_t setup = next_byte(&input);
    uint64_t now = 0;

    row = row ? row : the_row();
    memset(&coarse, 0, row->size);
    row->reset(&coarse, setup);
    memset(&fine, 0, row->size);
    row->reset(&fine, setup);
    while (input.left) {
        unsigned what = next_byte(&input), reg = next_byte(&input);
        uint64_t value = next_value(&input, what >> 3), until = now, due = row->deadline(&coarse);
        switch (what & 7) {
        case PAUSE:
            until += value;
            break;
        case LONG_PAUSE:
            until += value << 20;
            break;
        case TO_DEADLINE:
            until = due != MACHINE_NEVER && due > now ? due : now;
            break;
        case RESTORE:
            memset(&fine, 0xa5, row->size);
            restore(row->fields, (uint8_t *)&fine, (const uint8_t *)&coarse);
            break;
        default: {
            uint64_t one = row->access(&coarse, what & 7, reg, value, now);
            uint64_t other = row->access(&fine, what & 7, reg, value, now);
            DEMAND(one == other, "%s: %llx, and %llx", row->name, (unsigned long long)one, (unsigned long long)other);
        }
        }
        until = until < now || until > LATEST ? now : until;
        pass_finely(row, &fine, now, until);
        if (row->deadline(&coarse) <= until)
            row->advance(&coarse, until);
        now = until;
        row->check(&coarse);
        DEMAND(row->deadline(&coarse) > now, "%s: a deadline in the past", row->name);
        const char *name = difference(row->fields, (const uint8_t *)&coarse, (const uint8_t *)&fine);
        DEMAND(!name, "%s: %s at %llu", row->name, name, (unsigned long long)now);
    }
    return 0;
}
