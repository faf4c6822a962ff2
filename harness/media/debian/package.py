"""A package as an archive's index states it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bringup.harness.media.store import MediaError

STALE = 24 * 3600
"""Seconds after which an index is fetched anew before a package is looked up in it."""
_FIELD = re.compile(r"^([A-Za-z0-9-]+):[ \t]*(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Package:
    """What is needed of a paragraph of the index."""

    name: str
    version: str
    sha256: str
    depends: str
    architecture: str
    filename: str = ""
    """Path below the mirror; "" where apt knows it."""
    size: int = 0
    """Bytes; 0 where apt knows it."""

    @classmethod
    def parse(cls, record: str) -> Package:
        """From one paragraph; MediaError when it lacks a field."""
        fields = dict(_FIELD.findall(record))
        size = fields.get("Size", "0")
        try:
            return cls(
                name=fields["Package"],
                version=fields["Version"],
                sha256=fields["SHA256"],
                depends=fields.get("Depends", ""),
                architecture=fields["Architecture"],
                filename=fields.get("Filename", ""),
                size=int(size) if size.isdecimal() else 0,
            )
        except KeyError as error:
            raise MediaError(f"the archive's index states no {error.args[0]} in {record[:40]!r}") from None

    def stands_for(self) -> str | None:
        """The package that a metapackage is there to bring: its one dependency, of an exact version."""
        match = re.fullmatch(r"([a-z0-9][a-z0-9+.-]+)(?::any)? \(= [^)]+\)", self.depends)
        return match[1] if match else None

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class Archive(Protocol):
    """A Debian release for one architecture. Not for two processes at a time.

    All of it raises MediaMissing for what cannot be reached or is not there, WrongContentError for a wrong signature,
    hash, size or date, MediaError for a full disk.
    """

    def update(self) -> None:
        """Fetches the index."""

    def is_stale(self) -> bool:
        """Is there no index, or an old one?"""

    def package(self, name: str) -> Package:
        """The newest version of this package, or of the one that it stands for."""

    def download(self, package: Package, folder: Path) -> Path:
        """Downloads a package into an empty folder."""
