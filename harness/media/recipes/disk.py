"""`disk`: a raw disk whose master boot record has one partition with a FAT16 file system. Nothing starts from it.

Inputs: any; each is a file in the root folder. Parameters:
- `<role>`: the name of that input's file, such as `NOTES.TXT`; without it the file is called like its role, in capitals
- `size`: of the disk, in MiB, 4 to 1024; 16 without it
- `label`: the volume's name

Sources: Microsoft FAT32 File System Specification 1.03, which has FAT16, too; for the partition table IBM PC DOS 3.3.
"""

import re
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bringup.harness.media.recipes import RecipeError, known

VERSION = 1
SECTOR = 512
START = 2048
"""The partition's first sector."""
ROOT_ENTRIES = 512
_HEADS, _TRACK = 255, 63
_DISK, _FAT16 = 0xF8, 0x06  # media descriptor; partition type: FAT16 of 32 MiB and more, which smaller ones may have
_SIGNATURE = b"\x55\xaa"
_NOT_BOOTABLE = bytes.fromhex("cd18 f4 ebfd")  # int 18h; hlt; jmp to the hlt: the firmware goes on to its next device
_DAY = 1 << 5 | 1  # 1980-01-01
_LABEL_ENTRY, _ARCHIVE = 0x08, 0x20
_END = 0xFFFF
_MOST_CLUSTERS = 1 << 15
_NAME = re.compile(r"[A-Z0-9_-]{1,8}(\.[A-Z0-9_-]{1,3})?")


@dataclass(frozen=True)
class _Volume:
    """Where things are, in sectors from the partition's first."""

    sectors: int
    cluster: int
    """Sectors of one."""
    fat: int
    """Sectors of each of the two tables."""

    @property
    def root(self) -> int:
        return 1 + 2 * self.fat

    @property
    def data(self) -> int:
        return self.root + ROOT_ENTRIES * 32 // SECTOR

    @property
    def clusters(self) -> int:
        return (self.sectors - self.data) // self.cluster


def make(inputs: Mapping[str, Path], parameters: Mapping[str, str], output: BinaryIO) -> None:
    """Writes the disk."""
    known(parameters, "size", "label", *inputs)
    size, label = parameters.get("size", "16"), parameters.get("label", "BRINGUP")
    if not re.fullmatch(r"[1-9][0-9]{0,3}", size) or not 4 <= int(size) <= 1024:
        raise RecipeError(f"size: {size!r} is not a number of MiB from 4 to 1024")
    if not re.fullmatch(r"[A-Z0-9_]{1,11}", label):
        raise RecipeError(f"label: {label!r} is not of capitals, digits and `_`, 11 at most")
    volume = _volume((int(size) << 20) // SECTOR - START)
    files = [(role, _short_name(role, parameters.get(role, role.upper())), source) for role, source in inputs.items()]
    _write(output, volume, label, sorted(files))


def _volume(sectors: int) -> _Volume:
    cluster = 1
    while sectors // cluster > _MOST_CLUSTERS:
        cluster *= 2
    return _Volume(sectors, cluster, -(-(sectors // cluster + 2) * 2 // SECTOR))


def _short_name(role: str, name: str) -> bytes:
    """As a folder's entry has it."""
    if not _NAME.fullmatch(name):
        raise RecipeError(f"{role}: {name!r} is no name of up to 8 capitals and, after a dot, 3 more")
    stem, _, ending = name.partition(".")
    return f"{stem:<8}{ending:<3}".encode()


def _write(output: BinaryIO, volume: _Volume, label: str, files: list[tuple[str, bytes, Path]]) -> None:
    begin = START * SECTOR
    output.seek(begin + volume.sectors * SECTOR - 1)
    output.write(b"\0")  # so large it is
    table, root = [0xFF00 | _DISK, _END], _entry(label.ljust(11).encode(), _LABEL_ENTRY, 0, 0)
    names = dict[bytes, str]()
    for role, name, source in files:
        if (owner := names.setdefault(name, role)) != role:
            raise RecipeError(f"{role}: is called like {owner}")
        size, first = source.stat().st_size, len(table)
        clusters = -(-size // (volume.cluster * SECTOR))
        if first + clusters > volume.clusters + 2 or len(names) >= ROOT_ENTRIES:
            raise RecipeError(f"{role}: {size} bytes more are too much for this disk")
        root += _entry(name, _ARCHIVE, first if clusters else 0, size)
        output.seek(begin + (volume.data + (first - 2) * volume.cluster) * SECTOR)
        with source.open("rb") as content:
            shutil.copyfileobj(content, output)
        table += [*range(first + 1, first + clusters), _END] if clusters else []
    pieces = {
        0: _partition_table(volume),
        begin: _boot_sector(volume, label),
        begin + SECTOR: struct.pack(f"<{len(table)}H", *table),
        begin + (1 + volume.fat) * SECTOR: struct.pack(f"<{len(table)}H", *table),
        begin + volume.root * SECTOR: root,
    }
    for at, piece in pieces.items():
        output.seek(at)
        output.write(piece)


def _entry(name: bytes, attributes: int, cluster: int, size: int) -> bytes:
    return struct.pack("<11sB6xHHHHHI", name, attributes, _DAY, 0, 0, _DAY, cluster, size)


def _partition_table(volume: _Volume) -> bytes:
    first, last = _chs(START), _chs(START + volume.sectors - 1)
    entry = struct.pack("<B3sB3sII", 0, first, _FAT16, last, START, volume.sectors)
    return _NOT_BOOTABLE.ljust(446, b"\0") + entry + bytes(3 * 16) + _SIGNATURE


def _chs(sector: int) -> bytes:
    """Head, sector, cylinder as INT 13h and partition tables have them."""
    track, number = divmod(sector, _TRACK)
    cylinder, head = divmod(track, _HEADS)
    return bytes((head, (cylinder >> 8) << 6 | number + 1, cylinder & 0xFF))


def _boot_sector(volume: _Volume, label: str) -> bytes:
    small = volume.sectors if volume.sectors <= 0xFFFF else 0
    large = 0 if small else volume.sectors
    geometry = struct.pack("<HHII", _TRACK, _HEADS, START, large)
    parameters = struct.pack("<HBHBHHBH", SECTOR, volume.cluster, 1, 2, ROOT_ENTRIES, small, _DISK, volume.fat)
    extended = struct.pack("<BBBI11s8s", 0x80, 0, 0x29, START, label.ljust(11).encode(), b"FAT16   ")
    head = bytes.fromhex("eb3c90") + b"BRINGUP " + parameters + geometry + extended
    return (head + _NOT_BOOTABLE).ljust(510, b"\0") + _SIGNATURE
