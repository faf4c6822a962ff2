"""Each guest climbs its ladder."""

from __future__ import annotations

import pytest

from bringup.harness.attempt import Attempt
from bringup.harness.plugin.progress import rung_as_subtest


@pytest.mark.guests
def test_ladder(attempt: Attempt, subtests: pytest.Subtests) -> None:
    """From the machine's start to the last rung of the guest's file."""
    attempt.boot()
    attempt.climb(on_rung=rung_as_subtest(attempt, subtests))
