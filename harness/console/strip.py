"""The screens that a machine has shown, each when it was first seen; bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from bringup.harness.limits import SECOND, Moment
from bringup.vmm.screen import ansi
from bringup.vmm.screen.text import Mode, TextScreen

HEAD = 32
"""Screens that are kept from the beginning."""
TAIL = 224
"""Screens that are kept from the end."""
NOTHING = TextScreen()


class Frame(NamedTuple):
    """A screen, and the moment of the first sample that showed it."""

    moment: Moment
    screen: TextScreen


class Strip:
    """Of one machine."""

    def __init__(self, head: int = HEAD, tail: int = TAIL) -> None:
        self._most = head
        self._head: list[Frame] = []
        self._tail: deque[Frame] = deque(maxlen=tail)
        self.size = 0
        """Screens that were different from the one before, in all."""

    @property
    def last(self) -> TextScreen:
        """What was seen last; before anything was, a screen that is off."""
        frames = self._tail or self._head
        return frames[-1].screen if frames else NOTHING

    def append(self, screen: TextScreen, moment: Moment) -> bool:
        """A sample; False: it shows what the last one did."""
        if self.size and screen == self.last:
            return False
        self.size += 1
        if len(self._head) < self._most:
            self._head.append(Frame(moment, screen))
        else:
            self._tail.append(Frame(moment, screen))
        return True

    def __iter__(self) -> Iterator[Frame]:
        yield from self._head
        yield from self._tail

    @property
    def left_out(self) -> int:
        """Screens of the middle that are not kept."""
        return self.size - len(self._head) - len(self._tail)

    def text(self, since: float = 0.0) -> str:
        """All screens as text, one below the other, each under a line with its moment; host seconds count from
        `since`."""
        parts = []
        for number, (moment, screen) in enumerate(self):
            if number == len(self._head) and self.left_out:
                parts.append(f"({self.left_out} screens are left out)\n")
            parts.append(f"{_heading(moment, screen, since)}\n{screen.text.rstrip()}\n\n")
        return "".join(parts)


class ScreenView:
    """A machine's screen as a console looks at it: the counterpart of a terminal's `Screen`."""

    draws = True

    def __init__(self, strip: Strip) -> None:
        self._strip = strip

    def feed(self, data: bytes) -> None:
        """What a teletype would print is not drawn: the screen is there already."""

    def text(self) -> str:
        """Its lines from the top, without the blanks at their ends."""
        return self._strip.last.text

    def ansi(self, rows: int, columns: int) -> list[str]:
        """Its rows, with ECMA-48's sequences for colours, of the part that fits so many; [] while it shows no text."""
        screen = self._strip.last
        return ansi.lines(screen, part=ansi.part(screen, rows, columns))

    @property
    def cursor(self) -> tuple[int, int]:
        """Line and column, from 0; a hidden one is at the start."""
        return self._strip.last.cursor or (0, 0)


def _heading(moment: Moment, screen: TextScreen, since: float) -> str:
    seconds = moment.host - since if moment.guest_ns is None else moment.guest_ns / SECOND
    count = "" if moment.instructions is None else f" {moment.instructions} instructions"
    what = {Mode.OFF: "off", Mode.GRAPHICS: "graphics", Mode.TEXT: f"{screen.columns}x{screen.rows}"}[screen.mode]
    cursor = f", cursor at row {screen.cursor[0]}, column {screen.cursor[1]}" if screen.cursor else ""
    return f"---- {seconds:.6f} s{count}: {what}{', blank' if screen.blank else ''}{cursor}"
