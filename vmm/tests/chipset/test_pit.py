"""The 8254 against a model that counts every clock pulse as the data sheet tells it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

HZ = 1_193_182
NEVER = 2**64 - 1


def at(tick: int) -> int:
    """The first nanosecond of a tick."""
    return -(-tick * 10**9 // HZ)


class Counter:
    """One counter, stepped (8254 data sheet, "Mode definitions"); a count can be read before its CLK loads it."""

    def __init__(self, gate: bool) -> None:
        self.gate = gate
        self.latch: int | None = None
        self.status: int | None = None
        self.element = 0
        self.loading = False
        self.control(0b110110)

    def control(self, word: int) -> None:
        self.element = self.visible()
        self.word = word & 0x3F
        self.rw = word >> 4 & 3
        self.mode = (word >> 1 & 7) if (word >> 1 & 7) < 6 else (word >> 1 & 3)
        self.modulus = 10000 if word & 1 else 65536
        self.out = self.mode != 0
        self.register: int | None = None
        self.loading = self.running = self.done = False
        self.null = True
        self.low_byte: int | None = None
        self.read_high = False
        self.latch = self.status = None

    def write(self, byte: int) -> None:
        if self.rw == 3 and self.low_byte is None:
            self.low_byte = byte
            if self.mode == 0:
                self.element = self.visible()
                self.running = self.loading = False
                self.out = False
            return
        value = byte if self.rw == 1 else byte << 8 | (self.low_byte or 0)
        self.low_byte = None
        first = self.register is None
        if self.modulus == 10000:
            value = sum((value >> 4 * i & 15) * 10**i for i in range(4))
        self.register = value % self.modulus or self.modulus
        if self.mode in (2, 3):
            self.register = max(self.register, 2)
        self.null = True
        if self.mode == 0:
            self.out = False
            self.loading = True
        elif self.mode == 4 or (self.mode in (2, 3) and self.gate and (first or not self.running)):
            self.loading = True

    def set_gate(self, level: bool) -> None:
        rose = level and not self.gate
        self.gate = level
        if self.mode in (2, 3) and not level:
            self.element = self.visible()
            self.out = True
            self.loading = self.running = False
        elif rose and self.mode not in (0, 4) and self.register is not None:
            self.loading = True

    def reload(self) -> None:
        assert self.register is not None
        self.element = self.register
        self.odd = bool(self.register & 1)
        if self.mode == 3:
            self.element &= ~1
        self.null = False

    def pulse(self) -> None:
        """One CLK."""
        if self.loading:
            self.reload()
            self.loading, self.running, self.done = False, True, False
            self.out = self.mode not in (0, 1)
        elif self.running and (self.gate or self.mode in (1, 5)):
            self.count()

    def count(self) -> None:
        if self.mode == 2:
            if self.element == 1:
                self.reload()
                self.out = True
            else:
                self.element -= 1
                self.out = self.element != 1
        elif self.mode == 3:
            if self.odd and self.out:
                if self.element == 0:
                    self.out = False
                    self.reload()
                else:
                    self.element -= 2
            else:
                self.element -= 2
                if self.element == 0:
                    self.out = not self.out
                    self.reload()
        else:
            self.element = (self.element - 1) % self.modulus
            terminal = self.element == 0 and not self.done
            self.done |= terminal
            if self.mode in (4, 5):
                self.out = not terminal
            else:
                self.out |= terminal

    def visible(self) -> int:
        if not self.loading:
            return self.element
        assert self.register is not None
        return self.register & ~1 if self.mode == 3 else self.register

    def shown(self) -> int:
        value = self.visible() % self.modulus
        return value if self.modulus == 65536 else int(str(value), 16)

    def latch_count(self) -> None:
        if self.latch is None:
            self.latch = self.shown()

    def latch_status(self) -> None:
        if self.status is None:
            self.status = self.word | self.null << 6 | self.out << 7

    def read(self) -> int:
        if self.status is not None:
            status, self.status = self.status, None
            return status
        value = self.shown() if self.latch is None else self.latch
        high = self.rw == 2 or (self.rw == 3 and self.read_high)
        if self.rw == 3:
            self.read_high = not self.read_high
        if self.rw != 3 or high:
            self.latch = None
        return value >> 8 if high else value & 0xFF


BYTES = st.sampled_from([0, 1, 2, 3, 4, 5, 9, 16, 0x99, 255])
COUNTS = st.one_of(st.integers(0, 20), st.sampled_from([0x99, 0xFF, 0x100, 0x123, 0x9999, 0xFFFF]))
Action = tuple[str, int, int]
ACTIONS: st.SearchStrategy[Action] = st.one_of(
    st.tuples(st.just("program"), st.integers(0, 0x2F), COUNTS),
    st.tuples(st.just("control"), st.integers(0, 0x2F), st.just(0)),
    st.tuples(st.just("write"), BYTES, st.just(0)),
    *[st.tuples(st.just("read"), st.just(0), st.just(0))] * 2,
    st.tuples(st.just("latch"), st.just(0), st.just(0)),
    st.tuples(st.just("read back"), st.integers(0, 3), st.just(0)),
    *[st.tuples(st.just("gate"), st.integers(0, 1), st.just(0))] * 2,
)
# Long pauses are rare: the model pays for each tick.
PAUSES = st.one_of(*[st.integers(0, 3)] * 6, *[st.integers(0, 40)] * 6, st.integers(0, 5000), st.integers(0, 140000))


def expand(action: Action) -> list[Action]:
    """Programming a counter: control word (never a latch command) and its bytes."""
    kind, word, count = action
    word += 0x10
    if kind == "control":
        return [("control", word, 0)]
    if kind != "program":
        return [action]
    data = {1: [count & 0xFF], 2: [count >> 8], 3: [count & 0xFF, count >> 8]}[word >> 4]
    return [("control", word, 0), *(("write", byte, 0) for byte in data)]


class Pair:
    """The chip and the model, to which the same happens."""

    def __init__(self, lib: Any, ffi: Any, channel: int) -> None:
        self.lib, self.channel = lib, channel
        self.pit = ffi.new("struct pit *")
        lib.pit_reset(self.pit)
        self.model = Counter(gate=channel != 2)
        self.tick = 0

    def wait(self, ticks: int) -> None:
        rises = 0
        for _ in range(ticks):
            before = self.model.out
            self.model.pulse()
            rises += self.model.out and not before
        self.tick += ticks
        rose = self.lib.pit_advance(self.pit, at(self.tick))
        if self.channel == 0:
            assert rose == (rises > 0)
            assert self.pit.irq == self.model.out
            assert self.lib.pit_deadline(self.pit) > at(self.tick)

    def act(self, kind: str, value: int) -> None:
        lib, pit, model, now = self.lib, self.pit, self.model, at(self.tick)
        match kind:
            case "control":
                lib.pit_write(pit, 3, self.channel << 6 | value, now)
                model.control(value)
            case "write":
                lib.pit_write(pit, self.channel, value, now)
                model.write(value)
            case "read":
                assert lib.pit_read(pit, self.channel, now) == model.read()
            case "latch":
                lib.pit_write(pit, 3, self.channel << 6, now)
                model.latch_count()
            case "read back":
                lib.pit_write(pit, 3, 0xC0 | (~value & 3) << 4 | 2 << self.channel, now)
                if value & 2:
                    model.latch_count()
                if value & 1:
                    model.latch_status()
            case "gate" if self.channel == 2:
                lib.pit_set_gate(pit, self.channel, value, now)
                model.set_gate(bool(value))
        assert lib.pit_out(pit, self.channel, now) == model.out
        assert pit.irq == lib.pit_out(pit, 0, now)


@settings(max_examples=300)
@given(
    channel=st.sampled_from([0, 2, 2]),
    gate=st.integers(0, 1),
    steps=st.lists(st.tuples(PAUSES, ACTIONS), min_size=2, max_size=30),
)
def test_like_the_stepped_model(lib: Any, ffi: Any, channel: int, gate: int, steps: list[tuple[int, Action]]) -> None:
    pair = Pair(lib, ffi, channel)
    pair.act("gate", gate)
    for pause, action in steps:
        pair.wait(pause)
        for kind, value, _ in expand(action):
            pair.act(kind, value)


# Corners that random steps seldom meet: (ticks to wait, action, value) on counter 2.
@pytest.mark.parametrize(
    "script",
    [
        # GATE falls while OUT of mode 3, or of mode 2, is low
        [(0, "control", 0x36), (0, "write", 8), (0, "write", 0), (6, "gate", 0), (3, "gate", 1), (9, "gate", 0)],
        [(0, "control", 0x14), (0, "write", 4), (4, "gate", 0), (1, "gate", 1), (1, "read back", 2)],
        # ... while a new count waits for the end of the cycle: it is not loaded, and NULL COUNT says so
        [(0, "control", 0x14), (0, "write", 9), (3, "write", 5), (1, "gate", 0), (20, "read back", 1), (0, "read", 0)],
        [(0, "control", 0x14), (0, "write", 9), (3, "write", 5), (20, "read back", 1), (0, "read", 0)],
        # one byte is all that a latch of an LSB-only or MSB-only counter holds
        [(0, "control", 0x14), (0, "write", 99), (5, "latch", 0), (5, "read", 0), (5, "read", 0)],
        [(0, "control", 0x24), (0, "write", 99), (5, "latch", 0), (300, "read", 0), (300, "read", 0)],
        # the second byte of a word in mode 0 restarts it, the first stops it
        [(0, "control", 0x30), (0, "write", 3), (0, "write", 0), (9, "write", 7), (9, "read", 0), (0, "write", 0)],
        # modes 1 and 5 retriggered before and after the end
        [(0, "control", 0x12), (0, "write", 5), (2, "gate", 0), (1, "gate", 1), (3, "gate", 0), (0, "gate", 1)],
        [(0, "control", 0x1A), (0, "write", 5), (0, "gate", 0), (1, "gate", 1), (9, "gate", 0), (1, "gate", 1)],
    ],
)
def test_corners_like_the_stepped_model(lib: Any, ffi: Any, script: list[tuple[int, str, int]]) -> None:
    pair = Pair(lib, ffi, 2)
    pair.act("gate", 1)
    for pause, kind, value in script:
        for _ in range(pause):
            pair.wait(1)
            pair.act("look", 0)
        pair.act(kind, value)
    for _ in range(30):
        pair.wait(1)
        pair.act("look", 0)


@pytest.fixture
def pit(lib: Any, ffi: Any) -> Any:
    pit = ffi.new("struct pit *")
    lib.pit_reset(pit)
    return pit


@pytest.fixture
def program(lib: Any, pit: Any) -> Callable[..., None]:
    def program(mode: int, count: int, now: int = 0, channel: int = 0) -> None:
        lib.pit_write(pit, 3, channel << 6 | 3 << 4 | mode << 1, now)
        lib.pit_write(pit, channel, count & 0xFF, now)
        lib.pit_write(pit, channel, count >> 8, now)

    return program


def edges(lib: Any, pit: Any, number: int) -> list[int]:
    """PIT ticks at which OUT 0 changes."""
    found = []
    for _ in range(number):
        deadline = lib.pit_deadline(pit)
        if deadline == NEVER:
            break
        lib.pit_advance(pit, deadline)
        found.append(deadline * HZ // 10**9)
    return found


@pytest.mark.parametrize(
    ("mode", "count", "expected"),
    [
        (0, 5, [6]),
        (0, 0, [65537]),
        (2, 5, [5, 6, 10, 11, 15]),
        (2, 2, [2, 3, 4, 5]),
        (2, 1, [2, 3, 4, 5]),  # one is illegal and acts as two
        (3, 6, [4, 7, 10, 13]),
        (3, 5, [4, 6, 9, 11]),
        (3, 0, [32769, 65537]),
        (4, 5, [6, 7]),
        (1, 5, []),  # GATE 0 is tied high: no trigger ever comes
        (5, 5, []),
    ],
)
def test_edges_of_out(
    lib: Any, pit: Any, program: Callable[..., None], mode: int, count: int, expected: list[int]
) -> None:
    program(mode, count)
    assert edges(lib, pit, len(expected) + (mode not in (2, 3))) == expected


def test_no_drift_in_a_century(lib: Any, pit: Any, program: Callable[..., None]) -> None:
    program(2, 11932)
    century = 100 * 365 * 86400 * 10**9
    assert lib.pit_advance(pit, century)
    deadline = lib.pit_deadline(pit)
    tick = deadline * HZ // 10**9
    assert (tick - 1) % 11932 in (0, 11931)
    assert century < deadline <= century + 10**9 * 11932 // HZ + 1


def test_linux_quick_tsc_calibration(lib: Any, pit: Any) -> None:
    """It reads the count right after writing it, and wants to see FFxxh."""
    lib.pit_set_gate(pit, 2, True, 0)
    for register, value in ((3, 0xB0), (2, 0xFF), (2, 0xFF)):
        lib.pit_write(pit, register, value, 0)
    assert [lib.pit_read(pit, 2, now) for now in (1, 2, 3, 4)] == [0xFF] * 4


@given(
    count=st.integers(0, 65535),
    mode=st.sampled_from([0, 2, 3, 4]),
    cuts=st.lists(st.integers(0, 10**9), max_size=20),
)
def test_one_step_or_many(lib: Any, ffi: Any, count: int, mode: int, cuts: list[int]) -> None:
    pits = [ffi.new("struct pit *"), ffi.new("struct pit *")]
    for pit in pits:
        lib.pit_reset(pit)
        for reg, value in ((3, 0x30 | mode << 1), (0, count & 255), (0, count >> 8)):
            lib.pit_write(pit, reg, value, 1000)
    end = 1000 + 10**9
    rises = [lib.pit_advance(pits[0], 1000 + cut) for cut in sorted(cuts)]
    rises.append(lib.pit_advance(pits[0], end))
    assert lib.pit_advance(pits[1], end) == any(rises)
    assert ffi.buffer(pits[0])[:] == ffi.buffer(pits[1])[:]


def test_control_register_reads_as_ones(lib: Any, pit: Any) -> None:
    assert lib.pit_read(pit, 3, 0) == 0xFF


def test_latches_keep_until_read(lib: Any, pit: Any, program: Callable[..., None]) -> None:
    program(2, 0x1234)
    lib.pit_write(pit, 3, 0x00, at(1))  # latch counter 0
    lib.pit_write(pit, 3, 0xC2, at(2))  # read-back: count (latched already) and status
    assert lib.pit_read(pit, 0, at(100)) == 0x80 | 0x34  # OUT, LSB then MSB, mode 2
    assert lib.pit_read(pit, 0, at(200)) == 0x34
    assert lib.pit_read(pit, 0, at(300)) == 0x12
    low = lib.pit_read(pit, 0, at(0x100))
    assert low | lib.pit_read(pit, 0, at(0x100)) << 8 == 0x1234 - 0xFF
