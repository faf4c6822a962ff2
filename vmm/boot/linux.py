"""The Linux boot protocol, by the 64-bit entry or, for 32-bit kernels, the 32-bit one (Documentation/arch/x86/boot.rst;
zero-page.rst).

The kernel is loaded at its preferred address, the initrd as high as it may lie, and the vCPU starts at `startup_64` in
long mode on identity-mapped page tables, or at `startup_32` with paging off, as a boot loader leaves it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..machine import CS, RSI, Registers
from ..spec import KIB, MIB
from . import HIGH, LOW_RAM_MAXIMUM, BootError, BrokenError, Image, acpi, e820, firmware, flat, low_ram, map_file

# Low memory, below the EBDA.
GDT = 0x1000
BOOT_PARAMS = 0x2000
PAGE_TABLES = 0x3000  # PML4, PDPT and one page directory a GiB
COMMAND_LINE = 0x10000

IDENTITY_GIB = 4

# The setup header (boot.rst, "The real-mode kernel header"): offsets in the file and in the zero page alike.
SETUP_SECTS = 0x1F1
SYSSIZE = 0x1F4  # in paragraphs
PARAGRAPH = 16
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
RELOCATABLE_KERNEL = 0x234
XLOADFLAGS = 0x236
CMDLINE_SIZE = 0x238
PREF_ADDRESS = 0x258
INIT_SIZE = 0x260
HEADER_END = 0x290

LOADED_HIGH = 1 << 0
XLF_KERNEL_64 = 1 << 0
LOADER_UNDEFINED = 0xFF
ENTRY_64 = 0x200
# The protocol version that brought a field, and what holds before it.
VERSION_CMD_LINE_PTR = 0x0202
VERSION_INITRD_ADDR_MAX, INITRD_ADDR_MAX_BEFORE = 0x0203, 0x37FFFFFF
VERSION_LONG_SYSSIZE = 0x0204
VERSION_CMDLINE_SIZE, CMDLINE_SIZE_BEFORE = 0x0206, 255
VERSION_PREF_ADDRESS = 0x020A  # and init_size
VERSION_XLOADFLAGS = 0x020C

# The zero page (zero-page.rst).
ACPI_RSDP_ADDR = 0x070
E820_ENTRIES = 0x1E8
E820_TABLE = 0x2D0

PAGE_PRESENT, PAGE_WRITE, PAGE_SIZE_BIT = 1 << 0, 1 << 1, 1 << 7


class Kernel(NamedTuple):
    """A bzImage by its setup header: `payload` is the protected-mode code, `room` what it needs from `load`."""

    setup: memoryview
    payload: memoryview
    load: int
    room: int
    entry_64: bool
    initrd_maximum: int
    command_line_maximum: int


@dataclass(frozen=True)
class LinuxBoot:
    """A kernel, its initrd and its command line, ready to be put into a machine any number of times."""

    kernel: Path
    initrd: Path | None = None
    append: str = ""

    def image(self, memory: int, cpus: int = 1) -> Image:
        """What to load into a machine of `memory` bytes and `cpus` vCPUs; BootError when it cannot be booted there."""
        kernel = parse(map_file(self.kernel, "kernel"), self.kernel)
        ram = low_ram(memory)
        if kernel.load + kernel.room > ram:
            need = -(-(kernel.load + kernel.room) // MIB)
            raise BootError(f"{memory // MIB}M of memory is too small for the kernel {self.kernel}: it needs {need}M")
        image = Image(_registers(kernel))
        firmware.install(image, memory, cpus)
        image.put(GDT, flat.descriptor_table(image.registers.segments[CS]))
        if kernel.entry_64:
            image.put(PAGE_TABLES, page_tables(PAGE_TABLES))
        image.put(COMMAND_LINE, self._command_line(kernel))
        image.put(kernel.load, kernel.payload)
        initrd_address, initrd_size = self._place_initrd(image, kernel, ram)
        image.put(BOOT_PARAMS, _boot_params(kernel, memory, initrd_address, initrd_size))
        return image

    def _command_line(self, kernel: Kernel) -> bytes:
        line, most = self.append.encode("utf-8", "surrogateescape"), kernel.command_line_maximum
        if len(line) > most:
            raise BootError(f"the command line has {len(line)} bytes: the kernel {self.kernel} takes at most {most}")
        return line + b"\0"

    def _place_initrd(self, image: Image, kernel: Kernel, ram: int) -> tuple[int, int]:
        if self.initrd is None:
            return 0, 0
        data = map_file(self.initrd, "initrd")
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


def is_kernel(data: memoryview) -> bool:
    """Has the file the setup header of a Linux kernel (boot protocol 2.00 or newer)?"""
    return bytes(data[BOOT_FLAG:JUMP]) == b"\x55\xaa" and bytes(data[HEADER:VERSION]) == b"HdrS"


def parse(data: memoryview, path: Path) -> Kernel:
    """Checks a bzImage's header; BootError says what is wrong with it."""
    if len(data) < HEADER_END or not is_kernel(data):
        raise BootError(f"the kernel {path} is not a Linux bzImage")

    def number(offset: int, layout: str) -> int:
        (value,) = struct.unpack_from(f"<{layout}", data, offset)
        return int(value)

    version = number(VERSION, "H")
    if version < VERSION_CMD_LINE_PTR:
        raise BootError(
            f"the kernel {path} has boot protocol {version >> 8}.{version & 0xFF:02}: "
            "it must be 2.02 (Linux 2.4) or newer"
        )
    if not data[LOADFLAGS] & LOADED_HIGH:
        raise BootError(f"the kernel {path} is a zImage, which loads low: only bzImage is booted")
    setup_size = ((data[SETUP_SECTS] or 4) + 1) * 512
    payload_size = number(SYSSIZE, "I" if version >= VERSION_LONG_SYSSIZE else "H") * PARAGRAPH
    if setup_size + payload_size >= len(data) + PARAGRAPH:  # the size is rounded up, and the file need not be
        raise BrokenError(
            f"the kernel {path} is truncated: {len(data)} bytes of {setup_size + payload_size} that its header states"
        )
    payload = data[setup_size:]  # all of it: before 2.04 syssize may be cut to 16 bits
    entry_64 = version >= VERSION_XLOADFLAGS and bool(data[XLOADFLAGS] & XLF_KERNEL_64)
    load, end = HIGH, HIGH + len(payload)
    if version >= VERSION_PREF_ADDRESS:
        preferred = number(PREF_ADDRESS, "Q")
        if entry_64 or data[RELOCATABLE_KERNEL]:
            load = preferred
        end = max(load + len(payload), preferred + number(INIT_SIZE, "I"))
        if preferred < HIGH or preferred % 4096 or preferred > LOW_RAM_MAXIMUM:
            raise BrokenError(f"the kernel {path} has a broken header: it is to lie at {preferred:#x}")
    if payload_size <= (ENTRY_64 if entry_64 else 0):
        raise BrokenError(f"the kernel {path} has a broken header: {payload_size} bytes to load")
    maximum = number(CMDLINE_SIZE, "I") if version >= VERSION_CMDLINE_SIZE else CMDLINE_SIZE_BEFORE
    return Kernel(
        setup=data[SETUP_SECTS : min(HEADER + data[JUMP + 1], HEADER_END)],
        payload=payload,
        load=load,
        room=end - load,
        entry_64=entry_64,
        initrd_maximum=(number(INITRD_ADDR_MAX, "I") if version >= VERSION_INITRD_ADDR_MAX else INITRD_ADDR_MAX_BEFORE),
        # The line lies between COMMAND_LINE and the EBDA.
        command_line_maximum=min(maximum, 64 * KIB),
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


def _registers(kernel: Kernel) -> Registers:
    if kernel.entry_64:
        registers = flat.protected_mode(kernel.load + ENTRY_64, GDT, flat.CODE_64)
        registers.cr0 |= flat.CR0_PG
        registers.cr3 = PAGE_TABLES
        registers.cr4 = flat.CR4_PAE
        registers.efer = flat.EFER_LME | flat.EFER_LMA
    else:
        registers = flat.protected_mode(kernel.load, GDT)
    registers.gpr[RSI] = BOOT_PARAMS
    return registers
