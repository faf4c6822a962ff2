"""What controllers do to a machine's keyboard, mouse and screen, in QMP's terms (QEMU's qapi/ui.json)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .machine import Machine, MachineError
from .screen import keys, picture

HOLD_MS = 100
"""How long `send-key` holds its keys unless told otherwise."""
BUTTONS = {"left": 1 << 0, "right": 1 << 1, "middle": 1 << 2}
WHEEL = {"wheel-up": -1, "wheel-down": 1}
AXES = ("x", "y")


class InputError(ValueError):
    """It cannot be done as it was asked for; one line, as QMP's errors are."""


class Input:
    """Of one machine."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._buttons = 0

    def send_key(self, wanted: Sequence[Any], hold: int = HOLD_MS) -> None:
        """Presses keys together and holds them so many milliseconds of guest time."""
        if not 0 <= hold <= keys.DELAY_MAXIMUM:
            raise InputError(f"Parameter 'hold-time' expects a number of milliseconds up to {keys.DELAY_MAXIMUM}")
        numbers = [_number(key) for key in wanted]
        self._press(
            [keys.event(number, True) for number in numbers]
            + [keys.event(number, False, 0 if at else hold) for at, number in enumerate(reversed(numbers))]
        )

    def send_events(self, events: Sequence[Any]) -> None:
        """Events of `input-send-event`: keys, buttons and movement, all at once. Those before a wrong one have
        happened."""
        actions: Mapping[str, Callable[[Mapping[str, Any]], None]] = {
            "key": self._key,
            "btn": self._button,
            "rel": self._movement,
        }
        for event in events:
            kind, data = _member(event, "type", str), _member(event, "data", dict)
            if kind not in actions:
                raise InputError(f"Parameter 'type' does not accept value '{kind}'")
            actions[kind](data)

    def screendump(self, filename: str, kind: str = "ppm") -> None:
        """Writes a picture of the text screen."""
        if kind not in picture.FORMATS:
            raise InputError(f"Parameter 'format' does not accept value '{kind}'")
        screen = self._machine.screen()
        if screen is None:
            raise InputError("there is no console to take a screendump from")
        try:
            Path(filename).write_bytes(picture.FORMATS[kind](screen, self._machine.fonts()))
        except OSError as error:
            raise InputError(f"failed to write file '{filename}': {error.strerror}") from None
        except (ValueError, MachineError) as error:  # no text, or a name that no file has
            raise InputError(str(error)) from None

    def _press(self, events: Sequence[int]) -> None:
        if self._machine.screen() is None:
            raise InputError("there is no keyboard")
        if self._machine.press(events) < len(events):
            raise InputError("the keyboard has too much to type already")

    def _key(self, data: Mapping[str, Any]) -> None:
        self._press([keys.event(_number(_member(data, "key", dict)), _member(data, "down", bool))])

    def _button(self, data: Mapping[str, Any]) -> None:
        name, down = _member(data, "button", str), _member(data, "down", bool)
        if name in WHEEL:
            self._machine.move(0, 0, WHEEL[name] if down else 0, self._buttons)
        elif name in BUTTONS:
            self._buttons = self._buttons & ~BUTTONS[name] | (BUTTONS[name] if down else 0)
            self._machine.move(0, 0, 0, self._buttons)
        else:
            raise InputError(f"Parameter 'button' does not accept value '{name}'")

    def _movement(self, data: Mapping[str, Any]) -> None:
        axis, value = _member(data, "axis", str), _member(data, "value", int)
        if axis not in AXES:
            raise InputError(f"Parameter 'axis' does not accept value '{axis}'")
        if not -(1 << 31) <= value < 1 << 31:
            raise InputError("Parameter 'value' expects a number of 32 bits")
        dx, dy = (value, 0) if axis == "x" else (0, -value)  # down is positive in QMP
        self._machine.move(dx, dy, 0, self._buttons)


def _number(key: Any) -> int:
    """The number of a QMP KeyValue."""
    kind = _member(key, "type", str)
    if kind == "number":
        number = int(_member(key, "data", int))
        if 0 < number < 256:
            return number
        raise InputError(f"Parameter 'data' does not accept value '{number}'")
    if kind != "qcode":
        raise InputError(f"Parameter 'type' does not accept value '{kind}'")
    try:
        return keys.number(_member(key, "data", str))
    except keys.NoSuchKey:
        raise InputError(f"Parameter 'data' does not accept value '{key['data']}'") from None


_JSON = {str: "string", dict: "object", bool: "boolean", int: "integer"}


def _member(value: Any, name: str, kind: type) -> Any:
    """A member of a JSON object, of this type."""
    if not isinstance(value, dict):
        raise InputError("Invalid parameter type, expected: object")
    if name not in value:
        raise InputError(f"Parameter '{name}' is missing")
    if not isinstance(value[name], kind) or (kind is int and isinstance(value[name], bool)):
        raise InputError(f"Invalid parameter type for '{name}', expected: {_JSON[kind]}")
    return value[name]
