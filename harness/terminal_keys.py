"""What a terminal sends, as keys of the machine's keyboard (ECMA-48; xterm, rxvt and Linux's console)."""

from __future__ import annotations

import codecs
import re
import time

from bringup.vmm.screen import keys
from bringup.vmm.screen.keys import Stroke

WAIT = 0.1
"""Host seconds for the rest of a sequence that came in pieces, as over a slow line; after that an ESC is the key."""

_FINAL = {
    "A": "up", "B": "down", "C": "right", "D": "left", "F": "end", "H": "home",
    "P": "f1", "Q": "f2", "R": "f3", "S": "f4", "Z": "shift-tab",
}  # fmt: skip
_NUMBERED = {
    1: "home", 2: "insert", 3: "delete", 4: "end", 5: "pgup", 6: "pgdn", 7: "home", 8: "end", 11: "f1", 12: "f2",
    13: "f3", 14: "f4", 15: "f5", 17: "f6", 18: "f7", 19: "f8", 20: "f9", 21: "f10", 23: "f11", 24: "f12",
}  # fmt: skip
_LINUX = {"A": "f1", "B": "f2", "C": "f3", "D": "f4", "E": "f5"}
_MODIFIERS = (("ctrl", 4), ("alt", 2), ("shift", 1))
"""xterm's second parameter is one more than the sum of these."""
_TOKEN = re.compile(
    r"\x1b\[\[(?P<linux>[A-E])"
    r"|\x1b\[(?P<number>[0-9]{0,4})(?:;(?P<modifiers>[0-9]{0,4}))?[0-9;]{0,16}(?P<final>[A-Za-z~])"
    r"|\x1bO(?P<ss3>[A-Z])"
    r"|\x1b(?P<alt>[^\x1b])"
    r"|(?P<plain>.)",
    re.DOTALL,
)
_BEGUN = re.compile(r"\x1b(?:\[\[?[0-9;]{0,24}|O)?\Z")


def strokes(typed: str) -> list[Stroke]:
    """The keys that make a terminal send this; Alt is an ESC before a character. What no key of a US keyboard writes is
    left out."""
    found: list[Stroke] = []
    for match in _TOKEN.finditer(typed):
        if match["linux"]:
            found.append((_LINUX[match["linux"]],))
        elif match["ss3"]:
            found += _named(_FINAL.get(match["ss3"], ""), 0)
        elif match["final"]:
            number = int(match["number"] or 1)
            name = _NUMBERED.get(number, "") if match["final"] == "~" else _FINAL.get(match["final"], "")
            found += _named(name, int(match["modifiers"] or 1) - 1)
        elif match["alt"]:
            found += [("alt", *stroke) for stroke in _written(match["alt"])]
        else:
            found += _written(match["plain"])
    return found


def _named(name: str, modifiers: int) -> list[Stroke]:
    held = [modifier for modifier, bit in _MODIFIERS if modifiers & bit]
    return [(*held, *name.split("-"))] if name else []


def _written(char: str) -> list[Stroke]:
    return keys.strokes(char) if char in keys.WRITING else []


class TerminalKeys:
    """Bytes of a terminal, as they come, to keys."""

    def __init__(self) -> None:
        self._characters = codecs.getincrementaldecoder("utf-8")("ignore")
        self._begun = ""
        """A sequence whose end has not come."""
        self._since = 0.0

    def take(self, typed: bytes) -> list[Stroke]:
        """The keys that are complete with these bytes."""
        text = self._begun + self._characters.decode(typed)
        begun = _BEGUN.search(text)
        self._begun, self._since = begun.group() if begun else "", time.monotonic()
        return strokes(text[: len(text) - len(self._begun)])

    def overdue(self) -> list[Stroke]:
        """The keys of a sequence whose end nobody waits for any more."""
        if not self._begun or time.monotonic() - self._since < WAIT:
            return []
        text, self._begun = self._begun, ""
        return strokes(text)
