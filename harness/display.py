"""A boot on the user's terminal: what the guest says scrolls by, its rungs stand below it. Once a guest draws on a
screen, that stands there in place of what scrolls.

Off a terminal the guest's text is written as it comes, a screen at each rung and at the end, and a line for each rung
goes to standard error.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import NamedTuple, Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bringup.guests.definition import Rung
from bringup.harness.console.console import Console as GuestConsole
from bringup.harness.limits import SECOND, Moment

REFRESH = 8
"""Times a second that the rungs are drawn anew."""


class Drawn(Protocol):
    """A console's screen."""

    draws: bool
    """Is there a picture on it, and not lines?"""

    def text(self) -> str:
        """Its lines from the top."""


class Coloured(Drawn, Protocol):
    """A screen with colours."""

    def ansi(self, rows: int, columns: int) -> list[str]:
        """Its rows, with ECMA-48's sequences for colours, of the part that fits so many; [] while it shows no text."""


class Window(NamedTuple):
    """Where one channel's text goes on a display: a console's logfile, to which it writes what it reads."""

    display: Display
    channel: str
    screen: Drawn | None

    def write(self, text: str) -> None:
        """Text that the guest has said; its screen, if it has one, is up to date."""
        if self.screen is not None and self.screen.draws:
            self.display.draw(self.channel, self.screen)
        elif self.display.is_shown(self.channel):
            self.display.note(text)
        else:
            self.display.say(text)

    def flush(self) -> None:
        """Nothing waits."""


def shown(consoles: Mapping[str, GuestConsole]) -> dict[str, GuestConsole]:
    """By channel, the console that is shown of it: one that has a screen before others."""
    found: dict[str, GuestConsole] = {}
    for console in sorted(consoles.values(), key=lambda console: console.screen is None):
        found.setdefault(console.channel, console)
    return found


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
        self._screen: tuple[str, Drawn] | None = None
        """What was drawn last, and on which channel."""
        self._picture = ""
        """Its text as it was when it was looked at."""
        self._looked = 0.0
        self._shown: tuple[str, Coloured] | None = None
        """The machine's screen, which stands above the rungs in colour, and its channel."""

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(get_renderable=self._draw, console=self._console, refresh_per_second=REFRESH)
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line:
            self.say("\n")
        self._show()
        self._tell()
        if self._live:
            self._live.__exit__(kind, error, trace)

    def say(self, text: str) -> None:
        """Shows what the guest says: plain text, without control characters."""
        self.note(text)
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

    def note(self, text: str) -> None:
        """What goes into the files alone."""
        for file in self._files:
            file.write(text)
            file.flush()

    def show(self, channel: str, screen: Coloured) -> None:
        """Draws the machine's screen where this is a terminal, in place of what comes on its channel."""
        self._shown = channel, screen

    def is_shown(self, channel: str) -> bool:
        """Does the machine's screen stand on the terminal for this channel?"""
        return self._live is not None and self._shown is not None and self._shown[0] == channel

    def window(self, channel: str, screen: Drawn | None) -> Window:
        """For what comes on a channel."""
        return Window(self, channel, screen)

    def draw(self, channel: str, screen: Drawn) -> None:
        """The guest has drawn on its screen."""
        if self._screen is None and self._line:
            self.say("\n")
        self._screen = channel, screen
        if self._live and time.monotonic() - self._looked > 1 / REFRESH:
            self._look()

    def _look(self) -> bool:
        """Takes the screen as it is now; False: it is as it was."""
        self._looked = time.monotonic()
        if self._screen is None:
            return False
        before, self._picture = self._picture, self._screen[1].text()
        return self._picture != before

    def _show(self) -> None:
        """A screen that is new, where it does not stand on the terminal, and in the files."""
        if not self._look() or self._screen is None:
            return
        text = f"---- {self._screen[0]} shows\n{self._picture.rstrip()}\n----\n"
        self.note(text)
        if not self._live:
            self._write(text)

    def reached(self, rung: Rung, index: int, moment: Moment) -> None:
        """A rung is reached."""
        self._marks.append(_position(moment, self._began))
        self._show()
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
        width, height = self._console.size
        drawn = self._shown[1].ansi(height, width) if self._shown is not None else []
        below = Text()
        below.append(_row(f"{self._title}  ", _position(self._moment(), self._began), width), style="bold")
        below.append_text(self._rows(width, one=bool(drawn) and len(drawn) + len(self._rungs) + 3 > height))
        room = max(height - below.plain.count("\n") - 2, 1)  # an empty line stays, and one more in the end
        text = Text()
        if drawn and self._shown is not None:
            for row in self._shown[1].ansi(room, width):
                text.append_text(Text.from_ansi(row)).append("\n")
        else:
            for row in _fitting(self._picture, room) or ([self._line] if self._line else []):
                text.append(row if len(row) <= width else f"{row[: width - 1]}…")
                text.append("\n")
        return text.append_text(below)

    def _rows(self, width: int, one: bool) -> Text:
        """The rungs, or the `one` that is awaited, where a whole screen above leaves no room for more."""
        text = Text()
        for index, rung in enumerate(self._rungs):
            if one and index != min(len(self._marks), len(self._rungs) - 1):
                continue
            if index < len(self._marks):
                text.append(
                    _row(f"  ✓ {rung.id:<13} ".ljust(len(self._title) + 2), self._marks[index], width), style="green"
                )
            elif index == len(self._marks):
                text.append(f"  … {rung.id}\n", style="yellow")
            else:
                text.append(f"    {rung.id}\n", style="dim")
        return text


def _fitting(picture: str, rows: int) -> list[str]:
    """The rows of a screen for so many of the terminal: all, or without the blank ones, or the first of those."""
    lines = picture.rstrip().split("\n") if picture.strip() else []
    if len(lines) > rows:
        lines = [line for line in lines if line.strip()]
    return lines[: max(rows, 1)]


def _row(head: str, position: str, width: int) -> str:
    """A rung and where it was reached, on a line of its own where the terminal is too narrow for both: no figure is
    cut."""
    if len(head) + len(position) < width:
        return f"{head}{position}\n"
    lines = [head.rstrip()]
    for part in re.split(r" {2,}", position.strip()):
        if len(lines) == 1 or len(lines[-1]) + 2 + len(part) >= width:
            lines.append(f"    {part}")
        else:
            lines[-1] += f"  {part}"
    return "\n".join(lines) + "\n"


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
