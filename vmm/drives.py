"""A machine's drives: their media, opened, and the door by which the core moves bytes (core/chipset/storage.h)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

from .spec import Drive
from .storage import FullError, Kind, Medium, Overlay, ProtectedError, StorageError, open_medium

_COMPLAINTS_MOST = 16
_CLUSTER = struct.Struct("<BQI")  # in a snapshot: drive, cluster, bytes


class Drives:
    """Opens the media of `drives`; raises StorageError when one cannot be used. What goes wrong later is an error that
    the guest sees, and a line for `complain`, each once."""

    def __init__(self, drives: Sequence[Drive], write: bool, complain: Callable[[str], None]) -> None:
        self._complain = complain
        self._complaints: set[str] = set()
        self._media: dict[int, Medium] = {}
        self._drives = drives
        self._handle: Any = None
        try:
            _check_sharing(drives, write)
            for drive in drives:
                if drive.path is not None:
                    self._media[drive.number] = open_medium(
                        drive.path, drive.kind, format=drive.format, read_only=drive.read_only, write=write
                    )
        except BaseException:
            self.close()
            raise

    def connect(self, config: Any, lib: Any, ffi: Any) -> None:
        """Fills in the drives of a `struct machine_config`. Must live as long as the machine."""
        if not self._drives:
            return
        kinds = {Kind.DISK: lib.STORAGE_DISK, Kind.CDROM: lib.STORAGE_CDROM, Kind.FLOPPY: lib.STORAGE_FLOPPY}
        for drive in self._drives:
            medium = self._media.get(drive.number)
            row = config.drives[drive.number]
            row.kind = kinds[drive.kind]
            row.sector_bytes = 2048 if drive.kind is Kind.CDROM else 512
            row.bytes = medium.size if medium else 0
            row.present = medium is not None
            row.read_only = drive.read_only or drive.kind is Kind.CDROM
        self._handle = ffi.new_handle(self)
        config.transfer = _door(lib, ffi)
        config.transfer_context = self._handle

    def transfer(self, number: int, offset: int, data: Any, write: bool) -> int:
        """Moves the bytes of `data`, a writable buffer; 0 or an `enum storage_error`."""
        medium = self._media.get(number)
        if medium is None:
            return _OUTSIDE
        if offset + len(data) > medium.size:
            return _OUTSIDE
        try:
            if write:
                medium.write(offset, data)
            else:
                medium.read(offset, data)
        except StorageError as error:
            self._say(str(error))
            return _PROTECTED if isinstance(error, ProtectedError) else _FULL if isinstance(error, FullError) else _BAD
        except MemoryError:
            self._say("the host has no memory for what the guest writes to a drive")
            return _FULL
        return 0

    def _overlays(self) -> dict[int, Overlay]:
        return {number: medium for number, medium in self._media.items() if isinstance(medium, Overlay)}

    def save(self) -> bytes:
        """What the guest has written to overlays; what `--write` put into files is theirs, and stays."""
        pieces = [
            _CLUSTER.pack(number, index, len(data)) + data
            for number, overlay in sorted(self._overlays().items())
            for index, data in sorted(overlay.save().items())
        ]
        return b"".join(pieces)

    def restore(self, saved: bytes) -> None:
        """Goes back to what `save` saw; ValueError, with nothing changed, when it is not of these drives."""
        overlays = self._overlays()
        clusters: dict[int, dict[int, bytes]] = {number: {} for number in overlays}
        at = 0
        while at < len(saved):
            if at + _CLUSTER.size > len(saved):
                raise ValueError("cut short")
            number, index, size = _CLUSTER.unpack_from(saved, at)
            at += _CLUSTER.size
            if number not in clusters or at + size > len(saved):
                raise ValueError("not of these drives, or cut short")
            clusters[number][index] = saved[at : at + size]
            at += size
        before = {number: overlay.save() for number, overlay in overlays.items()}
        try:
            for number, overlay in overlays.items():
                overlay.restore(clusters[number])
        except ValueError:
            for number, overlay in overlays.items():
                overlay.restore(before[number])
            raise

    def _say(self, text: str) -> None:
        if text not in self._complaints and len(self._complaints) < _COMPLAINTS_MOST:
            self._complaints.add(text)
            self._complain(text)

    def close(self) -> None:
        """Closes the media; a second call does nothing."""
        media, self._media = self._media, {}
        for medium in media.values():
            medium.close()


def _check_sharing(drives: Sequence[Drive], write: bool) -> None:
    """A file that one drive writes is in no other."""
    written: dict[tuple[int, int], bool] = {}
    for drive in drives:
        if drive.path is None or not drive.path.exists():  # the opening says it
            continue
        status = drive.path.stat()
        file = status.st_dev, status.st_ino
        writes = write and not drive.read_only and drive.kind is not Kind.CDROM
        if file in written and (writes or written[file]):
            raise StorageError(drive.path, "is in two drives: with --write a file can be in one only")
        written[file] = writes


# enum storage_error
_OUTSIDE, _PROTECTED, _BAD, _FULL = 1, 2, 3, 4

_doors: dict[int, Any] = {}


def _door(lib: Any, ffi: Any) -> Any:
    """The core's `extern "Python"` function, once for each core."""
    if id(lib) not in _doors:

        def machine_storage_transfer(context: Any, number: int, offset: int, data: Any, size: int, write: int) -> int:
            drives: Drives = ffi.from_handle(context)
            return drives.transfer(number, offset, memoryview(ffi.buffer(data, size)), bool(write))

        ffi.def_extern(error=_BAD)(machine_storage_transfer)
        _doors[id(lib)] = lib.machine_storage_transfer
    return _doors[id(lib)]
