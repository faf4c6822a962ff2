"""The user-mode network under any guest: whatever it sends raises nothing, and neither answers nor state grow."""

from __future__ import annotations

import pickle
import struct
from functools import cache

from bringup.vmm.net.icmpv6 import ALL_NODES, ALL_ROUTERS, GLOBAL, LINK_LOCAL, MAC, SOLICITED_NODE, group_mac
from bringup.vmm.net.packets import (
    ACK,
    ARP,
    BROADCAST,
    FIN,
    ICMP,
    ICMPV6,
    IPV4,
    IPV6,
    RST,
    SYN,
    TCP,
    UDP,
    Arp,
    Frame,
    Ip,
    Ip6,
    Tcp,
    Udp,
    build_arp,
    checksum,
)
from bringup.vmm.net.user import DNS, GATEWAY, GUEST, UserNetwork

from .damage import Base, Input, damaged, fields

OURS = bytes.fromhex("525400123456")
SELF = bytes.fromhex("fe80000000000000505400fffe123456")
FILES = {"boot": bytes(range(256)) * 20, "empty": b"", "even": bytes(1024)}
MOST_ANSWERS = 64  # frames
MOST_STATE = 256 << 10  # bytes of a network, its files apart


def _frame(ip: Ip) -> bytes:
    return Frame(MAC, OURS, IPV4, ip.build()).build()


def _dhcp(kind: int) -> bytes:
    head = b"\1\1\6\0" + bytes(24) + OURS.ljust(208, b"\0") + b"\x63\x82\x53\x63"
    return head + bytes([53, 1, kind, 54, 4, *GATEWAY, 50, 4, *GUEST, 55, 3, 1, 3, 6, 255])


@cache
def frames() -> tuple[Base, ...]:
    """One of each kind; the fields lie behind the Ethernet header."""
    dns = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + b"\7gateway\4test\0" + struct.pack(">HH", 1, 1)
    contents = [
        Frame(BROADCAST, OURS, ARP, build_arp(Arp(1, OURS, GUEST, bytes(6), GATEWAY))).build(),
        _frame(Ip(GUEST, GATEWAY, 1, b"\x08\0\xf7\xff\0\0\0\0")),
        _frame(Udp(68, 67, _dhcp(1)).build(bytes(4), b"\xff" * 4)),
        _frame(Udp(68, 67, _dhcp(3)).build(GUEST, GATEWAY)),
        _frame(Udp(1024, 53, dns).build(GUEST, DNS)),
        _frame(Udp(1024, 7, b"echo").build(GUEST, GATEWAY)),
        _frame(Udp(1024, 69, b"\0\1boot\0octet\0blksize\x001428\0tsize\x000\0").build(GUEST, GATEWAY)),
        _frame(Udp(1024, 69, b"\0\1even\0octet\0").build(GUEST, GATEWAY)),
        _frame(Udp(1024, 1069, b"\0\4\0\1").build(GUEST, GATEWAY)),
        *(_frame(Tcp(1025, 7, 5 + (flags != SYN), 1, flags, 8192, text).build(GUEST, GATEWAY))
          for flags, text in ((SYN, b""), (ACK, b"data"), (ACK | FIN, b"data"), (RST, b""))),
        *(Frame(group_mac(target), OURS, IPV6, Ip6(SELF, target, ICMPV6, message).build()).build()
          for target, message in (
              (ALL_ROUTERS, bytes([133, 0]) + bytes(6) + b"\1\1" + OURS),
              (SOLICITED_NODE, bytes([135, 0]) + bytes(6) + LINK_LOCAL + b"\1\1" + OURS),
              (ALL_NODES, bytes([128, 0]) + bytes(6) + b"ping"),
          )),
        Frame(MAC, OURS, IPV6, Ip6(SELF, GLOBAL, UDP, bytes(1200)).build()).build(),
    ]  # fmt: skip
    return tuple(
        Base(content, fields(1, range(len(content))) + fields(2, range(12, len(content) - 1, 2)), "big")
        for content in contents
    )


def _mended(frame: bytes) -> bytes:
    """With lengths and checksums that a damaged packet would have had, so that what is behind them is reached."""
    head = Frame.parse(frame)
    if head is None:
        return frame
    data = head.payload
    if head.kind == IPV6 and len(data) >= 44:
        packet = Ip6(data[8:24], data[24:40], data[6], data[40:42] + bytes(2) + data[44:], data[7])
        total = checksum(packet.pseudo_header(len(packet.payload)) + packet.payload)
        payload = packet.payload[:2] + total.to_bytes(2, "big") + packet.payload[4:]
        return head._replace(payload=packet._replace(payload=payload).build()).build()
    if head.kind != IPV4 or len(data) < 28:
        return frame
    ip = Ip(data[12:16], data[16:20], data[9], data[20:])
    if ip.protocol == UDP:
        source, target = struct.unpack_from(">HH", ip.payload)
        ip = Udp(source, target, ip.payload[8:]).build(ip.source, ip.target)
    elif ip.protocol == TCP and len(ip.payload) >= 20:
        source, target, sequence, acknowledged, flags, window = struct.unpack_from(">HHIIHH", ip.payload)
        segment = Tcp(source, target, sequence, acknowledged, flags & 0x3F, window, ip.payload[20:])
        ip = segment.build(ip.source, ip.target)
    elif ip.protocol == ICMP:
        body = ip.payload[:2] + bytes(2) + ip.payload[4:]
        ip = ip._replace(payload=body[:2] + checksum(body).to_bytes(2, "big") + body[4:])
    return head._replace(payload=ip.build()).build()


def network(data: bytes) -> None:
    """Frames, each one of `frames` with a few fields changed: its number, how many bytes of the program, those."""
    program = Input(data)
    subject = UserNetwork(FILES, "boot")
    while program:
        base = frames()[program.number() % len(frames())]
        size = program.number()
        frame = damaged(base, Input(program.take(size % 32))).content[:1514]  # what the card lets out
        for sent in (_mended(frame) if size & 32 else frame,) * (40 if size & 64 else 1):
            answers = subject.receive(sent)
            assert len(answers) <= MOST_ANSWERS, f"{len(answers)} answers"
            assert all(14 <= len(answer) <= 1514 for answer in answers), [len(answer) for answer in answers]
    state = {name: value for name, value in vars(subject).items() if name != "files"}
    assert len(pickle.dumps(state)) <= MOST_STATE, "the network's state grows"
