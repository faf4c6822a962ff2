"""Whether to look for what is about to come a little longer before sleeping until it comes.

An idle processor is slow to wake: two processes that answer each other and sleep meanwhile take longer, and more CPU
time, than two that look. Where others want the processors looking is in vain, and is soon left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

SPIN_SECONDS = 50e-6
"""How long at most, each time."""
REST_MAXIMUM = 63
"""Waits that are slept through at once after many were looked for in vain."""


class Spin:
    """Around each wait: `begin`; while it `goes_on`, look; then sleep, if it must be; `end`.

    Each wait that was looked for in vain doubles how many of the next ones are slept through at once, each that was not
    halves it. A process that has one processor never looks.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, processors: int | None = None) -> None:
        self._clock = clock
        self._useful = (len(os.sched_getaffinity(0)) if processors is None else processors) > 1
        self._rest = 0  # waits to be slept through after the next one in vain, about
        self._resting = 0  # waits that are left of them
        self._until: float | None = None

    def begin(self) -> None:
        """A wait begins."""
        self._until = None
        if self._resting:
            self._resting -= 1
        elif self._useful:
            self._until = self._clock() + SPIN_SECONDS

    def goes_on(self) -> bool:
        """Is it worth looking now? False: sleep."""
        if self._until is None:
            return False
        if self._clock() < self._until:
            return True
        self._until = None
        self._rest = self._resting = min(2 * self._rest + 1, REST_MAXIMUM)
        return False

    def end(self) -> None:
        """It has come."""
        if self._until is not None:
            self._rest //= 2
            self._until = None
