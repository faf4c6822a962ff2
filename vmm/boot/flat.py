"""Protected mode as boot loaders hand over in: flat segments, interrupts off; 32-bit ones with paging off."""

from __future__ import annotations

import struct

from ..machine import CS, DS, ES, FS, GS, SS, TR, Registers, Segment

# The selectors that Linux calls __BOOT_CS and __BOOT_DS (boot.rst); multiboot leaves the choice to the loader.
BOOT_CS, BOOT_DS = 0x10, 0x18
CODE_32 = Segment(selector=BOOT_CS, base=0, limit=0xFFFFFFFF, access=0xC09B)  # execute/read, DPL 0, D/B, G
CODE_64 = Segment(selector=BOOT_CS, base=0, limit=0xFFFFFFFF, access=0xA09B)  # execute/read, DPL 0, L, G
DATA_32 = Segment(selector=BOOT_DS, base=0, limit=0xFFFFFFFF, access=0xC093)  # read/write, DPL 0, D/B, G
TASK = Segment(selector=0, base=0, limit=0x67, access=0x008B)  # VM entry wants a busy TSS (SDM volume 3, 27.3.1.2)

CR0_PE, CR0_ET, CR0_PG, CR4_PAE, EFER_LME, EFER_LMA = 1 << 0, 1 << 4, 1 << 31, 1 << 5, 1 << 8, 1 << 10


def descriptor_table(code: Segment) -> bytes:
    """The GDT that the segment registers were loaded from."""
    return struct.pack("<4Q", 0, 0, code.descriptor(), DATA_32.descriptor())


def protected_mode(entry: int, gdt: int, code: Segment = CODE_32) -> Registers:
    """Registers at `entry`, with the GDT at `gdt`."""
    registers = Registers(rip=entry, cr0=CR0_PE | CR0_ET, gdt_base=gdt, gdt_limit=4 * 8 - 1)
    registers.segments[CS] = code
    for data in (DS, ES, FS, GS, SS):
        registers.segments[data] = DATA_32
    registers.segments[TR] = TASK
    return registers
