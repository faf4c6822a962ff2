"""Port I/O: who may, by IOPL and the TSS's bitmap; what a string instruction leaves when it stops half way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tiny
from probe import DONE, GP, Outcome, Probe, fault
from rootmode import TSS, USER_CODE64, USER_DATA

from bringup.vmm.machine import DEBUG_PORT, RDI, RSI, Limits, Machine
from bringup.vmm.spec import Accel, MachineSpec

MIB = 1 << 20
IOPL = 3 << 12
BITMAP = 104
IN_AL_DX, IN_AX_DX, IN_EAX_DX, OUT_DX_AL = b"\xec", b"\x66\xed", b"\xed", b"\xee"
PORT = 0x123


@pytest.fixture
def probe() -> Iterator[Probe]:
    """CPL 3 in 64-bit code; ports that nothing answers, and that do not exit."""
    made = Probe("max")
    made["primary_controls"] = made["primary_controls"] & ~(1 << 24) | 1 << 25  # I/O bitmaps, all clear
    made.segment("cs", USER_CODE64, 0, 0xFFFFFFFF, 0xA0FB)
    made.segment("ss", USER_DATA, 0, 0xFFFFFFFF, 0xC0F3)
    made.put("rdx", PORT)
    made.write(TSS + 102, BITMAP.to_bytes(2, "little"))  # beyond the TSS's limit: no bitmap
    yield made
    made.close()


def test_iopl(probe: Probe) -> None:
    probe.put("rax", 0)
    assert probe.run(IN_AL_DX) == fault(GP, 0)
    assert probe.run(IN_AL_DX, guest_rflags=2 | IOPL) == DONE
    assert probe.gpr("rax") == 0xFF, "an empty bus reads as ones"


@pytest.mark.parametrize(
    ("forbidden", "code", "outcome"),
    [
        (None, IN_AL_DX, DONE),
        (PORT, IN_AL_DX, fault(GP, 0)),
        (PORT, OUT_DX_AL, fault(GP, 0)),
        (PORT + 1, IN_AL_DX, DONE),
        (PORT + 1, IN_AX_DX, fault(GP, 0)),
        (PORT + 3, IN_EAX_DX, fault(GP, 0)),
        (PORT + 4, IN_EAX_DX, DONE),
        (PORT - 1, IN_EAX_DX, DONE),
    ],
)
def test_the_bitmap(probe: Probe, forbidden: int | None, code: bytes, outcome: Outcome) -> None:
    bitmap = bytearray(64)
    if forbidden is not None:
        bitmap[forbidden // 8] |= 1 << forbidden % 8
    probe.write(TSS + 102, BITMAP.to_bytes(2, "little") + bytes(bitmap))
    probe["guest_tr_limit"] = BITMAP + 63
    assert probe.run(code) == outcome


def test_the_end_of_the_bitmap(probe: Probe) -> None:
    """Two bytes are read: the limit must take in the one after the port's."""
    probe.write(TSS + 102, BITMAP.to_bytes(2, "little") + bytes(64))
    probe["guest_tr_limit"] = BITMAP + PORT // 8 + 1
    assert probe.run(IN_AL_DX) == DONE
    probe["guest_tr_limit"] = BITMAP + PORT // 8
    assert probe.run(IN_AL_DX) == fault(GP, 0)
    probe.put("rdx", 0xFFFF)
    assert probe.run(IN_AL_DX) == fault(GP, 0)


def test_ins_faults_before_it_reads_the_port(probe: Probe) -> None:
    probe.put("rdi", 1 << 40)
    outcome = probe.run(b"\x6c", guest_rflags=2 | IOPL)
    assert outcome == fault(14, 6, 1 << 40)
    assert probe.gpr("rdi") == 1 << 40


@pytest.mark.parametrize("accel", list(Accel))
@pytest.mark.parametrize("backwards", [False, True])
def test_outs_stops_anywhere_and_goes_on(accel: Accel, backwards: bool) -> None:
    """REP OUTSB to the debug port, one iteration at a time: each is one instruction."""
    text = b"port by port"
    with Machine(MachineSpec(memory=2 * MIB, accel=accel)) as machine:
        registers = tiny.real_mode()
        registers.rflags = 2 | backwards << 10
        registers.gpr[1], registers.gpr[2] = len(text), 0xE9
        registers.gpr[RSI] = 0x5000 + (len(text) - 1 if backwards else 0)
        machine.write_ram(0x5000, text)
        tiny.start(machine, b"\xf3\x6e\x90", registers)
        step = -1 if backwards else 1
        for done in range(1, len(text) + 1):
            machine.run(Limits(count=machine.count + 1))
            now = machine.registers()
            assert (now.gpr[1], now.gpr[RSI]) == (len(text) - done, registers.gpr[RSI] + step * done)
            assert now.rip == tiny.ORIGIN + (2 if done == len(text) else 0)
        assert machine.receive(DEBUG_PORT).data == (text[::-1] if backwards else text)


@pytest.mark.parametrize("accel", list(Accel))
def test_ins_in_one_run(accel: Accel) -> None:
    """REP INSW from the debug port, which reads E9h; no iteration when CX is 0, which still is one instruction."""
    with Machine(MachineSpec(memory=2 * MIB, accel=accel)) as machine:
        registers = tiny.real_mode()
        registers.gpr[1], registers.gpr[2], registers.gpr[RDI] = 5, 0xE9, 0x5000
        tiny.start(machine, b"\xf3\x6d\xf3\x6d\x90", registers)
        machine.run(Limits(count=6))
        now = machine.registers()
        assert (now.rip, now.gpr[1], now.gpr[RDI]) == (tiny.ORIGIN + 4, 0, 0x500A)
        assert machine.read_ram(0x5000, 10)[::2] == b"\xe9" * 5
