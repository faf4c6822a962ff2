"""A machine that several attempts use, one after the other."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from bringup.harness.console.console import Console
from bringup.harness.machine.machine import Machine
from bringup.harness.records.schema import MachineStarted


@dataclass
class Left:
    """A machine that an attempt has left running."""

    machine: Machine
    consoles: dict[str, Console]
    place: ExitStack
    """Its place on this host."""
    started: MachineStarted


class SharedMachine:
    """The machine: each attempt takes what the one before left (`Attempt.arrive`).

    A machine whose guest died, or on which an attempt failed, is not left to anybody.
    """

    def __init__(self) -> None:
        self._left: Left | None = None

    def take(self) -> Left | None:
        """The machine, whose end is now the taker's to see to."""
        left, self._left = self._left, None
        return left

    def leave(self, left: Left) -> None:
        """For the next one."""
        self._left = left

    def close(self) -> None:
        """Ends the machine, if there is one."""
        if left := self.take():
            with left.place:
                left.machine.close()
