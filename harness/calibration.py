"""How fast this host is, beside the host on which the guests' host seconds were chosen.

Host seconds of limits are multiplied by one factor (`limits.Scale`): how much longer a fixed piece of work takes here,
in wall time, other load included. It is at least 1, because limits of a fast host are no tighter, and capped, because
limits hold a margin already: a host that is slower still is better told so than waited for.
"""

from __future__ import annotations

import time

from bringup.harness.limits import Scale

REFERENCE = 0.009
"""Seconds that the work took on the reference host: one idle core of an AMD EPYC (Zen 4), CPython 3.11."""
CAP = 8.0
_ROUNDS = 200_000
_TRIES = 5


def work() -> float:
    """Seconds that the work takes now: a loop of the interpreter's, which like an emulator is branches and loads and
    gains nothing from a host's special instructions."""
    start = time.perf_counter()
    value = 1
    for _ in range(_ROUNDS):
        value = value * 5 & 0xFFFF
    return time.perf_counter() - start


def calibrate() -> Scale:
    """Measures: the median of a few tries."""
    median = sorted(work() for _ in range(_TRIES))[_TRIES // 2]
    return Scale(min(max(median / REFERENCE, 1.0), CAP))
