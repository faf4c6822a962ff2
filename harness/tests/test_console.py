"""Consoles: pexpect's meaning of everything, in guest time and bounded memory; deaths; screens."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import pexpect
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pexpect.spawnbase import SpawnBase
from standins import scripted

from bringup.guests.definition import Console as ConsoleDefinition
from bringup.guests.definition import Death, Limit
from bringup.guests.loader import load
from bringup.harness.console.console import Console, LimitSpent, MachineEnded
from bringup.harness.console.deaths import DeathWatch, GuestDied
from bringup.harness.console.literals import required
from bringup.harness.console.log import Log
from bringup.harness.console.screen import LINES, Screen
from bringup.harness.limits import Moment

PANIC = Death(title="panic: {0}", pattern=r"Kernel panic - not syncing: (.{1,40})")
STALL = Death(title="stall", pattern=r"rcu: stall", ends=False)


def console(*script: bytes, deaths: Sequence[Death] = (), ends: bool = False, terminal: bool = False) -> Console:
    machine, _ = scripted(*script, ends=ends)
    return machine.console("serial0", ConsoleDefinition(terminal=terminal), deaths=deaths)


# ---- expect ----


def test_before_after_and_match() -> None:
    it = console(b"one tw", b"o thr", b"ee four")
    assert it.expect([r"t(wo|hree)", "four"]) == 0
    assert (it.before, it.after, it.match[1], it.match_index) == ("one ", "two", "wo", 0)
    assert it.expect_exact(["nothing", "three"]) == 1
    assert (it.before, it.after, it.match) == (" ", "three", "three")
    assert it.expect_list([re.compile("four")]) == 0
    assert it.buffer == ""


def test_the_first_in_the_stream_is_chosen_and_then_the_first_in_the_list() -> None:
    assert console(b"foobar").expect(["bar", "foo", "foobar"]) == 1


def test_limits_and_ends_as_patterns() -> None:
    it = console(b"text", ends=False)
    assert it.expect(["x{5}", pexpect.TIMEOUT], timeout=1) == 1
    assert (it.before, it.after, it.match) == ("text", pexpect.TIMEOUT, pexpect.TIMEOUT)
    assert it.buffer == "text"
    it = console(b"text", ends=True)
    assert it.expect_exact([pexpect.EOF]) == 0
    assert (it.before, it.after, it.buffer) == ("text", pexpect.EOF, "")


def test_a_limit_is_guest_time_and_says_what_was_awaited() -> None:
    it = console(b"first\r\n", b"second line")
    with pytest.raises(LimitSpent) as error:
        it.expect(["abc", "def"], timeout=1.5)
    assert str(error.value.args[0]) == (
        "serial0: 1.5 guest seconds are spent while 'abc' or 'def' was awaited; its last line is 'second line'"
    )
    assert it.machine.moment().guest_ns == 1_500_000_000
    assert (it.before, it.after, it.match) == ("first\nsecond line", pexpect.TIMEOUT, None)


def test_no_patience_looks_at_what_is_there() -> None:
    it = console(b"text")
    with pytest.raises(pexpect.TIMEOUT):
        it.expect("text", timeout=0)
    it.expect("text", timeout=0.001)


def test_the_end_of_the_machine() -> None:
    it = console(b"last words\r\n", ends=True)
    with pytest.raises(
        MachineEnded, match=r"the machine ended \(power-off, status 0\) while 'x' was awaited; its last"
    ):
        it.expect("x")
    with pytest.raises(pexpect.EOF):
        it.expect("words")


def test_lines() -> None:
    it = console(b"a\r\nb\r\n", b"c", ends=True)
    assert it.readline() == "a\n"
    assert it.readlines() == ["b\n", "c"]
    it = console(b"abcdef", ends=True)
    assert it.read(4) == "abcd"
    assert it.read_nonblocking(1) == "e"
    assert it.read() == "f"


def test_text_is_plain_and_so_is_every_log() -> None:
    it = console(b"\x1b[1;31mred\x1b[0m\x07 \xc3", b"\xa9\r\n\x1b]0;title\x07end")
    it.logfile, it.logfile_read, it.logfile_send = io.StringIO(), io.StringIO(), io.StringIO()
    it.expect_exact("red \u00e9\nend")
    it.send("\x1b[6nx")
    assert it.logfile.getvalue() == "red \u00e9\nendx"
    assert it.logfile_read.getvalue() == "red \u00e9\nend"
    assert it.logfile_send.getvalue() == "x"
    assert it.raw.bytes() == b"\x1b[1;31mred\x1b[0m\x07 \xc3\xa9\r\n\x1b]0;title\x07end"


def test_control_characters_are_sent() -> None:
    machine, link = scripted()
    it = machine.console("serial0")
    it.sendcontrol("c")
    it.sendcontrol("[")
    it.writelines(["a", "b"])
    it.sendline("c")
    assert b"".join(data for _, data in link.typed) == b"\x03\x1babc\n"
    with pytest.raises(ValueError, match="no control character '1'"):
        it.sendcontrol("1")


@pytest.mark.parametrize("wrong", [5, None, b"bytes"])
def test_patterns_of_the_wrong_type(wrong: object) -> None:
    with pytest.raises(TypeError):
        console().expect_exact([wrong])
    with pytest.raises(re.error):
        console().expect("(")
    with pytest.raises(TypeError, match="asynchronous"):
        console().expect("x", async_=True)
    with pytest.raises(TypeError, match="unknown keyword arguments: patience"):
        console().expect("x", patience=1)


def test_what_nobody_waits_for_is_bounded() -> None:
    it = console(*[b"x" * 65536] * 40, b"the end")
    it.expect_exact("the end")
    assert 1 << 20 <= len(it.before) < (1 << 20) + (1 << 17)


def test_patterns_without_bounds_are_looked_for_in_a_window() -> None:
    it = console(b"begin", *[b"y" * 4096] * 10, b"end")
    assert it.expect(["begin.*end", pexpect.TIMEOUT], timeout=1) == 1
    it = console(b"begin", *[b"y" * 4096] * 3, b"end")
    it.expect("begin.*end")


class Reference(SpawnBase):  # type: ignore[type-arg]
    """pexpect's own, over the same pieces."""

    def __init__(self, pieces: Sequence[str]) -> None:
        super().__init__(encoding="utf-8", timeout=None)
        self.pieces = list(pieces)
        self.delayafterread = None

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> str:
        if not self.pieces:
            self.flag_eof = True
            raise pexpect.EOF("end")
        return self.pieces.pop(0)


PIECES = st.lists(st.text("ab\n", min_size=1, max_size=6), max_size=12)
PATTERNS = st.lists(st.sampled_from(["ab", "ba+", "b{2,3}", "a\n", "^a", "(?<=b)a", "abab|b"]), min_size=1, max_size=3)


@given(PIECES, st.lists(PATTERNS, min_size=1, max_size=4), st.booleans())
def test_expect_is_pexpects(pieces: list[str], waits: list[list[str]], exact: bool) -> None:
    ours, theirs = console(*[piece.encode() for piece in pieces], ends=True), Reference(pieces)
    for patterns in waits:
        each: list[object] = [*patterns, pexpect.EOF]
        name = "expect_exact" if exact else "expect"
        assert getattr(ours, name)(each) == getattr(theirs, name)(each)
        assert (ours.before, ours.after, ours.match_index) == (theirs.before, theirs.after, theirs.match_index)
        assert ours.buffer == theirs.buffer or exact  # pexpect keeps less of it than it has there


# ---- deaths ----


def test_a_death_ends_a_wait_at_once() -> None:
    it = console(b"[1] Kernel panic - not sync", b"ing: oh no\r\nmore\r\n", b"login: ", deaths=[PANIC])
    with pytest.raises(GuestDied) as error:
        it.expect("login: ")
    assert (error.value.title, error.value.line) == ("panic: oh no", "[1] Kernel panic - not syncing: oh no")
    assert it.machine.moment().guest_ns == 2_000_000


def test_what_came_before_a_death_counts() -> None:
    it = console(b"login: \r\nKernel panic - not syncing: x\r\nlogin: ", deaths=[PANIC])
    it.expect_exact("login: ")
    with pytest.raises(GuestDied):
        it.expect_exact("login: ")


def test_a_death_on_another_console() -> None:
    machine, _ = scripted(b"hello", b"debug|Kernel panic - not syncing: y\n", b"login: ")
    machine.console("debug", deaths=[PANIC])
    it = machine.console("serial0")
    it.expect("hello")
    with pytest.raises(GuestDied, match=r"^panic: y \(on debug\)$"):
        it.expect("login: ")


def test_a_text_on_any_console() -> None:
    machine, _ = scripted(b"hello", b"debug|to you, ", b"debug|too\n", b"bye", b"debug|Kernel panic - not syncing: z\n")
    first = machine.console("serial0", deaths=[PANIC])
    other = machine.console("debug", deaths=[PANIC])
    assert first.expect_anywhere([other], "you, (to)o") is other
    assert (other.before, other.after, other.match[1], first.match_index) == ("to ", "you, too", "to", None)
    assert first.expect_anywhere([other], "bye") is first
    assert (first.before, other.match_index) == ("hello", None)
    with pytest.raises(GuestDied, match=r"^panic: z \(on debug\)$"):
        first.expect_anywhere([other], "never")
    machine, _ = scripted(b"hello", ends=True)
    with pytest.raises(MachineEnded, match="while 'never' was awaited; its last line is 'hello'"):
        machine.console("serial0").expect_anywhere([machine.console("debug")], "never")
    machine, _ = scripted(b"hello")
    with pytest.raises(LimitSpent, match="1 guest seconds are spent while 'never' was awaited"):
        machine.console("serial0").expect_anywhere([machine.console("debug")], "never", 1.0)


def test_a_line_that_never_ends_counts_when_it_stands_still() -> None:
    it = console(b"Kernel panic - not syncing: cu", b"t off", deaths=[PANIC])
    with pytest.raises(GuestDied, match="panic: cut off"):
        it.expect("login: ", timeout=100)
    assert (it.machine.moment().guest_ns or 0) < 1_000_000_000
    it = console(b"Kernel panic - not syncing: z", deaths=[PANIC], ends=True)
    with pytest.raises(GuestDied, match="panic: z"):
        it.expect("login: ")


def test_what_is_only_worth_a_note() -> None:
    it = console(b"rcu: stall\n" * 500, b"login: ", deaths=[STALL, PANIC])
    it.expect("login: ")
    assert it.machine.notes == ["stall"]


@given(st.lists(st.integers(1, 30), max_size=10), st.text("ab\n", max_size=20), st.text("ab\n", max_size=20))
def test_deaths_do_not_depend_on_how_output_is_cut(cuts: list[int], before: str, after: str) -> None:
    text = f"{before}\nKernel panic - not syncing: gone\n{after}"
    whole, pieces = (DeathWatch("serial0", [PANIC, STALL], print) for _ in range(2))
    whole.feed(text)
    rest = text
    for cut in cuts:
        pieces.feed(rest[:cut])
        rest = rest[cut:]
    pieces.feed(rest)
    assert whole.fatality is not None
    assert whole.fatality == pieces.fatality
    assert text[whole.fatality.at :].startswith("Kernel panic")


def test_the_line_of_a_death_is_bounded() -> None:
    watch = DeathWatch("serial0", [PANIC], print)
    for _ in range(1000):
        watch.feed("x" * 1000)
    assert len(watch._line) <= 4096
    watch.feed("Kernel panic - not syncing: z\n")
    assert watch.fatality is not None
    assert watch.fatality.title == "panic: z"


DEATHS = load("linux-debian12-cloud").deaths


@given(st.data())
def test_required_texts_are_in_every_match(data: st.DataObject) -> None:
    death = data.draw(st.sampled_from(DEATHS))
    text = data.draw(st.from_regex(re.compile(death.pattern)))
    assert any(literal in text for literal in required(death.pattern))


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("abc", ("abc",)),
        ("a?bcd", ("bcd",)),
        ("(?:ab|cde)x{2}", ("ab", "cde")),
        ("(?i)abc", ()),
        ("(?i:abc)d", ("d",)),
        ("[ab]", ()),
        ("(?:abc|)d?", ()),
        ("(", ()),
    ],
)
def test_required_texts(pattern: str, texts: tuple[str, ...]) -> None:
    assert required(pattern) == texts


# ---- the log ----


def test_the_log_keeps_both_ends() -> None:
    log = Log(head=10, tail=20)
    for number in range(100):
        log.append(b"%04d" % number, Moment(number, None, 0.0))
    assert log.size == 400
    text = log.bytes()
    assert text.startswith(b"0000000100\r\n[bringup: ")
    assert text.endswith(b"00950096009700980099")
    assert sum(piece.size for piece in log.pieces()) == 400
    assert next(log.pieces()).moment == Moment(0, None, 0.0)


# ---- screens ----


def test_texts_are_looked_for_on_the_screen() -> None:
    it = console(
        b"\x1b[2J\x1b[3;10HChoose a language\x1b[5;1H> Engl",
        b"ish\x1b[6;3HFran\xc3\xa7ais",
        b"\x1b[2J\x1b[HDone",
        terminal=True,
    )
    it.expect_exact("Choose a language")
    it.expect(r"> English\n +Fran")
    assert it.screen is not None
    assert it.text.splitlines()[2] == "         Choose a language"
    it.expect_exact("Done")
    assert "language" not in it.text


def test_a_screen_answers_what_terminals_are_asked() -> None:
    machine, link = scripted(b"\x1b[4;7H\x1b[6", b"n", b"\x1b[c\x1b[5n", b"x")
    machine.console("serial0", ConsoleDefinition(terminal=True)).expect("x")
    assert b"".join(data for _, data in link.typed) == b"\x1b[4;7R\x1b[?6c\x1b[0n"


def test_a_title_without_end_is_bounded() -> None:
    screen = Screen(lambda data: None)
    for _ in range(5):
        screen.feed(b"\x1b]0;" + b"t" * 5000)
        screen.feed(b"\x1b[" + b"1" * 5000)
    assert len(screen._held) < 1000
    screen.feed(b"\x07\x1b[2J\x1b[Hvisible")
    assert "visible" in screen.text()


SEQUENCES = st.one_of(
    st.binary(max_size=20),
    st.builds(lambda kind, arguments, end: b"\x1b" + kind + arguments + end,
              st.sampled_from([b"[", b"[?", b"]", b"P", b"(", b"#", b"%", b""]),
              st.text("0123456789;", max_size=12).map(str.encode),
              st.sampled_from([bytes([code]) for code in range(0x40, 0x7F)] + [b"\x07", b"\x1b\\", b""])),
)  # fmt: skip


@given(st.lists(SEQUENCES, max_size=30))
def test_no_output_upsets_a_screen(pieces: list[bytes]) -> None:
    answers: list[bytes] = []
    screen = Screen(answers.append)
    for piece in pieces:
        screen.feed(piece)
        assert len(screen._held) < 1000
        assert screen.text().count("\n") == LINES - 1
    screen.feed(b"\x07\x1b\\\x1bc\x1b[2J\x1b[Hstill there")
    assert "still there" in screen.text()


def test_waits_take_limits_of_all_kinds() -> None:
    it = console(b"a")
    with pytest.raises(LimitSpent, match="3000000 instructions are spent"):
        it.expect("b", Limit(instructions=3_000_000))
