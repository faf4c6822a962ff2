"""The classic PC's own chips on the board, the one with firmware: floppies by DMA, HPET, parallel port."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

SECTOR = 512
FLOPPY, FLOPPY_A, RAM_BYTES = 3, 4, 1 << 20
DOR, MSR, FIFO, CCR = 0x3F2, 0x3F4, 0x3F5, 0x3F7
HPET = 0xFED00000
EDGE_ENABLED, LEVEL_ENABLED = 1 << 2, 1 << 1 | 1 << 2


class Machine:
    """Board, medium and memory of a test."""

    def __init__(self, make_board: Callable[..., Any], ffi: Any, firmware: bool = True, **drive: Any) -> None:
        self.ffi = ffi
        self.medium = bytearray(b"".join(n.to_bytes(2, "little") * 256 for n in range(2880)))
        self.ram = bytearray(RAM_BYTES)
        self.transfers: list[tuple[int, int, bool]] = []
        self.error = 0
        self._rom = ffi.new("uint8_t[4096]")
        self._ram = ffi.from_buffer(self.ram)
        self._transfer = ffi.callback("int(void *, unsigned, uint64_t, void *, uint32_t, uint32_t)", self.transfer)
        self._at = ffi.callback("uint8_t *(void *, uint64_t, uint64_t, bool)", self.at)
        drives: list[dict[str, Any]] = [{}] * FLOPPY_A + [
            {"kind": FLOPPY, "bytes": len(self.medium), "sector_bytes": SECTOR, "present": True, **drive}
        ]
        self.board = make_board(
            firmware=self._rom if firmware else ffi.NULL,
            firmware_bytes=4096 if firmware else 0,
            drives=drives,
            transfer=self._transfer,
        )
        self.lib = self.board.lib
        self.lib.board_attach(self.board.pointer, ffi.new("struct board_memory *", {"at": self._at}))

    def transfer(self, context: Any, drive: int, offset: int, data: Any, size: int, write: int) -> int:
        self.transfers.append((drive, offset, bool(write)))
        if write:
            self.medium[offset : offset + size] = self.ffi.buffer(data, size)[:]
        else:
            self.ffi.memmove(data, bytes(self.medium[offset : offset + size]), size)
        return self.error

    def at(self, context: Any, gpa: int, size: int, write: bool) -> Any:
        return self._ram + gpa if gpa + size <= RAM_BYTES and not 0xA0000 <= gpa < 0xC0000 else self.ffi.NULL

    # ---- as a driver does ----

    def start(self) -> None:
        """Interrupt 6 open at vector 0Eh, cascade open, controller out of reset, heads at cylinder 0."""
        board, lib = self.board, self.lib
        board.lapic(lib.LAPIC_SVR, 0x1FF)
        board.lvt(lib.LAPIC_LVT_LINT0, lib.APIC_EXTINT << 8)
        for port, values in ((0x20, [0x11]), (0x21, [8, 4, 1, 0xBF])):
            board.outb(port, *values)
        board.outb(0xD6, 0xC0)
        board.outb(0xD4, 0)
        board.outb(DOR, 0x1C)
        self.interrupt()
        self.command(8)
        assert self.results() == [0xC0, 0]
        board.outb(CCR, 0)
        self.command(3, 0xAF, 2)

    def dma(self, mode: int, address: int, size: int) -> None:
        self.board.outb(0x0A, 6)
        self.board.outb(0x0C, 0)
        self.board.outb(0x0B, mode | 2)
        self.board.outb(0x04, address & 0xFF, address >> 8 & 0xFF)
        self.board.outb(0x05, (size - 1) & 0xFF, (size - 1) >> 8)
        self.board.outb(0x81, address >> 16)
        self.board.outb(0x0A, 2)

    def command(self, *values: int) -> None:
        for value in values:
            assert self.board.inb(MSR) & 0xC0 == 0x80
            self.board.outb(FIFO, value)

    def results(self) -> list[int]:
        found = []
        while self.board.inb(MSR) & 0xC0 == 0xC0:
            found.append(self.board.inb(FIFO))
        return found

    def interrupt(self) -> None:
        for _ in range(1000):
            if self.board.pending:
                break
            assert self.board.step() != 2**64 - 1, "nothing more happens"
        assert self.board.acknowledge() == 0x0E
        self.board.outb(0x20, 0x20)


@pytest.fixture
def machine(make_board: Callable[..., Any], ffi: Any) -> Machine:
    machine = Machine(make_board, ffi)
    machine.start()
    return machine


# ---- floppies ----


def test_read_by_dma(machine: Machine) -> None:
    machine.dma(0x44, 0x7C00, 2 * SECTOR)
    machine.command(0xE6, 0, 0, 0, 17, 2, 18, 0x1B, 0xFF)
    machine.interrupt()
    assert machine.results() == [0, 0, 0, 0, 1, 1, 2]
    assert machine.ram[0x7C00 : 0x7C00 + 2 * SECTOR] == machine.medium[16 * SECTOR : 18 * SECTOR]
    assert machine.transfers == [(FLOPPY_A, 16 * SECTOR, False), (FLOPPY_A, 17 * SECTOR, False)]
    assert machine.board.inb(0x08) & 0xF == 4  # the terminal count of channel 2
    assert not machine.board.pending


def test_write_by_dma(machine: Machine) -> None:
    machine.ram[0x10000 : 0x10000 + SECTOR] = b"\x5a" * SECTOR
    machine.dma(0x48, 0x10000, SECTOR)
    machine.command(0xC5, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    machine.interrupt()
    assert machine.results()[:3] == [0, 0, 0]
    assert machine.medium[: 2 * SECTOR] == b"\x5a" * SECTOR + b"\x01\0" * 256


def test_a_page_of_64_kib_is_not_left(machine: Machine) -> None:
    machine.dma(0x44, 0x2FF00, SECTOR)
    machine.command(0x46, 0, 0, 0, 4, 2, 18, 0x1B, 0xFF)
    machine.interrupt()
    assert machine.results()[:3] == [0, 0, 0]
    assert machine.ram[0x2FF00:0x30000] == machine.ram[0x20000:0x20100] == b"\x03\0" * 128
    assert not any(machine.ram[0x30000:0x30100])


@pytest.mark.parametrize("address", [0xA0000, 0xFFFE00 - 0xFE0000 + 0xF00000])
def test_memory_that_is_not_there(machine: Machine, address: int) -> None:
    machine.dma(0x44, address, SECTOR)
    machine.command(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    machine.interrupt()
    assert machine.results()[:3] == [0, 0, 0]
    assert not any(machine.ram)
    machine.dma(0x48, address, SECTOR)
    machine.command(0x45, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    machine.interrupt()
    assert machine.results()[:3] == [0, 0, 0]
    assert machine.medium[:SECTOR] == b"\xff" * SECTOR


def test_memory_that_ends_within_a_sector(machine: Machine) -> None:
    machine.dma(0x44, 0x9FF00, SECTOR)
    machine.command(0x46, 0, 0, 0, 2, 2, 18, 0x1B, 0xFF)
    machine.interrupt()
    assert machine.results()[:3] == [0, 0, 0]
    assert machine.ram[0x9FF00:0xA0000] == b"\x01\0" * 128
    assert not any(machine.ram[0xA0000:0xC0000])


@pytest.mark.parametrize(("mode", "command"), [(0x48, 0x46), (0x44, 0x45)])
def test_a_channel_of_the_other_direction_does_not_answer(machine: Machine, mode: int, command: int) -> None:
    before = bytes(machine.medium)
    machine.dma(mode, 0x1000, SECTOR)
    machine.command(command, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    machine.interrupt()
    assert machine.results()[:2] == [0x40, 0x10]
    assert machine.medium == before
    assert not any(machine.ram)


def test_a_channel_that_verifies(machine: Machine) -> None:
    machine.dma(0x40, 0x1000, SECTOR)
    machine.command(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    machine.interrupt()
    assert machine.results()[:3] == [0, 0, 0]
    assert not any(machine.ram)


def test_an_error_of_the_host(machine: Machine) -> None:
    machine.error = 3
    machine.dma(0x44, 0x1000, SECTOR)
    machine.command(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    machine.interrupt()
    assert machine.results()[:3] == [0x40, 0x20, 0x20]


@pytest.mark.parametrize(
    ("drive", "kinds", "equipment"),
    [
        ({}, 0x40, 0x07), ({"bytes": 368640}, 0x10, 0x07), ({"bytes": 1228800}, 0x20, 0x07),
        ({"bytes": 737280}, 0x40, 0x07), ({"bytes": 2949120}, 0x50, 0x07), ({"present": False}, 0x40, 0x07),
        ({"kind": 0}, 0x00, 0x06),
    ],
)  # fmt: skip
def test_cmos_names_the_drives(
    make_board: Callable[..., Any], ffi: Any, drive: dict[str, Any], kinds: int, equipment: int
) -> None:
    board = Machine(make_board, ffi, **drive).board
    for register, value in ((0x10, kinds), (0x14, equipment)):
        board.outb(0x70, register)
        assert board.inb(0x71) == value


def test_media_are_in_their_drives_after_a_reset(machine: Machine, lib: Any) -> None:
    machine.command(0x0F, 0, 5)
    machine.interrupt()
    lib.board_reset(machine.board.pointer)
    machine.start()
    assert machine.board.inb(0x3F7) == 0xFF  # changed, as after power-on
    machine.dma(0x44, 0x1000, SECTOR)
    machine.command(0x46, 0, 0, 0, 1, 2, 18, 0x1B, 0xFF)
    machine.interrupt()
    assert machine.results()[:3] == [0, 0, 0]


def test_a_halted_processor_is_woken_by_the_floppy(machine: Machine, lib: Any) -> None:
    machine.command(0x07, 0)
    assert lib.board_can_wake(machine.board.pointer, 0)
    machine.board.outb(0x21, 0xFF)
    assert not lib.board_can_wake(machine.board.pointer, 0)


def test_a_board_without_firmware_has_none_of_it(make_board: Callable[..., Any], ffi: Any) -> None:
    board = Machine(make_board, ffi, firmware=False).board
    for port in (0x00, 0x04, 0x81, 0x8F, 0xC0, 0xDA, 0x378, 0x37A, DOR, MSR, 0x3F7):
        board.outb(port, 0x1C)
        assert board.inb(port) == 0xFF
    assert board.read(HPET) == 0xFFFFFFFF
    board.outb(0x70, 0x10)
    assert board.inb(0x71) == 0


# ---- other ports ----


def test_dma_ports(machine: Machine) -> None:
    board = machine.board
    for port in (0x81, 0x82, 0x83, 0x87, 0x89, 0x8A, 0x8B, 0x8F, 0x84):
        board.outb(port, port)
        assert board.inb(port) == port
    board.outb(0x80, 0x42)  # the POST code
    assert board.inb(0x80) == 0x42
    board.outb(0xC4, 0x34, 0x12)  # channel 5's address: the second controller has a register each second port
    board.outb(0xD8, 0)
    assert [board.inb(0xC4), board.inb(0xC4)] == [0x34, 0x12]
    assert board.inb(0xDE) == 0b1110


def test_parallel_port(machine: Machine) -> None:
    machine.board.outb(0x378, 0xAA)
    assert [machine.board.inb(port) for port in (0x378, 0x379, 0x37A)] == [0xAA, 0x7F, 0xE0]


# ---- HPET ----


def hpet(machine: Machine, register: int, value: int, size: int = 8) -> None:
    machine.board.write(HPET + register, value, size)


def test_hpet_in_memory(machine: Machine) -> None:
    board = machine.board
    assert board.read(HPET, 8) == 10_000_000 << 32 | 0x8086A201
    assert board.read(HPET + 4) == 10_000_000
    hpet(machine, 0xF0, 5 << 32 | 7)
    hpet(machine, 0x10, 1, 4)
    board.advance(1000)
    assert board.read(HPET + 0xF0, 8) == 5 << 32 | 107
    for offset, size in ((0xF0, 2), (0xF1, 1), (0xF2, 4), (0xF4, 8)):
        assert board.read(HPET + offset, size) == (1 << 8 * size) - 1
        board.write(HPET + offset, 0, size)
    assert board.read(HPET + 0x3FC) == 0
    assert board.read(HPET + 0x400) == 0xFFFFFFFF


def test_hpet_in_the_pit_s_place(machine: Machine) -> None:
    """Legacy replacement: edges of timer 0 are IRQ 0, the PIT's are not."""
    board = machine.board
    board.outb(0x43, 0x34)
    board.outb(0x40, 100, 0)  # the PIT, every 84 us
    board.outb(0x21, 0xBE)
    hpet(machine, 0x100, EDGE_ENABLED | 1 << 3 | 1 << 6)
    hpet(machine, 0x108, 100_000)  # every ms
    hpet(machine, 0x10, 3)
    start = board.now
    times: list[int] = []
    while len(times) < 5:
        board.step()
        if board.pending:
            assert board.acknowledge() == 8
            board.outb(0x20, 0x20)
            times.append(board.now - start)
    assert times == [n * 10**6 for n in range(1, 6)]
    hpet(machine, 0x10, 1)
    seen = board.now
    while not board.pending:
        board.step()
    assert board.now - seen <= 84_000


def test_hpet_level_interrupt_at_its_route(machine: Machine) -> None:
    board = machine.board
    board.redirect(21, 0x51 | 1 << 15)
    hpet(machine, 0x140, LEVEL_ENABLED | 21 << 9)
    hpet(machine, 0x148, 50)
    hpet(machine, 0x10, 1)
    assert board.lib.board_can_wake(board.pointer, 0)
    board.advance(500)
    assert board.acknowledge() == 0x51
    board.lapic(board.lib.LAPIC_EOI, 0)
    assert board.acknowledge() == 0x51  # still there
    hpet(machine, 0x20, 4)
    board.lapic(board.lib.LAPIC_EOI, 0)
    assert not board.pending
    assert not board.lib.board_can_wake(board.pointer, 0)
