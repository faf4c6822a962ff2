"""A boot on a terminal and off it."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pyte
import pytest
from standins import scripted

from bringup.guests.definition import Console as Definition
from bringup.guests.definition import Rung
from bringup.harness.display import Display, shown
from bringup.harness.limits import Moment

RUNGS = (Rung(id="kernel", text="Linux"), Rung(id="shell", text="#"))
PROGRAM = """
from bringup.guests.definition import Rung
from bringup.harness.display import Display
from bringup.harness.limits import Moment
rungs = (Rung(id="kernel", text="Linux"), Rung(id="shell", text="#"))
with Display("tiny on fake", rungs, lambda: Moment(1234567, 2_500_000_000, 3.0), 0.0) as display:
    display.say("Linux version 6.1\\nhalf a ")
    display.say("line\\n")
    display.reached(rungs[0], 0, Moment(1000, 10, 2.0))
    display.say("[red]no markup[/red]\\n# ")
"""


def on_terminal(program: str, columns: int = 80, rows: int = 24) -> pyte.Screen:
    """What a terminal shows when a program has ended on it."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": str(columns), "LINES": str(rows)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=follower, stderr=follower, env=environment):
        os.close(follower)
        output = b""
        with suppress(OSError):  # EIO: the program has ended
            while data := os.read(leader, 65536):
                output += data
        os.close(leader)
    screen = pyte.Screen(columns, rows)
    pyte.ByteStream(screen).feed(output)
    return screen


def test_on_a_terminal_the_rungs_stand_below_what_is_said() -> None:
    screen = on_terminal(PROGRAM)
    lines = [line.rstrip() for line in screen.display]
    said = [line for line in lines if line]
    assert said[:3] == ["Linux version 6.1", "half a line", "[red]no markup[/red]"]
    assert any("tiny on fake" in line and "1,234,567 instructions" in line for line in lines)
    assert any(line.startswith("  ✓ kernel") and "1,000 instructions" in line for line in lines)
    assert any(line.startswith("  … shell") for line in lines)


DRAWING = (
    b"booting\r\nstill a line\r\n",
    b"\x1b[2J\x1b[H\x1b(0lqqqk\x1b(B\r\n\x1b(0x\x1b(B a \x1b(0x\x1b(B\r\n\x1b(0mqqqj\x1b(B",
    b"\x1b[2;3Hb",
)
PICTURE = ["┌───┐", "│ b │", "└───┘"]


def draw(display: Display) -> None:
    """A guest that says two lines and then draws, and reaches a rung at each."""
    machine, _ = scripted(*DRAWING)
    log, menu = machine.console("serial0"), machine.console("serial0", Definition(channel="serial0", terminal=True))
    for channel, console in shown({"log": log, "menu": menu}).items():
        console.logfile_read = display.window(channel, console.screen)
    with display:
        log.expect_exact("still a line")
        display.reached(RUNGS[0], 0, Moment(None, None, 1.0))
        menu.expect_exact("│ b │")
        display.reached(RUNGS[1], 1, Moment(None, None, 2.0))


def test_off_a_terminal_a_screen_is_shown_when_a_rung_is_reached(capsys: pytest.CaptureFixture[str]) -> None:
    transcript = io.StringIO()
    draw(Display("tiny on fake", RUNGS, lambda: Moment(None, None, 0.0), 0.0, transcript))
    out, err = capsys.readouterr()
    assert out.splitlines() == ["booting", "still a line", "---- serial0 shows", *PICTURE, "----"]
    assert transcript.getvalue() == out
    assert [line.split(":")[0] for line in err.splitlines()] == ["[1/2] kernel", "[2/2] shell"]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (50, 8)])
def test_on_a_terminal_a_screen_stands_above_the_rungs(columns: int, rows: int) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_display import Display, Moment, RUNGS, draw
draw(Display("tiny on fake", RUNGS, lambda: Moment(1234567890, 2_500_000_000, 3.0), 0.0))
"""
    screen = on_terminal(program, columns, rows)
    lines = [line.rstrip() for line in screen.display if line.strip()]
    if rows == 24:
        assert lines[:5] == ["booting", "still a line", *PICTURE]
    assert any("1,234,567,890 instructions" in line for line in lines), "the figures are whole on a narrow terminal"


def test_off_a_terminal_the_guest_s_text_is_left_whole(capsys: pytest.CaptureFixture[str]) -> None:
    transcript = io.StringIO()
    with Display("tiny on fake", RUNGS, lambda: Moment(None, None, 0.0), -1.0, transcript) as display:
        display.say("Linux ver")
        display.reached(RUNGS[0], 0, Moment(1234, 1_000_000, 0.5))
        display.window("serial0", None).write("sion 6.1\n# ")
        display.reached(RUNGS[1], 1, Moment(None, None, 61.5))
    out, err = capsys.readouterr()
    assert out == "Linux version 6.1\n# \n" == transcript.getvalue()
    assert err.splitlines() == [
        "[1/2] kernel:    1.5 host s     0.001 guest s            1,234 instructions",
        "[2/2] shell:   62.5 host s",
    ]


def test_in_one_file_rungs_stand_between_the_guest_s_lines() -> None:
    program = """
from bringup.guests.definition import Rung
from bringup.harness.display import Display
from bringup.harness.limits import Moment
rungs = (Rung(id="kernel", text="Linux"), Rung(id="shell", text="#"))
with Display("tiny on fake", rungs, lambda: Moment(None, None, 0.0), 0.0) as display:
    display.say("Linux ver")
    display.reached(rungs[0], 0, Moment(None, None, 1.0))
    display.say("sion 6.1\\nnext line\\n# ")
    display.reached(rungs[1], 1, Moment(None, None, 2.0))
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.stdout.splitlines() == [
        "Linux version 6.1", "[1/2] kernel:    1.0 host s", "next line", "# ", "[2/2] shell:    2.0 host s",
    ]  # fmt: skip
