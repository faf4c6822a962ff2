"""Ethernet, ARP, IPv4, IPv6, UDP and TCP as bytes: parsed with bounds, built with checksums.

Source: RFC 826, 791, 8200, 768, 9293; IEEE 802.3. A packet that is cut off or damaged is None.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, Self

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD  # EtherType
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58  # protocol of an IPv4 packet, next header of an IPv6 packet
ARP_REQUEST, ARP_REPLY = 1, 2
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16  # flags of a TCP segment
BROADCAST = b"\xff" * 6
FRAME_MAXIMUM = 1514  # bytes of a frame without its CRC


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + b"\0" * (len(data) & 1)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Frame(NamedTuple):
    """An Ethernet frame without its CRC."""

    target: bytes
    source: bytes
    kind: int
    payload: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        if len(data) < 14:
            return None
        return cls(data[:6], data[6:12], int.from_bytes(data[12:14], "big"), data[14:])

    def build(self) -> bytes:
        return self.target + self.source + self.kind.to_bytes(2, "big") + self.payload


class Arp(NamedTuple):
    """Of IPv4 over Ethernet."""

    operation: int
    source: bytes
    source_ip: bytes
    target: bytes
    target_ip: bytes


class Ip(NamedTuple):
    """An IPv4 packet in one piece."""

    source: bytes
    target: bytes
    protocol: int
    payload: bytes

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        if len(data) < 20 or data[0] >> 4 != 4:
            return None
        header, total = 4 * (data[0] & 15), int.from_bytes(data[2:4], "big")
        if header < 20 or not header <= total <= len(data) or checksum(data[:header]):
            return None
        if int.from_bytes(data[6:8], "big") & 0x3FFF:  # a fragment
            return None
        return cls(data[12:16], data[16:20], data[9], data[header:total])

    def build(self) -> bytes:
        header = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 20 + len(self.payload), 0, 0, 64, self.protocol, 0, self.source, self.target
        )
        return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + self.payload

    def pseudo_header(self, size: int) -> bytes:
        """What the checksums of UDP and TCP begin with."""
        return self.source + self.target + struct.pack(">BBH", 0, self.protocol, size)


class Ip6(NamedTuple):
    """An IPv6 packet; `protocol` is what follows its header, which may be an extension header."""

    source: bytes
    target: bytes
    protocol: int
    payload: bytes
    hops: int = 255

    @classmethod
    def parse(cls, data: bytes) -> Self | None:
        if len(data) < 40 or data[0] >> 4 != 6:
            return None
        end = 40 + int.from_bytes(data[4:6], "big")
        if end > len(data):
            return None
        return cls(data[8:24], data[24:40], data[6], data[40:end], data[7])

    def build(self) -> bytes:
        head = struct.pack(">IHBB", 6 << 28, len(self.payload), self.protocol, self.hops)
        return head + self.source + self.target + self.payload

    def pseudo_header(self, size: int) -> bytes:
        """What the checksums of ICMPv6, UDP and TCP begin with (RFC 8200, 8.1)."""
        return self.source + self.target + struct.pack(">II", size, self.protocol)


class Udp(NamedTuple):
    """A datagram and its ports."""

    source: int
    target: int
    payload: bytes

    @classmethod
    def parse(cls, ip: Ip) -> Self | None:
        data = ip.payload
        if len(data) < 8:
            return None
        source, target, size, total = struct.unpack_from(">4H", data)
        if not 8 <= size <= len(data):
            return None
        if total and checksum(ip.pseudo_header(size) + data[:size]):
            return None
        return cls(source, target, data[8:size])

    def build(self, source: bytes, target: bytes) -> Ip:
        size = 8 + len(self.payload)
        ip = Ip(source, target, UDP, b"")
        head = struct.pack(">3H", self.source, self.target, size)
        total = checksum(ip.pseudo_header(size) + head + b"\0\0" + self.payload) or 0xFFFF
        return ip._replace(payload=head + total.to_bytes(2, "big") + self.payload)


class Tcp(NamedTuple):
    """A segment; options are skipped."""

    source: int
    target: int
    sequence: int
    acknowledged: int
    flags: int
    window: int
    payload: bytes = b""

    @classmethod
    def parse(cls, ip: Ip) -> Self | None:
        data = ip.payload
        if len(data) < 20 or checksum(ip.pseudo_header(len(data)) + data):
            return None
        source, target, sequence, acknowledged, flags, window = struct.unpack_from(">HHIIHH", data)
        header = 4 * (flags >> 12)
        if not 20 <= header <= len(data):
            return None
        return cls(source, target, sequence, acknowledged, flags & 0x3F, window, data[header:])

    def build(self, source: bytes, target: bytes) -> Ip:
        size = 20 + len(self.payload)
        ip = Ip(source, target, TCP, b"")
        head = struct.pack(
            ">HHIIHH",
            self.source,
            self.target,
            self.sequence & 0xFFFFFFFF,
            self.acknowledged & 0xFFFFFFFF,
            5 << 12 | self.flags,
            self.window,
        )
        total = checksum(ip.pseudo_header(size) + head + bytes(4) + self.payload)
        return ip._replace(payload=head + total.to_bytes(2, "big") + b"\0\0" + self.payload)


def parse_arp(data: bytes) -> Arp | None:
    """ARP of IPv4 over Ethernet."""
    if len(data) < 28 or data[:6] != struct.pack(">HHBB", 1, IPV4, 6, 4):
        return None
    return Arp(int.from_bytes(data[6:8], "big"), data[8:14], data[14:18], data[18:24], data[24:28])


def build_arp(arp: Arp) -> bytes:
    """Its bytes."""
    head = struct.pack(">HHBBH", 1, IPV4, 6, 4, arp.operation)
    return head + arp.source + arp.source_ip + arp.target + arp.target_ip
