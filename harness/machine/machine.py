"""A machine: a VMM's process that runs one guest, from start to end, with its consoles."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from bringup.guests.definition import Death, Limit
from bringup.harness.console.deaths import Fatality
from bringup.harness.console.log import Log
from bringup.harness.console.strip import Strip
from bringup.harness.console.teletype import Teletype
from bringup.harness.console.turns import MachineGoneError, TurnsClient, TurnsError
from bringup.harness.limits import Deadline, Moment, Scale
from bringup.harness.outcome import Blame
from bringup.harness.vmms.definition import Transport
from bringup.harness.vmms.loader import LoadedVmm, VmmError
from bringup.vmm.screen import keys
from bringup.vmm.screen.keys import Stroke
from bringup.vmm.screen.text import TextScreen

from . import command as command_line
from .ending import KILLED, Ending, FloodError, MachineError, refusal
from .folder import SocketFolder, serve
from .kept import Exit, Kept
from .link import CALM, HostLink, Link, Rhythm, TurnsLink, ending_of
from .monitor_screen import MonitorScreen
from .qmp import LAST_STATE, Qmp, QmpError, QmpGoneError
from .settings import SCREEN, Settings
from .wires import Wire, connect_all

if TYPE_CHECKING:
    from bringup.guests.definition import Console as ConsoleDefinition
    from bringup.harness.console.console import Console

TURNS = "turns"
CONNECT_SECONDS = 60.0
"""Host seconds, before scaling, that a VMM may take to open its channels."""
PARTING_SECONDS = 10.0
"""Host seconds, before scaling, that a VMM that ends by itself, or is asked to, may take."""
NOTES_MAXIMUM = 100


class Machine:
    """A context manager; after `close` no process, socket or file of it is left."""

    def __init__(
        self, vmm: LoadedVmm, settings: Settings, command: Sequence[str], kept: Kept, control: Qmp | None, scale: Scale
    ) -> None:
        """`start` makes one."""
        self.vmm, self.settings, self.command = vmm, settings, tuple(command)
        self.began = time.monotonic()
        """When it began to start, in host seconds of a `Moment`."""
        self.pid = kept.pid
        """Of the VMM's process."""
        self.ending: Ending | None = None
        """None while it lives."""
        self.notes: list[str] = []
        """Titles of deaths that end nothing, each once, in order."""
        self.logs: dict[str, Log] = {}
        """What came from each channel."""
        self.size = 0
        """Bytes that came from all channels."""
        self.bound: int | None = None
        """Bytes that may come from all channels; None: any number."""
        self.consoles: list[Console] = []
        self.screens = Strip()
        """What the screen has shown, once a console is on it."""
        self._teletype: Teletype | None = None
        self._kept, self._control, self._scale = kept, control, scale
        self._time = vmm.definition.capabilities.time
        self._link: Link
        self._listeners: dict[str, list[Callable[[bytes, Moment], None]]] = {}
        self._stack = ExitStack()
        self._closing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---- time ----

    def moment(self) -> Moment:
        """Where the run stands."""
        return self._link.moment()

    def deadline(self, limit: Limit) -> Deadline:
        """A limit that begins now."""
        return Deadline(limit, self.moment(), self._time, self._scale)

    @property
    def halted(self) -> bool:
        """The guest has halted and only input can change that."""
        return self._link.halted

    @property
    def resets(self) -> int:
        """How often the guest has reset the machine and gone on."""
        return self._link.resets

    # ---- what comes and goes ----

    def pump(self, deadline: Deadline) -> None:
        """Lets it run (a turn), or waits for it, until there is output on a channel, an ending, or the deadline is
        spent. MachineError: the VMM breaks its protocols. FloodError: there was more output than `bound`."""
        if self.ending is None:
            self._link.pump(deadline, self._deliver)
            self.ending = self._link.ending
            if self.bound is not None and self.size > self.bound:
                raise FloodError(f"{self.vmm.name}: {self.size} bytes came from the guest", Blame.GUEST)

    def send(self, channel: str, data: bytes) -> None:
        """Input for a channel; for the screen's, the keys of a US keyboard that write it. MachineError: there is no
        such channel, or it takes no more. ValueError: no key writes this."""
        if channel == SCREEN:
            self._link.press(keys.strokes(data.decode(errors="replace")))
        else:
            self._link.send(channel, data)

    def press(self, names: str) -> None:
        """Presses keys by QEMU's names: `down down ret`, `ctrl-alt-delete`. ValueError: no key has this name."""
        self.stroke(keys.presses(names))

    def stroke(self, strokes: Sequence[Stroke], rhythm: Rhythm = CALM) -> None:
        """Presses keys, one stroke after the other; () does nothing."""
        if strokes:
            self._link.press(strokes, rhythm)

    def listen(self, channel: str, listener: Callable[[bytes, Moment], None]) -> None:
        """Calls with each piece of a channel's output, and the moment by which it had come. What the screen shows is
        such output, too, as a teletype would have printed it; `screens` has it as it was."""
        if channel == SCREEN and self._teletype is None:
            self._teletype = Teletype()
            self._link.watch(self._seen)
        self._listeners.setdefault(channel, []).append(listener)

    def _seen(self, screen: TextScreen, moment: Moment) -> None:
        if not self.screens.append(screen, moment) or self._teletype is None:
            return
        if printed := self._teletype.feed(screen):
            self._deliver(SCREEN, printed.encode(), moment)

    def console(
        self,
        channel: str,
        about: ConsoleDefinition | None = None,
        *,
        deaths: Sequence[Death] = (),
        chatter: str | None = None,
    ) -> Console:
        """A console on a channel; `about` is the guest's, `deaths` and `chatter` its family's."""
        from bringup.harness.console.console import Console

        return Console(self, channel, about, deaths=deaths, chatter=chatter)

    @property
    def fatality(self) -> Fatality | None:
        """What the guest said that is beyond help: the first that was seen on any console."""
        return next((console.deaths.fatality for console in self.consoles if console.deaths.fatality), None)

    @property
    def dying(self) -> bool:
        """A line that still grows has a death in it."""
        return any(console.deaths.growing for console in self.consoles)

    def settle(self) -> bool:
        """Lines that grew are as long as they get; True when that is the guest's death."""
        for console in self.consoles:
            console.deaths.settle()
        return self.fatality is not None

    def note(self, text: str) -> None:
        """Something worth keeping that ends nothing."""
        if text not in self.notes and len(self.notes) < NOTES_MAXIMUM:
            self.notes.append(text)

    def _deliver(self, channel: str, data: bytes, moment: Moment) -> None:
        self.size += len(data)
        self.logs.setdefault(channel, Log()).append(data, moment)
        for listener in self._listeners.get(channel, ()):
            listener(data, moment)

    # ---- looking inside ----

    def cpu_seconds(self) -> float:
        """User and system time of the VMM's processes."""
        return self._kept.cpu_seconds()

    @property
    def exit(self) -> Exit | None:
        """What became of the VMM's process; None while there is one."""
        return self._kept.exit

    def said(self) -> str:
        """The VMM's own output, its middle left out when that is much."""
        return self._kept.output()

    def inspect(self, seconds: float) -> Mapping[str, str]:
        """Registers and the like, as text by name; of a machine that has ended, as the VMM told them at its end. {}
        when the VMM has no control socket, does not answer in so many host seconds, or told nothing."""
        if self.ending is not None:
            return self._last_state()
        found: dict[str, str] = {}
        deadline = time.monotonic() + seconds
        for name in ("registers", "exits", "status"):
            text = self._info(name, max(deadline - time.monotonic(), 0))
            if text:
                found[name] = text
        return found

    def _last_state(self) -> Mapping[str, str]:
        if self._control is None or self._link.last_state:
            return self._link.last_state
        with suppress(QmpError):
            self._control.read()
        told = next((event.get("data") for event in self._control.events if event["event"] == LAST_STATE), None)
        views = told if isinstance(told, dict) else {}
        return {name: views[name] for name in ("registers", "exits") if isinstance(views.get(name), str)}

    def screendump(self, path: Path, seconds: float) -> bool:
        """Lets the VMM write a PNG of its screen there; False: it has no control socket, has ended, cannot, or does not
        come to it in so many host seconds."""
        if self._control is None or self.ending is not None:
            return False
        try:
            arguments = {"filename": str(path.absolute()), "format": "png"}
            self._control.execute("screendump", arguments, seconds=seconds)
        except QmpError:
            return False
        return True

    def exits(self, seconds: float = 1.0) -> Mapping[str, int]:
        """How often each VM exit reason came so far; {} when the VMM does not tell in so many host seconds."""
        pairs = (line.rpartition(" ") for line in self._info("exit-counts", seconds).splitlines())
        return {name: int(count) for name, _, count in pairs if count.isdecimal()}

    def _info(self, topic: str, seconds: float) -> str:
        """What the VMM's monitor says to `info TOPIC`; "": nothing, or that it does not know the topic."""
        if self._control is None or self.ending is not None:
            return ""
        try:
            text = self._control.execute("human-monitor-command", {"command-line": f"info {topic}"}, seconds=seconds)
        except QmpError:
            return ""
        known = isinstance(text, str) and not text.startswith(("unknown command", "info ", "Unknown"))
        return text.replace("\r\n", "\n") if known and text.strip() else ""

    # ---- the end ----

    def entrust(self, folder: Path) -> None:
        """A folder that is to go with the machine, however this process ends."""
        self._kept.entrust(folder)

    def close(self) -> None:
        """Ends it, each means bounded in time: QMP's quit, the turns socket's end, SIGTERM, SIGKILL. Then everything
        is reaped and `ending` is known. A second call does nothing."""
        if self._closing:
            return
        self._closing = True
        patience = PARTING_SECONDS * self._scale.factor
        with self._stack:
            ours = self.ending is None and self._kept.look() is None
            told = TURNS in self.vmm.definition.channels  # its driver hangs up
            if ours and self._control is not None:
                with suppress(QmpError):
                    self._control.execute("quit", seconds=patience)
                    told = True
            self._link.close()
            if told or not ours:
                self._kept.wait(patience)
            self._kept.close(patience)
            if self.ending is None:
                self.ending = self._ended(ours=ours)

    def _ended(self, *, ours: bool = False) -> Ending | None:
        """How, if the VMM's process has ended or does so in a moment."""
        if self._kept.wait(PARTING_SECONDS * self._scale.factor) is None:
            return Ending(KILLED, 0, "") if ours else None
        definition = self.vmm.definition
        return ending_of(self._kept, self._control, definition.statuses, ours=ours, debug_exit=self.settings.debug_exit)


def start(vmm: LoadedVmm, settings: Settings, *, scale: Scale, folder: Path | None = None) -> Machine:
    """Starts a machine and connects to it. `folder`: where sockets may lie that the VMM cannot inherit, and the files
    that its network serves.

    MachineError: its text and blame say why not; nothing is left of it then.
    """
    with ExitStack() as stack:
        machine = _start(vmm, settings, scale, folder, stack)
        machine._stack = stack.pop_all()
        return machine


def _start(vmm: LoadedVmm, settings: Settings, scale: Scale, parent: Path | None, stack: ExitStack) -> Machine:
    definition, began = vmm.definition, time.monotonic()
    made: list[Path] = []

    def folder() -> Path:
        if not made:
            try:
                sockets = SocketFolder(parent)
            except OSError as error:
                raise MachineError(f"no folder for the sockets of {vmm.name}: {error}", Blame.HOST) from None
            stack.callback(sockets.close)
            made.append(sockets.path)
        return made[0]

    def served() -> Path | None:
        try:
            return serve(folder(), settings.tftp) if settings.tftp else None
        except OSError as error:
            raise MachineError(f"no folder for the files of {vmm.name}'s network: {error}", Blame.HOST) from None

    try:
        command = [*command_line.command(definition, settings, served())]
        wires = {}
        names = [TURNS] if TURNS in definition.channels else settings.channels
        for name in names:
            if name not in definition.channels:
                raise VmmError(f"{vmm.name}: channels: there is no {name}")
            if definition.channels[name].transport is Transport.MONITOR:
                continue
            wires[name] = Wire(name, definition.channels[name], folder)
            stack.callback(wires[name].close)
        control_wire = None
        if definition.control is not None:
            control_wire = Wire("control", definition.control, folder)
            stack.callback(control_wire.close)
    except VmmError as error:
        raise MachineError(str(error), Blame.VMM) from None
    everything = [*wires.values(), *([control_wire] if control_wire is not None else [])]
    for wire in everything:
        command += wire.arguments
    inherited = [wire.inherited.fileno() for wire in everything if wire.inherited is not None and not wire.standard]
    standard = [wire.inherited.fileno() for wire in everything if wire.inherited is not None and wire.standard]
    kept = Kept(
        command,
        vmm.environment(),
        descriptors=inherited,
        standard=standard[0] if standard else None,
        folder=made[0] if made else None,
    )
    stack.callback(kept.close, 0.0)
    deadline = time.monotonic() + CONNECT_SECONDS * scale.factor
    try:
        connect_all(vmm.name, everything, kept, deadline)
    except MachineError:
        if kept.exit is not None and _is_refusal(kept.exit, definition.statuses):
            raise refusal(vmm.name, command[0], kept.exit.status, kept.said()) from None
        raise
    control = None
    if control_wire is not None:
        control = Qmp(control_wire.take())
        stack.callback(control.close)
    machine = Machine(vmm, settings, command, kept, control, scale)
    machine.began = began
    try:
        machine._link = _link(machine, kept, wires, control, deadline)
    except (TurnsError, QmpError) as error:
        kept.wait(PARTING_SECONDS if isinstance(error, MachineGoneError | QmpGoneError) else 0)
        if kept.exit is not None and _is_refusal(kept.exit, definition.statuses):
            raise refusal(vmm.name, command[0], kept.exit.status, kept.said()) from None
        raise MachineError(f"{vmm.name}: {_why(error, kept)}", Blame.VMM) from None
    stack.callback(machine._link.close)
    return machine


def _link(machine: Machine, kept: Kept, wires: Mapping[str, Wire], control: Qmp | None, deadline: float) -> Link:
    link: Link
    left = max(deadline - time.monotonic(), 0.001)
    about = machine.vmm.definition.control
    if TURNS in wires:
        client = TurnsClient(wires[TURNS].take(), greeting=left)
        link = TurnsLink(machine.vmm.name, kept, client, machine._ended)
    else:
        channels, asked = machine.vmm.definition.channels, machine.settings.channels
        has_screen = control is not None and SCREEN in asked and channels[SCREEN].transport is Transport.MONITOR
        screen = MonitorScreen(control) if has_screen and control is not None else None
        lingers = about is not None and about.lingers
        link = HostLink(machine.vmm.name, kept, wires, control, screen, machine._ended, lingers)
    if control is not None:
        control.negotiate(left)
        if about is not None and about.stopped:
            control.execute("cont", seconds=left)
    return link


def _is_refusal(exit_: Exit, meanings: Mapping[str, str]) -> bool:
    """Did it end by itself, failing, and not in a way that its file gives a name to?"""
    return exit_.status > 0 and str(exit_.status) not in meanings


def _why(error: Exception, kept: Kept) -> str:
    """What went wrong at the start, in one line: the VMM's own last words are worth more than ours."""
    said = kept.said()
    if kept.exit is not None:
        return f"it ended with status {kept.exit.status} at its start{': ' if said else ''}{said}"
    return f"{error}; it said: {said or 'nothing'}"
