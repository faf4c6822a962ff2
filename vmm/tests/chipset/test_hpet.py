"""The HPET (IA-PC HPET specification 1.0a)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

NEVER = 2**64 - 1
CAPABILITIES, CONFIGURATION, STATUS, COUNTER = 0, 0x10, 0x20, 0xF0
LEVEL, ENABLE, PERIODIC, VAL_SET, MODE32 = 1 << 1, 1 << 2, 1 << 3, 1 << 6, 1 << 8
TICK = 10  # ns


def timer(n: int) -> int:
    return 0x100 + 0x20 * n


def comparator(n: int) -> int:
    return 0x108 + 0x20 * n


class Hpet:
    def __init__(self, lib: Any, ffi: Any) -> None:
        self.lib = lib
        self.state = ffi.new("struct hpet *")
        self.now = 0
        lib.hpet_reset(self.state)

    def read(self, offset: int) -> int:
        low, high = (int(self.lib.hpet_read(self.state, offset + half, self.now)) for half in (0, 4))
        return low | high << 32

    def write(self, offset: int, value: int, size: int = 8) -> None:
        self.lib.hpet_write(self.state, offset, value, size, self.now)

    @property
    def deadline(self) -> int:
        return int(self.lib.hpet_deadline(self.state))

    def advance(self, nanoseconds: int) -> int:
        self.now += nanoseconds
        return int(self.lib.hpet_advance(self.state, self.now))

    def pin(self, n: int) -> bool:
        return bool(self.lib.hpet_pin(self.state, n))


@pytest.fixture
def hpet(lib: Any, ffi: Any) -> Hpet:
    return Hpet(lib, ffi)


def test_capabilities(hpet: Hpet) -> None:
    value = hpet.read(CAPABILITIES)
    assert value >> 32 == 10**15 // 100_000_000  # femtoseconds; at most 05F5E100h
    assert value >> 16 & 0xFFFF == 0x8086
    assert (value >> 15 & 1, value >> 13 & 1, value >> 8 & 31, value & 0xFF) == (1, 1, 2, 1)
    hpet.write(CAPABILITIES, 0)
    assert hpet.read(CAPABILITIES) == value


def test_reset(hpet: Hpet) -> None:
    hpet.advance(10**9)
    assert [hpet.read(offset) for offset in (CONFIGURATION, STATUS, COUNTER)] == [0, 0, 0]
    for n in range(3):
        assert hpet.read(timer(n)) == 0x00F00000 << 32 | 0x30
        assert hpet.read(comparator(n)) == NEVER
    assert hpet.deadline == NEVER


@pytest.mark.parametrize("offset", [0x008, 0x018, 0x028, 0x0E8, 0x110, 0x118, 0x160, 0x168, 0x3F8])
def test_nothing_else_is_there(hpet: Hpet, ffi: Any, offset: int) -> None:
    before = bytes(ffi.buffer(hpet.state))
    hpet.write(offset, NEVER)
    assert hpet.read(offset) == 0
    assert bytes(ffi.buffer(hpet.state)) == before


def test_the_counter(hpet: Hpet) -> None:
    hpet.write(COUNTER, 0x1_0000_0000 - 5)
    hpet.write(CONFIGURATION, 1)
    hpet.advance(49)
    assert hpet.read(COUNTER) == 0x1_0000_0000 - 1
    hpet.advance(1)
    assert hpet.read(COUNTER) == 0x1_0000_0000
    hpet.write(COUNTER, 0)  # not while it runs
    assert hpet.read(COUNTER) == 0x1_0000_0000
    hpet.write(CONFIGURATION, 0)
    hpet.advance(10**9)
    assert hpet.read(COUNTER) == 0x1_0000_0000
    hpet.write(COUNTER + 4, 0x12, 4)
    hpet.write(COUNTER, 0x34, 4)
    assert hpet.read(COUNTER) == 0x12_0000_0034


def test_writable_bits_of_a_timer(hpet: Hpet) -> None:
    hpet.write(timer(1), NEVER)
    assert hpet.read(timer(1)) & 0xFFFFFFFF == 0x30 | LEVEL | ENABLE | PERIODIC | VAL_SET | MODE32
    assert hpet.read(timer(1)) >> 32 == 0x00F00000
    hpet.write(timer(1), 0)
    assert hpet.read(timer(1)) & 0xFFFFFFFF == 0x30


@pytest.mark.parametrize("pin", range(32))
def test_routes_that_are_not_there_are_not_taken(hpet: Hpet, pin: int) -> None:
    hpet.write(timer(2), 21 << 9)
    hpet.write(timer(2), pin << 9)
    taken = pin if 20 <= pin <= 23 else 21
    assert hpet.read(timer(2)) >> 9 & 31 == taken
    assert hpet.lib.hpet_route(hpet.state, 2) == taken


def test_one_shot(hpet: Hpet) -> None:
    hpet.write(CONFIGURATION, 1)
    hpet.write(comparator(0), 1000)
    assert hpet.deadline == NEVER  # no interrupt is wanted
    hpet.write(timer(0), ENABLE)
    assert hpet.deadline == 1000 * TICK
    assert hpet.advance(1000 * TICK - 1) == 0
    assert hpet.advance(1) == 1
    assert hpet.read(comparator(0)) == 1000
    assert (hpet.read(STATUS), hpet.pin(0), hpet.deadline) == (0, True, NEVER)
    hpet.write(timer(0), 0)
    assert not hpet.pin(0)
    hpet.write(timer(0), ENABLE)
    assert not hpet.pin(0)  # the match has been
    assert hpet.deadline == NEVER
    hpet.write(comparator(0), 999)  # behind: it would take 5845 years
    assert hpet.deadline == NEVER


def test_a_one_shot_of_32_bits_comes_round(hpet: Hpet) -> None:
    hpet.write(CONFIGURATION, 1)
    hpet.write(timer(0), ENABLE | MODE32)
    hpet.write(comparator(0), 7 << 32 | 100)
    assert hpet.read(comparator(0)) == 100
    hpet.advance(200 * TICK)
    assert hpet.deadline == (100 + 2**32) * TICK
    hpet.write(comparator(0), 50)
    assert hpet.deadline == (50 + 2**32) * TICK


def test_periodic_as_linux_sets_it(hpet: Hpet) -> None:
    """The comparator by VAL_SET, then the period, with 32-bit writes."""
    hpet.write(timer(0), ENABLE | PERIODIC | VAL_SET | MODE32, 4)
    hpet.write(comparator(0), 500, 4)
    assert not hpet.read(timer(0)) & VAL_SET
    hpet.write(comparator(0), 100, 4)
    hpet.write(CONFIGURATION, 1, 4)
    assert hpet.deadline == 500 * TICK
    assert hpet.advance(500 * TICK) == 1
    assert hpet.read(comparator(0)) == 600
    assert hpet.advance(99 * TICK) == 0
    assert hpet.advance(1 * TICK) == 1
    assert hpet.advance(1234 * TICK) == 1  # many periods give one edge
    assert hpet.read(comparator(0)) == 1900
    assert hpet.deadline == 1900 * TICK


def test_a_period_with_a_high_half(hpet: Hpet) -> None:
    hpet.write(timer(1), ENABLE | PERIODIC | VAL_SET)
    hpet.write(comparator(1), 5 << 32)
    hpet.write(comparator(1), 3, 4)
    hpet.write(comparator(1) + 4, 2, 4)
    hpet.write(CONFIGURATION, 1)
    assert hpet.deadline == (5 << 32) * TICK
    hpet.advance((5 << 32) * TICK)
    assert hpet.deadline == ((7 << 32) + 3) * TICK


def test_a_period_of_nothing(hpet: Hpet) -> None:
    hpet.write(timer(0), ENABLE | PERIODIC | VAL_SET)
    hpet.write(comparator(0), 0)
    hpet.write(CONFIGURATION, 1)
    hpet.advance(10**9)
    assert hpet.deadline == NEVER


def test_a_comparator_goes_on_without_interrupts(hpet: Hpet) -> None:
    hpet.write(timer(2), PERIODIC | VAL_SET)
    hpet.write(comparator(2), 10)
    hpet.write(CONFIGURATION, 1)
    hpet.advance(95 * TICK)
    assert (hpet.read(comparator(2)), hpet.deadline) == (100, NEVER)
    hpet.write(timer(2), PERIODIC | ENABLE)
    assert hpet.deadline == 100 * TICK


def test_level_interrupts_wait_for_their_status(hpet: Hpet) -> None:
    hpet.write(timer(1), ENABLE | LEVEL)
    hpet.write(comparator(1), 10)
    hpet.write(CONFIGURATION, 1)
    assert hpet.advance(10 * TICK) == 0  # no edge
    assert (hpet.pin(1), hpet.read(STATUS)) == (True, 2)
    hpet.write(STATUS, 5)
    assert hpet.pin(1)
    hpet.write(timer(1), LEVEL)
    assert (hpet.pin(1), hpet.read(STATUS)) == (False, 2)
    hpet.write(timer(1), LEVEL | ENABLE)
    assert hpet.pin(1)
    hpet.write(STATUS + 4, 2, 4)
    assert hpet.pin(1)
    hpet.write(STATUS, 2, 4)
    assert (hpet.pin(1), hpet.read(STATUS)) == (False, 0)


def test_halting_holds_interrupts_back(hpet: Hpet) -> None:
    hpet.write(timer(0), ENABLE)
    hpet.write(comparator(0), 100)
    hpet.write(CONFIGURATION, 1)
    hpet.advance(60 * TICK)
    hpet.write(CONFIGURATION, 0)
    assert hpet.deadline == NEVER
    hpet.advance(10**6)
    hpet.write(CONFIGURATION, 1)
    assert hpet.deadline == hpet.now + 40 * TICK


@pytest.mark.parametrize("value", range(4))
def test_legacy_replacement(hpet: Hpet, value: int) -> None:
    hpet.write(CONFIGURATION, 0xFC | value)
    assert hpet.read(CONFIGURATION) == value
    assert hpet.lib.hpet_legacy(hpet.state) == bool(value & 2)


accesses = st.tuples(
    st.sampled_from([CONFIGURATION, STATUS, COUNTER, *map(timer, range(4)), *map(comparator, range(4))]),
    st.sampled_from([0, 4]),
    st.one_of(st.integers(0, 0x1FF), st.integers(0, NEVER)),
    st.sampled_from([4, 8]),
    st.one_of(st.integers(0, 3000), st.integers(0, 2**40)),
)


@given(st.lists(accesses, max_size=30))
def test_one_step_or_many(lib: Any, ffi: Any, program: list[tuple[int, int, int, int, int]]) -> None:
    coarse, fine = Hpet(lib, ffi), Hpet(lib, ffi)
    for offset, half, value, size, pause in program:
        for chip in (coarse, fine):
            chip.write(offset + (half if size == 4 else 0), value & (0xFFFFFFFF if size == 4 else NEVER), size)
        until, seen, steps = fine.now + pause, 0, 0
        while fine.deadline <= until and steps < 50:
            seen |= fine.advance(max(0, fine.deadline - fine.now))
            assert fine.deadline > fine.now
            seen |= fine.advance(min(3, until - fine.now))
            steps += 1
        seen |= fine.advance(until - fine.now)
        assert coarse.advance(pause) == seen
        assert bytes(ffi.buffer(coarse.state)) == bytes(ffi.buffer(fine.state))
        assert coarse.deadline > coarse.now
