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
def required(pattern: str, flags: int = 0) -> str:
    """The longest text that every match of `pattern` has in it; "" when none is known."""
    try:
        tree = _parser.parse(pattern, flags)
    except re.error:
        return ""
    if tree.state.flags & re.IGNORECASE:
        return ""
    return max(_runs(tree), key=len, default="")


def _runs(tree: Any) -> list[str]:
    runs, run = [], ""
    for code, argument in tree:
        if code is _codes.LITERAL:
            run += chr(argument)
            continue
        runs.append(run)
        run = ""
        if code is _codes.SUBPATTERN:
            _, added, _, inner = argument
            if not added & re.IGNORECASE:
                runs += _runs(inner)
        elif code is _codes.MAX_REPEAT and argument[0] > 0:
            runs += _runs(argument[2])
    return [*runs, run]


@lru_cache(256)
def reach(pattern: str, flags: int, window: int) -> int:
    """How far before new text a match that ends in it may begin; `window` for a pattern without bounds."""
    _, most = _parser.parse(pattern, flags).getwidth()
    return int(most) + SLACK if most <= max(MAXIMUM, window) else window
