"""The table of the harness's own cost, with everything made small."""

from __future__ import annotations

import pytest

from bringup.conformance.perf import harness


def test_the_table(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    boot = harness.Figure("boot", "1 s", "2 s", True)
    monkeypatch.setattr(harness, "boots", lambda names: iter([boot]))
    monkeypatch.setattr(harness, "ROUNDS", 2)
    monkeypatch.setattr(harness, "TURNS", 10)
    monkeypatch.setattr(harness, "ROUND_TRIP", 60.0)
    monkeypatch.setattr(harness, "FLOOD_CPU", 60.0)
    assert harness.main() == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "boot",
        "loading the harness, once in a process",
        "round trip of a turn",
        "round trip of a byte between two processes",
        "30 MB of console through expect, as a stream",
        "30 MB of console through expect, in turns",
    ]
    monkeypatch.setattr(harness, "FLOOD_CPU", 0.0)
    monkeypatch.setattr(harness, "round_trip", lambda: iter([]))
    assert harness.main() == 1
    assert capfd.readouterr().out.count("NO") == 2
