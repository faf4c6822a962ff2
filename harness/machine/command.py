"""The command line of a VMM for a machine: its file's arguments with the machine's values in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from bringup.guests.definition import BootDevice
from bringup.harness.vmms.definition import Vmm
from bringup.harness.vmms.loader import VmmError

from .settings import MIB, SCREEN, Settings

_NAME = re.compile(r"\{([a-z_]+)(,,)?\}")
DISPENSABLE = ("seed", "rtc", "no_reboot", SCREEN)
"""What a VMM need not have an option for: it is then as it is."""
LETTERS = {BootDevice.FLOPPY: "a", BootDevice.DISK: "c", BootDevice.CDROM: "d", BootDevice.NETWORK: "n"}
"""Of what the firmware may start from, as QEMU has them."""


def fill(argument: str, values: Mapping[str, object]) -> str:
    """`{name}` becomes its value, `{name,,}` its value with commas doubled, as QEMU wants them within options."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise VmmError(f"there is no {match[0]} for the argument {argument!r}; there is {', '.join(values)}")
        text = str(values[match[1]])
        return text.replace(",", ",,") if match[2] else text

    return _NAME.sub(value, argument)


def command(vmm: Vmm, settings: Settings, served: Path | None = None) -> tuple[str, ...]:
    """The program, and the arguments for what the machine has; those of its channels are not among them. `served`: the
    folder with the files of `settings.tftp`."""
    arguments = [*vmm.command]
    for name, values in _asked(vmm, settings, served):
        arguments += (fill(argument, values) for argument in option(vmm, name))
    return tuple(arguments)


def option(vmm: Vmm, name: str) -> Iterable[str]:
    """The arguments that a VMM has for something; VmmError when it has none and that matters."""
    if name not in vmm.options and name not in DISPENSABLE:
        raise VmmError(f"{vmm.name}: options: {name} is missing, and the machine has that")
    return vmm.options.get(name, ())


def _asked(vmm: Vmm, settings: Settings, served: Path | None = None) -> Iterator[tuple[str, Mapping[str, object]]]:
    yield "memory", {"memory": settings.memory, "mib": settings.memory // MIB}
    if settings.cpus > 1:
        yield "cpus", {"cpus": settings.cpus}
    if settings.cpu is not None:
        yield "cpu", {"cpu": vmm.cpus.get(settings.cpu, settings.cpu)}
    for name in ("accel", "kernel", "initrd", "seed", "rtc"):
        if getattr(settings, name) is not None:
            yield name, {name: getattr(settings, name)}
    if settings.modules:
        yield "modules", {"modules": settings.module_list}
    if settings.append:
        yield "append", {"append": settings.append}
    for drive in settings.drives:
        yield drive.kind.value, {"file": drive.file, "index": drive.index, "format": drive.format}
    if settings.boot_order:
        yield "boot_order", {"boot_order": "".join(LETTERS[device] for device in settings.boot_order)}
    if settings.firmware:
        yield "firmware", dict(settings.firmware)
    if settings.nic is not None:
        yield "nic", {"nic": _network(settings.nic, served, settings.bootfile)}
    for name in ("bios_serial", "no_reboot", "debug_exit"):
        if getattr(settings, name):
            yield name, {}
    if SCREEN in settings.channels:
        yield SCREEN, {}


def _network(kind: str, served: Path | None, bootfile: str | None) -> str:
    """As QEMU's -nic has it, commas within doubled."""
    files = {"tftp": served, "bootfile": bootfile}
    given = (f"{key}={str(value).replace(',', ',,')}" for key, value in files.items() if value is not None)
    return ",".join((kind, *given))


def lacks(vmm: Vmm, settings: Settings) -> list[str]:
    """What the machine needs and the VMM's file does not offer, each in a few words; empty: it can be tried."""
    can, missing = vmm.capabilities, []
    if settings.cpus > can.cpus:
        missing.append(f"{settings.cpus} vCPUs (at most {can.cpus})")
    if settings.modules and "multiboot" not in can.boot:
        missing.append("multiboot modules")
    if settings.kernel is None and "bios" not in can.boot:
        missing.append("to start from a drive, by a BIOS")
    missing += sorted(
        {f"a {kind}" for kind in (drive.kind.value for drive in settings.drives) if kind not in can.drives}
    )
    if settings.debug_exit and not can.debug_exit:
        missing.append("isa-debug-exit")
    if settings.tftp and not any("{nic}" in argument for argument in vmm.options.get("nic", ())):
        missing.append("files by TFTP ({nic} in options.nic)")
    if SCREEN in settings.channels and not can.screen:
        missing.append("a text screen")
    if "turns" not in vmm.channels:
        missing += [f"the channel {name}" for name in settings.channels if name not in vmm.channels]
    for name, _ in _asked(vmm, settings):
        if name not in vmm.options and name not in DISPENSABLE:
            missing.append(f"an option for {name}")
    return missing
