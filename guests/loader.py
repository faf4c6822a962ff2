"""The guests that there are: `<family>/<name>.toml` in this package, or a file of the user's.

The types are in `definition.py`; what the keys mean is in docs/guests.md.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

from msgspec import structs

from .definition import NAME, SYNTHETIC, Definition, Family, Guest
from .imitation import Imitation
from .typed_toml import TomlError, decode, line_of
from .unknown import unknown

FAMILY = "family.toml"
BIOS = "bios"
"""The family whose death patterns all guests have that start from a drive."""
T = TypeVar("T")


class GuestError(Exception):
    """A guest that does not exist or whose file is wrong; the message is one line and names file, line and key."""


def names() -> list[str]:
    """The guests that ship."""
    return sorted(_shipped())


def is_name(text: str) -> bool:
    """May a guest be called so?"""
    return re.fullmatch(NAME, text) is not None and len(text) <= 64


def own_folder() -> Path:
    """Where a user's own guests lie: BRINGUP_GUESTS, or $XDG_CONFIG_HOME/bringup/guests."""
    if named := os.environ.get("BRINGUP_GUESTS"):
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "bringup" / "guests"


def own() -> list[str]:
    """The guests in the user's folder that are not called like one that ships."""
    try:
        found = [file.stem for file in own_folder().iterdir() if file.suffix == ".toml" and file.name != FAMILY]
    except OSError:
        return []
    return sorted(name for name in found if name not in _shipped())


def families() -> list[str]:
    """The families that ship."""
    return sorted(_families())


def family(name: str) -> Family:
    """What the guests of a family that ships have in common. GuestError: its file is wrong. KeyError: there is none."""
    where = f"{name}/{FAMILY}"
    return _decode(_read(_families()[name] / FAMILY, where), Family, where)


def by_tag(tag: str) -> list[str]:
    """The guests that ship and have this tag."""
    return [name for name in names() if tag in load(name).tags]


def load(name: str) -> Guest:
    """The guest of this name, one that ships or one in the user's folder, or of this file (`./my.toml`: a path with a
    slash, or a name that ends in .toml).

    GuestError: there is none, or its file is wrong.
    """
    if "/" in name or name.endswith(".toml"):
        return load_file(Path(name))
    if name in _shipped():
        return _load_shipped(name)
    if name not in own():
        raise GuestError(unknown("guest", name, (*sorted(_shipped()), *own())))
    return load_file(own_folder() / f"{name}.toml")


def load_file(path: Path) -> Guest:
    """A user's own guest, called like its file. It belongs to the family that ships under the name of its key
    `family` or, without that key, to the one of a family.toml beside it, or to none. GuestError: as for `load`."""
    where, file = str(path), str(path.absolute())
    if not is_name(path.stem) or path.suffix != ".toml":
        raise GuestError(
            f"{where}: a guest's file is called NAME.toml, NAME of small letters, digits, `-`, `.`, `+`, `_`"
        )
    content = _read(path, where)
    definition = _decode(content, Definition, where)
    if definition.family is None:
        beside = path.absolute().parent
        there = (beside / FAMILY).is_file()
        return _guest(path.stem, content, definition, beside, (beside.name, beside) if there else None, file)
    families = _families()
    if definition.family not in families:
        line, known = line_of(("family",), content.decode()), ", ".join(sorted(families))
        raise GuestError(f"{where}:{line}: family: {definition.family!r} is not known; known are {known}")
    family = definition.family, families[definition.family]
    return _guest(path.stem, content, definition, path.absolute().parent, family, file)


@cache
def _load_shipped(name: str) -> Guest:
    folder = _shipped()[name]
    where = f"{folder.name}/{name}.toml"
    content = _read(folder / f"{name}.toml", where)
    if folder.name == SYNTHETIC:
        return _imitation(name, content, folder, where)
    definition = _decode(content, Definition, where)
    if definition.family is not None:
        raise GuestError(f"{where}:{line_of(('family',), content.decode())}: family: is what the folder is called")
    return _guest(name, content, definition, folder, (folder.name, folder))


def _imitation(name: str, content: bytes, folder: Traversable, where: str) -> Guest:
    imitation, text = _decode(content, Imitation, where), content.decode()
    if imitation.imitates not in _shipped() or not name.startswith(f"{SYNTHETIC}-"):
        raise GuestError(f"{where}:{line_of(('imitates',), text)}: imitates: no guest {imitation.imitates!r} ships")
    imitated = load(imitation.imitates)
    sha256 = hashlib.sha256(content + imitated.sha256.encode()).hexdigest()
    definition = imitation.definition(imitated.definition)
    return Guest(name, folder.name, definition, imitated.about, text, folder, sha256, imitation)


def _guest(
    name: str,
    content: bytes,
    definition: Definition,
    folder: Traversable,
    family: tuple[str, Traversable] | None,
    file: str | None = None,
) -> Guest:
    """With what is common to the family (name and folder); `file`: a user's own."""
    digest, text = hashlib.sha256(content), content.decode()
    about = Family(title=definition.title)
    if family is not None:
        where = f"{family[0]}/{FAMILY}"
        shared = _read(family[1] / FAMILY, where)
        digest.update(shared)
        about = _decode(shared, Family, where)
    if definition.machine.kernel is None:
        firmware = _read(_families()[BIOS] / FAMILY, f"{BIOS}/{FAMILY}")
        digest.update(firmware)
        about = structs.replace(about, death=about.death + _decode(firmware, Family, f"{BIOS}/{FAMILY}").death)
    return Guest(name, family[0] if family else "", definition, about, text, folder, digest.hexdigest(), file=file)


def _read(file: Traversable, where: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise GuestError(f"{where}: {error.strerror or error}") from None


def _decode(content: bytes, type: type[T], where: str) -> T:
    try:
        return decode(content, type, where)
    except TomlError as error:
        raise GuestError(str(error)) from None


@cache
def _families() -> Mapping[str, Traversable]:
    """The folders of the families that ship, by name."""
    folders = (folder for folder in resources.files("bringup.guests").iterdir() if folder.is_dir())
    return {folder.name: folder for folder in folders if (folder / FAMILY).is_file()}


@cache
def _shipped() -> Mapping[str, Traversable]:
    """The folder of each guest that ships."""
    return {
        file.name.removesuffix(".toml"): folder
        for folder in _families().values()
        for file in folder.iterdir()
        if file.name.endswith(".toml") and file.name != FAMILY
    }
