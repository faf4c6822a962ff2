"""VM entry: its checks (SDM volume 3, 27.2 and 27.3), one rule a row, and what it loads."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from rootmode import (
    CODE,
    DATA,
    EPT,
    FAIL_VALID,
    FIELDS,
    MSR_ENTRY_LOAD,
    MSR_EXIT_LOAD,
    MSR_STORE,
    OTHER_VMCS,
    PAGE_TABLES,
    SUCCEED,
    TASK,
    TSS,
    VALID,
    VMCS,
    VMXON,
    Root,
    lib,
)

FAILED = 1 << 31
HUGE = 1 << 46  # beyond the physical-address width
NOT_CANONICAL = 1 << 56  # in the 57 bits that the model's linear addresses have

Change = Callable[[Root], object]


def put(**values: int) -> Change:
    return lambda root: root.set(**values)


def on(name: str, bits: int) -> Change:
    return lambda root: root.set(**{name: root[name] | bits})


def off(name: str, bits: int) -> Change:
    return lambda root: root.set(**{name: root[name] & ~bits})


def access(segment: str, value: int, **others: int) -> Change:
    return put(**{f"guest_{segment}_access_rights": value}, **{f"guest_{segment}_{k}": v for k, v in others.items()})


def event(information: int, length: int = 0, error: int = 0) -> Change:
    return put(
        entry_interruption_information=information | VALID,
        entry_instruction_length=length,
        entry_exception_error_code=error,
    )


CONTROLS: list[tuple[str, list[Change]]] = [
    ("pin bit that must be 1", [off("pin_based_controls", 2)]),
    ("pin bit that must be 0", [on("pin_based_controls", 1 << 7)]),
    ("external interrupts without exiting", [off("pin_based_controls", 1)]),
    ("primary bit that must be 1", [off("primary_controls", 1 << 8)]),
    ("TPR shadow", [on("primary_controls", 1 << 21)]),
    ("secondary bit that must be 0", [on("secondary_controls", 1 << 27)]),
    ("CR3-target count", [put(cr3_target_count=5)]),
    ("I/O bitmap A misaligned", [on("primary_controls", 1 << 25), put(io_bitmap_a_address=0x413800)]),
    ("I/O bitmap B beyond the width", [on("primary_controls", 1 << 25), put(io_bitmap_b_address=HUGE)]),
    ("MSR bitmap misaligned", [on("primary_controls", 1 << 28), put(msr_bitmap_address=0x415001)]),
    ("virtual NMIs without NMI exiting", [on("pin_based_controls", 1 << 5)]),
    ("NMI window without virtual NMIs", [on("primary_controls", 1 << 22)]),
    ("VPID 0", [put(virtual_processor_id=0)]),
    ("EPT memory type", [put(ept_pointer=EPT | 3 << 3 | 1)]),
    ("EPT page-walk length", [put(ept_pointer=EPT | 2 << 3 | 6)]),
    ("EPT accessed and dirty flags", [put(ept_pointer=EPT | 1 << 6 | 3 << 3 | 6)]),
    ("EPT pointer's reserved bits", [put(ept_pointer=EPT | 1 << 11 | 3 << 3 | 6)]),
    ("EPT pointer beyond the width", [put(ept_pointer=HUGE | 3 << 3 | 6)]),
    ("unrestricted guest without EPT", [off("secondary_controls", 2)]),
    ("exit bit that must be 1", [off("exit_controls", 1 << 8)]),
    ("acknowledge interrupt on exit", [on("exit_controls", 1 << 15)]),
    ("timer saved but not used", [on("exit_controls", 1 << 22)]),
    ("MSR-store area misaligned", [put(exit_msr_store_count=1, exit_msr_store_address=MSR_STORE + 8)]),
    ("MSR-load area beyond the width", [put(exit_msr_load_count=1, exit_msr_load_address=HUGE)]),
    ("end of entry MSR-load area beyond", [put(entry_msr_load_count=2, entry_msr_load_address=HUGE - 16)]),
    ("entry bit that must be 1", [off("entry_controls", 1 << 3)]),
    ("entry to SMM", [on("entry_controls", 1 << 10)]),
    ("event type 1", [event(1 << 8)]),
    ("NMI of another vector", [event(2 << 8 | 3)]),
    ("exception beyond 31", [event(3 << 8 | 32)]),
    ("other event of a vector", [event(7 << 8 | 1)]),
    ("#GP without error code", [event(3 << 8 | 13)]),
    ("#UD with error code", [event(3 << 8 | 1 << 11 | 6)]),
    ("interrupt with error code", [event(1 << 11 | 13)]),
    ("#GP with error code in real mode", [lambda r: r.program("hlt", "real"), event(3 << 8 | 1 << 11 | 13)]),
    ("event's reserved bits", [event(1 << 12 | 3 << 8 | 6)]),
    ("error code's upper half", [event(3 << 8 | 1 << 11 | 13, error=1 << 16)]),
    ("software interrupt of 16 bytes", [event(4 << 8 | 0x80, length=16)]),
]

HOST: list[tuple[str, list[Change]]] = [
    ("CR0.NE", [off("host_cr0", 1 << 5)]),
    ("CR0.PG", [off("host_cr0", 1 << 31)]),
    ("CR0 upper half", [on("host_cr0", 1 << 32)]),
    ("CR4.VMXE", [off("host_cr4", 1 << 13)]),
    ("CR4.PAE", [off("host_cr4", 1 << 5)]),
    ("CR4 unsupported bit", [on("host_cr4", 1 << 14)]),
    ("CR3 beyond the width", [put(host_cr3=HUGE)]),
    ("SYSENTER_ESP", [put(host_sysenter_esp=NOT_CANONICAL)]),
    ("SYSENTER_EIP", [put(host_sysenter_eip=NOT_CANONICAL)]),
    ("PAT", [on("exit_controls", 1 << 19), put(host_pat=2)]),
    ("EFER.LMA", [on("exit_controls", 1 << 21), put(host_efer=1 << 8)]),
    ("EFER reserved", [on("exit_controls", 1 << 21), put(host_efer=0xD02)]),
    ("CS null", [put(host_cs_selector=0)]),
    ("TR null", [put(host_tr_selector=0)]),
    ("RPL", [put(host_ss_selector=0x13)]),
    ("TI", [put(host_fs_selector=0x14)]),
    ("FS base", [put(host_fs_base=1 << 63)]),
    ("GS base", [put(host_gs_base=1 << 63)]),
    ("GDTR base", [put(host_gdtr_base=1 << 63)]),
    ("IDTR base", [put(host_idtr_base=1 << 63)]),
    ("TR base", [put(host_tr_base=1 << 63)]),
    ("32-bit host", [off("exit_controls", 1 << 9)]),
    ("RIP", [put(host_rip=NOT_CANONICAL)]),
]

V86 = 1 << 17

GUEST: list[tuple[str, str, list[Change], int]] = [
    ("CR0.NE", "long", [off("guest_cr0", 1 << 5)], 0),
    ("CR0 upper half", "long", [on("guest_cr0", 1 << 40)], 0),
    ("CR0.PG without PE", "real", [on("guest_cr0", 1 << 31)], 0),
    ("CR4.VMXE", "long", [off("guest_cr4", 1 << 13)], 0),
    ("CR4 unsupported bit", "long", [on("guest_cr4", 1 << 14)], 0),
    ("CR3", "long", [put(guest_cr3=HUGE)], 0),
    ("IA-32e mode without paging", "long", [off("guest_cr0", 1 << 31)], 0),
    ("IA-32e mode without PAE", "long", [off("guest_cr4", 1 << 5)], 0),
    ("PCIDE outside IA-32e mode", "protected", [on("guest_cr4", 1 << 17)], 0),
    ("DR7 upper half", "long", [put(guest_dr7=1 << 32)], 0),
    ("DEBUGCTL", "long", [put(guest_debugctl=2)], 0),
    ("SYSENTER_ESP", "long", [put(guest_sysenter_esp=NOT_CANONICAL)], 0),
    ("SYSENTER_EIP", "long", [put(guest_sysenter_eip=NOT_CANONICAL)], 0),
    ("PAT", "long", [on("entry_controls", 1 << 14), put(guest_pat=3 << 56)], 0),
    ("EFER reserved", "long", [on("guest_efer", 2)], 0),
    ("EFER.LMA against the control", "long", [off("guest_efer", 1 << 10)], 0),
    ("EFER.LME against the control", "long", [off("guest_efer", 1 << 8)], 0),
    ("EFER.LMA in protected mode", "protected", [on("guest_efer", 1 << 10)], 0),
    ("TR selector TI", "long", [put(guest_tr_selector=TASK | 4)], 0),
    ("LDTR selector TI", "long", [put(guest_ldtr_selector=4)], 0),
    ("TR base", "long", [put(guest_tr_base=NOT_CANONICAL)], 0),
    ("FS base", "long", [put(guest_fs_base=NOT_CANONICAL)], 0),
    ("LDTR base", "long", [put(guest_ldtr_base=NOT_CANONICAL)], 0),
    ("CS base upper half", "long", [put(guest_cs_base=1 << 32)], 0),
    ("SS base upper half", "long", [put(guest_ss_base=1 << 32)], 0),
    ("DS base upper half", "long", [put(guest_ds_base=1 << 32)], 0),
    ("CS type", "long", [access("cs", 0xA098)], 0),
    ("CS is data in protected mode of CPL 3", "protected", [access("cs", 0xC0F3), access("ss", 0xC0F3)], 0),
    ("SS type", "long", [access("ss", 0xC09B)], 0),
    ("SS not writable", "long", [access("ss", 0xC091)], 0),
    ("DS not accessed", "long", [access("ds", 0xC092)], 0),
    ("ES is code that cannot be read", "long", [access("es", 0xC099)], 0),
    ("CS is a system segment", "long", [access("cs", 0xA08B)], 0),
    ("GS is a system segment", "long", [access("gs", 0xC083)], 0),
    ("CS DPL", "long", [access("cs", 0xA0FB)], 0),
    ("conforming CS above SS", "long", [access("cs", 0xA0FF)], 0),
    ("SS DPL in real mode", "real", [access("ss", 0xF3), access("cs", 0xFB)], 0),
    ("CS not present", "long", [access("cs", 0xA01B)], 0),
    ("DS not present", "long", [access("ds", 0xC013)], 0),
    ("CS reserved bits", "long", [access("cs", 0xA19B)], 0),
    ("ES reserved upper bits", "long", [access("es", 0x2C093)], 0),
    ("CS.L with CS.D", "long", [access("cs", 0xE09B)], 0),
    ("limit's low bits with G", "long", [put(guest_ds_limit=0xFFFFF000)], 0),
    ("limit's high bits without G", "long", [access("ds", 0x4093)], 0),
    ("TR not busy", "long", [access("tr", 0x89)], 0),
    ("16-bit TSS in IA-32e mode", "long", [access("tr", 0x83)], 0),
    ("TR unusable", "long", [access("tr", 0x1008B)], 0),
    ("TR is not a system segment", "long", [access("tr", 0x9B)], 0),
    ("TR not present", "long", [access("tr", 0x0B)], 0),
    ("TR granularity", "long", [put(guest_tr_limit=0x100067)], 0),
    ("LDTR type", "long", [access("ldtr", 0x83)], 0),
    ("LDTR not present", "long", [access("ldtr", 0x02)], 0),
    ("GDTR base", "long", [put(guest_gdtr_base=NOT_CANONICAL)], 0),
    ("IDTR base", "long", [put(guest_idtr_base=NOT_CANONICAL)], 0),
    ("GDTR limit", "long", [put(guest_gdtr_limit=0x10000)], 0),
    ("IDTR limit", "long", [put(guest_idtr_limit=0x10000)], 0),
    ("RIP upper half", "protected", [put(guest_rip=1 << 32)], 0),
    ("RIP of the linear-address width", "long", [put(guest_rip=1 << 57)], 0),
    ("RFLAGS bit 1", "long", [put(guest_rflags=0)], 0),
    ("RFLAGS reserved", "long", [on("guest_rflags", 1 << 3)], 0),
    ("RFLAGS reserved upper bits", "long", [on("guest_rflags", 1 << 22)], 0),
    ("RFLAGS.VM in IA-32e mode", "long", [on("guest_rflags", V86)], 0),
    ("RFLAGS.VM in real mode", "real", [on("guest_rflags", V86)], 0),
    ("virtual-8086 segments", "protected", [on("guest_rflags", V86)], 0),
    ("RFLAGS.IF with an interrupt", "long", [event(0x20)], 0),
    ("activity state", "long", [put(guest_activity_state=3)], 0),
    ("shutdown", "long", [put(guest_activity_state=2)], 0),
    ("HLT above CPL 0", "long", [access("ss", 0xC0F3), access("cs", 0xA0FB), put(guest_activity_state=1)], 0),
    ("HLT in a shadow", "long", [put(guest_activity_state=1, guest_interruptibility_state=2)], 0),
    ("HLT with an exception", "long", [put(guest_activity_state=1), event(3 << 8 | 6)], 0),
    ("interruptibility reserved", "long", [put(guest_interruptibility_state=1 << 5)], 0),
    ("blocking by SMI", "long", [put(guest_interruptibility_state=4)], 0),
    ("two shadows", "long", [put(guest_interruptibility_state=3, guest_rflags=0x202)], 0),
    ("STI shadow without IF", "long", [put(guest_interruptibility_state=1)], 0),
    ("interrupt in a shadow", "long", [put(guest_interruptibility_state=1, guest_rflags=0x202), event(0x20)], 0),
    ("NMI in the shadow of MOV SS", "long", [put(guest_interruptibility_state=2), event(2 << 8 | 2)], 0),
    (
        "blocked virtual NMI",
        "long",
        [on("pin_based_controls", 1 << 3 | 1 << 5), put(guest_interruptibility_state=8), event(2 << 8 | 2)],
        0,
    ),
    ("pending debug reserved", "long", [put(guest_pending_debug_exceptions=1 << 13)], 0),
    ("pending debug BS in a shadow", "long", [put(guest_interruptibility_state=2, guest_rflags=0x102)], 0),
    (
        "pending debug BS without TF",
        "long",
        [put(guest_interruptibility_state=2, guest_pending_debug_exceptions=1 << 14)],
        0,
    ),
    ("link pointer", "long", [put(vmcs_link_pointer=0x1234)], 4),
    ("link pointer without revision", "long", [put(vmcs_link_pointer=0x500000)], 4),
    (
        "PDPTE reserved bit",
        "protected",
        [on("guest_cr0", 1 << 31), on("guest_cr4", 1 << 5), put(**{"guest_pdpte[2]": 3})],
        2,
    ),
    (
        "PDPTE beyond the width",
        "protected",
        [on("guest_cr0", 1 << 31), on("guest_cr4", 1 << 5), put(**{"guest_pdpte[0]": HUGE | 1})],
        2,
    ),
]


def ids(table: list[tuple[str, list[Change]]]) -> list[str]:
    return [row[0] for row in table]


@pytest.mark.parametrize(("name", "changes"), CONTROLS, ids=ids(CONTROLS))
def test_controls(root: Root, name: str, changes: list[Change]) -> None:
    root.start("hlt")
    for change in changes:
        change(root)
    assert lib.vmx_launch(root.cpu) == FAIL_VALID
    assert root.error() == 7


@pytest.mark.parametrize(("name", "changes"), HOST, ids=ids(HOST))
def test_host_state(root: Root, name: str, changes: list[Change]) -> None:
    root.start("hlt")
    for change in changes:
        change(root)
    assert lib.vmx_launch(root.cpu) == FAIL_VALID
    assert root.error() == 8


@pytest.mark.parametrize(("name", "mode", "changes", "qualification"), GUEST, ids=[row[0] for row in GUEST])
def test_guest_state(root: Root, name: str, mode: str, changes: list[Change], qualification: int) -> None:
    root.start("hlt", mode)
    for change in changes:
        change(root)
    count = root.count
    assert root.enter() == FAILED | 33
    assert root["exit_qualification"] == qualification
    assert root.count == count
    # The launch state is as it was, and a repaired guest enters.
    root.program("hlt", "long")
    root.set(entry_interruption_information=0, vmcs_link_pointer=2**64 - 1)
    root["entry_controls"] = root["entry_controls"] & ~(1 << 14)
    assert lib.vmx_resume(root.cpu) == FAIL_VALID
    assert root.error() == 5
    assert root.enter() == 12


@pytest.mark.parametrize(("name", "mode", "changes", "qualification"), GUEST, ids=[row[0] for row in GUEST])
def test_checks_are_not_skipped_later(
    root: Root, name: str, mode: str, changes: list[Change], qualification: int
) -> None:
    """Every rule holds for VMRESUME too: what was written since the last entry is looked at again."""
    root.start("hlt", mode)
    assert root.enter() == 12
    for change in changes:
        change(root)
    assert root.enter() == FAILED | 33
    assert root["exit_qualification"] == qualification


@pytest.mark.parametrize(("name", "changes"), CONTROLS, ids=ids(CONTROLS))
def test_controls_are_checked_later(root: Root, name: str, changes: list[Change]) -> None:
    root.start("hlt")
    assert root.enter() == 12
    for change in changes:
        change(root)
    assert lib.vmx_resume(root.cpu) == FAIL_VALID
    assert root.error() == 7


def test_a_failed_entry_leaves_the_guest_and_its_event_alone(root: Root) -> None:
    root.start("hlt", guest_rip=1 << 57, guest_rflags=0x202)
    root.inject(0x20, 0)
    assert root.enter() == FAILED | 33
    assert root["guest_rip"] == 1 << 57
    assert root["entry_interruption_information"] == 0x20 | VALID
    root["guest_rip"] = CODE
    assert root.enter() == 12
    assert root["entry_interruption_information"] & VALID == 0


def test_a_vmcs_link_pointer_to_a_vmcs(root: Root) -> None:
    root.start("hlt", vmcs_link_pointer=OTHER_VMCS)
    assert root.enter() == 12


def test_unusable_segments_need_not_be_valid(root: Root) -> None:
    root.start("hlt")
    for name in ("es", "ss", "ds", "fs", "gs", "ldtr"):
        root.segment(name, 0, 0, 0x12345, 0x10000)
    assert root.enter() == 12


def test_v86_guest(root: Root) -> None:
    root.start("int3", "protected")
    root["guest_rflags"] = 2 | V86 | 3 << 12
    for name in ("es", "cs", "ss", "ds", "fs", "gs"):
        root.segment(name, 0x100, 0x1000, 0xFFFF, 0xF3)
    root["guest_cs_selector"], root["guest_cs_base"] = CODE >> 4, CODE
    root["guest_rip"] = 0
    root["exception_bitmap"] = 1 << 3
    assert root.enter() == 0
    assert root["exit_interruption_information"] == VALID | 6 << 8 | 3
    assert root["guest_rflags"] == 2 | V86 | 3 << 12
    assert root["guest_cs_access_rights"] == 0xF3


def test_pdptes_come_from_the_vmcs_under_ept(root: Root) -> None:
    """CR3 points nowhere: only the components translate."""
    root.start("mov eax, [0x40000000]; hlt", "protected", guest_cr3=0x1FE000)
    root.write(PAGE_TABLES, struct.pack("<512Q", *(n << 21 | 0x83 for n in range(512))))
    root.write(DATA, b"\x78\x56\x34\x12")
    root.set(guest_cr0=root["guest_cr0"] | 1 << 31, guest_cr4=root["guest_cr4"] | 1 << 5)
    root["guest_pdpte[0]"] = root["guest_pdpte[1]"] = PAGE_TABLES | 1
    root.write(0, b"\xef\xbe\xad\xde")
    assert root.enter() == 12
    assert root.gpr("rax") == 0xDEADBEEF
    assert root["guest_pdpte[1]"] == PAGE_TABLES | 1


def test_pdptes_come_from_memory_without_ept(root: Root) -> None:
    root.start("mov eax, [0x40000000]; hlt", "protected", guest_cr3=DATA)
    root["secondary_controls"] = root.controls(0x48B, 0)
    root.write(PAGE_TABLES, struct.pack("<512Q", *(n << 21 | 0x83 for n in range(512))))
    root.write(DATA, struct.pack("<4Q", PAGE_TABLES | 1, PAGE_TABLES | 1, 0, 0))
    root.set(guest_cr0=root["guest_cr0"] | 1 << 31, guest_cr4=root["guest_cr4"] | 1 << 5)
    root.write(0, b"\xef\xbe\xad\xde")
    assert root.enter() == 12
    assert root.gpr("rax") == 0xDEADBEEF
    root.write(DATA, struct.pack("<4Q", PAGE_TABLES | 3, 0, 0, 0))
    root["guest_cr3"] = DATA
    assert root.enter() == FAILED | 33
    assert root["exit_qualification"] == 2


def test_a_restricted_guest_has_no_real_mode(root: Root) -> None:
    root.start("hlt", "real")
    root["secondary_controls"] = root["secondary_controls"] & ~(1 << 7)
    assert root.enter() == FAILED | 33
    root.program("hlt", "long")
    assert root.enter() == 12


RESTRICTED: list[tuple[str, list[Change]]] = [
    ("SS and CS of different RPL", [put(guest_ss_selector=0x13)]),
    ("SS RPL and DPL", [put(guest_ss_selector=0x13, guest_cs_selector=0x1B)]),
    ("DS RPL above DPL", [put(guest_ds_selector=0x13)]),
    ("CS is data", [access("cs", 0xC093), off("entry_controls", 1 << 9)]),
]


@pytest.mark.parametrize(("name", "changes"), RESTRICTED, ids=ids(RESTRICTED))
def test_restricted_segments(root: Root, name: str, changes: list[Change]) -> None:
    root.start("hlt")
    root["secondary_controls"] = root["secondary_controls"] & ~(1 << 7)
    for change in changes:
        change(root)
    assert root.enter() == FAILED | 33


def test_what_entry_loads_and_exit_saves(root: Root) -> None:
    """Every component of the guest-state area comes back as the guest did not change it."""
    values = {
        "guest_sysenter_cs": 0x77,
        "guest_sysenter_esp": 0xFFFF800000001000,
        "guest_sysenter_eip": 0xFFFF800000002000,
        "guest_fs_base": 0x123456789ABC,
        "guest_gs_base": 0xFFFF812345678000,
        "guest_dr7": 0x455,
        "guest_pat": 0x0007040600070406,
        "guest_ldtr_base": 0xFFFF800000003000,
        "guest_rflags": 0x40ED7,
        "guest_interruptibility_state": 8,
    }
    root.start("hlt")
    root.set(**values)
    root["entry_controls"] = root["entry_controls"] | 1 << 14
    root["exit_controls"] = root["exit_controls"] | 1 << 18
    before = {name: root[name] for name in guest_state()}
    assert root.enter() == 12
    after = {name: root[name] for name in guest_state()}
    assert {name for name in before if before[name] != after[name]} == set()
    assert {name: after[name] for name in values} == values


def guest_state() -> list[str]:
    return [name for name, encoding in FIELDS.items() if (encoding >> 10 & 3) == 2]


def test_dr7_and_cr0_have_fixed_bits(root: Root) -> None:
    root.start("hlt", guest_dr7=0xD000)
    root["guest_cr0"] = root["guest_cr0"] | 1 << 30 | 1 << 6
    assert root.enter() == 12
    assert root["guest_dr7"] == 0x400
    assert root["guest_cr0"] == 0x80000031  # CD and reserved bits are not loaded


def test_root_has_its_own_msrs(root: Root) -> None:
    """What a VM exit loads is what RDMSR shows in root operation; the guest's own come back with the next entry."""
    sysenter, fs, gs, efer = 0x175, 0xC0000100, 0xC0000101, 0xC0000080
    root.start(
        "mov ecx, 0xc0000100; rdmsr; hlt; rdmsr; hlt",
        host_fs_base=0x1111000,
        host_gs_base=0x2222000,
        host_sysenter_esp=0x3333,
        guest_fs_base=0x4444000,
    )
    root["primary_controls"] = root["primary_controls"] | 1 << 28
    assert root.enter() == 12
    assert root.gpr("rax") == 0x4444000
    assert [root.rdmsr(index) for index in (sysenter, fs, gs)] == [0x3333, 0x1111000, 0x2222000]
    assert root.rdmsr(efer) & 0x500 == 0x500
    assert root.wrmsr(fs, 0x5555000)
    root.skip()
    assert root.enter() == 12
    assert root.gpr("rax") == 0x4444000
    assert root.rdmsr(fs) == 0x1111000


def test_efer_without_its_control(root: Root) -> None:
    """LMA and LME follow `IA-32e mode guest`; the rest is root's."""
    root.start("mov ecx, 0xc0000080; rdmsr; hlt")
    root["primary_controls"] = root["primary_controls"] | 1 << 28
    root["entry_controls"] = root["entry_controls"] & ~(1 << 15)
    assert root.wrmsr(0xC0000080, root.rdmsr(0xC0000080) | 1)
    assert root.enter() == 12
    assert root.gpr("rax") & 0x501 == 0x501
    root.program("mov ecx, 0xc0000080; rdmsr; hlt", "protected")
    assert root.enter() == 12
    assert root.gpr("rax") & 0x501 == 0x101  # LME follows only when the guest pages


def area(*entries: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<IIQ", index, 0, value) for index, value in entries)


def test_msr_areas(root: Root) -> None:
    star, lstar, kernel_gs = 0xC0000081, 0xC0000082, 0xC0000102
    root.start("mov ecx, 0xc0000082; rdmsr; shl rdx, 32; or rax, rdx; hlt")
    root["primary_controls"] = root["primary_controls"] | 1 << 28
    root.write(MSR_ENTRY_LOAD, area((lstar, 0xFFFF800000001234), (star, 0x1B000800000000)))
    root.write(MSR_STORE, area((lstar, 0), (star, 0)))
    root.write(MSR_EXIT_LOAD, area((lstar, 0x5678), (kernel_gs, 0x9000)))
    root.set(entry_msr_load_count=2, entry_msr_load_address=MSR_ENTRY_LOAD)
    root.set(exit_msr_store_count=2, exit_msr_store_address=MSR_STORE)
    root.set(exit_msr_load_count=2, exit_msr_load_address=MSR_EXIT_LOAD)
    assert root.enter() == 12
    assert root.gpr("rax") == 0xFFFF800000001234
    assert root.read(MSR_STORE, 32) == area((lstar, 0xFFFF800000001234), (star, 0x1B000800000000))
    assert root.rdmsr(lstar) == 0x5678
    assert root.rdmsr(kernel_gs) == 0x9000


@pytest.mark.parametrize(
    ("index", "value"),
    [
        (0xC0000100, 0),  # FS.base
        (0xC0000101, 0),
        (0x802, 0),  # x2APIC
        (0x480, 0),  # read-only
        (0xC0000082, NOT_CANONICAL),
        (0x12345, 0),  # no such MSR
    ],
)
def test_msr_loading_fails(root: Root, index: int, value: int) -> None:
    root.start("hlt")
    root.write(MSR_ENTRY_LOAD, area((0xC0000081, 0), (index, value)))
    root.set(entry_msr_load_count=2, entry_msr_load_address=MSR_ENTRY_LOAD)
    count = root.count
    assert root.enter() == FAILED | 34
    assert root["exit_qualification"] == 2
    assert root.count == count


def test_vmx_abort(root: Root) -> None:
    """An MSR that cannot be loaded on exit ends VMX operation, and its indicator says why."""
    root.start("hlt", exit_msr_load_count=1, exit_msr_load_address=MSR_EXIT_LOAD)
    root.write(MSR_EXIT_LOAD, area((0x480, 0)))
    assert lib.vmx_launch(root.cpu) == 1
    assert root.word(VMCS + 4, 4) == 4
    assert lib.vmx_ptrld(root.cpu, VMCS) == 1
    assert lib.vmx_on(root.cpu, VMXON) == SUCCEED


def test_without_vpid_an_entry_flushes_translations(root: Root) -> None:
    root.start(f"mov eax, [{DATA}]; hlt; jmp {CODE}", "long")
    root["secondary_controls"] = root["secondary_controls"] & ~(1 << 5)
    root.write(DATA, struct.pack("<I", 1))
    root.write(0x20000 + DATA, struct.pack("<I", 2))
    table = 0x14000
    root.write(PAGE_TABLES + 0x2000, struct.pack("<Q", table | 7))
    root.write(table, struct.pack("<512Q", *(n << 12 | 7 for n in range(512))))
    assert root.enter() == 12
    assert root.gpr("rax") == 1
    root.write(table + DATA // 4096 * 8, struct.pack("<Q", 0x20000 + DATA | 7))
    root["guest_rip"] = CODE
    assert root.enter() == 12
    assert root.gpr("rax") == 2


def test_tss_is_where_the_vmcs_says(root: Root) -> None:
    root.start("str ax; hlt")
    assert root.enter() == 12
    assert root.gpr("rax") & 0xFFFF == TASK
    assert root["guest_tr_base"] == TSS
