"""Where Intel's and AMD's processors differ and the model decides: every row of docs/vendors.md, on both."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
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

# The row's name in docs/vendors.md: what it does, on Intel's and on AMD's.
ROWS: dict[str, tuple[Callable[[str], object], object, object]] = {
    "syscall-64": (syscall_64, WENT, WENT),
    "syscall-compatibility": (syscall_compatibility, UNDEFINED, (DONE, TARGET + 0x100)),
    "syscall-legacy": (syscall_legacy, UNDEFINED, WENT),
    "sysret-legacy": (sysret_legacy, (*UNDEFINED, 0), (DONE, TARGET, 1)),
    "sysret-not-canonical": (sysret_not_canonical, (fault(GP, 0), 0), (DONE, 3)),
    "sysenter-long": (sysenter_long, WENT, UNDEFINED),
    "sysenter-legacy": (sysenter_legacy, WENT, WENT),
    "near-branch-66h": (
        near_branch_66h,
        [(DONE, CODE + 0x16, 0), (DONE, CODE + 0x16, -8), (DONE, 0x129000, 8), (DONE, CODE + 7, 0)],
        [(DONE, CODE + 0x14, 0), (DONE, CODE + 0x14, -2), (DONE, 0x9000, 2), (DONE, CODE + 7, 0)],
    ),
    "fxsave-pointers": (
        fxsave_pointers,
        [(0x123, 0x1111, 0x2222)] * 2,
        [(0xEEEE, 0xEEEEEEEEEEEEEEEE, 0xEEEEEEEEEEEEEEEE), (0x123, 0x1111, 0x2222)],
    ),
    "cpuid-beyond": (cpuid_beyond, (True, True), (False, True)),
    "null-selector": (null_selector, 0, 0x12345000),
}


@pytest.mark.parametrize("row", ROWS)
def test_row(row: str) -> None:
    check, intel, amd = ROWS[row]
    assert check(INTEL) == intel
    assert check(AMD) == amd


def test_the_table_in_the_documentation_has_these_rows() -> None:
    assert re.findall(r"^\| `([a-z0-9-]+)` \|", VENDORS.read_text(), re.MULTILINE) == list(ROWS)
