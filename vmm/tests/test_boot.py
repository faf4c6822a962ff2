"""The Linux boot protocol and the ACPI tables."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bringup.vmm import boot
from bringup.vmm.boot import BootError, Image, acpi, aml, linux, protocol
from bringup.vmm.boot.linux import LinuxBoot
from bringup.vmm.machine import CS, RSI, SS, TR
from bringup.vmm.spec import GIB, MIB

MAP_H = Path(__file__).parent.parent / "core" / "chipset" / "map.h"
SETUP_SECTORS = 4
PAYLOAD = bytes(range(256)) * 16


def bzimage(**changes: object) -> bytes:
    """A kernel file with the smallest header that the protocol allows; `changes` are (offset, format, value)."""
    setup = bytearray((SETUP_SECTORS + 1) * 512)
    fields: dict[str, tuple[int, str, object]] = {
        "setup_sects": (linux.SETUP_SECTS, "B", SETUP_SECTORS),
        "syssize": (linux.SYSSIZE, "I", len(PAYLOAD) // 16),
        "boot_flag": (linux.BOOT_FLAG, "H", 0xAA55),
        "jump": (linux.JUMP, "H", 0x6AEB),
        "header": (linux.HEADER, "4s", b"HdrS"),
        "version": (linux.VERSION, "H", 0x020F),
        "loadflags": (linux.LOADFLAGS, "B", linux.LOADED_HIGH),
        "relocatable_kernel": (linux.RELOCATABLE_KERNEL, "B", 1),
        "initrd_addr_max": (linux.INITRD_ADDR_MAX, "I", 0x7FFFFFFF),
        "xloadflags": (linux.XLOADFLAGS, "H", linux.XLF_KERNEL_64),
        "cmdline_size": (linux.CMDLINE_SIZE, "I", 2047),
        "pref_address": (linux.PREF_ADDRESS, "Q", 16 * MIB),
        "init_size": (linux.INIT_SIZE, "I", 8 * MIB),
    }
    for name, (offset, layout, value) in fields.items():
        struct.pack_into(f"<{layout}", setup, offset, changes.get(name, value))
    return bytes(setup) + PAYLOAD


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "bzImage"
    path.write_bytes(bzimage())
    return path


def test_a_file_that_shrinks_before_a_reset_is_an_error(kernel: Path, tmp_path: Path) -> None:
    """It is mapped: a read beyond its end would be a signal."""
    initrd = tmp_path / "initrd"
    initrd.write_bytes(bytes(100_000))
    image = LinuxBoot(kernel, initrd, "").image(64 * MIB)
    assert image.checked() is image
    os.truncate(initrd, 4096)
    with pytest.raises(BootError, match=f"^{initrd} has shrunk from 100000 bytes to 4096$"):
        image.checked()


def at(image: Image, gpa: int, size: int) -> bytes:
    """Bytes of an image's memory; no byte may be stated twice."""
    found = [
        bytes(data[gpa - base : gpa - base + size]) for base, data in image.chunks if base <= gpa < base + len(data)
    ]
    assert len(found) == 1
    assert len(found[0]) == size
    return found[0]


def number(image: Image, gpa: int, size: int) -> int:
    return int.from_bytes(at(image, gpa, size), "little")


def test_the_vcpu_starts_at_startup_64(kernel: Path) -> None:
    image = LinuxBoot(kernel, append="console=ttyS0").image(64 * MIB)
    registers = image.registers
    assert registers.rip == 16 * MIB + 0x200
    assert registers.gpr[RSI] == linux.BOOT_PARAMS
    assert registers.rflags == 2, "interrupts are off"
    assert (registers.cr0, registers.cr4, registers.efer) == (0x80000011, 0x20, 0x500)
    # Descriptors in memory are what the segment registers hold.
    for index in (CS, SS):
        segment = registers.segments[index]
        assert number(image, registers.gdt_base + segment.selector, 8) == segment.descriptor()
    assert registers.segments[TR].access == 0x8B
    assert at(image, 16 * MIB, len(PAYLOAD)) == PAYLOAD
    assert at(image, number(image, linux.BOOT_PARAMS + linux.CMD_LINE_PTR, 4), 14) == b"console=ttyS0\0"


def test_a_kernel_without_a_64_bit_entry_starts_at_startup_32(tmp_path: Path) -> None:
    kernel = tmp_path / "bzImage"
    kernel.write_bytes(bzimage(xloadflags=0))
    image = LinuxBoot(kernel).image(64 * MIB)
    registers = image.registers
    assert registers.rip == 16 * MIB
    assert registers.gpr == [0, 0, 0, 0, 0, 0, linux.BOOT_PARAMS, 0, *[0] * 8], "EBX, EBP and EDI are 0"
    assert (registers.rflags, registers.cr0, registers.cr4, registers.efer) == (2, 0x11, 0, 0), "paging is off"
    for index, selector in ((CS, 0x10), (SS, 0x18)):
        segment = registers.segments[index]
        assert (segment.selector, segment.base, segment.limit) == (selector, 0, 0xFFFFFFFF)
        assert segment.access & 0x4000, "32 bits wide"
        assert number(image, registers.gdt_base + segment.selector, 8) == segment.descriptor()
    assert at(image, number(image, linux.BOOT_PARAMS + linux.ACPI_RSDP_ADDR, 8), 8) == b"RSD PTR "


def test_the_last_paragraph_of_a_kernel_may_be_short() -> None:
    assert bytes(linux.parse(memoryview(bzimage()[:-15]), Path("short")).payload) == PAYLOAD[:-15]


@pytest.mark.parametrize(
    ("changes", "load", "room", "initrd_maximum", "command_line_maximum"),
    [
        ({"version": 0x0202, "syssize": 0x8000_0100}, MIB, len(PAYLOAD), 0x37FFFFFF, 255),  # syssize: 16 bits
        ({"version": 0x0203}, MIB, len(PAYLOAD), 0x7FFFFFFF, 255),
        ({"version": 0x0209}, MIB, len(PAYLOAD), 0x7FFFFFFF, 2047),
        ({"version": 0x020A}, 16 * MIB, 8 * MIB, 0x7FFFFFFF, 2047),
        # It moves itself to where it prefers to lie.
        ({"version": 0x020A, "relocatable_kernel": 0}, MIB, 23 * MIB, 0x7FFFFFFF, 2047),
        ({"xloadflags": 0}, 16 * MIB, 8 * MIB, 0x7FFFFFFF, 2047),
    ],
)
def test_older_boot_protocols(
    changes: dict[str, object], load: int, room: int, initrd_maximum: int, command_line_maximum: int
) -> None:
    kernel = linux.parse(memoryview(bzimage(**changes)), Path("old"))
    assert not kernel.entry_64
    assert (kernel.load, kernel.room) == (load, room)
    assert (kernel.initrd_maximum, kernel.command_line_maximum) == (initrd_maximum, command_line_maximum)


def test_a_bzimage_is_recognised(kernel: Path) -> None:
    boot_ = protocol.recognise(kernel, "initrd, with a comma", "quiet")
    assert boot_ == LinuxBoot(kernel, Path("initrd, with a comma"), "quiet")
    assert protocol.recognise(kernel, None, "") == LinuxBoot(kernel)


def test_the_zero_page(kernel: Path) -> None:
    image = LinuxBoot(kernel).image(64 * MIB)
    page = at(image, linux.BOOT_PARAMS, 4096)
    # The setup header is copied to where 0x201 says it ends, and the loader's fields are filled in.
    header = bzimage()[linux.SETUP_SECTS : 0x202 + 0x6A]
    differences = [i + linux.SETUP_SECTS for i, byte in enumerate(header) if page[linux.SETUP_SECTS + i] != byte]
    assert set(differences) <= {linux.TYPE_OF_LOADER, *range(linux.CMD_LINE_PTR, linux.CMD_LINE_PTR + 4)}
    assert page[linux.TYPE_OF_LOADER] == 0xFF
    assert struct.unpack_from("<Q", page, linux.ACPI_RSDP_ADDR)[0] == acpi.RSDP
    assert struct.unpack_from("<II", page, linux.RAMDISK_IMAGE) == (0, 0)
    entries = [struct.unpack_from("<QQI", page, linux.E820_TABLE + 20 * i) for i in range(page[linux.E820_ENTRIES])]
    assert entries == list(boot.e820(64 * MIB))


def test_identity_mapped_page_tables(kernel: Path) -> None:
    image = LinuxBoot(kernel).image(64 * MIB)

    def walk(linear: int) -> int:
        table = image.registers.cr3
        for shift in (39, 30):
            entry = number(image, table + 8 * (linear >> shift & 511), 8)
            assert entry & 0x83 == 3
            table = entry & ~0xFFF
        entry = number(image, table + 8 * (linear >> 21 & 511), 8)
        assert entry & 0x83 == 0x83
        return entry & ~0xFFF

    for linear in (0, 2 * MIB, GIB - 2 * MIB, GIB, 3 * GIB + 6 * MIB, 4 * GIB - 2 * MIB):
        assert walk(linear) == linear


@pytest.mark.parametrize(
    ("memory", "top"), [(64 * MIB, 64 * MIB), (2 * GIB, 2 * GIB), (3 * GIB, 0x80000000), (8 * GIB, 0x80000000)]
)
def test_the_initrd_lies_as_high_as_it_may(kernel: Path, tmp_path: Path, memory: int, top: int) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"070701" * 1000)
    image = LinuxBoot(kernel, initrd).image(memory)
    page = at(image, linux.BOOT_PARAMS, 4096)
    address, size = struct.unpack_from("<II", page, linux.RAMDISK_IMAGE)
    assert (address, size) == (top - 8192, 6000)
    assert at(image, address, size) == initrd.read_bytes()


def test_nothing_overlaps(kernel: Path, tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(bytes(40 * MIB))
    image = LinuxBoot(kernel, initrd, "x" * 2047).image(64 * MIB)
    ranges = sorted((gpa, gpa + len(data)) for gpa, data in image.chunks)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))
    ram = [(base, base + size) for base, size, _ in boot.e820(64 * MIB)]
    assert all(any(low <= start and end <= high for low, high in ram) for start, end in ranges)


@pytest.mark.parametrize(
    ("memory", "ranges"),
    [
        (2 * MIB, [(0x100000, MIB, 1)]),
        (512 * MIB, [(0x100000, 511 * MIB, 1)]),
        (3 * GIB, [(0x100000, 3 * GIB - MIB, 1)]),
        (8 * GIB, [(0x100000, 3 * GIB - MIB, 1), (4 * GIB, 5 * GIB, 1)]),
    ],
)
def test_the_memory_map(memory: int, ranges: list[tuple[int, int, int]]) -> None:
    low = [(0, 0x9FC00, 1), (0x9FC00, 0x400, 2), (0xE0000, 0x20000, 2)]
    assert list(boot.e820(memory)) == low + ranges


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"\x7fELF" + bytes(1000), "is not a Linux bzImage"),
        (b"#!/bin/sh\n", "is not a Linux bzImage"),
        (bzimage(boot_flag=0), "is not a Linux bzImage"),
        (bzimage(header=b"HdrX"), "is not a Linux bzImage"),
        (bzimage()[:600], "is not a Linux bzImage"),
        (bzimage()[:1000], "is truncated: 1000 bytes of 6656"),
        (bzimage()[:-16], "is truncated: 6640 bytes of 6656"),
        (bzimage(syssize=0xFFFFFFFF), "is truncated"),
        (bzimage(setup_sects=255), "is truncated"),
        (bzimage(version=0x0201), r"has boot protocol 2\.01: it must be 2\.02 \(Linux 2\.4\) or newer"),
        (bzimage(xloadflags=0, syssize=0), "broken header: 0 bytes to load"),
        (bzimage(loadflags=0), "is a zImage"),
        (bzimage(syssize=0), "broken header: 0 bytes to load"),
        (bzimage(syssize=0x20), "broken header: 512 bytes to load"),
        (bzimage(pref_address=0), "broken header"),
        (bzimage(pref_address=16 * MIB + 1), "broken header"),
        (bzimage(pref_address=2**64 - 4096), "broken header"),
    ],
)
def test_what_is_not_a_kernel(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(BootError, match=complaint) as caught:
        LinuxBoot(path).image(64 * MIB)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_kernel_whose_last_paragraph_is_not_whole(tmp_path: Path) -> None:
    (tmp_path / "kernel").write_bytes(bzimage()[:-15])
    assert LinuxBoot(tmp_path / "kernel").image(64 * MIB)


def test_files_that_cannot_be_read(kernel: Path, tmp_path: Path) -> None:
    with pytest.raises(BootError, match=r"cannot read the kernel .*missing: No such file"):
        LinuxBoot(tmp_path / "missing").image(64 * MIB)
    with pytest.raises(BootError, match=r"cannot read the initrd .*: Is a directory"):
        LinuxBoot(kernel, tmp_path).image(64 * MIB)
    (tmp_path / "empty").touch()
    with pytest.raises(BootError, match=r"the initrd .*empty is empty"):
        LinuxBoot(kernel, tmp_path / "empty").image(64 * MIB)


def test_memory_too_small_for_the_kernel(kernel: Path) -> None:
    LinuxBoot(kernel).image(24 * MIB)
    with pytest.raises(BootError, match=r"^23M of memory is too small for the kernel .*: it needs 24M$"):
        LinuxBoot(kernel).image(23 * MIB)


def test_an_initrd_larger_than_the_room(kernel: Path, tmp_path: Path) -> None:
    initrd = tmp_path / "big"
    initrd.write_bytes(bytes(8 * MIB))
    LinuxBoot(kernel, initrd).image(32 * MIB)
    with pytest.raises(BootError, match=r"has 8388608 bytes: there is room for 7340032 above the kernel in 31M"):
        LinuxBoot(kernel, initrd).image(31 * MIB)


def test_a_command_line_too_long(kernel: Path) -> None:
    with pytest.raises(BootError, match=r"the command line has 2048 bytes: the kernel .*bzImage takes at most 2047"):
        LinuxBoot(kernel, append="x" * 2048).image(64 * MIB)


@given(st.binary(max_size=700), st.integers(0, 699))
def test_hostile_headers_are_refused_or_fit(junk: bytes, offset: int) -> None:
    data = bytearray(bzimage())
    data[offset : offset + len(junk)] = junk
    try:
        kernel = linux.parse(memoryview(data), Path("junk"))
    except BootError:
        return
    assert kernel.load + len(kernel.payload) <= boot.LOW_RAM_MAXIMUM + len(data)
    assert len(kernel.payload) <= kernel.room
    assert linux.COMMAND_LINE + kernel.command_line_maximum < boot.EBDA
    assert len(kernel.setup) <= linux.HEADER_END


# ---- ACPI ----


def table_at(image: bytes, address: int) -> bytes:
    offset = address - acpi.RSDP
    (size,) = struct.unpack_from("<I", image, offset + 4)
    return image[offset : offset + size]


def described() -> dict[str, bytes]:
    """All tables by their signature, found as an operating system finds them."""
    image = acpi.tables(low_ram=512 * MIB)
    (rsdt_address,) = struct.unpack_from("<I", image, 16)
    (xsdt_address,) = struct.unpack_from("<Q", image, 24)
    rsdt, xsdt = table_at(image, rsdt_address), table_at(image, xsdt_address)
    addresses = [address for (address,) in struct.iter_unpack("<Q", xsdt[36:])]
    assert addresses == [address for (address,) in struct.iter_unpack("<I", rsdt[36:])]
    tables = {t[:4].decode(): t for t in (rsdt, xsdt, *(table_at(image, a) for a in addresses))}
    facs, dsdt = struct.unpack_from("<II", tables["FACP"], 36)
    assert struct.unpack_from("<QQ", tables["FACP"], 132) == (facs, dsdt)
    assert facs % 64 == 0
    return {**tables, "FACS": table_at(image, facs), "DSDT": table_at(image, dsdt)}


def test_checksums() -> None:
    image = acpi.tables(low_ram=512 * MIB)
    assert image[:8] == b"RSD PTR "
    assert sum(image[:20]) % 256 == sum(image[:36]) % 256 == 0
    tables = described()
    assert set(tables) == {"RSDT", "XSDT", "FACP", "APIC", "FACS", "DSDT"}
    for signature, table in tables.items():
        assert signature == "FACS" or sum(table) % 256 == 0, signature
    assert len(image) < boot.HIGH - boot.BIOS


def test_the_addresses_are_the_board_s() -> None:
    """acpi.py against core/chipset/map.h."""
    board = {
        name: int(value, 0)
        for name, value in re.findall(r"^#define (\w+) (0x[0-9A-Fa-f]+|\d+)\b", MAP_H.read_text(), re.MULTILINE)
    }
    ours = {
        "MAP_RAM_LOW_END": boot.LOW_RAM_MAXIMUM,
        "MAP_IOAPIC": acpi.IOAPIC,
        "MAP_LAPIC": acpi.LAPIC,
        "MAP_HPET": acpi.HPET,
        "IOAPIC_ID": acpi.IOAPIC_ID,
        "IOAPIC_PIN_PIT": acpi.PIT_PIN,
        "IRQ_SCI": acpi.SCI,
        "IRQ_RTC": acpi.RTC_IRQ,
        "PORT_RTC": acpi.RTC,
        "CMOS_CENTURY": acpi.RTC_CENTURY,
        "PORT_PM1A_EVT": acpi.PM1A_EVENT,
        "PORT_PM1A_CNT": acpi.PM1A_CONTROL,
        "PORT_PM_TMR": acpi.PM_TIMER,
        "PORT_RESET": acpi.RESET_PORT,
        "RESET_VALUE": acpi.RESET_VALUE,
        "ACPI_SLP_TYP_S5": acpi.SLEEP_TYPE_S5,
        "PORT_PVPANIC": acpi.PVPANIC,
        "PORT_PCI_ADDRESS": acpi.PCI_CONFIG,
        **{f"PORT_COM{uart + 1}": port for uart, port in enumerate(acpi.UART_PORTS)},
        "IRQ_COM1": acpi.UART_IRQS[0],
        "IRQ_COM2": acpi.UART_IRQS[1],
    }
    assert ours == {name: board[name] for name in ours}


def test_only_a_pc_with_a_bios_has_an_hpet() -> None:
    table = acpi.hpet()
    assert (table[:4], len(table), sum(table) % 256) == (b"HPET", 56, 0)
    assert struct.unpack_from("<Q", table, 44)[0] == 0xFED00000
    layout, rsdt, xsdt = acpi.lay_out(0, 512 * MIB, 1, classic=True)
    assert layout.image.count(b"HPET") == 1
    addresses = [struct.unpack_from(f"<3{form}", layout.image, at + 36) for at, form in ((rsdt, "I"), (xsdt, "Q"))]
    assert addresses[0] == addresses[1]
    assert [bytes(layout.image[at : at + 4]) for at in addresses[0]] == [b"FACP", b"APIC", b"HPET"]
    assert {(at + 36 + 4 * index, 4) for index, at in enumerate([rsdt] * 3)} <= set(layout.pointers)
    assert {(at + 36 + 8 * index, 8) for index, at in enumerate([xsdt] * 3)} <= set(layout.pointers)
    assert b"HPET" not in acpi.tables(512 * MIB)


@pytest.mark.skipif(shutil.which("iasl") is None, reason="iasl (package acpica-tools) is not installed")
def test_acpica_reads_the_tables_without_a_remark(tmp_path: Path) -> None:
    for signature, table in described().items():
        (tmp_path / f"{signature}.aml").write_bytes(table)
        done = subprocess.run(["iasl", "-d", f"{signature}.aml"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not re.search("warning|error|invalid", done.stdout + done.stderr, re.IGNORECASE), done.stderr
    done = subprocess.run(["iasl", "DSDT.dsl"], cwd=tmp_path, capture_output=True, text=True)
    assert "Compilation successful. 0 Errors, 0 Warnings, 0 Remarks" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("size", [0, 61, 62, 63, 64, 4092, 4093, 4094, 4095, (1 << 20) - 4, (1 << 20) - 3])
def test_package_lengths(size: int) -> None:
    """PkgLength counts itself (20.2.4)."""
    encoded = aml.scope(r"\_SB", bytes(size))[1:]
    lead = encoded[0]
    extra = lead >> 6
    length = lead & 0x3F if extra == 0 else lead & 0xF | int.from_bytes(encoded[1 : 1 + extra], "little") << 4
    assert length == len(encoded)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (aml.integer(0), "00"),
        (aml.integer(1), "01"),
        (aml.integer(2), "0a02"),
        (aml.integer(0x100), "0b0001"),
        (aml.integer(0x10000), "0c00000100"),
        (aml.integer(1 << 32), "0e0000000001000000"),
        (aml.path("COM1"), "434f4d31"),
        (aml.path(r"\_SB"), "5c5f53425f"),
        (aml.path(r"\_SB.PCI0"), "5c2e5f53425f50434930"),
        (aml.path("A.B.C"), "2f03415f5f5f425f5f5f435f5f5f"),
        (aml.eisa_id("PNP0A03"), "0c41d00a03"),
        (aml.eisa_id("PNP0501"), "0c41d00501"),
    ],
)
def test_terms(encoded: bytes, expected: str) -> None:
    assert encoded.hex() == expected


def test_terms_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="no AML name"):
        aml.path("TOOLONG")
    with pytest.raises(ValueError, match="no AML integer"):
        aml.integer(1 << 64)
    with pytest.raises(ValueError, match="an AML package"):
        aml.buffer(bytes(1 << 28))
