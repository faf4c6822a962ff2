"""What of a limit applies where."""

from __future__ import annotations

import pytest

from bringup.guests.definition import Limit
from bringup.harness.limits import WATCHDOG, Deadline, Moment, Scale, Time

START = Moment(instructions=1000, guest_ns=5_000_000_000, host=100.0)
SLOW = Scale(3.0)


@pytest.mark.parametrize(
    ("now", "spent"),
    [
        (Moment(1499, 6_999_999_999, 100.0), None),
        (Moment(1500, 6_000_000_000, 100.0), "500 instructions are spent"),
        (Moment(1499, 7_000_000_000, 100.0), "2 guest seconds are spent"),
        (Moment(1499, 6_000_000_000, 100.0 + 3 * WATCHDOG), "1800.0 host seconds are spent"),
    ],
)
def test_virtual_time_is_limited_by_the_guest_s_own_figures(now: Moment, spent: str | None) -> None:
    deadline = Deadline(Limit(instructions=500, guest=2, host=1), START, Time.VIRTUAL, SLOW)
    assert deadline.spent(now) == spent


@pytest.mark.parametrize(
    ("limit", "seconds"), [(Limit(guest=2), 6.0), (Limit(guest=2, host=5), 15.0), (Limit(instructions=1), None)]
)
def test_host_time_is_limited_by_the_host_s_clock_scaled(limit: Limit, seconds: float | None) -> None:
    deadline = Deadline(limit, START, Time.HOST, SLOW)
    assert deadline.remaining_host(100.0) == seconds
    assert deadline.spent(Moment(10**12, 10**18, 105.9)) is None
    if seconds is not None:
        assert deadline.remaining_host(200.0) == 0
        assert deadline.spent(Moment(None, None, 100.0 + seconds)) == f"{seconds:.1f} host seconds are spent"


def test_a_vmm_that_counts_nothing_has_the_watchdog() -> None:
    deadline = Deadline(Limit(instructions=1, guest=1), Moment(None, None, 0.0), Time.VIRTUAL, Scale())
    assert deadline.spent(Moment(None, None, WATCHDOG - 1)) is None
    assert deadline.spent(Moment(None, None, WATCHDOG)) == "600.0 host seconds are spent"
