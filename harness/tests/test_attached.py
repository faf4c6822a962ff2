"""The machine's screen and keyboard on a person's terminal."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyte
import pytest
from standins import screen, scripted, turns
from test_display import on_terminal

from bringup.harness.attached import ScreenTerminal, attach
from bringup.harness.limits import Scale
from bringup.harness.machine.ending import MachineError
from bringup.harness.machine.machine import start
from bringup.harness.machine.settings import Settings
from bringup.vmm.screen.text import Mode, TextScreen


class Sized(io.StringIO):
    """A terminal of a size."""

    lines, columns = 30, 80

    def fileno(self) -> int:
        return -1


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> Sized:
    out = Sized()
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((out.columns, out.lines)))
    return out


def test_only_what_changes_is_drawn(sized: Sized) -> None:
    out = sized
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
        assert shown[0].startswith("(the guest draws graphics") and shown[1:26] == ["Ctrl-] leaves", *[""] * 24]
    assert out.getvalue().endswith("\x1b[?1049l")


def numbered(cursor: tuple[int, int] | None) -> TextScreen:
    return replace(screen(*(f"{row:02} {'-' * 74} |" for row in range(25))), cursor=cursor)


@pytest.mark.parametrize(
    ("lines", "columns", "cursor", "told", "first", "last", "width"),
    [
        (24, 80, (3, 0), False, "00", "22", 79), (24, 80, (3, 0), True, "00", "23", 79),
        (24, 80, (24, 0), True, "01", "24", 79), (24, 80, None, True, "00", "23", 79),
        (10, 40, (12, 0), True, "03", "12", 40), (10, 40, (12, 79), True, "--", "--", 39),
        (1, 1, (0, 0), True, "0", "0", 1),
        (30, 100, (24, 0), True, "00", "24", 79),
    ],
)  # fmt: skip
def test_a_small_terminal_shows_the_part_with_the_cursor(
    sized: Sized,
    lines: int,
    columns: int,
    cursor: tuple[int, int] | None,
    told: bool,
    first: str,
    last: str,
    width: int,
) -> None:
    sized.lines, sized.columns = lines, columns
    terminal = pyte.Screen(columns, lines)
    with ScreenTerminal(sized) as it:
        it.told = told
        it.draw(numbered(cursor))
    pyte.Stream(terminal).feed(sized.getvalue().removesuffix("\x1b[?1049l"))
    shown = [line.rstrip() for line in terminal.display if line.strip()]
    if not told or lines > 25:
        assert shown.pop() == "Ctrl-] leaves"
    assert (shown[0][: len(first)], shown[-1][: len(last)], len(shown[0])) == (first, last, width)


def test_another_size_is_drawn_anew(sized: Sized) -> None:
    with ScreenTerminal(sized) as it:
        it.draw(numbered((0, 0)))
        sized.lines, sized.columns = 12, 40
        before = len(sized.getvalue())
        it.draw(numbered((0, 0)))
        assert sized.getvalue()[before:].startswith("\x1b[2J")
        terminal = pyte.Screen(40, 12)
        pyte.Stream(terminal).feed(sized.getvalue()[before:])
        assert [line[:2] for line in terminal.display] == [*(f"{row:02}" for row in range(11)), "Ct"]


def test_a_locale_without_box_characters(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w", encoding="latin-1") as out, ScreenTerminal(out) as it:
        it.draw(TextScreen(Mode.TEXT, 2, 1, b"\xc9\x07A\x07"))
    assert b"?A" in (tmp_path / "out").read_bytes()


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


def test_the_escape_key_is_pressed_though_nothing_follows(typing: tuple[int, int]) -> None:
    machine, link = scripted(screen("A:\\>"), answer=lambda names: [screen("A:\\>")])
    pump = machine.pump

    def pump_and_leave(deadline: object) -> None:
        pump(deadline)  # type: ignore[arg-type]
        if link.pressed:
            os.write(typing[1], b"\x1d")

    machine.pump = pump_and_leave  # type: ignore[method-assign]
    os.write(typing[1], b"\x1b")
    attach(machine, typing[0], io.StringIO())
    assert link.pressed == [("esc",)]


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


@pytest.mark.parametrize(("rows", "columns"), [(24, 80), (10, 60)])
def test_on_a_small_terminal_a_boot_shows_where_the_cursor_is(rows: int, columns: int) -> None:
    terminal = on_terminal(SHOWING, columns, rows)
    lines = [line.rstrip() for line in terminal.display]
    assert "C:\\>" in lines
    assert "  … prompt" in lines


@pytest.mark.parametrize(("rows", "all_rungs"), [(29, False), (30, True)])
def test_a_boot_shows_the_screen_in_colour(rows: int, all_rungs: bool) -> None:
    terminal = on_terminal(SHOWING, 80, rows)
    lines = [line.rstrip() for line in terminal.display]
    assert lines[0] == "C:\\>"
    assert any("dos on fake" in line for line in lines)
    assert lines.index("  … prompt") > 24
    assert any("✓ kernel" in line for line in lines) == all_rungs, "one rung, where the screen needs the room"
    assert terminal.buffer[0][0].fg == "white"
