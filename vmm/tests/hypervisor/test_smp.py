"""Several vCPUs: their start, their turns in virtual time, and what they see of each other's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bringup.vmm.machine import CS, RDX

from .guests import Guest, assemble

Make = Callable[..., Guest]
Both = Callable[..., list[Guest]]

AP_CODE, OTHER_AP_CODE = 0x8000, 0x9000  # SIPI vectors 8 and 9
FLAG = 0x7000

INIT, STARTUP, NMI = 0x4500, 0x4608, 0x4400

MACROS = f"""
    .macro ipi low, id
        mov dword ptr ds:[0xfee00310], \\id << 24
        mov dword ptr ds:[0xfee00300], \\low
    .endm
    .macro start id
        ipi {INIT}, \\id
        ipi {STARTUP}, \\id
    .endm
    .macro await value
        1: pause
        cmp dword ptr ds:[{FLAG}], \\value
        jne 1b
    .endm
"""
# Real mode: this processor's LAPIC in x2APIC mode and enabled.
X2APIC = """
    mov ecx, 0x1b; rdmsr; or eax, 0x400; wrmsr
    mov ecx, 0x80f; mov eax, 0x1ff; xor edx, edx; wrmsr
"""
AP_DATA = "xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax; mov sp, 0x6000;"


def smp(make: Callable[..., Any], boot: str, ap: str = "cli; hlt", other: str = "cli; hlt", **spec: Any) -> Any:
    """The boot processor runs `boot` in protected mode, the others the code that their SIPI names."""
    made = make(MACROS + boot, "protected", **{"cpus": 2} | spec)
    for guest in made if isinstance(made, list) else [made]:
        guest.machine.write_ram(AP_CODE, assemble(AP_DATA + ap, 16))
        guest.machine.write_ram(OTHER_AP_CODE, assemble(AP_DATA + other, 16))
    return made


# ---- INIT and SIPI ----


def test_init_and_sipi_start_a_processor(make: Make) -> None:
    guest = smp(make, "start 1; await 1; debug_exit 1", f"mov byte ptr [{FLAG}], 1; cli; hlt")
    signature = guest.machine.registers(1).gpr[RDX]
    assert guest.end() == ("DEBUG_EXIT", 1)
    registers = guest.machine.registers(1)
    assert (registers.segments[CS].selector, registers.segments[CS].base) == (0x800, 0x8000)
    assert registers.gpr[RDX] == signature == 0x106CA
    assert (registers.cr0, registers.efer) == (0x60000010, 0)
    assert guest.machine.vcpu_count(1) > 0


def test_a_processor_waits_for_its_sipi_whatever_else_comes(make: Make) -> None:
    guest = smp(make, f"ipi {NMI}, 1; ipi 0x4030, 1; mov ecx, 1000; 2: pause; loop 2b; ipi {INIT}, 1; cli; hlt")
    assert guest.end()[0] == "IDLE_FOREVER"
    assert guest.machine.vcpu_count(1) == 0


def test_a_sipi_is_lost_on_a_processor_that_runs(make: Make) -> None:
    again = f"ipi {STARTUP}, 1; mov ecx, 100; 2: pause; loop 2b;"
    guest = smp(make, f"start 1; await 1; {again} {again} debug_exit 1", f"inc byte ptr [{FLAG}]; 3: pause; jmp 3b")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.word(FLAG) == 1


def test_init_stops_a_processor_and_sipi_starts_it_elsewhere(make: Make) -> None:
    boot = f"""
        start 1; await 100; ipi {INIT}, 1
        mov eax, ds:[{FLAG}]; mov ecx, 100000; 2: loop 2b; cmp eax, ds:[{FLAG}]; jne 9f
        mov dword ptr ds:[{FLAG}], 0; ipi {STARTUP + 1}, 1; await 7; debug_exit 1; 9: debug_exit 2
    """
    count = f"mov dword ptr [{FLAG}], 100; 3: inc dword ptr [{FLAG}]; pause; dec dword ptr [{FLAG}]; pause; jmp 3b"
    assert smp(make, boot, count, f"mov dword ptr [{FLAG}], 7; hlt").end() == ("DEBUG_EXIT", 1)


def test_init_of_the_boot_processor_is_a_reset(make: Make) -> None:
    assert smp(make, f"ipi {INIT}, 0; cli; hlt").end() == ("RESET", 0)


@pytest.mark.parametrize("slice_", [1, 7, 10_000])
def test_storms_of_init(both: Both, slice_: int) -> None:
    """Each processor ends the others' work, and its own, over and over."""
    ap = X2APIC + f"mov ecx, 0x830; mov eax, {INIT}; mov edx, 1; 3: wrmsr; jmp 3b"
    boot = "4: mov dword ptr ds:[0xfee00310], 0; mov dword ptr ds:[0xfee00300], 0xc4500; start 1; start 2; jmp 4b"
    first, second = smp(both, boot, ap, cpus=3, cpu="max", slice=slice_)
    assert first.end(count=300_000) == second.end(count=300_000) == ("LIMIT", 0)
    assert first.machine.state_hash() == second.machine.state_hash()


def test_a_triple_fault_of_any_processor_ends_the_machine(make: Make) -> None:
    guest = smp(make, "start 1; 2: pause; jmp 2b", "lidt cs:[no_vectors - 0x10000]; int3; no_vectors: .word 0, 0, 0")
    assert guest.end()[0] == "TRIPLE_FAULT"


# ---- turns ----


@pytest.mark.parametrize("slice_", [1, 100, 12345])
def test_turns_are_of_a_slice(make: Make, slice_: int) -> None:
    guest = smp(make, "start 1; start 2; 2: jmp 2b", "3: jmp 3b", cpus=3, slice=slice_)
    guest.run(count=500_000)
    counts = [guest.machine.vcpu_count(vcpu) for vcpu in range(3)]
    assert sum(counts) == guest.machine.count == 500_000
    assert max(counts) - min(counts) <= slice_ + 200


def test_pause_gives_the_turn_away(make: Make) -> None:
    guest = smp(make, "start 1; 2: pause; jmp 2b", "3: jmp 3b", slice=1000)
    guest.run(count=1_000_000)
    assert guest.machine.vcpu_count(0) < 3000


def test_where_a_run_is_interrupted_changes_nothing(both: Both) -> None:
    boot = f"start 1; start 2; 2: lock inc dword ptr ds:[{FLAG}]; pause; rdtsc; mov ds:[0x7010], eax; jmp 2b"
    ap = f"3: lock add dword ptr [{FLAG}], 3; rdtsc; mov [0x7020], eax; in al, 0x61; jmp 3b"
    pieces, whole = smp(both, boot, ap, cpus=3, slice=333)
    for count in range(1, 200_000, 1021):
        pieces.run(count=count)
    pieces.run(count=200_000)
    whole.run(count=200_000)
    assert pieces.machine.state_hash() == whole.machine.state_hash()


def test_the_clock_is_the_machines(make: Make) -> None:
    """Two processors read the TSC in turn, under a lock: it never goes back, however short the turns are."""
    look = """
        {spin}: lock bts dword ptr {ds}[0x7030], 0; jc {spin}b
        rdtsc; cmp edx, {ds}[0x7044]; jb 9f; ja 8f; cmp eax, {ds}[0x7040]; jb 9f
        8: mov {ds}[0x7040], eax; mov {ds}[0x7044], edx; inc dword ptr {ds}[{flag}]; mov byte ptr {ds}[0x7030], 0
    """
    boot = f"start 1; {look.format(spin=2, ds='ds:', flag=0x7050)} cmp dword ptr ds:[0x7054], 2000; jb 2b; debug_exit 1"
    ap = look.format(spin=3, ds="", flag=0x7054) + "jmp 3b; 9: mov al, 2; out 0xf4, al"
    for slice_ in (13, 1000):
        guest = smp(make, f"{boot}; 9: debug_exit 2", ap, slice=slice_)
        assert guest.end() == ("DEBUG_EXIT", 1)
        assert guest.word(0x7050) > 10


# ---- waiting ----


def test_all_halt_for_ever(make: Make) -> None:
    guest = smp(make, "start 1; await 1; sti; hlt", f"mov byte ptr [{FLAG}], 1; sti; hlt")
    assert guest.end()[0] == "IDLE_FOREVER"


def test_time_jumps_to_the_timer_of_any_processor(make: Make) -> None:
    """Of the second, which halts; what the first one could get of its own is masked."""
    ap = f"""
        {X2APIC}
        mov word ptr [0x40 * 4], offset tick - 0x10000; mov word ptr [0x40 * 4 + 2], cs
        mov ecx, 0x83e; mov eax, 0xb; wrmsr
        mov ecx, 0x832; mov eax, 0x40; wrmsr
        mov ecx, 0x838; mov eax, 50000000; wrmsr
        rdtsc; mov ebx, eax; sti; hlt
        sub ebp, ebx; mov [{FLAG}], ebp; mov al, 1; out 0xf4, al
        tick: rdtsc; mov ebp, eax; iret
    """
    guest = smp(make, "start 1; cli; hlt", ap, cpu="max")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.word(FLAG) == 50_000_000 - 1  # RDTSC comes one instruction after the write that starts the timer
    assert guest.machine.count < 1000


MWAIT = f"mov eax, {FLAG}; xor ecx, ecx; xor edx, edx; monitor; xor eax, eax; mwait;"


def test_mwait_ends_by_another_processors_store(make: Make) -> None:
    boot = f"start 1; await 1; mov ecx, 50; 2: pause; loop 2b; mov dword ptr ds:[{FLAG} + 60], 5; await 2; debug_exit 1"
    guest = smp(make, boot, f"mov byte ptr [{FLAG}], 1; {MWAIT} mov byte ptr [{FLAG}], 2; hlt")
    assert guest.end() == ("DEBUG_EXIT", 1)


def test_mwait_without_a_store_waits(make: Make) -> None:
    """What is stored next to the line is none."""
    boot = f"start 1; await 1; cli; mov ecx, 50; 2: pause; loop 2b; mov dword ptr ds:[{FLAG} + 64], 5; hlt"
    guest = smp(make, boot, f"mov byte ptr [{FLAG}], 1; {MWAIT} mov byte ptr [{FLAG}], 2; hlt")
    assert guest.end()[0] == "IDLE_FOREVER"
    assert guest.word(FLAG) == 1


def test_mwait_that_monitors_nothing_goes_on(make: Make) -> None:
    guest = smp(
        make, "start 1; await 2; debug_exit 1", f"xor eax, eax; xor ecx, ecx; mwait; mov byte ptr [{FLAG}], 2; hlt"
    )
    assert guest.end() == ("DEBUG_EXIT", 1)


# ---- memory ----


def test_code_that_another_processor_changes(make: Make) -> None:
    """The second one runs a function over and over, and stops when it gives what the first one stored into it."""
    boot = """
        mov dword ptr ds:[0xa000], 0xc301b0         # mov al, 1; ret
        start 1; await 1; mov ecx, 5000; 2: pause; loop 2b; mov byte ptr ds:[0xa001], 7; await 2; debug_exit 1
    """
    ap = (
        f"mov byte ptr [{FLAG}], 1; 3: call 0xa000 - 0x8000 + 0x10000; cmp al, 7; jne 3b; mov byte ptr [{FLAG}], 2; hlt"
    )
    assert smp(make, boot, ap, slice=97).end() == ("DEBUG_EXIT", 1)


def test_a_page_that_one_writes_and_another_runs(make: Make) -> None:
    """The writer's stores were fast ones before there was code in the page."""
    boot = """
        mov dword ptr ds:[0xa000], 0xc300b0         # mov al, 0; ret
        mov edx, 0xa000; start 1; await 1
        2: call edx; cmp al, 200; jne 2b; debug_exit 1
    """
    ap = f"mov bx, 0xa001; mov byte ptr [bx], 0; mov byte ptr [{FLAG}], 1; 3: inc byte ptr [bx]; pause; jmp 3b"
    assert smp(make, boot, ap, slice=101).end() == ("DEBUG_EXIT", 1)


def test_locked_instructions_are_atomic(make: Make) -> None:
    boot = f"start 1; start 2; mov ecx, 20000; 2: lock inc dword ptr ds:[{FLAG}]; loop 2b; await 60000; debug_exit 1"
    guest = smp(make, boot, f"mov cx, 20000; 3: lock inc dword ptr [{FLAG}]; loop 3b; hlt", cpus=3, slice=3)
    assert guest.end() == ("DEBUG_EXIT", 1)


# ---- what is told of them ----


def test_exits_are_told_by_vcpu(make: Make) -> None:
    guest = smp(make, "start 1; await 1; debug_exit 1", f"out 0x80, al; mov byte ptr [{FLAG}], 1; hlt")
    guest.end()
    exits = guest.machine.last_exits()
    counts = [one.retired for one in exits]
    assert counts == sorted(counts)
    if exits:
        assert {one.vcpu for one in exits} == {0, 1}
        assert sum(guest.machine.exits().values()) == len(exits)


def test_254_processors(make: Make) -> None:
    boot = "ipi 0xc4500, 0; ipi 0xc4608, 0; await 253; debug_exit 1"
    guest = smp(make, boot, f"lock inc dword ptr [{FLAG}]; cli; hlt", cpus=254)
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert all(guest.machine.vcpu_count(vcpu) for vcpu in range(254))
