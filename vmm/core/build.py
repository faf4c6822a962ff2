"""The cffi builder of `bringup.vmm.core._core`: the headers that Python sees and every C file of the core.

BRINGUP_SANITIZE=1 builds it with AddressSanitizer and UndefinedBehaviorSanitizer; the interpreter that imports it
then needs libasan preloaded (`tox -e asan` does that).
"""

import os
import re
from pathlib import Path

from cffi import FFI

CORE = Path(os.path.relpath(Path(__file__).parent))  # setuptools wants paths relative to setup.py, its working folder
HEADERS = ("chipset/storage.h", "chipset/network.h", "machine.h", "vmx.h", "emulate.h", "chipset/map.h")
# What the core calls in Python: machine_config's `transfer` (vmm/drives.py) and `network` (vmm/network.py).
CALLBACKS = """
extern "Python" int machine_storage_transfer(void *context, unsigned drive, uint64_t offset, void *data, uint32_t bytes,
                                             uint32_t write);
extern "Python" void machine_network_transmit(void *context, const void *frame, uint32_t size);
"""
FOLDERS = (".", "processor", "hypervisor", "chipset")

# The interpreter's handlers call from inline assembly (processor/memory.h): nothing may live below the stack pointer.
C_FLAGS = ["-std=gnu11", "-Wall", "-Wextra", "-fno-strict-aliasing", "-fvisibility=hidden", "-mno-red-zone", "-g"]
# For the hundred bytes or so that hot paths copy or clear GCC takes REP MOVS and REP STOS, which take long to start.
STRING_STRATEGY = "unrolled_loop:512:noalign,libcall:-1:noalign"
# Most handlers fit into one cache line: where they begin in it would else decide about some rows of the speed table.
RELEASE = ["-O2", "-fcf-protection=none", "-falign-functions=64"]
RELEASE += [f"-mmemcpy-strategy={STRING_STRATEGY}", f"-mmemset-strategy={STRING_STRATEGY}"]
# -fwrapv, which Python's own flags bring, would define the signed overflows that are to be found; asserts are kept; an
# instrumented handler cannot end in a tail call.
SANITIZE = ["-O1", "-UNDEBUG", "-fno-wrapv", "-fno-omit-frame-pointer", "-U_FORTIFY_SOURCE", "-DBRINGUP_LOOP_DISPATCH"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


def declarations(header: str) -> str:
    """A header as cffi's cdef takes it: without comments, #include and include guard; `#define NAME number` stays."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.DOTALL)
    number = re.compile(r"#\s*define\s+\w+\s+-?(0[xX][0-9a-fA-F]+|\d+)[uUlL]*\s*$")
    return "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#") or number.match(line))


def sources() -> list[str]:
    """Every C file of the core; raises SystemExit when there is none."""
    found = sorted(str(path) for folder in FOLDERS for path in (CORE / folder).glob("*.c"))
    if not found:
        raise SystemExit(f"{CORE}: no C source in {', '.join(FOLDERS)}: nothing to build")
    return found


def builder() -> FFI:
    """What setup.py's `cffi_modules` asks for."""
    sanitize = os.environ.get("BRINGUP_SANITIZE", "0") not in ("", "0")
    ffi = FFI()
    for name in HEADERS:
        ffi.cdef(declarations((CORE / name).read_text()))
    ffi.cdef(CALLBACKS)
    ffi.set_source(
        "bringup.vmm.core._core",
        "\n".join(f'#include "{name}"' for name in HEADERS),
        sources=sources(),
        depends=sorted(str(path) for path in CORE.rglob("*.h")),
        include_dirs=[str(CORE)],
        extra_compile_args=C_FLAGS + (SANITIZE + SANITIZERS if sanitize else RELEASE),
        extra_link_args=SANITIZERS if sanitize else [],
    )
    return ffi
