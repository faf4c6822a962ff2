"""The driver's side of a machine's turns socket (docs/turns.md).

The guest runs only while a turn is asked for, and answers depend on its state alone: a conversation has the same
instruction counts in every run, however long the driver thinks.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Self

VERSION = 1
UNLIMITED = 2**64 - 1
INPUT_MAXIMUM = 1 << 19  # bytes sent with one request; more waits for the next

_LENGTH = struct.Struct("<I")
_HELLO = struct.Struct("<cHBBQQ")
_ANSWER_START = struct.Struct("<cBBhIQQ")
_ANSWER_MAXIMUM = 1 << 28
_RETRY_SECONDS = 0.005


class TurnsError(Exception):
    """The machine is gone, or does not speak the protocol; the text is one line."""


class Reason(IntEnum):
    """Why a turn ended."""

    IDLE = 0  # the guest halted, with output to read
    OUTPUT = 1  # 4 KiB or 10 guest-ms of output to read
    EVENT = 2  # see Turn.event
    LIMIT = 3  # the turn's own
    HALTED = 4  # halted, and only input could end it


class Event(IntEnum):
    """What happened to the machine."""

    NONE = 0
    POWER_OFF = 1
    RESET = 2
    TRIPLE_FAULT = 3
    PANIC = 4
    DEBUG_EXIT = 5
    INTERNAL = 6
    BUDGET = 7
    ENDED = 8  # from outside: a signal, QMP


@dataclass(frozen=True)
class Channel:
    """Output of one UART or of the debug port; `counts[i]` is the instruction count at which byte i was sent."""

    data: bytes
    counts: memoryview


@dataclass(frozen=True)
class Turn:
    """The answer to one turn.

    `count` is the instructions retired since power-on and `time` the guest nanoseconds. `status` is the exit status of
    the machine that has ended with this turn, None while it lives; `text` then says how, in a few words.
    """

    reason: Reason
    event: Event
    detail: int
    count: int
    time: int
    channels: tuple[Channel, ...]
    status: int | None
    text: str

    @property
    def output(self) -> bytes:
        """What came from COM1."""
        return self.channels[0].data

    @property
    def counts(self) -> memoryview:
        """The instruction count of each byte of `output`."""
        return self.channels[0].counts


class TurnsClient:
    """A connection to a machine's turns socket; a context manager."""

    def __init__(self, where: Path | str | socket.socket, timeout: float = 10.0, greeting: float = 60.0) -> None:
        """Takes a connected socket, or connects to the one at a path, waiting up to `timeout` host seconds for it to
        appear. The machine's hello may take `greeting` seconds.

        Once connected there is no way back: a machine whose driver hangs up ends.
        """
        connected = isinstance(where, socket.socket)
        self._socket = where if isinstance(where, socket.socket) else socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path = "the turns socket" if isinstance(where, socket.socket) else where
        self._buffer = bytearray()
        self._input: dict[int, bytes] = {}
        try:
            if not connected:
                self._connect(time.monotonic() + timeout)
            self._socket.settimeout(greeting)
            hello = self._frame()
            if len(hello) < _HELLO.size or hello[:1] != b"H":
                raise TurnsError(f"{self._path} is not a turns socket")
            _, version, self.uarts, self.channels, self.count, self.time = _HELLO.unpack_from(hello)
            if version != VERSION:
                raise TurnsError(f"{self._path} speaks version {version} of the turns protocol, not {VERSION}")
        except BaseException:
            self._socket.close()
            raise
        self._answer = struct.Struct(f"<{self.uarts}I{self.channels}I")

    def _connect(self, deadline: float) -> None:
        while True:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                self._socket.connect(str(self._path))
                break
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError) as error:
                if time.monotonic() >= deadline:
                    raise TurnsError(f"no machine listens on {self._path}: {error.strerror}") from None
                time.sleep(_RETRY_SECONDS)
            except OSError as error:
                raise TurnsError(f"cannot connect to {self._path}: {error}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hangs up; a machine that has not ended ends."""
        self._socket.close()

    def turn(
        self,
        input: bytes | Mapping[int, bytes] = b"",
        instructions: int | None = None,
        guest_ns: int | None = None,
        timeout: float | None = None,
    ) -> Turn:
        """Lets the guest run until a Reason. `input` is for COM1, or a mapping from UART to bytes.

        Limits count from now: retired instructions, guest nanoseconds. What a UART's queue has no room for goes with
        the next turns, in order. `timeout`, in host seconds, is a watchdog: it raises TurnsError, and the conversation
        is over.
        """
        for uart, data in ({0: input} if isinstance(input, bytes) else input).items():
            if not 0 <= uart < self.uarts:
                raise ValueError(f"UART {uart}: there are {self.uarts}")
            self._input[uart] = self._input.get(uart, b"") + data
        sent = [self._input.get(uart, b"")[: INPUT_MAXIMUM // self.uarts] for uart in range(self.uarts)]
        request = struct.pack(
            f"<cQQ{self.uarts}I",
            b"R",
            UNLIMITED if instructions is None else instructions,
            UNLIMITED if guest_ns is None else guest_ns,
            *map(len, sent),
        )
        body = b"".join((request, *sent))
        if timeout != self._socket.gettimeout():  # a system call
            self._socket.settimeout(timeout)
        with suppress(OSError):  # a machine that has ended may have left its last words to read
            self._socket.sendall(_LENGTH.pack(len(body)) + body)
        return self._parse(self._frame())

    @property
    def unsent(self) -> int:
        """Bytes of input that no UART has taken yet."""
        return sum(map(len, self._input.values()))

    def _frame(self) -> bytes:
        size = _LENGTH.size
        while len(self._buffer) < size:
            self._receive()
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > _ANSWER_MAXIMUM:
            raise TurnsError(f"{self._path}: a frame of {length} bytes")
        while len(self._buffer) < size + length:
            self._receive()
        frame = bytes(self._buffer[size : size + length])
        del self._buffer[: size + length]
        return frame

    def _receive(self) -> None:
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            raise TurnsError(f"{self._path}: no answer in time") from None
        except ConnectionResetError:
            data = b""  # it hung up with our request unread
        except OSError as error:
            raise TurnsError(f"{self._path}: {error.strerror}") from None
        if not data:
            raise TurnsError(f"{self._path}: the machine hung up")
        self._buffer += data

    def _parse(self, frame: bytes) -> Turn:
        if frame[:1] == b"E":
            raise TurnsError(f"{self._path}: {frame[1:].decode(errors='replace')}")
        start = _ANSWER_START.size
        if frame[:1] != b"A" or len(frame) < start + self._answer.size:
            raise TurnsError(f"{self._path}: a frame that is no answer")
        _, reason, event, status, detail, self.count, self.time = _ANSWER_START.unpack_from(frame)
        sizes = self._answer.unpack_from(frame, start)
        taken, written = sizes[: self.uarts], sizes[self.uarts :]
        at = start + self._answer.size
        if at + 9 * sum(written) > len(frame):
            raise TurnsError(f"{self._path}: an answer shorter than it says")
        for uart, size in enumerate(taken):
            if size:
                self._input[uart] = self._input[uart][size:]
        channels = []
        for size in written:
            counts = at + size
            channels.append(Channel(frame[at:counts], memoryview(frame)[counts : counts + 8 * size].cast("Q")))
            at = counts + 8 * size
        return Turn(
            reason=Reason(reason),
            event=Event(event),
            detail=detail,
            count=self.count,
            time=self.time,
            channels=tuple(channels),
            status=None if status < 0 else status,
            text=frame[at:].decode(errors="replace"),
        )
