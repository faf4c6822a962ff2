"""How a channel's bytes come here: the ways of `Transport`, each opened before the VMM starts and connected after."""

from __future__ import annotations

import os
import re
import socket
import termios
import time
import tty
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from bringup.harness.outcome import Blame
from bringup.harness.vmms.definition import Channel, Transport

from .command import fill
from .ending import MachineError
from .kept import Kept

RETRY_SECONDS = 0.005
CHUNK = 1 << 16
PATH_MAXIMUM = 107
"""Bytes of a Unix socket's path: sockaddr_un has 108."""


class Wire:
    """One channel. Before the VMM's start: `arguments` and `inherited`; after it `started`, and `connect` until that
    says so; then `read` and `write`. None of them waits."""

    def __init__(self, name: str, channel: Channel, folder: Callable[[], Path]) -> None:
        self.name, self.channel = name, channel
        self.inherited: socket.socket | None = None
        self.standard = channel.transport is Transport.STDIO
        self.at_end = False
        self._socket: socket.socket | None = None
        self._listener: socket.socket | None = None
        self._terminal: int | None = None
        self._path: Path | None = None
        values: dict[str, object] = {}
        by_path = any("{path" in argument for argument in channel.arguments)
        match channel.transport:
            case Transport.LISTEN | Transport.CONNECT:
                values["path"] = self._path = self._at(folder())
            case Transport.TURNS if by_path:
                values["path"] = self._path = self._at(folder())
            case Transport.FD | Transport.STDIO | Transport.TURNS:
                self._socket, self.inherited = socket.socketpair()
                values["fd"] = self.inherited.fileno()
        self.arguments = [fill(argument, values) for argument in channel.arguments]
        if channel.transport is Transport.CONNECT:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self._path))
            self._listener.listen(1)
            self._listener.setblocking(False)

    def _at(self, folder: Path) -> Path:
        path = folder / self.name
        if len(os.fsencode(path)) > PATH_MAXIMUM:
            raise MachineError(f"{path}: longer than a socket's path may be ({PATH_MAXIMUM} bytes)", Blame.HOST)
        return path

    def started(self) -> None:
        """The VMM has its end: ours is the other one alone, so that we hear of its end."""
        if self.inherited is not None:
            self.inherited.close()

    def connect(self, vmm: str, kept: Kept) -> bool:
        """Tries to, without waiting; True when it is connected. MachineError: what the VMM offers is no terminal."""
        match self.channel.transport:
            case Transport.LISTEN | Transport.TURNS if self._path is not None:
                self._dial()
            case Transport.CONNECT:
                self._pick_up()
            case Transport.PTY:
                self._open_terminal(vmm, kept)
        if self._socket is not None:
            self._socket.setblocking(False)
        return self._socket is not None or self._terminal is not None

    @property
    def missing(self) -> str:
        """What the VMM does not do while this is not connected."""
        if self.channel.transport is Transport.PTY:
            return f"does not print the pseudo-terminal of {self.name}"
        verb = "connect its" if self.channel.transport is Transport.CONNECT else "listen for"
        return f"does not {verb} {self.name}"

    def _dial(self) -> None:
        attempt = socket.socket(socket.AF_UNIX)
        try:
            attempt.connect(str(self._path))
            self._socket = attempt
        except OSError:
            attempt.close()

    def _pick_up(self) -> None:
        assert self._listener is not None  # noqa: S101, of this transport
        with suppress(BlockingIOError):
            self._socket, _ = self._listener.accept()
            self._listener.close()

    def _open_terminal(self, vmm: str, kept: Kept) -> None:
        match = re.search(self.channel.pattern or r"(/dev/pts/\d{1,9})", kept.output())
        if match is None:
            return
        try:
            self._terminal = os.open(match[1], os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            tty.setraw(self._terminal)
        except (OSError, termios.error) as error:
            raise MachineError(f"{vmm}: {match[1]}: {error.args[-1]}", Blame.VMM) from None

    def take(self) -> socket.socket:
        """The connected socket, for whoever speaks more than bytes over it; it is no longer ours."""
        assert self._socket is not None  # noqa: S101, a caller's mistake
        taken, self._socket = self._socket, None
        return taken

    def fileno(self) -> int:
        """For poll."""
        if self._socket is not None:
            return self._socket.fileno()
        assert self._terminal is not None  # noqa: S101, it is connected
        return self._terminal

    def read(self) -> bytes:
        """What there is; b"" and `at_end` when that was all. BlockingIOError: nothing yet."""
        try:
            data = os.read(self.fileno(), CHUNK)
        except BlockingIOError:
            raise
        except OSError:  # reset, or the other end of a terminal is closed
            data = b""
        self.at_end = not data
        return data

    def write(self, data: bytes) -> int:
        """How much of it was taken; what nobody will read any more is taken too."""
        try:
            return os.write(self.fileno(), data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def close(self) -> None:
        """All ends of it that are here."""
        for each in (self._socket, self.inherited, self._listener):
            if each is not None:
                each.close()
        if self._terminal is not None:
            with suppress(OSError):
                os.close(self._terminal)
            self._terminal = None


def connect_all(vmm: str, wires: Iterable[Wire], kept: Kept, deadline: float) -> None:
    """Connects a VMM's channels, in the order in which it offers them. MachineError: it has ended, or time is up."""
    missing = list(wires)
    for wire in missing:
        wire.started()
    while missing := [wire for wire in missing if not wire.connect(vmm, kept)]:
        ended = kept.look()
        if ended is None and time.monotonic() < deadline:
            time.sleep(RETRY_SECONDS)
            continue
        why = f"it ended with status {ended.status}" if ended else "it did not in time"
        raise MachineError(f"{vmm} {missing[0].missing}: {why}; it said: {kept.said() or 'nothing'}", Blame.VMM)
