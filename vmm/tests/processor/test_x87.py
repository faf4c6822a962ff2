"""x87: against the host's own processor with random operands; exceptions, environments and save areas one by one."""

from __future__ import annotations

import random
import struct

import pytest
from duel import (
    CR0,
    CR4,
    EM,
    GP,
    MASKS,
    MEMORY_SIZE,
    MF,
    MP,
    NM,
    OSXSAVE,
    TS,
    UD,
    Case,
    duel,
    exception_of,
    extended,
    packed,
    random_case,
)  # fmt: skip
from rootmode import CODE, DATA, STACK, Root, assemble

NE = 1 << 5

# What does not exist among the register forms (SDM volume 2, tables ).
MISSING = {
    *range(0xD9D1, 0xD9D8), 0xD9E2, 0xD9E3, 0xD9E6, 0xD9E7, 0xD9EF, *(set(range(0xDAE0, 0xDB00)) - {0xDAE9}),
    0xDBE5, 0xDBE6, 0xDBE7, *range(0xDBF8, 0xDC00), *range(0xDDF0, 0xDE00), 0xDED8, *range(0xDEDA, 0xDEE0),
    *range(0xDFE1, 0xDFE8), *range(0xDFF8, 0xE000),
}  # fmt: skip
REGISTER_FORMS = [form for first in range(0xD8, 0xE0) for form in range(first << 8 | 0xC0, first + 1 << 8)]
MISSING_MEMORY = {(0xD9, 1), (0xDB, 4), (0xDB, 6), (0xDD, 5)}
MEMORY_FORMS = [(first, reg) for first in range(0xD8, 0xE0) for reg in range(8)]
LARGE = {(0xD9, 4), (0xD9, 6), (0xDD, 4), (0xDD, 6)}  # environments: they want all of the memory


def register_form(form: int) -> str:
    return f".byte {form >> 8:#x}, {form & 255:#x}"


def memory_form(first: int, reg: int, displacement: int | None = None) -> str:
    if displacement is None:
        return f".byte {first:#x}, {reg << 3 | 6:#x}"  # [rsi]
    return f".byte {first:#x}, {0x40 | reg << 3 | 6:#x}, {displacement}"  # [rsi + disp8]


def memory_case(rng: random.Random, first: int, reg: int) -> Case:
    displacement = rng.choice([None, 8])
    case = random_case(rng, memory_form(first, reg, displacement))
    case.at = (0 if (first, reg) in LARGE else 32 + rng.randrange(16)) - (displacement or 0)
    operand = rng.choice([extended(rng), packed(rng, 8) + b"\0\0", bytes(rng.randrange(10) * 17 for _ in range(10))])
    if (first, reg) not in LARGE:
        at = case.at + (displacement or 0)
        case.memory = (case.memory[:at] + operand).ljust(MEMORY_SIZE, b"\x5a")
    return case


def test_register_forms() -> None:
    rng = random.Random(1)
    forms = [form for form in REGISTER_FORMS if form not in MISSING]
    duel(random_case(rng, register_form(form)) for form in forms for _ in range(6))


def test_memory_forms() -> None:
    rng = random.Random(2)
    forms = [form for form in MEMORY_FORMS if form not in MISSING_MEMORY]
    duel(memory_case(rng, *form) for form in forms for _ in range(40))


def test_unmasked_exceptions() -> None:
    """An unmasked exception leaves the host's operands, stack and status word."""

    def unmasked(case: Case) -> Case:
        case.fcw &= ~rng.getrandbits(6)
        case.fsw &= ~(~case.fcw & 0x3F)
        return case

    rng = random.Random(3)
    registers = [form for form in REGISTER_FORMS if form not in MISSING]
    memory = [form for form in MEMORY_FORMS if form not in MISSING_MEMORY]
    duel(unmasked(random_case(rng, register_form(form))) for form in registers for _ in range(6))
    duel(unmasked(memory_case(rng, *form)) for form in memory for _ in range(40))


def test_precision_and_rounding() -> None:
    """A sum over all precision and rounding controls, 80 bits wide."""
    rng = random.Random(4)
    cases = []
    for control in range(16):
        for operation in ("fadd st, st(3)", "fmul st, st(5)", "fdivr st, st(2)", "fsqrt", "frndint", "fsin", "fyl2x"):
            case = random_case(rng, operation)
            case.fcw = 0x7F | control << 8
            cases.append(case)
    duel(cases)


@pytest.mark.parametrize("form", sorted(MISSING)[::7])
def test_missing_register_forms(root: Root, form: int) -> None:
    assert exception_of(root, register_form(form)) == UD


@pytest.mark.parametrize("form", sorted(MISSING_MEMORY))
def test_missing_memory_forms(root: Root, form: tuple[int, int]) -> None:
    assert exception_of(root, memory_form(*form)) == UD


@pytest.mark.parametrize(
    ("source", "changes", "vector"),
    [
        ("fld1", {"guest_cr0": CR0 | EM}, NM),
        ("fld1", {"guest_cr0": CR0 | TS}, NM),
        ("fninit", {"guest_cr0": CR0 | TS}, NM),
        ("fnstsw ax", {"guest_cr0": CR0 | EM}, NM),
        ("fld qword ptr [rsp - 8]", {"guest_cr0": CR0 | TS}, NM),
        ("fwait", {"guest_cr0": CR0 | EM}, None),
        ("fwait", {"guest_cr0": CR0 | TS}, None),
        ("fwait", {"guest_cr0": CR0 | TS | MP}, NM),
        ("fxsave [rsp - 512]", {"guest_cr0": CR0 | TS}, NM),
        ("fxrstor [rsp - 512]", {"guest_cr0": CR0 | EM}, NM),
        ("fxsave [rsp - 520]", {}, GP),
        ("fxsave [rsp - 512]; mov dword ptr [rsp - 488], -1; fxrstor [rsp - 512]", {}, GP),  # MXCSR
        ("xsave [rsp - 1024]", {}, UD),
        ("xgetbv", {}, UD),
        ("xsave [rsp - 1024]", {"guest_cr4": CR4 | OSXSAVE, "guest_cr0": CR0 | TS}, NM),
        ("xsave [rsp - 1040]", {"guest_cr4": CR4 | OSXSAVE}, GP),
        ("mov ecx, 2; xgetbv", {"guest_cr4": CR4 | OSXSAVE}, GP),
        (".byte 0xf0; fxsave [rsp - 512]", {}, UD),
    ],
)
def test_faults(root: Root, source: str, changes: dict[str, int], vector: int | None) -> None:
    assert exception_of(root, source, **changes) == vector


# ---- #MF ----

DIVIDE = "fninit; mov word ptr [rsp - 8], 0x37b; fldcw [rsp - 8]; fld1; fldz; fdivp; "  # division by zero unmasked


@pytest.mark.parametrize(
    ("rest", "faulting"),
    [
        ("fwait", "fwait"),
        ("fnstsw ax; fld1", "fld1"),
        ("fnstcw [rsp - 8]; fldcw [rsp - 8]", "fldcw [rsp - 8]"),
        ("paddb mm0, mm1", "paddb mm0, mm1"),
        ("emms", "emms"),
        ("fxsave [rsp - 512]; fnclex; fwait; fxrstor [rsp - 512]; fabs", "fabs"),
        ("fnclex; fabs", None),
        ("fninit; fabs", None),
        ("fnsave [rsp - 256]; fld1", None),
        ("fnstenv [rsp - 256]; fld1", None),  # masks all
        ("nop; mov eax, ebx; addps xmm0, xmm1; cvtpi2ps xmm0, [rsp - 8]", None),
        ("cvtps2pi mm0, xmm1", "cvtps2pi mm0, xmm1"),
    ],
)
def test_unmasked_division_by_zero(root: Root, rest: str, faulting: str | None) -> None:
    vector = exception_of(root, DIVIDE + rest, guest_cr0=CR0 | NE)
    if faulting is None:
        assert vector is None
        return
    assert vector == MF
    code = assemble(faulting, 64)
    assert root.read(root["guest_rip"], len(code)) == code
    fpu = root.registers.fpu
    assert fpu.fsw & 0x80BF == 0x8084  # ES and B, ZE
    assert fpu.fsw >> 11 & 7 == 6  # nothing was popped
    assert bytes(fpu.st[0]) == bytes(16)
    assert bytes(fpu.st[1])[:10] == struct.pack("<QH", 1 << 63, 0x3FFF)


def test_masks_come_and_go_within_a_trace(root: Root) -> None:
    again = "mov word ptr [rsp - 8], 0x37f; fldcw [rsp - 8]; fld1; fldz; fdivp; fnstsw ax"
    assert exception_of(root, f"{DIVIDE}fnclex; {again}") is None
    assert root.gpr("rax") & 0xFF == 4  # ZE, masked


def test_count_when_the_mode_changes_within_a_trace(root: Root) -> None:
    unmask, mask = (f"mov word ptr [rsp - 8], {value}; fldcw [rsp - 8]; fld1" for value in (0x340, 0x37F))
    root.start(f"fninit; {unmask}; {mask}; fnsave [rsp - 256]; {unmask}; fninit; nop; hlt")
    before = root.count
    assert root.enter() == 12
    assert root.count - before == 13


# ---- what stays where ----

ONE, TWO = struct.pack("<QH6x", 1 << 63, 0x3FFF), struct.pack("<QH6x", 1 << 63, 0x4000)


def test_registers_across_exits(root: Root) -> None:
    root.start("fninit; fld1; fld st(0); fadd st, st(1); hlt; fstp qword ptr [rdi]; hlt")
    assert root.enter() == 12
    fpu = root.registers.fpu
    assert (fpu.fsw >> 11 & 7, fpu.ftw, fpu.fcw) == (6, 0xC0, 0x37F)
    assert (bytes(fpu.st[0]), bytes(fpu.st[1])) == (TWO, ONE)
    fpu.st[0] = ONE  # as a hypervisor that switches guests would
    root.registers.gpr[7] = DATA
    root.skip()
    assert root.enter() == 12
    assert root.read(DATA, 8) == struct.pack("<d", 1.0)
    assert root.registers.fpu.ftw == 0x80


def test_store_across_pages(root: Root) -> None:
    assert (
        exception_of(root, f"fninit; fldpi; mov rax, {DATA + 0xFFA}; fstp tbyte ptr [rax]; fld tbyte ptr [rax]") is None
    )
    assert root.read(DATA + 0xFFA, 10) == bytes(root.registers.fpu.st[0])[:10]
    assert root.registers.fpu.ftw == 0x80


def test_faulting_store_changes_nothing(root: Root) -> None:
    assert exception_of(root, "fninit; fld1; mov rax, 0x40000000; fstp qword ptr [rax]") == 14
    assert (root.registers.fpu.ftw, root.registers.fpu.fsw) == (0x80, 7 << 11)


POINTERS = """
    fninit
    fld1
first: fadd qword ptr [rdi + 8]
    fnstcw [rsp - 8]
    fnstenv [rsi]
"""
FIRST = CODE + 4
OPCODE = 0xDC << 8 & 0x700 | 0x47  # of FADD m64 [rdi + 8] or [di + 8]


def environment(root: Root, source: str, mode: str, size: int) -> tuple[int, ...]:
    root.start(source, mode)
    root.registers.gpr[6], root.registers.gpr[7] = DATA, DATA + 0x100
    assert root.enter() == 12
    return struct.unpack(f"<7{'H' if size == 14 else 'I'}", root.read(DATA, size))


def test_pointers_in_long_mode(root: Root) -> None:
    """FIP, FDP and FOP are the last non-control instruction's; FCS and FDS are deprecated."""
    found = environment(root, POINTERS + "hlt", "long", 28)
    assert found == (0xFFFF037F, 0xFFFF3800, 0xFFFF3FFF, FIRST, OPCODE << 16, DATA + 0x108, 0xFFFF0000)
    fpu = root.registers.fpu
    assert (fpu.fip, fpu.fdp, fpu.fop) == (FIRST, DATA + 0x108, OPCODE)
    assert fpu.fcw == 0x37F


def test_pointers_in_protected_mode(root: Root) -> None:
    source = POINTERS.replace("rdi", "edi").replace("rsi", "esi").replace("rsp", "esp")
    assert environment(root, source + "hlt", "protected", 28)[3:] == (FIRST, OPCODE << 16, DATA + 0x108, 0xFFFF0000)


def test_pointers_in_16_bit_format(root: Root) -> None:
    source = POINTERS.replace("rdi", "edi").replace("rsp", "esp").replace("fnstenv [rsi]", ".byte 0x66; fnstenv [esi]")
    found = environment(root, source + "hlt", "protected", 14)
    assert found == (0x37F, 0x3800, 0x3FFF, FIRST, 0, DATA + 0x108, 0)


@pytest.mark.parametrize(("prefix", "size"), [("", 14), (".byte 0x66; ", 28)])
def test_pointers_in_real_mode(root: Root, prefix: str, size: int) -> None:
    source = (
        POINTERS.replace("rdi + 8", "di + 8").replace("fnstenv [rsi]", f"{prefix}fnstenv [si]").replace("rsp - 8", "bp")
    )
    found = environment(root, source + "hlt", "real", size)
    opcode = OPCODE & 0x700 | 0x45  # [di + 8]
    high = 0xFFFF0000 if size == 28 else 0
    assert found[3:] == (high | FIRST, opcode, high | DATA + 0x108, 0)


# ---- FXSAVE and XSAVE ----

PATTERN = b"\xa5" * 1024


def save(root: Root, source: str, mode: str = "long", **changes: int) -> bytes:
    """What lies at DATA after a program, where the pattern lay before."""
    if mode == "long":
        changes = {"guest_cr4": CR4 | OSXSAVE} | changes
    root.start(source + "\nhlt", mode, **changes)
    root.write(DATA, PATTERN)
    root.registers.xcr0 = 3
    root.registers.gpr[7] = DATA
    for number in range(16):
        root.registers.fpu.xmm[number] = bytes([number] * 16)
    assert root.enter() == 12
    assert root["guest_rip"] >= CODE
    return root.read(DATA, len(PATTERN))


def test_fxsave_layout(root: Root) -> None:
    area = save(root, "fninit; fld1; fxsave64 [rdi]")
    fcw, fsw, ftw, fop, fip, fdp, mxcsr, mask = struct.unpack_from("<HHBxHQQII", area)
    assert (fcw, fsw, ftw, fop, fip, fdp) == (0x37F, 0x3800, 0x80, 0x1E8, CODE + 2, 0)
    assert (mxcsr, mask) == (MASKS, 0xFFFF)
    assert area[32:48] == ONE
    assert area[160:416] == b"".join(bytes([number] * 16) for number in range(16))
    assert area[416:] == PATTERN[416:]


def test_fxsave_of_32_bit_code(root: Root) -> None:
    area = save(root, "mov eax, cr4; or eax, 0x600; mov cr4, eax; fninit; fxsave [edi]", "protected")
    assert area[160:288] == b"".join(bytes([number] * 16) for number in range(8))
    assert area[288:] == PATTERN[288:]


def test_fxrstor_restores(root: Root) -> None:
    clobber = "fninit; xorps xmm0, xmm0; xorps xmm15, xmm15; mov dword ptr [rsp - 8], 0x9f80; ldmxcsr [rsp - 8]"
    area = save(root, f"fninit; fld1; fldpi; fxsave64 [rdi]; {clobber}; fxrstor64 [rdi]; fxsave64 [rdi + 512]")
    assert area[:416] == area[512:928]


def test_xsave_writes_what_is_asked(root: Root) -> None:
    """XSTATE_BV keeps the bits of components that were not requested."""
    area = save(root, "mov qword ptr [rdi + 512], 4; fninit; fld1; mov eax, 1; xor edx, edx; xsave64 [rdi]")
    assert area[32:48] == ONE
    assert area[24:32] == PATTERN[:8]  # MXCSR goes with SSE
    assert area[160:512] == PATTERN[160:512]
    assert area[512:520] == struct.pack("<Q", 4 | 1)
    assert area[520:] == PATTERN[520:]


def test_xsave_knows_the_initial_configuration(root: Root) -> None:
    area = save(root, "fninit; mov eax, -1; mov edx, eax; xsave64 [rdi]")
    assert struct.unpack_from("<Q", area, 512)[0] & 0xFF == 0xA5 & ~3 | 2  # x87 is not in use
    assert area[0:2] == b"\x7f\x03"


def test_xrstor_initialises_what_is_absent(root: Root) -> None:
    zero_header = "lea rdi, [rdi + 512]; xor eax, eax; mov ecx, 16; rep stosd; lea rdi, [rdi - 576]; "
    zero = f"mov rdi, {DATA}; {zero_header}mov dword ptr [rdi + 24], 0x1fa0; "
    area = save(root, f"{zero}fninit; fld1; mov eax, 3; xor edx, edx; xrstor64 [rdi]; fxsave64 [rdi + 512]")[512:]
    assert struct.unpack_from("<HHB", area) == (0x37F, 0, 0)
    assert area[32:160] == bytes(128)
    assert area[160:416] == bytes(256)
    assert struct.unpack_from("<I", area, 24)[0] == 0x1FA0  # the standard form loads MXCSR in any case


@pytest.mark.parametrize(
    ("offset", "value"),
    [(512, 8), (520, 1), (528, 1), (24, 0x10000)],
    ids=["unknown component", "XCOMP_BV", "reserved", "MXCSR"],
)
def test_xrstor_of_a_bad_header(root: Root, offset: int, value: int) -> None:
    zero = f"mov edi, {DATA}; xor eax, eax; mov ecx, 256; rep stosd; mov edi, {DATA}"
    source = f"{zero}; mov dword ptr [rdi + {offset}], {value}; xor edx, edx; mov eax, 3; xrstor [rdi]"
    root.start(source + "\nhlt", guest_cr4=CR4 | OSXSAVE, exception_bitmap=0xFFFFFFFF)
    root.registers.xcr0 = 3
    assert root.enter() == 0
    assert root["exit_interruption_information"] & 0xFF == GP


def test_xgetbv_and_xsetbv(root: Root) -> None:
    root.start("xor ecx, ecx; xgetbv; xsetbv; hlt", guest_cr4=CR4 | OSXSAVE)
    root.registers.xcr0 = 3
    root.registers.gpr[2] = 2**64 - 1
    assert root.enter() == 55  # XSETBV always exits
    assert (root.gpr("rax"), root.gpr("rdx")) == (3, 0)
    assert root["guest_rip"] == CODE + 5


# ---- MMX ----


def test_mmx_takes_the_x87_registers(root: Root) -> None:
    """Register n is the significand of physical register n; TOP becomes 0, all tags valid, exponents all ones."""
    source = "fninit; fld1; fldpi; mov rax, 0x1122334455667788; movq mm2, rax; movq [rsp - 8], mm7; hlt; emms; hlt"
    root.start(source)
    assert root.enter() == 12
    fpu = root.registers.fpu
    assert (fpu.fsw >> 11 & 7, fpu.ftw) == (0, 0xFF)
    assert bytes(fpu.st[2])[:10] == struct.pack("<QH", 0x1122334455667788, 0xFFFF)
    assert bytes(fpu.st[7]) == ONE
    assert root.word(STACK - 8) == 1 << 63
    root.skip()
    assert root.enter() == 12
    assert root.registers.fpu.ftw == 0
