"""Tiny guests in assembly, run through machine.h under either accelerator.

A guest's source is Intel syntax for gas. It starts at `ORIGIN` in real, 32-bit protected (flat, no paging) or long mode
(the first GiB and the 4th mapped to themselves with 2-MiB pages), interrupts off, RSP below `ORIGIN`, and ends as a
guest ends: by power-off, isa-debug-exit, HLT, a triple fault. The words in `PRELUDE` may be used.
"""

from __future__ import annotations

import struct
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bringup.vmm.machine import (
    CS,
    DS,
    ES,
    FS,
    GS,
    LDTR,
    RSP,
    SS,
    TR,
    Exit,
    ExitKind,
    Limits,
    Machine,
    Registers,
    Segment,
)
from bringup.vmm.spec import Accel, MachineSpec

MIB = 1 << 20
ORIGIN = 0x10000
GDT, PAGE_TABLES = 0x1000, 0x2000
CODE_32, DATA, CODE_64, TASK = 0x08, 0x10, 0x18, 0x20

PRELUDE = """
    .intel_syntax noprefix
    .macro power_off            # ACPI S5 by PM1a_CNT
        mov dx, 0x604
        mov ax, 0x3400
        out dx, ax
    .endm
    .macro debug_exit value
        mov al, \\value
        out 0xf4, al
    .endm
    .macro print_al             # to the debug port
        out 0xe9, al
    .endm
"""


@cache
def assemble(source: str, bits: int) -> bytes:
    """Machine code for `ORIGIN`."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "guest.s").write_text(f"{PRELUDE}\n.code{bits}\n{source}\n")
        subprocess.run(["as", "--64", "-o", "guest.o", "guest.s"], cwd=folder, check=True)
        link = ["ld", "--oformat", "binary", "-Ttext", hex(ORIGIN), "-e", "0", "-o", "guest.bin", "guest.o"]
        subprocess.run(link, cwd=folder, check=True)
        return (folder / "guest.bin").read_bytes()


def flat(selector: int, access: int) -> Segment:
    return Segment(selector=selector, base=0, limit=0xFFFFFFFF, access=access)


def real(base: int) -> Segment:
    return Segment(selector=base >> 4, base=base, limit=0xFFFF, access=0x93)


def gdt() -> bytes:
    """Null, 32-bit code, data, 64-bit code, a TSS at 0 (two entries)."""
    segments = [flat(0, 0xC09B), flat(0, 0xC093), flat(0, 0xA09B), Segment(0, 0, 0x67, 0x8B)]
    return struct.pack("<6Q", 0, *(segment.descriptor() for segment in segments), 0)


class Guest:
    """One machine and the guest in it."""

    def __init__(self, accel: Accel, source: str, mode: str = "real", **spec: Any) -> None:
        self.machine = Machine(MachineSpec(**{"memory": 4 * MIB, "debug_exit": True, "accel": accel} | spec))
        self.load(source, mode)

    def load(self, source: str, mode: str = "real") -> None:
        self.machine.write_ram(ORIGIN, assemble(source, {"real": 16, "protected": 32, "long": 64}[mode]))
        self.machine.write_ram(GDT, gdt())
        registers = Registers()
        registers.gpr[RSP] = ORIGIN
        registers.gdt_base, registers.gdt_limit, registers.idt_limit = GDT, len(gdt()) - 1, 0x3FF
        registers.segments[LDTR] = Segment(0, 0, 0xFFFF, 0x82)
        registers.segments[TR] = Segment(TASK, 0, 0x67, 0x8B)
        if mode == "real":
            registers.segments[:6] = [real(0)] * 6
            registers.segments[CS] = real(ORIGIN)
            registers.segments[SS] = real(0)
            registers.gpr[RSP] = 0xFFF0
            registers.cr0 = 0x10
        else:
            for segment in (ES, SS, DS, FS, GS):
                registers.segments[segment] = flat(DATA, 0xC093)
            registers.segments[CS] = flat(CODE_32, 0xC09B) if mode == "protected" else flat(CODE_64, 0xA09B)
            registers.rip = ORIGIN
            registers.cr0 = 0x31
        if mode == "long":
            self.machine.write_ram(PAGE_TABLES, identity_map())
            registers.cr0, registers.cr3, registers.cr4, registers.efer = 0x80000031, PAGE_TABLES, 0x620, 0x500
        self.machine.set_registers(registers)

    def run(self, **limits: Any) -> Exit:
        """Runs to the end or to a limit; at most 10^8 instructions."""
        return self.machine.run(Limits(**{"count": 10**8} | limits))

    def end(self, **limits: Any) -> tuple[str, int]:
        """Runs; the name of the kind of exit, and its detail."""
        end = self.run(**limits)
        assert end.kind is not ExitKind.INTERNAL, end.reason
        return end.kind.name, end.detail

    @property
    def debug(self) -> bytes:
        return self.machine.receive(4).data

    def word(self, address: int, size: int = 4) -> int:
        return int.from_bytes(self.machine.read_ram(address, size), "little")


def identity_map() -> bytes:
    """PML4, PDPT and the page directories of GiB 0 and 3 (where the LAPIC and the IOAPIC are)."""
    pml4 = struct.pack("<Q4088x", PAGE_TABLES + 0x1000 | 3)
    pdpt = struct.pack("<4Q4064x", PAGE_TABLES + 0x2000 | 3, 0, 0, PAGE_TABLES + 0x3000 | 3)
    directories = [struct.pack("<512Q", *(gib << 30 | n << 21 | 0x83 for n in range(512))) for gib in (0, 3)]
    return b"".join([pml4, pdpt, *directories])
