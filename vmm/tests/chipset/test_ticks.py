"""Nanoseconds to ticks and back, against Python's integers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

HUNDRED_YEARS = 100 * 366 * 86400 * 10**9
CRYSTALS = (32768, 1_193_182, 3_579_545, 10**9)


@pytest.mark.parametrize("hertz", CRYSTALS)
@given(now=st.integers(0, HUNDRED_YEARS))
def test_exact_over_a_century(lib: Any, hertz: int, now: int) -> None:
    tick = now * hertz // 10**9
    assert lib.test_ticks_at(now, hertz) == tick
    at = lib.test_time_of_tick(tick, hertz)
    assert at == -(-tick * 10**9 // hertz)
    assert at <= now < lib.test_time_of_tick(tick + 1, hertz)
    assert lib.test_ticks_at(at, hertz) == tick
    assert at == 0 or lib.test_ticks_at(at - 1, hertz) == tick - 1


@pytest.mark.parametrize("hertz", CRYSTALS)
def test_end_of_time(lib: Any, hertz: int) -> None:
    assert lib.test_ticks_at(2**64 - 1, hertz) == (2**64 - 1) * hertz // 10**9
    assert lib.test_time_of_tick(2**64 - 1, hertz) == 2**64 - 1
