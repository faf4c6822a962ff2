"""A console's text since the last match, bounded, and how patterns are looked for in it without looking twice."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from pexpect import EOF, TIMEOUT

from .literals import SLACK, reach
from .loose import Loose

WINDOW = 1 << 14
"""Characters of the end of the text in which a pattern without bounds is looked for."""
BEFORE = 1 << 20
"""Characters that are kept of what nobody has waited for."""
MERGED = 4096
"""Pieces shorter than this grow instead of becoming many."""


class Found(NamedTuple):
    """Where a pattern was found: positions count all characters that the console ever said."""

    number: int
    """Of the pattern in its list."""
    start: int
    end: int
    match: re.Match[str] | str


class Searcher:
    """Patterns in order: texts, compiled expressions, EOF and TIMEOUT."""

    def __init__(self, patterns: Sequence[object], window: int | None) -> None:
        self.eof = self.timeout = -1
        self.reach = 0
        self.patterns = tuple(patterns)
        self._each: list[tuple[int, str | re.Pattern[str] | Loose]] = []
        for index, pattern in enumerate(patterns):
            if pattern is EOF:
                self.eof = index
            elif pattern is TIMEOUT:
                self.timeout = index
            elif isinstance(pattern, str):
                self._each.append((index, pattern))
                self.reach = max(self.reach, len(pattern))
            elif isinstance(pattern, Loose):
                self._each.append((index, pattern))
                self.reach = max(self.reach, pattern.reach)
            elif isinstance(pattern, re.Pattern):
                self._each.append((index, pattern))
                self.reach = max(self.reach, reach(pattern.pattern, pattern.flags, window or WINDOW))
        if window is not None:
            self.reach = min(self.reach, window)

    def find(self, text: str, start: int) -> Found | None:
        """The first match in the text; of several there, that of the first pattern."""
        best: Found | None = None
        for index, pattern in self._each:
            if isinstance(pattern, str):
                at = text.find(pattern, start)
                if at >= 0 and (best is None or at < best.start):
                    best = Found(index, at, at + len(pattern), pattern)
            elif isinstance(pattern, Loose):
                loose = pattern.find(text, start)
                if loose is not None and (best is None or loose[0] < best.start):
                    best = Found(index, *loose)
            else:
                match = pattern.search(text, start)
                if match is not None and (best is None or match.start() < best.start):
                    best = Found(index, match.start(), match.end(), match)
        return best

    def __str__(self) -> str:
        names = {EOF: "the machine's end", TIMEOUT: "the limit"}
        return " or ".join(
            repr(pattern.pattern) if isinstance(pattern, re.Pattern) else names.get(pattern, repr(pattern))  # type: ignore[call-overload]
            for pattern in self.patterns
        )


class Scroll:
    """The text; `end` is the number of all characters so far."""

    def __init__(self, most: int = BEFORE) -> None:
        self.end = 0
        self._most = most
        self._pieces: deque[str] = deque()
        self._size = 0
        self._searched = 0

    @property
    def start(self) -> int:
        """The position of the first character that is kept."""
        return self.end - self._size

    def append(self, text: str) -> None:
        """More text; the oldest goes when there is too much."""
        self.end += len(text)
        self._size += len(text)
        if self._pieces and len(self._pieces[-1]) < MERGED:
            self._pieces[-1] += text
        else:
            self._pieces.append(text)
        while self._size - len(self._pieces[0]) > self._most:
            self._size -= len(self._pieces.popleft())

    def text(self) -> str:
        """All that is kept."""
        return "".join(self._pieces)

    def rewind(self) -> None:
        """A new search begins: everything is looked at."""
        self._searched = self.start

    def search(self, searcher: Searcher) -> Found | None:
        """Looks for the patterns in what is new, and as far before it as a match may begin."""
        since = max(self._searched - searcher.reach, self.start)
        text, first = self._from(max(since - SLACK, self.start))
        self._searched = self.end
        found = searcher.find(text, since - first)
        return None if found is None else found._replace(start=found.start + first, end=found.end + first)

    def take(self, start: int, end: int) -> tuple[str, str]:
        """The text before a match and the match; what follows stays."""
        text, first = self.text(), self.start
        before, after, rest = text[: start - first], text[start - first : end - first], text[end - first :]
        self.set(rest)
        return before, after

    def set(self, text: str) -> None:
        """This is what is kept now."""
        self._pieces = deque([text] if text else [])
        self._size = len(text)

    def _from(self, position: int) -> tuple[str, int]:
        """The end of the text from this position or a little before, and where it begins."""
        parts: list[str] = []
        at = self.end
        for piece in reversed(self._pieces):
            if at <= position:
                break
            parts.append(piece)
            at -= len(piece)
        return "".join(reversed(parts)), at
