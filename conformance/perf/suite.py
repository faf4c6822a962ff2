"""The whole measurement: VMMs in turn, pair after pair."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bringup.conformance.perf import figures, measure
from bringup.conformance.perf.figures import LinuxRuns, Measured
from bringup.conformance.perf.measure import Boot, Run, Sample, Vmm
from bringup.conformance.perf.program import Workload

LONG_PAIRS = 5
"""Long parts are measured in so many pairs at most."""

Note = Callable[[str], None]
"""Told what has just been done, a line at a time."""


class Part(Protocol):
    """A machine that gives one row or more."""

    long: bool
    """Does it take so long that it is measured in fewer pairs?"""

    def measure(self, vmm: Vmm) -> Mapping[str, Sample]:
        """Starts it once: its rows by name. PerfError: the guest does not get there, or computes something wrong."""


@dataclass(frozen=True)
class Plan:
    """What is measured of each VMM in each pair."""

    linux: Boot | None = None
    """The Linux guest, for boot, its workloads and memory."""
    workloads: Sequence[Workload] = ()
    """Of the Linux guest."""
    start: bool = False
    """The time to the first instruction, which takes a run of its own."""
    parts: Sequence[Part] = ()


def measure_all(vmms: Sequence[Vmm], plan: Plan, pairs: int, note: Note) -> Measured:
    """Runs each VMM `pairs` times, in turn and in alternating order so that a drift of the host hits all alike.

    Raises PerfError as `measure.follow` does, and for a VMM whose guest computes something wrong: its speed means
    nothing.
    """
    native = measure.run_native(plan.workloads) if plan.linux else None
    runs: dict[str, list[Run]] = {vmm.name: [] for vmm in vmms}
    starts: dict[str, list[float]] = {vmm.name: [] for vmm in vmms}
    parts: dict[str, dict[str, list[Sample]]] = {}
    for pair in range(pairs):
        order = vmms if pair % 2 == 0 else list(reversed(vmms))
        for vmm in order:
            if plan.start:
                starts[vmm.name].append(measure.first_instruction(vmm))
            if plan.linux and native:
                run = _checked(vmm, plan.linux, plan.workloads, native)
                runs[vmm.name].append(run)
                rest = sum(section.cpu for section in run.sections.values())
                note(f"{pair + 1}/{pairs} {vmm.name}: boot {run.boot:.2f} CPU s, workloads {rest:.2f} CPU s")
        for part in plan.parts:
            if part.long and pair >= LONG_PAIRS:
                continue
            for vmm in order:
                taken = part.measure(vmm)
                for name, sample in taken.items():
                    columns = parts.setdefault(name, {each.name: [] for each in vmms})
                    columns[vmm.name].append(sample)
                figures_taken = ", ".join(f"{name} {sample.cpu:.2f} CPU s" for name, sample in taken.items())
                note(f"{pair + 1}/{pairs} {vmm.name}: {figures_taken}")
    linux = None
    if plan.linux and native:
        linux = LinuxRuns(runs, native, _counted(vmms, plan.linux, plan.workloads, native, runs, note))
    return Measured(linux, starts, parts)


def _counted(
    vmms: Sequence[Vmm],
    boot: Boot,
    workloads: Sequence[Workload],
    native: Run,
    runs: Mapping[str, Sequence[Run]],
    note: Note,
) -> Run:
    """A run in which instructions were counted: one more where none of the VMMs does."""
    exact = next((vmm for vmm in vmms if vmm.exact), None)
    if exact is not None:
        return runs[exact.name][0]
    note("counting instructions: one more run, of qemu -icount")
    return _checked(measure.qemu(counting=True), boot, workloads, native)


def _checked(vmm: Vmm, boot: Boot, workloads: Sequence[Workload], native: Run) -> Run:
    run = measure.run(vmm, boot, workloads)
    figures.check(vmm.name, run, native)
    return run


def miscounts(measured: Measured, vmms: Sequence[Vmm]) -> list[str]:
    """Where a VMM that counts exactly gave different counts in two runs: a sentence each."""
    complaints = []
    for vmm in vmms:
        if not vmm.exact:
            continue
        counts: dict[str, set[int | None]] = {}
        if measured.linux:
            runs = measured.linux.runs[vmm.name]
            counts |= {name: {run.sections[name].ticks for run in runs} for name in runs[0].sections}
            counts["boot"] = {run.boot_count for run in runs}
        counts |= {name: {sample.count for sample in each[vmm.name]} for name, each in measured.parts.items()}
        for name, all_seen in counts.items():
            seen = {count for count in all_seen if count is not None}
            if len(seen) > 1:
                complaints.append(f"{vmm.name} counted {name} differently: {min(seen):,} to {max(seen):,} instructions")
    return complaints
