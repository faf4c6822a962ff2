"""The control socket, in QMP's wire format, so that the clients and scripts of QEMU work on it.

Source: QEMU's docs/interop/qmp-spec.rst. Commands: see COMMANDS. A client that sends garbage gets an error, one that
sends without end or reads nothing is cut off, and none of them ever holds up the machine.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from .input import HOLD_MS, Input, InputError
from .inspect import TOPICS
from .loop import Ending, Poller, Runner, Status
from .terminal import wait_for_clients

REQUEST_MAXIMUM = 64 << 10
NESTING_MAXIMUM = 64
BACKLOG_MAXIMUM = 1 << 20
CLIENTS_MAXIMUM = 8
LAST_WORDS = frozenset(Status) - {Status.POWER_OFF, Status.USAGE}


class QmpError(Exception):
    """An error answer: `error_class` is GenericError or CommandNotFound."""

    def __init__(self, description: str, error_class: str = "GenericError") -> None:
        super().__init__(description)
        self.error_class = error_class


def _version() -> dict[str, Any]:
    """`bringup`'s version in the shape that clients expect, QEMU's."""
    try:
        text = metadata.version("bringup")
    except metadata.PackageNotFoundError:
        text = "0.0.0"
    numbers = [int(part) if part.isdecimal() else 0 for part in f"{text}.0.0".split(".")[:3]]
    return {"qemu": dict(zip(("major", "minor", "micro"), numbers, strict=True)), "package": f"bringup {text}"}


class Framer:
    """Cuts a byte stream into JSON objects without asking for line ends, looking at each byte once."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, data: bytes) -> list[bytes]:
        """The objects that are complete now. QmpError on what cannot become one; the rest of the line is dropped."""
        self._buffer += data
        frames = []
        while self._scanned < len(self._buffer):
            byte = self._buffer[self._scanned]
            self._scanned += 1
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = byte == 0x5C
                self._in_string = byte != 0x22
            elif byte in b"{[":
                self._depth += 1
                if self._depth > NESTING_MAXIMUM:
                    self._drop_line()
                    raise QmpError("JSON parse error, nested too deeply")
            elif self._depth == 0 and byte in b" \t\r\n":
                del self._buffer[: self._scanned]
                self._scanned = 0
            elif self._depth == 0:
                self._drop_line()
                raise QmpError("JSON parse error, expecting value")
            elif byte == 0x22:
                self._in_string = True
            elif byte in b"}]":
                self._depth -= 1
                if self._depth == 0:
                    frames.append(bytes(self._buffer[: self._scanned]))
                    del self._buffer[: self._scanned]
                    self._scanned = 0
        if len(self._buffer) > REQUEST_MAXIMUM:
            raise OverflowError
        return frames

    def _drop_line(self) -> None:
        end = self._buffer.find(b"\n", self._scanned)
        del self._buffer[: end + 1 if end >= 0 else len(self._buffer)]
        self._scanned = self._depth = 0
        self._in_string = self._escaped = False


class Client:
    """One connection: its negotiation state and what waits to be sent."""

    def __init__(self, connection: socket.socket, poller: Poller, server: ControlServer) -> None:
        self._connection = connection
        self._poller = poller
        self._server = server
        self._framer = Framer()
        self._unsent = bytearray()
        self.negotiated = False
        self.open = True
        self.send({"QMP": {"version": _version(), "capabilities": []}})

    def send(self, message: dict[str, Any]) -> None:
        """Queues a message; a client that lets a MiB pile up is cut off."""
        self._unsent += json.dumps(message).encode() + b"\r\n"
        self._write()
        if len(self._unsent) > BACKLOG_MAXIMUM:
            self.close()

    def _write(self) -> None:
        if not self.open:
            return
        try:
            while self._unsent:
                del self._unsent[: self._connection.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._poller.watch(self._connection.fileno(), read=self._read, write=self._write if self._unsent else None)

    def _read(self) -> None:
        try:
            data = self._connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            frames = self._framer.feed(data)
        except QmpError as error:
            self.send(_error(error))
        except OverflowError:
            self.close()
        else:
            for frame in frames:
                self.send(self._answer(frame))

    def _answer(self, frame: bytes) -> dict[str, Any]:
        request: Any = None
        try:
            try:
                request = json.loads(frame)
            except ValueError:
                raise QmpError("JSON parse error, invalid object") from None
            answer = {"return": self._server.execute(self, *_command(request))}
        except QmpError as error:
            answer = _error(error)
        if isinstance(request, dict) and "id" in request:
            answer["id"] = request["id"]
        return answer

    def close(self) -> None:
        """Ends the connection; a second call does nothing."""
        if self.open:
            self.open = False
            self._poller.forget(self._connection.fileno())
            self._connection.close()
            self._server.forget(self)


def _error(error: QmpError) -> dict[str, Any]:
    return {"error": {"class": error.error_class, "desc": str(error)}}


def _command(request: object) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of a request, checked."""
    if not isinstance(request, dict):
        raise QmpError("QMP input must be a JSON object")
    for key in request:
        if key not in ("execute", "arguments", "id"):
            raise QmpError(f"QMP input member '{key}' is unexpected")
    name, arguments = request.get("execute"), request.get("arguments", {})
    if name is None:
        raise QmpError("QMP input lacks member 'execute'")
    if not isinstance(name, str):
        raise QmpError("QMP input member 'execute' must be a string")
    if not isinstance(arguments, dict):
        raise QmpError("QMP input member 'arguments' must be an object")
    return name, arguments


class ControlServer:
    """Listens on a Unix socket, or has one connection, and serves its clients from the run loop's poller."""

    def __init__(self, where: Path | int, runner: Runner) -> None:
        self._runner = runner
        self._clients: list[Client] = []
        self._listener = wait_for_clients(runner.poller, where, self._accepted)
        runner.on_event, runner.on_end = self.event, self.last_state
        runner.controlled = True

    def _accepted(self, connection: socket.socket) -> None:
        if len(self._clients) >= CLIENTS_MAXIMUM:
            connection.close()
        else:
            client = Client(connection, self._runner.poller, self)
            if client.open:
                self._clients.append(client)

    def forget(self, client: Client) -> None:
        """The client's connection is closed."""
        with suppress(ValueError):
            self._clients.remove(client)

    def event(self, name: str, data: dict[str, object]) -> None:
        """Tells every client that finished its negotiation."""
        seconds, nanoseconds = divmod(time.time_ns(), 10**9)
        message: dict[str, Any] = {
            "event": name,
            "timestamp": {"seconds": seconds, "microseconds": nanoseconds // 1000},
        }
        if data:
            message["data"] = data
        for client in list(self._clients):
            if client.negotiated:
                client.send(message)

    def last_state(self, ending: Ending) -> None:
        """Tells every client what the machine was like when it ended otherwise than by its guest's wish: nobody can ask
        for that any more."""
        if ending.status in LAST_WORDS and not ending.quiet and self._clients:
            views = {topic: TOPICS[topic](self._runner.machine) for topic in ("registers", "exits")}
            self.event("BRINGUP_LAST_STATE", {"ending": ending.kind, **views})

    def execute(self, client: Client, name: str, arguments: dict[str, Any]) -> Any:
        """Carries out one command; QmpError when it cannot."""
        command = COMMANDS.get(name)
        if command is None:
            raise QmpError(f"The command {name} has not been found", "CommandNotFound")
        if client.negotiated == (name == "qmp_capabilities"):
            if client.negotiated:
                raise QmpError("Capabilities negotiation is already complete, command ignored", "CommandNotFound")
            raise QmpError("Expecting capabilities negotiation with 'qmp_capabilities'", "CommandNotFound")
        if name == "qmp_capabilities":
            if arguments.pop("enable", []):
                raise QmpError("Capability is not available: none is offered")
            client.negotiated = True
        return command.run(self._runner, _checked(arguments, command.parameters, command.optional))

    def close(self) -> None:
        """Cuts all clients off and removes the socket."""
        for client in list(self._clients):
            client.close()
        self._listener.close()


def _query_status(runner: Runner) -> dict[str, Any]:
    status = "shutdown" if runner.ending else "paused" if runner.paused else "running"
    return {"status": status, "running": status == "running", "singlestep": False}


def _checked(
    arguments: Mapping[str, Any], parameters: Mapping[str, type], optional: Mapping[str, type]
) -> Mapping[str, Any]:
    """The arguments, when they are those that the command takes."""
    for key in arguments:
        if key not in parameters and key not in optional:
            raise QmpError(f"Parameter '{key}' is unexpected")
    for key in parameters:
        if key not in arguments:
            raise QmpError(f"Parameter '{key}' is missing")
    for key, value in arguments.items():
        kind = parameters.get(key) or optional[key]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise QmpError(f"Invalid parameter type for '{key}', expected: {_JSON_TYPES[kind]}")
    return arguments


_JSON_TYPES: Mapping[type, str] = {str: "string", int: "integer", list: "array"}


class Command(NamedTuple):
    """What carries out a command, the parameters that it needs, and those that it may have."""

    run: Callable[[Runner, Mapping[str, Any]], Any]
    parameters: Mapping[str, type] = {}
    optional: Mapping[str, type] = {}


def _query(answer: Callable[[Runner], Any]) -> Command:
    return Command(lambda runner, _: answer(runner))


def _action(action: Callable[[Runner], None]) -> Command:
    def run(runner: Runner, _: Mapping[str, Any]) -> dict[str, Any]:
        action(runner)
        return {}

    return Command(run)


def _on_input(do: Callable[[Input, Mapping[str, Any]], None]) -> Callable[[Runner, Mapping[str, Any]], Any]:
    """Something done to keyboard, mouse or screen. (`device` and `head` would choose among several; there is one.)"""

    def run(runner: Runner, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            do(runner.input, arguments)
        except InputError as error:
            raise QmpError(str(error)) from None
        return {}

    return run


def _monitor(runner: Runner, arguments: Mapping[str, Any]) -> str:
    """`info TOPIC`, as people and scripts ask QEMU's monitor; what is wrong is said in the answer, as it does there."""
    verb, _, topic = arguments["command-line"].strip().partition(" ")
    view = TOPICS.get(topic.strip()) if verb == "info" else None
    if view is None:
        return "".join(f"info {name}\r\n" for name in TOPICS)
    return view(runner.machine).replace("\n", "\r\n") + "\r\n"


def _quit(runner: Runner) -> None:
    runner.on_event("SHUTDOWN", {"guest": False, "reason": "host-qmp-quit"})
    runner.end(Ending(Status.POWER_OFF, "ended by QMP quit", quiet=True))


COMMANDS: Mapping[str, Command] = {
    "qmp_capabilities": _query(lambda runner: {}),
    "screendump": Command(
        _on_input(lambda it, given: it.screendump(given["filename"], given.get("format", "ppm"))),
        {"filename": str},
        {"device": str, "head": int, "format": str},
    ),
    "send-key": Command(
        _on_input(lambda it, given: it.send_key(given["keys"], given.get("hold-time", HOLD_MS))),
        {"keys": list},
        {"hold-time": int},
    ),
    "input-send-event": Command(
        _on_input(lambda it, given: it.send_events(given["events"])),
        {"events": list},
        {"device": str, "head": int},
    ),
    "human-monitor-command": Command(_monitor, {"command-line": str}),
    "query-commands": _query(lambda runner: [{"name": name} for name in sorted(COMMANDS)]),
    "query-status": _query(_query_status),
    "query-version": _query(lambda runner: _version()),
    "stop": _action(Runner.pause),
    "cont": _action(Runner.resume),
    "system_reset": _action(Runner.ask_reset),
    "system_powerdown": _action(Runner.press_power_button),
    "quit": _action(_quit),
}
