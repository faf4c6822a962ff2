"""The VMX-preemption timer is an exact budget: it counts TSC ticks one by one, and a tick is an instruction."""

from __future__ import annotations

import pytest
from rootmode import CODE, DATA, STACK, Root, ffi, handler, lib

TIMER = 1 << 6
SAVE_TIMER = 1 << 22
INTERRUPT_WINDOW = 1 << 2
IF = 1 << 9

# Branches, calls, string instructions with and without REP, faults with handlers, shadows, stack, memory, x87 and SSE.
MIXED = f"""
    fninit
    mov rbp, {DATA}
    xor ebx, ebx
again:
    inc rbx
    mov rdi, rbp
    mov ecx, 7
    mov eax, ebx
    rep stosd
    lea rsi, [rbp + 4]
    lea rdi, [rbp + 64]
    mov ecx, ebx
    and ecx, 15
    rep movsb
    mov rsi, rbp
    lea rdi, [rbp + 64]
    mov ecx, 5
    repe cmpsb
    call leaf
    push rbx
    pop rdx
    imul rdx, rdx, 0x10001
    add [rbp + 128], rdx
    mov ax, ss
    mov ss, ax
    mov r8, rsp
    test bl, 3
    jnz even
    int 0x40
    ud2
even:
    movq xmm0, rbx
    paddq xmm1, xmm0
    cvtsi2sd xmm2, rbx
    addsd xmm3, xmm2
    movsd [rbp + 160], xmm3
    fild word ptr [rbp]
    fstp qword ptr [rbp + 168]
    lodsb
    xchg [rbp + 200], rax
    cmp ebx, 1000
    jb again
    xor ebx, ebx
    jmp again
leaf:
    ror rax, 7
    setc dl
    movzx edx, dl
    ret
"""
UD_HANDLER = b"\x48\x83\x04\x24\x02\x48\xcf"  # add qword ptr [rsp], 2; iretq
INT_HANDLER = b"\x48\xff\xc6\x48\xcf"  # inc rsi; iretq


def begin(root: Root, registers: bytes) -> None:
    """The guest before its first instruction; its code stays as it is, decoded or not."""
    ffi.memmove(root.registers, registers, len(registers))
    root.write(DATA, bytes(256))
    root.set(guest_rip=CODE, guest_rsp=STACK, guest_rflags=2, guest_interruptibility_state=0)


def state(root: Root) -> tuple[object, ...]:
    registers = bytes(ffi.buffer(root.registers))
    return (
        root["guest_rip"],
        root["guest_rflags"],
        root["guest_interruptibility_state"],
        registers,
        root.word(DATA + 128),
    )


def test_every_budget(root: Root) -> None:
    """From 1 to 10,000 instructions: the state after a run of N is the state after N runs of 1."""
    root.start()
    root["pin_based_controls"] = root["pin_based_controls"] | TIMER
    root.program(MIXED)
    root.write(handler(6), UD_HANDLER)
    root.write(handler(0x40), INT_HANDLER)
    registers = bytes(ffi.buffer(root.registers))
    begin(root, registers)
    stepped = [state(root)]
    for _ in range(10_000):
        root["preemption_timer_value"] = 1
        count = root.count
        assert root.enter() == 52
        assert root.count == count + 1
        stepped.append(state(root))
    assert len(set(stepped)) > 9_990
    for budget in range(1, 10_001):
        begin(root, registers)
        root["preemption_timer_value"] = budget
        count = root.count
        assert root.enter() == 52
        assert root.count == count + budget
        assert state(root) == stepped[budget], budget


@pytest.mark.parametrize("budget", [0, 1, 2, 5])
def test_the_value_is_saved(root: Root, budget: int) -> None:
    root.start("nop; nop; nop; cpuid; nop; nop", preemption_timer_value=budget)
    root["pin_based_controls"] = root["pin_based_controls"] | TIMER
    root["exit_controls"] = root["exit_controls"] | SAVE_TIMER
    assert root.enter() == (10 if budget == 5 else 52)
    assert root["preemption_timer_value"] == (2 if budget == 5 else 0)
    assert root["guest_rip"] == CODE + min(budget, 3)


def test_without_the_control_it_is_not_saved(root: Root) -> None:
    root.start("nop; cpuid", preemption_timer_value=100)
    root["pin_based_controls"] = root["pin_based_controls"] | TIMER
    assert root.enter() == 10
    assert root["preemption_timer_value"] == 100


def test_zero_expires_after_the_injection(root: Root) -> None:
    root.start("nop", guest_rflags=2 | IF, preemption_timer_value=0)
    root["pin_based_controls"] = root["pin_based_controls"] | TIMER
    root.inject(0x20, 0)
    count = root.count
    assert root.enter() == 52
    assert root["guest_rip"] == handler(0x20)
    assert root["guest_rsp"] == STACK - 40
    assert root.count == count


def test_the_timer_comes_before_windows_and_kicks(root: Root) -> None:
    root.start("nop; nop", guest_rflags=2 | IF, preemption_timer_value=0)
    root["pin_based_controls"] = root["pin_based_controls"] | TIMER
    root["primary_controls"] = root["primary_controls"] | INTERRUPT_WINDOW
    lib.processor_kick(root.cpu)
    assert root.enter() == 52
    root["preemption_timer_value"] = 1
    assert root.enter() == 7
    root["primary_controls"] = root["primary_controls"] & ~INTERRUPT_WINDOW
    assert root.enter() == 1
    assert root.enter() == 52


def test_a_debug_trap_comes_before_the_timer(root: Root) -> None:
    root.start("nop", guest_rflags=2 | 1 << 8, preemption_timer_value=1)
    root["pin_based_controls"] = root["pin_based_controls"] | TIMER
    assert root.enter() == 52
    assert root["guest_rip"] == handler(1)


def test_the_timer_runs_while_the_guest_halts(root: Root) -> None:
    root.start("nop; sti; hlt; nop", preemption_timer_value=1000)
    root["pin_based_controls"] = root["pin_based_controls"] | TIMER
    root["primary_controls"] = root["primary_controls"] & ~(1 << 7)
    tsc, count = root.rdmsr(0x10), root.count
    assert root.enter() == 52
    assert root.rdmsr(0x10) == tsc + 1000
    assert root.count == count + 3
    assert root["guest_activity_state"] == 1
    assert root["guest_rip"] == CODE + 3


def test_repeated_strings_stop_within(root: Root) -> None:
    root.start("rep stosb; hlt", preemption_timer_value=100)
    root["pin_based_controls"] = root["pin_based_controls"] | TIMER
    root.registers.gpr[1], root.registers.gpr[7] = 250, DATA
    for left in (150, 50):
        assert root.enter() == 52
        assert (root.gpr("rcx"), root.gpr("rdi")) == (left, DATA + 250 - left)
        assert root["guest_rip"] == CODE
    assert root.enter() == 12
    assert root.gpr("rcx") == 0
