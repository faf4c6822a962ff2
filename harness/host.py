"""What machine this is: the fingerprint that goes into every run's records, and what `bringup doctor` looks at."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from bringup.harness.cpuinfo import cpu_model
from bringup.harness.kvm import kvm_state
from bringup.harness.limits import Scale
from bringup.harness.records.schema import Host


def memory_total() -> int:
    """Bytes of RAM that this process may use: the machine's, or its control group's limit when that is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _read(Path("/sys/fs/cgroup/memory.max")).strip()
    return min(machine, int(limit)) if limit.isdigit() else machine


def memory_available() -> int:
    """Bytes that a new process can have without swapping (MemAvailable of proc(5)), or its control group's limit when
    that is less."""
    match = re.search(r"^MemAvailable:\s*(\d+) kB$", _read(Path("/proc/meminfo")), re.MULTILINE)
    return min(int(match[1]) * 1024, memory_total()) if match else memory_total()


def cpus() -> int:
    """Processors that this process may run on."""
    return len(os.sched_getaffinity(0))


def system() -> str:
    """Distribution and release."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.system()


def fingerprint(scale: Scale) -> Host:
    """This host, now."""
    return Host(
        cpu=cpu_model(),
        cpus=cpus(),
        memory=memory_total(),
        kernel=platform.release(),
        system=system(),
        kvm=str(kvm_state()),
        load=round(os.getloadavg()[0], 2),
        scale=round(scale.factor, 3),
    )


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
