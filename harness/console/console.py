"""A guest's console, with pexpect's interface: `expect`, `before`, `after`, `logfile` and the rest mean what they mean
there, but for three things.

- Time is the guest's where the VMM has virtual time: a `timeout` is guest seconds, or a `Limit`, and nothing sleeps.
- Text is plain: UTF-8, without escape sequences and control characters, lines end in a newline. On a console that is
  a terminal, patterns are looked for on its screen, as it is then. The machine's own screen is a console like a serial
  line: without `terminal` its text is what a teletype would have printed.
- Memory is bounded: of what nobody has waited for the last MiB is kept, and patterns that may match texts of any
  length (`.*`) are looked for in the last 16 Ki characters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import pexpect
from pexpect.spawnbase import SpawnBase

from bringup.guests.definition import Console as ConsoleDefinition
from bringup.guests.definition import Death, Limit
from bringup.harness.limits import Deadline, Moment
from bringup.harness.machine.settings import SCREEN
from bringup.harness.transcript import PlainText

from .deaths import DeathWatch, GuestDied
from .keyboard import Keyboard
from .log import Log
from .loose import Chatter
from .region import Region
from .screen import Screen
from .scroll import Found, Scroll, Searcher
from .shell import CommandResult, Prompter
from .strip import ScreenView

if TYPE_CHECKING:
    from bringup.harness.machine.machine import Machine

_Base: Any = SpawnBase  # its stubs know no limits, and not the methods that are made for subclasses
Timeout: TypeAlias = "Deadline | Limit | float | None"
"""-1: the console's own; None: no limit; a number: seconds of guest time, of host time where the VMM has no other; a
Deadline: a limit that has begun already."""

PATIENCE = Limit(guest=30.0)
"""The limit of a wait that states none: pexpect's."""
GROWTH = Limit(guest=0.5, host=0.5)
"""How long the line may stand still that a death pattern was found in."""
HALTED = "the guest has halted for ever"
EXCERPT = 200
"""Characters of the last line that errors show."""


class LimitSpent(pexpect.TIMEOUT):
    """A limit was spent, or the guest halted for ever, while something was waited for."""

    def __init__(self, text: str, awaited: str, spent: str) -> None:
        """`awaited`: what; `spent`: what is used up (`Deadline.spent`), or HALTED."""
        super().__init__(text)
        self.awaited, self.spent = awaited, spent


class MachineEnded(pexpect.EOF):
    """The machine ended while something was waited for."""


class Console(_Base):  # type: ignore[misc]
    """A console on a channel of a machine; `Machine.console` makes one."""

    before: Any
    after: Any
    match: Any
    match_index: int | None

    def __init__(
        self,
        machine: Machine,
        channel: str,
        about: ConsoleDefinition | None = None,
        *,
        deaths: Sequence[Death] = (),
        chatter: str | None = None,
    ) -> None:
        self.machine, self.channel = machine, channel
        super().__init__(encoding="utf-8", codec_errors="replace")
        self.timeout: Timeout = PATIENCE
        self.delaybeforesend = self.delayafterread = None
        self.about = about or ConsoleDefinition(channel=channel)
        self.name = channel
        self.crlf = self.linesep = "\n"
        self.closed = self.terminated = False
        self.deaths = DeathWatch(channel, deaths, machine.note)
        self.answers = True
        """False: a person's terminal answers what terminals are asked."""
        self.screen: Screen | ScreenView | None = None
        if self.about.terminal:
            self.screen = ScreenView(machine.screens) if channel == SCREEN else Screen(self._answer)
        self._region: Region | None = None
        self._plain = PlainText()
        self._scroll = Scroll()
        self._arrived = False
        self.keyboard = Keyboard(self, self.about.typing, Chatter(chatter))
        self.shell = Prompter(self, self.about.shell, Chatter(chatter))
        machine.listen(channel, self._arrive)
        machine.consoles.append(self)

    # ---- what comes ----

    @property
    def raw(self) -> Log:
        """Everything that came from the channel, as bytes, with moments; bounded."""
        return self.machine.logs.setdefault(self.channel, Log())

    @property
    def text(self) -> str:
        """What would be searched now: the text since the last match, or the screen."""
        if self.screen is None:
            return self._scroll.text()
        text = self.screen.text()
        return text if self._region is None else self._region.cut(text)

    @property
    def position(self) -> int:
        """Characters of plain text that have come in all."""
        return self._scroll.end

    @property
    def buffer(self) -> str:
        """The text since the last match."""
        return self._scroll.text()

    @buffer.setter
    def buffer(self, text: str) -> None:
        self._scroll.set(text)

    def _arrive(self, data: bytes, moment: Moment) -> None:
        self._arrived = True
        if self.screen is not None:
            self.screen.feed(data)
        text = self._plain.feed(data)
        if text:
            self._scroll.append(text)
            self.deaths.feed(text)
            self._log(text, "read")

    def _answer(self, data: bytes) -> None:
        """What a terminal answers by itself (ESC[6n, ESC[c)."""
        if self.machine.ending is None and self.answers:
            self.machine.send(self.channel, data)

    # ---- expect ----

    def expect(
        self, pattern: Any, timeout: Timeout = -1, searchwindowsize: int | None = -1, async_: bool = False, **kw: Any
    ) -> int:
        """pexpect's; patterns are regular expressions in which the dot matches newlines.

        Raises LimitSpent, MachineEnded, GuestDied. ValueError: a pattern that does not compile.
        """
        return self.expect_list(self.compile_pattern_list(pattern), timeout, searchwindowsize, async_, **kw)

    def expect_list(
        self,
        pattern_list: Sequence[Any],
        timeout: Timeout = -1,
        searchwindowsize: int | None = -1,
        async_: bool = False,
        **kw: Any,
    ) -> int:
        """pexpect's: `expect` with compiled patterns."""
        if async_ or kw.pop("async", False):
            raise TypeError("a console has no asynchronous expect: its machine runs while it is waited for")
        if kw:
            raise TypeError(f"unknown keyword arguments: {', '.join(kw)}")
        window = self.searchwindowsize if searchwindowsize == -1 else searchwindowsize
        return self._wait(Searcher(pattern_list, window), self._deadline(timeout))

    def expect_exact(
        self,
        pattern_list: Any,
        timeout: Timeout = -1,
        searchwindowsize: int | None = -1,
        async_: bool = False,
        **kw: Any,
    ) -> int:
        """pexpect's: `expect` with plain texts."""
        single = isinstance(pattern_list, str) or pattern_list in (pexpect.EOF, pexpect.TIMEOUT)
        patterns = [pattern_list] if single else list(pattern_list)
        for pattern in patterns:
            if not isinstance(pattern, str) and pattern not in (pexpect.EOF, pexpect.TIMEOUT):
                self._pattern_type_err(pattern)
        return self.expect_list(patterns, timeout, searchwindowsize, async_, **kw)

    def expect_loop(self, searcher: Any, timeout: Timeout = -1, searchwindowsize: int | None = -1) -> int:
        """pexpect's has a searcher of its own kind; here there is one kind only."""
        raise TypeError("use expect, expect_exact or expect_list")

    def row(self, number: int) -> Region:
        """A row of the screen, from 0, on which texts are waited for: `console.row(24).expect(...)`."""
        return self.region(rows=range(number, number + 1))

    def region(self, rows: range | None = None, columns: range | None = None) -> Region:
        """A part of the screen on which texts are waited for. TypeError: the console is none that draws."""
        if self.screen is None:
            raise TypeError(f"{self.channel}: only a console with `terminal = true` has rows and columns")
        return Region(self, rows, columns)

    def _deadline(self, timeout: Timeout) -> Deadline:
        if timeout == -1:
            timeout = self.timeout
        if isinstance(timeout, Deadline):
            return timeout
        if timeout is None:
            return self.machine.deadline(Limit())
        return self.machine.deadline(timeout if isinstance(timeout, Limit) else Limit(guest=max(timeout, 0.0)))

    def expect_anywhere(self, others: Sequence[Console], pattern: str, timeout: Timeout = -1) -> Console:
        """`expect` of one pattern on this console or on others of the same machine; the one on which it was found.
        Errors are about this one."""
        (compiled,) = self.compile_pattern_list(pattern)
        self._wait(Searcher([compiled], self.searchwindowsize), self._deadline(timeout), others)
        return next(console for console in (self, *others) if console.match_index is not None)

    def _wait(self, searcher: Searcher, deadline: Deadline, others: Sequence[Console] = ()) -> int:
        machine = self.machine
        for console in (self, *others):
            console._scroll.rewind()
            console.match = console.match_index = None
        while True:
            for console in (self, *others):
                if (index := console._found(searcher)) is not None:
                    return index
            fatality = machine.fatality
            if fatality is not None:
                self.before, self.after = self.text, None
                raise GuestDied(fatality)
            if machine.ending is not None:
                return self._ended(searcher)
            spent = HALTED if machine.halted else deadline.spent(machine.moment())
            if spent is not None:
                if machine.settle():
                    continue
                return self._spent(searcher, spent)
            self._pump(deadline)

    def _found(self, searcher: Searcher) -> int | None:
        """The pattern that is there already, unless the guest died before it said that."""
        found, fatality = self._search(searcher), self.machine.fatality
        if found is not None and (fatality is None or fatality.channel != self.channel or found.end <= fatality.at):
            return self._matched(found)
        return None

    def _pump(self, deadline: Deadline) -> None:
        """Lets the machine run; a line with a death in it that stands still is as long as it gets."""
        if not self.machine.dying:
            self.machine.pump(deadline)
            return
        growth = self.machine.deadline(GROWTH)
        before = self.machine.size
        while self.machine.size == before and self.machine.ending is None and not self.machine.halted:
            if growth.spent(self.machine.moment()) is not None:
                break
            self.machine.pump(growth)
        if self.machine.size == before:
            self.machine.settle()

    def _search(self, searcher: Searcher) -> Found | None:
        if self.screen is not None:
            return searcher.find(self.text, 0)
        return self._scroll.search(searcher)

    def _matched(self, found: Found) -> int:
        if self.screen is not None:
            text = self.text
            self.before, self.after = text[: found.start], text[found.start : found.end]
        else:
            self.before, self.after = self._scroll.take(found.start, found.end)
        self.match, self.match_index = found.match, found.number
        return found.number

    def _ended(self, searcher: Searcher) -> int:
        self.before, self.after = self.text, pexpect.EOF
        self._scroll.set("")
        self.flag_eof = True
        if searcher.eof >= 0:
            self.match, self.match_index = pexpect.EOF, searcher.eof
            return searcher.eof
        raise MachineEnded(f"{self.channel}: the machine ended ({self.machine.ending}) {self._awaited(searcher)}")

    def _spent(self, searcher: Searcher, spent: str) -> int:
        self.before, self.after = self.text, pexpect.TIMEOUT
        if searcher.timeout >= 0:
            self.match, self.match_index = pexpect.TIMEOUT, searcher.timeout
            return searcher.timeout
        raise LimitSpent(f"{self.channel}: {spent} {self._awaited(searcher)}", str(searcher), spent)

    def _awaited(self, searcher: Searcher) -> str:
        lines = [line for line in self.before.splitlines() if line.strip()]
        last = f"its last line is {lines[-1][-EXCERPT:]!r}" if lines else "nothing came"
        return f"while {searcher} was awaited; {last}"

    # ---- reading, pexpect's other ways ----

    def read_nonblocking(self, size: int = 1, timeout: Timeout = -1) -> str:
        """At most `size` characters, waiting for the first."""
        deadline = self._deadline(timeout)
        while not self._scroll.text():
            if self.machine.fatality is not None:
                raise GuestDied(self.machine.fatality)
            if self.machine.ending is not None:
                self.flag_eof = True
                raise MachineEnded(f"{self.channel}: the machine ended ({self.machine.ending})")
            spent = HALTED if self.machine.halted else deadline.spent(self.machine.moment())
            if spent is not None and not self.machine.settle():
                raise LimitSpent(f"{self.channel}: {spent}", "output", spent)
            self._pump(deadline)
        return self._scroll.take(self._scroll.start, min(self._scroll.start + size, self._scroll.end))[1]

    def pass_time(self, limit: Limit) -> None:
        """Lets the guest run for so long, whatever it says meanwhile."""
        self.run_until(lambda: False, limit)

    def run_until(self, condition: Callable[[], bool], limit: Limit) -> bool:
        """Lets the guest run until this is so; False: it never was before the limit, or the end."""
        machine, deadline = self.machine, self.machine.deadline(limit)
        while not condition():
            if machine.ending is not None or machine.halted or deadline.spent(machine.moment()) is not None:
                return False
            machine.pump(deadline)
        return True

    # ---- writing ----

    def send(self, s: str | bytes) -> int:
        """As it is, at once."""
        data = s if isinstance(s, bytes) else s.encode()
        self.machine.send(self.channel, data)
        self._log(PlainText().feed(data), "send")
        return len(data)

    def sendline(self, s: str = "") -> int:
        """A text and the guest's line end, at once; `type` is for guests that want to be typed at with care."""
        return self.send(s + self.about.typing.line_end)

    def write(self, s: str) -> None:
        """`send`."""
        self.send(s)

    def writelines(self, sequence: Iterable[str]) -> None:
        """`send` each."""
        for s in sequence:
            self.send(s)

    def sendcontrol(self, char: str) -> int:
        """A control character by its letter."""
        code = ord(char.upper()) ^ 0x40
        if code >= 0x20 and code != 0x7F:
            raise ValueError(f"there is no control character {char!r}")
        return self.send(bytes([code]))

    def press(self, names: str) -> None:
        """Presses keys of the machine's keyboard by QEMU's names for them, one after the other: `down down ret`,
        `ctrl-alt-delete`. TypeError: the console is not the screen. ValueError: there is no such key."""
        if self.channel != SCREEN:
            raise TypeError(f"{self.channel}: only the console on the screen has keys")
        self.machine.press(names)

    def type(self, line: str, limit: Limit | None = None) -> None:
        """Types a line and its end at the guest's pace; where the guest echoes, what comes back is compared before
        the line end goes. Raises TypingFailed."""
        self.keyboard.type(line, limit)

    def run(self, command: str, limit: Limit | None = None, check: bool = True) -> CommandResult:
        """Runs a command in the console's shell. Raises CommandFailed for a status other than 0 if `check`."""
        return self.shell.run(command, limit, check)

    # ---- the end ----

    def isalive(self) -> bool:
        """Does the machine live?"""
        return self.machine.ending is None

    def fileno(self) -> int:
        """There is none of its own: the machine's channels are polled together."""
        raise OSError(f"the console {self.channel} has no file descriptor")

    def isatty(self) -> bool:
        """No."""
        return False

    def close(self) -> None:
        """The console is the machine's, which ends it."""
        self.closed = True

    def __str__(self) -> str:
        return f"<console {self.channel} of {self.machine.vmm.name}>"

    __repr__ = __str__
