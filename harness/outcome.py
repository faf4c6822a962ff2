"""How a run of a guest ended, and whose doing that was: two things, kept apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What happened."""

    PASSED = "passed"
    """Every rung that was asked for was reached."""
    DIED = "died"
    """The guest said that it is beyond help (a death pattern), or it reached a triple fault."""
    ENDED = "ended"
    """The machine ended (power-off, reset, exit of the VMM) before the rung was reached."""
    STUCK = "stuck"
    """A limit was spent while the rung's evidence was awaited, or the guest halted for ever."""
    FAILED = "failed"
    """A check on a guest that works gave the wrong answer."""
    ERROR = "error"
    """It could not be carried out: media, VMM or harness were at fault."""
    SKIPPED = "skipped"
    """It was not tried."""
    UNFINISHED = "unfinished"
    """It was begun, and its end was never written: whoever ran it was killed."""


class Blame(Enum):
    """Whose doing it was."""

    NOBODY = "nobody"
    GUEST = "guest"
    VMM = "vmm"
    HARNESS = "harness"
    MEDIA = "media"
    HOST = "host"


@dataclass(frozen=True)
class Verdict:
    """Outcome, blame, and one line for people: `title` is canonical, so that equal faults have equal titles; `detail`
    has the figures, paths and last words of this one time."""

    outcome: Outcome
    blame: Blame
    title: str
    detail: str = ""

    @property
    def is_wrong_usage(self) -> bool:
        """What was asked for cannot be: nobody's fault but the user's, who has the line that says so."""
        return self.outcome is Outcome.ERROR and self.blame is Blame.NOBODY


class VmmFailure(AssertionError):
    """A test's check that the VMM failed, whatever the guest did."""


_VARYING = (
    (re.compile(r"(?<![\w.])(?:\.{1,2})?/(?!dev/(?!fd/|pts/)|proc/|sys/)[^\s:;,'\"()\[\]]+"), "FILE"),
    (re.compile(r"\b0x[0-9a-fA-F]{6,16}\b"), "0x..."),
    (re.compile(r"\b\d+\.\d+\b"), "N"),
)
"""Names of files, addresses, and decimal fractions: seconds and time stamps."""


def canonical(text: str) -> str:
    """The first line of an error's text without what is another in every run: a title."""
    title = text.partition("\n")[0]
    for varying, word in _VARYING:
        title = varying.sub(word, title)
    return title


def fault(outcome: Outcome, blame: Blame, text: str) -> Verdict:
    """With a title made of an error's text, which is kept as the detail where it says more."""
    title = canonical(text)
    return Verdict(outcome, blame, title, "" if title == text else text)
