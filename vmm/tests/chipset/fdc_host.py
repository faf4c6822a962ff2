"""What a board does for the 82077: serves its requests from a medium and a memory, and lets time pass."""

from __future__ import annotations

from typing import Any

NEVER = 2**64 - 1
DOR, TDR, MSR, DSR, FIFO, DIR, CCR = 2, 3, 4, 4, 5, 7, 7
RUNNING = 0x1C  # drive 0 and its motor, INT and DRQ on, no reset
SECTOR = 512


def image(size: int) -> bytearray:
    """Sectors that begin with their number."""
    return bytearray(b"".join(number.to_bytes(4, "little") * (SECTOR // 4) for number in range(size // SECTOR)))


class Fdc:
    def __init__(self, lib: Any, ffi: Any, size: int = 1474560, read_only: bool = False, run: bool = True) -> None:
        self.lib, self.ffi = lib, ffi
        self.state = ffi.new("struct fdc *")
        self.now = 0
        self.memory = bytearray()
        self.dma_bytes: int | None = None  # what the channel moves until its terminal count; None: it does not answer
        self.broken = False
        self.served: list[str] = []
        self.media: list[bytearray] = []
        lib.fdc_reset(self.state)
        self.insert(0, size, read_only)
        if run:
            self.start()

    def insert(self, drive: int, size: int, read_only: bool = False) -> None:
        self.media[drive:] = [image(size)]
        self.lib.floppy_drive_connect(self.state.drive[drive : drive + 1], self.lib.floppy_drive_for(size))
        assert self.lib.floppy_drive_insert(self.state.drive[drive : drive + 1], size, read_only)

    def start(self, rate: int | None = None, dma: bool = True) -> None:
        """Out of reset, drives sensed, head on cylinder 0, at the medium's data rate."""
        self.write(DOR, RUNNING)
        self.wait()
        for drive in range(4):
            assert self.ask(8) == [0xC0 | drive, 0]
        density = [2, 0, 3][self.state.drive[0].density]
        self.write(CCR, density if rate is None else rate)
        assert self.ask(3, 0xAF, 0x02 | (not dma)) == []

    # ---- registers ----

    def read(self, register: int) -> int:
        value = int(self.lib.fdc_read(self.state, register, self.now))
        self.settle()
        return value

    def write(self, register: int, value: int) -> None:
        self.lib.fdc_write(self.state, register, value, self.now)
        self.settle()

    def command(self, *values: int) -> None:
        for value in values:
            assert self.read(MSR) & 0xC0 == 0x80
            self.write(FIFO, value)

    def results(self) -> list[int]:
        found = []
        while self.read(MSR) & 0xD0 == 0xD0:
            found.append(self.read(FIFO))
        return found

    def ask(self, *values: int) -> list[int]:
        """A command that is done at once."""
        self.command(*values)
        return self.results()

    def run(self, *values: int) -> list[int]:
        """A command with an interrupt and results."""
        self.command(*values)
        assert not self.irq
        self.wait()
        assert self.irq
        return self.results()

    def seek(self, *values: int) -> list[int]:
        """A command that moves the head, and its SENSE INTERRUPT STATUS."""
        self.command(*values)
        self.wait()
        return self.ask(8)

    # ---- time ----

    @property
    def irq(self) -> bool:
        return bool(self.state.irq)

    @property
    def deadline(self) -> int:
        return int(self.lib.fdc_deadline(self.state))

    def settle(self) -> None:
        if self.deadline <= self.now:
            self.advance(0)

    def advance(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        self.lib.fdc_advance(self.state, self.now)
        while self.state.request:
            self.serve()
            self.lib.fdc_advance(self.state, self.now)

    def wait(self, events: int = 10_000) -> None:
        """Until the interrupt comes, or nothing more happens."""
        while not self.irq and self.deadline != NEVER:
            events -= 1
            assert events, "it never ends"
            self.advance(max(0, self.deadline - self.now))

    # ---- the board's side ----

    def serve(self) -> None:
        request, state = self.state.request, self.state
        if request in (self.lib.FDC_MEDIUM_READ, self.lib.FDC_MEDIUM_WRITE):
            offset, medium = state.request_offset, self.media[state.request_drive]
            assert state.request_bytes == SECTOR
            good = not self.broken and offset + SECTOR <= len(medium)
            if good and request == self.lib.FDC_MEDIUM_READ:
                state.buffer = bytes(medium[offset : offset + SECTOR])
                self.served.append(f"read {offset // SECTOR}")
            elif good:
                medium[offset : offset + SECTOR] = bytes(state.buffer)
                self.served.append(f"write {offset // SECTOR}")
            self.lib.fdc_medium_done(state, good)
            return
        moved = min(self.dma_bytes or 0, state.request_bytes)
        if request == self.lib.FDC_DMA_WRITE:
            self.memory += bytes(state.buffer)[:moved]
        else:
            self.ffi.memmove(state.buffer, bytes(self.memory[:moved]), moved)
            del self.memory[:moved]
        if self.dma_bytes is not None:
            self.dma_bytes -= moved
        self.lib.fdc_dma_done(state, moved, self.dma_bytes == 0)
