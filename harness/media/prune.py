"""Making room: what of the store nobody needs, and what of that is in nobody's hands."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from bringup.harness.media.debian.package import STALE
from bringup.harness.media.store import Store, disk_errors, locked

DAY = 86400
MINUTE = 60


@dataclass
class Pruned:
    """What was removed or, in a dry run, would be: each with its bytes and why."""

    items: list[tuple[str, int, str]] = field(default_factory=list)
    in_use: list[str] = field(default_factory=list)
    """What would go if nobody held it."""

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(size for _, size, _ in self.items)


def prune(store: Store, days: float | None = None, dry_run: bool = False) -> Pruned:
    """Removes what killed runs left behind, content that no name stands for any more and indexes older than a day;
    with `days`, also media that nobody has used for so long, and downloads that broke off so long ago.

    What another process holds stays. MediaError: a file that cannot be removed.
    """
    pruner = _Pruner(store, None if days is None else time.time() - days * DAY, dry_run)
    with disk_errors("pruning"):
        pruner.leftovers()
        pruner.partial()
        pruner.indexes()
        pruner.contents()
    return pruner.pruned


class _Pruner:
    def __init__(self, store: Store, before: float | None, dry_run: bool) -> None:
        self.store, self.before, self.dry_run, self.pruned = store, before, dry_run, Pruned()

    def leftovers(self) -> None:
        """Temporary files and folders whose maker is gone."""
        for path in self.folder("temporary"):
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # its maker is done with it
            try:
                if time.time() - os.fstat(descriptor).st_mtime < MINUTE:
                    continue  # it may not be locked yet
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.remove(path, "left by a killed run")
            except BlockingIOError:
                self.use(path)
            finally:
                os.close(descriptor)

    def partial(self) -> None:
        """Downloads that nobody goes on with."""
        for path in self.folder("partial"):
            if self.unused(path) and (lock := self.lock(f"download-{path.name}", path)):
                with lock:
                    self.remove(path, "a download that broke off")

    def indexes(self) -> None:
        """Of archives: they would be fetched anew before the next use."""
        for kind in ("apt", "mirror"):
            for path in self.folder(kind):
                stamp = path / "updated"
                if stamp.exists() and time.time() - stamp.stat().st_mtime < STALE:
                    continue
                if lock := self.lock(f"debian-{path.name}", path):
                    with lock:
                        self.remove(path, "an index older than a day")

    def contents(self) -> None:
        """Names that stand for nothing or for what is not used; then content without a name."""
        named: dict[str, list[Path]] = {}
        for name in self.store.names():
            path = self.store.root / "names" / f"{name}.json"
            if sha256 := self.store.named(name):
                named.setdefault(sha256, []).append(path)
        contents = [path for path in self.folder("content") if path.suffix == ""]
        for path in contents:
            names = named.pop(path.name, [])
            if names and not self.unused(path):
                continue
            why = f"not used for {(time.time() - path.stat().st_mtime) / DAY:.0f} days" if names else "nothing names it"
            if lock := self.lock(f"content/{path.name}", path):
                with lock:
                    if not names and path.name in {self.store.named(name) for name in self.store.names()}:
                        continue  # somebody has just named it
                    self.remove(path, why, *names, path.with_suffix(".json"))
                    if not self.dry_run:
                        Path(lock.name).unlink()
        for names in named.values():
            for path in names:
                self.remove(path, "stands for content that is gone")

    def folder(self, name: str) -> Iterator[Path]:
        folder = self.store.root / name
        return iter(sorted(folder.iterdir())) if folder.is_dir() else iter(())

    def unused(self, path: Path) -> bool:
        return self.before is not None and path.stat().st_mtime <= self.before

    def lock(self, name: str, path: Path) -> BinaryIO | None:
        """The lock of this name, or None when somebody holds it."""
        lock = locked(self.store.root / "locks" / name, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock is None:
            self.use(path)
        return lock

    def use(self, path: Path) -> None:
        self.pruned.in_use.append(str(path.relative_to(self.store.root)))

    def remove(self, path: Path, why: str, *more: Path) -> None:
        """Removes a file or folder, and what goes with it."""
        paths = [each for each in (*more, path) if each.exists()]
        size = sum(file.stat().st_size for each in paths for file in _files(each))
        self.pruned.items.append((str(path.relative_to(self.store.root)), size, why))
        if not self.dry_run:
            for each in paths:
                if each.is_dir():
                    shutil.rmtree(each)
                else:
                    each.unlink(missing_ok=True)


def _files(path: Path) -> Iterator[Path]:
    return (each for each in path.rglob("*") if each.is_file()) if path.is_dir() else iter((path,))
