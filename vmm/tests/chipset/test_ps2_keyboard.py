"""The keyboard against IBM's tables: codes of three sets, commands, repeats, a full buffer, the typist."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

NEVER = 2**64 - 1
MS = 1_000_000
DOWN = 0x100
CTRL, SHIFT, ALT, NUM, SYS_RQ, PRINT, PAUSE, HOME, PAD_SLASH = 0x1D, 0x2A, 0x38, 0x45, 0x54, 0xB7, 0xC6, 0xC7, 0xB5


class Keyboard:
    """One on its own: `now` is the guest time that its methods tell it."""

    def __init__(self, lib: Any, ffi: Any) -> None:
        self.lib, self.ffi, self.now = lib, ffi, 0
        self.state = ffi.new("struct ps2_keyboard *")
        lib.ps2_keyboard_reset(self.state)

    def ask(self, *values: int) -> list[int]:
        """Sends bytes, and reads what is answered to the last."""
        for value in values:
            self.lib.ps2_keyboard_receive(self.state, value, self.now)
        return self.read()

    def read(self) -> list[int]:
        found = []
        while self.lib.ps2_keyboard_has_byte(self.state):
            found.append(int(self.lib.ps2_keyboard_take(self.state, self.now)))
        return found

    def type(self, *events: int) -> int:
        return int(self.lib.ps2_keyboard_type(self.state, self.ffi.new("uint32_t[]", events), len(events), self.now))

    def wait(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        self.lib.ps2_keyboard_advance(self.state, self.now)

    def codes(self, *events: int) -> str:
        """What keys send, as hexadecimal digits."""
        self.type(*events)
        found: list[int] = []
        while self.state.queue_used:
            self.wait(0)
            found += self.read()
        return bytes(found).hex(" ")


@pytest.fixture
def keyboard(lib: Any, ffi: Any) -> Keyboard:
    return Keyboard(lib, ffi)


# ---- scan codes ----


@pytest.mark.parametrize(
    ("key", "sets"),
    [
        (0x01, ("01 81", "76 f0 76", "08")),
        (0x1E, ("1e 9e", "1c f0 1c", "1c")),
        (0x1C, ("1c 9c", "5a f0 5a", "5a")),
        (0x41, ("41 c1", "83 f0 83", "37")),
        (0x57, ("57 d7", "78 f0 78", "56")),
        (0x56, ("56 d6", "61 f0 61", "13")),
        (0x2A, ("2a aa", "12 f0 12", "12 f0 12")),
        (0x9D, ("e0 1d e0 9d", "e0 14 e0 f0 14", "58")),
        (0x9C, ("e0 1c e0 9c", "e0 5a e0 f0 5a", "79")),
        (0xC8, ("e0 48 e0 c8", "e0 75 e0 f0 75", "63")),
        (0xB5, ("e0 35 e0 b5", "e0 4a e0 f0 4a", "77")),
        (0xDB, ("e0 5b e0 db", "e0 1f e0 f0 1f", "8b")),
        (0xB7, ("e0 2a e0 37 e0 b7 e0 aa", "e0 12 e0 7c e0 f0 7c e0 f0 12", "57")),
        (0xC6, ("e1 1d 45 e1 9d c5", "e1 14 77 e1 f0 14 f0 77", "62")),
    ],
)
def test_codes(keyboard: Keyboard, key: int, sets: tuple[str, str, str]) -> None:
    for number, expected in enumerate(sets, 1):
        assert keyboard.ask(0xF0, number) == [0xFA] if number else []
        assert keyboard.codes(key | DOWN, key) == expected, number


def test_every_key_has_its_own_codes(lib: Any) -> None:
    keys = [*range(1, 0x54), 0x56, 0x57, 0x58]
    for code in (lib.ps2_set_2_of, lib.ps2_set_3_of):
        codes = [code(key) for key in keys if key != 0x54]
        assert 0 not in codes
        assert len(set(codes)) == len(keys)
    for key in (*keys, 0x54):
        assert lib.ps2_set_1_of(lib.ps2_set_2_of(key)) == key
    assert (lib.ps2_set_2_of(0x00), lib.ps2_set_3_of(0x00)) == (0, 0)
    assert [lib.ps2_set_1_of(value) for value in (0xAA, 0xFA, 0xFE, 0xE0, 0xAB)] == [0xAA, 0xFA, 0xFE, 0xE0, 0xAB]


@pytest.mark.parametrize(
    ("held", "key", "codes"),
    [
        (SHIFT, HOME, "e0 f0 12 e0 6c e0 f0 6c e0 12"),
        (SHIFT, PAD_SLASH, "e0 f0 12 e0 4a e0 f0 4a e0 12"),
        (CTRL, PAUSE, "e0 7e e0 f0 7e"),
        (CTRL, PRINT, "e0 7c e0 f0 7c"),
        (SHIFT, PRINT, "e0 7c e0 f0 7c"),
        (ALT, PRINT, "84 f0 84"),
    ],
)
def test_keys_that_change_under_others(keyboard: Keyboard, held: int, key: int, codes: str) -> None:
    keyboard.codes(held | DOWN)
    assert keyboard.codes(key | DOWN, key) == codes


def test_cursor_keys_with_num_lock(keyboard: Keyboard) -> None:
    keyboard.ask(0xED, 0x02)
    assert keyboard.codes(HOME | DOWN, HOME) == "e0 12 e0 6c e0 f0 6c e0 f0 12"
    assert keyboard.codes(PAD_SLASH | DOWN, PAD_SLASH) == "e0 4a e0 f0 4a"
    keyboard.codes(SHIFT | DOWN)
    assert keyboard.codes(HOME | DOWN, HOME) == "e0 6c e0 f0 6c"


def test_no_key_goes_down_twice(keyboard: Keyboard) -> None:
    assert keyboard.codes(0x1E, 0x1E | DOWN, 0x1E | DOWN, 0x1E, 0x1E) == "1c f0 1c"


def test_a_key_that_does_not_exist(keyboard: Keyboard) -> None:
    for number in (1, 2, 3):
        keyboard.ask(0xF0, number)
        assert keyboard.codes(DOWN, 0x00, 0x80 | DOWN, 0x80) == ""


# ---- commands ----


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        ([0xEE], [0xEE]), ([0xF2], [0xFA, 0xAB, 0x83]), ([0xF4], [0xFA]), ([0xF6], [0xFA]), ([0xED], [0xFA]),
        ([0xED, 0x07], [0xFA]), ([0xF3, 0x20], [0xFA]), ([0xF0, 0], [0xFA, 2]), ([0xF0, 4], [0xFE]), ([0x55], [0xFE]),
        ([0xEF], [0xFE]), ([0xF1], [0xFE]), ([0xED, 0xF2], [0xFA, 0xAB, 0x83]), ([0xF8], [0xFA]),
        ([0xFC, 0x1C], [0xFA]),
    ],
)  # fmt: skip
def test_answers(keyboard: Keyboard, sent: list[int], answer: list[int]) -> None:
    assert keyboard.ask(*sent) == answer


def test_leds_and_scan_set(keyboard: Keyboard) -> None:
    keyboard.ask(0xED, 0x87)
    assert keyboard.state.leds == 7
    keyboard.ask(0xF0, 3)
    assert keyboard.ask(0xF0, 0) == [0xFA, 3]
    keyboard.ask(0xF6)
    assert keyboard.ask(0xF0, 0) == [0xFA, 2]
    assert keyboard.state.leds == 7


def test_reset(keyboard: Keyboard) -> None:
    keyboard.ask(0xED, 0x07)
    assert keyboard.ask(0xFF) == [0xFA]
    assert keyboard.ask(0xF2) == []  # busy
    assert keyboard.lib.ps2_keyboard_deadline(keyboard.state) == 5 * MS
    keyboard.wait(5 * MS)
    assert keyboard.read() == [0xAA]
    assert keyboard.state.leds == 0
    assert keyboard.codes(0x1E | DOWN) == "1c"


def test_resend(keyboard: Keyboard) -> None:
    keyboard.codes(0x1E | DOWN)
    assert keyboard.ask(0xFE) == [0x1C]
    assert keyboard.ask(0xFE) == [0x1C]


def test_set_3_key_types(keyboard: Keyboard) -> None:
    keyboard.ask(0xF0, 3)
    assert keyboard.codes(0x1E | DOWN, 0x1E) == "1c"
    keyboard.ask(0xFC)
    keyboard.ask(0x1C)
    keyboard.ask(0x32)
    assert keyboard.codes(0x1E | DOWN, 0x1E, 0x30 | DOWN, 0x30) == "1c f0 1c 32 f0 32"
    assert keyboard.codes(0x2E | DOWN, 0x2E) == "21"
    keyboard.ask(0xF8)  # all of them
    assert keyboard.codes(0x2E | DOWN, 0x2E) == "21 f0 21"
    keyboard.ask(0xF9)
    assert keyboard.codes(SHIFT | DOWN, SHIFT) == "12"


# ---- repeats ----


def test_repeats(keyboard: Keyboard) -> None:
    keyboard.codes(0x1E | DOWN)
    keyboard.wait(500 * MS - 1)
    assert keyboard.read() == []
    keyboard.wait(1)
    assert keyboard.read() == [0x1C]
    keyboard.wait(11 * 8_340_000)  # 10.9 a second
    assert keyboard.read() == [0x1C]
    keyboard.wait(10**9)
    assert len(keyboard.read()) == 10
    assert keyboard.codes(0x1E) == "f0 1c"
    keyboard.wait(10**10)
    assert keyboard.read() == []


def test_repeat_rate(keyboard: Keyboard) -> None:
    keyboard.ask(0xF3, 0x00)  # 250 ms, 30 a second
    keyboard.codes(0x1E | DOWN)
    keyboard.wait(250 * MS)
    assert keyboard.read() == [0x1C]
    keyboard.wait(8 * 4_170_000)
    assert keyboard.read() == [0x1C]


def test_only_the_last_key_repeats(keyboard: Keyboard) -> None:
    keyboard.codes(0x1E | DOWN, 0x30 | DOWN)
    keyboard.wait(501 * MS)
    assert keyboard.read() == [0x32]
    keyboard.codes(0x1E)
    keyboard.wait(101 * MS)
    assert keyboard.read() == [0x32]


def test_pause_does_not_repeat(keyboard: Keyboard) -> None:
    keyboard.codes(PAUSE | DOWN)
    keyboard.wait(10**10)
    assert keyboard.read() == []


def test_a_full_buffer(keyboard: Keyboard) -> None:
    keyboard.codes(0x1E | DOWN)
    keyboard.wait(3600 * 10**9)
    assert keyboard.lib.ps2_keyboard_deadline(keyboard.state) == NEVER
    assert keyboard.read() == [0x1C] * 16
    deadline = keyboard.lib.ps2_keyboard_deadline(keyboard.state)
    assert keyboard.now <= deadline < keyboard.now + 92 * MS  # and in step with those that were lost
    assert (deadline - 500 * MS) % (11 * 8_340_000) == 0


def test_an_overrun_is_told(keyboard: Keyboard) -> None:
    keyboard.codes(0x1E | DOWN)
    keyboard.state.repeated = HOME  # two bytes each: the ninth does not fit behind a single one
    keyboard.state.fifo_used = 15
    keyboard.wait(500 * MS)
    assert keyboard.read()[-1] == 0


# ---- the typist ----


def test_delays(keyboard: Keyboard) -> None:
    keyboard.type(20 << 16 | 0x1E | DOWN, 30 << 16 | 0x1E)
    keyboard.wait(20 * MS - 1)
    assert keyboard.read() == []
    keyboard.wait(1)
    assert keyboard.read() == [0x1C]
    keyboard.wait(30 * MS)
    assert keyboard.read() == [0xF0, 0x1C]
    assert keyboard.lib.ps2_keyboard_deadline(keyboard.state) == NEVER


def test_the_typist_waits_for_room_and_for_a_keyboard_that_scans(keyboard: Keyboard) -> None:
    keyboard.ask(0xF5)
    text = [key | down for key in range(0x10, 0x1A) for down in (DOWN, 0)]
    assert keyboard.type(*text) == 20
    keyboard.wait(10**9)
    assert keyboard.read() == []
    keyboard.ask(0xF4)
    keyboard.wait(10**9)
    assert keyboard.state.queue_used > 0
    found: list[int] = []
    for _ in range(20):
        found += keyboard.read()
        keyboard.wait(MS)
    codes = [0x15, 0x1D, 0x24, 0x2D, 0x2C, 0x35, 0x3C, 0x43, 0x44, 0x4D]
    assert found == [byte for code in codes for byte in (code, 0xF0, code)]


def test_the_queue_is_bounded(keyboard: Keyboard) -> None:
    keyboard.ask(0xF5)
    assert keyboard.type(*[0x1E] * 2000) == 1024
    assert keyboard.type(0x1E) == 0


ACTION = st.one_of(
    st.tuples(st.just("receive"), st.integers(0, 255)),
    st.tuples(st.just("type"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("take"), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 10**10)),
)


@given(st.lists(ACTION, max_size=60), st.integers(1, 50))
def test_one_step_or_many(lib: Any, ffi: Any, actions: list[tuple[str, int]], pieces: int) -> None:
    one, many = Keyboard(lib, ffi), Keyboard(lib, ffi)
    for action, value in actions:
        for keyboard, steps in ((one, 1), (many, pieces)):
            if action == "wait":
                for step in range(steps):
                    keyboard.wait(value * (step + 1) // steps - value * step // steps)
            elif action == "type":
                keyboard.type(value)
            elif action == "take":
                keyboard.lib.ps2_keyboard_take(keyboard.state, keyboard.now)
            else:
                keyboard.lib.ps2_keyboard_receive(keyboard.state, value, keyboard.now)
            keyboard.wait(0)
            assert lib.ps2_keyboard_deadline(keyboard.state) > keyboard.now
    assert bytes(ffi.buffer(one.state)) == bytes(ffi.buffer(many.state))
