"""A writer of cpio archives in the "newc" format, as the kernel's initramfs loader reads it.

The same calls give the same bytes: times are 0, owners are root, inode numbers count up.
Source: Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
"""

import stat

_TRAILER = "TRAILER!!!"


class CpioArchive:
    """An archive in the making. Paths are relative, parts separated by slashes; missing parents are added as
    directories. ValueError: a path that is empty, absolute, has `..`, or is there already; content of 4 GiB or more."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._records: list[bytes] = []

    def directory(self, path: str, permissions: int = 0o755) -> None:
        """Adds a directory."""
        self._add(path, stat.S_IFDIR | permissions, links=2)

    def file(self, path: str, content: bytes, permissions: int = 0o644) -> None:
        """Adds a regular file."""
        self._add(path, stat.S_IFREG | permissions, content)

    def symlink(self, path: str, target: str) -> None:
        """Adds a symbolic link."""
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def character_device(self, path: str, major: int, minor: int, permissions: int = 0o600) -> None:
        """Adds the node of a character device."""
        self._add(path, stat.S_IFCHR | permissions, device=(major, minor))

    def block_device(self, path: str, major: int, minor: int, permissions: int = 0o600) -> None:
        """Adds the node of a block device."""
        self._add(path, stat.S_IFBLK | permissions, device=(major, minor))

    def to_bytes(self) -> bytes:
        """The whole archive."""
        return b"".join(self._records) + _record(_TRAILER, inode=0, mode=0, links=1)

    def _add(
        self, path: str, mode: int, content: bytes = b"", links: int = 1, device: tuple[int, int] = (0, 0)
    ) -> None:
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in path or path == _TRAILER:
            raise ValueError(f"{path!r} is not a relative path")
        if path in self._paths:
            raise ValueError(f"{path!r} is in the archive already")
        parent = "/".join(parts[:-1])
        if parent and parent not in self._paths:
            self.directory(parent)
        self._paths.add(path)
        self._records.append(_record(path, len(self._paths), mode, links, content, device))


def _record(
    path: str, inode: int, mode: int, links: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
) -> bytes:
    name = path.encode() + b"\0"
    uid = gid = time = check = 0
    fields = (inode, mode, uid, gid, links, time, len(content), 0, 0, *device, len(name), check)
    if max(fields) > 0xFFFFFFFF:
        raise ValueError(f"{path!r}: a number that does not fit in 32 bits")
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
