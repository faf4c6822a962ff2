"""A qcow2 image, read only (QEMU, docs/interop/qcow2.txt; versions 2 and 3).

Every table is read and checked when the image is opened: what lies outside of the file, is not aligned, or is used
twice is refused with its offset, so that later reads can only meet damaged compressed clusters. Refused as well:
backing files, which would let an image name any file of the host, external data files, encryption, extended L2
entries and zstd. Dirty images are taken, because reading does not need the reference counts.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections import OrderedDict
from pathlib import Path

from .medium import SECTOR, ProtectedError, StorageError, View
from .raw import File

MAGIC = b"QFI\xfb"
_HEADER_2, _HEADER_3 = 72, 104
_L1_MOST = 32 << 20  # bytes of the first table, as QEMU bounds it
_L2_MOST = 128 << 20  # bytes of all second tables: of 1 TiB in the usual clusters of 64 KiB
_OFFSET = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62
_ZERO = 1 << 0
_CORRUPT, _EXTERNAL, _COMPRESSION, _EXTENDED_L2 = 1 << 1, 1 << 2, 1 << 3, 1 << 4
_DIRTY = 1 << 0
_CACHED = 64  # clusters that have been decompressed


class Qcow2Image:
    """A qcow2 image as a medium that is only read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = File(path)
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        try:
            self._read_header()
            self._tables = self._read_tables()
        except BaseException:
            self._file.close()
            raise

    # ---- opening ----

    def _fail(self, text: str, offset: int | None = None) -> StorageError:
        return StorageError(self.path, text, offset)

    def _piece(self, offset: int, size: int) -> bytes:
        buffer = bytearray(size)
        self._file.read(offset, buffer)
        return bytes(buffer)

    def _read_header(self) -> None:
        if self._file.size < _HEADER_2:
            raise self._fail(f"truncated: {self._file.size} bytes are no qcow2 header")
        header = self._piece(0, _HEADER_2)
        magic, version, backing, _, self._bits, size, crypt, l1_size, self._l1_offset = struct.unpack_from(
            ">4sIQIIQIIQ", header
        )
        if magic != MAGIC:
            raise self._fail("is no qcow2 image", 0)
        if version not in (2, 3):
            raise self._fail(f"qcow2 version {version}; 2 and 3 can be read", 4)
        if backing:
            raise self._fail("has a backing file: flatten it first (qemu-img convert -O qcow2)", 8)
        if not 9 <= self._bits <= 21:
            raise self._fail(f"clusters of 2^{self._bits} bytes; the format has 2^9 to 2^21", 20)
        if crypt:
            raise self._fail("is encrypted", 32)
        if not size or size % SECTOR or size >= 1 << 62:
            raise self._fail(f"a disk of {size} bytes", 24)
        if version == 3:
            self._check_features()
        self.size = size
        self._cluster = 1 << self._bits
        self._entries = self._cluster // 8  # of a second table
        needed = -(-size // (self._cluster * self._entries))
        if l1_size < needed:
            raise self._fail(f"the first table has {l1_size} entries, the disk needs {needed}", 36)
        if l1_size * 8 > _L1_MOST:
            raise self._fail(f"a first table of {l1_size} entries is too large", 36)
        self._l1_size = needed

    def _check_features(self) -> None:
        if self._file.size < _HEADER_3:
            raise self._fail(f"truncated: {self._file.size} bytes are no qcow2 header of version 3")
        header = self._piece(0, _HEADER_3)
        (features,) = struct.unpack_from(">Q", header, 72)
        (length,) = struct.unpack_from(">I", header, 100)
        if length < _HEADER_3 or length % 8:
            raise self._fail(f"a header of {length} bytes", 100)
        for bit, text in (
            (_CORRUPT, "is marked as corrupt (qemu-img check)"),
            (_EXTERNAL, "keeps its data in another file"),
            (_EXTENDED_L2, "has extended L2 entries, which cannot be read"),
        ):
            if features & bit:
                raise self._fail(text, 72)
        if features & _COMPRESSION and (length <= _HEADER_3 or self._piece(_HEADER_3, 1) != b"\0"):
            raise self._fail("is compressed by another method than zlib, which cannot be read", _HEADER_3)
        unknown = features & ~(_DIRTY | _CORRUPT | _EXTERNAL | _COMPRESSION | _EXTENDED_L2)
        if unknown:
            raise self._fail(f"has unknown features {unknown:#x}", 72)

    def _table(self, offset: int, entries: int) -> array[int]:
        table = array("Q", self._piece(offset, 8 * entries))
        if sys.byteorder == "little":
            table.byteswap()
        return table

    def _check_cluster(self, what: str, target: int, at: int) -> None:
        """A whole cluster within the file, but not the header."""
        if target % self._cluster:
            raise self._fail(f"{what} at {target:#x} is not at the start of a cluster", at)
        if not target or target + self._cluster > -(-self._file.size // self._cluster) * self._cluster:
            raise self._fail(f"{what} at {target:#x} lies outside of the file", at)

    def _read_tables(self) -> dict[int, array[int]]:
        """The second tables by their index in the first; every cluster is used once."""
        at = self._l1_offset
        self._check_cluster("the first table", at, 40)
        if at + 8 * self._l1_size > self._file.size:
            raise self._fail("the first table reaches beyond the end of the file", 40)
        l1_end = -(-(at + 8 * self._l1_size) // self._cluster)
        used = {0, *range(at >> self._bits, l1_end)}
        tables = {}
        places = {}
        for index, entry in enumerate(self._table(at, self._l1_size)):
            target = entry & _OFFSET
            if not target:
                continue
            self._check_cluster("a second table", target, at + 8 * index)
            if target + self._cluster > self._file.size:
                raise self._fail(f"a second table at {target:#x} reaches beyond the end of the file", at + 8 * index)
            if target >> self._bits in used:
                raise self._fail(f"a second table at {target:#x} overlaps another table", at + 8 * index)
            used.add(target >> self._bits)
            places[index] = target
            if len(places) * self._cluster > _L2_MOST:
                raise self._fail(f"second tables of more than {_L2_MOST >> 20} MiB", at + 8 * index)
        for index, target in places.items():
            tables[index] = self._table(target, self._entries)
            self._check_entries(target, tables[index], used)
        return tables

    def _check_entries(self, at: int, table: array[int], used: set[int]) -> None:
        whole = self._file.size >> self._bits
        if table.count(0) == len(table):
            return
        for index, entry in enumerate(table):
            if not entry:
                continue
            here = at + 8 * index
            if entry & _COMPRESSED:
                start, size = self._compressed(entry)
                if start + size > -(-self._file.size // SECTOR) * SECTOR or not 0 < start < self._file.size:
                    raise self._fail(f"a compressed cluster at {start:#x} lies outside of the file", here)
                continue
            target = entry & _OFFSET
            if not target:
                continue
            number = target >> self._bits
            if target & (self._cluster - 1) or number >= whole:
                self._check_cluster("a cluster", target, here)
            if number in used:
                raise self._fail(f"a cluster at {target:#x} is used twice, or is a table", here)
            used.add(number)

    # ---- reading ----

    def _compressed(self, entry: int) -> tuple[int, int]:
        """Where a compressed cluster is, and how many bytes at most."""
        shift = 62 - (self._bits - 8)
        start = entry & ((1 << shift) - 1)
        sectors = (entry >> shift & ((1 << (62 - shift)) - 1)) + 1
        return start, sectors * SECTOR - start % SECTOR

    def _decompress(self, entry: int) -> bytes:
        start, size = self._compressed(entry)
        if start in self._cache:
            self._cache.move_to_end(start)
            return self._cache[start]
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            data = inflater.decompress(self._piece(start, min(size, self._file.size - start)), self._cluster)
        except zlib.error as error:
            raise self._fail(f"a damaged compressed cluster ({error})", start) from None
        if len(data) != self._cluster:
            raise self._fail(f"a compressed cluster of {len(data)} bytes instead of {self._cluster}", start)
        self._cache[start] = data
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)
        return data

    def _entry(self, cluster: int) -> int:
        table = self._tables.get(cluster // self._entries)
        return table[cluster % self._entries] if table is not None else 0

    def read(self, offset: int, buffer: View) -> None:
        view = memoryview(buffer)
        end = offset + len(view)
        if offset < 0 or end > self.size:
            raise self._fail(f"the disk has {self.size} bytes; none is", offset)
        at = offset
        while at < end:
            inside = at & (self._cluster - 1)
            size = min(self._cluster - inside, end - at)
            piece = view[at - offset : at - offset + size]
            entry = self._entry(at >> self._bits)
            if entry & _COMPRESSED:
                piece[:] = self._decompress(entry)[inside : inside + size]
            elif entry & _ZERO or not entry & _OFFSET:
                piece[:] = bytes(size)
            else:
                self._read_cluster((entry & _OFFSET) + inside, piece)
            at += size

    def _read_cluster(self, start: int, piece: memoryview) -> None:
        """The last cluster of a file may be cut short: the rest is zeros."""
        there = min(max(self._file.size - start, 0), len(piece))
        self._file.read(start, piece[:there])
        piece[there:] = bytes(len(piece) - there)

    def write(self, offset: int, data: View) -> None:
        raise ProtectedError(self.path, "a qcow2 image is never written", offset)

    def close(self) -> None:
        self._file.close()
