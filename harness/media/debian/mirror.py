"""Debian packages straight from a mirror, for systems without apt.

The chain is that of the archive: a key of the keyring signs InRelease, which states the hash of each index, which
states the hash of each package. What is kept between two runs (`<root>/mirror/`) is checked again when it is read.
"""

from __future__ import annotations

import hashlib
import lzma
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bringup.harness.media import http
from bringup.harness.media.debian import release, version
from bringup.harness.media.debian.package import STALE, Package
from bringup.harness.media.progress import Progress
from bringup.harness.media.store import MediaError, MediaMissing, WrongContentError, disk_errors, file_sha256

INDEX = "Packages.xz"
SIGNED_MOST = 16 << 20
"""Bytes that an InRelease may have."""
INDEX_MOST = 1 << 30
"""Bytes that an unpacked index may have."""
_PATH = re.compile(r"(?!\.{1,2}(/|$))[A-Za-z0-9._+~%:=@-]+(/(?!\.{1,2}(/|$))[A-Za-z0-9._+~%:=@-]+)*")
"""A path below the mirror: no part of it leads out."""


@dataclass(frozen=True)
class _Suite:
    """A suite on a mirror, and where its signed index is kept."""

    mirror: str
    name: str
    folder: Path

    @property
    def signed(self) -> Path:
        return self.folder / "InRelease"

    def url(self, path: str) -> str:
        return f"{self.mirror}/dists/{self.name}/{quote(path)}"


class MirrorArchive:
    """A Debian release for one architecture on mirrors: an `Archive`.

    A mirror is a URL without `dists`; one that ends in `-security` has the release's security updates, any other the
    release itself and its point updates.
    """

    def __init__(
        self,
        release_name: str,
        architecture: str,
        mirrors: Sequence[str],
        keyring: Path | None,
        folder: Path,
        progress: Progress,
    ) -> None:
        self.release, self.architecture, self.folder, self.progress = release_name, architecture, folder, progress
        self._keys = release.keys(keyring)
        self._suites = list(self._all_suites([mirror.rstrip("/") for mirror in mirrors]))
        self._origin: dict[Package, str] = {}

    def _all_suites(self, mirrors: Sequence[str]) -> Iterator[_Suite]:
        for mirror in mirrors:
            if not re.match(r"https?://", mirror):
                raise MediaError(f"mirror {mirror!r}: is no http or https address")
            endings = ("-security",) if mirror.endswith("-security") else ("", "-updates")
            for ending in endings:
                name = hashlib.sha256(mirror.encode()).hexdigest()[:16]
                yield _Suite(mirror, self.release + ending, self.folder / name / (self.release + ending))

    def update(self) -> None:
        """Fetches the signed indexes and what they vouch for. A suite of updates that a mirror has not, or is changing
        just now, is done without, until the next time, and that is said; a wrong signature is an error."""
        for suite in self._suites:
            try:
                self._update(suite)
            except release.SignatureError:
                raise
            except (MediaMissing, WrongContentError) as error:
                if suite.name == self.release:
                    raise
                suite.signed.unlink(missing_ok=True)
                self.progress.note(f"{error}; without it")
        with disk_errors(f"the index of {self.release}"):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stamp.touch()

    def _update(self, suite: _Suite) -> None:
        what = f"the index of {suite.name}"
        content = http.read(suite.url("InRelease"), what, SIGNED_MOST)
        about = release.verify(content, suite.name, self._keys)
        with disk_errors(what):
            suite.folder.mkdir(parents=True, exist_ok=True)
            for path in about.indexes(self.architecture):
                self._fetch_index(suite, about, path)
            _write(suite.signed, content)

    def is_stale(self) -> bool:
        """Is there no index, or an old one?"""
        there = self._stamp.exists() and any(suite.signed.exists() for suite in self._suites)
        return not there or not 0 <= time.time() - self._stamp.stat().st_mtime < STALE

    @property
    def _stamp(self) -> Path:
        return self.folder / "updated"

    def package(self, name: str) -> Package:
        """The newest version of this package in any suite, or of the one that it stands for."""
        found = [package for suite in self._suites for package in self._packages(suite, name)]
        if not found:
            raise MediaMissing(f"package {name}: No packages found")
        newest = max(found, key=lambda package: version.key(package.version))
        real = newest.stands_for()
        return newest if real is None else self.package(real)

    def download(self, package: Package, folder: Path) -> Path:
        """Downloads a package into an empty folder."""
        what, mirror = str(package), self._origin[package]
        if not _PATH.fullmatch(package.filename):
            raise WrongContentError(f"{what}: the archive's index states the path {package.filename!r}")
        path = folder / f"{package.name}.deb"
        url = f"{mirror}/{quote(package.filename)}"
        with disk_errors(what), path.open("wb") as file:
            self._fetch(url, what, release.File(package.sha256, package.size), file.write)
        return path

    # ---- indexes ----

    def _fetch_index(self, suite: _Suite, about: release.Release, path: str) -> None:
        """Fetches an index unless it is there already."""
        wanted = about.files.get(f"{path}/{INDEX}")
        if wanted is None:
            if path.endswith("-all"):
                return
            raise MediaMissing(f"the index of {suite.name}: has no packages for {self.architecture}")
        kept = self._kept(suite, path)
        if kept.exists() and file_sha256(kept) == wanted.sha256:
            return
        what = f"the index of {suite.name}"
        parts: list[bytes] = []
        by_hash = f"{path}/by-hash/SHA256/{wanted.sha256}"
        try:
            self._fetch(suite.url(by_hash if about.by_hash else f"{path}/{INDEX}"), what, wanted, parts.append)
        except http.NotThere:
            if not about.by_hash:
                raise
            self._fetch(suite.url(f"{path}/{INDEX}"), what, wanted, parts.append)
        _write(kept, b"".join(parts))

    def _kept(self, suite: _Suite, path: str) -> Path:
        return suite.folder / f"{path.replace('/', '_')}_{INDEX}"

    def _packages(self, suite: _Suite, name: str) -> Iterator[Package]:
        """The paragraphs of a package in a suite's indexes, which are checked from the signature on."""
        if not suite.signed.exists():
            return
        what = f"the index of {suite.name}"
        with disk_errors(what):
            about = release.verify(suite.signed.read_bytes(), suite.name, self._keys)
            for path in about.indexes(self.architecture):
                wanted, kept = about.files.get(f"{path}/{INDEX}"), self._kept(suite, path)
                if wanted is None:
                    continue
                content = kept.read_bytes()
                if hashlib.sha256(content).hexdigest() != wanted.sha256:
                    raise WrongContentError(f"{what}: {kept} is not what InRelease states; remove it to fetch it again")
                for paragraph in _paragraphs(_unpacked(what, content), name):
                    package = Package.parse(paragraph)
                    self._origin[package] = suite.mirror
                    yield package

    def _fetch(self, url: str, what: str, wanted: release.File, write: Callable[[bytes], object]) -> None:
        """A file of known hash and size."""
        digest, size = hashlib.sha256(), 0
        with http.get(url, what) as body:
            for chunk in body.chunks:
                size += len(chunk)
                if size > wanted.size:
                    break
                digest.update(chunk)
                write(chunk)
                self.progress.update(what, 100 * size / wanted.size)
            if body.total is not None and size < min(body.total, wanted.size):
                raise MediaMissing(f"{what}: {url}: the connection ended after {size} of {body.total} bytes")
        if size != wanted.size:
            relation = "more" if size > wanted.size else f"{size}, not"
            raise WrongContentError(f"{what}: {url} has {relation} {'than ' * (size > wanted.size)}{wanted.size} bytes")
        if digest.hexdigest() != wanted.sha256:
            found = digest.hexdigest()
            raise WrongContentError(f"{what}: sha256 is {found}, not {wanted.sha256} as the archive's index states")


def _unpacked(what: str, content: bytes) -> bytes:
    decompressor = lzma.LZMADecompressor()
    try:
        text = decompressor.decompress(content, INDEX_MOST)
    except lzma.LZMAError as error:
        raise WrongContentError(f"{what}: {INDEX} is damaged: {error}") from None
    if not decompressor.eof:
        raise WrongContentError(f"{what}: {INDEX} is cut off or unpacks to more than {INDEX_MOST} bytes")
    return text


def _paragraphs(index: bytes, name: str) -> Iterator[str]:
    """The paragraphs of this package."""
    begin = f"Package: {name}\n".encode()
    at = 0 if index.startswith(begin) else index.find(b"\n" + begin)
    while at >= 0:
        at += index[at : at + 1] == b"\n"
        end = index.find(b"\n\n", at)
        yield index[at : end if end >= 0 else len(index)].decode(errors="replace")
        at = index.find(b"\n" + begin, at)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all; only the holder of the archive's lock writes."""
    new = path.with_suffix(".new")
    try:
        new.write_bytes(content)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
