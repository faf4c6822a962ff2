"""What firmware of the guest's own reads of the machine: the items of QEMU's firmware configuration device.

Source: QEMU, docs/specs/fw_cfg; SeaBIOS, which names the files and the table loader's commands.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .. import cpumodel
from ..spec import DEFAULT_CPU
from . import acpi, e820, low_ram, smbios

SIGNATURE, ID, RAM_SIZE, NB_CPUS, BOOT_MENU, MAX_CPUS, FILE_DIR, FILE_FIRST = (
    0x00,
    0x01,
    0x03,
    0x05,
    0x0E,
    0x0F,
    0x19,
    0x20,
)
PORTS = 1  # of the ID: the interface by ports

ALLOCATE, ADD_POINTER, ADD_CHECKSUM = 1, 2, 3  # commands of the table loader
HIGH, FSEG = 1, 2  # its zones

VGA_ROM = "pci1234,1111.rom"  # vendor and device of the video card on the PCI bus (core/chipset/pci.c)
RSDP_FILE, TABLES_FILE, LOADER_FILE = "etc/acpi/rsdp", "etc/acpi/tables", "etc/table-loader"
SMBIOS_ANCHOR, SMBIOS_TABLES = "etc/smbios/smbios-anchor", "etc/smbios/smbios-tables"


@dataclass(frozen=True)
class Firmware:
    """What the items describe: RAM bytes, vCPUs and their model, option ROMs by file name, boot devices (SeaBIOS, Boot
    order)."""

    memory: int
    cpus: int
    roms: Sequence[tuple[str, bytes]] = ()
    boot_order: Sequence[str] = ()
    menu: bool = False
    cpu: str = DEFAULT_CPU
    serial: bool = False
    """SeaBIOS's sercon: its video services draw on COM1 too, and its keyboard services read from there."""


def items(firmware: Firmware) -> list[tuple[int, bytes]]:
    """(selector key, bytes) of each item."""
    files = sorted(
        [
            *_acpi_files(firmware),
            *_smbios_files(firmware),
            ("etc/e820", _e820(firmware.memory)),
            *firmware.roms,
            *_boot(firmware),
        ]
    )
    directory = struct.pack(">I", len(files))
    for key, (name, data) in enumerate(files, FILE_FIRST):
        directory += struct.pack(">IHH56s", len(data), key, 0, name.encode())
    return [
        (SIGNATURE, b"QEMU"),
        (ID, struct.pack("<I", PORTS)),
        (RAM_SIZE, struct.pack("<Q", firmware.memory)),
        (NB_CPUS, struct.pack("<H", firmware.cpus)),
        (MAX_CPUS, struct.pack("<H", firmware.cpus)),
        (BOOT_MENU, struct.pack("<H", firmware.menu)),
        (FILE_DIR, directory),
        *((key, data) for key, (_, data) in enumerate(files, FILE_FIRST)),
    ]


def _e820(memory: int) -> bytes:
    """RAM alone: firmware takes what it wants of it."""
    ranges = [(0, low_ram(memory)), *((start, size) for start, size, _ in e820(memory) if start >= 1 << 32)]
    return b"".join(struct.pack("<QQI", start, size, 1) for start, size in ranges)


def _boot(firmware: Firmware) -> list[tuple[str, bytes]]:
    files = [("etc/boot-menu-wait", struct.pack("<H", 0))] if not firmware.menu else []
    if firmware.serial:
        files.append(("etc/sercon-port", struct.pack("<H", acpi.UART_PORTS[0])))
    if firmware.boot_order:
        files.append(("bootorder", "\n".join(firmware.boot_order).encode() + b"\0"))
    return files


def _acpi_files(firmware: Firmware) -> list[tuple[str, bytes]]:
    """The tables with addresses counted from 0, and the script by which firmware places them."""
    layout, rsdt, xsdt = acpi.lay_out(0, low_ram(firmware.memory), firmware.cpus, classic=True)
    script = [_allocate(RSDP_FILE, 16, FSEG), _allocate(TABLES_FILE, 64, HIGH)]
    script += [_add_pointer(TABLES_FILE, TABLES_FILE, at, size) for at, size in layout.pointers]
    script += [_add_checksum(TABLES_FILE, at, start, size) for at, start, size in layout.checksums]
    script += [_add_pointer(RSDP_FILE, TABLES_FILE, at, size) for at, size in ((16, 4), (24, 8))]
    script += [_add_checksum(RSDP_FILE, at, 0, size) for at, size in ((8, 20), (32, 36))]
    return [
        (RSDP_FILE, acpi.rsdp(rsdt, xsdt)),
        (TABLES_FILE, bytes(layout.image)),
        (LOADER_FILE, b"".join(script)),
    ]


def _smbios_files(firmware: Firmware) -> list[tuple[str, bytes]]:
    """Firmware places the structures, and fills address and sums in."""
    anchor, tables = smbios.tables(firmware.memory, firmware.cpus, cpumodel.load(firmware.cpu))
    return [(SMBIOS_ANCHOR, anchor), (SMBIOS_TABLES, tables)]


def _command(data: bytes) -> bytes:
    return data.ljust(128, b"\0")


def _allocate(file: str, alignment: int, zone: int) -> bytes:
    return _command(struct.pack("<I56sIB", ALLOCATE, file.encode(), alignment, zone))


def _add_pointer(file: str, to: str, offset: int, size: int) -> bytes:
    return _command(struct.pack("<I56s56sIB", ADD_POINTER, file.encode(), to.encode(), offset, size))


def _add_checksum(file: str, offset: int, start: int, size: int) -> bytes:
    return _command(struct.pack("<I56sIII", ADD_CHECKSUM, file.encode(), offset, start, size))
