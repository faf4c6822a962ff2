"""What a VMM's file states and what of it works: each capability is tried with a guest that does as it is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

import pexpect

from bringup.harness.climb import FAULTS
from bringup.harness.console.console import Console
from bringup.harness.limits import SECOND, Moment, Scale, Time
from bringup.harness.machine.command import lacks
from bringup.harness.machine.ending import DEBUG_EXIT, MachineError, last_line
from bringup.harness.machine.machine import Machine, start

from .loader import LoadedVmm, VmmError
from .probe import DEBUG_EXIT_PORT, DEBUG_PORT, SOON, Probe

INSPECT_SECONDS = 10.0
UNABLE = "this guest writes to no ports; the small one does, where multiboot is offered"


class State(Enum):
    """How a capability fared."""

    WORKS = "works"
    FAILS = "does not work"
    """The file states it."""
    ABSENT = "not offered"
    """The file does not state it."""
    UNTRIED = "not tried"


@dataclass(frozen=True)
class Finding:
    """One capability."""

    name: str
    state: State
    text: str
    """In words: what was seen, or what to do about it."""


@dataclass
class Check:
    """Tries everything; `found` is told of each finding at once."""

    vmm: LoadedVmm
    probe: Probe
    scale: Scale
    tell: Callable[[Finding], None] = lambda finding: None
    findings: list[Finding] = field(default_factory=list)

    def run(self) -> bool:
        """Does everything work that the file states? Without a start or a serial line the rest is not tried."""
        self._version()
        if self._basics():
            self._power_off()
            self._reset()
            self._debug_exit()
            self._twice()
        return all(finding.state is not State.FAILS for finding in self.findings)

    # ---- helpers ----

    def _find(self, name: str, state: State, text: str) -> None:
        finding = Finding(name, state, text)
        self.findings.append(finding)
        self.tell(finding)

    def _has(self, channel: str) -> bool:
        return channel in self.vmm.definition.channels or "turns" in self.vmm.definition.channels

    @contextmanager
    def _machine(self, *, debug_exit: bool = False) -> Iterator[tuple[Machine, Console]]:
        """A machine whose probe takes orders."""
        channels = ("serial0", "debug") if self._has("debug") else ("serial0",)
        with start(self.vmm, self.probe.settings(channels, debug_exit), scale=self.scale) as machine:
            console = self.probe.console(machine)
            self.probe.wait(console)
            yield machine, console

    # ---- what is tried ----

    def _version(self) -> None:
        try:
            self._find("version", State.WORKS, self.vmm.version())
        except VmmError as error:
            self._find("version", State.FAILS, f"{error}; records would not tell which version ran")

    def _basics(self) -> bool:
        """Start, serial line, counts, input, debug port, control, and the way a machine is ended: in one machine."""
        channels = ("serial0", "debug") if self._has("debug") else ("serial0",)
        settings = self.probe.settings(channels, debug_exit=False)
        missing = lacks(self.vmm.definition, settings)
        if missing:
            self._find("start", State.FAILS, f"the file does not offer {', '.join(missing)}")
            return False
        began = time.monotonic()
        try:
            machine = start(self.vmm, settings, scale=self.scale)
        except MachineError as error:
            self._find("start", State.FAILS, str(error))
            return False
        with machine:
            self._find("start", State.WORKS, f"in {time.monotonic() - began:.2f} s, with all its channels")
            console = self.probe.console(machine)
            debug = machine.console("debug") if self._has("debug") else None
            try:
                self.probe.wait(console)
            except FAULTS as error:
                said = last_line(machine.said()) or "nothing"
                self._find("serial output", State.FAILS, f"{_line(error)}; the VMM said: {said}")
                return False
            self._find("serial output", State.WORKS, f"{console.raw.size} bytes came on serial0")
            self._counts(machine.moment())
            self._input(console)
            self._debug_port(console, debug)
            self._control(machine)
        self._ended(machine)
        return True

    def _counts(self, moment: Moment) -> None:
        if self.vmm.definition.capabilities.time is Time.VIRTUAL:
            seconds = (moment.guest_ns or 0) / SECOND
            self._find("guest time", State.WORKS, f"virtual: limits are the guest's; {seconds:.6f} s so far")
        else:
            text = "it is the host's: limits are host seconds, scaled by the host's speed"
            self._find("guest time", State.ABSENT, text)
        stated = self.vmm.definition.capabilities.counts_instructions
        if moment.instructions is not None:
            self._find("instruction counts", State.WORKS, f"{moment.instructions} instructions to the first prompt")
        elif stated:
            self._find("instruction counts", State.FAILS, "counts_instructions is stated, and only turns tell counts")
        else:
            self._find("instruction counts", State.ABSENT, "times vary between runs where counts would not")

    def _input(self, console: Console) -> None:
        try:
            self.probe.echo(console)
        except FAULTS as error:
            self._find("serial input", State.FAILS, _line(error))
        else:
            self._find("serial input", State.WORKS, "what is typed on serial0 arrives whole and is answered")

    def _debug_port(self, console: Console, debug: Console | None) -> None:
        if debug is None:
            self._find("debug port", State.ABSENT, "[channels.debug] is missing: what guests say on port E9h is lost")
            return
        try:
            byte = self.probe.write(console, DEBUG_PORT)
            if byte is None:
                self._find("debug port", State.UNTRIED, UNABLE)
                return
            debug.expect_exact(byte.decode(), SOON)
        except FAULTS as error:
            self._find("debug port", State.FAILS, _line(error))
        else:
            self._find("debug port", State.WORKS, "a byte written to port E9h came on its channel")

    def _control(self, machine: Machine) -> None:
        if self.vmm.definition.control is None:
            self._find("control", State.ABSENT, "[control] is missing: no registers in bundles, endings by exit status")
            return
        shown = machine.inspect(INSPECT_SECONDS)
        if "registers" in shown:
            self._find("control", State.WORKS, f"QMP answers; shows {', '.join(shown)}")
        else:
            text = "QMP answers, but shows no registers (human-monitor-command `info registers`)"
            self._find("control", State.WORKS, text)

    def _ended(self, machine: Machine) -> None:
        exited = machine.exit
        if exited is not None and exited.status == -9:
            self._find("termination", State.FAILS, "it had to be killed: it ignores QMP's quit and SIGTERM")
        else:
            self._find("termination", State.WORKS, "it ends when it is told to")

    def _power_off(self) -> None:
        self._ends_by("power-off", self.probe.power_off, "its guest switched the machine off")

    def _reset(self) -> None:
        self._ends_by("reset", self.probe.reset, "its guest reset the machine, which ended it")

    def _ends_by(self, kind: str, order: Callable[[Console], None], text: str) -> None:
        try:
            with self._machine() as (machine, console):
                order(console)
                index = console.expect_exact([pexpect.EOF, pexpect.TIMEOUT], SOON)
                ending = machine.ending
        except FAULTS as error:
            self._find(kind, State.FAILS, _line(error))
            return
        if index or ending is None:
            self._find(kind, State.FAILS, f"{text}: the VMM goes on")
        elif ending.kind == kind:
            self._find(kind, State.WORKS, f"{text} (status {ending.status})")
        else:
            hint = f'a [control] socket tells, or [statuses] with `{ending.status} = "{kind}"`'
            self._find(kind, State.FAILS, f"{text}, and that looks like {ending.kind}, status {ending.status}: {hint}")

    def _debug_exit(self) -> None:
        if not self.vmm.definition.capabilities.debug_exit:
            self._find(DEBUG_EXIT, State.ABSENT, "isa-debug-exit at port F4h: test programs end by power-off instead")
            return
        try:
            with self._machine(debug_exit=True) as (machine, console):
                byte = self.probe.write(console, DEBUG_EXIT_PORT)
                if byte is None:
                    self._find(DEBUG_EXIT, State.UNTRIED, UNABLE)
                    return
                index = console.expect_exact([pexpect.EOF, pexpect.TIMEOUT], SOON)
                ending = machine.ending
        except FAULTS as error:
            self._find(DEBUG_EXIT, State.FAILS, _line(error))
            return
        wanted = byte[0] << 1 | 1
        if not index and ending is not None and (ending.kind, ending.status) == (DEBUG_EXIT, wanted):
            self._find(DEBUG_EXIT, State.WORKS, f"{byte[0]:#x} written to port F4h ended it with status {wanted}")
        else:
            text = f"{byte[0]:#x} written to port F4h should end it with status {wanted}: {ending or 'it goes on'}"
            self._find(DEBUG_EXIT, State.FAILS, text)

    def _twice(self) -> None:
        stated = self.vmm.definition.capabilities.deterministic
        if not stated:
            self._find("determinism", State.ABSENT, "two runs need not be equal: a failure may not come back")
            return
        runs = []
        try:
            for _ in range(2):
                with self._machine() as (machine, console):
                    self.probe.echo(console)
                    runs.append((machine.moment()[:2], console.raw.bytes()))
        except FAULTS as error:
            self._find("determinism", State.FAILS, _line(error))
            return
        if runs[0] == runs[1]:
            text = f"two runs are equal: {runs[0][0][0]} instructions, {len(runs[0][1])} bytes of console"
            self._find("determinism", State.WORKS, text)
        else:
            text = f"two runs differ: {runs[0][0][0]} and {runs[1][0][0]} instructions"
            self._find("determinism", State.FAILS, text)


def _line(error: BaseException) -> str:
    return " ".join(str(error.args[0] if error.args else error).split())
