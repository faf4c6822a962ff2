"""The MP table, read as guests read it (MultiProcessor Specification 1.4, chapter 4)."""

from __future__ import annotations

import struct

import pytest

from bringup.vmm.boot import BIOS_DATA, Image, acpi, firmware, mptable
from bringup.vmm.machine import Registers
from bringup.vmm.spec import MIB

SIZES = {0: 20, 1: 8, 2: 8, 3: 8, 4: 8}


def entries(table: bytes) -> list[bytes]:
    found, at = [], 44
    while at < len(table):
        found.append(table[at : at + SIZES[table[at]]])
        at += SIZES[table[at]]
    return found


@pytest.mark.parametrize("cpus", [1, 2, 254])
def test_the_table_is_whole(cpus: int) -> None:
    data = mptable.tables(cpus)
    pointer, table = data[:16], data[16:]
    signature, address, length, revision = struct.unpack_from("<4sIBB", pointer)
    assert (signature, address, length, revision) == (b"_MP_", mptable.FLOATING_POINTER + 16, 1, 4)
    assert sum(pointer) & 0xFF == 0
    assert mptable.FLOATING_POINTER % 16 == 0 and 0xF0000 <= mptable.FLOATING_POINTER <= 0xFFFF0 - len(data)
    signature, length, revision = struct.unpack_from("<4sHB", table)
    assert (signature, length, revision) == (b"PCMP", len(table), 4)
    assert sum(table) & 0xFF == 0
    count, lapic = struct.unpack_from("<HI", table, 34)
    assert (count, lapic) == (len(entries(table)), acpi.LAPIC)


def test_processors_and_wires() -> None:
    found = entries(mptable.tables(3)[16:])
    processors = [(entry[1], entry[3]) for entry in found if entry[0] == 0]
    assert processors == [(0, 3), (1, 1), (2, 1)], "APIC id; enabled, the first one boots"
    assert [entry[2:8] for entry in found if entry[0] == 1] == [b"ISA   "]
    ioapic = next(entry for entry in found if entry[0] == 2)
    assert (ioapic[1], ioapic[3], struct.unpack_from("<I", ioapic, 4)[0]) == (acpi.IOAPIC_ID, 1, acpi.IOAPIC)
    wires = {entry[5]: entry[7] for entry in found if entry[0] == 3 and entry[1] == 0}
    assert wires == {0: acpi.PIT_PIN} | {irq: irq for irq in range(1, 16) if irq != 2}
    local = {entry[7]: (entry[1], entry[6]) for entry in found if entry[0] == 4}
    assert local == {0: (3, 0xFF), 1: (1, 0xFF)}, "ExtINT at LINT0, NMI at LINT1, of all"


def test_it_is_there_for_several_processors() -> None:
    def places(cpus: int) -> list[int]:
        image = Image(Registers())
        firmware.install(image, 64 * MIB, cpus)
        return [gpa for gpa, _ in image.chunks]

    assert places(1) == [BIOS_DATA, acpi.RSDP]
    assert places(2) == [BIOS_DATA, acpi.RSDP, mptable.FLOATING_POINTER]


@pytest.mark.parametrize("cpus", [1, 16, 17, 254])
def test_acpi_names_each_processor_once(cpus: int) -> None:
    tables = acpi.tables(64 * MIB, cpus)
    assert acpi.RSDP + len(tables) <= mptable.FLOATING_POINTER
    lapics = [acpi.madt(cpus)[44 + 8 * cpu :][:8] for cpu in range(cpus)]
    assert [(entry[0], entry[2], entry[3], entry[4]) for entry in lapics] == [(0, n, n, 1) for n in range(cpus)]
    assert tables.count(b"ACPI0007") == cpus
    names = [b"CPU%X" % cpu if cpu < 16 else b"C%03X" % cpu for cpu in range(cpus)]
    assert all(tables.count(name + b"\x08_HID") == 1 for name in names)
