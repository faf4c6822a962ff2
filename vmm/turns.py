"""The driver's socket: run, answer, wait. The protocol is described in docs/turns.md.

A turn ends for reasons of guest state only, and between turns guest time stands still; so the same requests give the
same answers, counts included, whatever the host does meanwhile.
"""

from __future__ import annotations

import signal
import socket
import struct
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from .loop import AIR_US, FLUSH_SECONDS, Ending, Runner, Status
from .machine import CHANNELS, NEVER, UARTS, Exit, ExitKind, Limits
from .spin import Spin
from .terminal import wait_for_clients

VERSION = 1
REQUEST_MAXIMUM = 1 << 20  # bytes of a request's body

# Unread output that ends a turn.
OUTPUT_BYTES = 4096
OUTPUT_AGE = 10_000_000  # guest nanoseconds

GOES_ON = -1  # the status in an answer that is not the last

LENGTH = struct.Struct("<I")
HELLO = struct.Struct("<cHBBQQ")
FEATURES = struct.Struct("<I")
FEATURE_SCREEN, FEATURE_WATCH = 1, 2
STEP = struct.Struct("<I")
KEY = struct.Struct("<I")
REQUEST = struct.Struct(f"<cQQ{UARTS}I")
ANSWER = struct.Struct(f"<cBBhIQQ{UARTS}I{CHANNELS}I")


class Reason(IntEnum):
    """Why a turn ended."""

    IDLE = 0
    OUTPUT = 1
    EVENT = 2
    LIMIT = 3
    HALTED = 4
    SCREEN = 5


class Event(IntEnum):
    """What happened to the machine, when the reason is EVENT."""

    NONE = 0
    POWER_OFF = 1
    RESET = 2
    TRIPLE_FAULT = 3
    PANIC = 4
    DEBUG_EXIT = 5
    INTERNAL = 6
    BUDGET = 7
    ENDED = 8


_REASONS = {
    ExitKind.IDLE: Reason.IDLE,
    ExitKind.OUTPUT: Reason.OUTPUT,
    ExitKind.LIMIT: Reason.LIMIT,
    ExitKind.IDLE_FOREVER: Reason.HALTED,
    ExitKind.SCREEN: Reason.SCREEN,
}
_EVENTS = {
    ExitKind.POWER_OFF: Event.POWER_OFF,
    ExitKind.RESET: Event.RESET,
    ExitKind.TRIPLE_FAULT: Event.TRIPLE_FAULT,
    ExitKind.PANIC: Event.PANIC,
    ExitKind.DEBUG_EXIT: Event.DEBUG_EXIT,
    ExitKind.INTERNAL: Event.INTERNAL,
    ExitKind.LIMIT: Event.BUDGET,
}


_NO_INPUT = (b"",) * UARTS


class ProtocolError(Exception):
    """The driver does not keep to the protocol."""


class Request(NamedTuple):
    """One turn: how many instructions and guest nanoseconds at most, and input for each UART."""

    instructions: int
    nanoseconds: int
    inputs: tuple[bytes, ...]


def parse_request(body: bytes) -> Request:
    """A request from its frame's body."""
    if len(body) < REQUEST.size:
        raise ProtocolError(f"a request of {len(body)} bytes; it has at least {REQUEST.size}")
    kind, instructions, nanoseconds, *sizes = REQUEST.unpack_from(body)
    if kind != b"R":
        raise ProtocolError(f"a frame of type {kind!r}; a request has type b'R'")
    if sum(sizes) != len(body) - REQUEST.size:
        raise ProtocolError(f"a request that announces {sum(sizes)} bytes of input has {len(body) - REQUEST.size}")
    if len(body) == REQUEST.size:
        return Request(instructions, nanoseconds, _NO_INPUT)
    inputs, at = [], REQUEST.size
    for size in sizes:
        inputs.append(body[at : at + size])
        at += size
    return Request(instructions, nanoseconds, tuple(inputs))


class TurnServer:
    """Listens for the one driver that a machine has, and runs the guest in its turns."""

    def __init__(self, where: Path | int, runner: Runner) -> None:
        self._runner = runner
        self._connection: socket.socket | None = None
        self._received = bytearray()
        self._unsent: bytes | memoryview = b""
        self._request: Request | None = None
        self._in_turn = False
        self._accepted_bytes: list[int] = []
        self._halted = False  # how the last turn ended
        self._shown: bytes | None = None  # the screen that the driver was last given
        self._step = 0  # instructions between two looks at text that scrolls
        self._spin = Spin()
        self._has_screen = runner.machine.screen() is not None
        self._listener = wait_for_clients(runner.poller, where, self._accepted)

    # ---- the socket ----

    def _accepted(self, connection: socket.socket) -> None:
        if self._connection is not None:
            connection.close()
            return
        self._connection = connection
        machine = self._runner.machine
        features = FEATURES.pack(FEATURE_SCREEN | FEATURE_WATCH) if self._has_screen else b""
        self._send(HELLO.pack(b"H", VERSION, UARTS, CHANNELS, machine.count, machine.time), features)
        self._watch()

    def _watch(self) -> None:
        if self._connection is not None:
            write = self._write if self._unsent else None
            self._runner.poller.watch(self._connection.fileno(), read=self._read, write=write)

    def _send(self, *parts: bytes) -> None:
        """Queues one frame."""
        body = b"".join(parts)
        self._unsent = b"".join((self._unsent, LENGTH.pack(len(body)), body))
        self._write()

    def _write(self) -> None:
        if self._connection is None:
            return
        try:
            while self._unsent:
                sent = self._connection.send(self._unsent)
                if sent == len(self._unsent):
                    self._unsent = b""
                    return
                self._unsent = memoryview(self._unsent)[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._vanished()
        self._watch()

    def _read(self) -> None:
        if self._connection is None:
            return
        try:
            data = self._connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._vanished()
            return
        self._received += data
        try:
            self._parse()
        except ProtocolError as error:
            self._broken(str(error))

    def _parse(self) -> None:
        if self._in_turn or self._request is not None:
            raise ProtocolError("more than one request at a time")
        if len(self._received) < LENGTH.size:
            return
        (size,) = LENGTH.unpack_from(self._received)
        if size > REQUEST_MAXIMUM:
            raise ProtocolError(f"a frame of {size} bytes; at most {REQUEST_MAXIMUM} are taken")
        end = LENGTH.size + size
        if len(self._received) < end:
            return
        body = bytes(self._received[LENGTH.size : end])
        if len(self._received) > end:
            raise ProtocolError("more than one request at a time")
        self._received.clear()
        if self._has_screen and body[:1] == b"S" and len(body) in (1, 1 + STEP.size):
            self._step = STEP.unpack_from(body, 1)[0] if len(body) > 1 else 0
            self._show()
        elif self._has_screen and body[:1] == b"K":
            self._press(body[1:])
        else:
            self._request = parse_request(body)

    def _show(self) -> None:
        """What the screen shows, if the driver has not been given it already."""
        screen = self._runner.machine.screen()
        packed = screen.pack() if screen is not None else b""
        if self._step:
            self._runner.machine.screen_seen()
        self._send(b"s", packed if packed != self._shown else b"")
        self._shown = packed

    def _press(self, data: bytes) -> None:
        if len(data) % KEY.size:
            raise ProtocolError(f"keys of {len(data)} bytes; each has {KEY.size}")
        taken = self._runner.machine.press([event for (event,) in KEY.iter_unpack(data)])
        self._send(b"k", KEY.pack(taken))

    def _broken(self, text: str) -> None:
        self._request = None
        self._send(b"E", text.encode())
        self._hang_up()
        self._runner.end(Ending(Status.USAGE, f"the turns driver broke the protocol: {text}"))

    def _vanished(self) -> None:
        self._hang_up()
        self._request = None
        if self._halted and not self._in_turn:
            self._runner.end(Ending(Status.IDLE, "idle for ever"))
        else:
            self._runner.end(Ending(128 + signal.SIGHUP, "the turns driver hung up"))

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._runner.poller.forget(self._connection.fileno())
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Gives the last answer a moment to leave, ends the connection and removes the socket."""
        if self._connection is not None and self._unsent:
            with suppress(OSError):
                self._connection.settimeout(FLUSH_SECONDS)
                self._connection.sendall(self._unsent)
        self._hang_up()
        self._listener.close()

    # ---- the turn ----

    def serve(self, runner: Runner) -> None:
        """Waits for one request and carries it out."""
        self._spin.begin()
        while (self._request is None or self._unsent) and runner.breathe(0 if self._spin.goes_on() else None):
            pass
        self._spin.end()
        if self._request is None:
            return
        request, self._request = self._request, None
        self._in_turn = True
        machine = runner.machine
        self._accepted_bytes = [machine.send(uart, data) if data else 0 for uart, data in enumerate(request.inputs)]
        limits = Limits(
            count=min(machine.count + request.instructions, runner.budget),
            time=min(machine.time + request.nanoseconds, NEVER),
            output_bytes=OUTPUT_BYTES,
            output_age=OUTPUT_AGE,
            stop_when_idle=True,
            air_us=AIR_US,
            screen_step=self._step,
        )
        end = None
        while runner.ending is None and (end is None or end.kind is ExitKind.AIR):
            if (end is not None or runner.paused) and not runner.breathe(0):  # a paused machine answers when it goes on
                break
            end = runner.step(limits)
        self._answer(end, runner.ending)

    def _answer(self, end: Exit | None, ending: Ending | None) -> None:
        machine = self._runner.machine
        kind = end.kind if end is not None else ExitKind.AIR
        reason = _REASONS.get(kind, Reason.EVENT) if ending is None else Reason.EVENT
        event = _EVENTS.get(kind, Event.ENDED) if reason is Reason.EVENT else Event.NONE
        self._halted = reason is Reason.HALTED
        outputs = [machine.receive(channel) for channel in range(CHANNELS)]
        self._in_turn = False
        if ending is not None and self._shown is not None:
            self._show()  # it cannot be asked for any more
        self._send(
            ANSWER.pack(
                b"A",
                reason,
                event,
                ending.status if ending is not None else GOES_ON,
                end.detail if end is not None else 0,
                machine.count,
                machine.time,
                *self._accepted_bytes,
                *(len(output.data) for output in outputs),
            ),
            *(part for output in outputs if output.data for part in output),
            ending.kind.encode() if ending is not None else b"",
        )
