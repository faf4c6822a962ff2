"""The A20 gate: closed, each odd megabyte is the even one below it, to instructions, page walks and devices alike."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypervisor.guests import Guest

Make = Callable[..., Guest]

OPEN_92, CLOSE_92 = "in al, 0x92; or al, 2; out 0x92, al", "in al, 0x92; and al, 0xfd; out 0x92, al"
OPEN_DF, CLOSE_DD = "mov al, 0xdf; out 0x64, al", "mov al, 0xdd; out 0x64, al"
OPEN_D1, CLOSE_D1 = (f"mov al, 0xd1; out 0x64, al; mov al, {value}; out 0x60, al" for value in (0xDF, 0xDD))
READ_GATES = "in al, 0x92; and al, 2; mov ah, al; mov al, 0xd0; out 0x64, al; in al, 0x60; and al, 2; or al, ah"


@pytest.mark.parametrize("close", [CLOSE_92, CLOSE_DD, CLOSE_D1])
@pytest.mark.parametrize("open_", [OPEN_92, OPEN_DF, OPEN_D1])
def test_real_mode_wraps_at_one_mebibyte(make: Make, close: str, open_: str) -> None:
    guest = make(f"""
        xor ax, ax; mov ds, ax; dec ax; mov es, ax
        mov byte ptr [0x7000], 1; mov byte ptr es:[0x7010], 2
        mov al, [0x7000]; mov [0x6000], al
        {close}
        mov al, es:[0x7010]; mov [0x6001], al
        mov byte ptr es:[0x7010], 3; mov al, [0x7000]; mov [0x6002], al
        {READ_GATES}; mov [0x6003], al
        {open_}
        mov al, es:[0x7010]; mov [0x6004], al
        {READ_GATES}; mov [0x6005], al
        debug_exit 1
    """)
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert list(guest.machine.read_ram(0x6000, 6)) == [1, 1, 3, 0, 2, 2]
    assert guest.machine.read_ram(0x107000, 1) == b"\x02", "what lies there was not touched"


def test_code_pages_and_what_goes_to_a_device(make: Make) -> None:
    """Each odd megabyte of the 4 MiB; a fetch, a walk whose tables are reached by it, MOVS from the LAPIC."""
    guest = make(
        f"""
        mov byte ptr [0x9000], 0xc3                 # RET, and another one where nothing is masked
        mov dword ptr [0x109000], 0xc340b0          # MOV AL, 40h; RET
        mov al, 7; mov ebx, 0x109000; call ebx; mov [0x6000], al
        {CLOSE_92}
        mov al, 7; call ebx; mov [0x6001], al
        mov dword ptr [0x301000], 0x11223344; mov eax, [0x201000]; mov [0x6004], eax
        mov esi, 0xfee00030; mov edi, 0x108000; movsd
        mov eax, [0x8000]; mov [0x6008], eax; mov eax, [0xfee00030]; mov [0x600c], eax
        # A page directory at 20A000h, reached as 30A000h: 4-MiB pages.
        mov dword ptr [0x20a000], 0x83
        mov eax, cr4; or al, 0x10; mov cr4, eax
        mov eax, 0x30a000; mov cr3, eax
        mov eax, cr0; or eax, 0x80000000; mov cr0, eax
        jmp 1f; 1:
        mov eax, [0x301000]; mov [0x6010], eax
        debug_exit 1
        """,
        "protected",
    )
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert list(guest.machine.read_ram(0x6000, 2)) == [0x40, 7]
    assert guest.word(0x6004) == 0x11223344
    assert guest.word(0x6008) == guest.word(0x600C) != 0
    assert guest.word(0x6010) == 0x11223344
    assert guest.machine.read_ram(0x108000, 4) == guest.machine.read_ram(0x301000, 4) == bytes(4)


def test_reset_opens_the_gate(make: Make) -> None:
    guest = make(f"{CLOSE_92}; {CLOSE_DD}; debug_exit 1")
    assert guest.end() == ("DEBUG_EXIT", 1)
    guest.machine.reset()
    guest.load("""
        mov ax, 0xffff; mov es, ax; xor ax, ax; mov ds, ax
        mov byte ptr [0x7000], 1; mov byte ptr es:[0x7010], 2; mov al, [0x7000]; out 0xf4, al
    """)
    assert guest.run().detail == 1


def test_both_accelerators_run_alike(both: Callable[..., list[Guest]]) -> None:
    hashes = []
    for guest in both(f"mov ax, 0xffff; mov es, ax; {CLOSE_92}; mov word ptr es:[0x7010], 5; debug_exit 1"):
        assert guest.end() == ("DEBUG_EXIT", 1)
        hashes.append((guest.machine.count, guest.machine.state_hash()))
    assert hashes[0] == hashes[1]
