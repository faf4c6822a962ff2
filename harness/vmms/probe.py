"""The guests of `bringup vmm check`: one of a hundred bytes for VMMs that load multiboot, and Linux for the others.

Both do on demand what the check is about: echo, write to a port, reset, power off.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

from bringup.guests.definition import Console as ConsoleDefinition
from bringup.guests.definition import Guest, Limit, Typing
from bringup.guests.loader import load
from bringup.harness.console.console import Console
from bringup.harness.machine.machine import Machine
from bringup.harness.machine.settings import MIB, Settings
from bringup.harness.media.resolve import Media
from bringup.harness.prepare import Overrides, machine_settings

DEBUG_PORT, DEBUG_EXIT_PORT = 0xE9, 0xF4
READY = Limit(guest=60.0)
"""How long a probe may take to its first prompt."""
SOON = Limit(guest=10.0)


class Probe(ABC):
    """A guest that does as it is told."""

    title: str
    serial: ConsoleDefinition

    @abstractmethod
    def settings(self, channels: tuple[str, ...], debug_exit: bool) -> Settings:
        """Its machine."""

    @abstractmethod
    def console(self, machine: Machine) -> Console:
        """Its first serial line."""

    @abstractmethod
    def wait(self, console: Console) -> None:
        """Until it takes orders. Raises as `expect` does."""

    @abstractmethod
    def echo(self, console: Console) -> None:
        """Types something and waits for the answer."""

    @abstractmethod
    def write(self, console: Console, port: int) -> bytes | None:
        """Has it write a byte to the debug port or to isa-debug-exit: this one. None: it cannot."""

    @abstractmethod
    def reset(self, console: Console) -> None:
        """Has it reset the machine."""

    @abstractmethod
    def power_off(self, console: Console) -> None:
        """Has it switch the machine off."""


# ---- the small one ----

BASE = 0x100000
HELLO = b"bringup probe\r\n"
_MAGIC, _ADDRESS_FIELDS = 0x1BADB002, 1 << 16  # Multiboot 0.6.96, 3.1.1
_CODE = """
    bc 00 00 11 00          mov esp, 110000h
    be 97 00 10 00          mov esi, hello
    ac                      lodsb                   ; 2Ah
    84 c0                   test al, al
    74 1a                   jz loop
    e8 02 00 00 00          call say
    eb f4                   jmp 2Ah
    88 c4                   mov ah, al              ; say
    66 ba fd 03             mov dx, 3FDh            ; line status: may it be written?
    ec                      in al, dx
    a8 20                   test al, 20h
    74 fb                   jz $-3
    88 e0                   mov al, ah
    66 ba f8 03             mov dx, 3F8h
    ee                      out dx, al
    c3                      ret
    b9 d0 07 00 00          mov ecx, 2000           ; loop: a look at the line costs a VM exit
    e2 fe                   loop $
    66 ba fd 03             mov dx, 3FDh            ; is there input?
    ec                      in al, dx
    a8 01                   test al, 1
    74 f0                   jz loop
    66 ba f8 03             mov dx, 3F8h
    ec                      in al, dx
    3c 64                   cmp al, 'd'
    74 13                   je debug
    3c 78                   cmp al, 'x'
    74 13                   je exit
    3c 72                   cmp al, 'r'
    74 15                   je reset
    3c 70                   cmp al, 'p'
    74 17                   je off
    e8 c3 ff ff ff          call say
    eb d4                   jmp loop
    e6 e9                   out 0E9h, al            ; debug
    eb d0                   jmp loop
    b0 21                   mov al, 21h             ; exit
    e6 f4                   out 0F4h, al
    eb ca                   jmp loop
    b0 fe                   mov al, 0FEh            ; reset: the keyboard controller's line
    e6 64                   out 64h, al
    eb c4                   jmp loop
    66 ba 04 06             mov dx, 604h            ; off: ACPI's PM1a_CNT where QEMU has it, too
    66 b8 00 34             mov ax, 3400h           ; S5 is sleep type 5
    66 ef                   out dx, ax
    66 b8 00 20             mov ax, 2000h           ; or 0
    66 ef                   out dx, ax
    eb b2                   jmp loop
"""


def small_image() -> bytes:
    """The multiboot kernel: header, code, text."""
    code = bytes.fromhex("".join(line[:28] for line in _CODE.splitlines()))
    header = struct.pack(
        "<8I",
        _MAGIC, _ADDRESS_FIELDS, -(_MAGIC + _ADDRESS_FIELDS) & 0xFFFF_FFFF, BASE, BASE, 0, 0, BASE + 32,
    )  # fmt: skip
    return header + code + HELLO + b"\0"


class SmallProbe(Probe):
    """A letter typed is an order, or comes back."""

    title = "a probe of our own (multiboot)"

    def __init__(self, folder: Path) -> None:
        """Puts its image into a folder."""
        self._image = folder / "probe"
        self._image.write_bytes(small_image())

    def settings(self, channels: tuple[str, ...], debug_exit: bool) -> Settings:
        return Settings(memory=64 * MIB, kernel=self._image, channels=channels, debug_exit=debug_exit)

    def console(self, machine: Machine) -> Console:
        return machine.console("serial0", ConsoleDefinition(typing=Typing(echo=False)))

    def wait(self, console: Console) -> None:
        console.expect_exact(HELLO.decode().strip(), READY)

    def echo(self, console: Console) -> None:
        console.send("abc")
        console.expect_exact("abc", SOON)

    def write(self, console: Console, port: int) -> bytes:
        console.send({DEBUG_PORT: "d", DEBUG_EXIT_PORT: "x"}[port])
        return {DEBUG_PORT: b"d", DEBUG_EXIT_PORT: b"\x21"}[port]

    def reset(self, console: Console) -> None:
        console.send("r")

    def power_off(self, console: Console) -> None:
        console.send("p")


# ---- Linux ----

LINUX = "linux-debian12-cloud"


class LinuxProbe(Probe):
    """A Debian kernel with a shell."""

    def __init__(self, media: Media) -> None:
        """Its media may be fetched: raises MediaError."""
        self.guest: Guest = load(LINUX)
        self.title = self.guest.definition.title
        self._settings = machine_settings(self.guest, media.resolve(self.guest), Overrides(), None)

    def settings(self, channels: tuple[str, ...], debug_exit: bool) -> Settings:
        return replace(self._settings, channels=channels, debug_exit=debug_exit)

    def console(self, machine: Machine) -> Console:
        about = next(iter(self.guest.definition.console.values()))
        return machine.console("serial0", about, deaths=self.guest.deaths, chatter=self.guest.about.chatter)

    def wait(self, console: Console) -> None:
        for rung in self.guest.ladder[:2]:
            console.expect_exact(str(rung.text), READY)
        assert console.about.shell is not None  # noqa: S101, this guest has one
        console.expect_exact(console.about.shell.prompt, READY)

    def echo(self, console: Console) -> None:
        console.run("echo abc", READY)

    def write(self, console: Console, port: int) -> None:
        return None  # Debian's kernel for clouds has no /dev/port

    def reset(self, console: Console) -> None:
        console.type("reboot -f")

    def power_off(self, console: Console) -> None:
        console.type("poweroff -f")
