"""A machine's card on its network: frames are answered at the same instruction, wherever the run is cut."""

from __future__ import annotations

import random
import struct

import pytest
from test_net import CARD
from tiny import assemble, start

from bringup.vmm.machine import DEBUG_PORT, ExitKind, Limits, Machine
from bringup.vmm.net.packets import ARP, ARP_REQUEST, BROADCAST, Arp, Frame, build_arp
from bringup.vmm.net.user import GATEWAY, GUEST
from bringup.vmm.spec import MIB, Accel, MachineSpec, Nic

ASKED = 5
MOST = 5_000_000  # instructions
FRAME = (
    Frame(BROADCAST, CARD, ARP, build_arp(Arp(ARP_REQUEST, CARD, GUEST, bytes(6), GATEWAY))).build().ljust(60, b"\0")
)

# Asks again and again by ARP for the gateway, polls for the answer, and prints how often it had to look.
PROGRAM = f"""
.code16
.macro put reg, value
    mov $0xc100 + \\reg, %dx
    mov $\\value, %al
    out %al, %dx
.endm
    cld
    put 0x0, 0x21 # stop
    put 0xe, 0x48 # by bytes
    put 0xc, 0x04 # broadcasts, too
    put 0xd, 0x00
    put 0x1, 0x46 # the ring: pages 46h to 60h
    put 0x2, 0x60
    put 0x3, 0x46
    put 0x0, 0x61
    mov $card, %si
    mov $0xc101, %dx
address: outsb
    inc %dx
    cmp $0xc107, %dx
    jne address
    put 0x7, 0x47
    put 0x0, 0x22 # start
    put 0x8, 0x00 # the frame into page 40h
    put 0x9, 0x40
    put 0xa, {len(FRAME)}
    put 0xb, 0x00
    put 0x0, 0x12
    mov $frame, %si
    mov ${len(FRAME)}, %cx
    mov $0xc110, %dx
    rep outsb
    put 0x4, 0x40
    put 0x5, {len(FRAME)}
    put 0x6, 0x00
    mov ${ASKED}, %bp
again: put 0x7, 0xff
    put 0x0, 0x26 # send
    xor %bx, %bx
    mov $0xc107, %dx
look: inc %bx
    in %dx, %al
    test $1, %al # received
    jz look
    mov %bl, %al
    out %al, $0xe9
    mov %bh, %al
    out %al, $0xe9
    put 0x0, 0x62 # make room: BNRY follows CURR
    mov $0xc107, %dx
    in %dx, %al
    dec %ax
    mov %al, %bl
    put 0x0, 0x22
    mov $0xc103, %dx
    mov %bl, %al
    out %al, %dx
    dec %bp
    jnz again
    cli
    hlt
card: .byte {", ".join(map(str, CARD))}
frame: .byte {", ".join(map(str, FRAME))}
"""


def asked(accel: Accel, cuts: random.Random | None) -> tuple[bytes, bytes, int, int, int]:
    """What was printed and at which instructions; instructions, guest nanoseconds and state at the end."""
    with Machine(MachineSpec(memory=2 * MIB, accel=accel, nic=Nic(CARD))) as machine:
        start(machine, assemble(PROGRAM))
        limits = Limits(count=MOST)
        while (end := machine.run(limits)).kind is not ExitKind.IDLE_FOREVER:
            assert cuts and end.count < MOST, end
            count, time = (int(10 ** cuts.uniform(0, 5.5)) for _ in range(2))
            limits = Limits(count=min(end.count + count, MOST), time=end.time + time, air_us=cuts.randrange(2))
        data, counts = machine.receive(DEBUG_PORT)
        return data, counts, end.count, end.time, machine.state_hash()


@pytest.mark.parametrize("accel", Accel, ids=lambda accel: accel.name.lower())
def test_answers_come_at_the_same_instruction(accel: Accel) -> None:
    whole = asked(Accel.BARE, None)
    looks = struct.unpack(f"<{ASKED}H", whole[0])
    assert min(looks) > 1000, "an answer takes its time"
    assert asked(accel, None) == whole
    for seed in range(3):
        assert asked(accel, random.Random(seed)) == whole
