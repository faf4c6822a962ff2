"""The schema of records, version 0 (docs/records.md). One line of JSON is one record; `type` says which.

A file of records begins with `run`. Each attempt at a guest or a test is a `start` and, unless whoever ran it was
killed, an `end`, with `machine`, `rung` and `note` lines between; `attempt` ties them together. Readers skip types and
fields that they do not know; a field that changes its meaning changes VERSION.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec import Struct

from bringup.harness.outcome import Blame, Outcome

VERSION = 0
HOST_CLOCK = "host-clock"
"""Label: guest time was the host's, so that the same inputs need not give the same run."""


class Entry(Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    """A line. Every entry knows the run that it belongs to and when it was written (seconds since 1970, UTC)."""

    run: str
    at: float


class Host(Struct, frozen=True, kw_only=True):
    """Where it ran: a host's fingerprint is a dimension of every result."""

    cpu: str
    cpus: int
    memory: int
    """Bytes."""
    kernel: str
    system: str
    """Distribution and release."""
    kvm: str
    """`none`, `hardware`, or why /dev/kvm is of no use."""
    load: float
    """Load average over one minute at the start."""
    scale: float
    """What host seconds were multiplied by (harness/calibration.py)."""


class MediumUsed(Struct, frozen=True, kw_only=True):
    """A medium as it was given to the VMM."""

    sha256: str
    origin: str
    """Package and version, address, or file."""


class VmmUsed(Struct, frozen=True, kw_only=True):
    """A VMM as it was run."""

    name: str
    version: str
    definition: str
    """sha256 of its file."""


class Position(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a run was: what the VMM does not tell is left out. Host seconds since the attempt's first machine was
    started, or was taken over from another attempt."""

    instructions: int | None = None
    guest_ns: int | None = None
    host: float


class Run(Entry, frozen=True, kw_only=True, tag="run"):
    """The first line of a file."""

    version: int = VERSION
    bringup: str
    """Version of this package."""
    command: tuple[str, ...]
    host: Host
    seed: int | None = None
    worker: str = ""
    """Of pytest-xdist; `run`: the process that the user started."""


class Start(Entry, frozen=True, kw_only=True, tag="start"):
    """An attempt begins; `history` is the key by which it is found again in other runs."""

    attempt: str
    history: str
    """`<kind>/<guest or program>/<test>/<vmm>`: nothing of this host or of our version is in it."""
    kind: Literal["boot", "test", "behaviour"]
    guest: str
    test: str
    vmm: str = ""
    worker: str = ""
    repeat: str = ""
    """The command line that does it again."""


class MachineStarted(Entry, frozen=True, kw_only=True, tag="machine"):
    """An attempt's machine runs. An attempt may have several, one after the other."""

    attempt: str
    vmm: VmmUsed
    command: tuple[str, ...]
    pid: int
    media: Mapping[str, MediumUsed] = {}
    """By role."""
    definition: str = ""
    """sha256 of the guest's file."""
    segment: str = ""
    """sha256 over the hashes of all media: where it changes, a new segment of the history begins."""
    seed: int | None = None


class RungReached(Entry, frozen=True, kw_only=True, tag="rung"):
    """A rung, when it was reached; `index` counts from 0."""

    attempt: str
    rung: str
    index: int
    of: int
    position: Position


class Note(Entry, frozen=True, kw_only=True, tag="note"):
    """Something worth keeping that ends nothing."""

    attempt: str
    text: str


class End(Entry, frozen=True, kw_only=True, tag="end"):
    """An attempt is over."""

    attempt: str
    outcome: Outcome
    blame: Blame
    title: str = ""
    detail: str = ""
    expected: str = ""
    """The reference of the expected failure that this is."""
    depth: int = 0
    """Rungs reached."""
    of: int = 0
    """Rungs asked for."""
    position: Position | None = None
    machine: str = ""
    """How the machine ended: `power-off`, `reset`, ..."""
    cpu_seconds: float | None = None
    """Of the VMM's processes."""
    harness_seconds: float | None = None
    """CPU seconds of the harness itself for this attempt."""
    exits: Mapping[str, int] = {}
    """VM exits by reason, where the VMM tells."""
    bundle: str = ""
    """Folder, relative to the file of records."""
    labels: tuple[str, ...] = ()
    """What keeps a pass from colouring the guest green: `host-clock`, `synthetic`."""


class Finish(Entry, frozen=True, kw_only=True, tag="finish"):
    """The last line of a file whose writer ended by itself or was interrupted."""

    status: int
    interrupted: bool = False


Record = Run | Start | MachineStarted | RungReached | Note | End | Finish

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Record).decode
