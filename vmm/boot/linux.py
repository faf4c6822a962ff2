"""The Linux boot protocol, by the 64-bit entry (Documentation/arch/x86/boot.rst; zero-page.rst).

The kernel is loaded at its preferred address, the initrd as high as it may lie, and the vCPU starts at
`startup_64` in long mode on identity-mapped page tables, as a 64-bit boot loader leaves it.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..machine import CS, DS, ES, RSI, SS, TR, Registers, Segment
from ..spec import KIB, MIB
from . import HIGH, LOW_RAM_MAXIMUM, BootError, Image, acpi, bios_data_area, e820, low_ram

# Low memory, below the EBDA.
BIOS_DATA = 0x400
GDT = 0x1000
BOOT_PARAMS = 0x2000
PAGE_TABLES = 0x3000  # PML4, PDPT and one page directory a GiB
COMMAND_LINE = 0x10000

IDENTITY_GIB = 4

# The setup header (boot.rst, "The real-mode kernel header"): offsets in the file and in the zero page alike.
SETUP_SECTS = 0x1F1
SYSSIZE = 0x1F4
BOOT_FLAG = 0x1FE
JUMP = 0x200
HEADER = 0x202
VERSION = 0x206
TYPE_OF_LOADER = 0x210
LOADFLAGS = 0x211
RAMDISK_IMAGE = 0x218
RAMDISK_SIZE = 0x21C
CMD_LINE_PTR = 0x228
INITRD_ADDR_MAX = 0x22C
XLOADFLAGS = 0x236
CMDLINE_SIZE = 0x238
PREF_ADDRESS = 0x258
INIT_SIZE = 0x260
HEADER_END = 0x290

LOADED_HIGH = 1 << 0
XLF_KERNEL_64 = 1 << 0
LOADER_UNDEFINED = 0xFF
VERSION_64BIT_ENTRY = 0x020C  # the first with xloadflags
ENTRY_64 = 0x200

# The zero page (zero-page.rst).
ACPI_RSDP_ADDR = 0x070
E820_ENTRIES = 0x1E8
E820_TABLE = 0x2D0

# __BOOT_CS and __BOOT_DS (boot.rst, "64-bit Boot Protocol").
BOOT_CS, BOOT_DS = 0x10, 0x18
CODE_64 = Segment(selector=BOOT_CS, base=0, limit=0xFFFFFFFF, access=0xA09B)  # execute/read, DPL 0, L, G
DATA_32 = Segment(selector=BOOT_DS, base=0, limit=0xFFFFFFFF, access=0xC093)  # read/write, DPL 0, D/B, G
TASK_64 = Segment(selector=0, base=0, limit=0x67, access=0x008B)  # VM entry wants a busy TSS (SDM volume 3, 27.3.1.2)

CR0_PE, CR0_ET, CR0_PG, CR4_PAE, EFER_LME, EFER_LMA = 1 << 0, 1 << 4, 1 << 31, 1 << 5, 1 << 8, 1 << 10
PAGE_PRESENT, PAGE_WRITE, PAGE_SIZE_BIT = 1 << 0, 1 << 1, 1 << 7


class Kernel(NamedTuple):
    """What the setup header of a bzImage says; `payload` is the protected-mode code."""

    setup: memoryview
    payload: memoryview
    load: int
    room: int
    initrd_maximum: int
    command_line_maximum: int


@dataclass(frozen=True)
class LinuxBoot:
    """A kernel, its initrd and its command line, ready to be put into a machine any number of times."""

    kernel: Path
    initrd: Path | None = None
    append: str = ""

    def image(self, memory: int) -> Image:
        """What to load into a machine with `memory` bytes; BootError when it cannot be booted there."""
        kernel = parse(_map(self.kernel, "kernel"), self.kernel)
        ram = low_ram(memory)
        if kernel.load + kernel.room > ram:
            need = -(-(kernel.load + kernel.room) // MIB)
            raise BootError(f"{memory // MIB}M of memory is too small for the kernel {self.kernel}: it needs {need}M")
        image = Image(_registers(kernel.load))
        image.put(BIOS_DATA, bios_data_area())
        image.put(GDT, _descriptor_table())
        image.put(PAGE_TABLES, page_tables(PAGE_TABLES))
        image.put(COMMAND_LINE, self._command_line(kernel))
        image.put(kernel.load, kernel.payload)
        initrd_address, initrd_size = self._place_initrd(image, kernel, ram)
        image.put(acpi.RSDP, acpi.tables(low_ram=ram))
        image.put(BOOT_PARAMS, _boot_params(kernel, memory, initrd_address, initrd_size))
        return image

    def _command_line(self, kernel: Kernel) -> bytes:
        line = self.append.encode("utf-8", "surrogateescape")
        if len(line) > kernel.command_line_maximum:
            raise BootError(
                f"the command line has {len(line)} bytes: the kernel takes at most {kernel.command_line_maximum}"
            )
        return line + b"\0"

    def _place_initrd(self, image: Image, kernel: Kernel, ram: int) -> tuple[int, int]:
        if self.initrd is None:
            return 0, 0
        data = _map(self.initrd, "initrd")
        floor = kernel.load + kernel.room
        ceiling = min(ram, kernel.initrd_maximum + 1)
        address = (ceiling - len(data)) & ~0xFFF
        if address < floor:
            raise BootError(
                f"the initrd {self.initrd} has {len(data)} bytes: "
                f"there is room for {max(ceiling - floor, 0) & ~0xFFF} above the kernel in {ram // MIB}M of memory"
            )
        image.put(address, data)
        return address, len(data)


def _map(path: Path, what: str) -> memoryview:
    """The file's bytes, mapped: an initrd of a gigabyte costs nothing until it is copied."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # opening a FIFO would wait
            raise BootError(f"the {what} {path} is not a file")
        with path.open("rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError:
        raise BootError(f"the {what} {path} is empty") from None
    except OSError as error:
        raise BootError(f"cannot read the {what} {path}: {error.strerror}") from None


def parse(data: memoryview, path: Path) -> Kernel:
    """Checks a bzImage's header; BootError says what is wrong with it."""
    if len(data) < HEADER_END or bytes(data[BOOT_FLAG:JUMP]) != b"\x55\xaa" or bytes(data[HEADER:VERSION]) != b"HdrS":
        raise BootError(f"the kernel {path} is not a Linux bzImage")
    (version,) = struct.unpack_from("<H", data, VERSION)
    if version < VERSION_64BIT_ENTRY or not data[XLOADFLAGS] & XLF_KERNEL_64:
        raise BootError(
            f"the kernel {path} (boot protocol {version >> 8}.{version & 0xFF:02}) has no 64-bit entry: "
            "it is older than Linux 3.8 or a 32-bit kernel"
        )
    if not data[LOADFLAGS] & LOADED_HIGH:
        raise BootError(f"the kernel {path} is a zImage, which loads low: only bzImage is booted")
    setup_size = ((data[SETUP_SECTS] or 4) + 1) * 512
    (paragraphs,) = struct.unpack_from("<I", data, SYSSIZE)
    payload_size = paragraphs * 16
    if setup_size + payload_size > len(data):
        raise BootError(
            f"the kernel {path} is truncated: {len(data)} bytes of {setup_size + payload_size} that its header states"
        )
    (initrd_maximum,) = struct.unpack_from("<I", data, INITRD_ADDR_MAX)
    (command_line_maximum,) = struct.unpack_from("<I", data, CMDLINE_SIZE)
    (load,) = struct.unpack_from("<Q", data, PREF_ADDRESS)
    (room,) = struct.unpack_from("<I", data, INIT_SIZE)
    if payload_size <= ENTRY_64 or load < HIGH or load % 4096 or load > LOW_RAM_MAXIMUM:
        raise BootError(f"the kernel {path} has a broken header: {payload_size} bytes to load at {load:#x}")
    return Kernel(
        setup=data[SETUP_SECTS : min(HEADER + data[JUMP + 1], HEADER_END)],
        payload=data[setup_size:],
        load=load,
        room=max(room, len(data) - setup_size),
        initrd_maximum=initrd_maximum,
        # The line lies between COMMAND_LINE and the EBDA.
        command_line_maximum=min(command_line_maximum, 64 * KIB),
    )


def _boot_params(kernel: Kernel, memory: int, initrd_address: int, initrd_size: int) -> bytes:
    page = bytearray(4096)
    page[SETUP_SECTS : SETUP_SECTS + len(kernel.setup)] = kernel.setup
    page[TYPE_OF_LOADER] = LOADER_UNDEFINED
    struct.pack_into("<I", page, CMD_LINE_PTR, COMMAND_LINE)
    struct.pack_into("<I", page, RAMDISK_IMAGE, initrd_address)
    struct.pack_into("<I", page, RAMDISK_SIZE, initrd_size)
    struct.pack_into("<Q", page, ACPI_RSDP_ADDR, acpi.RSDP)
    ranges = list(e820(memory))
    page[E820_ENTRIES] = len(ranges)
    for index, entry in enumerate(ranges):
        struct.pack_into("<QQI", page, E820_TABLE + 20 * index, *entry)
    return bytes(page)


def page_tables(base: int) -> bytes:
    """An identity map of the first 4 GiB in 2 MiB pages, its tables at `base`: PML4, PDPT, page directories."""
    pml4 = struct.pack("<Q", (base + 0x1000) | PAGE_PRESENT | PAGE_WRITE).ljust(4096, b"\0")
    pdpt = struct.pack(
        f"<{IDENTITY_GIB}Q", *(base + 0x2000 + 0x1000 * i | PAGE_PRESENT | PAGE_WRITE for i in range(IDENTITY_GIB))
    ).ljust(4096, b"\0")
    count = 512 * IDENTITY_GIB
    large = PAGE_PRESENT | PAGE_WRITE | PAGE_SIZE_BIT
    return pml4 + pdpt + struct.pack(f"<{count}Q", *(i * 2 * MIB | large for i in range(count)))


def _descriptor_table() -> bytes:
    return struct.pack("<4Q", 0, 0, CODE_64.descriptor(), DATA_32.descriptor())


def _registers(load: int) -> Registers:
    registers = Registers(
        rip=load + ENTRY_64,
        rflags=1 << 1,
        cr0=CR0_PE | CR0_ET | CR0_PG,
        cr3=PAGE_TABLES,
        cr4=CR4_PAE,
        efer=EFER_LME | EFER_LMA,
        gdt_base=GDT,
        gdt_limit=4 * 8 - 1,
    )
    registers.gpr[RSI] = BOOT_PARAMS
    registers.segments[CS] = CODE_64
    for data in (DS, ES, SS):
        registers.segments[data] = DATA_32
    registers.segments[TR] = TASK_64
    return registers
