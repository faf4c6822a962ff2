"""The whole measurement: VMMs in turn, pair after pair."""

from collections.abc import Callable, Sequence

from bringup.conformance.perf import figures, measure
from bringup.conformance.perf.measure import Boot, Run, Vmm
from bringup.conformance.perf.program import Workload

Note = Callable[[str], None]
"""Told what has just been done, a line at a time."""


def measure_all(
    vmms: Sequence[Vmm], boot: Boot, workloads: Sequence[Workload], pairs: int, start: bool, note: Note
) -> figures.Measured:
    """Runs each VMM `pairs` times, in turn and in alternating order so that a drift of the host hits all alike.

    `start`: also what takes a run of its own, the time to the first instruction.
    Raises PerfError as `measure.follow` does, and for a VMM whose guest computes something wrong: its speed means
    nothing.
    """
    native = measure.run_native(workloads)
    runs: dict[str, list[Run]] = {vmm.name: [] for vmm in vmms}
    starts: dict[str, list[float]] = {vmm.name: [] for vmm in vmms}
    for pair in range(pairs):
        for vmm in vmms if pair % 2 == 0 else list(reversed(vmms)):
            if start:
                starts[vmm.name].append(measure.first_instruction(vmm))
            run = _checked(vmm, boot, workloads, native)
            runs[vmm.name].append(run)
            rest = sum(section.cpu for section in run.sections.values())
            note(f"{pair + 1}/{pairs} {vmm.name}: boot {run.boot:.2f} CPU s, workloads {rest:.2f} CPU s")
    exact = next((vmm for vmm in vmms if vmm.exact), None)
    if exact is not None:
        counted = runs[exact.name][0]
    else:
        note("counting instructions: one more run, of qemu -icount")
        counted = _checked(measure.qemu(counting=True), boot, workloads, native)
    return figures.Measured(runs, starts, native, counted)


def _checked(vmm: Vmm, boot: Boot, workloads: Sequence[Workload], native: Run) -> Run:
    run = measure.run(vmm, boot, workloads)
    figures.check(vmm.name, run, native)
    return run


def miscounts(measured: figures.Measured, vmms: Sequence[Vmm]) -> list[str]:
    """Where a VMM that counts exactly gave different counts in two runs: a sentence each."""
    complaints = []
    for vmm in vmms:
        if not vmm.exact:
            continue
        runs = measured.runs[vmm.name]
        counts = {name: {run.sections[name].ticks for run in runs} for name in runs[0].sections}
        counts["boot"] = {run.boot_count for run in runs if run.boot_count is not None}
        complaints += [
            f"{vmm.name} counted {name} differently: {min(seen):,} to {max(seen):,} instructions"
            for name, seen in counts.items()
            if len(seen) > 1
        ]
    return complaints
