"""Exceptions and interrupts through IVT and IDT: frames, error codes, stacks, double and triple faults, tasks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pytest
import tiny

from bringup.vmm.machine import CS, DS, ES, FS, GS, LDTR, SS, TR, ExitKind, Limits, Machine, Registers, Segment
from bringup.vmm.spec import Accel, MachineSpec

MIB = 1 << 20
GDT, IDT, TSS, TSS2, HANDLERS, CODE, STACK, INNER, IST = (
    0x1000, 0x2000, 0x3000, 0x3100, 0x4000, 0x6000, 0x8000, 0x9000, 0xA000
)  # fmt: skip
PAGES = 0x10000
CODE32, DATA, CODE64, TASK, USER32, USER_DATA, TASK2, USER64, ALONE = 8, 0x10, 0x18, 0x20, 0x33, 0x3B, 0x40, 0x4B, 0x50
IF, RF, NT = 1 << 9, 1 << 16, 1 << 14
UD2 = b"\x0f\x0b"
UD, DF, TS, NP, STACK_FAULT, GP, PF = 6, 8, 10, 11, 12, 13, 14


def handler(vector: int) -> int:
    return HANDLERS + vector * 8


class Guest:
    """A bare machine: descriptor tables, a gate for each vector, NOPs behind each gate."""

    def __init__(self, mode: str, user: bool = False) -> None:
        self.machine = Machine(MachineSpec(memory=2 * MIB, accel=Accel.BARE, cpu="max"))
        self.wide = mode == "long"
        self.mode = mode
        flat = (0, 0xFFFFFFFF)
        segments = [
            Segment(0, 0, 0, 0),
            Segment(CODE32, *flat, 0xC09B),
            Segment(DATA, *flat, 0xC093),
            Segment(CODE64, *flat, 0xA09B),
            Segment(TASK, TSS, 0x67, 0x8B),
            Segment(0, 0, 0, 0),
            Segment(USER32, *flat, 0xC0FB),
            Segment(USER_DATA, *flat, 0xC0F3),
            Segment(TASK2, TSS2, 0x67, 0x89),
            Segment(USER64, *flat, 0xA0FB),
            Segment(ALONE, 0, 0xFFFF, 0x9B),
        ]
        self.write(GDT, b"".join(s.descriptor().to_bytes(8, "little") for s in segments))
        self.write(HANDLERS, b"\x90" * 8 * 256)
        r = self.registers = tiny.real_mode(CODE)
        r.gpr[4] = STACK
        if mode == "real":
            self.write(0, b"".join(struct.pack("<HH", handler(n), 0) for n in range(256)))
            return
        for vector in range(256):
            self.gate(vector)
        r.cr0 = 0x31
        r.gdt_base, r.gdt_limit = GDT, len(segments) * 8 - 1
        r.idt_base, r.idt_limit = IDT, 256 * (16 if self.wide else 8) - 1
        code, data = (USER64 if self.wide else USER32, USER_DATA) if user else (CODE64 if self.wide else CODE32, DATA)
        for number in (ES, SS, DS, FS, GS):
            r.segments[number] = Segment(data, *flat, 0xC0F3 if user else 0xC093)
        r.segments[CS] = Segment(code, *flat, (0xA09B if self.wide else 0xC09B) | (0x60 if user else 0))
        r.segments[TR] = segments[TASK // 8]
        r.segments[LDTR] = Segment(0, 0, 0, 1 << 16)
        if self.wide:
            self.quads(PAGES, PAGES + 0x1007)
            self.quads(PAGES + 0x1000, 0x87)  # the first GiB
            r.cr0, r.cr3, r.cr4, r.efer = 0x80000031, PAGES, 0x20, 0x500
            self.quads(TSS + 4, INNER)
            self.quads(TSS + 36, IST)
        else:
            self.write(TSS + 4, struct.pack("<II", INNER, DATA))

    def write(self, address: int, data: bytes) -> None:
        self.machine.write_ram(address, data)

    def quads(self, address: int, *values: int) -> None:
        self.write(address, struct.pack(f"<{len(values)}Q", *values))

    def gate(self, vector: int, kind: int = 14, dpl: int = 0, selector: int = 0, ist: int = 0, low: int = -1) -> None:
        selector = selector or (CODE64 if self.wide else CODE32)
        offset = handler(vector) if low < 0 else low
        quad = offset & 0xFFFF | selector << 16 | ist << 32 | (0x80 | dpl << 5 | kind) << 40 | (offset >> 16) << 48
        if self.wide:
            self.quads(IDT + 16 * vector, quad, 0)
        else:
            self.quads(IDT + 8 * vector, quad)

    def run(self, code: bytes, instructions: int = 1) -> Registers:
        """So many instructions; a fault's handler begins with a NOP, which is one."""
        self.write(CODE, code)
        self.machine.set_registers(self.registers)
        self.end = self.machine.run(Limits(count=self.machine.count + instructions))
        return self.machine.registers()

    def fault(self, code: bytes) -> tuple[int, Registers]:
        """The vector to which one instruction led."""
        r = self.run(code)
        assert self.end.kind == ExitKind.LIMIT, self.end
        assert (r.rip - HANDLERS) % 8 == 1, hex(r.rip)
        return (r.rip - HANDLERS) // 8, r

    def words(self, r: Registers, count: int, size: int | None = None) -> list[int]:
        """What was pushed, from the top."""
        size = size or {"real": 2, "protected": 4, "long": 8}[self.mode]
        base = r.segments[SS].base + r.gpr[4]
        data = self.machine.read_ram(base, count * size)
        return [int.from_bytes(data[n * size : n * size + size], "little") for n in range(count)]


Make = Callable[..., Guest]


@pytest.fixture
def guests() -> Iterator[list[Guest]]:
    made: list[Guest] = []
    yield made
    for guest in made:
        guest.machine.close()


@pytest.fixture
def make(guests: list[Guest]) -> Make:
    def one(mode: str, user: bool = False) -> Guest:
        guests.append(Guest(mode, user))
        return guests[-1]

    return one


def test_real_mode(make: Make) -> None:
    guest = make("real")
    guest.registers.rflags = 2 | IF | 1
    vector, r = guest.fault(UD2)
    assert vector == UD
    assert guest.words(r, 3) == [CODE, 0, 2 | IF | 1]
    assert r.rflags == 2 | 1
    r = guest.run(b"\xcd\x21")
    assert (r.rip, guest.words(r, 1)) == (handler(0x21), [CODE + 2])


@pytest.mark.parametrize("mode", ["protected", "long"])
@pytest.mark.parametrize("user", [False, True])
def test_frames(make: Make, mode: str, user: bool) -> None:
    guest = make(mode, user)
    guest.registers.rflags = 2 | IF
    old_ss = guest.registers.segments[SS].selector
    vector, r = guest.fault(UD2)
    assert vector == UD
    frame = [CODE, guest.registers.segments[CS].selector, 2 | IF | RF]
    if user or mode == "long":
        frame += [STACK, old_ss]
    assert guest.words(r, len(frame)) == frame
    assert r.gpr[4] == (INNER if user else STACK) - len(frame) * (8 if mode == "long" else 4)
    assert not r.rflags & (IF | RF)
    assert r.segments[CS].selector == (CODE64 if mode == "long" else CODE32)
    if mode == "long" and user:
        assert (r.segments[SS].selector, r.segments[SS].access >> 16) == (0, 1)


def test_trap_gates_leave_interrupts_on(make: Make) -> None:
    guest = make("long")
    guest.gate(UD, kind=15)
    guest.registers.rflags = 2 | IF
    _, r = guest.fault(UD2)
    assert r.rflags & IF


def test_the_stack_of_a_64_bit_handler_is_aligned(make: Make) -> None:
    guest = make("long")
    guest.registers.gpr[4] = STACK - 5
    _, r = guest.fault(UD2)
    assert r.gpr[4] == STACK - 16 - 40
    assert guest.words(r, 5)[3] == STACK - 5


def test_interrupt_stack_table(make: Make) -> None:
    guest = make("long")
    guest.gate(UD, ist=1)
    _, r = guest.fault(UD2)
    assert r.gpr[4] == IST - 40
    assert r.segments[SS].selector == DATA, "no change of privilege, no null SS"
    guest.gate(UD, ist=2)
    guest.quads(TSS + 44, 1 << 47)
    vector, r = guest.fault(UD2)
    assert vector == STACK_FAULT
    assert guest.words(r, 1) == [1], "EXT: while an exception was delivered"


@pytest.mark.parametrize(
    ("access", "kind", "vector", "error"),
    [
        (0x60, 14, None, 0),
        (0, 14, GP, 0x40 * 8 + 2),  # the gate's DPL is below CPL
        (0x60, 12, GP, 0x40 * 8 + 2),  # a call gate
        (0x60, 5, GP, 0x40 * 8 + 2),  # a task gate: not in IA-32e mode
    ],
)
def test_int_n(make: Make, access: int, kind: int, vector: int | None, error: int) -> None:
    guest = make("long", user=True)
    guest.gate(0x40, kind=kind, dpl=access >> 5)
    if vector is None:
        r = guest.run(b"\xcd\x40")
        assert (r.rip, guest.words(r, 1)) == (handler(0x40), [CODE + 2])
        return
    got, r = guest.fault(b"\xcd\x40")
    assert (got, guest.words(r, 2)) == (vector, [error, CODE])


def test_int3_needs_the_gates_dpl_and_int1_does_not(make: Make) -> None:
    guest = make("long", user=True)
    vector, r = guest.fault(b"\xcc")
    assert (vector, guest.words(r, 1)) == (GP, [3 * 8 + 2])
    assert guest.run(b"\xf1").rip == handler(1)


@pytest.mark.parametrize("limit", [UD * 16 + 14, 0])
def test_a_vector_beyond_the_idt(make: Make, limit: int) -> None:
    guest = make("long")
    guest.registers.idt_limit = 0xFFF
    guest.quads(IDT + UD * 16, 0, 0)  # no gate at all
    vector, r = guest.fault(UD2)
    assert (vector, guest.words(r, 1)) == (GP, [UD * 8 + 3])
    guest.registers.idt_limit = limit
    guest.run(UD2)
    assert guest.end.kind == ExitKind.TRIPLE_FAULT, "neither has #GP a gate, nor #DF"


@pytest.mark.parametrize(
    ("selector", "vector", "error"),
    [(DATA, GP, DATA | 1), (3, GP, 1), (CODE32, GP, CODE32 | 1), (USER64, GP, USER64 & ~3 | 1), (0x7F8, GP, 0x7F9)],
)
def test_the_gates_code_segment(make: Make, selector: int, vector: int, error: int) -> None:
    guest = make("long")
    guest.gate(UD, selector=selector)
    got, r = guest.fault(UD2)
    assert (got, guest.words(r, 1)) == (vector, [error])


def break_gate(guest: Guest, vector: int) -> None:
    """Delivery of `vector` raises #NP."""
    guest.gate(vector)
    at = IDT + vector * (16 if guest.wide else 8) + 5
    guest.write(at, bytes([guest.machine.read_ram(at, 1)[0] & 0x7F]))


def test_double_fault(make: Make) -> None:
    """Table 6-5: contributory after contributory is #DF; after a benign exception it is itself."""
    guest = make("long")
    break_gate(guest, UD)
    vector, r = guest.fault(UD2)
    assert (vector, guest.words(r, 1)) == (NP, [UD * 8 + 3])
    break_gate(guest, NP)
    vector, r = guest.fault(UD2)
    assert (vector, guest.words(r, 2)) == (DF, [0, CODE])
    break_gate(guest, DF)
    guest.run(UD2)
    assert guest.end.kind == ExitKind.TRIPLE_FAULT


def test_page_fault_while_a_page_fault_is_delivered(make: Make) -> None:
    guest = make("long")
    guest.registers.gpr[0] = 1 << 40
    vector, r = guest.fault(b"\x8b\x00")
    assert (vector, r.cr2, guest.words(r, 1)) == (PF, 1 << 40, [0])
    guest.registers.gpr[4] = 1 << 41
    guest.gate(DF, ist=1)
    vector, r = guest.fault(b"\x8b\x00")
    assert (vector, r.cr2) == (DF, (1 << 41) - 8)


def test_a_contributory_fault_after_a_page_fault(make: Make) -> None:
    guest = make("long")
    guest.registers.gpr[0] = 1 << 40
    break_gate(guest, PF)
    assert guest.fault(b"\x8b\x00")[0] == DF


def test_a_page_fault_after_a_contributory_fault(make: Make) -> None:
    """Handled one after the other: the page fault's handler sees the first instruction."""
    guest = make("long")
    guest.registers.gpr[4] = 1 << 41
    guest.registers.gpr[1] = 0x12345
    guest.gate(PF, ist=1)
    vector, r = guest.fault(b"\x0f\x30")  # WRMSR of a register that is not there: #GP
    assert (vector, r.cr2, guest.words(r, 2)[1]) == (PF, (1 << 41) - 8, CODE)


def tss32(guest: Guest, at: int, **registers: int) -> None:
    """A 32-bit TSS (figure 8-2): what is not given is zero."""
    places = {
        "link": 0,
        "cr3": 28,
        "eip": 32,
        "eflags": 36,
        "eax": 40,
        "esp": 56,
        "es": 72,
        "cs": 76,
        "ss": 80,
        "ds": 84,
    }
    guest.write(at, bytes(104))
    for name, value in registers.items():
        guest.write(at + places[name], value.to_bytes(4, "little"))


def dword(guest: Guest, address: int) -> int:
    return int.from_bytes(guest.machine.read_ram(address, 4), "little")


def task(guest: Guest, **changes: int) -> None:
    tss32(guest, TSS2, **{"eip": 0xB000, "esp": 0xC000, "cs": CODE32, "ss": DATA, "ds": DATA, "eax": 7} | changes)
    guest.write(0xB000, b"\x90\xcf")


def access_of(guest: Guest, selector: int) -> int:
    return guest.machine.read_ram(GDT + selector + 5, 1)[0]


def test_jump_to_a_task(make: Make) -> None:
    guest = make("protected")
    task(guest)
    guest.registers.gpr[0] = 0x1234
    r = guest.run(b"\xea" + struct.pack("<IH", 0, TASK2))
    assert (r.rip, r.gpr[0], r.gpr[4]) == (0xB000, 7, 0xC000)
    assert r.segments[TR].selector == TASK2
    assert r.cr0 & 8, "CR0.TS"
    assert (dword(guest, TSS + 32), dword(guest, TSS + 40)) == (CODE + 7, 0x1234)
    assert (access_of(guest, TASK), access_of(guest, TASK2)) == (0x89, 0x8B)
    assert not r.rflags & NT


def test_call_of_a_task_and_return(make: Make) -> None:
    guest = make("protected")
    task(guest)
    guest.registers.gpr[0] = 0x1234
    r = guest.run(b"\x9a" + struct.pack("<IH", 0, TASK2))
    assert (r.rip, r.rflags & NT) == (0xB000, NT)
    assert dword(guest, TSS2) == TASK, "the link"
    assert (access_of(guest, TASK), access_of(guest, TASK2)) == (0x8B, 0x8B)
    guest.write(GDT + TASK2 + 5, b"\x89")
    r = guest.run(b"\x9a" + struct.pack("<IH", 0, TASK2), 3)  # CALL, NOP, IRET
    assert (r.rip, r.gpr[0], r.segments[TR].selector) == (CODE + 7, 0x1234, TASK)
    assert (access_of(guest, TASK), access_of(guest, TASK2)) == (0x8B, 0x89)


def test_an_exception_by_task_gate(make: Make) -> None:
    guest = make("protected")
    task(guest)
    guest.quads(IDT + GP * 8, TASK2 << 16 | 0x8500 << 32)
    r = guest.run(b"\x6a\x68\x1f", 2)  # PUSH 68h; POP DS: beyond the GDT
    assert (r.rip, r.gpr[4]) == (0xB001, 0xC000 - 4)
    assert guest.words(r, 1) == [0x68]
    assert dword(guest, TSS + 32) == CODE + 2
    assert dword(guest, TSS + 36) & RF, "the old task resumes after a fault"


@pytest.mark.parametrize(
    ("changes", "vector", "error"),
    [
        ({"cs": DATA}, TS, DATA),
        ({"ss": 0}, TS, 0),
        ({"ss": CODE32}, TS, CODE32),
        ({"ds": 0x7F8}, TS, 0x7F8),
        ({"cs": ALONE, "eip": 0x10000}, GP, 0),
    ],
)
def test_a_bad_task_faults_in_itself(make: Make, changes: dict[str, int], vector: int, error: int) -> None:
    """#TS by task gate: its handler must not depend on what the new task loaded."""
    guest = make("protected")
    task(guest, **changes)
    tss32(guest, 0x3200, eip=handler(vector), esp=0xD000, cs=CODE32, ss=DATA, ds=DATA)
    guest.quads(GDT + 0x58, Segment(0, 0x3200, 0x67, 0x89).descriptor())
    guest.registers.gdt_limit = 0x5F
    guest.quads(IDT + vector * 8, 0x58 << 16 | 0x8500 << 32)
    r = guest.run(b"\xea" + struct.pack("<IH", 0, TASK2), 2)
    assert (r.rip, guest.words(r, 1)) == (handler(vector) + 1, [error])
    assert dword(guest, 0x3200) & 0xFFFF == TASK2, "the new task was interrupted"
    assert dword(guest, TSS2 + 32) == changes.get("eip", 0xB000)


@pytest.mark.parametrize(
    ("change", "selector", "vector", "error"),
    [
        ({"access": 0x8B}, TASK2, GP, TASK2),  # busy
        ({"access": 0x09}, TASK2, NP, TASK2),
        ({"access": 0x89, "limit": 0x66}, TASK2, TS, TASK2),
        ({"access": 0x89}, TASK2 | 3, GP, TASK2),  # RPL > DPL
        ({"access": 0x89}, 0x7F8, GP, 0x7F8),
    ],
)
def test_a_task_that_cannot_be_switched_to(
    make: Make, change: dict[str, int], selector: int, vector: int, error: int
) -> None:
    guest = make("protected")
    task(guest)
    guest.quads(GDT + TASK2, Segment(0, TSS2, change.get("limit", 0x67), change["access"]).descriptor())
    got, r = guest.fault(b"\xea" + struct.pack("<IH", 0, selector))
    assert (got, guest.words(r, 2)) == (vector, [error, CODE])
    assert r.segments[TR].selector == TASK
