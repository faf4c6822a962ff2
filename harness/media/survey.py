"""What is there of a guest's media, told without fetching or making anything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from bringup.guests.definition import DebianPackage, Derived, Download, Guest, UserFile
from bringup.harness.media import download, recipes
from bringup.harness.media.debian.fetch import name_of
from bringup.harness.media.resolve import derived_name, user_paths
from bringup.harness.media.store import Medium, Provenance, Store, WrongContentError, disk_errors, file_sha256


class There(Enum):
    """Is it?"""

    YES = "there"
    PARTLY = "partly there"
    NO = "missing"
    WRONG = "wrong content"


@dataclass(frozen=True)
class Finding:
    """A role of a guest."""

    guest: str
    role: str
    there: There
    size: int | None
    """Bytes; None: not known before it is fetched."""
    licence: str
    origin: str
    """What it was fetched from or, of what is missing, will be."""
    sha256: str | None = None


def survey(guests: Sequence[Guest], store: Store, check: bool = False) -> Iterator[Finding]:
    """Every medium of these guests; `check` reads each file and compares its hash."""
    for guest in guests:
        surveyor = _Surveyor(guest, store, check)
        for role in guest.definition.media:
            yield surveyor.finding(role)


def total(findings: Sequence[Finding]) -> int:
    """Bytes of what is there; what several guests share counts once."""
    sizes = {found.sha256: found.size or 0 for found in findings if found.there in (There.YES, There.WRONG)}
    return sum(sizes.values())


def state(findings: Sequence[Finding]) -> str:
    """In a few words, of one guest."""
    wrong = [found.role for found in findings if found.there is There.WRONG]
    if wrong:
        return f"wrong: {', '.join(wrong)}"
    missing = [found.role for found in findings if found.there is not There.YES]
    return f"missing: {', '.join(missing)}" if missing else "there"


class _Surveyor:
    def __init__(self, guest: Guest, store: Store, check: bool) -> None:
        self.guest, self.store, self.check = guest, store, check

    def finding(self, role: str) -> Finding:
        wanted = self.guest.definition.media[role]
        try:
            medium = self.medium(role)
        except WrongContentError as error:
            return Finding(self.guest.name, role, There.WRONG, None, "", str(error))
        licence = "" if isinstance(wanted, Derived) else wanted.licence
        if medium is not None:
            about, size = medium.provenance, medium.path.stat().st_size
            return Finding(
                self.guest.name, role, There.YES, size, licence or about.licence, about.origin, medium.sha256
            )
        there, known = There.NO, None
        match wanted:
            case DebianPackage():
                origin = f"Debian package {wanted.package} ({wanted.release})"
            case Download():
                known, origin = wanted.size, f"{wanted.url} ({wanted.source})"
                if (came := download.partial_size(wanted, self.store)) > 0:
                    there, origin = There.PARTLY, f"{origin}: {100 * came // wanted.size} %"
            case UserFile():
                origin = f"{wanted.file}, which you bring: {wanted.source}"
            case Derived():
                origin = f"recipe {wanted.recipe} of {', '.join(wanted.inputs) or 'nothing'}"
        return Finding(self.guest.name, role, there, known, licence, origin)

    def medium(self, role: str) -> Medium | None:
        """The file, where it is there."""
        wanted = self.guest.definition.media[role]
        match wanted:
            case DebianPackage():
                return self.stored(self.store.named(name_of(wanted)))
            case Download():
                return self.stored(wanted.sha256)
            case UserFile():
                return self.user_file(wanted)
            case Derived():
                inputs = {needed: self.medium(needed) for needed in wanted.inputs}
                if wanted.recipe not in recipes.names() or None in inputs.values():
                    return None
                hashes = {needed: medium.sha256 for needed, medium in inputs.items() if medium is not None}
                return self.stored(self.store.named(derived_name(wanted, hashes)))

    def stored(self, sha256: str | None) -> Medium | None:
        if sha256 is None:
            return None
        medium = self.store.peek(sha256)
        if medium is not None and self.check:
            self.checked(medium.path, sha256)
        return medium

    def user_file(self, wanted: UserFile) -> Medium | None:
        path = next((path for path in user_paths(self.guest.folder, wanted) if path.is_file()), None)
        if path is None:
            return None
        with disk_errors(str(path)):
            found = self.checked(path, wanted.sha256)
        return Medium(path, found, Provenance(path.name, f"{path} ({wanted.source})", wanted.licence))

    def checked(self, path: Path, sha256: str | None) -> str:
        found = file_sha256(path)
        if sha256 not in (None, found):
            raise WrongContentError(f"{path}: sha256 is {found}, not {sha256}")
        return found
