"""The machine that is asked for, as pure data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bringup.guests.definition import BootDevice, DriveKind

MIB = 1 << 20
SCREEN = "screen"
"""The channel that is no line: what the VGA shows, and the keyboard."""


@dataclass(frozen=True)
class DriveSettings:
    """A drive and the file in it."""

    kind: DriveKind
    file: Path
    index: int = 0
    """Of a floppy drive, or of the place on IDE."""
    format: str = "raw"


@dataclass(frozen=True)
class Settings:
    """What `harness/vmms/*.toml` has options for; None and empty: not asked for."""

    memory: int
    """Bytes."""
    cpus: int = 1
    cpu: str | None = None
    """CPU model, by our names."""
    accel: str | None = None
    kernel: Path | None = None
    initrd: Path | None = None
    modules: tuple[tuple[Path, str], ...] = ()
    """Of a multiboot kernel, each with its arguments."""
    append: str = ""
    """The kernel's command line."""
    drives: tuple[DriveSettings, ...] = ()
    boot_order: tuple[BootDevice, ...] = ()
    """What the firmware starts from; (): a kernel is started."""
    firmware: tuple[tuple[str, Path], ...] = ()
    """The VMM's own, by its names."""
    nic: str | None = None
    tftp: tuple[tuple[str, Path], ...] = ()
    """What the card's network serves: names there, and files."""
    bootfile: str | None = None
    """The name of them that DHCP tells."""
    bios_serial: bool = False
    seed: int | None = None
    rtc: str | None = None
    """The date at power-on, `2027-01-01T00:00:00`."""
    no_reboot: bool = True
    """A reset ends the machine."""
    debug_exit: bool = False
    """isa-debug-exit at port F4h."""
    channels: tuple[str, ...] = ("serial0",)

    @property
    def module_list(self) -> str:
        """The modules as `-initrd` of multiboot loaders has them: `FILE TEXT,FILE TEXT`, commas within doubled."""
        return ",".join(f"{file} {text}".strip().replace(",", ",,") for file, text in self.modules)
