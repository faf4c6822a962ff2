"""`bringup boot GUEST`: boots a guest, climbs its ladder by typing at its shell, and shows all it says.

The machine is a process of its own (`bringup run --turns`), driven in turns of virtual time: the same guest gives the
same instruction count in every run.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from bringup.guests.definition import Guest, Step
from bringup.harness.arguments import guest_argument
from bringup.harness.console.turns import Reason, Turn, TurnsClient, TurnsError
from bringup.harness.errors import HarnessError
from bringup.harness.media.resolve import Media
from bringup.harness.transcript import PlainText

RUN = (sys.executable, "-m", "bringup.harness", "run")
TURN_NS = 100_000_000
"""Guest nanoseconds that one turn may take."""
WATCHDOG = 600.0
"""Host seconds that one turn may take: far beyond what the slowest host needs."""
START = 60.0
"""Host seconds that a machine may take to open its socket."""
PARTING = 60.0
"""Host seconds that a machine may take to end once it has powered off or its driver has hung up."""
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Climb:
    """How far a guest got, and what ended it."""

    guest: Guest
    reached: tuple[str, ...]
    """Names of the rungs, in order."""
    instructions: int
    guest_ns: int
    reason: str
    """Why it did not get further, or how the machine ended."""

    @property
    def complete(self) -> bool:
        """Was every rung reached?"""
        return len(self.reached) == len(self.guest.definition.ladder)


class _Console:
    """A guest's first serial line: what is to come of it, and what is typed."""

    def __init__(self, guest: Guest, client: TurnsClient, show: Callable[[str], None]) -> None:
        self.client, self.show, self.budget = client, show, guest.definition.limit.guest or WATCHDOG
        self.text = PlainText()
        self.pending, self.typed = "", b""
        self.reason = ""
        """Why the guest will say no more; empty while it may."""

    def wait(self, text: str) -> bool:
        """Lets the guest run until it has said this after what was waited for last; False when it never will."""
        while text not in self.pending:
            if self.reason:
                return False
            self.pending = self.pending[max(len(self.pending) - len(text) + 1, 0) :]
            self.run()
        self.pending = self.pending.partition(text)[2]
        return True

    def take(self, step: Step) -> bool:
        """One step; False when what it waits for never comes."""
        if step.wait is not None:
            return self.wait(step.wait)
        self.type(step.type or "")
        return True

    def type(self, line: str) -> None:
        """Types a line, in the guest's next turn."""
        self.typed = line.encode() + b"\n"

    def run(self) -> None:
        """One turn; afterwards there is a reason when there is no use in another."""
        typed, self.typed = self.typed, b""
        waiting = self.client.unsent + len(typed)
        try:
            turn = self.client.turn(typed, guest_ns=TURN_NS, timeout=WATCHDOG)
        except TurnsError as error:
            self.reason = str(error)
            return
        text = self.text.feed(turn.output)
        self.pending += text
        self.show(text)
        self.reason = self._ending(turn, waiting)

    def _ending(self, turn: Turn, waiting: int) -> str:
        if turn.status is not None:
            return turn.text
        if turn.reason is Reason.HALTED and not turn.output and self.client.unsent in (0, waiting):
            return "halted for ever"
        if turn.time >= self.budget * SECOND:
            return f"{self.budget:g} guest seconds are spent"
        return ""


def climb(guest: Guest, client: TurnsClient, show: Callable[[str], None]) -> Climb:
    """Drives a machine up its guest's ladder and on to its end; `show` is given the console's text as it comes."""
    console = _Console(guest, client, show)
    reached: list[str] = []
    for rung in guest.definition.ladder:
        if not all(console.take(step) for step in rung.steps):
            break
        if rung.text is not None and not console.wait(rung.text):
            break
        reached.append(rung.id)
    while not console.reason:
        console.run()
    return Climb(guest, tuple(reached), client.count, client.time, console.reason)


class _Transcript:
    """Files that are shown a guest's console as it speaks."""

    def __init__(self, *files: TextIO) -> None:
        self.files, self.last = list(files), "\n"

    def show(self, text: str) -> None:
        """Writes and flushes."""
        for file in self.files:
            file.write(text)
            file.flush()
        self.last = text[-1:] or self.last

    def end_line(self) -> None:
        """Ends a line that is begun."""
        if self.last != "\n":
            self.show("\n")


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `bringup boot`."""
    parser = subparsers.add_parser("boot", help="boot a guest to its shell, show it, power it off", allow_abbrev=False)
    parser.add_argument("guest", type=guest_argument, metavar="GUEST")
    parser.add_argument("--kernel", type=Path, metavar="FILE", help="in place of the guest's own")
    parser.add_argument("--initrd", type=Path, metavar="FILE", help="in place of the one made here")
    parser.add_argument("--memory", metavar="SIZE", help="in place of the guest's own")
    for option in ("accel", "cpu", "seed"):
        parser.add_argument(f"--{option}", metavar=option.upper(), help=f"--{option} of bringup run")
    parser.add_argument("--transcript", type=Path, metavar="FILE", help="write what the guest says there, too")
    parser.add_argument("--attach", action="store_true", help="give me the shell, in host time")
    parser.set_defaults(handler=_boot)


def _boot(options: argparse.Namespace) -> int:
    machine = _machine(options)
    if options.attach:
        sys.stdout.flush()
        os.execv(machine[0], [*machine, "--serial=stdio", "--clock=host"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # unwind: nothing may be left behind
    started = time.monotonic()
    with ExitStack() as stack:
        transcript = _Transcript(sys.stdout)
        if options.transcript:
            try:
                transcript.files.append(stack.enter_context(options.transcript.open("w")))
            except OSError as error:
                raise HarnessError(f"--transcript {options.transcript}: {error.strerror}") from error
        climbed, status = _drive(options.guest, machine, transcript.show)
        transcript.end_line()
    if climbed is None:
        return status or 1  # the machine has said why on standard error
    print(_summary(climbed, time.monotonic() - started, status))
    return 0 if status == 0 and climbed.complete else status or 1


def _machine(options: argparse.Namespace) -> list[str]:
    """The command that runs the machine, but for its serial line."""
    guest: Guest = options.guest
    images = {"kernel": options.kernel, "initrd": options.initrd}
    if None in images.values():
        media = Media().resolve(guest)
        images = {role: given or media[role].path for role, given in images.items()}
    settings = {
        **images,
        "append": guest.definition.machine.append,
        "memory": options.memory or guest.definition.machine.memory,
        "accel": options.accel,
        "cpu": options.cpu,
        "seed": options.seed,
    }
    return [*RUN, *(f"--{name}={value}" for name, value in settings.items() if value is not None)]


def _drive(guest: Guest, machine: Sequence[str], show: Callable[[str], None]) -> tuple[Climb | None, int]:
    """Starts a machine, climbs, and waits for its end: how far it got (None: it did not start), and its exit status."""
    with tempfile.TemporaryDirectory(prefix="bringup-") as folder:
        path = Path(folder, "turns")
        command = [*machine, f"--turns=unix:{path}", "--no-reboot"]
        climbed = None
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            try:
                if _listens(process, path):
                    with TurnsClient(path, timeout=START) as client:
                        climbed = climb(guest, client, show)
                process.wait(PARTING)
            except TurnsError as error:
                climbed = Climb(guest, (), 0, 0, str(error))
            except subprocess.TimeoutExpired:
                process.kill()
            finally:
                process.terminate()
    status = process.returncode
    return climbed, status if status >= 0 else 128 - status


def _listens(process: "subprocess.Popen[bytes]", path: Path) -> bool:
    """Waits for the socket of a machine that is starting; False when it has ended instead."""
    deadline = time.monotonic() + START
    while not path.exists():
        if process.poll() is not None:
            return False
        if time.monotonic() >= deadline:
            raise TurnsError(f"no socket within {START:.0f} s")
        time.sleep(0.005)
    return True


def _summary(climbed: Climb, host_seconds: float, status: int) -> str:
    """The last line: all there is to compare about a boot."""
    of = len(climbed.guest.definition.ladder)
    rungs = f"{len(climbed.reached)} of {of} rungs ({' '.join(climbed.reached) or 'none'})"
    return (
        f"{climbed.guest.name}: {rungs}, {climbed.instructions} instructions, "
        f"{climbed.guest_ns / SECOND:.3f} guest s, {host_seconds:.1f} host s, "
        f"{climbed.reason}, exit status {status}"
    )
