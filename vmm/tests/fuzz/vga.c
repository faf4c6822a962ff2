/* The VGA under any program, twice: one has the processor's accesses all the time, of the other a linear window is RAM
 * as on a board. Both read the same and show the same.
 *
 * Input: accesses of three bytes: what, where, value. */
#include <string.h>

#include "chips.h"
#include "chipset/vga.h"

static struct vga plain, mapped;
static uint8_t ram[VGA_WINDOW_BYTES];

static void write_register(unsigned port, uint8_t value)
{
    struct vga_window before = vga_window(&mapped), after;

    vga_write(&plain, port, value);
    vga_write(&mapped, port, value);
    after = vga_window(&mapped);
    DEMAND(after.size <= 0x20000 && (!after.linear || after.size == VGA_WINDOW_BYTES), "a window of %u", after.size);
    if (before.linear == after.linear && before.base == after.base && before.page == after.page)
        return;
    if (before.linear)
        vga_store_window(&mapped, before, ram);
    if (after.linear)
        vga_load_window(&mapped, after, ram);
}

/* An access of the processor; reads of RAM leave the latches alone, which is the one difference that there may be. */
static void access_memory(uint32_t gpa, uint8_t value, bool write)
{
    struct vga_window window = vga_window(&mapped);
    uint8_t *at = window.linear && gpa - window.base < window.size ? ram + (gpa - window.base) : NULL;

    if (write) {
        vga_memory_write(&plain, gpa, value);
        if (at)
            *at = value;
        else
            vga_memory_write(&mapped, gpa, value);
    } else {
        uint8_t expected = vga_memory_read(&plain, gpa), found = at ? *at : vga_memory_read(&mapped, gpa);
        DEMAND(found == expected, "%02x at %x, not %02x", found, gpa, expected);
        memcpy(mapped.latch, plain.latch, sizeof plain.latch);
    }
}

static void compare_screens(void)
{
    static struct machine_screen one, other;

    vga_text(&plain, NULL, &one);
    vga_text(&mapped, vga_window(&mapped).linear ? ram : NULL, &other);
    DEMAND(memcmp(&one, &other, sizeof one) == 0, "the screens differ");
    DEMAND((uint32_t)one.columns * one.rows <= MACHINE_SCREEN_CELLS, "%u x %u cells", one.columns, one.rows);
    DEMAND(!one.cursor || (one.cursor_row < one.rows && one.cursor_column < one.columns), "a cursor outside");
}

/* Registers that matter for the window more often than others: an index and its data. */
static void write_some(unsigned what, unsigned where, uint8_t value)
{
    static const uint16_t indices[] = {VGA_SEQUENCER_INDEX, VGA_GRAPHICS_INDEX, VGA_CRTC_INDEX, VGA_GRAPHICS_INDEX};

    if (what & 4) {
        write_register(VGA_PORT_FIRST + where % VGA_PORTS, value);
    } else {
        write_register(indices[what & 3], (uint8_t)where);
        write_register(indices[what & 3] + 1u, value);
    }
}

static void set_text_mode(void)
{
    static const uint8_t sequencer[] = {3, 0, 3, 0, 2}, graphics[] = {0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff};

    write_register(VGA_MISC_WRITE, 0x67);
    for (unsigned i = 0; i < sizeof sequencer; i++)
        write_some(0, i, sequencer[i]);
    for (unsigned i = 0; i < sizeof graphics; i++)
        write_some(1, i, graphics[i]);
    write_some(2, VGA_CR_MODE, 0xa3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    uint64_t now = 0;

    vga_reset(&plain);
    vga_reset(&mapped);
    memset(ram, 0, sizeof ram);
    set_text_mode();
    while (input.left) {
        unsigned what = next_byte(&input), where = next_byte(&input), value = next_byte(&input);
        uint32_t gpa = 0xa0000 + ((what >> 3 & 3) << 15) + where * 3;
        switch (what & 7) {
        case 0 ... 1:
            write_some(what >> 3, where, (uint8_t)value);
            break;
        case 2:
            DEMAND(vga_read(&plain, VGA_PORT_FIRST + where % VGA_PORTS, now) ==
                       vga_read(&mapped, VGA_PORT_FIRST + where % VGA_PORTS, now),
                   "port %x", VGA_PORT_FIRST + where % VGA_PORTS);
            now += value * 1000u;
            break;
        case 3:
            set_text_mode();
            break;
        case 4:
            compare_screens();
            break;
        default:
            access_memory(gpa + (value & 1), (uint8_t)value, what & 1);
        }
    }
    compare_screens();
    return 0;
}
