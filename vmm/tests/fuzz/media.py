"""Images as media of drives, as what `guests add` identifies, and as kernels: any input is a value or one line, nothing
is written to the file, and a read gives all that was asked for or an error."""

from __future__ import annotations

import atexit
import os
import shutil
import struct
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

from cdimage import cd, entry, header, validation
from qcow2image import Builder, pattern
from test_boot import bzimage
from test_multiboot import Part, elf, kludge
from test_multiboot import header as multiboot_header

from bringup.harness.identify.image import IdentifyError, identify
from bringup.vmm.boot import BIOS_DATA, BootError, protocol
from bringup.vmm.spec import MIB
from bringup.vmm.storage import FullError, Kind, Medium, Overlay, ProtectedError, StorageError, open_medium

from .damage import Base, Damaged, Input, damaged, fields

SECTOR = 512


def _qcow2(version: int, bits: int) -> Base:
    image = Builder(clusters=40, bits=bits, version=version)
    for index in range(3):
        image.put(index, pattern(index, image.cluster))
    image.put_compressed(5, pattern(5, image.cluster))
    image.put_compressed(6, pattern(6, image.cluster), at=77)
    content, cluster = image.build(), image.cluster
    header_fields = fields(4, 4, 16, 20, 32, 36, 56, 60, 96, 100) + fields(8, 8, 24, 40, 48, 64, 72, 80, 88)
    tables = fields(8, cluster, cluster + 8, range(2 * cluster, 2 * cluster + 64, 8))
    return Base(content, header_fields + tables + fields(2, range(6 * cluster, 6 * cluster + 40, 2)), "big")


def _cd() -> Base:
    catalog = validation() + entry() + header(0, 2, final=True) + entry(media=2, lba=21) + entry(media=4, lba=22)
    boot_sector = bytes(0x1BE) + struct.pack("<B3xB3xII", 0x80, 6, 1, 3) + bytes(48) + b"\x55\xaa"
    content = cd(catalog, sectors=40, image=bytes(2 * 2048) + boot_sector)
    descriptors = (0x8000 + 2048 * n + at for n in range(3) for at in range(8))
    sector = 22 * 2048
    return Base(
        content,
        fields(1, descriptors, range(19 * 2048, 19 * 2048 + 192))
        + fields(4, 0x8050, 0x8847, range(19 * 2048 + 8, 19 * 2048 + 192, 32), sector + 0x1BE + 8, sector + 0x1BE + 12)
        + fields(2, range(19 * 2048 + 6, 19 * 2048 + 192, 32), 19 * 2048 + 28),
    )


def _fat(kib: int = 160) -> Base:
    parameters = struct.pack("<HBHBHHBHHHII", SECTOR, 1, 1, 2, 64, kib * 2, 0xFE, 1, 8, 1, 0, 0)
    folder = b"KERNEL  SYS ".ljust(32, b"\0") + b"LABEL      \x08".ljust(32, b"\0")
    content = (b"\xeb\x3c\x90BRINGUP " + parameters).ljust(510, b"\0") + b"\x55\xaa"
    content = (content + bytes(2 * SECTOR) + folder).ljust(kib << 10, b"\0")
    return Base(
        content,
        fields(1, 0, 13, 16, 21, 510, range(0x600, 0x640)) + fields(2, 11, 14, 17, 19, 22) + fields(4, 32, 36, 44),
    )


def _disk() -> Base:
    table = b"".join(
        struct.pack("<B3xB3xII", 0x80 >> n * 8, kind, 8 * n + 8, 8) for n, kind in enumerate((0x83, 7, 12))
    )
    content = (bytes(0x1BE) + table.ljust(64, b"\0") + b"\x55\xaa").ljust(8 * SECTOR, b"\0") + _fat().content
    places = [0x1BE + 16 * n for n in range(4)]
    return Base(
        content,
        fields(1, places, (at + 4 for at in places), 510)
        + fields(4, (at + 8 for at in places), (at + 12 for at in places))
        + fields(2, (8 * SECTOR + at for at in (11, 14, 17, 19, 22, 0x438, 0x410))) + fields(8, 64, 0),
    )  # fmt: skip


@cache
def images() -> tuple[Base, ...]:
    return _qcow2(3, 12), _qcow2(2, 9), _cd(), _fat(), _disk()


@cache
def kernels() -> tuple[Base, ...]:
    linux = fields(1, 0x1F1, 0x210, 0x211, 0x234) + fields(2, 0x1FE, 0x200, 0x206, 0x20E, 0x236)
    linux += fields(4, 0x1F4, 0x202, 0x22C, 0x230, 0x238, 0x248, 0x24C, 0x260) + fields(8, 0x258)
    narrow, wide = elf(Part(), Part(paddr=2 * MIB, data=b"abc", memsz=5000)), elf(wide=True)
    elf_32 = fields(2, 16, 18, 42, 44, 46) + fields(4, 24, 28, range(52, 52 + 64, 4)) + fields(1, 4, 5)
    elf_64 = (
        fields(2, 16, 18, 54, 56, 58) + fields(8, 24, 32, range(72, 120, 8)) + fields(4, 64, 0x78) + fields(1, 4, 5)
    )
    flat, video = kludge(before=bytes(64)), multiboot_header(4, 0, 0, 0, 0, 0, 0, 80, 25, 0) + bytes(600)
    return (
        Base(bzimage(), linux),
        Base(bzimage(version=0x0204, xloadflags=0), linux),
        Base(narrow, elf_32 + fields(4, range(116, 128, 4))),
        Base(wide, elf_64),
        Base(flat, fields(4, range(64, 64 + 32, 4))),
        Base(video, fields(4, range(0, 48, 4))),
    )


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder)
    return folder


def _with_file(file: Damaged, try_it: Callable[[Path], None]) -> None:
    path = _folder() / "image"
    path.write_bytes(file.content)
    os.truncate(path, file.size)
    blocks = path.stat().st_blocks
    try_it(path)
    with path.open("rb") as after:
        assert after.read(len(file.content)) == file.content, "the medium is written"
    assert (path.stat().st_size, path.stat().st_blocks) == (file.size, blocks), "the medium is written"


def _one_line(error: Exception, path: Path) -> None:
    text = str(error)
    assert str(path) in text and "\n" not in text and len(text) < 400, repr(text)


def _use(medium: Medium, path: Path) -> None:
    assert medium.size > 0
    ends = (0, SECTOR, medium.size // 2 // SECTOR * SECTOR, medium.size - SECTOR, medium.size - 1, medium.size)
    for offset in ends:
        for size in (SECTOR, 64 << 10):
            buffer = bytearray(b"\xa5" * size)
            try:
                medium.read(offset, buffer)
            except StorageError as error:
                _one_line(error, path)
            else:
                assert 0 <= offset <= medium.size - size, "a read beyond the end"
    try:
        medium.write(SECTOR, bytearray(b"w" * SECTOR))
        buffer = bytearray(SECTOR)
        medium.read(SECTOR, buffer)
        assert buffer == b"w" * SECTOR and isinstance(medium, Overlay), "what was written"
    except (FullError, ProtectedError, StorageError) as error:
        _one_line(error, path)


def drives(data: bytes) -> None:
    """As a disk, a CD and a floppy: opened, read, written."""
    program = Input(data)
    base = images()[program.number() % len(images())]

    def try_it(path: Path) -> None:
        for kind in Kind:
            for read_only in (False, True):
                try:
                    medium = open_medium(path, kind, read_only=read_only)
                except StorageError as error:
                    _one_line(error, path)
                    continue
                try:
                    _use(medium, path)
                finally:
                    medium.close()

    _with_file(damaged(base, program), try_it)


def identification(data: bytes) -> None:
    """What `guests add` makes of it."""
    program = Input(data)
    everything = images() + kernels()
    base = everything[program.number() % len(everything)]

    def try_it(path: Path) -> None:
        try:
            found = identify(path)
        except IdentifyError as error:
            _one_line(error, path)
        else:
            assert found.facts and all(fact.isprintable() and len(fact) < 400 for fact in found.facts), found.facts

    _with_file(damaged(base, program), try_it)


def loaders(data: bytes) -> None:
    """Linux and multiboot: what is loaded lies in memory, nothing over anything else."""
    program = Input(data)
    base = kernels()[program.number() % len(kernels())]
    memory = (2, 16, 64, 4096)[program.number() % 4] * MIB

    def try_it(path: Path) -> None:
        try:
            image = protocol.recognise(path, None, "console=ttyS0").image(memory, 1 + data[-1] % 4 if data else 1)
        except BootError as error:
            _one_line(error, path)
            return
        # A kernel may lie over the BIOS's vectors and data.
        places = sorted(
            (gpa, gpa + len(chunk)) for gpa, chunk in image.chunks if len(chunk) and gpa not in (0, BIOS_DATA)
        )
        assert all(first >= 0 and last <= memory for first, last in places), "outside of memory"
        assert all(before[1] <= after[0] for before, after in pairwise(places)), "twice the same"
        assert all(0 <= value < 1 << 64 for value in (image.registers.rip, *image.registers.gpr))

    _with_file(damaged(base, program), try_it)
