"""An unmodified Debian kernel from the archive, booted to its shell and powered off."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bringup.guests.loader import load
from bringup.harness.machine.processes import children
from bringup.harness.media.resolve import Media
from bringup.harness.records.schema import End
from bringup.harness.records.writer import read_run

GUEST = "linux-debian12-cloud"
BOOT = (sys.executable, "-m", "bringup.harness", "boot", GUEST)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The output folder is not the source tree's."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def media() -> None:
    """The guest's kernel and initrd are in the store; the network is needed for that only once."""
    if os.environ.get("BRINGUP_OFFLINE"):
        pytest.skip("BRINGUP_OFFLINE is set: no media are fetched")
    Media().resolve(load(GUEST))


def count_of(summary: str) -> int:
    match = re.search(r"5 of 5 rungs .*, ([\d,]+) instructions, .*machine: power-off$", summary, re.MULTILINE)
    assert match, summary
    return int(match[1].replace(",", ""))


@pytest.fixture(scope="session")
def booted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `booted` leaves its records."""
    return tmp_path_factory.mktemp("linux")


@pytest.fixture(scope="session")
def booted(media: None, booted_folder: Path) -> tuple[str, int]:
    """The transcript of a boot on the hypervisor, and its instruction count."""
    folder = booted_folder
    transcript = folder / "transcript"
    command = [*BOOT, f"--transcript={transcript}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=280, cwd=folder)
    assert done.returncode == 0, done.stdout[-2000:]
    return transcript.read_text(), count_of(done.stdout)


def test_the_transcript(booted: tuple[str, int]) -> None:
    transcript, _ = booted
    texts = ("Linux version 6.1", "Run /init as init process", "uname -a", "x86_64 GNU/Linux", "cat /proc/cpuinfo",
             "GenuineIntel", "address sizes", "poweroff -f", "reboot: Power down")  # fmt: skip
    at = 0
    for text in texts:
        at = transcript.index(text, at)


def test_no_complaint_of_the_kernel(booted: tuple[str, int]) -> None:
    transcript, _ = booted
    bad = re.compile(r"WARNING|BUG:|Oops|call trace|firmware bug|ACPI (Error|Warning)|unchecked MSR|spurious", re.I)
    assert [line for line in transcript.splitlines() if bad.search(line)] == []


def test_the_same_count_without_the_hypervisor(booted: tuple[str, int]) -> None:
    done = subprocess.run([*BOOT, "--accel=bare"], stdout=subprocess.PIPE, text=True, timeout=280)
    assert count_of(done.stdout) == booted[1]


def test_the_same_count_when_the_host_is_slow(booted: tuple[str, int]) -> None:
    """Driver and machine stand still at random moments, together and apart."""
    rng = random.Random(1)
    with subprocess.Popen(BOOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            for _ in range(20):
                time.sleep(rng.uniform(0.01, 0.15))
                stopped = [pid for pid in (process.pid, *descendants(process.pid)) if rng.random() < 0.7]
                send(signal.SIGSTOP, stopped)
                time.sleep(rng.uniform(0.01, 0.1))
                send(signal.SIGCONT, stopped)
            output = process.communicate(timeout=280)[0]
        except BaseException:
            process.kill()
            raise
    assert count_of(output) == booted[1]


def descendants(pid: int) -> list[int]:
    """Of a process: the machine's keeper, the machine."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def send(signal_: signal.Signals, pids: list[int]) -> None:
    """To those that are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal_)


def test_a_kernel_that_is_none(media: None, tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(b"no kernel" * 1000)
    done = subprocess.run([*BOOT, f"--kernel={tmp_path / 'kernel'}"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 3
    assert "is neither a Linux bzImage nor a multiboot image" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_vm_exits_are_recorded(booted: tuple[str, int], booted_folder: Path) -> None:
    [end] = [record for record in read_run(booted_folder / "bringup-out" / "latest") if isinstance(record, End)]
    assert end.exits["CPUID"] > 100 and end.exits["IO_INSTRUCTION"] > 1000
