"""The same code on our processor and on the host's own, with the same operands.

A program of ours loads a case's registers, runs one instruction, and stores them back; then comes the next case. It
runs in a guest, and as a process of its own on the host, at the same addresses. Only what differs between processors
by design (FIP, FDP and FOP of FXSAVE) is left out of the comparison.
"""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rootmode import PAGE_TABLES, Root, handler

PROGRAM, CASES, END = 0x100000, 0x140040, 0x1F0000
CASE_SIZE = 1024
# In a case: 512 bytes of FXSAVE64, 15 general registers (all but RSP), RFLAGS, 1 if it faulted, 112 bytes of memory,
# the high halves of the YMM registers.
GPR, FLAGS, FAULTED, MEMORY, HIGH = 512, 632, 640, 656, 768
MEMORY_SIZE = HIGH - MEMORY
BATCH = (END - CASES) // CASE_SIZE
UD, NM, GP, PF, MF, XM = 6, 7, 13, 14, 16, 19
MP, EM, TS = 1 << 1, 1 << 2, 1 << 3
OSFXSR, OSXMMEXCPT, OSXSAVE = 1 << 9, 1 << 10, 1 << 18
CR0, CR4 = 0x80000031, 1 << 13 | 0x620

REGISTERS = ("rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))

EXCEPTIONS, DAZ, FLUSH = 0x3F, 0x40, 0x8000
MASKS = 0x1F80
UNDERFLOW, PRECISION = 0x10, 0x20
ARITHMETIC_FLAGS = 0x8D5

RUNNER = """
    .intel_syntax noprefix
    .equ CASE_SIZE, {CASE_SIZE}
    .globl host
start:
    lea rsp, stack[rip]
    mov rbx, case[rip]
    cmp rbx, last[rip]
    jae finish
    mov rax, routine[rip]
    mov rcx, [rax]
    mov target[rip], rcx
    add rax, 8
    mov routine[rip], rax
    fxrstor64 [rbx]
    {load_high}
    push qword ptr [rbx + {FLAGS}]
    popfq
    {load}
    mov rbx, [rbx + {RBX}]
    call target[rip]
    mov saved[rip], rbx
    mov rbx, case[rip]
    fxsave64 [rbx]
    {store_high}
    {store}
    pushfq # which nothing since the instruction has changed
    pop qword ptr [rbx + {FLAGS}]
    mov rax, saved[rip]
    mov [rbx + {RBX}], rax
next:
    fninit
    add qword ptr case[rip], CASE_SIZE
    jmp start

# The registers of an instruction that faults are those before it. RSP: the host's signal frame or our exception frame.
fault_guest:
    mov rbx, case[rip]
    fxsave64 [rbx]
    {store_high}
    mov qword ptr [rbx + {FAULTED}], 1
    jmp next
fault_host:
    mov rsi, [rdx + 224] # struct ucontext: uc_mcontext.fpregs
    mov rdi, case[rip]
    mov qword ptr [rdi + {FAULTED}], 1
    mov ecx, 64
    rep movsq
    .if {wide}
    add rsi, 64 # the header of XSAVE's standard format
    add rdi, {HIGH} - 512
    mov ecx, 32
    rep movsq
    .endif
    jmp next

finish:
    cmp dword ptr on_host[rip], 0
    jne 1f
    hlt
1:  mov eax, 1 # write
    mov edi, 1
    mov rsi, {CASES}
    mov rdx, last[rip]
    sub rdx, rsi
    syscall
    mov eax, 60 # exit
    xor edi, edi
    syscall

host:
    mov dword ptr on_host[rip], 1
    mov eax, 9 # mmap: the cases' memory
    mov rdi, {CASES} & ~4095
    mov rsi, {END} - ({CASES} & ~4095)
    mov edx, 3
    mov r10d, 0x32 # private, anonymous, fixed
    mov r8, -1
    xor r9d, r9d
    syscall
    mov eax, 13 # rt_sigaction
    mov edi, 8 # SIGFPE
    lea rsi, action[rip]
    xor edx, edx
    mov r10d, 8
    syscall
    mov rbx, {CASES}
1:  xor eax, eax # read
    xor edi, edi
    mov rsi, rbx
    mov rdx, last[rip]
    sub rdx, rbx
    jz start
    syscall
    add rbx, rax
    jmp 1b

restorer:
    hlt
    .data
    .balign 16
action: .quad fault_host, 0x4C000004, restorer, 0 # SA_NODEFER, SA_ONSTACK, SA_RESTORER, SA_SIGINFO
case: .quad {CASES}
last: .quad {CASES} + {count} * CASE_SIZE
routine: .quad routines
target: .quad 0
saved: .quad 0
on_host: .long 0
    .balign 16
    .skip 8192
stack:
routines:
"""


@dataclass
class Case:
    """An instruction and the state before it. Addresses in it are by `rsi`, which a run points to `at` in `memory`."""

    instruction: str
    xmm: list[bytes]
    st: list[bytes]
    fcw: int = 0x37F
    fsw: int = 0
    tags: int = 0
    mxcsr: int = 0x1F80
    gpr: dict[str, int] = field(default_factory=dict)
    flags: int = 0x202
    memory: bytes = bytes(MEMORY_SIZE)
    at: int = 0
    high: list[bytes] = field(default_factory=lambda: [bytes(16)] * 16)  # of the YMM registers


class State(NamedTuple):
    """What an instruction left."""

    faulted: int
    mxcsr: int
    fcw: int
    fsw: int
    tags: int
    flags: int
    gpr: tuple[int, ...]
    st: tuple[bytes, ...]
    xmm: tuple[bytes, ...]
    memory: bytes
    high: tuple[bytes, ...]


def pack(case: Case, number: int) -> bytes:
    """A case as the program finds it."""
    fx = struct.pack("<HHBxHQQII", case.fcw, case.fsw, case.tags, 0, 0, 0, case.mxcsr, 0xFFFF)
    fx += b"".join(value.ljust(16, b"\0") for value in case.st) + b"".join(case.xmm) + bytes(96)
    memory = CASES + number * CASE_SIZE + MEMORY
    gpr = dict.fromkeys(REGISTERS, 0) | case.gpr | {"rsi": memory + case.at, "rdi": memory + 16}
    numbers = struct.pack("<17Q", *(gpr[name] & 2**64 - 1 for name in REGISTERS), case.flags, 0)
    return (fx + numbers).ljust(MEMORY, b"\0") + case.memory + b"".join(case.high)


def unpack(data: bytes) -> State:
    fcw, fsw, tags = struct.unpack_from("<HHB", data)
    numbers = struct.unpack_from("<17Q", data, GPR)
    return State(
        faulted=numbers[16],
        mxcsr=struct.unpack_from("<I", data, 24)[0],
        fcw=fcw,
        fsw=fsw,
        tags=tags,
        flags=numbers[15] & ARITHMETIC_FLAGS,
        gpr=numbers[:15],
        st=tuple(data[32 + 16 * n : 42 + 16 * n] for n in range(8)),
        xmm=tuple(data[160 + 16 * n : 176 + 16 * n] for n in range(16)),
        memory=data[MEMORY:HIGH],
        high=tuple(data[HIGH + 16 * n : HIGH + 16 + 16 * n] for n in range(16)),
    )


@cache
def build(instructions: tuple[str, ...], wide: bool) -> tuple[bytes, bytes, int]:
    """The program as a host's executable and as flat bytes, and where its fault handler for guests lies."""
    slots = {name: GPR + 8 * index for index, name in enumerate(REGISTERS)}
    others = [name for name in REGISTERS if name != "rbx"]
    high = [(n, f"[rbx + {HIGH + 16 * n}]") for n in range(16 if wide else 0)]
    text = RUNNER.format(
        CASE_SIZE=CASE_SIZE,
        CASES=CASES,
        END=END,
        FLAGS=FLAGS,
        FAULTED=FAULTED,
        RBX=slots["rbx"],
        HIGH=HIGH,
        wide=int(wide),
        load_high="; ".join(f"vinsertf128 ymm{n}, ymm{n}, {at}, 1" for n, at in high),
        store_high="; ".join(f"vextractf128 {at}, ymm{n}, 1" for n, at in high),
        count=len(instructions),
        load="; ".join(f"mov {name}, [rbx + {slots[name]}]" for name in others),
        store="; ".join(f"mov [rbx + {slots[name]}], {name}" for name in others),
    )
    unique = {instruction: f"routine{number}" for number, instruction in enumerate(dict.fromkeys(instructions))}
    text += "".join(f"    .quad {unique[instruction]}\n" for instruction in instructions)
    text += "    .text\n" + "".join(f"{label}: {instruction}; ret\n" for instruction, label in unique.items())
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "duel.s").write_text(text)
        subprocess.run(["as", "--64", "-o", "duel.o", "duel.s"], cwd=folder, check=True)
        link = ["ld", "-Ttext", hex(PROGRAM), "-e", "host", "-o", "duel", "duel.o"]
        subprocess.run(link, cwd=folder, check=True)
        subprocess.run(["objcopy", "-O", "binary", "duel", "duel.bin"], cwd=folder, check=True)
        symbols = subprocess.run(["nm", "duel"], cwd=folder, check=True, capture_output=True, text=True).stdout
        fault = next(int(line.split()[0], 16) for line in symbols.splitlines() if line.endswith(" fault_guest"))
        return (folder / "duel").read_bytes(), (folder / "duel.bin").read_bytes(), fault


def on_host(executable: bytes, cases: bytes) -> bytes:
    with TemporaryDirectory() as name:
        program = Path(name, "duel")
        program.write_bytes(executable)
        program.chmod(0o755)
        return subprocess.run([program], input=cases, stdout=subprocess.PIPE, check=True, timeout=60).stdout


def on_guest(program: bytes, fault: int, cases: bytes, wide: bool) -> bytes:
    root = Root()
    try:
        root.start(f"mov rax, {PROGRAM}; jmp rax", guest_cr4=CR4 | (OSXSAVE if wide else 0))
        root.registers.xcr0 = 7 if wide else 1
        for vector in (0, 19):  # both SIGFPE on the host
            root.write(handler(vector), b"\x48\xb8" + struct.pack("<Q", fault) + b"\xff\xe0")  # mov rax, fault; jmp rax
        root.write(PROGRAM, program)
        root.write(CASES, cases)
        reason = root.enter()
        assert reason == 12, reason
        assert root["guest_rip"] >= PROGRAM, f"handler at {root['guest_rip']:#x}"
        return root.read(CASES, len(cases))
    finally:
        root.close()


def describe(case: Case, ours: State, theirs: State) -> str:
    lines = [f"{case.instruction}  (mxcsr {case.mxcsr:#x} fcw {case.fcw:#x} fsw {case.fsw:#x} at {case.at})"]
    for name, mine, host in zip(State._fields, ours, theirs, strict=True):
        if mine != host:
            lines.append(f"  {name}: {mine!r}\n   host: {host!r}")
    return "\n".join(lines)


def duel(cases: Iterable[Case], same: Callable[[Case, State, State], bool] | None = None, wide: bool = False) -> None:
    """Fails when `same` (default: equality) is false of what the two processors make of a case. `wide`: with AVX."""
    waiting = list(cases)
    failures: list[str] = []
    while waiting:
        batch, waiting = waiting[:BATCH], waiting[BATCH:]
        executable, program, fault = build(tuple(case.instruction for case in batch), wide)
        packed = b"".join(pack(case, number) for number, case in enumerate(batch))
        ours, theirs = on_guest(program, fault, packed, wide), on_host(executable, packed)
        assert len(ours) == len(theirs) == len(packed)
        for number, case in enumerate(batch):
            piece = slice(number * CASE_SIZE, (number + 1) * CASE_SIZE)
            mine, host = unpack(ours[piece]), unpack(theirs[piece])
            if not (same(case, mine, host) if same else mine == host):
                failures.append(describe(case, mine, host))
    assert not failures, f"{len(failures)} differ:\n" + "\n".join(failures[:20])


def exception_of(root: Root, source: str, **changes: int) -> int | None:
    """The first exception that a 64-bit program raises; None: it came to the HLT behind it. `root` is a fresh one."""
    changes = {"guest_cr0": CR0, "guest_cr3": PAGE_TABLES, "guest_cr4": CR4} | changes
    root.start(f"{source}\nhlt", "long", exception_bitmap=0xFFFFFFFF, **changes)
    reason = root.enter()
    if reason == 12:
        return None
    assert reason == 0
    return root["exit_interruption_information"] & 0xFF


# ---- operands: what is special as often as what is ordinary ----

_SINGLES = (
    0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFC12345,
    0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x4B000000, 0x4F000000, 0xCF000000, 0x5F000000,
)  # fmt: skip
_DOUBLES = (
    0x0000000000000000, 0x8000000000000000, 0x3FF0000000000000, 0xBFF0000000000000, 0x7FF0000000000000,
    0xFFF0000000000000, 0x7FF8000000000000, 0x7FF0000000000001, 0x0000000000000001, 0x000FFFFFFFFFFFFF,
    0x0010000000000000, 0x7FEFFFFFFFFFFFFF, 0x41DFFFFFFFC00000, 0xC1E0000000000000, 0x43E0000000000000,
    0x3810000000000000, 0x36A0000000000000,
)  # fmt: skip
_EXTENDED = (
    (0, 0), (0, 1 << 63), (0x3FFF, 1 << 63), (0x7FFF, 1 << 63), (0x7FFF, 3 << 62), (0x7FFF, 5 << 61), (0x7FFF, 0),
    (0, 1), (1, 1 << 62), (0x3FFF, 1), (0x7FFE, 2**64 - 1), (0x401D, 1 << 63), (0x403E, 1 << 63), (0x3FBF, 2**64 - 1),
)  # fmt: skip


def single(rng: random.Random) -> int:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(_SINGLES)
    if kind == 1:
        return rng.getrandbits(32)
    exponent = rng.randrange(0x70, 0x90) if kind == 2 else rng.choice([rng.randrange(8), rng.randrange(0xF8, 0xFF)])
    return rng.getrandbits(1) << 31 | exponent << 23 | rng.getrandbits(23)


def double(rng: random.Random) -> int:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.choice(_DOUBLES)
    if kind == 1:
        return rng.getrandbits(64)
    exponent = rng.randrange(0x3F0, 0x410) if kind == 2 else rng.choice([rng.randrange(8), rng.randrange(0x360, 0x390)])
    return rng.getrandbits(1) << 63 | exponent << 52 | rng.getrandbits(52)


def packed(rng: random.Random, size: int = 16) -> bytes:
    """Singles, doubles or plain bits; `size` is a multiple of 8."""
    kind = rng.randrange(3)
    if kind == 0:
        return b"".join(struct.pack("<I", single(rng)) for _ in range(size // 4))
    if kind == 1:
        return b"".join(struct.pack("<Q", double(rng)) for _ in range(size // 8))
    return rng.randbytes(size)


def extended(rng: random.Random) -> bytes:
    """An 80-bit number, of every class that there is."""
    kind = rng.randrange(4)
    if kind == 0:
        exponent, significand = rng.choice(_EXTENDED)
    elif kind == 1:
        exponent, significand = rng.randrange(0x8000), rng.getrandbits(64)
    elif kind == 2:
        exponent, significand = rng.randrange(0x3FFF - 40, 0x3FFF + 70), rng.getrandbits(63) | 1 << 63
    else:
        exponent, significand = 0x3FFF + rng.randrange(20), rng.randrange(1 << 13) << 50 | 1 << 63
    return struct.pack("<QH", significand, exponent | rng.getrandbits(1) << 15)


def random_case(rng: random.Random, instruction: str) -> Case:
    """Random registers and memory, all exceptions masked."""
    gpr = {name: rng.choice([rng.getrandbits(64), rng.randrange(-20, 20)]) for name in REGISTERS}
    return Case(
        instruction,
        xmm=[packed(rng) for _ in range(16)],
        st=[extended(rng) for _ in range(8)],
        fcw=0x7F | rng.getrandbits(4) << 8,
        fsw=rng.randrange(8) << 11 | rng.choice([0, 0x41, 0x4700, 0x200, 0x7F]),
        tags=rng.choice([0xFF, rng.getrandbits(8)]),
        mxcsr=MASKS | rng.getrandbits(2) << 13 | rng.choice([0, 0, DAZ, FLUSH, DAZ | FLUSH, 0x3F]),
        gpr=gpr,
        flags=0x202 | rng.getrandbits(12) & ARITHMETIC_FLAGS,
        memory=packed(rng, MEMORY_SIZE),
    )
