"""Segment registers: what may be loaded, what limits and types forbid, what LAR, LSL, VERR and VERW see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from probe import DONE, GP, NP, SS, UD, Outcome, Probe, fault
from rootmode import DATA, GDT, STACK

from bringup.vmm.machine import Segment

SLOT = 0x40  # the selector of the descriptor under test, behind rootmode's own
PRESENT, S = 0x80, 0x10
DATA_R, DATA_W, DATA_DOWN, CODE_X, CODE_R, CONFORMING = 0x10, 0x12, 0x16, 0x18, 0x1A, 0x1E
G, DB, L = 1 << 15, 1 << 14, 1 << 13
FLAT = G | DB
LDT, TSS_FREE, TSS_BUSY, CALL_GATE = 2, 9, 11, 12
CODE_AT_0, DATA_AT_0 = 0x08, 0x10
ZF = 1 << 6

SEGMENTS = {"es": 0, "cs": 1, "ss": 2, "ds": 3, "fs": 4, "gs": 5}


@pytest.fixture
def probe() -> Iterator[Probe]:
    """32-bit protected mode without paging, CPL 0."""
    made = Probe("max", "protected")
    made["guest_gdtr_limit"] = SLOT + 15
    yield made
    made.close()


@pytest.fixture
def long() -> Iterator[Probe]:
    made = Probe("max", "long")
    made["guest_gdtr_limit"] = SLOT + 15
    yield made
    made.close()


def describe(probe: Probe, access: int, base: int = 0, limit: int = 0xFFFFFFFF, high: int = 0) -> None:
    """The descriptor under test; `high` is the second half of a 16-byte one."""
    if access & G == 0 and limit > 0xFFFFF:
        limit = 0xFFFFF
    probe.quad(GDT + SLOT, Segment(0, base, limit, access).descriptor(), high)


def user(probe: Probe, cpl: int = 3) -> None:
    """The probe's code at another privilege."""
    probe.set(guest_cs_selector=CODE_AT_0 | cpl, guest_ss_selector=DATA_AT_0 | cpl)
    for name in ("cs", "ss"):
        rights = f"guest_{name}_access_rights"
        probe[rights] = probe[rights] & ~0x60 | cpl << 5


def load(probe: Probe, segment: str, selector: int) -> Outcome:
    """MOV segment, AX"""
    probe.put("rax", selector)
    return probe.run(bytes([0x8E, 0xC0 | SEGMENTS[segment] << 3]))


@pytest.mark.parametrize(
    ("segment", "access", "rpl", "cpl", "vector"),
    [
        ("ds", PRESENT | DATA_R, 0, 0, None),
        ("ds", PRESENT | DATA_W, 0, 0, None),
        ("es", PRESENT | CODE_R, 0, 0, None),
        ("es", PRESENT | CODE_X, 0, 0, GP),  # not readable
        ("fs", PRESENT | LDT, 0, 0, GP),
        ("gs", PRESENT | CALL_GATE, 0, 0, GP),
        ("ds", DATA_W, 0, 0, NP),
        ("ds", PRESENT | DATA_W | 0x60, 3, 3, None),
        ("ds", PRESENT | DATA_W, 0, 3, GP),  # CPL > DPL
        ("ds", PRESENT | DATA_W | 0x20, 2, 0, GP),  # RPL > DPL
        ("ds", PRESENT | CONFORMING, 3, 3, None),  # conforming code is for all
        ("ds", PRESENT | CODE_R, 0, 3, GP),
        ("ss", PRESENT | DATA_W, 0, 0, None),
        ("ss", PRESENT | DATA_R, 0, 0, GP),  # not writable
        ("ss", PRESENT | CODE_R, 0, 0, GP),
        ("ss", DATA_W, 0, 0, SS),  # not present is #SS here
        ("ss", PRESENT | DATA_W, 1, 0, GP),  # RPL is not CPL
        ("ss", PRESENT | DATA_W | 0x20, 0, 0, GP),  # DPL is not CPL
        ("ss", PRESENT | DATA_W | 0x60, 3, 3, None),
    ],
)
def test_loads(probe: Probe, segment: str, access: int, rpl: int, cpl: int, vector: int | None) -> None:
    describe(probe, access | FLAT, base=0x1234000, limit=0xFFFFF)
    if cpl:
        user(probe, cpl)
    before = probe[f"guest_{segment}_selector"]
    outcome = load(probe, segment, SLOT | rpl)
    assert outcome == (DONE if vector is None else fault(vector, SLOT))
    accessed = probe.read(GDT + SLOT + 5, 1)[0] & 1
    if vector is not None:
        assert probe[f"guest_{segment}_selector"] == before
        assert not accessed
        return
    assert probe[f"guest_{segment}_selector"] == SLOT | rpl
    assert probe[f"guest_{segment}_base"] == 0x1234000
    assert probe[f"guest_{segment}_limit"] == 0xFFFFF
    assert probe[f"guest_{segment}_access_rights"] == (access | FLAT | 1)
    assert accessed, "in the descriptor too"


@pytest.mark.parametrize("selector", [SLOT + 16, SLOT + 16 | 3, 0xFFF8])
def test_a_selector_outside_of_its_table(probe: Probe, selector: int) -> None:
    assert load(probe, "ds", selector) == fault(GP, selector & 0xFFFC)
    probe["guest_gdtr_limit"] = SLOT + 6  # the descriptor's last byte is missing
    assert load(probe, "ds", SLOT) == fault(GP, SLOT)
    assert load(probe, "ds", SLOT | 4) == fault(GP, SLOT | 4), "there is no LDT"


def test_local_descriptors(probe: Probe) -> None:
    probe.segment("ldtr", 0x38, DATA, 0x17, 0x82)
    probe.quad(DATA, 0, 0, Segment(0, 0x5000, 0xFFF, PRESENT | DATA_W).descriptor())
    assert load(probe, "ds", 0x14) == DONE
    assert (probe["guest_ds_base"], probe["guest_ds_limit"]) == (0x5000, 0xFFF)
    assert load(probe, "ds", 0x1C) == fault(GP, 0x1C)


@pytest.mark.parametrize("selector", [0, 3])
def test_null_selectors(probe: Probe, selector: int) -> None:
    assert load(probe, "ds", selector) == DONE
    assert probe["guest_ds_access_rights"] >> 16 & 1, "unusable"
    probe.put("rax", DATA)
    assert probe.run(b"\x8b\x18") == fault(GP, 0)
    assert load(probe, "ss", selector) == fault(GP, 0)


def test_null_ss_in_64_bit_code(long: Probe) -> None:
    assert load(long, "ss", 0) == DONE
    assert load(long, "ss", 1) == fault(GP, 0), "RPL is not CPL"
    assert long.run(b"\x50") == DONE, "PUSH RAX: SS has no meaning here"


def test_cs_is_not_loaded_by_mov(probe: Probe) -> None:
    assert load(probe, "cs", CODE_AT_0) == fault(UD)
    assert probe.run(b"\x8e\xf0") == fault(UD), "segment register 6"


READ, WRITE = b"\x8b\x1d", b"\x89\x1d"  # MOV EBX, [disp32] and back


@pytest.mark.parametrize(
    ("access", "limit", "offset", "code", "good"),
    [
        (DATA_W, 0x100, 0xFD, READ, True),
        (DATA_W, 0x100, 0xFE, READ, False),
        (DATA_W, 0x100, 0x101, READ, False),
        (DATA_W, 0x100, 0xFFFFFFFE, READ, False),
        (DATA_R, 0x100, 0, READ, True),
        (DATA_R, 0x100, 0, WRITE, False),
        (CODE_R, 0x100, 0, READ, True),
        (CODE_R, 0x100, 0, WRITE, False),
        (DATA_DOWN, 0x100, 0x100, READ, False),
        (DATA_DOWN, 0x100, 0x101, READ, True),
        (DATA_DOWN, 0x100, 0xFFFC, READ, True),
        (DATA_DOWN, 0x100, 0xFFFD, READ, False),  # 16-bit: the upper bound is FFFFh
        (DATA_DOWN | DB, 0x100, 0xFFFD, READ, True),
        (DATA_W | FLAT, 0xFFFFFFFF, 0xC000, WRITE, True),
    ],
)
def test_limits_and_types(probe: Probe, access: int, limit: int, offset: int, code: bytes, good: bool) -> None:
    base = 0 if access & G else 0x10000
    probe.segment("ds", SLOT, base, limit, PRESENT | access | 1)
    probe.long(base + offset & 0xFFFFF, 0x55AA1234)
    probe.put("rbx", 0x01020304)
    assert probe.run(code + offset.to_bytes(4, "little")) == (DONE if good else fault(GP, 0))
    if good:
        assert probe.gpr("rbx") == (0x55AA1234 if code == READ else 0x01020304)


@pytest.mark.parametrize(
    ("code", "esp", "good"),
    [
        (b"\x50", 0x104, True),  # PUSH EAX
        (b"\x50", 0x103, False),
        (b"\x50", 2, False),  # from FFFEh to 10001h
        (b"\x58", 0xFFFC, True),  # POP EAX
        (b"\x58", 0xFFFD, False),
        (b"\x58", 0xFF, False),
        (b"\x60", 0x120, True),  # PUSHA
        (b"\x60", 0x11F, False),
        (b"\x06", 0x104, True),  # PUSH ES
        (b"\x06", 0x103, False),
        (b"\x06", 2, True),  # accesses 16 bits of its slot
        (b"\x9c", 0x103, False),  # PUSHF
    ],
)
def test_stack_limits(probe: Probe, code: bytes, esp: int, good: bool) -> None:
    """A 16-bit stack that expands down to 100h; the high half of ESP is left alone."""
    probe.segment("ss", SLOT, 0x20000, 0xFF, PRESENT | DATA_DOWN | 1)
    probe["guest_rsp"] = 0xABCD0000 | esp
    assert probe.run(code) == (DONE if good else fault(SS, 0))
    assert probe["guest_rsp"] >> 16 == 0xABCD


@pytest.mark.parametrize(
    ("access", "rpl", "cpl", "lar", "lsl", "verr", "verw"),
    [
        (PRESENT | DATA_W, 0, 0, True, True, True, True),
        (PRESENT | DATA_R, 0, 0, True, True, True, False),
        (PRESENT | CODE_X, 0, 0, True, True, False, False),
        (PRESENT | CODE_R, 0, 0, True, True, True, False),
        (DATA_W, 0, 0, True, True, True, True),  # not present is no matter
        (PRESENT | DATA_W, 0, 3, False, False, False, False),
        (PRESENT | DATA_W | 0x60, 3, 3, True, True, True, True),
        (PRESENT | DATA_W, 3, 0, False, False, False, False),
        (PRESENT | CONFORMING, 3, 3, True, True, True, False),
        (PRESENT | LDT, 0, 0, True, True, False, False),
        (PRESENT | TSS_FREE, 0, 0, True, True, False, False),
        (PRESENT | CALL_GATE, 0, 0, True, False, False, False),
        (PRESENT | 14, 0, 0, False, False, False, False),  # an interrupt gate
    ],
)
def test_queries(probe: Probe, access: int, rpl: int, cpl: int, lar: bool, lsl: bool, verr: bool, verw: bool) -> None:
    describe(probe, access | G, base=0x123000, limit=0x456FFF)
    low = probe.word(GDT + SLOT)
    if cpl:
        user(probe, cpl)
    for code, good, value in [
        (b"\x0f\x02\xd8", lar, low >> 32 & 0x00FFFF00),
        (b"\x0f\x03\xd8", lsl, 0x456FFF),
        (b"\x0f\x00\xe0", verr, None),
        (b"\x0f\x00\xe8", verw, None),
    ]:
        probe.put("rax", SLOT | rpl)
        probe.put("rbx", 0xDEAD)
        assert probe.run(code, guest_rflags=2 | (0 if good else ZF)) == DONE
        assert bool(probe["guest_rflags"] & ZF) == good, code
        assert probe.gpr("rbx") == (value if good and value is not None else 0xDEAD)


@pytest.mark.parametrize(("destination", "source", "result", "zf"), [(0x10, 3, 0x13, True), (0x13, 1, 0x13, False)])
def test_arpl(probe: Probe, destination: int, source: int, result: int, zf: bool) -> None:
    probe.put("rax", 0xAAAA0000 | destination)
    probe.put("rbx", source)
    assert probe.run(b"\x63\xd8") == DONE
    assert probe.gpr("rax") == 0xAAAA0000 | result
    assert bool(probe["guest_rflags"] & ZF) == zf


def test_far_pointers(probe: Probe) -> None:
    """LFS EAX, [EBX]: nothing is loaded when the segment faults."""
    describe(probe, PRESENT | DATA_W | FLAT)
    probe.put("rbx", DATA)
    probe.put("rax", 0)
    probe.write(DATA, (0x11223344).to_bytes(4, "little") + (SLOT | 3).to_bytes(2, "little"))
    assert probe.run(b"\x0f\xb4\x03") == fault(GP, SLOT)
    assert probe.gpr("rax") == 0
    probe.write(DATA + 4, SLOT.to_bytes(2, "little"))
    assert probe.run(b"\x0f\xb4\x03") == DONE
    assert (probe.gpr("rax"), probe["guest_fs_selector"]) == (0x11223344, SLOT)


@pytest.mark.parametrize(
    ("code", "segment"),
    [
        (b"\x07", "es"), (b"\x17", "ss"), (b"\x1f", "ds"), (b"\x0f\xa1", "fs"), (b"\x0f\xa9", "gs"),
        (b"\x06", "es"), (b"\x0e", "cs"), (b"\x16", "ss"), (b"\x1e", "ds"), (b"\x0f\xa0", "fs"), (b"\x0f\xa8", "gs"),
        (b"\xc4\x04\x24", "es"), (b"\xc5\x04\x24", "ds"), (b"\x0f\xb2\x04\x24", "ss"), (b"\x0f\xb4\x04\x24", "fs"),
        (b"\x0f\xb5\x04\x24", "gs"),
    ],
)  # fmt: skip
def test_each_opcode_has_its_register(probe: Probe, code: bytes, segment: str) -> None:
    describe(probe, PRESENT | (CODE_R if segment == "cs" else DATA_W) | FLAT | 1)
    probe[f"guest_{segment}_selector"] = SLOT
    slots = [DATA_AT_0, DATA_AT_0] if code[-1] != 0x24 else [0, DATA_AT_0]
    probe.long(STACK - 4, 0x5A5A5A5A, *slots)
    assert probe.run(code, guest_rsp=STACK) == DONE
    if probe["guest_rsp"] < STACK:
        assert probe.word(STACK - 4, 4) == 0x5A5A0000 | SLOT, "a push of 16 bits"
        assert probe["guest_rsp"] == STACK - 4
    else:
        assert probe[f"guest_{segment}_selector"] == DATA_AT_0
        others = [name for name in SEGMENTS if name != segment and probe[f"guest_{name}_selector"] == SLOT]
        assert not others


@pytest.mark.parametrize(
    ("access", "high", "selector", "outcome"),
    [
        (PRESENT | TSS_FREE, 0, SLOT, DONE),
        (PRESENT | TSS_BUSY, 0, SLOT, fault(GP, SLOT)),
        (TSS_FREE, 0, SLOT, fault(NP, SLOT)),
        (PRESENT | LDT, 0, SLOT, fault(GP, SLOT)),
        (PRESENT | 1, 0, SLOT, fault(GP, SLOT)),  # a 16-bit TSS: not in IA-32e mode
        (PRESENT | TSS_FREE, 1 << 40, SLOT, fault(GP, SLOT)),  # the second half has a type
        (PRESENT | TSS_FREE, 0, SLOT | 4, fault(GP, SLOT | 4)),
        (PRESENT | TSS_FREE, 0, 0, fault(GP, 0)),
        (PRESENT | TSS_FREE, 0, SLOT + 8, fault(GP, SLOT + 8)),
    ],
)
def test_ltr(long: Probe, access: int, high: int, selector: int, outcome: Outcome) -> None:
    describe(long, access, base=0x8765000, limit=0x67, high=high | 0xFFFF8000)
    long.put("rax", selector)
    assert long.run(b"\x0f\x00\xd8") == outcome
    if outcome == DONE:
        assert long["guest_tr_base"] == 0xFFFF800008765000
        assert long["guest_tr_access_rights"] & 0xF == TSS_BUSY
        assert long.read(GDT + SLOT + 5, 1)[0] & 0xF == TSS_BUSY


def test_ltr_and_lldt_of_a_base_that_is_not_canonical(long: Probe) -> None:
    for code, access in ((b"\x0f\x00\xd8", PRESENT | TSS_FREE), (b"\x0f\x00\xd0", PRESENT | LDT)):
        describe(long, access, base=0x8765000, limit=0x67, high=0x01000000)
        long.put("rax", SLOT)
        assert long.run(code) == fault(GP, SLOT)
        assert long.read(GDT + SLOT + 5, 1)[0] & 0xF == access & 0xF, "it is not busy"


def test_lldt(probe: Probe) -> None:
    describe(probe, PRESENT | LDT, base=0x8000, limit=0xFF)
    for selector, outcome in [(SLOT, DONE), (0, DONE), (SLOT | 4, fault(GP, SLOT | 4)), (CODE_AT_0, fault(GP, 8))]:
        probe.put("rax", selector)
        assert probe.run(b"\x0f\x00\xd0") == outcome
    assert probe["guest_ldtr_access_rights"] >> 16 & 1, "the null selector made it unusable"
    assert probe.run(b"\x0f\x00\xc1") == DONE, "SLDT ECX"
    assert probe.gpr("rcx") == 0


def test_real_mode_keeps_limits() -> None:
    """Loads in real mode change selector and base only: what protected mode left remains ("unreal" mode)."""
    real = Probe("max", "real")
    real.segment("ds", 0, 0, 0xFFFFFFFF, 0xC093)
    assert load(real, "ds", 0x1000) == DONE
    assert (real["guest_ds_base"], real["guest_ds_limit"]) == (0x10000, 0xFFFFFFFF)
    real.long(0x3A000, 0x600DF00D)
    real.put("rax", 0x2A000)
    assert real.run(b"\x67\x66\x8b\x18") == DONE  # MOV EBX, [EAX], beyond 64 KiB
    assert real.gpr("rbx") == 0x600DF00D
    real.put("rax", 0xFFFF)
    assert real.run(b"\x26\x67\x8b\x18") == fault(GP), "ES has 64 KiB: a word at FFFFh is outside"
    real.close()
