"""The table that closes a run: what it says of attempts, and what it colours green."""

from __future__ import annotations

import pytest

from bringup.harness.outcome import Blame, Outcome
from bringup.harness.plugin.summary import Row, parts, remarks, rows
from bringup.harness.records.results import Result, results
from bringup.harness.records.schema import End, Position, Record, Start

PASSED = {"outcome": Outcome.PASSED, "blame": Blame.NOBODY, "depth": 3, "of": 3}
SKIPPED = {"outcome": Outcome.SKIPPED, "blame": Blame.MEDIA, "title": "no disk"}
FELL = {"outcome": Outcome.STUCK, "blame": Blame.GUEST, "title": "60 s are spent", "depth": 1, "of": 3}


def attempt(test: str, end: dict[str, object] | None, guest: str = "tiny", vmm: str = "fake") -> list[Record]:
    """The lines of one: killed when there is no end."""
    kind = "boot" if test == "ladder" else "test"
    key = f"{guest}-{vmm}-{test}-{id(end)}"
    begun = Start(
        run="r", at=1.0, attempt=key, history=f"{kind}/{guest}/{test}/{vmm}",
        kind="boot" if kind == "boot" else "test", guest=guest, test=test, vmm=vmm,
    )  # fmt: skip
    if end is None:
        return [begun]
    position = Position(instructions=1234567, guest_ns=1_500_000_000, host=2.25)
    return [begun, End(run="r", at=2.0, attempt=key, position=position, **end)]  # type: ignore[arg-type]


def row(*lines: list[Record]) -> Row:
    [found] = rows(results(record for each in lines for record in each))
    return found


def test_a_ladder_and_its_figures() -> None:
    found = row(attempt("ladder", PASSED), attempt("pipe", PASSED), attempt("disk", SKIPPED))
    assert found.cells == ("tiny", "fake", "3/3", "1,234,567", "1.500", "2.2", "", "1/1", "passed")
    assert found.color == "green"


@pytest.mark.parametrize(
    ("lines", "color", "outcome"),
    [
        ([attempt("ladder", {**PASSED, "labels": ("host-clock",)})], None, "passed, host-clock"),
        ([attempt("ladder", {**PASSED, "labels": ("synthetic",)})], None, "passed, synthetic"),
        ([attempt("pipe", {**PASSED, "labels": ("host-clock",)})], None, "passed, host-clock"),
        ([attempt("pipe", PASSED)], None, "passed"),
        ([attempt("ladder", SKIPPED)], "yellow", "skipped (media): no disk"),
        ([attempt("ladder", SKIPPED), attempt("pipe", PASSED)], "yellow", "skipped (media): no disk"),
        ([attempt("ladder", FELL)], "red", "stuck (guest): 60 s are spent"),
        ([attempt("ladder", PASSED), attempt("pipe", FELL)], "red", "passed; 1 of 1 tests failed"),
        ([attempt("ladder", None)], "red", "unfinished: it was running when its process was killed"),
        ([attempt("ladder", {**FELL, "expected": "issue 7"})], "yellow",
         "expected, issue 7: stuck (guest): 60 s are spent"),
        ([attempt("ladder", PASSED), attempt("ladder", {**FELL})], "red", "stuck (guest): 60 s are spent"),
    ],
)  # fmt: skip
def test_only_a_ladder_in_virtual_time_is_green(lines: list[list[Record]], color: str | None, outcome: str) -> None:
    found = row(*lines)
    assert (found.color, found.cells[-1]) == (color, outcome)


def test_programs_that_speak_like_guests_have_a_table_of_their_own() -> None:
    imitation = attempt("ladder", {**PASSED, "labels": ("synthetic",)}, guest="synthetic-a")
    lines = [attempt("ladder", PASSED), imitation, attempt("ladder", None, guest="synthetic-a", vmm="other")]
    tables = parts(results(record for each in lines for record in each))
    assert [(heading, [one.start.guest for one in part]) for heading, part in tables] == [
        ("guests on VMMs", ["tiny"]),
        ("programs of ours that speak like guests", ["synthetic-a", "synthetic-a"]),
    ]
    assert parts([]) == []


def told(*lines: list[Record]) -> list[tuple[str, bool]]:
    found: list[Result] = results(record for each in lines for record in each)
    return remarks(found)


def test_what_did_not_pass_has_a_line() -> None:
    assert told(attempt("pipe", {**FELL, "bundle": "gw0-1"})) == [
        ("tiny on fake, pipe: stuck (guest): 60 s are spent", True),
        ("tiny on fake, pipe: what is known about it: gw0-1/", False),
    ]
    assert told(attempt("ladder", PASSED)) == []


def test_skips_for_one_reason_are_one_line() -> None:
    guests = [attempt("disk", SKIPPED, guest=name) for name in ("tiny", "large")]
    assert told(*guests) == [("disk on fake, 2 guests: skipped (media): no disk", False)]


def test_a_guest_that_skips_twice_is_one() -> None:
    assert told(attempt("disk", SKIPPED), attempt("disk", {**SKIPPED})) == [
        ("disk on fake, 1 guest: skipped (media): no disk", False)
    ]
