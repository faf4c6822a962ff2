/* Registers; display memory is vga_memory.c, what the screen shows vga_text.c. */
#include "vga.h"

#include <string.h>

#include "ticks.h"

STATE_TABLE(vga, VGA_STATE);

enum { DAC_WRITING = 0, DAC_READING = 3 };
#define NOTHING 0xff

/* Bits that exist; what is written to the others is lost. */
static const uint8_t sequencer_bits[VGA_SEQUENCER_REGISTERS] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t graphics_bits[VGA_GRAPHICS_REGISTERS] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff};
static const uint8_t attribute_bits[VGA_ATTRIBUTE_REGISTERS] = {
    [0 ... 15] = 0x3f, [VGA_AR_MODE] = 0xef, [VGA_AR_OVERSCAN] = 0xff, [VGA_AR_PLANE_ENABLE] = 0x3f,
    [VGA_AR_PANNING] = 0x0f, [VGA_AR_COLOUR_SELECT] = 0x0f,
};

void vga_reset(struct vga *vga)
{
    memset(vga, 0, sizeof *vga);
    vga->enable = 1;
    vga->dac_mask = 0xff;
}

/* ---- input status 1 ---- */

/* The CRTC's 10-bit vertical values: 8 bits in a register of their own, the others in the overflow register. */
static unsigned vertical(const struct vga *vga, unsigned reg, unsigned bit_8, unsigned bit_9)
{
    uint8_t overflow = vga->crtc[VGA_CR_OVERFLOW];

    return vga->crtc[reg] | (overflow >> bit_8 & 1u) << 8 | (overflow >> bit_9 & 1u) << 9;
}

static uint8_t status_1(const struct vga *vga, uint64_t now)
{
    static const uint32_t clocks[] = {25175000, 28322000, 25175000, 25175000};
    uint8_t clocking = vga->sequencer[VGA_SR_CLOCKING];
    unsigned doubled = vga->crtc[VGA_CR_MODE] & VGA_CR_MODE_HALF_LINES ? 2 : 1;
    unsigned lines = (vertical(vga, VGA_CR_VERTICAL_TOTAL, 0, 5) + 2) * doubled;
    unsigned shown = (vertical(vga, VGA_CR_VERTICAL_END, 1, 6) + 1) * doubled;
    unsigned retrace = vertical(vga, VGA_CR_RETRACE_START, 2, 7) * doubled;
    unsigned retrace_end = vga->crtc[VGA_CR_RETRACE_END] & 15;
    unsigned retrace_lines = ((retrace_end - vga->crtc[VGA_CR_RETRACE_START] - 1) & 15) + 1;
    unsigned character = (clocking & VGA_CLOCKING_8_DOTS ? 8 : 9) * (clocking & VGA_CLOCKING_HALF ? 2 : 1);
    unsigned line_dots = (vga->crtc[VGA_CR_HORIZONTAL_TOTAL] + 5u) * character;
    uint64_t dot, line;

    if (!(vga->crtc[VGA_CR_MODE] & VGA_CR_MODE_SYNC))
        return VGA_STATUS_1_DISPLAY_DISABLED;
    dot = ticks_at(now, clocks[(vga->misc & VGA_MISC_CLOCK) >> 2]) % ((uint64_t)line_dots * lines);
    line = dot / line_dots;
    bool display = line < shown && dot % line_dots / character <= vga->crtc[VGA_CR_HORIZONTAL_END];
    bool in_retrace = line >= retrace && line - retrace < (uint64_t)retrace_lines * doubled;
    return (display ? 0 : VGA_STATUS_1_DISPLAY_DISABLED) | (in_retrace ? VGA_STATUS_1_RETRACE : 0);
}

/* ---- ports ---- */

/* A port of the twin that is not there: mono while the board shows colour, and the other way round. */
static bool is_absent(const struct vga *vga, unsigned port)
{
    bool mono = port < VGA_ATTRIBUTE, colour = port >= 0x3d0;

    return vga->misc & VGA_MISC_COLOUR ? mono : colour;
}

static uint8_t read_dac(struct vga *vga)
{
    uint8_t value = vga->dac[3 * vga->dac_read + vga->dac_component];

    vga->dac_component = (vga->dac_component + 1) % 3;
    vga->dac_read += vga->dac_component == 0;
    return value;
}

static void write_dac(struct vga *vga, uint8_t value)
{
    vga->dac[3 * vga->dac_write + vga->dac_component] = value & 0x3f;
    vga->dac_component = (vga->dac_component + 1) % 3;
    vga->dac_write += vga->dac_component == 0;
}

uint8_t vga_read(struct vga *vga, unsigned port, uint64_t now)
{
    unsigned index;

    if (is_absent(vga, port))
        return NOTHING;
    switch (port) {
    case VGA_ATTRIBUTE:
        return vga->attribute_index;
    case VGA_ATTRIBUTE_READ:
        index = vga->attribute_index & 31;
        return index < VGA_ATTRIBUTE_REGISTERS ? vga->attribute[index] : NOTHING;
    case VGA_MISC_WRITE:
        return VGA_STATUS_0_SENSE;
    case VGA_ENABLE:
        return vga->enable;
    case VGA_SEQUENCER_INDEX:
        return vga->sequencer_index;
    case VGA_SEQUENCER_DATA:
        return vga->sequencer_index < VGA_SEQUENCER_REGISTERS ? vga->sequencer[vga->sequencer_index] : NOTHING;
    case VGA_DAC_MASK:
        return vga->dac_mask;
    case VGA_DAC_READ_INDEX:
        return vga->dac_state;
    case VGA_DAC_WRITE_INDEX:
        return vga->dac_write;
    case VGA_DAC_DATA:
        return read_dac(vga);
    case VGA_FEATURE_READ:
        return vga->feature;
    case VGA_MISC_READ:
        return vga->misc;
    case VGA_GRAPHICS_INDEX:
        return vga->graphics_index;
    case VGA_GRAPHICS_DATA:
        return vga->graphics_index < VGA_GRAPHICS_REGISTERS ? vga->graphics[vga->graphics_index] : NOTHING;
    case VGA_CRTC_INDEX_MONO:
    case VGA_CRTC_INDEX:
        return vga->crtc_index;
    case VGA_CRTC_DATA_MONO:
    case VGA_CRTC_DATA:
        return vga->crtc_index < VGA_CRTC_REGISTERS ? vga->crtc[vga->crtc_index] : NOTHING;
    case VGA_STATUS_1_MONO:
    case VGA_STATUS_1:
        vga->attribute_data = false;
        return status_1(vga, now);
    }
    return NOTHING;
}

static void write_attribute(struct vga *vga, uint8_t value)
{
    unsigned index = vga->attribute_index & 31;

    if (!vga->attribute_data)
        vga->attribute_index = value & 0x3f;
    else if (index < VGA_ATTRIBUTE_REGISTERS)
        vga->attribute[index] = value & attribute_bits[index];
    vga->attribute_data = !vga->attribute_data;
}

static void write_crtc(struct vga *vga, uint8_t value)
{
    enum { LINE_COMPARE_8 = 1 << 4 }; /* of the overflow register */
    unsigned index = vga->crtc_index;
    uint8_t fixed = 0;

    if (index >= VGA_CRTC_REGISTERS)
        return;
    if (vga->crtc[VGA_CR_RETRACE_END] & VGA_RETRACE_END_PROTECT && index <= VGA_CR_OVERFLOW)
        fixed = index == VGA_CR_OVERFLOW ? (uint8_t)~LINE_COMPARE_8 : 0xff;
    vga->crtc[index] = (vga->crtc[index] & fixed) | (value & (uint8_t)~fixed);
}

void vga_write(struct vga *vga, unsigned port, uint8_t value)
{
    if (is_absent(vga, port))
        return;
    switch (port) {
    case VGA_ATTRIBUTE:
        write_attribute(vga, value);
        break;
    case VGA_MISC_WRITE:
        vga->misc = value & 0xef;
        break;
    case VGA_ENABLE:
        vga->enable = value & 1;
        break;
    case VGA_SEQUENCER_INDEX:
        vga->sequencer_index = value & 7;
        break;
    case VGA_SEQUENCER_DATA:
        if (vga->sequencer_index < VGA_SEQUENCER_REGISTERS)
            vga->sequencer[vga->sequencer_index] = value & sequencer_bits[vga->sequencer_index];
        break;
    case VGA_DAC_MASK:
        vga->dac_mask = value;
        break;
    case VGA_DAC_READ_INDEX:
        vga->dac_read = value;
        vga->dac_component = 0;
        vga->dac_state = DAC_READING;
        break;
    case VGA_DAC_WRITE_INDEX:
        vga->dac_write = value;
        vga->dac_component = 0;
        vga->dac_state = DAC_WRITING;
        break;
    case VGA_DAC_DATA:
        write_dac(vga, value);
        break;
    case VGA_GRAPHICS_INDEX:
        vga->graphics_index = value & 15;
        break;
    case VGA_GRAPHICS_DATA:
        if (vga->graphics_index < VGA_GRAPHICS_REGISTERS)
            vga->graphics[vga->graphics_index] = value & graphics_bits[vga->graphics_index];
        break;
    case VGA_CRTC_INDEX_MONO:
    case VGA_CRTC_INDEX:
        vga->crtc_index = value & 0x3f;
        break;
    case VGA_CRTC_DATA_MONO:
    case VGA_CRTC_DATA:
        write_crtc(vga, value);
        break;
    case VGA_STATUS_1_MONO:
    case VGA_STATUS_1:
        vga->feature = value & 0x0b;
        break;
    }
}
