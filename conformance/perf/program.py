"""The guest programs: what they run, how they are built and how Linux gets theirs.

They are compiled by the machine's gcc with fixed flags and kept by content (source, flags and compiler) in the cache.
"""

import hashlib
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bringup.conformance.perf.errors import PerfError
from bringup.harness.media.cpio import CpioArchive
from bringup.harness.media.store import cache_root, disk_errors

SOURCES = Path(__file__).parent / "guest"

# The baseline of x86-64 and none of what distributions switch on, so that the same gcc gives the same instructions.
INIT_FLAGS = (
    "-std=gnu11 -O2 -march=x86-64 -mtune=generic -ffreestanding -fno-tree-vectorize -fno-optimize-sibling-calls "
    "-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -fno-pie -no-pie -nostdlib -static "
    "-Wl,--build-id=none"
)
BOARD_FLAGS = (
    "-m32 -std=gnu11 -O2 -march=i686 -mtune=generic -mgeneral-regs-only -ffreestanding -fno-stack-protector "
    "-fno-tree-loop-distribute-patterns -fno-asynchronous-unwind-tables -fcf-protection=none -fno-pie -no-pie "
    "-nostdlib -static -Wl,--build-id=none,--oformat=binary,-T,board.ld"
)
FIRST_FLAGS = "-nostdlib -static -no-pie -Wl,--oformat=binary,--entry=0,-Ttext=0,--build-id=none"


@dataclass(frozen=True)
class Workload:
    """One measured loop of a guest program, and how often it is gone through."""

    name: str
    title: str
    units: int

    @property
    def argument(self) -> str:
        """What the guest program takes to run it."""
        return f"{self.name}:{self.units}"


# Of guest/init.c: some 10^8 instructions each, more where REP makes them cheap.
WORKLOADS = (
    Workload("crc", "CRC-32 by a table", 3_000),
    Workload("call", "call and return", 10_000),
    Workload("movs", "rep movs", 60_000),
    Workload("sse2", "SSE2", 32_000),
    Workload("x87", "x87", 64_000),
    Workload("syscall", "syscall", 400_000),
)


def workload(name: str) -> Workload:
    """The workload of this name; PerfError names the known ones when there is none."""
    for candidate in WORKLOADS:
        if candidate.name == name:
            return candidate
    raise PerfError(f"no workload is called {name!r}; there are {', '.join(each.name for each in WORKLOADS)}")


def build_init() -> Path:
    """The program of all workloads, an executable that runs as /init and on the host alike."""
    return _build(["init.c"], INIT_FLAGS)


def build_first() -> Path:
    """The kernel that says only that its first instruction runs."""
    return _build(["first.S"], FIRST_FLAGS)


def build_board() -> Path:
    """The first sectors of a disk: a boot sector and the program that it starts."""
    return _build(["boot_sector.S", "board.c"], BOARD_FLAGS)


def _gcc(arguments: Sequence[str], doing: str) -> str:
    try:
        done = subprocess.run(["gcc", *arguments], capture_output=True, text=True, errors="replace", cwd=SOURCES)
    except FileNotFoundError:
        raise PerfError("gcc, which compiles the guest programs, is not installed") from None
    if done.returncode:
        reason = next((line for line in done.stderr.splitlines() if "rror" in line), f"status {done.returncode}")
        raise PerfError(f"gcc failed {doing}: {reason}")
    return done.stdout


def _build(names: Sequence[str], flags: str) -> Path:
    """`names` are files of SOURCES; the last one gives the program its name."""
    shared = sorted(path for path in SOURCES.iterdir() if path.suffix in (".h", ".ld"))
    files = [SOURCES / name for name in names] + shared
    content = [
        *(path.read_bytes() for path in files),
        flags.encode(),
        _gcc(["--version"], "to tell its version").encode(),
    ]
    key = hashlib.sha256(b"\0".join(content)).hexdigest()
    path = cache_root() / "perf" / f"{Path(names[-1]).stem}-{key[:32]}"
    if not path.exists():
        with disk_errors(f"compiling {names[-1]}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                output = Path(folder).absolute() / names[-1]
                _gcc([*flags.split(), "-o", str(output), *names], f"on {names[-1]}")
                output.rename(path)  # in one step: another process sees all of it or nothing
    return path


def initrd() -> bytes:
    """The initial RAM disk whose /init is the program of all workloads."""
    archive = CpioArchive()
    archive.character_device("dev/console", 5, 1)  # process 1's standard output
    archive.file("init", build_init().read_bytes(), 0o755)
    return archive.to_bytes()


def append(base: str, workloads: Iterable[Workload]) -> str:
    """The kernel command line: Linux hands what stands after `--` to /init."""
    return " ".join([base, "--", *(each.argument for each in workloads)])
