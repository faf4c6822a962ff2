"""The first programs that the whole stack runs."""

from __future__ import annotations

import pytest
import tiny

from bringup.vmm.machine import ExitKind, Limits, Machine
from bringup.vmm.spec import Accel, MachineSpec

MIB = 1 << 20


def climb(accel: Accel) -> tuple[bytes, int, int]:
    with Machine(MachineSpec(memory=4 * MIB, accel=accel)) as machine:
        tiny.start(machine, tiny.program("climb.s"))
        end = machine.run(Limits(count=100_000))
        assert end.kind == ExitKind.POWER_OFF, end
        return machine.receive(0).data, end.count, end.time


@pytest.mark.parametrize("accel", [Accel.VTX, Accel.BARE])
def test_from_real_mode_to_long_mode(accel: Accel) -> None:
    output, _, _ = climb(accel)
    assert output == b"16-bit real mode\r\n32-bit paging\r\n64-bit mode\r\n"


def test_counts_are_equal_with_and_without_the_hypervisor() -> None:
    assert climb(Accel.VTX) == climb(Accel.BARE)


def test_counts_are_equal_in_every_run() -> None:
    assert len({climb(Accel.VTX) for _ in range(5)}) == 1
