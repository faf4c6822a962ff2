"""Runs behaviours on a VMM: one machine for many, a new one after each that dies in one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pexpect

from bringup.conformance.cpu import images
from bringup.conformance.cpu.catalogue import Behaviour, behaviours
from bringup.conformance.cpu.results import Reader, Result, Verdict
from bringup.guests.definition import Limit
from bringup.harness.limits import Scale
from bringup.harness.machine.machine import Machine, start
from bringup.harness.machine.settings import MIB, Settings
from bringup.harness.media.store import cache_root
from bringup.harness.vmms.loader import LoadedVmm

MEMORY = 64 * MIB
FEW = 12
"""So many behaviours are asked for by name; more by the first one, with all that follow."""
LINE = Limit(guest=20.0, host=60.0)
"""How long the program may be silent."""
START = Limit(guest=20.0, host=60.0)
RESETS = ("reset", "triple-fault")
"""A PC's answer to a triple fault is a reset: not every VMM tells them apart."""
CPU = "max"


@dataclass
class Runner:
    """Runs behaviours on one VMM and keeps what became of them."""

    vmm: LoadedVmm
    scale: Scale = field(default_factory=Scale)
    cpu: str = CPU
    accel: str | None = None
    keep: Callable[[Result, Machine], None] = lambda result, machine: None
    """Told of each result that is bad while its machine can still be asked."""
    results: dict[str, Result] = field(default_factory=dict)
    """By name, of those that have been run."""

    def run(self, wanted: Sequence[str]) -> Iterator[Result]:
        """Results of these behaviours as they come, in the program's order. MachineError: a machine cannot be
        started; ImageError: there is no program."""
        chosen = [behaviour for behaviour in behaviours() if behaviour.name in set(wanted)]
        for behaviour in chosen:
            if behaviour.ending and behaviour.name not in self.results:
                with self._start(f"run={behaviour.name}") as machine:
                    self._found(_final(behaviour, machine), machine)
        ordinary = [behaviour.name for behaviour in chosen if not behaviour.ending]
        while left := [name for name in ordinary if name not in self.results]:
            yield from self._machine(left)
        for behaviour in chosen:
            if behaviour.ending:
                yield self.results[behaviour.name]

    def result(self, name: str) -> Result:
        """Of one behaviour; what has not been run yet is, with all that follow it."""
        if name not in self.results:
            following = [behaviour.name for behaviour in behaviours() if not behaviour.ending]
            at = following.index(name) if name in following else 0
            for _ in self.run([name] if name not in following else following[at:]):
                pass
        return self.results[name]

    def _machine(self, left: Sequence[str]) -> Iterator[Result]:
        """One machine, from the first that is left on; one that comes to no result is what the machine died in."""
        asked = f"run={','.join(left)}" if len(left) <= FEW else f"from={left[0]}"
        with self._start(asked) as machine:
            reader = Reader()
            for result in _results(machine, reader):
                if result.name not in self.results:
                    self._found(result, machine)
                    if result.name in left:
                        yield result
            if not reader.finished:
                name = reader.begun or left[0]
                why = f"the machine ended: {machine.ending}" if machine.ending else "it did not come back"
                if not reader.header:
                    why = f"the program did not begin; {why}"
                self._found(Result(name, Verdict.DIED, why), machine)
                if name in left:
                    yield self.results[name]
            for name in left:  # a program that leaves some out and says END would be started for ever
                if reader.finished and name not in self.results:
                    self._found(Result(name, Verdict.DIED, "the program did not run it"), machine)
                    yield self.results[name]

    def _found(self, result: Result, machine: Machine) -> None:
        self.results[result.name] = result
        if result.verdict in (Verdict.FAILED, Verdict.DIED):
            self.keep(result, machine)

    def _start(self, asked: str) -> Machine:
        program = images.PROGRAMS[0]
        debug_exit = self.vmm.definition.capabilities.debug_exit
        settings = Settings(
            memory=MEMORY,
            kernel=images.image(program, cache_root() / "behaviours"),
            append=f"{asked} exit=debug" if debug_exit else asked,
            cpu=self.cpu if "cpu" in self.vmm.definition.options else None,
            accel=self.accel,
            debug_exit=debug_exit,
        )
        return start(self.vmm, settings, scale=self.scale)


def _final(behaviour: Behaviour, machine: Machine) -> Result:
    """Of a behaviour that ends its machine."""
    reader = Reader()
    for result in _results(machine, reader):
        if result.name == behaviour.name:
            return result
    if reader.begun != behaviour.name or reader.ending != behaviour.ending:
        return Result(behaviour.name, Verdict.DIED, f"it did not come to its end: {machine.ending}")
    if machine.ending is None:
        return Result(behaviour.name, Verdict.DIED, f"the machine did not end, expected {behaviour.ending}")
    kind = machine.ending.kind
    if kind == behaviour.ending or (kind in RESETS and behaviour.ending in RESETS):
        return Result(behaviour.name, Verdict.PASSED)
    return Result(behaviour.name, Verdict.FAILED, f"it ended by {machine.ending}, expected {behaviour.ending}")


def _results(machine: Machine, reader: Reader) -> Iterator[Result]:
    """Until the program or the machine has ended, or nothing has been said for long."""
    console = machine.console("serial0")
    limit = START
    while not reader.finished:
        try:
            console.expect_exact("\n", limit)
        except (pexpect.EOF, pexpect.TIMEOUT):
            return
        limit = LINE
        result = reader.feed(console.before)
        if result is not None:
            yield result
