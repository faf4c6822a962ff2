"""Commands in a guest's shell: their output and their exit status."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bringup.guests.definition import Limit, Shell

from .keyboard import ECHO, TypingFailed
from .loose import Chatter, Loose

if TYPE_CHECKING:
    from .console import Console

COMMAND = Limit(guest=60.0)
"""How long a command may take that has no limit of its own."""
HANDSHAKE = Limit(guest=10.0, host=20.0)
TRIES = 5
STATUS = r"(\d{1,10}):"


@dataclass(frozen=True)
class CommandResult:
    """What a command said and how it ended."""

    command: str
    output: str
    """Without its echo and the kernel's chatter; lines end in a newline."""
    status: int


class CommandFailed(Exception):
    """A command whose exit status is not 0."""

    def __init__(self, result: CommandResult) -> None:
        last = result.output.strip().rpartition("\n")[2][-200:]
        super().__init__(f"{result.command!r} ended with status {result.status}; its last line: {last!r}")
        self.result = result


class ShellError(Exception):
    """There is no shell here, or it does not answer."""

    def __init__(self, title: str, why: str = "") -> None:
        super().__init__(f"{title}: {why}" if why else title)
        self.title = title


class Prompter:
    """One console's shell."""

    def __init__(self, console: Console, about: Shell | None, chatter: Chatter) -> None:
        self._console, self._about = console, about
        self._chatter = chatter
        self._number = 0
        self._met = False

    def run(self, command: str, limit: Limit | None = None, check: bool = True) -> CommandResult:
        """Types a command at the prompt and waits until it has ended and the prompt is back."""
        about = self._shell()
        if not self._met:
            self.shake_hands()
        if "\n" in command or "\r" in command:
            raise ValueError(f"{command!r}: a command is one line")
        self._number += 1
        # The echo has `$?` where the output has digits: it cannot be taken for the marker.
        label = f"bringup:{self._number}:"
        self._console.keyboard.type(f"{command}; echo {label}{about.status}:", enter=False)
        self._enter()
        self._console.expect_list([Loose(label, self._chatter, STATUS)], limit or COMMAND)
        output, status = self._console.before, int(self._console.match[1])
        self._await_prompt(limit or COMMAND)
        result = CommandResult(command, self._chatter.without(output).removeprefix("\n"), status)
        if check and status:
            raise CommandFailed(result)
        return result

    def shake_hands(self) -> None:
        """Makes sure that somebody is there to whom what is typed comes whole: a shell that has just started may
        still throw away what was typed before. ShellError when it never does."""
        self._shell()
        console, why = self._console, ""
        for attempt in range(TRIES):
            token = f"bringup{attempt}ready"
            try:
                console.keyboard.type(f"echo {token}", enter=False)
                self._enter()
                console.expect_list([Loose(token, self._chatter)], HANDSHAKE)
                self._await_prompt(HANDSHAKE)
            except (TypingFailed, _spent()) as error:
                why = str(error)
                console.send(console.about.typing.line_end)
                continue
            self._met = True
            return
        raise ShellError(f"{console.channel}: the shell does not answer", why)

    def _enter(self) -> None:
        """The line end, once more when it does not come back: a prompt too many does no harm."""
        console = self._console
        for _ in range(TRIES):
            console.send(console.about.typing.line_end)
            if console.run_until(lambda: "\n" in self._chatter.without(console.buffer), ECHO):
                return

    def _await_prompt(self, limit: Limit) -> None:
        self._console.expect_list([Loose(self._shell().prompt, self._chatter)], limit)

    def _shell(self) -> Shell:
        if self._about is None:
            raise ShellError(f"{self._console.channel}: the guest's file describes no shell on this console")
        return self._about


def _spent() -> type[Exception]:
    from .console import LimitSpent

    return LimitSpent
