"""Other people's tests of single instructions: what real 8086s and 80286s did.

BRINGUP_SINGLESTEP names a folder with the data sets (datasets.py); BRINGUP_SINGLESTEP_CASES is how many cases of each
file are run. Without the folder only the readers and the comparison are tested.
"""

from __future__ import annotations

import gzip
import itertools
import json
import os
import struct
import tomllib
from pathlib import Path
from typing import Any

import pytest
from oracle.program import build, configuration
from singlestep.datasets import Case, Dataset, DatasetError, State, differences, find, read

HERE = Path(__file__).parent
ROOT = os.environ.get("BRINGUP_SINGLESTEP", "")
DEFAULT_CASES = 1000
CASES = int(os.environ.get("BRINGUP_SINGLESTEP_CASES", DEFAULT_CASES))
LOCK = 0xF0
SEGMENT_END = (12, 13)  # a word at offset FFFFh: review.toml

BEFORE = {
    "ax": 0x12FF, "bx": 0, "cx": 0x0001, "dx": 0, "cs": 0x1000, "ss": 0x2000, "ds": 0x3000, "es": 0x4000,
    "sp": 0x100, "bp": 0, "si": 0, "di": 0, "ip": 0x10, "flags": 0xF002,
}  # fmt: skip
ADD = bytes([0x00, 0xC8])  # add al, cl
CODE_AT = 0x10010


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    base = tmp_path_factory.getbasetemp()
    path = (base if worker_id == "master" else base.parent) / "realmode"
    build(path, HERE)
    return path


def add(**after: int) -> Case:
    memory = {CODE_AT + n: byte for n, byte in enumerate(ADD)}
    return Case("add al, cl", ADD, State(BEFORE, memory), State(after, {CODE_AT: ADD[0]}))


def test_a_case_that_agrees_and_one_that_does_not(program: Path) -> None:
    dataset, (config, _) = Dataset(HERE, "8086", {}), configuration("8086")
    right = add(ax=0x1200, ip=0x12, flags=0xF057)
    wrong = add(ax=0x1300, ip=0x12, flags=0xF057)
    found = list(differences(dataset, "00", [right, wrong, right], program, config))
    assert [difference.what for difference in found] == [("ax 1200 not 1300",)]
    undefined = Dataset(HERE, "8086", {"00": {"flags-mask": 0xFFFF ^ 0x10}})
    assert list(differences(undefined, "00", [add(ax=0x1200, ip=0x12, flags=0xF047)], program, config)) == []


def test_exceptions_are_delivered(program: Path) -> None:
    memory = {CODE_AT: 0xF6, CODE_AT + 1: 0xF7, 0: 0x34, 1: 0x12, 2: 0x78, 3: 0x56}  # div bh; the vector of #DE
    after = State({"cs": 0x5678, "ip": 0x1235, "sp": 0xFA}, {0x200FA: 0x10, 0x200FC: 0x00, 0x200FD: 0x10})
    case = Case("div bh", bytes([0xF6, 0xF7]), State(BEFORE, memory), after)
    config, _ = configuration("286")
    assert list(differences(Dataset(HERE, "286", {}), "F6.6", [case], program, config)) == []


@pytest.mark.parametrize("cpu", ["8086", "286"])
def test_an_escape_to_no_coprocessor_goes_on(program: Path, cpu: str) -> None:
    code = bytes([0xDA, 0xC4])  # no instruction of a coprocessor's
    memory = {CODE_AT + n: byte for n, byte in enumerate(code)}
    after = 0x12 if cpu == "8086" else 0x13  # behind the 80286's HLT
    case = Case("esc", code, State(BEFORE, memory), State({"ip": after}))
    config, _ = configuration(cpu, without=["FPU"])
    assert list(differences(Dataset(HERE, cpu, {}), "DA", [case], program, config)) == []


def moo(tag: bytes, content: bytes) -> bytes:
    return tag + struct.pack("<I", len(content)) + content


def moo_state(registers: dict[int, int], memory: dict[int, int]) -> bytes:
    mask = sum(1 << bit for bit in registers)
    ram = b"".join(struct.pack("<IB", *pair) for pair in memory.items())
    return moo(b"REGS", struct.pack(f"<H{len(registers)}H", mask, *registers.values())) + moo(
        b"RAM ", struct.pack("<I", len(memory)) + ram
    )


def test_both_formats_are_read(tmp_path: Path) -> None:
    test = {
        "name": "add al, cl",
        "bytes": list(ADD),
        "initial": {"regs": {"ax": 1, "flags": 2}, "ram": [[5, 6]]},
        "final": {"regs": {"ax": 3}, "ram": []},
    }
    (tmp_path / "00.json.gz").write_bytes(gzip.compress(json.dumps([test]).encode()))
    inner = struct.pack("<I", 0) + moo(b"NAME", struct.pack("<I", 10) + b"add al, cl")
    inner += moo(b"BYTS", struct.pack("<I", 2) + ADD) + moo(b"INIT", moo_state({0: 1, 13: 2}, {5: 6}))
    inner += moo(b"FINA", moo_state({0: 3}, {}))
    data = moo(b"MOO ", bytes(12)) + moo(b"TEST", inner)
    (tmp_path / "00.MOO.gz").write_bytes(gzip.compress(data))
    wanted = [Case("add al, cl", ADD, State({"ax": 1, "flags": 2}, {5: 6}), State({"ax": 3}))]
    assert list(read(tmp_path / "00.json.gz")) == list(read(tmp_path / "00.MOO.gz")) == wanted


BAD = {
    "empty": b"",
    "no gzip": b"no gzip",
    "no test": gzip.compress(b"[{}]"),
    "cut off": gzip.compress(b"[")[:-9],
    "long chunk": gzip.compress(b"MOO \xff\0\0\0"),
    "no chunk": gzip.compress(b"MOO "),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_bad_file_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "7F.json.gz"
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"^7F\.json\.gz: "):
        list(read(path))


def review_of(table: dict[str, Any], opcode: str) -> str | None:
    """The review's key that the opcode is under, alone or in a range."""
    for key in table["opcodes"]:
        first, _, last = str(key).partition("-")
        if first <= opcode <= (last or first):
            return str(key)
    return None


def opcode_of(path: Path) -> str:
    return path.name.rsplit(".", 2)[0]


def judge(dataset: Dataset, path: Path, program: Path, config: bytes, table: dict[str, Any]) -> str:
    """A line about a file with differences: how many, whether they are NEW, and the first; else nothing."""
    opcode = opcode_of(path)
    cases = [case for case in itertools.islice(read(path), CASES) if LOCK not in case.code[:8]]
    found = list(differences(dataset, opcode, cases, program, config))
    unknown = [one for one in found if one.vector not in SEGMENT_END]
    if not found:
        return ""
    note = "segment_end" if not unknown else "reviewed" if review_of(table, opcode) else "NEW"
    first = (unknown or found)[0]
    return f"{opcode}: {len(found)} of {len(cases)} ({note}): {first.name}: {', '.join(first.what[:4])}"


@pytest.mark.skipif(not ROOT, reason="BRINGUP_SINGLESTEP names no folder with the data sets")
@pytest.mark.parametrize("cpu", ["8086", "286"])
def test_data_set(program: Path, cpu: str) -> None:
    datasets = [dataset for dataset in find(Path(ROOT)) if dataset.cpu.removeprefix("80") == cpu.removeprefix("80")]
    if not datasets:
        pytest.skip(f"no data set of the {cpu} below {ROOT}")
    table = tomllib.loads((HERE / "review.toml").read_text())[cpu]
    config, _ = configuration(cpu, without=["FPU"])  # the sets' machines have no coprocessor
    paths = [(dataset, path) for dataset in datasets for path in dataset.files()]
    lines = [judge(dataset, path, program, config, table) for dataset, path in paths]
    print("\n".join(line for line in lines if line))
    assert [line for line in lines if "(NEW)" in line] == []
    used = {review_of(table, line.partition(":")[0]) for line in lines if "(reviewed)" in line}
    present = {review_of(table, opcode_of(path)) for _, path in paths} - {None}
    assert CASES < DEFAULT_CASES or present - used == set(), "reviewed, but nothing differs"
