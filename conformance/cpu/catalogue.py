"""Which behaviours there are: read from the guest program's sources, where each is declared once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from bringup.conformance.cpu.images import PROGRAMS, Program

_DECLARED = re.compile(
    r'^(?:BEHAVIOUR\((?P<name>\w+)|FINAL\((?P<final>\w+), "(?P<ending>[a-z-]+)"), "(?P<what>(?:[^"\\]|\\.)*)"\)',
    re.MULTILINE,
)


@dataclass(frozen=True)
class Behaviour:
    """A behaviour as its declaration tells it."""

    name: str
    """`theme.name`."""
    what: str
    """The manual's section, and what must happen."""
    ending: str = ""
    """How the machine has to end, of a behaviour that ends it."""


@cache
def behaviours(program: Program = PROGRAMS[0]) -> tuple[Behaviour, ...]:
    """All, in the order in which they run."""
    found = []
    for theme in program.themes:
        text = (program.source(theme)).read_text()
        for match in _DECLARED.finditer(text):
            name = match["name"] or match["final"]
            what = match["what"].replace('\\"', '"').replace("\\\\", "\\")
            found.append(Behaviour(f"{theme}.{name}", what, match["ending"] or ""))
    return tuple(found)


def names() -> list[str]:
    """Of all behaviours."""
    return [behaviour.name for behaviour in behaviours()]
