"""What an ISO 9660 image says of itself (ECMA-119): its volume descriptors, no files."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .medium import CD_SECTOR, Medium, StorageError, read_bytes

FIRST_DESCRIPTOR = 16  # sector
_DESCRIPTORS_MOST = 64
BOOT_RECORD, PRIMARY, TERMINATOR = 0, 1, 255


@dataclass(frozen=True)
class Volume:
    """`sectors` of 2048 bytes; `boot_record` is the sector of the El Torito descriptor, if there is one."""

    label: str
    system: str
    sectors: int
    boot_record: int | None


def is_iso9660(medium: Medium) -> bool:
    """Has it a volume descriptor where one must be?"""
    at = FIRST_DESCRIPTOR * CD_SECTOR
    return medium.size >= at + CD_SECTOR and read_bytes(medium, at + 1, 5) == b"CD001"


def read_volume(medium: Medium, name: str) -> Volume:
    """Raises StorageError, with the offset, when there is no primary volume descriptor or no end of the list."""
    primary: bytes | None = None
    boot_record: int | None = None
    for sector in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + _DESCRIPTORS_MOST):
        at = sector * CD_SECTOR
        if at + CD_SECTOR > medium.size:
            raise StorageError(name, "truncated: the list of volume descriptors has no end", at)
        data = read_bytes(medium, at, CD_SECTOR)
        if data[1:6] != b"CD001":
            raise StorageError(name, "is no ISO 9660 volume descriptor", at)
        if data[0] == PRIMARY and primary is None:
            primary = data
        elif data[0] == BOOT_RECORD and boot_record is None and data[7:39].rstrip(b"\0 ") == b"EL TORITO SPECIFICATION":
            boot_record = sector
        elif data[0] == TERMINATOR:
            break
    else:
        raise StorageError(name, f"has more than {_DESCRIPTORS_MOST} volume descriptors", FIRST_DESCRIPTOR * CD_SECTOR)
    if primary is None:
        raise StorageError(name, "has no primary volume descriptor", FIRST_DESCRIPTOR * CD_SECTOR)
    (sectors,) = struct.unpack_from("<I", primary, 80)
    return Volume(_text(primary[40:72]), _text(primary[8:40]), sectors, boot_record)


def _text(data: bytes) -> str:
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else "?" for byte in data.rstrip(b"\0 "))
