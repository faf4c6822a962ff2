"""A text screen on a terminal: its lines with the colours of ECMA-48's SGR."""

from __future__ import annotations

from . import cp437
from .text import TextScreen

RESET = "\x1b[0m"
_ORDER = (0, 4, 2, 6, 1, 5, 3, 7)
"""ECMA-48 counts red, green, blue from bit 0; the VGA blue, green, red."""


def _sgr(attribute: int, blink: bool) -> str:
    foreground, background = attribute & 15, attribute >> 4 & (7 if blink else 15)
    front = (90 if foreground & 8 else 30) + _ORDER[foreground & 7]
    back = (100 if background & 8 else 40) + _ORDER[background & 7]
    return f"\x1b[0;{front};{back}{';5' if blink and attribute & 0x80 else ''}m"


def part(screen: TextScreen, rows: int, columns: int) -> tuple[range, range]:
    """Rows and columns for a terminal that has no more than so many: with the cursor, else the first."""
    row, column = screen.cursor or (0, 0)
    top, left = max(row - rows + 1, 0), max(column - columns + 1, 0)
    return range(top, min(top + rows, screen.rows)), range(left, min(left + columns, screen.columns))


def lines(screen: TextScreen, *, cursor: bool = True, part: tuple[range, range] | None = None) -> list[str]:
    """A string a row, as wide as the screen or its `part` (rows, columns); `cursor`: its cell is inverted."""
    rows, columns = part or (range(screen.rows), range(screen.columns))
    found = []
    for row in rows:
        parts: list[str] = []
        last = None
        for column in columns:
            at = 2 * (row * screen.columns + column)
            character, attribute = screen.cells[at], screen.cells[at + 1]
            if screen.blank:
                character, attribute = 0x20, 0
            elif cursor and screen.cursor == (row, column):
                attribute = (attribute & 0x88) | (attribute & 7) << 4 | (attribute >> 4 & 7)
            if attribute != last:
                parts.append(_sgr(attribute, screen.blink))
                last = attribute
            parts.append(cp437.TABLE[character])
        found.append("".join(parts) + RESET)
    return found
