"""The ACPI tables of the board, as its firmware leaves them: RSDP, RSDT, XSDT, FADT, FACS, MADT and DSDT, and
of a PC with a BIOS HPET.

Source: ACPI specification 6.5, chapter 5. The addresses are the board's (core/chipset/map.h; a test compares).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from . import BIOS
from .aml import (
    device,
    dword_memory,
    eisa_id,
    integer,
    io,
    irq,
    name,
    package,
    resources,
    scope,
    string,
    word_bus,
    word_io,
)

RSDP = BIOS

PM1A_EVENT = 0x600
PM1A_CONTROL = 0x604
PM_TIMER = 0x608
SCI = 9
RESET_PORT, RESET_VALUE = 0xCF9, 6
SLEEP_TYPE_S5 = 5
LAPIC = 0xFEE00000
IOAPIC = 0xFEC00000
IOAPIC_ID = 0
PIT_PIN = 2
HPET = 0xFED00000
HPET_ID = 0x8086A201  # the low half of its capabilities: Intel, legacy route, 64 bits, three timers
PCI_CONFIG = 0xCF8
RTC, RTC_IRQ, RTC_CENTURY = 0x70, 8, 0x32
UART_PORTS = (0x3F8, 0x2F8, 0x3E8, 0x2E8)
UART_IRQS = (4, 3, 4, 3)
PVPANIC = 0x505

# Name, PNP identifier, (port, ports) and interrupts.
CLASSIC: tuple[tuple[str, str, tuple[tuple[int, int], ...], tuple[int, ...]], ...] = (
    ("KBD", "PNP0303", ((0x60, 1), (0x64, 1)), (1,)),
    ("MOU", "PNP0F13", (), (12,)),
    ("FDC0", "PNP0700", ((0x3F2, 4), (0x3F7, 1)), (6,)),
    ("LPT1", "PNP0400", ((0x378, 8),), (7,)),
)

OEM = b"BRNGUP"
OEM_TABLE = b"BRINGUP "
CREATOR = b"BRUP"

# FADT fixed feature flags (table 5.10).
WBINVD = 1 << 0
PROC_C1 = 1 << 2
SLP_BUTTON = 1 << 5  # no fixed sleep button
FIX_RTC = 1 << 6  # no RTC wake status in the fixed registers
RESET_REG_SUP = 1 << 10
# FADT IAPC_BOOT_ARCH (table 5.11).
LEGACY_DEVICES = 1 << 0
KEYBOARD_CONTROLLER = 1 << 1
VGA_NOT_PRESENT = 1 << 2
MSI_NOT_SUPPORTED = 1 << 3

SYSTEM_MEMORY = 0
SYSTEM_IO = 1  # address space of a generic address structure


def _generic_address(port: int, size: int) -> bytes:
    """A generic address structure in I/O space (5.2.3.2); `size` in bytes, 0 for none."""
    access = {0: 0, 1: 1, 2: 2, 4: 3}[size]
    return struct.pack("<BBBBQ", SYSTEM_IO if size else 0, 8 * size, 0, access, port)


def _checksum(data: bytes | bytearray) -> int:
    return -sum(data) & 0xFF


def _table(signature: bytes, revision: int, body: bytes) -> bytes:
    """A system description table: the 36-byte header (5.2.6) and its body."""
    header = struct.pack(
        "<4sIBB6s8sI4sI", signature, 36 + len(body), revision, 0, OEM, OEM_TABLE, 1, CREATOR, 1
    )  # fmt: skip
    table = bytearray(header + body)
    table[9] = _checksum(table)
    return bytes(table)


def rsdp(rsdt: int, xsdt: int) -> bytes:
    """The root pointer (5.2.5.3), revision 2."""
    pointer = bytearray(struct.pack("<8sB6sBIIQB3x", b"RSD PTR ", 0, OEM, 2, rsdt, 36, xsdt, 0))
    pointer[8] = _checksum(pointer[:20])
    pointer[32] = _checksum(pointer)
    return bytes(pointer)


def facs() -> bytes:
    """The firmware's control structure (5.2.10): no waking vector; 64-byte aligned, no checksum."""
    return struct.pack("<4sIIIIIQB3xI24x", b"FACS", 64, 0, 0, 0, 0, 0, 2, 0)


def fadt(facs_address: int, dsdt_address: int, vga: bool = False) -> bytes:
    """The fixed hardware (5.2.9), revision 4. No SMI command port: the machine is always in ACPI mode."""
    flags = WBINVD | PROC_C1 | SLP_BUTTON | FIX_RTC | RESET_REG_SUP
    architecture = LEGACY_DEVICES | KEYBOARD_CONTROLLER | MSI_NOT_SUPPORTED | (0 if vga else VGA_NOT_PRESENT)
    no_c2, no_c3 = 101, 1001  # latencies in us beyond the bounds: not supported
    body = struct.pack(
        "<II BB H I BBBB IIII IIII BBBB BBBB HH HH BB BBB HBI",
        facs_address, dsdt_address,
        0, 0,  # reserved; preferred profile unspecified
        SCI,
        0, 0, 0, 0, 0,  # SMI_CMD and its values
        PM1A_EVENT, 0, PM1A_CONTROL, 0,
        0, PM_TIMER, 0, 0,  # PM2, timer, GPE blocks
        4, 2, 0, 4,  # lengths of PM1 event and control, PM2, timer
        0, 0, 0, 0,  # lengths of GPE blocks, GPE1 base, CST_CNT
        no_c2, no_c3,
        0, 0,  # flush size and stride: WBINVD works
        0, 0,  # duty cycle
        0, 0, RTC_CENTURY,  # day and month alarm
        architecture, 0, flags,
    )  # fmt: skip
    body += _generic_address(RESET_PORT, 1) + bytes([RESET_VALUE, 0, 0, 0])
    body += struct.pack("<QQ", facs_address, dsdt_address)
    for port, size in ((PM1A_EVENT, 4), (0, 0), (PM1A_CONTROL, 2), (0, 0), (0, 0), (PM_TIMER, 4), (0, 0), (0, 0)):
        body += _generic_address(port, size)
    return _table(b"FACP", 4, body)


def madt(cpus: int) -> bytes:
    """The interrupt controllers (5.2.12), revision 4: LAPICs, the IOAPIC, and where ISA's wires differ."""
    pcat_compatible = 1  # an 8259 pair is there too
    active_high_level = 0b11 << 2 | 0b01
    body = struct.pack("<II", LAPIC, pcat_compatible)
    for cpu in range(cpus):
        body += struct.pack("<BBBBI", 0, 8, cpu, cpu, 1)
    body += struct.pack("<BBBBII", 1, 12, IOAPIC_ID, 0, IOAPIC, 0)
    body += struct.pack("<BBBBIH", 2, 10, 0, 0, PIT_PIN, 0)
    body += struct.pack("<BBBBIH", 2, 10, 0, SCI, SCI, active_high_level)
    body += struct.pack("<BBBHB", 4, 6, 0xFF, 0, 1)  # LINT1 of every processor is NMI
    return _table(b"APIC", 4, body)


def hpet() -> bytes:
    """The event timer block (IA-PC HPET specification 1.0a, 3.2.4)."""
    number, least_tick, protection = 0, 100, 0  # a microsecond, so that a periodic interrupt is not lost
    address = struct.pack("<BBBBQ", SYSTEM_MEMORY, 64, 0, 0, HPET)
    return _table(
        b"HPET", 1, struct.pack("<I", HPET_ID) + address + struct.pack("<BHB", number, least_tick, protection)
    )


def _processor_name(cpu: int) -> str:
    return f"CPU{cpu:X}" if cpu < 16 else f"C{cpu:03X}"


def dsdt(cpus: int, low_ram: int, classic: bool = False) -> bytes:
    """The devices, as AML (revision 2: 64-bit integers); `classic`: those of a PC with a BIOS too."""
    processors = [
        device(_processor_name(cpu), name("_HID", string("ACPI0007")), name("_UID", integer(cpu)))
        for cpu in range(cpus)
    ]
    bridge = device(
        "PCI0",
        name("_HID", eisa_id("PNP0A03")),
        name("_UID", integer(0)),
        name("_BBN", integer(0)),
        name(
            "_CRS",
            resources(
                word_bus(0, 255),
                io(PCI_CONFIG, 8),
                word_io(0, PCI_CONFIG - 1),
                word_io(PCI_CONFIG + 8, 0xFFFF),
                dword_memory(0xA0000, 0xBFFFF),
                dword_memory(max(low_ram, 0x80000000), IOAPIC - 1),
            ),
        ),
        device(
            "RTC",
            name("_HID", eisa_id("PNP0B00")),
            name("_CRS", resources(io(RTC, 2), irq(RTC_IRQ))),
        ),
        *(
            device(
                f"COM{uart + 1}",
                name("_HID", eisa_id("PNP0501")),
                name("_UID", integer(uart + 1)),
                name("_CRS", resources(io(port, 8), irq(line))),
            )
            for uart, (port, line) in enumerate(zip(UART_PORTS, UART_IRQS, strict=True))
        ),
        *(
            device(
                short,
                name("_HID", eisa_id(identifier)),
                name("_CRS", resources(*(io(port, size) for port, size in ports), *(irq(line) for line in lines))),
            )
            for short, identifier, ports, lines in (CLASSIC if classic else ())
        ),
        device(
            "PEVT",
            name("_HID", string("QEMU0001")),  # the identifier that pvpanic drivers know
            name("_CRS", resources(io(PVPANIC, 1))),
        ),
    )
    sleep = name(r"\_S5", package(integer(SLEEP_TYPE_S5), integer(SLEEP_TYPE_S5), integer(0), integer(0)))
    return _table(b"DSDT", 2, sleep + scope(r"\_SB", *processors, bridge))


@dataclass
class Layout:
    """Tables one after the other; addresses count from `base`."""

    base: int
    image: bytearray = field(default_factory=bytearray)
    pointers: list[tuple[int, int]] = field(default_factory=list)  # offset and bytes of those into the image
    checksums: list[tuple[int, int, int]] = field(default_factory=list)  # offset of the sum, of its table, its bytes

    def place(self, table: bytes, pointers: Iterable[tuple[int, int]] = (), checksum: int | None = 9) -> int:
        """The table's address; its `pointers` and `checksum` by their offsets in it."""
        offset = len(self.image)
        self.image.extend(table)
        self.image.extend(bytes(-len(self.image) % 64))
        self.pointers.extend((offset + at, size) for at, size in pointers)
        if checksum is not None:
            self.checksums.append((offset + checksum, offset, len(table)))
        return self.base + offset


def lay_out(base: int, low_ram: int, cpus: int, classic: bool = False) -> tuple[Layout, int, int]:
    """The tables but the root pointer, and the addresses of RSDT and XSDT; `classic`: of a PC with a BIOS."""
    layout = Layout(base)
    facs_address = layout.place(facs(), checksum=None)
    dsdt_address = layout.place(dsdt(cpus, low_ram, classic))
    fadt_address = layout.place(fadt(facs_address, dsdt_address, classic), ((36, 4), (40, 4), (132, 8), (140, 8)))
    described = [fadt_address, layout.place(madt(cpus))]
    if classic:
        described.append(layout.place(hpet()))
    rsdt, xsdt = (
        layout.place(
            _table(signature, 1, b"".join(address.to_bytes(size, "little") for address in described)),
            ((36 + size * index, size) for index in range(len(described))),
        )
        for signature, size in ((b"RSDT", 4), (b"XSDT", 8))
    )
    return layout, rsdt, xsdt


def tables(low_ram: int, cpus: int = 1) -> bytes:
    """All tables as they lie from RSDP on; `low_ram` is where the RAM below 4 GiB ends."""
    layout, rsdt, xsdt = lay_out(RSDP + 64, low_ram, cpus)
    return rsdp(rsdt, xsdt).ljust(64, b"\0") + layout.image
