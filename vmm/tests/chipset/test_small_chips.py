"""ACPI PM, PCI host bridge and the AT's control ports."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

NEVER = 2**64 - 1
CARRY = 1 << 23
PM_HZ = 3_579_545


def at(tick: int) -> int:
    return -(-tick * 10**9 // PM_HZ)


# ---- ACPI PM ----


@pytest.fixture
def pm(lib: Any, ffi: Any) -> Any:
    pm = ffi.new("struct acpi_pm *")
    lib.acpi_pm_reset(pm)
    return pm


def event_word(lib: Any, pm: Any, byte: int, now: int = 0) -> int:
    return int(lib.acpi_pm_read_event(pm, byte, now) | lib.acpi_pm_read_event(pm, byte + 1, now) << 8)


@pytest.mark.parametrize("now", [0, 279, 280, 10**9, at(1 << 24) - 1, at(1 << 24), 100 * 366 * 86400 * 10**9])
def test_pm_timer(lib: Any, now: int) -> None:
    assert lib.acpi_pm_timer(now) == now * PM_HZ // 10**9 % (1 << 24)


def test_pm_power_button(lib: Any, pm: Any) -> None:
    lib.acpi_pm_press_power_button(pm)
    assert not pm.sci
    assert event_word(lib, pm, 0) == 0x100
    lib.acpi_pm_write_event(pm, 3, 1, 0)
    assert pm.sci
    lib.acpi_pm_write_event(pm, 0, 0xFF, 0)  # ones clear, but only in the byte written
    assert pm.sci
    lib.acpi_pm_write_event(pm, 1, 1, 0)
    assert not pm.sci
    assert event_word(lib, pm, 0) == 0


def test_pm_enable_bits(lib: Any, pm: Any) -> None:
    for byte in range(4):
        lib.acpi_pm_write_event(pm, byte, 0xFF, 0)
    assert event_word(lib, pm, 2) == 0x0721
    lib.acpi_pm_write_event(pm, 2, 0, 0)
    assert event_word(lib, pm, 2) == 0x0700
    assert event_word(lib, pm, 0) == 0


def test_pm_timer_carry_status(lib: Any, pm: Any) -> None:
    assert lib.acpi_pm_deadline(pm) == NEVER
    assert event_word(lib, pm, 0, at(CARRY) - 1) == 0
    assert event_word(lib, pm, 0, at(CARRY)) == 1  # set without being enabled
    lib.acpi_pm_write_event(pm, 2, 1, at(CARRY))
    assert pm.sci
    lib.acpi_pm_write_event(pm, 0, 1, at(CARRY))
    assert not pm.sci
    assert lib.acpi_pm_deadline(pm) == at(2 * CARRY)
    lib.acpi_pm_advance(pm, at(2 * CARRY))
    assert pm.sci
    assert lib.acpi_pm_deadline(pm) == NEVER


@pytest.mark.parametrize("byte", [0, 1])
def test_pm_control(lib: Any, pm: Any, byte: int) -> None:
    assert lib.acpi_pm_read_control(pm, 0) == 1  # ACPI mode, always
    off = [value for value in range(256) if lib.acpi_pm_write_control(pm, byte, value)]
    s5 = lib.ACPI_SLP_TYP_S5
    assert off == ([v for v in range(256) if v >> 5 & 1 and v >> 2 & 7 == s5] if byte else [])
    assert lib.acpi_pm_read_control(pm, 0) & 1
    assert not lib.acpi_pm_read_control(pm, 1) & 0x20  # SLP_EN is write only


# ---- control ports ----


@pytest.fixture
def control(lib: Any, ffi: Any) -> Any:
    control = ffi.new("struct system_control *")
    lib.system_control_reset(control)
    return control


def test_port_92(lib: Any, control: Any) -> None:
    assert lib.system_control_read_a(control) == 2
    assert not lib.system_control_write_a(control, 0)
    assert lib.system_control_write_a(control, 3)
    assert not lib.system_control_write_a(control, 3)  # the rising edge resets
    assert lib.system_control_read_a(control) == 3


def test_port_cf9(lib: Any, control: Any) -> None:
    assert not lib.system_control_write_reset(control, 0x02)
    assert lib.system_control_write_reset(control, lib.RESET_VALUE)
    assert not lib.system_control_write_reset(control, 0x06)
    lib.system_control_write_reset(control, 0)
    assert lib.system_control_write_reset(control, 0x0E)


def test_port_61(lib: Any, control: Any) -> None:
    assert lib.system_control_write_b(control, 0xFF)
    assert lib.system_control_read_b(control, False, 0) == 0x0F
    assert lib.system_control_read_b(control, True, 0) == 0x2F
    assert not lib.system_control_write_b(control, 0xFE)
    refresh = [lib.system_control_read_b(control, False, us * 1000) >> 4 & 1 for us in range(1000)]
    toggles = sum(a != b for a, b in pairwise(refresh))
    assert 65 <= toggles <= 67  # each 15.1 us


@pytest.mark.parametrize(
    ("text", "panics"),
    [
        (b"panic", True),
        (b"panic: no root\n", True),
        (b"booting\r\nKernel panic - not syncing", True),
        (b"x" * 300 + b"\npanic", True),
        (b"do not panic\n", False),
        (b"Kernel panics", True),
        (b"pan\nic\n", False),
        (b"Panic\n", False),
        (b"x" * 300 + b"panic", False),
    ],
)
def test_a_panic_on_the_debug_port(lib: Any, ffi: Any, text: bytes, panics: bool) -> None:
    port = ffi.new("struct debug_port *")
    lib.debug_port_reset(port)
    assert lib.debug_port_read(port) == 0xE9
    assert any(lib.debug_port_write(port, byte) for byte in text) == panics


def test_coprocessor_error(lib: Any, ffi: Any) -> None:
    """FERR#'s rising edge is latched; the handler's write holds IGNNE# until FERR# falls."""
    ferr = ffi.new("struct ferr *")
    lib.ferr_reset(ferr)
    pins = []
    for level in (True, None, True, None, False, True, False, None):
        if level is None:
            lib.ferr_write(ferr)
        else:
            lib.ferr_set_pin(ferr, level)
        pins.append((ferr.irq13, ferr.ignne))
    assert pins == [
        (True, False), (False, True), (False, True), (False, True), (False, False), (True, False), (True, False),
        (False, False),
    ]  # fmt: skip
