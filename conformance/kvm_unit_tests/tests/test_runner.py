"""A test's end, by stand-ins for VMMs."""

import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bringup.conformance.kvm_unit_tests import runner, suite
from bringup.conformance.kvm_unit_tests.runner import Outcome, Vmm
from bringup.conformance.kvm_unit_tests.suite import SuiteError, UnitTest

TEST = UnitTest("smap", "i386", "smap", memory="64M", append="a b", cpus=2)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (1, Outcome.PASS),
        (3, Outcome.FAIL),
        (77, Outcome.SKIP),
        (127, Outcome.ABORT),
        (0, Outcome.ENDED),
        (13, Outcome.ENDED),
    ],
)
def test_statuses(status: int, outcome: Outcome) -> None:
    result = runner.run_command(python(f"print('PASS: x'); print('FAIL: y'); raise SystemExit({status})"), 60)
    assert (result.outcome, result.status) == (outcome, status)
    assert result.reason == ("" if outcome is Outcome.PASS else "FAIL: y")


def test_one_that_does_not_end(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    child = f"import time\nwhile True: open({str(alive)!r}, 'w').close(); time.sleep(0.02)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
    result = runner.run_command(python(code), 3)
    assert (result.outcome, result.status) == (Outcome.HUNG, None)
    alive.unlink(missing_ok=True)
    time.sleep(0.2)
    assert not alive.exists(), "its child is gone too"


def test_the_end_of_long_output_is_kept() -> None:
    assert runner.run_command(python("print('x' * 10**6); print('last'); raise SystemExit(3)"), 60).reason == "last"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("", ""),
        ("enabling apic\nPASS: a\n\n", "PASS: a"),
        ("FAIL: b\nUnhandled exception 6 #UD\n", "FAIL: b"),
        ("Unhandled exception 6 #UD at ip 0\nRAX=0\n", "Unhandled exception 6 #UD at ip 0"),
        ("PASS: a\nbringup: triple fault after 5 instructions\nlast", "bringup: triple fault after 5 instructions"),
        ("SKIP: no such thing\nSUMMARY: 0 tests", "SKIP: no such thing"),
        ("FAILED to find\nSUMMARY", "SUMMARY"),
    ],
)
def test_the_line_that_says_most(output: str, expected: str) -> None:
    assert runner.reason(output) == expected


def test_commands(tmp_path: Path) -> None:
    image = TEST.image(tmp_path)
    ours = runner.bringup("bare").command(TEST, image)
    for option, value in (("--append", "a b"), ("--cpus", "2"), ("--accel", "bare"), ("--kernel", str(image))):
        assert ours[ours.index(option) + 1] == value
    with pytest.raises(SuiteError, match="i386/smap: there is no image"):
        runner.run(TEST, runner.bringup("vtx"), tmp_path)


def test_the_environment_is_a_module(tmp_path: Path) -> None:
    (tmp_path / "i386").mkdir()
    TEST.image(tmp_path).touch()
    code = "import sys; print(open(sys.argv[2]).read()); raise SystemExit(3 if sys.argv[1] == '--initrd' else 1)"
    vmm = Vmm("fake", lambda test, image: python(code), "--initrd")
    test = replace(TEST, environment=("TEST_DEVICE=0", "NR_CPUS=2"))
    assert runner.run(test, vmm, tmp_path).reason == "NR_CPUS=2"


def test_a_vmm_may_have_less_time(tmp_path: Path) -> None:
    (tmp_path / "i386").mkdir()
    TEST.image(tmp_path).touch()
    vmm = Vmm("slow", lambda test, image: python("import time; time.sleep(600)"), "--initrd", patience=0.5)
    assert runner.run(TEST, vmm, tmp_path).outcome is Outcome.HUNG


def test_qemu_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SuiteError, match="is not installed; --no-qemu does without"):
        runner.qemu()


@pytest.mark.parametrize("accel", ["vtx", "bare"])
@pytest.mark.parametrize("test", suite.tests(), ids=lambda test: test.title)
def test_kvm_unit_test(test: UnitTest, accel: str) -> None:
    """The real ones, as suite.toml says that they come out."""
    try:
        folder = suite.folder()
    except SuiteError as error:
        pytest.skip(str(error))
    result = runner.run(test, runner.bringup(accel), folder)
    if test.known:
        assert result.outcome is not Outcome.PASS, f"it passes: take its 'known' out ({test.known})"
        pytest.xfail(test.known)
    assert result.outcome is Outcome.PASS, f"{result.outcome}, status {result.status}: {result.reason}"
