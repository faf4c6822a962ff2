"""The guest programs as files: which sources make an image, how gcc builds it, where it is.

A wheel carries the images (setup.py builds them with what is in this file, so nothing here imports the package). In a
source tree they are built on first use and kept in the cache by content: sources, flags and compiler.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "guest"
PREBUILT = Path(__file__).parent / "images"

FLAGS = (
    "-std=gnu11 -O2 -march={march} -mtune=generic -ffreestanding -nostdlib -mgeneral-regs-only -Wall -Wextra -Wno-main "
    "-fno-stack-protector -fno-asynchronous-unwind-tables -fcf-protection=none -fno-pie -fno-toplevel-reorder "
    "-fno-optimize-sibling-calls -fno-strict-aliasing -fno-tree-loop-distribute-patterns -fno-ipa-icf -mno-red-zone "
    "-mstringop-strategy=loop"
)
LINK_FLAGS = "-nostdlib -static -no-pie -Wl,--build-id=none,--no-warn-rwx-segments,-z,max-page-size=4096"


class ImageError(Exception):
    """An image that cannot be built or is not there; the message is one line."""


@dataclass(frozen=True)
class Program:
    """An image: `lib` and all sources of `folder`, in the order in which their behaviours run."""

    name: str
    title: str
    folder: str
    bits: int
    march: str
    themes: tuple[str, ...]

    def source(self, theme: str) -> Path:
        """The file of a theme."""
        return SOURCES / self.folder / f"{theme}.c"

    @property
    def sources(self) -> list[Path]:
        """Of what is common first; files of themes in their order."""
        lib = sorted(path for path in (SOURCES / "lib").iterdir() if path.suffix in (".c", ".S"))
        return [*lib, *map(self.source, self.themes)]

    @property
    def flags(self) -> list[str]:
        """Of gcc, for each source."""
        return [f"-m{self.bits}", f"-I{SOURCES / 'lib'}", *FLAGS.format(march=self.march).split()]


PROGRAMS = (
    Program(
        "cpu32",
        "protected mode",
        "",
        32,
        "i686",
        (
            "exceptions",
            "descriptors",
            "transfers",
            "paging",
            "tasks",
            "v86",
            "debug",
            "strings",
            "lock",
            "cpuid",
            "msr",
            "interrupts",
            "time",
            "mmio",
            "ioapic",
            "apic",
            "a20",
            "endings",
        ),
    ),
)


def build(program: Program, output: Path) -> None:
    """Compiles and links an image: an ELF file of 32 bits, as multiboot loaders want it, with a 64-bit program too."""
    with tempfile.TemporaryDirectory(dir=output.parent) as temporary:
        folder = Path(temporary)

        def compile_one(source: Path) -> str:
            target = folder / f"{source.parent.name}-{source.name}.o"
            theme = [f'-DTHEME="{source.stem}"']
            _run(["gcc", *program.flags, *theme, "-c", "-o", str(target), str(source)], f"on {source.name}")
            return str(target)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_one, program.sources))
        linked, converted = folder / "linked", folder / "converted"
        script = f"-Wl,-T,{SOURCES / 'lib' / 'image.ld'}"
        _run(["gcc", f"-m{program.bits}", *LINK_FLAGS.split(), script, "-o", str(linked), *objects], "on linking")
        _run(["objcopy", "--strip-all", "-O", "elf32-i386", str(linked), str(converted)], f"on {program.name}")
        converted.chmod(0o644)
        converted.rename(output)  # in one step: another process sees all of it or nothing


def image(program: Program, cache: Path) -> Path:
    """The image's file: the wheel's, or one built now, or before, into the folder `cache`."""
    prebuilt = PREBUILT / f"{program.name}.elf"
    if prebuilt.exists():
        return prebuilt
    content = hashlib.sha256()
    for part in (str(program), FLAGS, LINK_FLAGS, _run(["gcc", "--version"], "to tell its version")):
        content.update(part.encode() + b"\0")
    for path in sorted((*program.sources, *(SOURCES / "lib").glob("*.h"), SOURCES / "lib" / "image.ld")):
        content.update(f"{path.name}\0".encode() + path.read_bytes())
    path = cache / f"{program.name}-{content.hexdigest()[:32]}.elf"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        build(program, path)
    return path


def _run(command: list[str], doing: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except FileNotFoundError:
        raise ImageError(f"{command[0]}, which builds the guest programs, is not installed") from None
    if done.returncode:
        reason = next(
            (line for line in done.stderr.splitlines() if "rror" in line or "undefined" in line),
            f"status {done.returncode}",
        )
        raise ImageError(f"{command[0]} failed {doing}: {reason}")
    return done.stdout
