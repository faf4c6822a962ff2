"""Runs one test on one VMM, as a process; the exit status of isa-debug-exit is its result."""

import contextlib
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from bringup.conformance.kvm_unit_tests.suite import SuiteError, UnitTest

QEMU = "qemu-system-x86_64"
QEMU_PATIENCE = 180
TAIL = 64 << 10
"""Bytes of output that are looked at for the reason."""


class Outcome(StrEnum):
    """What became of a test."""

    PASS = "pass"  # noqa: S105, no password
    FAIL = "fail"
    SKIP = "skip"
    ABORT = "abort"
    HUNG = "hung"
    ENDED = "ended"
    """With a status that no test has: the machine stopped, or could not be started."""


STATUSES = {1: Outcome.PASS, 3: Outcome.FAIL, 77: Outcome.SKIP, 127: Outcome.ABORT}
"""(code << 1) | 1 of what a test writes to port F4h."""


@dataclass(frozen=True)
class Result:
    """`status` is the process's, None for one that hung; `reason` the line of its output that says most."""

    outcome: Outcome
    status: int | None
    seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Vmm:
    """A column: how a test is started."""

    name: str
    command: Callable[[UnitTest, Path], list[str]]
    module: str
    """The option that gives a module."""
    patience: float = math.inf
    """Seconds of host time that a test gets at most, however many it would get here."""


def bringup(accel: str) -> Vmm:
    """The tree's own machine."""

    def command(test: UnitTest, image: Path) -> list[str]:
        cpus = ["--cpus", str(test.cpus)] if test.cpus > 1 else []
        return [
            *(sys.executable, "-m", "bringup.vmm.run", "--kernel", str(image), "--append", test.append, *cpus),
            *("--memory", test.memory, "--cpu", test.cpu, "--accel", accel, "--clock", test.clock),
            *("--serial", "stdio", "--debug-exit"),
        ]

    return Vmm(accel, command, "--initrd")


def qemu() -> Vmm:
    """QEMU with TCG; SuiteError when it is not installed."""
    if shutil.which(QEMU) is None:
        raise SuiteError(f"{QEMU} is not installed; --no-qemu does without")

    def command(test: UnitTest, image: Path) -> list[str]:
        return [
            *(QEMU, "-nodefaults", "-accel", "tcg", "-cpu", test.qemu, "-m", test.memory, "-smp", str(test.cpus)),
            *("-device", "pc-testdev", "-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-display", "none"),
            *("-serial", "stdio", "-no-reboot", "-kernel", str(image), "-append", test.append),
        ]

    return Vmm("qemu", command, "-initrd", QEMU_PATIENCE)


def run(test: UnitTest, vmm: Vmm, folder: Path) -> Result:
    """Runs it to its end, or to the end of its time; leaves no process behind."""
    image = test.image(folder)
    if not image.is_file():
        raise SuiteError(f"{test.title}: there is no image {image}")
    command, seconds = vmm.command(test, image), min(test.seconds, vmm.patience)
    if not test.environment:
        return run_command(command, seconds)
    with tempfile.NamedTemporaryFile("w", prefix="environment-") as module:
        module.write("".join(f"{line}\n" for line in test.environment))
        module.flush()
        return run_command([*command, vmm.module, module.name], seconds)


def run_command(command: Sequence[str], seconds: float) -> Result:
    """Runs a VMM's command for at most so many seconds of host time."""
    with tempfile.TemporaryFile() as output:
        begin = time.monotonic()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        taken = time.monotonic() - begin
        output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL))
        text = output.read().decode(errors="replace")
    outcome = Outcome.HUNG if status is None else STATUSES.get(status, Outcome.ENDED)
    return Result(outcome, status, taken, "" if outcome is Outcome.PASS else reason(text))


def reason(output: str) -> str:
    """The first failure of a test's output, else what stopped it, else its last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for pattern in (r"^FAIL\b", r"^Unhandled exception|ABORT", r"^bringup:", r"^SKIP\b"):
        for line in lines:
            if re.search(pattern, line):
                return line
    return lines[-1] if lines else ""
