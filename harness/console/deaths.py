"""What guests say when they are beyond help, looked for in every line, complete or growing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from bringup.guests.bounded import MAXIMUM
from bringup.guests.definition import Death

from .literals import required


class Fatality(NamedTuple):
    """A death pattern that was found."""

    death: Death
    title: str
    """Canonical: equal faults have equal titles."""
    line: str
    at: int
    """Characters of the console's text before it."""
    channel: str


class _Watched(NamedTuple):
    death: Death
    pattern: re.Pattern[str]
    literals: tuple[str, ...]

    def near(self, text: str) -> bool:
        """May it be in this text?"""
        return not self.literals or any(literal in text for literal in self.literals)


class GuestDied(Exception):
    """The guest said that it is beyond help."""

    def __init__(self, fatality: Fatality) -> None:
        super().__init__(f"{fatality.title} (on {fatality.channel})")
        self.death, self.title, self.line = fatality.death, fatality.title, fatality.line
        self.channel = fatality.channel


class DeathWatch:
    """Watches one console's text.

    A pattern that is found in a line that still grows counts when the line is complete (its groups may grow, too), or
    when nothing more comes of it: `settle`.
    """

    def __init__(self, channel: str, deaths: Sequence[Death], note: Callable[[str], None]) -> None:
        self.fatality: Fatality | None = None
        self.growing: Fatality | None = None
        self._channel, self._note = channel, note
        self._watched = [_Watched(death, re.compile(death.pattern), required(death.pattern)) for death in deaths]
        self._line, self._at = "", 0

    def feed(self, text: str) -> None:
        """More of the console's plain text."""
        block = self._line + text
        self.growing = None
        if self.fatality is None:
            near = [each for each in self._watched if each.near(block)]
            if near:
                self._scan(block, near)
        rest = block.rfind("\n") + 1
        if len(block) - rest > MAXIMUM:
            rest = len(block) - MAXIMUM
        self._at += rest
        self._line = block[rest:]

    def settle(self) -> None:
        """The line that grew is as long as it will get."""
        if self.fatality is None:
            self.fatality, self.growing = self.growing, None

    def _scan(self, block: str, near: Sequence[_Watched]) -> None:
        at = self._at
        *lines, last = block.split("\n")
        for line in lines:
            self.fatality = self._find(line, at, near)
            if self.fatality is not None:
                return
            at += len(line) + 1
        self.growing = self._find(last, at, near, note=False)

    def _find(self, line: str, at: int, near: Sequence[_Watched], note: bool = True) -> Fatality | None:
        for death, pattern, _ in near:
            match = pattern.search(line)
            if match is None:
                continue
            title = death.title_of(match.groups())
            if death.ends:
                return Fatality(death, title, line.strip(), at + match.start(), self._channel)
            if note:
                self._note(title)
        return None
