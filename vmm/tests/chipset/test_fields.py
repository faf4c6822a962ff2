"""The state lists: the tables say what the structures hold, and nothing is left out of the hash."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

CHIPSET = Path(__file__).parents[2] / "core" / "chipset"

# Every structure that is declared as a state list; the last is all of them, and what a snapshot holds of the chips.
CHIPS = sorted(
    name
    for header in CHIPSET.glob("*.h")
    for name in re.findall(r"^STATE_STRUCT\((\w+), ", header.read_text(), re.MULTILINE)
)
CHIPS.append(CHIPS.pop(CHIPS.index("chips")))


def rows(lib: Any, ffi: Any, table: Any) -> list[Any]:
    found: list[Any] = []
    while table[len(found)].name != ffi.NULL:
        found.append(table[len(found)])
    return found


def check(lib: Any, ffi: Any, kind: Any, table: Any) -> int:
    """Compares one table with cffi's view of the structure, and those within; returns the number of values."""
    values = 0
    members = dict(kind.fields)
    listed = rows(lib, ffi, table)
    assert [ffi.string(row.name).decode() for row in listed] == list(members)
    for row, member in zip(listed, members.values(), strict=True):
        element = member.type
        while element.kind == "array":
            element = element.item
        assert (row.offset, row.size) == (member.offset, ffi.sizeof(element))
        assert row.size * row.count == ffi.sizeof(member.type)
        assert (element.kind == "struct") == (row.fields != ffi.NULL)
        assert element.kind in ("struct", "primitive"), "state holds no pointers"
        values += row.count * (check(lib, ffi, element, row.fields) if row.fields != ffi.NULL else 1)
    return values


@pytest.mark.parametrize("chip", CHIPS)
def test_table_describes_structure(lib: Any, ffi: Any, chip: str) -> None:
    assert check(lib, ffi, ffi.typeof(f"struct {chip}"), getattr(lib, f"{chip}_fields")) >= 2


def values_of(lib: Any, ffi: Any, kind: Any, table: Any, base: int) -> list[tuple[int, int]]:
    """(offset, size) of every value."""
    found = []
    for row in rows(lib, ffi, table):
        for i in range(row.count):
            offset = base + row.offset + i * row.size
            if row.fields != ffi.NULL:
                found += values_of(lib, ffi, kind, row.fields, offset)
            else:
                found.append((offset, row.size))
    return found


@pytest.mark.parametrize("chip", CHIPS[:-1])
def test_hash_sees_every_value_and_no_padding(lib: Any, ffi: Any, chip: str) -> None:
    kind = ffi.typeof(f"struct {chip}")
    table = getattr(lib, f"{chip}_fields")
    state = ffi.new("uint8_t[]", ffi.sizeof(kind))
    zero = lib.fields_hash(table, state, 1)
    seen = {zero}
    covered = set()
    for offset, size in values_of(lib, ffi, kind, table, 0):
        covered |= set(range(offset, offset + size))
        if offset > 256 and offset % 1024:
            continue  # long arrays: a sample
        state[offset + size - 1] = 1
        seen.add(lib.fields_hash(table, state, 1))
        state[offset + size - 1] = 0
    sampled = sum(1 for offset, _ in values_of(lib, ffi, kind, table, 0) if offset <= 256 or offset % 1024 == 0)
    assert len(seen) == sampled + 1
    for offset in set(range(len(state))) - covered:
        state[offset] = 0xFF
    assert lib.fields_hash(table, state, 1) == zero


def within(kind: Any) -> set[str]:
    """The structures that this one holds, at any depth."""
    found = set()
    for _, member in kind.fields:
        element = member.type
        while element.kind == "array":
            element = element.item
        if element.kind == "struct":
            found |= {element.cname.removeprefix("struct "), *within(element)}
    return found


def test_a_snapshot_of_the_board_holds_every_state(ffi: Any) -> None:
    """`struct chips` is what is saved: a chip that is not in it would be forgotten."""
    assert within(ffi.typeof("struct chips")) == set(CHIPS[:-1])
