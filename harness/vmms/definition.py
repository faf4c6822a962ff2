"""What a VMM is, as data: the types of `harness/vmms/<name>.toml` and of a team's own file (docs/vmm.md).

Argument lists may hold `{name}`: a value of the machine that is asked for. The names are those of `options`, and for
channels `{path}` (a Unix socket), `{fd}` (an inherited, connected socket). `{name,,}` is the value with its commas
doubled, as QEMU wants them within options.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from enum import Enum
from typing import Annotated

from msgspec import Meta

from bringup.guests.definition import Medium, MissedRung, Name, Table, Text
from bringup.harness.limits import Time


class Transport(Enum):
    """How a channel's bytes reach the harness."""

    TURNS = "turns"
    """The turns socket carries all serial lines and the debug port (docs/turns.md)."""
    LISTEN = "listen"
    """The VMM listens on a Unix socket at `{path}`."""
    CONNECT = "connect"
    """The VMM connects to a Unix socket at `{path}`, on which the harness listens."""
    FD = "fd"
    """The VMM inherits a connected socket, `{fd}`."""
    STDIO = "stdio"
    """The VMM's standard input and output."""
    PTY = "pty"
    """The VMM makes a pseudo-terminal and prints its path, which `pattern` finds."""
    MONITOR = "monitor"
    """Of `screen` only: text memory and keyboard are reached by the control socket, which has QEMU's monitor."""


class Channel(Table, frozen=True, kw_only=True):
    """A serial line, the debug port or the control socket."""

    transport: Transport
    arguments: tuple[str, ...] = ()
    pattern: Text | None = None
    """Of a pseudo-terminal's path in what the VMM prints; group 1 is the path."""


class ControlProtocol(Enum):
    """What the control socket speaks."""

    QMP = "qmp"


class Control(Channel, frozen=True, kw_only=True):
    """Where the VMM is told to pause, to reset and to quit, and asked for registers."""

    protocol: ControlProtocol
    stopped: bool = False
    """The VMM waits for QMP's `cont` before the guest's first instruction, so that no event is missed."""
    lingers: bool = False
    """The VMM stays, paused, when its guest has ended, and waits for QMP's `quit`: it can be asked for registers."""


class Capabilities(Table, frozen=True, kw_only=True):
    """What the VMM can do; what a test needs and is missing here makes it skip with that reason."""

    time: Time
    counts_instructions: bool = False
    deterministic: bool = False
    """The same inputs give the same run to the last byte and, where it counts, instruction."""
    snapshot: bool = False
    screen: bool = False
    """A VGA's text screen and a keyboard that tests can use."""
    architectures: tuple[str, ...] = ("i8086", "i386", "x86_64")
    cpus: Annotated[int, Meta(ge=1)] = 1
    """The most vCPUs that a machine may have."""
    boot: tuple[str, ...] = ("linux",)
    """Of `linux`, `multiboot`, `bios`."""
    drives: tuple[str, ...] = ()
    """Of `disk`, `cdrom`, `floppy`."""
    debug_exit: bool = False
    """isa-debug-exit at port F4h."""


class ExpectedFailure(MissedRung, frozen=True, kw_only=True):
    """A rung that guests are known to miss on this VMM."""

    guest: Text
    """Glob of their names."""


class Deviation(Table, frozen=True, kw_only=True):
    """Behaviours of vCPUs in which this VMM is known to differ from the manuals (docs/behaviours.md)."""

    behaviours: Annotated[tuple[Text, ...], Meta(min_length=1)]
    """Globs of their names."""
    reason: Text
    until: date | None = None
    """After this day they are no longer expected; None: for good."""


class Vmm(Table, frozen=True, kw_only=True):
    """A VMM's file."""

    name: Name
    title: Text
    command: Annotated[tuple[str, ...], Meta(min_length=1)]
    """The program and the arguments that it always gets; `{python}` is the interpreter that runs the harness, `{here}`
    the folder of this file."""
    version: tuple[str, ...]
    """A command whose first line of output says which version this is."""
    requires: tuple[str, ...] = ()
    """Files of the host that it must be able to read and write, such as /dev/kvm; without them guests skip."""
    options: Mapping[Name, tuple[str, ...]]
    """Arguments for each thing that a machine may have, used when it does: memory (`{memory}` bytes, `{mib}`), cpus,
    cpu, accel, kernel, initrd, append, modules (`{modules}`: "FILE TEXT,FILE TEXT", commas doubled), disk, cdrom,
    floppy (`{file}`, `{index}`, `{format}`), boot_order, firmware (the names of [firmware]), nic, bios_serial, seed,
    rtc, no_reboot, debug_exit. Only the values in parentheses have other names."""
    firmware: Mapping[Name, Medium] = {}
    """Media of the VMM's own that it is given for guests that start from a drive, by the names that `options.firmware`
    has for them: a BIOS, the ROM of its video card."""
    cpus: Mapping[str, str] = {}
    """The VMM's names of CPU models: ours to its."""
    channels: Mapping[str, Channel]
    """serial0 to serial3, debug, screen; `turns` stands for them all."""
    control: Control | None = None
    capabilities: Capabilities
    statuses: Mapping[str, str] = {}
    """What exit statuses mean: `"0" = "power-off"`, `"10" = "reset"`, `"11" = "triple-fault"`, `"12" = "panic"`."""
    environment: Mapping[str, str] = {}
    like: Name | None = None
    """A VMM that ships: what is known of that one is expected of this one, too."""
    deviation: tuple[Deviation, ...] = ()
    expected_failure: tuple[ExpectedFailure, ...] = ()
