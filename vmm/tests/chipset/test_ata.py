"""The commands of a disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from idebench import (
    ABRT,
    COMMAND,
    COUNT,
    DEV,
    DEVICE,
    DRQ,
    ERR,
    ERROR,
    HOB,
    IDNF,
    LBA_HIGH,
    LBA_LOW,
    LBA_MID,
    READY,
    STATUS,
    Channel,
    Drive,
    disk,
    identity,
    text,
)

Make = Callable[..., Channel]


@pytest.fixture
def make(lib: Any, ffi: Any) -> Make:
    return lambda *drives, **settings: Channel(lib, ffi, *drives, **settings)


@pytest.fixture
def channel(make: Make) -> Channel:
    return make(disk())


class Sparse(Drive):
    """A disk that is larger than its data."""

    size = 0

    def storage(self, ffi: Any) -> Any:
        storage = super().storage(ffi)
        storage.bytes = self.size
        return storage


def large(sectors: int) -> Drive:
    drive = Sparse(1, bytearray(512))
    drive.size = sectors * 512
    return drive


def identify(channel: Channel, unit: int = 0) -> list[int]:
    channel.write(DEVICE, unit * DEV)
    channel.write(COMMAND, 0xEC)
    words = identity(channel.take_blocks())
    assert channel.status == READY
    return words


def dword(words: list[int], first: int) -> int:
    return words[first] | words[first + 1] << 16


# ---- IDENTIFY DEVICE ----


def test_identify(make: Make) -> None:
    channel = make(disk(2048), disk(4096), first=2)
    words = identify(channel)
    assert (words[0], words[1], words[3], words[6]) == (0x0040, 2, 16, 63)
    assert text(words, 10, 10) == "BRINGUP00002"
    assert text(words, 23, 4) == "1.0"
    assert text(words, 27, 20) == "BRINGUP DISK"
    assert words[47] == 0x8010 and words[49] & 0x0300 == 0x0300 and words[53] == 7
    assert dword(words, 60) == 2048 and dword(words, 100) == 2048 and words[102:104] == [0, 0]
    assert words[63] == 0x0407 and words[88] == 0x003F, "multiword mode 2 is selected"
    assert words[83] & 0xC000 == words[84] & 0xC000 == words[87] & 0xC000 == words[50] & 0xC000 == 0x4000
    assert words[83] >> 10 & 1 and words[86] >> 10 & 1, "LBA48"
    assert words[93] & 0xC001 == 0x4001
    other = identify(channel, 1)
    assert text(other, 10, 10) == "BRINGUP00003" and dword(other, 60) == 4096 and other[93] & 0xC100 == 0x4100


@pytest.mark.parametrize(
    ("sectors", "lba28", "cylinders"),
    [(1, 1, 0), (16 * 63, 16 * 63, 1), (0x0FFFFFFF, 0x0FFFFFFF, 16383), (1 << 32, 0x0FFFFFFF, 16383)],
)
def test_capacity(make: Make, sectors: int, lba28: int, cylinders: int) -> None:
    words = identify(make(large(sectors)))
    assert dword(words, 60) == lba28 and words[1] == words[54] == cylinders
    assert dword(words, 100) | dword(words, 102) << 32 == sectors
    assert dword(words, 57) == cylinders * 16 * 63


# ---- addresses ----


def test_lba48_addresses_beyond_28_bits(make: Make) -> None:
    channel = make(large(1 << 40))
    channel.address(0x12_3456_789A, 3, extended=True)
    channel.write(COMMAND, 0x24)
    channel.wait()
    assert channel.requests[0][0] == 0x12_3456_789A * 512


def test_lba48_count(make: Make) -> None:
    channel = make(disk(1100))
    assert channel.pio_in(0x24, 50, 1000, extended=True) == channel.drive(0).data[50 * 512 : 1050 * 512]
    channel.control(HOB)
    assert channel.read(COUNT) == 0
    channel.control(0)
    assert (channel.read(LBA_LOW), channel.read(LBA_MID)) == (1049 & 0xFF, 1049 >> 8)
    assert channel.pio_in(0x24, 0, 0, extended=True) == b"", "0 is 65536, more than there are"
    assert channel.read(ERROR) == IDNF


def test_lba28_ignores_what_was_there_before(channel: Channel) -> None:
    channel.address(0xFF_FFFF_FFFF, 0xFFFF, extended=True)
    assert channel.pio_in(0x20, 5, 1) == channel.drive(0).data[2560:3072]


@pytest.mark.parametrize(
    ("cylinder", "head", "sector", "there"),
    [(0, 0, 1, True), (1, 15, 63, True), (0, 0, 0, False), (0, 0, 64, False), (2, 0, 1, False), (65535, 15, 1, False)],
)
def test_chs(channel: Channel, cylinder: int, head: int, sector: int, there: bool) -> None:
    channel.write(DEVICE, head)
    for register, value in ((COUNT, 1), (LBA_LOW, sector), (LBA_MID, cylinder & 0xFF), (LBA_HIGH, cylinder >> 8)):
        channel.write(register, value)
    channel.write(COMMAND, 0x20)
    lba = (cylinder * 16 + head) * 63 + sector - 1
    assert channel.take_blocks() == (channel.drive(0).data[lba * 512 : (lba + 1) * 512] if there else b"")
    assert bool(channel.read(STATUS) & ERR) != there
    assert channel.read(ERROR) == (0 if there else IDNF)


def test_initialize_device_parameters(channel: Channel) -> None:
    channel.write(DEVICE, 3)
    channel.write(COUNT, 17)
    channel.write(COMMAND, 0x91)
    channel.wait()
    assert channel.read(STATUS) == READY
    words = identify(channel)
    assert words[54:57] == [2048 // (4 * 17), 4, 17]
    assert (words[1], words[3], words[6]) == (2, 16, 63), "the default translation stays"
    channel.write(DEVICE, 1)
    for register, value in ((COUNT, 1), (LBA_LOW, 2), (LBA_MID, 5), (LBA_HIGH, 0)):
        channel.write(register, value)
    channel.write(COMMAND, 0x20)
    lba = (5 * 4 + 1) * 17 + 1
    assert channel.take_blocks() == channel.drive(0).data[lba * 512 : (lba + 1) * 512]
    assert channel.command(0x91, 0) & ERR, "no sectors of a track"


# ---- blocks of several sectors ----


@pytest.mark.parametrize(("read", "write", "extended"), [(0xC4, 0xC5, False), (0x29, 0x39, True)])
@pytest.mark.parametrize("multiple", [1, 4, 16])
def test_multiple(channel: Channel, read: int, write: int, extended: bool, multiple: int) -> None:
    assert channel.command(0xC6, multiple) == READY
    assert identify(channel)[59] == 0x100 | multiple
    channel.address(3, 18, extended=extended)
    channel.write(COMMAND, read)
    data = b""
    for _ in range((18 + multiple - 1) // multiple):
        assert channel.wait() & DRQ
        channel.read(STATUS)
        data += channel.words(min(512 * multiple, 18 * 512 - len(data)))
    assert channel.status == READY and data == channel.drive(0).data[3 * 512 : 21 * 512]
    assert channel.pio_out(write, 30, data, block=512 * multiple, extended=extended) == READY
    assert channel.drive(0).data[30 * 512 : 48 * 512] == data


@pytest.mark.parametrize("sectors", [3, 17, 32, 255])
def test_set_multiple_takes_powers_of_two(channel: Channel, sectors: int) -> None:
    assert channel.command(0xC6, sectors) & ERR and channel.read(ERROR) == ABRT
    assert identify(channel)[59] == 0x110


def test_multiple_off(channel: Channel) -> None:
    assert channel.command(0xC6, 0) == READY
    assert identify(channel)[59] == 0
    assert channel.pio_in(0xC4, 0, 1) == b"" and channel.read(ERROR) == ABRT


# ---- without data ----


@pytest.mark.parametrize(("command", "extended"), [(0x40, False), (0x41, False), (0x42, True)])
def test_verify(make: Make, command: int, extended: bool) -> None:
    channel = make(disk(bad={300}))
    assert channel.pio_in(command, 0, 256, extended=extended) == b""
    assert channel.read(STATUS) == READY
    assert sum(size for _, size, _ in channel.requests) == 256 * 512
    channel.pio_in(command, 290, 20, extended=extended)
    assert channel.read(STATUS) & ERR
    assert channel.read(LBA_LOW) | channel.read(LBA_MID) << 8 == 300


@pytest.mark.parametrize(
    "command", [0x10, 0x1F, 0x70, 0x7F, 0xE0, 0xE1, 0xE2, 0xE3, 0xE7, 0xEA, 0x94, 0x95, 0x96, 0x97]
)
def test_commands_that_succeed(channel: Channel, command: int) -> None:
    channel.write(LBA_LOW, 1)
    assert channel.command(command) == READY


def test_seek_past_the_end(channel: Channel) -> None:
    channel.address(2048, 0)
    channel.write(COMMAND, 0x70)
    channel.wait()
    assert channel.read(STATUS) & ERR and channel.read(ERROR) == IDNF


@pytest.mark.parametrize("command", [0x00, 0x08, 0x22, 0x32, 0x50, 0xA0, 0xA1, 0xB0, 0xDA, 0xF1, 0xF9, 0xFF])
def test_commands_that_are_not_there(channel: Channel, command: int) -> None:
    assert channel.command(command) == READY | ERR
    assert channel.read(ERROR) == ABRT


@pytest.mark.parametrize(
    ("features", "count", "taken"),
    [
        (0x02, 0, True), (0x82, 0, True), (0x55, 0, True), (0xAA, 0, True), (0x66, 0, True), (0xCC, 0, True),
        (0x03, 0x00, True), (0x03, 0x01, True), (0x03, 0x0C, True), (0x03, 0x22, True), (0x03, 0x45, True),
        (0x03, 0x02, False), (0x03, 0x0D, False), (0x03, 0x10, False), (0x03, 0x23, False), (0x03, 0x46, False),
        (0x05, 0, False), (0x00, 0, False),
    ],
)  # fmt: skip
def test_set_features(channel: Channel, features: int, count: int, taken: bool) -> None:
    assert channel.command(0xEF, count, features) == (READY if taken else READY | ERR)
    assert channel.read(ERROR) == (0 if taken else ABRT)


def test_features_are_told(channel: Channel) -> None:
    assert identify(channel)[85] & 0x60 == 0x60
    channel.command(0xEF, 0, 0x82)
    assert identify(channel)[85] & 0x60 == 0x40
    channel.command(0xEF, 0, 0x55)
    assert identify(channel)[85] & 0x60 == 0
    channel.command(0xEF, 0x42, 0x03)
    words = identify(channel)
    assert words[63] == 0x0007 and words[88] == 0x043F


def test_power_modes(channel: Channel) -> None:
    def mode() -> int:
        channel.command(0xE5)
        return channel.read(COUNT)

    assert mode() == 0xFF
    for command, value in ((0xE1, 0x80), (0xE0, 0x00), (0xE3, 0x80), (0xE2, 0x00)):
        channel.command(command)
        assert mode() == value
    channel.pio_in(0x20, 0, 1)
    assert mode() == 0xFF, "a disk that is read from is active"
    channel.command(0xE1)
    assert channel.command(0x98) == READY and channel.read(COUNT) == 0x80


def test_a_disk_asleep_hears_nothing_but_a_reset(channel: Channel) -> None:
    channel.command(0xE6)
    channel.write(COMMAND, 0xEC)
    assert channel.wait() == READY and not channel.irq
    channel.control(4)
    channel.control(0)
    channel.wait()
    identify(channel)


@pytest.mark.parametrize(("sectors", "last28"), [(2048, 2047), (1 << 40, 0x0FFFFFFE)])
def test_read_native_max_address(make: Make, sectors: int, last28: int) -> None:
    channel = make(large(sectors))
    channel.address(0, 0)
    channel.write(COMMAND, 0xF8)
    channel.wait()
    found = [channel.read(register) for register in (LBA_LOW, LBA_MID, LBA_HIGH, DEVICE)]
    assert found[0] | found[1] << 8 | found[2] << 16 | (found[3] & 15) << 24 == last28
    channel.address(0, 0)
    channel.write(COMMAND, 0x27)
    channel.wait()
    low = [channel.read(register) for register in (LBA_LOW, LBA_MID, LBA_HIGH)]
    channel.control(HOB)
    high = [channel.read(register) for register in (LBA_LOW, LBA_MID, LBA_HIGH)]
    assert int.from_bytes(bytes(low + high), "little") == sectors - 1


def test_every_command_ends(make: Make) -> None:
    """Whatever code is written, the disk is ready again, or waits for data, after a while."""
    for command in range(256):
        channel = make(disk(512))
        channel.address(1, 2)
        channel.write(COMMAND, command)
        status = channel.wait()
        assert status & DRQ or not status & 0x80 or channel.ide.transfer.dmarq, f"{command:#x}"
