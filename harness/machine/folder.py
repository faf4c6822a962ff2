"""Folders for sockets and for what a network serves, where a VMM can do no better than paths: short, 0700, and swept
when whoever made them is gone.

A folder is its keeper's to remove. A kill of keeper and driver at the same time leaves it; the next machine's start
finds its lock free and sweeps it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PREFIX = "machine-"
LOCK = "lock"


def base() -> Path:
    """Where such folders are: below XDG_RUNTIME_DIR, or the temporary folder, because paths of sockets are short."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and Path(runtime).is_dir():
        return Path(runtime, "bringup")
    return Path(tempfile.gettempdir(), f"bringup-{os.getuid()}")


class SocketFolder:
    """One machine's; `path` has nothing in it but a lock, which stays locked until `close`."""

    def __init__(self, parent: Path | None = None) -> None:
        parent = base() if parent is None else parent
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = parent.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(f"{parent} is somebody else's, or others may write there")
        sweep(parent)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = os.open(self.path / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Removes it, if its keeper has not."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def serve(parent: Path, files: Iterable[tuple[str, Path]]) -> Path:
    """A new folder `tftp` in which the files are found by these names."""
    folder = parent / "tftp"
    folder.mkdir(mode=0o700)
    for name, file in files:
        (folder / name).symlink_to(file.absolute())
    return folder


def sweep(parent: Path) -> None:
    """Removes folders whose makers are gone."""
    for folder in parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
