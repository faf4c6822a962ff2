"""The turns socket, driven by the harness's own client."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bringup.harness.console import turns as client_side
from bringup.harness.console.turns import Event, Feature, Reason, TurnsClient, TurnsError
from bringup.vmm import turns as server_side
from bringup.vmm.loop import Ending
from bringup.vmm.screen.text import unpack

SOCKET = Path("turns")


def shell(guests: Any) -> Any:
    """A guest with a prompt: echoes lines in capitals, powers off at `off`."""

    def guest(machine: Any) -> Any:
        yield guests.Work(1000)
        line = b""
        while True:
            yield guests.Print(b"> ")
            while not line.endswith(b"\n"):
                yield guests.Halt()
                line += machine.read()
                yield guests.Work(100)
            if line == b"off\n":
                yield guests.End("POWER_OFF")
            yield guests.Print(line.upper())
            line = b""

    return guest


def forever(step: Any) -> Any:
    def guest(machine: Any) -> Any:
        while True:
            yield step

    return guest


def test_a_conversation(bench: Any, guests: Any, here: Path) -> None:
    run = bench(shell(guests)).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        first = client.turn()
        assert (first.reason, first.output, first.count) == (Reason.HALTED, b"> ", 1002)
        assert list(first.counts) == [1001, 1002]
        second = client.turn(b"hello\n")
        assert second.output == b"HELLO\n> "
        assert second.status is None
        last = client.turn(b"off\n")
        assert (last.reason, last.event, last.status, last.text) == (Reason.EVENT, Event.POWER_OFF, 0, "power-off")
        with pytest.raises(TurnsError, match="hung up"):
            client.turn()
    assert run.ending == Ending(0, "power-off", quiet=True)
    assert not SOCKET.exists()


def converse(client: TurnsClient, pause: Any) -> list[Any]:
    said = []
    for line in (b"", b"one\n", b"two ", b"three\n", b"off\n"):
        pause()
        turn = client.turn(line, instructions=100_000, guest_ns=10**9)
        said.append((turn.reason, turn.event, turn.count, turn.time, turn.output, list(turn.counts)))
    return said


@pytest.mark.parametrize("seed", range(4))
def test_counts_do_not_depend_on_the_host(
    bench: Any, guests: Any, here: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = None
    for air_every, delays, read_size in ((1, False, 1), (3, True, 7), (1000, True, 1 << 16)):
        run = bench(shell(guests), air_every=air_every).turns(SOCKET)
        rng = random.Random(seed)
        with TurnsClient(SOCKET) as client:
            small = client._socket

            class Reader:
                def recv(self, size: int, flags: int = 0) -> bytes:
                    return small.recv(min(size, read_size), flags)  # noqa: B023  # used within this round

                def __getattr__(self, name: str) -> Any:
                    return getattr(small, name)  # noqa: B023

            client._socket = Reader()  # type: ignore[assignment]
            said = converse(client, lambda: time.sleep(rng.random() / 50) if delays else None)  # noqa: B023
        assert run.ending.status == 0
        assert expected in (None, said)
        expected = said


def test_unread_output_ends_a_turn_at_4_kib(bench: Any, guests: Any, here: Path) -> None:
    run = bench(forever(guests.Print(b"x" * 100)), air_every=10_000).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        for turns in range(1, 6):
            turn = client.turn()
            assert (turn.reason, len(turn.output), turn.count) == (Reason.OUTPUT, 4096, 4096 * turns)
    assert run.ending.status == 129


def test_unread_output_ends_a_turn_after_10_guest_milliseconds(bench: Any, guests: Any, here: Path) -> None:
    def guest(machine: Any) -> Any:
        yield guests.Work(500)
        yield guests.Print(b"x")
        yield guests.Work(10**12)

    bench(guest).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        turn = client.turn()
        assert (turn.reason, turn.output, turn.time) == (Reason.OUTPUT, b"x", 501 + 10_000_000)


def test_limits_are_exact(bench: Any, guests: Any, here: Path) -> None:
    bench(forever(guests.Work(10**9))).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        for instructions, guest_ns, count in ((1, None, 1), (0, None, 1), (999, None, 1000), (None, 24, 1024)):
            turn = client.turn(instructions=instructions, guest_ns=guest_ns)
            assert (turn.reason, turn.count, turn.time) == (Reason.LIMIT, count, count)


def test_time_stands_still_between_turns_and_idle_time_is_skipped(bench: Any, guests: Any, here: Path) -> None:
    bench(forever(guests.Halt(4_000_000))).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        assert client.turn(guest_ns=10**9).time == 10**9
        time.sleep(0.05)
        turn = client.turn(guest_ns=1)
        assert (turn.reason, turn.time, turn.count) == (Reason.LIMIT, 10**9 + 1, 0)


def test_an_idle_guest_with_output(bench: Any, guests: Any, here: Path) -> None:
    def guest(machine: Any) -> Any:
        while True:
            yield guests.Print(b"tick")
            yield guests.Halt(250_000_000)

    bench(guest).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        for ticks in range(3):
            turn = client.turn()
            assert (turn.reason, turn.output) == (Reason.IDLE, b"tick")
            assert turn.time == 4 * (ticks + 1) + 250_000_000 * ticks


def test_all_channels(bench: Any, guests: Any, here: Path) -> None:
    def guest(machine: Any) -> Any:
        for channel in range(5):
            yield guests.Print(bytes([65 + channel]) * (channel + 1), channel)
        yield guests.Halt()
        for uart in range(4):
            yield guests.Print(machine.read(uart), uart)
        yield guests.Halt()

    bench(guest).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        turn = client.turn()
        assert [channel.data for channel in turn.channels] == [b"A", b"BB", b"CCC", b"DDDD", b"EEEEE"]
        assert [list(channel.counts) for channel in turn.channels][1:3] == [[2, 3], [4, 5, 6]]
        turn = client.turn({3: b"three", 0: b"zero", 2: b"two", 1: b"one"})
        assert [channel.data for channel in turn.channels] == [b"zero", b"one", b"two", b"three", b""]
        with pytest.raises(ValueError, match="UART 4: there are 4"):
            client.turn({4: b"no"})


def test_input_beyond_the_uart_s_queue_goes_with_the_next_turns(bench: Any, guests: Any, here: Path) -> None:
    text = bytes(i % 251 for i in range(1000))

    def guest(machine: Any) -> Any:
        while True:
            yield guests.Halt()
            yield guests.Print(machine.read())

    bench(guest).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        got = client.turn(text).output
        while client.unsent:
            got += client.turn().output
        assert got == text


@pytest.mark.parametrize(
    ("kind", "detail", "event", "status"),
    [
        ("POWER_OFF", 0, Event.POWER_OFF, 0),
        ("TRIPLE_FAULT", 0, Event.TRIPLE_FAULT, 11),
        ("PANIC", 1, Event.PANIC, 12),
        ("DEBUG_EXIT", 5, Event.DEBUG_EXIT, 11),
        ("INTERNAL", 0, Event.INTERNAL, 70),
    ],
)
def test_events_end_the_machine(
    bench: Any, guests: Any, here: Path, kind: str, detail: int, event: Event, status: int
) -> None:
    def guest(machine: Any) -> Any:
        yield guests.Print(b"last words")
        yield guests.End(kind, detail, "unknown exit reason")

    run = bench(guest).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        turn = client.turn()
        assert (turn.reason, turn.event, turn.detail, turn.status) == (Reason.EVENT, event, detail, status)
        assert turn.output == b"last words"
    assert run.ending.status == status


@pytest.mark.parametrize("no_reboot", [True, False])
def test_reset(bench: Any, guests: Any, here: Path, no_reboot: bool) -> None:
    def guest(machine: Any) -> Any:
        yield guests.Print(b"boot")
        yield guests.End("RESET")

    run = bench(guest, no_reboot=no_reboot).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        turn = client.turn()
        assert (turn.event, turn.output, turn.status) == (Event.RESET, b"boot", 10 if no_reboot else None)
        if not no_reboot:
            assert client.turn().output == b"boot"
            assert run.fake.resets == 2
    assert run.ending.status == (10 if no_reboot else 129)


def test_the_budget_ends_the_machine(bench: Any, guests: Any, here: Path) -> None:
    run = bench(forever(guests.Work(10**9)), budget=5000).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        assert client.turn(instructions=4999).reason is Reason.LIMIT
        turn = client.turn(instructions=4999)
        assert (turn.event, turn.count, turn.status) == (Event.BUDGET, 5000, 13)
    assert run.ending.status == 13


def test_a_halt_that_nothing_ends_is_told_at_once(bench: Any, guests: Any, here: Path) -> None:
    run = bench(forever(guests.Halt(deaf=True))).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        for _ in range(2):
            turn = client.turn(b"ignored")
            assert (turn.reason, turn.count, turn.status) == (Reason.HALTED, 0, None)
    assert run.ending == Ending(14, "idle for ever")


def test_qmp_quit_in_a_turn_is_answered(bench: Any, guests: Any, here: Path) -> None:
    run = bench(forever(guests.Work(10**9))).control(Path("qmp")).turns(SOCKET)
    with connect() as driver, socket.socket(socket.AF_UNIX) as qmp:
        driver.sendall(request(limit=2**64 - 1))
        qmp.connect("qmp")
        qmp.sendall(b'{"execute": "qmp_capabilities"} {"execute": "quit"}')
        answer = read_to_the_end(driver)
        assert answer[4:9] == bytes([ord("A"), Reason.EVENT, Event.ENDED, 0, 0])
        assert answer.endswith(b"ended by QMP quit")
    assert run.ending.status == 0


# ---- drivers that misbehave ----


def connect() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(SOCKET))
    assert connection.recv(100)[4:5] == b"H"
    return connection


def frame(body: bytes) -> bytes:
    return struct.pack("<I", len(body)) + body


def read_to_the_end(connection: socket.socket) -> bytes:
    data = b""
    try:
        while chunk := connection.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass  # the machine hung up with our bytes unread
    return data


def request(*, kind: bytes = b"R", sizes: tuple[int, ...] = (0, 0, 0, 0), data: bytes = b"", limit: int = 10) -> bytes:
    body = struct.pack("<cQQ4I", kind, limit, limit, *sizes) + data
    return struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("garbage", "complaint"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "a frame of 542393671 bytes; at most 1048576 are taken"),
        (b"\0\0\0\0", "a request of 0 bytes"),
        (b"\5\0\0\0Rabcd", "a request of 5 bytes"),
        (b"\xff\xff\xff\xff", "a frame of 4294967295 bytes"),
        (request(kind=b"Q"), "a frame of type b'Q'"),
        (request(sizes=(1, 0, 0, 0)), "announces 1 bytes of input has 0"),
        (request(data=b"abc"), "announces 0 bytes of input has 3"),
        (request(sizes=(2**32 - 1,) * 4), "announces 17179869180 bytes"),
        (request() + request(), "more than one request at a time"),
        (request() + b"x", "more than one request at a time"),
    ],
)
def test_garbage_ends_the_machine_with_a_sentence(
    bench: Any, guests: Any, here: Path, garbage: bytes, complaint: str
) -> None:
    run = bench(forever(guests.Work(10**9))).turns(SOCKET)
    with connect() as connection:
        connection.sendall(garbage)
        answer = read_to_the_end(connection)
        assert answer[4:5] == b"E"
        assert complaint in answer.decode()
    assert run.ending.status == 2
    assert complaint in run.ending.kind
    assert not SOCKET.exists()


def test_a_request_during_a_turn_is_an_error(bench: Any, guests: Any, here: Path) -> None:
    run = bench(forever(guests.Work(1))).turns(SOCKET)
    with connect() as connection:
        connection.sendall(request(limit=2**64 - 1))
        time.sleep(0.02)
        connection.sendall(request())
        assert b"more than one request at a time" in read_to_the_end(connection)
    assert run.ending.status == 2


def test_screen_and_keys(bench: Any, guests: Any, here: Path) -> None:
    run = bench(forever(guests.Work(100)))
    run.core.lib.shows = "A:\\>"
    run.turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        assert client.features == Feature.SCREEN | Feature.WATCH
        shown = client.screen()
        assert shown is not None
        assert unpack(shown).lines[0] == "A:\\>"
        assert client.screen() is None  # as before
        run.core.lib.shows = "A:\\>d"
        assert client.turn(instructions=100).count == 100  # no time passed
        assert unpack(client.screen() or b"").lines[0] == "A:\\>d"
        assert client.press(list(range(20))) == 16
        assert client.press([1]) == 0
        assert client.press([]) == 0
    assert run.core.lib.pressed == list(range(16))


def test_a_screen_that_is_watched_ends_turns(bench: Any, guests: Any, here: Path) -> None:
    run = bench(forever(guests.Work(100)))
    run.core.lib.shows = "A:\\>"
    run.turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        for step, reason in ((0, Reason.LIMIT), (300, Reason.SCREEN), (0, Reason.LIMIT)):
            before = run.core.lib.seen
            client.screen(step)
            assert (run.core.lib.seen > before) is bool(step)
            run.core.lib.scrolls = True
            assert client.turn(instructions=1000).reason is reason


@pytest.mark.parametrize("asked", [False, True])
def test_what_a_machine_that_ends_shows(bench: Any, guests: Any, here: Path, asked: bool) -> None:
    run = bench(shell(guests))
    run.core.lib.shows = "working"
    run.turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        client.turn()
        if asked:
            assert client.screen()
        run.core.lib.shows = "why it ended"
        assert client.turn(b"off\n").event is Event.POWER_OFF
        assert (client.parting is not None) is asked
        if client.parting:
            assert unpack(client.parting).lines[0] == "why it ended"


def test_a_machine_without_a_screen(bench: Any, guests: Any, here: Path) -> None:
    run = bench(forever(guests.Work(100))).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        assert not client.features
        for ask in (client.screen, lambda: client.press([1])):
            with pytest.raises(TurnsError, match="no screen and no keyboard"):
                ask()
        client._socket.sendall(frame(b"S"))
        with pytest.raises(TurnsError, match="a request of 1 bytes"):
            client._parse(client._frame())
    assert run.ending.status == 2


@pytest.mark.parametrize(("body", "complaint"), [(b"K123", "keys of 3 bytes"), (b"S1", "a request of 2 bytes")])
def test_garbage_for_the_screen(bench: Any, guests: Any, here: Path, body: bytes, complaint: str) -> None:
    run = bench(forever(guests.Work(100)))
    run.core.lib.shows = ""
    run.turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        client._socket.sendall(frame(body))
        with pytest.raises(TurnsError, match=complaint):
            client._parse(client._frame())
    assert run.ending.status == 2


@pytest.mark.parametrize(
    ("features", "known"),
    [(b"", 0), (b"\x01\0\0\0", 1), (b"\xff\xff\xff\xff", 3), (b"\x02\0\0\0", 0), (b"\x01", 0), (b"\xfe\0\0\0more", 0)],
)
def test_features_of_machines_to_come(here: Path, features: bytes, known: int) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(frame(struct.pack("<cHBBQQ", b"H", 1, 4, 5, 0, 0) + features))
        with TurnsClient(ours) as client:
            assert client.features == Feature(known)


@pytest.mark.parametrize("sent", [b"", b"\x21", request()[:20], request(limit=2**64 - 1)])
def test_a_driver_that_vanishes_ends_the_machine(bench: Any, guests: Any, here: Path, sent: bytes) -> None:
    run = bench(forever(guests.Work(1))).turns(SOCKET)
    with connect() as connection:
        connection.sendall(sent)
    assert run.ending == Ending(129, "the turns driver hung up")


def test_there_is_one_driver(bench: Any, guests: Any, here: Path) -> None:
    bench(shell(guests)).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        with socket.socket(socket.AF_UNIX) as second:
            second.settimeout(20)
            second.connect(str(SOCKET))
            assert read_to_the_end(second) == b""
        assert client.turn().output == b"> "


def test_a_driver_that_reads_late_gets_everything(bench: Any, guests: Any, here: Path) -> None:
    bench(forever(guests.Print(b"y" * 4096)), air_every=10**5).turns(SOCKET)
    with TurnsClient(SOCKET) as client:
        client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        assert sum(len(client.turn().output) for _ in range(20)) == 20 * 4096


def test_the_client_s_complaints(here: Path) -> None:
    with pytest.raises(TurnsError, match="no machine listens on nowhere: No such file"):
        TurnsClient("nowhere", timeout=0.01)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("other")
        server.listen()
        with pytest.raises(TurnsError, match="no answer in time"):
            TurnsClient("other", timeout=0.05, greeting=0.05)
        server.accept()[0].close()
        for hello, complaint in (
            (b"", "hung up"),
            (b"\3\0\0\0QMP", "not a turns socket"),
            (struct.pack("<IcHBBQQ", 21, b"H", 2, 4, 5, 0, 0), "speaks version 2 of the turns protocol, not 1"),
        ):

            def serve() -> None:
                connection, _ = server.accept()
                connection.sendall(hello)  # noqa: B023  # joined within the round
                connection.close()

            thread = threading.Thread(target=serve)
            thread.start()
            with pytest.raises(TurnsError, match=complaint):
                TurnsClient("other", timeout=20)
            thread.join()


# ---- framing ----


def test_both_sides_mean_the_same() -> None:
    assert client_side.VERSION == server_side.VERSION
    assert {r.name: r.value for r in Reason} == {r.name: r.value for r in server_side.Reason}
    assert {e.name: e.value for e in Event} == {e.name: e.value for e in server_side.Event}
    assert client_side.INPUT_MAXIMUM + server_side.REQUEST.size <= server_side.REQUEST_MAXIMUM


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.tuples(*[st.binary(max_size=300)] * 4))
def test_requests_round_trip(instructions: int, nanoseconds: int, inputs: tuple[bytes, ...]) -> None:
    body = struct.pack("<cQQ4I", b"R", instructions, nanoseconds, *map(len, inputs)) + b"".join(inputs)
    assert server_side.parse_request(body) == (instructions, nanoseconds, inputs)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_an_error(body: bytes) -> None:
    try:
        parsed = server_side.parse_request(body)
    except server_side.ProtocolError:
        return
    again = struct.pack("<cQQ4I", b"R", *parsed[:2], *map(len, parsed.inputs)) + b"".join(parsed.inputs)
    assert again == body
