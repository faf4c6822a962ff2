"""A channel's raw output, bounded: its beginning and its end, each piece with the moment by which it had come."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from bringup.harness.limits import Moment

HEAD = 1 << 20
"""Bytes that are kept from the beginning."""
TAIL = 4 << 20
"""Bytes that are kept from the end."""


class Piece(NamedTuple):
    """Output that came together; `moment` is None for what is left out, `size` bytes of it."""

    data: bytes
    moment: Moment | None
    size: int


class Log:
    """Of one channel."""

    def __init__(self, head: int = HEAD, tail: int = TAIL) -> None:
        self.size = 0
        """Bytes that came in all."""
        self._head: list[Piece] = []
        self._tail: deque[Piece] = deque()
        self._room, self._most, self._kept = head, tail, 0
        self._left_out = 0

    def append(self, data: bytes, moment: Moment) -> None:
        """More output."""
        self.size += len(data)
        if self._room > 0:
            first, data = data[: self._room], data[self._room :]
            self._head.append(Piece(first, moment, len(first)))
            self._room -= len(first)
        if data:
            self._tail.append(Piece(data, moment, len(data)))
            self._kept += len(data)
            while self._kept - self._tail[0].size >= self._most:
                size = self._tail.popleft().size
                self._kept -= size
                self._left_out += size

    def pieces(self) -> Iterator[Piece]:
        """From the beginning; one without data stands for what is left out."""
        yield from self._head
        if self._left_out:
            yield Piece(b"", None, self._left_out)
        yield from self._tail

    def bytes(self) -> bytes:
        """All that is kept; a line says how much is left out."""
        return b"".join(
            piece.data or f"\r\n[bringup: {piece.size} bytes are left out]\r\n".encode() for piece in self.pieces()
        )
