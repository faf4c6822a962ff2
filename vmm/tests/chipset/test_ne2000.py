"""The NE2000 against the DP8390's data sheet: buffer memory, sending, the receive ring."""

from __future__ import annotations

from typing import Any

import pytest

NEVER = 2**64 - 1
MAC = bytes.fromhex("525400123456")
BROADCAST = b"\xff" * 6
FIRST, STOP = 0x46, 0x80  # pages of the ring


@pytest.fixture
def card(lib: Any, ffi: Any) -> Any:
    card = ffi.new("struct ne2000 *")
    lib.ne2000_reset(card, MAC)
    return card


def write(lib: Any, card: Any, reg: int, value: int, now: int = 0, size: int = 1) -> None:
    lib.ne2000_write(card, reg, value, size, now)


def start(lib: Any, card: Any, **registers: int) -> None:
    """As a driver does: words, a ring, and its own frames and broadcast."""
    settings = {"DCR": 0x49, "PSTART": FIRST, "PSTOP": STOP, "BNRY": FIRST, "RCR": lib.NE2000_RCR_AB, "IMR": 0x7F}
    for name, value in {**settings, **registers}.items():
        write(lib, card, getattr(lib, f"NE2000_{name}"), value)
    write(lib, card, lib.NE2000_CR, 0x61)  # page 1, stopped
    for i, byte in enumerate(MAC):
        write(lib, card, lib.NE2000_PAR0 + i, byte)
    write(lib, card, lib.NE2000_CURR, FIRST + 1)
    write(lib, card, lib.NE2000_CR, 0x22)


def remote(lib: Any, card: Any, address: int, size: int, command: int) -> None:
    write(lib, card, lib.NE2000_RBCR0, size & 0xFF)
    write(lib, card, lib.NE2000_RBCR1, size >> 8)
    write(lib, card, lib.NE2000_RSAR0, address & 0xFF)
    write(lib, card, lib.NE2000_RSAR1, address >> 8)
    write(lib, card, lib.NE2000_CR, command | 2)


def fetch(lib: Any, card: Any, address: int, size: int) -> bytes:
    remote(lib, card, address, size, lib.NE2000_CR_RD_READ)
    words = [lib.ne2000_read(card, lib.NE2000_DATA, 2) for _ in range(size // 2)]
    return b"".join(word.to_bytes(2, "little") for word in words)


def advance(lib: Any, ffi: Any, card: Any, now: int) -> bytes:
    frame = ffi.new("uint8_t[]", lib.NE2000_FRAME_MAXIMUM)
    return bytes(ffi.buffer(frame, lib.ne2000_advance(card, now, frame)))


def test_identity(lib: Any, card: Any) -> None:
    assert lib.ne2000_read(card, lib.NE2000_8029ID0, 1) == ord("P")
    assert lib.ne2000_read(card, lib.NE2000_8029ID1, 1) == ord("C")
    write(lib, card, lib.NE2000_ISR, 0xFF)
    assert lib.ne2000_read(card, lib.NE2000_ISR, 1) == lib.NE2000_ISR_RST, "that bit is the controller's"
    write(lib, card, lib.NE2000_DCR, 0x49)
    prom = fetch(lib, card, 0, 32)
    assert prom[:12:2] == prom[1:12:2] == MAC and prom[28:] == b"WWWW"


@pytest.mark.parametrize("size", [1, 2, 4])
def test_remote_dma(lib: Any, card: Any, size: int) -> None:
    write(lib, card, lib.NE2000_DCR, 0x48 if size == 1 else 0x49)
    data = bytes(range(16))
    remote(lib, card, 0x4000, len(data), lib.NE2000_CR_RD_WRITE)
    for at in range(0, len(data), size):
        assert not card.isr & lib.NE2000_ISR_RDC
        write(lib, card, lib.NE2000_DATA, int.from_bytes(data[at : at + size], "little"), size=size)
    assert card.isr & lib.NE2000_ISR_RDC
    write(lib, card, lib.NE2000_DATA, 0, size=size)  # one too many
    assert bytes(card.memory[0:16]) == data
    write(lib, card, lib.NE2000_ISR, 0xFF)
    assert card.isr == 0
    remote(lib, card, 0x4000, len(data), lib.NE2000_CR_RD_READ)
    read = [lib.ne2000_read(card, lib.NE2000_DATA, size) for _ in range(16 // size)]
    assert b"".join(value.to_bytes(size, "little") for value in read) == data
    assert lib.ne2000_read(card, lib.NE2000_DATA, size) == 2 ** (8 * size) - 1


def test_sending_takes_its_time(lib: Any, ffi: Any, card: Any) -> None:
    start(lib, card)
    frame = BROADCAST + MAC + b"\x08\x06" + bytes(46)
    ffi.buffer(card.memory)[0 : len(frame)] = frame
    write(lib, card, lib.NE2000_TPSR, 0x40)
    write(lib, card, lib.NE2000_TBCR0, len(frame))
    write(lib, card, lib.NE2000_CR, 0x26, now=1000)
    due = 1000 + (60 + 24) * 800
    assert lib.ne2000_deadline(card) == due and card.cr & lib.NE2000_CR_TXP
    assert advance(lib, ffi, card, due - 1) == b"" and not lib.ne2000_interrupt(card)
    assert advance(lib, ffi, card, due) == frame
    assert lib.ne2000_interrupt(card) and card.isr & lib.NE2000_ISR_PTX and not card.cr & lib.NE2000_CR_TXP
    assert lib.ne2000_deadline(card) == NEVER
    write(lib, card, lib.NE2000_ISR, lib.NE2000_ISR_PTX)
    assert not lib.ne2000_interrupt(card)


def test_what_is_sent_in_loopback_is_lost(lib: Any, ffi: Any, card: Any) -> None:
    start(lib, card, TCR=2, TBCR0=60, TPSR=0x40)
    write(lib, card, lib.NE2000_CR, 0x26)
    assert advance(lib, ffi, card, 10**9) == b"" and card.isr & lib.NE2000_ISR_PTX


def arrive(lib: Any, ffi: Any, card: Any, frame: bytes, time: int = 5) -> None:
    lib.ne2000_arrive(card, frame, len(frame), time)
    advance(lib, ffi, card, time)


def test_a_frame_lies_in_the_ring_behind_its_header(lib: Any, ffi: Any, card: Any) -> None:
    start(lib, card)
    frame = MAC + BROADCAST + b"\x08\0" + bytes(range(200)) * 2
    lib.ne2000_arrive(card, frame, len(frame), 5)
    assert lib.ne2000_deadline(card) == 5 and not card.isr
    advance(lib, ffi, card, 5)
    assert card.isr == lib.NE2000_ISR_PRX and lib.ne2000_interrupt(card)
    assert card.curr == FIRST + 3
    header = fetch(lib, card, (FIRST + 1) * 256, 4)
    assert header == bytes([lib.NE2000_RSR_PRX, FIRST + 3]) + (len(frame) + 4).to_bytes(2, "little")
    assert fetch(lib, card, (FIRST + 1) * 256 + 4, len(frame)) == frame


def test_a_frame_goes_on_at_the_rings_start(lib: Any, ffi: Any, card: Any) -> None:
    start(lib, card, BNRY=STOP - 2)
    card.curr = STOP - 1
    frame = MAC + BROADCAST + b"\x08\0" + bytes(range(1, 251)) * 2
    arrive(lib, ffi, card, frame)
    assert card.curr == FIRST + 2
    assert fetch(lib, card, (STOP - 1) * 256 + 4, 512) == frame[:512], "remote DMA goes round too"


@pytest.mark.parametrize(
    ("target", "rcr", "taken"),
    [
        (MAC, 0, True), (BROADCAST, 0, False), (BROADCAST, 4, True), (b"\1\0\x5e\0\0\1", 4, False),
        (b"\1\0\x5e\0\0\1", 8, True), (b"\2" + MAC[1:], 0xC, False), (b"\2" + MAC[1:], 0x10, True), (MAC, 0x20, False),
    ],
)  # fmt: skip
def test_addresses(lib: Any, ffi: Any, card: Any, target: bytes, rcr: int, taken: bool) -> None:
    start(lib, card, RCR=rcr)
    arrive(lib, ffi, card, target + MAC + bytes(50))
    assert bool(card.isr & lib.NE2000_ISR_PRX) == taken


def test_a_full_ring_overflows(lib: Any, ffi: Any, card: Any) -> None:
    start(lib, card)
    frame = MAC + bytes(1508)
    taken = 0
    while not card.isr & lib.NE2000_ISR_OVW:
        arrive(lib, ffi, card, frame)
        taken += 1
    assert taken - 1 == (STOP - FIRST - 1) // 6
    assert card.curr != card.bnry, "full is not empty"


def test_the_wire_holds_so_many_frames(lib: Any, ffi: Any, card: Any) -> None:
    for _ in range(lib.NE2000_INCOMING + 5):
        lib.ne2000_arrive(card, MAC + bytes(54), 60, 5)
    assert card.waiting == lib.NE2000_INCOMING
    for size in (0, 13, 1515):
        card.waiting = 0
        lib.ne2000_arrive(card, bytes(2000), size, 5)
        assert card.waiting == 0
    advance(lib, ffi, card, 5)


def test_a_stopped_card_receives_nothing(lib: Any, ffi: Any, card: Any) -> None:
    start(lib, card)
    write(lib, card, lib.NE2000_CR, 0x21)
    arrive(lib, ffi, card, MAC + bytes(54))
    assert card.isr == lib.NE2000_ISR_RST and card.waiting == 0
    write(lib, card, lib.NE2000_CR, 0x22)
    assert card.isr == 0
    lib.ne2000_read(card, lib.NE2000_RESET, 1)
    assert card.isr == lib.NE2000_ISR_RST and card.cr == 0x21


def test_any_registers(lib: Any, ffi: Any, card: Any) -> None:
    """Bounds, whatever the driver does: the ring may be nonsense."""
    state = 1
    for _ in range(20_000):
        state = state * 6364136223846793005 + 1442695040888963407 & 2**64 - 1
        reg, value, kind = state >> 40 & 31, state >> 48 & 0xFFFF, state >> 61
        if kind < 4:
            write(lib, card, reg, value, now=state >> 50, size=(1, 2, 4, 1)[kind] if 16 <= reg < 24 else 1)
        elif kind < 6:
            lib.ne2000_read(card, reg, (1, 2)[kind - 4] if 16 <= reg < 24 else 1)
        else:
            arrive(lib, ffi, card, (MAC if kind == 6 else BROADCAST) + bytes(value % 1500 + 8), time=state >> 50)
