"""A private overlay: what a guest writes stays in memory and goes with the machine; its image is never touched."""

from __future__ import annotations

from .medium import FullError, Medium, StorageError, View

CLUSTER = 1 << 16
DEFAULT_LIMIT = 1 << 30


class Overlay:
    """Copy on write over `base`, in clusters of 64 KiB. `limit` bounds its memory, in bytes: a write for which there is
    no room raises FullError and changes nothing."""

    def __init__(self, base: Medium, name: str, limit: int = DEFAULT_LIMIT) -> None:
        self._base = base
        self._name = name
        self._limit = limit
        self._clusters: dict[int, bytearray] = {}
        self.size = base.size

    @property
    def used(self) -> int:
        """Bytes of memory."""
        return sum(map(len, self._clusters.values()))

    def _check(self, offset: int, size: int) -> None:
        if offset < 0 or offset + size > self.size:
            raise StorageError(self._name, "is beyond the end", offset)

    def read(self, offset: int, buffer: View) -> None:
        view = memoryview(buffer)
        self._check(offset, len(view))
        if not self._clusters:
            self._base.read(offset, view)
            return
        first, last = offset // CLUSTER, (offset + len(view) - 1) // CLUSTER
        at = offset
        for index in range(first, last + 1):
            end = min((index + 1) * CLUSTER, offset + len(view))
            piece = view[at - offset : end - offset]
            cluster = self._clusters.get(index)
            if cluster is None:
                self._base.read(at, piece)
            else:
                piece[:] = memoryview(cluster)[at - index * CLUSTER : end - index * CLUSTER]
            at = end

    def write(self, offset: int, data: View) -> None:
        view = memoryview(data)
        self._check(offset, len(view))
        if not len(view):
            return
        first, last = offset // CLUSTER, (offset + len(view) - 1) // CLUSTER
        new = [index for index in range(first, last + 1) if index not in self._clusters]
        if (len(self._clusters) + len(new)) * CLUSTER > self._limit:
            raise FullError(self._name, f"the guest has written {self._limit >> 20} MiB, all that its overlay holds")
        fresh = {index: self._copy(index, offset, offset + len(view)) for index in new}
        self._clusters.update(fresh)
        at = offset
        for index in range(first, last + 1):
            end = min((index + 1) * CLUSTER, offset + len(view))
            start = index * CLUSTER
            self._clusters[index][at - start : end - start] = view[at - offset : end - offset]
            at = end

    def _copy(self, index: int, first: int, end: int) -> bytearray:
        """A cluster of the base; without its bytes when [first, end) is to cover it all."""
        start = index * CLUSTER
        cluster = bytearray(min(CLUSTER, self.size - start))
        if first > start or end < start + len(cluster):
            self._base.read(start, cluster)
        return cluster

    def save(self) -> dict[int, bytes]:
        """What has been written, for `restore`: whole clusters by their number."""
        return {index: bytes(cluster) for index, cluster in self._clusters.items()}

    def restore(self, clusters: dict[int, bytes]) -> None:
        """Takes these in place of all that has been written; ValueError when they are no clusters of this medium."""
        for index, data in clusters.items():
            if index < 0 or len(data) != min(CLUSTER, self.size - index * CLUSTER):
                raise ValueError(f"cluster {index} of {self._name} has {len(data)} bytes")
        self._clusters = {index: bytearray(data) for index, data in clusters.items()}

    def close(self) -> None:
        self._clusters.clear()
        self._base.close()
