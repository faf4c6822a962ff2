"""sdm.toml read: from a form of the opcode table to what the manual says of it."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
PREFIXES = {"NP": 0, "66": 1, "F3": 2, "F2": 3}
LEGACY_MAPS = {"0F": 1, "0F38": 2, "0F3A": 3}
VEX_MAPS = {"0F": 4, "0F38": 5, "0F3A": 6}
ANY = 0xFF
CODE64 = 2  # enum oracle_mode
EM_UD, EM_NM, TS, TS_MP, OSFXSR, AVX, WAIT, NO_WAIT, PROTECTED, MMX_STATE = (1 << n for n in range(10))
DEMANDS = {
    "mmx": EM_UD | TS | WAIT | MMX_STATE,
    "mmx-xmm": EM_UD | TS | OSFXSR | WAIT | MMX_STATE,
    "x87": EM_NM | TS | WAIT,
    "x87-control": EM_NM | TS | WAIT,
    "x87-no-wait": EM_NM | TS | NO_WAIT,
    "fwait": TS_MP | WAIT,
    "fxsave": EM_NM | TS | NO_WAIT,
    "general": NO_WAIT,
    "13": PROTECTED | NO_WAIT,
}
LEGACY_SSE, VEX_VECTOR = EM_UD | TS | OSFXSR | NO_WAIT, TS | AVX | PROTECTED | NO_WAIT
SSE_TYPES = {"1", "2", "3", "4", "5", "6", "7", "8", "11", "12"}
NO_AC_TYPES = {"1", "2", "4"}  # #AC comes for at most 8 bytes
FLAGS = {"C": 0x001, "P": 0x004, "A": 0x010, "Z": 0x040, "S": 0x080, "O": 0x800}
EXCEPTIONS = {"I": 1, "D": 2, "Z": 4, "O": 8, "U": 16, "P": 32, "S": 65}  # a stack fault sets IE too
GPR16, GPR32, GPR64, XMM, XMM_ZERO, YMM, MM, ST = range(1, 9)
PLACES = {"R": 0, "M": 1, "V": 2}
FIXED = 3
OTHERS = {"x87": 1, "mxcsr": 2, "low": 4, "high": 8, "tags": 16, "fcw": 32}
X87_OPERANDS = {"push", "pop", "turn+", "turn-"}
GROUP_KEYS = {
    "section", "type", "rows", "flags", "cleared", "mxcsr", "x87", "unaligned", "changes", "memory", "no_ac", "masked",
}  # fmt: skip


class TableError(Exception):
    """A line of the table that says nothing, or says it twice."""


class Key(NamedTuple):
    """What chooses a row: as struct oracle_form has it; `operand` is 0 without ModRM, 1 a register, 2 memory."""

    map: int
    opcode: int
    prefix: int
    w: int
    long: int  # VEX.L
    reg: int
    rm: int
    operand: int


@dataclass(frozen=True)
class Row:
    """One line of a group."""

    group: dict[str, Any]
    text: str
    feature: str
    positions: str  # Op/En
    operands: tuple[str, ...]
    vex: bool
    mmx: bool

    @property
    def section(self) -> str:
        return str(self.group["section"])

    def expectation(self, form: Any) -> dict[str, Any]:
        """The fields of struct expectation for a form that this row is of."""
        return Reading(self, form).fields


def numbers(text: str) -> Iterator[int]:
    """`58,5C-5F` in hexadecimal."""
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        yield from range(int(first, 16), int(last or first, 16) + 1)


def encodings(words: list[str]) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Map, opcode, prefix, W, L of an encoding and ModRM.reg by its digits; ANY where none is said."""
    digits = [int(digit) for digit in words[-1][1:].split(",")] if words[-1].startswith("/") else [ANY]
    words = words[:-1] if words[-1].startswith("/") else words
    if words[0].startswith("VEX."):
        _, lengths, prefixes, map_, widths = words[0].split(".")
        l_values = [0, 1] if lengths == "LIG" else [{"128": 0, "256": 1}[name] for name in lengths.split(",")]
        w_values = [0, 1] if widths == "WIG" else [int(name[1]) for name in widths.split(",")]
        maps, opcodes = VEX_MAPS[map_], words[1]
    else:
        prefixes, _, width = words[0].partition(".")
        prefixes = "NP,66,F3,F2" if prefixes == "any" else prefixes
        l_values, w_values = [0], [int(width[1])] if width else [0, 1]
        maps, opcodes = (LEGACY_MAPS[words[1]], words[2]) if len(words) == 3 else (0, words[1])
    for name, opcode, w, long, digit in itertools.product(
        prefixes.split(","), numbers(opcodes), w_values, l_values, digits
    ):
        yield maps, opcode, PREFIXES[name], w, long, digit


def split(token: str) -> tuple[str, str]:
    """The register and the memory of `xmm/m128`; either may be empty."""
    register, _, memory = token.partition("/")
    return ("", register) if register != "mm" and register.startswith(("m", "vm")) else (register, memory)


def operand_kinds(row: Row) -> list[int]:
    """Can ModRM.rm be a register, memory?"""
    at = row.positions.find("M")
    if at < 0:
        return [1, 2] if row.vex and row.positions == "Z" else [0]
    register, memory = split(row.operands[at].strip("()!"))
    return ([1] if register else []) + ([2] if memory else [])


def keys(row: Row, words: list[str]) -> Iterator[Key]:
    if len(words) == 2 and words[0][0] == "D":  # x87
        opcode = int(words[0], 16)
        for prefix, w in itertools.product(range(4), (0, 1)):
            if words[1].startswith("/"):
                yield from (Key(0, opcode, prefix, w, 0, int(n), ANY, 2) for n in words[1][1:].split(","))
            else:
                yield from (Key(0, opcode, prefix, w, 0, n >> 3 & 7, n & 7, 1) for n in numbers(words[1]))
        return
    for map_, opcode, prefix, w, long, reg in encodings(words):
        yield from (Key(map_, opcode, prefix, w, long, reg, ANY, kind) for kind in operand_kinds(row))


def line_of(group: dict[str, Any], line: str) -> tuple[Row, list[str]]:
    """A row, and the words of its encoding."""
    words = line.split()
    at = next((n for n, word in enumerate(words) if word in FEATURES), 0)
    if not at or at + 1 >= len(words):
        raise TableError(f"{group['section']}: {line}: no feature or no Op/En")
    operands = tuple(words[at + 2 :])
    row = Row(group, line, words[at], words[at + 1], operands, line.startswith("VEX"), group["type"].startswith("mmx"))
    if group["type"] not in SSE_TYPES | DEMANDS.keys():
        raise TableError(f"{row.section}: no exception type {group['type']}")
    return row, words[:at]


FEATURES = {
    "FPU", "CMOV", "MMX", "FXSR", "SSE", "SSE2", "SSE3", "SSSE3", "SSE41", "SSE42", "AES", "PCLMULQDQ", "SHA", "AVX",
    "AVX2", "FMA", "F16C", "POPCNT", "MOVBE", "ADX", "BMI1", "BMI2",
}  # fmt: skip


def read_table(path: Path = HERE / "sdm.toml") -> dict[Key, Row]:
    """Raises TableError when a row says nothing, or two rows name the same encoding."""
    table: dict[Key, Row] = {}
    for group in tomllib.loads(path.read_text())["group"]:
        if group.keys() - GROUP_KEYS:
            raise TableError(f"{group['section']}: no such key: {', '.join(group.keys() - GROUP_KEYS)}")
        for line in group["rows"].strip().splitlines():
            row, words = line_of(group, line)
            for key in keys(row, words):
                if key in table:
                    raise TableError(f"{row.section}: {line}: also in {table[key].section}: {key}")
                table[key] = row
    return table


class Reading:
    """A row as it applies to one form."""

    def __init__(self, row: Row, form: Any) -> None:
        self.row, self.form, self.group = row, form, row.group
        self.vector = 32 if form.l else 16
        self.fields: dict[str, Any] = {"form": 0, "alignment": 1}
        self.written: list[tuple[int, int, int]] = []
        self.others = 0
        self._type()
        self._operands()
        self._changes()
        self._memory()
        self.fields["others"] = self.others
        self.fields["written"] = [(kind, place, number, 0) for kind, place, number in self.written]

    def _bits(self, key: str, names: dict[str, int], separator: str | None = None) -> int:
        text = self.group.get(key, "")
        return reduce(or_, (names[letter] for letter in (text.split() if separator is None else text)), 0)

    def _type(self) -> None:
        kind, vex = self.group["type"], self.row.vex
        demands = DEMANDS.get(kind, VEX_VECTOR if vex else LEGACY_SSE)
        if (
            kind == "mmx-xmm"
            and self.form.operand == 2
            and self.row.positions == "RM"
            and self.row.operands[0] == "xmm"
        ):
            demands &= ~(WAIT | MMX_STATE)  # CVTPI2PD of memory does neither; of CVTPI2PS pages and processors disagree
        self.fields |= {
            "demands": demands,
            "flags": self._bits("flags", FLAGS, ""),
            "cleared": self._bits("cleared", FLAGS, ""),
            "mxcsr": self._bits("mxcsr", EXCEPTIONS),
            "x87": self._bits("x87", EXCEPTIONS),
            "notes": kind == "x87",
            "modrm": self.form.operand != 0 and not (vex and self.row.positions == "Z"),
            "immediates": "I" in self.row.positions or "4" in self.row.positions,
            "v_used": "V" in self.row.positions,
            "zero": self.group.get("memory") == "zero",
        }
        self.fields["flags"] |= self.fields["cleared"]

    def _integer_size(self) -> int:
        """Of `rv`, by operand size."""
        if self.form.mode == CODE64 and self.form.w:
            return 8
        return 2 if (self.form.prefix == 1) != (self.form.mode == 0) else 4

    def _wide(self) -> int:
        """Of `ry`."""
        return 8 if self.form.mode == CODE64 and self.form.w else 4

    def _memory_bytes(self, token: str) -> int:
        part = {"mvec": 1, "mhalf": 2, "mquarter": 4, "meighth": 8}.get(token)
        if part:
            return self.vector // part
        if token in ("menv", "mstate"):
            size = 14 if self._integer_size() == 2 else 28
            return size + (80 if token == "mstate" else 0)
        named = {"my": self._wide(), "mv": self._integer_size(), "mdi": 16, "mdi8": 8}
        return named[token] if token in named else int(token.removeprefix("v").removeprefix("m")) // 8

    def _register_kind(self, token: str) -> int:
        if token == "mm":
            return MM
        if token in ("xmm", "ymm", "vec"):
            wide = token == "ymm" or (token == "vec" and self.form.l)
            return YMM if wide else XMM_ZERO if self.row.vex else XMM
        size = {"r32": 4, "r64": 8, "ry": self._wide(), "rv": self._integer_size()}[token]
        return {2: GPR16, 4: GPR32, 8: GPR64}[size]

    def _operands(self) -> None:
        letters = self.row.positions.ljust(len(self.row.operands), "Z")
        for number, (letter, token) in enumerate(zip(letters, self.row.operands, strict=False)):
            writes = (number == 0 and not token.startswith("(")) or token.endswith("!")
            self._operand(letter, token.strip("()!"), writes)

    def _operand(self, letter: str, token: str, writes: bool) -> None:
        if token in X87_OPERANDS:
            if token.startswith("turn"):
                self.fields["turns"] = 1 if token == "turn+" else 7
            else:
                self.fields[f"{token}es" if token == "push" else "pops"] = (
                    self.fields.get("pushes" if token == "push" else "pops", 0) + 1
                )
            return
        if token in ("mdi", "mdi8"):
            self.fields |= {"by_rdi": 1, "bytes": self._memory_bytes(token), "writes": 1}
            return
        if token.startswith("st"):
            number = 0 if token == "sti" else int(token[2:])
            if writes:
                self.written.append((ST, PLACES["M"] if token == "sti" else FIXED, number))
            return
        register, memory = split(token)
        if letter == "M" and self.form.operand == 2:
            self._memory_operand(memory, writes)
        elif register and letter in PLACES:
            self._register_operand(letter, register, writes)

    def _memory_operand(self, token: str, writes: bool) -> None:
        self.fields |= {"bytes": self._memory_bytes(token), "writes": writes}
        if token.startswith("vm"):
            self.fields["gathers"] = self.fields["bytes"]

    def _register_operand(self, letter: str, token: str, writes: bool) -> None:
        kind = self._register_kind(token)
        field = {"R": "reg", "M": "rm", "V": "v"}[letter]
        if kind == MM:
            self.fields[f"mm_{field}"] = 1
        elif kind in (GPR16, GPR32, GPR64):
            self.fields[f"general_{field}"] = 1
        if writes:
            self.written.append((kind, PLACES[letter], 0))

    def _changes(self) -> None:
        for name in self.group.get("changes", []):
            if name == "xmm0":
                self.written.append((XMM_ZERO if self.row.vex else XMM, FIXED, 0))
            elif name == "ecx":
                self.written.append((GPR32, FIXED, 1))
            elif name == "ax":
                self.written.append((GPR16, FIXED, 0))
            else:
                self.others |= OTHERS[name]

    def _memory(self) -> None:
        kind, bytes_, vex = self.group["type"], self.fields.get("bytes", 0), self.row.vex
        if self.group.get("masked"):
            self.fields["masked"] = 8 if self.form.opcode in (0x2D, 0x2F) or self.form.w else 4
        if kind == "fxsave":
            self.fields["alignment"] = 16
        elif vex:
            self.fields["alignment"] = bytes_ if kind == "1" and bytes_ else 1
        elif bytes_ == 16 and kind in ("1", "2", "4", "mmx-xmm") and not self.group.get("unaligned"):
            self.fields["alignment"] = 16
        self.fields["check_ac"] = bool(
            bytes_ > 1 and self.fields["alignment"] == 1 and kind not in NO_AC_TYPES and not self.group.get("no_ac")
            and (bytes_ <= 8 or kind.startswith("x87"))
        )  # fmt: skip
