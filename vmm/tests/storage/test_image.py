"""Opening images: formats, overlays, what is refused."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from cdimage import cd
from qcow2image import Builder, pattern

from bringup.vmm.storage import FullError, Kind, ProtectedError, StorageError, open_medium, probe, read_bytes
from bringup.vmm.storage.overlay import CLUSTER, Overlay
from bringup.vmm.storage.raw import RawImage

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def write(data: bytes, name: str = "image") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


def refusal(path: Path, kind: Kind, **options: object) -> str:
    with pytest.raises(StorageError) as caught:
        open_medium(path, kind, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def boot_sector(*partitions: tuple[int, int, int]) -> bytes:
    table = b"".join(struct.pack("<B3xB3xII", 0, *partition) for partition in partitions)
    return bytes(0x1BE) + table.ljust(64, b"\0") + b"\x55\xaa"


# ---- raw ----


def test_raw(make: Make) -> None:
    path = make(bytes(range(256)) * 8)
    image = RawImage(path)
    assert image.size == 2048 and read_bytes(image, 300, 100) == (bytes(range(256)) * 2)[300:400]
    for offset, size in ((2048, 1), (2000, 100), (-1, 1)):
        with pytest.raises(StorageError, match="offset"):
            image.read(offset, bytearray(size))
    with pytest.raises(ProtectedError):
        image.write(0, bytearray(512))
    image.close()
    image.close()


def test_a_file_that_ends_within_a_sector(make: Make) -> None:
    image = RawImage(make(b"x" * 700))
    assert image.size == 1024 and read_bytes(image, 512, 512) == b"x" * 188 + bytes(324)
    assert read_bytes(image, 900, 100) == bytes(100)
    image.close()
    assert "700 bytes are not whole sectors" in refusal(make(b"x" * 700), Kind.DISK, write=True)


def test_a_file_that_shrinks_under_a_guest(make: Make) -> None:
    path = make(bytes(4096))
    image = RawImage(path)
    os.truncate(path, 1024)
    with pytest.raises(StorageError, match="offset 0x400: the file ends here"):
        image.read(0, bytearray(4096))
    image.close()


def test_what_is_no_file(tmp_path: Path, make: Make) -> None:
    assert "no such file" in refusal(tmp_path / "missing", Kind.DISK)
    assert "neither a file nor a disk" in refusal(tmp_path, Kind.DISK)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert "neither a file nor a disk" in refusal(fifo, Kind.DISK)
    assert "is empty" in refusal(make(b""), Kind.DISK)


# ---- writing ----


def test_a_guest_never_changes_its_image(make: Make) -> None:
    path = make(bytes(1 << 20))
    medium = open_medium(path, Kind.DISK)
    medium.write(1000, bytearray(b"hello"))
    assert read_bytes(medium, 998, 9) == b"\0\0hello\0\0"
    medium.close()
    assert path.read_bytes() == bytes(1 << 20)


def test_write_through(make: Make) -> None:
    path = make(bytes(1 << 20))
    medium = open_medium(path, Kind.DISK, write=True)
    medium.write(1024, bytearray(b"y" * 512))
    with pytest.raises(StorageError, match="beyond the end"):
        medium.write((1 << 20) - 1, bytearray(2))
    medium.close()
    assert path.read_bytes() == bytes(1024) + b"y" * 512 + bytes((1 << 20) - 1536)


def test_read_only_wins_over_write(make: Make) -> None:
    medium = open_medium(make(bytes(4096)), Kind.DISK, write=True, read_only=True)
    with pytest.raises(ProtectedError):
        medium.write(0, bytearray(512))
    medium.close()


def test_a_file_on_a_read_only_system(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(bytes(4096))
    real = os.open

    def refuse(name: Path, flags: int, *rest: int) -> int:
        if flags & os.O_RDWR:
            raise OSError(30, "Read-only file system")
        return real(name, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    assert "cannot be written, as --write asks" in refusal(path, Kind.DISK, write=True)
    open_medium(path, Kind.DISK).close()


def test_one_writer_at_a_time(make: Make) -> None:
    path = make(bytes(4096))
    reader = open_medium(path, Kind.DISK)
    open_medium(path, Kind.DISK).close()
    assert "is used elsewhere" in refusal(path, Kind.DISK, write=True)
    reader.close()
    writer = open_medium(path, Kind.DISK, write=True)
    assert "is written by another machine" in refusal(path, Kind.DISK)
    writer.close()


# ---- overlays ----


def test_overlay_reads_what_was_written(make: Make) -> None:
    size = 3 * CLUSTER + 512
    content = bytearray(os.urandom(size))
    overlay = Overlay(RawImage(make(bytes(content))), "disk")
    for offset, length in ((0, 512), (CLUSTER - 512, 1024), (3 * CLUSTER, 512), (100, 2 * CLUSTER), (CLUSTER, CLUSTER)):
        data = bytearray(os.urandom(length))
        overlay.write(offset, data)
        content[offset : offset + length] = data
        assert read_bytes(overlay, 0, size) == content
        assert read_bytes(overlay, CLUSTER - 7, CLUSTER + 9) == content[CLUSTER - 7 : 2 * CLUSTER + 2]
    assert overlay.used == size
    overlay.write(5, bytearray())
    for offset, length in ((size, 1), (-1, 1), (size - 1, 2)):
        with pytest.raises(StorageError):
            overlay.write(offset, bytearray(length))
        with pytest.raises(StorageError):
            overlay.read(offset, bytearray(length))
    overlay.close()


def test_overlay_is_bounded(make: Make) -> None:
    overlay = Overlay(RawImage(make(bytes(8 * CLUSTER))), "disk", limit=2 * CLUSTER)
    overlay.write(0, bytearray(b"a" * 512))
    overlay.write(CLUSTER, bytearray(b"b" * 512))
    with pytest.raises(FullError, match="disk"):
        overlay.write(2 * CLUSTER - 512, bytearray(b"c" * 1024))
    assert read_bytes(overlay, 2 * CLUSTER - 512, 1024) == bytes(1024), "nothing of it was written"
    overlay.write(CLUSTER, bytearray(b"d" * CLUSTER))
    assert overlay.used == 2 * CLUSTER
    overlay.close()


def test_overlay_over_qcow2(tmp_path: Path) -> None:
    builder = Builder()
    builder.put(0, pattern(1, builder.cluster))
    path = tmp_path / "image"
    path.write_bytes(builder.build())
    medium = open_medium(path, Kind.DISK)
    medium.write(4, bytearray(b"abcd"))
    assert read_bytes(medium, 0, 12) == pattern(1, 4) + b"abcd" + pattern(1, 4)
    medium.close()
    assert path.read_bytes() == builder.build()
    assert "a qcow2 image is never written" in refusal(path, Kind.DISK, write=True)
    assert "which a floppy drive does not take" in refusal(path, Kind.FLOPPY)
    assert "which a cdrom drive does not take" in refusal(path, Kind.CDROM)


# ---- what it is given as ----


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (b"\xfd7zXZ\0", "compressed by xz"),
        (b"BZh9", "compressed by bzip2"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
        (b"PK\3\4", "ZIP archive"),
        (b"KDMV", "VMDK"),
        (b"conectix", "VHD"),
        (b"vhdxfile", "VHDX"),
        (bytes(64) + b"\x7f\x10\xda\xbe", "VDI"),
        (b"IMD 1.18", "IMD"),
    ],
)
def test_formats_that_are_not_read(make: Make, data: bytes, text: str) -> None:
    path = make(data.ljust(8192, b"\0"))
    assert text in refusal(path, Kind.DISK)
    open_medium(path, Kind.DISK, format="raw").close()


def test_format(make: Make) -> None:
    path = make(bytes(8192))
    assert probe(path) == "raw"
    assert "is no qcow2 image" in refusal(path, Kind.DISK, format="qcow2")
    assert "no format 'vmdk'" in refusal(path, Kind.DISK, format="vmdk")
    assert probe(make(b"QFI\xfb" + bytes(4096))) == "qcow2"


@pytest.mark.parametrize("kib", [160, 180, 320, 360, 720, 1200, 1440, 2880])
def test_floppies(make: Make, kib: int) -> None:
    medium = open_medium(make(bytes(kib << 10)), Kind.FLOPPY)
    assert medium.size == kib << 10
    medium.close()
    for size in ((kib << 10) - 512, (kib << 10) + 512, (kib << 10) - 1):
        assert "are no floppy; truncated?" in refusal(make(bytes(size)), Kind.FLOPPY)


def test_a_cd_as_floppy_and_the_other_way(make: Make) -> None:
    assert "is a CD image (ISO 9660), and not a floppy" in refusal(make(cd()), Kind.FLOPPY)
    assert "is an image of a 1.44 MB floppy, and not a CD" in refusal(make(bytes(1440 << 10)), Kind.CDROM)
    assert "is an image of a disk, and not a CD" in refusal(make(boot_sector().ljust(1 << 20, b"\0")), Kind.CDROM)


def test_a_cd(make: Make) -> None:
    data = cd()
    medium = open_medium(make(data), Kind.CDROM, write=True)
    assert medium.size == len(data) and read_bytes(medium, 0x8001, 5) == b"CD001"
    with pytest.raises(ProtectedError):
        medium.write(0, bytearray(2048))
    medium.close()
    open_medium(make(data), Kind.DISK).close()
    other = open_medium(make(b"another file system".ljust(100000, b"\0")), Kind.CDROM)
    assert other.size == 49 * 2048
    other.close()


def test_a_truncated_cd(make: Make) -> None:
    data = cd(sectors=40)
    assert f"truncated: the volume has {40 * 2048} bytes, the file {39 * 2048}" in refusal(
        make(data[:-2048]), Kind.CDROM
    )
    assert "offset 0x8800: truncated" in refusal(make(data[: 17 * 2048]), Kind.CDROM)


@pytest.mark.parametrize(("small", "large", "offset"), [(2880, 0, 0x13), (0, 2880, 0x20)])
def test_a_truncated_fat(make: Make, small: int, large: int, offset: int) -> None:
    """A floppy of 1.44 MB of which half is there has the size of another; the boot sector says that it is cut."""
    head = (
        b"\xeb\x3c\x90" + b"BRINGUP " + struct.pack("<HBHBHHBHHHII", 512, 1, 1, 2, 224, small, 0xF0, 9, 18, 2, 0, large)
    )
    data = head.ljust(510, b"\0") + b"\x55\xaa"
    open_medium(make(data.ljust(1440 << 10, b"\0")), Kind.FLOPPY).close()
    said = f"offset {offset:#x}: truncated: the FAT file system has 1474560 bytes, the image 737280"
    assert said in refusal(make(data.ljust(720 << 10, b"\0")), Kind.FLOPPY)
    code = bytearray(data.ljust(720 << 10, b"\0"))
    code[0x1BE] = 0x33  # no partition table
    assert said in refusal(make(bytes(code)), Kind.DISK)
    code[0] = 0xFA  # what begins otherwise has no parameter block
    open_medium(make(bytes(code)), Kind.DISK).close()


def test_a_truncated_disk(make: Make) -> None:
    whole = boot_sector((0x83, 1, 7), (0x83, 8, 8)).ljust(16 * 512, b"\0")
    open_medium(make(whole), Kind.DISK).close()
    text = refusal(make(whole[:-512]), Kind.DISK)
    assert "offset 0x1ce: truncated: partition 2 ends at byte 8192, the disk at 7680" in text
    open_medium(make(boot_sector((0xEE, 1, 0xFFFFFFFF)).ljust(4096, b"\0")), Kind.DISK).close()
    file_system = bytearray(boot_sector((0x83, 1, 1000)).ljust(4096, b"\0"))
    file_system[0x1BE] = 0x55
    open_medium(make(bytes(file_system)), Kind.DISK).close()
