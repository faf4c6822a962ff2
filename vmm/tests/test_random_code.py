"""Random bytes as guest code in every mode: no crash, no hang, no lost count, and the hypervisor changes nothing.

BRINGUP_RANDOM_INSTRUCTIONS sets how many instructions are run in all (`tox -e soak` runs 10^8 under the sanitizers).
"""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

import tiny
from bringup.vmm.machine import CS, DS, ES, FS, GS, SS, TR, ExitKind, Limits, Machine, Registers, Segment
from bringup.vmm.spec import Accel, MachineSpec

MIB = 1 << 20
INSTRUCTIONS = int(os.environ.get("BRINGUP_RANDOM_INSTRUCTIONS", "400000"))
STRETCH = 2000  # instructions of one program

# Where things lie. Code and data are random from CODE to CODE_END; page tables map it writable.
IDT, GDT, TSS, STUB, STACK = 0x1000, 0x2000, 0x2800, 0x3000, 0x7000
PAGES, CODE, CODE_END = 0x8000, 0x10000, 0x20000

# Every exception goes on somewhere else in the random bytes, on a fresh stack.
STUBS = {
    16: ".code16; mov %sp, %ax; mov $0x7000, %sp; rdtsc; mov %ax, %bx; push $0x1000; push %bx; lret",
    32: ".code32; mov $0x7000, %esp; rdtsc; and $0xffff, %eax; add $0x10000, %eax; jmp *%eax",
    64: ".code64; mov $0x7000, %rsp; rdtsc; and $0xffff, %eax; add $0x10000, %eax; jmp *%rax",
}
MODES = ["real", "protected16", "protected32", "paging32", "pae", "long", "long-user", "compatibility"]

CODE16, CODE32, CODE64, USER64, DATA, USER_DATA = (
    Segment(8, 0, 0xFFFF, 0x9B),
    Segment(16, 0, 0xFFFFFFFF, 0xC09B),
    Segment(24, 0, 0xFFFFFFFF, 0xA09B),
    Segment(32 | 3, 0, 0xFFFFFFFF, 0xA0FB),
    Segment(40, 0, 0xFFFFFFFF, 0xC093),
    Segment(48 | 3, 0, 0xFFFFFFFF, 0xC0F3),
)
TASK = Segment(56, TSS, 0x67, 0x8B)


def gates(mode: str) -> bytes:
    """An IDT whose 32 first gates lead to the stub."""
    if mode == "real":
        return (STUB & 0xFFFF).to_bytes(4, "little") * 256
    wide = mode.startswith(("long", "compat"))
    selector, kind = (24, 0x8E) if wide else (8, 0x86) if mode == "protected16" else (16, 0x8E)
    gate = (STUB & 0xFFFF) | selector << 16 | kind << 40
    return gate.to_bytes(16 if wide else 8, "little") * 32


def page_tables(mode: str) -> bytes:
    """The first MiB where it is, user and writable, by 4 KiB pages, for the mode's depth."""
    size = 4 if mode == "paging32" else 8
    leaf = b"".join((page << 12 | 7).to_bytes(size, "little") for page in range(256))
    tables = [(PAGES + 0x1000 * (level + 1) | (1 if mode == "pae" and not level else 7)) for level in range(3)]
    depth = {"paging32": 1, "pae": 2}.get(mode, 3)
    return b"".join(entry.to_bytes(size, "little").ljust(0x1000, b"\0") for entry in tables[:depth]) + leaf


def registers(mode: str, rng: random.Random) -> Registers:
    state = tiny.real_mode()
    state.gpr = [
        rng.choice([rng.getrandbits(64), rng.randrange(CODE, CODE_END), rng.getrandbits(8)]) for _ in range(16)
    ]
    state.gpr[4] = STACK
    state.rip = rng.randrange(CODE, CODE_END)
    state.idt_base, state.idt_limit = (0 if mode == "real" else IDT), 0xFFF
    state.gdt_base, state.gdt_limit = GDT, 0x7FF
    if mode == "real":
        state.segments[CS] = Segment(CODE >> 4, CODE, 0xFFFF, 0x9B)
        state.rip -= CODE
        return state
    state.cr0 = 0x31
    data = USER_DATA if mode == "long-user" else DATA
    for segment in (ES, SS, DS, FS, GS):
        state.segments[segment] = data
    state.segments[TR] = TASK
    if mode == "protected16":
        state.segments[CS] = CODE16._replace(base=CODE)
        state.rip -= CODE
    else:
        state.segments[CS] = CODE32
    if mode in ("protected16", "protected32"):
        return state
    state.cr0 |= 1 << 31
    state.cr3 = PAGES
    state.cr4 = 0x600 | (0 if mode == "paging32" else 0x20)
    if mode.startswith(("long", "compat")):
        state.efer = 0xD01
        if mode != "compatibility":
            state.segments[CS] = USER64 if mode == "long-user" else CODE64
    return state


def prepare(machine: Machine, mode: str, rng: random.Random) -> None:
    bits = 16 if mode in ("real", "protected16") else 64 if mode.startswith(("long", "compat")) else 32
    descriptors = [Segment(0, 0, 0, 0), CODE16, CODE32, CODE64, USER64, DATA, USER_DATA, TASK]
    machine.write_ram(0, gates("real"))
    machine.write_ram(IDT, gates(mode))
    machine.write_ram(GDT, b"".join(s.descriptor().to_bytes(8, "little") for s in descriptors) + bytes(8))
    machine.write_ram(TSS, STACK.to_bytes(4, "little") * 26)
    machine.write_ram(STUB, tiny.assemble(STUBS[bits] + "\n", STUB))
    if mode not in ("real", "protected16", "protected32"):
        machine.write_ram(PAGES, page_tables(mode))
    machine.write_ram(CODE, rng.randbytes(CODE_END - CODE))
    machine.set_registers(registers(mode, rng))


def stretch(machine: Machine, mode: str, seed: int) -> tuple[ExitKind, int, int]:
    """One random program: how it ended, the instructions it retired and the state it left."""
    machine.reset()
    machine.write_ram(0, bytes(CODE))
    prepare(machine, mode, random.Random(f"{mode} {seed}"))
    before = machine.count
    end = machine.run(Limits(count=before + STRETCH))
    assert end.kind not in (ExitKind.AIR, ExitKind.INTERNAL), f"{mode}, seed {seed}: {end}"
    retired = end.count - before
    assert retired <= STRETCH, f"{mode}, seed {seed}: {end}"
    if end.kind == ExitKind.LIMIT:
        assert retired == STRETCH, f"{mode}, seed {seed}: {end}"
    return end.kind, retired, machine.state_hash()


@pytest.mark.parametrize("mode", MODES)
def test_random_code(mode: str) -> None:
    spec = MachineSpec(memory=2 * MIB, cpu="max")
    done = 0
    with Machine(spec) as vtx, Machine(replace(spec, accel=Accel.BARE)) as bare:
        seed = 0
        while done < INSTRUCTIONS // len(MODES):
            results = stretch(vtx, mode, seed), stretch(bare, mode, seed)
            assert results[0] == results[1], f"{mode}, seed {seed}: {results}"
            done += 2 * results[0][1] + 2
            seed += 1
