"""IDE on the board: ports, interrupts, the PIIX3's configuration registers, and memory for its bus masters."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Make = Callable[..., Any]
IDE = 1 << 11 | 1 << 8  # device 1, function 1
MEMORY = 1 << 16
NEVER = 2**64 - 1


class Host:
    """Media of the number of each of their sectors, and memory."""

    def __init__(self, ffi: Any) -> None:
        self.ffi = ffi
        self.memory = ffi.new("uint8_t[]", MEMORY)
        self.written: list[tuple[int, int, bytes]] = []
        self.transfer = ffi.callback("int(void *, unsigned, uint64_t, void *, uint32_t, uint32_t)", self._transfer)
        self.at = ffi.callback("uint8_t *(void *, uint64_t, uint64_t, _Bool)", self._at)

    def _transfer(self, context: Any, drive: int, offset: int, data: Any, size: int, write: int) -> int:
        if write:
            self.written.append((drive, offset, bytes(self.ffi.buffer(data, size))))
        else:
            content = b"".join(struct.pack("<HH", drive, n) * 128 for n in range(offset // 512, (offset + size) // 512))
            self.ffi.memmove(data, content, size)
        return 0

    def _at(self, context: Any, address: int, size: int, write: bool) -> Any:
        return self.memory + address if address + size <= MEMORY else self.ffi.NULL


@pytest.fixture
def host(ffi: Any) -> Host:
    return Host(ffi)


@pytest.fixture
def make(make_board: Make, host: Host, ffi: Any) -> Iterator[Make]:
    firmware = ffi.new("uint8_t[]", 4096)

    def make(*drives: tuple[int, int], bios: bool = False) -> Any:
        """`drives`: number and kind of each."""
        table: list[dict[str, Any]] = [{} for _ in range(6)]
        for number, kind in drives:
            table[number] = {"kind": kind, "sector_bytes": 512, "bytes": 2048 * 512, "present": True}
        settings: dict[str, Any] = {"drives": table, "transfer": host.transfer}
        if bios:
            settings |= {"firmware": firmware, "firmware_bytes": 4096}
        board = make_board(**settings)
        board.lib.board_attach(board.pointer, ffi.new("struct board_memory *", {"at": host.at}))
        return board

    yield make


def config(board: Any, register: int, value: int | None = None, size: int = 4) -> int:
    board.outb(0xCF8, 0x80000000 | IDE | register & 0xFC, size=4)
    if value is None:
        return int(board.inb(0xCFC + register % 4, size))
    board.outb(0xCFC + register % 4, value, size=size)
    return value


def read_sector(board: Any, base: int, lba: int, command: int) -> None:
    for register, value in ((6, 0xE0), (2, 1), (3, lba), (4, 0), (5, 0), (7, command)):
        board.outb(base + register, value)


# ---- who has it ----


def test_a_board_without_drives_has_none(make: Make) -> None:
    board = make()
    assert config(board, 0) == 0xFFFFFFFF
    assert [board.inb(port) for port in (0x1F7, 0x3F6, 0x177, 0x376)] == [0xFF] * 4
    assert board.inb(0x1F0, 2) == 0xFFFF


def test_as_firmware_leaves_it(make: Make) -> None:
    """Without a BIOS of the guest's own: decoded, and the bus masters in place."""
    board = make((0, 1))
    assert config(board, 0) == 0x70108086
    assert config(board, 4, size=2) == 5
    assert config(board, 0x20) == 0xC001 and config(board, 0x40) == 0x80008000
    assert [board.inb(port) for port in (0x1F7, 0x3F6, 0x177)] == [0x50, 0x50, 0x7F]
    assert board.inb(0x1F3) == 1
    board.outb(0xC004, 0x12345678, size=4)
    assert board.inb(0xC004, 4) == 0x12345678


def test_after_power_on_nothing_is_decoded(make: Make) -> None:
    board = make((0, 1), bios=True)
    assert board.inb(0x1F7) == 0xFF
    config(board, 0x40, 0x8000, size=2)
    assert board.inb(0x1F7) == 0xFF, "I/O space is off"
    config(board, 4, 1, size=2)
    assert board.inb(0x1F7) == 0x50 and board.inb(0x177) == 0xFF
    config(board, 0x42, 0x8000, size=2)
    assert board.inb(0x177) == 0x7F


def test_the_bar_moves_the_bus_masters(make: Make) -> None:
    board = make((0, 1), bios=True)
    config(board, 0x20, 0xFFFFFFFF)
    assert config(board, 0x20) == 0xFFFFFFF1, "16 ports"
    config(board, 0x20, 0xC0A0)
    assert board.inb(0xC0A4, 4) == 0xFFFFFFFF
    config(board, 4, 5, size=2)
    assert board.inb(0xC0A4, 4) == 0
    board.outb(0xC0AC, 0x1000, size=4)
    config(board, 0x20, 0xD000)
    assert board.inb(0xC0AC, 4) == 0xFFFFFFFF and board.inb(0xD00C, 4) == 0x1000 and board.inb(0xD010) == 0xFF
    config(board, 0x20, 0x12340000)
    assert board.inb(0xD00C, 4) == 0xFFFFFFFF


def test_no_port_is_a_place_of_a_moved_chip(make: Make) -> None:
    board = make((0, 1))
    for port in range(0x2018, 0x2030):
        assert board.inb(port) == 0xFF


# ---- what it does ----


@pytest.mark.parametrize(("number", "base", "irq"), [(0, 0x1F0, 14), (2, 0x170, 15)])
def test_a_sector_and_its_interrupt(make: Make, number: int, base: int, irq: int) -> None:
    board = make((number, 1))
    board.outb(0x21, 0xFB)
    board.outb(0xA1, 0xFF & ~(1 << irq - 8))
    read_sector(board, base, 7, 0x20)
    assert board.inb(base + 0x206) & 0x80 and not board.pending
    assert board.step() != NEVER
    assert board.pending and board.acknowledge() == 0x70 + irq - 8
    board.outb(0xA0, 0x20)
    board.outb(0x20, 0x20)
    assert board.inb(base + 7) == 0x58 and not board.pending
    words = [board.inb(base, 2) for _ in range(2)] + [board.inb(base, 4) for _ in range(127)]
    assert words[:3] == [number, 7, 7 << 16 | number] and set(words[2:]) == {7 << 16 | number}
    assert board.inb(base + 7) == 0x50


def test_a_byte_of_the_data_register_takes_a_word(make: Make) -> None:
    board = make((0, 1))
    read_sector(board, 0x1F0, 0x34, 0x20)
    board.step()
    assert [board.inb(0x1F0) for _ in range(4)] == [0, 0x34, 0, 0x34]


def test_dma(make: Make, host: Host) -> None:
    board = make((0, 1))
    host.ffi.memmove(host.memory + 0x100, struct.pack("<IHH", 0x4000, 512, 0x8000), 8)
    board.outb(0xC004, 0x100, size=4)
    board.outb(0xC000, 8)
    read_sector(board, 0x1F0, 9, 0xC8)
    board.outb(0xC000, 9)
    assert board.inb(0xC002) == 1
    while board.step() != NEVER:
        pass
    assert board.inb(0xC002) == 4
    assert bytes(host.ffi.buffer(host.memory + 0x4000, 512)) == struct.pack("<HH", 0, 9) * 128


def test_without_bus_mastering_memory_does_not_answer(make: Make, host: Host) -> None:
    board = make((0, 1))
    config(board, 4, 1, size=2)
    host.ffi.memmove(host.memory + 0x100, struct.pack("<IHH", 0x4000, 512, 0x8000), 8)
    board.outb(0xC004, 0x100, size=4)
    read_sector(board, 0x1F0, 9, 0xC8)
    board.outb(0xC000, 9)
    while board.step() != NEVER:
        pass
    assert board.inb(0xC002) == 2 and bytes(host.ffi.buffer(host.memory + 0x4000, 4)) == bytes(4)


def test_a_write_reaches_its_drive(make: Make, host: Host) -> None:
    board = make((0, 1), (3, 1))
    for register, value in ((6, 0xF0), (2, 1), (3, 5), (4, 0), (5, 0), (7, 0x30)):
        board.outb(0x170 + register, value)
    for _ in range(128):
        board.outb(0x170, 0x44434241, size=4)
    while board.step() != NEVER:
        pass
    assert host.written == [(3, 5 * 512, b"ABCD" * 128)]


def test_reset_keeps_the_drives(make: Make) -> None:
    board = make((0, 1), (1, 2))
    read_sector(board, 0x1F0, 7, 0x20)
    board.lib.board_reset(board.pointer)
    assert board.inb(0x1F7) == 0x50 and board.lib.board_deadline(board.pointer) == NEVER
    board.outb(0x1F6, 0x10)
    assert (board.inb(0x1F4), board.inb(0x1F5)) == (0x14, 0xEB)


def cmos(board: Any, index: int) -> int:
    board.outb(0x70, index)
    return int(board.inb(0x71))


def test_cmos_names_the_disks(make: Make) -> None:
    board = make((0, 1), (2, 2), bios=True)
    assert (cmos(board, 0x12), cmos(board, 0x19), cmos(board, 0x1A), cmos(board, 0x39)) == (0xF0, 47, 0, 0)
    assert bytes(cmos(board, 0x1B + index) for index in range(9)) == bytes([2, 0, 16, 0xFF, 0xFF, 8, 2, 0, 63])


def test_a_snapshot_in_mid_read_goes_on(make: Make, ffi: Any) -> None:
    """The chips are all of it: a copy of them goes on to the same bytes at the same times."""
    board = make((0, 1))
    read_sector(board, 0x1F0, 3, 0x20)
    board.step()
    for _ in range(100):
        board.inb(0x1F0, 2)
    copy = ffi.new("struct chips *", board.chips[0])
    now = board.now

    def rest() -> tuple[list[int], int, int]:
        words = [board.inb(0x1F0, 2) for _ in range(156)]
        return words, board.inb(0x1F7), board.hash()

    first = rest()
    ffi.memmove(board.chips, copy, ffi.sizeof("struct chips"))
    board.now = now
    assert rest() == first
