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
