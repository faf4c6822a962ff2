"""`bringup guests table [RUN...]`: guests by VMM, out of the records of runs; how docs/guests.md has them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from bringup.harness.errors import HarnessError
from bringup.harness.outcome import Outcome
from bringup.harness.page import Page
from bringup.harness.records.results import Result, imitations, results
from bringup.harness.records.schema import Record
from bringup.harness.records.schema import Run as RunBegun
from bringup.harness.records.writer import SUFFIX, read_run
from bringup.harness.session import LATEST, OUTPUT

PAGE = Path("docs/guests.md")
FIVE = "five_boots_are_one"
"""The test of conformance/lifecycle."""
_ROW = re.compile(r"\| `([^`]+)`")


def table(arguments: Sequence[str]) -> int:
    """The command; 0, or an error of one line."""
    parser = argparse.ArgumentParser(
        prog="bringup guests table",
        description="A table of guests on VMMs, in Markdown, by the records of runs: of each guest on each VMM the "
        "newest ladder counts, and the newest five boots.",
    )
    parser.add_argument(
        "runs", nargs="*", type=Path, default=[OUTPUT / LATEST], metavar="RUN", help=f"folders ({OUTPUT / LATEST})"
    )
    parser.add_argument(
        "--write",
        type=Path,
        nargs="?",
        const=PAGE,
        metavar="PAGE",
        help=f"keep it in a page ({PAGE}), whose rows of other guests stay",
    )
    options = parser.parse_args(arguments)
    page = Page(options.write) if options.write else None
    lines = markdown([record for run in options.runs for record in _read(run)])
    if page is None:
        print("\n".join(lines))
        return 0
    lines, stayed = merged(lines, page.kept.splitlines())
    page.keep(lines)
    if stayed:
        print(f"bringup: {page.path}: rows of guests that these runs have not booted stay: {', '.join(stayed)}")
    return 0


def _read(run: Path) -> list[Record]:
    if not any(run.glob(f"*{SUFFIX}")):
        raise HarnessError(f"{run}: no run's folder: it has no records")
    return read_run(run)


def markdown(records: Sequence[Record]) -> list[str]:
    """What VMMs and host these were, and the table. HarnessError: no guest's ladder is among them."""
    newest = sorted(results(records), key=lambda one: one.start.at)
    ours = imitations(newest)
    newest = [one for one in newest if one.start.guest not in ours]
    ladders = {
        (one.start.guest, one.start.vmm): one
        for one in newest
        if one.start.kind == "boot" and one.outcome is not Outcome.SKIPPED
    }
    fives = {
        (one.start.guest, one.start.vmm): one
        for one in newest
        if one.start.test == FIVE and one.outcome not in (Outcome.SKIPPED, Outcome.UNFINISHED)
    }
    if not ladders:
        raise HarnessError("these runs have booted no guest")
    vmms = sorted({vmm for _, vmm in ladders})
    counting = {vmm for (_, vmm), one in ladders.items() if any(boot.instructions is not None for boot in one.boots)}
    head = ["guest", "last rung"]
    for vmm in vmms:
        head += [f"`{vmm}`", *(["instructions", "five times"] if vmm in counting else []), "CPU s"]
    rows = []
    for guest in sorted({guest for guest, _ in ladders}):
        cells = [f"`{guest}`", _last_rung(ladders[guest, vmm] for vmm in vmms if (guest, vmm) in ladders)]
        for vmm in vmms:
            ladder = ladders.get((guest, vmm))
            cells.append(_depth(ladder))
            if vmm in counting:
                cells += [_count(ladder), _equal(ladder, fives.get((guest, vmm)))]
            cells.append(_cpu(ladder))
        rows.append(cells)
    rule = ["---"] * len(head)
    return [*_about(records, ladders.values()), "", *(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))]


def _about(records: Iterable[Record], ladders: Iterable[Result]) -> list[str]:
    """The VMMs' versions, and the host of the last run."""
    hosts = [record.host for record in records if isinstance(record, RunBegun)]
    versions = {boot.machine.vmm.name: boot.machine.vmm.version for one in ladders for boot in one.boots}
    told = [f"`{name}` is {versions[name]}." for name in sorted(versions)]
    return [" ".join(told), *([f"On {hosts[-1].cpus} processors, {hosts[-1].cpu}."] if hosts else [])]


def _last_rung(ladders: Iterable[Result]) -> str:
    """The highest that the guest reached on any of the VMMs."""
    rungs = [rung for ladder in ladders for boot in ladder.boots for rung in boot.rungs]
    return f"`{max(rungs, key=lambda rung: rung.index).rung}`" if rungs else ""


def _depth(ladder: Result | None) -> str:
    """`7/7`; of one that did not pass, what became of it, too."""
    if ladder is None:
        return ""
    if ladder.end is None:
        return ladder.outcome.value
    depth = f"{ladder.end.depth}/{ladder.end.of}"
    return depth if ladder.outcome is Outcome.PASSED else f"{depth} {ladder.outcome.value}"


def _count(ladder: Result | None) -> str:
    count = ladder.boots[-1].instructions if ladder and ladder.boots else None
    return "" if count is None else f"{count:,}"


def _equal(ladder: Result | None, five: Result | None) -> str:
    """What five more boots had for counts, beside the ladder's."""
    if five is None:
        return ""
    if five.outcome is not Outcome.PASSED:
        return str(five.outcome.value)
    counts = {boot.instructions for boot in five.boots}
    if ladder and ladder.boots and counts == {ladder.boots[-1].instructions}:
        return "equal"
    return f"equal, {', '.join(f'{count:,}' for count in counts if count is not None)}"


def _cpu(ladder: Result | None) -> str:
    seconds = ladder.end.cpu_seconds if ladder and ladder.end else None
    return "" if seconds is None else f"{seconds:.1f}"


def merged(new: Sequence[str], kept: Sequence[str]) -> tuple[list[str], list[str]]:
    """The new table with those rows of the kept one whose guests it has not, by name, and these names. HarnessError:
    the kept one has other columns."""
    head = next(index for index, line in enumerate(new) if line.startswith("| guest"))
    if (before := next((line for line in kept if line.startswith("| guest")), None)) not in (None, new[head]):
        raise HarnessError(f"the page's table has other columns ({before}): these runs are of other VMMs")
    rows = {match[1]: line for line in new if (match := _ROW.match(line))}
    stay = {match[1]: line for line in kept if (match := _ROW.match(line)) and match[1] not in rows}
    everything = rows | stay
    return [*new[: head + 2], *(everything[name] for name in sorted(everything))], sorted(stay)
