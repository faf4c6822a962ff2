"""`bringup boot --attach`: a person at a terminal gets the guest's shell, in host time."""

import os
import pty
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bringup.guests.loader import load
from bringup.harness.cli import main
from bringup.harness.media.resolve import Media
from bringup.harness.outcome import Blame, Outcome
from bringup.harness.records.schema import End, RungReached, Start
from bringup.harness.records.writer import read_run

GUEST = "linux-debian12-cloud"


def test_a_shell_in_a_terminal() -> None:
    if os.environ.get("BRINGUP_OFFLINE"):
        pytest.skip("BRINGUP_OFFLINE is set: no media are fetched")
    Media().resolve(load(GUEST))
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, "-m", "bringup.harness", "boot", GUEST, "--attach"])
    seen = b""

    def wait(text: bytes) -> None:
        nonlocal seen
        while text not in seen:
            seen += os.read(terminal, 65536)  # OSError when it has ended without having said it
        seen = seen.partition(text)[2]

    with os.fdopen(terminal, "rb+", buffering=0):
        wait(b"bringup# ")
        os.write(terminal, b"echo $((6 * 7)); sleep 1; tty\r")
        wait(b"42\r")
        asleep = time.monotonic()
        wait(b"/dev/ttyS0\r")
        assert time.monotonic() - asleep > 0.5  # the guest's second is the host's
        os.write(terminal, b"poweroff -f\r")
        wait(b"reboot: Power down\r")
        _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def powered_off_by_hand(guest: str) -> bytes:
    """What a person sees who waits for the shell and powers off."""
    process, terminal = pty.fork()
    if process == 0:
        command = [sys.executable, "-m", "bringup.harness", "boot", guest, "--vmm=./fake.toml", "--attach"]
        os.execv(sys.executable, command)
    seen, typed = b"", False
    with os.fdopen(terminal, "rb+", buffering=0), suppress(OSError):  # EIO: it has ended
        while data := os.read(terminal, 65536):
            seen += data
            if b"bringup# " in seen and not typed:
                os.write(terminal, b"poweroff -f\n")
                typed = True
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return seen


def test_a_person_leaves_a_record_with_the_rungs_that_were_seen(here: Path) -> None:
    seen = powered_off_by_hand("./tiny.toml")
    assert b"Ctrl-] ends it" in seen and b"bringup# \x1b[6n" in seen and b"\r\r\n" not in seen
    assert b"tiny on fake: 3 of 3 rungs (kernel init power-off), " in seen and b"machine: power-off, skipped: " in seen
    records = list(read_run(here / "bringup-out" / "latest"))
    assert [one.rung for one in records if isinstance(one, RungReached)] == ["kernel", "init", "power-off"]
    [start] = [one for one in records if isinstance(one, Start)]
    [end] = [one for one in records if isinstance(one, End)]
    assert start.history == "boot/tiny/attach/fake"
    assert (end.outcome, end.blame, end.depth) == (Outcome.SKIPPED, Blame.NOBODY, 3)


def test_what_was_said_once_is_evidence_of_one_rung(here: Path) -> None:
    text = (here / "tiny.toml").read_text()
    first = text[text.index("[[ladder]]") : text.index("[[ladder]]", text.index("[[ladder]]") + 1)]
    (here / "twice.toml").write_text(
        text.replace(first, first + first.replace('id = "kernel"', 'id = "kernel-again"'), 1)
    )
    assert b"twice on fake: 1 of 4 rungs (kernel), " in powered_off_by_hand("./twice.toml")


def test_who_is_not_at_a_terminal_is_told_so(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["boot", "./tiny.toml", "--vmm=./fake.toml", "--attach"])
    assert ending.value.code == 2
    assert capfd.readouterr().err == (
        "bringup boot: --attach: standard input and output are no terminal, which is what a person has\n"
    )
