"""QMP as far as a machine needs it, over a connected socket that is polled together with its consoles.

Wire format: QEMU's docs/interop/qmp-spec.rst; a message is a line of JSON.
"""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any

MESSAGE_MAXIMUM = 1 << 20
"""Bytes; a VMM that sends more without a line end does not speak QMP."""
EVENTS_MAXIMUM = 1000
LAST_STATE = "BRINGUP_LAST_STATE"
"""Our own VMM's event: what `info` would have shown at the machine's end (docs/run.md)."""
EVENTS_KEPT = ("SHUTDOWN", "RESET", "GUEST_PANICKED", "WATCHDOG", LAST_STATE)


class QmpError(Exception):
    """The VMM does not speak QMP, refuses a command, or does not answer; one line."""


class QmpGoneError(QmpError):
    """The VMM hung up."""


class Qmp:
    """One connection. Events that matter to how a machine ends are kept in `events`, in order."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.setblocking(False)
        self.events: list[dict[str, Any]] = []
        self.open = True
        self._buffer = bytearray()
        self._messages: list[dict[str, Any]] = []
        self._id = 0

    def fileno(self) -> int:
        """Readable when there is something to `read`."""
        return self.socket.fileno()

    def negotiate(self, seconds: float) -> None:
        """Waits for the greeting and leaves capability negotiation."""
        self._await(lambda message: "QMP" in message, "no greeting", time.monotonic() + seconds)
        self.execute("qmp_capabilities", seconds=seconds)

    def execute(self, command: str, arguments: dict[str, Any] | None = None, *, seconds: float) -> Any:
        """What a command returns."""
        self._id += 1
        deadline = time.monotonic() + seconds
        request: dict[str, Any] = {"execute": command, "id": self._id}
        if arguments:
            request["arguments"] = arguments
        self._write(json.dumps(request).encode() + b"\n", deadline)
        answer = self._await(lambda message: message.get("id") == self._id, f"no answer to {command}", deadline)
        if "error" in answer:
            raise QmpError(f"{command}: {answer['error'].get('desc', 'refused')}")
        return answer.get("return")

    def read(self) -> None:
        """Takes what has arrived; `open` is False at the end of the stream. QmpError: it is not QMP."""
        while self.open:
            try:
                data = self.socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.open = False
                return
            self._buffer += data
            *lines, rest = self._buffer.split(b"\n")
            self._buffer = rest
            if len(rest) > MESSAGE_MAXIMUM:
                raise QmpError(f"more than {MESSAGE_MAXIMUM} bytes without a line end")
            for line in lines:
                self._take(bytes(line))

    def close(self) -> None:
        """Hangs up."""
        self.open = False
        self.socket.close()

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if not isinstance(message, dict):
            raise QmpError(f"what it says is no QMP: {line[:80]!r}")
        if "event" not in message:
            self._messages.append(message)
            del self._messages[:-EVENTS_MAXIMUM]
        elif message["event"] in EVENTS_KEPT:
            self.events.append(message)
            del self.events[:-EVENTS_MAXIMUM]

    def _await(self, wanted: Any, complaint: str, deadline: float) -> dict[str, Any]:
        while True:
            self.read()
            for message in self._messages:
                if wanted(message):
                    self._messages.clear()
                    return message
            if not self.open:
                raise QmpGoneError(f"{complaint}: it hung up")
            if not self._ready(select.POLLIN, deadline):
                raise QmpError(f"{complaint} in time")

    def _write(self, data: bytes, deadline: float) -> None:
        while data:
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                if not self._ready(select.POLLOUT, deadline):
                    raise QmpError("it takes no commands") from None
            except OSError:
                self.open = False
                raise QmpGoneError("it hung up") from None

    def _ready(self, what: int, deadline: float) -> bool:
        poll = select.poll()
        poll.register(self.socket, what)
        return bool(poll.poll(max(deadline - time.monotonic(), 0) * 1000))
