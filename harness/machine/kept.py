"""The driver's side of a keeper: a VMM process that cannot outlive us."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bringup.harness.outcome import Blame

from .ending import MachineError, last_line
from .processes import cpu_seconds

KEEPER = Path(__file__).with_name("keeper.py")
START_SECONDS = 60.0
"""Host seconds that a keeper may take to start a VMM: the host may be busy."""
GRACE_SECONDS = 30.0
"""Beyond a VMM's own patience, for its keeper to end it."""
ANSWER_SECONDS = 10.0
PACKET = 1 << 18


class Exit(NamedTuple):
    """What became of a VMM's process."""

    status: int
    """Minus the signal's number when one ended it."""
    cpu: float
    """Seconds of user and system time, its children's among them."""
    peak: int
    """Bytes that were resident at most."""
    output: str
    """What it said on standard output and standard error, its middle left out when that is much."""


class Kept:
    """A VMM under its keeper. `close` ends both; if we are killed, the keeper ends the VMM."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        descriptors: Sequence[int] = (),
        standard: int | None = None,
        folder: Path | None = None,
    ) -> None:
        """Starts it. `descriptors` are inherited, `standard` becomes its standard input and output; both stay open
        here. `folder` is removed when it has ended. MachineError: it cannot be executed."""
        self.command, self.folder = tuple(command), folder
        self.exit: Exit | None = None
        self.pid = 0
        self._answers: list[Any] = []
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        inherited = {*descriptors, *(() if standard is None else (standard,))}
        with theirs:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", str(KEEPER), str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *inherited],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            self._ask(
                {
                    "command": self.command,
                    "environment": dict(environment),
                    "descriptors": list(descriptors),
                    "standard": standard,
                    "folder": None if folder is None else str(folder),
                }
            )
            answer = self._answer("started", "failed", seconds=START_SECONDS)
            if answer is None:
                raise MachineError(f"{self.command[0]}: its keeper does not start", Blame.HARNESS)
            if "failed" in answer:
                raise MachineError(f"the VMM cannot be started: {answer['failed']}", Blame.HOST)
            self.pid = answer["started"]
        except BaseException:
            self._destroy()
            raise

    def fileno(self) -> int:
        """Readable when there is news of the VMM: call `look`."""
        return self.socket.fileno()

    def look(self) -> Exit | None:
        """Has it ended? Does not wait."""
        while self.exit is None and self._receive(0.0):
            pass
        return self.exit

    def wait(self, seconds: float) -> Exit | None:
        """Waits for its end at most so long."""
        deadline = time.monotonic() + seconds
        while self.exit is None and (left := deadline - time.monotonic()) > 0:
            self._receive(left)
        return self.exit

    def output(self) -> str:
        """What it has said up to now."""
        if self.exit is None:
            self._ask({"ask": "output"})
            answer = self._answer("output", seconds=ANSWER_SECONDS)
            if answer is not None:
                return str(answer["output"])
        return "" if self.exit is None else self.exit.output

    def said(self) -> str:
        """The last line that it has said."""
        return last_line(self.output())

    def cpu_seconds(self) -> float:
        """Of the VMM and its children; of one that runs not exact."""
        return cpu_seconds(self.pid) if self.exit is None else self.exit.cpu

    def close(self, patience: float) -> Exit:
        """Ends it: SIGTERM, after so many seconds SIGKILL, to all that it started. A second call does nothing."""
        if self.exit is None:
            self._ask({"ask": "end", "patience": patience})
            self.wait(patience + GRACE_SECONDS)
        self._destroy()
        if self.exit is None:  # its keeper was killed
            self.exit = Exit(-signal.SIGKILL, 0.0, 0, "")
        return self.exit

    def entrust(self, folder: Path) -> None:
        """A folder that is removed when the VMM has ended, though we were killed."""
        self._ask({"ask": "remove", "folder": str(folder)})

    def _ask(self, request: Mapping[str, object]) -> None:
        with suppress(OSError):  # a keeper that is gone is found out by the answer that does not come
            self.socket.send(json.dumps(request).encode(), socket.MSG_NOSIGNAL)

    def _answer(self, *keys: str, seconds: float) -> Any:
        """The next message that has one of these keys; None when the VMM or its keeper has ended instead."""
        deadline = time.monotonic() + seconds
        while self.exit is None and (left := deadline - time.monotonic()) > 0:
            self._receive(left)
            for message in self._answers:
                if any(key in message for key in keys):
                    self._answers.clear()
                    return message
        return None

    def _receive(self, seconds: float) -> bool:
        """Waits at most so long for one message; False when none came."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        try:
            packet = self.socket.recv(PACKET)
        except OSError:
            packet = b""
        if not packet:  # the keeper was killed
            self._destroy()
            self.exit = Exit(-signal.SIGKILL, 0.0, 0, "the keeper of its process was killed")
            return False
        message = json.loads(packet)
        if "ended" in message:
            status = message["ended"]
            self.exit = Exit(
                -signal.SIGKILL if status is None else status, message["cpu"], message["peak"], message["output"]
            )
        else:
            self._answers.append(message)
        return True

    def _destroy(self) -> None:
        """The keeper ends when its socket does; what is left when it was killed goes here."""
        self.socket.close()
        try:
            self._keeper.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        if self._keeper.returncode != 0 and self.pid:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)  # what the VMM started; itself is gone by PR_SET_PDEATHSIG
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)
