"""An IDE channel on the bench: drives over byte strings, a bus master over a megabyte of memory, and a host that waits
as the standard's host protocols say."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

NEVER = 2**64 - 1
DATA, ERROR, FEATURES, COUNT, LBA_LOW, LBA_MID, LBA_HIGH, DEVICE, STATUS, COMMAND = 0, 1, 1, 2, 3, 4, 5, 6, 7, 7
ERR, DRQ, DSC, DF, DRDY, BSY = 1, 8, 16, 32, 64, 128
READY = DRDY | DSC  # a device without anything to do
ABRT, IDNF, UNC = 4, 16, 64
NIEN, SRST, HOB = 2, 4, 128
COD, IO = 1, 2
LBA, DEV = 0x40, 0x10
BM_COMMAND, BM_STATUS, BM_TABLE = 0, 2, 4
BM_START, BM_TO_MEMORY = 1, 8
BM_ACTIVE, BM_ERROR, BM_INTERRUPT = 1, 2, 4
DISK, CDROM = 1, 2
MEMORY = 1 << 20
OUTSIDE, PROTECTED, UNREADABLE, FULL = 1, 2, 3, 4


@dataclass
class Drive:
    """A drive's medium; a sector of `bad` cannot be read, and `refuses` is what a write ends with."""

    kind: int
    data: bytearray
    read_only: bool = False
    present: bool = True
    bad: set[int] = field(default_factory=set)
    refuses: int = 0

    @property
    def sector(self) -> int:
        return 2048 if self.kind == CDROM else 512

    def storage(self, ffi: Any) -> Any:
        return ffi.new(
            "struct storage *",
            {
                "kind": self.kind,
                "sector_bytes": self.sector,
                "bytes": len(self.data) if self.present else 0,
                "present": self.present,
                "read_only": self.read_only,
            },
        )


def disk(sectors: int = 2048, **settings: Any) -> Drive:
    """Sector n holds its number, over and over."""
    return Drive(DISK, bytearray(b"".join(struct.pack("<I", n) * 128 for n in range(sectors))), **settings)


def cdrom(sectors: int = 400, **settings: Any) -> Drive:
    return Drive(CDROM, bytearray(b"".join(struct.pack("<I", n) * 512 for n in range(sectors))), True, **settings)


class Channel:
    """`drives` are device 0 and device 1, None for one that is not there."""

    def __init__(self, lib: Any, ffi: Any, *drives: Drive | None, first: int = 0) -> None:
        self.lib, self.ffi, self.first = lib, ffi, first
        self.ide = ffi.new("struct ide *")
        self.master = ffi.new("struct bus_master *")
        self.memory = ffi.new("uint8_t[]", MEMORY)
        self.now = 0
        self.requests: list[tuple[int, int, int]] = []
        """What the medium was asked: offset, bytes, write."""
        self.drives = list(drives)
        self._transfer = ffi.callback("int(void *, unsigned, uint64_t, void *, uint32_t, uint32_t)", self._move)
        self._memory = ffi.callback("uint8_t *(void *, uint64_t, uint64_t, _Bool)", self._ram)
        self.host = ffi.new("struct ide_host *", {"transfer": self._transfer, "memory": self._memory})
        lib.ide_reset(self.ide)
        lib.bus_master_reset(self.master)
        for unit, drive in enumerate(drives):
            if drive is not None:
                lib.ide_attach(self.ide, unit, drive.storage(ffi), first + unit)

    def drive(self, unit: int) -> Drive:
        drive = self.drives[unit]
        assert drive is not None
        return drive

    def _move(self, context: Any, number: int, offset: int, data: Any, size: int, write: int) -> int:
        self.requests.append((offset, size, write))
        drive = self.drive(number - self.first)
        assert size % drive.sector == 0 and offset % drive.sector == 0
        if not drive.present or offset + size > len(drive.data):
            return OUTSIDE
        if write:
            if not drive.refuses:
                drive.data[offset : offset + size] = self.ffi.buffer(data, size)
            return drive.refuses
        if drive.bad & set(range(offset // drive.sector, (offset + size) // drive.sector)):
            return UNREADABLE
        self.ffi.memmove(data, bytes(drive.data[offset : offset + size]), size)
        return 0

    def _ram(self, context: Any, address: int, size: int, write: bool) -> Any:
        return self.memory + address if address + size <= MEMORY else self.ffi.NULL

    # ---- registers ----

    def serve(self) -> None:
        self.lib.ide_service(self.ide, self.master, self.host, self.now)

    def read(self, register: int) -> int:
        value = int(self.lib.ide_read(self.ide, register))
        self.serve()
        return value

    def write(self, register: int, value: int) -> None:
        self.lib.ide_write(self.ide, register, value, self.now)
        self.serve()

    def control(self, value: int) -> None:
        self.lib.ide_write_control(self.ide, value, self.now)
        self.serve()

    @property
    def status(self) -> int:
        """Alternate Status."""
        return int(self.lib.ide_read_alternate_status(self.ide))

    @property
    def irq(self) -> bool:
        return bool(self.ide.irq)

    def words(self, size: int) -> bytes:
        """So many bytes from the Data register."""
        data = b"".join(struct.pack("<H", self.lib.ide_read_data(self.ide, self.now)) for _ in range((size + 1) // 2))
        self.serve()
        return data[:size]

    def put(self, data: bytes) -> None:
        for (word,) in struct.iter_unpack("<H", data):
            self.lib.ide_write_data(self.ide, word, self.now)
        self.serve()

    def advance(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        self.lib.ide_service_advance(self.ide, self.master, self.host, self.now)

    def wait(self) -> int:
        """Until nothing is due any more; Alternate Status then."""
        while (due := int(self.lib.ide_deadline(self.ide))) != NEVER:
            assert due > self.now or due == self.now, "a deadline lies in the past"
            self.now = due
            self.lib.ide_service_advance(self.ide, self.master, self.host, self.now)
        return self.status

    # ---- commands ----

    def address(self, lba: int, count: int, unit: int = 0, extended: bool = False) -> None:
        """Puts an LBA and a count of sectors into the registers."""
        if extended:
            self.write(DEVICE, LBA | unit * DEV)
            for register, value in (
                (COUNT, count >> 8),
                (LBA_LOW, lba >> 24),
                (LBA_MID, lba >> 32),
                (LBA_HIGH, lba >> 40),
            ):
                self.write(register, value & 0xFF)
        else:
            self.write(DEVICE, LBA | unit * DEV | lba >> 24)
        for register, value in ((COUNT, count), (LBA_LOW, lba), (LBA_MID, lba >> 8), (LBA_HIGH, lba >> 16)):
            self.write(register, value & 0xFF)

    def command(self, command: int, count: int = 0, features: int = 0, unit: int = 0) -> int:
        """One that moves no data; Status after it."""
        self.write(DEVICE, unit * DEV)
        self.write(FEATURES, features)
        self.write(COUNT, count)
        self.write(COMMAND, command)
        assert self.status & BSY
        self.wait()
        assert self.irq or self.ide.control & NIEN
        return self.read(STATUS)

    def pio_in(self, command: int, lba: int, count: int, *, block: int = 512, **address: Any) -> bytes:
        """PIO data-in: each block with its interrupt, none at the end; stops at an error."""
        self.address(lba, count, **address)
        self.write(COMMAND, command)
        return self.take_blocks(block)

    def take_blocks(self, block: int = 512) -> bytes:
        data = b""
        while True:
            status = self.wait()
            if not status & DRQ:
                return data
            assert self.irq, "no interrupt for a block"
            self.read(STATUS)
            assert not self.irq
            data += self.words(block)

    def pio_out(self, command: int, lba: int, data: bytes, *, block: int = 512, **address: Any) -> int:
        """PIO data-out: the first block without an interrupt, one after each; Status at the end."""
        self.address(lba, len(data) // 512, **address)
        self.write(COMMAND, command)
        while True:
            status = self.wait()
            if not status & DRQ:
                return self.read(STATUS)
            self.read(STATUS)
            self.put(data[:block])
            data = data[block:]
            assert self.wait() & DRQ or not data or self.status & ERR
            assert self.irq

    def regions(self, *regions: tuple[int, int], table: int = 0x1000, end: bool = True) -> None:
        """A table of physical regions: address and bytes each."""
        for index, (address, size) in enumerate(regions):
            last = end and index == len(regions) - 1
            entry = struct.pack("<IHH", address, size & 0xFFFF, 0x8000 if last else 0)
            self.ffi.memmove(self.memory + table + 8 * index, entry, 8)
        for index in range(4):
            self.master_write(BM_TABLE + index, table >> 8 * index & 0xFF)

    def master_read(self, register: int) -> int:
        return int(self.lib.bus_master_read(self.master, register))

    def master_write(self, register: int, value: int) -> None:
        self.lib.bus_master_write(self.master, register, value)
        self.serve()

    def dma(self, command: int, lba: int, count: int, to_memory: bool = True, **address: Any) -> int:
        """A DMA command over the regions that are set; the bus master's status at the end."""
        self.master_write(BM_COMMAND, BM_TO_MEMORY if to_memory else 0)
        self.master_write(BM_STATUS, BM_ERROR | BM_INTERRUPT)
        self.address(lba, count, **address)
        self.write(COMMAND, command)
        self.master_write(BM_COMMAND, BM_START | (BM_TO_MEMORY if to_memory else 0))
        self.wait()
        status = self.master_read(BM_STATUS)
        self.master_write(BM_COMMAND, 0)
        return status

    def ram(self, address: int, size: int) -> bytes:
        return bytes(self.ffi.buffer(self.memory + address, size))

    def packet(self, packet: bytes, *, limit: int = 0xFFFE, features: int = 0, unit: int = 0) -> None:
        """Sends a command packet; its data are still to come."""
        self.write(DEVICE, unit * DEV)
        self.write(FEATURES, features)
        self.write(LBA_MID, limit & 0xFF)
        self.write(LBA_HIGH, limit >> 8)
        self.write(COMMAND, 0xA0)
        assert self.status & (DRQ | BSY) == DRQ and not self.irq
        assert self.read(COUNT) == COD
        self.put(packet.ljust(12, b"\0"))

    def answer(self, packet: bytes, *, limit: int = 0xFFFE, unit: int = 0) -> bytes:
        """A packet's data by PIO, each block as long as the byte count says."""
        self.packet(packet, limit=limit, unit=unit)
        data = b""
        while self.wait() & DRQ:
            assert self.irq
            self.read(STATUS)
            assert self.read(COUNT) == IO
            size = self.read(LBA_MID) | self.read(LBA_HIGH) << 8
            assert 0 < size <= (limit if limit >= 2 else 0xFFFE)
            data += self.words(size)
        assert self.irq and self.read(COUNT) == IO | COD
        return data

    def sense(self, unit: int = 0) -> tuple[int, int, int]:
        """Key, code and qualifier by REQUEST SENSE."""
        data = self.answer(bytes([3, 0, 0, 0, 18]), unit=unit)
        assert len(data) == 18 and data[0] == 0x70
        return data[2], data[12], data[13]

    def refused(self, packet: bytes, unit: int = 0) -> tuple[int, int, int]:
        """The sense of a packet that fails."""
        assert self.answer(packet, unit=unit) == b""
        assert self.read(STATUS) & ERR
        key = self.read(ERROR) >> 4
        sense = self.sense(unit)
        assert sense[0] == key
        return sense


def identity(data: bytes) -> list[int]:
    """IDENTIFY's words, its checksum proven."""
    assert len(data) == 512 and data[510] == 0xA5 and sum(data) % 256 == 0
    return list(struct.unpack("<256H", data))


def text(words: list[int], first: int, count: int) -> str:
    """A string of IDENTIFY."""
    return b"".join(struct.pack(">H", word) for word in words[first : first + count]).decode().rstrip()
