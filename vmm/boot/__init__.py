"""How a guest is started: what lies in memory and in the registers before its first instruction.

The PC's memory map is here, because every boot protocol needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..machine import Registers
from ..spec import GIB

EBDA = 0x9FC00  # the extended BIOS data area takes the last KiB of conventional memory
CONVENTIONAL_END = 0xA0000
BIOS = 0xE0000  # the firmware's tables
HIGH = 0x100000
LOW_RAM_MAXIMUM = 3 * GIB  # RAM beyond it continues at 4 GiB; between lies the hole for PCI, APICs and the ROM
ABOVE_4G = 4 * GIB

E820_RAM, E820_RESERVED = 1, 2


class BootError(Exception):
    """A guest that cannot be started; the text is one line for the person who asked."""


@dataclass
class Image:
    """Memory contents (guest-physical address, bytes) and the boot vCPU's registers."""

    registers: Registers
    chunks: list[tuple[int, bytes | memoryview]] = field(default_factory=list)

    def put(self, gpa: int, data: bytes | memoryview) -> int:
        """Adds bytes; returns the address after them."""
        self.chunks.append((gpa, data))
        return gpa + len(data)


def low_ram(memory: int) -> int:
    """The end of the RAM below 4 GiB."""
    return min(memory, LOW_RAM_MAXIMUM)


def e820(memory: int) -> Iterator[tuple[int, int, int]]:
    """The address ranges of a machine with `memory` bytes: (address, size, type), as INT 15h E820h gives them."""
    yield 0, EBDA, E820_RAM
    yield EBDA, CONVENTIONAL_END - EBDA, E820_RESERVED
    yield BIOS, HIGH - BIOS, E820_RESERVED
    if memory > HIGH:
        yield HIGH, low_ram(memory) - HIGH, E820_RAM
    if memory > LOW_RAM_MAXIMUM:
        yield ABOVE_4G, memory - LOW_RAM_MAXIMUM, E820_RAM


def bios_data_area() -> bytes:
    """40:0 to 40:13h: serial ports, EBDA segment and KiB of conventional memory, which kernels still look up."""
    area = bytearray(0x15)
    for uart, port in enumerate((0x3F8, 0x2F8, 0x3E8, 0x2E8)):
        area[2 * uart : 2 * uart + 2] = port.to_bytes(2, "little")
    area[0xE:0x10] = (EBDA >> 4).to_bytes(2, "little")
    area[0x13:0x15] = (EBDA >> 10).to_bytes(2, "little")
    return bytes(area)
