"""The driver's side of a machine's turns socket (docs/turns.md).

The guest runs only while a turn is asked for, and answers depend on its state alone: a conversation has the same
instruction counts in every run, however long the driver thinks.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import IntEnum, IntFlag
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from bringup.vmm.spin import Spin

VERSION = 1
UNLIMITED = 2**64 - 1
INPUT_MAXIMUM = 1 << 19  # bytes sent with one request; more waits for the next

_LENGTH = struct.Struct("<I")
_TIMEVAL = struct.Struct("@ll")
_HELLO = struct.Struct("<cHBBQQ")
_FEATURES = struct.Struct("<I")
_TAKEN = struct.Struct("<I")
_ANSWER_MAXIMUM = 1 << 28
_RETRY_SECONDS = 0.005
_RECEIVE = 1 << 16  # below what malloc maps anew for each answer


class TurnsError(Exception):
    """The machine is gone, or does not speak the protocol; the text is one line."""


class MachineGoneError(TurnsError):
    """The machine hung up: its process has ended, or is about to."""


class Reason(IntEnum):
    """Why a turn ended."""

    IDLE = 0  # the guest halted, with output to read
    OUTPUT = 1  # 4 KiB or 10 guest-ms of output to read
    EVENT = 2  # see Turn.event
    LIMIT = 3  # the turn's own
    HALTED = 4  # halted, and only input could end it
    SCREEN = 5  # half of its text has scrolled since it was asked for


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


class Feature(IntFlag):
    """What a machine can do beyond turns; its hello says so."""

    SCREEN = 1  # it has a screen and a keyboard
    WATCH = 2  # it ends a turn before text scrolls away unseen


class Channel(NamedTuple):
    """Output of one UART or of the debug port; `counts[i]` is the instruction count at which byte i was sent."""

    data: bytes
    counts: memoryview


class Turn(NamedTuple):
    """The answer to one turn.

    `count` is the instructions retired since power-on and `time` the guest nanoseconds. `status` is the exit status of
    the machine that has ended with this turn, None while it lives; `text` then says how, in a few words.
    """

    reason: Reason
    event: Event
    detail: int
    count: int  # type: ignore[assignment]  # a tuple's method, of no use here
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


_REASONS, _EVENTS = tuple(Reason), tuple(Event)  # their values count from 0


class TurnsClient:
    """A connection to a machine's turns socket; a context manager."""

    def __init__(self, where: Path | str | socket.socket, timeout: float = 10.0, greeting: float = 60.0) -> None:
        """Takes a connected socket, or connects to the one at a path, waiting up to `timeout` host seconds for it to
        appear. The machine's hello may take `greeting` seconds.

        Once connected there is no way back: a machine whose driver hangs up ends.
        """
        connected = isinstance(where, socket.socket)
        self._socket = where if isinstance(where, socket.socket) else socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._timeout: float | None = None
        self._path = "the turns socket" if isinstance(where, socket.socket) else where
        self._buffer = b""
        self._spin = Spin()
        self._input: dict[int, bytes] = {}
        try:
            if not connected:
                self._connect(time.monotonic() + timeout)
            self._socket.setblocking(True)
            self._wait_at_most(greeting)
            hello = self._frame()
            if len(hello) < _HELLO.size or hello[:1] != b"H":
                raise TurnsError(f"{self._path} is not a turns socket")
            _, version, self.uarts, self.channels, self.count, self.time = _HELLO.unpack_from(hello)
            if version != VERSION:
                raise TurnsError(f"{self._path} speaks version {version} of the turns protocol, not {VERSION}")
            told = hello[_HELLO.size :]  # nothing, by machines from before there were features
            features = _FEATURES.unpack_from(told)[0] if len(told) >= _FEATURES.size else 0
            self.features = Feature(features & (Feature.SCREEN | Feature.WATCH) if features & Feature.SCREEN else 0)
        except BaseException:
            self._socket.close()
            raise
        self._answer = struct.Struct(f"<cBBhIQQ{self.uarts}I{self.channels}I")
        self._silence = (Channel(b"", memoryview(b"").cast("Q")),) * self.channels
        self._request = struct.Struct(f"<IcQQ{self.uarts}I")
        self._nothing = [0] * self.uarts
        self.parting: bytes | None = None
        """What the screen of a machine that has ended showed at last, if that is not what `screen` gave."""

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
        if input:
            for uart, data in ({0: input} if isinstance(input, bytes) else input).items():
                if not 0 <= uart < self.uarts:
                    raise ValueError(f"UART {uart}: there are {self.uarts}")
                self._input[uart] = self._input.get(uart, b"") + data
        sent: list[bytes] = []
        if self._input:
            sent = [self._input.get(uart, b"")[: INPUT_MAXIMUM // self.uarts] for uart in range(self.uarts)]
        request = self._request.pack(
            self._request.size - _LENGTH.size + sum(map(len, sent)),
            b"R",
            UNLIMITED if instructions is None else instructions,
            UNLIMITED if guest_ns is None else guest_ns,
            *(map(len, sent) if sent else self._nothing),
        )
        if timeout != self._timeout:
            self._wait_at_most(timeout)
        with suppress(OSError):  # a machine that has ended may have left its last words to read
            self._socket.sendall(b"".join((request, *sent)) if sent else request)
        frame = self._frame()
        if frame[:1] == b"s":
            self.parting, frame = frame[1:] or None, self._frame()
        return self._parse(frame)

    def screen(self, step: int = 0) -> bytes | None:
        """What the machine's screen shows now (`bringup.vmm.screen.text.unpack`), None: the same as when last asked.
        With `step` a turn ends when half of its text has scrolled since, which the machine sees every so many
        instructions, if it can (Feature.WATCH). No guest time passes. TurnsError: it has none."""
        watch = struct.pack("<I", step) if step and self.features & Feature.WATCH else b""
        return self._ask(b"S" + watch)[1:] or None

    def press(self, events: Sequence[int]) -> int:
        """Key events for the machine's keyboard (docs/turns.md); returns how many it took, the rest is the caller's
        again. No guest time passes. TurnsError: it has none."""
        answer = self._ask(b"K" + struct.pack(f"<{len(events)}I", *events))
        if len(answer) != 1 + _TAKEN.size:
            raise TurnsError(f"{self._path}: an answer of {len(answer)} bytes to keys")
        return int(min(_TAKEN.unpack_from(answer, 1)[0], len(events)))

    def _ask(self, body: bytes) -> bytes:
        """Sends a request that is no turn; the body of its answer."""
        if not self.features & Feature.SCREEN:
            raise TurnsError(f"{self._path}: the machine has no screen and no keyboard")
        with suppress(OSError):  # as for a turn
            self._socket.sendall(_LENGTH.pack(len(body)) + body)
        answer = self._frame()
        if answer[:1] == b"E":
            raise TurnsError(f"{self._path}: {answer[1:].decode(errors='replace')}")
        if answer[:1] != body[:1].lower():
            raise TurnsError(f"{self._path}: a frame of type {answer[:1]!r} as an answer to {body[:1]!r}")
        return answer

    def _wait_at_most(self, seconds: float | None) -> None:
        """By the kernel: Python's own timeouts cost a system call for each of ours."""
        self._timeout = seconds
        microseconds = 0 if seconds is None else max(int(seconds * 1_000_000), 1)  # 0: for ever
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(*divmod(microseconds, 1_000_000)))

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
        if len(self._buffer) < size + length:
            self._receive_up_to(size + length)
        frame, self._buffer = self._buffer[size : size + length], self._buffer[size + length :]
        return frame

    def _receive(self) -> None:
        self._buffer += self._read(_RECEIVE)

    def _receive_up_to(self, size: int) -> None:
        parts = [self._buffer]
        missing = size - len(self._buffer)
        while missing > 0:
            parts.append(self._read(_RECEIVE))
            missing -= len(parts[-1])
        self._buffer = b"".join(parts)

    def _read(self, size: int) -> bytes:
        try:
            data = self._look(size)
            if data is None:
                data = self._socket.recv(size)
        except BlockingIOError:
            raise TurnsError(f"{self._path}: no answer in time") from None
        except ConnectionResetError:
            data = b""  # it hung up with our request unread
        except OSError as error:
            raise TurnsError(f"{self._path}: {error.strerror}") from None
        if not data:
            raise MachineGoneError(f"{self._path}: the machine hung up")
        return data

    def _look(self, size: int) -> bytes | None:
        """What comes before it is worth sleeping; None: nothing."""
        self._spin.begin()
        while self._spin.goes_on():
            with suppress(BlockingIOError):
                data = self._socket.recv(size, socket.MSG_DONTWAIT)
                self._spin.end()
                return data
        return None

    def _parse(self, frame: bytes) -> Turn:
        if frame[:1] == b"E":
            raise TurnsError(f"{self._path}: {frame[1:].decode(errors='replace')}")
        at = self._answer.size
        if frame[:1] != b"A" or len(frame) < at:
            raise TurnsError(f"{self._path}: a frame that is no answer")
        _, reason, event, status, detail, self.count, self.time, *sizes = self._answer.unpack_from(frame)
        if reason >= len(_REASONS) or event >= len(_EVENTS):
            raise TurnsError(f"{self._path}: an answer of an unknown kind, {reason} and {event}")
        channels = self._silence
        if any(sizes):
            taken, written = sizes[: self.uarts], sizes[self.uarts :]
            if at + 9 * sum(written) > len(frame):
                raise TurnsError(f"{self._path}: an answer shorter than it says")
            self._take(taken)
            each = []
            for size in written:
                counts = at + size
                each.append(Channel(frame[at:counts], memoryview(frame)[counts : counts + 8 * size].cast("Q")))
                at = counts + 8 * size
            channels = tuple(each)
        return Turn(
            _REASONS[reason],
            _EVENTS[event],
            detail,
            self.count,
            self.time,
            channels,
            None if status < 0 else status,
            frame[at:].decode(errors="replace"),
        )

    def _take(self, taken: Sequence[int]) -> None:
        """The machine has taken so many bytes of each UART's input."""
        for uart, size in enumerate(taken):
            if size:
                self._input[uart] = self._input.get(uart, b"")[size:]
                if not self._input[uart]:
                    del self._input[uart]
