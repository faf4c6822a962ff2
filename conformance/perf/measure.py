"""One measured run of one VMM: a boot, and all workloads after each other in that guest."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from bringup.conformance.perf import markers, program
from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.process import MIB, Line, Memory, Process, TurnsProcess

RAM = 256 * MIB
APPEND = "console=ttyS0"
TIMEOUT = 300.0
"""Seconds without a console line after which a VMM counts as hung: a distant watchdog, nothing is timed by it."""


@dataclass(frozen=True)
class Boot:
    """What to start; `initrd` None: the kernel alone."""

    kernel: Path
    initrd: Path | None = None
    append: str = APPEND


@dataclass(frozen=True)
class Vmm:
    """How a VMM is started."""

    name: str
    title: str
    start: Callable[[Boot], Process]
    exact: bool = False
    """Is a TSC tick of its guest one retired instruction?"""
    accel: str | None = None
    """As the harness asks for it; None: the VMM has no choice."""


def bringup(accel: str = "vtx") -> Vmm:
    """The tree's own machine, in virtual time."""

    def start(boot: Boot) -> Process:
        initrd = [] if boot.initrd is None else ["--initrd", str(boot.initrd)]
        command = [
            *(sys.executable, "-m", "bringup.harness", "run", "--accel", accel, "--memory", f"{RAM // MIB}M"),
            *("--no-reboot", "--kernel", str(boot.kernel), *initrd, "--append", boot.append),
        ]
        return TurnsProcess("bringup", command, TIMEOUT)

    return Vmm("bringup", f"version {version('bringup')}, --accel {accel}", start, exact=True, accel=accel)


def qemu(counting: bool = False, program: str = "qemu-system-x86_64") -> Vmm:
    """QEMU with its translator, TCG, and its default CPU; PerfError when it is not installed.

    `counting`: much slower, and its guest's TSC advances by one for each instruction (-icount).
    """
    if shutil.which(program) is None:
        raise PerfError(f"{program} is not installed; --vmm-only bringup measures without it")
    first_line = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.partition("\n")[0]
    icount = ["-icount", "shift=0,sleep=off"] if counting else []

    def start(boot: Boot) -> Process:
        initrd = [] if boot.initrd is None else ["-initrd", str(boot.initrd)]
        command = [
            *(program, "-accel", "tcg", *icount, "-m", str(RAM // MIB), "-nodefaults", "-nographic"),
            *("-serial", "stdio", "-no-reboot", "-kernel", str(boot.kernel), *initrd, "-append", boot.append),
        ]
        return Process("qemu", command, TIMEOUT)

    return Vmm("qemu", f"{first_line or 'QEMU'}, -accel tcg", start, exact=counting)


@dataclass(frozen=True)
class Section:
    """One workload as it went: CPU seconds of the VMM, and what the guest said of it."""

    cpu: float
    checksum: int
    ticks: int


@dataclass(frozen=True)
class Run:
    """One run: CPU seconds from the VMM's start to the guest program's (and instructions, where they are counted),
    the workloads by name, and memory at the end."""

    boot: float
    boot_count: int | None
    sections: Mapping[str, Section]
    memory: Memory | None


@dataclass(frozen=True)
class Sample:
    """One row of one run: CPU seconds of the VMM, and guest instructions where they are counted."""

    cpu: float
    count: int | None = None

    def since(self, begin: "Sample") -> "Sample":
        """From there to here."""
        counted = None if self.count is None or begin.count is None else self.count - begin.count
        return Sample(self.cpu - begin.cpu, counted)


Watch = Callable[[markers.Marker], None]
"""Told of every marker when it arrives."""


class _Markers:
    """The markers of a started program, each when it is due. PerfError is one line that begins with its name."""

    def __init__(self, process: Process, watch: Watch | None = None) -> None:
        self.process, self.watch = process, watch
        self._lines = process.lines()

    def next(self) -> tuple[Line, markers.Marker] | None:
        """The next one and its line; None when the console has ended."""
        for line in self._lines:
            try:
                marker = markers.parse(line.text)
            except PerfError as error:
                raise PerfError(f"{self.process.name}: {error}") from None
            if marker is not None:
                return line, marker
        return None

    def expect(self, kind: type[markers.M], name: str = "") -> tuple[Line, markers.M]:
        """The next one, which must be of this kind and, for a workload's, of this name."""
        due = f"{kind.__name__.lower()} {name}".strip()
        arrived = self.next()
        if arrived is None:
            raise PerfError(f"{self._ended()} before the marker {due!r}; it says: {self.process.complaint()}")
        line, marker = arrived
        found = markers.due(self.process.name, marker, kind, name)
        if self.watch:
            self.watch(found)
        return line, found

    def end(self) -> None:
        """Follows the program to its end, which must be a good one and without another marker."""
        if arrived := self.next():
            raise PerfError(f"{self.process.name}: the marker {arrived[1]} arrived after the last one")
        if self.process.wait():
            raise PerfError(f"{self._ended()} after the last marker; it says: {self.process.complaint()}")

    def _ended(self) -> str:
        return f"{self.process.name} ended with status {self.process.wait()}"


def follow(
    process: Process, workloads: Sequence[program.Workload], ram: int | None = None, watch: Watch | None = None
) -> Run:
    """Follows a started guest (or host) program by its markers until the process ends.

    `ram`: bytes of guest RAM, to account for memory at the end. Raises PerfError, one line: a marker that is missing or
    not in its turn, a guest that died, a VMM that hung or ended with an error.
    """
    arrivals = _Markers(process, watch)
    line, _ = arrivals.expect(markers.Ready)
    boot = process.cpu()
    sections = {}
    for each in workloads:
        arrivals.expect(markers.Start, each.name)
        begin = process.cpu()
        _, end = arrivals.expect(markers.End, each.name)
        sections[each.name] = Section(process.cpu() - begin, end.checksum, end.ticks)
    arrivals.expect(markers.Done)
    taken = None if ram is None else process.memory(ram)
    arrivals.end()
    return Run(boot, line.count, sections, taken)


def run(vmm: Vmm, boot: Boot, workloads: Sequence[program.Workload], watch: Watch | None = None) -> Run:
    """Boots once and runs the workloads in the guest."""
    with vmm.start(Boot(boot.kernel, boot.initrd, program.append(boot.append, workloads))) as process:
        return follow(process, workloads, RAM, watch)


def first_instruction(vmm: Vmm) -> float:
    """Seconds from the VMM's start to the first instruction of its kernel (guest/first.S), firmware included."""
    with vmm.start(Boot(program.build_first())) as process:
        line, _ = _Markers(process).expect(markers.Ready)
        return line.wall


def run_native(workloads: Sequence[program.Workload]) -> Run:
    """The same program as an ordinary process of the host: the rate to compare with, and the right checksums."""
    command = [str(program.build_init()), *(each.argument for each in workloads)]
    with Process("the host", command, TIMEOUT) as process:
        return follow(process, workloads)
