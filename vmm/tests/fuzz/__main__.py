"""`python -m fuzz [--seconds N] [--jobs N] [TARGET...]`: the targets in C with clang's libFuzzer, AddressSanitizer and
UndefinedBehaviorSanitizer, from the inputs in corpus.txt; those in Python (pure.py) with Atheris, which is libFuzzer,
too. What it finds stays in build/fuzz."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bringup.vmm import cpumodel
from bringup.vmm.core import _core

from . import pure

HERE = Path(__file__).parent
CORE = HERE.parent.parent / "core"
BUILD = Path("build/fuzz").absolute()
# Each target and its source; a row of chips.c's table is a target, too.
TARGETS = {name: name for name in ("decode", "step", "dma", "fdc", "i8042", "ide", "vga", "board")}
TARGETS |= dict.fromkeys(re.findall(r"^    CHIP\((\w+)", (HERE / "chips.c").read_text(), re.MULTILINE), "chips")
# The folder of the core that a source is about.
FOLDERS = {source: "processor" if source in ("decode", "step") else "chipset" for source in TARGETS.values()}
# What each folder's objects need; the processor keeps its state by the chipset's snapshot.c.
LINKED = {"processor": ("processor", "chipset"), "chipset": ("chipset",)}
# As build.py's sanitized core; the fuzzer wants coverage of it all.
FLAGS = ["-std=gnu11", "-O1", "-g", "-fno-strict-aliasing", "-mno-red-zone", "-UNDEBUG", "-DBRINGUP_LOOP_DISPATCH",
         "-fno-omit-frame-pointer", "-fsanitize=fuzzer-no-link,address,undefined", "-fno-sanitize-recover=undefined",
         "-Wno-everything", f"-I{CORE}"]  # fmt: skip


def corpus() -> dict[str, list[tuple[str, bytes]]]:
    """The inputs of corpus.txt by target: lines of `target name bytes`, in hexadecimal."""
    inputs: dict[str, list[tuple[str, bytes]]] = {target: [] for target in TARGETS}
    for line in (HERE / "corpus.txt").read_text().splitlines():
        text = line.partition("#")[0].split(maxsplit=2)
        if text:
            inputs[text[0]].append((text[1], bytes.fromhex(text[2])))
    return inputs


def configuration() -> bytes:
    """A `struct machine_config` of the max model."""
    model = cpumodel.load("max")
    rows = model.cpuid()
    config = _core.ffi.new("struct machine_config *", {"cpus": 1, "seed": 1, "cpuid_count": len(rows)})
    config.arch_capabilities = model.arch_capabilities_value()
    for index, row in enumerate(rows):
        config.cpuid[index] = row
    return bytes(_core.ffi.buffer(config))


def build(clang: str, wanted: set[str]) -> None:
    """Compiles the sources that changed, and links the targets that these sources are."""
    objects = BUILD / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    newest = max(header.stat().st_mtime for header in [*CORE.rglob("*.h"), *HERE.glob("*.h")])
    folders = sorted({linked for source in wanted for linked in LINKED[FOLDERS[source]]})
    sources = [path for folder in folders for path in sorted((CORE / folder).glob("*.c"))]
    sources += [HERE / f"{source}.c" for source in sorted(wanted)]

    def compile_one(source: Path) -> Path:
        target = objects / f"{source.parent.name}-{source.stem}.o"
        if not target.exists() or target.stat().st_mtime < max(newest, source.stat().st_mtime):
            subprocess.run([clang, *FLAGS, "-c", "-o", target, source], check=True)
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made = list(pool.map(compile_one, sources))
    for source in wanted:
        shared = [target for target in made if target.name.partition("-")[0] in LINKED[FOLDERS[source]]]
        parts = [BUILD / source, objects / f"fuzz-{source}.o", *shared]
        subprocess.run([clang, "-fsanitize=fuzzer,address,undefined", "-o", *map(str, parts)], check=True)


def found(name: str) -> set[Path]:
    return {path for kind in ("crash", "timeout", "oom") for path in BUILD.glob(f"{name}-{kind}-*")}


def fuzz(name: str, seconds: int, jobs: int) -> int:
    """0 when nothing was found."""
    inputs = BUILD / f"{name}-inputs"
    inputs.mkdir(parents=True, exist_ok=True)
    settings = [f"-max_total_time={seconds}", "-max_len=546", "-timeout=10", "-print_final_stats=1",
                f"-artifact_prefix={BUILD}/{name}-"]  # fmt: skip
    if name in pure.TARGETS:
        program = [sys.executable, "-m", "fuzz.pure", name, "-rss_limit_mb=1024"]
    else:
        program = [str(BUILD / TARGETS[name]), f"-fork={jobs}", "-print_funcs=0"]
        for label, data in corpus()[name]:
            (inputs / label).write_bytes(data)
    os.environ["FUZZ_CONFIGURATION"] = str(BUILD / "configuration")
    os.environ["FUZZ_CHIP"] = name
    os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=0")
    before = found(name)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:  # libFuzzer's end leaves no time to tidy up
        environment = {**os.environ, "TMPDIR": folder}
        status = subprocess.run([*program, *settings, inputs], env=environment).returncode
    for path in sorted(found(name) - before):
        print(f"fuzz: {name} failed on {path}", file=sys.stderr)
        status = status or 1
    return status


def main() -> int:
    known = [*TARGETS, *pure.TARGETS]
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(known)} (default: all)")
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(known):
        parser.error(f"there is no target {sorted(unknown)[0]!r}; there are {', '.join(known)}")
    names = arguments.targets or known
    if sources := {TARGETS[name] for name in names if name in TARGETS}:
        clang = shutil.which("clang")
        if clang is None:
            print("fuzz: clang is not installed (Debian: apt-get install clang)", file=sys.stderr)
            return 2
        build(clang, sources)
        (BUILD / "configuration").write_bytes(configuration())
    if set(names) & set(pure.TARGETS) and importlib.util.find_spec("atheris") is None:
        print("fuzz: atheris is not installed (pip install atheris)", file=sys.stderr)
        return 2
    return max(fuzz(name, arguments.seconds, arguments.jobs) for name in names)


if __name__ == "__main__":
    sys.exit(main())
