"""What firmware leaves in memory whatever boots after it: the BIOS data area, the ACPI tables and an MP table."""

from __future__ import annotations

from . import BIOS_DATA, EBDA, Image, acpi, low_ram, mptable


def install(image: Image, memory: int, cpus: int = 1) -> None:
    """Adds it to the image for a machine with `memory` bytes and `cpus` vCPUs."""
    image.put(BIOS_DATA, bios_data_area())
    image.put(acpi.RSDP, acpi.tables(low_ram(memory), cpus))
    if cpus > 1:  # as on PCs with one processor: what it would say they take for granted
        image.put(mptable.FLOATING_POINTER, mptable.tables(cpus))


def bios_data_area() -> bytes:
    """40:0 to 40:13h: serial ports, EBDA segment and KiB of conventional memory, which kernels still look up."""
    area = bytearray(0x15)
    for uart, port in enumerate(acpi.UART_PORTS):
        area[2 * uart : 2 * uart + 2] = port.to_bytes(2, "little")
    area[0xE:0x10] = (EBDA >> 4).to_bytes(2, "little")
    area[0x13:0x15] = (EBDA >> 10).to_bytes(2, "little")
    return bytes(area)
