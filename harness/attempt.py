"""One attempt at a guest: media, machine, consoles, ladder; its records while it goes, its bundle when it went wrong.

    with Attempt(session, guest, vmm) as attempt:
        attempt.boot()
        attempt.climb(until="shell")
        attempt.consoles["serial"].run("uname -a")

Whatever happens inside, the end is recorded with outcome and blame, the bundle is written before the machine is torn
down, and no process is left. The exception goes on to the caller.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import msgspec

from bringup.guests.definition import ANY, Guest, Rung
from bringup.harness import bundle
from bringup.harness.climb import FAULTS, POWER_OFF, Climb, Fell, OnRung, climb, rungs_until, verdict_of
from bringup.harness.console.console import Console
from bringup.harness.expected import expected_failure, labels
from bringup.harness.hold import hold
from bringup.harness.limits import SECOND, Moment, host_now
from bringup.harness.machine.ending import KILLED, RefusedError
from bringup.harness.machine.machine import Machine, start
from bringup.harness.media import bootable
from bringup.harness.media.resolve import Media, MediaError, MediaMissing
from bringup.harness.outcome import Blame, Outcome, Verdict, VmmFailure, fault
from bringup.harness.prepare import Overrides, Unsupported, check_supported, firmware_of, machine_settings
from bringup.harness.records.schema import End, MachineStarted, MediumUsed, Note, Position, RungReached, Start, VmmUsed
from bringup.harness.session import Session
from bringup.harness.shared_machine import Left, SharedMachine
from bringup.harness.vmms.loader import LoadedVmm

PASSED = Verdict(Outcome.PASSED, Blame.NOBODY, "")
UNFINISHED = Verdict(Outcome.UNFINISHED, Blame.NOBODY, "not ended")
INTERRUPTED = Verdict(Outcome.UNFINISHED, Blame.NOBODY, "interrupted")
Kind = Literal["boot", "test", "behaviour"]


class Attempt:
    """See the module. Not reentrant; one machine at a time, but `boot` may be called again once it has ended."""

    def __init__(
        self,
        session: Session,
        guest: Guest,
        vmm: LoadedVmm,
        media: Media,
        kind: Kind = "boot",
        test: str = "ladder",
        overrides: Overrides | None = None,
        again: Sequence[str] = (),
    ) -> None:
        """`again`: the command that makes this attempt once more, if that is not `bringup boot`."""
        self.session, self.guest, self.vmm, self.media = session, guest, vmm, media
        self._again = tuple(again)
        self.kind, self.test, self.overrides = kind, test, overrides or Overrides()
        session.attempts += 1
        self.id = f"{session.worker}-{session.attempts:04}-{guest.name}-{vmm.name}"
        self.machine: Machine | None = None
        self.consoles: dict[str, Console] = {}
        self.way = Climb(guest.ladder)
        self.verdict = UNFINISHED
        """Final once the attempt has ended."""
        self.bundle: Path | None = None
        """The bundle's folder, if there is one."""
        self._exits: Mapping[str, int] = {}
        self.complete = True
        """False: its user was interrupted, though no exception says so here."""
        self.properties: dict[str, object] = {}
        """What JUnit and other readers are told of this attempt: the end record's main fields."""
        self._stack = ExitStack()
        self._closed: list[Machine] = []
        self._failed: Verdict | None = None
        self._shared: SharedMachine | None = None
        self._left = False
        """The machine is no longer ours."""
        self._started: MachineStarted | None = None
        self._ended: Moment | None = None
        self._used_before = 0.0
        """CPU seconds that the machine had taken when it came to this attempt."""

    # ---- begin and end ----

    @property
    def history(self) -> str:
        """The key by which this is found again in other runs."""
        return "/".join((self.kind, self.guest.name, self.test, self.vmm.name))

    @property
    def repeat(self) -> str:
        """The command that does it again, from any folder."""
        if self._again:
            return shlex.join(self._again)
        words = ["bringup", "boot", self.guest.asked, f"--vmm={self.vmm.asked}", *self.overrides.options()]
        if self.session.seed is not None:
            words.append(f"--seed={self.session.seed}")
        if self.way.rungs and len(self.way.rungs) < len(self.guest.ladder):
            words.append(f"--until={self.way.rungs[-1].id}")
        return shlex.join(words)

    def __enter__(self) -> Self:
        self._begin, self._cpu = time.monotonic(), time.process_time()
        self.session.records.write(
            Start(
                run=self.session.run,
                at=time.time(),
                attempt=self.id,
                history=self.history,
                kind=self.kind,
                guest=self.guest.name,
                test=self.test,
                vmm=self.vmm.name,
                worker=self.session.worker,
                repeat=self.repeat,
            )
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.verdict = self._verdict(error)
            if self.machine is not None and self.machine.notes and self.verdict.outcome is not Outcome.PASSED:
                noted = "\n".join(f"noted before: {note}" for note in self.machine.notes)
                self.verdict = replace(self.verdict, detail=f"{self.verdict.detail}\n{noted}".strip())
            self._ended = self.moment()
            position = self._position(self._ended) if self.machine else None
            if self.verdict.outcome not in (Outcome.PASSED, Outcome.SKIPPED) and not self.verdict.is_wrong_usage:
                self._write_bundle()
            elif self.machine is not None and self.machine.screens.size:
                self._write_screens(self.machine)
            self._hold()
            self._leave()
        finally:
            self._close_machine()
            self._stack.close()
        self._write_end(position)

    def _verdict(self, error: BaseException | None) -> Verdict:
        match error:
            case None:
                return self._failed or (PASSED if self.complete else INTERRUPTED)
            case Fell():
                return error.verdict
            case MediaMissing():
                return Verdict(Outcome.SKIPPED, Blame.MEDIA, str(error))
            case Unsupported():
                return Verdict(Outcome.SKIPPED, Blame.VMM, str(error))
            case MediaError():
                return fault(Outcome.ERROR, Blame.MEDIA, str(error))
            case RefusedError():
                return fault(Outcome.ERROR, self._who_asked(), str(error))
            case KeyboardInterrupt() | SystemExit():
                return INTERRUPTED
            case VmmFailure():
                return fault(Outcome.FAILED, Blame.VMM, str(error))
            case AssertionError():  # a test's check on a guest that works
                return fault(Outcome.FAILED, Blame.GUEST, str(error) or self.test)
        if isinstance(error, FAULTS):
            return verdict_of(error, self.machine)
        return fault(Outcome.ERROR, Blame.HARNESS, f"{type(error).__name__}: {error}")

    def _who_asked(self) -> Blame:
        """For a machine that the VMM refuses: nobody of those who can be blamed, when the user's options made it."""
        if self.overrides.changes_machine:
            return Blame.NOBODY
        return Blame.MEDIA if self.overrides.media else Blame.VMM

    # ---- the machine ----

    def boot(self) -> Machine:
        """Resolves media, waits for a place on this host, starts the machine and opens the guest's consoles.

        Raises MediaMissing and Unsupported (reasons to skip), MediaError, MachineError.
        """
        self._close_machine()
        media = self.media.resolve(self.guest, self.overrides.media)
        firmware = firmware_of(self.guest, self.vmm, self.media)
        settings = machine_settings(self.guest, media, self.overrides, self.session.seed, firmware)
        check_supported(self.guest, self.vmm, settings)
        if self.overrides.media:
            bootable.check(settings)
        self._stack.enter_context(self.session.reserve(settings.cpus, settings.memory))
        if not self._closed:
            self._begin = time.monotonic()  # what was waited for before is not the guest's
        self.machine = start(self.vmm, settings, scale=self.session.scale)
        deaths, chatter = self.guest.deaths, self.guest.about.chatter
        self.consoles = {
            name: self.machine.console(about.channel, about, deaths=deaths, chatter=chatter or "")
            for name, about in self.guest.definition.console.items()
        }
        media |= {f"{self.vmm.name} {name}": one for name, one in firmware.items()}
        used = {role: MediumUsed(sha256=one.sha256, origin=one.provenance.origin) for role, one in media.items()}
        self._started = MachineStarted(
            run=self.session.run,
            at=time.time(),
            attempt=self.id,
            vmm=VmmUsed(name=self.vmm.name, version=self.vmm.version(), definition=self.vmm.sha256),
            command=self.machine.command,
            pid=self.machine.pid,
            media=used,
            definition=self.guest.sha256,
            segment=hashlib.sha256("".join(sorted(one.sha256 for one in media.values())).encode()).hexdigest(),
            seed=self.session.seed,
        )
        self.session.records.write(self._started)
        return self.machine

    def arrive(self, until: str, shared: SharedMachine) -> Machine:
        """The guest at the rung `until`: on the machine that an attempt before this one left there, or on a new one.
        It is left to the next attempt if this one passes and the guest lives. Raises what `boot` and `climb` do."""
        self._shared = shared
        left = shared.take()
        if left is None:
            machine = self.boot()
            self.climb(until)
            return machine
        self.machine, self.consoles = left.machine, left.consoles
        self._stack.push(left.place)
        self._begin, self._used_before = time.monotonic(), left.machine.cpu_seconds()
        self.way = Climb(rungs_until(self.guest, until))
        self.way.reached = list(self.way.rungs)
        self._started = msgspec.structs.replace(left.started, at=time.time(), attempt=self.id)
        self.session.records.write(self._started)
        return self.machine

    def climb(self, until: str | None = None, on_rung: OnRung | None = None) -> Climb:
        """Climbs the guest's ladder, to the rung `until` or to its top, and records each rung as it is reached.

        Raises Fell when one is missed.
        """
        machine = self.running
        self.way = Climb(rungs_until(self.guest, until))

        def reached(rung: Rung, index: int, moment: Moment) -> None:
            self._record(rung, index, moment)
            self._exits = machine.exits() or self._exits
            if on_rung:
                on_rung(rung, index, moment)

        climb(self.guest, machine, self.consoles, self.way, reached)
        return self.way

    def watch(self) -> None:
        """Takes rungs as they come, though nobody climbs: a person does what they ask for. For a machine that ran."""
        first = next(iter(self.consoles))
        while not self.way.complete:
            index = len(self.way.reached)
            rung = self.way.rungs[index]
            ended = self.running.ending is not None and self.running.ending.kind == POWER_OFF
            where = self.consoles.values() if rung.console == ANY else (self.consoles[rung.console or first],)
            found = next((console for console in where if rung.matches(console.text)), None)
            if found is None or (rung.ending and not ended):
                return
            found.expect(rung.evidence, timeout=0)  # as in a climb, it is no evidence of what comes after it
            self.way.reached.append(rung)
            self._record(rung, index, self.moment())

    def _record(self, rung: Rung, index: int, moment: Moment) -> None:
        self.session.records.write(
            RungReached(
                run=self.session.run,
                at=time.time(),
                attempt=self.id,
                rung=rung.id,
                index=index,
                of=len(self.way.rungs),
                position=self._position(moment),
            )
        )

    @property
    def shell(self) -> Console:
        """The console on which the guest has its shell. LookupError: its file describes none."""
        for name, about in self.guest.definition.console.items():
            if about.shell is not None:
                return self.consoles[name]
        raise LookupError(f"{self.guest.name} has no console with a shell")

    def note(self, text: str) -> None:
        """Records something worth keeping that ends nothing."""
        self.session.records.write(Note(run=self.session.run, at=time.time(), attempt=self.id, text=text))

    def failed(self, error: BaseException) -> None:
        """This error, which does not pass through here, is what the attempt ends with."""
        self._failed = self.verdict = self._verdict(error)

    def skipped(self, reason: str) -> None:
        """Its user found that there is nothing to do here."""
        self._failed = Verdict(Outcome.SKIPPED, Blame.NOBODY, reason)

    @property
    def is_passing(self) -> bool:
        """Is nothing known that it would end with but a pass?"""
        return self._failed is None

    @property
    def began(self) -> float:
        """When its machine began to start, in host seconds of a `Moment`: what was waited for before is not its."""
        return self._begin

    def moment(self) -> Moment:
        """Where the run stands, or stood when the attempt ended, though its machine may have been held since; before
        there is a machine, on the host's clock alone."""
        if self._ended is not None:
            return self._ended
        return self.machine.moment() if self.machine else host_now()

    def position(self) -> Position:
        """Where the run stands."""
        return self._position(self.moment())

    @property
    def running(self) -> Machine:
        """The machine; RuntimeError before `boot`."""
        if self.machine is None:
            raise RuntimeError("boot() comes first")
        return self.machine

    def _position(self, moment: Moment) -> Position:
        host = round(moment.host - self._begin, 3)
        return Position(instructions=moment.instructions, guest_ns=moment.guest_ns, host=host)

    # ---- what is left ----

    def _write_bundle(self) -> None:
        folder = self.session.folder / self.id
        text = "\n".join((describe(self), f"to repeat: {self.repeat}", ""))
        try:
            problems = bundle.write(folder, text, self.guest, self.machine, self.consoles, self.repeat)
        except OSError as error:
            self.note(f"no bundle: {error}")
            return
        self.bundle = folder
        for problem in problems:
            self.note(f"bundle: {problem}")

    def _write_screens(self, machine: Machine) -> None:
        """Of an attempt that went well, what the screen showed is kept all the same."""
        try:
            problems = bundle.write_screens(self.session.folder / self.id, machine)
        except OSError as error:
            problems = [str(error)]
        for problem in problems:
            self.note(f"screens: {problem}")

    def _leave(self) -> None:
        """Leaves the machine to the next attempt, if there may be one and it is fit for that."""
        machine, started = self.machine, self._started
        if self._shared is None or machine is None or started is None or self.verdict.outcome is not Outcome.PASSED:
            return
        if machine.ending is None and machine.fatality is None:
            self._shared.leave(Left(machine, self.consoles, self._stack.pop_all(), started))
            self._left = True

    def _hold(self) -> None:
        """Lets a person look at a machine on which something went wrong, if that was asked for."""
        announce = self.session.keep_on_failure
        if announce is None or self.verdict.outcome in (Outcome.PASSED, Outcome.SKIPPED, Outcome.UNFINISHED):
            return
        if self.machine is not None and self.machine.ending is None and self.consoles:
            self.note("the machine was kept")
            hold(self.machine, next(iter(self.consoles.values())), announce)

    def _close_machine(self) -> None:
        """Ends the machine, if there is one, and gives up its place on this host."""
        if self.machine is None or self.machine in self._closed or self._left:
            return
        self.machine.close()
        self._closed.append(self.machine)
        self._stack.close()

    def _cpu_seconds(self) -> float | None:
        """Of the VMM's processes, for this attempt."""
        if self.machine is None:
            return None
        used = {id(one): one for one in (*self._closed, self.machine)}
        return round(sum(one.cpu_seconds() for one in used.values()) - self._used_before, 3)

    def _write_end(self, position: Position | None) -> None:
        expected = expected_failure(self.guest, self.vmm, self.way)
        for note in (*self.way.notes, *(self.machine.notes if self.machine else ())):
            self.note(note)
        ending = self.machine.ending if self.machine else None
        end = End(
            run=self.session.run,
            at=time.time(),
            attempt=self.id,
            outcome=self.verdict.outcome,
            blame=self.verdict.blame,
            title=self.verdict.title,
            detail=self.verdict.detail,
            expected=expected.reference if expected and self.verdict.outcome is not Outcome.PASSED else "",
            depth=len(self.way.reached),
            of=len(self.way.rungs),
            position=position,
            machine=ending.kind if ending else "",
            cpu_seconds=self._cpu_seconds(),
            harness_seconds=round(time.process_time() - self._cpu, 3),
            bundle=self.bundle.name if self.bundle else "",
            labels=labels(self.guest, self.vmm),
            exits=self._exits,
        )
        self.session.records.write(end)
        self.properties = {
            "guest": self.guest.name,
            "vmm": self.vmm.name,
            "outcome": end.outcome.value,
            "blame": end.blame.value,
            "title": end.title,
            "depth": f"{end.depth}/{end.of}",
            "instructions": position.instructions if position else None,
            "guest_seconds": position.guest_ns / SECOND if position and position.guest_ns is not None else None,
            "host_seconds": position.host if position else None,
            "cpu_seconds": end.cpu_seconds,
            "labels": ", ".join(end.labels) or None,
            "bundle": os.fspath(self.bundle) if self.bundle else None,
            "repeat": self.repeat,
        }


def describe(attempt: Attempt) -> str:
    """How an attempt ended: a line, and below it what is known of this one time beyond the verdict's title."""
    verdict, way = attempt.verdict, attempt.way
    parts = [f"{len(way.reached)} of {len(way.rungs)} rungs ({' '.join(rung.id for rung in way.reached) or 'none'})"]
    if attempt.machine is not None:
        moment = attempt.moment()
        if moment.instructions is not None:
            parts.append(f"{moment.instructions:,} instructions")
        if moment.guest_ns is not None:
            parts.append(f"{moment.guest_ns / SECOND:.3f} guest s")
        if attempt.machine.ending is not None and attempt.machine.ending.kind != KILLED:
            parts.append(f"machine: {attempt.machine.ending.kind}")
    if verdict.outcome is not Outcome.PASSED:
        whose = "" if verdict.blame is Blame.NOBODY else f" ({verdict.blame.value})"
        parts.append(f"{verdict.outcome.value}{whose}: {verdict.title}")
    line = f"{attempt.guest.name} on {attempt.vmm.name}: {', '.join(parts)}"
    return "\n  ".join((line, *verdict.detail.splitlines()))
