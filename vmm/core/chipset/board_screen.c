/* The board's screen, keyboard and mouse: the VGA's window in memory, and the people in front of them. */
#include "../memory_map.h"
#include "board_state.h"

/* ---- the window ---- */

bool in_vga(const struct board *board, uint64_t gpa)
{
    return board->firmware && gpa >= VGA_HOLE && gpa < VGA_HOLE_END;
}

/* In a text mode the window is RAM: it lies in the arena, where the CPU writes without the chip's knowledge. */
bool vga_page_is_ram(const struct board *board, uint32_t gpa)
{
    struct vga_window window = vga_window(&board->chips.vga);

    return board->firmware && window.linear && gpa - window.base < window.size;
}

/* What is mapped in the window; NULL: it is not, or not yet. */
static uint8_t *mapped(const struct board *board, struct vga_window window, bool write)
{
    return window.linear ? board->memory.at(board->memory.context, window.base, window.size, write) : NULL;
}

/* A register was written that may have moved the window or changed what it is like. What was RAM becomes planes; what
 * becomes RAM is put where the machine finds it when it follows the new version. */
static void follow_window(struct board *board, struct vga_window before)
{
    struct vga_window after = vga_window(&board->chips.vga);
    const uint8_t *old;
    uint8_t *new;

    if (before.linear == after.linear && before.base == after.base && before.page == after.page)
        return;
    old = mapped(board, before, false);
    if (old)
        vga_store_window(&board->chips.vga, before, old);
    if (after.linear) {
        new = mapped(board, after, true); /* the machine has not taken it away yet */
        if (!new)
            new = board->memory.hidden(board->memory.context, after.base);
        vga_load_window(&board->chips.vga, after, new);
    }
    board->window_version++;
}

/* `unit` is the first port of the range, from VGA_PORT_FIRST. */
uint32_t read_vga(struct board *board, unsigned unit, unsigned reg, unsigned size, uint64_t now)
{
    (void)size;
    return board->firmware ? vga_read(&board->chips.vga, VGA_PORT_FIRST + unit + reg, now) : 0xff;
}

void write_vga(struct board *board, unsigned unit, unsigned reg, uint32_t value, unsigned size, struct moment at)
{
    struct vga_window before = vga_window(&board->chips.vga);

    (void)size, (void)at;
    if (!board->firmware)
        return;
    vga_write(&board->chips.vga, VGA_PORT_FIRST + unit + reg, (uint8_t)value);
    follow_window(board, before);
}

/* ---- the people ---- */

bool board_screen(const struct board *board, struct machine_screen *screen)
{
    if (board->firmware)
        vga_text(&board->chips.vga, mapped(board, vga_window(&board->chips.vga), false), screen);
    return board->firmware;
}

uint64_t board_text_hash(const struct board *board)
{
    return board->firmware ? vga_text_hash(&board->chips.vga, mapped(board, vga_window(&board->chips.vga), false)) : 0;
}

bool board_font(const struct board *board, unsigned set, uint8_t *glyphs)
{
    if (board->firmware)
        vga_font(&board->chips.vga, set, glyphs);
    return board->firmware;
}

size_t board_keys(struct board *board, const uint32_t *events, size_t count, uint64_t now)
{
    catch_up(board, now);
    size_t taken = i8042_type(&board->chips.i8042, events, count, now);
    i8042_changed(board);
    return taken;
}

void board_mouse(struct board *board, int32_t dx, int32_t dy, int32_t dz, uint8_t buttons, uint64_t now)
{
    catch_up(board, now);
    i8042_move(&board->chips.i8042, dx, dy, dz, buttons, now);
    i8042_changed(board);
}
