/* What a text mode of the VGA shows, for people and for tests: no part of the hardware reads this. */
#include <string.h>

#include "vga.h"

static unsigned cursor_address(const struct vga *vga)
{
    return vga->crtc[VGA_CR_CURSOR_HIGH] << 8 | vga->crtc[VGA_CR_CURSOR_LOW];
}

static unsigned start_address(const struct vga *vga)
{
    return vga->crtc[VGA_CR_START_HIGH] << 8 | vga->crtc[VGA_CR_START_LOW];
}

static unsigned lines_shown(const struct vga *vga)
{
    const uint8_t *crtc = vga->crtc;
    unsigned overflow = crtc[VGA_CR_OVERFLOW];
    unsigned lines = (crtc[VGA_CR_VERTICAL_END] | (overflow >> 1 & 1) << 8 | (overflow >> 6 & 1) << 9) + 1;

    return crtc[VGA_CR_MODE] & VGA_CR_MODE_HALF_LINES ? 2 * lines : lines;
}

/* The line at which the address counter starts again at 0 (a split screen). */
static unsigned line_compare(const struct vga *vga)
{
    const uint8_t *crtc = vga->crtc;

    return (crtc[VGA_CR_LINE_COMPARE] | (crtc[VGA_CR_OVERFLOW] >> 4 & 1) << 8 |
            (crtc[VGA_CR_CELL_HEIGHT] >> 6 & 1) << 9) +
           1;
}

/* The planes' offset for a value of the CRTC's address counter: byte, word and doubleword mode. */
static unsigned offset_of(const struct vga *vga, unsigned counter)
{
    uint8_t mode = vga->crtc[VGA_CR_MODE];

    counter %= VGA_PLANE_BYTES;
    if (vga->crtc[VGA_CR_UNDERLINE] & VGA_UNDERLINE_DOUBLEWORD)
        return (counter << 2 | (counter >> 12 & 3)) % VGA_PLANE_BYTES;
    if (mode & VGA_CR_MODE_BYTES)
        return counter;
    return (counter << 1 | (counter >> (mode & VGA_CR_MODE_WRAP_15 ? 15 : 13) & 1)) % VGA_PLANE_BYTES;
}

static uint16_t cell_at(const struct vga *vga, const uint8_t *ram, unsigned counter)
{
    unsigned offset = offset_of(vga, counter), page = vga->misc & VGA_MISC_EVEN_PAGE ? 0 : 1;

    if (ram && offset < VGA_WINDOW_BYTES && (offset & 1) == page) {
        const uint8_t *cell = ram + (offset & ~1u);
        return (uint16_t)(cell[0] | cell[1] << 8);
    }
    return (uint16_t)(vga->planes[offset] | vga->planes[VGA_PLANE_BYTES + offset] << 8);
}

/* The 16 colours of attributes, through the palette and the DAC, as 8-bit components. */
static void find_colours(const struct vga *vga, uint8_t *colours)
{
    uint8_t select = vga->attribute[VGA_AR_COLOUR_SELECT], mode = vga->attribute[VGA_AR_MODE];

    for (unsigned i = 0; i < 16; i++) {
        unsigned entry = vga->attribute[i & vga->attribute[VGA_AR_PLANE_ENABLE]];
        if (mode & VGA_AR_MODE_SELECT_54)
            entry = (entry & 0x0f) | (select & 3u) << 4;
        entry = (entry | (select & 12u) << 4) & vga->dac_mask;
        for (unsigned component = 0; component < 3; component++) {
            uint8_t level = vga->dac[3 * entry + component];
            colours[3 * i + component] = (uint8_t)(level << 2 | level >> 4);
        }
    }
}

static void find_cursor(const struct vga *vga, unsigned pitch, struct machine_screen *screen)
{
    const uint8_t *crtc = vga->crtc;
    unsigned distance = (cursor_address(vga) - start_address(vga)) % VGA_PLANE_BYTES;

    screen->cursor_first = crtc[VGA_CR_CURSOR_START] & VGA_CURSOR_LINE;
    screen->cursor_last = crtc[VGA_CR_CURSOR_END] & VGA_CURSOR_LINE;
    if (screen->cursor_last >= screen->height)
        screen->cursor_last = screen->height - 1;
    if (!pitch || distance / pitch >= screen->rows || distance % pitch >= screen->columns)
        return;
    screen->cursor_row = (uint16_t)(distance / pitch);
    screen->cursor_column = (uint16_t)(distance % pitch);
    screen->cursor = !(crtc[VGA_CR_CURSOR_START] & VGA_CURSOR_OFF) && screen->cursor_first <= screen->cursor_last;
}

void vga_text(const struct vga *vga, const uint8_t *ram, struct machine_screen *screen)
{
    const uint8_t *crtc = vga->crtc;
    bool graphics = vga->graphics[VGA_GR_MISCELLANEOUS] & VGA_GR6_GRAPHICS ||
                    vga->attribute[VGA_AR_MODE] & VGA_AR_MODE_GRAPHICS;
    bool runs = crtc[VGA_CR_MODE] & VGA_CR_MODE_SYNC;

    memset(screen, 0, sizeof *screen);
    screen->blank = !(vga->attribute_index & VGA_ATTRIBUTE_ON) ||
                  vga->sequencer[VGA_SR_CLOCKING] & VGA_CLOCKING_SCREEN_OFF;
    screen->mode = !runs ? SCREEN_OFF : graphics ? SCREEN_GRAPHICS : SCREEN_TEXT;
    if (screen->mode != SCREEN_TEXT)
        return;
    unsigned lines = (crtc[VGA_CR_CELL_HEIGHT] & VGA_CELL_HEIGHT) + 1u;
    unsigned scans = crtc[VGA_CR_CELL_HEIGHT] & VGA_CELL_DOUBLE_SCAN ? 2 * lines : lines;
    unsigned pitch = 2u * crtc[VGA_CR_OFFSET], split = line_compare(vga), start = start_address(vga);

    screen->blink = !!(vga->attribute[VGA_AR_MODE] & VGA_AR_MODE_BLINK);
    screen->line_graphics = !!(vga->attribute[VGA_AR_MODE] & VGA_AR_MODE_LINE_GRAPHICS);
    screen->width = vga->sequencer[VGA_SR_CLOCKING] & VGA_CLOCKING_8_DOTS ? 8 : 9;
    screen->height = (uint8_t)lines;
    screen->columns = (uint16_t)(crtc[VGA_CR_HORIZONTAL_END] + 1);
    screen->rows = (uint16_t)(lines_shown(vga) / scans);
    if (screen->rows > MACHINE_SCREEN_CELLS / screen->columns)
        screen->rows = MACHINE_SCREEN_CELLS / screen->columns;
    find_colours(vga, screen->colours);
    for (unsigned row = 0, cell = 0; row < screen->rows; row++) {
        unsigned after = (split + scans - 1) / scans; /* the first row that is wholly below the split */
        unsigned counter = row < after ? start + row * pitch : (row - after) * pitch;
        for (unsigned column = 0; column < screen->columns; column++)
            screen->cells[cell++] = cell_at(vga, ram, counter + column);
    }
    find_cursor(vga, pitch, screen);
}

uint64_t vga_text_hash(const struct vga *vga, const uint8_t *ram)
{
    static const uint64_t prime = 0x100000001b3; /* of FNV-1a */
    const uint8_t *crtc = vga->crtc;
    unsigned lines = (crtc[VGA_CR_CELL_HEIGHT] & VGA_CELL_HEIGHT) + 1u;
    unsigned start = 2 * start_address(vga), size = lines_shown(vga) / lines * 4u * crtc[VGA_CR_OFFSET];
    uint64_t lane[4] = {start + 1, 0, 0, 0}, word[4];

    if (!ram || size > VGA_WINDOW_BYTES)
        return 0;
    if (start > VGA_WINDOW_BYTES - size) /* it goes on at the window's other end */
        start = 0, size = VGA_WINDOW_BYTES;
    for (unsigned at = start; at + sizeof word <= start + size; at += sizeof word) {
        memcpy(word, ram + at, sizeof word);
        for (unsigned i = 0; i < 4; i++)
            lane[i] = (lane[i] ^ word[i]) * prime;
    }
    return (lane[0] ^ lane[1] * 3 ^ lane[2] * 5 ^ lane[3] * 7) | 1;
}

void vga_font(const struct vga *vga, unsigned set, uint8_t *glyphs)
{
    uint8_t map = vga->sequencer[VGA_SR_CHARACTER_MAP];
    unsigned quarter = set ? map >> 2 & 3 : map & 3, half = set ? map >> 5 & 1 : map >> 4 & 1;

    memcpy(glyphs, vga->planes + 2 * VGA_PLANE_BYTES + quarter * 16384 + half * MACHINE_FONT_BYTES, MACHINE_FONT_BYTES);
}
