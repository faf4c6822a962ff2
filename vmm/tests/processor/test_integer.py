"""The integer set in 64-bit code: against the host's own processor with random operands.

Flags that the SDM leaves undefined are left out; that ours are the same on every host is checked by written values.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest
from duel import ARITHMETIC_FLAGS, Case, State, duel, random_case

CF, PF, AF, ZF, SF, OF = 0x001, 0x004, 0x010, 0x040, 0x080, 0x800

CONDITIONS = ["o", "no", "b", "ae", "e", "ne", "be", "a", "s", "ns", "p", "np", "l", "ge", "le", "g"]
REGISTERS = {
    1: ("al", "ch", "bl", "r9b", "dl"),
    2: ("ax", "cx", "bx", "r9w", "r14w"),
    4: ("eax", "ecx", "ebx", "r9d", "r14d"),
    8: ("rax", "rcx", "rbx", "r9", "r14"),
}
POINTERS = {1: "byte ptr", 2: "word ptr", 4: "dword ptr", 8: "qword ptr"}
SIZES = (1, 2, 4, 8)


def memory(size: int, rng: random.Random) -> str:
    """A memory operand by rsi, which points into the case's memory; unaligned as often as not."""
    offset = rng.randrange(0, 64)
    return f"{POINTERS[size]} [rsi + {offset}]"


def operands(size: int, rng: random.Random) -> Iterator[str]:
    """Destination and source: register and register, memory either way."""
    first, second = rng.sample([name for name in REGISTERS[size] if name != "ch"], 2)
    yield f"{first}, {second}"
    yield f"{first}, {memory(size, rng)}"
    yield f"{memory(size, rng)}, {second}"


def immediate(size: int, rng: random.Random) -> int:
    return rng.choice(
        [rng.randrange(-128, 128), rng.randrange(-(1 << 8 * min(size, 4) - 1), 1 << 8 * min(size, 4) - 1)]
    )


def two_operand(rng: random.Random) -> Iterator[str]:
    for name, size in itertools.product(("add", "or", "adc", "sbb", "and", "sub", "xor", "cmp", "test"), SIZES):
        for both in operands(size, rng):
            if not (name == "test" and both.rpartition(" ptr ")[0].endswith(("byte", "word", "dword", "qword"))):
                yield f"{name} {both}"
        yield f"{name} {rng.choice(REGISTERS[size])}, {immediate(size, rng)}"
        yield f"{name} {memory(size, rng)}, {immediate(size, rng)}"
    for name, size in itertools.product(("adcx", "adox"), (4, 8)):
        first, second = rng.sample(REGISTERS[size], 2)
        yield from (f"{name} {first}, {second}", f"{name} {first}, {memory(size, rng)}")
    yield from ("xor ecx, ecx", "sub r9d, r9d", "xor rax, rax", "add ah, ch", "sub bl, ah", "xor dh, byte ptr [rsi]")


def one_operand(rng: random.Random) -> Iterator[str]:
    for name, size in itertools.product(("inc", "dec", "not", "neg", "mul", "imul", "div", "idiv"), SIZES):
        yield f"{name} {rng.choice(REGISTERS[size])}"
        yield f"{name} {memory(size, rng)}"


def shifts(rng: random.Random) -> Iterator[str]:
    for name, size in itertools.product(("rol", "ror", "rcl", "rcr", "shl", "shr", "sar"), SIZES):
        for target in (rng.choice([n for n in REGISTERS[size] if n[0] != "c"]), memory(size, rng)):
            yield f"{name} {target}, cl"
            yield f"{name} {target}, 1"
            yield f"{name} {target}, {rng.randrange(256)}"
    for name, size in itertools.product(("shld", "shrd"), (2, 4, 8)):
        first, second = rng.sample(REGISTERS[size], 2)
        for target in (first, memory(size, rng)):
            yield f"{name} {target}, {second}, {rng.randrange(16 if size == 2 else 256)}"
            if size != 2:
                yield f"{name} {target}, {second}, cl"


def moves(rng: random.Random) -> Iterator[str]:
    for size in SIZES:
        yield from (f"mov {both}" for both in operands(size, rng))
        yield f"mov {memory(size, rng)}, {immediate(size, rng)}"
        yield f"xchg {REGISTERS[size][0]}, {REGISTERS[size][3]}"
        yield f"xchg {memory(size, rng)}, {REGISTERS[size][2]}"
        for name in ("xadd", "cmpxchg"):
            yield f"{name} {REGISTERS[size][2]}, {REGISTERS[size][3]}"
            yield f"lock {name} {memory(size, rng)}, {REGISTERS[size][3]}"
    yield from ("mov ah, ch", "mov rax, 0x123456789abcdef0", "mov r9d, 0x89abcdef", "cmpxchg8b [rsi]", "xlatb")
    yield from ("cmpxchg16b [rsi]", "lahf", "sahf", "cbw", "cwde", "cdqe", "cwd", "cdq", "cqo", "clc", "stc", "cmc")
    for small, large in ((1, 2), (1, 4), (1, 8), (2, 4), (2, 8)):
        for name in ("movzx", "movsx"):
            yield f"{name} {REGISTERS[large][3]}, {REGISTERS[small][rng.choice([0, 2, 3])]}"
            yield f"{name} {REGISTERS[large][0]}, {memory(small, rng)}"
    yield from ("movsxd rax, ecx", f"movsxd r9, {memory(4, rng)}", "bswap eax", "bswap r14", "bswap rcx")
    for size in (2, 4, 8):
        yield f"movbe {REGISTERS[size][0]}, {memory(size, rng)}"
        yield f"movbe {memory(size, rng)}, {REGISTERS[size][3]}"
        yield f"lea {REGISTERS[size][0]}, [rcx + r9 * 4 - 77]"
    yield from ("lea eax, [ecx + ebx * 8 + 5]", "lea rax, [rip + 100]", "lea r9, [r14 + 1]", "enter 32, 0; leave")
    for name in CONDITIONS:
        yield from (f"cmov{name} ax, cx", f"cmov{name} eax, r9d", f"cmov{name} rcx, {memory(8, rng)}")
        yield from (f"set{name} ah", f"set{name} {memory(1, rng)}", f"mov al, 1; j{name} 1f; mov al, 2; 1:")
    yield from (f"push {name}; pop {other}" for name, other in (("rax", "r9"), ("r14", "rcx"), ("cx", "ax")))
    yield from (f"push {memory(8, rng)}; pop {memory(8, rng)}", "push -5; pop rax", "pushfq; pop rax; and eax, 0x8d5")
    yield from (f"imul {both}" for size in (2, 4, 8) for both in itertools.islice(operands(size, rng), 2))
    yield from (f"imul {REGISTERS[s][0]}, {REGISTERS[s][3]}, {immediate(s, rng)}" for s in (2, 4, 8))
    yield from (f"imul {REGISTERS[s][3]}, {memory(s, rng)}, {immediate(1, rng)}" for s in (2, 4, 8))


def bits(rng: random.Random) -> Iterator[str]:
    for name, size in itertools.product(("bt", "bts", "btr", "btc"), (2, 4, 8)):
        yield f"{name} {REGISTERS[size][0]}, {REGISTERS[size][3]}"
        yield f"{name} {REGISTERS[size][2]}, {rng.randrange(256)}"
        yield f"{name} {memory(size, rng)}, {rng.randrange(256)}"
        mask = {2: "and cx, 0x1ff", 4: "and ecx, 0x1ff", 8: "and rcx, 0x1ff"}[size]
        yield f"{mask}; {name} {POINTERS[size]} [rsi], {REGISTERS[size][1]}"
    for name, size in itertools.product(("bsf", "bsr", "tzcnt", "lzcnt", "popcnt"), (2, 4, 8)):
        yield f"{name} {REGISTERS[size][0]}, {REGISTERS[size][3]}"
        yield f"{name} {REGISTERS[size][3]}, {memory(size, rng)}"
        yield f"xor ecx, ecx; {name} {REGISTERS[size][0]}, {REGISTERS[size][1]}"
    for size in (4, 8):
        a, b, c = rng.sample(REGISTERS[size], 3)
        for source in (b, memory(size, rng)):
            yield from (
                f"andn {a}, {c}, {source}",
                f"mulx {a}, {c}, {source}",
                f"rorx {a}, {source}, {rng.randrange(99)}",
            )
            yield from (f"{name} {a}, {source}" for name in ("blsr", "blsmsk", "blsi"))
            yield from (f"{name} {a}, {source}, {c}" for name in ("bzhi", "bextr", "shlx", "shrx", "sarx"))
            yield from (f"{name} {a}, {c}, {source}" for name in ("pdep", "pext"))


def strings() -> Iterator[str]:
    for name, prefixes in (("movs", ("", "rep ")), ("stos", ("", "rep ")), ("lods", ("", "rep ")),
                           ("cmps", ("", "repe ", "repne ")), ("scas", ("", "repe ", "repne "))):  # fmt: skip
        for prefix, suffix, direction in itertools.product(prefixes, "bwdq", ("cld", "lea rsi, [rsi + 40]; std")):
            yield f"and ecx, 3; {direction}; {prefix}{name}{suffix}; cld"


UNDEFINED = {
    "mul": SF | ZF | AF | PF, "imul": SF | ZF | AF | PF, "div": ARITHMETIC_FLAGS, "idiv": ARITHMETIC_FLAGS,
    "bsf": ARITHMETIC_FLAGS & ~ZF, "bsr": ARITHMETIC_FLAGS & ~ZF,
    "tzcnt": OF | SF | AF | PF, "lzcnt": OF | SF | AF | PF,
    "andn": AF | PF, "blsr": AF | PF, "blsmsk": AF | PF, "blsi": AF | PF, "bzhi": AF | PF, "bextr": AF | SF | PF,
    "bt": OF | SF | AF | PF, "bts": OF | SF | AF | PF, "btr": OF | SF | AF | PF, "btc": OF | SF | AF | PF,
    "shl": AF, "shr": AF, "sar": AF, "shld": AF, "shrd": AF, "and": AF, "or": AF, "xor": AF, "test": AF,
}  # fmt: skip
SHIFTS = {"rol", "ror", "rcl", "rcr", "shl", "shr", "sar", "shld", "shrd"}


def undefined(instruction: str) -> int:
    """Flags that the SDM leaves undefined after the (last) instruction."""
    words = instruction.split(";")[-1].replace("lock ", "").split()
    mask = UNDEFINED.get(words[0], 0)
    if words[0] in SHIFTS and words[-1] != "1":
        mask |= OF
    return mask


def same(case: Case, ours: State, theirs: State) -> bool:
    mask = undefined(case.instruction)
    ours, theirs = (state._replace(flags=state.flags & ~mask) for state in (ours, theirs))
    return ours == theirs


@pytest.mark.parametrize("kind", ["two_operand", "one_operand", "shifts", "moves", "bits", "strings"])
def test_against_the_host(kind: str) -> None:
    rng = random.Random(kind)
    makers = {"two_operand": two_operand, "one_operand": one_operand, "shifts": shifts, "moves": moves, "bits": bits}
    cases = []
    for _ in range(6):
        for instruction in strings() if kind == "strings" else makers[kind](rng):
            case = random_case(rng, instruction)
            if "xlatb" in instruction or instruction.startswith(("div", "idiv")):
                case.gpr |= {"rbx": 0} if "xlatb" in instruction else {"rdx": rng.randrange(-3, 3)}
            if "xlatb" not in instruction:
                cases.append(case)
    assert len(cases) > 300
    duel(cases, same)


# (instruction, registers, flags before, flags after): ours where the SDM says "undefined".
WRITTEN = [
    ("mul ecx", {"rax": 0x80000000, "rcx": 2}, 0x8D5, CF | OF | ZF | PF),
    ("imul rax, rcx", {"rax": 5, "rcx": -1}, 0x8D5, SF),
    ("shl eax, 4", {"rax": 0x18000000}, AF, CF | SF | PF),
    ("shr eax, 4", {"rax": 0x80000008}, 0, CF | PF),
    ("sar al, 7", {"rax": 0x80}, OF | AF, SF | PF),
    ("ror al, 3", {"rax": 4}, ZF | PF, CF | OF | ZF | PF),
    ("shld ax, bx, 20", {"rax": 0x1234, "rbx": 0x5678}, 0, CF | PF | OF),  # 6781h
    ("bsf eax, ecx", {"rcx": 0}, 0x8D5, ZF),
    ("bsr eax, ecx", {"rcx": 8}, 0x8D5, 0),
    ("div cl", {"rax": 7, "rcx": 2}, 0x8D5, 0x8D5),
]


@pytest.mark.parametrize(("instruction", "registers", "before", "after"), WRITTEN)
def test_undefined_flags_are_the_same_on_every_host(
    instruction: str, registers: dict[str, int], before: int, after: int
) -> None:
    case = random_case(random.Random(0), instruction)
    case.gpr, case.flags = registers, 0x202 | before
    duel([case], lambda _, ours, theirs: ours.flags == after)
