"""Texts that are recognised though a terminal wraps them and the kernel's log comes in between."""

from __future__ import annotations

import re

REACH = 1 << 13
"""Characters that a text may be spread over."""


class Chatter:
    """What may come between any two characters: whole lines of this pattern, such as the kernel's log."""

    def __init__(self, pattern: str | None) -> None:
        self._line = re.compile(rf"(?:{pattern.removeprefix('^').removesuffix('$')})\n") if pattern else None

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where its lines are, those in the middle of others among them."""
        return [match.span() for match in self._line.finditer(text)] if self._line is not None else []

    def without(self, text: str) -> str:
        """The text without them."""
        return self._line.sub("", text) if self._line is not None else text


class Loose:
    """A text, followed by a match of the expression `then`; chatter and more white space between are not minded."""

    def __init__(self, text: str, chatter: Chatter, then: str = "") -> None:
        self.text, self._chatter = text, chatter
        self._exact = re.compile(re.escape(text) + then)
        self._squeezed = re.compile(re.escape("".join(text.split())) + then)
        self.reach = REACH + len(text)

    def find(self, text: str, start: int) -> tuple[int, int, re.Match[str]] | None:
        """Where it is, and the match."""
        match = self._exact.search(text, start)
        if match is not None:
            return match.start(), match.end(), match
        text = text[start:]
        squeezed = "".join(self._chatter.without(text).split())
        if self._squeezed.search(squeezed) is None:
            return None
        places = self._places(text)
        for match in self._squeezed.finditer(squeezed):
            begin, end = places[match.start()], places[match.end() - 1] + 1
            if self._has_spaces(self._chatter.without(text[begin:end])):
                return start + begin, start + end, match
        return None

    def _has_spaces(self, spread: str) -> bool:
        """White space is there wherever the text has some: what was typed lost none."""
        at = 0
        for char in self.text.strip():
            if not char.isspace():
                while spread[at] != char:
                    at += 1
            elif not spread[at].isspace():
                return False
            at += 1
        return True

    def _places(self, text: str) -> list[int]:
        """Where each character of the squeezed text is in the text."""
        places, at = [], 0
        for begin, end in [*self._chatter.spans(text), (len(text), len(text))]:
            places += [place for place in range(at, begin) if not text[place].isspace()]
            at = end
        return places

    def __repr__(self) -> str:
        return repr(self.text)
