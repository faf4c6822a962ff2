"""What an image is: a kernel, a CD, a floppy or a disk, and whose."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from bringup.guests.definition import Architecture
from bringup.harness.errors import HarnessError
from bringup.vmm.storage import Emulation, Kind, Medium, StorageError, open_medium, probe, read_catalog, read_volume
from bringup.vmm.storage.image import FLOPPY_KIB
from bringup.vmm.storage.iso9660 import is_iso9660
from bringup.vmm.storage.qcow2 import Qcow2Image
from bringup.vmm.storage.raw import RawImage

from . import filesystems
from .filesystems import SECTOR, piece
from .systems import Signs, System, recognise

STARTED = 1 << 16
"""Bytes of a disk, a partition, a floppy that are looked through for texts: further on are those of other programs."""
EMULATED_MOST = 2880 << 10
"""Bytes of what a CD starts: a floppy whole, a hard disk's beginning."""
KERNEL_MOST = 64 << 20
PACKED_MOST = 1 << 20
"""Bytes of a packed kernel that are unpacked to see what it is."""
_GZIP = b"\x1f\x8b"
_LINUX = re.compile(r"\d+\.\d+\S* \(")
"""What a Linux kernel calls itself: its release, and who has built it."""
SYSTEM_AREA = 32 << 10
"""Bytes of a CD before its file system: what a BIOS starts when the image is written to a disk."""
_MULTIBOOT, _MULTIBOOT_SEARCH = 0x1BADB002, 8192  # Multiboot 0.6.96, 3.1
_PARTITIONS = {
    0x00: "", 0x01: "FAT12", 0x04: "FAT16", 0x05: "extended", 0x06: "FAT16", 0x07: "NTFS or exFAT", 0x0B: "FAT32",
    0x0C: "FAT32", 0x0E: "FAT16", 0x0F: "extended", 0x39: "Plan 9", 0x4D: "QNX 4", 0x4E: "QNX 4", 0x4F: "QNX 4",
    0x81: "Minix", 0x82: "Linux swap or Solaris", 0x83: "Linux", 0xA5: "FreeBSD", 0xA6: "OpenBSD", 0xA9: "NetBSD",
    0xB1: "QNX 6", 0xB2: "QNX 6", 0xB3: "QNX 6", 0xBF: "Solaris", 0xEB: "BeOS or Haiku", 0xEE: "GPT", 0xEF: "EFI",
}  # fmt: skip


class IdentifyError(HarnessError):
    """An image that nothing is started from; one line."""


class Start(Enum):
    """How a machine is started with it."""

    LINUX = "linux"
    MULTIBOOT = "multiboot"
    CDROM = "cdrom"
    FLOPPY = "floppy"
    DISK = "disk"


_KINDS = {Start.CDROM: Kind.CDROM, Start.FLOPPY: Kind.FLOPPY, Start.DISK: Kind.DISK}


@dataclass(frozen=True)
class Identified:
    """An image, and what is known of it."""

    start: Start
    facts: tuple[str, ...]
    """What was found, for people."""
    system: System | None
    architecture: Architecture | None = None
    """Where the image says it."""
    format: str = "raw"
    packed: bool = False
    """A kernel within a gzip file."""
    names: frozenset[str] = frozenset()
    """Files in the root folders of its file systems."""


def identify(path: Path) -> Identified:
    """Looks at an image, read only. IdentifyError: it cannot be read, is damaged, or nothing in it starts."""
    try:
        if path.is_file():
            with path.open("rb") as file:
                if file.read(2) == _GZIP:
                    return _packed(path)
        format = probe(path)
        medium: Medium = Qcow2Image(path) if format == "qcow2" else RawImage(path)
        try:
            found = _look(path, medium, format)
        finally:
            medium.close()
        if found.start in _KINDS:  # what a drive would refuse, in its words
            open_medium(path, _KINDS[found.start], format=format, read_only=True).close()
        return found
    except StorageError as error:
        raise IdentifyError(str(error)) from None
    except OSError as error:
        raise IdentifyError(f"{path}: {error.strerror}") from None


def _look(path: Path, medium: Medium, format: str) -> Identified:
    head = piece(medium, 0, _MULTIBOOT_SEARCH)
    if format == "raw" and (kernel := _kernel(head, partial(piece, medium, 0, KERNEL_MOST))) is not None:
        size = path.stat().st_size or medium.size  # that of a disk is not its node's
        if kernel.start is Start.LINUX and size < (needed := _linux_bytes(head)):
            raise IdentifyError(f"{path}: truncated: {size} bytes of {needed} that its header states")
        return kernel
    if is_iso9660(medium):
        return _cdrom(path, medium)
    if format == "raw" and medium.size % 1024 == 0 and medium.size >> 10 in FLOPPY_KIB:
        return _floppy(medium, head)
    return _disk(path, medium, head, format)


def _concluded(
    start: Start, facts: list[str], signs: Signs, architecture: Architecture | None = None, format: str = "raw"
) -> Identified:
    found = recognise(signs)
    if found is not None:
        facts.append(f"{found[0].title}: {', '.join(found[1])}")
    return Identified(start, tuple(facts), found[0] if found else None, architecture, format, names=signs.names)


# ---- kernels ----


def _packed(path: Path) -> Identified:
    """A gzip file: is a kernel in it?"""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    with path.open("rb") as file:
        try:
            content = unpacker.decompress(file.read(PACKED_MOST), PACKED_MOST)
        except zlib.error as error:
            raise IdentifyError(f"{path}: is a damaged gzip file: {error}") from None
    found = _kernel(content[:_MULTIBOOT_SEARCH], lambda: content)
    if found is None:
        raise IdentifyError(f"{path}: is compressed by gzip, and no kernel: unpack it first")
    facts = ("packed with gzip", *found.facts)
    return Identified(found.start, facts, found.system, found.architecture, packed=True)


def _kernel(head: bytes, read: Callable[[], bytes]) -> Identified | None:
    """A Linux kernel or a multiboot kernel, of which `read` reads all; None: it is none."""
    if head[0x202:0x206] == b"HdrS" and len(head) > 0x240:
        return _linux(head)
    elf = head[:4] == b"\x7fELF"
    if not _has_multiboot_header(head) or not (elf or head[510:512] != b"\x55\xaa"):
        return None
    facts = ["multiboot kernel" + (f", ELF of {32 * head[4]} bits" if elf and head[4] in (1, 2) else "")]
    architecture = Architecture.X86_64 if elf and head[4:5] == b"\2" else None
    return _concluded(Start.MULTIBOOT, facts, Signs(started=(read(),)), architecture=architecture)


def _has_multiboot_header(head: bytes) -> bool:
    for offset in range(0, len(head) - 11, 4):
        magic, flags, checksum = struct.unpack_from("<3I", head, offset)
        if magic == _MULTIBOOT and (magic + flags + checksum) & 0xFFFFFFFF == 0:
            return True
    return False


def _linux(head: bytes) -> Identified:
    """By Linux' Documentation/arch/x86/boot.rst."""
    protocol, version_at = struct.unpack_from("<H", head, 0x206)[0], struct.unpack_from("<H", head, 0x20E)[0] + 0x200
    version = head[version_at : version_at + 128].partition(b"\0")[0].decode("ascii", "replace")
    wide = protocol >= 0x20C and head[0x236] & 1
    words = "".join(char if char.isprintable() else "?" for char in version)
    facts = [f"Linux boot protocol {protocol >> 8}.{protocol & 0xFF:02}, {64 if wide else 32} bits: {words}"]
    linux = b"Linux version " if _LINUX.match(words) else b""  # others start by its protocol, too
    signs = Signs(started=(words.encode(), linux))
    architecture = Architecture.X86_64 if wide else Architecture.I386
    return _concluded(Start.LINUX, facts, signs, architecture=architecture)


def _linux_bytes(head: bytes) -> int:
    """The least that the whole file has: setup, and protected-mode code in units of 16 bytes, rounded up."""
    (protocol,) = struct.unpack_from("<H", head, 0x206)
    setup, code = head[0x1F1] or 4, struct.unpack_from("<I" if protocol >= 0x204 else "<H", head, 0x1F4)[0]
    return int((setup + 1) * SECTOR + max(16 * code - 15, 0))


# ---- media ----


def _cdrom(path: Path, medium: Medium) -> Identified:
    volume = read_volume(medium, str(path))
    facts = [f"CD (ISO 9660), volume {volume.label!r}"]
    entries = [entry for entry in read_catalog(medium, volume, str(path)) if entry.bootable and entry.platform == 0]
    if not entries:
        raise IdentifyError(f"{path}: is a CD that no BIOS starts from: El Torito has no entry for x86")
    started, names, labels = [piece(medium, 0, SYSTEM_AREA)], filesystems.cd_names(medium), [volume.label]
    for entry in entries:
        kind = entry.emulation.name.lower().replace("_", " ")
        facts.append(f"El Torito: {'no emulation' if entry.emulation is Emulation.NONE else kind}, {entry.size} bytes")
        started.append(piece(medium, entry.offset, min(max(entry.size, STARTED), EMULATED_MOST)))
        if entry.emulation is not Emulation.NONE and (inside := filesystems.recognise(medium, entry.offset)):
            names |= inside.names
            labels.append(inside.label)
    return _concluded(Start.CDROM, facts, Signs(tuple(started), names, tuple(labels)))


def _floppy(medium: Medium, head: bytes) -> Identified:
    facts = [f"floppy of {FLOPPY_KIB[medium.size >> 10]}"]
    if head[510:512] != b"\x55\xaa":
        facts.append("its boot sector has no signature: a BIOS may refuse it")
    return _from_sectors(Start.FLOPPY, facts, medium, [0])


def _disk(path: Path, medium: Medium, head: bytes, format: str) -> Identified:
    if head[510:512] != b"\x55\xaa":
        raise IdentifyError(f"{path}: is no kernel, no CD and no floppy, and has no boot sector (55h AAh at 1FEh)")
    facts = [f"disk of {medium.size >> 20} MiB" + (f", {format}" if format != "raw" else "")]
    if path.stat().st_size % SECTOR:
        facts.append("its file ends within a sector: truncated?")
    table = [struct.unpack_from("<B3xB3xII", head, 0x1BE + 16 * index) for index in range(4)]
    places, kinds = [0], set()
    for number, (active, kind, first, count) in enumerate(table, 1):
        if kind and count and active in (0, 0x80) and first * SECTOR < medium.size:
            places.append(first * SECTOR)
            kinds.add(kind)
            name = _PARTITIONS.get(kind, "unknown")
            facts.append(f"partition {number}: type {kind:02X}h ({name}){', active' if active else ''}")
    return _from_sectors(Start.DISK, facts, medium, places, frozenset(kinds), format)


def _from_sectors(
    start: Start,
    facts: list[str],
    medium: Medium,
    places: list[int],
    kinds: frozenset[int] = frozenset(),
    format: str = "raw",
) -> Identified:
    """By boot sectors at these bytes, and the file systems that they belong to."""
    found = [one for one in (filesystems.recognise(medium, place) for place in places) if one is not None]
    facts += [f"{one.name}{f', label {one.label!r}' if one.label else ''}" for one in found]
    signs = Signs(
        started=tuple(piece(medium, place, STARTED) for place in places),
        names=frozenset[str]().union(*(one.names for one in found)),
        labels=tuple(one.label for one in found),
        partitions=kinds,
    )
    return _concluded(start, facts, signs, format=format)
