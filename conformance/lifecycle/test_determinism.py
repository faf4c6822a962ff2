"""The same machine again: the same bytes and screens, at the same instructions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest

from bringup.harness.attempt import Attempt
from bringup.harness.console.strip import Frame
from bringup.harness.outcome import VmmFailure
from bringup.vmm.screen.text import TextScreen

TIMES = 5


class Boot(NamedTuple):
    """What a boot to the top of the ladder left; all of it must be the same in every other."""

    instructions: int | None
    guest_ns: int | None
    said: Mapping[str, bytes]
    """By console, typing's echo included."""
    screens: tuple[tuple[int | None, TextScreen], ...]
    """Each with its guest time; of a machine that is looked at by its serial line alone: none."""


@pytest.mark.guests(needs=("deterministic",))
def test_five_boots_are_one(attempt: Attempt) -> None:
    """Consoles, screens, instructions and guest time of a guest on its last rung are equal, typing included."""
    boots = []
    for _ in range(TIMES):
        machine = attempt.boot()
        attempt.climb()
        moment = machine.moment()
        said = {name: console.raw.bytes() for name, console in attempt.consoles.items()}
        screens = tuple(map(_timeless, machine.screens))
        boots.append(Boot(moment.instructions, moment.guest_ns, said, screens))
    differing = [name for name, seen in zip(Boot._fields, zip(*boots, strict=True), strict=True) if _vary(seen)]
    if differing:
        counts = ", ".join(f"{boot.instructions:,}" for boot in boots)
        raise VmmFailure(f"{TIMES} boots differ in {' and '.join(differing)}\ninstructions: {counts}")


def _vary(seen: Sequence[object]) -> bool:
    return any(one != seen[0] for one in seen)


def _timeless(frame: Frame) -> tuple[int | None, TextScreen]:
    """Without the host's time."""
    return frame.moment.guest_ns, frame.screen
