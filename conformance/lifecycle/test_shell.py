"""A guest at its shell: what commands say and how they end. One machine for all of them, as long as it lives."""

from __future__ import annotations

import hashlib

import pytest

from bringup.guests.definition import Limit
from bringup.harness.attempt import Attempt
from bringup.harness.console.deaths import GuestDied
from bringup.harness.prepare import Overrides

NUMBERS = "".join(f"{number}\n" for number in range(1, 10001))
FORKS = 200
LONG = Limit(guest=120)


@pytest.mark.guests(tag="shell")
class TestShell:
    """From the shell of a guest that has just started to its panic."""

    @pytest.fixture
    def overrides(self) -> Overrides:
        """A machine that may reset."""
        return Overrides(no_reboot=False)

    def test_arithmetic(self, booted: Attempt) -> None:
        """In 64 bits, with signs."""
        assert booted.shell.run("echo $((6 * 7)) $((1 << 40)) $((-7 / 2))").output == "42 1099511627776 -3\n"

    def test_exit_status(self, booted: Attempt) -> None:
        """Of commands that end, and of one that is not there."""
        for status in (0, 1, 3, 126):
            assert booted.shell.run(f"sh -c 'exit {status}'", check=False).status == status
        assert booted.shell.run("no-such-command", check=False).status == 127

    def test_pipe(self, booted: Attempt) -> None:
        """Three processes at once."""
        assert booted.shell.run("seq 1 10000 | sort -rn | head -n 1").output == "10000\n"

    def test_md5_of_a_known_file(self, booted: Attempt) -> None:
        """What is computed, written and read back is right to the last bit."""
        expected = hashlib.md5(NUMBERS.encode(), usedforsecurity=False).hexdigest()
        assert booted.shell.run("seq 1 10000 > /tmp/numbers; md5sum < /tmp/numbers").output == f"{expected}  -\n"

    def test_fork_loop(self, booted: Attempt) -> None:
        """Many processes, one after the other."""
        loop = f"n=0; while [ $n -lt {FORKS} ]; do /bin/busybox true || break; n=$((n+1)); done; echo $n"
        assert booted.shell.run(loop, LONG).output == f"{FORKS}\n"

    def test_children_side_by_side(self, booted: Attempt) -> None:
        """Eight compute the same at the same time."""
        command = (
            "for n in 1 2 3 4 5 6 7 8; do (seq 1 2000 | md5sum > /tmp/s$n) & done; wait; cat /tmp/s? | uniq | wc -l"
        )
        assert booted.shell.run(command, LONG).output == "1\n"

    def test_a_process_is_killed(self, booted: Attempt) -> None:
        """Its status says by which signal."""
        assert booted.shell.run("sleep 100 & kill -9 $!; wait $!", check=False).status == 128 + 9

    def test_time_passes(self, booted: Attempt) -> None:
        """The guest's own two seconds, by its own clock: rounded down at both ends."""
        booted.shell.run("a=$(date +%s); sleep 2; b=$(date +%s); [ $((b-a)) -ge 2 ] && [ $((b-a)) -le 4 ]")

    def test_memory_is_that_of_the_machine(self, booted: Attempt) -> None:
        """But for what the kernel keeps to itself."""
        total = int(booted.shell.run("awk '/MemTotal/ {print $2}' /proc/meminfo").output)
        memory = booted.running.settings.memory // 1024
        assert memory // 2 < total <= memory

    def test_vcpus_are_those_of_the_machine(self, booted: Attempt) -> None:
        """All of them are online."""
        assert booted.shell.run("nproc").output == f"{booted.running.settings.cpus}\n"

    def test_reboot(self, booted: Attempt) -> None:
        """The whole way again, in the same machine."""
        if "no_reboot" not in booted.vmm.definition.options:
            pytest.skip(f"{booted.vmm.name} has no option that decides whether a reset ends the machine")
        booted.shell.sendline("reboot -f")
        booted.climb(until="shell")
        assert booted.running.ending is None

    def test_a_panic_is_the_guest_s(self, booted: Attempt) -> None:
        """A provoked panic (Linux, Documentation/admin-guide/sysrq.rst) is told from all other endings, by its title.
        Last: it leaves no guest."""
        booted.shell.sendline("echo c > /proc/sysrq-trigger")
        with pytest.raises(GuestDied) as died:
            booted.shell.expect("no guest says this")
        assert "sysrq triggered crash" in died.value.title
