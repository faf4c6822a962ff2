"""The table of vCPU behaviours that closes a run."""

from __future__ import annotations

from bringup.harness.outcome import Blame, Outcome
from bringup.harness.plugin import behaviours
from bringup.harness.records.schema import End, Record, Start


class Terminal:
    """Keeps what is written, with its colour."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def section(self, title: str) -> None:
        self.lines.append((title, "section"))

    def write_line(self, text: str, **markup: bool) -> None:
        self.lines.append((text, " ".join(markup)))


def result(name: str, vmm: str, outcome: Outcome | None, why: str = "", known: str = "") -> list[Record]:
    attempt = f"{name}-{vmm}"
    start = Start(
        run="r", at=1.0, attempt=attempt, history=f"behaviour/cpu32/{name}/{vmm}", kind="behaviour", guest="cpu32",
        test=name, vmm=vmm,
    )  # fmt: skip
    if outcome is None:
        return [start]
    return [
        start,
        End(run="r", at=2.0, attempt=attempt, outcome=outcome, blame=Blame.VMM, title=why, expected=known),
    ]


def test_what_differs_is_shown_and_all_is_counted() -> None:
    records = [
        *result("a.same", "ours", Outcome.PASSED),
        *result("a.same", "qemu", Outcome.PASSED),
        *result("a.known", "ours", Outcome.PASSED),
        *result("a.known", "qemu", Outcome.FAILED, "no #AC", known="QEMU 7.2"),
        *result("a.new", "ours", Outcome.DIED, "triple fault"),
        *result("a.new", "qemu", Outcome.SKIPPED, "no VME"),
        *result("a.killed", "ours", None),
    ]
    terminal = Terminal()
    behaviours.show(terminal, records)  # type: ignore[arg-type]
    assert terminal.lines == [
        ("vCPU behaviours on VMMs", "section"),
        ("behaviour  ours        qemu", "bold"),
        ("a.known    pass        FAIL        no #AC", "yellow"),
        ("a.new      DIED        skip        triple fault", "red"),
        ("a.killed   unfinished  -", "red"),
        ("ours: 2 pass, 1 DIED, 1 unfinished", ""),
        ("qemu: 1 pass, 1 FAIL, 1 skip (1 known)", ""),
    ]


def test_without_behaviours_nothing_is_shown() -> None:
    terminal = Terminal()
    behaviours.show(terminal, [])  # type: ignore[arg-type]
    assert terminal.lines == []
