"""The bus master of an IDE channel: registers and the walk over a table of physical regions."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from idebench import BM_ACTIVE, BM_COMMAND, BM_ERROR, BM_INTERRUPT, BM_START, BM_STATUS, BM_TABLE, BM_TO_MEMORY


class Master:
    def __init__(self, lib: Any, ffi: Any) -> None:
        self.lib, self.ffi = lib, ffi
        self.state = ffi.new("struct bus_master *")
        self.address = ffi.new("uint32_t *")
        lib.bus_master_reset(self.state)

    def read(self, register: int) -> int:
        return int(self.lib.bus_master_read(self.state, register))

    def write(self, register: int, value: int) -> None:
        self.lib.bus_master_write(self.state, register, value)

    def start(self) -> None:
        self.write(BM_COMMAND, BM_START)

    def load(self, address: int, size: int, flags: int = 0) -> None:
        self.lib.bus_master_load_entry(self.state, struct.pack("<IHH", address, size, flags))

    def entry(self) -> int | None:
        """The address of the descriptor that it wants."""
        needs = self.lib.bus_master_needs_entry(self.state, self.address)
        return int(self.address[0]) if needs else None

    def span(self) -> tuple[int, int]:
        size = int(self.lib.bus_master_span(self.state, self.address))
        return int(self.address[0]), size


@pytest.fixture
def master(lib: Any, ffi: Any) -> Master:
    return Master(lib, ffi)


def test_reset(master: Master) -> None:
    assert [master.read(register) for register in range(8)] == [0] * 8
    assert master.entry() is None and master.span()[1] == 0


def test_registers_keep_their_bits(master: Master) -> None:
    for value in range(256):
        master.write(BM_COMMAND, value)
        assert master.read(BM_COMMAND) == value & 9
        master.write(BM_STATUS, value)
        assert master.read(BM_STATUS) & 0xE0 == value & 0x60
        for register in (1, 3):
            master.write(register, value)
            assert master.read(register) == 0
    for index, value in enumerate((0xFF, 0x34, 0x56, 0x78)):
        master.write(BM_TABLE + index, value)
    assert [master.read(BM_TABLE + index) for index in range(4)] == [0xFC, 0x34, 0x56, 0x78]


def test_the_interrupt_is_an_edge(master: Master) -> None:
    master.lib.bus_master_set_irq(master.state, True)
    assert master.read(BM_STATUS) == BM_INTERRUPT
    master.write(BM_STATUS, 0)
    assert master.read(BM_STATUS) == BM_INTERRUPT, "cleared by a 1"
    master.write(BM_STATUS, BM_INTERRUPT)
    master.lib.bus_master_set_irq(master.state, True)
    assert master.read(BM_STATUS) == 0
    master.lib.bus_master_set_irq(master.state, False)
    master.lib.bus_master_set_irq(master.state, True)
    assert master.read(BM_STATUS) == BM_INTERRUPT


def test_walk(master: Master) -> None:
    master.write(BM_TABLE + 1, 0x50)
    master.start()
    assert master.read(BM_STATUS) == BM_ACTIVE
    assert master.entry() == 0x5000
    master.load(0x12345, 0x1001)
    assert master.entry() is None and master.span() == (0x12344, 0x1000), "both are even"
    master.lib.bus_master_moved(master.state, 0x0FF0)
    assert master.span() == (0x12344 + 0xFF0, 16)
    master.lib.bus_master_moved(master.state, 16)
    assert master.entry() == 0x5008 and master.span()[1] == 0
    master.load(0x20000, 0, 0x8000)
    assert master.span() == (0x20000, 0x10000)
    master.lib.bus_master_moved(master.state, 0x10000)
    assert master.read(BM_STATUS) == 0 and master.entry() is None, "the last region is full"


def test_start_begins_anew(master: Master) -> None:
    master.start()
    master.load(0x1000, 16)
    master.write(BM_COMMAND, BM_START | BM_TO_MEMORY)
    assert master.span() == (0x1000, 16), "it was running"
    master.write(BM_COMMAND, 0)
    assert master.read(BM_STATUS) == 0 and master.span()[1] == 0
    master.start()
    assert master.entry() == 0


def test_memory_that_does_not_answer(master: Master) -> None:
    master.start()
    master.lib.bus_master_fail(master.state)
    assert master.read(BM_STATUS) == BM_ERROR and master.entry() is None
    master.write(BM_STATUS, BM_ERROR)
    assert master.read(BM_STATUS) == 0


def test_a_table_is_bounded(master: Master) -> None:
    master.start()
    for _ in range(8192):
        assert master.entry() is not None
        master.load(0, 2)
        master.lib.bus_master_moved(master.state, 2)
    master.load(0, 2)
    assert master.read(BM_STATUS) == BM_ERROR


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 255)), max_size=60))
def test_any_writes(lib: Any, ffi: Any, writes: list[tuple[int, int]]) -> None:
    master = Master(lib, ffi)
    for register, value in writes:
        master.write(register, value)
        entry = master.entry()
        assert entry is None or entry % 4 == 0
        if entry is not None:
            master.load(value << 8, value)
        address, size = master.span()
        assert size <= 0x10000 and address % 2 == 0
        master.lib.bus_master_moved(master.state, size // 4 * 2)
