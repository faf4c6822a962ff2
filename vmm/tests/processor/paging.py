"""Page tables of the four paging modes for one page under test, and what the SDM says of accesses to it.

The rules are written here a second time, from SDM volume 3, sections 4.3 to 4.8, as a list of reasons to fault.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import NamedTuple

from probe import PF, Outcome, Probe, fault
from rootmode import CODE, USER_CODE64, USER_DATA

P, W, U, A, D, PS, G, NX = 1, 2, 4, 1 << 5, 1 << 6, 1 << 7, 1 << 8, 1 << 63
WP, PG = 1 << 16, 1 << 31
PSE, PAE, PGE, LA57, PCIDE, SMEP, SMAP, PKE = (1 << bit for bit in (4, 5, 7, 12, 17, 20, 21, 22))
KEY = 59  # of a leaf entry, 4 bits
NXE, LMA, LME = 1 << 11, 1 << 10, 1 << 8
AC = 1 << 18
PHYSICAL_BITS = 40

CR0, CR4 = PG | 0x31, 1 << 13 | 0x600  # what every case has: PE, ET, NE, paging; VMXE, OSFXSR, OSXMMEXCPT

USER_WINDOW = 0x40000000  # the first MiB once more, for CPL 3
FRAME = 0x20000  # the two pages that the page under test and its successor map
TABLES = 0x100000
OWN = TABLES + 0x8000  # tables of the code itself, apart from those under test


class Level(NamedTuple):
    """A table of `entry_size` bytes an entry, which translates the bits from `shift` on."""

    shift: int
    entry_size: int
    table: int


MODES = {
    "32-bit": [Level(22, 4, TABLES), Level(12, 4, TABLES + 0x1000)],
    "pae": [Level(21, 8, TABLES), Level(12, 8, TABLES + 0x1000)],
    "4-level": [Level(shift, 8, TABLES + index * 0x1000) for index, shift in enumerate((39, 30, 21, 12))],
    "5-level": [Level(shift, 8, TABLES + index * 0x1000) for index, shift in enumerate((48, 39, 30, 21, 12))],
}
LONG = ("4-level", "5-level")
# The linear address of the page under test; no table on its way but CR3's is shared with the code's.
PAGES = {"32-bit": 0x80000000, "pae": 0x80000000, "4-level": 0x8080000000, "5-level": 0x1008080000000}


@dataclass
class Case:
    """An access to the page under test; `entries` from the top, those behind a large page without effect."""

    mode: str
    entries: list[int]
    access: str = "read"
    user: bool = False
    cr0: int = WP
    cr4: int = 0
    nxe: bool = False
    ac: bool = False
    pkru: int = 0
    offset: int = 0

    @property
    def address(self) -> int:
        return PAGES[self.mode] + self.offset


def reserved_bits(case: Case, level: Level, leaf: bool) -> int:
    """Bits that must be clear in a present entry (figures 4-4, 4-7 and 4-11)."""
    if case.mode == "32-bit":
        return 1 << 21 if leaf and level.shift == 22 else 0  # with PSE-36 all 40 address bits exist
    bits = sum(1 << bit for bit in range(PHYSICAL_BITS, 63 if case.mode == "pae" else 52))
    if not case.nxe:
        bits |= NX
    if leaf and level.shift in (39, 48):
        bits |= PS
    if leaf and level.shift in (21, 30):
        bits |= sum(1 << bit for bit in range(13, level.shift))
    return bits


def expected(case: Case) -> tuple[Outcome, int]:
    """What the access raises, and how many entries it uses when it raises nothing."""
    write, fetch = case.access == "write", case.access == "fetch"
    error = (2 if write else 0) | (4 if case.user else 0)
    if fetch and (case.cr4 & SMEP or (case.mode != "32-bit" and case.nxe)):
        error |= 16
    used = []
    for level, entry in zip(MODES[case.mode], case.entries, strict=True):
        if not entry & P:
            return fault(PF, error, case.address), 0
        large = entry & PS and level.shift > 12 and (case.mode != "32-bit" or case.cr4 & PSE)
        leaf = level.shift == 12 or bool(large)
        if entry & reserved_bits(case, level, leaf):
            return fault(PF, error | 9, case.address), 0
        used.append(entry)
        if leaf:
            break
    user_page = all(entry & U for entry in used)
    writable = all(entry & W for entry in used)
    rights = case.pkru >> (used[-1] >> KEY & 15) * 2
    keyed = case.mode in LONG and case.cr4 & PKE and user_page and not fetch
    locked = keyed and (rights & 1 or (rights & 2 and write and (case.user or case.cr0 & WP)))
    no_execute = case.mode != "32-bit" and any(entry & NX for entry in used)
    reasons = [
        case.user and not user_page,
        write and not writable and (case.user or bool(case.cr0 & WP)),
        fetch and no_execute,
        fetch and not case.user and user_page and bool(case.cr4 & SMEP),
        not fetch and not case.user and user_page and bool(case.cr4 & SMAP) and not case.ac,
        bool(locked),
    ]
    error |= 32 if locked else 0
    return (fault(PF, error | 1, case.address), 0) if any(reasons) else (Outcome(None), len(used))


class PagedProbe(Probe):
    """A probe in one paging mode; supervisor code runs at CODE, user code at USER_WINDOW + CODE."""

    def __init__(self, paging: str) -> None:
        super().__init__("max", "long" if paging in LONG else "protected")
        self.paging = paging
        supervisor = [page << 12 | A | D | W | P for page in range(256)]
        user = [entry | U for entry in supervisor]
        if paging == "32-bit":
            self.long(OWN, *supervisor)
            self.long(OWN + 0x1000, *user)
            self.long(TABLES, OWN | A | W | P)
            self.long(TABLES + (USER_WINDOW >> 22) * 4, OWN + 0x1000 | A | U | W | P)
            return
        self.quad(OWN, *supervisor)
        self.quad(OWN + 0x1000, *user)
        self.quad(OWN + 0x2000, OWN | A | W | P)
        self.quad(OWN + 0x3000, OWN + 0x1000 | A | U | W | P)
        self.quad(OWN + 0x4000, OWN + 0x2000 | A | W | P, OWN + 0x3000 | A | U | W | P)
        if paging == "pae":
            for index, entry in enumerate((OWN + 0x2000 | P, OWN + 0x3000 | P, TABLES | P, 0)):
                self[f"guest_pdpte[{index}]"] = entry
        elif paging == "4-level":
            self.quad(TABLES, OWN + 0x4000 | A | U | W | P)
        else:
            self.quad(OWN + 0x5000, OWN + 0x4000 | A | U | W | P)
            self.quad(TABLES, OWN + 0x5000 | A | U | W | P)

    def entry_at(self, depth: int, page: int = 0) -> int:
        level = MODES[self.paging][depth]
        index = (PAGES[self.paging] + page * 0x1000) >> level.shift & (1023 if level.entry_size == 4 else 511)
        return level.table + index * level.entry_size

    def entry(self, depth: int, page: int = 0) -> int:
        return self.word(self.entry_at(depth, page), MODES[self.paging][depth].entry_size)

    def set_entry(self, depth: int, value: int, page: int = 0) -> None:
        size = MODES[self.paging][depth].entry_size
        self.write(self.entry_at(depth, page), value.to_bytes(size, "little"))

    def enter_state(self, case: Case) -> None:
        """Everything but the entries and the access."""
        cs, ss, dpl = (USER_CODE64, USER_DATA, 0x60) if case.user else (0x18, 0x10, 0)
        self.registers.pkru = case.pkru
        efer = (NXE if case.nxe else 0) | (LME | LMA if case.mode in LONG else 0)
        self.set(
            guest_cr0=CR0 | case.cr0,
            guest_cr3=TABLES,
            guest_cr4=CR4 | case.cr4 | (0 if case.mode == "32-bit" else PAE) | (LA57 if case.mode == "5-level" else 0),
            guest_efer=efer,
            guest_rflags=2 | (AC if case.ac else 0),
            guest_cs_selector=cs,
            guest_cs_access_rights=(0xA09B if case.mode in LONG else 0xC09B) | dpl,
            guest_ss_selector=ss,
            guest_ss_access_rights=0xC093 | dpl,
        )

    def enter_access(self, case: Case) -> None:
        self["guest_rip"] = case.address if case.access == "fetch" else (USER_WINDOW if case.user else 0) + CODE
        self.put("rax", case.address)
        for frame in (0, FRAME):  # large pages lead to 0
            self.write(frame + case.offset, b"\x90")
        self.write(CODE, {"read": b"\x8a\x18", "write": b"\x88\x18", "fetch": b"\x90"}[case.access])

    def access(self, case: Case) -> Outcome:
        """With new entries, after which all translations are forgotten."""
        for depth, entry in enumerate(case.entries):
            self.set_entry(depth, entry)
        self.enter_state(case)
        self.enter_access(case)
        self.flush()
        return self.step()


def good_entries(mode: str, flags: int = U | W) -> list[int]:
    """Entries that lead to FRAME."""
    tables = [level.table for level in MODES[mode]][1:]
    return [frame | flags | P for frame in [*tables, FRAME]]


def random_case(rng: random.Random, mode: str) -> Case:
    """A case that is near enough to a good one for every rule to decide some."""
    entries = []
    cr4 = rng.choice([0, SMEP, SMAP, SMEP | SMAP]) | (rng.choice([0, PSE]) if mode == "32-bit" else 0)
    for level, good in zip(MODES[mode], good_entries(mode, 0), strict=True):
        entry = good & ~P | rng.choice([7, 7, 7, 7, 5, 3, 1, 0x67, 0x107, 0, 6])
        if mode != "32-bit":
            entry |= rng.choice([0] * 5 + [NX]) | rng.choice([0] * 30 + [1 << bit for bit in (40, 51, 52, 62)])
        if level.shift not in (12, 39, 48) and (mode != "32-bit" or cr4 & PSE) and rng.random() < 0.08:
            reserved = [1 << 21] if mode == "32-bit" else [1 << 13, 1 << 20]
            entry = entry & (NX | 0x67) | PS | rng.choice([0, 0, *reserved])
        if level.shift in (39, 48) and rng.random() < 0.03:
            entry |= PS
        if mode in LONG and rng.random() < 0.8:
            cr4 |= PKE
            entry |= rng.randrange(4) << KEY
        entries.append(entry)
    return Case(
        mode,
        entries,
        access=rng.choice(["read", "write", "fetch"]),
        user=rng.random() < 0.5,
        cr0=rng.choice([0, WP]),
        cr4=cr4,
        nxe=rng.random() < 0.6,
        ac=rng.random() < 0.4,
        pkru=rng.choice([0, rng.getrandbits(8), rng.getrandbits(32)]),
        offset=rng.choice([0, 8, 0xFFF]),
    )
