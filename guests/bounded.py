"""Regular expressions whose matches have a bounded width, so that what must be kept to find one is bounded too."""

from __future__ import annotations

import re
from importlib import import_module

_parser = import_module("re._parser")  # private, but the one place that knows how wide a pattern is

MAXIMUM = 4096
"""Characters that a match may have."""


def width(pattern: str) -> int:
    """The most characters that a match of `pattern` has; ValueError: it does not compile, or may match more."""
    try:
        _, most = _parser.parse(pattern).getwidth()
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} does not compile: {error}") from None
    if most > MAXIMUM:
        raise ValueError(f"the pattern {pattern!r} matches texts of any length: use {{0,80}} in place of * and +")
    return int(most)
