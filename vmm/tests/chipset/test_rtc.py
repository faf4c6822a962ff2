"""The MC146818, its calendar against Python's."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

NEVER = 2**64 - 1
SECOND = 10**9
SECONDS, SECONDS_ALARM, MINUTES, MINUTES_ALARM, HOURS, HOURS_ALARM, WEEKDAY, DAY, MONTH, YEAR = range(10)
A, B, C, D = 10, 11, 12, 13
CENTURY = 0x32
SET, PIE, AIE, UIE, BINARY, H24 = 0x80, 0x40, 0x20, 0x10, 0x04, 0x02
IRQF, PF, AF, UF = 0x80, 0x40, 0x20, 0x10
BASE = int(dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC).timestamp())


class Rtc:
    def __init__(self, lib: Any, ffi: Any, seconds: int = BASE) -> None:
        self.lib, self.ffi = lib, ffi
        self.state = ffi.new("struct rtc *")
        self.now = 0
        lib.rtc_power_on(self.state, seconds)

    def read(self, index: int) -> int:
        self.lib.rtc_write_index(self.state, index)
        return int(self.lib.rtc_read(self.state, self.now))

    def write(self, index: int, value: int) -> None:
        self.lib.rtc_write_index(self.state, index)
        self.lib.rtc_write(self.state, value, self.now)

    @property
    def deadline(self) -> int:
        return int(self.lib.rtc_deadline(self.state))

    @property
    def irq(self) -> bool:
        return bool(self.state.irq)

    def wait(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        self.lib.rtc_advance(self.state, self.now)

    def time(self) -> tuple[int, ...]:
        """Century and year, month, day, hour, minute, second, in decimal; binary and 24 hours wanted."""
        year = self.read(CENTURY) * 100 + self.read(YEAR)
        return (year, *(self.read(index) for index in (MONTH, DAY, HOURS, MINUTES, SECONDS)))

    def set_time(self, *time: int) -> None:
        year, *rest = time
        for index, value in zip(
            (CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS), (year // 100, year % 100, *rest), strict=True
        ):
            self.write(index, value)


@pytest.fixture
def rtc(lib: Any, ffi: Any) -> Rtc:
    return Rtc(lib, ffi)


def test_power_on_time_in_bcd(rtc: Rtc) -> None:
    assert [rtc.read(i) for i in (CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS)] == [
        0x20, 0x23, 0x11, 0x14, 0x22, 0x13, 0x20,
    ]  # fmt: skip
    assert rtc.read(WEEKDAY) == 3  # a Tuesday
    assert (rtc.read(A), rtc.read(B), rtc.read(D)) == (0x26, 0x02, 0x80)


@given(
    seconds=st.integers(-62135596800, 253402300799),
    later=st.integers(0, 100 * 366 * 86400 * SECOND),
)
def test_calendar_like_pythons(lib: Any, ffi: Any, seconds: int, later: int) -> None:
    rtc = Rtc(lib, ffi, seconds)
    rtc.write(B, BINARY | H24)
    rtc.now = later
    expected = min(seconds + later // SECOND, 253402300799)
    date = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=expected)
    assert rtc.time() == (date.year, date.month, date.day, date.hour, date.minute, date.second)
    assert rtc.read(WEEKDAY) == date.isoweekday() % 7 + 1


@pytest.mark.parametrize("seconds", [-(2**63), -62167219201, 253402300800, 2**63 - 1])
def test_base_outside_the_calendar_is_clamped(lib: Any, ffi: Any, seconds: int) -> None:
    rtc = Rtc(lib, ffi, seconds)
    rtc.write(B, BINARY | H24)
    assert rtc.time() == ((0, 1, 1, 0, 0, 0) if seconds < 0 else (9999, 12, 31, 23, 59, 59))


@pytest.mark.parametrize(
    ("hour", "bcd12", "binary12"),
    [(0, 0x12, 12), (1, 0x01, 1), (11, 0x11, 11), (12, 0x92, 0x8C), (13, 0x81, 0x81), (23, 0x91, 0x8B)],
)
def test_twelve_hours(lib: Any, ffi: Any, hour: int, bcd12: int, binary12: int) -> None:
    rtc = Rtc(lib, ffi, hour * 3600)
    for mode, shown in ((0, bcd12), (BINARY, binary12), (BINARY | H24, hour)):
        rtc.write(B, mode)
        assert rtc.read(HOURS) == shown
        rtc.write(B, mode | SET)
        rtc.write(HOURS, shown)
        rtc.write(B, mode)
        assert rtc.read(HOURS) == shown


@given(st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)), st.integers(0, 10 * SECOND))
def test_setting_the_clock(lib: Any, ffi: Any, date: dt.datetime, when: int) -> None:
    rtc = Rtc(lib, ffi)
    rtc.now = when
    rtc.write(B, SET | BINARY | H24)
    wanted = (date.year, date.month, date.day, date.hour, date.minute, date.second)
    rtc.set_time(*wanted)
    rtc.now += 5 * SECOND
    assert rtc.time() == wanted  # stands still
    rtc.write(B, BINARY | H24)
    assert rtc.time() == wanted
    rtc.now = (rtc.now // SECOND + 1) * SECOND  # SET leaves the divider alone: the second ends when it would have
    if wanted < (9999, 12, 31, 23, 59, 59):
        later = date.replace(microsecond=0) + dt.timedelta(seconds=1)
        assert rtc.time() == (later.year, later.month, later.day, later.hour, later.minute, later.second)


def test_linux_sets_the_clock_through_divider_reset(rtc: Rtc) -> None:
    rtc.now = 123_456_789
    rtc.write(B, SET | BINARY | H24)
    rtc.write(A, 0x76)
    rtc.set_time(2031, 5, 6, 7, 8, 9)
    rtc.write(B, BINARY | H24)
    rtc.write(A, 0x26)
    rtc.now += SECOND // 2 - 1
    assert rtc.time() == (2031, 5, 6, 7, 8, 9)
    rtc.now += 1  # the first update comes half a second later
    assert rtc.time() == (2031, 5, 6, 7, 8, 10)


def test_writing_a_running_clock(rtc: Rtc) -> None:
    rtc.write(B, BINARY | H24)
    rtc.write(MINUTES, 59)
    assert rtc.time() == (2023, 11, 14, 22, 59, 20)
    rtc.now += 40 * SECOND
    assert rtc.time() == (2023, 11, 14, 23, 0, 0)


@given(st.lists(st.tuples(st.integers(0, 127), st.integers(0, 255), st.integers(0, 10**10)), max_size=40))
def test_garbage_in_every_register(lib: Any, ffi: Any, writes: list[tuple[int, int, int]]) -> None:
    rtc = Rtc(lib, ffi)
    for index, value, pause in writes:
        rtc.write(index, value)
        rtc.wait(pause)
        assert all(0 <= rtc.read(i) <= 255 for i in range(14))
        assert rtc.deadline > rtc.now


def test_update_in_progress(rtc: Rtc) -> None:
    for now, uip in ((0, 0), (SECOND - 2_228_001, 0), (SECOND - 2_228_000, 0x80), (SECOND - 1, 0x80), (SECOND, 0)):
        rtc.now = now
        assert rtc.read(A) & 0x80 == uip
    rtc.now = SECOND - 1
    rtc.write(B, SET | H24)
    assert not rtc.read(A) & 0x80


def test_update_interrupt(rtc: Rtc) -> None:
    rtc.now = 300
    rtc.write(B, UIE | H24)
    assert rtc.deadline == SECOND
    rtc.wait(SECOND - 301)
    assert not rtc.irq
    rtc.wait(1)
    assert rtc.irq
    assert rtc.deadline == NEVER  # one interrupt until register C is read
    assert rtc.read(C) & (IRQF | UF) == IRQF | UF
    assert not rtc.irq
    assert rtc.read(C) == 0
    assert rtc.deadline == 2 * SECOND


@pytest.mark.parametrize(
    ("rate", "hertz"),
    [(1, 256), (2, 128), (3, 8192), (4, 4096), (6, 1024), (13, 8), (14, 4), (15, 2)],
)
def test_periodic_interrupt(rtc: Rtc, rate: int, hertz: int) -> None:
    rtc.write(A, 0x20 | rate)
    rtc.write(B, PIE | H24)
    for tick in range(1, 5):
        assert rtc.deadline == -(-tick * SECOND // hertz)
        rtc.wait(rtc.deadline - rtc.now)
        assert rtc.irq
        assert rtc.read(C) & (IRQF | PF) == IRQF | PF


def test_no_periodic_rate(rtc: Rtc) -> None:
    rtc.write(A, 0x20)
    rtc.write(B, PIE | H24)
    assert rtc.deadline == NEVER


def test_flags_without_enables(rtc: Rtc) -> None:
    rtc.read(C)
    rtc.now += 3 * SECOND
    assert rtc.read(C) == PF | UF  # no IRQF, and the alarm at 00:00:00 is far
    assert rtc.read(C) == 0
    assert rtc.deadline == NEVER


@pytest.mark.parametrize(
    ("hour", "minute", "second", "expected"),
    [
        (0x22, 0x13, 0x21, 1),
        (0x22, 0x13, 0x20, 86400),
        (0x22, 0x13, 0x19, 86399),
        (0xFF, 0xFF, 0xFF, 1),
        (0xC0, 0xFF, 0x00, 40),
        (0xFF, 0x10, 0x05, 3405),
        (0x00, 0x00, 0x00, 6400),
        (0x00, 0xFF, 0x30, 6430),
        (0x24, 0xFF, 0xFF, None),
        (0xFF, 0x60, 0xFF, None),
        (0xFF, 0xFF, 0x99, None),
    ],
)
def test_alarm(rtc: Rtc, hour: int, minute: int, second: int, expected: int | None) -> None:
    for index, value in ((HOURS_ALARM, hour), (MINUTES_ALARM, minute), (SECONDS_ALARM, second)):
        rtc.write(index, value)
    rtc.write(B, AIE | H24)
    assert rtc.deadline == (NEVER if expected is None else expected * SECOND)
    if expected is not None:
        rtc.wait(expected * SECOND)
        assert rtc.irq
        assert rtc.read(C) & AF


def test_set_stops_updates_and_their_interrupt(rtc: Rtc) -> None:
    rtc.write(B, UIE | H24)
    rtc.write(B, SET | UIE | H24)
    assert rtc.read(B) == SET | H24  # SET clears UIE
    rtc.wait(10 * SECOND)
    assert not rtc.irq
    assert rtc.read(C) == PF


def test_reset_keeps_time_and_memory(rtc: Rtc) -> None:
    rtc.write(B, UIE | PIE | H24 | BINARY)
    rtc.write(0x40, 0x5A)
    rtc.wait(10 * SECOND)
    rtc.write(0x8F, 0)
    assert rtc.state.nmi_masked
    rtc.lib.rtc_reset(rtc.state)
    assert not rtc.irq
    assert not rtc.state.nmi_masked
    assert rtc.read(B) == H24 | BINARY
    assert rtc.read(0x40) == 0x5A
    assert rtc.time() == (2023, 11, 14, 22, 13, 30)


def test_read_only_registers(rtc: Rtc) -> None:
    rtc.write(C, 0xFF)
    rtc.write(D, 0)
    assert rtc.read(C) == 0
    assert rtc.read(D) == 0x80


REGISTERS = st.sampled_from([SECONDS, SECONDS_ALARM, MINUTES_ALARM, HOURS_ALARM, A, B, C])


@given(
    st.lists(st.tuples(REGISTERS, st.one_of(st.none(), st.integers(0, 255)), st.integers(0, 10**11)), max_size=20),
    st.integers(1, 10**8),
)
def test_one_step_or_many(lib: Any, ffi: Any, steps: list[tuple[int, int | None, int]], stride: int) -> None:
    one, many = Rtc(lib, ffi), Rtc(lib, ffi)
    for index, value, pause in steps:
        one.wait(pause)
        for _ in range(20):
            part = min(stride, one.now - many.now)
            many.wait(part)
        many.wait(one.now - many.now)
        assert ffi.buffer(one.state)[:] == ffi.buffer(many.state)[:]
        for rtc in (one, many):
            if value is None:
                rtc.read(index)
            else:
                rtc.write(index, value)
