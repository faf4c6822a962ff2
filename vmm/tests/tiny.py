"""Tiny guests: programs of a few lines, assembled by binutils when a test runs and started from registers alone."""

from __future__ import annotations

import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from bringup.vmm.machine import CS, DS, ES, FS, GS, LDTR, SS, TR, Machine, Registers, Segment

GUESTS = Path(__file__).parent / "guests"
ORIGIN = 0x7C00
CR0_RESET = 0x60000010  # CD, NW, ET (SDM volume 3, table 10-1)
KIB64 = 0x10000


def rom(code: bytes, size: int = 2 * KIB64) -> bytes:
    """A ROM whose reset vector jumps to `code`, 16-bit code at F000:0."""
    image = bytearray(b"\xcc" * size)
    image[-KIB64 : -KIB64 + len(code)] = code
    image[-16:-11] = b"\xea\x00\x00\x00\xf0"  # jmp f000:0
    return bytes(image)


@lru_cache
def assemble(source: str, origin: int = ORIGIN) -> bytes:
    """GNU assembler source (AT&T or, after `.intel_syntax noprefix`, Intel) as a flat binary for `origin`."""
    with tempfile.TemporaryDirectory() as folder:
        obj, flat = Path(folder, "guest.o"), Path(folder, "guest.bin")
        subprocess.run(["as", "--64", "-o", obj, "-"], input=source.encode(), check=True)
        link = ["ld", "-m", "elf_x86_64", "-e", "0", "-Ttext", hex(origin), "--oformat", "binary"]
        subprocess.run([*link, "-o", flat, obj], check=True)
        return flat.read_bytes()


def program(name: str) -> bytes:
    """One of the programs in `guests/`."""
    return assemble((GUESTS / name).read_text())


def real_mode(origin: int = ORIGIN) -> Registers:
    """Registers of a real-mode program at 0:origin, its stack below it."""
    data = Segment(selector=0, base=0, limit=0xFFFF, access=0x93)
    registers = Registers(rip=origin, cr0=CR0_RESET, idt_limit=0x3FF)
    for segment in (ES, SS, DS, FS, GS):
        registers.segments[segment] = data
    registers.segments[CS] = data._replace(access=0x9B)
    registers.segments[LDTR] = Segment(selector=0, base=0, limit=0xFFFF, access=0x82)
    registers.segments[TR] = Segment(selector=0, base=0, limit=0xFFFF, access=0x8B)
    registers.gpr[4] = origin
    return registers


def start(machine: Machine, code: bytes, registers: Registers | None = None, origin: int = ORIGIN) -> None:
    """Puts a program into memory and the vCPU at its first instruction (in real mode unless told otherwise)."""
    machine.write_ram(origin, code)
    machine.set_registers(registers or real_mode(origin))
