"""What is known to be different on a VMM: `deviations.toml`, data with reasons, and what a VMM's own file says."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Annotated, NamedTuple

from msgspec import Meta

from bringup.conformance.cpu.catalogue import names
from bringup.guests import typed_toml
from bringup.guests.definition import Table, Text
from bringup.harness.vmms.loader import LoadedVmm, VmmError


class Deviation(Table, frozen=True, kw_only=True):
    """Behaviours that a VMM is known to fail."""

    vmm: Text
    """Glob of its name."""
    version: Text
    """Where that was seen."""
    behaviours: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Globs of their names."""
    reason: Text


class Deviations(Table, frozen=True, kw_only=True):
    """The file."""

    deviation: tuple[Deviation, ...] = ()


class Known(NamedTuple):
    """A deviation that holds."""

    where: str
    """Which version it was seen on, or whose file says it."""
    reason: str


@cache
def load() -> Deviations:
    """All of them. TomlError names file, line and key."""
    file = resources.files("bringup.conformance.cpu") / "deviations.toml"
    return typed_toml.decode(file.read_bytes(), Deviations, "conformance/cpu/deviations.toml")


def known(vmm: LoadedVmm, behaviour: str) -> Known | None:
    """What is known today of this behaviour on this VMM: by its own file, by ours for it or for the one it is like."""
    today = datetime.now(UTC).date()
    for own in vmm.definition.deviation:
        if (own.until is None or today <= own.until) and _named(behaviour, own.behaviours):
            return Known(f"{vmm.name}'s file", own.reason)
    for deviation in load().deviation:
        if any(fnmatchcase(name, deviation.vmm) for name in vmm.names) and _named(behaviour, deviation.behaviours):
            return Known(deviation.version, deviation.reason)
    return None


def check(vmm: LoadedVmm) -> None:
    """VmmError: a deviation in the VMM's file is of no behaviour that there is."""
    for index, own in enumerate(vmm.definition.deviation):
        for number, glob in enumerate(own.behaviours):
            if not any(fnmatchcase(name, glob) for name in names()):
                line = typed_toml.line_of(("deviation", index, "behaviours", number), vmm.text)
                where = f"{vmm.path}:{line}: deviation[{index}].behaviours[{number}]"
                raise VmmError(f"{where}: no behaviour is called {glob!r} (bringup vcpu --list)")


def _named(behaviour: str, globs: Iterable[str]) -> bool:
    return any(fnmatchcase(behaviour, glob) for glob in globs)
