"""What is said of a name that nothing has."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """`what` is such as `guest`; names that are much like this one come first."""
    known = list(known)
    near = " or ".join(map(repr, get_close_matches(name, known, n=2, cutoff=0.75)))
    meant = f", did you mean {near}?" if near else ";"
    return f"{what} {name!r} is not known{meant} known are {', '.join(known)}"
