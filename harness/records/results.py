"""What a run's records say of its attempts: what tables and reports are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bringup.guests.definition import SYNTHETIC
from bringup.harness.outcome import Outcome
from bringup.harness.records.schema import End, MachineStarted, Record, RungReached, Start


@dataclass(frozen=True)
class Boot:
    """A machine of an attempt, and the rungs that its guest reached."""

    machine: MachineStarted
    rungs: tuple[RungReached, ...] = ()

    @property
    def instructions(self) -> int | None:
        """Those that its guest retired up to the last rung that it reached, where the VMM counts them."""
        return self.rungs[-1].position.instructions if self.rungs else None


@dataclass(frozen=True)
class Result:
    """An attempt and what became of it."""

    start: Start
    end: End | None
    """None: whoever ran it was killed."""
    boots: tuple[Boot, ...] = ()

    @property
    def outcome(self) -> Outcome:
        """What happened."""
        return Outcome.UNFINISHED if self.end is None else self.end.outcome

    @property
    def is_bad(self) -> bool:
        """Neither passed nor skipped nor expected."""
        return self.outcome not in (Outcome.PASSED, Outcome.SKIPPED) and not (self.end and self.end.expected)


def results(records: Iterable[Record]) -> list[Result]:
    """All attempts, by guest, VMM, test and time."""
    starts: list[Start] = []
    ends: dict[str, End] = {}
    boots: dict[str, list[Boot]] = {}
    for record in records:
        match record:
            case Start():
                starts.append(record)
            case MachineStarted():
                boots.setdefault(record.attempt, []).append(Boot(record))
            case RungReached() if record.attempt in boots:
                *before, boot = boots[record.attempt]
                boots[record.attempt] = [*before, Boot(boot.machine, (*boot.rungs, record))]
            case End():
                ends[record.attempt] = record
    found = [Result(start, ends.get(start.attempt), tuple(boots.get(start.attempt, ()))) for start in starts]
    return sorted(found, key=lambda one: (one.start.guest, one.start.vmm, one.start.kind != "boot", one.start.test))


def imitations(found: Sequence[Result]) -> set[str]:
    """The guests among them that are programs of ours, which only speak like guests."""
    return {one.start.guest for one in found if one.end and SYNTHETIC in one.end.labels}
