"""Longest first."""

from __future__ import annotations

from pathlib import Path

from bringup.harness.limits import Scale
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.records.schema import End, Position, Start
from bringup.harness.schedule.order import durations, longest_first
from bringup.harness.session import Session, create_run


def attempt(session: Session, guest: str, seconds: float) -> None:
    history = f"boot/{guest}/ladder/v"
    begun = Start(
        run=session.run, at=1.0, attempt=guest, history=history, kind="boot", guest=guest, test="ladder", vmm="v"
    )
    session.records.write(begun)
    ended = End(
        run=session.run, at=2.0, attempt=guest, outcome=Outcome.PASSED, blame=Blame.NOBODY,
        position=Position(host=seconds),
    )  # fmt: skip
    session.records.write(ended)


def test_the_newest_run_that_knows_counts(tmp_path: Path) -> None:
    for number, guests in enumerate(({"a": 1.0, "b": 2.0}, {"b": 20.0})):
        folder = create_run(tmp_path)
        renamed = folder.rename(tmp_path / f"2026010{number + 1}-000000-000000")
        session = Session(renamed, (), scale=Scale())
        for guest, seconds in guests.items():
            attempt(session, guest, seconds)
        session.finish(0)
    assert durations(tmp_path) == {"boot/a/ladder/v": 1.0, "boot/b/ladder/v": 20.0}


def test_a_run_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    folder = create_run(tmp_path)
    (folder / "run.records.jsonl").write_text("nonsense\n")
    assert durations(tmp_path) == {}
    assert durations(tmp_path / "nowhere") == {}


def test_the_order() -> None:
    lengths = {"short": 1.0, "long": 9.0, "longer": 10.0, "as long": 9.0}
    items = ["plain", "short", "long", "as long", "other", "longer"]
    assert longest_first(items, lengths.get) == ["longer", "long", "as long", "short", "plain", "other"]
