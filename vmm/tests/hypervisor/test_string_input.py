"""REP INS from a disk: the hypervisor's short cut ends as the processor's own iterations do, wherever it is cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from bringup.vmm.machine import ES, Limits, Machine
from bringup.vmm.spec import MIB, Accel, Drive, MachineSpec
from bringup.vmm.storage import Kind

# Reads sectors 0 and 1 (of a count of 2) as `how` says, to ES:DI, and halts.
SOURCE = """
.intel_syntax noprefix
.code16
    cld
    mov dx, 0x1f6
    mov al, 0xe0
    out dx, al
    mov dx, 0x1f2
    mov al, 2
    out dx, al
    inc dx
    xor al, al
    out dx, al
    inc dx
    out dx, al
    inc dx
    out dx, al
    mov dx, 0x1f7
    mov al, 0x20
    out dx, al
    xor ecx, ecx
    xor edi, edi
    {before}
    mov bp, 2
next: mov dx, 0x3f6
1:  in al, dx
    test al, 0x80
    jnz 1b
    mov dx, 0x1f0
    {how}
    dec bp
    jnz next
    cli
    hlt
"""
WORDS = "mov cx, 256\nrep insw"
HOW = {
    "words": ("mov di, 0x8000", WORDS),
    "double words": ("mov di, 0x8000", "mov cx, 128\nrep insd"),
    "bytes": ("mov di, 0x8000", "mov cx, 256\nrep insb"),
    "an odd address": ("mov di, 0x8001", WORDS),
    "across a page": ("mov di, 0x8f80", WORDS),
    "across a page, odd": ("mov di, 0x8f81", WORDS),
    "the end of the segment": ("mov ax, 0x1000\nmov es, ax\nmov di, 0xff00", WORDS),
    "the end of 16 bits": ("mov ax, 0x1001\nmov es, ax\nmov di, 0xff00", WORDS),
    "32-bit addresses": ("mov edi, 0x8000", "mov ecx, 256\nrep addr32 insw"),
    "downwards": ("mov di, 0x9000\nstd", WORDS),
    "too many": ("mov di, 0x8000", "mov cx, 1000\nrep insw"),
    "one": ("mov di, 0x8000", "mov cx, 1\nrep insw\n" + "mov cx, 255\nrep insw"),
    "none": ("mov di, 0x8000", "xor cx, cx\nrep insw"),
    "over itself": ("mov di, 0x7c00 - 64", WORDS),
    "into video memory": ("mov ax, 0x9ff0\nmov es, ax\nmov di, 0", WORDS),
}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(range(256)) * 256)
    return path


def outcome(disk: Path, accel: Accel, code: bytes, stops: list[int]) -> list[tuple[object, ...]]:
    """What is seen at each of the counts, and at the end."""
    seen: list[tuple[object, ...]] = []
    spec = MachineSpec(memory=2 * MIB, accel=accel, drives=(Drive(Kind.DISK, disk, 0),))
    with Machine(spec) as machine:
        registers = tiny.real_mode()
        # as "unreal mode" leaves it: 4 GiB, granularity bit
        registers.segments[ES] = registers.segments[ES]._replace(limit=0xFFFFFFFF, access=0x8093)
        tiny.start(machine, code, registers)
        for stop in [*stops, 100_000]:
            end = machine.run(Limits(count=stop))
            registers = machine.registers()
            ram = (
                machine.read_ram(0x7000, 0x3000)
                + machine.read_ram(0x9F000, 0x1000)
                + machine.read_ram(0x10000, 0x10000)
            )
            seen.append((end.kind, end.count, end.time, registers.rip, registers.gpr, registers.rflags, hash(ram)))
    return seen


@pytest.mark.parametrize("how", HOW)
def test_equal_to_single_iterations(disk: Path, how: str) -> None:
    before, instruction = HOW[how]
    code = tiny.assemble(SOURCE.format(before=before, how=instruction))
    stops = [2100, 2101, 2200, 2333, 2334, 2500, 2600]
    assert outcome(disk, Accel.VTX, code, stops) == outcome(disk, Accel.BARE, code, stops)


def test_single_steps_and_breakpoints_see_each_iteration(disk: Path) -> None:
    """With TF, every iteration is followed by a trap: as many as there are words, less the last of the two."""
    vectors = "mov word ptr [4], offset trap\nmov word ptr [6], 0\nxor bx, bx\n"
    stepping = vectors + "mov cx, 256\nmov di, 0x8000\npushf\npop ax\nor ax, 0x100\npush ax\npopf\nrep insw\n"
    stepping += "pushf\npop ax\nand ax, 0xfeff\npush ax\npopf"
    source = SOURCE.format(before="", how=stepping) + "\ntrap: inc bx\n iret\n"
    code = tiny.assemble(source)
    first, second = (outcome(disk, accel, code, [2500]) for accel in (Accel.VTX, Accel.BARE))
    assert first == second
    gpr = first[-1][4]
    assert isinstance(gpr, list) and gpr[3] >= 256
