"""Processes seen from outside: their descendants and CPU time."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path


def children(pid: int) -> list[int]:
    """Of a process, its threads' ones among them; [] for one that is gone."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its ended threads among it, and of its living descendants.

    From the kernel's clock of a process's CPU time, clock_getcpuclockid(3), which counts nanoseconds where
    /proc/PID/stat has ticks of 10 ms; for a thread that runs it is as old as the kernel's last tick. 0 for a process
    that is gone.
    """
    try:
        own = time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED of the thread group: Linux, posix-timers_types.h
    except OSError:
        return 0.0
    return own + sum(map(cpu_seconds, children(pid)))
