"""Typing at a guest as it wants to be typed at: its pace, its line end, and what comes back compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pexpect

from bringup.guests.definition import Limit, Typing

from .loose import Chatter, Loose

if TYPE_CHECKING:
    from .console import Console

TRIES = 3
ECHO = Limit(guest=10.0, host=10.0)
"""How long a line may take to come back."""
CLEARED = Limit(guest=0.5, host=0.5)
"""How long a guest may talk about a line that is cleared."""
PIECE = 256
"""Characters that are compared at a time."""


class TypingFailed(Exception):
    """What was typed did not come back whole, as often as it was tried; `heard` is what did, at last."""

    def __init__(self, text: str, heard: str) -> None:
        super().__init__(text)
        self.heard = heard


class Keyboard:
    """One console's."""

    def __init__(self, console: Console, about: Typing, chatter: Chatter) -> None:
        self._console, self._about = console, about
        self._chatter = chatter

    def type(self, line: str, limit: Limit | None = None, *, enter: bool = True) -> None:
        """A line, and its end unless told otherwise. TypingFailed: its echo was wrong."""
        if not self._about.echo or not line:
            self.press(line)
        else:
            self._type_checked(line, limit or ECHO)
        if enter:
            self._console.send(self._about.line_end)

    def press(self, text: str) -> None:
        """Each character, so far apart as the guest wants them."""
        if not self._about.pace:
            self._console.send(text)
            return
        for char in text:
            self._console.send(char)
            self._console.pass_time(Limit(guest=self._about.pace, host=self._about.pace))

    def _type_checked(self, line: str, limit: Limit) -> None:
        heard = ""
        for _ in range(TRIES):
            if self._echoed(line, limit):
                return
            heard = self._console.before.strip().rpartition("\n")[2]
            self._clear()
        raise TypingFailed(
            f"{self._console.channel}: {line!r} was typed {TRIES} times and did not come back; "
            f"{'this did: ' + repr(heard[-200:]) if heard else 'nothing did'}",
            heard,
        )

    def _echoed(self, line: str, limit: Limit) -> bool:
        """Types the line in pieces, each compared before the next."""
        for at in range(0, len(line), PIECE):
            piece = line[at : at + PIECE]
            self.press(piece)
            index = self._console.expect_list([Loose(piece, self._chatter), pexpect.TIMEOUT], limit)
            if index:
                return False
        return True

    def _clear(self) -> None:
        """Makes the guest forget the line, and forgets what it says about that."""
        self._console.send(self._about.clear)
        self._console.pass_time(CLEARED)
        self._console.buffer = ""
