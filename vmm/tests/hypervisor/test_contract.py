"""The hypervisor knows the processor by VT-x alone: vmx.h and emulate.h. Its object files are asked, by nm."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bringup.vmm.core import _core

CORE = Path(__file__).parents[2] / "core"
HYPERVISOR = sorted((CORE / "hypervisor").glob("*.c"))
LIBC = {"calloc", "free", "memcpy", "memset", "snprintf", "vsnprintf", "__stack_chk_fail"}
CONSTANTS = "processor/bits.h"  # architectural bits by their SDM names, and nothing else


def declared(header: str) -> set[str]:
    """The functions that a header declares."""
    text = re.sub(r"/\*.*?\*/", "", (CORE / header).read_text(), flags=re.DOTALL)
    return set(re.findall(r"\b(\w+)\([^;{}]*\);", text))


def symbols(obj: Path, *options: str) -> set[str]:
    output = subprocess.run(["nm", "--format=posix", *options, obj], check=True, capture_output=True, text=True).stdout
    return {line.split()[0] for line in output.splitlines()}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("objects")
    flags = ["-std=gnu11", "-O2", "-fno-strict-aliasing", "-c"]
    for source in HYPERVISOR:
        subprocess.run(["gcc", *flags, "-o", folder / f"{source.stem}.o", source], check=True)
    return sorted(folder.iterdir())


def test_object_files_reference_only_the_contract(objects: list[Path]) -> None:
    own = set().union(*(symbols(obj, "--defined-only") for obj in objects))
    wanted = set().union(*(symbols(obj, "--undefined-only") for obj in objects)) - own
    allowed = (
        declared("vmx.h") | declared("emulate.h") | declared("chipset/board.h") | declared("chipset/snapshot.h") | LIBC
    )
    assert wanted <= allowed, wanted - allowed
    assert {"vmx_launch", "vmx_resume", "emulate_instruction", "board_io_write"} <= wanted


def test_sources_include_only_the_contract() -> None:
    allowed = {"../accel.h", "chipset/board.h", "memory_map.h", "chipset/snapshot.h", "emulate.h", "guest.h", "sdm.h"}
    allowed |= {CONSTANTS, f"../{CONSTANTS}"}
    files = [*HYPERVISOR, *(CORE / "hypervisor").glob("*.h"), CORE / "accel.h"]
    included = {name for file in files for name in re.findall(r'#include "([^"]+)"', file.read_text())}
    assert included <= allowed, included - allowed


def test_constants_are_constants() -> None:
    lines = re.sub(r"/\*.*?\*/", "", (CORE / CONSTANTS).read_text(), flags=re.DOTALL).splitlines()
    assert [line for line in lines if line.strip() and not line.startswith(("#define ", "#ifndef ", "#endif"))] == []


def test_both_sides_give_vmcs_components_the_same_names() -> None:
    """sdm.h and the processor's field table state the SDM's appendix B independently of each other."""
    lib, ffi, names = _core.lib, _core.ffi, {}
    encoding, number = lib.vmcs_field_encoding(0), 0
    while encoding != lib.VMCS_NO_FIELD:
        # Of an array's or the segments' components sdm.h names the first.
        name = ffi.string(lib.vmcs_field_name(encoding)).decode()
        names[encoding] = name.replace("_es_", "_").removesuffix("[0]").upper()
        number += 1
        encoding = lib.vmcs_field_encoding(number)
    text = (CORE / "hypervisor" / "sdm.h").read_text()
    components = re.findall(r"^    ([A-Z]\w+) = (0x[0-9a-f]{4})\b", text, flags=re.MULTILINE)
    assert len(components) > 50
    assert {name: names.get(int(number, 16)) for name, number in components} == {name: name for name, _ in components}
