"""A Debian package, or a file that it brings: through apt where the machine has it, else from a mirror.

BRINGUP_MIRROR names mirrors, separated by spaces, that are asked in place of apt; BRINGUP_KEYRING the keys that must
have signed what they offer, in place of the system's; BRINGUP_APT_SOURCES a sources.list(5) file for apt.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

from bringup.guests.definition import DebianPackage
from bringup.harness.media.debian.apt import AptArchive
from bringup.harness.media.debian.deb import open_file
from bringup.harness.media.debian.mirror import MirrorArchive
from bringup.harness.media.debian.package import Archive
from bringup.harness.media.progress import Progress
from bringup.harness.media.store import (
    MediaError,
    MediaMissing,
    Medium,
    Provenance,
    Store,
    disk_errors,
)

WHOLE = "+package"
"""In place of a file's name in the store, in which no `+` stands."""


def _mirrors() -> tuple[str, ...]:
    return tuple(os.environ.get("BRINGUP_MIRROR", "").split())


def _keyring() -> Path | None:
    named = os.environ.get("BRINGUP_KEYRING")
    return Path(named) if named else None


@dataclass(frozen=True)
class Origin:
    """Where Debian packages are from."""

    mirrors: tuple[str, ...] = field(default_factory=_mirrors)
    keyring: Path | None = field(default_factory=_keyring)

    def archive(self, wanted: DebianPackage, root: Path, progress: Progress) -> Archive:
        """The archive that has this package. MediaMissing: this system has no way to any."""
        system = f"{wanted.release}-{wanted.architecture}"
        if self.mirrors:
            folder = root / "mirror" / system
            return MirrorArchive(wanted.release, wanted.architecture, self.mirrors, self.keyring, folder, progress)
        if shutil.which("apt-get") is None:
            raise MediaMissing(
                "no apt-get on this system: name a mirror of Debian by --mirror or BRINGUP_MIRROR, or install apt"
            )
        return AptArchive(wanted.release, wanted.architecture, root / "apt" / system, progress)


def name_of(wanted: DebianPackage) -> str:
    """What the file is called in the store."""
    what = WHOLE if wanted.file is None else quote(wanted.file, safe="")
    return "/".join(("debian", wanted.release, wanted.architecture, wanted.package, what))


def fetch(
    wanted: DebianPackage,
    store: Store,
    progress: Progress,
    *,
    origin: Origin | None = None,
    refresh: bool = False,
    offline: bool = False,
) -> Medium:
    """The file, or the package: out of the store when it has ever been fetched, without any network; else, or to
    `refresh` it, from the archive unless `offline`.

    Raises MediaMissing: no way to an archive, no such package, download cut off; MediaError: disk full;
    WrongContentError: a wrong hash or signature.
    """
    name = name_of(wanted)
    if (not refresh or offline) and (medium := store.lookup(name)):
        return medium
    if offline:
        raise MediaMissing(f"Debian package {wanted.package}: was never fetched, and offline nothing is")
    with store.lock(f"debian-{wanted.release}-{wanted.architecture}"):
        if not refresh and (medium := store.lookup(name)):
            return medium  # another process was fetching it
        archive = (origin or Origin()).archive(wanted, store.root.absolute(), progress)
        medium = _download(wanted, store, archive, refresh)
        store.bind(name, medium)
    return medium


def _download(wanted: DebianPackage, store: Store, archive: Archive, refresh: bool) -> Medium:
    fresh = refresh or archive.is_stale()
    if fresh:
        archive.update()
    try:
        return _take(wanted, store, archive)
    except MediaError:
        if fresh:
            raise
    archive.update()  # the archive may have moved on since its index was fetched
    return _take(wanted, store, archive)


def _take(wanted: DebianPackage, store: Store, archive: Archive) -> Medium:
    package = archive.package(wanted.package)
    with disk_errors(f"downloading {package}"), store.temporary_folder() as folder:
        deb = archive.download(package, folder)
        with _content(deb, wanted.file) as (name, content):
            provenance = Provenance(
                name=name,
                origin=f"Debian package {package} {package.architecture} ({wanted.release})",
                licence=wanted.licence,
                container=package.sha256,
            )
            return store.add(iter(lambda: content.read(1 << 20), b""), provenance)


@contextmanager
def _content(deb: Path, file: str | None) -> Iterator[tuple[str, IO[bytes]]]:
    """What is wanted of a package, with its name: a file, or all of it."""
    if file is None:
        with deb.open("rb") as whole:
            yield deb.name, whole
    else:
        with open_file(deb, file) as found:
            yield found
