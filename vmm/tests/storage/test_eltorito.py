"""What CDs say of themselves: volume descriptors and boot catalogs."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from cdimage import CATALOG, IMAGE, SECTOR, cd, entry, header, validation
from hypothesis import given, settings
from hypothesis import strategies as st

from bringup.vmm.storage import BootEntry, Emulation, Kind, StorageError, open_medium, read_catalog, read_volume
from bringup.vmm.storage.medium import View


class Memory:
    """A medium of bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, buffer: View) -> None:
        if offset < 0 or offset + len(buffer) > self.size:
            raise StorageError("memory", "outside", offset)
        memoryview(buffer)[:] = self.data[offset : offset + len(buffer)]

    def write(self, offset: int, data: View) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


def catalog(data: bytes) -> tuple[BootEntry, ...]:
    medium = Memory(data)
    return read_catalog(medium, read_volume(medium, "cd"), "cd")


def test_a_volume() -> None:
    volume = read_volume(Memory(cd()), "cd")
    assert (volume.label, volume.system, volume.sectors, volume.boot_record) == ("TEST VOLUME", "BRINGUP", 24, None)
    assert catalog(cd()) == ()


def test_a_label_of_any_bytes() -> None:
    data = bytearray(cd())
    data[16 * SECTOR + 40 : 16 * SECTOR + 44] = b"\x1b[2J"
    assert read_volume(Memory(bytes(data)), "cd").label == "?[2J VOLUME"


@pytest.mark.parametrize("damage", [(16, b"\1CD00X"), (17, b"\2CD001"), (17, b"XXXXXX")])
def test_bad_descriptors(damage: tuple[int, bytes]) -> None:
    sector, data = damage
    image = bytearray(cd())
    image[sector * SECTOR : sector * SECTOR + len(data)] = data
    with pytest.raises(StorageError, match="cd, offset 0x"):
        read_volume(Memory(bytes(image)), "cd")


def test_descriptors_without_an_end() -> None:
    primary = cd()[16 * SECTOR : 17 * SECTOR]
    with pytest.raises(StorageError, match="more than 64"):
        read_volume(Memory(bytes(16 * SECTOR) + primary * 100), "cd")
    with pytest.raises(StorageError, match="truncated"):
        read_volume(Memory(bytes(16 * SECTOR) + primary * 10), "cd")


def test_no_emulation() -> None:
    assert catalog(cd(validation() + entry(segment=0x7C0, sectors=4))) == (
        BootEntry(0, True, Emulation.NONE, 0x7C0, 0, 4, IMAGE * SECTOR, 2048),
    )


@pytest.mark.parametrize(("media", "kib"), [(1, 1200), (2, 1440), (3, 2880)])
def test_floppy_emulation(media: int, kib: int) -> None:
    image = cd(validation() + entry(media=media, sectors=1), sectors=IMAGE + kib // 2)
    assert catalog(image)[0].size == kib << 10
    with pytest.raises(StorageError, match=f"a boot image of {kib << 10} bytes at sector 20 lies outside"):
        catalog(cd(validation() + entry(media=media, sectors=1), sectors=IMAGE + kib // 2 - 1))


def test_hard_disk_emulation() -> None:
    boot = bytes(0x1BE) + struct.pack("<B3xB3xII", 0x80, 6, 1, 15) + bytes(48) + b"\x55\xaa"
    image = cd(validation() + entry(media=4, sectors=1, system=6), image=boot)
    assert catalog(image)[0].emulation is Emulation.HARD_DISK and catalog(image)[0].size == 16 * 512
    large = bytes(0x1BE) + struct.pack("<B3xB3xII", 0x80, 6, 1, 1500) + bytes(48) + b"\x55\xaa"
    with pytest.raises(StorageError, match="lies outside"):
        catalog(cd(validation() + entry(media=4, sectors=1), image=large))


def test_sections() -> None:
    extension = b"\x44" + bytes(31)
    more = bytearray(entry(lba=21))
    more[1] = 0x20
    found = catalog(
        cd(
            validation()
            + entry()
            + header(0, 2, final=False) + bytes(more) + extension + entry(bootable=False, lba=0)
            + header(0xEF, 1, final=True) + entry(lba=22, sectors=0xFFFF)
            + header(0, 1, final=True) + entry(lba=9999)
        )
    )  # fmt: skip
    assert [(one.platform, one.bootable, one.offset // SECTOR) for one in found] == [
        (0, True, 20), (0, True, 21), (0, False, 0), (0xEF, True, 22)
    ]  # fmt: skip


@pytest.mark.parametrize("pointer", [0, 24, 0xFFFFFFFF])
def test_a_catalog_outside(pointer: int) -> None:
    with pytest.raises(StorageError, match=f"cd, offset 0x8847: the boot catalog's sector {pointer} lies outside"):
        catalog(cd(validation() + entry(), pointer=pointer))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (bytes(64), "offset 0x9800: the boot catalog has no validation entry"),
        (validation()[:28] + b"\0\0\x55\xaa" + entry(), "validation entry adds up to"),
        (validation() + b"\x77" + bytes(31), "offset 0x9820: a boot entry with indicator 0x77"),
        (validation() + entry(media=5), "offset 0x9821: a boot entry with media type 5"),
        (validation() + entry(lba=0), "offset 0x9828: a boot image"),
        (validation() + entry(lba=24), "offset 0x9828: a boot image of 2048 bytes at sector 24 lies outside"),
        (validation() + entry(sectors=0xFFFF), "lies outside"),
        (validation() + entry(bootable=False) + header(0, 0xFFFF, final=True), "has more than 64 entries"),
    ],
)
def test_bad_catalogs(data: bytes, text: str) -> None:
    with pytest.raises(StorageError) as caught:
        catalog(cd(data))
    assert text in str(caught.value) and "\n" not in str(caught.value)


def test_a_cd_with_a_bad_catalog_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "cd.iso"
    path.write_bytes(cd(validation() + entry(lba=9999)))
    with pytest.raises(StorageError, match="lies outside of the image"):
        open_medium(path, Kind.CDROM)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(st.lists(st.tuples(st.integers(0, 8 * SECTOR - 1), st.integers(0, 255)), max_size=12), st.integers(17, 24))
def test_any_damage_is_an_error_or_a_catalog(changes: list[tuple[int, int]], sectors: int) -> None:
    data = bytearray(cd(validation() + entry() + header(0xEF, 1, final=True) + entry(lba=22)))
    for offset, value in changes:
        data[16 * SECTOR + offset] = value
    try:
        for one in catalog(bytes(data[: sectors * SECTOR])):
            assert one.offset >= 0 and one.size >= 0
    except StorageError as error:
        assert "cd" in str(error)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.binary(max_size=2048), st.integers(0, 30))
def test_any_catalog(data: bytes, pointer: int) -> None:
    try:
        catalog(cd(validation() + data[:2016], pointer=pointer))
    except StorageError as error:
        assert "offset" in str(error)
    assert CATALOG == 19
