"""Inputs of the fuzz targets in Python: bytes are read as a program, and as what a program does to a file."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Literal, NamedTuple

MOST = 4 << 20  # bytes of a damaged file
MOST_HOLE = 43  # a power of two: what file systems take


class Input:
    """Bytes, taken from the front; zeros after the last."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        self._at += size
        return piece.ljust(size, b"\0")

    def number(self, size: int = 1) -> int:
        return int.from_bytes(self.take(size), "little")


class Base(NamedTuple):
    """A sound file, and the (offset, bytes) of its fields in it."""

    content: bytes
    fields: tuple[tuple[int, int], ...]
    order: Literal["little", "big"] = "little"


def fields(width: int, *offsets: int | Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Fields of so many bytes."""
    places = (place for each in offsets for place in ([each] if isinstance(each, int) else each))
    return tuple((place, width) for place in places)


class Damaged(NamedTuple):
    """A file's content, and its size: behind the content is a hole."""

    content: bytes
    size: int


def damaged(base: Base, program: Input) -> Damaged:
    """The file after the rest of the program: fields set to what is next to a limit or to anything, bytes overwritten,
    the file cut or made longer."""
    data, hole = bytearray(base.content), 0
    while program:
        what = program.number()
        if what < 160:
            offset, width = base.fields[program.number(2) % len(base.fields)]
            _put(data, offset, _value(base, data, offset, width, program))
        elif what < 210:
            _put(data, program.number(3) % (len(data) + 1), program.take(1 + what % 8))
        elif what < 230:
            del data[program.number(3) % (len(data) + 1) :]
        elif what < 236:
            data += bytes(program.number(2))
        elif what < 240:
            hole = 1 << program.number() % (MOST_HOLE + 1)
        else:
            offset, width = base.fields[program.number(2) % len(base.fields)]
            _put(data, offset, bytes(data[program.number(3) % (len(data) + 1) :][:width]))
    return Damaged(bytes(data), max(len(data), hole))


def _put(data: bytearray, offset: int, piece: bytes) -> None:
    if offset + len(piece) <= MOST:
        data.extend(bytes(max(0, offset - len(data))))
        data[offset : offset + len(piece)] = piece


def _value(base: Base, data: bytearray, offset: int, width: int, program: Input) -> bytes:
    kind, extra = program.number(), program.number()
    old = int.from_bytes(data[offset : offset + width], base.order)
    step = extra - 128
    value = (
        int.from_bytes(program.take(width), "little"),  # anything
        extra,
        (1 << 8 * width) - 1 - extra,  # near the most
        1 << extra % (8 * width),
        old + step,
        old ^ 1 << extra % (8 * width),
        len(data) + step,  # near the file's end, in bytes and sectors
        len(data) // 512 + step,
        len(data) // 2048 + step,
        old * 2,
    )[kind % 10]
    return (value % (1 << 8 * width)).to_bytes(width, base.order)


def mutations(seed: int, runs: int, inputs: list[bytes]) -> Iterable[bytes]:
    """So many inputs from a seed: some of `inputs` changed, and such as no one wrote."""
    source = random.Random(seed)
    kept = [*inputs, b""]
    for _ in range(runs):
        data = bytearray(source.choice(kept))
        for _ in range(source.randint(1, 8)):
            at = source.randrange(len(data) + 1)
            match source.randrange(4):
                case 0:
                    data[at:at] = source.randbytes(source.randint(1, 16))
                case 1:
                    data[at : at + 4] = source.randbytes(len(data[at : at + 4]))
                case 2:
                    del data[at : at + source.randint(1, 8)]
                case _:
                    data += source.randbytes(source.randint(1, 32))
        yield bytes(data[:MOST_INPUT])


MOST_INPUT = 546
