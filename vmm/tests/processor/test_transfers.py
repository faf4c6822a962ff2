"""Far JMP, CALL and RET, IRET, SYSCALL and SYSENTER, INT: where they lead, what they push, what they refuse."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from probe import DONE, GP, NP, SS, TS, UD, Outcome, Probe, fault
from rootmode import CODE, DATA, GDT, STACK, TSS, USER_CODE64, USER_DATA, handler

from bringup.vmm.machine import Segment

SLOT = 0x40
CODE32, DATA32, CODE64 = 0x08, 0x10, 0x18
TARGET = 0x9000
INNER_STACK = 0xE000
G, DB, L = 1 << 15, 1 << 14, 1 << 13
PRESENT, CODE_R, CONFORMING, DATA_W = 0x80, 0x1A, 0x1E, 0x12
IF, NT, RF, VM, AC, IOPL = 1 << 9, 1 << 14, 1 << 16, 1 << 17, 1 << 18, 3 << 12
NOT_CANONICAL = 1 << 47
HLT = 12


@pytest.fixture
def probe() -> Iterator[Probe]:
    made = Probe("max", "protected")
    made["guest_gdtr_limit"] = SLOT + 0x3F
    yield made
    made.close()


@pytest.fixture
def long() -> Iterator[Probe]:
    made = Probe("max", "long")
    made["guest_gdtr_limit"] = SLOT + 0x3F
    yield made
    made.close()


def describe(probe: Probe, number: int, access: int, limit: int = 0xFFFFFFFF) -> int:
    """A code or data descriptor behind rootmode's own; its selector."""
    probe.quad(GDT + SLOT + 8 * number, Segment(0, 0, limit, access).descriptor())
    return SLOT + 8 * number


def call_gate(probe: Probe, selector: int, offset: int, kind: int = 12, dpl: int = 0, count: int = 0) -> int:
    """A call gate in the first two slots (16 bytes in IA-32e mode)."""
    low = offset & 0xFFFF | selector << 16 | count << 32 | (PRESENT | dpl << 5 | kind) << 40
    probe.quad(GDT + SLOT, low | (offset >> 16 & 0xFFFF) << 48, offset >> 32)
    return SLOT


def user(probe: Probe, wide: bool = False) -> None:
    """CPL 3, in 64-bit or 32-bit code."""
    probe.segment("cs", USER_CODE64, 0, 0xFFFFFFFF, 0xA0FB if wide else 0xC0FB)
    probe.segment("ss", USER_DATA, 0, 0xFFFFFFFF, 0xC0F3)


def far(code: int, offset: int, selector: int) -> bytes:
    return bytes([code]) + struct.pack("<IH", offset, selector)


def pushed(probe: Probe, count: int, size: int = 4) -> list[int]:
    return [probe.word(probe["guest_rsp"] + size * n, size) for n in range(count)]


# ---- JMP and CALL ----


@pytest.mark.parametrize("call", [False, True])
@pytest.mark.parametrize(
    ("access", "rpl", "cpl", "outcome"),
    [
        (PRESENT | CODE_R, 0, 0, DONE),
        (PRESENT | CODE_R, 1, 0, fault(GP, SLOT)),  # RPL > CPL
        (PRESENT | CODE_R | 0x60, 0, 0, fault(GP, SLOT)),  # DPL is not CPL
        (PRESENT | CODE_R, 0, 3, fault(GP, SLOT)),
        (PRESENT | CONFORMING, 3, 3, DONE),
        (PRESENT | CONFORMING | 0x60, 0, 0, fault(GP, SLOT)),  # DPL > CPL
        (CODE_R, 0, 0, fault(NP, SLOT)),
        (PRESENT | DATA_W, 0, 0, fault(GP, SLOT)),
        (PRESENT | 14, 0, 0, fault(GP, SLOT)),  # an interrupt gate
    ],
)
def test_to_code_segments(probe: Probe, call: bool, access: int, rpl: int, cpl: int, outcome: Outcome) -> None:
    describe(probe, 0, access | G | DB)
    if cpl:
        user(probe)
    probe["guest_rsp"] = STACK
    old = probe["guest_cs_selector"]
    assert probe.run(far(0x9A if call else 0xEA, TARGET, SLOT | rpl)) == outcome
    if outcome == DONE:
        assert (probe["guest_rip"], probe["guest_cs_selector"]) == (TARGET, SLOT | cpl)
        assert probe["guest_cs_access_rights"] & 1, "accessed"
        assert pushed(probe, 2) == [CODE + 7, old] if call else probe["guest_rsp"] == STACK
    else:
        assert (probe["guest_rip"], probe["guest_rsp"]) == (CODE, STACK)


def test_offset_beyond_the_limit(probe: Probe) -> None:
    describe(probe, 0, PRESENT | CODE_R | DB, limit=TARGET)
    assert probe.run(far(0xEA, TARGET, SLOT)) == DONE
    assert probe.run(far(0xEA, TARGET + 1, SLOT)) == fault(GP, 0)


def test_null_selector(probe: Probe) -> None:
    assert probe.run(far(0xEA, TARGET, 3)) == fault(GP, 0)


def test_code_that_is_both_64_and_32_bits_wide(long: Probe) -> None:
    describe(long, 0, PRESENT | CODE_R | G | L | DB)
    long.write(DATA, struct.pack("<IH", TARGET, SLOT))
    long.put("rax", DATA)
    assert long.run(b"\xff\x28") == fault(GP, SLOT)


def test_from_64_bit_code_to_compatibility_mode_and_back(long: Probe) -> None:
    long.write(DATA, struct.pack("<IHQH", TARGET, CODE32, NOT_CANONICAL, CODE64))
    long.put("rax", DATA)
    assert long.run(b"\xff\x28") == DONE  # JMP FAR [RAX]
    assert (long["guest_rip"], long["guest_cs_selector"]) == (TARGET, CODE32)
    assert long.run(far(0xEA, TARGET, CODE64)) == DONE
    assert long["guest_cs_access_rights"] & L
    long.put("rax", DATA + 6)
    assert long.run(b"\x48\xff\x28") == fault(GP, 0), "to an address that is not canonical"


@pytest.mark.parametrize(
    ("gate", "outcome"),
    [
        ({}, DONE),
        ({"dpl": 0}, fault(GP, SLOT)),  # below CPL
        ({"selector": 0}, fault(GP, 0)),
        ({"selector": DATA32}, fault(GP, DATA32)),
        ({"selector": SLOT + 24}, fault(NP, SLOT + 24)),
    ],
)
def test_call_gate_to_an_inner_privilege(probe: Probe, gate: dict[str, int], outcome: Outcome) -> None:
    describe(probe, 3, CODE_R | G | DB)
    call_gate(probe, **{"selector": CODE32, "offset": TARGET, "dpl": 3, "count": 2} | gate)
    user(probe)
    probe.long(TSS + 4, INNER_STACK, DATA32)
    probe["guest_rsp"] = STACK - 8
    probe.long(STACK - 8, 0x1111, 0x2222)
    assert probe.run(far(0x9A, 0, SLOT | 3)) == outcome
    if outcome == DONE:
        assert (probe["guest_rip"], probe["guest_cs_selector"]) == (TARGET, CODE32)
        assert (probe["guest_ss_selector"], probe["guest_rsp"]) == (DATA32, INNER_STACK - 24)
        assert pushed(probe, 6) == [CODE + 7, USER_CODE64, 0x1111, 0x2222, STACK - 8, USER_DATA]


def test_16_bit_call_gate(probe: Probe) -> None:
    call_gate(probe, CODE32, TARGET, kind=4, dpl=3, count=1)
    user(probe)
    probe.long(TSS + 4, INNER_STACK, DATA32)
    probe["guest_rsp"] = STACK - 2
    probe.write(STACK - 2, b"\x34\x12")
    assert probe.run(far(0x9A, 0, SLOT | 3)) == DONE
    assert pushed(probe, 5, 2) == [CODE + 7, USER_CODE64, 0x1234, STACK - 2, USER_DATA]


@pytest.mark.parametrize(
    ("ss0", "access", "outcome"),
    [
        (0, 0, fault(TS, 0)),
        (SLOT + 16 | 1, PRESENT | DATA_W, fault(TS, SLOT + 16)),  # RPL
        (SLOT + 16, PRESENT | DATA_W | 0x60, fault(TS, SLOT + 16)),  # DPL
        (SLOT + 16, PRESENT | CODE_R, fault(TS, SLOT + 16)),
        (SLOT + 16, DATA_W, fault(SS, SLOT + 16)),
        (0x7F8, 0, fault(TS, 0x7F8)),
    ],
)
def test_stack_of_an_inner_privilege(probe: Probe, ss0: int, access: int, outcome: Outcome) -> None:
    describe(probe, 2, access | G | DB)
    call_gate(probe, CODE32, TARGET, dpl=3)
    user(probe)
    probe.long(TSS + 4, INNER_STACK, ss0)
    assert probe.run(far(0x9A, 0, SLOT | 3)) == outcome
    probe["guest_tr_limit"] = 8
    probe.long(TSS + 4, INNER_STACK, DATA32)
    assert probe.run(far(0x9A, 0, SLOT | 3)) == fault(TS, 0x20), "the TSS is too short"


def test_64_bit_call_gate(long: Probe) -> None:
    high = 0xFFFF800000000000
    call_gate(long, CODE64, TARGET | high, dpl=3)
    user(long, wide=True)
    long.quad(TSS + 4, INNER_STACK)
    long.write(DATA, struct.pack("<IH", 0, SLOT | 3))
    long.put("rax", DATA)
    long["guest_rsp"] = STACK
    assert long.run(b"\xff\x18") == DONE
    assert long["guest_rip"] == TARGET | high
    assert (long["guest_ss_selector"], long["guest_ss_access_rights"] >> 16 & 1) == (0, 1), "a null SS"
    assert pushed(long, 4, 8) == [CODE + 2, USER_CODE64, STACK, USER_DATA]
    long.quad(GDT + SLOT + 8, 1 << 40)
    user(long, wide=True)
    assert long.run(b"\xff\x18") == fault(GP, SLOT), "the second half has a type"


# ---- RET and IRET ----


def test_far_return_to_an_outer_privilege(probe: Probe) -> None:
    """RET 8; data segments that CPL 3 must not see become null."""
    describe(probe, 0, PRESENT | CODE_R | 0x60 | G | DB)
    describe(probe, 1, PRESENT | DATA_W | 0x60 | G | DB)
    describe(probe, 2, PRESENT | CONFORMING | G | DB)
    probe.segment("es", SLOT + 8 | 3, 0, 0xFFFFFFFF, 0xC0F3)
    probe.segment("fs", SLOT + 16, 0, 0xFFFFFFFF, 0xC09F)
    probe["guest_rsp"] = STACK - 24
    probe.long(STACK - 24, TARGET, SLOT | 3, 0x1111, 0x2222, 0xA000, SLOT + 8 | 3)
    assert probe.run(b"\xca\x08\x00") == DONE
    assert (probe["guest_rip"], probe["guest_cs_selector"]) == (TARGET, SLOT | 3)
    assert (probe["guest_rsp"], probe["guest_ss_selector"]) == (0xA008, SLOT + 8 | 3)
    unusable = [probe[f"guest_{name}_access_rights"] >> 16 & 1 for name in ("ds", "es", "fs", "gs")]
    assert unusable == [1, 0, 0, 1]
    assert probe["guest_ds_selector"] == 0


@pytest.mark.parametrize(
    ("cs", "ss", "offset", "outcome"),
    [
        (SLOT | 3, SLOT + 8 | 3, TARGET, DONE),
        (0, SLOT + 8 | 3, TARGET, fault(GP, 0)),
        (DATA32, 0, TARGET, fault(GP, DATA32)),
        (SLOT | 2, SLOT + 8 | 3, TARGET, fault(GP, SLOT)),  # DPL is not RPL
        (SLOT + 16 | 3, SLOT + 8 | 3, TARGET, fault(NP, SLOT + 16)),
        (SLOT | 3, 0, TARGET, fault(GP, 0)),
        (SLOT | 3, SLOT + 8 | 2, TARGET, fault(GP, SLOT + 8)),
        (SLOT | 3, DATA32 | 3, TARGET, fault(GP, DATA32)),  # DPL
        (SLOT | 3, SLOT + 24 | 3, TARGET, fault(SS, SLOT + 24)),
        (SLOT | 3, SLOT + 8 | 3, 0x10000, fault(GP, 0)),
    ],
)
@pytest.mark.parametrize("iret", [False, True])
def test_returns_check_what_they_load(
    probe: Probe, iret: bool, cs: int, ss: int, offset: int, outcome: Outcome
) -> None:
    describe(probe, 0, PRESENT | CODE_R | 0x60 | DB, limit=0xFFFF)
    describe(probe, 1, PRESENT | DATA_W | 0x60 | G | DB)
    describe(probe, 2, CODE_R | 0x60 | G | DB)
    describe(probe, 3, DATA_W | 0x60 | G | DB)
    probe["guest_rsp"] = STACK - 32
    probe.long(STACK - 32, offset, cs, *([2] if iret else []), 0xA000, ss)
    assert probe.run(b"\xcf" if iret else b"\xcb") == outcome
    if outcome != DONE:
        assert (probe["guest_rip"], probe["guest_rsp"]) == (CODE, STACK - 32)


@pytest.mark.parametrize(
    ("cpl", "iopl", "changed"),
    [(0, 0, IF | IOPL | NT | AC), (3, 3, IF | NT | AC), (3, 0, NT | AC)],
)
def test_flags_that_iret_takes(probe: Probe, cpl: int, iopl: int, changed: int) -> None:
    cs, ss = (CODE32, DATA32) if not cpl else (USER_CODE64, USER_DATA)
    if cpl:
        user(probe)
        describe(probe, 0, PRESENT | CODE_R | 0x60 | G | DB)
        cs = SLOT | 3
    wanted = IF | NT | AC | (0 if iopl else IOPL)
    probe["guest_rflags"] = 2 | iopl << 12
    probe["guest_rsp"] = STACK - 12
    probe.long(STACK - 12, TARGET, cs, wanted | 2)
    assert probe.run(b"\xcf") == DONE
    assert probe["guest_rflags"] & (IF | NT | AC | IOPL) == wanted & changed | (iopl << 12 if not changed & IOPL else 0)
    assert probe["guest_ss_selector"] == ss
    assert probe["guest_rsp"] == STACK


@pytest.mark.parametrize("ss", [0, DATA32])
def test_iretq_pops_the_stack_pointer_always(long: Probe, ss: int) -> None:
    long["guest_rsp"] = STACK - 40
    long.quad(STACK - 40, TARGET, CODE64, 2 | IF, 0xA008, ss)
    assert long.run(b"\x48\xcf") == DONE
    assert (long["guest_rip"], long["guest_rsp"], long["guest_ss_selector"]) == (TARGET, 0xA008, ss)
    assert long["guest_rflags"] & IF


def test_iretq_refuses(long: Probe) -> None:
    frame = {"rip": TARGET, "cs": USER_CODE64, "flags": 2, "rsp": 0xA000, "ss": USER_DATA}
    for change, outcome in [
        ({}, DONE),
        ({"rip": NOT_CANONICAL}, fault(GP, 0)),
        ({"ss": 0}, fault(GP, 0)),  # null at CPL 3
        ({"cs": CODE64 | 3}, fault(GP, CODE64)),
    ]:
        long.program("nop")
        long["guest_gdtr_limit"] = SLOT + 0x3F
        long["guest_rsp"] = STACK - 40
        long.quad(STACK - 40, *(frame | change).values())
        assert long.run(b"\x48\xcf") == outcome, change
    long["guest_rflags"] = 2 | NT
    assert long.run(b"\x48\xcf") == fault(GP, 0), "there are no nested tasks"


# ---- SYSCALL and SYSENTER ----

STAR, LSTAR, FMASK, EFER = 0xC0000081, 0xC0000082, 0xC0000084, 0xC0000080


def test_syscall_and_sysret(long: Probe) -> None:
    user(long, wide=True)
    long.set(guest_efer=long["guest_efer"] | 1, guest_rflags=2 | IF | 1, guest_rsp=STACK)
    # SYSCALL to 18h and 20h; SYSRET to 23h (32-bit), 33h and 2Bh.
    for msr, value in [(STAR, 0x0023_0018 << 32), (LSTAR, TARGET), (FMASK, IF)]:
        assert long.wrmsr(msr, value)
    assert long.run(b"\x0f\x05") == DONE
    assert (long["guest_rip"], long.gpr("rcx")) == (TARGET, CODE + 2)
    assert long.gpr("r11") == 2 | IF | 1
    assert long["guest_rflags"] == 2 | 1
    assert (long["guest_cs_selector"], long["guest_cs_access_rights"]) == (0x18, 0xA09B)
    assert (long["guest_ss_selector"], long["guest_ss_access_rights"]) == (0x20, 0xC093)
    assert long["guest_rsp"] == STACK, "RSP is the kernel's business"
    assert long.run(b"\x48\x0f\x07") == DONE
    assert (long["guest_rip"], long["guest_rflags"]) == (CODE + 2, 2 | IF | 1)
    assert (long["guest_cs_selector"], long["guest_cs_access_rights"]) == (0x33, 0xA0FB)
    assert (long["guest_ss_selector"], long["guest_ss_access_rights"]) == (0x2B, 0xC0F3)


def test_sysret_to_compatibility_mode(long: Probe) -> None:
    long["guest_efer"] = long["guest_efer"] | 1
    assert long.wrmsr(STAR, 0x0023_0018 << 32)
    long.put("rcx", 0xFFFFFFFF00000000 | TARGET)
    long.put("r11", 2)
    assert long.run(b"\x0f\x07") == DONE
    assert (long["guest_rip"], long["guest_cs_selector"], long["guest_cs_access_rights"]) == (TARGET, 0x23, 0xC0FB)


def test_syscall_and_sysret_refuse(long: Probe) -> None:
    assert long.run(b"\x0f\x05") == fault(UD), "EFER.SCE is clear"
    long["guest_efer"] = long["guest_efer"] | 1
    long.put("rcx", NOT_CANONICAL)
    assert long.run(b"\x48\x0f\x07") == fault(GP, 0)
    user(long, wide=True)
    long.put("rcx", TARGET)
    assert long.run(b"\x48\x0f\x07") == fault(GP, 0), "CPL 3"
    user(long)
    assert long.run(b"\x0f\x05") == fault(UD), "in compatibility mode"


@pytest.mark.parametrize("mode", ["protected", "long"])
def test_sysenter_and_sysexit(mode: str) -> None:
    probe = Probe("max", mode)
    wide = mode == "long"
    user(probe, wide)
    assert probe.run(b"\x0f\x34") == fault(GP, 0), "IA32_SYSENTER_CS is null"
    probe.set(guest_sysenter_cs=0x08, guest_sysenter_esp=INNER_STACK, guest_sysenter_eip=TARGET)
    probe["guest_rflags"] = 2 | IF
    assert probe.run(b"\x0f\x34") == DONE
    assert (probe["guest_rip"], probe["guest_rsp"], probe["guest_rflags"]) == (TARGET, INNER_STACK, 2)
    assert (probe["guest_cs_selector"], probe["guest_cs_access_rights"]) == (0x08, 0xA09B if wide else 0xC09B)
    probe.put("rdx", CODE)
    probe.put("rcx", STACK)
    assert probe.run(b"\x48\x0f\x35" if wide else b"\x0f\x35") == DONE
    assert (probe["guest_rip"], probe["guest_rsp"]) == (CODE, STACK)
    assert (probe["guest_cs_selector"], probe["guest_ss_selector"]) == ((0x2B, 0x33) if wide else (0x1B, 0x23))
    assert probe.run(b"\x0f\x35") == fault(GP, 0), "CPL 3"
    probe.close()


def test_sysenter_and_sysexit_outside_protected_mode() -> None:
    """#GP(0) in real mode; in virtual-8086 mode SYSENTER works, SYSEXIT has not CPL 0."""
    real = Probe("max", "real")
    real.set(guest_sysenter_cs=0x08, guest_sysenter_esp=INNER_STACK, guest_sysenter_eip=TARGET)
    assert real.run(b"\x0f\x34") == real.run(b"\x0f\x35") == fault(GP)
    assert real.run(b"\xf0\x0f\x34") == fault(UD), "LOCK"
    real.close()
    v86 = Probe("max", "protected")
    for name in ("es", "cs", "ss", "ds", "fs", "gs"):
        v86.segment(name, 0, 0, 0xFFFF, 0xF3)
    v86.set(guest_sysenter_cs=0x08, guest_sysenter_esp=INNER_STACK, guest_sysenter_eip=TARGET)
    assert v86.run(b"\x0f\x35", guest_rflags=2 | VM | IF) == fault(GP, 0)
    assert v86.run(b"\x0f\x34") == DONE
    assert (v86["guest_rip"], v86["guest_rsp"], v86["guest_rflags"]) == (TARGET, INNER_STACK, 2)
    assert (v86["guest_cs_selector"], v86["guest_cs_access_rights"]) == (0x08, 0xC09B)
    v86.close()


# ---- INT n ----


def test_int_through_the_idt(probe: Probe) -> None:
    user(probe)
    probe.long(TSS + 4, INNER_STACK, DATA32)
    probe.set(guest_rflags=2 | IF | AC, guest_rsp=STACK)
    assert probe.run(b"\xcd\x80") == DONE
    assert (probe["guest_rip"], probe["guest_cs_selector"]) == (handler(0x80), CODE32)
    assert pushed(probe, 5) == [CODE + 2, USER_CODE64, 2 | IF | AC, STACK, USER_DATA]
    assert not probe["guest_rflags"] & IF, "an interrupt gate"


def test_into(probe: Probe) -> None:
    probe["exception_bitmap"] = 0
    assert probe.run(b"\xce") == DONE
    assert probe["guest_rip"] == CODE + 1
    assert probe.run(b"\xce", guest_rflags=2 | 1 << 11) == DONE
    assert probe["guest_rip"] == handler(4)
    assert pushed(probe, 1) == [CODE + 1]
