"""What terminals send, as keys."""

from __future__ import annotations

import pytest

from bringup.harness import terminal_keys
from bringup.harness.terminal_keys import TerminalKeys, strokes
from bringup.vmm.screen import keys
from bringup.vmm.screen.keys import Stroke


def pressed(names: str) -> list[Stroke]:
    return [tuple(word.split("-")) for word in names.split()]


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("dir\r", "d i r ret"), ("A", "shift-a"), ("\x03", "ctrl-c"), ("\x7f", "backspace"), ("\x1b", "esc"),
        ("\x1b[A\x1b[B", "up down"), ("\x1bOP\x1b[24~", "f1 f12"), ("\x1b[3~", "delete"), ("\x1bx", "alt-x"),
        ("\x1b[1;5C\x1b[99~", "ctrl-right"), ("é", ""), ("\x1b\x1b[A", "esc up"), ("\x1bOAx", "up x"), ("", ""),
        ("\x1b[1;2P\x1b[15;6~", "shift-f1 ctrl-shift-f5"), ("\x1b[3;3~", "alt-delete"), ("\x1b[Z", "shift-tab"),
        ("\x1b[[A\x1b[[E", "f1 f5"), ("\x1b[11~\x1b[7~\x1b[8~", "f1 home end"), ("\x1b[;H", "home"),
        ("\x1b[1;;A", "up"), ("\x1bOz", "alt-shift-o z"), ("\x1b[I", ""),
    ],
)  # fmt: skip
def test_what_terminals_send(typed: str, names: str) -> None:
    assert strokes(typed) == pressed(names)


def test_every_name_is_a_key() -> None:
    tables = (terminal_keys._FINAL, terminal_keys._NUMBERED, terminal_keys._LINUX)
    for name in (name for table in tables for name in table.values()):
        assert all(keys.number(part) for part in name.split("-"))


@pytest.mark.parametrize("typed", ["\x1b[A", "\x1b[1;5C", "\x1bOP", "\x1b[[A", "\x1bx", "\x1b\x1b[24~", "aé\x1b[Bb"])
def test_in_pieces_it_is_the_same(typed: str) -> None:
    data = typed.encode()
    for cut in range(1, len(data)):
        terminal = TerminalKeys()
        assert terminal.take(data[:cut]) + terminal.take(data[cut:]) + terminal.overdue() == strokes(typed)
    terminal = TerminalKeys()
    assert [one for byte in data for one in terminal.take(bytes([byte]))] == strokes(typed)


@pytest.mark.parametrize(
    ("typed", "names"), [(b"\x1b", "esc"), (b"\x1b[", "alt-bracket_left"), (b"\x1bO", "alt-shift-o")]
)
def test_what_nothing_follows_is_a_key_in_the_end(typed: bytes, names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = TerminalKeys()
    assert terminal.take(typed) == terminal.overdue() == []
    monkeypatch.setattr(terminal_keys, "WAIT", 0.0)
    assert terminal.overdue() == pressed(names)
    assert terminal.overdue() == []


def test_a_sequence_without_end_is_not_kept_for_ever() -> None:
    terminal = TerminalKeys()
    assert terminal.take(b"\x1b[" + b"0" * 100)
    assert len(terminal._begun) < 40
