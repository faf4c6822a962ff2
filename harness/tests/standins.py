"""What tests of machines share: VMMs of a few lines, and looking for what is left behind."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from bringup.guests.definition import Limit
from bringup.harness.limits import Time
from bringup.harness.machine.processes import children
from bringup.harness.vmms.definition import Capabilities, Channel, Control, ControlProtocol, Transport, Vmm
from bringup.harness.vmms.loader import LoadedVmm

HERE = Path(__file__).parent
FAKE_VMM, FAKE_MACHINE = HERE / "fake_vmm.py", HERE / "fake_machine.py"
SOON = Limit(guest=60.0)


def vmm(
    how: str,
    *,
    channel: Channel | None = None,
    control: bool = False,
    time: Time = Time.HOST,
    command: tuple[str, ...] = (sys.executable, str(FAKE_VMM)),
    **fields: object,
) -> LoadedVmm:
    """A stand-in; its console is an inherited socket unless told otherwise."""
    channel = channel or Channel(transport=Transport.FD, arguments=("--serial={fd}",))
    definition = Vmm(
        name="fake",
        title="a stand-in",
        command=(*command, *([how] if how else [])),
        version=("true",),
        options={"memory": (), "debug_exit": ()},
        channels={"turns" if channel.transport is Transport.TURNS else "serial0": channel},
        control=Control(transport=Transport.FD, arguments=("--qmp={fd}",), protocol=ControlProtocol.QMP, stopped=True)
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
