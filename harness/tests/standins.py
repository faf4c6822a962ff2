"""What tests of machines share: VMMs of a few lines, and looking for what is left behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bringup.guests.definition import Limit
from bringup.harness.limits import Deadline, Moment, Scale, Time
from bringup.harness.machine.ending import Ending
from bringup.harness.machine.link import CALM, Deliver, Link, OnScreen, Rhythm
from bringup.harness.machine.machine import Machine
from bringup.harness.machine.processes import children
from bringup.harness.machine.settings import Settings
from bringup.harness.vmms.definition import Capabilities, Channel, Control, ControlProtocol, Transport, Vmm
from bringup.harness.vmms.loader import LoadedVmm
from bringup.vmm.screen.keys import Stroke
from bringup.vmm.screen.text import Mode, TextScreen

HERE = Path(__file__).parent
FAKE_VMM, FAKE_MACHINE = HERE / "fake_vmm.py", HERE / "fake_machine.py"
SOON = Limit(guest=60.0)


def vmm(
    how: str,
    *,
    channel: Channel | None = None,
    control: bool = False,
    lingers: bool = False,
    time: Time = Time.HOST,
    command: tuple[str, ...] = (sys.executable, str(FAKE_VMM)),
    options: Mapping[str, tuple[str, ...]] | None = None,
    **fields: object,
) -> LoadedVmm:
    """A stand-in; its console is an inherited socket unless told otherwise."""
    channel = channel or Channel(transport=Transport.FD, arguments=("--serial={fd}",))
    definition = Vmm(
        name="fake",
        title="a stand-in",
        command=(*command, *([how] if how else [])),
        version=("true",),
        options={"memory": (), "debug_exit": ()} if options is None else options,
        channels={"turns" if channel.transport is Transport.TURNS else "serial0": channel},
        control=Control(
            transport=Transport.FD,
            arguments=("--qmp={fd}",),
            protocol=ControlProtocol.QMP,
            stopped=True,
            lingers=lingers,
        )
        if control
        else None,
        capabilities=Capabilities(time=time),
        **fields,  # type: ignore[arg-type]
    )
    return LoadedVmm(definition, Path("fake.toml"), "", "")


def turns(mode: str) -> LoadedVmm:
    """The stand-in for `bringup run --turns`."""
    channel = Channel(transport=Transport.TURNS, arguments=("--turns=fd:{fd}",))
    command = (sys.executable, str(FAKE_MACHINE))
    return vmm("", channel=channel, time=Time.VIRTUAL, command=command, environment={"FAKE": mode})


def bzimage() -> bytes:
    """The least that the Linux boot protocol takes for a kernel: a setup sector after the first, and code of 1 KiB."""
    data = bytearray(2048)
    data[0x1F1], data[0x1F4], data[0x1FE:0x208], data[0x211] = 1, 1024 // 16, b"\x55\xaa\xeb\x00HdrS\x02\x02", 1
    return bytes(data)


def below(pid: int) -> set[int]:
    """All processes below one."""
    found = set(children(pid))
    for child in list(found):
        found |= below(child)
    return found


def alive(pid: int) -> bool:
    """Is there such a process, and is it no zombie?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Does it become true? The host may be busy."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


Piece = bytes | TextScreen


class ScriptedLink(Link):
    """A guest in virtual time that says the pieces of a script, one a turn of a millisecond, and answers input. A piece
    may be what the screen then shows; keys are answered by their names."""

    def __init__(self, script: Iterable[Piece], answer: Callable[[bytes], Iterable[Piece]] | None) -> None:
        self.script = list(script)
        self.pressed: list[Stroke] = []
        self.typed: list[tuple[int, bytes]] = []
        """Input, and the guest nanoseconds when it came."""
        self.time = 0
        self.ends = False
        """The machine powers off after its last piece."""
        self._answer = answer

    def moment(self) -> Moment:
        return Moment(self.time, self.time, 0.0)

    def send(self, channel: str, data: bytes) -> None:
        self.typed.append((self.time, data))
        if self._answer is not None:
            self.script += self._answer(data)

    def watch(self, on_screen: OnScreen) -> None:
        self.on_screen = on_screen

    def press(self, strokes: Sequence[Stroke], rhythm: Rhythm = CALM) -> None:
        self.pressed += strokes
        if self._answer is not None:
            self.script += self._answer(" ".join("-".join(stroke) for stroke in strokes).encode())

    def pump(self, deadline: Deadline, deliver: Deliver) -> None:
        if self.script:
            self.time += 1_000_000
            data = self.script.pop(0)
            if isinstance(data, TextScreen):
                self.on_screen(data, self.moment())
                return
            channel, _, rest = data.rpartition(b"|")
            if data:
                deliver(channel.decode() or "serial0", rest, self.moment())
        elif self.ends:
            self.ending = Ending("power-off", 0, "")
        else:
            self.time = min(self.time + 100_000_000, deadline.guest_ns or self.time + 100_000_000)

    def close(self) -> None:
        pass


def screen(*lines: str, cursor: tuple[int, int] | None = None, rows: int = 25, columns: int = 80) -> TextScreen:
    """A text screen with these lines; the cursor stands behind the last one unless told otherwise."""
    text = "".join(line.ljust(columns) for line in lines).ljust(rows * columns).encode("cp437")
    place = cursor or (max(len(lines) - 1, 0), len(lines[-1]) if lines else 0)
    return TextScreen(Mode.TEXT, columns, rows, bytes(part for char in text for part in (char, 7)), cursor=place)


class _NoProcess:
    pid = 0


def scripted(
    *script: Piece, answer: Callable[[bytes], Iterable[Piece]] | None = None, ends: bool = False
) -> tuple[Machine, ScriptedLink]:
    """A machine without a process; a piece `debug|text` comes from that channel."""
    machine = Machine(
        vmm("", time=Time.VIRTUAL), Settings(memory=1), (), _NoProcess(), None, Scale()  # type: ignore[arg-type]
    )  # fmt: skip
    link = ScriptedLink(script, answer)
    link.ends = ends
    machine._link = link
    return machine, link
