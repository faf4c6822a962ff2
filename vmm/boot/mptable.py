"""The MP table, for guests that find processors and interrupt wiring without ACPI.

Source: Intel MultiProcessor Specification 1.4, chapter 4. It says what acpi.py's MADT says, and how ISA is wired.
"""

from __future__ import annotations

import struct

from . import acpi

FLOATING_POINTER = 0xF1000  # in the ROM, which guests search

LAPIC_VERSION, IOAPIC_VERSION = 0x14, 0x20
PROCESSOR_SIGNATURE = 0x6F1  # family, model and stepping: guests ask CPUID
FPU, APIC = 1 << 0, 1 << 9  # of CPUID.01H:EDX, as the processor entries repeat them

ENABLED, BOOT_PROCESSOR = 1, 2
INT, NMI, EXTINT = 0, 1, 3
ACTIVE_HIGH_LEVEL = 0b11 << 2 | 0b01  # and 0: as the bus has it
ISA_BUS = 0
ALL_LAPICS = 0xFF
ISA_IRQS = 16


def _checksum(data: bytearray) -> int:
    return -sum(data) & 0xFF


def tables(cpus: int) -> bytes:
    """The floating pointer structure (4.1) and, right behind it, the configuration table (4.2)."""
    pointer = bytearray(struct.pack("<4sIBBB5x", b"_MP_", FLOATING_POINTER + 16, 1, 4, 0))
    pointer[10] = _checksum(pointer)
    return bytes(pointer) + _configuration(cpus)


def _configuration(cpus: int) -> bytes:
    entries = [_processor(cpu) for cpu in range(cpus)]
    entries.append(struct.pack("<BB6s", 1, ISA_BUS, b"ISA   "))
    entries.append(struct.pack("<BBBBI", 2, acpi.IOAPIC_ID, IOAPIC_VERSION, ENABLED, acpi.IOAPIC))
    entries.append(_interrupt(3, EXTINT, 0, acpi.IOAPIC_ID, 0))
    entries += [
        _interrupt(
            3, INT, irq, acpi.IOAPIC_ID, acpi.PIT_PIN if irq == 0 else irq,
            flags=ACTIVE_HIGH_LEVEL if irq == acpi.SCI else 0,
        )
        for irq in range(ISA_IRQS)
        if irq != acpi.PIT_PIN  # its pin has the PIT
    ]  # fmt: skip
    entries.append(_interrupt(4, EXTINT, 0, ALL_LAPICS, 0))
    entries.append(_interrupt(4, NMI, 0, ALL_LAPICS, 1))
    body = b"".join(entries)
    header = struct.pack(
        "<4sHBB8s12sIHHIHBx",
        b"PCMP", 44 + len(body), 4, 0, b"BRINGUP ", b"PC          ", 0, 0, len(entries), acpi.LAPIC, 0, 0,
    )  # fmt: skip
    table = bytearray(header + body)
    table[7] = _checksum(table)
    return bytes(table)


def _processor(cpu: int) -> bytes:
    flags = ENABLED | (BOOT_PROCESSOR if cpu == 0 else 0)
    return struct.pack("<BBBBII8x", 0, cpu, LAPIC_VERSION, flags, PROCESSOR_SIGNATURE, FPU | APIC)


def _interrupt(kind: int, delivery: int, irq: int, apic: int, pin: int, flags: int = 0) -> bytes:
    """An I/O (3) or local (4) interrupt assignment (4.3.4, 4.3.5)."""
    return struct.pack("<BBHBBBB", kind, delivery, flags, ISA_BUS, irq, apic, pin)
