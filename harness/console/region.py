"""A part of a screen as a console of its own: the same waits, on some rows and columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .console import Console


class Region:
    """Made by `Console.region` and `Console.row`; texts and what was found are the console's `before` and `after`."""

    def __init__(self, console: Console, rows: range | None, columns: range | None) -> None:
        self._console, self._rows, self._columns = console, rows, columns

    def cut(self, text: str) -> str:
        """Of a screen's text, the lines and columns of this part."""
        lines = text.split("\n")
        rows = range(len(lines)) if self._rows is None else self._rows
        chosen = [lines[row] for row in rows if 0 <= row < len(lines)]
        if self._columns is not None:
            chosen = [line[self._columns.start : self._columns.stop].rstrip() for line in chosen]
        return "\n".join(chosen)

    @property
    def text(self) -> str:
        """What stands there now."""
        return str(self._here(lambda: self._console.text))

    def expect(self, pattern: Any, timeout: Any = -1, **other: Any) -> int:
        """The console's, on this part of it."""
        return int(self._here(lambda: self._console.expect(pattern, timeout, **other)))

    def expect_exact(self, pattern_list: Any, timeout: Any = -1, **other: Any) -> int:
        """The console's, on this part of it."""
        return int(self._here(lambda: self._console.expect_exact(pattern_list, timeout, **other)))

    def _here(self, look: Callable[[], Any]) -> Any:
        console, before = self._console, self._console._region
        console._region = self
        try:
            return look()
        finally:
            console._region = before
