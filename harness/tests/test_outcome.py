"""Verdicts: whose doing it was, and titles that are equal for equal faults."""

from __future__ import annotations

import pexpect
import pytest
from standins import scripted, vmm

from bringup.guests.definition import Limit, Rung
from bringup.harness.climb import verdict_of, verdict_of_ending
from bringup.harness.console.console import Console, LimitSpent
from bringup.harness.console.keyboard import TypingFailed
from bringup.harness.console.shell import CommandFailed, CommandResult, ShellError
from bringup.harness.limits import Time
from bringup.harness.machine.ending import Ending, MachineError
from bringup.harness.outcome import Blame, Outcome, canonical, fault

RUNG = Rung(id="shell", text="never said")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("--kernel /home/u/bzImage: not a bzImage", "--kernel FILE: not a bzImage"),
        ("'./a/b.toml' and ../c(d)", "'FILE' and FILE(d)"),
        ("[   30.732122] clocksource: x", "[   N] clocksource: x"),
        ("cannot write at 0x7f12a4b8c0d0", "cannot write at 0x..."),
        ("port 0xf4, exit 0x21, status 3", "port 0xf4, exit 0x21, status 3"),
        ("/dev/kvm: no permission", "/dev/kvm: no permission"),
        ("no answer on /dev/fd/13 after 12.4 s", "no answer on FILE after N s"),
        ("input/output error and/or i386", "input/output error and/or i386"),
        ("one line\nand another", "one line"),
    ],
)
def test_a_title_has_nothing_of_this_one_time(text: str, title: str) -> None:
    assert canonical(text) == title
    made = fault(Outcome.ERROR, Blame.VMM, text)
    assert (made.title, made.detail) == (title, "" if text == title else text)


def spent(console: Console, limit: Limit, awaited: str = "never said") -> LimitSpent:
    with pytest.raises(LimitSpent) as raised:
        console.expect_exact(awaited, limit)
    return raised.value


@pytest.mark.parametrize("said", [b"[    1.0] one\n", b"[    2.0] two\n"])
def test_a_guest_that_is_stuck_has_one_title_whatever_it_said_and_how_long(said: bytes) -> None:
    machine, _ = scripted(said)
    error = spent(machine.console("serial0"), Limit(guest=float(said[5:6])))
    verdict = verdict_of(error, machine, RUNG)
    assert (verdict.outcome, verdict.blame, verdict.title) == (Outcome.STUCK, Blame.GUEST, "stuck before 'shell'")
    assert verdict.detail == str(error) and "guest seconds are spent while 'never said' was awaited" in verdict.detail
    assert verdict_of(error, machine).title == "stuck while 'never said' was awaited"


def test_a_machine_that_never_said_anything_is_the_vmm_s_doing() -> None:
    machine, _ = scripted()
    verdict = verdict_of(spent(machine.console("serial0"), Limit(guest=1.0)), machine, RUNG)
    assert (verdict.blame, verdict.title) == (Blame.VMM, "nothing was ever said on any console")


def test_host_seconds_are_the_vmm_s_doing_in_virtual_time_alone() -> None:
    machine, _ = scripted(b"x")
    spent(machine.console("serial0"), Limit(guest=1.0))
    error = LimitSpent("serial0: 72.9 host seconds are spent", "'x'", "72.9 host seconds are spent")
    verdict = verdict_of(error, machine, RUNG)
    assert (verdict.blame, verdict.title) == (Blame.VMM, "the VMM does not come back before 'shell'")
    machine.vmm = vmm("", time=Time.HOST)
    verdict = verdict_of(error, machine, RUNG)
    assert (verdict.blame, verdict.title) == (Blame.GUEST, "stuck before 'shell'")


@pytest.mark.parametrize(
    ("error", "outcome", "blame", "title"),
    [
        (TypingFailed("t", ""), Outcome.STUCK, Blame.GUEST, "what is typed does not come back before 'shell'"),
        (TypingFailed("t", "x"), Outcome.ERROR, Blame.HARNESS, "what is typed does not come back before 'shell'"),
        (ShellError("serial0: no", "t"), Outcome.ERROR, Blame.HARNESS, "serial0: no before 'shell'"),
        (CommandFailed(CommandResult("ls", "0x12345678", 2)), Outcome.FAILED, Blame.GUEST, "'ls' ended with status 2"),
        (MachineError("fake: /a/b: no", Blame.HOST), Outcome.ERROR, Blame.HOST, "fake: FILE: no"),
        (pexpect.TIMEOUT("mine"), Outcome.STUCK, Blame.GUEST, "mine"),
    ],
)
def test_blame_and_title(error: Exception, outcome: Outcome, blame: Blame, title: str) -> None:
    machine, _ = scripted(b"x")
    spent(machine.console("serial0"), Limit(guest=1.0))
    verdict = verdict_of(error, machine, RUNG)
    assert (verdict.outcome, verdict.blame, verdict.title) == (outcome, blame, title)


@pytest.mark.parametrize(
    ("ending", "blame", "title"),
    [
        (Ending("crash", -9, "SIGKILL: [1.5] last words"), Blame.HOST, "the VMM was killed: SIGKILL"),
        (Ending("crash", -11, "SIGSEGV: who sent SIGTERM?"), Blame.VMM, "the VMM crashed: SIGSEGV"),
        (Ending("crash", -250, "signal 250"), Blame.VMM, "the VMM ended: crash, status -250"),
        (Ending("exit", 1, "qemu: /a/b: no"), Blame.VMM, "the VMM ended: exit, status 1"),
        (Ending("internal-error", 14, "exit reason 33"), Blame.VMM, "the VMM ended: internal-error, status 14"),
        (Ending("reset", 10, ""), Blame.GUEST, "unexpected reset"),
    ],
)
def test_an_ending_s_last_words_are_no_title(ending: Ending, blame: Blame, title: str) -> None:
    verdict = verdict_of_ending(ending)
    assert (verdict.blame, verdict.title, verdict.detail) == (blame, title, ending.text)
