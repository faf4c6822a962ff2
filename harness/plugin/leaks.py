"""Nothing of a run may outlive it: processes are looked for by the variable that all of them inherit, and files where
machines may leave some."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bringup.harness.machine.folder import LOCK, PREFIX, base
from bringup.harness.plugin import options
from bringup.harness.plugin.run import MARK, PLACES, PluginRun
from bringup.harness.schedule.tokens import SUFFIX

PATIENCE = 5.0
"""Host seconds that what is about to end has for it."""


def check(session: pytest.Session, run: PluginRun) -> None:
    """Makes the session fail when something of its run is left, and says what."""
    if options.get(run.config, "keep-on-failure"):
        return
    deadline = time.monotonic() + PATIENCE
    while left := [*processes(run.folder.name), *files(run.folder)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    run.leaks = left
    if left and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def processes(run: str) -> Iterator[str]:
    """Processes that were started by this run, but for this one and its workers."""
    mark = f"{MARK}={run}".encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    yield f"process {folder.name}: {command[:200]}"
            except OSError:
                continue  # gone, or somebody else's


def files(run: Path) -> Iterator[str]:
    """Of a run, by its folder: places that are still held, and folders of sockets, made since, that nobody holds.
    The places of workers that were killed are nobody's, and are taken away."""
    for path in (run / PLACES).glob(f"*{SUFFIX}"):
        if _is_held(path):
            yield f"place of a machine: {path}"
        else:
            path.unlink(missing_ok=True)
    for path in base().glob(f"{PREFIX}*"):
        try:
            if path.stat().st_mtime >= run.stat().st_ctime - 1 and not _is_held(path / LOCK):
                yield f"folder of a machine: {path}"
        except OSError:
            continue  # it went meanwhile


def _is_held(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False
