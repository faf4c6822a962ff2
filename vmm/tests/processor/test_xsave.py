"""XSAVE and its like (SDM vol. 1, chapter 13): layouts, what is written and what is left, headers that are refused."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from probe import DONE, GP, NM, UD, Outcome, Probe, fault
from rootmode import DATA

CR0, CR4 = 0x80000031, 1 << 13 | 0x620
TS, OSXSAVE, PKE = 1 << 3, 1 << 18, 1 << 22
X87, SSE, AVX, PKRU = 1, 2, 4, 1 << 9
ALL = X87 | SSE | AVX | PKRU
COMPACTED = 1 << 63
ENABLE_XSAVES = 1 << 20
AREA, PATTERN = DATA, 0xA5
XSAVE, XRSTOR, XSAVEOPT = b"\x48\x0f\xae\x27", b"\x48\x0f\xae\x2f", b"\x48\x0f\xae\x37"  # [RDI]
XSAVEC, XSAVES, XRSTORS = b"\x48\x0f\xc7\x27", b"\x48\x0f\xc7\x2f", b"\x48\x0f\xc7\x1f"
XGETBV, XSETBV = b"\x0f\x01\xd0", b"\x0f\x01\xd1"


@pytest.fixture
def probe() -> Iterator[Probe]:
    """All components enabled and in use."""
    made = Probe("max")
    made["secondary_controls"] = made["secondary_controls"] | ENABLE_XSAVES
    made["guest_cr4"] = CR4 | OSXSAVE | PKE
    made.registers.xcr0 = ALL
    fill(made)
    made.write(AREA, bytes([PATTERN]) * 4096)
    made.write(AREA + 512, bytes(64))
    yield made
    made.close()


def fill(probe: Probe) -> None:
    registers = probe.registers
    registers.fpu.fcw, registers.fpu.fsw, registers.fpu.mxcsr = 0x77F, 0x100, 0x3F80
    for n in range(16):
        registers.fpu.xmm[n] = bytes([n + 1]) * 16
        registers.ymm_high[n] = bytes([n + 0x81]) * 16
    registers.pkru = 0x12345678


def run(probe: Probe, code: bytes, wanted: int, **changes: int) -> Outcome:
    probe.put("rax", wanted & 0xFFFFFFFF)
    probe.put("rdx", wanted >> 32)
    probe.put("rdi", changes.pop("area", AREA))
    return probe.run(code, **changes)


def header(probe: Probe) -> tuple[int, ...]:
    return struct.unpack("<8Q", probe.read(AREA + 512, 64))


def untouched(probe: Probe, start: int, end: int) -> bool:
    return probe.read(AREA + start, end - start) == bytes([PATTERN]) * (end - start)


HIGH = b"".join(bytes([n + 0x81]) * 16 for n in range(16))
LOW = b"".join(bytes([n + 1]) * 16 for n in range(16))


def test_the_standard_form(probe: Probe) -> None:
    assert run(probe, XSAVE, ALL) == DONE
    assert header(probe) == (ALL, 0, 0, 0, 0, 0, 0, 0)
    assert probe.read(AREA + 160, 256) == LOW
    assert probe.read(AREA + 576, 256) == HIGH
    assert untouched(probe, 832, 2688) and untouched(probe, 2696, 4096) and untouched(probe, 416, 512)
    assert probe.read(AREA + 2688, 8) == struct.pack("<Q", 0x12345678)


@pytest.mark.parametrize("code", [XSAVEC, XSAVES])
@pytest.mark.parametrize(("wanted", "pkru_at"), [(ALL, 832), (X87 | SSE | PKRU, 576), (PKRU, 576), (AVX, None)])
def test_the_compacted_form(probe: Probe, code: bytes, wanted: int, pkru_at: int | None) -> None:
    probe.write(AREA + 512, bytes([PATTERN]) * 64)
    assert run(probe, code, wanted) == DONE
    assert header(probe)[:2] == (wanted, COMPACTED | wanted)
    assert untouched(probe, 528, 576), "the header's reserved part"
    if wanted & AVX:
        assert probe.read(AREA + 576, 256) == HIGH
    if pkru_at:
        assert probe.read(AREA + pkru_at, 8) == struct.pack("<Q", 0x12345678)
    assert untouched(probe, 24, 28) == (not wanted & SSE), "MXCSR is part of the SSE component"


def test_what_is_not_asked_for_is_left(probe: Probe) -> None:
    probe.write(AREA + 512, struct.pack("<Q", X87 | 0x400))
    assert run(probe, XSAVE, AVX) == DONE
    assert header(probe)[0] == X87 | 0x400 | AVX
    assert untouched(probe, 0, 24) and untouched(probe, 32, 416)
    assert probe.word(AREA + 24, 4) == 0x3F80, "MXCSR goes with AVX too"


def test_initial_configurations(probe: Probe) -> None:
    for n in range(16):
        probe.registers.ymm_high[n] = bytes(16)
    probe.registers.pkru = 0
    assert run(probe, XSAVE, ALL) == DONE
    assert header(probe)[0] == X87 | SSE
    assert probe.read(AREA + 576, 256) == bytes(256), "XSAVE writes them all the same"
    probe.write(AREA + 576, bytes([PATTERN]) * 256)
    for code in (XSAVEOPT, XSAVEC):
        assert run(probe, code, ALL) == DONE
        assert header(probe)[0] == X87 | SSE
        assert untouched(probe, 576, 832), "and these do not"
    probe.put("rcx", 1)
    assert probe.run(XGETBV) == DONE
    assert (probe.gpr("rax"), probe.gpr("rdx")) == (X87 | SSE, 0)


@pytest.mark.parametrize(("save", "restore"), [(XSAVE, XRSTOR), (XSAVEC, XRSTOR), (XSAVES, XRSTORS)])
def test_there_and_back(probe: Probe, save: bytes, restore: bytes) -> None:
    assert run(probe, save, ALL) == DONE
    registers = probe.registers
    registers.pkru = 0
    for n in range(16):
        registers.fpu.xmm[n] = registers.ymm_high[n] = b"\xff" * 16
    assert run(probe, restore, AVX | PKRU) == DONE
    assert b"".join(bytes(value) for value in registers.ymm_high) == HIGH
    assert bytes(registers.fpu.xmm[3]) == b"\xff" * 16 and registers.pkru == 0x12345678
    assert run(probe, restore, SSE) == DONE
    assert b"".join(bytes(value) for value in registers.fpu.xmm) == LOW
    # What XSTATE_BV does not have goes to its initial configuration.
    probe.write(AREA + 512, struct.pack("<Q", X87))
    assert run(probe, restore, ALL) == DONE
    assert bytes(registers.ymm_high[15]) == bytes(registers.fpu.xmm[0]) == bytes(16)
    assert registers.pkru == 0 and registers.fpu.fcw == 0x77F
    assert registers.fpu.mxcsr == (0x3F80 if save == XSAVE else 0x1F80)


@pytest.mark.parametrize(
    ("code", "fields", "outcome"),
    [
        (XRSTOR, (ALL, 0), DONE),
        (XRSTOR, (1 << 3, 0), fault(GP, 0)),  # a component that XCR0 does not enable
        (XRSTOR, (X87, 1), fault(GP, 0)),
        (XRSTOR, (X87, 0, 1), fault(GP, 0)),
        (XRSTOR, (X87, 0, 0, 1), DONE),  # reserved, but not looked at
        (XRSTOR, (AVX, COMPACTED | ALL), DONE),
        (XRSTOR, (AVX, COMPACTED | SSE), fault(GP, 0)),
        (XRSTOR, (0, COMPACTED | 1 << 3), fault(GP, 0)),
        (XRSTOR, (X87, COMPACTED | X87, 0, 0, 0, 0, 0, 1), fault(GP, 0)),
        (XRSTORS, (X87, COMPACTED | X87), DONE),
        (XRSTORS, (X87, 0), fault(GP, 0)),
    ],
)
def test_headers(probe: Probe, code: bytes, fields: tuple[int, ...], outcome: Outcome) -> None:
    probe.write(AREA, bytes(512))
    probe.quad(AREA + 512, *fields, *[0] * (8 - len(fields)))
    assert run(probe, code, ALL) == outcome


def test_a_reserved_bit_of_mxcsr(probe: Probe) -> None:
    probe.write(AREA, bytes(512))
    probe.long(AREA + 24, 1 << 16)
    probe.quad(AREA + 512, X87, 0)
    assert run(probe, XRSTOR, X87) == DONE
    for component in (SSE, AVX):
        assert run(probe, XRSTOR, component) == fault(GP, 0)
    probe.quad(AREA + 512, AVX, COMPACTED | ALL)
    assert run(probe, XRSTOR, AVX) == DONE
    probe.quad(AREA + 512, SSE, COMPACTED | ALL)
    assert run(probe, XRSTOR, SSE) == fault(GP, 0)


@pytest.mark.parametrize("code", [XSAVE, XRSTOR, XSAVEOPT, XSAVEC, XSAVES, XRSTORS])
def test_faults(probe: Probe, code: bytes) -> None:
    assert run(probe, code, 0, area=AREA + 16) == fault(GP, 0), "64 bytes"
    assert run(probe, code, 0, guest_cr0=CR0 | TS) == fault(NM)
    assert run(probe, code, 0, guest_cr4=CR4, guest_cr0=CR0 | TS) == fault(UD)
    assert run(probe, b"\xf0" + code, 0, guest_cr4=CR4 | OSXSAVE, guest_cr0=CR0) == fault(UD)


def test_supervisor_forms_want_cpl_0_and_their_control(probe: Probe) -> None:
    for code in (XSAVES, XRSTORS):
        probe["secondary_controls"] = probe["secondary_controls"] & ~ENABLE_XSAVES
        assert run(probe, code, 0) == fault(UD)
        probe["secondary_controls"] = probe["secondary_controls"] | ENABLE_XSAVES
    for code, reason in ((XSAVES, 63), (XRSTORS, 64)):
        probe["xss_exiting_bitmap"] = AVX
        for wanted, exits in ((X87, False), (ALL, True)):
            probe.put("rax", wanted)
            probe.put("rdx", 0)
            probe.put("rdi", AREA)
            probe.set(guest_rip=0x8000, preemption_timer_value=1)
            probe.write(0x8000, code)
            probe.quad(AREA + 512, 0, COMPACTED, 0)
            assert probe.enter() == (reason if exits else 52)


def test_xsetbv_exits_whatever_its_operands(probe: Probe) -> None:
    """They are the hypervisor's to check."""
    probe.put("rcx", 7)
    probe.set(guest_rip=0x8000, preemption_timer_value=1)
    probe.write(0x8000, XSETBV)
    assert probe.enter() == 55


def test_xgetbv(probe: Probe) -> None:
    for rcx, outcome in ((0, DONE), (1, DONE), (2, fault(GP, 0)), (1 << 32, DONE)):
        probe.put("rcx", rcx)
        assert probe.run(XGETBV) == outcome
    assert probe.gpr("rax") == ALL
    assert probe.run(XGETBV, guest_cr4=CR4) == fault(UD)


def test_ia32_xss(probe: Probe) -> None:
    assert probe.rdmsr(0xDA0) == 0
    assert probe.wrmsr(0xDA0, 0) and not probe.wrmsr(0xDA0, 1 << 8)
