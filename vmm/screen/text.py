"""A text screen: cells, cursor, colours; and its form as bytes, in which machines give it to their drivers."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from . import cp437

HEADER = struct.Struct("<BBHHHHBBBB48s")
"""Mode, flags, columns, rows, cursor's row and column, its first and last scan line, a cell's width and height in dots,
red, green and blue of the 16 colours. The cells follow: character and attribute, row after row."""
CELLS_MAXIMUM = 16384
WIDTHS, HEIGHT_MAXIMUM = (8, 9), 32

# The colours that a VGA BIOS sets: IBM's CGA monitor.
CGA_COLOURS = bytes.fromhex(
    "000000 0000aa 00aa00 00aaaa aa0000 aa00aa aa5500 aaaaaa 555555 5555ff 55ff55 55ffff ff5555 ff55ff ffff55 ffffff"
)


class ScreenError(ValueError):
    """Bytes that are no screen."""


class Mode(IntEnum):
    """What the VGA is doing."""

    OFF = 0
    TEXT = 1
    GRAPHICS = 2


class _Flag(IntEnum):
    BLANK = 1
    BLINK = 2
    CURSOR = 4
    LINE_GRAPHICS = 8


@dataclass(frozen=True)
class TextScreen:
    """What a VGA shows at one moment. In another mode than TEXT there are no rows."""

    mode: Mode = Mode.OFF
    columns: int = 0
    rows: int = 0
    cells: bytes = b""
    """Character (code page 437) and attribute of each cell, row after row."""
    cursor: tuple[int, int] | None = None
    """Row and column; None: the guest hides it."""
    cursor_lines: tuple[int, int] = (0, 0)
    """Its first and last scan line within a cell."""
    width: int = 9
    """Dots of a cell."""
    height: int = 16
    colours: bytes = CGA_COLOURS
    """Red, green, blue of each."""
    blank: bool = False
    """The guest has turned the picture off; the cells are there nevertheless."""
    blink: bool = True
    """Attribute bit 7 blinks; else it is the background's bright bit."""
    line_graphics: bool = True
    """Characters C0h-DFh repeat their eighth column as the ninth."""

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """The rows as text, without the blanks at their ends."""
        text, columns = cp437.decode(self.cells[::2]), self.columns
        return tuple(text[at : at + columns].rstrip() for at in range(0, self.rows * columns, columns or 1))

    @cached_property
    def text(self) -> str:
        """The lines, a newline between each two."""
        return "\n".join(self.lines)

    def region(self, rows: range, columns: range) -> str:
        """A part of it as text; what lies outside the screen is left out."""
        return "\n".join(self.lines[row][columns.start : columns.stop].rstrip() for row in rows if 0 <= row < self.rows)

    def pack(self) -> bytes:
        """As bytes."""
        flags = (
            (_Flag.BLANK if self.blank else 0)
            | (_Flag.BLINK if self.blink else 0)
            | (_Flag.CURSOR if self.cursor else 0)
            | (_Flag.LINE_GRAPHICS if self.line_graphics else 0)
        )
        place = self.cursor or (0, 0)
        return (
            HEADER.pack(
                self.mode,
                flags,
                self.columns,
                self.rows,
                *place,
                *self.cursor_lines,
                self.width,
                self.height,
                self.colours,
            )
            + self.cells
        )


def unpack(data: bytes) -> TextScreen:
    """The screen that these bytes are; ScreenError: they are none."""
    if len(data) < HEADER.size:
        raise ScreenError(f"a screen of {len(data)} bytes; its header has {HEADER.size}")
    mode, flags, columns, rows, row, column, first, last, width, height, colours = HEADER.unpack_from(data)
    if mode not in tuple(Mode):
        raise ScreenError(f"a screen in mode {mode}")
    if columns * rows > CELLS_MAXIMUM:
        raise ScreenError(f"a screen of {columns} x {rows} cells; {CELLS_MAXIMUM} are the most")
    if len(data) != HEADER.size + 2 * columns * rows:
        raise ScreenError(f"a screen of {columns} x {rows} cells has {len(data) - HEADER.size} bytes of them")
    if mode == Mode.TEXT and (width not in WIDTHS or not 1 <= height <= HEIGHT_MAXIMUM):
        raise ScreenError(f"cells of {width} x {height} dots")
    if flags & _Flag.CURSOR and (row >= rows or column >= columns):
        raise ScreenError(f"a cursor at row {row}, column {column} of {rows} x {columns}")
    return TextScreen(
        mode=Mode(mode),
        columns=columns,
        rows=rows,
        cells=data[HEADER.size :],
        cursor=(row, column) if flags & _Flag.CURSOR else None,
        cursor_lines=(first, last),
        width=width,
        height=height,
        colours=colours,
        blank=bool(flags & _Flag.BLANK),
        blink=bool(flags & _Flag.BLINK),
        line_graphics=bool(flags & _Flag.LINE_GRAPHICS),
    )
