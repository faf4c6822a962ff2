"""Code page 437, the character set in a VGA's ROM, with the glyphs of its control codes."""

from __future__ import annotations

_CONTROLS = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼"
_HIGH = bytes(range(0x80, 0xFF)).decode("cp437")

TABLE = _CONTROLS + "".join(map(chr, range(0x20, 0x7F))) + "⌂" + _HIGH + " "
"""The character of each code; the three that show nothing (00h, 20h, FFh) are spaces."""

_TO_UNICODE = str.maketrans(dict(enumerate(TABLE)))


def decode(codes: bytes) -> str:
    """The text that these codes show, a character each."""
    return codes.decode("latin-1").translate(_TO_UNICODE)
