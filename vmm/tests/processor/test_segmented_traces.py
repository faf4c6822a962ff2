"""Linked and cached traces where CS has a base and a limit: what may change between two runs of the same bytes."""

from __future__ import annotations

import pytest
import tiny

from bringup.vmm.machine import CS, DS, ES, SS, Exit, ExitKind, Limits, Machine, Registers, Segment
from bringup.vmm.spec import Accel, MachineSpec

MIB = 1 << 20
ORIGIN = 0x10000
ACCELS = [Accel.VTX, Accel.BARE]
DB, G = 1 << 14, 1 << 15
TABLES = f"""
    .balign 8
gdt: .quad 0
    .quad {Segment(8, 0, 0xFFFFF, 0x9B | DB).descriptor():#x}
    .quad {Segment(0x10, 0, 0xFFFFF, 0x93 | DB).descriptor():#x}
    .quad {Segment(0x18, 0, 0xFFFF, 0x93).descriptor():#x}
    .quad {Segment(0x20, 0, 0xFFFFFFFF, 0x93 | DB | G).descriptor():#x}
gdtr: .word . - gdt - 1
    .long gdt
"""


def run(accel: Accel, source: str, state: Registers, filled: dict[int, bytes] | None = None) -> tuple[Exit, Registers]:
    """Runs until it halts."""
    code = tiny.assemble(f".intel_syntax noprefix\n{source}\n", ORIGIN)
    with Machine(MachineSpec(memory=8 * MIB, accel=accel)) as machine:
        for address, data in (filled or {}).items():
            machine.write_ram(address, data)
        tiny.start(machine, code, state, ORIGIN)
        end = machine.run(Limits(count=10_000_000))
        assert end.kind == ExitKind.IDLE_FOREVER, end
        return end, machine.registers()


def protected(flat: bool = False) -> Registers:
    """32-bit code; unless flat, segments of 1 MiB."""
    limit, granular = (0xFFFFFFFF, G) if flat else (0xFFFFF, 0)
    state = tiny.real_mode()
    state.cr0, state.rip = 0x31, ORIGIN
    state.segments[CS] = Segment(8, 0, limit, 0x9B | DB | granular)
    for segment in (DS, ES, SS):
        state.segments[segment] = Segment(0x10, 0, limit, 0x93 | DB | granular)
    return state


def real() -> Registers:
    """Real mode at 1000:0, data in the same segment, the stack at 0:7C00."""
    state = tiny.real_mode()
    state.rip = 0
    state.segments[CS] = Segment(ORIGIN >> 4, ORIGIN, 0xFFFF, 0x9B)
    state.segments[DS] = Segment(ORIGIN >> 4, ORIGIN, 0xFFFF, 0x93)
    return state


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("first, second", [(0x10, 0x18), (0x18, 0x10), (0x18, 0x20), (0x20, 0x18)])
def test_lss_changes_the_width_of_the_stack(accel: Accel, first: int, second: int) -> None:
    source = f"""
        .code32
        lgdt [gdtr]
        lss esp, [stacks]
        push eax
        mov ebx, esp
        lss esp, [stacks + 6]
        push eax
        hlt
    stacks: .long 0x30000
        .word {first}
        .long 0x30000
        .word {second}
        {TABLES}
    """
    _, after = run(accel, source, protected())
    expected = {0x10: 0x2FFFC, 0x18: 0x3FFFC, 0x20: 0x2FFFC}
    assert [hex(after.gpr[3]), hex(after.gpr[4])] == [hex(expected[first]), hex(expected[second])]


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("flat", [False, True])
def test_a_loop_with_a_16_bit_target_is_none_to_itself(accel: Accel, flat: bool) -> None:
    # 66h cuts the target, which its displacement alone would put at itself (SDM volume 2, LOOP).
    source = ".code32\nmov ecx, 1000\njmp 1f\n.balign 16\n1: .byte 0x66, 0xe2, 0xfd\nhlt"
    end, after = run(accel, source, protected(flat), {0x10: b"\xf4"})
    assert (after.gpr[1], after.rip, end.count) == (999, 0x11, 4)


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("count", [1, 2, 3, 1000, 0])
def test_a_loop_to_itself_counts_each_iteration(accel: Accel, count: int) -> None:
    end, after = run(accel, f".code16\nmov ebx, 7\nmov cx, {count}\n1: loop 1b\nhlt", real())
    assert after.gpr[1] & 0xFFFF == 0
    assert end.count == 2 + (count or 0x10000) + 1


@pytest.mark.parametrize("accel", ACCELS)
def test_code_with_a_base_rewrites_itself(accel: Accel) -> None:
    source = f"""
        .code16
        mov cx, 1000
    1:  mov [patch + 1 - {ORIGIN}], cx
    patch: mov ax, 0
        add bx, ax
        dec cx
        jnz 1b
        hlt
    """
    end, after = run(accel, source, real())
    assert after.gpr[3] & 0xFFFF == 1000 * 1001 // 2 & 0xFFFF
    assert end.count == 1 + 5 * 1000 + 1


@pytest.mark.parametrize("accel", ACCELS)
def test_a_call_s_return_address_overwrites_its_target(accel: Accel) -> None:
    # SS = CS: the second call pushes over `inc bx`, which becomes its return address's low byte (C3h: RET).
    source = f"""
        .code16
        mov ax, cs
        mov ss, ax
        mov sp, 0x8000
        call target
        mov sp, offset target + 2 - {ORIGIN}
        jmp 1f
        .org 0xc0
    1:  call target
        hlt
        .org 0x200
    target: inc bx
        nop
        nop
        ret
    """
    _, after = run(accel, source, real())
    assert after.gpr[3] & 0xFFFF == 1


@pytest.mark.parametrize("accel", ACCELS)
def test_the_same_code_by_two_segments(accel: Accel) -> None:
    # 1000:0100 and 0FF0:0200 are one linear address; IP is not.
    source = """
        .code16
        mov si, 3
    1:  call 0x1000:0x100
        add cx, ax
        call 0x0ff0:0x200
        add dx, ax
        dec si
        jnz 1b
        hlt
        .org 0x100
        call 2f
    2:  pop ax
        jmp 3f
    3:  retf
    """
    _, after = run(accel, source, real())
    assert [after.gpr[n] & 0xFFFF for n in (1, 2)] == [3 * 0x103, 3 * 0x203]


@pytest.mark.parametrize("accel", ACCELS)
def test_the_a20_gate_changes_what_code_an_address_is(accel: Accel) -> None:
    source = """
        .code16
        mov si, 3
    1:  mov al, 2
        out 0x92, al
        call 0xffff:0x1010
        mov al, 0
        out 0x92, al
        call 0xffff:0x1010
        dec si
        jnz 1b
        hlt
    """
    parts = {0x101000: b"\xeb\x00\x43\xcb", 0x1000: b"\xeb\x00\x42\xcb"}  # jmp $+2; inc bx, inc dx; retf
    _, after = run(accel, source, real(), parts)
    assert [after.gpr[n] & 0xFFFF for n in (3, 2)] == [3, 3]


@pytest.mark.parametrize("accel", ACCELS)
def test_a_branch_s_link_does_not_pass_a_lower_limit(accel: Accel) -> None:
    # The same bytes by a segment that ends before the branch's target: #GP at the branch, 3 passes later.
    big, small = Segment(0x28, 0, 0xFFFFF, 0x9B | DB), Segment(0x30, 0, 0x101FF, 0x9B | DB)
    source = f"""
        .code32
        lgdt [gdtr]
        lidt [idtr]
        mov ecx, 3
    1:  call 0x28:body
        dec ecx
        jnz 1b
        call 0x30:body
        ud2
        .org 0x100
    body: jmp target
        .org 0x200
    target: inc ebx
        retf
        .org 0x300
    fault: pop eax
        pop edx
        hlt
        {TABLES.replace("gdtr:", f".quad {big.descriptor():#x}; .quad {small.descriptor():#x}; gdtr:")}
        .balign 8
    idt: .fill 13, 8, 0
        .word fault - {ORIGIN}
        .word 8, 0x8e00, {ORIGIN >> 16}
    idtr: .word . - idt - 1
        .long idt
    """
    _, after = run(accel, source, protected())
    assert (after.gpr[3], after.gpr[0], after.gpr[2]) == (3, 0, ORIGIN + 0x100)
