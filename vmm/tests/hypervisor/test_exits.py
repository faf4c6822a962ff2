"""Each exit handler, by what the guest sees of it; `bare` must show the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bringup.vmm.core import _core
from bringup.vmm.machine import RAX, RCX, RDX, Machine
from bringup.vmm.spec import Accel

from .guests import Guest

Make = Callable[..., Guest]

# What most guests do first in real mode: exception `n` writes n to 0x7000 and the IP that it pushed to 0x7004, then
# ends the machine.
CATCH = """
    xor ax, ax
    mov es, ax
    mov cx, 32
    xor di, di
    mov bx, offset stubs - 0x10000
1:  mov es:[di], bx
    mov word ptr es:[di+2], 0x1000
    add di, 4
    add bx, 4
    loop 1b
    jmp start
stubs:
    .rept 32
    call caught
    nop
    .endr
caught:
    pop ax
    sub ax, offset stubs - 0x10000 + 3
    shr ax, 2
    mov [0x7000], ax
    pop word ptr [0x7004]
    debug_exit 99
start:
"""


def caught(guest: Guest) -> int:
    """The exception that ended a guest of CATCH."""
    assert guest.end() == ("DEBUG_EXIT", 99)
    return guest.word(0x7000, 2)


def exits(machine: Machine, reason: int) -> int:
    return machine.exits().get(reason, 0)


# ---- CPUID, HLT, INVD, XSETBV ----


def test_cpuid_hides_vmx(make: Make) -> None:
    guest = make("mov eax, 1; cpuid; mov [0x7000], ecx; xor eax, eax; cpuid; mov [0x7004], ebx; debug_exit 7")
    assert guest.end() == ("DEBUG_EXIT", 7)
    assert not guest.word(0x7000) >> 5 & 1
    assert guest.machine.read_ram(0x7004, 4) == b"Genu"


def test_cpuid_tells_whether_the_apic_is_enabled(make: Make) -> None:
    guest = make("""
        mov eax, 1; cpuid; mov [0x7000], edx
        mov ecx, 0x1b; rdmsr; mov edi, eax; and ax, 0xf7ff; wrmsr
        mov eax, 1; cpuid; mov [0x7004], edx
        mov ecx, 0x1b; mov eax, edi; xor edx, edx; wrmsr
        mov eax, 1; cpuid; mov [0x7008], edx
        debug_exit 1
    """)
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert [guest.word(address) >> 9 & 1 for address in (0x7000, 0x7004, 0x7008)] == [1, 0, 1]


def test_tsc_adjust(both: Callable[..., list[Guest]]) -> None:
    """A write to the TSC moves IA32_TSC_ADJUST as far, and the other way round; without the feature there is none."""
    source = """
        mov ecx, 0x10; xor edx, edx; xor eax, eax; wrmsr
        mov ecx, 0x3b; rdmsr; mov [0x7000], eax; mov [0x7004], edx
        mov ecx, 0x3b; mov eax, 0x1000; mov edx, 7; wrmsr; rdtsc; mov [0x7008], eax; mov [0x700c], edx
        debug_exit 1
    """
    seen = set()
    for guest in both(source, cpu="max"):
        assert guest.end() == ("DEBUG_EXIT", 1)
        adjust = guest.word(0x7000) | guest.word(0x7004) << 32
        assert -100 < adjust - 2**64 < 0, "back to zero from a few instructions"
        assert (guest.word(0x7008) - 0x1000, guest.word(0x700C)) == (12, 7), "12 instructions before RDTSC"
        seen.add((adjust, guest.machine.state_hash()))
    assert len(seen) == 1


def test_cpuid_osxsave_follows_cr4(make: Make) -> None:
    source = """
        mov eax, 1; cpuid; mov [0x7000], ecx
        mov rax, cr4; or eax, 0x40000; mov cr4, rax
        mov eax, 1; cpuid; mov [0x7004], ecx
        debug_exit 7
    """
    guest = make(source, "long")
    assert guest.end() == ("DEBUG_EXIT", 7)
    assert [guest.word(at) >> 27 & 1 for at in (0x7000, 0x7004)] == [0, 1]


@pytest.mark.parametrize(
    ("cpu", "eax", "edx", "ecx", "fine"),
    [("x86-64-v2", 1, 0, 0, True), ("x86-64-v2", 3, 0, 0, True), ("x86-64-v2", 2, 0, 0, False),
     ("x86-64-v2", 7, 0, 0, False), ("x86-64-v2", 1, 1, 0, False), ("x86-64-v2", 3, 0, 1, False),
     ("max", 0x201, 0, 0, True), ("max", 0x203, 0, 0, True), ("max", 0x205, 0, 0, False), ("max", 0x20B, 0, 0, False)],
)  # fmt: skip
def test_xsetbv(make: Make, cpu: str, eax: int, edx: int, ecx: int, fine: bool) -> None:
    source = f"""
        {CATCH}
        mov eax, cr4; or eax, 0x40200; mov cr4, eax
        mov eax, {eax}; mov edx, {edx}; mov ecx, {ecx}
        xsetbv
        xor ecx, ecx; xgetbv; mov [0x7000], ax
        debug_exit 99
    """
    assert caught(make(source, cpu=cpu)) == (eax if fine else 13)


def test_invd_and_wbinvd_do_nothing(make: Make) -> None:
    assert make("invd; wbinvd; debug_exit 3").end() == ("DEBUG_EXIT", 3)


VMX_INSTRUCTIONS = ["vmcall", "vmxoff", "vmlaunch", "vmresume", "vmread eax, ebx", "vmwrite eax, ebx", "vmxon [0x7100]",
                    "vmclear [0x7100]", "vmptrld [0x7100]", "vmptrst [0x7100]", "getsec"]  # fmt: skip


@pytest.mark.parametrize("instruction", VMX_INSTRUCTIONS)
def test_vmx_instructions_do_not_exist(make: Make, instruction: str) -> None:
    source = f"""
        jmp handler_end
    handler:
        debug_exit 6
    handler_end:
        mov word ptr [idt + 6 * 8], offset handler - 0x10000
        mov word ptr [idt + 6 * 8 + 6], 1
        lidt [idtr]
        {instruction}
        debug_exit 1
        .balign 8
    idt: .rept 32; .word 0, 8, 0x8e00, 0; .endr
    idtr: .word 255; .long idt
    """
    assert make(source, "protected").end() == ("DEBUG_EXIT", 6)


# ---- port I/O ----


def test_in_merges_into_rax(make: Make) -> None:
    source = """
        mov rbx, 0x1122334455667788
        mov dx, 0x1234              # nothing there: ones
        mov rax, rbx; in al, dx; mov [0x7000], rax
        mov rax, rbx; in ax, dx; mov [0x7008], rax
        mov rax, rbx; in eax, dx; mov [0x7010], rax
        debug_exit 1
    """
    guest = make(source, "long")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert [guest.word(at, 8) for at in (0x7000, 0x7008, 0x7010)] == [
        0x11223344556677FF,
        0x112233445566FFFF,
        0xFFFFFFFF,
    ]


def test_rep_outs_prints(make: Make) -> None:
    source = """
        mov si, offset text - 0x10000
        mov ax, 0x1000; mov ds, ax
        mov cx, 26; mov dx, 0xe9; cld
        rep outsb
        xor ax, ax; mov ds, ax
        mov [0x7000], cx; mov [0x7002], si
        debug_exit 1
    text: .ascii "abcdefghijklmnopqrstuvwxyz"
    """
    guest = make(source)
    assert guest.end() == ("DEBUG_EXIT", 1)
    output = guest.machine.receive(4)
    assert output.data == b"abcdefghijklmnopqrstuvwxyz"
    counts = memoryview(output.counts).cast("Q").tolist()
    assert counts == list(range(6, 32))  # six instructions before, one an iteration
    assert guest.word(0x7000, 2) == 0


def test_rep_ins_fills_memory(make: Make) -> None:
    source = "xor ax, ax; mov es, ax; mov di, 0x7000; mov cx, 5; mov dx, 0x1234; rep insw; debug_exit 1"
    guest = make(source)
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.machine.read_ram(0x7000, 12) == b"\xff" * 10 + b"\0\0"
    assert guest.machine.registers().gpr[RCX] == 0


def test_string_io_is_one_exit(make: Make, accel: Accel) -> None:
    guest = make("mov cx, 100; mov dx, 0xe9; mov si, 0x7000; rep outsb; debug_exit 1")
    guest.end()
    assert exits(guest.machine, 30) == (2 if accel is Accel.VTX else 0)
    assert guest.machine.count == 3 + 100 + 2


# ---- MSRs ----


@pytest.mark.parametrize(
    ("msr", "value"),
    [
        (0x174, 0x1234),
        (0x175, 0xFFFF800012345678),
        (0x277, 0x0007040600070406),
        (0x2FF, 0xC06),
        (0xC0000081, 0x23001000000000),
        (0xC0000082, 0xFFFF800000001000),
        (0xC0000102, 0x123456789A),
        (0xC0000103, 5),
    ],
)
def test_msrs_keep_what_is_written(make: Make, msr: int, value: int) -> None:
    source = f"""
        mov ecx, {msr}; mov eax, {value & 0xFFFFFFFF}; mov edx, {value >> 32}
        wrmsr
        xor eax, eax; xor edx, edx
        rdmsr
        mov [0x7000], eax; mov [0x7004], edx
        debug_exit 1
    """
    guest = make(source)
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.word(0x7000, 8) == value


@pytest.mark.parametrize("instruction", ["rdmsr", "wrmsr"])
@pytest.mark.parametrize("msr", [0x2, 0x3B, 0x480, 0x48D, 0x1FFF, 0x2000, 0x40000000, 0xC0000200, 0xFFFFFFFF])
def test_absent_msrs_fault(make: Make, msr: int, instruction: str) -> None:
    guest = make(f"{CATCH} mov ecx, {msr}; xor eax, eax; xor edx, edx; {instruction}; debug_exit 0")
    assert caught(guest) == 13


def test_msrs_of_both_accelerators_are_the_same(both: Callable[..., list[Guest]]) -> None:
    """RDMSR of every index: the ones that fault do so under both, the others read the same."""
    source = f"""
        {CATCH}
        mov word ptr [13 * 4], offset fault - 0x10000
        mov ax, 0x2000; mov es, ax; xor di, di; cld
        xor ecx, ecx
    next:
        rdmsr
        jmp read
    fault:
        add sp, 6
        mov eax, 0xbadbad; mov edx, ecx
    read:
        cmp ecx, 0x10; je skip      # the TSC runs
        add ebx, eax; rol ebx, 7; xor ebx, edx
        test cx, 0xff; jnz skip
        mov es:[di], ebx; add di, 4
    skip:
        inc ecx
        cmp ecx, 0x2000; jne not_low
        mov ecx, 0xc0000000
    not_low:
        cmp ecx, 0xc0002000; jne next
        debug_exit 1
    """
    guests = both(source)
    assert [guest.end() for guest in guests] == [("DEBUG_EXIT", 1)] * 2
    vtx, bare = (memoryview(guest.machine.read_ram(0x20000, 256)).cast("I").tolist() for guest in guests)
    assert vtx == bare
    assert len({guest.machine.count for guest in guests}) == 1


def test_tsc_counts_instructions_and_can_be_written(make: Make) -> None:
    source = """
        rdtsc; mov [0x7000], eax
        nop; nop; nop
        rdtsc; mov [0x7004], eax
        mov ecx, 0x10; mov eax, 1000; xor edx, edx
        wrmsr
        rdtsc; mov [0x7008], eax; mov [0x700c], edx
        rdmsr; mov [0x7010], eax
        debug_exit 1
    """
    guest = make(source)
    assert guest.end() == ("DEBUG_EXIT", 1)
    first, second, third, high, fourth = (guest.word(at) for at in range(0x7000, 0x7014, 4))
    assert second - first == 5
    assert (third, high, fourth) == (1001, 0, 1004)
    assert guest.machine.time == guest.machine.count  # guest time is not the guest's to set


# ---- control registers ----


def test_cr0_reads_back(make: Make) -> None:
    """NE, CD and NW are the guest's although VMX operation fixes them."""
    source = """
        mov eax, cr0; mov [0x7000], eax
        or eax, 0x60000020; mov cr0, eax; mov eax, cr0; mov [0x7004], eax
        and eax, 0x9fffffdf; mov cr0, eax; mov eax, cr0; mov [0x7008], eax
        smsw ax; mov [0x700c], ax
        debug_exit 1
    """
    guest = make(source)
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert [guest.word(at) for at in (0x7000, 0x7004, 0x7008, 0x700C)] == [0x10, 0x60000030, 0x10, 0x10]
    assert guest.machine.registers().cr0 == 0x10


@pytest.mark.parametrize("cr0", [0x20000010, 0x80000010, 0x20000030])
def test_cr0_combinations_that_fault(make: Make, cr0: int) -> None:
    assert caught(make(f"{CATCH} mov eax, {cr0}; mov cr0, eax; debug_exit 0")) == 13


def test_cr4_vmxe_is_reserved(make: Make) -> None:
    assert caught(make(f"{CATCH} mov eax, cr4; or eax, 0x2000; mov cr4, eax; debug_exit 0")) == 13


def test_long_mode_with_ne_in_one_write(make: Make) -> None:
    """CR0.NE and PG change together: the exit handler enters IA-32e mode."""
    source = """
        mov eax, cr4; or eax, 0x20; mov cr4, eax
        mov eax, 0x2000; mov cr3, eax
        mov ecx, 0xc0000080; rdmsr; or eax, 0x100; wrmsr
        mov eax, cr0; and eax, 0xffffffdf; mov cr0, eax
        or eax, 0x80000020; mov cr0, eax
        ljmp 0x18, offset long_mode
        .code64
    long_mode:
        mov ecx, 0xc0000080; rdmsr; mov [0x7000], eax
        mov rax, cr0; mov [0x7008], rax
        debug_exit 1
    """
    guest = make("nop", "long")
    guest.load(source, "protected")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.word(0x7000) == 0x500
    assert guest.word(0x7008, 8) == 0x80000031


def test_cr8_is_the_task_priority(make: Make) -> None:
    source = """
        mov eax, 5; mov cr8, rax
        mov ebx, 0xfee00080; mov ecx, [rbx]; mov [0x7000], ecx
        mov dword ptr [rbx], 0x90; mov rsp, cr8; mov [0x7008], rsp
        debug_exit 1
    """
    guest = make(source, "long")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert (guest.word(0x7000), guest.word(0x7008, 8)) == (0x50, 9)
    assert guest.machine.registers().cr8 == 9


# ---- task switches ----


def test_far_jump_to_a_task(make: Make) -> None:
    source = """
        .equ new_tss, 0x6000
        mov edi, new_tss; mov ecx, 26; xor eax, eax; rep stosd
        mov dword ptr [new_tss + 0x20], offset task
        mov dword ptr [new_tss + 0x24], 2
        mov dword ptr [new_tss + 0x28], 0x1234567     # EAX
        mov dword ptr [new_tss + 0x38], 0x9000        # ESP
        mov dword ptr [new_tss + 0x48], 0x10; mov dword ptr [new_tss + 0x4c], 8
        mov dword ptr [new_tss + 0x50], 0x10; mov dword ptr [new_tss + 0x54], 0x10
        mov dword ptr [0x1030], 0x60000067; mov dword ptr [0x1034], 0x8900
        mov word ptr [0x1040], 0x37; mov dword ptr [0x1042], 0x1000; lgdt [0x1040]
        mov ebx, 0x55
        ljmp 0x30, 0
    back:
        debug_exit 2
    task:
        str cx
        mov [0x7000], eax; mov [0x7004], esp; mov [0x7008], cx
        debug_exit 1
    """
    guest = make(source, "protected")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert (guest.word(0x7000), guest.word(0x7004), guest.word(0x7008, 2)) == (0x1234567, 0x9000, 0x30)
    assert guest.word(0x34) == 0x55  # the old task's EBX, in the TSS at 0
    assert guest.word(0x1034) >> 8 & 0xF == 0xB  # busy


# A 32-bit IDT (vector n: an interrupt gate at `idt + 8 * n`) and its pseudo-descriptor.
IDT = """
    .balign 8
    idt: .rept 64; .word 0, 8, 0x8e00, 0; .endr
    idtr: .word 511; .long idt
"""
# A second task for selector 30h: its TSS at 6000h, its code at `task`. GDT and LDT limits grow by its descriptor.
SECOND_TASK = """
    .equ tss, 0x6000
    mov edi, tss; mov ecx, 26; xor eax, eax; rep stosd
    mov dword ptr [tss + 0x20], offset task; mov dword ptr [tss + 0x24], 2; mov dword ptr [tss + 0x38], 0x9000
    mov dword ptr [tss + 0x48], 0x10; mov dword ptr [tss + 0x4c], 8
    mov dword ptr [tss + 0x50], 0x10; mov dword ptr [tss + 0x54], 0x10
    mov dword ptr [0x1030], 0x60000067; mov dword ptr [0x1034], 0x8900
    mov word ptr [0x1040], 0x37; mov dword ptr [0x1042], 0x1000; lgdt [0x1040]
"""


def test_call_to_a_task_and_iret(make: Make) -> None:
    source = f"""
        {SECOND_TASK}
        mov ebx, 7
        lcall 0x30, 0
        mov [0x7000], ebx; str [0x7004]
        pushfd; pop eax; mov [0x7008], eax
        debug_exit 1
    task:
        pushfd; pop eax; mov [0x700c], eax
        mov ebx, 9
        iretd
    """
    for guest in make(source, "protected"), make(source, "protected"):
        assert guest.end() == ("DEBUG_EXIT", 1)
        assert (guest.word(0x7000), guest.word(0x7004, 2)) == (7, 0x20)
        assert guest.word(0x700C) & 1 << 14  # NT: a nested task
        assert not guest.word(0x7008) & 1 << 14


@pytest.mark.parametrize(
    ("vector", "raise_it", "error"),
    [(0x31, "int 0x31", None), (6, "ud2", None), (13, "mov ax, 0x50; mov ds, ax", 0x50)],
)
def test_events_through_task_gates(both: Callable[..., list[Guest]], vector: int, raise_it: str, error: int) -> None:
    """Software interrupts, faults, and faults with an error code, which the new task finds on its stack."""
    source = f"""
        {SECOND_TASK}
        mov dword ptr [idt + 8 * {vector}], 0x300000; mov dword ptr [idt + 8 * {vector} + 4], 0x8500
        lidt [idtr]
        {raise_it}
        debug_exit 2
    task:
        mov [0x7000], esp; mov eax, [esp]; mov [0x7004], eax
        debug_exit 1
        {IDT}
    """
    results = []
    for guest in both(source, "protected"):
        assert guest.end() == ("DEBUG_EXIT", 1)
        results.append((guest.machine.count, guest.machine.read_ram(0, 0xA0000)))
        assert guest.word(0x7000) == (0x9000 if error is None else 0x8FFC)
        if error is not None:
            assert guest.word(0x7004) == error
    assert results[0] == results[1]


# ---- single steps ----


def test_single_steps_over_what_exits(both: Callable[..., list[Guest]]) -> None:
    """Each instruction that the hypervisor completes is followed by its #DB, at the next one's address."""
    source = f"""
        mov word ptr [idt + 8], offset step - 0x10000; mov word ptr [idt + 8 + 6], 1
        lidt [idtr]
        mov edi, 0x7000; mov ebx, 0xfee00080; mov ebp, 0xfee00030
        push 0x102; popfd
    first:
        in al, 0x61
        mov eax, 1
        cpuid
        mov ecx, 0x1b
        rdmsr
        mov ecx, 3
        mov esi, 0xfee00030
        mov dx, 0x80
        rep outsb
        mov eax, cr0
        or eax, 0x40000000
        mov cr0, eax
        mov eax, [ebp]
        wbinvd
        out 0x80, al
        hlt
        debug_exit 1
    step:
        push eax; mov eax, [esp + 4]; mov [edi], eax; add edi, 4; pop eax
        iretd
        {IDT}
    """
    steps = []
    for guest in both(source, "protected"):
        assert guest.end(count=10**4) == ("DEBUG_EXIT", 1)
        end = guest.machine.registers().gpr[7]
        steps.append(memoryview(guest.machine.read_ram(0x7000, end - 0x7000)).cast("I").tolist())
    assert steps[0] == steps[1]
    # POPFD itself is not stepped; three iterations of OUTSB are, the first two at its own address.
    assert len(steps[0]) == 16 + 2 + 1
    assert steps[0][8] == steps[0][9] == steps[0][10] - 2


# ---- ends ----


@pytest.mark.parametrize(("register", "value"), [("rflags", 0x20002), ("cr4", 1 << 63), ("efer", 1), ("dr7", 1 << 40)])
def test_state_that_no_processor_can_have(register: str, value: int) -> None:
    """A boot protocol that sets it is told so: VM entry fails, by name."""
    guest = Guest(Accel.VTX, "nop", "protected")
    registers = guest.machine.registers()
    if register == "dr7":
        registers.dr[7] = value
    elif register == "efer":
        registers.efer = 0x400
    else:
        setattr(registers, register, value)
    guest.machine.set_registers(registers)
    end = guest.run()
    assert end.kind.name == "INTERNAL"
    assert end.reason.startswith("VM entry failed: ENTRY_FAILURE_GUEST_STATE")
    assert end.count == 0
    guest.machine.close()


def test_triple_fault(make: Make) -> None:
    guest = make("lidt [0x7000]; int3", "protected")
    end = guest.run()
    assert end.kind.name == "TRIPLE_FAULT"
    assert "RIP 0x10007" in end.reason
    assert guest.end()[0] == "TRIPLE_FAULT"  # until it is reset


def test_exit_ring_and_names(make: Make, accel: Accel) -> None:
    guest = make("xor eax, eax; cpuid; mov ecx, 0x1b; rdmsr; debug_exit 1")
    guest.end()
    lib, ffi = _core.lib, _core.ffi
    records = ffi.new("struct machine_exit_record[300]")
    count = lib.machine_exit_ring(guest.machine._machine, 0, records, 300)
    if accel is Accel.BARE:
        assert count == 0
        return
    seen = [(ffi.string(lib.machine_exit_name(r.reason)), r.count, r.rip) for r in records[0:count]]
    assert seen == [(b"CPUID", 1, 3), (b"RDMSR", 3, 0xB), (b"IO_INSTRUCTION", 5, 0xF)]
    assert lib.machine_exit_name(35) == lib.machine_exit_name(70) == ffi.NULL
    assert lib.machine_exit_ring(guest.machine._machine, 0, records, 1) == 1
    assert ffi.string(lib.machine_exit_name(records[0].reason)) == b"IO_INSTRUCTION"


def test_registers_survive_a_round_trip(make: Make) -> None:
    guest = make("nop", "long")
    registers = guest.machine.registers()
    registers.gpr = [n * 0x0101010101010101 for n in range(16)]
    registers.rflags = 0x246
    registers.cr2, registers.cr8 = 0x123456789, 3
    registers.dr[:4] = [1, 2, 3, 4]
    registers.idt_base, registers.idt_limit = 0xFFFF800000000000, 0xFFF
    guest.machine.set_registers(registers)
    assert guest.machine.registers() == registers


def test_reset(make: Make) -> None:
    guest = make("mov eax, 0x12345; xor edx, edx; mov ecx, 0xc0000082; wrmsr; debug_exit 1", "long")
    fresh = make("nop")
    fresh.machine.reset()
    assert guest.end() == ("DEBUG_EXIT", 1)
    count = guest.machine.count
    guest.machine.reset()
    registers = guest.machine.registers()
    assert guest.machine.count == count
    assert registers == fresh.machine.registers()
    assert (registers.rip, registers.cr0, registers.efer) == (0xFFF0, 0x60000010, 0)
    assert (registers.segments[1].selector, registers.segments[1].base) == (0xF000, 0xFFFF0000)
    assert registers.gpr[RDX] and not registers.gpr[RAX]
    guest.load("mov ecx, 0xc0000082; rdmsr; mov [0x7000], eax; rdtsc; mov [0x7004], eax; debug_exit 2")
    assert guest.end() == ("DEBUG_EXIT", 2)
    assert guest.word(0x7000) == 0
    assert guest.word(0x7004) == 3  # RESET# clears the TSC


def test_reset_leaves_both_alike(both: Callable[..., list[Guest]]) -> None:
    """MSRs, x87, debug registers, a task priority and a pending halt: RESET# ends them all."""
    source = """
        mov ecx, 0x3a; mov eax, 1; xor edx, edx; wrmsr
        mov ecx, 0x277; mov eax, 0x01010101; mov edx, eax; wrmsr
        mov ecx, 0x2ff; mov eax, 0xc06; xor edx, edx; wrmsr
        mov ecx, 0xc0000082; mov eax, 1; wrmsr
        mov ecx, 0x175; wrmsr
        mov ecx, 0x1a0; xor eax, eax; wrmsr
        mov rax, cr4; or eax, 0x40200; mov cr4, rax
        xor ecx, ecx; xor edx, edx; mov eax, 3; xsetbv
        fninit; fld1; movq xmm3, [0x1008]
        mov eax, 0x55; mov dr0, rax; mov eax, 4; mov cr8, rax
        hlt
    """
    hashes = []
    for guest in both(source, "long"):
        assert guest.end() == ("IDLE_FOREVER", 0)
        before = guest.machine.state_hash()
        guest.machine.reset()
        guest.load("mov ecx, 0x3a; mov eax, 1; xor edx, edx; wrmsr; 1: inc ebx; jmp 1b")
        guest.run(count=guest.machine.count + 1000)
        hashes.append((before, guest.machine.state_hash()))
    assert hashes[0] == hashes[1]
