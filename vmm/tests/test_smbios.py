"""SMBIOS: the structures by a reader of our own, by dmidecode where it is installed, and as firmware places them."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bringup.vmm import cpumodel
from bringup.vmm.boot import fw_cfg, smbios
from bringup.vmm.machine import Limits, Machine
from bringup.vmm.spec import CPUS_MAXIMUM, GIB, MEMORY_MAXIMUM, MIB, MachineSpec

SEABIOS = Path("/usr/share/seabios/bios-256k.bin")
DMIDECODE = shutil.which("dmidecode") or shutil.which("dmidecode", path="/usr/sbin")
MODEL = cpumodel.load("x86-64-v2")


class Structure(NamedTuple):
    kind: int
    handle: int
    data: bytes  # the formatted area, header and all
    strings: list[str]

    def text(self, offset: int) -> str:
        return self.strings[self.data[offset] - 1] if self.data[offset] else ""

    def number(self, offset: int, size: int) -> int:
        return int.from_bytes(self.data[offset : offset + size], "little")


class EntryPoint(NamedTuple):
    largest: int
    length: int
    address: int
    number: int


def entry_point(data: bytes) -> EntryPoint:
    assert data[:4] == b"_SM_" and data[5] == len(data) == smbios.ENTRY_POINT_SIZE
    assert data[16:21] == b"_DMI_"
    assert sum(data) & 0xFF == sum(data[16:]) & 0xFF == 0
    assert data[6:8] == bytes(smbios.VERSION) and data[30] == 0x28
    (largest,) = struct.unpack_from("<H", data, 8)
    return EntryPoint(largest, *struct.unpack_from("<HIH", data, 22))


def structures(data: bytes) -> Iterator[Structure]:
    at = 0
    while at < len(data):
        kind, length, handle = struct.unpack_from("<BBH", data, at)
        end = data.index(b"\0\0", at + length) + 2
        texts = data[at + length : end - 2].split(b"\0") if data[at + length] else []
        yield Structure(kind, handle, data[at : at + length], [text.decode() for text in texts])
        at = end


def read(memory: int, cpus: int = 1) -> list[Structure]:
    anchor, data = smbios.tables(memory, cpus, MODEL)
    point, found = entry_point(anchor), list(structures(data))
    assert (point.length, point.address, point.number) == (len(data), 0, len(found))
    assert point.largest == max(
        len(one.data) + sum(len(text) + 1 for text in one.strings) + 1 + (not one.strings) for one in found
    )
    assert len({one.handle for one in found}) == len(found)
    return found


def test_what_a_small_machine_has() -> None:
    """The lengths are those of version 2.8 (DSP0134, the tables of chapter 7)."""
    found = read(64 * MIB)
    assert [one.kind for one in found] == [1, 3, 4, 16, 17, 19, 32, 127]
    assert [len(one.data) for one in found] == [0x1B, 0x16, 0x2A, 0x17, 0x28, 0x1F, 0x0B, 4]
    system, chassis, _, array, module, mapped, boot, _ = found
    assert (system.text(4), system.text(5), system.text(0x1A)) == (smbios.MAKER, smbios.PRODUCT, smbios.FAMILY)
    assert system.data[8:24] == bytes(16)
    assert chassis.text(4) == smbios.MAKER and chassis.data[5] == 1
    assert array.number(7, 4) == 64 << 10 and array.number(13, 2) == 1
    assert module.number(4, 2) == array.handle and module.number(12, 2) == 64 and module.text(16) == "DIMM 0"
    assert (mapped.number(4, 4), mapped.number(8, 4), mapped.number(12, 2)) == (0, (64 << 10) - 1, array.handle)
    assert boot.data[10] == 0


def test_each_vcpu_is_a_processor() -> None:
    processors = [one for one in read(64 * MIB, 3) if one.kind == 4]
    assert [one.text(4) for one in processors] == ["CPU 0", "CPU 1", "CPU 2"]
    row = next(row for row in MODEL.cpuid() if row.leaf == 1)
    for one in processors:
        assert (one.text(7), one.text(16)) == (MODEL.vendor, MODEL.brand)
        assert (one.number(8, 4), one.number(12, 4)) == (row.eax, row.edx)
        assert one.number(0x14, 2) == 1000 and one.number(0x26, 2) == 0b100100


@pytest.mark.parametrize(("name", "identity", "characteristics"), [("8086", 0, 0), ("pentium", 0x52C, 0)])
def test_a_processor_without_cpuid_or_long_mode(name: str, identity: int, characteristics: int) -> None:
    model = cpumodel.load(name)
    one = next(one for one in structures(smbios.tables(2 * MIB, 1, model)[1]) if one.kind == 4)
    assert (one.text(16), one.number(8, 4), one.number(0x26, 2)) == (model.brand, identity, characteristics)


@pytest.mark.parametrize(
    ("memory", "modules", "ranges"),
    [
        (3 * GIB, [3072], [(0, 3 * GIB)]),
        (3 * GIB + MIB, [3073], [(0, 3 * GIB), (4 * GIB, 4 * GIB + MIB)]),
        (40 * GIB, [16384, 16384, 8192], [(0, 3 * GIB), (4 * GIB, 41 * GIB)]),
    ],
)
def test_memory(memory: int, modules: list[int], ranges: list[tuple[int, int]]) -> None:
    found = read(memory)
    assert [one.number(12, 2) for one in found if one.kind == 17] == modules
    mapped = [one for one in found if one.kind == 19]
    assert [(one.number(4, 4) << 10, one.number(8, 4) + 1 << 10) for one in mapped] == ranges
    assert all(one.data[14] == len(modules) for one in mapped)


def test_the_largest_machine_fits() -> None:
    """The entry point has 16 bits for the structures' bytes, to which firmware adds its own."""
    anchor, data = smbios.tables(MEMORY_MAXIMUM, CPUS_MAXIMUM, MODEL)
    assert entry_point(anchor).length == len(data) < 0xFF00
    assert sum(one.number(12, 2) for one in structures(data) if one.kind == 17) == MEMORY_MAXIMUM // MIB


@pytest.mark.skipif(DMIDECODE is None, reason="dmidecode is not installed")
def test_dmidecode_understands_it(tmp_path: Path) -> None:
    anchor, data = (bytearray(part) for part in smbios.tables(5 * GIB, 2, MODEL))
    struct.pack_into("<I", anchor, 24, 0x20)  # where dmidecode's dumps have the structures
    anchor[21] = (anchor[21] - 0x20) & 0xFF
    dump = tmp_path / "dump"
    dump.write_bytes(bytes(anchor).ljust(0x20, b"\0") + data)
    assert DMIDECODE
    done = subprocess.run([DMIDECODE, "--from-dump", dump], capture_output=True, text=True, timeout=20, check=True)
    assert not done.stderr
    for line in (
        "SMBIOS 2.8 present.", "Manufacturer: bringup", f"Product Name: {smbios.PRODUCT}", "UUID: Not Settable",
        "ID: CA 06 01 00 FD FB 8B 07", "Max Speed: 1000 MHz", "64-bit capable",
        "Execute Protection", "Maximum Capacity: 5 GB", "Size: 5 GB", "Range Size: 3 GB", "Range Size: 2 GB",
        "Starting Address: 0x00100000000", "Status: No errors detected", "End Of Table",
    ):  # fmt: skip
        assert line in done.stdout, done.stdout
    assert "OUT OF SPEC" not in done.stdout and "BAD INDEX" not in done.stdout


@pytest.mark.skipif(not SEABIOS.exists(), reason=f"{SEABIOS} is not there: Debian's package seabios has it")
def test_seabios_places_it() -> None:
    items = tuple(fw_cfg.items(fw_cfg.Firmware(32 * MIB, 1, cpu="pentium3")))
    with Machine(MachineSpec(memory=32 * MIB, cpu="pentium3", firmware=SEABIOS.read_bytes(), items=items)) as machine:
        machine.run(Limits(count=2_000_000))  # it looks for something to start from
        segment = machine.read_ram(0xF0000, 0x10000)
        at = next(at for at in range(0, len(segment), 16) if segment.startswith(b"_SM_", at))
        point = entry_point(segment[at : at + smbios.ENTRY_POINT_SIZE])
        found = list(structures(machine.read_ram(point.address, point.length)))
    assert [one.kind for one in found] == [0, 1, 3, 4, 16, 17, 19, 32, 127]
    assert len(found) == point.number
    assert found[0].text(4) == "SeaBIOS"
    assert found[3].text(16) == cpumodel.load("pentium3").brand
