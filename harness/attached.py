"""A machine on this terminal, for a person: `bringup boot --attach`. Of a guest that talks on its screen that is screen
and keyboard, of others the first serial line, as it is.

Guest time follows the host's: a machine in virtual time is held back when it is ahead, and when it is behind nobody
waits for it.
"""

from __future__ import annotations

import io
import os
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from bringup.guests.definition import Limit
from bringup.harness.limits import SECOND, Moment
from bringup.harness.machine.link import QUICK
from bringup.harness.machine.machine import Machine
from bringup.harness.machine.settings import SCREEN
from bringup.harness.terminal_keys import TerminalKeys
from bringup.vmm.screen import ansi
from bringup.vmm.screen.text import Mode, TextScreen

ESCAPE = 0x1D
"""Ctrl-], as telnet has it: leaves, and ends the machine."""
SLICE = Limit(guest=0.02, host=0.02)
"""How long the machine runs between two looks at the keyboard."""
REST = 0.05
"""Host seconds between two looks when the guest has halted for ever."""
LAG = 0.1
"""Seconds that guest time may be behind the host's before that is forgotten."""
PIECE = 4096
NOTICE = "Ctrl-] leaves"
_NO_TEXT = {Mode.OFF: "(the screen is off)", Mode.GRAPHICS: "(the guest draws graphics: only text is shown here)"}
USUAL = os.terminal_size((80, 24))
"""What a terminal has that does not say."""


class ScreenTerminal:
    """Draws what changes of a screen on a terminal that understands ECMA-48. Where that is smaller it shows the part
    with the cursor."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines: list[str] = []
        self._drawn: tuple[TextScreen, os.terminal_size, bool] | None = None
        self.told = False
        """The notice has been seen, and need not hide a row of the screen."""

    def __enter__(self) -> ScreenTerminal:
        if isinstance(self._out, io.TextIOWrapper):
            self._out.reconfigure(errors="replace")  # characters of code page 437 that a locale lacks
        self._out.write("\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J")
        self._out.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self._out.write("\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l")
        self._out.flush()

    def draw(self, screen: TextScreen) -> None:
        """The screen as it is now; its rows that are as they were are left alone."""
        size = self._size()
        if self._drawn == (screen, size, self.told):
            return
        if self._drawn is None or self._drawn[1] != size:
            self._out.write("\x1b[2J")
            self._lines = []
        self._drawn = screen, size, self.told
        lines = self._part(screen, size)
        before = self._lines + [""] * (len(lines) - len(self._lines))
        for row, line in enumerate(lines):
            if line != before[row]:
                self._out.write(f"\x1b[{row + 1};1H{line}\x1b[K")
        if len(lines) < len(self._lines):
            self._out.write(f"\x1b[{len(lines) + 1};1H\x1b[J")
        self._lines = lines
        self._out.flush()

    def _part(self, screen: TextScreen, size: os.terminal_size) -> list[str]:
        """Rows for a terminal of this size, the notice below them."""
        shown = size.lines - (0 if self.told and screen.rows >= size.lines else 1)
        if screen.mode is Mode.TEXT:
            lines = ansi.lines(screen, part=ansi.part(screen, shown, size.columns))
        else:
            lines = [_NO_TEXT[screen.mode][: size.columns]]
        if len(lines) < size.lines:
            lines.append(f"\x1b[2m{NOTICE[: size.columns]}{ansi.RESET}")
        return lines

    def _size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self._out.fileno())
        except (OSError, ValueError):  # no terminal
            return USUAL
        return os.terminal_size((size.columns or USUAL.columns, size.lines or USUAL.lines))


@contextmanager
def _raw(fd: int) -> Iterator[None]:
    """The terminal sends each key as it is; anything else is left alone."""
    if not os.isatty(fd):
        yield
        return
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def attach(
    machine: Machine, stdin: int | None = None, out: TextIO | None = None, watch: Callable[[], None] | None = None
) -> None:
    """Gives a person the machine's screen and keyboard until the machine ends or Ctrl-] is typed. `watch` is called
    whenever it has run. MachineError: it has none."""
    keyboard = sys.stdin.fileno() if stdin is None else stdin
    machine.listen(SCREEN, lambda data, moment: None)

    pressed = TerminalKeys()

    def typed(data: bytes) -> None:
        terminal.told = True
        machine.stroke(pressed.take(data), QUICK)

    def ran() -> None:
        if machine.ending is None:
            machine.stroke(pressed.overdue(), QUICK)
        terminal.draw(machine.screens.last)
        if watch is not None:
            watch()

    with _raw(keyboard), ScreenTerminal(sys.stdout if out is None else out) as terminal:
        _follow(machine, keyboard, typed, ran)


def attach_line(machine: Machine, channel: str, stdin: int, out: int, watch: Callable[[], None] | None = None) -> None:
    """Gives a person a serial line: bytes both ways as they are, for the terminal is the guest's; the rest as for
    `attach`."""

    def said(data: bytes, moment: Moment) -> None:
        while data:
            data = data[os.write(out, data) :]

    machine.listen(channel, said)
    with _raw(stdin):
        _follow(machine, stdin, lambda typed: machine.send(channel, typed), watch or (lambda: None))


def _follow(machine: Machine, keyboard: int, send: Callable[[bytes], None], ran: Callable[[], None]) -> None:
    """Runs a machine no faster than the host's clock, and passes on what is typed."""
    begin, open_ = machine.moment(), True
    while machine.ending is None:
        moment = machine.moment()
        ahead = 0.0
        if moment.guest_ns is not None and begin.guest_ns is not None:
            ahead = (moment.guest_ns - begin.guest_ns) / SECOND - (moment.host - begin.host)
            if ahead < -LAG:
                begin = moment  # what it fell behind is not caught up: its seconds are the host's from here
        wait = REST if machine.halted else max(ahead, 0.0)
        ready, _, _ = select.select([keyboard] if open_ else [], [], [], wait)
        if ready:
            typed = os.read(keyboard, PIECE)
            open_ = bool(typed)
            if ESCAPE in typed:
                return
            send(typed)
        if not machine.halted:
            machine.pump(machine.deadline(SLICE))
        ran()
