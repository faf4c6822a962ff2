"""The IPv6 router inside the process: how a guest finds it, and what it does not answer."""

from __future__ import annotations

import random
import struct
from ipaddress import IPv6Address

import pytest

from bringup.vmm.net.icmpv6 import ALL_NODES, ALL_ROUTERS, GLOBAL, LINK_LOCAL, MAC, SOLICITED_NODE, group_mac
from bringup.vmm.net.packets import ICMPV6, IPV6, TCP, UDP, Frame, Ip6, checksum
from bringup.vmm.net.user import UserNetwork

CARD = bytes.fromhex("525400123456")
GUEST, NOBODY = IPv6Address("fe80::5054:ff:fe12:3456").packed, bytes(16)
OWN_ADDRESS = b"\1\1" + CARD  # the option source link-layer address


def message(body: bytes, target: bytes, source: bytes = GUEST, hops: int = 255) -> Ip6:
    """An ICMPv6 message whose checksum is right."""
    ip = Ip6(source, target, ICMPV6, body, hops)
    total = checksum(ip.pseudo_header(len(body)) + body[:2] + b"\0\0" + body[4:])
    return ip._replace(payload=body[:2] + total.to_bytes(2, "big") + body[4:])


def frame(ip: Ip6) -> Frame:
    return Frame(group_mac(ip.target) if ip.target[0] == 0xFF else MAC, CARD, IPV6, ip.build())


def ask(ip: Ip6) -> list[tuple[Frame, Ip6]]:
    """The frames that answer, with what is in them: ICMPv6 from the router whose checksum is right."""
    answers = []
    for data in UserNetwork().receive(frame(ip).build()):
        answer = Frame.parse(data)
        assert answer and answer.source == MAC and answer.kind == IPV6
        packet = Ip6.parse(answer.payload)
        assert packet and packet.protocol == ICMPV6 and packet.hops == 255
        assert not checksum(packet.pseudo_header(len(packet.payload)) + packet.payload)
        answers.append((answer, packet))
    return answers


def solicitation(address: bytes, options: bytes = OWN_ADDRESS) -> bytes:
    """A neighbor's."""
    return b"\x87\0\0\0\0\0\0\0" + address + options


ROUTERS = b"\x85\0\0\0\0\0\0\0"


@pytest.mark.parametrize(
    ("source", "options", "to"), [(GUEST, OWN_ADDRESS, GUEST), (GUEST, b"", GUEST), (NOBODY, b"", ALL_NODES)]
)
def test_a_router_is_found(source: bytes, options: bytes, to: bytes) -> None:
    ((answer, ip),) = ask(message(ROUTERS + options, ALL_ROUTERS, source))
    assert answer.target == (CARD if to == GUEST else bytes.fromhex("333300000001"))
    assert (ip.source, ip.target) == (LINK_LOCAL, to)
    kind, code, _, hops, flags, lifetime = struct.unpack_from(">BBHBBH", ip.payload)
    assert (kind, code, hops, flags, lifetime) == (134, 0, 64, 0, 9000)
    assert ip.payload[16:24] == b"\1\1" + MAC
    prefix = ip.payload[24:]
    assert prefix[:4] == b"\3\4\x40\xc0", "fec0::/64, on the link, for addresses that hosts make"
    valid, preferred = struct.unpack_from(">II", prefix, 4)
    assert valid > preferred > 0
    assert len(prefix) == 32 and prefix[16:] == IPv6Address("fec0::").packed


@pytest.mark.parametrize("address", [LINK_LOCAL, GLOBAL])
def test_a_neighbor_is_found(address: bytes) -> None:
    for target in (SOLICITED_NODE, address):
        ((answer, ip),) = ask(message(solicitation(address), target))
        assert (answer.target, ip.source, ip.target) == (CARD, address, GUEST)
        assert ip.payload[:2] == b"\x88\0" and ip.payload[4:] == b"\xe0\0\0\0" + address + b"\2\1" + MAC


def test_an_address_that_is_taken() -> None:
    """Duplicate address detection (RFC 4862, 5.4) of the router's own address."""
    ((answer, ip),) = ask(message(solicitation(GLOBAL, b""), SOLICITED_NODE, NOBODY))
    assert (answer.target, ip.source, ip.target) == (bytes.fromhex("333300000001"), GLOBAL, ALL_NODES)
    assert ip.payload[4] == 0xA0, "not solicited"


@pytest.mark.parametrize(("target", "source"), [(GLOBAL, GLOBAL), (LINK_LOCAL, LINK_LOCAL), (ALL_NODES, LINK_LOCAL)])
def test_ping(target: bytes, source: bytes) -> None:
    ((answer, ip),) = ask(message(b"\x80\0\0\0\0\7\0\1abc", target, hops=64))
    assert (answer.target, ip.source, ip.target) == (CARD, source, GUEST)
    assert ip.payload[:2] == b"\x81\0" and ip.payload[4:] == b"\0\7\0\1abc"


@pytest.mark.parametrize(
    ("protocol", "kind", "code", "pointer"), [(UDP, 1, 4, 0), (TCP, 1, 4, 0), (0, 4, 1, 6), (44, 4, 1, 6)]
)
def test_what_nothing_here_takes(protocol: int, kind: int, code: int, pointer: int) -> None:
    packet = Ip6(GUEST, GLOBAL, protocol, b"x" * 1400)
    ((_, ip),) = ask(packet)
    assert (ip.source, ip.target, ip.payload[:2]) == (GLOBAL, GUEST, bytes([kind, code]))
    assert ip.payload[4:8] == pointer.to_bytes(4, "big")
    assert len(ip.build()) == 1280 and packet.build().startswith(ip.payload[8:])
    assert ask(packet._replace(target=ALL_NODES)) == []
    assert ask(packet._replace(source=NOBODY)) == []


@pytest.mark.parametrize(
    "ip",
    [
        message(ROUTERS, ALL_ROUTERS, hops=64),
        message(b"\x85\1" + ROUTERS[2:], ALL_ROUTERS),
        message(ROUTERS[:7], ALL_ROUTERS),
        message(ROUTERS + OWN_ADDRESS, ALL_ROUTERS, NOBODY),
        message(ROUTERS + b"\1\0" + CARD, ALL_ROUTERS),
        message(ROUTERS + OWN_ADDRESS[:7], ALL_ROUTERS),
        message(ROUTERS + b"\1\2" + CARD, ALL_ROUTERS),
        message(ROUTERS, ALL_ROUTERS)._replace(payload=ROUTERS),
        message(ROUTERS, ALL_ROUTERS, ALL_NODES),
        message(solicitation(GLOBAL), SOLICITED_NODE, hops=1),
        message(solicitation(GLOBAL, b"")[:23], SOLICITED_NODE),
        message(solicitation(GUEST), SOLICITED_NODE),
        message(solicitation(GLOBAL), SOLICITED_NODE, NOBODY),
        message(solicitation(GLOBAL, b""), GLOBAL, NOBODY),
        message(b"\x80\0\0\0\0\7\0\1", GLOBAL, NOBODY),
        message(b"\x80\0\0\0\0\7\0\1", IPv6Address("2001:db8::1").packed),
        message(b"\x01\4\0\0\0\0\0\0", GLOBAL),
        message(b"\x88\0\0\0\0\0\0\0" + GLOBAL, GLOBAL),
    ],
)
def test_what_is_not_answered(ip: Ip6) -> None:
    assert ask(ip) == []


def test_a_packet_that_is_cut_off() -> None:
    whole = message(ROUTERS, ALL_ROUTERS).build()
    assert Ip6.parse(whole) == message(ROUTERS, ALL_ROUTERS)
    assert Ip6.parse(whole + b"\0" * 9) == message(ROUTERS, ALL_ROUTERS), "Ethernet pads"
    assert all(Ip6.parse(whole[:size]) is None for size in range(len(whole)))
    assert Ip6.parse(b"\x45" + whole[1:]) is None


def test_nothing_unsettles_it() -> None:
    """Damaged copies of good messages, their checksums right again."""
    generator, network = random.Random(2), UserNetwork()
    good = [
        message(ROUTERS + OWN_ADDRESS, ALL_ROUTERS),
        message(solicitation(GLOBAL), SOLICITED_NODE),
        message(b"\x80\0\0\0\0\7\0\1abc", GLOBAL),
    ]
    for _ in range(5_000):
        ip = generator.choice(good)
        body = bytearray(ip.payload)
        for _ in range(generator.randrange(1, 4)):
            body[generator.randrange(len(body))] = generator.randrange(256)
        for packet in (message(bytes(body[: generator.randrange(4, len(body) + 1)]), ip.target, ip.source, ip.hops),):
            data = bytearray(frame(packet).build())
            if generator.randrange(2):
                data[generator.randrange(14, 54)] = generator.randrange(256)
            for reply in network.receive(bytes(data)):
                assert 14 <= len(reply) <= 1514
