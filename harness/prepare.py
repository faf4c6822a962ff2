"""The machine that a guest is started on: what its file asks for, what the user changes, what a VMM has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bringup.guests.definition import Guest
from bringup.harness.errors import HarnessError
from bringup.harness.machine.command import lacks
from bringup.harness.machine.settings import DriveSettings, Settings
from bringup.harness.media.resolve import Media, Medium
from bringup.harness.vmms.loader import LoadedVmm

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


class Unsupported(HarnessError):
    """The VMM does not offer what the guest needs: a reason to skip it."""


@dataclass(frozen=True)
class Overrides:
    """What a user changes about a guest's machine; None: as the guest's file has it."""

    cpus: int | None = None
    memory: int | None = None
    """Bytes."""
    cpu: str | None = None
    accel: str | None = None
    append: str | None = None
    """Added to the guest's own command line."""
    media: Mapping[str, Path] | None = None
    """Files in place of media, by role."""
    rtc: str | None = None
    no_reboot: bool = True
    debug_exit: bool = False

    @property
    def changes_machine(self) -> bool:
        """Is anything but its media another than the guest's own?"""
        return any(value is not None for value in (self.cpus, self.memory, self.cpu, self.accel, self.append, self.rtc))

    def options(self) -> list[str]:
        """As options of `bringup boot`."""
        values = {"cpus": self.cpus, "memory": self.memory and f"{self.memory >> 20}M", "cpu": self.cpu}
        values |= {"accel": self.accel, "append": self.append, "rtc": self.rtc}
        given = [f"--{name}={value}" for name, value in values.items() if value is not None]
        return given + [f"--media={role}={path.absolute()}" for role, path in (self.media or {}).items()]


def size(text: str) -> int:
    """Bytes of a size as guests' files have it: `256M`."""
    return int(text[:-1]) * UNITS[text[-1]]


def firmware_of(guest: Guest, vmm: LoadedVmm, media: Media) -> dict[str, Medium]:
    """The VMM's own media, where the guest is one that a firmware starts. Raises MediaMissing, MediaError."""
    return media.firmware(vmm) if guest.definition.machine.kernel is None else {}


def machine_settings(
    guest: Guest,
    media: Mapping[str, Medium],
    changed: Overrides,
    seed: int | None,
    firmware: Mapping[str, Medium] | None = None,
) -> Settings:
    """The machine that the guest is started on; `firmware` is the VMM's own media."""
    wanted = guest.definition.machine
    modules = (module.partition(" ") for module in wanted.modules)
    return Settings(
        memory=size(wanted.memory) if changed.memory is None else changed.memory,
        cpus=wanted.cpus if changed.cpus is None else changed.cpus,
        cpu=changed.cpu or wanted.cpu,
        accel=changed.accel,
        kernel=media[wanted.kernel].path if wanted.kernel else None,
        initrd=media[wanted.initrd].path if wanted.initrd else None,
        modules=tuple((media[role].path, arguments) for role, _, arguments in modules),
        append=" ".join(filter(None, (wanted.append, changed.append))),
        drives=tuple(
            DriveSettings(drive.kind, media[drive.media].path, index, drive.format)
            for drive, index in zip(wanted.drives, wanted.places(), strict=True)
        ),
        boot_order=wanted.starts_from if wanted.kernel is None else (),
        firmware=tuple((name, one.path) for name, one in (firmware or {}).items()),
        nic=wanted.nic,
        tftp=tuple((name, media[role].path) for name, role in wanted.tftp.items()),
        bootfile=wanted.bootfile,
        bios_serial=wanted.bios_serial,
        seed=seed,
        rtc=changed.rtc,
        no_reboot=changed.no_reboot and not wanted.reboots,
        debug_exit=changed.debug_exit,
        channels=tuple(dict.fromkeys(about.channel for about in guest.definition.console.values())),
    )


def check_supported(guest: Guest, vmm: LoadedVmm, settings: Settings) -> None:
    """Unsupported, with the reason, when the VMM cannot run here or does not offer what the guest needs."""
    if (absent := vmm.missing()) is not None:
        raise Unsupported(f"{vmm.name} needs {absent}")
    offered, missing = vmm.definition.capabilities, lacks(vmm.definition, settings)
    if guest.definition.architecture.value not in offered.architectures:
        missing.append(f"{guest.definition.architecture.value} guests")
    if guest.definition.machine.boot not in offered.boot:
        missing.append(f"boot by {guest.definition.machine.boot}")
    if missing:
        raise Unsupported(f"{vmm.name} does not offer {missing[0]}")
