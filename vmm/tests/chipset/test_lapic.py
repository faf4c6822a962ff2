"""The local APIC."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

NEVER = 2**64 - 1
TIMER, THERMAL, PERFORMANCE, LINT0, LINT1, ERROR = range(6)
MASK, LEVEL, REMOTE_IRR = 1 << 16, 1 << 15, 1 << 14
PERIODIC, TSC_DEADLINE = 1 << 17, 2 << 17
APIC_BASE, DEADLINE_MSR = 0x1B, 0x6E0


class Lapic:
    def __init__(self, lib: Any, ffi: Any, *, enabled: bool = True) -> None:
        self.lib, self.ffi = lib, ffi
        self.state = ffi.new("struct lapic *")
        self.message = ffi.new("struct apic_message *")
        lib.lapic_reset(self.state, 0)
        if enabled:
            self.write(0xF0, 0x1FF)

    def read(self, offset: int, now: int = 0) -> int:
        return int(self.lib.lapic_read(self.state, offset, now))

    def write(self, offset: int, value: int, now: int = 0) -> bool:
        return bool(self.lib.lapic_write(self.state, offset, value, now, self.message))

    def lvt(self, entry: int, value: int) -> None:
        self.write(0x320 + 16 * entry, value)

    def receive(self, vector: int, *, level: bool = False, delivery: int = 0) -> None:
        message = {"vector": vector, "level": level, "delivery": delivery}
        self.lib.lapic_receive(self.state, self.ffi.new("struct apic_message *", message))

    def set(self, offset: int) -> set[int]:
        """The vectors in ISR, TMR or IRR."""
        return {32 * i + bit for i in range(8) for bit in range(32) if self.read(offset + 16 * i) >> bit & 1}

    def write_msr(
        self, index: int, value: int, now: int = 0, tsc: int = 0, bits: int = 39, *, x2apic: bool = False
    ) -> bool:
        return bool(self.lib.lapic_write_msr(self.state, index, value, now, tsc, bits, x2apic))

    def read_msr(self, index: int) -> int | None:
        value = self.ffi.new("uint64_t *")
        return int(value[0]) if self.lib.lapic_read_msr(self.state, index, value) else None

    def advance(self, now: int) -> None:
        self.lib.lapic_advance(self.state, now)

    @property
    def deadline(self) -> int:
        return int(self.lib.lapic_deadline(self.state))

    @property
    def pending(self) -> bool:
        return bool(self.lib.lapic_pending(self.state))

    @property
    def extint(self) -> bool:
        return bool(self.lib.lapic_extint_pending(self.state))

    def ack(self) -> int:
        return int(self.lib.lapic_acknowledge(self.state))


ISR, TMR, IRR = 0x100, 0x180, 0x200


@pytest.fixture
def lapic(lib: Any, ffi: Any) -> Lapic:
    return Lapic(lib, ffi)


def test_reset_state(lib: Any, ffi: Any) -> None:
    lapic = Lapic(lib, ffi, enabled=False)
    assert lapic.read(0x20) == 0
    assert lapic.read(0x30) == 0x50014
    assert lapic.read(0xE0) == 0xFFFFFFFF
    assert lapic.read(0xF0) == 0xFF
    assert [lapic.read(0x320 + 16 * i) for i in range(6)] == [MASK] * 6
    for offset in (0x80, 0xA0, 0xB0, 0xD0, 0x280, 0x300, 0x310, 0x380, 0x390, 0x3E0):
        assert lapic.read(offset) == 0
    assert lapic.read_msr(APIC_BASE) == 0xFEE00900
    assert lapic.deadline == NEVER


@pytest.mark.parametrize(
    ("offset", "kept"),
    [
        (0x20, 0xFF000000), (0x30, 0x50014), (0x80, 0xFF), (0x90, 0), (0xA0, 0), (0xC0, 0), (0xD0, 0xFF000000),
        (0xE0, 0xFFFFFFFF), (0xF0, 0x3FF), (0x300, 0xCCFFF), (0x310, 0xFF000000), (0x320, 0x700FF), (0x330, 0x107FF),
        (0x340, 0x107FF), (0x350, 0x1A7FF), (0x360, 0x1A7FF), (0x370, 0x100FF), (0x3E0, 0xB),
    ],
)  # fmt: skip
def test_writable_bits(lapic: Lapic, offset: int, kept: int) -> None:
    lapic.write(offset, 0xFFFFFFFF)
    assert lapic.read(offset) == kept


def test_acceptance_and_priority(lapic: Lapic) -> None:
    for vector in (0x31, 0x51, 0x55):
        lapic.receive(vector)
    assert lapic.set(IRR) == {0x31, 0x51, 0x55}
    assert lapic.ack() == 0x55
    assert lapic.read(0xA0) == 0x50
    assert not lapic.pending  # 51h is of the same class
    lapic.receive(0x61)
    assert lapic.ack() == 0x61
    assert lapic.set(ISR) == {0x55, 0x61}
    assert not lapic.write(0xB0, 0)
    assert not lapic.pending
    assert not lapic.write(0xB0, 0)
    assert lapic.ack() == 0x51
    assert not lapic.write(0xB0, 0)
    assert lapic.ack() == 0x31
    lapic.write(0xB0, 0)
    assert not lapic.write(0xB0, 0)  # an EOI too many
    assert lapic.ack() == 0xFF  # spurious


@pytest.mark.parametrize(("tpr", "pending"), [(0x00, True), (0x4F, True), (0x50, False), (0x5F, False), (0xFF, False)])
def test_task_priority(lapic: Lapic, tpr: int, pending: bool) -> None:
    lapic.receive(0x52)
    lapic.write(0x80, tpr)
    assert lapic.pending == pending
    assert lapic.read(0xA0) == tpr


def test_processor_priority_is_the_higher(lapic: Lapic) -> None:
    lapic.receive(0x73)
    lapic.ack()
    for tpr, ppr in ((0x6F, 0x70), (0x72, 0x72), (0x80, 0x80)):
        lapic.write(0x80, tpr)
        assert lapic.read(0xA0) == ppr


def test_level_triggered_sends_eoi(lapic: Lapic) -> None:
    lapic.receive(0x44, level=True)
    assert lapic.set(TMR) == {0x44}
    lapic.ack()
    assert lapic.write(0xB0, 0)
    assert (lapic.message.vector, lapic.message.delivery) == (0x44, lapic.lib.APIC_EOI)
    lapic.receive(0x44)
    assert lapic.set(TMR) == set()


def test_software_disabled(lapic: Lapic) -> None:
    lapic.lvt(TIMER, 0x40)
    lapic.write(0xF0, 0xFF)
    assert lapic.read(0x320) == MASK | 0x40
    lapic.lvt(TIMER, 0x41)
    assert lapic.read(0x320) == MASK | 0x41
    lapic.receive(0x50)
    assert not lapic.pending
    lapic.receive(0, delivery=4)
    assert lapic.lib.lapic_take_nmi(lapic.state)
    assert not lapic.lib.lapic_take_nmi(lapic.state)


# ---- errors ----


def test_error_status_is_latched_by_a_write(lapic: Lapic) -> None:
    lapic.lvt(ERROR, 0xFE)
    lapic.read(0x40)
    assert lapic.read(0x280) == 0
    assert lapic.ack() == 0xFE
    lapic.write(0x280, 0)
    assert lapic.read(0x280) == 0x80
    lapic.write(0x280, 0)
    assert lapic.read(0x280) == 0


@pytest.mark.parametrize("vector", [0, 15])
def test_illegal_vectors(lapic: Lapic, vector: int) -> None:
    lapic.receive(vector)
    lapic.write(0x280, 0)
    assert lapic.read(0x280) == 0x40
    assert not lapic.write(0x300, vector)
    lapic.write(0x280, 0)
    assert lapic.read(0x280) == 0x20
    assert lapic.set(IRR) == set()


def test_error_interrupt_with_an_illegal_vector_ends(lapic: Lapic) -> None:
    lapic.lvt(ERROR, 3)
    lapic.receive(1)
    lapic.write(0x280, 0)
    assert lapic.read(0x280) == 0x40


def test_every_offset(lapic: Lapic) -> None:
    known = {
        0x20, 0x30, 0x80, 0x90, 0xA0, 0xB0, 0xC0, 0xD0, 0xE0, 0xF0, *range(0x100, 0x280, 16), 0x280, 0x300, 0x310,
        *range(0x320, 0x380, 16), 0x380, 0x390, 0x3E0,
    }  # fmt: skip
    for offset in range(0, 0x1000, 16):
        lapic.state.errors = 0
        value = lapic.read(offset)
        assert (lapic.state.errors == 0x80) == (offset not in known), hex(offset)
        lapic.state.errors = 0
        lapic.write(offset, value)
        if offset != 0x300:  # which may send, and find a vector illegal
            assert (lapic.state.errors == 0x80) == (offset not in known), hex(offset)


# ---- pins ----


def test_lint0_stands_for_the_8259_pair(lapic: Lapic) -> None:
    lapic.lib.lapic_set_lint(lapic.state, 0, True)
    assert not lapic.extint  # masked
    lapic.lvt(LINT0, 0x700)
    assert lapic.extint
    lapic.lib.lapic_set_lint(lapic.state, 0, False)
    assert not lapic.extint


def test_lint0_fixed_edge(lapic: Lapic) -> None:
    lapic.lvt(LINT0, 0x31)
    lapic.lib.lapic_set_lint(lapic.state, 0, True)
    lapic.lib.lapic_set_lint(lapic.state, 0, True)
    assert not lapic.extint
    assert lapic.ack() == 0x31
    assert not lapic.pending


def test_lint1_fixed_level(lapic: Lapic) -> None:
    lapic.lvt(LINT1, LEVEL | 0x41)
    lapic.lib.lapic_set_lint(lapic.state, 1, True)
    assert lapic.read(0x360) == LEVEL | REMOTE_IRR | 0x41
    assert lapic.ack() == 0x41
    assert not lapic.pending
    lapic.write(0xB0, 0)
    assert lapic.ack() == 0x41  # still held
    lapic.lib.lapic_set_lint(lapic.state, 1, False)
    lapic.write(0xB0, 0)
    assert not lapic.pending
    assert lapic.read(0x360) == LEVEL | 0x41


@pytest.mark.parametrize(("entry", "nmi"), [(0x400, True), (MASK | 0x400, False), (0x700, False), (0x41, False)])
def test_lint1_nmi(lapic: Lapic, entry: int, nmi: bool) -> None:
    lapic.lvt(LINT1, entry)
    lapic.lib.lapic_set_lint(lapic.state, 1, True)
    assert lapic.lib.lapic_take_nmi(lapic.state) == nmi


def test_globally_disabled_pins_are_intr_and_nmi(lapic: Lapic) -> None:
    assert lapic.write_msr(APIC_BASE, 0xFEE00100)
    lapic.receive(0x50)
    lapic.lib.lapic_set_lint(lapic.state, 0, True)
    lapic.lib.lapic_set_lint(lapic.state, 1, True)
    assert lapic.extint
    assert not lapic.pending
    assert lapic.lib.lapic_take_nmi(lapic.state)


def test_extint_message(lapic: Lapic) -> None:
    lapic.receive(0, delivery=7)
    assert lapic.extint
    assert lapic.lib.lapic_take_extint(lapic.state)
    assert not lapic.extint


# ---- IPIs ----


@pytest.mark.parametrize(
    ("low", "sent"),
    [
        (0x00040, {"vector": 0x40, "delivery": 0, "logical": False, "shorthand": 0}),
        (0x00940, {"vector": 0x40, "delivery": 1, "logical": True}),
        (0x40040, {"shorthand": 1}),
        (0x80040, {"shorthand": 2}),
        (0xC4440, {"delivery": 4, "shorthand": 3}),
        (0x04500, {"delivery": 5}),
        (0x0C500, {"delivery": 5}),
        (0x08500, None),  # INIT level de-assert
        (0x04608, {"delivery": 6, "vector": 8}),
        (0x0000F, None),
    ],
)
def test_icr(lapic: Lapic, low: int, sent: dict[str, int] | None) -> None:
    lapic.write(0x310, 0xA5000000)
    assert lapic.write(0x300, low) == (sent is not None)
    if sent is not None:
        assert lapic.message.destination == 0xA5
        for name, value in sent.items():
            assert getattr(lapic.message, name) == value
    assert lapic.read(0x300) == low


@pytest.mark.parametrize(
    ("ldr", "dfr", "logical", "destination", "meant"),
    [
        (0x02, 0xF, False, 0x00, True),
        (0x02, 0xF, False, 0x02, False),
        (0x02, 0xF, False, 0xFF, False),
        (0x02, 0xF, False, 0xFFFFFFFF, True),
        (0x02, 0xF, True, 0x02, True),
        (0x02, 0xF, True, 0x07, True),
        (0x02, 0xF, True, 0x05, False),
        (0x02, 0xF, True, 0xFFFFFFFF, True),
        (0x32, 0x0, True, 0x32, True),
        (0x32, 0x0, True, 0x3F, True),
        (0x32, 0x0, True, 0x3D, False),
        (0x32, 0x0, True, 0x22, False),
        (0x32, 0x0, True, 0xFF, False),
        (0x32, 0x0, True, 0xFFFFFFFF, True),
    ],
)
def test_destinations(lapic: Lapic, ldr: int, dfr: int, logical: bool, destination: int, meant: bool) -> None:
    lapic.write(0xD0, ldr << 24)
    lapic.write(0xE0, dfr << 28)
    message = lapic.ffi.new("struct apic_message *", {"logical": logical, "destination": destination})
    assert lapic.lib.lapic_addressed(lapic.state, message) == meant


# ---- the timer ----

DIVIDERS = {0b0000: 2, 0b0001: 4, 0b0010: 8, 0b0011: 16, 0b1000: 32, 0b1001: 64, 0b1010: 128, 0b1011: 1}


@pytest.mark.parametrize(("divide", "factor"), DIVIDERS.items())
def test_one_shot(lapic: Lapic, divide: int, factor: int) -> None:
    lapic.lvt(TIMER, 0x40)
    lapic.write(0x3E0, divide)
    lapic.write(0x380, 1000, now=500)
    assert lapic.deadline == 500 + 1000 * factor
    assert lapic.read(0x390, now=500) == 1000
    assert lapic.read(0x390, now=500 + factor) == 999
    assert lapic.read(0x390, now=500 + 10 * factor - 1) == 991
    assert lapic.read(0x390, now=499 + 1000 * factor) == 1
    lapic.advance(499 + 1000 * factor)
    assert not lapic.pending
    lapic.advance(500 + 1000 * factor)
    assert lapic.ack() == 0x40
    assert lapic.deadline == NEVER
    assert lapic.read(0x390, now=10**9) == 0
    assert lapic.read(0x380) == 1000


def test_periodic(lapic: Lapic) -> None:
    lapic.lvt(TIMER, PERIODIC | 0x40)
    lapic.write(0x3E0, 0b1011)
    lapic.write(0x380, 1000)
    for fire in range(1, 5):
        assert lapic.deadline == 1000 * fire
        lapic.advance(lapic.deadline)
        assert lapic.ack() == 0x40
        lapic.write(0xB0, 0)
    lapic.advance(10**15 + 1)
    assert lapic.deadline == 10**15 + 1000
    lapic.write(0x380, 0, now=10**15 + 2)
    assert lapic.deadline == NEVER


def test_masked_timer_counts_in_silence(lapic: Lapic) -> None:
    lapic.lvt(TIMER, MASK | 0x40)
    lapic.write(0x380, 0xFFFFFFFF)
    assert lapic.read(0x390, now=2000) == 0xFFFFFFFF - 1000
    lapic.advance(2 * 0xFFFFFFFF)
    assert not lapic.pending


def test_divider_change_keeps_the_count(lapic: Lapic) -> None:
    lapic.write(0x3E0, 0b1011)
    lapic.write(0x380, 1000)
    lapic.write(0x3E0, 0b0011, now=400)
    assert lapic.read(0x390, now=400) == 600
    assert lapic.deadline == 400 + 600 * 16


def test_tsc_deadline(lapic: Lapic) -> None:
    assert lapic.write_msr(DEADLINE_MSR, 123)
    assert lapic.read_msr(DEADLINE_MSR) == 0  # ignored in the other modes
    lapic.lvt(TIMER, TSC_DEADLINE | 0x40)
    lapic.write(0x380, 5)
    assert lapic.deadline == NEVER  # and the count register here
    lapic.write_msr(DEADLINE_MSR, 9000, now=1000, tsc=5000)
    assert lapic.deadline == 5000
    assert lapic.read_msr(DEADLINE_MSR) == 9000
    assert lapic.read(0x390, now=1000) == 0
    lapic.advance(5000)
    assert lapic.ack() == 0x40
    assert lapic.read_msr(DEADLINE_MSR) == 0
    lapic.write_msr(DEADLINE_MSR, 1, now=6000, tsc=10000)
    assert lapic.deadline == 6000  # in the past: at once
    lapic.write_msr(DEADLINE_MSR, 0, now=6000, tsc=10000)
    assert lapic.deadline == NEVER
    lapic.write_msr(DEADLINE_MSR, NEVER, now=6000, tsc=10)
    assert lapic.deadline == NEVER
    assert lapic.read_msr(DEADLINE_MSR) == NEVER
    lapic.lvt(TIMER, 0x40)
    assert lapic.read_msr(DEADLINE_MSR) == 0  # leaving the mode disarms


@pytest.mark.parametrize(
    ("value", "good"),
    [
        (0xFEE00900, True), (0xFEE00800, True), (0x7F12345900, True), (0xFEE00D00, False), (0xFEE00901, False),
        (0xFEE00A00, False), (0x8000000900, False), (1 << 63, False),
    ],
)  # fmt: skip
def test_apic_base(lapic: Lapic, value: int, good: bool) -> None:
    assert lapic.write_msr(APIC_BASE, value) == good
    assert lapic.read_msr(APIC_BASE) == (value if good else 0xFEE00900)


def test_disabling_forgets(lapic: Lapic) -> None:
    lapic.receive(0x50)
    lapic.write(0x380, 1000)
    lapic.write_msr(APIC_BASE, 0xFEE00100)
    lapic.write_msr(APIC_BASE, 0xFEE00900)
    assert not lapic.pending
    assert lapic.deadline == NEVER
    assert lapic.read(0xF0) == 0xFF


@pytest.mark.parametrize("index", [0, 0x1A, 0x1C, 0x800, 0x8FF, 0xFFFFFFFF])
def test_other_msrs(lapic: Lapic, index: int) -> None:
    assert lapic.read_msr(index) is None
    assert not lapic.write_msr(index, 0)


@given(
    initial=st.integers(1, 2**32 - 1),
    divide=st.sampled_from(sorted(DIVIDERS)),
    mode=st.sampled_from([0, PERIODIC]),
    cuts=st.lists(st.integers(0, 2**42), max_size=10),
)
def test_one_step_or_many(lib: Any, ffi: Any, initial: int, divide: int, mode: int, cuts: list[int]) -> None:
    one, many = Lapic(lib, ffi), Lapic(lib, ffi)
    for lapic in (one, many):
        lapic.lvt(TIMER, mode | 0x40)
        lapic.write(0x3E0, divide)
        lapic.write(0x380, initial)
    for cut in sorted(cuts):
        many.advance(cut)
    one.advance(2**42)
    many.advance(2**42)
    assert ffi.buffer(one.state)[:] == ffi.buffer(many.state)[:]
    period = initial * DIVIDERS[divide]
    assert one.pending == (period <= 2**42)
    if mode and period <= 2**42:
        assert one.deadline == (2**42 // period + 1) * period
