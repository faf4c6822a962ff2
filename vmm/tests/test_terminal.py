"""What a UART is wired to: standard streams, pseudo-terminals, Unix sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bringup.vmm.loop import Poller
from bringup.vmm.terminal import BACKLOG, HELP, Listener, Pty, Stdio, TerminalError, UnixLine


class Uart:
    """Takes input into a bounded queue."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.data = b""

    def __call__(self, data: bytes) -> int:
        taken = min(self.room, len(data))
        self.room -= taken
        self.data += data[:taken]
        return taken


def until(condition: Callable[[], bool], poller: Poller, line: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        poller.wait(0.005)
        line.pump()


@pytest.fixture
def streams() -> Any:
    """A Stdio over two pipes: (line, its poller, its UART, our ends, what it called)."""
    opened: list[int] = []

    def make(room: int = 10**9, terminal: bool = False) -> Any:
        source, feed = os.openpty()[::-1] if terminal else os.pipe()
        drain, sink = os.pipe()
        opened.extend((source, feed, drain, sink))
        poller, uart, calls = Poller(), Uart(room), []
        line = Stdio(
            poller, uart, lambda: calls.append("quit"), lambda why: calls.append("broken"), source=source, sink=sink
        )
        return line, poller, uart, feed, drain, calls

    yield make
    for fd in opened:
        try:
            os.close(fd)
        except OSError:
            continue  # the test closed it


def test_stdio_passes_bytes_both_ways(streams: Any) -> None:
    line, poller, uart, feed, drain, calls = streams()
    os.write(feed, b"in\x01x\x00")
    until(lambda: uart.data == b"in\x01x\x00", poller, line)
    line.send(b"out")
    assert os.read(drain, 100) == b"out"
    assert not line.at_end
    os.close(feed)
    until(lambda: line.at_end, poller, line)
    assert calls == []
    line.close()


def test_input_waits_for_the_uart_s_queue(streams: Any) -> None:
    line, poller, uart, feed, _, _ = streams(room=3)
    os.write(feed, b"abcdefgh")
    os.close(feed)
    until(lambda: uart.data == b"abc", poller, line)
    assert not line.at_end
    uart.room = 2
    until(lambda: uart.data == b"abcde", poller, line)
    uart.room = 100
    until(lambda: uart.data == b"abcdefgh" and line.at_end, poller, line)


def test_a_slow_reader_congests_and_loses_nothing(streams: Any) -> None:
    line, poller, _, _, drain, _ = streams()
    text = bytes(range(256)) * 4096  # 1 MiB
    sent = 0
    while not line.congested:
        line.send(text[sent : sent + 4096])
        sent += 4096
    assert line.waiting
    got = b""
    while len(got) < sent:
        poller.wait(0.005)
        got += os.read(drain, 65536)
    assert got == text[:sent]
    until(lambda: not line.waiting, poller, line)
    assert not line.congested


def test_a_reader_that_is_gone_is_reported(streams: Any) -> None:
    line, _, _, _, drain, calls = streams()
    os.close(drain)
    line.send(b"hello")
    assert calls == ["broken"]
    line.send(b"more")
    assert not line.congested


@pytest.mark.parametrize(
    ("typed", "received", "calls"),
    [
        (b"ls\x01\x01\n", b"ls\x01\n", []),
        (b"a\x01x", b"a", ["quit"]),
        (b"a\x01X", b"a", ["quit"]),
        (b"a\x01hb", b"ab", []),
    ],
)
@pytest.mark.parametrize("split", [True, False])
def test_ctrl_a_on_a_terminal(streams: Any, typed: bytes, received: bytes, calls: list[str], split: bool) -> None:
    line, poller, uart, feed, drain, called = streams(terminal=True)
    mode = termios.tcgetattr(feed)
    mode[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(feed, termios.TCSANOW, mode)
    for part in [bytes([byte]) for byte in typed] if split else [typed]:
        os.write(feed, part)
        poller.wait(0.2)
    until(lambda: uart.data == received and called == calls, poller, line)
    if b"\x01h" in typed:
        assert os.read(drain, 1000) == HELP
    line.close()


def test_standard_input_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 10_000)
    poller, uart = Poller(), Uart()
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
        line = Stdio(poller, uart, lambda: None, lambda why: None, source=source.fileno(), sink=sink.fileno())
        until(lambda: line.at_end, poller, line)
        line.send(b"y" * 10_000)
        line.close()
    assert uart.data == b"x" * 10_000
    assert (tmp_path / "out").read_bytes() == b"y" * 10_000


def test_a_pty_keeps_its_last_output_until_somebody_attaches() -> None:
    poller, uart = Poller(), Uart()
    line = Pty(poller, uart)
    line.pump()
    assert not line.attached
    line.send(b"early ")
    line.send(b"z" * BACKLOG)
    assert not line.congested
    reader = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
    got = b""

    def read_all() -> bool:
        nonlocal got
        os.set_blocking(reader, False)
        try:
            got += os.read(reader, 65536)
        except BlockingIOError:
            return False
        return len(got) == BACKLOG

    until(read_all, poller, line)
    assert got == b"z" * BACKLOG
    os.write(reader, b"typed\x01x\r")
    until(lambda: uart.data == b"typed\x01x\r", poller, line)
    # Nobody attached again: not congested, and another may come.
    os.close(reader)
    until(lambda: not line.attached, poller, line)
    for _ in range(100):
        line.send(b"w" * 8192)
    assert not line.congested
    again = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
    until(lambda: line.attached, poller, line)
    os.close(again)
    line.close()


def test_a_pty_with_a_reader_who_does_not_read_congests() -> None:
    poller = Poller()
    line = Pty(poller, Uart())
    reader = os.open(line.path, os.O_RDWR | os.O_NOCTTY)
    line.pump()
    while not line.congested:
        line.send(b"v" * 8192)
    os.close(reader)
    line.pump()
    assert not line.congested
    line.close()


def test_a_unix_line(here: Path) -> None:
    poller, uart = Poller(), Uart()
    line = UnixLine(poller, uart, Path("com1"))
    line.send(b"before anybody came")
    for turn in range(2):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect("com1")
            until(lambda: line.attached, poller, line)
            line.send(b"!")
            assert client.recv(100).startswith(b"before anybody came!" if turn == 0 else b"!")
            client.sendall(b"in")
            until(lambda: uart.data == b"in" * (turn + 1), poller, line)  # noqa: B023  # used within the round
            with socket.socket(socket.AF_UNIX) as second:
                second.settimeout(20)
                second.connect("com1")
                poller.wait(0.1)
                assert second.recv(1) == b""
        until(lambda: not line.attached, poller, line)
    line.close()
    assert not Path("com1").exists()


def test_a_stale_socket_is_replaced_a_live_one_is_not(here: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind("stale")
    dead.close()
    poller = Poller()
    first = Listener(poller, Path("stale"), lambda connection: connection.close())
    with pytest.raises(TerminalError, match="cannot listen on unix:stale: Address already in use"):
        Listener(poller, Path("stale"), lambda connection: None)
    first.close()
    assert not Path("stale").exists()


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("missing/socket", "No such file or directory"),
        ("file", "Address already in use"),
        ("x" * 200, "AF_UNIX path too long"),
        (".", "Address already in use"),
    ],
)
def test_where_no_socket_can_be(here: Path, path: str, complaint: str) -> None:
    Path("file").write_text("precious")
    with pytest.raises(TerminalError, match=f"cannot listen on unix:{path}: {complaint}"):
        Listener(Poller(), Path(path), lambda connection: None)
    assert Path("file").read_text() == "precious"


RAW = """\
import os, sys, time
from bringup.vmm.terminal import RawMode
with RawMode(0):
    print("raw", flush=True)
    {then}
"""


@pytest.mark.parametrize(
    ("then", "sent"),
    [
        ("pass", None),
        ("raise ValueError", None),
        ("sys.exit(3)", None),
        ("time.sleep(60)", signal.SIGINT),
        ("time.sleep(60)", signal.SIGKILL),
        ("time.sleep(60)", signal.SIGTERM),
        ("os.abort()", None),
    ],
)
def test_the_terminal_s_mode_comes_back_after_every_ending(then: str, sent: signal.Signals | None) -> None:
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", RAW.format(then=then)],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"raw\n"
    if sent:
        assert not termios.tcgetattr(slave)[3] & termios.ICANON
        process.send_signal(sent)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 20
    while termios.tcgetattr(slave) != before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.close(master)
    os.close(slave)


def test_raw_mode_returns_when_a_job_goes_on() -> None:
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", RAW.format(then="time.sleep(60)")],
        stdin=slave,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    process.stdout.readline()
    mode = termios.tcgetattr(slave)
    cooked = [*mode]
    cooked[3] |= termios.ICANON | termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, cooked)
    process.send_signal(signal.SIGCONT)
    deadline = time.monotonic() + 20
    while termios.tcgetattr(slave) != mode:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.communicate()
    os.close(master)
    os.close(slave)
