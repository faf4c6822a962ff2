"""Pictures of text screens, dot for dot as a VGA draws them: PNG (ISO/IEC 15948) and PPM."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping

from .text import Mode, TextScreen

GLYPH_BYTES = 32
FONT_BYTES = 256 * GLYPH_BYTES

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_INDEXED = 3
_NO_FILTER = b"\0"


class PictureError(ValueError):
    """There is no picture of this screen."""


def dots(screen: TextScreen, fonts: tuple[bytes, bytes]) -> Iterator[bytes]:
    """The scan lines from the top, a byte a dot: the number of its colour.

    `fonts` are for characters whose attribute bit 3 is clear and set: 256 glyphs of 32 bytes, a byte a scan line.
    PictureError: the VGA shows no text.
    """
    if screen.mode is not Mode.TEXT:
        shown = "graphics" if screen.mode is Mode.GRAPHICS else "nothing"
        raise PictureError(f"the VGA shows {shown}, no text")
    if any(len(font) != FONT_BYTES for font in fonts):
        raise PictureError(f"a font has {FONT_BYTES} bytes")
    cache: dict[tuple[int, int, int], bytes] = {}
    for row in range(screen.rows):
        cells = screen.cells[2 * row * screen.columns : 2 * (row + 1) * screen.columns]
        for line in range(screen.height):
            yield b"".join(
                _strip(screen, fonts, cells[at], cells[at + 1], line, screen.cursor == (row, at >> 1), cache)
                for at in range(0, len(cells), 2)
            )


def _strip(
    screen: TextScreen,
    fonts: tuple[bytes, bytes],
    character: int,
    attribute: int,
    line: int,
    has_cursor: bool,
    cache: dict[tuple[int, int, int], bytes],
) -> bytes:
    """One scan line of one cell."""
    if screen.blank:
        return bytes(screen.width)
    pattern = fonts[attribute >> 3 & 1][character * GLYPH_BYTES + line] << 1
    if screen.line_graphics and 0xC0 <= character <= 0xDF:
        pattern |= pattern >> 1 & 1
    if has_cursor and screen.cursor_lines[0] <= line <= screen.cursor_lines[1]:
        pattern = 0x1FF
    background = attribute >> 4 & (7 if screen.blink else 15)
    key = (pattern, attribute & 15, background)
    if key not in cache:
        bits = (pattern >> 8 - at & 1 for at in range(screen.width))
        cache[key] = bytes(key[1] if bit else background for bit in bits)
    return cache[key]


def png(screen: TextScreen, fonts: tuple[bytes, bytes]) -> bytes:
    """A PNG with the screen's 16 colours as its palette. PictureError: the VGA shows no text."""
    rows = list(dots(screen, fonts))
    width, height = screen.columns * screen.width, screen.rows * screen.height
    head = struct.pack(">IIBBBBB", width, height, 8, _INDEXED, 0, 0, 0)
    data = zlib.compress(b"".join(_NO_FILTER + row for row in rows), 9)
    chunks = ((b"IHDR", head), (b"PLTE", _shown(screen)), (b"IDAT", data), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _shown(screen: TextScreen) -> bytes:
    """The palette; of a blank screen all is black."""
    return bytes(48) if screen.blank else screen.colours


def ppm(screen: TextScreen, fonts: tuple[bytes, bytes]) -> bytes:
    """A binary PPM, 24 bits a dot. PictureError: the VGA shows no text."""
    rows = list(dots(screen, fonts))
    palette = _shown(screen)
    colours = [palette[3 * index : 3 * index + 3] for index in range(16)]
    head = b"P6\n%d %d\n255\n" % (screen.columns * screen.width, screen.rows * screen.height)
    return head + b"".join(colours[dot] for row in rows for dot in row)


FORMATS: Mapping[str, Callable[[TextScreen, tuple[bytes, bytes]], bytes]] = {"png": png, "ppm": ppm}
