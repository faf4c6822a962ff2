"""A table in a page of documentation that a command keeps, between two lines that mark it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bringup.harness.errors import HarnessError

BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"


class Page:
    """HarnessError: there is no such file, or no marks in it; it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise HarnessError(f"{path}: {getattr(error, 'strerror', 'no text')}") from None
        if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
            raise HarnessError(f"{path}: it has no lines {BEGIN.strip()!r} and {END.strip()!r}")
        self._before, rest = text.split(BEGIN)
        self.kept, self._after = rest.split(END)
        """`kept`: what is between the marks now."""

    def keep(self, lines: Iterable[str]) -> None:
        """Puts these between the marks."""
        self.kept = "\n" + "\n".join(lines) + "\n\n"
        try:
            self.path.write_text(self._before + BEGIN + self.kept + END + self._after)
        except OSError as error:
            raise HarnessError(f"{self.path}: {error.strerror}") from None
