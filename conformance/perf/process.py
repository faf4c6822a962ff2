"""A VMM as a process: its guest's console line by line, and the CPU time and memory that it has taken by then."""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from bringup.conformance.perf.errors import PerfError
from bringup.harness.console.turns import TurnsClient, TurnsError
from bringup.harness.machine.processes import cpu_seconds

T = TypeVar("T")

MIB = 1 << 20
LINE_MAXIMUM = 64 << 10
"""Bytes of a console line; a guest that prints more without a newline is cut there."""
CONNECT_SECONDS = 0.25
"""Between two looks at whether a VMM whose socket does not appear has ended instead."""


@dataclass(frozen=True)
class Line:
    """A console line without its end, the seconds from the VMM's start to its arrival, and the instructions retired
    by then (None where nobody counts)."""

    text: bytes
    wall: float
    count: int | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes: the most that the process had resident, and what is resident of its guest's RAM."""

    peak: int
    guest: int

    @property
    def overhead(self) -> int:
        """The VMM's own."""
        return self.peak - self.guest


def memory(pid: int, ram: int) -> Memory:
    """Of a process whose guest has `ram` bytes: see proc(5).

    Guest RAM is taken to be the mapping with the most resident of those that are large enough; one that holds more
    (VMCS, EPT tables) counts as a whole. Raises PerfError when there is none: the process is gone, or splits its RAM.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        maps = Path(f"/proc/{pid}/smaps").read_text()
    except OSError as error:
        raise PerfError(f"process {pid}: its memory cannot be read: {error.strerror}") from None
    peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    sizes = [int(kib) << 10 for kib in re.findall(r"^Size:\s+(\d+) kB", maps, re.MULTILINE)]
    resident = [int(kib) << 10 for kib in re.findall(r"^Rss:\s+(\d+) kB", maps, re.MULTILINE)]
    large = [rss for size, rss in zip(sizes, resident, strict=True) if size >= ram]
    if peak is None or not large:
        raise PerfError(f"process {pid}: no mapping is as large as the guest's RAM of {ram // MIB} MiB")
    return Memory(peak=int(peak[1]) << 10, guest=max(large))


class Process:
    """A program whose console is its standard output. As a context manager it leaves no process behind."""

    def __init__(self, name: str, command: Sequence[str], timeout: float) -> None:
        """Starts it. `timeout`: seconds without a console line after which it counts as hung."""
        self.name, self.timeout = name, timeout
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, closed in __exit__
        self._begin = time.monotonic()
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors, start_new_session=True
            )
        except OSError as error:
            self._errors.close()
            raise PerfError(f"{name} cannot be started: {command[0]}: {error.strerror}") from None
        assert self._process.stdout is not None  # noqa: S101, for mypy: it is a pipe
        self._output = self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()
        self._errors.close()

    @property
    def pid(self) -> int:
        """Its process id, and that of its process group."""
        return self._process.pid

    def lines(self) -> Iterator[Line]:
        """The console's lines as they arrive, until the program ends it; PerfError when it hangs."""
        pending = b""
        for data, counts in self._chunks():
            wall = time.monotonic() - self._begin
            before = len(pending)
            *lines, pending = (pending + data).split(b"\n")
            at = -before
            for line in lines:
                at += len(line) + 1
                yield Line(line, wall, counts[at - 1] if counts else None)
            if len(pending) > LINE_MAXIMUM:
                yield Line(pending, wall, counts[-1] if counts else None)
                pending = b""
        if pending:
            yield Line(pending, time.monotonic() - self._begin)

    def _chunks(self) -> Iterator[tuple[bytes, Sequence[int] | None]]:
        """Console output as it arrives, with the instruction count of each byte where there is one."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while True:
                if not selector.select(self.timeout):
                    raise PerfError(f"{self.name} printed nothing for {self.timeout:g} s")
                data = os.read(self._output.fileno(), 1 << 16)
                if not data:
                    return
                yield data, None

    def cpu(self) -> float:
        """CPU seconds until now. It stands still while they are read: of a running thread they are not exact."""
        return self._standing_still(lambda: cpu_seconds(self.pid))

    def memory(self, ram: int) -> Memory:
        """Its memory now, of `ram` bytes of guest RAM. It stands still, so that it cannot end meanwhile."""
        return self._standing_still(lambda: memory(self.pid, ram))

    def _standing_still(self, look: Callable[[], T]) -> T:
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            event = os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            if event and event.si_code == os.CLD_STOPPED:
                os.waitid(os.P_PID, self.pid, os.WSTOPPED)  # takes the event, which would be reported again
            return look()
        finally:
            os.killpg(self.pid, signal.SIGCONT)

    def wait(self) -> int:
        """Its exit status (minus a signal's number); PerfError when it does not end."""
        try:
            return self._process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            raise PerfError(f"{self.name} closed its console and did not end in {self.timeout:g} s") from None

    def complaint(self) -> str:
        """The last line on its standard error, for a message."""
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 4096))
        return _last(self._errors.read())


class TurnsProcess(Process):
    """A `bringup run` whose guest runs in turns (docs/turns.md): it stands still whenever a line is looked at."""

    def __init__(self, name: str, command: Sequence[str], timeout: float) -> None:
        """`command` gets `--turns` added."""
        self._folder = tempfile.TemporaryDirectory()
        self._socket = Path(self._folder.name) / "turns"
        try:
            super().__init__(name, [*command, "--turns", f"unix:{self._socket}"], timeout)
        except PerfError:
            self._folder.cleanup()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._folder.cleanup()

    def _chunks(self) -> Iterator[tuple[bytes, Sequence[int] | None]]:
        try:
            client = self._connect()
            if client is None:
                return
            with client:
                status = None
                while status is None:
                    turn = client.turn(timeout=self.timeout)
                    status = turn.status
                    if turn.output:
                        yield turn.output, turn.counts
        except TurnsError as error:
            raise PerfError(f"{self.name}: {error}; it says: {self.complaint()}") from None

    def _connect(self) -> TurnsClient | None:
        """None when it ended instead of listening."""
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                return TurnsClient(self._socket, CONNECT_SECONDS)
            except TurnsError:
                if self._process.poll() is not None:
                    return None
                if time.monotonic() > deadline:
                    raise


def _last(text: bytes) -> str:
    """The last line that is not empty, safe to print."""
    lines = [line for line in text.decode(errors="replace").splitlines() if line.strip()]
    return "".join(char if char.isprintable() else "?" for char in lines[-1].strip())[:200] if lines else "nothing"
