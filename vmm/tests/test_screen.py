"""Text screens as data, as bytes, as pictures, on terminals; keys by name and by what they write."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from dataclasses import replace

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bringup.vmm.screen import ansi, cp437, keys, picture
from bringup.vmm.screen.text import CGA_COLOURS, HEADER, Mode, ScreenError, TextScreen, unpack

# ---- code page 437 ----


def test_code_page() -> None:
    assert len(cp437.TABLE) == 256
    assert cp437.decode(b"A:\\>\x00\x20\xff") == "A:\\>   "
    assert cp437.decode(bytes([0x01, 0x1A, 0x7F, 0x80, 0xB3, 0xC9, 0xDB, 0xE1, 0xFE])) == "☺→⌂Ç│╔█ß■"
    visible = [char for char in cp437.TABLE if char != " "]
    assert len(set(visible)) == 253
    assert all(char.isprintable() for char in cp437.TABLE)


# ---- screens ----


def screen(*lines: str, columns: int = 8, attribute: int = 7, **other: object) -> TextScreen:
    text = "".join(line.ljust(columns) for line in lines).encode("cp437")
    cells = bytes(part for char in text for part in (char, attribute))
    return replace(TextScreen(Mode.TEXT, columns, len(lines), cells), **other)  # type: ignore[arg-type]


def test_text() -> None:
    one = screen("A:\\>ver", "", "é  x")
    assert one.lines == ("A:\\>ver", "", "é  x")
    assert one.text == "A:\\>ver\n\né  x"
    assert one.region(range(0, 9), range(1, 4)) == ":\\>\n\n  x"
    assert TextScreen().text == ""


@given(
    st.integers(0, 20), st.integers(1, 20), st.binary(min_size=800, max_size=800), st.binary(min_size=48, max_size=48),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_pack_and_unpack(
    rows: int, columns: int, cells: bytes, colours: bytes, blank: bool, blink: bool, line_graphics: bool, hidden: bool
) -> None:
    one = TextScreen(
        mode=Mode.TEXT, columns=columns, rows=rows, cells=cells[: 2 * rows * columns], colours=colours,
        cursor=None if hidden or not rows else (rows - 1, columns - 1), cursor_lines=(13, 14), width=8, height=14,
        blank=blank, blink=blink, line_graphics=line_graphics,
    )  # fmt: skip
    assert unpack(one.pack()) == one


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda data: data[:20], "20 bytes; its header has"),
        (lambda data: b"\x03" + data[1:], "mode 3"),
        (lambda data: data[:-1], "8 x 2 cells has 31 bytes"),
        (lambda data: data + b"\0", "8 x 2 cells has 33 bytes"),
        (lambda data: data[:2] + struct.pack("<HH", 0xFFFF, 0xFFFF) + data[6:], "65535 x 65535 cells"),
        (lambda data: data[:6] + struct.pack("<HH", 2, 0) + data[10:], "cursor at row 2"),
        (lambda data: data[:12] + b"\x07" + data[13:], "7 x 16 dots"),
        (lambda data: data[:13] + b"\x00" + data[14:], "9 x 0 dots"),
    ],
)
def test_bytes_that_are_no_screen(change: object, complaint: str) -> None:
    data = screen("one", "two", cursor=(1, 3)).pack()
    assert HEADER.size == 62
    with pytest.raises(ScreenError, match=complaint):
        unpack(change(data))  # type: ignore[operator]


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with suppress(ScreenError):
        unpack(data)


# ---- pictures ----


def font(**glyphs: bytes) -> bytes:
    """A font with these glyphs, by character."""
    made = bytearray(picture.FONT_BYTES)
    for char, rows in glyphs.items():
        code = char.encode("cp437")[0]
        made[32 * code : 32 * code + len(rows)] = rows
    return bytes(made)


FONTS = (font(A=b"\x81\x18"), font(A=b"\xff"))


def read_png(data: bytes) -> tuple[int, int, bytes, list[bytes]]:
    """Width, height, palette and rows of a PNG as this module writes them, every checksum checked."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack_from(">I", data, at + 8 + size) == (zlib.crc32(kind + body),)
        chunks[kind] = body
        at += 12 + size
    assert list(chunks) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    width, height, depth, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, colour, rest) == (8, 3, [0, 0, 0])
    raw = zlib.decompress(chunks[b"IDAT"])
    assert len(raw) == height * (width + 1)
    rows = [raw[row * (width + 1) : (row + 1) * (width + 1)] for row in range(height)]
    assert all(row[0] == 0 for row in rows)
    return width, height, chunks[b"PLTE"], [row[1:] for row in rows]


def test_png() -> None:
    one = screen("AB", columns=2, attribute=0x16, height=2)
    width, height, palette, rows = read_png(picture.png(one, FONTS))
    assert (width, height, palette) == (18, 2, CGA_COLOURS)
    assert rows[0] == bytes([6, 1, 1, 1, 1, 1, 1, 6, 1]) + bytes([1] * 9)
    assert rows[1] == bytes([1, 1, 1, 6, 6, 1, 1, 1, 1]) + bytes([1] * 9)


def test_png_details() -> None:
    bright = read_png(picture.png(screen("A", columns=1, attribute=0x0F, height=1), FONTS))[3]
    assert bright == [bytes([15] * 8 + [0])]  # the second font; no ninth column for a letter
    box = font(**{"─": b"\xff", "A": b"\xff"})
    lines = read_png(picture.png(screen("─A", columns=2, height=1), (box, box)))[3]
    assert lines == [bytes([7] * 9) + bytes([7] * 8 + [0])]
    narrow = read_png(picture.png(screen("─", columns=1, height=1, width=8), (box, box)))[3]
    assert narrow == [bytes([7] * 8)]
    cursor = read_png(picture.png(screen("A", columns=1, height=3, cursor=(0, 0), cursor_lines=(1, 2)), FONTS))[3]
    assert [set(row) for row in cursor] == [{0, 7}, {7}, {7}]
    steady = screen("B", columns=1, attribute=0xF0, height=1)
    assert read_png(picture.png(steady, FONTS))[3] == [bytes([7] * 9)]
    assert read_png(picture.png(replace(steady, blink=False), FONTS))[3] == [bytes([15] * 9)]


def test_a_blank_screen_is_black() -> None:
    blank = screen("A", columns=1, height=1, blank=True)
    assert read_png(picture.png(blank, FONTS))[2:] == (bytes(48), [bytes(9)])
    assert picture.ppm(blank, FONTS) == b"P6\n9 1\n255\n" + bytes(27)


def test_ppm() -> None:
    data = picture.ppm(screen("A", columns=1, attribute=0x16, height=2), FONTS)
    brown, blue = b"\xaa\x55\x00", b"\x00\x00\xaa"
    assert data == b"P6\n9 2\n255\n" + brown + blue * 6 + brown + blue + blue * 3 + brown * 2 + blue * 4


@pytest.mark.parametrize("write", picture.FORMATS.values())
@pytest.mark.parametrize(("mode", "shown"), [(Mode.OFF, "nothing"), (Mode.GRAPHICS, "graphics")])
def test_no_picture_without_text(write: object, mode: Mode, shown: str) -> None:
    with pytest.raises(picture.PictureError, match=f"shows {shown}"):
        write(TextScreen(mode), FONTS)  # type: ignore[operator]
    with pytest.raises(picture.PictureError, match="8192 bytes"):
        write(screen("A"), (FONTS[0], b""))  # type: ignore[operator]


# ---- on a terminal ----


def test_colours_on_a_terminal() -> None:
    one = screen("ab", columns=2, cursor=(0, 1))
    cells = bytearray(one.cells)
    cells[1], cells[3] = 0x1C, 0x07
    [line] = ansi.lines(replace(one, cells=bytes(cells)))
    terminal = pyte.Screen(4, 1)
    pyte.Stream(terminal).feed(line)
    first, second, after = (terminal.buffer[0][at] for at in range(3))
    assert (first.data, first.fg, first.bg) == ("a", "brightred", "blue")
    assert (second.data, second.fg, second.bg) == ("b", "black", "white")
    assert (after.data, after.fg, after.bg) == (" ", "default", "default")


def test_no_control_character_reaches_a_terminal() -> None:
    cells = bytes(part for code in range(256) for part in (code, code))
    [line] = ansi.lines(TextScreen(Mode.TEXT, 256, 1, cells))
    assert all(char.isprintable() or char == "\x1b" for char in line)
    assert ansi.lines(screen("x", blank=True))[0].count("x") == 0


# ---- keys ----


def test_numbers() -> None:
    expected = {"esc": 0x01, "ret": 0x1C, "ctrl": 0x1D, "backslash": 0x2B, "spc": 0x39, "f1": 0x3B, "f10": 0x44}
    expected |= {"sysrq": 0x54, "less": 0x56, "f12": 0x58, "alt_r": 0xB8, "print": 0xB7, "pause": 0xC6, "up": 0xC8}
    expected |= {"left": 0xCB, "down": 0xD0, "delete": 0xD3, "menu": 0xDD, "kp_decimal": 0x53, "slash": 0x35}
    assert {name: keys.NUMBERS[name] for name in expected} == expected
    assert len(set(keys.NUMBERS.values())) == len(keys.NUMBERS) == 106


def test_strokes() -> None:
    assert keys.strokes("dir A:\n") == [
        ("d",), ("i",), ("r",), ("spc",), ("shift", "a"), ("shift", "semicolon"), ("ret",),
    ]  # fmt: skip
    assert keys.strokes("\x03\x08|?") == [("ctrl", "c"), ("backspace",), ("shift", "backslash"), ("shift", "slash")]
    printable = "".join(map(chr, range(0x20, 0x7F)))
    typed = keys.strokes(printable)
    assert len(set(typed)) == len(printable)
    with pytest.raises(keys.NoSuchKey, match="writes 'é', '€'"):
        keys.strokes("a€é")


def test_presses() -> None:
    assert keys.presses("down ctrl-alt-delete  f1") == [("down",), ("ctrl", "alt", "delete"), ("f1",)]
    for wrong in ("enter", "ctrl-", "-", "ctrl--a", "F1"):
        with pytest.raises(keys.NoSuchKey):
            keys.presses(wrong)


def test_events() -> None:
    assert keys.events([("a",), ("shift", "b")], pace=10, hold=20) == [
        10 << 16 | 0x11E, 20 << 16 | 0x1E, 10 << 16 | 0x12A, 0x130, 20 << 16 | 0x30, 0x2A,
    ]  # fmt: skip
    assert keys.event(1, True, 10**9) == 0xFFFF0101
