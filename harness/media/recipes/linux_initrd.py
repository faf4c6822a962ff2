"""`linux-initrd`: an initial RAM disk of busybox, an init script and, if wanted, kernel modules.

Inputs: `busybox`, a static program; `init`, a script for its shell; with modules `linux`, the Debian package that the
kernel is from. Parameters: `modules`, names of kernel modules. These and those that they depend on are the files
`modules/NUMBER-NAME.ko`, numbered in an order in which they can be loaded. The result is an uncompressed cpio archive.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from bringup.harness.media.cpio import CpioArchive
from bringup.harness.media.debian.deb import open_files
from bringup.harness.media.recipes import RecipeError, known, needed
from bringup.harness.media.store import WrongContentError

VERSION = 1
_MODULE = re.compile(r"(?:usr/)?lib/modules/.*/([^/]+)\.ko")
_DEPENDS = re.compile(rb"\0depends=([^\0]*)\0")
"""In the section .modinfo, texts that end in 0 one after the other (Linux, scripts/mod/modpost.c)."""


def make(inputs: Mapping[str, Path], parameters: Mapping[str, str], output: BinaryIO) -> None:
    """Writes the archive."""
    known(parameters, "modules")
    modules = parameters.get("modules", "").split()
    busybox, init, *package = needed(inputs, "busybox", "init", *(("linux",) if modules else ()))
    archive = CpioArchive()
    archive.character_device("dev/console", 5, 1)  # process 1's standard streams, before init has mounted /dev
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.file("init", init.read_bytes(), 0o755)
    if modules:
        _add_modules(archive, package[0], modules)
    output.write(archive.to_bytes())


def _add_modules(archive: CpioArchive, package: Path, wanted: list[str]) -> None:
    try:
        # Twice through the package: all of its modules are more than a small machine has memory for.
        needs = {name: _needs(content) for name, content in _modules(package)}
        order = _in_order(wanted, needs)
        found = {name: content for name, content in _modules(package) if name in order}
    except WrongContentError as error:
        raise RecipeError(f"linux: {error}") from None
    for number, name in enumerate(order):
        archive.file(f"modules/{number:02}-{name}.ko", found[name])


def _modules(package: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of each module of the package, spelled with `_` as the kernel has it."""
    with open_files(package) as files:
        for path, content in files:
            if match := _MODULE.fullmatch(path):
                yield match[1].replace("-", "_"), content.read()


def _needs(module: bytes) -> list[str]:
    """The modules that must be loaded before this one."""
    match = _DEPENDS.search(module)
    names = match[1].decode("latin-1").split(",") if match else []
    return [name.replace("-", "_") for name in names if name]


def _in_order(wanted: list[str], needs: Mapping[str, list[str]]) -> list[str]:
    """These modules and those that they need, each after what it needs."""
    order: list[str] = []

    def add(name: str, above: tuple[str, ...]) -> None:
        chain = " for ".join((name, *reversed(above)))
        if name in above:
            raise RecipeError(f"modules: {chain}: needs itself")
        if name not in needs:
            raise RecipeError(f"modules: {chain}: the package has no such module")
        if name not in order:
            for needed_first in needs[name]:
                add(needed_first, (*above, name))
            order.append(name)

    for name in wanted:
        add(name.replace("-", "_"), ())
    return order
