"""The machine's screen and keyboard on a person's terminal."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest
from standins import screen, scripted, turns
from test_display import on_terminal

from bringup.harness.attached import ScreenTerminal, attach, strokes
from bringup.harness.limits import Scale
from bringup.harness.machine.ending import MachineError
from bringup.harness.machine.machine import start
from bringup.harness.machine.settings import Settings
from bringup.vmm.screen import keys
from bringup.vmm.screen.text import Mode, TextScreen


@pytest.mark.parametrize(
    ("typed", "pressed"),
    [
        ("dir\r", "d i r ret"), ("A", "shift-a"), ("\x03", "ctrl-c"), ("\x7f", "backspace"), ("\x1b", "esc"),
        ("\x1b[A\x1b[B", "up down"), ("\x1bOP\x1b[24~", "f1 f12"), ("\x1b[3~", "delete"), ("\x1bx", "alt-x"),
        ("\x1b[1;5C\x1b[99~", ""), ("é", ""), ("\x1b\x1b[A", "esc up"), ("\x1bOAx", "up x"), ("", ""),
    ],
)  # fmt: skip
def test_what_terminals_send(typed: str, pressed: str) -> None:
    assert strokes(typed) == [tuple(word.split("-")) for word in pressed.split()]


def test_every_sequence_is_a_key() -> None:
    from bringup.harness.attached import _SEQUENCES

    for sequence, name in _SEQUENCES.items():
        assert strokes(f"\x1b{sequence}") == [(name,)]
        assert keys.number(name)


def test_only_what_changes_is_drawn() -> None:
    out = io.StringIO()
    terminal = pyte.Screen(80, 30)
    stream = pyte.Stream(terminal)
    with ScreenTerminal(out) as it:
        sizes = []
        for one in (screen("A:\\>"), screen("A:\\>ver"), screen("A:\\>ver"), TextScreen(Mode.GRAPHICS)):
            before = len(out.getvalue())
            it.draw(one)
            stream.feed(out.getvalue()[before:])
            sizes.append(len(out.getvalue()) - before)
            shown = [line.rstrip() for line in terminal.display]
            if one.mode is Mode.TEXT:
                assert (shown[0], shown[25]) == (one.lines[0], "Ctrl-] leaves")
        assert sizes[1] < sizes[0] / 5
        assert sizes[2] == 0
        assert shown[:3] == ["(the screen is graphics)", "Ctrl-] leaves", ""]
    assert out.getvalue().endswith("\x1b[?1049l")


@pytest.fixture
def typing() -> Iterator[tuple[int, int]]:
    """A keyboard that is a pipe: its end to read, and the one to type at."""
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def test_a_person_types_and_leaves(typing: tuple[int, int]) -> None:
    machine, link = scripted(screen("A:\\>"), answer=lambda names: [screen(f"A:\\>{names.decode()}")])
    out = io.StringIO()
    os.write(typing[1], b"v\x1b[A")
    pump, turns_left = machine.pump, [20]

    def pump_and_leave(deadline: object) -> None:
        pump(deadline)  # type: ignore[arg-type]
        turns_left[0] -= 1
        if not turns_left[0]:
            os.write(typing[1], b"\x1d")

    machine.pump = pump_and_leave  # type: ignore[method-assign]
    attach(machine, typing[0], out)
    assert link.pressed == [("v",), ("up",)]
    assert "A:\\>v up" in out.getvalue()
    assert machine.ending is None


def test_the_end_of_the_machine_ends_it(typing: tuple[int, int]) -> None:
    machine, _ = scripted(screen("bye"), ends=True)
    out = io.StringIO()
    attach(machine, typing[0], out)
    assert "bye" in out.getvalue()
    assert machine.ending is not None


def test_the_end_of_what_is_typed_ends_nothing() -> None:
    machine, _ = scripted(screen("still here"), ends=True)
    with Path(os.devnull).open() as nothing:
        attach(machine, nothing.fileno(), out := io.StringIO())
    assert "still here" in out.getvalue()


def test_a_machine_without_a_screen(typing: tuple[int, int]) -> None:
    with (
        start(turns(""), Settings(memory=1 << 20), scale=Scale()) as machine,
        pytest.raises(MachineError, match="no screen"),
    ):
        attach(machine, typing[0], io.StringIO())


SHOWING = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from standins import screen, scripted
from bringup.guests.definition import Rung
from bringup.harness.console.strip import ScreenView
from bringup.harness.display import Display
from bringup.harness.limits import Moment
machine, _ = scripted(screen("first"), screen("C:\\\\>"))
console = machine.console("screen")
rungs = (Rung(id="kernel", text="x"), Rung(id="prompt", text="y"))
display = Display("dos on fake", rungs, machine.moment, 0.0)
console.logfile_read = display.window("screen", console.screen)
display.show("screen", ScreenView(machine.screens))
with display:
    console.expect_exact("C:")
    display.reached(rungs[0], 0, Moment(1, 2, 3.0))
"""


def test_a_boot_shows_the_screen_in_colour() -> None:
    terminal = on_terminal(SHOWING, 80, 30)
    lines = [line.rstrip() for line in terminal.display]
    assert lines[0] == "C:\\>"
    assert any("dos on fake" in line for line in lines)
    assert lines.index("  … prompt") > 24
    assert not any("kernel" in line for line in lines), "one rung: the screen needs the room"
    assert terminal.buffer[0][0].fg == "white"
