"""Rows that are measured on a machine of the harness, from its reset on: what starts the VMM's process is not counted.

CPU seconds are those of the VMM's process alone, on every VMM; what the harness takes to drive it is not among them.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from bringup.conformance.perf.errors import PerfError
from bringup.conformance.perf.measure import Sample, Vmm
from bringup.guests.definition import Limit
from bringup.guests.loader import load as load_guest
from bringup.harness.climb import FAULTS, Climb, Fell, climb, rungs_until, verdict_of
from bringup.harness.console.console import Console
from bringup.harness.limits import Scale
from bringup.harness.machine.machine import Machine, start
from bringup.harness.machine.settings import Settings
from bringup.harness.media.resolve import Media
from bringup.harness.prepare import Overrides, check_supported, firmware_of, machine_settings
from bringup.harness.vmms.loader import load as load_vmm

PATIENCE = Scale(4.0)
"""Host seconds of limits are watchdogs here, on a host that may be busy: nothing is timed by them."""


class Meter:
    """What a machine has taken since the meter was made, which is just after its reset."""

    def __init__(self, machine: Machine) -> None:
        self._machine, self._begin = machine, machine.cpu_seconds()

    def read(self) -> Sample:
        """Until now."""
        return Sample(self._machine.cpu_seconds() - self._begin, self._machine.moment().instructions)


@contextmanager
def running(vmm: Vmm, settings: Settings) -> Iterator[tuple[Machine, Meter]]:
    """A machine at its reset; on a VMM in host time, an instant behind it. HarnessError: it does not start."""
    with start(load_vmm(vmm.name), replace(settings, accel=vmm.accel), scale=PATIENCE) as machine:
        yield machine, Meter(machine)


def await_line(machine: Machine, console: Console, pattern: str, limit: Limit) -> str:
    """What comes next of this pattern; PerfError when that does not come."""
    try:
        console.expect(pattern, limit)
    except FAULTS as error:
        raise PerfError(verdict_of(error, machine).title) from None
    return str(console.after)


@dataclass(frozen=True)
class GuestRow:
    """A guest that climbs its ladder to a rung."""

    name: str
    title: str
    guest: str
    rung: str
    long: bool = False


GUESTS = (
    GuestRow("openbsd28", "OpenBSD 2.8 floppy to its install prompt", "openbsd28-serial", "installer", long=True),
    GuestRow("9front", "9front to its shell's prompt", "9front", "shell"),
)


class GuestPart:
    """See suite.Part: one guest's row."""

    def __init__(self, row: GuestRow, vmms: Sequence[Vmm], media: Media) -> None:
        """Raises MediaMissing and Unsupported (reasons to leave the row out), MediaError."""
        self.row, self.long, self._guest = row, row.long, load_guest(row.guest)
        rungs_until(self._guest, row.rung)
        found = media.resolve(self._guest)
        self._settings: Mapping[str, Settings] = {
            vmm.name: machine_settings(
                self._guest, found, Overrides(), None, firmware_of(self._guest, load_vmm(vmm.name), media)
            )
            for vmm in vmms
        }
        for vmm in vmms:
            check_supported(self._guest, load_vmm(vmm.name), self._settings[vmm.name])

    def measure(self, vmm: Vmm) -> Mapping[str, Sample]:
        """From reset (of a kernel: from its start) to the rung."""
        with running(vmm, self._settings[vmm.name]) as (machine, meter):
            consoles = {
                name: machine.console(
                    about.channel, about, deaths=self._guest.deaths, chatter=self._guest.about.chatter or ""
                )
                for name, about in self._guest.definition.console.items()
            }
            try:
                climb(self._guest, machine, consoles, Climb(rungs_until(self._guest, self.row.rung)))
            except Fell as error:
                raise PerfError(f"{self.row.name} on {vmm.name}: {error}") from None
            return {self.row.name: meter.read()}
