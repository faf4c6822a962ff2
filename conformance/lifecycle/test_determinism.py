"""The same machine again: the same bytes, at the same instructions."""

from __future__ import annotations

import pytest

from bringup.harness.attempt import Attempt

TIMES = 5


@pytest.mark.guests(tag="five-times", needs=("deterministic",))
def test_five_boots_are_one(attempt: Attempt) -> None:
    """To the shell or, without one, to the top; typing included: consoles, instructions and guest time are equal."""
    until = "shell" if any(rung.id == "shell" for rung in attempt.guest.ladder) else None
    seen = set()
    for _ in range(TIMES):
        machine = attempt.boot()
        attempt.climb(until)
        moment = machine.moment()
        said = tuple(console.raw.bytes() for console in attempt.consoles.values())
        seen.add((said, moment.instructions, moment.guest_ns))
    assert len(seen) == 1
