"""What CPUID tells of the other processors of the package."""

from __future__ import annotations

import pytest
from rootmode import configuration, ffi, lib


def cpuid(model: str, cpus: int, index: int, leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    config = configuration(model, cpus=cpus)
    arena = lib.arena_create(1 << 20)
    cpu = lib.processor_create(arena, config, index)
    out = ffi.new("struct cpuid_leaf *")
    lib.processor_cpuid(cpu, leaf, subleaf, out)
    lib.processor_destroy(cpu)
    lib.arena_destroy(arena)
    return out.eax, out.ebx, out.ecx, out.edx


@pytest.mark.parametrize(
    ("cpus", "bits", "core_ids"), [(1, 0, 0), (2, 1, 1), (3, 2, 3), (8, 3, 7), (64, 6, 63), (254, 8, 63)]
)
def test_one_package_of_cores(cpus: int, bits: int, core_ids: int) -> None:
    last = cpus - 1
    _, ebx, _, edx = cpuid("x86-64-v2", cpus, last, 1)
    assert (ebx >> 24, ebx >> 16 & 0xFF, edx >> 28 & 1) == (last, cpus, int(cpus > 1))
    assert cpuid("x86-64-v2", cpus, last, 4)[0] >> 26 == core_ids
    assert cpuid("x86-64-v2", cpus, last, 4, 7)[0] == 0, "no cache"
    assert cpuid("x86-64-v2", cpus, last, 0xB) == (0, 1, 0x100, last)
    assert cpuid("x86-64-v2", cpus, last, 0xB, 1) == (bits, cpus, 0x201, last)
    assert cpuid("x86-64-v2", cpus, last, 0xB, 5) == (0, 0, 5, last)


def test_amd_tells_it_in_leaves_of_its_own() -> None:
    assert cpuid("zen", 6, 1, 0x80000008)[2] == 3 << 12 | 5
    assert cpuid("zen", 6, 1, 0x80000001)[2] & 2
    assert cpuid("zen", 1, 0, 0x80000008)[2] == 0


def test_the_first_is_the_bootstrap_processor() -> None:
    config = configuration("max", cpus=2)
    arena = lib.arena_create(1 << 20)
    pair = [lib.processor_create(arena, config, index) for index in range(2)]
    base = ffi.new("uint64_t *")
    bases = [lib.msr_read(cpu, 0x1B, base) and int(base[0]) for cpu in pair]
    assert bases == [0xFEE00900, 0xFEE00800]
    for cpu in pair:
        lib.processor_destroy(cpu)
    lib.arena_destroy(arena)
