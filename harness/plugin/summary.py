"""The table that closes a run: each guest on each VMM, how deep it got, what it took, and why not further."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pytest

from bringup.harness.errors import HarnessError
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.plugin import behaviours
from bringup.harness.plugin.run import PluginRun
from bringup.harness.records.schema import End, Record, Start
from bringup.harness.records.writer import read_run

COLORS = {Outcome.PASSED: "green", Outcome.SKIPPED: "yellow"}
HEAD = ("guest", "VMM", "test", "rungs", "instructions", "host s", "CPU s", "outcome")
LAST = "outcome"
WHY = 100
"""Characters of a reason."""


class Row(NamedTuple):
    """An attempt."""

    cells: tuple[str, ...]
    color: str


def show(terminal: pytest.TerminalReporter, run: PluginRun) -> None:
    """Writes the table, where the run's records are, and what leaked."""
    if not run.is_controller or not run.begun:
        return
    try:
        records = read_run(run.folder)
    except (HarnessError, OSError) as error:
        terminal.write_line(f"bringup: {error}", red=True)
        return
    table = rows(records)
    if table:
        terminal.section("guests on VMMs")
        _write(terminal, table)
        terminal.write_line(_totals(records))
    behaviours.show(terminal, records)
    terminal.write_line(f"records: {run.folder}")
    for leak in run.leaks:
        terminal.write_line(f"left behind: {leak}", red=True)


def rows(records: Iterable[Record]) -> list[Row]:
    """A row for each attempt at a guest, by guest, test and VMM; behaviours have a table of their own."""
    ends = {record.attempt: record for record in records if isinstance(record, End)}
    starts = [record for record in records if isinstance(record, Start) and record.kind != "behaviour"]
    starts.sort(key=lambda start: (start.guest, start.kind != "boot", start.test, start.vmm))
    return [_row(start, ends.get(start.attempt)) for start in starts]


def _row(start: Start, end: End | None) -> Row:
    name = (start.guest, start.vmm, start.test)
    if end is None:
        return Row((*name, "", "", "", "", "unfinished: it was running when its process was killed"), "red")
    instructions = seconds = ""
    if end.position is not None:
        seconds = f"{end.position.host:.1f}"
        if end.position.instructions is not None:
            instructions = f"{end.position.instructions:,}"
    skipped = end.outcome is Outcome.SKIPPED
    return Row(
        (
            *name,
            "" if skipped or not end.of else f"{end.depth}/{end.of}",
            instructions,
            seconds,
            "" if end.cpu_seconds is None else f"{end.cpu_seconds:.1f}",
            _outcome(end),
        ),
        "yellow" if end.expected else COLORS.get(end.outcome, "red"),
    )


def _outcome(end: End) -> str:
    if end.outcome is Outcome.PASSED:
        return "passed"
    whose = "" if end.blame is Blame.NOBODY else f" ({end.blame.value})"
    expected = f"expected, {end.expected}: " if end.expected else ""
    return f"{expected}{end.outcome.value}{whose}: {end.title}"[:WHY]


def _write(terminal: pytest.TerminalReporter, table: Sequence[Row]) -> None:
    widths = [max(map(len, column)) for column in zip(HEAD, *(row.cells for row in table), strict=True)]
    right = {"rungs", "instructions", "host s", "CPU s"}

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if head in right else cell if head == LAST else cell.ljust(width)
            for cell, width, head in zip(cells, widths, HEAD, strict=True)
        )
        return "  ".join(padded).rstrip()

    terminal.write_line(line(HEAD), bold=True)
    for row in table:
        terminal.write_line(line(row.cells), **{row.color: True})


def _totals(records: Sequence[Record]) -> str:
    guests = {record.attempt for record in records if isinstance(record, Start) and record.kind != "behaviour"}
    ends = [record for record in records if isinstance(record, End) and record.attempt in guests]
    counts = Counter(end.outcome.value for end in ends)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
