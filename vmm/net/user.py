"""A network of one segment inside the process, for one guest: no packet leaves it, nothing in it is the host's.

| address | what answers there |
| --- | --- |
| 10.0.2.2 | the gateway: ICMP echo, UDP and TCP echo (port 7), DHCP, TFTP (tftp.py) of the files that it was given |
| 10.0.2.3 | DNS: `gateway.test` and `dns.test`, and no other name |
| 10.0.2.15 | the guest, by DHCP |
| fe80::2, fec0::2 | the IPv6 router (icmpv6.py) |

Source: RFC 826 (ARP), 792 (ICMP), 862 (echo), 2131 and 2132 (DHCP), 1035 (DNS), 9293 (TCP).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from . import icmpv6, tftp
from .icmpv6 import MAC
from .packets import (
    ACK,
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    FIN,
    FRAME_MAXIMUM,
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
from .recent import Recent
from .tftp import TftpServer

GATEWAY, DNS, GUEST = bytes((10, 0, 2, 2)), bytes((10, 0, 2, 3)), bytes((10, 0, 2, 15))
MASK, EVERYWHERE = bytes((255, 255, 255, 0)), bytes((255,)) * 4
NAMES = {b"gateway.test": GATEWAY, b"dns.test": DNS}

ECHO, DHCP_SERVER, DHCP_CLIENT, DOMAIN = 7, 67, 68, 53
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
    _connections: Recent[tuple[bytes, int, int], Connection] = field(default_factory=lambda: Recent(CONNECTIONS))

    def __post_init__(self) -> None:
        self._tftp = TftpServer(self.files)

    def receive(self, data: bytes) -> list[bytes]:
        """The frames that answer a frame of the guest's, in order; whatever it is, it raises nothing."""
        frame = Frame.parse(data)
        if frame is None or len(data) > FRAME_MAXIMUM or frame.target not in (MAC, BROADCAST, *icmpv6.GROUP_MACS):
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
        elif ip.target == GATEWAY and datagram.target in (tftp.PORT, tftp.TRANSFER_PORT):
            source, payloads = tftp.TRANSFER_PORT, list(self._tftp.receive(to, datagram.payload))
        yield from (Udp(source, to[1], payload).build(ip.target, to[0]) for payload in payloads)

    def _dhcp(self, client: bytes, data: bytes) -> Iterator[bytes]:
        discover, offer, request, ack, nak, inform = 1, 2, 3, 5, 6, 8
        if len(data) < 240 or data[0] != 1 or data[236:240] != b"\x63\x82\x53\x63":
            return
        options = _options(data[240:])
        kind = options.get(53, b"\0")[0] if options.get(53) else 0
        answer = {discover: offer, request: ack, inform: ack}.get(kind)
        if answer is None or options.get(54, GATEWAY) != GATEWAY:
            return
        wanted = options.get(50) or data[12:16]  # by a client that has had an address before
        if kind == request and wanted not in (GUEST, bytes(4)):
            yield _dhcp_message(data, bytes(4), "", {53: bytes([nak]), 54: GATEWAY})
            return
        boot = self.boot.encode()
        given = {
            53: bytes([answer]), 54: GATEWAY, 51: struct.pack(">I", LEASE), 1: MASK, 3: GATEWAY, 6: DNS, 15: b"test",
            175: b"\xb0\1\1",  # to iPXE (no-pxedhcp): nobody else answers, do not wait
            **({66: b"10.0.2.2", 67: boot} if boot else {}),
        }  # fmt: skip
        yield _dhcp_message(data, bytes(4) if kind == inform else GUEST, self.boot, given)

    # ---- TCP ----

    def _tcp(self, ip: Ip, segment: Tcp) -> Iterator[Tcp]:
        """An echo server without retransmission: the segment cannot be lost on the way."""
        key = ip.source, segment.source, segment.target
        known = self._connections.get(key)
        end = segment.sequence + len(segment.payload) + bool(segment.flags & SYN) + bool(segment.flags & FIN)

        def answer(flags: int, sequence: int, payload: bytes = b"") -> Tcp:
            return Tcp(segment.target, segment.source, sequence, end, flags | ACK, WINDOW, payload)

        if segment.flags & RST:
            self._connections.drop(key)
        elif segment.flags & SYN:
            if segment.target != ECHO or ip.target != GATEWAY:
                yield answer(RST, 0)
                return
            self._connections.put(key, Connection(ours=1, theirs=end))
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
                self._connections.drop(key)


def _dhcp_message(asked: bytes, address: bytes, boot: str, options: Mapping[int, bytes]) -> bytes:
    """The server's answer to a message (RFC 2131, figure 1 and table 3)."""
    head = b"\x02\x01\x06\0" + asked[4:8] + bytes(2) + asked[10:12] + asked[12:16] + address + GATEWAY + bytes(4)
    head += asked[28:44] + bytes(64) + boot.encode()[:127].ljust(128, b"\0") + b"\x63\x82\x53\x63"
    return head + b"".join(bytes([code, len(value)]) + value for code, value in options.items()) + b"\xff"


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
