"""A raw image: the file's bytes are the medium's."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path

from .medium import SECTOR, FullError, ProtectedError, StorageError, View


class File:
    """An image file by offset. With `write` it is locked for others, else they may read it, too."""

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = path
        self.write_through = write
        try:
            self._fd = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            if write and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise StorageError(path, "cannot be written, as --write asks (leave it out, or readonly=on)") from None
            raise StorageError(path, _reason(error)) from None
        try:
            mode = os.fstat(self._fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
                raise OSError(errno.EINVAL, "is neither a file nor a disk")
            self.size = os.lseek(self._fd, 0, os.SEEK_END)
            os.set_blocking(self._fd, True)
            fcntl.flock(self._fd, (fcntl.LOCK_EX if write else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            if error.errno == errno.EWOULDBLOCK:
                raise StorageError(
                    path, "is written by another machine" if not write else "is used elsewhere"
                ) from None
            raise StorageError(path, _reason(error)) from None

    def read(self, offset: int, buffer: View) -> None:
        """Fills the buffer; StorageError when the file does not have all of it."""
        view, done = memoryview(buffer), 0
        while done < len(view):
            try:
                size = os.preadv(self._fd, [view[done:]], offset + done)
            except OSError as error:
                raise StorageError(self.path, _reason(error), offset + done) from None
            if not size:
                raise StorageError(self.path, "the file ends here", offset + done)
            done += size

    def write(self, offset: int, data: View) -> None:
        view, done = memoryview(data), 0
        while done < len(view):
            try:
                done += os.pwritev(self._fd, [view[done:]], offset + done)
            except OSError as error:
                kind = FullError if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else StorageError
                raise kind(self.path, _reason(error), offset + done) from None

    def close(self) -> None:
        """A second call does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


class RawImage:
    """A raw image as a medium. Its last sector is filled up with zeros when the file does not (in memory only)."""

    def __init__(self, path: Path, *, write: bool = False, sector: int = SECTOR) -> None:
        self._file = File(path, write=write)
        self._protected = not write
        self.path = path
        self.size = -(-self._file.size // sector) * sector
        if not self._file.size or (write and self.size != self._file.size):
            self.close()
            text = f"{self._file.size} bytes are not whole sectors of {sector}" if self._file.size else "is empty"
            raise StorageError(path, text)

    def read(self, offset: int, buffer: View) -> None:
        view = memoryview(buffer)
        if offset + len(view) <= self._file.size:
            self._file.read(offset, view)
            return
        if offset < 0 or offset + len(view) > self.size:
            raise StorageError(self.path, "is beyond the end", offset)
        inside = max(self._file.size - offset, 0)
        self._file.read(offset, view[:inside])
        view[inside:] = bytes(len(view) - inside)

    def write(self, offset: int, data: View) -> None:
        if self._protected:
            raise ProtectedError(self.path, "is not written without --write", offset)
        if offset < 0 or offset + len(data) > self.size:
            raise StorageError(self.path, "is beyond the end", offset)
        self._file.write(offset, data)

    def close(self) -> None:
        self._file.close()
