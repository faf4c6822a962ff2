"""SSE to SSE4.2 and MMX: against the host's own processor with random operands, and their faults one by one."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rootmode
from duel import (
    CR0,
    CR4,
    DAZ,
    EM,
    GP,
    MASKS,
    NM,
    OSFXSR,
    OSXMMEXCPT,
    PF,
    PRECISION,
    TS,
    UD,
    UNDERFLOW,
    XM,
    Case,
    State,
    duel,
    exception_of,
    packed,
    random_case,
)  # fmt: skip
from rootmode import DATA, Root, handler

# By form: {operands}: mnemonics. In operands A is memory aligned to 16 bytes, M any, I an immediate.
PACKED = """
    unpcklps unpckhps unpcklpd unpckhpd andps andpd andnps andnpd orps orpd xorps xorpd movsldup movshdup
    punpcklbw punpcklwd punpckldq punpcklqdq punpckhbw punpckhwd punpckhdq punpckhqdq packsswb packssdw packuswb
    packusdw pcmpgtb pcmpgtw pcmpgtd pcmpgtq pcmpeqb pcmpeqw pcmpeqd pcmpeqq psrlw psrld psrlq psraw psrad psllw
    pslld psllq paddb paddw paddd paddq paddsb paddsw paddusb paddusw psubb psubw psubd psubq psubsb psubsw psubusb
    psubusw pmullw pmulld pmulhw pmulhuw pmulhrsw pmuludq pmuldq pmaddwd pmaddubsw psadbw pavgb pavgw pminub pminuw
    pminud pminsb pminsw pminsd pmaxub pmaxuw pmaxud pmaxsb pmaxsw pmaxsd pand pandn por pxor pshufb phaddw phaddd
    phaddsw phsubw phsubd phsubsw psignb psignw psignd pabsb pabsw pabsd phminposuw ptest pblendvb blendvps blendvpd
    movaps movapd movdqa
"""
FLOAT_PACKED = """
    addps addpd subps subpd mulps mulpd divps divpd minps minpd maxps maxpd sqrtps sqrtpd haddps haddpd hsubps hsubpd
    addsubps addsubpd cvtpd2ps cvtdq2ps cvtps2dq cvttps2dq cvttpd2dq cvtpd2dq
"""
FLOAT_SCALAR = {
    "dword": "addss subss mulss divss minss maxss sqrtss cvtss2sd ucomiss comiss",
    "qword": "addsd subsd mulsd divsd minsd maxsd sqrtsd cvtsd2ss ucomisd comisd cvtps2pd",
}
UNALIGNED = {
    "xmmword": "movups movupd movdqu",
    "qword": "pmovsxbw pmovsxwd pmovsxdq pmovzxbw pmovzxwd pmovzxdq movddup cvtdq2pd movq movsd",
    "dword": "pmovsxbd pmovsxwq pmovzxbd pmovzxwq movss",
    "word": "pmovsxbq pmovzxbq",
}
MEMORY_ONLY = [
    "movlps xmm1, qword ptr M", "movhps xmm1, qword ptr M", "movlpd xmm9, qword ptr M", "movhpd xmm1, qword ptr M",
    "movlps qword ptr M, xmm1", "movhps qword ptr M, xmm1", "movlpd qword ptr M, xmm9", "movhpd qword ptr M, xmm1",
    "lddqu xmm1, xmmword ptr M", "movups xmmword ptr M, xmm1", "movdqu xmmword ptr M, xmm14",
    "movupd xmmword ptr M, xmm1", "movss dword ptr M, xmm1", "movsd qword ptr M, xmm1", "movq qword ptr M, xmm1",
    "movd dword ptr M, xmm1", "movd xmm1, dword ptr M", "movq xmm9, qword ptr M", "movnti dword ptr M, eax",
    "movnti qword ptr M, r9", "movq qword ptr M, mm3", "movntq qword ptr M, mm3", "movd dword ptr M, mm3",
    "crc32 eax, byte ptr M", "crc32 eax, word ptr M", "crc32 r9d, dword ptr M", "crc32 r10, qword ptr M",
]  # fmt: skip
ALIGNED_ONLY = [
    "movaps xmmword ptr A, xmm1", "movapd xmmword ptr A, xmm9", "movdqa xmmword ptr A, xmm1",
    "movntps xmmword ptr A, xmm1", "movntpd xmmword ptr A, xmm1", "movntdq xmmword ptr A, xmm1",
    "movntdqa xmm1, xmmword ptr A",
]  # fmt: skip
REGISTER_ONLY = [
    "movhlps xmm1, xmm2", "movlhps xmm1, xmm2", "movmskps eax, xmm2", "movmskpd r9d, xmm2", "pmovmskb ecx, xmm11",
    "movd eax, xmm3", "movq r11, xmm3", "movd xmm3, edx", "movq xmm3, r8", "movq xmm1, xmm2", "movss xmm1, xmm2",
    "movsd xmm1, xmm2", "movq2dq xmm1, mm3", "movdq2q mm1, xmm3", "maskmovdqu xmm1, xmm2", "maskmovq mm1, mm2",
    "crc32 eax, cl", "crc32 eax, ch", "crc32 eax, r9b", "crc32 ebx, cx", "crc32 ebx, ecx", "crc32 r12, rcx",
    "movd mm1, eax", "movq mm1, rax", "movd ecx, mm5", "movq rcx, mm5", "pmovmskb eax, mm1", "emms",
]  # fmt: skip
CONVERSIONS = [
    f"{name} {to}, {source}"
    for name, size in [("cvtss2si", "dword"), ("cvttss2si", "dword"), ("cvtsd2si", "qword"), ("cvttsd2si", "qword")]
    for to in ("eax", "r9")
    for source in ("xmm2", f"{size} ptr M")
] + [
    f"{name} xmm2, {source}"
    for name in ("cvtsi2ss", "cvtsi2sd")
    for source in ("ecx", "r9", "dword ptr M", "qword ptr M")
]  # fmt: skip
MMX_CONVERSIONS = [
    f"{name} {operands}"
    for name, operands in [
        *((name, source) for name in ("cvtpi2ps", "cvtpi2pd") for source in ("xmm1, mm2", "xmm1, qword ptr M")),
        *((name, source) for name in ("cvtps2pi", "cvttps2pi") for source in ("mm1, xmm2", "mm1, qword ptr M")),
        *((name, source) for name in ("cvtpd2pi", "cvttpd2pi") for source in ("mm1, xmm2", "mm1, xmmword ptr A")),
    ]
]
IMMEDIATE = {
    "xmmword": "pshufd pshufhw pshuflw shufps shufpd blendps blendpd pblendw palignr mpsadbw",
    "any": "pcmpestri pcmpestrm pcmpistri pcmpistrm",
    "dword": "insertps",
}
FLOAT_IMMEDIATE = {
    "xmmword": "roundps roundpd dpps dppd cmpps cmppd",
    "dword": "roundss cmpss",
    "qword": "roundsd cmpsd",
}
LANES = [
    "pinsrb xmm1, eax, I", "pinsrb xmm1, byte ptr M, I", "pinsrw xmm1, eax, I", "pinsrw xmm1, word ptr M, I",
    "pinsrd xmm1, eax, I", "pinsrd xmm1, dword ptr M, I", "pinsrq xmm1, r9, I", "pinsrq xmm9, qword ptr M, I",
    "pextrb ecx, xmm1, I", "pextrb byte ptr M, xmm1, I", "pextrw ecx, xmm1, I", "pextrw word ptr M, xmm1, I",
    "pextrd ecx, xmm1, I", "pextrd dword ptr M, xmm1, I", "pextrq r9, xmm1, I", "pextrq qword ptr M, xmm9, I",
    "extractps ecx, xmm1, I", "extractps dword ptr M, xmm1, I", "pinsrw mm1, eax, I", "pinsrw mm1, word ptr M, I",
    "pextrw ecx, mm1, I", "pshufw mm1, mm2, I", "pshufw mm1, qword ptr M, I", "palignr mm1, mm2, I",
    "palignr mm1, qword ptr M, I",
]  # fmt: skip
SHIFTS = [
    f"{name} {register}, I"
    for name in ("psrlw", "psraw", "psllw", "psrld", "psrad", "pslld", "psrlq", "psllq", "psrldq", "pslldq")
    for register in ("xmm3", "xmm11", "mm3")
    if not (name.endswith("dq") and register == "mm3")
]
MMX = """
    packsswb packssdw packuswb pcmpgtb pcmpgtw pcmpgtd pcmpeqb pcmpeqw pcmpeqd psrlw psrld psrlq psraw psrad psllw pslld
    psllq paddb paddw paddd paddq paddsb paddsw paddusb paddusw psubb psubw psubd psubq psubsb psubsw psubusb psubusw
    pmullw pmulhw pmulhuw pmulhrsw pmuludq pmaddwd pmaddubsw psadbw pavgb pavgw pminub pminsw pmaxub pmaxsw pand pandn
    por pxor pshufb phaddw phaddd phaddsw phsubw phsubd phsubsw psignb psignw psignd pabsb pabsw pabsd punpckhbw
    punpckhwd punpckhdq movq
"""
MMX_LOW = "punpcklbw punpcklwd punpckldq"  # of memory they read 32 bits

ADDRESSES = ["[rsi]", "[rsi + 16]", "[rsi + rcx * 2]", "[rsi + rcx * 8 - 48]", "fs:[rsi]", "[esi]"]


def both(name: str, size: str) -> Iterator[str]:
    where = "A" if size == "xmmword" and name not in UNALIGNED["xmmword"].split() else "M"
    yield f"{name} xmm1, xmm2"
    yield f"{name} xmm10, xmm1"
    yield f"{name} xmm3, {'xmmword' if size == 'any' else size} ptr {'M' if size == 'any' else where}"


def integer_instructions() -> Iterator[str]:
    for name in PACKED.split():
        yield from both(name, "xmmword")
    for size, names in UNALIGNED.items():
        for name in names.split():
            yield from both(name, size)
    yield from [*MEMORY_ONLY, *ALIGNED_ONLY, *REGISTER_ONLY, *SHIFTS, *LANES]
    for size, names in IMMEDIATE.items():
        for name in names.split():
            yield from (f"{form}, I" for form in both(name, size))
    for name in MMX.split():
        yield from (f"{name} mm1, mm2", f"{name} mm3, qword ptr M")
    for name in MMX_LOW.split():
        yield from (f"{name} mm1, mm2", f"{name} mm3, dword ptr M")


def float_instructions() -> Iterator[str]:
    for name in FLOAT_PACKED.split():
        yield from both(name, "xmmword")
    for size, names in FLOAT_SCALAR.items():
        for name in names.split():
            yield from both(name, size)
    yield from [*CONVERSIONS, *MMX_CONVERSIONS]
    for size, names in FLOAT_IMMEDIATE.items():
        for name in names.split():
            yield from (f"{form}, {'P' if name.startswith('cmp') else 'I'}" for form in both(name, size))


def case_of(rng: random.Random, form: str) -> Case:
    """Fills in addresses (A aligned, M any) and immediates (I any, P a predicate)."""
    aligned = form.endswith(" A") or " A," in form
    words = {"A": rng.choice(ADDRESSES), "M": rng.choice(ADDRESSES)}
    words |= {"I": str(rng.choice([rng.randrange(256), rng.randrange(20)])), "P": str(rng.randrange(8))}
    bare = [
        words.get(word.rstrip(","), word.rstrip(",")) + ("," if word.endswith(",") else "") for word in form.split(" ")
    ]
    case = random_case(rng, " ".join(bare))
    case.gpr["rcx"] = 8 if " [" in case.instruction and "rcx" in case.instruction else case.gpr["rcx"]
    case.at = 32 + (0 if aligned else rng.randrange(16))
    if "pcmp" in form and "str" in form:  # few different bytes, so that strings match
        case.memory = bytes(rng.choice(b"abc\0") for _ in case.memory)
        case.xmm[1], case.xmm[2], case.xmm[3] = (bytes(rng.choice(b"abc\0") for _ in range(16)) for _ in range(3))
        case.gpr |= {"rax": rng.choice([rng.randrange(-20, 20), 2**32 + 5]), "rdx": rng.randrange(-20, 20)}
    return case


def test_integer_and_moves() -> None:
    rng = random.Random(1)
    duel(case_of(rng, form) for form in integer_instructions() for _ in range(6))


def test_float_with_masked_exceptions() -> None:
    rng = random.Random(2)
    duel(case_of(rng, form) for form in float_instructions() for _ in range(12))


def test_float_with_unmasked_exceptions() -> None:
    """#XM comes when and only when the host raises SIGFPE, with the same flags and nothing else changed."""

    def unmasked(rng: random.Random, form: str) -> Case:
        case = case_of(rng, form)
        case.mxcsr &= ~(rng.getrandbits(6) << 7)
        return case

    def same(case: Case, ours: State, theirs: State) -> bool:
        if ours.faulted and ours.mxcsr & UNDERFLOW and not case.mxcsr & UNDERFLOW << 7:
            # Whether the result would be exact with an exponent of any size: this we do not work out.
            ours, theirs = (state._replace(mxcsr=state.mxcsr & ~PRECISION) for state in (ours, theirs))
        return ours == theirs

    rng = random.Random(3)
    forms = [form for form in float_instructions() if not form.startswith("dpp")]  # two steps that may raise
    duel((unmasked(rng, form) for form in forms for _ in range(12)), same)


def test_every_immediate() -> None:
    rng = random.Random(4)
    names = [*IMMEDIATE["xmmword"].split(), "insertps", "pcmpistri", "roundps"]
    duel(
        case_of(rng, f"{name} xmm1, xmm2, {immediate}")
        for name in names
        for immediate in range(256)
        if not (name == "roundps" and immediate > 15)
    )


# ---- faults ----

DIVIDE_UNMASKED = MASKS & ~(4 << 7)


@pytest.mark.parametrize(
    ("source", "changes", "vector"),
    [
        ("addps xmm0, xmm1", {}, None),
        ("addps xmm0, xmm1", {"guest_cr0": CR0 | TS}, NM),
        ("addps xmm0, xmm1", {"guest_cr0": CR0 | EM}, UD),
        ("addps xmm0, xmm1", {"guest_cr4": CR4 & ~OSFXSR}, UD),
        ("pxor xmm0, xmm1", {"guest_cr0": CR0 | TS, "guest_cr4": CR4 & ~OSFXSR}, UD),
        ("pslld xmm0, 3", {"guest_cr0": CR0 | TS}, NM),
        ("ldmxcsr [rsp - 8]", {"guest_cr0": CR0 | TS}, NM),
        ("stmxcsr [rsp - 8]", {"guest_cr0": CR0 | EM}, UD),
        ("crc32 eax, ecx", {"guest_cr0": CR0 | EM | TS, "guest_cr4": CR4 & ~OSFXSR}, None),
        ("movnti [rsp - 8], eax", {"guest_cr0": CR0 | EM | TS, "guest_cr4": CR4 & ~OSFXSR}, None),
        ("paddb mm0, mm1", {"guest_cr4": CR4 & ~OSFXSR}, None),
        ("paddb mm0, mm1", {"guest_cr0": CR0 | EM}, UD),
        ("paddb mm0, mm1", {"guest_cr0": CR0 | TS}, NM),
        ("emms", {"guest_cr0": CR0 | EM}, UD),
        ("cvtpi2ps xmm0, mm1", {"guest_cr4": CR4 & ~OSFXSR}, UD),
        ("movaps xmm0, [rsp - 24]", {}, GP),
        ("movdqa [rsp - 24], xmm0", {}, GP),
        ("paddb xmm0, [rsp - 20]", {}, GP),
        ("movntdqa xmm0, [rsp - 20]", {}, GP),
        ("movups xmm0, [rsp - 24]", {}, None),
        ("pcmpistri xmm0, [rsp - 21], 0", {}, None),
        ("mov eax, -1; mov [rsp - 8], eax; ldmxcsr [rsp - 8]", {}, GP),
        (".byte 0xf3, 0x0f, 0x28, 0xc1", {}, UD),  # MOVAPS has no such prefix
        (".byte 0x66, 0x0f, 0x12, 0xc1", {}, UD),  # MOVLPD of a register
        (".byte 0x0f, 0xe7, 0xc1", {}, UD),  # MOVNTQ to a register
        (".byte 0x66, 0x0f, 0x71, 0xc1, 1", {}, UD),
        (".byte 0xf0, 0x0f, 0x58, 0xc1", {}, UD),  # LOCK
        (".byte 0xc5, 0xf8, 0x58, 0xc1", {}, UD),  # VADDPS
        (".byte 0x66, 0x0f, 0x38, 0xda, 0xc1", {}, UD),
        (".byte 0x66, 0x0f, 0x77", {}, UD),
    ],
)
def test_faults(root: Root, source: str, changes: dict[str, int], vector: int | None) -> None:
    assert exception_of(root, source, **changes) == vector


@pytest.mark.parametrize(
    ("address", "vector"), [(0x40000001, GP), (0x40000000, PF), (1, GP), (0x7FFFFFFFFFF8, GP), (1 << 47, GP)]
)
def test_alignment_comes_before_the_page(root: Root, address: int, vector: int) -> None:
    assert exception_of(root, f"mov rax, {address}; movaps xmm0, [rax]") == vector
    assert vector != PF or root["exit_qualification"] == address


DIVISION = f"""
    mov dword ptr [rsp - 8], {DIVIDE_UNMASKED}
    ldmxcsr [rsp - 8]
    mov eax, 0x3f800000
    movd xmm1, eax
    xorps xmm2, xmm2
    divss xmm1, xmm2
"""


def test_divide_by_zero(root: Root) -> None:
    assert exception_of(root, DIVISION) == XM
    assert root.read(root["guest_rip"], 4) == b"\xf3\x0f\x5e\xca"
    assert bytes(root.registers.fpu.xmm[1]) == struct.pack("<I", 0x3F800000) + bytes(12)
    assert root.registers.fpu.mxcsr == DIVIDE_UNMASKED | 4


def test_divide_by_zero_without_osxmmexcpt(root: Root) -> None:
    assert exception_of(root, DIVISION, guest_cr4=CR4 & ~OSXMMEXCPT) == UD


def test_unmasking_within_a_trace(root: Root) -> None:
    """LDMXCSR unmasks and masks again; the flags of both times stay."""
    masked = f"mov dword ptr [rsp - 8], {MASKS}; ldmxcsr [rsp - 8]; "
    assert exception_of(root, masked + "xorps xmm2, xmm2; divss xmm2, xmm2; stmxcsr [rsp - 4]") is None
    assert root.word(root["guest_rsp"] - 4, 4) == MASKS | 1
    assert root.registers.fpu.mxcsr == MASKS | 1


def test_mxcsr_does_not_leak(root: Root) -> None:
    """Rounding and DAZ of the guest hold for the guest only."""
    assert (
        exception_of(root, f"mov dword ptr [rsp - 8], {MASKS | DAZ | 3 << 13}; ldmxcsr [rsp - 8]; addps xmm0, xmm1")
        is None
    )
    assert 1.0 + 2.0**-53 == 1.0
    assert 5e-324 * 1.0 == 5e-324


@pytest.mark.parametrize("mxcsr", [0xFFFFFFFF, 0xFFFFE07F])
def test_mxcsr_with_reserved_bits_from_root(root: Root, mxcsr: int) -> None:
    """No guest can load them, code in VMX root operation can: the host must not trip over them."""
    root.start("addps xmm0, xmm1; hlt")
    root.registers.fpu.mxcsr = mxcsr
    assert root.enter() == 12


@pytest.mark.parametrize("kind", ["movups", "movdqu", "lddqu"])
def test_operand_across_pages(root: Root, kind: str) -> None:
    data = packed(random.Random(5))
    root.start(f"mov rax, {DATA + 0x2FF3}; {kind} xmm5, [rax]; movups [rax + 0x1000], xmm5; hlt")
    root.write(DATA + 0x2FF3, data)
    assert root.enter() == 12
    assert bytes(root.registers.fpu.xmm[5]) == data
    assert root.read(DATA + 0x3FF3, 16) == data


def test_in_protected_mode(root: Root) -> None:
    """Addresses with segments, and only eight registers."""
    enable = "mov eax, cr4; or eax, 0x600; mov cr4, eax"
    sum_up = f"mov edi, {DATA}; movups xmm1, [edi + 4]; paddd xmm1, [edi]; mov ecx, 8; movaps [edi + ecx * 4], xmm1"
    root.start(f"{enable}; {sum_up}; movss xmm1, gs:[edi]; movd edx, xmm1; hlt", "protected")
    root.write(DATA, struct.pack("<5I", 1, 10, 100, 1000, 10000))
    assert root.enter() == 12
    assert struct.unpack("<4I", root.read(DATA + 32, 16)) == (11, 110, 1100, 11000)
    assert root.gpr("rdx") == 1


def test_operand_beyond_the_segment(root: Root) -> None:
    enable = "mov eax, cr4; or eax, 0x600; mov cr4, eax"
    root.start(f"{enable}; movups xmm0, [0xfff0]; movups xmm0, [0xfff1]; hlt", "real")
    assert root.enter() == 12
    assert root["guest_rip"] == handler(GP)


@pytest.mark.parametrize("source", ["pcmpgtq xmm0, xmm1", "crc32 eax, ecx", "pshufb xmm0, xmm1", "pshufb mm0, mm1"])
def test_a_model_without_the_feature(make: Callable[..., Root], monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """What the model does not advertise raises #UD."""
    assert exception_of(make("x86-64-v2"), source) is None
    original = rootmode.configuration

    def reduced(model: str) -> Any:
        config = original(model)
        for row in config.cpuid[0 : config.cpuid_count]:
            if row.leaf == 1:
                row.ecx &= ~(1 << 9 | 1 << 19 | 1 << 20)  # SSSE3, SSE4.1, SSE4.2
        return config

    monkeypatch.setattr(rootmode, "configuration", reduced)
    assert exception_of(make("x86-64-v2"), source) == UD
