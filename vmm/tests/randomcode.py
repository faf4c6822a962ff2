"""Random guests: programs in every mode, from random bytes and from a grammar of opcodes, that hardly ever stop.

Every exception and interrupt goes on, by IRET with random flags, somewhere else in the random code. Pages of the LAPIC,
the IOAPIC, video memory and nothing lie beside it, the PIT or the LAPIC timer interrupts it, and tables that a program
would soon destroy are often read-only for it where there is paging.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import tiny

from bringup.vmm.machine import CS, DS, ES, FS, GS, LDTR, SS, TR, Machine, Registers, Segment

IDT, GDT, STUB, TSS, STACK, PAGES = 0x1000, 0x2000, 0x3000, 0x4000, 0x7000, 0x8000
CODE, CODE_END = 0x10000, 0x20000
# Linear pages behind the code, and what is there under paging: LAPIC, IOAPIC, video memory, beyond RAM; absent; the
# LAPIC for supervisors.
ALIASES = {0x20000: 0xFEE00000, 0x21000: 0xFEC00000, 0x22000: 0xA0000, 0x23000: 0x80000000, 0x25000: 0xFEE00000}
ABSENT, APIC = 0x24000, 0x25000
DEVICES = (0xFEE00000, 0xFEC00000, 0xA0000, 0xBFFFC, 0x80000000)
PORTS = (0x20, 0x21, 0x40, 0x43, 0x61, 0x64, 0x70, 0x71, 0x92, 0xA1, 0xCF8, 0xCFC, 0x2F8, 0x3FD, 0x608, 0xE9)
MSRS: tuple[int, ...] = (
    0x10,
    0x1B,
    0x174,
    0x175,
    0x176,
    0x1A0,
    0x277,
    0x2FF,
    0x6E0,
    0x802,
    0x80B,
    0x830,
    0x838,
    0xC0000080,
)
MSRS += (0xC0000081, 0xC0000082, 0xC0000084, 0xC0000100, 0xC0000101, 0xC0000102, 0xC0000103)

CODE16, CODE32, CODE64, USER64, DATA, USER_DATA, USER32 = range(8, 64, 8)
CODE16_AT_CODE, DATA16, DOWN, CONFORMING, ABSENT_DATA, TASK, TASK64, TASK2, TASK16, LDT = range(64, 144, 8)
TASK_GATE, CALL_GATE = 144, 152
SEGMENTS = {
    CODE16: Segment(CODE16, 0, 0xFFFF, 0x9B),
    CODE32: Segment(CODE32, 0, 0xFFFFFFFF, 0xC09B),
    CODE64: Segment(CODE64, 0, 0xFFFFFFFF, 0xA09B),
    USER64: Segment(USER64 | 3, 0, 0xFFFFFFFF, 0xA0FB),
    DATA: Segment(DATA, 0, 0xFFFFFFFF, 0xC093),
    USER_DATA: Segment(USER_DATA | 3, 0, 0xFFFFFFFF, 0xC0F3),
    USER32: Segment(USER32 | 3, 0, 0xFFFFFFFF, 0xC0FB),
    CODE16_AT_CODE: Segment(CODE16_AT_CODE, CODE, 0xFFFF, 0x9B),
    DATA16: Segment(DATA16, CODE, 0xFFFF, 0x93),
    DOWN: Segment(DOWN, CODE, 0x7FFF, 0x97),
    CONFORMING: Segment(CONFORMING, 0, 0xFFFFFFFF, 0xC09E),
    ABSENT_DATA: Segment(ABSENT_DATA, 0, 0xFFFF, 0x13),
    TASK: Segment(TASK, TSS, 0x1FF, 0x8B),
    TASK2: Segment(TASK2, TSS + 0x200, 0x67, 0x89),
    TASK16: Segment(TASK16, TSS + 0x300, 0x2B, 0x81),
    LDT: Segment(LDT, GDT, 0x7FF, 0x82),
}


LONG = ("long", "long57")


@dataclass(frozen=True)
class Mode:
    """`code` and `data` are selectors of the program's segments; `paging` is none, 32, pae, long or long57."""

    name: str
    bits: int
    code: int
    data: int = DATA
    paging: str = ""
    v86: bool = False
    guarded: bool = False  # random page permissions, SMEP, SMAP
    checked: bool = False  # x87 and SSE exceptions unmasked

    @property
    def user(self) -> bool:
        return self.data == USER_DATA or self.v86

    @property
    def real(self) -> bool:
        return not self.code

    @property
    def handler(self) -> int:
        """The bits of the code that handles events, and its selector's."""
        return 16 if self.real or self.name == "protected16" else 64 if self.paging in LONG else 32


MODES = [
    Mode("real", 16, 0),
    Mode("virtual-8086", 16, CODE16, v86=True),
    Mode("virtual-8086-paging", 16, CODE16, paging="32", v86=True),
    Mode("protected16", 16, CODE16_AT_CODE),
    Mode("paging16", 16, CODE16_AT_CODE, paging="pae"),
    Mode("protected32", 32, CODE32),
    Mode("paging32", 32, CODE32, paging="32"),
    Mode("pae", 32, CODE32, paging="pae"),
    Mode("user32", 32, USER32, USER_DATA, paging="pae", guarded=True),
    Mode("long", 64, CODE64, paging="long"),
    Mode("long-user", 64, USER64, USER_DATA, paging="long", guarded=True),
    Mode("compatibility", 32, CODE32, paging="long"),
    Mode("5-level", 64, CODE64, paging="long57"),
    Mode("checked", 64, CODE64, paging="long", checked=True),
]

# ---- the code ----

# (opcodes, operands: m ModRM, r ModRM with registers; then bytes of the immediate, z by operand size)
GRAMMAR: list[tuple[str, str]] = [
    *((f"{op * 8 + form:02x}", "m") for op in range(8) for form in range(4)),
    *((f"{op:02x}", "m") for op in (*range(0x84, 0x90), 0xD0, 0xD1, 0xD2, 0xD3, 0xF6, 0xF7, 0xFE, 0xFF, 0x63, 0x62)),
    *((f"{op:02x}", "m1") for op in (0x80, 0x83, 0xC0, 0xC1, 0x6B, 0xC6)),
    *((f"{op:02x}", "mz") for op in (0x81, 0x69, 0xC7)),
    *((f"{op:02x}", "") for op in (*range(0x40, 0x62), 0x9B, 0x9C, 0x9D, 0x98, 0x99, 0xC3, 0xC9, 0xCC, 0xCE, 0xF1)),
    *((f"{op:02x}", "") for op in (0x27, 0x37, 0x90, 0x91, 0x9E, 0x9F, 0xD7, 0xF5, 0xF8, 0xFB, 0xFC, 0xFD)),
    *((f"{op:02x}", "") for op in (0x06, 0x07, 0x16, 0x17, 0x1E, 0x1F, 0xCB, 0xCF)),
    *((f"{op:02x}", "1") for op in (0x04, 0x34, 0x6A, 0xA8, 0xB0, 0xB4, 0xCD, 0xD4, 0xD5, *range(0x70, 0x80))),
    *((f"{op:02x}", "1") for op in (0xE0, 0xE1, 0xE2, 0xE3, 0xEB)),
    *((f"{op:02x}", "2") for op in (0xC2, 0xCA)),
    *((f"{op:02x}", "z") for op in (0x05, 0x3D, 0x68, 0xA0, 0xA3)),
    *((f"0f{op:02x}", "m") for op in (0x00, 0x01, 0x02, 0x03, 0x0D, 0x18, 0x1F, 0xA3, 0xA5, 0xAB, 0xAD, 0xAE, 0xAF)),
    *((f"0f{op:02x}", "m") for op in (*range(0x40, 0x50), *range(0x90, 0xA0), *range(0xB0, 0xB9), *range(0xBB, 0xC2))),
    *((f"0f{op:02x}", "m1") for op in (0xA4, 0xAC, 0xBA)),
    *((f"0f{op:02x}", "") for op in (0xA0, 0xA1, 0xA8, 0xA9, 0xA2, 0x05, 0x06, 0x07, 0x09, 0x0B, 0x30, 0x31, 0x32)),
    *((f"0f{op:02x}", "") for op in (0x33, 0x34, 0x35, *range(0xC8, 0xD0))),
    *(("0f20", "r"), ("0f22", "r"), ("0f21", "r"), ("0f23", "r"), ("0fc7", "m"), ("0fc7", "r")),
    *((f"0f01{op:02x}", "") for op in (0xC1, 0xC8, 0xCA, 0xCB, 0xD0, 0xD1, 0xF8, 0xF9)),
]
STRINGS = [f"{op:02x}" for op in (*range(0x6C, 0x70), *range(0xA4, 0xA8), *range(0xAA, 0xB0))]
X87 = [f"{op:02x}" for op in range(0xD8, 0xE0)]
SSE = [f"0f{op:02x}" for op in (*range(0x10, 0x18), *range(0x28, 0x30), *range(0x50, 0x80), *range(0xD0, 0x100), 0xC3)]
SSE += [f"0f38{op:02x}" for op in (*range(0x0C), *range(0x10, 0x40), 0xF0, 0xF1)]
SSE1 = [f"0f{op:02x}" for op in (0x70, 0x71, 0x72, 0x73, 0xC2, 0xC4, 0xC5, 0xC6)]
SSE1 += [f"0f3a{op:02x}" for op in (*range(0x08, 0x10), 0x14, 0x16, 0x17, 0x20, 0x21, 0x22, *range(0x40, 0x43), 0x60)]
FAR = (*SEGMENTS, TASK_GATE, CALL_GATE)


class Writer:
    """Writes one program's code."""

    def __init__(self, mode: Mode, rng: random.Random) -> None:
        self.mode, self.rng = mode, rng

    def address(self) -> int:
        """Of something: code or data, the ends of pages, devices, tables."""
        rng, kind = self.rng, self.rng.randrange(16)
        if self.mode.bits == 16:
            return rng.randrange(0x10000) if kind < 14 else 0xFFFF - kind
        if kind < 8:
            return rng.randrange(CODE, CODE_END)
        if kind < 11:
            return (rng.randrange(CODE, ABSENT) | 0xFFF) - rng.randrange(16)
        if kind < 14:
            return rng.choice([*ALIASES] if self.mode.paging else DEVICES) + rng.choice((0, 0x80, 0xB0, 0x300, 0x380))
        return rng.choice((ABSENT, IDT, GDT, TSS, PAGES, 2**31, 2**32 - 3, 0))

    def modrm(self, registers: bool) -> bytes:
        rng = self.rng
        reg, rm = rng.randrange(8), rng.randrange(8)
        if registers or rng.random() < 0.3:
            return bytes([0xC0 | reg << 3 | rm])
        if rm == 4 and self.mode.bits != 16:
            return bytes([0x44 | reg << 3, rng.getrandbits(8), rng.getrandbits(8)])
        return bytes([0x40 | reg << 3 | rm, rng.getrandbits(8)])

    def prefixes(self) -> bytes:
        rng, out = self.rng, b""
        if rng.random() < 0.2:
            out += bytes([rng.choice((0x66, 0x67, 0xF0, 0xF2, 0xF3, 0x26, 0x2E, 0x36, 0x64, 0x65, 0x66, 0xF0))])
        if self.mode.bits == 64 and rng.random() < 0.4:
            out += bytes([0x40 | rng.getrandbits(4)])
        return out

    def encode(self, opcode: str, operands: str) -> bytes:
        wide = {"1": 1, "2": 2, "z": 2 if self.mode.bits == 16 else 4}.get(operands[-1:], 0)
        modrm = self.modrm("r" in operands) if operands[:1] in ("m", "r") else b""
        immediate = self.address() if wide > 1 else self.rng.getrandbits(8)
        return bytes.fromhex(opcode) + modrm + (immediate % (1 << 8 * wide)).to_bytes(wide, "little")

    def load(self, register: int, value: int) -> bytes:
        size = 2 if self.mode.bits == 16 else 4
        return bytes([0xB8 | register]) + (value % (1 << 8 * size)).to_bytes(size, "little")

    def selector(self) -> int:
        rng = self.rng
        if self.mode.real or self.mode.v86:
            return rng.choice((0, 0x800, 0x1000, 0x1001, 0x1800, 0xA000, 0xB800, 0xFFFF))
        return rng.choice(FAR) | rng.choice((0, 0, 0, 3, 4))

    def instruction(self) -> bytes:
        rng, kind = self.rng, self.rng.randrange(32)
        if kind < 12:
            return self.prefixes() + self.encode(*rng.choice(GRAMMAR))
        if kind < 15:
            return self.load(rng.randrange(8), self.address())
        if kind < 17:  # strings, often repeated, of any length
            count = self.load(1, rng.choice((0, 1, 3, 17, 0x1001)))
            return count + self.prefixes() + rng.choice((b"", b"\xf2", b"\xf3")) + self.encode(rng.choice(STRINGS), "")
        if kind < 20:
            return self.prefixes() + self.encode(rng.choice(X87), "m")
        if kind < 24:
            prefix = rng.choice((b"", b"\x66", b"\xf2", b"\xf3"))
            rex = bytes([0x40 | rng.getrandbits(4)]) if self.mode.bits == 64 and rng.random() < 0.3 else b""
            one = rng.random() < 0.2
            return prefix + rex + self.encode(rng.choice(SSE1 if one else SSE), "m1" if one else "m")
        if kind < 25:  # segment registers
            return self.load(0, self.selector()) + bytes([0x8E, 0xC0 | rng.choice((0, 2, 3, 4, 5)) << 3])
        if kind < 26:  # far jumps and calls
            where = self.load(0, self.address())[1:]
            return rng.choice((b"\xea", b"\x9a")) + where + self.selector().to_bytes(2, "little")
        if kind < 27:  # ports
            access = rng.choice((b"\xec", b"\xed", b"\xee", b"\xef", b"\x6c", b"\x6e", b"\xf3\x6d", b"\xf3\x6f"))
            return self.load(2, rng.choice(PORTS) + rng.randrange(2)) + access
        if kind < 28:  # MSRs
            return (
                (b"\x66" if self.mode.bits == 16 else b"")
                + b"\xb9"
                + rng.choice(MSRS).to_bytes(4, "little")
                + b"\x0f\x32"
            )
        if kind < 29:
            return b"\x0f\x30" if rng.random() < 0.3 else bytes([0xCD, rng.choice((0x21, 3, 0x80, 0x40))])
        return rng.randbytes(rng.randrange(1, 8))

    def code(self) -> bytes:
        """A fifth of the programs are random bytes only."""
        size, out = CODE_END - CODE, bytearray()
        if self.rng.random() < 0.2:
            return self.rng.randbytes(size)
        block = b"".join(self.instruction() for _ in range(1500))
        while len(out) < size:
            out += block
        return bytes(out[:size])


# ---- what surrounds it ----

SCRAMBLE = "rdtsc; imul $0x9e3779b1, %eax, %ecx; mov %ecx, %edx; shr $13, %edx; and %ecx, %edx"
FLAGS = 0x44FD5  # but TF, IOPL, RF, VM


def stub(mode: Mode) -> str:
    """Ends an interrupt, then goes on with IRET to the program."""
    flags = f"and ${FLAGS | (0x3000 if mode.v86 else 0)}, %edx; or $0x{'20' if mode.v86 else ''}002, %edx"
    flags += "; test $0x70000000, %ecx; jnz 1f; or $0x100, %edx; 1:"
    if mode.v86 or mode.handler == 16:
        flags = flags.replace("$0x20002", "$0x20202")
    code = SEGMENTS[mode.code].selector if mode.code else CODE >> 4
    stack = SEGMENTS[mode.data].selector
    end = f"mov $0x20, %al; out %al, $0x20; {SCRAMBLE}; {flags}"
    if mode.handler == 16:
        segments = f"mov ${0 if mode.real else DATA}, %ax; mov %ax, %ss; mov %ax, %ds"
        return f".code16; {segments}; mov ${STACK}, %sp; {end}; push %dx; push ${code}; push %ax; iret"
    if mode.handler == 64:
        end = f".code64; mov ${STACK}, %rsp; movl $0, {APIC + 0xB0}; {end}; movzwl %ax, %eax; add ${CODE}, %eax"
        return f"{end}; push ${stack}; push ${CODE + 0x8000}; push %rdx; push ${code}; push %rax; iretq"
    apic = f"movl $0, {(APIC if mode.paging else 0xFEE00000) + 0xB0}"
    end = f".code32; mov ${DATA}, %eax; mov %eax, %ss; mov %eax, %ds; mov %eax, %es; mov ${STACK}, %esp; {apic}; {end}"
    if mode.v86:
        end += "; movzwl %ax, %eax; push $0; push $0; push $0x1000; push $0x1000; push $0x1000"
        return f"{end}; push $0x8000; push %edx; push $0x1000; push %eax; iretl"
    far = CODE if mode.code != CODE16_AT_CODE else 0
    end = f"{end}; movzwl %ax, %eax; add ${far}, %eax"
    frame = f"push ${stack}; push ${CODE + 0x8000};" if mode.user else ""
    return f"{end}; {frame} push %edx; push ${code}; push %eax; iretl"


def start(mode: Mode, timer: str) -> str:
    """Before the stub: a timer, unmasked exceptions."""
    text = f".code{mode.handler}; "
    if timer == "pit":
        init = ((0x20, 0x11), (0x21, 0x40), (0x21, 4), (0x21, 1), (0x21, 0xFA), (0x43, 0x34), (0x40, 3), (0x40, 0))
        text += "".join(f"mov ${value}, %al; out %al, ${port}; " for port, value in init)
    elif timer == "apic" and mode.handler != 16:
        apic = APIC if mode.paging else 0xFEE00000
        for register, value in ((0xF0, 0x1FF), (0x320, 0x20041), (0x3E0, 0xB), (0x380, 777)):
            text += f"movl ${value}, {apic + register}; "
    if mode.checked:
        text += f"fldcw {STUB + 0xF00}; ldmxcsr {STUB + 0xF04}; "
    return text


def gates(mode: Mode) -> bytes:
    """Every vector leads to the stub, 21h to another task."""
    if mode.real:
        return STUB.to_bytes(4, "little") * 256
    wide = mode.handler == 64
    selector, kind = {16: (CODE16, 0xE6), 32: (CODE32, 0xEE), 64: (CODE64, 0xEE)}[mode.handler]
    all_gates = bytearray((STUB | selector << 16 | kind << 40).to_bytes(16 if wide else 8, "little") * 256)
    if not wide:
        all_gates[0x21 * 8 : 0x22 * 8] = (TASK2 << 16 | 0xE5 << 40).to_bytes(8, "little")
    return bytes(all_gates)


def gdt(mode: Mode) -> bytes:
    table = bytearray(0x800)
    for selector, segment in SEGMENTS.items():
        table[selector : selector + 8] = segment.descriptor().to_bytes(8, "little")
    table[TASK_GATE : TASK_GATE + 8] = (TASK2 << 16 | 0xE5 << 40).to_bytes(8, "little")
    selector, kind = (CODE64, 0xEC) if mode.handler == 64 else (CODE32, 0xEC)
    table[CALL_GATE : CALL_GATE + 8] = (STUB | selector << 16 | kind << 40).to_bytes(8, "little")
    if mode.handler == 64:  # TSS and call gates have 16 bytes
        table[TASK64 : TASK64 + 8] = table[CALL_GATE + 8 : CALL_GATE + 16] = bytes(8)
    return bytes(table)


def tss(mode: Mode, rng: random.Random) -> bytes:
    """TASK with an I/O bitmap, TASK2, TASK16."""
    if mode.handler == 64:
        return bytes(4) + STACK.to_bytes(8, "little") * 12 + bytes([0, 0, 0, 0x68, 0]) + rng.randbytes(0x180)
    eip = CODE if mode.code != CODE16_AT_CODE else 0
    task = [
        0,
        *(STACK, DATA) * 3,
        PAGES,
        eip + rng.randrange(0x10000),
        2,
        *(rng.randrange(CODE, CODE_END) for _ in range(8)),
    ]
    task += [DATA, mode.code or CODE16, DATA, DATA, DATA, DATA, 0, 0x680000 | (rng.random() < 0.2)]
    main = b"".join(word.to_bytes(4, "little") for word in task)
    second = bytearray(main)
    second[56:60] = STACK.to_bytes(4, "little")
    small = [
        0,
        *(STACK, DATA) * 3,
        rng.randrange(0x10000),
        2,
        *(rng.randrange(0x10000) for _ in range(8)),
        DATA,
        CODE16,
        DATA,
        DATA,
        0,
    ]
    return (
        (main + rng.randbytes(0x180)).ljust(0x200, b"\xff")[:0x200]
        + second.ljust(0x100, b"\0")
        + b"".join(word.to_bytes(2, "little") for word in small)
    )


def page_tables(mode: Mode, rng: random.Random) -> bytes:
    """The first MiB where it is, by 4-KiB pages, for the mode's depth, with the aliases."""
    size = 4 if mode.paging == "32" else 8
    nx = 1 << 63 if size == 8 else 0
    protected = rng.random() < 0.8
    entries = [page << 12 | 7 for page in range(256)]
    for alias, target in ALIASES.items():
        entries[alias >> 12] = target | (3 if alias == APIC else 7)
    for page in (ABSENT, *range(PAGES, CODE, 0x1000)):  # nothing flushes the TLB after a random write to page tables
        entries[page >> 12] = 0
    if protected:
        for page in (0, IDT, GDT, STUB):
            entries[page >> 12] = page | 1
        for page in (TSS, STACK - 0x1000):
            entries[page >> 12] = page | 3
    if mode.guarded:
        for page in range(CODE, CODE_END, 0x1000):
            entries[page >> 12] = page | rng.choice((7, 7, 7, 7, 7, 5, 3, 0, 7 | nx, 5 | nx))
    leaf = b"".join(entry.to_bytes(size, "little") for entry in entries)
    tables = [(PAGES + 0x1000 * (level + 1) | (1 if mode.paging == "pae" and not level else 7)) for level in range(4)]
    depth = {"32": 1, "pae": 2, "long": 3, "long57": 4}[mode.paging]
    return b"".join(entry.to_bytes(size, "little").ljust(0x1000, b"\0") for entry in tables[:depth]) + leaf


def registers(mode: Mode, rng: random.Random, writer: Writer) -> Registers:
    """At STUB, with the privilege and the mode of its handlers."""
    state = tiny.real_mode()
    state.gpr = [rng.choice([rng.getrandbits(64), writer.address(), rng.getrandbits(8)]) for _ in range(16)]
    state.gpr[4] = STACK
    state.rip = STUB + 0x400
    state.idt_base, state.idt_limit = (0 if mode.real else IDT), 0xFFF
    state.gdt_base, state.gdt_limit = GDT, 0x7FF
    if mode.real:
        return state
    state.cr0 = 0x31 | rng.choice((0, 1 << 16, 1 << 18 | 1 << 16))
    for segment in (ES, SS, DS, FS, GS):
        state.segments[segment] = SEGMENTS[DATA]
    state.segments[TR] = SEGMENTS[TASK]
    state.segments[LDTR] = SEGMENTS[LDT]
    state.segments[CS] = SEGMENTS[{16: CODE16, 32: CODE32, 64: CODE64}[mode.handler]]
    state.cr4 = 0x600
    if not mode.paging:
        return state
    state.cr0 |= 1 << 31 | 1 << 16
    state.cr3 = PAGES
    state.cr4 |= (
        (0 if mode.paging == "32" else 0x20) | (0x300000 if mode.guarded else 0) | rng.choice((0, 0x80, 0x40000))
    )
    state.cr4 |= 0x1000 if mode.paging == "long57" else 0
    state.efer = 0xD01 if mode.paging in LONG else 0x800 if mode.paging == "pae" else 0
    return state


def prepare(machine: Machine, mode: Mode, rng: random.Random) -> None:
    """Puts a random program into RAM, which is its whole state with the registers."""
    writer, ram = Writer(mode, rng), bytearray(0x26000)
    timer = rng.choice(("", "pit", "apic"))

    def put(address: int, data: bytes) -> None:
        ram[address : address + len(data)] = data

    put(0, STUB.to_bytes(4, "little") * 256)
    put(IDT, gates(mode)[: 0x400 if mode.real else 0x1000])
    put(GDT, gdt(mode))
    put(STUB, tiny.assemble(stub(mode) + "\n", STUB))
    put(STUB + 0x400, tiny.assemble(start(mode, timer) + f"jmp {STUB:#x}\n", STUB + 0x400))
    put(
        STUB + 0xF00,
        rng.choice((0x340, 0x37B, 0x372, 0x360)).to_bytes(4, "little") + bytes([0, rng.choice((0, 0x1F, 0x15)), 0, 0]),
    )
    put(TSS, tss(mode, rng))
    if mode.paging:
        put(PAGES, page_tables(mode, rng))
    put(CODE, writer.code())
    machine.write_ram(0, bytes(ram))
    machine.set_registers(registers(mode, rng, writer))
