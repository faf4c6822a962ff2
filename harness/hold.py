"""A machine that is kept after a failure, and `bringup attach`, which gives a person its console.

The machine stays its attempt's: the process that ran it holds it and passes bytes between its console and whoever
connects to a socket, until it is interrupted. `bringup attach SOCKET` is a terminal for that socket.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from bringup.guests.definition import Limit
from bringup.harness.console.console import Console
from bringup.harness.errors import HarnessError
from bringup.harness.limits import Moment
from bringup.harness.machine.folder import SocketFolder
from bringup.harness.machine.machine import Machine

SLICE = Limit(guest=0.02, host=0.02)
"""How long the machine runs between two looks at the socket."""
REST = 0.05
"""Host seconds between two looks when the guest has halted."""
BACKLOG = 1 << 16
"""Bytes of what was said before that somebody who attaches is shown."""
ESCAPE = b"\x1d"
"""Ctrl-], as telnet has it."""
PIECE = 4096


def hold(machine: Machine, console: Console, announce: Callable[[str], None]) -> None:
    """Holds a machine until it ends or the process is interrupted; `announce` is told how to attach."""
    with ExitStack() as stack:
        folder = SocketFolder()
        stack.callback(folder.close)
        machine.entrust(folder.path)
        path = folder.path / "console"
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(str(path))
        listener.listen(1)
        listener.setblocking(False)
        announce(f"bringup attach {path}    (Ctrl-C here ends the machine)")
        with suppress(KeyboardInterrupt):
            _Bridge(machine, console, listener).run()


class _Bridge:
    """Passes bytes until the machine has ended."""

    def __init__(self, machine: Machine, console: Console, listener: socket.socket) -> None:
        self._machine, self._console, self._listener = machine, console, listener
        self._client: socket.socket | None = None
        machine.listen(console.channel, self._said)

    def run(self) -> None:
        while self._machine.ending is None:
            sources = [self._listener] if self._client is None else [self._listener, self._client]
            ready, _, _ = select.select(sources, [], [], REST if self._machine.halted else 0)
            if self._listener in ready:
                self._accept()
            if self._client is not None and self._client in ready:
                self._typed()
            if not self._machine.halted:
                self._machine.pump(self._machine.deadline(SLICE))

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        if self._client is not None:  # one at a time
            connection.close()
            return
        self._client = connection
        self._send(self._console.raw.bytes()[-BACKLOG:])

    def _typed(self) -> None:
        data = self._client.recv(PIECE) if self._client else b""
        if data:
            self._machine.send(self._console.channel, data)
            self._machine.pump(self._machine.deadline(SLICE))  # input ends a halt
        else:
            self._drop()

    def _said(self, data: bytes, moment: Moment) -> None:
        if self._client is not None:
            self._send(data)

    def _send(self, data: bytes) -> None:
        try:
            if self._client is not None:
                self._client.settimeout(1.0)  # who does not read holds up nobody for long
                self._client.sendall(data)
        except OSError:
            self._drop()

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `bringup attach`."""
    parser = subparsers.add_parser("attach", help="the console of a machine that was kept", allow_abbrev=False)
    parser.add_argument("socket", type=Path, metavar="SOCKET", help="as --keep-on-failure prints it; Ctrl-] leaves")
    parser.set_defaults(handler=lambda options: attach(options.socket))


def attach(path: Path) -> int:
    """Standard input and output on the socket until either ends, or Ctrl-] is typed. The guest's bytes go to the
    terminal as they are: who attaches wants its screen. HarnessError: nobody listens there."""
    with socket.socket(socket.AF_UNIX) as connection, ExitStack() as stack:
        try:
            connection.connect(str(path))
        except OSError as error:
            raise HarnessError(f"{path}: {error.strerror or error}") from None
        typing: int | None = sys.stdin.fileno()
        if os.isatty(sys.stdin.fileno()):
            before = termios.tcgetattr(sys.stdin)
            stack.callback(termios.tcsetattr, sys.stdin, termios.TCSADRAIN, before)
            tty.setraw(sys.stdin)
        while True:
            sources = [connection.fileno(), *([] if typing is None else [typing])]
            ready, _, _ = select.select(sources, [], [])
            if connection.fileno() in ready:
                said = connection.recv(PIECE)
                if not said:
                    return 0
                os.write(sys.stdout.fileno(), said)
            if typing in ready:
                typed = os.read(sys.stdin.fileno(), PIECE)
                if ESCAPE in typed:
                    return 0
                if typed:
                    connection.sendall(typed)
                else:
                    typing = None  # the end of a file: what is still said is shown
