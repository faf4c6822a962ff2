"""The VGA against the IBM reference and FreeVGA: registers, planes, the window that is like RAM, text screens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

PLANE = 65536
# Mode 3 (80 x 25, 9 x 16 dots) as IBM's table of video parameters has it.
MISC = 0x67
SEQUENCER = bytes.fromhex("0300030002")
CRTC = bytes.fromhex("5f4f50825581bf1f004f0d0e000000009c8e8f281f96b9a3ff")
ATTRIBUTE = bytes.fromhex("0001020304051407 38393a3b3c3d3e3f 0c000f0800")
GRAPHICS = bytes.fromhex("0000000000100e00ff")
DOT_HZ, LINE, FRAME = 28_322_000, 900, 900 * 449


def registers(lib: Any, vga: Any, misc: int, sequencer: bytes, crtc: bytes, attribute: bytes, graphics: bytes) -> None:
    """Sets a mode as a BIOS does."""
    lib.vga_write(vga, 0x3C2, misc)
    base = 0x3D4 if misc & 1 else 0x3B4
    for index, value in enumerate(sequencer):
        put(lib, vga, 0x3C4, index, value)
    put(lib, vga, base, 0x11, 0)
    for index, value in enumerate(crtc):
        put(lib, vga, base, index, value)
    for index, value in enumerate(graphics):
        put(lib, vga, 0x3CE, index, value)
    lib.vga_read(vga, base + 6, 0)
    for index, value in enumerate(attribute):
        lib.vga_write(vga, 0x3C0, index)
        lib.vga_write(vga, 0x3C0, value)
    lib.vga_write(vga, 0x3C0, 0x20)


def mode_3(lib: Any, vga: Any) -> None:
    registers(lib, vga, MISC, SEQUENCER, CRTC, ATTRIBUTE, GRAPHICS)


def put(lib: Any, vga: Any, port: int, index: int, value: int) -> None:
    lib.vga_write(vga, port, index)
    lib.vga_write(vga, port + 1, value)


def get(lib: Any, vga: Any, port: int, index: int) -> int:
    lib.vga_write(vga, port, index)
    return int(lib.vga_read(vga, port + 1, 0))


@pytest.fixture
def vga(lib: Any, ffi: Any) -> Any:
    vga = ffi.new("struct vga *")
    lib.vga_reset(vga)
    return vga


@pytest.fixture
def planar(lib: Any, vga: Any) -> Any:
    """A VGA in mode 12h's memory layout: no chaining, all planes at A0000h."""
    lib.vga_write(vga, 0x3C2, 0xE3)
    for port, index, value in (
        (0x3C4, 2, 0x0F), (0x3C4, 4, 0x06), (0x3CE, 5, 0), (0x3CE, 6, 5), (0x3CE, 7, 0x0F), (0x3CE, 8, 0xFF),
    ):  # fmt: skip
        put(lib, vga, port, index, value)
    return vga


def text_of(lib: Any, ffi: Any, vga: Any, ram: Any = None) -> Any:
    text = ffi.new("struct machine_screen *")
    lib.vga_text(vga, ffi.NULL if ram is None else ram, text)
    return text


# ---- registers ----


@pytest.mark.parametrize(
    ("port", "bits"),
    [
        (0x3C4, bytes.fromhex("033d0f3f0e")),
        (0x3CE, bytes.fromhex("0f0f0f1f037b0f0fff")),
        (0x3D4, bytes([0xFF] * 25)),
    ],
)
def test_indexed_registers_keep_the_bits_that_exist(lib: Any, vga: Any, port: int, bits: bytes) -> None:
    lib.vga_write(vga, 0x3C2, 1)
    for index in range(len(bits)):
        if (port, index) != (0x3D4, 0x11):
            put(lib, vga, port, index, 0xFF)
    found = [get(lib, vga, port, index) for index in range(len(bits)) if (port, index) != (0x3D4, 0x11)]
    assert found == [bit for index, bit in enumerate(bits) if (port, index) != (0x3D4, 0x11)]
    before = bytes(lib.vga_read(vga, at, 0) for at in (0x3CC, 0x3C3, 0x3CA))
    for index in range(len(bits), 16 if port != 0x3D4 else 64):
        put(lib, vga, port, index, 0xAA)
        if port != 0x3C4 or index < 8:
            assert get(lib, vga, port, index) == 0xFF
    assert bytes(lib.vga_read(vga, at, 0) for at in (0x3CC, 0x3C3, 0x3CA)) == before


def test_attribute_flip_flop(lib: Any, vga: Any) -> None:
    lib.vga_write(vga, 0x3C2, 1)
    lib.vga_write(vga, 0x3C0, 0x10)
    lib.vga_write(vga, 0x3C0, 0xFF)
    assert lib.vga_read(vga, 0x3C1, 0) == 0xEF
    lib.vga_write(vga, 0x3C0, 0x01)  # an index
    lib.vga_read(vga, 0x3DA, 0)  # and back to index
    lib.vga_write(vga, 0x3C0, 0x21)
    assert (lib.vga_read(vga, 0x3C0, 0), lib.vga_read(vga, 0x3C1, 0)) == (0x21, 0)
    lib.vga_write(vga, 0x3C0, 0x15)  # data for register 1
    assert lib.vga_read(vga, 0x3C1, 0) == 0x15
    lib.vga_write(vga, 0x3C0, 0x1F)  # no such register
    lib.vga_write(vga, 0x3C0, 0x55)
    assert lib.vga_read(vga, 0x3C1, 0) == 0xFF


def test_crtc_write_protection(lib: Any, vga: Any) -> None:
    lib.vga_write(vga, 0x3C2, 1)
    put(lib, vga, 0x3D4, 0x11, 0x80)
    for index in range(9):
        put(lib, vga, 0x3D4, index, 0xFF)
    assert [get(lib, vga, 0x3D4, index) for index in range(9)] == [0] * 7 + [0x10, 0xFF]
    put(lib, vga, 0x3D4, 0x11, 0x00)
    put(lib, vga, 0x3D4, 0, 0x5F)
    assert get(lib, vga, 0x3D4, 0) == 0x5F


@pytest.mark.parametrize(("misc", "here", "absent"), [(1, 0x3D0, 0x3B0), (0, 0x3B0, 0x3D0)])
def test_colour_and_mono_ports(lib: Any, vga: Any, misc: int, here: int, absent: int) -> None:
    lib.vga_write(vga, 0x3C2, misc)
    put(lib, vga, absent + 4, 0x0E, 0x12)
    put(lib, vga, here + 4, 0x0F, 0x34)
    assert get(lib, vga, here + 4, 0x0E) == 0
    assert get(lib, vga, here + 4, 0x0F) == 0x34
    assert lib.vga_read(vga, absent + 5, 0) == 0xFF
    assert lib.vga_read(vga, absent + 10, 0) == 0xFF
    lib.vga_write(vga, here + 10, 3)
    assert lib.vga_read(vga, 0x3CA, 0) == 3


def test_ports_without_register(lib: Any, vga: Any) -> None:
    lib.vga_write(vga, 0x3C2, 1)
    for port in (0x3CB, 0x3CD, 0x3D0, 0x3D8, 0x3D9, 0x3DF):
        before = lib.fields_hash(lib.vga_fields, vga, 1)
        lib.vga_write(vga, port, 0x5A)
        assert lib.vga_read(vga, port, 0) == 0xFF
        assert lib.fields_hash(lib.vga_fields, vga, 1) == before


def test_dac(lib: Any, vga: Any) -> None:
    lib.vga_write(vga, 0x3C8, 255)
    for value in (1, 2, 0xFF, 4, 5, 6):  # over the end, and 6 bits wide
        lib.vga_write(vga, 0x3C9, value)
    assert (lib.vga_read(vga, 0x3C7, 0), lib.vga_read(vga, 0x3C8, 0)) == (0, 1)
    lib.vga_write(vga, 0x3C7, 255)
    assert lib.vga_read(vga, 0x3C7, 0) == 3
    assert [lib.vga_read(vga, 0x3C9, 0) for _ in range(6)] == [1, 2, 0x3F, 4, 5, 6]
    assert lib.vga_read(vga, 0x3C6, 0) == 0xFF


# ---- input status 1 ----


def dot(number: int) -> int:
    """The guest time at which this dot begins."""
    return -(-number * 10**9 // DOT_HZ)


@pytest.mark.parametrize(
    ("line", "column", "status"),
    [
        (0, 0, 0), (0, 79, 0), (0, 80, 1), (0, 99, 1), (399, 79, 0), (400, 0, 1), (411, 99, 1),
        (412, 0, 9), (413, 99, 9), (414, 0, 1), (448, 99, 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("frame", [0, 1, 70 * 3600 * 24 * 365])
def test_status_follows_the_beam(lib: Any, vga: Any, line: int, column: int, status: int, frame: int) -> None:
    mode_3(lib, vga)
    now = dot(frame * FRAME + line * LINE + column * 9)
    assert lib.vga_read(vga, 0x3DA, now) == status
    assert lib.vga_read(vga, 0x3DA, now + dot(8) - 1) == status


def test_status_of_a_crtc_that_stands_still(lib: Any, vga: Any) -> None:
    lib.vga_write(vga, 0x3C2, 1)
    assert {lib.vga_read(vga, 0x3DA, dot(n * 977)) for n in range(1000)} == {1}


@given(st.binary(min_size=25, max_size=25), st.integers(0, 2**64 - 1), st.integers(0, 0x3F))
def test_status_of_any_registers_at_any_time(lib: Any, ffi: Any, crtc: bytes, now: int, clocking: int) -> None:
    vga = ffi.new("struct vga *")
    vga.misc, vga.sequencer[1] = 1, clocking
    vga.crtc = list(crtc)
    assert lib.vga_read(vga, 0x3DA, now) & ~9 == 0


# ---- planes ----


def fill(vga: Any, offset: int, values: tuple[int, int, int, int]) -> None:
    for plane, value in enumerate(values):
        vga.planes[plane * PLANE + offset] = value


def planes(vga: Any, offset: int) -> tuple[int, ...]:
    return tuple(vga.planes[plane * PLANE + offset] for plane in range(4))


def test_map_mask_and_read_map(lib: Any, planar: Any) -> None:
    put(lib, planar, 0x3C4, 2, 0x06)
    lib.vga_memory_write(planar, 0xA1234, 0x5A)
    assert planes(planar, 0x1234) == (0, 0x5A, 0x5A, 0)
    fill(planar, 7, (1, 2, 3, 4))
    for plane in range(4):
        put(lib, planar, 0x3CE, 4, plane)
        assert lib.vga_memory_read(planar, 0xA0007) == plane + 1
    assert list(planar.latch) == [1, 2, 3, 4]


def test_read_mode_1_compares_colours(lib: Any, planar: Any) -> None:
    fill(planar, 0, (0b11001100, 0b10101010, 0xFF, 0x0F))
    put(lib, planar, 0x3CE, 5, 0x08)
    put(lib, planar, 0x3CE, 2, 0b0101)  # planes 0 and 2 set, 1 and 3 clear
    assert lib.vga_memory_read(planar, 0xA0000) == 0b11001100 & 0b01010101 & 0xF0
    put(lib, planar, 0x3CE, 7, 0b0100)  # only plane 2 matters
    assert lib.vga_memory_read(planar, 0xA0000) == 0xFF


@pytest.mark.parametrize(("function", "expected"), [(0, 0xC3), (1, 0xC3 & 0x5A), (2, 0xC3 | 0x5A), (3, 0xC3 ^ 0x5A)])
@pytest.mark.parametrize("mask", [0xFF, 0x3C, 0])
def test_write_mode_0(lib: Any, planar: Any, function: int, expected: int, mask: int) -> None:
    fill(planar, 0, (0x5A, 0x5A, 0x5A, 0x5A))
    lib.vga_memory_read(planar, 0xA0000)
    put(lib, planar, 0x3CE, 0, 0b0010)  # set/reset: plane 1 set, plane 0 clear
    put(lib, planar, 0x3CE, 1, 0b0011)
    put(lib, planar, 0x3CE, 3, function << 3 | 4)  # rotate by four
    put(lib, planar, 0x3CE, 8, mask)
    lib.vga_memory_write(planar, 0xA0000, 0x3C)
    operations = [lambda a, b: a, lambda a, b: a & b, lambda a, b: a | b, lambda a, b: a ^ b]
    of = [operations[function](data, 0x5A) & mask | 0x5A & ~mask for data in (0, 0xFF, 0xC3, 0xC3)]
    assert planes(planar, 0) == tuple(of)
    assert of[2] == expected & mask | 0x5A & ~mask


def test_write_mode_1_copies_latches(lib: Any, planar: Any) -> None:
    fill(planar, 5, (1, 2, 3, 4))
    put(lib, planar, 0x3CE, 5, 1)
    put(lib, planar, 0x3CE, 8, 0)  # no bit mask here
    lib.vga_memory_read(planar, 0xA0005)
    put(lib, planar, 0x3C4, 2, 0x0D)
    lib.vga_memory_write(planar, 0xA0100, 0xFF)
    assert planes(planar, 0x100) == (1, 0, 3, 4)


def test_write_mode_2_spreads_a_colour(lib: Any, planar: Any) -> None:
    fill(planar, 0, (0xAA, 0xAA, 0xAA, 0xAA))
    lib.vga_memory_read(planar, 0xA0000)
    put(lib, planar, 0x3CE, 5, 2)
    put(lib, planar, 0x3CE, 8, 0x0F)
    lib.vga_memory_write(planar, 0xA0000, 0b0101)
    assert planes(planar, 0) == (0xAF, 0xA0, 0xAF, 0xA0)


def test_write_mode_3_masks_by_data(lib: Any, planar: Any) -> None:
    fill(planar, 0, (0x00, 0xFF, 0x00, 0xFF))
    lib.vga_memory_read(planar, 0xA0000)
    put(lib, planar, 0x3CE, 5, 3)
    put(lib, planar, 0x3CE, 0, 0b0011)
    put(lib, planar, 0x3CE, 3, 1)
    put(lib, planar, 0x3CE, 8, 0x7E)
    lib.vga_memory_write(planar, 0xA0000, 0x81)  # rotated: C0, and with the mask: 40
    assert planes(planar, 0) == (0x40, 0xFF, 0x00, 0xBF)


def test_chain_4(lib: Any, vga: Any) -> None:
    lib.vga_write(vga, 0x3C2, 0x63)
    for port, index, value in ((0x3C4, 2, 0x0F), (0x3C4, 4, 0x0E), (0x3CE, 6, 5), (0x3CE, 5, 0x40), (0x3CE, 8, 0xFF)):
        put(lib, vga, port, index, value)
    for address in range(8):
        lib.vga_memory_write(vga, 0xA0000 + address, address + 1)
    assert (planes(vga, 0), planes(vga, 4)) == ((1, 2, 3, 4), (5, 6, 7, 8))
    assert [lib.vga_memory_read(vga, 0xA0000 + address) for address in range(8)] == list(range(1, 9))


def test_odd_even(lib: Any, vga: Any) -> None:
    mode_3(lib, vga)
    lib.vga_memory_write(vga, 0xB8000, 0x41)
    lib.vga_memory_write(vga, 0xB8001, 0x1F)
    lib.vga_memory_write(vga, 0xBFFFF, 0x77)
    assert (planes(vga, 0), planes(vga, 1), planes(vga, 0x7FFE)) == ((0x41, 0x1F, 0, 0), (0, 0, 0, 0), (0, 0x77, 0, 0))
    assert (lib.vga_memory_read(vga, 0xB8000), lib.vga_memory_read(vga, 0xB8001)) == (0x41, 0x1F)
    lib.vga_write(vga, 0x3C2, MISC & ~0x20)  # the other page
    lib.vga_memory_write(vga, 0xB8000, 0x42)
    assert (planes(vga, 0), planes(vga, 1)) == ((0x41, 0x1F, 0, 0), (0x42, 0, 0, 0))
    put(lib, vga, 0x3CE, 6, 0x02)  # 128 KiB at A0000h: A16 chooses the page
    lib.vga_memory_write(vga, 0xA0002, 1)
    lib.vga_memory_write(vga, 0xB0002, 2)
    assert (planes(vga, 2)[0], planes(vga, 3)[0]) == (1, 2)


@pytest.mark.parametrize(
    ("gr6", "base", "size"),
    [(0x01, 0xA0000, 0x20000), (0x05, 0xA0000, 0x10000), (0x09, 0xB0000, 0x8000), (0x0D, 0xB8000, 0x8000)],
)
def test_window(lib: Any, planar: Any, gr6: int, base: int, size: int) -> None:
    put(lib, planar, 0x3CE, 6, gr6)
    window = lib.vga_window(planar)
    assert (window.base, window.size, window.linear) == (base, size, False)
    for outside in (base - 1, base + size, 0, 0xFFFFFFFF):
        lib.vga_memory_write(planar, outside, 0x55)
        assert lib.vga_memory_read(planar, outside) == 0xFF
    assert not any(bytes(planar.planes))
    lib.vga_memory_write(planar, base + size - 1, 0x55)
    assert lib.vga_memory_read(planar, base + size - 1) == 0x55
    lib.vga_write(planar, 0x3C2, 0xE1)  # no RAM for the CPU
    assert lib.vga_window(planar).size == 0
    assert lib.vga_memory_read(planar, base) == 0xFF


@pytest.mark.parametrize(
    ("port", "index", "value"),
    [
        (0x3C4, 2, 0x0F), (0x3C4, 2, 1), (0x3C4, 4, 0x06), (0x3C4, 4, 0x0A), (0x3CE, 1, 1), (0x3CE, 3, 1),
        (0x3CE, 3, 8), (0x3CE, 4, 2), (0x3CE, 5, 0), (0x3CE, 5, 0x11), (0x3CE, 5, 0x18), (0x3CE, 6, 0x04),
        (0x3CE, 6, 0x0C), (0x3CE, 8, 0),
    ],
)  # fmt: skip
def test_what_makes_a_text_window_no_ram(lib: Any, vga: Any, port: int, index: int, value: int) -> None:
    mode_3(lib, vga)
    assert lib.vga_window(vga).linear
    put(lib, vga, port, index, value)
    assert not lib.vga_window(vga).linear


@given(
    st.lists(st.tuples(st.integers(0, 0x7FFF), st.integers(0, 255)), max_size=40),
    st.sampled_from([MISC, MISC & ~0x20]),
    st.sampled_from([0x0E, 0x0A, 0x0B]),
)
def test_a_linear_window_is_ram(lib: Any, ffi: Any, writes: list[tuple[int, int]], misc: int, gr6: int) -> None:
    vga, ram = ffi.new("struct vga *"), ffi.new("uint8_t[]", 0x8000)
    lib.vga_reset(vga)
    mode_3(lib, vga)
    lib.vga_write(vga, 0x3C2, misc)
    put(lib, vga, 0x3CE, 6, gr6)
    window = lib.vga_window(vga)
    assert (window.size, window.linear) == (0x8000, True)
    vga.planes[0x8000] = vga.planes[2 * PLANE] = 0xEE  # no part of the window
    for address, value in writes:
        lib.vga_memory_write(vga, window.base + address, value)
        ram[address] = value
    loaded = ffi.new("uint8_t[]", 0x8000)
    lib.vga_load_window(vga, window, loaded)
    assert bytes(loaded) == bytes(ram)
    for address, _ in writes:
        ram[address] ^= 0xA5
    lib.vga_store_window(vga, window, ram)
    assert all(lib.vga_memory_read(vga, window.base + address) == ram[address] for address, _ in writes)
    assert (vga.planes[0x8000], vga.planes[2 * PLANE]) == (0xEE, 0xEE)


# ---- the text screen ----


def say(lib: Any, vga: Any, cell: int, text: bytes, attribute: int = 7) -> None:
    for at, char in enumerate(text):
        lib.vga_memory_write(vga, 0xB8000 + 2 * (cell + at), char)
        lib.vga_memory_write(vga, 0xB8001 + 2 * (cell + at), attribute)


def line(text: Any, row: int) -> bytes:
    return bytes(cell & 0xFF for cell in text.cells[row * text.columns : (row + 1) * text.columns])


def test_text(lib: Any, ffi: Any, vga: Any) -> None:
    mode_3(lib, vga)
    say(lib, vga, 0, b"first", 0x1E)
    say(lib, vga, 24 * 80 + 76, b"last")
    for register, value in ((0x0E, 0x07), (0x0F, 0xCF)):
        put(lib, vga, 0x3D4, register, value)
    text = text_of(lib, ffi, vga)
    assert (text.mode, text.blank, text.columns, text.rows) == (lib.SCREEN_TEXT, 0, 80, 25)
    assert (text.width, text.height, text.blink, text.line_graphics) == (9, 16, True, True)
    assert line(text, 0)[:6] == b"first\0"
    assert line(text, 24)[76:] == b"last"
    assert text.cells[0] == 0x1E << 8 | ord("f")
    assert (text.cursor, text.cursor_row, text.cursor_column) == (True, 24, 79)
    assert (text.cursor_first, text.cursor_last) == (13, 14)


def test_text_in_mapped_ram(lib: Any, ffi: Any, vga: Any) -> None:
    mode_3(lib, vga)
    say(lib, vga, 0, b"stale")
    ram = ffi.new("uint8_t[]", 0x8000)
    ram[0:4] = b"n\x07o\x07"
    assert line(text_of(lib, ffi, vga, ram), 0)[:3] == b"no\0"
    assert line(text_of(lib, ffi, vga), 0)[:5] == b"stale"


def test_text_start_address_and_pitch(lib: Any, ffi: Any, vga: Any) -> None:
    mode_3(lib, vga)
    put(lib, vga, 0x3D4, 0x0D, 80)
    put(lib, vga, 0x3D4, 0x13, 60)
    say(lib, vga, 80, b"top")
    say(lib, vga, 80 + 120, b"second")
    put(lib, vga, 0x3D4, 0x0E, 0)
    put(lib, vga, 0x3D4, 0x0F, 203)
    text = text_of(lib, ffi, vga)
    assert (line(text, 0)[:3], line(text, 1)[:6]) == (b"top", b"second")
    assert (text.cursor_row, text.cursor_column) == (1, 3)
    put(lib, vga, 0x3D4, 0x0F, 79)  # above the top
    assert not text_of(lib, ffi, vga).cursor


def test_text_split_screen(lib: Any, ffi: Any, vga: Any) -> None:
    mode_3(lib, vga)
    put(lib, vga, 0x3D4, 0x0C, 0x10)
    say(lib, vga, 0x1000, b"scrolled")
    say(lib, vga, 0, b"status")
    put(lib, vga, 0x3D4, 0x18, 24 * 16 - 1 & 0xFF)
    put(lib, vga, 0x3D4, 0x09, 0x0F)
    text = text_of(lib, ffi, vga)  # line compare 17Fh: bit 8 of it is in the overflow register
    assert (line(text, 0)[:8], line(text, 24)[:6]) == (b"scrolled", b"status")


@pytest.mark.parametrize(
    ("changes", "columns", "rows", "height"),
    [
        ([(0x09, 0x47)], 80, 50, 8),
        ([(0x01, 39), (0x13, 20)], 40, 25, 16),
        ([(0x09, 0xC7)], 80, 25, 8),
        ([(0x01, 131), (0x12, 0xDF)], 132, 30, 16),
    ],
)
def test_text_sizes(
    lib: Any, ffi: Any, vga: Any, changes: list[tuple[int, int]], columns: int, rows: int, height: int
) -> None:
    mode_3(lib, vga)
    put(lib, vga, 0x3D4, 0x11, 0)
    for register, value in changes:
        put(lib, vga, 0x3D4, register, value)
    text = text_of(lib, ffi, vga)
    assert (text.columns, text.rows, text.height) == (columns, rows, height)


@pytest.mark.parametrize(
    ("start", "end", "seen"), [(0x2D, 0x0E, False), (0x0D, 0x0E, True), (9, 4, False), (3, 31, True)]
)
def test_text_cursor_shape(lib: Any, ffi: Any, vga: Any, start: int, end: int, seen: bool) -> None:
    mode_3(lib, vga)
    put(lib, vga, 0x3D4, 0x0A, start)
    put(lib, vga, 0x3D4, 0x0B, end)
    text = text_of(lib, ffi, vga)
    assert bool(text.cursor) is seen
    assert text.cursor_last == min(end, 15)


def test_text_colours(lib: Any, ffi: Any, vga: Any) -> None:
    mode_3(lib, vga)
    for entry, colour in ((0x14, (0x2A, 0x15, 0)), (0x3F, (0x3F, 0x3F, 0x3F)), (0x54, (1, 2, 3)), (0x06, (9, 9, 9))):
        lib.vga_write(vga, 0x3C8, entry)
        for level in colour:
            lib.vga_write(vga, 0x3C9, level)
    colours = bytes(text_of(lib, ffi, vga).colours)
    assert (colours[18:21], colours[45:48]) == (bytes([0xAA, 0x55, 0]), bytes([0xFF] * 3))
    vga.attribute[0x14] = 4  # colour select: the entries from 40h
    assert bytes(text_of(lib, ffi, vga).colours)[18:21] == bytes([4, 8, 12])
    vga.attribute[0x10] |= 0x80  # bits 5:4 come from there too, and are 0
    vga.attribute[0x14] = 0
    vga.attribute[6] = 0x36
    assert bytes(text_of(lib, ffi, vga).colours)[18:21] == bytes([9 << 2] * 3)


def test_text_modes_that_are_none(lib: Any, ffi: Any, vga: Any) -> None:
    text = text_of(lib, ffi, vga)
    assert (text.mode, text.blank) == (lib.SCREEN_OFF, 1)
    mode_3(lib, vga)
    put(lib, vga, 0x3C4, 1, 0x20)
    assert text_of(lib, ffi, vga).blank
    put(lib, vga, 0x3CE, 6, 0x05)
    text = text_of(lib, ffi, vga)
    assert (text.mode, text.columns) == (lib.SCREEN_GRAPHICS, 0)


@given(st.binary(min_size=25, max_size=25), st.binary(min_size=21, max_size=21), st.integers(0, 255))
def test_text_of_any_registers(lib: Any, ffi: Any, crtc: bytes, attribute: bytes, misc: int) -> None:
    vga, ram = ffi.new("struct vga *"), ffi.new("uint8_t[]", 0x8000)
    vga.misc, vga.crtc, vga.attribute = misc, list(crtc), list(attribute)
    text = text_of(lib, ffi, vga, ram)
    assert text.columns * text.rows <= 16384
    assert not text.cursor or (text.cursor_row < text.rows and text.cursor_column < text.columns)


def test_fonts(lib: Any, ffi: Any, vga: Any) -> None:
    mode_3(lib, vga)
    put(lib, vga, 0x3C4, 3, 0b010110)  # map B: 2 and the half, 24 KiB on; map A: 1
    vga.planes[2 * PLANE + 0x8000 + 0x2000 + 32 * 65] = 0x18
    vga.planes[2 * PLANE + 0x4000 + 8191] = 0x81
    glyphs = ffi.new("uint8_t[]", 8192)
    lib.vga_font(vga, 0, glyphs)
    assert (glyphs[32 * 65], glyphs[8191]) == (0x18, 0)
    lib.vga_font(vga, 1, glyphs)
    assert (glyphs[32 * 65], glyphs[8191]) == (0, 0x81)
