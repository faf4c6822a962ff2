"""What a drive reads from and writes to: bytes by offset, and errors that name file and offset."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

SECTOR = 512
CD_SECTOR = 2048

View = memoryview | bytearray


class StorageError(Exception):
    """An image that cannot be used, in one line for the person who named it."""

    def __init__(self, path: Path | str, text: str, offset: int | None = None) -> None:
        where = "" if offset is None else f", offset {offset:#x}"
        super().__init__(f"{path}{where}: {text}")


class ProtectedError(StorageError):
    """A write to a medium that takes none."""


class FullError(StorageError):
    """The host cannot take a write."""


class Medium(Protocol):
    """`size` is in bytes. `read` fills the whole buffer, `write` takes all of the data; both raise StorageError, also
    for what lies outside of the medium."""

    size: int

    def read(self, offset: int, buffer: View) -> None: ...

    def write(self, offset: int, data: View) -> None: ...

    def close(self) -> None: ...


def read_bytes(medium: Medium, offset: int, size: int) -> bytes:
    """So many bytes of a medium; StorageError when they are not there."""
    buffer = bytearray(size)
    medium.read(offset, buffer)
    return bytes(buffer)
