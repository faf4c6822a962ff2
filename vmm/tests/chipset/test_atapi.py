"""The CD-ROM: PACKET and the command packets."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from idebench import (
    ABRT,
    BM_ACTIVE,
    BM_COMMAND,
    BM_INTERRUPT,
    BM_START,
    BM_STATUS,
    BM_TO_MEMORY,
    COD,
    COMMAND,
    COUNT,
    DEV,
    DEVICE,
    DRQ,
    ERR,
    ERROR,
    FEATURES,
    IO,
    LBA_HIGH,
    LBA_MID,
    READY,
    STATUS,
    Channel,
    Drive,
    cdrom,
    disk,
    identity,
    text,
)

Make = Callable[..., Channel]
NOT_READY, MEDIUM_ERROR, ILLEGAL, ATTENTION = 2, 3, 5, 6


@pytest.fixture
def make(lib: Any, ffi: Any) -> Make:
    return lambda *drives, **settings: Channel(lib, ffi, *drives, **settings)


@pytest.fixture
def channel(make: Make) -> Channel:
    return make(cdrom())


def read_10(lba: int, count: int) -> bytes:
    return struct.pack(">BBIBH", 0x28, 0, lba, 0, count)


def data_of(channel: Channel, lba: int, count: int, unit: int = 0) -> bytes:
    return bytes(channel.drive(unit).data[lba * 2048 : (lba + count) * 2048])


# ---- commands that are not packets ----


def test_identify_packet_device(make: Make) -> None:
    channel = make(None, cdrom(), first=2)
    channel.write(DEVICE, DEV)
    channel.write(COMMAND, 0xA1)
    words = identity(channel.take_blocks())
    assert words[0] == 0x85C0 and text(words, 27, 20) == "BRINGUP CD-ROM" and text(words, 10, 10) == "BRINGUP00003"
    assert words[49] & 0x0300 == 0x0300 and words[63] == 0x0407 and words[82] & 0x0210 == 0x0210


@pytest.mark.parametrize("command", [0xEC, 0x20])
def test_it_says_that_it_is_no_disk(channel: Channel, command: int) -> None:
    channel.write(LBA_MID, 0)
    assert channel.command(command) & ERR
    assert channel.read(ERROR) == ABRT and (channel.read(LBA_MID), channel.read(LBA_HIGH)) == (0x14, 0xEB)


@pytest.mark.parametrize("command", [0x00, 0x30, 0xC8, 0xE7, 0xF8])
def test_commands_that_are_not_there(channel: Channel, command: int) -> None:
    assert channel.command(command) & ERR and channel.read(ERROR) == ABRT


def test_set_features(channel: Channel) -> None:
    assert channel.command(0xEF, 0x21, 0x03) == READY
    assert channel.command(0xEF, 0x4F, 0x03) & ERR
    assert channel.command(0xEF, 0, 0x02) & ERR


def test_overlap_is_refused(channel: Channel) -> None:
    assert channel.command(0xA0, features=2) & ERR and channel.read(ERROR) == ABRT


# ---- the protocol ----


def test_a_packet_without_data(channel: Channel) -> None:
    channel.packet(bytes(12))
    assert channel.status & 0x80
    channel.wait()
    assert channel.irq and channel.read(COUNT) == IO | COD and channel.read(STATUS) == READY


@pytest.mark.parametrize(
    ("limit", "blocks"),
    [
        (2048, [2048] * 5),
        (4096, [4096, 4096, 2048]),
        (6000, [4096, 4096, 2048]),
        (512, [512] * 20),
        (333, [332] * 30 + [280]),
        (0xFFFE, [10240]),
        (0xFFFF, [10240]),
        (0, [10240]),
    ],
)
def test_the_byte_count_limit(channel: Channel, limit: int, blocks: list[int]) -> None:
    channel.packet(read_10(7, 5), limit=limit)
    data, sizes = b"", []
    while channel.wait() & DRQ:
        channel.read(STATUS)
        sizes.append(channel.read(LBA_MID) | channel.read(LBA_HIGH) << 8)
        data += channel.words(sizes[-1])
    assert sizes == blocks and data == data_of(channel, 7, 5)


def test_an_odd_answer(channel: Channel) -> None:
    whole = channel.answer(bytes([0x12, 0, 0, 0, 36]))
    for size in (1, 5, 35):
        assert channel.answer(bytes([0x12, 0, 0, 0, size])) == whole[:size]
        assert channel.answer(bytes([0x12, 0, 0, 0, size]), limit=4) == whole[:size]


def test_an_answer_by_dma(channel: Channel) -> None:
    whole = channel.answer(bytes([0x12, 0, 0, 0, 36]))
    channel.regions((0x10000, 36))
    channel.packet(bytes([0x12, 0, 0, 0, 36]), features=1)
    channel.master_write(BM_COMMAND, BM_START | BM_TO_MEMORY)
    channel.wait()
    assert channel.irq and channel.master_read(BM_STATUS) == BM_INTERRUPT
    assert channel.ram(0x10000, 36) == whole and channel.read(COUNT) == IO | COD


def test_sectors_by_dma(channel: Channel) -> None:
    channel.regions((0x10000, 0), (0x20000, 0), (0x30000, 0))
    channel.packet(read_10(11, 70), features=1)
    channel.master_write(BM_COMMAND, BM_START | BM_TO_MEMORY)
    channel.wait()
    assert channel.master_read(BM_STATUS) == BM_INTERRUPT | BM_ACTIVE
    assert channel.ram(0x10000, 70 * 2048) == data_of(channel, 11, 70)
    assert [size for _, size, _ in channel.requests] == [0x10000, 0x10000, 70 * 2048 - 0x20000]


def test_the_slave_of_a_disk(make: Make) -> None:
    channel = make(disk(), cdrom())
    assert channel.answer(read_10(3, 1), unit=1) == data_of(channel, 3, 1, 1)


# ---- sectors ----


@pytest.mark.parametrize("count", [1, 31, 32, 33, 100])
def test_read_10_in_few_requests(channel: Channel, count: int) -> None:
    assert channel.answer(read_10(2, count)) == data_of(channel, 2, count)
    assert len(channel.requests) == (count + 31) // 32
    assert channel.read(STATUS) == READY


def test_read_12_and_read_cd(channel: Channel) -> None:
    assert channel.answer(struct.pack(">BBII", 0xA8, 0, 9, 3)) == data_of(channel, 9, 3)
    assert channel.answer(bytes([0xBE, 0, 0, 0, 0, 9, 0, 0, 3, 0x10])) == data_of(channel, 9, 3)
    assert channel.answer(bytes([0xBE, 0, 0, 0, 0, 9, 0, 0, 3, 0])) == b""
    assert channel.refused(bytes([0xBE, 0, 0, 0, 0, 9, 0, 0, 3, 0xF8])) == (ILLEGAL, 0x24, 0)


def test_read_nothing(channel: Channel) -> None:
    assert channel.answer(read_10(5, 0)) == b"" and channel.read(STATUS) == READY


@pytest.mark.parametrize(("lba", "count"), [(400, 1), (399, 2), (0xFFFFFFFF, 1), (401, 0)])
def test_read_past_the_end(channel: Channel, lba: int, count: int) -> None:
    assert channel.refused(read_10(lba, count)) == (ILLEGAL, 0x21, 0)
    assert channel.requests == []


def test_a_bad_sector(make: Make) -> None:
    channel = make(cdrom(bad={12}))
    assert channel.answer(read_10(10, 5)) == data_of(channel, 10, 2)
    assert channel.read(STATUS) & ERR and channel.sense() == (MEDIUM_ERROR, 0x11, 0)
    assert channel.sense() == (0, 0, 0), "told once"


def test_read_capacity(channel: Channel) -> None:
    assert struct.unpack(">II", channel.answer(bytes([0x25]))) == (399, 2048)


# ---- what the drive is ----


def test_inquiry(channel: Channel) -> None:
    data = channel.answer(bytes([0x12, 0, 0, 0, 255]))
    assert data[:2] == b"\x05\x80" and data[3] == 0x21 and len(data) == data[4] + 5 == 36
    assert data[8:] == b"BRINGUP CD-ROM          1.0 "
    assert channel.refused(bytes([0x12, 1, 0, 0, 255])) == (ILLEGAL, 0x24, 0)


@pytest.mark.parametrize("page", [0x01, 0x0D, 0x0E, 0x2A])
def test_mode_sense(channel: Channel, page: int) -> None:
    data = channel.answer(bytes([0x5A, 0, page, 0, 0, 0, 0, 1, 0]))
    assert int.from_bytes(data[:2]) == len(data) - 2 and data[2] == 1 and int.from_bytes(data[6:8]) == 0
    assert data[8] == page and data[9] == len(data) - 10
    changeable = channel.answer(bytes([0x5A, 0, 0x40 | page, 0, 0, 0, 0, 1, 0]))
    assert changeable[8:10] == data[8:10] and not any(changeable[10:])
    assert channel.refused(bytes([0x5A, 0, 0xC0 | page, 0, 0, 0, 0, 1, 0])) == (ILLEGAL, 0x39, 0)


def test_mode_sense_of_all_pages_and_of_none(channel: Channel) -> None:
    data = channel.answer(bytes([0x5A, 0, 0x3F, 0, 0, 0, 0, 1, 0]))[8:]
    pages = []
    while data:
        pages.append(data[0])
        data = data[2 + data[1] :]
    assert pages == [0x01, 0x0D, 0x0E, 0x2A]
    assert channel.refused(bytes([0x5A, 0, 0x05, 0, 0, 0, 0, 1, 0])) == (ILLEGAL, 0x24, 0)


def features_of(data: bytes) -> dict[int, tuple[int, bytes]]:
    assert int.from_bytes(data[:4]) == len(data) - 4
    found = {}
    rest = data[8:]
    while rest:
        code, flags, size = struct.unpack(">HBB", rest[:4])
        found[code] = (flags, rest[4 : 4 + size])
        rest = rest[4 + size :]
    return found


@pytest.mark.parametrize(("sectors", "profile"), [(400, 8), (360001, 16)])
def test_get_configuration(make: Make, sectors: int, profile: int) -> None:
    drive = cdrom(1)
    drive.data = bytearray(sectors * 2048)
    channel = make(drive)
    data = channel.answer(bytes([0x46, 0, 0, 0, 0, 0, 0, 1, 0]))
    assert int.from_bytes(data[6:8]) == profile
    found = features_of(data)
    assert list(found) == [0, 1, 3, 0x10, 0x1E, 0x1F, 0x100, 0x105]
    assert {struct.unpack(">HB", found[0][1][at : at + 3]) for at in (0, 4)} == {(8, profile == 8), (16, profile == 16)}
    assert (found[0x1E][0] & 1, found[0x1F][0] & 1) == (profile == 8, profile == 16)
    assert list(features_of(channel.answer(bytes([0x46, 2, 0, 3, 0, 0, 0, 1, 0])))) == [3]
    current = features_of(channel.answer(bytes([0x46, 1, 0, 2, 0, 0, 0, 1, 0])))
    assert list(current) == [3, 0x10, 0x1E if profile == 8 else 0x1F, 0x100, 0x105]
    assert channel.refused(bytes([0x46, 3, 0, 0, 0, 0, 0, 1, 0])) == (ILLEGAL, 0x24, 0)


def test_small_answers(channel: Channel) -> None:
    assert channel.answer(bytes([0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8])) == b"\0\0\0\0\0\1\0\0"
    assert channel.answer(bytes([0xBB, 0, 0xFF, 0xFF])) == b"" and channel.read(STATUS) == READY
    disc = channel.answer(bytes([0x51, 0, 0, 0, 0, 0, 0, 0, 34]))
    assert int.from_bytes(disc[:2]) == 32 and disc[2] == 0x0E and disc[3:7] == b"\1\1\1\1"
    assert channel.answer(bytes([0x2B, 0, 0, 0, 0, 9])) == b"" and channel.read(STATUS) == READY
    assert channel.refused(bytes([0x2B, 0, 0, 0, 9, 9])) == (ILLEGAL, 0x21, 0)


@pytest.mark.parametrize("code", [0x01, 0x04, 0x2A, 0x35, 0x45, 0x55, 0xA1, 0xB9, 0xFF])
def test_packets_that_are_not_there(channel: Channel, code: int) -> None:
    assert channel.refused(bytes([code])) == (ILLEGAL, 0x20, 0)


# ---- the table of contents ----


def test_toc(channel: Channel) -> None:
    data = channel.answer(bytes([0x43, 0, 0, 0, 0, 0, 0, 1, 0]))
    assert data == bytes.fromhex("0012 0101 0014010000000000 0014aa0000000190")
    assert channel.answer(bytes([0x43, 0, 0, 0, 0, 0, 1, 1, 0])) == data
    lead_out = channel.answer(bytes([0x43, 2, 0, 0, 0, 0, 0xAA, 1, 0]))
    assert lead_out == bytes.fromhex("000a 0101 0014aa00 00 00 07 19"), "550 frames: 7 s and 25"
    assert channel.refused(bytes([0x43, 0, 0, 0, 0, 0, 2, 1, 0])) == (ILLEGAL, 0x24, 0)
    assert channel.answer(bytes([0x43, 0, 0, 0, 0, 0, 0, 0, 4])) == data[:4]


def test_sessions_and_raw_toc(channel: Channel) -> None:
    sessions = bytes.fromhex("000a 0101 0014010000000000")
    assert channel.answer(bytes([0x43, 0, 1, 0, 0, 0, 0, 1, 0])) == sessions
    assert channel.answer(bytes([0x43, 0, 0, 0, 0, 0, 0, 1, 0, 0x40])) == sessions, "as SFF-8020i has it"
    raw = channel.answer(bytes([0x43, 2, 2, 0, 0, 0, 0, 1, 0]))
    assert int.from_bytes(raw[:2]) == len(raw) - 2
    lines = [raw[at : at + 11] for at in range(4, len(raw), 11)]
    assert [line[3] for line in lines] == [0xA0, 0xA1, 0xA2, 1]
    assert [tuple(line[8:]) for line in lines] == [(1, 0, 0), (1, 0, 0), (0, 7, 25), (0, 2, 0)]
    assert channel.refused(bytes([0x43, 0, 5, 0, 0, 0, 0, 1, 0])) == (ILLEGAL, 0x24, 0)


def test_subchannel(channel: Channel) -> None:
    assert channel.answer(bytes([0x42, 0, 0, 0, 0, 0, 0, 0, 64])) == b"\0\x15\0\0"
    position = channel.answer(bytes([0x42, 0, 0x40, 1, 0, 0, 0, 0, 64]))
    assert position == bytes.fromhex("0015000c 01140101") + bytes(8)
    assert len(channel.answer(bytes([0x42, 0, 0x40, 2, 0, 0, 0, 0, 64]))) == 24
    assert channel.refused(bytes([0x42, 0, 0x40, 4, 0, 0, 0, 0, 64])) == (ILLEGAL, 0x24, 0)


# ---- medium and tray ----


def test_an_empty_drive(make: Make) -> None:
    channel = make(Drive(2, bytearray(), True, present=False))
    for packet in (bytes(1), read_10(0, 1), bytes([0x25]), bytes([0x43])):
        assert channel.refused(packet) == (NOT_READY, 0x3A, 1)
    assert len(channel.answer(bytes([0x12, 0, 0, 0, 36]))) == 36
    assert int.from_bytes(channel.answer(bytes([0x46, 0, 0, 0, 0, 0, 0, 1, 0]))[6:8]) == 0
    assert channel.answer(bytes([0x5A, 0, 1, 0, 0, 0, 0, 1, 0]))[2] == 0x70


def events(channel: Channel) -> tuple[int, int]:
    data = channel.answer(bytes([0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8]))
    assert data[:4] == b"\0\6\4\x10"
    return data[4], data[5]


def test_eject_and_load(channel: Channel) -> None:
    assert events(channel) == (0, 2)
    assert channel.answer(bytes([0x1B, 0, 0, 0, 2])) == b"" and channel.read(STATUS) == READY
    assert events(channel) == (3, 1) and events(channel) == (0, 1)
    assert channel.refused(bytes(1)) == (NOT_READY, 0x3A, 2)
    assert channel.answer(bytes([0xBD, 0, 0, 0, 0, 0, 0, 0, 0, 8]))[1] == 0x10
    channel.answer(bytes([0x1B, 0, 0, 0, 3]))
    assert events(channel) == (2, 2)
    assert channel.refused(bytes(1)) == (ATTENTION, 0x28, 0)
    assert channel.answer(bytes(1)) == b"" and channel.read(STATUS) == READY


def test_prevent_removal(channel: Channel) -> None:
    channel.answer(bytes([0x1E, 0, 0, 0, 1]))
    assert channel.refused(bytes([0x1B, 0, 0, 0, 2])) == (ILLEGAL, 0x53, 2)
    channel.answer(bytes([0x1E, 0, 0, 0, 0]))
    channel.answer(bytes([0x1B, 0, 0, 0, 2]))
    assert channel.refused(bytes(1)) == (NOT_READY, 0x3A, 2)


def test_another_medium(channel: Channel) -> None:
    channel.drives[0] = cdrom(20)
    channel.lib.ide_change_medium(channel.ide, 0, channel.drive(0).storage(channel.ffi))
    assert channel.sense() == (ATTENTION, 0x28, 0), "REQUEST SENSE tells it too"
    assert events(channel) == (2, 2)
    assert struct.unpack(">II", channel.answer(bytes([0x25]))) == (19, 2048)


def test_events_are_polled(channel: Channel) -> None:
    assert channel.refused(bytes([0x4A, 0, 0, 0, 0x10, 0, 0, 0, 8])) == (ILLEGAL, 0x24, 0)
    assert channel.answer(bytes([0x4A, 1, 0, 0, 0x02, 0, 0, 0, 8])) == b"\0\2\x80\x10"


def test_every_packet_ends(channel: Channel) -> None:
    for code in range(256):
        for fill in (0, 0xFF):
            channel.packet(bytes([code]) + bytes([fill] * 11))
            for _ in range(100):
                if not channel.wait() & DRQ:
                    break
                channel.words(channel.read(LBA_MID) | channel.read(LBA_HIGH) << 8)
            assert channel.status & ~ERR == READY, f"{code:#x}"
            channel.read(STATUS)


def test_features_register_zero_is_pio(channel: Channel) -> None:
    channel.write(FEATURES, 1)
    assert channel.answer(read_10(0, 1)) == data_of(channel, 0, 1)
