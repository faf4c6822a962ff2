"""How a guest ends: reboot, and a panic that is seen as the guest's. Power-off is the last rung of the ladders."""

from __future__ import annotations

import pexpect
import pytest

from bringup.harness.attempt import Attempt, Overrides
from bringup.harness.console.deaths import GuestDied


@pytest.mark.guests(tag="shell")
def test_reboot_ends_the_machine(attempt: Attempt) -> None:
    """With --no-reboot or its like, which is how guests are run."""
    attempt.boot()
    attempt.climb(until="shell")
    attempt.shell.sendline("reboot -f")
    attempt.shell.expect(pexpect.EOF)
    ending = attempt.running.ending
    assert ending is not None
    assert ending.kind == "reset"


@pytest.mark.guests(tag="shell")
class TestReboot:
    """A machine that may reset."""

    @pytest.fixture
    def overrides(self) -> Overrides:
        """A reset starts the guest anew."""
        return Overrides(no_reboot=False)

    def test_the_guest_comes_back(self, attempt: Attempt) -> None:
        """The whole way again, in the same machine."""
        attempt.boot()
        attempt.climb(until="shell")
        attempt.shell.sendline("reboot -f")
        attempt.climb(until="shell")
        assert attempt.running.ending is None


@pytest.mark.guests(tag="shell")
def test_a_panic_is_the_guest_s(attempt: Attempt) -> None:
    """A provoked panic (Linux, Documentation/admin-guide/sysrq.rst) is told from all other endings, by its title."""
    attempt.boot()
    attempt.climb(until="shell")
    with pytest.raises(GuestDied) as died:
        attempt.shell.sendline("echo c > /proc/sysrq-trigger")
        attempt.shell.expect(pexpect.EOF)
    assert "sysrq triggered crash" in died.value.title
