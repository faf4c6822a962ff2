"""How a machine ends that may not reset. Power-off is the last rung of the ladders."""

from __future__ import annotations

import pexpect
import pytest

from bringup.harness.attempt import Attempt


@pytest.mark.guests(tag="short")
def test_reboot_ends_the_machine(booted: Attempt) -> None:
    """With --no-reboot or its like, which is how guests are run."""
    booted.shell.sendline("reboot -f")
    booted.shell.expect(pexpect.EOF)
    ending = booted.running.ending
    assert ending is not None
    assert ending.kind == "reset"
