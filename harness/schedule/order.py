"""Longest first: how long each attempt took in earlier runs, so that a run does not end on its longest guest alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from bringup.harness.errors import HarnessError
from bringup.harness.records.schema import End, Start
from bringup.harness.records.writer import read_run
from bringup.harness.session import runs

T = TypeVar("T")

LOOK_BACK = 5
"""Runs that are read."""


def durations(output: Path) -> dict[str, float]:
    """Host seconds of each history key, from the newest of the last runs that knows it. A run that cannot be read is
    passed over: without history the order is the guests' own."""
    found: dict[str, float] = {}
    for run in runs(output)[:LOOK_BACK]:
        try:
            records = read_run(run)
        except (HarnessError, OSError):
            continue
        keys = {record.attempt: record.history for record in records if isinstance(record, Start)}
        for record in records:
            if isinstance(record, End) and record.position is not None and record.attempt in keys:
                found.setdefault(keys[record.attempt], record.position.host)
    return found


def longest_first(items: Iterable[T], seconds: Callable[[T], float | None]) -> list[T]:
    """Items of known or guessed length, longest first; then the rest (None) as they were."""
    lengths = [(item, seconds(item)) for item in items]
    ours = [(item, length) for item, length in lengths if length is not None]
    ours.sort(key=lambda each: -each[1])
    return [item for item, _ in ours] + [item for item, length in lengths if length is None]
