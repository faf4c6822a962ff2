"""A network of one segment inside the process, for one guest: no packet leaves it, nothing in it is the host's.

| address | what answers there |
| --- | --- |
| 10.0.2.2 | the gateway: ICMP echo, UDP and TCP echo (port 7), DHCP, TFTP of the files that it was given |
| 10.0.2.3 | DNS: `gateway.test` and `dns.test`, and no other name |
| 10.0.2.15 | the guest, by DHCP |
| fe80::2, fec0::2 | the IPv6 router (icmpv6.py) |

Source: RFC 826 (ARP), 792 (ICMP), 862 (echo), 2131 and 2132 (DHCP), 1035 (DNS), 1350 and 2347 to 2349 (TFTP), 9293
(TCP).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from . import icmpv6
from .icmpv6 import MAC
from .packets import (
    ACK,
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    FIN,
    ICMP,
    IPV4,
    IPV6,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    Arp,
    Frame,
    Ip,
    Tcp,
    Udp,
    build_arp,
    checksum,
    parse_arp,
)

GATEWAY, DNS, GUEST = bytes((10, 0, 2, 2)), bytes((10, 0, 2, 3)), bytes((10, 0, 2, 15))
MASK, EVERYWHERE = bytes((255, 255, 255, 0)), bytes((255,)) * 4
NAMES = {b"gateway.test": GATEWAY, b"dns.test": DNS}

ECHO, DHCP_SERVER, DHCP_CLIENT, DOMAIN, TFTP = 7, 67, 68, 53, 69
TFTP_REPLY = 1069  # the port that a transfer continues at
LEASE = 86400  # seconds

CONNECTIONS = 16  # of TCP at a time
SEGMENT = 1460
WINDOW = 8192


@dataclass
class Connection:
    """An accepted TCP connection: the next sequence number of either side."""

    ours: int
    theirs: int
    closing: bool = False


@dataclass
class UserNetwork:
    """`files`: what TFTP serves, by name; `boot`: the one that DHCP names."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    boot: str = ""
    _connections: dict[tuple[bytes, int, int], Connection] = field(default_factory=dict)
    _transfer: tuple[bytes, int] = (b"", 512)  # of TFTP: the file, and bytes of a block

    def receive(self, data: bytes) -> list[bytes]:
        """The frames that answer a frame of the guest's, in order; whatever it is, it raises nothing."""
        frame = Frame.parse(data)
        if frame is None or frame.target not in (MAC, BROADCAST, *icmpv6.GROUP_MACS):
            return []
        if frame.kind == IPV6:
            return [answer.build() for answer in icmpv6.receive(frame)]
        if frame.kind == ARP:
            return [Frame(frame.source, MAC, ARP, reply).build() for reply in self._arp(frame.payload)]
        if frame.kind != IPV4 or (ip := Ip.parse(frame.payload)) is None:
            return []
        return [Frame(frame.source, MAC, IPV4, reply.build()).build() for reply in self._ip(frame, ip)]

    def _arp(self, data: bytes) -> Iterator[bytes]:
        asked = parse_arp(data)
        if asked and asked.operation == ARP_REQUEST and asked.target_ip in (GATEWAY, DNS):
            yield build_arp(Arp(ARP_REPLY, MAC, asked.target_ip, asked.source, asked.source_ip))

    def _ip(self, frame: Frame, ip: Ip) -> Iterator[Ip]:
        if ip.protocol == UDP and (datagram := Udp.parse(ip)) is not None:
            yield from self._udp(frame, ip, datagram)
        elif ip.target not in (GATEWAY, DNS):
            return
        elif ip.protocol == ICMP and ip.payload[:1] == b"\x08" and not checksum(ip.payload):
            body = b"\0\0\0\0" + ip.payload[4:]
            yield Ip(ip.target, ip.source, ICMP, body[:2] + checksum(body).to_bytes(2, "big") + body[4:])
        elif ip.protocol == TCP and (segment := Tcp.parse(ip)) is not None:
            for answer in self._tcp(ip, segment):
                yield answer.build(ip.target, ip.source)

    # ---- UDP ----

    def _udp(self, frame: Frame, ip: Ip, datagram: Udp) -> Iterator[Ip]:
        source, payloads, to = datagram.target, [], (ip.source, datagram.source)
        if datagram.target == DHCP_SERVER and ip.target in (EVERYWHERE, GATEWAY):
            payloads = list(self._dhcp(frame.source, datagram.payload))
            yield from (Udp(DHCP_SERVER, DHCP_CLIENT, payload).build(GATEWAY, EVERYWHERE) for payload in payloads)
            return
        if ip.target == GATEWAY and datagram.target == ECHO:
            payloads = [datagram.payload]
        elif ip.target == DNS and datagram.target == DOMAIN:
            payloads = list(_dns(datagram.payload))
        elif ip.target == GATEWAY and datagram.target in (TFTP, TFTP_REPLY):
            source, payloads = TFTP_REPLY, list(self._tftp(datagram.payload))
        yield from (Udp(source, to[1], payload).build(ip.target, to[0]) for payload in payloads)

    def _dhcp(self, client: bytes, data: bytes) -> Iterator[bytes]:
        discover, offer, request, ack, inform = 1, 2, 3, 5, 8
        if len(data) < 240 or data[0] != 1 or data[236:240] != b"\x63\x82\x53\x63":
            return
        options = _options(data[240:])
        kind = options.get(53, b"\0")[0] if options.get(53) else 0
        answer = {discover: offer, request: ack, inform: ack}.get(kind)
        if answer is None or options.get(54, GATEWAY) != GATEWAY:
            return
        boot = self.boot.encode()
        given = {
            53: bytes([answer]), 54: GATEWAY, 51: struct.pack(">I", LEASE), 1: MASK, 3: GATEWAY, 6: DNS, 15: b"test",
            175: b"\xb0\1\1",  # to iPXE (no-pxedhcp): nobody else answers, do not wait
            **({66: b"10.0.2.2", 67: boot} if boot else {}),
        }  # fmt: skip
        address = bytes(4) if kind == inform else GUEST
        head = b"\x02\x01\x06\0" + data[4:8] + bytes(2) + data[10:12] + data[12:16] + address + GATEWAY + bytes(4)
        head += data[28:44] + bytes(64) + boot[:127].ljust(128, b"\0") + b"\x63\x82\x53\x63"
        yield head + b"".join(bytes([code, len(value)]) + value for code, value in given.items()) + b"\xff"

    def _tftp(self, data: bytes) -> Iterator[bytes]:
        """Read requests with block size and transfer size; one transfer at a time."""
        read, block, acknowledge, error, options_taken = 1, 3, 4, 5, 6
        if len(data) < 4:
            return
        operation = int.from_bytes(data[:2], "big")
        if operation == read:
            name, _mode, *options = data[2:].rstrip(b"\0").split(b"\0")[:12] + [b""] * 2
            content = self.files.get(name.decode(errors="replace").lstrip("/"))
            if content is None:
                yield struct.pack(">HH", error, 1) + b"File not found\0"
                return
            taken, size = b"", 512
            for option, value in zip(options[::2], options[1::2], strict=False):
                if option.lower() == b"blksize" and value.isdigit() and 8 <= int(value[:6]) <= 1428:
                    size = int(value[:6])
                    taken += b"blksize\0" + value + b"\0"
                elif option.lower() == b"tsize":
                    taken += b"tsize\0" + str(len(content)).encode() + b"\0"
            self._transfer = content, size
            yield struct.pack(">H", options_taken) + taken if taken else self._block(1)
        elif operation == acknowledge:
            number = int.from_bytes(data[2:4], "big")
            content, size = self._transfer
            if number * size <= len(content):  # the last block is shorter than the others
                yield self._block(number + 1)
        elif operation not in (block, error):
            yield struct.pack(">HH", error, 4) + b"Only reading is offered\0"

    def _block(self, number: int) -> bytes:
        content, size = self._transfer
        return struct.pack(">HH", 3, number & 0xFFFF) + content[(number - 1) * size : number * size]

    # ---- TCP ----

    def _tcp(self, ip: Ip, segment: Tcp) -> Iterator[Tcp]:
        """An echo server without retransmission: the segment cannot be lost on the way."""
        key = ip.source, segment.source, segment.target
        known = self._connections.get(key)
        end = segment.sequence + len(segment.payload) + bool(segment.flags & SYN) + bool(segment.flags & FIN)

        def answer(flags: int, sequence: int, payload: bytes = b"") -> Tcp:
            return Tcp(segment.target, segment.source, sequence, end, flags | ACK, WINDOW, payload)

        if segment.flags & RST:
            self._connections.pop(key, None)
        elif segment.flags & SYN:
            if segment.target != ECHO or ip.target != GATEWAY or len(self._connections) >= CONNECTIONS:
                yield answer(RST, 0)
                return
            self._connections[key] = Connection(ours=1, theirs=end)
            yield answer(SYN, 0)
        elif known is None:
            yield Tcp(segment.target, segment.source, segment.acknowledged, 0, RST, 0)
        elif segment.sequence != known.theirs & 0xFFFFFFFF:  # sent again: what was lost was our answer
            yield Tcp(segment.target, segment.source, known.ours, known.theirs, ACK, WINDOW)
        else:
            known.theirs = end
            for at in range(0, len(segment.payload), SEGMENT):
                piece = segment.payload[at : at + SEGMENT]
                yield answer(PSH, known.ours, piece)
                known.ours += len(piece)
            if segment.flags & FIN:
                known.closing = True
                yield answer(FIN, known.ours)
                known.ours += 1
            elif known.closing and segment.acknowledged == known.ours & 0xFFFFFFFF:
                del self._connections[key]


def _options(data: bytes) -> dict[int, bytes]:
    """DHCP options by code, up to the end or to where they are cut off."""
    found, at = {}, 0
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        size = data[at + 1] if at + 1 < len(data) else 0
        found[data[at]] = data[at + 2 : at + 2 + size]
        at += 2 + size
    return found


def _dns(data: bytes) -> Iterator[bytes]:
    """One question for an address."""
    if len(data) < 17 or data[2] & 0x80 or data[4:6] != b"\0\1":
        return
    labels, at = [], 12
    while at < len(data) and data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    question = data[12 : at + 5]
    if at + 5 > len(data):
        return
    address = NAMES.get(b".".join(labels).lower()) if question[-4:] == b"\0\1\0\1" else None
    name_error = 0 if b".".join(labels).lower() in NAMES else 3
    head = data[:2] + struct.pack(">HHHHH", 0x8580 | name_error, 1, 1 if address else 0, 0, 0)
    answer = b"\xc0\x0c\0\1\0\1" + struct.pack(">IH", 60, 4) + address if address else b""
    yield head + question + answer
