"""The boot driver, against a stand-in for the machine that speaks the turn protocol."""

import re
import sys
from pathlib import Path

import pytest

from bringup.harness import boot
from bringup.harness.cli import main

FAKE = Path(__file__).with_name("fake_machine.py")


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`bringup run` is the stand-in, and temporary folders are looked after."""
    monkeypatch.setattr(boot, "RUN", (sys.executable, str(FAKE)))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def run(mode: str, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setenv("FAKE", mode)
    return main(["boot", "linux-debian12-cloud", "--kernel=k", "--initrd=i", *options])


def test_a_whole_ladder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("", monkeypatch, f"--transcript={tmp_path / 'transcript'}") == 0
    out = capfd.readouterr().out
    *shown, summary = out.splitlines()
    assert shown == [
        "[    0.000000] Linux version 6.1.0",
        "bringup: init",
        "bringup# uname -a",
        "Linux (none) 6.1.0 x86_64 GNU/Linux",
        "bringup# cat /proc/cpuinfo",
        "model name\t: fake",
        "bogomips\t: 2000.00",
        "bringup# poweroff -f",
        "[    1.0] reboot: Power down",
    ]
    assert re.fullmatch(
        r"linux-debian12-cloud: 5 of 5 rungs \(kernel init shell cpuinfo power-off\), 16000 instructions, "
        r"0\.000 guest s, \d+\.\d host s, power-off, exit status 0",
        summary,
    )
    assert (tmp_path / "transcript").read_text().splitlines() == shown
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "status", "summary"),
    [
        ("falls", 11, r"1 of 5 rungs \(kernel\), 3000 instructions, .*, triple fault, exit status 11"),
        ("lies", 3, r"5 of 5 rungs \(.*\), .*, power-off, exit status 3"),
        ("deaf", 129, r"4 of 5 rungs \(kernel init shell cpuinfo\), .*, exit status 129"),
        ("halts", 129, r"2 of 5 rungs \(kernel init\), .*, halted for ever, exit status 129"),
        ("spins", 129, r"2 of 5 rungs \(kernel init\), 60\d+ instr.*, 60 guest seconds are spent, exit status 129"),
        ("vanishes", 137, r"2 of 5 rungs \(kernel init\), .*the machine hung up, exit status 137"),
        ("garbage", 129, r"0 of 5 rungs \(none\), 0 instructions, .*no answer, exit status 129"),
    ],
)
def test_what_goes_wrong_is_told_by_rung_and_status(
    mode: str,
    status: int,
    summary: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(mode, monkeypatch) == status
    assert re.fullmatch(f"linux-debian12-cloud: {summary}", capfd.readouterr().out.splitlines()[-1])
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_machine_that_does_not_start_speaks_for_itself(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("refuses", monkeypatch) == 2
    assert capfd.readouterr() == ("", "bringup run: --kernel: not a bzImage\n")


def test_the_machine_is_started_with_the_guests_settings_and_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def drive(guest: object, machine: list[str], show: object) -> tuple[boot.Climb, int]:
        seen.extend(machine[2:])
        raise KeyboardInterrupt

    monkeypatch.setattr(boot, "_drive", drive)
    assert run("", monkeypatch, "--memory=64M", "--accel=bare", "--seed=7") == 130
    assert seen == [
        "--kernel=k",
        "--initrd=i",
        "--append=console=ttyS0 panic=-1",
        "--memory=64M",
        "--accel=bare",
        "--seed=7",
    ]


def test_an_unknown_guest_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["boot", "amiga"])
    assert ending.value.code == 2
    error = capfd.readouterr().err
    assert error.startswith("bringup boot: argument GUEST: guest 'amiga' is not known; known are")
    assert error.count("\n") == 1


def test_a_transcript_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("", monkeypatch, "--transcript=/proc/none/transcript") == 1
    assert capfd.readouterr().err == "bringup: --transcript /proc/none/transcript: No such file or directory\n"
