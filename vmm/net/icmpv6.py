"""An IPv6 router on the segment, as far as ICMPv6 goes: a guest finds it, makes itself an address and can ping it.

| address | |
| --- | --- |
| fe80::2 | the router: it advertises fec0::/64, of which hosts make their own addresses |
| fec0::2 | the same, on that prefix |

These are the addresses that QEMU's user network has. Advertisements come when they are asked for. UDP and TCP find no
port open here: they are served over IPv4.

Source: RFC 4861 (neighbor discovery; sections in brackets below), 4443 (ICMPv6), 8200 (IPv6).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from ipaddress import IPv6Address

from .packets import ICMPV6, IPV6, TCP, UDP, Frame, Ip6, checksum

MAC = bytes.fromhex("52550a000202")  # of all that answers on the segment
LINK_LOCAL, GLOBAL = IPv6Address("fe80::2").packed, IPv6Address("fec0::2").packed
PREFIX, UNSPECIFIED = IPv6Address("fec0::").packed, bytes(16)
ALL_NODES, ALL_ROUTERS = IPv6Address("ff02::1").packed, IPv6Address("ff02::2").packed
SOLICITED_NODE = IPv6Address("ff02::1:ff00:2").packed  # of both addresses
GROUPS = (ALL_NODES, ALL_ROUTERS, SOLICITED_NODE)

UNREACHABLE, PARAMETER_PROBLEM, ECHO_REQUEST, ECHO_REPLY = 1, 4, 128, 129
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, NEIGHBOR_SOLICITATION, NEIGHBOR_ADVERTISEMENT = 133, 134, 135, 136
NO_PORT, NO_SUCH_HEADER = 4, 1  # codes of the two errors
SOURCE_ADDRESS, TARGET_ADDRESS, PREFIX_INFORMATION = 1, 2, 3  # options [4.6]
ROUTER, SOLICITED, OVERRIDE = 0x80000000, 0x40000000, 0x20000000  # flags of a neighbor's advertisement [4.4]
ON_LINK_AND_AUTONOMOUS = 0xC0
ROUTER_LIFETIME = 9000  # seconds, the longest [6.2.1]: it is not said again by itself
VALID, PREFERRED = 2592000, 604800  # seconds, of the prefix [6.2.1]
MINIMUM_MTU = 1280


def group_mac(address: bytes) -> bytes:
    """Where Ethernet sends a multicast (RFC 2464, 7)."""
    return b"\x33\x33" + address[12:]


GROUP_MACS = frozenset(group_mac(group) for group in GROUPS)


def receive(frame: Frame) -> Iterator[Frame]:
    """The frames that answer a frame with an IPv6 packet; whatever it is, it raises nothing."""
    ip = Ip6.parse(frame.payload)
    if ip is None or ip.source[0] == 0xFF or ip.target not in (LINK_LOCAL, GLOBAL, *GROUPS):
        return
    for answer in _answers(ip):
        target = group_mac(answer.target) if answer.target[0] == 0xFF else frame.source
        yield Frame(target, MAC, IPV6, answer.build())


def _answers(ip: Ip6) -> Iterator[Ip6]:
    data, multicast = ip.payload, ip.target[0] == 0xFF
    if ip.protocol != ICMPV6:
        if not multicast and ip.source != UNSPECIFIED:  # RFC 4443, 2.4 (e)
            yield _error(ip)
        return
    if len(data) < 8 or checksum(ip.pseudo_header(len(data)) + data):
        return
    if data[0] == ECHO_REQUEST and ip.source != UNSPECIFIED:
        yield _message(LINK_LOCAL if multicast else ip.target, ip.source, ECHO_REPLY, 0, data[4:])
    elif ip.hops != 255 or data[1] != 0:  # one from beyond the segment [6.1.1, 7.1.1]
        return
    elif data[0] == ROUTER_SOLICITATION:
        yield from _router_solicitation(ip)
    elif data[0] == NEIGHBOR_SOLICITATION:
        yield from _neighbor_solicitation(ip)


def _router_solicitation(ip: Ip6) -> Iterator[Ip6]:
    options = _options(ip.payload[8:])
    if options is None or (ip.source == UNSPECIFIED and SOURCE_ADDRESS in options):  # [6.1.1]
        return
    router = struct.pack(">BBHII", 64, 0, ROUTER_LIFETIME, 0, 0)  # hop limit; no DHCPv6; times unspecified
    prefix = struct.pack(">BBBBIII", PREFIX_INFORMATION, 4, 64, ON_LINK_AND_AUTONOMOUS, VALID, PREFERRED, 0) + PREFIX
    yield _message(
        LINK_LOCAL,
        ALL_NODES if ip.source == UNSPECIFIED else ip.source,
        ROUTER_ADVERTISEMENT,
        0,
        router + bytes([SOURCE_ADDRESS, 1]) + MAC + prefix,
    )


def _neighbor_solicitation(ip: Ip6) -> Iterator[Ip6]:
    target, options = ip.payload[8:24], _options(ip.payload[24:])
    if target not in (LINK_LOCAL, GLOBAL) or options is None:
        return
    nameless = ip.source == UNSPECIFIED  # somebody would like to have the address
    if nameless and (ip.target != SOLICITED_NODE or SOURCE_ADDRESS in options):  # [7.1.1]
        return
    flags = ROUTER | OVERRIDE | (0 if nameless else SOLICITED)
    body = flags.to_bytes(4, "big") + target + bytes([TARGET_ADDRESS, 1]) + MAC
    yield _message(target, ALL_NODES if nameless else ip.source, NEIGHBOR_ADVERTISEMENT, 0, body)


def _options(data: bytes) -> frozenset[int] | None:
    """The types of a message's options; None when one has no length or is cut off [4.6]."""
    types = set()
    while data:
        if len(data) < 8 or not 0 < 8 * data[1] <= len(data):
            return None
        types.add(data[0])
        data = data[8 * data[1] :]
    return frozenset(types)


def _error(ip: Ip6) -> Ip6:
    """That nothing here takes the packet: its port, or what follows its header."""
    kind, code, pointer = PARAMETER_PROBLEM, NO_SUCH_HEADER, 6  # of the field next header
    if ip.protocol in (UDP, TCP):
        kind, code, pointer = UNREACHABLE, NO_PORT, 0
    return _message(ip.target, ip.source, kind, code, pointer.to_bytes(4, "big") + ip.build()[: MINIMUM_MTU - 48])


def _message(source: bytes, target: bytes, kind: int, code: int, body: bytes) -> Ip6:
    ip = Ip6(source, target, ICMPV6, bytes([kind, code, 0, 0]) + body)
    total = checksum(ip.pseudo_header(len(ip.payload)) + ip.payload)
    return ip._replace(payload=bytes([kind, code]) + total.to_bytes(2, "big") + body)
