"""VEX-encoded vector instructions, AES, PCLMULQDQ and SHA: against the host's own processor, and their faults."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from duel import (
    CR0,
    CR4,
    GP,
    MASKS,
    NM,
    OSFXSR,
    OSXSAVE,
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
)
from probe import DB
from rootmode import DATA, GUEST_SIZE, PAGE_TABLES, Root

EPT_VIOLATION = 48
HOST = set(Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split())

pytestmark = pytest.mark.skipif(not {"avx", "avx2", "fma", "f16c"} <= HOST, reason="the host has no AVX2, FMA or F16C")

# Three operands, the last of them a register or memory as wide as the registers; both widths unless said otherwise.
INTEGER = """
    punpcklbw punpcklwd punpckldq punpcklqdq punpckhbw punpckhwd punpckhdq punpckhqdq packsswb packssdw packuswb
    packusdw pcmpgtb pcmpgtw pcmpgtd pcmpgtq pcmpeqb pcmpeqw pcmpeqd pcmpeqq paddb paddw paddd paddq paddsb paddsw
    paddusb paddusw psubb psubw psubd psubq psubsb psubsw psubusb psubusw pmullw pmulld pmulhw pmulhuw pmulhrsw pmuludq
    pmuldq pmaddwd pmaddubsw psadbw pavgb pavgw pminub pminuw pminud pminsb pminsw pminsd pmaxub pmaxuw pmaxud pmaxsb
    pmaxsw pmaxsd pand pandn por pxor pshufb phaddw phaddd phaddsw phsubw phsubd phsubsw psignb psignw psignd
    psrlvd psrlvq psravd psllvd psllvq
"""
LOGIC = "andps andpd andnps andnpd orps orpd xorps xorpd unpcklps unpcklpd unpckhps unpckhpd permilps permilpd"
ARITHMETIC = "add sub mul div min max"
PACKED = "addsubps addsubpd haddps haddpd hsubps hsubpd"
COUNTED = "psrlw psrld psrlq psraw psrad psllw pslld psllq"  # by 128 bits
UNARY = "pabsb pabsw pabsd movaps movapd movups movupd movdqa movdqu movsldup movshdup"
UNARY_FLOAT = "sqrtps sqrtpd cvtdq2ps cvtps2dq cvttps2dq"
IMMEDIATE = "shufps shufpd blendps blendpd pblendw pblendd palignr mpsadbw"
UNARY_IMMEDIATE = "pshufd pshufhw pshuflw permilps permilpd"
EXTENDED = {  # bytes of the operand for 128 bits
    "pmovsxbw": 8, "pmovsxbd": 4, "pmovsxbq": 2, "pmovsxwd": 8, "pmovsxwq": 4, "pmovsxdq": 8,
    "pmovzxbw": 8, "pmovzxbd": 4, "pmovzxbq": 2, "pmovzxwd": 8, "pmovzxwq": 4, "pmovzxdq": 8,
}  # fmt: skip
SIZES = {1: "byte", 2: "word", 4: "dword", 8: "qword", 16: "xmmword", 32: "ymmword"}

# A: aligned memory, M: any, I: an immediate, P: a predicate.
MOVES = [
    "vmovss xmm1, M4", "vmovss xmm1, xmm2, xmm3", "vmovsd xmm9, M8", "vmovsd xmm1, xmm12, xmm3", "vmovss M4, xmm1",
    "vmovsd M8, xmm9", "vmovlps xmm1, xmm2, M8", "vmovlpd xmm1, xmm2, M8", "vmovhps xmm1, xmm2, M8",
    "vmovhpd xmm9, xmm2, M8", "vmovhlps xmm1, xmm2, xmm3", "vmovlhps xmm1, xmm2, xmm3", "vmovlps M8, xmm1",
    "vmovhps M8, xmm1", "vmovlpd M8, xmm9", "vmovhpd M8, xmm9", "vmovups M16, xmm1", "vmovups M32, ymm1",
    "vmovaps A16, xmm1", "vmovaps A32, ymm9", "vmovapd A32, ymm1", "vmovdqa A32, ymm1", "vmovdqu M32, ymm1",
    "vmovupd M32, ymm1", "vmovntps A32, ymm1", "vmovntpd A16, xmm1", "vmovntdq A32, ymm1", "vmovntdqa ymm1, A32",
    "vmovntdqa xmm1, A16", "vlddqu ymm1, M32", "vlddqu xmm1, M16", "vmovd xmm1, eax", "vmovd xmm1, M4",
    "vmovq xmm1, r9", "vmovq xmm1, M8", "vmovq xmm1, xmm2", "vmovd ecx, xmm1", "vmovq r11, xmm9", "vmovd M4, xmm1",
    "vmovq M8, xmm1", "vmovddup xmm1, M8", "vmovddup xmm1, xmm2", "vmovddup ymm1, M32", "vmovddup ymm1, ymm2",
    "vpinsrb xmm1, xmm2, eax, I", "vpinsrb xmm1, xmm2, M1, I", "vpinsrw xmm1, xmm2, eax, I",
    "vpinsrw xmm1, xmm2, M2, I",
    "vpinsrd xmm1, xmm2, eax, I", "vpinsrd xmm9, xmm2, M4, I", "vpinsrq xmm1, xmm2, r9, I", "vpinsrq xmm1, xmm2, M8, I",
    "vpextrb ecx, xmm1, I", "vpextrb M1, xmm1, I", "vpextrw ecx, xmm1, I", "vpextrw M2, xmm1, I",
    "vpextrd ecx, xmm1, I", "vpextrd M4, xmm1, I", "vpextrq r9, xmm1, I", "vpextrq M8, xmm9, I",
    "vextractps ecx, xmm1, I", "vextractps M4, xmm1, I", "vinsertps xmm1, xmm2, xmm3, I", "vinsertps xmm1, xmm2, M4, I",
    "vinsertf128 ymm1, ymm2, xmm3, I", "vinsertf128 ymm1, ymm2, M16, I", "vextractf128 xmm1, ymm2, I",
    "vextractf128 M16, ymm2, I", "vinserti128 ymm1, ymm2, xmm3, I", "vextracti128 xmm1, ymm2, I",
    "vextracti128 M16, ymm2, I", "vperm2f128 ymm1, ymm2, ymm3, I", "vperm2f128 ymm1, ymm2, M32, I",
    "vperm2i128 ymm1, ymm2, M32, I", "vpermq ymm1, ymm2, I", "vpermq ymm1, M32, I", "vpermpd ymm1, ymm2, I",
    "vpermd ymm1, ymm2, ymm3", "vpermps ymm1, ymm2, M32", "vbroadcastss xmm1, M4", "vbroadcastss ymm1, xmm2",
    "vbroadcastss ymm9, M4", "vbroadcastsd ymm1, M8", "vbroadcastsd ymm1, xmm2", "vbroadcastf128 ymm1, M16",
    "vbroadcasti128 ymm1, M16", "vpbroadcastb xmm1, M1", "vpbroadcastb ymm1, xmm2", "vpbroadcastw ymm1, M2",
    "vpbroadcastw xmm1, xmm2", "vpbroadcastd ymm1, M4", "vpbroadcastq ymm1, xmm12", "vpbroadcastq xmm1, M8",
    "vpmovmskb ecx, xmm1", "vpmovmskb ecx, ymm9", "vmovmskps r9d, ymm1", "vmovmskpd eax, xmm2", "vptest xmm1, xmm2",
    "vptest ymm1, M32", "vtestps ymm1, ymm2", "vtestpd xmm1, M16", "vphminposuw xmm1, M16",
    "vblendvps xmm1, xmm2, xmm3, xmm4", "vblendvps ymm1, ymm2, M32, ymm14", "vblendvpd ymm1, ymm2, ymm3, ymm4",
    "vpblendvb ymm1, ymm2, ymm3, ymm9", "vpblendvb xmm1, xmm2, M16, xmm4", "vmaskmovps xmm1, xmm2, M16",
    "vmaskmovps ymm1, ymm2, M32", "vmaskmovpd ymm1, ymm2, M32", "vmaskmovps M32, ymm2, ymm3",
    "vmaskmovpd M16, xmm2, xmm3", "vpmaskmovd ymm1, ymm2, M32", "vpmaskmovq ymm1, ymm2, M32",
    "vpmaskmovd M16, xmm2, xmm3", "vpmaskmovq M32, ymm2, ymm3", "vmaskmovdqu xmm1, xmm2", "vzeroupper", "vzeroall",
    "vrcpps ymm1, ymm2", "vrsqrtps xmm1, M16", "vrcpss xmm1, xmm2, xmm3", "vrsqrtss xmm1, xmm2, M4",
    "vpcmpestri xmm1, xmm2, I", "vpcmpestrm xmm1, M16, I", "vpcmpistri xmm1, M16, I", "vpcmpistrm xmm1, xmm2, I",
    "vstmxcsr M4", "paddb xmm1, xmm2", "movaps xmm1, xmm2", "pxor xmm9, A16",
]  # fmt: skip
CRYPTOGRAPHY = {
    "aes": "aesenc aesenclast aesdec aesdeclast aesimc",
    "pclmulqdq": "",
    "sha_ni": "sha1nexte sha1msg1 sha1msg2 sha256rnds2 sha256msg1 sha256msg2",
}
CONVERSIONS = [
    "vcvtps2pd xmm1, M8", "vcvtps2pd ymm1, xmm2", "vcvtps2pd ymm1, M16", "vcvtpd2ps xmm1, xmm2", "vcvtpd2ps xmm1, ymm2",
    "vcvtpd2ps xmm1, M32", "vcvtss2sd xmm1, xmm2, M4", "vcvtsd2ss xmm1, xmm2, xmm3", "vcvttpd2dq xmm1, ymm2",
    "vcvttpd2dq xmm1, M16", "vcvtpd2dq xmm1, M32", "vcvtdq2pd ymm1, M16", "vcvtdq2pd xmm1, M8", "vcvtph2ps ymm1, xmm2",
    "vcvtph2ps xmm1, M8", "vcvtph2ps ymm9, M16", "vcvtps2ph xmm1, ymm2, R", "vcvtps2ph M8, xmm2, R",
    "vcvtps2ph M16, ymm2, R", "vcvtps2ph xmm9, xmm2, R", "vucomiss xmm1, M4", "vucomisd xmm1, xmm2",
    "vcomiss xmm1, xmm2", "vcomisd xmm9, M8", "vsqrtss xmm1, xmm2, M4", "vsqrtsd xmm1, xmm2, xmm3",
    "vroundps ymm1, ymm2, R", "vroundpd xmm1, M16, R", "vroundss xmm1, xmm2, M4, R", "vroundsd xmm1, xmm2, xmm3, R",
    "vdpps ymm1, ymm2, ymm3, I", "vdppd xmm1, xmm2, M16, I",
] + [
    f"{name} {to}, {source}"
    for name, size in [("vcvtss2si", 4), ("vcvttss2si", 4), ("vcvtsd2si", 8), ("vcvttsd2si", 8)]
    for to in ("eax", "r9")
    for source in ("xmm2", f"M{size}")
] + [
    f"{name} xmm2, xmm9, {source}" for name in ("vcvtsi2ss", "vcvtsi2sd") for source in ("ecx", "r9", "M4", "M8")
]  # fmt: skip
ADDRESSES = ["[rsi]", "[rsi + 16]", "[rsi + rcx * 2]", "[rsi + rcx * 8 - 48]", "fs:[rsi]", "[esi]"]


def three(name: str, width: int = 32) -> Iterator[str]:
    for letter, size in (("x", 16), ("y", 32)):
        if size <= width:
            yield f"v{name} {letter}mm1, {letter}mm2, {letter}mm3"
            yield f"v{name} {letter}mm10, {letter}mm1, M{size}"


def two(name: str) -> Iterator[str]:
    aligned = "A" if name in ("movaps", "movapd", "movdqa") else "M"
    for letter, size in (("x", 16), ("y", 32)):
        yield f"v{name} {letter}mm1, {letter}mm12"
        yield f"v{name} {letter}mm9, {aligned}{size}"


def scalar(name: str, size: int) -> Iterator[str]:
    yield f"v{name} xmm1, xmm2, xmm13"
    yield f"v{name} xmm9, xmm2, M{size}"


def integer_forms() -> Iterator[str]:
    for name in (INTEGER + LOGIC).split():
        yield from three(name)
    for name in COUNTED.split():
        yield from (f"v{name} {y}mm1, {y}mm2, {source}" for y in "xy" for source in ("xmm3", "M16", "I"))
    yield from (f"v{name} {y}mm9, {y}mm12, I" for name in ("psrldq", "pslldq") for y in "xy")
    for name in UNARY.split():
        yield from two(name)
    for name, size in EXTENDED.items():
        yield from (f"v{name} xmm1, xmm2", f"v{name} ymm1, xmm12")
        yield from (f"v{name} xmm1, M{size}", f"v{name} ymm1, M{2 * size}")
    yield from (f"{form}, I" for name in IMMEDIATE.split() for form in three(name))
    yield from (f"{form}, I" for name in UNARY_IMMEDIATE.split() for form in two(name))
    yield from MOVES


def cryptography() -> Iterator[str]:
    for flag, names in CRYPTOGRAPHY.items():
        if flag in HOST:
            yield from (f"{name} xmm1, {source}" for name in names.split() for source in ("xmm2", "A16"))
    if "aes" in HOST:
        yield from (form for name in ("aesenc", "aesenclast", "aesdec", "aesdeclast") for form in three(name, 16))
        yield from ("aeskeygenassist xmm1, xmm2, I", "vaeskeygenassist xmm1, M16, I", "vaesimc xmm1, xmm2")
    if "pclmulqdq" in HOST:
        yield from ("pclmulqdq xmm1, A16, I", "vpclmulqdq xmm1, xmm2, xmm3, I", "vpclmulqdq xmm1, xmm2, M16, I")
    if "sha_ni" in HOST:
        yield from ("sha1rnds4 xmm1, xmm2, I", "sha1rnds4 xmm9, A16, I")


def float_forms() -> Iterator[str]:
    for name in ARITHMETIC.split():
        yield from (*three(f"{name}ps"), *three(f"{name}pd"), *scalar(f"{name}ss", 4), *scalar(f"{name}sd", 8))
    for name in PACKED.split():
        yield from three(name)
    for name in UNARY_FLOAT.split():
        yield from two(name)
    for kind, size in (("ps", 0), ("pd", 0), ("ss", 4), ("sd", 8)):
        yield from (f"{form}, P" for form in (scalar(f"cmp{kind}", size) if size else three(f"cmp{kind}")))
    yield from CONVERSIONS


def fma_forms() -> Iterator[str]:
    for order in ("132", "213", "231"):
        for name in ("fmadd", "fmsub", "fnmadd", "fnmsub"):
            yield from (*three(f"{name}{order}ps"), *three(f"{name}{order}pd"))
            yield from (*scalar(f"{name}{order}ss", 4), *scalar(f"{name}{order}sd", 8))
        for name in ("fmaddsub", "fmsubadd"):
            yield from (*three(f"{name}{order}ps"), *three(f"{name}{order}pd"))


def case_of(rng: random.Random, form: str) -> Case:
    words, aligned = [], 0
    for word in form.split(" "):
        bare, comma = word.rstrip(","), "," if word.endswith(",") else ""
        if bare[0] in "AM" and bare[1:].isdigit():
            aligned = max(aligned, int(bare[1:]) if bare[0] == "A" else 1)
            bare = f"{SIZES[int(bare[1:])]} ptr {rng.choice(ADDRESSES[: 1 if bare == 'A32' else None])}"
        elif bare in ("I", "P", "R"):
            bare = str(rng.randrange({"I": 256, "P": 32, "R": 16}[bare]))
        words.append(bare + comma)
    case = random_case(rng, " ".join(words))
    case.high = [packed(rng) for _ in range(16)]
    case.gpr["rcx"] = 8 if "rcx *" in case.instruction else case.gpr["rcx"]
    case.at = {0: 0, 16: 32, 32: 48}.get(aligned, 32 + rng.randrange(16))
    if "pcmp" in form and "str" in form:
        case.memory = bytes(rng.choice(b"abc\0") for _ in case.memory)
        case.xmm[1], case.xmm[2] = (bytes(rng.choice(b"abc\0") for _ in range(16)) for _ in range(2))
        case.gpr |= {"rax": rng.choice([rng.randrange(-20, 20), 2**32 + 5]), "rdx": rng.randrange(-20, 20)}
    return case


def test_integer_and_moves() -> None:
    rng = random.Random(1)
    duel((case_of(rng, form) for form in integer_forms() for _ in range(3)), wide=True)


def test_cryptography() -> None:
    rng = random.Random(2)
    duel((case_of(rng, form) for form in cryptography() for _ in range(8)), wide=True)


@pytest.mark.parametrize("forms", [float_forms, fma_forms])
def test_float_with_masked_exceptions(forms: type[Iterator[str]]) -> None:
    rng = random.Random(3)
    duel((case_of(rng, form) for form in forms() for _ in range(5)), wide=True)


@pytest.mark.parametrize("forms", [float_forms, fma_forms])
def test_float_with_unmasked_exceptions(forms: type[Iterator[str]]) -> None:
    def unmasked(rng: random.Random, form: str) -> Case:
        case = case_of(rng, form)
        case.mxcsr &= ~(rng.getrandbits(6) << 7)
        return case

    def same(case: Case, ours: State, theirs: State) -> bool:
        if ours.faulted and ours.mxcsr & UNDERFLOW and not case.mxcsr & UNDERFLOW << 7:
            ours, theirs = (state._replace(mxcsr=state.mxcsr & ~PRECISION) for state in (ours, theirs))
        return ours == theirs

    rng = random.Random(4)
    several_steps = ("vdpp", "vcvtps2ph")  # VCVTPS2PH knows no flushing to zero, by which an exact underflow is told
    cases = [form for form in forms() if not form.startswith(several_steps)]
    duel((unmasked(rng, form) for form in cases for _ in range(5)), same, wide=True)


def test_every_immediate() -> None:
    rng = random.Random(5)
    names = ["vshufps ymm1, ymm2, ymm3", "vpalignr ymm1, ymm2, ymm3", "vpshufd ymm1, ymm2", "vpsrlq ymm1, ymm2",
             "vperm2f128 ymm1, ymm2, ymm3", "vinsertps xmm1, xmm2, xmm3", "vmpsadbw ymm1, ymm2, ymm3"]  # fmt: skip
    duel((case_of(rng, f"{name}, {immediate}") for name in names for immediate in range(256)), wide=True)


# ---- gathers ----

GATHERS = {  # bytes of an index, of an element
    "vpgatherdd": (4, 4), "vpgatherdq": (4, 8), "vpgatherqd": (8, 4), "vpgatherqq": (8, 8),
    "vgatherdps": (4, 4), "vgatherdpd": (4, 8), "vgatherqps": (8, 4), "vgatherqpd": (8, 8),
}  # fmt: skip


def test_gathers() -> None:
    rng = random.Random(6)
    cases = []
    for (name, (index, size)), wide, scale in [
        (item, wide, scale) for item in GATHERS.items() for wide in (False, True) for scale in (1, 2, 4, 8)
    ]:
        y = "xy"[wide]
        vector = y if index >= size else "x"
        data = y if size >= index else "x"
        form = f"{name} {data}mm1, {SIZES[size]} ptr [rsi + {vector}mm2 * {scale} + 4], {data}mm3"
        for _ in range(4):
            case = random_case(rng, form)
            case.high = [packed(rng) for _ in range(16)]
            indexes = b"".join(rng.randrange(-8, 8).to_bytes(index, "little", signed=True) for _ in range(32 // index))
            case.xmm[2], case.high[2] = indexes[:16], indexes[16:]
            case.at = 48
            cases.append(case)
    duel(cases, wide=True)


def test_a_gather_that_faults_goes_on_where_it_was(root: Root) -> None:
    """The elements before the fault are there, and their mask is gone."""
    gather = "vpgatherdd xmm1, [rax + xmm2 * 1], xmm3"
    masks = "vpcmpeqd xmm3, xmm3, xmm3; vmovdqu xmm2, [rcx]"
    root.registers.xcr0 = 7
    source = f"mov rax, {DATA}; mov rcx, {DATA + 64}; {masks}; {gather}"
    root.write(DATA, struct.pack("<4I", 11, 22, 33, 44))
    root.write(DATA + 64, struct.pack("<4I", 4, 0, 0x40000000, 8))
    assert exception_of(root, source, guest_cr4=CR4 | OSXSAVE) == PF
    assert root["exit_qualification"] == DATA + 0x40000000
    assert struct.unpack("<2I", bytes(root.registers.fpu.xmm[1])[:8]) == (22, 11)
    assert bytes(root.registers.fpu.xmm[3]) == bytes(8) + b"\xff" * 8


def test_an_element_of_which_half_is_mapped_leaves_the_destination(root: Root) -> None:
    """Element 1 lies over the end of RAM: an EPT violation."""
    masks = "vpcmpeqd xmm3, xmm3, xmm3; vpcmpeqd xmm1, xmm1, xmm1; vmovdqu xmm2, [rcx]"
    root.registers.xcr0 = 7
    root.write(DATA, struct.pack("<I", 11))
    root.write(DATA + 64, struct.pack("<4I", 0, GUEST_SIZE - 2 - DATA, 0, 0))
    source = f"mov rax, {DATA}; mov rcx, {DATA + 64}; {masks}; vpgatherdd xmm1, [rax + xmm2], xmm3; hlt"
    root.start(source, "long", guest_cr0=CR0, guest_cr3=PAGE_TABLES, guest_cr4=CR4 | OSXSAVE)
    assert root.enter() == EPT_VIOLATION
    assert root["guest_physical_address"] == GUEST_SIZE
    assert struct.unpack("<2I", bytes(root.registers.fpu.xmm[1])[:8]) == (11, 0xFFFFFFFF)


@pytest.mark.parametrize(
    ("indexes", "vector", "qualification"),
    [((0, 0x40000000, 0, 0), DB, 1 << 14), ((0x40000000, 0, 0, 0), PF, DATA + 0x40000000)],
)
def test_a_single_step_comes_in_lieu_of_a_gathers_fault(
    root: Root, indexes: tuple[int, ...], vector: int, qualification: int
) -> None:
    """Once an element is loaded (SDM vol. 2, VGATHERDPS); before that the fault comes."""
    masks = "vpcmpeqd xmm3, xmm3, xmm3; vmovdqu xmm2, [rcx]"
    step = "pushf; or dword ptr [rsp], 0x100; popf"
    root.registers.xcr0 = 7
    root.write(DATA + 64, struct.pack("<4I", *indexes))
    source = f"mov rsp, {DATA + 256}; mov rax, {DATA}; mov rcx, {DATA + 64}; {masks}; {step}"
    assert exception_of(root, f"{source}; vpgatherdd xmm1, [rax + xmm2], xmm3", guest_cr4=CR4 | OSXSAVE) == vector
    assert root["exit_qualification"] == qualification
    assert vector == PF or root["guest_rflags"] >> 16 & 1, "RF"


# ---- faults ----

ON = {"guest_cr4": CR4 | OSXSAVE}


@pytest.mark.parametrize(
    ("source", "changes", "xcr0", "vector"),
    [
        ("vaddps ymm0, ymm1, ymm2", ON, 7, None),
        ("vaddps ymm0, ymm1, ymm2", {}, 7, UD),
        ("vaddps ymm0, ymm1, ymm2", ON, 3, UD),
        ("vaddps ymm0, ymm1, ymm2", ON | {"guest_cr0": CR0 | TS}, 7, NM),
        ("vaddps ymm0, ymm1, ymm2", {"guest_cr0": CR0 | TS}, 7, UD),
        ("vaddps xmm0, xmm1, xmm2", {"guest_cr4": CR4 & ~OSFXSR | OSXSAVE}, 7, None),  # CR4.OSFXSR is no matter
        ("vstmxcsr [rsp - 8]", {"guest_cr4": CR4 & ~OSFXSR | OSXSAVE}, 7, None),
        ("vstmxcsr [rsp - 8]", ON, 1, UD),
        ("andn eax, ecx, edx", {}, 1, None),  # general registers: whatever XCR0 says
        ("vmovaps ymm0, [rsp - 48]", ON, 7, GP),
        ("vmovaps xmm0, [rsp - 48]", ON, 7, None),
        ("vmovntdq [rsp - 48], ymm0", ON, 7, GP),
        ("vaddps ymm0, ymm0, [rsp - 47]", ON, 7, None),
        (".byte 0xc5, 0x78, 0x58, 0xc1", ON, 7, None),
        (".byte 0xc5, 0xf0, 0x51, 0xc1", ON, 7, UD),  # VSQRTPS with vvvv
        (".byte 0xc5, 0xfd, 0x6e, 0xc0", ON, 7, UD),  # VMOVD with VEX.L
        (".byte 0xc4, 0xe2, 0x79, 0x36, 0xc1", ON, 7, UD),  # VPERMD without
        (".byte 0xc4, 0xe2, 0xf9, 0x18, 0x04, 0x24", ON, 7, UD),  # VBROADCASTSS with VEX.W
        (".byte 0xc4, 0xe2, 0x7d, 0x1a, 0xc0", ON, 7, UD),  # VBROADCASTF128 of a register
        (".byte 0x66, 0xc5, 0xf8, 0x58, 0xc1", ON, 7, UD),
        (".byte 0xf0, 0xc5, 0xf8, 0x58, 0xc1", ON, 7, UD),
        (".byte 0x40, 0xc5, 0xf8, 0x58, 0xc1", ON, 7, UD),
        (".byte 0xc4, 0xe4, 0x79, 0x58, 0xc1", ON, 7, UD),  # no such map
        ("vpgatherdd xmm1, [rax + xmm2], xmm3", ON, 7, None),
        (".byte 0xc4, 0xe2, 0x61, 0x90, 0x1c, 0x10", ON, 7, UD),  # VPGATHERDD xmm3, [rax + xmm2], xmm3
        (".byte 0xc4, 0xe2, 0x61, 0x90, 0x08", ON, 7, UD),  # no SIB
        ("vmaskmovps xmm0, xmm15, [rbx]", ON, 7, None),  # an empty mask touches nothing
    ],
)
def test_faults(root: Root, source: str, changes: dict[str, int], xcr0: int, vector: int | None) -> None:
    root.registers.xcr0 = xcr0
    source = f"mov rbx, 1 << 40; mov rax, {DATA}; {source}"
    assert exception_of(root, source, **changes) == vector


def test_divide_by_zero(root: Root) -> None:
    root.registers.xcr0 = 7
    unmasked = MASKS & ~(4 << 7)
    source = f"mov dword ptr [rsp - 8], {unmasked}; vldmxcsr [rsp - 8]; vpcmpeqd ymm1, ymm1, ymm1"
    source += "; vpsrld ymm1, ymm1, 25; vpslld ymm1, ymm1, 23; vpxor ymm2, ymm2, ymm2; vdivps ymm3, ymm1, ymm2"
    assert exception_of(root, source, **ON) == XM
    assert root.registers.fpu.mxcsr == unmasked | 4
    assert bytes(root.registers.fpu.xmm[3]) == bytes(root.registers.ymm_high[3]) == bytes(16)


def test_in_protected_mode(root: Root) -> None:
    """VEX beside LES and LDS; W does not widen a general register; a masked store at the end of the segment."""
    root.registers.xcr0 = 7
    source = f"""
        mov eax, cr4; or eax, {OSXSAVE | OSFXSR}; mov cr4, eax
        mov edi, {DATA}
        vmovups ymm1, [edi]
        .byte 0xc4, 0xe1, 0xf9, 0x7e, 0xc8 # vmovd eax, xmm1 with W
        lds ebx, [edi + 32]
        vextractf128 xmm1, ymm1, 1
        vmovd ecx, xmm1
        hlt
    """
    root.start(source, "protected")
    root.write(DATA, struct.pack("<8I", *range(100, 108)) + struct.pack("<IH", 0x12345678, 0x10))
    assert root.enter() == 12
    assert (root.gpr("rax"), root.gpr("rbx"), root.gpr("rcx")) == (100, 0x12345678, 104)


def test_not_in_real_mode(root: Root) -> None:
    root.registers.xcr0 = 7
    root.start(".byte 0xc5, 0xf8, 0x58, 0xc1; hlt", "real", exception_bitmap=0xFFFFFFFF)
    assert root.enter() == 0
    assert root["exit_interruption_information"] & 0xFF == UD
