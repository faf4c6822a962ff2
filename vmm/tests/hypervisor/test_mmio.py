"""Every instruction works on memory that is not RAM: the interpreter's semantics over the board."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .guests import Guest

Make = Callable[..., Guest]

LAPIC = 0xFEE00000
TPR, SVR, TIMER_INITIAL = LAPIC + 0x80, LAPIC + 0xF0, LAPIC + 0x380
VERSION = LAPIC + 0x30

# (instructions with EBX at the task-priority register, its value afterwards); it starts as 0x30.
STORES = [
    ("mov dword ptr [ebx], 0x50", 0x50),
    ("mov eax, 0x50; mov [ebx], eax", 0x50),
    ("or dword ptr [ebx], 0x40", 0x70),
    ("and dword ptr [ebx], 0x10", 0x10),
    ("add dword ptr [ebx], 0x10", 0x40),
    ("inc dword ptr [ebx]", 0x31),
    ("neg dword ptr [ebx]", 0xD0),
    ("not dword ptr [ebx]", 0xCF),
    ("shl dword ptr [ebx], 1", 0x60),
    ("lock xor dword ptr [ebx], 0x11", 0x21),
    ("mov eax, 0x51; xchg [ebx], eax; cmp eax, 0x30; jne fail", 0x51),
    ("mov eax, 1; xadd [ebx], eax; cmp eax, 0x30; jne fail", 0x31),
    ("mov eax, 0x30; mov ecx, 0x77; lock cmpxchg [ebx], ecx; jne fail", 0x77),
    ("mov eax, 0x31; mov ecx, 0x77; lock cmpxchg [ebx], ecx; je fail", 0x30),
    ("bts dword ptr [ebx], 6; jc fail", 0x70),
    ("push 0x60; pop dword ptr [ebx]", 0x60),
    ("mov edi, ebx; mov eax, 0x42; stosd", 0x42),
    ("mov edi, ebx; mov esi, offset fail; mov dword ptr [0x7000], 0x43; mov esi, 0x7000; movsd", 0x43),
    ("mov eax, 0x44; movd xmm0, eax; movd [ebx], xmm0", 0x44),
    ("mov eax, 0x45; movd mm0, eax; movd [ebx], mm0; emms", 0x45),
    ("push 0x46; fild dword ptr [esp]; fistp dword ptr [ebx]", 0x46),
    ("mov dword ptr [0x7000], 0x47; movss xmm1, [0x7000]; movss [ebx], xmm1", 0x47),
    ("mov esp, offset 0xfee00084; push 0x48", 0x48),
    ("cmp dword ptr [ebx], 0x30; sete byte ptr [0x7000]; movzx eax, byte ptr [0x7000]; mov [ebx], eax", 0x01),
]  # fmt: skip

# SSE and x87 need CR4.OSFXSR.
SET_UP = f"mov eax, cr4; or eax, 0x600; mov cr4, eax; fninit; mov ebx, {TPR}; mov dword ptr [ebx], 0x30"


@pytest.mark.parametrize(("instructions", "value"), STORES)
def test_stores_and_read_modify_write(make: Make, instructions: str, value: int) -> None:
    guest = make(f"{SET_UP}; {instructions}; debug_exit 1; fail: debug_exit 2", "protected")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.machine.registers().cr8 == value >> 4


LOADS = [
    "mov eax, [ebx]",
    "xor eax, eax; or eax, [ebx]",
    "push [ebx]; pop eax",
    "mov esp, ebx; pop eax",
    "mov esi, ebx; lodsd",
    "mov esi, ebx; mov edi, 0x7100; movsd; mov eax, [0x7100]",
    "movd xmm0, [ebx]; movd eax, xmm0",
    "movups xmm0, [ebx]; movd eax, xmm0",
    "movaps xmm0, [ebx]; movd eax, xmm0",
    "movq mm0, [ebx]; movd eax, mm0; emms",
    "fild dword ptr [ebx]; fistp dword ptr [0x7100]; mov eax, [0x7100]",
    "imul eax, [ebx], 1",
    "mov eax, -1; and eax, [ebx]",
    "movzx eax, word ptr [ebx]; movzx ecx, word ptr [ebx+2]; shl ecx, 16; or eax, ecx",
    "pshufd xmm0, [ebx], 0; movd eax, xmm0",
    "les eax, [ebx-2]; xor eax, eax; mov eax, [ebx]",
]


@pytest.mark.parametrize("instructions", LOADS)
def test_loads(both: Callable[..., list[Guest]], instructions: str) -> None:
    """From the version register, of which `les` cannot make a selector: there both accelerators raise #GP."""
    values = []
    for guest in both(f"{SET_UP}; mov ebx, {VERSION}; {instructions}; mov [0x7000], eax; debug_exit 1", "protected"):
        end = guest.run()
        values.append((end.kind.name, end.detail, end.count, guest.word(0x7000)))
    assert values[0] == values[1]
    if not instructions.startswith("les"):
        assert values[0][3] & 0xFF in range(0x10, 0x16), hex(values[0][3])  # an integrated APIC


def test_rep_movs_into_the_lapic_page(make: Make) -> None:
    """Sixteen doublewords, each in its own register's place or in the reserved bytes behind it."""
    source = f"""
        mov edi, 0x7000; mov eax, 0x60; mov ecx, 16; rep stosd
        mov esi, 0x7000; mov edi, {LAPIC + 0x60}; mov ecx, 16; rep movsd
        mov [0x7100], edi; mov [0x7104], ecx
        debug_exit 1
    """
    guest = make(source, "protected")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.machine.registers().cr8 == 6
    assert (guest.word(0x7100), guest.word(0x7104)) == (LAPIC + 0xA0, 0)
    assert guest.machine.count == 3 + 16 + 3 + 16 + 2 + 2  # one an iteration


def test_rep_movs_out_of_the_lapic_page(make: Make) -> None:
    source = f"mov esi, {LAPIC}; mov edi, 0x7000; mov ecx, 1024; rep movsd; debug_exit 1"
    guest = make(source, "protected")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.machine.count == 3 + 1024 + 2
    assert guest.word(0x7000 + 0x30) & 0xFF in range(0x10, 0x16)


def test_a_load_across_pages(make: Make) -> None:
    """Two bytes of nothing before the LAPIC's page, two of its first register."""
    source = f"mov ebx, {LAPIC - 2}; mov eax, [ebx]; mov [0x7000], eax; debug_exit 1"
    guest = make(source, "protected")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.word(0x7000) & 0xFFFF == 0xFFFF


def test_an_operand_half_in_ram(make: Make) -> None:
    """At the start of video memory: the low half is stored, the high half goes nowhere."""
    source = "mov ebx, 0x9fffe; mov dword ptr [ebx], 0x12345678; mov eax, [ebx]; mov [0x7000], eax; debug_exit 1"
    guest = make(source, "protected")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.word(0x7000) == 0xFFFF5678
    assert guest.word(0x9FFFE, 2) == 0x5678


def test_memory_without_a_device_reads_as_ones(make: Make) -> None:
    source = """
        mov ebx, 0xd0000000; mov dword ptr [ebx], 0
        mov eax, [ebx]; mov [0x7000], eax
        mov eax, [0xa0000]; mov [0x7004], eax
        mov eax, [0x400000]; mov [0x7008], eax      # behind RAM
        debug_exit 1
    """
    guest = make(source, "protected")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.machine.read_ram(0x7000, 12) == b"\xff" * 12


def test_fetching_from_nowhere_is_an_undefined_opcode(make: Make) -> None:
    source = """
        mov word ptr [idt + 6 * 8], offset handler - 0x10000
        mov word ptr [idt + 6 * 8 + 6], 1
        lidt [idtr]
        mov eax, 0xd0000000
        jmp eax
    handler:
        pop eax; mov [0x7000], eax
        debug_exit 6
        .balign 8
    idt: .rept 32; .word 0, 8, 0x8e00, 0; .endr
    idtr: .word 255; .long idt
    """
    guest = make(source, "protected")
    assert guest.end() == ("DEBUG_EXIT", 6)
    assert guest.word(0x7000) == 0xD0000000


def test_page_tables_in_nowhere_are_a_reserved_bit_fault(make: Make) -> None:
    """With an IDT that cannot be reached either, this is a triple fault and not an error of ours."""
    guest = make("mov eax, 0xd0000000; mov cr3, rax; nop", "long")
    assert guest.end()[0] == "TRIPLE_FAULT"


def test_an_idt_in_nowhere_is_a_triple_fault(make: Make) -> None:
    guest = make("lidt [idtr]; ud2; idtr: .word 0xfff; .long 0xd0000000", "protected")
    assert guest.end()[0] == "TRIPLE_FAULT"


def test_a_stack_in_nowhere_loses_what_is_pushed(make: Make) -> None:
    """The handler of INT3 is reached; its frame reads as ones."""
    source = """
        mov word ptr [idt + 3 * 8], offset handler - 0x10000
        mov word ptr [idt + 3 * 8 + 6], 1
        lidt [idtr]
        mov esp, 0xd0001000
        int3
        debug_exit 1
    handler:
        mov eax, [esp]; mov [0x7000], eax; mov [0x7004], esp
        debug_exit 3
        .balign 8
    idt: .rept 32; .word 0, 8, 0x8e00, 0; .endr
    idtr: .word 255; .long idt
    """
    guest = make(source, "protected")
    assert guest.end() == ("DEBUG_EXIT", 3)
    assert (guest.word(0x7000), guest.word(0x7004)) == (0xFFFFFFFF, 0xD0000FF4)


def test_ram_above_4_gib(make: Make) -> None:
    source = """
        mov dword ptr [0x3020], 0x6003      # entry 4 of the PDPT: a page directory
        mov dword ptr [0x6000], 0x83; mov dword ptr [0x6004], 1
        mov rbx, 0x100000000
        mov rax, 0x1122334455667788; mov [rbx], rax; mov rcx, [rbx]; mov [0x7000], rcx
        mov rbx, 0x100100000; mov qword ptr [rbx], 0; mov rcx, [rbx]; mov [0x7008], rcx
        debug_exit 1
    """
    guest = make(source, "long", memory=3073 << 20)
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.word(0x7000, 8) == guest.word(0x100000000, 8) == 0x1122334455667788
    assert guest.word(0x7008, 8) == 2**64 - 1  # one MiB only


# ---- what random code found: both accelerators end alike ----

FLAT_IDT = """
    .balign 8
    idt: .rept 64; .word handler - 0x10000, 8, 0x8e00, 1; .endr
    idtr: .word 511; .long idt
"""


def same_end(both: Callable[..., list[Guest]], source: str, mode: str, **limits: int) -> list[Guest]:
    guests = both(source, mode)
    results = [(guest.end(**limits), guest.machine.count, guest.machine.state_hash()) for guest in guests]
    assert results[0] == results[1]
    return guests


def test_a_checked_x87_store_to_a_device_pops_once(both: Callable[..., list[Guest]]) -> None:
    source = f"""
        fninit; fld1; fldz; push 0x340; fldcw [esp]; mov ebx, {TPR}
        fistp dword ptr [ebx]; fnstsw ax; mov [0x7000], ax; debug_exit 1
    """
    for guest in same_end(both, source, "protected"):
        assert guest.word(0x7000, 2) >> 11 & 7 == 7  # TOP


def test_lmsw_from_a_device(both: Callable[..., list[Guest]]) -> None:
    source = f"mov dword ptr [{TPR}], 0x3; lmsw [{TPR}]; smsw eax; mov [0x7000], eax; debug_exit 1"
    for guest in same_end(both, source, "protected"):
        assert guest.word(0x7000) & 0xF == 3


def test_pdptes_outside_of_ram(both: Callable[..., list[Guest]]) -> None:
    """They read as ones: reserved bits, #GP."""
    source = f"""
        lidt [idtr]
        mov eax, 0x80000000; mov cr3, eax; mov eax, 0x20; mov cr4, eax
        mov eax, cr0; or eax, 0x80000000; mov cr0, eax
        debug_exit 2
    handler: debug_exit 1
        {FLAT_IDT}
    """
    for guest in same_end(both, source, "protected"):
        assert guest.machine.registers().cr0 >> 31 == 0


def test_an_nmi_sent_by_a_rep_comes_before_its_next_iteration(both: Callable[..., list[Guest]]) -> None:
    source = f"""
        lidt [idtr]
        mov dword ptr [0xfee000f0], 0x1ff; mov edi, {LAPIC + 0x300}; mov eax, 0x40400; mov ecx, 8; rep stosd
        debug_exit 2
    handler: mov [0x7000], ecx; debug_exit 1
        {FLAT_IDT}
    """
    for guest in same_end(both, source, "protected"):
        assert guest.word(0x7000) == 7


@pytest.mark.parametrize("count", range(1, 30))
def test_a_rep_that_overwrites_itself_is_the_same_in_slices(both: Callable[..., list[Guest]], count: int) -> None:
    source = (
        "mov edi, offset again - 8; mov al, 0x90; mov ecx, 40; again: rep stosb; .rept 64; nop; .endr; debug_exit 1"
    )
    for whole, sliced in zip(both(source, "protected"), both(source, "protected"), strict=True):
        assert sliced.end(count=count)[0] == "LIMIT"
        assert whole.end() == sliced.end()
        assert whole.machine.state_hash() == sliced.machine.state_hash()


def test_a_handler_that_always_faults_leaves_the_host_its_turn(both: Callable[..., list[Guest]]) -> None:
    source = "mov ax, 0x2000; mov ss, ax; xor ax, ax; mov ds, ax"
    source += "; mov word ptr [0x18], offset bad - 0x10000; mov word ptr [0x1a], 0x1000; bad: ud2"
    for guest in both(source, "real"):
        assert guest.end(air_us=1000)[0] == "AIR"
        assert guest.machine.count == 6


def test_data_segments_dropped_by_a_return_are_null(both: Callable[..., list[Guest]]) -> None:
    """Code at privilege 3 after IRET: DS was flat, of privilege 0."""
    source = f"""
        mov dword ptr [0x1030], 0xffff; mov dword ptr [0x1034], 0xcffb00
        mov dword ptr [0x1038], 0xffff; mov dword ptr [0x103c], 0xcff300
        mov word ptr [0x1040], 0x3f; mov dword ptr [0x1042], 0x1000; lgdt [0x1040]
        mov dword ptr [4], 0x9000; mov dword ptr [8], 0x10
        lidt [idtr]
        push 0x3b; push 0x8000; push 2; push 0x33; push offset user; iretd
    user: mov dword ptr [0x7000], 1; hlt
    handler: mov eax, [esp + 4]; mov bx, 0x10; mov ds, bx; mov [0x7004], eax; debug_exit 1
        {FLAT_IDT}
    """
    for guest in same_end(both, source, "protected"):
        assert guest.word(0x7000) == 0


def test_a_single_step_is_held_back_by_mov_ss_over_exits(both: Callable[..., list[Guest]]) -> None:
    source = f"""
        lidt [idtr]
        mov eax, ss; push 0x102; popfd
        mov ss, eax
        out 0x80, al
        nop
    handler: mov eax, [esp]; mov [0x7000], eax; debug_exit 1
        {FLAT_IDT}
    """
    for count in range(1, 9):
        for guest in same_end(both, source, "protected", count=count):
            guest.end(count=100)


def test_a_task_switch_in_the_shadow_of_sti(both: Callable[..., list[Guest]]) -> None:
    source = """
        mov edi, 0x6000; mov ecx, 26; xor eax, eax; rep stosd
        mov dword ptr [0x6020], offset task; mov dword ptr [0x6024], 2; mov dword ptr [0x6038], 0x9000
        mov dword ptr [0x6048], 0x10; mov dword ptr [0x604c], 8; mov dword ptr [0x6050], 0x10
        mov dword ptr [0x6054], 0x10
        mov dword ptr [0x1030], 0x60000067; mov dword ptr [0x1034], 0x8900
        mov word ptr [0x1040], 0x37; mov dword ptr [0x1042], 0x1000; lgdt [0x1040]
        sti
        ljmp 0x30, 0
    task: debug_exit 1
    """
    for guest in same_end(both, source, "protected"):
        assert not guest.machine.registers().rflags & 1 << 9
