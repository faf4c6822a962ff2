"""A machine's state saved and restored: it goes on to the same instruction count and state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bringup.vmm.boot import fw_cfg
from bringup.vmm.machine import DEBUG_PORT, ExitKind, Limits, Machine, MachineError
from bringup.vmm.spec import MIB, Accel, MachineSpec

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
END = Limits(count=100_000_000)


def seabios(accel: Accel, memory: int = 16 * MIB, **changes: Any) -> MachineSpec:
    items = tuple(fw_cfg.items(fw_cfg.Firmware(memory, 1)))
    return MachineSpec(memory=memory, accel=accel, firmware=SEABIOS.read_bytes(), items=items, **changes)


@pytest.mark.skipif(not SEABIOS.exists(), reason=f"{SEABIOS} is not there: Debian's package seabios has it")
@pytest.mark.parametrize("accel", list(Accel), ids=lambda accel: accel.name.lower())
def test_goes_on_in_another_machine_as_in_the_first(accel: Accel) -> None:
    """Saved in ROM, in real mode, in protected mode, and in SeaBIOS's wait of a minute."""
    spec = seabios(accel)
    with Machine(spec) as machine:
        saved = []
        for count in (3, 10_000, 1_000_000, 3_333_333):
            assert machine.run(Limits(count=count)).kind is ExitKind.LIMIT
            saved.append((machine.save(), machine.state_hash()))
        machine.run(Limits(time=30 * 10**9))
        saved.append((machine.save(), machine.state_hash()))
        end = machine.run(END)
        assert end.kind is ExitKind.RESET
        for snapshot, state in saved:  # back in the same machine, and over to a new one
            with Machine(spec) as other:
                for each in (machine, other):
                    each.restore(snapshot)
                    assert each.state_hash() == state
                    assert each.run(END) == end
                assert machine.state_hash() == other.state_hash()


def test_output_that_nobody_took_is_kept() -> None:
    code = bytes.fromhex("b041 e6e9 f4")  # mov al, 41h; out e9h, al; hlt
    rom = code.rjust(0x10000 - 16 + len(code), b"\xcc").ljust(0x10000, b"\xcc")
    spec = MachineSpec(memory=2 * MIB, firmware=rom)
    with Machine(spec) as machine, Machine(spec) as other:
        machine.run(END)
        other.restore(machine.save())
        said = machine.receive(DEBUG_PORT)
        assert said.data == b"A" and other.receive(DEBUG_PORT) == said


@pytest.mark.parametrize(
    "other", [{"memory": 17 * MIB}, {"accel": Accel.BARE}, {"cpus": 2}, {"seed": 5}, {"cpu": "core2"}, {"slice": 77}]
)
def test_a_snapshot_of_another_machine_is_refused(other: dict[str, Any]) -> None:
    with (
        Machine(MachineSpec(memory=16 * MIB)) as machine,
        Machine(MachineSpec(**{"memory": 16 * MIB, **other})) as target,
    ):
        before = target.state_hash()
        with pytest.raises(MachineError, match="another configuration"):
            target.restore(machine.save())
        assert target.state_hash() == before


@pytest.mark.parametrize("cut", [1, 1000, 100_000])
def test_a_cut_snapshot_is_damaged(cut: int) -> None:
    with Machine(MachineSpec(memory=2 * MIB)) as machine:
        snapshot = machine.save()
        with pytest.raises(MachineError, match="damaged"):
            machine.restore(snapshot[:-cut])
        with pytest.raises(MachineError, match="damaged"):
            machine.restore(snapshot + b"x")
        with pytest.raises(MachineError, match="another configuration"):
            machine.restore(b"")
