"""What the interpreter executes by the host's own instructions does what the SDM says around them.

The oracle compares with the host, which proves little where the host computes on both sides. Here each form of sdm.toml
runs on our processor alone: how many bytes of memory it touches, read or written, aligned or not, up to the end of a
page, of a segment and of what is canonical; which registers and flags it changes and which parts of them; its length;
#UD, #NM, #MF, #XM, #AC, #GP, #SS and #PF by CR0, CR4, XCR0, MXCSR, FCW, prefixes, VEX fields, mode and CPUID; and that
there are no other forms, nor fewer.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cffi import FFI
from expectations.table import XMM, Key, Row, TableError, read_table
from oracle.describe import disassemble, name_of
from oracle.program import build, configuration, environment, types

HERE = Path(__file__).parent
ORACLE = HERE.parent / "oracle"
# Rows of opcodes.c whose forms need an expectation: all that vector units, MMX and x87 do, and integer extensions.
NAMES = {
    "simd",
    "x87",
    "vex",
    "emms",
    "fwait",
    "fxsave",
    "fxrstor",
    "ldmxcsr",
    "stmxcsr",
    "popcnt",
    "movbe",
    "adcx/adox",
}
MEMORY = 2
CONTROL_AREAS = {"fxsave", "fxrstor", "ldmxcsr", "stmxcsr"}  # 0F AE, whose register forms are other instructions

pytestmark = pytest.mark.xdist_group("oracle")


@cache
def structures() -> FFI:
    ffi = types()
    text = (HERE / "expect.h").read_text().replace("#define BRINGUP_EXPECT_H\n", "")
    ffi.cdef("\n".join(line for line in text.splitlines() if not line.startswith(("#include", "#ifndef", "#endif"))))
    return ffi


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    base = tmp_path_factory.getbasetemp()
    path = (base if worker_id == "master" else base.parent) / "expectations"
    build(path, HERE, [ORACLE / "forms.c", ORACLE / "guest.c"])
    return path


def ask(program: Path, order: bytes, model: str = "max") -> bytes:
    request = configuration(model)[0] + order
    return subprocess.run(
        [program], input=request, stdout=subprocess.PIPE, check=True, timeout=300, env=environment()
    ).stdout


@dataclass
class Known:
    """What the processor has: its forms, its features in the order of their numbers."""

    forms: Any  # an array of struct oracle_form, which owns what its elements point into
    features: dict[str, int]
    present: set[str]


def known(program: Path, model: str = "max") -> Known:
    ffi = structures()
    data = ask(program, bytes(ffi.buffer(ffi.new("struct expect_order *", {"list": 1}))), model)
    count, size = int.from_bytes(data[:4], "little"), ffi.sizeof("struct oracle_form")
    end = 4 + count * size
    forms = ffi.from_buffer("struct oracle_form[]", data[4:end])
    features = ffi.from_buffer("struct expect_feature[]", data[end + 4 :])
    names = [text_of(feature.name) for feature in features]
    present = {name for name, feature in zip(names, features, strict=True) if feature.present}
    return Known(forms, {name: number for number, name in enumerate(names)}, present)


def text_of(characters: Any) -> str:
    return bytes(structures().buffer(characters)).partition(b"\0")[0].decode()


def key_of(form: Any) -> Key:
    return Key(form.map, form.opcode, form.prefix, form.w, form.l, form.reg, form.rm, form.operand)


def in_scope(form: Any) -> bool:
    name = text_of(form.name)
    return name in NAMES and (form.operand == MEMORY or name not in CONTROL_AREAS)


def matches(forms: Any, table: dict[Key, Row], present: set[str]) -> Iterator[tuple[int, Any, Row | None]]:
    """The forms that there should be, with their rows; and those of the processor that have none."""
    for number, form in enumerate(forms):
        row = table.get(key_of(form))
        if row and row.feature not in present:
            row = None
        if row or (form.known and in_scope(form)):
            yield number, form, row


def gathers(row: Row) -> bool:
    return any(operand.startswith("vm") for operand in row.operands)


def expectations(known_: Known, table: dict[Key, Row]) -> list[dict[str, Any]]:
    """Of all forms: the fields of struct expectation."""
    found = matches(known_.forms, table, known_.present)
    return [
        row.expectation(form) | {"form": number, "feature": known_.features[row.feature] + 1}
        for number, form, row in found
        if row and (form.known or gathers(row))
    ]


def check(program: Path, expected: list[dict[str, Any]]) -> bytes:
    """A struct expect_report and its failures."""
    ffi = structures()
    order = ffi.new("struct expect_order *", {"expectations": len(expected)})
    pieces = [order, *(ffi.new("struct expectation *", fields) for fields in expected)]
    return ask(program, b"".join(bytes(ffi.buffer(piece)) for piece in pieces))


def failures(answer: bytes, forms: Any, table: dict[Key, Row]) -> Iterator[str]:
    ffi = structures()
    size = ffi.sizeof("struct expect_report")
    found = ffi.from_buffer("struct expect_failure[]", answer[size:])
    for failure in found:
        form = forms[failure.form]
        code = bytes(failure.code)[: failure.length]
        text = text_of(failure.text)
        where = f"{name_of(form)}: {code.hex(' ')}: {disassemble(code, form.mode)}"
        yield f"{where}: {text}  ({table[key_of(form)].section})"


@pytest.fixture(scope="module")
def all_known(program: Path) -> Known:
    return known(program)


@pytest.fixture(scope="module")
def table() -> dict[Key, Row]:
    return read_table()


def test_every_form_has_an_expectation_and_no_other_exists(all_known: Known, table: dict[Key, Row]) -> None:
    found = list(matches(all_known.forms, table, all_known.present))
    assert [name_of(form) for _, form, row in found if not row] == [], "forms without an expectation"
    missing = [name_of(form) for _, form, row in found if row and not form.known and not gathers(row)]
    assert missing == [], "forms that the processor lacks"
    used = {row.text for _, _, row in found if row}
    unused = [row.text for row in table.values() if row.text not in used and row.feature in all_known.present]
    assert unused == [], "rows that are of no form"


@pytest.mark.parametrize("model", ["486", "pentium", "pentium3", "core2", "opteron", "x86-64-v2", "x86-64-v3"])
def test_a_model_has_the_forms_of_its_features(program: Path, table: dict[Key, Row], model: str) -> None:
    have = known(program, model)
    found = [match for match in matches(have.forms, table, have.present) if not match[2] or not gathers(match[2])]
    assert [name_of(form) for _, form, row in found if not row] == [], "of features that the model lacks"
    assert [name_of(form) for _, form, row in found if not form.known] == [], "of features that the model has"


def test_forms_are_as_expected(program: Path, all_known: Known, table: dict[Key, Row]) -> None:
    expected = expectations(all_known, table)
    answer = check(program, expected)
    found = list(failures(answer, all_known.forms, table))
    assert not found, f"{len(found)} of {len(expected)} forms:\n" + "\n".join(found[:40])
    assert report_of(answer).runs > 30 * len(expected)


# What the manual does not say, and what must then be found: an instruction of 64-bit code, a field, its wrong value.
FALSEHOODS = [
    ("0F 58", "addps", 2, {"bytes": 8}, "ends where its page does"),
    ("0F 58", "addps", 2, {"bytes": 32}, "end is on an absent page"),
    ("0F 58", "addps", 2, {"alignment": 1}, "not aligned"),
    ("0F 58", "addps", 1, {"mxcsr": 0x3F}, "raised only"),
    ("0F 58", "addps", 1, {"mxcsr": 0}, "MXCSR"),
    ("0F 58", "addps", 1, {"written": [(XMM, 1, 0, 0)]}, "XMM"),
    ("0F 10", "movups", 2, {"alignment": 16}, "not aligned"),
    ("0F 11", "movups", 2, {"writes": 0}, "memory"),
    ("0F 11", "movups", 2, {"writes": 1, "bytes": 8}, "memory"),
    ("0F 2E", "ucomiss", 1, {"flags": 0x8D5 & ~0x40, "cleared": 0}, "RFLAGS"),
    ("0F 2E", "ucomiss", 1, {"cleared": 0x8D5}, "not cleared"),
    ("0F 2A", "cvtpi2ps", 1, {"demands": 1 | 4 | 16 | 128}, "tags"),
    ("0F 6F", "movq", 2, {"demands": 1 | 4 | 16 | 64 | 512}, "OSFXSR"),
    ("0F C6", "", 1, {"immediates": 0}, "bytes long"),
    ("0F C3", "movnti", 2, {"demands": 4}, "CR0.TS"),
    ("VEX.0F 58", "vaddps", 1, {"written": [(XMM, 0, 0, 0)]}, "bits 255:128"),
    ("VEX.0F 28", "", 2, {"v_used": 1}, "vector 6"),
    ("VEX.0F 58", "vaddps", 2, {"alignment": 16}, "not aligned"),
    ("VEX.0F 58", "vaddps", 1, {"v_used": 0}, "names nothing"),
    ("D8 /0", "fadd", 2, {"pops": 1}, "TOP"),
    ("D8 /0", "fadd", 2, {"notes": 0}, "FSW"),
    ("D8 /0", "fadd", 2, {"x87": 0x3F}, "of which"),
    ("D8 /0", "fadd", 2, {"check_ac": 0, "demands": 2 | 4 | 128}, "pending"),
    ("D9 /7", "fnstcw", 2, {"demands": 2 | 4 | 64}, "pending"),
]  # fmt: skip


def report_of(answer: bytes) -> Any:
    return structures().from_buffer("struct expect_report *", answer[: structures().sizeof("struct expect_report")])


@pytest.mark.parametrize(("opcode", "mnemonic", "operand", "fields", "found"), FALSEHOODS)
def test_a_wrong_expectation_is_found(
    program: Path, all_known: Known, table: dict[Key, Row], opcode: str, mnemonic: str, operand: int,
    fields: dict[str, Any], found: str,
) -> None:  # fmt: skip
    kind = {1: "reg", 2: "mem"}[operand]
    wanted = f"64-bit {opcode} {kind}"
    number, form, row = next(
        match
        for match in matches(all_known.forms, table, all_known.present)
        if name_of(match[1]) == wanted and match[2]
    )
    assert row
    right = row.expectation(form) | {"form": number, "feature": all_known.features[row.feature] + 1}
    assert list(failures(check(program, [right]), all_known.forms, table)) == []
    texts = list(failures(check(program, [right | fields]), all_known.forms, table))
    assert any(mnemonic in text and found in text for text in texts), texts


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("NP 0F 58 SSE RM xmm xmm/m128\nNP 0F 58 SSE RM xmm xmm/m64", "also in"),
        ("NP 0F 58 SSE5 RM xmm xmm/m128", "no feature"),
        ("NP 0F 58 SSE", "no feature or no Op/En"),
    ],
)
def test_a_table_says_everything_once(tmp_path: Path, rows: str, message: str) -> None:
    path = tmp_path / "sdm.toml"
    path.write_text(f'[[group]]\nsection = "ADDPS"\ntype = "2"\nrows = """\n{rows}\n"""\n')
    with pytest.raises(TableError, match=message):
        read_table(path)


@pytest.mark.parametrize("line", ['type = "0"', 'type = "2"\nflag = "C"'])
def test_a_group_has_a_type_and_no_other_keys(tmp_path: Path, line: str) -> None:
    path = tmp_path / "sdm.toml"
    path.write_text(f'[[group]]\nsection = "ADDPS"\n{line}\nrows = """\nNP 0F 58 SSE RM xmm xmm/m128\n"""\n')
    with pytest.raises(TableError, match="ADDPS"):
        read_table(path)
