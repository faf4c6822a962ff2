"""The two ways in which a machine runs: in turns of virtual time, and by itself in host time."""

from __future__ import annotations

import select
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from bringup.harness.console.turns import Event, Feature, MachineGoneError, Reason, TurnsClient, TurnsError
from bringup.harness.limits import WATCHDOG, Deadline, Moment
from bringup.harness.outcome import Blame
from bringup.vmm.screen import keys
from bringup.vmm.screen.keys import Stroke
from bringup.vmm.screen.text import ScreenError, TextScreen, unpack

from .ending import DEBUG_EXIT, KILLED, Ending, MachineError, from_status
from .kept import Kept
from .monitor_screen import MonitorScreen
from .qmp import Qmp, QmpError, QmpGoneError
from .wires import Wire

TURN_NS = 100_000_000
"""Guest nanoseconds that one turn may take, so that whoever waits hears of the host's clock and of Ctrl-C."""
PARTING_SECONDS = 30.0
"""Host seconds that a VMM has to end once it said that it will."""
WATCHDOG_STEP = 10.0
INPUT_MAXIMUM = 1 << 20
"""Bytes typed that a machine has not taken yet."""
KEYS_MAXIMUM = 1 << 16
"""Key events that its keyboard has not taken yet."""
SAMPLE_NS = 5_000_000
"""Guest nanoseconds between two looks at the screen; at multiples of it, so that every run looks when the others do."""
DENSE_STEP = 100_000
"""Instructions between two looks while the screen changes."""
WATCH_STEP = 10_000
"""Instructions between two of the machine's own looks at text that scrolls: it ends a turn before lines are gone."""
DENSE_AFTER_CHANGE, DENSE_AFTER_KEY = 500_000, 2_000_000
"""For so many instructions after the screen has changed, and after a key was pressed."""
SAMPLE_SECONDS = 0.1
"""Host seconds between two looks, where there is no virtual time."""


@dataclass(frozen=True)
class Rhythm:
    """Of typing, in guest milliseconds: between two keys, and how long each is held."""

    pace: int
    hold: int


CALM = Rhythm(10, 20)
"""For guests that look at their keyboard now and then."""
QUICK = Rhythm(2, 4)
"""For a person: a guest that polls is slower than its own time, and keys are not to lag."""


TURNS_CHANNELS = ("serial0", "serial1", "serial2", "serial3", "debug")
ENDINGS = {
    Event.POWER_OFF: "power-off",
    Event.RESET: "reset",
    Event.TRIPLE_FAULT: "triple-fault",
    Event.PANIC: "panic",
    Event.DEBUG_EXIT: DEBUG_EXIT,
    Event.INTERNAL: "internal-error",
    Event.BUDGET: "budget",
    Event.ENDED: KILLED,
}
SHUTDOWN, OF_GUEST = "SHUTDOWN", "guest-"
SHUTDOWNS = {
    "guest-shutdown": "power-off",
    "guest-reset": "reset",
    "guest-panic": "panic",
    "host-qmp-quit": KILLED,
    "host-qmp-system-reset": "reset",
    "host-signal": KILLED,
    "host-ui": KILLED,
    "host-error": "internal-error",
}
"""Reasons of QMP's SHUTDOWN event (qapi/run-state.json, ShutdownCause)."""


class Deliver(Protocol):
    """Takes a channel's output, and the moment when it was complete."""

    def __call__(self, channel: str, data: bytes, moment: Moment) -> None: ...


OnScreen = Callable[[TextScreen, Moment], None]
"""Told what the screen shows, at each look at it."""


class Link(ABC):
    """A machine that runs."""

    ending: Ending | None = None
    halted = False
    """The guest has halted, and only input can change that."""
    resets = 0
    last_state: Mapping[str, str] = {}
    """Registers of a machine that has ended, by the name `registers`, where its VMM could be asked for them."""

    @abstractmethod
    def moment(self) -> Moment:
        """Where the run stands."""

    @abstractmethod
    def send(self, channel: str, data: bytes) -> None:
        """Input; it goes when the machine runs."""

    @abstractmethod
    def pump(self, deadline: Deadline, deliver: Deliver) -> None:
        """Runs until there is output, an ending, or the deadline is spent."""

    @abstractmethod
    def watch(self, on_screen: OnScreen) -> None:
        """From now on looks at the screen while it runs. MachineError: there is none."""

    @abstractmethod
    def press(self, strokes: Sequence[Stroke], rhythm: Rhythm = CALM) -> None:
        """Presses keys, one stroke after the other, when the machine runs. MachineError: there is no keyboard."""

    @abstractmethod
    def close(self) -> None:
        """Hangs up."""


class TurnsLink(Link):
    """In turns of virtual time (docs/turns.md)."""

    def __init__(self, vmm: str, kept: Kept, client: TurnsClient, ended: Callable[[], Ending | None]) -> None:
        self._vmm, self._kept, self._client, self._ended = vmm, kept, client, ended
        self._pending: dict[int, bytes] = {}
        self._on_screen: OnScreen | None = None
        self._sample_at = 0
        self._dense_until = 0
        self._keys: list[int] = []

    def moment(self) -> Moment:
        """Exact: between turns guest time stands still."""
        return Moment(self._client.count, self._client.time, time.monotonic())

    def send(self, channel: str, data: bytes) -> None:
        """With the next turn."""
        if channel not in TURNS_CHANNELS[:4]:
            raise MachineError(f"{self._vmm}: nothing can be typed on the channel {channel}", Blame.HARNESS)
        uart = TURNS_CHANNELS.index(channel)
        self._pending[uart] = self._pending.get(uart, b"") + data
        if len(self._pending[uart]) + self._client.unsent > INPUT_MAXIMUM:
            raise MachineError(f"{self._vmm}: {channel} does not take what is typed", Blame.VMM)
        self.halted = False

    def watch(self, on_screen: OnScreen) -> None:
        """At multiples of SAMPLE_NS, and more often while it changes."""
        self._need_screen()
        self._on_screen = on_screen
        self._sample_at = self._next_sample()

    def _need_screen(self) -> None:
        if not self._client.features & Feature.SCREEN:
            raise MachineError(f"{self._vmm}: the machine has no screen and no keyboard", Blame.HARNESS)

    def _next_sample(self) -> int:
        return int(self._client.time // SAMPLE_NS + 1) * SAMPLE_NS

    def press(self, strokes: Sequence[Stroke], rhythm: Rhythm = CALM) -> None:
        """With the next turn; who types waits for the keyboard."""
        self._need_screen()
        self._keys += keys.events(strokes, rhythm.pace, rhythm.hold)
        self._dense_until = self._client.count + DENSE_AFTER_KEY
        if len(self._keys) > KEYS_MAXIMUM:
            raise MachineError(f"{self._vmm}: the keyboard does not take what is typed", Blame.VMM)
        self.halted = False

    def _is_dense(self) -> bool:
        return self._on_screen is not None and self._client.count < self._dense_until

    def _look(self, dense: bool) -> None:
        """At the screen, when it is time to, or when nothing will ever change it."""
        if self._on_screen is None:
            return
        if self.ending is None:
            if self._client.time < self._sample_at and not dense and not self.halted:
                return
            self._sample_at = self._next_sample()
        data = self._client.screen(WATCH_STEP) if self.ending is None else self._client.parting
        if data is None:
            return
        self._dense_until = max(self._dense_until, self._client.count + DENSE_AFTER_CHANGE)
        try:
            self._on_screen(unpack(data), self.moment())
        except ScreenError as error:
            raise MachineError(f"{self._vmm}: {error}", Blame.VMM) from None

    def pump(self, deadline: Deadline, deliver: Deliver) -> None:
        """One turn."""
        if self.ending is not None or self.halted:
            return
        now = self.moment()
        pending, self._pending = self._pending, {}
        left = TURN_NS if deadline.guest_ns is None else min(deadline.guest_ns - self._client.time, TURN_NS)
        if self._on_screen is not None:
            left = min(left, self._sample_at - self._client.time)
        dense, steps = self._is_dense(), None
        if deadline.instructions is not None:
            steps = max(deadline.instructions - self._client.count, 0)
        if dense:
            steps = DENSE_STEP if steps is None else min(steps, DENSE_STEP)
        before = self._client.unsent
        try:
            pressed = self._client.press(self._keys) if self._keys else 0
            del self._keys[:pressed]
            turn = self._client.turn(
                pending,
                instructions=steps,
                guest_ns=max(left, 0),
                timeout=_watchdog(deadline.remaining_host(now.host)),
            )  # fmt: skip
        except TurnsError as error:
            self._failed(error)
            return
        after = self.moment()
        for name, channel in zip(TURNS_CHANNELS, turn.channels, strict=False):
            if channel.data:
                deliver(name, channel.data, after)
        if turn.status is not None:
            self.ending = Ending(ENDINGS.get(turn.event, "exit"), turn.status, turn.text)
        elif turn.event is Event.RESET:
            self.resets += 1
        elif turn.reason is Reason.HALTED:
            typed = before + sum(map(len, pending.values()))
            stuck = self._client.unsent in (0, typed) and not (self._keys and pressed)
            self.halted = stuck and not any(c.data for c in turn.channels)
        try:
            self._look(dense or turn.reason is Reason.SCREEN)
        except TurnsError as error:
            self._failed(error)

    def _failed(self, error: TurnsError) -> None:
        """The machine is gone; it is one that died or one that does not keep to the protocol."""
        self.ending = self._ended() if isinstance(error, MachineGoneError) else None
        if self.ending is None:
            raise MachineError(f"{self._vmm}: {error}; it said: {self._kept.said() or 'nothing'}", Blame.VMM)

    def close(self) -> None:
        """The machine ends."""
        self._client.close()


class HostLink(Link):
    """By itself, in host time: its channels are polled."""

    def __init__(
        self,
        vmm: str,
        kept: Kept,
        wires: Mapping[str, Wire],
        control: Qmp | None,
        screen: MonitorScreen | None,
        ended: Callable[[], Ending | None],
        lingers: bool = False,
    ) -> None:
        """`lingers`: the VMM stays when its guest has ended."""
        self._vmm, self._kept, self._wires, self._control, self._ended = vmm, kept, wires, control, ended
        self._lingers = lingers
        self._screen = screen
        self._on_screen: OnScreen | None = None
        self._sample_at = 0.0
        self._pending: dict[str, bytes] = {}
        self._poll = select.poll()
        self._watched: dict[int, str] = {}
        for name, wire in wires.items():
            self._watch(name, wire, 0)
        if control is not None:
            self._poll.register(control, select.POLLIN)
        self._poll.register(kept, select.POLLIN)
        self._parting: float | None = None

    def _watch(self, name: str, wire: Wire, more: int) -> None:
        self._watched[wire.fileno()] = name
        self._poll.register(wire, select.POLLIN | more)

    def moment(self) -> Moment:
        """Of the host's clock."""
        return Moment(None, None, time.monotonic())

    def send(self, channel: str, data: bytes) -> None:
        """As much as the channel takes now, the rest while the machine is waited for."""
        if channel not in self._wires:
            raise MachineError(f"{self._vmm}: the machine has no channel {channel}", Blame.HARNESS)
        self._pending[channel] = self._pending.get(channel, b"") + data
        if len(self._pending[channel]) > INPUT_MAXIMUM:
            raise MachineError(f"{self._vmm}: {channel} does not take what is typed", Blame.VMM)
        self._flush(channel)

    def _flush(self, channel: str) -> None:
        wire, data = self._wires[channel], self._pending.pop(channel, b"")
        if wire.at_end or not data:
            return
        rest = data[wire.write(data) :]
        if rest:
            self._pending[channel] = rest
        self._watch(channel, wire, select.POLLOUT if rest else 0)

    def watch(self, on_screen: OnScreen) -> None:
        """Every SAMPLE_SECONDS."""
        self._need_screen()
        self._on_screen = on_screen

    def _need_screen(self) -> MonitorScreen:
        if self._screen is None:
            raise MachineError(f"{self._vmm}: there is no channel `screen`", Blame.HARNESS)
        return self._screen

    def press(self, strokes: Sequence[Stroke], rhythm: Rhythm = CALM) -> None:
        """At once; the VMM spaces them."""
        with self._talking():
            self._need_screen().press(strokes, rhythm.hold)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Over the control socket: a VMM that is gone is no error here, one that refuses is, unless its guest has just
        ended."""
        try:
            yield
        except QmpGoneError:
            pass  # its end is seen where its process is watched
        except QmpError as error:
            if self._is_over():
                return
            raise MachineError(f"{self._vmm}: its control socket: {error}", Blame.VMM) from None

    def _look(self) -> bool:
        """At the screen, when it is time to."""
        now = time.monotonic()
        gone = self._control is None or not self._control.open or self._kept.look() is not None
        if self._on_screen is None or self._screen is None or now < self._sample_at or gone:
            return False
        with self._talking():
            self._on_screen(self._screen.sample(), self.moment())
        self._sample_at = time.monotonic() + SAMPLE_SECONDS
        return True

    def pump(self, deadline: Deadline, deliver: Deliver) -> None:
        """Waits for the first output or look at the screen, and takes what there is then, at most 64 KiB of each
        channel."""
        while self.ending is None:
            self._dismiss()
            if self._look():
                return
            now = time.monotonic()
            left = deadline.remaining_host(now)
            if self._on_screen is not None and self._control is not None and self._control.open:
                next_look = max(self._sample_at - now, 0)
                left = next_look if left is None else min(left, next_look)
            if self._parting is not None:
                left = max(self._parting - now, 0) if left is None else min(left, max(self._parting - now, 0))
            ready = self._poll.poll(None if left is None else left * 1000)
            news = False
            for fd, events in ready:
                name = self._watched.get(fd)
                if name is not None:
                    news |= self._exchange(name, events, deliver)
                elif self._control is not None and fd == self._control.fileno():
                    self._listen()
                elif self._kept.look() is not None:
                    self._poll.unregister(fd)
            self._part()
            if news or not ready:
                return

    def _exchange(self, name: str, events: int, deliver: Deliver) -> bool:
        wire = self._wires[name]
        if events & select.POLLOUT:
            self._flush(name)
        if not events & ~select.POLLOUT:
            return False
        try:
            data = wire.read()
        except BlockingIOError:
            return False
        if data:
            deliver(name, data, self.moment())
        else:
            self._poll.unregister(wire)
            del self._watched[wire.fileno()]
        return bool(data)

    def _listen(self) -> None:
        assert self._control is not None  # noqa: S101, it is watched
        try:
            self._control.read()
        except QmpError as error:
            raise MachineError(f"{self._vmm}: its control socket: {error}", Blame.VMM) from None
        if not self._control.open:
            self._poll.unregister(self._control)

    def _is_over(self) -> bool:
        """Has the VMM said that its guest has ended?"""
        return self._control is not None and any(event["event"] == SHUTDOWN for event in self._control.events)

    def _dismiss(self) -> None:
        """A VMM that stays when its guest has ended is looked at and asked once more, and told to go."""
        if not self._lingers or self._control is None or not self._is_over():
            return
        self._lingers = False
        with suppress(QmpError):
            if self._screen is not None and self._on_screen is not None:
                self._on_screen(self._screen.sample(), self.moment())
        with suppress(QmpError):
            arguments = {"command-line": "info registers"}
            text = self._control.execute("human-monitor-command", arguments, seconds=PARTING_SECONDS)
            self.last_state = {"registers": str(text).replace("\r\n", "\n")}
        with suppress(QmpError):
            self._control.execute("quit", seconds=PARTING_SECONDS)

    def _part(self) -> None:
        """The machine has ended once its process has, and all that it said is here."""
        if self._kept.exit is not None and self._watched and self._parting is None:
            self._parting = time.monotonic() + PARTING_SECONDS
        over = self._parting is not None and time.monotonic() >= self._parting
        if self._kept.exit is not None and (not self._watched or over):
            if self._control is not None and self._control.open:
                self._listen()
            self.ending = self._ended()

    def close(self) -> None:
        """Hangs up."""
        for wire in self._wires.values():
            wire.close()


def _watchdog(seconds: float | None) -> float:
    """Host seconds for a turn, in steps: a new limit for each turn would cost it two system calls."""
    return WATCHDOG if seconds is None else (seconds // WATCHDOG_STEP + 1) * WATCHDOG_STEP


def ending_of(kept: Kept, control: Qmp | None, meanings: Mapping[str, str], *, ours: bool, debug_exit: bool) -> Ending:
    """The ending of a VMM whose process has ended: what it said over QMP, then what its status says. Of a guest that
    ended before it was told to go, that counts."""
    assert kept.exit is not None  # noqa: S101, a caller's mistake
    status, output = kept.exit.status, kept.exit.output
    for event in control.events if control is not None and status >= 0 else ():
        data = event.get("data")
        reason = str(data.get("reason", "")) if isinstance(data, dict) else ""
        if event["event"] == SHUTDOWN and reason in SHUTDOWNS and (not ours or reason.startswith(OF_GUEST)):
            return Ending(SHUTDOWNS[reason], status, "")
    return from_status(status, output, meanings, ours=ours, debug_exit=debug_exit)
