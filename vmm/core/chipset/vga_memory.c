/* The CPU's way to the planes of the VGA: addressing, latches, read modes 0-1, write modes 0-3. */
#include "vga.h"

static const struct {
    uint32_t base, size;
} maps[] = {{0xa0000, 0x20000}, {0xa0000, 0x10000}, {0xb0000, 0x8000}, {0xb8000, 0x8000}};

static unsigned map_of(const struct vga *vga)
{
    return (vga->graphics[VGA_GR_MISCELLANEOUS] & VGA_GR6_MAP) >> 2;
}

/* Does a write put one byte into one place, and a read take it from there? */
static bool is_plain(const struct vga *vga)
{
    const uint8_t *graphics = vga->graphics;

    return vga->sequencer[VGA_SR_MAP_MASK] == 3 && !graphics[VGA_GR_ENABLE_SET_RESET] &&
           !graphics[VGA_GR_DATA_ROTATE] && !(graphics[VGA_GR_READ_MAP] & 2) && graphics[VGA_GR_BIT_MASK] == 0xff &&
           !(graphics[VGA_GR_MODE] & (VGA_MODE_WRITE | VGA_MODE_READ_COMPARE));
}

/* The offsets that odd/even addressing uses: even ones (0), or odd ones. */
static uint8_t page_of(const struct vga *vga)
{
    return vga->misc & VGA_MISC_EVEN_PAGE ? 0 : 1;
}

static bool is_odd_even(const struct vga *vga)
{
    return !(vga->sequencer[VGA_SR_MEMORY_MODE] & (VGA_MEMORY_SEQUENTIAL | VGA_MEMORY_CHAIN_4)) &&
           vga->graphics[VGA_GR_MODE] & VGA_MODE_ODD_EVEN &&
           vga->graphics[VGA_GR_MISCELLANEOUS] & VGA_GR6_CHAIN_ODD_EVEN;
}

struct vga_window vga_window(const struct vga *vga)
{
    unsigned map = map_of(vga);
    struct vga_window window = {.base = maps[map].base, .page = page_of(vga)};

    if (vga->misc & VGA_MISC_RAM) {
        window.size = maps[map].size;
        window.linear = window.size == VGA_WINDOW_BYTES && is_odd_even(vga) && is_plain(vga);
    }
    return window;
}

static uint8_t *plane(struct vga *vga, unsigned number)
{
    return vga->planes + number * VGA_PLANE_BYTES;
}

/* Where the CPU's address lies: an offset into the planes, and which of them chaining allows. */
struct place {
    uint32_t offset;
    uint8_t read_plane, write_mask;
};

static struct place place_of(const struct vga *vga, uint32_t address)
{
    uint8_t memory_mode = vga->sequencer[VGA_SR_MEMORY_MODE];
    struct place place = {
        .offset = address, .read_plane = vga->graphics[VGA_GR_READ_MAP], .write_mask = vga->sequencer[VGA_SR_MAP_MASK]};

    if (memory_mode & VGA_MEMORY_CHAIN_4) {
        place.offset = address & ~3u;
        place.read_plane = address & 3;
        place.write_mask &= (uint8_t)(1 << (address & 3));
    } else {
        if (!(memory_mode & VGA_MEMORY_SEQUENTIAL))
            place.write_mask &= address & 1 ? 0x0a : 0x05;
        if (vga->graphics[VGA_GR_MODE] & VGA_MODE_ODD_EVEN)
            place.read_plane = (place.read_plane & 2) | (address & 1);
        if (vga->graphics[VGA_GR_MISCELLANEOUS] & VGA_GR6_CHAIN_ODD_EVEN) {
            unsigned high = map_of(vga) == 0 ? address >> 16 & 1 : page_of(vga);
            place.offset = (address & ~1u) | high;
        }
    }
    place.offset %= VGA_PLANE_BYTES;
    return place;
}

/* The address within the window; false outside. */
static bool in_window(const struct vga *vga, uint32_t gpa, uint32_t *address)
{
    struct vga_window window = vga_window(vga);

    *address = gpa - window.base;
    return *address < window.size;
}

uint8_t vga_memory_read(struct vga *vga, uint32_t gpa)
{
    const uint8_t *graphics = vga->graphics;
    uint32_t address;
    uint8_t differs = 0;

    if (!in_window(vga, gpa, &address))
        return 0xff;
    struct place place = place_of(vga, address);
    for (unsigned i = 0; i < VGA_PLANES; i++)
        vga->latch[i] = plane(vga, i)[place.offset];
    if (!(graphics[VGA_GR_MODE] & VGA_MODE_READ_COMPARE))
        return vga->latch[place.read_plane];
    for (unsigned i = 0; i < VGA_PLANES; i++) {
        uint8_t wanted = graphics[VGA_GR_COLOUR_COMPARE] >> i & 1 ? 0xff : 0;
        if (graphics[VGA_GR_COLOUR_DONT_CARE] >> i & 1)
            differs |= vga->latch[i] ^ wanted;
    }
    return (uint8_t)~differs;
}

static uint8_t rotated(uint8_t value, unsigned by)
{
    return (uint8_t)(value >> by | value << (8 - by));
}

/* The logical unit between what is written and the latch. */
static uint8_t combined(unsigned function, uint8_t value, uint8_t latch)
{
    switch (function) {
    case 1:
        return value & latch;
    case 2:
        return value | latch;
    case 3:
        return value ^ latch;
    }
    return value;
}

/* What goes into a plane, by the four write modes. */
static uint8_t written(const struct vga *vga, unsigned number, uint8_t value)
{
    const uint8_t *graphics = vga->graphics;
    unsigned mode = graphics[VGA_GR_MODE] & VGA_MODE_WRITE, function = graphics[VGA_GR_DATA_ROTATE] >> 3 & 3;
    uint8_t set = graphics[VGA_GR_SET_RESET] >> number & 1 ? 0xff : 0, mask = graphics[VGA_GR_BIT_MASK];
    uint8_t latch = vga->latch[number], turned = rotated(value, graphics[VGA_GR_DATA_ROTATE] & 7), data;

    switch (mode) {
    case 0:
        data = graphics[VGA_GR_ENABLE_SET_RESET] >> number & 1 ? set : turned;
        break;
    case 1:
        return latch;
    case 2:
        data = value >> number & 1 ? 0xff : 0;
        break;
    default:
        mask &= turned;
        data = set;
        break;
    }
    return (combined(function, data, latch) & mask) | (latch & (uint8_t)~mask);
}

void vga_memory_write(struct vga *vga, uint32_t gpa, uint8_t value)
{
    uint32_t address;

    if (!in_window(vga, gpa, &address))
        return;
    struct place place = place_of(vga, address);
    for (unsigned i = 0; i < VGA_PLANES; i++)
        if (place.write_mask >> i & 1)
            plane(vga, i)[place.offset] = written(vga, i, value);
}

void vga_load_window(const struct vga *vga, struct vga_window window, uint8_t *ram)
{
    const uint8_t *characters = vga->planes + window.page, *attributes = characters + VGA_PLANE_BYTES;

    for (unsigned i = 0; i < VGA_WINDOW_BYTES; i += 2) {
        ram[i] = characters[i];
        ram[i + 1] = attributes[i];
    }
}

void vga_store_window(struct vga *vga, struct vga_window window, const uint8_t *ram)
{
    uint8_t *characters = vga->planes + window.page, *attributes = characters + VGA_PLANE_BYTES;

    for (unsigned i = 0; i < VGA_WINDOW_BYTES; i += 2) {
        characters[i] = ram[i];
        attributes[i] = ram[i + 1];
    }
}
