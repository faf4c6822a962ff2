"""What is known beforehand of a guest on a VMM: the rung that it misses, what keeps a pass from being a green one."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase

from bringup.guests.definition import SYNTHETIC, Guest, MissedRung
from bringup.harness.climb import Climb
from bringup.harness.limits import Time
from bringup.harness.records.schema import HOST_CLOCK
from bringup.harness.vmms.loader import LoadedVmm


def labels(guest: Guest, vmm: LoadedVmm) -> tuple[str, ...]:
    """What keeps a pass of this guest on this VMM from being a green one."""
    host_clock = vmm.definition.capabilities.time is Time.HOST
    return (*((HOST_CLOCK,) if host_clock else ()), *sorted(guest.marks & {SYNTHETIC}))


def expected_failure(guest: Guest, vmm: LoadedVmm, way: Climb | None = None) -> MissedRung | None:
    """The expected failure that holds today for this guest on this VMM, by the file of either; with `way`, only one
    that this climb is."""
    known: list[MissedRung] = [
        failure
        for failure in guest.definition.expected_failure
        if any(fnmatchcase(name, failure.vmm) for name in vmm.names)
    ]
    known += [failure for failure in vmm.definition.expected_failure if fnmatchcase(guest.name, failure.guest)]
    today = datetime.now(UTC).date()
    missed = None if way is None or way.complete else way.rungs[len(way.reached)].id
    for failure in known:
        if today <= failure.until and (way is None or failure.rung == missed):
            return failure
    return None
