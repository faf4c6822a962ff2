"""From runs to figures: medians and spreads, rates and ratios."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.measure import Run, Sample
from bringup.conformance.perf.process import MIB
from bringup.conformance.perf.program import Workload


@dataclass(frozen=True)
class Spread:
    """Some measurements of one quantity: their median, the least and the greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Of one value or more; ValueError of none."""
        ordered = sorted(values)
        if not ordered:
            raise ValueError("no measurement")
        return cls(statistics.median(ordered), ordered[0], ordered[-1])


@dataclass(frozen=True)
class Timed:
    """One row that is timed. `seconds` and `mips` are by VMM, of CPU time; `ratio` is the first VMM's time to the
    second's, of the two runs of each pair."""

    name: str
    title: str
    instructions: int | None
    native_mips: float | None
    seconds: Mapping[str, Spread]
    ratio: Spread | None
    runs: int
    """Of each VMM."""

    def mips(self, vmm: str) -> float | None:
        """Million guest instructions a CPU second; None where their number is not known."""
        return self.instructions / self.seconds[vmm].median / 1e6 if self.instructions else None


@dataclass(frozen=True)
class Quantity:
    """One row of another kind: its values by VMM, in `unit`."""

    name: str
    title: str
    unit: str
    values: Mapping[str, Spread]


@dataclass(frozen=True)
class LinuxRuns:
    """Runs of the Linux guest by VMM's name, in the order of the pairs; the native run; one run of a VMM whose guest's
    TSC counts instructions."""

    runs: Mapping[str, Sequence[Run]]
    native: Run
    counted: Run


Samples = Mapping[str, Mapping[str, Sequence[Sample]]]
"""By row's name, then by VMM's, in the order of the pairs."""


@dataclass(frozen=True)
class Measured:
    """What was measured. Start-up times are wall seconds by VMM's name; `parts` are the rows of suite.Part."""

    linux: LinuxRuns | None
    starts: Mapping[str, Sequence[float]]
    parts: Samples = field(default_factory=dict)


def timed(linux: LinuxRuns, workloads: Sequence[Workload], boot: bool = True) -> list[Timed]:
    """The timed rows of the Linux guest: boot, then the workloads."""
    rows = []
    if boot:
        seconds = {vmm: [run.boot for run in runs] for vmm, runs in linux.runs.items()}
        rows.append(_timed("boot", "boot to init", linux.counted.boot_count, None, seconds))
    for each in workloads:
        seconds = {vmm: [run.sections[each.name].cpu for run in runs] for vmm, runs in linux.runs.items()}
        count = linux.counted.sections[each.name].ticks
        rows.append(_timed(each.name, each.title, count, linux.native.sections[each.name].cpu, seconds))
    return rows


def sampled(samples: Samples, titles: Mapping[str, str]) -> list[Timed]:
    """The timed rows of the other parts, in the order of `titles`, which names them."""
    rows = []
    for name, title in titles.items():
        if name in samples:
            counts = [sample.count for each in samples[name].values() for sample in each if sample.count is not None]
            seconds = {vmm: [sample.cpu for sample in each] for vmm, each in samples[name].items()}
            rows.append(_timed(name, title, counts[0] if counts else None, None, seconds))
    return rows


def _timed(
    name: str, title: str, count: int | None, native: float | None, seconds: Mapping[str, Sequence[float]]
) -> Timed:
    columns = list(seconds.values())
    return Timed(
        name=name,
        title=title,
        instructions=count,
        native_mips=count / native / 1e6 if count and native else None,
        seconds={vmm: Spread.of(values) for vmm, values in seconds.items()},
        ratio=Spread.of(ours / theirs for ours, theirs in zip(*columns, strict=True)) if len(columns) == 2 else None,
        runs=len(columns[0]),
    )


def quantities(measured: Measured, start: bool = True, memory: bool = True) -> list[Quantity]:
    """The rows that are not timed: start-up, and the memory of the Linux guest's VMM."""
    rows = []
    if start:
        spreads = {vmm: Spread.of(values) for vmm, values in measured.starts.items()}
        rows.append(Quantity("start", "process start to first guest instruction", "s", spreads))
    if memory and measured.linux:
        overheads = {
            vmm: [run.memory.overhead / MIB for run in runs if run.memory] for vmm, runs in measured.linux.runs.items()
        }
        spreads = {vmm: Spread.of(values) for vmm, values in overheads.items()}
        rows.append(Quantity("memory", "peak resident, without guest RAM", "MiB", spreads))
    return rows


def check(name: str, run: Run, right: Run) -> None:
    """Raises PerfError when a workload computed something else than on the host's own processor."""
    for workload, section in run.sections.items():
        expected = right.sections[workload].checksum
        if section.checksum != expected:
            raise PerfError(
                f"{name} computes {workload} wrong: checksum {section.checksum:016x}, the host's processor has "
                f"{expected:016x}"
            )
