"""How a guest is started: what lies in memory and in the registers before its first instruction.

The PC's memory map is here, because every boot protocol needs it; `protocol.py` chooses the protocol.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ..machine import Registers
from ..spec import GIB

EBDA = 0x9FC00  # the extended BIOS data area takes the last KiB of conventional memory
CONVENTIONAL_END = 0xA0000
BIOS_DATA = 0x400  # 40:0
BIOS = 0xE0000  # the firmware's tables
HIGH = 0x100000
LOW_RAM_MAXIMUM = 3 * GIB  # RAM beyond it continues at 4 GiB; between lies the hole for PCI, APICs and the ROM
ABOVE_4G = 4 * GIB

E820_RAM, E820_RESERVED = 1, 2


class BootError(Exception):
    """A guest that cannot be started; the text is one line for the person who asked."""


class BrokenError(BootError):
    """A file that no loader can start anything from: what it lacks is not a matter of the machine."""


@dataclass
class Image:
    """Memory contents (guest-physical address, bytes) and the boot vCPU's registers."""

    registers: Registers
    chunks: list[tuple[int, bytes | memoryview]] = field(default_factory=list)

    def put(self, gpa: int, data: bytes | memoryview) -> int:
        """Adds bytes; returns the address after them."""
        self.chunks.append((gpa, data))
        return gpa + len(data)

    def checked(self) -> Self:
        """The same; BootError when one of its files has shrunk since, of which the kernel would end this process."""
        for _, data in self.chunks:
            file = data.obj if isinstance(data, memoryview) else None
            if isinstance(file, MappedFile) and file.size() < len(file):
                raise BootError(f"{file.path} has shrunk from {len(file)} bytes to {file.size()}")
        return self


class MappedFile(mmap.mmap):
    """A file's bytes in memory, read only."""

    path: Path


def map_file(path: Path, what: str) -> memoryview:
    """The file's bytes, mapped: an initrd of a gigabyte costs nothing until it is copied."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # opening a FIFO would wait
            raise BrokenError(f"the {what} {path} is not a file")
        with path.open("rb") as file:
            mapped = MappedFile(file.fileno(), 0, access=mmap.ACCESS_READ)
            mapped.path = path
            return memoryview(mapped)
    except ValueError:
        raise BrokenError(f"the {what} {path} is empty") from None
    except OSError as error:
        raise BootError(f"cannot read the {what} {path}: {error.strerror}") from None


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
