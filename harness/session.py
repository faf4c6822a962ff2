"""What the attempts of one process have in common: the run that they belong to, its folder, its records.

    <output-dir>/<run>/             a run; `latest` beside it is a link to the newest
        run.records.jsonl           of the process that was started by a person
        gw0.records.jsonl, ...      of its workers
        gw0-0001-<guest>-<vmm>/     the bundle of an attempt that went wrong

A run's folder is swept away when more than `keep` newer ones are there and no process of that run lives.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from bringup.harness.calibration import calibrate
from bringup.harness.errors import HarnessError
from bringup.harness.host import fingerprint
from bringup.harness.limits import Scale
from bringup.harness.records.schema import Finish, Run
from bringup.harness.records.writer import SUFFIX, RecordWriter

OUTPUT = Path("bringup-out")
"""Where runs are kept unless the user says otherwise."""
KEEP = 20
"""Runs that are kept."""
LATEST = "latest"
_RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")

Reserve = Callable[[int, int], AbstractContextManager[object]]
"""Waits until a machine of so many vCPUs and bytes may run, and holds that place."""


def new_run_id() -> str:
    """Sorts by time, and is different for two runs of one second."""
    return time.strftime("%Y%m%d-%H%M%S-", time.gmtime()) + secrets.token_hex(3)


def create_run(output: Path, keep: int = KEEP) -> Path:
    """A new run's folder, after old ones have been swept away. HarnessError: it cannot be made."""
    return begin_run(output / new_run_id(), keep)


def begin_run(folder: Path, keep: int = KEEP) -> Path:
    """Makes the folder of a run, which another of its processes may have done already, and sweeps old runs away."""
    output = folder.parent
    try:
        output.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:
            return folder
        ignore = output / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
    except OSError as error:
        raise HarnessError(f"output folder {output}: {error.strerror}") from error
    _point(output / LATEST, folder.name)
    sweep(output, keep)
    return folder


def runs(output: Path) -> list[Path]:
    """The folders of all runs that are kept, newest first."""
    if not output.is_dir():
        return []
    return sorted((path for path in output.iterdir() if _RUN.fullmatch(path.name)), reverse=True)


def sweep(output: Path, keep: int) -> list[Path]:
    """Removes all runs but the newest `keep` and those that still run; returns what it removed."""
    removed = []
    for path in runs(output)[keep:]:
        if not is_alive(path):
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    return removed


def is_alive(run: Path) -> bool:
    """Does a process still write records of this run?"""
    for path in run.glob(f"*{SUFFIX}"):
        with suppress(OSError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def _point(link: Path, target: str) -> None:
    """Makes `link` a symbolic link to `target`, also where several runs begin at once; a real file is left alone."""
    if link.exists() and not link.is_symlink():
        return
    temporary = link.with_name(f".{link.name}-{os.getpid()}")
    with suppress(OSError):  # a file system without links: the run is there all the same
        temporary.symlink_to(target)
        temporary.replace(link)


@dataclass
class Session:
    """A process that runs guests. Use it as a context manager; `attempt` (harness/attempt.py) is its use."""

    folder: Path
    """The run's."""
    command: Sequence[str]
    """What the user started."""
    worker: str = "run"
    """Of pytest-xdist: `gw0`, ...; `run` for the process that the user started."""
    scale: Scale = field(default_factory=calibrate)
    seed: int | None = None
    keep_on_failure: Callable[[str], None] | None = None
    """A machine on which an attempt failed is held (harness/hold.py), and this is told how to attach."""
    reserve: Reserve = lambda cpus, memory: nullcontext()
    attempts: int = 0
    """Begun so far."""

    def __post_init__(self) -> None:
        self.records = RecordWriter(self.folder / f"{self.worker}{SUFFIX}")
        self.records.write(
            Run(
                run=self.run,
                at=time.time(),
                bringup=version("bringup"),
                command=tuple(self.command),
                host=fingerprint(self.scale),
                seed=self.seed,
                worker=self.worker,
            )
        )

    @property
    def run(self) -> str:
        """The run's id."""
        return self.folder.name

    def finish(self, status: int, interrupted: bool = False) -> None:
        """Writes the process's last record and closes the file."""
        self.records.write(Finish(run=self.run, at=time.time(), status=status, interrupted=interrupted))
        self.records.close()
