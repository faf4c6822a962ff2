"""File systems by their signatures, and the root folder of FAT: what a boot sector is likely to start is there.

Sources: Microsoft FAT32 File System Specification 1.03; Linux ext4 disk layout; FreeBSD sys/ufs/ffs/fs.h and
sys/disklabel.h; Practical File System Design with the Be File System; Minix fs(5); ECMA-119.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from bringup.vmm.storage import Medium, StorageError, read_bytes

SECTOR = 512
ROOT_MOST = 512
"""Entries of a root folder that are looked at."""
_CD_ROOT_MOST = 64 << 10
"""Bytes of a CD's."""
_LABEL, _LONG_NAME, _FREE, _END = 0x08, 0x0F, 0xE5, 0x00
CD_SECTOR, _CD_FOLDER = 2048, 1 << 1


@dataclass(frozen=True)
class FileSystem:
    """One that was recognised."""

    name: str
    label: str = ""
    names: frozenset[str] = frozenset()
    """Files of the root folder, of a FAT or a CD, as DOS writes them."""


def recognise(medium: Medium, offset: int) -> FileSystem | None:
    """The file system that begins at this byte of the medium, if it is one that is known."""
    head = piece(medium, offset, SECTOR)
    if head[3:11] == b"NTFS    ":
        return FileSystem("NTFS")
    if head[3:11] == b"EXFAT   ":
        return FileSystem("exFAT")
    if (fat := _fat(medium, offset, head)) is not None:
        return fat
    for name, at, magic in _MAGICS:
        if piece(medium, offset + at, len(magic)) == magic:
            label = _text(piece(medium, offset + 1024 + 0x78, 16)) if name == "ext2/3/4" else ""
            return FileSystem(name, label)
    return None


def cd_names(medium: Medium) -> frozenset[str]:
    """Files of a CD's root folder (ECMA-119, 8.4.18 and 9.1), without their versions."""
    record = piece(medium, 16 * CD_SECTOR + 156, 34)
    if len(record) < 34:
        return frozenset()
    (sector,), (size,) = struct.unpack_from("<I", record, 2), struct.unpack_from("<I", record, 10)
    data = piece(medium, sector * CD_SECTOR, min(size, _CD_ROOT_MOST))
    names, at = set(), 0
    while at + 34 <= len(data):
        length, named = data[at], data[at + 32]
        if length < 34:  # a record does not go over a sector's end
            at += CD_SECTOR - at % CD_SECTOR
            continue
        if not data[at + 25] & _CD_FOLDER:
            names.add(_text(data[at + 33 : at + 33 + named]).partition(";")[0].rstrip("."))
        at += length
    return frozenset(names)


def piece(medium: Medium, offset: int, size: int) -> bytes:
    """So many bytes, or those that are there."""
    size = max(0, min(size, medium.size - offset))
    try:
        return read_bytes(medium, offset, size) if size and offset >= 0 else b""
    except StorageError:
        return b""  # what is damaged is not recognised


_MAGICS = (
    ("ext2/3/4", 1024 + 0x38, b"\x53\xef"),
    ("BSD disklabel", SECTOR, b"\x57\x45\x56\x82"),
    ("UFS1", 8192 + 0x55C, b"\x54\x19\x01\x00"),
    ("UFS2", 65536 + 0x55C, b"\x19\x01\x54\x19"),
    ("BFS", SECTOR + 0x20, b"1SFB"),
    ("Minix", 1024 + 0x10, b"\x7f\x13"),
    ("Minix", 1024 + 0x10, b"\x8f\x13"),
    ("Plan 9 partitions", SECTOR, b"part "),
)


def _fat(medium: Medium, offset: int, head: bytes) -> FileSystem | None:
    if len(head) < SECTOR:
        return None
    size, per_cluster, reserved, fats, entries, sectors, media, fat_sectors = struct.unpack_from("<HBHBHHBH", head, 11)
    large, large_fat = struct.unpack_from("<I", head, 32)[0], struct.unpack_from("<I", head, 36)[0]
    plausible = (
        size in (512, 1024, 2048, 4096)
        and per_cluster in (1, 2, 4, 8, 16, 32, 64, 128)
        and reserved >= 1
        and fats in (1, 2)
        and (media == 0xF0 or media >= 0xF8)
        and (sectors or large)
    )
    if not plausible:
        return None
    root = offset + (reserved + fats * (fat_sectors or large_fat)) * size
    if fat_sectors == 0:  # FAT32: the root folder is a file, of which the first cluster is looked at
        (cluster,) = struct.unpack_from("<I", head, 44)
        root += (max(cluster, 2) - 2) * per_cluster * size
        name, entries = "FAT32", per_cluster * size // 32
    else:
        data = (sectors or large) - reserved - fats * fat_sectors - -(-entries * 32 // size)
        name = "FAT12" if data // per_cluster < 4085 else "FAT16"
    label, names = _folder(piece(medium, root, 32 * min(entries, ROOT_MOST)))
    return FileSystem(name, label, names)


def _folder(data: bytes) -> tuple[str, frozenset[str]]:
    """Volume label and files of a FAT's root folder."""
    label, names = "", set()
    for at in range(0, len(data) - 31, 32):
        entry = data[at : at + 32]
        if entry[0] == _END:
            break
        if entry[0] == _FREE or entry[11] == _LONG_NAME:
            continue
        if entry[11] & _LABEL:
            label = label or _text(entry[:11])
        else:
            stem, ending = _text(entry[:8]), _text(entry[8:11])
            names.add(f"{stem}.{ending}" if ending else stem)
    return label, frozenset(names)


def _text(data: bytes) -> str:
    plain = data.partition(b"\0")[0].decode("cp437")
    return "".join(char if char.isprintable() else "?" for char in plain).rstrip()
