"""The VMX instructions: what they do and the error numbers of wrong uses (SDM volume 3, chapter 31)."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from rootmode import FAIL_INVALID, FAIL_VALID, FIELDS, OTHER_VMCS, SUCCEED, VMCS, VMXON, Root, ffi, lib

NO_VMCS = 2**64 - 1


def vmread(root: Root, encoding: int) -> tuple[int, int]:
    value = ffi.new("uint64_t *", 0xDEAD)
    return lib.vmx_read(root.cpu, encoding, value), int(value[0])


def test_the_first_milestone(root: Root) -> None:
    """Three instructions, then a store to a page that EPT does not map."""
    root.start("mov rax, 0x1fe123; add rax, 0x10; lea rbx, [rax + 1]; mov [rax], cl")
    root.permit(0x1FE000, 0)
    before = root.count
    assert root.enter() == 48
    assert root["exit_qualification"] == 0x182  # a write; linear address valid, the access to its translation
    assert root["guest_physical_address"] == root["guest_linear_address"] == 0x1FE133
    assert root.count - before == 3
    assert (root.gpr("rax"), root.gpr("rbx")) == (0x1FE133, 0x1FE134)
    assert root["exit_instruction_length"] == 2


def test_vmxon(root: Root) -> None:
    for address in (VMXON + 8, 1 << 60, 1 << 45, VMXON + 0x3FF000):  # misaligned, beyond the width, absent, no revision
        assert lib.vmx_on(root.cpu, address) == FAIL_INVALID
    assert lib.vmx_on(root.cpu, VMXON) == SUCCEED
    assert lib.vmx_on(root.cpu, VMXON) == FAIL_INVALID  # in VMX operation, but no current VMCS for the error
    assert lib.vmx_ptrld(root.cpu, VMCS) == SUCCEED
    assert lib.vmx_on(root.cpu, VMXON) == FAIL_VALID
    assert root.error() == 15


def test_outside_vmx_operation_everything_fails(root: Root) -> None:
    value = ffi.new("uint64_t *")
    assert lib.vmx_off(root.cpu) == FAIL_INVALID
    assert lib.vmx_clear(root.cpu, VMCS) == FAIL_INVALID
    assert lib.vmx_ptrld(root.cpu, VMCS) == FAIL_INVALID
    assert lib.vmx_read(root.cpu, 0x4402, value) == FAIL_INVALID
    assert lib.vmx_write(root.cpu, 0x681E, 0) == FAIL_INVALID
    assert lib.vmx_launch(root.cpu) == lib.vmx_resume(root.cpu) == FAIL_INVALID
    assert lib.vmx_invept(root.cpu, 2, 0) == lib.vmx_invvpid(root.cpu, 2, 0, 0) == FAIL_INVALID


def test_without_a_current_vmcs(root: Root) -> None:
    assert lib.vmx_on(root.cpu, VMXON) == SUCCEED
    assert lib.vmx_ptrst(root.cpu) == NO_VMCS
    assert vmread(root, 0x4402) == (FAIL_INVALID, 0xDEAD)
    assert lib.vmx_launch(root.cpu) == FAIL_INVALID


@pytest.mark.parametrize(
    ("instruction", "address", "error"),
    [
        ("vmx_clear", VMCS + 1, 2),
        ("vmx_clear", 1 << 52, 2),
        ("vmx_clear", VMXON, 3),
        ("vmx_ptrld", VMCS + 0x800, 9),
        ("vmx_ptrld", 1 << 50, 9),
        ("vmx_ptrld", VMXON, 10),
        ("vmx_ptrld", 0x500000, 11),  # no revision there
        ("vmx_ptrld", 0x3FFFFFF000, 11),  # no memory there
    ],
)
def test_wrong_addresses(root: Root, instruction: str, address: int, error: int) -> None:
    root.vmxon()
    assert getattr(lib, instruction)(root.cpu, address) == FAIL_VALID
    assert root.error() == error
    assert lib.vmx_ptrst(root.cpu) == VMCS


def test_a_shadow_vmcs_is_not_ours(root: Root) -> None:
    root.vmxon()
    root.write(OTHER_VMCS, struct.pack("<I", root.revision | 1 << 31))
    assert lib.vmx_ptrld(root.cpu, OTHER_VMCS) == FAIL_VALID
    assert root.error() == 11


def test_every_component_reads_back_at_its_width(root: Root) -> None:
    root.vmxon()
    value = 0xFEDCBA9876543210
    for name, encoding in FIELDS.items():
        width = (16, 64, 32, 64)[encoding >> 13 & 3]
        read_only = (encoding >> 10 & 3) == 1
        result = lib.vmx_write(root.cpu, encoding, value)
        if read_only:
            assert (result, root.error()) == (FAIL_VALID, 13), name
        else:
            assert vmread(root, encoding) == (SUCCEED, value & (1 << width) - 1), name
    assert len(FIELDS) == 130


def test_components_do_not_overlap(root: Root) -> None:
    root.vmxon()
    writable = [encoding for encoding in FIELDS.values() if (encoding >> 10 & 3) != 1]
    for number, encoding in enumerate(writable):
        assert lib.vmx_write(root.cpu, encoding, number + 1) == SUCCEED
    assert [vmread(root, encoding)[1] for encoding in writable] == list(range(1, len(writable) + 1))


def test_high_access(root: Root) -> None:
    root.vmxon()
    root["tsc_offset"] = 0x1122334455667788
    high = FIELDS["tsc_offset"] + 1
    assert vmread(root, high) == (SUCCEED, 0x11223344)
    assert lib.vmx_write(root.cpu, high, 0xAABBCCDD99) == SUCCEED
    assert root["tsc_offset"] == 0xBBCCDD9955667788


@pytest.mark.parametrize(
    "encoding",
    [
        FIELDS["guest_rip"] + 1,  # high access of a natural-width component
        FIELDS["guest_cs_selector"] + 1,
        FIELDS["guest_rip"] | 1 << 12,  # reserved
        FIELDS["guest_rip"] | 1 << 15,
        FIELDS["guest_rip"] | 1 << 31,
        FIELDS["guest_rip"] | 1 << 7,  # an index beyond all
        0x6828,
        0x2012,  # virtual-APIC address: there is no TPR shadow
        0xFFFFFFFF,
    ],
)
def test_components_that_do_not_exist(root: Root, encoding: int) -> None:
    root.vmxon()
    assert vmread(root, encoding) == (FAIL_VALID, 0xDEAD)
    assert root.error() == 12
    assert lib.vmx_write(root.cpu, encoding, 0) == FAIL_VALID
    assert lib.vmcs_field_name(encoding) == ffi.NULL or encoding & 1


def test_launch_state(root: Root) -> None:
    root.start("hlt")
    assert lib.vmx_resume(root.cpu) == FAIL_VALID
    assert root.error() == 5
    assert root.enter() == 12
    assert lib.vmx_launch(root.cpu) == FAIL_VALID
    assert root.error() == 4
    assert root.enter() == 12
    assert lib.vmx_clear(root.cpu, VMCS) == SUCCEED
    assert lib.vmx_ptrld(root.cpu, VMCS) == SUCCEED
    assert lib.vmx_resume(root.cpu) == FAIL_VALID
    assert root.error() == 5
    root.launched = False
    assert root.enter() == 12


def test_two_vmcs_in_turn(root: Root) -> None:
    """Each keeps its guest and its launch state while the other is current."""
    root.start("inc rax; hlt; inc rax; inc rax; hlt")
    assert root.enter() == 12
    root.skip()
    assert lib.vmx_ptrld(root.cpu, OTHER_VMCS) == SUCCEED
    assert root["guest_rip"] == 0
    root.write_controls()
    root.write_host()
    root.program("inc ax; inc ax; inc ax; hlt; hlt", mode="real")
    root.registers.gpr[0] = 0
    root.launched = False
    assert root.enter() == 12
    assert root.gpr("rax") == 3
    root.write(0x8000, b"\x90" * 3)  # nop for the next program's sake
    root.program("inc rax; hlt; inc rax; inc rax; hlt")
    assert lib.vmx_ptrld(root.cpu, VMCS) == SUCCEED
    root.registers.gpr[0] = 0x1_0000_0000
    root.launched = True
    assert root.enter() == 12
    assert root.gpr("rax") == 0x1_0000_0002
    assert root["guest_rip"] == 0x8000 + 10


def test_vmxoff_puts_the_vmcs_into_its_region(root: Root) -> None:
    root.vmxon()
    root["guest_rip"] = 0x1234
    assert lib.vmx_off(root.cpu) == SUCCEED
    assert lib.vmx_on(root.cpu, VMXON) == SUCCEED
    assert lib.vmx_ptrld(root.cpu, VMCS) == SUCCEED
    assert root["guest_rip"] == 0x1234


@pytest.mark.parametrize(
    ("call", "good"),
    [
        (lambda r: lib.vmx_invept(r.cpu, 1, 0x400000 | 3 << 3 | 6), True),
        (lambda r: lib.vmx_invept(r.cpu, 2, 0), True),
        (lambda r: lib.vmx_invept(r.cpu, 0, 0), False),
        (lambda r: lib.vmx_invept(r.cpu, 3, 0), False),
        (lambda r: lib.vmx_invept(r.cpu, 1, 0x400000 | 2 << 3 | 6), False),
        (lambda r: lib.vmx_invvpid(r.cpu, 0, 1, 0xFFFF800000000000), True),
        (lambda r: lib.vmx_invvpid(r.cpu, 0, 1, 1 << 56), False),
        (lambda r: lib.vmx_invvpid(r.cpu, 0, 0, 0), False),
        (lambda r: lib.vmx_invvpid(r.cpu, 1, 1, 0), True),
        (lambda r: lib.vmx_invvpid(r.cpu, 1, 0, 0), False),
        (lambda r: lib.vmx_invvpid(r.cpu, 2, 0, 0), True),
        (lambda r: lib.vmx_invvpid(r.cpu, 3, 1, 0), True),
        (lambda r: lib.vmx_invvpid(r.cpu, 3, 0, 0), False),
        (lambda r: lib.vmx_invvpid(r.cpu, 4, 1, 0), False),
    ],
)
def test_invept_and_invvpid(root: Root, call: Callable[[Root], int], good: bool) -> None:
    root.vmxon()
    assert call(root) == (SUCCEED if good else FAIL_VALID)
    if not good:
        assert root.error() == 28


def test_capability_msrs_are_consistent(root: Root) -> None:
    basic = root.rdmsr(0x480)
    assert basic >> 32 & 0x1FFF == 4096
    assert basic >> 55 & 1  # "true" MSRs
    for plain, true in ((0x481, 0x48D), (0x482, 0x48E), (0x483, 0x48F), (0x484, 0x490)):
        ones, may = root.rdmsr(plain) & 0xFFFFFFFF, root.rdmsr(plain) >> 32
        true_ones, true_may = root.rdmsr(true) & 0xFFFFFFFF, root.rdmsr(true) >> 32
        assert not ones & ~may
        assert may == true_may
        assert not true_ones & ~ones
    assert root.rdmsr(0x48A) >> 1 == max(encoding >> 1 & 0x1FF for encoding in FIELDS.values())
    for index in range(0x480, 0x491):
        assert not root.wrmsr(index, root.rdmsr(index)), hex(index)  # read-only
    assert not lib.msr_read(root.cpu, 0x491, ffi.new("uint64_t *"))
