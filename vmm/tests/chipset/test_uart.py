"""The 16550A."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

NEVER = 2**64 - 1
RBR, THR, IER, IIR, FCR, LCR, MCR, LSR, MSR, SCR = 0, 0, 1, 2, 2, 3, 4, 5, 6, 7
NONE, MODEM, THRE, DATA, LINE, TIMEOUT = 1, 0, 2, 4, 6, 0xC
FIFOS = 0xC0
CHARACTER = 86805  # ns: 10 bits at 115200


class Uart:
    def __init__(self, lib: Any, ffi: Any) -> None:
        self.lib, self.ffi = lib, ffi
        self.state = ffi.new("struct uart *")
        self.now = 0
        lib.uart_reset(self.state)
        self.write(LCR, 3)

    def read(self, register: int) -> int:
        return int(self.lib.uart_read(self.state, register, self.now))

    def write(self, register: int, value: int) -> bool:
        return bool(self.lib.uart_write(self.state, register, value, self.now))

    def type(self, data: bytes) -> int:
        return int(self.lib.uart_input(self.state, data, len(data), self.now))

    @property
    def deadline(self) -> int:
        return int(self.lib.uart_deadline(self.state))

    def settle(self) -> None:
        """What is due now happens, as on the board after each access."""
        if self.deadline <= self.now:
            self.lib.uart_advance(self.state, self.now)

    def wait(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        self.settle()

    @property
    def irq(self) -> bool:
        return bool(self.state.irq)


@pytest.fixture
def uart(lib: Any, ffi: Any) -> Uart:
    return Uart(lib, ffi)


def test_reset(uart: Uart) -> None:
    assert [uart.read(r) for r in (IER, IIR, MCR, LSR, MSR, SCR)] == [0, NONE, 0, 0x60, 0xB0, 0]
    assert uart.deadline == NEVER


@pytest.mark.parametrize(("register", "kept"), [(IER, 0x0F), (LCR, 0xFF), (MCR, 0x1F), (SCR, 0xFF)])
def test_writable_bits(uart: Uart, register: int, kept: int) -> None:
    for value in (0xFF, 0x55, 0xAA, 0):
        uart.write(register, value)
        assert uart.read(register) == value & kept
        uart.write(LCR, 3)


def test_divisor_latch(uart: Uart) -> None:
    uart.write(IER, 5)
    uart.write(LCR, 0x83)
    assert (uart.read(0), uart.read(1)) == (1, 0)
    assert not uart.write(0, 0x34)
    uart.write(1, 0x12)
    assert (uart.read(0), uart.read(1)) == (0x34, 0x12)
    uart.write(LCR, 3)
    assert uart.read(IER) == 5


def test_linux_sees_a_16550a(uart: Uart) -> None:
    """8250's autoconfig: IER, scratch, FIFO bits, loopback, and no features of later chips."""
    for value in (0x00, 0x0F):
        uart.write(IER, value)
        assert uart.read(IER) & 0x0F == value
    uart.write(IER, 0)
    uart.write(MCR, 0x1A)
    assert uart.read(MSR) & 0xF0 == 0x90
    uart.write(MCR, 0)
    uart.write(LCR, 0xBF)
    assert uart.read(2) != 0  # no EFR
    uart.write(LCR, 0)
    uart.write(FCR, 1)
    assert uart.read(IIR) >> 6 == 3
    uart.write(FCR, 0x27)  # the 64-byte FIFO of a 16750
    assert not uart.read(IIR) & 0x20


def test_linux_sees_no_thre_bug(uart: Uart) -> None:
    uart.write(MCR, 8)
    for _ in range(2):
        uart.write(IER, 2)
        assert uart.irq
        assert uart.read(IIR) == THRE
        assert not uart.irq
        assert uart.read(IIR) == NONE
        uart.write(IER, 0)


def test_transmit_takes_no_time(uart: Uart) -> None:
    for byte in b"hello":
        assert uart.write(THR, byte)
        assert uart.read(LSR) == 0x60
    assert uart.deadline == NEVER


def test_transmit_interrupt_falls_and_rises_with_each_byte(uart: Uart) -> None:
    uart.write(MCR, 8)
    uart.write(IER, 2)
    assert uart.write(THR, 65)
    assert not uart.irq
    assert uart.deadline == uart.now
    uart.settle()
    assert uart.irq
    assert uart.read(IIR) == THRE


def test_receive_without_fifo(uart: Uart) -> None:
    uart.write(MCR, 8)
    uart.write(IER, 1)
    assert uart.type(b"ab") == 2
    assert not uart.irq
    uart.wait(CHARACTER - 1)
    assert not uart.irq
    uart.wait(1)
    assert uart.irq
    uart.wait(10 * CHARACTER)  # the other end waits: no overrun
    assert uart.read(LSR) == 0x61
    assert uart.read(IIR) == DATA
    assert uart.read(RBR) == ord("a")
    assert not uart.irq
    assert uart.read(LSR) == 0x60
    assert uart.read(RBR) == ord("a")  # the holding register keeps it
    uart.wait(CHARACTER)
    assert uart.irq
    assert uart.read(RBR) == ord("b")
    assert uart.deadline == NEVER


@pytest.mark.parametrize(("trigger", "level"), [(0, 1), (1, 4), (2, 8), (3, 14)])
def test_fifo_trigger_and_timeout(uart: Uart, trigger: int, level: int) -> None:
    uart.write(MCR, 8)
    uart.write(FCR, trigger << 6 | 1)
    uart.write(IER, 1)
    uart.type(bytes(range(level)))
    uart.wait(CHARACTER * level - 1)
    assert uart.read(IIR) == FIFOS | NONE
    uart.wait(1)
    assert uart.read(IIR) == FIFOS | DATA
    uart.read(RBR)
    expected = NONE
    if level > 1:
        assert uart.read(IIR) == FIFOS | NONE
        uart.wait(4 * CHARACTER - 1)
        assert not uart.irq
        uart.wait(1)
        assert uart.irq
        expected = TIMEOUT
    assert uart.read(IIR) == FIFOS | expected
    for byte in range(1, level):
        assert uart.read(LSR) & 1
        assert uart.read(RBR) == byte
        assert uart.read(IIR) == FIFOS | NONE
    assert uart.read(LSR) == 0x60
    uart.wait(100 * CHARACTER)
    assert not uart.irq


def test_full_fifo_holds_the_line(uart: Uart) -> None:
    uart.write(FCR, 1)
    uart.type(bytes(range(40)))
    uart.wait(100 * CHARACTER)
    got = [uart.read(RBR)]
    for _ in range(100):
        uart.wait(CHARACTER)
        if uart.read(LSR) & 1:
            got.append(uart.read(RBR))
    assert got == list(range(40))
    assert not uart.read(LSR) & 2


def test_queue_is_bounded(uart: Uart) -> None:
    size = uart.lib.UART_QUEUE
    assert uart.type(bytes(size + 10)) == size
    assert uart.type(b"x") == 0
    uart.wait(CHARACTER)
    assert uart.type(b"xy") == 1


def test_fcr_clears_the_fifo(uart: Uart) -> None:
    uart.write(FCR, 1)
    uart.type(b"abc")
    uart.wait(3 * CHARACTER)
    uart.write(FCR, 0x81)
    assert uart.read(LSR) & 1
    uart.write(FCR, 0x83)
    assert not uart.read(LSR) & 1
    uart.type(b"d")
    uart.wait(CHARACTER)
    uart.write(FCR, 0)  # turning the FIFOs off clears them
    assert not uart.read(LSR) & 1
    assert uart.read(IIR) == NONE


@pytest.mark.parametrize(
    ("divisor", "lcr", "nanoseconds"),
    [
        (1, 0x03, 86805), (12, 0x03, 1041666), (1, 0x00, 60763), (1, 0x04, 65104), (1, 0x07, 95486), (1, 0x1F, 104166),
        (0, 0x03, 86805), (65535, 0x1F, 6826562500),
    ],
)  # fmt: skip
def test_character_time(uart: Uart, divisor: int, lcr: int, nanoseconds: int) -> None:
    uart.write(LCR, 0x80)
    uart.write(0, divisor & 0xFF)
    uart.write(1, divisor >> 8)
    uart.write(LCR, lcr)
    uart.type(b"x")
    assert uart.deadline == nanoseconds


def test_loopback_data(uart: Uart) -> None:
    uart.write(FCR, 1)
    uart.write(MCR, 0x10)
    uart.type(b"outside")
    for byte in range(16):
        assert not uart.write(THR, byte)
    assert uart.read(LSR) == 0x61
    uart.write(THR, 99)
    assert uart.read(LSR) == 0x63
    assert uart.read(LSR) == 0x61  # reading cleared OE
    assert [uart.read(RBR) for _ in range(16)] == list(range(16))
    uart.wait(1000 * CHARACTER)
    assert uart.read(LSR) == 0x60  # the line is cut off
    uart.write(MCR, 0)
    uart.wait(CHARACTER)
    assert uart.read(RBR) == ord("o")


def test_overrun_without_fifo_overwrites(uart: Uart) -> None:
    uart.write(MCR, 0x10)
    uart.write(IER, 4)
    uart.write(THR, 1)
    uart.write(THR, 2)
    assert uart.read(IIR) == LINE
    assert uart.read(LSR) == 0x63
    assert uart.read(IIR) == NONE
    assert uart.read(RBR) == 2


@pytest.mark.parametrize(
    ("mcr", "msr"), [(0x10, 0), (0x11, 0x20), (0x12, 0x10), (0x14, 0x40), (0x18, 0x80), (0x1F, 0xF0), (0x0F, 0xB0)]
)
def test_modem_lines(uart: Uart, mcr: int, msr: int) -> None:
    uart.write(MCR, mcr)
    assert uart.read(MSR) & 0xF0 == msr


def test_modem_deltas(uart: Uart) -> None:
    uart.write(MCR, 0x10)
    assert uart.read(MSR) == 0x0B  # DCD, DSR and CTS fell
    assert uart.read(MSR) == 0
    uart.write(MCR, 0x14)
    assert uart.read(MSR) == 0x40  # RI rose: only its trailing edge counts
    uart.write(IER, 8)
    uart.write(MCR, 0x10)
    assert uart.read(IIR) == MODEM
    assert uart.read(MSR) == 0x04
    assert uart.read(IIR) == NONE


def test_interrupt_priority(uart: Uart) -> None:
    uart.write(MCR, 0x10)
    uart.write(IER, 0x0F)
    uart.write(THR, 1)
    uart.write(THR, 2)
    uart.settle()
    seen = []
    for clear in (LSR, RBR, IIR, MSR):
        seen.append(uart.read(IIR))
        uart.read(clear)
    assert seen == [LINE, DATA, THRE, MODEM]
    assert uart.read(IIR) == NONE


@pytest.mark.parametrize(("mcr", "irq"), [(0, False), (8, True), (0x18, False), (7, False)])
def test_out2_gates_the_interrupt(uart: Uart, mcr: int, irq: bool) -> None:
    uart.write(MCR, mcr)
    uart.read(MSR)
    uart.write(IER, 2)
    assert uart.irq == irq


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(0, 10**7), st.just(0)),
        st.tuples(st.just("write"), st.integers(0, 7), st.integers(0, 255)),
        st.tuples(st.just("read"), st.integers(0, 7), st.just(0)),
        st.tuples(st.just("type"), st.integers(0, 5000), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS, st.lists(st.integers(1, 10**6), min_size=1, max_size=8))
def test_one_step_or_many(lib: Any, ffi: Any, steps: list[tuple[str, int, int]], strides: list[int]) -> None:
    one, many = Uart(lib, ffi), Uart(lib, ffi)
    for kind, a, b in steps:
        if kind == "wait":
            one.wait(a)
            left = a
            for stride in strides:
                many.wait(min(stride, left))
                left -= min(stride, left)
            many.wait(left)
            continue
        results: list[int] = []
        for uart in (one, many):
            match kind:
                case "write":
                    results.append(uart.write(a, b))
                case "read":
                    results.append(uart.read(a))
                case _:
                    results.append(uart.type(bytes(a)))
            uart.settle()
        assert results[0] == results[1]
        assert ffi.buffer(one.state)[:] == ffi.buffer(many.state)[:]
        assert one.state.fifo_used <= 16
        assert one.state.queue_used <= 4096
        assert one.deadline > one.now
