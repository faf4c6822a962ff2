"""What a CD starts from ("El Torito" Bootable CD-ROM Format Specification, version 1.0): its catalog, for inspection.
Who boots it is the firmware, which reads the catalog itself."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from .iso9660 import Volume
from .medium import CD_SECTOR, Medium, StorageError, read_bytes

PLATFORM_X86 = 0
_ENTRY = 32
_SECTOR = 512  # in which an entry counts
_CATALOG_MOST = 64  # entries
_BOOTABLE = 0x88
_HEADER, _FINAL_HEADER, _EXTENSION = 0x90, 0x91, 0x44
_MORE_EXTENSIONS = 1 << 5


class Emulation(IntEnum):
    """Boot media type: what the BIOS makes of the image."""

    NONE = 0
    FLOPPY_1200K = 1
    FLOPPY_1440K = 2
    FLOPPY_2880K = 3
    HARD_DISK = 4


_FLOPPY_BYTES = {
    Emulation.FLOPPY_1200K: 1200 << 10,
    Emulation.FLOPPY_1440K: 1440 << 10,
    Emulation.FLOPPY_2880K: 2880 << 10,
}


@dataclass(frozen=True)
class BootEntry:
    """`platform`: 0 x86, 1 PowerPC, 2 Mac, EFh EFI. `load_segment` 0 means 7C0h; `sectors` of 512 bytes are loaded;
    `offset` and `size` are the image's place in bytes, `size` of what is known to belong to it."""

    platform: int
    bootable: bool
    emulation: Emulation
    load_segment: int
    system_type: int
    sectors: int
    offset: int
    size: int


def read_catalog(medium: Medium, volume: Volume, name: str) -> tuple[BootEntry, ...]:
    """The default entry first; () when the volume has no boot record. Raises StorageError, with the offset, for a
    catalog that is damaged or points outside of the image."""
    if volume.boot_record is None:
        return ()
    pointer = volume.boot_record * CD_SECTOR + 0x47
    (sector,) = struct.unpack("<I", read_bytes(medium, pointer, 4))
    start = sector * CD_SECTOR
    if not sector or start + CD_SECTOR > medium.size:
        raise StorageError(name, f"the boot catalog's sector {sector} lies outside of the image", pointer)
    catalog = read_bytes(medium, start, min(_CATALOG_MOST * _ENTRY, medium.size - start))
    platform = _validate(catalog, name, start)
    entries = [_entry(catalog, _ENTRY, platform, medium, name, start)]
    at = 2 * _ENTRY
    while at + _ENTRY <= len(catalog) and catalog[at] in (_HEADER, _FINAL_HEADER):
        final, platform = catalog[at] == _FINAL_HEADER, catalog[at + 1]
        (count,) = struct.unpack_from("<H", catalog, at + 2)
        at += _ENTRY
        for _ in range(count):
            if at + _ENTRY > len(catalog):
                raise StorageError(name, f"the boot catalog has more than {_CATALOG_MOST} entries", start + at)
            entries.append(_entry(catalog, at, platform, medium, name, start))
            more = catalog[at + 1] & _MORE_EXTENSIONS
            at += _ENTRY
            while more and at + _ENTRY <= len(catalog) and catalog[at] == _EXTENSION:
                more = catalog[at + 1] & _MORE_EXTENSIONS
                at += _ENTRY
        if final:
            break
    return tuple(entries)


def _validate(catalog: bytes, name: str, start: int) -> int:
    """The validation entry's platform."""
    if catalog[0] != 1 or catalog[30:32] != b"\x55\xaa":
        raise StorageError(name, "the boot catalog has no validation entry", start)
    total = sum(struct.unpack_from("<16H", catalog)) & 0xFFFF
    if total:
        raise StorageError(name, f"the boot catalog's validation entry adds up to {total:#06x} instead of 0", start)
    return catalog[1]


def _entry(catalog: bytes, at: int, platform: int, medium: Medium, name: str, start: int) -> BootEntry:
    indicator, media, segment, system, _, sectors, lba = struct.unpack_from("<BBHBBHI", catalog, at)
    where = start + at
    if indicator not in (0, _BOOTABLE):
        raise StorageError(name, f"a boot entry with indicator {indicator:#04x}, which is 0x88 or 0", where)
    if media & 15 > Emulation.HARD_DISK:
        raise StorageError(name, f"a boot entry with media type {media & 15}", where + 1)
    emulation = Emulation(media & 15)
    size = _FLOPPY_BYTES.get(emulation, sectors * _SECTOR)
    if emulation is Emulation.HARD_DISK and lba * CD_SECTOR + _SECTOR <= medium.size:
        size = _disk_bytes(read_bytes(medium, lba * CD_SECTOR, _SECTOR), size)
    least = size if platform == PLATFORM_X86 else _SECTOR  # EFI does not go by the count, which many leave wrong
    if indicator == _BOOTABLE and (not lba or lba * CD_SECTOR + least > medium.size):
        raise StorageError(name, f"a boot image of {size} bytes at sector {lba} lies outside of the image", where + 8)
    return BootEntry(platform, indicator == _BOOTABLE, emulation, segment, system, sectors, lba * CD_SECTOR, size)


def _disk_bytes(boot_sector: bytes, least: int) -> int:
    """Of a hard disk image: to the end of its first partition."""
    first, count = struct.unpack_from("<II", boot_sector, 0x1BE + 8)
    return (first + count) * _SECTOR if boot_sector[510:] == b"\x55\xaa" else least
