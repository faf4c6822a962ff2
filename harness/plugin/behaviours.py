"""The table of vCPU behaviours that closes a run: counts by VMM, and every one that is not the same everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import pytest

from bringup.harness.outcome import Outcome
from bringup.harness.records.schema import End, Record, Start

WORDS = {Outcome.PASSED: "pass", Outcome.SKIPPED: "skip", Outcome.FAILED: "FAIL", Outcome.DIED: "DIED"}
UNFINISHED = "unfinished"
WHY = 90
"""Characters of a reason."""


def show(terminal: pytest.TerminalReporter, records: Iterable[Record]) -> None:
    """Writes it, when there were behaviours."""
    found = collect(records)
    if not found:
        return
    vmms = sorted({vmm for results in found.values() for vmm in results})
    terminal.section("vCPU behaviours on VMMs")
    width = max(map(len, ("behaviour", *found)))
    terminal.write_line("  ".join(["behaviour".ljust(width), *(vmm.ljust(10) for vmm in vmms)]).rstrip(), bold=True)
    for name, results in found.items():
        words = [_word(results[vmm]) if vmm in results else "-" for vmm in vmms]
        if set(words) == {WORDS[Outcome.PASSED]}:
            continue
        cells = [word.ljust(max(10, len(vmm))) for word, vmm in zip(words, vmms, strict=True)]
        why = next((end.title for end in results.values() if end and end.title and _bad(end)), "") or next(
            (end.title for end in results.values() if end and end.title), ""
        )
        expected = not any(end is None or (_bad(end) and not end.expected) for end in results.values())
        line = "  ".join([name.ljust(width), *cells, why[:WHY]]).rstrip()
        terminal.write_line(line, **{"yellow" if expected else "red": True})
    for vmm in vmms:
        counts = Counter(_word(results[vmm]) for results in found.values() if vmm in results)
        known = sum(1 for results in found.values() if (end := results.get(vmm)) and end.expected)
        summary = ", ".join(f"{count} {word}" for word, count in counts.most_common())
        terminal.write_line(f"{vmm}: {summary}{f' ({known} known)' if known else ''}")


def collect(records: Iterable[Record]) -> dict[str, Mapping[str, End | None]]:
    """By behaviour and VMM, in the order of the program; None: it was running when its process was killed."""
    records = list(records)
    ends = {record.attempt: record for record in records if isinstance(record, End)}
    found: dict[str, dict[str, End | None]] = {}
    for record in records:
        if isinstance(record, Start) and record.kind == "behaviour":
            found.setdefault(record.test, {})[record.vmm] = ends.get(record.attempt)
    return dict(found)


def _bad(end: End) -> bool:
    return end.outcome not in (Outcome.PASSED, Outcome.SKIPPED)


def _word(end: End | None) -> str:
    return UNFINISHED if end is None else WORDS.get(end.outcome, end.outcome.value)
