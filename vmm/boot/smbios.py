"""The SMBIOS tables of the board: what a guest's dmidecode says of system, chassis, processors and memory.

Firmware places the structures, adds its own about itself (type 0), and completes the entry point. Source: DMTF DSP0134,
System Management BIOS Reference Specification 3.4: version 2.8 of the structures, and the 32-bit entry point (5.2.1),
which guests of any age look for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..cpumodel import CpuModel
from ..spec import GIB, KIB, MIB
from . import ABOVE_4G, low_ram

VERSION = (2, 8)
ENTRY_POINT_SIZE = 0x1F

SYSTEM, CHASSIS, PROCESSOR, MEMORY_ARRAY, MEMORY_DEVICE, MAPPED_ADDRESS, BOOT, END = 1, 3, 4, 16, 17, 19, 32, 127

MAKER, PRODUCT, FAMILY = "bringup", "PC (440FX, PIIX3)", "Virtual machine"
MODULE_MAXIMUM = 16 * GIB  # of a memory device; its size field ends at 32 GiB - 1 MiB

# Values that many fields share.
OTHER, UNKNOWN, SAFE = 1, 2, 3
NO_CACHE, NO_ERROR_INFORMATION = 0xFFFF, 0xFFFE  # handles

# Processor characteristics (7.5.9).
LONG_MODE, EXECUTE_DISABLE = 1 << 2, 1 << 5


@dataclass
class _Structures:
    """Structures one after the other, each with its strings; handles count up within a type."""

    data: bytearray = field(default_factory=bytearray)
    number: int = 0
    largest: int = 0
    handles: dict[int, int] = field(default_factory=dict)

    def add(self, kind: int, layout: str, *values: int | str | bytes) -> int:
        """Appends one (6.1); a text becomes the number of its string. Returns its handle."""
        strings: list[str] = []
        fields: list[int | bytes] = []
        for value in values:
            if isinstance(value, str):
                strings.append(value)
                value = len(strings)
            fields.append(value)
        formatted = struct.pack("<" + layout, *fields)
        handle = kind << 8 | self.handles.setdefault(kind, 0)
        self.handles[kind] += 1
        structure = struct.pack("<BBH", kind, 4 + len(formatted), handle) + formatted
        structure += b"".join(text.encode("ascii") + b"\0" for text in strings) or b"\0"
        structure += b"\0"
        self.data += structure
        self.number += 1
        self.largest = max(self.largest, len(structure))
        return handle


def tables(memory: int, cpus: int, model: CpuModel) -> tuple[bytes, bytes]:
    """The entry point, without the structures' address, which firmware fills in, and the structures: of a machine with
    `memory` bytes of RAM and so many vCPUs."""
    structures = _Structures()
    not_present = bytes(16)  # the UUID: two machines must not say that they are the same one
    power_switch = 6
    structures.add(SYSTEM, "BBBB16sBBB", MAKER, PRODUCT, 0, 0, not_present, power_switch, 0, FAMILY)
    no_security = 3
    structures.add(
        CHASSIS, "BBBBBBBBBIBBBBB", MAKER, OTHER, 0, 0, 0, SAFE, SAFE, SAFE, no_security, 0, 0, 0, 0, 0, 0
    )  # fmt: skip
    for cpu in range(cpus):
        _processor(structures, cpu, model)
    _memory(structures, memory)
    structures.add(BOOT, "6sB", bytes(6), 0)  # no errors detected
    structures.add(END, "")
    return _entry_point(structures), bytes(structures.data)


def _processor(structures: _Structures, cpu: int, model: CpuModel) -> None:
    """7.5: one socket, core and thread a vCPU, as CPUID has it."""
    central, family, no_voltage, populated_and_enabled = 3, OTHER, 0, 0x41
    eax, edx = next(((row.eax, row.edx) for row in model.cpuid() if row.leaf == 1), (0, 0))
    mhz = model.tsc_hz // 10**6
    characteristics = (LONG_MODE if model.has("LM") else 0) | (EXECUTE_DISABLE if model.has("NX") else 0)
    structures.add(
        PROCESSOR, "BBBBIIBBHHHBBHHHBBBBBBHH",
        f"CPU {cpu}", central, family, model.vendor, eax, edx, model.brand, no_voltage,
        0, mhz, mhz, populated_and_enabled, OTHER, NO_CACHE, NO_CACHE, NO_CACHE,
        0, 0, 0, 1, 1, 1, characteristics, family,
    )  # fmt: skip


def _ram(memory: int) -> Iterator[tuple[int, int]]:
    """Addresses of RAM, first and last of each range."""
    yield 0, low_ram(memory) - 1
    if memory > low_ram(memory):
        yield ABOVE_4G, ABOVE_4G + memory - low_ram(memory) - 1


def _memory(structures: _Structures, memory: int) -> None:
    """7.17, 7.18, 7.20: the board's memory, its modules, and where they are seen."""
    board, system_memory, no_correction = 3, 3, 3
    sizes = [min(MODULE_MAXIMUM, memory - at) for at in range(0, memory, MODULE_MAXIMUM)]
    array = structures.add(
        MEMORY_ARRAY, "BBBIHHQ",
        board, system_memory, no_correction, memory // KIB, NO_ERROR_INFORMATION, len(sizes), 0,
    )  # fmt: skip
    dimm, ram, other_detail, unknown_width = 9, 7, 1 << 1, 0xFFFF
    for number, size in enumerate(sizes):
        structures.add(
            MEMORY_DEVICE, "HHHHHBBBBBHHBBBBBIHHHH",
            array, NO_ERROR_INFORMATION, unknown_width, unknown_width, size // MIB, dimm, 0, f"DIMM {number}", 0,
            ram, other_detail, 0, MAKER, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        )  # fmt: skip
    for first, last in _ram(memory):
        structures.add(MAPPED_ADDRESS, "IIHBQQ", first // KIB, last // KIB, array, len(sizes), 0, 0)


def _entry_point(structures: _Structures) -> bytes:
    """5.2.1, with both sums as for an address of 0."""
    revision, bcd = 0, VERSION[0] << 4 | VERSION[1]
    rest = bytearray(struct.pack(
        "<5sBHIHB", b"_DMI_", 0, len(structures.data), 0, structures.number, bcd
    ))  # fmt: skip
    rest[5] = -sum(rest) & 0xFF
    point = bytearray(struct.pack(
        "<4sBBBBHB5s", b"_SM_", 0, ENTRY_POINT_SIZE, *VERSION, structures.largest, revision, bytes(5)
    ))  # fmt: skip
    point[4] = -sum(point + rest) & 0xFF
    return bytes(point + rest)
