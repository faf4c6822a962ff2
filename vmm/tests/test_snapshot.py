"""A machine's state saved and restored: it goes on to the same instruction count and state."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest
from test_floppies import floppy_spec, make_image

from bringup.vmm.boot import fw_cfg
from bringup.vmm.machine import DEBUG_PORT, ExitKind, Limits, Machine, MachineError
from bringup.vmm.screen import keys
from bringup.vmm.spec import MIB, Accel, MachineSpec
from bringup.vmm.storage.image import FLOPPY_KIB

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


# ---- at any instant ----


def media() -> list[Path]:
    """Floppies in the folders of BRINGUP_MEDIA."""
    folders = [Path(folder) for folder in os.environ.get("BRINGUP_MEDIA", "").split(os.pathsep) if folder]
    return sorted(
        path for folder in folders for path in folder.glob("*.img") if path.stat().st_size >> 10 in FLOPPY_KIB
    )


def compare_at(machine_spec: MachineSpec, instants: list[int]) -> None:
    """A machine that runs through, and a row of machines of which each goes on from the snapshot of the one before: at
    each instant all that is seen of them is the same."""
    with Machine(machine_spec) as through:
        before, snapshot = through.state_hash(), through.save()
        for instant in instants:
            with Machine(machine_spec) as other:
                other.restore(snapshot)
                assert other.state_hash() == before
                type_the_same((through, other), instant)
                ends = [each.run(Limits(count=instant)) for each in (through, other)]
                assert ends[0] == ends[1]
                before = through.state_hash()
                assert other.state_hash() == before, f"between the last snapshot and {instant}"
                assert through.screen() == other.screen()
                for channel in (0, DEBUG_PORT) if instant % 2 else ():  # else it waits, and is saved
                    assert through.receive(channel) == other.receive(channel)
                snapshot = other.save()
            if ends[0].kind is not ExitKind.LIMIT:
                return


def type_the_same(machines: tuple[Machine, ...], instant: int) -> None:
    """A key, the mouse, a byte at COM1, now and then."""
    for machine in machines:
        if instant % 3 == 0:
            machine.press([keys.event(keys.number("a"), True), keys.event(keys.number("a"), False, 100)])
        if instant % 5 == 0:
            machine.move(instant % 7, -3)
        if instant % 4 == 0:
            machine.send(0, b"x")


@pytest.mark.skipif(not SEABIOS.exists(), reason=f"{SEABIOS} is not there: Debian's package seabios has it")
@pytest.mark.parametrize("accel", list(Accel), ids=lambda accel: accel.name.lower())
@pytest.mark.parametrize("seed", range(3))
def test_at_random_instants_of_a_boot(tmp_path: Path, accel: Accel, seed: int) -> None:
    """SeaBIOS and a boot sector that reads and writes a floppy, to their end; some instants lie close together."""
    make_image(tmp_path / "floppy", 1440, write=True)
    machine_spec = floppy_spec(tmp_path / "floppy", accel)
    with Machine(machine_spec) as machine:
        whole = machine.run(Limits(count=300_000_000)).count
    source = random.Random(seed)
    instants = {source.randrange(1, whole) for _ in range(6)}
    instants |= {instant + source.randrange(1, 5000) for instant in instants}
    compare_at(machine_spec, [*sorted(instants), 300_000_000])


@pytest.mark.skipif(not SEABIOS.exists(), reason=f"{SEABIOS} is not there: Debian's package seabios has it")
@pytest.mark.parametrize("path", media(), ids=lambda path: path.stem)
def test_at_random_instants_of_a_guest(path: Path) -> None:
    """The first instructions of whatever floppies there are."""
    source = random.Random(path.name)
    compare_at(floppy_spec(path), sorted(source.randrange(1, 120_000_000) for _ in range(10)))
