"""A TFTP server of files in memory: read requests, with block size and transfer size.

Without a clock there is nothing that it would send again by itself: who misses a block acknowledges the one before once
more.

Source: RFC 1350, 2347 (options), 2348 (blksize), 2349 (tsize).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from .recent import Recent

PORT, TRANSFER_PORT = 69, 1069  # where it is asked, and where a transfer goes on
TRANSFERS = 8  # at a time
READ, DATA, ACKNOWLEDGMENT, ERROR, OPTIONS_TAKEN = 1, 3, 4, 5, 6
NOT_FOUND, ILLEGAL = 1, 4  # codes of errors
BLOCK, BLOCK_MINIMUM, BLOCK_MAXIMUM = 512, 8, 1428  # bytes: what fits into an Ethernet frame
OPTIONS = 5  # that are looked at


@dataclass
class Transfer:
    """`block` is the number of the last one that was sent, which goes on beyond 16 bits."""

    content: bytes
    size: int
    block: int = 0

    def data(self) -> bytes:
        """The packet with that block."""
        at = (self.block - 1) * self.size
        return struct.pack(">HH", DATA, self.block & 0xFFFF) + self.content[at : at + self.size]

    @property
    def ended(self) -> bool:
        """Was that block the last one, which is shorter than the others?"""
        return self.block * self.size > len(self.content)


@dataclass
class TftpServer:
    """Serves `files`, by name."""

    files: Mapping[str, bytes]
    _transfers: Recent[tuple[bytes, int], Transfer] = field(default_factory=lambda: Recent(TRANSFERS))

    def receive(self, client: tuple[bytes, int], packet: bytes) -> Iterator[bytes]:
        """What answers a packet of the client, an address and a port."""
        if len(packet) < 4:
            return
        operation, number = struct.unpack_from(">HH", packet)
        if operation == READ:
            yield self._read(client, packet[2:])
        elif operation == ACKNOWLEDGMENT:
            yield from self._acknowledged(client, number)
        elif operation not in (DATA, ERROR):
            yield struct.pack(">HH", ERROR, ILLEGAL) + b"Only reading is offered\0"

    def _read(self, client: tuple[bytes, int], request: bytes) -> bytes:
        name, _mode, *options = [*request.rstrip(b"\0").split(b"\0")[: 2 + 2 * OPTIONS], b"", b""]
        content = self.files.get(name.decode(errors="replace").lstrip("/"))
        if content is None:
            return struct.pack(">HH", ERROR, NOT_FOUND) + b"File not found\0"
        taken, size = b"", BLOCK
        for option, value in zip(options[::2], options[1::2], strict=False):
            if option.lower() == b"blksize" and value.isdigit() and int(value[:6]) >= BLOCK_MINIMUM:
                size = min(int(value[:6]), BLOCK_MAXIMUM)
                taken += b"blksize\0" + str(size).encode() + b"\0"
            elif option.lower() == b"tsize":
                taken += b"tsize\0" + str(len(content)).encode() + b"\0"
        transfer = Transfer(content, size)
        self._transfers.put(client, transfer)
        if taken:
            return struct.pack(">H", OPTIONS_TAKEN) + taken
        transfer.block = 1
        return transfer.data()

    def _acknowledged(self, client: tuple[bytes, int], number: int) -> Iterator[bytes]:
        transfer = self._transfers.get(client)
        if transfer is None:
            return
        ahead = (transfer.block - number) & 0xFFFF
        if ahead == 0 and transfer.ended:
            self._transfers.drop(client)
        elif ahead == 0:
            transfer.block += 1
            yield transfer.data()
        elif ahead == 1 and transfer.block:
            yield transfer.data()
