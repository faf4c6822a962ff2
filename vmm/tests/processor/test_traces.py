"""Decoded code: overwritten while it runs, across pages, and more of it than the trace cache holds."""

from __future__ import annotations

import pytest
import tiny

from bringup.vmm.machine import CS, DS, ES, SS, Exit, ExitKind, Limits, Machine, Registers, Segment
from bringup.vmm.spec import Accel, MachineSpec

MIB = 1 << 20
ORIGIN = 0x10000
CODE, DATA = Segment(8, 0, 0xFFFFFFFF, 0xC09B), Segment(16, 0, 0xFFFFFFFF, 0xC093)
ACCELS = [Accel.VTX, Accel.BARE]


def run(accel: Accel, source: str, filled: dict[int, bytes] | None = None) -> tuple[Exit, Registers]:
    """Runs flat 32-bit code until it halts."""
    state = tiny.real_mode()
    state.cr0, state.rip = 0x31, ORIGIN
    state.segments[CS] = CODE
    for segment in (DS, ES, SS):
        state.segments[segment] = DATA
    code = tiny.assemble(f".intel_syntax noprefix\n.code32\n{source}\nhlt\n", ORIGIN)
    with Machine(MachineSpec(memory=8 * MIB, accel=accel)) as machine:
        for address, data in (filled or {}).items():
            machine.write_ram(address, data)
        tiny.start(machine, code, state, ORIGIN)
        end = machine.run(Limits(count=50_000_000))
        assert end.kind == ExitKind.IDLE_FOREVER, end
        return end, machine.registers()


@pytest.mark.parametrize("accel", ACCELS)
def test_an_instruction_overwrites_the_next(accel: Accel) -> None:
    end, after = run(accel, "mov byte ptr [target + 1], 42\ntarget: mov al, 1")
    assert after.gpr[0] & 0xFF == 42
    assert end.count == 3


@pytest.mark.parametrize("accel", ACCELS)
def test_a_loop_rewrites_its_own_body(accel: Accel) -> None:
    source = """
        mov ecx, 1000
    1:  mov [patch + 1], ecx
    patch: mov eax, 0
        add ebx, eax
        dec ecx
        jnz 1b
    """
    end, after = run(accel, source)
    assert after.gpr[3] == 1000 * 1001 // 2
    assert end.count == 1 + 5 * 1000 + 1


@pytest.mark.parametrize("accel", ACCELS)
def test_a_repeated_store_runs_over_the_code_behind_it(accel: Accel) -> None:
    # STOS overwrites what follows with `inc ebx`; both that and the count are as on silicon.
    end, after = run(accel, "mov edi, offset 1f; mov ecx, 8; mov al, 0x43; rep stosb; 1: .fill 8, 1, 0x90")
    assert after.gpr[3] == 8
    assert end.count == 3 + 8 + 8 + 1


@pytest.mark.parametrize("accel", ACCELS)
def test_an_instruction_across_pages(accel: Accel) -> None:
    # `mov eax, imm32; ret` begins three bytes before a page's end; its second page is then overwritten.
    page = 0x20000
    source = f"""
        mov esp, 0x9000
        call {page - 3:#x}
        mov ebx, eax
        mov byte ptr [{page:#x}], 0x77
        call {page - 3:#x}
    """
    source = source.replace("call 0x1fffd", "mov edx, 0x1fffd; call edx")
    _, after = run(accel, source, {page - 3: b"\xb8\x11\x22\x33\x44\xc3"})
    assert (after.gpr[3], after.gpr[0]) == (0x44332211, 0x44772211)


@pytest.mark.parametrize("accel", ACCELS)
def test_more_code_than_the_cache_holds(accel: Accel) -> None:
    start, size = 2 * MIB, 4 * MIB
    source = f"mov ecx, 2; mov edx, {start:#x}; 1: mov eax, offset back; jmp edx; back: dec ecx; jnz 1b"
    end, _ = run(accel, source, {start: b"\x90" * size + b"\xff\xe0"})  # jmp eax
    assert end.count == 2 + 2 * (2 + size + 1 + 2) + 1


@pytest.mark.parametrize("accel", ACCELS)
def test_data_beside_code_is_written_at_speed(accel: Accel) -> None:
    """A page that held code is plain memory again after some stores (the count is what can be told)."""
    source = """
        mov ecx, 100000
    1:  mov [data], ecx
        dec ecx
        jnz 1b
        jmp 2f
        .balign 128
    data: .long 0
        .balign 128
    2:  nop
    """
    end, _ = run(accel, source)
    assert end.count == 1 + 3 * 100_000 + 1 + 1 + 1
