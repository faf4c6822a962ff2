"""Interrupt messages between several LAPICs and from the I/O APIC; x2APIC mode."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from .conftest import Board

CPUS = 4
APIC_BASE, ID, TPR, EOI, LDR, SVR, ICR, SELF_IPI = 0x1B, 0x802, 0x808, 0x80B, 0x80D, 0x80F, 0x830, 0x83F
XAPIC_BASE, X2APIC_BASE = 0xFEE00800, 0xFEE00C00
X2APIC_FEATURE = {"leaf": 1, "ecx": 1 << 21}
NO_SIGNAL, INIT, STARTUP = range(3)


class Cpu:
    """One of a board's processors."""

    def __init__(self, board: Board, index: int) -> None:
        self.board, self.index, self.lib = board, index, board.lib

    def write(self, offset: int, value: int) -> None:
        data = value.to_bytes(4, "little")
        self.lib.board_memory_write(self.board.pointer, self.index, self.lib.MAP_LAPIC + offset, data, 4, 0)

    def read(self, offset: int) -> int:
        data = self.board.ffi.new("uint8_t[]", 4)
        self.lib.board_memory_read(self.board.pointer, self.index, self.lib.MAP_LAPIC + offset, data, 4, 0)
        return int.from_bytes(bytes(data), "little")

    def wrmsr(self, msr: int, value: int) -> bool:
        return bool(self.lib.board_msr_write(self.board.pointer, self.index, msr, value, 0, 0))

    def rdmsr(self, msr: int) -> int | None:
        value = self.board.ffi.new("uint64_t *")
        return int(value[0]) if self.lib.board_msr_read(self.board.pointer, self.index, msr, value, 0, 0) else None

    def send(self, low: int, destination: int = 0) -> None:
        """An IPI, in xAPIC mode."""
        self.write(0x310, destination << 24)
        self.write(0x300, low)

    def received(self) -> list[int]:
        """Fixed interrupts, highest first; they are ended."""
        vectors = []
        while self.lib.board_interrupt_pending(self.board.pointer, self.index):
            vectors.append(int(self.lib.board_interrupt_acknowledge(self.board.pointer, self.index, 0)))
            if self.rdmsr(APIC_BASE) & 0x400:  # type: ignore[operator]  # the MSR is there
                self.wrmsr(EOI, 0)
            else:
                self.write(0xB0, 0)
        return vectors

    def nmi(self) -> bool:
        return bool(self.lib.board_take_nmi(self.board.pointer, self.index))

    def signal(self) -> tuple[int, int]:
        vector = self.board.ffi.new("uint8_t *")
        return int(self.lib.board_take_signal(self.board.pointer, self.index, vector)), int(vector[0])

    @property
    def waits(self) -> bool:
        return bool(self.lib.board_waits_for_startup(self.board.pointer, self.index))


@pytest.fixture
def cpus(chips: SimpleNamespace) -> list[Cpu]:
    """Four processors whose LAPICs are enabled, with logical ids 1, 2, 4 and 8."""
    board = Board(chips, cpus=CPUS, cpuid_count=1, cpuid=[X2APIC_FEATURE])
    made = [Cpu(board, index) for index in range(CPUS)]
    for cpu in made:
        cpu.write(0xF0, 0x1FF)
        cpu.write(0xD0, 1 << 24 + cpu.index)
    return made


def who(cpus: list[Cpu]) -> list[int]:
    """Those who received something."""
    return [cpu.index for cpu in cpus if cpu.received()]


PHYSICAL, LOGICAL, LOWEST = 0x4050, 0x4850, 0x4950
SELF, ALL, OTHERS = 1 << 18, 2 << 18, 3 << 18


@pytest.mark.parametrize(
    ("low", "destination", "receivers"),
    [
        (PHYSICAL, 0, [0]),
        (PHYSICAL, 3, [3]),
        (PHYSICAL, 4, []),
        (PHYSICAL, 0xFF, [0, 1, 2, 3]),
        (LOGICAL, 0b0010, [1]),
        (LOGICAL, 0b1101, [0, 2, 3]),
        (LOGICAL, 0xFF, [0, 1, 2, 3]),
        (LOGICAL, 0, []),
        (LOWEST, 0b1100, [2]),
        (LOWEST & ~0x800, 0xFF, [0]),
        (PHYSICAL | SELF, 3, [1]),
        (PHYSICAL | ALL, 3, [0, 1, 2, 3]),
        (PHYSICAL | OTHERS, 3, [0, 2, 3]),
        (LOWEST | OTHERS, 0, [0]),
    ],
)
def test_destinations(cpus: list[Cpu], low: int, destination: int, receivers: list[int]) -> None:
    cpus[1].send(low, destination)
    assert who(cpus) == receivers


def test_clusters(cpus: list[Cpu]) -> None:
    for cpu, ldr in zip(cpus, (0x11, 0x12, 0x21, 0x22), strict=True):
        cpu.write(0xD0, ldr << 24)
        cpu.write(0xE0, 0x0FFFFFFF)
    cpus[0].send(LOGICAL, 0x13)
    assert who(cpus) == [0, 1]
    cpus[0].send(LOGICAL, 0x22)
    assert who(cpus) == [3]


def test_the_lowest_priority_is_looked_at(cpus: list[Cpu]) -> None:
    for cpu, priority in zip(cpus, (0x40, 0x30, 0x20, 0x20), strict=True):
        cpu.write(0x80, priority)
    cpus[0].send(LOWEST, 0b1111)
    assert who(cpus) == [2]
    cpus[2].write(0xF0, 0xFF)  # switched off by software: takes part no more
    cpus[0].send(LOWEST, 0b1111)
    assert who(cpus) == [3]


def test_the_io_apic_reaches_all(cpus: list[Cpu]) -> None:
    board = cpus[0].board
    board.outb(0x3FC, 8)  # COM1's interrupt is wired by OUT2
    for destination in range(CPUS):
        board.redirect(4, 0x60, destination)
        board.outb(0x3F9, 2)  # the transmitter is empty
        assert who(cpus) == [destination]
        board.outb(0x3F9, 0)


def test_nmi_smi_and_extint(cpus: list[Cpu]) -> None:
    cpus[0].send(0x4400 | OTHERS)
    assert [cpu.nmi() for cpu in cpus] == [False, True, True, True]
    cpus[0].send(0x4200 | ALL)  # SMI: there is no SMM
    assert who(cpus) == []
    cpus[0].send(0x4700, 2)
    assert [bool(cpu.lib.board_interrupt_pending(cpu.board.pointer, cpu.index)) for cpu in cpus] == [
        False, False, True, False,
    ]  # fmt: skip


def test_init_and_sipi(cpus: list[Cpu]) -> None:
    assert [cpu.waits for cpu in cpus] == [False, True, True, True]
    cpus[0].send(0x4608 | OTHERS)
    cpus[0].send(0x4609, 2)  # too late: it waits no more
    assert [cpu.signal() for cpu in cpus[1:]] == [(STARTUP, 8)] * 3
    assert not any(cpu.waits for cpu in cpus)
    cpus[0].send(0x4609, 2)
    assert cpus[2].signal()[0] == NO_SIGNAL
    cpus[3].send(PHYSICAL, 2)
    cpus[3].send(0x4400, 2)
    cpus[3].send(0x4500, 2)
    assert cpus[2].waits and cpus[2].read(0xF0) == 0xFF, "as after power-on"
    assert not cpus[2].nmi() and not cpus[2].received()
    assert (cpus[2].read(0x20), cpus[2].rdmsr(APIC_BASE)) == (2 << 24, XAPIC_BASE)


def test_init_then_sipi_are_taken_in_this_order(cpus: list[Cpu]) -> None:
    cpus[0].send(0x4500, 1)
    cpus[0].send(0x460A, 1)
    assert [cpus[1].signal()[0] for _ in range(3)] == [INIT, STARTUP, NO_SIGNAL]
    cpus[0].send(0x4500, 1)
    cpus[0].send(0x460A, 1)
    cpus[0].send(0x4500, 1)  # and the SIPI is forgotten
    assert [cpus[1].signal()[0] for _ in range(2)] == [INIT, NO_SIGNAL]
    assert cpus[1].waits


def test_init_deassert_is_nothing(cpus: list[Cpu]) -> None:
    cpus[0].send(0x8500 | ALL)
    assert [cpu.signal()[0] for cpu in cpus] == [NO_SIGNAL] * CPUS
    assert cpus[0].board.event() == (0, 0)


def test_init_of_the_first_is_a_reset(cpus: list[Cpu]) -> None:
    cpus[1].send(0x4500 | OTHERS)
    assert cpus[0].board.event()[0] == cpus[0].lib.BOARD_RESET
    assert [cpu.signal()[0] for cpu in cpus] == [NO_SIGNAL, NO_SIGNAL, INIT, INIT]


# ---- x2APIC mode ----


def test_ways_between_the_modes(cpus: list[Cpu]) -> None:
    cpu = cpus[1]
    assert cpu.rdmsr(ID) is None and not cpu.wrmsr(SVR, 0x1FF), "xAPIC mode"
    assert not cpu.wrmsr(APIC_BASE, 0xFEE00400), "x2APIC mode without EN"
    assert cpu.wrmsr(APIC_BASE, X2APIC_BASE)
    assert cpu.read(0x30) == 0xFFFFFFFF, "no page any more"
    assert not cpu.wrmsr(APIC_BASE, XAPIC_BASE), "not back"
    assert cpu.wrmsr(APIC_BASE, 0xFEE00000)
    assert not cpu.wrmsr(APIC_BASE, X2APIC_BASE), "not at once"
    assert cpu.wrmsr(APIC_BASE, XAPIC_BASE) and cpu.read(0x20) == 1 << 24


def test_no_such_mode_without_the_feature(chips: SimpleNamespace) -> None:
    cpu = Cpu(Board(chips), 0)
    assert not cpu.wrmsr(APIC_BASE, X2APIC_BASE | 0x100)


def x2apic(cpus: list[Cpu]) -> None:
    for cpu in cpus:
        assert cpu.wrmsr(APIC_BASE, X2APIC_BASE | (0x100 if cpu.index == 0 else 0))
        assert cpu.wrmsr(SVR, 0x1FF)


@pytest.mark.parametrize(
    ("icr", "receivers"),
    [
        (2 << 32 | 0x4050, [2]),
        (0xFF << 32 | 0x4050, []),
        (0xFFFFFFFF << 32 | 0x4050, [0, 1, 2, 3]),
        (0b1010 << 32 | 0x4850, [1, 3]),
        (1 << 48 | 0b1010 << 32 | 0x4850, []),
        (0b1010 << 32 | 0x4950, [1]),
        (OTHERS | 0x4050, [0, 2, 3]),
    ],
)
def test_x2apic_destinations(cpus: list[Cpu], icr: int, receivers: list[int]) -> None:
    x2apic(cpus)
    assert cpus[1].wrmsr(ICR, icr)
    assert cpus[1].rdmsr(ICR) == icr
    assert who(cpus) == receivers


def test_modes_mix(cpus: list[Cpu]) -> None:
    x2apic(cpus[2:])
    cpus[0].send(PHYSICAL, 3)
    assert who(cpus) == [3]
    cpus[0].send(PHYSICAL, 0xFF)
    assert who(cpus) == [0, 1, 2, 3]
    cpus[3].wrmsr(ICR, 1 << 32 | 0x4050)
    assert who(cpus) == [1]
    cpus[3].wrmsr(ICR, 0x101 << 32 | 0x4050)
    assert who(cpus) == []


def test_x2apic_registers(cpus: list[Cpu]) -> None:
    x2apic(cpus)
    cpu = cpus[3]
    assert (cpu.rdmsr(ID), cpu.rdmsr(LDR)) == (3, 1 << 3)
    assert cpu.wrmsr(SELF_IPI, 0x77) and cpu.received() == [0x77]
    assert cpu.wrmsr(TPR, 0x20) and cpu.rdmsr(TPR) == 0x20
    assert cpu.wrmsr(0x832, 0x10050) and cpu.rdmsr(0x832) == 0x10050


@pytest.mark.parametrize(
    ("msr", "value"),
    [
        (ID, 3), (0x803, 0), (0x80A, 0), (LDR, 1), (0x80E, 0), (0x831, 0), (0x839, 0), (0x8FF, 0),
        (TPR, 0x100), (EOI, 1), (0x828, 1), (SELF_IPI, 0x100), (SVR, 1 << 32), (ICR, 1 << 16), (0x832, 1 << 20),
    ],
)  # fmt: skip
def test_x2apic_writes_that_fault(cpus: list[Cpu], msr: int, value: int) -> None:
    x2apic(cpus)
    assert not cpus[0].wrmsr(msr, value)


@pytest.mark.parametrize("msr", [0x800, 0x809, EOI, 0x80C, 0x80E, 0x82F, 0x831, 0x83A, SELF_IPI, 0x8FF])
def test_x2apic_reads_that_fault(cpus: list[Cpu], msr: int) -> None:
    x2apic(cpus)
    assert cpus[0].rdmsr(msr) is None


def test_init_keeps_the_mode(cpus: list[Cpu]) -> None:
    x2apic(cpus)
    cpus[0].wrmsr(ICR, 1 << 32 | 0x4500)
    assert cpus[1].signal()[0] == INIT
    assert cpus[1].rdmsr(APIC_BASE) == X2APIC_BASE
    assert (cpus[1].rdmsr(ID), cpus[1].rdmsr(SVR)) == (1, 0xFF)


# ---- timers ----


def test_each_has_its_timer(cpus: list[Cpu]) -> None:
    board = cpus[0].board
    for cpu in cpus:
        cpu.write(0x3E0, 0xB)
        cpu.write(0x320, 0x40 + cpu.index)
        cpu.write(0x380, 1000 - 100 * cpu.index)
    for expected in (3, 2, 1, 0):
        assert board.step() == 1000 - 100 * expected
        assert [cpu.received() for cpu in cpus] == [[0x40 + i] if i == expected else [] for i in range(CPUS)]
