"""What is known to be different on a VMM: `deviations.toml`, data with reasons."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from importlib import resources
from typing import Annotated

from msgspec import Meta

from bringup.guests import typed_toml
from bringup.guests.definition import Table, Text


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


@cache
def load() -> Deviations:
    """All of them. TomlError names file, line and key."""
    file = resources.files("bringup.conformance.cpu") / "deviations.toml"
    return typed_toml.decode(file.read_bytes(), Deviations, "conformance/cpu/deviations.toml")


def known(vmm: str, behaviour: str) -> Deviation | None:
    """The entry for this behaviour on this VMM."""
    for deviation in load().deviation:
        if fnmatchcase(vmm, deviation.vmm) and any(fnmatchcase(behaviour, name) for name in deviation.behaviours):
            return deviation
    return None
