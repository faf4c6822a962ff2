"""Events: injection, exits by exception, what an exit interrupted, windows (SDM volume 3, 26.2, 27.6, 28.2)."""

from __future__ import annotations

import struct
import threading

import pytest
from rootmode import CODE, CODE32, DATA, GDT, HAS_ERROR, IDT, STACK, TASK, TSS, VALID, Root, handler, lib

EXTERNAL, NMI, EXCEPTION, SOFTWARE_INTERRUPT, PRIVILEGED, SOFTWARE_EXCEPTION = 0, 2, 3, 4, 5, 6
IF, TF, RF = 1 << 9, 1 << 8, 1 << 16
STI, MOV_SS, BY_NMI = 1, 2, 8
INTERRUPT_WINDOW, NMI_WINDOW, MONITOR_TRAP = 1 << 2, 1 << 22, 1 << 27
NMI_EXITING, VIRTUAL_NMIS, TIMER = 1 << 3, 1 << 5, 1 << 6

INJECTED = [
    # vector, type, error code, instruction length
    (0x20, EXTERNAL, None, 0),
    (0xFF, EXTERNAL, None, 0),
    (2, NMI, None, 0),
    (6, EXCEPTION, None, 0),
    (13, EXCEPTION, 0x1234, 0),
    (14, EXCEPTION, 7, 0),
    (0x80, SOFTWARE_INTERRUPT, None, 2),
    (1, PRIVILEGED, None, 1),
    (3, SOFTWARE_EXCEPTION, None, 1),
    (4, SOFTWARE_EXCEPTION, None, 0),
]


@pytest.mark.parametrize("mode", ["real", "protected", "long"])
@pytest.mark.parametrize(("vector", "kind", "error", "length"), INJECTED)
def test_injection(root: Root, mode: str, vector: int, kind: int, error: int | None, length: int) -> None:
    root.start("nop", mode, guest_rflags=2 | IF)
    root.registers.cr2 = 0x1234000
    size = {"real": 2, "protected": 4, "long": 8}[mode]
    if mode == "real":
        error = None
    root.inject(vector, kind, error, length)
    count = root.count
    assert root.enter() == 12
    assert root["guest_rip"] == handler(vector)
    assert root.count == count  # delivery is no instruction
    frame = [root.word(root["guest_rsp"] + i * size, size) for i in range(4)]
    if error is not None:
        assert frame.pop(0) == error
    assert frame[0] == CODE + length
    assert frame[2] & 0xFFFF == 2 | IF
    assert root["guest_rflags"] == 2
    assert root.registers.cr2 == 0x1234000
    assert root["guest_interruptibility_state"] == (BY_NMI if kind == NMI else 0)
    assert root["entry_interruption_information"] & VALID == 0


def test_injection_ends_halting(root: Root) -> None:
    root.start("nop", guest_rflags=2 | IF, guest_activity_state=1)
    root.inject(0x30, EXTERNAL)
    assert root.enter() == 12
    assert root["guest_rip"] == handler(0x30)
    assert root["guest_activity_state"] == 0


@pytest.mark.parametrize(("vector", "kind", "error", "length"), INJECTED)
def test_exit_while_injecting(root: Root, vector: int, kind: int, error: int | None, length: int) -> None:
    """The stack's page is not there: the event comes back by IDT-vectoring information, and can be injected again."""
    root.start("nop", guest_rflags=2 | IF, guest_rsp=0x1FE800)
    root.permit(0x1FE000, 0)
    root.inject(vector, kind, error, length)
    assert root.enter() == 48
    assert root["guest_physical_address"] >> 12 == 0x1FE
    information = vector | kind << 8 | VALID | (0 if error is None else HAS_ERROR)
    assert root["idt_vectoring_information"] == information
    assert root["idt_vectoring_error_code"] == (error or 0)
    assert root["exit_instruction_length"] == length
    assert (root["guest_rip"], root["guest_rsp"]) == (CODE, 0x1FE800)
    root.permit(0x1FE000, 7)
    root["guest_interruptibility_state"] = 0
    root.set(entry_interruption_information=information, entry_exception_error_code=error or 0)
    assert root.enter() == 12
    assert root["guest_rip"] == handler(vector)
    assert root["idt_vectoring_information"] == 0


def test_exit_while_delivering_what_the_guest_raised(root: Root) -> None:
    root.start("int 0x44", guest_rsp=0x1FE800)
    root.permit(0x1FE000, 0)
    count = root.count
    assert root.enter() == 48
    assert root["idt_vectoring_information"] == 0x44 | SOFTWARE_INTERRUPT << 8 | VALID
    assert root["exit_instruction_length"] == 2
    assert root["guest_rip"] == CODE
    assert not root["guest_rflags"] & RF
    assert root.count == count
    root.program("ud2")
    root["guest_rsp"] = 0x1FE800
    assert root.enter() == 48
    assert root["idt_vectoring_information"] == 6 | EXCEPTION << 8 | VALID
    assert root["guest_rip"] == CODE
    assert root["guest_rflags"] & RF, "as it would have been pushed"


# ---- exits by exception ----


@pytest.mark.parametrize(
    ("source", "information", "error", "length"),
    [
        ("ud2", 6 | EXCEPTION << 8, 0, None),
        ("xor ecx, ecx; div ecx", EXCEPTION << 8, 0, None),
        ("int3", 3 | SOFTWARE_EXCEPTION << 8, 0, 1),
        (".byte 0xf1", 1 | PRIVILEGED << 8, 0, 1),
        ("mov rax, 0x800000000000; mov rax, [rax]", 13 | EXCEPTION << 8 | HAS_ERROR, 0, None),
        ("mov ds, [rip + bad]; bad: .word 0x7777", 13 | EXCEPTION << 8 | HAS_ERROR, 0x7774, None),
        ("mov eax, [0x7fffffff]", 14 | EXCEPTION << 8 | HAS_ERROR, 0, None),
        ("mov byte ptr [0x7ffffff8], 1", 14 | EXCEPTION << 8 | HAS_ERROR, 2, None),
    ],
)
def test_exceptions(root: Root, source: str, information: int, error: int, length: int | None) -> None:
    root.start(source, exception_bitmap=0xFFFFFFFF)
    root.registers.cr2 = 0xABC
    assert root.enter() == 0
    assert root["exit_interruption_information"] == information | VALID
    assert root["exit_interruption_error_code"] == error
    assert root.registers.cr2 == 0xABC
    if information & 0xFF == 14:
        assert root["exit_qualification"] in (0x7FFFFFFF, 0x7FFFFFF8)
    if length is not None:
        assert root["exit_instruction_length"] == length
        assert root["guest_rip"] == CODE


@pytest.mark.parametrize(
    ("source", "vector", "resumes"),
    [
        ("ud2", 6, True),
        ("xor ecx, ecx; div ecx", 0, True),
        ("mov rax, 0x800000000000; mov rax, [rax]", 13, True),
        ("mov eax, [0x7fffffff]", 14, True),
        ("mov eax, 0x2400; mov dr7, rax; mov rax, dr0", 1, True),  # general detect
        ("int3", 3, False),
        (".byte 0xf1", 1, False),
        ("int 7", 11, True),  # whose gate is not there: #NP is a fault
    ],
)
def test_rf_after_an_exception(root: Root, source: str, vector: int, resumes: bool) -> None:
    """RFLAGS.RF is saved as the handler's IRET would find it (28.3.3): set for a fault."""
    root.start(source, exception_bitmap=0xFFFFFFFF)
    root.write(IDT + 7 * 16 + 5, b"\x6e")
    assert root.enter() == 0
    assert root["exit_interruption_information"] & 0xFF == vector
    assert bool(root["guest_rflags"] & RF) == resumes


def test_rf_is_not_set_by_a_trap_or_a_double_fault(root: Root) -> None:
    root.start("nop; nop", guest_rflags=2 | TF, exception_bitmap=1 << 1)
    assert root.enter() == 0
    assert not root["guest_rflags"] & RF, "a single step"
    root.program("ud2")
    root.set(guest_rflags=2, exception_bitmap=1 << 8, guest_rsp=1 << 40)
    assert root.enter() == 0
    assert root["exit_interruption_information"] & 0xFF == 8
    assert not root["guest_rflags"] & RF


def test_the_bitmap_chooses(root: Root) -> None:
    root.start("ud2", exception_bitmap=0xFFFFFFFF & ~(1 << 6))
    assert root.enter() == 12
    assert root["guest_rip"] == handler(6)


def test_software_interrupts_are_not_intercepted(root: Root) -> None:
    root.start("int 6", exception_bitmap=0xFFFFFFFF)
    assert root.enter() == 12
    assert root["guest_rip"] == handler(6)


@pytest.mark.parametrize(
    ("bit", "mask", "match", "exits"),
    [(1, 0, 0, True), (0, 0, 0, False), (1, 2, 0, False), (1, 2, 2, True), (0, 2, 0, True), (0, 0, 1, True)],
)
def test_page_fault_mask_and_match(root: Root, bit: int, mask: int, match: int, exits: bool) -> None:
    """The guest's error code is 2: a write to a page that is not present."""
    root.start("mov byte ptr [0x7ffffff8], 1", exception_bitmap=bit << 14)
    root.set(page_fault_error_mask=mask, page_fault_error_match=match)
    assert root.enter() == (0 if exits else 12)
    assert root.registers.cr2 == (0 if exits else 0x7FFFFFF8)


def test_single_step(root: Root) -> None:
    root.start("nop; nop", guest_rflags=2 | TF, exception_bitmap=1 << 1)
    assert root.enter() == 0
    assert root["exit_interruption_information"] == 1 | EXCEPTION << 8 | VALID
    assert root["exit_qualification"] == 1 << 14
    assert root["guest_rip"] == CODE + 1
    assert root.registers.dr6 & 1 << 14 == 0
    assert root.enter() == 0
    assert root["guest_rip"] == CODE + 2


def test_pending_debug_exceptions_are_delivered(root: Root) -> None:
    root.start("nop; hlt", guest_pending_debug_exceptions=1 << 14, guest_rflags=2 | TF)
    count = root.count
    assert root.enter() == 12
    assert root["guest_rip"] == handler(1)
    assert root.registers.dr6 & 1 << 14
    assert root.count == count


def test_an_injected_interrupt_loses_pending_debug_exceptions(root: Root) -> None:
    root.start("nop", guest_pending_debug_exceptions=1 << 14, guest_rflags=2 | TF | IF)
    root.inject(0x20, EXTERNAL)
    assert root.enter() == 12
    assert root["guest_rip"] == handler(0x20)


def test_fault_while_injecting(root: Root) -> None:
    """The gate is not present: #NP, which the guest gets or the bitmap intercepts."""
    for intercept in (False, True):
        if not intercept:
            root.start("nop", guest_rflags=2 | IF)
        else:
            root.program("nop")
            root["guest_rflags"] = 2 | IF
        root.write(IDT + 0x21 * 16 + 5, b"\x6e")
        root["exception_bitmap"] = 1 << 11 if intercept else 0
        root.inject(0x21, EXTERNAL)
        assert root.enter() == (0 if intercept else 12)
        if intercept:
            assert root["exit_interruption_information"] == 11 | EXCEPTION << 8 | HAS_ERROR | VALID
            assert root["exit_interruption_error_code"] == 0x21 << 3 | 3
            assert root["idt_vectoring_information"] == 0x21 | VALID
            assert root["guest_rip"] == CODE
        else:
            assert root["guest_rip"] == handler(11)
            assert root.word(root["guest_rsp"]) == 0x21 << 3 | 3


def test_double_fault(root: Root) -> None:
    root.start("mov ds, ax; hlt")
    root.registers.gpr[0] = 0x7777
    root.write(IDT + 13 * 16 + 5, b"\x6e")  # #GP's gate is not present
    root["exception_bitmap"] = 1 << 8
    assert root.enter() == 0
    assert root["exit_interruption_information"] == 8 | EXCEPTION << 8 | HAS_ERROR | VALID
    assert root["exit_interruption_error_code"] == 0
    assert root["idt_vectoring_information"] == 0
    root["exception_bitmap"] = 0
    assert root.enter() == 12
    assert root["guest_rip"] == handler(8)


def test_triple_fault(root: Root) -> None:
    root.start("ud2", guest_idtr_limit=0)
    count = root.count
    assert root.enter() == 2
    assert root["exit_qualification"] == 0
    assert root["guest_rip"] == CODE
    assert root["idt_vectoring_information"] == 0
    assert root.count == count


def test_triple_fault_of_an_injected_event(root: Root) -> None:
    root.start("nop", guest_idtr_limit=0, guest_rflags=2 | IF)
    root.inject(0x20, EXTERNAL)
    assert root.enter() == 2


# ---- task switches ----


def task_gate() -> bytes:
    return struct.pack("<HHHH", 0, 0x28, 0x8500, 0)


def with_second_task(root: Root, source: str) -> Root:
    root.start(source, "protected")
    root.write(GDT + 0x28, struct.pack("<Q", 0x0000890000000067 | 0x4000 << 16))
    root.write(IDT + 0x50 * 8, task_gate())
    return root


@pytest.mark.parametrize(
    ("source", "origin", "length"),
    [
        (".byte 0x9a, 0, 0, 0, 0, 0x28, 0", 0, 7),
        (".byte 0xea, 0, 0, 0, 0, 0x28, 0", 2, 7),
    ],
)
def test_task_switch_by_instruction(root: Root, source: str, origin: int, length: int) -> None:
    with_second_task(root, source)
    assert root.enter() == 9
    assert root["exit_qualification"] == 0x28 | origin << 30
    assert root["exit_instruction_length"] == length
    assert root["guest_rip"] == CODE
    assert root["guest_tr_selector"] == TASK


def test_task_switch_by_iret(root: Root) -> None:
    root.start("iretd", "protected", guest_rflags=2 | 1 << 14)
    root.write(GDT + 0x28, struct.pack("<Q", 0x00008B0000000067 | 0x4000 << 16))
    root.write(TSS, b"\x28")
    assert root.enter() == 9
    assert root["exit_qualification"] == 0x28 | 1 << 30


@pytest.mark.parametrize(("kind", "length"), [(EXTERNAL, 0), (SOFTWARE_INTERRUPT, 2)])
def test_task_switch_by_gate(root: Root, kind: int, length: int) -> None:
    with_second_task(root, "int 0x50")
    if kind == EXTERNAL:
        root["guest_rflags"] = 2 | IF
        root.inject(0x50, EXTERNAL)
    assert root.enter() == 9
    assert root["exit_qualification"] == 0x28 | 3 << 30
    assert root["idt_vectoring_information"] == 0x50 | kind << 8 | VALID
    assert root["exit_instruction_length"] == length


# ---- interruptibility ----


def test_shadows_are_saved(root: Root) -> None:
    root.start("sti; cpuid", guest_rflags=2)
    assert root.enter() == 10
    assert root["guest_interruptibility_state"] == STI
    root.program("mov eax, 0x10; mov ss, eax; cpuid")
    assert root.enter() == 10
    assert root["guest_interruptibility_state"] == MOV_SS


@pytest.mark.parametrize(
    ("source", "rip", "count"),
    [
        ("sti; nop; nop; hlt", 2, 2),  # the shadow of STI
        ("pushfq; or dword ptr [rsp], 0x200; popfq; nop; hlt", 9, 3),
        ("nop; sti; cli; sti; nop; hlt", 5, 5),
        ("sti; hlt", 1, 1),  # HLT exits first, in the shadow
    ],
)
def test_interrupt_window(root: Root, source: str, rip: int, count: int) -> None:
    root.start(source)
    root["primary_controls"] = root["primary_controls"] | INTERRUPT_WINDOW
    before = root.count
    assert root.enter() == (12 if source == "sti; hlt" else 7)
    assert root["guest_rip"] == CODE + rip
    assert root.count == before + count
    assert root["guest_interruptibility_state"] == (STI if source == "sti; hlt" else 0)


def test_interrupt_window_that_is_open(root: Root) -> None:
    root.start("nop; hlt", guest_rflags=2 | IF)
    root["primary_controls"] = root["primary_controls"] | INTERRUPT_WINDOW
    count = root.count
    assert root.enter() == 7
    assert (root["guest_rip"], root.count) == (CODE, count)


def test_interrupt_window_after_a_shadow_at_entry(root: Root) -> None:
    root.start("nop; nop; hlt", guest_rflags=2 | IF, guest_interruptibility_state=MOV_SS)
    root["primary_controls"] = root["primary_controls"] | INTERRUPT_WINDOW
    assert root.enter() == 7
    assert root["guest_rip"] == CODE + 1


def test_interrupt_window_after_iret(root: Root) -> None:
    root.start("nop", guest_rflags=2 | IF)
    root.write(handler(0x20), b"\x90\x48\xcf")  # nop; iretq
    root["primary_controls"] = root["primary_controls"] | INTERRUPT_WINDOW
    root.inject(0x20, EXTERNAL)
    assert root.enter() == 7
    assert root["guest_rip"] == CODE


def test_halting_waits_for_the_window(root: Root) -> None:
    root.start("nop", guest_rflags=2 | IF, guest_activity_state=1)
    root["primary_controls"] = root["primary_controls"] | INTERRUPT_WINDOW
    assert root.enter() == 7
    assert root["guest_activity_state"] == 1


def virtual_nmis(root: Root) -> None:
    root["pin_based_controls"] = root["pin_based_controls"] | NMI_EXITING | VIRTUAL_NMIS


def test_nmi_window(root: Root) -> None:
    """Open until an NMI is injected, and again after its IRET."""
    root.start("nop; hlt")
    virtual_nmis(root)
    root.write(handler(2), b"\x90\x48\xcf")
    root["primary_controls"] = root["primary_controls"] | NMI_WINDOW
    assert root.enter() == 8
    assert root["guest_rip"] == CODE
    root.inject(2, NMI)
    count = root.count
    assert root.enter() == 8
    assert (root["guest_rip"], root.count) == (CODE, count + 2)
    root["guest_interruptibility_state"] = MOV_SS
    assert root.enter() == 8
    assert root["guest_rip"] == CODE + 1


@pytest.mark.parametrize(("pin", "unblocked"), [(0, True), (NMI_EXITING, False), (NMI_EXITING | VIRTUAL_NMIS, True)])
def test_iret_and_blocking_by_nmi(root: Root, pin: int, unblocked: bool) -> None:
    frame = f"push 0x10; push {STACK}; push 2; push 0x18; lea rax, [rip + after]; push rax; iretq; after: hlt"
    root.start(frame, guest_interruptibility_state=BY_NMI)
    root["pin_based_controls"] = root["pin_based_controls"] | pin
    assert root.enter() == 12
    assert root["guest_interruptibility_state"] == (0 if unblocked else BY_NMI)


def test_nmi_unblocking_due_to_iret(root: Root) -> None:
    root.start("iretq", guest_interruptibility_state=BY_NMI, exception_bitmap=1 << 13, guest_rsp=DATA)
    virtual_nmis(root)
    assert root.enter() == 0  # the frame's CS is null
    assert root["exit_interruption_information"] == 13 | EXCEPTION << 8 | HAS_ERROR | 1 << 12 | VALID
    assert root["guest_interruptibility_state"] == 0
    root.program("iretq")
    root.set(guest_interruptibility_state=BY_NMI, guest_rsp=0x1FE000)
    root.permit(0x1FE000, 0)
    assert root.enter() == 48
    assert root["exit_qualification"] == 0x181 | 1 << 12
    root.program("mov rax, [0x1fe000]")
    assert root.enter() == 48
    assert root["exit_qualification"] == 0x181


# ---- kick ----


def test_a_kick_before_entry(root: Root) -> None:
    root.start("nop; hlt")
    lib.processor_kick(root.cpu)
    count = root.count
    assert root.enter() == 1
    assert (root["guest_rip"], root.count) == (CODE, count)
    assert root["exit_interruption_information"] == 0  # not acknowledged
    assert root.enter() == 12


def test_a_kick_from_another_thread(root: Root) -> None:
    root.start("again: jmp again")
    kicked = threading.Timer(0.05, lib.processor_kick, [root.cpu])
    kicked.start()
    assert root.enter() == 1
    kicked.join()
    assert root["guest_rip"] == CODE


def test_a_kick_ends_halting(root: Root) -> None:
    root.start("sti; hlt; nop")
    root["primary_controls"] = root["primary_controls"] & ~(1 << 7)
    kicked = threading.Timer(0.05, lib.processor_kick, [root.cpu])
    kicked.start()
    count = root.count
    assert root.enter() == 1
    kicked.join()
    assert (root["guest_activity_state"], root["guest_rip"]) == (1, CODE + 2)
    assert root.count == count + 2


# ---- monitor trap flag ----


def test_monitor_trap_flag(root: Root) -> None:
    root.start("nop; mov ecx, 3; rep stosb; ud2; hlt")
    root.registers.gpr[7] = DATA
    root["primary_controls"] = root["primary_controls"] | MONITOR_TRAP
    stops = [CODE + 1, CODE + 6, CODE + 6, CODE + 6, CODE + 8, handler(6)]
    for number, rip in enumerate(stops):
        assert root.enter() == 37, number
        assert root["guest_rip"] == rip
    assert root.enter() == 12


def test_monitor_trap_flag_after_injection(root: Root) -> None:
    root.start("nop", guest_rflags=2 | IF)
    root["primary_controls"] = root["primary_controls"] | MONITOR_TRAP
    root.inject(0x20, EXTERNAL)
    assert root.enter() == 37
    assert root["guest_rip"] == handler(0x20)


def test_monitor_trap_flag_after_a_pending_debug_exception(root: Root) -> None:
    root.start("nop", guest_pending_debug_exceptions=1 << 14, guest_rflags=2 | TF)
    root["primary_controls"] = root["primary_controls"] | MONITOR_TRAP
    count = root.count
    assert root.enter() == 37
    assert (root["guest_rip"], root.count) == (handler(1), count)


def test_monitor_trap_flag_after_hlt(root: Root) -> None:
    root.start("hlt; nop")
    root["primary_controls"] = root["primary_controls"] & ~(1 << 7) | MONITOR_TRAP
    assert root.enter() == 37
    assert (root["guest_rip"], root["guest_activity_state"]) == (CODE + 1, 1)


def test_pending_monitor_trap_flag(root: Root) -> None:
    root.start("nop; hlt")
    root.inject(0, 7)
    count = root.count
    assert root.enter() == 37
    assert (root["guest_rip"], root.count) == (CODE, count)
    assert root.enter() == 12


def test_code_segment_of_the_handler(root: Root) -> None:
    root.start("int 0x30", "protected")
    assert root.enter() == 12
    assert root["guest_cs_selector"] == CODE32
