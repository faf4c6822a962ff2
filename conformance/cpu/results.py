"""What the guest program says on COM1, as results.

    bringup-cpu 1 COUNT          the header: version, and how many behaviours will be run or listed
    BEGIN NAME                   a behaviour begins
    ENDING NAME: HOW             it will end the machine in this way
    PASS NAME | FAIL NAME: WHY | SKIP NAME: WHY
    END                          all have run; the machine ends

A guest is not to be trusted: lines that are none of these are passed over, a result counts for the behaviour that began
and only once, and texts are cut and cleaned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

WHY_MAXIMUM = 300
_LINE = re.compile(
    r"(?P<header>bringup-cpu (?P<version>\d{1,3}) (?P<count>\d{1,6}))"
    r"|(?P<word>BEGIN|ENDING|PASS|FAIL|SKIP) (?P<name>[a-z0-9_]{1,40}\.[a-z0-9_]{1,60})(?:: (?P<why>.*))?"
    r"|(?P<end>END)"
)
VERSION = 1


class Verdict(Enum):
    """What became of a behaviour."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    DIED = "died"
    """The machine ended or hung in it."""


@dataclass(frozen=True)
class Result:
    """Of one behaviour."""

    name: str
    verdict: Verdict
    why: str = ""


@dataclass
class Reader:
    """Reads one machine's lines."""

    begun: str = ""
    """The behaviour that has begun and has no result yet."""
    ending: str = ""
    """How it says that it will end the machine."""
    finished: bool = False
    """END has come."""
    header: bool = False
    done: set[str] = field(default_factory=set)

    def feed(self, line: str) -> Result | None:
        """The result that this line is, if it is one. ValueError: a header of another version."""
        match = _LINE.fullmatch(line.strip())
        if match is None:
            return None
        if match["header"]:
            if int(match["version"]) != VERSION:
                raise ValueError(f"the guest program speaks version {match['version']}, not {VERSION}")
            self.header = True
        elif match["end"]:
            self.finished = True
        elif match["word"] == "BEGIN":
            self.begun, self.ending = match["name"], ""
        elif match["name"] != self.begun:
            return None
        elif match["word"] == "ENDING":
            self.ending = clean(match["why"] or "")
        else:
            return self._result(match["word"], match["why"] or "")
        return None

    def _result(self, word: str, why: str) -> Result | None:
        name, self.begun = self.begun, ""
        if name in self.done:
            return None
        self.done.add(name)
        verdict = {"PASS": Verdict.PASSED, "FAIL": Verdict.FAILED, "SKIP": Verdict.SKIPPED}[word]
        return Result(name, verdict, clean(why))


def clean(text: str) -> str:
    """One line that any terminal may be shown."""
    return "".join(char if char.isprintable() else "?" for char in text)[:WHY_MAXIMUM]
