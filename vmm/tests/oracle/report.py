"""The oracle's command: runs it as long as asked, prints what differs, keeps the coverage in docs/opcodes.md.

    PYTHONPATH=vmm/tests python -m oracle.report --seconds 60 [--seed N] [--print] [--write]

Status 1 when something differs, or an entry of the opcode table is neither reached nor named in review.toml.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from oracle.describe import MAPS, MODES, describe, name_of
from oracle.program import Oracle, OracleUnavailable, Report, build, types
from oracle.shrink import shrink

HERE = Path(__file__).parent
COVERAGE = HERE.parent.parent.parent / "docs" / "opcodes.md"
SHOWN = 20  # differences that are shrunk and printed
ATTEMPTS = 100  # more for each form of what only faulted


@dataclass(frozen=True)
class Review:
    """Opcodes of review.toml: for each the manual's section and why."""

    unreached: dict[str, tuple[str, str]]
    host_only: dict[str, tuple[str, str]]


def read_review(path: Path = HERE / "review.toml") -> Review:
    """Raises KeyError for an entry without opcodes, section or reason, ValueError for one that is named twice."""
    table = tomllib.loads(path.read_text())

    def rows(name: str) -> dict[str, tuple[str, str]]:
        found: dict[str, tuple[str, str]] = {}
        for entry in table[name]:
            for opcode in entry["opcodes"]:
                if opcode in found:
                    raise ValueError(f"{path.name}: {name}: {opcode} twice")
                found[opcode] = entry["section"], entry["why"]
        return found

    return Review(rows("unreached"), rows("host_only"))


def opcode_of(form: Any) -> str:
    return f"{MAPS[form.map]}{form.opcode:02X}" + (f" /{form.reg}" if form.reg != 0xFF else "")


@dataclass
class Entry:
    """Forms of one opcode that the decoder treats alike."""

    form: Any
    runs: int = 0
    done: int = 0
    undefined: int = 0

    @property
    def reached(self) -> bool:
        """Did it complete, or does it not exist after all: always #UD, on both sides, unless it is too long?"""
        return self.done > 0 or (self.runs > 0 and self.runs - self.undefined <= self.runs // 8)


def entries(report: Report) -> list[Entry]:
    found: dict[int, Entry] = {}
    for form, tally in zip(report.forms, report.tallies, strict=True):
        if form.known:
            entry = found.setdefault(form.entry, Entry(report.forms[form.entry]))
            entry.runs += tally.runs
            entry.done += tally.done
            entry.undefined += tally.undefined
    return list(found.values())


def unreached(report: Report, review: Review) -> list[str]:
    """Entries that nothing has reached and nobody has reviewed."""
    missing = (entry.form for entry in entries(report) if not entry.reached)
    return sorted({name_of(form) for form in missing if opcode_of(form) not in review.unreached})


def host_only(report: Report, review: Review) -> list[str]:
    """Encodings that the host knows, the processor does not and review.toml neither."""
    pairs = zip(report.forms, report.tallies, strict=True)
    return sorted({name_of(f) for f, tally in pairs if tally.host_only and opcode_of(f) not in review.host_only})


# ---- the page in docs/ ----


def mnemonics(forms: Iterable[Any]) -> Iterator[str]:
    """What binutils call each form's simplest instruction."""
    for mode, machine in enumerate(("i8086", "i386", "x86-64")):
        chosen = [form for form in forms if form.mode == mode]
        with TemporaryDirectory() as folder:
            path = Path(folder) / "code"
            path.write_bytes(b"".join(bytes(form.plain) for form in chosen))
            command = ["objdump", "-D", "-z", "-w", "-b", "binary", "-m", "i386", "-M", f"intel,{machine}", str(path)]
            text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        names: dict[int, str] = {}
        for line in text.splitlines():
            fields = line.split("\t")
            if len(fields) >= 3 and fields[0].strip().endswith(":"):
                at = int(fields[0].strip()[:-1], 16)
                words = [word for word in fields[2].split() if word not in IGNORED and not word.startswith("rex")]
                names[at] = words[0] if words else "?"
        yield from (names.get(16 * index, "?") for index in range(len(chosen)))


IGNORED = {"repz", "repnz", "rep", "bnd", "data16", "data32", "addr16", "addr32", "notrack", "xacquire", "xrelease"}
WIDE_NAMES = {"simd", "x87", "vex"}


def operand_of(form: Any, name: str) -> str:
    kind = ("", "r", "m")[form.operand]
    return kind or "-" if name in WIDE_NAMES else f"{kind}{8 * form.size}"


def operand_order(kind: str) -> tuple[bool, str, int, str]:
    """Without ModRM, memory, register; each by size."""
    return kind[:1].isalpha(), kind[:1] if kind[:1].isalpha() else "", len(kind), kind


def page(report: Report, review: Review) -> str:
    """Markdown: a line for each instruction, the operand forms reached in each mode."""
    reached = sorted((entry for entry in entries(report) if entry.done), key=lambda entry: entry.form.mode)
    names = mnemonics([entry.form for entry in reached])
    lines: dict[tuple[int, int, int, str], list[set[str]]] = defaultdict(lambda: [set(), set(), set()])
    for entry, name in zip(reached, names, strict=True):
        form = entry.form
        own = bytes(types().buffer(form.name)).split(b"\0")[0].decode()
        shown = name if own in WIDE_NAMES else own
        lines[form.map, form.opcode, form.reg, shown][form.mode].add(operand_of(form, own))
    text = [
        "# Opcodes compared with the host's processor\n",
        "Printed by `PYTHONPATH=vmm/tests python -m oracle.report --print`, kept by `--write`; do not edit. The",
        "interpreter decoded and ran each form here as the host's processor did, with the same outcome: registers,",
        "flags, x87, SSE and AVX state, memory. `r16` is a register with 16 bits, `m16` an operand in memory, `16` a",
        "form without ModRM; x87, SSE and VEX instructions say only which.\n",
        "| opcode | instruction | 16-bit | 32-bit | 64-bit |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (map_, opcode, reg, name), cells in sorted(lines.items()):
        label = f"{MAPS[map_]}{opcode:02X}" + (f" /{reg}" if reg != 0xFF else "")
        shown = " | ".join(
            " ".join(sorted(cell, key=lambda kind: (kind[:1].isalpha(), kind[:1], len(kind), kind))) for cell in cells
        )
        text.append(f"| {label} | {name} | {shown} |")
    text += ["\n## Not reached, and why\n", "| opcode | manual | why |", "| --- | --- | --- |"]
    grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
    for opcode_name, reason in review.unreached.items():
        grouped[reason].append(opcode_name)
    text += [f"| {', '.join(opcodes)} | {section} | {why} |" for (section, why), opcodes in grouped.items()]
    return "\n".join(text) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares the interpreter with the host's processor.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cpu", default="max", help="CPU model (default: max)")
    parser.add_argument("--print", action="store_true", help="print the coverage, as the page has it")
    parser.add_argument("--write", action="store_true", help=f"keep the coverage in {COVERAGE.name}")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    with TemporaryDirectory() as folder:
        program = Path(folder) / "oracle"
        build(program)
        asked = Oracle(program, arguments.cpu)
        try:
            report = asked.run(arguments.seed, arguments.seconds, arguments.workers, ATTEMPTS)
        except OracleUnavailable as error:
            print(f"the host cannot be asked: {error}")
            return 1
        for failure in report.failures[:SHOWN]:
            print(describe(shrink(asked, failure)))
    review = read_review()
    missing, only = unreached(report, review), host_only(report, review)
    rate = report.cases / report.seconds
    print(f"{report.cases} cases in {report.seconds:.1f} s ({rate:.0f} a second on {arguments.workers} workers),")
    print(f"{report.unsteady} differences that did not come again, {len(report.failures)} kept of those that did,")
    print(f"{report.astray} met memory of the host's process itself")
    for name in missing:
        print(f"not reached: {name}")
    for name in only:
        print(f"only the host has: {name}")
    done = sum(entry.done > 0 for entry in entries(report))
    print(f"{done} entries reached in {', '.join(MODES)} code")
    if arguments.print:
        print(page(report, review), end="")
    if arguments.write:
        COVERAGE.write_text(page(report, review))
    return 1 if report.failures or missing or only else 0


if __name__ == "__main__":
    sys.exit(main())
