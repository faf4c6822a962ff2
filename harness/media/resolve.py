"""From what a guest's file asks for to files on this machine."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path

from bringup.guests.definition import DebianPackage, Derived, Download, Guest, UserFile
from bringup.guests.definition import Medium as Wanted
from bringup.harness.media import download, recipes
from bringup.harness.media.debian import fetch as debian
from bringup.harness.media.progress import Bar, Progress
from bringup.harness.media.store import (
    MediaError,
    MediaMissing,
    Medium,
    Provenance,
    Store,
    WrongContentError,
    disk_errors,
    file_sha256,
)
from bringup.harness.vmms.loader import LoadedVmm

__all__ = ["Media", "MediaError", "MediaMissing", "Medium", "WrongContentError", "offline_asked"]


def offline_asked() -> bool:
    """BRINGUP_OFFLINE: nothing is fetched."""
    return os.environ.get("BRINGUP_OFFLINE", "0") not in ("", "0")


class Media:
    """What guests boot from: out of the store, out of the user's folders, or fetched and made. Many processes may do
    this at a time.

    MediaMissing: it cannot be had here (no such file, offline, no network, no archive): a test skips and says why.
    WrongContentError: it is there and not what it should be: an error. MediaError: the disk is full, a file is
    unreadable, a recipe's input is wrong.
    """

    def __init__(
        self,
        store: Store | None = None,
        *,
        offline: bool | None = None,
        refresh: bool = False,
        origin: debian.Origin | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.store = Store() if store is None else store
        self.offline = offline_asked() if offline is None else offline
        self.refresh, self.origin = refresh, origin
        self._progress = progress

    def resolve(self, guest: Guest, overrides: Mapping[str, Path] | None = None) -> dict[str, Medium]:
        """What the guest's machine is started with, by role. `overrides` are the user's own files, by role; what only
        a replaced medium would have been made from is not fetched."""
        overrides = overrides or {}
        for role in overrides:
            if role not in guest.definition.media:
                known = ", ".join(guest.definition.media)
                raise MediaError(f"{guest.name} has no medium {role!r}; it has {known}")
        if self._progress is not None:
            return self._all(guest, overrides, self._progress)
        with Bar() as bar:
            return self._all(guest, overrides, bar)

    def _all(self, guest: Guest, overrides: Mapping[str, Path], progress: Progress) -> dict[str, Medium]:
        resolver = _Resolver(self, guest.name, guest.definition.media, guest.folder, overrides, progress)
        return {role: resolver.medium(role) for _, role in guest.definition.machine.roles()}

    def firmware(self, vmm: LoadedVmm) -> dict[str, Medium]:
        """What a VMM itself needs for guests that start from a drive, by its own names."""
        wanted = vmm.definition.firmware
        folder = vmm.path.parent if isinstance(vmm.path, Path) else None
        with nullcontext(self._progress) if self._progress is not None else Bar() as progress:
            resolver = _Resolver(self, vmm.name, wanted, folder, {}, progress)
            return {name: resolver.medium(name) for name in wanted}


class _Resolver:
    """The media of a guest or a VMM, by their roles; what two others are made from is resolved once."""

    def __init__(
        self,
        media: Media,
        owner: str,
        wanted: Mapping[str, Wanted],
        folder: object,
        overrides: Mapping[str, Path],
        progress: Progress,
    ) -> None:
        self.media, self.store, self.progress = media, media.store, progress
        self.owner, self.wanted, self.folder = owner, wanted, folder
        self.overrides, self.done = overrides, dict[str, Medium]()

    def medium(self, role: str) -> Medium:
        if role not in self.done:
            self.done[role] = self._overridden(role) if role in self.overrides else self._found(role)
        return self.done[role]

    def _overridden(self, role: str) -> Medium:
        path = self.overrides[role]
        what = f"{role} of {self.owner}"
        if path.exists() and not path.is_file():  # a device or a FIFO might be read for ever
            raise MediaError(f"{what}: {path}: not a file")
        with disk_errors(what):
            return Medium(path.absolute(), file_sha256(path), Provenance(path.name, f"file {path}", "unknown"))

    def _found(self, role: str) -> Medium:
        wanted = self.wanted[role]
        what = f"{role} of {self.owner}"
        match wanted:
            case DebianPackage():
                return debian.fetch(
                    wanted,
                    self.store,
                    self.progress,
                    origin=self.media.origin,
                    refresh=self.media.refresh,
                    offline=self.media.offline,
                )
            case Download():
                return download.fetch(wanted, self.store, self.progress, offline=self.media.offline)
            case UserFile():
                return self._user_file(what, wanted)
            case Derived():
                return self._derived(role, what, wanted)

    def _user_file(self, what: str, wanted: UserFile) -> Medium:
        for path in user_paths(self.folder, wanted):
            if path.is_file():
                with disk_errors(what):
                    found = file_sha256(path)
                if wanted.sha256 not in (None, found):
                    raise WrongContentError(f"{what}: {path}: sha256 is {found}, not {wanted.sha256}")
                return Medium(path, found, Provenance(wanted.file, wanted.source, wanted.licence))
        where = "" if wanted.file.startswith("/") else " beside the guest's file or in a folder of BRINGUP_MEDIA"
        raise MediaMissing(f"{what}: no {wanted.file}{where}; {wanted.source}")

    def _derived(self, role: str, what: str, wanted: Derived) -> Medium:
        inputs = {needed: self.medium(needed) for needed in wanted.inputs}
        try:
            recipe = recipes.load(wanted.recipe)
            name = derived_name(wanted, {needed: medium.sha256 for needed, medium in inputs.items()})
            if medium := self.store.lookup(name):
                return medium
            with self.store.lock(name.replace("/", "-")):
                if medium := self.store.lookup(name):
                    return medium  # another process was making it
                origin = f"recipe {wanted.recipe} {recipe.VERSION}"
                if inputs:
                    origin += f" of {' and '.join(self._sources(role))}"
                provenance = Provenance(role, origin, _all_of(medium.provenance.licence for medium in inputs.values()))
                with self.store.temporary(what) as file:
                    paths = {needed: medium.path for needed, medium in inputs.items()}
                    recipe.make(paths, wanted.parameters, file)
                    medium = self.store.take(file, provenance)
                self.store.bind(name, medium)
                return medium
        except recipes.RecipeError as error:
            raise MediaError(f"{what}: {wanted.recipe}: {error}") from None

    def _sources(self, role: str) -> dict[str, None]:
        """What a medium is from, each once: of one that is made from others, what those are from at last."""
        wanted = self.wanted[role]
        if isinstance(wanted, Derived) and wanted.inputs and role not in self.overrides:
            return {source: None for needed in wanted.inputs for source in self._sources(needed)}
        provenance = self.medium(role).provenance
        return {f"{provenance.name} of {provenance.origin}": None}


def _all_of(licences: Iterable[str]) -> str:
    """One SPDX expression of all of them, each once; "" is none."""
    parts = ([f"({licence})"] if " OR " in licence else licence.split(" AND ") for licence in licences if licence)
    return " AND ".join(dict.fromkeys(itertools.chain.from_iterable(parts)))


def derived_name(wanted: Derived, inputs: Mapping[str, str]) -> str:
    """What a derived medium is called in the store: everything that its bytes depend on (sha256 of inputs by role)."""
    key = [recipes.load(wanted.recipe).VERSION, sorted(wanted.parameters.items()), sorted(inputs.items())]
    return f"recipes/{wanted.recipe}/{hashlib.sha256(json.dumps(key).encode()).hexdigest()}"


def user_paths(folder: object, wanted: UserFile) -> list[Path]:
    """Where a user's file may be, best first: in the folder of the guest's own file, if it is one, then in those of
    BRINGUP_MEDIA."""
    folders = [Path(folder) for folder in os.environ.get("BRINGUP_MEDIA", "").split(os.pathsep) if folder]
    beside = [folder] if isinstance(folder, Path) else []
    return [(folder / wanted.file).absolute() for folder in (*beside, *folders)]
