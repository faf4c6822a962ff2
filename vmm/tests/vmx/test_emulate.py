"""One instruction as a library: given registers over a given bus (emulate.h)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from rootmode import GPR, assemble, configuration, ffi, lib

DONE, EXCEPTION, REFUSED = range(3)
CODE, STACK, DATA, DEVICE, TABLES = 0x8000, 0x7000, 0x9000, 0xFEE00000, 0x10000
RAM_SIZE = 1 << 20


class Emulator:
    """An emulator over a bus with 1 MiB of RAM and, elsewhere, a device that remembers what was asked of it."""

    def __init__(self) -> None:
        self.emulator = lib.emulator_create(configuration("max"))
        self.registers = ffi.new("struct registers *")
        self.registers.fpu.fcw, self.registers.fpu.mxcsr, self.registers.xcr0 = 0x37F, 0x1F80, 1
        self.state = ffi.new("struct emulate_state *")
        self.outcome = ffi.new("struct emulate_outcome *")
        self.ram = bytearray(RAM_SIZE)
        self.device: dict[int, int] = {}
        self.log: list[tuple[Any, ...]] = []
        self.callbacks = [
            ffi.callback("void(void *, uint64_t, void *, unsigned)", self.read),
            ffi.callback("void(void *, uint64_t, const void *, unsigned)", self.write),
            ffi.callback("uint32_t(void *, uint16_t, unsigned)", self.port_in),
            ffi.callback("void(void *, uint16_t, uint32_t, unsigned)", self.port_out),
        ]
        self.bus = ffi.new("struct emulate_bus *", [ffi.NULL, *self.callbacks])
        self.long_mode()

    # ---- the bus ----

    def read(self, _: Any, gpa: int, data: Any, size: int) -> None:
        assert size in (1, 2, 4, 8)
        assert gpa & 0xFFF <= 0x1000 - size
        if gpa < RAM_SIZE:
            ffi.memmove(data, bytes(self.ram[gpa : gpa + size]), size)
            return
        self.log.append(("read", gpa, size))
        ffi.memmove(data, bytes(self.device.get(gpa + i, 0xFF) for i in range(size)), size)

    def write(self, _: Any, gpa: int, data: Any, size: int) -> None:
        assert size in (1, 2, 4, 8)
        assert gpa & 0xFFF <= 0x1000 - size
        value = bytes(ffi.buffer(data, size))
        if gpa < RAM_SIZE:
            self.ram[gpa : gpa + size] = value
            return
        self.log.append(("write", gpa, size, int.from_bytes(value, "little")))
        for i in range(size):
            self.device[gpa + i] = value[i]

    def port_in(self, _: Any, port: int, size: int) -> int:
        self.log.append(("in", port, size))
        return 0x44332211

    def port_out(self, _: Any, port: int, value: int, size: int) -> None:
        self.log.append(("out", port, size, value))

    # ---- registers ----

    def __getitem__(self, name: str) -> int:
        return int(self.state.rsp if name == "rsp" else self.registers.gpr[GPR.index(name)])

    def __setitem__(self, name: str, value: int) -> None:
        if name == "rsp":
            self.state.rsp = value
        else:
            self.registers.gpr[GPR.index(name)] = value

    def long_mode(self) -> None:
        """The first GiB and the fourth, mapped to themselves."""
        state = self.state
        state.rip, state.rsp, state.rflags = CODE, STACK, 2
        state.cr0, state.cr3, state.cr4, state.efer = 0x80000033, TABLES, 0x620, 0xD01
        for segment in range(6):
            state.segment[segment] = [0, 0xFFFFFFFF, 0xA09B if segment == 1 else 0xC093, 0x18 if segment == 1 else 0x10]
        state.segment[6] = [0, 0, 1 << 16, 0]
        state.segment[7] = [0x3000, 0x67, 0x8B, 0x20]
        self.ram[TABLES : TABLES + 8] = struct.pack("<Q", TABLES + 0x1000 | 7)
        self.ram[TABLES + 0x1000 : TABLES + 0x1020] = struct.pack("<4Q", TABLES + 0x2000 | 7, 0, 0, TABLES + 0x3000 | 7)
        self.ram[TABLES + 0x2000 : TABLES + 0x3000] = struct.pack("<512Q", *(n << 21 | 0x87 for n in range(512)))
        gib = 3 << 30
        self.ram[TABLES + 0x3000 : TABLES + 0x4000] = struct.pack("<512Q", *(gib | n << 21 | 0x87 for n in range(512)))

    def real_mode(self) -> None:
        state = self.state
        state.cr0, state.cr3, state.cr4, state.efer = 0x10, 0, 0, 0
        for segment in range(6):
            state.segment[segment] = [0, 0xFFFF, 0x93, 0]

    def run(self, source: str, budget: int = 1, bits: int = 64, origin: int = CODE) -> int:
        code = assemble(source, bits, origin)
        self.ram[origin : origin + len(code)] = code
        self.state.rip = origin
        self.log.clear()
        self.code_size = len(code)
        return self.again(budget)

    def again(self, budget: int = 1) -> int:
        return int(lib.emulate_instruction(self.emulator, self.registers, self.state, self.bus, budget, self.outcome))

    def done(self, source: str, **how: Any) -> None:
        assert self.run(source, **how) == DONE
        assert self.state.rip == how.get("origin", CODE) + self.code_size
        assert self.outcome.length == self.code_size


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    made = Emulator()
    yield made
    lib.emulator_destroy(made.emulator)


@pytest.mark.parametrize(
    ("source", "size", "register", "expected"),
    [
        ("mov al, [rbx]", 1, "rax", 0x11223344556677EF),
        ("mov ax, [rbx]", 2, "rax", 0x112233445566CDEF),
        ("mov eax, [rbx]", 4, "rax", 0x89ABCDEF),
        ("mov rax, [rbx]", 8, "rax", 0x0123456789ABCDEF),
        ("movzx eax, byte ptr [rbx]", 1, "rax", 0xEF),
        ("movsxd rax, dword ptr [rbx]", 4, "rax", 0xFFFFFFFF89ABCDEF),
        ("add rax, [rbx]", 8, "rax", 0x124578ABDF124577),
        ("pop rax", 8, "rax", 0x0123456789ABCDEF),
        ("cmovz eax, [rbx]", 4, "rax", 0x55667788),
        ("movbe eax, [rbx]", 4, "rax", 0xEFCDAB89),
    ],
)
def test_loads(emulator: Emulator, source: str, size: int, register: str, expected: int) -> None:
    for i, byte in enumerate((0x0123456789ABCDEF).to_bytes(8, "little")):
        emulator.device[DEVICE + i] = byte
    emulator["rax"], emulator["rbx"], emulator["rsp"] = 0x1122334455667788, DEVICE, DEVICE
    emulator.done(source)
    assert emulator[register] == expected
    assert emulator.log == [("read", DEVICE, size)]
    assert emulator.outcome.iterations == 1


@pytest.mark.parametrize(
    ("source", "size", "value"),
    [
        ("mov [rbx], al", 1, 0x88),
        ("mov word ptr [rbx + 2], 0x1234", 2, 0x1234),
        ("mov [rbx], eax", 4, 0x55667788),
        ("mov [rbx + 8], rax", 8, 0x1122334455667788),
        ("movnti [rbx], eax", 4, 0x55667788),
        ("sete [rbx]", 1, 0),
        ("movq [rbx], xmm3", 8, 0x0706050403020100),
        ("push rax", 8, 0x1122334455667788),
    ],
)
def test_stores(emulator: Emulator, source: str, size: int, value: int) -> None:
    emulator["rax"], emulator["rbx"], emulator["rsp"] = 0x1122334455667788, DEVICE, DEVICE + 16
    emulator.registers.fpu.xmm[3] = bytes(range(16))
    emulator.done(source)
    ((kind, address, written, what),) = emulator.log
    assert (kind, written, what) == ("write", size, value)
    assert DEVICE <= address <= DEVICE + 8


@pytest.mark.parametrize(
    ("source", "old", "new", "rax"),
    [
        ("add [rbx], eax", 5, 8, 3),
        ("lock xadd [rbx], eax", 5, 8, 5),
        ("xchg [rbx], eax", 5, 3, 5),
        ("lock cmpxchg [rbx], ecx", 3, 9, 3),
        ("lock bts dword ptr [rbx], 7", 1, 0x81, 3),
        ("inc dword ptr [rbx]", 5, 6, 3),
        ("shl dword ptr [rbx], 4", 5, 0x50, 3),
        ("not dword ptr [rbx]", 5, 0xFFFFFFFA, 3),
    ],
)
def test_read_modify_write(emulator: Emulator, source: str, old: int, new: int, rax: int) -> None:
    emulator["rax"], emulator["rcx"], emulator["rbx"] = 3, 9, DEVICE
    emulator.device.update(enumerate(old.to_bytes(4, "little"), DEVICE))
    emulator.done(source)
    assert emulator["rax"] == rax
    assert emulator.log == [("read", DEVICE, 4), ("write", DEVICE, 4, new)]


def test_wide_operands_are_pieces(emulator: Emulator) -> None:
    emulator["rbx"] = DEVICE
    emulator.registers.fpu.xmm[1] = bytes(range(16))
    emulator.done("movdqu [rbx], xmm1")
    assert [entry[:3] for entry in emulator.log] == [("write", DEVICE, 8), ("write", DEVICE + 8, 8)]
    emulator.done("paddb xmm1, [rbx]")
    assert bytes(emulator.registers.fpu.xmm[1]) == bytes(2 * n for n in range(16))


def test_operands_that_cross_pages(emulator: Emulator) -> None:
    emulator["rbx"], emulator["rax"] = DEVICE + 0xFFE, 0x44332211
    emulator.done("mov [rbx], eax")
    assert [entry[1:] for entry in emulator.log] == [(DEVICE + 0xFFE, 2, 0x2211), (DEVICE + 0x1000, 2, 0x4433)]
    emulator.done("mov ecx, [rbx]")
    assert emulator["rcx"] == 0x44332211


def test_from_ram_to_a_device(emulator: Emulator) -> None:
    emulator.ram[DATA : DATA + 12] = bytes(range(12))
    emulator["rsi"], emulator["rdi"], emulator["rcx"] = DATA, DEVICE, 3
    assert emulator.run("rep movsd") == DONE
    assert emulator.outcome.iterations == 1
    assert emulator.state.rip == CODE
    assert emulator["rcx"] == 2
    assert emulator.again(100) == DONE
    assert emulator.outcome.iterations == 2
    assert emulator.state.rip == CODE + 2
    assert emulator["rdi"] == DEVICE + 12
    assert [entry[3] for entry in emulator.log] == [0x03020100, 0x07060504, 0x0B0A0908]


def test_a_repeat_of_nothing_counts_one(emulator: Emulator) -> None:
    emulator["rdi"], emulator["rcx"] = DEVICE, 0
    emulator.done("rep stosb")
    assert emulator.outcome.iterations == 1
    assert emulator.log == []


def test_a_repeat_that_faults_later(emulator: Emulator) -> None:
    """The fault of iteration 3 is reported when it is the first of a call."""
    emulator["rdi"], emulator["rcx"], emulator["rax"] = 0x40000000 - 2, 5, 0xAB
    emulator.ram[TABLES + 0x2FF8 : TABLES + 0x3000] = struct.pack("<Q", DEVICE & ~0x1FFFFF | 0x87)
    assert emulator.run("rep stosb", budget=10) == DONE
    assert emulator.outcome.iterations == 2
    assert (emulator["rcx"], emulator["rdi"], emulator.state.rip) == (3, 0x40000000, CODE)
    assert emulator.again(10) == EXCEPTION
    assert (emulator.outcome.vector, emulator.outcome.has_error, emulator.outcome.error) == (14, True, 2)
    assert emulator.registers.cr2 == 0x40000000
    assert emulator["rcx"] == 3


@pytest.mark.parametrize(
    ("source", "vector", "error"),
    [
        ("mov eax, [rcx]", 14, 0),
        ("mov [rcx], eax", 14, 2),
        ("mov eax, [rdx]", 13, 0),
        ("push [rdx]", 13, 0),
        ("ud2", 6, None),
        ("mov ds, [rbx]", 13, 0x7774),
        ("div dword ptr [rbp]", 0, None),
    ],
)
def test_exceptions(emulator: Emulator, source: str, vector: int, error: int | None) -> None:
    emulator["rbx"], emulator["rcx"], emulator["rdx"], emulator["rbp"] = DATA, 0x40000000, 1 << 47, DATA + 8
    emulator.ram[DATA : DATA + 2] = b"\x77\x77"
    before = bytes(ffi.buffer(emulator.registers)), bytes(ffi.buffer(emulator.state))
    assert emulator.run(source) == EXCEPTION
    assert emulator.outcome.vector == vector
    assert (emulator.outcome.error if emulator.outcome.has_error else None) == error
    emulator.registers.cr2 = 0
    assert (bytes(ffi.buffer(emulator.registers)), bytes(ffi.buffer(emulator.state))) == before


@pytest.mark.parametrize("source", ["hlt", "cpuid", "rdmsr", "mov cr8, rax", "vmcall", "syscall", "wbinvd", "mwait"])
def test_refused(emulator: Emulator, source: str) -> None:
    before = bytes(ffi.buffer(emulator.registers)), bytes(ffi.buffer(emulator.state))
    assert emulator.run(source) == REFUSED
    assert (bytes(ffi.buffer(emulator.registers)), bytes(ffi.buffer(emulator.state))) == before


@pytest.mark.parametrize(
    ("source", "log"),
    [
        ("insd", [("in", 0x170, 4)]),
        ("outsb", [("out", 0x170, 1, 0x99)]),
        ("rep outsw", [("out", 0x170, 2, 0x99), ("out", 0x170, 2, 0), ("out", 0x170, 2, 0)]),
        ("in ax, dx", [("in", 0x170, 2)]),
    ],
)
def test_ports(emulator: Emulator, source: str, log: list[tuple[Any, ...]]) -> None:
    emulator["rdx"], emulator["rsi"], emulator["rdi"], emulator["rcx"] = 0x170, DATA, DATA + 16, 3
    emulator.ram[DATA] = 0x99
    emulator.done(source, budget=8)
    assert emulator.log == log
    if source == "insd":
        assert emulator.ram[DATA + 16 : DATA + 20] == b"\x11\x22\x33\x44"


def test_real_mode(emulator: Emulator) -> None:
    emulator.real_mode()
    emulator.state.segment[3] = [0xFEE00000, 0xFFFF, 0x93, 0]
    emulator["rbx"], emulator["rax"] = 0xF0, 0x1234
    emulator.done("mov [bx + 2], ax", bits=16)
    assert emulator.log == [("write", DEVICE + 0xF2, 2, 0x1234)]
    emulator["rbx"] = 0xFFFF
    assert emulator.run("mov [bx], ax", bits=16) == EXCEPTION
    assert emulator.outcome.vector == 13


def test_instructions_that_cross_pages(emulator: Emulator) -> None:
    emulator["rbx"], emulator["rax"] = DEVICE, 7
    emulator.done("mov [rbx + 0x12345678 - 0x12345600], eax", origin=0x8FFC)
    assert emulator.log == [("write", DEVICE + 0x78, 4, 7)]


def test_code_in_a_device(emulator: Emulator) -> None:
    code = assemble("mov eax, 0x12345678", 64, DEVICE)
    emulator.device.update(enumerate(code, DEVICE))
    emulator.state.rip = DEVICE
    assert emulator.again() == DONE
    assert emulator["rax"] == 0x12345678


def test_accessed_and_dirty_flags(emulator: Emulator) -> None:
    emulator["rbx"] = 0xFEE00000
    emulator.done("mov [rbx], eax")
    entry = TABLES + 0x3000 + (0xFEE00000 >> 21 & 511) * 8
    assert emulator.ram[entry] & 0x60 == 0x60


def test_rdtsc(emulator: Emulator) -> None:
    emulator.state.tsc = 0x123456789A
    emulator.done("rdtsc")
    assert emulator["rdx"] << 32 | emulator["rax"] == 0x123456789A
    emulator.state.tsc = 5
    emulator.done("rdtsc")
    assert emulator["rax"] == 5


def test_flags_come_and_go(emulator: Emulator) -> None:
    emulator["rbx"], emulator.state.rflags = DEVICE, 0x202 | 1
    emulator.device.update(enumerate(b"\xff\xff\xff\xff", DEVICE))
    emulator.done("adc dword ptr [rbx], 0")
    assert emulator.state.rflags == 0x202 | 1 | 0x40 | 0x10 | 4  # CF ZF AF PF


def test_a_shadow_ends(emulator: Emulator) -> None:
    emulator.state.rflags, emulator.state.interruptibility, emulator["rbx"] = 0x202, 1, DEVICE
    emulator.done("mov eax, [rbx]")
    assert emulator.state.interruptibility == 0


# ---- task switches ----

GDT, OLD_TSS, NEW_TSS = 0x2000, 0x3000, 0x4000


def with_tasks(emulator: Emulator) -> None:
    state = emulator.state
    state.cr0, state.cr3, state.cr4, state.efer = 0x33, 0, 0, 0
    for segment in range(6):
        code = segment == 1
        state.segment[segment] = [0, 0xFFFFFFFF, 0xC09B if code else 0xC093, 0x08 if code else 0x10]
    state.segment[7] = [OLD_TSS, 0x67, 0x8B, 0x18]
    state.gdt_base, state.gdt_limit = GDT, 0x2F
    emulator.ram[GDT : GDT + 0x30] = struct.pack(
        "<6Q",
        0,
        0x00CF9B000000FFFF,
        0x00CF93000000FFFF,
        0x00008B0000000067 | OLD_TSS << 16,
        0x0000890000000067 | NEW_TSS << 16,
        0,
    )
    new = [0] * 26
    new[8], new[9] = 0x1234, 0x202  # EIP, EFLAGS
    new[10:18] = range(0x100, 0x108)
    new[18:24] = [0x10, 0x08, 0x10, 0x10, 0x10, 0x10]
    new[14] = STACK
    emulator.ram[NEW_TSS : NEW_TSS + 104] = struct.pack("<26I", *new)


def switch(emulator: Emulator, selector: int, source: int, error: int | None = None) -> int:
    return int(
        lib.emulate_task_switch(
            emulator.emulator,
            emulator.registers,
            emulator.state,
            emulator.bus,
            selector,
            source,
            error is not None,
            error or 0,
            emulator.outcome,
        )
    )


@pytest.mark.parametrize(("source", "nested"), [(0, True), (2, False), (3, True)])
def test_task_switch(emulator: Emulator, source: int, nested: bool) -> None:
    with_tasks(emulator)
    emulator["rax"], emulator.state.rip = 0xAAAA, 0x5555
    assert switch(emulator, 0x20, source, 0x77 if source == 3 else None) == DONE
    state = emulator.state
    assert state.rip == 0x1234
    assert [emulator[name] for name in ("rax", "rcx", "rdi")] == [0x100, 0x101, 0x107]
    assert emulator["rsp"] == STACK - (4 if source == 3 else 0)
    assert state.segment[7].selector == 0x20
    assert state.rflags == 0x202 | (1 << 14 if nested else 0)
    assert state.cr0 & 8
    assert int.from_bytes(emulator.ram[OLD_TSS + 32 : OLD_TSS + 36], "little") == 0x5555
    assert int.from_bytes(emulator.ram[OLD_TSS + 40 : OLD_TSS + 44], "little") == 0xAAAA
    assert emulator.ram[NEW_TSS] == (0x18 if nested else 0)
    assert emulator.ram[GDT + 0x25] == 0x8B  # busy
    assert emulator.ram[GDT + 0x1D] == (0x8B if nested else 0x89)
    if source == 3:
        assert int.from_bytes(emulator.ram[STACK - 4 : STACK], "little") == 0x77


def test_task_switch_refused_by_the_old_task(emulator: Emulator) -> None:
    with_tasks(emulator)
    before = bytes(ffi.buffer(emulator.registers)), bytes(ffi.buffer(emulator.state))
    assert switch(emulator, 0x18, 2) == EXCEPTION  # busy
    assert (emulator.outcome.vector, emulator.outcome.error) == (13, 0x18)
    assert (bytes(ffi.buffer(emulator.registers)), bytes(ffi.buffer(emulator.state))) == before


def test_task_switch_fails_in_the_new_task(emulator: Emulator) -> None:
    with_tasks(emulator)
    emulator.ram[NEW_TSS + 76] = 0x28  # CS is null
    assert switch(emulator, 0x20, 2) == EXCEPTION
    assert (emulator.outcome.vector, emulator.outcome.error) == (10, 0x28)
    assert emulator.state.segment[7].selector == 0x20
    assert emulator.state.rip == 0x1234
