"""Where Intel's and AMD's processors differ and the CPU model decides: a table, each row tried on a model of either.

    PYTHONPATH=vmm/tests:vmm/tests/processor python -m vendors [--write]

prints it as docs/vendors.md has it, and ends with 1 when a model does otherwise; --write keeps it there.
"""

from __future__ import annotations

import argparse
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from probe import DONE, GP, UD, Outcome, Probe, fault
from rootmode import CODE, DATA, STACK, USER_DATA, ffi, lib

INTEL, AMD = "core2,+RDTSCP,+INVPCID", "opteron,+INVPCID"  # the probe's VM-execution controls want them
VENDORS = Path(__file__).parents[3] / "docs" / "vendors.md"
STAR, LSTAR, CSTAR, FMASK = 0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084
SCE, LME, LMA = 1, 1 << 8, 1 << 10
SYSCALL, SYSRET, SYSRETQ, SYSENTER, SYSEXIT = b"\x0f\x05", b"\x0f\x07", b"\x48\x0f\x07", b"\x0f\x34", b"\x0f\x35"
COMPATIBILITY = 0xC0FB
TARGET = 0x9000


def model(name: str, mode: str = "long") -> Probe:
    probe = Probe(name, mode)
    efer = probe["guest_efer"] | SCE
    probe["guest_efer"] = efer
    for msr, value in ((STAR, 0x0018 << 32 | 0x0030 << 48 | TARGET), (LSTAR, TARGET), (CSTAR, TARGET + 0x100)):
        assert probe.wrmsr(msr, value)
    probe.set(guest_sysenter_cs=8, guest_sysenter_eip=TARGET, guest_sysenter_esp=STACK)
    return probe


def outcome_of(probe: Probe, code: bytes, **changes: int) -> tuple[Outcome, int]:
    outcome = probe.run(code, **changes)
    return outcome, probe["guest_rip"]


def compatibility(probe: Probe) -> None:
    probe.segment("cs", 0x33, 0, 0xFFFFFFFF, COMPATIBILITY)
    probe.segment("ss", USER_DATA, 0, 0xFFFFFFFF, 0xC0F3)


# ---- each row: what the two do ----


def syscall_64(name: str) -> object:
    probe = model(name)
    return outcome_of(probe, SYSCALL)


def syscall_compatibility(name: str) -> object:
    probe = model(name)
    compatibility(probe)
    return outcome_of(probe, SYSCALL)


def syscall_legacy(name: str) -> object:
    probe = model(name, "protected")
    return outcome_of(probe, SYSCALL)


def sysret_legacy(name: str) -> object:
    probe = model(name, "protected")
    probe.put("rcx", TARGET)
    return (*outcome_of(probe, SYSRET, guest_rflags=2), probe["guest_rflags"] >> 9 & 1)


def sysret_not_canonical(name: str) -> object:
    probe = model(name)
    probe.put("rcx", 1 << 47)
    probe.put("r11", 2)
    outcome = probe.run(SYSRETQ)
    return outcome, probe["guest_cs_selector"] & 3


def sysenter_long(name: str) -> object:
    probe = model(name)
    return outcome_of(probe, SYSENTER)


def sysenter_legacy(name: str) -> object:
    probe = model(name, "protected")
    return outcome_of(probe, SYSENTER)


def near_branch_66h(name: str) -> object:
    """JMP, CALL and RET with 66h in 64-bit code: where to, by how much RSP moves."""
    probe = model(name)
    found = []
    for code in (b"\x66\xe9\x10\x00\x00\x00", b"\x66\xe8\x10\x00\x00\x00", b"\x66\xc3", b"\x66\x74\x04"):
        probe.quad(STACK - 8, 0x129000)
        outcome = probe.run(code, guest_rsp=STACK - 8, guest_rflags=0x42)
        found.append((outcome, probe["guest_rip"], probe["guest_rsp"] - STACK + 8))
    return found


def fxsave_pointers(name: str) -> object:
    probe = model(name)
    fpu = probe.registers.fpu
    fpu.fcw, fpu.fop, fpu.fip, fpu.fdp = 0x37F, 0x123, 0x1111, 0x2222
    found = []
    for fcw, fsw in ((0x37F, 0), (0x37E, 0x8081)):  # none, an unmasked error
        fpu.fcw, fpu.fsw = fcw, fsw
        probe.write(DATA, b"\xee" * 512)
        probe.put("rdi", DATA)
        assert probe.run(b"\x48\x0f\xae\x07") == DONE
        found.append(struct.unpack_from("<HQQ", probe.read(DATA + 6, 18)))
    return found


def cpuid_beyond(name: str) -> object:
    probe = model(name)
    leaf = ffi.new("struct cpuid_leaf *")
    lib.processor_cpuid(probe.cpu, 0x1F, 0, leaf)
    beyond = (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx)
    lib.processor_cpuid(probe.cpu, 0x0A if name == INTEL else 0x05, 0, leaf)
    return beyond == (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx), beyond == (0, 0, 0, 0)


def null_selector(name: str) -> object:
    probe = model(name)
    probe.segment("fs", 0x10, 0x12345000, 0xFFFF, 0x93)
    probe.put("rax", 0)
    assert probe.run(b"\x8e\xe0") == DONE  # MOV FS, EAX
    return probe["guest_fs_base"]


WENT, UNDEFINED = (DONE, TARGET), (fault(UD), CODE)


@dataclass(frozen=True)
class Row:
    """What the manuals say of the two, the check that shows it on a model, and what that finds."""

    says_intel: str
    says_amd: str
    check: Callable[[str], object]
    intel: object
    amd: object


ROWS = {
    "syscall-64": Row("SYSCALL in 64-bit code goes to IA32_LSTAR", "the same", syscall_64, WENT, WENT),
    "syscall-compatibility": Row(
        "#UD in compatibility mode",
        "to CSTAR, in 64-bit code",
        syscall_compatibility,
        UNDEFINED,
        (DONE, TARGET + 0x100),
    ),
    "syscall-legacy": Row(
        "#UD in protected mode", "to STAR[31:0], EFLAGS.IF and VM cleared", syscall_legacy, UNDEFINED, WENT
    ),
    "sysret-legacy": Row(
        "#UD in protected mode", "to ECX, EFLAGS.IF set", sysret_legacy, (*UNDEFINED, 0), (DONE, TARGET, 1)
    ),
    "sysret-not-canonical": Row(
        "#GP(0) at CPL 0, before the return",
        "#GP(0) at CPL 3, when it is fetched from",
        sysret_not_canonical,
        (fault(GP, 0), 0),
        (DONE, 3),
    ),
    "sysenter-long": Row(
        "SYSENTER and SYSEXIT work in IA-32e mode", "#UD in long mode", sysenter_long, WENT, UNDEFINED
    ),
    "sysenter-legacy": Row("SYSENTER works in protected mode", "the same", sysenter_legacy, WENT, WENT),
    "near-branch-66h": Row(
        "66h before a near branch in 64-bit code is ignored",
        "16-bit operand: RIP is cut to 16 bits, CALL pushes two bytes",
        near_branch_66h,
        [(DONE, CODE + 0x16, 0), (DONE, CODE + 0x16, -8), (DONE, 0x129000, 8), (DONE, CODE + 7, 0)],
        [(DONE, CODE + 0x14, 0), (DONE, CODE + 0x14, -2), (DONE, 0x9000, 2), (DONE, CODE + 7, 0)],
    ),
    "fxsave-pointers": Row(
        "FXSAVE and XSAVE always store FOP, FIP and FDP",
        "with an unmasked x87 error only, unless the model has XSAVEERPTR; FXRSTOR and XRSTOR likewise",
        fxsave_pointers,
        [(0x123, 0x1111, 0x2222)] * 2,
        [(0xEEEE, 0xEEEEEEEEEEEEEEEE, 0xEEEEEEEEEEEEEEEE), (0x123, 0x1111, 0x2222)],
    ),
    "cpuid-beyond": Row(
        "a leaf beyond the last reads as the last basic one",
        "reads as zeros",
        cpuid_beyond,
        (True, True),
        (False, True),
    ),
    "null-selector": Row(
        "a null selector clears the segment's base", "base and limit stay", null_selector, 0, 0x12345000
    ),
}


HEAD = "| row | GenuineIntel | AuthenticAMD |\n| --- | --- | --- |\n"


def table() -> str:
    """Markdown, as docs/vendors.md has it."""
    return HEAD + "".join(f"| `{name}` | {row.says_intel} | {row.says_amd} |\n" for name, row in ROWS.items())


def written(text: str) -> str:
    """The page with the table of today in place of its own."""
    return re.sub(re.escape(HEAD) + r"(\|.*\n)*", lambda _: table(), text)


def main() -> int:
    parser = argparse.ArgumentParser(description="Prints where vendors differ, having tried it on models of both.")
    parser.add_argument("--write", action="store_true", help=f"keep it in {VENDORS.name}")
    arguments = parser.parse_args()
    print(table(), end="")
    wrong = [name for name, row in ROWS.items() if (row.check(INTEL), row.check(AMD)) != (row.intel, row.amd)]
    for name in wrong:
        print(f"{name}: the models do otherwise")
    if arguments.write and not wrong:
        VENDORS.write_text(written(VENDORS.read_text()))
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
