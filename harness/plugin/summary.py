"""The table that closes a run: each guest on each VMM, how deep it got, what that took, and why not further."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from bringup.guests.definition import SYNTHETIC
from bringup.harness.errors import HarnessError
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.plugin import behaviours
from bringup.harness.plugin.run import PluginRun
from bringup.harness.records.schema import HOST_CLOCK, End, Record, Start
from bringup.harness.records.writer import read_run

HEAD = ("guest", "VMM", "rungs", "instructions", "guest s", "host s", "CPU s", "tests", "outcome")
RIGHT = frozenset(HEAD[2:-1])
WHY = 120
"""Characters of a reason."""
KILLED = "it was running when its process was killed"


@dataclass(frozen=True)
class Result:
    """An attempt and what became of it."""

    start: Start
    end: End | None
    """None: whoever ran it was killed."""

    @property
    def outcome(self) -> Outcome:
        """What happened."""
        return Outcome.UNFINISHED if self.end is None else self.end.outcome

    @property
    def is_bad(self) -> bool:
        """Neither passed nor skipped nor expected."""
        return self.outcome not in (Outcome.PASSED, Outcome.SKIPPED) and not (self.end and self.end.expected)

    @property
    def words(self) -> str:
        """Outcome, blame and title in one line."""
        if self.end is None:
            return f"{Outcome.UNFINISHED.value}: {KILLED}"
        if self.outcome is Outcome.PASSED:
            return ", ".join((self.outcome.value, *self.end.labels))
        whose = "" if self.end.blame is Blame.NOBODY else f" ({self.end.blame.value})"
        expected = f"expected, {self.end.expected}: " if self.end.expected else ""
        return f"{expected}{self.outcome.value}{whose}: {self.end.title}"[:WHY]


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


def results(records: Iterable[Record]) -> list[Result]:
    """All attempts, by guest, VMM and test."""
    records = list(records)
    ends = {record.attempt: record for record in records if isinstance(record, End)}
    found = [Result(record, ends.get(record.attempt)) for record in records if isinstance(record, Start)]
    return sorted(found, key=lambda one: (one.start.guest, one.start.vmm, one.start.kind != "boot", one.start.test))


def parts(found: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """What goes into which table: programs that only speak like guests are not among these."""
    imitations = {one.start.guest for one in found if one.end and SYNTHETIC in one.end.labels}
    tables = {
        "guests on VMMs": [one for one in found if one.start.guest not in imitations],
        "programs of ours that speak like guests": [one for one in found if one.start.guest in imitations],
    }
    return [(heading, part) for heading, part in tables.items() if part]


def rows(found: Iterable[Result]) -> list[Row]:
    """A row for each guest on each VMM."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in found:
        groups.setdefault((result.start.guest, result.start.vmm), []).append(result)
    return [_row(guest, vmm, group) for (guest, vmm), group in groups.items()]


def _row(guest: str, vmm: str, group: Sequence[Result]) -> Row:
    boots = [result for result in group if result.start.kind == "boot"]
    tests = [result for result in group if result.start.kind != "boot" and result.outcome is not Outcome.SKIPPED]
    passed = sum(result.outcome is Outcome.PASSED for result in tests)
    boot = min(boots, key=_depth) if boots else None
    end = boot.end if boot else None
    bad = sum(result.is_bad for result in tests)
    words = [boot.words] if boot else []
    words += [f"{bad} of {len(tests)} tests failed"] if bad else []
    if not words:
        # Without a ladder: what any of the tests that count says.
        words = [next((result.words for result in tests if result.outcome is Outcome.PASSED), group[0].words)]
    cells = (guest, vmm, *_figures(end), f"{passed}/{len(tests)}" if tests else "", "; ".join(words))
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
    """A line for each test that did not pass, and whether that is bad; where the bundle is of what went wrong; what
    labels mean."""
    lines: list[tuple[str, bool]] = []
    skipped: dict[tuple[str, str, str], int] = {}
    for result in found:
        start, end = result.start, result.end
        where = f"{start.guest} on {start.vmm}"
        if result.outcome is Outcome.SKIPPED and start.kind != "boot":
            key = (start.vmm, start.test, result.words)
            skipped[key] = skipped.get(key, 0) + 1
        elif result.outcome is not Outcome.PASSED and start.kind != "boot":
            lines.append((f"{where}, {start.test}: {result.words}", result.is_bad))
        if end and end.bundle:
            lines.append((f"{where}, {start.test}: what is known about it: {end.bundle}/", False))
    for (vmm, test, words), count in skipped.items():
        lines.append((f"{test} on {vmm}, {count} guest{'s' if count > 1 else ''}: {words}", False))
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
