"""The control socket: QMP's wire format, its clients, and what is no client."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qemu.qmp import ExecuteError, QMPClient

from bringup.vmm.control import COMMANDS, Framer, QmpError
from bringup.vmm.loop import Ending

SOCKET = Path("qmp")


class Raw:
    """A client that speaks bytes."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(SOCKET))
        self._file = self.socket.makefile("rb")
        self.greeting = self.read()

    def read(self) -> Any:
        return json.loads(self._file.readline())

    def say(self, text: str | bytes) -> Any:
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())
        return self.read()

    def execute(self, name: str, **arguments: Any) -> Any:
        return self.say(json.dumps({"execute": name, "arguments": arguments}))

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@pytest.fixture
def spinning(bench: Any, guests: Any, here: Path) -> Any:
    """A machine that runs for ever, with a control socket."""

    def guest(machine: Any) -> Any:
        while True:
            yield guests.Work(1)

    return bench(guest).control(SOCKET).free()


@pytest.fixture
def client(spinning: Any) -> Iterator[Raw]:
    raw = Raw()
    assert raw.execute("qmp_capabilities") == {"return": {}}
    yield raw
    raw.close()


def test_the_client_of_qemu_qmp_works_unchanged(spinning: Any) -> None:
    async def converse() -> list[str]:
        client = QMPClient("test")
        events: list[str] = []
        with client.listener() as listener:
            await client.connect(str(SOCKET))
            assert await client.execute("query-status") == {
                "status": "running",
                "running": True,
                "singlestep": False,
            }
            await client.execute("stop")
            status: Any = await client.execute("query-status")
            assert status["status"] == "paused"
            await client.execute("cont")
            await client.execute("system_powerdown")
            await client.execute("system_reset")
            with pytest.raises(ExecuteError, match="The command savevm has not been found"):
                await client.execute("savevm")
            while "RESET" not in events:
                event: Any = await asyncio.wait_for(listener.get(), 20)
                assert {"seconds", "microseconds"} <= set(event["timestamp"])
                events.append(str(event["event"]))
            await client.execute("quit")
        with suppress(EOFError):  # the server may have closed first, as with QEMU
            await client.disconnect()
        return events

    assert asyncio.run(converse()) == ["STOP", "RESUME", "POWERDOWN", "RESET"]
    assert spinning.ending == Ending(0, "ended by QMP quit", quiet=True)
    assert (spinning.fake.power_button, spinning.fake.resets) == (1, 1)
    assert not SOCKET.exists()


def test_the_greeting(client: Raw) -> None:
    version = client.greeting["QMP"]["version"]
    assert set(version["qemu"]) == {"major", "minor", "micro"}
    assert version["package"].startswith("bringup ")
    assert client.greeting["QMP"]["capabilities"] == []
    assert client.execute("query-version") == {"return": version}
    assert {entry["name"] for entry in client.execute("query-commands")["return"]} == set(COMMANDS)


def test_negotiation_comes_first_and_once(spinning: Any) -> None:
    raw = Raw()
    assert raw.execute("query-status")["error"]["class"] == "CommandNotFound"
    assert "Capability" in raw.execute("qmp_capabilities", enable=["oob"])["error"]["desc"]
    assert raw.execute("qmp_capabilities", enable=[]) == {"return": {}}
    assert "already complete" in raw.execute("qmp_capabilities")["error"]["desc"]
    raw.close()


def test_a_stopped_guest_stands_still(spinning: Any, client: Raw) -> None:
    assert client.execute("stop")["event"] == "STOP"
    assert client.read() == {"return": {}}
    counts = []
    for _ in range(2):
        time.sleep(0.02)
        client.say('{"execute": "query-status"}')
        counts.append(spinning.fake.count)
    assert counts[0] == counts[1]
    client.execute("cont")
    deadline = time.monotonic() + 20
    while spinning.fake.count == counts[0]:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_reset_without_reboot_ends_the_machine(bench: Any, guests: Any, here: Path) -> None:
    def guest(machine: Any) -> Any:
        while True:
            yield guests.Work(1)

    run = bench(guest, no_reboot=True).control(SOCKET).free()
    raw, stranger = Raw(), Raw()
    raw.execute("qmp_capabilities")
    assert raw.execute("system_reset") == {"return": {}}
    assert raw.read()["event"] == "SHUTDOWN"
    last = raw.read()
    assert last["event"] == "BRINGUP_LAST_STATE" and last["data"]["ending"] == "reset"
    assert "RIP=" in last["data"]["registers"] and "exits" in last["data"]
    assert stranger.socket.recv(1) == b""  # who has not negotiated is told nothing
    assert run.ending == Ending(10, "reset")
    raw.close()
    stranger.close()


def test_a_guest_s_power_off_is_an_event(bench: Any, guests: Any, here: Path) -> None:
    def guest(machine: Any) -> Any:
        while not machine.power_button:
            yield guests.Halt(1000)
        yield guests.End("POWER_OFF")

    run = bench(guest).control(SOCKET).free()
    raw = Raw()
    raw.execute("qmp_capabilities")
    seen = [raw.execute("system_powerdown"), raw.read(), raw.read()]
    assert [message.get("event") for message in seen] in (
        [None, "POWERDOWN", "SHUTDOWN"],
        ["POWERDOWN", None, "SHUTDOWN"],
    )
    assert seen[2]["data"] == {"guest": True, "reason": "guest-shutdown"}
    assert raw.socket.recv(1) == b""  # a wish of the guest's has no last state
    assert run.ending.status == 0
    raw.close()


def test_ids_come_back(client: Raw) -> None:
    for identity in (1, "x", None, [1, {"a": 2}]):
        answer = client.say(json.dumps({"execute": "query-version", "id": identity}))
        assert answer["id"] == identity
    assert client.say('{"execute": "nothing", "id": 7}')["id"] == 7


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("hello\n", "JSON parse error, expecting value"),
        ("\x00\x01\n", "JSON parse error, expecting value"),
        ("\xff\xfe\n".encode("latin-1"), "JSON parse error, expecting value"),
        ("{]\n", "JSON parse error, invalid object"),
        ('{"execute": tru}\n', "JSON parse error, invalid object"),
        ('{"a": "\\q"}', "JSON parse error, invalid object"),
        (b'{"a": "\xff"}', "JSON parse error, invalid object"),
        ("[]", "QMP input must be a JSON object"),
        ("{}", "QMP input lacks member 'execute'"),
        ('{"execute": 1}', "QMP input member 'execute' must be a string"),
        ('{"execute": "stop", "arguments": []}', "QMP input member 'arguments' must be an object"),
        ('{"execute": "stop", "extra": 1}', "QMP input member 'extra' is unexpected"),
        ('{"execute": "stop", "arguments": {"force": true}}', "Parameter 'force' is unexpected"),
        ("[" * 1000 + "\n", "JSON parse error, nested too deeply"),
        ('{"id": ' + "9" * 5000 + "}", "JSON parse error, invalid object"),
    ],
)
def test_garbage_is_answered_and_the_client_lives_on(client: Raw, text: str | bytes, complaint: str) -> None:
    assert client.say(text)["error"] == {"class": "GenericError", "desc": complaint}
    assert client.execute("query-status")["return"]["status"] == "running"


def test_endless_data_is_cut_off_and_the_machine_runs_on(spinning: Any) -> None:
    raw = Raw()
    with pytest.raises(OSError, match=r"Broken pipe|reset by peer"):
        for _ in range(10_000):
            raw.socket.sendall(b'{"a": "' + b"x" * 4096)
    raw.close()
    check_alive(spinning)


def test_a_client_that_reads_nothing_is_cut_off(spinning: Any) -> None:
    raw = Raw()
    with pytest.raises(OSError, match=r"Broken pipe|reset by peer"):
        for _ in range(100_000):
            raw.socket.sendall(b'{"execute": "query-commands"}' * 100)
    raw.close()
    check_alive(spinning)


def test_clients_that_vanish_do_no_harm(spinning: Any) -> None:
    for sent in (b"", b"{", b'{"execute": "qmp_capabilities"}', b"\x00" * 100):
        for _ in range(5):
            raw = Raw()
            raw.socket.sendall(sent)
            raw.close()
    check_alive(spinning)


def test_too_many_clients_are_turned_away(spinning: Any) -> None:
    clients = [Raw() for _ in range(8)]
    with socket.socket(socket.AF_UNIX) as ninth:
        ninth.settimeout(20)
        ninth.connect(str(SOCKET))
        assert ninth.recv(10) == b""
    clients[0].execute("qmp_capabilities")
    assert clients[0].execute("query-status")["return"]["running"]
    for raw in clients:
        raw.close()


def check_alive(run: Any) -> None:
    assert run.runner.ending is None
    raw = Raw()
    assert raw.execute("qmp_capabilities") == {"return": {}}
    raw.close()


# ---- framing ----

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@given(
    st.lists(st.dictionaries(st.text(max_size=8), VALUES, max_size=4), max_size=4), st.integers(1, 20), st.booleans()
)
def test_objects_are_found_however_they_arrive(objects: list[Any], size: int, ascii_only: bool) -> None:
    stream = " \r\n".join(json.dumps(value, ensure_ascii=ascii_only, indent=1) for value in objects).encode()
    framer = Framer()
    frames = [frame for start in range(0, len(stream), size) for frame in framer.feed(stream[start : start + size])]
    assert [json.loads(frame) for frame in frames] == objects


@given(st.lists(st.binary(max_size=100), max_size=10))
def test_any_bytes_are_frames_or_errors(chunks: list[bytes]) -> None:
    framer = Framer()
    for chunk in chunks:
        try:
            frames = framer.feed(chunk)
        except QmpError:
            continue
        assert all(frame[:1] in (b"{", b"[") and frame[-1:] in (b"}", b"]") for frame in frames)


def test_the_monitor_shows_registers(client: Raw) -> None:
    assert "event" in client.execute("stop") and "return" in client.read()
    text = client.execute("human-monitor-command", **{"command-line": "info registers"})["return"]
    assert re.search(r"CPU#0, \d+ instructions", text) and "CS =" in text and "CR0=" in text and "EFER=" in text


@pytest.mark.parametrize("line", ["", "info", "info cpus", "quit"])
def test_the_monitor_says_what_it_knows(client: Raw, line: str) -> None:
    answer = client.execute("human-monitor-command", **{"command-line": line})["return"]
    assert answer == "info registers\r\ninfo exits\r\ninfo exit-counts\r\n"


def test_arguments_of_the_monitor_are_checked(client: Raw) -> None:
    for arguments in ({}, {"command-line": 1}, {"command-line": "info registers", "cpu": 0}):
        assert client.execute("human-monitor-command", **arguments)["error"]["class"] == "GenericError"


# ---- screen, keyboard, mouse ----


@pytest.fixture
def pc(spinning: Any) -> Any:
    """A machine with a screen, a keyboard and a mouse."""
    spinning.core.lib.shows = "hello"
    return spinning.core.lib


def test_a_screendump(pc: Any, client: Raw, tmp_path: Path) -> None:
    for arguments, start in (({}, b"P6\n720 400\n255\n"), ({"format": "png"}, b"\x89PNG"), ({"format": "ppm"}, b"P6")):
        path = tmp_path / "picture"
        assert client.execute("screendump", filename=str(path), device="vga", head=0, **arguments) == {"return": {}}
        assert path.read_bytes().startswith(start)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "'filename' is missing"),
        ({"filename": "/dev/null/x"}, "failed to write file '/dev/null/x': Not a directory"),
        ({"filename": "a\0b"}, "null"),
        ({"filename": "x", "format": "gif"}, "'format' does not accept value 'gif'"),
        ({"filename": "x", "head": "0"}, "'head', expected: integer"),
        ({"filename": "x", "head": True}, "'head', expected: integer"),
    ],
)
def test_no_screendump(pc: Any, client: Raw, arguments: dict[str, Any], complaint: str) -> None:
    assert complaint in client.execute("screendump", **arguments)["error"]["desc"]


def test_a_machine_without_a_screen(client: Raw) -> None:
    assert "no console" in client.execute("screendump", filename="x")["error"]["desc"]
    key = {"type": "qcode", "data": "ret"}
    assert client.execute("send-key", keys=[key])["error"]["desc"] == "there is no keyboard"


def test_send_key(pc: Any, client: Raw) -> None:
    combination = [{"type": "qcode", "data": "ctrl"}, {"type": "number", "data": 46}]
    assert client.execute("send-key", keys=combination) == {"return": {}}
    assert client.execute("send-key", keys=combination[:1], **{"hold-time": 5}) == {"return": {}}
    assert pc.pressed == [0x11D, 0x12E, 100 << 16 | 0x2E, 0x1D, 0x11D, 5 << 16 | 0x1D]
    for _ in range(5):
        client.execute("send-key", keys=combination[:1])
    error = client.execute("send-key", keys=combination[:1])["error"]
    assert error["desc"] == "the keyboard has too much to type already"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"keys": "ret"}, "'keys', expected: array"),
        ({"keys": ["ret"]}, "expected: object"),
        ({"keys": [{"type": "qcode", "data": "enter"}]}, "'data' does not accept value 'enter'"),
        ({"keys": [{"type": "qcode"}]}, "'data' is missing"),
        ({"keys": [{"type": "qcode", "data": 1}]}, "'data', expected: string"),
        ({"keys": [{"type": "number", "data": 0}]}, "'data' does not accept value '0'"),
        ({"keys": [{"type": "number", "data": True}]}, "'data', expected: integer"),
        ({"keys": [{"type": "code", "data": 1}]}, "'type' does not accept value 'code'"),
        ({"keys": [], "hold-time": -1}, "'hold-time' expects"),
        ({"keys": [], "hold-time": 1 << 40}, "'hold-time' expects"),
    ],
)
def test_no_key(pc: Any, client: Raw, arguments: dict[str, Any], complaint: str) -> None:
    assert complaint in client.execute("send-key", **arguments)["error"]["desc"]
    assert pc.pressed == []


def event(kind: str, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": data}


def test_input_events(pc: Any, client: Raw) -> None:
    a = {"type": "qcode", "data": "a"}
    events = [
        event("key", down=True, key=a), event("key", down=False, key=a), event("rel", axis="x", value=5),
        event("rel", axis="y", value=3), event("btn", down=True, button="left"), event("rel", axis="x", value=-1),
        event("btn", down=True, button="wheel-up"), event("btn", down=False, button="left"),
    ]  # fmt: skip
    assert client.execute("input-send-event", events=events, device="vga", head=0) == {"return": {}}
    assert pc.pressed == [0x11E, 0x1E]
    assert pc.moved == [(5, 0, 0, 0), (0, -3, 0, 0), (0, 0, 0, 1), (-1, 0, 0, 1), (0, 0, -1, 1), (0, 0, 0, 0)]


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (1, "expected: object"),
        (event("abs", axis="x", value=1), "'type' does not accept value 'abs'"),
        (event("rel", axis="z", value=1), "'axis' does not accept value 'z'"),
        (event("rel", axis="x", value=1 << 31), "'value' expects"),
        (event("btn", down=True, button="side"), "'button' does not accept value 'side'"),
        (event("btn", down=1, button="left"), "'down', expected: boolean"),
        (event("key", down=True, key={"type": "qcode", "data": "nokey"}), "'data' does not accept value 'nokey'"),
    ],
)
def test_no_input_event(pc: Any, client: Raw, wrong: Any, complaint: str) -> None:
    assert complaint in client.execute("input-send-event", events=[wrong])["error"]["desc"]
