"""Machine over the functions of machine.h, with a stand-in for the core."""

from __future__ import annotations

from typing import Any

import pytest

from bringup.vmm import cpumodel
from bringup.vmm.boot import Image
from bringup.vmm.machine import DEBUG_PORT, ExitKind, Limits, Machine, MachineError, Registers, Segment
from bringup.vmm.spec import MIB, Accel, Clock, MachineSpec, SpecError


def test_the_configuration_is_what_the_spec_says(fake_core: Any, guests: Any) -> None:
    core = fake_core(lambda machine: iter(()))
    spec = MachineSpec(memory=4 * MIB, accel=Accel.BARE, clock=Clock.HOST, seed=7, rtc=99, debug_exit=True)
    with Machine(spec, core):
        config = core.lib.machines[0].config
        assert (config.memory_bytes, config.accel, config.clock, config.cpus) == (4 * MIB, 1, 1, 1)
        assert (config.seed, config.rtc_seconds, config.debug_exit) == (7, 99, 1)
        rows = cpumodel.load("x86-64-v2").cpuid()
        assert config.cpuid_count == len(rows)
        for index, row in enumerate(rows):
            raw = config.cpuid[index]
            assert (raw.leaf, raw.subleaf, raw.eax, raw.ebx, raw.ecx, raw.edx) == row


def test_a_machine_is_destroyed_once(fake_core: Any) -> None:
    core = fake_core(lambda machine: iter(()))
    with Machine(MachineSpec(memory=2 * MIB), core) as machine:
        pass
    machine.close()
    assert core.lib.machines[0].ram is None


def test_a_refusal_carries_the_core_s_sentence(fake_core: Any) -> None:
    core = fake_core(lambda machine: iter(()))
    core.lib.refuse = "cannot map 2 MiB of memory"
    with pytest.raises(MachineError, match="cannot map 2 MiB of memory"):
        Machine(MachineSpec(memory=2 * MIB), core)


def test_memory_beyond_the_model_s_address_bits_is_refused(fake_core: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bringup.vmm.spec.MEMORY_MAXIMUM", 1 << 50)
    with pytest.raises(SpecError, match="1048576M of memory: CPU model 'x86-64-v2' has 40 address bits"):
        Machine(MachineSpec(memory=1 << 40), fake_core(lambda machine: iter(())))


def test_registers_round_trip(fake_core: Any) -> None:
    registers = Registers(rip=0xFFF0, cr0=0x60000010, efer=0x500, gdt_base=0x1234, gdt_limit=0xFFFF)
    registers.gpr = list(range(16))
    registers.segments = [Segment(selector=8 * i, base=i << 20, limit=i, access=0x93) for i in range(8)]
    registers.rflags = 0x202  # the stand-in shows interrupts as enabled
    with Machine(MachineSpec(memory=2 * MIB), fake_core(lambda machine: iter(()))) as machine:
        machine.set_registers(registers)
        assert machine.registers() == registers


def test_ram_outside_is_an_error_not_a_crash(fake_core: Any) -> None:
    with Machine(MachineSpec(memory=2 * MIB), fake_core(lambda machine: iter(()))) as machine:
        machine.load(Image(Registers(), [(0x1000, b"hello")]))
        assert machine.read_ram(0x1000, 5) == b"hello"
        for gpa, size in ((2 * MIB, 1), (2 * MIB - 1, 2), (1 << 40, 1)):
            with pytest.raises(MachineError, match="not RAM"):
                machine.read_ram(gpa, size)


def test_exits_and_output_come_back_typed(fake_core: Any, guests: Any) -> None:
    def guest(machine: Any) -> Any:
        yield guests.Work(10)
        yield guests.Print(b"ab")
        yield guests.Print(b"!", DEBUG_PORT)
        yield guests.End("INTERNAL", 3, "unknown exit reason 77")

    with Machine(MachineSpec(memory=2 * MIB), fake_core(guest)) as machine:
        machine.set_registers(Registers())
        assert machine.run(Limits(count=5)).kind is ExitKind.LIMIT
        assert machine.count == machine.time == 5
        end = machine.run(Limits())
        assert (end.kind, end.detail, end.reason) == (ExitKind.INTERNAL, 3, "unknown exit reason 77")
        output = machine.receive(0)
        assert output.data == b"ab"
        assert output.counts == (11).to_bytes(8, "little") + (12).to_bytes(8, "little")
        assert machine.receive(0).data == b""
        assert machine.receive(DEBUG_PORT).data == b"!"
        assert machine.exits() == {10: 7}


def test_output_of_any_length_is_read_whole(fake_core: Any, guests: Any) -> None:
    text = bytes(range(256)) * 200

    def guest(machine: Any) -> Any:
        yield guests.Print(text)
        yield guests.End("POWER_OFF")

    with Machine(MachineSpec(memory=2 * MIB), fake_core(guest, air_every=10**6)) as machine:
        machine.set_registers(Registers())
        machine.run(Limits())
        output = machine.receive(0)
        assert output.data == text
        assert memoryview(output.counts).cast("Q").tolist() == list(range(1, len(text) + 1))


@pytest.mark.parametrize(
    ("segment", "descriptor"),
    [
        (Segment(0x10, 0, 0xFFFFFFFF, 0xA09B), 0x00AF9B000000FFFF),
        (Segment(0x18, 0, 0xFFFFFFFF, 0xC093), 0x00CF93000000FFFF),
        (Segment(8, 0x12345678, 0x0ABCD, 0x0093), 0x1200933456780000 | 0xABCD),
    ],
)
def test_descriptors(segment: Segment, descriptor: int) -> None:
    assert segment.descriptor() == descriptor
