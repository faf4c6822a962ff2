"""What a PC's BIOS leaves for those who come from it into real mode: interrupt vectors, the handlers behind them, and a
timer that ticks 18.2 times a second.

There are no services: the interrupts that call one return with carry set and AH = 86h (function not supported), but for
those that say what is in the BIOS data area, 11h (equipment) and 12h (memory). Source: IBM PS/2 and PC BIOS Interface
Technical Reference.
"""

from __future__ import annotations

import struct

from . import Image

VECTORS = 0  # 256 far pointers
SEGMENT = 0xF000
CODE = SEGMENT << 4

# Handlers, 16-bit code.
RETURN = bytes.fromhex("cf")  # iret
END_OF_INTERRUPT = bytes.fromhex("50 b020 e620 58 cf")  # push ax; mov al, 20h; out 20h, al; pop ax; iret
END_OF_SLAVE_INTERRUPT = bytes.fromhex("50 b020 e6a0 e620 58 cf")  # out a0h, al as well
# push ax; push ds; mov ax, 40h; mov ds, ax; inc dword [6ch]; int 1ch; mov al, 20h; out 20h, al; pop ds; pop ax; iret
TICK = bytes.fromhex("50 1e b84000 8ed8 66ff066c00 cd1c b020 e620 1f 58 cf")
# push bp; mov bp, sp; or byte [bp + 6], 1; pop bp; mov ah, 86h; iret
UNSUPPORTED = bytes.fromhex("55 89e5 804e0601 5d b486 cf")
# push ds; mov ax, 40h; mov ds, ax; mov ax, [10h] or [13h]; pop ds; iret
EQUIPMENT = bytes.fromhex("1e b84000 8ed8 a11000 1f cf")
MEMORY_SIZE = bytes.fromhex("1e b84000 8ed8 a11300 1f cf")

TIMER, USER_TIMER = 0x08, 0x1C
MASTER, SLAVE = range(0x08, 0x10), range(0x70, 0x78)
SERVICES = range(0x10, 0x1B)

# mov al, 34h; out 43h, al; mov al, 0; out 40h, al; out 40h, al; mov al, feh; out 21h, al
START_TIMER = bytes.fromhex("b034 e643 b000 e640 e640 b0fe e621")


def _handler(vector: int) -> bytes:
    if vector == TIMER:
        return TICK
    if vector in MASTER:
        return END_OF_INTERRUPT
    if vector in SLAVE:
        return END_OF_SLAVE_INTERRUPT
    if vector in SERVICES:
        return {0x11: EQUIPMENT, 0x12: MEMORY_SIZE}.get(vector, UNSUPPORTED)
    return RETURN


def install(image: Image, entry: int, eax: int) -> None:
    """Adds vectors and handlers, and the code that the vCPU starts at: it starts the timer and jumps to `entry`."""
    code = bytearray()
    places: dict[bytes, int] = {}
    vectors = bytearray()
    for handler in map(_handler, range(256)):
        if handler not in places:
            places[handler] = len(code)
            code += handler
        vectors += struct.pack("<HH", places[handler], SEGMENT)
    start = CODE + len(code)
    code += START_TIMER + b"\xb8" + struct.pack("<I", eax)  # mov eax
    code += b"\xe9" + struct.pack("<I", (entry - (CODE + len(code) + 5)) & 0xFFFFFFFF)  # jmp
    image.put(VECTORS, bytes(vectors))
    image.put(CODE, bytes(code))
    image.registers.rip = start
    image.registers.idt_base, image.registers.idt_limit = VECTORS, len(vectors) - 1
