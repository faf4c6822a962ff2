"""The table of guests that is made of runs' records and kept in a page."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bringup.harness.catalogue import register
from bringup.harness.errors import HarnessError
from bringup.harness.guest_table import FIVE, markdown, merged, table
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.page import BEGIN, END
from bringup.harness.records.schema import (
    End,
    Host,
    MachineStarted,
    Position,
    Record,
    Run,
    RungReached,
    Start,
    VmmUsed,
)
from bringup.harness.records.writer import SUFFIX, RecordWriter

HOST = Host(
    cpu="a processor", cpus=2, memory=1 << 30, kernel="6", system="Debian 12", kvm="none", load=0.0, scale=1.0
)  # fmt: skip
RUNGS = ("kernel", "shell", "power-off")


def attempt(
    guest: str,
    vmm: str,
    *counts: int | None,
    test: str = "ladder",
    outcome: Outcome = Outcome.PASSED,
    depth: int = 3,
    at: float = 1.0,
) -> list[Record]:
    """An attempt with a boot for each of the counts, which its guest has at its last rung."""
    key = f"{guest}-{vmm}-{test}-{at}"
    kind = "boot" if test == "ladder" else "test"
    lines: list[Record] = [
        Start(
            run="r", at=at, attempt=key, history=f"{kind}/{guest}/{test}/{vmm}",
            kind="boot" if kind == "boot" else "test", guest=guest, test=test, vmm=vmm,
        )
    ]  # fmt: skip
    for count in counts:
        used = VmmUsed(name=vmm, version=f"{vmm} 1.0", definition="")
        lines.append(MachineStarted(run="r", at=at, attempt=key, vmm=used, command=(), pid=1))
        for index in range(depth):
            position = Position(instructions=count and count - depth + index + 1, host=1.0)
            lines.append(
                RungReached(run="r", at=at, attempt=key, rung=RUNGS[index], index=index, of=3, position=position)
            )
    end = End(
        run="r", at=at, attempt=key, outcome=outcome, blame=Blame.NOBODY, depth=depth, of=3, cpu_seconds=1.26
    )  # fmt: skip
    return [*lines, end]


BEGUN = Run(run="r", at=0.0, bringup="0.1", command=("pytest",), host=HOST)
RECORDS: list[Record] = [
    BEGUN,
    *attempt("tiny", "ours", 1234567),
    *attempt("tiny", "theirs", None),
    *attempt("tiny", "ours", *[1234567] * 5, test=FIVE),
    *attempt("tall", "ours", 99, outcome=Outcome.STUCK, depth=2),
    *attempt("absent", "ours", outcome=Outcome.SKIPPED, depth=0),
]
HEAD = "| guest | last rung | `ours` | instructions | five times | CPU s | `theirs` | CPU s |"


def test_a_row_for_each_guest_that_was_booted() -> None:
    assert markdown(RECORDS) == [
        "`ours` is ours 1.0. `theirs` is theirs 1.0.",
        "On 2 processors, a processor.",
        "",
        HEAD,
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| `tall` | `shell` | 2/3 stuck | 99 |  | 1.3 |  |  |",
        "| `tiny` | `power-off` | 3/3 | 1,234,567 | equal | 1.3 | 3/3 | 1.3 |",
    ]


def test_the_newest_attempt_counts() -> None:
    again = attempt("tiny", "ours", 5, at=2.0)
    assert "| 3/3 | 5 | equal, 1,234,567 |" in markdown([*again, *RECORDS])[-1]
    differ = attempt("tiny", "ours", 5, 6, test=FIVE, outcome=Outcome.FAILED, at=3.0)
    assert "| 3/3 | 1,234,567 | failed |" in markdown([*differ, *RECORDS])[-1]


def test_five_boots_that_were_interrupted_say_nothing() -> None:
    broken = attempt("tiny", "ours", 1234567, test=FIVE, outcome=Outcome.UNFINISHED, at=3.0)
    assert "| 3/3 | 1,234,567 | equal |" in markdown([*broken, *RECORDS])[-1]


def test_a_run_that_was_killed() -> None:
    assert markdown(RECORDS[:2])[-1] == "| `tiny` |  | unfinished |  |"


def test_no_guest() -> None:
    with pytest.raises(HarnessError, match="these runs have booted no guest"):
        markdown([BEGUN, *attempt("absent", "ours", outcome=Outcome.SKIPPED, depth=0)])


def write(folder: Path, records: list[Record]) -> Path:
    with RecordWriter(folder / f"run{SUFFIX}") as writer:
        for record in records:
            writer.write(record)
    return folder


def test_a_page_keeps_its_rows_of_other_guests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, page = write(tmp_path / "run", RECORDS), tmp_path / "page.md"
    old = f"{HEAD}\n| --- |\n| `tiny` | an old row |\n| `other` | of one's own |\n"
    page.write_text(f"before\n{BEGIN}{old}{END}after\n")
    assert table([str(run), f"--write={page}"]) == 0
    assert capsys.readouterr().out == (f"bringup: {page}: rows of guests that these runs have not booted stay: other\n")
    text = page.read_text()
    assert text.startswith(f"before\n{BEGIN}\n`ours` is ours 1.0.") and text.endswith(f" |\n\n{END}after\n")
    assert [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")] == ["other", "tall", "tiny"]
    assert "an old row" not in text
    assert table([str(run), f"--write={page}"]) == 0
    assert page.read_text() == text


def test_without_a_page_it_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert table([str(write(tmp_path, RECORDS))]) == 0
    assert capsys.readouterr().out.splitlines() == markdown(RECORDS)


def test_what_is_wrong_with_runs_and_pages(tmp_path: Path) -> None:
    run, page = write(tmp_path / "run", RECORDS), tmp_path / "page.md"
    with pytest.raises(HarnessError, match="none: no run's folder: it has no records"):
        table([str(tmp_path / "none")])
    with pytest.raises(HarnessError, match=r"page\.md: No such file"):
        table([str(run), f"--write={page}"])
    page.write_text(f"{END}{BEGIN}")
    with pytest.raises(HarnessError, match="it has no lines '<!-- table -->'"):
        table([str(run), f"--write={page}"])
    page.write_bytes(b"\xff")
    with pytest.raises(HarnessError, match="no text"):
        table([str(run), f"--write={page}"])
    with pytest.raises(HarnessError, match="has other columns"):
        merged(markdown(RECORDS), ["| guest | else |"])


def test_the_command_is_one_of_guests() -> None:
    subparsers = argparse.ArgumentParser().add_subparsers()
    register(subparsers)
    options = subparsers.choices["guests"].parse_args(["table", "./none"])
    with pytest.raises(HarnessError, match="none: no run's folder"):
        options.handler(options)
