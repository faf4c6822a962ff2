"""How machines end, and what keeps them from beginning."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bringup.harness.errors import HarnessError
from bringup.harness.outcome import Blame

DEBUG_EXIT = "debug-exit"
KILLED = "killed"


@dataclass(frozen=True)
class Ending:
    """How a machine ended."""

    kind: str
    """power-off, reset, triple-fault, panic, debug-exit, budget, idle, internal-error, crash (a signal that nobody
    sent), killed (by us), exit (a status that says nothing)."""
    status: int
    """Of the VMM; minus the number of the signal that ended it."""
    text: str
    """In a few words; of a VMM that failed, its own last ones."""

    def __str__(self) -> str:
        return f"{self.text or self.kind}, status {self.status}"


class MachineError(HarnessError):
    """A machine that cannot be started or talked to; one line, and whose fault it is."""

    def __init__(self, text: str, blame: Blame) -> None:
        super().__init__(text)
        self.blame = blame


class FloodError(MachineError):
    """The guest says far more than it may before what is awaited of it."""


class RefusedError(MachineError):
    """The VMM ended by itself, with a status of failure, before its guest ran: it does not take the machine that it was
    asked for. Whoever knows what was asked for by whom knows whose fault that is."""


def refusal(vmm: str, program: str, status: int, said: str) -> RefusedError:
    """Of a VMM that ended at its start; `said` are its last words, before which programs like to set their name."""
    words = said.removeprefix(f"{Path(program).name}: ").removeprefix(f"{vmm}: ")
    return RefusedError(f"{vmm} refuses: {words or f'status {status}, and not a word'}", Blame.VMM)


def last_line(text: str) -> str:
    """The last line that says something, safe to show anywhere; "" when there is none."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "".join(char if char.isprintable() else "?" for char in lines[-1])[:300] if lines else ""


def from_status(status: int, said: str, meanings: Mapping[str, str], *, ours: bool, debug_exit: bool) -> Ending:
    """The ending that a VMM's exit status and its output tell; `ours`: we ended it."""
    text = last_line(said)
    if ours:
        return Ending(KILLED, status, text)
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        return Ending("crash", status, f"{name}{': ' if text else ''}{text}")
    if str(status) in meanings:
        return Ending(meanings[str(status)], status, text)
    if debug_exit and status & 1 and not (status == 1 and text):  # 1 is also what programs fail with
        return Ending(DEBUG_EXIT, status, f"debug exit {status >> 1:#x}")
    return Ending("exit", status, text)
