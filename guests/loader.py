"""Guests are TOML files, `<family>/<name>.toml` in this package: what to boot, on what machine, and what is then seen.

title, family          what the guest is; the family names the folder and the way it is started
[machine]              memory ("256M"), append (kernel command line)
[media.<role>]         a file out of a Debian package: package, release, file (glob in the package), licence
[console]              prompt of the shell, budget in guest seconds
[[ladder]]             in order: rung (its name), text that proves it, and what to type at the prompt first, if any
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable


class GuestError(Exception):
    """A guest that does not exist or whose data is wrong; the message names the file and the key."""


@dataclass(frozen=True)
class PackageFile:
    """A file that a Debian package brings."""

    package: str
    """Its name in the archive; a metapackage stands for the package that it depends on."""
    release: str
    """Debian's code name for the release that it comes from."""
    file: str
    """Glob of exactly one path in the package, without leading slash."""
    licence: str
    """SPDX expression."""


@dataclass(frozen=True)
class Rung:
    """One step of a boot: `text` on the console proves it, after `type` was typed at the prompt."""

    name: str
    text: str
    type: str | None = None


@dataclass(frozen=True)
class Guest:
    """An operating system as the harness knows it."""

    name: str
    title: str
    family: str
    memory: str
    append: str
    media: Mapping[str, PackageFile]
    prompt: str
    budget: int
    """Guest seconds that the whole ladder may take."""
    ladder: tuple[Rung, ...]


class _Table:
    """A TOML table that is taken apart key by key; what is left over at the end is an error."""

    def __init__(self, where: str, data: Mapping[str, object]) -> None:
        self.where, self.data = where, dict(data)

    def error(self, key: str, problem: str) -> GuestError:
        return GuestError(f"{self.where}{key}: {problem}")

    def value(self, key: str) -> object:
        if key not in self.data:
            raise self.error(key, "is missing")
        return self.data.pop(key)

    def text(self, key: str, pattern: str = r".+") -> str:
        value = self.value(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise self.error(key, f"{value!r} is not a text of the form {pattern}")
        return value

    def number(self, key: str) -> int:
        value = self.value(key)
        if type(value) is not int or value <= 0:
            raise self.error(key, f"{value!r} is not a positive whole number")
        return value

    def table(self, key: str) -> "_Table":
        value = self.value(key)
        if not isinstance(value, dict):
            raise self.error(key, "is not a table")
        return _Table(f"{self.where}{key}.", value)

    def tables(self, key: str) -> "list[_Table]":
        value = self.value(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.error(key, "is not a list of tables")
        return [_Table(f"{self.where}{key}[{index}].", item) for index, item in enumerate(value)]

    def done(self) -> None:
        if self.data:
            raise self.error(next(iter(self.data)), "is not a key known here")


def _media(table: _Table) -> PackageFile:
    name = r"[a-z0-9][a-z0-9+.-]+"
    file = PackageFile(
        table.text("package", name), table.text("release", name), table.text("file"), table.text("licence")
    )
    if file.file.startswith("/"):
        raise table.error("file", f"{file.file!r} begins with a slash")
    table.done()
    return file


def _rung(table: _Table) -> Rung:
    rung = Rung(table.text("rung"), table.text("text"), table.text("type") if "type" in table.data else None)
    if rung.type is not None and rung.text in rung.type:
        raise table.error("text", "is found in what is typed: the echo would prove it")
    table.done()
    return rung


def parse(name: str, family: str, text: str) -> Guest:
    """A guest of this name from the text of its file; GuestError names the key that is wrong."""
    where = f"guest {family}/{name}.toml: "
    try:
        top = _Table(where, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise GuestError(f"{where}{error}") from None
    machine, media, console = (top.table(key) for key in ("machine", "media", "console"))
    guest = Guest(
        name=name,
        title=top.text("title"),
        family=top.text("family", re.escape(family)),
        memory=machine.text("memory", r"[1-9][0-9]*[MG]"),
        append=machine.text("append"),
        media={role: _media(media.table(role)) for role in list(media.data)},
        prompt=console.text("prompt"),
        budget=console.number("budget"),
        ladder=tuple(_rung(table) for table in top.tables("ladder")),
    )
    for table in (machine, console, top):
        table.done()
    return guest


def _files() -> dict[str, tuple[str, Traversable]]:
    """Every guest's name, its family and its file."""
    families = [folder for folder in resources.files("bringup.guests").iterdir() if folder.is_dir()]
    return {
        file.name.removesuffix(".toml"): (folder.name, file)
        for folder in families
        for file in folder.iterdir()
        if file.name.endswith(".toml")
    }


def names() -> list[str]:
    """The guests that there are."""
    return sorted(_files())


def load(name: str) -> Guest:
    """The guest of this name; GuestError names the known ones when there is none."""
    files = _files()
    if name not in files:
        raise GuestError(f"guest {name!r} is not known; known are {', '.join(sorted(files))}")
    family, file = files[name]
    return parse(name, family, file.read_text())
