"""A boot on the user's terminal: what the guest says scrolls by, its rungs stand below it.

Off a terminal the guest's text is written as it comes, and a line for each rung goes to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from bringup.guests.definition import Rung
from bringup.harness.limits import SECOND, Moment

REFRESH = 8
"""Times a second that the rungs are drawn anew."""


class Display:
    """Shows one climb. A context manager; `say` takes the guest's text, `reached` its rungs."""

    def __init__(
        self, title: str, rungs: Sequence[Rung], moment: Callable[[], Moment], began: float, *files: TextIO
    ) -> None:
        """`moment` says where the run stands, `began` when it did, in host seconds of a `Moment`; what is said is
        written to `files`, too."""
        self._title, self._rungs, self._moment, self._files = title, rungs, moment, files
        self._console = Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._marks: list[str] = []
        self._line = ""
        self._held: list[str] = []
        """Lines of rungs that wait for the end of the guest's."""
        self._began = began

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=REFRESH)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line:
            self.say("\n")
        self._tell()
        if self._live:
            self._live.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Shows what the guest says: plain text, without control characters."""
        for file in self._files:
            file.write(text)
            file.flush()
        if not self._live:
            if self._held and "\n" in text:
                line, _, text = text.partition("\n")
                self._write(f"{line}\n")
                self._tell()
            self._write(text)
            return
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._console.print(Text(line), soft_wrap=True)

    def write(self, text: str) -> None:
        """`say`: a console's logfile is written to."""
        self.say(text)

    def flush(self) -> None:
        """Nothing waits."""

    def reached(self, rung: Rung, index: int, moment: Moment) -> None:
        """A rung is reached."""
        self._marks.append(_position(moment, self._began))
        if not self._live:
            self._held.append(f"[{index + 1}/{len(self._rungs)}] {rung.id}: {self._marks[-1]}")
            if not (self._line and _one_file(sys.stdout, sys.stderr)):  # the guest's line stays whole
                self._tell()

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
        if text:
            self._line = text.rpartition("\n")[2]

    def _tell(self) -> None:
        """Says which rungs were reached, on standard error."""
        for line in self._held:
            print(line, file=sys.stderr, flush=True)
        self._held.clear()

    def _draw(self) -> Text:
        text = Text(self._line + "\n" if self._line else "", overflow="ellipsis", no_wrap=True)
        text.append(f"{escape(self._title)}  {_position(self._moment(), self._began)}\n", style="bold")
        for index, rung in enumerate(self._rungs):
            if index < len(self._marks):
                text.append(f"  ✓ {rung.id:<13} {self._marks[index]}\n", style="green")
            elif index == len(self._marks):
                text.append(f"  … {rung.id}\n", style="yellow")
            else:
                text.append(f"    {rung.id}\n", style="dim")
        return text


def _one_file(one: TextIO, other: TextIO) -> bool:
    """Do both end in the same file or terminal?"""
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except OSError:  # under capture they are no files
        return False


def _position(moment: Moment, began: float) -> str:
    parts = [f"{moment.host - began:6.1f} host s"]
    if moment.guest_ns is not None:
        parts.append(f"{moment.guest_ns / SECOND:8.3f} guest s")
    if moment.instructions is not None:
        parts.append(f"{moment.instructions:>15,} instructions")
    return "  ".join(parts)
