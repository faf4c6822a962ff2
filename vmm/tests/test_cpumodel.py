"""CPU models: their files, and what CPUID makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bringup.vmm import cpumodel
from bringup.vmm.cpumodel import CpuidRow
from bringup.vmm.spec import SpecError

CPUINFO = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
stepping\t: 8
flags\t\t: fpu cx8 cmov clflush mmx fxsr sse sse2 pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm abm bmi1 rdrand avx2

processor\t: 1
vendor_id\t: Other
"""


def rows(name: str = "x86-64-v2") -> dict[tuple[int, int], CpuidRow]:
    return {(row.leaf, row.subleaf): row for row in cpumodel.load(name).cpuid()}


@pytest.mark.parametrize("name", cpumodel.names())
def test_every_model_is_sound(name: str) -> None:
    model = cpumodel.load(name)
    table = model.cpuid()
    keys = [row[:2] for row in table]
    assert keys == sorted(set(keys)), "a leaf twice, or out of order"
    assert len(table) <= 96
    assert all(0 <= value < 1 << 32 for row in table for value in row)
    leaves = {row.leaf for row in table}
    by_key = {row[:2]: row for row in table}
    assert max(leaf for leaf in leaves if leaf < 0x40000000) <= by_key[0, 0].eax == model.max_leaf
    if model.max_extended_leaf:
        assert max(leaves) == by_key[0x80000000, 0].eax
    else:
        assert max(leaves) < 0x80000000
    if model.has("LM"):  # what a 64-bit kernel cannot do without
        assert all(model.has(name) for name in ("NX", "PAE", "SSE2", "CX8", "CMOV", "FXSR", "MSR", "TSC", "SYSCALL"))
    assert not model.has("VMX")
    if name != "host":
        assert model.has("LA57") == (name == "max")
    if model.max_extended_leaf >= 0x80000008:
        assert by_key[0x80000008, 0].eax >> 8 & 0xFF == (57 if model.has("LA57") else 48)


def test_the_default_model() -> None:
    table = rows()
    assert cpumodel.names()[0] == "x86-64-v2"
    assert table[0, 0] == (0, 0, 0x16, 0x756E6547, 0x6C65746E, 0x49656E69)  # GenuineIntel
    assert table[1, 0].eax == 0x000106CA
    assert table[1, 0].ecx == 0x859A2209
    assert table[1, 0].edx & 0x07808111 == 0x07808111
    assert table[7, 0].ebx & 1 << 7, "SMEP"
    assert table[7, 0].edx == 1 << 29, "ARCH_CAPABILITIES"
    # TSC = crystal * EBX / EAX = 1 GHz: an instruction, a tick, a nanosecond.
    crystal = table[0x15, 0]
    assert crystal.ecx * crystal.ebx // crystal.eax == 10**9
    assert table[0x16, 0][2:5] == (1000, 1000, 1000)
    assert table[0x80000007, 0].edx == 1 << 8
    assert table[0x80000008, 0].eax == 48 << 8 | 40
    assert table[0xD, 0][2:] == (3, 576, 576, 0)
    brand = b"".join(
        value.to_bytes(4, "little") for leaf in (0x80000002, 0x80000003, 0x80000004) for value in table[leaf, 0][2:]
    )
    assert brand.rstrip(b"\0") == b"bringup x86-64-v2 @ 1.00GHz"
    assert cpumodel.load("x86-64-v2").arch_capabilities_value() == 0x400000000D10E179


def test_the_x86_64_v2_level() -> None:
    """The psABI's micro-architecture level 2, and nothing of level 3."""
    model = cpumodel.load("x86-64-v2")
    assert all(model.has(name) for name in ("CX16", "LAHF64", "POPCNT", "SSE3", "SSSE3", "SSE4_1", "SSE4_2"))
    assert not any(model.has(name) for name in ("AVX", "BMI1", "BMI2", "FMA", "LZCNT", "MOVBE"))


def test_max_has_all_that_the_default_has() -> None:
    full, default = cpumodel.load("max"), cpumodel.load("x86-64-v2")
    for register, names in default.features.items():
        assert names <= full.features[register]
    assert all(full.has(name) for name in ("BMI1", "BMI2", "LZCNT", "MOVBE", "RDRAND", "RDSEED", "INVPCID"))
    assert (full.vendor, full.family, full.model) == (default.vendor, default.family, default.model)


def test_caches_of_leaf_4() -> None:
    table = rows()
    l1d = table[4, 0]
    ways, line, sets = (l1d.ebx >> 22) + 1, (l1d.ebx & 0xFFF) + 1, l1d.ecx + 1
    assert (l1d.eax & 0x1F, l1d.eax >> 5 & 7, ways * line * sets) == (1, 1, 32 << 10)
    assert (4, 3) not in table


def test_host_is_max_without_what_the_host_lacks() -> None:
    host, full = cpumodel.host_model(CPUINFO), cpumodel.load("max")
    assert (host.vendor, host.family, host.model, host.stepping) == ("GenuineIntel", 6, 143, 8)
    assert host.brand == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    assert all(host.has(name) for name in ("SSE3", "CLFSH", "LAHF64", "LZCNT", "BMI1", "RDRAND", "AVX2"))
    assert not any(host.has(name) for name in ("BMI2", "MOVBE", "RDSEED", "SHA"))
    # What the processor makes by itself stays, though this host shows none of it.
    assert all(host.has(name) for name in ("TSC_DEADLINE", "INVARIANT_TSC", "SMEP", "PCID", "ARAT"))
    for register, names in host.features.items():
        assert names <= full.features[register]


def test_an_amd_model() -> None:
    """It repeats leaf 1's bits, has the first level's caches in 80000005H, and none of Intel's leaves."""
    table = {row[:2]: row for row in cpumodel.load("opteron").cpuid()}
    assert table[0, 0][3:] == (0x68747541, 0x444D4163, 0x69746E65)
    assert table[0x80000001, 0].eax == table[1, 0].eax == 0x00100F23
    repeated = 0x0183F3FF
    assert table[0x80000001, 0].edx & repeated == table[1, 0].edx & repeated
    assert table[0x80000005, 0].ecx >> 24 == 64
    assert not {2, 4, 0xB} & {leaf for leaf, _ in table}


@pytest.mark.parametrize(("name", "generation"), [("8086", 86), ("286", 286), ("386", 386), ("486", 486)])
def test_old_models(name: str, generation: int) -> None:
    model = cpumodel.load(name)
    assert model.generation == generation
    assert [row.leaf for row in model.cpuid()] == list(range(model.max_leaf + 1))
    assert cpumodel.load("max").generation == 686


@pytest.mark.parametrize("name", cpumodel.names())
def test_no_model_refers_to_a_cache_leaf_that_it_has_not(name: str) -> None:
    table = {row[:2]: row for row in cpumodel.load(name).cpuid()}
    refers = (2, 0) in table and any(0xFF in value.to_bytes(4, "little") for value in table[2, 0][2:])
    assert not refers or (4, 0) in table


# ---- what is added and taken away, and what the host lacks ----


def test_features_by_sign() -> None:
    model = cpumodel.load("x86-64-v2,+BMI1,-pcid,+umip")
    assert model.has("BMI1") and model.has("UMIP") and not model.has("PCID")
    assert model.has("SSE4_2") and not model.has("BMI2")
    assert cpumodel.load("pentium3,+RDSEED").max_leaf == 7, "what has to be shown is"
    assert cpumodel.load("pentium3,+NX").max_extended_leaf == 0x80000001


def test_what_builds_on_a_feature_goes_with_it() -> None:
    model = cpumodel.load("max,-SSSE3")
    assert model.has("SSE3") and not any(model.has(name) for name in ("SSSE3", "SSE4_1", "SSE4_2", "AVX", "AVX2"))
    assert not any(cpumodel.load("max,-LM").has(name) for name in ("LM", "LA57", "PCID"))
    assert cpumodel.load("pentium3,+LM,+PCID").has("PCID"), "in any order"
    assert cpumodel.load("pentium3,+PCID,+LM").has("LM")


@pytest.mark.parametrize(
    ("choice", "complaint"),
    [
        ("x86-64-v2,BMI1", r"CPU model 'x86-64-v2': 'BMI1' is not \+FEATURE or -FEATURE of a known feature"),
        ("x86-64-v2,+TURBO", r"CPU model 'x86-64-v2': '\+TURBO' is not"),
        ("x86-64-v2,", r"CPU model 'x86-64-v2': '' is not"),
        ("x86-64-v2,-", r"CPU model 'x86-64-v2': '-' is not"),
        ("max,+VMX", r"CPU model 'max': the processor does not implement VMX"),
        ("nothing,+BMI1", "unknown CPU model 'nothing'"),
        ("pentium3,+LA57", r"CPU model 'pentium3,\+LA57': LA57 needs LM"),
        ("8086,+LM", r"CPU model '8086' can have no \+LM: it has no CPUID"),
    ],
)
def test_a_change_that_cannot_be(choice: str, complaint: str) -> None:
    with pytest.raises(SpecError, match=complaint):
        cpumodel.load(choice)


def test_what_the_host_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """`max` goes without, a model that is asked for by name does not."""
    monkeypatch.setattr(cpumodel, "_host_flags", lambda cpuinfo: {"aes", "f16c", "fma"})
    model = cpumodel.load("max")
    assert model.has("AESNI") and not any(model.has(name) for name in ("AVX", "AVX2", "FMA", "F16C", "SHA"))
    assert model.cpuid()  # XSAVE without AVX
    with pytest.raises(SpecError, match=r"CPU model 'x86-64-v2,\+AVX' needs AVX, which this host lacks"):
        cpumodel.load("x86-64-v2,+AVX")
    with pytest.raises(SpecError, match=r"needs FMA, which this host lacks"):
        cpumodel.load("x86-64-v2,+FMA")


def test_leaf_0dh() -> None:
    full = cpumodel.read(cpumodel.MODELS / "max.toml")
    table = {row[:2]: row[2:] for row in full.cpuid() if row.leaf == 0xD}
    assert table == {
        (13, 0): (0x207, 2696, 2696, 0),
        (13, 1): (0xF, 0, 0, 0),
        (13, 2): (256, 576, 0, 0),
        (13, 9): (8, 2688, 0, 0),
    }


def test_the_signature_of_late_families() -> None:
    zen = cpumodel.host_model(
        CPUINFO.replace("cpu family\t: 6", "cpu family\t: 25").replace("model\t\t: 143", "model\t\t: 17")
    )
    assert zen.cpuid()[1].eax == 0x00A10F18


@pytest.mark.parametrize(
    "cpuinfo", ["", "vendor_id : X\nflags : fpu\n", "Processor : ARMv8", CPUINFO.replace(": 143", ": many")]
)
def test_a_host_that_shows_no_x86_processor(cpuinfo: str) -> None:
    with pytest.raises(SpecError, match="CPU model 'host': /proc/cpuinfo"):
        cpumodel.host_model(cpuinfo)


@pytest.mark.parametrize("name", ["pentium4", "", "../x86-64-v2", "x86-64-v2.toml", "HOST"])
def test_an_unknown_model_is_answered_with_the_known_ones(name: str) -> None:
    with pytest.raises(SpecError, match=r"unknown CPU model '.*' \(known: x86-64-v2, .*, max, .*, host\)$"):
        cpumodel.load(name)


DEFAULT = (cpumodel.MODELS / "x86-64-v2.toml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"FPU",', '"FPU2",', r"features.01H:EDX: unknown name 'FPU2'"),
        ('"01H:EDX"', '"02H:EDX"', r"features: unknown register '02H:EDX' \(known: 01H:EDX, "),
        ("family = 6", "", "key 'family' is missing"),
        ("family = 6", "family = 300", "key 'family' is 300, not 0 to 270"),
        ("family = 6", "family = true", "key 'family' must be int, not True"),
        ("family = 6", 'family = "6"', "key 'family' must be int, not '6'"),
        ("stepping = 10", "stepping = -1", "key 'stepping' is -1"),
        ("stepping = 10", "stepping = 10\ngeneration = 500", "key 'generation' is 500, not one of 86, 186, "),
        ("stepping = 10", "stepping = 10\nmax_leaf = 0x17", "key 'max_leaf' is 23, not 0 to 22"),
        ("stepping = 10", "stepping = 10\nturbo = 1", "unknown key 'turbo'"),
        ('vendor = "GenuineIntel"', 'vendor = "Genuine Intel"', "key 'vendor' is longer than 12 characters"),
        ('vendor = "GenuineIntel"', 'vendor = "Genüin"', "must be ASCII"),
        ('"RDCL_NO"', '"RDCL"', "arch_capabilities.set: unknown name 'RDCL'"),
        ("set = [", "unset = [", "unknown key 'arch_capabilities.unset'"),
        ('["ARAT"]', '"ARAT"', "features.06H:EAX must be a list of names"),
        ('type = "data"', 'type = "victim"', "caches: level 1, type 'victim'"),
        ("ways = 8", "ways = 7", "is no cache"),
        ('size = "1M"', 'size = "1.5M"', "caches: '1.5M': not a size"),
        ('size = "1M"', 'size = "1M"\nsets = 4', "is no cache"),
        ("tsc_hz = 1_000_000_000", "tsc_hz = 0", "key 'tsc_hz' is 0"),
        ("linear_address_bits = 48", "linear_address_bits = 57", "not 48 to 48"),
        ("ways = 16", "ways = 0", "is no cache"),
        ("family = 6", "family = ", "Invalid value"),
        ('summary = "', 'base = "nothing"\nsummary = "', "nothing.toml: .*No such file"),
        ('summary = "', 'base = "mine"\nsummary = "', "unknown key 'base'"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in DEFAULT
    path = tmp_path / "mine.toml"
    path.write_text(DEFAULT.replace(old, new))
    with pytest.raises(SpecError, match=complaint) as caught:
        cpumodel.read(path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_of_one_s_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(DEFAULT)
    assert cpumodel.read(path).cpuid() == cpumodel.load("x86-64-v2").cpuid()
