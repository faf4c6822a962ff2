"""What to build: pure data, and the parsers of the values that a command line states.

Every default is fixed, so that two runs of the same command are equal to the last instruction.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path

from .storage import Kind

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

DEFAULT_MEMORY = 512 * MIB
DEFAULT_CPU = "x86-64-v2"
DEFAULT_SEED = 0x6272_696E_6775_7021
# The first second of 2027, UTC: later than the files of the guests that boot today, so that none is from their future.
DEFAULT_RTC = 1798761600

# Instructions of a vCPU's turn when there are several: docs/architecture.md, "Several vCPUs".
DEFAULT_SLICE = 10_000

MEMORY_MINIMUM = 2 * MIB
MEMORY_MAXIMUM = 256 * GIB
SEED_MAXIMUM = 2**64 - 1
FIRMWARE_MAXIMUM = 16 * MIB  # MACHINE_MAX_FIRMWARE of core/machine.h
CPUS_MAXIMUM = 254  # MACHINE_MAX_CPUS of core/machine.h
SLICE_MAXIMUM = 2**32 - 1
# What the RTC's calendar and century registers can state (MC146818A data sheet): years 1970 to 9999.
RTC_MAXIMUM = 253402300799


class Accel(IntEnum):
    """How vCPUs run: `enum machine_accel` of core/machine.h."""

    VTX = 0
    BARE = 1


class Clock(IntEnum):
    """What guest time follows: `enum machine_clock` of core/machine.h."""

    VIRTUAL = 0
    HOST = 1


class SpecError(ValueError):
    """A machine that cannot be built as asked; the text is one line for the person who asked."""


@dataclass(frozen=True)
class Drive:
    """A drive and what is in it; `path` None: no medium. `number` is its `enum storage_drive`: 0 to 3 are the places on
    IDE, 4 and 5 the floppy drives. `format` None: found out."""

    kind: Kind
    path: Path | None
    number: int
    format: str | None = None
    read_only: bool = False


@dataclass(frozen=True)
class Nic:
    """A network card with its address, on the network of net/user.py; `tftp` is the folder whose files that serves,
    `boot` the one that DHCP names."""

    mac: bytes = bytes.fromhex("525400123456")
    tftp: Path | None = None
    boot: str = ""


@dataclass(frozen=True)
class MachineSpec:
    """A machine's hardware. `memory` is in bytes, `rtc` in seconds since 1970 UTC at guest time 0, `slice` in
    instructions; `firmware` is the ROM that ends at 4 GiB, `items` what it
    reads by selector (boot/fw_cfg.py). With `write` what a guest writes to its drives goes into their files."""

    memory: int = DEFAULT_MEMORY
    accel: Accel = Accel.VTX
    clock: Clock = Clock.VIRTUAL
    cpu: str = DEFAULT_CPU
    cpus: int = 1
    slice: int = DEFAULT_SLICE
    seed: int = DEFAULT_SEED
    rtc: int = DEFAULT_RTC
    debug_exit: bool = False
    firmware: bytes = b""
    items: tuple[tuple[int, bytes], ...] = ()
    drives: tuple[Drive, ...] = ()
    write: bool = False
    nic: Nic | None = None

    def __post_init__(self) -> None:
        if self.memory < MEMORY_MINIMUM or self.memory % MIB:
            raise SpecError(f"memory is {self.memory} bytes: it must be a multiple of 1M, at least 2M")
        if self.memory > MEMORY_MAXIMUM:
            raise SpecError(f"memory is {self.memory} bytes: there can be at most 256G")
        if not 1 <= self.cpus <= CPUS_MAXIMUM:
            raise SpecError(f"cpus is {self.cpus}: a machine has 1 to {CPUS_MAXIMUM} vCPUs")
        if not 1 <= self.slice <= SLICE_MAXIMUM:
            raise SpecError(f"slice is {self.slice}: it must be 1 to {SLICE_MAXIMUM} instructions")
        if not 0 <= self.seed <= SEED_MAXIMUM:
            raise SpecError(f"seed is {self.seed}: it must fit 64 bits")
        if self.firmware and (len(self.firmware) % (64 * KIB) or len(self.firmware) > FIRMWARE_MAXIMUM):
            raise SpecError(f"the firmware has {len(self.firmware)} bytes: it must be a multiple of 64K, at most 16M")
        if len({drive.number for drive in self.drives}) < len(self.drives):
            raise SpecError("two drives have the same place")
        if not 0 <= self.rtc <= RTC_MAXIMUM:
            raise SpecError(f"rtc is {self.rtc}: it must lie in the years 1970 to 9999")


def parse_number(text: str) -> int:
    """A whole number, decimal or with 0x; `_` may group digits."""
    if not re.fullmatch(r"0[xX][0-9a-fA-F_]{1,20}|[0-9][0-9_]{0,24}", text):
        raise SpecError("not a whole number")
    try:
        return int(text, 16 if text[:2] in ("0x", "0X") else 10)
    except ValueError:
        raise SpecError("not a whole number") from None


def parse_size(text: str) -> int:
    """Bytes from `512M`, `1G`, `65536K`; without a unit, MiB (as QEMU's -m)."""
    match = re.fullmatch(r"([0-9]{1,12})([KMGT]?)(?:i?B)?", text, re.IGNORECASE)
    if not match:
        raise SpecError("not a size such as 512M or 2G")
    return int(match[1]) * {"K": KIB, "": MIB, "M": MIB, "G": GIB, "T": GIB * KIB}[match[2].upper()]


def parse_count(text: str) -> int:
    """A number of instructions, at least 1; `K`, `M` and `G` are powers of 1000 here, as for time."""
    match = re.fullmatch(r"(.+?)([KMG]?)", text, re.IGNORECASE)
    scale = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}[match[2].upper() if match else ""]
    count = parse_number(match[1] if match else text) * scale
    if not 1 <= count < 2**64 - 1:
        raise SpecError("not between 1 and 2^64 - 2")
    return count


def parse_cpus(text: str) -> int:
    """A number of vCPUs."""
    cpus = parse_number(text)
    if not 1 <= cpus <= CPUS_MAXIMUM:
        raise SpecError(f"a machine has 1 to {CPUS_MAXIMUM} vCPUs")
    return cpus


def parse_slice(text: str) -> int:
    """Instructions of a vCPU's turn."""
    with suppress(SpecError):
        if (count := parse_count(text)) <= SLICE_MAXIMUM:
            return count
    raise SpecError(f"not a number of instructions from 1 to {SLICE_MAXIMUM}")


def parse_seed(text: str) -> int:
    """A 64-bit number."""
    seed = parse_number(text)
    if seed > SEED_MAXIMUM:
        raise SpecError("more than 64 bits")
    return seed


def parse_rtc(text: str) -> int:
    """Seconds since 1970 UTC from `2027-01-01T00:00:00` (UTC unless it says otherwise), `@SECONDS` or `now`."""
    if text == "now":
        return int(datetime.now(UTC).timestamp())
    if text.startswith("@"):
        seconds = parse_number(text[1:])
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise SpecError("not a time such as 2027-01-01T00:00:00, @SECONDS or now") from None
        seconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    if not 0 <= seconds <= RTC_MAXIMUM:
        raise SpecError("outside the years 1970 to 9999")
    return seconds


def parse_nic(text: str) -> Nic | None:
    """`none`, or `user,mac=52:54:00:12:34:56,tftp=FOLDER,bootfile=NAME` as QEMU has it; `,,` is a comma."""
    kind, *parts = _split(text)
    if kind == "none" and not parts:
        return None
    if kind != "user":
        raise SpecError("not none or user,...")
    values = {"mac": "", "tftp": "", "bootfile": "", "model": "ne2k_pci"}
    for part in parts:
        key, equals, value = part.partition("=")
        if key not in values or not equals:
            raise SpecError(f"'{part}' is none of {', '.join(f'{name}=' for name in values)}")
        values[key] = value
    if values["model"] != "ne2k_pci":
        raise SpecError(f"model={values['model']}: the card is ne2k_pci")
    if values["mac"] and not re.fullmatch(r"[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}", values["mac"]):
        raise SpecError(f"mac={values['mac']}: not the address of one card, such as 52:54:00:12:34:56")
    if len(values["bootfile"].encode()) > BOOTFILE_MAXIMUM:
        raise SpecError(f"bootfile= has more than {BOOTFILE_MAXIMUM} bytes")
    mac = bytes.fromhex(values["mac"].replace(":", "")) if values["mac"] else Nic.mac
    return Nic(mac, Path(values["tftp"]) if values["tftp"] else None, values["bootfile"])


BOOTFILE_MAXIMUM = 127  # RFC 2131, figure 1

# Where drives of a kind go that name no place (`enum storage_drive`), in this order.
_FLOPPY_A = 4
_PLACES = {Kind.DISK: (0, 1, 2, 3), Kind.CDROM: (2, 3, 0, 1), Kind.FLOPPY: (4, 5)}
ANYWHERE = -1


def parse_drive(text: str) -> Drive:
    """`file=PATH,format=raw|qcow2,if=ide|floppy,index=N,media=disk|cdrom,readonly=on|off` as QEMU has it: `,,` is a
    comma in a path. Without an index its number is ANYWHERE."""
    values = {"file": "", "format": "", "if": "ide", "index": "", "media": "disk", "readonly": "off"}
    for part in _split(text):
        key, equals, value = part.partition("=")
        if key not in values or not equals:
            raise SpecError(f"'{part}' is none of {', '.join(f'{name}=' for name in values)}")
        values[key] = value
    for key, allowed in _CHOICES.items():
        if values[key] not in allowed:
            raise SpecError(f"{key}={values[key]} is none of {', '.join(filter(None, allowed))}")
    if not values["file"] and values["media"] == "disk":
        raise SpecError("file= is missing")
    floppy = values["if"] == "floppy"
    if floppy and values["media"] == "cdrom":
        raise SpecError("media=cdrom: a floppy drive takes none")
    kind = Kind.FLOPPY if floppy else Kind(values["media"])
    return Drive(
        kind,
        Path(values["file"]) if values["file"] else None,
        _parse_place(values["index"], kind),
        values["format"] or None,
        values["readonly"] == "on",
    )


_CHOICES = {
    "format": ("", "raw", "qcow2"),
    "if": ("ide", "floppy"),
    "media": ("disk", "cdrom"),
    "readonly": ("on", "off"),
}


def _split(text: str) -> list[str]:
    """At each comma that stands alone."""
    return [part.replace("\0", ",") for part in text.replace(",,", "\0").split(",")]


def _parse_place(text: str, kind: Kind) -> int:
    if not text:
        return ANYWHERE
    index, places = parse_number(text), len(_PLACES[kind])
    if index >= places:
        raise SpecError(f"index={index}: there are 0 to {places - 1}")
    return index + (_FLOPPY_A if kind is Kind.FLOPPY else 0)


def place_drives(drives: Iterable[Drive]) -> tuple[Drive, ...]:
    """Gives those ANYWHERE the first free place of their kind, after all that name theirs."""
    given = list(drives)
    taken: set[int] = set()
    for drive in given:
        if drive.number != ANYWHERE and drive.number in taken:
            raise SpecError(f"{drive.path}: another drive has its place")
        taken.add(drive.number)
    placed = []
    for drive in given:
        number = drive.number
        if number == ANYWHERE:
            free = [place for place in _PLACES[drive.kind] if place not in taken]
            if not free:
                raise SpecError(f"{drive.path}: all places for a {drive.kind.value} are taken")
            number = free[0]
            taken.add(number)
        placed.append(replace(drive, number=number))
    return tuple(placed)
