"""pc-testdev: its latch, lines and memory, alone and on the board."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

FIXED, LEVEL = 0x000, 1 << 15


@pytest.fixture
def chip(lib: Any, ffi: Any) -> Any:
    chip = ffi.new("struct testdev *")
    lib.testdev_reset(chip)
    return chip


@pytest.fixture
def board(make_board: Callable[..., Any]) -> Any:
    return make_board(debug_exit=1)


def test_the_latch_by_bytes_words_and_doublewords(lib: Any, chip: Any) -> None:
    lib.testdev_write_latch(chip, 0, 0x12345678, 4)
    lib.testdev_write_latch(chip, 1, 0xAA, 1)
    assert lib.testdev_read_latch(chip, 0, 4) == 0x1234AA78
    lib.testdev_write_latch(chip, 2, 0xBBCC, 2)
    assert [lib.testdev_read_latch(chip, reg, 1) for reg in range(4)] == [0x78, 0xAA, 0xCC, 0xBB]
    assert lib.testdev_read_latch(chip, 0, 2) == 0xAA78
    lib.testdev_write_latch(chip, 3, 0xEEDD, 2)  # its second byte lies behind
    assert lib.testdev_read_latch(chip, 0, 4) == 0xDDCCAA78
    assert lib.testdev_read_latch(chip, 3, 4) == 0xDD


def test_lines(lib: Any, chip: Any) -> None:
    lib.testdev_write_irq(chip, 0, 1)
    lib.testdev_write_irq(chip, 23, 0x80)
    assert chip.irqs == 0x800001
    lib.testdev_write_irq(chip, 23, 0)
    lib.testdev_write_irq(chip, 24, 1)
    assert chip.irqs == 1


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_memory_ends(lib: Any, ffi: Any, chip: Any, size: int) -> None:
    data = ffi.new("uint8_t[]", bytes(range(1, size + 1)))
    end = lib.TESTDEV_MEMORY_SIZE
    for offset in (0, end - 1, end, 2**64 - 1):
        lib.testdev_write_memory(chip, offset, data, size)
    assert chip.memory[end - 1] == 1
    lib.testdev_read_memory(chip, end - 1, data, size)
    assert bytes(data[0:size]) == b"\x01" + b"\xff" * (size - 1)


def test_on_the_board(board: Any) -> None:
    latch = board.lib.PORT_TESTDEV_LATCH
    board.outb(latch, 0x11223344, size=4)
    board.outb(latch + 1, 0xAABB, size=2)
    assert board.inb(latch, size=4) == 0x11AABB44
    board.write(board.lib.MAP_TESTDEV + 3, 0x0807060504030201, size=8)
    assert board.read(board.lib.MAP_TESTDEV + 4, size=4) == 0x05040302
    board.lib.board_reset(board.pointer)
    assert board.inb(latch, size=4) == board.read(board.lib.MAP_TESTDEV + 4) == 0


def test_without_the_option_it_is_not_there(make_board: Callable[..., Any]) -> None:
    board = make_board()
    latch, memory = board.lib.PORT_TESTDEV_LATCH, board.lib.MAP_TESTDEV
    board.outb(latch, 0, size=4)
    board.write(memory, 0)
    board.outb(board.lib.PORT_TESTDEV_IRQ + 14, 1)
    assert board.inb(latch, size=4) == board.read(memory) == 0xFFFFFFFF
    assert board.chips.testdev.irqs == 0


@pytest.mark.parametrize("line", [14, 20])
def test_a_line_is_an_interrupt(board: Any, line: int) -> None:
    board.lapic(board.lib.LAPIC_SVR, 0x1FF)
    board.redirect(line, FIXED | 0x40)
    board.outb(board.lib.PORT_TESTDEV_IRQ + line, 1)
    assert board.pending
    assert board.acknowledge() == 0x40
    board.outb(board.lib.PORT_TESTDEV_IRQ + line, 0, 1)
    board.lapic(board.lib.LAPIC_EOI, 0)
    assert board.acknowledge() == 0x40, "one edge, one interrupt"


def test_a_shared_line_is_high_while_one_of_both_wants_it(board: Any) -> None:
    line = board.lib.IRQ_COM1
    board.lapic(board.lib.LAPIC_SVR, 0x1FF)
    board.redirect(line, FIXED | LEVEL | 0x40)
    board.outb(board.lib.PORT_TESTDEV_IRQ + line, 1)
    board.outb(board.lib.PORT_COM1 + 1, 2)  # THR empty raises the line too
    board.outb(board.lib.PORT_COM1 + 1, 0)
    assert board.acknowledge() == 0x40
    board.lapic(board.lib.LAPIC_EOI, 0)
    assert board.pending, "testdev holds it high"
    assert board.acknowledge() == 0x40
    board.outb(board.lib.PORT_TESTDEV_IRQ + line, 0)
    board.lapic(board.lib.LAPIC_EOI, 0)
    assert not board.pending
