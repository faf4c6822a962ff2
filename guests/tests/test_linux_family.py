"""What Linux kernels say when something is wrong, and what the family makes of it."""

import re

import pytest

from bringup.guests.definition import Death
from bringup.guests.loader import load

FAMILY = load("linux-debian12-cloud").about
PANIC = "[    1.234567] Kernel panic - not syncing: "


def first(line: str) -> tuple[Death, str] | None:
    """The first death whose pattern is in the line, and its title there."""
    for death in FAMILY.death:
        if match := re.search(death.pattern, line):
            return death, death.title_of(match.groups())
    return None


@pytest.mark.parametrize(
    ("line", "title", "ends"),
    [
        (PANIC + "VFS: Unable to mount root fs on unknown-block(0,0)", "Linux: no root file system", True),
        (PANIC + "No working init found.  Try passing init= option to kernel.", "Linux: no init found", True),
        (PANIC + "Requested init /bin/none failed (error -2).", "Linux: no init found", True),
        (PANIC + "Attempted to kill init! exitcode=0x00000100", "Linux: init was killed, exit code 00000100", True),
        (PANIC + "System is deadlocked on memory", "Linux: out of memory, nothing left to kill", True),
        (
            PANIC + "IO-APIC + timer doesn't work!  Boot with apic=debug and send a report.",
            "Linux: IO-APIC and timer do not work together",
            True,
        ),
        (PANIC + "sysrq triggered crash", "Linux: kernel panic: sysrq triggered crash", True),
        (PANIC + "Fatal exception in interrupt", "Linux: kernel panic: Fatal exception in interrupt", True),
        (
            "This kernel requires an x86-64 CPU, but only detected an i686 CPU.",
            "Linux: the kernel needs a CPU with more features",
            True,
        ),
        (
            "[ 1.0] BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "Linux: NULL pointer dereference",
            True,
        ),
        ("BUG: unable to handle page fault for address: ffffc90000000000", "Linux: page fault in the kernel", True),
        ("BUG: unable to handle kernel paging request at ffffc900", "Linux: page fault in the kernel", True),
        (
            "BUG: TASK stack guard page was hit at 00000000aaaaaaaa (stack is 0000..0000)",
            "Linux: stack guard page hit",
            True,
        ),
        ("kernel BUG at mm/slub.c:379!", "Linux: kernel BUG at mm/slub.c", True),
        (
            "[    0.5] general protection fault, probably for non-canonical address 0xdead: 0000 [#1] PREEMPT SMP PTI",
            "Linux: general protection fault in the kernel",
            True,
        ),
        (
            "[    0.5] general protection fault: 0000 [#1] SMP",
            "Linux: general protection fault in the kernel",
            True,
        ),
        ("[    0.5] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI", "Linux: oops: invalid opcode", True),
        ("[    0.5] divide error: 0000 [#1] SMP", "Linux: oops: divide error", True),
        ("PANIC: double fault, error_code: 0x0", "Linux: double fault in the kernel", True),
        ("PANIC: early exception 0x0e IP 10:ffffffff81 error 0 cr2 0x0", "Linux: early exception 0e", True),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [sh:77]", "Linux: soft lockup", True),
        ("watchdog: Watchdog detected hard LOCKUP on cpu 0", "Linux: hard lockup", True),
        ("rcu: INFO: rcu_preempt self-detected stall on CPU", "Linux: RCU stall", False),
        ("rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "Linux: RCU stall", False),
        ("INFO: task kworker/0:1:20 blocked for more than 120 seconds.", "Linux: a task hangs", False),
        ("BUG: spinlock lockup suspected on CPU#0, swapper/0", "Linux: spinlock lockup suspected", True),
        ("BUG: Bad page state in process sh  pfn:01234", "Linux: bad page state", True),
        (
            "Out of memory: Killed process 123 (sh) total-vm:1kB",
            "Linux: out of memory: a process was killed",
            False,
        ),
        (" -- System halted", "Linux: cannot decompress the kernel", True),
        (
            "WARNING: CPU: 0 PID: 1 at arch/x86/kernel/apic/apic.c:1234 apic_x+0x1/0x2",
            "Linux: warning at arch/x86/kernel/apic/apic.c",
            False,
        ),
    ],
)
def test_what_a_line_is_called(line: str, title: str, ends: bool) -> None:
    found = first(line)
    assert found is not None
    assert (found[1], found[0].ends) == (title, ends)


def test_every_death_has_its_line() -> None:
    """Of this file: a pattern that nobody tries may never match."""
    mark = next(mark for mark in test_what_a_line_is_called.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    tried = {found[0].title for line, *_ in mark.args[1] if (found := first(line))}
    assert tried == {death.title for death in FAMILY.death}


@pytest.mark.parametrize(
    "line",
    [
        "[    0.000000] Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists)",
        "[    0.000000] BIOS-provided physical RAM map:",
        "[    0.300000] rcu: Hierarchical RCU implementation.",
        "[    0.300000] rcu: RCU calculated value of scheduler-enlistment delay is 25 jiffies.",
        "[    1.000000] x86/fpu: Supporting XSAVE feature 0x001: 'x87 floating point registers'",
        "[    1.000000] NMI watchdog: Perf NMI watchdog permanently disabled",
        "[    1.000000] traps: sh[77] general protection fault ip:1 sp:2 error:0 in busybox[1+2]",
        "[    1.000000] sh[77]: segfault at 0 ip 1 sp 2 error 4",
        "[    1.000000] traps: sh[77] trap invalid opcode ip:1 sp:2 error:0 in busybox[1+2]",
        "bringup# cat /proc/cpuinfo",
    ],
)
def test_what_is_no_death(line: str) -> None:
    assert first(line) is None


@pytest.mark.parametrize(
    ("line", "chatter"),
    [
        ("[    1.234567] e1000: Intel(R) PRO/1000 Network Driver", True),
        ("[12345.678901] a", True),
        ("[    1.234567][    T1] with a thread", True),
        ("<6>[    1.234567] with a level", True),
        ("bringup# ", False),
        ("[not] a log", False),
        ("x [    1.234567] begins elsewhere", False),
    ],
)
def test_chatter_is_a_whole_line_of_the_kernels_log(line: str, chatter: bool) -> None:
    assert FAMILY.chatter is not None
    assert (re.fullmatch(FAMILY.chatter, line) is not None) == chatter
