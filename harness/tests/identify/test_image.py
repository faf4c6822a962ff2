"""What an image is: by signatures, root folders, labels, texts; and what is none is said in one line."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bringup.guests import loader
from bringup.guests.bounded import width
from bringup.harness.identify import filesystems
from bringup.harness.identify.image import Identified, IdentifyError, Start, identify
from bringup.harness.identify.systems import Signs, recognise, systems
from bringup.vmm.storage import StorageError
from bringup.vmm.storage.medium import View

from . import images

NTFS = images.at(512, x3=b"NTFS    ", x100=b"BOOTMGR is missing", x1FE=images.SIGNATURE)
EXT = images.at(4096, x438=b"\x53\xef", x478=b"rootfs")


def seen(folder: Path, content: bytes) -> Identified:
    path = folder / "image"
    path.write_bytes(content)
    return identify(path)


@pytest.mark.parametrize(
    ("content", "start", "system", "facts"),
    [
        (images.fat(1440, "KERNEL.SYS", label="FREEDOS", text=b"FreeDOS"), Start.FLOPPY, "FreeDOS",
         ("floppy of 1.44 MB", "FAT12, label 'FREEDOS'", "FreeDOS: text 'FreeDOS', file KERNEL.SYS, label 'FREEDOS'")),
        (images.fat(720, "IO.SYS", "MSDOS.SYS", oem=b"MSDOS5.0"), Start.FLOPPY, "DOS",
         ("floppy of 720 kB", "FAT12", "DOS: text 'MSDOS5.', text 'IO      SYS', file IO.SYS, file MSDOS.SYS")),
        (images.fat(360), Start.FLOPPY, None, ("floppy of 360 kB", "FAT12")),
        (bytes(160 << 10), Start.FLOPPY, None,
         ("floppy of 160 kB", "its boot sector has no signature: a BIOS may refuse it")),
        (images.at(1440 << 10, x3=b"OpenBSD", x1FE=images.SIGNATURE, x200=b"\x57\x45\x56\x82"), Start.FLOPPY, "OpenBSD",
         ("floppy of 1.44 MB", "BSD disklabel", "OpenBSD: text 'OpenBSD'")),
        (images.disk((0x07, NTFS)), Start.DISK, "Windows",
         ("disk of 1 MiB", "partition 1: type 07h (NTFS or exFAT), active", "NTFS",
          "Windows: text 'BOOTMGR', partition type 07h")),
        (images.disk((0x0C, images.fat32("NTLDR", "FREELDR.SYS", "FREELDR.INI"))), Start.DISK, "ReactOS",
         ("disk of 1 MiB", "partition 1: type 0Ch (FAT32), active", "FAT32",
          "ReactOS: file FREELDR.INI, file FREELDR.SYS")),
        (images.disk((0x83, EXT), (0xA5, b""), code=b"GRUB "), Start.DISK, "GRUB",
         ("disk of 1 MiB", "partition 1: type 83h (Linux), active", "partition 2: type A5h (FreeBSD)",
          "ext2/3/4, label 'rootfs'", "GRUB: text 'GRUB'")),
        (images.disk((0xEB, images.at(1024, x220=b"1SFB"))), Start.DISK, "Haiku",
         ("disk of 1 MiB", "partition 1: type EBh (BeOS or Haiku), active", "BFS", "Haiku: partition type EBh")),
        (images.disk((0x4F, b"")), Start.DISK, "QNX",
         ("disk of 1 MiB", "partition 1: type 4Fh (QNX 4), active", "QNX: partition type 4Fh")),
        (images.disk((0xA9, images.at(70000, x255C=b"\x54\x19\x01\x00"))), Start.DISK, "NetBSD",
         ("disk of 1 MiB", "partition 1: type A9h (NetBSD), active", "UFS1", "NetBSD: partition type A9h")),
        (images.disk(code=b"???"), Start.DISK, None, ("disk of 1 MiB",)),
        (images.bzimage(b"6.1.0-9-amd64 (builder)"), Start.LINUX, "Linux",
         ("Linux boot protocol 2.12, 64 bits: 6.1.0-9-amd64 (builder)", "Linux: text 'Linux version'")),
        (images.bzimage(b"1.0.0+git-20190125", wide=False), Start.LINUX, None,
         ("Linux boot protocol 2.12, 32 bits: 1.0.0+git-20190125",)),
        (images.bzimage(b"Memtest86+ v6.10\x1b", wide=False), Start.LINUX, "Memtest86+",
         ("Linux boot protocol 2.12, 32 bits: Memtest86+ v6.10?", "Memtest86+: text 'Memtest86+'")),
        (images.elf(b"GNU Mach 1.8"), Start.MULTIBOOT, "GNU Mach",
         ("multiboot kernel, ELF of 32 bits", "GNU Mach: text 'GNU Mach'")),
        (images.elf(b"(XEN) Xen version", 64), Start.MULTIBOOT, "Xen",
         ("multiboot kernel, ELF of 64 bits", "Xen: text '(XEN)', text 'Xen version'")),
        (images.kernel("hello"), Start.MULTIBOOT, None, ("multiboot kernel",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_an_image(tmp_path: Path, content: bytes, start: Start, system: str | None, facts: tuple[str, ...]) -> None:
    found = seen(tmp_path, content)
    assert (found.start, found.system and found.system.title, found.facts) == (start, system, facts)
    assert (found.format, found.packed) == ("raw", False)


def test_a_cd(tmp_path: Path) -> None:
    (tmp_path / "loader").write_bytes(b"ISOLINUX 6.04".ljust(4096))
    (tmp_path / "floppy").write_bytes(images.fat(1440, "KERNEL.SYS", label="BOOT"))
    inputs = {role: tmp_path / role for role in ("loader", "floppy")}
    found = seen(tmp_path, images.made("iso", inputs, boot="loader", label="DEBIAN_12"))
    assert found.start is Start.CDROM
    assert found.facts == (
        "CD (ISO 9660), volume 'DEBIAN_12'",
        "El Torito: no emulation, 4096 bytes",
        "Linux: text 'ISOLINUX', label 'DEBIAN_12'",
    )
    found = seen(tmp_path, images.made("iso", inputs, boot="floppy", emulation="floppy"))
    assert found.facts[1:] == ("El Torito: floppy 1440k, 1474560 bytes", "FreeDOS: file KERNEL.SYS")


def test_a_cd_by_its_root_folder_and_by_what_a_disk_would_start(tmp_path: Path) -> None:
    (tmp_path / "loader").write_bytes(b"ISOLINUX 6.04".ljust(4096))
    (tmp_path / "ipxe.krn").write_bytes(b"kernel")
    content = images.made("iso", {role: tmp_path / role for role in ("loader", "ipxe.krn")}, boot="loader")
    assert seen(tmp_path, content).facts[-1] == "iPXE: file IPXE.KRN"
    bare = images.made("iso", {"ipxe.krn": tmp_path / "ipxe.krn"}, boot="ipxe.krn")
    grub = seen(
        tmp_path, b"\xeb\x63\x90GRUB \0Geom".ljust(32 << 10, b"\0") + bare[32 << 10 :].replace(b"IPXE", b"OTHR")
    )
    assert (grub.start, grub.facts[-1]) == (Start.CDROM, "GRUB: text 'GRUB'")


class InMemory:
    """A medium of these bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, buffer: View) -> None:
        if offset + len(buffer) > self.size:
            raise StorageError("memory", "ends", offset)
        buffer[:] = self.data[offset : offset + len(buffer)]

    def write(self, offset: int, data: View) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


@given(st.binary(max_size=300), st.integers(16, 40), st.integers(0, 2**32 - 1))
def test_any_root_folder_of_a_cd_has_an_end(data: bytes, sector: int, size: int) -> None:
    content = images.at(40 * 2048, x809C=struct.pack("<2xI4xI20x", sector, size), xA000=data)
    assert all(name.isprintable() for name in filesystems.cd_names(InMemory(content)))


def test_a_qcow2_disk(tmp_path: Path) -> None:
    found = seen(tmp_path, images.qcow2(images.disk((0xA6, b""))))
    assert (found.start, found.format) == (Start.DISK, "qcow2")
    assert found.facts == (
        "disk of 1 MiB, qcow2",
        "partition 1: type A6h (OpenBSD), active",
        "OpenBSD: partition type A6h",
    )


def test_a_packed_kernel(tmp_path: Path) -> None:
    found = seen(tmp_path, gzip.compress(images.elf(b"NetBSD 10.0")))
    assert (found.start, found.packed) == (Start.MULTIBOOT, True)
    assert found.facts == ("packed with gzip", "multiboot kernel, ELF of 32 bits", "NetBSD: text 'NetBSD'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"text\n" * 500, r"is no kernel, no CD and no floppy, and has no boot sector \(55h AAh at 1FEh\)"),
        (gzip.compress(b"text", mtime=0), "is compressed by gzip, and no kernel: unpack it first"),
        (b"\x1f\x8b\x08" + b"\xff" * 40, "is a damaged gzip file"),
        (b"\xfd7zXZ\0" + bytes(600), "is compressed by xz: unpack it first"),
        (b"KDMV" + bytes(600), "is a VMDK image: convert it first"),
        (b"QFI\xfb" + bytes(20), "image: truncated|qcow2|header|ends"),
        (images.at(1 << 16, x8000=b"\1CD001\1", x8800=b"\xffCD001\1"), "CD that no BIOS starts from"),
        (images.at(34816, x8000=b"\1CD001\1"), "truncated: the list of volume descriptors has no end"),
        (images.disk((0x83, EXT))[: 300 << 10], "offset 0x1be: truncated: partition 1 ends at byte 524288"),
        (b"\xeb\x3c\x90" + images.fat(1440)[3 : 720 << 10], "offset 0x13: truncated: the FAT file system has 1474560"),
        (images.bzimage(b"6.1")[:2040], "truncated: 2040 bytes of 2560 that its header states"),
        (
            images.at(
                1 << 16,
                x8000=b"\1CD001\1",
                x8050=b"\x40",
                x8800=b"\0CD001\1EL TORITO SPECIFICATION",
                x8847=b"\x13",
                x9000=b"\xffCD001\1",
                x9800=b"\1",
                x981C=b"\xaa\x55\x55\xaa",
                x9820=b"\x88",
                x9826=b"\x04",
                x9828=b"\x14",
            ),
            "truncated: the volume has 131072 bytes, the file 65536",
        ),
    ],
)
def test_what_nothing_is_started_from(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(IdentifyError, match=rf"^{tmp_path}/image.*({message})"):
        seen(tmp_path, content)


def test_a_cd_whose_catalog_lies_outside(tmp_path: Path) -> None:
    (tmp_path / "loader").write_bytes(bytes(4096))
    content = bytearray(images.made("iso", {"loader": tmp_path / "loader"}, boot="loader"))
    content[17 * 2048 + 0x47 : 17 * 2048 + 0x4B] = b"\xff\xff\xff\x7f"
    with pytest.raises(IdentifyError, match="the boot catalog's sector 2147483647 lies outside of the image"):
        seen(tmp_path, bytes(content))


def test_a_disk_that_is_cut_within_a_sector(tmp_path: Path) -> None:
    assert seen(tmp_path, images.disk()[:-100]).facts == ("disk of 1 MiB", "its file ends within a sector: truncated?")


def test_a_disk_on_a_cd_is_not_read_whole(tmp_path: Path) -> None:
    """One of 2 TiB, as its partition table says; the file is sparse."""
    (tmp_path / "loader").write_bytes(images.disk((0x83, b""))[:4096])
    content = bytearray(images.made("iso", {"loader": tmp_path / "loader"}, boot="loader"))
    (catalog,) = struct.unpack_from("<I", content, 17 * 2048 + 0x47)
    content[catalog * 2048 + 33] = 4  # hard disk emulation
    (sector,) = struct.unpack_from("<I", content, catalog * 2048 + 40)
    struct.pack_into("<II", content, sector * 2048 + 0x1BE + 8, 1, 0xFFFFFFF0)
    path = tmp_path / "image"
    path.write_bytes(content)
    os.truncate(path, 3 << 40)
    assert "El Torito: hard disk, 2199023247872 bytes" in identify(path).facts


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, message in (
        ("none", "no such file"),
        ("", "is neither a file nor a disk|is a directory"),
        ("fifo", "neither a file"),
    ):
        with pytest.raises(IdentifyError, match=f"(?i){message}"):
            identify(tmp_path / name)


PIECES = st.sampled_from(
    [
        b"QFI\xfb\0\0\0\2",
        b"CD001",
        b"EL TORITO SPECIFICATION",
        b"\x55\xaa",
        b"HdrS",
        b"\x7fELF",
        b"NTFS    ",
        b"\x02\xb0\xad\x1b",
    ]
)
OFFSETS = st.sampled_from([0, 3, 11, 0x1BE, 0x1FE, 0x202, 0x236, 512, 1024, 0x8000, 0x8001, 0x8800, 0x8801, 0x8807])


@given(
    st.sampled_from([4096, 65536, 160 << 10, 1440 << 10]),
    st.lists(st.tuples(OFFSETS, PIECES | st.binary(max_size=64)), max_size=8),
)
def test_damaged_images_end_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, size: int, pieces: list[tuple[int, bytes]]
) -> None:
    content = bytearray(size)
    for offset, piece in pieces:
        content[offset : offset + len(piece)] = piece
    path = tmp_path_factory.mktemp("damaged") / "image"
    path.write_bytes(content)
    try:
        found = identify(path)
    except IdentifyError as error:
        assert "\n" not in str(error)
    else:
        assert found.facts


def test_the_table_of_systems() -> None:
    for system in systems():
        assert system.family is None or system.family in loader.families()
        assert system.evidence is None or width(system.evidence)
        alone = recognise(Signs(started=tuple(text.encode() for text in system.texts)))
        assert alone is not None and alone[0] is system, system.title
    assert recognise(Signs(labels=("DATA",), names=frozenset({"README.TXT"}))) is None
