"""The pytest plugin, in pytest runs of its own, on a VMM that is a stand-in."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bringup.harness.outcome import Blame, Outcome
from bringup.harness.plugin.leaks import processes
from bringup.harness.records.schema import End, Finish, MachineStarted, Record, Run, Start
from bringup.harness.records.writer import read_run

TEST = """\
import pytest
from bringup.harness.plugin.progress import rung_as_subtest

@pytest.mark.guests
def test_ladder(attempt, subtests):
    attempt.boot()
    attempt.climb(on_rung=rung_as_subtest(attempt, subtests))
"""
EXPECTED = """
[[expected_failure]]
vmm = "fa*"
rung = "init"
reference = "issue 7"
reason = "no init"
until = 2999-01-01
"""
PATIENCE = 60.0
ARGUMENTS = ("--guest=./tiny.toml", "--vmm=./fake.toml", "-p", "no:cacheprovider")


@pytest.fixture
def project(here: Path) -> Path:
    """A user's folder with a test of guests."""
    Path("test_guests.py").write_text(TEST)
    Path("pytest.ini").write_text("[pytest]\n")
    return here


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pytest", *ARGUMENTS, *arguments]


def run(*arguments: str, mode: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "FAKE": mode, "PYTHONDONTWRITEBYTECODE": "1", **more}
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=PATIENCE, env=environment)


def records(kind: type[Record]) -> list[Record]:
    folder = Path("bringup-out/latest")
    return [record for record in (read_run(folder) if folder.exists() else ()) if isinstance(record, kind)]


def finished() -> list[tuple[int, bool]]:
    """Status, and whether it was interrupted, of each process that has finished its records."""
    return [(one.status, one.interrupted) for one in records(Finish) if isinstance(one, Finish)]


def row(output: str, guest: str = "tiny") -> str:
    """The guest's row of the table that closes a run."""
    table = output.partition("guests on VMMs")[2]
    [found] = [line for line in table.splitlines() if re.match(rf"{guest} +fake  ", line)]
    return found


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_guest_climbs(workers: str) -> None:
    done = run("-n", workers, "--junitxml=junit.xml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^  tiny on fake  2/3 init  \d+\.\d s  0\.000 guest s  [\d,]+ instructions$", done.stdout, re.MULTILINE
    )
    assert re.fullmatch(r"tiny +fake +3/3 +[\d,]+ +0\.000 +[\d.]+ +[\d.]+ +passed", row(done.stdout))
    [start], [end] = records(Start), records(End)
    assert isinstance(start, Start) and isinstance(end, End)
    assert (start.history, end.outcome, end.depth) == ("boot/tiny/ladder/fake", Outcome.PASSED, 3)
    properties = {one.get("name"): one.get("value") for one in ElementTree.parse("junit.xml").iter("property")}
    assert (properties["guest"], properties["depth"], properties["outcome"]) == ("tiny", "3/3", "passed")
    begun = {one.worker: one.command for one in records(Run) if isinstance(one, Run)}
    assert "run" in begun and len(begun) == (1 if workers == "0" else 2)
    for asked in begun.values():
        assert asked == ("pytest", *ARGUMENTS, "-n", workers, "--junitxml=junit.xml")
    assert finished() == [(0, False)] * len(begun)


@pytest.mark.usefixtures("project")
def test_the_ids_are_stable_and_repeats_have_one_history() -> None:
    done = run("--repeat=2", "-v")
    assert done.returncode == 0, done.stdout
    for number in (1, 2):
        assert f"test_ladder[tiny-fake-{number}of2] PASSED" in done.stdout
    assert [start.history for start in records(Start) if isinstance(start, Start)] == ["boot/tiny/ladder/fake"] * 2


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("mode", "outcome", "blame", "title"),
    [
        ("falls", Outcome.DIED, Blame.GUEST, "triple fault"),
        ("panics", Outcome.DIED, Blame.GUEST, "panic: oh no"),
        ("refuses", Outcome.ERROR, Blame.VMM, "not a bzImage"),
        ("vanishes", Outcome.ENDED, Blame.HOST, "SIGKILL"),
    ],
)
def test_what_goes_wrong(mode: str, outcome: Outcome, blame: Blame, title: str) -> None:
    done = run(mode=mode)
    assert done.returncode == 1
    [end] = records(End)
    assert isinstance(end, End) and (end.outcome, end.blame) == (outcome, blame) and title in end.title
    assert f"{outcome.value} ({blame.value}): {end.title}"[:80] in row(done.stdout)
    bundle = Path("bringup-out/latest") / end.bundle
    assert (bundle / "verdict.txt").exists()
    failure = done.stdout.partition("= FAILURES =")[2].partition("= short test summary")[0]
    assert "test_guests.py:" in failure and "in test_ladder" in failure
    assert f"to repeat: {(bundle / 'repeat.txt').read_text()}" in failure
    assert f"{outcome.value} ({blame.value}): {end.title}" in failure
    if mode == "panics":
        assert "main says at last:\n  [    0.000000] Linux version 6.1.0\n  bringup: init\n" in failure
    for ours in ("climb.py", "machine.py", "Guest(", "raise "):
        assert ours not in failure
    assert len(failure.splitlines()) < 25


@pytest.mark.usefixtures("project")
def test_a_check_that_fails_shows_the_check_and_the_guest() -> None:
    Path("test_guests.py").write_text(CLASS)
    failure = run("-k", "three").stdout.partition("= FAILURES =")[2]
    assert 'assert not "broken"' in failure and "main says at last:\n" in failure and "to repeat: pytest " in failure


@pytest.mark.usefixtures("project")
def test_who_asks_for_the_whole_traceback_has_it() -> None:
    for option in ("--tb=short", "--full-trace"):
        assert "harness/climb.py:" in run(option, mode="falls").stdout


@pytest.mark.usefixtures("project")
def test_a_guest_without_media_skips_or_fails() -> None:
    Path("kernel").unlink()
    done = run(CI="")
    assert done.returncode == 0 and "1 skipped" in done.stdout
    assert re.search(r"skipped \(media\): kernel of tiny: no kernel", row(done.stdout))


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "ci", "status"),
    [
        (("--require-media",), "", 1),
        (("--require-guests",), "", 1),
        ((), "true", 1),
        ((), "false", 0),
        (("-o", "bringup_require_media=false"), "true", 0),
        (("-o", "bringup_require_media=true"), "", 1),
        (("-o", "bringup_require_media=perhaps"), "", 4),
    ],
)
def test_where_media_are_required_a_guest_without_them_fails(arguments: tuple[str, ...], ci: str, status: int) -> None:
    Path("kernel").unlink()
    done = run(*arguments, CI=ci)
    assert done.returncode == status
    if "perhaps" in str(arguments):
        assert "bringup_require_media: 'perhaps' is not true, false or ci" in done.stderr
    elif status:
        assert "error (media): kernel of tiny: no kernel" in row(done.stdout)


@pytest.mark.usefixtures("project")
def test_a_guest_whose_media_are_the_user_s_to_bring_skips_without_them() -> None:
    Path("kernel").unlink()
    guest = Path("tiny.toml")
    guest.write_text(guest.read_text().replace("tier = 1", "tier = 3"))
    for folders in ("", "."):
        done = run("--require-guests", BRINGUP_MEDIA=folders)
        assert done.returncode == 0, done.stdout
        assert "skipped (media): kernel of tiny: no kernel" in row(done.stdout)
    done = run("--require-media", BRINGUP_MEDIA=".:./none")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "BRINGUP_MEDIA: ./none: there is no such folder" in done.stderr
    assert run(CI="", BRINGUP_MEDIA="./none").returncode == 0


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("tier", [1, 3])
def test_a_guest_whose_media_are_here_fails_where_a_vmm_cannot_run_it(tier: int) -> None:
    guest, vmm = Path("tiny.toml"), Path("fake.toml")
    guest.write_text(guest.read_text().replace("tier = 1", f"tier = {tier}"))
    vmm.write_text(vmm.read_text().replace('boot = ["linux", ', "boot = ["))
    why = "fake does not offer boot by linux"
    for option in ("--offline", "--require-media"):
        done = run(option)
        assert done.returncode == 0 and f"skipped (vmm): {why}" in row(done.stdout), done.stdout
    done = run("--require-guests")
    assert done.returncode == 1 and f"error (vmm): {why} (and guests must run here)" in row(done.stdout), done.stdout


@pytest.mark.usefixtures("project")
def test_what_a_test_needs_beyond_its_guest_is_not_required_of_a_vmm() -> None:
    Path("test_guests.py").write_text(CLASS)
    done = run("--require-guests", "--repeat=2", "-k", "needs")
    assert done.returncode == 0, done.stdout
    assert "needs on fake, 1 guest: skipped (vmm): fake does not offer snapshot" in done.stdout


@pytest.mark.usefixtures("project")
def test_guests_by_tier_and_by_name_are_chosen_together() -> None:
    def chosen(*arguments: str) -> set[str]:
        return set(re.findall(r"test_ladder\[(.+)-fake\]", run("--collect-only", "-q", *arguments).stdout))

    assert chosen() == {"tiny"}
    first = chosen("--tier=1") - {"tiny"}
    assert "gnumach" in first and "9front" not in first
    assert chosen("--tier=1", "--guest=9front") == first | {"tiny", "9front"}


FIVE = ("--pyargs", "bringup.conformance.lifecycle", "-k", "five")


@pytest.mark.usefixtures("project")
def test_five_boots_that_are_equal_are_told_with_their_counts() -> None:
    done = run(*FIVE)
    assert done.returncode == 0, done.stdout
    assert len(records(MachineStarted)) == 5
    assert re.search(
        r"^tiny on fake, five_boots_are_one: 5 boots, instructions of each: [\d,]+$", done.stdout, re.MULTILINE
    )


@pytest.mark.usefixtures("project")
def test_five_boots_that_differ_are_the_vmm_s_fault() -> None:
    done = run(*FIVE, mode="drifts")
    assert done.returncode == 1
    [end] = records(End)
    assert isinstance(end, End) and (end.outcome, end.blame) == (Outcome.FAILED, Blame.VMM)
    assert end.title == "5 boots differ in instructions and guest_ns"
    assert re.match(r"5 boots differ.*\ninstructions: \d", end.detail)


@pytest.mark.usefixtures("project")
def test_an_expected_failure_is_none_and_its_absence_is_one() -> None:
    guest = Path("tiny.toml")
    guest.write_text(guest.read_text() + EXPECTED)
    done = run(mode="falls")
    assert done.returncode == 0 and "1 xfailed" in done.stdout, done.stdout
    assert "expected, issue 7: died (guest): triple fault" in row(done.stdout)
    done = run()
    assert done.returncode == 1 and "take the entry out" in done.stdout


@pytest.mark.usefixtures("project")
def test_a_vmm_s_file_has_expected_failures_of_guests_too() -> None:
    vmm = Path("fake.toml")
    vmm.write_text(vmm.read_text() + EXPECTED.replace('vmm = "fa*"', 'guest = "ti*"'))
    done = run(mode="falls")
    assert done.returncode == 0 and "1 xfailed" in done.stdout, done.stdout
    assert "expected, issue 7: died (guest): triple fault" in row(done.stdout)
    done = run()
    assert done.returncode == 1 and "take the entry out" in done.stdout
    vmm.write_text(vmm.read_text().replace('guest = "ti*"', 'guest = "no*"'))
    assert run(mode="falls").returncode == 1


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--guest=amiga",), "--guest: guest 'amiga' is not known; known are"),
        (("--guest=ami*",), "--guest: no guest matches 'ami*'; known are"),
        (("--vmm=amiga",), "--vmm: VMM 'amiga' is not known; known are"),
        (("--repeat=0",), "--repeat: '0' is not a positive number"),
        (("--repeat=two",), "--repeat: 'two' is not a positive number"),
        (("--seed=x",), "--seed: 'x' is not a whole number below 2^64"),
        (("--seed=-1",), "--seed: '-1' is not a whole number below 2^64"),
        ((f"--seed={1 << 64}",), f"--seed: '{1 << 64}' is not a whole number below 2^64"),
        (("--tag=wings",), "--tag: no guest of those that are asked for has 'wings'"),
        (("--output-dir=/proc/none",), "--output-dir /proc/none: No such file or directory"),
        (("--output-dir=./kernel",), "/kernel: File exists"),
        (("--guest=amiga", "-n", "2"), "--guest: guest 'amiga' is not known; known are"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], error: str) -> None:
    done = run(*arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert error in done.stderr and done.stderr.count("rror: ") <= 1 and "Traceback" not in done.stderr
    assert "ERROR collecting" not in done.stdout
    assert not Path("bringup-out").exists()


@pytest.mark.usefixtures("project")
def test_a_tag_that_no_guest_has_is_told() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tag=wings"],
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--tag: no guest has the tag 'wings'; known are " in done.stderr and done.stderr.count("\n") <= 2


CLASS = """\
import pytest
from bringup.harness.outcome import Outcome

@pytest.fixture
def until():
    return "init"

@pytest.mark.guests
class TestShared:
    def test_one(self, booted): pass
    def test_two(self, booted): assert booted.running.pid != 1
    def test_three(self, booted): assert not "broken"
    def test_four(self, booted): booted.consoles["main"].expect("bringup# ")
    def test_five(self, booted): pass

@pytest.mark.guests
def test_alone(booted): pass

@pytest.mark.guests
def test_skips(attempt): pytest.skip("not today")

@pytest.mark.guests(needs=("snapshot",))
def test_needs(attempt): pass
"""


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("workers", ["0", "2"])
def test_tests_of_a_class_share_a_machine_until_one_fails(workers: str) -> None:
    Path("test_guests.py").write_text(CLASS)
    done = run("-n", workers)
    assert done.returncode == 1, done.stdout
    attempts = {start.attempt: start.test for start in records(Start) if isinstance(start, Start)}
    pids = {attempts[one.attempt]: one.pid for one in records(MachineStarted) if isinstance(one, MachineStarted)}
    assert pids["one"] == pids["two"] == pids["three"]
    assert pids["four"] == pids["five"] != pids["three"]
    assert pids["alone"] not in (pids["three"], pids["five"])
    ends = {attempts[end.attempt]: end for end in records(End) if isinstance(end, End)}
    assert {name: end.outcome.value for name, end in ends.items()} == {
        **dict.fromkeys(("one", "two", "four", "five", "alone"), "passed"),
        "three": "failed", "skips": "skipped", "needs": "skipped",
    }  # fmt: skip
    assert ends["three"].bundle and ends["five"].depth == 2
    assert (ends["skips"].title, ends["needs"].title) == ("not today", "fake does not offer snapshot")
    table = done.stdout.partition("guests on VMMs")[2]
    assert "1 of 6 tests failed" in row(done.stdout) and "5/6" in row(done.stdout)
    assert "tiny on fake, three: failed (guest): " in table
    assert "needs on fake, 1 guest: skipped (vmm): fake does not offer snapshot" in table
    [start] = [start for start in records(Start) if isinstance(start, Start) and start.test == "three"]
    here = Path.cwd()
    assert start.repeat == (
        f"pytest '{here}/test_guests.py::TestShared::test_three[tiny-fake]' "
        f"--guest={here}/tiny.toml --vmm={here}/fake.toml"
    )


@pytest.mark.usefixtures("project")
def test_the_command_that_does_a_test_again_does_so_from_any_folder() -> None:
    Path("test_guests.py").write_text(CLASS)
    assert run("--repeat=2", "--seed=3", "-k", "three").returncode == 1
    starts = [start for start in records(Start) if isinstance(start, Start)]
    ends = [end for end in records(End) if isinstance(end, End)]
    assert len(starts) == len(ends) == 2
    Path("elsewhere").mkdir()
    for start in starts:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(start.repeat), "-p", "no:cacheprovider"],
            capture_output=True, text=True, timeout=PATIENCE, cwd="elsewhere",
        )  # fmt: skip
        assert done.returncode == 1 and "1 failed" in done.stdout, done.stdout + done.stderr
        assert start.repeat.endswith("--repeat=2 --seed=3")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("marker", "error"),
    [
        ("guests(tags='shell')", "the marker `guests` takes no 'tags'"),
        ("vmms('tiny')", "the marker `vmms` takes no 'tiny'"),
        ("guests(needs=('wings',))", "there is no capability 'wings'"),
    ],
)
def test_a_marker_that_is_wrong_is_told(marker: str, error: str) -> None:
    Path("test_guests.py").write_text(f"import pytest\n@pytest.mark.{marker}\ndef test(attempt): pass\n")
    done = run()
    assert done.returncode and error in done.stdout + done.stderr


@pytest.mark.usefixtures("project")
def test_a_test_without_guests_is_not_there() -> None:
    Path("test_guests.py").write_text("import pytest\n@pytest.mark.guests(tag='none')\ndef test(attempt): pass\n")
    done = run()
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED and "1 deselected" in done.stdout


LEAK = """\
import pathlib, subprocess, pytest

@pytest.mark.guests
def test_leaks(attempt):
    attempt.boot()
    pathlib.Path("pid").write_text(str(subprocess.Popen(["sleep", "300"]).pid))
"""


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_run_that_leaves_something_behind_fails(workers: str) -> None:
    Path("test_guests.py").write_text(LEAK)
    try:
        done = run("-n", workers)
    finally:
        os.kill(int(Path("pid").read_text()), signal.SIGKILL)
    assert done.returncode == 1 and "1 passed" in done.stdout
    assert re.search(r"^left behind: process \d+: sleep 300$", done.stdout, re.MULTILINE)
    assert (1, False) in finished()


def test_a_project_without_guests_sees_nothing(here: Path) -> None:
    Path("test_plain.py").write_text("def test_plain(): pass\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0
    assert "guests on VMMs" not in done.stdout and "records:" not in done.stdout
    assert not Path("bringup-out").exists()


OPTIONS = """\
def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=5)
    parser.addoption("--tag")
"""


def test_a_project_s_own_options_win(project: Path) -> None:
    Path("conftest.py").write_text(OPTIONS)
    plain = "def test_plain(request): assert request.config.getoption('seed') == 3\n"
    Path("test_plain.py").write_text(plain)
    start = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    done = subprocess.run([*start, "--seed=3", "test_plain.py"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run("test_guests.py", "--bringup-seed=9")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "--bringup-" not in subprocess.run([*start, "--help"], capture_output=True, text=True).stdout
    [first] = [record for record in records(Run) if isinstance(record, Run)]
    assert first.seed == 9


def test_a_project_without_guests_pays_nothing(here: Path) -> None:
    Path("test_plain.py").write_text(
        "import sys\n"
        "def test_plain(): assert not {'msgspec', 'pexpect', 'rich', 'bringup.harness.attempt'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout


ENDS_SLOWLY = """\
import pathlib, time, pytest

@pytest.fixture
def slow():
    yield
    pathlib.Path("ending").touch()
    time.sleep(300)

@pytest.mark.guests
def test_ladder(slow, attempt):
    attempt.boot()
    attempt.climb()
"""


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], MachineStarted]]:
    """A pytest run whose machine never answers."""
    with subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "FAKE": "stalls"},
        start_new_session=True,
    ) as process:
        try:
            wait_for(lambda: records(MachineStarted), "no machine was started")
            [machine] = records(MachineStarted)
            assert isinstance(machine, MachineStarted)
            yield process, machine
        finally:
            process.kill()


def gone() -> None:
    """Nothing of the newest run is left."""
    name = Path("bringup-out/latest").resolve().name
    wait_for(lambda: not list(processes(name)), f"left behind: {list(processes(name))}")


@pytest.mark.usefixtures("project")
def test_a_killed_worker_leaves_nothing_and_its_record() -> None:
    with running("-n", "1", "--max-worker-restart=0") as (process, machine):
        os.kill(parent_of(parent_of(machine.pid)), signal.SIGKILL)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "unfinished: it was running when its process was killed" in row(output)
    assert "left behind" not in output and not list(Path("bringup-out/latest/places").glob("*.place"))
    assert records(Start) and not records(End)
    gone()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_killed_pytest_leaves_nothing_and_its_record(workers: str) -> None:
    with running("-n", workers) as (process, machine):
        process.kill()
        process.wait(PATIENCE)
        gone()
    assert not Path(f"/proc/{machine.pid}").exists()
    assert records(Start)
    for end in records(End):  # a worker may have had the time
        assert isinstance(end, End) and end.outcome is Outcome.UNFINISHED


@pytest.mark.usefixtures("project")
def test_a_killed_machine_is_the_host_s_doing() -> None:
    with running() as (process, machine):
        os.kill(machine.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "ended (host): the VMM was killed: SIGKILL" in row(output)
    gone()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("workers", ["0", "1"])
def test_one_interrupt_ends_cleanly_and_reports(workers: str) -> None:
    with running("-n", workers) as (process, _):
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "unfinished" in row(output)
    assert (2, True) in finished()
    gone()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_cancelled_job_ends_cleanly_and_reports(workers: str) -> None:
    with running("-n", workers) as (process, _):
        process.terminate()
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert "unfinished" in row(output)
    assert (2, True) in finished()
    if workers == "0":
        [end] = records(End)
        assert isinstance(end, End) and end.outcome is Outcome.UNFINISHED
    gone()


@pytest.mark.usefixtures("project")
def test_two_interrupts_end_at_once() -> None:
    Path("test_guests.py").write_text(ENDS_SLOWLY)
    with running() as (process, _):
        os.killpg(process.pid, signal.SIGINT)
        wait_for(Path("ending").exists, "the first interrupt did nothing")
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGINT
    assert output.splitlines()[-1] == f"bringup: interrupted twice, ended at once; records: {records_folder()}"
    assert "Traceback" not in output and len(output.splitlines()) < 20
    gone()


def records_folder() -> Path:
    """Of the newest run."""
    return Path("bringup-out/latest").resolve()


def parent_of(pid: int) -> int:
    """Its parent's number (proc(5), /proc/PID/stat, field 4)."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.usefixtures("project")
def test_pytest_timeout_is_a_far_backstop() -> None:
    Path("pytest.ini").write_text("[pytest]\ntimeout = 1\n")
    test = Path("test_guests.py")
    test.write_text(test.read_text() + "    import time; time.sleep(1.5)\n")
    done = run()
    assert done.returncode == 0, done.stdout
