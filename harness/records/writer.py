"""Writes records: one file for each process, appended line by line, so that what was written survives a kill -9."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from bringup.harness.errors import HarnessError
from bringup.harness.records.schema import Record, decode, encode

SUFFIX = ".records.jsonl"


class RecordWriter:
    """Appends records to one file. Each line is one write(2) to a file opened for appending: no line is torn by a
    process that dies, and none waits in a buffer. HarnessError: the file cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise HarnessError(f"records: {path}: {error.strerror}") from error
        fcntl.flock(self._fd, fcntl.LOCK_SH)  # held while the run lives: who sweeps old runs passes it by

    def write(self, record: Record) -> None:
        """Appends one line."""
        line = encode(record) + b"\n"
        try:
            while line:
                line = line[os.write(self._fd, line) :]
        except OSError as error:
            raise HarnessError(f"records: {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Closes the file; a second time does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path) -> Iterator[Record]:
    """The records of one file. A last line without its end (the disk was full) and types that this version does not
    know are passed over; HarnessError, with file and line, for a line that is no record."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decode(line)
            except msgspec.ValidationError as error:
                if not _is_unknown_type(line):
                    raise HarnessError(f"{path}:{number}: {error}") from None
            except msgspec.DecodeError as error:
                raise HarnessError(f"{path}:{number}: {error}") from None


def read_run(folder: Path) -> list[Record]:
    """All records of a run's folder, whoever wrote them, by the time of writing."""
    records = [record for path in sorted(folder.glob(f"*{SUFFIX}")) for record in read(path)]
    return sorted(records, key=lambda record: record.at)


KNOWN = frozenset(kind.__struct_config__.tag for kind in Record.__args__)
"""Values of `type`."""


def _is_unknown_type(line: bytes) -> bool:
    data = msgspec.json.decode(line)
    return isinstance(data, dict) and isinstance(data.get("type"), str) and data["type"] not in KNOWN
