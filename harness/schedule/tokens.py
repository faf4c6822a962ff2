"""Places for machines: vCPUs and memory of the host, shared by all workers of a run through files.

A folder holds a file for each machine that runs or waits: its ticket, its vCPUs, its memory. Whoever owns it keeps it
locked (flock), so that the place of a process that was killed is free at once. Places are given by ticket, first come
first served, and nobody overtakes: a large machine is not starved by small ones.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bringup.harness import host
from bringup.harness.machine.ending import MachineError
from bringup.harness.outcome import Blame

MIB = 1 << 20
OVERHEAD = 192 * MIB
"""Of a VMM beside its guest's memory, and of the harness that drives it."""
RESERVED = 512 * MIB
"""What is left to everything else on this host."""
USUAL = 512 * MIB
"""Memory of the guests that are many; a larger one waits until others have ended."""
POLL = 0.02
"""Seconds between two looks at the folder."""
_LOCK = "lock"
SUFFIX = ".place"


@dataclass(frozen=True)
class Capacity:
    """What all machines together may have."""

    cpus: int
    memory: int
    """Bytes."""

    @classmethod
    def of_this_host(cls) -> Capacity:
        """All processors, and the memory that is available now but for a reserve."""
        return cls(host.cpus(), max(host.memory_available() - RESERVED, 0))

    def workers(self) -> int:
        """How many machines of the usual kind may run at a time: one worker each."""
        return max(1, min(self.cpus, self.memory // (USUAL + OVERHEAD)))


@dataclass(frozen=True)
class _Place:
    ticket: int
    cpus: int
    memory: int


class Places:
    """The places of one run. Any number of processes may have an object for the same folder."""

    def __init__(self, folder: Path, capacity: Capacity) -> None:
        self.folder, self.capacity = folder, capacity

    @contextmanager
    def reserve(self, cpus: int, memory: int) -> Iterator[None]:
        """Waits for a place of so many vCPUs and bytes, and holds it. A machine with more vCPUs than the host has
        processors takes them all; MachineError: one with more memory can never run here."""
        wanted = memory + OVERHEAD
        if wanted > self.capacity.memory:
            raise MachineError(
                f"a machine of {memory // MIB} MiB (and {OVERHEAD // MIB} MiB beside it) does not fit this host: "
                f"{self.capacity.memory // MIB} MiB are there for machines",
                Blame.HOST,
            )
        path, fd = self._queue(min(cpus, self.capacity.cpus), wanted)
        try:
            while not self._granted(path):
                time.sleep(POLL)
            yield
        finally:
            path.unlink(missing_ok=True)
            os.close(fd)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time looks at the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _queue(self, cpus: int, memory: int) -> tuple[Path, int]:
        with self._locked():
            ticket = max((place.ticket for place in self._living()), default=0) + 1
            path = self.folder / f"{ticket:09}-{cpus}-{memory}{SUFFIX}"
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
        return path, fd

    def _granted(self, path: Path) -> bool:
        """Do this machine and all that came before it fit?"""
        mine = _parse(path)
        with self._locked():
            before = [place for place in self._living() if place.ticket <= mine.ticket]
        cpus, memory = sum(place.cpus for place in before), sum(place.memory for place in before)
        return cpus <= self.capacity.cpus and memory <= self.capacity.memory

    def _living(self) -> list[_Place]:
        """All places whose owners live; those of others are removed."""
        living = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            with suppress(FileNotFoundError):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                except BlockingIOError:
                    living.append(_parse(path))
                finally:
                    os.close(fd)
        return living


def _parse(path: Path) -> _Place:
    ticket, cpus, memory = path.name.removesuffix(SUFFIX).split("-")
    return _Place(int(ticket), int(cpus), int(memory))
