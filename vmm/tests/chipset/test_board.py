"""The board: ports and memory to chips, interrupt wiring, deadlines, events, output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

NEVER = 2**64 - 1
COM = (0x3F8, 0x2F8, 0x3E8, 0x2E8)
COM_IRQ = (4, 3, 4, 3)
NONE, POWER_OFF, RESET, PANIC, DEBUG_EXIT = range(5)
MILLISECOND = 10**6
LINT0, MASK, LEVEL = 3, 1 << 16, 1 << 15
PERIODIC, TSC_DEADLINE = 1 << 17, 2 << 17


def program_pit(board: Any, mode: int, count: int) -> None:
    board.outb(0x43, 0x30 | mode << 1)
    board.outb(0x40, count & 0xFF, count >> 8)


# ---- power-on ----


def test_quiet_after_reset(board: Any) -> None:
    assert not board.pending
    assert board.lib.board_deadline(board.pointer) == NEVER
    assert not board.lib.board_can_wake(board.pointer, 0)
    assert board.event() == (NONE, 0)
    assert board.unread() == (0, NEVER)


def test_reset_restores_everything_but_the_clock(board: Any) -> None:
    fresh = board.hash()
    board.outb(0x70, 0x40)
    board.outb(0x71, 0x99)
    for port in set(range(0x1000)) - {0x70, 0x71}:
        board.outb(port, 0xA5)
    board.lapic(0x380, 1000)
    board.redirect(4, 0x34)
    board.type(b"x")
    board.lib.board_reset(board.pointer)
    assert board.event() == (NONE, 0)
    assert board.lib.board_deadline(board.pointer) == NEVER
    board.outb(0x70, 0x40)
    assert board.inb(0x71) == 0x99
    board.outb(0x71, 0)
    board.outb(0x70, 0x00)
    board.lib.board_reset(board.pointer)
    assert board.hash() == fresh


@pytest.mark.parametrize(
    ("memory", "extended", "above_16m", "above_4g"),
    [
        (2 << 20, 1024, 0, 0),
        (16 << 20, 15360, 0, 0),
        (64 << 20, 0xFC00, 768, 0),
        (512 << 20, 0xFFFF, 7936, 0),
        (3 << 30, 0xFFFF, 48896, 0),
        (5 << 30, 0xFFFF, 48896, 0x8000),
        (1 << 50, 0xFFFF, 48896, 0xFFFFFF),
    ],
)
def test_cmos_memory_size(
    make_board: Callable[..., Any], memory: int, extended: int, above_16m: int, above_4g: int
) -> None:
    board = make_board(memory_bytes=memory)

    def cmos(index: int, size: int) -> int:
        value = 0
        for i in range(size):
            board.outb(0x70, index + i)
            value |= board.inb(0x71) << 8 * i
        return value

    assert (cmos(0x15, 2), cmos(0x17, 2), cmos(0x30, 2)) == (640, extended, extended)
    assert (cmos(0x34, 2), cmos(0x5B, 3)) == (above_16m, above_4g)


# ---- ports ----


@pytest.mark.parametrize("size", [1, 2, 4])
def test_empty_ports_read_as_ones(board: Any, size: int) -> None:
    for port in (0x00, 0x1F0, 0x3B0, 0x3D0, 0x800, 0x1000, 0xFFFF):
        before = board.hash()
        board.outb(port, 0x12345678, size=size)
        assert board.inb(port, size) == (1 << 8 * size) - 1
        assert board.hash() == before


def test_wide_accesses_are_one_a_byte(board: Any) -> None:
    board.outb(0x3FB, 0x83)
    board.outb(0x3F8, 0x0102, size=2)
    assert board.inb(0x3F8, 2) == 0x0102
    board.outb(0x3FB, 0x03)
    board.outb(0x3FC, 0x5A00001A, size=4)
    assert board.inb(0x3FF) == 0x5A
    assert board.inb(0x3FC, 4) == 0x5A92601A  # MCR, LSR, MSR with its deltas, scratch
    assert board.inb(0x3FE, 4) >> 16 == 0xFFFF  # beyond the chip


def test_pci_configuration_cycles_are_dwords(board: Any) -> None:
    board.outb(0xCF8, 0x80000000, size=4)
    assert board.inb(0xCF8, 4) == 0x80000000
    assert board.inb(0xCFC, 4) == 0x12378086
    assert (board.inb(0xCFC, 2), board.inb(0xCFE, 2), board.inb(0xCFF)) == (0x8086, 0x1237, 0x12)
    board.outb(0xCFB, 0x01)  # as Linux probes: a byte is not for the bridge
    board.outb(0xCF8, 0x01)
    assert board.inb(0xCF8, 4) == 0x80000000
    board.outb(0xCF8, 0x80000800, size=4)
    assert board.inb(0xCFC, 4) == 0xFFFFFFFF


def test_pm_timer_reads_whole(board: Any) -> None:
    board.now = 10**12 + 123
    expected = board.now * 3579545 // 10**9 % (1 << 24)
    assert board.inb(0x608, 4) == expected
    assert board.inb(0x608, 2) | board.inb(0x60A, 2) << 16 == expected
    board.outb(0x608, 0, size=4)
    assert board.inb(0x608, 4) == expected


def test_post_and_debug_ports(board: Any) -> None:
    board.outb(0x80, 0x55)
    assert board.inb(0x80) == 0x55
    assert board.inb(0xE9) == 0xE9


def test_port_61_watches_counter_2(board: Any) -> None:
    """Linux's quick TSC calibration: gate on, mode 0, wait for OUT 2."""
    board.outb(0x61, 1)
    board.outb(0x43, 0xB0)
    board.outb(0x42, 0xFF, 0xFF)
    assert not board.inb(0x61) & 0x20
    board.now += 65536 * 10**9 // 1_193_182 - 1
    assert not board.inb(0x61) & 0x20
    board.now += 2000
    assert board.inb(0x61) & 0x20


# ---- memory ----


def test_lapic_and_ioapic_pages(board: Any) -> None:
    assert board.lapic(0x30) == 0x50014
    assert board.ioapic(1) == 0x170020
    assert board.read(0xFEC01000) == board.read(0xFEE01000) == board.read(0xA0000) == 0xFFFFFFFF
    assert board.read(1 << 40, 8) == NEVER


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0x30, 1, 0x14),
        (0x32, 1, 0x05),
        (0x31, 2, 0x0500),
        (0x30, 8, 0x50014),
        (0x34, 4, 0),
        (0x3C, 4, 0),
        (0x2F, 2, 0x1400),
    ],
)
def test_memory_access_sizes(board: Any, offset: int, size: int, value: int) -> None:
    assert board.read(board.lib.MAP_LAPIC + offset, size) == value


def test_narrow_writes(board: Any) -> None:
    tpr = board.lib.MAP_LAPIC + 0x80
    board.write(tpr, 0x50, 1)
    assert board.lapic(0x80) == 0x50
    board.write(tpr + 1, 0x70, 1)  # misaligned: lost
    board.write(tpr + 4, 0x70, 4)
    assert board.lapic(0x80) == 0x50
    board.write(tpr, 0x60, 8)
    assert board.lapic(0x80) == 0x60


def test_lapic_moves_with_its_base(board: Any) -> None:
    assert board.lib.board_msr_write(board.pointer, 0, 0x1B, 0xF0000900, 0, 0)
    assert board.read(0xF0000030) == 0x50014
    assert board.read(0xFEE00030) == 0xFFFFFFFF
    assert board.lib.board_msr_write(board.pointer, 0, 0x1B, 0xFEE00100, 0, 0)
    assert board.read(0xFEE00030) == 0xFFFFFFFF


# ---- MSRs and CR8 ----


def test_msrs_follow_cpuid(make_board: Callable[..., Any]) -> None:
    value = None
    for leaves, deadline, bits in (([], False, 36), ([(1, 1 << 24), (0x80000008, 0)], True, 36)):
        board = make_board(cpuid_count=len(leaves), cpuid=[{"leaf": leaf, "ecx": ecx} for leaf, ecx in leaves])
        value = board.ffi.new("uint64_t *")
        assert board.lib.board_msr_read(board.pointer, 0, 0x6E0, value, 0, 0) == deadline
        assert board.lib.board_msr_write(board.pointer, 0, 0x6E0, 0, 0, 0) == deadline
        assert board.lib.board_msr_write(board.pointer, 0, 0x1B, 1 << bits - 1 | 0x900, 0, 0)
        assert not board.lib.board_msr_write(board.pointer, 0, 0x1B, 1 << bits | 0x900, 0, 0)
        for index in (0x800, 0x8FF, 0x10):
            assert not board.lib.board_msr_read(board.pointer, 0, index, value, 0, 0)
            assert not board.lib.board_msr_write(board.pointer, 0, index, 0, 0, 0)
    leaf = {"leaf": 0x80000008, "eax": 0x3027}
    board = make_board(cpuid_count=1, cpuid=[leaf])
    assert board.lib.board_msr_write(board.pointer, 0, 0x1B, 1 << 38 | 0x900, 0, 0)
    assert not board.lib.board_msr_write(board.pointer, 0, 0x1B, 1 << 39 | 0x900, 0, 0)


def test_cr8_is_the_task_priority(board: Any) -> None:
    board.lapic(0x80, 0x37)
    assert board.lib.board_cr8(board.pointer, 0) == 3
    board.lapic(0x300, 0x40041)  # self IPI
    assert board.pending
    board.lib.board_set_cr8(board.pointer, 0, 4)
    assert board.lapic(0x80) == 0x40
    assert not board.pending
    board.lib.board_set_cr8(board.pointer, 0, 0)
    assert board.acknowledge() == 0x41


# ---- interrupts ----


def test_pit_through_the_8259(board: Any) -> None:
    """Virtual wire: PIT, 8259, LINT0 as ExtINT."""
    board.outb(0x21, 0xFE)
    program_pit(board, 2, 11932)
    times: list[int] = []
    while len(times) < 5:
        board.step()
        if board.pending:
            times.append(board.now)
            assert board.acknowledge() == 0x08
            assert not board.pending
            board.outb(0x20, 0x20)
    ticks = [time * 1_193_182 // 10**9 for time in times]
    assert ticks == [1 + 11932 * i for i in range(1, 6)]


def test_masking_lint0_cuts_the_virtual_wire(board: Any) -> None:
    board.outb(0x21, 0xFE)
    board.lvt(LINT0, MASK | 0x700)
    program_pit(board, 2, 100)
    board.advance(MILLISECOND)
    assert not board.pending
    board.lvt(LINT0, 0x700)
    assert board.acknowledge() == 0x08


def test_pit_through_ioapic_pin_2(board: Any) -> None:
    """As Linux's check_timer wants it: pin 2, edge, 8259 masked."""
    board.lvt(LINT0, MASK | 0x700)
    board.redirect(2, 0x30)
    program_pit(board, 2, 4772)
    fired = 0
    for _ in range(20):
        board.step()
        while board.pending:
            assert board.acknowledge() == 0x30
            board.lapic(0xB0, 0)
            fired += 1
    assert fired == 10


def test_a_pulse_missed_by_a_late_step_still_counts(board: Any) -> None:
    board.redirect(2, 0x30)
    program_pit(board, 4, 100)
    board.advance(10 * MILLISECOND)  # OUT fell and rose long ago
    assert board.acknowledge() == 0x30
    board.lapic(0xB0, 0)
    program_pit(board, 3, 1000)
    board.advance(10**9)
    assert board.pending


def test_ioapic_pin_0_is_the_8259s(board: Any) -> None:
    board.lvt(LINT0, MASK | 0x700)
    board.outb(0x21, 0xFE)
    board.redirect(0, 0x700)
    program_pit(board, 2, 100)
    board.advance(MILLISECOND)
    assert board.acknowledge() == 0x08


@pytest.mark.parametrize("uart", range(4))
def test_uart_interrupts(board: Any, uart: int) -> None:
    irq = COM_IRQ[uart]
    board.redirect(irq, 0x40 + irq)
    board.outb(COM[uart] + 4, 8)
    board.outb(COM[uart] + 1, 1)
    assert board.type(b"k", uart) == 1
    assert not board.pending
    board.step()
    assert board.acknowledge() == 0x40 + irq
    assert board.inb(COM[uart] + 2) == 4
    assert board.inb(COM[uart]) == ord("k")


def test_shared_interrupt_line_is_held_by_either(board: Any) -> None:
    board.redirect(4, 0x44)
    for port in (COM[0], COM[2]):
        board.outb(port + 4, 8)
        board.outb(port + 1, 2)
    assert board.acknowledge() == 0x44
    board.lapic(0xB0, 0)
    board.inb(COM[0] + 2)
    assert board.chips.irqs >> 4 & 1
    board.inb(COM[2] + 2)
    assert not board.chips.irqs >> 4 & 1


def test_transmit_interrupt_drives_an_edge_a_burst(board: Any) -> None:
    """A driver that fills the FIFO in each interrupt, at an edge-triggered pin."""
    board.redirect(4, 0x44)
    board.outb(0x3FA, 0xC1)
    board.outb(0x3FC, 8)
    board.outb(0x3F9, 2)
    text = bytes(range(32, 100))
    sent = 0
    while sent < len(text):
        assert board.pending
        assert board.acknowledge() == 0x44
        while not board.inb(0x3FA) & 1:
            for byte in text[sent : sent + 16]:
                board.outb(0x3F8, byte)
                sent += 1
        board.lapic(0xB0, 0)
    assert board.printed()[0] == text


def test_what_a_write_makes_due_happens_at_once(board: Any) -> None:
    board.redirect(4, 0x44)
    board.outb(0x3FC, 8)
    board.outb(0x3F9, 2)
    assert board.acknowledge() == 0x44
    board.lapic(0xB0, 0)
    board.outb(0x3F8, 65)  # THR fills and empties: a new edge
    assert board.pending
    assert board.acknowledge() == 0x44


def test_what_is_due_happens_before_an_access(board: Any) -> None:
    board.type(b"k")
    board.now += MILLISECOND  # and nobody called board_advance
    assert board.inb(0x3FD) & 1
    board.lapic(0x3E0, 0xB)
    board.lvt(0, 0x50)
    board.lapic(0x380, 1000)
    board.now += MILLISECOND
    assert board.lapic(0x200 + 16 * (0x50 // 32)) == 1 << 0x50 % 32


def test_rtc_interrupt(board: Any) -> None:
    board.redirect(8, 0x48)
    board.outb(0x70, 0x0B)
    board.outb(0x71, 0x12)
    assert board.step() == 10**9
    assert board.acknowledge() == 0x48
    board.lapic(0xB0, 0)
    board.outb(0x70, 0x0C)
    assert board.inb(0x71) & 0x90 == 0x90
    assert board.step() == 2 * 10**9
    assert board.pending


def test_power_button_raises_the_sci_by_level(board: Any) -> None:
    board.redirect(9, LEVEL | 0x49)
    board.outb(0x602, 0x100, size=2)
    board.lib.board_power_button(board.pointer, board.now)
    for _ in range(2):  # again and again until the status is cleared
        assert board.acknowledge() == 0x49
        board.lapic(0xB0, 0)
    board.acknowledge()
    board.outb(0x600, 0x100, size=2)
    board.lapic(0xB0, 0)
    assert not board.pending


def test_i8042_interrupts(board: Any) -> None:
    board.redirect(1, 0x41)
    board.redirect(12, 0x4C)
    board.outb(0x64, 0x60)
    board.outb(0x60, 0x03)
    board.outb(0x64, 0xD3)
    board.outb(0x60, 0xA5)
    assert board.acknowledge() == 0x4C
    board.lapic(0xB0, 0)
    board.outb(0x60, 0xF4)
    assert board.acknowledge() == 0x41


def test_lapic_timer(board: Any) -> None:
    board.lapic(0x3E0, 0xB)
    board.lvt(0, PERIODIC | 0x50)
    board.lapic(0x380, 1000)
    for _ in range(3):
        board.step()
        assert board.acknowledge() == 0x50
        board.lapic(0xB0, 0)
    assert board.now == 3000


def test_tsc_deadline_in_the_past_fires_at_once(make_board: Callable[..., Any]) -> None:
    board = make_board(cpuid_count=1, cpuid=[{"leaf": 1, "ecx": 1 << 24}])
    board.lvt(0, TSC_DEADLINE | 0x50)
    assert board.lib.board_msr_write(board.pointer, 0, 0x6E0, 77, 10, 100)
    assert board.acknowledge() == 0x50


@pytest.mark.parametrize(
    ("icr", "vector"), [(0x00041, 0x41), (0x40041, 0x41), (0x80041, 0x41), (0xC0041, None), (0x00141, 0x41)]
)
def test_ipis_of_one_processor(board: Any, icr: int, vector: int | None) -> None:
    board.lapic(0x310, 0)
    board.lapic(0x300, icr)
    assert board.pending == (vector is not None)
    if vector is not None:
        assert board.acknowledge() == vector


def test_ipi_to_nobody(board: Any) -> None:
    board.lapic(0x310, 5 << 24)
    board.lapic(0x300, 0x41)
    board.lapic(0x300, 0x141)
    assert not board.pending


def test_nmi(board: Any) -> None:
    take = board.lib.board_take_nmi
    board.lapic(0x300, 0x40400)
    assert take(board.pointer, 0)
    board.lib.board_nmi(board.pointer)
    assert take(board.pointer, 0)
    board.outb(0x70, 0x80)
    board.lib.board_nmi(board.pointer)
    assert not take(board.pointer, 0)


def test_spurious_acknowledge(board: Any) -> None:
    assert board.acknowledge() == 0xFF
    board.lib.board_msr_write(board.pointer, 0, 0x1B, 0xFEE00100, 0, 0)
    assert not board.pending


def test_ioapic_level_needs_eoi_broadcast(board: Any) -> None:
    board.redirect(4, LEVEL | 0x44)
    board.outb(0x3FC, 8)
    board.outb(0x3F9, 2)
    assert board.acknowledge() == 0x44
    assert board.ioapic(0x18) & 1 << 14
    board.inb(0x3FA)
    board.lapic(0xB0, 0)
    assert not board.ioapic(0x18) & 1 << 14
    assert not board.pending


# ---- can anything wake the processor? ----


def test_masked_timer_cannot_wake(board: Any) -> None:
    can_wake = board.lib.board_can_wake
    program_pit(board, 2, 1000)
    assert board.lib.board_deadline(board.pointer) != NEVER
    assert not can_wake(board.pointer, 0)
    board.outb(0x21, 0xFE)
    assert can_wake(board.pointer, 0)
    board.lvt(LINT0, MASK | 0x700)
    assert not can_wake(board.pointer, 0)
    board.redirect(0, 0x700)
    assert can_wake(board.pointer, 0)
    board.outb(0x21, 0xFF)
    assert not can_wake(board.pointer, 0)
    board.redirect(2, 0x30)
    assert can_wake(board.pointer, 0)
    board.redirect(2, MASK)
    board.lvt(0, MASK | PERIODIC | 0x50)
    board.lapic(0x380, 1000)
    assert not can_wake(board.pointer, 0)
    board.lvt(0, PERIODIC | 0x50)
    assert can_wake(board.pointer, 0)


def test_cascade_masked_cannot_wake(board: Any) -> None:
    board.outb(0x70, 0x0B)
    board.outb(0x71, 0x12)
    board.outb(0xA1, 0xFE)
    assert not board.lib.board_can_wake(board.pointer, 0)
    board.outb(0x21, 0xFB)
    assert board.lib.board_can_wake(board.pointer, 0)


# ---- events ----


@pytest.mark.parametrize(
    ("writes", "event"),
    [
        ([(0x604, 0x3400, 2)], (POWER_OFF, 0)),
        ([(0x605, 0x34, 1)], (POWER_OFF, 0)),
        ([(0x604, 0x2000, 2)], (NONE, 0)),
        ([(0x604, 0x1400, 2)], (NONE, 0)),
        ([(0xCF9, 0x06, 1)], (RESET, 0)),
        ([(0xCF9, 0x02, 1), (0xCF9, 0x06, 1)], (RESET, 0)),
        ([(0x92, 0x01, 1)], (RESET, 0)),
        ([(0x64, 0xFE, 1)], (RESET, 0)),
        ([(0x64, 0xFF, 1)], (NONE, 0)),
        ([(0x505, 0x01, 1)], (PANIC, 1)),
        ([(0x505, 0x02, 1)], (NONE, 0)),
        ([(0xF4, 0x21, 1)], (NONE, 0)),
        ([(0x505, 0x01, 1), (0xCF9, 0x06, 1)], (PANIC, 1)),
    ],
)
def test_events(board: Any, writes: list[tuple[int, int, int]], event: tuple[int, int]) -> None:
    for port, value, size in writes:
        board.outb(port, value, size=size)
    assert board.event() == event
    assert board.event() == (NONE, 0)


@pytest.mark.parametrize(("value", "size"), [(0x21, 1), (0x1234, 2), (0xDEADBEEF, 4)])
def test_debug_exit(make_board: Callable[..., Any], value: int, size: int) -> None:
    board = make_board(debug_exit=1)
    assert board.inb(0xF4) == 0xFF
    board.outb(0xF5, 1)
    assert board.event() == (NONE, 0)
    board.outb(0xF4, value, size=size)
    assert board.event() == (DEBUG_EXIT, value)


def test_init_restarts_the_boot_processor(board: Any) -> None:
    board.lapic(0x300, 0x88500)  # INIT level de-assert to all, as Linux sends at boot
    assert board.event() == (NONE, 0)
    board.lapic(0x300, 0x04500)
    assert board.event() == (RESET, 0)


# ---- output ----


def test_output_carries_counts_and_age(board: Any) -> None:
    for i, byte in enumerate(b"hello"):
        board.now, board.count = 1000 + i, 500 + i
        board.outb(0x3F8, byte)
    board.now, board.count = 900, 400
    board.outb(0xE9, 0x21)
    assert board.unread() == (6, 900)
    assert board.printed(size=2) == (b"he", [500, 501])
    assert board.printed() == (b"llo", [502, 503, 504])
    assert board.unread() == (1, 900)
    data, counts = board.ffi.new("uint8_t[]", 4), board.ffi.new("uint64_t[]", 4)
    assert board.lib.board_debug_output(board.pointer, data, counts, 4) == 1
    assert (data[0], counts[0]) == (0x21, 400)
    assert board.unread() == (0, NEVER)


def test_full_output_keeps_the_newest(board: Any) -> None:
    size = 65536
    for i in range(size + 10):
        board.count = i
        board.outb(0x3F8, i & 0xFF)
    assert board.unread()[0] == size
    data, counts = board.printed()
    assert counts == list(range(10, size + 10))
    assert data[0] == 10
    assert board.unread() == (0, NEVER)


def test_unknown_uart(board: Any) -> None:
    assert board.type(b"x", 4) == 0
    assert board.printed(4) == (b"", [])
    assert board.lib.board_serial_output(board.pointer, 0, board.ffi.NULL, board.ffi.NULL, 0) == 0


def test_output_is_not_guest_state(board: Any) -> None:
    before = board.hash()
    board.outb(0x3F8, 65)
    board.outb(0xE9, 65)
    board.outb(0xE9, 10)  # the debug port remembers how a line begins
    assert board.hash() == before
    board.printed()
    assert board.hash() == before


# ---- time ----

PORTS = st.sampled_from(
    [
        0x20,
        0x21,
        0x40,
        0x42,
        0x43,
        0x61,
        0x70,
        0x71,
        0xA1,
        0x3F8,
        0x3F9,
        0x3FA,
        0x3FC,
        0x602,
        0x600,
        0x3F2,
        0x3F4,
        0x3F5,
        0x1F0,
        0x1F2,
        0x1F6,
        0x1F7,
        0x3F6,
        0xC000,
    ]
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("out"), PORTS, st.integers(0, 255)),
        st.tuples(st.just("in"), PORTS, st.just(0)),
        st.tuples(st.just("lapic"), st.sampled_from([0x320, 0x350, 0x380, 0x3E0, 0xB0, 0x80]), st.integers(0, 0x3FFFF)),
        st.tuples(st.just("ioapic"), st.sampled_from([0x14, 0x18, 0x20, 0x22]), st.integers(0, 0x1FFFF)),
        st.tuples(st.just("hpet"), st.sampled_from([0x10, 0x20, 0x100, 0x108, 0x120, 0x128]), st.integers(0, 0x3FFFF)),
        st.tuples(st.just("out"), st.just(0x1F7), st.sampled_from([0x20, 0x30, 0x90, 0xC4, 0xC8, 0xCA, 0xE7, 0xEC])),
        st.tuples(st.just("type"), st.integers(0, 40), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 3 * 10**9), st.just(0)),
        st.tuples(st.just("wait"), st.integers(0, 10**5), st.just(0)),
    ),
    max_size=40,
)


def perform(board: Any, kind: str, a: int, b: int) -> int | None:
    match kind:
        case "out":
            board.outb(a, b)
            return None
        case "in":
            return int(board.inb(a))
        case "lapic":
            return int(board.lapic(a, b))
        case "ioapic":
            return int(board.ioapic(a, b))
        case "hpet":
            board.write(0xFED00000 + a, b, 8)
            return int(board.read(0xFED00000 + a, 8))
        case _:
            return int(board.type(bytes(a)))


@settings(max_examples=200)
@given(STEPS, st.lists(st.integers(1, 10**9), max_size=6), st.booleans())
def test_time_in_one_step_or_many(
    power_on: Callable[..., Any], ffi: Any, steps: list[tuple[str, int, int]], strides: list[int], classic: bool
) -> None:
    """However finely board_advance is called, the guest cannot tell."""
    disk = {"kind": 1, "sector_bytes": 512, "bytes": 1 << 20, "present": True}
    settings: dict[str, Any] = {"drives": [disk]}
    if classic:
        settings |= {"firmware": ffi.new("uint8_t[4096]"), "firmware_bytes": 4096}
    with power_on(**settings) as one, power_on(**settings) as many:
        for kind, a, b in steps:
            if kind == "wait":
                one.advance(a)
                for stride in strides:
                    many.advance(min(stride, one.now - many.now))
                for _ in range(30):
                    if many.lib.board_deadline(many.pointer) <= one.now:
                        many.step()
                many.advance(one.now - many.now)
            else:
                assert perform(one, kind, a, b) == perform(many, kind, a, b)
            assert one.pending == many.pending
            assert one.hash() == many.hash()
            assert one.lib.board_deadline(one.pointer) == many.lib.board_deadline(many.pointer) > one.now
            if one.pending:
                assert one.acknowledge() == many.acknowledge()


def test_a_century_in_one_step(board: Any) -> None:
    board.redirect(2, 0x30)
    board.outb(0x21, 0)
    program_pit(board, 2, 11932)
    board.lapic(0x380, 12345)
    board.lvt(0, PERIODIC | 0x50)
    board.outb(0x70, 0x0B)
    board.outb(0x71, 0x72)
    century = 100 * 366 * 86400 * 10**9
    board.advance(century)
    assert century < board.lib.board_deadline(board.pointer) <= century + 30_000
    assert board.acknowledge() == 0x08
    assert board.acknowledge() == 0x50
