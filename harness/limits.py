"""How long a wait may take: one kind of limit, and the one rule for what of it applies to which VMM.

A limit holds guest instructions, guest seconds and host seconds (`bringup.guests.definition.Limit`).

- On a VMM in virtual time the guest's own figures apply: instructions and guest seconds. Host seconds are a distant
  watchdog there, which tells a VMM that hangs from a guest that works.
- On a VMM in host time only the host's clock applies: the limit's host seconds or, where it states none, its guest
  seconds; scaled by how much slower this host is than the reference (`Scale`), and nowhere else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from bringup.guests.definition import Limit

HOST_SECONDS = "host seconds are spent"
WATCHDOG = 600.0
"""Host seconds, before scaling, that a wait in virtual time may take: far beyond what the slowest host needs."""
SECOND = 1_000_000_000


class Time(Enum):
    """What guest time is on a VMM."""

    VIRTUAL = "virtual"
    HOST = "host"


class Moment(NamedTuple):
    """Where a run stands: guest instructions and guest nanoseconds since power-on, where the VMM tells; host seconds
    of the monotonic clock."""

    instructions: int | None
    guest_ns: int | None
    host: float


def host_now() -> Moment:
    """A moment of which only the host's clock is known."""
    return Moment(None, None, time.monotonic())


@dataclass(frozen=True)
class Scale:
    """How many times slower this host is than the reference host; `harness/calibration.py` measures it."""

    factor: float = 1.0


class Deadline:
    """A limit that has begun at a moment. What does not apply to the VMM is infinite."""

    def __init__(self, limit: Limit, start: Moment, time: Time, scale: Scale) -> None:
        virtual = time is Time.VIRTUAL
        self.limit = limit
        self.instructions = (
            start.instructions + limit.instructions
            if virtual and limit.instructions is not None and start.instructions is not None
            else None
        )
        self.guest_ns = (
            start.guest_ns + round(limit.guest * SECOND)
            if virtual and limit.guest is not None and start.guest_ns is not None
            else None
        )
        seconds = max(WATCHDOG, limit.host or 0) if virtual else limit.host or limit.guest
        self.seconds = None if seconds is None else seconds * scale.factor
        self.host = None if self.seconds is None else start.host + self.seconds

    def remaining_host(self, now: float) -> float | None:
        """Host seconds that are left, at least 0; None: no limit."""
        return None if self.host is None else max(self.host - now, 0.0)

    def spent(self, now: Moment) -> str | None:
        """What is used up at this moment, in a few words; None while there is some of everything left."""
        if self.instructions is not None and now.instructions is not None and now.instructions >= self.instructions:
            return f"{self.limit.instructions} instructions are spent"
        if self.guest_ns is not None and now.guest_ns is not None and now.guest_ns >= self.guest_ns:
            return f"{self.limit.guest:g} guest seconds are spent"
        if self.host is not None and now.host >= self.host:
            return f"{self.seconds:.1f} {HOST_SECONDS}"
        return None
