"""The network inside the process: what answers there, byte for byte, and that nothing unsettles it."""

from __future__ import annotations

import random
import struct

import pytest

from bringup.vmm.net.icmpv6 import MAC
from bringup.vmm.net.packets import (
    ACK,
    ARP,
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    FIN,
    ICMP,
    IPV4,
    PSH,
    RST,
    SYN,
    Arp,
    Frame,
    Ip,
    Tcp,
    Udp,
    build_arp,
    checksum,
    parse_arp,
)
from bringup.vmm.net.user import DNS, EVERYWHERE, GATEWAY, GUEST, UserNetwork

CARD = bytes.fromhex("525400123456")


def ask(network: UserNetwork, ip: Ip, target: bytes = MAC) -> list[Ip]:
    frames = [Frame.parse(data) for data in network.receive(Frame(target, CARD, IPV4, ip.build()).build())]
    assert all(frame is not None and frame.target == CARD and frame.source == MAC for frame in frames)
    packets = [Ip.parse(frame.payload) for frame in frames if frame]
    assert all(packets), "lengths and checksums are right"
    return [packet for packet in packets if packet]


def ask_udp(network: UserNetwork, to: bytes, port: int, payload: bytes) -> list[bytes]:
    found = [Udp.parse(ip) for ip in ask(network, Udp(5000, port, payload).build(GUEST, to))]
    assert all(datagram and datagram.target == 5000 for datagram in found)
    return [datagram.payload for datagram in found if datagram]


def test_checksum() -> None:
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == ~0xDDF2 & 0xFFFF  # RFC 1071, 3
    assert checksum(b"") == 0xFFFF
    assert checksum(b"\x12") == checksum(b"\x12\0")


@pytest.mark.parametrize(("ip", "answered"), [(GATEWAY, True), (DNS, True), (GUEST, False), (b"\x0a\0\2\x63", False)])
def test_arp(ip: bytes, answered: bool) -> None:
    request = build_arp(Arp(ARP_REQUEST, CARD, GUEST, bytes(6), ip))
    replies = UserNetwork().receive(Frame(BROADCAST, CARD, ARP, request).build())
    assert len(replies) == answered
    for data in replies:
        assert data[:14] == CARD + MAC + b"\x08\x06"
        assert parse_arp(data[14:]) == Arp(ARP_REPLY, MAC, ip, CARD, GUEST)


def test_ping() -> None:
    body = struct.pack(">BBHHH", 8, 0, 0, 77, 1) + b"abc"
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    (reply,) = ask(UserNetwork(), Ip(GUEST, GATEWAY, ICMP, body))
    assert (reply.source, reply.target, reply.payload[0]) == (GATEWAY, GUEST, 0)
    assert reply.payload[4:] == body[4:] and not checksum(reply.payload)
    assert ask(UserNetwork(), Ip(GUEST, b"\x08\x08\x08\x08", ICMP, body)) == [], "nobody else is there"
    assert ask(UserNetwork(), Ip(GUEST, GATEWAY, ICMP, b"\x08\0\0\0\0")) == [], "a wrong checksum"


def dhcp(kind: int, options: bytes = b"") -> bytes:
    head = b"\1\1\6\0" + b"\x12\x34\x56\x78" + bytes(20) + CARD.ljust(16, b"\0") + bytes(192)
    return head + b"\x63\x82\x53\x63" + bytes([53, 1, kind]) + options + b"\xff"


@pytest.mark.parametrize(("kind", "answer"), [(1, 2), (3, 5), (8, 5)])
def test_dhcp(kind: int, answer: int) -> None:
    network = UserNetwork(boot="boot.ipxe")
    (ip,) = ask(network, Udp(68, 67, dhcp(kind)).build(bytes(4), EVERYWHERE), BROADCAST)
    datagram = Udp.parse(ip)
    assert datagram and (datagram.source, datagram.target) == (67, 68)
    data = datagram.payload
    assert data[4:8] == b"\x12\x34\x56\x78" and data[28:34] == CARD
    assert data[16:20] == (bytes(4) if kind == 8 else GUEST)
    assert data[108:].startswith(b"boot.ipxe\0")
    assert data[240:243] == bytes([53, 1, answer])


@pytest.mark.parametrize(
    "data", [b"", dhcp(1)[:200], dhcp(4), dhcp(3, bytes([54, 4, 9, 9, 9, 9])), b"\2" + dhcp(1)[1:]]
)
def test_dhcp_that_is_not_for_it(data: bytes) -> None:
    assert ask(UserNetwork(), Udp(68, 67, data).build(bytes(4), EVERYWHERE), BROADCAST) == []


@pytest.mark.parametrize(("address", "answer"), [(GUEST, 5), (bytes((192, 168, 1, 9)), 6)])
@pytest.mark.parametrize("renewing", [True, False])
def test_dhcp_for_an_address_of_before(address: bytes, answer: int, renewing: bool) -> None:
    data = dhcp(3, b"" if renewing else bytes([50, 4]) + address)
    if renewing:
        data = data[:12] + address + data[16:]
    (ip,) = ask(UserNetwork(), Udp(68, 67, data).build(bytes(4), EVERYWHERE), BROADCAST)
    datagram = Udp.parse(ip)
    assert datagram and datagram.payload[240:243] == bytes([53, 1, answer])
    assert datagram.payload[16:20] == (GUEST if answer == 5 else bytes(4))


def test_udp_echo() -> None:
    assert ask_udp(UserNetwork(), GATEWAY, 7, b"hello") == [b"hello"]
    assert ask_udp(UserNetwork(), GATEWAY, 9, b"hello") == []
    assert ask_udp(UserNetwork(), DNS, 7, b"hello") == []


def dns(name: bytes, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(label)]) + label for label in name.split(b"."))
    return b"\xab\xcd\1\0\0\1\0\0\0\0\0\0" + labels + b"\0" + struct.pack(">HH", kind, 1)


def test_dns() -> None:
    (answer,) = ask_udp(UserNetwork(), DNS, 53, dns(b"Gateway.test"))
    assert answer[:2] == b"\xab\xcd" and answer[3] & 15 == 0 and answer.endswith(GATEWAY)
    (answer,) = ask_udp(UserNetwork(), DNS, 53, dns(b"example.org"))
    assert answer[3] & 15 == 3 and answer[6:8] == b"\0\0"
    (answer,) = ask_udp(UserNetwork(), DNS, 53, dns(b"dns.test", 28))
    assert answer[3] & 15 == 0 and answer[6:8] == b"\0\0", "it has no IPv6 address"
    assert ask_udp(UserNetwork(), DNS, 53, dns(b"x" * 60)[:30]) == []


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1024, 5000])
def test_tftp(size: int) -> None:
    content = random.Random(size).randbytes(size)
    network, received, block = UserNetwork({"a": content}), b"", 1
    (answer,) = ask_udp(network, GATEWAY, 69, b"\0\1a\0octet\0")
    while True:
        assert answer[:4] == struct.pack(">HH", 3, block)
        received += answer[4:]
        rest = ask_udp(network, GATEWAY, 1069, struct.pack(">HH", 4, block))
        if len(answer) < 516:
            assert rest == []
            break
        (answer,), block = rest, block + 1
    assert received == content


def test_tftp_options_and_errors() -> None:
    network = UserNetwork({"a": b"x" * 2000})
    assert ask_udp(network, GATEWAY, 69, b"\0\1/a\0octet\0blksize\x001024\0tsize\x000\0") == [
        b"\0\6blksize\x001024\0tsize\x002000\0"
    ]
    assert ask_udp(network, GATEWAY, 1069, b"\0\4\0\0") == [b"\0\3\0\1" + b"x" * 1024]
    (answer,) = ask_udp(network, GATEWAY, 69, b"\0\1a\0octet\0blksize\x0065464\0")
    assert answer == b"\0\6blksize\x001428\0", "what fits into a frame (RFC 2348)"
    assert ask_udp(network, GATEWAY, 69, b"\0\1a\0octet\0blksize\x007\0")[0][:4] == b"\0\3\0\1"
    assert ask_udp(network, GATEWAY, 69, b"\0\1b\0octet\0") == [b"\0\5\0\1File not found\0"]
    assert ask_udp(network, GATEWAY, 69, b"\0\2a\0octet\0")[0][:4] == b"\0\5\0\4"


def test_tftp_blocks_beyond_16_bits() -> None:
    network, content = UserNetwork({"a": bytes(8) * 65536 + b"end"}), b""
    (answer,) = ask_udp(network, GATEWAY, 69, b"\0\1a\0octet\0blksize\x008\0")
    number = 0
    while number == 0 or len(answer) == 12:
        (answer,) = ask_udp(network, GATEWAY, 1069, struct.pack(">HH", 4, number & 0xFFFF))
        number += 1
        content += answer[4:]
    assert (number, content[-5:]) == (65537, b"\0\0end")


def test_tftp_blocks_that_are_lost() -> None:
    network = UserNetwork({"a": b"x" * 512 + b"y" * 512 + b"z"})
    (first,) = ask_udp(network, GATEWAY, 69, b"\0\1a\0octet\0")
    assert ask_udp(network, GATEWAY, 1069, b"\0\4\0\0") == [first]
    (second,) = ask_udp(network, GATEWAY, 1069, b"\0\4\0\1")
    assert ask_udp(network, GATEWAY, 1069, b"\0\4\0\1") == [second] and second[4:] == b"y" * 512
    assert ask_udp(network, GATEWAY, 1069, b"\0\4\0\5") == [], "not sent yet"
    assert ask_udp(network, GATEWAY, 1069, b"\0\4\0\2") == [b"\0\3\0\3z"]
    assert ask_udp(network, GATEWAY, 1069, b"\0\4\0\3") == []
    assert ask_udp(network, GATEWAY, 1069, b"\0\4\0\2") == [], "it is over"


def test_several_tftp_transfers() -> None:
    """Of different ports; of more than eight the one that began first is forgotten."""
    network = UserNetwork({str(number): bytes([number]) * 600 for number in range(9)})

    def send(port: int, to: int, payload: bytes) -> list[bytes]:
        found = [Udp.parse(ip) for ip in ask(network, Udp(port, to, payload).build(GUEST, GATEWAY))]
        return [datagram.payload[4:] for datagram in found if datagram and datagram.target == port]

    for number in range(9):
        assert send(number, 69, b"\0\1%d\0octet\0" % number) == [bytes([number]) * 512]
    assert [send(number, 1069, b"\0\4\0\1") for number in range(9)] == [
        [bytes([number]) * 88] if number else [] for number in range(9)
    ]


def exchange(network: UserNetwork, segment: Tcp) -> list[Tcp]:
    found = [Tcp.parse(ip) for ip in ask(network, segment.build(GUEST, GATEWAY))]
    return [answer for answer in found if answer]


def test_many_tcp_connections() -> None:
    """The one that was opened first makes room for the next."""
    network = UserNetwork()
    for port in range(17):
        (opened,) = exchange(network, Tcp(port, 7, 0, 0, SYN, 1000))
        assert opened.flags == SYN | ACK
    assert [exchange(network, Tcp(port, 7, 1, 1, PSH | ACK, 1000, b"x"))[0].payload for port in (1, 16)] == [b"x"] * 2
    assert exchange(network, Tcp(0, 7, 1, 1, PSH | ACK, 1000, b"x"))[0].flags & RST


def test_tcp_echo() -> None:
    network = UserNetwork()

    def send(flags: int, sequence: int, acknowledged: int, payload: bytes = b"", port: int = 7) -> list[Tcp]:
        return exchange(network, Tcp(4000, port, sequence, acknowledged, flags, 1000, payload))

    (opened,) = send(SYN, 0xFFFFFFFF, 0)
    assert (opened.flags, opened.sequence, opened.acknowledged) == (SYN | ACK, 0, 0)
    assert send(ACK, 0, 1) == []
    (echoed,) = send(ACK | PSH, 0, 1, b"hello")
    assert (echoed.payload, echoed.sequence, echoed.acknowledged) == (b"hello", 1, 5)
    (again,) = send(ACK | PSH, 0, 1, b"hello")
    assert (again.payload, again.acknowledged) == (b"", 5), "it has that already"
    (closed,) = send(FIN | ACK, 5, 6)
    assert (closed.flags, closed.sequence, closed.acknowledged) == (FIN | ACK, 6, 6)
    assert send(ACK, 6, 7) == []
    assert send(ACK, 6, 7)[0].flags & RST, "the connection is gone"
    assert send(SYN, 0, 0, port=80)[0].flags & RST


def test_nothing_unsettles_it() -> None:
    """Damaged copies of good frames, and noise."""
    generator = random.Random(1)
    network = UserNetwork({"a": b"x" * 600})
    good = [
        Frame(BROADCAST, CARD, ARP, build_arp(Arp(ARP_REQUEST, CARD, GUEST, bytes(6), GATEWAY))),
        Frame(BROADCAST, CARD, IPV4, Udp(68, 67, dhcp(1)).build(bytes(4), EVERYWHERE).build()),
        Frame(MAC, CARD, IPV4, Udp(5, 53, dns(b"gateway.test")).build(GUEST, DNS).build()),
        Frame(MAC, CARD, IPV4, Udp(5, 69, b"\0\1a\0octet\0blksize\x00512\0").build(GUEST, GATEWAY).build()),
        Frame(MAC, CARD, IPV4, Tcp(5, 7, 0, 0, SYN, 9).build(GUEST, GATEWAY).build()),
    ]
    for _ in range(20_000):
        data = bytearray(generator.choice(good).build())
        for _ in range(generator.randrange(4)):
            data[generator.randrange(14, len(data))] = generator.randrange(256)
        ip = data[14:34]
        if generator.randrange(2) and data[12:14] == b"\x08\0" and ip[0] == 0x45:  # a good header again
            ip[10:12] = b"\0\0"
            data[24:26] = checksum(bytes(ip)).to_bytes(2, "big")
        for reply in network.receive(bytes(data[: generator.choice((len(data), generator.randrange(len(data) + 1)))])):
            assert 14 <= len(reply) <= 1514
        network.receive(generator.randbytes(generator.randrange(80)))
    too_long = Udp(5, 7, bytes(1473)).build(GUEST, GATEWAY)
    assert network.receive(Frame(MAC, CARD, IPV4, too_long.build()).build()) == []
