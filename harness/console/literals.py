"""Texts that a regular expression cannot match without: looking for those first is many times cheaper."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import import_module
from typing import Any

from bringup.guests.bounded import MAXIMUM

_parser = import_module("re._parser")  # private, but the one place that knows what a pattern is made of
_codes = import_module("re._constants")

SLACK = 256
"""Characters around a match that its lookaheads and lookbehinds may see."""


@lru_cache(256)
def required(pattern: str, flags: int = 0) -> tuple[str, ...]:
    """Texts of which every match of `pattern` has one in it, as long as can be; () when none are known."""
    try:
        tree = _parser.parse(pattern, flags)
    except re.error:
        return ()
    return () if tree.state.flags & re.IGNORECASE else _best(_alternatives(tree))


def _best(candidates: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Of several sets the one whose shortest text is the longest."""
    return max(candidates, key=lambda texts: min(map(len, texts)), default=())


def _alternatives(tree: Any) -> list[tuple[str, ...]]:
    """Sets of texts: every match has one text of each set in it."""
    found: list[tuple[str, ...]] = []
    run = ""
    for code, argument in tree:
        if code is _codes.LITERAL:
            run += chr(argument)
            continue
        found.append((run,))
        run = ""
        if code is _codes.SUBPATTERN and not argument[1] & re.IGNORECASE:
            found += _alternatives(argument[3])
        elif code is _codes.MAX_REPEAT and argument[0] > 0:
            found += _alternatives(argument[2])
        elif code is _codes.BRANCH:
            branches = [_best(_alternatives(branch)) for branch in argument[1]]
            found.append(tuple(text for branch in branches for text in branch) if all(branches) else ())
    return [texts for texts in [*found, (run,)] if texts and all(texts)]


@lru_cache(256)
def reach(pattern: str, flags: int, window: int) -> int:
    """How far before new text a match that ends in it may begin; `window` for a pattern without bounds."""
    _, most = _parser.parse(pattern, flags).getwidth()
    return int(most) + SLACK if most <= max(MAXIMUM, window) else window
