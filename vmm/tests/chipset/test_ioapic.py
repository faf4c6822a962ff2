"""The I/O APIC."""

from __future__ import annotations

from typing import Any

import pytest

PINS = 24
MASK, LEVEL, REMOTE_IRR = 1 << 16, 1 << 15, 1 << 14


class Ioapic:
    def __init__(self, lib: Any, ffi: Any) -> None:
        self.lib, self.ffi = lib, ffi
        self.state = ffi.new("struct ioapic *")
        lib.ioapic_reset(self.state, 0)

    def read(self, register: int) -> int:
        self.lib.ioapic_write(self.state, 0, register)
        return int(self.lib.ioapic_read(self.state, 16))

    def write(self, register: int, value: int) -> None:
        self.lib.ioapic_write(self.state, 0, register)
        self.lib.ioapic_write(self.state, 16, value)

    def pin(self, pin: int, level: bool) -> list[tuple[int, bool]]:
        self.lib.ioapic_set_pin(self.state, pin, level)
        return self.sent()

    def sent(self) -> list[tuple[int, bool]]:
        """(vector, level triggered) of each message."""
        message = self.ffi.new("struct apic_message *")
        found = []
        while self.lib.ioapic_take(self.state, message):
            found.append((message.vector, message.level))
        return found


@pytest.fixture
def ioapic(lib: Any, ffi: Any) -> Ioapic:
    return Ioapic(lib, ffi)


def test_registers(ioapic: Ioapic) -> None:
    assert ioapic.read(1) == (PINS - 1) << 16 | 0x20
    for pin in range(PINS):
        assert ioapic.read(0x10 + 2 * pin) == MASK
        ioapic.write(0x10 + 2 * pin, 0xFFFFFFFF)
        ioapic.write(0x11 + 2 * pin, 0xFFFFFFFF)
        assert ioapic.read(0x10 + 2 * pin) == 0x1AFFF  # delivery status and remote IRR are read only
        assert ioapic.read(0x11 + 2 * pin) == 0xFF000000
    ioapic.write(0, 0xFFFFFFFF)
    assert ioapic.read(0) == ioapic.read(2) == 0x0F000000
    for register in (*range(3, 16), *range(0x40, 256)):
        ioapic.write(register, 0xFFFFFFFF)
        assert ioapic.read(register) == 0


@pytest.mark.parametrize("pin", range(PINS))
def test_edge(ioapic: Ioapic, pin: int) -> None:
    ioapic.write(0x10 + 2 * pin, 0x30 + pin)
    assert ioapic.pin(pin, True) == [(0x30 + pin, False)]
    assert ioapic.pin(pin, True) == []
    assert ioapic.pin(pin, False) == []
    assert ioapic.pin(pin, True) == [(0x30 + pin, False)]


def test_masked_edge_is_lost(ioapic: Ioapic) -> None:
    assert ioapic.pin(4, True) == []
    ioapic.write(0x18, 0x34)
    assert ioapic.sent() == []


def test_level_repeats_after_eoi(ioapic: Ioapic) -> None:
    ioapic.write(0x22, LEVEL | 0x59)
    assert ioapic.pin(9, True) == [(0x59, True)]
    assert ioapic.read(0x22) & REMOTE_IRR
    assert ioapic.pin(9, False) + ioapic.pin(9, True) == []  # one at a time
    ioapic.lib.ioapic_end(ioapic.state, 0x58)
    assert ioapic.sent() == []
    ioapic.lib.ioapic_end(ioapic.state, 0x59)
    assert ioapic.sent() == [(0x59, True)]
    ioapic.pin(9, False)
    ioapic.lib.ioapic_write(ioapic.state, 0x40, 0x59)  # the EOI register
    assert ioapic.sent() == []
    assert not ioapic.read(0x22) & REMOTE_IRR


def test_masked_level_waits(ioapic: Ioapic) -> None:
    ioapic.write(0x22, MASK | LEVEL | 0x59)
    assert ioapic.pin(9, True) == []
    ioapic.write(0x22, LEVEL | 0x59)
    assert ioapic.sent() == [(0x59, True)]


def test_edge_mode_clears_remote_irr(ioapic: Ioapic) -> None:
    ioapic.write(0x22, LEVEL | 0x59)
    ioapic.pin(9, True)
    ioapic.write(0x22, MASK | 0x59)
    ioapic.write(0x22, MASK | LEVEL | 0x59)
    assert not ioapic.read(0x22) & REMOTE_IRR


@pytest.mark.parametrize("delivery", [2, 4, 5, 7])
def test_other_delivery_modes_are_edges(ioapic: Ioapic, delivery: int) -> None:
    ioapic.write(0x12, LEVEL | delivery << 8 | 0x40)
    assert ioapic.pin(1, True) == [(0x40, False)]
    assert not ioapic.read(0x12) & REMOTE_IRR


def test_message_carries_destination(ioapic: Ioapic) -> None:
    ioapic.write(0x13, 0xA5 << 24)
    ioapic.write(0x12, 0x100 | 1 << 11 | 0x77)
    ioapic.lib.ioapic_set_pin(ioapic.state, 1, True)
    message = ioapic.ffi.new("struct apic_message *")
    assert ioapic.lib.ioapic_take(ioapic.state, message)
    assert (message.destination, message.logical, message.delivery, message.shorthand) == (0xA5, True, 1, 0)


def test_every_offset_is_harmless(ioapic: Ioapic) -> None:
    for offset in range(0, 0x1000, 4):
        ioapic.lib.ioapic_write(ioapic.state, offset, 0xFFFFFFFF)
        ioapic.lib.ioapic_read(ioapic.state, offset)
