"""VM exits by instruction: which control asks for which, and what the exit says (SDM volume 3, 26.1 and 28.2)."""

from __future__ import annotations

import pytest
from rootmode import CODE, DATA, IO_BITMAP_A, IO_BITMAP_B, MSR_BITMAP, STACK, VALID, Root

SECONDARY_RDTSCP, SECONDARY_INVPCID = 1 << 3, 1 << 12

# instruction, word that holds the control, its bit (0: always), reason, qualification, length
INSTRUCTIONS: list[tuple[str, str, int, int, int, int]] = [
    ("cpuid", "primary", 0, 10, 0, 2),
    ("hlt", "primary", 1 << 7, 12, 0, 1),
    ("invd", "primary", 0, 13, 0, 2),
    ("invlpg [rip + 0x100]", "primary", 1 << 9, 14, CODE + 0x107, 7),
    ("rdpmc", "primary", 1 << 11, 15, 0, 2),
    ("rdtsc", "primary", 1 << 12, 16, 0, 2),
    ("vmcall", "primary", 0, 18, 0, 3),
    ("vmlaunch", "primary", 0, 20, 0, 3),
    ("vmresume", "primary", 0, 24, 0, 3),
    ("vmxoff", "primary", 0, 26, 0, 3),
    ("mov cr0, rdx", "primary", 0, 28, 2 << 8, 3),  # CR0.NE is 0 in RDX, and the mask has it
    ("mov cr3, rsi", "primary", 1 << 15, 28, 6 << 8 | 3, 3),
    ("mov rdi, cr3", "primary", 1 << 16, 28, 7 << 8 | 1 << 4 | 3, 3),
    ("mov cr4, r9", "primary", 0, 28, 9 << 8 | 4, 4),
    ("mov cr8, r10", "primary", 1 << 19, 28, 10 << 8 | 8, 4),
    ("mov r11, cr8", "primary", 1 << 20, 28, 11 << 8 | 1 << 4 | 8, 4),
    ("mov dr3, rbp", "primary", 1 << 23, 29, 5 << 8 | 3, 3),
    ("mov r12, dr7", "primary", 1 << 23, 29, 12 << 8 | 1 << 4 | 7, 4),
    ("in al, 0x71", "primary", 1 << 24, 30, 0x71 << 16 | 1 << 6 | 1 << 3 | 0, 2),
    ("in ax, dx", "primary", 1 << 24, 30, 0x3F8 << 16 | 1 << 3 | 1, 2),
    ("out 0x80, eax", "primary", 1 << 24, 30, 0x80 << 16 | 1 << 6 | 3, 2),
    ("out dx, al", "primary", 1 << 24, 30, 0x3F8 << 16, 1),
    ("rdmsr", "primary", 0, 31, 0, 2),
    ("wrmsr", "primary", 0, 32, 0, 2),
    ("pause", "primary", 1 << 30, 40, 0, 2),
    ("rdtscp", "primary", 1 << 12, 51, 0, 3),
    ("wbinvd", "secondary", 1 << 6, 54, 0, 2),
    ("xsetbv", "primary", 0, 55, 0, 3),
]


def ready(root: Root, source: str, word: str = "primary", bit: int = 0, mode: str = "long") -> Root:
    """A guest whose instruction exits only by this control, ended by HLT."""
    root.start(f"{source}; hlt", mode)
    root["guest_cr4"] = root["guest_cr4"] | 1 << 18  # OSXSAVE
    root["secondary_controls"] = root["secondary_controls"] | SECONDARY_RDTSCP | SECONDARY_INVPCID
    root.registers.gpr[2] = 0x3F8
    root[f"{word}_controls"] = root[f"{word}_controls"] | bit
    return root


@pytest.mark.parametrize("row", INSTRUCTIONS, ids=[row[0] for row in INSTRUCTIONS])
def test_instructions(root: Root, row: tuple[str, str, int, int, int, int]) -> None:
    source, word, bit, reason, qualification, length = row
    ready(root, source, word, bit)
    root.registers.gpr[9] = 0x42620  # CR4 with the VMXE that the mask owns
    if source.startswith("mov cr0"):
        root.registers.gpr[2] = 0x80000031
    count, gpr = root.count, list(root.registers.gpr)
    assert root.enter() == reason
    assert root["exit_qualification"] == qualification
    assert root["exit_instruction_length"] == length
    assert root["guest_rip"] == CODE
    assert root.count == count  # nothing retired
    gpr[4] = STACK
    assert list(root.registers.gpr) == gpr
    assert root["exit_interruption_information"] == root["idt_vectoring_information"] == 0


@pytest.mark.parametrize(
    "source",
    [
        "invlpg [0]",
        "rdtsc",
        "mov rsi, cr3; mov cr3, rsi",
        "mov rdi, cr8",
        "mov r12, dr7",
        "in al, dx",
        "out dx, eax",
        "pause",
        "rdtscp",
        "wbinvd",
        "sgdt [0xc000]",
        "sldt ax",
        "rdrand rax",
        "rdseed rax",
        "mov rax, cr0",
        "mov rax, cr4",
        "clts",
        "monitor",
    ],
)
def test_no_exit_without_the_control(root: Root, source: str) -> None:
    ready(root, source)
    root.registers.gpr[0], root.registers.gpr[1], root.registers.gpr[2] = DATA, 0, 0
    assert root.enter() == 12
    assert root["guest_rip"] > CODE


@pytest.mark.parametrize(
    ("source", "reason", "information"),
    [
        # bits 3:0 scale and 9:7 address size, 17:15 segment, 21:18 index, 26:23 base, 29:28 which
        ("lgdt [rbx + rsi * 4 + 0x10]", 46, 2 | 2 << 7 | 1 << 11 | 3 << 15 | 6 << 18 | 3 << 23 | 2 << 28),
        ("sidt fs:[rax]", 46, 2 << 7 | 1 << 11 | 4 << 15 | 1 << 22 | 0 << 23 | 1 << 28),
        ("sgdt [esp + 8]", 46, 1 << 7 | 1 << 11 | 2 << 15 | 1 << 22 | 4 << 23),
        ("lidt [rip + 0x20]", 46, 2 << 7 | 1 << 11 | 3 << 15 | 1 << 22 | 1 << 27 | 3 << 28),
        ("ltr bx", 47, 1 << 10 | 3 << 3 | 3 << 28),
        ("sldt r9", 47, 1 << 10 | 9 << 3),
        ("str word ptr [rdi + 2]", 47, 2 << 7 | 3 << 15 | 1 << 22 | 7 << 23 | 1 << 28),
        ("lldt cx", 47, 1 << 10 | 1 << 3 | 2 << 28),
    ],
)
def test_descriptor_tables(root: Root, source: str, reason: int, information: int) -> None:
    ready(root, source, "secondary", 1 << 2)
    assert root.enter() == reason
    displacement = {"lgdt": 0x10, "sgdt": 8, "lidt": CODE + 7 + 0x20, "str": 2}.get(source.split()[0], 0)
    assert root["exit_qualification"] == displacement
    assert root["exit_instruction_information"] == information


@pytest.mark.parametrize(
    ("source", "reason", "information"),
    [
        ("invpcid r8, [rax + rcx]", 58, 2 << 7 | 3 << 15 | 1 << 18 | 0 << 23 | 8 << 28),
        ("vmptrld [rdx]", 21, 2 << 7 | 3 << 15 | 1 << 22 | 2 << 23),
        ("vmclear [rsp]", 19, 2 << 7 | 2 << 15 | 1 << 22 | 4 << 23),
        ("vmxon [r15 + 0x40]", 27, 2 << 7 | 3 << 15 | 1 << 22 | 15 << 23),
        ("vmptrst gs:[rbp + 0]", 22, 2 << 7 | 5 << 15 | 1 << 22 | 5 << 23),
    ],
)
def test_operands(root: Root, source: str, reason: int, information: int) -> None:
    ready(root, source, "primary", 1 << 9)
    assert root.enter() == reason
    assert root["exit_instruction_information"] == information
    assert root["exit_qualification"] == (0x40 if "0x40" in source else 0)


@pytest.mark.parametrize(
    ("source", "bit", "reason", "information"),
    [
        ("rdrand eax", 1 << 11, 57, 1 << 11),
        ("rdrand r10", 1 << 11, 57, 10 << 3 | 2 << 11),
        ("rdseed dx", 1 << 16, 61, 2 << 3),
    ],
)
def test_random(root: Root, source: str, bit: int, reason: int, information: int) -> None:
    ready(root, source, "secondary", bit)
    assert root.enter() == reason
    assert root["exit_instruction_information"] == information


@pytest.mark.parametrize("source", ["rdtscp", "rdpid rax", "invpcid rax, [rbx]"])
def test_ud_without_the_enable(root: Root, source: str) -> None:
    root.start(f"{source}; hlt", exception_bitmap=1 << 6)
    assert root.enter() == 0
    assert root["exit_interruption_information"] == VALID | 3 << 8 | 6


@pytest.mark.parametrize(
    ("source", "vector"),
    [("hlt", 13), ("rdmsr", 13), ("mov rax, cr0", 13), ("invd", 13), ("cpuid", None), ("vmcall", None)],
)
def test_privilege_comes_before_the_exit(root: Root, source: str, vector: int | None) -> None:
    ready(root, source)
    user(root)
    root["exception_bitmap"] = 0xFFFFFFFF
    if vector is None:
        assert root.enter() in (10, 18)
    else:
        assert root.enter() == 0
        assert root["exit_interruption_information"] == VALID | 1 << 11 | 3 << 8 | vector


def user(root: Root) -> None:
    """The guest at CPL 3."""
    root.segment("cs", 0x3B, 0, 0xFFFFFFFF, 0xA0FB)
    root.segment("ss", 0x33, 0, 0xFFFFFFFF, 0xC0F3)


# ---- string I/O ----


@pytest.mark.parametrize(
    ("source", "mode", "qualification", "linear", "information"),
    [
        ("insb", "long", 1 << 4 | 1 << 3, DATA, 2 << 7),
        ("rep insd", "long", 1 << 5 | 1 << 4 | 1 << 3 | 3, DATA, 2 << 7),
        ("outsw", "long", 1 << 4 | 1, DATA + 0x10, 2 << 7 | 3 << 15),
        ("rep outs dx, byte ptr fs:[rsi]", "long", 1 << 5 | 1 << 4, 0x100000 + DATA + 0x10, 2 << 7 | 4 << 15),
        ("outs dx, word ptr [esi]", "long", 1 << 4 | 1, DATA + 0x10, 1 << 7 | 3 << 15),
        ("insw", "real", 1 << 4 | 1 << 3 | 1, DATA, 0),
        ("outs dx, dword ptr es:[esi]", "real", 1 << 4 | 3, DATA + 0x10, 1 << 7),
    ],
)
def test_string_io(root: Root, source: str, mode: str, qualification: int, linear: int, information: int) -> None:
    root.start(f"{source}; hlt", mode, guest_fs_base=0x100000)
    if mode == "real":
        root["guest_fs_base"] = 0
    root["primary_controls"] = root["primary_controls"] | 1 << 24
    root.registers.gpr[1], root.registers.gpr[2] = 5, 0x170
    root.registers.gpr[6], root.registers.gpr[7] = DATA + 0x10, DATA
    assert root.enter() == 30
    assert root["exit_qualification"] == 0x170 << 16 | qualification
    assert root["guest_linear_address"] == linear
    information |= 0 if "outs" in source else root["exit_instruction_information"] & 7 << 15  # undefined for INS
    assert root["exit_instruction_information"] == information
    assert root.gpr("rcx") == 5


# ---- bitmaps ----


@pytest.mark.parametrize(
    ("port", "size", "set_bit", "exits"),
    [
        (0x3F8, "al", 0x3F8, True),
        (0x3F8, "al", 0x3F9, False),
        (0x3F6, "ax", 0x3F7, True),
        (0x3F4, "eax", 0x3F8, False),
        (0x8000, "al", 0x8000, True),
        (0x7FFF, "ax", 0x8000, True),
        (0xFFFD, "eax", None, True),  # runs over the last port
        (0xFFFC, "eax", None, False),
    ],
)
def test_io_bitmaps(root: Root, port: int, size: str, set_bit: int | None, exits: bool) -> None:
    root.start(f"in {size}, dx; hlt")
    root["primary_controls"] = root["primary_controls"] | 1 << 25 | 1 << 24  # the bitmaps have the say
    if set_bit is not None:
        bitmap = IO_BITMAP_B if set_bit & 0x8000 else IO_BITMAP_A
        root.write(bitmap + (set_bit & 0x7FFF) // 8, bytes([1 << set_bit % 8]))
    root.registers.gpr[2] = port
    assert root.enter() == (30 if exits else 12)


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("index", [0x174, 0x1FFF, 0xC0000082, 0xC0001FFF, 0x2000, 0xBFFFFFFF, 0xC0002000, 0x40000000])
def test_msr_bitmap(root: Root, index: int, write: bool) -> None:
    covered = index < 0x2000 or 0xC0000000 <= index < 0xC0002000
    root.start("wrmsr; hlt" if write else "rdmsr; hlt", exception_bitmap=1 << 13)
    root["primary_controls"] = root["primary_controls"] | 1 << 28
    root.registers.gpr[0] = root.registers.gpr[2] = 0
    root.registers.gpr[1] = index
    if covered:
        assert root.enter() in (12, 0)  # done, or #GP because there is no such MSR
        at = MSR_BITMAP + (0x800 if write else 0) + (0x400 if index >> 31 else 0)
        root.write(at + (index & 0x1FFF) // 8, bytes([1 << index % 8]))
        root["guest_rip"] = CODE
    assert root.enter() == (32 if write else 31)


# ---- control registers ----


@pytest.mark.parametrize(
    ("cr", "mask", "shadow", "value", "exits", "loaded"),
    [
        (0, 1 << 5, 0, 0x80000011, False, 0x80000031),  # NE is not the guest's: its real value stays
        (0, 1 << 5, 0, 0x80000031, True, 0),
        (0, 1 << 5, 1 << 5, 0x80000031, False, 0x80000031),
        (0, 1 << 16 | 1 << 5, 1 << 16, 0x80010011, False, 0x80000031),
        (0, 1 << 16 | 1 << 5, 0, 0x80010011, True, 0),
        (4, 1 << 13, 0, 0x620, False, 0x2620),
        (4, 1 << 13, 0, 0x2620, True, 0),
        (4, 1 << 13, 0, 0x6A0, False, 0x26A0),
        (4, 1 << 13 | 1 << 7, 1 << 7, 0x620, True, 0),
    ],
)
def test_masks_and_shadows(root: Root, cr: int, mask: int, shadow: int, value: int, exits: bool, loaded: int) -> None:
    root.start(f"mov cr{cr}, rax; mov rbx, cr{cr}; hlt")
    root[f"cr{cr}_guest_host_mask"], root[f"cr{cr}_read_shadow"] = mask, shadow
    root.registers.gpr[0] = value
    if exits:
        assert root.enter() == 28
        assert root["exit_qualification"] == cr
        return
    assert root.enter() == 12
    assert root[f"guest_cr{cr}"] == loaded
    assert root.gpr("rbx") == loaded & ~mask | shadow


def test_fixed_bits_raise_gp(root: Root) -> None:
    """Bits that VMX operation fixes and that the mask leaves to the guest."""
    root.start("mov cr4, rax; hlt", exception_bitmap=1 << 13, cr4_guest_host_mask=0, cr0_guest_host_mask=0)
    root.registers.gpr[0] = 0x620
    assert root.enter() == 0
    assert root["exit_interruption_information"] == VALID | 1 << 11 | 3 << 8 | 13
    root.program("mov cr0, rax; hlt")
    root.registers.gpr[0] = 0x80000011
    assert root.enter() == 0


@pytest.mark.parametrize(
    ("mask", "shadow", "exits", "cleared"),
    [(0, 0, False, True), (8, 0, False, False), (8, 8, True, False), (0x20, 0x28, False, True)],
)
def test_clts(root: Root, mask: int, shadow: int, exits: bool, cleared: bool) -> None:
    root.start("clts; hlt", cr0_guest_host_mask=mask, cr0_read_shadow=shadow)
    root["guest_cr0"] = root["guest_cr0"] | 8
    assert root.enter() == (28 if exits else 12)
    if exits:
        assert root["exit_qualification"] == 2 << 4
    else:
        assert bool(root["guest_cr0"] & 8) is not cleared


@pytest.mark.parametrize(
    ("mask", "shadow", "source", "exits", "loaded"),
    [
        (0, 0, 0xA, False, 0xA),
        (8, 0, 0x2, False, 0x2),
        (8, 0, 0xA, True, 0),
        (1, 1, 0x2, False, 0x2),  # LMSW does not clear PE
        (1, 0, 0x3, True, 0),
        (4, 4, 0x6, False, 0x2),
        (0x20, 0, 0x22, False, 0x2),  # NE is not among its bits
    ],
)
@pytest.mark.parametrize("memory", [False, True])
def test_lmsw(root: Root, mask: int, shadow: int, source: int, exits: bool, loaded: int, memory: bool) -> None:
    root.start("lmsw [rbx]; hlt" if memory else "lmsw ax; hlt", cr0_guest_host_mask=mask, cr0_read_shadow=shadow)
    root.registers.gpr[0], root.registers.gpr[3] = source, DATA
    root.write(DATA, source.to_bytes(2, "little"))
    assert root.enter() == (28 if exits else 12)
    if exits:
        assert root["exit_qualification"] == source << 16 | memory << 6 | 3 << 4
        assert root["guest_linear_address"] == (DATA if memory else 0)
    else:
        assert root["guest_cr0"] == 0x80000031 | loaded


def test_smsw_sees_the_shadow(root: Root) -> None:
    root.start("smsw rax; hlt", cr0_guest_host_mask=0x28, cr0_read_shadow=8)
    assert root.enter() == 12
    assert root.gpr("rax") & 0xFFFF == 0x19


@pytest.mark.parametrize(("count", "exits"), [(0, True), (1, True), (2, False), (4, False)])
def test_cr3_targets(root: Root, count: int, exits: bool) -> None:
    root.start("mov rax, cr3; mov cr3, rax; hlt", cr3_target_count=count)
    root["primary_controls"] = root["primary_controls"] | 1 << 15
    root["cr3_target_value[1]"] = root["guest_cr3"]
    assert root.enter() == (28 if exits else 12)


# ---- time ----


def test_tsc_offset(root: Root) -> None:
    root.start("rdtsc; shl rdx, 32; or rax, rdx; mov rsi, rax; mov ecx, 0x10; rdmsr; hlt", tsc_offset=1 << 40)
    root["primary_controls"] = root["primary_controls"] | 1 << 3 | 1 << 28
    tsc = root.rdmsr(0x10)
    assert root.enter() == 12
    assert root.gpr("rsi") == tsc + (1 << 40)
    assert root.gpr("rdx") << 32 | root.gpr("rax") == tsc + 5 + (1 << 40)
    assert root.rdmsr(0x10) == tsc + 6


def test_the_root_moves_time_and_count(root: Root) -> None:
    root.start("rdtsc; hlt")
    assert root.wrmsr(0x10, 1000)
    assert root.wrmsr(0x309, 70)
    assert root.enter() == 12
    assert root.gpr("rax") == 1000
    assert root.rdmsr(0x10) == 1001
    assert root.count == 71


# ---- EPT ----


@pytest.mark.parametrize(
    ("source", "rights", "qualification"),
    [
        ("mov eax, [rbx]", 0, 0x181),
        ("mov [rbx], eax", 0, 0x182),
        ("mov [rbx], eax", 1, 0x182 | 1 << 3),
        ("mov [rbx], eax", 5, 0x182 | 5 << 3),
        ("mov eax, [rbx]", 4, 0x181 | 4 << 3),
        ("jmp rbx", 0, 0x184),
        ("jmp rbx", 3, 0x184 | 3 << 3),
    ],
)
def test_ept_violation(root: Root, source: str, rights: int, qualification: int) -> None:
    address = 0x1FE234
    root.start(source)
    root.permit(address & ~4095, rights)
    root.registers.gpr[3] = address
    assert root.enter() == 48
    assert root["exit_qualification"] == qualification
    assert root["guest_physical_address"] == root["guest_linear_address"] == address
    assert root["guest_rip"] == (address if "jmp" in source else CODE)


def test_ept_violation_of_a_paging_structure(root: Root) -> None:
    root.start("mov eax, [0x40000000]")
    root.write(0x11008, (0x1FD000 | 7).to_bytes(8, "little"))  # PDPTE 1
    root.permit(0x1FD000, 0)
    assert root.enter() == 48
    assert root["exit_qualification"] == 0x81
    assert root["guest_physical_address"] == 0x1FD000
    assert root["guest_linear_address"] == 0x40000000


@pytest.mark.parametrize("entry", [0x1FE000 | 2, 0x1FE000 | 6, 0x1FE000 | 7 | 3 << 3, 1 << 46 | 0x1FE000 | 7 | 6 << 3])
def test_ept_misconfiguration(root: Root, entry: int) -> None:
    """Write without read, a reserved memory type, an address beyond the width."""
    root.start("mov eax, [0x1fe008]")
    root.write(0x403000 + 0x1FE * 8, entry.to_bytes(8, "little"))
    assert root.enter() == 49
    assert root["guest_physical_address"] == 0x1FE008


def test_execute_only_pages(root: Root) -> None:
    root.start("jmp rbx")
    root.write(0x1FE000, b"\xf4")
    root.permit(0x1FE000, 4)
    root.registers.gpr[3] = 0x1FE000
    assert root.enter() == 12


def test_beyond_the_arena_is_an_open_bus(root: Root) -> None:
    root.start("mov eax, [0x1fe000]; mov dword ptr [0x1fe000], 0; hlt")
    root.write(0x403000 + 0x1FE * 8, (0x10000000 | 7 | 6 << 3).to_bytes(8, "little"))
    assert root.enter() == 12
    assert root.gpr("rax") == 0xFFFFFFFF
