"""Control and debug registers, MSRs, flags, time stamps, random numbers: what changes and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from probe import AC as ALIGNMENT
from probe import DB, DONE, GP, UD, Outcome, Probe, fault
from rootmode import CODE, DATA, PAGE_TABLES, STACK, TSS, USER_CODE64, USER_DATA, ffi, lib, page_tables

PE, NE, ET, NW, CD, PG, WP, AM = 1, 1 << 5, 1 << 4, 1 << 29, 1 << 30, 1 << 31, 1 << 16, 1 << 18
PAE, PGE, UMIP, VMXE, PCIDE, SMEP = 1 << 5, 1 << 7, 1 << 11, 1 << 13, 1 << 17, 1 << 20
LONG_CR0, LONG_CR4 = PG | NE | ET | PE, VMXE | 0x620
IF, TF, NT, AC, IOPL, VIF, ID = 1 << 9, 1 << 8, 1 << 14, 1 << 18, 3 << 12, 1 << 19, 1 << 21


@pytest.fixture
def probe() -> Iterator[Probe]:
    """64-bit code, CPL 0."""
    made = Probe("max")
    made["primary_controls"] = made["primary_controls"] | 1 << 28  # MSR bitmaps, all clear
    yield made
    made.close()


def user(probe: Probe) -> None:
    probe.segment("cs", USER_CODE64, 0, 0xFFFFFFFF, 0xA0FB)
    probe.segment("ss", USER_DATA, 0, 0xFFFFFFFF, 0xC0F3)


# ---- control registers ----


def to_cr(number: int) -> bytes:
    """MOV CRn, RCX"""
    return bytes([0x0F, 0x22, 0xC1 | number << 3])


@pytest.mark.parametrize(
    ("number", "value", "outcome"),
    [
        (0, LONG_CR0 | WP | AM, DONE),
        (0, LONG_CR0 | 1 << 32, fault(GP, 0)),
        (0, LONG_CR0 & ~PE, fault(GP, 0)),  # PG without PE
        (0, LONG_CR0 | NW, fault(GP, 0)),  # NW without CD
        (0, LONG_CR0 & ~PG, fault(GP, 0)),  # out of 64-bit code
        (2, 2**64 - 1, DONE),
        (3, 1 << 40, fault(GP, 0)),  # the processor has 40 address bits
        (3, 1 << 63 | 0x10000, fault(GP, 0)),  # without PCIDs
        (4, LONG_CR4 | PGE | SMEP, DONE),
        (4, LONG_CR4 & ~PAE, fault(GP, 0)),
        (4, LONG_CR4 | 1 << 12, fault(GP, 0)),  # LA57: not in IA-32e mode
        (4, LONG_CR4 | 1 << 15, fault(GP, 0)),
        (4, LONG_CR4 | 1 << 32, fault(GP, 0)),
        (4, LONG_CR4 | PCIDE, DONE),
        (8, 15, DONE),
        (8, 16, fault(GP, 0)),
    ],
)
def test_writes_of_control_registers(probe: Probe, number: int, value: int, outcome: Outcome) -> None:
    probe.put("rcx", value)
    code = to_cr(number) if number < 8 else b"\x44" + to_cr(0)
    assert probe.run(code) == outcome
    if outcome == DONE and number in (0, 4):
        assert probe[f"guest_cr{number}"] == value
    user(probe)
    assert probe.run(code) == fault(GP, 0), "CPL 3"


def test_pcide_needs_a_cr3_without_pcid(probe: Probe) -> None:
    probe["guest_cr3"] = probe["guest_cr3"] | 0x18
    probe.put("rcx", LONG_CR4 | PCIDE)
    assert probe.run(to_cr(4)) == fault(GP, 0)


def test_into_and_out_of_ia_32e_mode() -> None:
    probe = Probe("max", "protected")
    probe.write(PAGE_TABLES, page_tables())
    probe["entry_controls"] = probe["entry_controls"] | 1 << 15
    probe.set(guest_efer=1 << 8, guest_cr3=PAGE_TABLES)
    probe.put("rcx", LONG_CR0)
    assert probe.run(to_cr(0)) == fault(GP, 0), "PAE is clear"
    probe["guest_cr4"] = probe["guest_cr4"] | PAE
    assert probe.run(to_cr(0)) == DONE
    assert probe["guest_efer"] == 1 << 8 | 1 << 10, "LMA follows"
    probe["entry_controls"] = probe["entry_controls"] | 1 << 9
    probe.put("rcx", LONG_CR0 & ~PG)
    assert probe.run(to_cr(0)) == DONE, "from compatibility mode"
    assert probe["guest_efer"] == 1 << 8
    probe.close()


def test_reserved_bits_of_pdptes() -> None:
    probe = Probe("max", "protected")
    probe.set(guest_cr3=DATA, guest_cr4=probe["guest_cr4"] | PAE)
    probe.quad(DATA, 0, 0, 0, 0)
    probe.put("rcx", PG | NE | ET | PE)
    for bit in (1, 2, 5, 8, 40, 63):
        probe.quad(DATA + 16, 1 | 1 << bit)
        assert probe.run(to_cr(0)) == fault(GP, 0), bit
    probe.quad(DATA + 16, 1 << 5)
    probe.quad(DATA, 0x10001)
    probe.write(0x10000, (0x83).to_bytes(8, "little"))
    assert probe.run(to_cr(0)) == DONE, "an entry that is not present has none"
    assert probe["guest_pdpte[0]"] == 0x10001
    probe.close()


def test_lmsw_sets_pe_and_does_not_clear_it(probe: Probe) -> None:
    probe.put("rcx", 0xFFF0)
    assert probe.run(b"\x0f\x01\xf1") == DONE
    assert probe["guest_cr0"] == LONG_CR0, "PE stays, bits 3:1 are loaded"
    probe.put("rcx", 0xE)
    assert probe.run(b"\x0f\x01\xf1") == DONE
    assert probe["guest_cr0"] == LONG_CR0 | 0xE
    assert probe.run(b"\x0f\x01\xe0") == DONE  # SMSW EAX
    assert probe.gpr("rax") == LONG_CR0 | 0xE
    assert probe.run(b"\x0f\x06") == DONE  # CLTS
    assert probe["guest_cr0"] == LONG_CR0 | 6


# ---- debug registers ----


def test_debug_registers(probe: Probe) -> None:
    assert probe.run(b"\x0f\x23\xf9", guest_dr7=0x400) == DONE  # MOV DR7, RCX
    for value, held in [(0, 0x400), (0xFFFF0000, 0xFFFF0400), (0xDFFF, 0x400 | 0x3FF)]:
        probe.put("rcx", value)
        assert probe.run(b"\x0f\x23\xf9", guest_dr7=0x400) == DONE
        assert probe["guest_dr7"] == held | value & 0x3FF
    probe.put("rcx", 1 << 32)
    assert probe.run(b"\x0f\x23\xf9", guest_dr7=0x400) == fault(GP, 0)
    assert probe.run(b"\x0f\x21\xe0") == DONE, "DR4 is DR6"
    assert probe.gpr("rax") == probe.registers.dr6
    probe["guest_cr4"] = LONG_CR4 | 1 << 3  # DE
    assert probe.run(b"\x0f\x21\xe0") == fault(UD)


def test_general_detect(probe: Probe) -> None:
    assert probe.run(b"\x0f\x21\xc0", guest_dr7=0x400 | 1 << 13) == fault(DB)
    assert probe["exit_qualification"] == 1 << 13


@pytest.mark.parametrize(
    ("kind", "length", "at", "code", "hit"),
    [
        (1, 3, 0, b"\x88\x08", True),  # MOV [RAX], CL; four bytes watched for writes
        (1, 3, 3, b"\x88\x08", True),
        (1, 3, 4, b"\x88\x08", False),
        (1, 3, -1, b"\x66\x89\x08", True),
        (1, 3, 0, b"\x8a\x08", False),
        (3, 0, 0, b"\x8a\x08", True),
        (3, 2, 7, b"\x8a\x08", True),
        (3, 2, 8, b"\x8a\x08", False),
    ],
)
def test_data_breakpoints(probe: Probe, kind: int, length: int, at: int, code: bytes, hit: bool) -> None:
    probe.registers.dr[1] = DATA
    probe.put("rax", DATA + at)
    outcome = probe.run(code + b"\x90", guest_dr7=0x400 | 1 << 3 | (kind | length << 2) << 20)
    if outcome == DONE and hit:
        assert probe["guest_pending_debug_exceptions"] & 2
    else:
        assert outcome == (fault(DB) if hit else DONE)
        assert not hit or probe["exit_qualification"] & 15 == 2
    assert probe["guest_rip"] == CODE + len(code), "a trap"


# ---- flags ----


@pytest.mark.parametrize(
    ("cpl", "iopl", "changed"),
    [(0, 0, IF | IOPL | NT | AC | ID), (3, 3, IF | NT | AC | ID), (3, 2, NT | AC | ID)],
)
def test_flags_that_popf_takes(probe: Probe, cpl: int, iopl: int, changed: int) -> None:
    if cpl:
        user(probe)
    every = IF | IOPL | NT | AC | ID | VIF | 0xCD5
    probe.quad(STACK - 8, every)
    assert probe.run(b"\x9d", guest_rsp=STACK - 8, guest_rflags=2 | iopl << 12) == DONE
    kept = 0 if changed & IOPL else iopl << 12
    assert probe["guest_rflags"] == 2 | 0xCD5 | changed | kept
    assert probe.run(b"\x9c") == DONE
    assert probe.word(STACK - 8) == 2 | 0xCD5 | changed | kept


@pytest.mark.parametrize(("cpl", "iopl", "outcome"), [(0, 0, DONE), (3, 3, DONE), (3, 0, fault(GP, 0))])
def test_cli_and_sti(probe: Probe, cpl: int, iopl: int, outcome: Outcome) -> None:
    if cpl:
        user(probe)
    assert probe.run(b"\xfb", guest_rflags=2 | iopl << 12) == outcome
    if outcome == DONE:
        assert probe["guest_rflags"] & IF
        assert probe["guest_interruptibility_state"] == 1, "blocking by STI"
        probe["guest_interruptibility_state"] = 0
        assert probe.run(b"\xfb") == DONE
        assert probe["guest_interruptibility_state"] == 0, "interrupts were on already"
    assert probe.run(b"\xfa") == outcome
    assert not probe["guest_rflags"] & IF


@pytest.mark.parametrize("code", [b"\xfa", b"\xfb", b"\x9c", b"\x9d", b"\xcd\x21", b"\xcf"])
def test_sensitive_instructions_in_virtual_8086_mode(code: bytes) -> None:
    probe = Probe("max", "protected")
    for name in ("es", "cs", "ss", "ds", "fs", "gs"):
        probe.segment(name, 0, 0, 0xFFFF, 0xF3)
    probe.set(guest_rflags=2 | 1 << 17, guest_rsp=STACK)
    assert probe.run(code) == fault(GP, 0), "IOPL is 0"
    probe["guest_rflags"] = 2 | 1 << 17 | IOPL
    probe.write(STACK, b"\x00\x90\x00\x00\x02\x00")
    probe.long(TSS + 4, 0xE000, 0x10)
    assert probe.run(code) == DONE
    probe.close()


@pytest.mark.parametrize("code", [b"\x0f\x01\x00", b"\x0f\x01\x08", b"\x0f\x00\xc0", b"\x0f\x00\xc8", b"\x0f\x01\xe0"])
def test_descriptor_tables_may_be_read_without_umip(probe: Probe, code: bytes) -> None:
    probe.put("rax", DATA)
    user(probe)
    assert probe.run(code) == DONE


# ---- descriptor-table registers ----


def test_lgdt_and_sidt(probe: Probe) -> None:
    probe.put("rax", DATA)
    probe.write(DATA, (0x7F).to_bytes(2, "little") + (0xFFFF800000001000).to_bytes(8, "little"))
    assert probe.run(b"\x0f\x01\x10") == DONE
    assert (probe["guest_gdtr_base"], probe["guest_gdtr_limit"]) == (0xFFFF800000001000, 0x7F)
    assert probe.run(b"\x0f\x01\x08") == DONE
    assert probe.read(DATA, 2) == (0xFFF).to_bytes(2, "little")
    assert probe.word(DATA + 2) == probe["guest_idtr_base"]
    probe.quad(DATA + 2, NOT_CANONICAL)
    assert probe.run(b"\x0f\x01\x18") == fault(GP, 0), "not canonical"
    user(probe)
    assert probe.run(b"\x0f\x01\x10") == fault(GP, 0)


def test_lgdt_with_a_16_bit_operand() -> None:
    """24 bits of the base, as the 80286 had."""
    probe = Probe("max", "protected")
    probe.put("rax", DATA)
    probe.write(DATA, b"\xff\x00" + (0x12345678).to_bytes(4, "little"))
    assert probe.run(b"\x66\x0f\x01\x10") == DONE
    assert probe["guest_gdtr_base"] == 0x345678
    assert probe.run(b"\x0f\x01\x10") == DONE
    assert probe["guest_gdtr_base"] == 0x12345678
    probe.close()


# ---- MSRs ----

STAR, LSTAR, CSTAR, FMASK, FS_BASE, GS_BASE, KERNEL_GS_BASE, TSC_AUX = (
    0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084, 0xC0000100, 0xC0000101, 0xC0000102, 0xC0000103
)  # fmt: skip
PAT, MTRR_DEF_TYPE, PHYSBASE, PHYSMASK, FIX64K, MTRRCAP = 0x277, 0x2FF, 0x200, 0x201, 0x250, 0xFE
NOT_CANONICAL = 1 << 56  # in 57 bits, whatever CR4.LA57: test_la57.py


def wrmsr(probe: Probe, index: int, value: int) -> Outcome:
    probe.put("rcx", index)
    probe.put("rax", value & 0xFFFFFFFF)
    probe.put("rdx", value >> 32)
    return probe.run(b"\x0f\x30")


def rdmsr(probe: Probe, index: int) -> int | Outcome:
    probe.put("rcx", index)
    outcome = probe.run(b"\x0f\x32")
    return probe.gpr("rdx") << 32 | probe.gpr("rax") if outcome == DONE else outcome


@pytest.mark.parametrize(
    ("index", "good", "bad"),
    [
        (STAR, [0xFFFFFFFFFFFFFFFF], []),
        (LSTAR, [0xFFFF800000000000], [NOT_CANONICAL]),
        (CSTAR, [0x7FFFFFFFFFFF], [NOT_CANONICAL]),
        (FMASK, [0xFFFFFFFF], [1 << 32]),
        (FS_BASE, [0x7FFFFFFFFFFF], [NOT_CANONICAL]),
        (GS_BASE, [0xFFFFFFFFFFFFFFFF], [NOT_CANONICAL]),
        (KERNEL_GS_BASE, [5], [NOT_CANONICAL]),
        (TSC_AUX, [0xFFFFFFFF], [1 << 32]),
        (0x174, [0xFFFF], []),
        (0x175, [0xFFFF800000000000], [NOT_CANONICAL]),
        (0x176, [0xFFFF800000000000], [NOT_CANONICAL]),
        (PAT, [0x0007040600070406, 0x0706050401000000], [2, 3 << 56, 8]),
        (MTRR_DEF_TYPE, [0xC06, 0], [2, 0x100, 1 << 32]),
        (PHYSBASE, [0x80000006], [0x80000002, 0x100, 1 << 40]),
        (PHYSMASK, [0xFF80000800], [0x400, 1 << 40]),
        (FIX64K, [0x0605040100000000], [2, 0xFF]),
        (0x1A0, [0x1801, 0x400C51809], [1 << 1, 1 << 2, 1 << 35]),
        (0x1D9, [0], [1, 2]),
        (0x400, [0, 2**64 - 1], [1, NOT_CANONICAL]),
        (0x401, [0], [1]),
        (0x40E, [0, 2**64 - 1, NOT_CANONICAL], []),
        (0x40F, [0, 2**64 - 1, NOT_CANONICAL], []),
        (0x8B, [0], []),
        (MTRRCAP, [], [0x508]),
        (0x10A, [], [0]),
        (0xC0000104, [], [0]),
        (0x1234, [], [0]),
    ],
)
def test_msrs(probe: Probe, index: int, good: list[int], bad: list[int]) -> None:
    for value in good:
        assert wrmsr(probe, index, value) == DONE, hex(value)
        if index != 0x8B:
            assert rdmsr(probe, index) == value
    held = rdmsr(probe, index)
    for value in bad:
        assert wrmsr(probe, index, value) == fault(GP, 0), hex(value)
        assert rdmsr(probe, index) == held, "a refused write changes nothing"


@pytest.mark.parametrize("index", [0x1234, 0xC0000104, 0x49, 0x3FF, 0x410, 0x800, 0xC0001FFF])
def test_msrs_that_are_not_there(probe: Probe, index: int) -> None:
    assert rdmsr(probe, index) == fault(GP, 0)


def test_machine_check_banks(probe: Probe) -> None:
    banks = rdmsr(probe, 0x179)
    assert banks == 4
    for bank in range(banks):
        assert wrmsr(probe, 0x402 + 4 * bank, bank + 1) == DONE
    assert [rdmsr(probe, 0x402 + 4 * bank) for bank in range(banks)] == [1, 2, 3, 4]


def test_efer(probe: Probe) -> None:
    probe["guest_efer"] = 0xD01
    assert rdmsr(probe, 0xC0000080) == 0xD01
    assert wrmsr(probe, 0xC0000080, 0x900) == DONE
    assert probe["guest_efer"] == 0xD00, "LMA is read-only"
    assert wrmsr(probe, 0xC0000080, 0xC01) == fault(GP, 0), "LME cannot change while paging is on"
    assert wrmsr(probe, 0xC0000080, 0xD02) == fault(GP, 0)


def test_root_counts_without_moving_the_tsc(probe: Probe) -> None:
    """vmx.h: IA32_FIXED_CTR0 and the TSC are written independently of each other."""
    count, tsc = probe.rdmsr(0x309), probe.rdmsr(0x10)
    assert probe.wrmsr(0x309, count + 1)
    assert (probe.rdmsr(0x309), probe.rdmsr(0x10)) == (count + 1, tsc)
    assert probe.wrmsr(0x10, tsc + 1000)
    assert (probe.rdmsr(0x309), probe.rdmsr(0x10)) == (count + 1, tsc + 1000)
    assert wrmsr(probe, 0x309, 0) == fault(GP, 0), "a guest has no such counter"


# ---- FS and GS bases ----


def test_swapgs(probe: Probe) -> None:
    probe["guest_gs_base"] = 0x1111
    assert wrmsr(probe, KERNEL_GS_BASE, 0x2222) == DONE
    assert probe.run(b"\x0f\x01\xf8") == DONE
    assert (probe["guest_gs_base"], rdmsr(probe, KERNEL_GS_BASE)) == (0x2222, 0x1111)
    user(probe)
    assert probe.run(b"\x0f\x01\xf8") == fault(GP, 0)


def test_fsgsbase(probe: Probe) -> None:
    user(probe)
    assert probe.run(b"\xf3\x48\x0f\xae\xd1") == fault(UD), "CR4.FSGSBASE is clear"
    probe["guest_cr4"] = LONG_CR4 | 1 << 16
    probe.put("rcx", 0xFFFF800000001234)
    assert probe.run(b"\xf3\x48\x0f\xae\xd1") == DONE  # WRFSBASE RCX
    assert probe.run(b"\xf3\x48\x0f\xae\xc0") == DONE  # RDFSBASE RAX
    assert probe.gpr("rax") == 0xFFFF800000001234
    assert probe.run(b"\xf3\x0f\xae\xd9") == DONE  # WRGSBASE ECX
    assert probe["guest_gs_base"] == 0x1234
    probe.put("rcx", NOT_CANONICAL)
    assert probe.run(b"\xf3\x48\x0f\xae\xd1") == fault(GP, 0)


# ---- time stamps, random numbers, CPUID ----


def test_the_tsc_counts_instructions(probe: Probe) -> None:
    probe.write(CODE, b"\x0f\x31\x89\xc3\x90\x90\x90\x0f\x31")  # RDTSC; MOV EBX, EAX; 3 NOP; RDTSC
    probe["guest_rip"] = CODE
    start = probe.rdmsr(0x10)
    assert probe.step(6) == DONE
    assert (probe.gpr("rbx"), probe.gpr("rax")) == (start, start + 5)


def test_rdtscp_and_rdpid(probe: Probe) -> None:
    assert wrmsr(probe, TSC_AUX, 0x42) == DONE
    assert probe.run(b"\x0f\x01\xf9") == DONE
    assert probe.gpr("rcx") == 0x42
    probe["guest_cr4"] = LONG_CR4 | 4  # TSD
    assert probe.run(b"\x0f\x31") == DONE
    user(probe)
    assert probe.run(b"\x0f\x31") == fault(GP, 0)
    assert probe.run(b"\x0f\x01\xf9") == fault(GP, 0)
    probe["secondary_controls"] = probe["secondary_controls"] & ~(1 << 3)
    assert probe.run(b"\x0f\x01\xf9") == fault(UD), "not enabled by the hypervisor"


def splitmix64(state: int) -> Iterator[int]:
    mask = 2**64 - 1
    while True:
        state = state + 0x9E3779B97F4A7C15 & mask
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        yield z ^ z >> 31


def test_random_numbers_come_from_the_seed(probe: Probe) -> None:
    numbers = splitmix64(1)
    assert probe.run(b"\x48\x0f\xc7\xf0", guest_rflags=0xCD7) == DONE  # RDRAND RAX
    assert probe.gpr("rax") == next(numbers)
    assert probe["guest_rflags"] & 0x8D5 == 1, "CF; the others are cleared"
    assert probe.run(b"\x0f\xc7\xf9") == DONE  # RDSEED ECX
    assert probe.gpr("rcx") == next(numbers) & 0xFFFFFFFF
    probe.put("rdx", 0x1111111111111111)
    assert probe.run(b"\x66\x0f\xc7\xf2") == DONE  # RDRAND DX
    assert probe.gpr("rdx") == 0x1111111111110000 | next(numbers) & 0xFFFF


def cpuid(probe: Probe, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    out = ffi.new("struct cpuid_leaf *")
    lib.processor_cpuid(probe.cpu, leaf, subleaf, out)
    return out.eax, out.ebx, out.ecx, out.edx


def test_cpuid_follows_misc_enable(probe: Probe) -> None:
    last = cpuid(probe, 0)[0]
    assert last > 2
    assert wrmsr(probe, 0x1A0, 1 << 22) == DONE
    assert cpuid(probe, 0)[0] == 2, "limited"
    assert wrmsr(probe, 0x1A0, 1 << 34) == DONE
    assert cpuid(probe, 0)[0] == last
    assert not cpuid(probe, 0x80000001)[3] >> 20 & 1, "no execute-disable bit"
    assert not cpuid(probe, 1)[2] >> 3 & 1, "MONITOR is off as well"
    probe["guest_efer"] = 0x500
    assert wrmsr(probe, 0xC0000080, 0xD00) == fault(GP, 0), "NXE is reserved without it"
    assert wrmsr(probe, 0x1A0, 1 << 18) == DONE
    assert cpuid(probe, 0x80000001)[3] >> 20 & 1
    assert cpuid(probe, 1)[2] >> 3 & 1
    assert wrmsr(probe, 0xC0000080, 0xD00) == DONE


def test_cpuid(probe: Probe) -> None:
    last = cpuid(probe, 0)[0]
    vendor = b"".join(cpuid(probe, 0)[n].to_bytes(4, "little") for n in (1, 3, 2))
    assert vendor == b"GenuineIntel"
    assert cpuid(probe, last + 1) == cpuid(probe, last), "beyond the last leaf: the last leaf"
    assert cpuid(probe, 0x80001234) == cpuid(probe, last)
    assert cpuid(probe, 1, 77) == cpuid(probe, 1), "no sub-leaves"
    assert cpuid(probe, 7, 77) == (0, 0, 0, 0)
    assert cpuid(probe, 0xD)[1] == 576, "bytes of XSAVE with x87 (and SSE)"
    probe["guest_cr4"] = LONG_CR4
    probe.put("rcx", LONG_CR4 | 1 << 18)
    assert not cpuid(probe, 1)[2] >> 27 & 1
    assert probe.run(to_cr(4)) == DONE
    assert cpuid(probe, 1)[2] >> 27 & 1, "OSXSAVE follows CR4"


# ---- alignment checks ----


@pytest.mark.parametrize(
    ("offset", "code", "checked"),
    [(1, b"\x8b\x08", True), (2, b"\x8b\x08", True), (4, b"\x8b\x08", False), (1, b"\x8a\x08", False)],
)
def test_alignment(probe: Probe, offset: int, code: bytes, checked: bool) -> None:
    probe.put("rax", DATA + offset)
    state = {"guest_cr0": LONG_CR0 | AM, "guest_rflags": 2 | AC}
    assert probe.run(code, **state) == DONE, "not at CPL 0"
    user(probe)
    assert probe.run(code, **state) == (fault(ALIGNMENT, 0) if checked else DONE)
    assert probe.run(code, guest_cr0=LONG_CR0, guest_rflags=2 | AC) == DONE
