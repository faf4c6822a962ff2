"""The 8042: its commands with nothing plugged in, and the two devices on their wires."""

from __future__ import annotations

from typing import Any

import pytest

NEVER = 2**64 - 1
BYTE = 660_000
MS = 1_000_000

# ---- nothing plugged in ----


@pytest.fixture
def kbc(lib: Any, ffi: Any) -> Any:
    kbc = ffi.new("struct i8042 *")
    lib.i8042_reset(kbc, False, False)
    return kbc


def ask(lib: Any, kbc: Any, command: int, *data: int) -> tuple[int, int] | None:
    """(byte, status) that a command answers, or None."""
    assert not lib.i8042_write_command(kbc, command, 0)
    for byte in data:
        assert not lib.i8042_write_data(kbc, byte, 0)
    status = lib.i8042_read_status(kbc)
    return (int(lib.i8042_read_data(kbc, 0)), int(status)) if status & 1 else None


@pytest.mark.parametrize(
    ("command", "data", "answer", "flags"),
    [
        (0xAA, (), 0x55, 0), (0xAB, (), 0, 0), (0xA9, (), 0, 0), (0xC0, (), 0xB0, 0), (0xD0, (), 0x03, 0),
        (0x20, (), 0x74, 0), (0xD2, (0x5A,), 0x5A, 0), (0xD3, (0xA5,), 0xA5, 0x20), (0xD4, (0xF2,), 0xFE, 0x60),
    ],
)  # fmt: skip
def test_i8042_answers(lib: Any, kbc: Any, command: int, data: tuple[int, ...], answer: int, flags: int) -> None:
    reply = ask(lib, kbc, command, *data)
    assert reply is not None
    assert reply[0] == answer
    assert reply[1] & 0x60 == flags
    assert not lib.i8042_read_status(kbc) & 1


def test_i8042_nothing_plugged_in(lib: Any, kbc: Any) -> None:
    lib.i8042_write_data(kbc, 0xFF, 0)  # reset, to the keyboard
    assert lib.i8042_read_status(kbc) & 0x61 == 0x41  # time-out
    assert lib.i8042_read_data(kbc, 0) == 0xFE


def test_i8042_interrupts_follow_the_command_byte(lib: Any, kbc: Any) -> None:
    ask(lib, kbc, 0x60, 0x03)
    assert ask(lib, kbc, 0x20) == (0x03, 0x19)
    lib.i8042_write_command(kbc, 0xD2, 0)
    lib.i8042_write_data(kbc, 1, 0)
    assert (kbc.keyboard_irq, kbc.aux_irq) == (True, False)
    lib.i8042_read_data(kbc, 0)
    lib.i8042_write_command(kbc, 0xD3, 0)
    lib.i8042_write_data(kbc, 1, 0)
    assert (kbc.keyboard_irq, kbc.aux_irq) == (False, True)
    lib.i8042_read_data(kbc, 0)
    assert (kbc.keyboard_irq, kbc.aux_irq) == (False, False)


def test_i8042_ports_and_memory(lib: Any, kbc: Any) -> None:
    for command, set_bit, bit in ((0xA7, 1, 0x20), (0xA8, 0, 0x20), (0xAD, 1, 0x10), (0xAE, 0, 0x10)):
        ask(lib, kbc, command)
        reply = ask(lib, kbc, 0x20)
        assert reply is not None
        assert bool(reply[0] & bit) == bool(set_bit)
    for index in range(1, 32):
        ask(lib, kbc, 0x60 + index, index ^ 0xFF)
    for index in range(1, 32):
        reply = ask(lib, kbc, 0x20 + index)
        assert reply is not None
        assert reply[0] == index ^ 0xFF


def test_i8042_a20(lib: Any, kbc: Any) -> None:
    for command, value in ((0xDD, 1), (0xDF, 3)):
        ask(lib, kbc, command)
        reply = ask(lib, kbc, 0xD0)
        assert reply is not None
        assert reply[0] == value


def test_i8042_reset_line(lib: Any, kbc: Any) -> None:
    assert [c for c in range(256) if lib.i8042_write_command(kbc, c, 0)] == list(range(0xF0, 0x100, 2))
    lib.i8042_write_command(kbc, 0xD1, 0)
    assert not lib.i8042_write_data(kbc, 0x03, 0)
    lib.i8042_write_command(kbc, 0xD1, 0)
    assert lib.i8042_write_data(kbc, 0x02, 0)


def test_i8042_nothing_plugged_in_takes_no_time(lib: Any, ffi: Any, kbc: Any) -> None:
    lib.i8042_move(kbc, 1, 1, 0, 1, 0)
    assert lib.i8042_type(kbc, ffi.new("uint32_t[]", [0x11E]), 1, 0) == 1
    lib.i8042_write_command(kbc, 0x60, 0)
    lib.i8042_write_data(kbc, 0x03, 0)  # both ports open
    assert lib.i8042_deadline(kbc) == NEVER
    lib.i8042_advance(kbc, 10**18)
    assert not lib.i8042_read_status(kbc) & 1


# ---- a keyboard and a mouse ----


class Port:
    """A controller with both devices, driven as an operating system drives it."""

    def __init__(self, lib: Any, ffi: Any) -> None:
        self.lib, self.ffi, self.now = lib, ffi, 0
        self.kbc = ffi.new("struct i8042 *")
        lib.i8042_reset(self.kbc, True, True)

    def command(self, value: int, *data: int) -> None:
        assert not self.lib.i8042_write_command(self.kbc, value, self.now)
        for byte in data:
            assert not self.lib.i8042_write_data(self.kbc, byte, self.now)

    def data(self, value: int) -> None:
        assert not self.lib.i8042_write_data(self.kbc, value, self.now)

    def wait(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        self.lib.i8042_advance(self.kbc, self.now)

    def type(self, *events: int) -> int:
        events_ = self.ffi.new("uint32_t[]", events)
        return int(self.lib.i8042_type(self.kbc, events_, len(events), self.now))

    def byte(self) -> tuple[int, bool] | None:
        """The next byte to arrive and whether it is the mouse's; None: none is under way."""
        while not self.lib.i8042_read_status(self.kbc) & 1:
            deadline = self.lib.i8042_deadline(self.kbc)
            if deadline == NEVER:
                return None
            assert deadline > self.now or deadline == self.now
            self.now = deadline
            self.lib.i8042_advance(self.kbc, self.now)
        aux = bool(self.lib.i8042_read_status(self.kbc) & 0x20)
        return int(self.lib.i8042_read_data(self.kbc, self.now)), aux

    def bytes(self) -> list[int]:
        found = []
        while (one := self.byte()) is not None:
            found.append(one[0])
        return found


@pytest.fixture
def port(lib: Any, ffi: Any) -> Port:
    return Port(lib, ffi)


A, DOWN = 0x1E, 0x100


def test_a_byte_takes_its_time(port: Port) -> None:
    port.data(0xEE)  # echo; it opens the port
    assert port.lib.i8042_deadline(port.kbc) == BYTE
    port.wait(BYTE - 1)
    assert not port.lib.i8042_read_status(port.kbc) & 1
    port.wait(1)
    assert port.lib.i8042_read_status(port.kbc) & 0x21 == 1
    assert port.byte() == (0xEE, False)
    assert port.byte() is None


def test_interrupts_are_edges(port: Port) -> None:
    port.command(0x60, 0x03)  # both interrupts, no translation
    port.type(A | DOWN, A)
    levels = []
    for _ in range(3):
        levels.append(port.kbc.keyboard_irq)
        port.wait(BYTE)
        levels.append(port.kbc.keyboard_irq)
        port.wait(100 * MS)  # the next waits until this one is read
        assert port.byte() is not None
    assert levels == [False, True] * 3
    port.lib.i8042_move(port.kbc, 1, 0, 0, 0, port.now)
    port.command(0xD4, 0xF4)
    port.wait(BYTE)
    assert (port.kbc.keyboard_irq, port.kbc.aux_irq) == (False, True)


def test_translation(port: Port) -> None:
    port.command(0x60, 0x44)
    port.type(A | DOWN, A, 0xC8 | DOWN, 0xC8, 0x41 | DOWN, 0x41)
    assert port.bytes() == [0x1E, 0x9E, 0xE0, 0x48, 0xE0, 0xC8, 0x41, 0xC1]
    port.data(0xF2)  # what a keyboard says is translated too
    assert port.bytes() == [0xFA, 0xAB, 0x41]
    port.command(0x60, 0x04)
    port.type(A | DOWN, A, 0xC8 | DOWN, 0xC8, 0x41 | DOWN, 0x41)
    assert port.bytes() == [0x1C, 0xF0, 0x1C, 0xE0, 0x75, 0xE0, 0xF0, 0x75, 0x83, 0xF0, 0x83]


def test_a_disabled_port_holds_its_bytes(port: Port) -> None:
    port.command(0x60, 0x34)
    port.type(A | DOWN, A)
    assert port.byte() is None
    port.command(0xAE)
    assert port.byte() == (0x1C, False)
    port.command(0xAD)
    port.wait(10 * BYTE)
    assert port.byte() is None
    port.data(0xEE)  # a byte for the keyboard opens its port, and its answer goes first
    assert port.bytes() == [0xEE, 0xF0, 0x1C]


def test_a_port_closed_while_a_byte_is_on_the_wire(port: Port) -> None:
    port.command(0x60, 0x04)
    port.type(A | DOWN, A)
    port.wait(BYTE // 2)
    port.command(0xAD)
    assert port.lib.i8042_deadline(port.kbc) == NEVER
    port.wait(BYTE)
    assert not port.lib.i8042_read_status(port.kbc) & 1
    port.command(0xAE)
    assert port.byte() == (0x1C, False)


def test_both_devices_in_turn(port: Port) -> None:
    port.command(0x60, 0x04)
    port.command(0xD4, 0xF2)
    port.data(0xF2)
    found = [port.byte() for _ in range(5)]
    assert found == [(0xFA, False), (0xAB, False), (0x83, False), (0xFA, True), (0x00, True)]


def test_power_on_reset_of_both(port: Port) -> None:
    port.command(0x60, 0x04)
    port.data(0xFF)
    assert port.byte() == (0xFA, False)
    before = port.now
    assert port.byte() == (0xAA, False)
    assert port.now - before >= 4 * MS
    port.command(0xD4, 0xFF)
    assert [port.byte() for _ in range(3)] == [(0xFA, True), (0xAA, True), (0x00, True)]


def test_one_step_or_many(lib: Any, ffi: Any) -> None:
    coarse, fine = Port(lib, ffi), Port(lib, ffi)
    for port, step in ((coarse, 3000 * MS), (fine, 7 * MS + 13)):
        port.command(0x60, 0x44)
        port.data(0xFF)
        port.type(A | DOWN, 800 << 16 | A, 0x1D | DOWN, 0xC6 | DOWN)
        port.lib.i8042_move(port.kbc, 5, -5, 0, 1, 0)
        while port.now < 3000 * MS:
            port.wait(min(step, 3000 * MS - port.now))
    assert bytes(ffi.buffer(coarse.kbc)) == bytes(ffi.buffer(fine.kbc))
