"""`linux-initrd`: an initial RAM disk of busybox and an init script.

Inputs: `busybox`, a static program; `init`, a script for its shell. The result is an uncompressed cpio archive.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from bringup.harness.media.cpio import CpioArchive
from bringup.harness.media.recipes import known, needed

VERSION = 1


def make(inputs: Mapping[str, Path], parameters: Mapping[str, str], output: BinaryIO) -> None:
    """Writes the archive."""
    known(parameters)
    busybox, init = needed(inputs, "busybox", "init")
    archive = CpioArchive()
    archive.character_device("dev/console", 5, 1)  # process 1's standard streams, before init has mounted /dev
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    archive.file("init", init.read_bytes(), 0o755)
    output.write(archive.to_bytes())
