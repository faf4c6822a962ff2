"""The screen and the keyboard of a machine: what code writes is seen, in RAM and in planes; what is typed arrives."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tiny import rom

from bringup.vmm.machine import DEBUG_PORT, ExitKind, Limits, Machine, MachineError
from bringup.vmm.screen import keys, picture
from bringup.vmm.screen.text import Mode
from bringup.vmm.spec import MIB, Accel, MachineSpec

# Mode 3 (80 x 25) as a BIOS programs it.
SEQUENCER = bytes.fromhex("0300030002")
CRTC = bytes.fromhex("5f4f50825581bf1f004f0d0e000000009c8e8f281f96b9a3ff")
GRAPHICS = bytes.fromhex("0000000000100e00ff")
HALT = b"\xfa\xf4"


def out(port: int, *values: int) -> bytes:
    """mov dx, port; mov al, value; out dx, al; ..."""
    return b"\xba" + struct.pack("<H", port) + b"".join(bytes([0xB0, value, 0xEE]) for value in values)


def indexed(port: int, index: int, value: int) -> bytes:
    return out(port, index) + out(port + 1, value)


def store(address: int, value: int) -> bytes:
    """mov ax, segment; mov ds, ax; mov byte [offset], value"""
    return (
        b"\xb8"
        + struct.pack("<H", address >> 4 & 0xF000)
        + b"\x8e\xd8\xc6\x06"
        + struct.pack("<HB", address & 0xFFFF, value)
    )


def show(address: int) -> bytes:
    """mov ax, segment; mov ds, ax; mov al, [offset]; out e9h, al"""
    return (
        b"\xb8"
        + struct.pack("<H", address >> 4 & 0xF000)
        + b"\x8e\xd8\xa0"
        + struct.pack("<H", address & 0xFFFF)
        + b"\xe6\xe9"
    )


def mode_3() -> bytes:
    tables = ((0x3C4, SEQUENCER), (0x3D4, CRTC), (0x3CE, GRAPHICS))
    code = out(0x3C2, 0x67) + indexed(0x3D4, 0x11, 0)
    code += b"".join(indexed(port, index, value) for port, table in tables for index, value in enumerate(table))
    return code + b"\xba\xda\x03\xec" + out(0x3C0, 0x20)  # the flip-flop; picture on


def planar() -> bytes:
    """All planes at A0000h, without chaining."""
    changes = ((0x3C4, 2, 0x0F), (0x3C4, 4, 0x06), (0x3CE, 5, 0), (0x3CE, 6, 0x05))
    return b"".join(indexed(*change) for change in changes)


@pytest.fixture(params=list(Accel), ids=lambda accel: accel.name.lower())
def start(request: pytest.FixtureRequest) -> Iterator[Callable[[bytes], Machine]]:
    with ExitStack() as stack:

        def start(code: bytes) -> Machine:
            machine = stack.enter_context(Machine(MachineSpec(memory=2 * MIB, accel=request.param, firmware=rom(code))))
            assert machine.run(Limits(count=1_000_000)).kind is ExitKind.IDLE_FOREVER
            return machine

        yield start


def printed(machine: Machine) -> bytes:
    return machine.receive(DEBUG_PORT).data


def lines(machine: Machine) -> tuple[str, ...]:
    screen = machine.screen()
    assert screen is not None
    return screen.lines


def test_text_memory_is_ram_and_is_seen(start: Callable[[bytes], Machine]) -> None:
    exits = []
    for count in (1, 200):
        machine = start(mode_3() + b"".join(store(0xB8000 + 2 * at, 0x41 + at % 26) for at in range(count)) + HALT)
        exits.append(machine.exits().get(48, 0))  # EPT violations
        assert lines(machine)[0] == "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZ"[
            :count
        ] + ("AB" if count > 78 else "")
    assert exits[1] <= exits[0] + 1


def test_text_becomes_planes_and_planes_text(start: Callable[[bytes], Machine]) -> None:
    code = mode_3() + store(0xB8000, ord("A")) + store(0xB8001, 0x1F) + planar()
    code += show(0xA0000) + indexed(0x3CE, 4, 1) + show(0xA0000)  # planes 0 and 1
    code += indexed(0x3C4, 2, 1) + store(0xA0002, ord("B"))  # the character of the second cell
    code += mode_3() + show(0xB8000) + show(0xB8001) + show(0xB8002) + HALT
    machine = start(code)
    assert printed(machine) == b"A\x1fA\x1fB"
    assert lines(machine)[0] == "AB"


def test_a_window_that_comes_back_at_another_address(start: Callable[[bytes], Machine]) -> None:
    code = mode_3() + store(0xB8000, ord("A"))
    code += indexed(0x3CE, 6, 0x0A) + show(0xB0000) + store(0xB0002, ord("B"))  # memory map 2: B0000h
    code += show(0xB8000)  # nothing there
    code += indexed(0x3CE, 6, 0x0E) + show(0xB8000) + show(0xB8002) + HALT
    machine = start(code)
    assert printed(machine) == b"A\xffAB"
    assert lines(machine)[0] == "AB"


def test_a_machine_that_is_reset_has_no_picture(start: Callable[[bytes], Machine]) -> None:
    machine = start(mode_3() + store(0xB8000, ord("A")) + HALT)
    machine.reset()
    screen = machine.screen()
    assert screen is not None
    assert screen.mode is Mode.OFF


def test_both_accelerators_end_in_the_same_state() -> None:
    code = mode_3() + store(0xB8000, 0x41) + planar() + store(0xA0001, 2) + mode_3() + show(0xB8000) + HALT
    hashes = []
    for accel in Accel:
        with Machine(MachineSpec(memory=2 * MIB, accel=accel, firmware=rom(code))) as machine:
            machine.run(Limits(count=1_000_000))
            hashes.append((machine.count, machine.state_hash()))
    assert hashes[0] == hashes[1]


def test_fonts_and_pictures(start: Callable[[bytes], Machine]) -> None:
    font = indexed(0x3C4, 2, 4) + indexed(0x3C4, 4, 6) + indexed(0x3CE, 5, 0) + indexed(0x3CE, 6, 5)
    font += b"".join(store(0xA0000 + 32 * ord("A") + line, 0x18) for line in range(16))
    dac = out(0x3C8, 7) + out(0x3C9, 0x3F, 0x3F, 0x3F)
    palette = b"\xba\xda\x03\xec" + out(0x3C0, 7, 7, 0x12, 0x0F, 0x20)
    machine = start(mode_3() + font + mode_3() + dac + palette + store(0xB8000, 0x41) + store(0xB8001, 7) + HALT)
    screen = machine.screen()
    assert screen is not None
    rows = list(picture.dots(screen, machine.fonts()))
    assert (len(rows), len(rows[0])) == (400, 720)
    assert rows[0][:9] == bytes([0, 0, 0, 7, 7, 0, 0, 0, 0])
    assert screen.colours[21:24] == b"\xff\xff\xff"


def poll(count: int) -> bytes:
    """Prints so many bytes of the keyboard controller: wait for the output buffer, in al, 60h; out e9h, al."""
    return b"".join(b"\xe4\x64\xa8\x01\x74\xfa\xe4\x60\xe6\xe9" for _ in range(count))


OPEN = b"\xb0\x60\xe6\x64\xb0\x44\xe6\x60"  # the keyboard's port, with translation


def test_keys_arrive() -> None:
    with Machine(MachineSpec(memory=2 * MIB, firmware=rom(OPEN + poll(6) + HALT))) as machine:
        events = keys.events(keys.strokes("aB"), 2, 2)
        assert machine.press(events) == len(events) == 6
        assert machine.run(Limits(count=10**9)).kind is ExitKind.IDLE_FOREVER
        assert printed(machine) == bytes([0x1E, 0x9E, 0x2A, 0x30, 0xB0, 0xAA])
        assert 8_000_000 <= machine.time <= 12_000_000  # what is typed takes guest time


def test_the_mouse_arrives() -> None:
    stream = b"\xb0\xd4\xe6\x64\xb0\xf4\xe6\x60"  # the mouse may report
    ready = poll(1)  # its acknowledge
    with Machine(MachineSpec(memory=2 * MIB, firmware=rom(stream + ready + poll(3) + HALT))) as machine:
        assert machine.run(Limits(count=2_000_000)).kind is ExitKind.LIMIT
        machine.move(5, -3, buttons=1)
        assert machine.run(Limits(count=10**9)).kind is ExitKind.IDLE_FOREVER
        assert printed(machine) == bytes([0xFA, 0x29, 5, 0xFD])


def test_a_machine_without_a_screen() -> None:
    with Machine(MachineSpec(memory=2 * MIB)) as machine:
        assert machine.screen() is None
        with pytest.raises(MachineError, match="no screen"):
            machine.fonts()
        assert machine.press([0x11E]) == 1
        machine.move(1, 1)


# mov ax, b800h; mov ds, ax; mov es, ax; xor bp, bp; cld
# next: the screen but its first row up by one: mov si, 160; xor di, di; mov cx, 1920; rep movsw
#   its last row blank: mov cx, 80; mov ax, 0720h; rep stosw; mov di, 3840; mov dx, bp; mov cx, 4
# digit: rol dx, 4; mov al, dl; and al, 15; cmp al, 10; sbb al, 69h; das; stosb; inc di; loop digit
#   inc bp; cmp bp, 300h; jne next; cli; hlt
QUICK_LINES = 0x300
QUICK = bytes.fromhex(
    "b800b8 8ed8 8ec0 31ed fc bea000 31ff b98007 f3a5 b95000 b82007 f3ab bf000f 89ea b90400"
    "c1c204 88d0 240f 3c0a 1c69 2f aa 47 e2f0 45 81fd0003 75cf fa f4"
)


@pytest.mark.parametrize("accel", list(Accel), ids=lambda accel: accel.name.lower())
@pytest.mark.parametrize(("step", "turn"), [(10_000, 100_000), (10_000, 5_000_000), (0, 100_000)])
def test_no_line_scrolls_away_unseen(accel: Accel, step: int, turn: int) -> None:
    """Two thousand instructions a line: without the machine's own looks half of them are lost."""
    seen: set[str] = set()
    with Machine(MachineSpec(memory=2 * MIB, accel=accel, firmware=rom(mode_3() + QUICK))) as machine:
        kind, looks = ExitKind.LIMIT, 0
        while kind is not ExitKind.IDLE_FOREVER:
            kind = machine.run(Limits(count=machine.count + turn, screen_step=step)).kind
            seen.update(lines(machine))
            machine.screen_seen()
            looks += 1
    numbers = {f"{number:04X}" for number in range(QUICK_LINES)}
    assert (numbers <= seen) is bool(step)
    assert looks < QUICK_LINES / 10


def test_a_screen_that_stands_ends_no_run(start: Callable[[bytes], Machine]) -> None:
    """A cell that changes, a line that grows: nothing is lost."""
    code = mode_3() + b"".join(store(0xB8000 + 160 * row, 0x41 + row) for row in range(20))
    code += b"".join(store(0xB8000 + 160 * 5 + 2 * column, 0x2E) for column in range(1, 70))
    spec = MachineSpec(memory=2 * MIB, firmware=rom(code + HALT))
    with Machine(spec) as machine:
        assert machine.run(Limits(screen_step=7)).kind is ExitKind.IDLE_FOREVER


def test_a_screen_that_is_cleared_ends_a_run() -> None:
    text = b"".join(store(0xB8000 + 160 * row, 0x41 + row) for row in range(20))
    wait = bytes.fromhex("31c9 e2fe")  # xor cx, cx; loop itself
    clear = bytes.fromhex("b800b8 8ec0 31ff b9d007 b82007 f3ab")  # es:0 on: 2000 blanks
    with Machine(MachineSpec(memory=2 * MIB, firmware=rom(mode_3() + text + wait + clear + wait + HALT))) as machine:
        counts = []
        while machine.run(Limits(screen_step=10_000)).kind is ExitKind.SCREEN:
            counts.append(machine.count)
            machine.screen_seen()
        assert counts == [70_000]
