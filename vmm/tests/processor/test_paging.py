"""Address translation: rights, error codes, accessed and dirty flags, and what the translation caches may keep."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from paging import (
    FRAME,
    KEY,
    MODES,
    PAGES,
    PCIDE,
    PGE,
    PKE,
    PS,
    TABLES,
    A,
    Case,
    D,
    G,
    P,
    PagedProbe,
    U,
    W,
    expected,
    good_entries,
    random_case,
)
from probe import DONE, GP, PF, SS, UD, Outcome, fault
from rootmode import CODE

CASES = 2500


@pytest.fixture(params=MODES)
def probe(request: pytest.FixtureRequest) -> Iterator[PagedProbe]:
    made = PagedProbe(request.param)
    yield made
    made.close()


@pytest.fixture
def long() -> Iterator[PagedProbe]:
    made = PagedProbe("4-level")
    yield made
    made.close()


def test_rights_and_error_codes(probe: PagedProbe) -> None:
    rng = random.Random(probe.paging)
    good = 0
    for number in range(CASES):
        case = random_case(rng, probe.paging)
        outcome, used = expected(case)
        assert probe.access(case) == outcome, (number, case)
        good += outcome == DONE
        for depth in range(len(case.entries)):
            before, after = case.entries[depth], probe.entry(depth)
            flags = (A | (D if depth == used - 1 and case.access == "write" else 0)) if depth < used else 0
            assert after == before | flags, (number, case, depth)
    assert CASES // 20 < good < CASES * 9 // 10, "the cases are one-sided"


@pytest.mark.parametrize("access", ["read", "write"])
def test_an_operand_over_two_pages_faults_on_the_page_at_fault(probe: PagedProbe, access: str) -> None:
    case = Case(probe.paging, good_entries(probe.paging), access=access, offset=0xFFD)
    probe.enter_state(case)
    for depth, entry in enumerate(case.entries):
        probe.set_entry(depth, entry)
    last = len(case.entries) - 1
    write = 2 if access == "write" else 0
    code = b"\x89\x18" if access == "write" else b"\x8b\x18"
    for first, second, outcome in [
        (P | W, P | W, DONE),
        (0, P | W, fault(PF, write, case.address)),
        (P | W, 0, fault(PF, write, PAGES[probe.paging] + 0x1000)),
        (0, 0, fault(PF, write, case.address)),
    ]:
        probe.write(FRAME, bytes(0x2000))
        probe.set_entry(last, FRAME | first)
        probe.set_entry(last, FRAME + 0x1000 | second, page=1)
        probe.flush()
        probe.put("rax", case.address)
        probe.put("rbx", 0x11223344)
        assert probe.run(code) == outcome
        stored = (0x11223344).to_bytes(4, "little") if outcome == DONE and write else bytes(4)
        assert probe.read(FRAME + 0xFFD, 4) == stored, "a store that faults stores nothing"
        if outcome == DONE and not write:
            assert probe.gpr("rbx") == 0


def test_a_page_that_gains_rights_needs_no_invalidation(probe: PagedProbe) -> None:
    """4.10.4.2: a fault is never due to a stale entry that allows less."""
    last = len(MODES[probe.paging]) - 1
    read = Case(probe.paging, good_entries(probe.paging, 0))
    write = Case(probe.paging, read.entries, access="write")
    assert probe.access(read) == DONE
    probe.enter_access(write)
    assert probe.step() == fault(PF, 3, write.address)
    probe.set_entry(last, FRAME | P | W)
    for depth in range(last):
        probe.set_entry(depth, read.entries[depth] | W)
    probe.enter_access(write)
    assert probe.step() == DONE
    assert probe.entry(last) & D


def test_the_dirty_flag_waits_for_the_first_write(probe: PagedProbe) -> None:
    last = len(MODES[probe.paging]) - 1
    case = Case(probe.paging, good_entries(probe.paging))
    for _ in range(3):
        assert probe.access(case) == DONE
        assert not probe.entry(last) & D
    probe.enter_access(Case(probe.paging, case.entries, access="write"))
    assert probe.step() == DONE
    assert probe.entry(last) & D


def test_invlpg_forgets_one_page(probe: PagedProbe) -> None:
    last = len(MODES[probe.paging]) - 1
    case = Case(probe.paging, good_entries(probe.paging))
    probe.set_entry(last, FRAME + 0x1000 | P | W, page=1)
    assert probe.access(case) == DONE
    probe.set_entry(last, 0)
    probe.put("rax", case.address + 0x123)
    assert probe.run(b"\x0f\x01\x38") == DONE  # INVLPG [RAX]
    probe.enter_access(case)
    assert probe.step() == fault(PF, 0, case.address)


@pytest.mark.parametrize("depth", [1, 2], ids=["1 GiB", "2 MiB"])
def test_invlpg_forgets_all_of_a_large_page(long: PagedProbe, depth: int) -> None:
    entries = good_entries("4-level")
    entries[depth] = PS | U | W | P
    case = Case("4-level", entries, offset=FRAME)
    for offset in (FRAME, FRAME + 0x1000):
        assert long.access(Case("4-level", entries, offset=offset)) == DONE
    long.set_entry(depth, 0)
    long.put("rax", PAGES["4-level"] + 0x5000)
    assert long.run(b"\x0f\x01\x38") == DONE
    long.enter_access(case)
    assert long.step() == fault(PF, 0, case.address)


def load_cr3(probe: PagedProbe, value: int) -> None:
    probe.put("rcx", value)
    assert probe.run(b"\x0f\x22\xd9") == DONE


def reads(probe: PagedProbe, case: Case) -> Outcome:
    probe.enter_access(case)
    return probe.step()


@pytest.mark.parametrize("is_global", [False, True])
def test_global_pages_survive_a_load_of_cr3(long: PagedProbe, is_global: bool) -> None:
    entries = good_entries("4-level")
    entries[-1] |= G if is_global else 0
    case = Case("4-level", entries, cr4=PGE)
    assert long.access(case) == DONE
    long.set_entry(3, 0)
    load_cr3(long, TABLES)
    absent = fault(PF, 0, case.address)
    assert reads(long, case) == (DONE if is_global else absent)
    # A change of CR4.PGE forgets global translations too (4.10.4.1).
    long.put("rcx", long["guest_cr4"] & ~PGE)
    assert long.run(b"\x0f\x22\xe1") == DONE
    assert reads(long, case) == absent


def test_pcids_keep_translations_apart(long: PagedProbe) -> None:
    case = Case("4-level", good_entries("4-level"), cr4=PCIDE)
    absent = fault(PF, 0, case.address)
    assert long.access(case) == DONE
    long.set_entry(3, 0)
    load_cr3(long, TABLES | 1)
    assert reads(long, case) == absent, "another PCID has no translation yet"
    load_cr3(long, TABLES | 1 << 63)
    assert reads(long, case) == DONE, "bit 63 keeps what PCID 0 had"
    load_cr3(long, TABLES)
    assert reads(long, case) == absent


@pytest.mark.parametrize(
    ("kind", "pcid", "forgotten"),
    [(0, 0, True), (0, 1, False), (1, 0, True), (1, 1, False), (2, 0, True), (3, 0, True)],
)
def test_invpcid(long: PagedProbe, kind: int, pcid: int, forgotten: bool) -> None:
    case = Case("4-level", good_entries("4-level"), cr4=PCIDE)
    assert long.access(case) == DONE
    long.set_entry(3, 0)
    long.quad(0xC000, pcid, case.address)
    long.put("rax", 0xC000)
    long.put("rcx", kind)
    assert long.run(b"\x66\x0f\x38\x82\x08") == DONE
    if forgotten or kind != 0:  # an individual address may be forgotten in other PCIDs too
        assert reads(long, case) == (fault(PF, 0, case.address) if forgotten else DONE)


def test_invpcid_checks_its_operands(long: PagedProbe) -> None:
    case = Case("4-level", good_entries("4-level"), cr4=PCIDE)
    assert long.access(case) == DONE
    for kind, pcid, linear, cr4, outcome in [
        (4, 0, 0, PCIDE, fault(GP, 0)),
        (0, 1 << 12, 0, PCIDE, fault(GP, 0)),
        (0, 1, 0, 0, fault(GP, 0)),
        (1, 1, 0, 0, fault(GP, 0)),
        (0, 0, 1 << 56, PCIDE, fault(GP, 0)),
        (1, 0, 1 << 56, PCIDE, DONE),
        (2, 1 << 12, 0, PCIDE, fault(GP, 0)),
        (3, 1 << 63, 0, 0, fault(GP, 0)),
        (2, 0xFFF, 1 << 56, 0, DONE),
    ]:
        long.quad(0xC000, pcid, linear)
        long.put("rax", 0xC000)
        long.put("rcx", kind)
        long["guest_cr4"] = long["guest_cr4"] & ~PCIDE | cr4
        assert long.run(b"\x66\x0f\x38\x82\x08") == outcome, (kind, pcid, linear)


def test_stores_by_another_address_change_the_code(long: PagedProbe) -> None:
    """The page under test is an alias of the code's own page, warmed up for writing before the code is decoded."""
    entries = good_entries("4-level", W)
    entries[-1] = CODE | W | P
    case = Case("4-level", entries, access="write", offset=0x800)
    assert long.access(case) == DONE
    for value in range(20):
        long.put("rax", PAGES["4-level"] + 0x101)
        long.put("rbx", value)
        # MOV CL, 0 at CODE + 100h; the store is to its immediate.
        long.write(CODE, b"\x88\x18" + b"\x90" * 0xFE + b"\xb1\x00\x90")
        long["guest_rip"] = CODE + 0x100
        assert long.step() == DONE
        long["guest_rip"] = CODE
        assert long.step(0x100) == DONE
        assert long["guest_rip"] == CODE + 0x102
        assert long.gpr("rcx") & 0xFF == value


def test_protection_keys(long: PagedProbe) -> None:
    """WRPKRU takes effect on translations that are cached, back and forth; RDPKRU reads what it wrote."""
    entries = good_entries("4-level")
    entries[-1] |= 5 << KEY
    case = Case("4-level", entries, access="write", cr4=PKE)
    assert long.access(case) == DONE
    long.put("rcx", 0)
    for pkru, outcome in [(2 << 10, fault(PF, 0x23, case.address)), (0, DONE), (1 << 10, fault(PF, 0x23, case.address)),
                          (~(3 << 10) & 0xFFFFFFFF, DONE)]:  # fmt: skip
        long.put("rax", pkru)
        long.put("rdx", 0)
        assert long.run(b"\x0f\x01\xef") == DONE
        assert reads(long, case) == outcome
        long.put("rdx", 7)
        assert long.run(b"\x0f\x01\xee") == DONE
        assert (long.gpr("rax"), long.gpr("rdx")) == (pkru, 0)
    # A write-disabled page, by the supervisor with CR0.WP clear.
    case = Case("4-level", entries, access="write", cr4=PKE, cr0=0, pkru=2 << 10)
    assert long.access(case) == DONE


def test_rdpkru_and_wrpkru_check_their_operands(long: PagedProbe) -> None:
    long.access(Case("4-level", good_entries("4-level"), cr4=PKE))
    for rcx, rdx, reads_it, writes_it in [(1, 0, False, False), (0, 1, True, False), (1 << 32, 1 << 32, True, True)]:
        for code, good in ((b"\x0f\x01\xee", reads_it), (b"\x0f\x01\xef", writes_it)):
            for name, value in [("rax", 0), ("rcx", rcx), ("rdx", rdx)]:
                long.put(name, value)
            assert long.run(code) == (DONE if good else fault(GP, 0)), (code, rcx, rdx)
    long["guest_cr4"] = long["guest_cr4"] & ~PKE
    assert long.run(b"\x0f\x01\xee") == long.run(b"\x0f\x01\xef") == fault(UD)


LAST_LOW = 0x7FFFFFFFFFFF


@pytest.mark.parametrize(
    ("code", "rax", "outcome"),
    [
        (b"\x48\x8b\x18", LAST_LOW + 1, fault(GP, 0)),  # MOV RBX, [RAX]
        (b"\x48\x8b\x18", LAST_LOW, fault(GP, 0)),
        (b"\x48\x89\x18", 1 << 63, fault(GP, 0)),
        (b"\x36\x48\x8b\x18", 1 << 63, fault(GP, 0)),  # an SS prefix is ignored
        (b"\x48\x8b\x5d\x00", 1 << 63, fault(SS, 0)),  # by RBP: the stack segment
        (b"\x8a\x18", LAST_LOW, fault(PF, 0, LAST_LOW)),
        (b"\xff\xe0", LAST_LOW + 1, fault(GP, 0)),  # JMP RAX faults itself
        (b"\x0f\x01\x38", 1 << 63, DONE),  # INVLPG
    ],
)
def test_canonical_addresses(long: PagedProbe, code: bytes, rax: int, outcome: Outcome) -> None:
    long.access(Case("4-level", good_entries("4-level")))
    long.put("rax", rax)
    long.put("rbp", rax)
    assert long.run(code) == outcome
    assert outcome == DONE or long["guest_rip"] == CODE


def test_page_size_bit_counts_with_cr4_pse_only() -> None:
    probe = PagedProbe("32-bit")
    entries = good_entries("32-bit")
    entries[0] |= PS
    assert probe.access(Case("32-bit", entries)) == DONE
    assert probe.entry(1) & A, "the page table was used"
    probe.close()
