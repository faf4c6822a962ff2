"""VME and PVI (SDM vol. 3, 21.3.3 and 21.4): VIF in place of IF, VIP, the interrupt redirection bitmap."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from probe import DONE, GP, Outcome, Probe, fault
from rootmode import CODE, CODE32, DATA32, STACK, TSS

CF, TF, IF, NT = 1, 1 << 8, 1 << 9, 1 << 14
RF, VM, AC, VIF, VIP = 1 << 16, 1 << 17, 1 << 18, 1 << 19, 1 << 20
IOPL = 3 << 12
VME, PVI, VMXE = 1, 2, 1 << 13
CLI, STI, PUSHF, POPF, IRET = b"\xfa", b"\xfb", b"\x9c", b"\x9d", b"\xcf"
VECTOR = 0x21
REDIRECTION = 104  # where the bitmap lies in the TSS; that of the ports follows it
HANDLER = 0x9000


@pytest.fixture
def v86() -> Iterator[Probe]:
    """Virtual-8086 mode with VME; INT goes to the program's own table."""
    made = Probe("max", "protected")
    for name in ("es", "cs", "ss", "ds", "fs", "gs"):
        made.segment(name, 0, 0, 0xFFFF, 0xF3)
    made.write(TSS + 102, (REDIRECTION + 32).to_bytes(2, "little") + bytes(32))
    made.long(TSS + 4, 0xE000, DATA32)
    made["guest_tr_limit"] = REDIRECTION + 32
    made.long(4 * VECTOR, HANDLER >> 4 << 16 | 5)
    made.set(guest_cr4=VMXE | VME, guest_rsp=STACK)
    yield made
    made.close()


def flags(probe: Probe) -> int:
    """Without RF, which is for the handler of a fault."""
    return probe["guest_rflags"] & ~(2 | VM | RF)


@pytest.mark.parametrize(
    ("code", "before", "outcome", "after"),
    [
        (STI, 0, DONE, VIF),
        (STI, VIF, DONE, VIF),
        (STI, VIP, fault(GP, 0), VIP),
        (STI, VIP | IOPL, DONE, VIP | IOPL | IF),  # with IOPL 3 they are at IF
        (CLI, VIF | IF, DONE, IF),
        (CLI, VIF | VIP | IF, DONE, VIP | IF),
        (CLI, VIF | IOPL | IF, DONE, VIF | IOPL),
    ],
)
def test_cli_and_sti(v86: Probe, code: bytes, before: int, outcome: Outcome, after: int) -> None:
    assert v86.run(code, guest_rflags=2 | VM | before) == outcome
    assert flags(v86) == after
    assert v86["guest_interruptibility_state"] == (after & IF and code == STI), "VIF has no shadow"


@pytest.mark.parametrize(("code", "virtual"), [(STI, VIF), (CLI, 0)])
def test_without_vme_iopl_decides(v86: Probe, code: bytes, virtual: int) -> None:
    assert v86.run(code, guest_cr4=VMXE | PVI, guest_rflags=2 | VM) == fault(GP, 0)


@pytest.mark.parametrize(
    ("before", "stored"),
    [(0, IOPL), (IF, IOPL), (VIF, IOPL | IF), (VIF | VIP | CF | NT, IOPL | IF | CF | NT), (IOPL | VIF, IOPL)],
)
def test_pushf(v86: Probe, before: int, stored: int) -> None:
    assert v86.run(PUSHF, guest_rflags=2 | VM | before) == DONE
    assert v86.word(STACK - 2, 2) == 2 | stored
    assert v86.run(b"\x66" + PUSHF, guest_rflags=2 | VM) == fault(GP, 0), "32 bits would show VM"


LOADED = [
    (0, IF | CF, DONE, VIF | CF),
    (VIF, CF, DONE, CF),
    (IF | VIF, NT, DONE, IF | NT),
    (VIP, IF, fault(GP, 0), VIP),
    (VIP, CF, DONE, VIP | CF),
    (0, TF, fault(GP, 0), 0),
    (0, IOPL, DONE, 0),
    (IOPL, IF | CF, DONE, IOPL | IF | CF),
]


@pytest.mark.parametrize(("before", "value", "outcome", "after"), LOADED)
def test_popf(v86: Probe, before: int, value: int, outcome: Outcome, after: int) -> None:
    v86.write(STACK, (2 | value).to_bytes(2, "little"))
    assert v86.run(POPF, guest_rflags=2 | VM | before) == outcome
    assert flags(v86) & ~(1 << 16) == after
    assert v86["guest_rsp"] == STACK + 2 * (outcome == DONE)


@pytest.mark.parametrize(("before", "value", "outcome", "after"), LOADED)
def test_iret(v86: Probe, before: int, value: int, outcome: Outcome, after: int) -> None:
    v86.write(STACK, b"\x34\x12\x00\x20" + (2 | value).to_bytes(2, "little"))
    assert v86.run(IRET, guest_rflags=2 | VM | before) == outcome
    assert flags(v86) & ~(1 << 16) == after
    done = outcome == DONE
    assert (v86["guest_rip"], v86["guest_cs_selector"]) == ((0x1234, 0x2000) if done else (CODE, 0))
    assert v86["guest_rsp"] == STACK + 6 * done
    assert v86.run(b"\x66" + IRET, guest_rflags=2 | VM, guest_cs_selector=0, guest_cs_base=0) == fault(GP, 0)


@pytest.mark.parametrize(
    ("before", "stored", "after"),
    [
        (CF, IOPL | CF, CF),
        (IF | VIF | TF, IOPL | IF | TF, IF),
        (IOPL | IF | VIF, IOPL | IF, IOPL | VIF),
    ],
)
def test_int_through_the_program_s_own_table(v86: Probe, before: int, stored: int, after: int) -> None:
    v86.set(guest_rip=CODE, guest_rflags=2 | VM | before)
    v86.code(bytes([0xCD, VECTOR, 0x90]))
    assert v86.step() == DONE
    assert (v86["guest_rip"], v86["guest_cs_selector"], v86["guest_cs_base"]) == (5, HANDLER >> 4, HANDLER)
    assert v86.read(STACK - 6, 6) == (CODE + 2).to_bytes(2, "little") + bytes(2) + (2 | stored).to_bytes(2, "little")
    assert flags(v86) == after and v86["guest_rsp"] == STACK - 6


@pytest.mark.parametrize("iopl", [0, IOPL])
def test_int_that_the_bitmap_takes_away(v86: Probe, iopl: int) -> None:
    bitmap = bytearray(32)
    bitmap[VECTOR // 8] = 1 << VECTOR % 8
    v86.write(TSS + REDIRECTION, bytes(bitmap))
    outcome = v86.run(bytes([0xCD, VECTOR]), guest_rflags=2 | VM | iopl)
    if not iopl:
        assert outcome == fault(GP, 0)
    else:
        assert outcome == DONE
        assert v86["guest_cs_selector"] == CODE32 and not v86["guest_rflags"] & VM


@pytest.mark.parametrize("limit", [REDIRECTION + VECTOR // 8 - 1, 102])
def test_a_bitmap_beyond_the_limit(v86: Probe, limit: int) -> None:
    v86["guest_tr_limit"] = limit
    assert v86.run(bytes([0xCD, VECTOR]), guest_rflags=2 | VM | IOPL) == fault(GP, 0)


def test_int3_is_no_matter_of_the_bitmap(v86: Probe) -> None:
    assert v86.run(b"\xcc", guest_rflags=2 | VM).vector == 3


@pytest.mark.parametrize(
    ("cpl", "code", "before", "outcome", "after"),
    [
        (3, STI, 0, DONE, VIF),
        (3, STI, VIP, fault(GP, 0), VIP),
        (3, CLI, VIF | IF, DONE, IF),
        (3, STI, IOPL, DONE, IOPL | IF),
        (1, STI, 0, fault(GP, 0), 0),
        (0, STI, 0, DONE, IF),
    ],
)
def test_pvi(cpl: int, code: bytes, before: int, outcome: Outcome, after: int) -> None:
    probe = Probe("max", "protected")
    probe.segment("cs", CODE32 | cpl, 0, 0xFFFFFFFF, 0xC09B | cpl << 5)
    probe.segment("ss", DATA32 | cpl, 0, 0xFFFFFFFF, 0xC093 | cpl << 5)
    assert probe.run(code, guest_cr4=VMXE | PVI, guest_rflags=2 | before) == outcome
    assert flags(probe) == after
    if cpl == 3:
        probe["guest_interruptibility_state"] = 0
        assert probe.run(code, guest_cr4=VMXE | VME, guest_rflags=2) == fault(GP, 0), "VME is of virtual-8086 mode"
    probe.close()
