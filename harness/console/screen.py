"""A VT100's screen, by pyte: for guests that draw on their serial line."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from typing import Any

import pyte

COLUMNS, LINES = 80, 25
SEQUENCE_MAXIMUM = 256
"""Bytes of an escape sequence; what is longer is none."""

# ECMA-48 control strings (title, device control): nothing of them is on the screen. Parameters of control sequences.
_STRING = re.compile(rb"\x1b[\]PX^_][^\x07\x1b]{0,256}(?:\x07|\x1b\\)")
_LONG = re.compile(rb"\x1b\[[0-?]{64,}|\x1b[\]PX^_]")
_PARTS = re.compile(rb"\x1b?[^\x1b]+|\x1b")
_UNFINISHED = re.compile(rb"\x1b(?:\[[0-?]{0,64}|[\]PX^_][^\x07\x1b]{0,256}\x1b?)?\Z")


_PLACING = re.compile(rb"\x1b\[[0-9;]{0,16}[ABCDEFGHJdf]")
"""Sequences that move the cursor, or clear the screen: what uses them is no line printer."""


class _Answering(pyte.Screen):
    """A screen that answers what terminals are asked."""

    def __init__(self, answer: Callable[[bytes], None]) -> None:
        super().__init__(COLUMNS, LINES)
        self._answer = answer

    def erase_in_line(self, how: int = 0, private: bool = False) -> None:
        if how in (0, 1, 2):  # pyte fails on others
            super().erase_in_line(how, private)

    def erase_in_display(self, how: int = 0, *args: Any, **kwargs: Any) -> None:
        if how in (0, 1, 2, 3):
            super().erase_in_display(how, *args, **kwargs)

    def write_process_input(self, data: str) -> None:
        self._answer(data.encode())


class Screen:
    """What a guest has drawn; bounded whatever it sends."""

    def __init__(self, answer: Callable[[bytes], None]) -> None:
        """`answer` is given what the terminal sends by itself: ESC[6n and ESC[c ask for that."""
        self._screen = _Answering(answer)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._stream = self._begin()
        self.draws = False
        """The guest has moved the cursor about: what it says is a picture, not lines."""
        self._held = b""
        self._lines = [""] * LINES
        self.confused = 0
        """How often the guest sent what no terminal takes."""

    def _begin(self) -> pyte.Stream:
        stream = pyte.Stream(self._screen)
        stream.use_utf8 = False  # else it ignores the VT100's line-drawing characters; what is UTF-8 we decode
        return stream

    def feed(self, data: bytes) -> None:
        """More of the guest's output."""
        data = _STRING.sub(b"", self._held + data)
        self._held = b""
        unfinished = _UNFINISHED.search(data)
        if unfinished is not None:
            data, self._held = data[: unfinished.start()], unfinished[0]
        self.draws = self.draws or _PLACING.search(data) is not None
        for part in _PARTS.findall(_LONG.sub(b"", data)):
            try:
                self._stream.feed(self._decoder.decode(part))
            except Exception:  # whatever pyte makes of nonsense: this sequence is lost, and it goes on
                self.confused += 1
                self._stream = self._begin()

    def text(self) -> str:
        """Its lines from the top, without the blanks at their ends."""
        screen = self._screen
        for number in screen.dirty:
            if number < LINES:
                row = screen.buffer[number]
                self._lines[number] = "".join(row[column].data for column in range(COLUMNS)).rstrip()
        screen.dirty.clear()
        return "\n".join(self._lines)

    @property
    def cursor(self) -> tuple[int, int]:
        """Line and column, from 0."""
        return self._screen.cursor.y, self._screen.cursor.x
