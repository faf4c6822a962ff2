"""Longest first: how long each attempt took in earlier runs, so that a run does not end on its longest guest alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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


def longest_first(items: Iterable[T], key: Callable[[T], str | None], known: Mapping[str, float]) -> list[T]:
    """Items with a history key, longest first, those of unknown length before them (they may be the longest); then
    the rest as they were."""
    ours: list[T] = []
    others: list[T] = []
    for item in items:
        (others if key(item) is None else ours).append(item)
    return sorted(ours, key=lambda item: -known.get(key(item) or "", float("inf"))) + others
