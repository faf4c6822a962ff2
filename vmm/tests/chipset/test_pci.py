"""PCI configuration space: the host bridge alone, and with the functions of PIIX."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def pci(lib: Any, ffi: Any) -> Any:
    pci = ffi.new("struct pci *")
    lib.pci_reset(pci, 1 << lib.PCI_HOST_BRIDGE)
    return pci


def config(lib: Any, pci: Any, register: int, device: int = 0) -> int:
    lib.pci_write_address(pci, 0x80000000 | device << 8 | register & 0xFC)
    return sum(lib.pci_read_data(pci, byte) << 8 * byte for byte in range(4))


def test_pci_host_bridge(lib: Any, pci: Any) -> None:
    assert config(lib, pci, 0) == 0x12378086
    assert config(lib, pci, 4) == 0x02800006
    assert config(lib, pci, 8) == 0x06000002
    assert config(lib, pci, 0x0C) == 0


def test_pci_is_otherwise_empty(lib: Any, pci: Any) -> None:
    for device in [*range(1, 256), 0x100, 0x7F00, 0xFFFF]:
        assert config(lib, pci, 0, device) == 0xFFFFFFFF
    lib.pci_write_address(pci, 0)
    assert lib.pci_read_data(pci, 0) == 0xFF


def test_pci_writable_registers(lib: Any, pci: Any) -> None:
    before = [config(lib, pci, register) for register in range(0, 256, 4)]
    for register in range(0, 256, 4):
        lib.pci_write_address(pci, 0x80000000 | register)
        for byte in range(4):
            lib.pci_write_data(pci, byte, 0xFF)
    after = [config(lib, pci, register) for register in range(0, 256, 4)]
    changed = {4 * i: b ^ a for i, (b, a) in enumerate(zip(before, after, strict=True)) if a != b}
    assert changed == {4: 0x100, 0xC: 0xF800, 0x58: 0xFFFFFF00, 0x5C: 0xFFFFFFFF, 0x70: 0xFD0000}


def test_pci_address_register(lib: Any, pci: Any) -> None:
    lib.pci_write_address(pci, 0xFFFFFFFF)
    assert lib.pci_read_address(pci) == 0x80FFFFFC


# ---- with PIIX ----

ISA, PM = 1 << 3, 1 << 3 | 3


@pytest.fixture
def piix(lib: Any, ffi: Any) -> Any:
    pci = ffi.new("struct pci *")
    lib.pci_reset(pci, 1 << lib.PCI_HOST_BRIDGE | 1 << lib.PCI_ISA_BRIDGE | 1 << lib.PCI_PM)
    return pci


def write(lib: Any, pci: Any, register: int, value: int, size: int = 1, device: int = 0) -> None:
    lib.pci_write_address(pci, 0x80000000 | device << 8 | register & 0xFC)
    for byte in range(size):
        lib.pci_write_data(pci, (register & 3) + byte, value >> 8 * byte & 0xFF)


def test_functions_that_are_present_answer(lib: Any, piix: Any) -> None:
    found = {device: config(lib, piix, 0, device) for device in range(256)}
    assert {device: value for device, value in found.items() if value != 0xFFFFFFFF} == {
        0: 0x12378086, ISA: 0x70008086, PM: 0x71138086,
    }  # fmt: skip
    assert config(lib, piix, 0x0C, ISA) >> 16 == 0x80, "more than one function"
    assert config(lib, piix, lib.PCI_PIIX_DEVACTB, PM) & lib.PCI_DEVACTB_APMC_EN


@pytest.mark.parametrize(
    ("address", "register", "shift"),
    [(0xF0000, 0x59, 4), (0xFFFFF, 0x59, 4), (0xC0000, 0x5A, 0), (0xC7FFF, 0x5A, 4), (0xDC000, 0x5D, 4),
     (0xE0000, 0x5E, 0), (0xE4000, 0x5E, 4), (0xEBFFF, 0x5F, 0), (0xEC000, 0x5F, 4)],
)  # fmt: skip
def test_pam(lib: Any, piix: Any, address: int, register: int, shift: int) -> None:
    segments = [0xF0000, *range(0xC0000, 0xF0000, 0x4000)]
    assert not any(lib.pci_pam(piix, segment) for segment in segments)
    write(lib, piix, register, 0b11 << shift)
    assert lib.pci_pam(piix, address) == lib.PCI_PAM_READ | lib.PCI_PAM_WRITE
    assert sum(lib.pci_pam(piix, segment) != 0 for segment in segments) == 1
    write(lib, piix, register, 0b01 << shift)
    assert lib.pci_pam(piix, address) == lib.PCI_PAM_READ


def test_the_power_management_block_moves(lib: Any, piix: Any) -> None:
    assert lib.pci_pm_base(piix) == 0
    write(lib, piix, lib.PCI_PIIX_PMBASE, 0xB03F, 2, PM)
    assert config(lib, piix, lib.PCI_PIIX_PMBASE, PM) == 0xB001
    assert lib.pci_pm_base(piix) == 0
    write(lib, piix, lib.PCI_PIIX_PMREGMISC, lib.PCI_PMREGMISC_PMIOSE, 1, PM)
    assert lib.pci_pm_base(piix) == 0xB000


def test_interrupts_are_routed(lib: Any, piix: Any) -> None:
    piix.interrupts = 1 << lib.PCI_PM
    assert lib.pci_irqs(piix) == 0, "no PIRQ is routed after reset"
    write(lib, piix, lib.PCI_PIIX_PIRQ, 0x0B0A80, 4, ISA)
    assert lib.pci_irqs(piix) == 0
    write(lib, piix, lib.PCI_PIIX_PIRQ, 0x09, 1, ISA)
    assert lib.pci_irqs(piix) == 1 << 9, "INTA# of slot 1 is PIRQA"
    piix.interrupts = 0
    assert lib.pci_irqs(piix) == 0
