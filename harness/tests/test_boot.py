"""`bringup boot`, against a stand-in for the machine that speaks the turn protocol."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from standins import bzimage, eventually

from bringup.harness.cli import main
from bringup.harness.media.resolve import Media, Medium
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.records.schema import End, Finish, MachineStarted, Note, Run, RungReached, Start
from bringup.harness.records.writer import read_run

GUEST = "linux-debian12-cloud"
pytestmark = pytest.mark.usefixtures("here")


def run(mode: str, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setenv("FAKE", mode)
    return main(["boot", GUEST, "--vmm=./fake.toml", "--kernel=kernel", "--initrd=initrd", *options])


def test_a_whole_ladder(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("", monkeypatch, "--transcript=transcript", "--seed=7") == 0
    out, err = capfd.readouterr()
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
        rf"{GUEST} on fake: 5 of 5 rungs \(kernel init shell cpuinfo power-off\), [\d,]+ instructions, "
        r"0\.000 guest s, machine: power-off",
        summary,
    )
    assert [line.split(":")[0] for line in err.splitlines()] == [
        "[1/5] kernel", "[2/5] init", "[3/5] shell", "[4/5] cpuinfo", "[5/5] power-off",
    ]  # fmt: skip
    assert Path("transcript").read_text().splitlines() == shown


def test_rungs_are_shown_at_the_moments_of_the_record(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    resolve = Media.resolve

    def slowly(*arguments: Any) -> dict[str, Medium]:
        time.sleep(2.0)  # as if it were fetched
        return resolve(*arguments)

    monkeypatch.setattr(Media, "resolve", slowly)
    assert run("", monkeypatch) == 0
    rungs = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, RungReached)]
    shown = re.findall(r"^\[.*?(\d+\.\d) host s", capfd.readouterr().err, re.MULTILINE)
    assert shown == [f"{rung.position.host:.1f}" for rung in rungs]


def test_what_was_noted_before_a_death_is_told(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Path("tiny.toml").open("a") as file:
        file.write("[[death]]\ntitle = 'version {0}'\npattern = 'Linux version ([0-9.]{1,9})'\nends = false\n")
    monkeypatch.setenv("FAKE", "panics")
    assert main(["boot", "./tiny.toml", "--vmm=./fake.toml"]) == 1
    assert "\n  noted before: version 6.1.0\n" in capfd.readouterr().out
    notes = [record.text for record in read_run(Path("bringup-out/latest")) if isinstance(record, Note)]
    assert notes == ["version 6.1.0"]


def test_on_several_vmms_one_after_the_other(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE", "")
    text = Path("fake.toml").read_text().replace('name = "fake"', 'name = "other"')
    Path("other.toml").write_text(f"{text}\n[environment]\nFAKE = 'panics'\n")
    assert main(["boot", "./tiny.toml", "--vmm=./fake.toml", "--vmm=./other.toml"]) == 1
    *_, heading, one, two = capfd.readouterr().out.splitlines()
    assert heading == "in all:"
    assert one.startswith("tiny on fake: 3 of 3 rungs") and two.startswith("tiny on other: 2 of 3 rungs")
    ends = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, End)]
    assert [end.outcome for end in ends] == [Outcome.PASSED, Outcome.DIED]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_is_told(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "bringup.harness", "boot", "./tiny.toml", "--vmm=./fake.toml"]
    environment = {**os.environ, "FAKE": "stalls"}
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, env=environment) as boot:
        latest = tmp_path / "bringup-out" / "latest"
        assert eventually(lambda: latest.exists() and any(isinstance(one, MachineStarted) for one in read_run(latest)))
        boot.send_signal(number)
        out, err = boot.communicate(timeout=60)
    assert boot.returncode == 128 + number and err == ""
    summary, where = out.splitlines()
    assert summary.startswith("tiny on fake: 0 of 3 rungs (none), ") and summary.endswith("unfinished: interrupted")
    assert where.startswith("what is known about it: bringup-out/")
    [*_, last] = read_run(latest)
    assert isinstance(last, Finish) and (last.status, last.interrupted) == (128 + number, True)


def test_what_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("", monkeypatch, "--seed=7", "--until=shell") == 0
    first, start, machine, *rungs, end, last = read_run(Path("bringup-out/latest"))
    assert isinstance(first, Run) and first.seed == 7
    assert isinstance(start, Start) and start.history == f"boot/{GUEST}/ladder/fake"
    vmm = Path("fake.toml").absolute()
    assert start.repeat.startswith(f"bringup boot {GUEST} --vmm={vmm} ") and "--seed=7" in start.repeat
    assert isinstance(machine, MachineStarted) and set(machine.media) == {"kernel", "initrd"} and machine.pid > 1
    assert machine.seed == 7 and "--seed=7" in machine.command and "--append=console=ttyS0 panic=-1" in machine.command
    assert [(rung.rung, rung.index, rung.of) for rung in rungs if isinstance(rung, RungReached)] == [
        ("kernel", 0, 3), ("init", 1, 3), ("shell", 2, 3),
    ]  # fmt: skip
    assert isinstance(end, End) and (end.outcome, end.blame) == (Outcome.PASSED, Blame.NOBODY)
    assert (end.depth, end.of, end.bundle) == (3, 3, "") and end.position and end.position.instructions
    assert isinstance(last, Finish) and last.status == 0


@pytest.mark.parametrize(
    ("mode", "status", "outcome", "blame", "depth", "title"),
    [
        ("falls", 1, Outcome.DIED, Blame.GUEST, 1, "triple fault"),
        ("panics", 1, Outcome.DIED, Blame.GUEST, 2, "panic: oh no"),
        ("deaf", 1, Outcome.STUCK, Blame.GUEST, 4, "stuck before 'power-off'"),
        ("floods", 1, Outcome.STUCK, Blame.GUEST, 2, "floods its consoles before 'shell'"),
        ("halts", 1, Outcome.STUCK, Blame.GUEST, 2, "what is typed does not come back before 'shell'"),
        ("spins", 1, Outcome.STUCK, Blame.GUEST, 2, "what is typed does not come back before 'shell'"),
        ("vanishes", 3, Outcome.ENDED, Blame.HOST, 2, "the VMM was killed: SIGKILL"),
        ("garbage", 3, Outcome.ERROR, Blame.VMM, 0, "fake: "),
        ("refuses", 3, Outcome.ERROR, Blame.MEDIA, 0, "--kernel: not a bzImage"),
    ],
)
def test_what_goes_wrong_is_told_by_rung_outcome_and_blame(
    mode: str,
    status: int,
    outcome: Outcome,
    blame: Blame,
    depth: int,
    title: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run(mode, monkeypatch) == status
    out, err = capfd.readouterr()
    [end] = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, End)]
    assert (end.outcome, end.blame, end.depth) == (outcome, blame, depth)
    assert title in end.title and "\n" not in end.title
    *_, where = out.splitlines()
    said = err if mode == "refuses" else out
    assert said.count(f"{outcome.value} ({blame.value}): {end.title}") == 1
    bundle = Path("bringup-out/latest") / end.bundle
    assert where == f"what is known about it: {Path('bringup-out') / bundle.resolve().parent.name / end.bundle}/"
    assert end.title in (verdict := (bundle / "verdict.txt").read_text()) and end.detail in verdict
    if mode == "deaf":
        assert end.detail.startswith("serial0: 60 guest seconds are spent while 'reboot: Power down' was awaited; ")
        assert f"\n  {end.detail}\n" in out
    assert f"bringup boot {GUEST}" in (bundle / "repeat.txt").read_text()
    if mode not in ("garbage", "refuses"):
        assert "Linux version 6.1.0\n" in (bundle / "console-main.txt").read_text()
        assert re.search(
            r"0\.00000\d +\d+ \[serial0\] \[    0\.000000\] Linux", (bundle / "transcript.txt").read_text()
        )


def test_the_command_that_does_it_again_does_so_from_any_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("FAKE", "panics")
    assert main(["boot", "./tiny.toml", "--vmm=fake.toml", "--kernel=kernel", "--seed=7", "--until=init"]) == 0
    assert main(["boot", "./tiny.toml", "--vmm=fake.toml", "--kernel=kernel", "--seed=7"]) == 1
    [start] = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, Start)]
    [end] = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, End)]
    repeat = (Path("bringup-out/latest") / end.bundle / "repeat.txt").read_text()
    assert repeat == start.repeat + "\n"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(shlex.split(repeat)[1:]) == 1
    [again] = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, Start)]
    [died] = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, End)]
    assert again.repeat == start.repeat and died.title == end.title == "panic: oh no"


def test_a_machine_that_does_not_start_says_why(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("refuses", monkeypatch) == 3
    assert capfd.readouterr().err == (
        f"bringup: {GUEST}: error (media): fake refuses: bringup run: --kernel: not a bzImage\n"
    )


@pytest.mark.parametrize("option", ["--memory=900G", "--cpu=foo", "--accel=kvm", "--cpus=2", "--append=x"])
def test_a_machine_that_the_vmm_does_not_take_is_its_asker_s_fault(
    option: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("refuses", monkeypatch, option) == 2
    assert capfd.readouterr() == (
        "", f"bringup: {GUEST}: error: fake refuses: bringup run: --kernel: not a bzImage\n",
    )  # fmt: skip
    [end] = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, End)]
    assert (end.outcome, end.blame, end.bundle) == (Outcome.ERROR, Blame.NOBODY, "")


@pytest.mark.parametrize(
    ("option", "content", "error"),
    [
        ("kernel", b"root:x:0:0:root\n" * 100, "is neither a Linux bzImage nor a multiboot image"),
        ("kernel", bzimage()[:1500], "is truncated: 1500 bytes of 2048 that its header states"),
        ("kernel", None, "/dev/null: not a file"),
        ("initrd", None, "/dev/null: not a file"),
        ("initrd", b"", "initrd is empty"),
    ],
)
def test_a_file_that_nothing_can_be_started_from_is_to_blame_itself(
    option: str,
    content: bytes | None,
    error: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    path = Path("/dev/null") if content is None else tmp_path / option
    path.write_bytes(content or b"")
    assert run("", monkeypatch, f"--{option}={path}") == 3
    said = capfd.readouterr().err
    assert said.startswith(f"bringup: {GUEST}: error (media): ") and said.endswith(f"{error}\n")
    assert said.count("\n") == 1
    [end] = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, End)]
    assert (end.outcome, end.blame) == (Outcome.ERROR, Blame.MEDIA)


def test_the_machine_is_started_with_the_user_s_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    run("refuses", monkeypatch, "--memory=64M", "--accel=bare", "--append=quiet", "--rtc=2027-01-01T00:00:00")
    [start] = [record for record in read_run(Path("bringup-out/latest")) if isinstance(record, Start)]
    for option in ("--memory=64M", "--accel=bare", "--append=quiet", "--rtc=2027-01-01T00:00:00", "--media=kernel="):
        assert option in start.repeat


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["amiga"], "bringup boot: argument GUEST: guest 'amiga' is not known; known are"),
        (
            [GUEST, "--vmm=qemo"],
            "bringup boot: argument --vmm: VMM 'qemo' is not known, did you mean 'qemu'? known are",
        ),
        ([GUEST, "--attach", "--vmm=qemu", "--vmm=bringup"], "bringup boot: --attach: this terminal is for one VMM"),
        ([GUEST, "--vmm=amiga"], "bringup boot: argument --vmm: VMM 'amiga' is not known; known are"),
        ([GUEST, "--until=desktop"], f"bringup boot: --until: {GUEST} has no rung 'desktop'; its rungs are kernel,"),
        ([GUEST, "--media=tape=x"], f"bringup boot: --media tape: {GUEST} has no such medium; it has kernel,"),
        ([GUEST, "--media=tape"], "bringup boot: argument --media: 'tape' is not ROLE=FILE"),
        (
            [GUEST, "--cpus=0"],
            "bringup boot: argument --cpus: '0' is not a number of vCPUs, of which there is at least",
        ),
        ([GUEST, "--cpus=-1"], "bringup boot: argument --cpus: '-1' is not a number of vCPUs"),
        ([GUEST, "--seed=-1"], "bringup boot: argument --seed: '-1': not a whole number"),
        ([GUEST, "--rtc=x"], "bringup boot: argument --rtc: 'x': not a time such as 2027-01-01T00:00:00"),
        ([GUEST, "--output-dir=/proc/x"], "bringup boot: --output-dir: output folder /proc/x: No such file"),
        ([GUEST, "--transcript=/proc/x/y"], "bringup boot: --transcript /proc/x/y: No such file or directory"),
        ([GUEST, "--memory=lots"], "bringup boot: argument --memory: 'lots' is not a size such as 512M or 2G"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], error: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["boot", *arguments])
    assert ending.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith(error) and said.count("\n") == 1


def test_a_terminal_that_cannot_place_text_shows_no_screen(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    with pytest.raises(SystemExit) as ending:
        main(["boot", "freedos", "--attach"])
    assert ending.value.code == 2
    assert capfd.readouterr().err.startswith("bringup boot: --attach: TERM is dumb")


def test_media_that_are_not_there_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("", monkeypatch, "--initrd=missing") == 3
    error = capfd.readouterr().err
    assert "missing: No such file or directory" in error and error.count("\n") == 1


def test_more_vcpus_than_the_vmm_has(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("", monkeypatch, "--cpus=255") == 3
    assert "fake does not offer 255 vCPUs (at most" in capfd.readouterr().err


REBOOTS = """\
title = "One that resets"
release = "1"
architecture = "i386"
tier = 1
limit = { guest = 10 }
console.main = {}
ladder = [{ id = "up", text = "is up" }, { id = "up-again", steps = [{ type = "reset" }], text = "is up" }]

[machine]
memory = "16M"
kernel = "kernel"
protocol = "multiboot"

[media.kernel]
kind = "recipe"
recipe = "dialogue"
parameters = { script = "| it is up\\n? # \\n> reset\\n! reset\\n> *\\n! next" }
"""


@pytest.mark.parametrize("vmm", ["bringup", "qemu"])
def test_a_reset_goes_on_where_it_is_part_of_the_ladder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], vmm: str
) -> None:
    """Elsewhere it is the end."""
    if vmm == "qemu" and shutil.which("qemu-system-x86_64") is None:
        pytest.skip("QEMU is not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    Path("goes-on.toml").write_text(REBOOTS.replace("protocol", "reboots = true\nprotocol"))
    Path("ends.toml").write_text(REBOOTS)
    assert main(["boot", "./goes-on.toml", f"--vmm={vmm}"]) == 0
    assert f"goes-on on {vmm}: 2 of 2 rungs (up up-again)" in capfd.readouterr().out
    assert main(["boot", "./ends.toml", f"--vmm={vmm}"]) == 1
    out = capfd.readouterr().out
    assert f"ends on {vmm}: 1 of 2 rungs (up)" in out and "ended (guest): unexpected reset" in out
