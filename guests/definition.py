"""What a guest is, as data: the types of `guests/<family>/<name>.toml` and of `guests/<family>/family.toml`.

Field names are the keys of the files; docs/guests.md explains them with examples. `loader.py` reads the files and
turns every error of a type or value into one line with file, line and key.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from .bounded import width
from .typed_toml import Path, WrongKeyError

if TYPE_CHECKING:
    from .imitation import Imitation

SYNTHETIC, UNTRIED = "synthetic", "untried"
"""Marks: it is a program of ours that imitates a system; its file was written without having booted it."""
ANY = "any"
"""In place of a console's name: all of them."""
NAME = r"^[a-z0-9][a-z0-9.+_-]*$"
PRESSES = r"^[a-z0-9_]+([- ][a-z0-9_]+)*$"
Name = Annotated[str, Meta(pattern=NAME, max_length=64)]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*$", max_length=64)]
Size = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,5}[KMG]$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Meta(min_length=1, max_length=4096)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,16}\b")


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
    """A Debian package, or a file that it brings; the archive's signed index states the package's sha256."""

    package: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9+.-]+$")]
    """A metapackage stands for the package that it depends on."""
    release: Name
    """Code name of the release."""
    architecture: Annotated[str, Meta(pattern=r"^[a-z0-9]+$")] = "amd64"
    file: Annotated[str, Meta(pattern=r"^[^/].*$")] | None = None
    """Glob of exactly one path in the package, without leading slash; None: the package itself, for recipes that take
    several of its files, which are then of one version."""
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

    file: Annotated[str, Meta(pattern=r"^(/.+|[^/]+)$")]
    """Its name or, in a file of the user's own, its absolute path."""
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


class BootDevice(Enum):
    """What the firmware may start from: a kind of drive, or the network card."""

    FLOPPY = "floppy"
    DISK = "disk"
    CDROM = "cdrom"
    NETWORK = "network"


class Drive(Table, frozen=True, kw_only=True):
    """A medium in a drive. What the guest writes to it is gone with the machine."""

    kind: DriveKind
    media: Name
    """Role of the medium."""
    format: Annotated[str, Meta(pattern=r"^(raw|qcow2)$")] = "raw"
    """Of a disk's file."""
    index: Annotated[int, Meta(ge=0, le=3)] | None = None
    """Of a floppy drive, 0 or 1 (A, B); of others the place on IDE: 0 and 1 are the first channel's, 2 and 3 the
    second's. None: the first that is free, for CD-ROMs from 2 on."""

    def __post_init__(self) -> None:
        if self.format != "raw" and self.kind is not DriveKind.DISK:
            raise WrongKeyError("format", f"a {self.kind.value} is raw")
        if self.kind is DriveKind.FLOPPY and (self.index or 0) > 1:
            raise WrongKeyError("index", "a floppy drive is 0 or 1")


_PLACES = {DriveKind.DISK: (0, 1, 2, 3), DriveKind.CDROM: (2, 3, 0, 1), DriveKind.FLOPPY: (0, 1)}
"""Indexes of drives, those first that a drive of the kind gets first."""


class Machine(Table, frozen=True, kw_only=True):
    """The PC that the guest needs."""

    memory: Size
    cpus: Annotated[int, Meta(ge=1, le=255)] = 1
    cpu: str | None = None
    """CPU model, by the VMM's names (`cpus` of a VMM file maps ours to its); None: the VMM's default."""
    firmware: Name | None = None
    """`bios`: the guest starts from a drive; None: from `kernel`."""
    kernel: Name | None = None
    """Role of the medium that is started."""
    initrd: Name | None = None
    """Role of its initial RAM disk."""
    protocol: Annotated[str, Meta(pattern=r"^(linux|multiboot)$")] = "linux"
    """How `kernel` is started."""
    modules: tuple[str, ...] = ()
    """Of a multiboot kernel: "ROLE ARGUMENTS"."""
    append: str = ""
    """The kernel's command line."""
    drives: tuple[Drive, ...] = ()
    boot_order: tuple[BootDevice, ...] = ()
    """What the firmware tries to start from; (): the kinds of `drives` in their order."""
    nic: Annotated[str, Meta(pattern=r"^user$")] | None = None
    """`user`: a network card on a network inside the VMM, from which no packet leaves the machine."""
    tftp: Mapping[FileName, Name] = {}
    """Files that the network serves by TFTP: their names there, and the roles of media."""
    bootfile: FileName | None = None
    """The one of them that DHCP names."""
    bios_serial: bool = False
    """What the BIOS's services draw on the screen comes on the first serial line, too, and what is typed there is
    typed at them."""
    reboots: bool = False
    """A reset is part of its ladder, and the machine starts again; False: a reset ends the machine."""

    def __post_init__(self) -> None:
        if self.kernel is None and not self.drives and BootDevice.NETWORK not in self.boot_order:
            raise WrongKeyError("kernel", "is missing, and so is `drives`: there is nothing to start")
        if self.boot_order and self.kernel is not None:
            raise WrongKeyError("boot_order", "goes without a `kernel`")
        if BootDevice.NETWORK in self.boot_order and self.nic is None:
            raise WrongKeyError("boot_order", "`network` goes with a `nic`")
        if self.tftp and self.nic is None:
            raise WrongKeyError("tftp", "goes with a `nic`")
        if self.bootfile is not None and self.bootfile not in self.tftp:
            raise WrongKeyError("bootfile", f"{self.bootfile!r} is none of the files of `tftp`")
        self.places()
        for key in ("initrd", "append", "modules"):
            if self.kernel is None and getattr(self, key):
                raise WrongKeyError(key, "goes with a `kernel`")
        if self.modules and self.protocol != "multiboot":
            raise WrongKeyError("modules", 'go with `protocol = "multiboot"`')

    @property
    def boot(self) -> str:
        """How the machine starts: `bios`, `linux` or `multiboot`."""
        return "bios" if self.kernel is None else self.protocol

    @property
    def starts_from(self) -> tuple[BootDevice, ...]:
        """What the firmware tries, in order."""
        return self.boot_order or tuple(dict.fromkeys(BootDevice(drive.kind.value) for drive in self.drives))

    def places(self) -> tuple[int, ...]:
        """The index of each drive. WrongKeyError: two have the same, or there are too many."""
        taken: dict[tuple[bool, int], int] = {}
        asked = [number for number, drive in enumerate(self.drives) if drive.index is not None]
        for number in (*asked, *(number for number in range(len(self.drives)) if number not in asked)):
            drive = self.drives[number]
            floppy = drive.kind is DriveKind.FLOPPY
            free = [index for index in _PLACES[drive.kind] if (floppy, index) not in taken]
            index = drive.index if drive.index is not None else next(iter(free), None)
            if index is None:
                raise WrongKeyError(("drives", number), f"there is room for {2 if floppy else 4} of them")
            if (floppy, index) in taken:
                raise WrongKeyError(("drives", number, "index"), f"{index} is that of another drive")
            taken[floppy, index] = number
        where = {number: index for (_, index), number in taken.items()}
        return tuple(where[number] for number in range(len(self.drives)))

    def roles(self) -> Iterator[tuple[Path, str]]:
        """The roles of media that the machine is started with, and which key names each."""
        for key in ("kernel", "initrd"):
            if role := getattr(self, key):
                yield (key,), role
        for index, module in enumerate(self.modules):
            yield ("modules", index), module.split(" ", 1)[0]
        for index, drive in enumerate(self.drives):
            yield ("drives", index, "media"), drive.media
        for name, role in self.tftp.items():
            yield ("tftp", name), role


# ---- consoles ----


class Typing(Table, frozen=True, kw_only=True):
    """How the guest wants to be typed at."""

    pace: Annotated[float, Meta(ge=0, le=60)] = 0.0
    """Seconds of guest time between two characters."""
    echo: bool = True
    """Each line typed is read back; without it nothing is checked."""
    line_end: str = "\n"
    clear: str = "\x15"
    """What makes the guest forget a line that came back wrong: Ctrl-U."""


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
    """True: what comes draws on a VT100 screen, and texts are looked for on that. A channel may have two consoles, one
    that is a screen and one that is not."""
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
    press: Annotated[str, Meta(pattern=PRESSES, max_length=256)] | None = None
    """Keys of the keyboard, one after the other, by QEMU's names: `down down ret`, `ctrl-alt-delete`."""

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.wait, self.type, self.send, self.press)) != 1:
            raise ValueError("a step is one of `wait`, `type`, `send` and `press`")


class Rung(Table, frozen=True, kw_only=True):
    """A step of the boot and its evidence: `text` as it is, or `pattern`, a regular expression of bounded width."""

    id: Name
    text: Text | None = None
    pattern: Text | None = None
    console: Name | None = None
    """None: the guest's first; `any`: the evidence may come on any, and what is typed goes to the first."""
    steps: tuple[Step, ...] = ()
    ending: bool = False
    """True, on the last rung: the evidence is that the machine powers off by itself, after the text if there is one."""
    limit: Limit | None = None
    """None: the guest's."""

    def __post_init__(self) -> None:
        if self.text is not None and self.pattern is not None:
            raise WrongKeyError("pattern", "a rung has `text` or `pattern`, not both")
        if self.text is None and self.pattern is None and not self.ending:
            raise WrongKeyError("text", "is missing, and so is `pattern`: there is no evidence")
        if self.pattern is not None:
            _check(self.pattern)
        for step in self.steps:
            for typed in (step.type, step.send):
                if typed is not None and self.matches(typed):
                    key = "text" if self.pattern is None else "pattern"
                    raise WrongKeyError(key, f"is found in what is typed, {typed!r}: the echo would prove it")

    @property
    def evidence(self) -> str | None:
        """As a regular expression; None, of a rung that is only an end: none."""
        return self.pattern if self.text is None else re.escape(self.text)

    def matches(self, text: str) -> bool:
        """Is the evidence in this text?"""
        return self.evidence is not None and re.search(self.evidence, text) is not None


class Death(Table, frozen=True, kw_only=True):
    """What a guest says when it is beyond help, wherever it says it."""

    title: Text
    """Canonical; `{0}`, `{1}` stand for the pattern's groups 1, 2, in which addresses read `0x...`."""
    pattern: Text
    """Regular expression of bounded width, looked for in every line."""
    ends: bool = True
    """False: worth a note in the record, not the end."""

    def __post_init__(self) -> None:
        _check(self.pattern)
        try:
            self.title_of("" for _ in range(re.compile(self.pattern).groups))
        except (ValueError, LookupError, AttributeError):
            raise WrongKeyError("title", "has a `{N}` that is no group of the pattern, counted from 0") from None

    def title_of(self, groups: Iterable[str | None]) -> str:
        """The title of a match with these groups: each in one line, without control characters and addresses, which are
        others in every build of a kernel."""
        lines = (" ".join("".join(filter(str.isprintable, group or "")).split()) for group in groups)
        plain = (_ADDRESS.sub("0x...", line) for line in lines)
        return string.Formatter().vformat(self.title, tuple(plain), {})


class Quirk(Table, frozen=True, kw_only=True):
    """Something odd about the guest."""

    what: Text
    why: Text
    source: Text
    """Where that is known from."""


class MissedRung(Table, frozen=True, kw_only=True):
    """A rung that is known to be out of reach."""

    rung: Name
    """The first rung that is missed."""
    reference: Text
    """The issue or document that says more."""
    reason: Text
    until: date
    """After this day it is no longer expected."""


class ExpectedFailure(MissedRung, frozen=True, kw_only=True):
    """Of a guest's file: where that is so."""

    vmm: Text
    """Glob of the VMM's name."""


class Family(Table, frozen=True, kw_only=True):
    """What the guests of a folder have in common (`family.toml`)."""

    title: Text
    death: tuple[Death, ...] = ()
    chatter: Text | None = None
    """Pattern of a whole line that may come between any two others: the kernel's log."""

    def __post_init__(self) -> None:
        if self.chatter is not None:
            _check(self.chatter, "chatter")


class Definition(Table, frozen=True, kw_only=True):
    """A guest's file."""

    title: Text
    family: Name | None = None
    """Of a user's own file: the shipped family that it belongs to. In this package the folder says it."""
    release: Text
    architecture: Architecture
    tier: Annotated[int, Meta(ge=1, le=4)]
    """1: boots in `make test`; 2: in the longer sets; 3: media by the user only; 4: media that few users may have."""
    tags: tuple[Name, ...] = ()
    untried: Text | None = None
    """The documentation that the file was written from, while nobody has booted the guest by it."""
    machine: Machine
    media: Mapping[Name, Medium] = {}
    console: Annotated[Mapping[Name, Console], Meta(min_length=1)]
    limit: Limit
    """Of the whole ladder."""
    ladder: Annotated[tuple[Rung, ...], Meta(min_length=1)]
    death: tuple[Death, ...] = ()
    quirk: tuple[Quirk, ...] = ()
    expected_failure: tuple[ExpectedFailure, ...] = ()

    def __post_init__(self) -> None:
        for path, role in self.machine.roles():
            self._known(("machine", *path), role)
        derived = {role: medium for role, medium in self.media.items() if isinstance(medium, Derived)}
        for role, medium in derived.items():
            for index, needed in enumerate(medium.inputs):
                self._known(("media", role, "inputs", index), needed)
        for role in derived:
            if role in self.inputs(role):
                raise WrongKeyError(("media", role, "inputs"), "is made from itself")
        self._check_consoles()
        self._check_ladder()
        ids = [rung.id for rung in self.ladder]
        for index, failure in enumerate(self.expected_failure):
            if failure.rung not in ids:
                raise WrongKeyError(("expected_failure", index, "rung"), f"there is no rung {failure.rung!r}")

    def inputs(self, role: str) -> frozenset[str]:
        """The roles that a derived medium is made from, at last: those of its inputs, too."""
        found: set[str] = set()
        ahead = [role]
        while ahead:
            medium = self.media[ahead.pop()]
            new = [needed for needed in medium.inputs if needed not in found] if isinstance(medium, Derived) else []
            found.update(new)
            ahead += new
        return frozenset(found)

    def _known(self, path: Path, role: str) -> None:
        if role not in self.media:
            raise WrongKeyError(path, f"there is no [media.{role}]")

    def _check_consoles(self) -> None:
        if ANY in self.console:
            raise WrongKeyError(("console", ANY), "is what a rung calls all of them")
        owners: dict[tuple[str, bool], str] = {}
        for name, console in self.console.items():
            if (owner := owners.setdefault((console.channel, console.terminal), name)) != name:
                raise WrongKeyError(("console", name, "channel"), f"is that of [console.{owner}]")

    def _check_ladder(self) -> None:
        seen: set[str] = set()
        for index, rung in enumerate(self.ladder):
            if rung.id in seen:
                raise WrongKeyError(("ladder", index, "id"), f"another rung is called {rung.id!r}")
            seen.add(rung.id)
            if rung.console not in (None, ANY, *self.console):
                raise WrongKeyError(("ladder", index, "console"), f"there is no [console.{rung.console}]")
            first = next(iter(self.console))
            console = self.console[first if rung.console in (None, ANY) else rung.console]
            for number, step in enumerate(rung.steps):
                if step.press is not None and console.channel != "screen":
                    where = ("ladder", index, "steps", number, "press")
                    raise WrongKeyError(where, f"the keyboard goes with the screen, not with {console.channel}")
            if rung.ending and index < len(self.ladder) - 1:
                raise WrongKeyError(("ladder", index, "ending"), "only the last rung ends the machine")


@dataclass(frozen=True)
class Guest:
    """A guest as it was read: its file, with the name and the family that its path gives it."""

    name: str
    family: str
    """Name of the family; "": a user's own guest that belongs to none."""
    definition: Definition
    about: Family
    """What the family's guests have in common; of an imitation, what the imitated guest's family has."""
    text: str
    """The file: kept with the results."""
    folder: Traversable
    """Where the file is: media of kind `path` may lie beside it."""
    sha256: str
    """Of the file and of its family's: what the guest was when it ran."""
    imitation: Imitation | None = None
    """It is none of that system, but a program of ours."""
    file: str | None = None
    """The absolute path of a user's own file; None: it ships."""

    @property
    def asked(self) -> str:
        """What a command line says to have it, from any folder: its name or its file."""
        return self.file or self.name

    @property
    def deaths(self) -> tuple[Death, ...]:
        """The guest's own patterns, then its family's."""
        return self.definition.death + self.about.death

    @property
    def marks(self) -> frozenset[str]:
        """What keeps it out of sets of guests that do not name it: `synthetic`, `untried`."""
        untried = self.definition.untried is not None
        return frozenset(((SYNTHETIC,) if self.imitation is not None else ()) + ((UNTRIED,) if untried else ()))

    @property
    def tags(self) -> frozenset[str]:
        """What it is chosen by: its file's tags, and its marks."""
        return self.marks | frozenset(self.definition.tags)

    @property
    def ladder(self) -> tuple[Rung, ...]:
        """Its rungs, from the bottom up."""
        return self.definition.ladder


def _check(pattern: str, key: str = "pattern") -> None:
    """Is the pattern one of bounded width?"""
    try:
        width(pattern)
    except ValueError as error:
        raise WrongKeyError(key, str(error)) from None
