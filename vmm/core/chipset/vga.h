/* IBM VGA with 256 KiB of display memory (IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"; the
 * registers' meanings also as FreeVGA and Chips & Technologies' 65550 data sheet have them).
 *
 * Registers are addressed by their port numbers. Time is asked for in one place only, input status 1, whose retrace
 * and display-enable bits are worked out from the dot clock and the CRTC's totals, a frame beginning at guest time 0.
 *
 * The CPU's window on the planes is `vga_window`. In a plain text mode it behaves like RAM: the byte at 2n is the
 * character of cell n in plane 0, the one at 2n + 1 its attribute in plane 1. A board may then map RAM there, with
 * `vga_load_window` when that begins and `vga_store_window` when it ends (a register write changed the window) and
 * before anybody looks at the planes.
 *
 * Left out: the vertical retrace interrupt (most VGAs have no wire for it), light pen, sense switches other than "a
 * colour monitor is there", 64 KiB of EGA memory (sequencer register 4 bit 1), the latches' change by reads of mapped
 * RAM. There is no Bochs DISPI interface at 1CEh: SeaBIOS's VGA BIOS then offers the standard VGA's modes, and no VBE. */
#ifndef BRINGUP_VGA_H
#define BRINGUP_VGA_H

#include "../machine.h"
#include "fields.h"

#define VGA_PLANES 4
#define VGA_PLANE_BYTES 65536
#define VGA_MEMORY_BYTES 262144
#define VGA_WINDOW_BYTES 32768   /* of a window that is like RAM */

/* Ports 3B0h-3DFh; 3Bxh and 3Dxh are each other's colour and monochrome twins (VGA_MISC_COLOUR). */
enum {
    VGA_PORT_FIRST = 0x3b0,
    VGA_PORTS = 0x30,
    VGA_CRTC_INDEX_MONO = 0x3b4,
    VGA_CRTC_DATA_MONO = 0x3b5,
    VGA_STATUS_1_MONO = 0x3ba,
    VGA_ATTRIBUTE = 0x3c0,       /* index and data, by turns */
    VGA_ATTRIBUTE_READ = 0x3c1,
    VGA_MISC_WRITE = 0x3c2,      /* read: input status 0 */
    VGA_ENABLE = 0x3c3,          /* kept, and without effect: nobody else wants these addresses */
    VGA_SEQUENCER_INDEX = 0x3c4,
    VGA_SEQUENCER_DATA = 0x3c5,
    VGA_DAC_MASK = 0x3c6,
    VGA_DAC_READ_INDEX = 0x3c7,  /* read: DAC state */
    VGA_DAC_WRITE_INDEX = 0x3c8,
    VGA_DAC_DATA = 0x3c9,
    VGA_FEATURE_READ = 0x3ca,
    VGA_MISC_READ = 0x3cc,
    VGA_GRAPHICS_INDEX = 0x3ce,
    VGA_GRAPHICS_DATA = 0x3cf,
    VGA_CRTC_INDEX = 0x3d4,
    VGA_CRTC_DATA = 0x3d5,
    VGA_STATUS_1 = 0x3da,        /* write: feature control */
};
enum {
    VGA_MISC_COLOUR = 1 << 0,    /* CRTC and input status 1 at 3Dxh, not 3Bxh */
    VGA_MISC_RAM = 1 << 1,       /* the CPU reaches display memory */
    VGA_MISC_CLOCK = 3 << 2,     /* 0: 25.175 MHz, 1: 28.322 MHz */
    VGA_MISC_EVEN_PAGE = 1 << 5, /* which half of the offsets odd/even addressing uses */
};
enum { VGA_STATUS_0_SENSE = 1 << 4 };
enum { VGA_STATUS_1_DISPLAY_DISABLED = 1 << 0, VGA_STATUS_1_RETRACE = 1 << 3 };
enum {
    VGA_SR_RESET,
    VGA_SR_CLOCKING,
    VGA_SR_MAP_MASK,
    VGA_SR_CHARACTER_MAP,
    VGA_SR_MEMORY_MODE,
    VGA_SEQUENCER_REGISTERS,
};
enum {
    VGA_CLOCKING_8_DOTS = 1 << 0,
    VGA_CLOCKING_HALF = 1 << 3,  /* of the dot clock */
    VGA_CLOCKING_SCREEN_OFF = 1 << 5,
};
enum { VGA_MEMORY_SEQUENTIAL = 1 << 2 /* not odd/even */, VGA_MEMORY_CHAIN_4 = 1 << 3 };
enum {
    VGA_GR_SET_RESET,
    VGA_GR_ENABLE_SET_RESET,
    VGA_GR_COLOUR_COMPARE,
    VGA_GR_DATA_ROTATE,
    VGA_GR_READ_MAP,
    VGA_GR_MODE,
    VGA_GR_MISCELLANEOUS,
    VGA_GR_COLOUR_DONT_CARE,
    VGA_GR_BIT_MASK,
    VGA_GRAPHICS_REGISTERS,
};
enum {
    VGA_MODE_WRITE = 3 << 0,
    VGA_MODE_READ_COMPARE = 1 << 3,
    VGA_MODE_ODD_EVEN = 1 << 4,
};
enum {
    VGA_GR6_GRAPHICS = 1 << 0,
    VGA_GR6_CHAIN_ODD_EVEN = 1 << 1,
    VGA_GR6_MAP = 3 << 2, /* 0: A0000h 128 KiB, 1: A0000h 64 KiB, 2: B0000h 32 KiB, 3: B8000h 32 KiB */
};
enum {
    VGA_AR_MODE = 0x10, /* 0 to 15 are the palette */
    VGA_AR_OVERSCAN,
    VGA_AR_PLANE_ENABLE,
    VGA_AR_PANNING,
    VGA_AR_COLOUR_SELECT,
    VGA_ATTRIBUTE_REGISTERS,
};
enum {
    VGA_ATTRIBUTE_ON = 1 << 5, /* of the index: the screen shows memory, not the border's colour */
};
enum {
    VGA_AR_MODE_GRAPHICS = 1 << 0,
    VGA_AR_MODE_LINE_GRAPHICS = 1 << 2, /* characters C0h-DFh repeat their eighth column as the ninth */
    VGA_AR_MODE_BLINK = 1 << 3,         /* attribute bit 7 blinks, and is no background */
    VGA_AR_MODE_SELECT_54 = 1 << 7,     /* palette bits 5:4 come from VGA_AR_COLOUR_SELECT */
};
enum {
    VGA_CR_HORIZONTAL_TOTAL = 0x00, /* characters less 5 */
    VGA_CR_HORIZONTAL_END = 0x01,   /* characters shown, less 1 */
    VGA_CR_VERTICAL_TOTAL = 0x06,   /* lines less 2 */
    VGA_CR_OVERFLOW = 0x07,
    VGA_CR_CELL_HEIGHT = 0x09,
    VGA_CR_CURSOR_START = 0x0a,
    VGA_CR_CURSOR_END = 0x0b,
    VGA_CR_START_HIGH = 0x0c,
    VGA_CR_START_LOW = 0x0d,
    VGA_CR_CURSOR_HIGH = 0x0e,
    VGA_CR_CURSOR_LOW = 0x0f,
    VGA_CR_RETRACE_START = 0x10,
    VGA_CR_RETRACE_END = 0x11,
    VGA_CR_VERTICAL_END = 0x12,     /* lines shown, less 1 */
    VGA_CR_OFFSET = 0x13,           /* of a row to the next, in two units of the address counter */
    VGA_CR_UNDERLINE = 0x14,
    VGA_CR_MODE = 0x17,
    VGA_CR_LINE_COMPARE = 0x18,
    VGA_CRTC_REGISTERS,
};
enum { VGA_CELL_HEIGHT = 31 << 0, VGA_CELL_DOUBLE_SCAN = 1 << 7 };
enum { VGA_CURSOR_OFF = 1 << 5, VGA_CURSOR_LINE = 31 << 0 };
enum { VGA_RETRACE_END_PROTECT = 1 << 7 /* CR0-7 are read-only, but for the line compare's bit */ };
enum { VGA_UNDERLINE_DOUBLEWORD = 1 << 6 };
enum {
    VGA_CR_MODE_HALF_LINES = 1 << 2,  /* the line counter counts every second line */
    VGA_CR_MODE_WRAP_15 = 1 << 5,     /* bit 0 of a word address is counter bit 15, else 13 */
    VGA_CR_MODE_BYTES = 1 << 6,
    VGA_CR_MODE_SYNC = 1 << 7,        /* 0: the CRTC stands still */
};

#define VGA_STATE(VALUE, PART, owner)                                                                                  \
    VALUE(owner, uint8_t, misc, )                                                                                      \
    VALUE(owner, uint8_t, feature, )                                                                                   \
    VALUE(owner, uint8_t, enable, )                                                                                    \
    VALUE(owner, uint8_t, sequencer_index, )                                                                           \
    VALUE(owner, uint8_t, sequencer, [VGA_SEQUENCER_REGISTERS])                                                        \
    VALUE(owner, uint8_t, graphics_index, )                                                                            \
    VALUE(owner, uint8_t, graphics, [VGA_GRAPHICS_REGISTERS])                                                          \
    VALUE(owner, uint8_t, attribute_index, )                                                                           \
    VALUE(owner, uint8_t, attribute, [VGA_ATTRIBUTE_REGISTERS])                                                        \
    VALUE(owner, bool, attribute_data, )     /* the flip-flop: the next write is data */                               \
    VALUE(owner, uint8_t, crtc_index, )                                                                                \
    VALUE(owner, uint8_t, crtc, [VGA_CRTC_REGISTERS])                                                                  \
    VALUE(owner, uint8_t, dac_mask, )                                                                                  \
    VALUE(owner, uint8_t, dac_read, )                                                                                  \
    VALUE(owner, uint8_t, dac_write, )                                                                                 \
    VALUE(owner, uint8_t, dac_component, )   /* of the entry: red, green, blue */                                      \
    VALUE(owner, uint8_t, dac_state, )       /* 3: reading, 0: writing */                                              \
    VALUE(owner, uint8_t, dac, [768])        /* 6 bits each */                                                         \
    VALUE(owner, uint8_t, latch, [VGA_PLANES])                                                                         \
    VALUE(owner, uint8_t, planes, [VGA_MEMORY_BYTES]) /* plane 0, then 1, ... */
STATE_STRUCT(vga, VGA_STATE);

void vga_reset(struct vga *vga);
uint8_t vga_read(struct vga *vga, unsigned port, uint64_t now);
void vga_write(struct vga *vga, unsigned port, uint8_t value);

/* ---- display memory ---- */

struct vga_window {
    uint32_t base, size; /* guest-physical bytes; size 0: the CPU reaches no display memory */
    bool linear;         /* it is like RAM as long as no register changes this structure */
    uint8_t page;        /* of a linear one: it is the planes' even offsets (0) or the odd ones */
};
struct vga_window vga_window(const struct vga *vga);
/* An access of the CPU; outside the window reads are FFh and writes are lost. */
uint8_t vga_memory_read(struct vga *vga, uint32_t gpa);
void vga_memory_write(struct vga *vga, uint32_t gpa, uint8_t value);
/* The VGA_WINDOW_BYTES of a linear window as the CPU would read them, and their way back into planes 0 and 1. */
void vga_load_window(const struct vga *vga, struct vga_window window, uint8_t *ram);
void vga_store_window(struct vga *vga, struct vga_window window, const uint8_t *ram);

/* ---- what the screen shows ---- */

/* `ram`: what is mapped in a linear window, which then holds the cells; or NULL. */
void vga_text(const struct vga *vga, const uint8_t *ram, struct machine_screen *screen);
/* Another value when the text has changed that a mode with text in RAM shows; 0: `ram` is none. */
uint64_t vga_text_hash(const struct vga *vga, const uint8_t *ram);
/* The font of characters whose attribute bit 3 is clear (0) or set (1): MACHINE_FONT_BYTES. */
void vga_font(const struct vga *vga, unsigned set, uint8_t *glyphs);

#endif
