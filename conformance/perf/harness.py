"""`python -m bringup.conformance.perf.harness`: what the harness itself costs, beside what its VMMs take.

CPU seconds are user and system time of the harness and of the keepers of its machines; a busy host changes them little.
The round trip of a turn is time on the clock: it is shown beside that of a byte between two processes.
"""

from __future__ import annotations

import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console as Terminal
from rich.table import Table

from bringup.guests.definition import Limit
from bringup.guests.loader import load as load_guest
from bringup.harness.climb import Climb, climb
from bringup.harness.console.turns import TurnsClient
from bringup.harness.limits import Scale, Time
from bringup.harness.machine.kept import Kept
from bringup.harness.machine.machine import start
from bringup.harness.machine.settings import MIB, Settings
from bringup.harness.media.resolve import Media
from bringup.harness.prepare import Overrides, machine_settings
from bringup.harness.vmms.definition import Capabilities, Channel, Transport, Vmm
from bringup.harness.vmms.loader import LoadedVmm, load
from bringup.harness.vmms.probe import SmallProbe

GUEST = "linux-debian12-cloud"
BOOT_CPU, BOOT_SHARE = 0.3, 0.05
ROUND_TRIP = 50e-6
FLOOD_MB, FLOOD_CPU = 30, 2.0
TURNS, ROUNDS = 500, 41
LINE = b"[   12.345678] usb 1-1: new high-speed USB device number 4 using xhci_hcd 0123456\r\n"
LONG = Limit(guest=1e9, host=3600.0)

# Stand-ins for VMMs whose guests print so many MB: as a stream, and in turns (docs/turns.md) of 4 KiB.
_STREAM = f"""
import socket, sys
line = socket.socket(fileno=int(sys.argv[1]))
for _ in range({FLOOD_MB}):
    line.sendall({LINE!r} * ({10**6} // {len(LINE)}))
line.sendall(b"the end")
line.recv(1)
"""
_IN_TURNS = f"""
import socket, struct, sys
driver = socket.socket(fileno=int(sys.argv[1]))
def frame(body):
    driver.sendall(struct.pack("<I", len(body)) + body)
frame(struct.pack("<cHBBQQ", b"H", 1, 4, 5, 0, 0))
text = {LINE!r} * ({FLOOD_MB * 10**6} // {len(LINE)}) + b"the end"
for at in range(0, len(text), 4096):
    driver.recv(4096)
    out = text[at:at + 4096]
    head = struct.pack("<cBBhIQQ9I", b"A", 1, 0, -1, 0, at, at, 0, 0, 0, 0, len(out), 0, 0, 0, 0)
    frame(head + out + struct.pack("<Q", at) * len(out))
driver.recv(4096)
"""


_ECHO = """
import socket, sys
line = socket.socket(fileno=int(sys.argv[1]))
while data := line.recv(64):
    line.send(data)
"""


class Figure(NamedTuple):
    """A row: what was measured, and the most that it should be, in the same unit."""

    name: str
    value: str
    target: str
    good: bool | None
    """None: shown for comparison."""


def children_cpu() -> float:
    """CPU seconds of the processes that have ended below this one: keepers and their VMMs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def boots(names: Sequence[str]) -> Iterator[Figure]:
    """The harness's part of a boot, from the start of the machine to its power-off."""
    guest = load_guest(GUEST)
    settings = machine_settings(guest, Media().resolve(guest), Overrides(), None)
    for name in names:
        vmm = load(name)
        began, own, below = time.monotonic(), time.process_time(), children_cpu()
        with start(vmm, settings, scale=Scale()) as machine:
            consoles = {
                each: machine.console(about.channel, about, deaths=guest.deaths, chatter=guest.about.chatter)
                for each, about in guest.definition.console.items()
            }
            climb(guest, machine, consoles, Climb(guest.ladder))
        taken = machine.cpu_seconds()
        harness = time.process_time() - own + children_cpu() - below - taken
        clock = time.monotonic() - began
        share = harness / taken
        good = harness <= BOOT_CPU and share <= BOOT_SHARE
        yield Figure(
            f"boot of {GUEST} on {name}: harness",
            f"{harness:.3f} CPU s, {share:.1%} of the VMM's",
            f"{BOOT_CPU} CPU s, {BOOT_SHARE:.0%}",
            good,
        )
        yield Figure(f"boot of {GUEST} on {name}: VMM", f"{taken:.3f} CPU s, {clock:.3f} s by the clock", "", None)


def imports() -> Figure:
    """What the harness's modules cost a process, once."""

    def cost(program: str) -> float:
        before = children_cpu()
        subprocess.run([sys.executable, "-c", program], check=True)
        return children_cpu() - before

    seconds = min(cost("import bringup.harness.attempt") for _ in range(3)) - min(cost("pass") for _ in range(3))
    return Figure("loading the harness, once in a process", f"{seconds:.3f} CPU s", "", None)


def round_trip() -> Iterator[Figure]:
    """An empty turn of a machine of ours."""
    with tempfile.TemporaryDirectory() as folder:
        probe = SmallProbe(Path(folder))
        near, far = socket.socketpair()
        vmm = load("bringup")
        settings = probe.settings((), debug_exit=False)
        arguments = [f"--memory={settings.memory // MIB}M", f"--kernel={settings.kernel}", f"--turns=fd:{far.fileno()}"]
        kept = Kept([*vmm.definition.command, *arguments], vmm.environment(), descriptors=[far.fileno()])
        try:
            far.close()
            with TurnsClient(near) as client:
                seconds = _best(lambda: client.turn(instructions=0))
        finally:
            kept.close(10.0)
    yield Figure("round trip of a turn", f"{seconds * 1e6:.1f} us", f"{ROUND_TRIP * 1e6:.0f} us", seconds <= ROUND_TRIP)
    near, far = socket.socketpair()
    with near, subprocess.Popen([sys.executable, "-c", _ECHO, str(far.fileno())], pass_fds=[far.fileno()]):
        far.close()
        seconds = _best(lambda: near.send(b"x") and near.recv(64))
        near.shutdown(socket.SHUT_RDWR)
    yield Figure("round trip of a byte between two processes", f"{seconds * 1e6:.1f} us", "", None)


def _best(action: Callable[[], object]) -> float:
    """Seconds that it takes: in the best of some rounds, the one that the host disturbed least."""

    def once() -> float:
        began = time.perf_counter()
        for _ in range(TURNS):
            action()
        return (time.perf_counter() - began) / TURNS

    return min(once() for _ in range(ROUNDS))


def flood() -> Iterator[Figure]:
    """A console that says so many MB through `expect`, with a Linux guest's death patterns looked for in every line."""
    guest = load_guest(GUEST)
    for name, channel, transport, program in (
        ("as a stream", "serial0", Transport.FD, _STREAM),
        ("in turns", "turns", Transport.TURNS, _IN_TURNS),
    ):
        definition = Vmm(
            name="flood",
            title="a console that says much",
            command=(sys.executable, "-c", program),
            version=("true",),
            options={"memory": ()},
            channels={channel: Channel(transport=transport, arguments=("{fd}",))},
            capabilities=Capabilities(time=Time.HOST if transport is Transport.FD else Time.VIRTUAL),
        )
        with start(LoadedVmm(definition, Path("flood"), "", ""), Settings(memory=MIB), scale=Scale()) as machine:
            console = machine.console("serial0", deaths=guest.deaths, chatter=guest.about.chatter)
            own = time.process_time()
            console.expect_exact("the end", LONG)
            seconds, size = time.process_time() - own, console.raw.size
        yield Figure(
            f"{FLOOD_MB} MB of console through expect, {name}",
            f"{seconds:.2f} CPU s, {size / seconds / 1e6:.0f} MB/s",
            f"{FLOOD_CPU} CPU s",
            seconds <= FLOOD_CPU,
        )


def main() -> int:
    """Measures and prints; 1 when a target is missed."""
    vmms = ["bringup", *(["qemu"] if shutil.which("qemu-system-x86_64") else [])]
    table = Table(box=None, pad_edge=False)
    for column in ("", "measured", "at most", ""):
        table.add_column(column)
    figures = [*boots(vmms), imports(), *round_trip(), *flood()]
    for figure in figures:
        verdict = {True: "yes", False: "NO", None: ""}[figure.good]
        table.add_row(figure.name, figure.value, figure.target, verdict)
    Terminal(width=None if sys.stdout.isatty() else 120, highlight=False).print(table)
    return 1 if any(figure.good is False for figure in figures) else 0


if __name__ == "__main__":
    raise SystemExit(main())
