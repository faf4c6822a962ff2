"""What a text screen shows over time as the text that a teletype would have printed: lines that scroll become lines, a
line that grows grows, and what is drawn elsewhere comes as lines of its own.

Screens are samples: what was drawn over between two of them is not in the text, and a line may be there twice that a
driver was moving up just then.
"""

from __future__ import annotations

from bringup.vmm.screen.text import Mode, TextScreen


class Teletype:
    """Of one screen."""

    def __init__(self) -> None:
        self._lines: tuple[str, ...] = ()
        self._row = 0
        """Of the line that was printed last and may grow."""
        self._empty = True
        """Nothing stands on that line."""

    def feed(self, screen: TextScreen) -> str:
        """What is new on it."""
        if screen.mode is not Mode.TEXT or screen.blank:
            return ""
        new = _lines(screen)
        scrolled = self._scrolled(new) if len(new) == len(self._lines) else None
        if scrolled is None:
            printed = self._break()
            self._forget(len(new))
        else:
            printed = ""
            self._lines = self._lines[scrolled:] + ("",) * scrolled
            self._row -= scrolled
        printed += self._print(new)
        cursor_row = screen.cursor[0] if screen.cursor else 0
        if cursor_row > self._row and not any(new[cursor_row:]):
            printed += self._down(cursor_row)
        self._lines = new
        return printed

    def _forget(self, rows: int) -> None:
        """The screen was cleared."""
        self._lines = ("",) * rows
        self._row = 0

    def _break(self) -> str:
        """The end of a line, if something stands on it."""
        if self._empty:
            return ""
        self._empty = True
        return "\n"

    def _down(self, row: int) -> str:
        """To a row below, or one above as if it were new."""
        lines = row - self._row if row > self._row else int(not self._empty)
        self._row, self._empty = row, True
        return "\n" * lines

    def _scrolled(self, new: tuple[str, ...]) -> int | None:
        """By how many rows the screen has scrolled; None: nothing of what was there is left."""
        if new == self._lines or not any(self._lines):
            return 0
        best, best_score = None, 0
        for by in range(len(new)):
            score = 0
            for row, line in enumerate(self._lines[by:]):
                if line:
                    same = new[row] == line or (row + by == self._row and _is_edited(line, new[row]))
                    score += 1 if same else -1
            if score > best_score:
                best, best_score = by, score
        return best

    def _print(self, new: tuple[str, ...]) -> str:
        printed = []
        for row, (before, line) in enumerate(zip(self._lines, new, strict=True)):
            if line == before:
                continue
            if row == self._row and line.startswith(before):
                printed.append(line[len(before) :])
            elif row == self._row and before.startswith(line):
                continue  # characters were taken back
            elif line:
                printed.append(self._down(row) + line)
            else:
                continue
            self._empty = False
        return "".join(printed)


def _is_edited(before: str, after: str) -> bool:
    """Is it the same line with more characters, or fewer?"""
    return after.startswith(before) or (after != "" and before.startswith(after))


def _lines(screen: TextScreen) -> tuple[str, ...]:
    """The rows; the cursor's reaches to it, so that a prompt keeps the blank at its end."""
    lines = list(screen.lines)
    if screen.cursor is not None:
        row, column = screen.cursor
        lines[row] = lines[row].ljust(column) if lines[row] else ""
    return tuple(lines)
