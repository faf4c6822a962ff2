"""Opens an image as the medium of a drive: finds out its format, and refuses with one line what cannot be meant."""

from __future__ import annotations

import struct
from enum import StrEnum
from pathlib import Path

from . import qcow2
from .eltorito import read_catalog
from .iso9660 import is_iso9660, read_volume
from .medium import CD_SECTOR, SECTOR, Medium, StorageError, read_bytes
from .overlay import DEFAULT_LIMIT, Overlay
from .qcow2 import Qcow2Image
from .raw import RawImage


class Kind(StrEnum):
    """What a drive is."""

    DISK = "disk"
    CDROM = "cdrom"
    FLOPPY = "floppy"


# Sizes of floppies that the drive knows (core/chipset/floppy_drive.c).
FLOPPY_KIB = {
    160: "160 kB",
    180: "180 kB",
    320: "320 kB",
    360: "360 kB",
    640: "640 kB",
    720: "720 kB",
    800: "800 kB",
    1200: "1.2 MB",
    1440: "1.44 MB",
    1600: "1.6 MB",
    1680: "1.68 MB",
    1722: "1.72 MB",
    2880: "2.88 MB",
}

# First bytes of what is no disk's content, and what to do about it.
_FOREIGN = (
    (0, b"\x1f\x8b", "is compressed by gzip: unpack it first"),
    (0, b"\xfd7zXZ\0", "is compressed by xz: unpack it first"),
    (0, b"BZh", "is compressed by bzip2: unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "is compressed by zstd: unpack it first"),
    (0, b"PK\3\4", "is a ZIP archive: unpack it first"),
    (0, b"KDMV", "is a VMDK image: convert it first (qemu-img convert -O qcow2)"),
    (0, b"# Disk DescriptorFile", "is a VMDK descriptor: convert it first (qemu-img convert -O qcow2)"),
    (0, b"conectix", "is a VHD image: convert it first (qemu-img convert -O qcow2)"),
    (0, b"vhdxfile", "is a VHDX image: convert it first (qemu-img convert -O qcow2)"),
    (64, b"\x7f\x10\xda\xbe", "is a VDI image: convert it first (qemu-img convert -O qcow2)"),
    (0, b"QED\0", "is a QED image: convert it first (qemu-img convert -O qcow2)"),
    (0, b"IMD ", "is an IMD image of a floppy: convert it to raw sectors first"),
    (0, b"TD", "is a Teledisk image of a floppy: convert it to raw sectors first"),
)
_PROTECTIVE = 0xEE  # the partition type by which GPT covers a disk of any size


def probe(path: Path) -> str:
    """The format of a file, `qcow2` or `raw`; raises StorageError for one that is known to be neither."""
    raw = RawImage(path)
    try:
        head = read_bytes(raw, 0, min(SECTOR, raw.size))
    finally:
        raw.close()
    for offset, magic, text in _FOREIGN:
        if head[offset : offset + len(magic)] == magic and not _is_boot_sector(head):
            raise StorageError(path, text)
    return "qcow2" if head.startswith(qcow2.MAGIC) else "raw"


def open_medium(
    path: Path,
    kind: Kind,
    *,
    format: str | None = None,
    read_only: bool = False,
    write: bool = False,
    overlay_limit: int = DEFAULT_LIMIT,
) -> Medium:
    """The medium of a drive. `format` is `raw`, `qcow2` or None, to find out. What a guest writes goes into an overlay,
    or with `write` into the file; with `read_only`, and on a CD, nowhere."""
    found = format or probe(path)
    if found not in ("raw", "qcow2"):
        raise StorageError(path, f"no format '{found}': raw or qcow2")
    if found == "qcow2" and kind is not Kind.DISK:
        raise StorageError(path, f"is a qcow2 image, which a {kind.value} drive does not take")
    through = write and not read_only and kind is not Kind.CDROM
    if found == "qcow2" and through:
        raise StorageError(path, "a qcow2 image is never written: leave --write out, or convert it to raw")
    if found == "qcow2":
        medium: Medium = Qcow2Image(path)
    else:
        medium = RawImage(path, write=through, sector=_SECTORS[kind])
    try:
        _CHECKS[kind](medium, path)
    except BaseException:
        medium.close()
        raise
    if through or read_only or kind is Kind.CDROM:
        return medium
    return Overlay(medium, str(path), overlay_limit)


# ---- is it what it is given as? ----


def _is_boot_sector(head: bytes) -> bool:
    return len(head) >= SECTOR and head[510:512] == b"\x55\xaa"


def _check_fat(medium: Medium, path: Path) -> None:
    """A medium that is one FAT file system must have all of its sectors (BIOS parameter block)."""
    head = read_bytes(medium, 0, SECTOR)
    size, per_cluster, _, fats, _, small, media, _ = struct.unpack_from("<HBHBHHBH", head, 11)
    sectors = small or struct.unpack_from("<I", head, 32)[0]
    is_fat = (
        head[0] in (0xEB, 0xE9)
        and size in (512, 1024, 2048, 4096)
        and per_cluster.bit_count() == 1
        and fats in (1, 2)
        and media >= 0xF0
    )
    if is_fat and sectors * size > medium.size:
        text = f"truncated: the FAT file system has {sectors * size} bytes, the image {medium.size}"
        raise StorageError(path, text, 19 if small else 32)


def _check_floppy(medium: Medium, path: Path) -> None:
    if is_iso9660(medium):
        raise StorageError(path, "is a CD image (ISO 9660), and not a floppy: --cdrom")
    if medium.size % 1024 or medium.size >> 10 not in FLOPPY_KIB:
        known = ", ".join(FLOPPY_KIB.values())
        raise StorageError(path, f"{medium.size} bytes are no floppy; truncated? There are {known}")
    _check_fat(medium, path)


def _check_cdrom(medium: Medium, path: Path) -> None:
    if not is_iso9660(medium):
        if medium.size >> 10 in FLOPPY_KIB and medium.size % 1024 == 0:
            raise StorageError(path, f"is an image of a {FLOPPY_KIB[medium.size >> 10]} floppy, and not a CD: --floppy")
        if _is_boot_sector(read_bytes(medium, 0, SECTOR)):
            raise StorageError(path, "is an image of a disk, and not a CD: --drive")
        return  # another file system, or audio
    volume = read_volume(medium, str(path))
    if volume.sectors * CD_SECTOR > medium.size:
        raise StorageError(
            path, f"truncated: the volume has {volume.sectors * CD_SECTOR} bytes, the file {medium.size}"
        )
    read_catalog(medium, volume, str(path))


def _check_disk(medium: Medium, path: Path) -> None:
    head = read_bytes(medium, 0, SECTOR)
    if not _is_boot_sector(head) or is_iso9660(medium):
        return
    table = [struct.unpack_from("<B3xB3xII", head, 0x1BE + 16 * index) for index in range(4)]
    if any(active not in (0, 0x80) for active, *_ in table):
        _check_fat(medium, path)  # the boot sector of a file system, or none
        return
    for number, (_, kind, first, count) in enumerate(table, 1):
        if kind not in (0, _PROTECTIVE) and (first + count) * SECTOR > medium.size:
            raise StorageError(
                path,
                f"truncated: partition {number} ends at byte {(first + count) * SECTOR}, the disk at {medium.size}",
                0x1BE + 16 * (number - 1),
            )


# What a file's size is rounded up to; a floppy's must be right.
_SECTORS = {Kind.DISK: SECTOR, Kind.CDROM: CD_SECTOR, Kind.FLOPPY: 1}
_CHECKS = {Kind.DISK: _check_disk, Kind.CDROM: _check_cdrom, Kind.FLOPPY: _check_floppy}
