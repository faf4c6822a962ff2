"""The run loop: one machine, its serial lines and its controllers, until it ends.

The loop comes up for air every 10 ms of host time to look at sockets, signals and terminal. The guest sees nothing of
it: in virtual time its clock is its own instruction count, and `machine_run` stops and goes on between instructions.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import IntEnum
from types import FrameType
from typing import NamedTuple, Protocol

from .input import Input
from .machine import CHANNELS, NEVER, Exit, ExitKind, Limits, Machine
from .spec import Clock

AIR_US = 10_000
UNREAD_BYTES = 1 << 14  # passed on at the latest then, without a driver; the core keeps the last 64 KiB
FLUSH_SECONDS = 1.0  # how long a reader of the last output is waited for

RFLAGS_IF = 1 << 9


class Status(IntEnum):
    """Exit statuses of `bringup run`; those of signals are 128 + the signal, as in a shell."""

    POWER_OFF = 0
    USAGE = 2
    RESET = 10
    TRIPLE_FAULT = 11
    PANIC = 12
    BUDGET = 13
    IDLE = 14
    INTERNAL = 70


class Ending(NamedTuple):
    """How a run ended. `kind` is a few words for people, `quiet` that they asked for it."""

    status: int
    kind: str
    quiet: bool = False


class Poller:
    """Callbacks by file descriptor, over poll(2): it takes regular files too, which epoll does not."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._callbacks: dict[int, tuple[Callable[[], None] | None, Callable[[], None] | None]] = {}
        self.longest: float | None = None  # seconds; for what poll(2) cannot watch

    def watch(self, fd: int, read: Callable[[], None] | None = None, write: Callable[[], None] | None = None) -> None:
        """Calls `read` when there is input or a hang-up, `write` when there is room; replaces an earlier watch."""
        if read is None and write is None:
            self.forget(fd)
        elif self._callbacks.get(fd) != (read, write):
            self._callbacks[fd] = (read, write)
            self._poll.register(fd, (select.POLLIN if read else 0) | (select.POLLOUT if write else 0))

    def forget(self, fd: int) -> None:
        """Ends a watch, if there is one."""
        if self._callbacks.pop(fd, None):
            self._poll.unregister(fd)

    def wait(self, seconds: float | None) -> None:
        """Waits until something is ready, at most so long (None: for ever), and calls back."""
        if self.longest is not None:
            seconds = self.longest if seconds is None else min(seconds, self.longest)
        milliseconds = None if seconds is None else int(seconds * 1000)
        ready = self._poll.poll(milliseconds)
        if not ready and seconds is not None and seconds * 1000 > (milliseconds or 0):
            time.sleep(seconds % 0.001)  # poll(2) counts milliseconds
        for fd, events in ready:
            read, write = self._callbacks.get(fd, (None, None))
            if write and events & (select.POLLOUT | select.POLLERR | select.POLLHUP | select.POLLNVAL):
                write()
            if read and events & ~select.POLLOUT:
                read()


class Line(Protocol):
    """What a UART is wired to (terminal.py)."""

    def send(self, data: bytes) -> None:
        """The guest's output."""

    def pump(self) -> bool:
        """Looks after the line; True when input that had waited went to the guest."""

    @property
    def congested(self) -> bool:
        """There is a reader, and too much waits for it: the guest has to wait too."""

    @property
    def waiting(self) -> bool:
        """Output is left that a reader may still take."""

    @property
    def at_end(self) -> bool:
        """No input can come any more."""


class Driver(Protocol):
    """Who decides when the guest runs: the turns socket."""

    def serve(self, runner: Runner) -> None:
        """Waits for one request and carries it out."""


class Runner:
    """Runs one machine to its end, for the command line and for the controllers."""

    def __init__(
        self,
        machine: Machine,
        boot: Callable[[], None],
        poller: Poller,
        *,
        lines: Iterable[Line] = (),
        budget: int | None = None,
        no_reboot: bool = False,
        controlled: bool = False,
    ) -> None:
        self.machine = machine
        self.input = Input(machine)
        self.poller = poller
        self.lines = list(lines)
        self.budget = NEVER if budget is None else budget
        self.no_reboot = no_reboot
        self.controlled = controlled  # a control socket may still press the power button
        self.paused = False
        self.ending: Ending | None = None
        self.on_event: Callable[[str, dict[str, object]], None] = lambda name, data: None
        self.on_end: Callable[[Ending], None] = lambda ending: None
        self._boot = boot
        self._reset_asked = False

    # ---- what controllers ask for; each takes effect when the loop next comes up for air ----

    def pause(self) -> None:
        """The guest stands still until `resume`."""
        if not self.paused:
            self.paused = True
            self.on_event("STOP", {})

    def resume(self) -> None:
        """Goes on after `pause`."""
        if self.paused:
            self.paused = False
            self.on_event("RESUME", {})

    def press_power_button(self) -> None:
        """The ACPI power button."""
        self.machine.power_button()
        self.on_event("POWERDOWN", {})

    def ask_reset(self) -> None:
        """As if the reset button were pressed."""
        self._reset_asked = True

    def end(self, ending: Ending) -> None:
        """Ends the run; the first reason counts."""
        if self.ending is None:
            self.ending = ending
            self.on_end(ending)

    # ---- the loop ----

    def run(self, driver: Driver | None = None) -> Ending:
        """Runs until the machine ends. With a driver the guest runs only in its turns."""
        self._boot()
        while self.ending is None:
            if driver is not None:
                driver.serve(self)
            elif self.breathe(0):
                self._settle(self.step(Limits(count=self.budget, output_bytes=UNREAD_BYTES, air_us=AIR_US)))
        self._flush()
        return self.ending

    def breathe(self, seconds: float | None) -> bool:
        """Serves sockets and terminal, waiting at most so long, and longer while the guest must not run.

        False when the run has ended.
        """
        while True:
            # Input that waited for room in a UART's queue is as good as input that arrives: the guest goes on.
            delivered = any([line.pump() for line in self.lines])  # noqa: C419  # each of them, not up to the first
            self.poller.wait(None if self._held else 0 if delivered else seconds)
            if self._reset_asked and self.ending is None:
                self._reset_asked = False
                self._reset("host-qmp-system-reset", guest=False)
            if self.ending is not None:
                return False
            if not self._held:
                return True

    @property
    def _held(self) -> bool:
        return self.ending is None and (self.paused or any(line.congested for line in self.lines))

    def step(self, limits: Limits) -> Exit:
        """Lets the guest run once, and acts on what it asks of the machine (power-off, reset, ...)."""
        end = self.machine.run(limits)
        if end.kind is not ExitKind.AIR:
            self._act(end)
        return end

    def _act(self, end: Exit) -> None:
        match end.kind:
            case ExitKind.POWER_OFF:
                self._shutdown(Ending(Status.POWER_OFF, "power-off", quiet=True))
            case ExitKind.RESET:
                self._reset("guest-reset", guest=True)
            case ExitKind.TRIPLE_FAULT:
                self._shutdown(Ending(Status.TRIPLE_FAULT, "triple fault"))
            case ExitKind.PANIC:
                self.on_event("GUEST_PANICKED", {"action": "poweroff"})
                self._shutdown(Ending(Status.PANIC, "guest panic"))
            case ExitKind.DEBUG_EXIT:
                self._shutdown(Ending((end.detail << 1 | 1) & 0xFF, f"debug exit {end.detail:#x}", quiet=True))
            case ExitKind.INTERNAL:
                self.end(Ending(Status.INTERNAL, f"internal error: {end.reason}"))
            case ExitKind.LIMIT if end.count >= self.budget:
                self.end(Ending(Status.BUDGET, f"budget of {self.budget} instructions spent"))

    def _settle(self, end: Exit) -> None:
        """After a step without a driver: passes output on, and waits when the guest has nothing to do."""
        for channel in range(CHANNELS):
            output = self.machine.receive(channel)
            if output.data and channel < len(self.lines):
                self.lines[channel].send(output.data)
        if self.ending is not None:
            return
        if end.kind is ExitKind.IDLE and self.machine.spec.clock is Clock.HOST:
            self.breathe(None if end.deadline == NEVER else max(end.deadline - end.time, 0) / 1e9)
        elif end.kind is ExitKind.IDLE_FOREVER:
            if self.halted_for_good(end):
                self.end(Ending(Status.IDLE, "idle for ever"))
            else:
                self.breathe(None)

    def halted_for_good(self, end: Exit) -> bool:
        """No interrupt can end this HLT: none is enabled, or nobody is there who could cause one."""
        vcpus = range(self.machine.spec.cpus)
        if not any(self.machine.registers(vcpu).rflags & RFLAGS_IF for vcpu in vcpus):
            return True
        return not self.controlled and all(line.at_end for line in self.lines)

    def _reset(self, reason: str, *, guest: bool) -> None:
        if self.no_reboot:
            self._shutdown(Ending(Status.RESET, "reset"), reason=reason, guest=guest)
            return
        self.machine.reset()
        self._boot()
        self.on_event("RESET", {"guest": guest, "reason": reason})

    def _shutdown(self, ending: Ending, reason: str = "guest-shutdown", *, guest: bool = True) -> None:
        self.on_event("SHUTDOWN", {"guest": guest, "reason": reason})
        self.end(ending)

    def _flush(self) -> None:
        deadline = time.monotonic() + FLUSH_SECONDS
        while any(line.waiting for line in self.lines) and time.monotonic() < deadline:
            self.poller.wait(0.01)
            for line in self.lines:
                line.pump()


class Watch:
    """Ends a run on SIGINT, SIGTERM, SIGHUP and when the parent process dies. A context manager."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._parent = os.getppid()
        self._pidfd = -1
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._old_handlers: dict[int, object] = {}
        self._old_wake = -1

    def __enter__(self) -> Watch:
        poller = self._runner.poller
        for number in self.SIGNALS:
            self._old_handlers[number] = signal.signal(number, self._signalled)
        # The C-level handler writes here, so that a poll(2) in progress ends.
        self._old_wake = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        poller.watch(self._wake_read, read=self._drain)
        # Where the kernel has no pidfd (before 5.3), only the check below notices an orphan, at its start.
        with suppress(OSError):
            self._pidfd = os.pidfd_open(self._parent)
            poller.watch(self._pidfd, read=self._orphaned)
        if os.getppid() != self._parent:
            self._orphaned()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._old_wake)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned
        for fd in (self._wake_read, self._wake_write, self._pidfd):
            if fd >= 0:
                self._runner.poller.forget(fd)
                os.close(fd)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._runner.end(Ending(128 + number, f"ended by {signal.Signals(number).name}"))

    def _drain(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _orphaned(self) -> None:
        self._runner.poller.forget(self._pidfd)
        self._runner.end(Ending(128 + signal.SIGHUP, "the parent process is gone"))
