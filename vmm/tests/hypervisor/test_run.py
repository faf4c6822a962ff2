"""The run loop: budgets, limits, idling, interrupts, and equal counts of both accelerators."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise

import pytest

from bringup.vmm.core import _core
from bringup.vmm.machine import ExitKind
from bringup.vmm.spec import Clock

from .guests import Guest

Make = Callable[..., Guest]
Both = Callable[..., list[Guest]]

# Port I/O, MMIO, MSRs, CPUID, REP in memory and on a port, over and over.
MIXED = """
again:
    mov ecx, 7; mov edi, 0x7000; rep stosd
    mov eax, 1; cpuid
    mov ebx, 0xfee00080; mov dword ptr [ebx], 0x10; add dword ptr [ebx], 0x10
    mov ecx, 5; mov esi, 0x7000; mov dx, 0x80; rep outsb
    mov ecx, 3; mov edi, 0x7100; mov dx, 0x71; rep insb
    mov ecx, 0x1b; rdmsr
    mov ecx, 6; mov esi, 0xfee00020; mov edi, 0x7200; rep movsd
    xor ecx, ecx; rep movsb
    rdtsc; mov [0x7300], eax
    in al, 0x61; out 0x80, al
    push 5; pop eax
    jmp again
"""

# Every PIT tick (channel 0 in mode 2, every 100 PIT clocks) counts in 0x7000 and stamps the TSC to the ring at 0x8000.
TICKS = """
    cli; xor ax, ax; mov ds, ax; mov es, ax
    mov word ptr [8 * 4], offset tick - 0x10000; mov word ptr [8 * 4 + 2], 0x1000
    mov al, 0x11; out 0x20, al; mov al, 8; out 0x21, al; mov al, 4; out 0x21, al; mov al, 1; out 0x21, al
    mov al, 0xfe; out 0x21, al
    mov al, 0x34; out 0x43, al; mov al, 100; out 0x40, al; xor al, al; out 0x40, al
    sti
"""
TICK = """
tick:
    push eax; push edx; push bx
    rdtsc
    mov bx, [0x7000]; and bx, 0x3f; shl bx, 2; mov [bx + 0x8000], eax
    inc dword ptr [0x7000]
    mov al, 0x20; out 0x20, al
    pop bx; pop edx; pop eax
    iret
"""


def ticking(body: str) -> str:
    """A real-mode guest to which the PIT ticks while it runs `body`."""
    return TICKS + body + TICK


# ---- budgets and limits ----


def test_budget_is_exact(make: Make) -> None:
    """For every count from 1 to 3000, in one machine: a limit at each instruction changes nothing."""
    guest, whole = make(MIXED, "protected"), make(MIXED, "protected")
    for count in range(1, 3001):
        end = guest.run(count=count)
        assert (end.kind, end.count) == (ExitKind.LIMIT, count)
    assert whole.run(count=3000).count == 3000
    assert guest.machine.state_hash() == whole.machine.state_hash()


def test_a_budget_from_the_start(make: Make) -> None:
    for count in range(1, 200):
        guest = make(MIXED, "protected")
        assert guest.run(count=count).count == guest.machine.count == count
        guest.machine.close()


def test_time_limit_is_exact(make: Make) -> None:
    guest = make(ticking("1: hlt; jmp 1b"))
    for time in range(1000, 100_000, 777):
        end = guest.run(time=time)
        assert (end.kind, end.time) == (ExitKind.LIMIT, time)


def test_a_limit_that_is_past_stops_at_once(make: Make) -> None:
    guest = make("1: jmp 1b")
    guest.run(count=100)
    assert guest.run(count=50).count == 100
    assert guest.run(time=0).count == 100


def test_output_bound(make: Make) -> None:
    guest = make("mov al, 'x'; 1: out 0xe9, al; jmp 1b")
    end = guest.run(output_bytes=16)
    assert (end.kind, end.count) == (ExitKind.OUTPUT, 1 + 16 + 15)
    assert guest.run(output_bytes=16).count == end.count  # until it is read
    assert guest.debug == b"x" * 16
    assert guest.run(output_bytes=16).count == end.count + 32


def test_output_bound_within_a_string(make: Make) -> None:
    guest = make("mov cx, 100; mov dx, 0xe9; rep outsb; debug_exit 1")
    end = guest.run(output_bytes=16)
    assert (end.kind, end.count) == (ExitKind.OUTPUT, 2 + 16)
    assert len(guest.debug) == 16
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.machine.count == 2 + 100 + 2


def test_output_age(make: Make) -> None:
    guest = make("nop; mov al, 'x'; out 0xe9, al; 1: jmp 1b")
    end = guest.run(output_age=1000)
    assert end.kind is ExitKind.OUTPUT
    assert end.time == 2 + 1000  # written at time 2


def test_output_age_while_halted(make: Make) -> None:
    guest = make(ticking("mov al, 'x'; out 0xe9, al; cli; mov al, 0xff; out 0x21, al; sti; 1: hlt; jmp 1b"))
    assert guest.run(output_age=1000).kind in (ExitKind.OUTPUT, ExitKind.IDLE_FOREVER)


def test_air_has_no_effect(make: Make) -> None:
    source = ticking("1: inc ebx; test ebx, 0xfff; jnz 1b; hlt; jmp 1b")
    breathless, breathing = make(source), make(source)
    breathless.run(count=3_000_000)
    airs = 0
    while (end := breathing.run(count=3_000_000, air_us=1)).kind is ExitKind.AIR:
        airs += 1
    assert end.kind is ExitKind.LIMIT
    assert airs > 2
    assert breathing.machine.state_hash() == breathless.machine.state_hash()


def test_kick_from_another_thread(make: Make) -> None:
    guest = make("1: jmp 1b")
    machine = guest.machine._machine
    timer = threading.Timer(0.05, _core.lib.machine_kick, [machine])
    timer.start()
    end = guest.run(count=10**12)
    timer.join()
    assert end.kind is ExitKind.AIR
    assert guest.run(count=end.count + 1000).count == end.count + 1000


# ---- idling ----


def test_halt_with_interrupts_off_is_for_ever(make: Make) -> None:
    guest = make(ticking("cli; hlt; debug_exit 1"))
    end = guest.run()
    assert end.kind is ExitKind.IDLE_FOREVER
    assert guest.run().count == end.count  # and stays so


def test_halt_without_a_timer_is_for_ever(make: Make) -> None:
    assert make("sti; hlt; debug_exit 1").run().kind is ExitKind.IDLE_FOREVER


def test_idle_time_is_skipped(make: Make) -> None:
    guest = make(ticking("1: hlt; cmp dword ptr [0x7000], 50; jb 1b; debug_exit 1"))
    assert guest.end() == ("DEBUG_EXIT", 1)
    stamps = [guest.word(0x8000 + 4 * n) for n in range(50)]
    periods = {b - a for a, b in pairwise(stamps)}
    assert guest.word(0x7000) == 50
    assert periods <= {83809, 83810}  # 100 / 1.193182 MHz: 83809.5 ns
    assert guest.machine.time > 40 * 83809 > guest.machine.count


def test_stop_when_idle_needs_unread_output(make: Make) -> None:
    source = ticking("""
    1:  hlt; cmp dword ptr [0x7000], 5; jb 1b
        mov al, 'x'; out 0xe9, al
    2:  hlt; cmp dword ptr [0x7000], 9; jb 2b
        debug_exit 1
    """)
    guest = make(source)
    end = guest.run(stop_when_idle=True)
    assert end.kind is ExitKind.IDLE
    assert guest.word(0x7000) == 5
    assert end.deadline > end.time
    assert guest.run(stop_when_idle=True).count == end.count
    assert guest.debug == b"x"
    assert guest.end(stop_when_idle=True) == ("DEBUG_EXIT", 1)


def test_input_wakes_a_halted_guest(make: Make) -> None:
    """COM1's receive interrupt, by IRQ 4 of the 8259."""
    source = """
        cli; xor ax, ax; mov ds, ax
        mov word ptr [12 * 4], offset received - 0x10000; mov word ptr [12 * 4 + 2], 0x1000
        mov al, 0x11; out 0x20, al; mov al, 8; out 0x21, al; mov al, 4; out 0x21, al; mov al, 1; out 0x21, al
        mov al, 0xef; out 0x21, al
        mov dx, 0x3fc; mov al, 8; out dx, al
        mov dx, 0x3f9; mov al, 1; out dx, al
        sti
    1:  hlt
        jmp 1b
    received:
        mov dx, 0x3f8; in al, dx; out 0xe9, al
        cmp al, 'q'; je 2f
        mov al, 0x20; out 0x20, al
        iret
    2:  debug_exit 1
    """
    guest = make(source)
    assert guest.run().kind is ExitKind.IDLE_FOREVER
    assert guest.machine.send(0, b"a") == 1
    assert guest.run().kind is ExitKind.IDLE_FOREVER
    assert guest.debug == b"a"
    guest.machine.send(0, b"bq")
    assert guest.end() == ("DEBUG_EXIT", 1)
    assert guest.debug == b"bq"


def test_host_clock_idles_outside(make: Make) -> None:
    guest = make(ticking("1: hlt; cmp dword ptr [0x7000], 3; jb 1b; debug_exit 1"), clock=Clock.HOST)
    idles, before = 0, 0
    while (end := guest.run()).kind is ExitKind.IDLE:
        assert end.deadline > end.time >= before
        before = end.time
        idles += 1
    assert end.kind is ExitKind.DEBUG_EXIT
    assert idles > 0
    assert end.time >= 3 * 83809


# ---- interrupts ----


def test_an_interrupt_comes_at_its_deadline(both: Both) -> None:
    """The TSC that each tick's handler reads, in a loop of one-cycle instructions."""
    source = ticking("1: inc ecx; jmp 1b")
    stamps = []
    for guest in both(source):
        guest.run(count=2_000_000)
        stamps.append([guest.word(0x8000 + 4 * n) for n in range(20)])
    assert stamps[0] == stamps[1]
    assert {b - a for a, b in pairwise(stamps[0])} <= {83809, 83810}


@pytest.mark.parametrize(
    "shadow", ["sti; nop", "mov ax, ss; sti; mov ss, ax; nop", "pushf; pop ax; or ah, 2; push ax; popf"]
)
def test_interrupt_windows(both: Both, shadow: str) -> None:
    """An interrupt that waited comes when the shadow of STI or MOV SS is over."""
    source = ticking(f"""
    1:  cli
        mov ecx, 100
    2:  loop 2b
        {shadow}
        nop
        jmp 1b
    """)
    hashes = []
    for guest in both(source):
        guest.run(count=1_000_000)
        hashes.append((guest.word(0x7000), guest.machine.read_ram(0x8000, 256), guest.machine.state_hash()))
    assert hashes[0] == hashes[1]
    assert hashes[0][0] > 5


def test_nmi_is_delivered_once_and_blocks_until_iret(both: Both) -> None:
    """NMIs by the LAPIC's ICR, three of them from the handler of the first: one waits, however many came."""
    source = """
        mov word ptr [idt + 2 * 8], offset handler - 0x10000
        mov word ptr [idt + 2 * 8 + 6], 1
        lidt [idtr]
        mov ebx, 0xfee00300
        mov dword ptr [ebx], 0x400
        nop
        debug_exit 1
    handler:
        inc dword ptr [0x7000]
        cmp dword ptr [0x7000], 1; jne 1f
        .rept 3; mov dword ptr [ebx], 0x400; nop; .endr
        cmp dword ptr [0x7000], 1; jne fail
    1:  iret
    fail:
        debug_exit 2
        .balign 8
    idt: .rept 32; .word 0, 8, 0x8e00, 0; .endr
    idtr: .word 255; .long idt
    """
    for guest in both(source, "protected"):
        assert guest.end() == ("DEBUG_EXIT", 1)
        assert guest.word(0x7000) == 2


@pytest.mark.parametrize(
    ("route", "ends"),
    [
        ("mov dword ptr [0xfee00350], 0x400", "NMI"),  # LINT0, behind the 8259 pair
        ("mov dword ptr [0xfec00000], 0x14; mov dword ptr [0xfec00010], 0x400", "NMI"),  # the PIT's pin of the I/O APIC
        ("mov dword ptr [0xfee00350], 0x10400", "IDLE_FOREVER"),  # masked
        ("mov dword ptr [0xfee00350], 0x700", "IDLE_FOREVER"),  # an interrupt, and IF is clear
    ],
)
def test_an_nmi_ends_a_halt_whatever_if_says(both: Both, route: str, ends: str) -> None:
    """The PIT's square wave; the handler's IRET goes behind the HLT."""
    source = f"""
        cli
        mov word ptr [idt + 2 * 8], offset handler - 0x10000
        mov word ptr [idt + 2 * 8 + 6], 1
        lidt [idtr]
        mov al, 0x11; out 0x20, al; mov al, 8; out 0x21, al; mov al, 4; out 0x21, al; mov al, 1; out 0x21, al
        mov al, 0xfe; out 0x21, al
        mov dword ptr [0xfee000f0], 0x1ff
        {route}
        mov al, 0x36; out 0x43, al; xor al, al; out 0x40, al; mov al, 0x20; out 0x40, al
        hlt
        hlt
        debug_exit 1
    handler:
        inc dword ptr [0x7000]
        iret
        .balign 8
    idt: .rept 32; .word 0, 8, 0x8e00, 0; .endr
    idtr: .word 255; .long idt
    """
    hashes = []
    for guest in both(source, "protected"):
        end = guest.run(count=100_000)
        if ends == "NMI":
            assert end.kind is ExitKind.DEBUG_EXIT
            assert guest.word(0x7000) == 2
        else:
            assert end.kind is ExitKind.IDLE_FOREVER
            assert guest.word(0x7000) == 0
        hashes.append((end.count, guest.machine.state_hash()))
    assert hashes[0] == hashes[1]


# ---- equal runs ----


def test_both_accelerators_run_alike(both: Both) -> None:
    """Counts, device access times and interrupt boundaries."""
    vtx, bare = both(ticking("1: inc ecx; in al, 0x40; jmp 1b"))
    for count in (1, 1000, 54_321, 1_000_000):
        assert vtx.run(count=count).count == bare.run(count=count).count
        assert vtx.machine.time == bare.machine.time
        assert vtx.machine.state_hash() == bare.machine.state_hash()


def test_mixed_program_runs_alike(both: Both) -> None:
    vtx, bare = both(MIXED, "protected")
    for count in range(1, 400):
        vtx.run(count=count)
        bare.run(count=count)
        assert vtx.machine.registers() == bare.machine.registers(), count
    assert vtx.machine.state_hash() == bare.machine.state_hash()


def test_two_machines_of_one_process(make: Make) -> None:
    """No state is shared."""
    first, second = make(MIXED, "protected"), make(MIXED, "protected")
    for count in range(100, 2000, 100):
        first.run(count=count)
    second.run(count=1900)
    assert first.machine.state_hash() == second.machine.state_hash()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("memory_bytes", 3 << 19, "bytes of memory"),
        ("memory_bytes", 1 << 20, "bytes of memory"),
        ("memory_bytes", 1 << 50, "bytes of memory"),
        ("cpus", 0, "vCPUs"),
        ("cpus", 255, "vCPUs"),
        ("slice", 0, "slice"),
        ("accel", 2, "accelerator"),
        ("clock", 2, "clock"),
        ("cpuid_count", 97, "CPUID"),
    ],
)
def test_machines_that_cannot_be(field: str, value: int, words: str) -> None:
    lib, ffi = _core.lib, _core.ffi
    config = ffi.new("struct machine_config *", {"memory_bytes": 4 << 20, "cpus": 1, "slice": 1})
    setattr(config, field, value)
    error = ffi.new("char[]", 200)
    assert lib.machine_create(config, error, 200) == ffi.NULL
    assert words in ffi.string(error).decode()
