"""A small assembler of ACPI Machine Language: each function returns the bytes of one term.

Source: ACPI specification 6.5, chapter 20 (AML) and 6.4 (resource descriptors).
"""

from __future__ import annotations

import struct


def _package_length(size: int) -> bytes:
    """PkgLength (20.2.4); it counts itself."""
    if size + 1 < 1 << 6:
        return bytes([size + 1])
    for extra in (1, 2, 3):
        total = size + 1 + extra
        if total < 1 << (4 + 8 * extra):
            return bytes([extra << 6 | total & 0xF]) + (total >> 4).to_bytes(extra, "little")
    raise ValueError(f"an AML package of {size} bytes")


def _packaged(opcode: bytes, body: bytes) -> bytes:
    return opcode + _package_length(len(body)) + body


def path(text: str) -> bytes:
    r"""NameString (20.2.2): `\_SB.PCI0`, `COM1`."""
    root = b"\\" if text.startswith("\\") else b""
    segments = [segment.ljust(4, "_").encode("ascii") for segment in text.lstrip("\\").split(".")]
    if any(len(segment) != 4 for segment in segments):
        raise ValueError(f"no AML name: {text}")
    prefix = {1: b"", 2: b"\x2e"}.get(len(segments), b"\x2f" + bytes([len(segments)]))
    return root + prefix + b"".join(segments)


def integer(value: int) -> bytes:
    """ZeroOp, OneOp or the shortest constant (20.2.3)."""
    if value in (0, 1):
        return bytes([value])
    for prefix, size in ((0x0A, 1), (0x0B, 2), (0x0C, 4), (0x0E, 8)):
        if value < 1 << 8 * size:
            return bytes([prefix]) + value.to_bytes(size, "little")
    raise ValueError(f"no AML integer: {value}")


def string(text: str) -> bytes:
    """String constant (20.2.3)."""
    return b"\x0d" + text.encode("ascii") + b"\0"


def eisa_id(text: str) -> bytes:
    """An EISA identifier such as PNP0501 as its compressed integer (19.3.4, EISAID)."""
    letters = [ord(letter) - ord("A") + 1 for letter in text[:3]]
    vendor = letters[0] << 10 | letters[1] << 5 | letters[2]
    return b"\x0c" + struct.pack(">HH", vendor, int(text[3:], 16))


def name(text: str, value: bytes) -> bytes:
    """Name (text, value)"""
    return b"\x08" + path(text) + value


def package(*elements: bytes) -> bytes:
    """Package () { elements }"""
    return _packaged(b"\x12", bytes([len(elements)]) + b"".join(elements))


def buffer(data: bytes) -> bytes:
    """Buffer () { data }"""
    return _packaged(b"\x11", integer(len(data)) + data)


def scope(text: str, *terms: bytes) -> bytes:
    """Scope (text) { terms }"""
    return _packaged(b"\x10", path(text) + b"".join(terms))


def device(text: str, *terms: bytes) -> bytes:
    """Device (text) { terms }"""
    return _packaged(b"\x5b\x82", path(text) + b"".join(terms))


def resources(*descriptors: bytes) -> bytes:
    """ResourceTemplate () { descriptors }, ended by an end tag without checksum (6.4.2.9)."""
    return buffer(b"".join(descriptors) + b"\x79\0")


def io(base: int, size: int) -> bytes:
    """IO (Decode16, base, base, 1, size): 6.4.2.5."""
    return struct.pack("<BBHHBB", 0x47, 1, base, base, 1, size)


def irq(number: int) -> bytes:
    """IRQNoFlags () { number }: edge, active high, exclusive (6.4.2.1)."""
    return struct.pack("<BH", 0x22, 1 << number)


def _address_space(tag: int, layout: str, kind: int, flags: int, first: int, last: int) -> bytes:
    # The producer's general flags: both ends fixed, positive decode (6.4.3.5).
    body = struct.pack(f"<BBB5{layout}", kind, 0x0C, flags, 0, first, last, 0, last - first + 1)
    return bytes([tag]) + struct.pack("<H", len(body)) + body


def word_bus(first: int, last: int) -> bytes:
    """WordBusNumber of a bridge: 6.4.3.5.3."""
    return _address_space(0x88, "H", 2, 0, first, last)


def word_io(first: int, last: int) -> bytes:
    """WordIO of a bridge, the entire range: 6.4.3.5.3."""
    return _address_space(0x88, "H", 1, 3, first, last)


def dword_memory(first: int, last: int) -> bytes:
    """DWordMemory of a bridge, read/write and not cacheable: 6.4.3.5.2."""
    return _address_space(0x87, "I", 0, 1, first, last)
