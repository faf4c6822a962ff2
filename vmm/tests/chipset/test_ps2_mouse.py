"""The mouse: who it says it is, its modes, its reports."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

NEVER = 2**64 - 1
MS = 1_000_000


class Mouse:
    """One on its own: `now` is the guest time that its methods tell it."""

    def __init__(self, lib: Any, ffi: Any) -> None:
        self.lib, self.ffi, self.now = lib, ffi, 0
        self.state = ffi.new("struct ps2_mouse *")
        lib.ps2_mouse_reset(self.state)

    def ask(self, *values: int) -> list[int]:
        """Sends bytes, and reads what is answered to the last."""
        for value in values:
            self.lib.ps2_mouse_receive(self.state, value, self.now)
        return self.read()

    def read(self) -> list[int]:
        found = []
        while self.lib.ps2_mouse_has_byte(self.state):
            found.append(int(self.lib.ps2_mouse_take(self.state, self.now)))
        return found

    def move(self, dx: int, dy: int, dz: int = 0, buttons: int = 0) -> None:
        self.lib.ps2_mouse_move(self.state, dx, dy, dz, buttons, self.now)

    def wait(self, nanoseconds: int) -> list[int]:
        self.now += nanoseconds
        self.lib.ps2_mouse_advance(self.state, self.now)
        return self.read()


@pytest.fixture
def mouse(lib: Any, ffi: Any) -> Mouse:
    return Mouse(lib, ffi)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ([0xF2], [0xFA, 0x00]), ([0xF4], [0xFA]), ([0xE9], [0xFA, 0x00, 2, 100]), ([0xE8, 3], [0xFA]),
        ([0xE8, 4], [0xFE]), ([0xF3, 60], [0xFA]), ([0xF3, 61], [0xFE]), ([0xE0], [0xFE]), ([0xED], [0xFE]),
        ([0xE0, 0xE1], [0xFC]), ([0xF3, 61, 62], [0xFC]), ([0xEB], [0xFA, 0x08, 0, 0]), ([0xFE], []),
    ],
)  # fmt: skip
def test_answers(mouse: Mouse, sent: list[int], answer: list[int]) -> None:
    assert mouse.ask(*sent) == answer


def test_status(mouse: Mouse) -> None:
    for sent in ([0xE7], [0xF4], [0xF0], [0xE8, 1], [0xF3, 20]):
        assert mouse.ask(*sent) == [0xFA]
    mouse.move(0, 0, buttons=5)
    assert mouse.ask(0xE9) == [0xFA, 0x76, 1, 20]
    mouse.ask(0xF6)
    assert mouse.ask(0xE9) == [0xFA, 0x06, 2, 100]


def test_reset(mouse: Mouse) -> None:
    mouse.ask(0xF4)
    assert mouse.ask(0xFF) == [0xFA]
    assert mouse.ask(0xF2) == []
    assert mouse.wait(5 * MS) == [0xAA, 0x00]
    assert mouse.ask(0xE9)[1] == 0


def test_the_knock_makes_a_wheel(mouse: Mouse) -> None:
    for rate in (200, 200, 100, 80):
        mouse.ask(0xF3, rate)
    assert mouse.ask(0xF2) == [0xFA, 0x03]
    mouse.ask(0xF4)
    mouse.move(1, 2, -3, 4)
    assert mouse.wait(20 * MS) == [0x0C, 1, 2, 0xFD]
    mouse.move(0, 0, 20, 0)
    assert [mouse.wait(20 * MS) for _ in range(4)] == [[8, 0, 0, 7], [8, 0, 0, 7], [8, 0, 0, 6], []]
    mouse.ask(0xFF)
    mouse.wait(5 * MS)
    assert mouse.ask(0xF2) == [0xFA, 0x00]


def test_a_wrong_knock(mouse: Mouse) -> None:
    for rate in (200, 100, 100, 80):
        mouse.ask(0xF3, rate)
    assert mouse.ask(0xF2) == [0xFA, 0x00]


def test_reports_come_at_the_sample_rate(mouse: Mouse) -> None:
    mouse.ask(0xF4)
    mouse.move(10, -10)
    assert mouse.wait(0) == [0x28, 10, 0xF6]
    mouse.move(1, 0)
    mouse.move(1, 0)
    assert mouse.wait(10 * MS - 1) == []
    assert mouse.wait(1) == [0x08, 2, 0]
    assert mouse.lib.ps2_mouse_deadline(mouse.state) == NEVER


def test_far_movement_takes_several_reports(mouse: Mouse) -> None:
    mouse.ask(0xF4)
    mouse.move(600, -256, 99)
    found = [mouse.wait(10 * MS) for _ in range(4)]
    assert found == [[0x28, 0xFF, 0x01], [0x28, 0xFF, 0xFF], [0x08, 90, 0], []]
    mouse.move(2**31 - 1, -(2**31), 2**31 - 1)
    mouse.move(2**31 - 1, -(2**31), 2**31 - 1)
    assert mouse.wait(10 * MS)[0] == 0x28


@pytest.mark.parametrize(("moved", "reported"), [(0, 0), (1, 1), (2, 1), (3, 3), (4, 6), (5, 9), (6, 12), (-4, -6)])
def test_scaling(mouse: Mouse, moved: int, reported: int) -> None:
    mouse.ask(0xF4)
    mouse.ask(0xE7)
    mouse.move(moved, 0, buttons=1)
    assert mouse.wait(0)[1] == reported & 0xFF
    mouse.ask(0xF0)
    mouse.move(moved, 0)
    assert mouse.ask(0xEB)[2] == moved & 0xFF  # remote mode does not scale


def test_silence_while_disabled_remote_or_in_wrap_mode(mouse: Mouse) -> None:
    mouse.move(1, 1)
    assert mouse.wait(10**9) == []
    for command in (0xF0, 0xEE):
        mouse.ask(0xF4)
        mouse.ask(command)
        mouse.move(1, 1)
        assert mouse.wait(10**9) == []
        mouse.ask(0xEC)
        mouse.ask(0xEA)
    mouse.move(3, 0)
    assert mouse.wait(0) == [0x08, 3, 0]


def test_wrap_mode_echoes(mouse: Mouse) -> None:
    mouse.ask(0xEE)
    assert [mouse.ask(value) for value in (0x12, 0xF4, 0xE9)] == [[0x12], [0xF4], [0xE9]]
    assert mouse.ask(0xEC) == [0xFA]
    assert mouse.ask(0x12) == [0xFE]


def test_resend(mouse: Mouse) -> None:
    mouse.ask(0xF4)
    mouse.move(1, 2)
    assert mouse.wait(0) == [0x08, 1, 2]
    assert mouse.ask(0xFE) == [0x08, 1, 2]


@given(st.lists(st.tuples(st.sampled_from("rmtw"), st.integers(0, 255)), max_size=80), st.integers(1, 20))
def test_one_step_or_many(lib: Any, ffi: Any, actions: list[tuple[str, int]], pieces: int) -> None:
    one, many = Mouse(lib, ffi), Mouse(lib, ffi)
    for action, value in actions:
        for mouse, steps in ((one, 1), (many, pieces)):
            if action == "r":
                lib.ps2_mouse_receive(mouse.state, value, mouse.now)
            elif action == "m":
                mouse.move(value - 128, value * 3 - 300, value & 3, value >> 5)
            elif action == "t":
                lib.ps2_mouse_take(mouse.state, mouse.now)
            else:
                for step in range(steps):
                    mouse.now += value * MS * (step + 1) // steps - value * MS * step // steps
                    lib.ps2_mouse_advance(mouse.state, mouse.now)
            lib.ps2_mouse_advance(mouse.state, mouse.now)
            assert lib.ps2_mouse_deadline(mouse.state) > mouse.now
    assert bytes(ffi.buffer(one.state)) == bytes(ffi.buffer(many.state))
