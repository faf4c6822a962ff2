"""Typing with care, and commands with their exit status, at guests that lose characters and talk in between."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standins import SOON, ScriptedLink, scripted, vmm

from bringup.guests.definition import Console as ConsoleDefinition
from bringup.guests.definition import Limit, Shell, Typing
from bringup.guests.loader import load
from bringup.harness.console.console import Console, LimitSpent
from bringup.harness.console.keyboard import TypingFailed
from bringup.harness.console.loose import Chatter, Loose
from bringup.harness.console.shell import CommandFailed, CommandResult, ShellError
from bringup.harness.limits import Scale
from bringup.harness.machine.machine import start
from bringup.harness.machine.settings import Settings

CHATTER = load("linux-debian12-cloud").about.chatter
LOG_LINE = b"[   12.345678] usb 1-1: new device number 4\r\n"
PROMPT = "# "


class FakeShell:
    """Echoes as a tty does and runs `echo`, `false` and `say`; loses the characters whose numbers are in `lost`, says
    a line of log before those in `chatter`, and breaks its lines after `width` columns."""

    def __init__(self, lost: Collection[int] = (), chatter: Collection[int] = (), width: int = 1000) -> None:
        self.lost, self.chatter, self.width = lost, chatter, width
        self.count = self.status = 0
        self.line = ""
        self.commands: list[str] = []

    def __call__(self, data: bytes) -> Iterator[bytes]:
        for char in data.decode():
            self.count += 1
            if self.count in self.chatter:
                yield LOG_LINE
            if self.count in self.lost:
                continue
            if char == "\x15":
                yield b"\b \b" * len(self.line)
                self.line = ""
            elif char == "\n":
                yield b"\r\n" + self._run() + PROMPT.encode()
            else:
                self.line += char
                yield char.encode() + (b"\r\n" if len(self.line) % self.width == 0 else b"")

    def _run(self) -> bytes:
        line, self.line, output = self.line, "", ""
        self.commands.append(line)
        for command in line.split(";"):
            name, _, rest = command.strip().partition(" ")
            output += rest.replace("$?", str(self.status)) + "\r\n" if name == "echo" else ""
            output += rest.replace("/", "\r\n") if name == "say" else ""
            self.status = 1 if name == "false" else 0
        return output.encode()


def shell(fake: FakeShell, **typing: object) -> tuple[Console, ScriptedLink]:
    machine, link = scripted(PROMPT.encode(), answer=fake)
    about = ConsoleDefinition(shell=Shell(prompt=PROMPT), typing=Typing(**typing))  # type: ignore[arg-type]
    it = machine.console("serial0", about, chatter=CHATTER)
    it.expect_exact(PROMPT)
    return it, link


def test_commands_have_output_and_status() -> None:
    it, _ = shell(FakeShell())
    assert it.run("echo hello") == CommandResult("echo hello", "hello\n", 0)
    assert it.run("say one/two") == CommandResult("say one/two", "one\ntwo", 0)
    assert it.run("false", check=False).status == 1
    with pytest.raises(CommandFailed, match=r"^'say x/why; false' ended with status 1; its last line: 'why'$") as error:
        it.run("say x/why; false")
    assert error.value.result.output == "x\nwhy"


def test_a_command_is_one_line_and_needs_a_shell() -> None:
    it, _ = shell(FakeShell())
    with pytest.raises(ValueError, match="a command is one line"):
        it.run("a\nb")
    with pytest.raises(ShellError, match="describes no shell"):
        it.machine.console("debug").run("x")


def test_the_echo_of_a_marker_is_not_taken_for_it() -> None:
    it, _ = shell(FakeShell())
    assert it.run("echo bringup:2:7:").output == "bringup:2:7:\n"


@pytest.mark.parametrize("width", [5, 17, 80])
def test_a_terminal_that_breaks_lines(width: int) -> None:
    it, _ = shell(FakeShell(width=width))
    assert it.run("echo " + "long " * 30).output.split() == ["long"] * 30


@given(st.sets(st.integers(1, 120), max_size=8))
def test_the_log_may_speak_at_any_moment(moments: set[int]) -> None:
    it, _ = shell(FakeShell(chatter=moments))
    assert it.run("echo hello there; false", check=False) == CommandResult(
        "echo hello there; false", "hello there\n", 1
    )


@given(st.sets(st.integers(1, 60), max_size=2))
def test_lost_characters_are_typed_again(lost: set[int]) -> None:
    fake = FakeShell(lost=lost)
    it, _ = shell(fake)
    assert it.run("echo some longer text").output == "some longer text\n"
    assert fake.commands[-1].startswith("echo some longer text; echo bringup:")


def test_a_guest_that_never_echoes() -> None:
    machine, link = scripted(b"login: ")
    it = machine.console("serial0")
    it.expect("login: ")
    with pytest.raises(TypingFailed, match=r"^serial0: 'root' was typed 3 times and did not come back; nothing did$"):
        it.type("root", Limit(guest=1.0))
    assert [data for _, data in link.typed] == [b"root", b"\x15"] * 3


def test_a_guest_that_is_not_expected_to_echo() -> None:
    machine, link = scripted()
    it = machine.console("serial0", ConsoleDefinition(typing=Typing(echo=False, line_end="\r")))
    it.type("secret")
    assert b"".join(data for _, data in link.typed) == b"secret\r"


def test_pace_is_guest_time() -> None:
    it, link = shell(FakeShell(), pace=0.25)
    it.type("abcd")
    times = [moment for moment, data in link.typed if data != b"\n"]
    assert [later - earlier for earlier, later in pairwise(times)] == pytest.approx([250_000_000] * 3)


def test_a_shell_that_is_not_there_yet() -> None:
    """What is typed at a shell that starts may be thrown away, in whole or in part."""
    fake = FakeShell(lost=set(range(1, 25)))
    it, _ = shell(fake)
    assert it.run("echo hello").output == "hello\n"


def test_a_shell_that_never_answers() -> None:
    machine, _ = scripted(answer=lambda data: [data])
    it = machine.console("serial0", ConsoleDefinition(shell=Shell(prompt=PROMPT)))
    with pytest.raises(ShellError, match=r"^serial0: the shell does not answer: "):
        it.run("x")


def test_a_command_that_does_not_end() -> None:
    it, _ = shell(FakeShell())
    it.run("echo")
    it.machine._link._answer = lambda data: [data]  # type: ignore[attr-defined]
    with pytest.raises(LimitSpent, match="2 guest seconds are spent while 'bringup:2:' was awaited"):
        it.run("say x", Limit(guest=2.0))


def test_in_host_time() -> None:
    with start(vmm("shell"), Settings(memory=1), scale=Scale()) as machine:
        about = ConsoleDefinition(shell=Shell(prompt="$ "))
        it = machine.console("serial0", about, chatter=CHATTER)
        it.expect_exact("$ ", SOON)
        assert it.run("echo one two").output == "one two\n"
        assert it.run("chat").output == "one\ntwo\n"
        assert it.run("false", check=False).status == 1


WORDS = st.text("ab :#$", min_size=1, max_size=12).filter(lambda text: bool(text.strip()))


@given(
    WORDS,
    st.lists(
        st.tuples(st.integers(0, 12), st.sampled_from(["\n", " ", LOG_LINE.decode().replace("\r", "")])), max_size=4
    ),
)
def test_a_text_is_found_whatever_comes_between(text: str, between: list[tuple[int, str]]) -> None:
    spread = text
    for at, what in sorted(between, reverse=True):
        spread = spread[:at] + what + spread[at:]
    loose = Loose(text.strip(), Chatter(CHATTER))
    found = loose.find("before\n" + spread + "\nafter", 0)
    assert found is not None
    start, end, _ = found
    assert "".join(("before\n" + spread + "\nafter")[start:end].split()).startswith(text.strip()[0])


def test_a_text_is_not_found_where_it_is_not() -> None:
    loose = Loose("root# ", Chatter(CHATTER), r"(\d)")
    assert loose.find("roo\nt", 0) is None
    assert loose.find("root# x", 0) is None
    assert loose.find("root# [   12.345678] x\n7", 0) is not None
