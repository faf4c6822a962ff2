"""Which boot protocol a kernel wants, by its content."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from . import BootError, BrokenError, Image, linux, map_file, multiboot

GZIP = b"\x1f\x8b"  # RFC 1952, 2.3.1
ELF = b"\x7fELF"


class Boot(Protocol):
    """A guest that can be put into a machine any number of times."""

    def image(self, memory: int, cpus: int = 1) -> Image:
        """What to load into a machine of `memory` bytes and `cpus` vCPUs; BootError when it cannot be booted there."""


def recognise(kernel: Path, initrd: str | None, append: str) -> Boot:
    """The protocol for `--kernel`; `initrd` is a file to Linux, and a list of modules to a multiboot kernel."""
    data = map_file(kernel, "kernel")
    if linux.is_kernel(data):
        return linux.LinuxBoot(kernel, Path(initrd) if initrd is not None else None, append)
    if multiboot.find_header(data) is not None:
        return multiboot.MultibootBoot(kernel, multiboot.parse_modules(initrd or ""), append)
    if multiboot.is_multiboot2(data):
        raise BootError(f"the kernel {kernel} is a multiboot 2 image: only multiboot 1 is booted")
    if bytes(data[:2]) == GZIP:
        raise BootError(f"the kernel {kernel} is packed with gzip: unpack it first")
    refusal = BootError if bytes(data[:4]) == ELF else BrokenError  # another VMM may start an ELF file
    raise refusal(f"the kernel {kernel} is neither a Linux bzImage nor a multiboot image")
