"""Keys by their names and by what they write on a US keyboard.

A key's number is its make code in scan code set 1, with bit 7 set where E0h comes before it (core/chipset/ps2_codes.h);
names are QEMU's (qapi/ui.json, QKeyCode).
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence

EVENT_DOWN, EVENT_DELAY_SHIFT = 1 << 8, 16
"""A key event for the machine (core/chipset/ps2_keyboard.h): number, down, and milliseconds to wait before it."""
DELAY_MAXIMUM = 0xFFFF


class NoSuchKey(ValueError):
    """No key has this name, or writes this character."""


_ROWS = (
    (0x01, "esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace"),
    (0x0F, "tab q w e r t y u i o p bracket_left bracket_right ret"),
    (0x1D, "ctrl a s d f g h j k l semicolon apostrophe grave_accent"),
    (0x2A, "shift backslash z x c v b n m comma dot slash shift_r kp_multiply"),
    (0x38, "alt spc caps_lock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock"),
    (0x47, "kp_7 kp_8 kp_9 kp_subtract kp_4 kp_5 kp_6 kp_add kp_1 kp_2 kp_3 kp_0 kp_decimal sysrq"),
    (0x56, "less f11 f12"),
    (0x9C, "kp_enter ctrl_r"),
    (0xB5, "kp_divide"),
    (0xB7, "print alt_r"),
    (0xC6, "pause home up pgup"),
    (0xCB, "left"),
    (0xCD, "right"),
    (0xCF, "end down pgdn insert delete"),
    (0xDB, "meta_l meta_r menu"),
)
NUMBERS: Mapping[str, int] = {name: first + at for first, names in _ROWS for at, name in enumerate(names.split())}
"""Each key's number."""

_PLAIN = {
    "-": "minus", "=": "equal", "[": "bracket_left", "]": "bracket_right", ";": "semicolon", "'": "apostrophe",
    "`": "grave_accent", "\\": "backslash", ",": "comma", ".": "dot", "/": "slash", " ": "spc",
    "\n": "ret", "\r": "ret", "\t": "tab", "\b": "backspace", "\x7f": "backspace", "\x1b": "esc",
}  # fmt: skip
_SHIFTED = dict(zip('!@#$%^&*()_+{}:"~|<>?', "1234567890-=[];'`\\,./", strict=True))


Stroke = tuple[str, ...]
"""Keys that are pressed together, in order, by name."""


def _writing() -> dict[str, Stroke]:
    """The keys, pressed together, that write each character."""
    found: dict[str, Stroke] = {char: (char,) for char in string.ascii_lowercase + string.digits}
    found |= {char: (name,) for char, name in _PLAIN.items()}
    found |= {char.upper(): ("shift", char) for char in string.ascii_lowercase}
    found |= {char: ("shift", *found[plain]) for char, plain in _SHIFTED.items()}
    for letter in string.ascii_lowercase:
        found.setdefault(chr(ord(letter) & 0x1F), ("ctrl", letter))
    return found


WRITING = _writing()


def strokes(text: str) -> list[Stroke]:
    """How a text is typed on a US keyboard; control characters are Ctrl and a letter. NoSuchKey: that cannot be."""
    missing = sorted({char for char in text if char not in WRITING})
    if missing:
        raise NoSuchKey(f"no key of a US keyboard writes {', '.join(map(repr, missing))}")
    return [WRITING[char] for char in text]


def presses(text: str) -> list[Stroke]:
    """Keys by their names: `down down ret`, `ctrl-alt-delete`. NoSuchKey for a name that none has."""
    found = [tuple(word.split("-")) for word in text.split()]
    for stroke in found:
        for name in stroke:
            number(name)
    return found


def number(name: str) -> int:
    """A key's number; NoSuchKey for a name that none has."""
    if name not in NUMBERS:
        raise NoSuchKey(f"there is no key '{name}'")
    return NUMBERS[name]


def event(key: int, down: bool, delay: int = 0) -> int:
    """A key event for the machine, so many milliseconds after the one before."""
    return min(delay, DELAY_MAXIMUM) << EVENT_DELAY_SHIFT | (EVENT_DOWN if down else 0) | key


def events(typed: Iterable[Sequence[str]], pace: int, hold: int) -> list[int]:
    """Events of strokes: each begins `pace` ms after the one before has ended, its last key being held `hold` ms."""
    found = []
    for stroke in typed:
        numbers = [number(name) for name in stroke]
        found += [event(key, True, 0 if at else pace) for at, key in enumerate(numbers)]
        found += [event(key, False, 0 if at else hold) for at, key in enumerate(reversed(numbers))]
    return found
