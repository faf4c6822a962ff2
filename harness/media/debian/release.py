"""An archive's signed index of indexes: `InRelease`. Source: Debian wiki, DebianRepository/Format.

Of the file only what the signature covers is ever looked at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pysequoia

from bringup.harness.media.store import MediaError, MediaMissing, WrongContentError, disk_errors

KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/etc/apt/trusted.gpg.d/debian-archive-keyring.gpg"),
)
"""Where systems have the keys of Debian's archive."""
AHEAD = timedelta(days=1)
"""By how much a clock may be behind that of the archive."""
_SUM = re.compile(r"^ ([0-9a-f]{64}) +(\d+) +(\S+)$", re.MULTILINE)


class SignatureError(WrongContentError):
    """An InRelease that no key vouches for, or that is of another suite or time."""


@dataclass(frozen=True)
class File:
    """A file that the index vouches for."""

    sha256: str
    size: int


@dataclass(frozen=True)
class Release:
    """What a signed InRelease says."""

    fields: Mapping[str, str]
    files: Mapping[str, File]
    """By path below the suite's folder."""

    @property
    def by_hash(self) -> bool:
        """Are files there under their hashes, too, where they do not change under a reader?"""
        return self.fields.get("Acquire-By-Hash", "") == "yes"

    def indexes(self, architecture: str) -> list[str]:
        """The folders of the indexes of packages for an architecture, those for all architectures among them."""
        folders = [f"main/binary-{architecture}"]
        apart = "Packages" not in self.fields.get("No-Support-for-Architecture-all", "").split()
        if apart and "all" in self.fields.get("Architectures", "").split():
            folders.append("main/binary-all")
        return folders


def keys(keyring: Path | None) -> Sequence[pysequoia.Cert]:
    """The keys of this file, or of the system's. MediaMissing: the system has none; MediaError: it is no keyring."""
    path = keyring or next((path for path in KEYRINGS if path.exists()), None)
    if path is None:
        raise MediaMissing(
            "the keys of Debian's archive are not on this system; name them by --keyring or BRINGUP_KEYRING "
            "(Debian: debian-archive-keyring; Fedora: debian-keyring)"
        )
    with disk_errors("the keys of the archive"):
        content = path.read_bytes()
    try:
        found = pysequoia.Cert.split_bytes(content)
    except RuntimeError:
        found = []
    if not found:
        raise MediaError(f"{path}: is no keyring")
    return found


def verify(content: bytes, suite: str, keyring: Sequence[pysequoia.Cert], now: datetime | None = None) -> Release:
    """What `content`, an InRelease, says of the suite. SignatureError: it is not signed by a key of the keyring, it
    is of another suite, it is no longer valid or not yet."""
    what = f"the index of {suite}"
    try:
        signed = pysequoia.verify(bytes=content, store=lambda identifiers: list(keyring))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise SignatureError(f"{what}: InRelease is not signed by a key of the keyring: {reason}") from None
    text = (signed.bytes or b"").decode(errors="replace")
    fields = dict(re.findall(r"^([A-Za-z0-9-]+):[ \t]*(.*?)[ \t\r]*$", text, re.MULTILINE))
    if suite not in (fields.get("Codename"), fields.get("Suite")):
        raise SignatureError(f"{what}: InRelease is of {fields.get('Codename', 'no release')}")
    _check_dates(what, fields, now or datetime.now(UTC))
    _, _, sums = text.partition("\nSHA256:")
    section = re.match(r"[^\n]*\n((?: [^\n]*\n?)*)", sums)
    files = {path: File(sha256, int(size)) for sha256, size, path in _SUM.findall(section[1] if section else "")}
    return Release(fields, files)


def _check_dates(what: str, fields: Mapping[str, str], now: datetime) -> None:
    times = {}
    for field in ("Date", "Valid-Until"):
        if field in fields:
            try:
                times[field] = parsedate_to_datetime(fields[field].replace("UTC", "+0000"))
            except ValueError:
                raise SignatureError(f"{what}: {field} is no time: {fields[field][:40]!r}") from None
    if "Date" not in times:
        raise SignatureError(f"{what}: InRelease has no Date")
    if times["Date"] > now + AHEAD:
        raise SignatureError(f"{what}: InRelease is of {fields['Date']}, which is to come by this machine's clock")
    if "Valid-Until" in times and times["Valid-Until"] < now:
        raise SignatureError(f"{what}: InRelease was valid until {fields['Valid-Until']}")
