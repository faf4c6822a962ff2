"""What a guest is, as data: the types of `guests/<family>/<name>.toml` and of `guests/<family>/family.toml`.

Field names are the keys of the files; docs/guests.md explains them with examples. `loader.py` reads the files and
turns every error of a type or value into one line with file, line and key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from .bounded import width

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
Size = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,5}[KMG]$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]


class Architecture(Enum):
    """The mode that the guest ends up in."""

    I8086 = "i8086"
    I386 = "i386"
    X86_64 = "x86_64"


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A TOML table: every key is known and keeps its type."""


class Limit(Table, frozen=True, kw_only=True):
    """How much a wait may cost. What of it applies is decided by the VMM (`harness/limits.py`)."""

    instructions: Annotated[int, Meta(gt=0)] | None = None
    """Guest instructions, where the VMM counts them."""
    guest: Seconds | None = None
    """Seconds of guest time."""
    host: Seconds | None = None
    """Seconds of host time on a host of reference speed, where guest time is the host's."""


# ---- media ----


class DebianPackage(Table, frozen=True, kw_only=True, tag_field="kind", tag="debian"):
    """A file that a Debian package brings; the archive's signed index states the package's sha256."""

    package: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
    """A metapackage stands for the package that it depends on."""
    release: Name
    """Code name of the release."""
    architecture: Annotated[str, Meta(pattern=r"^[a-z0-9]+$")] = "amd64"
    file: Annotated[str, Meta(pattern=r"^[^/].*$")]
    """Glob of exactly one path in the package, without leading slash."""
    licence: Text
    """SPDX expression."""


class Download(Table, frozen=True, kw_only=True, tag_field="kind", tag="url"):
    """A file of a public server."""

    url: Annotated[str, Meta(pattern=r"^https?://")]
    sha256: Sha256
    size: Annotated[int, Meta(gt=0)]
    licence: Text
    source: Text
    """Whose it is: project, release, page."""


class UserFile(Table, frozen=True, kw_only=True, tag_field="kind", tag="path"):
    """A file that the user brings: by `--media ROLE=FILE`, or under its name in a folder of BRINGUP_MEDIA."""

    file: Annotated[str, Meta(pattern=r"^[^/]+$")]
    sha256: Sha256 | None = None
    """None: any file will do; its hash goes into the record."""
    licence: Text
    source: Text
    """Where a user gets it."""


class Derived(Table, frozen=True, kw_only=True, tag_field="kind", tag="recipe"):
    """Made from other media of the guest by a recipe (`harness/media/recipes/`)."""

    recipe: Name
    inputs: tuple[Name, ...] = ()
    """Roles of media."""
    parameters: Mapping[str, str] = {}


Medium = DebianPackage | Download | UserFile | Derived


# ---- the machine ----


class DriveKind(Enum):
    """What a drive is to the guest."""

    DISK = "disk"
    CDROM = "cdrom"
    FLOPPY = "floppy"


class Drive(Table, frozen=True, kw_only=True):
    """A medium in a drive."""

    kind: DriveKind
    media: Name
    """Role of the medium."""


class Machine(Table, frozen=True, kw_only=True):
    """The PC that the guest needs."""

    memory: Size
    cpus: Annotated[int, Meta(ge=1, le=255)] = 1
    cpu: str | None = None
    """CPU model, by the VMM's names (`cpus` of a VMM file maps ours to its); None: the VMM's default."""
    firmware: Name | None = None
    """`bios`: the guest starts from a drive; None: from `kernel`."""
    kernel: Name | None = None
    """Role of the medium that is started: Linux boot protocol or multiboot."""
    initrd: Name | None = None
    """Role of its initial RAM disk."""
    modules: tuple[str, ...] = ()
    """Of a multiboot kernel: "ROLE ARGUMENTS"."""
    append: str = ""
    """The kernel's command line."""
    drives: tuple[Drive, ...] = ()

    def __post_init__(self) -> None:
        if self.kernel is None and not self.drives:
            raise ValueError("neither `kernel` nor `drives`: there is nothing to start")
        if self.kernel is None and (self.initrd or self.append or self.modules):
            raise ValueError("`initrd`, `append` and `modules` go with a `kernel`")


# ---- consoles ----


class Typing(Table, frozen=True, kw_only=True):
    """How the guest wants to be typed at."""

    pace: Annotated[float, Meta(ge=0, le=60)] = 0.0
    """Seconds of guest time between two characters."""
    echo: bool = True
    """Each line typed is read back; without it nothing is checked."""
    line_end: str = "\n"


class Shell(Table, frozen=True, kw_only=True):
    """A shell that runs commands."""

    prompt: Text
    status: Text = "$?"
    """What the shell replaces by the exit status of the last command."""


class Console(Table, frozen=True, kw_only=True):
    """One way that the guest talks."""

    channel: Annotated[str, Meta(pattern=r"^(serial[0-3]|debug|screen)$")] = "serial0"
    """The VMM's: UART 0 to 3, the debug port E9h, the screen."""
    terminal: bool = False
    """True: what comes draws on a VT100 screen, and texts are looked for on that."""
    typing: Typing = Typing()
    shell: Shell | None = None


# ---- the ladder ----


class Step(Table, frozen=True, kw_only=True):
    """Something to do before a rung's evidence is waited for: exactly one of these."""

    wait: Text | None = None
    """For this text."""
    type: str | None = None
    """This, and then the line end."""
    send: str | None = None
    """This as it is, without line end."""

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.wait, self.type, self.send)) != 1:
            raise ValueError("a step is one of `wait`, `type` and `send`")


class Rung(Table, frozen=True, kw_only=True):
    """A step of the boot and its evidence: `text` as it is, or `pattern`, a regular expression of bounded width."""

    id: Name
    text: Text | None = None
    pattern: Text | None = None
    console: Name | None = None
    """None: the guest's first."""
    steps: tuple[Step, ...] = ()
    ending: bool = False
    """True: the evidence is not a text but that the machine powers off by itself (a text may be asked for as well)."""
    limit: Limit | None = None
    """None: the guest's."""

    def __post_init__(self) -> None:
        if self.text is not None and self.pattern is not None:
            raise ValueError("`text` and `pattern`: a rung has one of them")
        if self.text is None and self.pattern is None and not self.ending:
            raise ValueError("`text` or `pattern` is missing")
        if self.pattern is not None:
            width(self.pattern)
        for step in self.steps:
            if step.type is not None and self.matches(step.type):
                raise ValueError(f"the evidence is found in what is typed, {step.type!r}: its echo would prove it")

    def matches(self, text: str) -> bool:
        """Is the evidence in this text?"""
        if self.pattern is not None:
            return re.search(self.pattern, text) is not None
        return self.text is not None and self.text in text


class Death(Table, frozen=True, kw_only=True):
    """What a guest says when it is beyond help, wherever it says it."""

    title: Text
    """Canonical; `{0}`, `{1}` stand for the pattern's groups."""
    pattern: Text
    """Regular expression of bounded width, looked for in every line."""
    ends: bool = True
    """False: worth a note in the record, not the end."""

    def __post_init__(self) -> None:
        width(self.pattern)


class Quirk(Table, frozen=True, kw_only=True):
    """Something odd about the guest."""

    what: Text
    why: Text
    source: Text
    """Where that is known from."""


class ExpectedFailure(Table, frozen=True, kw_only=True):
    """A rung that is known to be out of reach."""

    vmm: Text
    """Glob of the VMM's name."""
    rung: Name
    """The first rung that is missed."""
    reference: Text
    """The issue or document that says more."""
    reason: Text
    until: Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$")]
    """After this day it is no longer expected."""


class Family(Table, frozen=True, kw_only=True):
    """What the guests of a folder have in common (`family.toml`)."""

    title: Text
    death: tuple[Death, ...] = ()
    chatter: Text | None = None
    """Pattern of a whole line that may come between any two others: the kernel's log."""


class Definition(Table, frozen=True, kw_only=True):
    """A guest's file."""

    title: Text
    release: Text
    architecture: Architecture
    tier: Annotated[int, Meta(ge=1, le=3)]
    """1: boots in `make test`; 2: in the longer sets; 3: media by the user only."""
    tags: tuple[Name, ...] = ()
    machine: Machine
    media: Mapping[Name, Medium] = {}
    console: Mapping[Name, Console]
    limit: Limit
    """Of the whole ladder."""
    ladder: Annotated[tuple[Rung, ...], Meta(min_length=1)]
    death: tuple[Death, ...] = ()
    quirk: tuple[Quirk, ...] = ()
    expected_failure: tuple[ExpectedFailure, ...] = ()

    def __post_init__(self) -> None:
        ids = [rung.id for rung in self.ladder]
        for rung in self.ladder:
            if ids.count(rung.id) > 1:
                raise ValueError(f"two rungs of the ladder are called {rung.id!r}")
            if rung.console is not None and rung.console not in self.console:
                raise ValueError(f"rung {rung.id!r}: there is no console {rung.console!r}")
        for failure in self.expected_failure:
            if failure.rung not in ids:
                raise ValueError(f"expected_failure: there is no rung {failure.rung!r}")
        if not self.console:
            raise ValueError("there is no console")
        self._check_media()

    def _check_media(self) -> None:
        machine = self.machine
        modules = [module.partition(" ")[0] for module in machine.modules]
        used = [machine.kernel, machine.initrd, *modules, *(drive.media for drive in machine.drives)]
        for role in used:
            if role is not None and role not in self.media:
                raise ValueError(f"machine: there is no medium {role!r}")
        for role, medium in self.media.items():
            for source in medium.inputs if isinstance(medium, Derived) else ():
                if source not in self.media or source == role:
                    raise ValueError(f"medium {role!r}: there is no medium {source!r} to make it from")


class Guest(Struct, frozen=True, kw_only=True):
    """A guest as the harness knows it: its file, with the name and the family that its path gives it."""

    name: str
    family: str
    about: Family
    definition: Definition
    text: str
    """The file, as it was read: kept with the results."""

    @property
    def deaths(self) -> tuple[Death, ...]:
        """The guest's own and its family's, in the order in which they are tried."""
        return self.definition.death + self.about.death

    @property
    def ladder(self) -> tuple[Rung, ...]:
        """Its rungs, from the bottom up."""
        return self.definition.ladder


def convert(data: object, kind: type[Table]) -> Table:
    """A table from what a TOML parser gives; msgspec.ValidationError names the key."""
    return msgspec.convert(data, kind)
