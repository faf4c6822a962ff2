"""A failing case made as small as still shows the same difference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from oracle.program import Failure, Oracle, copy_of, packed, types


def simpler(test: Any) -> Iterator[Callable[[Any], None]]:
    """Changes that make a case smaller: one register, one part of the memory, one prefix."""

    def gpr(n: int, value: int) -> Callable[[Any], None]:
        def change(other: Any) -> None:
            other.state.gpr[n] = value

        return change

    for n in range(16):
        for value in (0, 1, test.state.gpr[n] & 0xFFFFFFFF, test.state.gpr[n] & 0xFFFF, test.state.gpr[n] & 0xFF):
            if value < test.state.gpr[n]:
                yield gpr(n, value)

    def fill(field: str, first: int, last: int) -> Callable[[Any], None]:
        def change(other: Any) -> None:
            types().buffer(getattr(other.state, field))[first:last] = bytes(last - first)

        return change

    for size in (512, 128, 32, 16):
        for at in range(0, 1024, size):
            if any(bytes(test.state.window)[at : at + size]):
                yield fill("window", at, at + size)
    for at in range(32, 416, 16):
        if any(bytes(test.state.fx)[at : at + 16]):
            yield fill("fx", at, at + 16)

    def flags(other: Any) -> None:
        other.state.rflags = 0

    if test.state.rflags:
        yield flags

    def quiet(other: Any) -> None:
        buffer = types().buffer(other.state.fx)
        buffer[0:5] = b"\x7f\x03\0\0\xff"
        buffer[24:28] = b"\x80\x1f\0\0"

    if bytes(test.state.fx)[0:5] != b"\x7f\x03\0\0\xff" or bytes(test.state.fx)[24:28] != b"\x80\x1f\0\0":
        yield quiet

    def drop_first(other: Any) -> None:
        code = bytes(other.code)
        types().buffer(other.code)[:] = code[1:] + b"\x90"
        other.length -= 1

    if test.length > 1 and test.code[0] in (0x26, 0x2E, 0x36, 0x3E, 0x64, 0x65, 0x66, 0x67, 0xF0):
        yield drop_first


def shrink(oracle: Oracle, failure: Failure, spoil: bool = False) -> Failure:
    """The same difference with as little state as shows it."""
    again = oracle.ask([failure.test], spoil)[0]
    if not again.fields:
        return failure
    best, failure_kind, progress = again, again, True
    while progress:
        progress = False
        changes = list(simpler(best.test))
        tests = []
        for change in changes:
            other = copy_of(best.test)
            change(other)
            tests.append(other)
        for answer in oracle.ask(tests, spoil):
            if kind_of(answer) == kind_of(failure_kind) and size_of(answer.test) < size_of(best.test):
                best, progress = answer, True
    return best


def kind_of(failure: Failure) -> tuple[int, int, int]:
    return failure.fields, failure.ours.vector, failure.host.vector


def size_of(test: Any) -> int:
    data = packed(test)
    length: int = test.length
    return len(data) - data.count(0) + 64 * length
