"""`bringup boot --attach`: a person at a terminal gets the guest's shell, in host time."""

import os
import pty
import sys
import time

import pytest

from bringup.guests.loader import load
from bringup.harness.media.resolve import Media

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
