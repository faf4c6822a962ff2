"""The systems that are told by signs: `systems.toml`, and how its entries are weighed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

from bringup.guests import typed_toml
from bringup.guests.definition import Architecture, Size, Table, Text

NAMES, LABEL, TEXT, PARTITION = 8, 6, 4, 3
"""What a sign weighs: a system's own file in the root folder, a volume label, a text in what is started first, a
partition's type."""


class System(Table, frozen=True, kw_only=True):
    """An operating system, a loader, or a program that starts like one."""

    title: Text
    family: str | None = None
    """That ships: its death patterns are wanted."""
    texts: tuple[Text, ...] = ()
    names: tuple[Text, ...] = ()
    """Files in the root folder of a FAT file system or a CD."""
    label: Text | None = None
    """Pattern of a whole volume label."""
    partitions: tuple[int, ...] = ()
    """Types in a partition table."""
    architecture: Architecture = Architecture.I386
    memory: Size = "256M"
    evidence: Text | None = None
    """Pattern of what it says when it is up, or on its way."""
    asks: tuple[Text, ...] = ()
    """What it asks before it is up, each to be answered by Enter,"""
    asks_without: tuple[Text, ...] = ()
    """when none of these files is in its root folder."""
    append: str = ""
    """Of a multiboot kernel, to have it talk on COM1."""


class _File(Table, frozen=True, kw_only=True):
    system: tuple[System, ...]


@dataclass(frozen=True)
class Signs:
    """What was seen of an image."""

    started: tuple[bytes, ...] = ()
    """What is started first: boot sectors and what follows them, boot images, a kernel."""
    names: frozenset[str] = frozenset()
    labels: tuple[str, ...] = ()
    partitions: frozenset[int] = frozenset()


@cache
def systems() -> tuple[System, ...]:
    """In the order of the file."""
    file = resources.files("bringup.harness.identify") / "systems.toml"
    return typed_toml.decode(file.read_bytes(), _File, "systems.toml").system


def recognise(signs: Signs) -> tuple[System, list[str]] | None:
    """The system that most signs speak for, and those; of several, the first."""
    weighed = [(system, *_weigh(system, signs)) for system in systems()]
    system, weight, why = max(weighed, key=lambda one: one[1])
    return (system, why) if weight else None


def _weigh(system: System, signs: Signs) -> tuple[int, list[str]]:
    texts = [text.strip() for text in system.texts if _has(text.encode(), signs.started)]
    names = sorted(signs.names.intersection(system.names))
    labels = [label for label in signs.labels if system.label is not None and re.fullmatch(system.label, label)]
    partitions = sorted(signs.partitions.intersection(system.partitions))
    why = [f"text {text!r}" for text in texts] + [f"file {name}" for name in names]
    why += [f"label {label!r}" for label in labels] + [f"partition type {kind:02X}h" for kind in partitions]
    return NAMES * len(names) + LABEL * len(labels) + TEXT * len(texts) + PARTITION * len(partitions), why


def _has(text: bytes, places: Iterable[bytes]) -> bool:
    return any(text in place for place in places)
