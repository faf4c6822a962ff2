"""The 8259A pair."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

MASTER, SLAVE = 0, 1


class Pic:
    def __init__(self, lib: Any, ffi: Any, icw4: int = 1, icw1: int = 0x11) -> None:
        self.lib, self.state = lib, ffi.new("struct pic *")
        lib.pic_reset(self.state)
        for unit, vector, cascade in ((MASTER, 0x20, 4), (SLAVE, 0x28, 2)):
            self.command(icw1, unit)
            for value in (vector, cascade, icw4)[: 3 if icw1 & 1 else 2]:
                self.mask(value, unit)
            self.mask(0, unit)

    def command(self, value: int, unit: int = MASTER) -> None:
        self.lib.pic_write(self.state, unit, 0, value)

    def mask(self, value: int, unit: int = MASTER) -> None:
        self.lib.pic_write(self.state, unit, 1, value)

    def raise_(self, *irqs: int) -> None:
        for irq in irqs:
            self.lib.pic_set_irq(self.state, irq, True)

    def lower(self, *irqs: int) -> None:
        for irq in irqs:
            self.lib.pic_set_irq(self.state, irq, False)

    def irr(self, unit: int = MASTER) -> int:
        self.command(0x0A, unit)
        return int(self.lib.pic_read(self.state, unit, 0))

    def isr(self, unit: int = MASTER) -> int:
        self.command(0x0B, unit)
        return int(self.lib.pic_read(self.state, unit, 0))

    @property
    def intr(self) -> bool:
        return bool(self.state.intr)

    def ack(self) -> int:
        return int(self.lib.pic_acknowledge(self.state))


@pytest.fixture
def pic(lib: Any, ffi: Any) -> Pic:
    return Pic(lib, ffi)


def test_linux_probe_reads_the_mask_back(pic: Pic) -> None:
    pic.mask(0xFF, SLAVE)
    pic.mask(0xFB)
    assert pic.lib.pic_read(pic.state, MASTER, 1) == 0xFB


@pytest.mark.parametrize("irq", [i for i in range(16) if i != 2])
def test_each_irq_has_its_vector(pic: Pic, irq: int) -> None:
    pic.raise_(irq)
    assert pic.intr
    assert pic.ack() == 0x20 + irq
    assert not pic.intr
    unit = SLAVE if irq >= 8 else MASTER
    assert pic.isr(unit) == 1 << irq % 8
    assert pic.isr(MASTER) == (4 if irq >= 8 else 1 << irq)
    if irq >= 8:
        pic.command(0x20, SLAVE)
    pic.command(0x20)
    assert (pic.isr(MASTER), pic.isr(SLAVE)) == (0, 0)


def test_fixed_priority_nests(pic: Pic) -> None:
    pic.raise_(4, 6)
    assert pic.ack() == 0x24
    assert not pic.intr  # 6 waits for the end of 4
    pic.raise_(1)
    assert pic.ack() == 0x21
    pic.command(0x20)
    assert not pic.intr
    pic.command(0x20)
    assert pic.ack() == 0x26


def test_edges_latch_once_and_fall_away(pic: Pic) -> None:
    pic.raise_(3)
    assert pic.ack() == 0x23
    pic.command(0x20)
    assert not pic.intr  # still high: no new edge
    pic.lower(3)
    pic.raise_(3)
    assert pic.intr
    pic.lower(3)  # withdrawn before INTA
    assert not pic.intr
    assert pic.ack() == 0x27  # spurious
    assert pic.isr() == 0


def test_spurious_of_the_slave_is_in_service_at_the_master(pic: Pic) -> None:
    pic.mask(0, SLAVE)
    pic.raise_(10)
    pic.command(0x68, SLAVE)  # special mask mode, then mask the request away between INT and INTA
    pic.state.unit[SLAVE].imr = 0xFF
    assert pic.ack() == 0x2F
    assert (pic.isr(MASTER), pic.isr(SLAVE)) == (4, 0)


def test_level_triggered_by_elcr(pic: Pic) -> None:
    pic.lib.pic_write_elcr(pic.state, MASTER, 0xFF)
    pic.lib.pic_write_elcr(pic.state, SLAVE, 0xFF)
    assert pic.lib.pic_read_elcr(pic.state, MASTER) == 0xF8
    assert pic.lib.pic_read_elcr(pic.state, SLAVE) == 0xDE
    pic.raise_(9)
    assert pic.ack() == 0x29
    pic.command(0x20, SLAVE)
    pic.command(0x20)
    assert pic.ack() == 0x29  # the line is still high
    pic.lower(9)
    pic.command(0x20, SLAVE)
    pic.command(0x20)
    assert not pic.intr


def test_masking_keeps_the_request(pic: Pic) -> None:
    pic.mask(0x10)
    pic.raise_(4)
    assert not pic.intr
    assert pic.irr() == 0x10
    pic.mask(0)
    assert pic.ack() == 0x24


def test_slave_interrupts_again_while_more_wait(pic: Pic) -> None:
    pic.raise_(12, 14)
    assert pic.ack() == 0x2C
    pic.command(0x20, SLAVE)
    pic.command(0x20)
    assert pic.ack() == 0x2E


def test_special_fully_nested_mode(lib: Any, ffi: Any) -> None:
    pic = Pic(lib, ffi, icw4=0x11)
    pic.raise_(14)
    assert pic.ack() == 0x2E
    pic.raise_(8)  # of higher priority in the same slave
    assert pic.intr
    assert pic.ack() == 0x28


def test_without_it_the_master_waits(pic: Pic) -> None:
    pic.raise_(14)
    pic.ack()
    pic.raise_(8)
    assert not pic.intr


def test_automatic_eoi(lib: Any, ffi: Any) -> None:
    pic = Pic(lib, ffi, icw4=3)
    pic.raise_(5, 11)
    assert pic.ack() == 0x2B
    assert (pic.isr(MASTER), pic.isr(SLAVE)) == (0, 0)
    assert pic.ack() == 0x25
    pic.raise_(12, 14)  # the slave's INT falls during INTA: the second is an edge of its own
    assert pic.ack() == 0x2C
    assert pic.ack() == 0x2E
    assert not pic.intr


def test_rotation(pic: Pic) -> None:
    pic.command(0xC3)  # set priority: 3 lowest, 4 highest
    pic.raise_(3, 4, 0)
    assert pic.ack() == 0x24
    pic.command(0xA0)  # rotate on non-specific EOI: now 4 is lowest
    pic.raise_(5)
    pic.lower(4)
    pic.raise_(4)
    assert pic.ack() == 0x25
    pic.command(0x65)  # specific EOI
    assert pic.ack() == 0x20
    pic.command(0xE0)  # rotate on specific EOI of 0
    assert pic.ack() == 0x23
    pic.command(0x20)
    assert pic.ack() == 0x24


def test_rotation_in_automatic_eoi(lib: Any, ffi: Any) -> None:
    pic = Pic(lib, ffi, icw4=3)
    pic.command(0x80)
    pic.raise_(0, 1)
    assert pic.ack() == 0x20
    pic.lower(0)
    pic.raise_(0)
    assert pic.ack() == 0x21  # 0 fell to the lowest priority
    assert pic.ack() == 0x20


def test_special_mask_mode(pic: Pic) -> None:
    pic.raise_(1)
    pic.ack()
    pic.raise_(6)
    assert not pic.intr
    pic.mask(0x02)
    assert not pic.intr
    pic.command(0x68)
    assert pic.ack() == 0x26
    pic.command(0x20)  # a non-specific EOI passes over the masked one
    assert pic.isr() == 0x02
    pic.command(0x48)
    pic.command(0x20)
    assert pic.isr() == 0


def test_poll(pic: Pic) -> None:
    pic.raise_(10)
    pic.command(0x0C, SLAVE)
    assert pic.lib.pic_read(pic.state, SLAVE, 0) == 0x82
    assert pic.isr(SLAVE) == 0x04
    pic.command(0x0C, SLAVE)
    assert pic.lib.pic_read(pic.state, SLAVE, 0) == 0
    pic.raise_(3)
    pic.command(0x0C)
    assert pic.lib.pic_read(pic.state, MASTER, 0) == 0x83
    assert not pic.intr


def test_icw1_starts_over(pic: Pic) -> None:
    pic.raise_(3, 6)
    pic.ack()
    pic.command(0xC5)
    pic.command(0x11)
    assert (pic.irr(), pic.isr()) == (0, 0)  # a level that is high already is no edge
    pic.mask(0x40)
    pic.mask(4)
    pic.mask(1)
    assert pic.lib.pic_read(pic.state, MASTER, 1) == 0
    pic.lower(6)
    pic.raise_(6)
    assert pic.ack() == 0x46


def test_initialization_without_icw4_and_single(lib: Any, ffi: Any) -> None:
    pic = Pic(lib, ffi, icw1=0x10)  # ICW3 but no ICW4
    pic.mask(0x55)
    assert lib.pic_read(pic.state, MASTER, 1) == 0x55
    pic.command(0x12)  # single, no ICW4: only ICW2 follows
    pic.mask(0x60)
    pic.mask(0xAA)
    assert lib.pic_read(pic.state, MASTER, 1) == 0xAA


def test_level_mode_by_icw1(lib: Any, ffi: Any) -> None:
    pic = Pic(lib, ffi, icw1=0x19)
    pic.raise_(7)
    assert pic.ack() == 0x27
    pic.command(0x20)
    assert pic.ack() == 0x27


OPERATIONS = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 1), st.integers(0, 1), st.integers(0, 255)),
    st.tuples(st.just("read"), st.integers(0, 1), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("elcr"), st.integers(0, 1), st.just(0), st.integers(0, 255)),
    st.tuples(st.just("irq"), st.integers(0, 15).filter(lambda i: i != 2), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("ack"), st.just(0), st.just(0), st.just(0)),
)


@given(st.lists(OPERATIONS, max_size=60))
def test_invariants_under_anything(lib: Any, ffi: Any, operations: list[tuple[str, int, int, int]]) -> None:
    pic = Pic(lib, ffi)
    for kind, a, b, value in operations:
        if kind == "write":
            lib.pic_write(pic.state, a, b, value)
        elif kind == "read":
            lib.pic_read(pic.state, a, b)
        elif kind == "elcr":
            lib.pic_write_elcr(pic.state, a, value)
        elif kind == "irq":
            lib.pic_set_irq(pic.state, a, bool(b))
        else:
            asked = pic.intr
            bases = [pic.state.unit[unit].icw2 for unit in (0, 1)]
            vector = pic.ack()
            assert vector & 0xF8 in bases
            assert asked or vector == bases[0] | 7
        for unit in pic.state.unit:
            assert unit.irr & ~unit.lines == 0  # a request is a line that is held
            assert unit.lowest < 8
        assert not pic.intr or pic.state.unit[0].irr & ~pic.state.unit[0].imr
