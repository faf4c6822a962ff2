"""A boot on a terminal and off it."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from contextlib import suppress

import pyte
import pytest

from bringup.guests.definition import Rung
from bringup.harness.display import Display
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


def test_on_a_terminal_the_rungs_stand_below_what_is_said() -> None:
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=follower, stderr=follower, env=environment):
        os.close(follower)
        output = b""
        with suppress(OSError):  # EIO: the program has ended
            while data := os.read(leader, 65536):
                output += data
        os.close(leader)
    screen = pyte.Screen(80, 24)
    pyte.ByteStream(screen).feed(output)
    lines = [line.rstrip() for line in screen.display]
    said = [line for line in lines if line]
    assert said[:3] == ["Linux version 6.1", "half a line", "[red]no markup[/red]"]
    assert any("tiny on fake" in line and "1,234,567 instructions" in line for line in lines)
    assert any(line.startswith("  ✓ kernel") and "1,000 instructions" in line for line in lines)
    assert any(line.startswith("  … shell") for line in lines)


def test_off_a_terminal_the_guest_s_text_is_left_whole(capsys: pytest.CaptureFixture[str]) -> None:
    transcript = io.StringIO()
    with Display("tiny on fake", RUNGS, lambda: Moment(None, None, 0.0), -1.0, transcript) as display:
        display.say("Linux ver")
        display.reached(RUNGS[0], 0, Moment(1234, 1_000_000, 0.5))
        display.write("sion 6.1\n# ")
        display.flush()
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
