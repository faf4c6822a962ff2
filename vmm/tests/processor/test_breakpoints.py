"""Breakpoints of DR0 to DR3 (SDM vol. 3, 18.2 and 18.3): which kind, when, and what RF and MOV SS hold back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypervisor.guests import Guest
from probe import DB, DONE, UD, Probe, fault
from rootmode import CODE, CODE64, DATA, STACK

from bringup.vmm.spec import Accel

TF, RF, AC = 1 << 8, 1 << 16, 1 << 18
DE = 1 << 3
LONG_CR4 = 1 << 13 | 0x620
FETCH, WRITE, PORT, ACCESS = range(4)
BY_MOV_SS = 2
NOP, HIT = b"\x90", 1 << 12


def dr7(n: int, kind: int, length: int = 0, enable: int = 1) -> int:
    """Breakpoint n alone; `enable` 1: locally, 2: globally; `length` as its LEN field has it."""
    return 0x400 | enable << 2 * n | (kind | length << 2) << (16 + 4 * n)


@pytest.fixture
def probe() -> Iterator[Probe]:
    made = Probe("max")
    yield made
    made.close()


# ---- instructions ----


@pytest.mark.parametrize("n", range(4))
@pytest.mark.parametrize("enable", [1, 2, 3])
def test_an_instruction_breakpoint_faults(probe: Probe, n: int, enable: int) -> None:
    probe.registers.dr[n] = CODE
    count = probe.count
    assert probe.run(NOP, guest_dr7=dr7(n, FETCH, enable=enable)) == fault(DB)
    assert probe["exit_qualification"] == 1 << n
    assert probe["guest_rip"] == CODE and probe.count == count, "before the instruction"
    assert not probe["guest_rflags"] & RF, "the one fault that does not push RF"


@pytest.mark.parametrize(
    ("at", "settings"),
    [
        (CODE + 1, dr7(0, FETCH)),
        (CODE - 1, dr7(0, FETCH)),
        (CODE - 3, dr7(0, FETCH, 3)),  # LEN is no matter
        (CODE, dr7(0, FETCH, enable=0)),
        (CODE, dr7(1, FETCH)),  # another register
        (CODE, dr7(0, WRITE)),
        (CODE, dr7(0, ACCESS)),
        (CODE | 1 << 40, dr7(0, FETCH)),
    ],
)
def test_no_instruction_breakpoint(probe: Probe, at: int, settings: int) -> None:
    probe.registers.dr[0] = at
    assert probe.run(b"\x48\x90", guest_dr7=settings) == DONE
    assert probe["guest_pending_debug_exceptions"] == 0


def test_the_breakpoint_goes_before_the_instruction_s_own_fault(probe: Probe) -> None:
    probe.registers.dr[0] = CODE
    assert probe.run(b"\x0f\x0b", guest_dr7=dr7(0, FETCH)) == fault(DB)
    assert probe.run(b"\x0f\x0b", guest_rflags=2 | RF) == fault(UD)
    assert probe["guest_rflags"] & RF, "the instruction did not complete"


def test_rf_lasts_for_one_instruction(probe: Probe) -> None:
    probe.registers.dr[0] = CODE
    assert probe.run(b"\xeb\xfe", guest_dr7=dr7(0, FETCH), guest_rflags=2 | RF) == DONE  # JMP to itself
    assert not probe["guest_rflags"] & RF
    assert probe.step() == fault(DB)


def test_iret_may_set_rf(probe: Probe) -> None:
    probe.registers.dr[0] = CODE + 2
    probe.quad(STACK - 40, CODE + 2, CODE64, 2 | RF, STACK, 0)
    probe.set(guest_dr7=dr7(0, FETCH), guest_rip=CODE, guest_rsp=STACK - 40)
    probe.code(b"\x48\xcf\x90\x90")
    assert probe.step(2) == DONE
    assert probe["guest_rip"] == CODE + 3 and not probe["guest_rflags"] & RF


def test_mov_ss_holds_back_the_next_instruction_s_breakpoint(probe: Probe) -> None:
    probe.registers.dr[0], probe.registers.dr[1] = CODE + 2, CODE + 3
    probe.set(guest_dr7=dr7(0, FETCH) | dr7(1, FETCH), guest_rip=CODE)
    probe.put("rax", 0x10)
    probe.code(b"\x8e\xd0\x90\x90")  # MOV SS, EAX
    assert probe.step(3) == fault(DB)
    assert probe["guest_rip"] == CODE + 3 and probe["exit_qualification"] == 2


def test_sti_holds_back_nothing(probe: Probe) -> None:
    probe.registers.dr[0] = CODE + 1
    probe.set(guest_dr7=dr7(0, FETCH), guest_rip=CODE)
    probe.code(b"\xfb\x90")
    assert probe.step(2) == fault(DB)


def test_a_loop_and_what_it_calls(probe: Probe) -> None:
    """Breakpoints come and go while the code of both pages has been decoded and linked."""
    loop = b"\xff\xc9\x74\x07\xe8" + (0x1000 - 9).to_bytes(4, "little") + b"\xeb\xf5\xf4"  # DEC, JZ, CALL, JMP
    probe.code(loop)
    probe.code(b"\x90\xc3", CODE + 0x1000)
    probe.registers.dr[0] = CODE + 0x1001
    for settings, outcome in [(0x400, DONE), (dr7(0, FETCH), fault(DB)), (0x400, DONE)]:
        probe.put("rcx", 1000)
        probe.set(guest_rip=CODE, guest_rsp=STACK, guest_dr7=settings)
        assert probe.step(100) == outcome
        if outcome != DONE:
            assert probe["guest_rip"] == CODE + 0x1001 and probe.gpr("rcx") == 999


def test_code_behind_a_page_boundary(probe: Probe) -> None:
    """The trace before falls into the page that has the breakpoint; so does an instruction that lies across."""
    end = CODE + 0x1000
    for before, at in [(b"\x90\x90", end), (b"\x48\x8b\x00", end + 1), (b"\xeb\x00", end)]:
        start = at - len(before)
        probe.code(before + b"\x90\x90", start)
        probe.put("rax", DATA)
        for settings in (0x400, dr7(2, FETCH)):
            probe.registers.dr[2] = at
            probe.set(guest_rip=start, guest_dr7=settings)
            assert probe.step(3) == (DONE if settings == 0x400 else fault(DB))
        assert probe["guest_rip"] == at


def test_a_repeated_instruction_traps_once(probe: Probe) -> None:
    """Between its iterations RFLAGS has RF, in the image of whatever comes there."""
    probe.registers.dr[0] = CODE
    for name, value in [("rdi", DATA), ("rcx", 5), ("rax", 0x77)]:
        probe.put(name, value)
    assert probe.run(b"\xf3\xaa\x90", guest_dr7=dr7(0, FETCH)) == fault(DB)  # REP STOSB
    probe["guest_rflags"] = 2 | RF
    for left in (4, 3):
        assert probe.step() == DONE
        assert (probe.gpr("rcx"), probe["guest_rip"]) == (left, CODE)
        assert probe["guest_rflags"] & RF
    assert probe.step(3) == DONE
    assert (probe.gpr("rcx"), probe["guest_rip"], probe["guest_rflags"] & RF) == (0, CODE + 2, 0)
    assert probe.read(DATA, 6) == b"\x77" * 5 + b"\0"


# ---- data ----


def test_a_data_breakpoint_traps_right_after_its_instruction(probe: Probe) -> None:
    """In the middle of a trace, too: what follows has not run."""
    probe.registers.dr[1] = DATA
    probe.put("rax", DATA)
    probe.set(guest_dr7=dr7(1, WRITE, 3), guest_rip=CODE)
    probe.code(b"\x90\x88\x08\xff\xc1\xff\xc1\xff\xc1")  # NOP; MOV [RAX], CL; INC ECX ...
    assert probe.step(5) == fault(DB)
    assert (probe["guest_rip"], probe["exit_qualification"], probe.gpr("rcx")) == (CODE + 3, 2, 0)
    assert not probe["guest_rflags"] & RF


def test_an_iteration_that_meets_a_data_breakpoint(probe: Probe) -> None:
    probe.registers.dr[0] = DATA + 2
    for name, value in [("rdi", DATA), ("rcx", 5), ("rax", 0x55)]:
        probe.put(name, value)
    probe.code(b"\xf3\xaa\x90")
    probe.set(guest_rip=CODE, guest_dr7=dr7(0, WRITE))
    assert probe.step(8) == fault(DB)
    assert (probe.gpr("rcx"), probe["guest_rip"]) == (2, CODE)
    assert probe["guest_rflags"] & RF, "more iterations follow"
    assert probe.step(8) == DONE
    assert probe.gpr("rcx") == 0


# ---- ports ----


@pytest.mark.parametrize(("de", "port", "met"), [(DE, 0x123, True), (0, 0x123, False), (DE, 0x124, False)])
def test_an_io_breakpoint(probe: Probe, de: int, port: int, met: bool) -> None:
    probe["primary_controls"] = probe["primary_controls"] & ~(1 << 24) | 1 << 25  # no port exits
    probe.registers.dr[3] = 0x120
    probe.put("rdx", port)
    outcome = probe.run(b"\xec\x90", guest_dr7=dr7(3, PORT, 3), guest_cr4=LONG_CR4 | de)
    pending = probe["guest_pending_debug_exceptions"]
    assert outcome == fault(DB) and probe["exit_qualification"] == 8 if met and outcome != DONE else outcome == DONE
    assert met == bool(pending & 8 or outcome != DONE)
    assert probe["guest_rip"] == CODE + 1


IO_BREAKPOINT = """
    mov word ptr [4], offset trap - 0x10000; mov word ptr [6], 0x1000
    mov eax, 0x80; mov dr0, eax
    mov eax, 8; mov cr4, eax        # DE
    mov eax, 0x20002; mov dr7, eax  # G0, I/O
    xor ebx, ebx
    out 0x81, al
    out 0x80, al
    mov si, 0x9000; mov dx, 0x80; mov cx, 3; rep outsb
    in al, 0x80
    mov al, bl; out 0xf4, al
trap:
    inc bx
    mov eax, dr6; and al, 1; jz 1f; add bx, 0x10; 1:
    xor eax, eax; mov dr6, eax
    iret
"""


def test_io_breakpoints_in_both_accelerators(both: Callable[..., list[Guest]]) -> None:
    """OUT, three iterations of OUTS, IN; under `vtx` the hypervisor completes them."""
    counts = set()
    for guest in both(IO_BREAKPOINT):
        end = guest.run()
        assert end.detail == 5 * 0x11
        counts.add(end.count)
    assert len(counts) == 1


# ---- ICEBP and general detect ----


def test_icebp_clears_general_detect_and_sets_no_condition(both: Callable[..., list[Guest]]) -> None:
    source = """
    mov word ptr [4], offset trap - 0x10000; mov word ptr [6], 0x1000
    xor eax, eax; mov dr6, eax
    mov eax, 0x2400; mov dr7, eax   # GD
    .byte 0xf1
    after: mov al, 1; out 0xf4, al
trap:
    mov eax, dr7; test ah, 0x20; jnz 2f
    mov eax, dr6; test ax, 0xe00f; jnz 2f
    pop ax; cmp ax, offset after - 0x10000; jne 2f
    mov al, 9; out 0xf4, al
2:  mov al, 2; out 0xf4, al
    """
    for guest in both(source):
        assert guest.run().detail == 9


MOV_SS_AND_ICEBP = """
    xor eax, eax; mov ds, ax; mov dr6, eax; xor cx, cx
    mov word ptr [4], offset trap - 0x10000; mov word ptr [6], 0x1000
    mov [0x7000], ss
    {arm}
    mov ss, [0x7000]
    .byte 0xf1
    nop
    mov al, cl; out 0xf4, al
trap: # a digit in CX: 1, 2 with BS, 4 with B0; the single step ends itself
    push eax; mov bp, sp
    shl cx, 4; inc cx
    mov eax, dr6
    test ax, 0x4000; jz 1f; or cx, 2; and word ptr [bp + 8], 0xfeff; 1:
    test ax, 1; jz 2f; or cx, 4; 2:
    xor eax, eax; mov dr6, eax
    pop eax; iret
"""


@pytest.mark.parametrize(
    ("arm", "traps"),
    [
        # ICEBP and, after IRET, NOP single-stepped: the one leaves no step of its own.
        ("pushf; pop ax; or ax, 0x100; push ax; popf", 0x13),
        # MOV SS met its operand's breakpoint, which comes with the ICEBP that ends its shadow.
        ("mov eax, 0x7000; mov dr0, eax; mov eax, 0x70402; mov dr7, eax", 0x5),
    ],
)
def test_icebp_in_the_shadow_of_mov_ss(both: Callable[..., list[Guest]], arm: str, traps: int) -> None:
    for guest in both(MOV_SS_AND_ICEBP.format(arm=arm)):
        assert guest.run().detail == traps


def test_general_detect_is_a_fault_that_sets_rf(probe: Probe) -> None:
    assert probe.run(b"\x0f\x21\xc0", guest_dr7=0x400 | 1 << 13) == fault(DB)
    assert probe["exit_qualification"] == 1 << 13
    assert probe["guest_rip"] == CODE


@pytest.fixture
def both() -> Callable[..., list[Guest]]:
    def make(source: str) -> list[Guest]:
        return [Guest(accel, source) for accel in (Accel.VTX, Accel.BARE)]

    return make
