"""Commands in a guest's shell: what they say and how they end."""

from __future__ import annotations

import hashlib

import pytest

from bringup.guests.definition import Limit
from bringup.harness.attempt import Attempt

NUMBERS = "".join(f"{number}\n" for number in range(1, 10001))
FORKS = 200
LONG = Limit(guest=120)


@pytest.mark.guests(tag="shell")
def test_shell(attempt: Attempt, subtests: pytest.Subtests) -> None:
    """One machine, many commands: arithmetic, statuses, pipes, files, processes, signals."""
    attempt.boot()
    attempt.climb(until="shell")
    shell = attempt.shell
    with subtests.test("arithmetic"):
        assert shell.run("echo $((6 * 7)) $((1 << 40)) $((-7 / 2))").output == "42 1099511627776 -3\n"
    for status in (0, 1, 3, 127):
        with subtests.test(f"status {status}"):
            assert shell.run(f"sh -c 'exit {status}'", check=False).status == status
    with subtests.test("a command that is not there"):
        assert shell.run("no-such-command", check=False).status == 127
    with subtests.test("pipe"):
        assert shell.run("seq 1 10000 | sort -rn | head -n 1").output == "10000\n"
    with subtests.test("md5 of a known file"):
        expected = hashlib.md5(NUMBERS.encode(), usedforsecurity=False).hexdigest()
        assert shell.run("seq 1 10000 > /tmp/numbers; md5sum < /tmp/numbers").output == f"{expected}  -\n"
    with subtests.test("fork loop"):
        loop = f"n=0; while [ $n -lt {FORKS} ]; do /bin/busybox true || break; n=$((n+1)); done; echo $n"
        assert shell.run(loop, LONG).output == f"{FORKS}\n"
    with subtests.test("children side by side"):
        command = (
            "for n in 1 2 3 4 5 6 7 8; do (seq 1 2000 | md5sum > /tmp/sum$n) & done; wait; cat /tmp/sum? | uniq | wc -l"
        )
        assert shell.run(command, LONG).output == "1\n"
    with subtests.test("a process is killed"):
        assert shell.run("sleep 100 & kill -9 $!; wait $!", check=False).status == 128 + 9
    with subtests.test("time passes"):
        assert shell.run("a=$(date +%s); sleep 2; b=$(date +%s); [ $((b-a)) -ge 2 ] && [ $((b-a)) -le 4 ]").status == 0
    with subtests.test("memory is that of the machine"):
        total = int(shell.run("awk '/MemTotal/ {print $2}' /proc/meminfo").output)
        memory = attempt.running.settings.memory // 1024
        assert memory // 2 < total <= memory
    with subtests.test("vCPUs are those of the machine"):
        assert shell.run("nproc").output == f"{attempt.running.settings.cpus}\n"
