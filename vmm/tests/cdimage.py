"""CD images for tests: volume descriptors and an El Torito catalog, and nothing else."""

from __future__ import annotations

import struct

SECTOR = 2048
CATALOG, IMAGE = 19, 20


def entry(
    *, bootable: bool = True, media: int = 0, segment: int = 0, system: int = 0, sectors: int = 4, lba: int = IMAGE
) -> bytes:
    return struct.pack("<BBHBBHI20x", 0x88 if bootable else 0, media, segment, system, 0, sectors, lba)


def validation(platform: int = 0) -> bytes:
    data = bytearray(struct.pack("<BBH24sHBB", 1, platform, 0, b"bringup", 0, 0x55, 0xAA))
    struct.pack_into("<H", data, 28, -sum(struct.unpack("<16H", data)) & 0xFFFF)
    return bytes(data)


def header(platform: int, count: int, *, final: bool) -> bytes:
    return struct.pack("<BBH28x", 0x91 if final else 0x90, platform, count)


def cd(catalog: bytes | None = None, *, sectors: int = 24, pointer: int = CATALOG, image: bytes = b"") -> bytes:
    """`catalog` makes it bootable; `image` lies at sector 20."""
    data = bytearray(sectors * SECTOR)
    primary = bytearray(SECTOR)
    primary[:7] = b"\1CD001\1"
    primary[8:40] = b"BRINGUP".ljust(32)
    primary[40:72] = b"TEST VOLUME".ljust(32)
    struct.pack_into("<I", primary, 80, sectors)
    descriptors = [bytes(primary)]
    if catalog is not None:
        boot = b"\0CD001\1" + b"EL TORITO SPECIFICATION".ljust(32, b"\0") + bytes(32) + struct.pack("<I", pointer)
        descriptors.append(boot.ljust(SECTOR, b"\0"))
        data[CATALOG * SECTOR : CATALOG * SECTOR + len(catalog)] = catalog
    descriptors.append(b"\xffCD001\1".ljust(SECTOR, b"\0"))
    data[16 * SECTOR : (16 + len(descriptors)) * SECTOR] = b"".join(descriptors)
    data[IMAGE * SECTOR : IMAGE * SECTOR + len(image)] = image
    return bytes(data)
