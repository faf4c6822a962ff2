"""CPU models: data files in `cpus/`, turned into rows of CPUID and IA32_ARCH_CAPABILITIES.

Sources: Intel SDM volume 2A, CPUID, tables 3-8 to 3-20; volume 4, table 2-2 (IA32_ARCH_CAPABILITIES, 10AH).
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from .spec import SpecError, parse_size

MODELS = Path(__file__).parent / "cpus"
HOST, MAX = "host", "max"

# register: {feature: bit}. Only what a model may name; the names are the SDM's.
FEATURES: dict[str, dict[str, int]] = {
    "01H:EDX": {
        "FPU": 0, "VME": 1, "DE": 2, "PSE": 3, "TSC": 4, "MSR": 5, "PAE": 6, "MCE": 7, "CX8": 8, "APIC": 9, "SEP": 11,
        "MTRR": 12, "PGE": 13, "MCA": 14, "CMOV": 15, "PAT": 16, "PSE36": 17, "CLFSH": 19, "MMX": 23, "FXSR": 24,
        "SSE": 25, "SSE2": 26, "SS": 27, "HTT": 28,
    },
    "01H:ECX": {
        "SSE3": 0, "PCLMULQDQ": 1, "MONITOR": 3, "VMX": 5, "SSSE3": 9, "FMA": 12, "CX16": 13, "PDCM": 15, "PCID": 17,
        "SSE4_1": 19, "SSE4_2": 20, "X2APIC": 21, "MOVBE": 22, "POPCNT": 23, "TSC_DEADLINE": 24, "AESNI": 25,
        "XSAVE": 26, "AVX": 28, "F16C": 29, "RDRAND": 30, "HYPERVISOR": 31,
    },
    "06H:EAX": {"ARAT": 2},
    "07H:EBX": {
        "FSGSBASE": 0, "TSC_ADJUST": 1, "BMI1": 3, "AVX2": 5, "FDP_EXCPTN_ONLY": 6, "SMEP": 7, "BMI2": 8, "ERMS": 9,
        "INVPCID": 10, "ZERO_FCS_FDS": 13, "RDSEED": 18, "ADX": 19, "SMAP": 20, "CLFLUSHOPT": 23, "CLWB": 24,
        "SHA": 29,
    },
    "07H:ECX": {"UMIP": 2, "PKU": 3, "LA57": 16, "RDPID": 22},
    "07H:EDX": {"FSRM": 4, "MD_CLEAR": 10, "IBRS": 26, "STIBP": 27, "ARCH_CAPABILITIES": 29, "SSBD": 31},
    "0DH.1:EAX": {"XSAVEOPT": 0, "XSAVEC": 1, "XGETBV1": 2, "XSAVES": 3},
    "80000001H:ECX": {"LAHF64": 0, "CMP_LEGACY": 1, "LZCNT": 5, "MISALIGNSSE": 7, "PREFETCHW": 8},
    "80000001H:EDX": {
        "SYSCALL": 11, "NX": 20, "MMXEXT": 22, "FXSR_OPT": 25, "PDPE1GB": 26, "RDTSCP": 27, "LM": 29,
    },
    "80000007H:EDX": {"INVARIANT_TSC": 8},
    "80000008H:EBX": {"XSAVEERPTR": 2},
}  # fmt: skip

ARCH_CAPABILITIES: dict[str, int] = {
    "RDCL_NO": 0, "IBRS_ALL": 1, "RSBA": 2, "SKIP_L1DFL_VMENTRY": 3, "SSB_NO": 4, "MDS_NO": 5, "IF_PSCHANGE_MC_NO": 6,
    "TAA_NO": 8, "SBDR_SSDP_NO": 13, "FBSDP_NO": 14, "PSDP_NO": 15, "FB_CLEAR": 17, "RRSBA": 19, "BHI_NO": 20,
    "PBRSB_NO": 24, "GDS_NO": 26, "RFDS_NO": 27, "ITS_NO": 62,
}  # fmt: skip

# What the processor makes by itself, whatever the host has; all else that `host` shows must be in the host's flags.
_OURS = frozenset(
    {"DE", "PSE", "TSC", "MSR", "PAE", "MCE", "APIC", "SEP", "MTRR", "PGE", "MCA", "PAT", "PSE36", "MONITOR", "PCID",
     "TSC_DEADLINE", "XSAVE", "HYPERVISOR", "ARAT", "FSGSBASE", "SMEP", "SMAP", "INVPCID", "UMIP", "ARCH_CAPABILITIES",
     "SYSCALL", "NX", "PDPE1GB", "RDTSCP", "LM", "INVARIANT_TSC", "ZERO_FCS_FDS", "XSAVEOPT", "XSAVEC", "XGETBV1",
     "XSAVES", "X2APIC"}
)  # fmt: skip
# What the processor has the host's instructions do (beyond x86-64-v2): a model cannot have what the host lacks.
_BY_THE_HOST = ("PCLMULQDQ", "AESNI", "AVX", "F16C", "FMA", "AVX2", "SHA")
_NEEDS_AVX = ("F16C", "FMA", "AVX2")
# What Linux's /proc/cpuinfo calls otherwise than the SDM in lower case (arch/x86/include/asm/cpufeatures.h).
_LINUX_FLAG = {"CLFSH": "clflush", "SSE3": "pni", "LAHF64": "lahf_lm", "LZCNT": "abm", "AESNI": "aes", "SHA": "sha_ni"}

# What a feature is of no use or undefined without (SDM volume 1, chapters 10 to 14; volume 3, 4.1.4, 11.4 and 12.5).
_BUILDS_ON: dict[str, tuple[str, ...]] = {
    "MMX": ("FPU",), "FXSR": ("FPU",), "SSE": ("FXSR",), "SSE2": ("SSE",), "SSE3": ("SSE2",), "SSSE3": ("SSE3",),
    "SSE4_1": ("SSSE3",), "SSE4_2": ("SSE4_1",), "PCLMULQDQ": ("SSE2",), "AESNI": ("SSE2",), "SHA": ("SSE2",),
    "MISALIGNSSE": ("SSE",), "XSAVE": ("FXSR",), "AVX": ("XSAVE", "SSE4_2"), "F16C": ("AVX",), "FMA": ("AVX",),
    "AVX2": ("AVX",), "XSAVEOPT": ("XSAVE",), "XSAVEC": ("XSAVE",), "XGETBV1": ("XSAVE",), "XSAVES": ("XSAVEC",),
    "SEP": ("MSR",), "SYSCALL": ("MSR",), "MTRR": ("MSR",), "PAT": ("MSR",), "MCA": ("MCE", "MSR"), "PSE36": ("PSE",),
    "NX": ("PAE", "MSR"), "LM": ("PAE", "MSR"), "PDPE1GB": ("LM",), "LAHF64": ("LM",), "FSGSBASE": ("LM",),
    "PCID": ("LM",), "PKU": ("LM",), "LA57": ("LM",), "RDTSCP": ("TSC",), "X2APIC": ("APIC", "MSR"),
    "TSC_DEADLINE": ("APIC", "MSR"), "ARAT": ("APIC",),
}  # fmt: skip

AMD = "AuthenticAMD"
# Bits of leaf 1's EDX that AMD's processors show in 80000001H once more.
_AMD_REPEATS = 0x0183F3FF
# What a processor has besides what CPUID names: machine.h's enum cpu_generation.
_GENERATIONS = (86, 186, 286, 386, 486, 586, 686)
_WITH_CPUID = 486
# Leaf 02H (SDM volume 2A, table 3-12). FFH: the caches are in leaf 04H; FEH: no TLB is described. Without leaf 04H
# those of a Pentium III: 16 KiB of code and of data, 256 KiB; software that is told FFH looks for leaf 04H without end.
_DESCRIPTORS = {True: (0x00FEFF01, 0, 0, 0), False: (0x03020101, 0, 0, 0x0C040882)}
_CACHE_TYPES = {"data": 1, "instruction": 2, "unified": 3}
_CACHE_LINE = 64  # bytes; CLFLUSH's too
_BRAND_SIZE = 48
_LA57_BITS = 57  # linear addresses of a processor that has 5-level paging (SDM volume 1, 3.3.7.1)


class _XsaveComponent(NamedTuple):
    """A state component behind XSAVE's header; bytes, in the standard form."""

    feature: str
    bit: int
    offset: int
    size: int


_XSAVE_COMPONENTS = (_XsaveComponent("AVX", 2, 576, 256), _XsaveComponent("PKU", 9, 2688, 8))


class CpuidRow(NamedTuple):
    """One leaf and subleaf as CPUID answers it, all 32-bit."""

    leaf: int
    subleaf: int
    eax: int
    ebx: int
    ecx: int
    edx: int


@dataclass(frozen=True)
class Cache:
    """A cache of leaf 04H; `size` in bytes."""

    level: int
    type: str
    size: int
    ways: int

    def row(self, subleaf: int) -> CpuidRow:
        sets = self.size // (self.ways * _CACHE_LINE)
        eax = _CACHE_TYPES[self.type] | self.level << 5 | 1 << 8  # self initialising
        return CpuidRow(0x4, subleaf, eax, (_CACHE_LINE - 1) | (self.ways - 1) << 22, sets - 1, 0)


@dataclass(frozen=True)
class CpuModel:
    """A processor as CPUID shows it; `features` maps a register of FEATURES to names."""

    name: str
    summary: str
    vendor: str
    generation: int
    family: int
    model: int
    stepping: int
    brand: str
    max_leaf: int
    max_extended_leaf: int  # 0: there are none
    physical_address_bits: int
    linear_address_bits: int
    tsc_hz: int
    hypervisor: str
    features: Mapping[str, frozenset[str]]
    arch_capabilities: frozenset[str]
    caches: tuple[Cache, ...]

    def has(self, feature: str) -> bool:
        return any(feature in names for names in self.features.values())

    def without(self, features: Iterable[str]) -> CpuModel:
        gone = frozenset(features)
        return replace(self, features={register: names - gone for register, names in self.features.items()})

    def arch_capabilities_value(self) -> int:
        """IA32_ARCH_CAPABILITIES."""
        return sum(1 << ARCH_CAPABILITIES[name] for name in self.arch_capabilities)

    def _register(self, register: str) -> int:
        return sum(1 << FEATURES[register][name] for name in self.features.get(register, ()))

    def _signature(self) -> int:
        """CPUID.01H:EAX; families above 15 and models above 15 spill into the extended fields."""
        family, extended_family = min(self.family, 0xF), max(self.family - 0xF, 0)
        return self.stepping | (self.model & 0xF) << 4 | family << 8 | (self.model >> 4) << 16 | extended_family << 20

    def cpuid(self) -> list[CpuidRow]:
        """All rows. What follows the processor's state (OSXSAVE, APIC ids, XSAVE size in use) is left to it."""
        register = self._register
        vendor = _words(self.vendor, 12)
        hypervisor = _words(self.hypervisor, 12)
        khz = self.tsc_hz // 1000
        rows = [
            CpuidRow(0x0, 0, self.max_leaf, vendor[0], vendor[2], vendor[1]),
            # EBX: CLFLUSH line in units of 8 bytes, one logical processor.
            CpuidRow(
                0x1, 0, self._signature(), (_CACHE_LINE // 8) << 8 | 1 << 16, register("01H:ECX"), register("01H:EDX")
            ),
            CpuidRow(0x6, 0, register("06H:EAX"), 0, 0, 0),
            CpuidRow(0x7, 0, 0, register("07H:EBX"), register("07H:ECX"), register("07H:EDX")),
            CpuidRow(0x15, 0, 1, 1, self.tsc_hz, 0),  # TSC / crystal = EBX / EAX; ECX: crystal in Hz
            CpuidRow(0x16, 0, khz // 1000, khz // 1000, khz // 1000, 0),  # base, maximum and bus MHz
            *(self._amd_rows() if self.vendor == AMD else self._intel_rows()),
            *self._extended_rows(),
        ]
        if self.has("MONITOR"):
            # 64-byte monitor line; C0 and C1 have one sub-state; no extensions, so MWAIT(0, 0) is what guests use.
            rows.append(CpuidRow(0x5, 0, _CACHE_LINE, _CACHE_LINE, 0, 0x11))
        if self.has("XSAVE"):
            rows += self._xsave_rows()
        rows = [row for row in rows if row.leaf <= (self.max_extended_leaf if row.leaf >> 31 else self.max_leaf)]
        if self.has("HYPERVISOR"):
            # 40000010H, EAX and EBX: TSC and APIC timer in kHz, the convention that VMware began.
            rows.append(CpuidRow(0x40000000, 0, 0x40000010, *hypervisor))
            rows.append(CpuidRow(0x40000010, 0, khz, khz, 0, 0))
        return sorted(rows)

    def _cache(self, level: int, kind: str = "unified") -> int:
        """KiB."""
        return next((cache.size >> 10 for cache in self.caches if cache.level == level and cache.type == kind), 0)

    def _intel_rows(self) -> list[CpuidRow]:
        """Caches, and the topology: one thread, one core."""
        return [
            CpuidRow(0x2, 0, *_DESCRIPTORS[self.max_leaf >= 4]),
            *(cache.row(subleaf) for subleaf, cache in enumerate(self.caches)),
            CpuidRow(0xB, 0, 0, 1, 1 << 8 | 0, 0),
            CpuidRow(0xB, 1, 0, 1, 2 << 8 | 1, 0),
        ]

    def _amd_rows(self) -> list[CpuidRow]:
        """The first level's caches, which Intel's processors have in leaf 04H (AMD 24594, 80000005H)."""
        data, code = (self._cache(1, kind) << 24 | 8 << 16 | 1 << 8 | _CACHE_LINE for kind in ("data", "instruction"))
        return [CpuidRow(0x80000005, 0, 0, 0, data, code)]

    def _extended_rows(self) -> list[CpuidRow]:
        brand, l2 = _words(self.brand, _BRAND_SIZE), self._cache(2)
        amd = self.vendor == AMD
        edx = self._register("80000001H:EDX") | (self._register("01H:EDX") & _AMD_REPEATS if amd else 0)
        sizes = self.physical_address_bits | (_LA57_BITS if self.has("LA57") else self.linear_address_bits) << 8
        return [
            CpuidRow(0x80000000, 0, self.max_extended_leaf, 0, 0, 0),
            CpuidRow(0x80000001, 0, self._signature() if amd else 0, 0, self._register("80000001H:ECX"), edx),
            *(CpuidRow(0x80000002 + i, 0, *brand[4 * i : 4 * i + 4]) for i in range(3)),
            CpuidRow(0x80000006, 0, 0, 0, l2 << 16 | 8 << 12 | _CACHE_LINE if l2 else 0, 0),  # 8: 16 ways
            CpuidRow(0x80000007, 0, 0, 0, 0, self._register("80000007H:EDX")),
            CpuidRow(0x80000008, 0, sizes, self._register("80000008H:EBX"), 0, 0),
        ]

    def _xsave_rows(self) -> list[CpuidRow]:
        """Leaf 0DH (SDM volume 1, 13.2): x87 and SSE lie in 512 bytes, then come a header of 64 and the rest."""
        present = [component for component in _XSAVE_COMPONENTS if self.has(component.feature)]
        size = max([512 + 64, *(component.offset + component.size for component in present)])
        rows = [CpuidRow(0xD, 0, 0b11 | sum(1 << component.bit for component in present), size, size, 0)]
        if options := self._register("0DH.1:EAX"):
            rows.append(CpuidRow(0xD, 1, options, 0, 0, 0))
        rows += (CpuidRow(0xD, component.bit, component.size, component.offset, 0, 0) for component in present)
        return rows


def _words(text: str, size: int) -> tuple[int, ...]:
    data = text.encode("ascii").ljust(size, b"\0")
    return tuple(int.from_bytes(data[i : i + 4], "little") for i in range(0, size, 4))


def names() -> list[str]:
    """The models that `load` knows, the default first."""
    files = sorted(path.stem for path in MODELS.glob("*.toml"))
    return [*sorted(files, key=lambda name: (name != "x86-64-v2", name)), HOST]


def load(choice: str) -> CpuModel:
    """The model that `NAME[,+FEATURE|,-FEATURE]...` describes. SpecError: it names the known ones, a feature that no
    model can have, or what the host lacks."""
    name, *changes = choice.split(",")
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    if name == HOST:
        model = host_model(cpuinfo)
    elif name in names():
        model = read(MODELS / f"{name}.toml")
    else:
        raise SpecError(f"unknown CPU model '{name}' (known: {', '.join(names())})")
    flags = _host_flags(cpuinfo)
    if name == MAX:
        model = model.without(_lacking(flags, _BY_THE_HOST))
    for change in changes:
        model = _changed(model, change)
    if missing := [feature for feature in _lacking(flags, _BY_THE_HOST) if model.has(feature)]:
        raise SpecError(f"CPU model '{choice}' needs {', '.join(missing)}, which this host lacks")
    for feature, base in unfounded(model):
        raise SpecError(f"CPU model '{choice}': {feature} needs {base}")
    return model


def unfounded(model: CpuModel) -> Iterator[tuple[str, str]]:
    """Features that the model has without one that they need, and that one."""
    for feature, bases in _BUILDS_ON.items():
        if model.has(feature):
            yield from ((feature, base) for base in bases if not model.has(base))


def _host_flags(cpuinfo: str) -> set[str]:
    line = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())


def _lacking(flags: set[str], features: Iterable[str]) -> list[str]:
    """Those that the host lacks, and those that it lacks a condition of."""
    lacking = [feature for feature in features if _LINUX_FLAG.get(feature, feature.lower()) not in flags]
    return lacking + [feature for feature in _NEEDS_AVX if "AVX" in lacking and feature not in lacking]


def _changed(model: CpuModel, change: str) -> CpuModel:
    feature = change[1:].upper()
    register = next((register for register, known in FEATURES.items() if feature in known), None)
    if change[:1] not in ("+", "-") or register is None:
        raise SpecError(f"CPU model '{model.name}': '{change}' is not +FEATURE or -FEATURE of a known feature")
    if change.startswith("-"):
        return model.without(_and_what_builds_on({feature}))
    if model.generation < _WITH_CPUID:
        raise SpecError(f"CPU model '{model.name}' can have no {change}: it has no CPUID")
    full = read(MODELS / f"{MAX}.toml")
    if not full.has(feature):
        raise SpecError(f"CPU model '{model.name}': the processor does not implement {feature}")
    present = model.features.get(register, frozenset()) | {feature}
    leaf = int(register.partition("H")[0], 16)
    last = {"max_extended_leaf" if leaf >> 31 else "max_leaf": leaf}
    raised = {key: max(value, getattr(model, key)) for key, value in last.items()}
    return replace(model, features={**model.features, register: present}, **raised)


def _and_what_builds_on(features: set[str]) -> set[str]:
    above = {feature for feature, bases in _BUILDS_ON.items() if features.intersection(bases)}
    return features if above <= features else _and_what_builds_on(features | above)


def read(path: Path, *, may_have_base: bool = True) -> CpuModel:
    """A model from a file; SpecError names file and key when something in it is wrong."""
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: {error}") from None
    base = None
    if may_have_base and "base" in table:
        base = read(path.with_name(f"{_take(path, table, 'base', str)}.toml"), may_have_base=False)
    try:
        model = _model(path, table, base)
        model.cpuid()
    except UnicodeEncodeError:
        raise SpecError(f"{path}: vendor, brand and hypervisor must be ASCII") from None
    if table:
        raise SpecError(f"{path}: unknown key '{next(iter(table))}'")
    return model


def _take(path: Path, table: dict[str, Any], key: str, kind: type, default: Any = None) -> Any:
    value = table.pop(key, default)
    if value is None:
        raise SpecError(f"{path}: key '{key}' is missing")
    if not isinstance(value, kind) or isinstance(value, bool):
        raise SpecError(f"{path}: key '{key}' must be {kind.__name__}, not {value!r}")
    return value


def _model(path: Path, table: dict[str, Any], base: CpuModel | None) -> CpuModel:
    def number(key: str, maximum: int, minimum: int = 0, default: int | None = None) -> int:
        value: int = _take(path, table, key, int, getattr(base, key, default))
        if not minimum <= value <= maximum:
            raise SpecError(f"{path}: key '{key}' is {value}, not {minimum} to {maximum}")
        return value

    def text(key: str, maximum: int) -> str:
        value: str = _take(path, table, key, str, getattr(base, key, None))
        if len(value) > maximum:
            raise SpecError(f"{path}: key '{key}' is longer than {maximum} characters")
        return value

    features = dict(base.features) if base else {}
    for register, wanted in _take(path, table, "features", dict, {}).items():
        if register not in FEATURES:
            raise SpecError(f"{path}: features: unknown register '{register}' (known: {', '.join(FEATURES)})")
        features[register] = features.get(register, frozenset()) | _known(
            path, f"features.{register}", wanted, FEATURES[register]
        )
    capabilities = _take(path, table, "arch_capabilities", dict, {})
    wanted = capabilities.pop("set", [])
    if capabilities:
        raise SpecError(f"{path}: unknown key 'arch_capabilities.{next(iter(capabilities))}'")
    known = _known(path, "arch_capabilities.set", wanted, ARCH_CAPABILITIES)
    generation = number("generation", _GENERATIONS[-1], default=_GENERATIONS[-1])
    if generation not in _GENERATIONS:
        raise SpecError(f"{path}: key 'generation' is {generation}, not one of {', '.join(map(str, _GENERATIONS))}")
    return CpuModel(
        name=path.stem,
        summary=text("summary", 200),
        vendor=text("vendor", 12),
        generation=generation,
        family=number("family", 0xF + 0xFF),
        model=number("model", 0xFF),
        stepping=number("stepping", 0xF),
        brand=text("brand", _BRAND_SIZE - 1),
        max_leaf=number("max_leaf", 0x16, default=0x16),
        max_extended_leaf=number("max_extended_leaf", 0x80000008, default=0x80000008),
        physical_address_bits=number("physical_address_bits", 52, 32),
        linear_address_bits=number("linear_address_bits", 48, 48),
        tsc_hz=number("tsc_hz", 2**32 - 1, 10**6),
        hypervisor=text("hypervisor", 12),
        features=features,
        arch_capabilities=known | (base.arch_capabilities if base else frozenset()),
        caches=_caches(path, table) or (base.caches if base else ()),
    )


def _known(path: Path, key: str, wanted: object, table: Mapping[str, int]) -> frozenset[str]:
    if not isinstance(wanted, list):
        raise SpecError(f"{path}: {key} must be a list of names")
    for name in wanted:
        if name not in table:
            raise SpecError(f"{path}: {key}: unknown name {name!r}")
    return frozenset(wanted)


def _caches(path: Path, table: dict[str, Any]) -> tuple[Cache, ...]:
    caches = []
    for entry in _take(path, table, "caches", list, []):
        level, ways = _take(path, entry, "level", int), _take(path, entry, "ways", int)
        text, kind = _take(path, entry, "size", str), _take(path, entry, "type", str)
        try:
            size = parse_size(text)
        except SpecError as error:
            raise SpecError(f"{path}: caches: '{text}': {error}") from None
        if kind not in _CACHE_TYPES or not 1 <= level <= 7 or ways < 1 or size % (ways * _CACHE_LINE) or entry:
            raise SpecError(f"{path}: caches: level {level}, type '{kind}', size {text}, ways {ways} is no cache")
        caches.append(Cache(level, kind, size, ways))
    return tuple(caches)


def host_model(cpuinfo: str) -> CpuModel:
    """`max` without what the host lacks, under the host's own vendor, family, model and brand string."""
    full = read(MODELS / f"{MAX}.toml")
    host: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        host.setdefault(key.strip(), value.strip())
    if "flags" not in host or "vendor_id" not in host:
        raise SpecError("CPU model 'host': /proc/cpuinfo does not show an x86 processor")
    flags = set(host["flags"].split())

    def shown(feature: str) -> bool:
        return feature in _OURS or _LINUX_FLAG.get(feature, feature.lower()) in flags

    number = functools.partial(_host_number, host)
    return replace(
        full,
        name=HOST,
        summary="what this host has, of what the processor implements",
        vendor=host["vendor_id"][:12],
        family=number("cpu family", 0xF + 0xFF),
        model=number("model", 0xFF),
        stepping=number("stepping", 0xF),
        brand=host.get("model name", full.brand)[: _BRAND_SIZE - 1].encode("ascii", "replace").decode(),
        features={register: frozenset(filter(shown, names)) for register, names in full.features.items()},
    )


def _host_number(host: Mapping[str, str], key: str, maximum: int) -> int:
    text = host.get(key, "")
    if not text.isdecimal() or int(text) > maximum:
        raise SpecError(f"CPU model 'host': /proc/cpuinfo has '{key}: {text}'")
    return int(text)
