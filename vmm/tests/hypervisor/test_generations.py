"""What the generations before CPUID have and have not, under both accelerators."""

from __future__ import annotations

import pytest

from bringup.vmm.spec import Accel

from .guests import Guest

CATCH = """
    cli; xor ax, ax; mov ds, ax; mov es, ax
    mov word ptr [24], offset undefined - 0x10000; mov word ptr [26], 0x1000
    jmp begin
undefined:
    mov al, 6; out 0xf4, al
begin:
"""
UNDEFINED = 6


def run(cpu: str, code: str) -> int:
    """What the code leaves in AL, or 6 after #UD; the same under both accelerators."""
    details = {Guest(accel, f"{CATCH}{code}; out 0xf4, al", cpu=cpu).run().detail for accel in Accel}
    assert len(details) == 1
    return details.pop()


@pytest.mark.parametrize(
    ("code", "generations"),
    [
        ("pusha; mov al, 1", "286 386 486 pentium pentium3"),
        ("shl bx, 3; mov al, 1", "286 386 486 pentium pentium3"),
        ("smsw bx; mov al, 1", "286 386 486 pentium pentium3"),
        ("mov ebx, 1; mov al, 1", "386 486 pentium pentium3"),
        ("mov fs, bx; mov al, 1", "386 486 pentium pentium3"),
        (".byte 0x64; nop; mov al, 1", "386 486 pentium pentium3"),
        ("mov al, 1; setc bl", "386 486 pentium pentium3"),
        ("mov eax, cr0; mov al, 1", "386 486 pentium pentium3"),
        ("bswap ebx; mov al, 1", "486 pentium pentium3"),
        ("xadd bx, cx; mov al, 1", "486 pentium pentium3"),
        ("xor eax, eax; cpuid; mov al, 1", "486 pentium pentium3"),
        ("mov eax, cr4; mov al, 1", "486 pentium pentium3"),
        ("rdtsc; mov al, 1", "pentium pentium3"),
        ("cmpxchg8b [0x7000]; mov al, 1", "pentium pentium3"),
        ("mov al, 1; cmovc bx, cx", "pentium3"),
        ("nop word ptr [bx]; mov al, 1", "pentium3"),
        ("prefetchnta [bx]; mov al, 1", "pentium3"),
        ("mov al, 1; sysenter", ""),  # #GP or #UD: real mode
    ],
)
def test_what_a_generation_has(code: str, generations: str) -> None:
    if "sysenter" in code:
        assert run("pentium", code) == UNDEFINED
        return
    for cpu in ("286", "386", "486", "pentium", "pentium3"):
        assert run(cpu, code) == (1 if cpu in generations.split() else UNDEFINED), cpu


def test_aliases_of_the_8086() -> None:
    assert run("8086", "mov al, 2; stc; .byte 0x62, 2; mov al, 1") == 2, "62h is 72h, JC"
    assert run("8086", "mov al, 2; push cs; .byte 0x0f; inc ax") == 3, "0Fh is POP CS"
    assert run("8086", "call 1f; jmp 2f; 1: mov al, 7; .byte 0xc1; 2:") == 7, "C1h is C3h, RET"
    assert run("8086", "mov al, 5; .byte 0xf1; inc ax") == UNDEFINED, "F1h is F0h, LOCK"


@pytest.mark.parametrize(("cpu", "difference"), [("8086", 2), ("286", 0), ("pentium3", 0)])
def test_push_sp(cpu: str, difference: int) -> None:
    assert run(cpu, "mov bx, sp; push sp; pop cx; sub bx, cx; mov al, bl") == difference


@pytest.mark.parametrize(("cpu", "bits"), [("8086", 0xF0), ("286", 0x00)])
def test_the_upper_bits_of_flags(cpu: str, bits: int) -> None:
    assert run(cpu, "xor ax, ax; push ax; popf; pushf; pop bx; mov al, bh; and al, 0xf0") == bits


@pytest.mark.parametrize(("cpu", "bits"), [("386", 0), ("486", 0x24), ("pentium3", 0x24)])
def test_flags_by_which_software_tells_them_apart(cpu: str, bits: int) -> None:
    """AC and ID."""
    toggle = "pushfd; pop eax; xor eax, 0x240000; push eax; popfd; pushfd; pop eax; shr eax, 16; and al, 0x24"
    assert run(cpu, toggle) == bits


def test_write_protection_is_not_of_the_386() -> None:
    toggle = "mov eax, cr0; or eax, 0x10000; mov cr0, eax; mov eax, cr0; shr eax, 16; and al, 1"
    assert (run("386", toggle), run("486", toggle)) == (0, 1)


def test_the_8086_decodes_part_of_modrm() -> None:
    assert run("8086", "mov al, 0; .byte 0xc6, 0xf8, 3") == 3, "C6h /7 is MOV"
    assert run("8086", "mov al, 9; push ax; mov al, 0; .byte 0x8f, 0xf8") == 9, "8Fh /7 is POP"
    assert run("8086", "mov bx, ds; .byte 0x8c, 0xf8; inc ax") == 1, "8Ch /7 is MOV from DS, which is 0"
    assert run("8086", "mov bx, sp; .byte 0xff, 0xfc; pop cx; sub bx, cx; mov al, bl") == 2, "FFh /7 is PUSH"
    assert run("286", ".byte 0xc6, 0xf8, 3; mov al, 1") == UNDEFINED


DIVIDE = """
    mov word ptr [0], offset 2f - 0x10000; mov word ptr [2], 0x1000
    mov word ptr [52], offset 3f - 0x10000; mov word ptr [54], 0x1000
"""


@pytest.mark.parametrize(("cpu", "offset"), [("8086", 2), ("286", 0), ("pentium3", 0)])
def test_where_a_divide_error_returns_to(cpu: str, offset: int) -> None:
    code = f"{DIVIDE} xor bx, bx; 1: div bl; 3: mov al, 0xff; jmp 4f; 2: pop ax; sub ax, offset 1b - 0x10000; 4:"
    assert run(cpu, code) == offset


@pytest.mark.parametrize(("cpu", "quotient"), [("8086", 1), ("286", 0x80)])
def test_the_8086_has_no_least_quotient(cpu: str, quotient: int) -> None:
    code = f"{DIVIDE} mov ax, -128; mov bl, 1; idiv bl; 3: jmp 4f; 2: mov al, 1; 4:"
    assert run(cpu, code) == quotient


@pytest.mark.parametrize(("cpu", "after"), [("286", 13), ("386", 1)])
def test_the_longest_instruction(cpu: str, after: int) -> None:
    code = f"{DIVIDE} mov al, 1; .rept 10; .byte 0x26; .endr; nop; jmp 4f; 2: 3: mov al, 13; 4:"
    assert run(cpu, code) == after
