"""The public single-instruction data sets of the 8086 and 80286 (SingleStepTests): read, run, compared.

A set is a folder of gzipped files, one an opcode (`00.json.gz`, `F6.6.MOO.gz`) with metadata.json, which names its
processor and the flags that it leaves undefined. BRINGUP_SINGLESTEP names a folder that such folders lie in.
"""

from __future__ import annotations

import gzip
import json
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REGISTERS = ("ax", "bx", "cx", "dx", "cs", "ss", "ds", "es", "sp", "bp", "si", "di", "ip", "flags")
FLAGS = 0x0ED5  # OF DF IF SF ZF AF PF CF
WRAPS, REPEATS = 1, 2
NO_VECTOR = 0xFF
REPEAT_PREFIXES = {0xF2, 0xF3}
PREFIXES = REPEAT_PREFIXES | {0x26, 0x2E, 0x36, 0x3E, 0xF0}


class DatasetError(Exception):
    """A file that is not what its name says."""


@dataclass
class State:
    """Registers by name, memory by address; after an instruction only what changed."""

    registers: dict[str, int] = field(default_factory=dict)
    memory: dict[int, int] = field(default_factory=dict)


@dataclass
class Case:
    name: str
    code: bytes
    before: State
    after: State


@dataclass(frozen=True)
class Difference:
    """One case that ended otherwise: `what` is the register or address, with ours and theirs; `vector` of the exception
    that ours raised, or NO_VECTOR."""

    name: str
    code: bytes
    what: tuple[str, ...]
    vector: int


# ---- files ----


def _json_cases(data: bytes) -> Iterator[Case]:
    for test in json.loads(data):
        states = [
            State(test[key]["regs"], {address & 0xFFFFFF: byte for address, byte in test[key]["ram"]})
            for key in ("initial", "final")
        ]
        yield Case(test["name"], bytes(test["bytes"]), states[0], states[1])


def _chunks(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Tag, 32-bit length, content; one after the other."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise DatasetError("a chunk without a length")
        tag, size = struct.unpack_from("<4sI", data, at)
        if at + 8 + size > len(data):
            raise DatasetError(f"chunk {tag!r} is cut off")
        yield tag, data[at + 8 : at + 8 + size]
        at += 8 + size


def _moo_state(data: memoryview) -> State:
    state = State()
    for tag, content in _chunks(data):
        if tag == b"REGS":
            mask = struct.unpack_from("<H", content)[0]
            present = [name for bit, name in enumerate(REGISTERS) if mask >> bit & 1]
            state.registers = dict(zip(present, struct.unpack_from(f"<{len(present)}H", content, 2), strict=True))
        elif tag == b"RAM ":
            pairs = struct.iter_unpack("<IB", content[4:])
            state.memory = {address & 0xFFFFFF: byte for address, byte in pairs}
    return state


def _moo_cases(data: bytes) -> Iterator[Case]:
    for tag, content in _chunks(memoryview(data)):
        if tag != b"TEST":
            continue
        case = Case("", b"", State(), State())
        for inner, piece in _chunks(content[4:]):
            if inner == b"NAME":
                case.name = bytes(piece[4:]).decode(errors="replace")
            elif inner == b"BYTS":
                case.code = bytes(piece[4:])
            elif inner == b"INIT":
                case.before = _moo_state(piece)
            elif inner == b"FINA":
                case.after = _moo_state(piece)
        yield case


def read(path: Path) -> Iterator[Case]:
    """The cases of a file; DatasetError names the file that is not one."""
    try:
        data = gzip.decompress(path.read_bytes())
        yield from _moo_cases(data) if data[:4] == b"MOO " else _json_cases(data)
    except (OSError, EOFError, ValueError, KeyError, TypeError, struct.error, DatasetError) as error:
        raise DatasetError(f"{path.name}: {error}") from None


@dataclass(frozen=True)
class Dataset:
    folder: Path
    cpu: str  # 8086, 286
    opcodes: dict[str, Any]

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.name.endswith((".json.gz", ".MOO.gz")))

    def flags_mask(self, opcode: str) -> int:
        """Of the flags that the instruction defines; `opcode` as in the file's name: F6.6."""
        number, _, reg = opcode.partition(".")
        row = self.opcodes.get(number, {})
        if "reg" in row:
            row = row["reg"].get(reg or "0", {})
        mask: int = row.get("flags-mask", 0xFFFF)
        return mask & FLAGS


def find(root: Path) -> list[Dataset]:
    """The data sets below a folder."""
    found = []
    for path in sorted(root.rglob("metadata.json")):
        table = json.loads(path.read_text())
        found.append(Dataset(path.parent, str(table.get("cpu", path.parent.name)), table["opcodes"]))
    return found


# ---- running ----


def _pack(case: Case, wraps: bool) -> bytes:
    prefixes = set()
    for byte in case.code:
        if byte not in PREFIXES:
            break
        prefixes.add(byte)
    flags = (WRAPS if wraps else 0) | (REPEATS if prefixes & REPEAT_PREFIXES else 0)
    words = [flags, *(case.before.registers[name] for name in REGISTERS), len(case.before.memory)]
    for address, byte in case.before.memory.items():
        words += address, byte
    words += len(case.after.memory), *case.after.memory
    return struct.pack(f"<{len(words)}I", *words)


def run(
    program: Path, config: bytes, cases: list[Case], wraps: bool
) -> Iterator[tuple[dict[str, int], int, list[int]]]:
    """Registers, vector and the bytes that the case asks for, after each."""
    data = config + b"".join(_pack(case, wraps) for case in cases)
    output = subprocess.run([program], input=data, stdout=subprocess.PIPE, check=True, timeout=600).stdout
    at = 0
    for case in cases:
        count = len(REGISTERS) + 1 + len(case.after.memory)
        words = struct.unpack_from(f"<{count}I", output, at)
        at += 4 * count
        vector = words[len(REGISTERS)]
        yield dict(zip(REGISTERS, words, strict=False)), vector, list(words[len(REGISTERS) + 1 :])


def _pushed_flags(registers: dict[str, int], wraps: bool) -> list[int]:
    """The two addresses of FLAGS, which an exception's delivery pushed first. (Those in the 80286's files are what the
    bus had: always even.)"""
    addresses = [(registers["ss"] << 4) + (registers["sp"] + 4 + byte & 0xFFFF) for byte in range(2)]
    return [address & 0xFFFFF if wraps else address for address in addresses]


def differences(dataset: Dataset, opcode: str, cases: list[Case], program: Path, config: bytes) -> Iterator[Difference]:
    """What ended otherwise. The 80286's cases end behind a HLT, whose byte IP has passed: their own or, of HLT itself,
    the case."""
    wraps, halted = dataset.cpu == "8086", 1 if "286" in dataset.cpu and opcode != "F4" else 0
    mask = dataset.flags_mask(opcode)
    for case, (registers, vector, memory) in zip(cases, run(program, config, cases, wraps), strict=True):
        what = []
        for name in REGISTERS:
            wanted = case.after.registers.get(name, case.before.registers[name])
            if name == "ip":
                wanted = (wanted - halted) & 0xFFFF
            ignored = 0xFFFF ^ mask if name == "flags" else 0
            if (registers[name] ^ wanted) & ~ignored & 0xFFFF:
                what.append(f"{name} {registers[name]:04x} not {wanted:04x}")
        pushed = [] if vector == NO_VECTOR else _pushed_flags(registers, wraps)
        for (address, wanted), byte in zip(case.after.memory.items(), memory, strict=True):
            ignored = 0xFF ^ mask >> 8 * pushed.index(address) & 0xFF if address in pushed else 0
            if (byte ^ wanted) & ~ignored & 0xFF:
                what.append(f"[{address:05x}] {byte:02x} not {wanted:02x}")
        if what:
            yield Difference(case.name, case.code, tuple(what), vector)
