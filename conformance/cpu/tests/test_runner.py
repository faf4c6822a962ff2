"""Behaviours on real machines: the program's own list, one that ends the machine, and ones that die."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from bringup.conformance.cpu import images, test_behaviours
from bringup.conformance.cpu.catalogue import behaviours
from bringup.conformance.cpu.results import Result, Verdict
from bringup.conformance.cpu.runner import Runner
from bringup.harness import bundle
from bringup.harness.cli import main
from bringup.harness.limits import Scale
from bringup.harness.machine.machine import start
from bringup.harness.machine.settings import Settings
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.records.schema import End
from bringup.harness.records.writer import read_run
from bringup.harness.vmms.loader import load


def test_the_program_lists_what_the_sources_declare(tmp_path: Path) -> None:
    image = images.image(images.PROGRAMS[0], tmp_path)
    settings = Settings(memory=64 << 20, kernel=image, append="list exit=debug", debug_exit=True)
    with start(load("bringup"), settings, scale=Scale()) as machine:
        console = machine.console("serial0")
        console.expect_exact("\nEND\n")
        lines = [line for line in console.before.splitlines() if line.startswith(("BEHAVIOUR ", "FINAL "))]
    assert [line.split(" ", 1)[1] for line in lines] == [f"{one.name}: {one.what}" for one in behaviours()]


def test_some_behaviours_pass() -> None:
    runner = Runner(load("bringup"))
    wanted = ["exceptions.undefined", "paging.fetch", "endings.triple_fault", "endings.power_off"]
    assert list(runner.run(wanted)) == [Result(name, Verdict.PASSED) for name in wanted]


def test_a_machine_that_has_ended_has_registers_and_last_exits(tmp_path: Path) -> None:
    settings = Settings(
        memory=64 << 20, kernel=images.image(images.PROGRAMS[0], tmp_path), append="run=endings.triple_fault"
    )
    with start(load("bringup"), settings, scale=Scale()) as machine:
        machine.console("serial0").expect_exact(pexpect.EOF)
        assert machine.ending and machine.ending.kind == "triple-fault"
        shown = machine.inspect(5.0)
        folder = tmp_path / "bundle"
        assert bundle.write(folder, "", None, machine, {}, "") == []
    assert set(shown) == {"registers", "exits"}
    assert re.search(r"^RIP=[0-9a-f]{16} ", shown["registers"], re.MULTILINE) and "IO_INSTRUCTION" in shown["exits"]
    assert (folder / "inspect-registers.txt").read_text() == shown["registers"]


def test_an_image_is_built_once(tmp_path: Path) -> None:
    first = images.image(images.PROGRAMS[0], tmp_path)
    stamp = first.stat().st_mtime_ns
    assert images.image(images.PROGRAMS[0], tmp_path) == first and first.stat().st_mtime_ns == stamp


def test_no_compiler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "PREBUILT", tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(images.ImageError, match=r"^gcc, which builds the guest programs, is not installed$"):
        images.image(images.PROGRAMS[0], tmp_path)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vcpu", "--run=strings.*", "--accel=bare"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["behaviour", "bringup"] and out[-1].endswith(" passed")
    assert main(["vcpu", "--run=strings.*", "--list"]) == 0
    assert "strings.overlap: SDM" in capsys.readouterr().out


def test_an_unknown_behaviour_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["vcpu", "--run=magic.*"])
    assert ending.value.code == 2
    error = capsys.readouterr().err
    assert "--run: no behaviour is called magic.*" in error and error.count("\n") == 1


def falls(path: Path) -> Path:
    """A VMM's file: a stand-in whose guest says two lines and falls."""
    stand_in = Path(__file__).parents[3] / "harness" / "tests" / "fake_machine.py"
    text = load("bringup").text
    text = re.sub(r"^command = .*$", f'command = ["{sys.executable}", "{stand_in}"]', text, flags=re.MULTILINE)
    text = re.sub(r"^\[control\]\n(.+\n)+", "", text, flags=re.MULTILINE)  # it speaks no QMP
    path.write_text(text.replace('name = "bringup"', 'name = "fake"') + '\n[environment]\nFAKE = "falls"\n')
    return path


@pytest.mark.parametrize("name", ["endings.triple_fault", "endings.power_off"])
def test_a_machine_that_dies_before_the_program_has_passed_nothing(name: str, tmp_path: Path) -> None:
    """It ends as the behaviour wants, and has not run it."""
    [result] = Runner(load(str(falls(tmp_path / "fake.toml")))).run([name])
    assert result.verdict is Verdict.DIED and result.why.startswith("it did not come to its end: ")


def test_a_behaviour_that_fails_is_short_and_leaves_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    vmm = falls(tmp_path / "fake.toml")
    last = [one.name for one in behaviours() if not one.ending][-1]
    test = Path(test_behaviours.__file__)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"{test}::test_behaviour[fake-{last}]", f"--vmm={vmm}"],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    [end] = [one for one in read_run(Path("bringup-out/latest")) if isinstance(one, End)]
    assert (end.outcome, end.blame) == (Outcome.DIED, Blame.VMM)
    kept = Path("bringup-out/latest").resolve() / end.bundle
    again = f"bringup vcpu --vmm={vmm} --run={last}"
    failure = done.stdout.partition("= FAILURES =")[2].splitlines()[2:5]
    assert failure == [
        f"{last} on fake: died: {end.title}", f"to repeat: {again}", f"what is known about it: {kept}/",
    ]  # fmt: skip
    assert "Linux version 6.1.0\n" in (kept / "console-serial0.txt").read_text()
    assert (kept / "repeat.txt").read_text() == f"{again}\n" and "run=" in (kept / "command.txt").read_text()
    assert main(again.split()[1:]) == 1


def test_a_behaviour_on_a_vmm_that_does_not_start_has_an_end(tmp_path: Path) -> None:
    vmm, test = falls(tmp_path / "fake.toml"), test_behaviours.__file__
    vmm.write_text(vmm.read_text().replace('FAKE = "falls"', 'FAKE = "refuses"'))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"{test}::test_behaviour[fake-a20.port_92]", f"--vmm={vmm}"],
        capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1 and "Error: fake refuses: " in done.stdout
    assert len(done.stdout.splitlines()) < 40 and "runner.py" not in done.stdout
    [end] = [one for one in read_run(tmp_path / "bringup-out" / "latest") if isinstance(one, End)]
    assert (end.outcome, end.blame) == (Outcome.ERROR, Blame.VMM)
