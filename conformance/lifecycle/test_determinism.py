"""The same machine again: the same bytes, at the same instructions."""

from __future__ import annotations

import pytest

from bringup.harness.attempt import Attempt

TIMES = 5


@pytest.mark.guests(tag="short", needs=("deterministic",))
def test_five_boots_are_one(attempt: Attempt) -> None:
    """To the shell, typing included: console, instruction count and guest time are equal."""
    seen = set()
    for _ in range(TIMES):
        machine = attempt.boot()
        attempt.climb(until="shell")
        moment = machine.moment()
        seen.add((attempt.shell.raw.bytes(), moment.instructions, moment.guest_ns))
    assert len(seen) == 1
