"""`gunzip`: what a gzip file (RFC 1952) holds, such as a kernel that only a boot loader would unpack.

Inputs: one, of any role. There are no parameters.
"""

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from bringup.harness.media.recipes import RecipeError, known

VERSION = 1
MOST = 1 << 30
"""Bytes that come out at most: a few kilobytes can hold more than a disk has room for."""
_PIECE = 1 << 20


def make(inputs: Mapping[str, Path], parameters: Mapping[str, str], output: BinaryIO) -> None:
    """Writes the content."""
    known(parameters)
    if len(inputs) != 1:
        raise RecipeError(f"takes one input, and there are {len(inputs)}")
    ((role, path),) = inputs.items()
    size = 0
    try:
        with gzip.open(path) as packed:
            while piece := packed.read(_PIECE):
                size += len(piece)
                if size > MOST:
                    raise RecipeError(f"{role}: holds more than {MOST >> 20} MiB")
                output.write(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RecipeError(f"{role}: is no whole gzip file: {error}") from None
