"""The order of Debian's version numbers. Source: Debian Policy Manual, 5.6.12; deb-version(7)."""

from __future__ import annotations

import re

Key = tuple[tuple[int, ...], ...]


def key(version: str) -> tuple[int, Key, Key]:
    """To sort by: epoch, upstream version, revision."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-")
    return int(epoch) if epoch.isdecimal() else 0, _part(upstream or revision), _part(revision if upstream else "0")


def _part(text: str) -> Key:
    """Alternately the characters of what is no number, and a number. `~` comes before the end, letters before
    others."""
    found = []
    for letters, digits in re.findall(r"(\D*)(\d*)", text):
        found.append((*(_weight(letter) for letter in letters), 0))
        found.append((int(digits or 0),))
    return tuple(found)  # which ends with the match of nothing: what `~` comes before


def _weight(letter: str) -> int:
    return -1 if letter == "~" else ord(letter) if letter.isalpha() else ord(letter) + 256
