"""The machine's screen as a console: teletype text, screens, regions, keys, the strip; how machines give it."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import pexpect
import pytest
from standins import SOON, screen, scripted, turns

from bringup.guests.definition import Console as ConsoleDefinition
from bringup.guests.definition import Death, Limit, Shell, Typing
from bringup.harness.console.console import Console
from bringup.harness.console.deaths import GuestDied
from bringup.harness.console.strip import Strip
from bringup.harness.console.teletype import Teletype
from bringup.harness.limits import Moment, Scale
from bringup.harness.machine.ending import MachineError
from bringup.harness.machine.link import SAMPLE_NS
from bringup.harness.machine.machine import Machine, start
from bringup.harness.machine.monitor_screen import MonitorScreen
from bringup.harness.machine.qmp import Qmp, QmpError
from bringup.harness.machine.settings import Settings
from bringup.vmm.screen.text import Mode, TextScreen

# ---- the teletype ----


def printed(*screens: TextScreen) -> str:
    teletype = Teletype()
    return "".join(map(teletype.feed, screens))


def test_lines_and_growth() -> None:
    assert printed(screen("A:\\>"), screen("A:\\>v"), screen("A:\\>ver"), screen("A:\\>ver", "", "DOS", "A:\\>")) == (
        "A:\\>ver\n\nDOS\nA:\\>"
    )


def test_enter_is_a_line_end() -> None:
    assert printed(screen("$ ls"), screen("$ ls", "")) == "$ ls\n"
    assert printed(screen("$ ls", rows=2), screen("$ ls", "", rows=2), screen("", "$ ", rows=2)) == "$ ls\n\n$ "


def test_a_prompt_keeps_its_blank() -> None:
    assert printed(screen("# ")) == "# "
    assert printed(screen("# ", cursor=(0, 2)), screen("# id", cursor=(0, 4))) == "# id"


def test_characters_taken_back() -> None:
    assert printed(screen("verx"), screen("ver"), screen("very")) == "verxy"


def test_scrolling() -> None:
    pages = [screen(*(f"line {n}" for n in range(first, first + 4)), rows=4) for first in (0, 2, 3)]
    assert printed(*pages) == "\n".join(f"line {n}" for n in range(7))


def test_a_cleared_screen() -> None:
    assert printed(screen("old", "text"), screen("new")) == "old\ntext\nnew"
    assert printed(screen("old", "text"), screen(), screen("new")) == "old\ntext\nnew"


def test_a_line_that_changes_comes_again() -> None:
    assert printed(screen("10%"), screen("20%")) == "10%\n20%"
    menu = ["one", "two", "three", "four"]
    assert printed(screen(*menu), screen("ONE", *menu[1:])) == "one\ntwo\nthree\nfour\nONE"


def test_nothing_new() -> None:
    text = screen("hello")
    graphics = TextScreen(Mode.GRAPHICS)
    assert printed(text, text, graphics, TextScreen(), text, screen("hello", "again")) == "hello\nagain"


def test_another_size() -> None:
    assert printed(screen("one", rows=25), screen("one", "two", rows=50)) == "one\none\ntwo"


@pytest.mark.parametrize("seed", range(20))
def test_a_log_sampled_anywhere(seed: int) -> None:
    """What a terminal would have printed comes out, wherever the samples fall."""
    chance = random.Random(seed)
    rows, columns = 8, 20
    words = [f"{chance.randrange(10**6)}" for _ in range(200)]
    text = "".join(f"{word} is line {n}{chance.choice(['', chr(10)])}\n" for n, word in enumerate(words))
    lines, teletype, got = [""], Teletype(), ""
    for piece in re.findall(r"(?s).{1,25}", text):
        first, *rest = piece.split("\n")
        lines[-1] += first
        lines += rest
        shown = lines[-rows:]
        got += teletype.feed(screen(*shown, rows=rows, columns=columns))
    assert re.sub(r"\n+", "\n", got) == re.sub(r"\n+", "\n", text)


# ---- the console ----


def console(*script: Any, terminal: bool = False, deaths: tuple[Death, ...] = (), **about: Any) -> tuple[Console, Any]:
    machine, link = scripted(*script, **{key: about.pop(key) for key in ("answer", "ends") if key in about})
    definition = ConsoleDefinition(channel="screen", terminal=terminal, **about)
    return machine.console("screen", definition, deaths=deaths), link


def test_text_is_consumed_as_on_a_serial_line() -> None:
    it, _ = console(screen("A:\\>"), screen("A:\\>dir", "README", "A:\\>"))
    it.expect_exact("A:\\>", SOON)
    it.expect_exact("A:\\>", SOON)
    assert it.before == "dir\nREADME\n"


def test_a_drawn_screen_is_looked_at_as_it_is() -> None:
    it, _ = console(screen("Boot menu", "> one"), screen("Boot menu", "> two"), terminal=True)
    it.expect_exact("> one", SOON)
    it.expect("> t(wo)", SOON)
    assert it.match[1] == "wo"
    with pytest.raises(pexpect.TIMEOUT, match=r"its last line is '> two'"):
        it.expect_exact("> one", Limit(guest=1))


def test_rows_and_regions() -> None:
    it, _ = console(screen("left   right", "ready"), screen("left   RIGHT", "ready"), terminal=True)
    it.region(columns=range(7, 12)).expect_exact("RIGHT", SOON)
    assert it.row(1).text == "ready"
    assert it.region(rows=range(0, 9), columns=range(0, 4)).text.split("\n")[:2] == ["left", "read"]
    with pytest.raises(pexpect.TIMEOUT):
        it.row(0).expect("ready", Limit(guest=1))
    assert it.expect("ready", SOON) == 0  # and the whole screen again
    other, _ = console(screen("x"))
    with pytest.raises(TypeError, match="only a console with `terminal = true`"):
        other.row(0)


def test_deaths_are_found_on_the_screen() -> None:
    death = Death(title="DOS: {0}", pattern=r"Internal (Error \d{1,5})")
    it, _ = console(
        screen("MS-DOS version 4.00"), screen("MS-DOS version 4.00", "Internal Error 4560", ""), deaths=(death,)
    )
    with pytest.raises(GuestDied, match="DOS: Error 4560"):
        it.expect_exact("A>", SOON)


def test_typing_and_keys() -> None:
    it, link = console(screen("A:\\>"), typing=Typing(echo=False))
    it.expect_exact("A:\\>", SOON)
    it.sendline("Dir")
    it.press("ctrl-alt-delete f1")
    it.sendcontrol("c")
    assert link.pressed == [
        ("shift", "d"), ("i",), ("r",), ("ret",), ("ctrl", "alt", "delete"), ("f1",), ("ctrl", "c"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="writes 'ß'"):
        it.send("ß")
    with pytest.raises(ValueError, match="no key 'enter'"):
        it.press("enter")
    serial = it.machine.console("serial0")
    with pytest.raises(TypeError, match="serial0: only the console on the screen"):
        serial.press("ret")


class Shellful:
    """A shell on a screen of 6 rows, driven by keys."""

    def __init__(self) -> None:
        self.lines, self.line = ["$ "], ""

    def __call__(self, keys: bytes) -> Sequence[TextScreen]:
        names = {"spc": " ", "semicolon": ";", "shift-4": "$", "shift-slash": "?", "shift-semicolon": ":"}
        for name in keys.decode().split():
            if name != "ret":
                self.line += names.get(name, name)
                self.lines[-1] = f"$ {self.line}"
                continue
            for command in self.line.split(";"):
                if command.strip().startswith("echo "):
                    self.lines.append(command.strip()[5:].replace("$?", "0"))
            self.lines.append("$ ")
            self.line = ""
        return [screen(*self.lines[-6:], rows=6)]


def test_a_shell_on_the_screen() -> None:
    it, _ = console(screen("$ ", rows=6), answer=Shellful(), shell=Shell(prompt="$ "))
    assert it.run("echo hello").output == "hello\n"
    assert it.run("echo again; echo twice").output == "again\ntwice\n"


# ---- the strip ----


def test_the_strip_keeps_changes_and_is_bounded() -> None:
    strip = Strip(head=2, tail=3)
    assert strip.last.mode is Mode.OFF
    for at in range(10):
        for _ in range(2):
            strip.append(screen(f"screen {at}"), Moment(at * 1000, at * 10**9, 0.0))
    assert (strip.size, strip.left_out) == (10, 5)
    assert [frame.screen.lines[0] for frame in strip] == [f"screen {at}" for at in (0, 1, 7, 8, 9)]
    assert strip.last.lines[0] == "screen 9"
    text = strip.text()
    assert "---- 7.000000 s 7000 instructions: 80x25, cursor at row 0, column 8\nscreen 7\n" in text
    assert "(5 screens are left out)" in text
    strip.append(TextScreen(Mode.GRAPHICS), Moment(None, None, 1.5))
    assert strip.text().endswith("---- 1.500000 s: graphics\n\n\n")


def test_no_screen_is_looked_at_unless_somebody_wants_to() -> None:
    machine, link = scripted(b"serial")
    machine.console("serial0").expect_exact("serial", SOON)
    assert not hasattr(link, "on_screen")


# ---- QEMU's monitor ----


class FakeMonitor(Qmp):
    """The control socket of a machine whose VGA this is; index registers are written as the monitor does it."""

    def __init__(self) -> None:
        crtc = bytes.fromhex("5f4f50825581bf1f004f0d0e000000009c8e8f281f96b9a3ff")
        self.index = {0x3D4: 0x21, 0x3CE: 5, 0x3C4: 2}
        self.registers = {0x3D4: bytearray(crtc), 0x3CE: bytearray(9), 0x3C4: bytearray(5)}
        self.registers[0x3CE][6] = 0x0E
        self.misc = 0x67
        self.memory = bytearray(0x8000)
        self.commands: list[str] = []
        self.running = True

    def execute(self, command: str, arguments: dict[str, Any] | None = None, *, seconds: float) -> Any:
        self.commands.append(command)
        if command == "query-status":
            return {"running": self.running}
        if command in ("stop", "cont"):
            self.running = command == "cont"
        if command != "human-monitor-command" or arguments is None:
            return {}
        assert not self.running, "the guest may be in the middle of an index"
        return self.monitor(arguments["command-line"])

    def monitor(self, line: str) -> str:
        verb, format_, *words = line.split()
        if verb == "xp":
            count, at = int(format_[1:-2]), int(words[0], 16) - 0xB8000
            halves = [int.from_bytes(self.memory[at + 2 * n : at + 2 * n + 2], "little") for n in range(count)]
            rows = [halves[n : n + 8] for n in range(0, count, 8)]
            return "".join(
                f"{0xB8000 + at + 16 * n:016x}:{''.join(f' 0x{half:04x}' for half in row)}\r\n"
                for n, row in enumerate(rows)
            )
        port, _, index = words[0].partition(".")
        at = int(port, 16)
        if verb == "o":
            self.index[at] = int(words[1], 16)
            return ""
        if index:
            self.index[at] = int(index, 16)
            return f"portb[0x{at + 1:04x}] = 0x{self.registers[at][self.index[at]]:02x}\r\n"
        return f"portb[0x{at:04x}] = 0x{self.misc if at == 0x3CC else self.index[at]:02x}\r\n"


def test_the_monitor_shows_the_screen() -> None:
    monitor = FakeMonitor()
    monitor.memory[:8] = b"A\x07:\x07\\\x07>\x07"
    monitor.registers[0x3D4][15] = 4
    before = dict(monitor.index)
    seen = MonitorScreen(monitor).sample()
    assert (seen.lines[0], seen.cursor, seen.columns, seen.rows) == ("A:\\>", (0, 4), 80, 25)
    assert (seen.width, seen.height, seen.blank, seen.cursor_lines) == (9, 16, False, (13, 14))
    assert monitor.index == before
    assert monitor.running


def test_the_monitor_follows_the_start_address_around_the_end() -> None:
    monitor = FakeMonitor()
    start = 0x4000 - 80
    monitor.registers[0x3D4][12:14] = start.to_bytes(2, "big")
    monitor.memory[2 * start : 2 * start + 2] = b"x\x07"
    monitor.memory[:2] = b"y\x07"
    seen = MonitorScreen(monitor).sample()
    assert [line[:1] for line in seen.lines[:3]] == ["x", "y", ""]
    assert seen.cursor is None  # it stands above


def test_other_modes_by_the_monitor() -> None:
    monitor = FakeMonitor()
    monitor.registers[0x3CE][6] = 0x05
    assert MonitorScreen(monitor).sample().mode is Mode.GRAPHICS
    monitor.registers[0x3D4][0x17] = 0
    assert MonitorScreen(monitor).sample().mode is Mode.OFF
    monitor.misc = 0
    assert MonitorScreen(monitor).sample().mode is Mode.OFF


def test_a_machine_that_was_stopped_stays_so() -> None:
    monitor = FakeMonitor()
    monitor.running = False
    MonitorScreen(monitor).sample()
    assert not monitor.running
    assert monitor.commands.count("stop") == monitor.commands.count("cont") == 0


@pytest.mark.parametrize("answer", ["unknown command: 'i'", "", "portb[0x3cc] = ?"])
def test_a_monitor_that_says_something_else(answer: str) -> None:
    monitor = FakeMonitor()
    monitor.monitor = lambda line: answer  # type: ignore[method-assign]
    with pytest.raises(QmpError, match=r"^i: "):
        MonitorScreen(monitor).sample()
    assert monitor.running


def test_keys_by_the_monitor() -> None:
    sent = []

    class Keys(FakeMonitor):
        def execute(self, command: str, arguments: dict[str, Any] | None = None, *, seconds: float) -> Any:
            sent.append((command, arguments))

    MonitorScreen(Keys()).press([("shift", "a"), ("ret",)], 20)
    code = [{"type": "qcode", "data": name} for name in ("shift", "a", "ret")]
    assert sent == [
        ("send-key", {"keys": code[:2], "hold-time": 20}),
        ("send-key", {"keys": code[2:], "hold-time": 20}),
    ]


# ---- turns ----


def machine(mode: str) -> Machine:
    return start(turns(mode), Settings(memory=1 << 20, channels=("screen",)), scale=Scale())


def test_screen_and_keys_in_turns() -> None:
    with machine("screen") as it:
        console = it.console("screen", ConsoleDefinition(channel="screen", typing=Typing(echo=False)))
        console.expect_exact("C:\\>", SOON)
        moment = it.moment()
        assert moment.guest_ns is not None
        assert moment.guest_ns % SAMPLE_NS == 0
        console.type("ab")
        console.expect_exact("ab", SOON)
        assert [frame.moment.guest_ns % SAMPLE_NS for frame in it.screens if frame.moment.guest_ns] == [
            0
        ] * it.screens.size


def test_the_same_moments_in_every_run() -> None:
    def run() -> list[tuple[int | None, str]]:
        with machine("screen") as it:
            console = it.console("screen", ConsoleDefinition(channel="screen", typing=Typing(echo=False)))
            console.expect_exact("C:\\>", SOON)
            console.type("abc")
            console.expect_exact("abc", SOON)
            return [(frame.moment.guest_ns, frame.screen.text) for frame in it.screens]

    assert run() == run()


def test_what_is_shown_when_a_machine_ends_is_seen() -> None:
    with machine("screen-falls") as it:
        console = it.console("screen", ConsoleDefinition(channel="screen"))
        console.expect_exact("the end", SOON)
        assert it.ending is not None
        assert it.ending.kind == "triple-fault"


def test_a_machine_without_a_screen() -> None:
    with machine("") as it:
        with pytest.raises(MachineError, match="the machine has no screen and no keyboard"):
            it.console("screen")
        with pytest.raises(MachineError, match="the machine has no screen and no keyboard"):
            it.press("ret")


@pytest.mark.parametrize(
    ("mode", "complaint"),
    [("screen-short", "its header has"), ("screen-wrong", "a frame of type"), ("keys-wrong", "bytes to keys")],
)
def test_a_machine_that_breaks_the_protocol(mode: str, complaint: str) -> None:
    with machine(mode) as it:
        console = it.console("screen", ConsoleDefinition(channel="screen", typing=Typing(echo=False)))
        console.send("a")
        with pytest.raises(MachineError, match=complaint):
            console.expect_exact("nothing", SOON)
