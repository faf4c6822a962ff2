"""A machine on this terminal, for a person: `bringup boot --attach`. Of a guest that talks on its screen that is screen
and keyboard, of others the first serial line, as it is.

Guest time follows the host's: a machine in virtual time is held back when it is ahead, and when it is behind nobody
waits for it.
"""

from __future__ import annotations

import os
import re
import select
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from bringup.guests.definition import Limit
from bringup.harness.limits import SECOND, Moment
from bringup.harness.machine.machine import Machine
from bringup.harness.machine.settings import SCREEN
from bringup.vmm.screen import ansi, keys
from bringup.vmm.screen.keys import Stroke
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

# What terminals send for keys that write nothing (ECMA-48 and xterm's control sequences).
_SEQUENCES = {
    "[A": "up", "[B": "down", "[C": "right", "[D": "left", "[H": "home", "[F": "end", "OA": "up", "OB": "down",
    "OC": "right", "OD": "left", "OH": "home", "OF": "end", "OP": "f1", "OQ": "f2", "OR": "f3", "OS": "f4",
    "[1~": "home", "[2~": "insert", "[3~": "delete", "[4~": "end", "[5~": "pgup", "[6~": "pgdn", "[15~": "f5",
    "[17~": "f6", "[18~": "f7", "[19~": "f8", "[20~": "f9", "[21~": "f10", "[23~": "f11", "[24~": "f12",
}  # fmt: skip
_KEYS = re.compile(r"\x1b(\[[0-9;]*[A-Za-z~]|O[A-Z])|\x1b([^\x1b])|(.)", re.DOTALL)


def strokes(typed: str) -> list[Stroke]:
    """The keys that make a terminal send this; Alt is an ESC before a character. What no key of a US keyboard writes is
    left out."""
    found: list[Stroke] = []
    for match in _KEYS.finditer(typed):
        sequence, with_alt, plain = match.groups()
        if sequence:
            found += [(_SEQUENCES[sequence],)] if sequence in _SEQUENCES else []
        elif with_alt:
            found += [("alt", *stroke) for stroke in _written(with_alt)]
        else:
            found += _written(plain)
    return found


def _written(char: str) -> list[Stroke]:
    return keys.strokes(char) if char in keys.WRITING else []


class ScreenTerminal:
    """Draws what changes of a screen on a terminal that understands ECMA-48."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._lines: list[str] = []

    def __enter__(self) -> ScreenTerminal:
        self._out.write("\x1b[?1049h\x1b[?25l\x1b[2J")
        self._out.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self._out.write("\x1b[0m\x1b[?25h\x1b[?1049l")
        self._out.flush()

    def draw(self, screen: TextScreen) -> None:
        """The screen as it is now; its rows that are as they were are left alone."""
        lines = ansi.lines(screen) if screen.mode is Mode.TEXT else [f"(the screen is {screen.mode.name.lower()})"]
        lines.append(f"\x1b[2m{NOTICE}{ansi.RESET}")
        if len(lines) != len(self._lines):
            self._out.write("\x1b[2J")
            self._lines = [""] * len(lines)
        for row, (before, line) in enumerate(zip(self._lines, lines, strict=True), 1):
            if line != before:
                self._out.write(f"\x1b[{row};1H{line}\x1b[K")
        self._lines = lines
        self._out.flush()


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

    def ran() -> None:
        terminal.draw(machine.screens.last)
        if watch is not None:
            watch()

    with _raw(keyboard), ScreenTerminal(sys.stdout if out is None else out) as terminal:
        _follow(machine, keyboard, lambda typed: machine.stroke(strokes(typed.decode(errors="ignore"))), ran)


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
