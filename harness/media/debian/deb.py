"""Files out of a .deb: an ar archive whose member `data.tar`, compressed or not, is the tree. Source: deb(5).

Nothing is written: paths in a package are only compared, never used.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, BinaryIO, cast

from bringup.harness.media.store import WrongContentError, disk_errors

_MAGIC = b"!<arch>\n"
_HEADER = 60
_UNPACK: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    "data.tar": lambda file: file,
    "data.tar.gz": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    "data.tar.xz": lzma.LZMAFile,
    "data.tar.bz2": bz2.BZ2File,
}


@contextmanager
def open_file(deb: Path, pattern: str) -> Iterator[tuple[str, IO[bytes]]]:
    """The first regular file of a package whose path matches the glob `pattern`: its path and its content.

    WrongContentError: it is no package, it is damaged, it holds no such file.
    """
    with open_files(deb) as files:
        for name, content in files:
            if fnmatchcase(name, pattern):
                yield name, content
                return
    raise WrongContentError(f"{deb.name} holds no file {pattern}")


@contextmanager
def open_files(deb: Path) -> Iterator[Iterator[tuple[str, IO[bytes]]]]:
    """Path and content of each regular file of a package, in its order; a content is there until the next is asked
    for. WrongContentError: it is no package, or damaged."""
    with disk_errors(f"reading {deb.name}"), deb.open("rb") as file:
        try:
            tree = _tree(file)
            if isinstance(tree, str):
                raise WrongContentError(f"{deb.name} cannot be unpacked: {tree}")
            with tarfile.open(fileobj=tree, mode="r|") as tar:
                regular = ((member, tar.extractfile(member)) for member in tar if member.isreg())
                yield ((member.name.removeprefix("./"), content) for member, content in regular if content)
        except (tarfile.TarError, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
            raise WrongContentError(f"{deb.name} cannot be unpacked: {error}") from error


def _tree(file: BinaryIO) -> IO[bytes] | str:
    """The uncompressed tree of the package; what is wrong when there is none."""
    if file.read(len(_MAGIC)) != _MAGIC:
        return "it is no ar archive"
    while header := file.read(_HEADER):
        name, size = header[:16].decode("latin-1").rstrip().rstrip("/"), header[48:58].strip()
        if len(header) < _HEADER or header[58:] != b"`\n" or not size.isdigit():
            return "a header of the ar archive is damaged"
        if name.startswith("data.tar"):
            if name not in _UNPACK:
                return f"{name} is compressed in a way that is not known here"
            return _UNPACK[name](io.BufferedReader(_Part(file, int(size))))
        file.seek(int(size) + int(size) % 2, io.SEEK_CUR)
    return "it has no data.tar"


class _Part(io.RawIOBase):
    """The next `size` bytes of a file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._left = file, size

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """As every raw file does."""
        data = self._file.read(min(len(buffer), self._left))
        buffer[: len(data)] = data
        self._left -= len(data)
        return len(data)
