"""The parallel port without a printer."""

from __future__ import annotations

from typing import Any

import pytest

DATA, STATUS, CONTROL = range(3)


@pytest.fixture
def parallel(lib: Any, ffi: Any) -> Any:
    parallel = ffi.new("struct parallel *")
    lib.parallel_reset(parallel)
    return parallel


def test_firmware_finds_the_port_by_its_latch(lib: Any, parallel: Any) -> None:
    for value in (0xAA, 0x55, 0xFF, 0):
        lib.parallel_write(parallel, DATA, value)
        assert lib.parallel_read(parallel, DATA) == value
    lib.parallel_write(parallel, CONTROL, 0x20)
    assert lib.parallel_read(parallel, DATA) == 0xFF  # what comes in: nobody drives the lines


@pytest.mark.parametrize("value", [0, 0x0C, 0x15, 0x1F, 0xFF])
def test_control_latch(lib: Any, parallel: Any, value: int) -> None:
    lib.parallel_write(parallel, CONTROL, value)
    assert lib.parallel_read(parallel, CONTROL) == 0xE0 | value & 0x1F


def test_the_printer_that_is_not_there_is_busy(lib: Any, parallel: Any) -> None:
    for value in (0, 0xFF):
        lib.parallel_write(parallel, STATUS, value)
        assert lib.parallel_read(parallel, STATUS) == 0x7F
    assert lib.parallel_read(parallel, 3) == 0xFF
