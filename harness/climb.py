"""A guest's ladder: each rung's steps are done and its evidence is awaited, from the bottom up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pexpect

from bringup.guests.definition import ANY, Guest, Rung
from bringup.harness.console.console import HALTED, Console, LimitSpent
from bringup.harness.console.deaths import GuestDied
from bringup.harness.console.keyboard import TypingFailed
from bringup.harness.console.shell import CommandFailed, ShellError
from bringup.harness.limits import HOST_SECONDS, Deadline, Moment, Time
from bringup.harness.machine.ending import DEBUG_EXIT, KILLED, Ending, FloodError, MachineError
from bringup.harness.machine.machine import Machine
from bringup.harness.outcome import Blame, Outcome, Verdict, fault

OnRung = Callable[[Rung, int, Moment], None]
"""Told of each rung when it is reached: the rung, its index, and where the run stood."""
POWER_OFF = "power-off"
FLOOD = 8 << 20
"""Bytes that a guest may say on its way from one rung to the next, far beyond what a boot says: one that repeats a line
for ever is slow, and its limit in guest seconds would take a long time of the host's."""
FAULTS = (pexpect.TIMEOUT, pexpect.EOF, GuestDied, MachineError, TypingFailed, CommandFailed, ShellError)
"""What using a machine's consoles may raise: `verdict_of` knows them all."""


class Fell(Exception):
    """A rung was not reached; the text is one line."""

    def __init__(self, rung: Rung, verdict: Verdict) -> None:
        super().__init__(f"rung {rung.id!r}: {verdict.title}")
        self.rung, self.verdict = rung, verdict


@dataclass
class Climb:
    """How far a guest got."""

    rungs: Sequence[Rung]
    """Those that are asked for."""
    reached: list[Rung] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Was every rung reached?"""
        return len(self.reached) == len(self.rungs)


def rungs_until(guest: Guest, until: str | None) -> Sequence[Rung]:
    """The rungs up to the one of this id, all for None; ValueError names the ids when there is none."""
    if until is None:
        return guest.ladder
    ids = [rung.id for rung in guest.ladder]
    if until not in ids:
        raise ValueError(f"{guest.name} has no rung {until!r}; its rungs are {', '.join(ids)}")
    return guest.ladder[: ids.index(until) + 1]


def climb(
    guest: Guest, machine: Machine, consoles: Mapping[str, Console], way: Climb, on_rung: OnRung | None = None
) -> None:
    """Climbs `way.rungs`, and fills in `way` as it goes. Raises Fell when a rung is missed."""
    whole = machine.deadline(guest.definition.limit)
    first = next(iter(guest.definition.console))
    for index, rung in enumerate(way.rungs):
        deadline = machine.deadline(rung.limit) if rung.limit else whole
        machine.bound = machine.size + FLOOD
        try:
            console = consoles[first if rung.console in (None, ANY) else rung.console]
            others = [each for each in consoles.values() if each is not console] if rung.console == ANY else []
            _reach(rung, machine, console, others, deadline, way)
        except FAULTS as error:
            raise Fell(rung, verdict_of(error, machine, rung)) from error
        finally:
            machine.bound = None
        way.reached.append(rung)
        if on_rung:
            on_rung(rung, index, machine.moment())


def _reach(
    rung: Rung, machine: Machine, console: Console, others: Sequence[Console], deadline: Deadline, way: Climb
) -> None:
    try:
        for step in rung.steps:
            if step.wait is not None:
                console.expect_exact(step.wait, deadline)
            elif step.type is not None:
                console.type(step.type)
            elif step.send is not None:
                console.send(step.send)
            elif step.press is not None:
                console.press(step.press)
    except (LimitSpent, TypingFailed) as error:
        # What the guest says wins over a prompt or an echo that was lost.
        if not rung.matches(console.text):
            raise
        way.notes.append(f"rung {rung.id!r}: its evidence is there, though {error}")
    if rung.evidence is not None and others:
        console.expect_anywhere(others, rung.evidence, deadline)
    elif rung.text is not None:
        console.expect_exact(rung.text, deadline)
    elif rung.pattern is not None:
        console.expect(rung.pattern, deadline)
    if rung.ending:
        console.expect(pexpect.EOF, deadline)
        if machine.ending is None or machine.ending.kind != POWER_OFF:
            raise pexpect.EOF(f"the machine ended: {machine.ending}")


def verdict_of(error: BaseException, machine: Machine | None, rung: Rung | None = None) -> Verdict:
    """Outcome and blame of what went wrong with a machine that had started, on the way to a rung or in a test."""
    match error:
        case GuestDied():
            return Verdict(Outcome.DIED, Blame.GUEST, error.title, error.line)
        case CommandFailed(result=result):
            title = f"{result.command!r} ended with status {result.status}"
            return Verdict(Outcome.FAILED, Blame.GUEST, title, str(error))
        case FloodError():
            where = f" before {rung.id!r}" if rung else ""
            return Verdict(Outcome.STUCK, Blame.GUEST, f"floods its consoles{where}", str(error))
        case MachineError():
            return fault(Outcome.ERROR, error.blame, str(error))
    if machine is not None and machine.ending is not None:
        return verdict_of_ending(machine.ending)
    where = f" before {rung.id!r}" if rung else ""
    match error:
        case LimitSpent() if machine is not None:
            return _stuck(error, machine, where or f" while {error.awaited} was awaited")
        case pexpect.TIMEOUT() if machine is not None:  # a test's own
            return fault(Outcome.STUCK, Blame.GUEST, str(error.args[0]))
        case TypingFailed():
            outcome, blame = (Outcome.ERROR, Blame.HARNESS) if error.heard else (Outcome.STUCK, Blame.GUEST)
            return Verdict(outcome, blame, f"what is typed does not come back{where}", str(error))
        case ShellError():
            return Verdict(Outcome.ERROR, Blame.HARNESS, f"{error.title}{where}", str(error))
    return fault(Outcome.ERROR, Blame.HARNESS, f"{type(error).__name__}: {error}")


def _stuck(error: LimitSpent, machine: Machine, where: str) -> Verdict:
    if not machine.size:
        return Verdict(Outcome.STUCK, Blame.VMM, "nothing was ever said on any console", str(error))
    if error.spent == HALTED:
        return Verdict(Outcome.STUCK, Blame.GUEST, f"halted for ever{where}", str(error))
    # In virtual time host seconds are spent only by a VMM that does not come back.
    if machine.vmm.definition.capabilities.time is Time.VIRTUAL and error.spent.endswith(HOST_SECONDS):
        return Verdict(Outcome.STUCK, Blame.VMM, f"the VMM does not come back{where}", str(error))
    return Verdict(Outcome.STUCK, Blame.GUEST, f"stuck{where}", str(error))


def verdict_of_ending(ending: Ending) -> Verdict:
    """Of a machine that ended before its time."""
    match ending.kind:
        case "triple-fault":
            return Verdict(Outcome.DIED, Blame.GUEST, "triple fault", ending.text)
        case "panic":
            return Verdict(Outcome.DIED, Blame.GUEST, "guest panic", ending.text)
        case "idle":
            return Verdict(Outcome.STUCK, Blame.GUEST, "halted for ever", ending.text)
        case "power-off" | "reset" | "budget":
            return Verdict(Outcome.ENDED, Blame.GUEST, f"unexpected {ending.kind}", ending.text)
        case kind if kind == DEBUG_EXIT:
            return Verdict(Outcome.ENDED, Blame.GUEST, f"unexpected {ending.text}")
        case kind if kind == KILLED:
            return Verdict(Outcome.ENDED, Blame.HARNESS, "the harness ended it", ending.text)
        case "crash" if -ending.status in (signal.SIGKILL, signal.SIGTERM):
            killer = signal.Signals(-ending.status).name
            return Verdict(Outcome.ENDED, Blame.HOST, f"the VMM was killed: {killer}", ending.text)
        case "crash" if -ending.status in set(signal.Signals):
            killer = signal.Signals(-ending.status).name
            return Verdict(Outcome.ENDED, Blame.VMM, f"the VMM crashed: {killer}", ending.text)
        case kind:
            how = f"{kind}, status {ending.status}"
            return Verdict(Outcome.ENDED, Blame.VMM, f"the VMM ended: {how}", ending.text)
