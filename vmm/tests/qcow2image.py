"""qcow2 images for tests, cluster by cluster."""

from __future__ import annotations

import struct
import zlib

COMPRESSED, COPIED, ZERO = 1 << 62, 1 << 63, 1


def pattern(number: int, size: int) -> bytes:
    return struct.pack("<I", number) * (size // 4)


class Builder:
    """An image of `clusters` clusters, put together by hand: cluster 0 header, 1 first table, 2 second table."""

    def __init__(self, clusters: int = 40, bits: int = 12, version: int = 3) -> None:
        self.bits, self.cluster = bits, 1 << bits
        self.size = clusters << bits
        self.version = version
        self.l1 = [0] * max(1, -(-clusters // (self.cluster // 8)))
        self.l1[0] = 2 * self.cluster | COPIED
        self.l2 = [0] * (self.cluster // 8)
        self.data = bytearray()
        self.fields: dict[int, bytes] = {}

    @property
    def end(self) -> int:
        return 3 * self.cluster + len(self.data)

    def put(self, index: int, data: bytes) -> None:
        self.l2[index] = self.end | COPIED
        self.data += data.ljust(self.cluster, b"\0")

    def put_compressed(self, index: int, data: bytes, at: int = 0) -> None:
        """`at`: bytes into the cluster that is added, as images pack several into one."""
        deflate = zlib.compressobj(wbits=-12)
        packed = deflate.compress(data) + deflate.flush()
        start = self.end + at
        sectors = (start + len(packed) - 1) // 512 - start // 512
        self.l2[index] = COMPRESSED | sectors << (62 - (self.bits - 8)) | start
        self.data += (bytes(at) + packed).ljust(self.cluster, b"\0")

    def build(self) -> bytes:
        header = struct.pack(
            ">4sIQIIQIIQQIIQ", b"QFI\xfb", self.version, 0, 0, self.bits, self.size, 0, len(self.l1), self.cluster,
            0, 0, 0, 0,
        )  # fmt: skip
        if self.version == 3:
            header += struct.pack(">QQQII", 0, 0, 0, 4, 104)
        image = bytearray(header.ljust(self.cluster, b"\0"))
        image += struct.pack(f">{len(self.l1)}Q", *self.l1).ljust(self.cluster, b"\0")
        image += struct.pack(f">{len(self.l2)}Q", *self.l2) + self.data
        for offset, data in self.fields.items():
            image[offset : offset + len(data)] = data
        return bytes(image)
