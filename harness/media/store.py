"""A content-addressed store: a file's name is its sha256, so that what is in it can be checked and never changes.

    <root>/content/<sha256>        the bytes, read-only
    <root>/content/<sha256>.json   where they are from and under which licence
    <root>/names/<name>.json       what a name, such as a package's, stood for when it was last fetched
    <root>/locks/<name>            held while somebody fetches
    <root>/locks/content/<sha256>  held, shared, by whoever has got this content from the store
    <root>/partial/<sha256>        what is there of a download
    <root>/temporary/              files in the making, each locked by its maker

The root is $XDG_CACHE_HOME/bringup (~/.cache/bringup). Any number of processes may use one store: a file appears
whole or not at all.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import BinaryIO, cast

from bringup.harness.errors import HarnessError


class MediaError(HarnessError):
    """Media that cannot be had."""


class MediaMissing(MediaError):
    """Media that cannot be had on this machine, or not now: what needs them is left out, with this reason."""


class WrongContentError(MediaError):
    """Media that are there and are not what they should be: never to be used, and never to be passed over."""


@dataclass(frozen=True)
class Provenance:
    """Where a file is from; kept beside it."""

    name: str
    """Of the file, where it comes from: the path in its package."""
    origin: str
    """What brought it: package, version, architecture and release."""
    licence: str
    """SPDX expression."""
    container: str = ""
    """sha256 of the package that it was taken out of, as the archive's signed index states it."""


@dataclass(frozen=True)
class Medium:
    """A file in the store."""

    path: Path
    sha256: str
    provenance: Provenance


def cache_root() -> Path:
    """$XDG_CACHE_HOME/bringup; as the XDG base directory specification has it, a relative value does not count."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "bringup"


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Turns an OSError about `what` into a MediaError of one line."""
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        raise MediaError(f"{what}: {error.filename or 'cannot write'}: {reason}") from error


def file_sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def locked(path: Path, how: int) -> BinaryIO | None:
    """Opens and locks a file of `locks/` as flock(2) has it; None: with LOCK_NB, when somebody else holds it. Who
    prunes may take the file away while it is waited for: then it is made anew."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("wb")
        try:
            fcntl.flock(file, how)
            if _is_at(file, path):
                return file
        except BlockingIOError:
            file.close()
            return None
        except BaseException:
            file.close()
            raise
        file.close()


def _close(files: dict[str, BinaryIO]) -> None:
    for file in files.values():
        file.close()


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


class Store:
    """The store under one root folder; it comes into being with the first file."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = cache_root() if root is None else root
        self._held: dict[str, BinaryIO] = {}
        """Locks of what this store has given away: as long as it lives, nobody prunes that."""
        weakref.finalize(self, _close, self._held)

    def add(self, chunks: Iterable[bytes], provenance: Provenance, expected: str | None = None) -> Medium:
        """Stores the bytes of `chunks`, whose sha256 must be `expected` when that is given.

        Raises WrongContentError: other bytes than expected; MediaError: disk full. Of what fails nothing is left.
        """
        with self.temporary(provenance.name) as file:
            for chunk in chunks:
                file.write(chunk)
            return self.take(file, provenance, expected)

    def take(self, file: BinaryIO, provenance: Provenance, expected: str | None = None) -> Medium:
        """Stores a file that `temporary` gave, as `add` stores bytes."""
        with disk_errors(f"storing {provenance.name}"):
            file.flush()
            sha256 = file_sha256(Path(file.name))
            if expected not in (None, sha256):
                raise WrongContentError(f"{provenance.name} of {provenance.origin}: sha256 is {sha256}, not {expected}")
            self._hold(sha256)
            self._write_json("content", f"{sha256}.json", asdict(provenance))
            path = self.root / "content" / sha256
            self._publish(file, path)
        return Medium(path, sha256, provenance)

    def keep(self, content: bytes, provenance: Provenance) -> Medium:
        """Stores these bytes, or finds that they are there: then nothing is written."""
        return self.get(hashlib.sha256(content).hexdigest()) or self.add([content], provenance)

    def get(self, sha256: str) -> Medium | None:
        """The file of this content, or None; WrongContentError when the stored bytes are no longer these."""
        if not (self.root / "content" / sha256).exists():
            return None
        with disk_errors(f"locking {sha256}"):
            self._hold(sha256)
        if (medium := self.peek(sha256)) is None:
            return None
        with disk_errors(f"reading {medium.path}"):
            if file_sha256(medium.path) != sha256:
                raise WrongContentError(
                    f"{medium.path}: the content is not what the name says; remove it to fetch it again"
                )
        with contextlib.suppress(OSError):  # in a store of somebody else's
            os.utime(medium.path)  # when it was last of use
        return medium

    def peek(self, sha256: str) -> Medium | None:
        """The same, unchecked and not held: to tell of, not to use."""
        path = self.root / "content" / sha256
        provenance = self._read_json("content", f"{sha256}.json", {field.name for field in fields(Provenance)})
        return None if provenance is None or not path.exists() else Medium(path, sha256, Provenance(**provenance))

    def bind(self, name: str, medium: Medium) -> None:
        """From now on `name` (parts separated by slashes) stands for this file."""
        with disk_errors(f"storing {name}"):
            self._write_json("names", f"{name}.json", {"sha256": medium.sha256})

    def lookup(self, name: str) -> Medium | None:
        """The file that `name` stands for, if there is one."""
        sha256 = self.named(name)
        return None if sha256 is None else self.get(sha256)

    def named(self, name: str) -> str | None:
        """The sha256 that `name` stands for."""
        data = self._read_json("names", f"{name}.json", {"sha256"})
        return None if data is None else data["sha256"]

    def names(self) -> Iterator[str]:
        """Every name that there is."""
        folder = self.root / "names"
        for path in sorted(folder.rglob("*.json")):
            yield str(path.relative_to(folder)).removesuffix(".json")

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """One process at a time for this name; the lock goes with the process that holds it."""
        path = self.root / "locks" / name
        with disk_errors(f"locking {name}"):
            file = locked(path, fcntl.LOCK_EX)
        assert file is not None  # noqa: S101, it has been waited for
        with file:
            yield

    @contextlib.contextmanager
    def temporary(self, what: str) -> Iterator[BinaryIO]:
        """A new file beside the stored ones, gone at the end unless it was taken. MediaError about `what`: an OSError
        within."""
        with disk_errors(f"storing {what}"), self._temporary() as file:
            yield file

    @contextlib.contextmanager
    def partial(self, sha256: str, what: str) -> Iterator[BinaryIO]:
        """The file that is to have this content, as far as it came before: who holds the lock on it completes it. It
        is kept when MediaMissing leaves it incomplete; after another error, or once taken, it is gone."""
        path = self.root / "partial" / sha256
        with disk_errors(f"storing {what}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            with path.open("r+b") as file:
                try:
                    yield file
                except MediaMissing:
                    raise
                except Exception:
                    path.unlink(missing_ok=True)
                    raise

    @contextlib.contextmanager
    def _temporary(self) -> Iterator[BinaryIO]:
        with tempfile.NamedTemporaryFile(dir=self._temporaries(), delete=False) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH)
                yield cast(BinaryIO, file)
            finally:
                Path(file.name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def temporary_folder(self) -> Iterator[Path]:
        """A new folder, gone at the end."""
        with tempfile.TemporaryDirectory(dir=self._temporaries()) as folder:
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH)
                yield Path(folder)
            finally:
                os.close(descriptor)

    def _temporaries(self) -> Path:
        folder = self.root / "temporary"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _hold(self, sha256: str) -> None:
        """From now on this content is in use."""
        if sha256 not in self._held:
            file = locked(self.root / "locks" / "content" / sha256, fcntl.LOCK_SH)
            assert file is not None  # noqa: S101, it has been waited for
            self._held[sha256] = file

    def _publish(self, file: BinaryIO, path: Path) -> None:
        """Gives a temporary file its final name, once its bytes are on the disk."""
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o444)
        path.parent.mkdir(parents=True, exist_ok=True)
        Path(file.name).replace(path)

    def _write_json(self, kind: str, name: str, data: Mapping[str, str]) -> None:
        with self._temporary() as file:
            file.write(json.dumps(data, indent=2).encode() + b"\n")
            self._publish(file, self.root / kind / name)

    def _read_json(self, kind: str, name: str, keys: set[str]) -> dict[str, str] | None:
        path = self.root / kind / name
        try:
            with disk_errors(f"reading {path}"):
                data = json.loads(path.read_bytes()) if path.exists() else None
        except ValueError:
            data = ()
        if data is not None and not (isinstance(data, dict) and data.keys() == keys):
            raise MediaError(f"{path}: is not what was written there; remove it to fetch anew")
        return data
