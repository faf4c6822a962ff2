"""5-level paging: CR4.LA57, and how wide addresses are where (SDM volume 1, 3.3.7.1; volume 3, 4.5).

Memory is accessed, and code runs, by the paging mode; what registers hold and what is invalidated is as wide as the
processor's addresses are, whatever the mode.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from paging import LA57, PAE, Case, PagedProbe, good_entries
from probe import DONE, GP, PF, SS, Outcome, Probe, fault
from rootmode import CODE, CODE64, DATA, DATA32, GDT, STACK, TSS, lib

WIDE = 1 << 47  # canonical in 57 bits, not in 48
LAST = (1 << 56) - 1
TOO_WIDE = 1 << 56
BOTH = (0xFFFF800000000000, 0x7FFFFFFFFFFF)
SLOT = 0x48  # of a descriptor in the GDT
MOV_TO_CR4 = b"\x0f\x22\xe1"  # MOV CR4, RCX


@pytest.fixture(params=["max", "max,-la57"])
def model(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def probe(model: str) -> Iterator[Probe]:
    made = Probe(model, "long")
    yield made
    made.close()


@pytest.fixture(params=["4-level", "5-level"])
def paged(request: pytest.FixtureRequest) -> Iterator[PagedProbe]:
    made = PagedProbe(request.param)
    made.access(Case(request.param, good_entries(request.param)))
    yield made
    made.close()


# ---- CR4.LA57 ----


def write_cr4(probe: Probe, value: int) -> Outcome:
    probe.put("rcx", value)
    return probe.run(MOV_TO_CR4)


@pytest.mark.parametrize("mode", ["real", "protected"])
def test_cr4_la57_outside_ia32e_mode(model: str, mode: str) -> None:
    probe = Probe(model, mode)
    cr4 = probe["guest_cr4"]
    outcome = DONE if model == "max" else fault(GP, *([0] if mode == "protected" else []))
    assert write_cr4(probe, cr4 | LA57) == outcome
    assert probe["guest_cr4"] == (cr4 | LA57 if outcome == DONE else cr4)
    assert write_cr4(probe, cr4) == DONE
    assert probe["guest_cr4"] == cr4
    probe.close()


def test_cr4_la57_in_ia32e_mode(paged: PagedProbe) -> None:
    cr4 = paged["guest_cr4"]
    assert write_cr4(paged, cr4 ^ LA57) == fault(GP, 0)
    assert paged["guest_cr4"] == cr4
    assert write_cr4(paged, cr4 & ~PAE) == fault(GP, 0)
    assert write_cr4(paged, cr4) == DONE, "nothing changes"


def test_vm_entry_with_cr4_la57(probe: Probe, model: str) -> None:
    assert bool(probe.rdmsr(0x489) & LA57) == (model == "max"), "IA32_VMX_CR4_FIXED1"
    probe["guest_cr4"] = probe["guest_cr4"] | LA57
    assert (probe.enter() >> 31 == 0) == (model == "max")


def test_la57_does_nothing_to_32_bit_paging() -> None:
    probe = PagedProbe("pae")
    case = Case("pae", good_entries("pae"), cr4=LA57)
    assert probe.access(case) == DONE
    probe.close()


# ---- what registers may hold ----

STORES: dict[str, list[int] | list[bytes]] = {
    "MSR": [0xC0000082, 0xC0000083, 0xC0000100, 0xC0000101, 0xC0000102, 0x175, 0x176],
    "LGDT": [b"\x0f\x01\x10"],
    "LIDT": [b"\x0f\x01\x18"],
    "LTR": [b"\x0f\x00\xd8"],
    "LLDT": [b"\x0f\x00\xd0"],
    "WRFSBASE": [b"\xf3\x48\x0f\xae\xd0"],
    "WRGSBASE": [b"\xf3\x48\x0f\xae\xd8"],
    "INVPCID": [b"\x66\x0f\x38\x82\x08"],
}


def store(probe: Probe, what: str, how: int | bytes, value: int) -> Outcome:
    """Has the instruction load, or invalidate, an address."""
    if isinstance(how, int):
        probe["primary_controls"] = probe["primary_controls"] | 1 << 28  # MSR bitmaps, all clear
        probe.put("rcx", how)
        probe.put("rax", value & 0xFFFFFFFF)
        probe.put("rdx", value >> 32)
        return probe.run(b"\x0f\x30")
    probe.put("rcx", 0)
    probe.put("rax", value if what.startswith("WR") else SLOT if what in ("LTR", "LLDT") else DATA)
    if what in ("LTR", "LLDT"):
        access = 0x89 if what == "LTR" else 0x82
        low = 0x67 | (value & 0xFFFFFF) << 16 | access << 40 | (value >> 24 & 0xFF) << 56
        probe.quad(GDT + SLOT, low, value >> 32)
        probe["guest_gdtr_limit"] = SLOT + 15
    elif what in ("LGDT", "LIDT"):
        probe.write(DATA, (0xFFF).to_bytes(2, "little") + value.to_bytes(8, "little"))
    else:
        probe.quad(DATA, 0, value)
    return probe.run(how)


@pytest.mark.parametrize("what", STORES)
@pytest.mark.parametrize("la57", [0, LA57])
def test_what_registers_hold_is_as_wide_as_the_processor(model: str, what: str, la57: int) -> None:
    if la57 and model != "max":
        pytest.skip("the model has no such bit")
    for how in STORES[what]:
        for value, good in [*((value, True) for value in BOTH), (WIDE, model == "max"), (LAST, model == "max"),
                            (TOO_WIDE, False), (1 << 63, False)]:  # fmt: skip
            # 5-level paging of an address space whose PML5 has the one entry that there is
            probe = PagedProbe("5-level") if la57 else Probe(model, "long")
            if isinstance(probe, PagedProbe):
                probe.access(Case("5-level", good_entries("5-level")))
            probe["guest_cr4"] = probe["guest_cr4"] | 1 << 16  # FSGSBASE
            wanted = DONE if good else fault(GP, SLOT if what in ("LTR", "LLDT") else 0)
            assert store(probe, what, how, value) == wanted, (how, hex(value))
            probe.close()


FIELDS = ("sysenter_esp", "sysenter_eip", "fs_base", "gs_base", "gdtr_base", "idtr_base", "tr_base")


@pytest.mark.parametrize("field", [*(f"guest_{name}" for name in (*FIELDS, "ldtr_base")),
                                   *(f"host_{name}" for name in (*FIELDS, "rip"))])  # fmt: skip
def test_vmcs_fields(model: str, field: str) -> None:
    for value, good in [*((value, True) for value in BOTH), (WIDE, model == "max"), (TOO_WIDE, False)]:
        probe = Probe(model, "long")
        probe["guest_ldtr_access_rights"] = 0x82
        probe[field] = value
        probe["preemption_timer_value"] = 0
        launched = lib.vmx_launch(probe.cpu) == 0
        assert (launched and probe["exit_reason"] >> 31 == 0) == good, hex(value)
        probe.close()


def test_guest_rip_has_no_more_bits_than_the_processor(model: str) -> None:
    """27.3.1.4: bits 63:N are alike; that bit N - 1 is so too is not looked at."""
    for value, good in [(1 << 47, True), (1 << 48, model == "max"), (1 << 56, model == "max"), (1 << 57, False),
                        (2**64 - (1 << 48), True), (2**64 - (1 << 57), model == "max")]:  # fmt: skip
        probe = Probe(model, "long")
        probe.set(guest_rip=value, preemption_timer_value=0)
        probe.enter()
        assert (probe["exit_reason"] >> 31 == 0) == good, hex(value)
        probe.close()


def test_invvpid(model: str) -> None:
    probe = Probe(model, "long")
    for value, good in [(WIDE, model == "max"), (TOO_WIDE, False), (BOTH[0], True)]:
        assert (lib.vmx_invvpid(probe.cpu, 0, 1, value) == 0) == good
    probe.close()


# ---- where memory is and code runs ----


@pytest.mark.parametrize(
    ("code", "address", "narrow", "wide"),
    [
        (b"\x8a\x18", WIDE, fault(GP, 0), fault(PF, 0, WIDE)),  # MOV BL, [RAX]
        (b"\x8a\x18", LAST, fault(GP, 0), fault(PF, 0, LAST)),
        (b"\x8a\x18", TOO_WIDE, fault(GP, 0), fault(GP, 0)),
        (b"\x8a\x18", 2**64 - (1 << 56), fault(GP, 0), fault(PF, 0, 2**64 - (1 << 56))),
        (b"\x48\x8b\x18", LAST, fault(GP, 0), fault(GP, 0)),  # MOV RBX, [RAX]: its end is beyond
        (b"\x48\x8b\x18", BOTH[1], fault(GP, 0), fault(PF, 0, BOTH[1])),  # from the last of 48 bits to the next
        (b"\x8a\x5d\x00", WIDE, fault(SS, 0), fault(PF, 0, WIDE)),  # by RBP
        (b"\x0f\x01\x38", WIDE, DONE, DONE),  # INVLPG
        (b"\x0f\x01\x38", 1 << 63, DONE, DONE),
        (b"\xff\xe0", WIDE, fault(GP, 0), DONE),  # JMP RAX: what is there is the next instruction's business
        (b"\xff\xe0", TOO_WIDE, fault(GP, 0), fault(GP, 0)),
    ],
)
def test_accesses(paged: PagedProbe, code: bytes, address: int, narrow: Outcome, wide: Outcome) -> None:
    paged.put("rax", address)
    paged.put("rbp", address)
    assert paged.run(code) == (narrow if paged.paging == "4-level" else wide)


def test_the_next_instruction_is_fetched_from_there(paged: PagedProbe) -> None:
    outcomes = {"4-level": fault(GP, 0), "5-level": fault(PF, 0, WIDE)}
    paged["guest_rip"] = WIDE
    assert paged.step() == outcomes[paged.paging]


def test_returns(paged: PagedProbe) -> None:
    """IRETQ, SYSRET and SYSEXIT look at where they go by the paging mode."""
    good = DONE if paged.paging == "5-level" else fault(GP, 0)
    paged["guest_efer"] = paged["guest_efer"] | 1
    assert paged.wrmsr(0xC0000081, 0x0013_0008 << 32)
    for target in (WIDE, TOO_WIDE):
        wanted = good if target == WIDE else fault(GP, 0)
        paged.program("nop")
        paged.access(Case(paged.paging, good_entries(paged.paging)))
        paged.quad(STACK - 40, target, CODE64, 2, STACK, DATA32)
        assert paged.run(b"\x48\xcf", guest_rsp=STACK - 40) == wanted
        for code, rip, rsp in [
            (b"\x48\x0f\x07", "rcx", "rcx"),  # SYSRET
            (b"\x48\x0f\x35", "rdx", "rcx"),  # SYSEXIT: RIP, then RSP
            (b"\x48\x0f\x35", "rcx", "rdx"),
        ]:
            paged.access(Case(paged.paging, good_entries(paged.paging)))
            paged.set(guest_sysenter_cs=8)
            paged["guest_efer"] = paged["guest_efer"] | 1
            paged.put(rsp, CODE)
            paged.put(rip, target)
            paged.put("r11", 2)
            assert paged.run(code) == wanted, (code, rip)


def test_gates_and_stacks_of_interrupts(paged: PagedProbe) -> None:
    """An IDT entry's offset that is not canonical is #GP, a TSS's stack pointer #SS."""
    wide = paged.paging == "5-level"
    breakpoint_gate = paged["guest_idtr_base"] + 3 * 16
    gate = paged.read(breakpoint_gate, 16)
    offset = WIDE | 0x1234
    changed = (
        (offset & 0xFFFF).to_bytes(2, "little") + gate[2:6] + (offset >> 16 & 0xFFFF).to_bytes(2, "little")
        + (offset >> 32).to_bytes(4, "little") + gate[12:]
    )  # fmt: skip
    paged.write(breakpoint_gate, changed)
    paged["exception_bitmap"] = 0xFFFFFFFF & ~(1 << 3)
    outcome = paged.run(b"\xcc")
    assert outcome == (DONE if wide else fault(GP, 0))
    assert not wide or paged["guest_rip"] == offset
    paged.write(breakpoint_gate, gate[:4] + b"\x01" + gate[5:])  # IST 1
    paged.quad(TSS + 36, WIDE)
    paged["guest_rip"] = CODE
    outcome = paged.run(b"\xcc")
    assert outcome == (fault(PF, 2, WIDE - 8) if wide else fault(SS, 0))
