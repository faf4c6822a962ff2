/* The board's memory: chips with registers there, and the window from A0000h to FFFFFh. */
#include <string.h>

#include "../memory_map.h"
#include "board_state.h"

/* Both APICs have 32-bit registers, one each 16 bytes. */

static bool in_lapic(const struct board *board, unsigned vcpu, uint64_t gpa)
{
    uint64_t base = board->chips.lapic[vcpu].base;

    return (base & (LAPIC_BASE_ENABLE | LAPIC_BASE_X2APIC)) == LAPIC_BASE_ENABLE && gpa >> 12 == base >> 12;
}

static uint32_t memory_read(struct board *board, unsigned vcpu, uint64_t gpa, uint64_t now)
{
    uint32_t value;

    if (in_lapic(board, vcpu, gpa)) {
        if (gpa & 15)
            return 0;
        value = lapic_read(&board->chips.lapic[vcpu], gpa % MAP_LAPIC_SIZE, now);
        lapic_changed(board, vcpu); /* a reserved register is an error, which may interrupt */
        return value;
    }
    if (gpa - MAP_IOAPIC < MAP_IOAPIC_SIZE)
        return gpa & 15 ? 0 : ioapic_read(&board->chips.ioapic, (unsigned)(gpa % MAP_IOAPIC_SIZE));
    return UINT32_MAX;
}

static void memory_write(struct board *board, unsigned vcpu, uint64_t gpa, uint32_t value, uint64_t now)
{
    struct apic_message message;

    if (gpa & 15)
        return;
    if (in_lapic(board, vcpu, gpa)) {
        if (lapic_write(&board->chips.lapic[vcpu], gpa % MAP_LAPIC_SIZE, value, now, &message))
            deliver(board, (int)vcpu, &message);
        lapic_changed(board, vcpu);
    } else if (gpa - MAP_IOAPIC < MAP_IOAPIC_SIZE) {
        ioapic_write(&board->chips.ioapic, (unsigned)(gpa % MAP_IOAPIC_SIZE), value);
        settle_interrupts(board);
    }
}

struct board_page board_window_page(const struct board *board, uint32_t gpa)
{
    enum { ROM = 0xe0000 }; /* the end of the firmware's is seen from here on */

    if (gpa < VGA_HOLE_END)
        return vga_page_is_ram(board, gpa) ? (struct board_page){MEMORY_RAM, true}
                                           : (struct board_page){MEMORY_BUS, false};
    if (!board->firmware)
        return (struct board_page){MEMORY_RAM, true};
    unsigned pam = pci_pam(&board->chips.pci, gpa);
    if (pam & PCI_PAM_READ)
        return (struct board_page){pam & PCI_PAM_WRITE ? MEMORY_RAM : MEMORY_ROM, true};
    return (struct board_page){gpa >= ROM ? MEMORY_ROM : MEMORY_BUS, false};
}

uint32_t board_window_version(const struct board *board)
{
    return board->window_version;
}

/* A store to RAM that reads of this address do not find, as when a BIOS copies itself into RAM behind its ROM. */
static bool write_behind(struct board *board, uint64_t gpa, const void *data, unsigned size)
{
    if (!board->firmware || gpa < VGA_HOLE_END || gpa >= WINDOW_END)
        return false;
    if (pci_pam(&board->chips.pci, (uint32_t)gpa) == PCI_PAM_WRITE)
        memcpy(board->memory.hidden(board->memory.context, gpa), data, size);
    return true;
}

static bool in_testdev(const struct board *board, uint64_t gpa)
{
    return board->debug_exit && gpa - MAP_TESTDEV < TESTDEV_MEMORY_SIZE;
}

void board_memory_read(struct board *board, unsigned vcpu, uint64_t gpa, void *data, unsigned size, uint64_t now)
{
    uint8_t *bytes = data;

    catch_up(board, now);
    if (in_vga(board, gpa)) {
        for (unsigned i = 0; i < size; i++)
            bytes[i] = vga_memory_read(&board->chips.vga, (uint32_t)gpa + i);
        return;
    }
    if (in_testdev(board, gpa)) {
        testdev_read_memory(&board->chips.testdev, gpa - MAP_TESTDEV, data, size);
        return;
    }
    if (board_hpet_read(board, gpa, data, size, now))
        return;
    while (size) {
        unsigned skip = gpa & 3, piece = size < 4 - skip ? size : 4 - skip;
        uint32_t value = memory_read(board, vcpu, gpa - skip, now) >> 8 * skip;
        memcpy(bytes, &value, piece);
        bytes += piece, gpa += piece, size -= piece;
    }
}

/* The APICs' registers take whole 32-bit writes; a narrower one counts as zero-extended, a misaligned one is lost. */
void board_memory_write(struct board *board, unsigned vcpu, uint64_t gpa, const void *data, unsigned size,
                        uint64_t now)
{
    const uint8_t *bytes = data;

    catch_up(board, now);
    if (in_vga(board, gpa)) {
        for (unsigned i = 0; i < size; i++)
            vga_memory_write(&board->chips.vga, (uint32_t)gpa + i, bytes[i]);
        return;
    }
    if (write_behind(board, gpa, data, size))
        return;
    if (in_testdev(board, gpa)) {
        testdev_write_memory(&board->chips.testdev, gpa - MAP_TESTDEV, data, size);
        return;
    }
    if (board_hpet_write(board, gpa, data, size, now)) {
        catch_up(board, now);
        return;
    }
    while (size) {
        unsigned skip = gpa & 3, piece = size < 4 - skip ? size : 4 - skip;
        uint32_t value = 0;
        memcpy(&value, bytes, piece);
        if (!skip)
            memory_write(board, vcpu, gpa, value, now);
        bytes += piece, gpa += piece, size -= piece;
    }
    catch_up(board, now);
}
