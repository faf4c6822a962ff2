"""The table that closes a run: each guest on each VMM, how deep it got, what that took, and why not further."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pytest

from bringup.harness.errors import HarnessError
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.plugin import behaviours
from bringup.harness.plugin.run import PluginRun
from bringup.harness.records.results import Result, imitations, results
from bringup.harness.records.schema import HOST_CLOCK, End, Record, Start
from bringup.harness.records.writer import read_run

HEAD = ("guest", "VMM", "rungs", "instructions", "guest s", "host s", "CPU s", "tests", "outcome")
RIGHT = frozenset(HEAD[2:-1])
WHY = 120
"""Characters of a reason."""
KILLED = "it was running when its process was killed"


class Row(NamedTuple):
    """A guest on a VMM."""

    cells: tuple[str, ...]
    color: str | None


def show(terminal: pytest.TerminalReporter, run: PluginRun) -> None:
    """Writes the table, what did not pass and why, where the run's records are, and what leaked."""
    try:
        records = read_run(run.folder)
    except (HarnessError, OSError) as error:
        terminal.write_line(f"bringup: {error}", red=True)
        return
    found = results(record for record in records if not _of_behaviour(record))
    for heading, part in parts(found):
        terminal.section(heading)
        _write(terminal, rows(part))
        for line, bad in remarks(part):
            terminal.write_line(line, **({"red": True} if bad else {}))
    behaviours.show(terminal, records)
    terminal.write_line(f"records: {run.folder}")
    for leak in run.leaks:
        terminal.write_line(f"left behind: {leak}", red=True)


def _of_behaviour(record: Record) -> bool:
    """Behaviours have a table of their own."""
    return isinstance(record, Start) and record.kind == "behaviour"


def parts(found: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """What goes into which table: programs that only speak like guests are not among these."""
    ours = imitations(found)
    tables = {
        "guests on VMMs": [one for one in found if one.start.guest not in ours],
        "programs of ours that speak like guests": [one for one in found if one.start.guest in ours],
    }
    return [(heading, part) for heading, part in tables.items() if part]


def rows(found: Iterable[Result]) -> list[Row]:
    """A row for each guest on each VMM."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in found:
        groups.setdefault((result.start.guest, result.start.vmm), []).append(result)
    return [_row(guest, vmm, group) for (guest, vmm), group in groups.items()]


def words(result: Result) -> str:
    """Outcome, blame and title in one line."""
    outcome, end = result.outcome, result.end
    if end is None:
        return f"{outcome.value}: {KILLED}"
    if outcome is Outcome.PASSED:
        return ", ".join((outcome.value, *end.labels))
    whose = "" if end.blame is Blame.NOBODY else f" ({end.blame.value})"
    expected = f"expected, {end.expected}: " if end.expected else ""
    return f"{expected}{outcome.value}{whose}: {end.title}"[:WHY]


def _row(guest: str, vmm: str, group: Sequence[Result]) -> Row:
    boots = [result for result in group if result.start.kind == "boot"]
    tests = [result for result in group if result.start.kind != "boot" and result.outcome is not Outcome.SKIPPED]
    passed = sum(result.outcome is Outcome.PASSED for result in tests)
    boot = min(boots, key=_depth) if boots else None
    end = boot.end if boot else None
    bad = sum(result.is_bad for result in tests)
    said = [words(boot)] if boot else []
    said += [f"{bad} of {len(tests)} tests failed"] if bad else []
    if not said:
        # Without a ladder: what any of the tests that count says.
        said = [words(next((result for result in tests if result.outcome is Outcome.PASSED), group[0]))]
    cells = (guest, vmm, *_figures(end), f"{passed}/{len(tests)}" if tests else "", "; ".join(said))
    return Row(cells, _color(group, boot))


def _depth(boot: Result) -> tuple[bool, int]:
    """The worst of several boots is the one that counts."""
    return (boot.outcome is Outcome.PASSED, boot.end.depth if boot.end else 0)


def _figures(end: End | None) -> tuple[str, ...]:
    """Rungs, instructions, guest seconds, host seconds, CPU seconds."""
    if end is None or end.position is None:
        return ("",) * 5
    at = end.position
    return (
        f"{end.depth}/{end.of}",
        "" if at.instructions is None else f"{at.instructions:,}",
        "" if at.guest_ns is None else f"{at.guest_ns / 1e9:.3f}",
        f"{at.host:.1f}",
        "" if end.cpu_seconds is None else f"{end.cpu_seconds:.1f}",
    )


def _color(group: Sequence[Result], boot: Result | None) -> str | None:
    """Green is for a guest that climbed its whole ladder, in time of its own, and failed no test."""
    if any(result.is_bad for result in group):
        return "red"
    if any(result.end and result.end.expected for result in group) or (boot and boot.outcome is Outcome.SKIPPED):
        return "yellow"
    green = boot is not None and boot.end is not None and boot.outcome is Outcome.PASSED and not boot.end.labels
    return "green" if green else None


def remarks(found: Iterable[Result]) -> list[tuple[str, bool]]:
    """A line for each test that did not pass, and whether that is bad; counts of one that booted several times; where
    the bundle is of what went wrong; what labels mean."""
    lines: list[tuple[str, bool]] = []
    skipped: dict[tuple[str, str, str], set[str]] = {}
    for result in found:
        start, end = result.start, result.end
        where = f"{start.guest} on {start.vmm}"
        if result.outcome is Outcome.SKIPPED and start.kind != "boot":
            skipped.setdefault((start.vmm, start.test, words(result)), set()).add(start.guest)
        elif result.outcome is not Outcome.PASSED and start.kind != "boot":
            lines.append((f"{where}, {start.test}: {words(result)}", result.is_bad))
        counts = [boot.instructions for boot in result.boots]
        if len(counts) > 1 and None not in counts:
            each = dict.fromkeys(f"{count:,}" for count in counts)
            lines.append(
                (f"{where}, {start.test}: {len(counts)} boots, instructions of each: {', '.join(each)}", False)
            )
        if end and end.bundle:
            lines.append((f"{where}, {start.test}: what is known about it: {end.bundle}/", False))
    for (vmm, test, why), guests in skipped.items():
        lines.append((f"{test} on {vmm}, {len(guests)} guest{'s' if len(guests) > 1 else ''}: {why}", False))
    if any(result.end and HOST_CLOCK in result.end.labels for result in found):
        lines.append((f"{HOST_CLOCK}: in the host's time, which no second run repeats", False))
    return lines


def _write(terminal: pytest.TerminalReporter, table: Sequence[Row]) -> None:
    widths = [max(map(len, column)) for column in zip(HEAD, *(row.cells for row in table), strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if head in RIGHT else cell.ljust(width)
            for cell, width, head in zip(cells, widths, HEAD, strict=True)
        )
        return "  ".join(padded).rstrip()

    terminal.write_line(line(HEAD), bold=True)
    for row in table:
        terminal.write_line(line(row.cells), **({row.color: True} if row.color else {}))
