"""Behaviours on real machines: the program's own list, one that ends the machine, and ones that die."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from bringup.conformance.cpu import images
from bringup.conformance.cpu.catalogue import behaviours
from bringup.conformance.cpu.results import Result, Verdict
from bringup.conformance.cpu.runner import Runner
from bringup.harness.cli import main
from bringup.harness.limits import Scale
from bringup.harness.machine.machine import start
from bringup.harness.machine.settings import Settings
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


@pytest.mark.parametrize("name", ["endings.triple_fault", "endings.power_off"])
def test_a_machine_that_dies_before_the_program_has_passed_nothing(name: str, tmp_path: Path) -> None:
    """It ends as the behaviour wants, and has not run it."""
    stand_in = Path(__file__).parents[3] / "harness" / "tests" / "fake_machine.py"
    text = load("bringup").text
    text = re.sub(r"^command = .*$", f'command = ["{sys.executable}", "{stand_in}"]', text, flags=re.MULTILINE)
    text = re.sub(r"^\[control\]\n(.+\n)+", "", text, flags=re.MULTILINE)  # it speaks no QMP
    path = tmp_path / "fake.toml"
    path.write_text(text + '\n[environment]\nFAKE = "falls"\n')
    [result] = Runner(load(str(path))).run([name])
    assert result.verdict is Verdict.DIED and result.why.startswith("it did not come to its end: ")
