"""VMMs by name or by file."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from msgspec import structs

from bringup.guests import typed_toml
from bringup.guests.unknown import unknown
from bringup.harness.errors import HarnessError

from .definition import Vmm

VERSION_SECONDS = 60.0
"""Host seconds that a VMM may take to say which version it is."""


class VmmError(HarnessError):
    """A VMM that is not known, or whose file is wrong; one line: file, line, key."""


@dataclass(frozen=True)
class LoadedVmm:
    """A VMM's file, read."""

    definition: Vmm
    path: Path | Traversable
    text: str
    """As it was read: kept with the results."""
    sha256: str
    file: str | None = None
    """The absolute path of a user's own file; None: it ships."""

    @property
    def name(self) -> str:
        """The VMM's name."""
        return self.definition.name

    @property
    def asked(self) -> str:
        """What a command line says to have it, from any folder: its name or its file."""
        return self.file or self.name

    @property
    def names(self) -> frozenset[str]:
        """Those by which others know of its faults: its own, and that of the VMM that it is like."""
        return frozenset(filter(None, (self.name, self.definition.like)))

    def environment(self) -> dict[str, str]:
        """Ours, and what the file adds."""
        return {**os.environ, **self.definition.environment}

    def missing(self) -> str | None:
        """What it requires of the host and is not to be had, in one line; None when all is there."""
        for file in self.definition.requires:
            if not os.access(file, os.R_OK | os.W_OK):
                return f"{file}: {'no permission' if Path(file).exists() else 'not there'}"
        return None

    def version(self) -> str:
        """What it says that it is; VmmError when it cannot be run or says nothing. Asked once in a process."""
        try:
            return _version(self.definition.version, tuple(self.definition.environment.items()))
        except VmmError as error:
            raise VmmError(f"{self.name}: {error}") from None


@cache
def _version(command: tuple[str, ...], environment: tuple[tuple[str, str], ...]) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=VERSION_SECONDS,
            env={**os.environ, **dict(environment)},
        )
    except OSError as error:
        raise VmmError(f"{command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise VmmError(f"`{' '.join(command)}` did not end in {VERSION_SECONDS:.0f} s") from None
    line = done.stdout.decode(errors="replace").partition("\n")[0].strip()
    if done.returncode or not line:
        raise VmmError(f"`{' '.join(command)}` said nothing and ended with status {done.returncode}")
    return "".join(char for char in line if char.isprintable())[:200]


def names() -> list[str]:
    """Of the VMMs that come with this package: our own first."""
    files = resources.files("bringup.harness.vmms").iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


def load(name_or_path: str) -> LoadedVmm:
    """A shipped VMM by its name, or one in a file: a path ends in `.toml` or has a slash. VmmError."""
    if name_or_path.endswith(".toml") or "/" in name_or_path:
        return _read(Path(name_or_path), str(Path(name_or_path).absolute()))
    if name_or_path not in names():
        raise VmmError(f"{unknown('VMM', name_or_path, names())}, and files: a path ends in .toml")
    return _read(resources.files("bringup.harness.vmms") / f"{name_or_path}.toml")


def _placed(arguments: tuple[str, ...], places: Mapping[str, str]) -> tuple[str, ...]:
    for name, place in places.items():
        arguments = tuple(argument.replace(name, place) for argument in arguments)
    return arguments


def _read(path: Path | Traversable, file: str | None = None) -> LoadedVmm:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise VmmError(f"{path}: {error.strerror}") from None
    try:
        definition = typed_toml.decode(content, Vmm, str(path))
    except typed_toml.TomlError as error:
        raise VmmError(str(error)) from None
    if definition.like is not None and definition.like not in names():
        line = typed_toml.line_of(("like",), content.decode())
        raise VmmError(f"{path}:{line}: like: no VMM {definition.like!r} ships; {', '.join(names())} do")
    places = {"{python}": sys.executable, "{here}": str(Path(str(path)).resolve().parent)}
    definition = structs.replace(
        definition, command=_placed(definition.command, places), version=_placed(definition.version, places)
    )
    return LoadedVmm(definition, path, content.decode(), hashlib.sha256(content).hexdigest(), file)
