"""`bringup doctor`: what this host can do for the suite, a line each, and what to do about what it cannot."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bringup.harness import cpuinfo, host, kvm
from bringup.harness.calibration import CAP, calibrate
from bringup.harness.errors import HarnessError
from bringup.harness.media.store import Store
from bringup.harness.vmms import loader

MIB = 1 << 20
MEMORY_WANTED = 1024 * MIB
"""For one machine of 512 MiB, its VMM and the harness."""
DISK_WANTED = 1024 * MIB
"""For the media of the guests that come from packages."""
VMM = "VMM "
FIRST_GUEST = "linux-debian12-cloud"
MARKS = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "[yellow]-[/yellow]"}


class Finding(NamedTuple):
    """One thing about this host. `good`: True, False (the suite cannot work) or None (it can do without)."""

    what: str
    good: bool | None
    answer: str
    advice: str = ""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `bringup doctor`."""
    parser = subparsers.add_parser("doctor", help="say what this host can do", allow_abbrev=False)
    parser.set_defaults(handler=_doctor)


def _doctor(_: argparse.Namespace) -> int:
    findings = list(examine())
    table = Table(show_header=False, box=None, pad_edge=False)
    for finding in findings:
        table.add_row(MARKS[finding.good], finding.what, finding.answer)
        if finding.advice and finding.good is not True:
            table.add_row("", "", f"[dim]{finding.advice}[/dim]")
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(table)
    else:  # one line for one thing, for grep
        for finding in findings:
            advice = f" ({finding.advice})" if finding.advice and finding.good is not True else ""
            print(f"{Text.from_markup(MARKS[finding.good])} {finding.what}: {finding.answer}{advice}")
    console.print(Text(verdict(findings)), soft_wrap=True)
    return 1 if any(finding.good is False for finding in findings) else 0


def verdict(findings: Sequence[Finding]) -> str:
    """What it comes to, in one line."""
    if lacking := [finding.what for finding in findings if finding.good is False]:
        return f"The suite does not work here: {', '.join(lacking)}."
    vmms = [finding.what.removeprefix(VMM) for finding in findings if finding.good and finding.what.startswith(VMM)]
    return f"The suite works here, on {', '.join(vmms)}; begin with: bringup boot {FIRST_GUEST}"


def examine() -> Iterator[Finding]:
    """Looks at everything, cheapest first; nothing is changed."""
    yield Finding("bringup", True, f"{version('bringup')} on Python {sys.version.split()[0]}")
    yield _processor()
    yield _speed()
    yield _memory()
    yield _disk()
    yield _kvm()
    for name in loader.names():
        yield _vmm(name)
    yield _packages()
    yield from _programs()


def _processor() -> Finding:
    missing = {"cx16", "popcnt", "sse4_1", "sse4_2", "ssse3"} - cpuinfo.cpu_flags()
    answer = f"{cpuinfo.cpu_model()}, {host.cpus()} of {os.cpu_count()} usable"
    if missing:
        return Finding("processor", False, answer, f"it is no x86-64-v2: {', '.join(sorted(missing))} missing")
    return Finding("processor", True, answer)


def _speed() -> Finding:
    factor = calibrate().factor
    load = os.getloadavg()[0]
    answer = f"limits in host seconds are multiplied by {factor:.2f}; load {load:.1f}"
    if factor >= CAP:
        return Finding("speed", None, answer, "very slow or very busy: guests on VMMs in host time may be called stuck")
    return Finding("speed", True, answer)


def _memory() -> Finding:
    available = host.memory_available()
    answer = f"{available // MIB} MiB available of {host.memory_total() // MIB} MiB"
    return Finding("memory", available >= MEMORY_WANTED, answer, f"a guest needs {MEMORY_WANTED // MIB} MiB to be sure")


def _disk() -> Finding:
    root = Store().root
    there = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(there).free
    answer = f"{free // MIB} MiB free for media in {root}"
    if not os.access(there, os.W_OK):
        return Finding("disk", False, f"{there} is not writable", "set XDG_CACHE_HOME to a folder of yours")
    return Finding("disk", free >= DISK_WANTED, answer, f"{DISK_WANTED // MIB} MiB are wanted; bringup media prune")


def _kvm() -> Finding:
    state = kvm.kvm_state()
    if state is kvm.Kvm.NONE:
        return Finding("/dev/kvm", None, "not there", "fine: the software processor needs none")
    if state is kvm.Kvm.CLOSED:
        return Finding("/dev/kvm", None, "no permission", "add yourself to its group, often kvm")
    try:
        speed = kvm.measure() / 1e6
    except OSError as error:
        return Finding("/dev/kvm", None, f"does not work: {error}")
    answer = f"{state}; a loop runs at {speed:,.1f} million instructions a second"
    return Finding("/dev/kvm", True if state is kvm.Kvm.HARDWARE else None, answer, "too slow to boot systems on")


def _vmm(name: str) -> Finding:
    what = f"{VMM}{name}"
    vmm = loader.load(name)
    try:
        answer = vmm.version()
        absent = vmm.missing()
        if absent is None and str(kvm.DEVICE) in vmm.definition.requires and kvm.kvm_state() is kvm.Kvm.SLOW:
            absent = f"{kvm.DEVICE} without VT-x or AMD-V: too slow"
        return Finding(what, True if absent is None else None, f"{answer}; needs {absent}" if absent else answer)
    except HarnessError as error:
        return Finding(what, None, str(error))


def _packages() -> Finding:
    def state(package: str) -> str:
        try:
            return f"{package} {version(package)}"
        except PackageNotFoundError:
            return f"{package} missing"

    answers = [state(package) for package in ("pytest", "pytest-xdist", "pexpect", "cffi", "msgspec", "pyte")]
    good = not any(answer.endswith("missing") for answer in answers)
    return Finding("packages", good, ", ".join(answers), "pip install bringup brings them all")


def _programs() -> Iterator[Finding]:
    for program, purpose in (("apt-get", "media out of Debian packages"), ("gcc", "building bringup from source")):
        path = shutil.which(program)
        yield Finding(program, path is not None or None, path or f"not there: {purpose} need another way")
