"""The lines that the programs in guest/ print on their console."""

import re
from dataclasses import dataclass
from typing import TypeVar

from bringup.conformance.perf.errors import PerfError

PREFIX = b"@perf "
_LINE = re.compile(r"@perf (first|ready|start|end|done|error)(?: (.*))?")
_START = re.compile(r"([a-z0-9]+) units=([0-9]{1,20})")
_END = re.compile(r"([a-z0-9]+) units=([0-9]{1,20}) sum=([0-9a-f]{16}) ticks=([0-9]{20})")
_DEATHS = (b"Kernel panic - not syncing", b"Attempted to kill init")


@dataclass(frozen=True)
class Ready:
    """The guest program runs; for guest/first.S, its first instruction."""


@dataclass(frozen=True)
class Start:
    """A workload begins."""

    name: str
    units: int


@dataclass(frozen=True)
class End:
    """A workload ended: `checksum` of what it computed, `ticks` of the TSC that it took."""

    name: str
    units: int
    checksum: int
    ticks: int


@dataclass(frozen=True)
class Done:
    """All workloads ended; the guest powers off."""


Marker = Ready | Start | End | Done
M = TypeVar("M", Ready, Start, End, Done)


def parse(line: bytes) -> Marker | None:
    """The marker that a console line is, or None for any other line.

    Raises PerfError for a marker that is none of theirs, for the program's own complaint and for the kernel's
    last words: without its /init, Linux halts and would be waited for in vain.
    """
    line = line.strip(b"\r\n")
    if any(death in line for death in _DEATHS):
        raise PerfError(f"the guest's kernel died: {line.decode(errors='replace').strip()}")
    if not line.startswith(PREFIX):
        return None
    text = line.decode("ascii", errors="replace")
    match = _LINE.fullmatch(text)
    if match:
        word, rest = match[1], match[2] or ""
        if word == "error":
            raise PerfError(f"the guest program says: {rest}")
        if word in ("first", "ready") and not rest:
            return Ready()
        if word == "done" and not rest:
            return Done()
        if word == "start" and (found := _START.fullmatch(rest)):
            return Start(found[1], int(found[2]))
        if word == "end" and (found := _END.fullmatch(rest)):
            return End(found[1], int(found[2]), int(found[3], 16), int(found[4]))
    raise PerfError(f"a marker that the guest program does not print: {text[:100]!r}")


def due(who: str, marker: Marker | None, kind: type[M], name: str = "") -> M:
    """The marker, which must be of this kind and, for a workload's, of this name; PerfError says what `who` printed
    instead."""
    if not isinstance(marker, kind) or getattr(marker, "name", "") != name:
        wanted = f"{kind.__name__.lower()} {name}".strip()
        raise PerfError(f"{who}: the marker {marker} arrived where {wanted!r} was due")
    return marker
