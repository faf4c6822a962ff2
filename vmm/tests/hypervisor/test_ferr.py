"""x87 errors with CR0.NE clear: FERR#, IRQ 13, port F0h and IGNNE#, the same under both accelerators."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .guests import Guest

Both = Callable[..., list[Guest]]

# The PICs at 8 and 70h, IRQ 13 open; its handler counts in BX. The error is a division by zero, unmasked.
PROLOGUE = """
    cli; xor ax, ax; mov ds, ax; mov es, ax; xor bx, bx; xor cx, cx
    mov word ptr [0x75 * 4], offset irq13 - 0x10000; mov word ptr [0x75 * 4 + 2], 0x1000
    mov al, 0x11; out 0x20, al; out 0xa0, al; mov al, 8; out 0x21, al; mov al, 0x70; out 0xa1, al
    mov al, 4; out 0x21, al; mov al, 2; out 0xa1, al; mov al, 1; out 0x21, al; out 0xa1, al
    mov al, {mask}; out 0xa1, al; mov al, 0xfb; out 0x21, al
    mov eax, cr0; and al, 0xd3; mov cr0, eax # NE, EM, TS
    fninit; mov word ptr [0x7000], 0x37b; fldcw [0x7000]
"""
DIVIDE = "fld1; fldz; fdivp;"
HANDLER = """
irq13:
    inc bx
    out 0xf0, al
    {handler}
    mov al, 0x20; out 0xa0, al; out 0x20, al
    iret
"""


def guest(body: str, handler: str, mask: int = 0xDF) -> str:
    return PROLOGUE.format(mask=mask) + body + HANDLER.format(handler=handler)


def test_the_error_interrupts_once(both: Both) -> None:
    """At the next instruction that waits, which then runs: the handler has cleared the error."""
    body = f"sti; {DIVIDE} mov cl, bl; fwait; mov al, bl; shl al, 4; or al, cl; out 0xf4, al"
    counts = set()
    for machine in both(guest(body, "fnclex")):
        end = machine.run()
        assert end.detail == 0x10, "none at FDIVP itself, one at FWAIT"
        counts.add(end.count)
    assert len(counts) == 1


def test_ignne_holds_while_the_error_lasts(both: Both) -> None:
    """A handler that leaves the error as it is: x87 instructions go on, until FNCLEX and another error."""
    body = f"sti; {DIVIDE} fwait; fld1; fwait; fnclex; in al, 0x80; {DIVIDE} fwait; mov al, bl; out 0xf4, al"
    for machine in both(guest(body, "nop")):
        assert machine.run().detail == 2


def test_the_processor_waits_for_the_interrupt(both: Both) -> None:
    """Interrupts off, or the line masked: it stands still at the instruction."""
    for body, mask in [(f"{DIVIDE} fwait; mov al, 1; out 0xf4, al", 0xDF), (f"sti; {DIVIDE} fwait", 0xFF)]:
        for machine in both(guest(body, "fnclex", mask)):
            assert machine.end() == ("IDLE_FOREVER", 0)


def test_not_with_ne_set(both: Both) -> None:
    """#MF, and no interrupt."""
    body = f"""
        mov word ptr [16 * 4], offset mf - 0x10000; mov word ptr [16 * 4 + 2], 0x1000
        mov eax, cr0; or al, 0x20; mov cr0, eax; sti
        {DIVIDE} fwait; mov al, 0x77; out 0xf4, al
    mf: mov al, bl; add al, 5; out 0xf4, al
    """
    for machine in both(guest(body, "fnclex")):
        assert machine.run().detail == 5


@pytest.mark.parametrize("instruction", ["fld1", "fldcw [0x7000]", "emms", "fstp dword ptr [0x7010]"])
def test_what_waits(both: Both, instruction: str) -> None:
    body = f"sti; {DIVIDE} fnstsw [0x7010]; mov cl, bl; {instruction}; mov al, bl; shl al, 4; or al, cl; out 0xf4, al"
    for machine in both(guest(body, "fnclex")):
        assert machine.run().detail == 0x10
