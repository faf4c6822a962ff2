"""The pair of 8237A DMA controllers and their page registers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

COMMAND, STATUS, REQUEST, MASK, MODE = 8, 8, 9, 10, 11
CLEAR_FLIP_FLOP, MASTER_CLEAR, CLEAR_MASK, ALL_MASK = 12, 13, 14, 15
VERIFY, TO_MEMORY, FROM_MEMORY, ILLEGAL = 0x40, 0x44, 0x48, 0x4C  # single mode
AUTOINITIALIZE, DECREMENT, CASCADE = 0x10, 0x20, 0xC0
PAGE = [7, 3, 1, 2, 15, 11, 9, 10]  # IBM PC AT: 87h 83h 81h 82h 8Fh 8Bh 89h 8Ah


class Dma:
    def __init__(self, lib: Any, ffi: Any) -> None:
        self.lib, self.ffi = lib, ffi
        self.state = ffi.new("struct dma *")
        lib.dma_reset(self.state)

    def read(self, unit: int, register: int) -> int:
        return int(self.lib.dma_read(self.state, unit, register))

    def write(self, unit: int, register: int, *values: int) -> None:
        for value in values:
            self.lib.dma_write(self.state, unit, register, value)

    def word(self, unit: int, register: int) -> int:
        self.write(unit, CLEAR_FLIP_FLOP, 0)
        return self.read(unit, register) | self.read(unit, register) << 8

    def connect(self) -> None:
        """What firmware does: channel 4 is the cascade, and open."""
        self.write(1, MODE, CASCADE)
        self.write(1, MASK, 0)

    def program(self, channel: int, page: int, address: int, count: int, mode: int) -> None:
        """As a driver does; `address` and `count` are register values."""
        unit, number = divmod(channel, 4)
        self.connect()
        self.write(unit, MASK, 4 | number)
        self.write(unit, CLEAR_FLIP_FLOP, 0)
        self.write(unit, MODE, mode | number)
        self.write(unit, 2 * number, address & 0xFF, address >> 8)
        self.write(unit, 2 * number + 1, count & 0xFF, count >> 8)
        self.lib.dma_write_page(self.state, PAGE[channel], page)
        self.write(unit, MASK, number)

    def next(self, channel: int) -> tuple[int, int, int] | None:
        piece = self.ffi.new("struct dma_piece *")
        if not self.lib.dma_next(self.state, channel, piece):
            return None
        return int(piece.gpa), int(piece.bytes), int(piece.transfer)

    def moved(self, channel: int, size: int) -> bool:
        return bool(self.lib.dma_moved(self.state, channel, size))

    def masked(self, channel: int) -> bool:
        return bool(self.read(channel // 4, ALL_MASK) >> channel % 4 & 1)


@pytest.fixture
def dma(lib: Any, ffi: Any) -> Dma:
    return Dma(lib, ffi)


def test_reset_masks_every_channel(dma: Dma) -> None:
    assert [dma.read(unit, ALL_MASK) for unit in (0, 1)] == [15, 15]
    assert [dma.read(unit, STATUS) for unit in (0, 1)] == [0, 0]
    assert [dma.next(channel) for channel in range(8)] == [None] * 8


@pytest.mark.parametrize("channel", range(8))
def test_address_and_count_go_low_byte_first(dma: Dma, channel: int) -> None:
    unit, number = divmod(channel, 4)
    dma.write(unit, 2 * number, 0x34, 0x12)
    dma.write(unit, 2 * number + 1, 0x78, 0x56)
    assert dma.word(unit, 2 * number) == 0x1234
    assert dma.word(unit, 2 * number + 1) == 0x5678


def test_one_flip_flop_serves_all_channels_of_a_controller(dma: Dma) -> None:
    dma.write(0, 0, 0x11)
    dma.write(0, 2, 0x22)  # the high byte of channel 1
    dma.write(1, 0, 0x33)  # the other controller has its own
    assert [dma.word(0, 0), dma.word(0, 2), dma.word(1, 0)] == [0x0011, 0x2200, 0x0033]


def test_master_clear(dma: Dma) -> None:
    dma.write(0, COMMAND, 0x04)
    dma.write(0, CLEAR_MASK, 0)
    dma.write(0, REQUEST, 6)
    dma.write(0, 0, 0x11)
    dma.write(0, MASTER_CLEAR, 0)
    assert (dma.read(0, ALL_MASK), dma.read(0, STATUS), dma.state.unit[0].command) == (15, 0, 0)
    dma.write(0, 0, 0x22, 0x33)  # the flip-flop starts anew
    assert dma.word(0, 0) == 0x3322


def test_mask_registers(dma: Dma) -> None:
    dma.write(0, MASK, 2)
    assert dma.read(0, ALL_MASK) == 0b1011
    dma.write(0, MASK, 6)
    assert dma.read(0, ALL_MASK) == 0b1111
    dma.write(0, ALL_MASK, 0xF5)
    assert dma.read(0, ALL_MASK) == 0b0101
    dma.write(0, CLEAR_MASK, 0xFF)
    assert dma.read(0, ALL_MASK) == 0
    assert dma.read(1, ALL_MASK) == 15


@pytest.mark.parametrize("register", [REQUEST, MASK, MODE, CLEAR_FLIP_FLOP, CLEAR_MASK])
def test_registers_that_cannot_be_read(dma: Dma, register: int) -> None:
    assert dma.read(0, register) == 0xFF


def test_page_registers_keep_what_is_written(dma: Dma, lib: Any) -> None:
    for register in range(16):
        lib.dma_write_page(dma.state, register, register * 0x11)
    assert [lib.dma_read_page(dma.state, register) for register in range(16)] == [r * 0x11 for r in range(16)]


@pytest.mark.parametrize("channel", [0, 1, 2, 3])
def test_a_byte_channel(dma: Dma, channel: int) -> None:
    dma.program(channel, 0x12, 0x3456, 511, TO_MEMORY)
    assert dma.next(channel) == (0x123456, 512, dma.lib.DMA_WRITE)


@pytest.mark.parametrize("channel", [5, 6, 7])
def test_a_word_channel(dma: Dma, channel: int) -> None:
    """Address line 0 is low, bit 0 of the page is not used, and the count is of words."""
    dma.program(channel, 0x13, 0x9000, 255, FROM_MEMORY)
    assert dma.next(channel) == (0x120000 + 0x12000, 512, dma.lib.DMA_READ)
    assert not dma.moved(channel, 128)
    assert dma.next(channel) == (0x132080, 384, dma.lib.DMA_READ)
    assert dma.moved(channel, 384)


def test_a_page_has_no_carry(dma: Dma) -> None:
    dma.program(2, 0x0A, 0xFF00, 0x1FF, TO_MEMORY)
    assert dma.next(2) == (0xAFF00, 0x100, dma.lib.DMA_WRITE)
    assert not dma.moved(2, 0x100)
    assert dma.next(2) == (0xA0000, 0x100, dma.lib.DMA_WRITE)
    assert dma.moved(2, 0x100)


def test_128_kib_are_the_most_of_a_word_channel(dma: Dma) -> None:
    dma.program(5, 0xFF, 0x8000, 0xFFFF, TO_MEMORY)
    assert dma.next(5) == (0xFF0000, 0x10000, dma.lib.DMA_WRITE)
    assert not dma.moved(5, 0x10000)
    assert dma.next(5) == (0xFE0000, 0x10000, dma.lib.DMA_WRITE)
    assert dma.moved(5, 0x10000)


def test_terminal_count(dma: Dma) -> None:
    dma.program(2, 0, 0x1000, 9, TO_MEMORY)
    assert not dma.moved(2, 9)
    assert dma.word(0, 5) == 0
    assert not dma.read(0, STATUS) & 15
    assert dma.moved(2, 1)
    assert dma.masked(2)
    assert dma.next(2) is None
    assert (dma.word(0, 4), dma.word(0, 5)) == (0x100A, 0xFFFF)
    assert dma.read(0, STATUS) & 15 == 0b0100
    assert dma.read(0, STATUS) & 15 == 0  # reading clears


def test_autoinitialize(dma: Dma) -> None:
    dma.program(1, 0, 0x2000, 99, FROM_MEMORY | AUTOINITIALIZE)
    assert dma.moved(1, 100)
    assert not dma.masked(1)
    assert dma.read(0, STATUS) & 15 == 0b0010
    assert dma.next(1) == (0x2000, 100, dma.lib.DMA_READ)


@pytest.mark.parametrize(("channel", "width"), [(3, 1), (6, 2)])
def test_decrement(dma: Dma, channel: int, width: int) -> None:
    dma.program(channel, 0x2, 1, 2, TO_MEMORY | DECREMENT)
    seen = []
    for last in (False, False, True):
        piece = dma.next(channel)
        assert piece is not None
        seen.append(piece[0])
        assert piece[1] == width
        assert dma.moved(channel, width) == last
    assert seen == [0x20000 + width, 0x20000, 0x20000 + 0xFFFF * width]


def test_verify_counts_and_touches_nothing(dma: Dma) -> None:
    dma.program(2, 0, 0, 511, VERIFY)
    assert dma.next(2) == (0, 512, dma.lib.DMA_VERIFY)
    assert dma.moved(2, 512)


@pytest.mark.parametrize("mode", [ILLEGAL, CASCADE | 4])
def test_modes_that_move_nothing(dma: Dma, mode: int) -> None:
    dma.program(2, 0, 0, 511, mode)
    assert dma.next(2) is None


@pytest.mark.parametrize("mode", [0x04, 0x44, 0x84], ids=["demand", "single", "block"])
def test_modes_differ_only_in_time(dma: Dma, mode: int) -> None:
    dma.program(2, 0, 0, 511, mode)
    assert dma.next(2) == (0, 512, dma.lib.DMA_WRITE)


@pytest.mark.parametrize(
    ("unit", "register", "value"),
    [(0, COMMAND, 4), (1, COMMAND, 4), (0, MASK, 6), (1, MASK, 4), (1, MODE, 0x44)],
    ids=["disabled", "second disabled", "masked", "cascade masked", "no cascade"],
)
def test_who_holds_a_byte_channel_back(dma: Dma, unit: int, register: int, value: int) -> None:
    dma.program(2, 0, 0, 511, TO_MEMORY)
    dma.write(unit, register, value)
    assert dma.next(2) is None


def test_a_word_channel_needs_no_cascade(dma: Dma) -> None:
    dma.program(7, 0, 0, 0, TO_MEMORY)
    dma.write(1, MASK, 4)
    assert dma.next(7) == (0, 2, dma.lib.DMA_WRITE)


def test_requests_by_software_are_seen_in_the_status(dma: Dma) -> None:
    dma.write(0, REQUEST, 7)
    assert [dma.read(unit, STATUS) for unit in (0, 1)] == [0x80, 0]
    dma.program(3, 0, 0, 0, TO_MEMORY)
    assert dma.moved(3, 1)  # the terminal count takes it back
    assert dma.read(0, STATUS) == 0x08
    dma.write(0, REQUEST, 4)
    dma.write(0, REQUEST, 0)
    assert dma.read(0, STATUS) == 0


def test_less_than_a_word_is_nothing(dma: Dma) -> None:
    dma.program(5, 0, 0, 0, TO_MEMORY)
    assert not dma.moved(5, 1)
    assert dma.next(5) == (0, 2, dma.lib.DMA_WRITE)


registers = st.tuples(st.integers(0, 2), st.integers(0, 17), st.integers(0, 255))


@given(writes=st.lists(registers, max_size=60), sizes=st.lists(st.integers(0, 1 << 18), max_size=6))
def test_whatever_is_programmed(lib: Any, ffi: Any, writes: list[tuple[int, int, int]], sizes: list[int]) -> None:
    """A piece lies within the channel's 64 or 128 KiB, and below 16 MiB, whatever the registers hold."""
    dma = Dma(lib, ffi)
    dma.connect()
    for unit, register, value in writes:
        if unit == 2:
            lib.dma_write_page(dma.state, register, value)
        else:
            dma.write(unit, register, value)
    for channel in range(9):
        for size in sizes:
            piece = dma.next(channel)
            if piece is None:
                break
            window = 16 if channel < 4 else 17
            assert piece[0] >> window == (piece[0] + piece[1] - 1) >> window
            assert 1 <= piece[1] <= 1 << window
            assert piece[0] + piece[1] <= 1 << 24
            dma.moved(channel, min(size, piece[1]))
